"""A batch that was kept, carried out: what is not a comment, and the instructions that begin with `#!`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from ..endpoint import Endpoint
from ..engine.programs import LoadedProgram
from ..errors import ClsbpfError
from ..netlink.message import NLMSG_ERROR, Message, iter_messages, read_acknowledgement
from ..tccmd.batch import read_batch
from ..tccmd.command import parse_command
from ..tccmd.perform import perform
from ..tccmd.request import ObjectSource
from ..tccmd.saved import requests
from ..vm.ids import MAP_IDS, PROGRAM_IDS
from ..vm.maps.map import Map
from . import bpf, orders
from .host import Host, Process
from .map_files import Change, MapFiles
from .objects import Descriptors, restore_calls
from .snapshot import PROGRAMS_DIRECTORY
from .wire import Arg, Call

_KINDS: dict[type, str] = {LoadedProgram: "program", Map: "map"}


def slot_line(map: Map, change: Change) -> str:
    """The line of a change of a map of programs or maps."""
    held = "- -"
    if change.held is not None:
        held = f"{'map' if isinstance(change.held, Map) else 'program'} {change.held.id}"
    key = change.key.hex() if change.key else "-"
    return f"#!slot {map.id} {change.command:d} {change.flags} {key} {held}\n"


class Restorer:
    """Carries out a batch on a host; `directory` has the files that it names, `name` is what it is called."""

    def __init__(self, host: Host, directory: Path, name: str, contents: MapFiles) -> None:
        self._host = host
        self._directory = directory
        self._name = name
        self._contents = contents
        self._process = Process(host, 0, lambda datagram: None, restores=True)
        self._endpoint = Endpoint(host.network)
        self._made: Descriptors = {}
        self._wrong: list[str] = []

    def run(self, text: str) -> list[str]:
        """Every line; those that could not be carried out, and why."""
        own = {
            "#!ids": self._ids,
            "#!device": self._device,
            "#!programs": self._load,
            "#!request": self._request,
            "#!slot": self._slot,
        }
        try:
            for number, line in enumerate(text.split("\n"), 1):
                word, _, rest = line.partition(" ")
                try:
                    if word in orders.ORDERS:
                        orders.arrange(self._host.network, word, rest)
                    elif word in own:
                        own[word](rest)
                    elif line and not line.startswith("#"):
                        self._line(line)
                except (ClsbpfError, ValueError) as error:
                    reason = str(error).replace("\n", " ")
                    self._wrong.append(f"{self._name}:{number}: {line[:200]}: {reason}")
        finally:
            self._process.close()
        return self._wrong

    def _device(self, rest: str) -> None:
        """The ifindex, the name, and what is not as usual (`snapshot.device_line`)."""
        index, name, *words = rest.split(" ")
        said = dict(word.split("=", 1) for word in words)
        device = self._host.add_device(name, int(index), driver=said.get("driver"))
        device.up = "down" not in said
        device.has_ingress_queue = "ingress" in said
        device.mtu = int(said.get("mtu", device.mtu))
        device.tx_queue_len = int(said.get("txqueuelen", device.tx_queue_len))
        device.address = bytes.fromhex(said.get("address", ""))

    def _load(self, rest: str) -> None:
        if "/" in rest:
            raise ClsbpfError(f"{rest}: not a file beside the batch")
        try:
            raw = (self._directory / rest).read_bytes()
        except OSError as error:
            raise ClsbpfError(f"{rest}: {error.strerror}") from None
        self._made, wrong = restore_calls(self._process, raw, self._contents)
        self._wrong += [f"{rest}: {each}" for each in wrong]

    def _request(self, rest: str) -> None:
        for message in iter_messages(bytes.fromhex(rest)):
            self._send(requests.with_descriptors(message, self._descriptor))

    def _line(self, line: str) -> None:
        for each in read_batch(line + "\n", self._name):
            command = parse_command(
                each.words, self._host.network.ifindex, load_object=self._object, environ={}
            )
            perform(command, self._handle)

    def _object(self, source: ObjectSource) -> int:
        """A kept program by its path: PROGRAMS_DIRECTORY/ID/FILE."""
        parts = source.path.removeprefix(PROGRAMS_DIRECTORY).split("/")
        return self._descriptor(int(parts[1]))

    def _descriptor(self, id: int, kind: type = LoadedProgram) -> int:
        if (kind, id) not in self._made:
            raise ClsbpfError(f"{_KINDS[kind]} {id} was not kept")
        return self._made[kind, id]

    def _ids(self, rest: str) -> None:
        for ids, last in zip((PROGRAM_IDS, MAP_IDS), rest.split(" "), strict=True):
            ids.taken(int(last))

    def _slot(self, rest: str) -> None:
        """A change of a map of programs or maps (`slot_line`)."""
        map, command, flags, key, kind, id = rest.split(" ")
        args: dict[int, int | bytes] = {Arg.FD: self._descriptor(int(map), Map), Arg.FLAGS: int(flags)}
        if key != "-":
            args[Arg.KEY] = bytes.fromhex(key)
        if kind != "-":
            kinds = {name: each for each, name in _KINDS.items()}
            args[Arg.VALUE] = struct.pack("=I", self._descriptor(int(id), kinds[kind]))
        bpf.carry_out(self._process, Call(int(command), args))

    def _handle(self, request: bytes) -> Iterator[bytes]:
        with self._host.network.lock, self._host.programs.files_of(self._process.files):
            return self._endpoint.replies(request)

    def _send(self, request: Message) -> None:
        for datagram in self._handle(request.encode()):
            for message in iter_messages(datagram):
                if message.type == NLMSG_ERROR:
                    refused = read_acknowledgement(message).error()
                    if refused is not None:
                        raise refused
