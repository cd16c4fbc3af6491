"""bpf(2) as an object: what a loader asks, of the kernel or of whoever answers in its stead.

The daemon's `Connection` has the same methods.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..bpf.insn import Insn
from ..errors import ClsbpfError
from . import bpf, maps


class Calls(Protocol):
    """The calls; descriptors are the caller's to close.  ClsbpfError, with an errno, for a refusal."""

    def map_create(
        self,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        flags: int = 0,
        *,
        name: str = "",
        inner_fd: int = 0,
        map_extra: int = 0,
        btf_fd: int = 0,
        key_type_id: int = 0,
        value_type_id: int = 0,
    ) -> int:
        """BPF_MAP_CREATE."""
        ...

    def map_update(self, fd: int, key: bytes | None, value: bytes, flags: int = 0) -> None:
        """BPF_MAP_UPDATE_ELEM."""
        ...

    def map_freeze(self, fd: int) -> None:
        """BPF_MAP_FREEZE."""
        ...

    def btf_load(self, btf: bytes) -> int:
        """BPF_BTF_LOAD."""
        ...

    def prog_load(
        self,
        insns: Iterable[Insn],
        kind: int,
        *,
        license: str = "GPL",
        name: str = "",
        btf_fd: int = 0,
        func_info: bytes = b"",
        kfuncs: Sequence[str] = (),
    ) -> int:
        """BPF_PROG_LOAD; the immediate of a call of a kernel function is an index into `kfuncs`."""
        ...

    def obj_pin(self, fd: int, path: str) -> None:
        """BPF_OBJ_PIN."""
        ...

    def obj_get(self, path: str) -> int:
        """BPF_OBJ_GET."""
        ...

    def close_fd(self, fd: int) -> None:
        """close(2)."""
        ...

    def possible_cpus(self) -> int:
        """num_possible_cpus()."""
        ...


class _Kernel:
    """The kernel that this process runs on."""

    map_create = staticmethod(maps.map_create)
    map_update = staticmethod(maps.map_update)
    map_freeze = staticmethod(maps.map_freeze)
    btf_load = staticmethod(maps.btf_load)
    possible_cpus = staticmethod(maps.possible_cpus)
    obj_get = staticmethod(bpf.obj_get)
    close_fd = staticmethod(os.close)

    def prog_load(
        self,
        insns: Iterable[Insn],
        kind: int,
        *,
        license: str = "GPL",
        name: str = "",
        btf_fd: int = 0,
        func_info: bytes = b"",
        kfuncs: Sequence[str] = (),
    ) -> int:
        from .loader import with_kernel_functions

        return bpf.prog_load(
            with_kernel_functions(insns, kfuncs),
            kind,
            license=license,
            name=name,
            btf_fd=btf_fd,
            func_info=func_info,
        )

    def obj_pin(self, fd: int, path: str) -> None:
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        except OSError as error:
            raise ClsbpfError(f"{os.path.dirname(path)}: {error.strerror}") from None
        bpf.obj_pin(fd, path)


KERNEL: Calls = _Kernel()
"""bpf(2) itself."""
