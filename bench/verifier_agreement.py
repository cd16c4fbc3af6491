"""Does the verifier judge as this machine's kernel does?  Needs root (BPF_PROG_LOAD).

    python bench/verifier_agreement.py [--random N] [--soup N] [--mutated N] [--real] [--seed N] [--show N]

Programs made by a grammar, programs of any instructions on any values, the example objects, and these
with instructions changed: each goes to the kernel and to `verify`.  Printed: accepted by both, refused by
both, and both kinds of disagreement, with the messages of either side; `--show` prints some programs.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import re
import sys
import time
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import os  # noqa: E402

from clsbpf.bpf.disasm import disassemble  # noqa: E402
from clsbpf.bpf.spec import ObjectSpec, ProgramSpec  # noqa: E402
from clsbpf.errors import ClsbpfError, VerifierError  # noqa: E402
from clsbpf.kernel import loader  # noqa: E402
from clsbpf.kernel.maps import possible_cpus  # noqa: E402
from clsbpf.objfile import read_object  # noqa: E402
from clsbpf.verifier.verify import verify  # noqa: E402
from verifier_programs import MAPS, grammar_program, mutated  # noqa: E402
from verifier_soup import bounds, soup  # noqa: E402

CPUS = possible_cpus()


class Tally:
    """The four outcomes, and what was said where the two disagree."""

    def __init__(self, show: int) -> None:
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.reasons: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, str] = {}
        self.show = show
        self.ours = self.kernels = 0.0
        self.visited = 0
        self.refusals: collections.Counter[str] = collections.Counter()

    def judge(self, spec: ProgramSpec, loaded: loader.LoadedObject, btf: object) -> None:
        begin = time.perf_counter()
        kernel = ""
        try:
            btf_fd = loaded._others[0] if loaded._others else 0
            os.close(loader._load_program(spec, loaded.maps, btf_fd, loaded.calls))
        except VerifierError as error:
            kernel = _last(error.log) or f"errno {error.errno}"
        self.kernels += time.perf_counter() - begin
        begin = time.perf_counter()
        ours = ""
        try:
            self.visited += verify(spec, btf=btf, cpus=CPUS).work.insns  # type: ignore[union-attr]
        except VerifierError as error:
            ours = error.report.message if error.report else str(error)
        self.ours += time.perf_counter() - begin
        outcome = (
            ("accepted" if not ours else "refused") + " here, " + ("accepted" if not kernel else "refused")
        )
        self.outcomes[outcome + " by the kernel"] += 1
        if ours and kernel:
            self.refusals[
                "same words" if _shape(ours) == _shape(kernel) else f"{_shape(ours)}  |  {_shape(kernel)}"
            ] += 1
        if bool(ours) != bool(kernel):
            reason = f"{outcome}: {_shape(ours or kernel)}"
            self.reasons[reason] += 1
            if reason not in self.examples:
                self.examples[reason] = (
                    f"{spec.name}\n{ours or kernel}\n{disassemble(spec.insns, numbered=True)}"
                )

    def print(self) -> None:
        total = sum(self.outcomes.values())
        agreed = sum(n for name, n in self.outcomes.items() if name.split()[0] == name.split()[2])
        for name, count in sorted(self.outcomes.items()):
            print(f"{count:8}  {name}")
        if total:
            print(
                f"{100 * agreed / total:7.3f}% agreement in {total};"
                f" here {self.ours:.1f} s, kernel {self.kernels:.1f} s"
            )
        for reason, count in self.reasons.most_common(40):
            print(f"{count:6}  {reason}")
        for reason, _ in self.reasons.most_common(self.show):
            print("-" * 80, reason, self.examples[reason], sep="\n")


def _last(log: str) -> str:
    lines = [
        line
        for line in log.splitlines()
        if line and not re.match(r"processed |verification time|stack depth|mark_precise", line)
    ]
    return lines[-1] if lines else ""


def _shape(message: str) -> str:
    return re.sub(r"0x[0-9a-f]+|-?\d+", "N", message)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--mutated", type=int, default=0)
    parser.add_argument("--soup", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--words", type=int, default=0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    random = Random(options.seed)
    if options.random:
        tally = Tally(options.show)
        spec = ObjectSpec("random", {}, {m.name: m for m in MAPS.values()})
        with loader.load(spec, []) as loaded:
            for _ in range(options.random):
                program = ProgramSpec("random", insns=grammar_program(random), license="GPL", maps=MAPS)
                tally.judge(program, loaded, None)
        print("grammar:")
        tally.print()
        if options.words:
            for words, count in tally.refusals.most_common(options.words):
                print(f"{count:6}  {words}")
    if options.soup:
        tally = Tally(options.show)
        spec = ObjectSpec("soup", {}, {m.name: m for m in MAPS.values()})
        with loader.load(spec, []) as loaded:
            for number in range(options.soup):
                insns = (soup if number % 2 else bounds)(random, MAPS)
                tally.judge(ProgramSpec("soup", insns=insns, license="GPL", maps=MAPS), loaded, None)
        print("any instructions on any values:")
        tally.print()
    if options.mutated or options.real:
        paths = sorted((ROOT / "examples/programs/build").glob("O*/*.o"))
        real, changed = Tally(options.show), Tally(options.show)
        objects = []
        for path in paths:
            if options.only and options.only not in str(path):
                continue
            try:
                objects.append((path, read_object(path)))
            except ClsbpfError as error:
                print(path, error)
        share = options.mutated // max(len(objects), 1) + 1
        for path, spec in objects:
            try:
                with loader.load(spec, []) as loaded:
                    for name, program in spec.programs.items():
                        if program.type not in ("sched_cls", "sched_act"):
                            continue
                        named = dataclasses.replace(
                            program, name=f"{path.parent.name}/{path.stem}:{name}"[-60:]
                        )
                        if options.real:
                            real.judge(named, loaded, spec.btf)
                        for _ in range(share // len(spec.programs) + 1 if options.mutated else 0):
                            changed.judge(
                                dataclasses.replace(named, insns=mutated(program.insns, random)),
                                loaded,
                                spec.btf,
                            )
            except ClsbpfError as error:
                print(f"{path}: {error}")
        if options.real:
            rate = real.visited / max(real.ours, 1e-9)
            print(f"real ({real.visited} instructions visited, {rate:,.0f} a second):")
            real.print()
        if options.mutated:
            print("mutated:")
            changed.print()
            if options.words:
                for words, count in changed.refusals.most_common(options.words):
                    print(f"{count:6}  {words}")


if __name__ == "__main__":
    main()
