"""A tcpdump expression picks the packets here that it picks in `tcpdump -r`, on every kind of capture."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from clsbpf.api import FilterText, filters_setup
from clsbpf.capture import open_capture
from clsbpf.engine.results import Batch
from clsbpf.engine.run import run
from clsbpf.errors import ClsbpfError
from judges import need_tool
from run_cases import pcap, random_packets

OFFICE = Path(__file__).parents[2] / "examples" / "office.pcap"

EXPRESSIONS = (
    "ip", "ip6", "arp", "vlan", "vlan and ip", "vlan 10 or vlan 20", "icmp", "icmp6", "tcp", "udp", "sctp",
    "port 53", "tcp port 443", "udp dst port 53", "src port 22", "portrange 1-1023", "not port 22",
    "tcp port 80 or tcp port 443 or udp port 53", "host 10.0.0.1", "src host 10.0.0.2", "net 10.0.0.0/8",
    "dst net 10.0.0.0/24 and not tcp", "ip6 host fe80::1", "ip6 net fe80::/10", "ether broadcast",
    "ether multicast", "ether src 02:00:00:00:00:01", "less 100", "greater 1000", "len > 60 and len <= 200",
    "ip[6:2] & 0x1fff != 0", "ip[0] & 0xf > 5", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", "udp[8:2] & 0x8000 = 0", "ip proto 17", "ip6 proto 58",
    "ip broadcast", "ether proto 0x88a8", "ip[8] < 64",
    "ip[2:2] > 500 or ip6[4:2] > 500", "icmp[icmptype] = icmp-echo", "tcp[13] = 2", "ether[12:2] < 1500",
    "ip and ip[9] / 2 = 3", "mpls",
    "pppoes", "llc", "iso", "stp", "rarp", "decnet src 1.1", "geneve",
)  # fmt: skip


def picked_by_tcpdump(path: Path, expression: str) -> list[tuple[int, bytes]]:
    """Time and bytes of the packets, as tcpdump writes them."""
    command = [need_tool("tcpdump"), "-r", str(path), "-w", "-", "--time-stamp-precision=nano", expression]
    written = subprocess.run(command, capture_output=True, check=True).stdout
    picked = path.with_name("picked.pcap")
    picked.write_bytes(written)
    with open_capture(str(picked)) as capture:
        return [(record.time_ns, bytes(data)) for record, data in capture]


def picked_here(path: Path, expressions: list[str], backend: str) -> list[list[tuple[int, bytes]]]:
    """The same for several expressions, each of which is asked by itself."""
    picked = []
    for expression in expressions:
        found: list[tuple[int, bytes]] = []

        def keep(batch: Batch, found: list[tuple[int, bytes]] = found) -> None:
            assert batch.data is not None
            for index, pref in enumerate(batch.pref):
                if pref:
                    start = int(batch.offset[index])
                    data = bytes(batch.data[start : start + int(batch.captured[index])])
                    found.append((int(batch.time[index]), data))

        setup = filters_setup([FilterText("expression", expression)], profile="current", backend=backend)
        run([str(path)], setup, backend=backend, on_batch=keep, with_data=True)
        picked.append(found)
    return picked


def compiled(path: Path) -> list[str]:
    """The expressions that libpcap takes for the capture's link type."""
    tcpdump = need_tool("tcpdump")
    return [
        each
        for each in EXPRESSIONS
        if subprocess.run([tcpdump, "-r", str(path), "-ddd", each], capture_output=True).returncode == 0
    ]


def test_a_loop_is_refused_as_by_the_kernel(tmp_path: Path) -> None:
    """libpcap's own interpreter runs backward jumps; no kernel takes such a program."""
    setup = filters_setup(
        [FilterText("expression", "ip6 protochain 58")], profile="current", backend="native"
    )
    with pytest.raises(ClsbpfError, match=r"ip6 protochain 58.*jump over 4294967281 instructions"):
        run([str(OFFICE)], setup)


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_on_real_traffic(backend: str, tmp_path: Path) -> None:
    need_tool("tcpdump")
    path = tmp_path / "office.pcap"
    path.write_bytes(OFFICE.read_bytes())
    expressions = compiled(path)
    assert len(expressions) > 45
    if backend == "interpreter":
        expressions = expressions[::6]
    for expression, here in zip(expressions, picked_here(path, expressions, backend), strict=True):
        assert here == picked_by_tcpdump(path, expression), expression


LINK_TYPES: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "EN10MB": (1, lambda frame: frame),
    "RAW": (101, lambda frame: frame[14:]),
    "LINUX_SLL": (113, lambda frame: bytes(14) + frame[12:]),
    "LINUX_SLL2": (276, lambda frame: frame[12:14] + bytes(18) + frame[14:]),
    "NULL": (0, lambda frame: (2).to_bytes(4, "little") + frame[14:]),
}


@pytest.mark.parametrize("name", LINK_TYPES)
def test_on_random_frames_of_other_link_types(name: str, tmp_path: Path) -> None:
    need_tool("tcpdump")
    path = tmp_path / "random.pcap"
    link_type, framed = LINK_TYPES[name]
    frames = [(time, framed(data), length) for time, data, length in random_packets(Random(name), 400)]
    packets = [(time, data, max(length, len(data))) for time, data, length in frames]
    path.write_bytes(pcap(packets, link_type=link_type, ticks_per_second=1_000_000_000))
    expressions = compiled(path)[:: 2 if link_type == 1 else 4]
    assert len(expressions) >= 5
    some = 0
    for expression, here in zip(expressions, picked_here(path, expressions, "native"), strict=True):
        assert here == picked_by_tcpdump(path, expression), expression
        some += bool(here)
    assert some >= 3
