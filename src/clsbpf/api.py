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

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .bpf.bytecode import parse_bytecode
from .bpf.check import check
from .bpf.classic import SockFilter, encode_ops
from .bpf.classic_asm import disassemble_classic
from .bpf.context import BY_NAME
from .bpf.disasm import disassemble
from .bpf.insn import Insn, decode
from .bpf.tag import program_tag
from .endpoint import Endpoint
from .engine.devices import Device, Network
from .engine.plans import Setup, describe_program
from .engine.programs import Backend, ProgramTable, backend_by_name
from .engine.results import Batch, Results
from .engine.run import BACKENDS, Progress
from .engine.run import run as run_captures
from .errors import ClsbpfError, RunError, TcError
from .expression import compile_expression
from .link import ETHERNET, LinkLayer
from .profile import profile_by_name
from .skb import PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST, Skb
from .tc.chain import ETH_P_ALL, Block
from .tc.filter import BpfOptions, Filter
from .tccmd.batch import BatchLine, at_line, read_batch
from .tccmd.command import parse_command
from .tccmd.errors import CommandError, UnsupportedKind
from .tccmd.options import parse_options
from .tccmd.perform import Outcome, perform
from .tccmd.render import Names
from .tccmd.words import split_words
from .verifier.program import VerifiedProgram
from .vm import interp
from .vm.environment import Environment

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
        verified: VerifiedProgram | None,
        *,
        name: str | None = None,
        profile: str = "current",
    ) -> None:
        self.instructions = tuple(instructions)
        """As they were given: classic (`SockFilter`) or eBPF (`Insn`)."""
        self.name = name
        self._verified = verified
        self._profile = profile_by_name(profile)
        self._native: Any = None

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
        maps: Mapping[int, object] | None = None,
        type: str = "sched_cls",
        license: str = "GPL",
        verify: bool = True,
        *,
        name: str | None = None,
        profile: str = "current",
    ) -> Program:
        """An eBPF program, 8 bytes an instruction; BytecodeError where they are no instructions.

        There is no verifier yet: `verify=True` is refused, `verify=False` gives a program that runs in
        the checked interpreter only.
        """
        if verify:
            raise ClsbpfError("eBPF programs cannot be verified yet: pass verify=False to interpret this one")
        if maps:
            raise ClsbpfError("maps cannot be given to a program yet")
        return cls(decode(raw), None, name=name, profile=profile)

    @classmethod
    def _from_classic(cls, insns: Sequence[SockFilter], name: str | None, profile: str) -> Program:
        kernel = profile_by_name(profile)
        verified = VerifiedProgram.from_classic(check(tuple(insns), kernel), kernel)
        return cls(insns, verified, name=name, profile=profile)

    @property
    def tag(self) -> str | None:
        """The kernel's tag, 16 hexadecimal digits; None for a classic program, which has none."""
        if self._verified is not None and self._verified.classic is not None:
            return None
        return program_tag(self._ebpf, self._profile).hex()

    @property
    def _ebpf(self) -> tuple[Insn, ...]:
        """What runs: the program, or its translation."""
        if self._verified is not None:
            return self._verified.insns
        return tuple(insn for insn in self.instructions if isinstance(insn, Insn))

    def disassemble(self) -> str:
        """The program as text, an instruction a line: bpf_asm's language, or for eBPF the verifier log's."""
        if self._verified is not None and self._verified.classic is not None:
            return disassemble_classic(self._verified.classic.insns)
        return disassemble(self._ebpf)

    def test_run(
        self,
        packet: bytes,
        skb: Mapping[str, Any] | None = None,
        repeat: int = 1,
        backend: str | None = None,
    ) -> TestRun:
        """Run on one packet, which begins at its link-layer header: BPF_PROG_TEST_RUN without its limits.

        `skb` sets fields of struct __sk_buff by name; what is not set is as the kernel's test run has it.
        `repeat` runs it again, on what the run before left.  `backend` is "jit" or "interpreter", by
        default the JIT where the program may run natively.
        """
        if repeat < 1:
            raise ClsbpfError(f"repeat is {repeat}: a program runs at least once")
        run = self._runner(backend)
        made = self.make_skb(packet, skb or {})
        started = time.perf_counter_ns()
        for _ in range(repeat):
            retval = run(made)
        duration = (time.perf_counter_ns() - started) // repeat
        return TestRun(retval, made.packet, read_fields(made), duration)

    def make_skb(self, packet: bytes, fields: Mapping[str, Any]) -> Skb:
        """bpf_prog_test_run_skb(): the packet with its tag in the data, and the fields that were set."""
        made = Skb.from_frame(packet)
        if len(packet) and packet[0] & 1:
            made.pkt_type = PACKET_BROADCAST if packet[:6] == b"\xff" * 6 else PACKET_MULTICAST
        else:
            made.pkt_type = PACKET_OTHERHOST
        for name, value in fields.items():
            set_field(made, name, value)
        return made

    def _runner(self, backend: str | None) -> Callable[[Skb], int]:
        chosen = backend_by_name(backend) if backend else None
        if chosen is None:
            chosen = Backend.JIT if self._verified is not None else Backend.INTERPRETER
        environment = Environment()
        if chosen is Backend.INTERPRETER:
            return lambda skb: interp.run(self._ebpf, skb, profile=self._profile, environment=environment)
        if self._verified is None:
            raise ClsbpfError("a program that is not verified runs in the interpreter only")
        if self._native is None:
            from .vm.jit import jit

            self._native = jit(self._verified, self._profile)
        native = self._native
        return lambda skb: int(native.run(skb, environment))


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


