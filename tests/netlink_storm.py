"""Long random sequences of requests, to the kernel and to our endpoint at once.

A `Storm` makes requests as many careless clients might send them: mostly about what there is, of all kinds
and with all flags, some of them damaged.  Every reply, every notification and, every now and then, the dump
of everything must be equal on both sides; what was refused must not have changed anything.

By hand: `python tests/netlink_storm.py --requests 200000 --seed 1`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import action_messages as act
import netlink_twin
from clsbpf.bpf.asm import assemble
from clsbpf.engine.programs import LoadedProgram, ProgramTable
from clsbpf.kernel.bpf import ProgType, prog_info, prog_load
from clsbpf.netlink import act as wire
from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.act import TcaAct
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.tc.chain import Block
from clsbpf.vm.link import LinkedProgram
from netlink_twin import Twin, twin
from tc_messages import (
    BLOCK,
    CLSACT,
    DUMP,
    ECHO,
    EGRESS,
    INGRESS,
    RETURN_ALL,
    ROOT,
    bpf,
    program,
    qdisc,
)

FIRST_FD = 900
"""Where the programs are on both sides: the descriptors of this process and those of our endpoint's."""
PROGRAMS = (
    ("pass_all", ProgType.SCHED_CLS, "sched_cls", "r0 = -1\nexit"),
    ("drop", ProgType.SCHED_CLS, "sched_cls", "r0 = 2\nexit"),
    ("sock", ProgType.SOCKET_FILTER, "socket_filter", "r0 = 0\nexit"),
)
GOTO = 0x20000000
BLOCKS = (5, 6, 7)
_MEMBARRIER, _GLOBAL = 324, 1


def grace_period() -> None:
    """Wait for the kernel's readers (synchronize_rcu), after which what a filter held is given back soon."""
    ctypes.CDLL(None).syscall(ctypes.c_long(_MEMBARRIER), ctypes.c_int(_GLOBAL), ctypes.c_uint(0))


@contextmanager
def loaded_programs(table: ProgramTable) -> Iterator[None]:
    """The programs, under the same descriptors and with the same ids on both sides."""
    held: list[int] = []
    ours: dict[int, Any] = {}
    try:
        for number, (name, kernel_type, type, text) in enumerate(PROGRAMS, FIRST_FD):
            insns = assemble(text)
            fd = prog_load(insns, kernel_type, name=name)
            os.dup2(fd, number)
            os.close(fd)
            held.append(number)
            linked = LinkedProgram(tuple(insns), name=name, type=type)
            ours[number] = table.load(linked)
            assert isinstance(ours[number], LoadedProgram)
            ours[number].id = prog_info(number).id
        with table.files_of(ours):
            yield
    finally:
        for number in held:
            os.close(number)


