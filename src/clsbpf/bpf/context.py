"""What a tc program sees of a packet besides its bytes: `struct __sk_buff`, field by field.

The context is a *view*: no such structure exists in the kernel.  A program reads `*(u32 *)(r1 + 16)`,
and the verifier rewrites that into whatever yields the packet's protocol there.  So the offsets are an
interface that never changes, and which of them a program may read or write depends on its type.  This
is the table for classifiers and actions (`tc_cls_act_is_valid_access`).

Integers are in host order but for `protocol` and `vlan_proto`, which are as on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTEXT_BYTES = 192
"""sizeof(struct __sk_buff)."""


@dataclass(frozen=True, slots=True)
class Field:
    """One member of struct __sk_buff: offset and size in bytes, and what a tc program may do with it."""

    name: str
    offset: int
    size: int
    readable: bool = True
    writable: bool = False
    pointer: bool = False
    """Does a read of exactly `size` bytes give a 64-bit pointer?"""

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.offset + self.size


FIELDS: tuple[Field, ...] = (
    Field("len", 0, 4),
    Field("pkt_type", 4, 4),
    Field("mark", 8, 4, writable=True),
    Field("queue_mapping", 12, 4, writable=True),
    Field("protocol", 16, 4),
    Field("vlan_present", 20, 4),
    Field("vlan_tci", 24, 4),
    Field("vlan_proto", 28, 4),
    Field("priority", 32, 4, writable=True),
    Field("ingress_ifindex", 36, 4),
    Field("ifindex", 40, 4),
    Field("tc_index", 44, 4, writable=True),
    Field("cb", 48, 20, writable=True),
    Field("hash", 68, 4),
    Field("tc_classid", 72, 4, writable=True),
    Field("data", 76, 4, pointer=True),
    Field("data_end", 80, 4, pointer=True),
    Field("napi_id", 84, 4),
    Field("family", 88, 4, readable=False),
    Field("remote_ip4", 92, 4, readable=False),
    Field("local_ip4", 96, 4, readable=False),
    Field("remote_ip6", 100, 16, readable=False),
    Field("local_ip6", 116, 16, readable=False),
    Field("remote_port", 132, 4, readable=False),
    Field("local_port", 136, 4, readable=False),
    Field("data_meta", 140, 4, pointer=True),
    Field("flow_keys", 144, 8, readable=False, pointer=True),
    Field("tstamp", 152, 8, writable=True),
    Field("wire_len", 160, 4),
    Field("gso_segs", 164, 4),
    Field("sk", 168, 8, pointer=True),
    Field("gso_size", 176, 4),
    Field("tstamp_type", 180, 1),
    Field("hwtstamp", 184, 8),
)

BY_NAME: dict[str, Field] = {field.name: field for field in FIELDS}

_AT: dict[int, Field] = {at: field for field in FIELDS for at in range(field.offset, field.end)}


def field_at(offset: int) -> Field | None:
    """The field that the byte at `offset` belongs to; None in the padding (181..183) and outside."""
    return _AT.get(offset)


def may_access(offset: int, size: int, *, write: bool) -> bool:
    """May a tc program read, or write, `size` bytes (1, 2, 4 or 8) at `offset`?

    Accesses are aligned and stay in one field.  A read may be narrower than its field, unless that is a
    pointer or 8 bytes wide; a write may not, but in `cb` both have any width (`tc_cls_act_is_valid_access`).
    """
    field = field_at(offset)
    if field is None or not (field.writable if write else field.readable):
        return False
    if offset % size or offset + size > field.end:
        return False
    whole = write or field.pointer or field.size == 8
    return size == field.size if whole and field.name != "cb" else True


def offset_of(name: str) -> int:
    """offsetof(struct __sk_buff, name), of a field that is there."""
    return BY_NAME[name].offset
