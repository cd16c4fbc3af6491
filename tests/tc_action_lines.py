"""Lines about actions of all kinds that tc takes, after `action` or `tc actions …`.

Most kinds are not in the kernel here; what tc sends for them can be judged all the same.
"""

from __future__ import annotations

from tc_lines import PASS

SPECS = [
    # police
    "police rate 1mbit burst 10k",
    "police rate 1mbit burst 10k drop",
    "police rate 1mbit burst 10k/8 mtu 2k conform-exceed drop",
    "police rate 1mbit burst 10k conform-exceed drop/pipe",
    "police rate 1mbit burst 10k conform-exceed continue / ok",
    "police rate 1mbit burst 10k conform-exceed goto chain 5",
    "police rate 1mbit burst 10k conform-exceed goto chain 5 / goto chain 6",
    "police rate 1mbit burst 10k conform-exceed 3/4",
    "police rate 10gbit burst 1m mtu 64k",
    "police rate 100gbit burst 1m",
    "police rate 1kbps burst 1kbit mpu 64 overhead 24 linklayer atm",
    "police rate 8kbit burst 100 linklayer adsl",
    "police rate 1.5mibit burst 15kb mtu 1514 peakrate 3mbit",
    "police rate 1mbit burst 10k mtu 2k peakrate 100gbit",
    "police rate 1e3kbit burst 0x100 index 7",
    "police avrate 1mbit",
    "police mtu 1500 drop",
    "police pkts_rate 1000 pkts_burst 100",
    "police index 3",
    "police burst 10k rate 1mbit cookie aabb",
    "police r drop rate 1mbit burst 10k",
    # skbedit
    "skbedit mark 5",
    "skbedit mark 0x5/0xff",
    "skbedit priority 1:10 pipe",
    "skbedit queue_mapping 3 drop index 4",
    "skbedit ptype host mark 7",
    "skbedit ptype otherhost",
    "skbedit ptype b",
    "skbedit inheritdsfield",
    "skbedit priority 1: mark 1/2 queue_mapping 0 ptype multicast inheritdsfield ok",
    "skbedit index 9",
    # vlan
    "vlan pop",
    "vlan pop drop index 3",
    "vlan push id 100",
    "vlan push id 0x10 protocol 802.1ad priority 5 ok",
    "vlan push protocol 802.1Q id 4095",
    "vlan modify id 7 priority 0 pipe",
    "vlan pop_eth",
    "vlan push_eth dst_mac 02:00:00:00:00:01 src_mac 2:0:0:0:0:2 continue",
    "vlan index 8",
    # pedit
    "pedit munge offset 0 u32 set 0x11223344",
    "pedit munge offset 2 u16 set 0x1234 pipe",
    "pedit munge offset 1 u8 set 0x12",
    "pedit munge offset 3 u8 clear munge offset 4 u8 invert munge offset 6 u16 invert",
    "pedit munge offset 0 u32 invert munge offset 8 u32 preserve",
    "pedit munge offset -14 u16 set 5 retain 0x0f drop index 3",
    "pedit munge offset 0 u8 at 9 f 2 set 6",
    "pedit ex munge offset 0 u32 add 1",
    *(
        f"pedit munge ip {field}"
        for field in (
            "src set 10.0.0.1",
            "dst set 10.0.0.2 retain 0xff",
            "tos set 4",
            "dsf set 4",
            "ihl set 5",
            "ttl set 9",
            "protocol set 6",
            "prec set 1",
            "nofrag clear",
            "df set 0xff",
            "dport set 80",
            "sport invert",
            "icmp_type set 8",
        )
    ),
    *(
        f"pedit ex munge {field}"
        for field in (
            "eth src set 02:00:00:00:00:01",
            "eth dst set 02:00:00:00:00:01 munge eth type set 0x800",
            "ip src set 10.0.0.1",
            "ip ttl decrement",
            "ip ttl add 255 pipe",
            "ip6 src set 2001:db8::1",
            "ip6 dst clear",
            "ip6 flow_lbl set 5",
            "ip6 payload_len set 7",
            "ip6 hoplimit decrement",
            "ip6 traffic_class set 3",
            "ip6 traffic_class add 3",
            "tcp sport set 80 munge tcp dport add 1 munge tcp flags set 2",
            "udp dport set 53",
        )
    ),
    # csum
    "csum iph",
    "csum ip4h and tcp or udp",
    "csum icmp + igmp udplite sctp drop",
    "csum i u t index 4",
    # skbmod
    "skbmod set dmac 02:00:00:00:00:01",
    "skbmod set smac 2:0:0:0:0:1 etype 0xBEEF pipe",
    "skbmod swap mac index 0x10",
    "skbmod ecn drop",
    "skbmod index 2",
    # tunnel_key
    "tunnel_key unset",
    "tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2 id 7",
    "tunnel_key set src_ip 2001:db8::1 dst_ip 2001:db8::2 id 7 dst_port 4789 nocsum tos 4 ttl 64",
    "tunnel_key set src_ip 1.1.1.1 dst_ip 1.1.1.2 id 1 vxlan_opts 65793 pipe index 4",
    "tunnel_key set src_ip 1.1.1.1 dst_ip 1.1.1.2 id 1 geneve_opts 0102:80:00880022,0103:81:00110022",
    "tunnel_key set src_ip 1.1.1.1 dst_ip 1.1.1.2 id 1 erspan_opts 2:0:1:63",
    "tunnel_key set src_ip 1.1.1.1 dst_ip 1.1.1.2 tos 0x10 ttl ff",
    # simple, sample
    # Shorter ones are followed by whatever lies behind them in tc's memory.
    "simple sdata 0123456789012345678901234567890",
    "simple sdata '012345678901234567890123456 890' drop index 3",
    "simple index 4",
    "sample rate 10 group 5",
    "sample rate 10 group 5 trunc 64 continue index 3",
    "sample index 4",
    # bpf
    f"bpf bytecode {PASS}",
    f"bpf bc {PASS} pipe index 3",
    f"bpf run bytecode {PASS} cookie 00",
    "bpf index 4",
]
"""Specs of one action."""

