# ruff: noqa: E501 - one case a line
"""Types that a kernel takes, and why it takes others not: `check_types`, beside BPF_BTF_LOAD."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

import pytest

from btf_writer import BtfWriter
from clsbpf.errors import ClsbpfError
from clsbpf.kernel.calls import KERNEL
from clsbpf.objfile.btf import Kind
from clsbpf.objfile.btf_check import check_types
from kernel_verifier import need_current_kernel

Change = Callable[[BtfWriter], object]


CASES: list[tuple[str, Change, str]] = [
    ("all kinds", lambda w: None, ""),
    ("an integer of 3 bits", lambda w: w.add(Kind.INT, "i", size=1, rest=struct.pack("<I", 3)), ""),
    ("an integer larger than its bytes", lambda w: w.add(Kind.INT, "i", size=1, rest=struct.pack("<I", 9)), "nr_bits exceeds type_size"),
    ("an integer of an unknown encoding", lambda w: w.add(Kind.INT, "i", size=4, rest=struct.pack("<I", 3 << 24 | 32)), "Unsupported encoding"),
    ("an integer with members", lambda w: w.add(Kind.INT, "i", vlen=1, size=4, rest=struct.pack("<I", 32)), "vlen != 0"),
    ("a pointer with a name", lambda w: w.add(Kind.PTR, "p", size=1), "Invalid name"),
    ("a pointer to nothing that is", lambda w: w.ptr(999), "Invalid type_id"),
    ("a pointer to a variable", lambda w: w.ptr(w.var("v2", 1)), "Invalid type_id"),
    ("a pointer to itself", lambda w: w.ptr(w.count + 1), "Loop detected"),
    ("a structure that points to itself", lambda w: w.struct("s2", 8, ("p", w.ptr(w.count + 2), 0)), ""),
    ("a structure in itself", lambda w: w.struct("s2", 8, ("m", w.count + 1, 0)), "Loop detected"),
    ("a member beyond the end", lambda w: w.struct("s2", 4, ("m", 1, 8)), "Member exceeds struct_size"),
    ("a member that begins beyond the end", lambda w: w.struct("s2", 4, ("m", 1, 64)), "Member bits_offset exceeds its struct size"),
    ("members in disorder", lambda w: w.struct("s2", 8, ("m", 1, 32), ("n", 1, 0)), "Invalid member bits_offset"),
    ("a member that is nothing", lambda w: w.struct("s2", 8, ("m", 0, 0)), "Invalid type_id"),
    ("a member that is a function's type", lambda w: w.struct("s2", 8, ("m", w.proto(0), 0)), "Invalid member"),
    ("a member in the middle of a byte", lambda w: w.struct("s2", 16, ("m", w.ptr(0), 3)), "Member is not byte aligned"),
    ("a bitfield", lambda w: w.struct("s2", 4, ("m", 1, 5, 7)), ""),
    ("a bitfield wider than its type", lambda w: w.struct("s2", 8, ("m", 1, 0, 33)), "Invalid member bitfield_size"),
    ("a union's member further on", lambda w: w.union("u2", 8, ("m", 1, 32)), "Invalid member bits_offset"),
    ("a name that begins with a digit", lambda w: w.struct("2s", 4), "Invalid name"),
    ("a name with a dot", lambda w: w.struct("s.2", 4), ""),
    ("a typedef without a name", lambda w: w.typedef("", 1), "Invalid name"),
    ("a tag behind a qualifier", lambda w: w.modifier(Kind.CONST, w.modifier(Kind.TYPE_TAG, 1, "t")), "Type tags don't precede modifiers"),
    ("a tag before a qualifier", lambda w: w.modifier(Kind.TYPE_TAG, w.modifier(Kind.CONST, 1), "t"), ""),
    ("an array of nothing", lambda w: w.array(0, 3), "Invalid elem"),
    ("an array too large", lambda w: w.array(1, 1 << 31), "Array size overflows U32_MAX"),
    ("an array numbered by a structure", lambda w: w.add(Kind.ARRAY, rest=struct.pack("<III", 1, w.struct("s2", 4), 1)), "Invalid index"),
    ("an enumeration of 3 bytes", lambda w: w.enum("e2", {"A2": 1}, size=3), "Unexpected size"),
    ("a value without a name", lambda w: w.enum("e2", {"": 1}), "Invalid name"),
    ("a function that is no function", lambda w: w.func("f2", 1), "Invalid type_id"),
    ("a function that is declared only", lambda w: w.func("f2", w.proto(0), linkage=2), "Invalid func linkage"),
    ("a function with a parameter without a name", lambda w: w.func("f2", w.proto(0, ("", 1))), "Invalid arg#1"),
    ("a function with more parameters", lambda w: w.func("f2", w.proto(0, ("a", 1), ("", 0))), ""),
    ("a function that returns a function", lambda w: w.proto(w.proto(0)), "Invalid return type"),
    ("a variable of nothing", lambda w: w.var("v2", 0), "Invalid type_id"),
    ("a variable that is declared only", lambda w: w.var("v2", 1, linkage=2), "Linkage not supported"),
    ("a section of what are no variables", lambda w: w.datasec(".data.x", (1, 0, 4), size=4), "Not a VAR kind member"),
    ("a section without a size", lambda w: w.datasec(".data.x", (w.var("v2", 1), 0, 4)), "size == 0"),
    ("a section whose variables overlap", lambda w: w.datasec(".data.x", (w.var("v2", 1), 0, 4), (w.var("v3", 1), 2, 4), size=8), "Invalid offset"),
    ("a section with half a variable", lambda w: w.datasec(".data.x", (w.var("v2", 1), 0, 2), size=8), "Invalid size"),
    ("a tag of an integer", lambda w: w.add(Kind.DECL_TAG, "t", size=1, rest=struct.pack("<i", -1)), "Invalid type_id"),
    ("a tag of a member that is not there", lambda w: w.add(Kind.DECL_TAG, "t", size=w.struct("s2", 4, ("m", 1, 0)), rest=struct.pack("<i", 1)), "Invalid component_idx"),
    ("a floating number of 3 bytes", lambda w: w.add(Kind.FLOAT, "f", size=3), "Invalid type_size"),
    ("a kind that there is not", lambda w: w.add(20, "k"), "Invalid kind:20"),
    ("a type cut off", lambda w: setattr(w, "types", w.types[:-4]), "meta_left"),
]  # fmt: skip


def all_kinds() -> BtfWriter:
    w = BtfWriter()
    number = w.int()
    struct_ = w.struct("s", 16, ("a", number, 0), ("p", w.ptr(number), 64))
    w.union("u", 8, ("a", number, 0), ("s", w.array(number, 2), 0))
    w.enum("e", {"A": 1})
    w.enum64("e64", {"B": 1})
    w.fwd("later")
    w.typedef("t", w.modifier(Kind.CONST, w.modifier(Kind.VOLATILE, struct_)))
    w.ptr(w.modifier(Kind.TYPE_TAG, struct_, "tag"))
    w.add(Kind.FLOAT, "double", size=8)
    function = w.func("f", w.proto(number, ("p", w.ptr(struct_))))
    w.add(Kind.DECL_TAG, "note", size=function, rest=struct.pack("<i", 0))
    w.datasec(".data", (w.var("v", number), 0, 4), size=8)
    return w


def changed(change: Change) -> bytes:
    w = all_kinds()
    change(w)
    return w.raw()


PARAMETERS = pytest.mark.parametrize(("what", "change", "reason"), CASES, ids=[what for what, *_ in CASES])


@PARAMETERS
def test_ours(what: str, change: Change, reason: str) -> None:
    problem = check_types(changed(change))
    if reason:
        assert problem is not None
        assert problem.reason.startswith(reason)
    else:
        assert problem is None


def kernels_errno(raw: bytes) -> int:
    """0, or what BPF_BTF_LOAD answers."""
    try:
        KERNEL.close_fd(KERNEL.btf_load(raw))
    except ClsbpfError as error:
        return error.errno
    return 0


@PARAMETERS
def test_the_kernels(what: str, change: Change, reason: str) -> None:
    need_current_kernel()
    assert bool(kernels_errno(changed(change))) == bool(reason)


HEADERS: list[tuple[str, int, bytes, int]] = [
    ("nothing that is BTF", 0, b"\0\0", 22),
    ("another version", 2, b"\2", 524),
    ("a flag", 3, b"\1", 524),
    ("a header of its own length", 4, b"\xff\xff\0\0", 22),
    ("types elsewhere", 8, b"\4\0\0\0", 22),
    ("strings elsewhere", 16, b"\4\0\0\0", 22),
    ("fewer strings", 20, b"\1\0\0\0", 22),
]


@pytest.mark.parametrize(("what", "at", "value", "errno"), HEADERS, ids=[what for what, *_ in HEADERS])
def test_headers(what: str, at: int, value: bytes, errno: int) -> None:
    raw = bytearray(all_kinds().raw())
    raw[at : at + len(value)] = value
    problem = check_types(bytes(raw))
    assert problem is not None
    assert problem.errno == errno


def test_any_bytes_are_judged_as_by_the_kernel() -> None:
    """Changed at random, types are taken and refused as BPF_BTF_LOAD does, with its errno."""
    need_current_kernel()
    random, good = Random(6), all_kinds().raw()
    taken = 0
    for _ in range(1500):
        raw = bytearray(good)
        for _ in range(random.choice((1, 1, 2))):
            at = 4 * random.randrange(2, len(raw) // 4)
            word = int.from_bytes(raw[at : at + 4], "little")
            other = random.choice(
                (word ^ 1 << random.randrange(32), word + 1, word - 1, random.randrange(32))
            )
            raw[at : at + 4] = (other & 0xFFFFFFFF).to_bytes(4, "little")
        problem = check_types(bytes(raw))
        errno = kernels_errno(bytes(raw))
        assert (problem.errno if problem is not None else 0) == errno, (raw.hex(), problem)
        taken += not errno
    assert 100 < taken < 1400
