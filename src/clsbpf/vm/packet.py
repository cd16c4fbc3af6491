"""How does a program read the packet, and what happens outside of it?

LD_ABS and LD_IND load from the packet in network order; a negative offset counts from a header
(`bpf_skb_load_helper_8/16/32`).  A capture may hold less than was on the wire: what lies between the
captured end and the wire's end reads as outside, and `read_past` remembers that a program tried.

The interpreter calls `load_packet`; lowered code has the common case written out and asks `locate` for
the rest.
"""

from __future__ import annotations

from .native_skb import At
from .subset import load_be16, load_be32, load_i32, load_i64, load_u8, load_u32, native, store_u32

SKF_NET_OFF = -0x100000
SKF_LL_OFF = -0x200000

OUTSIDE = -1 << 41
"""The bytes are not in the packet: the program ends with 0.  (No offset is this far below data.)"""
NOT_CAPTURED = -1 << 40
"""They were on the wire, and the capture does not have them; the program ends with 0, too."""


@native(cold=True)
def locate(captured: int, length: int, net_off: int, mac_off: int, offset: int, size: int) -> int:
    """Where, from data on, `size` bytes at `offset` (32 bits, signed) begin; OUTSIDE or NOT_CAPTURED.

    Mirrors bpf_skb_load_helper_convert_offset.  It takes the skb's fields and not the skb, so that in
    lowered code an skb that nobody else looks at need not be in memory.
    """
    at = offset
    if offset < 0:
        if offset >= SKF_NET_OFF:
            at = offset - SKF_NET_OFF + net_off
        elif offset >= SKF_LL_OFF:
            at = offset - SKF_LL_OFF + mac_off
        else:
            return OUTSIDE
    if at + size <= captured:
        return at
    return NOT_CAPTURED if at + size <= length else OUTSIDE


@native
def header(skb: int, offset: int, size: int) -> int:
    """The address of `size` bytes at `offset` as `locate` takes it, or 0 (`skb_header_pointer`)."""
    data = load_i64(skb + At.DATA_PTR)
    at = locate(
        load_i64(skb + At.DATA_END_PTR) - data,
        load_u32(skb + At.LEN),
        load_i32(skb + At.NET_OFF),
        load_i32(skb + At.MAC_OFF),
        offset,
        size,
    )
    if at == NOT_CAPTURED:
        store_u32(skb + At.READ_PAST, 1)
    return data + at if at > NOT_CAPTURED else 0


@native
def load_packet(skb: int, offset: int, size: int) -> int:
    """`size` (1, 2, 4) bytes at `offset` (32 bits, signed) in host order, or OUTSIDE.

    Mirrors bpf_skb_load_helper_8/16/32.
    """
    start = header(skb, offset, size)
    if start == 0:
        return OUTSIDE
    if size == 1:
        return load_u8(start)
    if size == 2:
        return load_be16(start)
    return load_be32(start)
