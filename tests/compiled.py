"""Objects compiled from the C sources in `tests/objfile/sources`, by the clang that is installed."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from judges import need_tool

SOURCES = Path(__file__).parent / "objfile" / "sources"


@functools.cache
def compiled(name: str, *flags: str) -> bytes:
    """The object of a source (`parts.c`); skips, or fails where judges are required, without clang."""
    clang = need_tool("clang")
    command = [clang, "-target", "bpf", "-Wall", "-Werror", "-Wno-unused-function", *flags]
    done = subprocess.run(
        [*command, "-c", str(SOURCES / name), "-o", "-"], capture_output=True, check=False, cwd=SOURCES
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
