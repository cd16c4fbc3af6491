"""Random calls of helpers: programs that show all that a call did, and packets for them.

A program calls a few helpers, one after the other.  After each it folds r0, and the buffer on its stack
that a helper may have filled, into a number that it keeps; at the end it writes the number and what it
sees of the packet into cb, which BPF_PROG_TEST_RUN gives back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.insn import Insn

BUFFER = 64
"""Bytes at r10 - 64, random to begin with."""

Argument = int | str
"""A number; "ctx"; "buffer", or "buffer+8"."""


@dataclass(frozen=True, slots=True)
class Call:
    """A helper by name, and r1, r2, …"""

    helper: str
    arguments: tuple[Argument, ...]


def number(value: int) -> str:
    return f"{value & 0xFFFFFFFFFFFFFFFF:#x} ll"


def argument(register: int, value: Argument) -> list[str]:
    if value == "ctx":
        return [f"r{register} = r6"]
    if value == "zeros":
        return [f"r{register} = r10", f"r{register} += -72", f"*(u64 *)(r{register} + 0) = 0"]
    if value == "number":
        value = "buffer"
    if isinstance(value, str):
        offset = int(value.partition("+")[2] or 0)
        return [f"r{register} = r10", f"r{register} += {offset - BUFFER}"]
    return [f"r{register} = {number(value)}"]


FOLD = [
    "r7 *= 31",
    "r7 += r0",
    *(
        line
        for at in range(0, BUFFER, 8)
        for line in ("r7 *= 31", f"r1 = *(u64 *)(r10 - {BUFFER - at})", "r7 += r1")
    ),
]

SHOW = [
    "*(u32 *)(r6 + 48) = r7",
    "r7 >>= 32",
    "*(u32 *)(r6 + 52) = r7",
    *("r1 = *(u32 *)(r6 + 0)", "r2 = *(u32 *)(r6 + 16)", "r2 <<= 16", "r1 += r2", "*(u32 *)(r6 + 56) = r1"),
    *("r1 = *(u32 *)(r6 + 20)", "r1 <<= 16", "r2 = *(u32 *)(r6 + 24)", "r1 += r2", "r2 = *(u32 *)(r6 + 28)"),
    *("if r1 == 0 goto +2", "r2 <<= 17", "r1 ^= r2"),
    *(
        "r2 = *(u32 *)(r6 + 4)",
        "r2 <<= 12",
        "r1 ^= r2",
        "r2 = *(u32 *)(r6 + 176)",
        "r1 ^= r2",
        "*(u32 *)(r6 + 60) = r1",
    ),
    *("r1 = r6", "r2 = 0", "r3 = r10", "r3 += -8", "r4 = 4", "r5 = 1", "*(u64 *)(r10 - 8) = 0"),
    *("call bpf_skb_load_bytes_relative", "r1 = *(u64 *)(r10 - 8)", "*(u32 *)(r6 + 64) = r1"),
    *("r0 = r8", "exit"),
]


def program(random: Random, calls: Sequence[Call]) -> tuple[Insn, ...]:
    """The calls, what they did in cb, and the last one's result in r0."""
    lines = ["r6 = r1", "r7 = 0", "r8 = 0"]
    content = random.randbytes(BUFFER)
    if any("number" in call.arguments for call in calls):
        text = random.choice(TEXTS) + random.choice((b"", b"\0", b" "))
        content = text.ljust(32, random.choice((b"\0", b" ", b"1"))) + content[32:]
    words = [int.from_bytes(content[at : at + 8], "little") for at in range(0, BUFFER, 8)]
    for at in range(0, BUFFER, 8):
        lines += [f"r1 = {number(words[at // 8])}", f"*(u64 *)(r10 - {BUFFER - at}) = r1"]
    for call in calls:
        for register, value in enumerate(call.arguments, 1):
            lines += argument(register, value)
        lines += [f"call bpf_{call.helper}", "r8 = r0", *FOLD]
    return assemble("\n".join(lines + SHOW))


ETHER_TYPES = (0x0800, 0x0800, 0x86DD, 0x86DD, 0x8100, 0x88A8, 0x0806, 0x9100, 0x0042)


def packet(random: Random) -> bytes:
    """A frame of some kind; behind the types, random bytes."""
    head = random.randbytes(12)
    kind = random.choice(ETHER_TYPES)
    tags = b""
    while kind in (0x8100, 0x88A8) and len(tags) < 12:
        tags += kind.to_bytes(2, "big") + random.randbytes(2)
        kind = random.choice(ETHER_TYPES)
    body = random.randbytes(random.choice((4, 20, 30, 46, 60, 200, 1000)))
    if kind in (0x0800, 0x86DD) and len(body) < 40:  # TEST_RUN refuses headers that are cut
        body += random.randbytes(40)
    if kind == 0x0800:
        body = b"\x45" + body[1:]
    elif kind == 0x86DD:
        body = b"\x60" + body[1:]
    return head + tags + kind.to_bytes(2, "big") + body