class Storm:
    """Random requests to a twin, and what must hold after each."""

    def __init__(self, t: Twin, seed: int) -> None:
        self.t = t
        self.rng = random.Random(seed)
        self.refused = 0
        self.accepted = 0
        self._released = False
        net = t.network.actions
        unbind = net._unbind

        def noted(action: Any) -> None:
            self._released = True
            unbind(action)

        net._unbind = noted  # type: ignore[method-assign]

    # what is asked

    def request(self) -> Message:
        kind = self.rng.choices(
            [self.qdisc, self.new_filter, self.other_filter, self.chain, self.action, self.dump],
            [4, 46, 16, 12, 16, 6],
        )[0]
        message = kind()
        return self.damaged(message) if self.rng.random() < 0.12 else message

    def flags(self) -> int:
        choose = self.rng.choice
        return nl.NLM_F_REQUEST | choose([0, nl.NLM_F_ACK]) | choose([0, 0, ECHO])

    def new_flags(self) -> int:
        return self.flags() | self.rng.choice([0, 0x400, 0x400, 0x400, 0x500, 0x500, 0x600, 0x600, 0x100])

    def qdisc(self) -> Message:
        choose = self.rng.choice
        attrs = [
            nla.u32(attr, choose([*BLOCKS, *BLOCKS, 0]))
            for attr in (Tca.INGRESS_BLOCK, Tca.EGRESS_BLOCK)
            if self.rng.random() < 0.3
        ]
        if self.rng.random() < 0.05:
            attrs.append(nla.binary(Tca.RATE, bytes([choose([0, 3, 4, 0xFE]), choose([0, 1, 31])])))
        if self.rng.random() < 0.03:
            attrs.append(choose([nla.nest(Tca.OPTIONS, ()), nla.nest(Tca.STAB, ()), nla.u32(Tca.CHAIN, 1)]))
        return qdisc(
            choose([self.t.v0, self.t.v0, self.t.v0, self.t.v1, self.t.v1, self.t.v1, 999]),
            choose(["clsact", "clsact", "clsact", "ingress", "ingress", None, "nosuch"]),
            type=choose([Rtm.NEWQDISC] * 4 + [Rtm.GETQDISC, Rtm.DELQDISC]),
            flags=self.new_flags(),
            parent=choose([CLSACT] * 6 + [INGRESS, ROOT, 0]),
            handle=choose([0xFFFF0000, 0xFFFF0000, 0, 0x10000]),
            attrs=attrs,
        )

    def blocks(self) -> list[tuple[int, int, Block]]:
        """The blocks that there are: device and parent, or BLOCK and the number."""
        net = self.t.network
        found = [(BLOCK, block.index, block) for block in net.shared_blocks()]
        for device in net.devices.values():
            if device.ingress is not None:
                sides = zip((INGRESS, EGRESS), device.ingress.blocks, strict=False)
                found += [(device.ifindex, parent, block) for parent, block in sides if not block.index]
        return found

    def place(self) -> tuple[int, int]:
        choose = self.rng.choice
        blocks = self.blocks()
        if blocks and self.rng.random() < 0.85:
            return choose(blocks)[:2]
        if self.rng.random() < 0.3:
            return BLOCK, choose([*BLOCKS, *BLOCKS, 8])
        device = choose([self.t.v0, self.t.v1, self.t.v0, self.t.v1, self.t.v0, self.t.v1, 1, 999])
        return device, choose([INGRESS] * 5 + [EGRESS] * 4 + [CLSACT, 0xFFFF0000, 0xFFFF0007, 0, 0x10000])

    def existing(self) -> dict[str, Any] | None:
        """A filter that there is, and where; None when there is none (or by chance)."""
        filters = [
            (device, parent, classifier, each)
            for device, parent, block in self.blocks()
            for chain in block.chains.values()
            for classifier in chain.classifiers
            for each in classifier
        ]
        if not filters or self.rng.random() < 0.3:
            return None
        device, parent, classifier, each = self.rng.choice(filters)
        chain = classifier.chain.index
        return {
            "ifindex": device,
            "parent": parent,
            "prio": classifier.prio,
            "protocol": self.rng.choice([classifier.protocol, classifier.protocol, 0]),
            "handle": self.rng.choice([each.handle] * 4 + [0]),
            "attrs": [nla.u32(Tca.CHAIN, chain)] if chain or self.rng.random() < 0.3 else [],
        }

    def what(self) -> dict[str, Any]:
        choose = self.rng.choice
        index = choose([0, 1, 2, 3, 4, 0x0FFFFFFF, 0x10000000])
        return {
            "prio": choose([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 0x7FFF, 0x8000, 0x8001, 0xC000, 0xBFFF, 0xFFFF]),
            "protocol": choose([3, 3, 3, 3, 3, 3, 3, 0x0800, 0]),
            "handle": choose([0, 0, 0, 0, 0, 1, 2, 3, 0x7FFFFFFF, 0x80000000]),
            "attrs": [nla.u32(Tca.CHAIN, index)] if self.rng.random() < 0.4 else [],
        }

    def kind(self) -> str | None:
        return self.rng.choice(["bpf"] * 40 + [None, None, "nosuch", "bpf\0", "", "x" * 16])

    def options(self) -> list[Attr] | None:
        choose, chance = self.rng.choice, self.rng.random
        if chance() < 0.02:
            return None
        more = [
            nla.u32(number, choose(values))
            for number, values in (
                (TcaBpf.CLASSID, [0, 0x10001, 0x10002, 0xFFFFFFFF]),
                (TcaBpf.FLAGS, [0, 1, 1, 1, 1, 1, 2]),
                (TcaBpf.FLAGS_GEN, [0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 8, 16]),
            )
            if chance() < 0.2
        ]
        if chance() < 0.25:
            more.append(nla.string(TcaBpf.NAME, choose(["", "p.o:[x]", "größe", "n" * 256, "n" * 257])))
        if chance() < 0.25:
            more.append(nla.nest(TcaBpf.ACT, act.listed(self.actions(2))))
        if chance() < 0.3:
            fd = choose([FIRST_FD] * 4 + [FIRST_FD + 1] * 4 + [FIRST_FD + 2, FIRST_FD + 90, 0xFFFFFFFF])
            more.append(nla.u32(TcaBpf.FD, fd))
            if chance() < 0.95:
                self.rng.shuffle(more)
                return more
        ops = choose([RETURN_ALL] * 12 + [RETURN_ALL * 3] * 3 + [bytes(8), b"", RETURN_ALL + b"\0"])
        wrong = chance() < 0.05
        return program(*more, ops=ops, count=choose([0, 2, 4097]) if wrong else None)

    def actions(self, most: int) -> list[list[Attr]]:
        """Mirred actions; never one index twice, nor one that 0 could mean: the kernel never comes back."""
        several = most if self.rng.random() < 0.25 else 1
        indexes = self.rng.sample([1, 2, 3, 4, 5] if several > 1 else [0, 0, 1, 2, 3, 4, 5], several)
        return [self.mirred(index, by_filter=True) for index in indexes]

    def mirred(self, index: int, *, by_filter: bool = False) -> list[Attr]:
        choose, chance = self.rng.choice, self.rng.random
        # A filter that is refused leaves its mark on an action that was there: in the kernel, not in ours.
        cookie = chance() < 0.2 and (not index or not by_filter)
        more = [nla.binary(TcaAct.COOKIE, self.rng.randbytes(choose([1, 4, 16])))] if cookie else []
        if chance() < 0.1:
            flags = choose([0, 1, 2, 4])
            more.append(nla.binary(TcaAct.FLAGS, wire.BITFIELD32.pack(flags, flags)))
        return act.mirred(
            choose([0, self.t.v0, self.t.v0, self.t.v0, self.t.v1, self.t.v1, self.t.v1, 99]),
            index=index,
            control=choose([0, 2, 3, 3, 3, 3, 4, 4, -1, 0x10000001, GOTO, GOTO | 2, GOTO | 3, 99]),
            eaction=choose([1, 1, 2, 2, 2, 3, 4, 4, 0, 9]),
            block=choose([None] * 12 + [5, 0]),
            more=more,
        )

    def new_filter(self) -> Message:
        device, parent = self.place()
        options, what = self.options(), {"ifindex": device, "parent": parent, **self.what()}
        if self.rng.random() < 0.3:
            what = self.existing() or what
        if self.rng.random() < 0.03:
            what["attrs"].append(nla.binary(Tca.RATE, self.rng.randbytes(self.rng.choice([0, 1, 2]))))
        return bpf(flags=self.new_flags(), kind=self.kind(), options=options, **what)

    def other_filter(self) -> Message:
        device, parent = self.place()
        what = self.existing() or {"ifindex": device, "parent": parent, **self.what()}
        if self.rng.random() < 0.1:
            what |= {"prio": 0, "protocol": 0, "handle": 0}
        return bpf(
            type=self.rng.choice([Rtm.DELTFILTER, Rtm.DELTFILTER, Rtm.GETTFILTER]),
            flags=self.flags(),
            kind=self.rng.choice(["bpf", None, None, None, "nosuch"])
            if what["prio"] or self.rng.random() < 0.1
            else None,
            options=None,
            **what,
        )

    def chain(self) -> Message:
        device, parent = self.place()
        return bpf(
            device,
            parent=parent,
            type=self.rng.choice([Rtm.NEWCHAIN, Rtm.NEWCHAIN, Rtm.DELCHAIN, Rtm.GETCHAIN]),
            flags=self.flags() | self.rng.choice([0, nl.NLM_F_CREATE, nl.NLM_F_CREATE]),
            kind=self.rng.choice([None] * 8 + ["bpf", "nosuch", "x" * 16]),
            options=None,
            **self.what(),
        )

    def action(self) -> Message:
        choose = self.rng.choice
        index = self.rng.randint(1, 6)
        match self.rng.randrange(9):
            case 0 | 1 | 2 | 3:
                # One at a time where it may replace: of several the kernel keeps those before a mistake.
                replaces = choose([0, nl.NLM_F_REPLACE])
                one = self.mirred(choose([0, 0, index]))
                return act.request(Rtm.NEWACTION, one, flags=self.flags() | nl.NLM_F_CREATE | replaces)
            case 4:
                names = [act.named("mirred", self.rng.randint(1, 6)) for _ in range(choose([1, 1, 2]))]
                return act.request(Rtm.GETACTION, *names, flags=self.flags())
            case 5 | 6:
                # One at a time: of several, the kernel goes on holding those after one that cannot go.
                return act.request(Rtm.DELACTION, act.named("mirred", index), flags=self.flags())
            case 7:
                kind = choose(["mirred", "mirred", "nosuch"])
                return act.request(Rtm.DELACTION, act.named(kind), flags=self.flags() | nl.NLM_F_ROOT)
            case _:
                return act.request(
                    Rtm.NEWACTION, act.action(choose(["nosuch", "", "x" * 16]), []), flags=self.flags()
                )

    def dump(self) -> Message:
        choose = self.rng.choice
        device, parent = self.place()
        what = self.what() | {"handle": 0}
        if self.rng.random() < 0.6:
            what |= {"prio": 0, "protocol": 0}
        match self.rng.randrange(4):
            case 0:
                return act.dump(choose(["mirred", "nosuch"]), flags=self.rng.randrange(4))
            case 1:
                device = choose([0, device])
                return qdisc(device, type=Rtm.GETQDISC, flags=DUMP, parent=0, handle=0, kind=None)
            case 2:
                return bpf(
                    device, type=Rtm.GETCHAIN, parent=parent, flags=DUMP, kind=None, options=None, **what
                )
            case _:
                return bpf(
                    device, type=Rtm.GETTFILTER, parent=parent, flags=DUMP, kind=None, options=None, **what
                )

    def damaged(self, message: Message) -> Message:
        """The message with bytes changed, cut off, put in or repeated; the type stays one of ours."""
        chosen, payload = self.rng, bytearray(message.payload)
        for _ in range(chosen.choice([1, 1, 2, 3])):
            at = chosen.randrange(len(payload) + 1) if payload else 0
            match chosen.randrange(8):
                case 0 | 1 | 2 | 3 if payload:
                    byte = chosen.choice([0, 1, 2, 4, 5, 8, 12, 0x80, 0xFF, chosen.randrange(256)])
                    payload[at % len(payload)] = byte
                case 4:
                    del payload[at:]
                case 5:
                    payload[at:at] = chosen.randbytes(chosen.choice([1, 2, 4, 8]))
                case 6:
                    payload += chosen.randbytes(chosen.choice([1, 3, 4, 20]))
                case _:
                    del payload[at : at + chosen.choice([1, 4, 8])]
        flags = message.flags
        if chosen.random() < 0.1:
            flags ^= 1 << chosen.choice([0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])  # MULTI would look like a dump's
        damaged = Message(message.type, flags, message.seq, 0, bytes(payload))
        return message if risky(damaged) else damaged

    # what must hold

    def step(self, *, check_unchanged: bool = False) -> None:
        """One request: equal answers; and where it was refused, everything is as it was."""
        request = self.request()
        before = self.everything() if check_unchanged else None
        answers = self.t.ask(request)
        errors = [a.errno for _, a in (each for each in answers if len(each) == 2) if a.errno]
        if errors:
            self.refused += 1
            if before is not None and before != self.everything():
                raise AssertionError(f"refused, and yet something changed: {request.encode().hex()}")
        else:
            self.accepted += 1
        if self._released:
            self._released = False
            self.settle()

    def everything(self) -> list[list[bytes]]:
        """Our dumps of everything, without the parent that the last request for a filter named."""
        actions = list(self.t.network.actions.tables["mirred"])
        asked = [action.tells_hw_stats for action in actions]
        dumped = [[unplaced(d) for d in self.t.ours.handle(each.encode())] for each in self.dumps()]
        for action, before in zip(actions, asked, strict=True):
            action.tells_hw_stats = before  # a dump leaves a mark, and the kernel was not asked for this one
        return dumped

    def dumps(self) -> Iterable[Message]:
        yield qdisc(0, type=Rtm.GETQDISC, flags=DUMP, parent=0, handle=0, kind=None)
        yield act.dump("mirred")
        none: dict[str, Any] = {"flags": DUMP, "prio": 0, "protocol": 0, "kind": None, "options": None}
        for type in (Rtm.GETTFILTER, Rtm.GETCHAIN):
            for device in (self.t.v0, self.t.v1):
                for parent in (INGRESS, EGRESS):
                    yield bpf(device, type=type, parent=parent, **none)
            for index in BLOCKS:
                yield bpf(BLOCK, type=type, parent=index, **none)

    def settle(self) -> None:
        """Wait until the kernel has given back what a filter's actions held, a moment after the filter."""
        request = act.dump("mirred").encode()
        deadline = time.monotonic() + 5
        grace_period()
        while True:
            theirs = [netlink_twin.comparable(reply) for reply in self.t.kernel.ask(request)]
            if theirs == self.t.ours.handle(request, self.t.kernel.portid):
                return
            if time.monotonic() > deadline:
                self.t.ask(request)
            time.sleep(0.002)

    def compare_all(self) -> None:
        for each in self.dumps():
            self.t.ask(each)


