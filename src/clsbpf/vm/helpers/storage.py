"""What do programs keep with other things than keys?  Socket and task storage, kptrs, timers.

(net/core/bpf_sk_storage.c, kernel/bpf/bpf_task_storage.c, kernel/bpf/helpers.c.)

A timer lies in a map's value and is the program's to wind up; its callback would run when the packet has
long gone.  Here nothing runs then: timers answer as the kernel's do, and never fire.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..environment import EnvironmentAt
from ..maps import devices
from ..subset import load_i64, native, store_i64
from .socket_image import SockAt

STORAGE_CREATE = 1
"""BPF_LOCAL_STORAGE_GET_F_CREATE."""

CLOCK_REALTIME = 0
CLOCK_MONOTONIC = 1
CLOCK_BOOTTIME = 7
TIMER_ABS = 1 << 0
TIMER_CPU_PIN = 1 << 1

INITIALIZED = 1
HAS_CALLBACK = 2
ACTIVE = 4
"""What the first word of our struct bpf_timer says."""


@native
def name_socket(machine: int, socket: int) -> int:
    """Write down, for the map, which socket is meant: the address of a u64."""
    store_i64(machine + EnvironmentAt.SCRATCH, load_i64(socket + SockAt.NAME))
    return machine + EnvironmentAt.SCRATCH


@native
def sk_storage_get(machine: int, map: int, socket: int, value: int, flags: int) -> int:
    """bpf_sk_storage_get: the address of the socket's value, or 0."""
    if socket == 0 or flags & ~STORAGE_CREATE:
        return 0
    return devices.storage_get(map, name_socket(machine, socket), value, flags)


@native
def sk_storage_delete(machine: int, map: int, socket: int) -> int:
    """bpf_sk_storage_delete: 0 or -errno."""
    if socket == 0:
        return -errno.EINVAL
    return devices.storage_delete(map, name_socket(machine, socket))


@native
def only_owner(machine: int) -> int:
    """Of tasks and cgroups there is one here."""
    store_i64(machine + EnvironmentAt.SCRATCH, 0)
    return machine + EnvironmentAt.SCRATCH


@native
def task_storage_get(machine: int, map: int, task: int, value: int, flags: int) -> int:
    """bpf_task_storage_get, bpf_cgrp_storage_get: the address of the value, or 0."""
    if task == 0 or flags & ~STORAGE_CREATE:
        return 0
    return devices.storage_get(map, only_owner(machine), value, flags)


@native
def task_storage_delete(machine: int, map: int, task: int) -> int:
    """bpf_task_storage_delete, bpf_cgrp_storage_delete: 0 or -errno."""
    if task == 0:
        return -errno.EINVAL
    return devices.storage_delete(map, only_owner(machine))


@native
def kptr_xchg(machine: int, place: int, pointer: int) -> int:
    """bpf_kptr_xchg: put a pointer into a map's value and take out the one that was there."""
    old = load_i64(place)
    store_i64(place, pointer)
    return old


@native
def timer_init(machine: int, timer: int, map: int, flags: int) -> int:
    """bpf_timer_init: `flags` is the clock.  0, -EINVAL, or -EBUSY if it was done before."""
    if flags not in (CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME):
        return -errno.EINVAL
    if load_i64(timer):
        return -errno.EBUSY
    store_i64(timer, INITIALIZED)
    return 0


@native
def timer_set_callback(machine: int, timer: int, callback: int) -> int:
    """bpf_timer_set_callback: 0, or -EINVAL before init."""
    state = load_i64(timer)
    if state == 0:
        return -errno.EINVAL
    store_i64(timer, state | HAS_CALLBACK)
    return 0


@native
def timer_start(machine: int, timer: int, nsecs: int, flags: int) -> int:
    """bpf_timer_start: 0, or -EINVAL without a callback."""
    state = load_i64(timer)
    if flags & ~(TIMER_ABS | TIMER_CPU_PIN) or state & HAS_CALLBACK == 0:
        return -errno.EINVAL
    store_i64(timer, state | ACTIVE)
    return 0


@native
def timer_cancel(machine: int, timer: int) -> int:
    """bpf_timer_cancel: was it wound up (1 or 0)?  -EINVAL before init.  The callback is forgotten."""
    state = load_i64(timer)
    if state == 0:
        return -errno.EINVAL
    store_i64(timer, INITIALIZED)
    return state & ACTIVE != 0


BODIES: dict[str, Callable[..., int]] = {
    "sk_storage_get": sk_storage_get,
    "sk_storage_delete": sk_storage_delete,
    "task_storage_get": task_storage_get,
    "task_storage_delete": task_storage_delete,
    "cgrp_storage_get": task_storage_get,
    "cgrp_storage_delete": task_storage_delete,
    "kptr_xchg": kptr_xchg,
    "timer_init": timer_init,
    "timer_set_callback": timer_set_callback,
    "timer_start": timer_start,
    "timer_cancel": timer_cancel,
}
