"""What `clsbpf prog` tells of an object: as JSON, as text, and as the instructions of its programs.

Names come from a file that may be hostile: they are shown without control characters.

A dump can be assembled again.  A line is what `bpftool prog dump xlated` prints, number, opcode and text;
what a number refers to (a map, a function) is behind it in a comment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ..bpf.disasm import disassemble
from ..bpf.helpers import BY_NUMBER
from ..bpf.insn import Insn
from ..bpf.isa import PSEUDO_CALL, PSEUDO_KFUNC_CALL, Class, Jmp, Mode, Pseudo, class_of, mode_of
from ..bpf.maps import MapFlag
from ..bpf.spec import PIN_BY_NAME, PIN_GLOBAL_NS, MapRef, MapSpec, ObjectSpec, ProgramRef, ProgramSpec
from ..bpf.spec import VariableSpec as Variable
from ..bpf.tag import program_tag
from ..errors import ObjectError
from ..objfile.btf import TypeRef
from ..objfile.btf_text import dump, type_name
from ..vm.link import call_refusal

_CALL = Class.JMP | Jmp.CALL
_PINNING = {PIN_BY_NAME: "by name", PIN_GLOBAL_NS: "globally"}

Described = dict[str, Any]


def describe(spec: ObjectSpec) -> Described:
    """All that is told of an object, as JSON has it."""
    return {
        "object": spec.name,
        "license": spec.license,
        "version": spec.version,
        "btf": None if spec.btf is None else {"types": len(spec.btf) - 1},
        "settings": list(spec.settings),
        "missing": list(spec.missing),
        "programs": [_program(program) for program in spec.programs.values()],
        "maps": [_map(each) for each in spec.maps.values()],
        "variables": [_variable(each) for each in spec.variables.values()],
    }


def _program(program: ProgramSpec) -> Described:
    return {
        "name": program.name,
        "section": program.section,
        "type": program.type,
        "instructions": len(program.insns),
        "tag": program_tag(program.insns).hex(),
        "functions": [function.name for function in program.func_info],
        "helpers": helpers_of(program),
        "kfuncs": list(program.kfuncs),
        "maps": [each.name for each in program.maps.values()],
        "packet_loads": any(
            class_of(i.code) == Class.LD and mode_of(i.code) in (Mode.ABS, Mode.IND) for i in program.insns
        ),
        "lines": bool(program.line_info),
        "core_relocations": program.core_relocations,
        "refused": refused_calls(program),
        "poisoned": [{"instruction": at, "reason": why} for at, why in sorted(program.poison.items())],
        "problem": program.problem,
    }


def helpers_of(program: ProgramSpec) -> list[str]:
    """The helpers that it calls, each once, in the order of their numbers; `#N` for one without a name."""
    numbers = {
        insn.imm
        for at, insn in enumerate(program.insns)
        if insn.code == _CALL and not insn.src and at not in program.poison
    }
    return [BY_NUMBER[number].name if number in BY_NUMBER else f"#{number}" for number in sorted(numbers)]


def refused_calls(program: ProgramSpec) -> list[str]:
    """The calls of what is not there when it runs here, in words, each once."""
    calls = (
        call_refusal(insn, program.kfuncs)
        for at, insn in enumerate(program.insns)
        if insn.code == _CALL and at not in program.poison
    )
    return list(dict.fromkeys(reason for reason in calls if reason is not None))


def _map(spec: MapSpec) -> Described:
    return {
        "name": spec.name,
        "type": spec.type_name,
        "key_size": spec.key_size,
        "value_size": spec.value_size,
        "max_entries": spec.max_entries,
        "flags": [flag.name.lower() for flag in MapFlag if flag.name and spec.flags & flag],
        "key": _type(spec.key_type),
        "value": _type(spec.value_type),
        "pinning": _PINNING.get(spec.pinning, str(spec.pinning)) if spec.pinning else None,
        "id": spec.id or None,
        "inner": None if spec.inner is None else _map(spec.inner),
        "holds": {
            str(int.from_bytes(key, "little")): value.name
            for key, value in spec.contents
            if isinstance(value, ProgramRef | MapRef)
        },
    }


def _variable(variable: Variable) -> Described:
    return {
        "name": variable.name,
        "section": variable.map,
        "offset": variable.offset,
        "size": variable.size,
        "type": _type(variable.type),
    }


def _type(type: object) -> str | None:
    return type_name(type.btf, type.id) if isinstance(type, TypeRef) else None


def as_json(described: Described) -> str:
    """One JSON object, on one line."""
    return json.dumps(described)


def as_text(described: Described) -> str:
    """The same for people."""
    return "\n".join(printable(line) for line in _text(described))


def _text(described: Described) -> Iterator[str]:
    btf = described["btf"]
    yield (
        f"{described['object']}: license {described['license'] or 'none'}, "
        + (f"BTF with {btf['types']} types" if btf else "no BTF")
    )
    if described["settings"]:
        yield f"  asks for the kernel's settings {', '.join(described['settings'])}"
    if described["missing"]:
        yield f"  is content without {', '.join(described['missing'])}"
    yield from _heading("programs", described["programs"])
    for each in described["programs"]:
        yield from _program_lines(each)
    yield from _heading("maps", described["maps"])
    for each in described["maps"]:
        yield f"  {_map_line(each)}"
        if each["inner"]:
            yield f"      each like {_map_line(each['inner'])}"
        if each["holds"]:
            yield f"      holds {', '.join(f'[{key}] {name}' for key, name in each['holds'].items())}"
    yield from _heading("variables", described["variables"])
    for each in described["variables"]:
        place = f"{each['section']}+{each['offset']}"
        yield f"  {each['name']}  {each['type'] or '?'}, {each['size']} bytes at {place}"


def _heading(title: str, rows: Sequence[Described]) -> Iterator[str]:
    if rows:
        yield ""
        yield f"{title}:"


def _program_lines(program: Described) -> Iterator[str]:
    yield (
        f"  {program['name']}  {program['type']}, section {program['section']}, "
        f"{program['instructions']} instructions, tag {program['tag']}"
    )
    lists = (
        ("calls", program["functions"][1:]),
        ("helpers", program["helpers"]),
        ("kernel functions", program["kfuncs"]),
        ("maps", program["maps"]),
    )
    for title, names in lists:
        if names:
            yield f"      {title}: {', '.join(names)}"
    if program["packet_loads"]:
        yield "      loads from the packet as classic programs do (ld_abs, ld_ind)"
    if program["core_relocations"]:
        yield f"      fits itself to the kernel's types in {program['core_relocations']} places (CO-RE)"
    for reason in program["refused"]:
        yield f"      must not call: {reason}"
    for each in program["poisoned"]:
        yield f"      must not get to instruction {each['instruction']}: {each['reason']}"
    if program["problem"]:
        yield f"      cannot be used: {program['problem']}"


def _map_line(each: Described) -> str:
    parts = [
        each["type"],
        f"key {_sized(each['key_size'], each['key'])}",
        f"value {_sized(each['value_size'], each['value'])}",
        f"{each['max_entries']} entries",
    ]
    if each["flags"]:
        parts.append(" ".join(each["flags"]))
    if each["id"]:
        parts.append(f"id {each['id']}")
    if each["pinning"]:
        parts.append(f"pinned {each['pinning']}")
    return f"{each['name']}  {', '.join(parts)}"


def _sized(size: int, type: str | None) -> str:
    return f"{size} ({type})" if type else str(size)


def printable(text: str) -> str:
    """The text with each control character spelled out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


