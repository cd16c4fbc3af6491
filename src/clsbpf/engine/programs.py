"""The programs that filters hold, and the table of file descriptors they are found by.

A classic program comes with the request that adds its filter: its instructions are decoded, checked
and translated, once.  An eBPF program was loaded before, through the `bpf(2)`-like call, and the
request names its descriptor.  A descriptor is a number in a table; the program lives for as long as a
descriptor, a filter, a slot of a prog_array or a pin holds it, which Python keeps count of.

How a program runs is decided here and nowhere in `tc/`: by the interpreter, or as native code, which
is compiled when the program runs for the first time (a plan that compiles a whole block never asks).
"""

from __future__ import annotations

import contextlib
import enum
import errno
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..bpf.check import check
from ..bpf.classic import CheckedClassic, decode_ops
from ..bpf.insn import Insn
from ..bpf.spec import SCHED_CLS
from ..bpf.tag import program_tag
from ..errors import ClsbpfError, NetlinkError
from ..profile import CURRENT, KernelProfile
from ..skb import Skb
from ..tc.refusal import refusal
from ..verifier.program import VerifiedProgram
from ..vm.environment import Environment

if TYPE_CHECKING:
    from ..objfile.btf import Btf
    from ..vm.link import LinkedProgram
    from ..vm.maps.map import Map
    from ..vm.native_program import NativeProgram


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


def _interpreted(program: LoadedProgram, profile: KernelProfile, environment: Environment) -> Runner:
    from ..vm import interp
    from ..vm.link import LinkedProgram

    linked = program.linked or LinkedProgram(program.insns)
    return lambda skb: interp.run(linked, skb, profile=profile, environment=environment)


def _compiled(program: LoadedProgram, profile: KernelProfile, environment: Environment) -> Runner:
    if program.verified is None:
        return _interpreted(program, profile, environment)  # what is not proved safe runs checked
    native = program.machine_code(profile)
    return lambda skb: native.run(skb, environment)


# What each needs is imported when it is needed: adding a filter should not wait for LLVM.
_RUNNERS = {Backend.INTERPRETER: _interpreted, Backend.JIT: _compiled}


class LoadedProgram:
    """struct bpf_prog: a program ready to run, what a `Filter` holds.

    It was made of one of three: `classic`, a checked classic program; a verified program; or `linked`, a
    program with the maps that it names, which only the checked interpreter may run unless it was verified.
    `ops` are a classic program's instructions as they came, None for eBPF; `name`, `tag` (8 bytes) and `id`
    are an eBPF program's, `type` is as `ProgramSpec` has it.
    """

    __slots__ = (
        *("_backend", "_environment", "_profile", "_runner", "_verified"),
        *("classic", "id", "linked", "name", "ops", "tag", "type", "__weakref__"),
    )

    def __init__(
        self,
        verified: VerifiedProgram | None = None,
        *,
        classic: CheckedClassic | None = None,
        linked: LinkedProgram | None = None,
        backend: Backend = Backend.JIT,
        profile: KernelProfile = CURRENT,
        environment: Environment | None = None,
        type: str = SCHED_CLS,
        ops: bytes | None = None,
        name: str | None = None,
        tag: bytes | None = None,
        id: int | None = None,
    ) -> None:
        assert sum(made_of is not None for made_of in (classic, verified, linked)) == 1
        self._verified = verified
        self.classic = classic
        self.linked = linked
        self.type = type
        self.ops = ops
        self.name = name
        self.tag = tag
        self.id = id
        self._backend = backend
        self._profile = profile
        self._environment = environment if environment is not None else Environment()
        self._runner: Runner | None = None

    @property
    def verified(self) -> VerifiedProgram | None:
        """What may run natively.  A classic program is translated only now: most are merely looked up."""
        if self.linked is not None:
            return self.linked.verified
        if self._verified is None and self.classic is not None:
            self._verified = VerifiedProgram.from_classic(self.classic, self._profile)
        return self._verified

    @property
    def is_native(self) -> bool:
        """May a plan take it?"""
        return self.linked is None

    @property
    def insns(self) -> tuple[Insn, ...]:
        """What runs."""
        if self.linked is not None:
            return self.linked.insns
        assert self.verified is not None
        return self.verified.insns

    def machine_code(self, profile: KernelProfile) -> NativeProgram:
        """Compile what is proved safe; of a linked program that is done once, also for tail calls to it."""
        from ..vm.native_program import jit, native_of

        if self.linked is not None:
            return native_of(self.linked, profile)
        assert self.verified is not None
        return jit(self.verified, profile)

    def run(self, skb: Skb) -> int:
        """BPF_PROG_RUN(): the return value, unsigned 32 bits.  ProgramFault from the checked interpreter."""
        return (self._runner or self._prepare())(skb)

    def interpret(self) -> None:
        """Let it be interpreted from now on, whatever the backend: its machine code is not there."""
        self._runner = _interpreted(self, self._profile, self._environment)

    def _prepare(self) -> Runner:
        """Make what runs it.  Two threads may both do so; either result will do."""
        self._runner = _RUNNERS[self._backend](self, self._profile, self._environment)
        return self._runner

    def __repr__(self) -> str:
        return f"<LoadedProgram {self.name or 'classic'}, {len(self.insns)} instructions>"


