"""What the grammars and renderers of all kinds of actions share (tc/tc_util.c).

Almost every kind ends its words with a control (`pipe`, `drop`, `goto chain 5`, …) and `index N`, and
its rows with who holds it and when it was used.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from ...errors import ClsbpfError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.attr import Attr, iter_attrs
from ..errors import CommandError
from ..numbers import strtoul, unsigned
from ..options import Options
from ..printer import Printer
from ..request import Lookups
from ..words import Words, matches

TC_ACT_OK = 0
TC_ACT_RECLASSIFY = 1
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

_CONTROL_NAMES = {
    -1: "continue",
    0: "pass",
    2: "drop",
    1: "reclassify",
    3: "pipe",
    4: "stolen",
    8: "trap",
}


class Illegal(Exception):
    """An action's own parser returned -1; the message is what it had printed, if anything.

    `usage` is the help text that belongs under it.
    """

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.usage = usage


def fail(message: str) -> NoReturn:
    """Say it and give up."""
    raise Illegal(message)


def help_wanted(usage: str, word: str) -> CommandError:
    """An action's usage(), which ends tc."""
    return CommandError("", 255, word=word, ends_batch=True, usage=usage)


# -- words


def control_named(word: str, *, numbers: bool = False) -> int | None:
    """action_a2n(): the control that a word begins; with `numbers` also a signed number."""
    found = next((number for name, number in _CONTROLS if matches(word, name)), None)
    if found is None and numbers:
        value, rest = strtoul(word, 0)
        signed = value - (1 << 64) if value >> 63 else value
        if word and not rest and -(1 << 31) <= signed < 1 << 31:
            return signed
    return found


def parse_control(words: Words, *, numbers: bool = False) -> int:
    """parse_action_control(): TC_ACT_*, with its chain or count; Illegal says what is wrong."""
    word = words.current if words else ""
    control = control_named(word, numbers=numbers)
    if control is None:
        fail(f"Bad action type {word}")
    if control == TC_ACT_GOTO_CHAIN:
        if not matches(words.next(), "chain"):
            fail('"chain index" expected')
        chain = unsigned(words.next(), TC_ACT_EXT_VAL_MASK, 10)
        if chain is None:
            fail('Illegal "chain index"')
        control |= chain
    elif control == TC_ACT_JUMP:
        word = words.next()
        count = unsigned(word, TC_ACT_EXT_VAL_MASK, 10)
        if count is None:
            fail(f'Invalid "jump count" ({word})')
        control |= count
    words.skip()
    return control


def control_or(words: Words, default: int) -> int:
    """parse_action_control_dflt(): a control, if one is here.

    What begins like one and goes wrong is told and left where it is, as tc does: the next action's, then.
    """
    if not words or control_named(words.current) is None:
        return default
    start = words.mark()
    try:
        return parse_control(words)
    except Illegal as illegal:
        words.remarks.append(str(illegal))
        words.back_to(start)
        return default


def index_number(words: Words, message: str = 'Illegal "index"', base: int = 10) -> int:
    """The number after `index`, stepped over."""
    index = unsigned(words.next(), base=base)
    if index is None:
        fail(message)
    words.skip()
    return index


def maybe_index(words: Words, message: str, base: int = 10) -> int | None:
    """`index N`, if it is here."""
    return index_number(words, message, base) if words.at_prefix_of("index") else None


def generic(index: int | None, control: int) -> bytes:
    """tc_gen of a request."""
    return wire.GenericParms(index or 0, control).encode()


def link_address(text: str, remarks: list[str]) -> bytes | None:
    """ll_addr_a2n(): up to six bytes of hexadecimal digits, or the four of an IPv4 address.

    What follows the sixth is not looked at, nor what follows the digits of one.  What is wrong is told in
    `remarks`.
    """
    if "." in text:
        address = ipv4_address(text)
        if address is None:
            remarks.append(f'"{text}" is invalid lladdr.')
        return address
    out = bytearray()
    for part in text.split(":", LINK_ADDRESS_BYTES)[:LINK_ADDRESS_BYTES]:
        value, rest = strtoul(part, 16)
        signed = value - (1 << 64) if value >> 63 else value
        if rest == part or not 0 <= signed <= 255:
            remarks.append(f'"{part}" is invalid lladdr.')
            return None
        out.append(signed)
    return bytes(out)


