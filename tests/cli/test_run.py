"""`clsbpf run` from the command line to the last byte of output, on captures whose packets are known."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from clsbpf.bpf.bytecode import format_bytecode
from clsbpf.capture import open_capture
from clsbpf.cli import main
from clsbpf.expression import compile_expression
from judges import need_libpcap, need_tool
from traffic import FILE_HEADER, FRAMES, RECORD, START, write_pcap

HTTPS = (
    "12,40 0 0 12,21 0 9 2048,48 0 0 23,21 0 7 6,40 0 0 20,69 5 0 8191,"
    "177 0 0 14,72 0 0 14,21 1 0 443,6 0 0 0,6 0 0 4294967295,6 0 0 0"
)
"""IPv4 TCP from port 443, written for Ethernet: what only the second frame is."""
ALL = "1,6 0 0 4294967295"

POLICY = """\
# a policy as `tc -batch` takes it
qdisc add dev lab0 clsact
filter add dev lab0 ingress protocol ip pref 10 bpf bytecode '{ALL}' flowid 1:10
filter add dev lab0 ingress protocol 802.1q pref 20 bpf da bytecode '1,6 0 0 2'
filter add dev lab0 egress protocol all pref 5 bpf bytecode '{ALL}' flowid 2:1
""".replace("{ALL}", ALL)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a capture and a policy, which is the current one."""
    monkeypatch.chdir(tmp_path)
    write_pcap(tmp_path / "a.pcap")
    (tmp_path / "policy.tc").write_text(POLICY)
    return tmp_path


