"""What is a test of a packet called?  In tcpdump's words where it is exactly that, by offset elsewhere.

`[26:4] = 0x0a000001` is `src 10.0.0.1` if the frame is IPv4, and `[x+16:2] = 443` is `dst port 443` if it
is also TCP, UDP or SCTP and not a later fragment: what a test is called depends on what its cube says
besides.  `name_cube` reads a cube (tests that all hold) from the link layer up and gives each test a
place and a name, an `Atom`.  Together the atoms of all places say what the cube says:

    link    ether src, ether dst, ether multicast
    tag     the type of a VLAN tag in the frame      vlan    its number
    family  ip, ip6, arp, rarp, ether proto …
    hosts   src, dst, src net, dst net
    proto   tcp, udp, … (of IPv6: also as the header after a fragment header)
    ports   src port, dst port, tcp[…], and whether it is a fragment
    other   everything else

The meaning of an atom is tcpdump's, so `not src port 22` is also said of what has no ports.  Offsets are
those of Ethernet frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from .classic import SKF_LL_OFF, SKF_NET_OFF, U32, Ancillary
from .conditions import Test, range_of
from .isa import Alu, Jmp
from .values import Binary, Constant, Greater, Length, Load, Metadata, Value, header_length, load, maximum

PLACES = ("link", "tag", "vlan", "family", "hosts", "proto", "ports", "other")

ANY_FAMILY = frozenset({"ip", "ip6", "arp", "rarp", ""})
"""The network layers that atoms speak of; "" is every other."""
IPV4 = frozenset({"ip"})
IPV6 = frozenset({"ip6"})
ADDRESSED = frozenset({"ip", "arp", "rarp"})
"""`src 10.0.0.1` speaks of ARP too."""
IP = IPV4 | IPV6


@dataclass(frozen=True, slots=True)
class Atom:
    """One statement.  `word` and then `args` as `form` shows them; a form of "" has all in `word`."""

    word: str
    form: str = ""
    args: tuple[int, ...] = ()
    negated: bool = False
    at: tuple[int, ...] = field(default=(), compare=False)
    """The instructions that the arguments come from, where nothing else depends on the arguments."""
    families: frozenset[str] = field(default=ANY_FAMILY, compare=False)
    """What the frame is if the word applies."""
    protocol: int | None = field(default=None, compare=False)
    """The transport protocol that the word speaks of, if it says so itself (`tcp[13]`)."""
    is_expression: bool = True
    """Is it in tcpdump's language?"""


FAMILIES = {0x0800: "ip", 0x86DD: "ip6", 0x0806: "arp", 0x8035: "rarp"}
VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
"""What tcpdump takes for a tag."""
PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp", 1: "icmp", 58: "icmp6"}
WITH_PORTS = (6, 17, 132)
_FRAGMENT_HEADER = 44
_FRAGMENT_OFFSET = 0x1FFF
"""IP_OFFSET."""
_VLAN_MASK = 0xFFF
"""VLAN_VID_MASK."""

FRAGMENT = Atom("fragment", "ip", families=IPV4)
"""A later fragment: `ip[6:2] & 0x1fff != 0`."""
FRAGMENT6 = Atom("fragment", "ip6", families=IPV6)
"""A fragment, the first too: `ip6[6] = 44`."""

METADATA_NAMES = {
    Ancillary.PROTOCOL: "proto",
    Ancillary.PKTTYPE: "type",
    Ancillary.IFINDEX: "ifidx",
    Ancillary.NLATTR: "nla",
    Ancillary.NLATTR_NEST: "nlan",
    Ancillary.MARK: "mark",
    Ancillary.QUEUE: "queue",
    Ancillary.HATYPE: "hatype",
    Ancillary.RXHASH: "rxhash",
    Ancillary.CPU: "cpu",
    Ancillary.VLAN_TAG: "vlan_tci",
    Ancillary.VLAN_TAG_PRESENT: "vlan_avail",
    Ancillary.PAY_OFFSET: "poff",
    Ancillary.RANDOM: "rand",
    Ancillary.VLAN_TPID: "vlan_tpid",
}
"""bpf_asm's names: tcpdump has none."""

