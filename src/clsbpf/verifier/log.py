"""The log, in the kernel's own form: instructions, and what is known where (kernel/bpf/log.c).

A line an instruction, as the kernel's disassembler writes it, with what it read and wrote behind it:
`R1=pkt(r=14)`, `fp-8=scalar()`.  Where the walk takes up another path, `from N to M:` and the whole state.
What is not known is not printed, and bounds that say nothing are left out (print_verifier_state).  In between
are the lines of who works out what matters: `precision`, `liveness`, `loops`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..bpf.disasm import format_insn
from ..bpf.helpers import BY_NUMBER
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
    Size,
    X,
    size_of,
)
from .cfg import CALL, is_function_pointer, uses_and_defines
from .ranges import S32_MAX, S32_MIN, S64_MAX, S64_MIN, Range, s64
from .state import DYNPTR_BYTES, EMPTY, INVALID, IRQ_BYTES, ITER_BYTES, MISC, SPILL, Frame, Slot, State
from .state import ZERO as ZERO_BYTE
from .tnum import U32, U64
from .values import (
    ADD_CONST,
    BTF,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MEM,
    NOT_INIT,
    PACKETS,
    SCALAR,
    STACK,
    Reg,
)

if TYPE_CHECKING:
    from .walk import Walk

# A register ------------------------------------------------------------------------------------------


def _number(value: int, bits: int, *, signed: bool) -> str:
    """verbose_unum, verbose_snum: small ones in decimal, the others in hexadecimal."""
    if -0x8000 <= value <= 0x7FFF if signed else value <= 0xFFFF:
        return str(value)
    return f"{value & (1 << bits) - 1:#x}"


def range_fields(var: Range) -> Iterator[str]:
    """print_scalar_ranges: those that say something, equal ones joined by `=`, least with least."""
    fields = [
        ("smin", var.smin, var.smin == S64_MIN, True, 64),
        ("smax", var.smax, var.smax == S64_MAX, True, 64),
        ("umin", var.umin, var.umin == 0, False, 64),
        ("umax", var.umax, var.umax == U64, False, 64),
        ("smin32", var.s32_min, var.s32_min == S32_MIN, True, 32),
        ("smax32", var.s32_max, var.s32_max == S32_MAX, True, 32),
        ("umin32", var.u32_min, var.u32_min == 0, False, 32),
        ("umax32", var.u32_max, var.u32_max == U32, False, 32),
    ]
    texts = [_number(value, bits, signed=signed) for _, value, _, signed, bits in fields]
    # a half that is told in hexadecimal is not sign-extended, and so is another number
    values = [
        value & (U64 if bits == 64 or -0x8000 <= value <= 0x7FFF else U32) for _, value, _, _, bits in fields
    ]
    negative = [signed and value >> 63 == 1 for value, (*_, signed, _) in zip(values, fields, strict=True)]
    done: set[int] = set()
    for i, (name, _, nothing, _, _) in enumerate(fields):
        if nothing or i in done:
            continue
        names = [name]
        for j in range(i + 2, len(fields), 2):
            same = values[i] == values[j] and negative[i] == negative[j]
            if j not in done and not fields[j][2] and same:
                names.append(fields[j][0])
                done.add(j)
        yield "=".join(names) + "=" + texts[i]
    if var.mask not in (0, U64):
        yield f"var_off=({var.value:#x}; {var.mask:#x})"


def register_text(reg: Reg, frame: int | None = None, *, precise: int = 0) -> str:
    """print_reg_state: `scalar(id=1,umax=255,var_off=(0x0; 0xff))`.  `frame` is the one that runs."""
    return "P" * precise + _register_text(reg, frame)


def _register_text(reg: Reg, frame: int | None) -> str:
    from .access import kind_name

    if reg.kind == NOT_INIT:
        return "?"
    if reg.kind == SCALAR and reg.var.const is not None:
        return _number(s64(reg.var.value), 64, signed=True)
    name = kind_name(reg) + (str(reg.obj) if reg.kind == BTF else "")
    if reg.kind == STACK:
        name = "fp" if frame is None or reg.size == frame else f"fp[{reg.size}]"
        if not reg.var.mask:
            return f"{name}{reg.off + reg.var.smin}"
    parts: list[str] = []
    if reg.id:
        more = f"{reg.off:+d}" if reg.kind == SCALAR and reg.id & ADD_CONST else ""
        parts.append(f"id={reg.id & ~ADD_CONST}{more}")
    if reg.ref:
        parts.append(f"ref_obj_id={reg.ref}")
    if reg.kind in (MAP_PTR, MAP_VALUE, MAP_KEY) and reg.obj is not None:
        if reg.obj.name and not reg.obj.name.endswith(".inner"):  # (a map's pattern of those in it has none)
            parts.append(f"map={reg.obj.name[:15]}")
        parts.append(f"ks={reg.obj.key_size},vs={reg.obj.value_size}")
    if reg.kind != SCALAR and reg.off:
        parts.append(f"off={_number(reg.off, 64, signed=True)}")
    if reg.kind in PACKETS:
        parts.append(f"r={_number(reg.size & U64, 64, signed=False)}")
    if reg.kind == MEM:
        parts.append(f"sz={_number(reg.size, 64, signed=False)}")
    if not reg.var.mask:
        if reg.var.value:
            parts.append(f"imm={_number(reg.var.smin, 64, signed=True)}")
    else:
        parts.extend(range_fields(reg.var))
    if reg.kind in (SCALAR, STACK, BTF) and not parts:
        return f"{name}()"
    return name + "(" + ",".join(parts) + ")"


# A state ---------------------------------------------------------------------------------------------

_BYTES = {
    INVALID: "?", MISC: "m", ZERO_BYTE: "0", SPILL: "r", DYNPTR_BYTES: "d", ITER_BYTES: "i", IRQ_BYTES: "f",
}  # fmt: skip


def state_text(
    state: State, index: int = -1, registers: int | None = None, slots: set[int] | None = None
) -> str:
    """print_verifier_state of a frame: all of it, or only these registers (bits) and slots."""
    frame = state.frames[index]
    parts = [f" frame{frame.number}:"] if frame.number else []
    for n, reg in enumerate(frame.regs):
        if reg.kind != NOT_INIT and (registers is None or registers >> n & 1):
            parts.append(f" R{n}={register_text(reg, frame.number, precise=frame.precise >> n & 1)}")
    parts += [f" {text}" for text in _stack_text(frame, slots)]
    if state.refs:
        parts.append(" refs=" + ",".join(str(ref.id) for ref in state.refs))
    if frame.callback is not None:
        parts.append(" cb" if len(state.frames) > 1 else " async_cb")
    return "".join(parts)


def _stack_text(frame: Frame, slots: set[int] | None) -> Iterator[str]:
    for number, slot in sorted(frame.stack.items()):
        if slots is not None and number not in slots:
            continue
        at = -8 * (number + 1)
        lowest = slot.kinds[0]
        if lowest == SPILL:
            rest = "".join(_BYTES[k] for k in reversed(slot.kinds) if k != SPILL)
            precise = frame.precise_slots >> number & 1
            yield f"fp{at}={rest}{register_text(slot.reg, frame.number, precise=precise)}"
        elif lowest == DYNPTR_BYTES:
            if slot.reg.size:
                yield f"fp{at}=dynptr_{slot.reg.obj}({_ids(slot)})"
        elif lowest == ITER_BYTES:
            if slot.reg.size:
                name, state = slot.reg.obj.removeprefix("bpf_"), "active" if slot.reg.uid == 1 else "drained"
                yield f"fp{at}={name}(ref_id={slot.reg.ref},state={state},depth={slot.reg.off})"
        elif any(slot.kinds):
            yield f"fp{at}=" + "".join(_BYTES[k] for k in reversed(slot.kinds))


def _ids(slot: Slot) -> str:
    fields = (("id", slot.reg.id), ("ref_id", slot.reg.ref), ("dynptr_id", 1))
    return ",".join(f"{name}={value}" for name, value in fields if value)


# An instruction --------------------------------------------------------------------------------------

_HALF = re.compile(r"\bw(\d+)")
_BY_NUMBER = re.compile(r"skb\[(r\d+)\]")
_GOTO = re.compile(r"goto ([+-]\d+)$")


def insn_text(v: Walk, at: int) -> str:
    """print_bpf_insn."""
    insn = v.insns[at]
    if insn.code == CALL and insn.src == 0:
        helper = BY_NUMBER.get(insn.imm)
        return f"call {helper.symbol if helper else 'unknown'}#{insn.imm}"
    if insn.code == CALL and insn.src == PSEUDO_CALL:
        return f"call pc{insn.imm:+d}"
    if insn.code == CALL and insn.src == PSEUDO_KFUNC_CALL:
        names = v.spec.kfuncs
        return f"call {names[insn.imm]}" if 0 <= insn.imm < len(names) else f"call kernel-function#{insn.imm}"
    if is_function_pointer(insn):
        return f"r{insn.dst} = {insn.imm & U32:#x}"
    text = format_insn(v.insns, at).removesuffix(" ll")
    if text.startswith(".quad"):  # something is set that must be 0: the kernel prints it as if it were
        text = format_insn((_without_reserved(insn),), 0)
    if insn.code & 0xE7 == Class.STX | Mode.ATOMIC:
        text = _atomic_text(insn) or _HALF.sub(r"r\1", text)
    return _GOTO.sub(r"goto pc\1", _BY_NUMBER.sub(r"skb[\1 + 0]", text))


def _without_reserved(insn: Insn) -> Insn:
    if insn.code & 7 in (Class.ALU, Class.ALU64) and insn.code & 0xF0 not in (Alu.DIV, Alu.MOD, Alu.MOV):
        insn = dataclasses.replace(insn, off=0)
    return dataclasses.replace(insn, imm=0) if insn.code & X else dataclasses.replace(insn, src=0)


_ATOMICS: dict[int, tuple[str, str]] = {
    Atomic.ADD: ("add", "+="), Atomic.OR: ("or", "|="), Atomic.AND: ("and", "&="), Atomic.XOR: ("xor", "^="),
}  # fmt: skip


def _atomic_text(insn: Insn) -> str | None:
    """An atomic operation, with the kernel's names; also of sizes that there are none of."""
    size = SIZE_BYTES[Size(size_of(insn.code))]
    name = "atomic64" if size == 8 else "atomic"
    where = f"(u{size * 8} *)(r{insn.dst} {insn.off:+d})"
    if insn.imm == Atomic.CMPXCHG:
        return f"r0 = {name}_cmpxchg({where}, r0, r{insn.src})"
    if insn.imm == Atomic.XCHG:
        return f"r{insn.src} = {name}_xchg({where}, r{insn.src})"
    if insn.imm & ~Atomic.FETCH in _ATOMICS:
        word, symbol = _ATOMICS[insn.imm & ~Atomic.FETCH]
        if insn.imm & Atomic.FETCH:
            return f"r{insn.src} = {name}_fetch_{word}({where}, r{insn.src})"
        return f"lock *{where} {symbol} r{insn.src}"
    return None


