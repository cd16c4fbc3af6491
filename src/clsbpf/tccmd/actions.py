"""`action SPEC` of a filter: words to the nest TCA_BPF_ACT (tc/m_action.c, m_gact.c, m_mirred.c).

A spec is one or more actions, each with an order from 1 on; the word `action` between them is
optional.  What tc does not take for an action's name is taken for a control of the generic action,
gact: `action drop` is `action gact drop`.  The other kinds that tc knows come later and are refused
by name.  An action swallows the words after it as long as it can, so bpf's own options stand before
`action`; only `flowid`, `classid` and a command's verb end the list.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ..netlink import attr as nla
from ..netlink.attr import Attr
from .errors import CommandError, UnsupportedKind, incomplete, invalid
from .numbers import U16, unsigned
from .request import DEVICE_NAME_BYTES, KIND_BYTES, Lookups, cut
from .words import Words, matches, matches_any


class TcaAct(IntEnum):
    """enum in linux/pkt_cls.h: the attributes of one action."""

    KIND = 1
    OPTIONS = 2
    INDEX = 3
    STATS = 4
    PAD = 5
    COOKIE = 6
    FLAGS = 7
    HW_STATS = 8
    USED_HW_STATS = 9
    IN_HW_COUNT = 10


class TcaGact(IntEnum):
    """enum in linux/tc_act/tc_gact.h."""

    TM = 1
    PARMS = 2
    PROB = 3


class TcaMirred(IntEnum):
    """enum in linux/tc_act/tc_mirred.h."""

    TM = 1
    PARMS = 2


class MirredAction(IntEnum):
    """What mirred does (linux/tc_act/tc_mirred.h)."""

    EGRESS_REDIR = 1
    EGRESS_MIRROR = 2
    INGRESS_REDIR = 3
    INGRESS_MIRROR = 4


GACT_PARMS = struct.Struct("=IIiii")
"""struct tc_gact: index, capab, action, refcnt, bindcnt."""
MIRRED_PARMS = struct.Struct("=IIiiiiI")
"""struct tc_mirred: the same, eaction, ifindex."""
GACT_PROB = struct.Struct("=HHi")
"""struct tc_gact_p: ptype, pval, paction."""

COOKIE_BYTES = 16

HW_STATS = {"immediate": 1, "delayed": 2, "disabled": 0}
FLAG_NO_PERCPU = 1
FLAG_SKIP_HW = 2
FLAG_SKIP_SW = 4

TC_ACT_PIPE = 3
TC_ACT_STOLEN = 4
TC_ACT_JUMP = 0x10000000
TC_ACT_GOTO_CHAIN = 0x20000000
TC_ACT_EXT_VAL_MASK = 0x0FFFFFFF

_CONTROLS = (
    ("continue", -1),
    ("drop", 2),
    ("shot", 2),
    ("pass", 0),
    ("ok", 0),
    ("reclassify", 1),
    ("pipe", TC_ACT_PIPE),
    ("goto", TC_ACT_GOTO_CHAIN),
    ("jump", TC_ACT_JUMP),
    ("trap", 8),
)
"""action_a2n(): in tc's order, so that `p` is "pass" and not "pipe"."""

_UNSUPPORTED = frozenset(
    {
        "bpf",
        "connmark",
        "csum",
        "ct",
        "ctinfo",
        "gate",
        "ife",
        "ipt",
        "mpls",
        "nat",
        "pedit",
        "police",
        "sample",
    }
    | {"simple", "skbedit", "skbmod", "tunnel_key", "vlan", "xt"}
)
"""The kinds of tc 6.1 besides gact and mirred."""

_VERBS = ("change", "replace", "delete", "get", "add")
_RANDOM = {"netrand": 1, "determ": 2}

GACT_USAGE = """\
gact CONTROL [random netrand|determ CONTROL 0..10000] [index N]
CONTROL: continue | drop | pass | reclassify | pipe | trap | goto chain N | jump N"""
MIRRED_USAGE = "mirred ingress|egress mirror|redirect [index N] dev NAME [CONTROL]"


