"""How is a named cube said, in tcpdump's language?

tcpdump's words say more than one thing: `port 80` is IPv4 or IPv6, TCP, UDP or SCTP, and no later
fragment.  So what other words imply is left out where it is exactly that, and said where it is not:
`ip and tcp port 80`.  `and` and `or` bind equally there, so they are never mixed without parentheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .cubes import (
    ANY,
    NOT_A_FRAGMENT6,
    Alternative,
    NamedCube,
    Place,
    families_of,
    is_port,
    protocols_of,
)
from .names import ANY_FAMILY, FORMS, PLACES, PROTOCOLS, VLAN_TAGS, WITH_PORTS, Atom, negation


@dataclass(frozen=True, slots=True)
class Phrase:
    """A piece of an expression and the operator that it needs parentheses for: "and", "or" or ""."""

    text: str
    joined_by: str = ""
    is_expression: bool = True
    opposite: Phrase | None = None

    def inside(self, operator: str) -> str:
        return f"({self.text})" if self.joined_by not in ("", operator) else self.text


_NOTHING = Phrase("")


def join(operator: str, parts: Sequence[Phrase]) -> Phrase:
    if len(parts) == 1:
        return parts[0]
    text = f" {operator} ".join(part.inside(operator) for part in parts)
    return Phrase(text, operator, all(part.is_expression for part in parts))


def deny(part: Phrase) -> Phrase:
    """The opposite."""
    if part.opposite is not None:
        return part.opposite
    text = f"not ({part.text})" if part.joined_by else f"not {part.text}"
    return Phrase(text, "", part.is_expression, part)


def sentence(cubes: Sequence[NamedCube]) -> Phrase:
    """That one of the cubes holds; what they share is said once, if that is shorter."""
    plain = join("or", [_said(cube, PLACES) for cube in cubes])
    tagged = any(cube["tag"] != ANY for cube in cubes)
    if len(cubes) == 1:
        return plain
    shared = [name for name in _SHAREABLE if len({cube[name] for cube in cubes}) == 1]
    if "vlan" not in shared and "tag" in shared:
        shared.remove("tag")  # they are said together
    head = _said(cubes[0], shared)
    rest = [_said(cube, [name for name in PLACES if name not in shared]) for cube in cubes]
    if head.text and all(part.text for part in rest):
        factored = join("and", [head, join("or", rest)])
        if tagged and "tag" in shared:
            return factored
        plain = min(plain, factored, key=lambda each: len(each.text))
    # tcpdump's `vlan` moves the offsets of all that is said after it, whatever the operators between.
    return replace(plain, is_expression=plain.is_expression and not tagged, opposite=None)


_SHAREABLE = ("link", "tag", "vlan", "family", "hosts")


def _said(cube: NamedCube, places: Sequence[str]) -> Phrase:
    """What the cube says in these places; "" if that is nothing."""
    families = families_of(cube["family"])
    protocols = protocols_of(cube["proto"])
    ports, family = cube["ports"], _only(families)
    prefix = ""
    says_protocol = cube["proto"] != ANY
    if protocols is not None and ports != ANY:
        if _says_protocol(ports, protocols) or ports == NOT_A_FRAGMENT6:
            says_protocol = False
        elif _all_ports(ports) and (len(protocols) == 1 or protocols == frozenset(WITH_PORTS)):
            says_protocol = False
            prefix = f"{PROTOCOLS[min(protocols)]} " if len(protocols) == 1 else ""
    parts = {
        "link": _alternatives(cube["link"]),
        "tag": _vlan(cube["tag"], cube["vlan"]),
        "family": _NOTHING
        if families is not None and _implied(cube) == families
        else _alternatives(cube["family"]),
        "hosts": _alternatives(cube["hosts"]),
        "proto": _alternatives(cube["proto"], family) if says_protocol else _NOTHING,
        "ports": _alternatives(ports, prefix=prefix),
        "other": _alternatives(cube["other"]),
    }
    if protocols is not None and ports == NOT_A_FRAGMENT6:
        parts["ports"] = join("or", [Phrase(f"ip6[6]={number}") for number in sorted(protocols)])
    said = [part for name, part in parts.items() if name in places and part.text]
    return join("and", said) if said else _NOTHING


def _vlan(tag: Place, number: Place) -> Phrase:
    """tcpdump's `vlan` stands for any tag, and what follows it is inside."""
    if tag == ANY:
        return _NOTHING
    kinds = sorted(atom.args[0] for each in tag for atom in each)
    any_tag = kinds == sorted(VLAN_TAGS)
    word = "vlan" if any_tag else "vlan(" + " or ".join(f"{kind:#x}" for kind in kinds) + ")"
    numbers = sorted(atom.args[0] for each in number for atom in each)
    if len(numbers) > 1:
        return Phrase(f"{word} ({' or '.join(map(str, numbers))})", "", False)
    return Phrase(" ".join([word, *map(str, numbers)]), "", any_tag)


