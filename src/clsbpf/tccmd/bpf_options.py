"""The options of `filter … bpf`: words to the attributes inside TCA_OPTIONS (tc/f_bpf.c, lib/bpf_legacy.c).

A program comes in one of four modes; `run` before the mode may be left out, and any word that is no
option is taken for a mode as long as there is none yet.  The attributes stand in the order that tc
gives them: what the words say as they come (classid, actions), then the program, then the flags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..bpf.bytecode import parse_bytecode
from ..bpf.classic import SockFilter, encode_ops
from ..errors import BytecodeError, ClsbpfError
from ..netlink import attr as nla
from ..netlink.attr import Attr
from ..netlink.schema import TCA_BPF_FLAG_ACT_DIRECT, ClsFlag, TcaBpf
from . import usage
from .actions import parse_actions
from .errors import CommandError, UnsupportedKind, duplicate
from .ids import parse_classid
from .request import Lookups, ObjectSource
from .words import Words, matches, matches_any

DEFAULT_SECTION = "classifier"

_UNPARSABLE = "Unable to parse bpf command line"
_UNLOADABLE = "Unable to load program"


@dataclass(frozen=True, slots=True)
class _Bytecode:
    """The mode `bytecode` or `bytecode-file`."""

    insns: tuple[SockFilter, ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The mode `object-pinned`: it is opened while the words are read."""

    source: ObjectSource
    fd: int


_Program = _Bytecode | ObjectSource | _Loaded


def parse_bpf_options(words: Words, lookups: Lookups, ifindex: int) -> list[Attr] | None:
    """bpf_parse_opt(): the attributes of TCA_OPTIONS; None when there are no words, hence no TCA_OPTIONS.

    `ifindex` is the filter's device, for a program that is to be offloaded.
    """
    if not words:
        return None
    attrs: list[Attr] = []
    program: _Program | None = None
    flags = 0
    gen_flags = ClsFlag(0)
    while words:
        word = words.current
        if matches(word, "run"):
            words.next()
            if program is not None:
                duplicate("run", words.current)
            program = _parse_program(words, lookups)
        elif matches_any(word, "classid", "flowid"):
            classid = parse_classid(words.next())
            if classid is None:
                raise CommandError('Illegal "classid"', word=words.current)
            attrs.append(nla.u32(TcaBpf.CLASSID, classid))
            words.skip()
        elif matches_any(word, "direct-action", "da"):
            flags |= TCA_BPF_FLAG_ACT_DIRECT
            words.skip()
        elif matches(word, "skip_hw"):
            gen_flags |= ClsFlag.SKIP_HW
            words.skip()
        elif matches(word, "skip_sw"):
            gen_flags |= ClsFlag.SKIP_SW
            words.skip()
        elif matches(word, "action"):
            words.next()
            attrs.append(nla.nest(TcaBpf.ACT, parse_actions(words, lookups)))
        elif matches(word, "police"):
            words.next()
            raise UnsupportedKind("action", "police", "gact, mirred")
        elif matches(word, "help"):
            raise CommandError("", word=word, usage=usage.BPF)
        elif program is None:
            program = _parse_program(words, lookups)
        else:
            raise CommandError(f'What is "{word}"?', word=word, usage=usage.BPF)

    # No program is a classic one without instructions, which the kernel refuses: tc's mode 0 is bytecode.
    offloaded = ifindex if gen_flags & ClsFlag.SKIP_SW else 0
    attrs += _program_attrs(program or _Bytecode(()), lookups, offloaded)
    if gen_flags:
        attrs.append(nla.u32(TcaBpf.FLAGS_GEN, gen_flags))
    if flags:
        attrs.append(nla.u32(TcaBpf.FLAGS, flags))
    return attrs


# -- The program: bpf_do_parse() reads the words, bpf_load_common() makes the attributes


def _parse_program(words: Words, lookups: Lookups) -> _Program:
    word = words.current
    for prefixes, exact, parse in _MODES:
        if matches_any(word, *prefixes) or word == exact:
            words.next()
            return parse(words, lookups)
    raise CommandError(f'What mode is "{word}"?\n{_UNPARSABLE}', word=word)


def _parse_bytecode(words: Words, lookups: Lookups) -> _Program:
    return _Bytecode(_read_bytecode(words.take(), newlines=False))


def _parse_bytecode_file(words: Words, lookups: Lookups) -> _Program:
    path = words.take()
    try:
        text = lookups.read_file(path)
    except OSError as error:
        raise CommandError(f"Cannot fopen: {error.strerror or error}\n{_UNPARSABLE}", word=path) from None
    except UnicodeDecodeError:
        raise CommandError(f"{path}: not a text file\n{_UNPARSABLE}", word=path) from None
    return _Bytecode(_read_bytecode(text, newlines=True, word=path))


def _read_bytecode(text: str, *, newlines: bool, word: str | None = None) -> tuple[SockFilter, ...]:
    try:
        return parse_bytecode(text, newlines=newlines)
    except BytecodeError as error:
        raise CommandError(f"{error}\n{_UNPARSABLE}", word=text if word is None else word) from None


def _parse_object(words: Words, lookups: Lookups) -> _Program:
    return _object_source(words, lookups, pinned=False)


def _parse_pinned(words: Words, lookups: Lookups) -> _Program:
    source = _object_source(words, lookups, pinned=True)
    return _Loaded(source, _load(source, lookups, _UNPARSABLE))


def _object_source(words: Words, lookups: Lookups, *, pinned: bool) -> ObjectSource:
    """The path and what may follow it, in this order only."""
    path = words.take()
    section, program = DEFAULT_SECTION, None
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
    return ObjectSource(path, pinned, section, program, export, verbose)


_MODES: tuple[tuple[tuple[str, ...], str | None, Callable[[Words, Lookups], _Program]], ...] = (
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


def _program_attrs(program: _Program, lookups: Lookups, ifindex: int) -> list[Attr]:
    match program:
        case _Bytecode(insns):
            return [
                nla.u16(TcaBpf.OPS_LEN, len(insns)),
                nla.binary(TcaBpf.OPS, encode_ops(insns)),
            ]
        case _Loaded(source, fd):
            pass
        case ObjectSource() as source:
            fd = _load(replace(source, ifindex=ifindex), lookups, _UNLOADABLE)
    return [nla.u32(TcaBpf.FD, fd), nla.string(TcaBpf.NAME, source.annotation)]
