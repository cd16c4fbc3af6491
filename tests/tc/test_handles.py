"""Which handle a filter gets that asks for one, on either kernel."""

from __future__ import annotations

import errno
import random

import pytest

from clsbpf.errors import NetlinkError
from clsbpf.profile import HandlePolicy
from clsbpf.tc.handles import Handles

HGEN, LOWEST = HandlePolicy.HGEN, HandlePolicy.LOWEST_FREE

# What is done in turn: a number takes that handle, 0 asks for one, a negative one releases it.
CASES = [
    # done                          given for the zeros: current, 4.13
    ([0, 0, 0], [1, 2, 3], [1, 2, 3]),
    ([0, 0, 0, -1, 0], [1, 2, 3, 1], [1, 2, 3, 4]),
    ([0, 0, 0, -2, -1, 0, 0, 0], [1, 2, 3, 1, 2, 4], [1, 2, 3, 4, 5, 6]),
    ([2, 0, 0], [1, 3], [1, 3]),
    ([1, 2, 0, -2, 0], [3, 2], [3, 4]),
    ([0, -1, 1, 0], [1, 2], [1, 2]),
    ([0, -1, 1, -1, 0], [1, 1], [1, 2]),
    ([0x80000000, 0xFFFFFFFF, 0], [1], [1]),
]


@pytest.mark.parametrize(("done", "current", "v4_13"), CASES)
def test_both_policies(done: list[int], current: list[int], v4_13: list[int]) -> None:
    for policy, expected in ((LOWEST, current), (HGEN, v4_13)):
        handles = Handles(policy)
        given = []
        for each in done:
            if each < 0:
                handles.release(-each)
            elif each:
                assert handles.take(each) == each
            else:
                given.append(handles.take(0))
        assert given == expected


def test_the_counter_wraps_before_0x7fffffff() -> None:
    handles = Handles(HGEN)
    handles._hgen = 0x7FFFFFFD
    assert [handles.take(0) for _ in range(3)] == [0x7FFFFFFE, 1, 2]


def test_the_lowest_free_goes_up_to_0x7fffffff() -> None:
    handles = Handles(LOWEST)
    handles._fresh = 0x7FFFFFFF
    assert handles.take(0) == 0x7FFFFFFF
    with pytest.raises(NetlinkError, match="insufficient number of handles") as caught:
        handles.take(0)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.extack is None


@pytest.mark.parametrize(("policy", "number"), [(LOWEST, errno.ENOSPC), (HGEN, errno.EINVAL)])
def test_none_left(policy: HandlePolicy, number: int) -> None:
    handles = Handles(policy, last=3)
    assert sorted(handles.take(0) for _ in range(3)) == [1, 2, 3]
    handles.take(9)
    for _ in range(2):
        with pytest.raises(NetlinkError, match="insufficient number of handles") as caught:
            handles.take(0)
        assert caught.value.errno == number
    handles.release(2)
    assert handles.take(0) == 2


@pytest.mark.parametrize("policy", [LOWEST, HGEN])
def test_a_taken_handle_is_refused(policy: HandlePolicy) -> None:
    handles = Handles(policy)
    handles.take(7)
    with pytest.raises(NetlinkError, match="handle 0x7 is taken"):
        handles.take(7)


@pytest.mark.parametrize("policy", [LOWEST, HGEN])
def test_random_life(policy: HandlePolicy) -> None:
    """Whatever is taken and released: who asks gets what the definition, written naively, says."""
    last = 12
    for seed in range(200):
        rng = random.Random(seed)
        handles, taken, hgen = Handles(policy, last=last), set[int](), 0
        for _ in range(40):
            if taken and rng.random() < 0.45:
                gone = rng.choice(sorted(taken))
                handles.release(gone)
                taken.remove(gone)
                continue
            wanted = rng.choice([0, 0, rng.randint(1, last)])
            free = [handle for handle in range(1, last + 1) if handle not in taken]
            if wanted in taken or not free:
                with pytest.raises(NetlinkError):
                    handles.take(wanted or 0)
                continue
            if policy is HGEN and not wanted:
                hgen = min(free, key=lambda handle: (handle - hgen - 1) % last)
            expected = wanted or (hgen if policy is HGEN else free[0])
            assert handles.take(wanted) == expected
            taken.add(expected)
