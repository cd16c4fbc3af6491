"""Random lines about actions, in tc's words: most come far, and go wrong in ways nobody thought of."""

from __future__ import annotations

from random import Random

CONTROLS = (
    """\
pass,ok,drop,shot,pipe,continue,reclassify,trap,p,d,c,r,t,o,goto chain 5,goto chain 0,goto chain x,goto chain
goto,jump 2,jump 0,jump x,jump,stolen,foo,goto chain 268435455,goto chain 268435456,jump 268435456,goto foo 1
""".replace("\n", ",")
    .strip(",")
    .split(",")
)
TAILS = (
    """\
cookie aabb,cookie,cookie zz,cookie 00112233445566778899aabbccddeeff,hw_stats immediate,hw_stats delayed
hw_stats disabled,hw_stats d,hw_stats,hw_stats x,no_percpu,skip_sw,skip_hw,skip_sw skip_hw,skip_hw skip_sw
index 5,index,index x,index 0,index 4294967295,index -1,help
""".replace("\n", ",")
    .strip(",")
    .split(",")
)

_WORDS = {
    "gact": """\
random,random determ,random netrand,random determ drop 5,random netrand ok 10,random foo,gact,action
random determ goto chain 5 9,random netrand drop 10000""",
    "police": """\
rate,rate 1mbit,rate 8kbit,rate 10gbit,rate 100gbit,rate 1mibit,rate 0,rate 1kbps,burst 10k,burst,burst 1/8
buffer 5k,maxburst 3k,mtu 2k,mtu 0,mtu 1500/16,minburst 1k,mpu 64,mpu,avrate 1mbit,peakrate 3mbit
peakrate 100gbit,overhead 24,overhead 70000,linklayer atm,linklayer ethernet,linklayer x,pkts_rate 1000
pkts_burst 100,pkts_rate 0,conform-exceed drop,conform-exceed drop/pipe,conform-exceed 3/4,pipe,ok
conform-exceed goto chain 5,conform-exceed drop/goto chain 5,conform-exceed,conform-exceed / drop
conform-exceed pass /,conform-exceed drop / pipe,conform-exceed x,index 3,action drop""",
    "mirred": """\
egress,ingress,mirror,redirect,dev v1,dev nope,dev lo,dev,index 3,egress mirror dev v1
ingress redirect dev v1,egress redirect dev lo,e m dev v1""",
    "skbedit": """\
queue_mapping 3,queue_mapping 65535,queue_mapping 65536,queue_mapping,priority 1:10,priority 10,priority x
priority,mark 5,mark 0x5/0xff,mark 1/,mark,ptype host,ptype b,ptype o,ptype x,ptype,inheritdsfield,mask 5""",
    "vlan": """\
pop,push,modify,pop_eth,push_eth,id 5,id 4095,id 4096,id 4094,id 0,id x,id,protocol 802.1q,protocol 802.1Q
protocol 802.1ad,protocol ip,protocol 0x8100,protocol,priority 5,priority 8,priority,dst_mac x,dst_mac
dst_mac 02:00:00:00:00:01,src_mac 02:00:00:00:00:02,push id 5,modify id 7
push_eth dst_mac 1:2:3:4:5:6 src_mac 1:2:3:4:5:7""",
    "pedit": """\
ex,munge,munge offset 0 u32 set 1,munge offset 4 u16 set 0x1234,munge offset 1 u8 clear,munge tcp,retain 0xff
munge offset 2 u16 invert,munge offset 3 u16 set 1,munge offset -4 u32 set 5,munge foo,munge ip,munge ip ttl
munge offset 0 u32 at 8 0f 2 set 4,munge ip src set 1.2.3.4,munge ip ttl dec,munge ip ttl add 1,set 5
munge ip tos set 4 retain 0xf0,munge ip dsfield set 0xb8,munge eth src set 02:00:00:00:00:01
munge eth type set 0x800,munge eth dst invert,munge ip6 src set ::1,munge ip6 dst invert
munge ip6 hoplimit decrement,munge ip6 traffic_class set 5 retain 0xf,munge ip6 flow_lbl set 5
munge tcp sport set 80,munge tcp flags clear,munge udp dport preserve,munge ip sport set 80
munge ip icmp_type set 8,munge ip df set 1,munge ip nofrag set 1,munge ip precedence set 1""",
    "csum": "iph,ip4h,ipv4h,icmp,igmp,tcp,udp,udplite,sctp,and,or,+,i,t,u,s,foo",
    "skbmod": """\
set,swap,mac,swap mac,set dmac 02:00:00:00:00:01,set smac 1:2:3:4:5:6,dmac x,smac 1:2:3,etype 0x800
etype 70000,etype,ecn,set ecn,dmac,set etype 0xBEEF""",
    "tunnel_key": """\
set,unset,src_ip 10.0.0.1,dst_ip 10.0.0.2,src_ip ::1,dst_ip ::2,src_ip x,src_ip any,id 5,id 4294967295
id 4294967296,id x,dst_port 4789,dst_port 65536,csum,nocsum,tos 5,tos 0xff,tos 256,tos ff,ttl 64,ttl 300
ttl 0x40,vxlan_opts 5,vxlan_opts x,vxlan_opts 16777216,geneve_opts 0102:80:00880022,geneve_opts 0102:80
geneve_opts x:80:00,geneve_opts 0102:80:0088,geneve_opts 1:2:3:4,erspan_opts 1:5:0:0,erspan_opts 2:0:1:63
erspan_opts 3:0:0:0,erspan_opts 1,set src_ip 1.1.1.1 dst_ip 2.2.2.2 id 5""",
    "simple": """\
sdata 0123456789012345678901234567890,sdata 01234567890123456789012345678901,sdata,simple,foo""",
    "sample": "rate 5,rate 0,rate x,rate,group 1,group x,group 4294967295,trunc 64,trunc x,trunc 0",
    "foo": "bar",
}
WORDS = {kind: text.replace("\n", ",").split(",") for kind, text in _WORDS.items()}
KINDS = list(WORDS)
NUMBERS = [
    "0",
    "1",
    "5",
    "7",
    "255",
    "65536",
    "4294967295",
    "4294967296",
    "-1",
    "0x10",
    "0x",
    "010",
    "1x",
    "x",
    "1:",
    "1:10",
    "''",
]
PASS = "bpf bytecode '1,6 0 0 0'"
MAKING = [
    *(
        "actions add action",
        "actions add",
        "actions change action",
        "actions replace action",
        "actions a action",
    ),
    *(
        f"filter add dev v0 ingress {PASS} action",
        f"filter replace dev v0 ingress pref 5 handle 1 {PASS} action",
    ),
]
OPTIONS = ["", "-s", "-j", "-s -j", "-d", "-N", "-o", "-br", "-r", "-s -d -j -p", "-iec", "-nm"]
COMMANDS = ["", "help", "foo", "add", "ls", "get", "flush", "del", "ls action", "get action", "add action"]


