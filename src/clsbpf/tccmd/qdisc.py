"""`tc qdisc`: words to requests (tc/tc_qdisc.c, q_clsact.c, q_ingress.c; other kinds: `qdiscs/`).

The common words come before the kind; clsact and ingress set parent and handle themselves, so that
either is an error after `root` or `parent`.  Their filters may live in blocks that devices share:
`ingress_block N` and `egress_block N`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..netlink import attr as nla
from ..netlink.attr import Attr
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from ..netlink.qdisc import SizeSpec
from ..netlink.schema import Rtm, Tca
from ..netlink.tcmsg import TcMsg, tc_message
from . import usage
from .errors import CommandError, UnsupportedKind, duplicate, invalid
from .filter import parse_estimator, rate_attr
from .ids import CLSACT_HANDLE, TC_H_CLSACT, TC_H_INGRESS, TC_H_ROOT, parse_classid, parse_qdisc_handle
from .numbers import unsigned
from .options import Options
from .qdiscs import kind_words, known_kinds
from .request import DEVICE_NAME_BYTES, KIND_BYTES, Command, Lookups, Reply, Request, View, cut
from .size_table_words import parse_stab, stab_attr
from .verbs import Help, Verbs
from .words import Words, matches

OTHER_QDISCS = frozenset(
    {"atm", "cake", "cbq", "cbs", "choke", "drr", "dsmark", "etf", "ets", "fifo", "fq"}
    | {"fq_pie", "gred", "hfsc", "hhf", "mqprio", "multiq", "netem", "pie", "plug", "qfq", "red", "rr"}
    | {"sfb", "skbprio", "taprio"}
)
"""The kinds of tc 6.1 that are not here (and not noqueue or mq, which have no options)."""
CLASSFUL_ELSEWHERE = frozenset({"atm", "cbq", "drr", "dsmark", "ets", "hfsc", "qfq"})
"""Those of them whose classes are made by requests."""

_SINGLETON = {"clsact": TC_H_CLSACT, "ingress": TC_H_INGRESS}


@dataclass(slots=True)
class _Selection:
    """What the common words have said so far."""

    device: str | None = None
    parent: int = 0
    handle: int = 0
    rate: tuple[int, int] | None = None
    ingress_block: int = 0
    egress_block: int = 0
    stab: SizeSpec | None = None
    kind: str | None = None


def _modify(type: Rtm, flags: int, words: Words, lookups: Lookups, options: Options) -> Command:
    """tc_qdisc_modify()."""
    selection = _Selection()
    _parse_common(words, selection)
    attrs: list[Attr] = []
    if selection.kind:
        attrs.append(nla.string(Tca.KIND, selection.kind))
    if selection.rate:
        attrs.append(rate_attr(selection.rate))
    if selection.kind is not None:
        attrs += _kind_options(selection, words)
    if selection.stab is not None:
        attrs.append(stab_attr(selection.stab))
    if selection.ingress_block:
        attrs.append(nla.u32(Tca.INGRESS_BLOCK, selection.ingress_block))
    if selection.egress_block:
        attrs.append(nla.u32(Tca.EGRESS_BLOCK, selection.egress_block))
    ifindex = lookups.ifindex(selection.device) if selection.device else 0
    header = TcMsg(0, ifindex, selection.handle, selection.parent)
    message = tc_message(type, header, attrs, flags=Reply.ACK.flags | flags)
    return Command((Request(message, Reply.ACK),), devices=tuple(lookups.devices))


def _parse_common(words: Words, selection: _Selection) -> None:
    """Reads up to the qdisc's kind (which goes into `selection`) or the end; Help for `help`."""
    while words:
        word = words.current
        if word == "dev":
            _device(words, selection)
        elif word == "handle":
            _handle(words, selection)
        elif word == "root":
            if selection.parent:
                raise CommandError('Error: "root" is duplicate parent ID', 255, word=word)
            selection.parent = TC_H_ROOT
        elif word in _SINGLETON:
            if selection.parent:
                raise CommandError(f'Error: "{word}" is a duplicate parent ID', 255, word=word)
            selection.parent = _SINGLETON[word]
            selection.handle = CLSACT_HANDLE
            selection.kind = word
            words.skip()
            return
        elif word == "parent":
            _parent(words, selection)
        elif matches(word, "estimator"):
            selection.rate = parse_estimator(words, selection.rate)
        elif matches(word, "stab"):
            selection.stab = parse_stab(words)
            continue
        elif matches(word, "ingress_block"):
            selection.ingress_block = _block(words, "invalid ingress block index value")
        elif matches(word, "egress_block"):
            selection.egress_block = _block(words, "invalid egress block index value")
        elif matches(word, "help"):
            raise Help
        else:
            selection.kind = cut(word, KIND_BYTES)
            words.skip()
            return
        words.skip()


