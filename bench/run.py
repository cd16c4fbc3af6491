"""How fast is `clsbpf run`, next to `tcpdump -r FILE --count` and to reading the file at all?

    python bench/run.py                        # generates a capture of 1.2 GB beside itself, once
    python bench/run.py --capture other.pcap --rounds 9 --json result.json
    python bench/run.py --pieces 131072        # the file written anew in such pieces, as cp does

How the kernel holds a file in memory, which follows from how it came there, decides if clsbpf maps it or
reads it (engine/file_ways.py); what share of it lies in pieces of 2 MB is printed.

Results come first: on the capture that is timed, the counts must be tcpdump's, and on its beginning the
interpreter's.  Then the contestants take turns, so that whatever else the machine does falls on all of
them, and medians are compared.  What a target says is checked; the exit code is 1 where one is missed.

This process imports little: what a child is charged for as its largest memory includes, on Linux, what
its parent had when it was forked.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
CAPTURE = HERE / "big.pcap"
CLSBPF = str(Path(sys.executable).with_name("clsbpf"))

ONE = ("tcp port 443",)
TEN = (
    "tcp port 443",
    "tcp port 80",
    "udp port 53",
    "tcp port 22 and net 10.0.0.0/16",
    "ip6 and udp",
    "arp",
    "icmp",
    "tcp[tcpflags] & tcp-syn != 0",
    "greater 1400",
    "vlan 7 and tcp",
)
"""Ten filters as a policy might have them; a packet is counted for the first that matches.  `vlan` comes
last, because to libpcap what follows it in an expression is about what is inside the tag."""

SAMPLE_BYTES = 4_000_000
"""How much of the capture the interpreter is asked about."""
START_ROUNDS = 11

AT_LEAST, AT_MOST = "at least", "at most"


@dataclass(frozen=True)
class Ran:
    """One process that ended: its output, wall and processor seconds, largest resident memory in bytes."""

    stdout: str
    wall: float
    cpu: float
    rss: int


@dataclass(frozen=True)
class Target:
    """A figure, what it should be (or nothing), and whether it is."""

    name: str
    value: float
    unit: str
    relation: str = ""
    wanted: float | None = None

    @property
    def met(self) -> bool:
        """Is it reached?"""
        if self.wanted is None:
            return True
        return self.value >= self.wanted if self.relation == AT_LEAST else self.value <= self.wanted


def ran(words: Sequence[str]) -> Ran:
    """Run a program to its end; what it prints on standard error is shown only if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.stdout.close()
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}\n{stderr}")
    kilobytes = usage.ru_maxrss // 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return Ran(stdout, wall, usage.ru_utime + usage.ru_stime, kilobytes * 1024)


def clsbpf_words(capture: Path, filters: Sequence[str], *options: str) -> list[str]:
    """`clsbpf run --json` with these filters."""
    expressions = [word for text in filters for word in ("-e", text)]
    return [CLSBPF, "run", str(capture), *expressions, "--json", *options]


def tcpdump_words(capture: Path, expression: str) -> list[str]:
    """`tcpdump --count` with this filter."""
    return ["tcpdump", "-n", "-r", str(capture), "--count", expression]


def read_file(capture: Path) -> None:
    """`cat FILE > /dev/null`."""
    with open(os.devnull, "wb") as nowhere:
        subprocess.run(["cat", str(capture)], stdout=nowhere, check=True)


# Results first ------------------------------------------------------------------------------------


def first_match(filters: Sequence[str]) -> list[str]:
    """For each filter the expression of the packets that no earlier one takes."""
    return [
        " and ".join([*(f"not ({earlier})" for earlier in filters[:number]), f"({text})"])
        for number, text in enumerate(filters)
    ]


def counts(capture: Path, filters: Sequence[str], *options: str) -> list[int]:
    """Packets by filter, as clsbpf has them."""
    result = json.loads(ran(clsbpf_words(capture, filters, *options)).stdout)
    return [each["packets"] for each in result["filters"]]


def tcpdump_count(capture: Path, expression: str) -> int:
    """Packets that match, as tcpdump has them."""
    found = re.search(r"(\d+) packets?", ran(tcpdump_words(capture, expression)).stdout)
    assert found is not None
    return int(found[1])


