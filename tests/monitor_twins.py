"""Notifications shown by `tc monitor file` and by us.

tc reads notifications from a file as well, so any message can be put before it, also one that no kernel here
would send.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from clsbpf.errors import ClsbpfError
from clsbpf.netlink.message import Message
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import print_notification
from clsbpf.tccmd.render import Names
from clsbpf.tccmd.request import View
from tc_judge import TcJudge


def shown_alike(judge: TcJudge, messages: Sequence[Message], options: Sequence[str]) -> None:
    """Asserts that each message is shown as tc shows it."""
    path = judge.directory / "messages"
    path.write_bytes(b"".join(message.encode() for message in messages))
    theirs = judge.run(*options, "monitor", "file", str(path)).stdout
    view, names = View(options=parse_options(options)[0]), Names(judge.device_name)
    for message in messages:
        ours = print_notification(message, view, names).stdout
        assert theirs[: len(ours)] == ours, message
        theirs = theirs[len(ours) :]
    assert theirs == ""


def hostile_are_refused_or_shown(make: Callable[[], Message], rng: random.Random) -> None:
    """Whatever the bytes: a ClsbpfError or an output, and nothing else."""
    for _ in range(2000):
        message = make()
        payload = bytearray(message.payload)
        for _ in range(rng.randint(1, 8)):
            payload[rng.randrange(len(payload))] = rng.choice([0, 1, 4, 8, 255])
        cut = bytes(payload[: rng.randint(0, len(payload))])
        hostile = Message(message.type, message.flags, 0, 0, cut)
        try:
            shown = print_notification(hostile, View(options=parse_options(["-s", "-d"])[0]))
        except ClsbpfError:
            continue
        assert isinstance(shown.stdout, str)
