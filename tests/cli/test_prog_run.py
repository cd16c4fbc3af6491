"""`clsbpf prog run`: the packet and the fields that a user names, and what is told of the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clsbpf.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
FIREWALL = str(EXAMPLES / "programs" / "build" / "O2" / "firewall.o")
OFFICE = str(EXAMPLES / "office.pcap")
PACKETS = 2503


def prog_run(*words: str) -> Result:
    return CliRunner().invoke(main, ["prog", "run", FIREWALL, "tc", *words])


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["--skb", "mark=3"], {"mark": 3}),
        (["--skb", "mark=0x10, cb=1:2"], {"mark": 16, "cb": [1, 2, 0, 0, 0]}),
        (["--skb", "mark=3,cb=1", "--skb", "priority=7"], {"mark": 3, "priority": 7, "cb": [1, 0, 0, 0, 0]}),
    ],
)
def test_fields_add_up(words: list[str], fields: dict[str, object]) -> None:
    skb = json.loads(prog_run(*words, "--json").stdout)["skb"]
    assert {name: skb[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("packet", "length"), [("ff:ff", 2), ("ff ff 00", 3), ("", 0), (OFFICE, 90), (f"{OFFICE}@0", 90)]
)
def test_packets(packet: str, length: int) -> None:
    assert json.loads(prog_run("--packet", packet, "--json").stdout)["skb"]["len"] == length


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--packet", "zz"], "--packet zz: neither a file, FILE@NUMBER nor hexadecimal digits"),
        (["--packet", f"{OFFICE}@-1"], "neither a file, FILE@NUMBER nor"),
        (["--packet", f"{OFFICE}@{PACKETS}"], f"the capture has {PACKETS} packets, the first is 0"),
        (["--skb", "mark"], "--skb mark: what is wanted is NAME=NUMBER"),
        (["--skb", "cb=1:2:3:4:5:6"], "cb is up to five numbers of 32 bits"),
        (["--skb", "mark=4294967296"], "mark is a number of 32 bits, not 4294967296"),
        (["--skb", "nosuch=1"], "no field 'nosuch' to set in struct __sk_buff; there are: len, "),
    ],
)
def test_what_is_wrong_is_said(words: list[str], message: str) -> None:
    result = prog_run(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("clsbpf: ")
    assert message in result.stderr


def test_an_old_release_refuses_and_nothing_runs() -> None:
    result = prog_run("--profile", "4.13")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        "clsbpf: firewall: refused\n  Reason: instruction 11 needs 32-bit jumps\n"
    )


def test_what_is_not_verified_says_so() -> None:
    words = ["--profile", "4.13", "--no-verify"]
    assert prog_run(*words).stdout.startswith("not verified: run in the checked interpreter\nretval ")
    assert json.loads(prog_run(*words, "--json").stdout)["verified"] is False
    assert json.loads(prog_run("--json").stdout)["verified"] is True
    command = ["run", OFFICE, "--object", FIREWALL, "--no-verify", "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert "objects' programs are not verified: they run in the checked interpreter" in result.stderr
