"""What is behind the context?  struct sk_buff and struct net_device, for casts and for reads by address.

A program that asks for the kernel's own structure reads its fields where CO-RE found them: in the types of
the kernel that the object was made to fit.  So the structures are laid out by the same types (those of this
machine's kernel, unless the environment has others): the fields that a packet here has are there, all others
are 0.

struct sk_buff is not kept but computed: a load of a field is answered from the NativeSkb (`behind`), so
that it has what is so now.  `KernelAt` is the block that says how: for each byte of the structure the field
that begins there (`DIRECT`), and all fields (`FIELDS`), which are written into an image where a load is not
of one whole field.  Python makes the block from the types once, and shows the packet's device there.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from ...errors import ProgramFault
from ..environment import Environment, EnvironmentAt
from ..maps.storage import Storage
from ..memory import Region
from ..native_skb import At
from ..net import Net, NetDevice
from ..subset import (
    external,
    fill,
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    native,
    store_i64,
)

if TYPE_CHECKING:
    from ...objfile.btf import Btf

NO_HEADER = 0xFFFF
"""A header that is not set (~0 in 16 bits)."""
NO_DEVICE = -1
SLACK = 8
"""Bytes behind a structure that may be written with its last field."""


class KernelAt(enum.IntEnum):
    """Byte offsets in the block, all i64; the images of the structures follow in it."""

    END = 0
    """The address where the block ends."""
    SKB = 8
    """The address of the image of struct sk_buff: what a cast gives."""
    SKB_SIZE = 16
    DEVICE = 24
    """The address of the image of struct net_device."""
    DEVICE_SIZE = 32
    SHOWN = 40
    """The ifindex of the device that is in the image, or NO_DEVICE."""
    SHOWN_AT = 48
    """The address of that image; 0 where there is no such device."""
    COUNT = 56
    """How many fields there are."""
    FIELDS = 64
    """The address of them, `FieldAt`."""
    DIRECT = 72
    """The address of an i64 for each byte of the structure: the source of the whole field that begins there,
    from bit 24 on its size in bytes; 0 for none."""
    BYTES = 80


class FieldAt(enum.IntEnum):
    """Byte offsets in a field, all i64: where it is in the structure (in bits), and where it comes from."""

    FIRST = 0
    BITS = 8
    SOURCE = 16
    BYTES = 24


class Source(enum.IntEnum):
    """How a field is found; the offset in the NativeSkb goes with it, from bit 8 on."""

    U32 = 1
    U64 = 2
    HEADER = 3
    """Its distance from `data`: told from `head`."""
    TRANSPORT = 4
    DATA_LEN = 5
    """What is not in the linear part."""
    TAIL = 6
    DEVICE = 7
    VLAN_PROTO = 8


def _source(kind: Source, at: int = 0) -> int:
    return kind | at << 8


SKB_FIELDS = {
    "len": _source(Source.U32, At.LEN),
    "data_len": _source(Source.DATA_LEN),
    "mac_len": _source(Source.U32, At.MAC_LEN),
    "pkt_type": _source(Source.U32, At.PKT_TYPE),
    "protocol": _source(Source.U32, At.PROTOCOL),
    "mark": _source(Source.U32, At.MARK),
    "priority": _source(Source.U32, At.PRIORITY),
    "hash": _source(Source.U32, At.HASH),
    "queue_mapping": _source(Source.U32, At.QUEUE_MAPPING),
    "vlan_proto": _source(Source.VLAN_PROTO),
    "vlan_tci": _source(Source.U32, At.VLAN_TCI),
    "tc_index": _source(Source.U32, At.TC_INDEX),
    "skb_iif": _source(Source.U32, At.INGRESS_IFINDEX),
    "napi_id": _source(Source.U32, At.NAPI_ID),
    "tstamp": _source(Source.U64, At.TSTAMP),
    "ip_summed": _source(Source.U32, At.IP_SUMMED),
    "mac_header": _source(Source.HEADER, At.MAC_OFF),
    "network_header": _source(Source.HEADER, At.NET_OFF),
    "transport_header": _source(Source.TRANSPORT),
    "head": _source(Source.U64, At.HEAD_PTR),
    "data": _source(Source.U64, At.DATA_PTR),
    "tail": _source(Source.TAIL),
    "end": _source(Source.TAIL),
    "dev": _source(Source.DEVICE),
}
"""The members of struct sk_buff that a packet here has."""


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


# Reading ------------------------------------------------------------------------------------------


@native
def kernel_of(machine: int) -> int:
    """The address of the block, or 0 (and Python says what is missing)."""
    kernel = load_i64(machine + EnvironmentAt.KERNEL)
    return kernel if kernel else ask_kernel(machine)


@native
def device_of(machine: int, skb: int) -> int:
    """skb->dev: the address of its struct net_device, or 0."""
    kernel = load_i64(machine + EnvironmentAt.KERNEL)
    if load_i64(kernel + KernelAt.SHOWN) != load_u32(skb + At.IFINDEX):
        ask_device(machine, load_u32(skb + At.IFINDEX))
    return load_i64(kernel + KernelAt.SHOWN_AT)


@native(inline=True)
def value_of(machine: int, skb: int, source: int) -> int:
    """What a field has now."""
    kind = source & 0xFF
    at = skb + (source >> 8 & 0xFFFF)
    if kind == Source.U32:
        return load_u32(at)
    if kind == Source.U64:
        return load_i64(at)
    start = load_i64(skb + At.DATA_PTR) - load_i64(skb + At.HEAD_PTR)
    if kind == Source.HEADER:
        return start + load_i32(at)
    if kind == Source.TRANSPORT:
        return start + load_i32(skb + At.TRANS_OFF) if load_u32(skb + At.TRANS_SET) else NO_HEADER
    if kind == Source.DATA_LEN:
        beyond = load_u32(skb + At.LEN) - (load_i64(skb + At.DATA_END_PTR) - load_i64(skb + At.DATA_PTR))
        return beyond if beyond > 0 else 0
    if kind == Source.TAIL:
        return load_i64(skb + At.DATA_END_PTR) - load_i64(skb + At.HEAD_PTR)
    if kind == Source.DEVICE:
        return device_of(machine, skb)
    return load_u32(skb + At.VLAN_PROTO) if load_u32(skb + At.VLAN_PRESENT) else 0


@native
def refresh(machine: int, kernel: int, offset: int, size: int) -> int:
    """Write what the fields in some bytes have now into the image: the address of those bytes."""
    skb = load_i64(machine + EnvironmentAt.SKB)
    image = load_i64(kernel + KernelAt.SKB)
    field = load_i64(kernel + KernelAt.FIELDS)
    for _ in range(load_i64(kernel + KernelAt.COUNT)):
        first = load_i64(field + FieldAt.FIRST)
        bits = load_i64(field + FieldAt.BITS)
        if first < (offset + size) * 8 and first + bits > offset * 8:
            at = image + (first >> 3)
            value = value_of(machine, skb, load_i64(field + FieldAt.SOURCE))
            mask = -1 if bits == 64 else (1 << bits) - 1
            shift = first & 7
            store_i64(at, load_i64(at) & ~(mask << shift) | (value & mask) << shift)
        field += FieldAt.BYTES
    return image + offset


@native(inline=True)
def load_sized(address: int, size: int) -> int:
    """A number of 1, 2, 4 or 8 bytes."""
    if size == 8:
        return load_i64(address)
    if size == 4:
        return load_u32(address)
    return load_u16(address) if size == 2 else load_u8(address)


@native
def behind(machine: int, kernel: int, offset: int, size: int) -> int:
    """A number in struct sk_buff, which has so many bytes there."""
    source = load_i64(load_i64(kernel + KernelAt.DIRECT) + offset * 8)
    if source >> 24 == size:
        value = value_of(machine, load_i64(machine + EnvironmentAt.SKB), source)
        return value if size == 8 else value & (1 << size * 8) - 1
    return load_sized(refresh(machine, kernel, offset, size), size)


@native
def block_readable(machine: int, kernel: int, address: int) -> int:
    """How many bytes of a structure may be read from an address in the block on."""
    offset = address - load_i64(kernel + KernelAt.SKB)
    size = load_i64(kernel + KernelAt.SKB_SIZE)
    if offset >= 0 and offset < size:
        refresh(machine, kernel, 0, size)
        return size - offset
    offset = address - load_i64(kernel + KernelAt.DEVICE)
    size = load_i64(kernel + KernelAt.DEVICE_SIZE)
    return size - offset if offset >= 0 and offset < size else 0


@native
def cast_to_kern_ctx(machine: int, context: int) -> int:
    """bpf_cast_to_kern_ctx: the address of a struct sk_buff, to read."""
    kernel = kernel_of(machine)
    return load_i64(kernel + KernelAt.SKB) if kernel else 0


# Making -------------------------------------------------------------------------------------------


class Block:
    """The block for a kernel's types."""

    def __init__(self, types: Btf) -> None:
        self.types = types
        size, places = layout(types, "sk_buff")
        self.device_size, self.device_places = layout(types, "net_device")
        fields = [(first, bits, SKB_FIELDS[name]) for name, first, bits in places if name in SKB_FIELDS]
        self.storage = Storage(KernelAt.BYTES + size + SLACK + self.device_size + SLACK)
        self.address = self.storage.address
        self.skb = self.address + KernelAt.BYTES
        self.device = self.skb + size + SLACK
        self.skb_size = size
        storage = self.storage
        storage[KernelAt.END] = self.device + self.device_size + SLACK
        storage[KernelAt.SKB], storage[KernelAt.SKB_SIZE] = self.skb, size
        storage[KernelAt.DEVICE], storage[KernelAt.DEVICE_SIZE] = self.device, self.device_size
        self.shown: NetDevice | None = None
        storage[KernelAt.COUNT] = len(fields)
        storage[KernelAt.FIELDS] = storage.reserve(len(fields) * FieldAt.BYTES)
        storage[KernelAt.DIRECT] = storage.reserve(size * 8)
        for number, (first, bits, source) in enumerate(fields):
            field = storage[KernelAt.FIELDS] + number * FieldAt.BYTES
            store_i64(field + FieldAt.FIRST, first)
            store_i64(field + FieldAt.BITS, bits)
            store_i64(field + FieldAt.SOURCE, source)
            if first % 8 == 0 and bits in (8, 16, 32, 64):
                store_i64(storage[KernelAt.DIRECT] + first, source | bits // 8 << 24)

    def show(self, device: NetDevice | None, ifindex: int) -> None:
        """Let the device be in its image."""
        fill(self.device, 0, self.device_size)
        fields = device_fields(device) if device is not None else {}
        for name, first, bits in self.device_places:
            if name in fields:
                put(self.device, first, bits, fields[name])
        self.shown = device
        self.storage[KernelAt.SHOWN] = ifindex
        self.storage[KernelAt.SHOWN_AT] = self.device if device is not None else 0

    def forget(self, net: Net) -> None:
        """Forget the device, if the network says something else of it now."""
        if self.shown is None or net.device(self.storage[KernelAt.SHOWN]) != self.shown:
            self.storage[KernelAt.SHOWN] = NO_DEVICE


@external
def ask_kernel(machine: int) -> int:
    """The block, made if it is not there.  ProgramFault where no kernel's types are known."""
    from ...objfile import machine_btf  # reads the kernel's types: only who asks needs that

    environment = Environment.at(machine)
    types = environment.kernel_btf or machine_btf()
    if types is None:
        raise ProgramFault("struct sk_buff is read, but a kernel's types are not known here (no BTF)")
    block = environment.kept.get("kernel")
    if not isinstance(block, Block) or block.types is not types:
        block = environment.kept["kernel"] = Block(types)
    block.forget(environment.net)
    environment.native.kernel = block.address
    if environment.running.memory is not None:
        for name, base, size in (
            ("sk_buff", block.skb, block.skb_size),
            ("net_device", block.device, block.device_size),
        ):
            environment.running.memory.add(Region(f"struct {name}", base, size, writable=False))
    return block.address


@external
def ask_device(machine: int, ifindex: int) -> int:
    """Show a device."""
    environment = Environment.at(machine)
    block = environment.kept["kernel"]
    assert isinstance(block, Block)
    block.show(environment.net.device(ifindex), ifindex)
    return 0


@cache
def layout(types: Btf, name: str) -> tuple[int, tuple[tuple[str, int, int], ...]]:
    """The size of the struct `name` in bytes, and its `members`."""
    from ...objfile.btf import Kind

    id = types.find(name, Kind.STRUCT)
    if id is None:
        raise ProgramFault(f"there is no struct {name} among the kernel's types")
    return types.size_of(id), tuple(members(types, id))


def members(types: Btf, id: int, base: int = 0) -> Iterable[tuple[str, int, int]]:
    """(name, offset, size), both in bits, of the members of a struct and of the anonymous ones in it."""
    from ...objfile.btf import Composite

    type = types.resolve(id)
    if not isinstance(type, Composite):
        return
    for member in type.members:
        offset = base + member.bit_offset
        if member.name:
            yield member.name, offset, member.bit_size or 8 * types.size_of(member.type)
        else:
            yield from members(types, member.type, offset)


def put(address: int, first: int, bits: int, value: int) -> None:
    """A number into some bits of memory (of a little-endian machine)."""
    start, shift = divmod(first, 8)
    size = (shift + bits + 7) // 8
    there = int.from_bytes(ctypes.string_at(address + start, size), "little")
    mask = (1 << bits) - 1
    there = there & ~(mask << shift) | (value & mask) << shift
    ctypes.memmove(address + start, there.to_bytes(size, "little"), size)
