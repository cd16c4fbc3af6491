"""What a host has, as the lines of a batch that makes it again (`tccmd.saved`).

Devices come first, then qdiscs and classes, each after what it is in, then actions that no filter need
hold, then chains and filters, the oldest filter of a prio first, since a new one goes to the front.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..endpoint.classes import dump_classes
from ..endpoint.fill import filter_message
from ..endpoint.links import IFINFOMSG
from ..endpoint.places import Place
from ..endpoint.qdiscs import dump_qdiscs
from ..endpoint.request import Request
from ..engine.devices import FIRST_IFINDEX, Device
from ..engine.offload_worker import name_of
from ..engine.programs import LoadedProgram
from ..netlink import attr as nla
from ..netlink.message import NLM_F_REQUEST, Message
from ..netlink.schema import Rtm, Tca
from ..netlink.tcmsg import TcMsg, tc_message
from ..tc import ids
from ..tc.actions.action import AnyAction
from ..tc.actions.mirred import Mirred
from ..tc.filter import Classifier, Filter
from ..tc.qdiscs.htb import Htb
from ..tc.qdiscs.qdisc import QdiscStats, walk_qdiscs
from ..tccmd.saved import requests
from ..tccmd.saved.words import Said, line_of
from . import orders
from .host import Host

PROGRAMS_DIRECTORY = "/clsbpf/programs"
"""Where kept lines say that programs are: a directory that exists for the daemon alone."""

Wanted = dict[int, LoadedProgram]
"""The programs that lines name, by id."""


@dataclass(slots=True)
class Snapshot:
    """Makes the lines.  Those of filters are made once: a filter does not change."""

    host: Host
    _lines: dict[Filter, tuple[str, ...]] = field(default_factory=dict)
    _made_at: tuple[int, int] = (-1, -1)
    """What actions and devices were like when they were made."""
    _gone: Device | None = None
    """Stands for the device that mirred actions have led to."""

    def take(self) -> tuple[list[str], Wanted]:
        """All lines, and the programs that they name.  Under the network's lock."""
        wanted: Wanted = {}
        self._gone = self._stand_in() if any(map(_leads_nowhere, self._actions())) else None
        lines = [*self._devices(), *self._standalone_actions(wanted), *self._filters(wanted)]
        if self._gone is None:
            return lines, wanted
        # An action that leads nowhere can only be had by taking away the device that it leads to.
        delete = Message(Rtm.DELLINK, NLM_F_REQUEST, payload=IFINFOMSG.pack(0, 0, self._gone.ifindex, 0, 0))
        return [device_line(self._gone), *lines, self._line(delete)], wanted

    def _actions(self) -> Iterator[AnyAction]:
        return itertools.chain.from_iterable(self.host.network.actions.tables.values())

    def _stand_in(self) -> Device:
        network = self.host.network
        name = next(each for each in map("gone{}".format, itertools.count()) if network.device(each) is None)
        return Device(name, max((FIRST_IFINDEX - 1, *network.devices)) + 1)

    def count(self) -> int:
        """How many actions and filters there are.  Under the network's lock."""
        classifiers = (
            each
            for place in self._places()
            for chain in place.block.chains.values()
            for each in chain.classifiers
        )
        return sum(map(len, self.host.network.actions.tables.values())) + sum(map(len, classifiers))

    def _devices(self) -> Iterator[str]:
        network = self.host.network
        for device in network.devices.values():
            yield device_line(device)
        for device in network.devices.values():
            yield from self._qdiscs(device)

    def _qdiscs(self, device: Device) -> Iterator[str]:
        """Qdiscs and classes, each after what it is in."""
        network = self.host.network
        request = _dump_request(Rtm.GETQDISC, TcMsg(0, device.ifindex))
        dumped = [(TcMsg.decode(m.payload), m) for m in dump_qdiscs(network, request)]
        qdiscs = {header.handle: m for header, m in dumped if header.ifindex == device.ifindex}
        dump = dump_classes(network, _dump_request(Rtm.GETTCLASS, TcMsg(0, device.ifindex)))
        classes = {TcMsg.decode(m.payload).handle: m for m in dump}
        found = [q for root in (device.root, device.ingress) if root is not None for q in walk_qdiscs(root)]
        for qdisc in found:
            if qdisc.handle:
                yield from self._lines_of(requests.qdisc_request(qdiscs[qdisc.handle], _rate(qdisc.stats)))
            if isinstance(qdisc, Htb):
                # Of one level the oldest first: a new class goes to the front of its place in the table.
                oldest_first = list(qdisc.walk())[::-1]
                made = sorted(oldest_first, key=lambda class_: -class_.level)
                for class_ in made:
                    message = classes[class_.classid]
                    yield from self._lines_of(requests.class_request(message, _rate(class_.stats)))
                yield from orders.classes(device, qdisc, made)
        yield from orders.qdiscs(device, found)

    def _lines_of(self, request: Message | None) -> Iterator[str]:
        if request is not None:
            yield self._line(request)

    def _standalone_actions(self, wanted: Wanted) -> Iterator[str]:
        """Actions that are there without a filter's holding them."""
        actions = self.host.network.actions
        for table in actions.tables.values():
            for action in table:
                if action.references > action.bindings:
                    request = requests.action_request(
                        nla.nest(1, actions.dump(action)), gone=self._gone_index
                    )
                    self._note(request, wanted)
                    yield self._line(request)

    def _filters(self, wanted: Wanted) -> Iterator[str]:
        """Chains that were asked for and filters, of each block once; the oldest filter of a prio first."""
        now = (self.host.actions_changed, self.host.network.generation)
        if self._made_at != now:
            self._lines = {}  # the words of actions and the names of devices are in the lines
            self._made_at = now
        before, self._lines = self._lines, {}
        there = {action for action in self._actions() if action.references > action.bindings}
        for place in self._places():
            chains = orders.Chains()
            for chain in place.block.chains.values():
                if chain.explicitly_created:
                    chains.chain(chain.index)
                    yield self._line(_chain(place, chain.index))
                for classifier in chain.classifiers:
                    for each in reversed(list(classifier)):
                        new = [action for action in orders.actions_of(each) if action not in there]
                        there.update(new)
                        chains.filter(chain.index, place.block, new)
                        lines = before.get(each) or self._filter(place, classifier, each, new)
                        if all(action.estimator is None for action in orders.actions_of(each)):
                            self._lines[each] = lines  # else it depends on what came before
                        self._note_filter(each, wanted)
                        yield from lines
            yield from chains.line(place)

    def _filter(
        self, place: Place, classifier: Classifier, each: Filter, new: list[AnyAction]
    ) -> tuple[str, ...]:
        """The line of a filter.

        An estimator is every new action's of a request: where only some have one, or another one, the filter
        comes with the first actions and is replaced by itself with more.
        """
        message = filter_message(_NO_REQUEST, Rtm.NEWTFILTER, 0, place, classifier, each)
        program = each.program
        id = program.id if isinstance(program, LoadedProgram) else None
        actions = orders.actions_of(each)
        rates = {count: _rate(action) for count, action in enumerate(actions) if action in new}
        ends = [at for (_, one), (at, other) in itertools.pairwise(rates.items()) if one != other]
        lines: list[str] = []
        for count in (*ends, len(actions)):
            rate = next((rates[at] for at in range(count - 1, -1, -1) if at in rates), None)
            flags = requests.REPLACE if lines else requests.CREATE
            request = requests.filter_request(
                message, id, gone=self._gone_index, rate=rate, first_actions=count, flags=flags
            )
            lines.append(self._line(request))
        return tuple(lines)

    def _places(self) -> Iterator[Place]:
        """The blocks of all devices, then those that are shared."""
        network = self.host.network
        for device in network.devices.values():
            for qdisc in device.qdiscs():
                parents = [qdisc.handle]
                if qdisc.is_ingress:
                    parents = [
                        ids.make(qdisc.handle, minor) for minor in (ids.TC_H_MIN_INGRESS, ids.TC_H_MIN_EGRESS)
                    ]
                elif qdisc.has_classes:
                    request = _dump_request(Rtm.GETTCLASS, TcMsg(0, device.ifindex, 0, qdisc.handle))
                    classes = dump_classes(network, request)
                    parents += [TcMsg.decode(message.payload).handle for message in classes]
                seen: set[int] = set()
                for parent in parents:
                    block = qdisc.block_of(parent)
                    if block is not None and not block.index and id(block) not in seen:
                        seen.add(id(block))
                        yield Place(block, device, block.classid or parent)
        for block in network.shared_blocks():
            yield Place(block, None, 0)

    def _note_filter(self, each: Filter, wanted: Wanted) -> None:
        for program in programs_of_filter(each):
            assert program.id is not None
            wanted[program.id] = program

    def _note(self, request: Message, wanted: Wanted) -> None:
        for id in requests.programs_of(request):
            program = self.host.programs.by_id(id)
            if program is not None:
                wanted[id] = program

    def _line(self, request: Message) -> str:
        """The request as a line of the batch."""
        said = Said(self._device_name, lambda id: f"{PROGRAMS_DIRECTORY}/{id}")
        line = line_of(request, said)
        return line if line is not None else f"#!request {request.encode().hex()}"

    @property
    def _gone_index(self) -> int:
        return self._gone.ifindex if self._gone is not None else 0

    def _device_name(self, ifindex: int) -> str | None:
        if self._gone is not None and ifindex == self._gone.ifindex:
            return self._gone.name
        device = self.host.network.devices.get(ifindex)
        return device.name if device is not None else None


