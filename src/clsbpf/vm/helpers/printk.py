"""How do programs print?  bpf_trace_printk, bpf_trace_vprintk and bpf_snprintf; format.py has the formats.

A line goes into the environment's log, native memory from which Python takes lines when the run is over, or
when there is no more room (`Environment.drain`): so a program that prints for each packet does not wait for
Python each time, and no line is lost or out of order.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..environment import LOG_BYTES, Environment, EnvironmentAt, LogAt
from ..subset import external, load_i64, load_u8, native, store_i64, store_u32
from .format import ARGUMENTS, prepare, render, text_length

MAX_VARARGS = 12
"""MAX_BPRINTF_VARARGS."""
MAX_LINE = 1024
"""MAX_BPRINTF_BUF: the longest line, its end included."""
MAX_PRINTK_ARGUMENTS = 3
PRINTK_ARGUMENTS = ARGUMENTS + 8
"""Where in the room for printing the arguments of trace_printk are, which come in registers."""


@external
def make_room(machine: int) -> int:
    """Room in the log for a line: what is there goes to whoever takes it."""
    Environment.at(machine).make_log()
    return 0


@native
def log_line(machine: int, template: int) -> int:
    """Arguments are prepared: the text to the log, up to its first 0; how long it would be."""
    used = load_i64(machine + EnvironmentAt.LOG_USED)
    if load_i64(machine + EnvironmentAt.LOG) == 0 or used > LOG_BYTES - MAX_LINE - LogAt.TEXT - 8:
        make_room(machine)
        used = load_i64(machine + EnvironmentAt.LOG_USED)
        if load_i64(machine + EnvironmentAt.LOG) == 0 or used:
            return 0  # Python failed, and tells it after the run
    line = load_i64(machine + EnvironmentAt.LOG) + used
    text = line + LogAt.TEXT
    length = render(machine, text, MAX_LINE, template)
    kept = text_length(text, text + MAX_LINE)
    size = LogAt.TEXT + ((kept + 7) & ~7)
    number = load_i64(machine + EnvironmentAt.RUNNING)
    store_u32(line + LogAt.BYTES, size)
    store_u32(line + LogAt.LENGTH, kept)
    store_i64(line + LogAt.PACKET, load_i64(machine + EnvironmentAt.PACKET))
    store_i64(line + LogAt.RUNNING, load_i64(number) if number else 0)
    store_i64(machine + EnvironmentAt.LOG_USED, used + size)
    return length


@native(inline=True)
def has_end(template: int, size: int) -> int:
    """Is there a 0 in `size` bytes?"""
    at = template
    while at < template + size:
        if load_u8(at) == 0:
            return 1
        at += 1
    return 0


@native
def trace_printk(machine: int, template: int, size: int, first: int, second: int, third: int) -> int:
    """bpf_trace_printk: the length of the text, or -errno."""
    if not has_end(template, size):
        return -errno.EINVAL
    arguments = machine + EnvironmentAt.PRINTING + PRINTK_ARGUMENTS
    store_i64(arguments, first)
    store_i64(arguments + 8, second)
    store_i64(arguments + 16, third)
    result = prepare(machine, template, arguments, MAX_PRINTK_ARGUMENTS)
    return log_line(machine, template) if result == 0 else result


@native
def trace_vprintk(machine: int, template: int, size: int, data: int, length: int) -> int:
    """bpf_trace_vprintk: with any number of arguments up to twelve."""
    if length & 7 or length > MAX_VARARGS * 8 or (length and not data) or not has_end(template, size):
        return -errno.EINVAL
    result = prepare(machine, template, data, length >> 3)
    return log_line(machine, template) if result == 0 else result


@native
def snprintf(machine: int, to: int, size: int, template: int, data: int, length: int) -> int:
    """bpf_snprintf: the text to `to`, cut to `size` with its end; the room that all takes, or -errno."""
    if length & 7 or length > MAX_VARARGS * 8 or (length and not data):
        return -errno.EINVAL
    if not to:  # (a kernel would fault)
        size = 0
    result = prepare(machine, template, data, length >> 3)
    return render(machine, to, size, template) + 1 if result == 0 else result


BODIES: dict[str, Callable[..., int]] = {
    "trace_printk": trace_printk,
    "trace_vprintk": trace_vprintk,
    "snprintf": snprintf,
}
