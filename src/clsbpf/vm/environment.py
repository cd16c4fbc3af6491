"""What may a program ask of the world around it?

Random numbers, clocks, the processor it runs on, the task that happens to run there: numbers, in native
memory (`NativeEnvironment`) so that helper bodies read them as they read the packet.  The block is also
what every helper body gets first: it says which packet the run is about, and takes what a program leaves
for after it (where to redirect the packet to).

What no number answers (devices, routes, sockets) the environment's `net` answers (vm/net.py); bodies
written in plain Python find it through `Environment.at`.  What programs print goes to `trace`.

Offline all of it is reproducible: the generator is seeded, the time is the capture's.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import struct
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..profile import CURRENT, KernelProfile
from .memory import Memory
from .native_skb import NativeSkb, TunnelAt
from .net import Net, Socket

if TYPE_CHECKING:
    from ..objfile.btf import Btf

COMM_BYTES = 16
"""TASK_COMM_LEN."""
SCRATCH_BYTES = 512
MISSES = 16
"""Things that programs asked for in vain that are counted natively."""
KEY_BYTES = 48
PRINT_BYTES = 640
LOG_BYTES = 1 << 16
TASK_BYTES = 16384
"""More than any struct task_struct has."""
OVERFLOW_UID = 65534

IDLE_TASK = ctypes.create_string_buffer(TASK_BYTES)
"""The task that happens to run: a structure of zeros."""


class NativeEnvironment(ctypes.Structure):
    """The environment in memory; `EnvironmentAt` has its offsets."""

    _fields_ = (
        ("random", ctypes.c_uint64),
        ("cpu", ctypes.c_uint64),
        ("ktime_ns", ctypes.c_uint64),
        ("boot_offset_ns", ctypes.c_uint64),
        ("tai_offset_ns", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint64),
        ("skb", ctypes.c_uint64),
        ("redirect_flags", ctypes.c_uint64),
        ("redirect_ifindex", ctypes.c_uint64),
        ("redirect_next_hop", ctypes.c_uint8 * 24),
        ("pid_tgid", ctypes.c_uint64),
        ("uid_gid", ctypes.c_uint64),
        ("comm", ctypes.c_uint8 * COMM_BYTES),
        ("classid", ctypes.c_uint64),
        ("realm", ctypes.c_uint64),
        ("tunnel", ctypes.c_uint8 * TunnelAt.BYTES),
        ("scratch", ctypes.c_uint8 * SCRATCH_BYTES),
        ("tail_calls", ctypes.c_uint64),
        ("stack_low", ctypes.c_uint64),
        ("stack_high", ctypes.c_uint64),
        ("packet", ctypes.c_uint64),
        ("socket_cookie", ctypes.c_uint64),
        ("socket_uid", ctypes.c_uint64),
        ("netns_cookie", ctypes.c_uint64),
        ("assigned", ctypes.c_uint64),
        ("net", ctypes.c_uint64),
        ("readable", ctypes.c_uint64),
        ("missed", ctypes.c_uint64 * MISSES),
        ("missing", ctypes.c_int64 * MISSES),
        ("kernel", ctypes.c_uint64),
        ("task", ctypes.c_uint64),
        ("log", ctypes.c_uint64),
        ("log_used", ctypes.c_uint64),
        ("running", ctypes.c_uint64),
        ("cgroups", ctypes.c_uint64),
        ("cgroup_levels", ctypes.c_uint64),
        ("key", ctypes.c_uint8 * KEY_BYTES),
        ("printing", ctypes.c_uint8 * PRINT_BYTES),
    )


class EnvironmentAt(enum.IntEnum):
    """Byte offsets in NativeEnvironment; numbers are u64."""

    RANDOM = 0
    """The state of the random generator (SplitMix64)."""
    CPU = 8
    KTIME_NS = 16
    """CLOCK_MONOTONIC."""
    BOOT_OFFSET_NS = 24
    """CLOCK_BOOTTIME - CLOCK_MONOTONIC."""
    TAI_OFFSET_NS = 32
    """CLOCK_TAI - CLOCK_MONOTONIC."""
    NUMA_NODE = 40
    SKB = 48
    """The address of the NativeSkb of the run."""
    REDIRECT_FLAGS = 56
    """struct bpf_redirect_info: BPF_F_INGRESS, or one of REDIRECT_* (vm/helpers/redirect.py)."""
    REDIRECT_IFINDEX = 64
    REDIRECT_NEXT_HOP = 72
    """struct bpf_redir_neigh."""
    PID_TGID = 96
    UID_GID = 104
    COMM = 112
    CLASSID = 128
    """task_get_classid(): the net_cls class of the task that sends the packet."""
    REALM = 136
    """dst_tclassid(): the realm of the packet's route."""
    TUNNEL = 144
    """md_dst: the struct ip_tunnel_info that a program fills."""
    SCRATCH = 464
    """Room for a helper while it runs."""
    TAIL_CALLS = 976
    """tail_call_cnt: how many a native run has made."""
    STACK_LOW = 984
    """What native code says before it calls Python: from where on the frames of the program are."""
    STACK_HIGH = 992
    """The end of the first of them."""
    PACKET = 1000
    """The number of the packet, for the log."""
    SOCKET_COOKIE = 1008
    """Of the socket that the packet comes from; 0 where there is none."""
    SOCKET_UID = 1016
    NETNS_COOKIE = 1024
    ASSIGNED = 1032
    """The address of the socket that bpf_sk_assign chose."""
    NET = 1040
    """The address of what native code knows of the network, or 0: ask (helpers/network.py)."""
    READABLE = 1048
    """The address of the list of memory that may be read, or 0: ask (helpers/readable.py)."""
    MISSED = 1056
    """u64 each: how often something was asked for in vain."""
    MISSING = 1184
    """i64 each: what that was (`Missing`, and from bit 32 on its number), 0 for nothing yet."""
    KERNEL = 1312
    """The address of what is known of the kernel's structures, or 0: ask (helpers/kernel_context.py)."""
    TASK = 1320
    """The address of the task that happens to run."""
    LOG = 1328
    """The address of LOG_BYTES for lines that nobody has taken yet, or 0: ask (helpers/printk.py)."""
    LOG_USED = 1336
    RUNNING = 1344
    """The address of a number that says which program runs, or 0: the only one."""
    CGROUPS = 1352
    """The address of the ids (u64) of cgroups, from the root down to that of the packet's socket."""
    CGROUP_LEVELS = 1360
    """How many of them the packet has: 0 where it has no socket."""
    KEY = 1368
    """Room for a question to a table."""
    PRINTING = 1416
    """Room for the arguments of a format."""


