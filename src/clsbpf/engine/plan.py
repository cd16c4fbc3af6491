"""How does a block of filters become one native function?

`tc/` is the definition of what a block does with a packet: it tries filter after filter.  Here that
walk is written out as LLVM IR for one block, one link type and one side of a device, the programs
lowered beside it and inlined, and the capture walk (engine/walk.py) compiled around it:

    walk_pcap ── decide ── classify ──┬─ prio 10 ─┬─ filter 0x2 ── program
                 (tag out  (the skb,  │           └─ filter 0x1 ── program
                  of data)  protocol) └─ prio 20 ─── …

The skb exists only as far as a program looks at it: what no program reads, LLVM removes.

A plan is made of a block as it is at one `generation`; a block that has changed needs a new plan.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..bpf.classic import SockFilter
from ..bpf.helpers import RANDOM
from ..bpf.isa import A, Class, Jmp, class_of
from ..errors import ClsbpfError
from ..link import LinkLayer
from ..profile import KernelProfile
from ..tc.act import TcAct
from ..tc.actions import NO_ACTIONS
from ..tc.chain import ETH_P_ALL, Block
from ..tc.filter import MATCH, Classifier, Filter
from ..verifier.program import VerifiedProgram
from ..vm import subset
from ..vm.environment import Environment
from ..vm.jit import NativeModule, compile_module
from ..vm.lower import lower
from ..vm.native_skb import NATIVE_SKB_BYTES, At
from ..vm.subset import module_ir
from .frames import pkt_type_function, protocol_function
from .programs import LoadedProgram
from .walk import classify, walk_pcap, walk_pcapng
from .walk_state import FILTER_SHIFT, READ_PAST_SHIFT, UNDECIDED, VERDICT_SHIFT

CALL = Class.JMP | Jmp.CALL
INLINE_LIMIT = 4000
"""Programs are inlined while all of them have no more instructions than this together."""


@dataclass(frozen=True, slots=True)
class View:
    """From which side of a device filters see packets, and what the device says of itself."""

    link: LinkLayer
    at_ingress: bool
    ifindex: int = 1

    @property
    def untags(self) -> bool:
        """Is the outermost VLAN tag taken out of the data?"""
        return self.at_ingress and self.link.is_ethernet


@dataclass(frozen=True, slots=True, eq=False)
class PlannedFilter:
    """One filter of the block, in the order in which a packet meets them."""

    chain: int
    classifier: Classifier
    filter: Filter

    @property
    def verified(self) -> VerifiedProgram:
        """What its program does, where that is proved to be safe."""
        program = self.filter.program
        assert isinstance(program, LoadedProgram)
        assert program.verified is not None
        return program.verified

    @property
    def is_native(self) -> bool:
        """Can it be part of a native plan?  Not what only the interpreter may run, and no actions."""
        program = self.filter.program
        if not isinstance(program, LoadedProgram) or program.verified is None:
            return False
        return self.filter.actions is NO_ACTIONS

    @property
    def has_state(self) -> bool:
        """May its answer depend on more than the packet?  Random numbers are drawn in packet order."""
        return any(insn.code == CALL and insn.imm == RANDOM for insn in self.verified.insns)

    @property
    def has_other_classids(self) -> bool:
        """May its program choose a classid, so that packets are counted by class as they come?"""
        if not self.is_native:
            return True
        return not self.filter.direct_action and not returns_only(self.verified, {0, MATCH})


def returns_only(program: VerifiedProgram, values: set[int]) -> bool:
    """Does a program return nothing but these constants?  (False where that is not plain to see.)"""
    if program.classic is None:
        return False
    return all(returned_constant(insn) in values for insn in program.classic.insns if is_return(insn))


def is_return(insn: SockFilter) -> bool:
    """Is it a classic `ret`?"""
    return class_of(insn.code) == Class.RET


def returned_constant(insn: SockFilter) -> int | None:
    """What a classic `ret #k` returns; None for `ret a`."""
    return None if insn.code & A else insn.k


def planned_filters(block: Block) -> Iterator[PlannedFilter]:
    """The block's filters, chain by chain, in the order in which a packet meets them."""
    for index, chain in sorted(block.chains.items()):
        for classifier in chain.classifiers:
            for each in classifier:
                yield PlannedFilter(index, classifier, each)


