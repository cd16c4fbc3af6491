"""The real `tc` as the client: the requests that it sends, and what the kernel answered, asked again here.

tc runs a batch of lines under strace; each request in the recording goes to our endpoint, in the same
order, and the replies must say the same as those that tc was given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.errors import TcError
from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink import schema as tca
from clsbpf.netlink.message import Message
from clsbpf.netlink.schema import Rtm
from clsbpf.netlink.tcmsg import TcMsg
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.words import split_words
from judges import need_tool
from tc_judge import tc_judge
from tc_lines import BYTECODE_FILES, CHAIN_LINES, FILTER_LINES, GET_LINES, QDISC_LINES, SHOW_LINES
from tc_qdisc_lines import REQUEST_LINES, SETUP_LINES, WRONG_LINES
from tc_qdisc_lines import SHOW_LINES as CLASS_SHOW_LINES

OTHER_WORDS = ("prio", "mq", *(f"root {words}" for words in ("htb d", "estimator", "stab", "noqueue")))
"""Words of lines that are not asked again.

The kernel here has no prio and other devices, and it counts handles that nobody names for all its
namespaces together.
"""


def is_sent(line: str) -> bool:
    """Does tc send a line, rather than end with what is wrong with it?"""
    try:
        parse_command(split_words(line), {"lo": 1, "v0": 2, "v1": 3}.get)
    except TcError:
        return False
    return True


START = ["qdisc add dev v0 clsact", "qdisc add dev v1 ingress_block 22 clsact"]
SHOW_ALL = ["filter show dev v0 ingress", "filter show dev v0 egress", "filter show block 22", "qdisc show"]


def said(message: Message) -> Any:
    """What a reply says, without what differs between two runs: addresses, numbering, and counted packets."""
    if message.type in (nl.NLMSG_ERROR, nl.NLMSG_DONE):
        ack = nl.read_acknowledgement(message)
        of = ack.request and (ack.request.type, ack.request.flags, ack.request.length, ack.request.payload)
        return message.type, message.flags, ack.errno, ack.extack, of
    is_qdisc = message.type in (Rtm.NEWQDISC, Rtm.DELQDISC, Rtm.NEWTCLASS, Rtm.DELTCLASS)
    named = tca.to_named(nla.iter_attrs(message.payload[20:]), tca.QDISC if is_qdisc else tca.BPF_FILTER)
    if is_qdisc:
        # The kernel's own packets (neighbour discovery) have passed there.
        del named["stats"], named["stats2"]
    header = TcMsg.decode(message.payload)
    if message.type in (Rtm.NEWCHAIN, Rtm.GETCHAIN):
        header = TcMsg(header.family, header.ifindex, header.handle, header.parent)
    return message.type, message.flags, header, named


LINES = {
    "qdisc": QDISC_LINES,
    "filter": [*START, *FILTER_LINES, *SHOW_ALL],
    "filter again": [*START, *reversed(FILTER_LINES), *SHOW_ALL],
    "classes": [*SETUP_LINES, *filter(is_sent, WRONG_LINES), *CLASS_SHOW_LINES],
    "classes again": [*SETUP_LINES, *REQUEST_LINES, *CLASS_SHOW_LINES],
    "show": [*START, *FILTER_LINES[:20], *GET_LINES, *SHOW_LINES, *CHAIN_LINES, *SHOW_ALL],
}


@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
def test_what_tc_asks_is_answered_as_by_the_kernel(lines: list[str], tmp_path: Path) -> None:
    need_tool("strace")
    for name, text in BYTECODE_FILES.items():
        (tmp_path / name).write_text(text)
    with tc_judge(tmp_path) as judge:
        known = [line for line in lines if not any(words in line for words in OTHER_WORDS)]
        batch = judge.file("".join(f"{line}\n" for line in known))
        _, exchanges = judge.record("-force", "-b", batch)
        network = Network()
        for name, ifindex in sorted(judge.devices.items(), key=lambda item: item[1]):
            network.add_device(name, ifindex, **judge.sizes[name])
    ours = Endpoint(network)
    for exchange in exchanges:
        replies = [m for reply in ours.handle(exchange.request) for m in nl.iter_messages(reply)]
        assert [said(reply) for reply in replies] == [said(reply) for reply in exchange.replies], (
            exchange.request.hex()
        )
    assert len(exchanges) > len(known) / 2
