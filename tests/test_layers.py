"""A module imports only from a lower layer or from its own package.

The table is the design's.  It is read by ast, so an import inside a function counts; what is imported
only for a type (`if TYPE_CHECKING:`) counts too: a type one depends on is a dependency.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import clsbpf

LAYERS: dict[str, int] = {
    "errors": 0,
    "profile": 0,
    "store": 0,
    "link": 1,
    "skb": 1,
    "bpf": 1,
    "netlink": 1,
    "capture": 1,
    "expression": 1,
    "objfile": 2,
    "verifier": 2,
    "vm": 3,
    "tc": 3,
    "engine": 4,
    "endpoint": 5,
    "kernel": 5,
    "tccmd": 5,
    "api": 6,
    "daemon": 6,
    "cli": 7,
    "__main__": 8,
}

SAME_LAYER = {
    ("verifier", "objfile"),  # what the kernel's structures hold is in its BTF
    ("profile", "errors"),  # an unknown profile's name is an error
    ("skb", "link"),  # a packet's link layer
    ("capture", "link"),
    ("expression", "bpf"),  # libpcap compiles to bpf's instructions
}
"""Imports between packages of one layer, each with its reason; everything else goes strictly down."""

NARROW: dict[str, set[str]] = {
    "tc": {"errors", "profile", "skb"},  # a filter holds a callable: its tests need no VM
    "tccmd": {"errors", "netlink", "bpf", "objfile"},  # only builds requests and renders replies
}
"""Packages that may import from fewer places than their layer allows."""

ROOT = Path(clsbpf.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def package_of(path: Path) -> str:
    """The layer table's name of a module: its top-level package or module."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of each import of a clsbpf module."""
    here = ("clsbpf", *path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, layer name) of each import from within clsbpf."""
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "clsbpf" and len(parts) > 1:
            yield line, parts[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    package = package_of(path)
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in own_imports(path)
        if name != package and not allowed(package, name)
    ]
    assert wrong == []


def allowed(package: str, name: str) -> bool:
    if package == "__init__":  # what `import clsbpf` shows
        return name in ("api", "errors")
    if package in NARROW:
        return name in NARROW[package]
    return LAYERS[name] < LAYERS[package] or (package, name) in SAME_LAYER


def test_every_package_has_a_layer() -> None:
    assert {package_of(path) for path in MODULES} - {"__init__"} <= set(LAYERS)


def test_the_walk_sees_imports() -> None:
    """The test itself must not go blind: known imports are found, wherever they stand."""
    seen = {name for _, name in own_imports(ROOT / "expression.py")}
    assert seen == {"bpf", "errors"}
    assert not allowed("bpf", "vm")
    assert not allowed("tc", "bpf")
    assert not allowed("skb", "bpf")
