"""clsact and ingress: which block a parent means, and which one a packet meets."""

from __future__ import annotations

import pytest

from clsbpf.skb import Skb, receive
from clsbpf.tc.act import TcAct
from clsbpf.tc.hook import CLSACT, INGRESS, HookQdisc
from clsbpf.tc.result import ClassifyResult
from tc_fakes import FRAME, Lab, frame_skb, returns

OWN = 0xFFFFFFFF


def clsact() -> tuple[HookQdisc, Lab, Lab]:
    inward, outward = Lab(), Lab()
    return HookQdisc(CLSACT, inward.block, outward.block), inward, outward


# A parent of a filter, its class and its block; seen on a current kernel, where no block is EINVAL.
PARENTS = [
    (CLSACT, 0xFFFFFFF2, 0xFFF2, "ingress"),
    (CLSACT, 0xFFFFFFF3, 0xFFF3, "egress"),
    (CLSACT, 0xFFFFFFF1, 0, None),
    (CLSACT, 0xFFFF0001, 0, None),
    (CLSACT, 0xFFFF0000, 0, None),
    (INGRESS, 0xFFFFFFF2, 0xFFF3, "ingress"),
    (INGRESS, 0xFFFFFFF3, 0xFFF4, "ingress"),
    (INGRESS, 0xFFFF0001, 2, "ingress"),
    (INGRESS, 0xFFFF0000, 1, "ingress"),
]


@pytest.mark.parametrize(("kind", "parent", "class_", "side"), PARENTS)
def test_parents(kind: str, parent: int, class_: int, side: str | None) -> None:
    inward, outward = Lab().block, Lab().block
    qdisc = HookQdisc(kind, inward, outward if kind == CLSACT else None)
    assert qdisc.find(parent) == class_
    assert qdisc.block_of(parent) is {"ingress": inward, "egress": outward, None: None}[side]
    assert (qdisc.handle, qdisc.parent) == (0xFFFF0000, 0xFFFFFFF1)


def test_a_packet_meets_the_filters_of_its_side() -> None:
    qdisc, inward, outward = clsact()
    inward.classifier().change(returns(OWN, classid=0x10001))
    outward.classifier().change(returns(TcAct.SHOT, da=True, classid=0x20002))
    for skb, answer, classid in [(receive(FRAME), 0, 0x10001), (frame_skb(), 2, 0x20002)]:
        assert skb is not None
        result = ClassifyResult()
        assert qdisc.classify(skb, result) == answer
        assert result.classid == classid


def test_the_old_ingress_has_no_egress() -> None:
    lab = Lab()
    lab.classifier().change(returns(TcAct.SHOT, da=True))
    qdisc = HookQdisc(INGRESS, lab.block)
    incoming = receive(FRAME)
    assert incoming is not None
    assert qdisc.classify(incoming, ClassifyResult()) == TcAct.SHOT
    assert qdisc.classify(frame_skb(), ClassifyResult()) == TcAct.UNSPEC


@pytest.mark.parametrize(
    ("answer", "tc_index"), [(TcAct.OK, 0x42), (TcAct.UNSPEC, 9), (TcAct.SHOT, 9), (TcAct.STOLEN, 9)]
)
def test_a_packet_let_through_has_its_class_as_tc_index(answer: int, tc_index: int) -> None:
    qdisc, _, outward = clsact()
    outward.classifier().change(returns(answer, da=True, classid=0x30042))
    skb = frame_skb()
    skb.tc_index = 9
    assert qdisc.classify(skb, ClassifyResult()) == answer
    assert skb.tc_index == tc_index


@pytest.mark.parametrize(("skb", "wire_len", "length"), [(receive(FRAME), 46, 60), (frame_skb(), 60, 60)])
def test_wire_len_leaves_out_the_header_at_ingress(skb: Skb, wire_len: int, length: int) -> None:
    qdisc, inward, outward = clsact()
    seen = []
    for lab in (inward, outward):
        lab.classifier().change(lab.runs(lambda skb: seen.append((skb.wire_len, skb.len)) or 0))  # type: ignore[func-returns-value]
    skb.wire_len = 1  # what an earlier hook left
    qdisc.classify(skb, ClassifyResult())
    assert seen == [(wire_len, length)]
