"""What requests about filters, chains and qdiscs do to the engine, and what is told of it.

That the kernel does and tells the same is differential/test_endpoint_twin's matter; these are the
points to read first, and they need no kernel.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.netlink import attr as nla
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.profile import V4_13
from tc_fakes import Driver
from tc_messages import (
    ADD,
    ALL,
    BLOCK,
    CHANGE,
    DEL,
    DELQ,
    ECHO,
    EGRESS,
    INGRESS,
    REPLACE,
    bpf,
    program,
    qdisc,
    readable,
)

LAB0 = 2


class Lab:
    """An endpoint over lab0, which has clsact."""

    def __init__(self, network: Network | None = None, driver: Driver | None = None) -> None:
        self.network = network or Network()
        self.network.add_device("lab0", driver=driver)
        self.endpoint = Endpoint(self.network)
        self.ask(qdisc(LAB0))

    def ask(self, request: Message) -> list[Any]:
        return [value for reply in self.endpoint.handle(request.encode()) for value in readable(reply)]

    def error(self, request: Message) -> tuple[int, str | None]:
        """The errno and words of the answer, which is nothing but an acknowledgement."""
        ((_, ack),) = self.ask(request)
        return ack.errno, ack.extack.message

    def shown(self, **more: Any) -> list[str]:
        """A dump in short: `PRIO` for a classifier, `PRIO:HANDLE` for a filter; with the chain if not 0."""
        out = []
        for type, _, _, header, named in self.ask(bpf(LAB0, **{**ALL, **more}))[:-1]:
            assert type == Rtm.NEWTFILTER
            chain = f"chain {named['chain']} " if named["chain"] else ""
            handle = f":{header.handle:x}" if header.handle else ""
            out.append(f"{chain}{header.prio}{handle}")
        return out


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_a_dump_names_each_prio_then_its_filters_newest_first(lab: Lab) -> None:
    for prio in (20, 10, 20):
        assert lab.error(bpf(LAB0, prio=prio)) == (0, None)
    assert lab.shown() == ["10", "10:1", "20", "20:2", "20:1"]


def test_a_replaced_filter_keeps_its_place(lab: Lab) -> None:
    for _ in range(3):
        lab.ask(bpf(LAB0))
    lab.ask(bpf(LAB0, flags=REPLACE, handle=2, options=program(nla.u32(TcaBpf.CLASSID, 7))))
    assert lab.shown() == ["1", "1:3", "1:2", "1:1"]
    assert lab.ask(bpf(LAB0, **ALL))[2][-1]["options"]["classid"] == 7


def test_an_echo_tells_what_became_of_the_request(lab: Lab) -> None:
    (type, flags, seq, header, named), (_, ack) = lab.ask(bpf(LAB0, prio=0, flags=ADD | ECHO))
    assert (type, flags, seq, ack.errno) == (Rtm.NEWTFILTER, hex(ADD | ECHO), 9, 0)
    assert (header.prio, header.handle, header.protocol) == (49152, 1, 3)
    assert named["options"]["flags_gen"] == 8, "not in hardware"


def test_automatic_priorities_go_down(lab: Lab) -> None:
    for _ in range(2):
        lab.ask(bpf(LAB0, prio=0))
    lab.ask(bpf(LAB0, prio=0x8000))
    assert lab.shown() == ["32768", "32768:1", "49151", "49151:1", "49152", "49152:1"]
    assert lab.error(bpf(LAB0, prio=0)) == (
        errno.ENOSPC,
        "Lowest ID from auto-alloc range already in use",
    )


def test_a_prio_goes_with_its_last_filter_and_a_chain_with_its_last_prio(lab: Lab) -> None:
    chain = [nla.u32(Tca.CHAIN, 5)]
    lab.ask(bpf(LAB0, attrs=chain))
    lab.ask(bpf(LAB0, prio=2, attrs=chain))
    lab.ask(bpf(LAB0, **{**DEL, "handle": 1, "attrs": chain}))
    assert lab.shown() == ["chain 5 2", "chain 5 2:1"]
    lab.ask(bpf(LAB0, **{**DEL, "prio": 2, "attrs": chain}))
    assert lab.shown() == []
    assert lab.network.devices[LAB0].ingress is not None
    assert [dict(block.chains) for block in lab.network.devices[LAB0].ingress.blocks] == [{}, {}]


def test_a_chain_that_was_asked_for_stays_until_it_is_deleted(lab: Lab) -> None:
    words: dict[str, Any] = {"kind": None, "options": None, "prio": 0, "protocol": 0}
    words["attrs"] = [nla.u32(Tca.CHAIN, 5)]
    lab.ask(bpf(LAB0, type=Rtm.NEWCHAIN, **words))
    lab.ask(bpf(LAB0, attrs=words["attrs"]))
    lab.ask(bpf(LAB0, **{**DEL, "attrs": words["attrs"]}))
    shown = lab.ask(bpf(LAB0, **{**ALL, "type": Rtm.GETCHAIN}))
    assert [named for *_, named in shown[:-1]] == [{"chain": 5}]
    lab.ask(bpf(LAB0, type=Rtm.DELCHAIN, flags=CHANGE, **words))
    assert len(lab.ask(bpf(LAB0, **{**ALL, "type": Rtm.GETCHAIN}))) == 1


def test_a_flush_tells_each_prio_and_leaves_other_chains(lab: Lab) -> None:
    for prio in (1, 2):
        lab.ask(bpf(LAB0, prio=prio))
    lab.ask(bpf(LAB0, attrs=[nla.u32(Tca.CHAIN, 1)]))
    told = lab.ask(bpf(LAB0, **{**DEL, "prio": 0, "protocol": 0}))
    assert [(type, header.prio, header.handle) for type, _, _, header, _ in told[:-1]] == [
        (Rtm.DELTFILTER, 1, 0),
        (Rtm.DELTFILTER, 2, 0),
    ]
    assert lab.shown() == ["chain 1 1", "chain 1 1:1"]


def test_ingress_takes_egress_for_itself_and_shows_the_parent_last_named() -> None:
    lab = Lab()
    lab.ask(qdisc(LAB0, "ingress", flags=REPLACE, handle=0))
    lab.ask(bpf(LAB0))
    lab.ask(bpf(LAB0, parent=EGRESS))
    parents = {header.parent for _, _, _, header, _ in lab.ask(bpf(LAB0, parent=INGRESS, **ALL))[:-1]}
    assert parents == {EGRESS}
    assert len(lab.shown()) == 3


def test_a_shared_block_lives_while_a_qdisc_is_bound_to_it() -> None:
    lab = Lab()
    lab.network.add_device("lab1")
    blocks = [nla.u32(Tca.INGRESS_BLOCK, 22)]
    for device in (LAB0, LAB0 + 1):
        lab.ask(qdisc(device, attrs=blocks, flags=REPLACE, handle=0))
    lab.ask(qdisc(LAB0, **{**DELQ, "parent": 0xFFFFFFF1}))
    lab.ask(qdisc(LAB0, attrs=blocks))
    assert lab.error(bpf(LAB0)) == (
        errno.EOPNOTSUPP,
        "This filter block is shared. Please use the block index to manipulate the filters",
    )
    assert lab.error(bpf(BLOCK, parent=22)) == (0, None)
    block = lab.network.shared_block(22)
    assert block is not None
    assert all(device.ingress and device.ingress.ingress is block for device in lab.network.devices.values())
    for device in (LAB0, LAB0 + 1):
        lab.ask(qdisc(device, **{**DELQ, "parent": 0xFFFFFFF1}))
    assert lab.network.shared_block(22) is None
    assert not block.chains


def test_a_driver_takes_the_filter_and_its_dump_says_so() -> None:
    driver = Driver()
    lab = Lab(driver=driver)
    skip_sw = program(nla.u32(TcaBpf.FLAGS_GEN, 2))
    (_, _, _, _, named), _ = lab.ask(bpf(LAB0, flags=ADD | ECHO, options=skip_sw))
    assert named["options"]["flags_gen"] == 2 | 4, "skip_sw, in_hw"
    lab.ask(qdisc(LAB0, **{**DELQ, "parent": 0xFFFFFFF1}))
    assert driver.hardware == []


def test_the_profile_of_4_13_refuses_skip_sw_otherwise_and_counts_handles_on() -> None:
    lab = Lab(Network(profile=V4_13))
    skip_sw = program(nla.u32(TcaBpf.FLAGS_GEN, 2))
    assert lab.error(bpf(LAB0, options=skip_sw)) == (errno.EINVAL, None)
    assert Lab().error(bpf(LAB0, options=skip_sw)) == (errno.EOPNOTSUPP, None)
    for _ in range(3):
        lab.ask(bpf(LAB0))
    lab.ask(bpf(LAB0, **{**DEL, "handle": 3}))
    lab.ask(bpf(LAB0))
    handles = [entry.split(":")[1] for entry in lab.shown()[1:]]
    assert handles == ["4", "2", "1"], "3 is not used again"
