"""Would a kernel take the types of an object?  BPF_BTF_LOAD, and what it learns from them.

All programs of an object share its types: they are judged once, and what was found is kept with them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import ObjectError
from ..objfile.btf import Btf
from ..objfile.btf_check import check_types
from ..objfile.btf_kernel import kernel_types
from .records import NoRecord, SpecialField, struct_records


@dataclass(frozen=True, slots=True)
class ProgramTypes:
    """What there is to know of an object's types: why they are refused, or which have special members."""

    problem: str = ""
    records: Mapping[int, tuple[SpecialField, ...]] = field(default_factory=dict)


@functools.lru_cache(maxsize=8)
def program_types(btf: Btf) -> ProgramTypes:
    """btf_parse, of the types as a loader would pass them on."""
    try:
        problem = check_types(kernel_types(btf))
        if problem is not None:
            return ProgramTypes(str(problem))
        return ProgramTypes(records=struct_records(btf))
    except ObjectError as unreadable:
        return ProgramTypes(str(unreadable))
    except NoRecord as wrong:
        what = os.strerror(wrong.errno)
        return ProgramTypes(f"a structure's lock, list, tree, count or kernel pointer is wrong: {what}")