class LogAt(enum.IntEnum):
    """Byte offsets in a line that is logged."""

    BYTES = 0
    """u32: of the line, this head included; a multiple of 8."""
    LENGTH = 4
    """u32: of the text."""
    PACKET = 8
    RUNNING = 16
    """Which program, as `Running` numbers them."""
    TEXT = 24


_LINE = struct.Struct("=IIQq")
_HEAD = _LINE.size
assert _HEAD == LogAt.TEXT


class Missing(enum.IntEnum):
    """What programs ask for that is not here."""

    ROUTES = 1
    TCP = 2
    UDP = 3
    MTU = 4
    CLONE = 5
    DELIVERY = 6


_MISSING = {
    Missing.ROUTES: "routes (bpf_fib_lookup)",
    Missing.TCP: "tcp sockets",
    Missing.UDP: "udp sockets",
    Missing.MTU: "device {} (bpf_check_mtu)",
    Missing.CLONE: "device {} (bpf_clone_redirect)",
    Missing.DELIVERY: "the way out of device {} (bpf_clone_redirect)",
}


class TraceLine(NamedTuple):
    """A line that a program printed (trace_pipe): which program, on which packet, and the text."""

    program: str
    packet: int
    text: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """What bpf_redirect and its like left: struct bpf_redirect_info."""

    ifindex: int
    flags: int
    next_hop: bytes


_ENVIRONMENTS: weakref.WeakValueDictionary[int, Environment] = weakref.WeakValueDictionary()


class Running(Protocol):
    """What is under way: a program on a packet, or a walk of many programs over many packets."""

    skb: NativeSkb | None
    profile: KernelProfile
    memory: Memory | None
    """What an interpreted program may touch; None of machine code."""
    shown: object
    """What `EnvironmentAt.READABLE` leads to."""

    @property
    def sockets(self) -> dict[int, Socket]:
        """What else was shown to the program as sockets, by address."""

    @property
    def kept(self) -> list[object]:
        """What keeps memory in place that pointers of the program may still lead to."""

    def name(self, number: int) -> str:
        """The name of the program that is `number` of those that are under way."""

    def ranges(self) -> Iterable[tuple[int, int]]:
        """Where memory is that machine code may read beside the packet and its stack: first address, end."""


