"""What tc prints of the kernel's answers about actions, line by line, each with the source that it follows.

The kernel here has only mirred among these kinds, so its sources (6.18) are the judge: the `*_init` and
`*_dump` of net/sched/act_*.c, and net/sched/act_api.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

import clsbpf

PASS = "'1,6 0 0 0'"
FILTER = f"filter add dev lab0 ingress pref 1 bpf bytecode {PASS} action"
TUNNEL = "tunnel_key set src_ip 1.1.1.1 dst_ip 2.2.2.2 id 1"
NOT_FOUND = "Error: TC action with specified index not found."
EINVAL = "RTNETLINK answers: Invalid argument"
EEXIST = "RTNETLINK answers: File exists"
ERANGE = "RTNETLINK answers: Numerical result out of range"


@dataclass(frozen=True)
class Refused:
    """Lines, of which the last is refused, and with which words."""

    source: str
    lines: tuple[str, ...]
    says: str


def refused(source: str, *lines: str, says: str) -> Refused:
    return Refused(source, lines, says)


REFUSED = [
    refused(
        "tcf_gact_init",
        "actions add action pass random determ goto chain 5 5",
        says="Error: goto chain not allowed on fallback.",
    ),
    refused(
        "tcf_action_check_ctrlact",
        "actions add action goto chain 5",
        says="Error: can't goto NULL proto/chain.",
    ),
    refused("tcf_gact_init", *["actions add action pass index 8"] * 2, says=EEXIST),
    refused(
        "tcf_action_get_1",
        "actions get action gact index 8",
        says=NOT_FOUND,
    ),
    refused(
        "tcf_action_get_1",
        "actions get action nosuch index 8",
        says=NOT_FOUND,
    ),
    refused(
        "tcf_action_get_1", "actions get action gact index 0",
        says="Error: Invalid TC action index value.",
    ),
    refused(
        "tcf_idr_delete_index",
        "actions add action drop index 8",
        f"{FILTER} gact index 8",
        "actions del action gact index 8",
        says="Error: Failed to delete TC action.",
    ),
    refused("tcf_police_init", "actions add action police avrate 1mbit", says=EINVAL),
    refused(
        "tcf_police_init",
        "actions add action police rate 1mbit burst 10k conform-exceed drop/536870917",
        says="Error: goto chain not allowed on fallback.",
    ),
    refused("tcf_vlan_init", "actions add action vlan push id 4095", says=ERANGE),
    refused(
        "tcf_sample_init", "actions add action sample rate 0 group 1",
        says="Error: invalid sample rate.",
    ),
    refused(
        "tcf_sample_init",
        "actions add action sample index 5",
        says="Error: sample rate and group are required.",
    ),
    refused(
        "tcf_pedit_init",
        "actions add action pedit index 5",
        says="Error: act_pedit: Pedit requires keys to be passed.",
    ),
    refused("tcf_skbedit_init", "actions add action skbedit index 5", says=EINVAL),
    refused("tcf_simp_init", "actions add action simple index 5", says=EINVAL),
    refused("tcf_skbmod_init", "actions add action skbmod index 5", says=EINVAL),
    refused("tcf_vlan_init", "actions add action vlan index 5", says=EINVAL),
    refused("tcf_bpf_init", "actions add action bpf index 5", says=EINVAL),
    refused(
        "tunnel_key_init",
        "actions add action tunnel_key index 5",
        says="Error: Unknown tunnel key action.",
    ),
    refused(
        "tunnel_key_init", *[f"actions add action {TUNNEL} index 5"] * 2, says="Error: TC IDR already exists."
    ),
    refused(
        "tunnel_key_copy_geneve_opt",
        f"actions add action {TUNNEL} geneve_opts 0102:80:008800",
        says="Error: Tunnel key geneve option data is less than 4 bytes long.",
    ),
    refused(
        "tunnel_key_copy_geneve_opt",
        f"actions add action {TUNNEL} geneve_opts 0102:80:0088002200",
        says="Error: Tunnel key geneve option data is not a multiple of 4 bytes long.",
    ),
    refused(
        "tunnel_key_init",
        "actions add action tunnel_key set src_ip 1.1.1.1 dst_ip ::1 id 1",
        says="Error: Missing either ipv4 or ipv6 src and dst.",
    ),
    refused(
        "tcf_action_init",
        f"{FILTER} drop skip_hw",
        says="Error: Mismatch between action and filter offload flags.",
    ),
    refused("tcf_mirred_init", "actions add action mirred index 5",
            says="Error: act_mirred: Unknown mirred option."),
    refused("tc_lookup_action", "actions flush action nosuch", says="Error: Cannot flush unknown TC action."),
    refused(
        "tc_action_load_ops",
        "actions add action pass action nosuch",
        says="Bad action type nosuch",
    ),
]  # fmt: skip


def lab() -> clsbpf.Engine:
    engine = clsbpf.Engine()
    engine.add_device("lab0")
    engine.tc("qdisc add dev lab0 clsact")
    return engine


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.source}: {case.lines[-1]}")
def test_refusals(case: Refused) -> None:
    engine = lab()
    for line in case.lines[:-1]:
        engine.tc(line)
    with pytest.raises(clsbpf.TcError) as caught:
        engine.tc(case.lines[-1])
    assert str(caught.value).splitlines()[0] == case.says
    expected = 2 if case.lines[-1].startswith("filter") else 1 if "flush" in case.lines[-1] else 255
    assert caught.value.exit_code == expected


TOLD = [
    # tcf_vlan_init: what is pushed has a priority, what is modified only if it was said.
    ("vlan push id 5", "vlan  push id 5 protocol 802.1Q priority 0 pipe"),
    ("vlan push id 5 priority 3", "vlan  push id 5 protocol 802.1Q priority 3 pipe"),
    ("vlan modify id 5", "vlan  modify id 5 protocol 802.1Q pipe"),
    ("vlan modify id 5 priority 0", "vlan  modify id 5 protocol 802.1Q priority 0 pipe"),
    # tcf_police_init: an mtu that was not said follows from the rate's table.
    ("police rate 1mbit burst 10k",
     " police 0x1 rate 1Mbit burst 10Kb mtu 2Kb action reclassify overhead 0b "),
    ("police pkts_rate 1000 pkts_burst 10",
     " police 0x1 rate 0bit burst 0b mtu 4096Mb pkts_rate 1000 pkts_burst 10 action reclassify overhead 0b "),
    # tcf_skbedit_dump: a mask only where one was said.
    ("skbedit mark 5", "skbedit  mark 5 pipe"),
    ("skbedit mark 5/0xf", "skbedit  mark 5/0xf pipe"),
    ("sample rate 10 group 3 trunc 64", "sample rate 1/10 group 3 trunc_size 64 pipe"),
    ("tunnel_key unset", "tunnel_key  unset pipe"),
    ("csum ip4h and udp", "csum (iph, udp) action pass"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "row"), TOLD)
def test_rows(spec: str, row: str) -> None:
    engine = lab()
    engine.tc(f"actions add action {spec} index 1")
    text = engine.tc_words(f"actions ls action {spec.split()[0]}".split()).stdout
    assert text.splitlines()[2] == f"\taction order 0: {row}"


def test_a_replacement_keeps_what_it_does_not_name() -> None:
    engine = lab()
    engine.tc("actions add action sample rate 10 group 3 trunc 64 index 1")
    engine.tc("actions replace action sample rate 20 group 4 index 1")
    engine.tc("actions add action pass random determ drop 7 index 1")
    engine.tc("actions replace action pipe index 1")
    assert "rate 1/20 group 4 trunc_size 64" in engine.tc_words(["actions", "ls", "action", "sample"]).stdout
    rows = engine.tc_words(["actions", "ls", "action", "gact"]).stdout
    assert re.search(r"gact action pipe\n\t random type determ drop val 7", rows)
