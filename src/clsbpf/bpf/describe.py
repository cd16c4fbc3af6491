"""What does a classic program match, in a few words for a reader?

    program → paths → a cover of few cubes → their names by place → joined cubes → phrases
              paths   cover                  names                  cubes          phrases

The text is tcpdump's language where that can say it: what it has no words for (the skb's metadata) is
said in bpf_asm's, and `Description.is_expression` is False.  It speaks of Ethernet frames, and of packets
that hold all the bytes that the program reads.  A text that had to be cut, or that leaves out that the
program reads further than what is named, ends with `…`: nothing else is left out.

Thousands of filters differ in an address or a port: texts are kept by shape with these left open.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..profile import CURRENT, KernelProfile
from .classic import U32, CheckedClassic
from .cover import Cube, cover
from .cubes import named_cubes
from .isa import A, Class, Jmp
from .names import FORMS, Named, name_cube
from .paths import CONDITIONAL_K, Path, Shape, TooMany, outlines, paths, shape_of
from .phrases import deny, sentence
from .values import loads_in

LONGEST = 60
"""Characters of a description."""
MAX_PATHS = 200
"""A program of more paths is not described: no short text would say it."""
MOST_BY_SHAPE = 128
"""Texts made for programs of one shape.  Mostly one serves all; where each needs its own (port ranges), as
each takes some milliseconds, thousands of them are not told apart."""
CUT = "…"


@dataclass(frozen=True, slots=True)
class Description:
    """What a program matches."""

    text: str
    is_expression: bool
    """Is the text a tcpdump expression that means the same?"""


EVERYTHING = "everything"
NOTHING = "nothing"


def describe(program: CheckedClassic, profile: KernelProfile = CURRENT) -> Description | None:
    """What the program matches (returns something other than 0 for); None: nothing short can be said."""
    insns = program.insns
    kept = _templates(shape_of(program), profile.vlan_tci_clears_cfi)
    template = next((each for each in kept if each.fits(program)), None)
    if template is None:
        if len(kept) >= MOST_BY_SHAPE:
            return None
        template = _template(program, profile)
        kept.append(template)
    if not template.text:
        return None
    text = _MARK.sub(lambda mark: FORMS[mark[2]](tuple(insns[at].k for at in _places(mark))), template.text)
    return _cut(text, template.is_expression)


def _cut(text: str, is_expression: bool) -> Description:
    if len(text) <= LONGEST:
        return Description(text, is_expression)
    start = text[: LONGEST - 1]
    space = start.rfind(" ")
    return Description(start[: space + 1 if space > LONGEST // 2 else LONGEST - 1] + CUT, False)


# Texts with places for constants.


@dataclass(frozen=True, slots=True)
class _Template:
    """A text for the programs of one shape that have the `fixed` constants (instruction, constant)."""

    text: str
    """With marks where constants go; empty: there is nothing short to say."""
    is_expression: bool = False
    fixed: tuple[tuple[int, int], ...] = ()

    def fits(self, program: CheckedClassic) -> bool:
        insns = program.insns
        return all(insns[at].k == constant for at, constant in self.fixed) and all(
            insns[at].k <= _HIGHEST[mark[2]] for mark in _MARK.finditer(self.text) for at in _places(mark)
        )


_MARK = re.compile("\0([\\d,]+):(\\w+)\0")
_HIGHEST = {"number": 0xFFFF, "ipv4": U32, "ipv6": U32}
"""The forms that a mark may have: ports and addresses."""


def _places(mark: re.Match[str]) -> list[int]:
    """The instructions whose constants go there."""
    return [int(at) for at in mark[1].split(",")]


@functools.lru_cache(maxsize=1024)
def _templates(shape: Shape, vlan_tci_clears_cfi: bool) -> list[_Template]:
    """The templates kept for a shape, the newest last; whoever makes one adds it."""
    return []


def forget_texts() -> None:
    """Make every text anew from here on."""
    _templates.cache_clear()


def _template(program: CheckedClassic, profile: KernelProfile) -> _Template:
    """The text, or `not` the text of what does not match, and which constants it does not depend on."""
    known = paths(program, profile, MAX_PATHS)
    if isinstance(known, TooMany):
        return _Template("", fixed=_constants(program))
    best = _told(program, profile, known)
    turned = _inverted(program)
    if turned is not None and known and _could_be_shorter(best):
        others = paths(turned, profile, MAX_PATHS)
        if others and not isinstance(others, TooMany):
            otherwise = _told(turned, profile, others, known)
            if otherwise.is_expression and (len(otherwise.text) < len(best.text) or not best.is_expression):
                best = otherwise
    return best


def _could_be_shorter(template: _Template) -> bool:
    """May it be better to say what does not match?"""
    return len(template.text) > LONGEST or not template.is_expression or "not " in template.text


def _told(
    program: CheckedClassic, profile: KernelProfile, found: Sequence[Path], denied: Sequence[Path] = ()
) -> _Template:
    """What the paths say; where there are `denied` ones, that it is not so."""
    cubes = cover(found)
    named = [name_cube(cube) for cube in cubes]
    if not cubes:
        return _Template(NOTHING, fixed=_constants(program))
    free = _free(program, profile, cubes, named)
    fixed = tuple((at, constant) for at, constant in _constants(program) if constant not in free)
    if () in cubes:
        needs = {path.needs for path in found}
        exactly = len(needs) == 1 and not any(path.loads for path in found)
        told = f"{EVERYTHING} of {min(needs)} bytes or more" if exactly and min(needs) else EVERYTHING
        return _Template(told if exactly else f"{told} {CUT}", False, fixed)
    text = sentence(named_cubes(named))
    if denied:
        text = deny(text)
    loads = {load for cube in cubes for test in cube for load in loads_in(test.value)}
    read = max((load.end or 0 for load in loads), default=0)
    if any(path.needs > read or not loads.issuperset(path.loads) for path in (*found, *denied)):
        return _Template(f"{text.text} {CUT}", False, fixed)
    return _Template(text.text, text.is_expression, fixed)


def _constants(program: CheckedClassic) -> tuple[tuple[int, int], ...]:
    """The constants of the conditional jumps, each with its instruction."""
    return tuple((at, i.k) for at, i in enumerate(program.insns) if i.code in CONDITIONAL_K)


def _free(
    program: CheckedClassic, profile: KernelProfile, cubes: Sequence[Cube], named: Sequence[Named]
) -> set[int]:
    """The constants that may be others in a program of the same shape, without another word changing.

    They are only ever compared for equality, and only shown where there is a mark for them.
    """
    known = outlines(shape_of(program), profile.vlan_tci_clears_cfi, MAX_PATHS)
    if isinstance(known, TooMany) or any(each.suspect for each in known.paths):
        return set()
    shown: Counter[int] = Counter()
    for cube, atoms in zip(cubes, named, strict=True):
        shown.update(number for place in atoms.values() for atom in place if atom.at for number in atom.args)
        shown.subtract(test.constant for test in cube)
    ranged = {each.value for each in known.tests if each.op is not Jmp.JEQ}
    unsure = {
        program.insns[each.at].k for each in known.tests if each.at is not None and each.value in ranged
    }
    return {constant for constant, more in shown.items() if more == 0} - unsure


def _inverted(program: CheckedClassic) -> CheckedClassic | None:
    """The program that matches what this one does not, of the packets that both read to the end."""
    if any(i.code == Class.RET | A for i in program.insns):
        return None
    return program.returning(lambda k: int(k == 0))
