"""How does machine code call Python?  By a C function that ctypes makes, one for each `@external` function.

A body in Python may fail: a fault of the program (ProgramFault), a mistake of ours, Ctrl-C.  None of it can
unwind machine code.  So the error is kept for the thread, the call answers 0, and whoever started the
machine code raises what was kept (`raise_pending`) when it has returned: nothing is lost.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from ..errors import ProgramFault
from .maps.walk import allocate, release
from .primitives import wrap
from .subset import Subset, external


class _Pending(threading.local):
    """The first error of this thread since it was asked last."""

    error: BaseException | None = None


_pending = _Pending()
_kept: dict[Subset, Any] = {}
_elsewhere: dict[Callable[..., object], int] = {}


def provided_at(function: Callable[..., object], address: int) -> None:
    """Machine code finds an `@external` function at an address, and need not call Python."""
    _elsewhere[function] = address


def address_of(subset: Subset) -> int:
    """The address of the C function behind an `@external` function, good for ever."""
    there = _elsewhere.get(subset.function)
    if there is not None:
        return there
    made = _kept.get(subset)
    if made is None:
        words = [ctypes.c_int64] * len(subset.parameters)
        kind = ctypes.CFUNCTYPE(ctypes.c_int64 if subset.returns else None, *words)
        made = _kept[subset] = kind(_keeping_errors(subset.function))
    return int(ctypes.cast(made, ctypes.c_void_p).value or 0)


def _keeping_errors(function: Callable[..., Any]) -> Callable[..., int]:
    def call(*arguments: int) -> int:
        try:
            return wrap(int(function(*arguments) or 0))
        except BaseException as error:  # it is raised after the run
            keep(error)
            return 0

    return call


def keep(error: BaseException) -> None:
    """Remember an error until the machine code has returned; the first one counts."""
    if _pending.error is None:
        _pending.error = error


def raise_pending() -> None:
    """Raise what went wrong in Python while machine code of this thread ran."""
    error, _pending.error = _pending.error, None
    if error is not None:
        raise error


def calls_python(subset: Subset) -> bool:
    """Does the function, or one that it calls, run in Python?"""
    return any(each.function not in _elsewhere for each in subset.externals)


@external
def not_reached(insn: int) -> int:
    """Machine code came where no path of the verified program leads: a mistake of ours, told as a fault."""
    raise ProgramFault(f"instruction {insn}: no path was seen to lead here", insn)


for _function, _name in ((allocate, "PyMem_RawMalloc"), (release, "PyMem_RawFree")):
    provided_at(_function, ctypes.cast(getattr(ctypes.pythonapi, _name), ctypes.c_void_p).value or 0)
