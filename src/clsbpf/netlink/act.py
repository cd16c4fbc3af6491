"""The numbers and layouts of actions: requests about them, the attributes of one action, of each kind.

    RTM_NEWACTION ─ struct tcamsg ─ TCA_ACT_TAB ─┬─ 1 ─┬─ TCA_ACT_KIND "gact"
                                                 │     ├─ TCA_ACT_OPTIONS ─ TCA_GACT_PARMS, …
                                                 │     └─ TCA_ACT_COOKIE, …
                                                 └─ 2 ─ …

A filter's TCA_BPF_ACT holds what TCA_ACT_TAB does.  Every kind has a PARMS attribute, a struct that
begins with tc_gen: index, capab, action (the control), refcnt, bindcnt; only the policer's differs.

Mirrors linux/pkt_cls.h, linux/rtnetlink.h and linux/tc_act/*.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from ..errors import ClsbpfError
from .attr import Attr, encode_attrs
from .message import NLMSG_HDRLEN, Message
from .policy import Nla, Policy, Rule

TCAMSG_LEN = 4
"""struct tcamsg: a family and padding."""
ACTION_ATTRS_OFFSET = NLMSG_HDRLEN + TCAMSG_LEN


class TcaRoot(IntEnum):
    """enum in linux/rtnetlink.h: the attributes after struct tcamsg."""

    TAB = 1
    FLAGS = 2
    COUNT = 3
    TIME_DELTA = 4
    EXT_WARN_MSG = 5


TCA_ROOT_MAX = TcaRoot.EXT_WARN_MSG

TCA_ACT_FLAG_LARGE_DUMP_ON = 1
TCA_ACT_FLAG_TERSE_DUMP = 2
"""What TCA_ROOT_FLAGS may ask for."""


class TcaAct(IntEnum):
    """enum in linux/pkt_cls.h: the attributes of one action."""

    KIND = 1
    OPTIONS = 2
    INDEX = 3
    STATS = 4
    PAD = 5
    COOKIE = 6
    FLAGS = 7
    HW_STATS = 8
    USED_HW_STATS = 9
    IN_HW_COUNT = 10


TCA_ACT_MAX = TcaAct.IN_HW_COUNT
TCA_ACT_MAX_PRIO = 32
"""The most actions that one filter, or one request, may have."""
TC_COOKIE_MAX_SIZE = 16


class ActFlag(IntFlag):
    """TCA_ACT_FLAGS_*: what a request may set of an action."""

    NO_PERCPU_STATS = 1
    SKIP_HW = 2
    SKIP_SW = 4


ACT_FLAGS = int(ActFlag.NO_PERCPU_STATS | ActFlag.SKIP_HW | ActFlag.SKIP_SW)
HW_STATS_ANY = 3
"""TCA_ACT_HW_STATS_IMMEDIATE | TCA_ACT_HW_STATS_DELAYED."""

BITFIELD32 = struct.Struct("=II")
"""struct nla_bitfield32: value, selector."""
TM = struct.Struct("=QQQQ")
"""struct tcf_t: install, lastuse, expires, firstuse; clock ticks (USER_HZ) ago."""
USER_HZ = 100
GEN = struct.Struct("=IIiii")
"""tc_gen: index, capab, action, refcnt, bindcnt."""

ROOT: Policy = {
    TcaRoot.FLAGS: Rule(Nla.BITFIELD32, mask=TCA_ACT_FLAG_LARGE_DUMP_ON | TCA_ACT_FLAG_TERSE_DUMP),
    TcaRoot.TIME_DELTA: Rule(Nla.U32),
}
"""tcaa_policy of net/sched/act_api.c; only dumps heed it."""

ACTION: Policy = {
    TcaAct.KIND: Rule(Nla.STRING),
    TcaAct.INDEX: Rule(Nla.U32),
    TcaAct.COOKIE: Rule(Nla.BINARY, TC_COOKIE_MAX_SIZE),
    TcaAct.OPTIONS: Rule(Nla.NESTED),
    TcaAct.FLAGS: Rule(Nla.BITFIELD32, mask=ACT_FLAGS),
    TcaAct.HW_STATS: Rule(Nla.BITFIELD32, mask=HW_STATS_ANY),
}
"""tcf_action_policy of net/sched/act_api.c."""


def action_message(
    type: int, attrs: Iterable[Attr] = (), *, flags: int = 0, seq: int = 0, pid: int = 0
) -> Message:
    """A whole message about actions."""
    return Message(type, flags, seq, pid, bytes(TCAMSG_LEN) + encode_attrs(attrs))


@dataclass(frozen=True, slots=True)
class GenericParms:
    """tc_gen, as the PARMS of every kind but the policer begin."""

    index: int = 0
    control: int = 0
    references: int = 0
    bindings: int = 0

    def encode(self) -> bytes:
        """The 20 bytes."""
        return GEN.pack(self.index, 0, self.control, self.references, self.bindings)

    @classmethod
    def decode(cls, payload: bytes) -> GenericParms:
        """The fields at the start of a PARMS attribute; ClsbpfError when it is cut."""
        if len(payload) < GEN.size:
            raise ClsbpfError(f"{len(payload)} bytes are too few for an action's parameters ({GEN.size})")
        index, _, control, references, bindings = GEN.unpack_from(payload)
        return cls(index, control, references, bindings)


# -- gact


class TcaGact(IntEnum):
    """enum in linux/tc_act/tc_gact.h."""

    TM = 1
    PARMS = 2
    PROB = 3
    PAD = 4


GACT_PARMS = GEN
"""struct tc_gact."""
GACT_PROB = struct.Struct("=HHi")
"""struct tc_gact_p: ptype, pval, paction."""
MAX_RAND = 3

GACT: Policy = {
    TcaGact.PARMS: Rule(Nla.UNSPEC, GEN.size),
    TcaGact.PROB: Rule(Nla.UNSPEC, GACT_PROB.size),
}
"""gact_policy."""

# -- mirred


class TcaMirred(IntEnum):
    """enum in linux/tc_act/tc_mirred.h."""

    TM = 1
    PARMS = 2
    PAD = 3
    BLOCKID = 4


class MirredAction(IntEnum):
    """What mirred does."""

    EGRESS_REDIR = 1
    EGRESS_MIRROR = 2
    INGRESS_REDIR = 3
    INGRESS_MIRROR = 4


MIRRED_PARMS = struct.Struct("=IIiiiiI")
"""struct tc_mirred: tc_gen, eaction, ifindex."""

MIRRED: Policy = {
    TcaMirred.PARMS: Rule(Nla.UNSPEC, MIRRED_PARMS.size),
    TcaMirred.BLOCKID: Rule(Nla.U32, minimum=1),
}
"""mirred_policy."""

KIND_MAX: Mapping[str, int] = {"gact": TcaGact.PAD, "mirred": TcaMirred.BLOCKID}
"""TCA_GACT_MAX and its like: the highest attribute that a kind's request may have."""
