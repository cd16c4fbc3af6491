"""What is at the address of a kernel's variable?  PSEUDO_BTF_ID, and the copies that processors have.

An instruction names a variable (or function) by its id in the kernel's BTF.  A structure may be read
through its type; a variable of a number's type is memory of its size, to be read; a function's address
is only an address.  A variable that each processor has of its own, like an object of bpf_percpu_obj_new,
is nowhere by itself: `bpf_per_cpu_ptr` and `bpf_this_cpu_ptr` say where a processor's copy is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ..bpf.insn import Insn
from ..errors import ClsbpfError
from ..objfile.btf import Datasec, Func, Kind, Var
from .refusal import Refused
from .types import Struct, kernel_btf, kernel_symbols
from .values import ALLOC, BTF, MAYBE_NULL, MEM, PERCPU, RCU, RDONLY, Reg

if TYPE_CHECKING:
    from .walk import Walk

PERCPU_SECTION = ".data..percpu"


def variable_address(at: int, insn: Insn) -> Reg | Refused:
    """check_pseudo_btf_id: what a register holds after the instruction at `at`."""
    btf, id = kernel_btf(), insn.imm
    if btf is None:
        return Refused("not-covered", "the kernel's variables are not known here", insn=at, errno=22)
    if not 0 < id < len(btf):
        return Refused("encoding", f"ldimm64 insn specifies invalid btf_id {id}.", insn=at, errno=2)
    variable = btf[id]
    if not isinstance(variable, Var | Func):
        return Refused(
            "encoding", f"pseudo btf_id {id} in ldimm64 isn't KIND_VAR or KIND_FUNC", insn=at, errno=22
        )
    if not _has_address(variable.name):
        return Refused(
            "kernel-variable",
            f"ldimm64 failed to find the address for kernel symbol '{variable.name}'.",
            insn=at,
            errno=2,
        )
    if isinstance(variable, Func):
        return Reg(MEM, flags=RDONLY)
    target = btf.resolve(variable.target)
    pointer = Reg(BTF, obj=Struct(target.name, target.id))
    if id in _percpu_variables():
        pointer.flags = PERCPU
        return pointer
    if hasattr(target, "members"):
        return pointer
    return _memory(target.id, at)


def _has_address(name: str) -> bool:
    """Does the kernel know where a symbol is?  It may not tell which it knows; then it is taken to.

    A kernel without CONFIG_KALLSYMS_ALL knows its functions only.
    """
    symbols = kernel_symbols()
    return symbols is None or name in symbols


@functools.cache
def _percpu_variables() -> frozenset[int]:
    btf = kernel_btf()
    section = btf.find(PERCPU_SECTION, Kind.DATASEC) if btf is not None else None
    datasec = btf[section] if section is not None else None
    return frozenset(each.type for each in datasec.variables) if isinstance(datasec, Datasec) else frozenset()


def _memory(id: int, at: int | None) -> Reg | Refused:
    """A variable that is no structure: so many bytes, to be read."""
    btf = kernel_btf()
    assert btf is not None
    try:
        return Reg(MEM, flags=RDONLY, size=btf.size_of(id))
    except ClsbpfError:
        name = btf[id].name
        return Refused("encoding", f"unable to resolve the size of type '{name}': -22", insn=at, errno=22)


def this_processors(v: Walk, percpu: Reg | None, *, maybe_null: bool) -> Reg:
    """RET_PTR_TO_MEM_OR_BTF_ID: one processor's copy.  An object's is never 0, whatever was asked for."""
    assert percpu is not None
    struct: Struct = percpu.obj
    if percpu.flags & RCU:
        return Reg(BTF, obj=struct, flags=ALLOC | RCU)
    btf = kernel_btf()
    if btf is not None and hasattr(btf.resolve(struct.id), "members"):
        result = Reg(BTF, obj=struct)
    else:
        found = _memory(struct.id, None)
        if isinstance(found, Refused):
            raise found
        result = found
    if maybe_null:
        v.ids += 1
        result.id = v.ids
        result.flags |= MAYBE_NULL
    return result
