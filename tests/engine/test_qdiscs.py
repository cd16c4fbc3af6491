"""Qdiscs that no kernel here judges, by vectors of our own: each names the kernel source it follows.

Also what must hold without a kernel: a refused request leaves everything as it was, a changed one leaves
nothing behind.
"""

from __future__ import annotations

import pytest

from clsbpf import Engine, TcError
from clsbpf.engine.queueing import transmit
from clsbpf.skb import Skb
from clsbpf.tc.qdiscs.class_hash import ClassHash
from clsbpf.tc.qdiscs.htb import Htb
from clsbpf.tc.qdiscs.prio import Prio
from engine_state import state
from tc_lines import PASS
from traffic import frame, tcp, udp

TCP, UDP = frame(0x0800, tcp(1, 80, 100)), frame(0x0800, udp(1, 53, 100))
IS_UDP = "'4,48 0 0 23,21 0 1 17,6 0 0 4294967295,6 0 0 0'"


def lab(*lines: str) -> Engine:
    engine = Engine()
    for name in ("lab0", "lab1"):
        engine.add_device(name)
    for line in lines:
        engine.tc(line)
    return engine


def root(engine: Engine) -> Prio | Htb:
    device = engine._network.device("lab0")
    assert device is not None
    assert isinstance(device.root, Prio | Htb)
    return device.root


def sent(engine: Engine, packet: bytes = TCP, *, priority: int = 0) -> str | None:
    """The class that a packet comes to, by its queue's counter; None where it is dropped."""
    qdisc = root(engine)
    before = [qdisc.leaf(class_).stats.packets for class_ in qdisc.walk()]  # type: ignore[arg-type,union-attr]
    skb = Skb.from_frame(packet)
    skb.priority = priority
    passage = transmit(qdisc, skb)
    after = [qdisc.leaf(class_).stats.packets for class_ in qdisc.walk()]  # type: ignore[arg-type,union-attr]
    grown = [number for number, (old, new) in enumerate(zip(before, after, strict=True), 1) if new > old]
    assert passage.dropped == (not grown)
    return f"1:{grown[0]:x}" if grown else None


PRIO = "qdisc add dev lab0 root handle 1: prio"
PRIO4 = "qdisc add dev lab0 root handle 1: prio bands 4 priomap 3 2 1 0 0 0 0 0 0 0 0 0 0 0 0 1"

