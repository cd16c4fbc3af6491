"""cls_bpf itself: the filters of one prio and protocol, in order, and the packet that meets them.

A `Classifier` is a list of filters.  A packet is shown to each program in turn until one decides:

- The program's return value is, under *direct action*, the verdict itself; otherwise it says "no
  match" (0), "match, with the class I am configured for" (0xffffffff), or is the packet's classid,
  and then the filter's actions give the verdict.
- A new filter goes to the *front*: the newest is tried first.  A replacement takes the place of the
  old.

The list is an immutable tuple.  `change` makes a new filter wholly, with everything it needs from
others (handle, program, bound class, place in hardware), and then swaps the tuple in one step, so
whoever classifies in another thread sees the list before or the list after; whatever fails on the
way gives back what was taken and leaves the list as it was.  Changes exclude each other by the
block's lock, which stands for the kernel's rtnl.

Mirrors net/sched/cls_bpf.c: options, classify, get and walk, change, delete (its offload: `offload`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import NetlinkError
from ..skb import Skb
from . import ids
from .act import TcAct, as_answer
from .actions import NO_ACTIONS, Actions
from .handles import Handles
from .offload import (
    TCA_CLS_FLAGS_SKIP_HW,
    TCA_CLS_FLAGS_SKIP_SW,
    DecidingDriver,
    Offload,
    gen_flags_valid,
)
from .program import Program
from .refusal import refusal
from .result import ClassifyResult

if TYPE_CHECKING:
    from .chain import Chain

__all__ = ["BPF_MAXINSNS", "CLS_BPF_NAME_LEN", "BpfOptions", "Classifier", "ClassifyResult", "Filter"]

CLS_BPF_NAME_LEN = 256
BPF_MAXINSNS = 4096
SOCK_FILTER_SIZE = 8
TCA_BPF_FLAG_ACT_DIRECT = 1 << 0


@dataclass(frozen=True, slots=True)
class BpfOptions:
    """TCA_OPTIONS of a `bpf` filter, decoded; None is an attribute that is not there.

    Numbers are unsigned in host order, `ops` is as on the wire (8 bytes an instruction), `name` is
    without its NUL, `rate` is a payload; `actions` and `police` are as the block's `ActionSource` takes
    them.  What `bpf_policy` refuses is a NetlinkError with ERANGE.
    """

    ops_len: int | None = None
    ops: bytes | None = None
    fd: int | None = None
    name: str | None = None
    flags: int | None = None
    flags_gen: int | None = None
    classid: int | None = None
    actions: Any = None
    police: Any = None
    rate: bytes | None = None
    """TCA_RATE, tc's `estimator`: it belongs to the actions, and without any it has no effect."""

    def __post_init__(self) -> None:
        if self.ops is not None and len(self.ops) > SOCK_FILTER_SIZE * BPF_MAXINSNS:
            raise refusal(errno.ERANGE, f"a classic program has at most {BPF_MAXINSNS} instructions")
        if self.name is not None and len(self.name.encode(errors="surrogateescape")) > CLS_BPF_NAME_LEN:
            raise refusal(errno.ERANGE, f"a filter's name has at most {CLS_BPF_NAME_LEN} bytes")

    @property
    def is_bpf(self) -> bool:
        """Is a classic program given?  OPS without OPS_LEN, or the reverse, is none."""
        return self.ops is not None and self.ops_len is not None

    @property
    def is_ebpf(self) -> bool:
        """Is a descriptor given?"""
        return self.fd is not None


@dataclass(slots=True, eq=False)
class Filter:
    """struct cls_bpf_prog: one program in a classifier, with what it does to a packet.

    Not changed once it is in the list (`gen_flags` gets its last bit just before).
    """

    handle: int
    program: Program
    classid: int = 0
    class_: object | None = None
    """The class bound to it in a classful qdisc."""
    direct_action: bool = False
    """exts_integrated: the return value is the verdict."""
    gen_flags: int = 0
    """TCA_CLS_FLAGS_*, with IN_HW or NOT_IN_HW."""
    in_hw_count: int = 0
    """How many drivers hold it."""
    hardware: Mapping[int, DecidingDriver] = field(default_factory=dict)
    """By ifindex, the hardware that decides packets in its stead."""
    ops: bytes | None = None
    """The classic program as it came; None: a descriptor's program."""
    name: str | None = None
    """What tc calls the descriptor's program (`prog.o:[section]`)."""
    actions: Actions = NO_ACTIONS

    @property
    def is_ebpf(self) -> bool:
        """cls_bpf_is_ebpf()."""
        return self.ops is None

    @property
    def skip_sw(self) -> bool:
        """tc_skip_sw(): is it for hardware only?"""
        return bool(self.gen_flags & TCA_CLS_FLAGS_SKIP_SW)

    @property
    def skip_hw(self) -> bool:
        """tc_skip_hw(): is it for software only?"""
        return bool(self.gen_flags & TCA_CLS_FLAGS_SKIP_HW)

    def run(self, skb: Skb) -> int:
        """The program's return value (u32) for a packet; at ingress it sees the link-layer header too."""
        if not skb.at_ingress:
            return self.program.run(skb)
        skb.push(skb.mac_len)
        try:
            return self.program.run(skb)
        finally:
            # mac_len is read again, as in the kernel: the program may have changed it.
            skb.pull(skb.mac_len)


