"""Requests to tc's words: a line for tc -batch, where tc's language has words for the request.

A line is made, then read as tc reads it; only if the same request comes out is it the line.  So a line may
fall short of what a request says, and nothing is lost by it: the caller keeps the request itself.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ...bpf.bytecode import format_bytecode
from ...bpf.classic import decode_ops
from ...errors import ClsbpfError
from ...netlink.act import BITFIELD32, TCAMSG_LEN, TcaAct, TcaActBpf, TcaRoot
from ...netlink.attr import Attr, iter_attrs
from ...netlink.message import Message
from ...netlink.schema import TCA_BPF_FLAG_ACT_DIRECT, ClsFlag, Rtm, Tca, TcaBpf
from ...netlink.tcmsg import TCMSG_LEN, TcMsg
from ..command import parse_command
from ..ids import CLSACT_EGRESS, CLSACT_INGRESS, TC_H_ROOT, format_classid, format_protocol, parse_protocol
from ..request import ObjectSource
from ..words import BLANKS
from .action_words import KINDS, Unsayable, by_type, tail
from .qdisc_words import CLASSES, QDISCS, size_table
from .same import canonical


@dataclass(slots=True)
class Said:
    """How things are called: a device by its ifindex, and the directory where a program's file is."""

    device: Callable[[int], str | None]
    program: Callable[[int], str]
    _ifindexes: dict[str, int] = field(default_factory=dict)
    _programs: dict[str, int] = field(default_factory=dict)

    def device_name(self, ifindex: int) -> str:
        """The name; Unsayable where there is none."""
        name = self.device(ifindex)
        if name is None:
            raise Unsayable
        self._ifindexes[name] = ifindex
        return name

    def program_file(self, id: int, annotation: str) -> list[str]:
        """The mode of a loaded program, so that tc gives it this annotation (TCA_BPF_NAME)."""
        found = re.fullmatch(r"([^/]+):\[(.*)\]", annotation)
        if found is None:
            raise Unsayable
        path = f"{self.program(id)}/{found[1]}"
        self._programs[path] = id
        if found[2] == "*fsobj":
            return ["object-pinned", path]
        return ["object-file", path, "section", found[2]]

    def resolve(self, name: str) -> int | None:
        """The ifindex of a name that was given."""
        return self._ifindexes.get(name)

    def load(self, source: ObjectSource) -> int:
        """The id of a program whose file was given, in a descriptor's place."""
        return self._programs[source.path]


def line_of(request: Message, said: Said) -> str | None:
    """The line of a request, or None where tc's language has no words for it."""
    make = _COMMANDS.get(request.type)
    if make is None:
        return None
    try:
        words = list(make(request, said))
        line = " ".join(map(quoted, words))
        command = parse_command(words, said.resolve, load_object=said.load, environ={})
    except (Unsayable, ClsbpfError, LookupError, ValueError, struct.error):
        return None  # also where a request lacks what tc would always say
    (read,) = command.requests
    return line if canonical(read.message) == canonical(request) else None


def quoted(word: str) -> str:
    """A word as a batch has it; Unsayable for one that no line can hold."""
    if any(char in word for char in "#\n\0\\"):
        raise Unsayable  # a comment begins wherever `#` stands
    if word and word[0] not in "'\"" and not any(blank in word for blank in BLANKS):
        return word
    for mark in "'\"":
        if mark not in word:
            return f"{mark}{word}{mark}"
    raise Unsayable


def _attrs(request: Message) -> tuple[TcMsg, dict[int, Attr]]:
    return TcMsg.decode(request.payload), by_type(iter_attrs(request.payload[TCMSG_LEN:]))


_PARENTS = {CLSACT_INGRESS: "ingress", CLSACT_EGRESS: "egress", TC_H_ROOT: "root"}


def _place(header: TcMsg, said: Said) -> list[str]:
    if header.is_block:
        return ["block", str(header.block_index)]
    words = ["dev", said.device_name(header.ifindex)]
    if header.parent in _PARENTS:
        return [*words, _PARENTS[header.parent]]
    return [*words, "parent", format_classid(header.parent)] if header.parent else words


# qdiscs, classes and chains


def _qdisc(request: Message, said: Said) -> Iterator[str]:
    header, attrs = _attrs(request)
    kind = attrs[Tca.KIND].string
    yield from ("qdisc", "add", "dev", said.device_name(header.ifindex))
    for number, word in ((Tca.INGRESS_BLOCK, "ingress_block"), (Tca.EGRESS_BLOCK, "egress_block")):
        if number in attrs:
            yield from (word, str(attrs[number].u32))
    if kind not in ("clsact", "ingress"):
        yield from (*_parent(header), "handle", format_classid(header.handle))
    yield from _estimator(attrs)
    if Tca.STAB in attrs:
        yield from size_table(attrs[Tca.STAB])
    yield kind
    if Tca.OPTIONS in attrs:
        yield from _known(QDISCS, kind)(attrs[Tca.OPTIONS])


def _class(request: Message, said: Said) -> Iterator[str]:
    header, attrs = _attrs(request)
    kind = attrs[Tca.KIND].string
    yield from ("class", "add", "dev", said.device_name(header.ifindex), *_parent(header))
    yield from ("classid", format_classid(header.handle), *_estimator(attrs), kind)
    yield from _known(CLASSES, kind)(attrs[Tca.OPTIONS])


