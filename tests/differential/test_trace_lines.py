"""Lines that programs print, against the kernel's trace_pipe: text, length or refusal, in all three ways.

One program prints whatever format and arguments a map holds (bpf_trace_vprintk takes a format that is not
known beforehand).  The kernel's map tells where it is, so that arguments can be addresses of strings in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import MapSpec, ProgramSpec
from clsbpf.kernel.bpf import prog_load, prog_test_run
from clsbpf.kernel.maps import map_create, map_lookup, map_update
from clsbpf.skb import Skb
from clsbpf.verifier.verify import verify
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from clsbpf.vm.link import link
from clsbpf.vm.maps.map import Map
from clsbpf.vm.native_program import native_of
from judges import need_kernel

FORMAT = 256
"""Bytes for the format; behind it the arguments, where they are, how many bytes they take, and strings."""
WHERE = FORMAT + 96
LENGTH = WHERE + 8
STRINGS_AT = 384
VALUE = 2048
PACKET = bytes(64)

TEXT = """
    *(u64 *)(r10 - 8) = 0
    r1 = map[fd:{map}]
    r2 = r10
    r2 += -8
    call bpf_map_lookup_elem
    if r0 != 0 goto found
    exit
    found: *(u64 *)(r0 + {where}) = r0
    r1 = r0
    r2 = {format}
    r3 = r0
    r3 += {format}
    r4 = *(u64 *)(r0 + {length})
    r4 &= 127
    call bpf_trace_vprintk
    exit
"""
STRINGS = (b"hello\0", b"\0", b"\x01\xff\xa0\0", b"\xc0\x00\x02\x01" + bytes(range(32, 48)) + b"\0")
STRINGS += (b"a" * 200 + b"\0", b"b" * 510 + b"\0", b"c" * 600 + b"\0")
SHORT = 4
"""So many of them are."""

FLAGS = ("", "", "", "0", "-", "+", " ", "-0", "+0", "0 ", "+-", " +0-")
WIDTHS = ("", "", "1", "5", "12", "30", "120")
NUMBERS = ("d", "i", "u", "x", "X", "ld", "lu", "li", "lx", "lX", "lld", "llu", "lli", "llx", "llX")
POINTERS = ("px", "ps", "pS", "pB")
ADDRESSES = ("pi4", "pI4", "pi6", "pI6", "pI6c", "pi4x")
TEXTS = ("s", "pks", "pus")
WRONG = ("o", "hd", "zu", ".3d", "#x", "lllx", "pM", "p5", "pI5", "sx", "*d", "lc", "ls", "n", "e", "")
LITERAL = ("", " ", "|", "%%", "plain", "\u00e4", "\n", "\t", ":", "x", "7", "\u00d7", "\x7f", "\x01")


def program(map: int) -> str:
    return TEXT.format(map=map, where=WHERE, format=FORMAT, length=LENGTH)


def content(template: bytes, arguments: list[int | tuple[int]], size: int, base: int) -> bytes:
    """The map's value; (n,) stands for the address of string n."""
    strings = b"".join(STRINGS)
    starts = [STRINGS_AT + sum(map(len, STRINGS[:at])) for at in range(len(STRINGS))]
    numbers = [base + starts[each[0]] if isinstance(each, tuple) else each for each in arguments]
    packed = struct.pack("=12Q", *numbers, *[0] * (12 - len(numbers)))
    head = template.ljust(FORMAT, b"\0") + packed + struct.pack("=QQ", base, size)
    return (head.ljust(STRINGS_AT, b"\0") + strings).ljust(VALUE, b"\0")


@contextlib.contextmanager
def trace_pipe() -> Iterator[int]:
    """What programs print, in a trace of its own, to be read without waiting."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="clsbpf-trace"))
        if subprocess.run(["mount", "-t", "tracefs", "nodev", place], capture_output=True).returncode:
            pytest.skip("this kernel has no tracefs to mount")
        stack.callback(subprocess.run, ["umount", place], check=True)
        instance = Path(place) / "instances" / f"clsbpf-{os.getpid()}"
        instance.mkdir()
        stack.callback(instance.rmdir)
        (instance / "events/bpf_trace/bpf_trace_printk/enable").write_text("1")
        pipe = os.open(instance / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, pipe)
        yield pipe


def traced(pipe: int) -> bytes:
    """What was printed since."""
    found = b""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(pipe, 1 << 16):
            found += more
    return found


class Kernel:
    """The program in the kernel; `mark` tells its lines from those of others."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self.map = map_create(MapType.ARRAY, 4, VALUE, 1)
        self.program = prog_load(assemble(program(self.map)))
        map_update(self.map, bytes(4), content(b"", [], 0, 0))
        prog_test_run(self.program, PACKET)
        self.base = struct.unpack_from("=Q", map_lookup(self.map, bytes(4), VALUE), WHERE)[0]

    def close(self) -> None:
        os.close(self.program)
        os.close(self.map)

    def printed(self, template: bytes, arguments: list[int | tuple[int]], size: int) -> tuple[int, bytes]:
        map_update(self.map, bytes(4), content(template, arguments, size, self.base))
        traced(self.pipe)
        answer = prog_test_run(self.program, PACKET).retval
        ours = traced(self.pipe).partition(MARK)
        return answer, ours[2].removesuffix(b"\n") if ours[1] else b""


