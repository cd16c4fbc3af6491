"""How fast are many filters here, next to the same filters in this kernel's cls_bpf?

    sudo python bench/kernel_chain.py                   # on the capture that bench/run.py generates
    sudo python bench/kernel_chain.py --capture other.pcap --rounds 15

Two policies: 1,000 filters of host and port, half of them for endpoints of the capture; and 100 filters
that are not alike (different fields, ranges, negations, lengths, protocols).  Each is one file for
`tc -batch`, one prio with a filter a handle, which costs the kernel the least.

The kernel gets it at clsact's ingress of one end of a veth pair in a network namespace, and packets
through the other end (AF_PACKET, sendmmsg).  A second pair has clsact without filters: what it takes is
subtracted.  Rounds take turns, and medians are compared.  Here the same policy runs over the whole
capture with one worker; reading the file is part of what it takes.

Results first: the kernel leaves the matching filter's class in skb->tc_index, where a socket filter
behind the hook counts it; those counts must be ours, filter for filter.

Needs root, tc and ip.  The exit code is 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from many import host_and_port
from run import CAPTURE, machine, make_capture

from clsbpf import Engine
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.bytecode import format_bytecode
from clsbpf.bpf.maps import MapType
from clsbpf.capture import open_capture
from clsbpf.expression import compile_expression
from clsbpf.kernel.bpf import prog_load
from clsbpf.kernel.maps import map_create, map_lookup

DEVICE, PEER = "lab0", "lab1"
EMPTY_DEVICE, EMPTY_PEER = "bare0", "bare1"
ETHERNET = 1
SAMPLE = 4096
"""Packets of the capture that the kernel is sent: the first that have no VLAN tag."""
BURST = 256
SO_ATTACH_BPF = 50
SOCKET_FILTER = 1
CLONE_NEWNET = 0x40000000
ETHERTYPES = (0x0800, 0x86DD, 0x0806)
libc = ctypes.CDLL(None, use_errno=True)

COUNT_CLASSES = """
r6 = *(u32 *)(r1 +44)
*(u32 *)(r10 -4) = r6
r2 = r10
r2 += -4
r1 = map[fd:{fd}]
call 1
if r0 == 0x0 goto +2
r1 = 1
lock *(u64 *)(r0 +0) += r1
r0 = 0
exit
"""
"""A socket filter: one more for skb->tc_index."""


# Policies -----------------------------------------------------------------------------------------


def unlike(count: int) -> list[str]:
    """Expressions that have little in common, most of them narrow: else the first would decide everything."""
    pick = random.Random(7)
    number = pick.randrange
    kinds: tuple[Callable[[], str], ...] = (
        lambda: f"tcp portrange {(low := number(2000, 60000))}-{low + number(1, 40)} and not src port 443",
        lambda: f"udp and not port 53 and less {number(62, 90)}",
        lambda: f"ip[8] < {number(2, 30)} and greater {number(100, 1400)}",
        lambda: f"tcp[tcpflags] & (tcp-syn|tcp-rst) == {number(5, 8)}",
        lambda: f"src net 10.{number(256)}.{number(256)}.0/24 and tcp",
        lambda: f"ip6[6] == {number(50, 120)}",
        lambda: f"icmp[0] == {number(3, 12)} and icmp[1] > {number(4)}",
        lambda: f"len >= {(size := number(400, 1400))} and len <= {size + 2} and ip proto 17",
        lambda: f"ip[1] & 0xfc == {number(1, 63) << 2}",
        lambda: f"ether src 02:00:00:{number(256):02x}:{number(256):02x}:{number(256):02x}",
        lambda: f"dst host 192.0.2.{number(256)} or (ip6 and tcp dst port {number(1, 1024)} and less 80)",
        lambda: f"tcp[14:2] < {number(1, 900)} and tcp[13] & 1 != 0 and not net 10.0.0.0/9",
        lambda: f"ip[2:2] % {number(90, 400)} == {number(1, 80)} and udp and greater 500",
        lambda: f"arp[7] == {number(3, 10)}",
        lambda: f"ip[4:2] & 0xfff == {number(4096)}",
    )
    return [kinds[place % len(kinds)]() for place in range(count)]


def write_policy(path: Path, expressions: Sequence[str]) -> None:
    """A file for `tc -batch`: the first expression is tried first."""
    lines = [f"qdisc add dev {DEVICE} clsact"]
    for number, text in enumerate(expressions, 1):
        code = format_bytecode(compile_expression(text, ETHERNET))
        # Within a prio the newest filter is tried first.
        handle = len(expressions) + 1 - number
        lines.insert(
            1,
            f"filter add dev {DEVICE} ingress prio 1 handle {handle} protocol all bpf"
            f" bytecode '{code}' flowid 1:{number:x}",
        )
    path.write_text("\n".join(lines) + "\n")


# The kernel ---------------------------------------------------------------------------------------


def ip(*words: str) -> None:
    """ip(8)."""
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def laboratory(policy: Path) -> Iterator[None]:
    """This process is in a namespace with the two pairs; at the end it is gone."""
    name = f"clsbpf-bench-{os.getpid()}"
    ip("netns", "add", name)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        for device, peer in ((DEVICE, PEER), (EMPTY_DEVICE, EMPTY_PEER)):
            ip("-n", name, "link", "add", device, "type", "veth", "peer", "name", peer)
            for each in (device, peer):
                quiet = f"net.ipv6.conf.{each}.disable_ipv6=1"
                subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", quiet], check=True)
                ip("-n", name, "link", "set", each, "arp", "off", "up")
        subprocess.run(["tc", "-n", name, "-b", str(policy)], check=True)
        subprocess.run(["tc", "-n", name, "qdisc", "add", "dev", EMPTY_DEVICE, "clsact"], check=True)
        there = os.open(f"/run/netns/{name}", os.O_RDONLY)
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(there)
        try:
            yield
        finally:
            libc.setns(home, CLONE_NEWNET)
    finally:
        os.close(home)
        ip("netns", "del", name)


class Iovec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint32),
    )


class Sender:
    """Sends frames out of a device, as fast as one process can."""

    def __init__(self, device: str, frames: Sequence[bytes]) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((device, 0))
        self.count = len(frames)
        self._buffers = [ctypes.create_string_buffer(frame, len(frame)) for frame in frames]
        self._vectors = (Iovec * self.count)(
            *(Iovec(ctypes.addressof(buffer), len(buffer)) for buffer in self._buffers)
        )
        self._messages = (Message * self.count)()
        for place, message in enumerate(self._messages):
            message.iov = ctypes.pointer(self._vectors[place])
            message.iovlen = 1

    def send(self) -> None:
        """All of them once."""
        done, size = 0, ctypes.sizeof(Message)
        while done < self.count:
            at = ctypes.byref(self._messages, done * size)
            sent = libc.sendmmsg(self.socket.fileno(), at, min(BURST, self.count - done), 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            done += sent


class ClassCounter:
    """Counts the packets that come behind the hook of a device, by skb->tc_index."""

    def __init__(self, device: str, classes: int) -> None:
        self.classes = classes
        self.map = map_create(MapType.ARRAY, 4, 8, classes + 1)
        insns = assemble(COUNT_CLASSES.format(fd=self.map))
        self.program = prog_load(insns, SOCKET_FILTER)
        self.sockets = []
        for kind in ETHERTYPES:
            each = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            each.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, self.program)
            each.bind((device, kind))
            self.sockets.append(each)

    def counts(self) -> list[int]:
        """By class, 0 being none."""
        return [
            int.from_bytes(map_lookup(self.map, number.to_bytes(4, sys.byteorder), 8), sys.byteorder)
            for number in range(self.classes + 1)
        ]


def kernel_cost(frames: Sequence[bytes], rounds: int) -> tuple[float, float]:
    """Nanoseconds a packet of the filters, and without any: medians of what takes turns."""
    busy, bare = Sender(PEER, frames), Sender(EMPTY_PEER, frames)
    taken: dict[str, list[float]] = {"busy": [], "bare": []}
    for number in range(rounds + 1):
        for name, sender in (("busy", busy), ("bare", bare)):
            started = time.perf_counter()
            sender.send()
            if number:
                taken[name].append((time.perf_counter() - started) / len(frames) * 1e9)
    without = statistics.median(taken["bare"])
    return statistics.median(taken["busy"]) - without, without


# Ours ---------------------------------------------------------------------------------------------


def engine_of(policy: Path) -> Engine:
    """The policy, loaded here."""
    engine = Engine()
    engine.tc_batch(str(policy), create_devices=True)
    return engine


def our_counts(policy: Path, sample: Path, classes: int) -> list[int]:
    """Packets by class, 0 being none."""
    results = engine_of(policy).run([str(sample)], jobs=1)
    found = {each.classid & 0xFFFF: each.packets for each in results.classes}
    return [results.undecided, *(found.get(number, 0) for number in range(1, classes + 1))]


def our_cost(policy: Path, capture: Path, rounds: int) -> float:
    """Nanoseconds a packet, the median; reading the file included."""
    engine = engine_of(policy)
    runs = [engine.run([str(capture)], jobs=1) for _ in range(rounds)]
    return statistics.median(run.seconds / run.packets for run in runs) * 1e9


# The comparison -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A policy, and how many times as fast as the kernel it is to be here."""

    name: str
    expressions: list[str]
    wanted: float


