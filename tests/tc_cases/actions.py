"""Actions: every kind, every option and its limits."""

from __future__ import annotations

from collections.abc import Iterator

from tc_cases import Case, Row, family

ORDER = r"action order [0-9]*: "


def of_kind(kind: str, rows: list[Row], *, setup: str = "", in_kernel: bool = False) -> Iterator[Case]:
    """Cases about actions of one kind, all of which are shown afterwards."""
    return family(
        rows,
        verify=f"actions ls action {kind}",
        undo=f"actions flush action {kind}" + ("; actions flush action gact" if kind == "bpf" else ""),
        setup=setup,
        in_kernel=in_kernel,
    )


# -- What is common to all kinds

CONTROLS = [
    ("pass", "pass"),
    ("ok", "pass"),
    ("drop", "drop"),
    ("shot", "drop"),
    ("pipe", "pipe"),
    ("continue", "continue"),
    ("reclassify", "reclassify"),
    ("trap", "trap"),
    ("jump 1", "jump 1"),
    ("jump 268435455", "jump 268435455"),
]
"""A control as it is said, and as it is shown.  (goto chain is for filters.)"""

SPECS = {
    "gact": ("", "gact action {}"),
    "mirred": ("mirred egress mirror dev v1", r"mirred \(Egress Mirror to device v1\) {}"),
    "skbedit": ("skbedit mark 1", "skbedit  mark 1 {}"),
    "vlan": ("vlan pop", "vlan  pop {}"),
    "csum": ("csum iph", r"csum \(iph\) action {}"),
    "skbmod": ("skbmod set dmac 02:00:00:00:00:01", "skbmod {} set dmac 02:00:00:00:00:01"),
    "tunnel_key": ("tunnel_key unset", "tunnel_key  unset {}"),
    "pedit": ("pedit munge ip ttl set 5", " pedit action {} keys 1"),
    "sample": ("sample rate 10 group 4", "sample rate 1/10 group 4 {}"),
    "simple": ('simple sdata "a"', "Simple <a>"),
    "police": (
        "police rate 1mbit burst 10k conform-exceed",
        " police 0x[0-9a-f]* rate 1Mbit burst 10Kb mtu 2Kb action {}",
    ),
    "bpf": ("bpf bytecode '1,6 0 0 0'", "bpf bytecode '1,6 0 0 0' default-action {}"),
}
"""Of each kind the words before its control, and what is shown with it."""


def controls() -> Iterator[Case]:
    """Every control of every kind."""
    for kind, (words, shown) in SPECS.items():
        for said, name in CONTROLS:
            if kind == "simple":
                continue
            held = "ref 1 bind 0" if kind == "police" else "index 5 ref 1 bind 0"
            pattern = f"{ORDER}{shown.format(name)}.*{held}"
            line = f"actions add action {words} {said} index 5"
            row: Row = (line, 0, pattern, 1)
            yield from of_kind(kind, [row], in_kernel=kind == "mirred" and said not in ("trap",))


INDEXES: list[tuple[str, int, str]] = [
    ("index 1", 0, "index 1 ref"),
    ("index 0", 0, "index 1 ref"),
    ("index 4294967295", 0, "index 4294967295 ref"),
    ("index 10", 0, "index 10 ref"),
    ("", 0, "index 1 ref"),
    ("index 1 cookie 01", 0, "cookie 01"),
    ("index 1 cookie 0123456789abcdef0123456789abcdef", 0, "cookie 0123456789abcdef0123456789abcdef"),
    ("index 1 hw_stats immediate", 0, "\thw_stats immediate"),
    ("index 1 hw_stats delayed", 0, "\thw_stats delayed"),
    ("index 1 hw_stats disabled", 0, "\thw_stats disabled"),
    ("index 1 no_percpu", 0, "no_percpu"),
    ("index 1 skip_hw", 0, "skip_hw"),
    ("index 1 cookie aabb no_percpu skip_hw", 0, "skip_hw"),
]
"""What may stand behind every action, and what is shown of it."""
WRONG_TAILS = [
    "index 4294967296",
    "index -1",
    "index x",
    "index",
    "index 1 cookie",
    "index 1 cookie 0123456789abcdef0123456789abcdef01",
    "index 1 cookie abc",
    "index 1 cookie xyz0",
    "index 1 hw_stats",
    "index 1 hw_stats sometimes",
    "index 1 skip_hw skip_sw",
    "index 1 skip_sw",
    "index 1 what",
]
"""What is refused behind every action."""


