"""A BPF program in words: the four modes that filters and actions share (lib/bpf_legacy.c).

Bytecode stands in the line or in a file; an object is a file with sections, or a program that is pinned
in the BPF file system already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..bpf.bytecode import parse_bytecode
from ..bpf.classic import OP_BYTES, SockFilter, decode_ops, encode_ops
from ..bpf.spec import SCHED_ACT, SCHED_CLS
from ..errors import BytecodeError, ClsbpfError
from ..netlink import attr as nla
from ..netlink.attr import Attr
from .errors import CommandError
from .printer import Printer
from .request import Lookups, ObjectSource
from .words import Words, matches_any

UNPARSABLE = "Unable to parse bpf command line"
_UNLOADABLE = "Unable to load program"


@dataclass(frozen=True, slots=True)
class Bytecode:
    """The mode `bytecode` or `bytecode-file`."""

    insns: tuple[SockFilter, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The mode `object-pinned`: it is opened while the words are read."""

    source: ObjectSource
    fd: int


Program = Bytecode | ObjectSource | Loaded


DEFAULT_SECTIONS = {SCHED_CLS: "classifier", SCHED_ACT: "action"}
"""Which section of an object is meant, if none is named."""


def parse_program(words: Words, lookups: Lookups, type: str) -> Program:
    """bpf_do_parse(): a mode and what belongs to it, for a program that is loaded as `type`."""
    word = words.current
    for prefixes, exact, parse in _MODES:
        if matches_any(word, *prefixes) or word == exact:
            words.next()
            return parse(words, lookups, type)
    raise CommandError(f'What mode is "{word}"?\n{UNPARSABLE}', word=word)


def _parse_bytecode(words: Words, lookups: Lookups, type: str) -> Program:
    return Bytecode(_read_bytecode(words.take(), newlines=False))


def _parse_bytecode_file(words: Words, lookups: Lookups, type: str) -> Program:
    path = words.take()
    try:
        text = lookups.read_file(path)
    except OSError as error:
        raise CommandError(f"Cannot fopen: {error.strerror or error}\n{UNPARSABLE}", word=path) from None
    except UnicodeDecodeError:
        raise CommandError(f"{path}: not a text file\n{UNPARSABLE}", word=path) from None
    return Bytecode(_read_bytecode(text, newlines=True, word=path))


def _read_bytecode(text: str, *, newlines: bool, word: str | None = None) -> tuple[SockFilter, ...]:
    try:
        return parse_bytecode(text, newlines=newlines)
    except BytecodeError as error:
        raise CommandError(f"{error}\n{UNPARSABLE}", word=text if word is None else word) from None


def _parse_object(words: Words, lookups: Lookups, type: str) -> Program:
    return _object_source(words, lookups, type, pinned=False)


def _parse_pinned(words: Words, lookups: Lookups, type: str) -> Program:
    source = _object_source(words, lookups, type, pinned=True)
    return Loaded(source, _load(source, lookups, UNPARSABLE))


def _object_source(words: Words, lookups: Lookups, type: str, *, pinned: bool) -> ObjectSource:
    """The path and what may follow it, in this order only."""
    path = words.take()
    section, program = DEFAULT_SECTIONS[type], None
    if words.at_prefix_of("section"):
        section = words.next()
        words.skip()
    if words.at("program"):
        program = words.next()
        words.skip()
    export = lookups.environ.get("TC_BPF_UDS")
    if export is None and words.at_prefix_of("export"):
        export = words.next()
        words.skip()
    verbose = words.at_prefix_of("verbose")
    if verbose:
        words.skip()
    return ObjectSource(path, pinned, section, program, export, verbose, type=type)


_MODES: tuple[tuple[tuple[str, ...], str | None, Callable[[Words, Lookups, str], Program]], ...] = (
    (("bytecode",), "bc", _parse_bytecode),
    (("bytecode-file",), "bcf", _parse_bytecode_file),
    (("object-file",), "obj", _parse_object),
    (("object-pinned", "pinned", "fd"), None, _parse_pinned),
)
"""In tc's order: what matches by prefix, what matches exactly, and how the rest is read."""


def _load(source: ObjectSource, lookups: Lookups, complaint: str) -> int:
    if lookups.load_object is None:
        raise CommandError(
            f"{source.path}: eBPF programs from files cannot be loaded yet (bytecode and bytecode-file can)"
            f"\n{complaint}",
            word=source.path,
        )
    try:
        return lookups.load_object(source)
    except CommandError:
        raise
    except ClsbpfError as error:
        raise CommandError(f"{error}\n{complaint}", errno=error.errno, word=source.path) from error


def program_attrs(
    program: Program, lookups: Lookups, numbers: tuple[int, int, int, int], ifindex: int = 0
) -> list[Attr]:
    """bpf_load_common(): the attributes, whose `numbers` are OPS_LEN, OPS, FD, NAME.

    `ifindex` is the device that a program is to be offloaded to, else 0.
    """
    ops_len, ops, fd_number, name = numbers
    match program:
        case Bytecode(insns):
            return [
                nla.u16(ops_len, len(insns)),
                nla.binary(ops, encode_ops(insns)),
            ]
        case Loaded(source, fd):
            pass
        case ObjectSource() as source:
            fd = _load(replace(source, ifindex=ifindex), lookups, _UNLOADABLE)
    return [nla.u32(fd_number, fd), nla.string(name, source.annotation)]


# -- Rows


def show_ops(out: Printer, ops: bytes, count: int) -> None:
    """bpf_print_ops(): the text that `bytecode` takes."""
    if count == 0:
        return
    insns = decode_ops(ops[: min(count * OP_BYTES, len(ops) // OP_BYTES * OP_BYTES)])
    with out.object("bytecode"):
        out.both("length", f"bytecode '{count},", count)
        with out.array("insns"):
            for index, insn in enumerate(insns):
                with out.object():
                    out.both("code", f"{insn.code} ", insn.code)
                    out.both("jt", f"{insn.jt} ", insn.jt)
                    out.both("jf", f"{insn.jf} ", insn.jf)
                    out.both("k", f"{insn.k}" + ("'" if index == count - 1 else ","), insn.k)
