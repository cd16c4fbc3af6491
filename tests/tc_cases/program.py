"""tc itself: options before the object, what a listing selects, batches, help."""

from __future__ import annotations

from collections.abc import Iterator

from tc_cases import Case, Row

FILES = {
    "stops.tc": "qdisc add dev v0 clsact\nqdisc add dev v0 clsact\nqdisc del dev v0 clsact\n",
    "comments.tc": "# nothing\n\nqdisc add dev v0 \\\n clsact # hook\n",
    "syntax.tc": "qdisc add dev v0 clsact\nfilter foo\nqdisc del dev v0 clsact\n",
    "ends.tc": "qdisc add dev v0 clsact\nqdisc add dev v0 handle x: htb\nqdisc del dev v0 clsact\n",
    "empty.tc": "",
    "actions.tc": "".join(f"actions add action drop index {n} cookie {n:04x}\n" for n in range(1, 1101)),
    "unactions.tc": "".join(f"actions del action gact index {n}\n" for n in range(1, 1101)),
}
"""Batches, in the directory that {files} stands for."""

UNDO = (
    "qdisc del dev v0 root",
    "qdisc del dev v0 clsact",
    "actions flush action gact",
    "actions flush action mirred",
)
SETUP = (
    "qdisc add dev v0 root handle 1: htb default 1",
    "class add dev v0 parent 1: classid 1:1 htb rate 1mbit",
    "class add dev v0 parent 1:1 classid 1:2 htb rate 1mbit quantum 1500",
    "qdisc add dev v0 clsact",
    "filter add dev v0 ingress bpf bytecode '1,6 0 0 0' action mirred egress mirror dev v1",
    "filter add dev v0 parent 1: protocol ip pref 7 bpf bytecode '1,6 0 0 0' flowid 1:2",
)

SHOWN: list[Row] = [
    ("qdisc show dev v0", 0, "^qdisc", 2),
    ("qdisc list dev v0", 0, "^qdisc", 2),
    ("qdisc ls dev v0", 0, "^qdisc", 2),
    ("qdisc show dev v0 root", 0, "^qdisc htb 1: root", 1),
    ("qdisc show dev v0 handle 1:", 0, "^qdisc htb 1: root", 1),
    ("qdisc show dev v0 ingress", 0, "^qdisc clsact", 1),
    ("qdisc show dev v0 clsact", 0, "^qdisc clsact", 1),
    ("qdisc show dev v0 parent ffff:fff1", 0, "^qdisc clsact", 1),
    ("qdisc show dev v0 invisible", 0, "^qdisc", 3),
    ("qdisc show dev v0 root ingress", 255, "qdisc", 0),
    ("qdisc", 0, "^qdisc [a-z]+ [0-9a-f]+: dev", 4),
    ("qdisc help", 0, "", 1),
    ("class help", 0, "", 1),
    ("filter help", 0, "", 1),
    ("chain help", 0, "", 1),
    ("help", 0, "", 1),
    ("-help", 0, "", 1),
    ("actions help", 255, "", 1),
    ("filter add bpf help", 1, "", 1),
    ("actions add action mirred help", 255, "", 1),
    ("-V", 0, "^tc utility, ", 1),
    ("-what", 255, "", 1),
    ("what", 255, "", 1),
    ("-s qdisc show dev v0", 0, r"^ Sent 0 bytes 0 pkt \(dropped 0, overlimits 0 requeues 0\) $", 2),
    ("-d qdisc show dev v0", 0, r"ver 3\.[0-9]+ direct_qlen", 1),
    ("-j qdisc show dev v0", 0, '"kind":"(htb|clsact)"', 2),
    ("-j -p qdisc show dev v0", 0, '^ +"kind": "htb",$', 1),
    ("-o -s qdisc show dev v0", 0, r"^qdisc htb 1: root[^\n]*\\ Sent", 1),
    ("-s class show dev v0", 0, "lended: 0 borrowed: 0 giants: 0", 2),
    ("-d class show dev v0", 0, "quantum 1500", 1),
    ("-iec class show dev v0", 0, "rate 1000000bit ceil 1000000bit", 2),
    ("-g class show dev v0", 0, r"^\+---\(1:1\) htb", 1),
    ("-raw class show dev v0", 0, " buffer \\[", 2),
    ("class show dev v0 parent 1:1", 0, "class htb", 2),
    ("class show dev v0 classid 1:2", 0, "class htb 1:2 parent 1:1", 1),
    ("filter show dev v0", 0, "^filter parent 1: protocol ip pref 7", 2),
    ("filter show dev v0 parent 1:", 0, "^filter protocol ip pref 7", 2),
    ("filter show dev v0 root", 0, "^filter", 0),
    ("filter show dev v0 egress", 0, "^filter", 0),
    ("filter show dev v0 ingress pref 49152", 0, "^filter", 2),
    ("filter show dev v0 ingress pref 3", 0, "^filter", 0),
    ("filter show dev v0 ingress protocol ip", 0, "^filter", 0),
    ("filter show dev v0 ingress chain 0", 0, "^filter", 2),
    ("filter show dev v0 ingress chain 5", 0, "^filter", 0),
    ("-s filter show dev v0 ingress", 0, "Sent 0 bytes 0 pkt", 1),
    ("-j filter show dev v0 ingress", 0, '"mirred_action":"mirror"', 1),
    ("-br filter show dev v0 ingress", 1, "mirred|bytecode", 0),
    ("-N filter show dev v0", 0, r"protocol \[?0?x?(2048|800|ip)", 2),
    ("-j actions ls action mirred", 0, '"kind":"mirred"', 1),
    ("-br actions ls action mirred", 0, "action order 0: mirred", 1),
    ("-o actions get action mirred index 1", 0, r"^total acts 0\\\\\taction order 1: mirred", 1),
    ("actions ls action mirred since 4294967295", 0, "mirred", 1),
    ("actions ls action mirred since 4294967296", 255, "mirred", 0),
    ("actions ls action mirred since", 255, "mirred", 0),
    ("actions del action mirred index 1", 255, "mirred", 0),
    ("monitor what", 255, "", 1),
]