def tails() -> Iterator[Case]:
    """Indexes, cookies and flags."""
    for kind, (words, _) in SPECS.items():
        control = "" if kind == "simple" else "pipe"
        some = f"{words} {control}".strip()
        rows: list[Row] = []
        for tail, exit_code, pattern in INDEXES:
            if kind == "police":
                number = tail.removeprefix("index ").split(" ")[0] or "1"
                if pattern.startswith("index"):
                    pattern = f"police {max(int(number, 0), 1):#x} "
            rows.append((f"actions add action {some} {tail}", exit_code, pattern, 1))
        for tail in WRONG_TAILS:
            rows.append((f"actions add action {some} {tail}", 255, ORDER, 0))
        yield from of_kind(kind, rows, in_kernel=kind == "mirred")
        made = f"actions add action {some} index 7"
        in_list = "police 0x7 .*ref 1 bind 0" if kind == "police" else "index 7 ref 1 bind 0"
        rows = [
            (made, 255, in_list, 1, made),
            (made.replace("add", "replace"), 0, in_list, 1, made),
            (made.replace("add", "change"), 0, in_list, 1, made),
            (made.replace("add", "replace"), 0, in_list, 1),
            (made.replace("add", "change"), 0, in_list, 1),
            (f"actions get action {kind} index 7", 0, in_list, 1, made),
            (f"actions get action {kind} index 8", 255, in_list, 1, made),
            (f"actions del action {kind} index 7", 0, ORDER, 0, made),
            (f"actions del action {kind} index 8", 255, in_list, 1, made),
            (f"actions del action {kind} index 4294967296", 255, in_list, 1, made),
            (f"actions del action {kind} index", 255, in_list, 1, made),
            (f"actions del action {kind}", 255, in_list, 1, made),
            (f"actions flush action {kind}", 0, ORDER, 0, made),
            (f"actions flush action {kind}", 0, ORDER, 0),
            (f"actions ls action {kind}", 0, in_list, 1, made),
            (f"actions add action {some} index 9 cookie ffee", 0, "cookie ffee", 1, made),
            (f"actions replace action {some} index 7 cookie aa", 0, "cookie aa", 1, f"{made} cookie bb"),
            (f"actions replace action {some} index 7", 0, "cookie bb", 1, f"{made} cookie bb"),
        ]
        yield from of_kind(kind, rows, in_kernel=kind == "mirred")


# -- What each kind has of its own

GACT: list[Row] = [
    ("actions add action drop random determ pass 5 index 3", 0, "random type determ pass val 5.*index 3", 1),
    (
        "actions add action drop random netrand reclassify 10000",
        0,
        "random type netrand reclassify val 10000",
        1,
    ),
    ("actions add action drop random netrand pass 10001", 255, ORDER, 0),
    ("actions add action drop random netrand pass 65536", 255, ORDER, 0),
    ("actions add action drop random determ pass 0", 0, "random type determ pass val 1", 1),
    ("actions add action drop random none pass 4", 255, ORDER, 0),
    ("actions add action drop random determ goto chain 4 4", 255, ORDER, 0),
    ("actions add action drop random determ jump 4 4", 0, "random type determ jump 4 val 4", 1),
    ("actions add action drop random determ", 255, ORDER, 0),
    ("actions add action drop random", 255, ORDER, 0),
    ("actions add action pass", 0, "random type none pass val 0", 1),
    ("actions add action gact pass index 8", 0, "gact action pass.*index 8", 1),
    ("actions add action gact", 255, ORDER, 0),
    ("actions add action gact index 8", 0, "gact action pass.*index 8", 1),
    ("actions add action stolen", 255, ORDER, 0),
    ("actions add action goto chain 5", 255, ORDER, 0),
    ("actions add action goto chain", 255, ORDER, 0),
    ("actions add action goto", 255, ORDER, 0),
    ("actions add action goto chain 268435456", 255, ORDER, 0),
    ("actions add action jump", 255, ORDER, 0),
    ("actions add action jump 268435456", 255, ORDER, 0),
    ("actions add action jump 0 index 2", 0, "gact action jump 0", 1),
    (
        "actions replace action drop index 2",
        0,
        "action drop.*random type none pass val 0",
        1,
        "actions add action ok index 2",
    ),
    (
        "actions replace action drop index 2",
        0,
        "action drop.*random type determ drop val 7",
        1,
        "actions add action ok random determ drop 7 index 2",
    ),
    ("actions add action pass action drop action pipe", 0, ORDER, 3),
    ("actions add action pass index 1 action drop index 1", 255, ORDER, 0),
    ("actions add action pass index 1 action drop index 2", 255, ORDER, 1, "actions add action ok index 2"),
    (
        "actions delete action gact index 1 action gact index 2",
        0,
        ORDER,
        1,
        "actions add action pass action drop action ok",
    ),
    (
        "actions delete action gact index 1 action gact index 9",
        255,
        ORDER,
        3,
        "actions add action pass action drop action ok",
    ),
    (
        "actions get action gact index 1 action gact index 9",
        255,
        ORDER,
        3,
        "actions add action pass action drop action ok",
    ),
    ("actions flush action nosuch", 1, ORDER, 1, "actions add action pass"),
    ("actions flush", 255, ORDER, 1, "actions add action pass"),
    ("actions flush action", 255, ORDER, 1, "actions add action pass"),
    ("actions ls action nosuch", 0, ORDER, 1, "actions add action pass"),
    ("actions ls", 255, ORDER, 1, "actions add action pass"),
    ("actions ls action", 255, ORDER, 1, "actions add action pass"),
    ("actions foo", 255, ORDER, 1, "actions add action pass"),
    ("actions", 0, ORDER, 1, "actions add action pass"),
    ("actions add", 255, ORDER, 1, "actions add action pass"),
    ("actions add action", 255, ORDER, 1, "actions add action pass"),
    ("actions add action nosuch", 255, ORDER, 1, "actions add action pass"),
    ("action add action pass", 0, ORDER, 1),
    ("act a action pass", 0, ORDER, 1),
    ("actions rep action pass index 4", 0, ORDER, 1),
    ("actions c action pass index 4", 0, ORDER, 1),
    ("actions d action gact index 1", 0, ORDER, 0, "actions add action pass"),
    ("actions g action gact index 1", 0, ORDER, 1, "actions add action pass"),
    ("actions l action gact", 0, ORDER, 1, "actions add action pass"),
    ("actions list action gact", 0, ORDER, 1, "actions add action pass"),
    ("actions show action gact", 0, ORDER, 1, "actions add action pass"),
    ("actions lst action gact", 0, ORDER, 1, "actions add action pass"),
    ("actions f action gact", 0, ORDER, 0, "actions add action pass"),
    ("-s -j actions ls action gact", 0, ORDER, 1, "actions add action pass"),
    ("actions add action " + " action ".join(["pass"] * 32), 0, ORDER, 32),
    ("actions add action " + " action ".join(["pass"] * 33), 255, ORDER, 0),
    (
        "actions del " + " ".join(f"action gact index {n}" for n in range(1, 33)),
        0,
        ORDER,
        1,
        "actions add action " + " action ".join(["pass"] * 32) + "; actions add action drop index 100",
    ),
    ("actions add action pass skip_sw", 255, ORDER, 0),
    ("actions add action drop no_percpu index 3", 0, "no_percpu", 1),
]

