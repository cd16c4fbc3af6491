"""Datagrams: several requests in one, dumps of several, what pyroute2 reads of them, and any bytes at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.engine.programs import LoadedProgram, ProgramTable
from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from tc_messages import (
    ADD,
    ALL,
    CHANGE,
    DEL,
    DUMP,
    ECHO,
    GETF,
    RETURN_ALL,
    bpf,
    program,
    qdisc,
    readable,
)

LAB0 = 2
QDISC_DUMP = qdisc(0, type=Rtm.GETQDISC, flags=DUMP, parent=0, handle=0, kind=None)


class Loaded(ProgramTable):
    """A table with one loaded eBPF program, as descriptor 3."""

    def from_fd(self, fd: int) -> LoadedProgram:
        if fd != 3:
            return super().from_fd(fd)
        verified = self.from_ops(RETURN_ALL).verified
        return LoadedProgram(verified, name="main", tag=bytes.fromhex("0123456789abcdef"), id=117)


def lab(profile: KernelProfile = CURRENT) -> Endpoint:
    network = Network(profile=profile, programs=Loaded(profile=profile))
    network.add_device("lab0")
    endpoint = Endpoint(network)
    endpoint.handle(qdisc(LAB0).encode())
    return endpoint


def test_each_message_of_a_datagram_is_answered_in_order() -> None:
    endpoint = lab()
    requests = [bpf(LAB0, prio=prio, flags=ADD | ECHO) for prio in (1, 2)]
    replies = endpoint.handle(b"".join(request.encode() for request in requests) + b"junk")
    assert [[entry[0] for entry in readable(reply)] for reply in replies] == [
        [Rtm.NEWTFILTER],
        ["0x100"],
        [Rtm.NEWTFILTER],
        ["0x100"],
    ]


def test_replies_carry_the_askers_address() -> None:
    endpoint = lab()
    requests = bpf(LAB0, flags=ADD | ECHO).encode(), bpf(LAB0, **ALL).encode()
    pids = {
        m.pid for r in requests for reply in endpoint.handle(r, portid=7) for m in nl.iter_messages(reply)
    }
    assert pids == {7}


def test_a_long_dump_is_cut_into_datagrams_and_loses_nothing() -> None:
    endpoint = lab()
    for _ in range(40):
        endpoint.handle(bpf(LAB0, options=program(ops=RETURN_ALL * 200)).encode())
    replies = endpoint.handle(bpf(LAB0, **ALL).encode())
    assert len(replies) == 4
    assert all(len(reply) <= 32448 for reply in replies)
    handles = [entry[3].handle for reply in replies[:-1] for entry in readable(reply)]
    assert handles == [0, *range(40, 0, -1)]


def test_who_asks_without_extack_gets_none() -> None:
    network = lab().network
    request = bpf(LAB0, attrs=[nla.binary(Tca.CHAIN, b"\1")]).encode()
    for options, flags in (({"ext_ack": False}, 0), ({"cap_ack": True}, 0x300), ({}, 0x200)):
        (reply,) = Endpoint(network, **options).handle(request)
        (message,) = nl.iter_messages(reply)
        assert message.flags == flags


def parsed(endpoint: Endpoint, request: Message) -> list[Any]:
    """What pyroute2, a client that others wrote, reads of the replies."""
    marshal = MarshalRtnl()
    return [message for reply in endpoint.handle(request.encode()) for message in marshal.parse(reply)]


def test_pyroute2_reads_our_replies() -> None:
    endpoint = lab()
    flags = nla.u32(TcaBpf.FLAGS, 1)
    made, ack = parsed(
        endpoint, bpf(LAB0, flags=ADD | ECHO, options=program(nla.u32(TcaBpf.CLASSID, 7), flags))
    )
    assert (made["event"], made["index"], made["handle"]) == ("RTM_NEWTFILTER", LAB0, 1)
    assert made.get_attr("TCA_KIND") == "bpf"
    options = made.get_attr("TCA_OPTIONS")
    assert [options.get_attr(name) for name in ("TCA_BPF_CLASSID", "TCA_BPF_OPS_LEN", "TCA_BPF_FLAGS")] == [
        7,
        1,
        1,
    ]
    assert ack["header"]["type"] == nl.NLMSG_ERROR
    assert ack["header"]["error"] is None
    (refused,) = parsed(endpoint, bpf(LAB0, handle=1))
    assert refused["header"]["error"].code == 17
    root, clsact, done = parsed(endpoint, QDISC_DUMP)
    assert [entry.get_attr("TCA_KIND") for entry in (root, clsact)] == ["noqueue", "clsact"]
    assert clsact.get_attr("TCA_STATS")["packets"] == 0
    assert done["event"] == "NLMSG_DONE"


@pytest.mark.parametrize(
    ("profile", "names"),
    [(CURRENT, ["name", "id", "tag", "flags_gen"]), (V4_13, ["name", "tag", "flags_gen"])],
)
def test_a_loaded_program_is_shown_by_name_id_and_tag(profile: KernelProfile, names: list[str]) -> None:
    endpoint = lab(profile)
    by_fd = [nla.u32(TcaBpf.FD, 3), nla.string(TcaBpf.NAME, "t1.o:[main]")]
    made, _ = endpoint.handle(bpf(LAB0, flags=ADD | ECHO, options=by_fd).encode())
    options = readable(made)[0][-1]["options"]
    assert list(options) == names
    assert (options["name"], options["tag"].hex()) == ("t1.o:[main]", "0123456789abcdef")


def test_packets_that_were_counted_are_in_the_statistics() -> None:
    endpoint = lab()
    clsact = endpoint.network.devices[LAB0].ingress
    assert clsact is not None
    stats = clsact.stats
    stats.bytes, stats.packets, stats.drops = 1 << 40, 5 << 32, 3
    clsact = parsed(endpoint, QDISC_DUMP)[1]
    named = readable(endpoint.handle(QDISC_DUMP.encode())[0])[1][-1]
    assert clsact.get_attr("TCA_STATS")["drop"] == 3
    assert clsact.get_attr("TCA_STATS2").get_attr("TCA_STATS_BASIC")["bytes"] == 1 << 40
    assert named["stats2"]["pkt64"] == 5 << 32


SEEDS = [
    QDISC_DUMP,
    qdisc(LAB0, flags=CHANGE | ECHO, attrs=[nla.u32(Tca.INGRESS_BLOCK, 5), nla.binary(Tca.RATE, b"\0\1")]),
    bpf(LAB0, flags=ADD | ECHO, options=program(nla.u32(TcaBpf.CLASSID, 7), nla.string(TcaBpf.NAME, "n"))),
    bpf(LAB0, flags=CHANGE | ECHO, handle=1, attrs=[nla.u32(Tca.CHAIN, 1)]),
    bpf(LAB0, **ALL),
    bpf(LAB0, **{**GETF, "handle": 1}),
    bpf(LAB0, **DEL),
    bpf(LAB0, type=Rtm.NEWCHAIN, kind=None, options=None, attrs=[nla.u32(Tca.CHAIN, 1)]),
]


@settings(max_examples=150)
@given(st.data())
def test_fuzz_requests(data: st.DataObject) -> None:
    """Whatever the bytes, nothing raises, and a request that wants an answer gets exactly one verdict."""
    endpoint = lab()
    for _ in range(3):
        raw = bytearray(data.draw(st.sampled_from(SEEDS)).encode())
        for at in data.draw(st.lists(st.integers(4, len(raw) - 1), max_size=6)):
            raw[at] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 8, 11, 0x7F, 0x80, 0xFF]))
        replies = [m for reply in endpoint.handle(bytes(raw)) for m in nl.iter_messages(reply)]
        verdicts = [m for m in replies if m.type in (nl.NLMSG_ERROR, nl.NLMSG_DONE)]
        (request,) = nl.iter_messages(bytes(raw))
        assert len(verdicts) <= 1
        assert verdicts or not request.flags & nl.NLM_F_ACK
        endpoint.handle(bpf(LAB0, **ALL).encode())


@given(st.binary(max_size=200))
def test_fuzz_any_bytes(raw: bytes) -> None:
    """Whatever the bytes, nothing raises, and there is no reply without a whole message to answer."""
    replies = lab().handle(raw)
    assert not replies or list(nl.iter_messages(raw))
