"""What came of a run: the counts by filter, verdict and class, and a row a packet if asked for.

The counts are complete when `Results` exists.  Rows come in `Batch`es while the run goes on (a run
must not hold all rows of a capture that is larger than memory); whoever wants them all at once asks
for `columns=True` and reads `to_arrow()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ClsbpfError
from ..tc.ids import format_classid, format_handle

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

VERDICT_NAMES = {
    -1: "unspec",
    0: "ok",
    1: "reclassify",
    2: "shot",
    3: "pipe",
    4: "stolen",
    5: "queued",
    6: "repeat",
    7: "redirect",
    8: "trap",
}
"""TC_ACT_* by value.  A packet that no filter decides is "unspec"."""

SUMMARY_VERSION = 1
"""Of the object that `Results.summary` gives; a reader of it must not meet other names or meanings."""
ALWAYS_TOLD = ("unspec", "ok", "shot")
"""Verdicts that a summary has also where no packet has them."""


@dataclass(frozen=True, slots=True)
class FilterCount:
    """One filter and the packets that it decided.  `bytes` are those of the frames on the wire."""

    chain: int
    pref: int
    protocol: str
    handle: int
    flowid: int
    """The filter's own classid, 0 when it has none."""
    name: str | None
    matches: str
    """What it matches, for a reader: an expression, or the program's size."""
    packets: int
    bytes: int
    parent: int = 0
    """The class or qdisc that it hangs on (a classid), 0 at clsact's hook."""


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One classid and the packets that were given it.

    Where packets are queued in classes, each of those is here, as `tc -s class show` counts them: an
    inner class has what those below it have.
    """

    classid: int
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of consecutive packets: numpy arrays of one length, in packet order.

    `packet` (uint64, from 0), `time` (int64, ns), `length` (uint32, wire), `verdict` (int32),
    `classid`, `chain`, `pref`, `handle` (uint32; 0 where no filter decided).  `offset` (int64) and
    `captured` (uint32) say where the packet's bytes lie in `data`, which is good until the callback
    returns; it is None unless the run was asked for data.  `extra` are the fields of the packet that
    programs may write (`mark`, `priority`, `cb0`, …; uint32, `tstamp` uint64), as they left them.
    """

    packet: npt.NDArray[np.uint64]
    time: npt.NDArray[np.int64]
    length: npt.NDArray[np.uint32]
    verdict: npt.NDArray[np.int32]
    classid: npt.NDArray[np.uint32]
    chain: npt.NDArray[np.uint32]
    pref: npt.NDArray[np.uint32]
    handle: npt.NDArray[np.uint32]
    offset: npt.NDArray[np.int64]
    captured: npt.NDArray[np.uint32]
    link_type: int
    data: memoryview | None
    extra: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    COLUMNS = ("packet", "time", "length", "verdict", "classid", "chain", "pref", "handle")

    def to_arrow(self) -> pa.RecordBatch:
        """The columns as an Arrow record batch; `time` is a timestamp in nanoseconds."""
        import pyarrow as pa

        arrays = [pa.array(getattr(self, name)) for name in self.COLUMNS]
        arrays[1] = arrays[1].cast(pa.timestamp("ns"))
        arrays += [pa.array(column) for column in self.extra.values()]
        return pa.RecordBatch.from_arrays(arrays, names=[*self.COLUMNS, *self.extra])


def arrow_schema() -> pa.Schema:
    """The columns that every result file has."""
    import pyarrow as pa

    kinds = [pa.uint64(), pa.timestamp("ns"), pa.uint32(), pa.int32(), *[pa.uint32()] * 4]
    return pa.schema(list(zip(Batch.COLUMNS, kinds, strict=True)))


@dataclass(frozen=True, slots=True)
class Results:
    """The outcome of a run over one or more captures.

    `bytes` count frames as on the wire, `truncated` the packets that a program read past the end of
    what was captured, `seconds` the time from opening the capture to the last result, `plan_seconds`
    what preparing and compiling took before.  `verdicts` maps TC_ACT_* names to packets.
    """

    packets: int
    bytes: int
    truncated: int
    seconds: float
    plan_seconds: float
    filters: tuple[FilterCount, ...]
    verdicts: Mapping[str, int]
    classes: tuple[ClassCount, ...]
    undecided: int
    """Packets that no filter decided."""
    faulted: int = 0
    """Packets on which a program did what no verified program does (`keep_going`); they have no verdict."""
    link_types: tuple[str, ...] = ()
    """tcpdump's names of the link types met."""
    warnings: tuple[str, ...] = ()
    """What a reader of the counts must know (a policy for Ethernet on another link type, say)."""
    batches: tuple[Any, ...] | None = field(default=None, repr=False)
    """Arrow record batches, where all columns were asked for."""

    def summary(self) -> dict[str, Any]:
        """The counts as plain values: the object that `clsbpf run --json` prints."""
        verdicts = {name: self.verdicts.get(name, 0) for name in ALWAYS_TOLD}
        verdicts |= {name: packets for name, packets in self.verdicts.items() if packets}
        return {
            "version": SUMMARY_VERSION,
            "packets": self.packets,
            "bytes": self.bytes,
            "truncated": self.truncated,
            "seconds": self.seconds,
            "plan_seconds": self.plan_seconds,
            "filters": [
                {
                    **({"parent": format_classid(each.parent)} if each.parent else {}),
                    "chain": each.chain,
                    "pref": each.pref,
                    "protocol": each.protocol,
                    "handle": format_handle(each.handle),
                    "flowid": format_classid(each.flowid) if each.flowid else None,
                    "name": each.name,
                    "packets": each.packets,
                    "bytes": each.bytes,
                }
                for each in self.filters
            ],
            "verdicts": verdicts,
            "classes": [
                {"classid": format_classid(each.classid), "packets": each.packets, "bytes": each.bytes}
                for each in self.classes
            ],
        }

    def to_arrow(self) -> pa.Table:
        """All rows as one Arrow table; ClsbpfError unless the run was asked for columns."""
        import pyarrow as pa

        if self.batches is None:
            raise ClsbpfError("this run kept counters only; run it with columns=True for a row a packet")
        return pa.Table.from_batches(self.batches, schema=None if self.batches else arrow_schema())