def check_results(capture: Path, sample: Path) -> None:
    """Exit unless the counts are tcpdump's, and the interpreter's on the sample."""
    for filters in (ONE, TEN):
        ours = counts(capture, filters)
        theirs = [tcpdump_count(capture, text) for text in first_match(filters)]
        if ours != theirs:
            raise SystemExit(f"the counts differ: clsbpf {ours}, tcpdump {theirs}, for {filters}")
        native, interpreted = (counts(sample, filters, "--backend", b) for b in ("native", "interpreter"))
        if native != interpreted:
            raise SystemExit(f"the counts differ: native {native}, interpreter {interpreted}, for {filters}")
        print(f"  {len(filters):2} filter(s): {sum(ours):,} packets matched, as in tcpdump")


def make_capture(capture: Path) -> None:
    """Generate the capture unless it is there."""
    if not capture.exists():
        subprocess.run([sys.executable, str(HERE / "generate.py"), str(capture)], check=True)


def make_sample(capture: Path, sample: Path) -> None:
    """The beginning of a pcap file, up to a whole record."""
    with open(capture, "rb") as source, open(sample, "wb") as target:
        target.write(source.read(24))
        while target.tell() < SAMPLE_BYTES:
            header = source.read(16)
            if len(header) < 16:
                break
            target.write(header + source.read(int.from_bytes(header[8:12], "little")))


def held_in_large_pieces(capture: Path) -> float | None:
    """The share of the file that the page cache holds in pieces of 2 MB; None where nothing says it."""
    look = """if True:
        import mmap, sys
        with open(sys.argv[1], "rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        sum(pages[::4096])
        here, kilobytes = False, 0
        for line in open("/proc/self/smaps"):
            words = line.split()
            if not words[0].endswith(":"):
                here = words[-1] == sys.argv[1]
            elif here and words[0] == "FilePmdMapped:":
                kilobytes += int(words[1])
        print(kilobytes * 1024 / len(pages))
    """
    if not Path("/proc/self/smaps").exists():
        return None
    return float(ran([sys.executable, "-c", look, str(capture.resolve())]).stdout)


def write_anew(capture: Path, target: Path, piece: int) -> None:
    """Copy the capture in pieces of so many bytes."""
    with open(capture, "rb", 0) as source, open(target, "wb", 0) as copy:
        while data := source.read(piece):
            copy.write(data)


# Then time ----------------------------------------------------------------------------------------


def timed(act: Callable[[], object]) -> float:
    """Wall seconds of it."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def take_turns(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median seconds of each, all of them once a round."""
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            samples[name].append(measure())
    return {name: statistics.median(times) for name, times in samples.items()}


def inner_seconds(capture: Path, filters: Sequence[str], *options: str) -> float:
    """`seconds` as clsbpf tells them: from opening the capture to the last result."""
    return float(json.loads(ran(clsbpf_words(capture, filters, *options)).stdout)["seconds"])


def throughput(capture: Path, rounds: int) -> dict[str, float]:
    """Median seconds of all contestants."""
    either = " or ".join(f"({text})" for text in TEN)
    return take_turns(
        {
            "cat FILE > /dev/null": lambda: timed(lambda: read_file(capture)),
            "tcpdump --count, one filter": lambda: ran(tcpdump_words(capture, ONE[0])).wall,
            "clsbpf, one filter, one worker": lambda: inner_seconds(capture, ONE, "--jobs", "1"),
            "clsbpf, one filter, two workers": lambda: inner_seconds(capture, ONE, "--jobs", "2"),
            "clsbpf, one filter, whole process": lambda: ran(clsbpf_words(capture, ONE)).wall,
            "tcpdump --count, ten filters in one expression": lambda: (
                ran(tcpdump_words(capture, either)).wall
            ),
            "clsbpf, ten filters, one worker": lambda: inner_seconds(capture, TEN, "--jobs", "1"),
        },
        rounds,
    )


