"""codel and fq_codel in words and rows (tc/q_codel.c, tc/q_fq_codel.c)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...netlink import attr as nla
from ...netlink import codel as wire
from ...netlink.attr import Attr, iter_attrs
from ...netlink.codel import TcaCodel, TcaFqCodel
from ...netlink.schema import Tca
from ..errors import CommandError
from ..numbers import U32, microseconds, size, unsigned
from ..options import Options
from ..printer import Printer
from ..rates import format_time
from ..stats import format_size
from ..words import Words

USAGE = """\
Usage: ... codel [ limit PACKETS ] [ target TIME ] [ interval TIME ] [ ecn | noecn ] [ ce_threshold TIME ]
       ... fq_codel the same [ flows NUMBER ] [ quantum BYTES ] [ memory_limit BYTES ] [ drop_batch PACKETS ]
                    [ ce_threshold_selector VALUE/MASK ]
 target: packets may wait so long; interval: how long more than that is tolerated
 ecn: packets are marked rather than dropped; ce_threshold: marked at once when they waited so long"""

_UNSET = U32


@dataclass(frozen=True, slots=True)
class _Number:
    """A word with a number; tc leaves `unset` out of the request."""

    read: Callable[[str], int | None]
    unset: int = 0


_COUNT, _TIME = _Number(unsigned), _Number(microseconds)
_CODEL = {
    "limit": _COUNT,
    "target": _TIME,
    "interval": _TIME,
    "ce_threshold": _Number(microseconds, _UNSET),
}
_FQ_CODEL = {
    **_CODEL,
    "flows": _COUNT,
    "quantum": _COUNT,
    "memory_limit": _Number(size, _UNSET),
    "drop_batch": _COUNT,
}
_NUMBERS: Mapping[str, Mapping[str, _Number]] = {"codel": _CODEL, "fq_codel": _FQ_CODEL}
_ORDER: Mapping[str, tuple[tuple[str, int], ...]] = {
    "codel": (
        ("limit", TcaCodel.LIMIT),
        ("interval", TcaCodel.INTERVAL),
        ("target", TcaCodel.TARGET),
        ("ecn", TcaCodel.ECN),
        ("ce_threshold", TcaCodel.CE_THRESHOLD),
    ),
    "fq_codel": (
        ("limit", TcaFqCodel.LIMIT),
        ("flows", TcaFqCodel.FLOWS),
        ("quantum", TcaFqCodel.QUANTUM),
        ("interval", TcaFqCodel.INTERVAL),
        ("target", TcaFqCodel.TARGET),
        ("ecn", TcaFqCodel.ECN),
        ("ce_threshold", TcaFqCodel.CE_THRESHOLD),
        ("mask", TcaFqCodel.CE_THRESHOLD_MASK),
        ("selector", TcaFqCodel.CE_THRESHOLD_SELECTOR),
        ("memory_limit", TcaFqCodel.MEMORY_LIMIT),
        ("drop_batch", TcaFqCodel.DROP_BATCH_SIZE),
    ),
}
"""In which order a request has them."""
_BYTES = ("mask", "selector")


def parse(kind: str, words: Words, device: str) -> list[Attr]:
    """codel_parse_opt(), fq_codel_parse_opt()."""
    numbers = _NUMBERS[kind]
    said: dict[str, int] = {}
    while words:
        word = words.current
        if word in numbers:
            text = words.next()
            value = numbers[word].read(text)
            if value is None:
                raise CommandError(f'Illegal "{word}"', word=text)
            said[word] = value
        elif word in ("ecn", "noecn"):
            said["ecn"] = int(word == "ecn")
        elif word == "ce_threshold_selector" and kind == "fq_codel":
            said["selector"], said["mask"] = _selector(words.next())
        elif word == "help":
            raise CommandError("", word=word, usage=USAGE)
        else:
            raise CommandError(f'What is "{word}"?', word=word, usage=USAGE)
        words.skip()
    said = {
        name: value for name, value in said.items() if name not in numbers or value != numbers[name].unset
    }
    if said.get("selector") == 0xFF:
        del said["selector"], said["mask"]
    inside = [
        nla.u8(number, said[name]) if name in _BYTES else nla.u32(number, said[name])
        for name, number in _ORDER[kind]
        if name in said
    ]
    return [nla.nest(Tca.OPTIONS, inside)]


def _selector(text: str) -> tuple[int, int]:
    value, slash, mask = text.partition("/")
    if not slash:
        raise CommandError('Missing mask for "ce_threshold_selector"', word=text)
    found = unsigned(value, 0xFF), unsigned(mask, 0xFF)
    for number, what in zip(found, ("", "mask for "), strict=True):
        if number is None:
            raise CommandError(f'Illegal {what}"ce_threshold_selector"', word=text)
    return found[0] or 0, found[1] or 0


def _by_type(options: Attr) -> dict[int, Attr]:
    found: dict[int, Attr] = {}
    for attr in iter_attrs(options.payload):
        found.setdefault(attr.type, attr)
    return found


def show(kind: str, out: Printer, options: Attr, view: Options) -> None:
    """codel_print_opt(), fq_codel_print_opt()."""
    attrs = _by_type(options)
    fq = kind == "fq_codel"
    _count(out, attrs, TcaCodel.LIMIT, "limit", "p")
    if fq:
        _count(out, attrs, TcaFqCodel.FLOWS, "flows")
        _count(out, attrs, TcaFqCodel.QUANTUM, "quantum")
    _time(out, attrs, TcaCodel.TARGET, "target")
    _time(out, attrs, TcaFqCodel.CE_THRESHOLD if fq else TcaCodel.CE_THRESHOLD, "ce_threshold")
    if fq:
        _show_selector(out, attrs)
    _time(out, attrs, TcaCodel.INTERVAL, "interval")
    memory = _number(attrs, TcaFqCodel.MEMORY_LIMIT) if fq else None
    if memory is not None:
        out.both("memory_limit", f"memory_limit {format_size(memory)} ", memory)
    if _number(attrs, TcaCodel.ECN):
        out.both("ecn", "ecn ", True)
    if fq and _number(attrs, TcaFqCodel.DROP_BATCH_SIZE):
        _count(out, attrs, TcaFqCodel.DROP_BATCH_SIZE, "drop_batch")


def _number(attrs: Mapping[int, Attr], number: int) -> int | None:
    return attrs[number].u32 if number in attrs and len(attrs[number].payload) >= 4 else None


def _count(out: Printer, attrs: Mapping[int, Attr], number: int, name: str, unit: str = "") -> None:
    value = _number(attrs, number)
    if value is not None:
        out.both(name, f"{name} {value}{unit} ", value)


def _time(out: Printer, attrs: Mapping[int, Attr], number: int, name: str) -> None:
    value = _number(attrs, number)
    if value is not None:
        out.both(name, f"{name} {format_time(value)} ", value)


def _show_selector(out: Printer, attrs: Mapping[int, Attr]) -> None:
    """Of which packets the threshold is."""
    selector, mask = (
        attrs[number].payload[0] if number in attrs and attrs[number].payload else 0
        for number in (TcaFqCodel.CE_THRESHOLD_SELECTOR, TcaFqCodel.CE_THRESHOLD_MASK)
    )
    if selector or mask:
        out.both("ce_threshold_selector", f"ce_threshold_selector {_hex(selector)}", selector)
        out.both("ce_threshold_mask", f"/{_hex(mask)} ", mask)


def _hex(value: int) -> str:
    """%#x."""
    return f"{value:#x}" if value else "0"


