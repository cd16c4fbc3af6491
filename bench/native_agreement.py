"""Does machine code do what the interpreter does?  Random programs that are accepted; no kernel needed.

    python bench/native_agreement.py [--programs N] [--seed N]

Programs made by a grammar and real ones with instructions changed; each that is accepted runs interpreted
and compiled, on packets of many lengths, with maps of its own.  Return values, packets, metadata, maps and
random numbers must be equal.  A difference is printed with its program and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench"), str(ROOT / "src")]

from verifier_soundness import candidate, example_programs, packets  # noqa: E402

from clsbpf.bpf.disasm import disassemble  # noqa: E402
from clsbpf.errors import ClsbpfError, VerifierError  # noqa: E402
from clsbpf.verifier.verify import verify  # noqa: E402
from native_twins import difference  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=500, help="programs that are tried")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = Random(options.seed)
    examples = example_programs()
    counts: collections.Counter[str] = collections.Counter()
    begin = time.perf_counter()
    differ = 0
    for _ in range(options.programs):
        spec, btf = candidate(random, examples)
        tried = packets(random)
        try:
            verified = verify(spec, btf=btf, cpus=2)
        except VerifierError:
            counts["refused"] += 1
            continue
        counts["accepted"] += 1
        try:
            found = difference(spec, verified, tried)
        except (ClsbpfError, TypeError) as error:
            counts[f"not run: {type(error).__name__}: {str(error)[:80]}"] += 1
            continue
        if found is not None:
            differ += 1
            print(f"interpreted: {found[0]}\ncompiled:    {found[1]}")
            print(disassemble(spec.insns, numbered=True), flush=True)
    for name, count in sorted(counts.items()):
        print(f"{count:8}  {name}")
    print(f"{differ} differ; {time.perf_counter() - begin:.1f} s")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
