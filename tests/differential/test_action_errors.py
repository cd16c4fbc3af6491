"""Action lines that tc refuses: the same exit code and words, but for the help texts, which are our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clsbpf.tccmd.words import split_words
from tc_judge import TcJudge, tc_judge
from tc_lines import PASS
from tc_ours import Ours

SPECS = """\
police
police rate
police rate 1mbit
police rate x
police rate 1mbit rate 2mbit burst 1k
police rate 1mbit burst x
police rate 1mbit burst 10k/3
police burst 10k
police peakrate 1mbit mtu 1k
police rate 1mbit burst 1k peakrate 1mbit
police pkts_rate 5
police pkts_rate x
police pkts_rate 5 pkts_burst 5 rate 1mbit burst 1k
police rate 1mbit burst 1k conform-exceed foo
police rate 1mbit burst 1k conform-exceed drop/foo
police rate 1mbit burst 1k linklayer foo
police rate 1mbit burst 1k index x
police rate 1mbit avrate 1mbit burst 1k
police mpu x
police rate 1mbit burst 1k overhead x
skbedit
skbedit mark
skbedit mark x
skbedit mark 1/x
skbedit priority x
skbedit queue_mapping 70000
skbedit ptype foo
skbedit mark 1 index x
skbedit foo
vlan
vlan push
vlan id 5
vlan push id x
vlan push id 5 priority 9
vlan push id 5 protocol foo
vlan push id 5 protocol ip
vlan pop push id 5
vlan push_eth dst_mac 1:2:3:4:5:6
vlan push_eth src_mac 1:2:3:4:5:6
vlan push_eth dst_mac x src_mac 1:2:3:4:5:6
vlan pop dst_mac 1:2:3:4:5:6
vlan pop index x
pedit
pedit foo
pedit munge
pedit munge offset
pedit munge offset 0
pedit munge offset 0 u32
pedit munge offset 0 u32 set
pedit munge offset 0 u32 set x
pedit munge offset 1 u32 set 1
pedit munge offset 3 u16 set 1
pedit munge offset 0 u8 set 300
pedit munge offset 0 u16 set 70000
pedit munge offset 0 u32 add 1
pedit munge offset 0 u32 decrement
pedit munge ip foo set 1
pedit munge ip ttl
pedit munge ip ttl foo
pedit ex munge ip tos decrement
pedit ex munge eth src set x
pedit ex munge eth src set 1:2:3:4:5:6 retain 1
pedit munge foo bar set 1
pedit munge ip src set x
pedit munge ip ttl set 5 pedit ex munge ip ttl set 6
pedit munge ip ttl set 5 index x
csum
csum foo
csum iph index x
skbmod
skbmod foo
skbmod set dmac x
skbmod set smac x
skbmod set etype x
skbmod swap mac index x
tunnel_key
tunnel_key foo
tunnel_key set
tunnel_key set src_ip x
tunnel_key set dst_ip x
tunnel_key set src_ip 1.1.1.1
tunnel_key set unset
tunnel_key set id x
tunnel_key set dst_port x
tunnel_key set tos x
tunnel_key set ttl x
tunnel_key set vxlan_opts x
tunnel_key set geneve_opts x
tunnel_key set erspan_opts x
tunnel_key unset index x
simple
simple foo
simple sdata
simple sdata 01234567890123456789012345678901
simple sdata x index y
sample
sample rate
sample rate x
sample rate 1
sample group 1
sample rate 1 group x
sample rate 1 group 1 trunc x
sample rate 1 group 1 index x
sample foo
bpf
bpf foo
bpf bytecode
bpf bytecode '1,6 0 0 0' index x
bpf run bytecode '1,6 0 0 0' run bytecode '1,6 0 0 0'
bpf index x
ok goto
ok index
"""

COMMANDS = """\
actions
actions help
actions foo
actions add
actions add action
actions add foo
actions get
actions get action
actions get action mirred
actions get action mirred index
actions get action mirred index x
actions get mirred index 1
actions del action mirred 1
actions del help
actions ls
actions ls action
actions ls foo mirred
actions ls action mirred since x
actions ls action mirred since
actions flush
actions flush action
actions flush action foo
actions list action nosuchkind
"""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


def compared(judge: TcJudge, ours: Ours, line: str) -> None:
    """What we say is said by tc, in that order; between, it may show its help."""
    words = split_words(line)
    theirs, mine = judge.run(*words), ours.run(words)
    if "Failed to load TC action module" in theirs.stderr:
        return  # tc takes the line; it is the kernel here that lacks the kind
    assert (theirs.exit_code, theirs.stdout) == (mine.exit_code, mine.stdout), (line, theirs, mine)
    said = iter(theirs.stderr.splitlines())
    for text in filter(None, mine.stderr.splitlines()):
        assert any(text == each for each in said), (line, theirs.stderr, mine.stderr)


@pytest.mark.parametrize(
    "prefix", ["actions add action", f"filter add dev v0 ingress bpf bytecode {PASS} action"]
)
def test_specs(judge: TcJudge, prefix: str) -> None:
    ours = Ours(judge)
    for line in ("qdisc del dev v0 clsact", "qdisc add dev v0 clsact"):
        judge.run(*line.split())
    ours.run(["qdisc", "add", "dev", "v0", "clsact"])
    for spec in SPECS.splitlines():
        compared(judge, ours, f"{prefix} {spec}")


def test_commands(judge: TcJudge) -> None:
    ours = Ours(judge)
    for line in COMMANDS.splitlines():
        compared(judge, ours, line)
