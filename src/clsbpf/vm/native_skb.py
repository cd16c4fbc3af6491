"""Which bytes does a program's context pointer point to?

To a program the packet is struct __sk_buff; to native code it is that image followed by what the
kernel keeps in struct sk_buff and programs never see: where the packet's bytes are (64-bit addresses,
where __sk_buff has 32-bit stand-ins), where its headers begin, and what the program did.

    0         struct __sk_buff, fields as bpf/context.py has them        192
    192       data, data_end, data_meta (addresses), header offsets, …   256
    256       what only helpers of eBPF programs look at                 320

A read of __sk_buff's `data`, `data_end` or `data_meta` yields the address from the second part; the
interpreter and the lowering both do this (the kernel's bpf_convert_ctx_access).  `protocol` and
`vlan_proto` are in network order, as in the kernel.

`At` names the offsets for code that works on addresses: helper bodies, the capture walk.
"""

from __future__ import annotations

import ctypes
import enum
import socket
from typing import Any

from ..skb import Skb

_u32 = ctypes.c_uint32
_i32 = ctypes.c_int32
_u64 = ctypes.c_uint64


class NativeSkb(ctypes.Structure):
    """struct __sk_buff and, from byte 192 on, our part of struct sk_buff.  320 bytes.

    One that `fill` has filled keeps the skb's buffer in place (it cannot be resized) for as long as it
    lives or until it is filled again.
    """

    _fields_ = (
        ("len", _u32),
        ("pkt_type", _u32),
        ("mark", _u32),
        ("queue_mapping", _u32),
        ("protocol", _u32),
        ("vlan_present", _u32),
        ("vlan_tci", _u32),
        ("vlan_proto", _u32),
        ("priority", _u32),
        ("ingress_ifindex", _u32),
        ("ifindex", _u32),
        ("tc_index", _u32),
        ("cb", _u32 * 5),
        ("hash", _u32),
        ("tc_classid", _u32),
        ("data", _u32),
        ("data_end", _u32),
        ("napi_id", _u32),
        ("family", _u32),
        ("remote_ip4", _u32),
        ("local_ip4", _u32),
        ("remote_ip6", _u32 * 4),
        ("local_ip6", _u32 * 4),
        ("remote_port", _u32),
        ("local_port", _u32),
        ("data_meta", _u32),
        ("flow_keys", _u64),
        ("tstamp", _u64),
        ("wire_len", _u32),
        ("gso_segs", _u32),
        ("sk", _u64),
        ("gso_size", _u32),
        ("tstamp_type", _u32),
        ("hwtstamp", _u64),
        ("data_ptr", _u64),
        ("data_end_ptr", _u64),
        ("data_meta_ptr", _u64),
        ("net_off", _i32),
        ("mac_off", _i32),
        ("hatype", _u32),
        ("read_past", _u32),
        ("head_ptr", _u64),
        ("hop", _u64),
        ("environment", _u64),
        ("end_ptr", _u64),
        ("mac_len", _u32),
        ("at_ingress", _u32),
        ("trans_off", _i32),
        ("trans_set", _u32),
        ("ip_summed", _u32),
        ("csum", _u32),
        ("csum_level", _u32),
        ("hash_kind", _u32),
        ("gso_type", _u32),
        ("encapsulation", _u32),
        ("tunnel", _u64),
        ("spare", _u64),
    )
    buffer: bytearray
    pinned: Any
    tunnel_image: Any
    short: int
    """How far before data the captured bytes end."""


SK_BUFF_BYTES = 192
"""sizeof(struct __sk_buff): what a program may address of its context."""
NATIVE_SKB_BYTES = 256
"""As much of it as classic programs and their helpers need."""


