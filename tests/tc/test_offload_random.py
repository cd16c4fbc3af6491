"""Random lives of filters with drivers that refuse now and then: what filters say of hardware is true."""

from __future__ import annotations

import random
from errno import EIO, ENOSPC

import pytest

from clsbpf.errors import NetlinkError
from clsbpf.profile import KernelProfile
from clsbpf.tc.filter import Classifier
from clsbpf.tc.offload import OffloadCommand
from tc_fakes import PROFILES, Driver, Lab, returns

IN_HW, NOT_IN_HW, SKIP_HW, SKIP_SW = 4, 8, 1, 2


class World:
    """A shared block with some devices, each with a driver or none."""

    def __init__(self, profile: KernelProfile, seed: int, log: pytest.LogCaptureFixture) -> None:
        self.log = log
        """Has records once a driver refused to undo: it breaks its word, and what follows is its fault."""
        self.rng = random.Random(seed)
        self.lab = Lab(profile)
        self.lab.block.drivers = {}
        self.drivers: dict[int, Driver] = {}
        self.classifiers = [self.lab.classifier(prio) for prio in (1, 2)]
        self.join()

    def moods(self) -> None:
        """Each driver refuses something or nothing, and never to let go."""
        for driver in self.drivers.values():
            commands = [OffloadCommand.ADD, OffloadCommand.REPLACE]
            driver.refuses = {each: self.rng.choice([EIO, ENOSPC]) for each in commands if self.chance(0.15)}

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def join(self) -> None:
        if len(self.drivers) == 4:
            return
        port = self.rng.choice([each for each in range(2, 9) if each not in self.drivers])
        driver = Driver()
        self.drivers[port] = driver
        self.moods()
        try:
            self.lab.block.bind(port, driver)
        except NetlinkError:
            assert driver.hardware == [], "who does not join holds nothing"
            del self.drivers[port]

    def leave(self) -> None:
        if len(self.drivers) > 1:
            port = self.rng.choice(list(self.drivers))
            self.lab.block.unbind(port)
            assert self.drivers.pop(port).hardware == []

    def change(self) -> None:
        classifier = self.rng.choice(self.classifiers)
        options = returns(self.rng.randrange(9), flags_gen=self.rng.choice([0, 0, SKIP_HW, SKIP_SW]))
        old = self.rng.choice(classifier.filters) if classifier.filters and self.chance(0.6) else None
        before = self.state()
        self.moods()
        try:
            classifier.change(options, old.handle if old is not None else 0, old)
        except NetlinkError:
            if not self.log.records:
                assert self.state() == before

    def delete(self) -> None:
        classifier: Classifier = self.rng.choice(self.classifiers)
        if classifier.filters:
            classifier.delete(self.rng.choice(classifier.filters))

    def state(self) -> object:
        return (
            [classifier.filters for classifier in self.classifiers],
            {port: list(driver.hardware) for port, driver in self.drivers.items()},
        )

    def check(self) -> None:
        for each in (each for classifier in self.classifiers for each in classifier):
            places = sum(each in driver.hardware for driver in self.drivers.values())
            assert each.in_hw_count == places
            assert each.gen_flags & (IN_HW | NOT_IN_HW) == (IN_HW if places else NOT_IN_HW)
            assert not (each.skip_hw and places)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("seed", range(6))
def test_what_filters_say_of_hardware_is_true(
    profile: KernelProfile, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Counts and flags are what drivers hold; what is refused changes nothing; in the end nothing is left."""
    world = World(profile, seed, caplog)
    steps = [world.change] * 6 + [world.delete] * 2 + [world.join, world.leave]
    for _ in range(300):
        world.rng.choice(steps)()
        if caplog.records:
            return
        world.check()
    for classifier in world.classifiers:
        classifier.destroy()
    assert all(driver.hardware == [] for driver in world.drivers.values())
