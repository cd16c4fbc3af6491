"""The vectors: programs with a packet and the result that they must have, as text (`tests/vectors/`).

    == a name, unique in its file
    classic                    or: ebpf.  What follows is the program, in its assembly language
        ldh [12]
        ret a
    packet 00 01 02            its bytes, from the link-layer header on; default: 64 bytes 00 01 02 …
    captured 20                as if only so many had been captured
    skb mark=3 hatype=772      fields of Skb, set before the run
    skb receive                the packet as ingress has it
    profile 4.13
    result 0x1                 r0
    past                       the run must say that it read past the captured end

An eBPF program without an `exit` gets one, and `result` is then all 64 bits of r0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.check import check
from clsbpf.bpf.classic_asm import assemble_classic
from clsbpf.bpf.insn import Insn, alu64_imm, exit_
from clsbpf.bpf.isa import R0, Alu, Class, Jmp
from clsbpf.profile import CURRENT, PROFILES, KernelProfile
from clsbpf.skb import Skb, receive
from clsbpf.verifier.program import VerifiedProgram
from running import bless

DIRECTORY = Path(__file__).parent / "vectors"
EXIT = Class.JMP | Jmp.EXIT


@dataclass(slots=True)
class Vector:
    """One vector, as its file has it."""

    name: str
    kind: str = ""
    code: list[str] = field(default_factory=list)
    packet: bytes = bytes(range(64))
    captured: int | None = None
    fields: dict[str, int] = field(default_factory=dict)
    receive: bool = False
    profile: KernelProfile = CURRENT
    result: int = -1
    past: bool = False

    def skb(self) -> Skb:
        """The packet to run on, a new one each time."""
        captured = self.packet[: self.captured]
        if self.receive:
            skb = receive(captured, length=len(self.packet))
            assert skb is not None
            skb.push(skb.mac_len)
        else:
            skb = Skb.from_frame(captured, length=len(self.packet))
        for name, value in self.fields.items():
            assert hasattr(skb, name), f"{self.name}: Skb has no field {name}"
            setattr(skb, name, value)
        return skb

    def programs(self) -> Iterator[tuple[VerifiedProgram, int]]:
        """The programs to run and the 32-bit result of each."""
        text = "\n".join(self.code)
        if self.kind == "classic":
            yield VerifiedProgram.from_classic(check(assemble_classic(text)), self.profile), self.result
            return
        insns = assemble(text)
        if any(insn.code == EXIT for insn in insns):
            yield bless(insns), self.result
            return
        high: tuple[Insn, ...] = (*insns, alu64_imm(Alu.RSH, R0, 32), exit_())
        yield bless((*insns, exit_())), self.result & 0xFFFFFFFF
        yield bless(high), self.result >> 32 & 0xFFFFFFFF


def parse(text: str) -> Iterator[Vector]:
    """The vectors of a file; a mistake in it is an AssertionError or ValueError."""
    vector: Vector | None = None
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("=="):
            if vector is not None:
                yield vector
            vector = Vector(line[2:].strip())
            continue
        assert vector is not None, "a vector begins with =="
        if line.startswith(" "):
            vector.code.append(line)
            continue
        match word:
            case "classic" | "ebpf":
                vector.kind = word
            case "packet":
                vector.packet = bytes.fromhex(rest)
            case "captured":
                vector.captured = int(rest)
            case "skb" if rest == "receive":
                vector.receive = True
            case "skb":
                pairs = (pair.split("=") for pair in rest.split())
                vector.fields |= {name: int(value, 0) for name, value in pairs}
            case "profile":
                vector.profile = PROFILES[rest]
            case "result":
                vector.result = int(rest, 0) & 0xFFFFFFFFFFFFFFFF
            case "past":
                vector.past = True
            case _:
                raise AssertionError(f"{vector.name}: {line!r} is not of a vector")
    if vector is not None:
        yield vector


def all_vectors() -> list[Vector]:
    """Every vector of every file."""
    vectors = [vector for path in sorted(DIRECTORY.glob("*.txt")) for vector in parse(path.read_text())]
    assert len({vector.name for vector in vectors}) == len(vectors), "names are unique"
    return vectors
