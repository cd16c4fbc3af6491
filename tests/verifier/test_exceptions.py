# ruff: noqa: E501 - one program a line
"""Exception callbacks, and callbacks that may sleep: ours and the kernel's opinion."""

from __future__ import annotations

import dataclasses
import os
import struct

import pytest

from btf_writer import BtfWriter
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.isa import Pseudo
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import FuncInfo, MapSpec, ObjectSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.kernel import loader
from clsbpf.objfile.btf import Btf, Kind
from clsbpf.verifier.verify import verify
from kernel_verifier import need_current_kernel
from verifier_kfuncs import with_calls

END = "r0 = 0\nexit\n"
THROW = "r1 = 7\n{bpf_throw}\n" + END
LOOKUP = "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[fd:1]\ncall 1\nif r0 == 0 goto out\nr6 = r0\n"
LATER = (
    LOOKUP
    + "r1 = r6\nr1 += 8\nr2 = subprog[other]\nr3 = 0\nr4 = 0\n{bpf_wq_set_callback_impl}\nout:\nr0 = 0\nexit\n"
)
READ_USER = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall 148\n"

# (what it shows, taken?, the main function, the other one, how that is tagged, its parameters and linkage)
CASES: list[tuple[str, bool, str, str, str, tuple[str, ...], int]] = [
    ("an exception has a callback", True, THROW, "r0 = r1\nexit\n", "other", ("long",), 1),
    ("… though nobody throws", True, END, "r0 = r1\nexit\n", "other", ("long",), 1),
    ("… that takes one number", False, THROW, "r0 = 0\nexit\n", "other", ("long", "long"), 1),
    ("… and no pointer", False, THROW, "r0 = 0\nexit\n", "other", ("pointer",), 1),
    ("… is a global function", False, THROW, "r0 = r1\nexit\n", "other", ("long",), 0),
    ("… that there is", False, THROW, "r0 = r1\nexit\n", "nobody", ("long",), 1),
    ("… and is not called", False, "r1 = 1\ncall other\n" + THROW, "r0 = r1\nexit\n", "other", ("long",), 1),
    ("… does not throw itself", False, THROW, "{bpf_throw}\n" + END, "other", ("long",), 1),
    ("… releases what it acquires", False, THROW, "r1 = 1\n{bpf_task_from_pid}\n" + END, "other", ("long",), 1),
    ("a callback that runs later does not throw", False, LATER, "r1 = 0\n{bpf_throw}\n" + END, "", ("pointer",) * 3, 0),
    ("a workqueue's callback may sleep", True, LATER, READ_USER + END, "", ("pointer",) * 3, 0),
    ("… not while it reads under RCU", False, LATER, "{bpf_rcu_read_lock}\n" + READ_USER + "{bpf_rcu_read_unlock}\n" + END, "", ("pointer",) * 3, 0),
    ("… nor without preemption", False, LATER, "{bpf_preempt_disable}\n" + READ_USER + "{bpf_preempt_enable}\n" + END, "", ("pointer",) * 3, 0),
    ("a program of tc's may not", False, READ_USER + LATER, END, "", ("pointer",) * 3, 0),
]  # fmt: skip
PARAMETERS = pytest.mark.parametrize("case", CASES, ids=[what for what, *_ in CASES])


def made(case: tuple[str, bool, str, str, str, tuple[str, ...], int]) -> tuple[ProgramSpec, Btf]:
    _, _, main, other, tag, params, linkage = case
    w = BtfWriter()
    number, long = w.int(), w.int("long", 8)
    types = {"long": long, "pointer": w.ptr(number)}
    queue = w.struct("bpf_wq", 16, ("words", w.array(long, 2), 0))
    value = w.struct("value", 24, ("x", number, 0), ("wq", queue, 64))
    first = w.func("main", w.proto(number, ("skb", w.ptr(0))))
    proto = w.proto(number, *(("abc"[n], types[each]) for n, each in enumerate(params)))
    second = w.func("other", proto, linkage=linkage)
    if tag:
        w.add(Kind.DECL_TAG, f"exception_callback:{tag}", size=first, rest=struct.pack("<i", -1))
    btf = w.btf()
    text, names = with_calls(main + "\nother:\n" + other)
    before = text.partition("other:\n")[0]
    begin = len(assemble(before.replace("subprog[other]", "subprog[+0]").replace("call other", "call 7")))
    insns = [
        dataclasses.replace(insn, imm=begin - at - 1)
        if insn.is_ld_imm64 and insn.src == Pseudo.FUNC
        else insn
        for at, insn in enumerate(assemble(text.replace("subprog[other]", "subprog[+0]")))
    ]
    functions = (FuncInfo(0, "main", first), FuncInfo(begin, "other", second))
    map = MapSpec("m", MapType.ARRAY, 4, 24, 1, key_type=btf.ref(number), value_type=btf.ref(value))
    return ProgramSpec(
        "test", insns=tuple(insns), license="GPL", kfuncs=names, maps={1: map}, func_info=functions
    ), btf


@PARAMETERS
def test_ours(case: tuple[str, bool, str, str, str, tuple[str, ...], int]) -> None:
    spec, btf = made(case)
    if case[1]:
        assert verify(spec, btf=btf).reached
    else:
        with pytest.raises(VerifierError) as caught:
            verify(spec, btf=btf)
        assert caught.value.report.reason


@PARAMETERS
def test_the_kernels(case: tuple[str, bool, str, str, str, tuple[str, ...], int]) -> None:
    need_current_kernel()
    spec, btf = made(case)
    with loader.load(ObjectSpec("test", maps={"m": spec.maps[1]}, btf=btf), []) as loaded:
        try:
            os.close(loader._load_program(spec, loaded.maps, loaded._others[0], loaded.calls))
        except VerifierError:
            assert not case[1]
        else:
            assert case[1]
