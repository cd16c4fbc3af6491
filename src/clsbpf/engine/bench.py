"""What does a policy cost on this traffic, and which of its filters costs it?

Three questions, asked of one sample of the capture's packets:

- *By backend*: nanoseconds a packet of a whole run, reading included.  The slow backends get as many packets
  as they manage in a while.
- *By program*: each program by itself, again and again on some of the packets, as BPF_PROG_TEST_RUN does
  it: a figure that a kernel's can stand beside.
- *By filter*: a filter costs where packets come to it, and those that an earlier one decided do not.  So its
  share is its program's time on a packet, times the packets that come to it.  (The compiled policy does
  better than the sum: what programs have in common it does once, and many filters are looked up.)

Nothing is timed before the native run and the interpreter agree on the counts.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..bpf.insn import Insn
from ..capture import Interface, open_capture
from ..capture.writer import PcapWriter
from ..errors import ClsbpfError
from ..link import LinkLayer, link_layer
from ..profile import KernelProfile
from ..skb import Skb
from ..tc.chain import Block
from ..vm.environment import Environment
from .inorder import make_skb
from .planned import PlannedFilter, planned_filters
from .plans import Setup
from .programs import LoadedProgram, ProgramTable
from .queueing import blocks_of
from .results import Results
from .run import run
from .tally import ETH_P_NAMES
from .view import View

SAMPLE_PACKETS = 200_000
SAMPLE_BYTES = 128 << 20
MANY_PACKETS = 100_000
"""A small sample is run over again and again up to so many: opening a file is not what is measured."""
FIRST_PACKETS = 200
"""So many tell how many a slow backend manages."""
SLOW_SECONDS = 1.0
PROGRAM_PACKETS = 256
"""Each program runs on so many of the sample, spread over it."""
REPEAT = 100
"""On each of them so often."""

Report = Callable[[str, int, int], None]
"""Told what is going on, and how much of it is done of how much."""
KernelFigure = Callable[[PlannedFilter, Sequence[bytes], int], float | None]
"""Nanoseconds of a filter's program in a kernel, on packets, each so often; None where it cannot say."""


@dataclass(frozen=True, slots=True)
class BackendFigure:
    """A way to run the policy: nanoseconds a packet, over so many packets."""

    name: str
    nanoseconds: float
    packets: int


@dataclass(frozen=True, slots=True)
class FilterFigure:
    """A filter: what its program takes on a packet (None: it runs only in the interpreter), here and in the
    kernel; how many of the sample's packets come to it and how many it decides; its share of the time."""

    parent: int
    """The class or qdisc that it hangs on (a classid), 0 at clsact's hook."""
    chain: int
    pref: int
    protocol: str
    handle: int
    flowid: int
    matches: str
    nanoseconds: float | None
    kernel: float | None
    arrivals: int
    decided: int
    share: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured.  `walk` is nanoseconds a packet without any filter: reading and finding packets."""

    packets: int
    bytes: int
    walk: float
    backends: tuple[BackendFigure, ...]
    filters: tuple[FilterFigure, ...]
    warnings: tuple[str, ...]


def bench(
    capture: str,
    make: Callable[[str], Setup],
    *,
    rounds: int = 5,
    kernel: KernelFigure | None = None,
    report: Report = lambda what, done, of: None,
) -> Bench:
    """Measure; `make` gives the setup for a backend, each time a new one.  ClsbpfError: results differ."""
    sample = take_sample(capture)
    with tempfile.TemporaryDirectory(prefix="clsbpf-bench-") as place:
        count = len(sample.frames)
        many = sample.write(os.path.join(place, "many.pcap"), count, max(MANY_PACKETS // count, 1))
        slow: list[BackendFigure] = []
        for name in ("jit", "interpreter"):
            report(name, 0, 1)
            part = sample.write(os.path.join(place, "part.pcap"), manageable(sample, make(name), name, place))
            results = run([part], make(name), backend=name)
            slow.append(BackendFigure(name, per_packet([results]), results.packets))
        require_equal(run([part], make("native")), results)
        setup, walk, fast = make("native"), 0.0, []
        if not setup.in_order:
            walk = per_packet([run([many], without_filters(setup)) for _ in range(rounds)])
            run([many], setup)  # what is done once: memory is touched, tables are filled
            runs = []
            for number in range(rounds):
                report("native", number, rounds)
                runs.append(run([many], setup))
            fast = [BackendFigure("native", per_packet(runs), runs[0].packets)]
            results = run([sample.write(os.path.join(place, "part.pcap"), count)], make("native"))
    warnings = results.warnings
    if setup.in_order:
        warnings = (*warnings, f"no native run was measured: {setup.in_order}")
    filters = filter_figures(sample, make("jit"), results, kernel, report)
    return Bench(len(sample.frames), sample.size, walk, (*fast, *slow), filters, warnings)


# Packets ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """Packets of one link type: their bytes, and their lengths on the wire."""

    interface: Interface
    frames: list[bytes]
    lengths: list[int]

    @property
    def size(self) -> int:
        """Bytes that were captured of them."""
        return sum(map(len, self.frames))

    @property
    def link(self) -> LinkLayer:
        """What their bytes begin with."""
        return link_layer(self.interface.link_type)

    def write(self, path: str, count: int, times: int = 1) -> str:
        """The first of them as a capture, `times` over; its path."""
        with PcapWriter(path, self.interface) as writer:
            for number in range(count * times):
                place = number % count
                writer.write(number * 1000, self.frames[place], self.lengths[place])
        return path

    def spread(self, count: int) -> list[tuple[bytes, int]]:
        """Some of them, from the first to the last."""
        step = max(len(self.frames) // count, 1)
        return list(zip(self.frames[::step], self.lengths[::step], strict=True))[:count]


def take_sample(capture: str) -> Sample:
    """The first packets of a capture, all of the first one's link type; ClsbpfError where there is none."""
    frames: list[bytes] = []
    lengths: list[int] = []
    size, interface = 0, None
    with open_capture(capture) as packets:
        for record, data in packets:
            theirs = packets.interfaces[record.interface]
            interface = interface or theirs
            if theirs.link_type == interface.link_type:
                frames.append(bytes(data))
                lengths.append(record.length)
                size += len(data)
            if len(frames) == SAMPLE_PACKETS or size > SAMPLE_BYTES:
                break
    if interface is None:
        raise ClsbpfError(f"{capture}: there is no packet to measure with")
    return Sample(interface, frames, lengths)


