"""What of the kernel's memory can a program read?  bpf_probe_read_kernel, the current task.

There is no kernel here.  What a program can read through `probe_read_kernel` is what it could read anyway
(readable.py), and at its context's address the struct sk_buff that a kernel has there (kernel_context.py);
any other address is one that faults.  The task that happens to run is the idle task: a structure of zeros,
however it is read.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..environment import EnvironmentAt
from ..subset import copy, fill, load_i64, native, store_i64, store_u8, store_u16, store_u32
from .kernel_context import KernelAt, behind, kernel_of, load_sized, refresh
from .readable import read_bytes, read_string, readable

SK_BUFF_MOST = 512
"""More than any struct sk_buff has."""
KERNEL_BITS = 47
"""The kernel's half: addresses whose bits from here on are all set (x86-64 with four levels of pages)."""


@native
def fault(address: int) -> int:
    """copy_from_kernel_nofault() where nothing is: -ERANGE below the kernel's half, -EFAULT in it."""
    return -errno.EFAULT if address >> KERNEL_BITS == -1 else -errno.ERANGE


@native
def read_context(machine: int, to: int, size: int, offset: int) -> int:
    """Bytes of the struct sk_buff of the packet under way: 1, or 0 where it has no such bytes."""
    kernel = kernel_of(machine)
    if kernel == 0 or offset + size > load_i64(kernel + KernelAt.SKB_SIZE):
        return 0
    if size == 4:
        store_u32(to, behind(machine, kernel, offset, 4))
    elif size == 8:
        store_i64(to, behind(machine, kernel, offset, 8))
    elif size == 2:
        store_u16(to, behind(machine, kernel, offset, 2))
    elif size == 1:
        store_u8(to, behind(machine, kernel, offset, 1))
    else:
        copy(to, refresh(machine, kernel, offset, size), size)
    return 1


@native
def probe_read_kernel(machine: int, to: int, size: int, source: int) -> int:
    """bpf_probe_read_kernel: `size` bytes; 0, or -ERANGE, -EFAULT and zeros."""
    if size == 0:
        return 0
    offset = source - load_i64(machine + EnvironmentAt.SKB)
    if offset >= 0 and offset < SK_BUFF_MOST:
        done = read_context(machine, to, size, offset)
    else:
        done = read_bytes(machine, to, size, source)
    if done:
        return 0
    fill(to, 0, size)
    return fault(source)


@native
def probe_read_kernel_str(machine: int, to: int, size: int, source: int) -> int:
    """bpf_probe_read_kernel_str: a string, cut to `size`: its length with its end; or -errno and zeros."""
    if size == 0:
        return 0
    length = read_string(machine, to, size, source)
    if length:
        return length
    fill(to, 0, size)
    return fault(source)


@native
def get_current_task(machine: int) -> int:
    """bpf_get_current_task: the address of the idle task."""
    return load_i64(machine + EnvironmentAt.TASK)


@native
def load_behind(machine: int, address: int, size: int) -> int:
    """BPF_PROBE_MEM: a number in a structure of the kernel; 0 where there is nothing."""
    kernel = load_i64(machine + EnvironmentAt.KERNEL)
    offset = address - load_i64(machine + EnvironmentAt.SKB)
    if offset >= 0 and offset < SK_BUFF_MOST:
        kernel = kernel_of(machine)
    elif kernel:
        offset = address - load_i64(kernel + KernelAt.SKB)
    if kernel and offset >= 0 and offset + size <= load_i64(kernel + KernelAt.SKB_SIZE):
        return behind(machine, kernel, offset, size)
    return load_sized(address, size) if readable(machine, address) >= size else 0


BODIES: dict[str, Callable[..., int]] = {
    "probe_read_kernel": probe_read_kernel,
    "probe_read_kernel_str": probe_read_kernel_str,
    "get_current_task": get_current_task,
    "get_current_task_btf": get_current_task,
}