def shown() -> Iterator[Case]:
    """What a line itself prints."""
    for line, exit_code, pattern, count, *_ in SHOWN:
        # The real tc talks of traffic here that a veth pair does not have; nothing else differs.
        yield Case(line, exit_code, line, pattern, count, SETUP, UNDO, in_kernel=True)


BATCHES = [
    ("-b {files}/stops.tc", 1, "qdisc show dev v0", "clsact", 1),
    ("-force -b {files}/stops.tc", 1, "qdisc show dev v0", "clsact", 0),
    ("-b {files}/stops.tc -force", 1, "qdisc show dev v0", "clsact", 0),
    ("-b {files}/comments.tc", 0, "qdisc show dev v0", "clsact", 1),
    ("-batch {files}/syntax.tc", 1, "qdisc show dev v0", "clsact", 1),
    ("-f -batch {files}/syntax.tc", 1, "qdisc show dev v0", "clsact", 0),
    ("-f -b {files}/ends.tc", 255, "qdisc show dev v0", "clsact", 1),
    ("-b {files}/empty.tc", 0, "qdisc show dev v0", "clsact", 0),
    ("-b {files}/nowhere.tc", 1, "qdisc show dev v0", "clsact", 0),
    ("-b", 0, "qdisc show dev v0", "clsact", 0),
]
MANY = [
    ("-b {files}/actions.tc", 0, "actions ls action gact", "action order [0-9]+: gact action drop", 1100),
    ("-b {files}/actions.tc", 0, "-s -j actions ls action gact", '"cookie":"[0-9a-f]{4}"', 1100),
]


CASES = [
    *shown(),
    *(Case(*row, undo=UNDO, in_kernel=True) for row in BATCHES),
    *(Case(*row, undo=UNDO) for row in MANY),
    Case("-b {files}/unactions.tc", 0, "actions ls action gact", "gact", 0, ("-b {files}/actions.tc",), UNDO),
]
