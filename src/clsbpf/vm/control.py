"""What do helpers do that are about the run itself?  Tail calls, callbacks, locks.

A body computes; these change what runs next, and so they are the interpreter's.  Each is called with the
machine and its arguments, which were checked against the prototype, and answers r0 (None: r0 is not to be
read afterwards).
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..bpf import helpers as number
from .arithmetic import unsigned
from .memory import Region, store

if TYPE_CHECKING:
    from .machine import Machine

MAX_TAIL_CALLS = 33
"""MAX_TAIL_CALL_CNT."""
MAX_LOOPS = 8 * 1024 * 1024
"""BPF_MAX_LOOPS."""


def tail_call(machine: Machine, context: int, map: int, index: int) -> int | None:
    """bpf_tail_call: the program in the slot takes this one's place, if there is one and not too many were.

    The index is 32 bits wide.  A call that cannot be made is no call.
    """
    array = machine.map(map)
    target = array.program_at(unsigned(index, 32))
    if target is None or machine.tail_calls >= MAX_TAIL_CALLS:
        return None
    target.require_helpers()
    machine.tail_calls += 1
    machine.enter(target)
    return None


def loop(machine: Machine, count: int, callback: int, context: int, flags: int) -> int:
    """bpf_loop: the callback `count` (32 bits) times, until it returns something else than 0."""
    if flags:
        return -errno.EINVAL
    count = unsigned(count, 32)
    if count > MAX_LOOPS:
        return -errno.E2BIG
    for at in range(count):
        if machine.call_back(callback, (at, context)):
            return at + 1
    return count


def for_each_map_elem(machine: Machine, map: int, callback: int, context: int, flags: int) -> int:
    """bpf_for_each_map_elem: the callback for every element, until it returns something else than 0.

    What it was called for is counted.  Elements that the callback deletes are not met again.
    """
    if flags:
        return -errno.EINVAL
    walked = machine.map(map)
    key = ctypes.create_string_buffer(max(walked.spec.key_size, 1))
    key_at = ctypes.addressof(key)
    machine.memory.add(Region("key of the element", key_at, walked.spec.key_size, writable=False))
    done = 0
    for each in list(walked.walk()):
        ctypes.memmove(key_at, each, len(each))
        value = machine.lookup(map, key_at)
        if value == 0:
            continue
        done += 1
        if machine.call_back(callback, (map, key_at, value, context)):
            break
    machine.memory.remove(key_at)
    return done


def spin_lock(machine: Machine, lock: int) -> int | None:
    """bpf_spin_lock: one lock at a time; nobody else runs, so what is locked already stays so for ever."""
    if machine.lock is not None:
        raise machine.fault("bpf_spin_lock while another lock is held: this would never end")
    machine.lock = lock
    store(lock, 4, 1)
    return None


def spin_unlock(machine: Machine, lock: int) -> int | None:
    """bpf_spin_unlock."""
    if machine.lock != lock:
        raise machine.fault("bpf_spin_unlock of a lock that is not held")
    machine.lock = None
    store(lock, 4, 0)
    return None


CONTROL: dict[int, Callable[..., int | None]] = {
    number.BY_NAME[function.__name__].number: function
    for function in (tail_call, loop, for_each_map_elem, spin_lock, spin_unlock)
}
"""By helper number."""