Named = dict[str, list[Atom]]


def negation(atom: Atom) -> Atom:
    """The atom turned round."""
    return Atom(
        atom.word,
        atom.form,
        atom.args,
        not atom.negated,
        atom.at,
        atom.families,
        atom.protocol,
        atom.is_expression,
    )


def name_cube(cube: Iterable[Test]) -> Named:
    """The atoms of a cube by place; places of which it says nothing are absent."""
    namer = _Namer(cube)
    namer.name()
    return namer.named


@dataclass(frozen=True, slots=True)
class _Header:
    """A header that is known to be there: loads that lie in it are named by it."""

    name: str
    start: int
    index: Value | None
    families: frozenset[str]
    protocol: int | None = None


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The first `bits` of a word are those of `number`, or not."""

    value: Value
    bits: int
    number: int
    equal: bool


class _Namer:
    """A cube's tests by value, each taken out when it has its name."""

    def __init__(self, cube: Iterable[Test]) -> None:
        self.groups: dict[Value, list[Test]] = {}
        for test in cube:
            self.groups.setdefault(test.value, []).append(test)
        self.named: Named = {}
        self.headers: list[_Header] = []
        self.type_at = 12

    def put(self, place: str, *atoms: Atom) -> None:
        self.named.setdefault(place, []).extend(atoms)

    def name(self) -> None:
        self._link()
        kind = self._equal(load(12, 2))
        if kind is not None and kind.constant in VLAN_TAGS:
            self._tag(kind)
            kind = self._equal(load(self.type_at, 2))
        self._family(kind)
        for tests in self.groups.values():
            for test in tests:
                self.put("other", self._raw(test))

    # Tests that are there to be taken.

    def _equal(self, value: Value) -> Test | None:
        """The test that says what the value is."""
        group = self.groups.get(value)
        if group and len(group) == 1 and group[0].op is Jmp.JEQ and group[0].holds:
            return group[0]
        return None

    def _bits(self, value: Value) -> tuple[int, bool] | None:
        """The bits of the value of which one is set, or none is, if that is all that is said."""
        group = self.groups.get(value, [])
        return (group[0].constant, group[0].holds) if len(group) == 1 and group[0].op is Jmp.JSET else None

    def _take(self, *values: Value) -> list[Test]:
        return [test for value in values for test in self.groups.pop(value, ())]

    def _take_comparisons_to(self, value: Value) -> list[Test]:
        """The tests of a value, if all are `=` or `not =`."""
        group = self.groups.get(value, [])
        return self._take(value) if all(test.op is Jmp.JEQ for test in group) else []

    # From the link layer up.

    def _link(self) -> None:
        for word, low, high in (("ether dst", load(2, 4), load(0, 2)), ("ether src", load(8, 4), load(6, 2))):
            first, last = self._equal(high), self._equal(low)
            if first is not None and last is not None:
                self._take(low, high)
                self.put("link", Atom(word, "mac", (first.constant, last.constant)))
        bits = self._bits(load(0, 1))
        if bits is not None and bits[0] == 1:
            self._take(load(0, 1))
            self.put("link", Atom("ether multicast", negated=not bits[1]))

    def _tag(self, kind: Test) -> None:
        self._take(kind.value)
        self.put("tag", Atom("tag", "hex", (kind.constant,)))
        control = load(14, 2)
        number = self._equal(Binary(Alu.AND, control, Constant(_VLAN_MASK)))
        if number is not None:
            self._take(number.value)
            self.put("vlan", Atom("vlan", "number", (number.constant,)))
        elif self._bits(control) == (_VLAN_MASK, False):
            self._take(control)
            self.put("vlan", Atom("vlan", "number", (0,)))
        self.type_at = 16

    def _family(self, kind: Test | None) -> None:
        for test in self._take_comparisons_to(load(self.type_at, 2)):
            self.put("family", _family_atom(test, self.type_at))
        start = self.type_at + 2
        family = FAMILIES.get(kind.constant, "") if kind is not None else ""
        if family == "ip":
            self.headers.append(_Header("ip", start, None, IPV4))
            self._hosts4(start + 12, start + 16)
            self._ipv4(start)
        elif family == "ip6":
            self.headers.append(_Header("ip6", start, None, IPV6))
            self._hosts6("src", start + 8)
            self._hosts6("dst", start + 24)
            self._ipv6(start)
        elif family:
            self.headers.append(_Header(family, start, None, frozenset({family})))
            self._hosts4(start + 14, start + 24)

    def _hosts4(self, source: int, destination: int) -> None:
        for word, offset in (("src", source), ("dst", destination)):
            address = load(offset, 4)
            for test in self._take_comparisons_to(address):
                self.put("hosts", _atom(word, "ipv4", test, ADDRESSED))
            for prefix in self._prefixes(address):
                self._take(prefix.value)
                args = (prefix.number, prefix.bits)
                self.put("hosts", _of(Atom(f"{word} net", "net4", args, not prefix.equal), ADDRESSED))

    def _prefixes(self, address: Load) -> list[_Prefix]:
        """Comparisons of the first bits of a 32-bit word, each the only test of its value.

        libpcap's optimizer makes `and #0xffff0000, jeq #0` a `jset #0xffff0000`.
        """
        found = []
        for value, (test, *more) in self.groups.items():
            if more:
                continue
            if test.op is Jmp.JSET and value == address:
                bits, number, equal = _mask_bits(test.constant), 0, not test.holds
            elif (
                test.op is Jmp.JEQ
                and isinstance(value, Binary)
                and value.op is Alu.AND
                and value.left == address
            ):
                bits = _mask_bits(value.right.value) if isinstance(value.right, Constant) else 0
                number, equal = test.constant, test.holds
            else:
                continue
            if bits and not number & (1 << 32 - bits) - 1:
                found.append(_Prefix(value, bits, number, equal))
        return found

    def _hosts6(self, word: str, offset: int) -> None:
        """An address is four words: as many whole ones as are compared, then perhaps part of one."""
        number = bits = 0
        sources: list[int | None] = []
        for at in range(offset, offset + 16, 4):
            whole = self._equal(load(at, 4))
            if whole is not None:
                self._take(whole.value)
                sources.append(whole.at)
                number |= whole.constant << (96 - bits)
                bits += 32
                continue
            prefix = next((each for each in self._prefixes(load(at, 4)) if each.equal), None)
            if prefix is not None:
                self._take(prefix.value)
                number |= prefix.number << (96 - bits)
                bits += prefix.bits
            break
        if bits:
            words = tuple(number >> shift & U32 for shift in (96, 64, 32, 0))
            free = tuple(at for at in sources if at is not None) if None not in sources else ()
            if bits == 128:
                self.put("hosts", Atom(word, "ipv6", words, at=free, families=IPV6))
            else:
                self.put("hosts", Atom(f"{word} net", "net6", (*words, bits), families=IPV6))

    def _ipv4(self, start: int) -> None:
        protocol = self._equal(load(start + 9, 1))
        number = protocol.constant if protocol is not None else None
        for test in self._take_comparisons_to(load(start + 9, 1)):
            self.put("proto", _atom("proto", "protocol", test, IP, free=False))
        bits = self._bits(load(start + 6, 2))
        if bits is not None and bits[0] == _FRAGMENT_OFFSET:
            self._take(load(start + 6, 2))
            if bits[1]:
                self.put("ports", FRAGMENT)
            else:
                self._transport(start, header_length(start), number, FRAGMENT)

    def _ipv6(self, start: int) -> None:
        following, inner = load(start + 6, 1), load(start + 40, 1)
        known = self._equal(following)
        if known is not None and known.constant == _FRAGMENT_HEADER:
            of_fragment = any(test.constant == _FRAGMENT_HEADER for test in self.groups.get(inner, ()))
            tests = [] if of_fragment else self._take_comparisons_to(inner)
            if tests:
                self._take(following)
                self.put("ports", FRAGMENT6)
                self.put("proto", *(_atom("proto", "protocol", test, IP, free=False) for test in tests))
            return
        tests = self.groups.get(following, [])
        not_a_fragment = any(test.constant == _FRAGMENT_HEADER for test in tests)
        if known is None and not (not_a_fragment and all(test.op is Jmp.JEQ for test in tests)):
            return
        for test in self._take(following):
            if test.constant != _FRAGMENT_HEADER:
                self.put("proto", _atom("proto", "protocol", test, IP, free=False))
        self._transport(start + 40, None, known.constant if known is not None else None, FRAGMENT6)

    def _transport(self, start: int, index: Value | None, protocol: int | None, fragment: Atom) -> None:
        """What follows the IP header of a packet that is not a (later) fragment."""
        said_by_a_word = False
        if protocol in WITH_PORTS:
            for word, offset in (("src port", start), ("dst port", start + 2)):
                for atom in self._port(word, load(offset, 2, index)):
                    said_by_a_word |= not atom.negated
                    self.put("ports", atom)
        if index is not None and protocol in PROTOCOLS and protocol != 58:
            header = _Header(PROTOCOLS[protocol], start, index, IPV4, protocol)
            for value in list(self.groups):
                if any(_lies_in(header, each) for each in _loads(value)):
                    self.headers.append(header)
                    for test in self._take(value):
                        self.put("ports", self._raw(test))
                    self.headers.pop()
                    said_by_a_word = True
        if not said_by_a_word:
            self.put("ports", negation(fragment))

    def _port(self, word: str, value: Value) -> list[Atom]:
        group = self.groups.get(value, [])
        if not group or any(test.op is Jmp.JSET for test in group):
            return []
        self._take(value)
        atoms = [
            _atom(word, "number", test, IP, free=len(group) == 1) for test in group if test.op is Jmp.JEQ
        ]
        ranges = [range_of(test) for test in group if test.op is not Jmp.JEQ]
        if ranges:
            low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
            atoms.append(_of(Atom(f"{word}range", "range", (low, min(high, 0xFFFF))), IP))
        return atoms

    # By offset.

    def _raw(self, test: Test) -> Atom:
        families, protocol, understood = ANY_FAMILY, None, True
        for each in _leaves(test.value):
            if isinstance(each, Load):
                header = self._header_of(each)
                if header is not None:
                    families &= header.families
                    protocol = header.protocol or protocol
                understood &= each.offset <= U32 >> 1
            understood &= not isinstance(each, Metadata)
        text = _relation(test, self._show)
        return Atom(text, families=families, protocol=protocol, is_expression=understood)

    def _header_of(self, value: Load) -> _Header | None:
        return next((each for each in reversed(self.headers) if _lies_in(each, value)), None)

    def _show(self, value: Value) -> str:
        match value:
            case Constant(number):
                return _number(number)
            case Length():
                return "len"
            case Metadata():
                return METADATA_NAMES[value.what]
            case Greater(left, right):
                return f"({self._show(left)}>{self._show(right)})"
            case Binary(Alu.ADD, left, Constant(number)) if number > U32 >> 1:
                return f"({self._show(left)}-{_number(-number & U32)})"
            case Binary(op, left, right):
                return f"({self._show(left)}{_SIGNS[op]}{self._show(right)})"
            case Load():
                return self._show_load(value)

    def _show_load(self, value: Load) -> str:
        size = "" if value.size == 1 else f":{value.size}"
        header = self._header_of(value)
        if header is not None:
            return f"{header.name}[{value.offset - header.start}{size}]"
        name, offset = "ether", value.offset
        for start, from_there in ((SKF_NET_OFF, "net"), (SKF_LL_OFF, "ll")):
            if offset >= start:
                name, offset = from_there, offset - start
                break
        if value.index is None:
            return f"{name}[{offset}{size}]"
        return f"{name}[{self._show(value.index)}+{offset}{size}]"


