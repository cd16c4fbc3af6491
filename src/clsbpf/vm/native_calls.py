"""How does machine code call Python?  By a C function that ctypes makes, one for each `@external` function.

A body in Python may fail: a fault of the program (ProgramFault), a mistake of ours, Ctrl-C.  None of it can
unwind machine code.  So the error is kept for the thread, the call answers 0, and whoever started the
machine code raises what was kept (`raise_pending`) when it has returned: nothing is lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ProgramFault
from .maps.walk import allocate, release
from .primitives import wrap
from .subset import Subset, external


class _Pending(threading.local):
    """The first error of this thread since it was asked last."""

    error: BaseException | None = None
    flag: int = 0
    """The address of a number (64 bits) that is 1 while there is an error, for machine code to see; or 0."""


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
        _tell(1)


def take_pending() -> BaseException | None:
    """What went wrong in Python since this thread's machine code was entered, once."""
    error, _pending.error = _pending.error, None
    _tell(0)
    return error


def raise_pending() -> None:
    """Raise what went wrong in Python while machine code of this thread ran."""
    error = take_pending()
    if error is not None:
        raise error


@contextlib.contextmanager
def flagging(address: int) -> Iterator[None]:
    """Meanwhile machine code of this thread sees at an address whether there is an error."""
    before, _pending.flag = _pending.flag, address
    try:
        yield
    finally:
        _pending.flag = before


def _tell(there: int) -> None:
    if _pending.flag:
        ctypes.c_int64.from_address(_pending.flag).value = there


def calls_python(subset: Subset) -> bool:
    """Does the function, or one that it calls, run in Python?"""
    return any(each.function not in _elsewhere for each in subset.externals)


@external
def not_reached(insn: int) -> int:
    """Machine code came where no path of the verified program leads: a mistake of ours, told as a fault."""
    raise ProgramFault(f"instruction {insn}: no path was seen to lead here", insn)


for _function, _name in ((allocate, "PyMem_RawMalloc"), (release, "PyMem_RawFree")):
    provided_at(_function, ctypes.cast(getattr(ctypes.pythonapi, _name), ctypes.c_void_p).value or 0)
