"""Which classic programs are taken: `bpf_check_classic` and `check_load_and_stores` of `net/core/filter.c`.

A classic program is safe by simple means.  Jumps only go forward, so it ends; every jump lands inside
and the last instruction returns, so it does not run off; scratch memory is read only where it was
written on every path, so it never shows what lay there before; and what could trap (a constant
division by zero) is refused.  Packet loads need no check here: one outside the packet ends the program
with 0 when it runs.

Two of the kernel's rules surprise, and are kept.  An instruction that no path reaches is checked like
any other, except that scratch memory counts as written there.  And a current kernel, which writes each
packet load out as up to 21 eBPF instructions, refuses a `jmp` over so many of them that the distance
does not fit eBPF's 16-bit offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from ..errors import BytecodeError
from ..profile import CURRENT, KernelProfile
from .classic import SKF_AD_OFF, Ancillary, CheckedClassic, SockFilter
from .isa import (
    BPF_MAXINSNS,
    BPF_MEMWORDS,
    CLASSIC_TAX,
    CLASSIC_TXA,
    A,
    Alu,
    Class,
    Jmp,
    K,
    Mode,
    Size,
    X,
    mode_of,
    op_of,
    size_of,
    src_of,
)

Rule = Callable[[SockFilter, int], str | None]
"""An instruction and how many come after it → what is wrong with it, or None."""

ANCILLARY_OFFSETS = frozenset(SKF_AD_OFF + what for what in Ancillary)

ALL_WORDS = (1 << BPF_MEMWORDS) - 1

JUMP_REACH = 0x7FFF
"""The longest distance that an eBPF instruction's `off` can say."""


def _anything(insn: SockFilter, after: int) -> str | None:
    return None


def _nonzero_divisor(insn: SockFilter, after: int) -> str | None:
    return "division by the constant 0" if insn.k == 0 else None


def _shift_inside(insn: SockFilter, after: int) -> str | None:
    return f"shift by {insn.k}; 0 to 31 are allowed" if insn.k >= 32 else None


def _word_exists(insn: SockFilter, after: int) -> str | None:
    if insn.k >= BPF_MEMWORDS:
        return f"scratch memory word {insn.k}; there are 0 to {BPF_MEMWORDS - 1}"
    return None


def _lands_inside(insn: SockFilter, after: int) -> str | None:
    if insn.k >= after:
        return f"jump over {insn.k} instructions; {after} come after it"
    return None


def _both_land_inside(insn: SockFilter, after: int) -> str | None:
    for name, skip in (("true", insn.jt), ("false", insn.jf)):
        if skip >= after:
            return f"jump over {skip} instructions if {name}; {after} come after it"
    return None


def _packet_or_known_ancillary(insn: SockFilter, after: int) -> str | None:
    if insn.k >= SKF_AD_OFF and insn.k not in ANCILLARY_OFFSETS:
        return f"no ancillary value at SKF_AD_OFF + {insn.k - SKF_AD_OFF}"
    return None


_LD, _LDX, _ALU, _JMP = Class.LD, Class.LDX, Class.ALU, Class.JMP
_RETURNS = (Class.RET | K, Class.RET | A)
_STORES = (Class.ST, Class.STX)
_MEM_LOADS = (_LD | Mode.MEM, _LDX | Mode.MEM)
_JUMP = _JMP | Jmp.JA
_CONDITIONAL = tuple(_JMP | op | src for op in (Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET) for src in (K, X))
_ABS_LOADS = tuple(_LD | size | Mode.ABS for size in (Size.W, Size.H, Size.B))
_IND_LOADS = tuple(_LD | size | Mode.IND for size in (Size.W, Size.H, Size.B))
_MSH_LOAD = _LDX | Size.B | Mode.MSH
_DIVISIONS = (Alu.DIV, Alu.MOD)
_SHIFTS = (Alu.LSH, Alu.RSH)
_PLAIN_ALU = (Alu.ADD, Alu.SUB, Alu.MUL, Alu.OR, Alu.AND, Alu.XOR)

RULES: dict[int, Rule] = {
    # chk_code_allowed(): every instruction there is, with what it must hold.
    **{_ALU | op | K: _anything for op in _PLAIN_ALU},
    **{_ALU | op | X: _anything for op in (*_PLAIN_ALU, *_DIVISIONS, *_SHIFTS)},
    **{_ALU | op | K: _nonzero_divisor for op in _DIVISIONS},
    **{_ALU | op | K: _shift_inside for op in _SHIFTS},
    _ALU | Alu.NEG: _anything,
    **dict.fromkeys(_ABS_LOADS, _packet_or_known_ancillary),
    **dict.fromkeys(_IND_LOADS, _anything),
    _LD | Size.W | Mode.LEN: _anything,
    _LDX | Size.W | Mode.LEN: _anything,
    _MSH_LOAD: _anything,
    _LD | Mode.IMM: _anything,
    _LDX | Mode.IMM: _anything,
    **dict.fromkeys(_MEM_LOADS, _word_exists),
    **dict.fromkeys(_STORES, _word_exists),
    Class.MISC | CLASSIC_TAX: _anything,
    Class.MISC | CLASSIC_TXA: _anything,
    **dict.fromkeys(_RETURNS, _anything),
    _JUMP: _lands_inside,
    **dict.fromkeys(_CONDITIONAL, _both_land_inside),
}


