"""A capture through a native plan: window after window, Python only where a walk asks for it.

    window ─▶ walk ─▶ Stop.MORE ─────────▶ next window
               ▲  └─▶ rows or classes full ─▶ hand them out ─┐
               │  └─▶ another link type ────▶ another plan ──┤
               │  └─▶ a block for Python ───▶ reader.take ───┤
               └──────────────────────────────────────────────┘

The reader (capture/) judges whatever a walk does not know, so damage is told in its words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..capture import Capture, Interface, Window
from ..capture.pcap import LengthOrder, PcapHeader, PcapReader
from ..capture.pcapng import PcapngReader
from ..capture.record import NS_PER_SECOND, Reader, max_captured
from ..capture.source import Source
from ..errors import ProgramFault
from ..link import link_layer
from ..vm.net import to_nobody
from .file_ways import FileWalk, FileWays
from .ledger import Ledger
from .plan import Plan, Walk
from .plans import Plans
from .walk import USUAL_RECORD_HEADER
from .walk_state import PORT_BYTES, Cells, Port, State, Stop, TimeRule

if TYPE_CHECKING:
    from .delivery import Courier
    from .in_python import Assistant


def run_native(capture: Capture, plans: Plans, ledger: Ledger) -> Iterator[int]:
    """Classify the capture's packets, from where it is; yields the bytes done after each window."""
    reader = capture.reader
    clock = plans.clock
    if clock is not None and not reader.packets:
        clock.begin()
    ledger.tick(clock)
    plans.environment.packet = ledger.packets - 1  # a walk counts before each
    walker: PcapRun | PcapngRun
    if isinstance(reader, PcapReader):
        walker = PcapRun(capture.name, reader, plans, ledger)
    else:
        walker = PcapngRun(capture.name, reader, plans, ledger)
    if isinstance(walker, PcapRun):
        yield from walker.stretches(capture.source)
    for window in capture.windows():
        ledger.show(window.view, window.address)
        state = ledger.state
        state[State.CURSOR] = window.address
        state[State.END] = window.address + window.length
        try:
            need = walker.window(window)
        finally:
            if ledger.with_data:
                ledger.flush_rows()
        done = state[State.CURSOR] - window.address
        if window.final:
            reader.finish(window.length - done, need, window.offset + done)
        capture.source.advance(done, need)
        yield window.offset + done


class _Run:
    """A capture on its way: the plan that serves it now, and Python's part in that."""

    def __init__(self, name: str, reader: Reader, plans: Plans, ledger: Ledger) -> None:
        self.name = name
        self.reader = reader
        self.plans = plans
        self.ledger = ledger
        self._assistant: Assistant | None = None
        self._courier: Courier | None = None

    def enter(self, plan: Plan, make: Callable[[], Walk]) -> None:
        """Go on with this plan, and the walk of it that `make` compiles."""
        setup = self.plans.setup
        self.ledger.bind(plan)
        self.ledger.state[State.DELIVERS] = setup.network is not None or setup.on_delivery is not None
        self._walk = self.plans.timed(make)
        self._assistant = self._make_assistant(plan) if self._walk.asks_python else None

    def _make_assistant(self, plan: Plan) -> Assistant:
        from .delivery import Courier
        from .in_python import Assistant

        if self._courier is None:
            setup = self.plans.setup
            self._courier = Courier(setup.network, setup.on_delivery)
        assistant = Assistant(plan, self.ledger.state, self._courier, self._forgive)
        net = self.plans.environment.net
        net.devices = self._courier.devices
        net.deliver = assistant.deliver if self.ledger.state[State.DELIVERS] else to_nobody
        return assistant

    def _forgive(self, fault: ProgramFault, packet: int) -> ProgramFault | None:
        return self.plans.forgive(fault, self.ledger.tally, f"{self.name}: packet {packet}")

    def walk(self) -> int:
        """Call the walk; returns its `Stop`."""
        return self.call(self._walk.run)

    def call(self, run: Callable[[int], int]) -> int:
        """Call one of the walk's functions; returns what it does."""
        state = self.ledger.state
        before = state[State.PACKETS]
        with self._assistant.at_work() if self._assistant is not None else contextlib.nullcontext():
            result = int(run(state.address))
        self.reader.packets += state[State.PACKETS] - before
        return result


class PcapRun(_Run):
    """A pcap capture: one link type, one way that records look."""

    reader: PcapReader

    def __init__(self, name: str, reader: PcapReader, plans: Plans, ledger: Ledger) -> None:
        super().__init__(name, reader, plans, ledger)
        self.link = link_layer(reader.header.link_type)
        self.plan = plans.plan(self.link)
        self._bind()
        configure_pcap(ledger.state, reader.header)

    def _bind(self) -> None:
        self.enter(self.plan, lambda: pcap_walk(self.plan, self.reader.header, self.ledger))

    def stretches(self, source: Source) -> Iterator[int]:
        """Walk a plain file in stretches that native code reads itself, as far as that goes.

        What comes then, the end of the file at least, is left to `window`.
        """
        if self._walk.run_file is None or source.size is None or source.is_compressed:
            return
        done = source.offset
        with FileWays.of(source) as ways:
            walk = FileWalk(self.ledger.state, ways, self._walk, len(self.plan.filters), self.call)
            while not self.plan.is_stale:
                before, done = done, walk.go(done, source.size)
                if done == before:
                    break
                yield done
        source.seek(done)

    def window(self, window: Window) -> int:
        """Walk one window; returns how many bytes must be seen to get on."""
        state = self.ledger.state
        if self.plan.is_stale:
            self.plan = self.plans.plan(self.link)
            self._bind()
        while True:
            stop = self.walk()
            if stop in (Stop.MORE, Stop.PYTHON):
                # Python says how much more there must be, or what is wrong.
                at = state[State.CURSOR] - window.address
                block = self.reader.take(window.view, at, window.offset + at)
                assert block.size > window.length - at, "the walk left a sound record"
                return block.size
            make_room(self.ledger, stop)


