"""`clsbpf prog run`: one program on one packet, and what came of it.

retval   2 (shot)
packet   78 bytes, 4 changed
0000  02 00 00 00 00 01 02 00 …
skb      mark=3 tc_classid=0x10
maps     hits: {0: 1}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..errors import CaptureError, ClsbpfError, RunError
from ..profile import PROFILES
from .prog import BTF, NO_VERIFY

if TYPE_CHECKING:
    from ..api import Object, TestRun

HEX_BYTES_A_LINE = 16
DEFAULT_PACKET = bytes(64)


@click.command("run")
@click.argument("object", metavar="OBJECT")
@click.argument("program", metavar="[PROGRAM]", required=False)
@click.option(
    "--packet",
    metavar="FILE|HEX",
    help="The packet: hexadecimal, a capture (its first packet, or FILE@N for packet N), or a file of bytes.",
)
@click.option("--skb", metavar="NAME=VALUE,…", multiple=True, help="Fields of __sk_buff; cb=1:2:3:4:5.")
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Run it so often.")
@click.option("--maps", is_flag=True, help="Print the object's maps afterwards.")
@click.option("--json", is_flag=True, help="Print one JSON object.")
@BTF
@NO_VERIFY
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="current",
    show_default=True,
    help="The kernel whose behaviour counts.",
)
def run_program(
    object: str,
    program: str | None,
    packet: str | None,
    skb: tuple[str, ...],
    repeat: int,
    maps: bool,
    json: bool,
    btf: str | None,
    no_verify: bool,
    profile: str,
) -> None:
    """Run a program (by function or section) on one packet, as BPF_PROG_TEST_RUN does.

    \b
    clsbpf prog run prog.o classifier --packet 'ffffffffffff 020000000001 0800 4500…' --skb mark=3
    clsbpf prog run prog.o classifier --packet trace.pcap@17 --maps
    """
    from ..api import Object
    from ..vm.environment import Environment

    data = read_packet(packet) if packet is not None else DEFAULT_PACKET
    fields = parse_fields(",".join(skb))
    loaded = Object.load(object, btf=btf, profile=profile, verify=not no_verify)
    chosen = loaded.spec.program(program).name
    environment = Environment()
    run = loaded.programs[chosen].test_run(data, fields, repeat, environment=environment)
    trace = [line.text.rstrip() for line in environment.trace]
    contents = map_contents(loaded) if maps else {}
    if json:
        click.echo(as_json(run, trace, contents, verified=not no_verify))
    else:
        if no_verify:
            click.echo("not verified: run in the checked interpreter")
        for line in as_text(data, run, trace, contents):
            click.echo(line)


def read_packet(text: str) -> bytes:
    """A packet that a user names: hexadecimal digits, a capture's, or a file's bytes."""
    path, at, number = text.rpartition("@")
    if at and number.isdigit() and os.path.exists(path):
        return packet_of(path, int(number))
    if os.path.exists(text):
        try:
            return packet_of(text, 0)
        except CaptureError:
            with open(text, "rb") as file:
                return file.read()
    try:
        return bytes.fromhex(text.replace(":", " "))
    except ValueError:
        raise RunError(f"--packet {text}: neither a file, FILE@NUMBER nor hexadecimal digits") from None


def packet_of(path: str, number: int) -> bytes:
    """Packet `number`, from 0, of a capture; CaptureError when it is none, RunError when it is shorter."""
    from ..capture import open_capture

    with open_capture(path) as capture:
        count = 0
        for _record, data in capture:
            if count == number:
                return bytes(data)
            count += 1
    raise RunError(f"--packet {path}@{number}: the capture has {count} packets, the first is 0")


def parse_fields(text: str) -> dict[str, Any]:
    """`mark=3,cb=1:2:3` as fields of struct __sk_buff."""
    fields: dict[str, Any] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        try:
            numbers = [int(each, 0) for each in value.split(":")]
        except ValueError:
            numbers = []
        if not equals or not numbers:
            raise RunError(f"--skb {part}: what is wanted is NAME=NUMBER (cb: up to five, joined by colons)")
        fields[name.strip()] = numbers if name.strip() == "cb" else numbers[0]
    return fields


def map_contents(loaded: Object) -> dict[str, Any]:
    """The maps' elements by name, as far as they can be listed; an array's are shown where they are not 0."""
    found: dict[str, Any] = {}
    for name, each in loaded.maps.items():
        try:
            found[name] = [(key, value) for key, value in each.items() if not is_zero(value)]
        except ClsbpfError as error:
            found[name] = str(error)
    return found


def is_zero(value: Any) -> bool:
    """Is nothing in a value but zeros?"""
    if isinstance(value, Mapping):
        return all(map(is_zero, value.values()))
    if isinstance(value, list | tuple | bytes):
        return all(map(is_zero, value))
    return bool(value == 0)


def plain(value: Any) -> Any:
    """A value as JSON can have it: bytes become hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def as_json(run: TestRun, trace: list[str], maps: Mapping[str, Any], *, verified: bool) -> str:
    """The object that `--json` prints."""
    import json

    return json.dumps(
        {
            "verified": verified,
            "retval": run.retval,
            "packet": run.packet.hex(),
            "skb": dict(run.skb),
            "duration_ns": run.duration_ns,
            "trace": trace,
            **({"maps": plain(maps)} if maps else {}),
        }
    )


def as_text(before: bytes, run: TestRun, trace: list[str], maps: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    from ..tc.act import as_answer, verdict_name

    lines = [f"retval   {run.retval:#x} ({verdict_name(as_answer(run.retval))}), {run.duration_ns:,} ns"]
    changed = sum(a != b for a, b in zip(before, run.packet, strict=False))
    changed += abs(len(before) - len(run.packet))
    lines.append(f"packet   {len(run.packet)} bytes, {changed or 'none'} changed")
    for at in range(0, len(run.packet), HEX_BYTES_A_LINE):
        lines.append(f"  {at:04x}  {run.packet[at : at + HEX_BYTES_A_LINE].hex(' ')}")
    shown = (f"{name}={value}" for name, value in run.skb.items() if value and value != [0] * 5)
    lines.append(f"skb      {' '.join(shown)}")
    lines += [f"trace    {line}" for line in trace]
    for name, contents in maps.items():
        if isinstance(contents, str):
            lines.append(f"map {name}: {contents}")
            continue
        lines.append(f"map {name}:{'' if contents else ' empty'}")
        lines += [f"  {plain(key)}: {plain(value)}" for key, value in contents]
    return lines
