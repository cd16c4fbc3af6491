"""Of every program that the verifier accepts, machine code leaves what the interpreter leaves: return values,
packets, metadata, what is in the maps, random numbers drawn.  (bench/native_agreement.py tries thousands.)"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from clsbpf.bpf.spec import ProgramSpec
from clsbpf.errors import VerifierError
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.verifier.verify import verify
from native_twins import difference
from program_story import object_spec
from verifier_programs import MAPS, grammar_program, mutated

PROGRAMS = 30
MUTATED = (
    ("accounting", "account"),
    ("subprograms", "subprograms"),
    ("atomics", "atomics"),
    ("loops", "scan"),
)


def judged(spec: ProgramSpec, btf: object = None) -> VerifiedProgram | None:
    """The verdict, with as many processors as the twins' maps have."""
    try:
        return verify(spec, btf=btf, cpus=2)
    except VerifierError:
        return None


def packets(random: Random) -> list[bytes]:
    """Frames that begin as IPv4 does, and others, of some lengths."""
    head = bytes.fromhex("02000000000102000000000208004500006400010000400611110a0000010a000002")
    return [(head + random.randbytes(200))[:length] for length in (14, 40, 200)] + [random.randbytes(60)]


def test_random_programs() -> None:
    random = Random(29)
    compared = 0
    while compared < PROGRAMS:
        spec = ProgramSpec("fuzz", insns=grammar_program(random), license="GPL", maps=MAPS)
        verified = judged(spec)
        if verified is not None:
            assert difference(spec, verified, packets(random)) is None, spec.insns
            compared += 1


def test_real_programs_with_instructions_changed() -> None:
    random = Random(31)
    compared = 0
    for name, program in MUTATED:
        whole = object_spec("O2", name)
        for _ in range(12):
            spec = replace(whole.programs[program], insns=mutated(whole.programs[program].insns, random))
            verified = judged(spec, whole.btf)
            if verified is not None:
                assert difference(spec, verified, packets(random)) is None, spec.insns
                compared += 1
    assert compared > 10
