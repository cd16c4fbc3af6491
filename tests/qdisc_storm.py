"""Random requests about qdiscs, classes and their filters, for a twin of the kernel and our endpoint.

What they name is mostly what there is on our side, which is what there is on the kernel's as long as the
two are equal.  No packets are sent: filters may lead in circles here.

By hand: `python tests/qdisc_storm.py --requests 100000 --seed 1`.
"""

from __future__ import annotations

import argparse
import random
import struct
import time
from collections.abc import Iterator
from typing import Any

from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Message
from clsbpf.netlink.qdisc import (
    HtbGlob,
    HtbOpt,
    RateSpec,
    SizeSpec,
    TbfQopt,
    TcaHtb,
    TcaStab,
    TcaTbf,
    encode_fifo,
)
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from clsbpf.tc.hook import HookQdisc
from netlink_twin import Twin, twin
from tc_messages import ALL, CLSACT, DUMP, ECHO, RETURN_ALL, ROOT, bpf, program, qdisc

KINDS = ["htb", "htb", "htb", "tbf", "tbf", "pfifo", "bfifo", "pfifo_head_drop", "pfifo_fast", "noqueue"]
ODD_KINDS = ["clsact", "ingress", "nosuch", None, "htb\0x", ""]
MAJORS = [0x10000, 0x10000, 0x20000, 0x30000, 0x80010000, 0xFFFE0000]
MINORS = [*range(1, 12), 0x100, 0xFFFF]
FLAGS = [0x600, 0x600, 0x600, 0x500, 0x500, 0x400, 0x100, 0, 0x200, 0x300, 0x700]
"""NLM_F_CREATE, EXCL and REPLACE in all mixtures; those of tc more often."""


