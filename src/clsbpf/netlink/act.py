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
from collections.abc import Iterable
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

# -- police


class TcaPolice(IntEnum):
    """enum in linux/pkt_cls.h."""

    TBF = 1
    RATE = 2
    PEAKRATE = 3
    AVRATE = 4
    RESULT = 5
    TM = 6
    PAD = 7
    RATE64 = 8
    PEAKRATE64 = 9
    PKTRATE64 = 10
    PKTBURST64 = 11


RATESPEC = struct.Struct("=BBHhHI")
"""struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate (bytes a second)."""
POLICE_TBF = struct.Struct("=IiIII12s12siiI")
"""struct tc_police: index, action, limit, burst (ticks), mtu, rate, peakrate, refcnt, bindcnt, capab."""
POLICE_COMPAT_SIZE = 44
"""sizeof(struct tc_police_compat): without the counts, from before there were actions."""
TC_RTAB_SIZE = 1024
TICK_NS = 64
"""PSCHED_TICKS2NS: a tick of a burst or a rate table."""

POLICE: Policy = {
    TcaPolice.RATE: Rule(Nla.UNSPEC, TC_RTAB_SIZE),
    TcaPolice.PEAKRATE: Rule(Nla.UNSPEC, TC_RTAB_SIZE),
    TcaPolice.AVRATE: Rule(Nla.U32),
    TcaPolice.RESULT: Rule(Nla.U32),
    TcaPolice.RATE64: Rule(Nla.U64),
    TcaPolice.PEAKRATE64: Rule(Nla.U64),
    TcaPolice.PKTRATE64: Rule(Nla.U64, minimum=1),
    TcaPolice.PKTBURST64: Rule(Nla.U64, minimum=1),
}
"""police_policy."""

# -- skbedit


class TcaSkbedit(IntEnum):
    """enum in linux/tc_act/tc_skbedit.h."""

    TM = 1
    PARMS = 2
    PRIORITY = 3
    QUEUE_MAPPING = 4
    MARK = 5
    PAD = 6
    PTYPE = 7
    MASK = 8
    FLAGS = 9
    QUEUE_MAPPING_MAX = 10


SKBEDIT_F_INHERITDSFIELD = 0x20
SKBEDIT_F_TXQ_SKBHASH = 0x40

SKBEDIT: Policy = {
    TcaSkbedit.PARMS: Rule(Nla.UNSPEC, GEN.size),
    TcaSkbedit.PRIORITY: Rule(Nla.UNSPEC, 4),
    TcaSkbedit.QUEUE_MAPPING: Rule(Nla.UNSPEC, 2),
    TcaSkbedit.MARK: Rule(Nla.UNSPEC, 4),
    TcaSkbedit.PTYPE: Rule(Nla.UNSPEC, 2),
    TcaSkbedit.MASK: Rule(Nla.UNSPEC, 4),
    TcaSkbedit.FLAGS: Rule(Nla.UNSPEC, 8),
    TcaSkbedit.QUEUE_MAPPING_MAX: Rule(Nla.UNSPEC, 2),
}
"""skbedit_policy."""

# -- vlan


class TcaVlan(IntEnum):
    """enum in linux/tc_act/tc_vlan.h."""

    TM = 1
    PARMS = 2
    PUSH_VLAN_ID = 3
    PUSH_VLAN_PROTOCOL = 4
    PAD = 5
    PUSH_VLAN_PRIORITY = 6
    PUSH_ETH_DST = 7
    PUSH_ETH_SRC = 8


class VlanAction(IntEnum):
    """TCA_VLAN_ACT_*: what is done to the frame."""

    POP = 1
    PUSH = 2
    MODIFY = 3
    POP_ETH = 4
    PUSH_ETH = 5


VLAN_PARMS = struct.Struct("=IIiiii")
"""struct tc_vlan: tc_gen, v_action."""