def show_xstats(kind: str, out: Printer, xstats: Attr, view: Options) -> None:
    """codel_print_xstats(), fq_codel_print_xstats(); what is not there is 0."""
    if kind == "codel":
        _show_codel(out, xstats.payload[: wire.CODEL_XSTATS.size].ljust(wire.CODEL_XSTATS.size, b"\0"))
        return
    payload = xstats.payload[: wire.FQ_CODEL_XSTATS_LEN].ljust(wire.FQ_CODEL_XSTATS_LEN, b"\0")
    numbers = wire.FQ_CODEL_XSTATS_QDISC.unpack(payload)
    if numbers[0] == 0:
        _show_qdisc(out, numbers)
    elif numbers[0] == 1:
        _show_flow(out, wire.FQ_CODEL_XSTATS_CLASS.unpack(payload))


def _show_codel(out: Printer, payload: bytes) -> None:
    maxpacket, count, lastcount, ldelay, drop_next, overlimit, ecn_mark, dropping, ce_mark = (
        wire.CODEL_XSTATS.unpack(payload)
    )
    out.both("count", f"  count {count}", count)
    out.both("lastcount", f" lastcount {lastcount}", lastcount)
    out.both("ldelay", f" ldelay {format_time(ldelay)}", ldelay)
    if dropping:
        out.both("dropping", " dropping", True)
    _show_next(out, drop_next)
    out.end_line()
    out.both("maxpacket", f"  maxpacket {maxpacket}", maxpacket)
    out.both("ecn_mark", f" ecn_mark {ecn_mark}", ecn_mark)
    out.both("drop_overlimit", f" drop_overlimit {overlimit}", overlimit)
    if ce_mark:
        out.both("ce_mark", f" ce_mark {ce_mark}", ce_mark)


def _show_next(out: Printer, drop_next: int) -> None:
    text = f"-{format_time(-drop_next)}" if drop_next < 0 else format_time(drop_next)
    out.both("drop_next", f" drop_next {text}", drop_next)


def _show_qdisc(out: Printer, numbers: tuple[int, ...]) -> None:
    _, maxpacket, overlimit, ecn_mark, new_flows, new_len, old_len, ce_mark, memory, overmemory = numbers
    out.both("maxpacket", f"  maxpacket {maxpacket}", maxpacket)
    out.both("drop_overlimit", f" drop_overlimit {overlimit}", overlimit)
    out.both("new_flow_count", f" new_flow_count {new_flows}", new_flows)
    out.both("ecn_mark", f" ecn_mark {ecn_mark}", ecn_mark)
    for name, value in (("ce_mark", ce_mark), ("memory_used", memory), ("drop_overmemory", overmemory)):
        if value:
            out.both(name, f" {name} {value}", value)
    out.end_line()
    out.both("new_flows_len", f"  new_flows_len {new_len}", new_len)
    out.both("old_flows_len", f" old_flows_len {old_len}", old_len)


def _show_flow(out: Printer, numbers: tuple[int, ...]) -> None:
    _, deficit, ldelay, count, lastcount, dropping, drop_next = numbers
    out.both("deficit", f"  deficit {deficit}", deficit)
    out.both("count", f" count {count}", count)
    out.both("lastcount", f" lastcount {lastcount}", lastcount)
    out.both("ldelay", f" ldelay {format_time(ldelay)}", ldelay)
    if dropping:
        out.both("dropping", " dropping", True)
        _show_next(out, drop_next)
