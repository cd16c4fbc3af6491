"""Two ends for the same request bytes: the kernel's AF_NETLINK socket in a namespace, and our endpoint.

A `Twin` has both with the same devices (lo, v0, v1 by the same ifindex; v0 and v1 are a veth pair that
is up).  `ask` sends a request to both and asserts that the replies are equal, datagram by datagram and
byte by byte, with the one exception that `comparable` takes out; and that whoever listens on either side
was told the same, also where the one who asks listens itself (`asker_listens`).
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.netlink import message as nl
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import RTNLGRP_TC, Rtm
from judges import inside, need_kernel, network_namespace
from tc_messages import ALL, BLOCK, DUMP, EGRESS, INGRESS, bpf, qdisc, readable

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
SO_RCVBUFFORCE = 33


def comparable(datagram: bytes) -> bytes:
    """The datagram with tcm_info 0 in messages about chains, where the kernel leaves what was in memory."""
    messages = list(nl.iter_messages(datagram))
    if not any(message.type in (Rtm.NEWCHAIN, Rtm.DELCHAIN, Rtm.GETCHAIN) for message in messages):
        return datagram
    return b"".join(
        Message(m.type, m.flags, m.seq, m.pid, m.payload[:16] + bytes(4) + m.payload[20:]).encode()
        for m in messages
    )


@dataclass
class KernelSocket:
    """A netlink socket of the kernel's, in a namespace."""

    socket: socket.socket

    @classmethod
    def open(
        cls, namespace: str, *, ext_ack: bool = True, cap_ack: bool = False, listens: bool = False
    ) -> KernelSocket:
        with inside(namespace):
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        if ext_ack:
            opened.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        if cap_ack:
            opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        opened.bind((0, 1 << RTNLGRP_TC - 1 if listens else 0))
        opened.settimeout(5)
        return cls(opened)

    @property
    def portid(self) -> int:
        return int(self.socket.getsockname()[0])

    def ask(self, request: bytes) -> list[bytes]:
        """All replies: those up to the answer to a marker that is sent after it, and the rest of a dump."""
        self.socket.send(request)
        self.socket.send(MARKER.encode())
        replies: list[bytes] = []
        marked = dumping = False
        while dumping or not marked:
            datagram = self.socket.recv(1 << 20)
            messages = list(nl.iter_messages(datagram))
            if messages[0].seq == MARKER.seq:
                marked = True
                continue
            replies.append(datagram)
            if messages[-1].flags & nl.NLM_F_MULTI:
                dumping = messages[-1].type != nl.NLMSG_DONE
        return replies

    def heard(self) -> list[bytes]:
        """The notifications so far; they are there when the request that caused them is answered."""
        out: list[bytes] = []
        self.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                out.append(self.socket.recv(1 << 20))
        return out


MARKER = Message(nl.NLMSG_MIN_TYPE - 1, nl.NLM_F_REQUEST | nl.NLM_F_ACK, seq=0x7FFF0001)
"""A control message: acknowledged at once, and nothing else."""


@dataclass
class Twin:
    """The kernel and our endpoint, asked the same."""

    kernel: KernelSocket
    listener: KernelSocket
    network: Network
    ours: Endpoint
    namespace: str
    v0: int
    v1: int
    asked: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    """What listeners on our side were told of the last request."""

    def ask(self, request: Message | bytes) -> list[Any]:
        """Both are asked; their replies, which are the same, as values."""
        data = request if isinstance(request, bytes) else request.encode()
        self.heard.clear()
        theirs = [comparable(reply) for reply in self.kernel.ask(data)]
        ours = self.ours.handle(data, self.kernel.portid)
        self.asked.append(data.hex())
        self._compare("answered", theirs, ours)
        theirs = [comparable(told) for told in self.listener.heard()]
        self._compare("told", theirs, [comparable(told) for told in self.heard])
        return [value for datagram in ours for value in readable(datagram)]

    def _compare(self, what: str, theirs: list[bytes], ours: list[bytes]) -> None:
        if theirs != ours:
            shown = "\n".join(str(readable(d)) for d in theirs), "\n".join(str(readable(d)) for d in ours)
            raise AssertionError(
                f"request {len(self.asked)}: {self.asked[-1]} {what}\nkernel:\n{shown[0]}\nours:\n{shown[1]}"
            )

    def dump(self) -> list[Any]:
        """Everything there is: qdiscs, and the filters of every place."""
        out = self.ask(qdisc(0, type=Rtm.GETQDISC, flags=DUMP, parent=0, handle=0, kind=None))
        chains = {**ALL, "type": Rtm.GETCHAIN}
        for device in (self.v0, self.v1):
            for parent in (INGRESS, EGRESS):
                out += self.ask(bpf(device, parent=parent, **ALL))
                out += self.ask(bpf(device, parent=parent, **chains))
        for index in (5, 6):
            out += self.ask(bpf(BLOCK, parent=index, **ALL))
            out += self.ask(bpf(BLOCK, parent=index, **chains))
        return out


@contextlib.contextmanager
def twin(
    *, clsact: bool = True, ext_ack: bool = True, cap_ack: bool = False, asker_listens: bool = False
) -> Iterator[Twin]:
    """A twin; with clsact on v0 unless told otherwise.  `asker_listens`: to what its requests change."""
    need_kernel()
    with network_namespace() as namespace:
        # Without IPv6 nothing is sent by itself, so that the kernel's qdiscs count nothing either.
        setup = """
            netns exec NS sysctl -qw net.ipv6.conf.default.disable_ipv6=1
            -n NS link add v0 type veth peer name v1
            -n NS link set v0 up
            -n NS link set v1 up
        """
        for line in setup.replace("NS", namespace).strip().splitlines():
            subprocess.run(["ip", *line.split()], check=True)
        shown = subprocess.run(["ip", "-n", namespace, "-d", "-j", "link"], check=True, capture_output=True)
        links = {link["ifindex"]: link for link in json.loads(shown.stdout)}
        names = ("lo", "v0", "v1")
        order = sorted((i, link["ifname"]) for i, link in links.items() if link["ifname"] in names)
        network = Network()
        for ifindex, name in order:
            link = links[ifindex]
            sizes = {"mtu": link["mtu"], "tx_queue_len": link["txqlen"], "tx_queues": link["num_tx_queues"]}
            network.add_device(name, ifindex, **sizes)
        kernel = KernelSocket.open(namespace, ext_ack=ext_ack, cap_ack=cap_ack, listens=asker_listens)
        listener = KernelSocket.open(namespace, listens=True)
        try:
            by_name = {name: ifindex for ifindex, name in order}
            both = Twin(
                kernel,
                listener,
                network,
                Endpoint(network, ext_ack=ext_ack, cap_ack=cap_ack, max_recvmsg_len=1 << 20),
                namespace,
                by_name["v0"],
                by_name["v1"],
            )
            both.ours.subscribe([RTNLGRP_TC], both.heard.append)
            if asker_listens:
                both.ours.subscribe([RTNLGRP_TC], both.heard.append, kernel.portid)
            if clsact:
                both.ask(qdisc(both.v0))
            yield both
        finally:
            kernel.socket.close()
            listener.socket.close()