VLAN: Policy = {
    TcaVlan.PARMS: Rule(Nla.UNSPEC, VLAN_PARMS.size),
    TcaVlan.PUSH_VLAN_ID: Rule(Nla.U16),
    TcaVlan.PUSH_VLAN_PROTOCOL: Rule(Nla.U16),
    TcaVlan.PUSH_VLAN_PRIORITY: Rule(Nla.U8),
    TcaVlan.PUSH_ETH_DST: Rule(Nla.BINARY, 6, exact=True),
    TcaVlan.PUSH_ETH_SRC: Rule(Nla.BINARY, 6, exact=True),
}
"""vlan_policy."""

# -- pedit


class TcaPedit(IntEnum):
    """enum in linux/tc_act/tc_pedit.h."""

    TM = 1
    PARMS = 2
    PAD = 3
    PARMS_EX = 4
    KEYS_EX = 5
    KEY_EX = 6


class TcaPeditKeyEx(IntEnum):
    """Inside TCA_PEDIT_KEY_EX."""

    HTYPE = 1
    CMD = 2


PEDIT_SEL = struct.Struct("=IIiiiBB2x")
"""struct tc_pedit_sel: tc_gen, nkeys, flags; then the keys."""
PEDIT_KEY = struct.Struct("=IIIIII")
"""struct tc_pedit_key: mask, val (as they lie in the packet), off, at, offmask, shift."""
PEDIT_HDR_TYPE_MAX = 5
PEDIT_CMD_MAX = 1

PEDIT: Policy = {
    TcaPedit.PARMS: Rule(Nla.UNSPEC, PEDIT_SEL.size),
    TcaPedit.PARMS_EX: Rule(Nla.UNSPEC, PEDIT_SEL.size),
    TcaPedit.KEYS_EX: Rule(Nla.NESTED),
}
"""pedit_policy; the kernel forgets the length of PARMS_EX."""
PEDIT_KEY_EX: Policy = {
    TcaPeditKeyEx.HTYPE: Rule(Nla.U16, maximum=PEDIT_HDR_TYPE_MAX),
    TcaPeditKeyEx.CMD: Rule(Nla.U16, maximum=PEDIT_CMD_MAX),
}

# -- csum


class TcaCsum(IntEnum):
    """enum in linux/tc_act/tc_csum.h."""

    PARMS = 1
    TM = 2
    PAD = 3


class CsumFlag(IntFlag):
    """TCA_CSUM_UPDATE_FLAG_*: which checksums."""

    IPV4HDR = 1
    ICMP = 2
    IGMP = 4
    TCP = 8
    UDP = 16
    UDPLITE = 32
    SCTP = 64


CSUM_PARMS = struct.Struct("=IIiiiI")
"""struct tc_csum: tc_gen, update_flags."""

CSUM: Policy = {TcaCsum.PARMS: Rule(Nla.UNSPEC, CSUM_PARMS.size)}
"""csum_policy."""

# -- skbmod


class TcaSkbmod(IntEnum):
    """enum in linux/tc_act/tc_skbmod.h."""

    TM = 1
    PARMS = 2
    DMAC = 3
    SMAC = 4
    ETYPE = 5
    PAD = 6


class SkbmodFlag(IntFlag):
    """SKBMOD_F_*."""

    DMAC = 1
    SMAC = 2
    ETYPE = 4
    SWAPMAC = 8
    ECN = 16


SKBMOD_PARMS = struct.Struct("=IIiii4xQ")
"""struct tc_skbmod: tc_gen, flags."""

SKBMOD: Policy = {
    TcaSkbmod.PARMS: Rule(Nla.UNSPEC, SKBMOD_PARMS.size),
    TcaSkbmod.DMAC: Rule(Nla.UNSPEC, 6),
    TcaSkbmod.SMAC: Rule(Nla.UNSPEC, 6),
    TcaSkbmod.ETYPE: Rule(Nla.U16),
}
"""skbmod_policy."""

# -- tunnel_key


