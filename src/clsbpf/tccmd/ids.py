"""Handles, classids and protocols as tc writes them.

A classid is 32 bits, written in *hexadecimal* as major:minor: `1:10` is 0x00010010, `ffff:` has minor
0, `:5` major 0; `root` is TC_H_ROOT and `none` 0.  A qdisc's handle is the major alone.  Bare `N`
without a colon is the whole 32 bits, not the major.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import CommandError
from .numbers import U16, U32, strtoul, unsigned

TC_H_UNSPEC = 0
TC_H_ROOT = 0xFFFFFFFF
TC_H_INGRESS = 0xFFFFFFF1
TC_H_CLSACT = TC_H_INGRESS
TC_H_MIN_INGRESS = 0xFFF2
TC_H_MIN_EGRESS = 0xFFF3
CLSACT_HANDLE = TC_H_CLSACT & 0xFFFF0000
CLSACT_INGRESS = CLSACT_HANDLE | TC_H_MIN_INGRESS
CLSACT_EGRESS = CLSACT_HANDLE | TC_H_MIN_EGRESS

ETH_P_ALL = 3


def parse_classid(text: str) -> int | None:
    """get_tc_classid(): 32 bits, None when `text` is no classid."""
    if text in ("root", "none"):
        return TC_H_ROOT if text == "root" else TC_H_UNSPEC
    major, rest = strtoul(text, 16)
    if rest == text and not text.startswith(":"):
        return None
    if not rest.startswith(":"):
        return major & U32 if rest == "" else None  # without a colon, what is above 32 bits is lost
    minor, rest = strtoul(rest[1:], 16)
    return None if rest or major > U16 or minor > U16 else major << 16 | minor


def parse_qdisc_handle(text: str) -> int | None:
    """get_qdisc_handle(): the major in the upper half; what follows a colon is not looked at."""
    if text == "none":
        return TC_H_UNSPEC
    major, rest = strtoul(text, 16)
    if rest == text or major > U16 or (rest and not rest.startswith(":")):
        return None
    return major << 16


def format_classid(classid: int, names: Mapping[int, str] | None = None) -> str:
    """print_tc_classid(); `names` are those of the class names file (tc -nm)."""
    major, minor = classid >> 16, classid & U16
    if classid == TC_H_ROOT:
        text = "root"
    elif classid == TC_H_UNSPEC:
        text = "none"
    elif major == 0:
        text = f":{minor:x}"
    elif minor == 0:
        text = f"{major:x}:"
    else:
        text = f"{major:x}:{minor:x}"
    name = (names or {}).get(classid)
    return f"{name}#{text}" if name else text


_NAME_LINE = re.compile(
    r"[ \t]*(?:(?P<major>[0-9a-fA-F]+):(?P<minor>[0-9a-fA-F]+)|0[xX](?P<hex>[0-9a-fA-F]+)|(?P<dec>[0-9]+))"
    r"\s+(?P<name>\S+)"
)


def parse_class_names(text: str, filename: str) -> dict[int, str]:
    """db_names_load(): the class names file (tc -nm), lines of `MAJ:MIN NAME`, `0xN NAME` or `N NAME`.

    CommandError for a line that is none.  (tc says the same, and goes on without any names.)
    """
    names: dict[int, str] = {}
    for line in text.splitlines():
        if line.strip(" \t") == "" or line.lstrip(" \t").startswith("#"):
            continue
        found = _NAME_LINE.match(line)
        if found is None:
            raise CommandError(f"Database {filename} is corrupted at {line.lstrip()}", word=line)
        if found["major"]:
            number = int(found["major"], 16) << 16 | int(found["minor"], 16)
        else:
            number = int(found["hex"], 16) if found["hex"] else int(found["dec"])
        if number < 0x80000000:  # tc holds them in a signed int, and never finds 8000: and above again
            names[number] = found["name"]
    return names


PROTOCOLS: tuple[tuple[int, str], ...] = (
    (0x0060, "loop"),
    (0x0200, "pup"),
    (0x0201, "pupat"),
    (0x0800, "ip"),
    (0x0805, "x25"),
    (0x0806, "arp"),
    (0x08FF, "bpq"),
    (0x0A00, "ieeepup"),
    (0x0A01, "ieeepupat"),
    (0x6000, "dec"),
    (0x6001, "dna_dl"),
    (0x6002, "dna_rc"),
    (0x6003, "dna_rt"),
    (0x6004, "lat"),
    (0x6005, "diag"),
    (0x6006, "cust"),
    (0x6007, "sca"),
    (0x8035, "rarp"),
    (0x809B, "atalk"),
    (0x80F3, "aarp"),
    (0x8137, "ipx"),
    (0x86DD, "ipv6"),
    (0x8863, "ppp_disc"),
    (0x8864, "ppp_ses"),
    (0x884C, "atmmpoa"),
    (0x8884, "atmfate"),
    (0x0001, "802_3"),
    (0x0002, "ax25"),
    (0x0003, "all"),
    (0x0004, "802_2"),
    (0x0005, "snap"),
    (0x0006, "ddcmp"),
    (0x0007, "wan_ppp"),
    (0x0008, "ppp_mp"),
    (0x0009, "localtalk"),
    (0x000C, "can"),
    (0x0010, "ppptalk"),
    (0x0011, "tr_802_2"),
    (0x0015, "mobitex"),
    (0x0016, "control"),
    (0x0017, "irda"),
    (0x0018, "econet"),
    (0x88CA, "tipc"),
    (0x8892, "profinet"),
    (0x88A2, "aoe"),
    (0x88A4, "ethercat"),
    (0x8100, "802.1Q"),
    (0x88A8, "802.1ad"),
    (0x8847, "mpls_uc"),
    (0x8848, "mpls_mc"),
    (0x6558, "teb"),
    (0x88CC, "LLDP"),
    (0x0800, "ipv4"),
)
"""The names of ETH_P_* that tc knows, in the order in which it looks them up."""

_BY_NAME = {name.lower(): number for number, name in reversed(PROTOCOLS)}
_BY_NUMBER = dict(reversed(PROTOCOLS))


def parse_protocol(text: str) -> int | None:
    """ll_proto_a2n(): a name in any case, or a 16-bit number; host order."""
    known = _BY_NAME.get(text.lower())
    return unsigned(text, U16) if known is None else known


def format_protocol(protocol: int, *, numeric: bool = False) -> str:
    """ll_proto_n2a(): the name, or the number in brackets; always the number with tc -N."""
    name = None if numeric else _BY_NUMBER.get(protocol)
    return f"[{protocol}]" if name is None else name
