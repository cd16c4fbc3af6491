"""Lines to requests, read again as values; and what a wrong line says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf.errors import ObjectError, TcError
from clsbpf.netlink.attr import iter_attrs
from clsbpf.netlink.message import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REQUEST
from clsbpf.netlink.schema import BPF_FILTER, QDISC, Rtm, to_named
from clsbpf.netlink.tcmsg import TCMSG_LEN, TcMsg
from clsbpf.tccmd.batch import BatchLine, at_line, read_batch, run_batch
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError, UnsupportedKind
from clsbpf.tccmd.filter import OTHER_CLASSIFIERS
from clsbpf.tccmd.options import Options, parse_options
from clsbpf.tccmd.qdisc import OTHER_QDISCS
from clsbpf.tccmd.request import Command, ObjectSource, Reply
from clsbpf.tccmd.words import split_words

DEVICES = {"lo": 1, "lab0": 7, "lab1": 8}
FILES = {"ddd.bc": "1\n6 0 0 7\n"}
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
ALL = bytes.fromhex("06000000ffffffff")
PASS = "bytecode '1,6 0 0 4294967295'"


def read_file(path: str) -> str:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def command(line: str, **how: Any) -> Command:
    return parse_command(split_words(line), DEVICES.get, read_file, **how)


def request(line: str, **how: Any) -> tuple[int, TcMsg, dict[str, Any]]:
    """The only request of a line: type, header, attributes by name."""
    (request,) = command(line, **how).requests
    payload = request.message.payload
    schema = QDISC if request.message.type in (Rtm.NEWQDISC, Rtm.DELQDISC) else BPF_FILTER
    return request.message.type, TcMsg.decode(payload), to_named(iter_attrs(payload[TCMSG_LEN:]), schema)


def filter_at(parent: int = INGRESS, **fields: int) -> TcMsg:
    return TcMsg.of_filter(7, parent, **{"protocol": 3, **fields})


BYTECODE = {"ops_len": 1, "ops": ALL}

FILTERS: list[tuple[str, TcMsg, dict[str, Any]]] = [
    (f"filter add dev lab0 ingress bpf {PASS}", filter_at(), {"kind": "bpf", "options": BYTECODE}),
    (
        f"filter add dev lab0 egress protocol ip pref 5 handle 0x7 chain 2 bpf {PASS} da flowid 1:10 skip_hw",
        filter_at(EGRESS, protocol=0x800, prio=5, handle=7),
        {"chain": 2, "kind": "bpf", "options": {"classid": 0x10010, **BYTECODE, "flags_gen": 1, "flags": 1}},
    ),
    (
        "filter add dev lab0 ingress bpf bcf ddd.bc classid 1:",
        filter_at(),
        {
            "kind": "bpf",
            "options": {"ops_len": 1, "ops": bytes.fromhex("0600000007000000"), "classid": 0x10000},
        },
    ),
    (
        f"filter add dev lab0 parent 1: estimator 1s 4s bpf {PASS}",
        filter_at(0x10000),
        {"kind": "bpf", "options": BYTECODE, "rate": b"\x00\x02"},
    ),
    (
        f"filter add block 22 pref 1 bpf {PASS}",
        TcMsg.of_block(22, prio=1, protocol=3),
        {"kind": "bpf", "options": BYTECODE},
    ),
    (
        "filter add dev lab0 ingress bpf da",
        filter_at(),
        {"kind": "bpf", "options": {"ops_len": 0, "ops": b"", "flags": 1}},
    ),
    ("filter add dev lab0 ingress bpf", filter_at(), {"kind": "bpf"}),
    ("filter add dev lab0 ingress nosuchkind", filter_at(), {"kind": "nosuchkind"}),
]


@pytest.mark.parametrize(("line", "header", "attrs"), FILTERS)
def test_filters(line: str, header: TcMsg, attrs: dict[str, Any]) -> None:
    assert request(line) == (Rtm.NEWTFILTER, header, attrs)


VERBS = [
    (f"filter add dev lab0 ingress bpf {PASS}", Rtm.NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 3),
    (f"filter replace dev lab0 ingress bpf {PASS}", Rtm.NEWTFILTER, NLM_F_ACK | NLM_F_CREATE, 3),
    (f"filter change dev lab0 ingress bpf {PASS}", Rtm.NEWTFILTER, NLM_F_ACK, 0),
    ("filter del dev lab0 ingress pref 1", Rtm.DELTFILTER, NLM_F_ACK, 0),
    ("filter get dev lab0 ingress protocol ip pref 1 handle 1 bpf", Rtm.GETTFILTER, NLM_F_ECHO, 0x800),
    ("filter show dev lab0 ingress", Rtm.GETTFILTER, NLM_F_DUMP, 0),
]


@pytest.mark.parametrize(("line", "type", "flags", "protocol"), VERBS)
def test_verbs(line: str, type: Rtm, flags: int, protocol: int) -> None:
    (request,) = command(line).requests
    assert (request.message.type, request.message.flags) == (type, NLM_F_REQUEST | flags)
    assert TcMsg.decode(request.message.payload).protocol == protocol


def test_a_program_of_the_most_instructions() -> None:
    """4096 instructions do not fit tc's own buffer; here they do."""
    text = "4096," + ",".join(["0 0 0 0"] * 4095 + ["6 0 0 1"])
    _, _, attrs = request(f"filter add dev lab0 ingress bpf bytecode '{text}'")
    assert (attrs["options"]["ops_len"], len(attrs["options"]["ops"])) == (4096, 4096 * 8)