def unplaced(datagram: bytes) -> bytes:
    """Filters without their parent: dumps show the one that the last request named, also a refused one."""
    return b"".join(
        Message(m.type, m.flags, m.seq, m.pid, m.payload[:12] + bytes(4) + m.payload[16:]).encode()
        if m.type == Rtm.NEWTFILTER
        else m.encode()
        for m in nl.iter_messages(datagram)
    )


def risky(message: Message) -> bool:
    """Might it name one new action twice, or a policer, or say something of an action that is there?

    A filter that does the first is replayed by the kernel without end; the second this kernel does not have;
    of the third the kernel keeps what it said if it is refused afterwards.
    """
    if message.type != Rtm.NEWTFILTER:
        return False
    options = [attr for attr in nla.iter_attrs(message.payload[20:]) if attr.type == Tca.OPTIONS]
    inside = [attr for nest in options for attr in nest.attrs()]
    lists = [attr for attr in inside if attr.type == TcaBpf.ACT]
    police = any(attr.type == TcaBpf.POLICE for attr in inside)
    each = [{attr.type for attr in action.attrs()} for nest in lists for action in nest.attrs()]
    says = any(types & {TcaAct.COOKIE, TcaAct.HW_STATS} for types in each)
    return police or says or any(len(nest.attrs()) > 1 for nest in lists) or len(lists) > 1


@contextmanager
def storm(seed: int) -> Iterator[Storm]:
    """A storm over a twin of its own; the times of actions do not count.

    With every other seed the one who asks listens as well.
    """
    comparable = netlink_twin.comparable
    netlink_twin.comparable = lambda datagram: act.timeless(comparable(datagram))
    try:
        with twin(asker_listens=bool(seed % 2)) as both, loaded_programs(both.network.programs):  # type: ignore[arg-type]
            handle = both.ours.handle
            both.ours.handle = lambda *args: [act.timeless(d) for d in handle(*args)]  # type: ignore[method-assign]
            yield Storm(both, seed)
    finally:
        netlink_twin.comparable = comparable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    asked = 0
    seed = given.seed
    while asked < given.requests:
        with storm(seed) as each:
            for n in range(1, min(5000, given.requests - asked) + 1):
                each.step(check_unchanged=n % 10 == 0)
                if n % 25 == 0:
                    each.compare_all()
            asked += n
            print(f"seed {seed}: {n} requests, {each.refused} refused; {asked} in all", flush=True)
        seed += 1


if __name__ == "__main__":
    main()
