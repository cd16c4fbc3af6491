# ruff: noqa: E501 - what is written down as one line is easier to compare
"""Sweeps over the verifier's rules: every operation on every kind of register, exhaustively where that is small.

`KINDS` says, for each kind of value, what puts it into a register; a sweep is a generator of `Case`s that
combine such registers with operations, offsets, sizes and arguments.  Nothing here knows what is right:
the kernel is asked (`bench/verifier_sweeps.py` all of it, `differential/test_verifier_sweeps.py` a sample).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from btf_writer import BtfWriter
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import Alu, Atomic, Class, Jmp, Mode, Size
from clsbpf.bpf.kfuncs import kfuncs
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.prototypes import prototype_of
from clsbpf.bpf.spec import SCHED_CLS, SOCKET_FILTER, FuncInfo, MapSpec, ObjectSpec, ProgramSpec
from clsbpf.objfile.btf import Btf, Kind, TypeRef

Built = tuple[tuple[Insn, ...], tuple[tuple[int, str], ...]]
"""Instructions, and of its functions (first instruction, name in `FUNCTIONS`): none where there are no types."""
Function = tuple[str, str, str]
"""A function of the program: its label, its name in `FUNCTIONS`, its text."""


@dataclass(frozen=True, slots=True)
class Case:
    """A program to be judged by both: its instructions (made when wanted), its type, what else it has."""

    name: str
    insns: tuple[Insn, ...] | Callable[[], Built]
    type: str = SCHED_CLS
    kfuncs: tuple[str, ...] = ()
    license: str = "GPL"

    def spec(self) -> ProgramSpec:
        insns, functions = self.insns() if callable(self.insns) else (self.insns, ())
        info = tuple(FuncInfo(at, name, FUNCTIONS[name]) for at, name in functions)
        return ProgramSpec(
            "sweep",
            self.type,
            insns,
            license=self.license,
            maps=MAPS,
            kfuncs=self.kfuncs,
            func_info=info,
        )


# Types and maps --------------------------------------------------------------------------------------


def _types() -> tuple[Btf, dict[str, int], dict[str, int]]:
    w = BtfWriter()
    number = w.int("int", 4)
    long = w.int("long", 8)
    lock = w.struct("bpf_spin_lock", 4, ("val", number, 0))
    words = w.array(long, 2)
    timer = w.struct("bpf_timer", 16, ("opaque", words, 0))
    task = w.struct("task_struct", 4, ("state", number, 0))
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
    skb = w.struct("__sk_buff", 4, ("len", number, 0))
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
    function("g_later", number, ("p", w.ptr(w.fwd("cgroup"))), tags=((0, "trusted"),))
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
    kind: str,
    *body: str | Insn,
    register: int = 7,
    other: str | None = None,
    end: str = END,
    functions: tuple[Function, ...] = (),
) -> Callable[[], Built]:
    """A value of the kind in r7 (and of `other` in r8), then the body, what must be given back, and the end.

    In a text `goto OUT` leads to the end, `call @f` calls a function of `functions`, `rN = @f` is its address.
    """
    return functools.partial(_built, kind, body, register, other, end, functions)


_PLACE = re.compile(r"(?:goto (?P<out>OUT)|call @(?P<call>\w+)|(?P<reg>r\d) = @(?P<name>\w+))$")


def _built(
    kind: str,
    body: tuple[str | Insn, ...],
    register: int,
    other: str | None,
    end: str,
    functions: tuple[Function, ...],
) -> Built:
    setup, cleanup = KINDS[kind]
    text = BEGIN
    if other is not None:
        before, after = KINDS[other]
        text += before.replace("rX", "r8").replace("r9", "r9" if "r9" not in setup else "r5")
        cleanup += after
    text += setup.replace("rX", f"r{register}")
    parts: list[Insn] = []
    patches: list[tuple[int, str]] = []
    places: dict[str, int] = {}

    def take(piece: str) -> None:
        for line in piece.splitlines():
            found = _PLACE.search(line)
            if found is None:
                parts.extend(_code(line))
                continue
            patches.append((len(parts), found["out"] or found["call"] or found["name"]))
            if found["out"]:
                parts.extend(_code(line.replace("OUT", "+0")))
            elif found["call"]:
                parts.append(Insn(Class.JMP | Jmp.CALL, src=1))
            else:
                parts.extend((Insn(Class.LD | Mode.IMM | Size.DW, int(found["reg"][1:]), 4), Insn(0)))

    take(text)
    for piece in body:
        if isinstance(piece, Insn):
            parts.append(piece)
        else:
            take(piece)
    take(cleanup)
    places["OUT"] = len(parts)
    take(end)
    named = [(0, "main")]
    for label, name, code in functions:
        places[label] = len(parts)
        named.append((len(parts), name))
        take(code)
    for at, label in patches:
        insn, distance = parts[at], places[label] - at - 1
        if label == "OUT":
            parts[at] = Insn(insn.code, insn.dst, insn.src, distance, insn.imm)
        else:
            parts[at] = Insn(insn.code, insn.dst, insn.src, 0, distance)
    return tuple(parts), tuple(named) if functions else ()


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


_GLOBALS = tuple(name for name in FUNCTIONS if name.startswith("g_"))
_USES = (
    "", "r0 = *(u8 *)(r1 +0)\n", "r0 = *(u64 *)(r1 +8)\n", "r0 = *(u64 *)(r1 +16)\n", "*(u64 *)(r1 +0) = 1\n",
    "if r1 == 0 goto +1\nr0 = *(u64 *)(r1 +8)\n", "if r1 == 0 goto +1\n*(u64 *)(r1 +8) = 1\n", "r0 = r1\n", "r1 += 8\n",
    "if r1 == 0 goto +1\nr0 = *(u64 *)(r1 +16)\n", "r0 = *(u32 *)(r1 +76)\n", "r1 &= 7\nr2 = map[fd:2][0]+0\nr2 += r1\nr0 = *(u8 *)(r2 +0)\n",
    "call 24\n", "r2 = 0\ncall 39\n", "r0 = r2\n", "r0 = r6\n", "*(u64 *)(r10 -8) = r1\nr0 = *(u64 *)(r10 -8)\n", "r1 = *(u64 *)(r1 +0)\nr0 = *(u8 *)(r1 +0)\n",
    "r1 = r10\nr1 += -16\nr2 = 8\nr3 = r1\ncall 203\n",
)  # fmt: skip


def functions() -> Iterator[Case]:
    """Global functions by their types: each kind as argument, and what each may do with it."""
    for name in _GLOBALS:
        for kind in KINDS:
            for second in ("", "r2 = 0\n"):
                body = (second, "r1 = r7\n" if kind != "unwritten" else "", "call @f\n")
                yield Case(
                    f"{name} {kind} {second.strip()}", program(kind, *body, functions=(("f", name, END),))
                )
        for use in _USES:
            for end in (END, "exit\n"):
                call = ("r1 = r6\nr2 = 0\n", "call @f\n")
                argument = {"g_context": "0", "g_tagged": "0"}.get(name, "0")
                yield Case(
                    f"{name} {use.strip()} {end.split()[0]}",
                    program(argument, "goto +1\n", "call @f\n", functions=(("f", name, use + end),)),
                )
                yield Case(
                    f"{name} called {use.strip()}", program("0", *call, functions=(("f", name, use + end),))
                )
                for fit in ("stack", "value or null", "ctx", "task", "local dynptr"):
                    body = ("r1 = r7\nr2 = 0\n", "call @f\n", "r0 = r7\n")
                    yield Case(
                        f"{name} of {fit} {use.strip()}",
                        program(fit, *body, functions=(("f", name, use + end),)),
                    )


def static_functions() -> Iterator[Case]:
    """Functions that are walked where they are called: each kind goes in, and comes back."""
    for kind in KINDS:
        for use in _USES:
            for typed in (True, False):
                name = "static1" if typed else "static0"
                yield Case(
                    f"{kind} {use.strip()} {typed}",
                    program(kind, "r1 = r7\n", "call @f\n", functions=(("f", name, use + END),)),
                )
        for look in (
            "",
            "r0 = *(u8 *)(r0 +0)\n",
            "r0 = *(u64 *)(r0 +8)\n",
            "if r0 == 0 goto OUT\nr0 = *(u8 *)(r0 +0)\n",
        ):
            yield Case(
                f"{kind} back {look.strip()}",
                program(
                    kind, "r1 = r7\n", "call @f\n", look, functions=(("f", "static1", "r0 = r1\nexit\n"),)
                ),
            )
            yield Case(
                f"{kind} back from deeper {look.strip()}",
                program(
                    kind,
                    "r1 = r7\n",
                    "call @f\n",
                    look,
                    functions=(("f", "static1", "call @g\nexit\n"), ("g", "static1", "r0 = r1\nexit\n")),
                ),
            )
        yield Case(
            f"{kind} spilled by the callee",
            program(
                kind,
                "r1 = r10\nr1 += -248\nr2 = r7\n",
                "call @f\n",
                "r0 = *(u64 *)(r10 -248)\n",
                functions=(("f", "static2", "*(u64 *)(r1 +0) = r2\n" + END),),
            ),
        )
        yield Case(
            f"{kind} read by the callee",
            program(
                kind,
                "*(u64 *)(r10 -248) = r7\nr1 = r10\nr1 += -248\n",
                "call @f\n",
                functions=(("f", "static1", "r1 = *(u64 *)(r1 +0)\nr0 = *(u8 *)(r1 +0)\n" + END),),
            ),
        )


_RESULTS = ("r0 = 0\nexit\n", "r0 = 1\nexit\n", "r0 = 2\nexit\n", "r0 = -1\nexit\n", "w0 = -1\nexit\n", "r0 = 0\nr0 += -1\nexit\n", "exit\n", "r0 = r1\nexit\n", "r0 = r2\nexit\n", "r0 = r10\nexit\n",
            "call 7\nexit\n", "call 7\nr0 &= 1\nexit\n", "call 7\nw0 &= 1\nexit\n", "call 7\nr0 <<= 32\nexit\n", "call 7\nif r0 > 1 goto +1\nexit\nr0 = 1\nexit\n", "call 7\nif w0 > 1 goto +1\nexit\nr0 = 1\nexit\n")  # fmt: skip


def callbacks() -> Iterator[Case]:
    """Functions that helpers call: their arguments, what they return, the context that they are given."""
    calls = {
        181: "r1 = 4\nr2 = @f\nr3 = {}\nr4 = 0\ncall 181\n",
        164: "r1 = map[fd:1]\nr2 = @f\nr3 = {}\nr4 = 0\ncall 164\n",
        209: "r1 = map[fd:27]\nr2 = @f\nr3 = {}\nr4 = 0\ncall 209\n",
        180: "call 158\nr1 = r0\nr2 = 0\nr3 = @f\nr4 = {}\nr5 = 0\ncall 180\n",
        170: "r1 = map[fd:11][0]+8\nr2 = @f\ncall 170\n",
    }
    uses = [f"r0 = *(u8 *)(r{n} +0)\n" for n in range(6)] + [f"*(u64 *)(r{n} +0) = 1\n" for n in range(1, 5)]
    uses += [f"if r{n} == 0 goto +1\nr0 = *(u64 *)(r{n} +8)\n" for n in range(1, 5)] + [
        f"r0 = *(u64 *)(r{n} +32)\n" for n in range(1, 5)
    ]
    uses += ["r1 = r10\nr1 += -8\n*(u64 *)(r10 -8) = r2\n", "r0 = r6\n", "call 8\n", "r2 = 1\ncall 12\n"]
    uses += [f"r9 = r1\nr1 = r{n}\nr2 = 0\nr3 = 8\ncall 203\n" for n in (1, 2)]
    for number, call in calls.items():
        for result in _RESULTS:
            yield Case(
                f"{number} returns {result.strip()}",
                program("0", call.format(0), functions=(("f", "static2", result),)),
            )
        for use in uses:
            for context in ("0", "r10", "r7"):
                yield Case(
                    f"{number} of {context} {use.strip()}",
                    program("stack", call.format(context), functions=(("f", "static2", use + END),)),
                )
        for kind in KINDS:
            yield Case(
                f"{number} with {kind}", program(kind, call.format("r7"), functions=(("f", "static2", END),))
            )
            after = "r0 = *(u8 *)(r7 +0)\n"
            yield Case(
                f"{number} and then {kind}",
                program(kind, call.format(0), after, functions=(("f", "static2", END),)),
            )
        for name in ("g_number", "g_none", "static0"):
            yield Case(f"{number} {name}", program("0", call.format(0), functions=(("f", name, END),)))
        yield Case(
            f"{number} acquires",
            program(
                "0",
                call.format(0),
                functions=(("f", "static2", "r1 = map[fd:4]\nr2 = 16\nr3 = 0\ncall 131\n" + END),),
            ),
        )
        yield Case(
            f"{number} releases",
            program(
                "record",
                "*(u64 *)(r10 -8) = r7\n",
                call.format("r10"),
                functions=(("f", "static2", "r1 = *(u64 *)(r2 -8)\nr2 = 0\ncall 132\n" + END),),
            ),
        )
        yield Case(
            f"{number} moves the packet",
            program(
                "packet 16",
                "*(u64 *)(r10 -8) = r6\n",
                call.format("r10"),
                LOOK,
                functions=(("f", "static2", "r1 = *(u64 *)(r2 -8)\nr2 = 0\ncall 39\n" + END),),
            ),
        )
        yield Case(
            f"{number} nested",
            program(
                "0",
                call.format(0),
                functions=(("f", "static2", call.replace("@f", "@g").format(0) + END), ("g", "static2", END)),
            ),
        )
        yield Case(
            f"{number} of itself",
            program("0", call.format(0), functions=(("f", "static2", call.format(0) + END),)),
        )
        yield Case(
            f"{number} writes",
            program(
                "stack",
                call.format("r7"),
                "r0 = *(u64 *)(r7 +0)\nr1 = map[fd:2][0]+0\nr1 += r0\nr0 = *(u8 *)(r1 +0)\n",
                functions=(("f", "static2", "*(u64 *)(r2 +0) = 1\n" + END),),
            ),
        )
    for count in ("0", "1", "-1", "100", "8388608", "8388609", "0x7fffffff"):
        yield Case(
            f"loop {count}",
            program(
                "0", f"r1 = {count}\nr2 = @f\nr3 = 0\nr4 = 0\ncall 181\n", functions=(("f", "static2", END),)
            ),
        )
    for flags in ("1", "-1"):
        yield Case(
            f"loop flags {flags}",
            program(
                "0", f"r1 = 1\nr2 = @f\nr3 = 0\nr4 = {flags}\ncall 181\n", functions=(("f", "static2", END),)
            ),
        )
    for key in MAPS:
        yield Case(
            f"for each of {key}",
            program(
                "0",
                f"r1 = map[fd:{key}]\nr2 = @f\nr3 = 0\nr4 = 0\ncall 164\n",
                functions=(("f", "static0", "r0 = *(u8 *)(r3 +0)\n" + END),),
            ),
        )


_REGIONS = {
    "lock": ("r1 = map[fd:10][0]+8\ncall 93\n", "r1 = map[fd:10][0]+8\ncall 94\n"),
    "looked up lock": ("*(u32 *)(r10 -104) = 0\nr2 = r10\nr2 += -104\nr1 = map[fd:10]\ncall 1\nif r0 == 0 goto OUT\nr5 = r0\nr9 = r0\nr1 = r5\nr1 += 8\ncall 93\n", "r1 = r9\nr1 += 8\ncall 94\n"),
    "hash's lock": (_KEY + "r1 = map[fd:25]\ncall 1\nif r0 == 0 goto OUT\nr9 = r0\nr1 = r9\nr1 += 8\ncall 93\n", "r1 = r9\nr1 += 8\ncall 94\n"),
    "record": ("r1 = map[fd:4]\nr2 = 16\nr3 = 0\ncall 131\nif r0 == 0 goto OUT\nr9 = r0\n", "r1 = r9\nr2 = 0\ncall 133\n"),
    "socket": (_TUPLE + "call 84\nif r0 == 0 goto OUT\nr9 = r0\n", "r1 = r9\ncall 86\n"),
    "dynptr": ("r1 = map[fd:4]\nr2 = 16\nr3 = 0\nr4 = r10\nr4 += -64\ncall 198\n", "r1 = r10\nr1 += -64\nr2 = 0\ncall 200\n"),
}  # fmt: skip
_INSIDE = (
    "", "r0 = 1\n", "r1 = map[fd:10][0]+0\n*(u64 *)(r1 +0) = 1\n", "r1 = map[fd:10][0]+8\nr0 = *(u32 *)(r1 +0)\n", "call 7\n", "call 5\n", "call 8\n", "call 93\n",
    "r1 = map[fd:10][0]+8\ncall 93\n", "r1 = map[fd:10][0]+8\ncall 94\n", "r1 = map[fd:10][0]+12\ncall 94\n", "r0 = 0\nexit\n", "if r6 == 0 goto OUT\n", "r0 = *(u8 *)skb[0]\n", "r7 = 0\nr0 = *(u8 *)skb[r7 + 0]\n",
    "r1 = r6\nr2 = map[fd:3]\nr3 = 0\ncall 12\n", "call @f\n", "call @g\n", "call @h\n", "r1 = 1\nr2 = @f\nr3 = 0\nr4 = 0\ncall 181\n", "r1 = r6\nr2 = 0\ncall 39\n", "goto +0\n", "r1 = *(u32 *)(r6 +76)\n",
    "r1 = map[fd:10][0]+0\nr2 = 1\nlock *(u64 *)(r1 +0) += r2\n", "r1 = map[fd:4]\nr2 = 16\nr3 = 0\ncall 131\n", "r1 = map[fd:12][0]+8\nr2 = 0\ncall 194\n", "r9 = 0\n", "r9 += 8\n", "*(u64 *)(r10 -8) = r9\nr9 = *(u64 *)(r10 -8)\n",
    "r1 = r9\nr2 = 0\ncall 132\n", "r1 = r9\ncall 86\n", "*(u64 *)(r10 -64) = 0\n", "may_goto +0\n", "r0 = r9\n",
)  # fmt: skip


def regions() -> Iterator[Case]:
    """What is taken must be given back: locks, records, sockets and dynptrs, around every kind of instruction."""
    more = (("f", "static0", END), ("g", "g_none", END), ("h", "static0", "r0 = *(u8 *)skb[0]\nexit\n"))
    for name, (take, give) in _REGIONS.items():
        for inside in _INSIDE:
            used = tuple(each for each in more if f"@{each[0]}" in inside)
            for closing in (give, "", give + give):
                yield Case(
                    f"{name}: {inside.strip()} {closing.count('call')}",
                    program("unwritten", take, inside, closing, functions=used),
                )
            yield Case(
                f"{name} in a function: {inside.strip()}",
                program(
                    "unwritten",
                    "r1 = r6\n",
                    "call @k\n",
                    functions=(
                        *used,
                        (
                            "k",
                            "static1",
                            "r6 = r1\n" + (take + inside + give + END).replace("goto OUT", "goto +0"),
                        ),
                    ),
                ),
            )
        for second, (take2, give2) in _REGIONS.items():
            for order in (
                (take, take2.replace("r9", "r8"), give, give2.replace("r9", "r8")),
                (take, take2.replace("r9", "r8"), give2.replace("r9", "r8"), give),
                (take, take2.replace("r9", "r8"), give),
            ):
                yield Case(f"{name} and {second}", program("unwritten", *order))
        yield Case(
            f"{name} taken by a function",
            program(
                "unwritten",
                "call @k\n",
                give,
                functions=(
                    (
                        "k",
                        "static0",
                        (take + END).replace("goto OUT", "goto +0").replace("r1 = r6", "r1 = 0"),
                    ),
                ),
            ),
        )
        yield Case(
            f"{name} given back by a function",
            program(
                "unwritten",
                take,
                "r1 = r9\n" if "r9" in take else "",
                "call @k\n",
                functions=(("k", "static1", "r9 = r1\n" + give + END),),
            ),
        )
        yield Case(
            f"{name} in a loop", program("unwritten", "r7 = 0\n", take, give, "r7 += 1\nif r7 < 3 goto -9\n")
        )
    for kind in KINDS:
        for number in (93, 94, 132, 133, 86):
            yield Case(
                f"call {number} of {kind}",
                program(kind, "r1 = r7\nr2 = 0\n", Insn(Class.JMP | Jmp.CALL, imm=number)),
            )


def stacks() -> Iterator[Case]:
    """How deep calls go: frames, their stacks, tail calls and callbacks among them."""
    tail = "r1 = 0\nr2 = map[fd:3]\nr3 = 0\n"
    for frames in range(1, 10):
        for size in (0, 8, 16, 24, 32, 40, 56, 64, 72, 80, 128, 256, 504, 512):

            def text(n: int, frames: int = frames, size: int = size) -> str:
                return (
                    (f"*(u64 *)(r10 -{size}) = 0\n" if size else "")
                    + (f"call @f{n + 1}\n" if n + 1 < frames else "")
                    + END
                )

            chain = tuple((f"f{n}", "static0", text(n)) for n in range(1, frames))
            yield Case(f"{frames} frames of {size}", program("unwritten", text(0), functions=chain))
            yield Case(
                f"{frames} frames of {size}, global",
                program(
                    "unwritten", text(0), functions=tuple((label, "g_none", code) for label, _, code in chain)
                ),
            )
    for depth in (8, 200, 239, 240, 248, 256, 264, 400):
        for where in (0, 1, 2):
            bodies = [f"r1 = r6\n*(u64 *)(r10 -{depth}) = 0\n" if n < where else "" for n in range(3)]
            call = "r2 = map[fd:3]\nr3 = 0\ncall 12\n"
            chain = (
                (
                    "f",
                    "static1",
                    "r6 = r1\n" + bodies[1] + (call if where == 1 else "") + "r1 = r6\ncall @g\n" + END,
                ),
                ("g", "static1", bodies[2] + (call if where == 2 else "") + END),
            )
            yield Case(
                f"tail call {where} under {depth}",
                program(
                    "unwritten",
                    bodies[0],
                    call if where == 0 else "",
                    "r1 = r6\n",
                    "call @f\n",
                    functions=chain,
                ),
            )
            yield Case(
                f"tail call {where} under {depth}, dead",
                program(
                    "unwritten",
                    bodies[0],
                    "r1 = r6\n",
                    "call @f\n",
                    functions=tuple(
                        (label, name, code.replace("call 12\n", "if r3 == 0 goto +1\ncall 12\n"))
                        for label, name, code in chain
                    ),
                ),
            )
    for size in (8, 256, 496, 504, 512):
        for call in (
            "r1 = 1\nr2 = @f\nr3 = 0\nr4 = 0\ncall 181\n",
            "r1 = map[fd:11][0]+8\nr2 = @f\ncall 170\n",
            "call @f\n",
        ):
            for own in (8, 16, 256, 512):
                yield Case(
                    f"{own} calls back {size}",
                    program(
                        "unwritten",
                        f"*(u64 *)(r10 -{own}) = 0\n",
                        call,
                        functions=(("f", "static0", f"*(u64 *)(r10 -{size}) = 0\n" + END),),
                    ),
                )
    for text in (
        "call @f\n",
        "r1 = 1\nr2 = @f\nr3 = 0\nr4 = 0\ncall 181\n",
        "r1 = map[fd:11][0]+8\nr2 = @f\ncall 170\n",
    ):
        yield Case(
            f"recursion by {text.strip()}",
            program("unwritten", text, functions=(("f", "static0", text + END),)),
        )
        yield Case(
            f"mutual recursion by {text.strip()}",
            program(
                "unwritten",
                text,
                functions=(("f", "static0", text.replace("@f", "@g") + END), ("g", "static0", text + END)),
            ),
        )
    del tail


def control_flow() -> Iterator[Case]:
    """Every program of up to four instructions out of these: jumps, calls, ends, halves of wide loads."""
    choices = (
        Insn(Class.ALU64 | Alu.MOV, 0), Insn(Class.JMP | Jmp.EXIT), *(Insn(Class.JMP | Jmp.JA, off=off) for off in (-2, -1, 0, 1)),
        *(Insn(Class.JMP | Jmp.JEQ, 0, 0, off, 0) for off in (-2, 0, 1)), Insn(Class.JMP | Jmp.JEQ, 1, 0, 1, 5), Insn(Class.JMP32 | Jmp.JA, imm=1),
        Insn(Class.LD | Mode.IMM | Size.DW, 0), Insn(0), *(Insn(Class.JMP | Jmp.CALL, src=1, imm=imm) for imm in (-1, 0, 1)), Insn(Class.JMP | Jmp.JCOND, off=1), Insn(Class.JMP | Jmp.JCOND, off=-1),
        Insn(Class.LD | Mode.IMM | Size.DW, 1, 4, 0, 1),
    )  # fmt: skip
    for length in range(1, 5):
        for insns in itertools.product(choices, repeat=length):
            yield Case(f"{length} instructions", insns)


def constants() -> Iterator[Case]:
    """64-bit immediates of every kind: maps and their values, functions, and what there is not."""
    for src in range(16):
        for key in MAPS:
            for high in (0, 1, 8, 23, 24, 31, 32, 2**29 - 1, 2**29, -1):
                for dst, off in ((7, 0), (10, 0), (11, 0), (7, 1)):
                    wide = (Insn(Class.LD | Mode.IMM | Size.DW, dst, src, off, key), Insn(0, imm=high))
                    if src in (3, 5, 6):
                        continue  # (variables of the kernel; and there is no array of descriptors here)
                    yield Case(f"{src} {key} {high} {dst} {off}", program("unwritten", *wide))
                    yield Case(
                        f"{src} {key} {high} {dst} {off}, dead",
                        program("unwritten", "r0 = 0\nif r0 == 0 goto +2\n", *wide),
                    )
            wide = (Insn(Class.LD | Mode.IMM | Size.DW, 7, src, 0, key), Insn(0, imm=0))
            for look in (LOOK, "*(u64 *)(r7 +0) = 1\n", "r0 = *(u64 *)(r7 +16)\n") if src in (1, 2) else ():
                yield Case(f"{src} {key} {look.strip()}", program("unwritten", *wide, look))


def packet_loads() -> Iterator[Case]:
    """LD_ABS and LD_IND: with any kind as context, as index, and afterwards."""
    for mode in (Mode.ABS, Mode.IND):
        for size in _SIZES:
            for kind in KINDS:
                for type in (SCHED_CLS, SOCKET_FILTER):
                    load = Insn(Class.LD | mode | size, 0, 7 if mode == Mode.IND else 0, 0, 4)
                    yield Case(f"{type} {mode.name} {size.name} {kind}", program(kind, load), type)
                    yield Case(
                        f"{type} {mode.name} {size.name} {kind}, kept", program(kind, load, LOOK), type
                    )
                    yield Case(
                        f"{type} {mode.name} {size.name} of {kind}",
                        program(kind, "r6 = r7\nr7 = 0\n", load),
                        type,
                    )
            for function in ("r6 = r1\n", "", "r6 = r1\nr7 = r1\n"):
                code = function + f"r0 = *({'u8' if size == Size.B else 'u32'} *)skb[0]\nexit\n"
                for name in ("static1", "g_context"):
                    yield Case(
                        f"in {name} {function.strip()}",
                        program("unwritten", "r1 = r6\n", "call @f\n", functions=(("f", name, code),)),
                    )


def packet_ranges() -> Iterator[Case]:
    """What a comparison with the packet's end tells: of which pointer, on which way, how far."""
    numbers = {
        "": "",
        "byte": "r4 = *(u32 *)(r6 +8)\nr4 &= 255\n",
        "u16": "r4 = *(u32 *)(r6 +8)\nr4 &= 65535\n",
        "65536": "r4 = *(u32 *)(r6 +8)\nr4 &= 131071\n",
        "u32": "r4 = *(u32 *)(r6 +8)\n",
        "signed": "r4 = *(s8 *)(r10 -200)\n",
        "4": "r4 = 4\n",
    }
    starts = (("76", "80"), ("140", "76"))
    for (start, end), (name, number), reach in itertools.product(
        starts, numbers.items(), (0, 1, 8, 14, 65535, -8)
    ):
        before = (
            f"r2 = *(u32 *)(r6 +{start})\nr3 = *(u32 *)(r6 +{end})\n{number}"
            + ("r2 += r4\n" if name else "")
            + f"r5 = r2\nr5 += {reach}\nr7 = r5\n"
        )
        for op, (one, two), jumps in itertools.product(
            (Jmp.JGT, Jmp.JGE, Jmp.JLT, Jmp.JLE, Jmp.JEQ), ((5, 3), (3, 5)), (True, False)
        ):
            compare = Insn(Class.JMP | op | X, one, two, 1)
            for through, at, size in itertools.product(
                (2, 5, 7), (-8, -1, 0, reach - 1, reach), ("u8", "u64")
            ):
                if not -0x8000 <= at <= 0x7FFF:
                    continue
                look = f"r0 = *({size} *)(r{through} {at:+d})\n"
                yield Case(
                    f"{start} {name} {reach} {op.name} r{one} r{two} {jumps} {look.strip()}",
                    program("unwritten", before, compare, "goto +1\n" if jumps else "", look),
                )
    for middle in ("r2 += 4\n", "r2 += -4\n", "r2 += r4\n", "r2 -= r4\n", "*(u64 *)(r10 -8) = r2\nr2 = *(u64 *)(r10 -8)\n", "*(u64 *)(r10 -8) = r3\nr3 = *(u64 *)(r10 -8)\n", "r3 += -1\n", "r3 -= r2\nr0 = r3\n",
                   "r1 = r6\nr2 = 0\ncall 39\n", "call 7\n", "r2 = *(u32 *)(r6 +76)\n", "r5 = r2\n"):  # fmt: skip
        for number in ("byte", "u32", "4"):
            before = f"r2 = *(u32 *)(r6 +76)\nr3 = *(u32 *)(r6 +80)\n{numbers[number]}r5 = r2\nr5 += 14\n"
            for again in ("", "if r2 > r3 goto OUT\n", "r5 = r2\nr5 += 4\nif r5 > r3 goto OUT\n"):
                for look in (
                    "r0 = *(u8 *)(r2 +0)\n",
                    "r0 = *(u8 *)(r2 +9)\n",
                    "r0 = *(u8 *)(r2 +10)\n",
                    "r0 = *(u8 *)(r5 -1)\n",
                    "*(u64 *)(r2 +0) = 1\n",
                ):
                    yield Case(
                        f"{number} {middle.strip()} {again.strip()} {look.strip()}",
                        program("unwritten", before, "if r5 > r3 goto OUT\n", middle, again, look),
                    )