def test_qdiscs() -> None:
    clsact = TcMsg(0, 7, 0xFFFF0000, 0xFFFFFFF1)
    assert request("qdisc add dev lab0 clsact") == (Rtm.NEWQDISC, clsact, {"kind": "clsact"})
    assert request("qdisc del dev lab0 ingress") == (Rtm.DELQDISC, clsact, {"kind": "ingress"})
    _, _, attrs = request("qdisc add dev lab0 egress_block 9 ingress_block 8 clsact")
    assert list(attrs.items()) == [("kind", "clsact"), ("ingress_block", 8), ("egress_block", 9)]


def test_a_command_names_its_devices() -> None:
    line = f"filter add dev lab0 ingress bpf {PASS} action mirred egress mirror dev lab1"
    assert command(line).devices == ("lab0", "lab1")
    assert command("filter show").devices == ()


def test_a_listing_of_a_block_looks_for_the_block_first() -> None:
    first, second = command("filter show block 22").requests
    assert (first.reply, first.block, second.reply) == (Reply.BLOCKS, 22, Reply.DUMP)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "help",
        "filter help",
        "filter add help",
        "filter show help",
        "qdisc help",
        "qdisc add help",
        "chain help",
    ],
)
def test_help_sends_nothing(line: str) -> None:
    helped = command(line)
    assert helped.requests == ()
    assert "tc " in helped.usage


# -- Programs from files


def test_an_object_is_loaded_through_the_hook() -> None:
    asked: list[ObjectSource] = []

    def load(source: ObjectSource) -> int:
        asked.append(source)
        return 33

    line = (
        "filter add dev lab0 ingress bpf skip_sw obj dir/prog.o section tc program drop export /run/x verb da"
    )
    _, _, attrs = request(line, load_object=load)
    assert attrs["options"] == {"fd": 33, "name": "prog.o:[tc]", "flags_gen": 2, "flags": 1}
    assert asked == [ObjectSource("dir/prog.o", False, "tc", "drop", "/run/x", True, ifindex=7)]

    _, _, attrs = request("filter add dev lab0 ingress bpf fd m:prog", load_object=load)
    assert attrs["options"] == {"fd": 33, "name": "m:prog:[*fsobj]"}
    assert asked[1] == ObjectSource("m:prog", True, "classifier")


def test_the_environment_says_where_maps_go() -> None:
    asked: list[ObjectSource] = []
    environ = {"TC_BPF_UDS": "/run/agent"}
    request(
        "filter add dev lab0 ingress bpf obj p.o",
        load_object=lambda source: asked.append(source) or 3,
        environ=environ,
    )
    assert asked[0].export == "/run/agent"
    with pytest.raises(CommandError, match='What is "export"'):
        request("filter add dev lab0 ingress bpf obj p.o export x", load_object=lambda _: 3, environ=environ)


