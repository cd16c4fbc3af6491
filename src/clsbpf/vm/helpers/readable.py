"""Which memory may a body read by address?  What a program's pointers lead to, whoever follows them.

A format's `%s`, bpf_probe_read_kernel and loads from structures of the kernel follow a number that is no
pointer to the verifier.  A kernel tries, and catches the fault.  Here what may be read is known: the
packet, the program's stack, and a list of ranges, which machine code gets from Python when it first asks in
a run (`Running.ranges`: the values of all maps that it could have been shown).  An interpreted program may
read the regions of its own memory; there Python is asked each time.
"""

from __future__ import annotations

import ctypes

from ..environment import IDLE_TASK, TASK_BYTES, Environment, EnvironmentAt
from ..native_skb import At
from ..subset import below, copy, external, load_i64, load_u8, native, store_u8
from .kernel_context import KernelAt, block_readable

RANGE_BYTES = 16


@native
def readable(machine: int, address: int) -> int:
    """How many bytes may be read from an address on: 0 where nothing is."""
    kernel = load_i64(machine + EnvironmentAt.KERNEL)
    if kernel and not below(address, kernel) and below(address, load_i64(kernel + KernelAt.END)):
        return block_readable(machine, kernel, address)
    ranges = load_i64(machine + EnvironmentAt.READABLE)
    if ranges == 0:
        return ask_readable(machine, address)
    skb = load_i64(machine + EnvironmentAt.SKB)
    end = load_i64(skb + At.DATA_END_PTR)
    if below(address, end) and not below(address, load_i64(skb + At.DATA_PTR)):
        return end - address
    end = load_i64(machine + EnvironmentAt.STACK_HIGH)
    if below(address, end) and not below(address, load_i64(machine + EnvironmentAt.STACK_LOW)):
        return end - address
    first = 0
    last = load_i64(ranges)
    while first < last:  # the first range that ends behind the address
        middle = (first + last) >> 1
        if below(address, load_i64(ranges + RANGE_BYTES + middle * RANGE_BYTES)):
            last = middle
        else:
            first = middle + 1
    if first == load_i64(ranges):
        return 0
    at = ranges + 8 + first * RANGE_BYTES
    return 0 if below(address, load_i64(at)) else load_i64(at + 8) - address


@native
def read_bytes(machine: int, to: int, size: int, source: int) -> int:
    """copy_from_kernel_nofault(): 1, or 0 where not all of it may be read."""
    done = 0
    while done < size:
        there = readable(machine, source + done)
        if there <= 0:
            return 0
        count = there if there < size - done else size - done
        copy(to + done, source + done, count)
        done += count
    return 1


@native
def read_string(machine: int, to: int, room: int, source: int) -> int:
    """strncpy_from_kernel_nofault(): a string, cut to `room` bytes with its end (1 at least); how many bytes
    that is, or 0 where it cannot be read up to there."""
    done = 0
    there = 0
    while done < room:
        if there == 0:
            there = readable(machine, source + done)
            if there <= 0:
                return 0
        byte = load_u8(source + done)
        store_u8(to + done, byte)
        done += 1
        there -= 1
        if byte == 0:
            return done
    store_u8(to + room - 1, 0)
    return room


@external
def ask_readable(machine: int, address: int) -> int:
    """`readable`, of an interpreted program; of machine code the first time."""
    environment = Environment.at(machine)
    running = environment.running
    if running.memory is not None:
        return running.memory.readable_from(address & 0xFFFFFFFFFFFFFFFF)
    task = ctypes.addressof(IDLE_TASK)
    found = sorted({*running.ranges(), (task, task + TASK_BYTES)})
    flat = [number for each in found for number in each]
    ranges = (ctypes.c_uint64 * (len(flat) + 1))(len(found), *flat)
    running.shown = ranges
    environment.native.readable = ctypes.addressof(ranges)
    return readable(machine, address)
