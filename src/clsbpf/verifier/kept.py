"""Was this judged before?  Verdicts are kept on disk, so that a large program is walked once.

A verdict depends on what is judged and on who judges.  Both are in its key: everything that a spec says
(instructions, maps with what frozen ones hold, licence, functions and source lines), the object's types,
which kernel's types this machine has, the release, and the judge's own text (this package's source: a
verifier that learnt something does not trust what it believed before).  So an entry is right for as long
as it is found.

What comes back has the rank of what was kept: a `VerifiedProgram` leads to machine code.  Therefore the
store is private (`clsbpf.store`), and its entries are plain JSON, which can say nothing but what is in
a verdict.  A verdict that was had sooner than a file is read is not kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..bpf.insn import encode
from ..bpf.spec import MapSpec, ProgramSpec
from ..errors import VerifierError
from ..profile import CURRENT, KernelProfile
from ..store import PrivateStore, default_store
from .explain import Branch, Place, Report
from .program import VerifiedProgram, Work
from .types import kernel_processors
from .verify import verify

MACHINE_BTF = "/sys/kernel/btf/vmlinux"
KIND = "verdicts"
LIMIT = 64 << 20
"""Bytes of verdicts that are kept."""
WORTH_KEEPING = 0.02
"""Seconds: a verdict that took less is not kept."""


def judged(
    spec: ProgramSpec,
    *,
    profile: KernelProfile = CURRENT,
    btf: Any = None,
    store: PrivateStore | None = None,
) -> VerifiedProgram:
    """`verify`, or what it said before: the program as it may run, or VerifierError.

    `store` is where verdicts are kept, by default the user's.
    """
    verdict, _ = verdict_on(spec, profile=profile, btf=btf, store=store)
    if isinstance(verdict, VerifierError):
        raise verdict
    return verdict


def verdict_on(
    spec: ProgramSpec,
    *,
    profile: KernelProfile = CURRENT,
    btf: Any = None,
    store: PrivateStore | None = None,
) -> tuple[VerifiedProgram | VerifierError, bool]:
    """The same with a refusal as a value, and whether it was kept from before."""
    if store is None:
        store = default_store(KIND, limit=LIMIT)
    judge = _judge()
    if spec.classic is not None or spec.problem is not None or judge is None or store.directory is None:
        return _fresh(spec, profile, btf), False
    key = _key(spec, profile, btf, judge)
    known = _read(spec, store.get(key))
    if known is not None:
        return known, True
    begin = time.perf_counter()
    verdict = _fresh(spec, profile, btf)
    if time.perf_counter() - begin >= WORTH_KEEPING:
        store.put(key, _text(verdict))
    return verdict, False


def _fresh(spec: ProgramSpec, profile: KernelProfile, btf: Any) -> VerifiedProgram | VerifierError:
    try:
        return verify(spec, profile=profile, btf=btf)
    except VerifierError as error:
        return error


# -- The key


def _key(spec: ProgramSpec, profile: KernelProfile, btf: Any, judge: bytes) -> bytes:
    """All that a verdict depends on, as one digest."""
    digest = hashlib.sha256(judge)
    for part in _parts(spec, profile, btf):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _parts(spec: ProgramSpec, profile: KernelProfile, btf: Any) -> Iterator[bytes]:
    yield repr((profile, kernel_processors())).encode()
    yield encode(spec.insns)
    yield repr((spec.name, spec.type, spec.license, spec.section, spec.kfuncs)).encode()
    yield repr(sorted(spec.poison.items())).encode()
    yield repr([(f.insn, f.name, f.type_id) for f in spec.func_info]).encode()
    yield repr([(n.insn, n.file, n.line, n.column, n.text) for n in spec.line_info]).encode()
    yield repr([(key, _map_text(each)) for key, each in sorted(spec.maps.items())]).encode()
    yield b"" if btf is None else _types_digest(btf)


def _map_text(spec: MapSpec) -> tuple[Any, ...]:
    """What may matter of a map, as plain values."""
    return (
        *(spec.name, spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags),
        *(spec.map_extra, spec.frozen, spec.pinning, spec.id, spec.contents),
        None if spec.inner is None else _map_text(spec.inner),
        _type_text(spec.key_type),
        _type_text(spec.value_type),
    )


def _type_text(type: Any) -> tuple[bytes, int] | None:
    """An `objfile.btf.TypeRef`: which type of which BTF."""
    return None if type is None else (_types_digest(type.btf), type.id)


def _types_digest(btf: Any) -> bytes:
    """An `objfile.btf.Btf`, and the one that it goes on from."""
    base = b"" if btf.base is None else _types_digest(btf.base)
    return hashlib.sha256(base + btf.raw).digest()


@functools.cache
def _judge() -> bytes | None:
    """The verifier's own text, and that of the model it reads; None where it cannot be read.

    And the kernel whose types it looks into: a build of Linux has one BTF.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256(repr(_kernel()).encode())
    try:
        for package in (here, here.parent / "bpf", here.parent / "objfile"):
            for path in sorted(package.glob("*.py")):
                text = path.read_bytes()
                digest.update(f"{package.name}/{path.name} {len(text)}\n".encode() + text)
    except OSError:
        return None
    return digest.digest()


def _kernel() -> tuple[str, int]:
    """Which build runs here, and how large its BTF is; (…, 0) where it shows none."""
    try:
        size = os.stat(MACHINE_BTF).st_size
    except OSError:
        size = 0
    return f"{platform.system()} {platform.release()} {platform.version()} {platform.machine()}", size


# -- The value


def _text(verdict: VerifiedProgram | VerifierError) -> bytes:
    if isinstance(verdict, VerifierError):
        kept = {
            "refused": verdict.args[0],
            "insn": verdict.insn,
            "errno": verdict.errno,
            "log": verdict.log,
            "report": asdict(verdict.report) if verdict.report is not None else None,
        }
    else:
        assert verdict.work is not None
        kept = {
            "ctx_accesses": sorted(verdict.ctx_accesses),
            "pointer_kinds": sorted(verdict.pointer_kinds.items()),
            "reached": sorted(verdict.reached),
            "stacks": sorted(verdict.stacks.items()),
            "work": asdict(verdict.work),
        }
    return json.dumps(kept).encode()


def _read(spec: ProgramSpec, text: bytes | None) -> VerifiedProgram | VerifierError | None:
    """The verdict that was kept; None where there is none."""
    if text is None:
        return None
    kept = json.loads(text)
    if "refused" in kept:
        report = None if kept["report"] is None else _report(kept["report"])
        error = VerifierError(kept["refused"], insn=kept["insn"], log=kept["log"], report=report)
        error.errno = kept["errno"]
        return error
    return VerifiedProgram.verified(
        spec,
        ctx_accesses=kept["ctx_accesses"],
        pointer_kinds=dict(kept["pointer_kinds"]),
        seen=frozenset(kept["reached"]),
        stacks=dict(kept["stacks"]),
        work=Work(**kept["work"]),
    )


def _report(kept: dict[str, Any]) -> Report:
    """A report out of what `asdict` made of it."""
    branches = (Branch(**{**branch, "place": Place(**branch["place"])}) for branch in kept["path"])
    places = {name: Place(**kept[name]) if kept[name] is not None else None for name in ("at", "changed")}
    return Report(**{**kept, **places, "path": tuple(branches)})
