"""What the kernel demands of a request's attributes: struct nla_policy, nla_parse.

Traffic control parses *liberally* (nla_parse_deprecated): an unknown attribute is skipped, the last
of several of one type counts, a number may have more bytes than it needs, the NESTED flag is not
asked for, and bytes left over are only worth a warning.  What is refused is refused with an errno, a
message and the offset of the attribute at fault, and the policy it failed is described beside them.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from ..errors import NetlinkError
from . import schema
from .attr import NLA_HDRLEN, Attr, iter_attrs, leftover, u32, u64
from .schema import Tca, TcaBpf

CLS_BPF_NAME_LEN = 256
BPF_MAXINSNS = 4096
SOCK_FILTER_LEN = 8
TC_ESTIMATOR_LEN = 2


class Nla(IntEnum):
    """enum netlink_attribute_type: how a policy's kind is named on the wire (linux/netlink.h)."""

    UNSPEC = 0
    """Not on the wire: a payload of at least `length` bytes, which a policy describes as BINARY."""
    FLAG = 1
    U8 = 2
    U16 = 3
    U32 = 4
    U64 = 5
    BINARY = 10
    STRING = 11
    NUL_STRING = 12
    NESTED = 13
    BITFIELD32 = 15


class _PolicyAttr(IntEnum):
    """enum netlink_policy_type_attr."""

    TYPE = 1
    MIN_VALUE_U = 4
    MAX_VALUE_U = 5
    MIN_LENGTH = 6
    MAX_LENGTH = 7
    BITFIELD32_MASK = 10
    PAD = 11


@dataclass(frozen=True, slots=True)
class Rule:
    """struct nla_policy: one attribute's kind, its greatest `length` (0: none), its valid bits (`mask`).

    `length` of UNSPEC is the least; `exact` says that a BINARY is neither shorter nor longer.  A number
    may be bounded by `minimum` and `maximum` (None: by its size).
    """

    kind: Nla
    length: int = 0
    mask: int = 0
    minimum: int = 0
    maximum: int | None = None
    exact: bool = False


Policy = Mapping[int, Rule]
"""Attribute number → what is demanded.  Numbers not in it are not looked at."""

RTM_TCA: Policy = {
    Tca.KIND: Rule(Nla.STRING),
    Tca.RATE: Rule(Nla.BINARY, TC_ESTIMATOR_LEN),
    Tca.STAB: Rule(Nla.NESTED),
    Tca.DUMP_INVISIBLE: Rule(Nla.FLAG),
    Tca.CHAIN: Rule(Nla.U32),
    Tca.INGRESS_BLOCK: Rule(Nla.U32),
    Tca.EGRESS_BLOCK: Rule(Nla.U32),
}
"""rtm_tca_policy of net/sched/sch_api.c."""

TFILTER_DUMP: Policy = {
    Tca.CHAIN: Rule(Nla.U32),
    Tca.DUMP_FLAGS: Rule(Nla.BITFIELD32, mask=schema.TCA_DUMP_FLAGS_TERSE),
}
"""tcf_tfilter_dump_policy of net/sched/cls_api.c."""

BPF: Policy = {
    TcaBpf.CLASSID: Rule(Nla.U32),
    TcaBpf.FLAGS: Rule(Nla.U32),
    TcaBpf.FLAGS_GEN: Rule(Nla.U32),
    TcaBpf.FD: Rule(Nla.U32),
    TcaBpf.NAME: Rule(Nla.NUL_STRING, CLS_BPF_NAME_LEN),
    TcaBpf.OPS_LEN: Rule(Nla.U16),
    TcaBpf.OPS: Rule(Nla.BINARY, SOCK_FILTER_LEN * BPF_MAXINSNS),
}
"""bpf_policy of net/sched/cls_bpf.c."""


class PolicyError(NetlinkError):
    """An attribute does not meet its policy; `rule` is what was demanded of it."""

    def __init__(self, errno: int, extack: str, offset: int, rule: Rule) -> None:
        super().__init__(errno, extack, offset)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Parsed:
    """The attributes by number, and what the kernel remarks without refusing (an extack beside success)."""

    attrs: dict[int, Attr]
    warning: str | None = None