def _device(words: Words, selection: _Selection) -> None:
    name = words.next()
    if selection.device:
        duplicate("dev", name)
    selection.device = cut(name, DEVICE_NAME_BYTES)


def _handle(words: Words, selection: _Selection) -> None:
    if selection.handle:
        duplicate("handle", words.current)  # looked at before the next word is
    selection.handle = _id(parse_qdisc_handle, words.next(), "invalid qdisc ID")


def _parent(words: Words, selection: _Selection) -> None:
    name = words.next()
    if selection.parent:
        duplicate("parent", name)
    selection.parent = _id(parse_classid, name, "invalid parent ID")


def _id(parse: Callable[[str], int | None], word: str, complaint: str) -> int:
    """The handle or classid that `word` spells."""
    number = parse(word)
    if number is None:
        invalid(complaint, word)
    return number


def _block(words: Words, complaint: str) -> int:
    number = words.next()
    block = unsigned(number)
    if not block:
        invalid(complaint, number)
    return block


def _kind_options(selection: _Selection, words: Words) -> list[Attr]:
    """parse_qopt() of the kind."""
    kind = selection.kind or ""
    if kind in OTHER_QDISCS:
        raise UnsupportedKind("qdisc", kind, ", ".join(known_kinds()))
    if kind == "ingress":
        # An old spelling, `ingress handle ffff:`, whose value nobody looks at.
        while words.at("handle"):
            words.next()
            words.skip()
    known = kind_words(kind)
    if known is not None and known.parse_qopt is not None:
        return known.parse_qopt(kind, words, selection.device or "")
    if not words:
        return []
    word = words.current
    if kind in _SINGLETON:
        raise CommandError(f'What is "{word}"?', word=word, usage=usage.QDISC)
    if known is not None:
        raise CommandError(f"qdisc '{kind}' does not support option parsing", 255, word=word)
    raise CommandError(f'Unknown qdisc "{kind}", hence option "{word}" is unparsable', word=word)


def _list(words: Words, lookups: Lookups, options: Options) -> Command:
    """tc_qdisc_list(): a dump of all; the kernel selects nothing but the device, tc the rest."""
    device = ""
    parent, handle = 0, 0
    invisible = False
    while words:
        word = words.current
        if word == "dev":
            device = cut(words.next(), DEVICE_NAME_BYTES)  # given twice, the last counts
        elif word in ("root", "ingress", "clsact"):
            _only_one(parent, handle, word)
            parent = TC_H_ROOT if word == "root" else TC_H_INGRESS
        elif matches(word, "parent"):
            _only_one(parent, handle, word)
            parent = _id(parse_classid, words.next(), "invalid parent ID")
        elif matches(word, "handle"):
            _only_one(parent, handle, word)
            handle = _id(parse_qdisc_handle, words.next(), "invalid handle ID")
        elif matches(word, "help"):
            raise Help
        elif word == "invisible":
            invisible = True
        else:
            raise CommandError(f'What is "{word}"? Try "tc qdisc help".', 255, word=word)
        words.skip()

    ifindex = lookups.ifindex(device) if device else 0
    attrs = [nla.flag(Tca.DUMP_INVISIBLE)] if invisible else []
    message = tc_message(Rtm.GETQDISC, TcMsg(0, ifindex), attrs, flags=Reply.DUMP.flags)
    view = View(ifindex, parent, handle, options=options)
    return Command((Request(message, Reply.DUMP),), view, tuple(lookups.devices))


def _only_one(parent: int, handle: int, word: str) -> None:
    """A listing is selected by a parent or by a handle, once."""
    if parent:
        invalid("parent is already specified", word)
    if handle:
        invalid("handle is already specified", word)


_QDISC = Verbs(
    "qdisc",
    usage.QDISC,
    (
        ("add", partial(_modify, Rtm.NEWQDISC, NLM_F_EXCL | NLM_F_CREATE)),
        ("change", partial(_modify, Rtm.NEWQDISC, 0)),
        ("replace", partial(_modify, Rtm.NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE)),
        ("link", partial(_modify, Rtm.NEWQDISC, NLM_F_REPLACE)),
        ("delete", partial(_modify, Rtm.DELQDISC, 0)),
    ),
    _list,
)
parse_qdisc = _QDISC.read
"""do_qdisc(): the command after the word `qdisc`."""
