"""The kinds of actions on the wire: attributes to parameters and back, a file a kind.

What a kind does with packets is in `tc/actions/`; here is what its `init` demands of a request and what
its `dump` says.  `kind` is what they have in common, `KINDS` the table of them.
"""

from __future__ import annotations

from .gact import GACT
from .kind import AnyKind
from .mirred import MIRRED

KINDS: dict[str, AnyKind] = {kind.name: kind for kind in (GACT, MIRRED)}
"""act_base: the kinds by name."""

__all__ = ["KINDS", "AnyKind"]
