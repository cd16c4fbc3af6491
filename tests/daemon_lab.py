"""A daemon's engine without its socket: lines carried out on it, and what it then shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clsbpf.daemon.host import Host, Process
from clsbpf.daemon.state import State
from clsbpf.errors import ClsbpfError
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import perform
from clsbpf.tccmd.render import Names, ProgramInfo
from clsbpf.tccmd.request import ObjectSource
from clsbpf.tccmd.words import split_words

KINDS = (
    *("bpf", "csum", "gact", "mirred", "pedit", "police", "sample", "simple"),
    *("skbedit", "skbmod", "tunnel_key", "vlan"),
)


@dataclass
class Lab:
    """A host with devices, and a process of its own to ask it."""

    devices: Iterable[str] = ("lab0", "lab1")
    host: Host = field(default_factory=Host)
    heard: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.devices:
            self.host.network.add_device(name)
        self.process = Process(self.host, 100, self.heard.append)

    def tc(self, line: str) -> str:
        """What tc prints for a line; TcError as tc refuses it."""
        options, words = parse_options(split_words(line))
        network = self.host.network
        command = parse_command(words, network.ifindex, options=options, load_object=self._load)
        return perform(command, self.process.handle, Names(self._device, self._program)).stdout

    def try_tc(self, line: str) -> bool:
        """Was the line accepted?"""
        try:
            self.tc(line)
        except ClsbpfError:
            return False
        return True

    def _device(self, ifindex: int) -> str:
        return self.host.network.devices[ifindex].name

    def _program(self, id: int) -> ProgramInfo | None:
        found = self.host.programs.by_id(id)
        return ProgramInfo(found.name or "", found.tag or b"", jited=False) if found else None

    def _load(self, source: ObjectSource) -> int:
        raise ClsbpfError(f"{source.path}: nothing is loaded here")

    def shown(self) -> str:
        """Everything that there is."""
        return "\n".join(f"== {line}\n{self.tc(line)}" for line in self._questions())

    def _questions(self) -> Iterator[str]:
        yield "qdisc show"
        for name in self.devices:
            yield f"class show dev {name}"
            for place in ("root", "ingress", "egress"):
                yield f"filter show dev {name} {place}"
                yield f"chain show dev {name} {place}"
        for block in self.host.network.shared_blocks():
            yield f"filter show block {block.index}"
            yield f"chain show block {block.index}"
        for kind in KINDS:
            yield f"actions list action {kind}"

    def restarted(self, directory: Path) -> Lab:
        """What a daemon has that starts where this one was killed."""
        State(self.host, directory).commit()
        again = Lab(devices=())
        wrong = State(again.host, directory).restore()
        assert wrong == [], wrong
        again.devices = tuple(self.devices)
        return again