MIRRED: list[Row] = [
    (
        "actions add action mirred egress mirror dev v1 index 1",
        0,
        r"\(Egress Mirror to device v1\) pipe.*index 1",
        1,
    ),
    (
        "actions add action mirred egress redirect dev v1 index 1",
        0,
        r"\(Egress Redirect to device v1\) stolen.*index 1",
        1,
    ),
    ("actions add action mirred ingress mirror dev lo", 0, r"\(Ingress Mirror to device lo\) pipe", 1),
    ("actions add action mirred ingress redirect dev lo", 0, r"\(Ingress Redirect to device lo\) stolen", 1),
    ("actions add action mirred egress mirror index 4 dev v1", 0, r"to device v1\) pipe.*index 4", 1),
    ("actions add action mirred egress mirror", 255, ORDER, 0),
    ("actions add action mirred egress dev v1", 255, ORDER, 0),
    ("actions add action mirred mirror dev v1", 255, ORDER, 0),
    ("actions add action mirred sideways mirror dev v1", 255, ORDER, 0),
    ("actions add action mirred egress remirror dev v1", 255, ORDER, 0),
    ("actions add action mirred egress mirror dev nope", 255, ORDER, 0),
    ("actions add action mirred egress mirror dev", 255, ORDER, 0),
    ("actions add action mirred egress mirror redirect dev v1", 255, ORDER, 0),
    ("actions add action mirred", 255, ORDER, 0),
    ("actions add action mirred index 5", 255, ORDER, 0),
    ("actions add action mirred egress redirect dev v1 nosuch", 255, ORDER, 0),
    ("actions add action mirred egress mirror dev v1 goto chain 4", 255, ORDER, 0),
    (
        "actions replace action mirred ingress redirect dev lo index 4",
        0,
        r"\(Ingress Redirect to device lo\) stolen",
        1,
        "actions add action mirred egress mirror dev v1 index 4",
    ),
    (
        "actions replace action mirred egress mirror dev nope index 4",
        255,
        r"\(Egress Mirror to device v1\) pipe",
        1,
        "actions add action mirred egress mirror dev v1 index 4",
    ),
]

SKBEDIT: list[Row] = [
    ("actions add action skbedit mark 1", 0, "skbedit  mark 1 pipe", 1),
    ("actions add action skbedit mark 4294967295", 0, "mark 4294967295", 1),
    ("actions add action skbedit mark 4294967296", 255, ORDER, 0),
    ("actions add action skbedit mark 1/0xaabb", 0, "mark 1/0xaabb", 1),
    ("actions add action skbedit mark 1/-4294967295", 255, ORDER, 0),
    ("actions add action skbedit mark 1/0xaaaaaaaaa", 255, ORDER, 0),
    ("actions add action skbedit mark -1", 255, ORDER, 0),
    ("actions add action skbedit mark", 255, ORDER, 0),
    ("actions add action skbedit priority 99", 0, "skbedit  priority :99", 1),
    ("actions add action skbedit prio 1:10", 0, "skbedit  priority 1:10", 1),
    ("actions add action skbedit priority foo", 255, ORDER, 0),
    ("actions add action skbedit priority 10000:1", 255, ORDER, 0),
    ("actions add action skbedit queue_mapping 909", 0, "queue_mapping 909", 1),
    ("actions add action skbedit queue_mapping 65535", 0, "queue_mapping 65535", 1),
    ("actions add action skbedit queue_mapping 65536", 255, ORDER, 0),
    ("actions add action skbedit queue_mapping x", 255, ORDER, 0),
    ("actions add action skbedit ptype host", 0, "ptype host", 1),
    ("actions add action skbedit ptype broadcast", 0, "ptype broadcast", 1),
    ("actions add action skbedit ptype multicast", 0, "ptype multicast", 1),
    ("actions add action skbedit ptype otherhost", 0, "ptype otherhost", 1),
    ("actions add action skbedit ptype openhost", 255, ORDER, 0),
    ("actions add action skbedit ptype", 255, ORDER, 0),
    ("actions add action skbedit inheritdsfield", 0, "inheritdsfield", 1),
    ("actions add action skbedit", 255, ORDER, 0),
    ("actions add action skbedit pipe", 255, ORDER, 0),
    (
        "actions add action skbedit ptype host mark 4 priority 2:3 queue_mapping 7 pass",
        0,
        "queue_mapping 7 priority 2:3 mark 4 ptype host pass",
        1,
    ),
    (
        "actions replace action skbedit priority 1 index 9",
        0,
        "priority :1 pipe",
        1,
        "actions add action skbedit mark 2 index 9",
    ),
    ("actions add action skbedit mark 500 goto chain 0", 255, ORDER, 0),
]

