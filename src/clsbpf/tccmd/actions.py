"""`action SPEC` of a filter and `tc actions …`: words to nests and requests (tc/m_action.c).

A spec is one or more actions, each with an order from 1 on; the word `action` between them is
optional.  What tc does not take for an action's name is taken for a control of the generic action,
gact: `action drop` is `action gact drop`.  An action swallows the words after it as long as it can, so
bpf's own options stand before `action`; only `flowid`, `classid` and a command's verb end the list.

`tc actions` makes, asks for, lists and deletes actions that no filter need have; one line may do
several of these, one after the other.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from ..netlink import act as wire
from ..netlink import attr as nla
from ..netlink.act import ActFlag, TcaAct, TcaRoot, action_message
from ..netlink.attr import Attr
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NLM_F_ROOT
from ..netlink.schema import Rtm
from . import usage
from .act import KINDS, UNSUPPORTED, usages
from .act.common import Illegal, control_named
from .errors import CommandError, UnsupportedKind, invalid
from .numbers import unsigned
from .options import Options
from .request import KIND_BYTES, Command, Lookups, Reply, Request, View, cut
from .words import Words, matches, matches_any

HW_STATS = {"immediate": 1, "delayed": 2, "disabled": 0}

_VERBS = ("change", "replace", "delete", "get", "add")
_ENDS = ("keys", "table", "preactions", "postactions")
"""Words of other commands that end a list."""
REFUSED = "We have an error talking to the kernel"


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
        if matches_any(word, *_VERBS):
            if not actions:
                return actions
            break
        if word in ("flowid", "classid"):
            break
        if word == "help":
            raise CommandError('Illegal "action"', word=word, usage=usages())
        expects_more = False
        attrs, cookie = _parse_one(words, lookups, cookie)
        actions.append(nla.nest(len(actions) + 1, attrs))
    if expects_more:
        raise _bad(["bad action empty 1"], words.left, words.current if words else "(null)")
    return actions


def parse_own_police(words: Words) -> list[Attr]:
    """parse_police(): a filter's own policer, from the word after `police` on."""
    from .act.police import parse_police

    word = words.current
    try:
        return parse_police(words)
    except Illegal as illegal:
        lines = [line for line in (str(illegal), 'Illegal "police"') if line]
        raise CommandError("\n".join(lines), word=word) from None


def _bad(lines: list[str], left: int, word: str, usage: str = "") -> CommandError:
    """bad_val: what parse_action() and its caller say after the reason."""
    lines = [*(line for line in lines if line), f"parse_action: bad value ({left}:{word})!"]
    return CommandError("\n".join([*lines, 'Illegal "action"']), word=word, usage=usage)


def _parse_one(words: Words, lookups: Lookups, cookie: bytes) -> tuple[list[Attr], bytes]:
    """One action's attributes, and the cookie for the next: tc goes on giving the last one it read."""
    left, first = words.left, words.current
    kind = "gact" if control_named(first) is not None else cut(first, KIND_BYTES)
    if kind in UNSUPPORTED:
        raise UnsupportedKind("action", kind, ", ".join(KINDS))
    if kind not in KINDS:
        kind = "gact"  # as in tc: perhaps a control after all
    try:
        options = KINDS[kind].parse(words, lookups)
    except Illegal as illegal:
        raise _bad([str(illegal), "bad action parsing"], left, first, illegal.usage) from None
    attrs = [nla.string(TcaAct.KIND, kind), nla.nest(TcaAct.OPTIONS, options, flagged=True)]
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
        attrs.append(nla.binary(TcaAct.HW_STATS, _bitfield32(bits)))
        words.skip()
    flags = _parse_flags(words)
    if flags:
        attrs.append(nla.binary(TcaAct.FLAGS, _bitfield32(flags)))
    return attrs, cookie


def _cookie(word: str) -> bytes:
    if len(word) > 2 * wire.TC_COOKIE_MAX_SIZE:
        invalid(f"{len(word)} Max allowed size {2 * wire.TC_COOKIE_MAX_SIZE}", word)
    try:
        if word.strip() != word or any(c.isspace() for c in word):
            raise ValueError
        return bytes.fromhex(word)
    except ValueError:
        invalid("cookie must be a hex string\n", word)


def _bitfield32(value: int) -> bytes:
    return struct.pack("=II", value, value)


def _parse_flags(words: Words) -> ActFlag:
    flags = ActFlag(0)
    if words.at("no_percpu"):
        flags |= ActFlag.NO_PERCPU_STATS
        words.skip()
    for _ in range(2):
        if words.at("skip_sw"):
            flags |= ActFlag.SKIP_SW
            words.skip()
        elif words.at("skip_hw"):
            flags |= ActFlag.SKIP_HW
            words.skip()
    return flags


# -- tc actions


def parse_actions_command(words: Words, lookups: Lookups, options: Options) -> Command:
    """do_action(): the command after the word `actions`.

    tc sends each request when it has read it: one that is wrong comes after those before it were made.
    """
    requests: list[Request] = []
    failure = None
    while words and failure is None:
        try:
            request, is_last = _next_request(words, lookups, options)
        except CommandError as error:
            if not requests:
                raise
            failure = error
            break
        requests.append(request)
        if is_last:
            break
    view = View(options=options)
    exit_code = 1 if requests and requests[-1].on_refusal == _NOT_FLUSHED else 255
    return Command(
        tuple(requests), view, tuple(lookups.devices), REFUSED, refusal_exit=exit_code, failure=failure
    )


