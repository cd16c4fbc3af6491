"""Loops of the control flow graph, and a call that calls back, which is one as well."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from btf_writer import BtfWriter
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import FuncInfo, MapSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.objfile.btf import Btf
from clsbpf.verifier.components import loops, postorder
from clsbpf.verifier.verify import verify

GRAPHS = [
    # what, successors, the loop of each, the order in which they are left
    ("one after the other", [(1,), (2,), ()], (0, 0, 0), (2, 1, 0)),
    ("two ways that meet", [(1, 2), (3,), (3,), ()], (0, 0, 0, 0), (3, 2, 1, 0)),
    ("a loop", [(1,), (2,), (3, 1), ()], (0, 1, 1, 0), (3, 2, 1, 0)),
    ("by itself", [(1,), (2, 1), ()], (0, 1, 0), (2, 1, 0)),
    (
        "one after the other, the last first",
        [(1,), (0, 2), (3,), (2, 4), ()],
        (2, 2, 1, 1, 0),
        (4, 3, 2, 1, 0),
    ),
    ("in one another: one loop", [(1,), (2,), (1, 3), (0, 4), ()], (1, 1, 1, 1, 0), (4, 3, 2, 1, 0)),
]


@pytest.mark.parametrize(("what", "following", "numbers", "order"), GRAPHS, ids=[what for what, *_ in GRAPHS])
def test_graphs(
    what: str, following: Sequence[Sequence[int]], numbers: Sequence[int], order: Sequence[int]
) -> None:
    assert loops(following) == tuple(numbers)
    assert postorder(following, 0) == tuple(order)


def _types() -> tuple[Btf, int, int]:
    w = BtfWriter()
    number = w.int("int", 4)
    context = w.ptr(w.struct("__sk_buff", 192))
    main = w.func("main", w.proto(number, ("skb", context)))
    again = w.func("again", w.proto(number), linkage=0)
    return w.btf(), main, again


MAIN = """
    r1 = 0
    *(u32 *)(r10 -4) = r1
    *(u64 *)(r10 -24) = r1
    r2 = r10
    r2 += -4
    r1 = map[fd:1]
    call 1
    if r0 == 0 goto +8
    *(u64 *)(r10 -16) = r0
    r1 = 100000
    r2 = subprog[+7]
    r3 = r10
    r3 += -24
    r4 = 0
    call 181
    r0 = 0
    exit
"""
AGAIN = """
    r6 = r2
    call 7
    if r0 == 1 goto far
    if r0 == 2 goto store
    r1 = 0
    r1 = 1
    r1 = 2
    r1 = 3
    r1 = 4
  done:
    r0 = 0
    exit
  far:
    r1 = INDEX
    *(u64 *)(r6 +0) = r1
    goto done
  store:
    r1 = *(u64 *)(r6 +8)
    r2 = *(u64 *)(r6 +0)
    r1 += r2
    r3 = 1
    *(u8 *)(r1 +0) = r3
    r0 = 0
    exit
"""
"""One round puts an index down, another one uses it."""


@pytest.mark.parametrize(("index", "taken"), [(63, True), (64, False)])
def test_what_one_round_leaves_to_the_next(index: int, taken: bool) -> None:
    """That the index matters is seen on a path that is walked before the one that changes it, and that one
    comes to where nothing seems to matter any more.  Linux 6.18 takes both programs."""
    btf, main, again = _types()
    insns = (*assemble(MAIN), *assemble(AGAIN.replace("INDEX", str(index))))
    functions = (FuncInfo(0, "main", main), FuncInfo(len(assemble(MAIN)), "again", again))
    spec = ProgramSpec(
        "rounds",
        insns=insns,
        license="GPL",
        maps={1: MapSpec("table", MapType.ARRAY, 4, 64, 1)},
        func_info=functions,
    )
    if taken:
        assert verify(spec, btf=btf).reached == frozenset(
            at for at, insn in enumerate(insns) if at == 0 or not insns[at - 1].is_ld_imm64
        )
    else:
        with pytest.raises(VerifierError) as caught:
            verify(spec, btf=btf)
        assert caught.value.report.kind == "bounds"
        assert "off=64 size=1" in caught.value.report.message