def check(insns: Iterable[SockFilter], profile: KernelProfile = CURRENT) -> CheckedClassic:
    """The program, if the kernel would take it; BytecodeError with the instruction and the reason if not."""
    program = tuple(insns)
    if not 0 < len(program) <= BPF_MAXINSNS:
        raise BytecodeError(f"a program of {len(program)} instructions; 1 to {BPF_MAXINSNS} are allowed")
    for pc, insn in enumerate(program):
        rule = RULES.get(insn.code)
        if rule is None:
            raise _refusal(pc, f"no classic instruction has code {insn.code} (0x{insn.code:02x})")
        reason = rule(insn, len(program) - pc - 1)
        if reason is not None:
            raise _refusal(pc, reason)
    if program[-1].code not in _RETURNS:
        raise _refusal(len(program) - 1, "the last instruction must return")
    _check_scratch_memory(program)
    if profile.classic_loads_inline:
        _check_reach(program)
    return CheckedClassic(program)


def _refusal(pc: int, reason: str) -> BytecodeError:
    return BytecodeError(f"instruction {pc}: {reason}", pc)


def _check_scratch_memory(program: Sequence[SockFilter]) -> None:
    """check_load_and_stores(): no word of M[] is read before it was written on every path to the read."""
    arriving = [ALL_WORDS] * len(program)  # the words written on every path that jumps here
    written = 0
    for pc, insn in enumerate(program):
        written &= arriving[pc]
        if insn.code in _STORES:
            written |= 1 << insn.k
        elif insn.code in _MEM_LOADS:
            if not written >> insn.k & 1:
                raise _refusal(pc, f"reads M[{insn.k}], which not every path to it has written")
        elif insn.code == _JUMP:
            arriving[pc + 1 + insn.k] &= written
            written = ALL_WORDS
        elif insn.code in _CONDITIONAL:
            arriving[pc + 1 + insn.jt] &= written
            arriving[pc + 1 + insn.jf] &= written
            written = ALL_WORDS


def _check_reach(program: Sequence[SockFilter]) -> None:
    """BPF_EMIT_JMP in bpf_convert_filter(): does every `jmp` fit an s16 once the program is eBPF?

    A conditional jump skips at most 255 instructions, which always fits.
    """
    starts = [0, *accumulate(_converted_length(insn) for insn in program)]
    for pc, insn in enumerate(program):
        if insn.code == _JUMP:
            distance = starts[pc + 1 + insn.k] - starts[pc + 1]
            if distance > JUMP_REACH:
                raise _refusal(
                    pc, f"jump over {distance} instructions once translated; {JUMP_REACH} is the most"
                )


_ANCILLARY_LENGTHS = {
    Ancillary.PROTOCOL: 2,
    Ancillary.PKTTYPE: 2,
    Ancillary.IFINDEX: 4,
    Ancillary.NLATTR: 4,
    Ancillary.NLATTR_NEST: 4,
    Ancillary.MARK: 1,
    Ancillary.QUEUE: 1,
    Ancillary.HATYPE: 4,
    Ancillary.RXHASH: 1,
    Ancillary.CPU: 4,
    Ancillary.ALU_XOR_X: 1,
    Ancillary.VLAN_TAG: 1,
    Ancillary.VLAN_TAG_PRESENT: 3,
    Ancillary.PAY_OFFSET: 4,
    Ancillary.RANDOM: 4,
    Ancillary.VLAN_TPID: 2,
}


def _converted_length(insn: SockFilter) -> int:
    """How many eBPF instructions the kernel's bpf_convert_filter() makes of one (on x86-64, arm64, …)."""
    if insn.code in _ABS_LOADS:
        if insn.k >= SKF_AD_OFF:
            return _ANCILLARY_LENGTHS[Ancillary(insn.k - SKF_AD_OFF)]
        return _packet_load_length(insn)
    if insn.code in _IND_LOADS:
        return _packet_load_length(insn)
    if insn.code == _MSH_LOAD:
        return 6 + _packet_load_length(insn)
    if insn.code in (_ALU | Alu.DIV | X, _ALU | Alu.MOD | X):
        return 5
    if insn.code in _CONDITIONAL:
        return _conditional_length(insn)
    return 2 if insn.code == Class.RET | K else 1


def _packet_load_length(insn: SockFilter) -> int:
    """convert_bpf_ld_abs(): the fast path where the offset is known, then the call."""
    if mode_of(insn.code) == Mode.IND:
        return 8 + (insn.k != 0)
    if insn.k > 0x7FFFFFFF:
        return 8
    swaps = size_of(insn.code) != Size.B
    loads = 1 if insn.k <= JUMP_REACH else 3
    return 3 + (insn.k != 0) + loads + swaps + 8


def _conditional_length(insn: SockFilter) -> int:
    """One comparison, a move before it for a constant over 2**31, a `goto` after it for a second target."""
    constant = src_of(insn.code) == K and insn.k > 0x7FFFFFFF
    inverted = insn.jt == 0 and op_of(insn.code) != Jmp.JSET
    return 1 + constant + (not (insn.jf == 0 or inverted))
