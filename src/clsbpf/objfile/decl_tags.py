"""What does a source say of its functions in tags?  `__attribute__((btf_decl_tag("…")))`.

A tag is a text beside a type, or beside a parameter or member of it (`component`; -1: the type itself).
"""

from __future__ import annotations

from collections.abc import Mapping

from .btf import Btf, DeclTag, Kind

EXCEPTION_CALLBACK = "exception_callback:"
"""Of a program: which function its exceptions go to."""


def tags_of(btf: Btf, id: int, component: int = -1) -> list[str]:
    """The tags of a type, in the order of the BTF."""
    return [
        tag.name
        for tag in (btf[each] for each in range(1, len(btf)) if btf.kind(each) is Kind.DECL_TAG)
        if isinstance(tag, DeclTag) and tag.target == id and tag.component == component
    ]


def exception_callbacks(btf: Btf | None) -> Mapping[int, str]:
    """By the type of a program: the function that its exceptions go to."""
    found: dict[int, str] = {}
    for id in range(1, len(btf) if btf is not None else 0):
        assert btf is not None
        tag = btf[id] if btf.kind(id) is Kind.DECL_TAG else None
        if isinstance(tag, DeclTag) and tag.component == -1 and tag.name.startswith(EXCEPTION_CALLBACK):
            found[tag.target] = tag.name.removeprefix(EXCEPTION_CALLBACK)
    return found
