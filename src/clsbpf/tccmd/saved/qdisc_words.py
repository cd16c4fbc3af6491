"""The options of qdiscs and classes in tc's words: what `tccmd.qdiscs` reads, the other way round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum

from ...netlink.attr import Attr
from ...netlink.codel import TcaCodel, TcaFqCodel
from ...netlink.qdisc import (
    HtbGlob,
    HtbOpt,
    LinkLayer,
    RateSpec,
    SizeSpec,
    TbfQopt,
    TcaHtb,
    TcaStab,
    TcaTbf,
    decode_fifo,
    decode_prio,
)
from ...netlink.sfq import SfqQopt
from ..rates import bucket_size, format_linklayer, transmit_size, transmit_ticks
from .action_words import Unsayable, by_type

_NEAR = 256


def _htb(options: Attr) -> Iterator[str]:
    attrs = by_type(options.attrs())
    glob = HtbGlob.decode(attrs[TcaHtb.INIT].payload)
    yield from ("default", f"{glob.defcls:x}", "r2q", str(glob.rate2quantum))
    if TcaHtb.DIRECT_QLEN in attrs:
        yield from ("direct_qlen", str(attrs[TcaHtb.DIRECT_QLEN].u32))
    if TcaHtb.OFFLOAD in attrs:
        yield "offload"


def _htb_class(options: Attr) -> Iterator[str]:
    attrs = by_type(options.attrs())
    opt = HtbOpt.decode(attrs[TcaHtb.PARMS].payload)
    yield from _rate("rate", "burst", opt.rate, attrs.get(TcaHtb.RATE64), opt.buffer)
    yield from _rate("ceil", "cburst", opt.ceil, attrs.get(TcaHtb.CEIL64), opt.cbuffer)
    yield from ("prio", str(opt.prio), "quantum", str(opt.quantum))
    yield from _framing(opt.rate)


def _rate(word: str, burst: str, spec: RateSpec, wide: Attr | None, ticks: int) -> Iterator[str]:
    rate = wide.u64 if wide is not None else spec.rate
    if not rate:
        raise Unsayable
    yield from (word, f"{rate}bps", burst, f"{_size(rate, ticks)}b")


def _size(rate: int, ticks: int) -> int:
    """How many bytes take so many ticks: tc's own way back is not exact, but near."""
    guess = transmit_size(rate, ticks)
    for distance in range(_NEAR + (rate >> 20)):
        for size in (guess + distance, guess - distance):
            if size > 0 and transmit_ticks(rate, size) == ticks:
                return size
    raise Unsayable


def _tbf(options: Attr) -> Iterator[str]:
    attrs = by_type(options.attrs())
    opt = TbfQopt.decode(attrs[TcaTbf.PARMS].payload)
    yield from _bucket("rate", "burst", opt.rate, attrs.get(TcaTbf.RATE64), opt.buffer)
    yield from ("limit", str(opt.limit))
    if opt.peakrate.rate:
        yield from _bucket("peakrate", "mtu", opt.peakrate, attrs.get(TcaTbf.PRATE64), opt.mtu)
    yield from _framing(opt.rate)


def _bucket(word: str, burst: str, spec: RateSpec, wide: Attr | None, ticks: int) -> Iterator[str]:
    """A rate, and how many bytes go at once; `rate` 0 has no words."""
    rate = wide.u64 if wide is not None else spec.rate
    size = bucket_size(rate, spec, ticks) if rate else None
    if size is None:
        raise Unsayable
    yield from (word, f"{rate}bps", burst, str(size))


def _framing(spec: RateSpec) -> Iterator[str]:
    """What the link adds to a packet."""
    if spec.mpu:
        yield from ("mpu", str(spec.mpu))
    if spec.overhead:
        yield from ("overhead", str(spec.overhead))
    if spec.linklayer == LinkLayer.ATM:
        yield from ("linklayer", "atm")


def _codel(options: Attr) -> Iterator[str]:
    yield from _codel_words(options, TcaCodel)


def _fq_codel(options: Attr) -> Iterator[str]:
    yield from _codel_words(options, TcaFqCodel)
    attrs = by_type(options.attrs())
    if TcaFqCodel.CE_THRESHOLD_MASK in attrs:
        parts = [attrs[n].u8 for n in (TcaFqCodel.CE_THRESHOLD_SELECTOR, TcaFqCodel.CE_THRESHOLD_MASK)]
        yield from ("ce_threshold_selector", f"{parts[0]}/{parts[1]}")


def _codel_words(options: Attr, numbers: type[IntEnum]) -> Iterator[str]:
    for number, attr in by_type(options.attrs()).items():
        name = numbers(number).name.lower().removesuffix("_size")
        if name == "ecn":
            yield "ecn" if attr.u32 else "noecn"
        elif not name.startswith("ce_threshold_"):
            yield from (name, str(attr.u32))


def _sfq(options: Attr) -> Iterator[str]:
    qopt = SfqQopt.decode(options.payload)
    if qopt.qth_min or qopt.flags:
        raise Unsayable  # tc makes RED's numbers of others
    for name in ("limit", "quantum", "perturb", "divisor", "flows", "depth"):
        value = getattr(qopt, name)
        if value:
            yield from (name, str(value))
    if qopt.headdrop:
        yield "headdrop"


def _prio(options: Attr) -> Iterator[str]:
    bands, priomap = decode_prio(options.payload)
    yield from ("bands", str(bands), "priomap", *(str(band) for band in priomap))


def _fifo(options: Attr) -> Iterator[str]:
    yield from ("limit", str(decode_fifo(options.payload)))


def size_table(stab: Attr) -> Iterator[str]:
    """The words of TCA_STAB, which stand before the kind."""
    spec = SizeSpec.decode(by_type(stab.attrs())[TcaStab.BASE].payload)
    yield "stab"
    numbers = {"mtu": spec.mtu, "tsize": spec.tsize, "mpu": spec.mpu, "overhead": spec.overhead}
    for name, value in numbers.items():
        if value:
            yield from (name, str(value))
    if spec.linklayer:
        yield from ("linklayer", format_linklayer(spec.linklayer))


QDISCS: dict[str, Callable[[Attr], Iterator[str]]] = {
    "bfifo": _fifo,
    "codel": _codel,
    "fq_codel": _fq_codel,
    "htb": _htb,
    "pfifo": _fifo,
    "pfifo_head_drop": _fifo,
    "prio": _prio,
    "sfq": _sfq,
    "tbf": _tbf,
}
CLASSES: dict[str, Callable[[Attr], Iterator[str]]] = {"htb": _htb_class}
"""By kind."""
