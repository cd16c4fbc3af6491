"""Devices come, change and go: what the kernel says to the same requests, who hears of it, what is left."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clsbpf.daemon.state import State, kept
from clsbpf.endpoint.links import IFINFOMSG, Ifla
from clsbpf.errors import ClsbpfError
from clsbpf.kernel.netlink import NetlinkSocket
from clsbpf.netlink import attr as nla
from clsbpf.netlink.attr import Attr, encode_attrs, iter_attrs
from clsbpf.netlink.message import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Message,
    iter_messages,
    read_acknowledgement,
)
from clsbpf.netlink.schema import RTNLGRP_LINK, RTNLGRP_TC, Rtm, Tca
from clsbpf.netlink.tcmsg import TCMSG_LEN, TcMsg
from daemon_lab import Lab
from judges import inside, need_kernel, network_namespace

UP = 1
ADDRESS = b"\x02\0\0\0\0\x09"
PASS = "'1,6 0 0 1'"
TC = [
    "qdisc add dev t0 clsact",
    "qdisc add dev t0 root handle 1: htb default 1",
    "class add dev t0 parent 1: classid 1:1 htb rate 1mbit",
    f"filter add dev t0 parent 1: bpf bytecode {PASS} flowid 1:1",
    f"filter add dev t0 parent 1:1 bpf bytecode {PASS} flowid 1:1",
    f"filter add dev t0 ingress bpf bytecode {PASS} flowid 1:1",
    f"filter add dev t0 ingress chain 4 bpf bytecode {PASS} action mirred egress redirect dev t1",
    "chain add dev t0 egress chain 7",
    "qdisc add dev t1 ingress_block 5 egress_block 6 clsact",
    f"filter add block 5 bpf bytecode {PASS} action mirred egress redirect dev t0",
    "chain add block 6 chain 3",
    "actions add action mirred egress mirror dev t0 index 9",
    "actions add action mirred ingress mirror dev t1 index 10 cookie aabb",
]


def link(type: int, ifindex: int, flags: int = 0, change: int = 0, *attrs: Attr, nlmsg: int = 0) -> Message:
    payload = IFINFOMSG.pack(0, 0, ifindex, flags, change) + encode_attrs(attrs)
    return Message(type, NLM_F_REQUEST | NLM_F_ACK | nlmsg, 0, 0, payload)


def name(text: str) -> Attr:
    return nla.string(Ifla.IFNAME, text)


REQUESTS = {
    "up": link(Rtm.NEWLINK, 2, UP, UP),
    "up again": link(Rtm.NEWLINK, 2, UP, UP),
    "the other one, by its name": link(Rtm.SETLINK, 0, UP, UP, name("t1")),
    "MTU": link(Rtm.NEWLINK, 2, 0, 0, nla.u32(Ifla.MTU, 1400)),
    "the same MTU": link(Rtm.NEWLINK, 2, 0, 0, nla.u32(Ifla.MTU, 1400)),
    "a negative MTU": link(Rtm.NEWLINK, 2, 0, 0, nla.u32(Ifla.MTU, 0x80000000)),
    "address": link(Rtm.NEWLINK, 2, 0, 0, nla.binary(Ifla.ADDRESS, ADDRESS)),
    "a short address": link(Rtm.NEWLINK, 2, 0, 0, nla.binary(Ifla.ADDRESS, b"\x02")),
    "queue length": link(Rtm.NEWLINK, 2, 0, 0, nla.u32(Ifla.TXQLEN, 50)),
    "several things": link(
        Rtm.NEWLINK, 2, 0, UP, name("t7"), nla.u32(Ifla.TXQLEN, 60), nla.u32(Ifla.MTU, 1300)
    ),
    "up and another name": link(Rtm.NEWLINK, 2, UP, UP, name("t8")),
    "a name that is taken": link(Rtm.NEWLINK, 2, 0, 0, name("t1")),
    "its own name": link(Rtm.NEWLINK, 2, 0, 0, name("t8")),
    "no such index": link(Rtm.NEWLINK, 77, UP, UP),
    "no such name": link(Rtm.SETLINK, 0, UP, UP, name("nope")),
    "neither": link(Rtm.DELLINK, 0),
    "it is there": link(Rtm.NEWLINK, 0, 0, 0, name("t8"), nlmsg=NLM_F_CREATE | NLM_F_EXCL),
    "another kind": link(
        *(Rtm.NEWLINK, 0, 0, 0, name("n"), nla.nest(Ifla.LINKINFO, [nla.string(1, "nonesuch")])),
        nlmsg=NLM_F_CREATE,
    ),
    "delete the loopback device": link(Rtm.DELLINK, 1),
    "delete none": link(Rtm.DELLINK, 99),
    "delete one with filters": link(Rtm.DELLINK, 2),
    "delete it again": link(Rtm.DELLINK, 2),
    "down": link(Rtm.NEWLINK, 3, 0, UP),
    "delete one that is down, with blocks": link(Rtm.DELLINK, 0, 0, 0, name("t1")),
}


def heard(datagrams: list[bytes]) -> list[Any]:
    """Notifications as far as they can be alike: a tap device is no dummy."""
    found: list[Any] = []
    for message in (message for datagram in datagrams for message in iter_messages(datagram)):
        if message.type in (Rtm.NEWLINK, Rtm.DELLINK):
            _, _, ifindex, flags, change = IFINFOMSG.unpack_from(message.payload)
            attrs = {attr.type: attr for attr in iter_attrs(message.payload[IFINFOMSG.size :])}
            own: list[Any] = [attrs[Ifla.IFNAME].string, attrs[Ifla.MTU].u32, attrs[Ifla.TXQLEN].u32]
            own.append(attrs[Ifla.QDISC].string if message.type == Rtm.DELLINK else "")
            own.append(attrs[Ifla.ADDRESS].payload == ADDRESS)
            told: tuple[Any, ...] = (ifindex, flags & UP, change, own)
        else:
            chain = [a.u32 for a in iter_attrs(message.payload[TCMSG_LEN:]) if a.type == Tca.CHAIN]
            told = (TcMsg.decode(message.payload), chain)
        found.append((Rtm(message.type).name, message.seq, message.pid, *told))
    return found


@dataclass
class Ours:
    """Our engine, which two devices were made in."""

    lab: Lab = field(default_factory=lambda: Lab(devices=()))
    datagrams: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lab.host.network.add_device("lo", 1)
        for each in ("t0", "t1"):
            self.lab.host.network.add_device(each).up = False
        self.lab.host.network.multicast.subscribe([RTNLGRP_LINK, RTNLGRP_TC], self.datagrams.append)

    def tc(self, line: str) -> str:
        return self.lab.tc(line)

    def ask(self, request: Message) -> tuple[int, list[Any]]:
        """The errno, and what was heard."""
        self.datagrams.clear()
        answer = _errno(self.lab.process.handle(request.encode()))
        return answer, heard(self.datagrams)


class Theirs:
    """The kernel, in a namespace of its own with two tap devices."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        for each in ("t0", "t1"):
            self._run("ip", "tuntap", "add", "dev", each, "mode", "tap")
        self._socket, self._listener = NetlinkSocket(), NetlinkSocket()
        self._listener.listen(RTNLGRP_LINK, RTNLGRP_TC)

    def close(self) -> None:
        self._socket.close()
        self._listener.close()

    def _run(self, *words: str) -> str:
        command = ["ip", "netns", "exec", self._namespace, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def tc(self, line: str) -> str:
        """What tc prints, the kernel's own qdiscs of a tap device left out."""
        shown = self._run("tc", *line.replace("'", "").split("bytecode ")[0].split(), *_bytecode(line))
        return "".join(each + "\n" for each in shown.splitlines() if "pfifo_fast" not in each)

    def ask(self, request: Message) -> tuple[int, list[Any]]:
        self._heard()
        return _errno(self._socket.ask(request.encode())), heard(self._heard())

    def _heard(self) -> list[bytes]:
        found = []
        self._listener._socket.setblocking(False)
        while True:
            try:
                found.append(self._listener.receive())
            except ClsbpfError:  # there is nothing more
                return found


def _bytecode(line: str) -> list[str]:
    """The words from the bytecode on, it being one of them."""
    if "bytecode" not in line:
        return []
    text, _, rest = line.split("bytecode '")[1].partition("'")
    return ["bytecode", text, *rest.split()]


def _errno(answers: Iterator[bytes]) -> int:
    for datagram in answers:
        for message in iter_messages(datagram):
            if message.type == NLMSG_ERROR:
                return read_acknowledgement(message).errno
    raise AssertionError("no acknowledgement")


SHOWN = ["actions ls action mirred", "qdisc show", "filter show block 5", "chain show block 6"]


def test_what_the_kernel_says_to_the_same_requests() -> None:
    """The same bytes to both, in this order: errno and notifications, then what tc shows."""
    need_kernel()
    ours = Ours()
    with network_namespace() as namespace, inside(namespace), ExitStack() as stack:
        theirs = Theirs(namespace)
        stack.callback(theirs.close)
        for line in TC:
            ours.tc(line)
            theirs.tc(line)
        for what, request in REQUESTS.items():
            assert ours.ask(request) == theirs.ask(request), what
            if what == "delete one with filters":
                for line in SHOWN:
                    assert _plain(ours.tc(line)) == _plain(theirs.tc(line)), line


def _plain(shown: str) -> list[str]:
    """A tap device's own qdisc aside."""
    return [line for line in shown.splitlines() if "noqueue" not in line]


def devices(lab: Lab) -> list[Any]:
    """What can be asked of devices."""
    request = Message(Rtm.GETLINK, NLM_F_REQUEST | NLM_F_DUMP, payload=IFINFOMSG.pack(0, 0, 0, 0, 0))
    answers = list(lab.process.handle(request.encode()))
    return [m.payload for each in answers for m in iter_messages(each)]


def do(lab: Lab, request: Message) -> None:
    assert _errno(lab.process.handle(request.encode())) == 0


def killed(lab: Lab, directory: Path, name: str) -> Lab:
    """What a daemon has that starts on the files as they are."""
    copy = directory.with_name(name)
    shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("lock"))
    again = Lab(devices=())
    assert State(again.host, copy).restore() == []
    again.devices = tuple(device.name for device in lab.host.network.devices.values())
    lab.devices = again.devices
    return again