def null_checks() -> Iterator[Case]:
    """What a comparison with 0 tells: of the pointer, of its copies, of what was spilled, on either way."""
    kinds = (
        "value or null",
        "inner map or null",
        "sock_common or null",
        "sock or null",
        "owned sock or null",
        "record or null",
        "tcp6_sock or null",
        "kptr",
        "loose kptr",
        "task",
        "value",
        "0",
        "u64",
    )
    checks = ("if rN == 0 goto +1\n", "if rN != 0 goto +1\n", "if rN > 0 goto +1\n", "if rN s> 0 goto +1\n", "if rN < 1 goto +1\n", "if rN & 1 goto +1\n", "if wN == 0 goto +1\n", "if wN != 0 goto +1\n", "r3 = 0\nif rN == r3 goto +1\n",
              "r3 = 0\nif rN != r3 goto +1\n", "r3 = 0\nif r3 == rN goto +1\n", "if rN == 1 goto +1\n", "if rN == rN goto +1\n", "if rN == r10 goto +1\n", "if r10 == rN goto +1\n", "if rN == r6 goto +1\n", "")  # fmt: skip
    looks = (
        "r0 = *(u8 *)(rN +0)\n",
        "r0 = *(u32 *)(rN +4)\n",
        "rN += 4\n",
        "r1 = rN\ncall 86\n",
        "*(u64 *)(r10 -8) = rN\n",
        "*(u32 *)(r10 -8) = rN\n",
        "r1 = rN\nr2 = 0\ncall 133\n",
        "r0 = rN\n",
    )
    for kind, check, way, look in itertools.product(kinds, checks, ("goto +1\n", ""), looks):
        length = sum(2 if "map[" in line else 1 for line in look.splitlines())
        over = check.replace("+1", f"+{length}") if not way else check
        skip = f"goto +{length}\n" if way else ""
        for copy, checked, used in (("", 7, 7), ("r8 = r7\n", 7, 8), ("r8 = r7\n", 8, 7)):
            yield Case(
                f"{kind} {check.strip()} {bool(way)} {look.strip()} {checked} {used}",
                program(kind, copy, over.replace("N", str(checked)), skip, look.replace("N", str(used))),
            )
        spilled = "*(u64 *)(r10 -248) = r7\n"
        yield Case(
            f"{kind} {check.strip()} {bool(way)} {look.strip()} spilled",
            program(
                kind,
                spilled,
                over.replace(f"+{length}", f"+{length + 1}").replace("N", "7")
                if not way
                else over.replace("N", "7"),
                f"goto +{length + 1}\n" if way else "",
                "r8 = *(u64 *)(r10 -248)\n",
                look.replace("N", "8"),
            ),
        )