def pcap_walk(plan: Plan, header: PcapHeader, ledger: Ledger) -> Walk:
    """The walk that suits a capture's form, and what is wanted of it; the ledger is bound to the plan."""
    is_usual = (
        header.byte_order == "little"
        and header.record_header == USUAL_RECORD_HEADER
        and header.length_order is LengthOrder.CAPTURED_FIRST
    )
    return plan.counts if is_usual and ledger.only_counts else plan.pcap


def configure_pcap(state: Cells, header: PcapHeader) -> None:
    """Let the walk know how the records of a pcap file look."""
    order = header.length_order
    state[State.SWAPPED] = header.byte_order != "little"
    state[State.RECORD_HEADER] = header.record_header
    state[State.CAPTURED_AT] = 12 if order is LengthOrder.LENGTH_FIRST else 8
    state[State.LENGTH_AT] = 8 if order is LengthOrder.LENGTH_FIRST else 12
    state[State.SMALLER_IS_CAPTURED] = order is LengthOrder.SMALLER_IS_CAPTURED
    state[State.FRACTION_NS] = NS_PER_SECOND // header.interface.ticks_per_second
    state[State.MAX_CAPTURED] = header.record_limit
    state[State.SNAP_LIMIT] = header.snap_limit


class PcapngRun(_Run):
    """A pcapng capture: sections and interfaces come and go, link types may differ."""

    reader: PcapngReader

    def __init__(self, name: str, reader: PcapngReader, plans: Plans, ledger: Ledger) -> None:
        super().__init__(name, reader, plans, ledger)
        self.plan: Plan | None = None
        self._ports = Cells(Port, 0)
        if reader.section is not None:  # several workers have begun
            self._take_over_interfaces()

    def window(self, window: Window) -> int:
        """Walk one window; returns how many bytes must be seen to get on."""
        state = self.ledger.state
        if self.plan is not None and self.plan.is_stale:
            self._bind(self.plan.view.link.number)
        while True:
            stop = self.walk() if self.plan else Stop.PYTHON
            if stop in (Stop.MORE, Stop.PYTHON):
                at = state[State.CURSOR] - window.address
                block = self.reader.take(window.view, at, window.offset + at)
                if block.size > window.length - at:
                    return block.size
                assert block.record is None, "the walk left a sound packet"
                state[State.CURSOR] += block.size
                self._take_over_interfaces()
            elif stop == Stop.LINK_CHANGE:
                self._bind(state[State.NEXT_LINK_TYPE])
            else:
                make_room(self.ledger, stop)

    def _bind(self, link_type: int) -> None:
        self.plan = plan = self.plans.plan(link_layer(link_type))
        self.enter(plan, lambda: plan.pcapng)

    def _take_over_interfaces(self) -> None:
        """Let the walk know what the reader knows: the section's byte order and interfaces."""
        reader = self.reader
        self._ports = configure_pcapng(self.ledger.state, reader)
        if self.plan is None and reader.numbers:
            self._bind(reader.interfaces[reader.numbers[0]].link_type)


def configure_pcapng(state: Cells, reader: PcapngReader) -> Cells:
    """Let the walk know the section's byte order and interfaces; the cells of the latter, which it reads."""
    assert reader.section is not None
    interfaces = [reader.interfaces[number] for number in reader.numbers]
    ports = Cells(Port, len(interfaces))
    for number, interface in enumerate(interfaces):
        write_port(ports, number, interface)
    state[State.SWAPPED] = reader.section.byte_order != "little"
    state[State.PORTS] = ports.address
    state[State.PORT_COUNT] = len(interfaces)
    state[State.BLOCK_LIMIT] = reader.block_limit
    return ports


def make_room(ledger: Ledger, stop: int) -> None:
    """Empty what a walk found full."""
    if stop == Stop.ROWS_FULL:
        ledger.flush_rows()
    else:
        assert stop == Stop.CLASSES_FULL
        ledger.settle_classes()


def write_port(ports: Cells, number: int, interface: Interface) -> None:
    """An interface, as the walk reads it."""
    ticks = interface.ticks_per_second
    if ticks <= NS_PER_SECOND and NS_PER_SECOND % ticks == 0:
        rule, factor = TimeRule.MULTIPLY, NS_PER_SECOND // ticks
    elif ticks % NS_PER_SECOND == 0:
        rule, factor = TimeRule.DIVIDE, ticks // NS_PER_SECOND
    else:
        rule, factor = TimeRule.BINARY, ticks.bit_length() - 1
    offset = number * PORT_BYTES
    for cell, value in (
        (Port.LINK_TYPE, interface.link_type),
        (Port.MAX_CAPTURED, max_captured(interface.link_type)),
        (Port.SNAP_LIMIT, interface.snap_limit),
        (Port.TICKS, ticks),
        (Port.OFFSET_SECONDS, interface.offset_seconds),
        (Port.RULE, rule),
        (Port.FACTOR, factor),
    ):
        ports.put(offset + cell, value)
