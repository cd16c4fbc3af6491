"""Filters in hardware: what a driver is told, and what its refusals lead to."""

from __future__ import annotations

import errno
import logging

import pytest

from clsbpf.errors import NetlinkError
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.tc.filter import Classifier, Filter
from clsbpf.tc.offload import OffloadCommand, gen_flags_valid
from tc_fakes import PROFILES, Driver, Lab, returns

ADD, REPLACE, DESTROY, STATS = OffloadCommand
SKIP_HW, SKIP_SW, IN_HW, NOT_IN_HW = 1, 2, 4, 8
by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


def lab_with(driver: Driver | None, profile: KernelProfile = CURRENT) -> Classifier:
    return Lab(profile, driver=driver).classifier(prio=7, protocol=0x0800, chain=3)


@pytest.mark.parametrize(
    ("flags", "valid"),
    [(0, True), (1, True), (2, True), (3, False), (4, False), (8, False), (16, False), (17, False)],
)
def test_which_flags_may_be_asked_for(flags: int, valid: bool) -> None:
    assert gen_flags_valid(flags) is valid


@by_profile
def test_a_life_in_hardware(profile: KernelProfile) -> None:
    driver = Driver()
    classifier = lab_with(driver, profile)
    one = classifier.change(returns(0, classid=5))
    assert one.gen_flags == IN_HW
    two = classifier.change(returns(1), 1, one)
    classifier.offload.update_stats(two)
    assert classifier.delete(two)
    assert driver.hardware == []
    assert [(each.command, each.filter, each.old) for each in driver.told] == [
        (ADD, one, None),
        (REPLACE, two, one),
        (STATS, two, None),
        (DESTROY, two, None),
    ]
    assert {(each.chain, each.prio, each.protocol) for each in driver.told} == {(3, 7, 0x0800)}


@by_profile
def test_destroy_takes_all_out(profile: KernelProfile) -> None:
    driver = Driver()
    classifier = lab_with(driver, profile)
    for _ in range(3):
        classifier.change(returns(0))
    assert len(driver.hardware) == 3
    classifier.destroy()
    assert (driver.hardware, driver.commands[3:]) == ([], [DESTROY] * 3)


@by_profile
def test_skip_hw_never_meets_the_driver(profile: KernelProfile) -> None:
    driver = Driver()
    classifier = lab_with(driver, profile)
    mine = classifier.change(returns(0, flags_gen=SKIP_HW))
    classifier.offload.update_stats(mine)
    classifier.delete(mine)
    assert (mine.gen_flags, driver.told) == (SKIP_HW | NOT_IN_HW, [])


@pytest.mark.parametrize(("profile", "number"), [(CURRENT, errno.EOPNOTSUPP), (V4_13, errno.EINVAL)])
@pytest.mark.parametrize("driver", [None, Driver(on=False)], ids=["no driver", "switched off"])
def test_skip_sw_without_hardware(profile: KernelProfile, number: int, driver: Driver | None) -> None:
    classifier = lab_with(driver, profile)
    with pytest.raises(NetlinkError, match="no device here offloads") as caught:
        classifier.change(returns(0, flags_gen=SKIP_SW))
    assert (caught.value.errno, caught.value.extack) == (number, None)
    assert len(classifier) == 0
    assert classifier.change(returns(0)).gen_flags == NOT_IN_HW


@by_profile
def test_a_refused_add(profile: KernelProfile) -> None:
    driver = Driver(refuses={ADD: errno.EIO})
    classifier = lab_with(driver, profile)
    tolerated = classifier.change(returns(0))
    assert tolerated.gen_flags == NOT_IN_HW
    with pytest.raises(NetlinkError, match="refused to add") as caught:
        classifier.change(returns(0, flags_gen=SKIP_SW))
    assert caught.value.errno == errno.EIO
    assert list(classifier) == [tolerated]
    classifier.offload.update_stats(tolerated)
    classifier.delete(tolerated)
    assert driver.commands == [ADD, ADD], "what is not in hardware is not taken out"


@by_profile
def test_a_refused_replace_is_tolerated_and_the_hardware_keeps_the_old(profile: KernelProfile) -> None:
    driver = Driver()
    classifier = lab_with(driver, profile)
    one = classifier.change(returns(0))
    driver.refuses = {REPLACE: errno.EIO}
    two = classifier.change(returns(1), 1, one)
    assert (list(classifier), two.gen_flags, driver.hardware) == ([two], NOT_IN_HW, [one])
    classifier.offload.update_stats(two)
    three = classifier.change(returns(2), 1, two)
    assert (three.gen_flags, driver.hardware) == (NOT_IN_HW, [one])
    driver.refuses = {}
    four = classifier.change(returns(3), 1, three)
    assert (four.gen_flags, driver.hardware) == (IN_HW, [four])
    assert driver.commands == [ADD, REPLACE, REPLACE, REPLACE]


@by_profile
def test_what_the_hardware_kept_ends_with_the_filter_in_its_place(profile: KernelProfile) -> None:
    driver = Driver()
    classifier = lab_with(driver, profile)
    one = classifier.change(returns(0))
    driver.refuses = {REPLACE: errno.EIO}
    classifier.delete(classifier.change(returns(1), 1, one))
    assert driver.hardware == []


