"""Programs that a tc line names by an object or a pin, loaded where they shall run."""

from __future__ import annotations

from ..bpf.spec import ObjectSpec, ProgramSpec
from ..daemon.client import Connection
from ..errors import ClsbpfError, VerifierError
from ..kernel.calls import KERNEL, Calls
from ..tccmd.request import ObjectSource

BPFFS = "/sys/fs/bpf"


def load_into_daemon(connection: Connection, source: ObjectSource) -> int:
    """A descriptor of the connection's."""
    return _load(connection, source)


def load_into_kernel(source: ObjectSource) -> int:
    """A descriptor of this process's, the caller's to close."""
    return _load(KERNEL, source)


def _load(calls: Calls, source: ObjectSource) -> int:
    if source.pinned:
        return calls.obj_get(_pin(source.path))
    from ..engine.objects import loaded_as, section_program
    from ..kernel.loader import load
    from ..objfile.files import MachineFunctions, read_object
    from ..vm.helpers import KFUNCS

    there = MachineFunctions() if calls is KERNEL else KFUNCS
    spec = loaded_as(read_object(source.path, kfuncs=there), source.type)
    program = section_program(spec, source.section, source.program)
    try:
        loaded = load(spec, [program.name], calls=calls, pin=True)
    except ClsbpfError:
        _explain(spec, program)
        raise
    fd = loaded.programs.pop(program.name)
    loaded.close()
    return fd


def _explain(spec: ObjectSpec, program: ProgramSpec) -> None:
    """Raises the same refusal with the source lines, which the calls do not carry, if it is one."""
    from ..verifier.kept import verdict_on

    verdict, _ = verdict_on(program, btf=spec.btf)
    if isinstance(verdict, VerifierError) and verdict.is_judgement:
        raise verdict from None


def _pin(path: str) -> str:
    """`m:PATH` is tc's for one relative to the BPF file system."""
    return f"{BPFFS}/{path[2:].lstrip('/')}" if path.startswith("m:") else path
