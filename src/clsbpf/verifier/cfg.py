"""How do instructions follow each other?  Subprograms, reachability, and which registers live on.

Before the walk, without values: where functions begin and end, that jumps stay inside their function
(check_subprogs), that every instruction can be reached (check_cfg), at which instructions it pays to
compare states (prune points), and which registers an instruction's successors may still read
(compute_live_registers).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..bpf.insn import Insn
from ..bpf.isa import (
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Pseudo,
    class_of,
    mode_of,
    op_of,
    src_of,
)
from ..bpf.kfuncs import kfuncs as kfunc_table
from ..bpf.prototypes import prototype_of
from .components import loops
from .refusal import Refused

CALL = Class.JMP | Jmp.CALL
EXIT = Class.JMP | Jmp.EXIT
SYNC_CALLBACKS = {164: 1, 180: 2, 181: 1, 209: 1}
"""Helpers that call a function of the program's before they return: number → index of that argument."""
TIMER_SET_CALLBACK = 170
SYNC_KFUNC_CALLBACKS = frozenset({"bpf_rbtree_add_impl"})
ASYNC_KFUNC_CALLBACKS = frozenset({
    "bpf_wq_set_callback_impl", "bpf_task_work_schedule_signal_impl", "bpf_task_work_schedule_resume_impl",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subprogram:
    """struct bpf_subprog_info: instructions `start` to `end` (exclusive)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Flow:
    """What is known of a program without looking at values."""

    subprograms: tuple[Subprogram, ...]
    subprogram_at: Mapping[int, int]
    """By first instruction: which subprogram."""
    prune_points: frozenset[int]
    jump_points: frozenset[int]
    """Where a path may come from elsewhere than the instruction before."""
    live: tuple[int, ...]
    """By instruction: the registers (bits) that may be read from there on."""
    following: tuple[tuple[int, ...], ...]
    """By instruction: those that may come next within the function."""
    loops: tuple[int, ...]
    """By instruction: the number of the loop that it is in (see `components`), 0 for none."""
    callback_calls: frozenset[int]
    """Where a helper calls a function of the program's before it returns, any number of times."""


def is_pseudo_call(insn: Insn) -> bool:
    """Does it call a function of the program?"""
    return insn.code == CALL and insn.src == PSEUDO_CALL


def is_function_pointer(insn: Insn) -> bool:
    """Does it load a function of the program's address?"""
    return insn.is_ld_imm64 and insn.src == Pseudo.FUNC


def calls_back(insn: Insn, kfuncs: Sequence[str]) -> bool:
    """is_sync_callback_calling_insn: does what it calls call a function of the program before it returns?"""
    if insn.code != CALL or insn.src == PSEUDO_CALL:
        return False
    if insn.src == PSEUDO_KFUNC_CALL:
        return 0 <= insn.imm < len(kfuncs) and kfuncs[insn.imm] in SYNC_KFUNC_CALLBACKS
    return insn.imm in SYNC_CALLBACKS


def calls_back_later(insn: Insn, kfuncs: Sequence[str]) -> bool:
    """is_async_callback_calling_insn: … or some time later?"""
    if insn.code != CALL or insn.src == PSEUDO_CALL:
        return False
    if insn.src == PSEUDO_KFUNC_CALL:
        return 0 <= insn.imm < len(kfuncs) and kfuncs[insn.imm] in ASYNC_KFUNC_CALLBACKS
    return insn.imm == TIMER_SET_CALLBACK


def iterator_asked(insn: Insn, kfuncs: Sequence[str]) -> str | None:
    """The kernel function that asks an iterator for what is next, if the instruction calls one."""
    if insn.code != CALL or insn.src != PSEUDO_KFUNC_CALL or not 0 <= insn.imm < len(kfuncs):
        return None
    name = kfuncs[insn.imm]
    return name if name.startswith("bpf_iter_") and name.endswith("_next") else None


MAX_SUBPROGS = 256
"""BPF_MAX_SUBPROGS."""


def find_subprograms(insns: Sequence[Insn], thrown_to: int = 0) -> tuple[Subprogram, ...]:
    """add_subprog and check_subprogs: where functions begin and end, and that jumps stay inside.

    `thrown_to`: where the exception callback begins, if there is one.
    """
    if not 0 <= thrown_to < len(insns):
        raise Refused("control-flow", "call to invalid destination", errno=22)
    starts = {0, thrown_to}
    for at, insn in enumerate(insns):
        if is_pseudo_call(insn) or is_function_pointer(insn):
            target = at + insn.imm + 1
            if not 0 <= target < len(insns):
                raise Refused("control-flow", "call to invalid destination", insn=at, errno=22)
            if target not in starts and len(starts) >= MAX_SUBPROGS:
                raise Refused("control-flow", "too many subprograms", insn=at, errno=7)
            starts.add(target)
    ordered = [*sorted(starts), len(insns)]
    subprograms = tuple(Subprogram(a, b) for a, b in itertools.pairwise(ordered))
    for sub in subprograms:
        _check_jumps(insns, sub)
    return subprograms


def analyse(
    insns: Sequence[Insn], subprograms: tuple[Subprogram, ...], kfuncs: Sequence[str] = (), thrown_to: int = 0
) -> Flow:
    """check_cfg, and what else is known without values; Refused where the kernel refuses."""
    at_start = {sub.start: index for index, sub in enumerate(subprograms)}
    prune, jumps = _check_reachable(insns, thrown_to, kfuncs)
    following = tuple(
        successors(insns, at) if insns[at].code or not at or not insns[at - 1].is_ld_imm64 else ()
        for at in range(len(insns))
    )
    callbacks = frozenset(at for at, insn in enumerate(insns) if calls_back(insn, kfuncs))
    return Flow(
        subprograms,
        at_start,
        prune,
        jumps,
        _live_registers(insns, kfuncs, following),
        following,
        loops(following),
        callbacks,
    )


def jump_target(insn: Insn, at: int) -> int | None:
    """Where a jump (conditional or not) may go besides the next instruction."""
    cls, op = class_of(insn.code), op_of(insn.code)
    if cls not in (Class.JMP, Class.JMP32) or op in (Jmp.CALL, Jmp.EXIT):
        return None
    if insn.code == Class.JMP32 | Jmp.JA:
        return at + insn.imm + 1
    return at + insn.off + 1


def _check_jumps(insns: Sequence[Insn], sub: Subprogram) -> None:
    for at in range(sub.start, sub.end):
        insn = insns[at]
        target = jump_target(insn, at)
        if target is not None and not sub.start <= target < sub.end:
            message = f"jump out of range from insn {at} to {target}"
            raise Refused("control-flow", message, insn=at, errno=22)
    last = insns[sub.end - 1].code
    if last != EXIT and last not in (Class.JMP32 | Jmp.JA, Class.JMP | Jmp.JA):
        raise Refused("control-flow", "last insn is not an exit or jmp", insn=sub.end - 1, errno=22)


def successors(insns: Sequence[Insn], at: int) -> tuple[int, ...]:
    """The instructions that may come next within the function."""
    insn = insns[at]
    if insn.is_ld_imm64:
        return (at + 2,)
    if insn.code == EXIT:
        return ()
    target = jump_target(insn, at)
    if target is None:
        return (at + 1,)
    if op_of(insn.code) == Jmp.JA:
        return (target,)
    return (at + 1, target)


def _check_reachable(
    insns: Sequence[Insn], thrown_to: int, kfuncs: Sequence[str]
) -> tuple[frozenset[int], frozenset[int]]:
    prune: set[int] = set()
    jumps: set[int] = set()
    seen: set[int] = set()
    todo = [0, thrown_to]
    second = {at + 1 for at, insn in enumerate(insns) if insn.is_ld_imm64}
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        if not 0 <= at < len(insns):
            message = f"jump out of range from insn {at - 1} to {at}"
            raise Refused("control-flow", message, insn=at - 1, errno=22)
        seen.add(at)
        insn = insns[at]
        cls, op = class_of(insn.code), op_of(insn.code)
        if is_function_pointer(insn) or is_pseudo_call(insn):
            after = at + 1 + insn.is_ld_imm64
            prune.update((at, after, at + insn.imm + 1))
            jumps.update((after, at + insn.imm + 1))
            todo.append(at + insn.imm + 1)
        if insn.code == CALL:
            prune.add(at + 1)
            jumps.add(at + 1)
            if calls_back(insn, kfuncs):
                prune.add(at)
                jumps.add(at)
            elif calls_back_later(insn, kfuncs) or iterator_asked(insn, kfuncs) is not None:
                prune.add(at)
        elif cls in (Class.JMP, Class.JMP32) and op != Jmp.EXIT:
            target = jump_target(insn, at)
            assert target is not None
            prune.add(target)
            jumps.add(target)
            if op != Jmp.JA:
                prune.add(at)
        todo.extend(successors(insns, at))
    for at in range(len(insns)):
        if at in second:
            if at in seen:
                message = f"jump into the middle of ldimm64 insn {at - 1}"
                raise Refused("control-flow", message, insn=at, errno=22)
        elif at not in seen:
            raise Refused("unreachable", f"unreachable insn {at}", insn=at, errno=22)
    return frozenset(prune), frozenset(jumps)


def uses_and_defines(insn: Insn, kfuncs: Sequence[str] = ()) -> tuple[int, int]:
    """compute_insn_live_regs: the registers (bits) that are read, and those that are overwritten."""
    cls, op = class_of(insn.code), op_of(insn.code)
    dst, src = 1 << insn.dst, 1 << insn.src
    from_register = bool(src_of(insn.code))
    if cls in (Class.ALU, Class.ALU64):
        if op == Alu.MOV:
            return (src if from_register else 0), dst
        if op in (Alu.NEG, Alu.END) or not from_register:
            return dst, dst
        return dst | src, dst
    if cls == Class.LD:
        if mode_of(insn.code) == Mode.IMM:
            return 0, dst
        used = 1 << 6 | (src if mode_of(insn.code) == Mode.IND else 0)
        return used, 0b111111
    if cls == Class.LDX:
        return src, dst
    if cls == Class.ST:
        return dst, 0
    if cls == Class.STX:
        if mode_of(insn.code) != Mode.ATOMIC:
            return dst | src, 0
        if insn.imm == Atomic.LOAD_ACQ:
            return src, dst
        if insn.imm == Atomic.CMPXCHG:
            return dst | src | 1, 1
        if insn.imm & Atomic.FETCH and insn.imm != Atomic.STORE_REL:
            return dst | src, src
        return dst | src, 0
    if insn.code == EXIT:
        return 1, 0
    if insn.code == CALL:
        proto = prototype_of(insn.imm) if insn.src == 0 else None
        used = (2 << len(proto.words)) - 2 if proto is not None else 0b111110
        if insn.src == PSEUDO_KFUNC_CALL and 0 <= insn.imm < len(kfuncs):
            kfunc = kfunc_table().get(kfuncs[insn.imm])
            used = (2 << len(kfunc.params)) - 2 if kfunc is not None else used
        return used, 0b111111
    if op == Jmp.JA or op == Jmp.JCOND:
        return 0, 0
    return (dst | src if from_register else dst), 0


def _live_registers(
    insns: Sequence[Insn], kfuncs: Sequence[str], following: Sequence[Sequence[int]]
) -> tuple[int, ...]:
    live = [0] * (len(insns) + 1)
    effects = [
        # (of an access to the packet by number nothing is known: compute_insn_live_regs)
        (0x3FF, 0) if insn.code & 7 == Class.LD and not insn.is_ld_imm64 else uses_and_defines(insn, kfuncs)
        for insn in insns
    ]
    changed = True
    while changed:
        changed = False
        for at in range(len(insns) - 1, -1, -1):
            after = 0
            for following_at in following[at]:
                if 0 <= following_at < len(insns):
                    after |= live[following_at]
            used, defined = effects[at]
            now = after & ~defined | used
            if now != live[at]:
                live[at] = now
                changed = True
    return tuple(live)