class At(enum.IntEnum):
    """Byte offsets in the native skb."""

    LEN = 0
    """u32: bytes from `data` on, on the wire."""
    PKT_TYPE = 4
    MARK = 8
    QUEUE_MAPPING = 12
    PROTOCOL = 16
    VLAN_PRESENT = 20
    VLAN_TCI = 24
    VLAN_PROTO = 28
    PRIORITY = 32
    INGRESS_IFINDEX = 36
    IFINDEX = 40
    TC_INDEX = 44
    CB = 48
    HASH = 68
    TC_CLASSID = 72
    DATA = 76
    DATA_END = 80
    NAPI_ID = 84
    DATA_META = 140
    TSTAMP = 152
    WIRE_LEN = 160
    GSO_SEGS = 164
    SK = 168
    GSO_SIZE = 176
    TSTAMP_TYPE = 180
    HWTSTAMP = 184
    DATA_PTR = 192
    """u64: the address of skb->data, as the program sees it."""
    DATA_END_PTR = 200
    """u64: the address of the captured end."""
    DATA_META_PTR = 208
    NET_OFF = 216
    """i32: network header - data."""
    MAC_OFF = 220
    """i32: link-layer header - data."""
    HATYPE = 224
    READ_PAST = 228
    """u32: set to 1 by whoever reads between the captured end and the end on the wire."""
    HEAD_PTR = 232
    """u64: the address where the headroom starts."""
    HOP = 240
    ENVIRONMENT = 248
    """u64: the address of the NativeEnvironment (vm/environment.py)."""
    END_PTR = 256
    """u64: the address where the tailroom ends (skb_end_pointer)."""
    MAC_LEN = 264
    AT_INGRESS = 268
    TRANS_OFF = 272
    """i32: transport header - data, if TRANS_SET."""
    TRANS_SET = 276
    IP_SUMMED = 280
    """CHECKSUM_*."""
    CSUM = 284
    CSUM_LEVEL = 288
    HASH_KIND = 292
    """Is `hash` valid: 0 no, 1 computed in software, 2 also over ports (HASH_*)."""
    GSO_TYPE = 296
    ENCAPSULATION = 300
    TUNNEL = 304
    """u64: the address of struct ip_tunnel_info (`TunnelAt`), 0 where there is none."""


class TunnelAt(enum.IntEnum):
    """Byte offsets in our struct ip_tunnel_info."""

    MODE = 0
    """u32: IP_TUNNEL_INFO_*."""
    FLAGS = 4
    """u32: IP_TUNNEL_*_BIT."""
    ID = 8
    """u64"""
    SOURCE = 16
    """16 bytes, an IPv4 address in the first four; network order."""
    DESTINATION = 32
    LABEL = 48
    TOS = 52
    TTL = 53
    OPTIONS_LEN = 56
    OPTIONS = 64
    BYTES = 320


POINTERS: dict[int, int] = {
    At.DATA: At.DATA_PTR,
    At.DATA_END: At.DATA_END_PTR,
    At.DATA_META: At.DATA_META_PTR,
}
"""__sk_buff fields that read as an address, and where the address is."""


class Narrowing(enum.Enum):
    """What a store to a context field becomes where the kernel's field is narrower than __sk_buff's."""

    LOW_16 = "low 16 bits"
    QUEUE = "16 bits, and NO_QUEUE_MAPPING or more changes nothing"


NARROWED: dict[int, Narrowing] = {
    At.TC_INDEX: Narrowing.LOW_16,
    At.TC_CLASSID: Narrowing.LOW_16,
    At.QUEUE_MAPPING: Narrowing.QUEUE,
}
"""bpf_convert_ctx_access: stores that do not simply store."""
NO_QUEUE_MAPPING = 0xFFFF

HASH_SW = 1
HASH_L4 = 2


