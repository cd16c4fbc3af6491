"""Which filters does a plan have, and what is known of each beforehand?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..bpf.classic import SKF_AD_OFF, Ancillary, CheckedClassic, SockFilter
from ..bpf.isa import A, Class, Mode, class_of, mode_of
from ..tc.actions import NO_ACTIONS
from ..tc.chain import Block
from ..tc.filter import MATCH, Classifier, Filter
from ..verifier.program import VerifiedProgram
from .as_captured import AsCaptured
from .programs import LoadedProgram

MIN_FILTERS = 24
"""Fewer are tried one by one: that is faster than looking them up."""
FEW_INSNS = 64
"""Instructions of all filters together that are written down without a jump (`flat.py`) and walked in
lanes (`lanes.py`).  More have more to skip than wrong guesses cost, and do not wait for memory."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedFilter:
    """One filter of the block, in the order in which a packet meets them."""

    chain: int
    classifier: Classifier
    filter: Filter
    parent: int = 0
    """The class or qdisc that it hangs on (a classid), 0 at clsact's hook."""

    @property
    def program(self) -> LoadedProgram:
        """Its program."""
        program = self.filter.program
        if isinstance(program, AsCaptured):
            program = program.program
        assert isinstance(program, LoadedProgram)
        return program

    @property
    def sees_captured(self) -> bool:
        """Does its program see frames as captured, rather than as the hook has them?"""
        return isinstance(self.filter.program, AsCaptured)

    @property
    def classic(self) -> CheckedClassic | None:
        """Its program, where that is a classic one."""
        return self.program.classic

    @property
    def verified(self) -> VerifiedProgram:
        """What its program does, where that is proved to be safe."""
        verified = self.program.verified
        assert verified is not None
        return verified

    @property
    def is_native(self) -> bool:
        """Can it be part of a native plan?"""
        return self.obstacle is None

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be part of a native plan, or None where it can."""
        if not isinstance(self.filter.program, LoadedProgram | AsCaptured):
            return "its program is not the engine's"
        program = self.program
        if program.linked is not None and program.linked.verified is None:
            return "its program was not verified: it is one for the checked interpreter"
        if self.filter.hardware:
            return "a driver's worker decides in its stead"
        if not self.has_actions:
            return None
        from .act_records import obstacle

        return obstacle(self.filter, self.classifier.chain.block)

    @property
    def is_extended(self) -> bool:
        """Is its program an eBPF one?"""
        return self.program.linked is not None

    @property
    def has_actions(self) -> bool:
        """Has it any?"""
        return self.filter.actions is not NO_ACTIONS

    @property
    def leads_to(self) -> set[int]:
        """The chains that its actions may lead to."""
        if not self.has_actions:
            return set()
        from .act_records import goto_chains

        return goto_chains(self.filter)

    @property
    def acts_by_state(self) -> bool:
        """Do its actions do something that depends on packets before, or that others see?"""
        if not self.has_actions:
            return False
        from .act_records import keeps_state

        return keeps_state(self.filter)

    @property
    def has_state(self) -> bool:
        """May its program's answer depend on more than the packet?  Random numbers are drawn in order."""
        linked = self.program.linked
        if linked is not None:
            from .extended import keeps_state

            return keeps_state(linked)
        return self.draws_random

    @property
    def draws_random(self) -> bool:
        """Does its program, a classic one, draw random numbers?"""
        assert self.classic is not None
        return any(draws_random(insn) for insn in self.classic.insns)

    @property
    def may_be_looked_up(self) -> bool:
        """May it be part of an index?  Not where its actions change the packet behind native code's back."""
        if self.classic is None or self.sees_captured:
            return False
        if not self.has_actions:
            return True
        from .act_records import actions_of, needs_python

        return not any(needs_python(action) for action in actions_of(self.filter))

    @property
    def has_other_classids(self) -> bool:
        """May its program choose a classid, so that packets are counted by class as they come?"""
        if not self.is_native or self.is_extended:
            return True
        return not self.filter.direct_action and not returns_only(self.classic, {0, MATCH})


def draws_random(insn: SockFilter) -> bool:
    """Is it the ancillary load of a random number?"""
    is_load = class_of(insn.code) == Class.LD and mode_of(insn.code) == Mode.ABS
    return is_load and insn.k == SKF_AD_OFF + Ancillary.RANDOM


def returns_only(program: CheckedClassic | None, values: set[int]) -> bool:
    """Does a program return nothing but these constants?  (False where that is not plain to see.)"""
    if program is None:
        return False
    return all(returned_constant(insn) in values for insn in program.insns if is_return(insn))


def is_return(insn: SockFilter) -> bool:
    """Is it a classic `ret`?"""
    return class_of(insn.code) == Class.RET


def returned_constant(insn: SockFilter) -> int | None:
    """What a classic `ret #k` returns; None for `ret a`."""
    return None if insn.code & A else insn.k


def planned_filters(block: Block, parent: int = 0) -> Iterator[PlannedFilter]:
    """The block's filters, chain by chain, in the order in which a packet meets them.

    `parent` is what they hang on, by default the qdisc, if it has classes.
    """
    if not parent and block.binder is not None and block.owner is not None:
        parent = block.owner.handle
    for index, chain in sorted(block.chains.items()):
        for classifier in chain.classifiers:
            for each in classifier:
                yield PlannedFilter(index, classifier, each, parent)


def needs_order(block: Block) -> str | None:
    """Which filter in the block cannot be part of a native plan, and why; None where all can."""
    for planned in planned_filters(block):
        if planned.obstacle is not None:
            return f"filter {planned.filter.handle:#x} of pref {planned.classifier.prio}: {planned.obstacle}"
    return None