VLAN: list[Row] = [
    ("actions add action vlan pop", 0, "vlan  pop pipe", 1),
    ("actions add action vlan push id 123", 0, r"vlan  push id 123 protocol 802.1Q priority 0 pipe", 1),
    ("actions add action vlan push protocol 802.1Q id 4094", 0, "push id 4094 protocol 802.1Q", 1),
    ("actions add action vlan push protocol 802.1ad id 1", 0, "push id 1 protocol 802.1ad", 1),
    ("actions add action vlan push protocol ABCD id 1", 255, ORDER, 0),
    ("actions add action vlan push protocol ip id 1", 255, ORDER, 0),
    ("actions add action vlan push id 4095", 255, ORDER, 0),
    ("actions add action vlan push id 4096", 255, ORDER, 0),
    ("actions add action vlan push id 0", 0, "push id 0", 1),
    ("actions add action vlan push id 7 priority 7", 0, "priority 7", 1),
    ("actions add action vlan push id 7 priority 8", 255, ORDER, 0),
    ("actions add action vlan push", 255, ORDER, 0),
    ("actions add action vlan push priority 3", 255, ORDER, 0),
    ("actions add action vlan pop id 3", 255, ORDER, 0),
    ("actions add action vlan modify id 5", 0, "modify id 5 protocol 802.1Q pipe", 1),
    (
        "actions add action vlan modify id 5 protocol 802.1ad priority 2",
        0,
        "modify id 5 protocol 802.1ad priority 2",
        1,
    ),
    ("actions add action vlan modify protocol 802.1ad", 255, ORDER, 0),
    ("actions add action vlan pop_eth", 0, "vlan  pop_eth pipe", 1),
    (
        "actions add action vlan push_eth dst_mac 02:00:00:00:00:01 src_mac 02:00:00:00:00:02",
        0,
        "push_eth dst_mac 02:00:00:00:00:01 src_mac 02:00:00:00:00:02",
        1,
    ),
    ("actions add action vlan push_eth dst_mac 02:00:00:00:00:01", 255, ORDER, 0),
    ("actions add action vlan push_eth", 255, ORDER, 0),
    ("actions add action vlan", 255, ORDER, 0),
    ("actions add action vlan pass", 255, ORDER, 0),
    ("actions add action vlan push id 5 reclassify index 7", 0, "push id 5.*reclassify.*index 7", 1),
    (
        "actions replace action vlan push id 6 index 7",
        0,
        "push id 6 protocol 802.1Q priority 0",
        1,
        "actions add action vlan push id 5 priority 2 index 7",
    ),
    (
        "actions replace action vlan pop index 7",
        0,
        "vlan  pop",
        1,
        "actions add action vlan push id 5 index 7",
    ),
    ("actions add action vlan pop index 44 goto chain 1", 255, ORDER, 0),
]

CSUM: list[Row] = [
    *(
        (f"actions add action csum {said}", 0, rf"csum \({shown}\) action pass", 1)
        for said, shown in (
            ("iph", "iph"),
            ("ip4h", "iph"),
            ("ipv4h", "iph"),
            ("icmp", "icmp"),
            ("igmp", "igmp"),
            ("tcp", "tcp"),
            ("udp", "udp"),
            ("udplite", "udplite"),
            ("sctp", "sctp"),
            ("ip4h and tcp", "iph, tcp"),
            ("udp or ip4h", "iph, udp"),
            ("ip4h + icmp + igmp + tcp + udp + udplite + sctp", "iph, icmp, igmp, tcp, udp, udplite, sctp"),
            ("ip4h and icmp or udp tcp", "iph, icmp, tcp, udp"),
        )
    ),
    ("actions add action csum", 255, ORDER, 0),
    ("actions add action csum foo", 255, ORDER, 0),
    ("actions add action csum udp udp index 3", 0, r"csum \(udp\)", 1),
    ("actions add action csum tcp pipe index 4", 0, r"csum \(tcp\) action pipe.*index 4", 1),
    (
        "actions replace action csum icmp index 4",
        0,
        r"csum \(icmp\) action pass",
        1,
        "actions add action csum tcp index 4",
    ),
    ("actions add action csum iph goto chain 3", 255, ORDER, 0),
]

