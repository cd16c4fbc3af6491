"""How are cubes joined, so that twelve say what one does?

A `NamedCube` has, for each place (`names.PLACES`), a set of alternatives, each a set of atoms: it says
that in every place one alternative holds.  Two that differ in one place only are one with the
alternatives of both, which is how twelve paths become `host 10.0.0.1 and port 80`.  The rest of this
file knows what tcpdump means by `not port 22`: it is true of everything that has no ports, a later
fragment, ICMP or ARP, and so the cubes of these are joined to the one that denies the port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .names import FRAGMENT, FRAGMENT6, PLACES, WITH_PORTS, Atom, Named, negation

Alternative = frozenset[Atom]
Place = frozenset[Alternative]
ANY: Place = frozenset({frozenset()})


@dataclass(frozen=True, slots=True)
class NamedCube:
    """For each place its alternatives, in the order of PLACES."""

    places: tuple[Place, ...]

    def __getitem__(self, name: str) -> Place:
        return self.places[PLACES.index(name)]

    def having(self, **changed: Place) -> NamedCube:
        return NamedCube(
            tuple(changed.get(name, place) for name, place in zip(PLACES, self.places, strict=True))
        )


def named_cubes(named: Iterable[Named]) -> list[NamedCube]:
    cubes = [
        NamedCube(tuple(frozenset({frozenset(each.get(name, ()))}) for name in PLACES)) for each in named
    ]
    return _merged(list(dict.fromkeys(cubes)))


def _merged(cubes: list[NamedCube]) -> list[NamedCube]:
    """The same in fewer cubes."""
    while True:
        before = len(cubes)
        for name in ("ports", "tag", "hosts", "vlan", "proto", "family", "link", "other"):
            cubes = _merged_in(cubes, PLACES.index(name))
        cubes = _ports_denied(cubes)
        if len(cubes) == before:
            return cubes


def _merged_in(cubes: list[NamedCube], at: int) -> list[NamedCube]:
    """Join the cubes that differ in that place only.

    What is said inside of a tag is said of other bytes: a cube with a tag has nothing to do with one
    without.
    """
    alike: dict[tuple[object, ...], set[Alternative]] = {}
    rests: dict[tuple[object, ...], tuple[Place, ...]] = {}
    for cube in cubes:
        rest = (*cube.places[:at], *cube.places[at + 1 :])
        key = (*rest, cube["tag"] == ANY)
        rests[key] = rest
        alike.setdefault(key, set()).update(cube.places[at])
    return [NamedCube((*rest[:at], _tidy(alike[key]), *rest[at:])) for key, rest in rests.items()]


def _tidy(found: Iterable[Alternative]) -> Place:
    """Alternatives without those that say more than another; and a statement or its opposite is no news."""
    alternatives = set(found)
    for alone in [each for each in alternatives if len(each) == 1]:
        (atom,) = alone
        opposite = negation(atom)
        for other in [each for each in alternatives if opposite in each]:
            rest = other - {opposite}
            alternatives.discard(other)
            alternatives.add(rest)
            if (
                atom in (FRAGMENT, FRAGMENT6)
                and rest
                and all(is_port(each) and each.negated for each in rest)
            ):
                alternatives.discard(alone)  # a fragment has no ports: `not src port 22` says it too
    return frozenset(
        each for each in alternatives if not any(other < each for other in alternatives if other != each)
    )


def _ports_denied(cubes: list[NamedCube]) -> list[NamedCube]:
    """`not port 22` is true of all that has no ports: cubes that say so are joined."""
    for cube in cubes:
        for joined, rest in (*_with_portless_protocols(cube), *_with_portless_families(cube, cubes)):
            if rest in cubes:
                return [*(each for each in cubes if each not in (cube, rest)), joined]
    return cubes


def _only_denies_ports(place: Place) -> bool:
    return place != ANY and all(is_port(atom) and atom.negated for each in place for atom in each)


def _with_portless_families(
    cube: NamedCube, cubes: Iterable[NamedCube]
) -> Iterator[tuple[NamedCube, NamedCube]]:
    """A cube that denies ports, with network layers that have none; and the cube of these."""
    if _only_denies_ports(cube["ports"]):
        for families in {other["family"] for other in cubes}:
            known = families_of(families)
            if known is not None and known.isdisjoint(("ip", "ip6")):
                joined = cube.having(family=cube["family"] | families)
                yield joined, cube.having(family=families, ports=ANY)


def _with_portless_protocols(cube: NamedCube) -> Iterator[tuple[NamedCube, NamedCube]]:
    """A cube that denies ports, with the protocols that have none; and the cube of these protocols."""
    protocols = protocols_of(cube["proto"])
    if protocols != frozenset(WITH_PORTS):
        return
    whole = cube.having(proto=ANY)
    if _only_denies_ports(cube["ports"]):
        others = frozenset(negation(atom) for each in cube["proto"] for atom in each)
        yield whole, cube.having(proto=frozenset({others}), ports=ANY)
    # Of IPv6 the first header is meant: a fragment counts as having no ports.
    first = negation(FRAGMENT6)
    denied = frozenset(each - {first} for each in cube["ports"])
    if cube["other"] == ANY and all(first in each for each in cube["ports"]) and _only_denies_ports(denied):
        others = frozenset(Atom(f"ip6[6]!={number}") for number in protocols)
        yield whole.having(ports=denied), cube.having(proto=ANY, ports=ANY, other=frozenset({others}))


def numbers_of(alternative: Alternative) -> list[int]:
    return [atom.args[0] for atom in alternative if atom.form == "protocol" and not atom.negated]


NOT_A_FRAGMENT6: Place = frozenset({frozenset({negation(FRAGMENT6)})})


def families_of(place: Place) -> frozenset[str] | None:
    """Exactly these network layers; None where the place says it otherwise."""
    if place == ANY or any(len(each) != 1 for each in place):
        return None
    atoms = [atom for each in place for atom in each]
    if any(atom.negated or len(atom.families) != 1 for atom in atoms):
        return None
    return frozenset(family for atom in atoms for family in atom.families)


def protocols_of(place: Place) -> frozenset[int] | None:
    if place == ANY or any(len(each) != 1 for each in place):
        return None
    numbers = [number for each in place for number in numbers_of(each)]
    return frozenset(numbers) if len(numbers) == len(place) else None


def is_port(atom: Atom) -> bool:
    return atom.word.startswith(("src port", "dst port"))
