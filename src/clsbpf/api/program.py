"""One program to try: checked, shown as text, run on a packet with fields set by name."""

from __future__ import annotations

import functools
import ipaddress
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..bpf.bytecode import parse_bytecode
from ..bpf.classic import SockFilter, encode_ops
from ..bpf.classic_asm import disassemble_classic
from ..bpf.context import BY_NAME
from ..bpf.disasm import disassemble
from ..bpf.insn import Insn, decode
from ..bpf.spec import RUNNABLE_TYPES, MapSpec, ProgramSpec
from ..bpf.tag import program_tag
from ..engine.programs import Backend, LoadedProgram, backend_by_name
from ..errors import BytecodeError, ClsbpfError
from ..expression import compile_expression
from ..link import ETHERNET
from ..profile import profile_by_name
from ..skb import PACKET_MULTICAST, PACKET_OTHERHOST, Skb
from ..verifier.kept import judged
from ..vm import interp
from ..vm.environment import Environment
from ..vm.link import link_instructions
from ..vm.maps.map import Map
from ..vm.net import TCP_CLOSE, Address, Socket

if TYPE_CHECKING:
    from ..vm.native_program import NativeProgram

from .tables import make_programs

Runner = Callable[[Skb, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class TestRun:
    """What BPF_PROG_TEST_RUN answers.

    `retval` is the return value, unsigned 32 bits; `packet` the bytes from the link-layer header on;
    `skb` the fields of struct __sk_buff by name; `duration_ns` the mean time of one run.
    """

    retval: int
    packet: bytes
    skb: Mapping[str, Any]
    duration_ns: int


class Program:
    """One program, classic or eBPF: struct bpf_prog before it is attached to anything."""

    def __init__(
        self,
        instructions: Sequence[SockFilter] | Sequence[Insn],
        make: Callable[[], LoadedProgram],
        *,
        name: str | None = None,
        profile: str = "current",
    ) -> None:
        self.instructions = tuple(instructions)
        """As they were given: classic (`SockFilter`) or eBPF (`Insn`)."""
        self.name = name
        self._profile = profile_by_name(profile)
        self._make = make

    @classmethod
    def from_bytecode(cls, text: str, *, name: str | None = None, profile: str = "current") -> Program:
        """A classic program in tc's text, as `tcpdump -ddd` prints it; BytecodeError when refused."""
        return cls._from_classic(parse_bytecode(text), name, profile)

    @classmethod
    def from_expression(
        cls, expression: str, *, link_type: int = ETHERNET.number, profile: str = "current"
    ) -> Program:
        """A tcpdump expression, compiled by libpcap for a LINKTYPE_; it returns 0xffffffff on a match."""
        return cls._from_classic(compile_expression(expression, link_type), expression, profile)

    @classmethod
    def from_instructions(
        cls,
        raw: bytes,
        maps: Mapping[int, Map | MapSpec] | None = None,
        type: str = "sched_cls",
        license: str = "GPL",
        verify: bool = True,
        *,
        name: str | None = None,
        profile: str = "current",
    ) -> Program:
        """An eBPF program, 8 bytes an instruction; BytecodeError where they are no instructions.

        A map reference's immediate is the key into `maps`, whose values are maps or what maps are to be
        made of.  `verify` judges the program at once, as the kernel would: VerifierError.  One that was not
        verified runs in the checked interpreter only.
        """
        if type not in RUNNABLE_TYPES:
            raise _no_such_type(type)
        insns = decode(raw)
        if not insns:
            raise BytecodeError("a program has at least one instruction")
        made = {key: each if isinstance(each, Map) else _make_map(each) for key, each in (maps or {}).items()}
        linked = link_instructions(insns, made, name=name or "", type=type)
        if verify:
            spec = ProgramSpec(
                name or "program",
                type,
                insns,
                license=license,
                # What a map that was handed over holds may have changed since it was made.
                maps={
                    key: replace(each.spec, frozen=False) if isinstance((maps or {})[key], Map) else each.spec
                    for key, each in made.items()
                },
            )
            verified = judged(spec, profile=profile_by_name(profile))
            linked = replace(linked, spec=spec, verified=verified)
        programs = make_programs("jit", profile)
        return cls(insns, lambda: programs.load(linked), name=name, profile=profile)

    @classmethod
    def _from_classic(cls, insns: Sequence[SockFilter], name: str | None, profile: str) -> Program:
        loaded = make_programs("jit", profile).from_ops(encode_ops(insns))
        return cls(insns, lambda: loaded, name=name, profile=profile)

    @functools.cached_property
    def _loaded(self) -> LoadedProgram:
        """The program, checked and linked: when it is first used, so that one cannot spoil others."""
        return self._make()

    @property
    def _is_classic(self) -> bool:
        return isinstance(self.instructions[0], SockFilter)

    @property
    def _ebpf(self) -> tuple[Insn, ...]:
        return tuple(insn for insn in self.instructions if isinstance(insn, Insn))

    @property
    def tag(self) -> str | None:
        """The kernel's tag, 16 hexadecimal digits; None for a classic program, which has none."""
        return None if self._is_classic else program_tag(self._ebpf, self._profile).hex()

    def disassemble(self) -> str:
        """The program as text, an instruction a line: bpf_asm's language, or for eBPF the verifier log's."""
        if self._is_classic:
            return disassemble_classic([insn for insn in self.instructions if isinstance(insn, SockFilter)])
        return disassemble(self._ebpf)

    def test_run(
        self,
        packet: bytes,
        skb: Mapping[str, Any] | None = None,
        repeat: int = 1,
        backend: str | None = None,
        *,
        environment: Environment | None = None,
    ) -> TestRun:
        """Run on one packet, which begins at its link-layer header: BPF_PROG_TEST_RUN without its limits.

        `skb` sets fields of struct __sk_buff by name; what is not set is as the kernel's test run has it.
        `repeat` runs it again, on what the run before left.  `backend` is "jit" or "interpreter", by
        default the JIT where the program may run natively.  `environment` is what the program finds
        around it: devices, routes, sockets, the clock.  ProgramFault: it did what no verified program
        does, or calls what is not there.
        """
        if repeat < 1:
            raise ClsbpfError(f"repeat is {repeat}: a program runs at least once")
        packet = bytes(memoryview(packet))  # any buffer, but no number and no text
        environment = environment if environment is not None else Environment()
        run = self._runner(backend, environment)
        made = make_skb(packet, skb or {})
        own = environment.socket
        environment.socket = own or make_socket(packet)
        try:
            retval, duration = run(made, repeat)
        finally:
            environment.socket = own
        return TestRun(retval, made.packet, read_fields(made), duration)

    def _runner(self, backend: str | None, environment: Environment) -> Runner:
        """(skb, how often) -> r0 of the last run, and the mean time of one in nanoseconds."""
        loaded = self._loaded
        if loaded.type not in RUNNABLE_TYPES:
            raise _no_such_type(loaded.type)
        chosen = backend_by_name(backend) if backend else Backend.JIT
        if chosen is Backend.JIT and loaded.verified is None and backend:
            raise ClsbpfError("a program that is not verified runs in the interpreter only")
        if chosen is Backend.INTERPRETER or loaded.verified is None:
            return functools.partial(self._interpret, environment)
        return functools.partial(self._native.test_run, environment)

    def _interpret(self, environment: Environment, skb: Skb, repeat: int) -> tuple[int, int]:
        program = self._loaded.linked or self._loaded.insns
        started = time.perf_counter_ns()
        for _ in range(repeat):
            retval = interp.run(program, skb, profile=self._profile, environment=environment)
        return retval, (time.perf_counter_ns() - started) // repeat

    @functools.cached_property
    def _native(self) -> NativeProgram:
        return self._loaded.machine_code(self._profile)


def _no_such_type(type: str) -> ClsbpfError:
    return ClsbpfError(f"no program of type {type!r} runs here; these do: {', '.join(RUNNABLE_TYPES)}")


def _make_map(spec: MapSpec) -> Map:
    """A map of its own for a program, closed to writing where the spec says so."""
    made = Map(spec)
    if spec.frozen:
        made.freeze()
    return made


def make_skb(packet: bytes, fields: Mapping[str, Any]) -> Skb:
    """bpf_prog_test_run_skb(): the packet with its tag in the data, and the fields that were set.

    The kernel lets it come in (eth_type_trans) at a loopback device, whose address is 0 and which knows no
    broadcast: a broadcast is a multicast there, and a unicast is somebody else's.
    """
    made = Skb.from_frame(packet)
    made.protocol = ETHERNET.protocol(packet)
    if len(packet) and packet[0] & 1:
        made.pkt_type = PACKET_MULTICAST
    elif packet[:6] != bytes(6):
        made.pkt_type = PACKET_OTHERHOST
    for name, value in fields.items():
        set_field(made, name, value)
    return made


def make_socket(packet: bytes) -> Socket:
    """The socket that bpf_prog_test_run_skb() lets a packet come from: closed, the superuser's.

    It has the addresses of the packet's IP header, and of no family where there is none.
    """
    source, destination = ANYWHERE, ANYWHERE
    if packet[12:14] == b"\x08\x00" and len(packet) >= IPV4_END:
        source, destination = (ipaddress.IPv4Address(packet[at : at + 4]) for at in (26, 30))
    elif packet[12:14] == b"\x86\xdd" and len(packet) >= IPV6_END:
        source, destination = (ipaddress.IPv6Address(packet[at : at + 16]) for at in (22, 38))
    return Socket("", (source, 0), (destination, 0), state=TCP_CLOSE, cookie=1)


ANYWHERE: Address = ipaddress.IPv4Address(0)
IPV4_END = 34
IPV6_END = 54
"""Where an IP header behind Ethernet ends."""

_NETWORK_ORDER = ("protocol", "vlan_proto")
_FIXED = ("data", "data_end", "data_meta", "sk", "flow_keys")


def settable_fields() -> Iterator[str]:
    """The fields of struct __sk_buff that describe the packet, by name."""
    return (name for name, field in BY_NAME.items() if name not in _FIXED and hasattr(Skb, name))


def set_field(skb: Skb, name: str, value: Any) -> None:
    """Set a field of struct __sk_buff as a program would read it; ClsbpfError lists what there is."""
    if name not in settable_fields():
        there = ", ".join(settable_fields())
        raise ClsbpfError(f"no field {name!r} to set in struct __sk_buff; there are: {there}")
    if name == "cb":
        words = list(value) if isinstance(value, Sequence) else None
        if words is None or len(words) > 5 or not all(_fits(word, 4) for word in words):
            raise ClsbpfError(f"cb is up to five numbers of 32 bits, not {value!r}")
        skb.cb[: len(words)] = words
        return
    if not _fits(value, BY_NAME[name].size):
        raise ClsbpfError(f"{name} is a number of {BY_NAME[name].size * 8} bits, not {value!r}")
    if name in _NETWORK_ORDER:
        value = int.from_bytes((value & 0xFFFF).to_bytes(2, "little"), "big")
    setattr(skb, name, value)


def _fits(value: object, size: int) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << size * 8


def read_fields(skb: Skb) -> dict[str, Any]:
    """The fields of struct __sk_buff by name, as a program would read them."""
    fields: dict[str, Any] = {}
    for name in settable_fields():
        value = getattr(skb, name)
        if name in _NETWORK_ORDER:
            value = int.from_bytes(value.to_bytes(2, "little"), "big")
        fields[name] = list(value) if name == "cb" else value
    return fields