def random_spec(random: Random) -> str:
    """One action's words."""
    kind = random.choice(KINDS)
    words = [kind, *(random.choice(WORDS[kind]) for _ in range(random.choice([0, 1, 1, 2, 2, 3, 4, 6])))]
    if kind == "gact":
        words[random.choice([0, 1]) : 1] = [random.choice(CONTROLS)]
    if random.random() < 0.5:
        words.append(random.choice(CONTROLS))
    words += [random.choice(TAILS) for chance in (0.4, 0.2) if random.random() < chance]
    if random.random() < 0.04:
        words.insert(random.randrange(len(words) + 1), random.choice(NUMBERS))
    return " ".join(words)


def random_line(random: Random) -> str:
    """A line that makes, asks for, lists or deletes actions, or shows filters that have some."""
    options, kind = random.choice(OPTIONS), random.choice(KINDS)
    match random.choices(range(7), [55, 5, 10, 10, 5, 10, 5])[0]:
        case 0:
            specs = [random_spec(random) for _ in range(random.choice([1, 1, 1, 1, 2]))]
            return f"{random.choice(MAKING)} {random.choice([' action ', ' ']).join(specs)}"
        case 1:
            words = " ".join(random.choice(WORDS["police"]) for _ in range(3))
            return f"filter add dev v0 ingress {PASS} police {words}"
        case 2:
            verb, more = random.choice(["ls", "list", "show", "l", "s"]), random.choice(["", "", " foo"])
            return f"{options} actions {verb} action {kind}{more}"
        case 3:
            verb = random.choice(["get", "g", "del", "delete", "d"])
            more = random.choice(["", "", " action gact index 5", " foo", " index 3"])
            return f"{options} actions {verb} action {kind} index {random.choice(NUMBERS)}{more}"
        case 4:
            return f"actions {random.choice(['flush', 'f'])} action {kind}{random.choice(['', '', ' foo'])}"
        case 5:
            return f"{options} filter show dev v0 ingress"
        case _:
            return f"{options} actions {random.choice(COMMANDS)}"
