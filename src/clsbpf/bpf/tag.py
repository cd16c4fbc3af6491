"""A program's tag: eight bytes of a hash of its instructions, by which the kernel and tools name it.

The tag is the same wherever and whenever a program is loaded, so what differs between loads is left out:
the descriptor of a map (`bpf_prog_calc_tag`).  The hash was SHA-1 up to Linux 6.17 and is SHA-256 since.
Classic filters have none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from ..profile import CURRENT, KernelProfile
from .insn import Insn, encode
from .isa import Pseudo

TAG_BYTES = 8

_UNSTABLE = (Pseudo.MAP_FD, Pseudo.MAP_VALUE)


def program_tag(insns: Sequence[Insn], profile: KernelProfile = CURRENT) -> bytes:
    """The 8 bytes of TCA_BPF_TAG and `bpf_prog_info.tag`, of the instructions as they were loaded."""
    stable = list(insns)
    for pc, insn in enumerate(insns):
        if insn.is_ld_imm64 and insn.src in _UNSTABLE:
            for half in range(pc, min(pc + 2, len(stable))):
                stable[half] = replace(stable[half], imm=0)
    message = encode(stable)
    return hashlib.new(profile.tag_hash, message, usedforsecurity=False).digest()[:TAG_BYTES]
