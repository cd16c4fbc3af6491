# ruff: noqa: E501 - one program a line
"""What a release has: a program is refused before it, and accepted from it on."""

from __future__ import annotations

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import SCHED_CLS, SOCKET_FILTER, MapSpec, ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.profile import PROFILES
from clsbpf.verifier.rules import RELEASES
from clsbpf.verifier.verify import verify

MAPS = {
    0: MapSpec("array", MapType.ARRAY, 4, 8, 1),
    1: MapSpec("queue", MapType.QUEUE, 0, 8, 4),
    2: MapSpec("ring", MapType.RINGBUF, 0, 0, 4096),
    3: MapSpec("bloom", MapType.BLOOM_FILTER, 0, 8, 4),
    4: MapSpec("storage", MapType.SK_STORAGE, 4, 8, 0, flags=1),
    5: MapSpec("progs", MapType.PROG_ARRAY, 4, 4, 4),
}
END = "r0 = 0\nexit\n"
LOOKUP = "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[fd:0]\ncall 1\n"
CASES: list[tuple[str, str | None, str, str]] = [
    # what, the first of our releases that has it (None: only a current one), of which type, the program
    ("nothing new", "4.13", SCHED_CLS, END),
    ("skb_change_head", "5.15", SCHED_CLS, f"r2 = 8\nr3 = 0\ncall 43\n{END}"),
    ("skb_load_bytes_relative", "4.19", SCHED_CLS, f"r2 = 0\nr3 = r10\nr3 += -8\nr4 = 8\nr5 = 0\ncall 68\n{END}"),
    ("skb_ecn_set_ce", "5.4", SCHED_CLS, f"call 97\n{END}"),
    ("jiffies64", "5.15", SCHED_CLS, f"call 118\n{END}"),
    ("skb_set_tstamp", "6.1", SCHED_CLS, f"r2 = 0\nr3 = 0\ncall 192\n{END}"),
    ("ktime_get_tai_ns", "6.1", SCHED_CLS, f"call 208\n{END}"),
    ("get_current_cgroup_id", "6.12", SCHED_CLS, f"call 80\n{END}"),
    ("get_current_uid_gid", None, SCHED_CLS, f"call 15\n{END}"),
    ("get_netns_cookie", None, SCHED_CLS, f"r1 = 0\ncall 122\n{END}"),
    ("get_socket_uid of a socket filter", "4.13", SOCKET_FILTER, f"call 47\n{END}"),
    ("get_cgroup_classid of a socket filter", None, SOCKET_FILTER, f"call 17\n{END}"),
    ("tstamp", "5.4", SCHED_CLS, "r0 = *(u64 *)(r1 +152)\nexit"),
    ("gso_size", "5.15", SCHED_CLS, "r0 = *(u32 *)(r1 +176)\nexit"),
    ("tstamp_type", "6.1", SCHED_CLS, "r0 = *(u8 *)(r1 +180)\nexit"),
    ("a queue", "5.4", SCHED_CLS, f"r1 = map[fd:1]\nr2 = r10\nr2 += -8\ncall 89\n{END}"),
    ("a ring buffer", "5.15", SCHED_CLS, f"r1 = map[fd:2]\nr2 = 0\ncall 134\n{END}"),
    ("a Bloom filter", "6.1", SCHED_CLS, f"*(u64 *)(r10 -8) = 0\nr1 = map[fd:3]\nr2 = r10\nr2 += -8\ncall 89\n{END}"),
    ("a socket storage", "5.4", SCHED_CLS, f"r1 = map[fd:4]\n{END}"),
    ("if less", "4.19", SCHED_CLS, f"r2 = 1\nif r2 < 2 goto +0\n{END}"),
    ("functions", "4.19", SCHED_CLS, f"call f\n{END}f:\n{END}"),
    ("a loop", "5.4", SCHED_CLS, f"r2 = 0\nl:\nr2 += 1\nif r2 != 4 goto l\n{END}"),
    ("32-bit jumps", "5.4", SCHED_CLS, f"r2 = 1\nif w2 == 2 goto +0\n{END}"),
    ("addresses of values", "5.4", SCHED_CLS, f"r2 = map[fd:0][0]+0\n{END}"),
    ("a program of 5000 instructions", "5.4", SCHED_CLS, "r0 = 0\n" * 5000 + "exit"),
    ("functions and a packet load", "5.15", SCHED_CLS, f"r6 = r1\nr0 = *(u8 *)skb[0]\ncall f\n{END}f:\n{END}"),
    ("functions and a tail call", "5.15", SCHED_CLS, f"r2 = map[fd:5]\nr3 = 0\ncall 12\ncall f\n{END}f:\n{END}"),
    ("atomic exchange", "5.15", SCHED_CLS, f"*(u64 *)(r10 -8) = 0\nr1 = 1\nr1 = xchg_64(r10 -8, r1)\n{END}"),
    ("signed division", "6.12", SCHED_CLS, f"r2 = 4\nr2 s/= -2\n{END}"),
    ("may_goto", "6.12", SCHED_CLS, f"may_goto +0\n{END}"),
    ("load-acquire", None, SCHED_CLS, f"*(u64 *)(r10 -8) = 0\nr1 = load_acquire((u64 *)(r10 -8))\n{END}"),
    ("a lookup that surely finds", None, SCHED_CLS, f"{LOOKUP}r0 = *(u64 *)(r0 +0)\nexit"),
    ("a lookup that is compared with 0", "4.13", SCHED_CLS, f"{LOOKUP}if r0 == 0 goto +1\nr0 = *(u64 *)(r0 +0)\n{END}"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "since", "type", "text"), CASES, ids=[case[0] for case in CASES])
def test_before_it_is_refused_and_since_then_accepted(
    what: str, since: str | None, type: str, text: str
) -> None:
    insns = tuple(assemble(text))
    first = RELEASES[since] if since is not None else (99, 0)
    for name, profile in PROFILES.items():
        spec = ProgramSpec(what, type, insns, license="GPL", maps=MAPS)
        if RELEASES.get(name, (99, 0)) >= first:
            verify(spec, profile=profile)
            continue
        with pytest.raises(VerifierError) as caught:
            verify(spec, profile=profile)
        assert caught.value.report is not None
        assert caught.value.report.reason
