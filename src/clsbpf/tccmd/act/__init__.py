"""The kinds of actions in words and rows: a file a kind, each with `parse`, `show` and `USAGE`."""

from __future__ import annotations

from . import bpf, csum, gact, mirred, pedit, police, sample, simple, skbedit, skbmod, tunnel_key, vlan
from .common import ActionKind

KINDS: dict[str, ActionKind] = {
    "bpf": bpf,
    "csum": csum,
    "gact": gact,
    "mirred": mirred,
    "pedit": pedit,
    "police": police,
    "sample": sample,
    "simple": simple,
    "skbedit": skbedit,
    "skbmod": skbmod,
    "tunnel_key": tunnel_key,
    "vlan": vlan,
}

UNSUPPORTED = frozenset({"connmark", "ct", "ctinfo", "gate", "ife", "ipt", "mpls", "nat", "xt"})
"""The other kinds of tc 6.1."""

USAGES = "\n".join(
    kind.USAGE
    for kind in (
        gact,
        mirred,
        police,
        skbedit,
        vlan,
        pedit,
        csum,
        skbmod,
        tunnel_key,
        simple,
        sample,
        bpf,
    )
)
