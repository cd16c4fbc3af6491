# ruff: noqa: E501 - one program, or one helper, a line
"""Random extended programs for the verifier: made by a grammar, or real ones with instructions changed.

The grammar writes what programs write (packet checks, map lookups, stack buffers, calls, arithmetic on
what it finds), and now and then leaves out the check or reaches one byte too far, so that about half of
them are refused, near the rule and not far from it.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import Alu, Class, Jmp, Mode, Size
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import MapSpec

MAPS: dict[int, MapSpec] = {
    0: MapSpec("hash", MapType.HASH, 8, 16, 64),
    1: MapSpec("array", MapType.ARRAY, 4, 32, 4),
    2: MapSpec("data", MapType.ARRAY, 4, 24, 1),
    3: MapSpec("progs", MapType.PROG_ARRAY, 4, 4, 8),
    4: MapSpec("ring", MapType.RINGBUF, 0, 0, 4096),
    5: MapSpec("lru", MapType.LRU_HASH, 4, 8, 64),
    6: MapSpec("queue", MapType.QUEUE, 0, 8, 16),
    7: MapSpec("percpu", MapType.PERCPU_ARRAY, 4, 16, 3),
    8: MapSpec("events", MapType.PERF_EVENT_ARRAY, 4, 4, 4),
}
_ALU = ["+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "%=", "^=", "s>>="]
_CMP = ["==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&"]
_SIZES = ["u8", "u16", "u32", "u64"]
_CONSTANTS = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    13,
    14,
    15,
    16,
    20,
    31,
    32,
    33,
    54,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    511,
    4095,
    65535,
    65536,
    2**31 - 1,
    -1,
    -2,
    -8,
    -16,
    -128,
    -(2**31),
]


class _Writer:
    def __init__(self, random: Random) -> None:
        self.r = random
        self.lines: list[str] = []
        self.labels = 0
        self.scalars: set[int] = set()
        self.functions: list[list[str]] = []
        self.packet = False

    def label(self) -> str:
        self.labels += 1
        return f"l{self.labels}"

    def say(self, line: str) -> None:
        self.lines.append(line)

    def const(self) -> int:
        return self.r.choice(_CONSTANTS) if self.r.random() < 0.8 else self.r.randrange(-(2**31), 2**31)

    def scalar(self) -> int:
        """A register that likely holds a number."""
        if self.scalars and self.r.random() < 0.95:
            return self.r.choice(sorted(self.scalars))
        return self.r.randrange(10)

    def target(self) -> int:
        reg = self.r.choice([0, 1, 2, 3, 4, 5, 7, 8, 9])
        self.scalars.add(reg)
        return reg

    def call(self, number: int) -> None:
        self.say(f"call {number}")
        self.scalars -= {1, 2, 3, 4, 5}
        self.scalars.add(0)

    def block(self, depth: int) -> None:
        kinds = [
            (self.arithmetic, 6),
            (self.branch, 4 if depth < 3 else 0),
            (self.stack, 4),
            (self.context, 2),
            (self.packet_access, 3),
            (self.map_value, 3),
            (self.helper, 2),
            (self.move, 2),
            (self.loop, 1 if depth < 2 else 0),
            (self.data, 1),
            (self.atomic, 1),
            (self.ringbuf, 1),
            (self.absolute, 1),
            (self.socket, 0.5),
            (self.subcall, 0.7 if not self.functions or len(self.functions) < 2 else 0),
            (self.callback, 0.3 if len(self.functions) < 2 else 0),
        ]
        choice = self.r.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        if choice in (self.branch, self.loop):
            choice(depth)  # type: ignore[operator]
        else:
            choice()  # type: ignore[operator]

    def arithmetic(self) -> None:
        wide = self.r.choice("rrw")
        op = self.r.choice(_ALU)
        dst = self.scalar()
        if dst == 6:
            return
        if self.r.random() < 0.6:
            imm = self.const()
            if op in ("<<=", ">>=", "s>>=") and self.r.random() < 0.95:
                imm = self.r.randrange(32 if wide == "w" else 64)
            if op in ("/=", "%=") and not imm and self.r.random() < 0.95:
                imm = 3
            self.say(f"{wide}{dst} {op} {imm}")
        else:
            self.say(f"{wide}{dst} {op} {wide}{self.scalar()}")

    def move(self) -> None:
        kind = self.r.randrange(7)
        if kind == 0:
            self.say(f"r{self.target()} = {self.const()}")
        elif kind == 1:
            src = self.scalar()
            self.say(f"r{self.target()} = r{src}")
        elif kind == 2:
            src = self.scalar()
            self.say(f"w{self.target()} = w{src}")
        elif kind == 3:
            src = self.scalar()
            self.say(f"r{self.target()} = (s{self.r.choice([8, 16, 32])})r{src}")
        elif kind == 4:
            src = self.scalar()
            self.say(f"w{self.target()} = (s{self.r.choice([8, 16])})w{src}")
        elif kind == 5:
            reg = self.scalar()
            if reg != 6:
                self.say(f"r{reg} = be{self.r.choice([16, 32, 64])} r{reg}")
        else:
            reg = self.scalar()
            if reg != 6:
                self.say(f"r{reg} = -r{reg}")

    def branch(self, depth: int) -> None:
        wide = self.r.choice("rrw")
        a = self.scalar()
        b = f"{wide}{self.scalar()}" if self.r.random() < 0.35 else str(self.const())
        out = self.label()
        before = set(self.scalars)
        self.say(f"if {wide}{a} {self.r.choice(_CMP)} {b} goto {out}")
        for _ in range(self.r.randrange(1, 4)):
            self.block(depth + 1)
        if self.r.random() < 0.3:
            end = self.label()
            self.say(f"goto {end}")
            self.say(f"{out}:")
            after = self.scalars
            self.scalars = set(before)
            for _ in range(self.r.randrange(1, 3)):
                self.block(depth + 1)
            self.scalars &= after
            self.say(f"{end}:")
        else:
            self.scalars &= before
            self.say(f"{out}:")

    def loop(self, depth: int) -> None:
        reg = self.r.choice([7, 8, 9])
        top = self.label()
        self.say(f"r{reg} = 0")
        self.scalars.discard(reg)
        self.say(f"{top}:")
        for _ in range(self.r.randrange(1, 3)):
            self.block(depth + 1)
        self.scalars.discard(reg)
        if self.r.random() < 0.93:
            self.say(f"r{reg} += {self.r.choice([1, 1, 2])}")
        self.say(
            f"if r{reg} {self.r.choice(['<', '!=', 's<', '<='])} {self.r.choice([2, 4, 8, 10])} goto {top}"
        )
        self.scalars.add(reg)

    def offset(self) -> int:
        return -self.r.choice(
            [8, 16, 24, 32, 40, 48, 64, 4, 12, 2, 1, 511, 512, 520]
            if self.r.random() < 0.3
            else [8, 16, 24, 32]
        )

    def stack(self) -> None:
        size = self.r.choice(_SIZES)
        off = self.offset()
        kind = self.r.randrange(5)
        if kind == 0:
            self.say(f"*({size} *)(r10 {off:+d}) = r{self.scalar()}")
        elif kind == 1:
            self.say(f"*({size} *)(r10 {off:+d}) = {self.const()}")
        elif kind == 2:
            self.say(f"r{self.target()} = *({size} *)(r10 {off:+d})")
        elif kind == 3:
            reg = self.target()
            self.scalars.discard(reg)
            self.say(f"*(u64 *)(r10 {off // 8 * 8:+d}) = r{self.r.choice([6, 10, 6])}")
            self.say(f"r{reg} = *(u64 *)(r10 {off // 8 * 8:+d})")
        else:  # a variable offset
            index = self.scalar()
            reg = self.r.choice([1, 2, 3, 4, 5])
            if index == reg or index == 6:
                return
            self.scalars.discard(reg)
            if self.r.random() < 0.8:
                self.say(f"r{index} &= {self.r.choice([7, 8, 15, 24, 31])}")
            self.say(f"r{reg} = r10")
            self.say(f"r{reg} += -{self.r.choice([32, 40, 64])}")
            self.say(f"r{reg} += r{index}")
            if self.r.random() < 0.5:
                self.say(f"*({self.r.choice(['u8', size])} *)(r{reg} +0) = {self.r.choice([0, 0, 7])}")
            else:
                self.say(f"r{self.target()} = *({self.r.choice(['u8', size])} *)(r{reg} +0)")

    def context(self) -> None:
        size = self.r.choice(["u32", "u32", "u32", "u16", "u8", "u64"])
        off = self.r.choice(
            [
                0,
                4,
                8,
                12,
                16,
                20,
                24,
                28,
                32,
                36,
                40,
                44,
                48,
                52,
                56,
                60,
                64,
                68,
                72,
                152,
                160,
                164,
                176,
                180,
                184,
                84,
                88,
                168,
                2,
                50,
            ]
            if self.r.random() < 0.5
            else [0, 8, 16, 48, 68]
        )
        if self.r.random() < 0.7:
            self.say(f"r{self.target()} = *({size} *)(r6 +{off})")
        else:
            self.say(f"*({size} *)(r6 +{off}) = r{self.scalar()}")

    def packet_access(self) -> None:
        data, end, probe = self.r.sample([1, 2, 3, 4, 5, 7, 8, 9], 3)
        index = self.scalar() if self.r.random() < 0.4 else None
        if index in (data, end, probe, 6):
            index = None
        self.scalars -= {data, end, probe}
        base = self.r.choice([76, 76, 76, 140])
        self.say(f"r{data} = *(u32 *)(r6 +{base})")
        self.say(f"r{end} = *(u32 *)(r6 +{80 if base == 76 else 76})")
        if index is not None:
            if self.r.random() < 0.85:
                self.say(f"r{index} &= {self.r.choice([15, 63, 255, 1023, 65535])}")
            self.say(f"r{data} += r{index}")
        length = self.r.choice([1, 2, 4, 8, 14, 20, 34])
        out = self.label()
        self.say(f"r{probe} = r{data}")
        self.say(f"r{probe} += {length}")
        op = self.r.choice([">", ">", ">", ">=", "<", "<=", "=="])
        if self.r.random() < 0.93:
            if self.r.random() < 0.6:
                self.say(f"if r{probe} {op} r{end} goto {out}")
            else:
                flipped = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "=="}[op]
                self.say(f"if r{end} {flipped} r{probe} goto {out}")
        for _ in range(self.r.randrange(1, 3)):
            size = self.r.choice(_SIZES)
            bytes_ = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}[size]
            at = max(length - bytes_, 0) + self.r.choice(
                [0, 0, 0, -1, -2, 1] if self.r.random() < 0.5 else [0]
            )
            reg = self.r.choice([data, data, probe])
            if reg == probe:
                at -= length
            if self.r.random() < 0.7:
                self.say(f"r0 = *({size} *)(r{reg} {at:+d})")
                self.scalars.add(0)
            else:
                self.say(f"*({size} *)(r{reg} {at:+d}) = {self.const()}")
        self.say(f"{out}:")
        if not self.scalars:
            self.say("r0 = 1")
            self.scalars.add(0)
        else:
            self.scalars.discard(0)

    def key(self, off: int) -> None:
        self.say(
            f"*(u64 *)(r10 {off:+d}) = {self.const()}"
            if self.r.random() < 0.8
            else f"*(u32 *)(r10 {off:+d}) = {self.r.choice([0, 1, 3, 4, 9])}"
        )

    def map_value(self) -> None:
        number = self.r.choice([0, 1, 1, 5, 7] if self.r.random() < 0.95 else list(MAPS))
        size = {0: 16, 1: 32, 5: 8, 7: 16}.get(number, 8)
        self.key(-8)
        self.say(f"r1 = map[fd:{number}]")
        self.say("r2 = r10")
        self.say(f"r2 += -{self.r.choice([8, 8, 8, 8, 4])}")
        self.call(1)
        self.scalars.discard(0)
        out = self.label()
        if self.r.random() < 0.93:
            self.say(f"if r0 == 0 goto {out}")
        pointer = 0
        if self.r.random() < 0.4:
            index = self.scalar()
            if index not in (0, 6) and index in self.scalars:
                if self.r.random() < 0.85:
                    self.say(f"r{index} &= {self.r.choice([3, 7, 15, size - 1])}")
                self.say(f"r0 += r{index}")
        access = self.r.choice(_SIZES)
        at = self.r.choice([0, 0, 4, 8, size - 1, size - 8, size, -1, -8])
        if self.r.random() < 0.6:
            reg = self.r.choice([7, 8, 9, 3])
            self.say(f"r{reg} = *({access} *)(r{pointer} {at:+d})")
            known = reg in self.scalars
            self.say(f"{out}:")
            self.say(f"r{reg} = 5" if not known and self.r.random() < 0.9 else "r0 = 0")
            self.scalars.add(reg) if not known else None
            self.scalars.discard(0)
        else:
            self.say(f"*({access} *)(r{pointer} {at:+d}) = {self.const()}")
            self.say(f"{out}:")

    def data(self) -> None:
        reg = self.r.choice([1, 2, 3, 4, 5])
        self.scalars.discard(reg)
        self.say(f"r{reg} = map[fd:2][0]+{self.r.choice([0, 8, 16, 20])}")
        size = self.r.choice(_SIZES)
        if self.r.random() < 0.5:
            self.say(f"r{self.target()} = *({size} *)(r{reg} +{self.r.choice([0, 0, 4, 8])})")
        else:
            self.say(f"*({size} *)(r{reg} +{self.r.choice([0, 0, 4, 8])}) = {self.const()}")

    def atomic(self) -> None:
        reg = self.scalar()
        off = self.r.choice([-8, -16])
        self.say(f"*(u64 *)(r10 {off:+d}) = {self.const()}")
        form = self.r.choice(
            [
                f"lock *(u64 *)(r10 {off:+d}) += r{reg}",
                f"lock *(u32 *)(r10 {off:+d}) |= w{reg}",
                f"r{reg} = atomic_fetch_add((u64 *)(r10 {off:+d}), r{reg})",
                f"r{reg} = xchg_64(r10 {off:+d}, r{reg})",
                f"r0 = cmpxchg_64(r10 {off:+d}, r0, r{reg})",
            ]
        )
        if reg != 6:
            self.say(form)

    def ringbuf(self) -> None:
        self.say("r1 = map[fd:4]")
        size = self.r.choice([8, 16, 24])
        self.say(f"r2 = {size}")
        self.say("r3 = 0")
        self.call(131)
        self.scalars.discard(0)
        out = self.label()
        if self.r.random() < 0.95:
            self.say(f"if r0 == 0 goto {out}")
        if self.r.random() < 0.7:
            self.say(f"*(u{self.r.choice([8, 32, 64])} *)(r0 +{self.r.choice([0, 8, size - 8, size])}) = 1")
        if self.r.random() < 0.95:
            self.say("r1 = r0")
            self.say("r2 = 0")
            self.call(self.r.choice([132, 133]))
        self.scalars.discard(0)
        self.say(f"{out}:")

    def absolute(self) -> None:
        if self.r.random() < 0.7:
            self.say(f"r0 = *({self.r.choice(_SIZES[:3])} *)skb[{self.r.choice([0, 12, 14, 23])}]")
        else:
            self.say(f"r0 = *({self.r.choice(_SIZES[:3])} *)skb[r{self.scalar()}]")
        self.scalars -= {1, 2, 3, 4, 5}
        self.scalars.add(0)

    def socket(self) -> None:
        self.say("r1 = r6")
        self.say("*(u64 *)(r10 -16) = 0")
        self.say("*(u64 *)(r10 -8) = 0")
        self.say("r2 = r10")
        self.say("r2 += -16")
        self.say("r3 = 12")
        self.say("r4 = 0")
        self.say("r5 = 0")
        self.call(self.r.choice([84, 85, 99]))
        self.scalars.discard(0)
        out = self.label()
        if self.r.random() < 0.95:
            self.say(f"if r0 == 0 goto {out}")
        if self.r.random() < 0.6:
            self.say(
                f"r{self.r.choice([7, 8, 9])} = *({self.r.choice(['u32', 'u32', 'u16', 'u8'])} *)(r0 +{self.r.choice([0, 4, 8, 16, 24, 28, 44, 48, 52, 72, 76, 80])})"
            )
        if self.r.random() < 0.95:
            self.say("r1 = r0")
            self.call(86)
        self.scalars.discard(0)
        self.say(f"{out}:")

    _HELPERS = (
        (5, ()), (7, ()), (8, ()), (160, ()), (125, ()), (23, ("n", "n")), (34, ("c",)), (17, ("c",)), (41, ("c",)), (48, ("c", "n")),
        (26, ("c", "n", "b", "s")), (9, ("c", "n", "b", "s", "n")), (10, ("c", "n", "n", "n", "n")), (11, ("c", "n", "n", "n", "n")),
        (39, ("c", "n")), (38, ("c", "n", "n")), (43, ("c", "n", "n")), (18, ("c", "n", "n")), (19, ("c",)), (50, ("c", "n", "n", "n")),
        (28, ("b", "s", "b", "s", "n")), (20, ("c", "b", "s", "n")), (69, ("c", "b", "s", "n")), (6, ("b", "s")), (2, ("m", "b", "b", "n")),
        (3, ("m", "b")), (12, ("c", "p", "n")), (25, ("c", "e", "n", "b", "s")), (130, ("g", "b", "s", "n")), (87, ("q", "b", "n")),
        (88, ("q", "b")), (13, ("c", "n", "n")), (31, ("c", "n", "n")), (68, ("c", "n", "b", "s", "n")), (113, ("b", "s", "n")),
        (115, ("b", "s", "n")), (163, ("c", "n", "b", "n", "n")), (46, ("c",)), (152, ("n", "b", "s", "n")), (16, ("b", "s")),
    )  # fmt: skip

    def helper(self) -> None:
        number, arguments = self.r.choice(self._HELPERS)
        for regno, kind in enumerate(arguments, 1):
            if self.r.random() < 0.02:
                continue
            if kind == "c":
                self.say(f"r{regno} = r6")
            elif kind == "n":
                source = self.scalar()
                self.say(
                    f"r{regno} = r{source}"
                    if self.r.random() < 0.3 and source > 5
                    else f"r{regno} = {self.const()}"
                )
            elif kind == "b":
                if self.r.random() < 0.05:
                    self.say(f"r{regno} = 0")
                else:
                    self.say(f"r{regno} = r10")
                    self.say(f"r{regno} += {self.r.choice([-8, -16, -32, -64, -512, -513, -4])}")
            elif kind == "s":
                source = self.scalar()
                if self.r.random() < 0.25 and source > 5:
                    self.say(f"r{regno} = r{source}")
                    if self.r.random() < 0.8:
                        self.say(f"r{regno} &= {self.r.choice([7, 15, 31])}")
                else:
                    self.say(f"r{regno} = {self.r.choice([0, 1, 4, 8, 16, 32, 64, -1])}")
            else:
                which = {"m": self.r.choice([0, 1, 5, 5]), "p": 3, "e": 8, "g": 4, "q": 6}[kind]
                if self.r.random() < 0.03:
                    which = self.r.randrange(9)
                self.say(f"r{regno} = map[fd:{which}]")
        self.call(number)

    def subcall(self) -> None:
        function = _Writer(self.r)
        function.functions = [[], []]
        function.scalars = {1, 2}
        function.say("r6 = r1")
        function.say("r7 = r2")
        function.scalars = {7}
        name = f"f{len(self.functions)}_{self.label()}"
        for _ in range(self.r.randrange(1, 4)):
            getattr(function, self.r.choice(["arithmetic", "move", "stack", "context"]))()
        function.say(f"r0 = r{function.scalar()}")
        function.say("exit")
        self.functions.append([f"{name}:", *function.lines])
        self.say("r1 = r6")
        source = self.scalar()
        self.say(f"r2 = r{source}")
        self.say(f"call {name}")
        self.scalars -= {1, 2, 3, 4, 5}
        self.scalars.add(0)

    def callback(self) -> None:
        function = _Writer(self.r)
        function.functions = [[], []]
        function.scalars = {1}
        name = f"c{len(self.functions)}_{self.label()}"
        for _ in range(self.r.randrange(0, 3)):
            getattr(function, self.r.choice(["arithmetic", "stack"]))()
        if self.r.random() < 0.4:
            function.say("r3 = *(u64 *)(r2 +0)")
            function.say("r3 += 1")
            function.say("*(u64 *)(r2 +0) = r3")
        function.say(f"r0 = {self.r.choice([0, 0, 1, 2])}")
        function.say("exit")
        self.functions.append([f"{name}:", *function.lines])
        self.say("*(u64 *)(r10 -16) = 0")
        self.say(f"r1 = {self.r.choice([0, 1, 5, 100])}")
        self.say(f"r2 = @{name}")
        self.say("r3 = r10")
        self.say("r3 += -16")
        self.say("r4 = 0")
        self.call(181)


def grammar_program(random: Random) -> tuple[Insn, ...]:
    """A program of a few to some hundred instructions over MAPS (the immediate is the key)."""
    w = _Writer(random)
    w.say("r6 = r1")
    for _ in range(random.randrange(1, 3)):
        reg = random.choice([7, 8, 9])
        w.say(f"r{reg} = {random.choice(['*(u32 *)(r1 +0)', '*(u32 *)(r1 +8)', '1', '*(u8 *)(r1 +48)'])}")
        w.scalars.add(reg)
    for _ in range(random.randrange(1, 9)):
        w.block(0)
    if random.random() < 0.97:
        w.say(f"r0 = {random.choice([0, 1, 2, -1])}")
    w.say("exit")
    for function in w.functions:
        w.lines.extend(function)
    return _assembled(w.lines)


def _assembled(lines: list[str]) -> tuple[Insn, ...]:
    """Addresses of functions (`@name`) are not in the assembler's language: they are filled in after."""
    pointers: list[tuple[int, str]] = []
    text: list[str] = []
    for line in lines:
        if "@" in line:
            reg, name = line.split(" = @")
            pointers.append((len(text), name))
            text.append(f"{reg} = subprog[+0]")
        else:
            text.append(line)
    insns = list(assemble("\n".join(text)))
    if pointers:
        at = 0
        places: dict[str, int] = {}
        numbers: dict[int, int] = {}
        for index, line in enumerate(text):
            if line.endswith(":"):
                places[line[:-1]] = at
                continue
            numbers[index] = at
            at += 2 if insns[at].is_ld_imm64 else 1
        for index, name in pointers:
            where = numbers[index]
            insns[where] = replace(insns[where], imm=places[name] - where - 1)
    return tuple(insns)


