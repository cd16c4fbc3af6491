"""How does a program answer a SYN without a socket?  bpf_tcp_raw_gen_syncookie_* and their checks.

A cookie is a hash of the connection with a secret, plus what must be remembered: the minute, and which of
four segment sizes the client offered.  The secret is new with each boot of a kernel, so that cookies agree
with themselves and with nothing else; here it is constant.  (net/ipv4/syncookies.c)
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..environment import EnvironmentAt
from ..maps.jhash import jhash
from ..subset import copy, load_be16, load_be32, load_i64, load_u8, native, store_u32, u32, udiv

COOKIE_BITS = 24
COOKIE_MASK = (1 << COOKIE_BITS) - 1
MAX_AGE_MINUTES = 2
MSS_COUNT = 4
TCP_HLEN = 20
TCP_OPTION_MSS = 2
MSS_DEFAULT_4 = 536
MSS_DEFAULT_6 = 1220
NSEC_PER_MINUTE = 60_000_000_000
SECRET = 0x9E3779B9

IPV4_ENDS = 8
"""Bytes of addresses; where they are in the header."""
IPV4_ENDS_AT = 12
IPV6_ENDS = 32
IPV6_ENDS_AT = 8


@native
def table_size(ends: int, index: int) -> int:
    """msstab: the segment sizes that a cookie can remember, the smallest first."""
    if ends == IPV4_ENDS:
        return 536 if index == 0 else 1300 if index == 1 else 1440 if index == 2 else 1460
    return 1280 - 60 if index == 0 else 1480 - 60 if index == 1 else 1500 - 60 if index == 2 else 9000 - 60


@native
def cookie_hash(machine: int, addresses: int, ends: int, tcp: int, minute: int, which: int) -> int:
    """cookie_hash(): 32 bits of addresses, ports, minute and secret."""
    scratch = machine + EnvironmentAt.SCRATCH
    copy(scratch, addresses, ends)
    copy(scratch + ends, tcp, 4)
    store_u32(scratch + ends + 4, minute)
    return u32(jhash(scratch, ends + 8, SECRET + which))


@native
def minute_now(machine: int) -> int:
    """tcp_cookie_time()."""
    return udiv(load_i64(machine + EnvironmentAt.KTIME_NS), NSEC_PER_MINUTE)


@native
def offered_mss(tcp: int, length: int) -> int:
    """tcp_parse_mss_option(): 0 where there is none."""
    at = TCP_HLEN
    while at < length:
        kind = load_u8(tcp + at)
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        if at + 1 >= length:
            break
        size = load_u8(tcp + at + 1)
        if size < 2 or at + size > length:
            break
        if kind == TCP_OPTION_MSS and size == 4:
            return load_be16(tcp + at + 2)
        at += size
    return 0


@native
def generate(machine: int, addresses: int, ends: int, tcp: int, length: int, default: int) -> int:
    """__cookie_v4_init_sequence(): the cookie, and the segment size from bit 32 on; -EINVAL for no header."""
    if length < TCP_HLEN or length != load_u8(tcp + 12) >> 4 << 2:
        return -errno.EINVAL
    mss = offered_mss(tcp, length)
    if mss == 0:
        mss = default
    index = MSS_COUNT - 1
    while index and table_size(ends, index) > mss:
        index -= 1
    minute = minute_now(machine)
    cookie = cookie_hash(machine, addresses, ends, tcp, 0, 0) + load_be32(tcp + 4)
    cookie += minute << COOKIE_BITS
    cookie += (cookie_hash(machine, addresses, ends, tcp, minute, 1) + index) & COOKIE_MASK
    return u32(cookie) | table_size(ends, index) << 32


@native
def check(machine: int, addresses: int, ends: int, tcp: int) -> int:
    """__cookie_v4_check(): 0, or -EACCES for what no SYN was answered with in the last two minutes."""
    minute = minute_now(machine)
    sequence = load_be32(tcp + 4) - 1
    cookie = load_be32(tcp + 8) - 1 - cookie_hash(machine, addresses, ends, tcp, 0, 0) - sequence
    cookie = u32(cookie)
    age = (minute - (cookie >> COOKIE_BITS)) & 0xFF
    if age >= MAX_AGE_MINUTES:
        return -errno.EACCES
    index = (cookie - cookie_hash(machine, addresses, ends, tcp, minute - age, 1)) & COOKIE_MASK
    return 0 if index < MSS_COUNT else -errno.EACCES


@native
def tcp_raw_gen_syncookie_ipv4(machine: int, ip: int, tcp: int, length: int) -> int:
    """bpf_tcp_raw_gen_syncookie_ipv4: the cookie and (from bit 32 on) the segment size, or -EINVAL."""
    return generate(machine, ip + IPV4_ENDS_AT, IPV4_ENDS, tcp, length, MSS_DEFAULT_4)


@native
def tcp_raw_gen_syncookie_ipv6(machine: int, ip: int, tcp: int, length: int) -> int:
    """bpf_tcp_raw_gen_syncookie_ipv6."""
    return generate(machine, ip + IPV6_ENDS_AT, IPV6_ENDS, tcp, length, MSS_DEFAULT_6)


@native
def tcp_raw_check_syncookie_ipv4(machine: int, ip: int, tcp: int) -> int:
    """bpf_tcp_raw_check_syncookie_ipv4: 0, or -EACCES for a cookie that is none."""
    return check(machine, ip + IPV4_ENDS_AT, IPV4_ENDS, tcp)


@native
def tcp_raw_check_syncookie_ipv6(machine: int, ip: int, tcp: int) -> int:
    """bpf_tcp_raw_check_syncookie_ipv6."""
    return check(machine, ip + IPV6_ENDS_AT, IPV6_ENDS, tcp)


@native
def tcp_gen_syncookie(machine: int, socket: int, ip: int, ip_size: int, tcp: int, tcp_size: int) -> int:
    """bpf_tcp_gen_syncookie: sockets here do not overflow with requests.  -ENOENT."""
    return -errno.ENOENT


@native
def tcp_check_syncookie(machine: int, socket: int, ip: int, ip_size: int, tcp: int, tcp_size: int) -> int:
    """bpf_tcp_check_syncookie: as tcp_gen_syncookie."""
    return -errno.ENOENT


BODIES: dict[str, Callable[..., int]] = {
    "tcp_raw_gen_syncookie_ipv4": tcp_raw_gen_syncookie_ipv4,
    "tcp_raw_gen_syncookie_ipv6": tcp_raw_gen_syncookie_ipv6,
    "tcp_raw_check_syncookie_ipv4": tcp_raw_check_syncookie_ipv4,
    "tcp_raw_check_syncookie_ipv6": tcp_raw_check_syncookie_ipv6,
    "tcp_gen_syncookie": tcp_gen_syncookie,
    "tcp_check_syncookie": tcp_check_syncookie,
}
