"""Extended programs in a plan: what do they need of it beside being called?

A classic program looks at the packet and answers.  An extended one may write the packet's bytes (it then
gets a copy of its own, with room before it), change what protocol the packet is of, send it elsewhere, and
call helpers whose bodies are Python (`in_python.py`).  A plan provides what some program of it needs, and
nothing of it for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..bpf.helpers import BY_NAME, BY_NUMBER
from ..bpf.isa import FP, PSEUDO_KFUNC_CALL, Class, Jmp, class_of
from ..bpf.maps import MapFlag, MapType
from ..bpf.prototypes import prototype_of
from ..profile import KernelProfile
from ..tc.act import TcAct
from ..vm.environment import EnvironmentAt
from ..vm.link import LinkedProgram
from ..vm.lower import lower_linked
from ..vm.native_skb import At
from ..vm.native_symbols import Symbols
from ..vm.subset import (
    Lowered,
    copy,
    load_i64,
    load_u32,
    native,
    store_i64,
    store_u32,
    swap16,
)
from .in_python import fault_in_python, redirect_in_python
from .walk_state import COLUMN_BYTES, VERDICT_MASK, VERDICT_SHIFT, Column, State

_CALL = Class.JMP | Jmp.CALL
_WRITERS = frozenset({"dynptr_write", "skb_ecn_set_ce"})
"""Helpers that write the packet and leave pointers into it as they are."""
_REDIRECTS = frozenset({"redirect", "redirect_peer", "redirect_neigh", "tail_call"})
"""Helpers after which the packet may go elsewhere (a tail call: to a program that does this)."""


def helpers_called(linked: LinkedProgram) -> set[str]:
    """The names of the helpers that a program calls; "kfunc" for any kernel function.

    What is not reached may call what there is not.
    """
    calls = [insn for insn in linked.insns if insn.code == _CALL]
    found = {BY_NUMBER[insn.imm].name for insn in calls if insn.src == 0 and insn.imm in BY_NUMBER}
    return found | {"kfunc" for insn in calls if insn.src == PSEUDO_KFUNC_CALL}


def writes_packet(linked: LinkedProgram) -> bool:
    """May the program change the packet's bytes, or where they are?"""
    for name in helpers_called(linked):
        prototype = prototype_of(BY_NAME[name].number) if name in BY_NAME else None
        if prototype is None or prototype.changes_packet or name in _WRITERS:
            return True
    assert linked.verified is not None
    kinds = linked.verified.pointer_kinds
    return any(kinds.get(at) in ("pkt", "pkt_meta") for at in stores(linked))


def stores(linked: LinkedProgram) -> Iterator[int]:
    """The instructions that write memory, but for those that name the stack or the context."""
    assert linked.verified is not None
    for at, insn in enumerate(linked.insns):
        writes = class_of(insn.code) in (Class.ST, Class.STX) and insn.dst != FP
        if writes and at not in linked.verified.ctx_accesses:
            yield at


_OF_THE_PACKET = frozenset(
    [
        "skb_load_bytes",
        "skb_load_bytes_relative",
        "skb_store_bytes",
        "l3_csum_replace",
        "l4_csum_replace",
        "csum_diff",
        "csum_update",
        "csum_level",
        "get_hash_recalc",
        "set_hash",
        "set_hash_invalid",
        "skb_change_type",
        "skb_ecn_set_ce",
        "skb_pull_data",
        "ktime_get_ns",
        "ktime_get_boot_ns",
        "ktime_get_coarse_ns",
        "ktime_get_tai_ns",
        "jiffies64",
        "get_smp_processor_id",
        "get_numa_node_id",
        "get_cgroup_classid",
        "get_route_realm",
        "strtol",
        "strtoul",
        "strncmp",
        "skb_set_tstamp",
        "map_lookup_elem",
    ]
)
"""Helpers that answer by the packet, its time and what no packet changes.  (Not: who draws random numbers, or
leaves something for others.)"""
_LOOKED_UP = (MapType.HASH, MapType.ARRAY, MapType.LPM_TRIE)
"""Maps in which a lookup changes nothing."""


def keeps_state(linked: LinkedProgram) -> bool:
    """May the program's answer depend on packets before, or others' on what it does to this one?"""
    if not helpers_called(linked) <= _OF_THE_PACKET:
        return True
    if all(map.spec.flags & MapFlag.RDONLY_PROG for map in linked.maps):
        return False
    return any(map.spec.type not in _LOOKED_UP for map in linked.maps) or any(True for _ in stores(linked))


