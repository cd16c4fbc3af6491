"""Qdiscs and classes: the same request bytes to the kernel and to our endpoint give the same reply bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.message import Message
from clsbpf.netlink.qdisc import HtbGlob, HtbOpt, RateSpec, TcaHtb
from clsbpf.netlink.schema import Rtm, Tca
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from clsbpf.tccmd.rates import rate_table
from netlink_twin import Twin, twin
from qdisc_storm import QdiscStorm
from tc_messages import ADD, DELETE, DUMP, ECHO, REPLACE, ROOT, bpf, program, qdisc


@pytest.mark.parametrize("seed", range(3))
def test_random_sequences(seed: int) -> None:
    """Whatever was asked before, the next reply is the kernel's, and so is everything there is."""
    with twin() as both:
        QdiscStorm(both, seed).run(3000)


def htb(ifindex: int, parent: int = ROOT, handle: int = 0x10000, *, flags: int = ADD | ECHO) -> Message:
    glob = nla.nest(Tca.OPTIONS, [nla.binary(TcaHtb.INIT, HtbGlob().encode())])
    return qdisc(ifindex, "htb", parent=parent, handle=handle, attrs=[glob], flags=flags)


def new_class(ifindex: int, classid: int, parent: int, *, linklayer: int = 1, cell_log: int = 3) -> Message:
    """A class, with the table of an old tc where the link layer is 0."""
    attrs = []
    rate = RateSpec(1_000_000, linklayer=linklayer, cell_log=cell_log)
    if not linklayer:
        for number, of in ((TcaHtb.RTAB, 2), (TcaHtb.CTAB, 1)):
            _, table = rate_table(1_000_000, mtu=1600, mpu=0, overhead=0, linklayer=of, cell_log=cell_log)
            attrs.append(nla.binary(number, table))
    opt = HtbOpt(rate, rate, 1000, 1000)
    inside = nla.nest(Tca.OPTIONS, [nla.binary(TcaHtb.PARMS, opt.encode()), *attrs])
    header = TcMsg(0, ifindex, classid, parent)
    return tc_message(Rtm.NEWTCLASS, header, [nla.string(Tca.KIND, "htb"), inside], flags=ADD | ECHO)


def del_class(ifindex: int, classid: int) -> Message:
    return tc_message(Rtm.DELTCLASS, TcMsg(0, ifindex, classid), flags=DELETE | ECHO)


def everything(both: Twin) -> None:
    QdiscStorm(both, 0).dump()


def test_an_old_tc_says_its_link_layer_with_its_tables() -> None:
    with twin(clsact=False) as both:
        both.ask(htb(both.v0))
        for cell_log in range(9):
            both.ask(new_class(both.v0, 0x10001 + cell_log, ROOT, linklayer=0, cell_log=cell_log))
        everything(both)


def test_a_tree_of_eight_levels_is_too_deep() -> None:
    with twin(clsact=False) as both:
        both.ask(htb(both.v0))
        parents = [ROOT, *range(0x10001, 0x10009)]
        replies = [both.ask(new_class(both.v0, 0x10001 + n, parent)) for n, parent in enumerate(parents)]
        assert [reply[-1][1].errno for reply in replies] == [0] * 8 + [22]
        assert replies[-1][-1][1].extack.message == "sch_htb: tree is too deep"
        for n in range(9, 0, -1):
            both.ask(del_class(both.v0, 0x10000 + n))
        everything(both)


def test_a_class_that_filters_name() -> None:
    """A filter holds its class; one of an inner class lets go of it even when the class cannot go."""
    with twin(clsact=False) as both:
        both.ask(htb(both.v0))
        for minor, parent in ((1, ROOT), (2, 0x10001), (3, 0x10001), (4, 0x10001)):
            both.ask(new_class(both.v0, 0x10000 | minor, parent))
        for parent, prio, minor in ((0x10000, 1, 2), (0x10001, 1, 3), (0x10001, 2, 5)):
            options = program(nla.u32(3, 0x10000 | minor))
            both.ask(bpf(both.v0, parent=parent, prio=prio, options=options, flags=ADD | ECHO))

        def deleting(minor: int) -> int:
            errno: int = both.ask(del_class(both.v0, 0x10000 | minor))[-1][1].errno
            return errno

        assert [deleting(2), deleting(2)] == [16, 16]
        assert [deleting(3), deleting(3)] == [16, 0]
        both.ask(new_class(both.v0, 0x10005, 0x10001))
        assert [deleting(5), deleting(4), deleting(1)] == [16, 0, 16]
        everything(both)


def test_a_dump_of_many_classes_takes_many_datagrams() -> None:
    with twin(clsact=False) as both:
        both.ask(htb(both.v0))
        for minor in range(1, 400):
            both.ask(new_class(both.v0, 0x10000 | minor, ROOT))
            if minor % 4 == 0:
                both.ask(qdisc(both.v0, "pfifo", parent=0x10000 | minor, handle=minor << 16 | 0x80000000))
        everything(both)


def masked(datagrams: list[bytes]) -> Iterator[bytes]:
    """Without the handles of qdiscs, which the kernel counts for all namespaces together."""
    for datagram in datagrams:
        for message in nl.iter_messages(datagram):
            yield message.payload[:8] + bytes(4) + message.payload[12:]


def test_handles_that_nobody_named() -> None:
    """They go up by 1: from 8001: on."""
    with twin(clsact=False) as both:
        handles: list[list[int]] = [[], []]
        for kind in ("pfifo", "bfifo", "pfifo"):
            request = qdisc(both.v0, kind, parent=ROOT, handle=0, flags=REPLACE | ECHO)
            theirs = both.kernel.ask(request.encode())
            ours = both.ours.handle(request.encode(), both.kernel.portid)
            both.listener.heard()
            assert list(masked(ours)) == list(masked(theirs))
            for side, replies in enumerate((theirs, ours)):
                made = [m for each in replies for m in nl.iter_messages(each) if m.type == Rtm.NEWQDISC]
                handles[side] += [struct.unpack_from("=I", message.payload, 8)[0] for message in made]
        assert handles[1] == [0x80010000, 0x80020000, 0x80030000]
        assert all(0x80000000 < handle < 0xFFFF0000 and not handle & 0xFFFF for handle in handles[0])
        # Others on this machine may have taken some between.
        assert handles[0] == sorted(set(handles[0]))


def test_a_dump_of_one_qdiscs_classes() -> None:
    with twin(clsact=False) as both:
        both.ask(htb(both.v0))
        both.ask(new_class(both.v0, 0x10001, ROOT))
        both.ask(htb(both.v0, 0x10001, 0x20000))
        both.ask(new_class(both.v0, 0x20001, ROOT))
        for parent in (0, 0x10000, 0x10001, 0x20000, 0x30000, ROOT):
            rows = both.ask(tc_message(Rtm.GETTCLASS, TcMsg(0, both.v0, 0, parent), flags=DUMP))
            found = {row[3].handle for row in rows[:-1]}
            expected = {0x10001: {0x10000, 0x10001}, 0x20001: {0x20000}}
            assert found == {classid for classid, parents in expected.items() if parent in {0, *parents}}
