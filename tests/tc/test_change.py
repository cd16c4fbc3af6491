"""cls_bpf_change() and delete: positions, handles, every refusal, and readers in other threads."""

from __future__ import annotations

import errno
import gc
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from clsbpf.errors import ClsbpfError, NetlinkError
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.tc.act import TcAct
from clsbpf.tc.filter import BpfOptions, Classifier, Filter
from clsbpf.tc.offload import OffloadCommand
from clsbpf.tc.result import ClassifyResult
from tc_fakes import (
    PROFILES,
    ActionMaker,
    Binder,
    Driver,
    FixedActions,
    Lab,
    frame_skb,
    ret_ops,
    returns,
)

OWN = 0xFFFFFFFF


def handles_of(classifier: Classifier) -> list[int]:
    return [each.handle for each in classifier]


def test_the_newest_is_first_and_a_replacement_keeps_the_place() -> None:
    classifier = Lab().classifier()
    one, two, three = (classifier.change(returns(value)) for value in (1, 2, 3))
    assert list(classifier) == [three, two, one]
    new = classifier.change(returns(9), 2, two)
    assert list(classifier) == [three, new, one]
    assert (new.handle, classifier.get(2)) == (2, new)
    assert classifier.get(4) is None
    assert classifier.delete(three) is False
    assert list(classifier) == [new, one]
    assert classifier.delete(one) is False
    assert classifier.delete(new) is True
    assert list(classifier) == []
    assert classifier.get(2) is None


def test_what_a_filter_remembers() -> None:
    lab = Lab()
    classifier = lab.classifier()
    classic = classifier.change(
        BpfOptions(
            ops_len=1, ops=ret_ops(7), name="ignored", classid=0x10002, flags=1, flags_gen=1, rate=b"\1\2"
        )
    )
    assert (classic.ops, classic.name, classic.is_ebpf) == (ret_ops(7), None, False)
    assert (classic.classid, classic.direct_action, classic.gen_flags) == (0x10002, True, 1 | 8)
    ebpf = classifier.change(lab.runs(lambda skb: 5, name="p.o:[c]", ops=ret_ops(7)))
    assert (ebpf.ops, ebpf.name, ebpf.is_ebpf) == (None, "p.o:[c]", True)
    assert (ebpf.classid, ebpf.direct_action, ebpf.gen_flags) == (0, False, 8)
    assert ebpf.program.run(frame_skb()) == 5, "OPS without OPS_LEN beside a descriptor counts for nothing"


@pytest.mark.parametrize(("profile", "handle"), [(CURRENT, 1), (V4_13, 4)])
def test_handle_0_by_profile(profile: KernelProfile, handle: int) -> None:
    classifier = Lab(profile).classifier()
    first, *_ = [classifier.change(returns(0)) for _ in range(3)]
    classifier.delete(first)
    assert classifier.change(returns(0)).handle == handle


def test_a_failed_change_moves_the_counter_of_4_13_only() -> None:
    for profile, expected in ((CURRENT, 2), (V4_13, 3)):
        classifier = Lab(profile).classifier()
        classifier.change(returns(0))
        with pytest.raises(NetlinkError):
            classifier.change(BpfOptions())
        assert classifier.change(returns(0)).handle == expected


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_a_replacement_may_ask_for_another_handle(profile: KernelProfile) -> None:
    classifier = Lab(profile).classifier()
    old = classifier.change(returns(0), 5)
    new = classifier.change(returns(0), 0, old)
    assert handles_of(classifier) == [new.handle] == [1]
    assert classifier.get(5) is None
    classifier.change(returns(0), 5)
    assert handles_of(classifier) == [5, 1]


# Refusals


def failing_driver(command: OffloadCommand) -> Driver:
    return Driver(refuses={command: errno.EIO})


