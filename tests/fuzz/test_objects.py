"""Whatever the bytes of an object are, reading it gives an object or an ObjectError, and soon."""

from __future__ import annotations

import random
import time

import pytest

from btf_writer import BtfWriter
from clsbpf.bpf import insn as e
from clsbpf.bpf.insn import Insn
from clsbpf.cli.objects import as_text, describe, dump_btf, dump_programs
from clsbpf.errors import ObjectError
from clsbpf.objfile import Btf, load_object
from compiled import compiled
from elf_writer import ALLOC, OBJECT, WRITE, ElfWriter

SECONDS = 5
"""For one object of some kilobytes, however slow the machine; they take milliseconds."""

NUMBERS = (0, 1, 2, 4, 8, 16, 0x7F, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1_000_000_000)


def written() -> bytes:
    """An object that has a bit of everything, without a compiler."""
    types = BtfWriter()
    number = types.int("int")
    flow = types.struct("flow", 8, ("a", number, 0), ("b", number, 32))
    mapped = types.var(
        "m", types.map_definition("", {"type": 1, "max_entries": 9}, {"key": flow, "value": number})
    )
    types.datasec(".maps", (mapped, 0, 32))
    types.datasec(".data", (types.var("v", flow), 0, 8))
    types.datasec(".kconfig", (types.var("CONFIG_HZ", number, 2), 0, 4))
    writer = ElfWriter()
    code = writer.code(
        "tc",
        (
            *e.ld_imm64(1, 0),
            *e.ld_imm64(2, 0),
            *e.ld_imm64(3, 0),
            Insn(0x85, src=1, imm=0),
            e.exit_(),
            e.exit_(),
        ),
    )
    text = writer.code("2/1", (e.mov64_imm(0, 0), e.exit_()))
    maps = writer.section(".maps", bytes(32), flags=ALLOC | WRITE)
    old = writer.section("maps", bytes.fromhex("03000000040000000400000005000000000000000200000000000000"))
    data = writer.section(".data", bytes(8), flags=ALLOC | WRITE)
    writer.symbol("main", code, 0, 56)
    writer.symbol("inner", code, 56, 16)
    writer.symbol("slot", text)
    targets = (
        writer.symbol("m", maps, 0, 32, type=OBJECT),
        writer.symbol("v", data, 0, 8, type=OBJECT),
        writer.symbol("CONFIG_HZ", 0, type=0),
    )
    writer.symbol("jumps", old, 0, 28, type=OBJECT)
    for at, target in zip((0, 16, 32), targets, strict=True):
        writer.relocate(code, at, target)
    ext = types.ext(
        core=[("tc", [(56, flow, types.name("0:1"), 2)])],
        lines=[("tc", [(0, types.name("p.c"), types.name("text"), 1 << 10)])],
    )
    writer.section(".BTF", types.raw(), flags=0)
    writer.section(".BTF.ext", ext, flags=0)
    writer.license()
    return writer.build()


def kernel() -> Btf:
    types = BtfWriter()
    number = types.int("int")
    types.struct("flow", 16, ("b", number, 0), ("a", number, 64))
    types.struct("sk_buff", 64, ("mark", number, 128))
    return types.btf("kernel")


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """The object with some bytes, words or bits changed, pieces copied over others, or cut."""
    edited = bytearray(raw)
    how = rng.randrange(4)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(edited))
        match how:
            case 0:
                edited[at] = rng.randrange(256)
            case 1:
                at &= ~3
                edited[at : at + 4] = rng.choice(NUMBERS).to_bytes(4, "little")
            case 2:
                edited[at] ^= 1 << rng.randrange(8)
            case _:
                begin, size = rng.randrange(len(edited)), rng.randrange(1, 64)
                edited[at : at + size] = edited[begin : begin + size]
    return bytes(edited[: rng.randrange(len(edited))] if rng.random() < 0.03 else edited)


def look_at(raw: bytes, types: Btf) -> bool:
    """Read it and show all of it; was it an object?"""
    try:
        read = load_object(raw, "fuzzed.o", kernel_btf=types)
        as_text(describe(read))
        list(dump_programs(read, None, source=True))
        if read.btf is not None:
            list(dump_btf(read))
    except ObjectError:
        return False
    return True


def fuzz(raw: bytes, seed: int, times: int) -> None:
    rng, types = random.Random(seed), kernel()
    assert look_at(raw, types)
    sound = 0
    for _ in range(times):
        edited = mutated(raw, rng)
        started = time.perf_counter()
        sound += look_at(edited, types)
        assert time.perf_counter() - started < SECONDS, edited.hex()
    assert 0 < sound < times


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes_are_an_object_or_an_object_error(seed: int) -> None:
    fuzz(written(), seed, 500)


@pytest.mark.parametrize("source", ["parts.c", "core.c", "legacy.c"])
def test_any_bytes_of_compiled_objects(source: str) -> None:
    fuzz(compiled(source, "-O2", "-g"), 7, 100)