MAX_STACK = 512
_STATE_COLUMN, _STEP = 40, 8
"""vlog_alignment: where the state stands behind an instruction, at least; and its steps."""


class Log:
    """What was said, line by line; of an accepted program only kept when it is wanted (`verbose`)."""

    def __init__(self, v: Walk, *, verbose: bool) -> None:
        self.v = v
        self.verbose = verbose
        self.lines: list[str] = []
        self._line_said: tuple[str, int] | None = None
        self._registers = 0
        self._slots: set[int] = set()
        self._behind = False
        """Is the last line an instruction, behind which its state may stand?"""

    def begin(self) -> None:
        """Functions, and which registers live where, as level 2 has it."""
        flow = self.v.flow
        for number, sub in enumerate(flow.subprograms):
            self.say(f"func#{number} @{sub.start}")
        self.say("Live regs before insn:")
        skip = False
        for at, insn in enumerate(self.v.insns):
            if not skip:
                live = "".join(str(n) if flow.live[at] >> n & 1 else "." for n in range(10))
                loop = f"{flow.loops[at]:3d} " if flow.loops[at] > 0 else "    "
                self.say(f"{loop}{at:3}: {live} {self.line_of(at)}")
            skip = insn.is_ld_imm64 and not skip

    def safe(self, at: int, origin: int | None) -> None:
        """The path need not be walked on."""
        self.say(f"{at}: safe" if origin is None else f"\nfrom {origin} to {at}: safe")

    def arrived(self, origin: int, at: int) -> None:
        """Another path, or a function's caller, is gone on with."""
        self.say(f"\nfrom {origin} to {at}:{state_text(self.v.state)}")

    def instruction(self, at: int) -> None:
        """What the one before left, the source line (when it is another one) and the instruction."""
        self._flush(at)
        source = self.v.spec.line_at(at)
        if source is not None and (source.file, source.line) != self._line_said:
            self._line_said = source.file, source.line
            self.say(f"; {source.text} @ {source.file.rpartition('/')[2]}:{source.line}")
        self.say(f"{at}: {self.line_of(at)}")
        self._behind = True
        if self.verbose:
            self._touches(at)

    def _touches(self, at: int) -> None:
        """check_reg_arg and mark_stack_slot_scratched: what the instruction reads and writes."""
        insn, v = self.v.insns[at], self.v
        if insn.code & 0xF7 == Class.JMP | Jmp.EXIT:
            return
        used, defined = uses_and_defines(insn, v.spec.kfuncs)
        self._registers |= used | defined
        if insn.code & 7 in (Class.LDX, Class.ST, Class.STX):
            base = v.regs[insn.src if insn.code & 7 == Class.LDX else insn.dst]
            if base.kind == STACK:
                size = SIZE_BYTES[Size(size_of(insn.code))]
                low = max(base.off + insn.off + base.var.smin, -MAX_STACK)
                high = min(base.off + insn.off + base.var.smax + size, 0)
                if insn.code & 7 == Class.LDX and base.var.mask:
                    high = min(high, self._first_not_zero(v.state.frames[base.size], low) + 1)
                self._slots.update((-at - 1) // 8 for at in range(low, high))

    @staticmethod
    def _first_not_zero(frame: Frame, low: int) -> int:
        """mark_reg_stack_read: it looks no further."""
        for at in range(low, 0):
            slot = frame.stack.get((-at - 1) // 8, EMPTY)
            if slot.kinds[at % 8] != ZERO_BYTE:
                return at
        return 0

    def touched(self, slots: Iterable[int]) -> None:
        """mark_stack_slot_scratched: a call wrote these, or an object in them was used."""
        self._slots.update(slots)

    def state(self) -> None:
        """After an instruction: a jump's state is said at once."""
        v = self.v
        insn = v.insns[v.pc]
        if insn.code & 7 in (Class.JMP, Class.JMP32) and insn.code & 0xF0 not in (Jmp.JA, Jmp.CALL, Jmp.EXIT):
            self._flush(v.pc)

    def everything(self) -> None:
        """mark_verifier_state_scratched: the next state is told whole."""
        self._registers, self._slots = 0x7FF, set(range(64))

    def nothing(self) -> None:
        """mark_verifier_state_clean."""
        self._registers, self._slots = 0, set()

    def result(self) -> None:
        """mark_reg_scratched of r0: a tail call returned from the function."""
        self._registers, self._slots = 1, set()

    def _flush(self, at: int) -> None:
        if not (self._registers or self._slots):
            return
        text = state_text(self.v.state, -1, self._registers, self._slots)
        if self._behind and self.lines:
            line = self.lines[-1]
            column = (max(len(line) + 1 + _STEP // 2, _STATE_COLUMN) + _STEP - 1) // _STEP * _STEP - 2
            self.lines[-1] = f"{line:<{column}};{text}"
        else:
            self.say(f"{at}:{text}")
        self.nothing()
        self._behind = False

    def called(self, caller: int) -> None:
        """check_func_call: the state of the caller, and of the function that begins."""
        self.say("caller:")
        self.say(state_text(self.v.state, caller))
        self.say("callee:")
        self.say(state_text(self.v.state))

    def returning(self, state: State) -> None:
        """prepare_func_exit: the function's state, before its frame goes."""
        self.say("returning from callee:")
        self.say(state_text(state))

    def returned(self, at: int) -> None:
        """… and the caller's, after."""
        self.say(f"to caller at {at}:")
        self.say(state_text(self.v.state))

    def line_of(self, at: int) -> str:
        """An instruction, with its code (verbose_insn)."""
        return f"({self.v.insns[at].code:02x}) {insn_text(self.v, at)}"

    def whole(self, state: State, frame: int = -1) -> str:
        """All of a frame."""
        return state_text(state, frame)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Nothing is said meanwhile."""
        before, self.verbose = self.verbose, False
        yield
        self.verbose = before

    def say(self, line: str) -> None:
        """A line of its own."""
        self._behind = False
        self.lines.append(line)

    @property
    def text(self) -> str:
        """The whole log."""
        return "\n".join(self.lines) + "\n" if self.lines else ""
