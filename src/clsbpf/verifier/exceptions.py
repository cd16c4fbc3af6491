"""Where does a program go that throws?  Its exception callback.

bpf_throw ends the program wherever it is.  What it returns then is the number that was thrown, or what a
global function of the program makes of that: one that the main function's BTF names in a tag,
`exception_callback:NAME`.
"""

from __future__ import annotations

from typing import Any

from ..bpf.spec import ProgramSpec
from ..objfile.btf import Func, Kind, Linkage
from ..objfile.decl_tags import EXCEPTION_CALLBACK, tags_of
from .refusal import Refused


def exception_callback(spec: ProgramSpec, btf: Any) -> int:
    """bpf_find_exception_callback_insn_off: the instruction at which it begins; 0 without one."""
    if btf is None or not spec.func_info or not spec.func_info[0].type_id:
        return 0
    tags = [tag for tag in tags_of(btf, spec.func_info[0].type_id) if tag.startswith(EXCEPTION_CALLBACK)]
    if not tags:
        return 0
    if len(tags) > 1:
        raise _wrong("multiple exception callback tags for main subprog", 17)
    name = tags[0].removeprefix(EXCEPTION_CALLBACK)
    id = btf.find(name, Kind.FUNC)
    if id is None:
        raise _wrong(f"exception callback '{name}' could not be found in BTF", 2)
    function = btf[id]
    assert isinstance(function, Func)
    if function.linkage != Linkage.GLOBAL:
        raise _wrong(f"exception callback '{name}' must have global linkage", 22)
    places = [info.insn for info in spec.func_info if info.type_id == id]
    if not places:
        raise _wrong("exception callback type id not found in func_info", 22)
    if not places[-1]:
        raise _wrong("invalid exception callback insn_off in func_info: 0", 22)
    return places[-1]


def _wrong(message: str, errno: int) -> Refused:
    return Refused("exception-callback", message, errno=errno)
