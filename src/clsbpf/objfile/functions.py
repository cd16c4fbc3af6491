"""The functions of an object: which instructions belong to which, and which of them are programs.

Every executable section is cut at its function symbols.  A program is what tc can be told to run: the
global functions of any section but `.text`, which holds the functions that programs call (*subprograms*).
Objects older than these conventions have programs in `.text`, programs that are static, or sections
without any function symbol; the whole section is a program then, as iproute2 has it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..bpf.insn import INSN_BYTES, Insn, decode
from ..errors import ObjectError
from .elf import Elf, Section

TEXT = ".text"
MAX_INSNS = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS: instructions of one program."""


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """One function: `start` counts instructions from the beginning of its section."""

    name: str
    section: Section
    start: int
    insns: tuple[Insn, ...] = field(repr=False)
    is_global: bool
    is_program: bool
    is_hidden: bool = False

    @property
    def end(self) -> int:
        """The first instruction that is not its own any more."""
        return self.start + len(self.insns)


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions of an object, by section index and in the order of the file."""

    by_section: Mapping[int, Sequence[Function]]

    def holding(self, section: int, insn: int) -> Function | None:
        """The function that an instruction of a section is in."""
        functions = self.by_section.get(section, ())
        at = bisect_right(functions, insn, key=lambda each: each.start) - 1
        return functions[at] if at >= 0 and insn < functions[at].end else None

    def at(self, section: int, insn: int) -> Function | None:
        """The function that begins at an instruction."""
        found = self.holding(section, insn)
        return found if found is not None and found.start == insn else None

    def subprogram(self, name: str) -> Function | None:
        """The function of a name that programs may call."""
        for functions in self.by_section.values():
            for each in functions:
                if each.name == name and not each.is_program:
                    return each
        return None

    def programs(self) -> list[Function]:
        """Those that are programs."""
        return [each for functions in self.by_section.values() for each in functions if each.is_program]


def find_functions(elf: Elf) -> Functions:
    """bpf_object__add_programs(), for every executable section."""
    sections = [section for section in elf.sections if section.executable and section.size]
    total = sum(section.size for section in sections) // INSN_BYTES
    if total > 2 * MAX_INSNS:
        raise ObjectError(f"{elf.name}: {total} instructions; at most {2 * MAX_INSNS} are read")
    only_text = all(section.name == TEXT for section in sections)
    return Functions({each.index: _cut(elf, each, only_text) for each in sections})


def _cut(elf: Elf, section: Section, only_text: bool) -> list[Function]:
    """The functions of a section.  Instructions before the first symbol belong to the section's own name."""
    where = f"{elf.name}: section {section.name!r}"
    if section.size % INSN_BYTES:
        raise ObjectError(f"{where}: {section.size} bytes are not a whole number of 8-byte instructions")
    insns = decode(elf.data(section))
    starts: dict[int, tuple[str, bool]] = {}
    hidden: frozenset[int] = frozenset()
    for kind in ("STT_FUNC", "STT_NOTYPE"):
        for symbol in elf.symbols_in(section):
            if symbol.type != kind or (kind == "STT_NOTYPE" and not symbol.is_global):
                continue
            if symbol.value % INSN_BYTES or symbol.value >= section.size:
                raise ObjectError(
                    f"{where}: function {symbol.name!r} at byte {symbol.value} of {section.size}"
                )
            start = symbol.value // INSN_BYTES
            if start not in starts or (symbol.is_global and not starts[start][1]):
                starts[start] = (symbol.name, symbol.is_global)
                hidden = hidden | {start} if symbol.is_hidden else hidden - {start}
        if starts:
            break
    starts.setdefault(0, (section.name, not starts))
    order = sorted(starts)
    takes_static = not any(is_global for _, is_global in starts.values())
    holds_programs = section.name != TEXT or only_text
    return [
        Function(
            *(starts[start][0], section, start, insns[start:end], starts[start][1]),
            is_program=holds_programs and (starts[start][1] or (takes_static and start == 0)),
            is_hidden=start in hidden,
        )
        for start, end in zip(order, [*order[1:], len(insns)], strict=True)
    ]