def parse_actions(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_action(): the actions from the current word on, in order.

    CommandError: as tc has it, either at once (255) or with `Illegal "action"` at the end.
    """
    actions: list[Attr] = []
    expects_more = False
    cookie = b""
    while words:
        word = words.current
        if word == "action":
            expects_more = True
            words.skip()
            continue
        if word in ("flowid", "classid") or matches_any(word, *_VERBS):
            break
        if word == "help":
            raise CommandError('Illegal "action"', word=word, usage=f"{GACT_USAGE}\n{MIRRED_USAGE}")
        expects_more = False
        attrs, cookie = _parse_one(words, lookups, cookie)
        actions.append(nla.nest(len(actions) + 1, attrs))
    if expects_more:
        raise _bad(["bad action empty 1"], words.left, words.current if words else "(null)")
    return actions


def _bad(lines: list[str], left: int, word: str) -> CommandError:
    """bad_val: what parse_action() and its caller say after the reason."""
    lines = [*lines, f"parse_action: bad value ({left}:{word})!", 'Illegal "action"']
    return CommandError("\n".join(lines), word=word)


def _parse_one(words: Words, lookups: Lookups, cookie: bytes) -> tuple[list[Attr], bytes]:
    """One action's attributes, and the cookie for the next: tc goes on giving the last one it read."""
    left, first = words.left, words.current
    kind = "gact" if _control(first) is not None else cut(first, KIND_BYTES)
    if kind in _UNSUPPORTED:
        raise UnsupportedKind("action", kind, "gact, mirred")
    try:
        options = _parse_mirred(words, lookups) if kind == "mirred" else _parse_gact(words)
    except _Illegal as illegal:
        raise _bad([str(illegal), "bad action parsing"], left, first) from None
    attrs = [
        # A name that tc does not know becomes gact's.
        nla.string(TcaAct.KIND, "mirred" if kind == "mirred" else "gact"),
        nla.nest(TcaAct.OPTIONS, options, flagged=True),
    ]
    if words.at("cookie"):
        cookie = _cookie(words.next())
        words.skip()
    if cookie:
        attrs.append(nla.binary(TcaAct.COOKIE, cookie))
    if words.at_prefix_of("hw_stats"):
        word = words.next()
        bits = next((bits for name, bits in HW_STATS.items() if matches(word, name)), None)
        if bits is None:
            invalid("value is invalid\n", word)
        attrs.append(nla.binary(TcaAct.HW_STATS, _bitfield32(bits, bits)))
        words.skip()
    flags = _parse_flags(words)
    if flags:
        attrs.append(nla.binary(TcaAct.FLAGS, _bitfield32(flags, flags)))
    return attrs, cookie


class _Illegal(Exception):
    """An action's own parser returned -1; the message is what it had printed."""


def _cookie(word: str) -> bytes:
    if len(word) > 2 * COOKIE_BYTES:
        invalid(f"{len(word)} Max allowed size {2 * COOKIE_BYTES}", word)
    try:
        if word.strip() != word or any(c.isspace() for c in word):
            raise ValueError
        return bytes.fromhex(word)
    except ValueError:
        invalid("cookie must be a hex string\n", word)


def _bitfield32(value: int, selector: int) -> bytes:
    return struct.pack("=II", value, selector)


def _parse_flags(words: Words) -> int:
    flags = 0
    if words.at("no_percpu"):
        flags |= FLAG_NO_PERCPU
        words.skip()
    for _ in range(2):
        if words.at("skip_sw"):
            flags |= FLAG_SKIP_SW
            words.skip()
        elif words.at("skip_hw"):
            flags |= FLAG_SKIP_HW
            words.skip()
    return flags


# -- Controls: what happens to the packet after the action


def _control(word: str) -> int | None:
    """action_a2n(), names only."""
    return next((number for name, number in _CONTROLS if matches(word, name)), None)


def _parse_control(words: Words) -> int:
    """parse_action_control(): TC_ACT_*, with its chain or count; _Illegal says what is wrong."""
    word = words.current if words else ""
    control = _control(word)
    if control is None:
        raise _Illegal(f"Bad action type {word}")
    if control == TC_ACT_GOTO_CHAIN:
        if not matches(words.next(), "chain"):
            raise _Illegal('"chain index" expected')
        chain = unsigned(words.next(), TC_ACT_EXT_VAL_MASK, 10)
        if chain is None:
            raise _Illegal('Illegal "chain index"')
        control |= chain
    elif control == TC_ACT_JUMP:
        word = words.next()
        count = unsigned(word, TC_ACT_EXT_VAL_MASK, 10)
        if count is None:
            raise _Illegal(f'Invalid "jump count" ({word})')
        control |= count
    words.skip()
    return control


def _index(words: Words, message: str = 'Illegal "index"') -> int:
    """The number after `index`, stepped over."""
    index = unsigned(words.next(), base=10)
    if index is None:
        raise _Illegal(message)
    words.skip()
    return index


# -- gact


def _parse_gact(words: Words) -> list[Attr]:
    """parse_gact(): TCA_GACT_PARMS and, with `random`, TCA_GACT_PROB."""
    if matches(words.current, "gact"):
        words.next()
    if matches(words.current, "index"):
        return [nla.binary(TcaGact.PARMS, GACT_PARMS.pack(_index(words), 0, 0, 0, 0))]
    action = _gact_control(words)
    prob = None
    if words.at_prefix_of("random"):
        prob = _parse_random(words)
    elif words.at_prefix_of("help"):
        raise _gact_usage("", words.current)
    index = 0
    if words.at_prefix_of("index"):
        index = _index(words)
    elif words.at_prefix_of("help"):
        raise _gact_usage("", words.current)
    attrs = [nla.binary(TcaGact.PARMS, GACT_PARMS.pack(index, 0, action, 0, 0))]
    if prob is not None:
        attrs.append(nla.binary(TcaGact.PROB, prob))
    return attrs


def _gact_control(words: Words) -> int:
    word = words.current if words else ""
    try:
        return _parse_control(words)
    except _Illegal as illegal:
        raise _gact_usage(str(illegal), word) from None


def _gact_usage(message: str, word: str) -> CommandError:
    return CommandError(message, 255, word=word, ends_batch=True, usage=GACT_USAGE)


def _parse_random(words: Words) -> bytes:
    word = words.next()
    kind = next((number for name, number in _RANDOM.items() if matches(word, name)), None)
    if kind is None:
        raise _Illegal('Illegal "random type"')
    words.next()
    control = _gact_control(words)
    if not words:
        incomplete(word)  # tc reads past its last word here and crashes
    value = unsigned(words.current, U16, 10)
    if value is None:
        raise _Illegal(f"Illegal probability val {words.current}")
    if value > 10000:
        raise _Illegal(f"Illegal probability val  {value:#x}")
    words.skip()
    return GACT_PROB.pack(kind, value, control)


# -- mirred


@dataclass(slots=True)
class _Mirred:
    """What mirred's words have said so far."""

    direction: str | None = None
    mode: str | None = None
    index: int | None = None
    device: str = ""

    def choose(self, field: str, word: str, other: str) -> None:
        """Set direction or mode, each once and for all."""
        if getattr(self, field) is not None:
            raise _Illegal(f"Can't have both {other}")
        setattr(self, field, word)


_MIRRED = {
    ("egress", "redirect"): (MirredAction.EGRESS_REDIR, TC_ACT_STOLEN),
    ("egress", "mirror"): (MirredAction.EGRESS_MIRROR, TC_ACT_PIPE),
    ("ingress", "redirect"): (MirredAction.INGRESS_REDIR, TC_ACT_STOLEN),
    ("ingress", "mirror"): (MirredAction.INGRESS_MIRROR, TC_ACT_PIPE),
}


def _parse_mirred(words: Words, lookups: Lookups) -> list[Attr]:
    """parse_mirred() and parse_direction(): TCA_MIRRED_PARMS."""
    first = words.next()
    if matches(first, "help"):
        raise CommandError("", 255, word=first, ends_batch=True, usage=MIRRED_USAGE)
    if not matches_any(first, "egress", "ingress", "index"):
        raise _Illegal(f"mirred option not supported {first}")
    said = _Mirred()
    while words and _mirred_word(words, said):
        words.next()

    eaction, action = _MIRRED.get((said.direction or "", said.mode or ""), (0, 0))
    try:
        ifindex = lookups.ifindex(said.device) if said.device else 0
    except CommandError as error:
        raise _Illegal(error.reason) from None
    if said.mode == "mirror" and words and _control(words.current) is not None:
        action = _parse_control(words)
    if words.at_prefix_of("index"):
        if said.index is not None:
            raise _Illegal("mirred: Illegal double index")
        said.index = _index(words, 'mirred: Illegal "index"')
    parms = MIRRED_PARMS.pack(said.index or 0, 0, action, 0, 0, eaction, ifindex)
    return [nla.binary(TcaMirred.PARMS, parms)]


def _mirred_word(words: Words, said: _Mirred) -> bool:
    """One of mirred's words; is another wanted?"""
    word = words.current
    if matches(word, "action"):
        words.next()
        return False
    if said.direction != "egress" and matches(word, "egress"):
        said.choose("direction", "egress", "egress and ingress")
    elif said.direction != "ingress" and matches(word, "ingress"):
        said.choose("direction", "ingress", "ingress and egress")
    elif matches(word, "index"):
        said.index = unsigned(words.next(), base=10)
        if said.index is None:
            raise _Illegal('Illegal "index"')
        if said.direction is None:
            words.skip()
            return False
    elif said.mode != "mirror" and matches(word, "mirror"):
        said.choose("mode", "mirror", "mirror and redir")
    elif said.mode != "redirect" and matches(word, "redirect"):
        said.choose("mode", "redirect", "mirror and redir")
    elif said.mode and matches(word, "dev"):
        said.device = cut(words.next(), DEVICE_NAME_BYTES)
        words.skip()
        return False
    return True
