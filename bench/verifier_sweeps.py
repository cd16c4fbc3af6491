"""Does the verifier agree with this machine's kernel, rule by rule?  Needs root (BPF_PROG_LOAD).

    python bench/verifier_sweeps.py [SWEEP…] [--every N] [--show N] [--words]

The sweeps of `tests/verifier_sweeps.py`, whole or every Nth case: each program goes to the kernel and to
`verify`.  Printed: how many there are, how long it took, and the disagreements, by cause: in the verdict,
then (`--words`) in the errno and in the message; `--show` prints a program of each.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from clsbpf.bpf.disasm import disassemble  # noqa: E402
from clsbpf.kernel import loader  # noqa: E402
from kernel_verifier import shape, two_opinions  # noqa: E402
from verifier_sweeps import OBJECT, SWEEPS, Case  # noqa: E402


def compare(name: str, cases: Iterable[Case], loaded: loader.LoadedObject, *, words: bool, show: int) -> None:
    begin = time.process_time()
    count = accepted = 0
    verdicts: collections.Counter[str] = collections.Counter()
    messages: collections.Counter[str] = collections.Counter()
    examples: dict[str, str] = {}
    names: dict[str, str] = {}
    for case in cases:
        spec = case.spec()
        here, there = two_opinions(spec, loaded)
        count += 1
        accepted += not there.refused
        if here == there or (here.refused and there.refused and not words):
            continue
        why = f"{shape(str(here))}  |  {shape(str(there))}"
        (verdicts if here.refused != there.refused else messages)[why] += 1
        if why not in examples:
            names[why] = case.name
            text = disassemble(spec.insns, numbered=True)
            examples[why] = f"{case.name}\n  here:   {here}\n  kernel: {there}\n{text}"
    other = f", other words: {sum(messages.values())}" if words else ""
    print(
        f"{name}: {count} programs, {accepted} accepted, {time.process_time() - begin:.0f} s;"
        f" other verdict: {sum(verdicts.values())}{other}"
    )
    for title, found in (("verdict", verdicts), ("words", messages)):
        for why, times in found.most_common(60):
            print(f"{times:6}  {title}: {why}  ({names[why]})")
    for why, _ in [*verdicts.most_common(show), *messages.most_common(show)]:
        print("-" * 80, examples[why], sep="\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sweep", nargs="*", help=", ".join(SWEEPS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--words", action="store_true")
    options = parser.parse_args()
    for name in options.sweep or SWEEPS:
        # (maps of its own: an array of programs belongs to the type that first uses it)
        with loader.load(OBJECT, []) as loaded:
            cases = (case for n, case in enumerate(SWEEPS[name]()) if n % options.every == 0)
            compare(name, cases, loaded, words=options.words, show=options.show)


if __name__ == "__main__":
    main()