def device_line(device: Device) -> str:
    """The instruction that makes a device: its ifindex and name, and what is not as usual."""
    usual = Device(device.name, device.ifindex)
    words = {
        "driver": name_of(device.driver),
        "down": None if device.up else "yes",
        "mtu": device.mtu if device.mtu != usual.mtu else None,
        "txqueuelen": device.tx_queue_len if device.tx_queue_len != usual.tx_queue_len else None,
        "address": device.address.hex() or None,
        "ingress": "was" if device.has_ingress_queue and device.ingress is None else None,
    }
    said = (f" {word}={value}" for word, value in words.items() if value is not None)
    return f"#!device {device.ifindex} {device.name}{''.join(said)}"


def _leads_nowhere(action: AnyAction) -> bool:
    return isinstance(action, Mirred) and not action.params.ifindex and not action.params.block


def programs_of_filter(each: Filter) -> Iterator[LoadedProgram]:
    """The loaded programs that a filter and its actions hold."""
    for holder in (each, *getattr(each.actions, "actions", ())):
        program = getattr(holder, "program", None) or getattr(
            getattr(holder, "params", None), "program", None
        )
        if isinstance(program, LoadedProgram) and program.id is not None:
            yield program


_NO_REQUEST = Request(Message(0), TcMsg(), {}, None, 0)


def _dump_request(type: Rtm, tcm: TcMsg) -> Request:
    return Request(Message(type), tcm, {}, None, 0)


def _rate(counted: QdiscStats | AnyAction) -> bytes | None:
    """The TCA_RATE of an estimator."""
    return counted.estimator.attr if counted.estimator is not None else None


def _chain(place: Place, index: int) -> Message:
    header = orders.place_header(place)
    return tc_message(Rtm.NEWCHAIN, header, [nla.u32(Tca.CHAIN, index)], flags=requests.CREATE)
