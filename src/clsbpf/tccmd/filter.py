"""`tc filter` and `tc chain`: words to requests (tc/tc_filter.c).

Every verb reads common words in any order (device or block, parent, prio, protocol, chain, handle)
until a word that is none: that is the classifier's kind, and all after it are its own options.  The
verbs differ in small ways that show in the messages; each is noted where it is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial

from ..netlink import attr as nla
from ..netlink.attr import Attr
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL
from ..netlink.schema import TCA_DUMP_FLAGS_TERSE, Rtm, Tca
from ..netlink.tcmsg import TCM_IFINDEX_MAGIC_BLOCK, TcMsg, swap16, tc_message
from . import usage
from .bpf_options import parse_bpf_options
from .errors import CommandError, UnsupportedKind, duplicate, invalid
from .ids import CLSACT_EGRESS, CLSACT_INGRESS, ETH_P_ALL, TC_H_ROOT, parse_classid, parse_protocol
from .numbers import U16, U32, estimator, microseconds, unsigned
from .options import Options
from .request import DEVICE_NAME_BYTES, KIND_BYTES, Command, Lookups, Reply, Request, View, cut
from .verbs import Help, Verbs
from .words import Words, matches, matches_any

REFUSED = "We have an error talking to the kernel"

OTHER_CLASSIFIERS = frozenset(
    {"basic", "cgroup", "flow", "flower", "fw", "matchall", "route", "rsvp", "rsvp6", "tcindex", "u32"}
)
"""The kinds of tc 6.1 besides bpf."""

_PARENTS = {"root": TC_H_ROOT, "ingress": CLSACT_INGRESS, "egress": CLSACT_EGRESS}


@dataclass(slots=True)
class _Selection:
    """What the common words have said so far."""

    device: str = ""
    block: int = 0
    parent: int = 0
    handle: str | None = None
    prio: int = 0
    protocol: int = 0
    protocol_set: bool = False
    chain: int | None = None
    rate: tuple[int, int] | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class _Verb:
    """How reading the common words differs from verb to verb."""

    lists: bool = False
    takes_estimator: bool = False
    empty_kind: bool = True
    """Is an empty word a kind?  (To the kernel it is none.)"""
    bad_parent: str = "Invalid parent ID"
    bad_prio: str = "invalid priority value"
    prio_most: int = U16


_CHANGING = _Verb(takes_estimator=True)
_GETTING = _Verb(empty_kind=False)
_LISTING = _Verb(lists=True, bad_parent="invalid parent ID", bad_prio="invalid preference", prio_most=U32)


# -- The common words


def _parse_common(words: Words, selection: _Selection, verb: _Verb) -> None:
    """Reads up to the classifier's kind (which goes into `selection`) or the end; Help for `help`."""
    while words:
        word = words.current
        if word == "dev":
            name = words.next()
            if selection.device:
                duplicate("dev", name)
            if selection.block:
                raise _dev_and_block("dev", "block", verb, name)
            selection.device = cut(name, DEVICE_NAME_BYTES)
        elif matches(word, "block"):
            number = words.next()
            if selection.block:
                duplicate("block", number)
            if selection.device:
                raise _dev_and_block("block", "dev", verb, number)
            block = unsigned(number)
            if not block:
                invalid("invalid block index value", number)
            selection.block = block
        elif word in _PARENTS:
            if selection.parent:
                raise CommandError(f'Error: "{word}" is duplicate parent ID', 255, word=word)
            selection.parent = _PARENTS[word]
        elif word == "parent":
            name = words.next()
            if selection.parent:
                duplicate("parent", name)
            parent = parse_classid(name)
            if parent is None:
                invalid(verb.bad_parent, name)
            selection.parent = parent
        elif word == "handle":
            name = words.next()
            if selection.handle is not None:
                duplicate("handle", name)
            selection.handle = name
        elif matches_any(word, "preference", "priority"):
            number = words.next()
            if selection.prio:
                duplicate("priority", number)
            prio = unsigned(number, verb.prio_most)
            if prio is None:
                invalid(verb.bad_prio, number)
            selection.prio = prio
        elif matches(word, "protocol"):
            _parse_protocol(words.next(), selection, verb)
        elif matches(word, "chain"):
            number = words.next()
            if selection.chain is not None:
                duplicate("chain", number)
            selection.chain = unsigned(number)
            if selection.chain is None:
                invalid("invalid chain index value", number)
        elif verb.takes_estimator and matches(word, "estimator"):
            selection.rate = parse_estimator(words, selection.rate)
        elif matches(word, "help"):
            raise Help
        elif verb.lists:
            raise CommandError(f' What is "{word}"? Try "tc filter help"', 255, word=word)
        else:
            if word == "" and not verb.empty_kind:
                invalid("invalid filter name", word)
            selection.kind = cut(word, KIND_BYTES)
            words.skip()
            return
        words.skip()