@pytest.mark.parametrize(
    ("mode", "end"), [("obj", "Unable to load program"), ("fd", "Unable to parse bpf command line")]
)
def test_what_cannot_be_loaded(mode: str, end: str) -> None:
    line = f"filter add dev lab0 ingress bpf {mode} prog.o"
    with pytest.raises(CommandError, match=f"prog.o: .*\n{end}$"):
        command(line)

    def refuse(source: ObjectSource) -> int:
        raise ObjectError("not an ELF file")

    with pytest.raises(CommandError, match=f"^not an ELF file\n{end}$") as caught:
        command(line, load_object=refuse)
    assert (caught.value.exit_code, caught.value.errno) == (1, ObjectError.errno)


# -- What is refused


@pytest.mark.parametrize("kind", sorted(OTHER_CLASSIFIERS))
def test_other_classifiers_are_told_by_kind(kind: str) -> None:
    with pytest.raises(UnsupportedKind) as caught:
        command(f"filter add dev lab0 ingress protocol ip pref 3 {kind} whatever follows")
    assert (caught.value.what, caught.value.kind, caught.value.word) == ("classifier", kind, kind)
    assert isinstance(caught.value, TcError)


def test_other_qdiscs_and_actions_are_told_by_kind() -> None:
    for kind in OTHER_QDISCS:
        with pytest.raises(UnsupportedKind) as caught:
            command(f"qdisc add dev lab0 root {kind}")
        assert (caught.value.what, caught.value.kind) == ("qdisc", kind)
    for words in ("action ife encode", "action ct", "action nat ingress 1.1.1.1 2.2.2.2"):
        with pytest.raises(UnsupportedKind) as caught:
            command(f"filter add dev lab0 ingress bpf {PASS} {words}")
        assert caught.value.what == "action"


@pytest.mark.parametrize("object", ["monitor", "exec"])
def test_objects_that_come_later(object: str) -> None:
    with pytest.raises(CommandError, match=f'Object "{object}" is not supported here'):
        command(f"{object} show")


WORDS_AT_FAULT = [
    ("nosuch show", "nosuch", 255, False),
    ("filter nosuch", "nosuch", 255, False),
    ("filter add dev nope ingress bpf", "nope", 1, False),
    ("filter add dev lab0 ingress pref 70000 bpf", "70000", 255, True),
    ("filter add dev lab0 ingress protocol foo bpf", "foo", 255, True),
    ("filter add dev lab0 ingress egress", "egress", 255, False),
    ("filter add dev lab0 dev lab1", "lab1", 255, True),
    ("filter add dev lab0 ingress pref", "pref", 255, True),
    ("filter add dev lab0 ingress handle zz bpf", "zz", 1, False),
    ("filter add dev lab0 ingress bpf classid zz", "zz", 1, False),
    ("filter add dev lab0 ingress bpf foo", "foo", 1, False),
    (f"filter add dev lab0 ingress bpf {PASS} foo", "foo", 1, False),
    ("filter add dev lab0 ingress bpf bytecode '1,6 0'", "1,6 0", 1, False),
    ("filter add dev lab0 ingress bpf bcf nosuch.bc", "nosuch.bc", 1, False),
    ("filter add dev lab0 ingress estimator x 4s bpf", "x", 255, True),
    ("qdisc add dev lab0 handle foo clsact", "foo", 255, True),
    ("qdisc add dev lab0 clsact foo", "foo", 1, False),
    (f"filter add dev lab0 ingress bpf {PASS} action drop index x", "drop", 1, False),
]


@pytest.mark.parametrize(("line", "word", "exit_code", "ends_batch"), WORDS_AT_FAULT)
def test_an_error_names_its_word(line: str, word: str, exit_code: int, ends_batch: bool) -> None:
    with pytest.raises(CommandError) as caught:
        command(line)
    error = caught.value
    assert (error.word, error.exit_code, error.ends_batch) == (word, exit_code, ends_batch)


