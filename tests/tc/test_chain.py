"""Chains and blocks: the order of prios, protocols, re-runs and their budget, who holds a chain."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from clsbpf.errors import NetlinkError
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.skb import Skb, receive
from clsbpf.tc.act import TcAct, goto_chain
from clsbpf.tc.chain import Block, Chain
from clsbpf.tc.result import ClassifyResult
from tc_fakes import ETH_P_ALL, FRAME, PROFILES, ActionMaker, FixedActions, Lab, frame_skb, returns

OWN = 0xFFFFFFFF
by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


def prios(chain: Chain) -> list[int]:
    return [each.prio for each in chain.classifiers]


# Order of priorities


def test_classifiers_are_in_the_order_of_their_prios() -> None:
    lab = Lab()
    for prio in (20, 65535, 1, 10, 15):
        lab.classifier(prio)
    chain = lab.block.chains[0]
    assert prios(chain) == [1, 10, 15, 20, 65535]
    found = chain.find(15)
    assert found is not None
    chain.remove(found)
    assert prios(chain) == [1, 10, 20, 65535]
    assert chain.find(15) is None


def test_find_looks_at_the_protocol_where_one_is_given() -> None:
    lab = Lab()
    classifier = lab.classifier(10, 0x0800)
    chain = classifier.chain
    assert chain.find(10) is chain.find(10, 0x0800) is classifier
    assert chain.find(9, 0x86DD) is chain.find(11, 0x86DD) is None
    for protocol in (0x86DD, ETH_P_ALL):
        with pytest.raises(
            NetlinkError, match="Protocol mismatch for filter with specified priority"
        ) as caught:
            chain.find(10, protocol)
        assert (caught.value.errno, caught.value.extack) == (errno.EINVAL, str(caught.value))


AUTO = [
    ([], 49152),
    ([49152], 49151),
    ([49152, 49151], 49150),
    ([60000], 59999),
    ([100, 32767], 49152),
    ([32769], 32768),
    ([32767, 40000, 50000], 39999),
    ([65535], 65534),
]


@pytest.mark.parametrize(("present", "chosen"), AUTO)
def test_automatic_prio(present: list[int], chosen: int) -> None:
    lab = Lab()
    for prio in present:
        lab.classifier(prio)
    chain = lab.block.get_chain(0)
    assert chain.auto_prio() == chosen


@pytest.mark.parametrize(("profile", "number"), [(CURRENT, errno.ENOSPC), (V4_13, errno.EINVAL)])
def test_automatic_prios_are_used_up(profile: KernelProfile, number: int) -> None:
    lab = Lab(profile)
    lab.classifier(40000)
    chain = lab.classifier(32768).chain
    with pytest.raises(NetlinkError, match="Lowest ID from auto-alloc range already in use") as caught:
        chain.auto_prio()
    assert caught.value.errno == number


# Which classifiers a packet meets

TAGGED = FRAME[:12] + bytes.fromhex("81000064") + FRAME[12:]
ARP = FRAME[:12] + bytes.fromhex("0806") + FRAME[14:]
LLC = FRAME[:12] + bytes.fromhex("0026424203") + FRAME[17:]
MEETS = [
    ("IPv4 in", receive(FRAME), [0x0800, ETH_P_ALL]),
    ("IPv4 out", Skb.from_frame(FRAME), [0x0800, ETH_P_ALL]),
    ("ARP in", receive(ARP), [0x0806, ETH_P_ALL]),
    ("tagged IPv4 in: only the tag counts", receive(TAGGED), [0x8100, ETH_P_ALL]),
    ("tagged IPv4 out", Skb.from_frame(TAGGED), [0x8100, ETH_P_ALL]),
    ("802.2 in", receive(LLC), [4, ETH_P_ALL]),
]


@by_profile
@pytest.mark.parametrize(("skb", "meets"), [case[1:] for case in MEETS], ids=[case[0] for case in MEETS])
def test_protocols(skb: Skb, meets: list[int], profile: KernelProfile) -> None:
    lab, met = Lab(profile), list[int]()

    def note(protocol: int) -> Callable[[Skb], int]:
        return lambda skb: met.append(protocol) or 0  # type: ignore[func-returns-value]

    for prio, protocol in enumerate([0x0800, 0x0806, 0x8100, 0x86DD, 4, 1, ETH_P_ALL], 1):
        lab.classifier(prio, protocol).change(lab.runs(note(protocol)))
    assert lab.block.classify(skb, ClassifyResult()) == TcAct.UNSPEC
    assert met == meets


@pytest.mark.parametrize(("profile", "classid"), [(CURRENT, 6), (V4_13, 4)])
def test_when_the_protocol_is_read(profile: KernelProfile, classid: int) -> None:
    """A program makes IPv4 into IPv6: a current kernel's next classifier sees that, 4.13's does not."""
    lab = Lab(profile)

    def change_proto(skb: Skb) -> int:
        skb.protocol = 0x86DD
        return 0

    lab.classifier(1).change(lab.runs(change_proto))
    lab.classifier(2, 0x0800).change(returns(4))
    lab.classifier(3, 0x86DD).change(returns(6))
    result = ClassifyResult()
    assert lab.block.classify(frame_skb(), result) == TcAct.OK
    assert result.classid == classid


def test_the_lowest_prio_that_decides() -> None:
    lab = Lab()
    lab.classifier(30).change(returns(TcAct.SHOT, da=True))
    decides = lab.classifier(20)
    mine = decides.change(returns(OWN, classid=0x10002))
    lab.classifier(10).change(returns(0))
    lab.classifier(11).change(returns(-1, da=True))
    result = ClassifyResult()
    assert lab.block.classify(frame_skb(), result) == TcAct.OK
    assert (result.classid, result.filter, result.classifier) == (0x10002, mine, decides)


def test_no_one_decides() -> None:
    lab = Lab()
    lab.classifier(1, chain=1).change(returns(OWN))
    result = ClassifyResult()
    assert lab.block.classify(frame_skb(), result) == TcAct.UNSPEC, "chain 0 is not there"
    lab.classifier(1).change(returns(0))
    assert lab.block.classify(frame_skb(), result) == TcAct.UNSPEC
    assert (result.filter, result.classifier) == (None, None)


# Re-runs


class Going:
    """A block whose filters' actions send packets round; `runs` counts the packets that a program saw."""

    def __init__(self, profile: KernelProfile) -> None:
        self.maker = ActionMaker()
        self.lab = Lab(profile, actions=self.maker)
        self.runs = 0

    def count(self, skb: Skb) -> int:
        self.runs += 1
        return OWN

    def add(self, chain: int, prio: int, to: int | None, times: int = 10**6) -> None:
        """A filter that sends the first `times` packets it sees to chain `to`, None: reclassifies them."""
        name, left = f"{chain}/{prio}", [times]

        def go(skb: Skb, result: ClassifyResult) -> None:
            left[0] -= 1
            actions.answer = TcAct.PIPE if left[0] < 0 else TcAct.RECLASSIFY if to is None else goto_chain(to)
            if to is not None:
                result.goto = self.lab.block.get_chain(to, by_action=True)

        actions = FixedActions(0, go)
        self.maker.table[name] = lambda: actions
        self.lab.classifier(prio, chain=chain).change(self.lab.runs(self.count, actions=name.encode()))

    def classify(self) -> tuple[int, ClassifyResult]:
        result = ClassifyResult()
        return self.lab.block.classify(frame_skb(), result), result


