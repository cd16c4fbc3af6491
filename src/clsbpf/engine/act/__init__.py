"""The kinds of actions on the wire: attributes to parameters and back, a file a kind.

What a kind does with packets is in `tc/actions/`; here is what its `init` demands of a request and what
its `dump` says.  `kind` is what they have in common, `KINDS` the table of them.
"""

from __future__ import annotations

from .bpf import BPF
from .csum import CSUM
from .gact import GACT
from .kind import AnyKind
from .mirred import MIRRED
from .pedit import PEDIT
from .police import POLICE
from .sample import SAMPLE
from .simple import SIMPLE
from .skbedit import SKBEDIT
from .skbmod import SKBMOD
from .tunnel_key import TUNNEL_KEY
from .vlan import VLAN

KINDS: dict[str, AnyKind] = {
    kind.name: kind
    for kind in (
        BPF,
        CSUM,
        GACT,
        MIRRED,
        PEDIT,
        POLICE,
        SAMPLE,
        SIMPLE,
        SKBEDIT,
        SKBMOD,
        TUNNEL_KEY,
        VLAN,
    )
}
"""act_base: the kinds by name."""

__all__ = ["KINDS", "AnyKind"]
