"""What `import clsbpf` shows: programs to try one by one, and an engine to hang them in.

    prog = clsbpf.Program.from_expression("tcp port 443")
    prog.test_run(packet).retval

    engine = clsbpf.Engine()
    engine.add_device("lab0")
    engine.tc("qdisc add dev lab0 clsact")
    engine.tc_batch("policy.tc")
    engine.run("trace.pcap", dev="lab0").summary()

Nothing is decided here: a `Program` is checked by `bpf/`, run by `vm/`; an `Engine` is a network of
devices (`engine/`) that is spoken to in tc's language (`tccmd/`) through rtnetlink bytes (`endpoint/`).
"""

from __future__ import annotations

import functools
import ipaddress
import os
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .bpf.bytecode import parse_bytecode
from .bpf.classic import SockFilter, encode_ops
from .bpf.classic_asm import disassemble_classic
from .bpf.context import BY_NAME
from .bpf.disasm import disassemble
from .bpf.insn import Insn, decode
from .bpf.spec import RUNNABLE_TYPES, ObjectSpec, VariableSpec
from .bpf.tag import program_tag
from .endpoint import Endpoint
from .engine.devices import Device, Network
from .engine.objects import LoadedObject, Pins, section_program
from .engine.planned import planned_filters
from .engine.plans import Setup, describe_program, needs_order
from .engine.programs import Backend, LoadedProgram, ProgramTable, backend_by_name
from .engine.results import Batch, Results
from .engine.run import BACKENDS, Progress
from .engine.run import run as run_captures
from .engine.written import written_columns
from .errors import BytecodeError, ClsbpfError, ObjectError, RunError, TcError
from .expression import compile_expression
from .link import ETHERNET, LinkLayer
from .objfile import TypeRef, read_object
from .profile import profile_by_name
from .skb import PACKET_MULTICAST, PACKET_OTHERHOST, Skb
from .tc.chain import ETH_P_ALL, Block
from .tc.filter import CLS_BPF_NAME_LEN, TCA_BPF_FLAG_ACT_DIRECT, BpfOptions, Filter
from .tccmd.batch import BatchLine, at_line, read_batch
from .tccmd.command import parse_command
from .tccmd.errors import CommandError, UnsupportedKind
from .tccmd.options import parse_options
from .tccmd.perform import Outcome, perform
from .tccmd.render import Names, ProgramInfo
from .tccmd.request import ObjectSource
from .tccmd.words import split_words
from .vm import interp
from .vm.environment import Environment, TraceLine
from .vm.helpers import KFUNCS
from .vm.link import link_instructions
from .vm.maps.map import Map
from .vm.maps.values import Codec, codec, raw_codec
from .vm.net import TCP_CLOSE, Address, Socket

if TYPE_CHECKING:
    from .vm.jit import NativeProgram

FIRST_MAJOR = 0x10000
MAX_FILTERS = 0xFFFF
"""Filters given one by one are told apart by prio and by the minor of their classid: 16 bits each."""


# Programs -----------------------------------------------------------------------------------------


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
        maps: Mapping[int, Map] | None = None,
        type: str = "sched_cls",
        license: str = "GPL",
        verify: bool = True,
        *,
        name: str | None = None,
        profile: str = "current",
    ) -> Program:
        """An eBPF program, 8 bytes an instruction; BytecodeError where they are no instructions.

        A map reference's immediate is the key into `maps`.  There is no verifier yet: `verify=True` is
        refused, `verify=False` gives a program that runs in the checked interpreter only.
        """
        if verify:
            raise ClsbpfError("eBPF programs cannot be verified yet: pass verify=False to interpret this one")
        if type not in RUNNABLE_TYPES:
            raise ClsbpfError(f"no program of type {type!r} runs here; these do: {', '.join(RUNNABLE_TYPES)}")
        insns = decode(raw)
        if not insns:
            raise BytecodeError("a program has at least one instruction")
        linked = link_instructions(insns, maps or {}, name=name or "", type=type)
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
        environment = environment if environment is not None else Environment()
        run = self._runner(backend, environment)
        made = make_skb(packet, skb or {})
        own = environment.socket
        environment.socket = own or make_socket(packet)
        started = time.perf_counter_ns()
        try:
            for _ in range(repeat):
                retval = run(made)
        finally:
            environment.socket = own
        duration = (time.perf_counter_ns() - started) // repeat
        return TestRun(retval, made.packet, read_fields(made), duration)

    def _runner(self, backend: str | None, environment: Environment) -> Callable[[Skb], int]:
        loaded = self._loaded
        chosen = backend_by_name(backend) if backend else Backend.JIT
        if chosen is Backend.JIT and loaded.verified is None and backend:
            raise ClsbpfError("a program that is not verified runs in the interpreter only")
        if chosen is Backend.INTERPRETER or loaded.verified is None:
            program = loaded.linked or loaded.insns
            return lambda skb: interp.run(program, skb, profile=self._profile, environment=environment)
        native = self._native
        return lambda skb: int(native.run(skb, environment))

    @functools.cached_property
    def _native(self) -> NativeProgram:
        from .vm.jit import jit

        assert self._loaded.verified is not None
        return jit(self._loaded.verified, self._profile)


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


