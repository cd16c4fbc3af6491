"""What may a program ask of the world around it?

Random numbers, the time, the processor it runs on.  A run has one environment, in native memory so
that helper bodies read it as they read the packet.  Offline it is reproducible: the generator is
seeded, the time is the capture's.
"""

from __future__ import annotations

import ctypes
import enum


class NativeEnvironment(ctypes.Structure):
    """The environment in memory; `EnvironmentAt` has its offsets."""

    _fields_ = (
        ("random", ctypes.c_uint64),
        ("cpu", ctypes.c_uint64),
        ("ktime_ns", ctypes.c_uint64),
    )


class EnvironmentAt(enum.IntEnum):
    """Byte offsets in NativeEnvironment, all u64."""

    RANDOM = 0
    """The state of the random generator (SplitMix64)."""
    CPU = 8
    KTIME_NS = 16


class Environment:
    """A run's random numbers (seeded), processor number and clock (nanoseconds)."""

    def __init__(self, *, seed: int = 0, cpu: int = 0, ktime_ns: int = 0) -> None:
        self.native = NativeEnvironment(seed & 0xFFFFFFFFFFFFFFFF, cpu, ktime_ns)

    @property
    def address(self) -> int:
        """The address of the NativeEnvironment, good while this object lives."""
        return ctypes.addressof(self.native)
