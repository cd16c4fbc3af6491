"""Random words about actions: read, or refused as tc refuses, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from clsbpf.errors import ClsbpfError
from clsbpf.netlink.act import TcaAct, TcaRoot, action_message
from clsbpf.netlink.attr import Attr, encode_attrs, iter_attrs
from clsbpf.netlink.schema import Rtm
from clsbpf.tccmd.actions import parse_actions
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import print_notification
from clsbpf.tccmd.request import Lookups, View
from clsbpf.tccmd.words import Words, split_words
from tc_action_lines import ALONE_ACTION_LINES, SPECS

VOCABULARY = sorted(
    {word for spec in SPECS for word in split_words(spec)} | {"x", "", "-1", "action", "retain"}
)


def refused(words: Sequence[str]) -> int | None:
    """The exit code with which words are refused; None: they make a command."""
    try:
        command = parse_command(words, {"v0": 2, "v1": 3}.get)
    except CommandError as error:
        return error.exit_code
    assert command.requests or len(words) == 1
    return None


@pytest.mark.parametrize("seed", range(3))
def test_any_words_are_read_or_refused(seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(1500):
        words = list(split_words(chosen.choice(ALONE_ACTION_LINES)))
        for _ in range(chosen.randint(1, 3)):
            at = chosen.randrange(1, len(words) + 1)
            if chosen.random() < 0.4:
                del words[at - 1]
                words = words or ["actions"]
            else:
                words.insert(at, chosen.choice(VOCABULARY))
        words[0] = "actions"
        assert refused(words) in (None, 1, 255)


def test_a_cut_line_is_read_or_refused() -> None:
    """A line may end after any of its words."""
    for line in ALONE_ACTION_LINES:
        words = split_words(line)
        for end in range(1, len(words)):
            assert refused(words[:end]) in (None, 1, 255)


def test_a_kind_is_told_by_name() -> None:
    for spec in SPECS:
        (nest,) = parse_actions(Words(split_words(spec)), Lookups({}.get))
        kinds = [attr.string for attr in iter_attrs(nest.payload) if attr.type == TcaAct.KIND]
        assert kinds == [spec.split()[0]]


def test_hostile_actions_are_refused_or_shown() -> None:
    """Whatever the bytes of an action: a ClsbpfError or an output, and nothing else."""
    chosen = random.Random(5)
    nests = [encode_attrs(parse_actions(Words(split_words(spec)), Lookups({"v1": 3}.get))) for spec in SPECS]
    for _ in range(3000):
        payload = bytearray(chosen.choice(nests))
        for _ in range(chosen.randint(1, 8)):
            payload[chosen.randrange(len(payload))] = chosen.choice([0, 1, 2, 4, 8, 255])
        cut = bytes(payload[: chosen.randint(0, len(payload))])
        view = View(options=parse_options(chosen.choice([["-s"], ["-s", "-d", "-r"], ["-j"]]))[0])
        flags = chosen.choice([0, 0x100, 0x400])
        type = chosen.choice([Rtm.NEWACTION, Rtm.GETACTION, Rtm.DELACTION])
        message = action_message(type, [Attr(TcaRoot.TAB, cut)], flags=flags)
        try:
            shown = print_notification(message, view)
        except ClsbpfError:
            continue
        assert isinstance(shown.stdout, str)