class Plan:
    """A block, compiled for a view.  `filters[n]` is what an outcome calls filter n (its number less 1)."""

    def __init__(self, block: Block, view: View, profile: KernelProfile, environment: Environment) -> None:
        self.generation = block.generation
        self.block = block
        self.view = view
        self.filters = tuple(planned_filters(block))
        self.is_native = all(planned.is_native for planned in self.filters)
        self.counts_classes = any(planned.has_other_classids for planned in self.filters)
        self._profile = profile
        self._environment = environment

    @property
    def is_stale(self) -> bool:
        """Has the block changed since?"""
        return self.block.generation != self.generation

    @functools.cached_property
    def numbers(self) -> dict[Filter, int]:
        """The filters' numbers."""
        return {planned.filter: number for number, planned in enumerate(self.filters)}

    def include(self, planned: PlannedFilter) -> None:
        """Number a filter that came into the block after the plan was made (and may be gone again)."""
        self.numbers[planned.filter] = len(self.filters)
        self.filters = (*self.filters, planned)

    @functools.cached_property
    def pcap(self) -> Walk:
        """The walk over pcap windows."""
        return Walk(self, walk_pcap)

    @functools.cached_property
    def pcapng(self) -> Walk:
        """The walk over pcapng windows."""
        return Walk(self, walk_pcapng)

    def ir(self, walker: Callable[[int], int]) -> str:
        """The module's text: the walker, `classify` for this block, and the programs.

        ClsbpfError where a filter cannot be part of it.
        """
        for planned in self.filters:
            if not planned.is_native:
                raise ClsbpfError(f"filter {planned.filter.handle:#x} cannot be part of a native plan")
        return _BlockLowering(self, self._profile, self._environment).module(walker)


class Walk:
    """A compiled walk: call it with the address of the state cells; it returns a `Stop`."""

    def __init__(self, plan: Plan, walker: Callable[[int], int]) -> None:
        symbol = subset.record_of(walker).symbol
        size = sum(len(planned.verified.insns) for planned in plan.filters)
        self._module: NativeModule = compile_module(
            plan.ir(walker), [symbol], optimize=2 if size <= INLINE_LIMIT else 1
        )
        self.run = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(self._module.address(symbol))


_DIRECT = sum(1 << act for act in (TcAct.OK, TcAct.SHOT, TcAct.STOLEN, TcAct.TRAP, TcAct.REDIRECT))
"""A bit for each verdict that a direct-action program may give (cls_bpf_exec_opcode)."""


