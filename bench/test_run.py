"""How fast is an eBPF program, compiled here and compiled by the kernel?

    python bench/test_run.py [--rounds N] [--json FILE] [NAME ...]

Each program gets the same packets with the same maps, here and in the kernel (BPF_PROG_TEST_RUN, as root),
each packet many times over inside one call: the time is that of the program, not of the call.  First both
are run packet by packet, and everything that can be compared must be equal: return values, packets,
metadata, maps.  Then they take turns; of each the fastest round counts, because whatever else the machine
does only adds to it.

The figure of a program is its time over all packets; the ratio is ours to the kernel's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench"), str(ROOT / "src")]

from large_programs import large_packet, large_programs  # noqa: E402

from clsbpf.api import make_skb, make_socket  # noqa: E402
from clsbpf.bpf.asm import assemble  # noqa: E402
from clsbpf.bpf.spec import ObjectSpec, ProgramRef, ProgramSpec  # noqa: E402
from clsbpf.engine.programs import Backend  # noqa: E402
from clsbpf.kernel.bpf import prog_test_run  # noqa: E402
from clsbpf.kernel.loader import load  # noqa: E402
from clsbpf.vm.environment import Environment  # noqa: E402
from clsbpf.vm.native_program import native_of  # noqa: E402
from judges import inside  # noqa: E402
from kernel_story import (  # noqa: E402
    context_bytes,
    kernel_story,
    on_one_cpu,
    open_readers,
    prepare_kernel,
    put_inner_maps,
)
from our_story import Ours, our_story  # noqa: E402
from program_cases import CASES, Case  # noqa: E402
from program_labs import LABS, built  # noqa: E402
from program_story import contents_of, object_spec  # noqa: E402
from program_traffic import TRAFFIC  # noqa: E402

REPEAT = 2_000
"""Runs of one packet in one call."""
CLONES = frozenset({"mirror"})
"""Programs whose clones the kernel really sends, and which here nobody takes."""
ATTEMPTS = 3
"""On a machine that is busy with something else the kernel's timers may expire between two packets."""
GROWING = frozenset({"vlan_push", "vlan_push_two", "add_trailer", "new_head"})
"""Programs that make the packet longer each time: not to be run thousands of times on one packet."""
WORST = 1.5
"""No program may take so many times the kernel's time."""


@dataclass(frozen=True)
class Figure:
    """One program: nanoseconds a run, the mean over all packets."""

    name: str
    insns: int
    kernel: float
    ours: float

    @property
    def ratio(self) -> float:
        return self.ours / self.kernel

    def less(self, empty: Figure) -> float:
        """The ratio of what the program itself takes; a nanosecond is the least that can be told."""
        return max(self.ours - empty.ours, 1) / max(self.kernel - empty.kernel, 1)


class Kernel:
    """A case in the kernel, ready to be timed."""

    def __init__(self, case: Case, spec: ObjectSpec, stack: contextlib.ExitStack) -> None:
        wanted = (case.program, *(name for slots in case.programs.values() for name in slots.values()))
        refs = (v.name for m in spec.maps.values() for _, v in m.contents if isinstance(v, ProgramRef))
        names = dict.fromkeys((*wanted, *refs))
        loaded = stack.enter_context(load(spec, names, contents=contents_of(case, spec)))
        prepare_kernel(case, loaded)
        put_inner_maps(case, spec, loaded, stack)
        open_readers(spec, loaded, stack)
        self.fd = loaded.programs[case.program]
        self.context = context_bytes(case.fields)

    def time(self, packet: bytes, repeat: int) -> int:
        """Nanoseconds of a run."""
        return prog_test_run(self.fd, packet, context=self.context, repeat=repeat).duration_ns


class Here:
    """The same here."""

    def __init__(self, case: Case, spec: ObjectSpec) -> None:
        ours = Ours(case, spec, verified=True)
        self.case = case
        self.kept = ours
        self.program = native_of(ours.program(case.program))
        for linked in ours.linked.values():
            native_of(linked)
        self.environment = Environment(seed=1, ktime_ns=10**12, net=LABS[case.lab].net())

    def time(self, packet: bytes, repeat: int) -> int:
        """Nanoseconds of a run."""
        self.environment.socket = make_socket(packet)
        skb = make_skb(packet, self.case.fields)
        took = self.program.test_run(self.environment, skb, repeat)[1]
        self.environment.trace.clear()
        return took