GOOD: dict[str, Any] = {"ops_len": 1, "ops": ret_ops(0)}
REFUSED: list[tuple[str, Callable[[Lab], BpfOptions], int]] = [
    ("neither program nor descriptor", lambda lab: BpfOptions(), errno.EINVAL),
    ("only options", lambda lab: BpfOptions(flags=1, classid=1, name="x"), errno.EINVAL),
    ("both", lambda lab: lab.runs(lambda skb: 0, **GOOD), errno.EINVAL),
    ("OPS without OPS_LEN", lambda lab: BpfOptions(ops=ret_ops(0)), errno.EINVAL),
    ("OPS_LEN without OPS", lambda lab: BpfOptions(ops_len=1), errno.EINVAL),
    ("OPS_LEN 0", lambda lab: BpfOptions(ops_len=0, ops=b""), errno.EINVAL),
    ("OPS_LEN 4097", lambda lab: BpfOptions(ops_len=4097, ops=ret_ops(0) * 4096), errno.EINVAL),
    ("OPS_LEN too large", lambda lab: BpfOptions(ops_len=2, ops=ret_ops(0)), errno.EINVAL),
    ("OPS_LEN too small", lambda lab: BpfOptions(ops_len=1, ops=ret_ops(0) * 2), errno.EINVAL),
    ("OPS of 9 bytes", lambda lab: BpfOptions(ops_len=1, ops=ret_ops(0) + b"\0"), errno.EINVAL),
    ("a program that is refused", lambda lab: BpfOptions(ops_len=1, ops=bytes(8)), errno.EINVAL),
    ("no such descriptor", lambda lab: BpfOptions(fd=99), errno.EBADF),
    ("unknown flag", lambda lab: BpfOptions(flags=2, **GOOD), errno.EINVAL),
    ("unknown flag beside da", lambda lab: BpfOptions(flags=0x80000001, **GOOD), errno.EINVAL),
    ("skip_hw and skip_sw", lambda lab: BpfOptions(flags_gen=3, **GOOD), errno.EINVAL),
    ("in_hw from outside", lambda lab: BpfOptions(flags_gen=4, **GOOD), errno.EINVAL),
    ("not_in_hw from outside", lambda lab: BpfOptions(flags_gen=8, **GOOD), errno.EINVAL),
    ("verbose", lambda lab: BpfOptions(flags_gen=16, **GOOD), errno.EINVAL),
    ("an action that is not there", lambda lab: BpfOptions(actions=b"no", **GOOD), errno.ENOENT),
    ("wrong flags after actions", lambda lab: BpfOptions(actions=b"ok", flags=2, **GOOD), errno.EINVAL),
    (
        "wrong program after actions",
        lambda lab: BpfOptions(actions=b"ok", ops_len=1, ops=bytes(8)),
        errno.EINVAL,
    ),
    (
        "the driver refuses what must be in hardware",
        lambda lab: BpfOptions(actions=b"ok", classid=0x10020, flags_gen=2, **GOOD),
        errno.EIO,
    ),
]


