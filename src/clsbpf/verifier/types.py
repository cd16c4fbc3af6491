"""What is behind a pointer to a structure?  Structures of the kernel and of the program, through BTF.

A pointer may point to a structure whose layout is known: one of the kernel's (`struct sk_buff`, in the
kernel's BTF) or one that the program itself declares and allocates (bpf_obj_new, in the object's BTF).
Loading from it gives a number, or another pointer where the member is one.  Where there is no kernel,
its structures have names but no members: a program that looks into one is then not judged.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .refusal import Refused
from .values import MAYBE_NULL, PERCPU, RCU, TRUSTED, UNTRUSTED, USER

if TYPE_CHECKING:
    from .walk import Walk


@dataclass(frozen=True, slots=True)
class Struct:
    """A structure by name: `id` in the object's BTF where `local`, else in the kernel's (0: not known)."""

    name: str
    id: int = 0
    local: bool = False

    def __str__(self) -> str:
        return self.name


@functools.cache
def kernel_btf() -> Any:
    """The BTF of the kernel that runs, or None."""
    from ..objfile.files import machine_btf

    return machine_btf()


def kernel_symbols() -> Mapping[str, int] | None:
    """The addresses of the running kernel's symbols; None where it does not tell."""
    from ..objfile.files import machine_symbols

    return machine_symbols()


def kernel_processors() -> int | None:
    """How many processors the running kernel could have; None where it does not tell."""
    from ..objfile.files import machine_processors

    return machine_processors()


@functools.cache
def kernel_struct(name: str) -> Struct:
    """A structure of the kernel's."""
    return Struct(name, _id_of(kernel_btf(), name))


def _id_of(btf: Any, name: str) -> int:
    if btf is None:
        return 0
    return next((id for id in btf.named(name) if hasattr(btf[id], "members")), 0)


def btf_of(v: Walk, struct: Struct) -> Any:
    """The BTF that describes a structure; Refused ("not-covered") where there is none."""
    btf = v.btf if struct.local else kernel_btf()
    if btf is None or not struct.id:
        raise Refused(
            "not-covered",
            f"access to struct {struct.name}: the layout of the kernel's structures is not known here",
            errno=22,
        )
    return btf


@dataclass(frozen=True, slots=True)
class Member:
    """What was found at an offset: a "number", an "address" of nothing known, a "pointer" or a "struct"."""

    kind: str
    target: int = 0
    flags: int = 0
    field: str = ""


_NUMBER = Member("number")
_TAGS = {"user": USER, "percpu": PERCPU, "rcu": RCU}


def _name(type: Any) -> str:
    return type.name or "(anon)"


def step(btf: Any, id: int, off: int, size: int) -> Member:
    """btf_struct_walk: what lies at `off` in the structure, down to a member that begins there."""
    flags = 0
    while True:
        t = btf.resolve(id)
        if not hasattr(t, "members"):
            raise Refused("type-access", f"Type '{t.name}' is not a struct", errno=22)
        if t.is_union and len(t.members) != 1:
            flags |= UNTRUSTED
        if off + size > t.size:
            inner = _flexible(btf, t, off)
            if inner is None:
                raise Refused(
                    "type-access",
                    f"access beyond struct {_name(t)} at off {off} size {size}",
                    off=off,
                    size=size,
                )
            kind, off, id = inner
            if kind == "number":
                return _NUMBER
            continue
        found = _member_at(btf, t, off, size, bool(flags & UNTRUSTED))
        if isinstance(found, Member):
            return Member(found.kind, found.target, found.flags | flags, found.field)
        id, off = found


def _flexible(btf: Any, t: Any, off: int) -> tuple[str, int, int] | None:
    """An access behind the structure: into its last member, an array without a length."""
    last = t.members[-1] if t.members else None
    if last is None:
        return None
    array = btf.resolve(last.type)
    at = last.bit_offset // 8
    if not hasattr(array, "element") or array.count or off < at:
        return None
    element = btf.resolve(array.element)
    if hasattr(element, "is_bool"):
        return "number", 0, 0
    if not hasattr(element, "members") or not element.size:
        return None
    return "struct", (off - at) % element.size, element.id