# Dumps --------------------------------------------------------------------------------------------


def dump_btf(spec: ObjectSpec) -> Iterator[str]:
    """The object's types."""
    if spec.btf is None:
        raise ObjectError(f"{spec.name}: no section .BTF: compile with -g")
    return ("\t" * line.startswith("\t") + printable(line.lstrip("\t")) for line in dump(spec.btf))


def dump_programs(spec: ObjectSpec, name: str | None, *, source: bool = False) -> Iterator[str]:
    """The instructions of all programs, of a section's, or of one function."""
    programs = list(spec.programs.values())
    if name is not None:
        programs = list(spec.in_section(name)) or [spec.program(name)]
    for n, program in enumerate(programs):
        if n:
            yield ""
        for line in _dump(program, source):
            yield printable(line)


def _dump(program: ProgramSpec, source: bool) -> Iterator[str]:
    insns = program.insns
    begins = {function.insn: function.name for function in program.func_info}
    lines = {line.insn: line for line in program.line_info if line.line} if source else {}
    yield f"; {program.name}: {program.type}, section {program.section}, {len(insns)} instructions"
    if program.problem:
        yield f"; cannot be used: {program.problem}"
    shown = None
    at = 0
    while at < len(insns):
        if at in begins:
            yield f"{begins[at]}:"
        if (line := lines.get(at)) and (line.file, line.line) != shown:
            shown = (line.file, line.line)
            yield f"; {line.text.expandtabs(1)} @ {line.file.rpartition('/')[2]}:{line.line}"
        slots = 2 if insns[at].is_ld_imm64 and at + 1 < len(insns) else 1
        text = disassemble(insns[at : at + slots], helper_names=True).split("\n")[0]
        refers_to = _comment(program, at, insns[at], begins)
        yield f"{at:4}: ({insns[at].code:02x}) {text}" + (f"  ; {refers_to}" if refers_to else "")
        at += slots


def _comment(program: ProgramSpec, at: int, insn: Insn, begins: dict[int, str]) -> str | None:
    """What the numbers of an instruction refer to."""
    if at in program.poison:
        return program.poison[at]
    if insn.code == _CALL and insn.src == PSEUDO_KFUNC_CALL and insn.imm in range(len(program.kfuncs)):
        return program.kfuncs[insn.imm]
    if (insn.code == _CALL and insn.src == PSEUDO_CALL) or (insn.is_ld_imm64 and insn.src == Pseudo.FUNC):
        return begins.get(at + insn.imm + 1)
    if insn.is_ld_imm64 and insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE) and insn.imm in program.maps:
        return program.maps[insn.imm].name
    return None
