"""sfq in words and rows (tc/q_sfq.c, and of tc/tc_red.c what it needs)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ...netlink import attr as nla
from ...netlink.attr import Attr
from ...netlink.schema import Tca
from ...netlink.sfq import RED_ECN, RED_HARDDROP, SFQ_QOPT_LEN, SfqQopt
from ..errors import CommandError
from ..numbers import U32, integer, size, strtod, unsigned
from ..options import Options
from ..printer import Printer
from ..stats import format_size
from ..words import Words

USAGE = """\
Usage: ... sfq [ limit PACKETS ] [ perturb SECONDS ] [ quantum BYTES ] [ divisor SLOTS ] [ flows NUMBER ]
               [ depth PACKETS ] [ headdrop ]
               [ redflowlimit BYTES [ min BYTES ] [ max BYTES ] [ avpkt BYTES ] [ burst PACKETS ]
               [ probability P ] [ ecn ] [ harddrop ] ]
 limit, depth: of all flows, and of one; divisor: a power of two
 redflowlimit: packets of a flow between min and max are dropped at random"""

_LARGE_WLOG = 10
_FLAG_NAMES = (("ecn", RED_ECN), ("harddrop", RED_HARDDROP), ("adaptive", 4), ("nodrop", 8))
_ALLOT = struct.Struct("=i")


@dataclass(slots=True)
class _Said:
    """What the words have said so far; 0 is nothing."""

    quantum: int = 0
    perturb: int = 0
    limit: int = 0
    divisor: int = 0
    flows: int = 0
    depth: int = 0
    headdrop: int = 0
    red_limit: int = 0
    qth_min: int = 0
    qth_max: int = 0
    burst: int = 0
    avpkt: int = 1000
    probability: float = 0.02
    flags: int = 0
    red: bool = False


_NUMBERS: dict[str, tuple[str, Callable[[str], int | None], str, bool]] = {
    "quantum": ("quantum", size, "limit", False),
    "perturb": ("perturb", integer, "perturb", False),
    "limit": ("limit", unsigned, "limit", False),
    "divisor": ("divisor", unsigned, "divisor", False),
    "flows": ("flows", unsigned, "flows", False),
    "depth": ("depth", unsigned, "flows", False),
    "redflowlimit": ("red_limit", unsigned, "redflowlimit", True),
    "min": ("qth_min", unsigned, "min", True),
    "max": ("qth_max", unsigned, "max", True),
    "burst": ("burst", unsigned, "burst", True),
    "avpkt": ("avpkt", size, "avpkt", True),
}
"""The words with a number: what they say, how it is read, what tc calls it when it is wrong (not always its
name), and is it about RED?"""


def parse(kind: str, words: Words, device: str) -> list[Attr]:
    """sfq_parse_opt()."""
    said = _Said()
    any_word = bool(words)
    while words:
        _word(words, said)
        words.skip()
    if not any_word:
        return []
    return [nla.binary(Tca.OPTIONS, _qopt(said, words.remarks).encode())]


def _word(words: Words, said: _Said) -> None:
    word = words.current
    if word in _NUMBERS:
        name, read, called, red = _NUMBERS[word]
        text = words.next()
        value = read(text)
        if value is None:
            raise CommandError(f'Illegal "{called}"', word=text)
        if word == "limit" and value < 2:
            raise CommandError('Illegal "limit", must be > 1', word=text)
        setattr(said, name, value)
        said.red |= red
    elif word == "probability":
        text = words.next()
        said.probability, rest = strtod(text)
        if rest == text:
            raise CommandError('Illegal "probability"', word=text)
        said.red = True
    elif word == "headdrop":
        said.headdrop = 1
    elif word in ("ecn", "harddrop"):
        said.flags |= RED_ECN if word == "ecn" else RED_HARDDROP
        said.red = True
    elif word == "help":
        raise CommandError("", word=word, usage=USAGE)
    else:
        raise CommandError(f'What is "{word}"?', word=word, usage=USAGE)


def _qopt(said: _Said, remarks: list[str]) -> SfqQopt:
    wlog = plog = max_p = 0
    if said.red:
        wlog, plog = _red(said, remarks)
        max_p = int(said.probability * (1 << 32)) & U32
    return SfqQopt(
        quantum=said.quantum,
        perturb=said.perturb,
        limit=said.limit,
        divisor=said.divisor,
        flows=said.flows,
        depth=said.depth,
        headdrop=said.headdrop,
        red_limit=said.red_limit,
        qth_min=said.qth_min,
        qth_max=said.qth_max,
        wlog=wlog,
        plog=plog,
        flags=said.flags,
        max_p=max_p,
    )


def _red(said: _Said, remarks: list[str]) -> tuple[int, int]:
    """The thresholds made whole, and two logarithms: of the weight of an average, of the probability."""
    if not said.red_limit:
        raise CommandError("Required parameter (redflowlimit) is missing")
    if not said.avpkt:
        raise CommandError('Illegal "avpkt"')  # tc divides by it
    said.qth_max = said.qth_max or said.red_limit // 4
    said.qth_min = said.qth_min or said.qth_max // 3
    burst = said.burst or (2 * said.qth_min + said.qth_max & U32) // (3 * said.avpkt & U32 or 1)
    if said.qth_max > said.red_limit:
        raise CommandError('"max" is larger than "limit"')
    if said.qth_min >= said.qth_max:
        raise CommandError('"min" is not smaller than "max"')
    wlog = _ewma(said, burst)
    if wlog >= _LARGE_WLOG:
        remarks.append(f"SFQ: WARNING. Burst {burst} seems to be too large.")
    probability = said.probability / (said.qth_max - said.qth_min)
    for plog in range(32):
        if probability > 1.0:
            return wlog, plog
        probability *= 2
    raise CommandError("SFQ: failed to calculate probability.")


def _ewma(said: _Said, burst: int) -> int:
    """tc_red_eval_ewma()."""
    failed = "SFQ: failed to calculate EWMA constant."
    wanted = burst + 1 - said.qth_min / said.avpkt
    if wanted < 1.0:
        least = 1 + said.qth_min // said.avpkt
        raise CommandError(f"tc_red_eval_ewma() burst {burst} is too small ? Try burst {least}\n{failed}")
    weight = 0.5
    for wlog in range(1, 32):
        if wanted <= (1 - (1 - weight) ** burst) / weight:
            return wlog
        weight /= 2
    raise CommandError(failed)


def show(kind: str, out: Printer, options: Attr, view: Options) -> None:
    """sfq_print_opt()."""
    if len(options.payload) < SFQ_QOPT_LEN:
        return
    qopt = SfqQopt.decode(options.payload)
    out.both("limit", f"limit {qopt.limit}p ", qopt.limit)
    out.both("quantum", f"quantum {format_size(qopt.quantum)} ", qopt.quantum)
    if qopt.depth:
        out.both("depth", f"depth {qopt.depth} ", qopt.depth)
    if qopt.headdrop:
        out.both("headdrop", "headdrop ", True)
    if view.details:
        out.both("flows", f"flows {qopt.flows} ", qopt.flows)
    out.both("divisor", f"divisor {qopt.divisor} ", qopt.divisor)
    if qopt.perturb:
        out.both("perturb", f"perturb {qopt.perturb}sec ", qopt.perturb)
    if qopt.qth_min:
        _show_red(out, qopt, view)


def _show_red(out: Printer, qopt: SfqQopt, view: Options) -> None:
    out.both("ewma", f"ewma {qopt.wlog} ", qopt.wlog)
    out.both("min", f"min {format_size(qopt.qth_min)} ", qopt.qth_min)
    out.both("max", f"max {format_size(qopt.qth_max)} ", qopt.qth_max)
    probability = f"{qopt.max_p / (1 << 32):g}"
    out.both("probability", f"probability {probability} ", float(probability))
    for name, flag in _FLAG_NAMES:
        is_set = bool(qopt.flags & flag)
        out.both(name, f"{name} " if is_set else "", is_set)
    if view.stats:
        for names in (
            ("prob_mark", "prob_mark_head", "prob_drop"),
            ("forced_mark", "forced_mark_head", "forced_drop"),
        ):
            out.end_line()
            out.say(" ")
            for name in names:
                out.both(name, f" {name} 0", 0)


def show_xstats(kind: str, out: Printer, xstats: Attr, view: Options) -> None:
    """sfq_print_xstats()."""
    if len(xstats.payload) >= _ALLOT.size:
        (allot,) = _ALLOT.unpack_from(xstats.payload)
        out.both("allot", f"  allot {allot}", allot)