def kinds_on_two_ways() -> Iterator[Case]:
    """One instruction that is come to with one kind, and with another."""
    chosen = tuple(kind for kind in KINDS if not KINDS[kind][1])
    for kind, other in itertools.product(chosen, chosen):
        for use in (
            "r0 = *(u8 *)(r7 +0)\n",
            "r0 = *(u32 *)(r7 +0)\n",
            "*(u64 *)(r7 +0) = 0\n",
            "r7 += 4\n",
            "r2 = 1\nlock *(u64 *)(r7 +0) += r2\n",
            "r1 = r7\nr2 = r10\nr2 += -16\n*(u64 *)(r10 -16) = 0\ncall 1\n",
        ):
            yield Case(
                f"{kind} or {other} {use.strip()}",
                program(kind, "r1 = *(u32 *)(r6 +0)\nif r1 == 5 goto +1\nr7 = r8\n", use, other=other),
            )


_BY_TYPE: dict[str, str] = {
    "__sk_buff": "rX = r6\n", "bpf_dynptr": "rX = r10\nrX += -224\n", "cgroup": "rX = 0\n", "task_struct": "rX = r9\n",
    "bpf_res_spin_lock": "rX = map[fd:10][0]+8\n", "bpf_map": "rX = map[fd:1]\n", "void": "rX = r10\nrX += -160\n", "u8": "rX = map[fd:13][0]+0\n",
    "u64": "rX = r10\nrX += -160\n", "bpf_iter_num": "rX = r10\nrX += -160\n",
}  # fmt: skip


