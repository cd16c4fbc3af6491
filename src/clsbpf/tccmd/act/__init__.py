"""The kinds of actions in words and rows: a file a kind, each with `parse`, `show` and `USAGE`.

A kind is imported when a line or a row has it: who shows one filter need not wait for twelve grammars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import cast

from .common import ActionKind

_NAMES = (
    *("bpf", "csum", "gact", "mirred", "pedit", "police", "sample", "simple"),
    *("skbedit", "skbmod", "tunnel_key", "vlan"),
)


class _Kinds(Mapping[str, ActionKind]):
    """The modules by name."""

    def __getitem__(self, name: str) -> ActionKind:
        if name not in _NAMES:
            raise KeyError(name)
        return cast(ActionKind, import_module(f".{name}", __name__))

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


KINDS: Mapping[str, ActionKind] = _Kinds()

UNSUPPORTED = frozenset({"connmark", "ct", "ctinfo", "gate", "ife", "ipt", "mpls", "nat", "xt"})
"""The other kinds of tc 6.1."""

_USUAL = ("gact", "mirred", "police", "skbedit", "vlan", "pedit", "csum", "skbmod", "tunnel_key")


def usages() -> str:
    """The help texts of all kinds, what is used most first."""
    return "\n".join(KINDS[name].USAGE for name in (*_USUAL, "simple", "sample", "bpf"))
