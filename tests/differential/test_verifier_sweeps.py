"""Every operation on every kind of value: the verifier's verdict, errno and words are the kernel's.

A sample of the sweeps, seeded; CLSBPF_SWEEP_EVERY=1 judges all of them (some minutes).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from random import Random

import pytest

from clsbpf.kernel import loader
from clsbpf.kernel.loader import LoadedObject
from kernel_verifier import need_current_kernel, two_opinions
from verifier_sweeps import OBJECT, SWEEPS, Case

EVERY = int(os.environ.get("CLSBPF_SWEEP_EVERY", "0"))


@pytest.fixture(scope="module")
def loaded() -> Iterator[LoadedObject]:
    need_current_kernel()
    with loader.load(OBJECT, []) as loaded:
        yield loaded


def sample(name: str) -> Iterator[Case]:
    """About sixty cases, or every so many."""
    step = EVERY or max(sum(1 for _ in SWEEPS[name]()) // 60, 1)
    first = Random(name).randrange(step)
    yield from itertools.islice(SWEEPS[name](), first, None, step)


@pytest.mark.parametrize("name", SWEEPS)
def test_the_verdict_is_the_kernels(name: str, loaded: LoadedObject) -> None:
    for case in sample(name):
        here, there = two_opinions(case.spec(), loaded)
        assert here == there, case.name
