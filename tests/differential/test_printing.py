"""Formats against the kernel's: bpf_snprintf gives the same text and the same refusals."""

from __future__ import annotations

import errno
import os
import re
from random import Random

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import MapSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.kernel.bpf import prog_load, prog_test_run
from clsbpf.kernel.maps import map_create, map_freeze, map_update
from clsbpf.skb import Skb
from clsbpf.verifier.verify import verify
from clsbpf.vm.interp import run
from clsbpf.vm.link import link, link_instructions
from clsbpf.vm.maps.map import Map
from clsbpf.vm.native_program import native_of
from judges import need_kernel

ROOM = 96
TEXT_AT = 64
"""Where in the map's value the strings for %s lie."""
VALUE = 128
PACKET = 256
STRINGS = b"hello\0" + b"\x01\xff\0" + b"\0" + b"\xc0\x00\x02\x01" + bytes(range(0x20, 0x30)) + b"\0"

PIECES = (
    *(b"%d", b"%i", b"%u", b"%x", b"%X", b"%ld", b"%lu", b"%lx", b"%lX", b"%lld", b"%llu", b"%llx", b"%c"),
    *(b"%px", b"%pi4", b"%pI4", b"%pi6", b"%pI6", b"%s", b"%pks", b"%5d", b"%-5d", b"%05d", b"%+d", b"% d"),
    *(
        b"%+5d|",
        b"%-+5d|",
        b"%020llx",
        b"%-20lld|",
        b"% 05d",
        b"%0-5d|",
        b"%3c",
        b"%-3c|",
        b"%10s",
        b"%-10s|",
    ),
    *(
        b"%%",
        b"plain",
        b"\xc3\xa4",
        b"\n",
        b"%.3d",
        b"%#x",
        b"%o",
        b"%zu",
        b"%hd",
        b"%sa",
        b"%s.",
        b"%",
        b"%p5",
    ),
    *(
        b"%20pI4|",
        b"%+u",
        b"%0s",
        b"%05x",
        b"%08X",
        b"%1x",
        b"%-08x|",
        b"%+ d",
        b"%00d",
        b"%0+7d",
        b"% x",
        b"%20px|",
        b"%-20px|",
        b"%020px",
        b"%9pi6",
        b"%9pks|",
        b"%pS",
        b"%30ps|",
        b"%30pB",
        b"%-9pus",
        b"%s\xa1",
    ),
)


KEY = 5
"""How the programs here name the map: by a descriptor, or by this key."""
SLOTS = 24
"""Bytes for arguments on the stack, below the text."""


def program(template: bytes, arguments: list[int | str], size: int, map: int) -> tuple[Insn, ...]:
    """snprintf into the stack, from there into the packet; a string is an offset in the map's value."""
    lines = ["r6 = r1", *(f"*(u64 *)(r10 - {at}) = 0" for at in range(8, ROOM + SLOTS + 1, 8))]
    for at, value in enumerate(arguments):
        source = f"map[fd:{map}][0]+{value}" if isinstance(value, str) else f"{value:#x} ll"
        lines += [f"r1 = {source}", f"*(u64 *)(r10 - {ROOM + SLOTS - at * 8}) = r1"]
    lines += ["r1 = r10", f"r1 += -{ROOM}", f"r2 = {size}", f"r3 = map[fd:{map}][0]+0", "r4 = r10"]
    lines += [f"r4 += {-ROOM - SLOTS}", f"r5 = {len(arguments) * 8}", "call bpf_snprintf", "r7 = r0"]
    lines += ["r1 = r6", "r2 = 0", "r3 = r10", f"r3 += -{ROOM}", f"r4 = {ROOM}", "r5 = 0"]
    return assemble("\n".join([*lines, "call bpf_skb_store_bytes", "r0 = r7", "exit"]))


MISREAD = re.compile(rb"%[0+\- ]*\d*p[iIkuB].*%[0+\- ]*\d*(l*[diuxX]|p[xsS])", re.DOTALL)
"""Past the end of its room the kernel forgets a text that was made beforehand, and takes it for the next
argument; where that is a number, bytes that nobody wrote come with it."""
REFUSED = (-errno.EINVAL & 0xFFFFFFFF, bytes(ROOM))


def kernel(template: bytes, arguments: list[int | str], size: int) -> tuple[int, bytes]:
    fd = map_create(MapType.ARRAY, 4, VALUE, 1, MapFlag.RDONLY_PROG)
    map_update(fd, bytes(4), template.ljust(TEXT_AT, b"\0") + STRINGS.ljust(VALUE - TEXT_AT, b"\0"))
    map_freeze(fd)
    try:
        loaded = prog_load(program(template, arguments, size, fd))
    except VerifierError as refusal:  # the verifier tries the format, too
        if "Invalid format string" not in refusal.log:
            raise
        return REFUSED
    finally:
        os.close(fd)
    try:
        result = prog_test_run(loaded, bytes(PACKET))
    finally:
        os.close(loaded)
    return result.retval, result.packet[:ROOM]


def ours(
    template: bytes, arguments: list[int | str], size: int, *, native: bool = False
) -> tuple[int, bytes]:
    value = template.ljust(TEXT_AT, b"\0") + STRINGS.ljust(VALUE - TEXT_AT, b"\0")
    contents = ((bytes(4), value),)
    texts = MapSpec("texts", MapType.ARRAY, 4, VALUE, 1, MapFlag.RDONLY_PROG, contents=contents, frozen=True)
    skb = Skb.from_frame(bytes(PACKET))
    if not native:
        linked = link_instructions(program(template, arguments, size, KEY), {KEY: Map(texts)})
        return run(linked, skb), skb.packet[:ROOM]
    spec = ProgramSpec("print", insns=program(template, arguments, size, 0), license="GPL", maps={0: texts})
    try:
        linked = link(spec, {"texts": Map(texts)}, verify(spec))
    except VerifierError as refusal:
        if "Invalid format string" not in refusal.log:
            raise
        return REFUSED
    return native_of(linked).run(skb), skb.packet[:ROOM]


def argument(random: Random, piece: bytes) -> int | str:
    """Something to print: strings and addresses lie in the map, sometimes nowhere."""
    if piece.strip(b".|%0123456789-")[:2] in (b"s", b"pk", b"pi", b"pI"):
        at = random.choice((0, 0, 0, 6, 9, 10, 14))
        return str(TEXT_AT + at) if random.random() < 0.9 else 8
    return random.choice((0, 1, 9, 65, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, random.getrandbits(64)))


def test_formats() -> None:
    """For any format and arguments the text, its length or the refusal are the kernel's."""
    need_kernel()
    random = Random(5)
    refused = 0
    for at in range(400):
        pieces = [PIECES[at % len(PIECES)]]
        if at > len(PIECES):
            pieces = [random.choice(PIECES) for _ in range(random.randint(1, 3))]
        template = random.choice((b" ", b"", b"=")).join(pieces)
        takers = [piece for piece in pieces if piece.startswith(b"%") and piece != b"%%"]
        arguments = [argument(random, piece) for piece in takers]
        size = ROOM if MISREAD.search(template) else random.choice((1, 4, 16, ROOM))
        expected = kernel(template, arguments, size)
        for native in (False, True) if at % 100 == 0 else (False,):
            found = ours(template, arguments, size, native=native)
            assert found == expected, (template, arguments, size, native)
        refused += expected[0] > 1 << 31
    assert 20 < refused < 200