# Objects ------------------------------------------------------------------------------------------


class Object:
    """A compiled object (ELF): its programs and maps, and its global variables.

    Programs are found by function, or by section where that holds only one.  Each is linked and checked
    when it is first used.  All of them share the object's maps, as the kernel's do.
    """

    def __init__(self, spec: ObjectSpec, *, profile: str = "current") -> None:
        self.spec = spec
        self._profile = profile
        self._loaded = LoadedObject(spec, make_programs("jit", profile))
        self.maps: Mapping[str, Map] = self._loaded.maps
        """The maps by name."""
        self.programs: Mapping[str, Program] = _Programs(self)
        """The programs by function or section; an unknown name is an ObjectError that lists them."""
        self.variables: MutableMapping[str, Any] = Variables(spec, self.maps)
        """Global variables by name, to read and (those that are not constant) to set."""

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        btf: str | os.PathLike[str] | None = None,
        profile: str = "current",
    ) -> Object:
        """The object in a file; `btf` is that of the kernel it shall fit, by default this machine's.

        ObjectError says what is wrong with it, and where.
        """
        return cls(read_object(path, btf=btf, kfuncs=KFUNCS), profile=profile)

    def _program(self, name: str) -> Program:
        spec = self.spec.program(name)
        return Program(
            spec.insns, lambda: self._loaded.program(spec.name), name=spec.name, profile=self._profile
        )


class _Programs(Mapping[str, Program]):
    """The programs of an object by function; sections are understood too."""

    def __init__(self, owner: Object) -> None:
        self._owner = owner
        self._made: dict[str, Program] = {}

    def __getitem__(self, name: str) -> Program:
        function = self._owner.spec.program(name).name
        if function not in self._made:
            self._made[function] = self._owner._program(function)
        return self._made[function]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner.spec.programs)

    def __len__(self) -> int:
        return len(self._owner.spec.programs)