_SIGNS = {
    Alu.ADD: "+",
    Alu.SUB: "-",
    Alu.MUL: "*",
    Alu.DIV: "/",
    Alu.MOD: "%",
    Alu.OR: "|",
    Alu.AND: "&",
    Alu.XOR: "^",
    Alu.LSH: "<<",
    Alu.RSH: ">>",
}
_RELATIONS = {
    (Jmp.JEQ, True): "=",
    (Jmp.JEQ, False): "!=",
    (Jmp.JGT, True): ">",
    (Jmp.JGT, False): "<=",
    (Jmp.JGE, True): ">=",
    (Jmp.JGE, False): "<",
    (Jmp.JSET, True): "!=",
    (Jmp.JSET, False): "=",
}


def _relation(test: Test, show: Callable[[Value], str]) -> str:
    """The test as an arithmetic relation."""
    value, sign = test.value, _RELATIONS[test.op, test.holds]
    if test.op is Jmp.JSET:
        covered = (1 << maximum(value).bit_length()) - 1
        bits = test.constant & covered
        masked = "" if bits == covered else f"&{_number(bits)}"
        return f"{_bare(show(value))}{masked}{sign}0"
    if isinstance(value, Greater) and test.op is Jmp.JEQ and test.constant in (0, 1):
        sign = ">" if test.holds == test.constant else "<="
        return f"{_bare(show(value.left))}{sign}{_bare(show(value.right))}"
    if isinstance(value, Binary) and value.op is Alu.SUB and test.op is Jmp.JEQ and test.constant == 0:
        return f"{_bare(show(value.left))}{sign}{_bare(show(value.right))}"
    return f"{_bare(show(value))}{sign}{_number(test.constant)}"


