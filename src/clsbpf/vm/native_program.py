"""How does one program run as machine code?  Compiled with what it calls, and called with a NativeSkb.

`jit` compiles what may run natively: a VerifiedProgram, or a LinkedProgram that the verifier has accepted.
A NativeProgram is that and what it takes to call it: the packet made native, the environment told what
runs, errors of Python on the way raised.

A program may be replaced, and its machine code forgotten, while another thread runs it.  So code that is
no longer needed is kept until nobody is inside any (`code_in_use`), as the kernel waits for its readers.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator

from ..profile import CURRENT, KernelProfile
from ..skb import Skb
from ..verifier.program import VerifiedProgram
from .environment import Environment, OneProgram
from .helpers.sockets import show_socket
from .jit import NativeModule, compile_module
from .link import LinkedProgram
from .lower import lower, lower_linked, main_symbol
from .native_calls import raise_pending
from .native_memory import maps_of, ranges_of
from .native_skb import At, NativeSkb, fill, take_back
from .native_symbols import Symbols
from .program_cell import read_cell, write_cell
from .subset import Lowered, module_ir

ENTRY = "clsbpf.program"
LARGE = 2_000
"""A program of more instructions is optimized less: it takes a sixth of the time, and runs about as fast."""
REPEAT = "clsbpf.repeat"
_RUN = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64)
_ENTER = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)

_REPEAT_TEXT = f"""@"{REPEAT}.function" = internal global ptr @"{ENTRY}"
define i32 @"{REPEAT}"(ptr %skb, i64 %count) nounwind {{
entry:
br label %again
again:
%at = phi i64 [ 0, %entry ], [ %next, %again ]
%function = load volatile ptr, ptr @"{REPEAT}.function", align 8
%result = call i32 %function(ptr %skb)
%next = add i64 %at, 1
%more = icmp ult i64 %next, %count
br i1 %more, label %again, label %done
done:
ret i32 %result
}}
"""
"""bpf_test_run(): run it again and again.  Each run is a call, so that none is optimized away."""


class _InUse:
    """How many threads are inside machine code, and what is no longer needed but by them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a program may be collected wherever memory is taken
        self.threads = 0
        self.retired: list[NativeModule] = []


_in_use = _InUse()


@contextlib.contextmanager
def code_in_use() -> Iterator[None]:
    """While inside, no machine code of programs goes away (rcu_read_lock)."""
    with _in_use.lock:
        _in_use.threads += 1
    try:
        yield
    finally:
        retired: list[NativeModule] = []
        with _in_use.lock:
            _in_use.threads -= 1
            if not _in_use.threads:
                retired, _in_use.retired = _in_use.retired, retired
        del retired


class NativeProgram:
    """One program as machine code (bpf_func after bpf_int_jit_compile)."""

    def __init__(
        self,
        module: NativeModule,
        linked: LinkedProgram | None,
        symbols: Symbols,
        profile: KernelProfile,
    ) -> None:
        self._module = module
        self._linked = linked
        self._symbols = symbols
        self._profile = profile
        self._function = _RUN(module.address(REPEAT))
        self.entry = module.address(main_symbol(ENTRY)) if linked is not None else 0
        """Where a tail call jumps to."""
        self._reads_socket = linked is not None and reads_socket(linked)

    def __del__(self) -> None:
        with _in_use.lock:
            if _in_use.threads:
                _in_use.retired.append(self._module)
        if self._linked is not None and read_cell(self._linked.address) == self.entry:
            write_cell(self._linked.address, 0)

    def run(self, skb: Skb, environment: Environment | None = None) -> int:
        """r0, unsigned, of a run on `skb`, which keeps what the program wrote.

        Raises what a body in Python raised.
        """
        return self.test_run(environment if environment is not None else Environment(), skb, 1)[0]

    def test_run(self, environment: Environment, skb: Skb, repeat: int) -> tuple[int, int]:
        """bpf_test_run(): r0 of the last of `repeat` runs, each on what the one before left; and the mean
        time of one in nanoseconds.  As in the kernel, time that others had the processor does not count.
        """
        native = NativeSkb()
        fill(skb, native, environment.address)
        name = self._linked.name if self._linked is not None else ""
        before = environment.start(name, native)
        try:
            self._prepare(environment, native)
            with code_in_use():
                started = time.thread_time_ns()
                result = int(self._function(ctypes.addressof(native), repeat))
                duration = (time.thread_time_ns() - started) // repeat
            raise_pending()
            return result, duration
        finally:
            environment.end(before)
            take_back(native, skb)

    def _prepare(self, environment: Environment, native: NativeSkb) -> None:
        """What only some programs need: memory that Python may read for them, the packet's socket."""
        running = environment.running
        assert isinstance(running, OneProgram)
        running.profile = self._profile
        linked = self._linked
        if linked is not None:
            running.make_ranges = lambda: ranges_of(maps_of(linked))
        if self._reads_socket and environment.socket is not None:
            native.sk = show_socket(environment.address, environment.socket)

    def enter(self, skb: int) -> int:
        """All of r0 of a run that goes on: this program was called in another's place."""
        return int(_ENTER(self.entry)(skb))


def reads_socket(linked: LinkedProgram) -> bool:
    """Does the program look at the packet's socket (__sk_buff's sk)?"""
    assert linked.verified is not None
    return any(linked.insns[at].off == At.SK for at in linked.verified.ctx_accesses)


def module_text(lowered: Lowered, *, exported: bool = True) -> str:
    """A module with the one program, exported as `ENTRY`, and what it calls."""
    support = module_ir(lowered.calls, exported=False)
    declares = [line for line in sorted(lowered.declares) if line not in support]
    definition = lowered.definition.replace("define internal", "define", 1)
    main = main_symbol(ENTRY)
    definition = definition.replace(f'define internal i64 @"{main}"', f'define i64 @"{main}"', 1)
    return "\n".join([*declares, support, definition, _REPEAT_TEXT])


def program_ir(program: VerifiedProgram | LinkedProgram, profile: KernelProfile = CURRENT) -> str:
    """The module that `jit` compiles."""
    return _text(program, Symbols(), profile)


def _text(program: VerifiedProgram | LinkedProgram, symbols: Symbols, profile: KernelProfile) -> str:
    if isinstance(program, LinkedProgram):
        return module_text(lower_linked(program, ENTRY, symbols, profile=profile))
    lowered = lower(program, ENTRY, profile=profile)
    symbols.add_external(lowered.calls)
    return module_text(lowered)


def jit(program: VerifiedProgram | LinkedProgram, profile: KernelProfile = CURRENT) -> NativeProgram:
    """Compile one program."""
    symbols = Symbols()
    linked = program if isinstance(program, LinkedProgram) else None
    text = _text(program, symbols, profile)
    names = [REPEAT, main_symbol(ENTRY)] if linked is not None else [REPEAT]
    optimize = 2 if len(program.insns) <= LARGE else 1
    module = compile_module(text, names, optimize=optimize, symbols=symbols.addresses)
    return NativeProgram(module, linked, symbols, profile)


def native_of(linked: LinkedProgram, profile: KernelProfile = CURRENT) -> NativeProgram:
    """The machine code of a linked program, compiled when it is first asked for and kept with it.

    From then on tail calls find it.  (A cell has the code for one profile: with another they ask Python.)
    """
    found = linked.native.get(profile.name)
    if found is None:
        found = linked.native.setdefault(profile.name, jit(linked, profile))
        assert isinstance(found, NativeProgram)
        write_cell(linked.address, found.entry if len(linked.native) == 1 else 0)
    assert isinstance(found, NativeProgram)
    return found