def _dev_and_block(this: str, other: str, verb: _Verb, word: str) -> CommandError:
    if verb.lists:
        message = f'Error: "{this}" cannot be used in the same time as "{other}"'
    else:
        message = 'Error: "dev" and "block" are mutually exclusive'
    return CommandError(message, 255, word=word)


def _parse_protocol(name: str, selection: _Selection, verb: _Verb) -> None:
    # A listing looks whether the protocol so far is 0, the others whether the word was there.
    if selection.protocol if verb.lists else selection.protocol_set:
        duplicate("protocol", name)
    protocol = parse_protocol(name)
    if protocol is None:
        invalid("invalid protocol", name)
    selection.protocol, selection.protocol_set = protocol, True


def parse_estimator(words: Words, before: tuple[int, int] | None) -> tuple[int, int]:
    """parse_estimator(): from the word `estimator` to the time constant, the last word it reads."""
    first = words.next()
    if before:
        duplicate("estimator", first)
    times = []
    for index, name in enumerate(("interval", "time constant")):
        word = words.next() if index else first
        if matches(word, "help"):
            raise CommandError("", 255, word=word, ends_batch=True, usage=usage.ESTIMATOR)
        time = microseconds(word)
        if time is None:
            # tc hands its two arguments over in the wrong order, so the message names them so.
            invalid("estimator", word, shown=f"invalid estimator {name}")
        times.append(time)
    rate = estimator(*times)
    if rate is None:
        raise CommandError("Error: estimator parameters are out of range.", 255, word=words.current)
    return rate


def rate_attr(rate: tuple[int, int]) -> Attr:
    """TCA_RATE: struct tc_estimator."""
    return nla.binary(Tca.RATE, struct.pack("=bB", *rate))


# -- The verbs


def _modify(type: Rtm, flags: int, words: Words, lookups: Lookups, options: Options) -> Command:
    """tc_filter_modify(): add, change, replace, delete."""
    selection = _Selection()
    if type is Rtm.NEWTFILTER and flags & NLM_F_CREATE:
        selection.protocol = ETH_P_ALL
    _parse_common(words, selection, _CHANGING)

    attrs: list[Attr] = []
    if selection.chain is not None:
        attrs.append(nla.u32(Tca.CHAIN, selection.chain))
    if selection.kind:
        attrs.append(nla.string(Tca.KIND, selection.kind))
    ifindex, parent = _place(selection, lookups)

    handle = 0
    if selection.kind is not None:
        handle, inside = _kind_options(selection, words, lookups, ifindex)
        if inside is not None:
            attrs.append(nla.nest(Tca.OPTIONS, inside))
    elif selection.handle is not None:
        raise CommandError('Must specify filter type when using "handle"', 255, word=selection.handle)
    if selection.rate:
        attrs.append(rate_attr(selection.rate))

    header = TcMsg(0, ifindex, handle, parent, _info(selection))
    message = tc_message(type, header, attrs, flags=Reply.ACK.flags | flags)
    return Command((Request(message, Reply.ACK),), devices=tuple(lookups.devices), on_refusal=REFUSED)


def _get(type: Rtm, words: Words, lookups: Lookups, options: Options) -> Command:
    """tc_filter_get(): one filter, which must be told entirely; one chain."""
    selection = _Selection()
    _parse_common(words, selection, _GETTING)
    wants_filter = type is Rtm.GETTFILTER
    if wants_filter:
        if not selection.protocol_set:
            raise CommandError("Must specify filter protocol", 255)
        if not selection.prio:
            raise CommandError("Must specify filter priority", 255)
    if not selection.parent:
        # Also for a block, where it means nothing: the block's index takes its place.
        raise CommandError("Must specify filter parent", 255)
    attrs: list[Attr] = []
    if selection.chain is not None:
        attrs.append(nla.u32(Tca.CHAIN, selection.chain))
    if wants_filter:
        if not selection.kind:
            raise CommandError("Must specify filter type", 255)
        attrs.append(nla.string(Tca.KIND, selection.kind))
    if not selection.device and not selection.block:
        raise CommandError('Must specify netdevice "dev" or block index "block"', 255)
    ifindex, parent = _place(selection, lookups)

    handle = 0
    if wants_filter:
        rest = words.current if words else None
        handle, _ = _kind_options(selection, words, lookups, ifindex)
        if selection.handle is None:
            raise CommandError('Must specify filter "handle"', 255)
        if rest is not None:
            raise _garbage(rest)
    elif words:
        raise _garbage(words.current)

    header = TcMsg(0, ifindex, handle, parent, _info(selection) if wants_filter else 0)
    request = Request(tc_message(type, header, attrs, flags=Reply.ANSWER.flags), Reply.ANSWER)
    view = View(ifindex=0 if selection.block else ifindex, block=selection.block, options=options)
    return Command((request,), view, tuple(lookups.devices), REFUSED)


