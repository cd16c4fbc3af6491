"""Filters in hardware: what a driver is told, and what its refusals lead to."""

from __future__ import annotations

import errno
import logging

import pytest

from clsbpf.errors import NetlinkError
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.tc.filter import Classifier, Filter
from clsbpf.tc.offload import OffloadCommand, OffloadRequest, gen_flags_valid
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
    classifier.chain.block.drivers[0] = None
    new = classifier.change(returns(1), 1, old)
    assert (new.gen_flags, driver.commands) == (NOT_IN_HW, [ADD])
    assert classifier.delete(new)


# -- several devices: a shared block


def shared_lab(*drivers: Driver | None) -> tuple[Lab, Classifier]:
    """A shared block that devices 2, 3, … are bound to."""
    lab = Lab()
    lab.block.drivers = {}
    for ifindex, driver in enumerate(drivers, 2):
        lab.block.bind(ifindex, driver)
    return lab, lab.classifier()


def test_every_device_of_a_shared_block_is_told() -> None:
    first, second = Driver(), Driver()
    _, classifier = shared_lab(first, second)
    one = classifier.change(returns(0))
    assert (one.in_hw_count, one.gen_flags) == (2, IN_HW)
    two = classifier.change(returns(1), 1, one)
    classifier.offload.update_stats(two)
    classifier.delete(two)
    assert first.commands == second.commands == [ADD, REPLACE, STATS, DESTROY]


def test_one_device_refuses_and_the_filter_is_in_the_other() -> None:
    first, second = Driver(), Driver(refuses={ADD: errno.ENOSPC})
    _, classifier = shared_lab(first, second)
    one = classifier.change(returns(0))
    assert (one.in_hw_count, one.gen_flags, first.hardware, second.hardware) == (1, IN_HW, [one], [])
    second.refuses = {}
    two = classifier.change(returns(1), 1, one)
    assert (two.in_hw_count, first.commands, second.commands) == (2, [ADD, REPLACE], [ADD, ADD])


@by_profile
def test_skip_sw_is_in_all_devices_or_in_none(profile: KernelProfile) -> None:
    """What the first did is taken back when the second refuses, be it an add or a replacement."""
    lab = Lab(profile)
    first, second = Driver(), Driver()
    lab.block.drivers = {2: first, 3: second}
    classifier = lab.classifier()
    second.refuses = {ADD: errno.ENOSPC}
    with pytest.raises(NetlinkError) as caught:
        classifier.change(returns(0, flags_gen=SKIP_SW))
    assert (caught.value.errno, first.hardware, first.commands) == (errno.ENOSPC, [], [ADD, DESTROY])
    second.refuses = {}
    one = classifier.change(returns(0, flags_gen=SKIP_SW))
    second.refuses = {REPLACE: errno.EIO}
    with pytest.raises(NetlinkError) as caught:
        classifier.change(returns(1, flags_gen=SKIP_SW), one.handle, one)
    assert caught.value.errno == errno.EIO
    assert (first.hardware, second.hardware, list(classifier)) == ([one], [one], [one])


def test_skip_sw_needs_offload_on_every_device() -> None:
    driver = Driver()
    _, classifier = shared_lab(driver, None)
    with pytest.raises(NetlinkError) as caught:
        classifier.change(returns(0, flags_gen=SKIP_SW))
    assert (caught.value.errno, driver.told) == (errno.EOPNOTSUPP, [])
    assert classifier.change(returns(0)).in_hw_count == 1


def test_a_device_that_joins_is_told_of_what_is_there_and_forgets_it_when_it_leaves() -> None:
    first, late = Driver(), Driver()
    lab, classifier = shared_lab(first)
    soft = classifier.change(returns(0, flags_gen=SKIP_HW))
    hard = [classifier.change(returns(0)), classifier.change(returns(0, flags_gen=SKIP_SW))]
    lab.block.bind(9, late)
    assert (late.commands, {each.in_hw_count for each in hard}) == ([ADD, ADD], {2})
    assert soft.in_hw_count == 0
    lab.block.unbind(2)
    assert (first.hardware, [each.in_hw_count for each in hard]) == ([], [1, 1])
    lab.block.unbind(9)
    assert late.hardware == []
    assert [each.gen_flags for each in hard] == [NOT_IN_HW, SKIP_SW | NOT_IN_HW]


@pytest.mark.parametrize(
    ("driver", "said"),
    [(None, None), (Driver(on=False), "Bind to offloaded block failed as dev has offload disabled")],
)
def test_a_device_without_offload_cannot_join_filters_in_hardware(
    driver: Driver | None, said: str | None
) -> None:
    lab, classifier = shared_lab(Driver())
    mine = classifier.change(returns(0))
    with pytest.raises(NetlinkError) as caught:
        lab.block.bind(9, driver)
    assert (caught.value.errno, caught.value.extack) == (errno.EOPNOTSUPP, said)
    assert set(lab.block.drivers) == {2}
    classifier.delete(mine)
    lab.block.bind(9, driver)


def test_a_device_that_refuses_a_skip_sw_filter_does_not_join() -> None:
    lab, classifier = shared_lab(Driver())
    classifier.change(returns(0, flags_gen=SKIP_SW))
    classifier.change(returns(0))
    late = Driver(refuses={})
    setup_tc, calls = late.setup_tc, []

    def second_is_refused(request: OffloadRequest) -> int:
        calls.append(request.command)
        return errno.ENOSPC if request.filter.skip_sw and request.command is ADD else setup_tc(request)

    late.setup_tc = second_is_refused  # type: ignore[method-assign]
    with pytest.raises(NetlinkError) as caught:
        lab.block.bind(9, late)
    assert (caught.value.errno, calls, late.hardware) == (errno.ENOSPC, [ADD, ADD, DESTROY], [])
    assert set(lab.block.drivers) == {2}


# -- drivers with mistakes


@pytest.mark.parametrize(
    ("raised", "number"), [(NetlinkError(errno.ENOSPC), errno.ENOSPC), (ZeroDivisionError(), errno.EIO)]
)
def test_a_driver_that_raises_has_refused(
    raised: Exception, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(Driver):
        def setup_tc(self, request: OffloadRequest) -> int:
            raise raised

    classifier = lab_with(Raising())
    tolerated = classifier.change(returns(0))
    assert tolerated.gen_flags == NOT_IN_HW
    with pytest.raises(NetlinkError) as caught:
        classifier.change(returns(0, flags_gen=SKIP_SW))
    assert (caught.value.errno, list(classifier)) == (number, [tolerated])
    assert bool(caplog.records) == isinstance(raised, ZeroDivisionError), "a mistake is logged"
