"""tc's bytecode text, both ways."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classic_programs import likely_valid, noise
from clsbpf.bpf import classic as c
from clsbpf.bpf.bytecode import format_bytecode, parse_bytecode
from clsbpf.bpf.classic import SockFilter
from clsbpf.bpf.isa import Jmp, Size
from clsbpf.errors import BytecodeError

IP = (c.ld_abs(Size.H, 12), c.jmp_k(Jmp.JEQ, 0x800, 0, 1), c.ret_k(0xFFFFFFFF), c.ret_k(0))
IP_TEXT = "4,40 0 0 12,21 0 1 2048,6 0 0 4294967295,6 0 0 0"

SPELLINGS = {
    "as tc prints it": IP_TEXT,
    "with a comma at the end": IP_TEXT + ",",
    "as tcpdump -ddd prints it": "4\n40 0 0 12\n21 0 1 2048\n6 0 0 4294967295\n6 0 0 0\n",
    "commas and newlines": "4,\n40 0 0 12,\n\n21 0 1 2048\n6 0 0 4294967295\n6 0 0 0\n\n",
    "white space around": " 4, 40 0\t0 12 ,21  0 1 2048,6 0 0 4294967295,6 0 0 0 ",
    "a sign": "+4,40 0 0 +12,21 0 1 2048,6 0 0 -1,6 0 0 -0",
    "zeros in front": "004,00000000000000000000000000000040 00 0 012,21 0 1 2048,6 0 0 4294967295,6 0 0 0",
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_of_one_program(text: str) -> None:
    assert parse_bytecode(text) == IP


def test_format_is_what_tc_prints() -> None:
    assert format_bytecode(IP) == IP_TEXT


def test_a_newline_on_the_command_line_is_white_space() -> None:
    assert parse_bytecode("1,6\n0 0 7", newlines=False) == (c.ret_k(7),)
    with pytest.raises(BytecodeError, match="Error at instruction 0!"):
        parse_bytecode("1,6\n0 0 7")
    with pytest.raises(BytecodeError, match="begins with the number of instructions and a comma"):
        parse_bytecode("1\n6 0 0 7", newlines=False)


START = "bytecode begins with the number of instructions and a comma"
SHORT = "Parsed program length is less than encoded length parameter!"
LONG = "Real program length exceeds encoded length parameter!"
MALFORMED = {
    # text: (message begins with, instruction, message also says)
    "": (START, None, "not ''"),
    "x": (START, None, "not 'x'"),
    "1": (START, None, "not '1'"),
    "1 ,6 0 0 0": (START, None, "not '1 ,6 0 0 0'"),
    ",6 0 0 0": (START, None, "not ',6 0 0 0'"),
    "-1,6 0 0 0": (START, None, "not '-1,6 0 0 0'"),
    "0,": ("bytecode of '0' instructions; 1 to 4096 are allowed", None, ""),
    "4097,6 0 0 0": ("bytecode of '4097' instructions; 1 to 4096 are allowed", None, ""),
    "65537,6 0 0 0": ("bytecode of '65537' instructions; 1 to 4096 are allowed", None, ""),
    "9" * 5000 + ",": ("bytecode of '9999", None, "1 to 4096 are allowed"),
    "1,": (SHORT, None, "1 instructions are announced, 0 are there"),
    "2,6 0 0 0": (SHORT, None, "2 instructions are announced, 1 are there"),
    "1,6 0 0 0,6 0 0 1": (LONG, 1, "1 instructions are announced, then comes '6 0 0 1'"),
    "1,6 0 0 0, ": (LONG, 1, "then comes ' '"),
    "1,6 0 0": ("Error at instruction 0!", 0, "found '6 0 0'"),
    "1,6 0 0 0 0": ("Error at instruction 0!", 0, "found '6 0 0 0 0'"),
    "2,6 0 0 0,,6 0 0 0": ("Error at instruction 1!", 1, "found ''"),
    "1,ret": ("Error at instruction 0!", 0, "found 'ret'"),
    "1,6 0 0 0x10": ("Error at instruction 0!", 0, "found '6 0 0 0x10'"),
    "1,6 0 0 1junk": ("Error at instruction 0!", 0, "found '6 0 0 1junk'"),
    "1,6 0 0 1.5": ("Error at instruction 0!", 0, "found '6 0 0 1.5'"),
    "1,6 0 0 ٣": ("Error at instruction 0!", 0, "found '6 0 0 ٣'"),
    "1,65536 0 0 0": ("Error at instruction 0!", 0, "code is '65536'; 0 to 65535 are allowed"),
    "1,21 256 0 0": ("Error at instruction 0!", 0, "jt is '256'; 0 to 255 are allowed"),
    "1,21 0 300 0": ("Error at instruction 0!", 0, "jf is '300'; 0 to 255 are allowed"),
    "1,6 0 0 4294967296": ("Error at instruction 0!", 0, "k is '4294967296'; -2147483648 to 4294967295"),
    "1,6 0 0 -2147483649": ("Error at instruction 0!", 0, "k is '-2147483649'"),
    "1,6 0 0 " + "9" * 5000: ("Error at instruction 0!", 0, "k is '9999"),
}


@pytest.mark.parametrize(
    ("text", "wanted"), MALFORMED.items(), ids=[text[:24] or "empty" for text in MALFORMED]
)
def test_malformed(text: str, wanted: tuple[str, int | None, str]) -> None:
    begins, insn, also = wanted
    with pytest.raises(BytecodeError) as error:
        parse_bytecode(text)
    message = str(error.value)
    assert message.startswith(begins)
    assert also in message
    assert error.value.insn == insn
    assert len(message) < 200, "a message shows the place, not the whole text"


def test_the_longest_program() -> None:
    program = (SockFilter(0xFFFF, 0xFF, 0xFF, 0xFFFFFFFF),) * 4096
    assert parse_bytecode(format_bytecode(program)) == program


def test_what_is_printed_is_read_back() -> None:
    """parse_bytecode(format_bytecode(p)) == p for every instruction list, checked or not."""
    random = Random(0)
    for _ in range(300):
        for program in (tuple(likely_valid(random)), tuple(noise(random))):
            assert parse_bytecode(format_bytecode(program)) == program


@given(st.text(alphabet="0123456789 ,\n-+x", max_size=60))
def test_any_text_is_a_program_or_an_error(text: str) -> None:
    """Whatever the text, parse_bytecode returns as many instructions as announced or raises BytecodeError."""
    try:
        program = parse_bytecode(text)
    except BytecodeError:
        return
    assert len(program) == int(text.replace("\n", ",").split(",")[0])
