"""What the daemon has acknowledged, kept: a file for tc -batch that makes it all again.

    policy.tc          devices, qdiscs, classes, chains, actions and filters, a line each
    programs-HASH.bpf  the programs and maps that these lines need, and what is pinned (`objects`)
    journal-HASH.tc    what was done since that batch was written (HASH is the batch's)
    maps/              what is in the maps (`map_files`)

A request that changed something is written to the journal before its answer goes out, and the batch is made
anew when the journal has grown large beside it, when programs or pins are concerned, and at the end; it is
written to a temporary file, synced, and renamed.  So a batch of many lines does not write what is there many
times over.  A daemon that is killed loses nothing; a machine that crashes, at most what came into the
journal in the last seconds, before it was synced.

A line that begins with `#!` is a comment to tc and an instruction to us: `#!device` for devices, which tc
does not make, `#!programs` for the file of programs, `#!request` with the bytes of a request that tc's
language has no words for, `#!slot` for what was put into a map of programs or maps, `#!ids` for the numbers
that programs and maps have had.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ClsbpfError
from ..netlink.message import NLM_F_CREATE, Message
from ..netlink.schema import Rtm
from ..netlink.tcmsg import TcMsg
from ..profile import HandlePolicy
from ..tccmd.saved import requests
from ..vm.ids import MAP_IDS, PROGRAM_IDS
from ..vm.link import LinkedProgram
from ..vm.maps.map import Map
from .address import ENVIRONMENT, socket_path
from .host import Host
from .listener import locked
from .map_files import Change, MapFiles, Taken, sync_directory
from .objects import kept_calls
from .restore import Restorer, slot_line
from .snapshot import Snapshot
from .wire import malformed

_log = logging.getLogger("clsbpf")

POLICY = "policy.tc"
UNRESTORED = "policy.tc.unrestored"
JOURNAL_BYTES = 4 << 20
"""So large a journal may be in any case."""
JOURNAL_LINES = 4
"""So many times as many requests may be in a larger one as there are actions and filters."""
_HEADER = """\
# The state of a clsbpf daemon, for it and for tc -batch.  Written by the daemon: changes made here while it
# runs are lost.  Lines that begin with #! are the daemon's own.
"""


def open_directory(path: Path) -> None:
    """The state's directory, made (0700) if need be; ClsbpfError unless it is the user's alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise ClsbpfError(f"{path}: no place for the state: {error.strerror}") from None
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ClsbpfError(f"{path}: must be yours alone (mode 0700), for what is kept there is run")


def default_directory(socket: Path) -> Path:
    """$XDG_STATE_HOME/clsbpf, and in it a directory for each socket that is not the user's default one."""
    home = os.environ.get("XDG_STATE_HOME")
    try:
        directory = (Path(home) if home else Path.home() / ".local" / "state") / "clsbpf"
    except RuntimeError:
        raise ClsbpfError("no place for the state: you have no home directory (--state names one)") from None
    others = {name: value for name, value in os.environ.items() if name != ENVIRONMENT}
    if socket == socket_path(None, others):
        return directory
    return directory / hashlib.sha256(os.fsencode(socket.absolute())).hexdigest()[:16]


