"""How does machine code find the program that it calls in its place?

A slot of a prog_array holds the address of a `cell`, which every program that was ever put into one has:
native memory that says where its machine code begins, 0 while there is none.  Machine code looks there
and jumps.  Where there is nothing to jump to it asks Python (`run_target`), which compiles the program, or
runs it in the checked interpreter if it may not run natively; the next packet finds the machine code.

Cells are never given back: a thread may still look at one whose program is being replaced.
(kernel/bpf/core.c: bpf_tail_call; struct bpf_prog's bpf_func.)
"""

from __future__ import annotations

import ctypes

from ..bpf.isa import R0
from .control import MAX_TAIL_CALLS
from .environment import Environment, EnvironmentAt
from .maps.header import MapAt
from .maps.map import map_at
from .subset import external, load_i64, native, store_i64, u32

NO_TARGET = 0
NOT_NATIVE = -1
"""What `tail_target` says of a slot that is empty, and of a program without machine code."""


@native
def tail_target(machine: int, map: int, index: int) -> int:
    """Where the program in a slot begins, or NO_TARGET (none, or too many were called), or NOT_NATIVE."""
    slot = u32(index)
    if slot >= load_i64(map + MapAt.MAX_ENTRIES):
        return NO_TARGET
    cell = load_i64(load_i64(map + MapAt.ELEMENTS) + slot * 8)
    if cell == 0:
        return NO_TARGET
    done = load_i64(machine + EnvironmentAt.TAIL_CALLS)
    if done >= MAX_TAIL_CALLS:
        return NO_TARGET
    store_i64(machine + EnvironmentAt.TAIL_CALLS, done + 1)
    entry = load_i64(cell)
    return entry if entry else NOT_NATIVE


@external
def run_target(machine: int, skb: int, map: int, index: int) -> int:
    """Run the program in a slot: its r0.  It is compiled if it may be, and only interpreted if not."""
    from .interp import STEP_LIMIT, Interpreter
    from .native_program import native_of

    environment = Environment.at(machine)
    array = map_at(map & 0xFFFFFFFFFFFFFFFF)
    assert array is not None
    target = array.program_at(u32(index))
    target.require_helpers()
    running = environment.running
    if target.verified is not None:
        return native_of(target, running.profile).enter(skb)
    assert running.skb is not None
    assert ctypes.addressof(running.skb) == skb
    memory, native = running.memory, environment.native
    known = native.readable, native.kernel
    native.readable = native.kernel = 0  # what is interpreted has a memory of its own
    interpreter = Interpreter(target, running.skb, environment, running.profile, STEP_LIMIT)
    interpreter.tail_calls = native.tail_calls
    try:
        interpreter.execute()
        return interpreter.read(R0)
    finally:
        running.memory = memory
        native.readable, native.kernel = known
        native.tail_calls = interpreter.tail_calls
