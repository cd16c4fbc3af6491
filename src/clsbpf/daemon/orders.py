"""In which order dumps show qdiscs, classes and chains, kept where the batch alone would give another.

A table that has grown and shrunk, or chains of which the first came last, are shown in an order that no
sequence of requests need give again.  So the batch says it, after what it is about:

    #!qdiscs IFINDEX HANDLE…                     those of a device
    #!classes IFINDEX HANDLE BUCKETS CLASSID…    those of an htb
    #!chains IFINDEX PARENT CHAIN…               those of a block, named as requests name it

Numbers are hexadecimal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ..endpoint.places import Place
from ..engine.devices import Device, Network
from ..errors import ClsbpfError
from ..netlink.tcmsg import TcMsg
from ..tc import ids
from ..tc.actions.action import AnyAction
from ..tc.chain import Block
from ..tc.filter import Filter
from ..tc.qdiscs.class_hash import ClassHash
from ..tc.qdiscs.htb import Htb, HtbClass
from ..tc.qdiscs.qdisc import Qdisc
from ..tc.qdiscs.table import QdiscTable


def _line(what: str, *numbers: int) -> str:
    return " ".join([what, *(f"{number:x}" for number in numbers)])


def qdiscs(device: Device, made: Iterable[Qdisc]) -> Iterator[str]:
    """Of a device whose qdiscs are made in that order."""
    wanted = [each for each in device.table if each.handle and not each.invisible]
    table = QdiscTable()
    for each in made:
        if each in wanted:
            table.add(each)
    if list(table) != wanted:
        yield _line("#!qdiscs", device.ifindex, *(each.handle for each in wanted))


def classes(device: Device, qdisc: Htb, made: Iterable[HtbClass]) -> Iterator[str]:
    """Of an htb whose classes are made in that order."""
    table: ClassHash[HtbClass] = ClassHash()
    for each in made:
        table.insert(each)
        table.grow()
    buckets, order = qdisc.classes.layout
    if table.layout != (buckets, order):
        yield _line("#!classes", device.ifindex, qdisc.handle, buckets, *order)


class Chains:
    """Of a block: what chains come with which filter, and in which order that is."""

    def __init__(self) -> None:
        self._made: dict[int, None] = {}

    def chain(self, index: int) -> None:
        """A request for the chain itself."""
        self._made[index] = None

    def filter(self, index: int, block: Block, new: Iterable[AnyAction]) -> None:
        """A filter in a chain, and the actions that come with it."""
        self._made[index] = None
        for action in new:
            if action.goto is not None and action.goto.block is block:
                self._made[action.goto.index] = None

    def line(self, place: Place) -> Iterator[str]:
        """The instruction, if one is needed."""
        order = list(place.block.chains)
        made = [index for index in self._made if index in place.block.chains]
        if made != order:
            header = place_header(place)
            yield _line("#!chains", header.ifindex, header.parent, *order)


def place_header(place: Place) -> TcMsg:
    """How a request names a block."""
    if place.device is None:
        return TcMsg.of_block(place.block.index)
    return TcMsg(0, place.device.ifindex, 0, place.parent)


def actions_of(each: Filter) -> Sequence[AnyAction]:
    """A filter's actions."""
    found: Sequence[AnyAction] = getattr(each.actions, "actions", ())
    return found


# carried out


def _arrange_qdiscs(network: Network, ifindex: int, *handles: int) -> None:
    network.devices[ifindex].table.arrange(handles)


def _arrange_classes(network: Network, ifindex: int, handle: int, buckets: int, *order: int) -> None:
    qdisc = network.devices[ifindex].qdisc(handle)
    if not isinstance(qdisc, Htb):
        raise ClsbpfError(f"no htb {ids.format_classid(handle)}")
    qdisc.classes.arrange(buckets, order)


def _arrange_chains(network: Network, ifindex: int, parent: int, *order: int) -> None:
    header = TcMsg(0, ifindex, 0, parent)
    if header.is_block:
        block = network.shared_block(header.block_index)
    else:
        qdisc = network.devices[ifindex].qdisc(ids.major(parent))
        block = qdisc.block_of(parent) if qdisc is not None else None
    if block is None:
        raise ClsbpfError("no such block")
    block.arrange(order)


_ARRANGE: dict[str, Callable[..., None]] = {
    "#!qdiscs": _arrange_qdiscs,
    "#!classes": _arrange_classes,
    "#!chains": _arrange_chains,
}
ORDERS = frozenset(_ARRANGE)
"""The instructions of this module."""


def arrange(network: Network, what: str, rest: str) -> None:
    """Carry one out; ClsbpfError or ValueError where it is about what is not there."""
    try:
        _ARRANGE[what](network, *(int(number, 16) for number in rest.split(" ")))
    except (KeyError, TypeError) as error:
        raise ClsbpfError(f"it is about what is not there: {error}") from None
