"""What tc prints of a dump, as text and as JSON, is what we print of the same bytes.

Each case is one run of tc under strace: its output, and the replies that it made it from.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsbpf.bpf import insn
from clsbpf.kernel.bpf import ProgType, prog_info, prog_load
from clsbpf.netlink import attr as nla
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.ids import CLSACT_EGRESS, parse_class_names
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import Outcome, perform
from clsbpf.tccmd.render import Names, ProgramInfo
from clsbpf.tccmd.words import split_words
from judges import need_tool
from tc_judge import Exchange, Ran, TcJudge, tc_judge
from tc_lines import IP, PASS

SETUP = [
    "qdisc add dev v0 clsact",
    "qdisc add dev lo ingress_block 22 egress_block 23 clsact",
    "qdisc add dev v1 ingress",
    "qdisc add dev v1 root handle 1: htb",
    f"filter add dev v0 ingress bpf bytecode {IP} flowid 1:1",
    f"filter add dev v0 ingress bpf bytecode {PASS} da",
    f"filter add dev v0 ingress pref 5 protocol ip handle 7 bpf bytecode {PASS} da flowid ffff:1 skip_hw",
    f"filter add dev v0 ingress pref 5 protocol ip handle 8 bpf bytecode {PASS} classid 1:",
    f"filter add dev v0 ingress pref 5 protocol ip handle 0xffffffff bpf bytecode {PASS} classid :5",
    f"filter add dev v0 ingress pref 6 protocol 802.1q bpf bytecode {PASS} classid root",
    f"filter add dev v0 ingress pref 7 protocol 802.1ad chain 3 bpf bytecode {PASS} classid 1234:abcd",
    f"filter add dev v0 ingress pref 8 protocol 0x1234 chain 4294 bpf bytecode {PASS}",
    f"filter add dev v0 ingress pref 9 bpf bytecode {PASS} action mirred egress mirror dev v1",
    f"filter add dev v0 ingress pref 10 bpf bytecode {PASS} "
    "action mirred egress redirect dev v1 index 70 cookie aabbcc hw_stats disabled",
    f"filter add dev v0 ingress pref 11 bpf bytecode {PASS} da action mirred ingress mirror dev v1 drop "
    "action mirred ingress redirect dev lo index 80",
    f"filter add dev v0 ingress pref 12 bpf bytecode {PASS} action mirred egress mirror dev v1 goto chain 3",
    f"filter add dev v0 egress pref 3 protocol ipv6 bpf bytecode {PASS} flowid 1:2",
    f"filter add dev v1 parent 1: pref 3 protocol arp bpf bytecode {PASS} flowid 1:2",
    f"filter add dev v1 ingress pref 4 protocol LLDP bpf bytecode {PASS} flowid 1:2",
    f"filter add block 22 pref 2 protocol ip bpf bytecode {PASS} flowid 1:2",
    f"filter add block 23 chain 1 bpf bytecode {PASS}",
    "chain add dev v0 ingress chain 99",
]

SHOWS = [
    "filter show dev v0 ingress",
    "filter show dev v0 egress",
    "filter show dev v0",
    "filter show dev v0 root",
    "filter show dev v0 parent ffff:fff2",
    "filter show dev v0 ingress pref 5",
    "filter show dev v0 ingress protocol ip",
    "filter show dev v0 ingress protocol ip pref 5",
    "filter show dev v0 ingress chain 3",
    "filter show dev v0 ingress chain 0 pref 9",
    "filter show dev v1",
    "filter show dev v1 parent 1:",
    "filter show dev v1 ingress",
    "filter show dev lo ingress",
    "filter show dev lo egress",
    "filter show block 22",
    "filter show block 23 pref 49152",
    "filter show block 24",
    "filter show",
    "filter get dev v0 ingress protocol ip pref 5 handle 7 bpf",
    "filter get dev v0 egress protocol ipv6 pref 3 handle 1 bpf",
    "filter get dev v0 parent ffff:fff2 protocol all pref 9 handle 1 bpf",
    "filter get block 22 parent 1: protocol ip pref 2 handle 1 bpf",
    "filter get dev v0 ingress protocol 802.1ad pref 7 chain 3 handle 1 bpf",
    "chain show dev v0 ingress",
    "chain show dev v0 ingress chain 99",
    "chain get dev v0 ingress chain 99",
    "chain show block 22",
    "qdisc show",
    "qdisc show dev v0",
    "qdisc show dev v0 clsact",
    "qdisc show dev v0 root",
    "qdisc show dev v1 ingress",
    "qdisc show dev lo",
    "qdisc show handle ffff:",
    "qdisc show parent ffff:fff1",
    "qdisc show dev v0 invisible",
]

FULLY = ["", "-s -j"]
"""The options with which every listing is compared; the others with `SOME` of them."""

OPTIONS = ["-j -p", "-s", "-s -d", "-o", "-N", "-r", "-d -j", "-o -s", "-i -s"]

SOME = [
    "filter show dev v0 ingress",
    "filter show block 23 pref 49152",
    "filter get dev v0 parent ffff:fff2 protocol all pref 9 handle 1 bpf",
    "chain show dev v0 ingress",
    "qdisc show",
    "qdisc show dev v1 ingress",
]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    need_tool("strace")
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        for line in SETUP:
            ran = judge.run(*split_words(line))
            assert (ran.exit_code, ran.stderr) == (0, ""), line
        yield judge


def ours(judge: TcJudge, line: str, exchanges: list[Exchange], **names: object) -> Ran:
    """What we print of the replies that tc had, our requests checked against tc's on the way."""
    answers = iter(exchanges)

    def talk(request: bytes) -> Iterator[bytes]:
        exchange = next(answers)
        assert request == exchange.request
        return (message.encode() for message in exchange.replies)

    options, words = parse_options(split_words(line))
    command = parse_command(words, judge.resolve, options=options)
    try:
        outcome = perform(command, talk, Names(judge.device_name, **names))  # type: ignore[arg-type]
    except CommandError as error:
        return Ran(error.exit_code, error.stdout, f"{error}\n")
    if outcome.rows is not None:
        assert_same_values(outcome, options.json > 0)
    return Ran(0, outcome.stdout, outcome.stderr and f"{outcome.stderr}\n")


