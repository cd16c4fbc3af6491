"""What each kind does to a packet.  The kernel here has only mirred; each section names what it follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.sctp import SCTP

from action_fakes import MS, ToldClock, World, frame_of, incoming
from clsbpf.skb import Skb
from clsbpf.tc.act import TcAct
from clsbpf.tc.actions.action import Action
from clsbpf.tc.actions.bpf import Bpf, BpfParams
from clsbpf.tc.actions.clock import CaptureClock
from clsbpf.tc.actions.csum import Csum, CsumParams, Update, crc32c
from clsbpf.tc.actions.estimator import Estimator
from clsbpf.tc.actions.gact import Chance, Gact, GactParams
from clsbpf.tc.actions.mirred import Eaction, Mirred, MirredParams
from clsbpf.tc.actions.pedit import Header, Key, Pedit, PeditParams
from clsbpf.tc.actions.police import Police, PoliceParams
from clsbpf.tc.actions.sample import Sample, SampleParams
from clsbpf.tc.actions.simple import Simple, SimpleParams
from clsbpf.tc.actions.skbedit import Skbedit, SkbeditParams
from clsbpf.tc.actions.skbmod import Skbmod, SkbmodParams
from clsbpf.tc.actions.tunnel_key import Tunnel, TunnelKey, TunnelKeyParams
from clsbpf.tc.actions.vlan import Vlan, VlanParams, VlanWhat
from clsbpf.tc.rate import Rate, reciprocal
from clsbpf.tc.result import ClassifyResult
from tc_fakes import FunctionProgram

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
SEC = 1000 * MS


def udp(size: int = 20, **ip: Any) -> bytes:
    return bytes(
        Ether(src=A, dst=B) / IP(src="10.0.0.1", dst="10.0.0.2", **ip) / UDP(sport=1, dport=2) / bytes(size)
    )


def act(action: Action[Any], skb: Skb | bytes) -> int:
    return action.act(incoming(skb) if isinstance(skb, bytes) else skb, ClassifyResult())


# gact: net/sched/act_gact.c


def test_gact_takes_every_nth_packet() -> None:
    action = Gact(1, TcAct.PIPE, GactParams(Chance.DETERM, 3, TcAct.SHOT), World().around)
    assert [act(action, udp()) for _ in range(7)] == [3, 3, 2, 3, 3, 2, 3]
    assert action.counters.drops == 2


def test_gact_draws_one_in_n() -> None:
    action = Gact(1, TcAct.OK, GactParams(Chance.NETRAND, 4, TcAct.SHOT), World().around)
    drawn = [act(action, udp()) for _ in range(400)]
    assert 70 < drawn.count(TcAct.SHOT) < 130
    again = Gact(1, TcAct.OK, GactParams(Chance.NETRAND, 4, TcAct.SHOT), World().around)
    assert drawn == [act(again, udp()) for _ in range(400)]


# mirred: net/sched/act_mirred.c

FRAME = udp()
MIRRED: list[tuple[Eaction, int, int, bool]] = [
    (Eaction.EGRESS_MIRROR, TcAct.PIPE, TcAct.PIPE, True),
    (Eaction.EGRESS_REDIR, TcAct.STOLEN, TcAct.STOLEN, True),
    (Eaction.INGRESS_MIRROR, TcAct.OK, TcAct.OK, False),
    (Eaction.INGRESS_REDIR, TcAct.SHOT, TcAct.STOLEN, False),
    (Eaction.EGRESS_REDIR, TcAct.PIPE, TcAct.PIPE, True),
]


@pytest.mark.parametrize(("eaction", "control", "answer", "whole"), MIRRED)
def test_mirred_sends_a_copy_where_the_target_expects_it(
    eaction: Eaction, control: int, answer: int, whole: bool
) -> None:
    world = World()
    action = Mirred(1, control, MirredParams(eaction, ifindex=3), world.around)
    assert act(action, FRAME) == answer
    assert world.devices.taken == [(3, eaction.to_ingress, FRAME if whole else FRAME[14:])]
    outgoing = Skb.from_frame(FRAME)
    assert act(action, outgoing) == control
    assert world.devices.taken[1][2] == (FRAME if whole else FRAME[14:])
    assert (outgoing.packet, action.counters.overlimits) == (FRAME, 0)


def test_mirred_to_a_raw_device_and_to_none() -> None:
    world = World()
    world.devices.raw = frozenset({3})
    act(Mirred(1, TcAct.PIPE, MirredParams(Eaction.EGRESS_MIRROR, ifindex=3), world.around), FRAME)
    assert world.devices.taken == [(3, False, FRAME[14:])]
    for eaction, answer in ((Eaction.EGRESS_MIRROR, TcAct.PIPE), (Eaction.EGRESS_REDIR, TcAct.SHOT)):
        action = Mirred(1, TcAct.PIPE, MirredParams(eaction, ifindex=9), world.around)
        assert act(action, FRAME) == answer
        assert action.counters.overlimits == 1


def test_mirred_to_a_block_leaves_out_where_the_packet_is() -> None:
    world = World()
    world.devices.blocks = {5: (2, 3, 4)}
    action = Mirred(1, TcAct.STOLEN, MirredParams(Eaction.EGRESS_REDIR, block=5), world.around)
    assert act(action, FRAME) == TcAct.STOLEN
    assert [taken[0] for taken in world.devices.taken] == [3, 4]
    nowhere = Mirred(1, TcAct.STOLEN, MirredParams(Eaction.EGRESS_REDIR, block=6), world.around)
    assert (act(nowhere, FRAME), nowhere.counters.overlimits) == (TcAct.STOLEN, 1)


def test_mirred_goes_four_deep() -> None:
    world = World()
    world.around.nesting = 4
    action = Mirred(1, TcAct.PIPE, MirredParams(Eaction.EGRESS_MIRROR, ifindex=3), world.around)
    assert (act(action, FRAME), action.counters.packets) == (TcAct.SHOT, 0)


# police: net/sched/act_police.c


def police(world: World, **params: Any) -> Police:
    return Police(1, TcAct.SHOT, PoliceParams(**params), world.around)


def test_police_lets_a_burst_through_and_then_the_rate() -> None:
    """1000 bytes a second with a burst of 1000 bytes; packets of 100."""
    world = World()
    action = police(world, rate=Rate(1000), burst=SEC)
    frame = udp(72)
    assert len(frame) - 14 == 100
    assert [act(action, frame) for _ in range(12)] == [0] * 10 + [2] * 2
    world.clock.time = SEC // 10
    assert [act(action, frame) for _ in range(2)] == [0, 2]
    world.clock.time = 100 * SEC
    assert [act(action, frame) for _ in range(11)] == [0] * 10 + [2]
    assert (action.counters.overlimits, action.counters.drops) == (4, 4)


def test_police_refuses_what_is_longer_than_the_mtu() -> None:
    action = police(World(), mtu=100, result=TcAct.PIPE)
    assert [act(action, udp(size)) for size in (58, 59)] == [TcAct.PIPE, TcAct.SHOT]


def test_police_peak_rate_spaces_packets() -> None:
    """At a peak of 10000 bytes a second a packet of 100 (114 for the mtu) is let through every 10 ms."""
    world = World()
    action = police(world, rate=Rate(5000), burst=SEC, peak=Rate(10000), mtu=114)
    passed = []
    for tick in range(30):
        world.clock.time = tick * 5 * MS
        passed.append(act(action, udp(72)) == 0)
    assert passed == [tick % 2 == 0 for tick in range(30)]


def test_police_counts_packets() -> None:
    world = World()
    action = police(world, packets=10, packets_burst=SEC // 2)
    assert [act(action, udp()) for _ in range(6)] == [0] * 5 + [2]
    world.clock.time = SEC // 10
    assert [act(action, udp()) for _ in range(2)] == [0, 2]


def test_police_heeds_the_average() -> None:
    """An estimator of a quarter of a second with weight 1/2; 10 packets of 100 bytes in each."""
    world = World()
    action = police(world, average=2000, result=TcAct.PIPE)
    action.estimator = Estimator.from_attr(b"\xfe\x01", 0)
    answers = []
    for tick in range(12):
        world.clock.time = tick * SEC // 4
        answers.append({act(action, udp(72)) for _ in range(10)})
    assert answers[0] == {TcAct.PIPE}
    assert answers[-1] == {TcAct.SHOT}


def test_police_is_full_again_after_a_change() -> None:
    world = World()
    action = police(world, rate=Rate(1000), burst=100 * MS)
    assert [act(action, udp(72)) for _ in range(2)] == [0, 2]
    action.change(TcAct.SHOT, replace(action.params), None)
    assert act(action, udp(72)) == 0


@pytest.mark.parametrize("rate", [1, 125, 125_000, 10**9, 10**10, 1 << 33])
def test_the_reciprocal_is_exact_enough(rate: int) -> None:
    mult, shift = reciprocal(rate)
    for length in (1, 64, 1500, 65535):
        assert length * mult >> shift == pytest.approx(length * SEC / rate, rel=1e-6, abs=1)


def test_rates_know_overhead_and_cells() -> None:
    assert Rate(1000, overhead=10).time(90) == Rate(1000).time(100)
    assert Rate(1000, mpu=64).time(10) == Rate(1000).time(64)
    assert Rate(1000, linklayer=2).time(49) == Rate(1000).time(106)


def test_the_capture_s_clock_does_not_go_back() -> None:
    clock = CaptureClock()
    seen = []
    for timestamp in (10**18, 10**18 + 5, 10**18 + 3, 10**18 + 9):
        clock.advance(timestamp)
        seen.append(clock.now())
    assert seen == [0, 5, 5, 9]
    clock.begin()
    clock.advance(77)
    assert clock.now() == 9
    assert ToldClock().now() == 0


# skbedit: net/sched/act_skbedit.c


def test_skbedit() -> None:
    params = SkbeditParams(priority=0x10002, queue=3, mark=0xF5, mask=0x0F, ptype=3)
    skb = incoming(udp())
    skb.mark = 0xAA
    assert act(Skbedit(1, TcAct.PIPE, params, World().around), skb) == TcAct.PIPE
    assert (skb.priority, skb.queue_mapping, skb.mark, skb.pkt_type) == (0x10002, 3, 0xA5, 3)
    skb.hash = 7
    act(Skbedit(1, 3, SkbeditParams(queue=2, queue_most=5, inherit_dsfield=True), World().around), skb)
    assert (skb.queue_mapping, skb.priority) == (2 + 7 % 4, 0)
    for frame in (udp(tos=0xB8), bytes(Ether() / IPv6(tc=0xB8) / UDP())):
        skb = incoming(frame)
        act(Skbedit(1, 3, SkbeditParams(inherit_dsfield=True), World().around), skb)
        assert skb.priority == 0xB8 >> 2


# vlan: net/sched/act_vlan.c, net/core/skbuff.c

PLAIN = Ether(src=A, dst=B) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / b"payload"


def tagged(*tags: tuple[int, int]) -> bytes:
    frame = Ether(src=A, dst=B)
    for vid, prio in tags:
        frame /= Dot1Q(vlan=vid, prio=prio)
    return bytes(frame / PLAIN.payload)


def vlan(skb: Skb, what: VlanWhat, **params: Any) -> int:
    return act(Vlan(1, TcAct.PIPE, VlanParams(what, **params), World().around), skb)


def test_vlan_push_puts_the_older_tag_into_the_bytes() -> None:
    skb = incoming(bytes(PLAIN))
    assert vlan(skb, VlanWhat.PUSH, vid=7, prio=3) == TcAct.PIPE
    assert (skb.vlan_present, skb.vlan_proto, skb.vlan_tci) == (1, 0x8100, 7 | 3 << 13)
    assert frame_of(skb) == bytes(PLAIN)
    vlan(skb, VlanWhat.PUSH, vid=9, protocol=0x88A8)
    assert (skb.vlan_proto, skb.vlan_tci, skb.protocol) == (0x88A8, 9, 0x8100)
    assert frame_of(skb) == tagged((7, 3))


def test_vlan_pop_brings_the_inner_tag_forward() -> None:
    skb = incoming(tagged((5, 1), (6, 2)))
    assert (skb.vlan_tci, frame_of(skb)) == (5 | 1 << 13, tagged((6, 2)))
    vlan(skb, VlanWhat.POP)
    assert (skb.vlan_present, skb.vlan_tci, skb.protocol) == (1, 6 | 2 << 13, 0x0800)
    assert frame_of(skb) == bytes(PLAIN)
    vlan(skb, VlanWhat.POP)
    vlan(skb, VlanWhat.POP)
    assert (skb.vlan_present, frame_of(skb)) == (0, bytes(PLAIN))


def test_vlan_on_the_way_out() -> None:
    skb = Skb.from_frame(tagged((5, 1)))
    vlan(skb, VlanWhat.MODIFY, vid=8)
    assert (skb.vlan_present, skb.vlan_tci, skb.packet) == (1, 8 | 1 << 13, bytes(PLAIN))
    untagged = Skb.from_frame(bytes(PLAIN))
    vlan(untagged, VlanWhat.MODIFY, vid=8)
    assert (untagged.vlan_present, untagged.packet) == (0, bytes(PLAIN))


# pedit: net/sched/act_pedit.c


def word(hex_: str) -> int:
    """Four bytes of a packet as the number that a key has."""
    return int.from_bytes(bytes.fromhex(hex_), "little")


PEDITS: list[tuple[str, Key, Any]] = [
    ("ip ttl", Key(word("00ffffff"), word("09000000"), 8), lambda p: setattr(p[IP], "ttl", 9)),
    (
        "ttl - 1",
        Key(word("00ffffff"), word("ff000000"), 8, header=Header.IP4, add=True),
        lambda p: setattr(p[IP], "ttl", 63),
    ),
    (
        "eth type",
        Key(word("0000ffff"), word("12340000"), 12, header=Header.ETH),
        lambda p: setattr(p, "type", 0x1234),
    ),
    (
        "udp dport",
        Key(word("ffff0000"), word("00000035"), 0, header=Header.UDP),
        lambda p: setattr(p[UDP], "dport", 53),
    ),
    ("where a byte says", Key(word("ffff0000"), word("00000035"), 0, 0, 0x0F, 0), None),
    ("tcp on udp", Key(0, 0, 0, header=Header.TCP), None),
    ("past the end", Key(0, 0, 400), None),
    ("before the start", Key(0, 0, -400), None),
]


@pytest.mark.parametrize("case", PEDITS, ids=lambda case: case[0])
def test_pedit(case: tuple[str, Key, Any]) -> None:
    _, key, change = case
    frame = Ether(bytes(PLAIN))
    skb = incoming(bytes(frame))
    action = Pedit(1, TcAct.PIPE, PeditParams((key,)), World().around)
    assert act(action, skb) == TcAct.PIPE
    if change is not None:
        change(frame)
    # The byte 0x45 & 0x0f is 5, which is no place for a word.
    assert frame_of(skb) == bytes(frame)
    assert action.counters.overlimits == int(change is None)


def test_pedit_follows_a_byte_of_the_packet() -> None:
    """The byte 0x44 & 0x04 adds 4 to the offset 16."""
    skb = incoming(bytes(PLAIN))
    skb.buffer[skb.data] = 0x44
    key = Key(0, word("aabbccdd"), 16, 0, 0x04, 0)
    act(Pedit(1, TcAct.PIPE, PeditParams((key,)), World().around), skb)
    assert skb.packet[20:24] == bytes.fromhex("aabbccdd")


# csum: net/sched/act_csum.c

ALL = Update(0x7F)
PACKETS = {
    "udp": IP() / UDP() / b"odd",
    "tcp": IP() / TCP(options=[("MSS", 1460)]) / b"payload",
    "icmp": IP() / ICMP() / b"ping!",
    "sctp": IP() / SCTP() / bytes(8),
    "udp6": IPv6() / UDP() / b"x",
    "tcp6": IPv6() / TCP() / b"xyz",
}


@pytest.mark.parametrize("name", PACKETS)
def test_csum_makes_wrong_sums_right(name: str) -> None:
    right = bytes(Ether(src=A, dst=B) / PACKETS[name])
    skb = incoming(right)
    at = {"udp": 26, "tcp": 36, "icmp": 22, "sctp": 28, "udp6": 46, "tcp6": 56}[name]
    skb.buffer[skb.data + at : skb.data + at + 2] = b"\xde\xad"
    if "6" not in name:
        skb.buffer[skb.data + 10 : skb.data + 12] = b"\xbe\xef"
    assert act(Csum(1, TcAct.OK, CsumParams(ALL), World().around), skb) == TcAct.OK
    assert frame_of(skb) == right


def test_csum_leaves_alone_what_is_not_asked_or_not_there() -> None:
    frame = Ether(src=A, dst=B) / IP() / UDP(chksum=0) / b"none"
    later = Ether(src=A, dst=B) / IP(frag=10) / UDP(chksum=0x1234) / b"a later fragment"
    for packet, update in ((frame, Update.UDP), (later, ALL), (frame, Update.TCP | Update.SCTP)):
        skb = incoming(bytes(packet))
        act(Csum(1, TcAct.OK, CsumParams(update), World().around), skb)
        assert frame_of(skb) == bytes(packet)
    cut = incoming(bytes(Ether() / IP(len=60) / UDP(len=40)))
    assert act(Csum(1, TcAct.OK, CsumParams(ALL), World().around), cut) == TcAct.SHOT
    assert crc32c(b"123456789") == 0xE3069283


# skbmod: net/sched/act_skbmod.c


def test_skbmod() -> None:
    skb = incoming(bytes(PLAIN))
    act(Skbmod(1, 3, SkbmodParams(8, swap=True), World().around), skb)
    assert frame_of(skb)[:12] == bytes(PLAIN)[6:12] + bytes(PLAIN)[:6]
    act(Skbmod(1, 3, SkbmodParams(5, dst=b"abcdef", etype=0xBEEF), World().around), skb)
    assert frame_of(skb)[:14] == b"abcdef" + bytes(PLAIN)[:6] + b"\xbe\xef"


@pytest.mark.parametrize(("tos", "after"), [(0, 0), (1, 3), (2, 3), (3, 3), (0xB9, 0xBB)])
def test_skbmod_marks_congestion_where_it_is_heard(tos: int, after: int) -> None:
    skb = incoming(bytes(Ether(src=A, dst=B) / IP(tos=tos) / UDP()))
    act(Skbmod(1, 3, SkbmodParams(16, ecn=True), World().around), skb)
    assert frame_of(skb) == bytes(Ether(src=A, dst=B) / IP(tos=after) / UDP())
    six = incoming(bytes(Ether(src=A, dst=B) / IPv6(tc=tos) / UDP()))
    act(Skbmod(1, 3, SkbmodParams(16, ecn=True), World().around), six)
    assert IPv6(six.packet).tc == after


# tunnel_key, simple, sample, bpf: net/sched/act_*.c


def test_tunnel_key_sets_and_unsets() -> None:
    skb = incoming(udp())
    tunnel = Tunnel(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), key_id=7, ttl=64)
    act(TunnelKey(1, 3, TunnelKeyParams(tunnel), World().around), skb)
    assert skb.tunnel == tunnel.image
    assert (skb.tunnel[8], skb.tunnel[16:20], skb.tunnel[53]) == (7, bytes((10, 0, 0, 1)), 64)
    act(TunnelKey(1, 3, TunnelKeyParams(None), World().around), skb)
    assert skb.tunnel is None


def test_simple_counts_its_packets() -> None:
    world = World()
    action = Simple(1, TcAct.PIPE, SimpleParams("hello"), world.around)
    assert [act(action, udp()) for _ in range(2)] == [TcAct.PIPE] * 2
    assert world.said == ["simple: hello_1", "simple: hello_2"]


def test_sample_shows_one_in_n() -> None:
    world = World()
    action = Sample(1, TcAct.PIPE, SampleParams(1, 5, truncate=20), world.around)
    act(action, FRAME)
    act(action, FRAME)
    first = world.samples[0]
    assert (first.data, first.length, first.group, first.in_ifindex) == (FRAME[:20], len(FRAME), 5, 2)
    assert [sample.sequence for sample in world.samples] == [1, 2]


BPF = [(0, 0), (1, 1), (2, 2), (3, 3), (4, -1), (7, 7), (8, -1), (99, -1), (0xFFFFFFFF, TcAct.OK)]


@pytest.mark.parametrize(("value", "answer"), BPF)
def test_bpf_decides_by_what_it_returns(value: int, answer: int) -> None:
    seen: list[bytes] = []

    def program(skb: Skb) -> int:
        seen.append(skb.packet)
        return value

    action = Bpf(1, TcAct.OK, BpfParams(FunctionProgram(program)), World().around)
    skb = incoming(FRAME)
    assert act(action, skb) == answer
    assert (seen, skb.packet) == ([FRAME], FRAME[14:])
    assert action.counters.drops == (value == 2)