def _parent(header: TcMsg) -> tuple[str, ...]:
    return ("root",) if header.parent == TC_H_ROOT else ("parent", format_classid(header.parent))


def _estimator(attrs: Mapping[int, Attr]) -> tuple[str, ...]:
    """TCA_RATE: the interval, and the shortest time constant that gives the weight."""
    if Tca.RATE not in attrs:
        return ()
    interval, ewma_log = struct.unpack("=bB", attrs[Tca.RATE].payload)
    time = 250_000 << (interval + 2)
    constant = math.ceil(time / -math.log(1.0 - 1.0 / (1 << ewma_log)))
    return ("estimator", f"{time}us", f"{constant}us")


def _known(
    kinds: Mapping[str, Callable[[Attr], Iterator[str]]], kind: str
) -> Callable[[Attr], Iterator[str]]:
    if kind not in kinds:
        raise Unsayable
    return kinds[kind]


def _chain(request: Message, said: Said) -> Iterator[str]:
    header, attrs = _attrs(request)
    yield from ("chain", "add", *_place(header, said), "chain", str(attrs[Tca.CHAIN].u32))


# filters


def _filter(request: Message, said: Said) -> Iterator[str]:
    header, attrs = _attrs(request)
    options = by_type(attrs[Tca.OPTIONS].attrs())
    yield from ("filter", "add", *_place(header, said))
    protocol = format_protocol(header.protocol)
    known = parse_protocol(protocol) == header.protocol
    yield from _estimator(attrs)
    yield from ("pref", str(header.prio), "protocol", protocol if known else f"{header.protocol:#x}")
    yield from ("chain", str(attrs[Tca.CHAIN].u32), "handle", f"{header.handle:#x}", attrs[Tca.KIND].string)
    yield from _program(options, said, (TcaBpf.OPS_LEN, TcaBpf.OPS, TcaBpf.FD, TcaBpf.NAME))
    if TcaBpf.CLASSID in options:
        yield from ("flowid", format_classid(options[TcaBpf.CLASSID].u32))
    if TcaBpf.FLAGS in options and options[TcaBpf.FLAGS].u32 & TCA_BPF_FLAG_ACT_DIRECT:
        yield "direct-action"
    if TcaBpf.FLAGS_GEN in options:
        flags = options[TcaBpf.FLAGS_GEN].u32
        if flags & ClsFlag.SKIP_HW:
            yield "skip_hw"
        if flags & ClsFlag.SKIP_SW:
            yield "skip_sw"
    if TcaBpf.POLICE in options:
        yield from ("police", *KINDS["police"](by_type(options[TcaBpf.POLICE].attrs()), said.device_name))
    if TcaBpf.ACT in options:
        yield from _actions(options[TcaBpf.ACT].attrs(), said)


def _program(options: dict[int, Attr], said: Said, numbers: tuple[int, int, int, int]) -> list[str]:
    """A program's mode; `numbers` are those of OPS_LEN, OPS, FD and NAME."""
    _, ops, fd, name = numbers
    if ops in options:
        return ["bytecode", format_bytecode(decode_ops(options[ops].payload))]
    if name not in options or fd not in options:
        raise Unsayable
    return said.program_file(options[fd].u32, options[name].string)


# actions


def _actions(actions: Iterable[Attr], said: Said) -> Iterator[str]:
    for action in actions:
        yield from ("action", *_action(by_type(action.attrs()), said))


def _action(attrs: dict[int, Attr], said: Said) -> Iterator[str]:
    kind = attrs[TcaAct.KIND].string
    options = by_type(attrs[TcaAct.OPTIONS].attrs())
    if kind == "bpf":
        numbers = (TcaActBpf.OPS_LEN, TcaActBpf.OPS, TcaActBpf.FD, TcaActBpf.NAME)
        yield from ("bpf", *_program(options, said, numbers), *tail(options[TcaActBpf.PARMS]))
    elif kind in KINDS:
        yield from (kind, *KINDS[kind](options, said.device_name))
    else:
        raise Unsayable
    if TcaAct.COOKIE in attrs:
        yield from ("cookie", attrs[TcaAct.COOKIE].payload.hex())
    if TcaAct.HW_STATS in attrs:
        words = {1: "immediate", 2: "delayed", 0: "disabled"}
        value, _ = BITFIELD32.unpack_from(attrs[TcaAct.HW_STATS].payload)
        if value not in words:
            raise Unsayable
        yield from ("hw_stats", words[value])
    if TcaAct.FLAGS in attrs:
        flags, _ = BITFIELD32.unpack_from(attrs[TcaAct.FLAGS].payload)
        yield from (word for bit, word in ((1, "no_percpu"), (2, "skip_hw"), (4, "skip_sw")) if flags & bit)


def _action_command(request: Message, said: Said) -> Iterator[str]:
    for tab in iter_attrs(request.payload[TCAMSG_LEN:]):
        if tab.type == TcaRoot.TAB:
            yield from ("actions", "add", *_actions(tab.attrs(), said))


_COMMANDS: dict[int, Callable[[Message, Said], Iterator[str]]] = {
    Rtm.NEWQDISC: _qdisc,
    Rtm.NEWTCLASS: _class,
    Rtm.NEWCHAIN: _chain,
    Rtm.NEWTFILTER: _filter,
    Rtm.NEWACTION: _action_command,
}
