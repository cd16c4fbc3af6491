"""Do two requests ask for the same?  `canonical`: a request as a value that only what counts is in.

The order of attributes does not count, nor whether a nest is flagged as one, nor what stands for a default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ...netlink.act import TCAMSG_LEN, TcaAct, TcaDef, TcaPedit, TcaRoot, TcaTunnelKey
from ...netlink.attr import Attr, iter_attrs
from ...netlink.message import Message
from ...netlink.qdisc import HtbOpt, TbfQopt, TcaHtb, TcaTbf, decode_prio
from ...netlink.schema import Rtm, Tca, TcaBpf
from ...netlink.tcmsg import TCMSG_LEN
from ..rates import bucket_ticks


def canonical(request: Message) -> Any:
    """The request without what does not count."""
    if request.type == Rtm.NEWACTION:
        tabs = [attr for attr in iter_attrs(request.payload[TCAMSG_LEN:]) if attr.type == TcaRoot.TAB]
        return request.type, [_actions(tab.attrs()) for tab in tabs]
    attrs = list(iter_attrs(request.payload[TCMSG_LEN:]))
    kind = next((attr.string for attr in attrs if attr.type == Tca.KIND), "")
    options = _options if request.type == Rtm.NEWTFILTER else _OPTIONS.get(kind, _plain)
    made = _sorted(_tca(attr, options) for attr in attrs)
    return request.type, request.flags, request.payload[:TCMSG_LEN], made


def _sorted(pairs: Iterable[tuple[int, Any]]) -> list[tuple[int, Any]]:
    return sorted(pairs, key=lambda pair: pair[0])


def _tca(attr: Attr, options: Callable[[Attr], Any]) -> tuple[int, Any]:
    if attr.type == Tca.OPTIONS:
        return attr.type, options(attr)
    return attr.type, _text(attr) if attr.type == Tca.KIND else attr.payload


def _plain(options: Attr) -> Any:
    return options.payload


def _options(options: Attr) -> Any:
    return _sorted(_option(inner) for inner in options.attrs())


def _numbers(options: Attr) -> Any:
    return _sorted((inner.type, inner.payload) for inner in options.attrs())


def _prio(options: Attr) -> Any:
    return decode_prio(options.payload)  # tc adds an empty nest


def _htb(options: Attr) -> Any:
    found: list[tuple[int, Any]] = []
    for attr in options.attrs():
        if attr.type == TcaHtb.PARMS:
            opt = HtbOpt.decode(attr.payload)
            rate, ceil = (replace(spec, cell_log=0, cell_align=0) for spec in (opt.rate, opt.ceil))
            found.append((attr.type, replace(opt, rate=rate, ceil=ceil)))
        elif attr.type not in (TcaHtb.RTAB, TcaHtb.CTAB):  # tables that nobody has looked at since 3.8
            found.append((attr.type, attr.payload))
    return _sorted(found)


def _tbf(options: Attr) -> Any:
    attrs = {attr.type: attr for attr in options.attrs()}
    if TcaTbf.PARMS not in attrs:
        return options.payload
    opt = TbfQopt.decode(attrs[TcaTbf.PARMS].payload)
    buckets = []
    for spec, wide, burst, ticks in (
        (opt.rate, TcaTbf.RATE64, TcaTbf.BURST, opt.buffer),
        (opt.peakrate, TcaTbf.PRATE64, TcaTbf.PBURST, opt.mtu),
    ):
        rate = attrs[wide].u64 if wide in attrs else spec.rate
        if rate and burst in attrs:
            ticks = bucket_ticks(
                rate, spec, attrs[burst].u32
            )  # what a request says in bytes, a reply in time
        buckets.append((rate, replace(spec, rate=0, cell_log=0, cell_align=0), ticks))
    return opt.limit, buckets


_OPTIONS: dict[str, Callable[[Attr], Any]] = {
    "htb": _htb,
    "prio": _prio,
    "tbf": _tbf,
    "codel": _numbers,
    "fq_codel": _numbers,
}
"""Of qdiscs and their classes, by kind."""


def _option(attr: Attr) -> tuple[int, Any]:
    if attr.type == TcaBpf.ACT:
        return attr.type, _actions(attr.attrs())
    if attr.type == TcaBpf.POLICE:
        return attr.type, _sorted((inner.type, inner.payload) for inner in attr.attrs())
    return attr.type, _text(attr) if attr.type == TcaBpf.NAME else attr.payload


def _text(attr: Attr) -> bytes:
    return attr.payload.rstrip(b"\0")


def _actions(actions: Iterable[Attr]) -> list[Any]:
    return [_action(action) for action in sorted(actions, key=lambda action: action.type)]


def _action(action: Attr) -> list[tuple[int, Any]]:
    attrs = action.attrs()
    kind = next((attr.string for attr in attrs if attr.type == TcaAct.KIND), "")
    found: list[tuple[int, Any]] = []
    for attr in attrs:
        if attr.type == TcaAct.KIND:
            found.append((attr.type, kind))
        elif attr.type == TcaAct.OPTIONS:
            found.append((attr.type, _sorted(_action_options(kind, attr.attrs()))))
        else:
            found.append((attr.type, attr.payload))
    return _sorted(found)


def _action_options(kind: str, attrs: Iterable[Attr]) -> Iterable[tuple[int, Any]]:
    for attr in attrs:
        if kind == "tunnel_key" and attr.type == TcaTunnelKey.NO_CSUM and not any(attr.payload):
            continue  # the default
        if kind == "simple" and attr.type == TcaDef.DATA:
            yield attr.type, attr.payload.split(b"\0", 1)[0]  # tc sends what is behind the text, too
        elif (kind, attr.type) in _NESTS:
            inside = [(each.type, [(one.type, one.payload) for one in each.attrs()]) for each in attr.attrs()]
            yield attr.type, inside
        else:
            yield attr.type, attr.payload


_NESTS = {("pedit", TcaPedit.KEYS_EX), ("tunnel_key", TcaTunnelKey.ENC_OPTS)}
"""Nests of nests."""
