# ruff: noqa: E501 - one program, or one helper, a line
"""Programs that are refused, each for one reason: (kind of refusal, program text)."""

from __future__ import annotations

SETUP = """
r2 = *(u32 *)(r1 +76)
r3 = *(u32 *)(r1 +80)
"""
END = """
r0 = 0
exit
"""
LOOKUP = """
r6 = r1
*(u64 *)(r10 -8) = 0
r1 = map[fd:0]
r2 = r10
r2 += -8
call 1
"""
RESERVE = """
r6 = r1
r1 = map[fd:4]
r2 = 8
r3 = 0
call 131
"""

REFUSED: list[tuple[str, str, str]] = [
    ("no bounds check", "packet-bounds", f"{SETUP} r0 = *(u8 *)(r2 +0) {END}"),
    ("one byte too far", "packet-bounds", f"{SETUP} r4 = r2\nr4 += 14\nif r4 > r3 goto +1\nr0 = *(u8 *)(r2 +14)\n{END}"),
    ("checked another way round", "packet-bounds", f"{SETUP} r4 = r2\nr4 += 1\nif r4 <= r3 goto +1\nr0 = *(u8 *)(r2 +0)\n{END}"),
    (
        "packet pointer after the packet moved",
        "lost-pointer",
        f"r6 = r1\n{SETUP} r7 = r2\nr2 = 34\ncall 39\nr0 = *(u8 *)(r7 +0)\n{END}",
    ),
    ("negative index", "negative-index", f"{LOOKUP} if r0 == 0 goto +3\nr1 = *(s16 *)(r0 +0)\nr0 += r1\nr0 = *(u8 *)(r0 +0)\n{END}"),
    ("index without bound", "unbounded", f"{LOOKUP} if r0 == 0 goto +3\nr1 = *(u32 *)(r0 +0)\nr0 += r1\nr0 = *(u8 *)(r0 +0)\n{END}"),
    ("value too short", "bounds", f"{LOOKUP} if r0 == 0 goto +1\nr0 = *(u8 *)(r0 +16)\n{END}"),
    ("no null check", "null-check", f"{LOOKUP} r0 = *(u8 *)(r0 +0)\n{END}"),
    ("arithmetic before the null check", "null-check", f"{LOOKUP} r0 += 8\n{END}"),
    ("unwritten register", "unwritten", "r0 = r5\nexit"),
    ("r0 not set", "unwritten", "exit"),
    ("register lost in a call", "unwritten", "r2 = 1\ncall 7\nr0 = r2\nexit"),
    ("above the stack", "stack-bounds", f"*(u64 *)(r10 +0) = 1\n{END}"),
    ("below the stack", "stack-bounds", f"*(u64 *)(r10 -520) = 1\n{END}"),
    ("misaligned on the stack", "alignment", f"*(u64 *)(r10 -12) = 1\n{END}"),
    ("half of a pointer", "stack-slot", f"*(u64 *)(r10 -8) = r1\nr0 = *(u32 *)(r10 -8)\n{END}"),
    ("context field written", "context-field", f"r2 = 1\n*(u32 *)(r1 +0) = r2\n{END}"),
    ("outside of the context", "context-field", f"r0 = *(u32 *)(r1 +200)\n{END}"),
    ("context pointer moved", "modified-pointer", f"r1 += 8\nr0 = *(u32 *)(r1 +0)\n{END}"),
    ("a number as address", "not-a-pointer", f"r2 = *(u32 *)(r1 +0)\nr0 = *(u32 *)(r2 +0)\n{END}"),
    ("a number as map", "argument-kind", f"r1 = 0\nr2 = r10\nr2 += -8\ncall 1\n{END}"),
    ("a helper of others", "helper", f"call 44\n{END}"),
    ("no such helper", "helper", f"call 9999\n{END}"),
    ("size may be 0", "zero-size", f"r6 = r1\nr4 = *(u32 *)(r1 +0)\nr4 &= 7\nr3 = r10\nr3 += -8\nr2 = 0\ncall 26\n{END}"),
    ("size may be negative", "negative-size", f"r6 = r1\nr4 = *(u64 *)(r1 +152)\nr3 = r10\nr3 += -8\nr2 = 0\ncall 26\n{END}"),
    ("size without bound", "unbounded-size", f"r6 = r1\nr4 = *(u32 *)(r1 +0)\nr4 += 1\nr3 = r10\nr3 += -8\nr2 = 0\ncall 26\n{END}"),
    ("packet pointer passed", "packet-argument", f"r6 = r1\n{SETUP} r4 = 1\nr3 = r2\nr2 = 0\ncall 26\n{END}"),
    ("record not given back", "leak", f"{RESERVE} if r0 == 0 goto +1\nr0 = 0\n{END}"),
    ("record used after it was given back", "lost-pointer", f"{RESERVE} if r0 == 0 goto +5\nr7 = r0\nr1 = r0\nr2 = 0\ncall 132\nr0 = *(u8 *)(r7 +0)\n{END}"),
    ("released what was not acquired", "argument-kind", f"r2 = 0\ncall 132\n{END}"),
    ("wrong map", "map-kind", f"r1 = map[fd:3]\n*(u64 *)(r10 -8) = 0\nr2 = r10\nr2 += -8\ncall 1\n{END}"),
    ("endless loop", "infinite-loop", "r0 = 0\nr1 = *(u32 *)(r1 +0)\nl:\nif r1 != 5 goto l\nexit"),
    ("unreachable", "unreachable", "r0 = 0\nexit\nr0 = 1\nexit"),
    ("falls off the end", "control-flow", "r0 = 0"),
    ("jump outside", "control-flow", "r0 = 0\ngoto +5\nexit"),
    ("frame pointer written", "frame-pointer", f"r10 = 0\n{END}"),
    ("division by zero", "division", "r0 = 1\nr0 /= 0\nexit"),
    ("shift too far", "shift", "r0 = 1\nr0 <<= 64\nexit"),
    ("pointer multiplied", "pointer-math", f"r1 *= 2\n{END}"),
    ("pointer added to pointer", "pointer-math", f"r1 += r10\n{END}"),
    ("stack pointer lowered by minus", "pointer-math", f"r2 = r10\nr3 = 8\nr2 -= r3\n{END}"),
    ("number without bound added", "unbounded-math", f"r2 = *(u64 *)(r1 +152)\nr3 = r10\nr3 += r2\n{END}"),
    ("packet offset far away", "pointer-offset", f"{SETUP} r2 += 1073741824\n{END}"),
    ("atomic on the packet", "atomic-target", f"{SETUP} r4 = r2\nr4 += 8\nif r4 > r3 goto +2\nr4 = 1\nlock *(u64 *)(r2 +0) += r4\n{END}"),
    ("load without the context in r6", "ld-abs", "r6 = 0\nr0 = *(u8 *)skb[0]\nexit"),
    ("stack of the callee returned", "return", "call fn\nexit\nfn:\nr0 = r10\nexit"),
    ("stack too deep", "stack-depth", "*(u64 *)(r10 -400) = 0\ncall fn\nexit\nfn:\n*(u64 *)(r10 -200) = 0\nr0 = 0\nexit"),
    ("recursion", "frames", "call fn\nexit\nfn:\ncall fn\nexit"),
    ("an atomic operation over its own pointer", "atomic-alignment", f"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr1 = atomic64_xchg((u64 *)(r1 +0), r1)\n{END}"),
    ("an atomic operation between two words", "alignment", f"r1 = map[fd:2][0]+0\nr2 = 1\nlock *(u64 *)(r1 +4) += r2\n{END}"),
    ("a size that must be known", "constant", f"r6 = r1\nr2 = *(u32 *)(r6 +0)\nr1 = map[fd:4]\nr3 = 0\ncall 131\n{END}"),
    ("a callback without types", "callback", f"r1 = 1\nr2 = subprog[+6]\nr3 = 0\nr4 = 0\ncall 181\n{END}{END}"),
    ("a released socket's pointer passed on", "lost-pointer", f"{RESERVE} if r0 == 0 goto +7\nr7 = r0\nr1 = r0\nr2 = 0\ncall 132\nr1 = r7\nr2 = 0\ncall 132\n{END}"),
    ("half of a field of struct bpf_tcp_sock", "context-field", f"r1 = *(u64 *)(r1 +168)\nif r1 == 0 goto +3\ncall 96\nif r0 == 0 goto +1\nr0 = *(u32 *)(r0 +84)\n{END}"),
    ("value of an array of many", "encoding", f"r1 = map[fd:1][0]+0\n{END}"),
    ("reserved field", "encoding", "r0 = 0\n.quad 0x00000001000000b4\n.quad 0x00010000000001bf\nexit"),
]  # fmt: skip
"""(what is wrong, `Report.kind`, the program over `verifier_programs.MAPS`)"""
