"""Messages that no kernel here would send, shown by `tc monitor file` and by us alike.

tc reads notifications from a file as well, so any message can be put before it: every combination of
attributes and flags, extreme numbers, kinds of classifiers and actions that nobody knows.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from clsbpf.netlink import attr as nla
from clsbpf.netlink.act import GACT_PARMS, GACT_PROB, MIRRED_PARMS, TcaAct, TcaGact, TcaMirred
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf, TcaStats
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from clsbpf.tccmd.ids import CLSACT_EGRESS, CLSACT_INGRESS, PROTOCOLS
from monitor_twins import hostile_are_refused_or_shown, shown_alike
from tc_judge import TcJudge, tc_judge

MESSAGES = 400

EDGES = [0, 1, 2, 7, 0x10, 0xFF, 999, 1000, 1023, 1024, 1025, 0x7FFF, 0xFFFF, 1_000_000, 0x100000, 0xFFFFFFFF]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


class Maker:
    """Random messages, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def number(self, bits: int = 32) -> int:
        return (
            self.random.choice([self.random.choice(EDGES), self.random.getrandbits(bits)]) & (1 << bits) - 1
        )

    def some(self, *attrs: Attr) -> list[Attr]:
        """Some of them, in their order."""
        return [attr for attr in attrs if self.random.random() < 0.6]

    def message(self) -> Message:
        if self.random.random() < 0.3:
            return self.qdisc()
        return self.filter()

    def header(self) -> TcMsg:
        parents = [CLSACT_INGRESS, CLSACT_EGRESS, 0xFFFFFFFF, 0, 0x10000, 0x1000A, 5, self.number()]
        protocol = self.random.choice([0, self.number(16), *(number for number, _ in PROTOCOLS)])
        device = self.random.choice([1, 2, 3, 0xFFFFFFFF])
        return TcMsg.of_filter(
            device,
            self.random.choice(parents),
            prio=self.number(16),
            protocol=protocol,
            handle=self.number(),
        )

    def filter(self) -> Message:
        kind = self.random.choice(["bpf"] * 9 + ["nosuchkind"])
        options = self.bpf() if kind == "bpf" else self.some(nla.u32(1, 2))
        attrs = [nla.string(Tca.KIND, kind)]
        attrs += self.some(
            nla.u32(Tca.CHAIN, self.number()), nla.nest(Tca.OPTIONS, options), self.stats2(Tca.STATS2)
        )
        type = self.random.choice(
            [Rtm.NEWTFILTER, Rtm.NEWTFILTER, Rtm.DELTFILTER, Rtm.NEWCHAIN, Rtm.DELCHAIN]
        )
        if type in (Rtm.NEWCHAIN, Rtm.DELCHAIN) and self.random.random() < 0.8:
            attrs = attrs[1:2]
        return tc_message(
            type,
            self.header(),
            attrs,
            flags=self.random.choice([0, 2, 0x100, 0x200, 0x400, 0x500, 0x600, 0x700]),
        )

    def bpf(self) -> list[Attr]:
        count = self.random.choice([0, 1, 2, 5])
        ops = [nla.u16(TcaBpf.OPS_LEN, count), nla.binary(TcaBpf.OPS, self.random.randbytes(8 * count))]
        actions = [nla.nest(order, self.action()) for order in range(1, self.random.randint(2, 4))]
        return [
            *self.some(nla.u32(TcaBpf.CLASSID, self.number())),
            *(ops if self.random.random() < 0.6 else []),
            *self.some(
                nla.string(TcaBpf.NAME, self.random.choice(["a.o:[x]", "", "größe", "two words"])),
                nla.binary(TcaBpf.TAG, self.random.randbytes(8)),
                nla.u32(TcaBpf.FLAGS, self.random.getrandbits(2)),
                nla.u32(TcaBpf.FLAGS_GEN, self.random.getrandbits(5)),
                nla.nest(TcaBpf.ACT, actions),
            ),
        ]

    def action(self) -> list[Attr]:
        kind = self.random.choice(["gact", "mirred"])
        times = struct.pack("=QQQQ", *(self.random.choice([0, 1, 99, 100, 12345]) for _ in range(4)))
        if kind == "gact":
            parms = GACT_PARMS.pack(self.number(), 0, self.control(), self.number(31), self.number(31))
            prob = GACT_PROB.pack(self.random.choice([0, 1, 2, 7]), self.number(16), self.control())
            inside = [nla.binary(TcaGact.PARMS, parms)]
            inside += self.some(nla.binary(TcaGact.PROB, prob), nla.binary(TcaGact.TM, times))
        else:
            eaction = self.random.choice([0, 1, 2, 3, 4, 5])
            device = self.random.choice([1, 2, 3])
            parms = MIRRED_PARMS.pack(self.number(), 0, self.control(), 1, 2, eaction, device)
            inside = [nla.binary(TcaMirred.PARMS, parms), *self.some(nla.binary(TcaMirred.TM, times))]
        bits = [struct.pack("=II", self.random.getrandbits(3), self.random.getrandbits(3)) for _ in range(3)]
        return [
            nla.string(TcaAct.KIND, kind),
            nla.nest(TcaAct.OPTIONS, inside),
            *self.some(
                nla.u32(TcaAct.INDEX, self.number()),
                self.stats2(TcaAct.STATS),
                nla.binary(TcaAct.COOKIE, self.random.randbytes(self.random.randint(1, 16))),
                nla.binary(TcaAct.FLAGS, bits[0]),
                nla.binary(TcaAct.HW_STATS, bits[1]),
                nla.binary(TcaAct.USED_HW_STATS, bits[2]),
                nla.u32(TcaAct.IN_HW_COUNT, self.number(2)),
            ),
        ]

    def control(self) -> int:
        plain = [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        return self.random.choice([*plain, 0x20000000 | self.number(28), 0x10000000 | self.number(28)])

    def stats2(self, type: int) -> Attr:
        return nla.nest(
            type,
            self.some(
                nla.binary(TcaStats.BASIC, struct.pack("=QI", self.number(64), self.number())),
                nla.binary(
                    TcaStats.BASIC_HW, struct.pack("=QI", *self.random.choice([(0, 0), (1, 0), (70, 2)]))
                ),
                nla.binary(TcaStats.QUEUE, struct.pack("=IIIII", *(self.number() for _ in range(5)))),
                nla.binary(TcaStats.RATE_EST, struct.pack("=II", self.number(), self.number())),
                nla.binary(TcaStats.RATE_EST64, struct.pack("=QQ", self.number(60), self.number(64))),
                nla.u64(TcaStats.PKT64, self.number(64)),
            ),
        )

    def qdisc(self) -> Message:
        attrs = [nla.string(Tca.KIND, self.random.choice(["clsact", "ingress", "noqueue", "nosuchkind"]))]
        attrs += self.some(
            nla.nest(Tca.OPTIONS, self.some(nla.u32(1, 2))),
            nla.u8(Tca.HW_OFFLOAD, self.random.choice([0, 1])),
            nla.u32(Tca.INGRESS_BLOCK, self.number()),
            nla.u32(Tca.EGRESS_BLOCK, self.number()),
            self.stats2(Tca.STATS2),
        )
        header = TcMsg(0, self.random.choice([1, 2, 3]), self.number(), self.header().parent, self.number())
        type = self.random.choice([Rtm.NEWQDISC, Rtm.DELQDISC])
        return tc_message(
            type, header, attrs, flags=self.random.choice([0, 2, 0x100, 0x200, 0x400, 0x500, 0x600, 0x700])
        )


@pytest.mark.parametrize(
    "options", [[], ["-s"], ["-s", "-d"], ["-o", "-s"], ["-N", "-r"], ["-iec", "-s"], ["-br"]]
)
def test_any_message_is_shown_as_tc_shows_it(judge: TcJudge, options: list[str]) -> None:
    maker = Maker(len(options) + sum(map(ord, "".join(options))))
    messages = [maker.message() for _ in range(MESSAGES)]
    shown_alike(judge, messages, options)


def test_hostile_messages_are_refused_or_shown() -> None:
    maker = Maker(1)
    hostile_are_refused_or_shown(maker.message, maker.random)
