"""What differs between kernels, in one place.

The specification is Linux 4.13's `net/sched/cls_bpf.c`; the kernel to test against is a current one
(6.18).  Where the two differ in what a user can see, the difference is a field here, read wherever
behaviour depends on it.  `docs/limits.md` has the same table in words.
"""

from __future__ import annotations

import enum
import errno
from dataclasses import dataclass, replace

from .errors import ClsbpfError


class HandlePolicy(enum.Enum):
    """How handle 0 ("choose one for me") is answered."""

    HGEN = "hgen"
    """4.13, `cls_bpf_grab_new_handle`: one counter a classifier, wrapping to 1 at 0x7fffffff."""
    LOWEST_FREE = "lowest-free"
    """Current, `idr_alloc_u32`: the lowest handle not in use."""


@dataclass(frozen=True, slots=True)
class KernelProfile:
    """The user-visible behaviour of one kernel release."""

    name: str
    handles: HandlePolicy
    max_reclassify: int
    """Re-runs (reclassify and goto chain share them) before `tcf_classify` gives up with SHOT."""
    tag_hash: str
    """The hash of a program's tag, a `hashlib` name; the tag is its first 8 bytes."""
    skip_sw_errno: int
    """The answer to `skip_sw` where no driver offloads."""
    skip_hw_may_change: bool
    """May a replace change `skip_hw`?  (Else EINVAL.)"""
    div_by_zero_exits: bool
    """eBPF division or modulo by a zero register: does the program return 0?  (Else 0, resp. unchanged.)"""
    vlan_tci_clears_cfi: bool
    """Does classic SKF_AD_VLAN_TAG clear bit 0x1000 (then VLAN_TAG_PRESENT)?"""
    dumps_id: bool
    """Is TCA_BPF_ID in the dump of an eBPF filter?"""
    rereads_protocol: bool = True
    """Does `tcf_classify` look at the protocol before each classifier?  (Else once a run of a chain.)"""
    auto_prio_errno: int = errno.ENOSPC
    """The answer when the range of automatic priorities is used up."""
    keeps_chain0: bool = False
    """Is chain 0 always there, and so the first in a dump?  (Else it comes and goes as the others do.)"""
    classic_loads_inline: bool = True
    """Are a classic program's packet loads written out?  (Then a `jmp` over very many of them is EINVAL.)"""
    last_tca: int = 16
    """The last TCA_* attribute there is: what is later is neither heeded nor told."""
    has_blocks: bool = True
    """Can qdiscs share blocks?  (Else a block's number is that of a device that is not there.)"""
    last_tca_root: int = 5
    """The same of requests about actions, TCA_ROOT_*."""
    last_tca_act: int = 10
    """The same of one action, TCA_ACT_*."""
    last_tca_stats: int = 8
    """The same of an action's counters, TCA_STATS_*."""
    has_chain_requests: bool = True
    """Are there RTM_NEWCHAIN, RTM_DELCHAIN and RTM_GETCHAIN?  (Else EOPNOTSUPP.)"""
    explains: bool = True
    """Do traffic control's errors come with words (extack)?"""
    rebinds_filters: bool = True
    """Do filters of inner classes meet a class that comes after them, and part with one that is to go?"""
    offloads_egress: bool = True
    """May filters at clsact's egress go to hardware?  (4.13, `clsact_cl_offload`: those at ingress only.)"""
    joint_tfilter: bool = False
    """Does one function add, delete and get filters (`tc_ctl_tfilter`)?  Then what is missing is EINVAL."""


CURRENT = KernelProfile(
    name="current",
    handles=HandlePolicy.LOWEST_FREE,
    max_reclassify=16,
    tag_hash="sha256",
    skip_sw_errno=errno.EOPNOTSUPP,
    skip_hw_may_change=False,
    div_by_zero_exits=False,
    vlan_tci_clears_cfi=False,
    dumps_id=True,
)

V4_13 = KernelProfile(
    name="4.13",
    handles=HandlePolicy.HGEN,
    max_reclassify=4,
    tag_hash="sha1",
    skip_sw_errno=errno.EINVAL,
    skip_hw_may_change=True,
    div_by_zero_exits=True,
    vlan_tci_clears_cfi=True,
    dumps_id=False,
    rereads_protocol=False,
    auto_prio_errno=errno.EINVAL,
    keeps_chain0=True,
    classic_loads_inline=False,
    last_tca=11,
    has_blocks=False,
    last_tca_root=1,
    last_tca_act=6,
    last_tca_stats=6,
    has_chain_requests=False,
    explains=False,
    offloads_egress=False,
    joint_tfilter=True,
    rebinds_filters=False,
)

V4_19 = replace(CURRENT, name="4.19", max_reclassify=4, tag_hash="sha1", vlan_tci_clears_cfi=True)
V5_4 = replace(CURRENT, name="5.4", max_reclassify=4, tag_hash="sha1")
V5_15 = replace(CURRENT, name="5.15", tag_hash="sha1")
V6_1 = replace(CURRENT, name="6.1", tag_hash="sha1")
V6_12 = replace(CURRENT, name="6.12", tag_hash="sha1")

PROFILES = {profile.name: profile for profile in (CURRENT, V4_13, V4_19, V5_4, V5_15, V6_1, V6_12)}
"""By name.  What a release's verifier allows is in `verifier.rules`, by the same names."""


def profile_by_name(name: str) -> KernelProfile:
    """The profile called `name`; ClsbpfError lists those that exist."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ClsbpfError(f"no kernel profile {name!r}; there are: {', '.join(PROFILES)}") from None
