"""bpf(2): how a program gets into the real kernel, runs there once, and is looked at.

The system call takes a command, a union of structures (`union bpf_attr`) and its size; the parts of the
union that are not used are 0.  Program types and commands are those of `linux/bpf.h`.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ..bpf.insn import INSN_BYTES, Insn, encode
from ..errors import ClsbpfError, VerifierError

SYSCALL_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
"""__NR_bpf by machine."""

LOG_BYTES = 1 << 20
FUNC_INFO_BYTES = 8
"""sizeof(struct bpf_func_info), as it was first."""


class Command(enum.IntEnum):
    """enum bpf_cmd, as far as used."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    OBJ_GET_INFO_BY_FD = 15
    BTF_LOAD = 18
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22


class ProgType(enum.IntEnum):
    """enum bpf_prog_type, as far as used."""

    SOCKET_FILTER = 1
    SCHED_CLS = 3
    SCHED_ACT = 4


_ATTR_BYTES = 160
_PROG_LOAD = struct.Struct("=IIQQIIQII16sIIIIQI")
_TEST_RUN = struct.Struct("=IIIIQQIIIIQQIII4x")
_INFO = struct.Struct("=IIQ")
_PIN = struct.Struct("=QII")
_ID = struct.Struct("=III")
_PROG_INFO = struct.Struct("=II8sIIQQQIIQ16s")
_BTF_ID = struct.Struct("=I")
_BTF_ID_AT = 128
"""Where struct bpf_prog_info has it, after what is not looked at."""


@dataclass(frozen=True, slots=True)
class TestRun:
    """What BPF_PROG_TEST_RUN answers: r0 unsigned, the packet afterwards, struct __sk_buff afterwards."""

    __test__ = False  # not a test, whatever its name says to pytest

    retval: int
    packet: bytes
    context: bytes
    duration_ns: int


@dataclass(frozen=True, slots=True)
class ProgInfo:
    """struct bpf_prog_info, as far as used."""

    type: int
    id: int
    tag: bytes
    name: str
    jited: bool = False
    load_time: int = 0
    """Nanoseconds after the boot."""
    created_by_uid: int = 0
    btf_id: int = 0


