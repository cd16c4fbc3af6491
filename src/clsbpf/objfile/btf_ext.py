"""`.BTF.ext`: what the compiler says of instructions: functions, source lines, CO-RE relocations.

    header │ func_info │ line_info │ core_relo;  each: record size, then by ELF section: name, count, records

Instructions are named by their section and their offset in it; libbpf ignores the ELF relocations of
this section, and so does this reader.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import ObjectError
from .btf import MAGIC, Btf

_HEADER = struct.Struct("<HBBIIIII")
_CORE = struct.Struct("<II")
_SECTION = struct.Struct("<II")

MAX_RECORDS = 500_000


@dataclass(frozen=True, slots=True)
class FuncRecord:
    """struct bpf_func_info: at byte `offset` the function of the BTF FUNC `type` begins."""

    offset: int
    type: int


@dataclass(frozen=True, slots=True)
class LineRecord:
    """struct bpf_line_info: offsets of strings; line and column share a word."""

    offset: int
    file: int
    text: int
    line_column: int


@dataclass(frozen=True, slots=True)
class CoreRecord:
    """struct bpf_core_relo: `access` is the offset of a string such as "0:1:2", `kind` a BPF_CORE_*."""

    offset: int
    type: int
    access: int
    kind: int


@dataclass(frozen=True, slots=True)
class BtfExt:
    """The records by section name, in the order of the file."""

    functions: Mapping[str, tuple[FuncRecord, ...]] = field(default_factory=dict)
    lines: Mapping[str, tuple[LineRecord, ...]] = field(default_factory=dict)
    core: Mapping[str, tuple[CoreRecord, ...]] = field(default_factory=dict)


def read_btf_ext(raw: bytes, btf: Btf, where: str) -> BtfExt:
    """btf_ext__new(): ObjectError for what does not fit its own sizes."""
    if len(raw) < _HEADER.size:
        raise ObjectError(f"{where}: {len(raw)} bytes are too few for the header of .BTF.ext")
    magic, version, _, header, func_at, func_bytes, line_at, line_bytes = _HEADER.unpack_from(raw)
    if magic != MAGIC or version != 1:
        raise ObjectError(f"{where}: .BTF.ext begins with {magic:#06x} and version {version}: not known")
    if not _HEADER.size <= header <= len(raw):
        raise ObjectError(f"{where}: .BTF.ext has a header of {header} bytes in {len(raw)}")
    core_at, core_bytes = 0, 0
    if header >= _HEADER.size + _CORE.size:
        core_at, core_bytes = _CORE.unpack_from(raw, _HEADER.size)
    body = raw[header:]

    def records(what: str, at: int, size: int, form: str) -> dict[str, list[tuple[int, ...]]]:
        found: dict[str, list[tuple[int, ...]]] = {}
        for section, record in _records(body, at, size, form, btf, f"{where}: {what} of .BTF.ext"):
            found.setdefault(section, []).append(record)
        return found

    functions = records("func_info", func_at, func_bytes, "<II")
    lines = records("line_info", line_at, line_bytes, "<IIII")
    core = records("core_relo", core_at, core_bytes, "<IIII")
    return BtfExt(
        {name: tuple(FuncRecord(*row) for row in rows) for name, rows in functions.items()},
        {name: tuple(LineRecord(*row) for row in rows) for name, rows in lines.items()},
        {name: tuple(CoreRecord(*row) for row in rows) for name, rows in core.items()},
    )


def _records(
    body: bytes, at: int, size: int, form: str, btf: Btf, where: str
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """btf_ext_parse_sec_info(): (section name, fields) of each record."""
    if not size:
        return
    end = at + size
    least = struct.calcsize(form)
    if end > len(body) or size < 4:
        raise ObjectError(f"{where}: {size} bytes at {at} do not fit the {len(body)} that there are")
    step = int.from_bytes(body[at : at + 4], "little")
    if step < least or step % 4:
        raise ObjectError(f"{where}: records of {step} bytes; they have at least {least}, in steps of 4")
    at += 4
    total = 0
    while at < end:
        if at + _SECTION.size > end:
            raise ObjectError(f"{where}: cut inside of a section's header")
        name, count = _SECTION.unpack_from(body, at)
        at += _SECTION.size
        if at + count * step > end:
            raise ObjectError(f"{where}: {count} records of {step} bytes do not fit the {end - at} left")
        total += count + 1
        if total > MAX_RECORDS:
            raise ObjectError(f"{where}: more than {MAX_RECORDS} records")
        section = btf.string(name)
        for each in range(at, at + count * step, step):
            yield section, struct.unpack_from(form, body, each)
        at += count * step