def decide(each: Filter, skb: Skb, result: ClassifyResult, *, in_hardware: bool = False) -> int | None:
    """What one filter makes of a packet: an answer, and its class in `result`; None is no match.

    One that is skip_sw decides nothing, except where it runs `in_hardware`.
    """
    skips = each.skip_sw and not in_hardware
    skb.tc_classid = ids.minor(each.classid)
    if each.direct_action:
        answer = TcAct.UNSPEC if skips else exec_opcode(each.run(skb))
        result.class_ = None
        result.classid = ids.major(each.classid) | ids.minor(skb.tc_classid)
        return answer
    value = NO_MATCH if skips else each.run(skb)
    if value == NO_MATCH:
        return None
    if value == MATCH:
        result.class_, result.classid = each.class_, each.classid
    else:
        result.class_, result.classid = None, value
    return each.actions.execute(skb, result)


_DIRECT_VERDICTS = frozenset({TcAct.OK, TcAct.SHOT, TcAct.STOLEN, TcAct.TRAP, TcAct.REDIRECT, TcAct.UNSPEC})
NO_MATCH = 0
MATCH = 0xFFFFFFFF
"""Return value: take the classid that the filter is configured with.  Any other value *is* the classid."""


def exec_opcode(value: int) -> int:
    """cls_bpf_exec_opcode(): the verdict of a direct-action program; what it may not say is UNSPEC."""
    answer = as_answer(value)
    return answer if answer in _DIRECT_VERDICTS else TcAct.UNSPEC


