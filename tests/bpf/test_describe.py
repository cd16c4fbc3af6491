"""What a program is said to match."""

from __future__ import annotations

import pytest

from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import Ancillary, SockFilter
from clsbpf.bpf.describe import LONGEST, describe, forget_texts
from clsbpf.bpf.isa import Alu, Jmp, Size
from clsbpf.expression import compile_expression
from judges import need_libpcap

ETHERNET = 1

SAME_WORDS = """
ip; ip6; arp; rarp; tcp; udp; sctp; icmp; icmp6; not ip; not tcp; ip and not tcp; tcp or udp; icmp6 or arp;
proto 47; ip proto 47; ip6 proto 47; ip6[6]=58; ether proto 0x88cc; port 80; tcp port 443; tcp dst port 443;
src port 80 and dst port 90; port 53 or 5353; tcp port 80 or 443; (tcp or udp) and port 80;
ip and tcp port 443; tcp port 80 or udp port 53; portrange 5000-6000; udp dst portrange 1-9; not port 22;
tcp and not port 22; ip and not src port 5; ip6 and not port 22; ip and not port 22; host 10.0.0.1;
src 10.0.0.1; host 10.0.0.1 or 10.0.0.2; src 10.0.0.1 and dst 10.0.0.2; host 10.0.0.1 and host 10.0.0.2;
not host 10.0.0.1; ip and not host 10.0.0.1; ip and host 10.0.0.1; net 10.0.0.0/8; src net 10.1.2.0/24;
net 0.0.0.0/8; net 10.0.0.0/8 and not port 22; host 2001:db8::1; src net 2001:db8::/32;
dst net 2001:db8::/48; dst net 2001:db8:8000::/33; host 10.0.0.1 and port 80;
host 10.0.0.1 and (tcp port 80 or 443); src 10.0.0.1 and (udp port 53 or 5353); arp and host 10.0.0.1;
vlan; vlan 10; vlan 0; not vlan; vlan 10 and tcp port 80; vlan and ip; ether host 02:00:00:00:00:01;
ether src 02:00:00:00:00:01; ether multicast; len>500; len/2>ip[0]*4; ether[20]=3; ip[8]<5; tcp[13]&2!=0;
icmp[0]=8; ip[6:2]&0x1fff!=0; arp[6:2]=1; ip[2:2]-((ip[0]&15)<<2)>20; ether[20:2]&255!=7;
not (port 22 or host 10.0.0.1)
"""

