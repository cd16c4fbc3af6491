"""A network of devices in user space, driven in tc's words, and run over captures.

An `Engine` is spoken to in tc's language (`tccmd/`) through rtnetlink bytes (`endpoint/`): whatever it
is told could be told to a kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..bpf.insn import Insn
from ..endpoint import Endpoint
from ..engine.delivery import OnDelivery
from ..engine.devices import Device, Network
from ..engine.passages import obstacle
from ..engine.pins import Pins
from ..engine.planned import needs_order, planned_filters
from ..engine.plans import Setup
from ..engine.programs import LoadedProgram
from ..engine.queueing import blocks_of, chooses
from ..engine.queueing_plain import plain_block
from ..engine.results import Batch, Results
from ..engine.run import BACKENDS, Progress
from ..engine.run import run as run_captures
from ..engine.written import written_columns
from ..errors import ClsbpfError, RunError, TcError
from ..profile import profile_by_name
from ..tc.actions.clock import CaptureClock
from ..tc.actions.surroundings import Surroundings
from ..tc.chain import Block
from ..tc.offload import OffloadDriver
from ..tc.qdiscs.qdisc import Qdisc
from ..tccmd.batch import BatchLine, at_line, read_batch
from ..tccmd.command import parse_command
from ..tccmd.errors import CommandError, UnsupportedKind
from ..tccmd.options import parse_options
from ..tccmd.perform import Outcome, perform
from ..tccmd.render import Names, ProgramInfo
from ..tccmd.request import ObjectSource
from ..tccmd.words import split_words
from ..vm.environment import TraceLine

if TYPE_CHECKING:
    pass

from .tables import make_programs


class Engine:
    """A network of devices in user space, with tc's classifier: what a network namespace is to the kernel.

    `profile` is the kernel whose behaviour counts, "current" or "4.13".  `backend` is how packets are
    classified: "native" (a block of filters and the walk over the capture as one function), "jit" or
    "interpreter" (packet by packet, each program compiled or interpreted).  `btf` is the file of the BTF
    of the kernel that objects shall fit, by default this machine's.  `on_trace` gets what programs print.
    Programs of objects are verified when a filter takes them; without `verify` none is, and they run in the
    checked interpreter only.
    """

    def __init__(
        self,
        *,
        profile: str = "current",
        backend: str = "native",
        btf: str | os.PathLike[str] | None = None,
        on_trace: Callable[[TraceLine], None] | None = None,
        verify: bool = True,
    ) -> None:
        if backend not in BACKENDS:
            raise ClsbpfError(f"no backend {backend!r}; there are: {', '.join(BACKENDS)}")
        self._backend = backend
        self._profile = profile_by_name(profile)
        self._btf = btf
        self._verify = verify
        self._programs = make_programs(backend, profile)
        self._programs.environment.on_trace = on_trace
        self._programs.environment.keeps_trace = False
        self._pins = Pins()
        self._network = Network(
            profile=self._profile, programs=self._programs, around=Surroundings(clock=CaptureClock())
        )
        self._endpoint = Endpoint(self._network)

    # devices and tc

    def add_device(
        self, name: str, ifindex: int | None = None, *, driver: str | OffloadDriver | None = None
    ) -> None:
        """Add a device; ClsbpfError when it cannot have that name or ifindex.

        `driver` offloads its filters: "worker", hardware that is a worker of its own, or one of yours
        (`clsbpf.tc.offload.OffloadDriver`).  Without, filters that are skip_sw are refused.
        """
        if isinstance(driver, str):
            from ..engine.offload_worker import driver_by_name

            driver = driver_by_name(driver)
        self._network.add_device(name, ifindex, driver=driver)

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
        from ..engine.objects import LoadedObject, loaded_as, section_program
        from ..objfile import read_object
        from ..vm.helpers import KFUNCS

        if source.pinned:
            return self._programs.open(self._pins.get(source.path))
        spec = loaded_as(read_object(source.path, btf=self._btf, kfuncs=KFUNCS), source.type)
        name = section_program(spec, source.section, source.program).name
        loaded = LoadedObject(spec, self._programs, self._pins, verify=self._verify)
        return self._programs.open(loaded.program(name))

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
        jobs: int | None = 1,
        keep_going: bool = False,
        on_batch: Callable[[Batch], None] | None = None,
        with_data: bool = False,
        on_delivery: OnDelivery | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Results:
        """Classify the packets of captures as they would arrive at (or leave) a device.

        `dev` may be left out where there is only one.  `columns` keeps a row a packet in memory;
        `on_batch` gets the rows while the run goes on, with packets' bytes if `with_data`.  `jobs` workers
        (None: as many as help) read a capture, where that makes no difference.  `on_delivery` gets the
        packets that programs send to other devices.

        RunError: no such device or hook.  CaptureError, with `results` where there are some: a capture that
        cannot be read, or not to its end.  ProgramFault: an eBPF program did what no verified program does
        (with `keep_going` such packets are counted).
        """
        setup = self._setup(dev=dev, hook=hook, keep_going=keep_going, on_delivery=on_delivery)
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

    def _setup(
        self,
        *,
        dev: str | None,
        hook: str,
        keep_going: bool = False,
        on_delivery: OnDelivery | None = None,
    ) -> Setup:
        """What packets meet at a device's hook: what `run` runs.  RunError: no such device or hook."""
        device = self._pick_device(dev)
        root = device.root if hook == "egress" and chooses(device.root) else None
        block = self._block(device, hook, root)
        plain = None
        if root is not None and self._backend == "native" and not any(planned_filters(block)):
            plain = plain_block(root)
            block = plain or block
        return Setup(
            block=lambda link: block,
            at_ingress=hook == "ingress",
            ifindex=device.ifindex,
            in_order=needs_order(block) or (obstacle(root) if root is not None else None),
            plain=plain is not None,
            extra=written_columns(programs_of(block, *(each for _, each in blocks_of(root)))),
            root=root,
            keep_going=keep_going,
            network=self._network,
            on_delivery=on_delivery,
            profile=self._profile,
            environment=self._programs.environment,
        )

    def _pick_device(self, name: str | None) -> Device:
        names = ", ".join(self.devices) or "none"
        if name is None and not self.devices:
            raise RunError("packets cannot arrive: there is no device (a policy names those that it is for)")
        if name is None:
            if len(self.devices) != 1:
                raise RunError(f"at which device do the packets arrive? There are: {names}")
            name = self.devices[0]
        device = self._network.device(name)
        if device is None:
            raise RunError(f"no device {name!r}; there are: {names}")
        return device

    def _block(self, device: Device, hook: str, root: Qdisc | None = None) -> Block:
        if hook not in ("ingress", "egress"):
            raise RunError(f"no hook {hook!r}; there are: ingress, egress")
        qdisc = device.ingress
        block = None if qdisc is None else qdisc.ingress if hook == "ingress" else qdisc.egress
        if block is None and root is not None:
            return Block(self._programs, profile=self._profile)
        if block is None:
            has = f"its {qdisc.kind} qdisc has none" if qdisc else "it has no clsact or ingress qdisc"
            raise RunError(f"device {device.name} has no {hook} filters: {has}")
        return block


def setup_of(engine: Engine, *, dev: str | None, hook: str) -> Setup:
    """What packets meet at a device's hook, which is what `Engine.run` runs.  RunError: there is no such."""
    return engine._setup(dev=dev, hook=hook)


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


def programs_of(*blocks: Block) -> Iterator[tuple[Insn, ...]]:
    """The instructions of the blocks' eBPF programs, and of those that they may go on to."""
    for block in blocks:
        for planned in planned_filters(block):
            program = planned.filter.program
            if isinstance(program, LoadedProgram) and program.linked is not None:
                yield program.insns


def paths_of(captures: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """One path or several, as strings."""
    if isinstance(captures, str | os.PathLike):
        return (os.fspath(captures),)
    for capture in captures:
        if not isinstance(capture, str | os.PathLike):
            raise ClsbpfError(f"a capture is given by its path, not as {type(capture).__name__}")
    return tuple(os.fspath(capture) for capture in captures)
