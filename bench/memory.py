"""Does memory grow with the capture?

    python bench/memory.py                       # needs 5 GB of disk, which it gives back
    python bench/memory.py --directory /mnt/large

The largest resident size that the kernel charges a run with (`wait4`), of a capture of 1 GB and of one of
4 GB: with one worker and with two, counting, and with a row a packet written to a file.  Packets and
counts are compared with what the captures are made of: the second is the first, four times.  The exit
code is 1 where memory differs by more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from run import HERE, ONE, clsbpf_words, machine, ran

SMALL, TIMES = 1.0e9, 4
FILE_HEADER = 24
AT_MOST = 0.1
"""By so much the two may differ."""


def make_captures(place: Path) -> tuple[Path, Path]:
    """The small one, and the one that is it several times."""
    small, large = place / "small.pcap", place / "large.pcap"
    generate = [sys.executable, str(HERE / "generate.py"), str(small), "--bytes", str(SMALL)]
    subprocess.run(generate, check=True)
    with open(large, "wb") as target:
        for number in range(TIMES):
            with open(small, "rb") as source:
                source.seek(FILE_HEADER if number else 0)
                shutil.copyfileobj(source, target, 1 << 24)
    return small, large


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--directory", type=Path, default=HERE)
    options = parser.parse_args()
    print(machine())
    met = True
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="memory-") as name:
        place = Path(name)
        small, large = make_captures(place)
        rows = str(place / "rows.parquet")
        for what, words in (
            ("one worker", ("--jobs", "1")),
            ("two workers", ("--jobs", "2")),
            ("one worker, rows", ("--jobs", "1", "--results", rows)),
        ):
            sizes, found = [], []
            ran(clsbpf_words(small, ONE, *words))  # LLVM takes memory once, and what it made is kept
            for capture in (small, large):
                done = ran(clsbpf_words(capture, ONE, *words))
                result = json.loads(done.stdout)
                sizes.append(done.rss)
                found.append((result["packets"], result["bytes"], result["filters"][0]["packets"]))
            if tuple(TIMES * count for count in found[0]) != found[1]:
                raise SystemExit(f"{what}: the counts differ: {found}")
            differ = max(sizes) / min(sizes) - 1
            met &= differ <= AT_MOST
            parts = [
                f"{size / 1e6:7.1f} MB at {capture.stat().st_size / 1e9:.1f} GB"
                for size, capture in zip(sizes, (small, large), strict=True)
            ]
            missed = "" if differ <= AT_MOST else ": MISSED"
            print(f"{what:18} {', '.join(parts)}: {differ:.1%} (at most {AT_MOST:.0%}{missed})")
    sys.exit(not met)


if __name__ == "__main__":
    main()
