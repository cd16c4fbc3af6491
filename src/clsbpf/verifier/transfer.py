"""What does an instruction change?  One function an instruction, made once; it returns the next one.

What must hold was checked before (`checks`), but for pointer arithmetic, whose rule and effect are one
table (adjust_ptr_min_max_vals).  A function changes the registers of the frame that runs, and may push
the other branch of a jump; it returns -1 where the path ends.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..bpf.isa import (
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    SIZE_BYTES,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Pseudo,
    Size,
    X,
    class_of,
    mode_of,
    op_of,
    size_of,
    src_of,
)
from ..bpf.spec import SOCKET_FILTER, MapSpec, ProgramSpec
from . import arithmetic, branches, memory
from .access import MAX_VAR_OFF, kind_name
from .branches import FLIPPED
from .calls import function_call, function_exit, helper_call
from .fields import has_field
from .kfuncs import kfunc_call
from .locks import may_point_to_lock
from .prune import live_registers
from .ranges import S32_MAX, S32_MIN, S64_MIN, UNKNOWN, WIDTH_32, ZERO, Range, const
from .refusal import Refused
from .requirements import fetches
from .state import SPILL, Slot, State
from .tnum import U32, U64
from .values import (
    ADD_CONST,
    ADD_CONST32,
    ADD_CONST64,
    AT_END,
    BEYOND_END,
    BTF,
    CTX,
    DYNPTR,
    FUNC,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    PACKET,
    PACKET_END,
    PACKET_META,
    PACKETS,
    PACKETS_ANY,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    UNWRITTEN,
    Reg,
    clone,
    known_width,
    mark_precise,
    unknown,
)

if TYPE_CHECKING:
    from .walk import Walk

Step = Callable[[], int]
END_OF_PATH = -1


def step_of(v: Walk, at: int) -> Step:
    """The function that does what the instruction at `at` does."""
    insn = v.insns[at]
    match class_of(insn.code):
        case Class.ALU | Class.ALU64:
            return _move(v, at, insn) if op_of(insn.code) == Alu.MOV else _alu(v, at, insn)
        case Class.JMP | Class.JMP32:
            return _jump(v, at, insn)
        case Class.LDX:
            return _load(v, at, insn)
        case Class.ST | Class.STX:
            return _atomic(v, at, insn) if mode_of(insn.code) == Mode.ATOMIC else _store(v, at, insn)
        case _:
            return _wide(v, at, insn) if insn.is_ld_imm64 else _packet_load(v, at)


# Arithmetic ------------------------------------------------------------------------------------------


def _move(v: Walk, at: int, insn: Insn) -> Step:
    dst, src, after = insn.dst, insn.src, at + 1
    is32 = class_of(insn.code) == Class.ALU
    if src_of(insn.code) != X:
        constant = Reg(SCALAR, const(insn.imm_u32 if is32 else insn.imm))

        def set_constant() -> int:
            v.regs[dst] = constant
            return after

        return set_constant

    size = insn.off // 8

    def copy() -> int:
        regs = v.regs
        reg = regs[src]
        if reg.kind == SCALAR and ((not reg.id and reg.var.const is None) or reg.id & ADD_CONST):
            reg = regs[src] = memory.with_id(v, reg)
        regs[dst] = reg
        return after

    def narrow() -> int:
        regs = v.regs
        reg = regs[src]
        if reg.kind != SCALAR:
            regs[dst] = Reg(SCALAR, WIDTH_32 if is32 else UNKNOWN)
            return after
        var = reg.var
        if size:
            wide = var.umax < 1 << insn.off - 1
            new = arithmetic.sign_extended(var, size, is32)
        else:
            wide = known_width(var) <= 32
            new = arithmetic.zero_extended(var)
        if wide:
            reg = regs[src] = memory.with_id(v, reg)
        if new is var and wide:
            regs[dst] = reg
        else:
            regs[dst] = Reg(SCALAR, new, 0, reg.id if wide else 0, (reg,))
        return after

    return narrow if is32 or size else copy


def _alu(v: Walk, at: int, insn: Insn) -> Step:
    op, dst, src, after = op_of(insn.code), insn.dst, insn.src, at + 1
    is32 = class_of(insn.code) == Class.ALU
    compute = arithmetic.alu

    def byte_order() -> int:
        reg = v.regs[dst]
        if reg.kind == SCALAR:
            id, off = (reg.id, reg.off) if keeps else (0, 0)
            v.regs[dst] = Reg(SCALAR, arithmetic.byte_order(reg.var, insn.imm, swaps), off, id, (reg,))
        else:
            v.regs[dst] = unknown()
        return after

    def negate() -> int:
        reg = v.regs[dst]
        if reg.kind == SCALAR:
            v.regs[dst] = Reg(SCALAR, compute(Alu.NEG, reg.var, ZERO, is32), 0, 0, (reg,))
        else:
            v.regs[dst] = unknown()
        return after

    swaps = not is32 or (src_of(insn.code) == X) == (sys.byteorder == "little")
    keeps = not swaps and insn.imm == 64
    if op == Alu.END:
        return byte_order
    if op == Alu.NEG:
        return negate

    linkable = op in (Alu.ADD, Alu.SUB)
    forks = op in (Alu.AND, Alu.OR)
    link = ADD_CONST32 if is32 else ADD_CONST64
    constant = Reg(SCALAR, const(insn.imm))
    from_register = src_of(insn.code) == X

    def apply() -> int:
        regs = v.regs
        a = regs[dst]
        b = regs[src] if from_register else constant
        if a.kind != SCALAR or b.kind != SCALAR:
            regs[dst] = _pointer_arithmetic(v, op, dst, a, src, b, is32)
            return after
        if forks and b.var.const is not None and a.var.s32_min == -1 and a.var.s32_max == 0:
            a = _forked(v, at, dst, a)
        var = compute(op, a.var, b.var, is32)
        id = off = 0
        by = b.var.const
        if linkable and a.id and by is not None and not a.id & ADD_CONST and (not is32 or a.var.umax <= U32):
            more = b.var.smin if op == Alu.ADD else -b.var.smin
            if S32_MIN <= more <= S32_MAX:
                id, off = a.id | link, more
        regs[dst] = Reg(SCALAR, var, off, id, () if var is UNKNOWN else (a, b) if from_register else (a,))
        return after

    return apply


def _forked(v: Walk, at: int, dst: int, a: Reg) -> Reg:
    """maybe_fork_scalars: of 0 and -1, which is where code without branches comes from, each alone."""
    other = v.push(at)
    whole = a.var.smin == -1 and a.var.smax == 0
    make = const if whole else functools.partial(arithmetic.with_low_half, a.var)
    other.frames[-1].regs[dst] = Reg(SCALAR, make(0), src=(a,))
    return Reg(SCALAR, make(U64 if whole else U32), src=(a,))


_ARITHMETIC_KINDS = frozenset({CTX, MAP_VALUE, MAP_KEY, STACK, PACKET_META, PACKET, BTF, MEM, FUNC, DYNPTR})


def _sane(reg: Reg, off: int, var: Range, regno: int) -> None:
    """check_reg_sane_offset."""
    name = kind_name(reg)
    if not var.mask and not -MAX_VAR_OFF < var.smin < MAX_VAR_OFF:
        raise Refused(
            "pointer-offset", f"math between {name} pointer and {var.smin} is not allowed", regno, errno=22
        )
    if not -MAX_VAR_OFF < off < MAX_VAR_OFF:
        raise Refused("pointer-offset", f"{name} pointer offset {off} is not allowed", regno, errno=22)
    if var.smin == S64_MIN:
        raise Refused(
            "unbounded-math",
            f"math between {name} pointer and register with unbounded min value is not allowed",
            regno,
            errno=22,
            of=name,
        )
    if not -MAX_VAR_OFF < var.smin < MAX_VAR_OFF:
        raise Refused(
            "pointer-offset", f"value {var.smin} makes {name} pointer be out of bounds", regno, errno=22
        )


def _pointer_arithmetic(v: Walk, op: int, dst: int, a: Reg, src: int, b: Reg, is32: bool) -> Reg:
    """adjust_ptr_min_max_vals, after adjust_reg_min_max_vals sorted out which is the pointer."""
    if a.kind != SCALAR and b.kind != SCALAR:
        if op == Alu.SUB:
            return unknown()
        symbol = _SYMBOLS.get(op, "?")
        raise Refused("pointer-math", f"R{dst} pointer {symbol} pointer prohibited", dst, operator=symbol)
    pointer, number, regno = (a, b, dst) if a.kind != SCALAR else (b, a, src)
    mark_precise(number)
    symbol = _SYMBOLS.get(op, "?")
    if is32:
        if op == Alu.SUB:
            return unknown()
        raise Refused("pointer-math", f"R{dst} 32-bit pointer arithmetic prohibited", dst, operator=symbol)
    if pointer.flags & MAYBE_NULL:
        raise Refused(
            "null-check",
            f"R{dst} pointer arithmetic on {kind_name(pointer)} prohibited, null-check it first",
            dst,
            of=kind_name(pointer),
        )
    kind, var = pointer.kind, number.var
    if kind not in _ARITHMETIC_KINDS and not (kind == MAP_PTR and var is ZERO and op == Alu.ADD):
        raise Refused(
            "pointer-math",
            f"R{dst} pointer arithmetic on {kind_name(pointer)} prohibited",
            dst,
            operator=symbol,
        )
    _sane(pointer, number.off if number.id & ADD_CONST else 0, var, regno)
    _sane(pointer, pointer.off, pointer.var, regno)
    if op == Alu.ADD:
        sign = 1
    elif op == Alu.SUB:
        sign = -1
        if pointer is b:
            raise Refused(
                "pointer-math", f"R{dst} tried to subtract pointer from scalar", dst, operator=symbol
            )
        if kind == STACK:
            raise Refused(
                "pointer-math", f"R{dst} subtraction from stack pointer prohibited", dst, operator=symbol
            )
    elif op in (Alu.AND, Alu.OR, Alu.XOR):
        raise Refused(
            "pointer-math", f"R{dst} bitwise operator {symbol} on pointer prohibited", dst, operator=symbol
        )
    else:
        raise Refused(
            "pointer-math",
            f"R{dst} pointer arithmetic with {symbol} operator prohibited",
            dst,
            operator=symbol,
        )
    result = clone(pointer)
    off = pointer.off + sign * var.smin
    if var.const is not None and -(1 << 31) <= off < 1 << 31:
        result.off = off
    else:
        result.var = arithmetic.pointer_offset(op, pointer.var, var)
        if kind in PACKETS:
            v.ids += 1
            result.id = v.ids
            if op == Alu.ADD or var.smin < 0:
                result.size = 0
    _sane(result, result.off, result.var, dst)
    return result


_SYMBOLS: dict[int, str] = {
    Alu.ADD: "+=", Alu.SUB: "-=", Alu.MUL: "*=", Alu.DIV: "/=", Alu.OR: "|=", Alu.AND: "&=", Alu.LSH: "<<=",
    Alu.RSH: ">>=", Alu.MOD: "%=", Alu.XOR: "^=", Alu.ARSH: "s>>=",
}  # fmt: skip


# Memory ----------------------------------------------------------------------------------------------


def _load(v: Walk, at: int, insn: Insn) -> Step:
    dst, src, off, after = insn.dst, insn.src, insn.off, at + 1
    size = SIZE_BYTES[Size(size_of(insn.code))]
    signed = mode_of(insn.code) == Mode.MEMSX

    def load() -> int:
        memory.load(v, v.regs[src], off, size, signed, dst)
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
            memory.load(v, v.regs[insn.src], insn.off, size, False, insn.dst)
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
            memory.load(v, pointer, insn.off, size, False, into)
        elif pointer.kind == STACK:
            memory.stack_load(v, pointer, insn.off + pointer.off, size)
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


def check_map_references(spec: ProgramSpec) -> None:
    """resolve_pseudo_ldimm64: maps are there, also where no path leads to the instruction."""
    for at, insn in enumerate(spec.insns):
        if insn.is_ld_imm64 and insn.src in _OF_MAPS:
            found = _map_reference(spec, at, insn)
            if isinstance(found, Refused):
                raise found
            locked = has_field(found.obj, "bpf_spin_lock") or has_field(found.obj, "bpf_res_spin_lock")
            if spec.type == SOCKET_FILTER and locked:
                raise Refused("lock", "socket filter progs cannot use bpf_spin_lock yet", insn=at, errno=22)


_OF_MAPS = frozenset({Pseudo.MAP_FD, Pseudo.MAP_IDX, Pseudo.MAP_VALUE, Pseudo.MAP_IDX_VALUE})


def _wide_value(v: Walk, at: int, insn: Insn) -> Reg | Refused:
    high = v.insns[at + 1] if at + 1 < len(v.insns) else Insn(0)
    match insn.src:
        case 0:
            return Reg(SCALAR, const(high.imm_u32 << 32 | insn.imm_u32))
        case Pseudo.MAP_FD | Pseudo.MAP_IDX | Pseudo.MAP_VALUE | Pseudo.MAP_IDX_VALUE:
            return _map_reference(v.spec, at, insn)
        case Pseudo.FUNC:
            if not v.spec.func_info:
                return Refused("callback", "missing btf func_info", insn=at, errno=22)
            return Reg(FUNC, obj=v.flow.subprogram_at[at + insn.imm + 1])
        case _:
            return Refused(
                "not-covered", "addresses of kernel variables are not known here", insn=at, errno=22
            )


def _map_reference(program: ProgramSpec, at: int, insn: Insn) -> Reg | Refused:
    high = program.insns[at + 1]
    spec = program.maps.get(insn.imm)
    if spec is None:
        return Refused("encoding", f"fd {insn.imm} is not pointing to valid bpf_map", insn=at, errno=9)
    if insn.src in (Pseudo.MAP_FD, Pseudo.MAP_IDX):
        return Reg(MAP_PTR, obj=spec)
    if spec.type != 2 or spec.max_entries != 1:
        return Refused("encoding", "invalid access to map value pointer", insn=at, errno=95)
    if high.imm_u32 >= spec.value_size:
        return Refused(
            "encoding",
            f"invalid access to map value pointer, value_size={spec.value_size} off={high.imm_u32}",
            insn=at,
            errno=22,
        )
    return Reg(MAP_VALUE, off=high.imm, obj=spec)


def _packet_load(v: Walk, at: int) -> Step:
    def load() -> int:
        v.regs[0:6] = [unknown(), *[UNWRITTEN] * 5]
        return at + 1

    return load


# Jumps -----------------------------------------------------------------------------------------------


def _jump(v: Walk, at: int, insn: Insn) -> Step:
    op, is32 = op_of(insn.code), class_of(insn.code) == Class.JMP32
    after = at + 1
    target = after + (insn.imm if is32 and op == Jmp.JA else insn.off)
    if op == Jmp.CALL:
        return _call(v, at, insn)
    if op == Jmp.EXIT:

        def leave() -> int:
            v.jumps += 1
            return function_exit(v) if len(v.state.frames) > 1 else END_OF_PATH

        return leave
    if op == Jmp.JA:

        def jump() -> int:
            v.jumps += 1
            return target

        return jump
    if op == Jmp.JCOND:

        def may_goto() -> int:
            v.jumps += 1
            other = v.push(after)
            other.may_goto_depth += 1
            return target

        return may_goto
    dst, src = insn.dst, insn.src
    constant = Reg(SCALAR, const(insn.imm))
    from_register = src_of(insn.code) == X

    def conditional() -> int:
        v.jumps += 1
        regs = v.regs
        a = regs[dst]
        b = regs[src] if from_register else constant
        outcome = _predicted(op, a, b, is32)
        if outcome >= 0:
            if a.kind == SCALAR:
                mark_precise(a)
            if b.kind == SCALAR and from_register:
                mark_precise(b)
            v.state.trail = (v.state.trail, at, outcome)
            return target if outcome else after
        other = v.push(target)
        other.trail = (v.state.trail, at, 1)
        v.state.trail = (v.state.trail, at, 0)
        if a.kind == SCALAR == b.kind:
            _refine(v, other, op, dst, a, src if from_register else None, b, is32)
        elif not is32 and b.var is ZERO and b.kind == SCALAR and not from_register and a.flags & MAYBE_NULL:
            if op in (Jmp.JEQ, Jmp.JNE):
                null_state, other_state = (other, v.state) if op == Jmp.JEQ else (v.state, other)
                _settle_null(v, null_state, a, is_null=True)
                _settle_null(v, other_state, a, is_null=False)
        elif from_register and not is32 and op in (Jmp.JEQ, Jmp.JNE) and a.is_pointer and b.is_pointer:
            _equal_pointers(v, v.state if op == Jmp.JNE else other, a, b)
        elif from_register and not is32:
            _packet_range(v.state, other, op, a, b)
        return after

    return conditional


def _predicted(op: int, a: Reg, b: Reg, is32: bool) -> int:
    """is_branch_taken."""
    if a.kind == SCALAR == b.kind:
        return branches.taken(op, a.var, b.var, is32)
    if a.kind in PACKETS_ANY and b.kind in PACKETS_ANY and not is32:
        return _packet_predicted(op, a, b)
    if a.kind == SCALAR:
        a, b, op = b, a, FLIPPED[Jmp(op)]
    if b.kind != SCALAR:
        return -1
    number = b.var.const32 if is32 else b.var.const
    if number != 0 or not _not_null(a):
        return -1
    return 0 if op == Jmp.JEQ else 1 if op == Jmp.JNE else -1


_NEVER_NULL = frozenset({SOCKET, TCP_SOCK, MAP_VALUE, MAP_KEY, SOCK_COMMON, MEM, MAP_PTR})


def _not_null(reg: Reg) -> bool:
    """reg_not_null."""
    return not reg.flags & MAYBE_NULL and (reg.kind in _NEVER_NULL or (reg.kind == BTF and bool(reg.ref)))


def _packet_predicted(op: int, a: Reg, b: Reg) -> int:
    """is_pkt_ptr_branch_taken."""
    if b.kind == PACKET_END:
        packet = a
    elif a.kind == PACKET_END:
        packet, op = b, FLIPPED[Jmp(op)]
    else:
        return -1
    if packet.size >= 0:
        return -1
    if op in (Jmp.JLE, Jmp.JGT) and packet.size == BEYOND_END:
        return int(op == Jmp.JGT)
    if op in (Jmp.JLT, Jmp.JGE):
        return int(op == Jmp.JGE)
    return -1


def _refine(v: Walk, other: State, op: int, dst: int, a: Reg, src: int | None, b: Reg, is32: bool) -> None:
    """reg_set_min_max, then sync_linked_regs."""
    if src == dst:
        yes_a, no_a = branches.refined_alone(op, a.var, is32)
        yes_b, no_b = yes_a, no_a
    else:
        yes_a, yes_b, no_a, no_b = branches.refined(op, a.var, b.var, is32)
    linked = a.id & ~ADD_CONST, b.id & ~ADD_CONST if src is not None else 0
    for state, new_a, new_b in ((v.state, no_a, no_b), (other, yes_a, yes_b)):
        regs = state.frames[-1].regs
        both = (a, b)
        first = _narrowed(a, new_a, both)
        regs[dst] = first
        if src is not None:
            second = first if src == dst else _narrowed(b, new_b, both)
            regs[src] = second
            if linked[1]:
                _sync_linked(v, state, second)
        if linked[0]:
            _sync_linked(v, state, regs[dst])


def _narrowed(reg: Reg, var: Range, sources: tuple[Reg, Reg]) -> Reg:
    if var is reg.var:
        return reg
    return Reg(SCALAR, var, reg.off, reg.id, sources)


MAX_LINKED = 6
"""LINKED_REGS_MAX: as many numbers are kept in step; those beyond lose their id."""


def _sync_linked(v: Walk, state: State, known: Reg) -> None:
    """collect_linked_regs, sync_linked_regs: what is known of one number is known of its copies.

    Registers that no instruction reads any more are left as they are.
    """
    family = known.id & ~ADD_CONST
    count = 0
    for frame in reversed(state.frames):
        live = live_registers(v, state, frame.number, v.pc)
        for number in range(10):
            reg = frame.regs[number]
            if reg.kind == SCALAR and reg.id & ~ADD_CONST == family and live >> number & 1:
                count += 1
                if count > MAX_LINKED:
                    frame.regs[number] = reg.but(id=0)
                elif reg is not known:
                    frame.regs[number] = _linked(reg, known)
        for number, slot in frame.stack.items():
            reg = slot.reg
            if reg.kind == SCALAR and reg.id & ~ADD_CONST == family and slot.kinds[0] == SPILL:
                count += 1
                linked = reg.but(id=0) if count > MAX_LINKED else _linked(reg, known)
                frame.stack[number] = Slot(slot.kinds, linked)


def _linked(reg: Reg, known: Reg) -> Reg:
    if (reg.id ^ known.id) & ADD_CONST == ADD_CONST:
        return reg  # one in 64 bits, the other in 32
    if not (reg.id | known.id) & ADD_CONST or reg.off == known.off:
        if reg.id == known.id and reg.var is known.var:
            return reg
        new = clone(known)
        new.src = (reg, known)
        new.precise = False
        return new
    delta = const(reg.off - known.off)
    var = arithmetic.alu(Alu.ADD, known.var, delta, bool((reg.id | known.id) & ADD_CONST32))
    return Reg(SCALAR, var, reg.off, reg.id, (reg, known))


def _settle_null(v: Walk, state: State, pointer: Reg, *, is_null: bool) -> None:
    """mark_ptr_or_null_regs: every copy of the pointer is 0, or is not."""
    if is_null and pointer.ref and pointer.ref == pointer.id:
        state.refs = tuple(r for r in state.refs if r.id != pointer.id or r.kind)
    for frame in state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.id == pointer.id and reg.flags & MAYBE_NULL:
                frame.regs[number] = _settled(v, reg, is_null)
        for number, slot in frame.stack.items():
            if slot.reg.id == pointer.id and slot.reg.flags & MAYBE_NULL:
                frame.stack[number] = Slot(slot.kinds, _settled(v, slot.reg, is_null))


def _settled(v: Walk, reg: Reg, is_null: bool) -> Reg:
    if is_null:
        return Reg(SCALAR, ZERO)
    if reg.kind == MAP_VALUE and reg.obj.inner is not None:
        return Reg(MAP_PTR, obj=reg.obj.inner, uid=reg.id if _has_timer(reg.obj.inner) else 0)
    new = clone(reg)
    new.flags &= ~MAYBE_NULL
    if not may_point_to_lock(v, new):
        new.id = 0
    return new


def _has_timer(spec: MapSpec) -> bool:
    return has_field(spec, "bpf_timer") or has_field(spec, "bpf_wq") or has_field(spec, "bpf_task_work")


def _equal_pointers(v: Walk, state: State, a: Reg, b: Reg) -> None:
    """A pointer that equals one that is not 0 is not 0 either."""
    if bool(a.flags & MAYBE_NULL) == bool(b.flags & MAYBE_NULL) or BTF in (a.kind, b.kind):
        return
    maybe = a if a.flags & MAYBE_NULL else b
    other = b if maybe is a else a
    if _not_null(other) or other.kind == STACK:
        _settle_null(v, state, maybe, is_null=False)


def _packet_range(fall: State, jump: State, op: int, a: Reg, b: Reg) -> None:
    """try_match_pkt_pointers: how far the packet surely reaches, on either branch."""
    for pointer, end, flipped in ((a, b, False), (b, a, True)):
        if not (
            (pointer.kind == PACKET and end.kind == PACKET_END)
            or (pointer.kind == PACKET_META and end.kind == PACKET and not end.off and end.var is ZERO)
        ):
            continue
        how = FLIPPED[Jmp(op)] if flipped else op
        if how == Jmp.JGT:  # beyond the end where it jumps
            _reaches(fall, pointer, 0)
            _ends(jump, pointer, BEYOND_END)
        elif how == Jmp.JLT:
            _reaches(jump, pointer, 1)
            _ends(fall, pointer, AT_END)
        elif how == Jmp.JGE:
            _reaches(fall, pointer, 1)
            _ends(jump, pointer, AT_END)
        elif how == Jmp.JLE:
            _reaches(jump, pointer, 0)
            _ends(fall, pointer, BEYOND_END)
        return


MAX_PACKET_OFF = 0xFFFF


def _reaches(state: State, pointer: Reg, more: int) -> None:
    """find_good_pkt_pointers."""
    if pointer.off < 0 or (not pointer.off and more):
        return
    if pointer.var.umax > MAX_PACKET_OFF or pointer.var.umax + pointer.off > MAX_PACKET_OFF:
        return
    reach = pointer.off + more
    for frame in state.frames:
        for number, reg in enumerate(frame.regs):
            if reg.kind == pointer.kind and reg.id == pointer.id and reg.size < reach:
                frame.regs[number] = reg.but(size=reach)
        for number, slot in frame.stack.items():
            reg = slot.reg
            if reg.kind == pointer.kind and reg.id == pointer.id and reg.size < reach:
                frame.stack[number] = Slot(slot.kinds, reg.but(size=reach))


def _ends(state: State, pointer: Reg, where: int) -> None:
    """mark_pkt_end: this register points to the end, or beyond."""
    if pointer.kind != PACKET:
        return
    regs = state.frames[-1].regs
    for number, reg in enumerate(regs):
        if reg is pointer:
            regs[number] = reg.but(size=where)


def _call(v: Walk, at: int, insn: Insn) -> Step:
    def call() -> int:
        v.jumps += 1
        if insn.src == PSEUDO_CALL:
            return function_call(v, at + insn.imm + 1)
        if insn.src == PSEUDO_KFUNC_CALL:
            return kfunc_call(v, insn.imm)
        return helper_call(v, insn.imm)

    return call
