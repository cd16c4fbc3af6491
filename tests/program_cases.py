"""What examples/programs are tried with: maps' contents, packets, metadata; and what cannot be compared."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from program_traffic import address

Contents = Mapping[str, Mapping[bytes, bytes]]


def u32(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


def u64(*values: int) -> bytes:
    return struct.pack(f"={len(values)}Q", *values)


def be16(value: int) -> bytes:
    return struct.pack(">H", value)


ZERO = u32(0)


@dataclass(frozen=True)
class Case:
    """One program of one object, on the same packets as all others, `times` times over."""

    object: str
    program: str
    contents: Contents = field(default_factory=dict)
    """Put into maps before the first packet."""
    variables: Mapping[str, bytes] = field(default_factory=dict)
    """Of the data sections, before the first packet."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of struct __sk_buff, for every packet."""
    times: int = 1
    programs: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Slots of prog_arrays that the object does not fill itself: slot → program."""
    queues: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    """Values pushed into queues and stacks first."""
    tenants: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Maps in a hash of maps: a new inner map under each of the keys."""
    devices: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    """As `contents`, of maps whose values name devices of the namespace the test runs in."""
    ignored: tuple[str, ...] = ()
    """Maps whose contents depend on chance or time."""
    lab: str = "bare"
    """The network that it is in (program_labs.LABS)."""
    name: str = ""

    @property
    def label(self) -> str:
        return f"{self.object}-{self.program}" + (f"-{self.name}" if self.name else "")


def mac(last: int) -> bytes:
    return bytes((2, 0, 0, 0, 1, last))


def dns_name(text: str) -> bytes:
    return text.encode().ljust(64, b"\0")


def flow(src: str, sport: int, dst: str, dport: int, protocol: int) -> bytes:
    """struct flow of packet.h."""
    return address(src) + address(dst) + be16(sport) + be16(dport) + u32(protocol)


CONNECTIONS = {
    flow("10.0.0.1", 40000, "10.0.0.2", 80, 6): u32(1, 1, 0, 0),
    flow("10.0.0.1", 40002, "10.0.0.2", 22, 6): u32(2, 5, 4, 0),
    flow("10.0.0.2", 5000, "10.0.0.1", 4000, 17): u32(4, 1, 0, 0),
}
OWNERS = {
    address("10.0.0.2"): mac(2) + bytes(2),
    address("10.0.0.10"): mac(10) + bytes(2),
}
TUNNEL = {"tunnel": {ZERO: address("192.0.2.1") + address("198.51.100.1") + u32(0x123456, 0)}}
SEGMENTS = {"gso_size": 700, "gso_segs": 2}
"""A packet that the device will cut into two."""
NAT_INSIDE = {
    address("10.0.0.1"): address("203.0.113.5") + bytes(4),
    address("192.168.7.9"): address("203.0.113.6") + be16(61000) + bytes(2),
}
NAT_OUTSIDE = {
    address("10.0.0.2"): address("10.99.0.2") + be16(8080) + bytes(2),
    address("10.0.0.1"): address("10.99.0.1") + bytes(4),
}

