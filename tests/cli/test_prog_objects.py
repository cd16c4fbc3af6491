"""`clsbpf prog show` and `prog dump`: what they tell of an object, and of one that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import elf_writer as elf
from clsbpf.bpf import insn as e
from clsbpf.bpf.insn import Insn
from clsbpf.cli import main
from compiled import compiled
from elf_writer import ElfWriter, program


def clsbpf(*words: str) -> Result:
    return CliRunner().invoke(main, ["prog", *words])


@pytest.fixture
def parts(tmp_path: Path) -> str:
    path = tmp_path / "parts.o"
    path.write_bytes(compiled("parts.c", "-O2", "-g"))
    return str(path)


@pytest.fixture
def small(tmp_path: Path) -> str:
    """An object with two programs in a section, and a name that would move the cursor."""
    writer = ElfWriter()
    code = writer.code("tc", (e.ld_abs(e.Size.H, 12), *(e.exit_(),), e.mov64_imm(0, 1), e.exit_()))
    writer.symbol("loads", code, 0, 16)
    writer.symbol("red\x1b[31m", code, 16, 16)
    writer.license("MIT")
    path = tmp_path / "small.o"
    path.write_bytes(writer.build())
    return str(path)


def test_show_as_json(parts: str) -> None:
    shown = json.loads(clsbpf("show", parts, "--json").output)
    assert (shown["object"], shown["license"], shown["version"]) == ("parts.o", "GPL", 0x40D00)
    programs = {each["name"]: each for each in shown["programs"]}
    assert set(programs) == {"stage_two", "on_ingress", "verdict"}
    assert programs["on_ingress"]["functions"] == ["on_ingress", "each", "thrice", "twice"]
    assert programs["on_ingress"]["helpers"] == ["map_lookup_elem", "get_prandom_u32", "tail_call", "loop"]
    assert programs["verdict"]["type"] == "sched_act"
    maps = {each["name"]: each for each in shown["maps"]}
    assert (maps["flows"]["key"], maps["flows"]["key_size"]) == ("struct flow", 16)
    assert (maps["flows"]["flags"], maps["flows"]["pinning"]) == (["no_prealloc"], "by name")
    assert maps["outer"]["holds"] == {"1": "first", "5": "second"}
    assert {"name": "seen", "section": ".data", "offset": 0, "size": 8, "type": "__u64"} in shown["variables"]


def test_show_for_people(parts: str) -> None:
    text = clsbpf("show", parts).output
    assert "parts.o: license GPL, BTF with " in text
    assert "  verdict  sched_act, section action, 10 instructions, tag " in text
    assert "  flows  hash, key 16 (struct flow), value 16 (struct counter), 1024 entries, no_prealloc" in text
    assert "      holds [1] first, [5] second\n" in text
    assert "  limit  const volatile __u32, 4 bytes at .rodata+0\n" in text


def test_show_of_an_object_without_types(small: str) -> None:
    text = clsbpf("show", small).output
    assert text.startswith("small.o: license MIT, no BTF\n")
    assert "loads from the packet as classic programs do" in text
    assert "red\\x1b[31m  sched_cls" in text
    assert "\x1b" not in text


def test_show_says_what_is_wrong_with_a_program(tmp_path: Path) -> None:
    writer = program(Insn(0x85, src=1, imm=-1), e.exit_())
    writer.relocate(1, 0, writer.symbol("nowhere", 0, type=elf.NOTYPE), 10)
    path = tmp_path / "p.o"
    path.write_bytes(writer.build())
    assert (
        "cannot be used: p.o: function 'main', instruction 0: uses 'nowhere'"
        in clsbpf("show", str(path)).output
    )


def test_show_names_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "p.o"
    path.write_bytes(program(e.call(9999), e.call(7), e.call(9999), e.exit_()).build())
    assert "      must not call: there is no helper 9999\n" in clsbpf("show", str(path)).output
    shown = json.loads(clsbpf("show", str(path), "--json").output)["programs"][0]
    assert (shown["helpers"], shown["refused"]) == (["get_prandom_u32", "#9999"], ["there is no helper 9999"])


def test_dump_of_a_function_with_its_source(parts: str) -> None:
    lines = clsbpf("dump", parts, "stage_two", "--source").output.splitlines()
    assert lines[0] == "; stage_two: sched_cls, section tc/ingress, 19 instructions"
    assert lines[1] == "stage_two:"
    assert lines[2].startswith(
        "; return twice(skb->mark) + (bpf_map_lookup_elem(&outer, &dropped) != 0); @ parts.c:"
    )
    assert lines[3:5] == ["   0: (61) r1 = *(u32 *)(r1 +8)", "   1: (85) call pc+12  ; twice"]
    assert "   3: (18) r1 = map[fd:0]  ; outer" in lines
    assert "   5: (18) r2 = map[fd:1][0]+0  ; .bss" in lines
    assert "twice:" in lines


def test_dump_of_a_section_and_of_everything(parts: str) -> None:
    def shown(*words: str) -> list[str]:
        lines = clsbpf("dump", parts, *words).output.splitlines()
        return [line.split(":")[0] for line in lines if line.startswith("; ") and " instructions" in line]

    assert shown("tc/ingress") == ["; stage_two", "; on_ingress"]
    assert shown() == ["; stage_two", "; on_ingress", "; verdict"]


def test_dump_of_types(parts: str) -> None:
    lines = clsbpf("dump", parts, ".BTF").output.splitlines()
    assert lines[0] == "[1] PTR '(anon)' type_id=3"
    assert "\t'saddr' type_id=" in "\n".join(lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("dump", "{small}", "xdp"),
            "no program or section 'xdp'; there are: loads (section tc), 'red\\x1b[31m'",
        ),
        (("dump", "{small}", ".BTF"), "small.o: no section .BTF: compile with -g"),
        (("show", "/no/such.o"), "/no/such.o: cannot be read: No such file or directory"),
        (("show", "/dev/null"), "/dev/null: not a regular file"),
        (("show", __file__), "test_prog_objects.py: not an ELF file"),
        (("show", "{small}", "--btf", __file__), "not BTF: it begins with 0x2222"),
    ],
)
def test_what_goes_wrong_is_one_line(words: tuple[str, ...], message: str, small: str) -> None:
    result = clsbpf(*(word.format(small=small) for word in words))
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