def everything(lab: Lab, classifier: Classifier) -> object:
    """All that a change could have touched and not put back."""
    assert lab.binder is not None
    assert lab.driver is not None
    lab.driver.told.clear()  # what it remembers of refused filters would keep their programs alive
    gc.collect()
    assert lab.actions is not None
    return (
        classifier.filters,
        [(each.handle, each.gen_flags) for each in classifier],
        [classifier.get(handle) for handle in range(6)],
        lab.block.generation,
        dict(+lab.binder.held),
        list(lab.driver.hardware),
        lab.actions.alive,
        len(lab.programs.live),
        sorted(classifier._handles._taken),
    )


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("replaces", [False, True], ids=["add", "replace"])
@pytest.mark.parametrize(
    ("make", "number"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_refusal_changes_nothing(
    make: Callable[[Lab], BpfOptions], number: int, replaces: bool, profile: KernelProfile
) -> None:
    lab = Lab(
        profile,
        driver=Driver(),
        binder=Binder({0x10010: "gold", 0x10020: "lead"}),
        actions=ActionMaker(ok=lambda: FixedActions(0)),
    )
    classifier = lab.classifier()
    old = classifier.change(returns(OWN, classid=0x10010, actions=b"ok", flags_gen=2))
    classifier.change(returns(OWN, classid=0x10010))
    assert lab.driver is not None
    lab.driver.refuses = {OffloadCommand.ADD: errno.EIO, OffloadCommand.REPLACE: errno.EIO}
    before = everything(lab, classifier)
    options = make(lab)
    with pytest.raises(ClsbpfError) as caught:
        classifier.change(options, old.handle if replaces else 0, old if replaces else None)
    assert caught.value.errno == number
    says_why = str(caught.value) not in ("", errno.errorcode[number])
    assert says_why or number == errno.EBADF
    del caught
    assert everything(lab, classifier) == before


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_replacement_with_another_handle_is_refused(profile: KernelProfile) -> None:
    lab = Lab(profile, Driver(), Binder({}), ActionMaker())
    classifier = lab.classifier()
    old = classifier.change(returns(OWN))
    before = everything(lab, classifier)
    with pytest.raises(NetlinkError, match="handle 0x9 cannot replace handle 0x1") as caught:
        classifier.change(returns(0), 9, old)
    assert caught.value.errno == errno.EINVAL
    assert everything(lab, classifier) == before


def test_a_new_filter_with_a_taken_handle_is_refused() -> None:
    lab = Lab(CURRENT, Driver(), Binder({}), ActionMaker())
    classifier = lab.classifier()
    classifier.change(returns(OWN), 7)
    before = everything(lab, classifier)
    with pytest.raises(NetlinkError, match="handle 0x7 is taken"):
        classifier.change(returns(0), 7)
    assert everything(lab, classifier) == before


POLICY = [
    ("a program of 4097 instructions", {"ops_len": 1, "ops": bytes(8 * 4097)}),
    ("a name of 257 bytes", {"fd": 3, "name": "x" * 257}),
    ("a name of 256 bytes in 255 letters", {"fd": 3, "name": "x" * 255 + "é"}),
]


@pytest.mark.parametrize("options", [case[1] for case in POLICY], ids=[case[0] for case in POLICY])
def test_what_the_policy_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(NetlinkError) as caught:
        BpfOptions(**options)
    assert caught.value.errno == errno.ERANGE


def test_what_the_policy_takes() -> None:
    assert BpfOptions(ops_len=4096, ops=ret_ops(1) * 4096, name="x" * 256).is_bpf
    classifier = Lab().classifier()
    assert classifier.change(BpfOptions(ops_len=4096, ops=ret_ops(1) * 4096)).ops == ret_ops(1) * 4096


def test_actions_without_anyone_to_make_them() -> None:
    classifier = Lab().classifier()
    with pytest.raises(NetlinkError, match="CONFIG_NET_CLS_ACT") as caught:
        classifier.change(returns(0, actions=b"x"))
    assert caught.value.errno == errno.EOPNOTSUPP
    assert caught.value.extack


# What is held of others


def test_bound_classes_are_held_as_long_as_their_filters() -> None:
    lab = Lab(binder=Binder({0x10010: "gold", 0x10020: "lead"}))
    assert lab.binder is not None
    held = lab.binder.held
    classifier = lab.classifier()
    one = classifier.change(returns(OWN, classid=0x10010), parent=0x10000)
    classifier.change(returns(OWN, classid=0x10010))
    classifier.change(returns(OWN, classid=0x10030))
    classifier.change(returns(OWN))
    assert (+held, lab.binder.parents[0]) == ({"gold": 2}, 0x10000)
    one = classifier.change(returns(OWN, classid=0x10020), 1, one)
    assert +held == {"gold": 1, "lead": 1}
    classifier.delete(one)
    assert +held == {"gold": 1}
    classifier.destroy()
    assert +held == {}


def test_actions_and_programs_end_with_their_filters() -> None:
    lab = Lab(actions=ActionMaker(ok=lambda: FixedActions(0)))
    assert lab.actions is not None
    classifier = lab.classifier()
    old = classifier.change(returns(OWN, actions=b"ok"))
    old = classifier.change(returns(OWN, actions=b"ok"), 1, old, override=True)
    assert (lab.actions.alive, lab.actions.overrides) == (1, [False, True])
    old = classifier.change(returns(OWN), 1, old)
    assert lab.actions.alive == 0, "replacing without actions drops them"
    classifier.change(returns(OWN, police=b"ok"))
    assert lab.actions.alive == 1
    classifier.destroy()
    assert lab.actions.alive == 0
    del old
    gc.collect()
    assert len(lab.programs.live) == 0


def test_a_program_lives_as_long_as_a_reader_may_run_it() -> None:
    lab = Lab()
    classifier = lab.classifier()
    mine = classifier.change(returns(5))
    snapshot = classifier.filters
    classifier.delete(mine)
    del mine
    gc.collect()
    assert len(lab.programs.live) == 1
    assert snapshot[0].run(frame_skb()) == 5
    del snapshot
    gc.collect()
    assert len(lab.programs.live) == 0


def test_every_change_is_a_generation() -> None:
    lab = Lab()
    classifier = lab.classifier()
    seen = [lab.block.generation]

    def grew() -> bool:
        seen.append(lab.block.generation)
        return seen[-1] > seen[-2]

    one = classifier.change(returns(0))
    assert grew()
    one = classifier.change(returns(0), 1, one)
    assert grew()
    classifier.delete(one)
    assert grew()


def test_a_random_life_agrees_with_a_plain_list() -> None:
    """Whatever is added, replaced and deleted: walk and get say what a plain list says."""
    for seed in range(60):
        rng = random.Random(seed)
        lab = Lab(rng.choice(PROFILES))
        classifier, model = lab.classifier(), list[Filter]()
        for _ in range(30):
            match rng.randrange(4):
                case 0 | 1:
                    wanted = rng.choice([0, 0, rng.randint(1, 40)])
                    if wanted not in (each.handle for each in model):
                        model.insert(0, classifier.change(returns(rng.randrange(9)), wanted))
                case 2 if model:
                    at = rng.randrange(len(model))
                    model[at] = classifier.change(returns(1), rng.choice([0, model[at].handle]), model[at])
                case 3 if model:
                    gone = model.pop(rng.randrange(len(model)))
                    assert classifier.delete(gone) == (not model)
            assert list(classifier) == list(classifier.filters) == model
            assert len(classifier) == len(model)
            assert [classifier.get(each.handle) for each in model] == model
            assert len({each.handle for each in model}) == len(model)


# Readers in other threads


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_readers_see_the_old_or_the_new_filter_never_neither(profile: KernelProfile) -> None:
    """While one filter is replaced again and again, and others come and go, it decides every packet."""
    lab = Lab(profile)
    block, classifier = lab.block, lab.classifier(prio=10)
    lab.classifier(prio=20).change(returns(0x99990099))
    current = classifier.change(returns(0x10000))
    stop, wrong, seen = threading.Event(), list[object](), [set[int](), set[int](), set[int]()]

    def read(mine: set[int]) -> None:
        skb, last = frame_skb(), 0
        while not stop.is_set():
            result = ClassifyResult()
            answer = block.classify(skb, result)
            if answer != TcAct.OK or not last <= result.classid <= 0x10000 + 10_000:
                wrong.append((answer, hex(result.classid), hex(last)))
            last = result.classid
            mine.add(last)

    threads = [threading.Thread(target=read, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    number = 0
    while number < 400 or (number < 10_000 and any(len(mine) < 3 for mine in seen)):
        number += 1
        current = classifier.change(returns(0x10000 + number), current.handle, current)
        guest = classifier.change(returns(0))
        other = lab.classifier(prio=5)
        other.change(returns(0))
        other.chain.remove(other)
        classifier.delete(guest)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(len(mine) >= 3 for mine in seen), "the readers saw several of the filters"


def test_writers_in_several_threads_lose_nothing() -> None:
    lab = Lab()
    classifier = lab.classifier()

    def add() -> None:
        for _ in range(100):
            classifier.change(returns(1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(handles_of(classifier)) == list(range(1, 401))
