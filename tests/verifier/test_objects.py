"""Objects, lists, trees and kept pointers, in small programs: ours and the kernel's opinion."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.isa import Pseudo
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import FuncInfo, MapSpec, ObjectSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.kernel import loader
from clsbpf.kernel.loader import LoadedObject
from clsbpf.verifier.types import kernel_btf
from clsbpf.verifier.verify import verify
from kernel_verifier import need_current_kernel
from verifier_kfuncs import with_calls
from verifier_objects import OBJECT_CASES, SIZE, types

BTF, IDS = types()
MAP = MapSpec(
    "kept", MapType.ARRAY, 4, SIZE, 1, value_type=BTF.ref(IDS["value"]), key_type=BTF.ref(IDS["int"])
)
CASES = pytest.mark.parametrize(
    ("what", "taken", "text"), OBJECT_CASES, ids=[what for what, *_ in OBJECT_CASES]
)


def spec_of(text: str) -> ProgramSpec:
    main, label, callback = text.partition("less:\n")
    main, names = with_calls(re.sub(r"<(\w+)>", lambda match: str(IDS[match[1]]), main))
    insns = assemble(main.replace("subprog[less]", "subprog[+0]"))
    functions = [FuncInfo(0, "main", IDS["main"])]
    if label:
        begin = len(insns)
        functions.append(FuncInfo(begin, "less", IDS["less"]))
        insns = [
            dataclasses.replace(insn, imm=begin - at - 1)
            if insn.is_ld_imm64 and insn.src == Pseudo.FUNC
            else insn
            for at, insn in enumerate(insns)
        ]
        insns += assemble(callback)
    return ProgramSpec(
        "test", insns=tuple(insns), license="GPL", kfuncs=names, maps={1: MAP}, func_info=tuple(functions)
    )


@CASES
def test_ours(what: str, taken: bool, text: str) -> None:
    if kernel_btf() is None:
        pytest.skip("no kernel's BTF here: its structures are not known")
    if taken:
        assert verify(spec_of(text), btf=BTF).reached
    else:
        with pytest.raises(VerifierError) as caught:
            verify(spec_of(text), btf=BTF)
        assert caught.value.report.reason


@pytest.fixture(scope="module")
def loaded() -> Iterator[LoadedObject]:
    need_current_kernel()
    with loader.load(ObjectSpec("test", maps={"kept": MAP}, btf=BTF), []) as loaded:
        yield loaded


@CASES
def test_the_kernels(what: str, taken: bool, text: str, loaded: LoadedObject) -> None:
    try:
        os.close(loader._load_program(spec_of(text), loaded.maps, loaded._others[0], loaded.calls))
    except VerifierError:
        assert not taken
    else:
        assert taken
