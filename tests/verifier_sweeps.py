# ruff: noqa: E501 - what is written down as one line is easier to compare
"""Sweeps over the verifier's rules: every operation on every kind of register, exhaustively where that is small.

`KINDS` says, for each kind of value, what puts it into a register; a sweep is a generator of `Case`s that
combine such registers with operations, offsets, sizes and arguments.  Nothing here knows what is right:
the kernel is asked (`bench/verifier_sweeps.py` all of it, `differential/test_verifier_sweeps.py` a sample).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from btf_writer import BtfWriter
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import Alu, Atomic, Class, Jmp, Mode, Size
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.prototypes import prototype_of
from clsbpf.bpf.spec import SCHED_CLS, SOCKET_FILTER, FuncInfo, MapSpec, ObjectSpec, ProgramSpec
from clsbpf.objfile.btf import Btf, Kind, TypeRef


@dataclass(frozen=True, slots=True)
class Case:
    """A program to be judged by both: its instructions (made when wanted), its type, what else it has."""

    name: str
    insns: tuple[Insn, ...] | Callable[[], tuple[Insn, ...]]
    type: str = SCHED_CLS
    kfuncs: tuple[str, ...] = ()
    functions: tuple[tuple[int, str], ...] = ()
    """(first instruction, name in BTF) of its functions; none where it is loaded without types."""
    license: str = "GPL"

    def spec(self) -> ProgramSpec:
        info = tuple(FuncInfo(at, name, FUNCTIONS[name]) for at, name in self.functions)
        insns = self.insns() if callable(self.insns) else self.insns
        return ProgramSpec(
            "sweep", self.type, insns, license=self.license, maps=MAPS, kfuncs=self.kfuncs, func_info=info
        )


# Types and maps --------------------------------------------------------------------------------------


def _types() -> tuple[Btf, dict[str, int], dict[str, int]]:
    w = BtfWriter()
    number = w.int("int", 4)
    long = w.int("long", 8)
    lock = w.struct("bpf_spin_lock", 4, ("val", number, 0))
    words = w.array(long, 2)
    timer = w.struct("bpf_timer", 16, ("opaque", words, 0))
    task = w.fwd("task_struct")
    trusted = w.ptr(w.modifier(Kind.TYPE_TAG, task, "kptr"))
    untrusted = w.ptr(w.modifier(Kind.TYPE_TAG, task, "kptr_untrusted"))
    types = {
        "number": number,
        "locked": w.struct(
            "locked", 24, ("count", long, 0), ("lock", lock, 64), ("more", number, 96), ("rest", long, 128)
        ),
        "timed": w.struct("timed", 32, ("count", long, 0), ("timer", timer, 64), ("rest", long, 192)),
        "kept": w.struct("kept", 24, ("count", long, 0), ("task", trusted, 64), ("loose", untrusted, 128)),
    }
    skb = w.fwd("__sk_buff")
    context, memory = w.ptr(skb), w.ptr(w.array(long, 2))
    size4 = w.ptr(number)
    dynptr = w.ptr(w.struct("bpf_dynptr", 16, ("opaque", words, 0)))
    any = w.ptr(0)
    functions: dict[str, int] = {}

    def function(
        name: str,
        result: int,
        *params: tuple[str, int],
        static: bool = False,
        tags: tuple[tuple[int, str], ...] = (),
    ) -> None:
        functions[name] = w.func(name, w.proto(result, *params), linkage=0 if static else 1)
        for component, tag in tags:
            w.add(17, f"arg:{tag}", size=functions[name], rest=component.to_bytes(4, "little", signed=True))

    function("main", number, ("skb", context))
    function("static0", number, static=True)
    for n, params in enumerate(
        [
            (),
            (("a", long),),
            (("a", long), ("b", long)),
            (("a", long), ("b", long), ("c", long)),
            (("a", long), ("b", long), ("c", long), ("d", long)),
        ]
    ):
        function(f"static{n}", number, *params, static=True)
    function("g_none", number)
    function("g_number", number, ("n", number))
    function("g_long", number, ("n", long))
    function("g_context", number, ("skb", context))
    function("g_tagged", number, ("skb", any), tags=((0, "ctx"),))
    function("g_memory", number, ("p", memory))
    function("g_int", number, ("p", size4))
    function("g_nonnull", number, ("p", memory), tags=((0, "nonnull"),))
    function("g_dynptr", number, ("p", dynptr))
    function("g_task", number, ("p", w.ptr(task)), tags=((0, "trusted"),))
    function("g_task_null", number, ("p", w.ptr(task)), tags=((0, "trusted"), (0, "nullable")))
    function("g_untrusted", number, ("p", w.ptr(task)), tags=((0, "untrusted"),))
    function("g_void_memory", number, ("p", any))
    function("g_wrong_tag", number, ("n", number), tags=((0, "ctx"),))
    function("g_nullable", number, ("p", memory), tags=((0, "nullable"),))
    function("g_two", number, ("p", memory), ("n", number))
    function("g_void", 0, ("n", number))
    function("g_pointer", memory, ("n", number))
    function("g_six", number, *((name, number) for name in "abcdef"))
    return w.btf(), types, functions


TYPES, _TYPE_IDS, FUNCTIONS = _types()


def _typed(name: str) -> TypeRef:
    return TypeRef(TYPES, _TYPE_IDS[name])


_INNER = MapSpec("inner", MapType.ARRAY, 4, 8, 2)
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
    9: MapSpec("outer", MapType.ARRAY_OF_MAPS, 4, 4, 4, inner=_INNER),
    10: MapSpec("locked", MapType.ARRAY, 4, 24, 1, key_type=_typed("number"), value_type=_typed("locked")),
    11: MapSpec("timed", MapType.ARRAY, 4, 32, 1, key_type=_typed("number"), value_type=_typed("timed")),
    12: MapSpec("kept", MapType.ARRAY, 4, 24, 1, key_type=_typed("number"), value_type=_typed("kept")),
    13: MapSpec(
        "readonly",
        MapType.ARRAY,
        4,
        16,
        1,
        flags=1 << 7,
        frozen=True,
        contents=((bytes(4), b"text\0\0\0\0\x07\0\0\0\xff\xff\xff\xff"),),
    ),
    14: MapSpec("writeonly", MapType.ARRAY, 4, 16, 1, flags=1 << 8),
    15: MapSpec("stack", MapType.STACK, 0, 8, 16),
    16: MapSpec("trie", MapType.LPM_TRIE, 8, 8, 16, flags=1),
    17: MapSpec("lru_percpu", MapType.LRU_PERCPU_HASH, 4, 8, 64),
    18: MapSpec("bloom", MapType.BLOOM_FILTER, 0, 8, 16),
    19: MapSpec("cgroups", MapType.CGROUP_ARRAY, 4, 4, 4),
    20: MapSpec("hashes", MapType.HASH_OF_MAPS, 4, 4, 4, inner=_INNER),
    21: MapSpec("percpu_hash", MapType.PERCPU_HASH, 4, 8, 4),
    22: MapSpec("sockets", MapType.SOCKMAP, 4, 4, 4),
    23: MapSpec("sockhash", MapType.SOCKHASH, 4, 8, 4),
    24: MapSpec("devices", MapType.DEVMAP, 4, 4, 4),
    25: MapSpec("lock_hash", MapType.HASH, 8, 24, 4, key_type=TypeRef(TYPES, 2), value_type=_typed("locked")),
    26: MapSpec("traces", MapType.STACK_TRACE, 4, 64, 4),
    27: MapSpec("user_ring", MapType.USER_RINGBUF, 0, 0, 4096),
}
OBJECT = ObjectSpec("sweep", {}, {m.name: m for m in MAPS.values()}, btf=TYPES)


# Kinds of values -------------------------------------------------------------------------------------

BEGIN = "r6 = r1\n"
END = "r0 = 0\nexit\n"
_TUPLE = (
    "*(u64 *)(r10 -128) = 0\n*(u64 *)(r10 -120) = 0\nr1 = r6\nr2 = r10\nr2 += -128\nr3 = 12\nr4 = 0\nr5 = 0\n"
)
_NULL = "if r0 != 0 goto +2\nr0 = 0\nexit\n"
_KEY = "*(u64 *)(r10 -104) = 0\nr2 = r10\nr2 += -104\n"


def _looked_up(number: int) -> str:
    return f"{_KEY}r1 = map[fd:{number}]\ncall 1\n"


KINDS: dict[str, tuple[str, str]] = {
    "unwritten": ("", ""),
    "0": ("rX = 0\n", ""),
    "4": ("rX = 4\n", ""),
    "-1": ("rX = -1\n", ""),
    "-8": ("rX = -8\n", ""),
    "far": ("rX = 536870912\n", ""),
    "wide": ("rX = 1\nrX <<= 32\n", ""),
    "byte": ("rX = *(u32 *)(r6 +8)\nrX &= 7\n", ""),
    "u32": ("rX = *(u32 *)(r6 +8)\n", ""),
    "u64": ("rX = *(u64 *)(r10 -200)\n", ""),
    "s8": ("rX = *(s8 *)(r10 -200)\n", ""),
    "ctx": ("rX = r6\n", ""),
    "ctx+4": ("rX = r6\nrX += 4\n", ""),
    "fp": ("rX = r10\n", ""),
    "stack": ("*(u64 *)(r10 -16) = 0\n*(u64 *)(r10 -8) = 0\nrX = r10\nrX += -16\n", ""),
    "unwritten stack": ("rX = r10\nrX += -96\n", ""),
    "pointer on the stack": ("*(u64 *)(r10 -16) = r6\nrX = r10\nrX += -16\n", ""),
    "stack, variable": ("rX = *(u32 *)(r6 +8)\nrX &= 8\nrX += -96\nr0 = r10\nrX += r0\n", ""),
    "packet": ("rX = *(u32 *)(r6 +76)\n", ""),
    "packet 16": ("rX = *(u32 *)(r6 +76)\nr0 = *(u32 *)(r6 +80)\nr2 = rX\nr2 += 16\nif r2 > r0 goto OUT\n", ""),
    "packet+8 of 16": ("rX = *(u32 *)(r6 +76)\nr0 = *(u32 *)(r6 +80)\nr2 = rX\nr2 += 16\nif r2 > r0 goto OUT\nrX += 8\n", ""),
    "packet, variable": ("r3 = *(u32 *)(r6 +8)\nr3 &= 255\nrX = *(u32 *)(r6 +76)\nrX += r3\nr0 = *(u32 *)(r6 +80)\nr2 = rX\nr2 += 16\nif r2 > r0 goto OUT\n", ""),
    "packet end": ("rX = *(u32 *)(r6 +80)\n", ""),
    "packet meta": ("rX = *(u32 *)(r6 +140)\n", ""),
    "packet meta 4": ("rX = *(u32 *)(r6 +140)\nr0 = *(u32 *)(r6 +76)\nr2 = rX\nr2 += 4\nif r2 > r0 goto OUT\n", ""),
    "map": ("rX = map[fd:1]\n", ""),
    "ring map": ("rX = map[fd:4]\n", ""),
    "value": ("rX = map[fd:2][0]+0\n", ""),
    "value+8": ("rX = map[fd:2][0]+8\n", ""),
    "value, variable": ("rX = map[fd:2][0]+0\nr0 = *(u32 *)(r6 +8)\nr0 &= 7\nrX += r0\n", ""),
    "value of hash": (_looked_up(0) + _NULL + "rX = r0\n", ""),
    "value or null": (_looked_up(0) + "rX = r0\n", ""),
    "inner map": (_looked_up(9) + _NULL + "rX = r0\n", ""),
    "inner map or null": (_looked_up(9) + "rX = r0\n", ""),
    "locked value": ("rX = map[fd:10][0]+8\n", ""),
    "timed value": ("rX = map[fd:11][0]+8\n", ""),
    "kept pointer": ("rX = map[fd:12][0]+8\n", ""),
    "read-only value": ("rX = map[fd:13][0]+0\n", ""),
    "write-only value": ("rX = map[fd:14][0]+0\n", ""),
    "sock_common or null": ("rX = *(u64 *)(r6 +168)\n", ""),
    "sock_common": ("rX = *(u64 *)(r6 +168)\nif rX == 0 goto OUT\n", ""),
    "sock or null": ("r1 = *(u64 *)(r6 +168)\nif r1 == 0 goto OUT\ncall 95\nrX = r0\n", ""),
    "sock": ("r1 = *(u64 *)(r6 +168)\nif r1 == 0 goto OUT\ncall 95\nif r0 == 0 goto OUT\nrX = r0\n", ""),
    "tcp_sock": ("r1 = *(u64 *)(r6 +168)\nif r1 == 0 goto OUT\ncall 96\nif r0 == 0 goto OUT\nrX = r0\n", ""),
    "owned sock": (_TUPLE + "call 84\nif r0 == 0 goto OUT\nr9 = r0\nrX = r0\n", "r1 = r9\ncall 86\n"),
    "owned sock or null": (_TUPLE + "call 84\nr9 = r0\nrX = r0\n", "if r9 == 0 goto +2\nr1 = r9\ncall 86\n"),
    "owned sock_common": (_TUPLE + "call 99\nif r0 == 0 goto OUT\nr9 = r0\nrX = r0\n", "r1 = r9\ncall 86\n"),
    "record": ("r1 = map[fd:4]\nr2 = 16\nr3 = 0\ncall 131\nif r0 == 0 goto OUT\nr9 = r0\nrX = r0\n", "r1 = r9\nr2 = 0\ncall 132\n"),
    "record or null": ("r1 = map[fd:4]\nr2 = 16\nr3 = 0\ncall 131\nr9 = r0\nrX = r0\n", "if r9 == 0 goto +3\nr1 = r9\nr2 = 0\ncall 132\n"),
    "record+8": ("r1 = map[fd:4]\nr2 = 16\nr3 = 0\ncall 131\nif r0 == 0 goto OUT\nr9 = r0\nrX = r0\nrX += 8\n", "r1 = r9\nr2 = 0\ncall 132\n"),
    "task": ("call 158\nrX = r0\n", ""),
    "tcp6_sock or null": ("r1 = *(u64 *)(r6 +168)\nif r1 == 0 goto OUT\ncall 136\nrX = r0\n", ""),
    "member of task": ("call 158\nrX = *(u64 *)(r0 +0)\n", ""),
    "kptr": ("rX = map[fd:12][0]+0\nrX = *(u64 *)(rX +8)\n", ""),
    "loose kptr": ("rX = map[fd:12][0]+0\nrX = *(u64 *)(rX +16)\n", ""),
    "dynptr": ("r1 = map[fd:4]\nr2 = 16\nr3 = 0\nr4 = r10\nr4 += -64\ncall 198\nrX = r10\nrX += -64\n", "r1 = r10\nr1 += -64\nr2 = 0\ncall 199\n"),
    "local dynptr": ("r1 = map[fd:2][0]+0\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -64\ncall 197\nrX = r10\nrX += -64\n", ""),
    "dynptr's memory": ("r1 = map[fd:2][0]+0\nr2 = 16\nr3 = 0\nr4 = r10\nr4 += -64\ncall 197\nr1 = r10\nr1 += -64\nr2 = 0\nr3 = 8\ncall 203\nif r0 == 0 goto OUT\nrX = r0\n", ""),
}  # fmt: skip
"""By kind: what puts such a value into rX (r6 is the context), and what gives back what it took."""

NUMBERS = ("0", "4", "-1", "-8", "far", "wide", "byte", "u32", "u64", "s8")
POINTERS = tuple(kind for kind in KINDS if kind not in NUMBERS and kind != "unwritten")


@functools.cache
def _code(text: str) -> tuple[Insn, ...]:
    return assemble(text)


def program(
    kind: str, *body: str | Insn, register: int = 7, other: str | None = None, end: str = END
) -> Callable[[], tuple[Insn, ...]]:
    """A value of the kind in r7 (and of `other` in r8), then the body, what must be given back, and the end."""
    return functools.partial(_built, kind, body, register, other, end)


def _built(
    kind: str, body: tuple[str | Insn, ...], register: int, other: str | None, end: str
) -> tuple[Insn, ...]:
    setup, cleanup = KINDS[kind]
    text = BEGIN
    if other is not None:
        before, after = KINDS[other]
        text += before.replace("rX", "r8").replace("r9", "r9" if "r9" not in setup else "r5")
        cleanup += after
    text += setup.replace("rX", f"r{register}")
    parts: list[Insn] = []
    patches: list[int] = []

    def take(piece: str) -> None:
        for line in piece.splitlines():
            if line.endswith("goto OUT"):
                patches.append(len(parts))
                parts.extend(_code(line.replace("OUT", "+0")))
            else:
                parts.extend(_code(line))

    take(text)
    for piece in body:
        if isinstance(piece, Insn):
            parts.append(piece)
        else:
            take(piece)
    take(cleanup)
    out = len(parts)
    take(end)
    for at in patches:
        insn = parts[at]
        parts[at] = Insn(insn.code, insn.dst, insn.src, out - at - 1, insn.imm)
    return tuple(parts)


# Sweeps ----------------------------------------------------------------------------------------------

_SIZES = {Size.B: 1, Size.H: 2, Size.W: 4, Size.DW: 8}
_ALU = (Alu.ADD, Alu.SUB, Alu.MUL, Alu.DIV, Alu.OR, Alu.AND, Alu.LSH, Alu.RSH, Alu.MOD, Alu.XOR, Alu.ARSH)
_JUMPS = (
    Jmp.JEQ,
    Jmp.JGT,
    Jmp.JGE,
    Jmp.JSET,
    Jmp.JNE,
    Jmp.JSGT,
    Jmp.JSGE,
    Jmp.JLT,
    Jmp.JLE,
    Jmp.JSLT,
    Jmp.JSLE,
)
_ATOMICS = (*(op | fetch for op in (Atomic.ADD, Atomic.OR, Atomic.AND, Atomic.XOR) for fetch in (0, 1)),
            Atomic.XCHG, Atomic.CMPXCHG, Atomic.LOAD_ACQ, Atomic.STORE_REL)  # fmt: skip
X = 8
LOOK = "r0 = *(u8 *)(r7 +0)\n"


def arithmetic() -> Iterator[Case]:
    """Each operation, 32 and 64 bits, of any kind with any kind; what comes out is then looked through."""
    for kind in KINDS:
        for cls in (Class.ALU, Class.ALU64):
            for op in _ALU:
                for off in (0, 1) if op in (Alu.DIV, Alu.MOD) else (0,):
                    for other in KINDS:
                        body = Insn(cls | op | X, 7, 8, off)
                        yield Case(f"{kind} {op.name} {other}", program(kind, body, LOOK, other=other))
                        yield Case(f"{kind} {op.name} {other}, kept", program(kind, body, other=other))


def arithmetic_constants() -> Iterator[Case]:
    """Each operation with constants at the limits; moves, sign extension, byte swaps, negation."""
    numbers = (
        0,
        1,
        8,
        -1,
        -8,
        7,
        15,
        16,
        31,
        32,
        33,
        63,
        64,
        65,
        0x7FFF,
        2**29 - 1,
        2**29,
        2**30,
        -(2**29),
        2**31 - 1,
        -(2**31),
    )
    for kind in KINDS:
        for cls in (Class.ALU, Class.ALU64):
            for op in _ALU:
                for off in (0, 1, 2) if op in (Alu.DIV, Alu.MOD) else (0,):
                    for imm in numbers:
                        for look in (LOOK, ""):
                            yield Case(
                                f"{kind} {op.name} {imm}", program(kind, Insn(cls | op, 7, 0, off, imm), look)
                            )
            for off in (0, 1, 8, 16, 32, 64):
                for look in (
                    LOOK,
                    "r0 = r7\n",
                    "r7 &= 15\nr8 = map[fd:2][0]+0\nr8 += r7\nr0 = *(u8 *)(r8 +0)\n",
                ):
                    yield Case(f"{kind} mov {off}", program(kind, Insn(cls | Alu.MOV | X, 7, 7, off), look))
                    yield Case(
                        f"{kind} to another {off}", program(kind, Insn(cls | Alu.MOV | X, 8, 7, off), look)
                    )
            for imm in (0, 1, 8, 16, 32, 64):
                for source in (0, X):
                    yield Case(
                        f"{kind} end {imm}", program(kind, Insn(cls | Alu.END | source, 7, 0, 0, imm), LOOK)
                    )
                    yield Case(f"{kind} end {imm}", program(kind, Insn(cls | Alu.END | source, 7, 0, 0, imm)))
            yield Case(f"{kind} neg", program(kind, Insn(cls | Alu.NEG, 7), LOOK))
            yield Case(f"{kind} neg", program(kind, Insn(cls | Alu.NEG, 7)))
        for op in (*_ALU, Alu.MOV):
            yield Case(f"{kind} {op.name} into fp", program(kind, Insn(Class.ALU64 | op | X, 10, 7)))


_OFFSETS = (-520, -513, -512, -504, -16, -12, -9, -8, -7, -4, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 20,
            22, 23, 24, 25, 28, 31, 32, 40, 44, 48, 49, 50, 52, 72, 76, 79, 80, 84, 88, 96, 104, 108, 111, 112, 120, 512, 0x7FFF)  # fmt: skip


def memory() -> Iterator[Case]:
    """Each load and store, of each size, through each kind, at offsets around every limit."""
    for kind in KINDS:
        for size in _SIZES:
            for off in _OFFSETS:
                where = f"{kind} {off} {size.name}"
                yield Case(f"{where} load", program(kind, Insn(Class.LDX | Mode.MEM | size, 0, 7, off)))
                yield Case(f"{where} signed", program(kind, Insn(Class.LDX | Mode.MEMSX | size, 0, 7, off)))
                yield Case(f"{where} constant", program(kind, Insn(Class.ST | Mode.MEM | size, 7, 0, off, 1)))
                yield Case(
                    f"{where} number", program(kind, "r5 = 1\n", Insn(Class.STX | Mode.MEM | size, 7, 5, off))
                )
                yield Case(f"{where} pointer", program(kind, Insn(Class.STX | Mode.MEM | size, 7, 10, off)))


def stores() -> Iterator[Case]:
    """Each kind stored through each kind, then loaded again by each width."""
    for kind in KINDS:
        for other in KINDS:
            for size in _SIZES:
                yield Case(
                    f"{other} into {kind} {size.name}",
                    program(kind, Insn(Class.STX | Mode.MEM | size, 7, 8, 0), other=other),
                )
        for size in _SIZES:
            for load in _SIZES:
                for at in range(0, 8, _SIZES[load]):
                    body = (
                        Insn(Class.STX | Mode.MEM | size, 10, 7, -248),
                        Insn(Class.LDX | Mode.MEM | load, 7, 10, -248 + at),
                    )
                    yield Case(f"{kind} {size.name} back {load.name} {at}", program(kind, *body, LOOK))
                    yield Case(f"{kind} {size.name} back {load.name} {at}, kept", program(kind, *body))


def atomics() -> Iterator[Case]:
    """Each atomic operation, of each size, on each kind, with operands of each kind."""
    for kind in KINDS:
        for op in _ATOMICS:
            for size in _SIZES:
                for off in (0, 4, 1, 8):
                    for operand in ("0", "byte", "ctx", "unwritten", "value"):
                        yield Case(
                            f"{kind} atomic {op:#x} {size.name} {off} {operand}",
                            program(
                                kind,
                                "r0 = 0\n",
                                Insn(Class.STX | Mode.ATOMIC | size, 7, 8, off, int(op)),
                                other=operand,
                            ),
                        )
                    yield Case(
                        f"{kind} itself {op:#x} {size.name} {off}",
                        program(kind, "r0 = 0\n", Insn(Class.STX | Mode.ATOMIC | size, 7, 7, off, int(op))),
                    )
                    yield Case(
                        f"{kind} from {op:#x} {size.name} {off}",
                        program(
                            kind,
                            "r0 = 0\n",
                            Insn(Class.STX | Mode.ATOMIC | size, 8, 7, off, int(op)),
                            other="value",
                        ),
                    )
                    yield Case(
                        f"{kind} from {op:#x} {size.name} {off} fp",
                        program(
                            kind,
                            "r0 = 0\n",
                            Insn(Class.STX | Mode.ATOMIC | size, 8, 7, off, int(op)),
                            other="stack",
                        ),
                    )
        for imm in (2, 0x10, 0x11, 0xE0, 0xF0, 0x101, 0x120, -1):
            yield Case(
                f"{kind} atomic {imm:#x}",
                program(kind, "r0 = 0\nr8 = 0\n", Insn(Class.STX | Mode.ATOMIC | Size.DW, 7, 8, 0, imm)),
            )


def context_fields() -> Iterator[Case]:
    """Each offset of the context, each size, read and written, by both types of programs."""
    for type in (SCHED_CLS, SOCKET_FILTER):
        for off in range(-2, 202):
            for size in _SIZES:
                for name, body in (
                    ("load", Insn(Class.LDX | Mode.MEM | size, 0, 1, off)),
                    ("signed", Insn(Class.LDX | Mode.MEMSX | size, 0, 1, off)),
                    ("constant", Insn(Class.ST | Mode.MEM | size, 1, 0, off, 1)),
                    ("number", Insn(Class.STX | Mode.MEM | size, 1, 2, off)),
                ):
                    yield Case(
                        f"{type} {name} {off} {size.name}", (*_code("r2 = 1"), body, *_code(END)), type
                    )
                yield Case(
                    f"{type} xadd {off} {size.name}",
                    (*_code("r2 = 1"), Insn(Class.STX | Mode.ATOMIC | size, 1, 2, off), *_code(END)),
                    type,
                )
                yield Case(
                    f"{type} pointer {off} {size.name}",
                    (Insn(Class.STX | Mode.MEM | size, 1, 10, off), *_code(END)),
                    type,
                )
                yield Case(
                    f"{type} acquire {off} {size.name}",
                    (Insn(Class.STX | Mode.ATOMIC | size, 0, 1, off, Atomic.LOAD_ACQ), *_code(END)),
                    type,
                )


def jumps() -> Iterator[Case]:
    """Each comparison of any kind with any kind, the pointer looked through on either way."""
    ways = (("jumps", "goto +1\n"), ("falls", ""))
    for kind in KINDS:
        for cls in (Class.JMP, Class.JMP32):
            for op in _JUMPS:
                for other in KINDS:
                    for way, skip in ways:
                        yield Case(
                            f"{kind} {cls.name} {op.name} {other}, {way}",
                            program(kind, Insn(cls | op | X, 7, 8, 1), skip, LOOK, other=other),
                        )


def jumps_to_constants() -> Iterator[Case]:
    """Each comparison with constants; either way the number is used as an index, the pointer looked through."""
    index = "r8 = map[fd:2][0]+0\nr8 += r7\nr0 = *(u8 *)(r8 +0)\n"
    for kind in KINDS:
        for cls in (Class.JMP, Class.JMP32):
            for op in _JUMPS:
                for imm in (0, 1, 7, 23, 24, -1, -8, 2**31 - 1, -(2**31)):
                    for skip in (0, 1):
                        for look, length in ((LOOK, 1), (index, 4)):
                            insns = [Insn(cls | op, 7, 0, length if skip else 1, imm)]
                            if not skip:
                                insns.append(Insn(Class.JMP | Jmp.JA, 0, 0, length))
                            yield Case(
                                f"{kind} {cls.name} {op.name} {imm} {skip}", program(kind, *insns, look)
                            )


def bounds() -> Iterator[Case]:
    """Two comparisons of a number, signed and unsigned, 32 and 64 bits, and the number as index or size."""
    index = "r8 = map[fd:2][0]+0\nr8 += r7\nr0 = *(u8 *)(r8 +0)\n"
    numbers = ("u32", "u64", "s8", "byte")
    for kind in numbers:
        for one in (Class.JMP, Class.JMP32):
            for first in _JUMPS:
                for a in (-1, 0, 8, 24):
                    for two in (Class.JMP, Class.JMP32):
                        for second in _JUMPS:
                            for b in (0, 23, -1):
                                yield Case(
                                    f"{kind} {one.name} {first.name} {a} {two.name} {second.name} {b}",
                                    program(
                                        kind,
                                        Insn(one | first, 7, 0, 1, a),
                                        "goto +5\n",
                                        Insn(two | second, 7, 0, 4, b),
                                        index,
                                    ),
                                )


def opcodes() -> Iterator[Case]:
    """Every opcode, with the fields that it does and does not use."""
    for code in range(256):
        for dst, src, off, imm in ((0, 0, 0, 0), (7, 0, 0, 1), (7, 8, 0, 0), (7, 8, 0, 1), (7, 0, 1, 0), (0, 0, 1, 1), (10, 0, 0, 0), (11, 0, 0, 0),
                                   (7, 11, 0, 0), (0, 1, 0, 0), (0, 2, 0, 0), (0, 0, 0, 16), (0, 0, -1, 0), (7, 10, -8, 0), (10, 7, -8, 0), (6, 7, 8, 0)):  # fmt: skip
            if code == Class.JMP | Jmp.CALL and src == 2:
                continue  # (of a kernel function: by name, elsewhere)
            yield Case(
                f"{code:#x} {dst} {src} {off} {imm}",
                (*_code("r6 = r1\nr0 = 0\nr7 = 0\nr8 = 0"), Insn(code, dst, src, off, imm), *_code(END)),
            )
            yield Case(
                f"{code:#x} unreached",
                (*_code("r0 = 0\nif r0 == 0 goto +1"), Insn(code, dst, src, off, imm), *_code(END)),
            )


_ARGUMENTS: dict[str, str] = {
    "any": "rX = 0\n", "ctx": "rX = r6\n", "key": "rX = r10\nrX += -160\n", "value": "rX = r10\nrX += -160\n",
    "value-u": "rX = r10\nrX += -160\n", "value-or-null": "rX = 0\n", "mem": "rX = r10\nrX += -160\n", "mem-w": "rX = r10\nrX += -160\n",
    "mem-u": "rX = r10\nrX += -160\n", "size": "rX = 8\n", "size0": "rX = 8\n", "alloc": "rX = 8\n", "reserve": "rX = 8\n",
    "fix-w4": "rX = r10\nrX += -160\n", "fix-u8": "rX = r10\nrX += -160\n", "ip4": "rX = r10\nrX += -160\n", "ip6": "rX = r10\nrX += -160\n",
    "tcp": "rX = r10\nrX += -160\n", "string": "rX = map[fd:13][0]+0\n", "stack": "rX = r10\nrX += -160\n",
    "lock": "rX = map[fd:10][0]+8\n", "timer": "rX = map[fd:11][0]+8\n", "kptr": "rX = map[fd:12][0]+8\n", "exchanged": "rX = 0\n",
    "dynptr-u": "rX = r10\nrX += -224\n", "sk": "rX = 0\n", "cgroup": "rX = 0\n", "percpu": "rX = 0\n", "func": "rX = 0\n",
}  # fmt: skip
_BEFORE: dict[str, str] = {
    "sock": "r9 = *(u64 *)(r6 +168)\nif r9 == 0 goto OUT\n", "sk_common": "r9 = *(u64 *)(r6 +168)\nif r9 == 0 goto OUT\n",
    "skc": "r9 = *(u64 *)(r6 +168)\nif r9 == 0 goto OUT\n", "record": "r1 = map[fd:4]\nr2 = 16\nr3 = 0\ncall 131\nif r0 == 0 goto OUT\nr9 = r0\n",
    "task": "call 158\nr9 = r0\n",
    "dynptr": "r1 = map[fd:2][0]+0\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -224\ncall 197\n",
    "dynptr-r": "r1 = map[fd:4]\nr2 = 16\nr3 = 0\nr4 = r10\nr4 += -224\ncall 198\n",
}  # fmt: skip
_MAP_OF = {
    12: 3,
    22: 8,
    25: 8,
    55: 8,
    33: 19,
    37: 19,
    87: 6,
    88: 6,
    89: 6,
    130: 4,
    131: 4,
    134: 4,
    198: 4,
    195: 7,
    169: 11,
    209: 27,
}
_SCRATCH = "".join(f"*(u64 *)(r10 {-160 + 8 * n}) = 0\n" for n in range(5))


def _call(number: int) -> tuple[str, list[str]]:
    """What must come before a call of the helper, and its arguments as they would be right."""
    proto = prototype_of(number)
    words = proto.words if proto is not None else ("any",) * 5
    before, arguments = _SCRATCH, []
    for n, each in enumerate(words, 1):
        word = each.removesuffix("?").removesuffix("-or-null") if each != "value-or-null" else each
        if word in _BEFORE and _BEFORE[word] not in before:
            before += _BEFORE[word]
        if word == "map":
            text = f"rX = map[fd:{_MAP_OF.get(number, 0)}]\n"
        elif word in ("dynptr", "dynptr-r"):
            text = "rX = r10\nrX += -224\n"
        else:
            text = _ARGUMENTS.get(word, "rX = r9\n")
        arguments.append(text.replace("rX", f"r{n}"))
    return before, arguments


def _calls(type: str) -> Iterator[Case]:
    for number in (*range(215), 1000, 65536, -1):
        before, arguments = _call(number)
        after = ("", LOOK.replace("r7", "r0"))
        for look in after:
            yield Case(
                f"{type} call {number}",
                program("unwritten", before, *arguments, Insn(Class.JMP | Jmp.CALL, imm=number), look),
                type,
            )
        yield Case(
            f"{type} call {number}, MIT",
            program("unwritten", before, *arguments, Insn(Class.JMP | Jmp.CALL, imm=number)),
            type,
            license="MIT",
        )
        for n in range(len(arguments)):
            for kind in KINDS:
                others = [text for i, text in enumerate(arguments) if i != n]
                yield Case(
                    f"{type} call {number} {kind} as r{n + 1}",
                    program(
                        kind,
                        before,
                        *others,
                        Insn(Class.ALU64 | Alu.MOV | X, n + 1, 7),
                        Insn(Class.JMP | Jmp.CALL, imm=number),
                    ),
                    type,
                )


def helpers() -> Iterator[Case]:
    """Every helper as it should be called, and with each argument of each kind."""
    yield from _calls(SCHED_CLS)


def helpers_of_socket_filters() -> Iterator[Case]:
    """The same for socket filters."""
    yield from _calls(SOCKET_FILTER)


def maps() -> Iterator[Case]:
    """Every helper that takes a map with every kind of map; what it gives is then looked through."""
    for number in range(1, 212):
        proto = prototype_of(number)
        if proto is None or "map" not in proto.words:
            continue
        before, arguments = _call(number)
        at = proto.words.index("map")
        for key in MAPS:
            chosen = [f"r{n + 1} = map[fd:{key}]\n" if n == at else text for n, text in enumerate(arguments)]
            for look in ("", LOOK.replace("r7", "r0"), "if r0 == 0 goto OUT\nr0 = *(u8 *)(r0 +0)\n"):
                yield Case(
                    f"call {number} map {key}",
                    program("unwritten", before, *chosen, Insn(Class.JMP | Jmp.CALL, imm=number), look),
                )


def sizes() -> Iterator[Case]:
    """Memory and size: every helper that takes both, sizes around the memory's and numbers of all kinds, on each memory."""
    memories = ("stack", "unwritten stack", "pointer on the stack", "value", "value, variable", "packet 16", "packet, variable",
                "record", "read-only value", "write-only value", "locked value", "kept pointer", "dynptr's memory", "0", "value or null", "stack, variable")  # fmt: skip
    lengths = ("r5 = 0\n", "r5 = 1\n", "r5 = 8\n", "r5 = 15\n", "r5 = 16\n", "r5 = 17\n", "r5 = 24\n", "r5 = 25\n", "r5 = 97\n", "r5 = 512\n", "r5 = 536870911\n", "r5 = 536870912\n", "r5 = -1\n",
               "r5 = *(u32 *)(r6 +8)\nr5 &= 7\n", "r5 = *(u32 *)(r6 +8)\nr5 &= 15\nr5 += 1\n", "r5 = *(u32 *)(r6 +8)\n", "r5 = *(u64 *)(r10 -200)\n")  # fmt: skip
    for number in range(1, 212):
        proto = prototype_of(number)
        if proto is None:
            continue
        before, arguments = _call(number)
        for n, word in enumerate(proto.words):
            if word.startswith("mem") and n + 1 < len(proto.words) and proto.words[n + 1].startswith("size"):
                for kind in memories:
                    for length in lengths:
                        chosen = [text for i, text in enumerate(arguments) if i not in (n, n + 1)]
                        size = Insn(Class.ALU64 | Alu.MOV | X, n + 2, 8)
                        pointer = Insn(Class.ALU64 | Alu.MOV | X, n + 1, 7)
                        yield Case(
                            f"call {number} {kind} {length.strip()}",
                            program(
                                kind,
                                before,
                                length,
                                "r8 = r5\n",
                                *chosen,
                                size,
                                pointer,
                                Insn(Class.JMP | Jmp.CALL, imm=number),
                                "r0 = *(u8 *)(r10 -96)\n",
                            ),
                        )


SWEEPS: Mapping[str, Callable[[], Iterator[Case]]] = {
    sweep.__name__: sweep
    for sweep in (
        *(
            opcodes,
            context_fields,
            memory,
            stores,
            atomics,
            arithmetic,
            arithmetic_constants,
            jumps,
            jumps_to_constants,
        ),
        *(bounds, helpers, helpers_of_socket_filters, maps, sizes),
    )
}