def _garbage(word: str) -> CommandError:
    return CommandError(f'Garbage instead of arguments "{word} ...". Try "tc filter help".', 255, word=word)


def _list(type: Rtm, words: Words, lookups: Lookups, options: Options) -> Command:
    """tc_filter_list(): a dump, of which the kernel leaves out what is not selected."""
    selection = _Selection()
    _parse_common(words, selection, _LISTING)
    ifindex, parent = _place(selection, lookups)
    requests: list[Request] = []
    if selection.block:
        requests.append(
            Request(
                tc_message(Rtm.GETQDISC, TcMsg(), flags=Reply.BLOCKS.flags), Reply.BLOCKS, selection.block
            )
        )
    attrs: list[Attr] = []
    if selection.chain is not None:
        attrs.append(nla.u32(Tca.CHAIN, selection.chain))
    if options.brief:
        attrs.append(
            nla.binary(Tca.DUMP_FLAGS, struct.pack("=II", TCA_DUMP_FLAGS_TERSE, TCA_DUMP_FLAGS_TERSE))
        )
    header = TcMsg(0, ifindex, 0, parent, _info(selection))
    requests.append(Request(tc_message(type, header, attrs, flags=Reply.DUMP.flags), Reply.DUMP))
    view = View(
        ifindex=0 if selection.block else ifindex,
        parent=selection.parent,
        prio=selection.prio,
        protocol=selection.protocol,
        chain=selection.chain,
        block=selection.block,
        options=options,
    )
    return Command(tuple(requests), view, tuple(lookups.devices))


def _place(selection: _Selection, lookups: Lookups) -> tuple[int, int]:
    """(ifindex, parent) of struct tcmsg; a block has its index where the parent is otherwise."""
    if selection.device:
        return lookups.ifindex(selection.device), selection.parent
    if selection.block:
        return TCM_IFINDEX_MAGIC_BLOCK, selection.block
    return 0, selection.parent


def _info(selection: _Selection) -> int:
    """tcm_info: the prio above, the protocol in network order below."""
    return (selection.prio & U16) << 16 | swap16(selection.protocol)


def _kind_options(
    selection: _Selection, words: Words, lookups: Lookups, ifindex: int
) -> tuple[int, list[Attr] | None]:
    """parse_fopt() of the kind: the handle, and the attributes of TCA_OPTIONS if there is one."""
    kind = selection.kind or ""
    if kind in OTHER_CLASSIFIERS:
        raise UnsupportedKind("classifier", kind, "bpf")
    handle = 0
    if kind == "bpf":
        if selection.handle is not None:
            number = unsigned(selection.handle)
            if number is None:
                raise CommandError('Illegal "handle"', word=selection.handle)
            handle = number
        return handle, parse_bpf_options(words, lookups, ifindex)
    # parse_nofopt(): a kind that tc does not know goes to the kernel if it has no options.
    if words:
        word = words.current
        raise CommandError(f'Unknown filter "{kind}", hence option "{word}" is unparsable', word=word)
    if selection.handle is not None:
        number = unsigned(selection.handle, base=16)
        if number is None:
            raise CommandError(f'Unparsable filter ID "{selection.handle}"', word=selection.handle)
        handle = number
    return handle, None


_FILTER = Verbs(
    "filter",
    usage.FILTER,
    (
        ("add", partial(_modify, Rtm.NEWTFILTER, NLM_F_EXCL | NLM_F_CREATE)),
        ("change", partial(_modify, Rtm.NEWTFILTER, 0)),
        ("replace", partial(_modify, Rtm.NEWTFILTER, NLM_F_CREATE)),
        ("delete", partial(_modify, Rtm.DELTFILTER, 0)),
        ("get", partial(_get, Rtm.GETTFILTER)),
    ),
    partial(_list, Rtm.GETTFILTER),
)
_CHAIN = Verbs(
    "chain",
    usage.CHAIN,
    (
        ("add", partial(_modify, Rtm.NEWCHAIN, NLM_F_EXCL | NLM_F_CREATE)),
        ("delete", partial(_modify, Rtm.DELCHAIN, 0)),
        ("get", partial(_get, Rtm.GETCHAIN)),
    ),
    partial(_list, Rtm.GETCHAIN),
)
parse_filter = _FILTER.read
"""do_filter(): the command after the word `filter`."""
parse_chain = _CHAIN.read
"""do_chain(): the command after the word `chain`."""