def _bare(text: str) -> str:
    """Without the parentheses around all of it, if these are one pair."""
    if not text.startswith("("):
        return text
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return text[1:-1] if at == len(text) - 1 else text
    return text


def _number(number: int) -> str:
    return str(number) if number < 10000 else f"{number:#x}"


def _family_atom(test: Test, type_at: int) -> Atom:
    name = FAMILIES.get(test.constant)
    if name is not None:
        return Atom(name, negated=not test.holds, families=frozenset({name}))
    if test.constant >= 0x600:
        return Atom("ether proto", "hex", (test.constant,), not test.holds)
    return Atom(f"ether[{type_at}:2]{'=' if test.holds else '!='}{test.constant}")


def _atom(word: str, form: str, test: Test, families: frozenset[str], *, free: bool = True) -> Atom:
    at = (test.at,) if free and test.at is not None else ()
    return Atom(word, form, (test.constant,), not test.holds, at, families)


def _of(atom: Atom, families: frozenset[str]) -> Atom:
    return Atom(atom.word, atom.form, atom.args, atom.negated, atom.at, families)


def _mask_bits(mask: int) -> int:
    """How many bits the netmask has; 0 if it is none."""
    bits = mask.bit_count()
    return bits if mask == U32 << (32 - bits) & U32 else 0