AFTER = {
    "changed": [
        link(Rtm.NEWLINK, 2, 0, UP, name("other"), nla.u32(Ifla.MTU, 1300), nla.u32(Ifla.TXQLEN, 5)),
        link(Rtm.SETLINK, 3, 0, 0, nla.binary(Ifla.ADDRESS, ADDRESS)),
    ],
    "gone": [link(Rtm.DELLINK, 2)],
    "both gone": [link(Rtm.DELLINK, 2), link(Rtm.DELLINK, 3)],
    "gone and another one": [
        link(Rtm.DELLINK, 3),
        link(
            *(Rtm.NEWLINK, 0, 0, 0, name("t1"), nla.nest(Ifla.LINKINFO, [nla.string(1, "dummy")])),
            nlmsg=NLM_F_CREATE,
        ),
        link(Rtm.NEWLINK, 4, UP, UP),
    ],
}


@pytest.mark.parametrize("requests", AFTER.values(), ids=AFTER)
def test_it_is_there_again(requests: list[Message], tmp_path: Path) -> None:
    """After a kill, and after an end: also mirred actions that lead to a device that is no more."""
    lab, directory = Ours().lab, tmp_path / "state"
    with kept(lab.host, directory):
        for line in TC:
            lab.tc(line)
        for request in requests:
            do(lab, request)
        first = killed(lab, directory, "killed")
        assert (devices(first), settled(first)) == (devices(lab), settled(lab))
    second = killed(lab, directory, "ended")
    assert (devices(second), settled(second)) == (devices(lab), settled(lab))


def settled(lab: Lab) -> str:
    """What it shows; that actions were listed before is no state."""
    return lab.shown().replace("\tused_hw_stats disabled\n", "")


def test_a_device_with_a_driver_goes(tmp_path: Path) -> None:
    lab = Lab(devices=())
    lab.host.add_device("card", driver="worker")
    lab.tc("qdisc add dev card clsact")
    lab.tc(f"filter add dev card ingress bpf bytecode {PASS} skip_sw")
    lab.tc("actions add action gact drop index 7 skip_sw")
    do(lab, link(Rtm.DELLINK, 2))
    assert "index 7" in lab.tc("actions ls action gact")
    lab.tc("actions flush action gact")


def test_an_ifindex_is_not_given_again() -> None:
    ours = Ours()
    do(ours.lab, link(Rtm.DELLINK, 3))
    assert ours.lab.host.network.add_device("t2").ifindex == 4
