"""Replies as text, as JSON and as values; refusals in tc's words."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator

import pytest

from clsbpf.bpf.bytecode import parse_bytecode
from clsbpf.bpf.classic import encode_ops
from clsbpf.errors import ClsbpfError
from clsbpf.netlink import attr as nla
from clsbpf.netlink.message import (
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    ExtAck,
    Message,
    acknowledge,
    done,
    iter_messages,
)
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import Outcome, perform
from clsbpf.tccmd.printer import json_text
from clsbpf.tccmd.render import Names, ProgramInfo
from clsbpf.tccmd.stats import format_rate, format_size
from clsbpf.tccmd.words import split_words

INGRESS = 0xFFFFFFF2
TEXT = "4,40 0 0 12,21 0 1 2048,6 0 0 4294967295,6 0 0 0"
DEVICES = {"lab0": 7}
NAMES = Names(
    {7: "lab0"}.__getitem__,
    {117: ProgramInfo("drop_main", bytes.fromhex("614b434cd8324ecc"), True, 868, 0, 58)}.get,
)


def a_filter(*options: nla.Attr, prio: int = 10, protocol: int = 3, handle: int = 0) -> Message:
    attrs = [nla.string(Tca.KIND, "bpf"), nla.u32(Tca.CHAIN, 0)]
    if options:
        attrs.append(nla.nest(Tca.OPTIONS, options))
    header = TcMsg.of_filter(7, INGRESS, prio=prio, protocol=protocol, handle=handle)
    return tc_message(Rtm.NEWTFILTER, header, attrs, flags=NLM_F_MULTI)


DUMP = [
    a_filter(),
    a_filter(
        nla.string(TcaBpf.NAME, "t1.o:[drop]"),
        nla.u32(TcaBpf.ID, 117),
        nla.binary(TcaBpf.TAG, bytes(8)),
        nla.u32(TcaBpf.FLAGS, 1),
        nla.u32(TcaBpf.FLAGS_GEN, 9),
        handle=7,
    ),
    a_filter(
        nla.u32(TcaBpf.CLASSID, 0x10001),
        nla.u16(TcaBpf.OPS_LEN, 4),
        nla.binary(TcaBpf.OPS, encode_ops(parse_bytecode(TEXT))),
        nla.u32(TcaBpf.FLAGS_GEN, 8),
        prio=30,
        handle=1,
    ),
]


def answering(*messages: Message):  # type: ignore[no-untyped-def]
    def talk(request: bytes) -> Iterator[bytes]:
        return (message.encode() for message in messages)

    return talk


def show(line: str, *messages: Message) -> Outcome:
    options, words = parse_options(split_words(line))
    (request,) = parse_command(words, DEVICES.get, options=options).requests
    return perform(
        parse_command(words, DEVICES.get, options=options), answering(*messages, done(request.message)), NAMES
    )


def test_text() -> None:
    assert show("filter show dev lab0 ingress", *DUMP).stdout == (
        "filter protocol all pref 10 bpf chain 0 \n"
        "filter protocol all pref 10 bpf chain 0 handle 0x7 t1.o:[drop] direct-action skip_hw not_in_hw "
        "id 117 name drop_main tag 614b434cd8324ecc jited \n"
        "filter protocol all pref 30 bpf chain 0 handle 0x1 flowid 1:1 not_in_hw "
        f"bytecode '{TEXT}'\n"
    )


def test_what_selects_is_left_out() -> None:
    line = "filter show dev lab0 ingress pref 10 protocol all chain 0"
    assert show(line, DUMP[0]).stdout == "filter bpf \n"
    assert (
        show("filter show", DUMP[0]).stdout == "filter dev lab0 ingress protocol all pref 10 bpf chain 0 \n"
    )


def test_details_tell_more_of_a_program() -> None:
    assert show("-d filter show dev lab0 ingress", DUMP[1]).stdout.endswith(
        "jited load_time 868 created_by_uid 0 btf_id 58 \n"
    )


def test_json_and_rows_say_the_same() -> None:
    outcome = show("-j filter show dev lab0 ingress", *DUMP)
    assert outcome.stdout.startswith('[{"protocol":"all","pref":10,"kind":"bpf","chain":0},{"protocol"')
    assert json.loads(outcome.stdout) == outcome.rows
    assert outcome.rows is not None
    assert outcome.rows[1]["options"] == {
        "handle": "0x7",
        "bpf_name": "t1.o:[drop]",
        "direct-action": True,
        "skip_hw": True,
        "not_in_hw": True,
        "prog": {"id": 117, "name": "drop_main", "tag": "614b434cd8324ecc", "jited": 1},
    }
    assert outcome.rows == show("filter show dev lab0 ingress", *DUMP).rows


def test_nothing_is_an_empty_text_and_an_empty_list() -> None:
    assert show("filter show dev lab0 ingress") == Outcome("", [], "")
    assert show("-j filter show dev lab0 ingress").stdout == "[]\n"
    assert show("-j -p filter show dev lab0 ingress").stdout == "[ ]\n"


JSON = [
    ([], "[]", "[ ]"),
    ([{}], "[{}]", "[ {} ]"),
    ([1, "a"], '[1,"a"]', '[ 1,"a" ]'),
    (
        [{"a": {"b": True}}],
        '[{"a":{"b":true}}]',
        '[ {\n        "a": {\n            "b": true\n        }\n    } ]',
    ),
]


@pytest.mark.parametrize(("value", "compact", "pretty"), JSON)
def test_json_layout(value: object, compact: str, pretty: str) -> None:
    assert json_text(value) == compact
    assert json_text(value, pretty=True) == pretty


@pytest.mark.parametrize("text", ["\\", '"', "'", "\t\n\r\f\b", "\x00\x01\x1f", "größe", "\x7f"])
def test_any_string_is_json(text: str) -> None:
    assert json.loads(json_text(text)) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0, "0bit"), (1, "8bit"), (125, "1Kbit"), (126, "1008bit"), (125_000_000, "1Gbit")]
)
def test_rates(rate: int, text: str) -> None:
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0b"), (1023, "1023b"), (1024, "1Kb"), (1030, "1Kb"), (1100, "1100b"), (1 << 20, "1Mb")],
)
def test_sizes(size: int, text: str) -> None:
    assert format_size(size) == text


# -- Refusals

ADD = "filter add dev lab0 ingress bpf bytecode '1,6 0 0 0'"
TALKING = "\nWe have an error talking to the kernel"


def refused(line: str, number: int, extack: str | None = None) -> CommandError:
    def talk(request: bytes) -> Iterator[bytes]:
        (message,) = iter_messages(request)
        yield acknowledge(message, number, ExtAck(extack) if extack else ExtAck()).encode()

    with pytest.raises(CommandError) as caught:
        perform(parse_command(split_words(line), DEVICES.get), talk)
    return caught.value


REFUSALS = [
    (ADD, errno.EINVAL, None, "RTNETLINK answers: Invalid argument" + TALKING),
    (ADD, errno.EEXIST, "Filter already exists", "Error: Filter already exists." + TALKING),
    (ADD, errno.EEXIST, "It ends.", "Error: It ends." + TALKING),
    ("qdisc add dev lab0 clsact", errno.EEXIST, None, "RTNETLINK answers: File exists"),
    (
        "filter get dev lab0 ingress protocol ip pref 1 handle 1 bpf",
        errno.ENOENT,
        "Gone",
        "Error: Gone." + TALKING,
    ),
]


@pytest.mark.parametrize(("line", "number", "extack", "message"), REFUSALS)
def test_refusals(line: str, number: int, extack: str | None, message: str) -> None:
    error = refused(line, number, extack)
    assert (str(error), error.exit_code, error.errno) == (message, 2, number)


def test_a_dump_that_breaks_off() -> None:
    (request,) = parse_command(["filter", "show"], DEVICES.get).requests
    with pytest.raises(CommandError) as caught:
        perform(
            parse_command(["filter", "show"], DEVICES.get),
            answering(DUMP[0], done(request.message, errno.EMSGSIZE)),
            NAMES,
        )
    error = caught.value
    assert str(error) == "Error: Buffer too small for object.\nDump terminated"
    assert (error.exit_code, error.stdout) == (
        1,
        "filter dev lab0 ingress protocol all pref 10 bpf chain 0 \n",
    )


def test_a_yes_with_a_remark_is_a_warning() -> None:
    def talk(request: bytes) -> Iterator[bytes]:
        (message,) = iter_messages(request)
        yield acknowledge(message, 0, ExtAck("skipped")).encode()

    assert perform(parse_command(split_words(ADD), DEVICES.get), talk) == Outcome(stderr="Warning: skipped.")


def test_a_dump_that_was_interrupted_says_so_once() -> None:
    marked = Message(DUMP[0].type, NLM_F_MULTI | NLM_F_DUMP_INTR, 0, 0, DUMP[0].payload)
    outcome = show("filter show dev lab0 ingress", marked, marked)
    assert outcome.stderr == "Dump was interrupted and may be inconsistent."


def test_a_reply_that_is_cut_is_an_error() -> None:
    for line in (ADD, "filter show"):
        with pytest.raises(ClsbpfError):
            perform(parse_command(split_words(line), DEVICES.get), answering())
