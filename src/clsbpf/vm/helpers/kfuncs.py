"""Which kernel functions may a program call by name?  Those that tc programs use, apart from dynptrs.

Sections in which nothing may sleep or be preempted are no different here from any other code, as nobody
else runs.  `bpf_iter_num_*` counts: the loops of `bpf_for` and `bpf_repeat`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..subset import load_i32, native, s32, store_i64, store_u32
from .kernel_context import cast_to_kern_ctx

MAX_LOOPS = 8 * 1024 * 1024
"""BPF_MAX_LOOPS."""


@native
def nothing(machine: int) -> int:
    """bpf_rcu_read_lock, bpf_preempt_disable and their ends."""
    return 0


@native
def nothing_with_flags(machine: int, flags: int) -> int:
    """bpf_local_irq_save and bpf_local_irq_restore: the state, which the program only keeps."""
    store_i64(flags, 0)
    return 0


@native
def same(machine: int, pointer: int) -> int:
    """bpf_rdonly_cast: another type for the same address."""
    return pointer


@native
def iter_num_new(machine: int, iterator: int, start: int, end: int) -> int:
    """bpf_iter_num_new: count from `start` to `end` - 1.  0, -EINVAL or -E2BIG, and then it is empty."""
    store_i64(iterator, 0)
    first = s32(start)
    last = s32(end)
    if first > last:
        return -errno.EINVAL
    if last - first > MAX_LOOPS:
        return -errno.E2BIG
    store_u32(iterator, first - 1)
    store_u32(iterator + 4, last)
    return 0


@native
def iter_num_next(machine: int, iterator: int) -> int:
    """bpf_iter_num_next: the address of the next number, or 0."""
    current = s32(load_i32(iterator) + 1)
    if current >= load_i32(iterator + 4):
        store_i64(iterator, 0)
        return 0
    store_u32(iterator, current)
    return iterator


@native
def iter_num_destroy(machine: int, iterator: int) -> int:
    """bpf_iter_num_destroy."""
    store_i64(iterator, 0)
    return 0


KFUNCS: dict[str, Callable[..., int]] = {
    "bpf_rcu_read_lock": nothing,
    "bpf_rcu_read_unlock": nothing,
    "bpf_preempt_disable": nothing,
    "bpf_preempt_enable": nothing,
    "bpf_local_irq_save": nothing_with_flags,
    "bpf_local_irq_restore": nothing_with_flags,
    "bpf_cast_to_kern_ctx": cast_to_kern_ctx,
    "bpf_rdonly_cast": same,
    "bpf_iter_num_new": iter_num_new,
    "bpf_iter_num_next": iter_num_next,
    "bpf_iter_num_destroy": iter_num_destroy,
}
