"""What does a program learn of time, chance and the processor?  Numbers of the NativeEnvironment.

Offline the clock is the capture's: CLOCK_MONOTONIC is what whoever runs the packets sets, and the other
clocks are that plus an offset.
"""

from __future__ import annotations

from collections.abc import Callable

from ..environment import EnvironmentAt
from ..subset import copy, fill, load_i64, load_u8, native, shift_right, store_i64, store_u8, udiv, wrap

SPLITMIX_STEP = 0x9E3779B97F4A7C15
SPLITMIX_A = 0xBF58476D1CE4E5B9
SPLITMIX_B = 0x94D049BB133111EB

COMM_LEN = 16
NSEC_PER_TICK = 1_000_000_000 // 250
"""One jiffy of a kernel with CONFIG_HZ=250."""
COARSE_NSEC = NSEC_PER_TICK
FIRST_JIFFIES = (1 << 32) - 300 * 250
"""INITIAL_JIFFIES of jiffies_64: five minutes before the low half wraps."""


@native
def get_prandom_u32(machine: int) -> int:
    """bpf_get_prandom_u32: the upper half of SplitMix64's next number."""
    state = machine + EnvironmentAt.RANDOM
    z = wrap(load_i64(state) + SPLITMIX_STEP)
    store_i64(state, z)
    z = wrap((z ^ shift_right(z, 30)) * SPLITMIX_A)
    z = wrap((z ^ shift_right(z, 27)) * SPLITMIX_B)
    return shift_right(z ^ shift_right(z, 31), 32)


@native
def get_smp_processor_id(machine: int) -> int:
    """bpf_get_smp_processor_id."""
    return load_i64(machine + EnvironmentAt.CPU)


@native
def get_numa_node_id(machine: int) -> int:
    """bpf_get_numa_node_id."""
    return load_i64(machine + EnvironmentAt.NUMA_NODE)


@native
def ktime_get_ns(machine: int) -> int:
    """bpf_ktime_get_ns: CLOCK_MONOTONIC."""
    return load_i64(machine + EnvironmentAt.KTIME_NS)


@native
def ktime_get_boot_ns(machine: int) -> int:
    """bpf_ktime_get_boot_ns: CLOCK_BOOTTIME."""
    return load_i64(machine + EnvironmentAt.KTIME_NS) + load_i64(machine + EnvironmentAt.BOOT_OFFSET_NS)


@native
def ktime_get_tai_ns(machine: int) -> int:
    """bpf_ktime_get_tai_ns: CLOCK_TAI."""
    return load_i64(machine + EnvironmentAt.KTIME_NS) + load_i64(machine + EnvironmentAt.TAI_OFFSET_NS)


@native
def ktime_get_coarse_ns(machine: int) -> int:
    """bpf_ktime_get_coarse_ns: CLOCK_MONOTONIC_COARSE, which moves with each tick."""
    now = load_i64(machine + EnvironmentAt.KTIME_NS)
    return udiv(now, COARSE_NSEC) * COARSE_NSEC


@native
def jiffies64(machine: int) -> int:
    """bpf_jiffies64: ticks since the machine started, and where the kernel begins to count."""
    return FIRST_JIFFIES + udiv(load_i64(machine + EnvironmentAt.KTIME_NS), NSEC_PER_TICK)


@native
def get_current_pid_tgid(machine: int) -> int:
    """bpf_get_current_pid_tgid: the task that happens to run; 0 while the processor is idle."""
    return load_i64(machine + EnvironmentAt.PID_TGID)


@native
def get_current_uid_gid(machine: int) -> int:
    """bpf_get_current_uid_gid."""
    return load_i64(machine + EnvironmentAt.UID_GID)


@native
def get_current_comm(machine: int, to: int, size: int) -> int:
    """bpf_get_current_comm: strscpy_pad of the task's name."""
    fill(to, 0, size)
    copy(to, machine + EnvironmentAt.COMM, size if size < COMM_LEN else COMM_LEN)
    if load_u8(to + size - 1):
        store_u8(to + size - 1, 0)
    return 0


BODIES: dict[str, Callable[..., int]] = {
    "get_prandom_u32": get_prandom_u32,
    "get_smp_processor_id": get_smp_processor_id,
    "get_numa_node_id": get_numa_node_id,
    "ktime_get_ns": ktime_get_ns,
    "ktime_get_boot_ns": ktime_get_boot_ns,
    "ktime_get_tai_ns": ktime_get_tai_ns,
    "ktime_get_coarse_ns": ktime_get_coarse_ns,
    "jiffies64": jiffies64,
    "get_current_pid_tgid": get_current_pid_tgid,
    "get_current_uid_gid": get_current_uid_gid,
    "get_current_comm": get_current_comm,
}
