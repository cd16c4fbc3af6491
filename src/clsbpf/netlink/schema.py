"""The numbers and names of traffic control's messages and attributes, and their values both ways.

An attribute stream says of each value only its number and length.  A `Schema` adds what the number
means: a name and a kind, so that `to_named` gives a plain dict and `from_named` the attributes again,
in the dict's order.  What a schema does not know is kept under its number, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import Any

from . import attr as nla
from .attr import Attr


class Rtm(IntEnum):
    """Message types of rtnetlink that traffic control uses (linux/rtnetlink.h)."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    SETLINK = 19
    NEWQDISC = 36
    DELQDISC = 37
    GETQDISC = 38
    NEWTCLASS = 40
    DELTCLASS = 41
    GETTCLASS = 42
    NEWTFILTER = 44
    DELTFILTER = 45
    GETTFILTER = 46
    NEWCHAIN = 100
    DELCHAIN = 101
    GETCHAIN = 102
    NEWACTION = 48
    DELACTION = 49
    GETACTION = 50


RTM_BASE = 16
RTNLGRP_LINK = 1
RTNLGRP_TC = 4
"""The multicast group that hears of qdiscs, classes, filters, chains and actions."""
RTM_MAX = 123
"""The last message type that a current kernel knows (RTM_GETTUNNEL and its reserve)."""


class Tca(IntEnum):
    """enum in linux/rtnetlink.h: the attributes after struct tcmsg."""

    KIND = 1
    OPTIONS = 2
    STATS = 3
    XSTATS = 4
    RATE = 5
    FCNT = 6
    STATS2 = 7
    STAB = 8
    PAD = 9
    DUMP_INVISIBLE = 10
    CHAIN = 11
    HW_OFFLOAD = 12
    INGRESS_BLOCK = 13
    EGRESS_BLOCK = 14
    DUMP_FLAGS = 15
    EXT_WARN_MSG = 16


TCA_MAX = Tca.EXT_WARN_MSG
TCA_DUMP_FLAGS_TERSE = 1


class TcaBpf(IntEnum):
    """enum in linux/pkt_cls.h: the attributes inside TCA_OPTIONS of a bpf filter."""

    ACT = 1
    POLICE = 2
    CLASSID = 3
    OPS_LEN = 4
    OPS = 5
    FD = 6
    NAME = 7
    FLAGS = 8
    FLAGS_GEN = 9
    TAG = 10
    ID = 11


TCA_BPF_MAX = TcaBpf.ID
TCA_BPF_FLAG_ACT_DIRECT = 1


class ClsFlag(IntFlag):
    """TCA_CLS_FLAGS_*: what TCA_BPF_FLAGS_GEN holds."""

    SKIP_HW = 1
    SKIP_SW = 2
    IN_HW = 4
    NOT_IN_HW = 8
    VERBOSE = 16


class TcaStats(IntEnum):
    """enum in linux/gen_stats.h: the attributes inside TCA_STATS2."""

    BASIC = 1
    RATE_EST = 2
    QUEUE = 3
    APP = 4
    RATE_EST64 = 5
    PAD = 6
    BASIC_HW = 7
    PKT64 = 8


class Kind(Enum):
    """What a payload is."""

    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    STRING = "string"
    BINARY = "binary"
    FLAG = "flag"
    NESTED = "nested"


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute: its name and what it holds.  `schema` is that of a nested one's attributes."""

    name: str
    kind: Kind
    schema: Schema | None = None


Schema = Mapping[int, Field]
"""Attribute number → what it is."""

STATS2: Schema = {
    TcaStats.BASIC: Field("basic", Kind.BINARY),
    TcaStats.RATE_EST: Field("rate_est", Kind.BINARY),
    TcaStats.QUEUE: Field("queue", Kind.BINARY),
    TcaStats.APP: Field("app", Kind.BINARY),
    TcaStats.RATE_EST64: Field("rate_est64", Kind.BINARY),
    TcaStats.BASIC_HW: Field("basic_hw", Kind.BINARY),
    TcaStats.PKT64: Field("pkt64", Kind.U64),
}