@dataclass(eq=False)
class OneProgram:
    """One program and its packet are under way."""

    program: str = ""
    skb: NativeSkb | None = None
    memory: Memory | None = None
    profile: KernelProfile = CURRENT
    shown: object = None
    make_ranges: Callable[[], Iterable[tuple[int, int]]] = tuple
    sockets: dict[int, Socket] = field(default_factory=dict)
    kept: list[object] = field(default_factory=list)

    def name(self, number: int) -> str:
        """Its name."""
        return self.program

    def ranges(self) -> Iterable[tuple[int, int]]:
        """As whoever runs it says."""
        return self.make_ranges()


@dataclass(frozen=True, slots=True)
class Before:
    """What was under way when something else began; what native code knew then."""

    running: Running
    tail_calls: int
    net: int
    readable: int
    kernel: int
    names: int


def _lines(log: bytes, name: Callable[[int], str]) -> Iterator[TraceLine]:
    """The lines of a log; `name` knows the programs by number."""
    names: dict[int, str] = {}
    at = 0
    while at < len(log):
        size, length, packet, number = _LINE.unpack_from(log, at)
        if number not in names:
            names[number] = name(number)
        text = str(log[at + _HEAD : at + _HEAD + length], "utf-8", "replace")
        yield TraceLine(names[number], packet, text)
        at += size


@functools.lru_cache(64)
def _numbers(numbers: tuple[int, ...]) -> ctypes.Array[ctypes.c_uint64]:
    """A row of u64."""
    return (ctypes.c_uint64 * len(numbers))(*numbers)