SKBMOD: list[Row] = [
    (
        "actions add action skbmod set dmac 02:00:00:00:00:01 index 5",
        0,
        "skbmod pipe set dmac 02:00:00:00:00:01.*index 5",
        1,
    ),
    ("actions add action skbmod set smac 02:00:00:00:00:02", 0, "skbmod pipe set smac 02:00:00:00:00:02", 1),
    (
        "actions add action skbmod dmac 02:00:00:00:00:01 smac 02:00:00:00:00:02",
        0,
        "set dmac 02:00:00:00:00:01 set smac 02:00:00:00:00:02",
        1,
    ),
    ("actions add action skbmod set etype 0xfefe", 0, "set etype 0xFEFE", 1),
    ("actions add action skbmod set etype 65535", 0, "set etype 0xFFFF", 1),
    ("actions add action skbmod set etype 65536", 255, ORDER, 0),
    ("actions add action skbmod set etype 0", 255, ORDER, 0),
    ("actions add action skbmod swap mac", 0, "skbmod pipe swap mac", 1),
    ("actions add action skbmod ecn", 0, "skbmod pipe ecn", 1),
    ("actions add action skbmod set dmac 00:44:55:44:55:66 etype 0x0001 swap mac pass", 0, ORDER, 1),
    ("actions add action skbmod set dmac nomac", 255, ORDER, 0),
    ("actions add action skbmod set smac 02:00:00:00:00", 255, ORDER, 0),
    ("actions add action skbmod set", 255, ORDER, 0),
    ("actions add action skbmod swap", 255, ORDER, 0),
    ("actions add action skbmod", 255, ORDER, 0),
    ("actions add action skbmod swap mac goto chain 1", 255, ORDER, 0),
    (
        "actions replace action skbmod set smac 02:00:00:00:00:07 index 5",
        0,
        "set smac 02:00:00:00:00:07",
        1,
        "actions add action skbmod swap mac index 5",
    ),
    ("actions add action skbmod set smac 02:00:00:00:00:02 continue", 0, "skbmod continue set smac", 1),
]

TUNNEL = "tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2 id 1"
TUNNEL_KEY: list[Row] = [
    (f"actions add action {TUNNEL}", 0, r"src_ip 10.0.0.1.*dst_ip 10.0.0.2.*key_id 1.*csum pipe", 1),
    ("actions add action tunnel_key set src_ip ::1 dst_ip ::2 id 1", 0, "src_ip ::1.*dst_ip ::2", 1),
    ("actions add action tunnel_key unset", 0, "tunnel_key  unset pipe", 1),
    ("actions add action tunnel_key release", 255, ORDER, 0),
    ("actions add action tunnel_key", 255, ORDER, 0),
    (
        "actions add action tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2 id 4294967295",
        0,
        "key_id 4294967295",
        1,
    ),
    ("actions add action tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2 id 4294967296", 255, ORDER, 0),
    ("actions add action tunnel_key set src_ip 300.168.100.1 dst_ip 10.0.0.2 id 7", 1, ORDER, 0),
    ("actions add action tunnel_key set src_ip 10.0.0.1 dst_ip ::2 id 7", 255, ORDER, 0),
    ("actions add action tunnel_key set src_ip 10.0.0.1 id 7", 255, ORDER, 0),
    ("actions add action tunnel_key set dst_ip 10.0.0.1 id 7", 255, ORDER, 0),
    ("actions add action tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2", 0, "src_ip 10.0.0.1", 1),
    (f"actions add action {TUNNEL} dst_port 4789", 0, "dst_port 4789", 1),
    (f"actions add action {TUNNEL} dst_port 65536", 255, ORDER, 0),
    (f"actions add action {TUNNEL} csum", 0, "csum pipe", 1),
    (f"actions add action {TUNNEL} nocsum", 0, "nocsum pipe", 1),
    (f"actions add action {TUNNEL} tos 8", 0, "tos 0x8", 1),
    (f"actions add action {TUNNEL} tos 256", 255, ORDER, 0),
    (f"actions add action {TUNNEL} ttl 64", 0, "ttl 64", 1),
    (f"actions add action {TUNNEL} ttl 256", 255, ORDER, 0),
    (
        f"actions add action {TUNNEL} dst_port 6081 geneve_opts 0102:80:00880022",
        0,
        "geneve_opts? 0102:80:00880022",
        1,
    ),
    (
        f"actions add action {TUNNEL} geneve_opts 0102:80:00880022,0408:42:0040007611223344",
        0,
        "0102:80:00880022,0408:42:0040007611223344",
        1,
    ),
    (f"actions add action {TUNNEL} geneve_opts 824212:80:00880022", 255, ORDER, 0),
    (f"actions add action {TUNNEL} geneve_opts 0102:4224:00880022", 255, ORDER, 0),
    (f"actions add action {TUNNEL} geneve_opts 0102:80:4288", 255, ORDER, 0),
    (f"actions add action {TUNNEL} geneve_opts 0102:80:", 255, ORDER, 0),
    (f"actions add action {TUNNEL} vxlan_opts 56", 0, "vxlan_opts? 56", 1),
    (f"actions add action {TUNNEL} erspan_opts 1:7:0:0", 0, "erspan_opts? 1:7:0:0", 1),
    (f"actions add action {TUNNEL} erspan_opts 2:0:1:63", 0, "erspan_opts? 2:0:1:63", 1),
    (f"actions add action {TUNNEL} erspan_opts 3:0:1:63", 255, ORDER, 0),
    (f"actions add action {TUNNEL} pass index 4", 0, "csum pass.*index 4", 1),
    (f"actions add action {TUNNEL} goto chain 4", 255, ORDER, 0),
    (
        "actions replace action tunnel_key unset index 4",
        0,
        "unset",
        1,
        f"actions add action {TUNNEL} index 4",
    ),
    (f"actions replace action {TUNNEL}1 index 4", 0, "key_id 11", 1, f"actions add action {TUNNEL} index 4"),
]