BPF: Schema = {
    TcaBpf.ACT: Field("act", Kind.BINARY),
    TcaBpf.POLICE: Field("police", Kind.BINARY),
    TcaBpf.CLASSID: Field("classid", Kind.U32),
    TcaBpf.OPS_LEN: Field("ops_len", Kind.U16),
    TcaBpf.OPS: Field("ops", Kind.BINARY),
    TcaBpf.FD: Field("fd", Kind.U32),
    TcaBpf.NAME: Field("name", Kind.STRING),
    TcaBpf.FLAGS: Field("flags", Kind.U32),
    TcaBpf.FLAGS_GEN: Field("flags_gen", Kind.U32),
    TcaBpf.TAG: Field("tag", Kind.BINARY),
    TcaBpf.ID: Field("id", Kind.U32),
}


def _tca(options: Field) -> Schema:
    return {
        Tca.KIND: Field("kind", Kind.STRING),
        Tca.OPTIONS: options,
        Tca.STATS: Field("stats", Kind.BINARY),
        Tca.XSTATS: Field("xstats", Kind.BINARY),
        Tca.RATE: Field("rate", Kind.BINARY),
        Tca.FCNT: Field("fcnt", Kind.U32),
        Tca.STATS2: Field("stats2", Kind.NESTED, STATS2),
        Tca.STAB: Field("stab", Kind.BINARY),
        Tca.DUMP_INVISIBLE: Field("dump_invisible", Kind.FLAG),
        Tca.CHAIN: Field("chain", Kind.U32),
        Tca.HW_OFFLOAD: Field("hw_offload", Kind.U8),
        Tca.INGRESS_BLOCK: Field("ingress_block", Kind.U32),
        Tca.EGRESS_BLOCK: Field("egress_block", Kind.U32),
        Tca.DUMP_FLAGS: Field("dump_flags", Kind.BINARY),
        Tca.EXT_WARN_MSG: Field("ext_warn_msg", Kind.STRING),
    }


BPF_FILTER: Schema = _tca(Field("options", Kind.NESTED, BPF))
"""A filter of kind bpf."""
FILTER: Schema = _tca(Field("options", Kind.BINARY))
"""A filter of a kind that is not known here: its options stay bytes."""
QDISC: Schema = _tca(Field("options", Kind.BINARY))
"""A qdisc; clsact and ingress have no options (ingress dumps an empty nest)."""


def to_named(attrs: Iterable[Attr], schema: Schema) -> dict[str, Any]:
    """The attributes as name → value, in their order; of one that repeats, the last (as nla_parse).

    Values are int, str, bytes, True (a flag) or a dict (nested).  An attribute that the schema does
    not know, or whose payload is too short for its kind, is under "attr N" as bytes.
    """
    out: dict[str, Any] = {}
    for attr in attrs:
        field = schema.get(attr.type)
        if field is None:
            out[f"attr {attr.type}"] = attr.payload
            continue
        try:
            out[field.name] = _value(attr, field)
        except nla.AttrError:
            out[f"attr {attr.type}"] = attr.payload
    return out


def _value(attr: Attr, field: Field) -> Any:
    match field.kind:
        case Kind.U8:
            return attr.u8
        case Kind.U16:
            return attr.u16
        case Kind.U32:
            return attr.u32
        case Kind.U64:
            return attr.u64
        case Kind.STRING:
            return attr.string
        case Kind.BINARY:
            return attr.payload
        case Kind.FLAG:
            return True
        case Kind.NESTED:
            return to_named(attr.attrs(), field.schema or {})


def from_named(values: Mapping[str, Any], schema: Schema) -> list[Attr]:
    """The attributes for name → value, in the mapping's order; AttrError for what the schema lacks."""
    numbers = {field.name: number for number, field in schema.items()}
    out: list[Attr] = []
    for name, value in values.items():
        if name.startswith("attr "):
            out.append(nla.binary(int(name[5:]), value))
        elif name not in numbers:
            raise nla.AttrError(f"no attribute {name!r}; there are: {', '.join(numbers)}")
        else:
            out.append(_attr(numbers[name], value, schema[numbers[name]]))
    return out


def _attr(number: int, value: Any, field: Field) -> Attr:
    match field.kind:
        case Kind.U8:
            return nla.u8(number, value)
        case Kind.U16:
            return nla.u16(number, value)
        case Kind.U32:
            return nla.u32(number, value)
        case Kind.U64:
            return nla.u64(number, value)
        case Kind.STRING:
            return nla.string(number, value)
        case Kind.BINARY:
            return nla.binary(number, value)
        case Kind.FLAG:
            return nla.flag(number)
        case Kind.NESTED:
            return nla.nest(number, from_named(value, field.schema or {}))
