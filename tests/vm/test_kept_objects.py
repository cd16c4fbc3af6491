"""Machine code kept on disk: found again by another process, and only where it can be trusted."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import pytest

from clsbpf.vm import jit
from clsbpf.vm.jit import KIND, compile_object, load_object, object_key, optimized_object

SEVEN = "define i64 @seven() {\n  ret i64 7\n}\n"
EIGHT = SEVEN.replace("7", "8")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, in which everything is worth keeping; this process begins without objects."""
    monkeypatch.setenv("CLSBPF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(jit, "WORTH_KEEPING", 0.0)
    compile_object.cache_clear()
    yield tmp_path / "cache" / KIND
    compile_object.cache_clear()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were compiled, and not found."""
    texts: list[str] = []

    def note(text: str, optimize: int) -> bytes:
        texts.append(text)
        return optimized_object(text, optimize)

    monkeypatch.setattr(jit, "optimized_object", note)
    return texts


def again(text: str = SEVEN, *, optimize: int = 2) -> int:
    """What its function returns, for a process that has compiled nothing yet."""
    compile_object.cache_clear()
    module = load_object(compile_object(text, optimize=optimize), ["seven"])
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(module.address("seven"))())


def entries(place: Path) -> list[Path]:
    return [each for each in place.iterdir() if not each.name.startswith(".")]


def entry(place: Path) -> Path:
    (only,) = entries(place)
    return only


def test_what_was_compiled_once_is_found(place: Path, compiled: list[str]) -> None:
    assert [again(), again(), again(EIGHT), again(EIGHT)] == [7, 7, 8, 8]
    assert compiled == [SEVEN, EIGHT]


def test_another_process_finds_it(place: Path, compiled: list[str]) -> None:
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from clsbpf.vm import jit; jit.WORTH_KEEPING = 0; jit.compile_object(sys.argv[1])",
            SEVEN,
        ],
        check=True,
    )
    assert again() == 7
    assert compiled == []


@pytest.mark.parametrize("harm", ["cut", "changed", "emptied", "another's", "a link", "readable by others"])
def test_an_entry_that_is_not_as_it_was_written_is_compiled_anew(
    harm: str, place: Path, compiled: list[str]
) -> None:
    again()
    file = entry(place)
    content = file.read_bytes()
    match harm:
        case "cut":
            file.write_bytes(content[:-1])
        case "changed":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "emptied":
            file.write_bytes(b"")
        case "another's":
            if os.geteuid() != 0:
                pytest.skip("only root can give a file away")
            os.chown(file, 12345, 12345)
        case "a link":
            file.rename(place.parent / "elsewhere")
            file.symlink_to(place.parent / "elsewhere")
        case "readable by others":
            file.chmod(0o644)
    assert again() == 7
    assert compiled == [SEVEN, SEVEN]


def test_a_directory_of_anothers_is_not_used(place: Path, compiled: list[str]) -> None:
    again()
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(place, 12345, 12345)
    assert [again(), again()] == [7, 7]
    assert compiled == [SEVEN, SEVEN, SEVEN]


def test_an_entry_under_anothers_key_is_not_taken(place: Path, compiled: list[str]) -> None:
    """Who could rename files would have one program run for another."""
    again()
    seven = entry(place)
    again(EIGHT)
    (eight,) = (each for each in entries(place) if each != seven)
    eight.write_bytes(seven.read_bytes())
    assert again(EIGHT) == 8


@pytest.mark.parametrize("what", ["get_host_cpu_name", "get_default_triple"])
def test_the_key_says_what_the_code_is_for(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jit._host.cache_clear()
    here = object_key(SEVEN, 2)
    monkeypatch.setattr(llvm, what, lambda: "another")
    jit._host.cache_clear()
    other = object_key(SEVEN, 2)
    jit._host.cache_clear()
    assert len({here, other, object_key(SEVEN, 1), object_key(EIGHT, 2)}) == 4


def test_the_key_says_who_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here = object_key(SEVEN, 2)
    monkeypatch.setattr(llvmlite, "__version__", "0.0")
    jit._host.cache_clear()
    assert object_key(SEVEN, 2) != here
    jit._host.cache_clear()


def test_without_a_cache_nothing_is_kept(
    place: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSBPF_CACHE", "off")
    assert [again(), again()] == [7, 7]
    assert compiled == [SEVEN, SEVEN]
    assert not place.exists()


def test_what_compiles_at_once_is_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "WORTH_KEEPING", 60.0)
    assert again() == 7
    assert not place.exists()
