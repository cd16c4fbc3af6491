"""ELF objects with BPF programs: what is in them, as specs that say nothing of where they will run.

What is named here is imported when it is first used: whoever wants only the types (`btf`) does without
the reader of objects.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .btf import Btf, TypeRef
    from .files import machine_btf, read_btf, read_object
    from .load import load_object

_HOME = {
    "Btf": "btf",
    "TypeRef": "btf",
    "load_object": "load",
    "machine_btf": "files",
    "read_btf": "files",
    "read_object": "files",
}

__all__ = ["Btf", "TypeRef", "load_object", "machine_btf", "read_btf", "read_object"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
