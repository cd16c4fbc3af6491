"""Batches of result rows for tests of what takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clsbpf.engine.results import Batch


@dataclass(frozen=True)
class Row:
    """One packet and what came of it; `pref` and `handle` 0: no filter decided."""

    packet: int
    data: bytes = b"\x02" * 60
    time: int = 1_700_000_000_123_456_789
    length: int | None = None
    verdict: int = 0
    classid: int = 0
    chain: int = 0
    pref: int = 0
    handle: int = 0


def batch(rows: Sequence[Row], link_type: int = 1) -> Batch:
    """The rows as a run delivers them, their bytes in one window with gaps between them."""
    gap = b"\xee" * 16
    offsets, window = [], b""
    for row in rows:
        window += gap
        offsets.append(len(window))
        window += row.data
    lengths = [len(row.data) if row.length is None else row.length for row in rows]
    return Batch(
        packet=np.array([row.packet for row in rows], np.uint64),
        time=np.array([row.time for row in rows], np.int64),
        length=np.array(lengths, np.uint32),
        verdict=np.array([row.verdict for row in rows], np.int32),
        classid=np.array([row.classid for row in rows], np.uint32),
        chain=np.array([row.chain for row in rows], np.uint32),
        pref=np.array([row.pref for row in rows], np.uint32),
        handle=np.array([row.handle for row in rows], np.uint32),
        offset=np.array(offsets, np.int64),
        captured=np.array([len(row.data) for row in rows], np.uint32),
        link_type=link_type,
        data=memoryview(window),
    )