class TcaTunnelKey(IntEnum):
    """enum in linux/tc_act/tc_tunnel_key.h."""

    TM = 1
    PARMS = 2
    ENC_IPV4_SRC = 3
    ENC_IPV4_DST = 4
    ENC_IPV6_SRC = 5
    ENC_IPV6_DST = 6
    ENC_KEY_ID = 7
    PAD = 8
    ENC_DST_PORT = 9
    NO_CSUM = 10
    ENC_OPTS = 11
    ENC_TOS = 12
    ENC_TTL = 13
    NO_FRAG = 14


TUNNEL_KEY_SET = 1
TUNNEL_KEY_RELEASE = 2
TUNNEL_KEY_PARMS = struct.Struct("=IIiiii")
"""struct tc_tunnel_key: tc_gen, t_action."""

TUNNEL_KEY: Policy = {
    TcaTunnelKey.PARMS: Rule(Nla.UNSPEC, TUNNEL_KEY_PARMS.size),
    TcaTunnelKey.ENC_IPV4_SRC: Rule(Nla.U32),
    TcaTunnelKey.ENC_IPV4_DST: Rule(Nla.U32),
    TcaTunnelKey.ENC_IPV6_SRC: Rule(Nla.UNSPEC, 16),
    TcaTunnelKey.ENC_IPV6_DST: Rule(Nla.UNSPEC, 16),
    TcaTunnelKey.ENC_KEY_ID: Rule(Nla.U32),
    TcaTunnelKey.ENC_DST_PORT: Rule(Nla.U16),
    TcaTunnelKey.NO_CSUM: Rule(Nla.U8),
    TcaTunnelKey.ENC_OPTS: Rule(Nla.NESTED),
    TcaTunnelKey.ENC_TOS: Rule(Nla.U8),
    TcaTunnelKey.ENC_TTL: Rule(Nla.U8),
    TcaTunnelKey.NO_FRAG: Rule(Nla.FLAG),
}
"""tunnel_key_policy."""

# -- simple


class TcaDef(IntEnum):
    """enum in linux/tc_act/tc_defact.h."""

    TM = 1
    PARMS = 2
    DATA = 3
    PAD = 4


SIMP_MAX_DATA = 32

SIMPLE: Policy = {
    TcaDef.PARMS: Rule(Nla.UNSPEC, GEN.size),
    TcaDef.DATA: Rule(Nla.STRING, SIMP_MAX_DATA),
}
"""simple_policy."""

# -- sample


class TcaSample(IntEnum):
    """enum in linux/tc_act/tc_sample.h."""

    TM = 1
    PARMS = 2
    RATE = 3
    TRUNC_SIZE = 4
    PSAMPLE_GROUP = 5
    PAD = 6


SAMPLE: Policy = {
    TcaSample.PARMS: Rule(Nla.UNSPEC, GEN.size),
    TcaSample.RATE: Rule(Nla.U32),
    TcaSample.TRUNC_SIZE: Rule(Nla.U32),
    TcaSample.PSAMPLE_GROUP: Rule(Nla.U32),
}
"""sample_policy."""

# -- bpf


class TcaActBpf(IntEnum):
    """enum in linux/tc_act/tc_bpf.h."""

    TM = 1
    PARMS = 2
    OPS_LEN = 3
    OPS = 4
    FD = 5
    NAME = 6
    PAD = 7
    TAG = 8
    ID = 9


ACT_BPF_NAME_LEN = 256

ACT_BPF: Policy = {
    TcaActBpf.PARMS: Rule(Nla.UNSPEC, GEN.size),
    TcaActBpf.FD: Rule(Nla.U32),
    TcaActBpf.NAME: Rule(Nla.NUL_STRING, ACT_BPF_NAME_LEN),
    TcaActBpf.OPS_LEN: Rule(Nla.U16),
    TcaActBpf.OPS: Rule(Nla.BINARY, 8 * 4096),
}
"""act_bpf_policy."""
