"""Requests and calls that were damaged: refused or done, and never a mistake of ours."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import encode
from clsbpf.daemon.wire import Arg, Bpf, encode_call
from clsbpf.netlink.message import NLMSG_ERROR, iter_messages, read_acknowledgement
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.words import split_words
from daemon_lab import Lab
from tc_lines import PASS

EIO = 5
LINES = [
    "qdisc add dev lab0 clsact",
    "qdisc replace dev lab1 ingress_block 5 clsact",
    "qdisc add dev lab0 root handle 1: htb default 10",
    "class add dev lab0 parent 1: classid 1:10 htb rate 1mbit",
    f"filter add dev lab0 ingress bpf bytecode {PASS} flowid 1:1 action drop",
    f"filter replace dev lab0 egress pref 3 handle 1 bpf bytecode {PASS} action police rate 1mbit burst 10k",
    "filter show dev lab0 ingress",
    "filter del dev lab0 ingress",
    "chain add dev lab0 ingress chain 3",
    "actions add action skbedit mark 5 index 3",
    "actions ls action skbedit",
    "qdisc show",
]
CALLS = [
    (Bpf.MAP_CREATE, {Arg.TYPE: 1, Arg.KEY_SIZE: 4, Arg.VALUE_SIZE: 8, Arg.MAX_ENTRIES: 9}),
    (Bpf.MAP_UPDATE_ELEM, {Arg.FD: 3, Arg.KEY: b"abcd", Arg.VALUE: bytes(8)}),
    (Bpf.MAP_LOOKUP_ELEM, {Arg.FD: 3, Arg.KEY: b"abcd"}),
    (Bpf.MAP_GET_NEXT_KEY, {Arg.FD: 3}),
    (Bpf.PROG_LOAD, {Arg.TYPE: 3, Arg.INSNS: encode(assemble("r0 = 0\nexit")), Arg.LICENSE: b"GPL"}),
    (Bpf.OBJ_PIN, {Arg.FD: 3, Arg.PATH: b"/sys/fs/bpf/x"}),
    (Bpf.OBJ_GET, {Arg.PATH: b"/sys/fs/bpf/x"}),
    (Bpf.UNPIN, {Arg.PATH: b"/sys/fs/bpf/x"}),
    (Bpf.OBJ_GET_INFO_BY_FD, {Arg.FD: 3}),
    (Bpf.MAP_FREEZE, {Arg.FD: 3}),
    (Bpf.CLOSE, {Arg.FD: 3}),
]


def corpus(lab: Lab) -> list[bytes]:
    found = [b"".join(encode_call(command, args)) for command, args in CALLS]
    for line in LINES:
        command = parse_command(split_words(line), lab.host.network.ifindex)
        found += [request.data for request in command.requests]
    return found


def damaged(rng: random.Random, datagrams: list[bytes]) -> Iterator[bytes]:
    while True:
        raw = bytearray(rng.choice(datagrams))
        for _ in range(rng.choice([0, 1, 1, 2, 8])):
            at = rng.randrange(4, len(raw))
            raw[at] = rng.choice([0, 1, 2, 4, 8, 0x7F, 0x80, 0xFF, raw[at] ^ 1 << rng.randrange(8)])
        if rng.random() < 0.1:
            raw = raw[: rng.randrange(len(raw))]
        if rng.random() < 0.1:
            raw += rng.choice(datagrams)
        yield bytes(raw)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the bytes: no answer says EIO, which would be a mistake of ours, and none is logged."""
    lab = Lab()
    rng = random.Random(seed)
    source = damaged(rng, corpus(lab))
    refused = done = 0
    with caplog.at_level(logging.ERROR, logger="clsbpf"):
        for _ in range(1500):
            for answer in lab.process.handle(next(source)):
                for message in iter_messages(answer):
                    if message.type == NLMSG_ERROR:
                        code = read_acknowledgement(message).errno
                        assert code != EIO
                        refused, done = refused + bool(code), done + (not code)
    assert caplog.records == []
    assert refused > 100
    assert done > 100
    lab.process.close()
    assert lab.host.portids == set()