def targets(capture: Path, seconds: dict[str, float]) -> list[Target]:
    """What was to be reached."""
    cat, tcpdump = seconds["cat FILE > /dev/null"], seconds["tcpdump --count, one filter"]
    tcpdump_ten = seconds["tcpdump --count, ten filters in one expression"]
    one, ten = seconds["clsbpf, one filter, one worker"], seconds["clsbpf, ten filters, one worker"]
    two = seconds["clsbpf, one filter, two workers"]
    example = [CLSBPF, "run", str(EXAMPLES / "office.pcap"), "-b", str(EXAMPLES / "policy.tc")]
    rss = max(ran(clsbpf_words(capture, TEN)).rss, ran(clsbpf_words(capture, ONE)).rss)
    return [
        Target("one filter, one worker: times as fast as tcpdump", tcpdump / one, "x", AT_LEAST, 2.7),
        Target("one filter, one worker: times the time of cat", one / cat, "x", AT_MOST, 1.0),
        Target("one filter, two workers: times the time of cat", two / cat, "x", AT_MOST, 0.65),
        Target("ten filters: times as fast as tcpdump with one", tcpdump / ten, "x"),
        Target("ten filters: times as fast as tcpdump with ten", tcpdump_ten / ten, "x"),
        Target("ten filters: times the time of cat", ten / cat, "x"),
        Target("resident memory", rss / 1e6, "MB", AT_MOST, 300),
        Target("clsbpf --help, processor time", median_of([CLSBPF, "--help"], "cpu"), "s", AT_MOST, 0.15),
        Target("clsbpf run on the example, wall time", median_of(example, "wall"), "s", AT_MOST, 0.35),
    ]


def median_of(words: Sequence[str], figure: str) -> float:
    """The median of one figure of `Ran` over some runs, after one that warms the caches."""
    ran(words)
    return float(statistics.median(getattr(ran(words), figure) for _ in range(START_ROUNDS)))


def machine() -> str:
    """What this ran on."""
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    tcpdump = subprocess.run(["tcpdump", "--version"], capture_output=True, text=True).stdout.split("\n")
    return (
        f"{model}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, {tcpdump[0]}, {tcpdump[1] if len(tcpdump) > 1 else ''}"
    )


def report(seconds: dict[str, float], reached: list[Target], size: int, packets: int) -> None:
    """Print it."""
    print(f"\n{'':48}  median s      GB/s  Mpackets/s")
    for name, value in seconds.items():
        print(f"{name:48}  {value:8.3f}  {size / value / 1e9:8.2f}  {packets / value / 1e6:10.2f}")
    print(f"\n{'':48}  measured    target")
    for target in reached:
        wanted = "" if target.wanted is None else f"{target.relation} {target.wanted:g} {target.unit}"
        verdict = "" if target.met else "   MISSED"
        print(f"{target.name:48}  {target.value:6.2f} {target.unit:2}  {wanted}{verdict}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--capture", type=Path, default=CAPTURE)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--pieces", type=int, help="copy the capture in pieces of so many bytes, and time that"
    )
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    capture: Path = options.capture
    make_capture(capture)
    if options.pieces:
        copy = capture.with_name(f"{capture.stem}.pieces.pcap")
        atexit.register(lambda: copy.unlink(missing_ok=True))
        write_anew(capture, copy, options.pieces)
        capture = copy
    print(machine())
    size = capture.stat().st_size
    everything: Any = json.loads(ran(clsbpf_words(capture, ONE)).stdout)
    print(f"{capture}: {everything['packets']:,} packets, {size:,} bytes\nresults:")
    sample = capture.with_name(f"{capture.stem}.sample.pcap")
    make_sample(capture, sample)
    try:
        check_results(capture, sample)
    finally:
        sample.unlink()
    read_file(capture)  # into the page cache, where everybody finds it
    held = held_in_large_pieces(capture)
    if held is not None:
        print(f"in the page cache: {held:.0%} in pieces of 2 MB")
    seconds = throughput(capture, options.rounds)
    reached = targets(capture, seconds)
    report(seconds, reached, size, everything["packets"])
    if options.json is not None:
        figures = {"seconds": seconds, "targets": [asdict(target) for target in reached]}
        options.json.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")
    sys.exit(not all(target.met for target in reached))


if __name__ == "__main__":
    main()