Make = Callable[[Random], Call]


def pick(*choices: int) -> Callable[[Random], int]:
    return lambda random: random.choice(choices)


def offset(random: Random) -> int:
    return random.choice(
        (0, 1, 2, 12, 14, 16, 18, 24, 34, 50, 60, 100, 0xFFFF, 0x10000, 0x80000000, random.randrange(80))
    )


def flags(random: Random, *bits: int) -> int:
    value = 0
    for bit in bits:
        if random.random() < 0.4:
            value |= bit
    if random.random() < 0.05:
        value |= 1 << random.randrange(64)
    return value


def size(random: Random) -> int:
    return random.choice((1, 2, 4, 6, 8, 16, 20, 40, BUFFER))


def field_change(random: Random) -> tuple[int, int, int]:
    """Old value, new value, flags with the size."""
    kind = random.choice((0, 2, 4, 4, 2, 3))
    old = 0 if kind == 0 and random.random() < 0.9 else random.getrandbits(random.choice((8, 16, 32, 64)))
    return old, random.choice((0, 0xFFFF, random.getrandbits(random.choice((16, 32, 64))))), kind


def l3(random: Random) -> Call:
    old, new, kind = field_change(random)
    return Call("l3_csum_replace", ("ctx", offset(random), old, new, kind | flags(random)))


def l4(random: Random) -> Call:
    old, new, kind = field_change(random)
    return Call("l4_csum_replace", ("ctx", offset(random), old, new, kind | flags(random, 16, 32, 64, 128)))


def csum_diff(random: Random) -> Call:
    first, second = (random.choice((0, 4, 8, 12, 20, 3, 7, 32)) for _ in range(2))
    return Call(
        "csum_diff",
        ("buffer", first, "buffer+8", second, random.choice((0, 0xFFFFFFFF, random.getrandbits(32)))),
    )


def adjust_room(random: Random) -> Call:
    difference = random.choice(
        (0, 4, 8, 20, 28, 40, 50, -4, -8, -20, -28, 0xFFF, 0x1000, -0x1000, 14, 22, 36)
    )
    bits = flags(random, 1, 2, 4, 8, 16, 32, 64, *((128, 256) if difference < 0 else ()))
    if random.random() < 0.3:
        bits |= random.choice((4, 8, 14, 18)) << 56
    return Call("skb_adjust_room", ("ctx", difference, random.choice((0, 1, 1, 0, 2)), bits))


def tunnel_key(random: Random, helper: str) -> Call:
    known = (8, 22, 24, 28, 44, 44, 44, 12, 4)
    bits = flags(random, 1, 16) if helper == "skb_get_tunnel_key" else flags(random, 1, 2, 4, 8, 16)
    return Call(helper, ("ctx", "buffer", random.choice(known), bits))