def parse_attrs(data: bytes, policy: Policy, max_type: int, *, offset: int = 0) -> Parsed:
    """nla_parse_deprecated(): the attributes of types 1 to `max_type`, each as its policy demands.

    `offset` is the place of `data` in its message.  PolicyError for the first that does not.
    """
    found: dict[int, Attr] = {}
    for attr in iter_attrs(data, offset):
        if not 0 < attr.type <= max_type:
            continue
        rule = policy.get(attr.type)
        if rule is not None:
            code = _CHECKS[rule.kind](attr.payload, rule)
            if code:
                raise PolicyError(code, "Attribute failed policy validation", attr.offset, rule)
            complaint = _out_of_range(attr, rule)
            if complaint:
                raise PolicyError(errno.ERANGE, complaint, attr.offset, rule)
        found[attr.type] = attr
    warning = "bytes leftover after parsing attributes" if leftover(data) > 0 else None
    return Parsed(found, warning)


def _out_of_range(attr: Attr, rule: Rule) -> str | None:
    """nla_validate_int_range(): what is said of a number or length outside its bounds."""
    if rule.exact:
        return "binary attribute size out of range" if len(attr.payload) != rule.length else None
    if rule.kind not in _UNSIGNED_BITS or (not rule.minimum and rule.maximum is None):
        return None
    value = int.from_bytes(attr.payload[: _UNSIGNED_BITS[rule.kind] // 8], sys.byteorder)
    within = rule.minimum <= value and (rule.maximum is None or value <= rule.maximum)
    return None if within else "integer out of range"


def _check_number(size: int) -> Callable[[bytes, Rule], int]:
    return lambda payload, rule: errno.ERANGE if len(payload) < size else 0


def _check_unspec(payload: bytes, rule: Rule) -> int:
    return errno.ERANGE if len(payload) < rule.length else 0


def _check_flag(payload: bytes, rule: Rule) -> int:
    return errno.ERANGE if payload else 0


def _check_binary(payload: bytes, rule: Rule) -> int:
    return errno.ERANGE if rule.length and len(payload) > rule.length and not rule.exact else 0


def _check_string(payload: bytes, rule: Rule) -> int:
    if not payload:
        return errno.ERANGE
    text = payload[:-1] if payload.endswith(b"\0") else payload
    return errno.ERANGE if rule.length and len(text) > rule.length else 0


def _check_nul_string(payload: bytes, rule: Rule) -> int:
    searched = payload[: rule.length + 1] if rule.length else payload
    return _check_string(payload, rule) if b"\0" in searched else errno.EINVAL


def _check_nested(payload: bytes, rule: Rule) -> int:
    # An empty nest is allowed; one that is not has at least a header.
    return errno.ERANGE if 0 < len(payload) < NLA_HDRLEN else 0


def _check_bitfield32(payload: bytes, rule: Rule) -> int:
    if len(payload) != 8:
        return errno.ERANGE
    value, selector = Attr(0, payload[:4]).u32, Attr(0, payload[4:]).u32
    outside = (selector | value) & ~rule.mask
    return errno.EINVAL if outside or value & ~selector else 0


_CHECKS: dict[Nla, Callable[[bytes, Rule], int]] = {
    Nla.UNSPEC: _check_unspec,
    Nla.FLAG: _check_flag,
    Nla.U8: _check_number(1),
    Nla.U16: _check_number(2),
    Nla.U32: _check_number(4),
    Nla.U64: _check_number(8),
    Nla.BINARY: _check_binary,
    Nla.STRING: _check_string,
    Nla.NUL_STRING: _check_nul_string,
    Nla.NESTED: _check_nested,
    Nla.BITFIELD32: _check_bitfield32,
}

_UNSIGNED_BITS = {Nla.U8: 8, Nla.U16: 16, Nla.U32: 32, Nla.U64: 64}


def describe(rule: Rule) -> tuple[Attr, ...] | None:
    """__netlink_policy_dump_write_attr(): the rule as NLMSGERR_ATTR_POLICY carries it; None: not at all."""
    if rule.kind is Nla.UNSPEC:
        return None
    out: list[Attr] = []
    if rule.kind in _UNSIGNED_BITS:
        # The 64-bit bounds are aligned in the message; on machines that need no alignment, no padding.
        most = (1 << _UNSIGNED_BITS[rule.kind]) - 1 if rule.maximum is None else rule.maximum
        out.append(u64(_PolicyAttr.MIN_VALUE_U, rule.minimum))
        out.append(u64(_PolicyAttr.MAX_VALUE_U, most))
    elif rule.kind in (Nla.BINARY, Nla.STRING, Nla.NUL_STRING) and rule.length:
        if rule.exact:
            out.append(u32(_PolicyAttr.MIN_LENGTH, rule.length))
        out.append(u32(_PolicyAttr.MAX_LENGTH, rule.length))
    elif rule.kind is Nla.BITFIELD32:
        out.append(u32(_PolicyAttr.BITFIELD32_MASK, rule.mask))
    out.append(u32(_PolicyAttr.TYPE, rule.kind))
    return tuple(out)