def bpf_call(command: Command, attr: bytes) -> tuple[int, bytes]:
    """One bpf(2) call: its result, and the attributes as it left them.  Raises OSError."""
    number = SYSCALL_NUMBERS.get(platform.machine())
    if number is None or os.name != "posix" or platform.system() != "Linux":
        raise OSError(errno.ENOSYS, f"bpf(2) on {platform.system()} {platform.machine()} is not known here")
    buffer = ctypes.create_string_buffer(attr.ljust(_ATTR_BYTES, b"\0"), _ATTR_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(
        libc.syscall(ctypes.c_long(number), ctypes.c_int(command), buffer, ctypes.c_uint(_ATTR_BYTES))
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def refused(what: str, error: OSError) -> ClsbpfError:
    refusal = ClsbpfError(f"the kernel refused to {what}: {error.strerror}")
    refusal.errno = error.errno or errno.EINVAL
    return refusal


def prog_load(
    insns: Iterable[Insn],
    kind: int = ProgType.SCHED_CLS,
    *,
    license: str = "GPL",
    name: str = "",
    btf_fd: int = 0,
    func_info: bytes = b"",
) -> int:
    """Load a program: its file descriptor, the caller's to close.

    `kind` is BPF_PROG_TYPE_*.  `func_info` holds a struct bpf_func_info (8 bytes) for each function, with
    types out of `btf_fd`: callbacks and global functions need that.
    VerifierError, with the kernel's errno and the verifier's log, when it is refused.
    """
    code = ctypes.create_string_buffer(encode(insns))
    terms = ctypes.create_string_buffer(license.encode())
    functions = ctypes.create_string_buffer(func_info, len(func_info)) if func_info else None
    log = ctypes.create_string_buffer(LOG_BYTES)

    def attributes(log_level: int) -> bytes:
        return _PROG_LOAD.pack(
            kind,
            (len(code) - 1) // INSN_BYTES,
            ctypes.addressof(code),
            ctypes.addressof(terms),
            log_level,
            LOG_BYTES if log_level else 0,
            ctypes.addressof(log) if log_level else 0,
            0,
            0,
            name.encode()[:15],
            0,
            0,
            btf_fd,
            FUNC_INFO_BYTES if functions else 0,
            ctypes.addressof(functions) if functions else 0,
            len(func_info) // FUNC_INFO_BYTES,
        )

    try:
        return bpf_call(Command.PROG_LOAD, attributes(0))[0]
    except OSError:
        pass  # again, for the log: writing it makes every load slower
    try:
        return bpf_call(Command.PROG_LOAD, attributes(1))[0]
    except OSError as error:
        text = log.value.decode(errors="replace")
        refusal = VerifierError(f"the kernel refused the program: {error.strerror}", log=text)
        refusal.errno = error.errno or errno.EINVAL
        raise refusal from None


def prog_test_run(
    fd: int, packet: bytes, *, context: bytes | None = None, repeat: int = 1, room: int = 4096
) -> TestRun:
    """Run a loaded program on a packet (from its link-layer header on, at least 14 bytes).

    `context` is a struct __sk_buff with the fields set that TEST_RUN allows; the packet may grow by `room`.
    """
    data_in = ctypes.create_string_buffer(packet, len(packet))
    data_out = ctypes.create_string_buffer(len(packet) + room)
    ctx_in = ctypes.create_string_buffer(context or b"", max(len(context or b""), 1))
    ctx_out = ctypes.create_string_buffer(256)
    attr = _TEST_RUN.pack(
        fd,
        0,
        len(packet),
        len(data_out),
        ctypes.addressof(data_in),
        ctypes.addressof(data_out),
        repeat,
        0,
        len(context) if context else 0,
        len(ctx_out),
        ctypes.addressof(ctx_in) if context else 0,
        ctypes.addressof(ctx_out),
        0,
        0,
        0,
    )
    try:
        _, after = bpf_call(Command.PROG_TEST_RUN, attr)
    except OSError as error:
        raise refused("run the program", error) from None
    _, retval, _, size_out, _, _, _, duration, _, ctx_size_out, *_ = _TEST_RUN.unpack_from(after)
    return TestRun(retval, data_out.raw[:size_out], ctx_out.raw[:ctx_size_out], duration)


def obj_pin(fd: int, path: str) -> None:
    """BPF_OBJ_PIN: a name in a BPF file system that keeps a program or map alive."""
    name = ctypes.create_string_buffer(path.encode())
    try:
        bpf_call(Command.OBJ_PIN, _PIN.pack(ctypes.addressof(name), fd, 0))
    except OSError as error:
        raise refused(f"pin at {path}", error) from None


def prog_info(fd: int) -> ProgInfo:
    """What the kernel says of a loaded program."""
    info = ctypes.create_string_buffer(256)
    try:
        bpf_call(Command.OBJ_GET_INFO_BY_FD, _INFO.pack(fd, len(info), ctypes.addressof(info)))
    except OSError as error:
        raise refused("describe the program", error) from None
    kind, identity, tag, jited, _, _, _, load_time, uid, _, _, name = _PROG_INFO.unpack_from(info.raw)
    (btf_id,) = _BTF_ID.unpack_from(info.raw, _BTF_ID_AT)
    text = name.split(b"\0")[0].decode(errors="replace")
    return ProgInfo(kind, identity, tag, text, bool(jited), load_time, uid, btf_id)


def prog_fd_by_id(id: int) -> int:
    """BPF_PROG_GET_FD_BY_ID: the program's file descriptor, the caller's to close."""
    try:
        return bpf_call(Command.PROG_GET_FD_BY_ID, _ID.pack(id, 0, 0))[0]
    except OSError as error:
        raise refused(f"show program {id}", error) from None


def obj_get(path: str) -> int:
    """BPF_OBJ_GET: the file descriptor of what is pinned, the caller's to close."""
    name = ctypes.create_string_buffer(path.encode("utf-8", "surrogateescape"))
    try:
        return bpf_call(Command.OBJ_GET, _PIN.pack(ctypes.addressof(name), 0, 0))[0]
    except OSError as error:
        raise refused(f"open {path}", error) from None
