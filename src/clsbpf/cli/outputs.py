"""Files that a run leaves behind: rows of results, and captures by class.

A file stands under its name only when it is complete.  Until then it is written beside its place under
a hidden name that ends in `.part`, and an interrupted or failed run removes it.  Everything that can be
refused is refused when the output is opened, before the run begins: a result that cannot be kept is not
worth an hour of computing it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ..engine.results import Batch, arrow_schema
from ..errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa

    from ..engine.delivery import Delivery


class Output(Protocol):
    """Something that takes the rows of a run."""

    def write(self, batch: Batch) -> None:
        """Take consecutive packets."""

    def deliver(self, delivery: Delivery) -> None:
        """Take a packet that was sent to another device."""

    def commit(self) -> None:
        """The run is complete: put the result under its name."""

    def discard(self) -> None:
        """The run is not complete: leave nothing."""


class Outputs:
    """All outputs of one run: `with` it, `write` to it, and `commit` at the end; else nothing stays."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = tuple(outputs)
        self._committed = False

    def __bool__(self) -> bool:
        """Is there any output, so that rows are wanted at all?"""
        return bool(self._outputs)

    def write(self, batch: Batch) -> None:
        """Give the rows to every output."""
        for output in self._outputs:
            output.write(batch)

    def deliver(self, delivery: Delivery) -> None:
        """Give a packet that was sent to another device to every output."""
        for output in self._outputs:
            output.deliver(delivery)

    def commit(self) -> None:
        """Put every result under its name."""
        for output in self._outputs:
            output.commit()
        self._committed = True

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            for output in self._outputs:
                output.discard()


_COUNTER = itertools.count()


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_COUNTER)}.part")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """OSError as the RunError that names the path."""
    try:
        yield
    except OSError as error:
        raise RunError(f"--results {path}: {error.strerror or error}") from None


class RowWriter(Protocol):
    """What pyarrow's writers have in common."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what comes last."""


def _parquet(sink: Any, schema: pa.Schema) -> RowWriter:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(sink, schema)  # type: ignore[no-any-return]


def _arrow(sink: Any, schema: pa.Schema) -> RowWriter:
    import pyarrow as pa

    return pa.ipc.new_file(sink, schema)  # type: ignore[no-any-return]


def _csv(sink: Any, schema: pa.Schema) -> RowWriter:
    import pyarrow.csv as csv

    return csv.CSVWriter(sink, schema)  # type: ignore[no-any-return]


FORMATS = {".parquet": _parquet, ".arrow": _arrow, ".csv": _csv}
"""`--results` by the file's suffix."""

ROWS_AT_ONCE = 1 << 17
"""Rows gathered before they are written: a Parquet row group, so that small batches do not make
thousands of them."""


class ResultFile:
    """`--results FILE`: a row a packet, in the format that the suffix names."""

    def __init__(self, name: str) -> None:
        self._path = Path(os.path.realpath(name))
        try:
            self._open_writer = FORMATS[self._path.suffix.lower()]
        except KeyError:
            raise RunError(
                f"--results {name}: the name must end in one of {', '.join(FORMATS)}, to say the format"
            ) from None
        if self._path.is_dir():
            raise RunError(f"--results {name}: that is a directory")
        self._part = _part_of(self._path)
        with _explained(self._path):
            self._file = open(self._part, "xb")  # noqa: SIM115 (closed by commit or discard)
        self._writer: RowWriter | None = None  # made with the first rows: they have the columns
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, batch: Batch) -> None:
        """Append the rows; the batch's memory is not kept."""
        self._waiting.append(batch.to_arrow())
        self._rows += len(batch.packet)
        if self._rows >= ROWS_AT_ONCE:
            self._write_waiting()

    def deliver(self, delivery: Delivery) -> None:
        """Rows are of packets that came in; what was sent elsewhere has none."""

    def _write_waiting(self) -> None:
        import pyarrow as pa

        with _explained(self._path):
            if self._waiting or self._writer is None:
                schema = None if self._waiting else arrow_schema()
                rows = pa.Table.from_batches(self._waiting, schema).combine_chunks()
                if self._writer is None:
                    self._writer = self._open_writer(self._file, rows.schema)
                for batch in rows.to_batches():
                    self._writer.write_batch(batch)
        self._waiting, self._rows = [], 0

    def commit(self) -> None:
        """Write what waits and put the file under its name."""
        self._write_waiting()
        with _explained(self._path):
            if self._writer is not None:
                self._writer.close()
            self._file.close()
            os.replace(self._part, self._path)

    def discard(self) -> None:
        """Remove what was written."""
        for closes in (self._writer, self._file):
            with suppress(OSError, ValueError):  # a full disk, told already
                if closes is not None:
                    closes.close()
        self._part.unlink(missing_ok=True)
