"""Classifiers in order, and what a packet does with them: chains and blocks.

A *chain* is a list of classifiers by ascending prio; a prio has one classifier, of one protocol.  A
*block* is what hangs on a qdisc's hook: its chains by number, of which a packet enters chain 0.  It
meets the classifiers of its protocol (and those for all) until one decides.  Two answers send it
elsewhere: `reclassify` back to the beginning, `goto chain` to another chain; both draw on one budget
of re-runs, and who overdraws it is dropped.

A chain exists as long as someone holds it: a classifier in it, an action that goes there, a request
that created it or is at work on it (`get_chain` … `put_chain`).

Mirrors net/sched/cls_api.c: tcf_chain, tcf_block, tcf_classify.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import NetlinkError
from ..profile import CURRENT, KernelProfile
from ..skb import Skb
from .act import TcAct, is_goto_chain
from .actions import ActionSource
from .filter import Classifier
from .offload import OffloadDriver
from .program import ClassBinder, ProgramSource
from .result import ClassifyResult

ETH_P_ALL = 0x0003
"""Of a classifier: it sees packets of every protocol."""

AUTO_PRIO_LOWEST = 0x8000
AUTO_PRIO_FIRST = 0xC000
"""Automatic priorities go down from here: 49152, 49151, …"""


@dataclass(frozen=True, slots=True)
class BlockOwner:
    """tcf_block.q: the qdisc that a block belongs to, as messages name it: its device and its handle."""

    ifindex: int
    handle: int


class Chain:
    """struct tcf_chain: the classifiers of one number in a block, by ascending prio."""

    def __init__(self, block: Block, index: int) -> None:
        self.block = block
        self.index = index
        self.explicitly_created = False
        """Did a request make the chain itself (RTM_NEWCHAIN)?  Then it stays when it is empty."""
        self.references = 0
        self.action_references = 0
        """How many of `references` are `goto chain` actions'."""
        self._classifiers: tuple[Classifier, ...] = ()

    def __repr__(self) -> str:
        return f"<Chain {self.index} of {len(self._classifiers)} classifiers>"

    @property
    def classifiers(self) -> tuple[Classifier, ...]:
        """The classifiers by prio; the tuple never changes, the attribute does."""
        return self._classifiers

    @property
    def held_by_actions_only(self) -> bool:
        """tcf_chain_held_by_acts_only(): do only actions point to it?  Then users do not see it."""
        return self.references == self.action_references

    def find(self, prio: int, protocol: int = 0) -> Classifier | None:
        """tcf_chain_tp_find(): the classifier of a prio; `protocol` 0 is any.

        NetlinkError EINVAL when it is of another protocol.
        """
        at = self._position(prio)
        if at == len(self._classifiers) or self._classifiers[at].prio != prio:
            return None
        found = self._classifiers[at]
        if protocol and found.protocol != protocol:
            raise NetlinkError(errno.EINVAL, "Protocol mismatch for filter with specified priority")
        return found

    def auto_prio(self) -> int:
        """tcf_auto_prio(): the priority for a request that names none.

        One less than the lowest from 32768 on, 49152 when there is none.  NetlinkError when 32768 is
        taken.
        """
        at = self._position(AUTO_PRIO_LOWEST)
        if at == len(self._classifiers):
            return AUTO_PRIO_FIRST
        lowest = self._classifiers[at].prio
        if lowest == AUTO_PRIO_LOWEST:
            raise NetlinkError(
                self.block.profile.auto_prio_errno, "Lowest ID from auto-alloc range already in use"
            )
        return lowest - 1

    def insert(self, prio: int, protocol: int) -> Classifier:
        """tcf_chain_tp_insert_unique(): a new, empty classifier; the prio must be free."""
        with self.block.lock:
            at = self._position(prio)
            assert at == len(self._classifiers) or self._classifiers[at].prio != prio
            classifier = Classifier(prio, protocol, self)
            self._classifiers = (*self._classifiers[:at], classifier, *self._classifiers[at:])
            self.references += 1
            self.block.changed()
            return classifier

    def remove(self, classifier: Classifier) -> None:
        """tcf_chain_tp_remove() and tcf_proto_put(): take a classifier out with all its filters."""
        with self.block.lock:
            assert classifier in self._classifiers
            self._classifiers = tuple(each for each in self._classifiers if each is not classifier)
            self.block.changed()
            classifier.destroy()
            self.block.put_chain(self)

    def remove_empty(self, classifier: Classifier) -> bool:
        """tcf_chain_tp_delete_empty(): take a classifier out if it has no filter; did it go?"""
        with self.block.lock:
            if classifier.filters or classifier not in self._classifiers:
                return False
            self.remove(classifier)
            return True

    def flush(self) -> None:
        """tcf_chain_flush(): take all classifiers out, for readers at once."""
        with self.block.lock:
            classifiers, self._classifiers = self._classifiers, ()
            self.block.changed()
            for classifier in classifiers:
                classifier.destroy()
                self.block.put_chain(self)

    def _position(self, prio: int) -> int:
        """Where the first classifier of `prio` or more is."""
        return bisect_left(self._classifiers, prio, key=lambda classifier: classifier.prio)


