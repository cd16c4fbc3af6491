"""The packet: its bytes with headroom, and the metadata that classifiers and programs see.

`Skb` mirrors the part of struct sk_buff that tc BPF can observe.  The bytes lie in one buffer:

    0          mac_header   data            tail                   (data + len)
    ├─ headroom ─┼───────────┼── captured ───┼ ─ ─ not captured ─ ─ ─ ┤

`data` moves: on receive it is at the network header, and `push(mac_len)` takes it back to the link
layer while a program runs at ingress.  `len` is the length on the wire from `data` on.  A capture
may hold less; then `tail < data + len`, as in a non-linear skb, and whoever reads between the two
sets `read_past`.

VLAN: in memory a frame has its outermost 0x8100 or 0x88a8 tag in the metadata (`vlan_tci`,
`vlan_proto`, `vlan_present`), not in the bytes, from the moment it is *received*.  A frame on its
way out (egress) keeps in its bytes the tag that it has there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .link import (
    ETH_HLEN,
    ETH_P_802_3_MIN,
    ETHERNET,
    VLAN_HLEN,
    VLAN_TYPES,
    LinkLayer,
    length_field_protocol,
)

HEADROOM = 256
"""Bytes kept free before a packet, for programs that grow it."""

PACKET_HOST = 0
PACKET_BROADCAST = 1
PACKET_MULTICAST = 2
PACKET_OTHERHOST = 3
PACKET_OUTGOING = 4

SKB_CB_WORDS = 5

UNTAG_MIN_LEN = ETH_HLEN + VLAN_HLEN + 2
"""A tagged frame shorter than this is dropped on receive."""


@dataclass(slots=True, eq=False)
class Skb:
    """struct sk_buff, as far as tc BPF sees it.

    `data`, `tail`, `mac_header`, `network_header` are offsets in `buffer`; `protocol` and
    `vlan_proto` are in host order (0x0800 is IPv4); times are nanoseconds.
    """

    buffer: bytearray
    data: int
    tail: int
    len: int
    mac_header: int
    network_header: int
    mac_len: int
    protocol: int = 0
    at_ingress: bool = False
    """skb_at_tc_ingress(): did it come in at a device (clsact or ingress qdisc, ingress side)?"""
    hatype: int = 1
    """skb->dev->type (ARPHRD_*), what SKF_AD_HATYPE loads."""
    pkt_type: int = PACKET_HOST
    mark: int = 0
    queue_mapping: int = 0
    vlan_present: int = 0
    vlan_tci: int = 0
    vlan_proto: int = 0
    priority: int = 0
    ingress_ifindex: int = 0
    ifindex: int = 1
    tc_index: int = 0
    cb: list[int] = field(default_factory=lambda: [0] * SKB_CB_WORDS)
    hash: int = 0
    tc_classid: int = 0
    """qdisc_skb_cb(skb)->tc_classid: 16 bits."""
    napi_id: int = 0
    tstamp: int = 0
    wire_len: int = 0
    gso_segs: int = 0
    gso_size: int = 0
    hwtstamp: int = 0
    read_past: bool = False
    """Did a program read between the captured end and the wire end?"""
    tstamp_type: int = 0
    """SKB_CLOCK_*: which clock `tstamp` is of."""
    transport_header: int | None = None
    """An offset in `buffer`; None until something sets it (skb_transport_header_was_set)."""
    ip_summed: int = 0
    """CHECKSUM_*: NONE, what a packet has that no device looked at."""
    csum: int = 0
    csum_level: int = 0
    hash_kind: int = 0
    """Is `hash` valid: 0 no, 1 sw_hash, 2 l4_hash."""
    gso_type: int = 0
    encapsulation: int = 0
    tunnel: bytes | None = None
    """struct ip_tunnel_info: what the packet came through, or shall go through (vm/native_skb.py)."""

    @classmethod
    def from_frame(
        cls,
        frame: bytes | bytearray | memoryview,
        *,
        length: int | None = None,
        link: LinkLayer = ETHERNET,
        headroom: int = HEADROOM,
    ) -> Skb:
        """A frame as captured, with `data` at its link-layer header and any VLAN tag in the bytes.

        `length` is its length on the wire, by default what is there.  This is the view at egress,
        and the one that tcpdump has.
        """
        buffer = bytearray(headroom + len(frame))
        buffer[headroom:] = frame
        length = len(frame) if length is None else max(length, len(frame))
        return cls(
            buffer=buffer,
            data=headroom,
            tail=len(buffer),
            len=length,
            mac_header=headroom,
            network_header=headroom + min(link.header_len, len(frame)),
            mac_len=link.header_len,
            protocol=egress_protocol(frame, link),
            hatype=link.hatype,
            wire_len=length,
        )

    @property
    def captured(self) -> int:
        """Bytes from `data` that are there to read (skb_headlen)."""
        return self.tail - self.data

    @property
    def packet(self) -> bytes:
        """The captured bytes from `data` on."""
        return bytes(self.buffer[self.data : self.tail])

    @property
    def outer_protocol(self) -> int:
        """tc_skb_protocol(): the outer tag's type where there is one, else the protocol."""
        return self.vlan_proto if self.vlan_present else self.protocol

    def push(self, count: int) -> None:
        """__skb_push(): move `data` back by `count` bytes."""
        assert self.data >= count
        self.data -= count
        self.len += count

    def pull(self, count: int) -> None:
        """__skb_pull(): move `data` on by `count` bytes."""
        assert self.len >= count
        self.data += count
        self.len -= count