@dataclass(frozen=True, slots=True)
class Programs:
    """The extended programs of a plan as IR, each once; `names` by the program's id."""

    linked: tuple[LinkedProgram, ...]
    names: dict[int, str]
    lowered: tuple[Lowered, ...]
    symbols: Symbols
    writers: frozenset[int]
    """The ids of those that may write the packet."""
    redirect: bool
    ask_python: bool


def lower_programs(programs: Iterable[LinkedProgram], profile: KernelProfile) -> Programs:
    """Lower them for one module."""
    each_once = {linked.id: linked for linked in programs}
    symbols = Symbols()
    names = {id: f"extended{number}" for number, id in enumerate(each_once)}
    lowered = [lower_linked(each, names[id], symbols, profile=profile) for id, each in each_once.items()]
    called = {id: helpers_called(each) for id, each in each_once.items()}
    return Programs(
        linked=tuple(each_once.values()),
        names=names,
        lowered=tuple(lowered),
        symbols=symbols,
        writers=frozenset(id for id, each in each_once.items() if writes_packet(each)),
        redirect=any(_REDIRECTS & each for each in called.values()),
        ask_python=symbols.calls_python or any("tail_call" in each for each in called.values()),
    )


# What the plan does around them --------------------------------------------------------------------


@native
def own_packet(state: int, skb: int) -> None:
    """Before a program that may write: the packet gets memory of its own, with the room before it that
    `Skb.from_frame` gives it."""
    if load_i64(state + State.OWNED):
        return
    store_i64(state + State.OWNED, 1)
    data = load_i64(skb + At.DATA_PTR)
    captured = load_i64(skb + At.DATA_END_PTR) - data
    room = load_i64(state + State.PACKET)
    at = room + (data - load_i64(skb + At.HEAD_PTR))
    copy(at, data, captured)
    store_i64(skb + At.HEAD_PTR, room)
    store_i64(skb + At.DATA_PTR, at)
    store_i64(skb + At.DATA_META_PTR, at)
    store_i64(skb + At.DATA_END_PTR, at + captured)
    store_i64(skb + At.END_PTR, at + captured)


@native
def outer_protocol(skb: int) -> int:
    """`Skb.outer_protocol`, which programs may have changed."""
    if load_u32(skb + At.VLAN_PRESENT):
        return swap16(load_u32(skb + At.VLAN_PROTO))
    return swap16(load_u32(skb + At.PROTOCOL))


@native
def keep_columns(state: int, skb: int) -> None:
    """What the programs left in the packet, into the row that is written next."""
    row = load_i64(state + State.ROW)
    for number in range(load_i64(state + State.COLUMN_COUNT)):
        column = load_i64(state + State.COLUMNS) + number * COLUMN_BYTES
        size = load_i64(column + Column.BYTES)
        at = load_i64(column + Column.ARRAY) + row * size
        field = skb + load_i64(column + Column.FIELD)
        if size == 8:
            store_i64(at, load_i64(field))
        else:
            store_u32(at, load_u32(field))


@native
def went_wrong(state: int) -> int:
    """Did something go wrong in Python with this packet?  Python says what becomes of it."""
    if load_i64(state + State.FAULTED) == 0:
        return 0
    fault_in_python(state)
    return 1


@native
def send_redirected(state: int, skb: int, outcome: int) -> None:
    """`Environment.take_redirect`, and where the verdict is that, and somebody takes it, the packet goes."""
    environment = load_i64(state + State.ENVIRONMENT)
    ifindex = load_i64(environment + EnvironmentAt.REDIRECT_IFINDEX)
    flags = load_i64(environment + EnvironmentAt.REDIRECT_FLAGS)
    if ifindex == 0 and flags == 0:
        return
    store_i64(environment + EnvironmentAt.REDIRECT_IFINDEX, 0)
    store_i64(environment + EnvironmentAt.REDIRECT_FLAGS, 0)
    if outcome >> VERDICT_SHIFT & VERDICT_MASK == REDIRECTED and load_i64(state + State.DELIVERS):
        redirect_in_python(state, skb, ifindex, flags)


REDIRECTED = TcAct.REDIRECT + 1
