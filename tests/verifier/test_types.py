# ruff: noqa: E501 - one case a line
"""Types that a kernel does not take: a program that needs none is judged without them, as libbpf does it."""

from __future__ import annotations

import pytest

from btf_writer import BtfWriter
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.spec import FuncInfo, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.objfile.btf import Btf, Kind
from clsbpf.verifier.verify import verify
from verifier_kfuncs import with_calls

PLAIN = "r0 = 0\nexit\n"
TYPED = "r1 = 2\nr2 = 0\n{bpf_obj_new_impl}\nif r0 == 0 goto out\nr1 = r0\nr2 = 0\n{bpf_obj_drop_impl}\nout:\nr0 = 0\nexit\n"
DAMAGES = {
    "a name that is no name": lambda w: w.struct("2s", 4),
    "a name beyond the strings": lambda w: (w.add(Kind.PTR), setattr(w, "types", w.types[:-12] + b"\xff" * 4 + w.types[-8:])),
    "a structure in itself": lambda w: w.struct("s2", 8, ("m", w.count + 1, 0)),
    "a lock that is none": lambda w: w.struct("s2", 8, ("l", w.struct("bpf_spin_lock", 8, ("x", 1, 0)), 0)),
}  # fmt: skip


def made(text: str, damage: object) -> tuple[ProgramSpec, Btf]:
    w = BtfWriter()
    number = w.int()
    w.struct("ours", 4, ("a", number, 0))
    main = w.func("main", w.proto(number))
    if callable(damage):
        damage(w)
    program, names = with_calls(text)
    insns = tuple(assemble(program))
    functions = (FuncInfo(0, "main", main),)
    return ProgramSpec("test", insns=insns, license="GPL", kfuncs=names, func_info=functions), w.btf()


def test_sound_types() -> None:
    spec, btf = made(TYPED, None)
    assert verify(spec, btf=btf).reached


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_types(what: str) -> None:
    spec, btf = made(PLAIN, DAMAGES[what])
    assert verify(spec, btf=btf).reached
    spec, btf = made(TYPED, DAMAGES[what])
    with pytest.raises(VerifierError, match="without the object's types, of which a kernel says"):
        verify(spec, btf=btf)


def test_a_function_is_of_the_type_of_one() -> None:
    spec, btf = made(PLAIN, None)
    for wrong in (1, 99):
        with pytest.raises(VerifierError, match=f"invalid type id {wrong} in func info"):
            verify(ProgramSpec("test", insns=spec.insns, func_info=(FuncInfo(0, "main", wrong),)), btf=btf)
