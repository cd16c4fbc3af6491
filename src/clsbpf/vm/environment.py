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
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..bpf.maps import MapType
from ..bpf.spec import MapSpec
from ..profile import CURRENT, KernelProfile
from .memory import Memory
from .native_skb import NativeSkb, TunnelAt
from .net import Net, Socket

if TYPE_CHECKING:
    from ..objfile.btf import Btf
    from .maps.map import Map

COMM_BYTES = 16
"""TASK_COMM_LEN."""
SCRATCH_BYTES = 512
MISSES = 16
"""Things that programs asked for in vain that are counted natively."""
QUESTION_BYTES = 96
ANSWER_BYTES = 88
ANSWERS = 4096
"""Answers that are kept (helpers/answers.py)."""
OVERFLOW_UID = 65534


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
        ("answers", ctypes.c_uint64),
        ("last_miss", ctypes.c_int64),
        ("missed", ctypes.c_uint64 * MISSES),
        ("question", ctypes.c_uint8 * QUESTION_BYTES),
        ("answer", ctypes.c_uint8 * ANSWER_BYTES),
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
    ANSWERS = 1040
    """The address of the map of what Python answered in this run, or 0 (helpers/answers.py)."""
    LAST_MISS = 1048
    """Which thing was asked for in vain, from 1 on; -1 for one that is not counted natively."""
    MISSED = 1056
    """u64 each: how often which thing was."""
    QUESTION = 1184
    ANSWER = 1280


@dataclass(frozen=True, slots=True)
class TraceLine:
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


@dataclass(eq=False)
class _Running:
    """The program and packet that are under way."""

    program: str = ""
    skb: NativeSkb | None = None
    known_memory: Memory | None = None
    make_memory: Callable[[], Memory] | None = None
    """Makes the memory, if somebody asks for it."""
    profile: KernelProfile = CURRENT
    tail_calls: int = 0
    answers: int = 0
    """Of the native environment, while another program runs within this one."""
    task: Any = None
    """The idle task's struct task_struct, once it was asked for."""
    sockets: dict[int, Socket] = field(default_factory=dict)
    """What the program was shown as sockets, by address."""
    kept: list[object] = field(default_factory=list)
    """What keeps memory in place that pointers of the program may still lead to."""

    @property
    def memory(self) -> Memory | None:
        """What the program may touch."""
        if self.known_memory is None and self.make_memory is not None:
            self.known_memory = self.make_memory()
        return self.known_memory

    @memory.setter
    def memory(self, memory: Memory | None) -> None:
        self.known_memory = memory


class Environment:
    """A run's random numbers (seeded), clocks (nanoseconds), task, network and log.

    `packet` is the number of the packet, for the log; whoever runs a capture sets it, and `ktime_ns`.
    `asked` counts what programs asked for that is not here: each was answered as by a kernel that has
    no such thing either.
    """

    def __init__(self, *, seed: int = 0, cpu: int = 0, ktime_ns: int = 0, net: Net | None = None) -> None:
        self.native = NativeEnvironment(seed & 0xFFFFFFFFFFFFFFFF, cpu, ktime_ns)
        self.net = net if net is not None else Net()
        self.trace: list[TraceLine] = []
        self.on_trace: Callable[[TraceLine], None] | None = None
        self._asked: Counter[str] = Counter()
        self._misses: list[str] = []
        self._answers: Map | None = None
        self.kernel_btf: Btf | None = None
        """The types of the kernel that objects were made to fit; None: this machine's."""
        self.socket: Socket | None = None
        """The socket that the packets come from (skb->sk)."""
        self.assigned: Socket | None = None
        """The socket that bpf_sk_assign chose last."""
        self.running = _Running()
        self.native.socket_uid = OVERFLOW_UID
        self.native.netns_cookie = self.net.cookie
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

    def start(self, program: str, skb: NativeSkb) -> _Running:
        """A program begins on a packet; what was under way (a run may be within another) for `end`."""
        before, self.running = self.running, _Running(program, skb)
        native = self.native
        before.tail_calls, before.answers = native.tail_calls, native.answers
        native.answers = 0
        native.socket_cookie = self.socket.cookie if self.socket is not None else 0
        native.socket_uid = self.socket.uid if self.socket is not None else OVERFLOW_UID
        native.netns_cookie = self.net.cookie
        self.native.skb = ctypes.addressof(skb)
        return before

    def end(self, before: _Running) -> None:
        """It has ended."""
        if self.native.assigned:
            self.assigned = self.running.sockets.get(self.native.assigned)
            self.native.assigned = 0
        self.running = before
        self.native.tail_calls, self.native.answers = before.tail_calls, before.answers
        self.native.skb = ctypes.addressof(before.skb) if before.skb is not None else 0

    def attach(self, memory: Memory) -> None:
        """The memory that the program under way may touch."""
        self.running.memory = memory

    def print(self, text: str) -> None:
        """Add a line to the log."""
        line = TraceLine(self.running.program, self.packet, text)
        if self.on_trace is not None:
            self.on_trace(line)
        else:
            self.trace.append(line)

    def miss(self, what: str) -> None:
        """Note that a program asked for `what`, and that it is not here."""
        if what not in self._misses and len(self._misses) < MISSES:
            self._misses.append(what)
        if what in self._misses:
            slot = self._misses.index(what)
            self.native.missed[slot] += 1
            self.native.last_miss = slot + 1
        else:
            self._asked[what] += 1
            self.native.last_miss = -1

    @property
    def asked(self) -> Counter[str]:
        """How often programs asked for what is not here."""
        for slot, what in enumerate(self._misses):
            if self.native.missed[slot]:
                self._asked[what] += self.native.missed[slot]
                self.native.missed[slot] = 0
        return self._asked

    def keep_answers(self) -> None:
        """Until the program under way ends, keep what Python answers: no network changes meanwhile."""
        from .maps.map import Map  # whoever asks for that has maps anyway

        self._answers = Map(MapSpec("answers", MapType.LRU_HASH, QUESTION_BYTES, ANSWER_BYTES, ANSWERS))
        self.native.answers = self._answers.address

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
