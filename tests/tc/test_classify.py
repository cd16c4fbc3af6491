"""cls_bpf_classify(): which filter decides, with which verdict and class."""

from __future__ import annotations

from typing import Any

import pytest

from clsbpf.link import link_layer
from clsbpf.skb import Skb, receive
from clsbpf.tc.act import TcAct, goto_chain, jump
from clsbpf.tc.filter import BpfOptions
from clsbpf.tc.result import ClassifyResult
from tc_fakes import FRAME, ActionMaker, FixedActions, Lab, frame_skb, returns

OWN = 0xFFFFFFFF
UNSPEC = TcAct.UNSPEC


def no_match(**options: Any) -> BpfOptions:
    return returns(0, **options)


# The filters of one classifier in the order in which they are *added*; the last is tried first.
CASES = [
    ("no filter", [], UNSPEC, 0, None),
    ("0 is no match", [no_match(classid=0x10001)], UNSPEC, 0, None),
    ("-1 takes the filter's class", [returns(OWN, classid=0x10001)], 0, 0x10001, 1),
    ("-1 without a class", [returns(OWN)], 0, 0, 1),
    ("another value is the class", [returns(0x50007, classid=0x10001)], 0, 0x50007, 1),
    ("also a small one", [returns(2, classid=0x10001)], 0, 2, 1),
    ("also -2", [returns(0xFFFFFFFE)], 0, 0xFFFFFFFE, 1),
    ("the newest is first", [returns(OWN, classid=1), returns(OWN, classid=2)], 0, 2, 2),
    ("no match goes on", [returns(OWN, classid=1), no_match(classid=2)], 0, 1, 1),
    ("direct action", [returns(TcAct.SHOT, da=True, classid=0x10001)], TcAct.SHOT, 0x10001, 1),
    ("direct unspec goes on", [returns(OWN, classid=1), returns(-1, da=True, classid=0x20002)], 0, 1, 1),
    ("direct 0 decides", [returns(OWN, classid=1), returns(0, da=True, classid=0x20002)], 0, 0x20002, 2),
    ("unknown goes on", [returns(0, da=True), returns(99, da=True)], 0, 0, 1),
]