def fill(skb: Skb, native: NativeSkb, environment: int) -> None:
    """Make `native` say what `skb` is; `environment` is the address of the NativeEnvironment."""
    head = _hold(native, skb.buffer)
    native.len = skb.len
    native.pkt_type = skb.pkt_type
    native.mark = skb.mark
    native.queue_mapping = skb.queue_mapping
    native.protocol = socket.htons(skb.protocol)
    native.vlan_present = skb.vlan_present
    native.vlan_tci = skb.vlan_tci
    native.vlan_proto = socket.htons(skb.vlan_proto)
    native.priority = skb.priority
    native.ingress_ifindex = skb.ingress_ifindex
    native.ifindex = skb.ifindex
    native.tc_index = skb.tc_index
    native.cb[:] = skb.cb
    native.hash = skb.hash
    native.tc_classid = skb.tc_classid
    native.napi_id = skb.napi_id
    native.tstamp = skb.tstamp
    native.tstamp_type = skb.tstamp_type
    native.wire_len = skb.wire_len
    native.gso_segs = skb.gso_segs
    native.gso_size = skb.gso_size
    native.hwtstamp = skb.hwtstamp
    native.data_ptr = head + skb.data
    native.data_end_ptr = head + max(skb.tail, skb.data)
    native.short = max(skb.data - skb.tail, 0)
    native.data_meta_ptr = head + skb.data
    native.net_off = skb.network_header - skb.data
    native.mac_off = skb.mac_header - skb.data
    native.hatype = skb.hatype
    native.read_past = skb.read_past
    native.environment = environment
    native.mac_len = skb.mac_len
    native.at_ingress = skb.at_ingress
    if skb.transport_header is not None:
        native.trans_off = skb.transport_header - skb.data
        native.trans_set = 1
    native.ip_summed = skb.ip_summed
    native.csum = skb.csum
    native.csum_level = skb.csum_level
    native.hash_kind = skb.hash_kind or (HASH_L4 if skb.hash else 0)
    native.gso_type = skb.gso_type
    native.encapsulation = skb.encapsulation
    if skb.tunnel is not None:
        native.tunnel_image = ctypes.create_string_buffer(skb.tunnel, TunnelAt.BYTES)
        native.tunnel = ctypes.addressof(native.tunnel_image)


def _hold(native: NativeSkb, buffer: bytearray) -> int:
    """Make `buffer` the one of the native skb: its address."""
    pinned = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    head = ctypes.addressof(pinned)
    native.buffer = buffer
    native.pinned = pinned
    native.head_ptr = head
    native.end_ptr = head + len(buffer)
    return head


def relocate(native: NativeSkb, headroom: int, tailroom: int) -> Any:
    """pskb_expand_head(): the packet moves to another buffer, with so much more room at both ends.

    Where there is more room the tailroom is zero, as new memory is; else it stays what it was.  What kept
    the old buffer in place is returned: while the caller has it, nothing else can be there.
    """
    old, old_head = native.pinned, native.head_ptr
    buffer = bytearray(headroom + len(native.buffer) + tailroom)
    used = native.data_end_ptr - old_head if headroom or tailroom else len(native.buffer)
    buffer[headroom : headroom + used] = native.buffer[:used]
    shift = _hold(native, buffer) + headroom - old_head
    native.data_ptr += shift
    native.data_end_ptr += shift
    native.data_meta_ptr += shift
    return old


def take_back(native: NativeSkb, skb: Skb, *, release: bool = True) -> None:
    """Give `skb` the fields that a program and its helpers may have changed, and let its buffer go."""
    head = native.head_ptr
    skb.buffer = native.buffer
    skb.data = data = native.data_ptr - head
    skb.tail = native.data_end_ptr - head - (native.short if native.data_end_ptr == native.data_ptr else 0)
    skb.len = native.len
    skb.mac_header = data + native.mac_off
    skb.network_header = data + native.net_off
    skb.mac_len = native.mac_len
    skb.protocol = socket.ntohs(native.protocol)
    skb.vlan_present = native.vlan_present
    skb.vlan_tci = native.vlan_tci
    skb.vlan_proto = socket.ntohs(native.vlan_proto)
    skb.pkt_type = native.pkt_type
    skb.mark = native.mark
    skb.queue_mapping = native.queue_mapping
    skb.priority = native.priority
    skb.tc_index = native.tc_index
    skb.cb[:] = native.cb
    skb.hash = native.hash
    skb.tc_classid = native.tc_classid
    skb.tstamp = native.tstamp
    skb.tstamp_type = native.tstamp_type
    skb.gso_segs = native.gso_segs
    skb.gso_size = native.gso_size
    skb.read_past = bool(native.read_past)
    skb.transport_header = data + native.trans_off if native.trans_set else None
    skb.ip_summed = native.ip_summed
    skb.csum = native.csum
    skb.csum_level = native.csum_level
    skb.hash_kind = native.hash_kind
    skb.gso_type = native.gso_type
    skb.encapsulation = native.encapsulation
    skb.tunnel = ctypes.string_at(native.tunnel, TunnelAt.BYTES) if native.tunnel else None
    if release:
        native.pinned = None