class _BlockLowering:
    """One block's way to IR text."""

    def __init__(self, plan: Plan, profile: KernelProfile, environment: Environment) -> None:
        self.plan = plan
        self.profile = profile
        self.environment = environment
        self.lines: list[str] = []
        self.outcomes: list[tuple[str, str]] = []
        self.programs: dict[VerifiedProgram, str] = {}
        self.skipped = False

    def module(self, walker: Callable[[int], int]) -> str:
        view = self.plan.view
        protocol = protocol_function(view.link, at_ingress=view.at_ingress)
        pkt_type = pkt_type_function(view.link, at_ingress=view.at_ingress)
        body = self.classify(subset.record_of(protocol).symbol, subset.record_of(pkt_type).symbol)
        lowered = [lower(program, name, profile=self.profile) for program, name in self.programs.items()]
        called = {call.function: None for each in lowered for call in each.calls}
        support = module_ir([protocol, pkt_type, *called], exported=False)
        walk = module_ir([walker]).replace(f"declare {subset.record_of(classify).prototype}\n", "")
        declares = {line for each in lowered for line in each.declares} | {
            "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)"
        }
        text = "\n".join([support, walk, *(each.definition for each in lowered), body])
        return unique_declares("\n".join(sorted(declares)) + "\n" + text)

    def classify(self, protocol: str, pkt_type: str) -> str:
        """`classify` of engine/walk.py: `Block.classify` for chain 0, written out."""
        emit = self.lines.append
        emit("%skb = alloca [256 x i8], align 16")
        emit(f"call void @llvm.memset.p0.i64(ptr %skb, i8 0, i64 {NATIVE_SKB_BYTES}, i1 false)")
        self.fill_skb(protocol, pkt_type)
        for index, (following, group) in enumerate(self.classifiers()):
            emit(f"c{index}:")
            if group[0].classifier.protocol != ETH_P_ALL:
                emit(f"%is{index} = icmp eq i64 %outer, {group[0].classifier.protocol}")
                emit(f"br i1 %is{index}, label %c{index}.in, label %{following}")
                emit(f"c{index}.in:")
            for at, planned in enumerate(group):
                number = self.plan.numbers[planned.filter]
                last = at == len(group) - 1
                self.filter(planned, number, following if last else f"f{number + 1}")
        emit("none:")
        self.outcomes.append((str(UNDECIDED), "none"))
        emit("br label %end")
        emit("end:")
        sources = ", ".join(f"[ {value}, %{label} ]" for value, label in self.outcomes)
        emit(f"%outcome = phi i64 {sources}")
        emit(f"%past.at = getelementptr i8, ptr %skb, i64 {At.READ_PAST:d}")
        emit("%past = load i32, ptr %past.at, align 4")
        emit("%past.wide = zext i32 %past to i64")
        emit(f"%past.bit = shl i64 %past.wide, {READ_PAST_SHIFT}")
        emit("%result = or i64 %outcome, %past.bit")
        emit("ret i64 %result")
        head = f'define internal i64 @"{subset.record_of(classify).symbol}"'
        head += "(i64 %data, i64 %captured, i64 %length, i64 %vlan) alwaysinline nounwind {"
        return "\n".join([head, *self.lines, "}", ""])

    def classifiers(self) -> Iterator[tuple[str, list[PlannedFilter]]]:
        """Each classifier that has filters to try, with the label of what comes after it."""
        groups: dict[Classifier, list[PlannedFilter]] = {}
        for planned in self.plan.filters:
            # Only actions lead out of chain 0, and there are none here.
            if planned.chain == 0 and not planned.filter.skip_sw:
                groups.setdefault(planned.classifier, []).append(planned)
        if not groups:
            self.lines.append("br label %none")
        else:
            self.lines.append("br label %c0")
        for index, group in enumerate(groups.values(), 1):
            yield (f"c{index}" if index < len(groups) else "none"), group

    def fill_skb(self, protocol: str, pkt_type: str) -> None:
        """The packet's fields, as `skb.receive` or `Skb.from_frame` has them; the rest is 0."""
        emit = self.lines.append
        view = self.plan.view
        emit(f'%protocol = call i64 @"{protocol}"(i64 %data, i64 %captured)')
        emit(f'%pkt_type = call i64 @"{pkt_type}"(i64 %data, i64 %captured)')
        emit("%tagged = lshr i64 %vlan, 32")
        emit("%vlan.type = lshr i64 %vlan, 16")
        emit("%vlan.proto = and i64 %vlan.type, 65535")
        emit("%tci = and i64 %vlan, 65535")
        emit("%has.tag = icmp ne i64 %tagged, 0")
        emit("%outer = select i1 %has.tag, i64 %vlan.proto, i64 %protocol")
        emit("%data.end = add i64 %data, %captured")
        header = view.link.header_len
        emit(f"%short = icmp ult i64 %captured, {header}")
        emit(f"%net = select i1 %short, i64 %captured, i64 {header}")
        wire = "%length"
        if view.at_ingress:
            emit(f"%wire = sub i64 %length, {header}")
            wire = "%wire"
        ifindex = str(view.ifindex)
        for at, value in (
            (At.LEN, "%length"),
            (At.PKT_TYPE, "%pkt_type"),
            (At.VLAN_PRESENT, "%tagged"),
            (At.VLAN_TCI, "%tci"),
            (At.IFINDEX, ifindex),
            (At.INGRESS_IFINDEX, ifindex if view.at_ingress else "0"),
            (At.WIRE_LEN, wire),
            (At.NET_OFF, "%net"),
            (At.HATYPE, str(view.link.hatype)),
        ):
            self.store_u32(at, value)
        for at, value in ((At.PROTOCOL, "%protocol"), (At.VLAN_PROTO, "%vlan.proto")):
            emit(f"{value}.16 = trunc i64 {value} to i16")
            emit(f"{value}.be = call i16 @llvm.bswap.i16(i16 {value}.16)")
            emit(f"{value}.net = zext i16 {value}.be to i64")
            self.store_u32(at, f"{value}.net")
        for at, value in (
            (At.DATA_PTR, "%data"),
            (At.DATA_END_PTR, "%data.end"),
            (At.DATA_META_PTR, "%data"),
            (At.HEAD_PTR, "%data"),
            (At.ENVIRONMENT, str(self.environment.address)),
        ):
            emit(f"%a{at:d} = getelementptr i8, ptr %skb, i64 {at:d}")
            emit(f"store i64 {value}, ptr %a{at:d}, align 8")

    def store_u32(self, at: At, value: str) -> None:
        emit = self.lines.append
        emit(f"%a{at:d} = getelementptr i8, ptr %skb, i64 {at:d}")
        emit(f"%n{at:d} = trunc i64 {value} to i32")
        emit(f"store i32 %n{at:d}, ptr %a{at:d}, align 4")

    def filter(self, planned: PlannedFilter, number: int, following: str) -> None:
        """One turn of `Classifier.classify`: the outcome, or on to the next filter."""
        emit = self.lines.append
        each = planned.filter
        name = self.programs.setdefault(planned.verified, f"program{len(self.programs)}")
        emit(f"br label %f{number}")
        emit(f"f{number}:")
        emit(f"%cid{number} = getelementptr i8, ptr %skb, i64 {At.TC_CLASSID:d}")
        emit(f"store i32 {each.classid & 0xFFFF}, ptr %cid{number}, align 4")
        emit(f'%r{number} = call i32 @"{name}"(ptr %skb)')
        emit(f"%w{number} = zext i32 %r{number} to i64")
        base = number + 1 << FILTER_SHIFT
        if each.direct_action:
            # Classic programs cannot write tc_classid, so the classid is the filter's own.
            emit(f"%known{number} = icmp ult i32 %r{number}, 16")
            emit(f"br i1 %known{number}, label %v{number}, label %{following}")
            emit(f"v{number}:")
            emit(f"%bit{number} = lshr i32 {_DIRECT}, %r{number}")
            emit(f"%ok{number} = trunc i32 %bit{number} to i1")
            emit(f"%up{number} = add i64 %w{number}, 1")
            emit(f"%verdict{number} = shl i64 %up{number}, {VERDICT_SHIFT}")
            emit(f"%o{number} = or i64 %verdict{number}, {base | each.classid}")
            emit(f"br i1 %ok{number}, label %d{number}, label %{following}")
        else:
            emit(f"%match{number} = icmp eq i32 %r{number}, -1")
            emit(f"%class{number} = select i1 %match{number}, i64 {each.classid}, i64 %w{number}")
            emit(f"%o{number} = or i64 %class{number}, {base | TcAct.OK + 1 << VERDICT_SHIFT}")
            emit(f"%none{number} = icmp eq i32 %r{number}, 0")
            emit(f"br i1 %none{number}, label %{following}, label %d{number}")
        emit(f"d{number}:")
        emit("br label %end")
        self.outcomes.append((f"%o{number}", f"d{number}"))


def unique_declares(text: str) -> str:
    """The module's text with each `declare` once: LLVM takes no second."""
    seen: set[str] = set()
    lines = []
    for line in text.splitlines():
        if line.startswith("declare "):
            if line in seen:
                continue
            seen.add(line)
        lines.append(line)
    return "\n".join(lines) + "\n"