def mutated(insns: tuple[Insn, ...], random: Random) -> tuple[Insn, ...]:
    """A program with one to three of its instructions changed, swapped or replaced by nothing."""
    program = list(insns)
    second = {at + 1 for at, i in enumerate(program) if i.is_ld_imm64}
    places = [at for at in range(len(program)) if at not in second and not program[at].is_ld_imm64]
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        at = random.choice(places)
        insn = program[at]
        kind = random.randrange(10)
        if kind == 0:
            program[at] = Insn(Class.JMP | Jmp.JA)
        elif kind == 1:
            program[at] = replace(insn, dst=random.randrange(11))
        elif kind == 2:
            program[at] = replace(insn, src=random.randrange(11))
        elif kind == 3:
            program[at] = replace(
                insn, off=max(-0x8000, min(0x7FFF, insn.off + random.choice([-8, -4, -2, -1, 1, 2, 4, 8])))
            )
        elif kind == 4:
            program[at] = replace(
                insn, imm=max(-(2**31), min(2**31 - 1, insn.imm + random.choice([-8, -1, 1, 2, 8, 64])))
            )
        elif kind == 5:
            program[at] = replace(insn, imm=random.choice([0, 1, -1, 14, 255, 4096, 2**31 - 1]))
        elif kind == 6 and insn.code & 7 in (Class.LDX, Class.STX, Class.ST) and insn.code & 0xE0 == Mode.MEM:
            program[at] = replace(
                insn, code=insn.code & ~0x18 | random.choice([Size.B, Size.H, Size.W, Size.DW])
            )
        elif (
            kind == 7
            and insn.code & 7 in (Class.JMP, Class.JMP32)
            and insn.code & 0xF0 not in (Jmp.JA, Jmp.CALL, Jmp.EXIT)
        ):
            op = random.choice(
                [Jmp.JEQ, Jmp.JNE, Jmp.JGT, Jmp.JGE, Jmp.JLT, Jmp.JLE, Jmp.JSGT, Jmp.JSLT, Jmp.JSET]
            )
            program[at] = replace(insn, code=insn.code & 0x0F | op)
        elif (
            kind == 8
            and insn.code & 7 in (Class.ALU, Class.ALU64)
            and insn.code & 0xF0 not in (Alu.END, Alu.NEG)
        ):
            op = random.choice(
                [Alu.ADD, Alu.SUB, Alu.AND, Alu.OR, Alu.LSH, Alu.RSH, Alu.MOV, Alu.XOR, Alu.MUL]
            )
            program[at] = replace(insn, code=insn.code & 0x0F | op)
        elif kind == 9:
            other = random.choice(places)
            program[at], program[other] = program[other], insn
        if program[at].code == Class.JMP | Jmp.CALL and program[at].src == 2:
            program[at] = insn  # a kernel function has no number here that could be another's
    return tuple(program)
