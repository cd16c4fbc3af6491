"""The network that an engine stands for: devices, their qdiscs, shared blocks.  No packets here.

A `Network` is one network namespace.  Each device has a root qdisc, with others in its classes, which
is `noqueue` until a request puts another there (a device without a queue, as veth or loopback have it),
and a place for a clsact or ingress qdisc.  A shared block belongs to no device: it exists while a qdisc
is bound to it.

Every change is made under `Network.lock`, which stands for the kernel's rtnl.  Mirrors what
net/sched/sch_api.c (qdisc_lookup, qdisc_create, qdisc_graft) and net/sched/cls_api.c
(tcf_block_get_ext, tcf_block_put_ext) keep.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import ClsbpfError, NetlinkError
from ..link import ETHERNET, LinkLayer
from ..profile import CURRENT, KernelProfile
from ..tc import ids
from ..tc.actions.surroundings import NoForwarder, Surroundings
from ..tc.chain import Block, BlockOwner, Chain
from ..tc.hook import CLSACT, HookQdisc
from ..tc.offload import OffloadDriver
from ..tc.program import ProgramSource
from ..tc.qdiscs.fifo import NOQUEUE, Queue
from ..tc.qdiscs.qdisc import BlockHolder, Qdisc, QdiscHome
from ..tc.qdiscs.table import QdiscTable
from .actions import NetActions
from .forward import Forwarding
from .multicast import Multicast
from .programs import ProgramTable

IFNAMSIZ = 16
DEFAULT_MTU = 1500
DEFAULT_TX_QUEUE_LEN = 1000
AUTO_HANDLE_FIRST, AUTO_HANDLE_END = 0x80000000, 0xFFFF0000
"""Handles of qdiscs whose requests name none go round between these, in steps of 1:."""
FIRST_IFINDEX = 2
"""Given to the first device that names none: 1 is the loopback device in every network namespace."""
MAX_IFINDEX = 0x7FFFFFFF


def _no_queue() -> Qdisc:
    """The root qdisc of a device without a queue (veth, loopback), which cannot be addressed."""
    return Queue(NOQUEUE, 0, ids.TC_H_ROOT)


@dataclass(slots=True, eq=False)
class Device:
    """struct net_device.  `link`: what its frames begin with; `driver`: what offloads filters, or None.

    `mtu` is without the link-layer header, `tx_queue_len` the packets that wait in a queue nobody
    sized, `tx_queues` its transmit queues, which all have the same root qdisc.
    """

    name: str
    ifindex: int
    link: LinkLayer = ETHERNET
    driver: OffloadDriver | None = None
    mtu: int = DEFAULT_MTU
    tx_queue_len: int = DEFAULT_TX_QUEUE_LEN
    tx_queues: int = 1
    up: bool = True
    """IFF_UP: does it take packets?"""
    address: bytes = b""
    """Its link-layer address, where somebody gave it one."""
    root: Qdisc = field(default_factory=_no_queue)
    """Its root qdisc.  Changed by `Network.graft_root` only."""
    table: QdiscTable = field(default_factory=QdiscTable)
    """The qdiscs below the root."""
    ingress: HookQdisc | None = None
    """Its clsact or ingress qdisc.  Changed by `Network.attach` and `Network.detach` only."""
    has_ingress_queue: bool = False
    """dev_ingress_queue(): did a request ever ask for a qdisc there?  Errors tell it apart from never."""

    @property
    def hatype(self) -> int:
        """ARPHRD_*."""
        return self.link.hatype

    def qdisc(self, handle: int) -> Qdisc | None:
        """qdisc_lookup(): the qdisc with a handle (`major:`); one with handle 0 is not found."""
        if not handle:
            return None
        if self.root.handle == handle:
            return self.root
        below = self.table.find(handle)
        if below is not None:
            return below
        return self.ingress if self.ingress is not None and self.ingress.handle == handle else None

    def qdiscs(self) -> Iterator[Qdisc]:
        """All of them, in the order of dumps."""
        yield self.root
        yield from self.table
        if self.ingress is not None:
            yield self.ingress

    def references(self, qdisc: Qdisc) -> int:
        """Qdisc.refcnt, tc's refcnt: a root qdisc is held by the device and by each of its queues.

        One that nobody asked for is there for each queue by itself.
        """
        if qdisc is not self.root:
            return 1
        return 1 + (self.tx_queues if qdisc.handle else 1)


@dataclass(slots=True, eq=False)
class _SharedBlock:
    """A block that qdiscs share, and which: `ports` has each by ifindex (tcf_block.ports)."""

    block: Block
    ports: set[int] = field(default_factory=set)


class Network:
    """struct net, as far as traffic control sees it: devices by ifindex, shared blocks by number.

    `programs` makes the programs of new filters for every block; `around` is what actions ask of the
    world: its clock and random numbers, and (unless it has one) a forwarder over these devices.
    """

    def __init__(
        self,
        *,
        profile: KernelProfile = CURRENT,
        programs: ProgramSource | None = None,
        around: Surroundings | None = None,
    ) -> None:
        self.profile = profile
        self.programs = programs if programs is not None else ProgramTable(profile=profile)
        around = around if around is not None else Surroundings()
        self.clock = around.clock
        """The time of actions: a run advances it where it is a capture's."""
        self.forwarding = Forwarding(self)
        if isinstance(around.forwarder, NoForwarder):
            around.forwarder = self.forwarding
        self.actions = NetActions(self, around)
        self.lock = threading.RLock()
        """rtnl: held by whoever changes something."""
        self.multicast = Multicast()
        self.on_chain: Callable[[Chain, bool], None] | None = None
        """Is told of chains that come (True) and go (False): what the endpoint multicasts of them."""
        self.changes = 0
        """Grows with every request that may have changed something: a dump that saw it grow is stale."""
        self.generation = 0
        """Grows with every device and qdisc that comes or goes (filters: `Block.generation`)."""
        self._devices: dict[int, Device] = {}
        self._last_ifindex = 0
        """The highest that a device ever had: it is not given again."""
        self._shared: dict[int, _SharedBlock] = {}
        self._auto_handle = AUTO_HANDLE_FIRST

    # devices

    @property
    def devices(self) -> Mapping[int, Device]:
        """The devices by ifindex, in the order in which they were added."""
        return MappingProxyType(self._devices)

    def add_device(
        self,
        name: str,
        ifindex: int | None = None,
        *,
        link: LinkLayer = ETHERNET,
        driver: OffloadDriver | None = None,
        mtu: int = DEFAULT_MTU,
        tx_queue_len: int = DEFAULT_TX_QUEUE_LEN,
        tx_queues: int = 1,
    ) -> Device:
        """A new device, by default with the next free ifindex; ClsbpfError where Linux would refuse it."""
        with self.lock:
            self.check_name(name)
            if ifindex is None:
                ifindex = max((FIRST_IFINDEX - 1, self._last_ifindex, *self._devices)) + 1
            if not 0 < ifindex <= MAX_IFINDEX:
                raise ClsbpfError(f"ifindex {ifindex} is not within 1 to {MAX_IFINDEX}")
            if ifindex in self._devices:
                raise ClsbpfError(f"ifindex {ifindex} is {self._devices[ifindex].name!r} already")
            device = Device(name, ifindex, link, driver, mtu, tx_queue_len, tx_queues)
            self._devices[ifindex] = device
            self._last_ifindex = max(self._last_ifindex, ifindex)
            self.generation += 1
            return device

    def remove_device(self, device: Device) -> None:
        """unregister_netdevice(): it goes with its qdiscs and all below; nothing leads to it any more."""
        with self.lock:
            if device.ingress is not None:
                self.detach(device)
            self.put(device, self.graft_root(device, None))
            del self._devices[device.ifindex]
            self.actions.forget_device(device.ifindex, device.driver)
            self.generation += 1

    def rename_device(self, device: Device, name: str) -> None:
        """dev_change_name(); ClsbpfError where Linux would refuse it."""
        with self.lock:
            self.check_name(name)
            device.name = name
            self.generation += 1

    def check_name(self, name: str) -> None:
        """ClsbpfError unless a device can get this name."""
        if not _valid_name(name):
            raise ClsbpfError(
                f"{name!r} cannot name a device: 1 to {IFNAMSIZ - 1} bytes without white space, '/' and ':'"
            )
        if self.device(name) is not None:
            raise ClsbpfError(f"there is a device {name!r} already")

    def device(self, name: str) -> Device | None:
        """__dev_get_by_name()."""
        return next((device for device in self._devices.values() if device.name == name), None)

    def ifindex(self, name: str) -> int | None:
        """if_nametoindex(): what a command line asks before it builds its request."""
        device = self.device(name)
        return device.ifindex if device is not None else None

    # qdiscs

    def attach(
        self,
        device: Device,
        kind: str,
        *,
        ingress_block: int = 0,
        egress_block: int = 0,
        announce: Callable[[HookQdisc], None] | None = None,
    ) -> HookQdisc:
        """clsact_init() and qdisc_graft(): a new clsact or ingress qdisc in the place of what was there.

        `announce` is told of it before the old one goes, as notifications are.  A block number other than 0
        asks for that shared block.  NetlinkError EBUSY when the device is bound to it already, be it by the
        qdisc that would go, and what `Block.bind` says; then nothing has changed.
        """
        with self.lock:
            self.check_ports(device, ingress_block, egress_block)
            ingress = self._bind(device, ingress_block)
            try:
                egress = self._bind(device, egress_block) if kind == CLSACT else None
            except NetlinkError:
                self._unbind(device, ingress)
                raise
            if egress is not None and not self.profile.offloads_egress:
                egress.drivers = dict.fromkeys(egress.drivers)
            qdisc = HookQdisc(kind, ingress, egress)
            if announce is not None:
                announce(qdisc)
            if device.ingress is not None:
                self.detach(device)
            device.ingress = qdisc
            device.has_ingress_queue = True
            self.generation += 1
            return qdisc

    def detach(self, device: Device) -> None:
        """qdisc_destroy(): the device's clsact or ingress qdisc goes, with the filters of its own blocks."""
        with self.lock:
            qdisc, device.ingress = device.ingress, None
            assert qdisc is not None
            self.generation += 1
            for block in qdisc.blocks:
                self._unbind(device, block)

    def home(self, device: Device) -> QdiscHome:
        """What a new qdisc of the device needs of it."""
        return QdiscHome(
            device.tx_queue_len,
            device.mtu + device.link.header_len,
            device.table,
            lambda holder: self._new_block(device, holder=holder),
        )

    def allocate_handle(self, device: Device) -> int:
        """qdisc_alloc_handle(): for a qdisc whose request names none.  ENOSPC where all are taken.

        The counter goes on with every request, whatever becomes of it.
        """
        for _ in range(0x8000):
            self._auto_handle += 0x10000
            if self._auto_handle == AUTO_HANDLE_END:
                self._auto_handle = AUTO_HANDLE_FIRST
            if device.qdisc(self._auto_handle) is None:
                return self._auto_handle
        raise NetlinkError(errno.ENOSPC, "Maximum number of qdisc handles was exceeded")

    def graft_root(self, device: Device, new: Qdisc | None) -> Qdisc:
        """qdisc_graft(): another root qdisc (None: none with a queue); gives the old one, to `put`."""
        with self.lock:
            old, device.root = device.root, new if new is not None else _no_queue()
            self.generation += 1
            return old

    def graft(self, device: Device, owner: Qdisc, class_: Any, new: Qdisc | None) -> Qdisc:
        """qdisc_graft(): another qdisc in a class (None: the usual one); gives the old one, to `put`."""
        with self.lock:
            old = owner.graft(class_, new)
            if new is not None:
                device.table.add(new)
            self.generation += 1
            return old

    def put(self, device: Device, qdisc: Qdisc) -> None:
        """qdisc_put(): a qdisc that was taken out goes, with all below it."""
        with self.lock:
            device.table.remove(qdisc)
            qdisc.destroy()
            self.generation += 1

    # shared blocks

    def shared_block(self, index: int) -> Block | None:
        """tcf_block_lookup()."""
        shared = self._shared.get(index)
        return shared.block if shared is not None else None

    def shared_blocks(self) -> Iterator[Block]:
        """All of them, in the order of their creation."""
        return (shared.block for shared in tuple(self._shared.values()))

    def ports(self, index: int) -> frozenset[int]:
        """The ifindexes of the devices that are bound to a shared block."""
        shared = self._shared.get(index)
        return frozenset(shared.ports if shared is not None else ())

    def check_ports(self, device: Device, ingress_block: int, egress_block: int) -> None:
        """NetlinkError EBUSY where a device would be bound twice to a shared block (0: no shared block)."""
        wanted = [index for index in (ingress_block, egress_block) if index]
        if len(set(wanted)) < len(wanted) or any(device.ifindex in self.ports(index) for index in wanted):
            raise NetlinkError(errno.EBUSY, "block dev insert failed")

    def _bind(self, device: Device, index: int) -> Block:
        """tcf_block_get_ext(): the shared block `index`, made if need be; a block of one's own for 0."""
        if not index:
            return self._new_block(device)
        shared = self._shared.get(index)
        if shared is None:
            shared = self._shared[index] = _SharedBlock(self._new_block(device, index))
        shared.block.bind(device.ifindex, device.driver)
        shared.ports.add(device.ifindex)
        return shared.block

    def _new_block(self, device: Device, index: int = 0, *, holder: BlockHolder | None = None) -> Block:
        owner = holder.handle if holder is not None else ids.major(ids.TC_H_CLSACT)
        return Block(
            self.programs,
            profile=self.profile,
            index=index,
            # Drivers take the blocks of clsact and ingress only (flow_block_offload.binder_type).
            driver=device.driver if holder is None else None,
            binder=holder,
            action_source=self.actions,
            owner=BlockOwner(device.ifindex, owner) if not index else None,
            watch_chain=self._watch_chain,
        )

    def _watch_chain(self, chain: Chain, seen: bool) -> None:
        if self.on_chain is not None:
            self.on_chain(chain, seen)

    def _unbind(self, device: Device, block: Block) -> None:
        """tcf_block_put_ext(): a device lets go of a block, whose filters go with the last that does."""
        shared = self._shared.get(block.index) if block.index else None
        if shared is not None:
            shared.block.unbind(device.ifindex)
            shared.ports.remove(device.ifindex)
            if shared.ports:
                return
            del self._shared[block.index]
        block.flush()


def _valid_name(name: str) -> bool:
    """dev_valid_name()."""
    raw = name.encode(errors="surrogateescape")
    return (
        0 < len(raw) < IFNAMSIZ
        and name not in (".", "..")
        and not any(each.isspace() or each in "/:" or each == "\0" for each in name)
    )
