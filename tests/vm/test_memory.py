"""Regions may lie one directly behind the other: an address where one ends is the next one's first."""

from __future__ import annotations

from clsbpf.vm.memory import Memory, Region

FRAME = Region("stack", 1000, 512, from_end=True)
PACKET = Region("packet", 5000, 60)
BEHIND_THE_STACK = Region("value", 1512, 8)
BEHIND_THAT = Region("other value", 1520, 8)


def test_what_an_address_is_in() -> None:
    memory = Memory(FRAME, PACKET)
    assert memory.find(1512) is FRAME
    memory.add(BEHIND_THE_STACK)
    memory.add(BEHIND_THAT)
    assert memory.find(1511) is FRAME
    assert memory.find(1512) is BEHIND_THE_STACK
    assert memory.find(1520) is BEHIND_THAT
    assert memory.find(1528) is BEHIND_THAT
    assert memory.find(1529) is None
    assert memory.refusal(1512, 8, 0, write=True) is None
    assert memory.refusal(1511, 8, 0, write=True) is not None
