"""How does a program answer a SYN without a socket?  bpf_tcp_raw_gen_syncookie_* and their checks.

A cookie is a hash of the connection with a secret, plus what must be remembered: the minute, and which of
four segment sizes the client offered.  The secret is new with each boot of a kernel, so that cookies agree
with themselves and with nothing else; here it is constant.  (net/ipv4/syncookies.c)
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
from collections.abc import Callable

from ..environment import Environment
from ..subset import external, load_u8

COOKIE_BITS = 24
COOKIE_MASK = (1 << COOKIE_BITS) - 1
MAX_AGE_MINUTES = 2
MSS_TABLE_4 = (536, 1300, 1440, 1460)
MSS_TABLE_6 = (1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60)
TCP_HLEN = 20
TCP_OPTION_MSS = 2
MSS_DEFAULT_4 = 536
MSS_DEFAULT_6 = 1220
NSEC_PER_MINUTE = 60_000_000_000


def _hash(ends: bytes, minute: int, which: int) -> int:
    when = (minute & 0xFFFFFFFF).to_bytes(4, "little")
    digest = hashlib.blake2b(ends + when, digest_size=4, person=b"cookie%d" % which)
    return int.from_bytes(digest.digest(), "little")


def _minute(machine: int) -> int:
    return int(Environment.at(machine).native.ktime_ns) // NSEC_PER_MINUTE


def _ends(addresses: bytes, tcp: bytes) -> bytes:
    """Addresses and ports."""
    return addresses + tcp[:4]


def _mss(tcp: bytes) -> int:
    """tcp_parse_mss_option(): 0 where there is none."""
    at = TCP_HLEN
    while at < len(tcp):
        kind = tcp[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        if at + 1 >= len(tcp) or tcp[at + 1] < 2 or at + tcp[at + 1] > len(tcp):
            break
        if kind == TCP_OPTION_MSS and tcp[at + 1] == 4:
            return int.from_bytes(tcp[at + 2 : at + 4], "big")
        at += tcp[at + 1]
    return 0


def _generate(machine: int, addresses: bytes, tcp: bytes, table: tuple[int, ...], default: int) -> int:
    """The cookie, and the segment size from bit 32 on."""
    mss = _mss(tcp) or default
    index = max((at for at, size in enumerate(table) if size <= mss), default=0)
    ends, minute = _ends(addresses, tcp), _minute(machine)
    sequence = int.from_bytes(tcp[4:8], "big")
    cookie = _hash(ends, 0, 0) + sequence + (minute << COOKIE_BITS)
    cookie += (_hash(ends, minute, 1) + index) & COOKIE_MASK
    return cookie & 0xFFFFFFFF | table[index] << 32


def _check(machine: int, addresses: bytes, tcp: bytes, table: tuple[int, ...]) -> int:
    """0, or -EACCES for what no SYN was answered with in the last two minutes."""
    ends, minute = _ends(addresses, tcp), _minute(machine)
    sequence = int.from_bytes(tcp[4:8], "big") - 1
    cookie = (int.from_bytes(tcp[8:12], "big") - 1) - _hash(ends, 0, 0) - sequence & 0xFFFFFFFF
    age = (minute - (cookie >> COOKIE_BITS)) & 0xFF
    if age >= MAX_AGE_MINUTES:
        return -errno.EACCES
    index = (cookie - _hash(ends, minute - age, 1)) & COOKIE_MASK
    return 0 if index < len(table) else -errno.EACCES


@external
def tcp_raw_gen_syncookie_ipv4(machine: int, ip: int, tcp: int, length: int) -> int:
    """bpf_tcp_raw_gen_syncookie_ipv4: the cookie and (from bit 32 on) the segment size, or -EINVAL."""
    if length < TCP_HLEN or length != load_u8(tcp + 12) >> 4 << 2:
        return -errno.EINVAL
    addresses = ctypes.string_at(ip + 12, 8)
    return _generate(machine, addresses, ctypes.string_at(tcp, length), MSS_TABLE_4, MSS_DEFAULT_4)


@external
def tcp_raw_gen_syncookie_ipv6(machine: int, ip: int, tcp: int, length: int) -> int:
    """bpf_tcp_raw_gen_syncookie_ipv6."""
    if length < TCP_HLEN or length != load_u8(tcp + 12) >> 4 << 2:
        return -errno.EINVAL
    addresses = ctypes.string_at(ip + 8, 32)
    return _generate(machine, addresses, ctypes.string_at(tcp, length), MSS_TABLE_6, MSS_DEFAULT_6)


@external
def tcp_raw_check_syncookie_ipv4(machine: int, ip: int, tcp: int) -> int:
    """bpf_tcp_raw_check_syncookie_ipv4: 0, or -EACCES for a cookie that is none."""
    return _check(machine, ctypes.string_at(ip + 12, 8), ctypes.string_at(tcp, TCP_HLEN), MSS_TABLE_4)


@external
def tcp_raw_check_syncookie_ipv6(machine: int, ip: int, tcp: int) -> int:
    """bpf_tcp_raw_check_syncookie_ipv6."""
    return _check(machine, ctypes.string_at(ip + 8, 32), ctypes.string_at(tcp, TCP_HLEN), MSS_TABLE_6)


@external
def tcp_gen_syncookie(machine: int, socket: int, ip: int, ip_size: int, tcp: int, tcp_size: int) -> int:
    """bpf_tcp_gen_syncookie: sockets here do not overflow with requests.  -ENOENT."""
    return -errno.ENOENT


@external
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
