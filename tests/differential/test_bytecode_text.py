"""Bytecode text against those who write and read it: `tc` and `tcpdump -ddd`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from clsbpf.bpf.bytecode import format_bytecode, parse_bytecode
from clsbpf.bpf.check import check
from clsbpf.errors import BytecodeError
from judges import need_tool, network_namespace

IP = "40 0 0 12,21 0 1 2048,6 0 0 4294967295,6 0 0 0"

TEXTS = [
    "4," + IP,
    "4," + IP + ",",
    " 4, " + IP.replace(",", " , "),
    "4," + IP.replace(" ", "\n"),
    "+4," + IP.replace("0 0 12", "+0 0 +12"),
    "1,6 0 0 -1",
    "1,6 0 0 -2147483648",
    "1,006 0 0 0010",
    "2,6 0 0 1\n,6 0 0 2",
    "",
    "x",
    "1",
    "1,",
    "0,",
    "1 ,6 0 0 1",
    ",1,6 0 0 1",
    "4097,6 0 0 0",
    "2,6 0 0 1",
    "1,6 0 0 1,6 0 0 1",
    "1,6 0 0 1, ",
    "1,6 0 0",
    "2,6 0 0 1,,6 0 0 1",
    "1,ret",
    "1\n6 0 0 1",
]
FILES = [
    "4\n" + IP.replace(",", "\n") + "\n",
    "4,\n\n" + IP.replace(",", ",\n"),
    "1\n\n6 0 0\t1\n\n\n",
    "1,6 0\n0 1",
    "1",
]

REFUSED_HERE = [
    "1,6 0 0 0x10",
    "1,6 0 0 1junk",
    "1,6 0 0 1 2",
    "1,262 0 256 0",
    "65537,6 0 0 0",
    "1,6 0 0 4294967296",
]
"""What tc takes for another program than is written: sscanf() stops or overflows without a word."""


def by_tc(namespace: str, *mode: str) -> tuple[str | None, str]:
    """The program as tc prints it after adding it, or None, and what tc said."""
    tc = [need_tool("tc"), "-n", namespace]
    add = [*tc, "filter", "add", "dev", "lo", "ingress", "prio", "1", "bpf", *mode]
    added = subprocess.run(add, capture_output=True, text=True, timeout=30)
    if added.returncode == 1:
        return None, added.stderr
    assert added.returncode == 0, added.stderr
    shown = subprocess.run(
        [*tc, "-j", "filter", "show", "dev", "lo", "ingress"], capture_output=True, check=True, timeout=30
    ).stdout
    subprocess.run([*tc, "filter", "del", "dev", "lo", "ingress"], check=True, timeout=30)
    insns = json.loads(shown)[1]["options"]["bytecode"]["insns"]
    fields = (" ".join(str(insn[name]) for name in ("code", "jt", "jf", "k")) for insn in insns)
    return ",".join([str(len(insns)), *fields]), added.stderr


def by_us(text: str, *, newlines: bool) -> tuple[str | None, str]:
    try:
        return format_bytecode(parse_bytecode(text, newlines=newlines)), ""
    except BytecodeError as error:
        return None, str(error)


def test_tc_reads_the_same_and_says_the_same(tmp_path: Path) -> None:
    """Each text is the same program to tc and to us, or an error that begins with tc's words, if any."""
    file = tmp_path / "bytecode"
    with network_namespace() as name:
        subprocess.run([need_tool("tc"), "-n", name, "qdisc", "add", "dev", "lo", "clsact"], check=True)
        for text, as_file in [*((text, False) for text in TEXTS), *((text, True) for text in FILES)]:
            file.write_text(text)
            mode = ("bytecode-file", str(file)) if as_file else ("bytecode", text)
            theirs, said = by_tc(name, *mode)
            ours, error = by_us(text, newlines=as_file)
            assert theirs == ours, f"{text!r}: {said} {error}"
            words = said.splitlines()[0] if theirs is None else ""
            assert words in ("", "Unable to parse bpf command line") or error.startswith(words), text


def test_what_tc_misreads_is_an_error_here() -> None:
    with network_namespace() as name:
        subprocess.run([need_tool("tc"), "-n", name, "qdisc", "add", "dev", "lo", "clsact"], check=True)
        for text in REFUSED_HERE:
            if "262" not in text:  # jf 256 is 0 to tc; the kernel then refuses the opcode
                assert by_tc(name, "bytecode", text)[0] is not None
            assert by_us(text, newlines=False)[0] is None


@pytest.mark.parametrize(
    "expression",
    ["", "ip", "tcp port 443", "vlan and ip6", "host 10.0.0.1 and not icmp", "ip[6:2] & 0x1fff != 0"],
)
def test_what_tcpdump_compiles(expression: str) -> None:
    """`tcpdump -ddd` is read as it comes, line by line what it says, and the checker takes it."""
    command = [need_tool("tcpdump"), "-ddd", "-y", "EN10MB", "-i", "lo", expression]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    program = parse_bytecode(shown)
    assert format_bytecode(program) == shown.strip().replace("\n", ",")
    assert check(program).insns == program