TEXTS = (
    *(b"0", b"-1", b" 42 ", b"0x1f", b"0X1fg", b"017", b"08", b"-", b"", b" ", b"9223372036854775807", b"+1"),
    *(b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809", b"18446744073709551615"),
    *(
        b"18446744073709551616",
        b"0x",
        b"0xg",
        b"-0x10",
        b"\t\n 7",
        b"\xa05",
        b"12ab",
        b"ffff",
        b"00000000000012",
    ),
)


def number_text(random: Random) -> tuple[int, int, Argument]:
    """The size of the text, the base, where the number goes.  The text itself is what "number" puts down."""
    return random.choice((1, 2, 8, 24, 32)), random.choice((0, 0, 8, 10, 16, 2, 32)), "buffer+56"


MAKERS: dict[str, Make] = {
    "skb_load_bytes": lambda r: Call("skb_load_bytes", ("ctx", offset(r), "buffer", size(r))),
    "skb_load_bytes_relative": lambda r: Call(
        "skb_load_bytes_relative", ("ctx", offset(r), "buffer", size(r), r.choice((0, 1, 1, 2)))
    ),
    "skb_store_bytes": lambda r: Call(
        "skb_store_bytes", ("ctx", offset(r), "buffer", size(r), flags(r, 1, 2))
    ),
    "skb_pull_data": lambda r: Call("skb_pull_data", ("ctx", offset(r))),
    "l3_csum_replace": l3,
    "l4_csum_replace": l4,
    "csum_diff": csum_diff,
    "csum_update": lambda r: Call("csum_update", ("ctx", r.getrandbits(32))),
    "csum_level": lambda r: Call("csum_level", ("ctx", r.randrange(5))),
    "skb_change_proto": lambda r: Call(
        "skb_change_proto", ("ctx", r.choice((0x0008, 0xDD86, 0x0800)), flags(r))
    ),
    "skb_change_type": lambda r: Call("skb_change_type", ("ctx", r.choice((0, 1, 2, 3, 4, 1 << 32)))),
    "skb_adjust_room": adjust_room,
    "skb_change_tail": lambda r: Call(
        "skb_change_tail",
        ("ctx", r.choice((0, 13, 14, 20, 34, 60, 100, 1500, 9000, 16064, 16065, 1 << 31)), flags(r)),
    ),
    "skb_change_head": lambda r: Call(
        "skb_change_head", ("ctx", r.choice((0, 1, 4, 14, 18, 64, 200, 15000, 16064, 1 << 31)), flags(r))
    ),
    "skb_vlan_push": lambda r: Call(
        "skb_vlan_push", ("ctx", r.choice((0x0081, 0xA888, 0x8100, 0)), r.getrandbits(r.choice((12, 16, 20))))
    ),
    "skb_vlan_pop": lambda r: Call("skb_vlan_pop", ("ctx",)),
    "skb_set_tunnel_key": lambda r: tunnel_key(r, "skb_set_tunnel_key"),
    "skb_get_tunnel_key": lambda r: tunnel_key(r, "skb_get_tunnel_key"),
    "skb_set_tunnel_opt": lambda r: Call(
        "skb_set_tunnel_opt", ("ctx", "buffer", r.choice((4, 8, 12, 20, 3, 64)))
    ),
    "skb_get_tunnel_opt": lambda r: Call(
        "skb_get_tunnel_opt", ("ctx", "buffer", r.choice((4, 8, 12, 20, 64)))
    ),
    "redirect": lambda r: Call("redirect", (r.randrange(3), flags(r, 1))),
    "redirect_peer": lambda r: Call("redirect_peer", (r.randrange(3), flags(r))),
    "redirect_neigh": lambda r: Call("redirect_neigh", (1, "buffer", r.choice((1, 19, 20, 24)), flags(r))),
    "strtol": lambda r: Call("strtol", ("number", *number_text(r))),
    "strtoul": lambda r: Call("strtoul", ("number", *number_text(r))),
    "skb_ecn_set_ce": lambda r: Call("skb_ecn_set_ce", ("ctx",)),
    "skb_set_tstamp": lambda r: Call("skb_set_tstamp", ("ctx", r.choice((0, 1, 1 << 40)), r.randrange(5))),
    "skb_get_xfrm_state": lambda r: Call("skb_get_xfrm_state", ("ctx", 0, "buffer", 28, r.randrange(2))),
    "check_mtu": lambda r: Call(
        "check_mtu",
        (
            "ctx",
            r.choice((0, 1, 77777)),
            "buffer+8" if r.random() < 0.1 else "zeros",
            r.choice((0, 4, -4, 70000)),
            flags(r, 1),
        ),
    ),
    "get_route_realm": lambda r: Call("get_route_realm", ("ctx",)),
    "get_cgroup_classid": lambda r: Call("get_cgroup_classid", ("ctx",)),
    "skb_cgroup_classid": lambda r: Call("skb_cgroup_classid", ("ctx",)),
    "probe_read_kernel": lambda r: Call(
        "probe_read_kernel", ("buffer", min(size(r), 32), r.choice((0, 8, "buffer+32")))
    ),
    "probe_read_kernel_str": lambda r: Call(
        "probe_read_kernel_str", ("buffer", size(r) // 2 or 1, r.choice((0, 8, "buffer+32")))
    ),
    "probe_read_user": lambda r: Call("probe_read_user", ("buffer", size(r), r.choice((0, 8)))),
    "trace_printk": lambda r: Call("trace_printk", ("buffer", size(r), 1, 2, 3)),
    "clone_redirect": lambda r: Call("clone_redirect", ("ctx", 77777, flags(r, 1))),
    "set_hash": lambda r: Call("set_hash", ("ctx", r.getrandbits(32))),
    "set_hash_invalid": lambda r: Call("set_hash_invalid", ("ctx",)),
}
"""Helpers whose answers depend on nothing but their arguments and the packet."""

RESIZE = (
    *("skb_change_proto", "skb_adjust_room", "skb_change_tail", "skb_change_head"),
    *("skb_vlan_push", "skb_vlan_pop", "skb_store_bytes", "l4_csum_replace"),
)
"""Those that make each other's work different."""