BUDGET = [(CURRENT, 16), (V4_13, 4)]


@pytest.mark.parametrize(("profile", "budget"), BUDGET)
@pytest.mark.parametrize("to", [None, 0], ids=["reclassify", "goto chain 0"])
def test_who_goes_round_for_ever_is_dropped(profile: KernelProfile, budget: int, to: int | None) -> None:
    going = Going(profile)
    going.add(0, 1, to)
    answer, _ = going.classify()
    assert (answer, going.runs) == (TcAct.SHOT, budget + 1)


@pytest.mark.parametrize(("profile", "budget"), BUDGET)
def test_the_whole_budget_may_be_spent(profile: KernelProfile, budget: int) -> None:
    going = Going(profile)
    going.add(0, 1, None, times=budget)
    answer, _ = going.classify()
    assert (answer, going.runs) == (TcAct.PIPE, budget + 1)


@pytest.mark.parametrize(("profile", "budget"), BUDGET)
def test_reclassify_and_goto_share_the_budget(profile: KernelProfile, budget: int) -> None:
    going = Going(profile)
    going.add(0, 1, 7)
    going.add(7, 1, None)
    answer, _ = going.classify()
    assert (answer, going.runs) == (TcAct.SHOT, budget + 1)


@by_profile
def test_goto_goes_on_in_the_other_chain_and_does_not_come_back(profile: KernelProfile) -> None:
    going = Going(profile)
    going.add(0, 1, 5)
    going.lab.classifier(2).change(returns(OWN, classid=0x10002))
    answer, result = going.classify()
    assert (answer, result.filter) == (TcAct.UNSPEC, None), "nothing in chain 5, and prio 2 is not met"
    other = going.lab.classifier(1, chain=5)
    mine = other.change(returns(OWN, classid=0x10005))
    answer, result = going.classify()
    assert (answer, result.classid) == (TcAct.OK, 0x10005)
    assert (result.filter, result.classifier) == (mine, other)