@dataclass(slots=True)
class _Made:
    """A batch, and what it needs beside it."""

    ids: str
    body: str
    programs: bytes | None = None
    """The calls of its programs; None: those that are kept are still right."""
    images: list[Taken] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """The state of one host in one directory.  `commit` is what `Host.before_answer` calls."""

    host: Host
    directory: Path
    synced: bool = False
    """Must what is acknowledged survive the machine, too?"""
    _snapshot: Snapshot = field(init=False)
    _maps: MapFiles = field(init=False)
    _kept_at: tuple[int, int, int] = (-1, -1, -1)
    _map_changes: int = 0
    _written: str = ""
    _programs: str = ""
    """What the file of programs was made for."""
    _names: frozenset[tuple[type, int]] = frozenset()
    """Classes and ids of the maps and programs in it."""
    _slots_changed: bool = False
    """Is what a map of programs or maps holds another than in that file?"""
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _pending: list[str] = field(default_factory=list)
    """Lines of what was done and is not in the journal yet."""
    _whole: bool = True
    """Must the batch be made anew?"""
    _journal: int | None = None
    """The journal's descriptor; what is in it belongs to the batch that was written last."""
    _journal_bytes: int = 0
    _journal_lines: int = 0
    _checked_bytes: int = 0
    """How large the journal was when it was last found not to be too large."""
    _synced_bytes: int = 0

    def __post_init__(self) -> None:
        self._snapshot = Snapshot(self.host)
        self._maps = MapFiles(self.directory, self.host.maps.values())

    # keeping

    def note(self, request: Message) -> None:
        """What `Host.done` calls: a request for the journal."""
        if not self._is_repeatable(request):
            self._whole = True
        if not self._whole:
            self._pending.append(f"#!request {request.encode().hex()}\n")

    def note_map(self, map: Map, change: Change) -> None:
        """What `Host.map_changed` calls: for the map's log, or for the journal where it holds no bytes."""
        if map.has_image:
            self._map_changes += self._maps.note(map, change)
        elif (Map, map.id) in self._names:
            self._map_changes += 1
            self._slots_changed = True
            if change.held is not None and (type(change.held), change.held.id) not in self._names:
                self._whole = True
            if not self._whole:
                self._pending.append(slot_line(map, change))

    def commit(self) -> None:
        """Keep what has been done up to now.  ClsbpfError when it cannot be written."""
        if self._counters() == self._kept_at:
            return
        with self._writing:
            with self.host.network.lock:
                counters = self._counters()
                if counters == self._kept_at:
                    return  # another request's answer has kept it
                pending, self._pending = self._pending, []
                whole = self._whole or counters[1] != self._kept_at[1] or self._journal_is_large()
                self._whole = False
                made = self._make() if whole else None
                records = self._maps.drain()
            try:
                self._maps.append(records)
                if made is not None:
                    self._write(made)
                else:
                    self._append(pending)
                if self.synced:
                    self._sync()
            except OSError as error:
                self._whole = True
                raise self._unwritable(error) from None
            self._kept_at = counters

    def _is_repeatable(self, request: Message) -> bool:
        """Would the request, made again after all before it, have the same outcome?

        Not where it names a descriptor, which means something only to the process that asked, or leaves a
        number to a counter that does not begin anew.
        """
        if requests.programs_of(request):
            return False
        if request.type == Rtm.NEWLINK:
            return not request.flags & NLM_F_CREATE  # an ifindex is not given again
        if request.type == Rtm.NEWTFILTER and self.host.network.profile.handles is HandlePolicy.HGEN:
            return TcMsg.decode(request.payload).handle != 0
        return request.type != Rtm.NEWQDISC or TcMsg.decode(request.payload).handle != 0

    def _journal_is_large(self) -> bool:
        """Has it more to say than a batch would have?  Looked at again when it has doubled."""
        if self._journal_bytes <= max(JOURNAL_BYTES, 2 * self._checked_bytes):
            return False
        self._checked_bytes = self._journal_bytes
        return self._journal_lines > JOURNAL_LINES * self._snapshot.count()

    def _append(self, pending: list[str]) -> None:
        """Into the journal, in the order in which it was done."""
        lines = "".join(pending).encode()
        if not lines:
            return
        assert self._journal is not None
        written = os.write(self._journal, lines)
        self._journal_bytes += written
        self._journal_lines += len(pending)
        if written != len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Let what is in the journal and the maps' logs survive the machine."""
        with self._writing:
            try:
                self._sync()
            except OSError as error:
                raise self._unwritable(error) from None

    def _sync(self) -> None:
        if self._journal is not None and self._synced_bytes != self._journal_bytes:
            os.fdatasync(self._journal)
            self._synced_bytes = self._journal_bytes
        self._maps.sync()

    def compact(self) -> None:
        """New images of the maps whose logs have grown long; nobody waits while they are written."""
        while True:
            with self.host.network.lock:
                taken = self._maps.take_due()
            if taken is None:
                return
            try:
                self._maps.write(taken)
                with self._writing:
                    self._maps.place([taken])
                    self._maps.tidy()
            except OSError as error:
                raise self._unwritable(error) from None

    def close(self) -> None:
        """Keep everything, as one batch."""
        self._kept_at = (-1, -1, -1)
        self._whole = True
        self.commit()
        self.sync()
        self._maps.close()
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def _counters(self) -> tuple[int, int, int]:
        return self.host.network.changes, self.host.changed_beside, self._map_changes

    def _make(self) -> _Made:
        """What is to be written, of this moment."""
        body, wanted = self._snapshot.take()
        made_for = f"{sorted(wanted)} {self.host.changed_beside}"
        made = _Made(f"#!ids {PROGRAM_IDS.last} {MAP_IDS.last}\n", "".join(f"{line}\n" for line in body))
        if made_for != self._programs or self._slots_changed:
            calls = kept_calls(self.host, [wanted[id] for id in sorted(wanted)])
            made.programs = calls.raw
            made.images = self._maps.want(map for map in calls.maps if map.has_image)
            self._names = frozenset(
                [
                    *((Map, map.id) for map in calls.maps),
                    *((LinkedProgram, each.id) for each in calls.programs),
                ]
            )
            self._programs = made_for
            self._slots_changed = False
        return made

    def _write(self, made: _Made) -> None:
        try:
            for image in made.images:
                self._maps.write(image)
            self._maps.place(made.images)
            if made.programs is not None:
                digest = hashlib.sha256(made.programs).hexdigest()[:16]
                self._name = f"programs-{digest}.bpf" if made.programs else ""
                if made.programs:
                    _replace(self.directory / self._name, made.programs)
            named = f"#!programs {self._name}\n" if self._name else ""
            whole = _HEADER + made.ids + named + made.body
            if whole != self._written:
                _replace(self.directory / POLICY, whole.encode("utf-8", "surrogateescape"))
                self._written = whole
            self._begin_journal(whole)
            for old in self.directory.glob("programs-*.bpf"):
                if old.name != self._name:
                    old.unlink(missing_ok=True)
            self._maps.tidy()
        except OSError:
            self._written = self._programs = ""
            self._maps.failed(made.images)
            raise

    def _begin_journal(self, batch: str) -> None:
        """An empty one for the batch; those of others go.

        One that is there under its name leads from this batch to this batch: it does no harm if it stays.
        """
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None
        path = self.directory / journal_name(batch)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._journal = os.open(path, flags, 0o600)
        if self.synced:
            sync_directory(self.directory)
        self._journal_bytes = self._synced_bytes = self._checked_bytes = self._journal_lines = 0
        for old in self.directory.glob("journal-*.tc"):
            if old.name != path.name:
                old.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> ClsbpfError:
        message = f"{self.directory}: the state cannot be written: {error.strerror}"
        return malformed(message, error.errno or errno.EIO)

    _name: str = ""
    """The file of programs that the batch names."""

    # restoring

    def restore(self) -> list[str]:
        """Make again what was kept: what could not be, in words.  Then the file stays, under another name."""
        try:
            text = (self.directory / POLICY).read_text("utf-8", "surrogateescape")
            text += self._read_journal(text)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ClsbpfError(f"{error.filename}: {error.strerror}") from None
        self._maps.sweep()
        wrong = Restorer(self.host, self.directory, POLICY, self._maps).run(text)
        if wrong:
            with contextlib.suppress(OSError):
                _replace(self.directory / UNRESTORED, text.encode("utf-8", "surrogateescape"))
        return wrong

    def _read_journal(self, batch: str) -> str:
        """What was done after the batch: whole lines."""
        try:
            text = (self.directory / journal_name(batch)).read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            return ""
        return text[: text.rfind("\n") + 1]


