"""tcpdump expressions: the programs are `tcpdump -ddd`'s own, but for what a match returns."""

from __future__ import annotations

import struct
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf import expression
from clsbpf.bpf.bytecode import parse_bytecode
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SockFilter
from clsbpf.errors import ClsbpfError
from clsbpf.expression import compile_expression
from judges import need_libpcap, need_tool


@pytest.fixture(autouse=True)
def _libpcap() -> None:
    need_libpcap()


ETHERNET, NULL, RAW, LINUX_SLL, LINUX_SLL2, RADIOTAP = 1, 0, 101, 113, 276, 127

EXPRESSIONS = [
    "",
    "ip",
    "ip6",
    "arp",
    "vlan",
    "vlan 7 and ip",
    "mpls",
    "pppoes and ip",
    "tcp port 443",
    "udp portrange 5000-6000",
    "host 10.1.2.3 and not port 22",
    "net 192.168.0.0/16 or net 2001:db8::/32",
    "ether host 02:00:00:00:00:01",
    "ether multicast",
    "ip broadcast",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip[6:2] & 0x1fff != 0",
    "icmp[icmptype] = icmp-echo",
    "greater 1000",
    "len / 2 > ip[0] * 4",
    "ip proto 47 or ip6 proto 58",
    "llc",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_the_program_is_tcpdumps(text: str, tmp_path: Path) -> None:
    assert compile_expression(text, ETHERNET) == tcpdump_ddd(text, ETHERNET, tmp_path)


@pytest.mark.parametrize("link_type", [NULL, RAW, LINUX_SLL, LINUX_SLL2, RADIOTAP, 9, 100, 104, 105, 228])
@pytest.mark.parametrize("text", ["ip", "tcp port 443"])
def test_each_link_type_has_its_own_program(text: str, link_type: int, tmp_path: Path) -> None:
    assert compile_expression(text, link_type) == tcpdump_ddd(text, link_type, tmp_path)


@pytest.mark.parametrize("text", ["ip", "ip6"])
def test_a_loopback_capture_of_the_other_byte_order(text: str, tmp_path: Path) -> None:
    assert compile_expression(text, NULL, swapped=True) == tcpdump_ddd(text, NULL, tmp_path, order=">")
    assert compile_expression(text, NULL, swapped=True) != compile_expression(text, NULL)


def test_a_match_takes_the_filters_own_classid() -> None:
    returned = {insn.k for insn in compile_expression("ip", ETHERNET) if insn.code == 6}
    assert returned == {0, 0xFFFFFFFF}


def test_the_netmask_is_what_ip_broadcast_goes_by() -> None:
    program = compile_expression("ip broadcast", ETHERNET, netmask=0xFFFFFF00)
    assert 0xFF in {insn.k for insn in program}


def test_unoptimized_is_longer() -> None:
    text = "tcp port 443 and host 10.0.0.1"
    assert len(compile_expression(text, ETHERNET, optimize=False)) > len(compile_expression(text, ETHERNET))


@pytest.mark.parametrize(
    ("text", "link_type", "message"),
    [
        ("tcp port", ETHERNET, "expression 'tcp port': can't parse filter expression: syntax error"),
        ("tcp and udp", ETHERNET, "expression 'tcp and udp': expression rejects all packets"),
        ("inbound", ETHERNET, "reading savefiles"),
        ("ip", 999, "unknown data link type 999"),
        ("port nosuchservice", ETHERNET, "unknown port 'nosuchservice'"),
        ("ip\0 and tcp", ETHERNET, "zero byte"),
        ("host \udcff", ETHERNET, "syntax error"),
        ("(" * 20000, ETHERNET, "memory exhausted"),
        ("ip " * 30000, ETHERNET, "90000 bytes long; 65536 are allowed"),
        ("ip", 70000, "link type 70000 is not a LINKTYPE_ number"),
        ("ip", -1, "link type -1 is not a LINKTYPE_ number"),
    ],
)
def test_what_is_wrong_is_said(text: str, link_type: int, message: str) -> None:
    with pytest.raises(ClsbpfError) as raised:
        compile_expression(text, link_type)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_missing_libpcap_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    expression._libpcap.cache_clear()
    monkeypatch.setattr(expression, "NAMES", {})
    monkeypatch.setattr(expression, "NAMES_ELSEWHERE", ("libnosuchpcap.so",))
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(ClsbpfError, match=r"need libpcap, and there is none here .*install it"):
        compile_expression("ip", ETHERNET)


def test_nowhere_to_write_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**named: object) -> tuple[int, str]:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    expression._savefile_handle.cache_clear()
    with pytest.raises(ClsbpfError, match="temporary"):
        compile_expression("ip", ETHERNET)


def test_threads_may_compile_at_once() -> None:
    wanted = {port: compile_expression(f"tcp port {port}", ETHERNET) for port in range(1, 9)}
    wrong: list[int] = []

    def work(port: int) -> None:
        for _ in range(20):
            if compile_expression(f"tcp port {port}", ETHERNET) != wanted[port]:
                wrong.append(port)

    threads = [threading.Thread(target=work, args=(port,)) for port in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


WORDS = [
    "ip",
    "tcp",
    "port",
    "80",
    "and",
    "or",
    "not",
    "(",
    ")",
    "vlan",
    "ip[",
    "]",
    "=",
    "0x",
    "12",
    "&",
    "len",
]


@given(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))
def test_whatever_the_words_a_checked_program_or_an_error(text: str) -> None:
    """Every text gives a program that the checker takes, or a ClsbpfError; nothing else."""
    try:
        program = compile_expression(text, ETHERNET)
    except ClsbpfError:
        return
    assert check(program).insns == program


def tcpdump_ddd(text: str, link_type: int, directory: Path, order: str = "<") -> tuple[SockFilter, ...]:
    """tcpdump's program for an empty capture of that link type, a match returning 0xffffffff."""
    capture = directory / "empty.pcap"
    capture.write_bytes(struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 4242, link_type))
    out = subprocess.run(
        [need_tool("tcpdump"), "-r", str(capture), "-ddd", text], capture_output=True, text=True, check=True
    ).stdout
    insns = parse_bytecode(out)
    return tuple(
        SockFilter(insn.code, 0, 0, 0xFFFFFFFF) if (insn.code, insn.k) == (6, 4242) else insn
        for insn in insns
    )
