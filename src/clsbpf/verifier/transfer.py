"""What does an instruction change?  One function an instruction, made once; it returns the next one.

What must hold was checked before (`checks`).  A function changes the registers of the frame that runs,
and may push another path; it returns -1 where the path ends.  Here are loads and stores, and who does the
rest: arithmetic is in `computing`, jumps and calls in `jumping`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..bpf.isa import (
    SIZE_BYTES,
    Alu,
    Atomic,
    Class,
    Mode,
    Pseudo,
    Size,
    class_of,
    mode_of,
    op_of,
    size_of,
)
from ..bpf.maps import MapType
from ..bpf.spec import SOCKET_FILTER, ProgramSpec
from . import memory
from .access import MAX_VAR_OFF
from .calls import function_exit
from .checks import check_end, check_takes_atomics
from .computing import alu_step, move_step
from .fields import has_field
from .jumping import jump_step
from .kernel_variables import variable_address
from .ranges import const
from .refusal import ENOTSUPP, Refused
from .requirements import fetches
from .values import (
    FUNC,
    MAP_PTR,
    MAP_VALUE,
    SCALAR,
    STACK,
    UNWRITTEN,
    Reg,
    number,
    unknown,
)

if TYPE_CHECKING:
    from .walk import Walk

Step = Callable[[], int]


def step_of(v: Walk, at: int) -> Step:
    """The function that does what the instruction at `at` does."""
    insn = v.insns[at]
    match class_of(insn.code):
        case Class.ALU | Class.ALU64:
            return move_step(v, at, insn) if op_of(insn.code) == Alu.MOV else alu_step(v, at, insn)
        case Class.JMP | Class.JMP32:
            return jump_step(v, at, insn)
        case Class.LDX:
            return _load(v, at, insn)
        case Class.ST | Class.STX:
            return _atomic(v, at, insn) if mode_of(insn.code) == Mode.ATOMIC else _store(v, at, insn)
        case _:
            return _wide(v, at, insn) if insn.is_ld_imm64 else _packet_load(v, at)


# Memory ----------------------------------------------------------------------------------------------


def _load(v: Walk, at: int, insn: Insn) -> Step:
    dst, src, off, after = insn.dst, insn.src, insn.off, at + 1
    size = SIZE_BYTES[Size(size_of(insn.code))]
    signed = mode_of(insn.code) == Mode.MEMSX

    def load() -> int:
        memory.load(v, src, off, size, signed, dst)
        return after

    return load


def _store(v: Walk, at: int, insn: Insn) -> Step:
    dst, src, off, after = insn.dst, insn.src, insn.off, at + 1
    size = SIZE_BYTES[Size(size_of(insn.code))]
    if class_of(insn.code) == Class.ST:
        constant = Reg(SCALAR, const(insn.imm))

        def store_constant() -> int:
            pointer = v.regs[dst]
            if pointer.kind == STACK:
                memory.stack_store(v, pointer, off + pointer.off, size, constant, None)
            elif pointer.kind == MAP_VALUE and pointer.obj.value_type is not None:
                memory.check_kptr_store(v, pointer, off, constant, None)
            return after

        return store_constant

    def store() -> int:
        regs = v.regs
        pointer = regs[dst]
        if pointer.kind == STACK:
            memory.stack_store(v, pointer, off + pointer.off, size, regs[src], src)
        elif pointer.kind == MAP_VALUE and pointer.obj.value_type is not None:
            memory.check_kptr_store(v, pointer, off, regs[src], src)
        return after

    return store


def _atomic(v: Walk, at: int, insn: Insn) -> Step:
    after = at + 1
    size = SIZE_BYTES[Size(size_of(insn.code))]
    if insn.imm == Atomic.LOAD_ACQ:

        def load_acquire() -> int:
            memory.load(v, insn.src, insn.off, size, False, insn.dst)
            # As the kernel has it: when the register may hold what was loaded instead of where from.
            check_takes_atomics(v, insn.src, "loads from")
            return after

        return load_acquire
    if insn.imm == Atomic.STORE_REL:

        def store_release() -> int:
            pointer = v.regs[insn.dst]
            if pointer.kind == STACK:
                memory.stack_store(v, pointer, insn.off + pointer.off, size, v.regs[insn.src], insn.src)
            return after

        return store_release
    into = 0 if insn.imm == Atomic.CMPXCHG else insn.src if fetches(insn) else None

    def modify() -> int:
        pointer = v.regs[insn.dst]
        if into is not None:
            memory.load(v, insn.dst, insn.off, size, False, into)
        elif pointer.kind == STACK:
            memory.stack_load(v, pointer, insn.off + pointer.off, size, to_register=False)
        if pointer.kind == STACK:
            memory.stack_store(v, pointer, insn.off + pointer.off, size, None, None)
        return after

    return modify


def _wide(v: Walk, at: int, insn: Insn) -> Step:
    dst, after = insn.dst, at + 2
    reg = _wide_value(v, at, insn)

    def set_constant() -> int:
        if isinstance(reg, Refused):
            raise reg
        v.regs[dst] = reg
        return after

    return set_constant


MAX_MAPS = 64
"""MAX_USED_MAPS."""


def check_wide(spec: ProgramSpec, at: int, maps: set[int]) -> None:
    """resolve_pseudo_ldimm64 of one: its second half, and the map, also where no path leads there.

    `maps` are those that the program named before; one more goes in.
    """
    insn = spec.insns[at]
    high = spec.insns[at + 1] if at + 1 < len(spec.insns) else None
    if high is None or high != Insn(0, imm=high.imm):
        raise Refused("encoding", "invalid bpf_ld_imm64 insn", insn=at, errno=22)
    if insn.src not in _OF_MAPS:
        if insn.src not in _WITHOUT_MAPS:
            raise Refused("encoding", "unrecognized bpf_ld_imm64 insn", insn=at, errno=22)
        return
    if insn.src in (Pseudo.MAP_FD, Pseudo.MAP_IDX) and high.imm:
        raise Refused("encoding", "unrecognized bpf_ld_imm64 insn", insn=at, errno=22)
    found = _map_reference(spec, at, insn)
    if isinstance(found, Refused):
        raise found
    if insn.imm not in maps and len(maps) >= MAX_MAPS:
        message = f"The total number of maps per program has reached the limit of {MAX_MAPS}"
        raise Refused("encoding", message, insn=at, errno=7)
    maps.add(insn.imm)
    locked = has_field(found.obj, "bpf_spin_lock") or has_field(found.obj, "bpf_res_spin_lock")
    if spec.type == SOCKET_FILTER and locked:
        raise Refused("lock", "socket filter progs cannot use bpf_spin_lock yet", insn=at, errno=22)


_WITHOUT_MAPS = frozenset({0, Pseudo.BTF_ID, Pseudo.FUNC})
_OF_MAPS = frozenset({Pseudo.MAP_FD, Pseudo.MAP_IDX, Pseudo.MAP_VALUE, Pseudo.MAP_IDX_VALUE})


def _wide_value(v: Walk, at: int, insn: Insn) -> Reg | Refused:
    high = v.insns[at + 1] if at + 1 < len(v.insns) else Insn(0)
    match insn.src:
        case 0:
            return Reg(SCALAR, const(high.imm_u32 << 32 | insn.imm_u32))
        case Pseudo.MAP_FD | Pseudo.MAP_IDX | Pseudo.MAP_VALUE | Pseudo.MAP_IDX_VALUE:
            return _map_reference(v.spec, at, insn)
        case Pseudo.FUNC:
            if not v.spec.has_function_types:
                return Refused("callback", "missing btf func_info", insn=at, errno=22)
            subprogram = v.flow.subprogram_at[at + insn.imm + 1]
            if v.is_global(subprogram):
                return Refused("callback", "callback function not static", insn=at, errno=22)
            return Reg(FUNC, obj=subprogram)
        case _:
            return variable_address(at, insn)


def _map_reference(program: ProgramSpec, at: int, insn: Insn) -> Reg | Refused:
    high = program.insns[at + 1]
    spec = program.maps.get(insn.imm)
    if spec is None:
        return Refused("encoding", f"fd {insn.imm} is not pointing to valid bpf_map", insn=at, errno=9)
    if insn.src in (Pseudo.MAP_FD, Pseudo.MAP_IDX):
        return Reg(MAP_PTR, obj=spec)
    if high.imm_u32 >= MAX_VAR_OFF:
        message = f"direct value offset of {high.imm_u32} is not allowed"
        return Refused("encoding", message, insn=at, errno=22)
    if spec.type != MapType.ARRAY:
        message = "no direct value access support for this map type"
        return Refused("encoding", message, insn=at, errno=22)
    if spec.max_entries != 1 or high.imm_u32 >= spec.value_size:
        return Refused(
            "encoding",
            f"invalid access to map value pointer, value_size={spec.value_size} off={high.imm_u32}",
            insn=at,
            errno=22 if spec.max_entries == 1 else ENOTSUPP,
        )
    return Reg(MAP_VALUE, off=high.imm, obj=spec)


def _packet_load(v: Walk, at: int) -> Step:
    after = at + 1

    def load() -> int:
        v.regs[0:6] = [unknown(), *[UNWRITTEN] * 5]
        if len(v.state.frames) == 1:
            return after
        # Outside of the packet the function returns 0; that the load succeeds is another path.
        v.push(after)
        v.regs[0] = number(0)
        check_end(v)
        return function_exit(v)

    return load
