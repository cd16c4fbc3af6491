"""What a reply says of a filter or a chain: values of the engine to attributes, in the kernel's order.

Mirrors tcf_fill_node() of net/sched/cls_api.c, cls_bpf_dump() of net/sched/cls_bpf.c
and the statistics of net/core/gen_stats.c (qdiscs and classes: `fill_qdisc`).
"""

from __future__ import annotations

from ..engine.actions import FilterActions, NetActions
from ..engine.programs import LoadedProgram
from ..netlink import attr as nla
from ..netlink.attr import Attr
from ..netlink.message import Message
from ..netlink.schema import TCA_BPF_FLAG_ACT_DIRECT, Tca, TcaBpf
from ..netlink.stats import encode_old_stats
from ..netlink.tcmsg import TcMsg, tc_message
from ..profile import KernelProfile
from ..tc.actions import Actions
from ..tc.chain import Block, Chain
from ..tc.filter import Classifier, Filter
from .places import Place
from .request import Request


def filter_message(
    request: Request,
    type: int,
    flags: int,
    place: Place,
    classifier: Classifier,
    each: Filter | None,
    *,
    warning: str | None = None,
) -> Message:
    """tcf_fill_node(): a message about a filter, or with None about its classifier."""
    attrs = [nla.string(Tca.KIND, classifier.kind), nla.u32(Tca.CHAIN, classifier.chain.index)]
    if each is not None:
        classifier.offload.update_stats(each)
        attrs.append(nla.nest(Tca.OPTIONS, _filter_options(each, place.block)))
        attrs += _old_police_stats(each.actions)
    if warning is not None:
        attrs.append(nla.string(Tca.EXT_WARN_MSG, warning))
    header = place.header(classifier, each.handle if each is not None else 0)
    return tc_message(
        type, header, request.known(attrs), flags=flags, seq=request.message.seq, pid=request.portid
    )


def _filter_options(each: Filter, block: Block) -> list[Attr]:
    """cls_bpf_dump(): what is inside TCA_OPTIONS."""
    attrs: list[Attr] = []
    if each.classid:
        attrs.append(nla.u32(TcaBpf.CLASSID, each.classid))
    attrs += _ebpf_info(each, block.profile) if each.ops is None else _bpf_info(each.ops)
    attrs += _actions(each.actions, block)
    if each.direct_action:
        attrs.append(nla.u32(TcaBpf.FLAGS, TCA_BPF_FLAG_ACT_DIRECT))
    if each.gen_flags:
        attrs.append(nla.u32(TcaBpf.FLAGS_GEN, each.gen_flags))
    return attrs


def _actions(actions: Actions, block: Block) -> list[Attr]:
    """tcf_exts_dump(): the list, or a policer of the old form."""
    if not isinstance(actions, FilterActions):
        return []
    net = block.action_source
    assert isinstance(net, NetActions)
    if actions.is_old_police:
        return [nla.nest(TcaBpf.POLICE, net.options(actions.actions[0]))]
    listed = [nla.nest(order, net.dump(action)) for order, action in enumerate(actions.actions, 1)]
    return [nla.nest(TcaBpf.ACT, listed)]


def _old_police_stats(actions: Actions) -> list[Attr]:
    """tcf_exts_dump_stats(): the counters of a policer of the old form, beside the options."""
    if not isinstance(actions, FilterActions) or not actions.is_old_police:
        return []
    counters = actions.actions[0].counters
    old = encode_old_stats(
        counters.bytes, counters.packets, drops=counters.drops, overlimits=counters.overlimits
    )
    return [nla.binary(Tca.STATS, old)]


def _bpf_info(ops: bytes) -> list[Attr]:
    """cls_bpf_dump_bpf_info(): a classic program."""
    return [nla.u16(TcaBpf.OPS_LEN, len(ops) // 8), nla.binary(TcaBpf.OPS, ops)]


def _ebpf_info(each: Filter, profile: KernelProfile) -> list[Attr]:
    """cls_bpf_dump_ebpf_info(): a loaded program."""
    program = each.program
    attrs: list[Attr] = []
    if each.name is not None:
        attrs.append(nla.string(TcaBpf.NAME, each.name))
    if isinstance(program, LoadedProgram):
        if profile.dumps_id and program.id is not None:
            attrs.append(nla.u32(TcaBpf.ID, program.id))
        if program.tag is not None:
            attrs.append(nla.binary(TcaBpf.TAG, program.tag))
    return attrs


def chain_message(
    chain: Chain, type: int, flags: int, *, seq: int = 0, pid: int = 0, warning: str | None = None
) -> Message:
    """tc_chain_fill_node(): a message about a chain; of a device's block the parent is its qdisc."""
    block = chain.block
    if block.owner is None:
        header = TcMsg.of_block(block.index)
    else:
        header = TcMsg(0, block.owner.ifindex, 0, block.owner.handle)
    attrs = [nla.u32(Tca.CHAIN, chain.index)]
    if warning is not None:
        attrs.append(nla.string(Tca.EXT_WARN_MSG, warning))
    return tc_message(type, header, attrs, flags=flags, seq=seq, pid=pid)
