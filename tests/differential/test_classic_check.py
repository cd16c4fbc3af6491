"""The checker against the kernel's own: the same instruction lists, SO_ATTACH_FILTER on a socket."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from classic_programs import likely_valid, noise, scratch_puzzle, spoiled
from clsbpf.bpf import classic as c
from clsbpf.bpf.check import RULES, check
from clsbpf.bpf.classic import SKF_AD_OFF, U32, Ancillary, SockFilter, encode_ops
from clsbpf.bpf.isa import BPF_MAXINSNS, Alu, Jmp, Size
from clsbpf.errors import BytecodeError
from clsbpf.profile import V4_13
from judges import inside, network_namespace

SO_ATTACH_FILTER = 26


@contextlib.contextmanager
def a_socket() -> Iterator[socket.socket]:
    """A socket of a namespace where filters of any length may be attached."""
    with network_namespace() as name, inside(name):
        Path("/proc/sys/net/core/optmem_max").write_text("4000000")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            yield sock


def kernel_takes(sock: socket.socket, program: list[SockFilter]) -> bool:
    """Does the kernel attach it?  Any errno but EINVAL is no verdict on the program."""
    ops = ctypes.create_string_buffer(encode_ops(program))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(ops))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def refusal(program: list[SockFilter]) -> BytecodeError | None:
    try:
        check(program)
    except BytecodeError as error:
        return error
    return None


def assert_agree(sock: socket.socket, program: list[SockFilter]) -> bool:
    theirs, ours = kernel_takes(sock, program), refusal(program)
    assert theirs == (ours is None), f"kernel takes: {theirs}, we: {ours}, of {program}"
    return theirs


@pytest.mark.parametrize(
    ("make", "count", "taken_share"),
    [
        (likely_valid, 10000, (0.9, 1)),
        (spoiled, 20000, (0.1, 0.9)),
        (scratch_puzzle, 20000, (0.1, 0.9)),
        (noise, 5000, (0.05, 0.9)),
    ],
)
def test_random_lists_are_taken_and_refused_alike(
    make: Callable[[Random], list[SockFilter]], count: int, taken_share: tuple[float, float]
) -> None:
    """For any instruction list, check() raises exactly when the kernel answers EINVAL."""
    random = Random(make.__name__)
    with a_socket() as sock:
        verdicts = Counter(assert_agree(sock, make(random)) for _ in range(count))
    least, most = taken_share
    assert least <= verdicts[True] / count <= most, "the generator no longer makes both kinds"


def test_every_code_is_known_or_unknown_alike() -> None:
    """Each 16-bit code, harmless in its other fields, has the kernel's verdict (the upper byte sampled)."""
    codes = [*range(0x200), *(0x100 << shift | low for shift in range(8) for low in range(0, 0x100, 7))]
    with a_socket() as sock:
        taken = sum(assert_agree(sock, [SockFilter(code, 0, 0, 1), c.ret_a()]) for code in codes)
        # Scratch memory may be read only after a store.
        for code in range(0x100):
            assert_agree(sock, [c.st(1), SockFilter(code, 0, 0, 1), c.ret_a()])
    assert taken == len(RULES) - 3, (
        "all but the two reads of M[1], which nothing wrote, and `jmp 1`, out of the end"
    )


def test_every_ancillary_offset_is_known_or_unknown_alike() -> None:
    """Every offset from SKF_AD_OFF - 8 to the last has the kernel's verdict, at every size."""
    offsets = [*range(SKF_AD_OFF - 8, SKF_AD_OFF + 100), *range(U32 - 5, U32 + 1), SKF_AD_OFF + 0x800]
    with a_socket() as sock:
        for size in (Size.W, Size.H, Size.B):
            taken = {k for k in offsets if assert_agree(sock, [c.ld_abs(size, k), c.ret_a()])}
            assert {k - SKF_AD_OFF for k in taken if k >= SKF_AD_OFF} == set(Ancillary)


def test_lengths_at_the_limit() -> None:
    """0, 1, 4096 and 4097 instructions."""
    with a_socket() as sock:
        taken = [n for n in (0, 1, BPF_MAXINSNS, BPF_MAXINSNS + 1) if assert_agree(sock, [c.ret_a()] * n)]
    assert taken == [1, BPF_MAXINSNS]


TRANSLATED = [
    *(c.ld_abs(size, k) for size in (Size.B, Size.H, Size.W) for k in (0, 1, 0x7FFF, 0x8000, c.SKF_NET_OFF)),
    *(c.ld_ind(size, k) for size in (Size.B, Size.W) for k in (0, 5, U32)),
    *(c.ldx_msh(k) for k in (0, 14, 0x8000, c.SKF_LL_OFF)),
    *(c.ld_ad(what) for what in Ancillary),
    c.ld_len(),
    c.ldx_imm(1),
    c.st(0),
    c.tax(),
    c.neg(),
    c.ret_k(1),
    c.ret_a(),
    c.alu_k(Alu.DIV, 3),
    *(c.alu_x(op) for op in (Alu.ADD, Alu.DIV, Alu.MOD)),
    *(
        c.jmp_k(op, k, jt, jf)
        for op in (Jmp.JEQ, Jmp.JGT, Jmp.JGE, Jmp.JSET)
        for k in (1, U32)
        for jt, jf in ((0, 0), (0, 1), (1, 0), (1, 1))
    ),
    c.jmp_x(Jmp.JEQ, 1, 1),
    c.ja(1),
]


@pytest.mark.parametrize("insn", TRANSLATED, ids=str)
def test_a_jump_over_too_much_translated_code(insn: SockFilter) -> None:
    """A `jmp` whose distance in eBPF is the longest is taken, and one longer is not.

    The distance is made of 1930 loads that become 16 instructions each, of 80 of the one in question, and of
    as many that become one as it takes until we refuse; the kernel must refuse there too, and not before.
    """

    def program(ones: int) -> list[SockFilter]:
        over = [*[c.ld_abs(Size.H, 0x8000)] * 1930, *[insn] * 80, *[c.tax()] * ones]
        return [c.ja(len(over)), *over, c.ret_a()]

    most = BPF_MAXINSNS - 2012
    limit = bisect_left(range(most), True, key=lambda ones: refusal(program(ones)) is not None)
    assert 0 < limit < most
    refused = refusal(program(limit))
    assert refused is not None
    assert refused.insn == 0
    with a_socket() as sock:
        assert kernel_takes(sock, program(limit - 1))
        assert not kernel_takes(sock, program(limit))


def test_which_translated_code_is_too_much() -> None:
    """4.13, whose translation leaves packet loads as they are, takes what a current kernel refuses."""
    program = [c.ja(4000), *[c.ld_abs(Size.W, 0x8000)] * 4000, c.ret_a()]
    with a_socket() as sock:
        assert not assert_agree(sock, program)
    assert len(check(program, V4_13).insns) == 4002