# prio_classify() of net/sched/sch_prio.c: filters, policy, the packet's priority, the band it comes to
PRIO_VECTORS = {
    "the priomap": ([PRIO], 0, "1:2"),
    "the priomap, interactive": ([PRIO], 6, "1:1"),
    "the priomap, bulk": ([PRIO], 2, "1:3"),
    "a priomap of one's own": ([PRIO4], 0, "1:4"),
    "the low four bits of a priority": ([PRIO4], 15 + 16, "1:2"),
    "a priority with a major of another qdisc": ([PRIO4], 0x20003, "1:4"),
    "a priority that names a band": ([PRIO4], 0x10002, "1:2"),
    "a priority that names no band": ([PRIO4], 0x10009, "1:4"),
    "a priority that names the qdisc": ([PRIO4], 0x10000, "1:4"),
    "a filter": ([PRIO, f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:3"], 0, "1:3"),
    "a filter's major is not looked at": (
        [PRIO, f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 7:3"],
        0,
        "1:3",
    ),
    "a filter without a class": ([PRIO4, f"filter add dev lab0 parent 1: bpf bytecode {PASS}"], 2, "1:4"),
    "a filter with a class past the bands": (
        [PRIO4, f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:5"],
        2,
        "1:4",
    ),
    "a filter that says nothing": (
        [PRIO, f"filter add dev lab0 parent 1: bpf bytecode {IS_UDP} flowid 1:3"],
        0,
        "1:2",
    ),
    "a filter that drops": (
        [PRIO, f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:3 action drop"],
        0,
        None,
    ),
    "no filter is asked of a priority that names a band": (
        [PRIO, f"filter add dev lab0 parent 1: bpf bytecode {PASS} action drop"],
        0x10001,
        "1:1",
    ),
    "a band whose queue takes nothing": (
        [PRIO, "qdisc add dev lab0 parent 1:2 handle 2: pfifo limit 0"],
        0,
        None,
    ),
}


@pytest.mark.parametrize(("lines", "priority", "band"), PRIO_VECTORS.values(), ids=PRIO_VECTORS)
def test_prio(lines: list[str], priority: int, band: str | None) -> None:
    assert sent(lab(*lines), priority=priority) == band


def test_what_prio_drops_is_counted_and_what_is_stolen_is_not() -> None:
    """prio_classify(): TC_ACT_SHOT is a drop of the qdisc, TC_ACT_STOLEN is nobody's."""
    engine = lab(
        PRIO,
        f"filter add dev lab0 parent 1: pref 1 bpf bytecode {IS_UDP} action drop",
        f"filter add dev lab0 parent 1: pref 2 bpf bytecode {PASS} action mirred egress redirect dev lab1",
    )
    assert [sent(engine, UDP), sent(engine, TCP)] == [None, None]
    assert root(engine).stats.drops == 1


PRIO_ROWS = [
    # prio_walk(), prio_dump_class(), prio_dump()
    (
        ["class show dev lab0"],
        [
            {"class": "prio", "handle": f"1:{band}", "parent": "1:"} | ({"leaf": "12:"} if band == 2 else {})
            for band in (1, 2, 3)
        ],
    ),
    (
        ["qdisc show dev lab0"],
        [
            {
                "kind": "prio",
                "handle": "1:",
                "root": True,
                "refcnt": 2,
                "options": {
                    "bands": 3,
                    "priomap": [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
                    "multiqueue": False,
                },
            },
            {"kind": "bfifo", "handle": "12:", "parent": "1:2", "options": {"limit": 9000}},
        ],
    ),
]


@pytest.mark.parametrize(("lines", "rows"), PRIO_ROWS)
def test_how_prio_is_shown(lines: list[str], rows: list[object]) -> None:
    engine = lab(PRIO, "qdisc add dev lab0 parent 1:2 handle 12: bfifo limit 9000")
    for line in lines:
        assert engine.tc(line) == rows


def test_prio_with_fewer_bands_drops_the_queues_of_the_others() -> None:
    """prio_tune()."""
    engine = lab(PRIO4, "qdisc add dev lab0 parent 1:4 handle 14: pfifo")
    engine.tc("qdisc change dev lab0 root handle 1: prio bands 2 priomap 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1")
    rows = engine.tc("qdisc show dev lab0 invisible")
    assert rows is not None
    assert [(row["kind"], row["parent"]) for row in rows[1:]] == [("pfifo", "1:2"), ("pfifo", "1:1")]
    engine.tc("qdisc change dev lab0 root handle 1: prio bands 3")
    assert sent(engine, priority=2) == "1:3"
    engine.tc("qdisc del dev lab0 root")
    assert engine.tc("qdisc show dev lab0") == [
        {"kind": "noqueue", "handle": "0:", "root": True, "refcnt": 2, "options": {}}
    ]


BASE = [
    "qdisc add dev lab0 root handle 1: htb default 30",
    "class add dev lab0 parent 1: classid 1:1 htb rate 8mbit",
    "class add dev lab0 parent 1:1 classid 1:10 htb rate 4mbit",
    "class add dev lab0 parent 1:1 classid 1:30 htb rate 4mbit",
    "qdisc add dev lab0 parent 1:10 handle 10: prio",
    f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:30",
    f"filter add dev lab0 parent 1:1 bpf bytecode {PASS} flowid 1:10",
    "qdisc add dev lab1 root handle 1: prio",
]
REFUSED = {
    "a class that is there": ("class add dev lab0 parent 1:1 classid 1:10 htb rate 1mbit", "File exists"),
    "no such class": ("class change dev lab0 classid 1:11 htb rate 1mbit", "No such file"),
    "a class that a filter names": ("class del dev lab0 classid 1:30", "HTB class in use"),
    "a class with children": ("class del dev lab0 classid 1:1", "HTB class in use"),
    "a band": ("class del dev lab1 classid 1:1", "Operation not supported"),
    "a band, changed": ("class add dev lab1 classid 1:9 htb rate 1mbit", "Operation not supported"),
    "no qdisc in an inner class": ("qdisc add dev lab0 parent 1:1 handle 5: pfifo", "Invalid argument"),
    "a qdisc in no class": ("qdisc add dev lab0 parent 1:99 handle 5: pfifo", "Specified class not found"),
    "bands out of bounds": ("qdisc add dev lab0 parent 1:30 handle 5: prio bands 17", "Invalid argument"),
    "a band that is not there": (
        "qdisc change dev lab1 root handle 1: prio bands 2 priomap 0 0 0",
        "Invalid argument",
    ),
    "htb's options are for ever": (
        "qdisc change dev lab0 root handle 1: htb default 10",
        "Change operation not supported by specified qdisc",
    ),
    "an unknown kind": ("qdisc add dev lab0 parent 1:30 handle 5: nosuch", "Specified qdisc kind is unknown"),
    "mq": ("qdisc replace dev lab0 root handle 5: mq", "Operation not supported"),
    "a size table below the root": (
        "qdisc add dev lab0 parent 1:30 handle 5: stab overhead 4 pfifo",
        "STAB not supported on a non root",
    ),
    "a filter on no class": (
        f"filter add dev lab0 parent 1:99 bpf bytecode {PASS}",
        "Specified class doesn't exist",
    ),
    "a filter on a band": (f"filter add dev lab1 parent 1:1 bpf bytecode {PASS}", "Invalid argument"),
    "a filter on a queue": (
        f"filter add dev lab0 parent 10:1 bpf bytecode {PASS}",
        "Invalid argument",
    ),
    "a classid of another qdisc": (
        "class add dev lab0 parent 1:1 classid 2:1 htb rate 1mbit",
        "Invalid argument",
    ),
    "a filter's new class, when its program is refused": (
        "filter replace dev lab0 parent 1: pref 49152 handle 1 bpf bytecode '1,0 0 0 0' flowid 1:10",
        "Invalid argument",
    ),
}


@pytest.mark.parametrize(("line", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_changes_nothing(line: str, words: str) -> None:
    engine = lab(*BASE)
    before = state(engine._network)
    with pytest.raises(TcError, match=words):
        engine.tc(line)
    assert state(engine._network)[:2] == before[:2]


def test_a_filter_holds_the_class_that_it_names_while_it_is_there() -> None:
    engine = lab(*BASE)
    held = {class_.classid & 0xFFFF: class_.filters for class_ in root(engine).walk()}  # type: ignore[union-attr]
    assert held == {1: 0, 0x10: 1, 0x30: 1}
    engine.tc(f"filter replace dev lab0 parent 1: pref 49152 handle 1 bpf bytecode {PASS} flowid 1:10")
    engine.tc("filter del dev lab0 parent 1:1")
    held = {class_.classid & 0xFFFF: class_.filters for class_ in root(engine).walk()}  # type: ignore[union-attr]
    assert held == {1: 0, 0x10: 1, 0x30: 0}
    engine.tc("class del dev lab0 classid 1:30")
    engine.tc("filter del dev lab0 parent 1:")
    engine.tc("class del dev lab0 classid 1:10")
    # Its last child gone, 1:1 is a leaf again.
    rows = engine.tc("class show dev lab0")
    assert rows is not None
    assert [(row["handle"], row.get("prio")) for row in rows] == [("1:1", 0)]


@pytest.mark.parametrize(("profile", "held"), [("current", 1), ("4.13", 0)])
def test_a_class_that_comes_after_its_filters(profile: str, held: int) -> None:
    """tc_bind_tclass(), which 4.13 has not; filters of the qdisc itself are never looked at."""
    engine = Engine(profile=profile)
    engine.add_device("lab0")
    for line in [
        *BASE[:3],
        f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:40",
        f"filter add dev lab0 parent 1:1 bpf bytecode {PASS} flowid 1:40",
        "class add dev lab0 parent 1:1 classid 1:40 htb rate 1mbit",
    ]:
        engine.tc(line)
    qdisc = root(engine)
    assert isinstance(qdisc, Htb)
    class_ = qdisc.find(0x10040)
    assert class_ is not None
    assert class_.filters == held


def test_filters_in_circles_end_at_the_default_class() -> None:
    """htb_classify() would run for ever."""
    engine = lab(*BASE, f"filter replace dev lab0 parent 1:1 pref 1 bpf bytecode {PASS} flowid 1:1")
    engine.tc(f"filter replace dev lab0 parent 1: pref 1 bpf bytecode {PASS} flowid 1:1")
    transmit(root(engine), Skb.from_frame(TCP))
    rows = engine.tc("-s class show dev lab0 classid 1:30")
    assert rows is not None
    assert rows[0]["stats"]["packets"] == 1


class _Named:
    def __init__(self, classid: int) -> None:
        self.classid = classid


def test_the_order_of_classes_is_that_of_the_kernels_table() -> None:
    """qdisc_class_hash_insert(), qdisc_class_hash_grow(): as a kernel shows these."""
    table: ClassHash[_Named] = ClassHash()
    for minor in (0x1, 0x10, 0x11, 0x20, 0x21, 0x2, 0x30):
        table.insert(_Named(0x10000 | minor))
        table.grow()
    assert [each.classid & 0xFFFF for each in table] == [0x11, 0x10, 0x1, 0x20, 0x2, 0x21, 0x30]
    assert table.find(0x10009) is None


def test_what_is_mirrored_to_a_device_goes_through_its_root_qdisc() -> None:
    engine = lab(
        "qdisc add dev lab1 clsact",
        f"filter add dev lab1 ingress bpf bytecode {PASS} action mirred egress redirect dev lab0",
        *BASE[:4],
    )
    device = engine._network.device("lab1")
    assert device is not None
    assert device.ingress is not None
    lab0 = engine._network.device("lab0")
    assert lab0 is not None
    skb = Skb.from_frame(TCP)
    engine._network.forwarding.forward(skb, lab0.ifindex, ingress=False)
    rows = engine.tc("-s class show dev lab0")
    assert rows is not None
    assert {row["handle"]: row["stats"]["packets"] for row in rows} == {"1:1": 1, "1:10": 0, "1:30": 1}


FLOWS = "qdisc add dev lab0 root handle 1: fq_codel flows 8"


@pytest.mark.parametrize(
    ("lines", "sent", "dropped"),
    [
        ([], 2, 0),
        ([f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:8"], 2, 0),
        ([f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:9"], 0, 2),
        ([f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:"], 0, 2),
        ([f"filter add dev lab0 parent 1: bpf bytecode {IS_UDP} flowid 1:3"], 1, 1),
        ([f"filter add dev lab0 parent 1: bpf bytecode {PASS} flowid 1:3 action drop"], 0, 2),
        (["filter add dev lab0 parent 1: bpf bytecode '1,6 0 0 4' da"], 0, 0),
    ],
)
def test_filters_of_fq_codel_choose_a_flow(lines: list[str], sent: int, dropped: int) -> None:
    engine = lab(FLOWS, *lines)
    device = engine._network.device("lab0")
    assert device is not None
    for packet in (TCP, UDP):
        transmit(device.root, Skb.from_frame(packet))
    assert (device.root.stats.packets, device.root.stats.drops) == (sent, dropped)
