"""What does a program see of a socket?  struct bpf_sock and struct bpf_tcp_sock, as bytes.

A socket is a block of native memory: what bodies must know of it (`SockAt`, before the structure), then
struct bpf_sock, to which a program's pointer leads, then struct bpf_tcp_sock.
"""

from __future__ import annotations

import ctypes
import enum
import ipaddress
import struct

from ..net import TCP_CLOSE, Address, Socket
from ..subset import store_i64

AF_UNSPEC = 0
AF_INET = 2
AF_INET6 = 10
SOCK_STREAM = 1
SOCK_DGRAM = 2
IPPROTO_TCP = 6
IPPROTO_UDP = 17
TCP_ESTABLISHED = 1
TCP_TIME_WAIT = 6
TCP_LISTEN = 10
TCP_NEW_SYN_RECV = 12

_SOCK = struct.Struct("=IIIIII4s16sI2s2x4s16sIi")
"""struct bpf_sock."""
SOCK_BYTES = 80
assert _SOCK.size == SOCK_BYTES
_TCP_FIELDS = (
    *("snd_cwnd", "srtt_us", "rtt_min", "snd_ssthresh", "rcv_nxt", "snd_nxt", "snd_una", "mss_cache"),
    *("ecn_flags", "rate_delivered", "rate_interval_us", "packets_out", "retrans_out", "total_retrans"),
    *("segs_in", "data_segs_in", "segs_out", "data_segs_out", "lost_out", "sacked_out"),
)
_TCP_WIDE = ("bytes_received", "bytes_acked")
_TCP_LAST = ("dsack_dups", "delivered", "delivered_ce", "icsk_retransmits")
_TCP = struct.Struct("=20I2Q4I")
"""struct bpf_tcp_sock."""
TCP_BYTES = _TCP.size

_KINDS = {"tcp": (SOCK_STREAM, IPPROTO_TCP), "udp": (SOCK_DGRAM, IPPROTO_UDP)}


class SockAt(enum.IntEnum):
    """Byte offsets in a socket's block, from struct bpf_sock on; all i64."""

    FULL = -32
    """1: more than a remainder or a request (sk_fullsock)."""
    TCP = -24
    """The address of its struct bpf_tcp_sock; 0 where it has none."""
    LISTENS = -16
    """1: it does (get_listener_sock)."""
    NAME = -8
    """Which socket it is, of whatever address it was shown at."""
    HEAD = 32


SOCKET_BYTES = SockAt.HEAD + SOCK_BYTES + TCP_BYTES
"""Of a socket's block."""


def state_of(socket: Socket) -> int:
    """Its TCP_* state."""
    if socket.state:
        return socket.state
    if socket.protocol == "udp":
        return TCP_ESTABLISHED if socket.remote else TCP_CLOSE
    return TCP_ESTABLISHED if socket.remote else TCP_LISTEN


def image(socket: Socket) -> bytes:
    """struct bpf_sock of a socket."""
    kind, protocol = _KINDS.get(socket.protocol, (0, 0))
    version = socket.local[0].version
    remote = socket.remote or (ipaddress.ip_address("0.0.0.0" if version == 4 else "::"), 0)

    def both(address: Address) -> tuple[bytes, bytes]:
        raw = address.packed
        return (raw, bytes(16)) if len(raw) == 4 else (bytes(4), raw)

    family = AF_INET if version == 4 else AF_INET6
    return _SOCK.pack(
        socket.bound_ifindex,
        AF_UNSPEC if not socket.protocol and socket.local[0].is_unspecified else family,
        kind,
        protocol,
        socket.mark,
        socket.priority,
        *both(socket.local[0]),
        socket.local[1],
        remote[1].to_bytes(2, "big"),
        *both(remote[0]),
        state_of(socket),
        socket.rx_queue_mapping,
    )


def tcp_image(socket: Socket) -> bytes:
    """struct bpf_tcp_sock of a socket."""
    fields = dict(socket.fields)
    return _TCP.pack(*(fields.get(name, 0) for name in (*_TCP_FIELDS, *_TCP_WIDE, *_TCP_LAST)))


def write_socket(block: int, socket: Socket) -> int:
    """A socket into SOCKET_BYTES of memory: the address of its struct bpf_sock."""
    address = block + SockAt.HEAD
    is_full = state_of(socket) not in (TCP_TIME_WAIT, TCP_NEW_SYN_RECV)
    store_i64(address + SockAt.FULL, is_full)
    store_i64(address + SockAt.TCP, address + SOCK_BYTES if is_full and socket.protocol == "tcp" else 0)
    store_i64(address + SockAt.LISTENS, state_of(socket) == TCP_LISTEN)
    store_i64(address + SockAt.NAME, id(socket))
    ctypes.memmove(address, image(socket) + tcp_image(socket), SOCK_BYTES + TCP_BYTES)
    return address
