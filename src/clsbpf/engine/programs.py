"""The programs that filters hold, and the table of file descriptors they are found by.

A classic program comes with the request that adds its filter: its instructions are decoded, checked
and translated, once.  An eBPF program was loaded before, through the `bpf(2)`-like call, and the
request names its descriptor.

How a program runs is decided here and nowhere in `tc/`: by the interpreter, or as native code, which
is compiled when the program runs for the first time (a plan that compiles a whole block never asks).
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable

from ..bpf.check import check
from ..bpf.classic import decode_ops
from ..errors import ClsbpfError, NetlinkError
from ..profile import CURRENT, KernelProfile
from ..skb import Skb
from ..verifier.program import VerifiedProgram
from ..vm.environment import Environment


class Backend(enum.Enum):
    """How programs run."""

    JIT = "jit"
    INTERPRETER = "interpreter"


def backend_by_name(name: str) -> Backend:
    """The backend called `name`; ClsbpfError lists those that exist."""
    try:
        return Backend(name)
    except ValueError:
        names = ", ".join(backend.value for backend in Backend)
        raise ClsbpfError(f"no backend {name!r}; there are: {names}") from None


Runner = Callable[[Skb], int]


def _interpreted(program: VerifiedProgram, profile: KernelProfile, environment: Environment) -> Runner:
    from ..vm import interp

    return lambda skb: interp.run(program.insns, skb, profile=profile, environment=environment)


def _compiled(program: VerifiedProgram, profile: KernelProfile, environment: Environment) -> Runner:
    from ..vm.jit import jit

    native = jit(program, profile)
    return lambda skb: native.run(skb, environment)


# What each needs is imported when it is needed: adding a filter should not wait for LLVM.
_RUNNERS = {Backend.INTERPRETER: _interpreted, Backend.JIT: _compiled}


class LoadedProgram:
    """struct bpf_prog: a program ready to run, what a `Filter` holds.

    `verified` is what it does.  `ops` are a classic program's instructions as they came, None for
    eBPF; `name`, `tag` (8 bytes) and `id` are an eBPF program's.
    """

    __slots__ = ("_backend", "_environment", "_profile", "_runner", "id", "name", "ops", "tag", "verified")

    def __init__(
        self,
        verified: VerifiedProgram,
        *,
        backend: Backend = Backend.JIT,
        profile: KernelProfile = CURRENT,
        environment: Environment | None = None,
        ops: bytes | None = None,
        name: str | None = None,
        tag: bytes | None = None,
        id: int | None = None,
    ) -> None:
        self.verified = verified
        self.ops = ops
        self.name = name
        self.tag = tag
        self.id = id
        self._backend = backend
        self._profile = profile
        self._environment = environment if environment is not None else Environment()
        self._runner: Runner | None = None

    def run(self, skb: Skb) -> int:
        """BPF_PROG_RUN(): the return value, unsigned 32 bits."""
        return (self._runner or self._prepare())(skb)

    def _prepare(self) -> Runner:
        """Make what runs it.  Two threads may both do so; either result will do."""
        self._runner = _RUNNERS[self._backend](self.verified, self._profile, self._environment)
        return self._runner

    def __repr__(self) -> str:
        return f"<LoadedProgram {self.name or 'classic'}, {len(self.verified.insns)} instructions>"


class ProgramTable:
    """Where filters get their programs: a `ProgramSource` (`clsbpf.tc.program`).

    All its programs share one environment (random numbers, clock), as those of one kernel do.
    """

    def __init__(
        self,
        *,
        backend: Backend = Backend.JIT,
        profile: KernelProfile = CURRENT,
        environment: Environment | None = None,
    ) -> None:
        self.backend = backend
        self.profile = profile
        self.environment = environment if environment is not None else Environment()

    def from_ops(self, ops: bytes) -> LoadedProgram:
        """bpf_prog_create(): a classic program; BytecodeError (EINVAL) says which instruction is refused."""
        checked = check(decode_ops(ops), self.profile)
        return LoadedProgram(
            VerifiedProgram.from_classic(checked, self.profile),
            backend=self.backend,
            profile=self.profile,
            environment=self.environment,
            ops=ops,
        )

    def from_fd(self, fd: int) -> LoadedProgram:
        """bpf_prog_get_type(): there are no descriptors yet, so that each is EBADF."""
        raise NetlinkError(errno.EBADF)