SIMPLE: list[Row] = [
    ('actions add action simple sdata "A triumph" index 60', 0, "Simple <A triumph>.*index 60", 1),
    (
        "actions add action simple sdata 1234567890123456789012345678901",
        0,
        "<1234567890123456789012345678901>",
        1,
    ),
    ("actions add action simple sdata 12345678901234567890123456789012", 255, ORDER, 0),
    ("actions add action simple sdata", 255, ORDER, 0),
    ("actions add action simple", 255, ORDER, 0),
    ("actions add action simple index 4", 255, ORDER, 0),
    (
        "actions replace action simple sdata B index 60",
        0,
        "Simple <B>",
        1,
        "actions add action simple sdata A index 60",
    ),
    ("actions add action simple sdata A action simple sdata B", 0, ORDER, 2),
]

SAMPLE: list[Row] = [
    ("actions add action sample rate 10 group 1 index 2", 0, "sample rate 1/10 group 1 pipe.*index 2", 1),
    (
        "actions add action sample rate 4294967295 group 4294967295",
        0,
        "rate 1/4294967295 group 4294967295",
        1,
    ),
    ("actions add action sample rate 4294967296 group 1", 255, ORDER, 0),
    ("actions add action sample rate 10 group 4294967296", 255, ORDER, 0),
    ("actions add action sample rate 10 group 0", 0, "group 0", 1),
    ("actions add action sample rate 0 group 1", 255, ORDER, 0),
    ("actions add action sample group 1", 255, ORDER, 0),
    ("actions add action sample rate 10", 255, ORDER, 0),
    ("actions add action sample", 255, ORDER, 0),
    ("actions add action sample rate 10 group 1 trunc 1024", 0, "trunc_size 1024", 1),
    ("actions add action sample rate 10 group 1 trunc x", 255, ORDER, 0),
    ("actions add action sample rate 10 group 1 trunc 4294967295", 0, "trunc_size 4294967295", 1),
    ("actions add action sample rate 10 group 1 goto chain 1", 255, ORDER, 0),
    (
        "actions replace action sample rate 20 group 2 index 2",
        0,
        "rate 1/20 group 2",
        1,
        "actions add action sample rate 10 group 1 index 2",
    ),
    (
        "actions replace action sample rate 0 group 2 index 2",
        255,
        "rate 1/10 group 1",
        1,
        "actions add action sample rate 10 group 1 index 2",
    ),
]