class Here:
    """The same here, interpreted and compiled."""

    def __init__(self) -> None:
        self.map = Map(MapSpec("texts", MapType.ARRAY, 4, VALUE, 1))
        spec = ProgramSpec("print", insns=assemble(program(0)), license="GPL", maps={0: self.map.spec})
        self.linked = link(spec, {"texts": self.map}, verify(spec))
        run(self.linked, Skb.from_frame(PACKET))
        self.base = struct.unpack_from("=Q", self.map.lookup(bytes(4)), WHERE)[0]

    def printed(
        self, template: bytes, arguments: list[int | tuple[int]], size: int, *, native: bool
    ) -> tuple[int, bytes]:
        self.map.update(bytes(4), content(template, arguments, size, self.base))
        environment = Environment()
        skb = Skb.from_frame(PACKET)
        if native:
            answer = native_of(self.linked).run(skb, environment)
        else:
            answer = run(self.linked, skb, environment=environment)
        native_log = environment.native.log
        assert len(environment.trace) <= 1
        if not environment.trace:
            return answer, b""
        raw = ctypes.string_at(native_log + 24)
        return answer, raw.removeprefix(MARK)


MARK = b"clsbpf-trace:"


def argument(random: Random, kind: str, strings: int) -> int | tuple[int]:
    if kind in TEXTS or kind in ADDRESSES:
        return (random.randrange(strings),) if random.random() < 0.95 else 8
    if kind == "c":
        return random.choice((0x41, 0, 0xE4, 0x141, 10))
    return random.choice(
        (0, 1, 9, 10, 0x7FFFFFFF, 0x80000000, (1 << 32) - 5, 1 << 63, random.getrandbits(64))
    )


def trial(random: Random) -> tuple[bytes, list[int | tuple[int]], int]:
    """A format, its arguments, and how many bytes of them are given."""
    template, arguments = "", []
    # Where addresses have no room any more a kernel writes behind its buffer: long strings go without.
    long = random.random() < 0.3
    families = (
        (NUMBERS, TEXTS, ("c", "px"), TEXTS)
        if long
        else (NUMBERS, NUMBERS, TEXTS, ADDRESSES, POINTERS, ("c",))
    )
    for _ in range(random.choice((1, 1, 2, 3, 4, 8, 12))):
        kinds = random.choice(families)
        kind = random.choice(kinds if random.random() > 0.01 else WRONG)
        if kind == "pus":
            kind = "pks"  # reads a user's memory
        template += random.choice(LITERAL) if random.random() < 0.97 else "\x7f"
        template += "%" + random.choice(FLAGS) + random.choice(WIDTHS) + kind
        if random.random() < 0.5:
            template += random.choice(LITERAL[:9])
        arguments.append(argument(random, kind, len(STRINGS) if long else SHORT))
    given = len(arguments) + (random.choice((-1, 1)) if random.random() < 0.04 else 0)
    size = min(max(given, 0), 12) * 8 + (4 if random.random() < 0.01 else 0)
    return (MARK + template.encode())[: FORMAT - 1], arguments[:12], size


def test_lines() -> None:
    """For any format and arguments the line, its length or the refusal are the kernel's."""
    need_kernel()
    random = Random(11)
    refused = 0
    with trace_pipe() as pipe, contextlib.closing(Kernel(pipe)) as kernel:
        here = Here()
        for at in range(int(os.environ.get("CLSBPF_TRIALS", "600"))):
            template, arguments, size = trial(random)
            expected = kernel.printed(template, arguments, size)
            answer = expected[0] - (1 << 32) if expected[0] >> 31 else expected[0]
            refused += answer in (-errno.EINVAL, -errno.ENOSPC)
            for native in (True, False) if at % 8 == 0 else (True,):
                found = here.printed(template, arguments, size, native=native)
                assert found == expected, (template, arguments, size, native)
    assert refused > 40