def journal_name(batch: str) -> str:
    """The file of what was done after a batch."""
    return f"journal-{hashlib.sha256(batch.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.tc"


@contextlib.contextmanager
def kept(host: Host, directory: Path, *, synced: bool = False) -> Iterator[State]:
    """The host's state, restored from a directory and from then on kept there.

    `synced`: what is acknowledged survives the machine, too, at the price of an fdatasync(2) for the
    requests of each datagram.
    """
    open_directory(directory)
    with locked(directory / "lock", str(directory)):
        state = State(host, directory, synced)
        for line in state.restore():
            _log.warning("not restored: %s", line)
        state.commit()
        host.done = state.note
        host.map_changed = state.note_map
        host.before_answer = state.commit
        ended = threading.Event()
        regularly = threading.Thread(target=_tend, args=(state, ended), name="clsbpf state", daemon=True)
        regularly.start()
        try:
            yield state
        finally:
            ended.set()
            regularly.join()
            state.close()


SYNC_SECONDS = 5.0
"""So old is at most what a machine that crashes loses."""
TENDING_SECONDS = 1.0


def _tend(state: State, ended: threading.Event) -> None:
    """What nobody waits for."""
    synced = time.monotonic()
    while not ended.wait(TENDING_SECONDS):
        try:
            state.compact()
            if time.monotonic() - synced >= SYNC_SECONDS:
                synced = time.monotonic()
                state.sync()
        except ClsbpfError as error:
            _log.warning("%s", error)


def _replace(path: Path, content: bytes) -> None:
    """Written whole or not at all, and there after a crash."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    sync_directory(path.parent)
