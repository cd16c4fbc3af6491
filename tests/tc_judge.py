"""The real `tc` as a judge: what it prints, what it sends and what it is sent, seen through strace.

strace shows the bytes that pass a socket in hexadecimal; here they become messages again.  What tc
asks of its own accord (the list of devices, RTM_GETLINK) is left out.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clsbpf.netlink.message import Message, iter_messages
from judges import inside, need_kernel, need_tool, network_namespace

RTM_GETLINK = 18
SOL_NETLINK = 270
NETLINK_EXT_ACK = 11


@dataclass(frozen=True)
class Ran:
    """What a run of tc gave back."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Exchange:
    """One request that tc sent, with sequence number 0, and the messages that answered it."""

    request: bytes
    replies: list[Message] = field(default_factory=list)


@dataclass
class TcJudge:
    """tc in a namespace with the devices lo, v0 and v1 (a veth pair that is up)."""

    namespace: str
    directory: Path
    devices: dict[str, int]
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of each device what its qdiscs depend on: `mtu`, `tx_queue_len`, `tx_queues`."""

    def resolve(self, name: str) -> int | None:
        """A device's ifindex there."""
        return self.devices.get(name)

    def device_name(self, ifindex: int) -> str:
        """A device's name there."""
        return next((name for name, index in self.devices.items() if index == ifindex), f"if{ifindex}")

    def run(self, *words: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> Ran:
        """tc with these words."""
        return self._ran([need_tool("tc"), *words], stdin, environment)

    def record(self, *words: str) -> tuple[Ran, list[Exchange]]:
        """tc with these words, and its exchanges with the kernel, in order."""
        trace = self.directory / "trace"
        strace = [need_tool("strace"), "-f", "-qq", "-e", "trace=sendmsg,sendto,recvmsg"]
        strace += ["-e", "write=all", "-e", "read=all", "-o", str(trace)]
        ran = self._ran([*strace, need_tool("tc"), *words], "")
        return ran, _exchanges(trace.read_text(errors="replace"))

    def ask_kernel(self, request: bytes) -> Iterator[bytes]:
        """The datagrams with which the kernel answers; who has enough stops reading."""
        with inside(self.namespace):
            kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with kernel:
            kernel.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            kernel.settimeout(5)
            kernel.send(request)
            while True:
                yield kernel.recv(1 << 20)

    def file(self, text: str, name: str = "batch.tc") -> str:
        """The path of a file with this text."""
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def _ran(self, command: Sequence[str], stdin: str, more: Mapping[str, str] | None = None) -> Ran:
        environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LC_ALL": "C"}
        environment |= more or {}
        with inside(self.namespace):
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, env=environment, cwd=self.directory
            )
        return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def tc_judge(directory: Path) -> Iterator[TcJudge]:
    """A namespace with devices for tc; skips without a kernel and tc."""
    need_kernel()
    need_tool("tc")
    with network_namespace() as namespace:
        ip = [need_tool("ip"), "-n", namespace]
        subprocess.run([*ip, "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
        for name in ("v0", "v1"):
            # No neighbour discovery: the kernel would count packets that no test sent.
            switch = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
            subprocess.run(["ip", "netns", "exec", namespace, "sh", "-c", f"echo 1 > {switch}"], check=True)
            subprocess.run([*ip, "link", "set", name, "up"], check=True)
        links = json.loads(subprocess.run([*ip, "-d", "-j", "link"], check=True, capture_output=True).stdout)
        sizes = {
            link["ifname"]: {
                "mtu": link["mtu"],
                "tx_queue_len": link["txqlen"],
                "tx_queues": link["num_tx_queues"],
            }
            for link in links
        }
        yield TcJudge(namespace, directory, {link["ifname"]: link["ifindex"] for link in links}, sizes)


_CALL = re.compile(r"^(?:\d+\s+)?(sendmsg|sendto|recvmsg)\(")
_DUMP = re.compile(r"^ \| [0-9a-f]{5,}  ([0-9a-f ]{48}) ")
"""A line of strace's: 16 bytes at most in 48 columns, then the same as text (which may look like bytes)."""


def _exchanges(trace: str) -> list[Exchange]:
    sent: dict[int, Exchange] = {}
    for call, data in _transfers(trace):
        for message in iter_messages(data):
            if call != "recvmsg":
                if message.type != RTM_GETLINK:
                    request = Message(message.type, message.flags, 0, message.pid, message.payload)
                    sent[message.seq] = Exchange(request.encode())
            elif message.seq in sent:
                sent[message.seq].replies.append(message)
    return list(sent.values())


def _transfers(trace: str) -> Iterator[tuple[str, bytes]]:
    """Each call and the bytes it passed (those of several buffers joined)."""
    call, data = "", bytearray()
    for line in trace.splitlines():
        if found := _CALL.match(line):
            if data:
                yield call, bytes(data)
            call, data = found[1], bytearray()
        elif found := _DUMP.match(line):
            data += bytes.fromhex(found[1])
    if data:
        yield call, bytes(data)
