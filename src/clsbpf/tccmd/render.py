"""Replies to text and JSON: what `tc filter show` and `tc monitor` print.

One function a kind of message (print_filter() of tc/tc_filter.c; qdiscs: `qdisc_rows`, classes:
`class_rows`), one a kind of options.  Trailing blanks are tc's.  What the command line selects is left
out of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..errors import ClsbpfError
from ..netlink.attr import Attr
from ..netlink.message import NLM_F_CREATE, NLM_F_EXCL, Message
from ..netlink.schema import TCA_BPF_FLAG_ACT_DIRECT, ClsFlag, Rtm, Tca, TcaBpf
from ..netlink.tcmsg import TCMSG_LEN, TcMsg
from .act.common import Names as ActionNames
from .ids import CLSACT_EGRESS, CLSACT_INGRESS, TC_H_ROOT, format_classid, format_protocol
from .options import Options
from .printer import Printer
from .program import show_ops
from .render_actions import print_action_message, print_actions, print_options
from .request import View
from .rows import attrs_of, print_change
from .stats import print_stats


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What struct bpf_prog_info says of a program, as far as tc shows it.

    `tag` are its 8 bytes, `load_time` nanoseconds since boot (0: not known), `btf_id` 0 for none.
    """

    name: str
    tag: bytes
    jited: bool
    load_time: int = 0
    created_by_uid: int = 0
    btf_id: int = 0


def _no_device(ifindex: int) -> str:
    return f"if{ifindex}"


def _no_program(id: int) -> ProgramInfo | None:
    return None


@dataclass(frozen=True, slots=True)
class Names:
    """What numbers in replies stand for.

    `device` gives a name for an ifindex, `program` what is known of a program id, None if nothing is;
    `classes` are the names of classids (tc -nm).
    """

    device: Callable[[int], str] = _no_device
    program: Callable[[int], ProgramInfo | None] = _no_program
    classes: Mapping[int, str] = field(default_factory=dict)

    def classid(self, classid: int) -> str:
        """The classid as tc writes it, with its name if it has one."""
        return format_classid(classid, self.classes)

    def device_name(self, ifindex: int) -> str:
        """ll_index_to_name(): `*` for none."""
        return self.device(ifindex) if ifindex else "*"

    def of_actions(self) -> ActionNames:
        """What actions need of them."""
        return ActionNames(self.device_name, self.classid, self.show_program)

    def show_program(self, out: Printer, id: int, options: Options) -> bool:
        """bpf_dump_prog_info(); was more than the id known?"""
        info = self.program(id)
        with out.object("prog"):
            out.both("id", f"id {id} ", id)
            if info is None:
                return False
            out.both("name", f"name {info.name} ", info.name)
            out.both("tag", f"tag {info.tag.hex()} ", info.tag.hex())
            out.value("jited", int(info.jited))
            if info.jited:
                out.say("jited ")
            if options.details:
                if info.load_time:
                    out.both("load_time", f"load_time {info.load_time} ", info.load_time)
                    out.both("created_by_uid", f"created_by_uid {info.created_by_uid} ", info.created_by_uid)
                if info.btf_id:
                    out.both("btf_id", f"btf_id {info.btf_id} ", info.btf_id)
        return True


NO_NAMES = Names()

_FILTERS = (Rtm.NEWTFILTER, Rtm.GETTFILTER, Rtm.DELTFILTER)
_CHAINS = (Rtm.NEWCHAIN, Rtm.GETCHAIN, Rtm.DELCHAIN)
_CLASSES = (Rtm.NEWTCLASS, Rtm.DELTCLASS)
_QDISCS = (Rtm.NEWQDISC, Rtm.DELQDISC)
_ACTIONS = (Rtm.NEWACTION, Rtm.GETACTION, Rtm.DELACTION)


def print_message(out: Printer, message: Message, view: View, names: Names = NO_NAMES) -> None:
    """One message of a reply, if it is a qdisc's, a class's, a filter's or a chain's and selected.

    ClsbpfError when it is cut or lacks what tc cannot do without.
    """
    if message.type in _FILTERS or message.type in _CHAINS:
        _print_filter(out, message, view, names)
    elif message.type in _QDISCS:
        from .qdisc_rows import print_qdisc  # not before there is one to print

        print_qdisc(out, message, view, names)
    elif message.type in _CLASSES:
        from .class_rows import print_class

        print_class(out, message, view, names)
    elif message.type in _ACTIONS:
        print_action_message(out, message, view.options, names.of_actions())
    else:
        raise ClsbpfError(f"Not a filter(cmd {message.type})")


# -- Filters and chains


