"""The real tc, speaking to our endpoint: what it makes of our answers, for kinds that no kernel here has.

Its rtnetlink socket is led to a UNIX socket (`netlink_shim.c`).  What it asks about devices is answered
by the kernel of the judge's namespace, everything else by the endpoint.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from clsbpf.endpoint import Endpoint
from clsbpf.netlink.message import NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, Message, iter_messages
from judges import need_tool
from tc_judge import Ran, TcJudge

LINKS = range(16, 20)
"""RTM_NEWLINK to RTM_SETLINK."""


def build_shim(directory: Path) -> Path:
    """The shared library to preload."""
    compiler = shutil.which("cc") or need_tool("clang")
    shim = directory / "shim.so"
    source = Path(__file__).with_name("netlink_shim.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no shared library can be built here: {done.stderr.splitlines()[:1]}")
    return shim


class TcOverOurs:
    """The real tc over an endpoint of ours."""

    def __init__(self, judge: TcJudge, endpoint: Endpoint, shim: Path, path: Path) -> None:
        self.judge = judge
        self.endpoint = endpoint
        self.environment = {"LD_PRELOAD": str(shim), "CLSBPF_SHIM": str(path)}

    def run(self, *words: str) -> Ran:
        """tc with these words."""
        return self.judge.run(*words, environment=self.environment)

    def serve(self, connection: socket.socket) -> None:
        """Answer one socket until it closes."""
        with connection, suppress(ConnectionError):
            while request := connection.recv(1 << 20):
                types = [message.type for message in iter_messages(request)]
                answers = (
                    self._links(request) if types and types[0] in LINKS else self.endpoint.replies(request)
                )
                for answer in answers:
                    connection.send(b"".join(_from_kernel(each) for each in iter_messages(answer)))

    def _links(self, request: bytes) -> Iterator[bytes]:
        (asked, *_) = iter_messages(request)
        for answer in self.judge.ask_kernel(request):
            yield answer
            types = {message.type for message in iter_messages(answer)}
            if types & {NLMSG_DONE, NLMSG_ERROR} or asked.flags & NLM_F_DUMP != NLM_F_DUMP:
                return


def _from_kernel(message: Message) -> bytes:
    """The message as one for the socket with address 0, which tc has here."""
    return Message(message.type, message.flags, message.seq, 0, message.payload).encode()


@contextmanager
def tc_over_ours(judge: TcJudge, endpoint: Endpoint) -> Iterator[TcOverOurs]:
    """tc over `endpoint`, whose devices are the judge's."""
    path = judge.directory / "shim.socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(8)
        tc = TcOverOurs(judge, endpoint, build_shim(judge.directory), path)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=tc.serve, args=(connection,), daemon=True).start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield tc
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            path.unlink()
