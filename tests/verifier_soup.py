# ruff: noqa: E501 - what is written down as one line is easier to compare
"""Programs of any instructions on any kinds of values: what nobody would write, near every rule there is.

A few lines put values of different kinds into registers (the context, packet pointers checked or not, map
values, sockets, numbers with bounds, …), then come random instructions with these as operands, most of
them plausible, and a clean-up that gives back what was acquired.  The kernel refuses about two in three.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.forms import FORMS
from clsbpf.bpf.helpers import HELPERS
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import Alu, Class, Jmp, Mode, Size
from clsbpf.bpf.spec import MapSpec

_CODES = sorted({form.code for form in FORMS if form.code & 7 not in (Class.LD,)})
_ALUS = [
    Alu.ADD,
    Alu.SUB,
    Alu.MUL,
    Alu.DIV,
    Alu.OR,
    Alu.AND,
    Alu.LSH,
    Alu.RSH,
    Alu.MOD,
    Alu.XOR,
    Alu.MOV,
    Alu.ARSH,
]
_JUMPS = [
    *(Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET, Jmp.JNE, Jmp.JSGT, Jmp.JSGE, Jmp.JLT, Jmp.JLE, Jmp.JSLT, Jmp.JSLE),
]
_SIZES = [Size.B, Size.H, Size.W, Size.DW]
_BYTES = {Size.B: 1, Size.H: 2, Size.W: 4, Size.DW: 8}
_NUMBERS = [0, 0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 33, 63, 64, 100, 255, 256, 0xFFF, 0x7FFF, 0xFFFF, 0x10000,
            0x7FFFFFFF, -1, -1, -2, -4, -8, -16, -64, -255, -0x8000, -(2**31), 2**30, 2**29, 2**29 - 1]  # fmt: skip
_ATOMICS = [0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1, 0x100, 0x110]


class Soup:
    """One program in the making: `lines` so far (text or instructions), what each register likely holds."""

    def __init__(self, random: Random, maps: Mapping[int, MapSpec]) -> None:
        self.r = random
        self.maps = maps
        self.insns: list[Insn] = []
        self.held: dict[int, str] = {1: "ctx", 10: "stack"}
        self.cleanup: list[str] = []

    def say(self, text: str) -> None:
        self.insns += assemble(text)

    def map_of(self, *types: int) -> int:
        found = [key for key, spec in self.maps.items() if not types or spec.type in types]
        return self.r.choice(found or list(self.maps))

    def single(self) -> int:
        """An array of one value: its address can be loaded."""
        return self.r.choice(
            [key for key, spec in self.maps.items() if spec.type == 2 and spec.max_entries == 1]
        )

    def any(self, *kinds: str) -> int:
        """A register that likely holds such a value."""
        found = [reg for reg, kind in self.held.items() if kind in kinds]
        return self.r.choice(found) if found else self.r.choice([*self.held, self.r.randrange(11)])

    # Values ----------------------------------------------------------------------------------------

    def packet(self) -> None:
        reach, jump = self.r.choice([1, 8, 14, 20, 34, 64]), self.r.choice([">", ">=", "<=", "<"])
        self.say("r2 = *(u32 *)(r6 +76)\nr3 = *(u32 *)(r6 +80)\n")
        if self.r.random() < 0.2:
            self.say("r2 = *(u32 *)(r6 +140)\nr3 = *(u32 *)(r6 +76)\n")
        self.held[2] = self.held[3] = "packet"
        if self.r.random() < 0.8:
            self.say(f"r4 = r2\nr4 += {reach}")
            self.held[4] = "packet"
            a, b = self.r.choice([(4, 3), (3, 4)])
            if self.r.random() < 0.8:
                skip = self.r.random() < 0.5
                self.say(f"if r{a} {jump} r{b} goto +{2 if skip else 1}")
                if skip:
                    self.say("r0 = 0\nexit")
                else:
                    self.say("exit" if self.r.random() < 0.05 else "goto +0")

    def value(self) -> None:
        key = self.map_of(1, 2, 6)
        self.say("*(u64 *)(r10 -8) = 0" if self.r.random() < 0.7 else "*(u32 *)(r10 -8) = 1")
        self.say(f"r2 = r10\nr2 += -8\nr1 = map[fd:{key}]\ncall 1")
        self.after_call()
        self.held[0] = "value"
        if self.r.random() < 0.8:
            self.say("if r0 != 0 goto +2\nr0 = 0\nexit")
        if self.r.random() < 0.7:
            self.say("r7 = r0")
            self.held[7] = "value"

    def data(self) -> None:
        key = self.single() if self.r.random() < 0.97 else self.map_of(2)
        reg = self.r.choice([2, 7, 8, 9])
        self.say(f"r{reg} = map[fd:{key}][0]+{self.r.choice([0, 0, 4, 8, 16])}")
        self.held[reg] = "value"

    def map_pointer(self) -> None:
        reg = self.r.choice([1, 2, 8])
        self.say(f"r{reg} = map[fd:{self.map_of()}]")
        self.held[reg] = "map"

    def number(self) -> None:
        reg = self.r.choice([0, 3, 4, 5, 7, 8, 9])
        kind = self.r.randrange(6)
        if kind == 0:
            self.say(f"r{reg} = *(u64 *)(r6 +152)")
        elif kind == 1:
            self.say(f"r{reg} = *(u32 *)(r6 +0)")
        elif kind == 2:
            self.say(f"r{reg} = *(u8 *)(r6 +8)")
        elif kind == 3:
            self.say("call 7")
            self.after_call()
            self.say(f"r{reg} = r0")
            self.held[0] = "number"
        else:
            self.say(f"r{reg} = {self.constant()}")
        self.held[reg] = "number"
        if self.r.random() < 0.5:
            self.say(f"r{reg} &= {self.r.choice([1, 3, 7, 8, 15, 31, 63, 255, 0xFFFF])}")

    def bounded(self) -> None:
        reg = self.any("number")
        if reg in (6, 10) or self.held.get(reg) != "number":
            return
        w = self.r.choice("rrw")
        op = self.r.choice([">", ">=", "s>", "s<", "<", "!=", "=="])
        self.say(f"if {w}{reg} {op} {self.r.choice([1, 4, 8, 15, 16, 32, 63, 64, 255, -1, -8, 0])} goto +2\n"
                 f"r0 = 0\nexit" if self.r.random() < 0.4 else
                 f"if {w}{reg} {op} {self.r.choice([1, 4, 8, 15, 16, 32, 63, 64, 255, -1, -8, 0])} goto +1\ngoto +0")  # fmt: skip

    def socket(self) -> None:
        self.say("r0 = *(u64 *)(r6 +168)")
        self.held[0] = "socket"
        if self.r.random() < 0.8:
            self.say("if r0 != 0 goto +2\nr0 = 0\nexit")
        if self.r.random() < 0.4:
            self.say(f"r1 = r0\ncall {self.r.choice([95, 96, 98, 137, 178])}")
            self.after_call()
            self.held[0] = "socket"
            if self.r.random() < 0.8:
                self.say("if r0 != 0 goto +2\nr0 = 0\nexit")

    def lookup(self) -> None:
        if len(self.cleanup) > 1:
            return
        self.say("*(u64 *)(r10 -24) = 0\n*(u64 *)(r10 -16) = 0\nr1 = r6\nr2 = r10\nr2 += -24\nr3 = 12\nr4 = 0\nr5 = 0\n"
                 f"call {self.r.choice([84, 85, 99])}")  # fmt: skip
        self.after_call()
        if self.r.random() < 0.9:
            self.say("if r0 != 0 goto +2\nr0 = 0\nexit")
        if self.r.random() < 0.9:
            self.say("r9 = r0")
            self.held[9] = "socket"
            if self.r.random() < 0.9:
                self.cleanup.append("r1 = r9\ncall 86")
        self.held[0] = "socket"

    def record(self) -> None:
        size = self.r.choice([8, 16, 24])
        self.say(f"r1 = map[fd:{self.map_of(27)}]\nr2 = {size}\nr3 = 0\ncall 131")
        self.after_call()
        if self.r.random() < 0.9:
            self.say("if r0 != 0 goto +2\nr0 = 0\nexit")
        self.say("r8 = r0")
        self.held[8] = self.held[0] = "value"
        if self.r.random() < 0.9:
            self.cleanup.append(f"r1 = r8\nr2 = 0\ncall {self.r.choice([132, 133])}")

    def stack_pointer(self) -> None:
        reg = self.r.choice([1, 2, 3, 4, 5, 7])
        self.say(f"r{reg} = r10\nr{reg} += {self.r.choice([-8, -16, -24, -32, -12, -4, -512, -520, 0, 8])}")
        self.held[reg] = "stack"

    def after_call(self) -> None:
        for reg in range(1, 6):
            self.held.pop(reg, None)
        self.held[0] = "number"

    # Instructions ----------------------------------------------------------------------------------

    def constant(self) -> int:
        return self.r.choice(_NUMBERS) if self.r.random() < 0.9 else self.r.randrange(-(2**31), 2**31)

    def arithmetic(self) -> None:
        cls = self.r.choice([Class.ALU64, Class.ALU64, Class.ALU])
        op = self.r.choice(_ALUS)
        dst = self.any("number") if self.r.random() < 0.6 else self.any()
        if dst in (6, 10) and self.r.random() < 0.95:
            return
        if self.r.random() < 0.55:
            imm = self.constant()
            if op in (Alu.LSH, Alu.RSH, Alu.ARSH) and self.r.random() < 0.95:
                imm = self.r.randrange(64 if cls == Class.ALU64 else 32)
            if op in (Alu.DIV, Alu.MOD):
                imm = imm or 3
            off = self.r.choice([0, 0, 0, 1]) if op in (Alu.DIV, Alu.MOD) else 0
            self.insns.append(Insn(cls | op, dst, 0, off, imm))
        else:
            src = self.any("number") if self.r.random() < 0.6 else self.any()
            off = 0
            if op == Alu.MOV and self.r.random() < 0.4:
                off = self.r.choice([8, 16, 32] if cls == Class.ALU64 else [8, 16])
            if op in (Alu.DIV, Alu.MOD):
                off = self.r.choice([0, 0, 1])
            self.insns.append(Insn(cls | op | 8, dst, src, off, 0))
            if op == Alu.MOV:
                self.held[dst] = self.held.get(src, "number")

    def pointer_sum(self) -> None:
        """What programs do with an index: to a pointer, a bounded number is added."""
        dst, src = self.any("packet", "value", "stack"), self.any("number")
        if dst in (6, 10):
            return
        if self.r.random() < 0.6:
            self.say(f"r{dst} += r{src}")
        else:
            self.say(f"r{dst} {self.r.choice(['+=', '-=', '+='])} {self.constant()}")

    def negate(self) -> None:
        reg = self.any("number")
        if reg in (6, 10):
            return
        self.insns.append(Insn(self.r.choice([0x84, 0x87, 0xD4, 0xDC, 0xD7]), reg, 0, 0, 0))
        code = self.insns[-1].code
        if code in (0xD4, 0xDC, 0xD7):
            self.insns[-1] = Insn(code, reg, 0, 0, self.r.choice([16, 32, 64]))

    def offset(self, kind: str, size: int) -> int:
        if kind == "ctx":
            if self.r.random() < 0.8:
                return self.r.choice([0, 8, 48, 52, 32, 44, 60, 164, 8, 48, 152 if size == 8 else 16])
            return self.r.choice(
                [*range(0, 192, 4), 48, 50, 76, 140, 152, 168, 180, 181, 182, 184, 192, 3, 2]
            )
        if kind == "stack":
            if self.r.random() < 0.8:
                return -self.r.choice([8, 16, 24, 32])
            return -self.r.choice([8, 16, 24, 32, 4, 12, 2, 1, 20, 512, 504, 520, 0, -8]) + self.r.choice(
                [0, 0, 0, 1, 4]
            )
        if kind == "packet":
            return self.r.choice([0, 0, 1, 4, 7, 8, 13, 14, 16, 20, 33, 63, -1, -8])
        return self.r.choice([0, 0, 4, 8, 8, 12, 16, 20, 24, 32, 40, 56, 60, 63, -1, -4, -8, 1, 2])

    def memory(self) -> None:
        base = self.any("stack", "packet", "value", "socket", "ctx") if self.r.random() < 0.9 else self.any()
        kind = self.held.get(base, "value")
        size = self.r.choice(_SIZES)
        off = self.offset(kind, _BYTES[size])
        form = self.r.randrange(10)
        if form < 5:
            dst = self.r.choice([0, 1, 2, 3, 4, 5, 7, 8, 9])
            mode = Mode.MEMSX if size != Size.DW and self.r.random() < 0.15 else Mode.MEM
            self.insns.append(Insn(Class.LDX | mode | size, dst, base, off, 0))
            self.held[dst] = "number"
        elif form < 7:
            self.insns.append(Insn(Class.ST | Mode.MEM | size, base, 0, off, self.constant()))
        elif form < 9:
            self.insns.append(Insn(Class.STX | Mode.MEM | size, base, self.any(), off, 0))
        else:
            size = self.r.choice([Size.W, Size.DW, Size.DW, size])
            self.insns.append(
                Insn(Class.STX | Mode.ATOMIC | size, base, self.any("number"), off, self.r.choice(_ATOMICS))
            )

    def spill(self) -> None:
        at, size = self.r.choice([-8, -16, -24]), self.r.choice([Size.DW, Size.DW, Size.W, Size.H])
        src = self.any()
        if self.held.get(src, "number") != "number" and self.r.random() < 0.97:
            size = Size.DW
        if src not in self.held and self.r.random() < 0.97:
            return
        self.insns.append(Insn(Class.STX | Mode.MEM | size, 10, src, at, 0))
        if self.r.random() < 0.6:
            dst = self.r.choice([0, 1, 2, 3, 4, 5, 7, 8, 9])
            size = size if self.r.random() < 0.8 else self.r.choice(_SIZES)
            self.insns.append(Insn(Class.LDX | Mode.MEM | size, dst, 10, at + self.r.choice([0, 0, 0, 4]), 0))
            self.held[dst] = self.held.get(src, "number") if size == Size.DW else "number"

    def jump(self) -> None:
        cls = self.r.choice([Class.JMP, Class.JMP, Class.JMP32])
        op = self.r.choice(_JUMPS)
        dst = self.any("number", "packet") if self.r.random() < 0.8 else self.any()
        off = self.r.choice([0, 1, 1, 1, 1, 1, 2])
        if dst not in self.held and self.r.random() < 0.95:
            return
        if self.r.random() < 0.6:
            self.insns.append(Insn(cls | op, dst, 0, off, self.constant()))
        else:
            src = self.any("number", "packet") if self.r.random() < 0.8 else self.any()
            self.insns.append(Insn(cls | op | 8, dst, src, off, 0))

    def helper(self) -> None:
        number = self.r.choice(HELPERS).number if self.r.random() < 0.4 else self.r.choice(
            [1, 2, 3, 6, 9, 10, 11, 12, 13, 20, 21, 23, 25, 26, 28, 29, 31, 35, 38, 39, 43, 44, 50, 69, 84, 86, 87,
             88, 89, 93, 94, 95, 96, 100, 105, 107, 110, 113, 115, 124, 130, 131, 132, 134, 136, 152, 158, 163, 165,
             169, 171, 177, 182, 192, 194, 195, 197, 198, 199, 201, 202, 203, 204])  # fmt: skip
        for reg in range(1, 6):
            kind = self.r.randrange(8)
            if kind == 0:
                self.say(f"r{reg} = {self.r.choice([0, 0, 1, 4, 8, 8, 16, 24, 32, 64, -1, 512])}")
            elif kind == 1:
                self.say(f"r{reg} = r10\nr{reg} += {self.r.choice([-8, -16, -24, -32, -64])}")
            elif kind == 2 and reg < 3:
                self.say(f"r{reg} = map[fd:{self.map_of()}]")
            elif kind == 3 and reg == 1:
                self.say("r1 = r6")
            elif kind < 6:
                src = self.any("value", "packet", "number", "socket", "stack")
                if src != reg:
                    self.insns.append(Insn(0xBF, reg, src, 0, 0))
        self.insns.append(Insn(0x85, 0, 0, 0, number))
        self.after_call()
        if self.r.random() < 0.3:
            self.say("if r0 != 0 goto +2\nr0 = 0\nexit")

    def lock(self) -> None:
        self.say(f"r1 = r7\nr1 += {self.r.choice([4, 4, 4, 0, 8])}\ncall 93")
        self.after_call()
        self.held.pop(0)
        if self.r.random() < 0.5:
            self.memory()
        if self.r.random() < 0.8:
            self.say(f"r1 = r7\nr1 += {self.r.choice([4, 4, 4, 0, 8])}\ncall 94")
        self.after_call()

    def packet_load(self) -> None:
        size = self.r.choice([Size.B, Size.H, Size.W])
        if self.r.random() < 0.5:
            self.insns.append(Insn(Class.LD | Mode.ABS | size, 0, 0, 0, self.constant()))
        else:
            self.insns.append(Insn(Class.LD | Mode.IND | size, 0, self.any("number"), 0, self.constant()))
        self.after_call()

    def junk(self) -> None:
        """Any opcode with any fields."""
        self.insns.append(
            Insn(
                self.r.choice(_CODES),
                self.r.randrange(11),
                self.r.choice([0, 0, self.r.randrange(11)]),
                self.r.choice([0, 0, 0, 1, 2, 8, -8]),
                self.r.choice([0, 0, 1, 16, 32, self.constant()]),
            )
        )

    def dynptr(self) -> None:
        key = self.single()
        self.say(f"r1 = map[fd:{key}][0]+0\nr2 = {self.r.choice([8, 16, 24, 64])}\nr3 = 0\nr4 = r10\n"
                 f"r4 += {self.r.choice([-16, -32, -24, -8, -12])}\ncall 197")  # fmt: skip
        self.after_call()
        for _ in range(self.r.randrange(3)):
            at = self.r.choice([-16, -32, -24, -8])
            if self.r.random() < 0.5:
                self.say(f"r1 = r10\nr1 += {at}\nr2 = 0\nr3 = {self.r.choice([4, 8, 16])}\ncall 203")
                self.held[0] = "value"
                if self.r.random() < 0.7:
                    self.say("if r0 != 0 goto +2\nr0 = 0\nexit")
            else:
                self.say(
                    f"r1 = r10\nr1 += {self.r.choice([-40, -48, -8])}\nr2 = 8\nr3 = r10\nr3 += {at}\nr4 = 0\nr5 = 0\ncall 201"
                )
                self.held[0] = "number"
            self.after_call()

    def loop(self) -> None:
        reg = self.r.choice([7, 8, 9])
        start = len(self.insns) + 1
        self.say(f"r{reg} = 0")
        self.held[reg] = "number"
        for _ in range(self.r.randrange(1, 3)):
            self.r.choice([self.arithmetic, self.memory, self.spill, self.pointer_sum])()
        if self.r.random() < 0.9:
            self.say(f"{self.r.choice('rrw')}{reg} += {self.r.choice([1, 1, 2, 3])}".replace("w", "w"))
        back = start - len(self.insns) - 1
        op = self.r.choice([Jmp.JLT, Jmp.JNE, Jmp.JSLT, Jmp.JLE])
        self.insns.append(
            Insn(self.r.choice([Class.JMP, Class.JMP32]) | op, reg, 0, back, self.r.choice([2, 4, 7, 10]))
        )

    def program(self) -> tuple[Insn, ...]:
        """The whole."""
        self.say("r6 = r1")
        self.held[6] = "ctx"
        makers = [self.packet, self.value, self.data, self.map_pointer, self.number, self.socket, self.lookup,
                  self.record, self.stack_pointer, self.bounded, self.number, self.spill]  # fmt: skip
        doers = {
            self.arithmetic: 6, self.pointer_sum: 3, self.negate: 1, self.memory: 6, self.spill: 3, self.jump: 3,
            self.helper: 1.5, self.lock: 0.4, self.packet_load: 0.4, self.junk: 0.4, self.dynptr: 0.4,
            self.loop: 0.5, self.bounded: 2, self.number: 2, self.stack_pointer: 1,
        }  # fmt: skip
        for _ in range(self.r.choice([1, 2, 2, 3])):
            self.r.choice(makers)()
        for _ in range(self.r.choice([1, 2, 3, 4, 6, 9])):
            self.r.choices(list(doers), list(doers.values()))[0]()
        for text in self.cleanup:
            self.say(text)
        self.say("r0 = 0\nexit\nr0 = 0\nexit" if self.r.random() < 0.02 else "r0 = 0\nexit")
        return tuple(self.insns)


def soup(random: Random, maps: Mapping[int, MapSpec]) -> tuple[Insn, ...]:
    """A random program over these maps."""
    return Soup(random, maps).program()


def bounds(random: Random, maps: Mapping[int, MapSpec]) -> tuple[Insn, ...]:
    """Arithmetic and comparisons on numbers of which something is known, then an access that depends on them."""
    made = Soup(random, maps)
    made.say("r6 = r1")
    made.say(f"r9 = map[fd:{made.single()}][0]+0")
    for reg in (0, 1, 2, 3, 7):
        kind = random.randrange(5)
        if kind == 0:
            made.say(f"r{reg} = {made.constant()}")
        elif kind == 1:
            made.say(f"r{reg} = *(u64 *)(r6 +152)")
        else:
            made.say(
                f"r{reg} = *({random.choice(['u8', 'u16', 'u32', 'u32', 's8', 's16', 's32'])} *)(r6 +{random.choice([0, 8])})"
            )
        made.held[reg] = "number"
    registers = [0, 1, 2, 3, 7]
    made.held = dict.fromkeys(registers, "number")
    for _ in range(random.choice([2, 4, 6, 10])):
        if random.random() < 0.3:
            start = len(made.insns)
            made.jump()
            if len(made.insns) > start:
                made.insns[-1] = Insn(
                    made.insns[-1].code,
                    made.insns[-1].dst,
                    made.insns[-1].src,
                    2 if random.random() < 0.5 else 0,
                    made.insns[-1].imm,
                )
                if made.insns[-1].off == 2:
                    made.say("r0 = 0\nexit")
        elif random.random() < 0.1:
            made.negate()
        elif random.random() < 0.1:
            made.spill()
            made.held = dict.fromkeys(registers, "number")
        else:
            made.arithmetic()
    reg = random.choice(registers)
    if random.random() < 0.7:
        made.say(f"r9 += r{reg}\nr0 = *(u8 *)(r9 +{random.choice([0, 0, 1, 8])})")
    made.say("r0 = 0\nexit")
    return tuple(made.insns)
