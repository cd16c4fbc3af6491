"""bpf as an action, on the wire: net/sched/act_bpf.c, tcf_bpf_init() and tcf_bpf_dump()."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ...errors import NetlinkError
from ...netlink import act as wire
from ...netlink import attr as nla
from ...netlink.act import TcaActBpf
from ...netlink.attr import Attr
from ...tc.actions.action import Action
from ...tc.actions.bpf import Bpf, BpfParams
from ...tc.program import Program
from ..programs import LoadedProgram, ProgramTable
from .kind import Given, Kind

if TYPE_CHECKING:
    from ..actions import NetActions

SCHED_ACT = "sched_act"
BPF_MAXINSNS = 4096
SOCK_FILTER_SIZE = 8


class BpfKind(Kind[BpfParams]):
    """bpf."""

    name = "bpf"
    action = Bpf
    policy = wire.ACT_BPF
    highest = TcaActBpf.ID
    parms = TcaActBpf.PARMS
    tm = TcaActBpf.TM

    def build(
        self, given: Given, old: Action[BpfParams] | None, net: NetActions, *, rate: bytes | None
    ) -> BpfParams:
        attrs = given.attrs
        classic = {TcaActBpf.OPS_LEN, TcaActBpf.OPS} <= attrs.keys()
        if classic == (TcaActBpf.FD in attrs):
            raise NetlinkError(errno.EINVAL)
        if not classic:
            name = attrs[TcaActBpf.NAME].string if TcaActBpf.NAME in attrs else None
            return BpfParams(_from_fd(net, attrs[TcaActBpf.FD].u32), name=name)
        count, ops = attrs[TcaActBpf.OPS_LEN].u16, attrs[TcaActBpf.OPS].payload
        if not 0 < count <= BPF_MAXINSNS or count * SOCK_FILTER_SIZE != len(ops):
            raise NetlinkError(errno.EINVAL)
        return BpfParams(net.network.programs.from_ops(ops), ops=ops)

    def offloadable(self, action: Action[BpfParams]) -> bool:
        return False

    def dump(self, action: Action[BpfParams], generic: bytes, net: NetActions) -> list[Attr]:
        params = action.params
        attrs = [nla.binary(TcaActBpf.PARMS, generic)]
        if params.ops is not None:
            attrs.append(nla.u16(TcaActBpf.OPS_LEN, len(params.ops) // SOCK_FILTER_SIZE))
            attrs.append(nla.binary(TcaActBpf.OPS, params.ops))
            return attrs
        if params.name is not None:
            attrs.append(nla.string(TcaActBpf.NAME, params.name))
        program = params.program
        if isinstance(program, LoadedProgram):
            if program.id is not None:
                attrs.append(nla.u32(TcaActBpf.ID, program.id))
            if program.tag is not None:
                attrs.append(nla.binary(TcaActBpf.TAG, program.tag))
        return attrs


def _from_fd(net: NetActions, fd: int) -> Program:
    """bpf_prog_get_type(fd, BPF_PROG_TYPE_SCHED_ACT)."""
    programs = net.network.programs
    if not isinstance(programs, ProgramTable):
        raise NetlinkError(errno.EBADF)
    program = programs.file(fd)
    if not isinstance(program, LoadedProgram) or program.type != SCHED_ACT:
        raise NetlinkError(errno.EINVAL)
    return program


BPF = BpfKind()
