"""The real kernel's opinion of an eBPF program: taken or not, its tag, and the verifier's log either way."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import pytest

from clsbpf.bpf.insn import Insn, encode
from clsbpf.bpf.spec import ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.kernel import loader
from clsbpf.kernel.bpf import SYSCALL_NUMBERS, prog_info
from clsbpf.kernel.maps import possible_cpus
from clsbpf.verifier.verify import verify
from judges import REQUIRED, need_kernel

BPF_MAP_CREATE = 0
BPF_PROG_LOAD = 5
BPF_OBJ_GET_INFO_BY_FD = 15
_INFO_BYTES, _VERIFIED_INSNS_AT = 232, 216
SOCKET_FILTER, SCHED_CLS = 1, 3
LOG_BYTES = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Opinion:
    """errno (0: taken), the verifier's log, and the tag of a program that was taken."""

    errno: int
    log: str
    tag: bytes

    @property
    def taken(self) -> bool:
        return self.errno == 0


def need_current_kernel() -> None:
    """Skips (or fails, where judges are required) but on a kernel that the profile `current` describes."""
    need_kernel()
    release = os.uname().release
    version = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if version < (6, 18):
        (pytest.fail if REQUIRED else pytest.skip)(
            f"Linux {release} is older than the profile `current`, 6.18"
        )


def _bpf(command: int, attr: bytes) -> int:
    buffer = ctypes.create_string_buffer(attr.ljust(144, b"\0"), 144)
    result = _libc.syscall(SYSCALL_NUMBERS[platform.machine()], command, buffer, 144)
    return int(result) if result >= 0 else -ctypes.get_errno()


def visited(fd: int) -> int:
    """How many instructions the verifier went through before it took the program (verified_insns)."""
    info = ctypes.create_string_buffer(_INFO_BYTES)
    attr = struct.pack("=IIQ", fd, _INFO_BYTES, ctypes.addressof(info))
    assert _bpf(BPF_OBJ_GET_INFO_BY_FD, attr) == 0
    return int.from_bytes(info.raw[_VERIFIED_INSNS_AT : _VERIFIED_INSNS_AT + 4], "little")


def opinion(
    insns: Iterable[Insn], *, kind: int = SCHED_CLS, log_level: int = 1, map_fds: tuple[int, ...] = ()
) -> Opinion:
    """Load the program, look at it, and let it go again.  Skips where there is no current kernel."""
    need_current_kernel()
    code = ctypes.create_string_buffer(encode(insns))
    terms = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(LOG_BYTES)
    fds = (ctypes.c_int * max(len(map_fds), 1))(*map_fds)
    attr = struct.pack(
        "=IIQQIIQ",
        kind,
        (len(code) - 1) // 8,
        ctypes.addressof(code),
        ctypes.addressof(terms),
        log_level,
        LOG_BYTES if log_level else 0,
        ctypes.addressof(log) if log_level else 0,
    )
    attr = attr.ljust(120, b"\0") + struct.pack("=Q", ctypes.addressof(fds) if map_fds else 0)
    fd = _bpf(BPF_PROG_LOAD, attr)
    if fd < 0:
        return Opinion(-fd, log.value.decode(), b"")
    try:
        return Opinion(0, log.value.decode(), prog_info(fd).tag)
    finally:
        os.close(fd)


class _Listener:
    """`Calls.prog_load` of the kernel, with the log of level 2 instead of the program."""

    def __init__(self) -> None:
        self.log = ""

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
        code = ctypes.create_string_buffer(encode(loader.with_kernel_functions(insns, kfuncs)))
        terms = ctypes.create_string_buffer(license.encode())
        functions = ctypes.create_string_buffer(func_info, len(func_info))
        log = ctypes.create_string_buffer(16 * LOG_BYTES)
        where = [ctypes.addressof(each) for each in (code, terms, log, functions)]
        attr = struct.pack("=IIQQIIQ", kind, (len(code) - 1) // 8, where[0], where[1], 2, len(log), where[2])
        types = struct.pack("=IIQI", btf_fd, 8, where[3], len(func_info) // 8) if func_info else b""
        fd = _bpf(BPF_PROG_LOAD, attr.ljust(72, b"\0") + types)
        if fd >= 0:
            os.close(fd)
        self.log = log.value.decode()
        return 0


def log_of(spec: ProgramSpec, loaded: loader.LoadedObject) -> str:
    """The kernel's log of level 2 of a program over the maps (and types) of an object that is loaded."""
    listener = _Listener()
    btf_fd = loaded._others[0] if loaded._others else 0
    loader._load_program(spec, loaded.maps, btf_fd, cast(loader.Calls, listener))
    return listener.log


@dataclass(frozen=True, slots=True)
class Judgement:
    """Accepted (errno 0), or refused with an errno and the lines that the log ends with."""

    errno: int = 0
    words: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        return self.errno != 0

    def __str__(self) -> str:
        if not self.errno:
            return "accepted"
        return f"{errno.errorcode.get(self.errno, f'errno {self.errno}')}: {' / '.join(self.words)}"


_NOT_THE_REASON = re.compile(
    r"\d+: (\([0-9a-f]{2}\)|R|frame\d|safe|BUG_)|; |processed |verification time|stack depth|mark_precise|"
    r"from \d+ to \d+|caller:|callee:|returning from callee:|to caller at|func#\d+ @|Live regs before insn:|"
    r"\s*\d+: [.0-9]{10} |(cur|old) state:| (frame\d+: )?R\d+="
)


def last_words(log: str) -> tuple[str, ...]:
    """The lines of a verifier's log after the last instruction: why it refused."""
    lines = log.splitlines()
    while lines and (not lines[-1] or lines[-1].startswith(("processed ", "cur state:", "old state:"))):
        lines.pop()
    words: list[str] = []
    while lines and not _NOT_THE_REASON.match(lines[-1]):
        words.append(lines.pop().split("processed ")[0])  # (some of the kernel's lines have no end)
    return tuple(reversed(words))


def shape(message: str) -> str:
    """A message without its numbers: what is the same cause has the same shape."""
    return re.sub(r"0x[0-9a-f]+|-?\d+", "N", message)


def two_opinions(spec: ProgramSpec, loaded: loader.LoadedObject) -> tuple[Judgement, Judgement]:
    """Ours and the kernel's, of a program over the maps (and types) of an object that is loaded."""
    here = there = Judgement()
    btf = next((m.value_type.btf for m in spec.maps.values() if m.value_type is not None), None)
    try:
        verify(spec, btf=btf, cpus=possible_cpus())
    except VerifierError as error:
        here = Judgement(error.errno or -1, last_words(error.log))
    try:
        os.close(
            loader._load_program(spec, loaded.maps, loaded._others[0] if loaded._others else 0, loaded.calls)
        )
    except VerifierError as error:
        there = Judgement(error.errno or -1, last_words(error.log))
    return here, there


@pytest.fixture
def array_maps() -> Iterable[tuple[int, int]]:
    """Two BPF_MAP_TYPE_ARRAY maps with one value of 8 bytes: their descriptors."""
    need_current_kernel()
    fds = tuple(_bpf(BPF_MAP_CREATE, struct.pack("=IIIII", 2, 4, 8, 1, 0)) for _ in range(2))
    assert min(fds) >= 0
    yield fds[0], fds[1]
    for fd in fds:
        os.close(fd)
