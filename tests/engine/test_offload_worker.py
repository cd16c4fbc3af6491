"""The driver that comes with the package: what it takes, what it decides, what it counts and tells."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

import clsbpf
from action_messages import ADD, ASK, action, gact, listed, mirred, named, request
from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.engine.offload_worker import FlowCount, Worker, driver_by_name
from clsbpf.errors import ClsbpfError
from clsbpf.netlink import attr as nla
from clsbpf.netlink.act import ActFlag, MirredAction, TcaAct
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import iter_messages, read_acknowledgement
from clsbpf.netlink.schema import Rtm, TcaBpf, TcaStats
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.skb import Skb, receive
from clsbpf.tc.filter import Filter
from clsbpf.tc.result import ClassifyResult
from tc_messages import ALL, BLOCK, DEL, EGRESS, bpf, program, qdisc
from tc_messages import REPLACE as REPLACE_FILTER

SKIP_HW, SKIP_SW, IN_HW = 1, 2, 4
SHOT, OK, PIPE = 2, 0, 3
FRAME = bytes(12) + b"\x08\x00" + bytes(50)


class Lab:
    """A network of two devices with workers, clsact on the first."""

    def __init__(self, profile: KernelProfile = CURRENT) -> None:
        self.network = Network(profile=profile)
        self.workers = (Worker(), Worker())
        for name, worker in zip(("lab0", "lab1"), self.workers, strict=True):
            self.network.add_device(name, driver=worker)
        self.endpoint = Endpoint(self.network)
        assert self.ask(qdisc(2)) == 0

    def ask(self, message: Any) -> int:
        """The errno of the answer, 0 for an acknowledgement."""
        return read_acknowledgement([*iter_messages(self.endpoint.handle(message.encode())[-1])][-1]).errno

    def add(self, *options: Attr, actions: Any = (), ifindex: int = 2, **words: Any) -> int:
        nests = [nla.nest(TcaBpf.ACT, listed(actions))] if actions else []
        return self.ask(bpf(ifindex, options=program(*nests, *options), **words))

    def filters(self, ifindex: int = 2) -> list[Filter]:
        hook = self.network.devices[ifindex].ingress
        assert hook is not None
        return [f for chain in hook.ingress.chains.values() for c in chain.classifiers for f in c]

    def packet(self, ifindex: int = 2) -> tuple[int, ClassifyResult]:
        hook, result = self.network.devices[ifindex].ingress, ClassifyResult()
        assert hook is not None
        skb = receive(FRAME)
        assert skb is not None
        skb.ifindex = ifindex
        return hook.classify(skb, result), result


def skips(flags: int) -> Attr:
    return nla.u32(TcaBpf.FLAGS_GEN, flags)


CLASSID = nla.u32(TcaBpf.CLASSID, 0x10001)


def test_skip_sw_is_decided_in_hardware_by_a_thread_of_the_workers() -> None:
    lab = Lab()
    assert lab.add(skips(SKIP_SW), CLASSID) == 0
    (mine,) = lab.filters()
    seen: list[str] = []
    run = mine.program.run

    class Told:
        def run(self, skb: Skb) -> int:
            seen.append(threading.current_thread().name)
            return run(skb)

    mine.program = Told()
    assert [lab.packet()[0] for _ in range(3)] == [OK] * 3
    assert lab.packet()[1].classid == 0x10001
    assert [name.startswith("clsbpf-offload") for name in seen] == [True] * 4
    assert lab.workers[0].count(mine) == FlowCount(4, 4, 4 * 50)
    lab.workers[0].close()


def test_without_a_driver_nobody_decides_it() -> None:
    """The same filter, taken out of hardware behind its back, matches nothing in software."""
    lab = Lab()
    assert lab.add(skips(SKIP_SW), CLASSID) == 0
    lab.filters()[0].hardware = {}
    assert lab.packet()[0] == -1


def test_in_order_with_filters_in_software() -> None:
    lab = Lab()
    drop = gact(SHOT)
    assert lab.add(skips(SKIP_HW), actions=[gact(PIPE)], prio=1) == 0
    assert lab.add(skips(SKIP_SW), actions=[drop], prio=2) == 0
    assert lab.packet()[0] == PIPE  # a pipe that ends a list is an answer like others
    assert lab.ask(bpf(2, **{**DEL, "flags": 5, "prio": 1})) == 0
    assert lab.packet()[0] == SHOT


def counters(attrs: list[Attr]) -> dict[int, tuple[int, int]]:
    """Bytes and packets by TCA_STATS_*, of an action."""
    (stats,) = (attr for attr in attrs if attr.type == TcaAct.STATS)
    basic = (TcaStats.BASIC, TcaStats.BASIC_HW)
    return {
        attr.type: (attr.u64, int.from_bytes(attr.payload[8:12], "little"))
        for attr in stats.attrs()
        if attr.type in basic
    }


def first_action(lab: Lab) -> list[Attr]:
    """Of the first filter with actions in the dump."""
    for datagram in lab.endpoint.handle(bpf(2, **ALL).encode()):
        for message in iter_messages(datagram):
            for attr in nla.iter_attrs(message.payload[20:]):
                if attr.type == 2:
                    for inner in attr.attrs():
                        if inner.type == TcaBpf.ACT:
                            return inner.attrs()[0].attrs()
    raise AssertionError("no action was shown")


def test_hardware_counts_by_itself_and_tells_when_asked() -> None:
    lab = Lab()
    assert lab.add(skips(SKIP_SW), actions=[gact(SHOT)]) == 0
    for _ in range(3):
        lab.packet()
    (one,) = lab.network.actions.tables["gact"]
    assert (one.counters.packets, one.in_hardware.packets, one.in_hardware.drops) == (0, 3, 3)
    shown = first_action(lab)
    assert counters(shown) == {TcaStats.BASIC: (150, 3), TcaStats.BASIC_HW: (150, 3)}
    assert nla.encode_attrs(a for a in shown if a.type == TcaAct.USED_HW_STATS)[4:] == b"\1\0\0\0\3\0\0\0"
    assert (one.counters.drops, one.in_hardware.packets) == (3, 0)
    lab.packet()
    assert counters(first_action(lab))[TcaStats.BASIC_HW] == (200, 4)


@pytest.mark.parametrize(("profile", "number"), [(CURRENT, 0), (V4_13, errno.EINVAL)])
def test_at_clsacts_egress(profile: KernelProfile, number: int) -> None:
    """4.13 offloads filters at ingress only."""
    lab = Lab(profile)
    assert lab.add(skips(SKIP_SW), parent=EGRESS) == number
    assert lab.add(parent=EGRESS) == 0
    assert lab.add(skips(SKIP_SW)) == 0
    assert len(lab.workers[0].filters) == (1 if number else 3)


def test_what_a_replacement_and_a_deletion_mean_to_it() -> None:
    lab = Lab()
    assert lab.add(handle=1) == 0
    (old,) = lab.workers[0].filters
    assert lab.add(handle=1, flags=REPLACE_FILTER) == 0
    (new,) = lab.workers[0].filters
    assert new is not old
    with pytest.raises(KeyError):
        lab.workers[0].count(old)
    assert lab.ask(bpf(2, **{**DEL, "flags": 5})) == 0
    assert lab.workers[0].filters == ()


def test_it_holds_as_many_as_it_has_room_for() -> None:
    lab = Lab()
    lab.workers[0].capacity = 1
    assert lab.add(skips(SKIP_SW)) == 0
    assert lab.add(skips(SKIP_SW)) == errno.ENOSPC
    assert lab.add() == 0, "in software then"
    assert [each.in_hw_count for each in lab.filters()] == [0, 1]


def test_switched_off() -> None:
    lab = Lab()
    lab.workers[0].enabled = False
    assert lab.add(skips(SKIP_SW)) == errno.EOPNOTSUPP
    assert lab.add() == 0
    assert lab.workers[0].filters == ()


def test_each_device_of_a_shared_block_has_its_own() -> None:
    lab = Lab()
    assert lab.ask(qdisc(2, type=Rtm.DELQDISC, kind=None, flags=ASK, handle=0)) == 0
    shared = [nla.u32(13, 5)]
    assert lab.ask(qdisc(2, attrs=shared)) == 0
    assert lab.add(skips(SKIP_SW), CLASSID, ifindex=BLOCK, parent=5) == 0
    assert lab.ask(qdisc(3, attrs=shared)) == 0, "which is told of what is there"
    (mine,) = lab.filters()
    assert mine.in_hw_count == 2
    assert [lab.packet(ifindex)[0] for ifindex in (2, 3, 3)] == [OK] * 3
    assert [worker.count(mine).seen for worker in lab.workers] == [1, 2]


def test_a_packet_that_comes_back_through_another_workers_device() -> None:
    """lab0's worker sends to lab1, whose worker sends back: nobody waits for himself."""
    lab = Lab()
    assert lab.ask(qdisc(3)) == 0

    for ifindex, other in ((2, 3), (3, 2)):
        back = mirred(other, eaction=MirredAction.INGRESS_MIRROR, control=PIPE)
        assert lab.add(skips(SKIP_SW), actions=[back], ifindex=ifindex) == 0
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(lab.packet()[0]), daemon=True)
    asking.start()
    asking.join(10)
    assert answers, "the workers wait for each other"