def ipv4_address(text: str) -> bytes | None:
    """get_addr_1() of AF_INET: numbers between dots, of any base, those at the end may be left out."""
    out = []
    for part in text.split("."):
        value = unsigned(part, 255)
        if value is None:
            return None
        out.append(value)
    return bytes(out).ljust(4, b"\0") if len(out) <= 4 else None


LINK_ADDRESS_BYTES = 6


# -- rows


@dataclass(frozen=True, slots=True)
class Names:
    """What numbers stand for: a device's ifindex, a classid, a program's id (prints what is known of it;
    was anything known?)."""

    device: Callable[[int], str]
    classid: Callable[[int], str]
    program: Callable[[Printer, int, Options], bool]


class ActionKind(Protocol):
    """What tc's struct action_util has of a kind."""

    USAGE: str
    SIZES: Mapping[int, int]
    """How long the attributes of TCA_ACT_OPTIONS are, at least."""
    TITLE: str | None
    """What a row begins with, under "kind"; None: nothing."""

    def parse(self, words: Words, lookups: Lookups) -> list[Attr]:
        """parse_aopt(): the attributes of TCA_ACT_OPTIONS, from the kind's own name on."""
        ...

    def show(self, out: Printer, attrs: dict[int, Attr], options: Options, names: Names) -> None:
        """print_aopt(): the same of a reply."""
        ...


def by_type(attr: Attr | None, sizes: Mapping[int, int]) -> dict[int, Attr]:
    """The attributes inside; ClsbpfError for one that is shorter than `sizes` says."""
    found: dict[int, Attr] = {}
    for inner in iter_attrs(attr.payload if attr is not None else b""):
        if len(inner.payload) < sizes.get(inner.type, 0):
            raise ClsbpfError(f"attribute {inner.type} of an action is cut")
        found.setdefault(inner.type, inner)
    return found


def need(attrs: Mapping[int, Attr], number: int, missing: str) -> bytes:
    """The payload of PARMS; ClsbpfError with tc's words when it is not there."""
    if number not in attrs:
        raise ClsbpfError(missing)
    return attrs[number].payload


def show_control(out: Printer, prefix: str, control: int, suffix: str = "") -> None:
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


def show_holders(out: Printer, references: int, bindings: int) -> None:
    """Who holds the action."""
    out.both("ref", f" ref {references}", references)
    out.both("bind", f" bind {bindings}", bindings)


def show_times(out: Printer, times: Attr | None, options: Options) -> None:
    """print_tm(), with -s: when the action came, was used, was first used, expires."""
    if not options.stats or times is None:
        return
    install, last_use, expires, first_use = wire.TM.unpack_from(times.payload)
    for key, word, ticks in (
        ("installed", "installed", install),
        ("last_used", "used", last_use),
        ("first_used", "firstused", first_use),
        ("expires", "expires", expires),
    ):
        if ticks:
            seconds = ticks // wire.USER_HZ
            out.both(key, f" {word} {seconds} sec", seconds)


def show_tail(
    out: Printer, parms: wire.GenericParms, times: Attr | None, options: Options, *, before: str = "\t "
) -> None:
    """The line that most kinds end with: index, holders, times."""
    out.both("index", f"{before}index {parms.index}", parms.index)
    show_holders(out, parms.references, parms.bindings)
    show_times(out, times, options)
    out.end_line()


def format_link_address(payload: bytes) -> str:
    """ll_addr_n2a()."""
    return ":".join(f"{byte:02x}" for byte in payload)


def be16(payload: bytes) -> int:
    """rta_getattr_be16()."""
    return int(struct.unpack(">H", payload[:2])[0])


def parms_attr(number: int, index: int | None, control: int, more: bytes = b"") -> Attr:
    """PARMS of a kind whose struct is tc_gen and more."""
    return nla.binary(number, generic(index, control) + more)
