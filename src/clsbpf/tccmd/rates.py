"""Rates as tc hands them to the kernel: times in ticks, and tables of how long frames of each size take.

The tables have not been looked at since Linux 3.8 but are still sent.  A tick is 64 ns.

Mirrors tc/tc_core.c.
"""

from __future__ import annotations

import struct
from bisect import bisect_left

from ..netlink.qdisc import LinkLayer, RateSpec, SizeSpec
from .numbers import U16, U32
from .words import matches

TICK_NS = 64
_TICKS_PER_USEC = 1000 / TICK_NS
USEC_PER_SEC = 1_000_000
DEFAULT_MTU = 2047
HZ = 1_000_000_000
"""get_hz(): what /proc/net/psched says of a clock in nanoseconds."""

_LINKLAYERS = (("ethernet", LinkLayer.ETHERNET), ("atm", LinkLayer.ATM), ("adsl", LinkLayer.ATM))
_LINKLAYER_NAMES = {LinkLayer.UNAWARE: "unspec", LinkLayer.ETHERNET: "ethernet", LinkLayer.ATM: "atm"}


def parse_linklayer(word: str) -> LinkLayer | None:
    """get_linklayer()."""
    return next((layer for name, layer in _LINKLAYERS if matches(word, name)), None)


def format_linklayer(layer: int) -> str:
    """sprint_linklayer()."""
    return next((name for known, name in _LINKLAYER_NAMES.items() if known == layer), "unknown")


def transmit_ticks(bytes_per_second: int, count: int) -> int:
    """tc_calc_xmittime(): how long it takes, in ticks."""
    microseconds = int(USEC_PER_SEC * (count / bytes_per_second))
    return int((microseconds & U32) * _TICKS_PER_USEC) & U32


def _entry(bytes_per_second: int, count: int) -> int:
    """The same for a table.  What 32 bits do not hold C leaves open: tc's loop, compiled, makes it 0."""
    microseconds = int(USEC_PER_SEC * (count / bytes_per_second))
    ticks = int(microseconds * _TICKS_PER_USEC)
    return ticks if max(microseconds, ticks) <= U32 else 0


def transmit_size(bytes_per_second: int, ticks: int) -> int:
    """tc_calc_xmitsize(): what goes in so many ticks; 0 for what 64 bits do not hold (C leaves it open)."""
    size = float(bytes_per_second) * int(ticks / _TICKS_PER_USEC) / USEC_PER_SEC
    return int(size) & U32 if size < 1 << 63 else 0


def bucket_ticks(bytes_per_second: int, spec: RateSpec, count: int) -> int:
    """psched_l2t_ns(): how long so many bytes take as the kernel reckons, in ticks; the spec's rate aside."""
    length = on_the_link(max(count + spec.overhead, spec.mpu), 0, spec.linklayer)
    return length * HZ // bytes_per_second // TICK_NS


def bucket_size(bytes_per_second: int, spec: RateSpec, ticks: int) -> int | None:
    """The fewest bytes that take so many ticks; None where no number of 32 bits does."""
    sizes = range(1, 1 << 32)
    at = bisect_left(sizes, ticks, key=lambda size: bucket_ticks(bytes_per_second, spec, size))
    found = sizes[at] if at < len(sizes) else None
    return found if found and bucket_ticks(bytes_per_second, spec, found) == ticks else None


def tick_microseconds(ticks: int) -> int:
    """tc_core_tick2time()."""
    return int(ticks / _TICKS_PER_USEC)


def format_time(microseconds: int) -> str:
    """sprint_time()."""
    if microseconds >= USEC_PER_SEC:
        return f"{microseconds / USEC_PER_SEC:.3g}s"
    return f"{microseconds / 1000:.3g}ms" if microseconds >= 1000 else f"{microseconds}us"


def unknown_speed(device: str) -> str:
    """get_percent_rate64(): tc asks sysfs for `rate 10%`, which does not know the devices here."""
    if not device:
        return "No device specified; specify device to rate limit by percentage"
    return f"fopen /sys/class/net/{device}/speed: No such file or directory"


def on_the_link(size: int, mpu: int, linklayer: int) -> int:
    """tc_adjust_size(): what a frame takes on the link; ATM has cells of 53 bytes for every 48."""
    size = max(size, mpu)
    return -(-size // 48) * 53 & U32 if linklayer == LinkLayer.ATM else size


def rate_table(
    rate: int, *, mtu: int, mpu: int, overhead: int, linklayer: int, cell_log: int = -1
) -> tuple[RateSpec, bytes]:
    """tc_calc_rtable(): struct tc_ratespec, and the ticks that 256 sizes take.

    `rate` in bytes a second; of a rate of 32 bits and more the spec has 0xffffffff.  `cell_log` -1: so
    that `mtu` fits (0: 2047).
    """
    if cell_log < 0:
        cell_log = 0
        while (mtu or DEFAULT_MTU) >> cell_log > 255:
            cell_log += 1
    sizes = (on_the_link(cell << cell_log & U32, mpu, linklayer) for cell in range(1, 257))
    table = struct.pack("=256I", *(_entry(rate, size) for size in sizes))
    spec = RateSpec(min(rate, U32), overhead, mpu & U16, linklayer, cell_log & 0xFF, -1)
    return spec, table


def size_table(spec: SizeSpec) -> tuple[SizeSpec, bytes]:
    """tc_calc_size_table(): the spec made whole, and the table (none, where only an overhead is added)."""
    if spec.linklayer <= LinkLayer.ETHERNET and not spec.mpu:
        return SizeSpec(overhead=spec.overhead, linklayer=spec.linklayer), b""
    mtu, tsize = spec.mtu or DEFAULT_MTU, spec.tsize or 512
    cell_log = 0
    while mtu >> cell_log > tsize - 1:
        cell_log += 1
    sizes = [on_the_link(cell << cell_log & U32, spec.mpu, spec.linklayer) for cell in range(1, tsize + 1)]
    size_log = 0
    while any(size >> size_log > U16 for size in sizes):
        size_log += 1
    whole = SizeSpec(cell_log, size_log, -1, spec.overhead, spec.linklayer, spec.mpu, mtu, tsize)
    return whole, struct.pack(f"={tsize}H", *(size >> size_log for size in sizes))
