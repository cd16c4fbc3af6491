"""An object's types as a kernel takes them: what only a loader understands is put otherwise."""

from __future__ import annotations

import struct

from .btf import Btf, Datasec, Func, Int, Kind, Linkage, Var

_TYPE = struct.Struct("<III")
_INFO = struct.Struct("<I")


def kernel_types(btf: Btf) -> bytes:
    """An object's BTF as the kernel takes it: as long as it was, with the same ids.

    The kernel knows no functions and variables that are only declared, and no sections whose variables
    are not what they were (the compiler left one out, or a part).  Such functions become names of their
    types, such variables global ones, and the sections that list them plain structures.
    """
    raw = bytearray(btf.raw)
    number = next((t.id for t in btf if isinstance(t, Int)), 0)
    width = btf.size_of(number) if number else 0
    for id in range(1, len(btf)):
        type, at = btf[id], btf.start(id)
        match type:
            case Func(linkage=Linkage.EXTERN):
                _INFO.pack_into(raw, at + 4, Kind.TYPEDEF << 24)
            case Var(linkage=Linkage.EXTERN):
                _INFO.pack_into(raw, at + 12, Linkage.GLOBAL)
                if not btf.resolve(type.target).id:  # a symbol of no type: only its address is wanted
                    _INFO.pack_into(raw, at + 8, number)
            case Datasec(variables=variables) if not is_laid_out(btf, type):
                _TYPE.pack_into(raw, at, 0, Kind.STRUCT << 24 | len(variables), width)
                for n in range(len(variables)):
                    _TYPE.pack_into(raw, at + 12 + 12 * n, 0, number, 0)
    return bytes(raw)


def is_laid_out(btf: Btf, section: Datasec) -> bool:
    """Are all variables of a section there, whole, one behind the other (btf_datasec_resolve)?"""
    end = 0
    for each in section.variables:
        type = btf[each.type]
        if each.offset < end or not isinstance(type, Var) or type.linkage == Linkage.EXTERN:
            return False
        if each.size < btf.size_of(type.target):
            return False  # the compiler kept a part of a structure
        end = each.offset + each.size
    return end <= section.size