def sample_of(capture: Path, sample: Path) -> list[bytes]:
    """The first packets without a VLAN tag, whole ones; also as a capture."""
    frames = []
    with open_capture(str(capture)) as packets:
        for record, data in packets:
            kind = int.from_bytes(data[12:14], "big")
            if kind in ETHERTYPES and record.captured == record.length and len(data) <= 1514:
                frames.append(bytes(data))
            if len(frames) == SAMPLE:
                break
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, ETHERNET)
    records = (struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)
    sample.write_bytes(header + b"".join(records))
    return frames


def compare(case: Case, capture: Path, place: Path, rounds: int) -> bool:
    """Check, measure, tell; is the target reached?"""
    policy, sample = place / "policy.tc", place / "sample.pcap"
    write_policy(policy, case.expressions)
    frames = sample_of(capture, sample)
    classes = len(case.expressions)
    with laboratory(policy):
        counter = ClassCounter(DEVICE, classes)
        Sender(PEER, frames).send()
        time.sleep(0.2)
        theirs = counter.counts()
        for each in counter.sockets:
            each.close()
        kernel, without = kernel_cost(frames, rounds)
    ours = our_counts(policy, sample, classes)
    if ours != theirs:
        wrong = [(n, a, b) for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        raise SystemExit(f"{case.name}: the counts differ (filter, here, kernel): {wrong[:10]}")
    matched = sum(ours[1:])
    hit = sum(1 for count in ours[1:] if count)
    cost = our_cost(policy, capture, rounds)
    ratio = kernel / cost
    print(
        f"{case.name}: {matched:,} of {len(frames):,} packets match, {hit} filters are hit, as in the kernel"
    )
    print(f"  kernel {kernel:10.0f} ns a packet (and {without:.0f} without filters)")
    print(f"  here   {cost:10.1f} ns a packet, reading included: {ratio:.0f} times as fast", end="")
    print(f" (at least {case.wanted:g}{'' if ratio >= case.wanted else ': MISSED'})")
    return ratio >= case.wanted


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--capture", type=Path, default=CAPTURE)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    capture: Path = options.capture
    make_capture(capture)
    print(machine())
    cases = [
        Case("1,000 filters of host and port", host_and_port(capture, 1000), 200.0),
        Case("100 filters that are not alike", unlike(100), 10.0),
    ]
    reached = []
    for case in cases:
        with tempfile.TemporaryDirectory() as place:
            reached.append(compare(case, capture, Path(place), options.rounds))
    sys.exit(not all(reached))


if __name__ == "__main__":
    main()
