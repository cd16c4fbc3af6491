"""What is a packet's flow hash?  bpf_get_hash_recalc, bpf_set_hash, bpf_set_hash_invalid.

The kernel hashes what identifies the flow (addresses, ports, protocol), ends in a fixed order so that
both directions have one hash, with a secret that is new with each boot.  So no two kernels agree on the
number, and programs can only rely on what is true here too: it stays the same for a flow, and is not 0.
"""

from __future__ import annotations

from collections.abc import Callable

from ..dissect import (
    ETH_P_8021AD,
    ETH_P_8021Q,
    ETH_P_IP,
    ETH_P_IPV6,
    IP_MF,
    IP_OFFSET,
    IPPROTO_DCCP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
)
from ..native_skb import HASH_L4, HASH_SW, At
from ..packet import header
from ..subset import load_be16, load_be32, load_i32, load_u8, load_u32, native, store_u32, swap16, u32, wrap
from .room import clear_hash

GOLDEN = 0x9E3779B97F4A7C15


@native
def mix(state: int, word: int) -> int:
    """A word more of what is hashed."""
    z = wrap((state ^ u32(word)) * GOLDEN)
    return z ^ z >> 29 & 0x7FFFFFFFF


@native
def mix_ends(state: int, first: int, second: int) -> int:
    """Two ends of a flow, the same whichever comes first."""
    low = first if first < second else second
    return mix(mix(state, low), first ^ second)


@native
def mix_ports(skb: int, state: int, at: int, protocol: int) -> int:
    """The ports, of a protocol that has them."""
    if protocol not in (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_DCCP):
        return state
    ports = header(skb, at, 4)
    if ports == 0:
        return state
    store_u32(skb + At.HASH_KIND, HASH_L4)
    return mix_ends(state, load_be16(ports), load_be16(ports + 2))


@native
def flow_hash(skb: int) -> int:
    """__skb_get_hash(): not 0."""
    type = swap16(load_u32(skb + At.PROTOCOL))
    at = load_i32(skb + At.NET_OFF)
    store_u32(skb + At.HASH_KIND, HASH_SW)
    while type in (ETH_P_8021Q, ETH_P_8021AD) and header(skb, at, 4):
        type = load_be16(header(skb, at, 4) + 2)
        at += 4
    state = mix(GOLDEN, type)
    if type == ETH_P_IP:
        ip = header(skb, at, 20)
        if ip:
            state = mix(mix_ends(state, load_be32(ip + 12), load_be32(ip + 16)), load_u8(ip + 9))
            if load_be16(ip + 6) & (IP_OFFSET | IP_MF) == 0:
                state = mix_ports(skb, state, at + (load_u8(ip) & 15) * 4, load_u8(ip + 9))
    elif type == ETH_P_IPV6:
        ip = header(skb, at, 40)
        if ip:
            for word in range(2, 6):
                state = mix_ends(state, load_be32(ip + word * 4), load_be32(ip + word * 4 + 16))
            state = mix_ports(skb, mix(state, load_u8(ip + 6)), at + 40, load_u8(ip + 6))
    result = u32(state >> 32)
    return result if result else 1


@native
def get_hash_recalc(machine: int, skb: int) -> int:
    """bpf_get_hash_recalc: the hash, computed if there is none."""
    if load_u32(skb + At.HASH_KIND) == 0:
        store_u32(skb + At.HASH, flow_hash(skb))
    return load_u32(skb + At.HASH)


@native
def set_hash(machine: int, skb: int, hash: int) -> int:
    """bpf_set_hash: the program's own.  0."""
    store_u32(skb + At.HASH, u32(hash))
    store_u32(skb + At.HASH_KIND, HASH_L4)
    return 0


@native
def set_hash_invalid(machine: int, skb: int) -> int:
    """bpf_set_hash_invalid: to be computed again when it is asked for.  0."""
    clear_hash(skb)
    return 0


BODIES: dict[str, Callable[..., int]] = {
    "get_hash_recalc": get_hash_recalc,
    "set_hash": set_hash,
    "set_hash_invalid": set_hash_invalid,
}
