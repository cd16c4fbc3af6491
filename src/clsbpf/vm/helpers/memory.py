"""What of the kernel's memory can a program read?  bpf_probe_read_kernel, the current task.

There is no kernel here.  What a program can read through `probe_read_kernel` is what it could read anyway,
and at its context's address the struct sk_buff that a kernel has there (kernel_context.py); any other
address is one that faults.  The task that happens to run is the idle task: a structure of zeros, however it
is read.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from collections.abc import Callable

from ..environment import Environment
from ..memory import Region
from ..subset import external
from .printk import read_string, reader

TASK_BYTES = 16384
"""More than any struct task_struct has."""
SK_BUFF_MOST = 512
"""More than any struct sk_buff has."""
U64 = 0xFFFFFFFFFFFFFFFF
KERNEL_BITS = 47
"""The kernel's half: addresses whose bits from here on are all set (x86-64 with four levels of pages)."""


def fault(address: int) -> int:
    """copy_from_kernel_nofault() where nothing is: -ERANGE below the kernel's half, -EFAULT in it."""
    return -errno.EFAULT if (address & U64) >> KERNEL_BITS == U64 >> KERNEL_BITS else -errno.ERANGE


def _read(environment: Environment, address: int, size: int) -> bytes | None:
    """Memory that the program may read, or what is behind its context; None: nothing is there."""
    found = reader(environment)(address, size)
    if found is None and 0 <= address - environment.native.skb < SK_BUFF_MOST:
        from .kernel_context import read_behind  # reads the kernel's types: only who asks needs that

        return read_behind(environment, address - environment.native.skb, size)
    return found


@external
def probe_read_kernel(machine: int, to: int, size: int, source: int) -> int:
    """bpf_probe_read_kernel: `size` bytes; 0, or -ERANGE, -EFAULT and zeros."""
    found = _read(Environment.at(machine), source, size) if size else b""
    ctypes.memmove(to, bytes(size) if found is None else found, size)
    return fault(source) if found is None else 0


@external
def probe_read_kernel_str(machine: int, to: int, size: int, source: int) -> int:
    """bpf_probe_read_kernel_str: a string, cut to `size`: its length with its end; or -errno and zeros."""
    if size == 0:
        return 0
    read = reader(Environment.at(machine))
    found = read_string(source, size, read) if read(source, 1) is not None else None
    if found is None:
        ctypes.memset(to, 0, size)
        return fault(source)
    ctypes.memmove(to, found + b"\0", len(found) + 1)
    return len(found) + 1


@external
def get_current_task(machine: int) -> int:
    """bpf_get_current_task: the address of the idle task."""
    running = Environment.at(machine).running
    assert running.memory is not None
    if running.task is None:
        running.task = ctypes.create_string_buffer(TASK_BYTES)
        address = ctypes.addressof(running.task)
        running.memory.add(Region("struct task_struct", address, TASK_BYTES, writable=False))
    return ctypes.addressof(running.task)


@external
def load_behind(machine: int, address: int, size: int) -> int:
    """BPF_PROBE_MEM: a number in a structure of the kernel; 0 where there is nothing."""
    found = reader(Environment.at(machine))(address, size)
    return 0 if found is None else int.from_bytes(found, sys.byteorder)


BODIES: dict[str, Callable[..., int]] = {
    "probe_read_kernel": probe_read_kernel,
    "probe_read_kernel_str": probe_read_kernel_str,
    "get_current_task": get_current_task,
    "get_current_task_btf": get_current_task,
}