class Environment:
    """A run's random numbers (seeded), clocks (nanoseconds), task, network and log.

    `packet` is the number of the packet, for the log; whoever runs a capture sets it, and `ktime_ns`.
    `asked` counts what programs asked for that is not here: each was answered as by a kernel that has
    no such thing either.
    """

    def __init__(self, *, seed: int = 0, cpu: int = 0, ktime_ns: int = 0, net: Net | None = None) -> None:
        self.native = NativeEnvironment(seed & 0xFFFFFFFFFFFFFFFF, cpu, ktime_ns)
        self.net = net if net is not None else Net()
        self._trace: list[TraceLine] = []
        self._logged: list[tuple[bytes, Callable[[int], str]]] = []
        """What was logged before and nobody read yet; how its programs are called."""
        self.on_trace: Callable[[TraceLine], None] | None = None
        self.keeps_trace = True
        """Are lines that nobody takes kept for `trace`?  Whoever runs a capture and asks for none says no."""
        self._asked: Counter[str] = Counter()
        self._log: ctypes.Array[ctypes.c_char] | None = None
        self.kept: dict[str, object] = {}
        """What helper bodies made of `net` and of a kernel's types, for the next run."""
        self.kernel_btf: Btf | None = None
        """The types of the kernel that objects were made to fit; None: this machine's."""
        self.socket: Socket | None = None
        """The socket that the packets come from (skb->sk)."""
        self.assigned: Socket | None = None
        """The socket that bpf_sk_assign chose last."""
        self.sockets: dict[int, Socket] = {}
        """Those of `net`, by the address that programs see."""
        self.running: Running = OneProgram()
        self.native.task = ctypes.addressof(IDLE_TASK)
        self.native.socket_uid = OVERFLOW_UID
        self.native.netns_cookie = self.net.cookie
        self._show_cgroups()
        _ENVIRONMENTS[self.address] = self

    @property
    def address(self) -> int:
        """The address of the NativeEnvironment, good while this object lives."""
        return ctypes.addressof(self.native)

    @property
    def packet(self) -> int:
        """The number of the packet that programs run on."""
        return int(self.native.packet)

    @packet.setter
    def packet(self, number: int) -> None:
        self.native.packet = number

    @staticmethod
    def at(address: int) -> Environment:
        """The environment whose NativeEnvironment is at `address`."""
        return _ENVIRONMENTS[address]

    def start(self, program: str, skb: NativeSkb) -> Before:
        """A program begins on a packet; what was under way (a run may be within another) for `end`."""
        native = self.native
        before = self.enter(OneProgram(program, skb), skb)
        native.socket_cookie = self.socket.cookie if self.socket is not None else 0
        native.socket_uid = self.socket.uid if self.socket is not None else OVERFLOW_UID
        native.cgroup_levels = len(self._cgroups) if self.socket is not None else 0
        native.netns_cookie = self.net.cookie
        return before

    def enter(self, running: Running, skb: NativeSkb, names: int = 0) -> Before:
        """Something else is under way; the number at `names` (if any) says which of its programs runs.

        The network may have changed since, so native code asks for it again, once.
        """
        self.drain()
        native = self.native
        before = Before(
            self.running, native.tail_calls, native.net, native.readable, native.kernel, native.running
        )
        self.running = running
        native.net = native.readable = native.kernel = 0
        native.running = names
        self._show_cgroups()
        native.skb = ctypes.addressof(skb)
        return before

    def end(self, before: Before) -> None:
        """It has ended."""
        native = self.native
        try:
            self.drain()
        finally:
            if native.assigned:
                shown = {**self.sockets, **self.running.sockets}
                self.assigned = shown.get(native.assigned)
                native.assigned = 0
            running = self.running = before.running
            native.tail_calls, native.running = before.tail_calls, before.names
            native.net, native.readable, native.kernel = before.net, before.readable, before.kernel
            native.skb = ctypes.addressof(running.skb) if running.skb is not None else 0

    def _show_cgroups(self) -> None:
        self._cgroups = _numbers(self.net.cgroup_ids)
        self.native.cgroups = ctypes.addressof(self._cgroups)

    def attach(self, memory: Memory) -> None:
        """The memory that the program under way may touch."""
        self.running.memory = memory

    # the log

    @property
    def trace(self) -> list[TraceLine]:
        """The lines that programs printed, if nobody else takes them (`on_trace`)."""
        self.drain()
        while self._logged:
            self._trace += _lines(*self._logged.pop(0))
        return self._trace

    def make_log(self) -> None:
        """Room for the log: what is in it goes to whoever takes it."""
        if self._log is None:
            self._log = ctypes.create_string_buffer(LOG_BYTES)
            self.native.log = ctypes.addressof(self._log)
        self.drain()

    def drain(self) -> None:
        """What native code logged goes to whoever takes it, in order; to be read later, if nobody does."""
        used, self.native.log_used = self.native.log_used, 0
        if not used:
            return
        if self.on_trace is None and not self.keeps_trace:
            return
        log, name = ctypes.string_at(self.native.log, used), self.running.name
        if self.on_trace is None:
            self._logged.append((log, name))
            return
        for line in _lines(log, name):
            self.on_trace(line)

    # what is not here

    def miss(self, what: Missing, number: int = 0) -> None:
        """Note that a program asked for `what`, which is not here; from now on native code counts it."""
        missing = ctypes.c_int64(what | number << 32).value
        for slot, known in enumerate(self.native.missing):
            if known in (0, missing):
                self.native.missing[slot] = missing
                self.native.missed[slot] += 1
                return
        self._asked[_MISSING[what].format(number)] += 1

    @property
    def asked(self) -> Counter[str]:
        """How often programs asked for what is not here."""
        native = self.native
        for slot, missing in enumerate(native.missing):
            if native.missed[slot]:
                what = _MISSING[Missing(missing & 0xFFFFFFFF)].format(missing >> 32 & 0xFFFFFFFF)
                self._asked[what] += native.missed[slot]
                native.missed[slot] = 0
        return self._asked

    def take_redirect(self) -> Redirect | None:
        """Where the program wanted its packet to go (what skb_do_redirect reads), once."""
        native = self.native
        if not native.redirect_ifindex and not native.redirect_flags:
            return None
        redirect = Redirect(
            native.redirect_ifindex, native.redirect_flags, bytes(native.redirect_next_hop)[:20]
        )
        native.redirect_ifindex = native.redirect_flags = 0
        return redirect


__all__ = ["Environment", "EnvironmentAt", "NativeEnvironment", "Net", "Redirect", "TraceLine"]
