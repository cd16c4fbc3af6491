"""How does a program read the packet, and what happens outside of it?

LD_ABS and LD_IND load from the packet in network order; a negative offset counts from a header
(`bpf_skb_load_helper_8/16/32`).  A capture may hold less than was on the wire: what lies between the
captured end and the wire's end reads as outside, and `read_past` remembers that a program tried.

Native functions over the address of a NativeSkb: the interpreter calls them, lowered code inlines the
common case and calls them for the rest.
"""

from __future__ import annotations

from .native_skb import At
from .subset import load_be16, load_be32, load_i32, load_i64, load_u8, load_u32, native, store_u32

SKF_NET_OFF = -0x100000
SKF_LL_OFF = -0x200000

OUTSIDE = -1
"""What `load_packet` returns for a load outside of the packet: the program ends with 0."""


@native
def header(skb: int, at: int, size: int) -> int:
    """The address of `size` bytes at offset `at` from data, or 0 (`skb_header_pointer`)."""
    data = load_i64(skb + At.DATA_PTR)
    if at + size <= load_i64(skb + At.DATA_END_PTR) - data:
        return data + at
    if at + size <= load_u32(skb + At.LEN):
        store_u32(skb + At.READ_PAST, 1)
    return 0


@native(cold=True)
def load_packet(skb: int, offset: int, size: int) -> int:
    """`size` (1, 2, 4) bytes at `offset` (32 bits, signed) in host order, or OUTSIDE.

    Mirrors bpf_skb_load_helper_* and bpf_skb_load_helper_convert_offset.
    """
    at = offset
    if offset < 0:
        if offset >= SKF_NET_OFF:
            at = offset - SKF_NET_OFF + load_i32(skb + At.NET_OFF)
        elif offset >= SKF_LL_OFF:
            at = offset - SKF_LL_OFF + load_i32(skb + At.MAC_OFF)
        else:
            return OUTSIDE
    start = header(skb, at, size)
    if start == 0:
        return OUTSIDE
    if size == 1:
        return load_u8(start)
    if size == 2:
        return load_be16(start)
    return load_be32(start)


@native(cold=True)
def note_read_past(skb: int, end: int) -> None:
    """A load that ends at offset `end` is past the captured end; was it also past the wire's?"""
    if end <= load_u32(skb + At.LEN):
        store_u32(skb + At.READ_PAST, 1)