POLICE: list[Row] = [
    (
        "actions add action police rate 1kbit burst 10k index 1",
        0,
        "police 0x1 rate 1Kbit burst 10Kb mtu 2Kb action reclassify overhead 0b",
        1,
    ),
    ("actions add action police rate 1mbit burst 1k mtu 2kb", 0, "rate 1Mbit burst 1Kb mtu 2Kb", 1),
    (
        "actions add action police rate 7mbit burst 1024k mtu 1000",
        0,
        "rate 7Mbit burst 1Mb mtu 1000b|rate 7Mbit burst 1024Kb mtu 1000b",
        1,
    ),
    ("actions add action police rate 1mbit burst 10k peakrate 2mbit mtu 1k", 0, "peakrate 2Mbit", 1),
    ("actions add action police rate 1mbit burst 10k peakrate 2mbit", 255, ORDER, 0),
    ("actions add action police rate 1mbit", 255, ORDER, 0),
    ("actions add action police burst 10k", 255, ORDER, 0),
    ("actions add action police", 255, ORDER, 0),
    ("actions add action police avrate 1mbit", 255, ORDER, 0),
    ("actions add action police rate 10mbit burst 10k avrate 1mbit", 255, ORDER, 0),
    ("actions add action police rate 1mbit burst 10k conform-exceed drop", 0, "action drop", 1),
    ("actions add action police rate 1mbit burst 10k conform-exceed pass/pipe", 0, "action pass/pipe", 1),
    (
        "actions add action police rate 1mbit burst 10k conform-exceed drop/continue",
        0,
        "action drop/continue",
        1,
    ),
    (
        "actions add action police rate 1mbit burst 10k conform-exceed pass/drop",
        0,
        "action pass/drop|action pass",
        1,
    ),
    ("actions add action police rate 1mbit burst 10k conform-exceed foo", 255, ORDER, 0),
    ("actions add action police rate 1mbit burst 10k conform-exceed pass / goto chain 3", 255, ORDER, 0),
    ("actions add action police rate 1mbit burst 10k conform-exceed goto chain 3", 255, ORDER, 0),
    (
        "actions add action police rate 1mbit burst 10k conform-exceed jump 3 / pipe",
        0,
        "action jump 3/pipe",
        1,
    ),
    ("actions add action police rate 1mbit burst 10k drop", 0, "action drop", 1),
    ("actions add action police rate 1mbit burst 10k overhead 64", 0, "overhead 64b", 1),
    ("actions add action police rate 1mbit burst 10k linklayer ethernet", 0, "overhead 0b", 1),
    ("actions add action police rate 1mbit burst 10k linklayer atm", 0, "linklayer atm", 1),
    ("actions add action police rate 1mbit burst 10k linklayer adsl", 0, "linklayer atm", 1),
    ("actions add action police rate 1mbit burst 10k linklayer foo", 255, ORDER, 0),
    ("actions add action police rate 8gbit burst 1m", 0, "rate 8Gbit", 1),
    ("actions add action police rate 80gbit burst 10m", 0, "rate 80Gbit", 1),
    ("actions add action police rate 3mb burst 250k", 255, ORDER, 0),
    ("actions add action police rate x burst 250k", 255, ORDER, 0),
    ("actions add action police rate 1mbit burst x", 255, ORDER, 0),
    ("actions add action police rate 1mbit burst", 255, ORDER, 0),
    ("actions add action police pkts_rate 1000 pkts_burst 200", 0, "pkts_rate 1000 pkts_burst 200", 1),
    ("actions add action police pkts_rate 1000", 255, ORDER, 0),
    ("actions add action police pkts_rate 1000 pkts_burst 200 rate 1mbit burst 1k", 255, ORDER, 0),
    ("actions add action police rate 1mbit burst 1k rate 2mbit", 255, ORDER, 0),
    (
        "actions replace action police rate 3mbit burst 20k index 4",
        0,
        "police 0x4 rate 3Mbit burst 20Kb",
        1,
        "actions add action police rate 1mbit burst 10k index 4",
    ),
    (
        "actions add action police rate 3mbit burst 20k index 4",
        255,
        "police 0x4 rate 1Mbit burst 10Kb",
        1,
        "actions add action police rate 1mbit burst 10k index 4",
    ),
    ("actions add action police rate 1mbit burst 1k index 4294967295", 0, "police 0xffffffff rate", 1),
    ("actions add action police index 9", 0, "police 0x9 rate 0bit burst 0b", 1),
    ("actions add action police mtu 1500 conform-exceed drop", 0, "mtu 1500b action drop", 1),
]

PEDIT: list[Row] = [
    (
        "actions add action pedit munge offset 0 u32 set 0x11223344",
        0,
        r"keys 1.*key #0  at 0: val 11223344 mask 00000000",
        1,
    ),
    (
        "actions add action pedit munge offset 4 u16 set 0x1122 retain 0xff",
        0,
        r"key #0  at 4: val 00220000 mask ff00ffff",
        1,
    ),
    ("actions add action pedit munge offset 3 u8 set 7", 0, r"at 0: val 00000007 mask ffffff00", 1),
    ("actions add action pedit munge offset 1 u16 set 7", 0, r"at 0: val 00000700 mask ff0000ff", 1),
    ("actions add action pedit munge offset 3 u16 set 7", 255, ORDER, 0),
    ("actions add action pedit munge offset 2 u32 set 7", 255, ORDER, 0),
    ("actions add action pedit munge offset 0 u32 clear", 0, r"at 0: val 00000000 mask 00000000", 1),
    ("actions add action pedit munge offset 0 u32 invert", 0, r"at 0: val ffffffff mask ffffffff", 1),
    ("actions add action pedit munge offset 0 u32 preserve", 0, r"at 0: val 00000000 mask ffffffff", 1),
    ("actions add action pedit munge offset 0 u64 set 1", 255, ORDER, 0),
    ("actions add action pedit munge offset x u32 set 1", 255, ORDER, 0),
    ("actions add action pedit munge offset 0 u32 set", 255, ORDER, 0),
    ("actions add action pedit munge offset 0 u8 set 256", 255, ORDER, 0),
    ("actions add action pedit munge offset 0 u32 at 24 ff 3 set 1", 0, "keys 1", 1),
    ("actions add action pedit munge ip src set 1.2.3.4", 0, "at 12: val 01020304 mask 00000000", 1),
    ("actions add action pedit munge ip dst set 1.2.3.4", 0, "at 16: val 01020304 mask 00000000", 1),
    ("actions add action pedit munge ip src set 1.2.3.400", 255, ORDER, 0),
    ("actions add action pedit munge ip ttl add 1", 255, ORDER, 0),
    (
        "actions add action pedit ex munge ip ttl add 1",
        0,
        r"key #0  at ipv4\+8: add 01000000 mask 00ffffff",
        1,
    ),
    ("actions add action pedit ex munge ip ttl dec", 0, r"key #0  at ipv4\+8: add ff000000 mask 00ffffff", 1),
    (
        "actions add action pedit ex munge eth src set 02:00:00:00:00:01",
        0,
        r"key #0  at eth\+4.*key #1  at eth\+8",
        1,
    ),
    (
        "actions add action pedit ex munge eth dst set 02:00:00:00:00:01",
        0,
        r"key #0  at eth\+0.*key #1  at eth\+4",
        1,
    ),
    ("actions add action pedit ex munge eth dst set 02:00:00:00:00", 255, ORDER, 0),
    ("actions add action pedit ex munge eth type set 0x800", 0, r"at eth\+12: val 08000000 mask 0000ffff", 1),
    ("actions add action pedit munge eth src set 02:00:00:00:00:01", 255, ORDER, 0),
    (
        "actions add action pedit ex munge ip6 src set 2001::1",
        0,
        r"keys 4.*at ipv6\+8.*at ipv6\+20: val 00000001",
        1,
    ),
    ("actions add action pedit ex munge ip6 hoplimit set 3", 0, r"at ipv6\+4: val 00000003 mask ffffff00", 1),
    ("actions add action pedit ex munge ip6 src set 2001:::1", 255, ORDER, 0),
    ("actions add action pedit ex munge tcp sport set 80", 0, r"at tcp\+0: val 00500000 mask 0000ffff", 1),
    ("actions add action pedit ex munge tcp dport set 80", 0, r"at tcp\+0: val 00000050 mask ffff0000", 1),
    ("actions add action pedit ex munge tcp flags set 2", 0, r"at tcp\+12: val 00020000 mask ff00ffff", 1),
    ("actions add action pedit ex munge udp dport set 53", 0, r"at udp\+0: val 00000035 mask ffff0000", 1),
    ("actions add action pedit ex munge udp dport add 5", 0, r"at udp\+0: add 00000005 mask ffff0000", 1),
    ("actions add action pedit ex munge udp foo set 53", 255, ORDER, 0),
    ("actions add action pedit ex munge vlan vid set 3", 255, ORDER, 0),
    ("actions add action pedit", 255, ORDER, 0),
    ("actions add action pedit ex", 255, ORDER, 0),
    ("actions add action pedit munge", 255, ORDER, 0),
    ("actions add action pedit munge ip", 255, ORDER, 0),
    ("actions add action pedit munge foo bar set 1", 255, ORDER, 0),
    (
        "actions add action pedit munge ip ttl set 1 munge ip tos set 2 pipe index 8",
        0,
        "action pipe keys 2.*index 8",
        1,
    ),
    ("actions add action pedit munge ip ttl set 1 goto chain 3", 255, ORDER, 0),
    (
        "actions replace action pedit munge ip tos set 4 index 8",
        0,
        "keys 1.*at 0: val 00040000 mask ff00ffff",
        1,
        "actions add action pedit munge ip ttl set 1 index 8",
    ),
    ("actions add action pedit munge ip ttl set 1 continue", 0, "action continue keys 1", 1),
]