def _leaves(value: Value) -> list[Value]:
    match value:
        case Binary(_, left, right) | Greater(left, right):
            return [*_leaves(left), *_leaves(right)]
        case _:
            return [value]


def _loads(value: Value) -> list[Load]:
    return [each for each in _leaves(value) if isinstance(each, Load)]


def _lies_in(header: _Header, value: Load) -> bool:
    return value.index == header.index and header.start <= value.offset < header.start + 0x10000


FORMS: dict[str, Callable[[tuple[int, ...]], str]] = {
    "number": lambda args: str(args[0]),
    "hex": lambda args: f"{args[0]:#x}",
    "protocol": lambda args: str(args[0]),
    "mac": lambda args: (args[0] << 32 | args[1]).to_bytes(6, "big").hex(":"),
    "ipv4": lambda args: str(IPv4Address(args[0])),
    "net4": lambda args: f"{IPv4Address(args[0])}/{args[1]}",
    "ipv6": lambda args: str(IPv6Address(_joined(args))),
    "net6": lambda args: f"{IPv6Address(_joined(args[:4]))}/{args[4]}",
    "range": lambda args: f"{args[0]}-{args[1]}",
}
"""How arguments are shown."""


def _joined(words: Iterable[int]) -> int:
    number = 0
    for word in words:
        number = number << 32 | word
    return number
