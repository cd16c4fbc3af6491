"""Random lines about qdiscs, classes and filters on them, in tc's words: most come far."""

from __future__ import annotations

from random import Random

NUMBERS = (
    """\
0,1,2,7,10,100,1000,1514,65535,65536,4294967295,4294967296,-1,0x10,010,x,1.5,1k,3kb,1mb,1mbit,10kbit,5gbit
1kbps,8,50ms,1s,100us,1e3,1/2,0x1/0x3,10%
""".replace("\n", ",")
    .strip(",")
    .split(",")
)
WORDS = {
    "htb": "default r2q direct_qlen offload debug d what",
    "prio": "bands priomap multiqueue what",
    "tbf": "rate burst limit latency peakrate mtu minburst mpu overhead linklayer buffer maxburst"
    " la li b p o what",
    "codel": "limit target interval ecn noecn ce_threshold lim what",
    "fq_codel": "limit flows target interval quantum ecn noecn ce_threshold memory_limit drop_batch"
    " ce_threshold_selector what",
    "sfq": "limit perturb quantum divisor flows depth headdrop redflowlimit min max avpkt burst probability"
    " ecn harddrop what",
    "pfifo": "limit what",
    "bfifo": "limit what",
    "pfifo_head_drop": "limit",
    "pfifo_fast": "limit",
    "noqueue": "x",
    "nosuch": "x",
    "clsact": "x",
    "ingress": "handle x",
}
CLASS_WORDS = "rate ceil burst cburst prio quantum mtu mpu overhead linklayer buffer maxburst cbuffer r what"
ALONE = {"ecn", "noecn", "headdrop", "harddrop", "multiqueue", "offload", "what"}
"""Words without a number."""
WHOLE = {
    "htb": ["", "default 1", "default 10 r2q 5"],
    "prio": ["", "bands 4"],
    "tbf": [
        "rate 1mbit burst 10k limit 10k",
        "rate 1mbit burst 10k latency 50ms",
        "rate 1mbit burst 10k limit 3k peakrate 2mbit mtu 1540",
    ],
    "fq_codel": ["", "limit 100", "quantum 300"],
    "sfq": ["", "perturb 10", "redflowlimit 100000"],
}
PARENTS = [
    "root",
    "root",
    "root",
    "parent 1:",
    "parent 1:1",
    "parent 1:2",
    "parent 2:1",
    "parent 3:1",
    "ingress",
]
ODD_PARENTS = ["clsact", "parent ffff:fff1", "parent x", ""]
HANDLES = ["1:", "1:", "2:", "3:", "10:", "8001:", "ffff:", "1", "1:1", "x", "0", "10000:"]
OPTIONS = [
    "",
    "-s",
    "-d",
    "-s -d",
    "-j",
    "-s -j",
    "-j -p",
    "-r",
    "-o",
    "-iec",
    "-g",
    "-br",
    "-nm",
    "-s -d -j",
]
SHOWN = [
    "qdisc show dev v0",
    "qdisc show",
    "qdisc show dev v0 invisible",
    "qdisc show dev v0 root",
    "qdisc show dev v0 parent 1:1",
    "class show dev v0",
    "class show",
    "class show dev v0 parent 1:",
    "class show dev v0 classid 1:1",
    "filter show dev v0",
    "filter show dev v0 parent 1:",
]
EXTRA = [*[""] * 8, "estimator 1s 4s", "stab overhead 4", "ingress_block 3"]


def _phrases(random: Random, words: str, most: int) -> list[str]:
    said: list[str] = []
    for _ in range(random.randint(0, most)):
        word = random.choice(words.split())
        said.append(word)
        if word not in ALONE and random.random() < 0.96:
            said.append(random.choice([*NUMBERS, "atm", "ethernet"]))
    return said


def _qdisc(random: Random) -> str:
    verb = random.choice(["add", "add", "add", "change", "replace", "replace", "del", "link"])
    kind = random.choice([*WORDS, *WHOLE])
    words = [random.choice(WHOLE[kind])] if kind in WHOLE and random.random() < 0.6 else []
    words += _phrases(random, WORDS[kind], 3)
    parent = random.choice(PARENTS if random.random() < 0.9 else ODD_PARENTS)
    handle = f"handle {random.choice(HANDLES)}" if random.random() < 0.6 else ""
    if verb == "del" and random.random() < 0.8:
        kind, words = "", []
    return f"qdisc {verb} dev v0 {parent} {handle} {random.choice(EXTRA)} {kind} {' '.join(words)}"


def _class(random: Random) -> str:
    verb = random.choice(["add", "add", "change", "replace", "del"])
    parent = random.choice(["parent 1:", "parent 1:1", "root", "parent 2:", "", "parent 1:2"])
    classid = random.choice(["1:1", "1:2", "1:3", "1:10", "2:1", "1:", "x"])
    if verb == "del":
        return f"class del dev v0 {parent} classid {classid}"
    words = [f"rate {random.choice(['1mbit', '10kbit', '5gbit', '1kbps'])}"] if random.random() < 0.6 else []
    words += _phrases(random, CLASS_WORDS, 3)
    kind = random.choice([*["htb"] * 8, "tbf", "sfq", "prio", "nosuch"])
    return f"class {verb} dev v0 {parent} classid {classid} {kind} {' '.join(words)}"


def _filter(random: Random) -> str:
    parent = random.choice(["parent 1:", "parent 1:1", "parent 2:", "root", "parent 3:"])
    flowid = random.choice(["1:1", "1:2", "2:1", "1:10"])
    verb, pref = random.choice(["add", "del"]), random.choice([1, 2])
    return f"filter {verb} dev v0 {parent} pref {pref} bpf bytecode '1,6 0 0 0' flowid {flowid}"


def random_line(random: Random) -> str:
    """A line that makes, changes, shows or deletes something at a device's root."""
    match random.choices(["show", "class", "filter", "qdisc"], [15, 20, 7, 58])[0]:
        case "show":
            return f"{random.choice(OPTIONS)} {random.choice(SHOWN)}"
        case "class":
            return _class(random)
        case "filter":
            return _filter(random)
        case _:
            return _qdisc(random)
