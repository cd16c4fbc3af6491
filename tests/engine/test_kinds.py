"""Which packets a filter is not tried on: those that it cannot match, and no others."""

from __future__ import annotations

import pytest

from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.isa import Jmp, Size
from clsbpf.engine.kinds import ALL, KINDS, kinds_of, mask_of
from clsbpf.engine.planned import planned_filters
from clsbpf.engine.programs import ProgramTable
from clsbpf.expression import compile_expression
from clsbpf.link import link_layer
from clsbpf.profile import CURRENT
from clsbpf.tc.chain import Block
from judges import need_libpcap
from run_cases import DIRECT, add

NAMES = ("tcp4", "udp4", "icmp", "ip", "tcp6", "udp6", "icmp6", "ip6", "arp", "else")
ETHERNET, RAW = link_layer(1), link_layer(101)


def names_of(mask: int) -> set[str]:
    return {name for bit, name in enumerate(NAMES) if mask >> bit & 1}


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("tcp", {"tcp4", "tcp6", "ip6"}),  # ip6: a fragment header, and TCP behind it
        ("ip proto 47", {"ip"}),
        ("ip proto 17 and udp dst port 53", {"udp4"}),
        ("icmp", {"icmp"}),
        ("arp", {"arp"}),
        ("ip", {"tcp4", "udp4", "icmp", "ip"}),
        ("not ip", set(NAMES) - {"tcp4", "udp4", "icmp", "ip"}),
        ("ether proto 0x88cc", {"else"}),
        ("len > 100", set(NAMES)),
    ],
)
def test_the_kinds_of_an_expression(expression: str, kinds: set[str]) -> None:
    need_libpcap()
    assert len(NAMES) == len(KINDS)
    assert names_of(mask_of(check(compile_expression(expression, 1)), CURRENT)) == kinds


def test_ranges_and_bits_of_the_fields_count_too() -> None:
    def reads(load: c.SockFilter, op: Jmp, k: int) -> set[str]:
        return names_of(mask_of(check((load, c.jmp_k(op, k, 0, 1), c.ret_k(1), c.ret_k(0))), CURRENT))

    # Byte 23 is of no meaning where the frame is not IPv4.
    assert reads(c.ld_abs(Size.B, 23), Jmp.JGT, 6) == set(NAMES) - {"tcp4", "icmp"}
    assert reads(c.ld_abs(Size.H, 12), Jmp.JSET, 0x8000) == {"tcp6", "udp6", "icmp6", "ip6", "else"}


def test_what_is_never_passed_over() -> None:
    """Direct action, for which 0 is a verdict, and who draws random numbers."""
    need_libpcap()
    block = Block(ProgramTable())
    for prio in range(1, 8):
        add(block, prio, compile_expression("arp", 1))
    add(block, 8, compile_expression("arp", 1), flags=DIRECT)
    add(block, 9, "4,32 0 0 4294963256,21 0 1 2054,6 0 0 1,6 0 0 0")
    filters = list(enumerate(planned_filters(block)))
    kinds = kinds_of(filters, ETHERNET, CURRENT)
    assert kinds is not None
    assert set(kinds.masks) == set(range(7))
    assert ALL not in kinds.masks.values()
    assert kinds.reach == 14
    assert kinds_of(filters, RAW, CURRENT) is None
    assert kinds_of(filters[:3], ETHERNET, CURRENT) is None
