"""How much longer do thousands of filters take than ten?

    python bench/many.py                       # on the capture that bench/run.py generates
    python bench/many.py --capture other.pcap --rounds 7

Filters of host and port, as an inventory would give them: half for hosts of the capture, half for others.
Results come first: on the capture's beginning, what lookups decide must be what the same filters decide
when they are tried one by one.  Then runs take turns, and medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from run import CAPTURE, machine, make_capture, make_sample

from clsbpf.api import FilterText, filters_setup
from clsbpf.capture import open_capture
from clsbpf.engine.results import Results
from clsbpf.engine.run import run

COUNTS = (10, 1000, 10_000)
AT_MOST = {1000: 2.0, 10_000: 4.0}
"""How many times the time of ten filters they may take."""
PLAN_SECONDS = 5.0
"""How long loading and planning of the most may take."""
CHECKED = 300
"""As many filters are also tried one by one: compiling more of them takes long."""


def endpoints(capture: Path, count: int) -> list[tuple[str, int]]:
    """Addresses and ports of the first IPv4 packets over TCP or UDP, each pair once."""
    found: dict[tuple[str, int], None] = {}
    with open_capture(str(capture)) as packets:
        for _record, data in packets:
            if len(found) == count:
                break
            if (
                len(data) >= 38
                and bytes(data[12:14]) == b"\x08\x00"
                and data[14] == 0x45
                and data[23] in (6, 17)
            ):
                found[".".join(map(str, data[26:30])), int.from_bytes(data[34:36], "big")] = None
    return list(found)


def host_and_port(capture: Path, count: int) -> list[str]:
    """Expressions, every second one for an endpoint of the capture."""
    there = endpoints(capture, count // 2 + 1)
    made = []
    for number in range(count):
        host, port = (
            there[number // 2 % len(there)]
            if number % 2
            else (f"203.0.{number >> 8 & 255}.{number & 255}", 443)
        )
        made.append(f"host {host} and port {port}")
    return made


def filters_of(capture: Path, count: int) -> list[FilterText]:
    """`host_and_port`, as filters."""
    return [FilterText("expression", text) for text in host_and_port(capture, count)]


def classify(capture: Path, filters: list[FilterText], *, linear: bool = False) -> Results:
    """One run, in this process."""
    from dataclasses import replace

    setup = filters_setup(filters, profile="current", backend="native")
    return run([str(capture)], replace(setup, linear=linear))


def check_results(capture: Path, sample: Path) -> None:
    """Lookups decide what trials decide."""
    make_sample(capture, sample)
    filters = filters_of(capture, CHECKED)
    by_lookup, one_by_one = classify(sample, filters), classify(sample, filters, linear=True)
    decided = [
        [(each.pref, each.packets, each.bytes) for each in ran.filters] for ran in (by_lookup, one_by_one)
    ]
    if decided[0] != decided[1] or by_lookup.undecided == by_lookup.packets:
        sys.exit("lookups and trials differ, or nothing matches: nothing is timed")


def main() -> None:
    """Check, time, report; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--capture", type=Path, default=CAPTURE)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    make_capture(options.capture)
    check_results(options.capture, options.capture.with_name("sample.pcap"))
    sets = {count: filters_of(options.capture, count) for count in COUNTS}
    seconds: dict[int, list[float]] = {count: [] for count in COUNTS}
    plans: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(options.rounds):
        for count, filters in sets.items():
            ran = classify(options.capture, filters)
            seconds[count].append(ran.seconds)
            plans[count].append(ran.plan_seconds)
    print(machine(), time.strftime("%Y-%m-%d"), f"{options.capture.stat().st_size / 1e9:.2f} GB", sep="\n")
    base = statistics.median(seconds[COUNTS[0]])
    missed = False
    for count in COUNTS:
        median, plan = statistics.median(seconds[count]), statistics.median(plans[count])
        allowed = AT_MOST.get(count)
        missed |= allowed is not None and median > allowed * base
        told = f" (at most {allowed:g})" if allowed else ""
        print(f"{count:>6} filters: {median:.3f} s, {median / base:.2f} times ten{told}; plan {plan:.2f} s")
    missed |= statistics.median(plans[COUNTS[-1]]) > PLAN_SECONDS
    sys.exit(missed)


if __name__ == "__main__":
    main()
