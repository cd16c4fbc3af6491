"""What is behind the context?  struct sk_buff and struct net_device, for casts and for reads by address.

A program that asks for the kernel's own structure reads its fields where CO-RE found them: in the types of
the kernel that the object was made to fit.  So the structure is laid out here by the same types (those of
this machine's kernel, unless the environment has others): the fields that a packet here has are filled in,
all others are 0.  It says what was so when it was asked for; the kernel's would go on changing.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable, Mapping

from ...errors import ProgramFault
from ...objfile import Btf, machine_btf
from ...objfile.btf import Composite, Kind
from ..environment import Environment
from ..memory import Region
from ..native_skb import NativeSkb
from ..net import NetDevice

NO_HEADER = 0xFFFF
"""A header that is not set (~0 in 16 bits)."""


def show_context(machine: int, context: int) -> int:
    """The address of a struct sk_buff with what the packet at `context` has.

    ProgramFault where no kernel's types are known.
    """
    return show_skb(Environment.at(machine), NativeSkb.from_address(context))


def read_behind(environment: Environment, offset: int, size: int) -> bytes | None:
    """`size` bytes at an offset in the struct sk_buff of the packet under way; None outside."""
    assert environment.running.skb is not None
    address = show_skb(environment, environment.running.skb)
    memory = environment.running.memory
    assert memory is not None
    if memory.refusal(address + offset, size, 0, write=False) is not None:
        return None
    return ctypes.string_at(address + offset, size)


def show_skb(environment: Environment, skb: NativeSkb) -> int:
    """The address of a struct sk_buff, with its struct net_device."""
    types = environment.kernel_btf or machine_btf()
    if types is None:
        raise ProgramFault("struct sk_buff is read, but a kernel's types are not known here (no BTF)")
    device = environment.net.device(skb.ifindex)
    shown = 0 if device is None else show(environment, types, "net_device", device_fields(device))
    return show(environment, types, "sk_buff", skb_fields(skb, shown))


def skb_fields(skb: NativeSkb, device: int) -> dict[str, int]:
    """The members of struct sk_buff by name."""
    start = skb.data_ptr - skb.head_ptr
    return {
        "len": skb.len,
        "data_len": max(skb.len - (skb.data_end_ptr - skb.data_ptr), 0),
        "mac_len": skb.mac_len,
        "pkt_type": skb.pkt_type,
        "protocol": skb.protocol,
        "mark": skb.mark,
        "priority": skb.priority,
        "hash": skb.hash,
        "queue_mapping": skb.queue_mapping,
        "vlan_proto": skb.vlan_proto if skb.vlan_present else 0,
        "vlan_tci": skb.vlan_tci,
        "tc_index": skb.tc_index,
        "skb_iif": skb.ingress_ifindex,
        "napi_id": skb.napi_id,
        "tstamp": skb.tstamp,
        "ip_summed": skb.ip_summed,
        "mac_header": start + skb.mac_off,
        "network_header": start + skb.net_off,
        "transport_header": start + skb.trans_off if skb.trans_set else NO_HEADER,
        "head": skb.head_ptr,
        "data": skb.data_ptr,
        "tail": skb.data_end_ptr - skb.head_ptr,
        "end": skb.data_end_ptr - skb.head_ptr,
        "dev": device,
    }


def device_fields(device: NetDevice) -> dict[str, int]:
    """The members of struct net_device by name."""
    return {
        "ifindex": device.ifindex,
        "mtu": device.mtu,
        "type": device.hatype,
        "hard_header_len": device.hard_header_len,
        "name": int.from_bytes(device.name.encode()[:15], "little"),
        "flags": int(device.up),
    }


def show(environment: Environment, types: Btf, name: str, fields: Mapping[str, int]) -> int:
    """Native memory with the structure `name`, which the program may read: its address."""
    size, places = layout(types, name)
    image = bytearray(size)
    for member, bit_offset, bits in places:
        if member in fields:
            put(image, bit_offset, bits, fields[member])
    memory = ctypes.create_string_buffer(bytes(image), len(image))
    address = ctypes.addressof(memory)
    running = environment.running
    running.kept.append(memory)
    assert running.memory is not None
    running.memory.add(Region(f"struct {name}", address, len(image), writable=False))
    return address


@functools.cache
def layout(types: Btf, name: str) -> tuple[int, tuple[tuple[str, int, int], ...]]:
    """The size of the struct `name` in bytes, and its `members`."""
    id = types.find(name, Kind.STRUCT)
    if id is None:
        raise ProgramFault(f"there is no struct {name} among the kernel's types")
    return types.size_of(id), tuple(members(types, id))


def members(types: Btf, id: int, base: int = 0) -> Iterable[tuple[str, int, int]]:
    """(name, offset, size), both in bits, of the members of a struct and of the anonymous ones in it."""
    type = types.resolve(id)
    if not isinstance(type, Composite):
        return
    for member in type.members:
        offset = base + member.bit_offset
        if member.name:
            yield member.name, offset, member.bit_size or 8 * types.size_of(member.type)
        else:
            yield from members(types, member.type, offset)


def put(image: bytearray, bit_offset: int, bits: int, value: int) -> None:
    """A number into some bits of memory (of a little-endian machine)."""
    mask = (1 << bits) - 1
    first, shift = divmod(bit_offset, 8)
    last = (bit_offset + bits + 7) // 8
    there = int.from_bytes(image[first:last], "little")
    there = there & ~(mask << shift) | (value & mask) << shift
    image[first:last] = there.to_bytes(last - first, "little")
