"""Long random sequences of requests of all kinds, valid, invalid and damaged: both ends stay equal.

See `netlink_storm`, which also runs by hand for as long as one likes.
"""

from __future__ import annotations

import pytest

from netlink_storm import storm


@pytest.mark.parametrize("seed", range(100, 103))
def test_both_ends_answer_tell_and_show_the_same(seed: int) -> None:
    """Answers and notifications are equal after each request, dumps of everything now and then, and what
    was refused has changed nothing."""
    with storm(seed) as each:
        for n in range(600):
            each.step(check_unchanged=n % 5 == 0)
            if n % 30 == 29:
                each.compare_all()
        assert each.accepted > 100
        assert each.refused > 100