def _only(families: frozenset[str] | None) -> str:
    return min(families) if families is not None and len(families) == 1 else ""


def _implied(cube: NamedCube) -> frozenset[str]:
    """The network layers that what else is said leaves."""
    left = ANY_FAMILY
    families = families_of(cube["family"])
    for name in ("hosts", "proto", "ports", "other"):
        left &= frozenset().union(*(_implied_by(each, _only(families)) for each in cube[name]))
    return left


def _implied_by(alternative: Alternative, family: str) -> frozenset[str]:
    left = ANY_FAMILY
    for atom in alternative:
        if not atom.negated or atom.word == "fragment":
            left &= _protocol_families(atom, family) if atom.form == "protocol" else atom.families
    return left


def _protocol_name(number: int, family: str) -> str | None:
    """`tcp`; `icmp` where it is IPv4 and `icmp6` where it is IPv6."""
    return PROTOCOLS.get(number) if _PROTOCOL_OF.get(number, family) == family else None


_PROTOCOL_OF = {1: "ip", 58: "ip6"}


def _protocol_families(atom: Atom, family: str) -> frozenset[str]:
    """A name that is of both says nothing of the family; a number takes the family's name before it."""
    (number,) = atom.args
    both = number in PROTOCOLS and number not in _PROTOCOL_OF
    return atom.families if both or not family else frozenset({family})


def _all_ports(place: Place) -> bool:
    """Does every alternative say something of a port that only a packet with ports has?"""
    return all(any(is_port(atom) and not atom.negated for atom in each) for each in place)


def _says_protocol(place: Place, protocols: frozenset[int]) -> bool:
    return all(
        any(atom.protocol is not None and {atom.protocol} == protocols for atom in each) for each in place
    )


def _alternatives(place: Place, family: str = "", *, prefix: str = "") -> Phrase:
    """The alternatives of a place; "" where anything goes."""
    if place == ANY:
        return _NOTHING
    ordered = sorted(_either_order(place), key=lambda each: (len(each), sorted(_key(atom) for atom in each)))
    positive = [atom for each in ordered if len(each) == 1 for atom in each if not atom.negated]
    parts = _listed(positive, family, prefix)
    parts += [
        _together(each, family, prefix)
        for each in ordered
        if len(each) > 1 or any(atom.negated for atom in each)
    ]
    return join("or", parts)


def _together(alternative: Alternative, family: str, prefix: str) -> Phrase:
    """Atoms that all hold."""
    ordered = sorted(alternative, key=_key)
    parts = [part for atom in ordered if not atom.negated for part in _listed([atom], family, prefix)]
    fragments = [atom for atom in ordered if atom.negated and atom.word == "fragment"]
    parts += [Phrase(_shown(atom, family)) for atom in fragments]
    denied = [negation(atom) for atom in ordered if atom.negated and atom not in fragments]
    if denied:
        parts.append(deny(join("or", _listed(denied, family, ""))))
    return join("and", parts)


