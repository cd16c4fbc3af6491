"""What a filter needs of a program, and who makes one.

A filter holds something it can run, as the kernel's holds `bpf_func`; how it runs (interpreter,
native code) is no concern of `tc/`.
"""

from __future__ import annotations

from typing import Protocol

from ..skb import Skb


class Program(Protocol):
    """struct bpf_prog, as far as a filter uses it.  Dropping the last reference is bpf_prog_put()."""

    def run(self, skb: Skb) -> int:
        """BPF_PROG_RUN(): the program's return value, unsigned 32 bits.

        `skb.data` is where the program sees the packet begin.
        """
        ...


class ProgramSource(Protocol):
    """Where programs come from."""

    def from_ops(self, ops: bytes) -> Program:
        """bpf_prog_create(): a classic program, 8 bytes an instruction; ClsbpfError (EINVAL) if refused."""
        ...

    def from_fd(self, fd: int) -> Program:
        """bpf_prog_get_type(fd, BPF_PROG_TYPE_SCHED_CLS): a loaded program.

        NetlinkError: EBADF for no such descriptor, EINVAL for one that is no program or of another type.
        """
        ...


class ClassBinder(Protocol):
    """A classful qdisc's bind_tcf and unbind_tcf: a class counts the filters that point to it."""

    def bind(self, classid: int, parent: int) -> object | None:
        """The class called `classid`, held by one more filter now, or None.  `parent`: the filter's."""
        ...

    def unbind(self, class_: object) -> None:
        """A filter let go of the class."""
        ...