@by_profile
def test_a_refused_replace_matters_under_skip_sw(profile: KernelProfile) -> None:
    driver = Driver()
    classifier = lab_with(driver, profile)
    one = classifier.change(returns(0, flags_gen=SKIP_SW))
    assert one.gen_flags == SKIP_SW | IN_HW
    driver.refuses = {REPLACE: errno.ENOSPC}
    with pytest.raises(NetlinkError, match="refused to replace") as caught:
        classifier.change(returns(1, flags_gen=SKIP_SW), 1, one)
    assert caught.value.errno == errno.ENOSPC
    assert (list(classifier), driver.hardware, one.gen_flags) == ([one], [one], SKIP_SW | IN_HW)
    driver.refuses = {}
    two = classifier.change(returns(1, flags_gen=SKIP_SW), 1, one)
    assert driver.hardware == [two]


# Flags that a replacement changes: (old, new), and for 4.13 what the driver is told and the flags after it.
CHANGES = [
    (0, SKIP_HW, [ADD, DESTROY], SKIP_HW | NOT_IN_HW),
    (SKIP_HW, 0, [ADD], IN_HW),
    (SKIP_SW, SKIP_HW, [ADD, DESTROY], SKIP_HW | NOT_IN_HW),
    (SKIP_HW, SKIP_SW, [ADD], SKIP_SW | IN_HW),
    (0, SKIP_SW, [ADD, REPLACE], SKIP_SW | IN_HW),
    (SKIP_SW, 0, [ADD, REPLACE], IN_HW),
]


@pytest.mark.parametrize(("before", "after", "told", "flags"), CHANGES)
def test_4_13_lets_a_replacement_enter_and_leave_the_hardware(
    before: int, after: int, told: list[OffloadCommand], flags: int
) -> None:
    driver = Driver()
    classifier = lab_with(driver, V4_13)
    new = classifier.change(returns(1, flags_gen=after), 1, classifier.change(returns(0, flags_gen=before)))
    assert (driver.commands, new.gen_flags) == (told, flags)
    assert driver.hardware == ([new] if flags & IN_HW else [])
    classifier.delete(new)
    assert driver.hardware == []


@pytest.mark.parametrize(("before", "after"), [case[:2] for case in CHANGES])
def test_current_does_not(before: int, after: int) -> None:
    driver = Driver()
    classifier = lab_with(driver)
    old = classifier.change(returns(0, flags_gen=before))
    hardware, told = list(driver.hardware), len(driver.told)
    with pytest.raises(NetlinkError, match="cannot change skip_hw or skip_sw") as caught:
        classifier.change(returns(1, flags_gen=after), 1, old)
    assert caught.value.errno == errno.EINVAL
    assert (list(classifier), driver.hardware, len(driver.told)) == ([old], hardware, told)


def test_4_13_a_refused_way_out() -> None:
    """A refused DESTROY is tolerated unless a skip_sw filter is part of it; later ones try again."""
    driver = Driver()
    classifier = lab_with(driver, V4_13)
    one = classifier.change(returns(0))
    driver.refuses = {DESTROY: errno.EBUSY}
    two = classifier.change(returns(1, flags_gen=SKIP_HW), 1, one)
    assert (two.gen_flags, driver.hardware) == (SKIP_HW | NOT_IN_HW, [one])
    driver.refuses = {}
    three = classifier.change(returns(1, flags_gen=SKIP_HW), 1, two)
    assert (list(classifier), driver.hardware) == ([three], [])

    four = classifier.change(returns(0, flags_gen=SKIP_SW))
    driver.refuses = {DESTROY: errno.EBUSY}
    with pytest.raises(NetlinkError, match="refused to destroy"):
        classifier.change(returns(1, flags_gen=SKIP_HW), four.handle, four)
    assert (list(classifier), driver.hardware) == ([four, three], [four])


@pytest.mark.parametrize(
    ("profile", "number"), [(CURRENT, errno.EOPNOTSUPP), (V4_13, errno.EINVAL)], ids=["current", "4.13"]
)
def test_a_device_that_switched_offload_off(profile: KernelProfile, number: int) -> None:
    driver = Driver()
    classifier = lab_with(driver, profile)
    soft = classifier.change(returns(0))
    hard = classifier.change(returns(0, flags_gen=SKIP_SW))
    driver.on = False
    with pytest.raises(NetlinkError) as caught:
        classifier.change(returns(1, flags_gen=SKIP_SW), hard.handle, hard)
    assert (caught.value.errno, driver.hardware) == (number, [soft, hard])
    soft = classifier.change(returns(1), soft.handle, soft)
    assert (soft.gen_flags, driver.hardware) == (NOT_IN_HW, [hard])


@by_profile
def test_a_driver_that_refuses_the_stop_does_not_keep_the_filter(
    profile: KernelProfile, caplog: pytest.LogCaptureFixture
) -> None:
    driver = Driver(refuses={DESTROY: errno.EBUSY})
    classifier = lab_with(driver, profile)
    filters: list[Filter] = [classifier.change(returns(value)) for value in range(2)]
    with caplog.at_level(logging.ERROR):
        assert classifier.delete(filters[0]) is False
        classifier.destroy()
    assert list(classifier) == []
    assert [record.getMessage() for record in caplog.records] == [
        "Stopping hardware offload failed: EBUSY"
    ] * 2


def test_the_place_follows_a_replacement_to_its_new_handle() -> None:
    driver = Driver()
    classifier = lab_with(driver)
    old = classifier.change(returns(0), 9)
    new = classifier.change(returns(1), 0, old)
    assert (new.handle, driver.commands, driver.hardware) == (1, [ADD, REPLACE], [new])
    classifier.delete(new)
    assert driver.hardware == []


def test_a_driver_that_is_gone() -> None:
    driver = Driver()
    classifier = lab_with(driver)
    old = classifier.change(returns(0))
    classifier.chain.block.driver = None
    new = classifier.change(returns(1), 1, old)
    assert (new.gen_flags, driver.commands) == (NOT_IN_HW, [ADD])
    assert classifier.delete(new)