def test_filters_change_while_packets_are_decided() -> None:
    """Whoever classifies meanwhile has each packet decided by some filter that was there: never an error."""
    lab = Lab()
    assert lab.add(skips(SKIP_SW), CLASSID, handle=1) == 0
    stop, wrong = threading.Event(), []

    def classify() -> None:
        while not stop.is_set():
            answer, _ = lab.packet()
            if answer != OK:
                wrong.append(answer)

    threads = [threading.Thread(target=classify) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        assert lab.add(skips(SKIP_SW), CLASSID, handle=1, flags=REPLACE_FILTER) == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- actions by themselves


def bits(number: int, value: int) -> Attr:
    return nla.binary(number, value.to_bytes(4, "little") * 2)


def in_hw_count(lab: Lab, index: int) -> int:
    (datagram,) = lab.endpoint.handle(request(Rtm.GETACTION, named("gact", index), flags=1).encode())
    (message,) = iter_messages(datagram)
    (tab,) = nla.iter_attrs(message.payload[4:])
    return next(attr.u32 for attr in tab.attrs()[0].attrs() if attr.type == TcaAct.IN_HW_COUNT)


def test_an_action_by_itself_is_in_all_hardware_that_takes_it() -> None:
    lab = Lab()
    assert lab.ask(request(Rtm.NEWACTION, gact(index=1))) == 0
    assert lab.ask(request(Rtm.NEWACTION, gact(index=2, more=[bits(TcaAct.FLAGS, ActFlag.SKIP_HW)]))) == 0
    lab.workers[1].enabled = False
    assert lab.ask(request(Rtm.NEWACTION, gact(index=3, more=[bits(TcaAct.FLAGS, ActFlag.SKIP_SW)]))) == 0
    assert [in_hw_count(lab, index) for index in (1, 2, 3)] == [2, 0, 1]
    lab.workers[0].enabled = False
    assert (
        lab.ask(request(Rtm.NEWACTION, gact(index=4, more=[bits(TcaAct.FLAGS, ActFlag.SKIP_SW)])))
        == errno.EINVAL
    )
    assert lab.network.actions.tables["gact"].find(4) is None
    assert lab.ask(request(Rtm.DELACTION, named("gact", 1), flags=ASK)) == 0
    assert len(lab.workers[0]._actions) == 1


def test_its_kind_must_be_one_for_hardware() -> None:
    lab = Lab()
    text = action("simple", [nla.binary(2, bytes(20)), nla.binary(3, b"x" * 31 + b"\0")])
    assert lab.ask(request(Rtm.NEWACTION, text)) == 0
    (one,) = lab.network.actions.tables["simple"]
    assert one.offloaded == ()


def test_a_refused_request_takes_its_actions_out_again() -> None:
    lab = Lab()
    assert lab.ask(request(Rtm.NEWACTION, gact(index=1), gact(9999, index=2), flags=ADD)) == errno.EINVAL
    assert lab.workers[0]._actions == set()
    assert not list(lab.network.actions.tables["gact"])


# -- by name, in a run


def test_drivers_by_name() -> None:
    assert isinstance(driver_by_name("worker"), Worker)
    with pytest.raises(ClsbpfError, match="no driver 'nfp'; there are: worker"):
        driver_by_name("nfp")


OFFICE = Path(__file__).parents[2] / "examples" / "office.pcap"
TCP = "4,48 0 0 23,21 0 1 6,6 0 0 4294967295,6 0 0 0"
POLICY = [
    "qdisc add dev lab0 clsact",
    f"filter add dev lab0 ingress pref 1 protocol ip bpf bytecode '{TCP}' flowid 1:6 SKIP action drop",
    "filter add dev lab0 ingress pref 2 protocol all bpf bytecode '1,6 0 0 4294967295' flowid 1:2 SKIP",
]


def test_a_run_is_decided_in_hardware_as_in_software() -> None:
    """Filters that only hardware runs decide a capture as software does without it."""
    outcomes = []
    for skip, driver in (("", None), ("skip_sw", "worker")):
        engine = clsbpf.Engine()
        engine.add_device("lab0", driver=driver)
        for line in POLICY:
            engine.tc(line.replace("SKIP", skip))
        results = engine.run(OFFICE)
        summary = {**results.summary(), "seconds": 0, "plan_seconds": 0}
        rows = engine.tc("-s filter show dev lab0 ingress pref 1")
        assert rows is not None
        stats = rows[1]["options"]["actions"][0]["stats"]
        outcomes.append((summary, stats["packets"], stats["drops"]))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] > 100
