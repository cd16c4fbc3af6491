"""tcpdump expressions as classic programs, compiled by the system's libpcap.

`tcp port 443` means other instructions on Ethernet than on raw IP, so an expression is compiled for a
link type.  It is compiled as for a *savefile* of that link type: libpcap then maps the file format's
LINKTYPE_ to its own DLT_ numbers, refuses what only a live device could know (`inbound`), and the
program is the one that `tcpdump -r` runs.  A savefile needs no packets: 24 bytes of header, in a
temporary file, because a file name is the one way in that every platform's libpcap has.

libpcap's programs answer with a number of bytes to keep, its snap length.  To cls_bpf any answer but 0
and 0xffffffff is a classid, so a match is made to answer 0xffffffff, "this filter's own classid".
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import struct
import sys
import tempfile
import threading
from dataclasses import replace

from .bpf.classic import U32, SockFilter
from .bpf.isa import Class, K
from .errors import ClsbpfError

NAMES = {
    "darwin": ("libpcap.A.dylib", "libpcap.dylib"),
    "win32": (r"C:\Windows\System32\Npcap\wpcap.dll", "wpcap.dll"),
}
"""Where libpcap is, by `sys.platform`, before a search (which is slow: it starts programs)."""
NAMES_ELSEWHERE = ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so")
"""The soname of the project itself, Debian's, and the development package's."""

MATCH = U32
"""What a matching program returns: 0xffffffff, the filter's own classid."""

MAX_EXPRESSION = 65536
"""Longest expression taken, in bytes.  libpcap recurses over it; long before this it is a mistake."""

_SNAP_LEN = 65535
_ERRBUF_SIZE = 256
_RET_K = Class.RET | K


class _BpfInsn(ctypes.Structure):
    """struct bpf_insn of libpcap, the same eight bytes as struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _BpfProgram(ctypes.Structure):
    _fields_ = (("bf_len", ctypes.c_uint), ("bf_insns", ctypes.POINTER(_BpfInsn)))


def compile_expression(
    text: str, link_type: int, *, netmask: int = 0, optimize: bool = True, swapped: bool = False
) -> tuple[SockFilter, ...]:
    """The classic program of a tcpdump expression (pcap_compile); a match returns 0xffffffff.

    `link_type` is a LINKTYPE_ number.  `netmask` is what `ip broadcast` goes by, host order; 0, as
    `tcpdump -r` has it, makes that 0.0.0.0 and 255.255.255.255 alone.  `swapped` says that the capture
    was written in the other byte order (libpcap's DLT_NULL depends on it).  The empty expression
    matches everything.  Host and port names are looked up, as in tcpdump.

    ClsbpfError with libpcap's own message where the expression is wrong, or where libpcap is missing.
    """
    raw = text.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ClsbpfError(f"expression {_shown(text)}: it holds a zero byte")
    if len(raw) > MAX_EXPRESSION:
        raise ClsbpfError(
            f"expression {_shown(text)}: it is {len(raw)} bytes long; {MAX_EXPRESSION} are allowed"
        )
    if not 0 <= link_type <= 0xFFFF:
        raise ClsbpfError(f"link type {link_type} is not a LINKTYPE_ number, 0 to 65535")
    library = _libpcap()
    program = _BpfProgram()
    with _LOCK:
        handle = _savefile_handle(link_type, swapped)
        if library.pcap_compile(handle, ctypes.byref(program), raw, int(optimize), netmask & U32):
            message = library.pcap_geterr(handle).decode("utf-8", "replace")
            raise ClsbpfError(f"expression {_shown(text)}: {message}")
        try:
            insns = tuple(
                SockFilter(insn.code, insn.jt, insn.jf, insn.k) for insn in program.bf_insns[: program.bf_len]
            )
        finally:
            library.pcap_freecode(ctypes.byref(program))
    return tuple(replace(insn, k=MATCH) if insn.code == _RET_K and insn.k else insn for insn in insns)


def libpcap_version() -> str:
    """What the loaded libpcap calls itself; ClsbpfError where it is missing."""
    return str(_libpcap().pcap_lib_version().decode("utf-8", "replace"))


_LOCK = threading.Lock()
"""pcap_compile() has been safe to call from several threads only since libpcap 1.8."""


@functools.cache
def _savefile_handle(link_type: int, swapped: bool) -> ctypes.c_void_p:
    """A pcap_t of an empty capture of that link type, kept: a policy has thousands of expressions."""
    library = _libpcap()
    order = "=" if not swapped else "<>"[sys.byteorder == "little"]
    header = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAP_LEN, link_type)
    errbuf = ctypes.create_string_buffer(_ERRBUF_SIZE)
    try:
        descriptor, path = tempfile.mkstemp(prefix="clsbpf-", suffix=".pcap")
        try:
            with open(descriptor, "wb") as file:
                file.write(header)
            handle = library.pcap_open_offline(os.fsencode(path), errbuf)
        finally:
            os.unlink(path)
    except OSError as error:
        raise ClsbpfError(f"libpcap needs a temporary file to compile for: {error}") from None
    if not handle:
        raise ClsbpfError(f"libpcap: {errbuf.value.decode('utf-8', 'replace')}")
    return ctypes.c_void_p(handle)


@functools.cache
def _libpcap() -> ctypes.CDLL:
    """The system's libpcap with its prototypes; ClsbpfError where there is none."""
    tried = NAMES.get(sys.platform, NAMES_ELSEWHERE)
    library = next(filter(None, map(_load, tried)), None)
    if library is None and (found := ctypes.util.find_library("pcap")):
        library = _load(found)
    if library is None:
        raise ClsbpfError(
            f"tcpdump expressions need libpcap, and there is none here (looked for {', '.join(tried)});"
            " install it (Debian, Ubuntu: libpcap0.8; Fedora: libpcap; Windows: Npcap)"
        )
    library.pcap_open_offline.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    library.pcap_open_offline.restype = ctypes.c_void_p
    library.pcap_compile.argtypes = (
        ctypes.c_void_p,
        ctypes.POINTER(_BpfProgram),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
    )
    library.pcap_compile.restype = ctypes.c_int
    library.pcap_geterr.argtypes = (ctypes.c_void_p,)
    library.pcap_geterr.restype = ctypes.c_char_p
    library.pcap_freecode.argtypes = (ctypes.POINTER(_BpfProgram),)
    library.pcap_freecode.restype = None
    library.pcap_close.argtypes = (ctypes.c_void_p,)
    library.pcap_close.restype = None
    library.pcap_lib_version.restype = ctypes.c_char_p
    return library


def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
