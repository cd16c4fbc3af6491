"""What can go wrong, as a user meets it.

Every error that reaches a user is a `ClsbpfError`.  Those that rtnetlink would carry have an
`errno` (positive, as in `errno.EINVAL`), and where the kernel explains itself an `extack` message.
Hostile input (bytecode, objects, captures, policies, requests) never raises anything else; an
`AssertionError` is a mistake of ours.
"""

from __future__ import annotations

import errno as _errno
from typing import Any


class ClsbpfError(Exception):
    """The root of the family.  `errno` is what netlink or bpf(2) would answer, or None."""

    errno: int | None = None


class BytecodeError(ClsbpfError):
    """A classic or eBPF instruction list, or its text, is malformed or refused (EINVAL).

    `insn` is the index of the instruction at fault, from 0, or None when no single one is.
    """

    errno = _errno.EINVAL

    def __init__(self, message: str, insn: int | None = None) -> None:
        super().__init__(message)
        self.insn = insn


NOT_COVERED = "not-covered"
"""The kind of a refusal that says nothing of the kernel's: what the program does is not known here."""


class VerifierError(ClsbpfError):
    """An eBPF program is refused.  `log` is the verifier's log, `insn` the instruction at fault.

    `report` (a `verifier.explain.Report`) tells the reason, the place, the path and what to write instead;
    None where the program did not get as far as being judged here.  As text it is all four parts.
    """

    errno = _errno.EACCES

    def __init__(self, message: str, insn: int | None = None, log: str = "", report: Any = None) -> None:
        super().__init__(message)
        self.insn = insn
        self.log = log
        self.report = report

    @property
    def is_judgement(self) -> bool:
        """Was the program looked at, and refused?  (Else it does what is not known here.)"""
        return self.report is not None and self.report.kind != NOT_COVERED

    def __str__(self) -> str:
        message = str(self.args[0])
        if self.report is None:
            return message
        who = message.removesuffix(self.report.reason)
        if not self.is_judgement:
            return (
                f"{who}not judged: {self.report.reason}"
                "\n  What is not verified runs in the checked interpreter only: verify=False, --no-verify"
            )
        return f"{who}refused\n" + "\n".join(f"  {line}" for line in str(self.report).splitlines())


class ProgramFault(ClsbpfError):
    """A program running in the checked interpreter did what no verified program does.

    `insn` is the index of the instruction at fault; `source` its source line as `file:line` where the
    object says; `register` the register that was wrong, where one was.
    """

    errno = _errno.EFAULT

    def __init__(
        self,
        message: str,
        insn: int | None = None,
        *,
        source: str | None = None,
        register: int | None = None,
    ) -> None:
        super().__init__(message)
        self.insn = insn
        self.source = source
        self.register = register


class MapError(ClsbpfError):
    """A map cannot be made, or does not take an operation: the errno bpf(2) would give, and why."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno


class ObjectError(ClsbpfError):
    """An ELF object (or its BTF) is malformed, foreign, or lacks what was asked for."""

    errno = _errno.ENOEXEC


class CaptureError(ClsbpfError):
    """A capture cannot be read or written.

    `packets` counts the packets that came before the damage; they are a complete result.
    """

    errno = _errno.EIO

    def __init__(self, message: str, packets: int = 0) -> None:
        super().__init__(message)
        self.packets = packets


class NetlinkError(ClsbpfError):
    """A request was refused: struct nlmsgerr with its extended acknowledgement.

    `errno` is positive.  `extack` is the kernel's message (NLMSGERR_ATTR_MSG) or None, `offset` the
    offset in the request of the attribute at fault (NLMSGERR_ATTR_OFFS) or None.
    """

    def __init__(self, errno: int, extack: str | None = None, offset: int | None = None) -> None:
        super().__init__(extack or f"{_errno.errorcode.get(errno, errno)}")
        self.errno = errno
        self.extack = extack
        self.offset = offset


class TcError(ClsbpfError):
    """A tc command failed.  The message is what `tc` prints on standard error, `exit_code` its exit.

    1: a local error of options or loading.  2: the kernel (here: the engine) refused.  255: a word
    that all commands share was wrong.
    """

    def __init__(self, message: str, exit_code: int = 1, errno: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.errno = errno


class RunError(ClsbpfError):
    """What was asked of `clsbpf run` cannot be done: no such device, an output that cannot be written."""