@pytest.mark.parametrize(
    ("filters", "answer", "classid", "decider"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_who_decides(filters: list[BpfOptions], answer: int, classid: int, decider: int | None) -> None:
    classifier = Lab().classifier()
    for options in filters:
        classifier.change(options)
    result = ClassifyResult()
    assert classifier.classify(frame_skb(), result) == answer
    assert result.classid == classid
    assert (result.filter and result.filter.handle) == decider
    assert result.classifier is (classifier if decider else None)


DIRECT = [
    (0xFFFFFFFF, -1),
    (0, 0),
    (1, -1),
    (2, 2),
    (3, -1),
    (4, 4),
    (5, -1),
    (6, -1),
    (7, 7),
    (8, 8),
    (9, -1),
    (99, -1),
    (0xFFFFFFFE, -1),
    (0x80000000, -1),
    (jump(1), -1),
    (goto_chain(1), -1),
]


@pytest.mark.parametrize(("value", "answer"), DIRECT)
def test_what_a_direct_action_may_say(value: int, answer: int) -> None:
    classifier = Lab().classifier()
    classifier.change(returns(value, da=True))
    assert classifier.classify(frame_skb(), ClassifyResult()) == answer


def test_each_program_finds_its_own_minor_in_tc_classid() -> None:
    lab, seen = Lab(), []
    classifier = lab.classifier()

    def look(skb: Skb) -> int:
        seen.append(skb.tc_classid)
        skb.tc_classid = 0x77
        return 0

    for classid in (0x10001, 0x2ABCD, 0):
        classifier.change(lab.runs(look, classid=classid))
    classifier.classify(frame_skb(), ClassifyResult())
    assert seen == [0, 0xABCD, 1]


def test_direct_action_takes_the_minor_that_the_program_sets() -> None:
    lab = Lab()
    classifier = lab.classifier()

    def choose(skb: Skb) -> int:
        skb.tc_classid = 0x10042  # 16 bits are kept
        return TcAct.OK

    classifier.change(lab.runs(choose, flags=1, classid=0x30001))
    result = ClassifyResult()
    assert classifier.classify(frame_skb(), result) == TcAct.OK
    assert result.classid == 0x30042


def test_without_direct_action_tc_classid_says_nothing() -> None:
    lab = Lab()
    classifier = lab.classifier()

    def choose(skb: Skb) -> int:
        skb.tc_classid = 0x42
        return OWN

    classifier.change(lab.runs(choose, classid=0x30001))
    result = ClassifyResult()
    classifier.classify(frame_skb(), result)
    assert result.classid == 0x30001


@pytest.mark.parametrize("da", [False, True])
def test_skip_sw_does_not_run(da: bool) -> None:
    from tc_fakes import Driver

    lab = Lab(driver=Driver())
    classifier = lab.classifier()
    classifier.change(returns(OWN, classid=5))

    def never(skb: Skb) -> int:
        raise AssertionError

    skipped = classifier.change(lab.runs(never, classid=0x60001, flags=int(da), flags_gen=2))
    assert skipped.skip_sw
    result = ClassifyResult()
    assert classifier.classify(frame_skb(), result) == TcAct.OK
    assert result.classid == 5


ACTION_ANSWERS = [
    (TcAct.OK, True),
    (TcAct.RECLASSIFY, True),
    (TcAct.SHOT, True),
    (TcAct.PIPE, True),
    (TcAct.TRAP, True),
    (goto_chain(3), True),
    (TcAct.UNSPEC, False),
    (-5, False),
]


@pytest.mark.parametrize(("answer", "decides"), ACTION_ANSWERS)
def test_actions_answer_for_a_match(answer: int, decides: bool) -> None:
    lab = Lab(actions=ActionMaker(it=lambda: FixedActions(answer)))
    classifier = lab.classifier()
    classifier.change(no_match(classid=1))
    mine = classifier.change(returns(OWN, classid=0x10009, actions=b"it"))
    result = ClassifyResult()
    assert classifier.classify(frame_skb(), result) == answer
    assert result.filter is (mine if decides else None)
    assert result.classid == 0x10009  # as in the kernel, also where no filter decides in the end


def test_direct_action_runs_no_actions() -> None:
    lab = Lab(actions=ActionMaker(it=lambda: FixedActions(TcAct.SHOT)))
    classifier = lab.classifier()
    classifier.change(returns(0, da=True, actions=b"it"))
    assert classifier.classify(frame_skb(), ClassifyResult()) == TcAct.OK


def test_actions_see_the_class() -> None:
    seen = []
    look = FixedActions(0, lambda skb, result: seen.append(result.classid))
    lab = Lab(actions=ActionMaker(look=lambda: look))
    lab_classifier = lab.classifier()
    lab_classifier.change(returns(0x40004, classid=1, actions=b"look"))
    lab_classifier.classify(frame_skb(), ClassifyResult())
    assert seen == [0x40004]


# What a program sees where: (packet, first bytes seen, len seen)
TAGGED = FRAME[:12] + bytes.fromhex("81000064") + FRAME[12:]
SEEN = [
    ("egress: from the link layer on", Skb.from_frame(FRAME), FRAME, 60),
    ("ingress: too", receive(FRAME), FRAME, 60),
    ("egress: a tag stays", Skb.from_frame(TAGGED), TAGGED, 64),
    ("ingress: a tag is out of the data", receive(TAGGED), FRAME, 60),
    ("ingress, raw IP: nothing to push", receive(FRAME[14:], link=link_layer(101)), FRAME[14:], 46),
]


@pytest.mark.parametrize(("skb", "packet", "length"), [case[1:] for case in SEEN], ids=[c[0] for c in SEEN])
def test_what_a_program_sees(skb: Skb, packet: bytes, length: int) -> None:
    lab, seen = Lab(), []
    classifier = lab.classifier()
    before = (skb.data, skb.tail, skb.len)

    def look(skb: Skb) -> int:
        seen.append((skb.packet, skb.len))
        return 0

    classifier.change(lab.runs(look))
    classifier.classify(skb, ClassifyResult())
    assert seen == [(packet, length)]
    assert (skb.data, skb.tail, skb.len) == before


def test_a_program_that_changes_mac_len_is_pulled_by_the_new_one() -> None:
    lab = Lab()
    classifier = lab.classifier()

    def tag(skb: Skb) -> int:
        skb.mac_len = 18
        return 0

    classifier.change(lab.runs(tag))
    skb = receive(FRAME)
    assert skb is not None
    before = skb.data
    classifier.classify(skb, ClassifyResult())
    assert skb.data == before + 4


def test_a_bound_class_goes_into_the_result_unless_the_program_chooses() -> None:
    from tc_fakes import Binder

    lab = Lab(binder=Binder({0x10010: "gold"}))
    classifier = lab.classifier()
    result = ClassifyResult()
    for options, class_ in [
        (returns(OWN, classid=0x10010), "gold"),
        (returns(0x10020, classid=0x10010), None),
        (returns(OWN, classid=0x10030), None),
        (returns(OWN, classid=0x10010), "gold"),
        (returns(0, da=True, classid=0x10010), None),
    ]:
        classifier.change(options)
        classifier.classify(frame_skb(), result)
        assert result.class_ == class_
