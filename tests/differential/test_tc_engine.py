"""The whole way: a policy through our words, our engine and our rendering, against tc and the kernel.

Every line's exit code and message, and then every listing, must be what tc prints of the real thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import perform
from clsbpf.tccmd.render import Names
from clsbpf.tccmd.words import split_words
from tc_judge import Ran, TcJudge, tc_judge
from tc_lines import IP, PASS

POLICY = [
    f"filter add dev v0 ingress bpf bytecode {PASS}",
    "qdisc add dev v0 clsact",
    "qdisc add dev v0 clsact",
    "qdisc add dev v1 ingress_block 22 clsact",
    f"filter add dev v0 ingress bpf bytecode {IP} flowid 1:1",
    f"filter add dev v0 ingress bpf bytecode {PASS} da",
    f"filter add dev v0 ingress pref 5 protocol ip handle 7 bpf bytecode {PASS} da flowid ffff:1 skip_hw",
    f"filter add dev v0 ingress pref 5 protocol ip handle 7 bpf bytecode {PASS}",
    f"filter add dev v0 ingress pref 5 protocol ip bpf bytecode {PASS} classid 1:",
    f"filter add dev v0 ingress pref 5 protocol arp bpf bytecode {PASS}",
    f"filter replace dev v0 ingress pref 5 protocol ip handle 1 bpf bytecode {IP} classid 1:9",
    f"filter replace dev v0 ingress pref 5 protocol ip handle 1 bpf bytecode {IP} skip_hw",
    f"filter change dev v0 ingress pref 5 protocol ip handle 3 bpf bytecode {IP}",
    f"filter add dev v0 ingress pref 6 protocol 802.1q chain 3 bpf bytecode {PASS}",
    f"filter add dev v0 ingress pref 6 bpf skip_sw bytecode {PASS}",
    "filter add dev v0 ingress pref 8 bpf bytecode '1,5 0 0 0'",
    "filter add dev v0 ingress pref 8 bpf da",
    "filter add dev v0 ingress pref 8 nosuchkind",
    f"filter add dev v0 egress protocol ipv6 pref 3 bpf bytecode {PASS} flowid 1:2",
    f"filter add block 22 protocol ip pref 3 bpf bytecode {PASS} flowid 1:2",
    f"filter add block 23 protocol ip pref 3 bpf bytecode {PASS} flowid 1:2",
    f"filter add dev v1 ingress pref 4 bpf bytecode {PASS}",
    "filter del dev v0 ingress pref 5 handle 9 bpf",
    "filter del dev v0 ingress pref 49152",
    "filter del dev v0 ingress pref 77",
    f"filter add dev v0 ingress bpf bytecode {PASS} flowid 2:1",
    "qdisc del dev v0 ingress",
    "qdisc del dev lo clsact",
]

SHOWS = [
    "filter show dev v0 ingress",
    "-s filter show dev v0 ingress",
    "-j filter show dev v0 ingress",
    "filter show dev v0 ingress pref 5",
    "filter show dev v0 ingress chain 3",
    "filter show dev v0 egress",
    "filter show dev v1 ingress",
    "filter show block 22",
    "filter show block 24",
    "filter get dev v0 ingress protocol ip pref 5 handle 7 bpf",
    "filter get dev v0 ingress protocol ip pref 5 handle 99 bpf",
    "chain show dev v0 ingress",
    "qdisc show dev v0 clsact",
    "-s -j qdisc show dev v1 clsact",
]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


def test_a_policy_and_what_it_shows(judge: TcJudge) -> None:
    network = Network()
    for name, ifindex in judge.devices.items():
        network.add_device(name, ifindex)
    endpoint = Endpoint(network)

    def ours(words: Sequence[str]) -> Ran:
        options, words = parse_options(words)
        try:
            command = parse_command(words, judge.resolve, options=options)
            outcome = perform(command, endpoint.handle, Names(judge.device_name))
        except CommandError as error:
            return Ran(error.exit_code, error.stdout, f"{error}\n")
        return Ran(0, outcome.stdout, outcome.stderr)

    for line in [*POLICY, *SHOWS]:
        words = split_words(line)
        assert ours(words) == judge.run(*words), line