CASES: tuple[Case, ...] = (
    Case(
        "firewall",
        "firewall",
        contents={
            "rules4": {
                u32(16) + address("192.168.0.0"): u32(2, 0x16),
                u32(24) + address("192.168.66.0"): u32(1, 0),
                u32(32) + address("10.0.0.2"): u32(2, 0x32),
                u32(0) + address("0.0.0.0"): u32(0, 0),
            },
            "rules6": {u32(64) + b"\x20\x01" + bytes(14): u32(2, 0x64)},
        },
    ),
    Case("firewall", "firewall", name="no rules"),
    Case("nat", "nat_out", contents={"inside": NAT_INSIDE}),
    Case("nat", "nat_in", contents={"outside": NAT_OUTSIDE}),
    Case(
        "balancer",
        "balance",
        contents={
            "services": {
                address("10.0.0.2") + be16(80) + b"\x06\0": u32(1),
                address("10.0.0.2") + be16(5000) + b"\x11\0": u32(2),
                address("10.0.0.10") + be16(53) + b"\x11\0": u32(9),
            },
            "slots": {u32(slot): u32(slot % 3) for slot in range(64, 192)},
            "backends": {u32(n): mac(n) + struct.pack("=HI", n, 100 + n) for n in (1, 2)},
        },
    ),
    Case("ratelimit", "ratelimit", contents={"limits": {ZERO: u64(0, 300)}}, ignored=("buckets",)),
    Case("ratelimit", "ratelimit", name="off"),
    Case(
        "ratelimit",
        "ratelimit",
        contents={"limits": {ZERO: u64(10**6, 10**9)}},
        ignored=("buckets",),
        name="fast",
    ),
    Case(
        "pacing",
        "pace",
        contents={"classes": {u32(7): u64(1000, 2 * 10**9, 0, 5 * 10**9)}},
        fields={"mark": 7, "tstamp": 10**9},
    ),
    Case("pacing", "pace", fields={"mark": 1}, name="no class"),
    Case("pacing", "pace_named_clock", fields={"tstamp": 10**9}),
    Case("vlan", "vlan_push", fields={"mark": 0x123}),
    Case("vlan", "vlan_push_two"),
    Case("vlan", "vlan_pop"),
    Case(
        "vlan", "vlan_translate", contents={"translations": {struct.pack("=H", 7): struct.pack("=H", 0x70)}}
    ),
    *(Case("encap", f"encap_{kind}", contents=TUNNEL) for kind in ("ipip", "gre", "vxlan")),
    Case("encap", "encap_ipip", name="no tunnel"),
    Case("encap", "decap_ipip"),
    Case("encap", "room_after_ip"),
    Case(
        "dns",
        "dns",
        contents={
            "blocked": {dns_name(".ads.example.net"): u32(1)},
            "names": {dns_name(".www.example.org"): u64(10) + struct.pack("=HHI", 1, 3, 0)},
        },
        times=2,
    ),
    Case(
        "syncookie", "syncookie", contents={"secrets": {ZERO: u64(0x1234567890ABCDEF) + u32(3, 1)}}, times=2
    ),
    Case(
        "syncookie",
        "syncookie",
        contents={
            "secrets": {ZERO: u64(0x1234567890ABCDEF) + u32(3, 1)},
            "proven": {flow("10.0.0.1", 40000, "10.0.0.2", 80, 6): u32(1)},
        },
        name="proven",
    ),
    Case("syncookie", "syncookie", name="off"),
    Case("accounting", "account", times=2),
    Case("accounting", "total", contents={}),
    Case("conntrack", "track_out", times=2),
    Case("conntrack", "track_in"),
    Case("conntrack", "track_in", contents={"connections": CONNECTIONS}, name="known"),
    Case("dispatch", "dispatch"),
    Case("dispatch", "stage_again"),
    Case("deep", "deep", programs={"calls": {0: "deep_short"}}),
    Case("deep", "deep", name="no programs"),
    Case("events", "sample"),
    Case("events", "report", times=4),
    Case("events", "copy_header", times=4),
    Case(
        "policy",
        "policy",
        fields={"mark": 5},
        tenants={"by_tenant": (5, 6)},
        contents={"web": {be16(80): u32(2, 0)}, "dns": {be16(53): u32(3, 9)}},
    ),
    Case("policy", "policy", name="empty"),
    Case("ports", "take_port", queues={"pool": tuple(u32(1000 + n) for n in range(8))}),
    Case("ports", "take_port", name="no ports"),
    Case(
        "ports",
        "give_port",
        contents={"taken": {bytes(16): u32(7), u32(1, 1, 0, 0): u32(8)}},
        queues={
            "pool": tuple(u32(n) for n in range(7)),
            "recent": (u32(1, 1, 0, 0), u32(2, 0, 0, 0), bytes(16)),
        },
    ),
    Case("seen", "seen", times=2),
    Case(
        "sni", "sni", contents={"refused": {b"ads.example.net".ljust(64, b"\0"): ZERO}}, ignored=("hellos",)
    ),
    Case(
        "maglev",
        "maglev",
        contents={
            "services": {
                address("10.0.0.2") + be16(80) + b"\x06\0": u32(1),
                address("10.0.0.2") + be16(443) + b"\x06\0": u32(1),
                address("10.0.0.2") + be16(5000) + b"\x11\0": u32(2),
                address("10.0.0.10") + be16(53) + b"\x11\0": u32(3),
            },
            "web": {u32(slot): u32(slot % 5) for slot in range(251)},
            "names": {u32(slot): u32(slot % 2 + 7) for slot in range(251)},
            "backends": {u32(n): mac(n) + struct.pack("=H", n) for n in (1, 2, 3, 4, 7, 8)},
        },
        times=2,
    ),
    Case(
        "meter",
        "meter",
        contents={"limits": {u32(3): u64(0, 300), ZERO: u64(0, 100)}},
        fields={"priority": 3},
        ignored=("buckets",),
    ),
    Case("meter", "meter", contents={"limits": {ZERO: u64(0, 10**9)}}, ignored=("buckets",), name="wide"),
    Case("payload", "payload"),
    Case("loops", "scan"),
    Case("loops", "walk"),
    Case("globals", "globals", times=2),
    Case(
        "globals",
        "globals",
        variables={"sample_every": u32(1), "balance": struct.pack("=q", -1), "tuned": u32(5)},
        name="other values",
    ),
    Case("subprograms", "subprograms", fields={"priority": 77}),
    Case("locks", "locks", fields={"mark": 3}, times=2),
    Case("atomics", "atomics", times=2),
    Case("checksums", "remark"),
    Case("checksums", "verify"),
    Case("checksums", "port_shift"),
    Case("checksums", "level"),
    *(Case("resize", name, fields={"mark": 0xABCD}) for name in ("add_trailer", "cut", "new_head")),
    Case("resize", "there_and_back"),
    *(Case("resize", name, fields=SEGMENTS, name="segments") for name in ("cut", "there_and_back")),
    *(
        Case("encap", f"encap_{kind}", contents=TUNNEL, fields=SEGMENTS, name="segments")
        for kind in ("gre", "vxlan")
    ),
    *(Case("nat64", name, fields=SEGMENTS, name="segments") for name in ("four_to_six", "six_to_four")),
    Case("resize", "pull"),
    Case("nat64", "four_to_six"),
    Case("nat64", "six_to_four"),
    Case("mirror", "mirror"),
    Case("mirror", "mirror", contents={"taps": {ZERO: struct.pack("=IHHQ", 1, 0, 64, 0)}}, name="to lo"),
    Case(
        "mirror",
        "mirror",
        contents={"taps": {ZERO: struct.pack("=I2sHQ", 1, be16(80), 0, 1)}},
        name="one port, ingress",
    ),
    Case("mirror", "mirror", contents={"taps": {ZERO: struct.pack("=IHHQ", 999, 0, 0, 0)}}, name="no device"),
    Case("mirror", "mirror", contents={"taps": {ZERO: struct.pack("=IHHQ", 1, 0, 0, 6)}}, name="no flag"),
    *(Case("direct", name) for name in ("bounds", "behind_options", "write", "find_mss")),
    Case("trace", "trace", fields={"mark": 0xBEEF}),
    Case("trace", "format"),
    Case("trace", "parse"),
    Case("responder", "respond", contents={"owners": OWNERS}, times=2),
    Case("mss", "clamp", times=2),
    Case("router", "route"),
    Case("router", "route", lab="routes", fields={"ifindex": 100}, name="from the LAN"),
    Case("router", "route", lab="routes", fields={"ifindex": 101}, name="from the WAN"),
    Case("router", "to_neighbour"),
    Case("router", "to_peer"),
    Case("router", "to_peer", fields={"mark": 1}, name="no flag"),
    Case("router", "to_device"),
    Case("router", "to_device", fields={"mark": 1}, name="ingress"),
    Case("router", "to_device", fields={"mark": 2}, name="no flag"),
    *(Case("sockets", name) for name in ("lookup_udp", "lookup_tcp", "assign", "from_map", "wrong_size")),
    *(Case("sockets", name, lab="sockets", name="open") for name in ("lookup_udp", "lookup_tcp", "assign")),
    Case(
        "devices",
        "forward",
        devices={
            "ports": {u32(0): u32(1), u32(3): u32(1)},
            "by_vlan": {u32(0): u32(1, 0)},
        },
        times=2,
    ),
    Case("cgroups", "by_classid"),
    Case("overlay", "set_key"),
    Case("overlay", "set_key6"),
    Case("overlay", "get_key"),
    Case(
        "metadata",
        "read",
        fields={
            "mark": 0x01020304,
            "priority": 9,
            "cb": [1, 2, 3, 4, 0x50607080],
            "tstamp": 0x1122334455667788,
            "wire_len": 2000,
            "gso_segs": 3,
            "gso_size": 700,
            "hwtstamp": 77,
            "ifindex": 1,
        },
    ),
    Case("metadata", "read", name="as it comes"),
    Case("metadata", "write"),
    Case("metadata", "change_type"),
    Case("metadata", "congestion"),
    Case("metadata", "congestion", lab="routes", fields={"ifindex": 101}, name="another MTU"),
    Case("metadata", "hash"),
    Case("sampler", "sample", ignored=(".data.chance",)),
    Case("sampler", "clocks", ignored=(".data.chance",)),
    Case("sampler", "task", ignored=(".data.chance",)),
    Case("timers", "timers", times=2),
    Case("iterators", "histogram"),
    Case("iterators", "ranges"),
    Case("kernel_context", "kernel_context", fields={"mark": 77, "priority": 1000}),
    Case("kernel_context", "by_probe"),
    Case("core", "facts"),
    Case("core", "headers", times=2),
    Case("kernel_memory", "fault"),
    Case("kconfig", "kconfig"),
    *(Case("dynptrs", name) for name in ("packet", "slice", "record", "memory")),
    Case("legacy_loads", "legacy_loads"),
    Case("legacy_maps", "legacy_maps", contents={"blocked_ports": {be16(25): u32(0), be16(5000): u32(3)}}),
    Case("legacy_maps20", "legacy_maps20", times=2),
    Case("legacy_maps24", "legacy_maps24", times=2),
    Case("legacy_tails", "legacy_tails"),
    Case("cookies", "cookie"),
    Case("cookies", "xfrm"),
    Case("sockets", "own"),
)
"""Not here, because they see the task and the socket that a test run happens to have: `cgroups: whose`,
`kernel_memory: task`."""
