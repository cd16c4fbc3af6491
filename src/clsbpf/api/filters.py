"""Filters that are given one by one instead of by a policy: expressions, bytecode, programs of objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..bpf.bytecode import parse_bytecode
from ..bpf.classic import SockFilter, encode_ops
from ..bpf.spec import SCHED_CLS
from ..engine.as_captured import AsCaptured
from ..engine.delivery import OnDelivery
from ..engine.plans import Setup, describe_program
from ..engine.programs import LoadedProgram, ProgramTable
from ..engine.written import written_columns
from ..errors import BytecodeError, ClsbpfError, ObjectError
from ..expression import compile_expression
from ..link import ETHERNET, LinkLayer
from ..tc.chain import ETH_P_ALL, Block
from ..tc.filter import CLS_BPF_NAME_LEN, TCA_BPF_FLAG_ACT_DIRECT, BpfOptions, Filter
from ..vm.environment import TraceLine

if TYPE_CHECKING:
    pass

from .tables import make_programs

FIRST_MAJOR = 0x10000
MAX_FILTERS = 0xFFFF
"""Filters given one by one are told apart by prio and by the minor of their classid: 16 bits each."""


@dataclass(frozen=True, slots=True)
class FilterText:
    """A filter given by itself: a tcpdump expression, bytecode in tc's text, or a program of an object."""

    kind: str
    """ "expression", "bytecode" or "object"."""
    text: str
    """For an object FILE, or FILE:PROGRAM by function or section."""
    direct_action: bool = True
    """Is an object's return value the verdict?"""

    def compile(self, link: LinkLayer) -> tuple[SockFilter, ...]:
        """Its instructions for a link type; ClsbpfError names the filter."""
        if self.kind == "expression":
            return compile_expression(self.text, link.number)
        try:
            return parse_bytecode(self.text)
        except ClsbpfError as error:
            raise ClsbpfError(f"bytecode {self.text!r}: {error}") from None

    def load(self, programs: ProgramTable, btf: str | None = None, *, verify: bool = True) -> LoadedProgram:
        """The program of an object; ObjectError where there is none, or where it is no filter's.

        VerifierError where it is refused.
        """
        from ..engine.objects import LoadedObject
        from ..objfile import read_object
        from ..vm.helpers import KFUNCS

        path, name = split_object(self.text)
        spec = read_object(path, btf=btf, kfuncs=KFUNCS)
        program = spec.program(name)
        if program.type != SCHED_CLS:  # what a filter would refuse later, and is not to be judged as one
            raise ObjectError(
                f"{os.path.basename(path)}: program {program.name} is of type {program.type};"
                f" a filter needs {SCHED_CLS}"
            )
        return LoadedObject(spec, programs, verify=verify).program(program.name)


def split_object(text: str) -> tuple[str, str | None]:
    """FILE[:PROGRAM] in its parts; a file whose name has a colon is found, too."""
    path, colon, program = text.rpartition(":")
    if not colon or os.path.exists(text):
        return text, None
    return path, program


class _FilterBlock:
    """The filters of a command line as a block: `ProgramSource` of their programs, by number."""

    def __init__(
        self, filters: Sequence[FilterText], programs: ProgramTable, btf: str | None, verify: bool
    ) -> None:
        self.filters = filters
        self.programs = programs
        self.objects = {
            number: each.load(programs, btf, verify=verify)
            for number, each in enumerate(filters, 1)
            if each.kind == "object"
        }
        self._blocks: dict[int, Block] = {}
        self._link = ETHERNET

    @property
    def needs_order(self) -> str | None:
        """Which program cannot be part of a native plan; None where all can."""
        unverified = [number for number, each in self.objects.items() if each.verified is None]
        return f"filter {unverified[0]}: its program was not verified" if unverified else None

    def block(self, link: LinkLayer) -> Block:
        """The block for a link type: the nth filter has pref n, handle 1 and flowid 1:n."""
        if link.number not in self._blocks:
            self._link = link
            block = Block(self, profile=self.programs.profile)
            chain = block.get_chain(0)
            for number, each in enumerate(self.filters, 1):
                try:
                    chain.insert(number, ETH_P_ALL).change(self._options(number, each, link), 1)
                except BytecodeError as error:
                    raise ClsbpfError(f"{each.kind} {each.text!r}: {error}") from None
            self._blocks[link.number] = block
        return self._blocks[link.number]

    def _options(self, number: int, each: FilterText, link: LinkLayer) -> BpfOptions:
        classid = FIRST_MAJOR | number
        if each.kind == "object":
            flags = TCA_BPF_FLAG_ACT_DIRECT if each.direct_action else None
            return BpfOptions(fd=number, name=each.text[-CLS_BPF_NAME_LEN:], flags=flags, classid=classid)
        insns = each.compile(link)
        return BpfOptions(ops_len=len(insns), ops=encode_ops(insns), classid=classid)

    def from_ops(self, ops: bytes) -> LoadedProgram | AsCaptured:
        """A classic program; beside objects, which see packets as the kernel has them, with its own view."""
        program = self.programs.from_ops(ops)
        return AsCaptured(program, self._link) if self.objects else program

    def from_fd(self, fd: int) -> LoadedProgram:
        """The object's program with that number."""
        return self.objects[fd]


def filters_setup(
    filters: Sequence[FilterText],
    *,
    profile: str,
    backend: str,
    hook: str = "ingress",
    btf: str | None = None,
    keep_going: bool = False,
    on_trace: Callable[[TraceLine], None] | None = None,
    on_delivery: OnDelivery | None = None,
    verify: bool = True,
) -> Setup:
    """Filters to be tried in order: the nth has pref n, handle 1, protocol all, flowid 1:n.

    Expressions and bytecode see frames as captured, with a VLAN tag in the data, as at egress; programs
    of objects see them as the kernel has them at `hook`.  Without `verify` those run in the checked
    interpreter only.
    """
    if len(filters) > MAX_FILTERS:
        raise ClsbpfError(f"{len(filters)} filters; prefs and minors go up to {MAX_FILTERS}")
    programs = make_programs(backend, profile)
    programs.environment.on_trace = on_trace
    programs.environment.keeps_trace = False
    made = _FilterBlock(filters, programs, btf, verify)

    def matches(prio: int, each: Filter) -> str:
        given = filters[prio - 1]
        return describe_program(prio, each) if given.kind == "bytecode" else given.text

    return Setup(
        block=made.block,
        at_ingress=bool(made.objects) and hook == "ingress",
        for_ethernet=any(each.kind != "expression" for each in filters),
        in_order=made.needs_order,
        extra=written_columns(each.insns for each in made.objects.values()),
        keep_going=keep_going,
        on_delivery=on_delivery,
        profile=programs.profile,
        environment=programs.environment,
        matches=matches,
    )
