"""Where a walk writes: its state, counters and rows in native memory, and the way out of there.

One `Ledger` serves a whole run.  It is bound to one plan at a time; `flush_rows` turns rows into a
`Batch` of columns by the plan's numbers of filters, `settle` hands counts to the tally.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..capture.record import MAX_CAPTURED, SLACK, max_captured
from ..skb import HEADROOM
from ..vm.environment import Environment
from .columns import field_at
from .plan import Plan
from .results import Batch
from .tally import Tally
from .walk_state import (
    CLASS_ENTRY,
    CLASS_SLOTS,
    CLASSID_MASK,
    COLUMN_BYTES,
    END_BYTES,
    FILTER_ENTRY,
    FILTER_SHIFT,
    VERDICT_MASK,
    VERDICT_SHIFT,
    Cells,
    Column,
    Counters,
    State,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..tc.actions.clock import CaptureClock
    from .act_records import Records, WorkerCounters, WorkerRecords

ROWS = 1 << 16
SCRATCH_BYTES = MAX_CAPTURED + SLACK

OnBatch = Callable[[Batch], None]


class Rows:
    """The row arrays of a walk: one entry a packet.  Who wants no rows does without numpy.

    `extra` are columns of what programs leave in packets, by name; 0 of those that no program meets.
    """

    def __init__(self, state: Cells, extra: Iterable[str]) -> None:
        import numpy as np

        kinds = {name: np.uint64 if name == "tstamp" else np.uint32 for name in extra}
        self.extra = {name: np.zeros(ROWS, kind) for name, kind in kinds.items()}
        self._columns = Cells(Column, len(self.extra))
        state[State.COLUMNS] = self._columns.address
        state[State.COLUMN_COUNT] = len(self.extra)
        for number, (name, array) in enumerate(self.extra.items()):
            for column, value in (
                (Column.ARRAY, array.ctypes.data),
                (Column.FIELD, field_at(name)),
                (Column.BYTES, array.itemsize),
            ):
                self._columns.put(number * COLUMN_BYTES + column, value)

        self.time = np.zeros(ROWS, np.int64)
        self.length = np.zeros(ROWS, np.uint32)
        self.outcome = np.zeros(ROWS, np.int64)
        self.address = np.zeros(ROWS, np.int64)
        self.captured = np.zeros(ROWS, np.uint32)
        state[State.ROW_CAPACITY] = ROWS
        for cell, array in (
            (State.ROW_TIME, self.time),
            (State.ROW_LENGTH, self.length),
            (State.ROW_OUTCOME, self.outcome),
            (State.ROW_ADDRESS, self.address),
            (State.ROW_CAPTURED, self.captured),
        ):
            state[cell] = array.ctypes.data


class Apart:
    """What a ledger has of its own where there are several."""

    def __init__(self) -> None:
        self.counters: WorkerCounters = {}
        self._records: dict[Records, WorkerRecords] = {}
        self._environment: Environment | None = None

    def environment_like(self, given: Environment) -> int:
        """The address of an environment as the given one."""
        if self._environment is None:
            self._environment = made = Environment()
            ctypes.memmove(made.address, given.address, ctypes.sizeof(made.native))
        return self._environment.address

    def records_like(self, records: Records) -> int:
        """The address of the same records with other counters."""
        from .act_records import WorkerRecords

        if records not in self._records:
            self._records[records] = WorkerRecords(records, self.counters)
        return self._records[records].address


class Ledger:
    """State, counters and rows of a run.

    `on_batch` gets the rows, if anyone wants them; with `with_data` a batch never spans windows, so
    that its packets' bytes can be had.  `apart`: it is one of several at once, with an environment, a clock
    and counters of actions of its own; `take_over` of another ledger then has what they came to.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        on_batch: OnBatch | None = None,
        with_data: bool = False,
        extra: Iterable[str] = (),
        apart: bool = False,
    ) -> None:
        self.tally = tally
        self._apart = Apart() if apart else None
        self.with_data = with_data
        self.state = Cells(State)
        self._on_batch = on_batch
        self._rows = Rows(self.state, extra) if on_batch else None
        self._verdicts = Counters(VERDICT_MASK + 1)
        self._classes = Counters(CLASS_SLOTS * CLASS_ENTRY // 8)
        self._filters = Counters(2)
        self._ends = Counters(0)
        self._scratch = Counters(SCRATCH_BYTES // 8)
        self._room = Counters(0)
        self._retagged = Counters(0)
        self.state[State.SCRATCH] = self._scratch.address
        self.state[State.VERDICTS] = self._verdicts.address
        self._plan: Plan | None = None
        self._numbers: list[npt.NDArray[np.uint32]] | None = None
        self._packets = 0
        self._window: tuple[memoryview, int] | None = None

    @property
    def keeps_rows(self) -> bool:
        """Does anyone want the rows?"""
        return self._on_batch is not None

    @property
    def only_counts(self) -> bool:
        """Is nothing of each packet wanted: not its row, not its class, not its time?"""
        return not any(self.state[cell] for cell in (State.ROW_CAPACITY, State.CLASSES, State.WATCHES))

    @property
    def packets(self) -> int:
        """Packets so far, over the whole run."""
        return self.tally.packets + self.state[State.PACKETS]

    def bind(self, plan: Plan) -> None:
        """Count for this plan from now on."""
        self._settle_filters()
        self._plan = plan
        self.tally.expect(plan)
        self._filters = Counters((len(plan.filters) + 1) * FILTER_ENTRY // 8)
        state = self.state
        state[State.FILTERS] = self._filters.address
        self._ends = Counters(len(plan.ends) * END_BYTES // 8)
        state[State.PASSAGES] = self._ends.address
        state[State.CLASSES] = self._classes.address if plan.counts_classes else 0
        state[State.LINK_TYPE] = plan.view.link.number
        state[State.UNTAG] = plan.view.untags
        state[State.MINIMUM] = plan.view.link.header_len if plan.view.at_ingress else 0
        state[State.ENVIRONMENT] = plan.environment.address
        if self._apart is not None:
            state[State.ENVIRONMENT] = self._apart.environment_like(plan.environment)
        state[State.WATCHES] = plan.watches or state[State.TICKS] != 0
        if plan.watches:
            self._room = roomy(self._room, plan.view.link.number)
            state[State.PACKET] = self._room.address
        if plan.records is not None:
            state[State.ACTIONS] = plan.records.address
            state[State.CLOCK] = plan.records.clock
            state[State.RANDOM] = plan.records.random
            if self._apart is not None:
                state[State.ACTIONS] = self._apart.records_like(plan.records)
                state[State.CLOCK] = state[State.TICKS]
        if plan.sees_captured:
            self._retagged = roomy(self._retagged, plan.view.link.number)
            state[State.RETAGGED] = self._retagged.address
        self._numbers = None

    def tick(self, clock: CaptureClock | None) -> None:
        """A capture, or a piece of one, begins, whose packets advance this clock."""
        self.state[State.TICKS] = 0 if clock is None else ctypes.addressof(clock.memory)

    def show(self, view: memoryview, address: int) -> None:
        """The window that row addresses lie in, from now on."""
        self._window = view, address

    def settle(self) -> None:
        """Hand out all rows and counts."""
        self._settle_filters()
        if self.state[State.CLASSES_USED]:
            self.settle_classes()

    def abandon(self) -> None:
        """The run ends before its time: what was counted counts, no rows are handed out."""
        if self._plan is not None:
            self.tally.drain(self._plan, self.state, self._filters, self._verdicts, self._ends)

    def _settle_filters(self) -> None:
        """Hand out all rows, and the counts that go by the plan's numbers."""
        if self._plan is not None:
            self.flush_rows()
            self.abandon()

    @property
    def action_counters(self) -> WorkerCounters:
        """The counters of actions that are this ledger's own."""
        return self._apart.counters if self._apart is not None else {}

    def take_over(self, tally: Tally, batches: Iterable[Batch]) -> None:
        """Count and hand out what another ledger has of the packets that come next."""
        self.settle()
        self.tally.merge(tally)
        for batch in batches:
            assert self._on_batch is not None
            self._on_batch(replace(batch, packet=batch.packet + self._packets))
        self._packets += tally.packets

    def settle_classes(self) -> None:
        """Hand out the counts of classes, and empty their table."""
        self.tally.drain_classes(self.state, self._classes)

    def keep_extra(self, values: Mapping[str, int]) -> None:
        """What programs left in the packet of the last row."""
        assert self._rows is not None
        for name, value in values.items():
            self._rows.extra[name][self.state[State.ROW] - 1] = value

    def flush_rows(self) -> None:
        """Hand out the rows."""
        count = self.state[State.ROW]
        if not count or self._rows is None or self._plan is None or self._on_batch is None:
            return
        import numpy as np

        rows = self._rows
        outcome = rows.outcome[:count]
        number = outcome >> FILTER_SHIFT
        if self._numbers is None:
            self._numbers = filter_numbers(self._plan)
        chain, pref, handle = (column[number] for column in self._numbers)
        first = self._packets
        data, base = self._window if self.with_data and self._window else (None, 0)
        self._packets += count
        self.state[State.ROW] = 0
        self._on_batch(
            Batch(
                packet=np.arange(first, first + count, dtype=np.uint64),
                time=rows.time[:count].copy(),
                length=rows.length[:count].copy(),
                verdict=((outcome >> VERDICT_SHIFT & VERDICT_MASK) - 1).astype(np.int32),
                classid=(outcome & CLASSID_MASK).astype(np.uint32),
                chain=chain,
                pref=pref,
                handle=handle,
                offset=rows.address[:count] - base,
                captured=rows.captured[:count].copy(),
                link_type=self._plan.view.link.number,
                data=data,
                extra={name: taken(array[:count]) for name, array in rows.extra.items()},
            )
        )


def roomy(room: Counters, link_type: int) -> Counters:
    """Memory for a packet, with room before and behind it: this one, if it is large enough."""
    words = (max_captured(link_type) + 2 * HEADROOM) // 8
    return room if len(room.counts) >= words else Counters(words)


def taken(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy of the values, which are 0 then."""
    copied = values.copy()
    values[:] = 0
    return copied


def filter_numbers(plan: Plan) -> list[npt.NDArray[np.uint32]]:
    """Chain, pref and handle of each filter, by its number + 1; of what no filter decided, 0."""
    import numpy as np

    rows = [(0, 0, 0)]
    rows += [(each.chain, each.classifier.prio, each.filter.handle) for each in plan.filters]
    return [np.array(column, np.uint32) for column in zip(*rows, strict=True)]
