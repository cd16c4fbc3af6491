"""How long from the command to the first verdict?

    python bench/startup.py                    # examples/office.pcap with examples/policy.tc
    python bench/startup.py --rounds 21

A process is timed from its start to its end: some tenths of a millisecond of that classify the example's
few thousand packets.  Three kinds take turns: with an empty cache, where LLVM compiles the policy; with
what the run before left there; and, as what any Python command costs, `clsbpf --help`.  The counts of the
first two must be equal.  The exit code is 1 where the target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from run import CLSBPF, EXAMPLES, machine

RUN = [CLSBPF, "run", str(EXAMPLES / "office.pcap"), "-b", str(EXAMPLES / "policy.tc"), "--json"]
AT_MOST = 0.35
"""Seconds with a warm cache."""


def ran(words: list[str], cache: str) -> tuple[float, str]:
    """Wall seconds of a process, and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, env={**os.environ, "CLSBPF_CACHE": cache}
    )
    return time.perf_counter() - started, done.stdout


def counts(stdout: str) -> Any:
    """What a run found, without what it took."""
    result = json.loads(stdout)
    return {key: value for key, value in result.items() if not key.endswith("seconds")}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    print(machine())
    seconds: dict[str, list[float]] = {"nothing cached": [], "cached": [], "clsbpf --help": []}
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.rounds + 1):
            cache = str(Path(place) / str(number))
            first, found = ran(RUN, cache)
            second, again = ran(RUN, cache)
            if counts(found) != counts(again):
                raise SystemExit(f"the counts differ: {found} and {again}")
            if number:  # the first round reads files
                help_, _ = ran([CLSBPF, "--help"], cache)
                for name, value in zip(seconds, (first, second, help_), strict=True):
                    seconds[name].append(value)
    for name, samples in seconds.items():
        wanted = f"   at most {AT_MOST} s" if name == "cached" else ""
        print(f"{name:16} {statistics.median(samples):6.3f} s{wanted}")
    sys.exit(statistics.median(seconds["cached"]) > AT_MOST)


if __name__ == "__main__":
    main()