def clsbpf(*words: str) -> Result:
    """`clsbpf run` in this process; what is no click error must not come out as an exception."""
    result = CliRunner().invoke(main, ["run", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def counted(*words: str) -> dict[str, Any]:
    """The JSON object of a run that must succeed without a word on standard error."""
    result = clsbpf(*words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return dict(json.loads(result.stdout))


def packets(counts: dict[str, Any]) -> list[int]:
    return [each["packets"] for each in counts["filters"]]


BACKENDS = ["native", "jit", "interpreter"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_filters_in_the_order_given(lab: Path, backend: str) -> None:
    counts = counted("a.pcap", "--bytecode", HTTPS, "--bytecode", ALL, "--backend", backend)
    sizes = [len(FRAMES[1]), sum(map(len, FRAMES)) - len(FRAMES[1])]
    assert counts.pop("seconds") > 0
    assert counts.pop("plan_seconds") > 0
    filters = [
        {
            "chain": 0,
            "pref": number,
            "protocol": "all",
            "handle": "0x1",
            "flowid": f"1:{number}",
            "name": None,
            "packets": matched,
            "bytes": sizes[number - 1],
        }
        for number, matched in ((1, 1), (2, 7))
    ]
    assert counts == {
        "version": 1,
        "packets": 8,
        "bytes": sum(map(len, FRAMES)),
        "truncated": 0,
        "filters": filters,
        "verdicts": {"unspec": 0, "ok": 8, "shot": 0},
        "classes": [
            {"classid": each["flowid"], "packets": each["packets"], "bytes": each["bytes"]}
            for each in filters
        ],
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_policy(lab: Path, backend: str) -> None:
    counts = counted("a.pcap", "-b", "policy.tc", "--backend", backend)
    assert [(each["pref"], each["protocol"], each["packets"]) for each in counts["filters"]] == [
        (10, "ip", 5),
        (20, "802.1Q", 1),
    ]
    assert counts["verdicts"] == {"unspec": 2, "ok": 5, "shot": 1}
    assert counts["bytes"] == sum(map(len, FRAMES))


def test_the_other_hook(lab: Path) -> None:
    assert packets(counted("a.pcap", "-b", "policy.tc", "--hook", "egress", "--dev", "lab0")) == [8]


@pytest.mark.parametrize(
    "text", ["tcp", "tcp port 443", "vlan 7", "ip6 or arp", "greater 500", "not ip", "udp port 53", ""]
)
def test_an_expression_matches_what_tcpdump_matches(lab: Path, text: str) -> None:
    need_libpcap()
    out = subprocess.run(
        [need_tool("tcpdump"), "-r", "a.pcap", "--count", text], capture_output=True, text=True, check=True
    ).stdout
    assert packets(counted("a.pcap", "-e", text)) == [int(out.split()[0])]


def test_an_expression_is_compiled_for_each_link_type(lab: Path) -> None:
    need_libpcap()
    write_pcap(lab / "raw.pcap", [frame[14:] for frame in FRAMES[:4]], link_type=101)
    assert packets(counted("a.pcap", "raw.pcap", "-e", "tcp port 443")) == [4]


def test_bytecode_as_tcpdump_prints_it(lab: Path) -> None:
    need_libpcap()
    text = format_bytecode(compile_expression("tcp port 443", 1))
    lines = text.replace(",", "\n") + "\n"
    assert (
        packets(counted("a.pcap", "--bytecode", lines))
        == packets(counted("a.pcap", "--bytecode", text))
        == [2]
    )


@pytest.mark.parametrize("suffix", ["pcap", "pcap.gz"])
def test_several_captures_one_of_them_packed(lab: Path, suffix: str) -> None:
    write_pcap(lab / f"b.{suffix}", FRAMES[:3])
    assert counted("a.pcap", f"b.{suffix}", "a.pcap", "--bytecode", ALL)["packets"] == 19


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input(lab: Path, packed: bool) -> None:
    capture = write_pcap(lab / "b.pcap.gz" if packed else lab / "b.pcap")
    with open(capture, "rb") as stdin:
        run = subprocess.run(
            [sys.executable, "-m", "clsbpf", "run", "-", "--bytecode", ALL, "--json"],
            stdin=stdin,
            capture_output=True,
            text=True,
            check=True,
        )
    assert json.loads(run.stdout)["packets"] == 8


def test_results_are_a_row_a_packet(lab: Path) -> None:
    counted("a.pcap", "a.pcap", "-b", "policy.tc", "--results", "r.parquet")
    rows = pq.read_table("r.parquet").to_pydict()
    assert rows["packet"] == list(range(16))
    assert [time.value for time in pq.read_table("r.parquet")["time"]][:2] == [START, START + 1_000_000]
    assert rows["length"] == [len(frame) for frame in FRAMES] * 2
    assert rows["verdict"] == [0, 0, 0, 0, -1, 2, -1, 0] * 2
    assert rows["classid"] == [0x10010, 0x10010, 0x10010, 0x10010, 0, 0, 0, 0x10010] * 2
    assert rows["pref"] == [10, 10, 10, 10, 0, 20, 0, 10] * 2
    assert rows["handle"] == [1, 1, 1, 1, 0, 1, 0, 1] * 2
    assert rows["chain"] == [0] * 16


@pytest.mark.parametrize("backend", BACKENDS)
def test_split_gives_each_class_its_packets(lab: Path, backend: str) -> None:
    counted("a.pcap", "-b", "policy.tc", "--split", "split", "--backend", backend)
    found = {}
    for path in sorted(Path("split").iterdir()):
        with open_capture(str(path)) as capture:
            found[path.name] = [bytes(data) for _, data in capture]
    unclassified = [FRAMES[4], FRAMES[5], FRAMES[6]]
    assert found == {
        "1-10.pcap": [frame for frame in FRAMES if frame not in unclassified],
        "unclassified.pcap": unclassified,
    }


def test_what_was_not_captured_is_told(lab: Path) -> None:
    write_pcap(lab / "short.pcap", snap_len=20)
    counts = counted("short.pcap", "--bytecode", "2,32 0 0 30,6 0 0 4294967295")
    assert (counts["truncated"], packets(counts)) == (8, [0])
    assert "read past the end" in clsbpf("short.pcap", "--bytecode", "2,32 0 0 30,6 0 0 4294967295").stdout


# What is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["nosuch.pcap", "--bytecode", ALL], 1, "nosuch.pcap"),
        (["policy.tc", "--bytecode", ALL], 1, "policy.tc: not a pcap or pcapng capture"),
        ([".", "--bytecode", ALL], 1, "."),
        (["empty.pcap", "--bytecode", ALL], 1, "empty.pcap: empty"),
        (["a.pcap", "--bytecode", "nonsense"], 1, "'nonsense'"),
        (["a.pcap", "--bytecode", "1,6 0 0"], 1, "Error at instruction 0!"),
        (["a.pcap", "--bytecode", "1,0 0 0 0"], 1, "1,0 0 0 0"),
        (["a.pcap", "-b", "nosuch.tc"], 1, "nosuch.tc"),
        (["a.pcap", "-b", "."], 1, "."),
        (["a.pcap", "-b", "word.tc"], 1, "word.tc:2"),
        (["a.pcap", "-b", "flower.tc"], 1, "flower.tc:2"),
        (["a.pcap", "-b", "flower.tc"], 1, "flower"),
        (["a.pcap", "-b", "noqdisc.tc"], 1, "noqdisc.tc:1"),
        (["a.pcap", "-b", "checker.tc"], 1, "checker.tc:2"),
        (["a.pcap", "-b", "two.tc"], 1, "lab0, lab1"),
        (["a.pcap", "-b", "empty.tc"], 1, "there is no device"),
        (["a.pcap", "-b", "policy.tc", "--dev", "lab9"], 1, "'lab9'"),
        (["a.pcap", "-b", "old.tc", "--hook", "egress"], 1, "egress"),
    ],
)
def test_what_is_wrong_is_said(lab: Path, words: list[str], exit_code: int, message: str) -> None:
    qdisc = "qdisc add dev lab0 clsact\n"
    for name, text in {
        "word.tc": qdisc + "filter add dev lab0 ingress bpf nonsense\n",
        "flower.tc": qdisc + "filter add dev lab0 ingress flower dst_port 80\n",
        "noqdisc.tc": f"filter add dev lab0 ingress bpf bytecode '{ALL}'\n",
        "checker.tc": qdisc + "filter add dev lab0 ingress bpf bytecode '1,0 0 0 0'\n",
        "two.tc": qdisc + qdisc.replace("lab0", "lab1"),
        "old.tc": "qdisc add dev lab0 ingress\n",
        "empty.tc": "",
    }.items():
        Path(name).write_text(text)
    Path("empty.pcap").touch()
    before = sorted(lab.iterdir())
    result = clsbpf(*words, "--results", "r.csv", "--split", "split", "--json")
    assert message in result.stderr
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert "Traceback" not in result.stderr
    assert sorted(lab.iterdir()) == before


def test_unsupported_lines_can_be_left_out(lab: Path) -> None:
    with open("policy.tc", "a") as file:
        file.write("filter add dev lab0 ingress flower dst_port 80\n")
    assert clsbpf("a.pcap", "-b", "policy.tc").exit_code == 1
    result = clsbpf("a.pcap", "-b", "policy.tc", "--skip-unsupported", "--json")
    assert result.exit_code == 0
    assert packets(json.loads(result.stdout)) == [5, 1]
    assert "policy.tc:6" in result.stderr
    assert "verdicts may differ" in result.stderr


def test_filters_for_ethernet_on_another_link_type_are_warned_of(lab: Path) -> None:
    write_pcap(lab / "raw.pcap", [FRAMES[0][14:]], link_type=101)
    for words in (["--bytecode", ALL], ["-b", "policy.tc"]):
        result = clsbpf("raw.pcap", *words, "--json")
        assert result.exit_code == 0
        assert "RAW" in result.stderr
        assert "Ethernet" in result.stderr


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_a_cut_capture_gives_what_came_before_the_cut(lab: Path, backend: str) -> None:
    whole = (lab / "a.pcap").read_bytes()
    ends = [FILE_HEADER]
    for frame in FRAMES:
        ends.append(ends[-1] + RECORD + len(frame))
    for cut in (ends[1] + 1, ends[3] - 1, ends[5] + RECORD, ends[8] - 1):
        (lab / "cut.pcap").write_bytes(whole[:cut])
        result = clsbpf("cut.pcap", "--bytecode", ALL, "--json", "--results", "r.csv", "--backend", backend)
        wanted = sum(end <= cut for end in ends) - 1
        assert result.exit_code == 1
        assert result.stderr.startswith("clsbpf: cut.pcap: cut at byte")
        assert json.loads(result.stdout)["packets"] == wanted
        assert len((lab / "r.csv").read_text().splitlines()) == 1 + wanted


def test_a_damaged_capture_does_not_keep_the_others_from_being_read(lab: Path) -> None:
    damaged = bytearray((lab / "a.pcap").read_bytes())
    struct.pack_into("<I", damaged, FILE_HEADER + RECORD + len(FRAMES[0]) + 8, 0x7FFFFFFF)
    (lab / "b.pcap").write_bytes(damaged)
    result = clsbpf("b.pcap", "a.pcap", "--bytecode", ALL, "--json")
    assert (result.exit_code, json.loads(result.stdout)["packets"]) == (1, 9)
    assert result.stderr.startswith("clsbpf: b.pcap: ")
    assert result.stderr.count("\n") == 1


# How it ends --------------------------------------------------------------------------------------


def test_an_interrupt_says_how_far_it_came_and_leaves_nothing(lab: Path) -> None:
    fifo = lab / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [sys.executable, "-m", "clsbpf", "run", str(fifo), "--bytecode", ALL, "--results", "r.csv"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with open(fifo, "wb", buffering=0) as writer:
        body = (lab / "a.pcap").read_bytes()
        writer.write(body[:FILE_HEADER])
        for _ in range(2000):
            writer.write(body[FILE_HEADER:])
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr.startswith("clsbpf: interrupted after ")
    assert "packets (" in stderr
    assert sorted(path.name for path in lab.iterdir()) == ["a.pcap", "fifo", "policy.tc"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_run_leaves_nothing_either(lab: Path, number: signal.Signals) -> None:
    os.mkfifo("fifo")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "clsbpf", "run", "fifo", "--bytecode", ALL),
            *("--results", "r.csv", "--split", "classes"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    with open("fifo", "wb", buffering=0) as writer:
        writer.write((lab / "a.pcap").read_bytes())
        time.sleep(0.05)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (128 + number, f"clsbpf: ended by {number.name}\n")
    assert sorted(path.name for path in lab.iterdir()) == ["a.pcap", "fifo", "policy.tc"]


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_standard_streams_are_no_error(lab: Path, closed: str) -> None:
    command = [sys.executable, "-m", "clsbpf", "run", "a.pcap", "--bytecode", ALL, "--results", "r.csv"]
    run = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr, (lab / "r.csv").exists()) == (0, "", True)


@pytest.mark.parametrize(("cut", "ending"), [(0, (0, "")), (1, (1, "clsbpf: a.pcap: cut at byte"))])
def test_a_reader_that_has_seen_enough_is_no_error(lab: Path, cut: int, ending: tuple[int, str]) -> None:
    os.truncate("a.pcap", os.path.getsize("a.pcap") - cut)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        run = subprocess.run(
            [sys.executable, "-m", "clsbpf", "run", "a.pcap", "--bytecode", ALL],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (run.returncode, run.stderr[: len("clsbpf: a.pcap: cut at byte")]) == ending
    assert run.stderr.count("\n") == cut


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_standard_output_that_takes_nothing_is_an_error(lab: Path) -> None:
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "clsbpf", "run", "a.pcap", "--bytecode", ALL],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (run.returncode, run.stderr) == (1, "clsbpf: standard output: No space left on device\n")


def test_a_terminal_sees_a_bar_while_it_waits(lab: Path) -> None:
    """On a terminal the run draws on standard error and clears it; standard output has the report alone."""
    pty = pytest.importorskip("pty")
    fifo = lab / "fifo"
    os.mkfifo(fifo)
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "clsbpf", "run", str(fifo), "--bytecode", ALL, "--json"],
        stdout=subprocess.PIPE,
        stderr=inner,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(inner)
    body = (lab / "a.pcap").read_bytes()

    def feed() -> None:
        with open(fifo, "wb", buffering=0) as writer:
            writer.write(body[:FILE_HEADER])
            for _ in range(12):
                for _ in range(400):
                    writer.write(body[FILE_HEADER:])
                time.sleep(0.1)

    feeder = threading.Thread(target=feed)
    feeder.start()
    drawn = b""
    try:
        while chunk := os.read(outer, 4096):
            drawn += chunk
    except OSError:
        pass  # Linux says EIO when the other end is closed
    feeder.join()
    os.close(outer)
    stdout, _ = process.communicate(timeout=20)
    assert json.loads(stdout)["packets"] == 8 * 400 * 12
    assert process.returncode == 0
    assert b"fifo" in drawn