def _listed(atoms: Sequence[Atom], family: str, prefix: str) -> list[Phrase]:
    """Alternatives of one atom each, none negated: `src` and `dst` of the same are both, and a word is said
    once for all that follow it."""
    atoms = _both_ways(atoms)
    by_word: dict[str, list[Atom]] = {}
    for atom in atoms:
        by_word.setdefault(_word(atom, family, prefix), []).append(atom)
    parts = []
    for word, same in by_word.items():
        shown = [_shown(atom, family) for atom in same]
        start = f"{word} " if word and shown[0] else word
        joined_by = "or" if len(shown) > 1 else ""
        understood = all(atom.is_expression for atom in same)
        parts.append(Phrase(start + " or ".join(shown), joined_by, understood))
    return parts


def _both_ways(atoms: Sequence[Atom]) -> list[Atom]:
    """`src X or dst X` is `host X`; of nets, ports and port ranges likewise."""
    there = set(atoms)
    both = {atom for atom in atoms if _other_way(atom) in there}
    return [
        _either_way(atom) if atom in both else atom for atom in atoms if atom not in both or _is_src(atom)
    ]


def _either_order(place: Place) -> Place:
    """`src X and dst Y`, or the reverse, is `host X and host Y`."""
    found = set(place)
    for each in place:
        reverse = frozenset(other for atom in each if (other := _other_way(atom)) is not None)
        kinds = {_either_way(atom).word for atom in each}
        if (
            len(each) == len(reverse) == 2
            and reverse != each
            and {each, reverse} <= found
            and len(kinds) == 1
            and len({_is_src(atom) for atom in each}) == 2
            and not any(atom.negated for atom in each)
        ):
            found -= {each, reverse}
            found.add(frozenset(_either_way(atom) for atom in each))
    return frozenset(found)


def _is_src(atom: Atom) -> bool:
    return "src" in atom.word.split()


def _other_way(atom: Atom) -> Atom | None:
    words = atom.word.split()
    if _OTHER_WAY.keys().isdisjoint(words):
        return None
    return replace(atom, word=" ".join(_OTHER_WAY.get(word, word) for word in words))


def _either_way(atom: Atom) -> Atom:
    words = [word for word in atom.word.split() if word not in _OTHER_WAY]
    return replace(atom, word=" ".join([*words, "host"] if words in ([], ["ether"]) else words))


_OTHER_WAY = {"src": "dst", "dst": "src"}


def _word(atom: Atom, family: str, prefix: str) -> str:
    if atom.word == "fragment":
        return ""
    if atom.form == "protocol":
        return _protocol_name(atom.args[0], family) or f"{family} proto".strip()
    return prefix + atom.word if atom.word.endswith(("port", "portrange")) else atom.word


def _shown(atom: Atom, family: str = "") -> str:
    """The arguments.  Where one may be another in the next program of the shape, a mark for it."""
    if atom.word == "fragment":
        test = _FRAGMENT_TESTS[atom.form]
        return test[1] if atom.negated else test[0]
    if not atom.form or (atom.form == "protocol" and _protocol_name(atom.args[0], family)):
        return ""
    if atom.at:
        return f"\0{','.join(map(str, atom.at))}:{atom.form}\0"
    return FORMS[atom.form](atom.args)


def _key(atom: Atom) -> tuple[bool, bool, str, tuple[int, ...]]:
    """In the order of the program where it says, so that all programs of a shape are told alike."""
    return atom.negated, not _is_src(atom), atom.word, atom.at or atom.args


_FRAGMENT_TESTS = {"ip": ("ip[6:2]&0x1fff!=0", "ip[6:2]&0x1fff=0"), "ip6": ("ip6[6]=44", "ip6[6]!=44")}
