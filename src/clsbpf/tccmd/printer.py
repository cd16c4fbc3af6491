"""One saying of each value, as text and as JSON: lib/json_print.c and lib/json_writer.c.

tc's renderers say each thing once, with the text around it and the key it has in JSON, and the output
is the one or the other.  A `Printer` collects both at once, so that text, JSON text and the plain
Python values come from the same path through the renderer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CYAN, _PLAIN = "\x1b[36m", "\x1b[0m"
"""COLOR_IFNAME and COLOR_CLEAR of lib/color.c."""


class JsonObject(dict[str, Any]):
    """An object as tc prints it: a key that it says twice is there twice (and here has the last value)."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[str, Any]] = []

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.pairs.append((key, value))


class Printer:
    """Collects text and values.  `newline` is what ends a line (tc -o: a backslash).

    With `color` devices stand out (tc -color; the palette is that of a light background).
    """

    def __init__(self, newline: str = "\n", *, color: bool = False) -> None:
        self._newline = newline
        self._color = color
        self._text: list[str] = []
        self.rows: list[Any] = []
        """What `tc -j` prints, as Python values."""
        self._open: list[Any] = [self.rows]

    @property
    def text(self) -> str:
        """What `tc` prints."""
        return "".join(self._text)

    def both(self, key: str, text: str, value: Any) -> None:
        """PRINT_ANY: `text` as it is (the value within it), `value` under `key`."""
        self._text.append(text)
        self.value(key, value)

    def say(self, text: str) -> None:
        """PRINT_FP: text only."""
        self._text.append(text)

    def value(self, key: str, value: Any) -> None:
        """PRINT_JSON: a value only."""
        self._open[-1][key] = value

    def item(self, text: str, value: Any) -> None:
        """PRINT_ANY without a key: an element of the open array."""
        self._text.append(text)
        self._open[-1].append(value)

    def device(self, name: str) -> None:
        """print_devname(): which device a row is about."""
        self.say("dev ")
        self.both("dev", f"{_CYAN}{name} {_PLAIN}" if self._color else f"{name} ", name)

    def end_line(self) -> None:
        """print_nl()."""
        self._text.append(self._newline)

    @contextmanager
    def object(self, key: str | None = None) -> Iterator[None]:
        """open_json_object() … close_json_object(): under `key`, or an element of the open array."""
        yield from self._nested(key, JsonObject())

    @contextmanager
    def array(self, key: str) -> Iterator[None]:
        """open_json_array() … close_json_array(), of values only."""
        yield from self._nested(key, [])

    def _nested(self, key: str | None, value: Any) -> Iterator[None]:
        if key is None:
            self._open[-1].append(value)
        else:
            self._open[-1][key] = value
        self._open.append(value)
        yield
        self._open.pop()


_INDENT = "    "


def json_text(value: Any, *, pretty: bool = False, depth: int = 0) -> str:
    """The JSON text as json_writer.c lays it out; with `pretty`, tc -p's own kind of indentation."""
    if isinstance(value, dict):
        if not value:
            return "{}"
        line = "\n" + _INDENT * (depth + 1) if pretty else ""
        colon = ": " if pretty else ":"
        fields = (
            f"{line}{_quoted(k)}{colon}{json_text(v, pretty=pretty, depth=depth + 1)}"
            for k, v in (value.pairs if isinstance(value, JsonObject) else value.items())
        )
        return "{" + ",".join(fields) + ("\n" + _INDENT * depth if pretty else "") + "}"
    if isinstance(value, list):
        inside = ",".join(json_text(v, pretty=pretty, depth=depth + 1) for v in value)
        if not pretty:
            return f"[{inside}]"
        return f"[ {inside} ]" if value else "[ ]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) else str(value)


_ESCAPES = {control: f"\\u{control:04x}" for control in range(0x20)} | str.maketrans(
    {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f", "\b": "\\b", "\\": "\\\\", '"': '\\"'}
)


def _quoted(text: str) -> str:
    """jsonw_puts(), but control characters that it leaves as they are, which is no JSON, are escaped."""
    return f'"{text.translate(_ESCAPES)}"'
