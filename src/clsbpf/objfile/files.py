"""Objects and BTF in files: the only part of reading objects that opens anything."""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Container, Mapping
from functools import cache

from ..bpf.spec import ObjectSpec
from ..errors import ObjectError
from .btf import Btf, Kind
from .elf import MAX_FILE, read_section
from .load import load_object

MACHINE_BTF = "/sys/kernel/btf/vmlinux"
"""Where Linux shows the BTF of the kernel that runs."""
MACHINE_SYMBOLS = "/proc/kallsyms"
MACHINE_PROCESSORS = "/sys/devices/system/cpu/possible"

Path = str | os.PathLike[str]


def read_object(
    path: Path,
    *,
    btf: Path | None = None,
    kconfig: Mapping[str, str] | None = None,
    kfuncs: Container[str] | None = None,
) -> ObjectSpec:
    """The object in a file, made to fit the kernel whose BTF is in the file `btf`.

    Without `btf` that of this machine's kernel is taken if it can be read; a program that needs none is
    read either way.  `kconfig` and `kfuncs` as in `load_object`.
    """
    name = os.path.basename(os.fspath(path)) or os.fspath(path)
    kernel = machine_btf if btf is None else read_btf(btf)
    return load_object(
        _read(path), name, kernel_btf=kernel, kconfig=kconfig, kfuncs=kfuncs, symbols=machine_symbols
    )


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ObjectError(f"{os.fspath(path)}: not a regular file")
            return file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_btf(path: Path) -> Btf:
    """The BTF in a file: by itself (as in /sys/kernel/btf), or the section `.BTF` of an ELF file."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                file.seek(0)
                return Btf(file.read(MAX_FILE), os.fspath(path))
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                raw = read_section(mapped, ".BTF", os.fspath(path))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if raw is None:
        raise ObjectError(f"{os.fspath(path)}: no section .BTF")
    return Btf(bytes(raw), os.fspath(path))


@cache
def machine_btf() -> Btf | None:
    """The BTF of the kernel that runs, None where there is none to be read."""
    try:
        return read_btf(MACHINE_BTF)
    except ObjectError:
        return None


@cache
def machine_symbols() -> Mapping[str, int] | None:
    """The addresses of the running kernel's symbols, the first of each name; None where none are told.

    Whom the kernel does not tell addresses reads 0 for each.
    """
    found: dict[str, int] = {}
    try:
        with open(MACHINE_SYMBOLS, encoding="ascii", errors="replace") as file:
            for line in file:
                address, _, name, *_ = line.split()
                found.setdefault(name, int(address, 16))
    except (OSError, ValueError):
        return None
    return found


@cache
def machine_processors() -> int | None:
    """nr_cpu_ids: how many processors the running kernel could have, None where it does not say."""
    try:
        with open(MACHINE_PROCESSORS, encoding="ascii") as file:
            return int(re.split("[-,]", file.read().strip())[-1]) + 1
    except (OSError, ValueError):
        return None


class MachineFunctions:
    """The names of the functions in the running kernel's BTF, as a container."""

    def __contains__(self, name: object) -> bool:
        types = machine_btf()
        return isinstance(name, str) and types is not None and types.find(name, Kind.FUNC) is not None


def _unreadable(path: Path, error: OSError | ValueError) -> ObjectError:
    """A ValueError is of a path with a zero byte, or of an empty file that cannot be mapped."""
    if isinstance(error, ValueError):
        return ObjectError(f"{os.fspath(path)!r}: cannot be read: {error}")
    unreadable = ObjectError(f"{os.fspath(path)}: cannot be read: {error.strerror}")
    unreadable.errno = error.errno or unreadable.errno
    return unreadable