def _member_at(btf: Any, t: Any, off: int, size: int, loose: bool) -> Member | tuple[int, int]:
    """A member found, or (structure, offset in it) where to look further.

    Of a number, bytes behind its end (or its array's) may be read only where the walk came through a
    union (`loose`).
    """
    for member in t.members:
        at = member.bit_offset // 8
        if off + size <= at:
            break
        if member.bit_size:
            if off <= at and (member.bit_offset + member.bit_size + 7) // 8 <= off + size:
                return _NUMBER
            continue
        if off < at:
            break
        whole = btf.size_of(member.type)
        if off >= at + whole:
            continue
        id, kind = member.type, btf.resolve(member.type)
        while hasattr(kind, "element"):
            each = btf.size_of(kind.element)
            at += (off - at) // each * each
            id = kind.element
            kind = btf.resolve(id)
        if hasattr(kind, "members"):
            return Member("struct", kind.id) if off == at else (kind.id, off - at)
        length, end = btf.size_of(id), member.bit_offset // 8 + whole
        if type(kind).__name__ == "Ptr":
            if length != size or off != at:
                raise Refused(
                    "type-access",
                    f"cannot access ptr member {member.name} with moff {at} in struct {_name(t)}"
                    f" with off {off} size {size}",
                    off=off,
                    size=size,
                )
            return _pointer(btf, kind, member.name)
        if off + size > end and not loose:
            raise Refused(
                "type-access",
                f"access beyond the end of member {member.name} (mend:{end}) in struct {_name(t)}"
                f" with off {off} size {size}",
                off=off,
                size=size,
            )
        return _NUMBER
    raise Refused(
        "type-access", f"struct {_name(t)} doesn't have field at offset {off}", errno=22, off=off, size=size
    )


def _pointer(btf: Any, pointer: Any, field: str) -> Member:
    flags = 0
    if pointer.target:
        tag = btf[pointer.target]
        if getattr(tag, "kind", None) is not None and tag.kind.name == "TYPE_TAG":
            flags = _TAGS.get(tag.name, 0)
        target = btf.resolve(pointer.target)
        if hasattr(target, "members"):
            return Member("pointer", target.id, flags, field)
    return Member("address", field=field)


def at_offset(btf: Any, id: int, off: int, size: int) -> Member:
    """btf_struct_access: what a load of `size` bytes at `off` gives, in nested structures too."""
    flags = 0
    for _ in range(64):
        found = step(btf, id, off, size)
        flags |= found.flags
        if found.kind != "struct":
            return Member(found.kind, found.target, flags, found.field)
        id, off = found.target, 0
    raise Refused("type-access", "structures nested too deep", errno=22, off=off, size=size)


def is_or_begins_with(v: Walk, have: Struct, off: int, want: Struct, *, strict: bool) -> bool:
    """btf_struct_ids_match: is it the structure that is wanted, or does that lie in it at this offset?"""
    same = have == want or (have.name == want.name and have.local == want.local and not (have.id and want.id))
    if not off and same:
        return True
    if strict or have.local != want.local:
        return False
    btf = v.btf if have.local else kernel_btf()
    if btf is None or not have.id:
        return False
    id = have.id
    for _ in range(64):
        try:
            found = step(btf, id, off, 1)
        except Refused:
            return False
        if found.kind != "struct":
            return False
        if found.target == want.id:
            return True
        id, off = found.target, 0
    return False


# Which pointers in structures are as good as the pointer to the structure (BTF_TYPE_SAFE_*) ----------

_RCU_FIELDS = frozenset({
    ("task_struct", "cpus_ptr"), ("task_struct", "cgroups"), ("task_struct", "real_parent"),
    ("task_struct", "group_leader"), ("cgroup", "kn"), ("css_set", "dfl_cgrp"),
    ("cgroup_subsys_state", "cgroup"),
})  # fmt: skip
_RCU_OR_NULL_FIELDS = frozenset({("mm_struct", "exe_file"), ("sk_buff", "sk"), ("request_sock", "sk")})
_TRUSTED_FIELDS = frozenset({
    ("bpf_iter_meta", "seq"), ("bpf_iter__task", "meta"), ("bpf_iter__task", "task"),
    ("linux_binprm", "file"), ("file", "f_inode"),
})  # fmt: skip
_TRUSTED_OR_NULL_FIELDS = frozenset({
    ("socket", "sk"), ("dentry", "d_inode"), ("vm_area_struct", "vm_mm"), ("vm_area_struct", "vm_file"),
})  # fmt: skip


def inherited_flags(struct: Struct, flags: int, found: Member, *, in_rcu: bool) -> int:
    """check_ptr_to_btf_access: how far a pointer loaded through one with `flags` may be trusted."""
    flag = found.flags
    if flags & UNTRUSTED:
        return UNTRUSTED
    if not flags & (TRUSTED | RCU):
        return flag & ~(TRUSTED | RCU)
    field = struct.name, found.field
    if field in _TRUSTED_FIELDS:
        return flag | TRUSTED
    if field in _TRUSTED_OR_NULL_FIELDS:
        return flag | TRUSTED | MAYBE_NULL
    if flags & MAYBE_NULL or not in_rcu:
        return UNTRUSTED
    if field in _RCU_FIELDS:
        return flag | RCU
    if flag & RCU or field in _RCU_OR_NULL_FIELDS:
        flag |= RCU | MAYBE_NULL
        return flag & ~UNTRUSTED if field in _RCU_OR_NULL_FIELDS else flag
    if flag & (PERCPU | USER):
        return flag
    return flag & ~(TRUSTED | RCU)