@by_profile
def test_reclassify_begins_with_the_first_classifier_of_chain_0(profile: KernelProfile) -> None:
    going = Going(profile)
    order = []
    lab = going.lab
    lab.classifier(1).change(lab.runs(lambda skb: order.append("0/1") or 0))  # type: ignore[func-returns-value]
    going.add(0, 2, 5)
    lab.classifier(1, chain=5).change(lab.runs(lambda skb: order.append("5/1") or 0))  # type: ignore[func-returns-value]
    going.add(5, 2, None, times=1)
    answer, _ = going.classify()
    assert (answer, order) == (TcAct.PIPE, ["0/1", "5/1", "0/1", "5/1"])


# Who holds a chain


@pytest.mark.parametrize(("profile", "always"), [(CURRENT, []), (V4_13, [0])])
def test_a_chain_is_there_as_long_as_someone_holds_it(profile: KernelProfile, always: list[int]) -> None:
    block = Lab(profile).block

    def indexes() -> list[int]:
        return list(block.chains)

    assert indexes() == always
    held = block.get_chain(5)
    assert indexes() == [*always, 5]
    one, two = held.insert(1, ETH_P_ALL), held.insert(2, ETH_P_ALL)
    block.put_chain(held)
    held.remove(one)
    assert indexes() == [*always, 5]
    assert held.remove_empty(two) is True
    assert indexes() == always
    zero = block.get_chain(0)
    assert indexes() == [0]
    block.put_chain(zero)
    assert indexes() == always


def test_chains_are_in_the_order_of_their_creation() -> None:
    lab = Lab()
    for index in (7, 2, 0):
        lab.classifier(chain=index)
    assert list(lab.block.chains) == [7, 2, 0]
    lab = Lab(V4_13)
    for index in (7, 2, 0):
        lab.classifier(chain=index)
    assert list(lab.block.chains) == [0, 7, 2]


def test_a_chain_that_only_actions_hold() -> None:
    block = Lab().block
    chain = block.get_chain(9, by_action=True)
    assert chain.held_by_actions_only
    assert block.get_chain(9) is chain
    assert not chain.held_by_actions_only
    block.put_chain(chain)
    assert chain.held_by_actions_only
    block.put_chain(chain, by_action=True)
    assert list(block.chains) == []


def test_remove_empty_leaves_a_classifier_with_filters() -> None:
    lab = Lab()
    classifier = lab.classifier()
    mine = classifier.change(returns(0))
    assert classifier.chain.remove_empty(classifier) is False
    classifier.delete(mine)
    assert classifier.chain.remove_empty(classifier) is True
    assert classifier.chain.remove_empty(classifier) is False


@by_profile
def test_flush(profile: KernelProfile) -> None:
    maker = ActionMaker(ok=lambda: FixedActions(0))
    lab = Lab(profile, actions=maker)
    for chain in (0, 3):
        for prio in (1, 2):
            lab.classifier(prio, chain=chain).change(returns(OWN, actions=b"ok"))
    before = lab.block.generation
    lab.block.chains[3].flush()
    assert (list(lab.block.chains), maker.alive) == ([0], 2)
    explicit = lab.block.get_chain(8)
    explicit.explicitly_created = True
    lab.block.flush()
    assert list(lab.block.chains) == ([0] if profile.keeps_chain0 else [])
    assert maker.alive == 0
    assert lab.block.generation > before
    assert lab.block.classify(frame_skb(), ClassifyResult()) == TcAct.UNSPEC


def test_generation_grows_with_classifiers() -> None:
    lab = Lab()
    seen = [lab.block.generation]

    def grew(block: Block) -> bool:
        seen.append(block.generation)
        return seen[-1] > seen[-2]

    classifier = lab.classifier()
    assert grew(lab.block)
    lab.block.classify(frame_skb(), ClassifyResult())
    assert not grew(lab.block)
    classifier.chain.remove(classifier)
    assert grew(lab.block)


def test_who_sees_a_generation_sees_its_change() -> None:
    """`generation` must not grow before readers see the change, or they would keep what is stale."""
    lab = Lab()
    block = lab.block
    seen = []

    class Watched(Block):
        def changed(self) -> None:
            seen.append([[len(c) for c in chain.classifiers] for chain in self.chains.values()])
            super().changed()

    block.__class__ = Watched
    classifier = lab.classifier()
    mine = classifier.change(returns(0))
    classifier.delete(mine)
    assert seen == [[[]], [[0]], [[1]], [[0]]]