def manageable(sample: Sample, setup: Setup, backend: str, place: str) -> int:
    """How many packets a slow backend may be given, as a few tell."""
    few = sample.write(os.path.join(place, "few.pcap"), min(FIRST_PACKETS, len(sample.frames)))
    run([few], setup, backend=backend)  # imports and compiles
    each = per_packet([run([few], setup, backend=backend)]) / 1e9
    return max(min(int(SLOW_SECONDS / each), len(sample.frames)), min(FIRST_PACKETS, len(sample.frames)))


def per_packet(runs: Sequence[Results]) -> float:
    """Nanoseconds a packet: the median."""
    return statistics.median(each.seconds for each in runs) / runs[0].packets * 1e9


def require_equal(native: Results, definition: Results) -> None:
    """ClsbpfError unless both decided alike."""
    for what in ("packets", "bytes", "truncated", "undecided", "filters", "classes"):
        ours, theirs = getattr(native, what), getattr(definition, what)
        if ours != theirs:
            raise ClsbpfError(f"the backends differ in {what}: native {ours}, interpreter {theirs}")


def without_filters(setup: Setup) -> Setup:
    """The same with nothing to try."""
    empty = Block(ProgramTable(profile=setup.profile))
    return replace(setup, block=lambda link: empty, root=None, plain=False)


# Filters ------------------------------------------------------------------------------------------


def filter_figures(
    sample: Sample, setup: Setup, results: Results, kernel: KernelFigure | None, report: Report
) -> tuple[FilterFigure, ...]:
    """The filters, in the order in which packets come to them."""
    view = View(sample.link, setup.at_ingress, setup.ifindex)
    environment = setup.environment or Environment()
    packets = [each for each in sample.spread(PROGRAM_PACKETS) if fresh_skb(view, each) is not None]
    frames = [skb.packet for each in packets if (skb := fresh_skb(view, each)) is not None]
    known: dict[tuple[Insn, ...], tuple[float | None, float | None]] = {}
    filters = list(planned_filters(setup.block(sample.link)))
    for parent, block in blocks_of(setup.root):
        filters += planned_filters(block, parent)
    counts = {
        (each.parent, each.chain, each.pref, each.protocol, each.handle): each for each in results.filters
    }
    decided = Counter[tuple[int, int]]()
    for each in results.filters:
        decided[each.parent, each.chain] += each.packets
    # Where an action or a class leads to filters, those packets are known to have come that they decide.
    arrivals = Counter(decided)
    arrivals[0, 0] = results.packets
    if setup.root is not None:
        arrivals[setup.root.handle, 0] = results.packets
    rows = []
    for number, planned in enumerate(filters):
        report("programs", number, len(filters))
        held, count = planned.filter.program, counts[key_of(planned)]
        program = getattr(held, "program", held)  # one among objects that sees frames as captured
        ours = theirs = None
        if isinstance(program, LoadedProgram) and not planned.filter.skip_sw:
            if program.insns not in known:
                known[program.insns] = (
                    program_figure(program, setup.profile, environment, view, packets),
                    kernel(planned, frames, REPEAT) if kernel is not None else None,
                )
            ours, theirs = known[program.insns]
        place = count.parent, count.chain
        rows.append((count, ours, theirs, arrivals[place]))
        elsewhere = planned.leads_to - {count.chain} if planned.has_actions else set()
        arrivals[place] -= count.packets + sum(decided[count.parent, chain] for chain in elsewhere)
    total = sum((ours or 0.0) * came for _, ours, _, came in rows) or 1.0
    return tuple(
        FilterFigure(
            count.parent,
            count.chain,
            count.pref,
            count.protocol,
            count.handle,
            count.flowid,
            count.matches,
            ours,
            theirs,
            came,
            count.packets,
            (ours or 0.0) * came / total,
        )
        for count, ours, theirs, came in rows
    )


def key_of(planned: PlannedFilter) -> tuple[int, int, int, str, int]:
    """What tells its count from others'."""
    classifier = planned.classifier
    protocol = ETH_P_NAMES.get(classifier.protocol, f"[{classifier.protocol}]")
    return planned.parent, planned.chain, classifier.prio, protocol, planned.filter.handle


def fresh_skb(view: View, packet: tuple[bytes, int]) -> Skb | None:
    """A packet as no program has seen it."""
    return make_skb(view, memoryview(packet[0]), packet[1])


def program_figure(
    program: LoadedProgram,
    profile: KernelProfile,
    environment: Environment,
    view: View,
    packets: Sequence[tuple[bytes, int]],
) -> float | None:
    """Nanoseconds of a run of the machine code, the mean over packets; None where only the interpreter may
    run it."""
    if program.verified is None or not packets:
        return None
    native = program.machine_code(profile)
    skbs = (fresh_skb(view, packet) for packet in packets)
    return statistics.fmean(native.test_run(environment, skb, REPEAT)[1] for skb in skbs if skb is not None)
