"""clsbpf: Linux's tc BPF classifier (`net/sched/cls_bpf.c`) in user space.

`Program` is one program to try, `Object` a compiled file of them with their maps; `Engine` is a network
of devices to hang programs in, driven in tc's language, and run over captures.  The errors are all
`ClsbpfError`s.  What is heavy is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    BytecodeError,
    CaptureError,
    ClsbpfError,
    NetlinkError,
    ObjectError,
    ProgramFault,
    RunError,
    TcError,
    VerifierError,
)

if TYPE_CHECKING:
    from .api import Engine, Object, Program

__all__ = [
    "BytecodeError",
    "CaptureError",
    "ClsbpfError",
    "Engine",
    "NetlinkError",
    "Object",
    "ObjectError",
    "Program",
    "ProgramFault",
    "RunError",
    "TcError",
    "VerifierError",
]

_FROM_API = ("Engine", "Object", "Program")


def __getattr__(name: str) -> Any:
    """Import the engine when it is first asked for: `clsbpf --help` must not wait for it."""
    if name in _FROM_API:
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