LISTS = [
    "vlan pop action mirred egress redirect dev v1",
    "police rate 1mbit burst 10k conform-exceed drop/pipe action skbedit mark 3 action ok",
    "pedit ex munge ip ttl decrement pipe action csum ip4h",
    "skbedit mark 1 pipe simple index 5 cookie aa vlan pop",
]

FILTER_ACTION_LINES = [
    f"filter add dev v0 ingress bpf bytecode {PASS} action {spec}" for spec in [*SPECS, *LISTS]
] + [
    f"filter add dev v0 ingress bpf bytecode {PASS} police {spec}"
    for spec in (
        "rate 1mbit burst 10k",
        "rate 1mbit burst 10k drop flowid 1:1",
        "index 3",
        "rate 1mbit burst 10k mtu 2k conform-exceed drop/ok",
    )
]

ALONE_ACTION_LINES = [
    *(f"actions add action {spec}" for spec in [*SPECS, *LISTS]),
    "actions add drop",
    "actions a action ok index 7",
    "actions add action mirred egress mirror dev v1",
    "actions add action mirred egress mirror dev v1 index 5 cookie aabb hw_stats delayed skip_hw",
    "actions change action mirred egress redirect dev v1 index 5",
    "actions replace action gact drop index 9",
    "actions c action vlan pop index 3 action vlan pop index 4",
    "actions delete action mirred index 5",
    "actions del action mirred index 0",
    "actions d action gact index 7 action vlan index 3",
    "actions get action mirred index 77",
    "actions g action police index 1",
    "actions flush action mirred",
    "actions f action gact",
    "actions add action mirred egress mirror dev v1 index 40 change action mirred index 40",
]