FIRST_FD = 3

Files = dict[int, "LoadedProgram | Map | Btf"]
"""struct files_struct: what the descriptors of one process stand for."""


class ProgramTable:
    """Where filters get their programs (a `ProgramSource`, clsbpf.tc.program), and who asks for them.

    All its programs share one environment (random numbers, clock), as those of one kernel do.  Descriptors
    are those of the process that asks at the moment: its own, or the one that `files_of` says.
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
        self._files: Files = {}
        self._by_id: weakref.WeakValueDictionary[int, LoadedProgram] = weakref.WeakValueDictionary()

    # loading

    def from_ops(self, ops: bytes) -> LoadedProgram:
        """bpf_prog_create(): a classic program; BytecodeError (EINVAL) says which instruction is refused."""
        return LoadedProgram(
            classic=check(decode_ops(ops), self.profile),
            backend=self.backend,
            profile=self.profile,
            environment=self.environment,
            ops=ops,
        )

    def load(self, linked: LinkedProgram) -> LoadedProgram:
        """BPF_PROG_LOAD: an eBPF program gets an id and tag.  ProgramFault: it calls what is not there."""
        linked.require_helpers()
        insns = linked.spec.insns if linked.spec is not None else linked.insns
        loaded = LoadedProgram(
            linked=linked,
            backend=self.backend,
            profile=self.profile,
            environment=self.environment,
            type=linked.type,
            name=linked.name,
            tag=program_tag(insns, self.profile),
            id=linked.id,
        )
        self._by_id[linked.id] = loaded
        return loaded

    def by_id(self, id: int) -> LoadedProgram | None:
        """bpf_prog_by_id(): a loaded program that still lives."""
        return self._by_id.get(id)

    def ids(self) -> tuple[int, ...]:
        """The ids of the loaded programs that live."""
        return tuple(self._by_id)

    # descriptors

    @contextlib.contextmanager
    def files_of(self, files: Files) -> Iterator[None]:
        """current->files: while the body runs, a process with these descriptors asks.  One at a time."""
        before, self._files = self._files, files
        try:
            yield
        finally:
            self._files = before

    def open(self, file: LoadedProgram | Map | Btf) -> int:
        """fd_install(): the lowest free descriptor, from 3 on, now stands for the file."""
        fd = next(fd for fd in itertools.count(FIRST_FD) if fd not in self._files)
        self._files[fd] = file
        return fd

    def file(self, fd: int) -> LoadedProgram | Map | Btf:
        """fdget(): what a descriptor stands for; NetlinkError EBADF."""
        try:
            return self._files[fd]
        except KeyError:
            raise NetlinkError(errno.EBADF) from None

    def close(self, fd: int) -> None:
        """close(2); NetlinkError EBADF."""
        self.file(fd)
        del self._files[fd]

    def from_fd(self, fd: int) -> LoadedProgram:
        """bpf_prog_get_type(): EBADF for no descriptor, EINVAL for a map's or a program of another type."""
        program = self.file(fd)
        if not isinstance(program, LoadedProgram):
            raise refusal(errno.EINVAL, f"descriptor {fd} is no program's; a filter needs a program's")
        require_filter(program)
        return program


def require_filter(program: LoadedProgram) -> None:
    """The type that bpf_prog_get_type() asks for: a filter's program is no action's and no XDP program."""
    if program.type != SCHED_CLS:
        name = program.name or "without a name"
        raise refusal(errno.EINVAL, f"program {name} is of type {program.type}; a filter needs {SCHED_CLS}")