class Variables(MutableMapping[str, Any]):
    """Global variables of an object by name: numbers, lists and dicts where it has types, else bytes."""

    def __init__(self, spec: ObjectSpec, maps: Mapping[str, Map]) -> None:
        self._spec = spec
        self._maps = maps

    def _find(self, name: str) -> tuple[VariableSpec, Codec]:
        variable = self._spec.variables.get(name)
        if variable is None:
            there = ", ".join(self._spec.variables) or "none"
            raise ObjectError(f"{self._spec.name}: no variable {name!r}; there are: {there}")
        if isinstance(variable.type, TypeRef):
            return variable, codec(variable.type)
        return variable, raw_codec(variable.size)

    def __getitem__(self, name: str) -> Any:
        variable, values = self._find(name)
        section = self._maps[variable.map].lookup(ONLY_KEY)
        return values.decode(section[variable.offset : variable.offset + variable.size])

    def __setitem__(self, name: str, value: Any) -> None:
        variable, values = self._find(name)
        section = bytearray(self._maps[variable.map].lookup(ONLY_KEY))
        section[variable.offset : variable.offset + variable.size] = values.encode(value, name)
        self._maps[variable.map].update(ONLY_KEY, bytes(section))

    def __delitem__(self, name: str) -> None:
        raise ObjectError(f"variable {name!r} cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._spec.variables)

    def __len__(self) -> int:
        return len(self._spec.variables)


ONLY_KEY = bytes(4)
"""A data section is an array of one value."""


# Engine -------------------------------------------------------------------------------------------


class Engine:
    """A network of devices in user space, with tc's classifier: what a network namespace is to the kernel.

    `profile` is the kernel whose behaviour counts, "current" or "4.13".  `backend` is how packets are
    classified: "native" (a block of filters and the walk over the capture as one function), "jit" or
    "interpreter" (packet by packet, each program compiled or interpreted).  `btf` is the file of the BTF
    of the kernel that objects shall fit, by default this machine's.  `on_trace` gets what programs print.
    """

    def __init__(
        self,
        *,
        profile: str = "current",
        backend: str = "native",
        btf: str | os.PathLike[str] | None = None,
        on_trace: Callable[[TraceLine], None] | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ClsbpfError(f"no backend {backend!r}; there are: {', '.join(BACKENDS)}")
        self._backend = backend
        self._profile = profile_by_name(profile)
        self._btf = btf
        self._programs = make_programs(backend, profile)
        self._programs.environment.on_trace = on_trace
        self._pins = Pins()
        self._network = Network(profile=self._profile, programs=self._programs)
        self._endpoint = Endpoint(self._network)

    # devices and tc

    def add_device(self, name: str, ifindex: int | None = None) -> None:
        """Add a device; ClsbpfError when it cannot have that name or ifindex."""
        self._network.add_device(name, ifindex)

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices."""
        return tuple(device.name for device in self._network.devices.values())

    def tc(self, line: str) -> list[Any] | None:
        """Carry out a tc command line, without the word `tc`.

        What `tc -j` prints, as Python values; None where tc prints nothing.  TcError as tc refuses, and
        why.
        """
        try:
            return self.tc_words(split_words(line)).rows
        except TcError as error:
            raise TcError(explained(error, str(error)), error.exit_code, error.errno) from None

    def tc_words(self, words: Sequence[str], *, create_devices: bool = False) -> Outcome:
        """Carry out a tc command line; text or JSON as its options ask.  `create_devices`: those it names."""
        options, rest = parse_options(words)
        command = parse_command(
            rest,
            self._find_or_create if create_devices else self._network.ifindex,
            _read_text,
            options=options,
            load_object=self._load_object,
            environ=os.environ,
        )
        names = Names(device=self._device_name, program=self._program_info)
        try:
            return perform(command, self._endpoint.handle, names)
        except CommandError as error:
            # The engine knows why it refused in more words than rtnetlink carries.
            error.__cause__ = self._endpoint.cause
            raise

    def _load_object(self, source: ObjectSource) -> int:
        """A program that a tc line names by its file or pin, as a descriptor."""
        if source.pinned:
            return self._programs.open(self._pins.get(source.path))
        spec = read_object(source.path, btf=self._btf, kfuncs=KFUNCS)
        name = section_program(spec, source.section, source.program).name
        return self._programs.open(LoadedObject(spec, self._programs, self._pins).program(name))

    def _program_info(self, id: int) -> ProgramInfo | None:
        program = self._programs.by_id(id)
        if program is None or program.tag is None:
            return None
        return ProgramInfo(program.name or "", program.tag, jited=program.verified is not None)

    def tc_batch(
        self,
        path: str | os.PathLike[str],
        *,
        create_devices: bool = False,
        skip_unsupported: bool = False,
    ) -> tuple[str, ...]:
        """Carry out a file for `tc -batch`, up to the first error: TcError with file, line and word.

        With `skip_unsupported` lines of other classifier kinds are left out; what is returned says which.
        """
        try:
            text = _read_text(path)
        except OSError as error:
            raise TcError(f"{os.fspath(path)}: cannot be read: {error.strerror}", 1) from None
        skipped = []
        for line in read_batch(text, os.fspath(path)):
            try:
                self.tc_words(line.words, create_devices=create_devices)
            except UnsupportedKind as error:
                if not skip_unsupported:
                    raise locate(error, line) from None
                skipped.append(f"{line.file}:{line.number}: left out: {error.reason}")
            except TcError as error:
                raise locate(error, line) from None
        return tuple(skipped)

    def _find_or_create(self, name: str) -> int | None:
        return self._network.ifindex(name) or self._network.add_device(name).ifindex

    def _device_name(self, ifindex: int) -> str:
        device = self._network.devices.get(ifindex)
        return device.name if device else f"if{ifindex}"

    # captures

    def run(
        self,
        captures: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        dev: str | None = None,
        hook: str = "ingress",
        columns: bool = False,
        jobs: int = 1,
        keep_going: bool = False,
        on_batch: Callable[[Batch], None] | None = None,
        with_data: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Results:
        """Classify the packets of captures as they would arrive at (or leave) a device.

        `dev` may be left out where there is only one.  `columns` keeps a row a packet in memory;
        `on_batch` gets the rows while the run goes on.  `jobs` workers read a capture, where that makes no
        difference.  RunError: no such device or hook; CaptureError
        (with `results` where there are some): a capture that cannot be read, or not to its end; ProgramFault:
        an eBPF program did what no verified program does (with `keep_going` such packets are counted).
        """
        device = self._pick_device(dev)
        block = self._block(device, hook)
        setup = Setup(
            block=lambda link: block,
            at_ingress=hook == "ingress",
            ifindex=device.ifindex,
            in_order=needs_order(block),
            extra=written_columns(programs_of(block)),
            keep_going=keep_going,
            profile=self._profile,
            environment=self._programs.environment,
        )
        return run_captures(
            paths_of(captures),
            setup,
            backend=self._backend,
            jobs=jobs,
            on_batch=on_batch,
            with_data=with_data,
            columns=columns,
            progress=progress,
        )

    def _pick_device(self, name: str | None) -> Device:
        names = ", ".join(self.devices) or "none"
        if name is None:
            if len(self.devices) != 1:
                raise RunError(f"at which device do the packets arrive? There are: {names}")
            name = self.devices[0]
        device = self._network.device(name)
        if device is None:
            raise RunError(f"no device {name!r}; there are: {names}")
        return device

    def _block(self, device: Device, hook: str) -> Block:
        if hook not in ("ingress", "egress"):
            raise RunError(f"no hook {hook!r}; there are: ingress, egress")
        qdisc = device.ingress
        block = None if qdisc is None else qdisc.ingress if hook == "ingress" else qdisc.egress
        if block is None:
            has = f"its {qdisc.kind} qdisc has none" if qdisc else "it has no clsact or ingress qdisc"
            raise RunError(f"device {device.name} has no {hook} filters: {has}")
        return block


def explained(error: TcError, message: str) -> str:
    """A message with what is known beyond tc's words: the reason behind a refusal."""
    cause = error.__cause__
    if isinstance(cause, ClsbpfError) and str(cause) not in message:
        return f"{message}\n{cause}"
    return message


def locate(error: TcError, line: BatchLine) -> TcError:
    """The error with file, line, word and reason, and tc's exit code for it."""
    cause = error.__cause__
    located = at_line(error, line)
    located.__cause__ = cause
    message, where = explained(located, str(located)), f"{line.file}:{line.number}"
    if where not in message:
        message = f"{message}\nCommand failed {where}"
    word = error.word if isinstance(error, CommandError) else None
    if word is not None and word not in message:
        message = f'{message} (at "{word}")'
    return TcError(message, located.exit_code, located.errno)


def _read_text(path: str | os.PathLike[str]) -> str:
    """A policy or bytecode file; bytes that are not UTF-8 survive."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def programs_of(block: Block) -> Iterator[tuple[Insn, ...]]:
    """The instructions of the block's eBPF programs, and of those that they may go on to."""
    for planned in planned_filters(block):
        program = planned.filter.program
        if isinstance(program, LoadedProgram) and program.linked is not None:
            yield program.insns


def paths_of(captures: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """One path or several, as strings."""
    if isinstance(captures, str | os.PathLike):
        return (os.fspath(captures),)
    return tuple(os.fspath(capture) for capture in captures)


def make_programs(backend: str, profile: str) -> ProgramTable:
    """The table of programs for a backend; those of a native plan run one by one only outside of it."""
    kind = Backend.INTERPRETER if backend == "interpreter" else Backend.JIT
    return ProgramTable(backend=kind, profile=profile_by_name(profile))


# Filters without a policy -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FilterText:
    """A filter given by itself: a tcpdump expression, bytecode in tc's text, or a program of an object."""

    kind: str
    """ "expression", "bytecode" or "object"."""
    text: str
    """For an object FILE, or FILE:PROGRAM by function or section."""
    direct_action: bool = True
    """Is an object's return value the verdict?"""

    def compile(self, link: LinkLayer) -> tuple[SockFilter, ...]:
        """Its instructions for a link type; ClsbpfError names the filter."""
        if self.kind == "expression":
            return compile_expression(self.text, link.number)
        try:
            return parse_bytecode(self.text)
        except ClsbpfError as error:
            raise ClsbpfError(f"bytecode {self.text!r}: {error}") from None

    def load(self, programs: ProgramTable, btf: str | None = None) -> LoadedProgram:
        """The program of an object; ObjectError where there is none."""
        path, program = split_object(self.text)
        return LoadedObject(read_object(path, btf=btf, kfuncs=KFUNCS), programs).program(program)


def split_object(text: str) -> tuple[str, str | None]:
    """FILE[:PROGRAM] in its parts; a file whose name has a colon is found, too."""
    path, colon, program = text.rpartition(":")
    if not colon or os.path.exists(text):
        return text, None
    return path, program


class AsCaptured:
    """A program that sees frames as captured, among others that see them as the kernel has them."""

    def __init__(self, program: LoadedProgram, link: LinkLayer) -> None:
        self._program = program
        self._link = link

    def run(self, skb: Skb) -> int:
        """The program's answer for the frame with its VLAN tag in the data."""
        frame, length = skb.packet, skb.len
        if skb.vlan_present:
            tag = skb.vlan_proto.to_bytes(2, "big") + skb.vlan_tci.to_bytes(2, "big")
            frame, length = frame[:12] + tag + frame[12:], length + len(tag)
        captured = Skb.from_frame(frame, length=length, link=self._link)
        captured.ifindex = skb.ifindex
        retval = self._program.run(captured)
        skb.read_past |= captured.read_past
        return retval


class _FilterBlock:
    """The filters of a command line as a block: `ProgramSource` of their programs, by number."""

    def __init__(self, filters: Sequence[FilterText], programs: ProgramTable, btf: str | None) -> None:
        self.filters = filters
        self.programs = programs
        self.objects = {
            number: each.load(programs, btf)
            for number, each in enumerate(filters, 1)
            if each.kind == "object"
        }
        self._blocks: dict[int, Block] = {}
        self._link = ETHERNET

    def block(self, link: LinkLayer) -> Block:
        """The block for a link type: the nth filter has pref n, handle 1 and flowid 1:n."""
        if link.number not in self._blocks:
            self._link = link
            block = self._blocks[link.number] = Block(self, profile=self.programs.profile)
            chain = block.get_chain(0)
            for number, each in enumerate(self.filters, 1):
                try:
                    chain.insert(number, ETH_P_ALL).change(self._options(number, each, link), 1)
                except BytecodeError as error:
                    raise ClsbpfError(f"{each.kind} {each.text!r}: {error}") from None
        return self._blocks[link.number]

    def _options(self, number: int, each: FilterText, link: LinkLayer) -> BpfOptions:
        classid = FIRST_MAJOR | number
        if each.kind == "object":
            flags = TCA_BPF_FLAG_ACT_DIRECT if each.direct_action else None
            return BpfOptions(fd=number, name=each.text[-CLS_BPF_NAME_LEN:], flags=flags, classid=classid)
        insns = each.compile(link)
        return BpfOptions(ops_len=len(insns), ops=encode_ops(insns), classid=classid)

    def from_ops(self, ops: bytes) -> LoadedProgram | AsCaptured:
        """A classic program; beside objects, which see packets as the kernel has them, with its own view."""
        program = self.programs.from_ops(ops)
        return AsCaptured(program, self._link) if self.objects else program

    def from_fd(self, fd: int) -> LoadedProgram:
        """The object's program with that number."""
        return self.objects[fd]


def filters_setup(
    filters: Sequence[FilterText],
    *,
    profile: str,
    backend: str,
    hook: str = "ingress",
    btf: str | None = None,
    keep_going: bool = False,
    on_trace: Callable[[TraceLine], None] | None = None,
) -> Setup:
    """Filters to be tried in order: the nth has pref n, handle 1, protocol all, flowid 1:n.

    Expressions and bytecode see frames as captured, with a VLAN tag in the data, as at egress; programs
    of objects see them as the kernel has them at `hook`.
    """
    if len(filters) > MAX_FILTERS:
        raise ClsbpfError(f"{len(filters)} filters; prefs and minors go up to {MAX_FILTERS}")
    programs = make_programs(backend, profile)
    programs.environment.on_trace = on_trace
    made = _FilterBlock(filters, programs, btf)

    def matches(prio: int, each: Filter) -> str:
        given = filters[prio - 1]
        return describe_program(prio, each) if given.kind == "bytecode" else given.text

    return Setup(
        block=made.block,
        at_ingress=bool(made.objects) and hook == "ingress",
        for_ethernet=any(each.kind != "expression" for each in filters),
        in_order=bool(made.objects),
        extra=written_columns(each.insns for each in made.objects.values()),
        keep_going=keep_going,
        profile=programs.profile,
        environment=programs.environment,
        matches=matches,
    )


__all__ = ["Engine", "FilterText", "Object", "Program", "TestRun", "filters_setup"]
