"""The outside judges: the real kernel, and programs such as `tc` and `tcpdump`.

A test that needs one skips with the reason where it is absent.  Where CLSBPF_REQUIRE_JUDGES is set
(this project's CI), the same absence is a failure: a judge that silently stopped judging is worse
than none.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from clsbpf.errors import ClsbpfError
from clsbpf.expression import libpcap_version

REQUIRED = bool(os.environ.get("CLSBPF_REQUIRE_JUDGES"))
_counter = itertools.count()


def _absent(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"a judge is required here but absent: {reason}")
    pytest.skip(reason)


def need_tool(name: str) -> str:
    """The path of an installed program; skips (or fails, where judges are required) without it."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        _absent(f"{name} is not installed")
    assert path is not None
    return path


def need_libpcap() -> None:
    """Skips (or fails, where judges are required) without the system's libpcap."""
    try:
        libpcap_version()
    except ClsbpfError as error:
        _absent(str(error))


@functools.cache
def _kernel_obstacle() -> str | None:
    """Why the real kernel cannot be asked here, or None."""
    if os.name != "posix" or os.uname().sysname != "Linux":
        return "not a Linux kernel"
    if os.geteuid() != 0:
        return "not root"
    if shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        return "ip (iproute2) is not installed"
    name = f"clsbpf-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def need_kernel() -> None:
    """Skips (or fails, where judges are required) unless root on a Linux with network namespaces."""
    obstacle = _kernel_obstacle()
    if obstacle is not None:
        _absent(obstacle)


@contextlib.contextmanager
def network_namespace() -> Iterator[str]:
    """A network namespace of the test's own, by name (`ip netns exec NAME …`); removed afterwards."""
    need_kernel()
    name = f"clsbpf-{os.getpid()}-{next(_counter)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run the body with this thread in `namespace`: sockets made there belong to it."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        if _libc.setns(there.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if _libc.setns(home.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns home")


needs_kernel = pytest.fixture(need_kernel, name="needs_kernel")
