"""The nest TCA_BPF_ACT to text and JSON: tc_print_action() of tc/m_action.c, m_gact.c, m_mirred.c."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ..errors import ClsbpfError
from ..netlink.attr import Attr, iter_attrs
from .actions import (
    FLAG_NO_PERCPU,
    GACT_PARMS,
    GACT_PROB,
    HW_STATS,
    MIRRED_PARMS,
    TC_ACT_EXT_VAL_MASK,
    TC_ACT_GOTO_CHAIN,
    TC_ACT_JUMP,
    MirredAction,
    TcaAct,
    TcaGact,
    TcaMirred,
)
from .options import Options
from .printer import Printer
from .stats import print_stats2

MOST_ACTIONS = 32
"""TCA_ACT_MAX_PRIO."""

_USER_HZ = 100
"""The clock ticks of struct tcf_t, on every architecture that is still made."""

_TM = struct.Struct("=QQQQ")
_BITFIELD32 = struct.Struct("=II")

_CONTROL_NAMES = {
    -1: "continue",
    0: "pass",
    2: "drop",
    1: "reclassify",
    3: "pipe",
    4: "stolen",
    8: "trap",
}

_MIRRED_NAMES = {
    MirredAction.EGRESS_REDIR: ("Egress Redirect", "redirect", "egress"),
    MirredAction.EGRESS_MIRROR: ("Egress Mirror", "mirror", "egress"),
    MirredAction.INGRESS_REDIR: ("Ingress Redirect", "redirect", "ingress"),
    MirredAction.INGRESS_MIRROR: ("Ingress Mirror", "mirror", "ingress"),
}
_UNKNOWN = ("unknown", "unknown", "unknown")

_RANDOM_NAMES = {1: "netrand", 2: "determ"}


def print_actions(out: Printer, nest: Attr, options: Options, device: Callable[[int], str]) -> None:
    """The actions in their order; `device` gives a name for an ifindex."""
    actions = {attr.type: attr for attr in reversed(nest.attrs()) if attr.type <= MOST_ACTIONS}
    with out.array("actions"):
        for order in sorted(actions):
            with out.object():
                out.end_line()
                out.both("order", f"\taction order {order}: ", order)
                _print_one(out, actions[order], options, device)


def _by_type(attr: Attr | None, size: dict[int, int]) -> dict[int, Attr]:
    """The attributes inside; ClsbpfError for one that is shorter than `size` says."""
    found: dict[int, Attr] = {}
    for inner in iter_attrs(attr.payload if attr is not None else b""):
        if len(inner.payload) < size.get(inner.type, 0):
            raise ClsbpfError(f"attribute {inner.type} of an action is cut")
        found.setdefault(inner.type, inner)
    return found


_SIZES: dict[int, int] = {TcaAct.FLAGS: 8, TcaAct.HW_STATS: 8, TcaAct.USED_HW_STATS: 8}


def _print_one(out: Printer, action: Attr, options: Options, device: Callable[[int], str]) -> None:
    """tc_print_one_action()."""
    attrs = _by_type(action, _SIZES)
    if TcaAct.KIND not in attrs:
        raise ClsbpfError("NULL Action!")
    kind = attrs[TcaAct.KIND].string
    inside = attrs.get(TcaAct.OPTIONS)
    if kind == "gact":
        _print_gact(out, inside, options)
    elif kind == "mirred":
        _print_mirred(out, inside, options, device)
    elif inside is not None and inside.payload:
        out.say(f"[Unknown action, optlen={len(inside.payload)}] ")
    if options.brief and TcaAct.INDEX in attrs:
        index = attrs[TcaAct.INDEX].u32
        out.both("index", f"\t index {index}", index)
        out.end_line()
    if options.stats and TcaAct.STATS in attrs:
        out.say("\tAction statistics:")
        out.end_line()
        with out.object("stats"):
            print_stats2(out, attrs[TcaAct.STATS], "\t", iec=bool(options.iec))
        out.end_line()
    if TcaAct.COOKIE in attrs:
        cookie = attrs[TcaAct.COOKIE].payload.hex()
        out.both("cookie", f"\tcookie {cookie}", cookie)
        out.end_line()
    if TcaAct.FLAGS in attrs:
        value, selector = _BITFIELD32.unpack_from(attrs[TcaAct.FLAGS].payload)
        if selector & FLAG_NO_PERCPU:
            out.both("no_percpu", "\tno_percpu", bool(value & FLAG_NO_PERCPU))
            out.end_line()
    for number, word in ((TcaAct.HW_STATS, "hw_stats"), (TcaAct.USED_HW_STATS, "used_hw_stats")):
        if number in attrs:
            _print_hw_stats(out, attrs[number], word)


def _print_hw_stats(out: Printer, attr: Attr, word: str) -> None:
    value, selector = _BITFIELD32.unpack_from(attr.payload)
    bits = value & selector
    out.say(f"\t{word}")
    with out.array(word):
        for name, bit in HW_STATS.items():
            if bits & bit or (not bits and not bit):
                out.item(f" {name}", name)
    out.end_line()


def _print_control(out: Printer, prefix: str, control: int, suffix: str = "") -> None:
    """print_action_control()."""
    out.say(prefix)
    extended, value = control & ~TC_ACT_EXT_VAL_MASK, control & TC_ACT_EXT_VAL_MASK
    with out.object("control_action"):
        if extended == TC_ACT_GOTO_CHAIN:
            out.both("type", "goto", "goto")
            out.both("chain", f" chain {value}", value)
        elif extended == TC_ACT_JUMP:
            out.both("type", "jump", "jump")
            out.both("jump", f" {value}", value)
        else:
            name = _CONTROL_NAMES.get(control, str(control))
            out.both("type", name, name)
    out.say(suffix)


def _print_gact(out: Printer, inside: Attr | None, options: Options) -> None:
    """print_gact()."""
    out.both("kind", "gact ", "gact")
    if inside is None:
        return
    attrs = _by_type(
        inside, {TcaGact.PARMS: GACT_PARMS.size, TcaGact.PROB: GACT_PROB.size, TcaGact.TM: _TM.size}
    )
    if TcaGact.PARMS not in attrs:
        raise ClsbpfError("Missing gact parameters")
    index, _, control, refcnt, bindcnt = GACT_PARMS.unpack_from(attrs[TcaGact.PARMS].payload)
    _print_control(out, "action ", control)
    ptype, pval, paction = (
        GACT_PROB.unpack_from(attrs[TcaGact.PROB].payload) if TcaGact.PROB in attrs else (0, 0, 0)
    )
    with out.object("prob"):
        out.end_line()
        random = _RANDOM_NAMES.get(ptype, "none")
        out.both("random_type", f"\t random type {random}", random)
        _print_control(out, " ", paction, " ")
        out.both("val", f"val {pval}", pval)
    out.end_line()
    out.both("index", f"\t index {index}", index)
    _print_counts(out, refcnt, bindcnt, attrs.get(TcaGact.TM), options)


def _print_mirred(out: Printer, inside: Attr | None, options: Options, device: Callable[[int], str]) -> None:
    """print_mirred()."""
    out.both("kind", "mirred ", "mirred")
    if inside is None:
        return
    attrs = _by_type(inside, {TcaMirred.PARMS: MIRRED_PARMS.size, TcaMirred.TM: _TM.size})
    if TcaMirred.PARMS not in attrs:
        raise ClsbpfError("Missing mirred parameters")
    index, _, control, refcnt, bindcnt, eaction, ifindex = MIRRED_PARMS.unpack_from(
        attrs[TcaMirred.PARMS].payload
    )
    text, what, direction = _MIRRED_NAMES.get(eaction, _UNKNOWN)
    name = device(ifindex)
    out.say(f"({text}")
    out.value("mirred_action", what)
    out.value("direction", direction)
    out.both("to_dev", f" to device {name})", name)
    _print_control(out, " ", control)
    out.end_line()
    out.both("index", f"\tindex {index}", index)
    _print_counts(out, refcnt, bindcnt, attrs.get(TcaMirred.TM), options)


def _print_counts(out: Printer, refcnt: int, bindcnt: int, times: Attr | None, options: Options) -> None:
    """Who holds the action, and with -s print_tm(): when it came, was used, was first used, expires."""
    out.both("ref", f" ref {refcnt}", refcnt)
    out.both("bind", f" bind {bindcnt}", bindcnt)
    if options.stats and times is not None:
        install, last_use, expires, first_use = _TM.unpack_from(times.payload)
        for key, word, ticks in (
            ("installed", "installed", install),
            ("last_used", "used", last_use),
            ("first_used", "firstused", first_use),
            ("expires", "expires", expires),
        ):
            if ticks:
                seconds = ticks // _USER_HZ
                out.both(key, f" {word} {seconds} sec", seconds)
    out.end_line()