def assert_same_values(outcome: Outcome, is_json: bool) -> None:
    """The rows are what the JSON text says."""
    if is_json:
        assert json.loads(outcome.stdout) == outcome.rows


@pytest.mark.parametrize(
    ("options", "show"),
    [(options, show) for options in FULLY for show in SHOWS]
    + [(options, show) for options in OPTIONS for show in SOME],
)
def test_a_reply_is_shown_as_tc_shows_it(judge: TcJudge, options: str, show: str) -> None:
    line = f"{options} {show}"
    theirs, exchanges = judge.record(*split_words(line))
    assert ours(judge, line, exchanges) == theirs


@pytest.mark.parametrize("options", ["-br", "-br -j", "-br -j -p"])
def test_what_came_before_a_dump_broke_off_is_shown(judge: TcJudge, options: str) -> None:
    """cls_bpf knows no terse dump: the kernel stops at the first filter.  tc leaves its JSON open then."""
    line = f"{options} filter show dev v0 ingress"
    theirs, exchanges = judge.record(*split_words(line))
    shown = ours(judge, line, exchanges)
    assert (shown.exit_code, shown.stderr) == (theirs.exit_code, theirs.stderr)
    assert theirs.exit_code == 1
    assert shown.stdout.removesuffix("]\n").rstrip(" ") == theirs.stdout.rstrip(" ")


NAMES_FILE = """\
# classes
1:1 web

  1:2 mail # the post
0x12340000 big
0x00010000 web-root
5 five
ffff:1 top
"""


@pytest.mark.parametrize("show", SHOWS[:6])
def test_class_names(judge: TcJudge, show: str) -> None:
    path = judge.file(NAMES_FILE, "names")
    line = f"-nm -cf {path} {show}"
    theirs, exchanges = judge.record(*split_words(line))
    names = parse_class_names(Path(path).read_text(), path)
    assert ours(judge, line, exchanges, classes=names) == theirs


def test_a_class_names_file_that_is_none(judge: TcJudge) -> None:
    path = judge.file("1:1 web\nbroken line\n1:2 mail\n", "names")
    with pytest.raises(CommandError) as caught:
        parse_class_names(Path(path).read_text(), path)
    theirs = judge.run("-nm", "-cf", path, "filter", "show", "dev", "v0", "root")
    assert theirs.stderr.strip() == str(caught.value)


BPF_NAMES = ["t1.o:[classifier]", "a\"b\\c/d.o:['x']", "tab\there", "\x7f", "größe.o:[*fsobj]"]


@pytest.mark.parametrize("name", BPF_NAMES)
@pytest.mark.parametrize("options", ["", "-j", "-j -p", "-d", "-d -j"])
def test_an_ebpf_program(judge: TcJudge, name: str, options: str) -> None:
    program = prog_load(
        [insn.mov64_imm(0, 0), insn.exit_()], ProgType.SCHED_CLS, license="GPL", name="drop_main"
    )
    try:
        info = prog_info(program)
        option = nla.nest(Tca.OPTIONS, [nla.u32(TcaBpf.FD, program), nla.string(TcaBpf.NAME, name)])
        header = TcMsg.of_filter(judge.devices["v0"], CLSACT_EGRESS, prio=44, protocol=3, handle=1)
        message = tc_message(Rtm.NEWTFILTER, header, [nla.string(Tca.KIND, "bpf"), option], flags=0x405)
        answer = next(iter(judge.ask_kernel(message.encode())))
        assert answer[16:20] == bytes(4)
        line = f"{options} filter show dev v0 egress pref 44"
        theirs, exchanges = judge.record(*split_words(line))
    finally:
        os.close(program)
    # The kernel's clock is taken from tc's line; what is judged is where it stands.
    loaded = re.search(r'load_time"?:? ?(\d+)', theirs.stdout)
    known = ProgramInfo(
        info.name,
        info.tag,
        jited=Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip() != "0",
        load_time=int(loaded[1]) if loaded else 0,
    )
    assert ours(judge, line, exchanges, program={info.id: known}.get) == theirs
    assert "drop_main" in theirs.stdout
    assert bool(loaded) == ("-d" in options)


def test_a_program_that_is_gone_keeps_its_tag(judge: TcJudge) -> None:
    """Without program information only the id is shown, then the tag of the filter itself."""
    line = "filter show dev v0 egress pref 44"
    _, exchanges = judge.record(*split_words(line))
    assert re.search(r"id \d+ tag [0-9a-f]{16} \n", ours(judge, line, exchanges).stdout)