class Classifier:
    """struct tcf_proto with its struct cls_bpf_head: the filters of one prio and protocol in a chain.

    `prio` is 1 to 65535, `protocol` ETH_P_* in host order.  Iterating walks the filters in the order
    in which a packet meets them.
    """

    kind = "bpf"

    def __init__(self, prio: int, protocol: int, chain: Chain) -> None:
        self.prio = prio
        self.protocol = protocol
        self.chain = chain
        self._filters: tuple[Filter, ...] = ()
        self._by_handle: dict[int, Filter] = {}
        self._handles = Handles(chain.block.profile.handles)
        self.offload = Offload(self)

    def __repr__(self) -> str:
        return f"<Classifier chain {self.chain.index} prio {self.prio} protocol {self.protocol:#06x}>"

    # classify

    def classify(self, skb: Skb, result: ClassifyResult) -> int:
        """cls_bpf_classify(): the answer of the first filter that decides, or a negative one if none does."""
        answer: int = TcAct.UNSPEC
        for each in self._filters:
            hardware = each.hardware.get(skb.ifindex) if each.hardware else None
            said = decide(each, skb, result) if hardware is None else hardware.decide(each, skb, result)
            if said is None:
                continue
            answer = said
            if answer >= 0:
                result.filter, result.classifier = each, self
                break
        return answer

    # get, walk

    def get(self, handle: int) -> Filter | None:
        """cls_bpf_get()."""
        return self._by_handle.get(handle)

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filters, the first tried first; the tuple never changes, the attribute does."""
        return self._filters

    def __iter__(self) -> Iterator[Filter]:
        """cls_bpf_walk(), over the filters as they are when it begins."""
        return iter(self._filters)

    def __len__(self) -> int:
        return len(self._filters)

    # change

    def change(
        self,
        options: BpfOptions,
        handle: int = 0,
        old: Filter | None = None,
        *,
        parent: int = 0,
        override: bool = False,
    ) -> Filter:
        """cls_bpf_change(): a new filter, at the front or in the place of `old`.

        `handle` 0 asks for one.  `parent` is where the filter hangs, for class binding; `override` (ovr)
        says that actions which exist already may be changed.  ClsbpfError with the kernel's errno when
        refused; then nothing has changed (but the counter of HandlePolicy.HGEN).
        """
        with self.chain.block.lock, ExitStack() as undo:
            assert old is None or self._by_handle.get(old.handle) is old
            if old is not None and handle and handle != old.handle:
                raise refusal(errno.EINVAL, f"handle {handle:#x} cannot replace handle {old.handle:#x}")
            if old is None or not handle:
                handle = self._handles.take(handle)
                undo.callback(self._handles.release, handle)
            new = self._make(options, handle, parent, override, undo)
            self.offload.put(new, old)
            undo.pop_all()
            new.actions.settle()
            self._publish(new, old)
            return new

    def _make(self, options: BpfOptions, handle: int, parent: int, override: bool, undo: ExitStack) -> Filter:
        """cls_bpf_modify_existing(): a filter of a request's options; `undo` gets what must be given back."""
        block = self.chain.block
        if options.is_bpf == options.is_ebpf:
            raise refusal(errno.EINVAL, "a bpf filter needs a classic program or a descriptor, and not both")
        actions = self._make_actions(options, override)
        undo.callback(actions.destroy)
        flags = options.flags or 0
        if flags & ~TCA_BPF_FLAG_ACT_DIRECT:
            raise refusal(errno.EINVAL, f"unknown bits in the filter's flags {flags:#x}")
        gen_flags = options.flags_gen or 0
        if not gen_flags_valid(gen_flags):
            raise refusal(errno.EINVAL, f"skip_hw or skip_sw may be set, not {gen_flags:#x}")
        program = self._make_program(options)
        class_ = None
        if options.classid is not None and block.binder is not None:
            class_ = block.binder.bind(options.classid, parent)
            undo.callback(self._unbind, class_)
        return Filter(
            handle=handle,
            program=program,
            classid=options.classid or 0,
            class_=class_,
            direct_action=bool(flags & TCA_BPF_FLAG_ACT_DIRECT),
            gen_flags=gen_flags,
            ops=options.ops if options.is_bpf else None,
            name=options.name if options.is_ebpf else None,
            actions=actions,
        )

    def _make_actions(self, options: BpfOptions, override: bool) -> Actions:
        """tcf_exts_validate()."""
        if options.actions is None and options.police is None:
            return NO_ACTIONS
        block = self.chain.block
        source = block.action_source
        if source is None:
            raise NetlinkError(
                errno.EOPNOTSUPP,
                "Classifier actions are not supported per compile options (CONFIG_NET_CLS_ACT)",
            )
        return source.make(options.actions, options.police, options.rate, override, block)

    def _make_program(self, options: BpfOptions) -> Program:
        """cls_bpf_prog_from_ops(), cls_bpf_prog_from_efd()."""
        programs = self.chain.block.programs
        if not options.is_bpf:
            assert options.fd is not None
            return programs.from_fd(options.fd)
        assert options.ops is not None
        count = options.ops_len or 0
        if not 0 < count <= BPF_MAXINSNS:
            raise refusal(
                errno.EINVAL, f"a classic program has 1 to {BPF_MAXINSNS} instructions, not {count}"
            )
        if count * SOCK_FILTER_SIZE != len(options.ops):
            raise refusal(errno.EINVAL, f"{count} instructions do not take {len(options.ops)} bytes")
        return programs.from_ops(options.ops)

    def _publish(self, new: Filter, old: Filter | None) -> None:
        """The one step that readers see, and what is due afterwards.  Nothing here may fail."""
        if old is None:
            self._filters = (new, *self._filters)
        else:
            self._filters = tuple(new if each is old else each for each in self._filters)
            if old.handle != new.handle:
                self._forget(old.handle)
            self._release(old)
        self._by_handle[new.handle] = new
        self.chain.block.changed()

    # delete

    def delete(self, each: Filter) -> bool:
        """cls_bpf_delete(): take the filter out; was it the last?"""
        with self.chain.block.lock:
            assert self._by_handle.get(each.handle) is each
            self.offload.stop(each)
            self._filters = tuple(other for other in self._filters if other is not each)
            self._forget(each.handle)
            self._release(each)
            self.chain.block.changed()
            return not self._filters

    def destroy(self) -> None:
        """cls_bpf_destroy(): take all filters out, for readers at once."""
        with self.chain.block.lock:
            for each in self._filters:
                self.offload.stop(each)
            gone, self._filters = self._filters, ()
            for each in gone:
                self._forget(each.handle)
                self._release(each)
            self.chain.block.changed()

    def _forget(self, handle: int) -> None:
        del self._by_handle[handle]
        self._handles.release(handle)

    def _release(self, each: Filter) -> None:
        """A filter that is no longer in the list gives back what it holds of others."""
        self._unbind(each.class_)
        self.chain.block.release(each.actions.destroy)

    def bind_class(self, classid: int, parent: int, *, bound: bool) -> None:
        """cls_bpf_bind_class(): filters that name `classid` are bound to that class, or let go of it."""
        binder = self.chain.block.binder
        assert binder is not None
        for each in self._filters:
            if each.classid == classid:
                old, each.class_ = each.class_, binder.bind(classid, parent) if bound else None
                self._unbind(old)

    def _unbind(self, class_: object | None) -> None:
        """tcf_unbind_filter()."""
        binder = self.chain.block.binder
        if class_ is not None and binder is not None:
            binder.unbind(class_)