EXPRESSIONS: list[tuple[str, str | None]] = [
    # An expression, and how its program is described: None where in the same words.
    *((text.strip(), None) for text in SAME_WORDS.replace("\n", " ").split(";")),
    ("tcp port 443 or tcp port 80", "tcp port 443 or 80"),
    ("src host 10.0.0.1 or dst host 10.0.0.1", "host 10.0.0.1"),
    ("ip host 10.0.0.1 and udp port 53", "host 10.0.0.1 and udp port 53"),
    ("tcp[2:2] = 80", "ip and tcp dst port 80"),
    ("tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "tcp[13]&18=2"),
    ("ether broadcast", "ether dst ff:ff:ff:ff:ff:ff"),
    ("not port 22 and not host 10.0.0.1", "not (port 22 or host 10.0.0.1)"),
    ("", "everything"),
    ("greater 100", "len>=100"),
    (
        "host (10.0.0.1 or 10.0.0.2 or 10.0.0.3) and port (1 or 2 or 3)",
        "(host 10.0.0.1 or 10.0.0.2 or 10.0.0.3) and (port 1 or 2 …",
    ),
]


@pytest.mark.parametrize(("text", "said"), EXPRESSIONS)
def test_expressions(text: str, said: str | None) -> None:
    need_libpcap()
    described = describe(check(compile_expression(text, ETHERNET)))
    assert described is not None
    assert described.text == (text if said is None else said)


TYPE = c.ld_abs(Size.H, 12)
YES, NO = c.ret_k(1), c.ret_k(0)


def equal(k: int, jf: int = 1) -> SockFilter:
    return c.jmp_k(Jmp.JEQ, k, 0, jf)


PROGRAMS: list[tuple[list[SockFilter], str]] = [
    ([c.ret_k(0)], "nothing"),
    ([c.ret_k(1)], "everything"),
    ([c.ld_abs(Size.W, 56), c.ret_k(1)], "everything of 60 bytes or more"),
    ([c.ld_abs(Size.B, 0), c.jmp_k(Jmp.JGT, 255, 0, 1), YES, NO], "nothing"),
    # An address is one only in a frame that has addresses.
    ([c.ld_abs(Size.W, 26), equal(0x0A000001), YES, NO], "ether[26:4]=0xa000001"),
    # A port is one only of what is not a later fragment.
    (
        [TYPE, equal(0x0800, 4), c.ldx_msh(14), c.ld_ind(Size.H, 16), equal(80), YES, NO],
        "ip and ether[((ip[0]&15)<<2)+16:2]=80",
    ),
    # One kind of tag is not tcpdump's `vlan`.
    ([TYPE, equal(0x8100), YES, NO], "ether proto 0x8100"),
    ([TYPE, equal(0x8100, 3), c.ld_abs(Size.H, 16), equal(0x0800), YES, NO], "vlan(0x8100) and ip"),
    (
        [
            *(TYPE, equal(0x8100, 7), c.ld_abs(Size.H, 14), c.alu_k(Alu.AND, 0xFFF)),
            *(c.jmp_k(Jmp.JEQ, 10, 1, 0), equal(20, 3), c.ld_abs(Size.H, 16), equal(0x0800), YES, NO),
        ],
        "vlan(0x8100) (10 or 20) and ip",
    ),
    (
        [
            *(TYPE, equal(0x8100, 9), c.ld_abs(Size.H, 14), c.alu_k(Alu.AND, 0xFFF), equal(10, 2)),
            *(c.ld_abs(Size.H, 16), c.jmp_k(Jmp.JEQ, 0x0800, 3, 4), equal(20, 3)),
            *(c.ld_abs(Size.H, 16), equal(0x0806), YES, NO),
        ],
        "(vlan(0x8100) 10 and ip) or (vlan(0x8100) 20 and arp)",
    ),
    # What is not in the packet has bpf_asm's names.
    ([c.ld_ad(Ancillary.VLAN_TAG), c.alu_k(Alu.AND, 0xFFF), equal(42), YES, NO], "vlan_tci&4095=42"),
    ([c.ld_ad(Ancillary.MARK), c.ret_a()], "mark!=0"),
    # A program that reads further than what is said of it.
    ([TYPE, equal(0x0800, 2), c.ld_abs(Size.B, 99), YES, NO], "ip …"),
]


@pytest.mark.parametrize(("insns", "said"), PROGRAMS)
def test_programs(insns: list[SockFilter], said: str) -> None:
    described = describe(check(insns))
    assert described is not None
    assert described.text == said


def test_too_much_to_say() -> None:
    """What has too many paths is not described."""
    tests = [(c.ld_abs(Size.B, at), c.jmp_k(Jmp.JSET, 1, 1, 0), c.ldx_imm(at)) for at in range(16)]
    ladder = [insn for each in tests for insn in each]
    assert describe(check([*ladder, c.txa(), c.ret_a()])) is None


def test_programs_of_one_shape() -> None:
    """A text is made once a shape, and says each program's own constants, whichever came first."""
    need_libpcap()
    texts = [
        "udp port 17",
        "tcp port 6",
        "udp port 6",
        "tcp port 17",
        "udp port 18",
        "host 0.0.0.17 and port 17",
    ]
    texts += ["host 10.0.0.1 and port 80", "host 10.0.0.2 and port 443", "host 0.0.8.0 and port 2048"]
    for text in (*texts, *reversed(texts)):
        described = describe(check(compile_expression(text, ETHERNET)))
        assert described is not None
        assert described.text == text


def test_programs_that_need_a_text_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a text takes a while: of one shape only so many are made."""
    need_libpcap()
    forget_texts()
    monkeypatch.setattr("clsbpf.bpf.describe.MOST_BY_SHAPE", 3)
    texts = [f"ip and udp dst portrange {low}-{low + 10}" for low in range(100, 600, 100)]
    described = [describe(check(compile_expression(text, ETHERNET))) for text in texts]
    assert [each.text if each else None for each in described] == [*texts[:3], None, None]


def test_length() -> None:
    """A text that is cut says so, and is no expression any more."""
    need_libpcap()
    for count in range(1, 40):
        text = "port " + " or ".join(str(port) for port in range(1000, 1000 + count))
        described = describe(check(compile_expression(text, ETHERNET)))
        if described is None:
            assert count > 10
            continue
        assert len(described.text) <= LONGEST
        assert described.is_expression == (described.text == text) == (not described.text.endswith("…"))