_NOT_FLUSHED = "We have an error flushing"


def _next_request(words: Words, lookups: Lookups, options: Options) -> tuple[Request, bool]:
    """What one verb asks, and whether tc looks no further."""
    verb, after = words.current, words.ahead
    if matches(verb, "add"):
        return _modify(words, lookups, NLM_F_EXCL | NLM_F_CREATE), False
    if matches_any(verb, "change", "replace"):
        return _modify(words, lookups, NLM_F_CREATE | NLM_F_REPLACE), False
    if matches(verb, "delete"):
        return replace(_named(words, Rtm.DELACTION, Reply.ACK), on_refusal=_gone_on(after)), False
    if matches(verb, "get"):
        return replace(_named(words, Rtm.GETACTION, Reply.TALK), on_refusal=_gone_on(after)), False
    if matches_any(verb, "list", "show", "lst"):
        return _listed(words, options), True
    if matches(verb, "flush"):
        return replace(_flushed(words), on_refusal=_NOT_FLUSHED), True
    if matches(verb, "help"):
        raise _help(verb)
    raise CommandError(_unknown(verb), 255, word=verb)


def _gone_on(word: str | None) -> str:
    """What tc says to a get or delete that is refused: it takes the next word for another verb."""
    return f"{REFUSED}\n{_unknown(word)}" if word is not None else REFUSED


def _unknown(word: str) -> str:
    return f'Command "{word}" is unknown, try "tc actions help".'


def _help(word: str) -> CommandError:
    return CommandError("", 255, word=word, ends_batch=True, usage=usage.ACTIONS)


def _modify(words: Words, lookups: Lookups, flags: int) -> Request:
    """tc_action_modify()."""
    words.skip()
    if not words:
        raise CommandError('Illegal "action"', 255)
    try:
        actions = parse_actions(words, lookups)
    except CommandError as error:
        if not error.ends_batch:
            error.exit_code = 255
        raise
    message = action_message(Rtm.NEWACTION, [nla.nest(TcaRoot.TAB, actions)], flags=Reply.ACK.flags | flags)
    return Request(message, Reply.ACK)


def _named(words: Words, type: Rtm, reply: Reply) -> Request:
    """tc_action_gd(): actions by kind and index; the word after the verb is not looked at."""
    words.skip()
    if words:
        words.skip()
    nests: list[Attr] = []
    while words:
        word = words.current
        if word == "action":
            words.skip()
            continue
        if word == "help":
            raise CommandError("", 255, word=word)
        kind = cut(word, KIND_BYTES)
        if kind not in KINDS and kind not in UNSUPPORTED:
            kind = "gact"  # as everywhere
        words.skip()
        if not words or not matches(words.current, "index"):
            raise CommandError(f"Error: no index specified action: {kind}", 255, word=word)
        number = unsigned(words.next(), base=10)
        if number is None:
            raise CommandError('Illegal "index"', 255, word=words.current)
        words.skip()
        attrs = [nla.string(TcaAct.KIND, kind)]
        if number:
            attrs.append(nla.u32(TcaAct.INDEX, number))
        nests.append(nla.nest(len(nests) + 1, attrs))
    message = action_message(type, [nla.nest(TcaRoot.TAB, nests)], flags=reply.flags)
    return Request(message, reply)


def _listed(words: Words, options: Options) -> Request:
    """tc_act_list_or_flush() of a list."""
    tab, since = _of_kind(words)
    bits = wire.TCA_ACT_FLAG_LARGE_DUMP_ON
    if options.brief:
        bits |= wire.TCA_ACT_FLAG_TERSE_DUMP
    attrs = [tab, nla.binary(TcaRoot.FLAGS, _bitfield32(bits))]
    if since:
        attrs.append(nla.u32(TcaRoot.TIME_DELTA, since))
    message = action_message(Rtm.GETACTION, attrs, flags=Reply.DUMP.flags)
    return Request(message, Reply.DUMP)


def _flushed(words: Words) -> Request:
    """tc_act_list_or_flush() of a flush; the flags of a dump are there, too."""
    tab, _ = _of_kind(words)
    bits = nla.binary(TcaRoot.FLAGS, _bitfield32(wire.TCA_ACT_FLAG_LARGE_DUMP_ON))
    message = action_message(Rtm.DELACTION, [tab, bits], flags=Reply.ACK.flags | NLM_F_ROOT | NLM_F_REQUEST)
    return Request(message, Reply.ACK)


def _of_kind(words: Words) -> tuple[Attr, int]:
    """TCA_ACT_TAB with the kind after a verb and one more word (`action`), and `since` in milliseconds."""
    verb = words.take()
    if words.left <= 1:
        raise _help(verb)
    words.skip()
    # A kind that nobody knows has nothing to show, and is the kernel's to refuse.
    kind = cut(words.take(), KIND_BYTES)
    since = 0
    if words.at("since"):
        text = words.next()
        number = unsigned(text)
        if number is None:
            invalid('dump time "since" is invalid', text)
        since = number
    return nla.nest(TcaRoot.TAB, [nla.nest(1, [nla.string(TcaAct.KIND, kind)])]), since