class QdiscStorm:
    """Makes requests by the state of our side."""

    def __init__(self, both: Twin, seed: int) -> None:
        self.both = both
        self.rng = random.Random(seed)

    def run(self, requests: int, *, dump_every: int = 100) -> None:
        """Ask both, and now and then compare everything."""
        for number in range(1, requests + 1):
            self.both.ask(self.request())
            if number % dump_every == 0:
                self.dump()
        self.dump()

    def dump(self) -> None:
        """Qdiscs, with those that are usually left out, classes and filters."""
        ask = self.both.ask
        for attrs in ([], [nla.flag(Tca.DUMP_INVISIBLE)]):
            ask(qdisc(0, type=Rtm.GETQDISC, flags=DUMP, parent=0, handle=0, kind=None, attrs=attrs))
        for ifindex, device in self.both.network.devices.items():
            ask(tc_message(Rtm.GETTCLASS, TcMsg(0, ifindex), flags=DUMP, seq=3))
            for each in device.qdiscs():
                for parent in [each.handle, *self.classids(each)]:
                    ask(bpf(ifindex, parent=parent, **ALL))

    @staticmethod
    def classids(each: Any) -> Iterator[int]:
        """The classes of a qdisc that can have filters."""
        if isinstance(each, HookQdisc):
            yield from (0xFFFFFFF2, 0xFFFFFFF3)
        else:
            yield from (each.handle | getattr(class_, "classid", 1) for class_ in each.walk())

    # names

    def device(self) -> int:
        """Mostly one that has classes."""
        there = [i for i, device in self.both.network.devices.items() if device.root.has_classes]
        return self.rng.choice(there * 8 + [self.both.v0, self.both.v1, 1, 999])

    def some_class(self, ifindex: int) -> int:
        """A classid, mostly of a class that there is."""
        device = self.both.network.devices.get(ifindex)
        there = [i for each in device.qdiscs() for i in self.classids(each)] if device is not None else []
        if there and self.rng.random() < 0.75:
            return self.rng.choice(there)
        major = self.handle(ifindex) if self.rng.random() < 0.8 else self.rng.choice(MAJORS)
        return major | self.rng.choice([0, *MINORS])

    def handle(self, ifindex: int) -> int:
        """A qdisc's handle, mostly of one that there is."""
        device = self.both.network.devices.get(ifindex)
        there = [each.handle for each in device.qdiscs() if each.handle] if device is not None else []
        if there and self.rng.random() < 0.6:
            return self.rng.choice(there)
        return self.rng.choice(MAJORS)

    def flags(self) -> int:
        """NLM_F_REQUEST with others."""
        return nl.NLM_F_REQUEST | self.rng.choice([0, nl.NLM_F_ACK]) | self.rng.choice([0, ECHO])

    # requests

    def request(self) -> Message:
        """One request; one in thirty is damaged.

        Without a root qdisc there is little to ask about: mostly there is one, and it stays for long.
        """
        roots = [device.root.has_classes for device in self.both.network.devices.values()]
        if not any(roots) or (not all(roots) and self.rng.random() < 0.03):
            ifindex = self.rng.choice(list(self.both.network.devices))
            glob = nla.nest(Tca.OPTIONS, [nla.binary(TcaHtb.INIT, HtbGlob(defcls=5).encode())])
            flags = nl.NLM_F_REQUEST | nl.NLM_F_CREATE | nl.NLM_F_REPLACE
            return qdisc(
                ifindex, "htb", parent=ROOT, handle=self.rng.choice(MAJORS), attrs=[glob], flags=flags
            )
        kind = self.rng.choices(["qdisc", "class", "filter", "chain", "dump"], [30, 40, 22, 3, 5])[0]
        message: Message = getattr(self, f"_{kind}")()
        return self._damaged(message) if self.rng.random() < 0.03 else message

    def _damaged(self, message: Message) -> Message:
        payload = bytearray(message.payload)
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            at = self.rng.randrange(20, len(payload)) if len(payload) > 20 else 0
            payload[at] = self.rng.choice([0, 1, 2, 4, 5, 8, 0xFF, self.rng.randrange(256)])
        if _asks_for_a_handle(message, payload) or _names_actions(message, payload):
            return message
        return Message(message.type, message.flags, message.seq, message.pid, bytes(payload))

    def _some_attrs(self) -> list[Attr]:
        rng, out = self.rng, []
        if rng.random() < 0.08:
            rates = [b"\0\1", b"\2\2", b"\x09\1", b"\0\0", b"\0", b"\0\1\2"]
            out.append(nla.binary(Tca.RATE, rng.choice(rates)))
        if rng.random() < 0.04:
            out.append(nla.u32(rng.choice([Tca.INGRESS_BLOCK, Tca.EGRESS_BLOCK]), rng.choice([0, 5])))
        if rng.random() < 0.06:
            out.append(self._stab())
        return out

    def _stab(self) -> Attr:
        rng = self.rng
        tsize = rng.choice([0, 0, 4, 5])
        spec = SizeSpec(
            cell_log=rng.choice([0, 3, 30, 31]), size_log=rng.choice([0, 0, 31]), overhead=-4, tsize=tsize
        )
        inside = [nla.binary(TcaStab.BASE, spec.encode()[: rng.choice([24, 24, 24, 23])])]
        if rng.random() < 0.8:
            inside.append(nla.binary(TcaStab.DATA, bytes(rng.choice([8, 8, 10, 0]))))
        return nla.nest(Tca.STAB, inside[rng.random() < 0.1 :])

    def _qdisc(self) -> Message:
        rng, ifindex = self.rng, self.device()
        type = rng.choice([Rtm.NEWQDISC, Rtm.NEWQDISC, Rtm.NEWQDISC, Rtm.GETQDISC, Rtm.DELQDISC])
        parent = rng.choice([ROOT, 0, CLSACT, *[self.some_class(ifindex)] * 8])
        if parent == ROOT and type != Rtm.GETQDISC and rng.random() < 0.9:
            parent = self.some_class(ifindex)
        handle = self.handle(ifindex) if rng.random() < 0.3 else rng.choice(MAJORS)
        if rng.random() < 0.05:
            handle = rng.choice([1, 0x10001, 0xFFFF0000, 0xFFFFFFFF])
        if parent == CLSACT and rng.random() < 0.8:
            handle = 0xFFFF0000
        kind = rng.choice(KINDS) if rng.random() < 0.85 else rng.choice(ODD_KINDS)
        if parent == CLSACT and rng.random() < 0.7:
            kind = rng.choice(["clsact", "ingress"])
        flags = self.flags()
        if type == Rtm.NEWQDISC:
            flags |= rng.choice(FLAGS)
        else:
            if rng.random() < 0.5:
                handle = 0
            kind = None if rng.random() < 0.7 else kind
        attrs = self._some_attrs()
        if rng.random() < 0.75:
            attrs += self._qdisc_options(kind)
        return qdisc(ifindex, kind, type=type, flags=flags, parent=parent, handle=handle, attrs=attrs)

    def _qdisc_options(self, kind: str | None) -> list[Attr]:
        rng = self.rng
        if kind == "htb" and rng.random() < 0.97:
            glob = HtbGlob(
                version=rng.choice([3] * 20 + [2]),
                rate2quantum=rng.choice([10, 1, 0, 0x80000000, 100000]),
                defcls=rng.choice([0, 1, 5, 0x10001, 0xFFFFFFFF]),
            )
            inside = [nla.binary(TcaHtb.INIT, glob.encode()[: rng.choice([20] * 20 + [19])])]
            if rng.random() < 0.2:
                inside.append(nla.u32(TcaHtb.DIRECT_QLEN, rng.choice([0, 7, 0xFFFFFFFF])))
            if rng.random() < 0.03:
                inside.append(nla.flag(TcaHtb.OFFLOAD))
            return [nla.nest(Tca.OPTIONS, inside[rng.random() < 0.03 :])]
        if kind == "tbf" and rng.random() < 0.97:
            return [self._tbf_options()]
        if rng.random() < 0.5:
            return []
        limit = encode_fifo(rng.choice([0, 1, 1000, 0xFFFFFFFF]))
        return [nla.binary(Tca.OPTIONS, limit[: rng.choice([4, 4, 4, 3])] + bytes(rng.choice([0, 0, 4])))]

    def _tbf_options(self) -> Attr:
        rng = self.rng
        rates = [0, 1, 1000, 125000, 12500000, 0xFFFFFFFF]
        specs = [
            RateSpec(
                rng.choice(rates[n:]),
                rng.choice([0, 4, 0xFFFF]),
                rng.choice([0, 64]),
                rng.choice([1, 1, 2, 0x12]),
            )
            for n in (1, 0)
        ]
        if rng.random() < 0.6:
            specs[1] = RateSpec(0, linklayer=1)
        ticks = [0, 1, 1000, 1000000, 0xFFFFFFFF]
        limit = rng.choice([0, 1, 1000, 0xFFFFFFFF])
        qopt = TbfQopt(*specs, limit, rng.choice(ticks[1:]), rng.choice(ticks))
        inside = [nla.binary(TcaTbf.PARMS, qopt.encode()[: rng.choice([36] * 20 + [35])])]
        for number in (TcaTbf.RATE64, TcaTbf.PRATE64):
            if rng.random() < 0.1:
                inside.append(nla.u64(number, rng.choice([0, 5, 1 << 32, 1 << 40, (1 << 64) - 1])))
        for number in (TcaTbf.BURST, TcaTbf.PBURST):
            if rng.random() < 0.4:
                inside.append(nla.u32(number, rng.choice([0, 1, 1500, 100000, 0xFFFFFFFF])))
        if rng.random() < 0.1:
            inside.append(nla.binary(rng.choice([TcaTbf.RTAB, TcaTbf.PTAB]), bytes(rng.choice([1024, 1025]))))
        return nla.nest(Tca.OPTIONS, inside[rng.random() < 0.03 :])

    def _class(self) -> Message:
        rng, ifindex = self.rng, self.device()
        type = rng.choice([Rtm.NEWTCLASS] * 6 + [Rtm.DELTCLASS] * 2 + [Rtm.GETTCLASS])
        classid = self.some_class(ifindex) if type != Rtm.NEWTCLASS or rng.random() < 0.3 else 0
        if not classid and rng.random() < 0.95:
            classid = (self.handle(ifindex) if rng.random() < 0.9 else 0) | rng.choice(MINORS)
        parent = rng.choice([ROOT, ROOT, 0, 1, *[self.some_class(ifindex)] * 12])
        if rng.random() < 0.8 and parent not in (0, 1, ROOT):
            classid = parent & 0xFFFF0000 | classid & 0xFFFF
        if type != Rtm.NEWTCLASS and rng.random() < 0.6:
            parent = 0
        flags = self.flags() | (rng.choice([0x600] * 12 + FLAGS) if type == Rtm.NEWTCLASS else 0)
        attrs = [nla.string(Tca.KIND, "htb")] if rng.random() < 0.9 else []
        attrs += self._some_attrs()
        if type == Rtm.NEWTCLASS and rng.random() < 0.98:
            attrs.append(self._class_options())
        return tc_message(type, TcMsg(0, ifindex, classid, parent), attrs, flags=flags, seq=5)

    def _class_options(self) -> Attr:
        rng = self.rng
        rates = [1, 1000, 125000, 12500000, 125000000, 0xFFFFFFFF]
        opt = HtbOpt(
            *(
                RateSpec(
                    rng.choice(rates) if rng.random() < 0.98 else 0,
                    rng.choice([0, 4, 0xFFFF]),
                    rng.choice([0, 64]),
                    # Of 0 the kernel may make something else in the request that it sends back.
                    rng.choice([1, 1, 2, 3, 0x12, 0xFF]),
                    rng.randrange(256),
                    -1,
                )
                for _ in range(2)
            ),
            buffer=rng.choice([0, 1000, 0x7FFFFFFF, 0xFFFFFFFF]),
            cbuffer=rng.choice([0, 1000, 0xFFFFFFFF]),
            quantum=rng.choice([0, 0, 1, 2000, 0xFFFFFFFF]),
            level=rng.choice([0, 5]),
            prio=rng.choice([0, 3, 7, 8, 0x7FFFFFFF, 0xFFFFFFFF]),
        )
        inside = [nla.binary(TcaHtb.PARMS, opt.encode()[: rng.choice([44] * 30 + [43])])]
        for number in (TcaHtb.RATE64, TcaHtb.CEIL64):
            if rng.random() < 0.1:
                inside.append(nla.u64(number, rng.choice([0, 5, 1 << 32, 1 << 40, (1 << 64) - 1])))
        if rng.random() < 0.1:
            size = rng.choice([1024, 1023, 1025])
            inside.append(nla.binary(rng.choice([TcaHtb.RTAB, TcaHtb.CTAB]), bytes(size)))
        return nla.nest(Tca.OPTIONS, inside[rng.random() < 0.02 :])

    def _place(self) -> tuple[int, int]:
        ifindex = self.device()
        parent = self.rng.choice([0, self.handle(ifindex), *[self.some_class(ifindex)] * 4])
        return ifindex, parent

    def _filter(self) -> Message:
        rng = self.rng
        ifindex, parent = self._place()
        what: dict[str, Any] = {
            "parent": parent,
            "prio": rng.choice([0, 1, 1, 2]),
            "protocol": rng.choice([3, 3, 3, 0x0800, 0]),
            "handle": rng.choice([0, 0, 1, 2]),
        }
        if rng.random() < 0.2:
            what["attrs"] = [nla.u32(Tca.CHAIN, rng.choice([0, 1]))]
        match rng.choice(["new", "new", "new", "delete", "get"]):
            case "new":
                more = [nla.u32(TcaBpf.CLASSID, self.some_class(ifindex))] if rng.random() < 0.9 else []
                if rng.random() < 0.3:
                    more.append(nla.u32(TcaBpf.FLAGS, rng.choice([0, 1])))
                flags = self.flags() | rng.choice([0x600] * 9 + FLAGS)
                return bpf(ifindex, flags=flags, options=program(*more, ops=RETURN_ALL), **what)
            case "delete":
                if rng.random() < 0.3:
                    what |= {"prio": 0, "protocol": 0, "handle": 0}
                return bpf(ifindex, type=Rtm.DELTFILTER, flags=self.flags(), kind=None, options=None, **what)
            case _:
                return bpf(ifindex, type=Rtm.GETTFILTER, flags=self.flags(), options=None, **what)

    def _chain(self) -> Message:
        ifindex, parent = self._place()
        type = self.rng.choice([Rtm.NEWCHAIN, Rtm.DELCHAIN, Rtm.GETCHAIN])
        flags = self.flags() | self.rng.choice([0, nl.NLM_F_CREATE])
        attrs = [nla.u32(Tca.CHAIN, self.rng.choice([0, 1, 2]))]
        return bpf(ifindex, parent=parent, type=type, flags=flags, kind=None, options=None, attrs=attrs)

    def _dump(self) -> Message:
        ifindex = self.device()
        if self.rng.random() < 0.5:
            parent = self.rng.choice([0, ROOT, self.handle(ifindex), self.some_class(ifindex)])
            return tc_message(Rtm.GETTCLASS, TcMsg(0, ifindex, 0, parent), flags=DUMP, seq=3)
        return bpf(ifindex, parent=self._place()[1], **ALL)


def _asks_for_a_handle(message: Message, payload: bytearray) -> bool:
    """Might the kernel choose a handle?  It counts them for all namespaces together."""
    return message.type == Rtm.NEWQDISC and struct.unpack_from("=I", payload, 8)[0] == 0


def _names_actions(message: Message, payload: bytearray) -> bool:
    """Has a filter actions?  The kernel here lacks nearly all kinds."""
    if message.type != Rtm.NEWTFILTER:
        return False
    nests = [attr for attr in nla.iter_attrs(bytes(payload[20:])) if attr.type == Tca.OPTIONS]
    return any(attr.type in (TcaBpf.ACT, TcaBpf.POLICE) for nest in nests for attr in nest.attrs())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    with twin() as both:
        QdiscStorm(both, given.seed).run(given.requests)
    print(f"{given.requests} requests, all equal, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
