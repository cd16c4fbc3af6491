"""What the compiler leaves open in BTF, because only the symbols say it: where variables lie, what is hidden.

clang writes a DATASEC (the variables of a section) with size 0 and every offset 0.  The section's size
is in its header and each variable's offset in its symbol, so they are filled in here, as libbpf does
before it gives the BTF to a kernel, which refuses them as they are.  A function that is global but hidden
becomes a static one: a verifier then knows its callers, and need not judge it alone.
"""

from __future__ import annotations

import struct

from .btf import Btf, Datasec, Kind, Linkage
from .elf import Elf

_WORD = struct.Struct("<I")
_HEAD = 12
"""struct btf_type; its size is the last word of it."""


def fixed_up(btf: Btf, elf: Elf) -> Btf:
    """btf_finalize_data(), bpf_program_fixup_func_info(): the BTF with what the symbols add to it."""
    raw = bytearray(btf.raw)
    places = {
        (elf.sections[s.section].name, s.name): s.value
        for s in elf.symbols
        if 0 < s.section < len(elf.sections) and s.name
    }
    sizes = {section.name: section.size for section in elf.sections}
    changed = False
    hidden = {s.name for s in elf.symbols if s.is_hidden and s.is_global and s.section}
    for id in range(1, len(btf)):
        if hidden and btf.kind(id) is Kind.FUNC and btf.name(id) in hidden:
            _WORD.pack_into(raw, btf.start(id) + 4, Kind.FUNC << 24 | Linkage.STATIC)
            changed = True
        if btf.kind(id) is not Kind.DATASEC:
            continue
        datasec = btf[id]
        if isinstance(datasec, Datasec) and sizes.get(datasec.name) and not datasec.size:
            _fill(raw, btf, datasec, sizes[datasec.name], places)
            changed = True
    return Btf(bytes(raw), btf.where) if changed else btf


def _fill(raw: bytearray, btf: Btf, datasec: Datasec, size: int, places: dict[tuple[str, str], int]) -> None:
    at = btf.start(datasec.id)
    _WORD.pack_into(raw, at + _HEAD - 4, size & 0xFFFFFFFF)
    rows = []
    for each in datasec.variables:
        offset = places.get((datasec.name, btf.name(each.type)), each.offset)
        rows.append((offset & 0xFFFFFFFF, each.type, each.size))
    rows.sort()
    for n, (offset, type, width) in enumerate(rows):
        struct.pack_into("<III", raw, at + _HEAD + n * 12, type, offset, width)
