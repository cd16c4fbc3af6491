"""What is pinned where?  A BPF file system of an engine's own: paths that stand for programs and maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ObjectError
from .programs import LoadedProgram

if TYPE_CHECKING:
    from ..vm.maps.map import Map

BPFFS = "/sys/fs/bpf"
"""Where pins are said to be."""


class Pins:
    """A BPF file system of one's own: paths that stand for programs and maps."""

    def __init__(self) -> None:
        self._files: dict[str, LoadedProgram | Map] = {}

    def pin(self, path: str, file: LoadedProgram | Map) -> None:
        """BPF_OBJ_PIN; ObjectError when the path is taken."""
        path = absolute(path)
        if path in self._files:
            raise ObjectError(f"{path}: there is a pin of that name already")
        self._files[path] = file

    def get(self, path: str) -> LoadedProgram | Map:
        """BPF_OBJ_GET; ObjectError lists what is pinned."""
        path = absolute(path)
        if path not in self._files:
            raise ObjectError(f"{path}: nothing is pinned there; pins: {', '.join(self._files) or 'none'}")
        return self._files[path]

    def find_map(self, path: str) -> Map | None:
        """The map pinned at a path, or None; ObjectError when a program is."""
        found = self._files.get(absolute(path))
        if isinstance(found, LoadedProgram):
            raise ObjectError(f"{path}: a program is pinned there, not a map")
        return found

    def unpin(self, path: str) -> None:
        """unlink(2) of a pin; what nothing else holds is gone then."""
        self.get(path)
        del self._files[absolute(path)]

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and absolute(path) in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)


def absolute(path: str) -> str:
    """A pin's path; `m:PATH` is tc's for one relative to the mount point."""
    if path.startswith("m:"):
        return f"{BPFFS}/{path[2:].lstrip('/')}"
    return path
