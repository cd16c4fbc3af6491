"""The kernel's cls_bpf and ours, on the same filters and the same packets.

Random filters are added, replaced and deleted with the real `tc`, and here; then packets are sent.
At egress a real htb shows by its counters which class each packet was given, so order, protocols,
fall-through, chosen and configured class ids and direct action all show.  At clsact's ingress and
egress it shows whether a packet came through.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from clsbpf.errors import BytecodeError, ClsbpfError, NetlinkError
from clsbpf.profile import CURRENT
from clsbpf.skb import Skb, receive
from clsbpf.tc.act import TcAct
from clsbpf.tc.chain import Block
from clsbpf.tc.filter import BpfOptions
from clsbpf.tc.hook import CLSACT, HookQdisc
from clsbpf.tc.ids import format_classid, parse_classid
from clsbpf.tc.result import ClassifyResult
from judges import inside, need_tool, network_namespace

Insn = tuple[int, int, int, int]
LDH, LDW, RET = 0x28, 0x20, 0x06
COMPARE: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x45: lambda a, k: bool(a & k),
}


class SmallPrograms:
    """Programs of one shape, run here in three lines: `ret #k`, or load, compare, `ret #a`, `ret #b`."""

    def __init__(self, ops: bytes) -> None:
        self.insns = list(struct.iter_unpack("<HBBI", ops))

    def run(self, skb: Skb) -> int:
        if len(self.insns) == 1:
            return int(self.insns[0][3])
        (load, _, _, at), (jump, _, _, k), (_, _, _, yes), (_, _, _, no) = self.insns
        size = {LDH: 2, LDW: 4}[load]
        if at + size > skb.captured:
            return 0
        return int(yes if COMPARE[jump](int.from_bytes(skb.packet[at : at + size], "big"), k) else no)


class SmallSource:
    """A ProgramSource of such programs."""

    def from_ops(self, ops: bytes) -> SmallPrograms:
        if ops[-8:-6] != struct.pack("<H", RET):
            raise BytecodeError("no return at the end")
        return SmallPrograms(ops)

    def from_fd(self, fd: int) -> SmallPrograms:
        raise NetlinkError(errno.EBADF)


PROTOCOLS = {"all": 3, "ip": 0x0800, "ipv6": 0x86DD, "arp": 0x0806, "802.1Q": 0x8100, "802.1ad": 0x88A8}


def frame(proto: int, word: int, tag: int | None = None) -> bytes:
    """60 bytes with a 32-bit word at 36, where UDP has its ports (40 where a tag stays in the data)."""
    head = b"\x02\0\0\0\0\x02" + b"\x02\0\0\0\0\x01"
    if tag is not None:
        head += struct.pack(">HH", tag, 100)
    return head + struct.pack(">H", proto) + bytes(22) + struct.pack(">I", word) + bytes(20)


FRAMES = [
    frame(0x0800, 0x0035_0001),
    frame(0x0800, 0x0050_0002),
    frame(0x0800, 0x01BB_0003),
    frame(0x86DD, 0x0035_0004),
    frame(0x86DD, 0x0050_0005),
    frame(0x0806, 0x0050_0006),
    frame(0x0800, 0x0035_0007, 0x8100),
    frame(0x86DD, 0x0050_0008, 0x8100),
    frame(0x0800, 0x0050_0009, 0x88A8),
    frame(0x88B5, 0x0050_000A),
]


def program(rng: random.Random, values: list[int]) -> list[Insn]:
    """A program whose return values are among `values`."""
    if rng.random() < 0.3:
        return [(RET, 0, 0, rng.choice(values))]
    load, jump, k = rng.choice(
        [
            (12, 0x15, 0x0800),
            (12, 0x15, 0x86DD),
            (12, 0x15, 0x8100),
            (36, 0x15, 0x0035),
            (36, 0x15, 0x0050),
            (36, 0x25, 0x0040),
            (40, 0x45, 0x0010),
            (62, 0x15, 0),
        ]
    )
    return [(LDH, 0, 0, load), (jump, 0, 1, k), *((RET, 0, 0, rng.choice(values)) for _ in range(2))]


def bytecode(insns: list[Insn]) -> str:
    return f"{len(insns)}," + ",".join(" ".join(map(str, insn)) for insn in insns)


def encode(insns: list[Insn]) -> bytes:
    return b"".join(struct.pack("<HBBI", *insn) for insn in insns)


@dataclass
class Twin:
    """One block of ours and the same place in the kernel: `tc filter VERB PLACE …`."""

    namespace: str
    place: list[str]
    block: Block

    def request(
        self, verb: str, prio: int, protocol: str, handle: int, insns: list[Insn], options: list[str]
    ) -> None:
        """Do it on both sides; both must refuse it for the same reason, or neither."""
        words = ["tc", "-n", self.namespace, "filter", verb, *self.place, "protocol", protocol]
        words += ["prio", str(prio), "handle", str(handle), "bpf"]
        if verb != "delete":
            words += ["bytecode", bytecode(insns), *options]
        done = subprocess.run(words, capture_output=True, text=True)
        theirs = done.stderr.splitlines()[0].rstrip(".") if done.returncode else ""
        assert theirs.partition(": ")[2] == self.ours(
            verb, prio, PROTOCOLS[protocol], handle, insns, options
        ), words

    def ours(
        self, verb: str, prio: int, protocol: int, handle: int, insns: list[Insn], words: list[str]
    ) -> str:
        """The part of tc_new_tfilter() and tc_del_tfilter() that this test needs; the reason of a refusal."""
        if verb == "delete" and 0 not in self.block.chains:
            return "Cannot find specified filter chain"
        chain = self.block.get_chain(0)
        try:
            if verb == "add" and not prio:
                prio = chain.auto_prio()
            classifier = chain.find(prio, protocol)
            if verb == "delete":
                if classifier is None:
                    return "Filter with specified priority/protocol not found"
                old = classifier.get(handle)
                if old is None:
                    return "Specified filter handle not found"
                if classifier.delete(old):
                    chain.remove_empty(classifier)
                return ""
            if classifier is None:
                classifier = chain.insert(prio, protocol)
            old = classifier.get(handle)
            if old is not None and verb == "add":
                return "Filter already exists"
            options = BpfOptions(
                ops_len=len(insns),
                ops=encode(insns),
                classid=parse_classid(words[1]) if "flowid" in words else None,
                flags=1 if "da" in words else None,
                flags_gen={"skip_hw": 1, "skip_sw": 2}.get(words[-1]) if words else None,
            )
            try:
                classifier.change(options, handle, old)
            finally:
                chain.remove_empty(classifier)
            return ""
        except ClsbpfError as error:
            extack: str | None = getattr(error, "extack", None)
            return extack or os.strerror(error.errno or 0)
        finally:
            self.block.put_chain(chain)

    def flush(self) -> None:
        """Delete all filters on both sides."""
        run("tc", "-n", self.namespace, "filter", "del", *self.place)
        self.block.flush()

    def shown(self) -> list[tuple[int, int]]:
        """(prio, handle) of the kernel's filters, in the order of its dump."""
        words = ["tc", "-n", self.namespace, "-j", "filter", "show", *self.place]
        dump = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        rows = [row for row in json.loads(dump) if "options" in row]
        return [(row["pref"], int(row["options"]["handle"], 16)) for row in rows]

    def walked(self) -> list[tuple[int, int]]:
        chain = self.block.chains.get(0)
        return [(each.prio, f.handle) for each in (chain.classifiers if chain else ()) for f in each]

    def random_life(self, rng: random.Random, values: list[int], da_values: list[int], steps: int) -> None:
        """Add, replace and delete at random, and compare what is there afterwards."""
        for _ in range(steps):
            verb = rng.choice(["add", "add", "add", "replace", "delete"])
            da = rng.random() < 0.4
            options = ["flowid", "1:" + rng.choice("12345")] if rng.random() < 0.7 else []
            options += ["da"] if da else []
            options += rng.choice([[], [], [], [], ["skip_hw"], ["skip_sw"]])
            self.request(
                verb,
                rng.choice([0, 5, 5, 5, 10, 10, 60000] if verb == "add" else [5, 5, 10]),
                rng.choice(["all", "all", "all", *PROTOCOLS]),
                rng.choice([0, 0, 1, 2, 3]) if verb == "add" else rng.choice([1, 2, 3]),
                program(rng, da_values if da else values),
                options,
            )
        assert self.shown() == self.walked()


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def veth() -> Iterator[str]:
    """A namespace with v0 and v1 joined."""
    need_tool("tc")
    with network_namespace() as namespace:
        # No IPv6: nothing but our packets.
        run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        run("ip", "-n", namespace, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        for device in ("v0", "v1"):
            run("ip", "-n", namespace, "link", "set", device, "up")
        yield namespace


def packet_socket(device: str, protocol: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    sock.bind((device, protocol))
    return sock


HTB = 0x10000
LEAVES = {HTB | minor for minor in (1, 2, 3, 4)}
DEFAULT = HTB | 0xFF


def htb_class(answer: int, classid: int) -> str:
    """htb_classify() without bound classes: the class id, `direct`, `dropped`, or nothing at all."""
    if answer in (TcAct.STOLEN, TcAct.TRAP):
        return ""
    if answer == TcAct.SHOT:
        return "dropped"
    if answer < 0 or classid not in LEAVES | {HTB, DEFAULT}:
        return format_classid(DEFAULT)
    return "direct" if classid == HTB else format_classid(classid)


def htb_counts(namespace: str) -> dict[str, int]:
    """Packets so far: of each class, direct, and dropped."""

    def show(what: str) -> str:
        words = ["tc", "-n", namespace, "-s", what, "show", "dev", "v0"]
        return subprocess.run(words, capture_output=True, check=True, text=True).stdout

    counts = {
        name: int(n)
        for name, n in re.findall(r"class htb (\S+) .*\n Sent \d+ bytes (\d+) pkt", show("class"))
    }
    assert len(counts) == len(LEAVES) + 1
    qdisc = show("qdisc")
    for name, pattern in (("direct", r"direct_packets_stat (\d+)"), ("dropped", r"dropped (\d+)")):
        (counts[name],) = map(int, re.findall(pattern, qdisc))
    return counts


def send(sender: socket.socket, packet: bytes) -> None:
    """A qdisc that drops a packet is ENOBUFS to its sender."""
    try:
        sender.send(packet)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise


@pytest.mark.parametrize("seed", range(4))
def test_htb_classes(veth: str, seed: int) -> None:
    """Each packet gets the class that our block gives it."""
    rng = random.Random(seed)
    run("tc", "-n", veth, "qdisc", "add", "dev", "v0", "root", "handle", "1:", "htb", "default", "ff")
    for classid in sorted(LEAVES | {DEFAULT}):
        words = ["classid", format_classid(classid), "htb", "rate", "1gbit", "quantum", "1500"]
        run("tc", "-n", veth, "class", "add", "dev", "v0", "parent", "1:", *words)
    twin = Twin(veth, ["dev", "v0", "parent", "1:"], Block(SmallSource(), profile=CURRENT))
    values = [0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 0x10001, 0x10003, 0x10000, 0x20001, 7]
    da_values = [0xFFFFFFFF, 0xFFFFFFFF, 0, 1, 2, 3, 4, 5, 8, 99, 0x20000001]
    with inside(veth):
        sender = packet_socket("v0")
    seen = set()
    with sender:
        for _ in range(3):
            twin.flush()
            twin.random_life(rng, values, da_values, 12)
            for packet in FRAMES:
                result = ClassifyResult()
                answer = twin.block.classify(Skb.from_frame(packet), result)
                expected = htb_class(answer, result.classid)
                before = htb_counts(veth)
                send(sender, packet)
                after = htb_counts(veth)
                moved = {name: after[name] - before[name] for name in after if after[name] != before[name]}
                assert moved == ({expected: 1} if expected else {}), packet.hex()
                seen.add(expected)
    assert len(seen) >= 3, "the policies told packets apart"


@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_clsact_lets_through_what_ours_does(veth: str, side: str) -> None:
    """A packet arrives behind clsact if our block does not drop it; tags are where the kernel has them."""
    rng = random.Random(side)
    sending = {"ingress": "v1", "egress": "v0"}[side]
    receiving = {"ingress": "v0", "egress": "v1"}[side]
    run("tc", "-n", veth, "qdisc", "add", "dev", "v0", "clsact")
    qdisc = HookQdisc(CLSACT, Block(SmallSource(), profile=CURRENT), Block(SmallSource(), profile=CURRENT))
    block = qdisc.ingress if side == "ingress" else qdisc.egress
    assert block is not None
    twin = Twin(veth, ["dev", "v0", side], block)
    with inside(veth), ExitStack() as sockets:
        sender = sockets.enter_context(packet_socket(sending))
        # Of one protocol each: those sockets come after tc, the ones for all protocols before it.
        receivers = [
            sockets.enter_context(packet_socket(receiving, protocol))
            for protocol in (0x0800, 0x86DD, 0x0806, 0x88B5)
        ]
        keep = sockets.pop_all()
    outcomes = set()
    values, da_values = [0, 0, 0xFFFFFFFF, 0x10001], [0xFFFFFFFF, 0xFFFFFFFF, 0, 2, 2, 4, 8, 99, 0x20000001]
    with keep:
        for _ in range(16):
            twin.flush()
            twin.random_life(rng, values, da_values, 5)
            expected = []
            for packet in FRAMES:
                skb = receive(packet) if side == "ingress" else Skb.from_frame(packet)
                assert skb is not None
                answer = qdisc.classify(skb, ClassifyResult())
                if answer in (TcAct.OK, TcAct.UNSPEC):
                    expected.append(packet[-22:-20])
                outcomes.add(answer)
                send(sender, packet)
            arrived = []
            for receiver in receivers:
                receiver.settimeout(0.02)
                while True:
                    try:
                        arrived.append(receiver.recv(2000)[-22:-20])
                    except TimeoutError:
                        break
            assert sorted(arrived) == sorted(expected)
    assert {TcAct.OK, TcAct.SHOT} <= outcomes
