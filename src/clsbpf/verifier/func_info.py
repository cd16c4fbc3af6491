"""Do functions have the types that are told of them?  check_btf_func.

A loader tells of each function of a program which FUNC of the object's types it is.  Where the kernel does
not take the types at all, it is told nothing, as libbpf does: what needs types is then refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..bpf.isa import Class, Mode
from ..bpf.spec import MapSpec, ProgramSpec
from ..objfile.btf import Btf, Enum, Func, FuncProto, Int, Linkage
from .cfg import CALL, Subprogram
from .refusal import Refused

_TAIL_CALL = 12


def check_func_info(spec: ProgramSpec, btf: Btf | None, subprograms: Sequence[Subprogram]) -> None:
    """Every function's type is one of a function; what may end the program within it returns a number."""
    if btf is None or not spec.has_function_types:
        return
    for number, info in enumerate(spec.func_info):
        function = btf[info.type_id] if 0 < info.type_id < len(btf) else None
        if not isinstance(function, Func) or function.linkage == Linkage.EXTERN:
            raise _wrong(f"invalid type id {info.type_id} in func info")
        if number < len(subprograms) and info.insn != subprograms[number].start:
            raise _wrong("func_info BTF section doesn't match subprog layout in BPF program")
        if number and number < len(subprograms) and not _returns_number(btf, function):
            _check_ends(spec, subprograms[number])
    if len(spec.func_info) != len(subprograms):
        raise _wrong("number of funcs in func_info doesn't match number of subprogs")


def _wrong(message: str) -> Refused:
    return Refused("function-type", message, errno=22)


def _returns_number(btf: Btf, function: Func) -> bool:
    """btf_type_is_small_int, btf_is_any_enum."""
    proto = btf[function.proto]
    result = btf.resolve(proto.result) if isinstance(proto, FuncProto) else None
    return isinstance(result, Enum) or (isinstance(result, Int) and result.size <= 8)


def _check_ends(spec: ProgramSpec, sub: Subprogram) -> None:
    for insn in spec.insns[sub.start : sub.end]:
        if insn.code & 7 == Class.LD and insn.code & 0xE0 in (Mode.ABS, Mode.IND):
            raise Refused(
                "ld-abs", "LD_ABS is only allowed in functions that return 'int'.", insn=sub.start, errno=22
            )
        if insn.code == CALL and insn.src == 0 and insn.imm == _TAIL_CALL:
            raise Refused(
                "tail-call",
                "tail_call is only allowed in functions that return 'int'.",
                insn=sub.start,
                errno=22,
            )


def without_types(spec: ProgramSpec) -> ProgramSpec:
    """The program as a kernel gets it that refused its types."""
    functions = tuple(replace(info, type_id=0) for info in spec.func_info)
    maps = {key: _untyped(each) for key, each in spec.maps.items()}
    return replace(spec, func_info=functions, maps=maps)


def _untyped(spec: MapSpec) -> MapSpec:
    inner = None if spec.inner is None else _untyped(spec.inner)
    return replace(spec, key_type=None, value_type=None, inner=inner)