def measure(case: Case, spec: ObjectSpec, packets: Sequence[bytes], rounds: int) -> Figure:
    """Results first; then times."""
    for _ in range(ATTEMPTS):
        expected = kernel_story(case, spec, packets)
        found = our_story(case, spec, packets, Backend.JIT)
        if found == expected:
            break
    assert found == expected, f"{case.label}: results differ"
    with contextlib.ExitStack() as stack, on_one_cpu():
        kernel, here = Kernel(case, spec, stack), Here(case, spec)
        theirs, ours = [math.inf] * len(packets), [math.inf] * len(packets)
        for _ in range(rounds):
            for at, packet in enumerate(packets):
                theirs[at] = min(theirs[at], kernel.time(packet, REPEAT))
                ours[at] = min(ours[at], here.time(packet, REPEAT))
    insns = len(spec.programs[case.program].insns)
    return Figure(case.label, insns, sum(theirs) / len(packets), sum(ours) / len(packets))


@contextlib.contextmanager
def labs() -> Iterator[dict[str, str]]:
    """The network namespaces that cases run in, by the lab's name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(built(lab)) for name, lab in LABS.items()}


def trials() -> Iterator[tuple[Case, ObjectSpec, str]]:
    """The programs, the large ones first, and the table that each belongs to."""
    program = ProgramSpec("nothing", insns=assemble("r0 = 0\nexit"), license="GPL")
    yield Case("empty", "nothing"), ObjectSpec("empty", programs={"nothing": program}), "empty"
    for case, spec in large_programs():
        yield case, spec, "large"
    for case in CASES:
        yield case, object_spec("O2", case.object), kind_of(case)


def kind_of(case: Case) -> str:
    """Can the program be run again and again, and does the kernel do here what we do?"""
    if case.program in GROWING:
        return "grows"
    return "other" if case.program in CLONES else "example"


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def report(title: str, figures: Sequence[Figure]) -> None:
    """One table."""
    print(f"\n{title}\n\n| program | instructions | kernel, ns | clsbpf, ns | ratio |\n|-|-|-|-|-|")
    for each in figures:
        print(f"| {each.name} | {each.insns} | {each.kernel:.1f} | {each.ours:.1f} | {each.ratio:.2f} |")


TITLES = {
    "empty": "What a run costs of which the program does nothing:",
    "large": "Larger programs:",
    "example": "The programs of examples/programs:",
    "other": "Not counted, because clones go nowhere here:",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only programs whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    packets = [*TRAFFIC.values(), large_packet()]
    tables: dict[str, list[Figure]] = {name: [] for name in TITLES}
    with labs() as namespaces:
        for case, spec, kind in trials():
            if kind in tables and (not options.names or any(name in case.label for name in options.names)):
                with inside(namespaces[case.lab]):
                    tables[kind].append(measure(case, spec, packets, options.rounds))
                    print(".", end="", flush=True, file=sys.stderr)
    for name, figures in tables.items():
        if figures:
            report(TITLES[name], figures)
    counted = [*tables["large"], *tables["example"]]
    mean = geometric_mean([each.ratio for each in counted])
    worst = max(each.ratio for each in counted)
    print(f"\n{len(counted)} programs: geometric mean {mean:.2f} (at most 1)", end="")
    print(f", worst {worst:.2f} (at most {WORST})")
    if tables["empty"]:
        less = geometric_mean([each.less(tables["empty"][0]) for each in counted])
        print(f"less the empty program's time on both sides: geometric mean {less:.2f}")
    if options.json:
        times = {each.name: [each.kernel, each.ours] for table in tables.values() for each in table}
        options.json.write_text(json.dumps(times, indent=1))
    return 0 if mean <= 1 and worst <= WORST else 1


if __name__ == "__main__":
    sys.exit(main())
