"""What a tc command line is, once read: messages to send, and how to show what comes back.

Reading a line needs the outside in four places: a device's ifindex, the text of a bytecode file, the
descriptor of a loaded object, and the environment.  `Lookups` holds them as functions, so that nothing
here opens anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..bpf.spec import SCHED_CLS
from ..netlink.message import NLM_F_ACK, NLM_F_DUMP, NLM_F_ECHO, NLM_F_REQUEST, Message
from .errors import CommandError
from .options import NO_OPTIONS, Options


class Reply(Enum):
    """What answers a request."""

    ACK = NLM_F_REQUEST | NLM_F_ACK
    """An acknowledgement and nothing else."""
    ANSWER = NLM_F_REQUEST | NLM_F_ECHO
    """One message, which is shown.  (NLM_F_ECHO because old kernels never answered a get without it.)"""
    TALK = NLM_F_REQUEST
    """The same, asked for plainly."""
    DUMP = NLM_F_REQUEST | NLM_F_DUMP
    """Many messages, which are shown, and an end."""
    BLOCKS = -1
    """A dump of the qdiscs, not shown: is there one that has the block `Request.block`?"""

    @property
    def flags(self) -> int:
        """The flags of the request's header."""
        return Reply.DUMP.value if self is Reply.BLOCKS else self.value


@dataclass(frozen=True, slots=True)
class Request:
    """One message to send (its sequence number is 0, for the sender to set) and what answers it."""

    message: Message
    reply: Reply
    block: int = 0
    on_refusal: str | None = None
    """What tc adds when the kernel refuses this one, if that is not what the command has."""

    @property
    def data(self) -> bytes:
        """The bytes of the message."""
        return self.message.encode()


@dataclass(frozen=True, slots=True)
class View:
    """How the messages of a reply are shown: print_filter(), print_qdisc() and print_class().

    What selects on the command line is left out of the rows; 0 and None do not select.  Classes are
    selected by their `qdisc` (a handle) and `classid`.
    """

    ifindex: int = 0
    parent: int = 0
    handle: int = 0
    prio: int = 0
    protocol: int = 0
    chain: int | None = None
    block: int = 0
    qdisc: int = 0
    classid: int = 0
    options: Options = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, read.

    `requests` go out one after the other, each after the answer to the one before.  `on_refusal` is
    what tc adds when the kernel refuses one.  `devices` are the device names in the line, in order.
    A command that only wants help has no requests and a `usage`.
    """

    requests: tuple[Request, ...] = ()
    view: View | None = None
    devices: tuple[str, ...] = ()
    on_refusal: str = ""
    usage: str = ""
    refusal_exit: int = 2
    """The exit code when the kernel refuses."""
    remarks: tuple[str, ...] = ()
    """What tc says on standard error before it sends anything."""
    failure: CommandError | None = None
    """What is wrong with the rest of the line, when all that came before it is done."""


@dataclass(frozen=True, slots=True)
class ObjectSource:
    """An eBPF program named in the line: `object-file PATH …` or `object-pinned PATH …`."""

    path: str
    pinned: bool
    section: str
    program: str | None = None
    export: str | None = None
    verbose: bool = False
    ifindex: int = 0
    """The device to offload to (with skip_sw), else 0."""
    type: str = SCHED_CLS
    """What it is loaded as, whatever its section says: a filter's or an action's program."""

    @property
    def annotation(self) -> str:
        """What TCA_BPF_NAME says: the file's name and the section, at most 255 bytes (bpf_load_common)."""
        text = f"{self.path.rsplit('/', 1)[-1]}:[{'*fsobj' if self.pinned else self.section}]"
        return text.encode("utf-8", "surrogateescape")[:255].decode("utf-8", "surrogateescape")


def no_file(path: str) -> str:
    raise CommandError(f"Cannot fopen: {path}: no files can be read here", word=path)


@dataclass(slots=True)
class Lookups:
    """The outside, as a command line needs it.

    `resolve` gives a device's ifindex, None when there is no such device.  `read_file` gives a file's
    text or raises OSError.  `load_object` gives the descriptor of a loaded program; None: there is
    nothing to load objects with.  `environ` is asked for TC_BPF_UDS.
    """

    resolve: Callable[[str], int | None]
    read_file: Callable[[str], str] = no_file
    load_object: Callable[[ObjectSource], int] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    """The names that were resolved, in order."""

    def ifindex(self, name: str, exit_code: int = 1) -> int:
        """ll_name_to_index(): CommandError when there is no such device."""
        if name not in self.devices:
            self.devices.append(name)
        found = self.resolve(name)
        if not found:
            raise CommandError(f'Cannot find device "{name}"', exit_code, word=name)
        return found


DEVICE_NAME_BYTES = 15
"""IFNAMSIZ without the NUL; tc cuts what is longer."""
KIND_BYTES = 15
"""FILTER_NAMESZ, likewise."""


def cut(text: str, size: int) -> str:
    """strncpy(): at most `size` bytes of `text`."""
    return text.encode("utf-8", "surrogateescape")[:size].decode("utf-8", "surrogateescape")