def kernel_functions() -> Iterator[Case]:
    """Each kernel function, called with every kind as each argument, the others as their types say."""
    for name, kfunc in kfuncs().items():
        if name.startswith(("bpf_obj_new", "bpf_percpu_obj_new", "bpf_xdp_ct", "bpf_xdp_metadata")):
            continue  # (they need the program's types, or another program type's context)
        plain = []
        for n, param in enumerate(kfunc.params, 1):
            text = _BY_TYPE.get(param.type, "rX = r10\nrX += -160\n") if param.pointer else "rX = 8\n"
            if param.ends("__uninit"):
                text = "rX = r10\nrX += -240\n"
            plain.append(text.replace("rX", f"r{n}"))
        before = _SCRATCH + _BEFORE["dynptr"] + "call 158\nr9 = r0\n"
        call = Insn(Class.JMP | Jmp.CALL, src=2)
        for type in (SCHED_CLS, SOCKET_FILTER):
            for look in ("", "r0 = *(u8 *)(r0 +0)\n", "if r0 == 0 goto OUT\nr0 = *(u64 *)(r0 +0)\n"):
                text = program("unwritten", before, *plain, call, look)
                yield Case(f"{type} {name} {look.strip()}", text, type, (name,))
        for n in range(len(plain)):
            for kind in KINDS:
                others = [text for i, text in enumerate(plain) if i != n]
                put = Insn(Class.ALU64 | Alu.MOV | X, n + 1, 7)
                yield Case(
                    f"{name} {kind} as r{n + 1}", program(kind, before, *others, put, call), kfuncs=(name,)
                )


SWEEPS: Mapping[str, Callable[[], Iterator[Case]]] = {
    sweep.__name__: sweep
    for sweep in (
        *(opcodes, context_fields, memory, stores, atomics, arithmetic, arithmetic_constants, jumps),
        *(jumps_to_constants, bounds, helpers, helpers_of_socket_filters, maps, sizes, functions),
        *(static_functions, callbacks, regions, stacks, control_flow, constants, packet_loads),
        *(packet_ranges, null_checks, kinds_on_two_ways, kernel_functions),
    )
}
