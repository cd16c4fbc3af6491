"""Was this policy compiled before?  Then nothing is lowered, and most of the compiler is not even imported.

`vm/jit.py` keeps objects by the IR that they were made of.  A plan of plain classic filters can say sooner
what its IR will be: it is a function of the filters, the view, the profile, and of this package's own
code, for which the sizes and times of its files stand.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plan import Plan

PACKAGE = Path(__file__).parent.parent
WRITERS = (".", "bpf", "capture", "engine", "engine/act", "tc", "verifier", "vm", "vm/helpers", "vm/maps")
"""The directories whose code has a part in what is compiled."""


@functools.cache
def release() -> bytes | None:
    """What tells this package's code from another release's, or from itself before an edit; None: nothing."""
    digest = sha256(sys.version.encode())
    try:
        for name in WRITERS:
            with os.scandir(PACKAGE / name) as entries:
                found = sorted((each.name, each.stat()) for each in entries if each.name.endswith(".py"))
            for file, status in found:
                digest.update(f"{name}/{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    except OSError:
        return None
    return digest.digest()


def plan_key(plan: Plan, symbols: Iterable[str]) -> bytes | None:
    """A key of a plan's machine code with these functions; None where it takes the IR to say.

    It names what the code has of each filter, not what only counts have (handle, name).
    """
    stamp = release()
    if stamp is None or plan.records is not None or plan.extended is not None or plan.tree is not None:
        return None
    digest = sha256(stamp)
    for part in (plan.view, plan.profile, tuple(symbols), len(plan.filters)):
        digest.update(f"{part!r}\n".encode())
    groups: dict[int, int] = {}
    for planned in plan.filters:
        ops, each, classifier = planned.program.ops, planned.filter, planned.classifier
        if ops is None or planned.classic is None:
            return None
        group = groups.setdefault(id(classifier), len(groups))
        what = (planned.chain, group, classifier.protocol, each.classid, each.direct_action, each.skip_sw)
        digest.update(f"{what!r} {len(ops)}\n".encode() + ops)
    return digest.digest()
