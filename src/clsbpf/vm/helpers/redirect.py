"""Where does a program send its packet?  bpf_redirect and its like write it down; clone_redirect does it.

bpf_redirect leaves the target in struct bpf_redirect_info and returns TC_ACT_REDIRECT; whoever ran the
program reads it when the verdict is that (skb_do_redirect; `Environment.take_redirect`).
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

from ...skb import Skb
from ..environment import Environment, EnvironmentAt, Missing
from ..native_skb import At, NativeSkb, take_back
from ..subset import copy, external, load_i64, load_u32, native, store_i64, u32
from .network import Clones, NetAt, device_at, miss

TC_ACT_SHOT = 2
TC_ACT_REDIRECT = 7

BPF_F_INGRESS = 1 << 0
REDIRECT_NEIGH = 1 << 16
"""BPF_F_NEIGH: out of the device, with the link-layer header of the route or next hop."""
REDIRECT_PEER = 1 << 17
"""BPF_F_PEER: into the device's peer."""
REDIRECT_NEXT_HOP = 1 << 18
"""BPF_F_NEXTHOP: NEIGH with a next hop given."""
REDIR_NEIGH_BYTES = 20
"""struct bpf_redir_neigh."""


@native
def redirect(machine: int, ifindex: int, flags: int) -> int:
    """bpf_redirect: TC_ACT_REDIRECT, or TC_ACT_SHOT for a flag that there is not."""
    if flags & ~BPF_F_INGRESS:
        return TC_ACT_SHOT
    store_i64(machine + EnvironmentAt.REDIRECT_FLAGS, flags)
    store_i64(machine + EnvironmentAt.REDIRECT_IFINDEX, u32(ifindex))
    return TC_ACT_REDIRECT


@native
def redirect_peer(machine: int, ifindex: int, flags: int) -> int:
    """bpf_redirect_peer."""
    if flags:
        return TC_ACT_SHOT
    store_i64(machine + EnvironmentAt.REDIRECT_FLAGS, REDIRECT_PEER)
    store_i64(machine + EnvironmentAt.REDIRECT_IFINDEX, u32(ifindex))
    return TC_ACT_REDIRECT


@native
def redirect_neigh(machine: int, ifindex: int, params: int, length: int, flags: int) -> int:
    """bpf_redirect_neigh: with a next hop of `length` bytes (struct bpf_redir_neigh), or 0 without."""
    if (length != 0 and (length < REDIR_NEIGH_BYTES or not params)) or flags:
        return TC_ACT_SHOT
    store_i64(machine + EnvironmentAt.REDIRECT_FLAGS, REDIRECT_NEIGH | (REDIRECT_NEXT_HOP if length else 0))
    store_i64(machine + EnvironmentAt.REDIRECT_IFINDEX, u32(ifindex))
    if length:
        copy(machine + EnvironmentAt.REDIRECT_NEXT_HOP, params, REDIR_NEIGH_BYTES)
    return TC_ACT_REDIRECT


@external
def deliver_clone(machine: int, skb: int, ifindex: int, flags: int) -> int:
    """A copy of the packet goes to a device: 0 or -errno of who takes it."""
    environment = Environment.at(machine)
    assert environment.net.deliver is not None
    try:
        return environment.net.deliver(clone(skb), ifindex, flags)
    finally:
        environment.native.net = 0  # whoever took the packet may have changed the network


def clone(skb: int) -> Skb:
    """skb_clone(): the packet as it is now, with its own bytes."""
    native = NativeSkb.from_address(skb)
    held = Environment.at(native.environment).running.skb
    assert held is not None
    assert ctypes.addressof(held) == skb
    copied = Skb(bytearray(), 0, 0, 0, 0, 0, 0)
    take_back(held, copied, release=False)
    copied.buffer = bytearray(copied.buffer)
    copied.ifindex, copied.ingress_ifindex = native.ifindex, native.ingress_ifindex
    copied.hatype, copied.wire_len, copied.napi_id = native.hatype, native.wire_len, native.napi_id
    copied.at_ingress = bool(native.at_ingress)
    return copied


@native
def clone_redirect(machine: int, skb: int, ifindex: int, flags: int) -> int:
    """bpf_clone_redirect: a copy of the packet to a device, now.  0 or -errno."""
    if flags & ~BPF_F_INGRESS:
        return -errno.EINVAL
    if load_u32(skb + At.GSO_SIZE) and load_u32(skb + At.GSO_TYPE) == 0:
        return -errno.EBADMSG
    target = u32(ifindex)
    if device_at(machine, target) == 0:
        miss(machine, Missing.CLONE, target)
        return -errno.EINVAL
    clones = load_i64(load_i64(machine + EnvironmentAt.NET) + NetAt.DELIVERS)
    if clones == Clones.TAKEN:
        return deliver_clone(machine, skb, target, flags)
    if clones == Clones.MISSED:
        miss(machine, Missing.DELIVERY, target)
    return 0


BODIES: dict[str, Callable[..., int]] = {
    "redirect": redirect,
    "redirect_peer": redirect_peer,
    "redirect_neigh": redirect_neigh,
    "clone_redirect": clone_redirect,
}
