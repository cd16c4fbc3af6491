"""Qdiscs and classes that no kernel here would send, shown by `tc monitor file` and by us alike.

tc reads notifications from a file as well: prio, extreme numbers, attributes that are missing or odd.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from clsbpf.netlink import attr as nla
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.codel import TcaCodel, TcaFqCodel
from clsbpf.netlink.message import Message
from clsbpf.netlink.qdisc import (
    HtbGlob,
    HtbOpt,
    HtbXstats,
    RateSpec,
    SizeSpec,
    TbfQopt,
    TcaHtb,
    TcaStab,
    TcaTbf,
    encode_fifo,
    encode_prio,
)
from clsbpf.netlink.schema import Rtm, Tca, TcaStats
from clsbpf.netlink.sfq import SfqQopt
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from monitor_twins import hostile_are_refused_or_shown, shown_alike
from tc_judge import TcJudge, tc_judge

MESSAGES = 300
EDGES = [0, 1, 2, 7, 64, 0xFF, 1000, 1023, 1024, 1600, 0x7FFF, 0xFFFF, 1_000_000, 0x7FFFFFFF, 0xFFFFFFFF]
KINDS = [
    "htb",
    "htb",
    "prio",
    "tbf",
    "tbf",
    "codel",
    "fq_codel",
    "sfq",
    "pfifo",
    "bfifo",
    "pfifo_head_drop",
    "pfifo_fast",
    "clsact",
    "ingress",
    "nosuch",
]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


class Maker:
    """Random messages, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def number(self, bits: int = 32) -> int:
        some = self.random.choice([self.random.choice(EDGES), self.random.getrandbits(bits)])
        return some & (1 << bits) - 1

    def signed(self, bits: int = 32) -> int:
        value = self.number(bits)
        return value - (1 << bits) if value >> bits - 1 else value

    def some(self, *attrs: Attr) -> list[Attr]:
        """Most of them, in their order."""
        return [attr for attr in attrs if self.random.random() < 0.8]

    def rate(self) -> RateSpec:
        return RateSpec(
            self.number(), self.number(16), self.number(16), self.number(8), self.random.randrange(31), -1
        )

    def options(self, kind: str) -> Attr:
        priomap = bytes(self.random.randrange(16) for _ in range(16))
        match kind:
            case "htb":
                return nla.nest(Tca.OPTIONS, self.htb())
            case "tbf":
                return nla.nest(Tca.OPTIONS, self.tbf())
            case "sfq":
                return self.sfq()
            case "codel" | "fq_codel":
                return nla.nest(Tca.OPTIONS, self.codel(kind))
            case "prio" | "pfifo_fast":
                return nla.binary(Tca.OPTIONS, encode_prio(self.signed(), priomap))
            case "clsact" | "ingress":
                return nla.nest(Tca.OPTIONS, [])
            case _:
                return nla.binary(Tca.OPTIONS, encode_fifo(self.number()))

    def htb(self) -> list[Attr]:
        glob = HtbGlob(*(self.number() for _ in range(5)))
        opt = HtbOpt(self.rate(), self.rate(), *(self.number() for _ in range(5)))
        if self.random.random() < 0.5:
            return self.some(
                nla.binary(TcaHtb.INIT, glob.encode()), nla.u32(TcaHtb.DIRECT_QLEN, self.number())
            )
        wide = [nla.u64(number, self.number(62)) for number in (TcaHtb.RATE64, TcaHtb.CEIL64)]
        return [
            nla.binary(TcaHtb.PARMS, opt.encode()),
            *(each for each in wide if self.random.random() < 0.2),
        ]

    def codel(self, kind: str) -> list[Attr]:
        numbers = TcaCodel if kind == "codel" else TcaFqCodel
        return self.some(
            *(
                nla.u8(number, self.number(8))
                if "_SELECTOR" in number.name or "MASK" in number.name
                else nla.u32(number, self.number())
                for number in numbers
            )
        )

    def sfq(self) -> Attr:
        numbers = [self.number(), self.signed(), *(self.number() for _ in range(8))]
        wlog, plog, scell_log = (self.number(8) for _ in range(3))
        flags = self.random.randrange(16)
        qopt = SfqQopt(*numbers, wlog, plog, scell_log, flags, self.number()).encode()
        return nla.binary(Tca.OPTIONS, qopt[: self.random.choice([72, 72, 20, 19])])

    def tbf(self) -> list[Attr]:
        rates = self.rate(), self.rate() if self.random.random() < 0.5 else RateSpec(0)
        qopt = TbfQopt(*rates, *(self.number() for _ in range(3)))
        wide = [nla.u64(number, self.number(60)) for number in (TcaTbf.RATE64, TcaTbf.PRATE64)]
        return [
            nla.binary(TcaTbf.PARMS, qopt.encode()),
            *(each for each in wide if self.random.random() < 0.2),
        ]

    def stats(self, kind: str) -> Attr:
        inside = self.some(
            nla.binary(TcaStats.BASIC, struct.pack("=QI", self.number(64), self.number())),
            nla.binary(TcaStats.QUEUE, struct.pack("=IIIII", *(self.number() for _ in range(5)))),
        )
        if self.random.random() < 0.3:
            inside.insert(0, nla.binary(TcaStats.RATE_EST, struct.pack("=II", self.number(), self.number())))
        if kind in ("codel", "fq_codel"):
            numbers = [self.random.choice([0, 1, self.number()]), *(self.number() for _ in range(9))]
            counted_there = struct.pack("=10I", *numbers)
            inside.append(nla.binary(TcaStats.APP, counted_there[: self.random.choice([40, 36, 20])]))
        elif self.random.random() < 0.4:
            counted = HtbXstats(self.number(), self.number(), self.number(), self.signed(), self.signed())
            inside.append(nla.binary(TcaStats.APP, counted.encode()))
        return nla.nest(Tca.STATS2, inside)

    def message(self) -> Message:
        kind = self.random.choice(KINDS)
        attrs = [nla.string(Tca.KIND, kind), *self.some(self.options(kind), self.stats(kind))]
        numbers = [self.random.choice([0x10000, 0x1000A, 5, 0, self.number()]) for _ in range(3)]
        parent = self.random.choice([0xFFFFFFFF, 0xFFFFFFF1, numbers[1]])
        header = TcMsg(0, self.random.choice([1, 2, 3]), numbers[0], parent, numbers[2])
        if self.random.random() < 0.5:
            type = self.random.choice([Rtm.NEWTCLASS, Rtm.NEWTCLASS, Rtm.DELTCLASS])
            return tc_message(type, header, attrs)
        spec = SizeSpec(0, 0, 0, self.signed(), self.random.randrange(4), *(self.number() for _ in range(3)))
        if self.random.random() < 0.3:
            attrs.append(nla.nest(Tca.STAB, self.some(nla.binary(TcaStab.BASE, spec.encode()))))
        type = self.random.choice([Rtm.NEWQDISC, Rtm.DELQDISC])
        return tc_message(type, header, attrs, flags=self.random.choice([0, 0x100, 0x400, 0x600]))


@pytest.mark.parametrize("options", [[], ["-s"], ["-s", "-d"], ["-o", "-s"], ["-r", "-d"], ["-iec", "-s"]])
def test_any_message_is_shown_as_tc_shows_it(judge: TcJudge, options: list[str]) -> None:
    maker = Maker(len(options) + sum(map(ord, "".join(options))))
    messages = [maker.message() for _ in range(MESSAGES)]
    shown_alike(judge, messages, options)


def test_hostile_messages_are_refused_or_shown() -> None:
    maker = Maker(1)
    hostile_are_refused_or_shown(maker.message, maker.random)
