"""`tc class`: words to requests (tc/tc_class.c)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..netlink import attr as nla
from ..netlink.attr import Attr
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL
from ..netlink.schema import Rtm, Tca
from ..netlink.tcmsg import TcMsg, tc_message
from . import usage
from .errors import CommandError, UnsupportedKind, duplicate, invalid
from .filter import parse_estimator, rate_attr
from .ids import TC_H_ROOT, parse_classid, parse_qdisc_handle
from .options import Options
from .qdisc import CLASSFUL_ELSEWHERE
from .qdiscs import kind_words
from .request import DEVICE_NAME_BYTES, KIND_BYTES, Command, Lookups, Reply, Request, View, cut
from .verbs import Help, Verbs
from .words import Words, matches


@dataclass(slots=True)
class _Selection:
    """What the common words have said so far."""

    device: str | None = None
    parent: int = 0
    classid: int = 0
    rate: tuple[int, int] | None = None
    kind: str | None = None


def _modify(type: Rtm, flags: int, words: Words, lookups: Lookups, options: Options) -> Command:
    """tc_class_modify()."""
    selection = _Selection()
    _parse_common(words, selection)
    attrs: list[Attr] = []
    if selection.kind:
        attrs.append(nla.string(Tca.KIND, selection.kind))
    if selection.rate:
        attrs.append(rate_attr(selection.rate))
    if selection.kind is not None:
        attrs += _kind_options(selection, words)
    ifindex = lookups.ifindex(selection.device) if selection.device else 0
    header = TcMsg(0, ifindex, selection.classid, selection.parent)
    message = tc_message(type, header, attrs, flags=Reply.ACK.flags | flags)
    return Command((Request(message, Reply.ACK),), devices=tuple(lookups.devices))


def _parse_common(words: Words, selection: _Selection) -> None:
    """Reads up to the qdisc's kind (which goes into `selection`) or the end; Help for `help`."""
    while words:
        word = words.current
        if word == "dev":
            name = words.next()
            if selection.device:
                duplicate("dev", name)
            selection.device = cut(name, DEVICE_NAME_BYTES)
        elif word == "classid":
            selection.classid = _id(words, word, selection.classid, parse_classid, "invalid class ID")
        elif word == "handle":
            raise CommandError('Error: try "classid" instead of "handle"', 255, word=word)
        elif word == "root":
            if selection.parent:
                raise CommandError('Error: "root" is duplicate parent ID.', 255, word=word)
            selection.parent = TC_H_ROOT
        elif word == "parent":
            selection.parent = _id(words, word, selection.parent, parse_classid, "invalid parent ID")
        elif matches(word, "estimator"):
            selection.rate = parse_estimator(words, selection.rate)
        elif matches(word, "help"):
            raise Help
        else:
            selection.kind = cut(word, KIND_BYTES)
            words.skip()
            return
        words.skip()


def _id(words: Words, key: str, before: int, parse: Callable[[str], int | None], complaint: str) -> int:
    """The number that the next word spells, unless there was one before."""
    text = words.next()
    if before:
        duplicate(key, text)
    number = parse(text)
    if number is None:
        invalid(complaint, text)
    return number


def _kind_options(selection: _Selection, words: Words) -> list[Attr]:
    """parse_copt() of the kind."""
    kind = selection.kind or ""
    known = kind_words(kind)
    if known is None and kind in CLASSFUL_ELSEWHERE:
        raise UnsupportedKind("qdisc", kind, "htb")
    if known is None or known.parse_copt is None:
        raise CommandError(f'Error: Qdisc "{kind}" is classless.', word=kind)
    return known.parse_copt(kind, words, selection.device or "")


def _list(words: Words, lookups: Lookups, options: Options) -> Command:
    """tc_class_list(): a dump of a device's classes; the kernel selects by the parent, tc the rest."""
    device = ""
    parent, qdisc, classid = 0, 0, 0
    while words:
        word = words.current
        if word == "dev":
            name = words.next()
            if device:
                duplicate("dev", name)
            device = cut(name, DEVICE_NAME_BYTES)
        elif word == "qdisc":
            qdisc = _id(words, word, qdisc, parse_qdisc_handle, "invalid qdisc ID")
        elif word == "classid":
            classid = _id(words, word, classid, parse_classid, "invalid class ID")
        elif word == "root":
            if parent:
                raise CommandError('Error: "root" is duplicate parent ID', 255, word=word)
            parent = TC_H_ROOT
        elif word == "parent":
            if parent:
                duplicate("parent", word)  # looked at before the next word is
            parent = _id(words, word, 0, parse_classid, "invalid parent ID")
        elif matches(word, "help"):
            raise Help
        else:
            raise CommandError(f'What is "{word}"? Try "tc class help".', 255, word=word)
        words.skip()
    ifindex = lookups.ifindex(device) if device else 0
    message = tc_message(Rtm.GETTCLASS, TcMsg(0, ifindex, 0, parent), flags=Reply.DUMP.flags)
    view = View(ifindex, qdisc=qdisc, classid=classid, options=options)
    return Command((Request(message, Reply.DUMP),), view, tuple(lookups.devices))


_CLASS = Verbs(
    "class",
    usage.CLASS,
    (
        ("add", partial(_modify, Rtm.NEWTCLASS, NLM_F_EXCL | NLM_F_CREATE)),
        ("change", partial(_modify, Rtm.NEWTCLASS, 0)),
        ("replace", partial(_modify, Rtm.NEWTCLASS, NLM_F_CREATE)),
        ("delete", partial(_modify, Rtm.DELTCLASS, 0)),
    ),
    _list,
)
parse_class = _CLASS.read
"""do_class(): the command after the word `class`."""
