"""CO-RE: the number of a relocation, written into its instruction.

r1 = 8, r1 += 8          the immediate
r1 = 8 ll                both halves of it
r1 = *(u32 *)(r2 +8)     the offset; and how many bytes, where the kernel's field is wider or narrower
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ..bpf.insn import INSN_BYTES, Insn, s32
from ..bpf.isa import SIZE_BYTES, Class, Jmp, K, Size, class_of, mode_of, size_of, src_of
from ..errors import ObjectError
from .btf import Btf
from .btf_ext import BtfExt, CoreRecord
from .core import Answer, CoreKind, CoreResolver, Resolved, local_spec
from .functions import Function, Functions

POISON = 0xBAD2310
"""The helper that does not exist which libbpf has a poisoned instruction call ("bad relo")."""

_SIZES = {size: code for code, size in SIZE_BYTES.items()}


def patch(insns: Sequence[Insn], at: int, resolved: Resolved) -> tuple[dict[int, Insn], str | None]:
    """bpf_core_patch_insn(): the instructions that change, and why they are poisoned, if they are.

    ObjectError when the instruction is not what the compiler said it to be.
    """
    insn = insns[at]
    before, after = resolved.before, resolved.after
    if resolved.poison is not None:
        return _poisoned(insns, at), resolved.poison
    match class_of(insn.code):
        case Class.ALU | Class.ALU64:
            if src_of(insn.code) != K:
                raise ObjectError(f"{resolved.what}: the instruction has no immediate")
            if before.certain and s32(before.value) != insn.imm:
                raise ObjectError(f"{resolved.what}: the instruction has {insn.imm}, not {before.value}")
            return {at: replace(insn, imm=s32(after.value))}, None
        case Class.LDX | Class.ST | Class.STX:
            return _patch_access(insns, at, resolved)
        case Class.LD if insn.is_ld_imm64 and not insn.src and at + 1 < len(insns):
            second = insns[at + 1]
            value = insn.imm_u32 | second.imm_u32 << 32
            if before.certain and value != before.value:
                raise ObjectError(f"{resolved.what}: the instruction has {value}, not {before.value}")
            return {
                at: replace(insn, imm=s32(after.value)),
                at + 1: replace(second, imm=s32(after.value >> 32)),
            }, None
        case _:
            raise ObjectError(f"{resolved.what}: an instruction without a place for it")


def _patch_access(insns: Sequence[Insn], at: int, resolved: Resolved) -> tuple[dict[int, Insn], str | None]:
    insn = insns[at]
    before, after = resolved.before, resolved.after
    if before.certain and insn.off != before.value:
        raise ObjectError(f"{resolved.what}: the instruction has offset {insn.off}, not {before.value}")
    if after.value > 0x7FFF:
        raise ObjectError(f"{resolved.what}: its offset {after.value} does not fit an instruction")
    if resolved.sizes_differ:
        why = f"{resolved.what} has {after.size} bytes in the kernel, {before.size} in the program"
        return _poisoned(insns, at), why
    code = insn.code
    if before.size != after.size:
        moved = SIZE_BYTES[Size(size_of(code))]
        if moved != before.size or after.size not in _SIZES:
            raise ObjectError(
                f"{resolved.what}: moves {moved} bytes of {before.size}; the kernel's field has {after.size}"
            )
        code = mode_of(code) | _SIZES[after.size] | class_of(code)
    return {at: replace(insn, code=code, off=after.value)}, None


def _poisoned(insns: Sequence[Insn], at: int) -> dict[int, Insn]:
    bad = Insn(Class.JMP | Jmp.CALL, imm=POISON)
    return {at: bad, at + 1: bad} if insns[at].is_ld_imm64 and at + 1 < len(insns) else {at: bad}


@dataclass(slots=True)
class Patches:
    """What CO-RE changes in one function: its new instructions, those poisoned and why, what is wrong.

    `count` is how many relocations it has.
    """

    insns: dict[int, Insn] = field(default_factory=dict)
    poison: dict[int, str] = field(default_factory=dict)
    count: int = 0
    problem: str | None = None


def find_patches(
    functions: Functions, btf: Btf, ext: BtfExt, kernel: Callable[[], Btf | None]
) -> dict[Function, Patches]:
    """bpf_object__relocate_core(): the functions that have relocations.  `kernel` is asked if it must be."""
    found: dict[Function, Patches] = {}
    target: Btf | None = None
    asked = False
    resolver: CoreResolver | None = None
    sections = {each[0].section.name: index for index, each in functions.by_section.items() if each}
    for section, records in ext.core.items():
        for record in records:
            function = functions.holding(sections.get(section, -1), record.offset // INSN_BYTES)
            if function is None:
                raise ObjectError(
                    f"{btf.where}: a CO-RE relocation at byte {record.offset} of section {section!r}, "
                    "where no instruction is"
                )
            patches = found.setdefault(function, Patches())
            patches.count += 1
            if record.kind != CoreKind.TYPE_ID_LOCAL and not asked:
                target, asked = kernel(), True
                resolver = CoreResolver(btf, target) if target else None
            try:
                _add(patches, function, record, btf, resolver)
            except ObjectError as error:
                at = record.offset // INSN_BYTES - function.start
                patches.problem = patches.problem or f"function {function.name!r}, instruction {at}: {error}"
    return found


def _add(
    patches: Patches, function: Function, record: CoreRecord, btf: Btf, resolver: CoreResolver | None
) -> None:
    access = btf.string(record.access)
    if record.kind == CoreKind.TYPE_ID_LOCAL:
        local = local_spec(btf, record.kind, record.type, access)
        own = Answer(record.type, certain=False)
        resolved = Resolved(str(local), own, own)
    elif resolver is None:
        local = local_spec(btf, record.kind, record.type, access)
        raise ObjectError(
            f"{local} must be looked up in the kernel's BTF (CO-RE), and there is none: "
            "name a file with it (--btf)"
        )
    else:
        resolved = resolver.resolve(record.kind, record.type, access)
    at = record.offset // INSN_BYTES - function.start
    insns, poison = patch(function.insns, at, resolved)
    patches.insns.update(insns)
    if poison is not None:
        patches.poison.update(dict.fromkeys(insns, poison))