class Block:
    """struct tcf_block: chains by number, and what their filters need from others.

    `index` is the number of a shared block (`tc … block N`), else 0; `owner` is the qdisc of one that is
    not shared.  `generation` grows with every change, after readers can see it: whoever made something of
    a block knows by it that it is stale.  `watch_chain` is told of chains that users begin to see (True)
    or no longer see (False).
    """

    def __init__(
        self,
        programs: ProgramSource,
        *,
        profile: KernelProfile = CURRENT,
        index: int = 0,
        driver: OffloadDriver | None = None,
        binder: ClassBinder | None = None,
        action_source: ActionSource | None = None,
        owner: BlockOwner | None = None,
        watch_chain: Callable[[Chain, bool], None] | None = None,
    ) -> None:
        self.programs = programs
        self.profile = profile
        self.index = index
        self.binder = binder
        self.action_source = action_source
        self.owner = owner
        self.drivers: dict[int, OffloadDriver | None] = {}
        """The devices that packets come from, by ifindex (0: not known), each with its driver."""
        if not index:
            self.drivers[owner.ifindex if owner is not None else 0] = driver
        self._watch_chain = watch_chain
        self.classid = 0
        """The parent that the last request for a filter named: dumps show it for all (`tc_new_tfilter`)."""
        self.generation = 0
        self.lock = threading.RLock()
        """Held by whoever changes something (rtnl); readers need none."""
        self._later: list[Callable[[], None]] | None = None
        self._chains: Mapping[int, Chain] = MappingProxyType({})
        if profile.keeps_chain0:
            self.get_chain(0)

    @property
    def chains(self) -> Mapping[int, Chain]:
        """The chains by number, oldest first; the mapping never changes, the attribute does."""
        return self._chains

    def arrange(self, order: Iterable[int]) -> None:
        """The same chains in another order, that in which they once came."""
        with self.lock:
            named = {index: self._chains[index] for index in order if index in self._chains}
            self._chains = MappingProxyType({**named, **self._chains})

    def get_chain(self, index: int, *, by_action: bool = False) -> Chain:
        """tcf_chain_get(): the chain, created if need be; the caller holds it until `put_chain`."""
        with self.lock:
            chain = self.create_chain(index, by_action=by_action)
            if not by_action and chain.references - chain.action_references == 1:
                self._tell_of(chain, True)
            return chain

    def find_chain(self, index: int) -> Chain | None:
        """tcf_chain_get() that creates nothing: the chain, held until `put_chain`, or None."""
        with self.lock:
            return self.get_chain(index) if index in self._chains else None

    def create_chain(self, index: int, *, by_action: bool = False) -> Chain:
        """tcf_chain_create() or tcf_chain_hold(): `get_chain`, but nobody is told."""
        with self.lock:
            chain = self._chains.get(index)
            if chain is None:
                chain = Chain(self, index)
                self._chains = MappingProxyType({**self._chains, index: chain})
                self.changed()
            chain.references += 1
            chain.action_references += by_action
            return chain

    def put_chain(self, chain: Chain, *, by_action: bool = False) -> None:
        """tcf_chain_put(): let go of a chain; it ends when no one holds it."""
        with self.lock:
            chain.references -= 1
            chain.action_references -= by_action
            assert chain.references >= chain.action_references >= 0
            if not by_action and chain.held_by_actions_only:
                self._tell_of(chain, False)
            if not chain.references:
                self._chains = MappingProxyType(
                    {index: each for index, each in self._chains.items() if each is not chain}
                )
                self.changed()

    def _tell_of(self, chain: Chain, seen: bool) -> None:
        if self._watch_chain is not None:
            self._watch_chain(chain, seen)

    def flush(self) -> None:
        """tcf_block_flush_all_chains(): take all filters out, as when the qdisc goes."""
        with self.lock:
            for chain in self._chains.values():
                if chain.held_by_actions_only:
                    continue
                self.create_chain(chain.index)
                self.forget_explicit(chain)
                chain.flush()
                self.put_chain(chain)

    def forget_explicit(self, chain: Chain) -> None:
        """tcf_chain_put_explicitly_created(): no request made it any more."""
        if chain.explicitly_created:
            chain.explicitly_created = False
            self.put_chain(chain)

    def bind_class(self, classid: int, *, bound: bool) -> None:
        """tc_bind_class_walker(): filters that name a class of the block's qdisc meet it, or part with it."""
        with self.lock:
            for chain in self._chains.values():
                for classifier in chain.classifiers:
                    classifier.bind_class(classid, self.classid, bound=bound)

    @contextlib.contextmanager
    def grace_period(self) -> Iterator[None]:
        """What filters that go hold of actions is held until the end, as the kernel's readers need it."""
        with self.lock:
            outer, self._later = self._later, []
            try:
                yield
            finally:
                due, self._later = self._later, outer
                for each in due:
                    each()

    def release(self, give_back: Callable[[], None]) -> None:
        """tcf_queue_work(): give something back now, or at the end of the grace period."""
        if self._later is None:
            give_back()
        else:
            self._later.append(give_back)

    def bind(self, ifindex: int, driver: OffloadDriver | None) -> None:
        """tcf_block_offload_bind(): a device joins a shared block, and its driver is told of the filters.

        NetlinkError, and it has not joined: EOPNOTSUPP where filters are in hardware and the device has no
        offload, or what its driver says to a filter that is skip_sw.
        """
        with self.lock:
            offloads = [each.offload for chain in self._chains.values() for each in chain.classifiers]
            able = driver is not None and driver.can_offload()
            if not able and any(each.in_use for each in offloads):
                said = "Bind to offloaded block failed as dev has offload disabled" if driver else None
                raise NetlinkError(errno.EOPNOTSUPP, said)
            if 0 in self._chains:
                # tcf_chain0_head_change_cb_add() holds chain 0 for a moment; so where only actions did, it is
                # told that it goes, whoever knew that it was there.
                self.put_chain(self.create_chain(0))
            self.drivers[ifindex] = driver
            try:
                for each in offloads:
                    each.bind(ifindex)
            except NetlinkError:
                self.unbind(ifindex)
                raise
            self.changed()

    def unbind(self, ifindex: int) -> None:
        """tcf_block_offload_unbind(): a device leaves a shared block, and its driver forgets the filters."""
        with self.lock:
            for chain in self._chains.values():
                for each in chain.classifiers:
                    each.offload.unbind(ifindex)
            del self.drivers[ifindex]
            self.changed()

    def changed(self) -> None:
        """Something that a packet could notice is different now."""
        with self.lock:
            self.generation += 1

    def classify(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_classify(): what chain 0 says of a packet.

        UNSPEC, and no `result.filter`, if no filter decides.  A `goto chain` does not come back: what the
        other chain does not decide, no one does.
        """
        chain0 = self._chains.get(0)
        first = classifiers = chain0.classifiers if chain0 else ()
        for _ in range(self.profile.max_reclassify + 1):
            answer = self._run_chain(classifiers, skb, result)
            if answer == TcAct.RECLASSIFY:
                classifiers = first
            elif is_goto_chain(answer):
                assert result.goto is not None
                classifiers = result.goto.classifiers
            else:
                return answer
        return TcAct.SHOT

    def _run_chain(self, classifiers: tuple[Classifier, ...], skb: Skb, result: ClassifyResult) -> int:
        """One pass of __tcf_classify() over a chain: the first answer that is not negative, else UNSPEC."""
        rereads = self.profile.rereads_protocol
        protocol = skb.outer_protocol
        for classifier in classifiers:
            if rereads:
                protocol = skb.outer_protocol
            if classifier.protocol not in (protocol, ETH_P_ALL):
                continue
            answer = classifier.classify(skb, result)
            if answer >= 0:
                return answer
        result.filter = result.classifier = None
        return TcAct.UNSPEC
