"""Does a program that the verifier accepts ever fault?  No kernel is needed.

    python bench/verifier_soundness.py [--programs N] [--seed N] [--sweeps EVERY]

Programs made by a grammar and real ones with instructions changed (with `--sweeps` every so many of
`tests/verifier_sweeps.py` instead), as many as are accepted, each run in the checked interpreter on
packets of many lengths, with maps empty and full.  A fault is printed with its program and makes the exit
code 1.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from clsbpf.bpf.disasm import disassemble  # noqa: E402
from clsbpf.bpf.spec import ObjectSpec, ProgramSpec  # noqa: E402
from clsbpf.errors import ClsbpfError, ProgramFault, VerifierError  # noqa: E402
from clsbpf.objfile import Btf, read_object  # noqa: E402
from clsbpf.skb import Skb  # noqa: E402
from clsbpf.verifier.verify import verify  # noqa: E402
from clsbpf.vm.environment import Environment  # noqa: E402
from clsbpf.vm.interp import run  # noqa: E402
from clsbpf.vm.link import link  # noqa: E402
from clsbpf.vm.maps.map import Map  # noqa: E402
from verifier_programs import MAPS, grammar_program, mutated  # noqa: E402
from verifier_sweeps import SWEEPS, TYPES  # noqa: E402

NOT_RUN = ("there is no", "is not there", "steps", "does not run here")
"""In a fault: the run was not begun, or was given up; nothing is said of the program."""
LENGTHS = (14, 15, 16, 18, 22, 28, 34, 35, 42, 54, 60, 64, 100, 256, 1500)


def packets(random: Random) -> list[bytes]:
    """Packets of many lengths: random bytes, and frames that begin as IPv4 and TCP do."""
    head = bytes.fromhex("02000000000102000000000208004500006400010000400611110a0000010a000002")
    found = [random.randbytes(length) for length in random.sample(LENGTHS, 3)]
    found += [(head + random.randbytes(1500))[:length] for length in random.sample(LENGTHS, 3)]
    return [found[0][:14], *found]


Example = tuple[ObjectSpec, ProgramSpec]


def example_programs() -> list[Example]:
    """The programs of the project's own objects, each with its object."""
    objects = map(read_object, sorted((ROOT / "examples/programs/build").glob("O*/*.o")))
    tc = ("sched_cls", "sched_act")
    return [(whole, each) for whole in objects for each in whole.programs.values() if each.type in tc]


def candidate(random: Random, examples: list[Example]) -> tuple[ProgramSpec, Btf | None]:
    """A program to judge: mostly of the grammar, else an example with instructions changed."""
    if random.random() < 0.7 or not examples:
        return ProgramSpec("random", insns=grammar_program(random), license="GPL", maps=MAPS), None
    whole, program = random.choice(examples)
    return dataclasses.replace(program, insns=mutated(program.insns, random)), whole.btf


def made(random: Random, count: int) -> Iterator[tuple[ProgramSpec, Btf | None]]:
    """So many of these."""
    examples = example_programs()
    for _ in range(count):
        yield candidate(random, examples)


def swept(every: int) -> Iterator[tuple[ProgramSpec, Btf | None]]:
    """Every operation on every kind of value, with the maps that a program names."""
    for sweep in SWEEPS.values():
        for case in itertools.islice(sweep(), 0, None, every):
            spec = case.spec()
            named = {insn.imm for insn in spec.insns if insn.is_ld_imm64 and insn.src in (1, 2)}
            maps = {key: each for key, each in spec.maps.items() if key in named}
            yield dataclasses.replace(spec, name=case.name, maps=maps), TYPES


def fill(maps: dict[str, Map], random: Random) -> None:
    """Some elements in every map that takes bytes."""
    for each in maps.values():
        if each.spec.type not in (1, 2, 5, 6, 9, 10):
            continue
        for number in range(6):
            key = number.to_bytes(max(each.spec.key_size, 1), sys.byteorder)[: each.spec.key_size]
            try:
                each[key] = random.randbytes(each.spec.value_size)
            except (ClsbpfError, KeyError, TypeError, ValueError):
                break


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int, default=2000, help="programs that are tried")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweeps", type=int, default=0, help="every Nth program of the sweeps")
    options = parser.parse_args()
    random = Random(options.seed)
    candidates = swept(options.sweeps) if options.sweeps else made(random, options.programs)
    counts: collections.Counter[str] = collections.Counter()
    begin = time.perf_counter()
    faults = 0
    for spec, btf in candidates:
        try:
            verified = verify(spec, btf=btf, cpus=2)
        except VerifierError:
            counts["refused"] += 1
            continue
        counts["accepted"] += 1
        try:
            maps = {m.name: Map(m) for m in spec.maps.values()}
            linked = link(spec, maps, verified)
        except (ClsbpfError, TypeError) as error:
            counts[f"not run: {type(error).__name__}"] += 1
            continue
        for number, packet in enumerate(packets(random)):
            if number == 4:
                fill(maps, random)
            environment = Environment(seed=random.getrandbits(32))
            try:
                run(linked, Skb.from_frame(packet), environment=environment, step_limit=1 << 18)
                counts["runs"] += 1
            except ProgramFault as fault:
                if any(words in str(fault) for words in NOT_RUN):
                    counts["runs stopped: " + str(fault)[:50]] += 1
                    break
                faults += 1
                print(f"fault: {fault}, packet of {len(packet)} bytes, {spec.name}")
                print(disassemble(spec.insns, numbered=True))
                break
    for name, count in sorted(counts.items()):
        print(f"{count:8}  {name}")
    print(f"{faults} faults; {time.perf_counter() - begin:.1f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