BPF: list[Row] = [
    (
        "actions add action bpf bytecode '4,40 0 0 12,21 0 1 2048,6 0 0 262144,6 0 0 0'",
        0,
        r"bpf bytecode '4,40 0 0 12,21 0 1 2048,6 0 0 262144,6 0 0 0' default-action pipe",
        1,
    ),
    (
        "actions add action bpf bytecode '1,6 0 0 0' index 100 cookie 01 drop",
        0,
        "default-action pipe.*index 100",
        1,
    ),
    (
        "actions add action bpf bytecode '1,6 0 0 0' drop index 100 cookie 01",
        0,
        "default-action drop.*index 100.*cookie 01",
        1,
    ),
    ("actions add action bpf bytecode '4,40 0 0 12,31 0 1 2048,6 0 0 262144,6 0 0 0'", 255, ORDER, 0),
    ("actions add action bpf bytecode '2,6 0 0 0'", 255, ORDER, 0),
    ("actions add action bpf bytecode '1,5 0 0 7'", 255, ORDER, 0),
    ("actions add action bpf bytecode ''", 255, ORDER, 0),
    ("actions add action bpf bytecode", 255, ORDER, 0),
    ("actions add action bpf", 255, ORDER, 0),
    ("actions add action bpf object-file /nowhere/x.o section action-ok", 255, ORDER, 0),
    ("actions add action bpf object-pinned /nowhere/pin", 255, ORDER, 0),
    ("actions add action bpf bytecode-file /nowhere/bytecode", 255, ORDER, 0),
    ("actions add action bpf bytecode '1,6 0 0 0' goto chain 1", 255, ORDER, 0),
    (
        "actions replace action bpf bytecode '1,6 0 0 1' index 5",
        0,
        "'1,6 0 0 1'",
        1,
        "actions add action bpf bytecode '1,6 0 0 0' index 5",
    ),
]

OWN = {
    "gact": GACT,
    "mirred": MIRRED,
    "skbedit": SKBEDIT,
    "vlan": VLAN,
    "csum": CSUM,
    "skbmod": SKBMOD,
    "tunnel_key": TUNNEL_KEY,
    "simple": SIMPLE,
    "sample": SAMPLE,
    "police": POLICE,
    "pedit": PEDIT,
    "bpf": BPF,
}


def own() -> Iterator[Case]:
    """The options of each kind."""
    for kind, rows in OWN.items():
        yield from of_kind(kind, rows, in_kernel=kind == "mirred")


CASES = [*controls(), *tails(), *own()]
