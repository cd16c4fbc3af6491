"""`--split DIR`: the packets of a run again as captures, one for each class.

A capture file is for one link type, so a class that has packets of several gets a file for each; those
of the first link type met have the plain name.

    1-10.pcap             packets with classid 1:10 (a colon would make a remote host of it for scp)
    unclassified.pcap     packets without a classid
    1-10.linux_sll.pcap   packets with classid 1:10 of another link type
    dev-eth1.pcap         packets that programs sent out of device eth1
    dev-eth1-in.pcap      … that they let come in there
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..capture.pcap import TIME_LIMIT_NS, PcapHeader, format_header, format_record
from ..capture.record import NS_PER_SECOND, Interface, max_captured
from ..capture.writer import Budget, PendingFile
from ..engine.delivery import Delivery
from ..engine.results import Batch
from ..errors import CaptureError, RunError
from ..link import LINKTYPE_ETHERNET, link_layer
from ..tc.ids import minor

MAX_FILES = 65536
"""Programs may invent classids.  Beyond so many files the policy is not what was meant."""

UNCLASSIFIED = "unclassified"


class SplitDirectory:
    """The captures of one run; they appear in the directory when the run is complete."""

    def __init__(self, name: str) -> None:
        self._directory = Path(name)
        self._budget = Budget()
        self._files: dict[tuple[int, int], PendingFile] = {}
        self._devices: dict[str, PendingFile] = {}
        self._first_link_type: int | None = None
        self._made = False
        try:
            if not self._directory.exists():
                self._directory.mkdir()
                self._made = True
            if any(self._directory.iterdir()):
                raise RunError(f"--split {name}: the directory is not empty; captures of two runs would mix")
        except OSError as error:
            raise RunError(f"--split {name}: {error.strerror}") from None
        with _told():
            PendingFile(str(self._directory / "probe")).discard()

    def write(self, batch: Batch) -> None:
        """Append each packet to the capture of its class."""
        import numpy as np

        if self._first_link_type is None and len(batch.packet):
            self._first_link_type = batch.link_type
        records = _records(batch)
        order = np.argsort(batch.classid, kind="stable")
        classids, starts = np.unique(batch.classid[order], return_index=True)
        with _told():
            for classid, rows in zip(classids.tolist(), np.split(order, starts[1:]), strict=True):
                file = self._file(classid, batch.link_type)
                file.append(b"".join([records[row] for row in rows.tolist()]))

    def deliver(self, delivery: Delivery) -> None:
        """Append a packet to the capture of the device that it was sent to."""
        suffix = "-in" if delivery.ingress else ""
        if delivery.link_type != LINKTYPE_ETHERNET:
            suffix += "." + link_layer(delivery.link_type).name.lower().replace(" ", "-")
        name = f"dev-{delivery.device}{suffix}.pcap"
        with _told():
            file = self._devices.get(name)
            if file is None:
                file = self._devices[name] = PendingFile(str(self._directory / name), self._budget)
                file.append(_file_header(delivery.link_type))
            header = PcapHeader(
                Interface(delivery.link_type, max_captured(delivery.link_type), NS_PER_SECOND)
            )
            file.append(format_record(header, delivery.time, delivery.data, delivery.length))

    @property
    def _all_files(self) -> list[PendingFile]:
        return [*self._files.values(), *self._devices.values()]

    def _file(self, classid: int, link_type: int) -> PendingFile:
        file = self._files.get((classid, link_type))
        if file is None:
            if len(self._files) == MAX_FILES:
                raise RunError(f"--split {self._directory}: the packets have more than {MAX_FILES} classes")
            path = str(self._directory / self._file_name(classid, link_type))
            file = self._files[classid, link_type] = PendingFile(path, self._budget)
            file.append(_file_header(link_type))
        return file

    def _file_name(self, classid: int, link_type: int) -> str:
        stem = f"{classid >> 16:x}-{minor(classid):x}" if classid else UNCLASSIFIED
        if link_type != self._first_link_type:
            stem += "." + link_layer(link_type).name.lower().replace(" ", "-")
        return f"{stem}.pcap"

    def commit(self) -> None:
        """Give the captures their names.  All are written out first: a full disk shows before any has one."""
        with _told():
            for file in self._all_files:
                file.flush()
            for file in self._all_files:
                file.commit()

    def discard(self) -> None:
        """Remove what was written, and the directory if it was not there before."""
        for file in self._all_files:
            file.discard()
        if self._made:
            with suppress(OSError):
                self._directory.rmdir()


@contextmanager
def _told() -> Iterator[None]:
    """A capture that cannot be written is no capture that cannot be read, which a run would go on after."""
    try:
        yield
    except CaptureError as error:
        raise RunError(f"--split {error}") from None


def _file_header(link_type: int) -> bytes:
    return format_header(PcapHeader(Interface(link_type, max_captured(link_type), NS_PER_SECOND)))


def _record_headers(batch: Batch) -> memoryview:
    """The 16-byte record headers of all packets, one after another (little endian, as the file header)."""
    import numpy as np

    time = np.clip(batch.time, 0, TIME_LIMIT_NS)
    headers = np.empty((len(time), 4), "<u4")
    headers[:, 0] = time // NS_PER_SECOND
    headers[:, 1] = time % NS_PER_SECOND
    headers[:, 2] = batch.captured
    headers[:, 3] = batch.length
    return memoryview(headers.tobytes())


def _records(batch: Batch) -> list[bytes]:
    """The record of each packet, header and bytes."""
    headers, data = _record_headers(batch), batch.data
    assert data is not None, "a run that is to be split gives the packets' bytes"
    ends = (batch.offset + batch.captured).tolist()
    return [
        b"".join((headers[16 * row : 16 * row + 16], data[start:end]))
        for row, (start, end) in enumerate(zip(batch.offset.tolist(), ends, strict=True))
    ]
