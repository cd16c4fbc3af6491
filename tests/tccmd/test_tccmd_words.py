"""How a line falls into words, and a batch into lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf.tccmd.batch import read_batch
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.words import MAX_WORDS, Words, matches, split_words

SPLITS = [
    ("", ()),
    ("  \t\r\n", ()),
    ("filter show", ("filter", "show")),
    ("\tfilter  show \n", ("filter", "show")),
    ("bytecode '1,6 0 0 0'", ("bytecode", "1,6 0 0 0")),
    ('bytecode "1,6 0 0 0"', ("bytecode", "1,6 0 0 0")),
    ("''", ("",)),
    ("'a'b", ("a", "b")),
    ("'a''b'", ("a", "b")),
    ("a'b c'", ("a'b", "c'")),
    ('"it\'s"', ("it's",)),
    ("a\\b", ("a\\b",)),
]


@pytest.mark.parametrize(("line", "words"), SPLITS)
def test_split(line: str, words: tuple[str, ...]) -> None:
    assert split_words(line) == words


def test_a_quote_must_end() -> None:
    with pytest.raises(CommandError, match="Unterminated quoted string") as caught:
        split_words("filter show 'dev v0")
    assert caught.value.word == "'dev v0"
    assert (caught.value.exit_code, caught.value.ends_batch) == (1, True)


def test_at_most_511_words() -> None:
    assert len(split_words("a " * MAX_WORDS)) == MAX_WORDS
    with pytest.raises(CommandError, match="Too many arguments to command"):
        split_words("a " * (MAX_WORDS + 1))


BATCHES = [
    ("", []),
    ("a\nb\n", [(1, ("a",)), (2, ("b",))]),
    ("a\nb", [(1, ("a",)), (2, ("b",))]),
    ("\n\n  a b # c\n#d\ne", [(3, ("a", "b")), (5, ("e",))]),
    ("a \\\n b \\\n c\nd\n", [(3, ("a", "b", "c")), (4, ("d",))]),
    ("a\\\nb\n", [(2, ("ab",))]),
    ("a # \\\nb\n", [(1, ("a",)), (2, ("b",))]),
    ("a \\\nb # \\\nc\n", [(2, ("a", "b")), (3, ("c",))]),
    ("a 'b # c'\n", [(1, None)]),
    ("a\r\nb\r\n", [(1, ("a",)), (2, ("b",))]),
    ("a\0b\nc\n", [(1, ("a",)), (2, ("c",))]),
    ("a \\", [(1, ("a", "\\"))]),
    ("a \\\n", [(1, None)]),
]


@pytest.mark.parametrize(("text", "expected"), BATCHES)
def test_batch_lines(text: str, expected: list[tuple[int, tuple[str, ...] | None]]) -> None:
    lines = read_batch(text, "policy.tc")
    assert [line.number for line in lines] == [number for number, _ in expected]
    assert {line.file for line in lines} <= {"policy.tc"}
    for line, (_, words) in zip(lines, expected, strict=True):
        if words is None:
            with pytest.raises(CommandError):
                _ = line.words
        else:
            assert line.words == words


@given(st.text(alphabet="ab '\"#\\\n\r\t\0", max_size=80))
def test_any_text_is_lines_of_words_or_an_error_at_a_line(text: str) -> None:
    """Every line has at least one word or a CommandError, and its number lies within the file."""
    for line in read_batch(text):
        assert 1 <= line.number <= text.count("\n") + 1
        try:
            told = len(line.words)
        except CommandError as error:
            told = len(str(error))
        assert told


MATCHES = [
    ("pref", "preference", True),
    ("p", "preference", True),
    ("preference", "preference", True),
    ("preferences", "preference", False),
    ("", "preference", False),
    ("Pref", "preference", False),
]


@pytest.mark.parametrize(("word", "keyword", "expected"), MATCHES)
def test_matches(word: str, keyword: str, expected: bool) -> None:
    assert matches(word, keyword) is expected


def test_the_cursor() -> None:
    words = Words(["dev", "v0", "root"])
    assert (words.left, words.current, words.next()) == (3, "dev", "v0")
    assert words.at("v0")
    assert not words.at("v")
    assert words.take() == "v0"
    assert words.at_prefix_of("rooted")
    words.skip()
    assert not words
    assert not words.at("root")
    with pytest.raises(CommandError, match="not complete") as caught:
        words.next()
    assert caught.value.word == "root"