def egress_protocol(frame: bytes | bytearray | memoryview, link: LinkLayer) -> int:
    """skb->protocol of a frame that is sent: the type field as it is (a tag's type for a tagged frame)."""
    if link.is_ethernet and len(frame) >= ETH_HLEN:
        return int.from_bytes(frame[12:14], "big")
    return link.protocol(frame)


def receive(
    frame: bytes | bytearray | memoryview,
    *,
    length: int | None = None,
    link: LinkLayer = ETHERNET,
    headroom: int = HEADROOM,
) -> Skb | None:
    """A frame as tc ingress has it: `eth_type_trans`, then `skb_vlan_untag`, `data` after the link layer.

    The outermost tag is out of the data: `len` is 4 less, and `wire_len` leaves out the link-layer
    header too, as `qdisc_pkt_len` at ingress does.  None when the kernel drops the frame before any
    filter (a tagged frame too short to hold its tag and a type, or a frame shorter than its header).
    """
    skb = Skb.from_frame(frame, length=length, link=link, headroom=headroom)
    if skb.len < link.header_len:
        return None
    skb.at_ingress = True
    skb.protocol = link.protocol(frame)
    if link.is_ethernet:
        skb.pkt_type = ethernet_pkt_type(frame)
        if skb.protocol in VLAN_TYPES and not untag(skb):
            return None
    skb.pull(skb.mac_len)
    skb.wire_len = skb.len
    return skb


def ethernet_pkt_type(frame: bytes | bytearray | memoryview) -> int:
    """PACKET_* by the destination address, for a device that every unicast frame is meant for."""
    if len(frame) and frame[0] & 1:
        return PACKET_BROADCAST if bytes(frame[:6]) == b"\xff" * 6 else PACKET_MULTICAST
    return PACKET_HOST


def untag(skb: Skb) -> bool:
    """skb_vlan_untag(), with `data` at the link-layer header: the tag moves to the metadata.

    False when the frame is too short on the wire: the kernel wants the tag and two bytes more.  A tag
    that was not captured stays where it is not: nothing is known of it, and the frame is left as it
    came.
    """
    if skb.len < UNTAG_MIN_LEN:
        return False
    start = skb.data
    if skb.captured < ETH_HLEN + VLAN_HLEN:
        return True
    buffer = skb.buffer
    skb.vlan_proto = skb.protocol
    skb.vlan_tci = int.from_bytes(buffer[start + 14 : start + 16], "big")
    skb.vlan_present = 1
    inner = int.from_bytes(buffer[start + 16 : start + 18], "big")
    skb.protocol = (
        inner if inner >= ETH_P_802_3_MIN else length_field_protocol(buffer[start + 18 : start + 20])
    )
    buffer[start + 4 : start + 16] = buffer[start : start + 12]
    skb.data = skb.mac_header = start + VLAN_HLEN
    skb.network_header = skb.data + ETH_HLEN
    skb.len -= VLAN_HLEN
    return True