def _print_filter(out: Printer, message: Message, view: View, names: Names) -> None:
    """print_filter()."""
    header = TcMsg.decode(message.payload)
    attrs = attrs_of(message.payload[TCMSG_LEN:])
    is_filter = message.type in _FILTERS
    kind = attrs.get(Tca.KIND)
    if is_filter and kind is None:
        raise ClsbpfError("print_filter: NULL kind")
    with out.object():
        created = message.type in (Rtm.NEWTFILTER, Rtm.NEWCHAIN) and bool(message.flags & NLM_F_CREATE)
        exclusive = bool(message.flags & NLM_F_EXCL)
        deleted = message.type in (Rtm.DELTFILTER, Rtm.DELCHAIN)
        print_change(out, deleted, created and not exclusive, created and exclusive)
        out.say("filter " if is_filter else "chain ")
        _print_place(out, header, view, names)
        if is_filter:
            _print_info(out, header, view)
        if kind is not None:
            out.both("kind", f"{kind.string} ", kind.string)
        if Tca.CHAIN in attrs:
            chain = attrs[Tca.CHAIN].u32
            if view.chain != chain:
                out.both("chain", f"chain {chain} ", chain)
        if kind is not None and Tca.OPTIONS in attrs:
            with out.object("options"):
                if kind.string == "bpf":
                    _print_bpf(out, attrs[Tca.OPTIONS], header.handle, view, names)
                else:
                    _print_unknown_options(out, attrs[Tca.OPTIONS], header.handle)
        out.end_line()
        if view.options.stats and (Tca.STATS in attrs or Tca.STATS2 in attrs):
            print_stats(out, attrs, " ", iec=bool(view.options.iec))
            out.end_line()


def _print_place(out: Printer, header: TcMsg, view: View, names: Names) -> None:
    """The block, or the device and the parent."""
    if header.is_block:
        if view.block == 0 or view.block != header.block_index:
            out.both("block", f"block {header.block_index} ", header.block_index)
        return
    if view.ifindex == 0 or view.ifindex != header.ifindex:
        device = names.device_name(header.ifindex)
        out.device(device)
    if view.parent == 0 or view.parent != header.parent:
        word = _PARENT_WORDS.get(header.parent)
        if word is not None:
            out.both(word, f"{word} ", True)
        else:
            parent = names.classid(header.parent)
            out.both("parent", f"parent {parent} ", parent)


_PARENT_WORDS = {TC_H_ROOT: "root", CLSACT_INGRESS: "ingress", CLSACT_EGRESS: "egress"}


def _print_info(out: Printer, header: TcMsg, view: View) -> None:
    """The protocol and the prio, unless 0 or selected."""
    if header.protocol and header.protocol != view.protocol:
        protocol = format_protocol(header.protocol, numeric=bool(view.options.numeric))
        out.both("protocol", f"protocol {protocol} ", protocol)
    if header.prio and header.prio != view.prio:
        out.both("pref", f"pref {header.prio} ", header.prio)


def _print_unknown_options(out: Printer, options: Attr, handle: int) -> None:
    """print_nofopt(): a classifier whose options are not known here."""
    if options.payload:
        out.say(f"fh {handle:08x} [Unknown filter, optlen={len(options.payload)}] ")
    elif handle:
        out.say(f"fh {handle:08x} ")


_BPF_FLAGS = ((ClsFlag.SKIP_HW, "skip_hw"), (ClsFlag.SKIP_SW, "skip_sw"))


def _print_bpf(out: Printer, options: Attr, handle: int, view: View, names: Names) -> None:
    """bpf_print_opt() of tc/f_bpf.c."""
    attrs = attrs_of(options.payload)
    if handle:
        out.both("handle", f"handle {handle:#x} ", f"{handle:#x}")
    if TcaBpf.CLASSID in attrs:
        classid = names.classid(attrs[TcaBpf.CLASSID].u32)
        out.both("flowid", f"flowid {classid} ", classid)
    if TcaBpf.NAME in attrs:
        name = attrs[TcaBpf.NAME].string
        out.both("bpf_name", f"{name} ", name)
    if TcaBpf.FLAGS in attrs and attrs[TcaBpf.FLAGS].u32 & TCA_BPF_FLAG_ACT_DIRECT:
        out.both("direct-action", "direct-action ", True)
    if TcaBpf.FLAGS_GEN in attrs:
        flags = attrs[TcaBpf.FLAGS_GEN].u32
        for flag, word in _BPF_FLAGS:
            if flags & flag:
                out.both(word, f"{word} ", True)
        if flags & ClsFlag.IN_HW:
            out.both("in_hw", "in_hw ", True)
        elif flags & ClsFlag.NOT_IN_HW:
            out.both("not_in_hw", "not_in_hw ", True)
    if TcaBpf.OPS in attrs and TcaBpf.OPS_LEN in attrs:
        show_ops(out, attrs[TcaBpf.OPS].payload, attrs[TcaBpf.OPS_LEN].u16)
    known = TcaBpf.ID in attrs and names.show_program(out, attrs[TcaBpf.ID].u32, view.options)
    if not known and TcaBpf.TAG in attrs:
        tag = attrs[TcaBpf.TAG].payload.hex()
        out.both("tag", f"tag {tag} ", tag)
    if TcaBpf.POLICE in attrs:
        out.end_line()
        print_options(out, "police", attrs[TcaBpf.POLICE], view.options, names.of_actions())
    if TcaBpf.ACT in attrs:
        print_actions(out, attrs[TcaBpf.ACT], view.options, names.of_actions())
