"""What kernel functions ask for, in small programs: ours and the kernel's opinion."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.kfuncs import ITERATOR_BYTES, PLAIN_STRUCT_BYTES, kfuncs
from clsbpf.bpf.spec import ObjectSpec, ProgramSpec
from clsbpf.errors import ClsbpfError, VerifierError
from clsbpf.kernel import loader
from clsbpf.kernel.loader import LoadedObject
from clsbpf.verifier.types import kernel_btf
from clsbpf.verifier.verify import verify
from kernel_verifier import need_current_kernel
from verifier_kfuncs import KFUNC_CASES, with_calls

IDS = [what for what, *_ in KFUNC_CASES]


def spec_of(text: str, *, license: str = "GPL") -> ProgramSpec:
    program, names = with_calls(text)
    return ProgramSpec("test", insns=tuple(assemble(program)), license=license, kfuncs=names)


@pytest.fixture(scope="module")
def nothing_loaded() -> Iterator[LoadedObject]:
    need_current_kernel()
    with loader.load(ObjectSpec("test"), []) as loaded:
        yield loaded


@pytest.mark.parametrize(("what", "taken", "text"), KFUNC_CASES, ids=IDS)
def test_ours(what: str, taken: bool, text: str) -> None:
    if "kern_ctx" in text and kernel_btf() is None:
        pytest.skip("no kernel's BTF here: its structures are not known")
    if taken:
        assert verify(spec_of(text)).reached
    else:
        with pytest.raises(VerifierError) as caught:
            verify(spec_of(text))
        assert caught.value.report.reason


@pytest.mark.parametrize(("what", "taken", "text"), KFUNC_CASES, ids=IDS)
def test_the_kernels(what: str, taken: bool, text: str, nothing_loaded: LoadedObject) -> None:
    try:
        os.close(loader._load_program(spec_of(text), {}, 0, nothing_loaded.calls))
    except ClsbpfError:
        assert not taken
    else:
        assert taken


def test_a_licence_that_is_not_gpl() -> None:
    with pytest.raises(VerifierError) as caught:
        verify(spec_of("{bpf_rcu_read_lock}\n{bpf_rcu_read_unlock}\nr0 = 0\nexit", license="MIT"))
    assert caught.value.report.kind == "licence"


def test_the_table_is_the_kernels() -> None:
    """Names, numbers of parameters and sizes of this machine's kernel."""
    need_current_kernel()
    btf = kernel_btf()
    for name, kfunc in kfuncs().items():
        ids = [id for id in btf.named(name) if hasattr(btf[id], "proto")]
        if ids:  # (what the kernel was built without is not there)
            assert len(btf[btf[ids[0]].proto].params) == len(kfunc.params), name
    for name, size in {**ITERATOR_BYTES, **PLAIN_STRUCT_BYTES}.items():
        for id in btf.named(name):
            if hasattr(btf[id], "members"):
                assert btf[id].size == size, name