# Engine -------------------------------------------------------------------------------------------


class Engine:
    """A network of devices in user space, with tc's classifier: what a network namespace is to the kernel.

    `profile` is the kernel whose behaviour counts, "current" or "4.13".  `backend` is how packets are
    classified: "native" (a block of filters and the walk over the capture as one function), "jit" or
    "interpreter" (packet by packet, each program compiled or interpreted).
    """

    def __init__(self, *, profile: str = "current", backend: str = "native") -> None:
        if backend not in BACKENDS:
            raise ClsbpfError(f"no backend {backend!r}; there are: {', '.join(BACKENDS)}")
        self._backend = backend
        self._profile = profile_by_name(profile)
        self._programs = make_programs(backend, profile)
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

        What `tc -j` prints, as Python values; None where tc prints nothing.  TcError as tc refuses.
        """
        return self.tc_words(split_words(line)).rows

    def tc_words(self, words: Sequence[str], *, create_devices: bool = False) -> Outcome:
        """Carry out a tc command line; text or JSON as its options ask.  `create_devices`: those it names."""
        options, rest = parse_options(words)
        command = parse_command(
            rest,
            self._find_or_create if create_devices else self._network.ifindex,
            _read_text,
            options=options,
        )
        return perform(command, self._endpoint.handle, Names(device=self._device_name))

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
        on_batch: Callable[[Batch], None] | None = None,
        with_data: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Results:
        """Classify the packets of captures as they would arrive at (or leave) a device.

        `dev` may be left out where there is only one.  `columns` keeps a row a packet in memory;
        `on_batch` gets the rows while the run goes on.  `jobs` workers read a capture, where that makes no
        difference.  RunError: no such device or hook; CaptureError
        (with `results` where there are some): a capture that cannot be read, or not to its end.
        """
        device = self._pick_device(dev)
        block = self._block(device, hook)
        setup = Setup(
            block=lambda link: block,
            at_ingress=hook == "ingress",
            ifindex=device.ifindex,
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


def locate(error: TcError, line: BatchLine) -> TcError:
    """The error with file, line and word, and tc's exit code for it."""
    located = at_line(error, line)
    message, where = str(located), f"{line.file}:{line.number}"
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
    """A filter given by itself: a tcpdump expression, or a program in tc's bytecode text."""

    kind: str
    """ "expression" or "bytecode"."""
    text: str

    def compile(self, link: LinkLayer) -> tuple[SockFilter, ...]:
        """Its instructions for a link type; ClsbpfError names the filter."""
        try:
            if self.kind == "expression":
                return compile_expression(self.text, link.number)
            return parse_bytecode(self.text)
        except ClsbpfError as error:
            raise ClsbpfError(f"{self.kind} {self.text!r}: {error}") from None


def filters_setup(filters: Sequence[FilterText], *, profile: str, backend: str) -> Setup:
    """Filters to be tried in order: the nth has pref n, handle 1, protocol all, flowid 1:n.

    They see frames as captured, with a VLAN tag in the data: as at egress.
    """
    if len(filters) > MAX_FILTERS:
        raise ClsbpfError(f"{len(filters)} filters; prefs and minors go up to {MAX_FILTERS}")
    programs = make_programs(backend, profile)
    blocks: dict[int, Block] = {}

    def block(link: LinkLayer) -> Block:
        if link.number not in blocks:
            made = Block(programs, profile=programs.profile)
            chain = made.get_chain(0)
            for number, each in enumerate(filters, 1):
                insns = each.compile(link)
                options = BpfOptions(ops_len=len(insns), ops=encode_ops(insns), classid=FIRST_MAJOR | number)
                try:
                    chain.insert(number, ETH_P_ALL).change(options, 1)
                except ClsbpfError as error:
                    raise ClsbpfError(f"{each.kind} {each.text!r}: {error}") from None
            blocks[link.number] = made
        return blocks[link.number]

    def matches(prio: int, each: Filter) -> str:
        given = filters[prio - 1]
        return given.text if given.kind == "expression" else describe_program(prio, each)

    return Setup(
        block=block,
        at_ingress=False,
        for_ethernet=any(each.kind == "bytecode" for each in filters),
        profile=programs.profile,
        environment=programs.environment,
        matches=matches,
    )


__all__ = ["Engine", "FilterText", "Program", "TestRun", "filters_setup"]
