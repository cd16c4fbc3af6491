"""`clsbpf tc monitor`: changes as they happen, as `tc monitor` tells them (tc/tc_monitor.c)."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..errors import ClsbpfError
from ..netlink.message import NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, Message, iter_messages
from ..netlink.schema import RTNLGRP_TC, Rtm
from ..tccmd.errors import CommandError, incomplete
from ..tccmd.options import Options
from ..tccmd.perform import print_notification
from ..tccmd.render import Names
from ..tccmd.request import View
from ..tccmd.words import matches
from .tc_main import say, say_error

USAGE = "Usage: tc [-timestamp [-tshort]] monitor [file FILE]"

_SILENT = (NLMSG_ERROR, NLMSG_NOOP, NLMSG_DONE)
_KNOWN = frozenset(
    {
        *(Rtm.NEWQDISC, Rtm.DELQDISC, Rtm.NEWTCLASS, Rtm.DELTCLASS, Rtm.NEWTFILTER, Rtm.DELTFILTER),
        *(Rtm.NEWCHAIN, Rtm.DELCHAIN, Rtm.NEWACTION, Rtm.DELACTION, Rtm.GETACTION),
    }
)


def monitor(
    words: Sequence[str],
    listen: Callable[..., None],
    receive: Callable[[], bytes],
    names: Names,
    options: Options,
) -> int:
    """do_tcmonitor(): until the other end goes, or for ever; with `file FILE`, what a file holds."""
    options = replace(options, json=0)  # tc begins no JSON here
    path = _read_words(words)
    if path is not None:
        try:
            with open(path, "rb") as file:
                recorded = file.read()
        except OSError as error:
            raise CommandError(f"Cannot fopen: {error.strerror}", 255, word=path) from None
        for message in iter_messages(recorded):
            _tell(message, names, options)
        return 0
    listen(RTNLGRP_TC)
    for datagram in _heard(receive):
        for message in iter_messages(datagram):
            _tell(message, names, options)
    return 0


def _read_words(words: Sequence[str]) -> str | None:
    path: str | None = None
    at = 0
    while at < len(words):
        word = words[at]
        if matches(word, "file"):
            at += 1
            if at == len(words):
                incomplete(word)
            path = words[at]
        elif matches(word, "help"):
            raise CommandError("", 255, word=word, usage=USAGE)
        else:
            raise CommandError(f'Argument "{word}" is unknown, try "tc monitor help".', 255, word=word)
        at += 1
    return path


def _heard(receive: Callable[[], bytes]) -> Iterator[bytes]:
    """What comes; a loss is told, and the listening goes on (rtnl_listen of ENOBUFS)."""
    while True:
        try:
            yield receive()
        except ClsbpfError as error:
            if error.errno != errno.ENOBUFS:
                raise CommandError(str(error), 2, error.errno) from None
            say_error(f"{error}\n")


def _tell(message: Message, names: Names, options: Options) -> None:
    """accept_tcmsg()."""
    if options.timestamp or options.timestamp_short:
        say(_timestamp(short=bool(options.timestamp_short)))
    if message.type in _KNOWN:
        try:
            say(print_notification(message, View(options=options), names).stdout)
        except ClsbpfError as error:
            say_error(f"{error}\n")
    elif message.type == NLMSG_OVERRUN:
        say_error("netlink receive error No buffer space available (105)\n")
    elif message.type not in _SILENT:
        length = len(message.payload) + 16
        say(f"Unknown message: length {length:08d} type {message.type:08x} flags {message.flags:08x}\n")


def _timestamp(*, short: bool) -> str:
    """print_timestamp()."""
    now = time.time()
    at, micros = time.localtime(now), int(now % 1 * 1_000_000)
    if short:
        return f"[{time.strftime('%Y-%m-%dT%H:%M:%S', at)}.{micros:06}] "
    return f"Timestamp: {time.asctime(at)} {micros} usec\n"