VOCABULARY = st.sampled_from(
    split_words(
        "filter qdisc chain add del show get dev lab0 nope ingress egress parent 1: pref 5 protocol ip "
        "handle 1 bpf bytecode bcf ddd.bc obj fd classid da skip_hw action drop mirred egress mirror police "
        "estimator 1s 4s clsact help run block 22 cookie aa index goto jump random '' '1,6 0 0 0' \udcff"
    )
)


@given(st.lists(VOCABULARY, max_size=14))
def test_any_words_make_a_command_or_a_command_error(words: list[str]) -> None:
    """Whatever the words: requests that encode, or a CommandError with an exit code of tc's."""
    exit_code = 0
    sizes = [36]
    try:
        made = parse_command(words, DEVICES.get, read_file, load_object=lambda _: 3)
        sizes = [len(request.data) for request in made.requests] or sizes
    except CommandError as error:
        exit_code = error.exit_code
    assert exit_code in (0, 1, 255)
    assert min(sizes) >= 36


# -- Options


OPTIONS = [
    ([], Options(), ()),
    (["filter", "-s"], Options(), ("filter", "-s")),
    (["-s", "-s", "-d", "-j", "-p", "qdisc"], Options(stats=2, details=1, json=1, pretty=1), ("qdisc",)),
    (["-statistics", "-o", "-N", "-br"], Options(stats=1, oneline=1, numeric=1, brief=1), ()),
    (["-n", "blue", "-force", "-b", "f.tc"], Options(netns="blue", force=1, batch="f.tc"), ()),
    (["-nm", "-cf", "names", "filter"], Options(names=True, names_file="names"), ("filter",)),
    (["-c", "names", "filter"], Options(names_file="names"), ("filter",)),
    (["-color", "filter"], Options(color="always"), ("filter",)),
    (["-color=never", "filter"], Options(color="never"), ("filter",)),
    (["-h", "filter"], Options(help=True), ()),
    (["-V", "filter"], Options(version=True), ()),
    (["-b"], Options(help=True), ()),
]


@pytest.mark.parametrize(("words", "options", "rest"), OPTIONS)
def test_options(words: list[str], options: Options, rest: tuple[str, ...]) -> None:
    assert parse_options(words) == (options, rest)


# -- Batches


def test_an_error_in_a_batch_names_file_line_and_word() -> None:
    lines = read_batch(
        "# policy\nqdisc add dev lab0 clsact\n\nfilter add dev lab0 \\\n ingress bpf classid zz\n", "p.tc"
    )
    done: list[str] = []

    def run(words: Any) -> None:
        parse_command(words, DEVICES.get)
        done.append(words[0])

    with pytest.raises(CommandError) as caught:
        list(run_batch(lines, run))
    error = caught.value
    assert done == ["qdisc"]
    assert (error.file, error.line, error.word, error.exit_code) == ("p.tc", 5, "zz", 1)
    assert error.reason == 'Illegal "classid"'
    assert str(error) == 'Illegal "classid"\nCommand failed p.tc:5'


def test_force_goes_on_but_not_after_an_error_that_ends_tc() -> None:
    lines = read_batch("filter foo\nfilter show\nfilter add dev\nfilter show\n", "-")
    results = run_batch(lines, lambda words: parse_command(words, DEVICES.get), force=True)
    assert str(next(results)).endswith("Command failed -:1")
    assert isinstance(next(results), Command)
    with pytest.raises(CommandError) as caught:
        next(results)
    assert (caught.value.line, caught.value.exit_code, str(caught.value)) == (
        3,
        255,
        'Command line is not complete. Try option "help"',
    )


def test_errors_of_others_are_located_too() -> None:
    located = at_line(TcError("refused", 2, 22), BatchLine("p.tc", 3, "filter add"))
    assert (str(located), located.exit_code, located.errno) == ("refused\nCommand failed p.tc:3", 1, 22)
    unsupported = at_line(UnsupportedKind("classifier", "u32", "bpf"), BatchLine("p.tc", 3, "filter add"))
    assert isinstance(unsupported, UnsupportedKind)
    assert unsupported.line == 3
