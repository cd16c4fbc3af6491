"""Actions of a network: made from a request's attributes, shared by index, told in a reply's.

TCA_BPF_ACT and TCA_ACT_TAB hold up to 32 actions under the numbers 1 to 32, each a nest of its own with
a kind and options.  All of them are made before any of them is seen: when one is refused, the whole
request has changed nothing.  (The kernel has by then replaced those before it.)

Mirrors tcf_exts_validate(), tcf_action_init(), tcf_action_init_1() and tcf_action_dump_1() of
net/sched/cls_api.c and net/sched/act_api.c.
"""

from __future__ import annotations

import errno
import functools
import itertools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import NetlinkError
from ..netlink import act as wire
from ..netlink import attr as nla
from ..netlink.act import ActFlag, GenericParms, TcaAct
from ..netlink.attr import NLA_HDRLEN, Attr
from ..netlink.policy import Policy, parse_attrs
from ..netlink.stats import encode_stats
from ..skb import Skb
from ..tc.actions import NO_ACTIONS, Actions
from ..tc.actions.action import AnyAction, check_control
from ..tc.actions.estimator import Estimator
from ..tc.actions.execute import execute
from ..tc.actions.hardware import FlowStats
from ..tc.actions.mirred import Mirred
from ..tc.actions.surroundings import NSEC_PER_SEC, Surroundings
from ..tc.actions.table import ActionTable
from ..tc.chain import Block
from ..tc.offload import ActionCommand, ActionDriver, tell_action
from ..tc.refusal import refusal
from ..tc.result import ClassifyResult
from .act import KINDS, AnyKind
from .act.kind import Given, Remark

if TYPE_CHECKING:
    from .devices import Network

IFNAMSIZ = 16

_TICK = NSEC_PER_SEC // wire.USER_HZ


@dataclass(frozen=True, slots=True)
class FilterActions:
    """struct tcf_exts with actions: those of one filter, in order; an `Actions` (clsbpf.tc.actions)."""

    actions: tuple[AnyAction, ...]
    put: Callable[[AnyAction], None]
    settings: tuple[Callable[[], None], ...] = ()
    """What the request said of its actions, among them such as were there already."""

    @property
    def is_old_police(self) -> bool:
        """TCA_OLD_COMPAT: is it one policer, given by TCA_BPF_POLICE?"""
        return self.actions[0].old_police

    def execute(self, skb: Skb, result: ClassifyResult) -> int:
        """tcf_exts_exec()."""
        return execute(self.actions, skb, result)

    def hardware_counted(self, stats: FlowStats, kind: int) -> None:
        """tcf_exts_hw_stats_update()."""
        for action in self.actions:
            action.hardware_counted(stats, kind)

    def settle(self) -> None:
        """The filter stands, and with it what its request said of the actions."""
        for each in self.settings:
            each()

    def destroy(self) -> None:
        """tcf_exts_destroy()."""
        for action in self.actions:
            self.put(action)


@dataclass(frozen=True, slots=True)
class Request:
    """How actions are asked for: by a filter (`bind`) in a block, or on their own; may they replace?"""

    bind: bool
    replace: bool = False
    rate: bytes | None = None
    block: Block | None = None


@dataclass(slots=True)
class Made:
    """What became of one action of a request; `commit` makes it so, and may not fail.

    `settle` is for when the whole request stands: what is set of an action however it was found.
    """

    action: AnyAction
    created: bool
    commit: Callable[[], None]
    settle: Callable[[], None] = lambda: None


class NetActions:
    """struct net's actions: a table a kind, and what actions ask of the world.

    An `ActionSource` (clsbpf.tc.actions), whose attributes are `Attr`s with their offsets.
    """

    def __init__(self, network: Network, around: Surroundings) -> None:
        self.network = network
        self.around = around
        self.tables = {name: ActionTable(name) for name in KINDS}
        self._warning: str | None = None

    def has_device(self, ifindex: int) -> bool:
        """__dev_get_by_index()."""
        return ifindex in self.network.devices

    def forget_device(self, ifindex: int, driver: object) -> None:
        """mirred_device_event() of NETDEV_UNREGISTER: actions that lead to a device lead nowhere from now on.

        Its driver holds none any more, either.
        """
        for action in itertools.chain.from_iterable(self.tables.values()):
            if isinstance(action, Mirred) and action.params.ifindex == ifindex:
                action.params = replace(action.params, ifindex=0)
                self.around.generation += 1
            if driver is not None:
                action.offloaded = tuple(each for each in action.offloaded if each is not driver)

    def take_warning(self) -> str | None:
        """What the last request was told beside its answer (an extack message), once."""
        warning, self._warning = self._warning, None
        return warning

    # filters

    def make(
        self, act: Attr | None, police: Attr | None, rate: bytes | None, override: bool, block: Block
    ) -> Actions:
        """tcf_exts_validate().  A policer (the form that TCA_BPF_POLICE has) comes before the list."""
        request = Request(True, override, rate, block)
        if police is not None:
            made = self._make_police(police, request)
        elif act is not None:
            made = self.init(act, request)
        else:
            return NO_ACTIONS
        if not made:
            return NO_ACTIONS
        actions, settings = tuple(each.action for each in made), tuple(each.settle for each in made)
        return FilterActions(actions, self._unbind, settings)

    def _unbind(self, action: AnyAction) -> None:
        self.tables[action.kind].put(action, bind=True)

    def _make_police(self, police: Attr, request: Request) -> list[Made]:
        kind = KINDS.get("police")
        if kind is None:
            raise _unknown_kind()
        with ExitStack() as undo:
            made = self._init_one(kind, {TcaAct.OPTIONS: police}, request, undo)
            undo.pop_all()
        made.commit()
        made.settle = functools.partial(setattr, made.action, "old_police", True)
        return [made]

    # requests

    def init(self, tab: Attr, request: Request) -> list[Made]:
        """tcf_action_init(): the actions of a list, committed; NetlinkError, and nothing has changed.

        Those of a filter are settled when the filter is (the kernel settles them at once).
        """
        self._warning = None
        found = self._parsed(tab.payload, {}, wire.TCA_ACT_MAX_PRIO + 1, tab)
        if wire.TCA_ACT_MAX_PRIO + 1 in found:
            most = wire.TCA_ACT_MAX_PRIO
            raise NetlinkError(errno.EINVAL, f"Only {most} actions supported per filter")
        given = [self._kind(action) for action in in_order(found)]
        with ExitStack() as undo:
            made = [self._init_one(kind, attrs, request, undo) for kind, attrs in given]
            undo.pop_all()
        for each in made:
            each.commit()
            if not request.bind:
                each.settle()
                if not each.created:
                    self._offload_change(each.action)
        return made

    def _parsed(self, payload: bytes, policy: Policy, highest: int, nest: Attr) -> dict[int, Attr]:
        """nla_parse_nested_deprecated(), which may have something to remark."""
        parsed = parse_attrs(payload, policy, highest, offset=_inside(nest))
        self._remark(parsed.warning)
        return parsed.attrs

    def _remark(self, warning: str | None) -> None:
        """NL_SET_ERR_MSG() beside success: the last counts."""
        self._warning = warning or self._warning

    def _kind(self, action: Attr) -> tuple[AnyKind, dict[int, Attr]]:
        """tc_action_load_ops(): the kind that an action names, and its attributes."""
        attrs = self._parsed(action.payload, wire.ACTION, self.network.profile.last_tca_act, action)
        if TcaAct.KIND not in attrs:
            raise NetlinkError(errno.EINVAL, "TC action kind must be specified")
        # nla_strscpy(): one NUL at the end does not count; the name ends at the first.
        raw = attrs[TcaAct.KIND].payload.removesuffix(b"\0")
        if len(raw) >= IFNAMSIZ:
            raise NetlinkError(errno.EINVAL, "TC action name too long")
        kind = KINDS.get(raw.split(b"\0", 1)[0].decode("latin-1"))
        if kind is None:
            raise _unknown_kind()
        return kind, attrs

    def _init_one(self, kind: AnyKind, attrs: dict[int, Attr], request: Request, undo: ExitStack) -> Made:
        """tcf_action_init_1() and the kind's init; `undo` gets what a later failure must give back."""
        flags = ActFlag(0)
        if TcaAct.FLAGS in attrs:
            flags = ActFlag(wire.BITFIELD32.unpack(attrs[TcaAct.FLAGS].payload)[0])
            if ActFlag.SKIP_HW in flags and ActFlag.SKIP_SW in flags:
                raise refusal(errno.EINVAL, "an action cannot skip both hardware and software")
        given = kind.parse(attrs.get(TcaAct.OPTIONS), self._remark)
        table = self.tables[kind.name]
        held = table.hold(given.generic.index, bind=request.bind)
        if isinstance(held, int):
            undo.callback(table.cancel, held)
            kind.early(given, exists=False)
            made = self._create(kind, given, held, flags, request, undo)
        else:
            undo.callback(table.put, held, bind=request.bind)
            made = Made(held, False, lambda: None)
            if not request.bind:
                kind.early(given, exists=True)
                made.commit = self._replacement(kind, given, held, request, undo)
        if request.bind:
            _check_flags(made.action)
        elif made.created:
            self._offload(made.action)
            undo.callback(made.action.leave_hardware)
        made.settle = _settings(made.action, attrs)
        return made

    def _create(
        self, kind: AnyKind, given: Given, index: int, flags: ActFlag, request: Request, undo: ExitStack
    ) -> Made:
        """tcf_idr_create() and what the kind makes of it."""
        estimator = None
        if request.rate is not None:
            estimator = Estimator.from_attr(request.rate, self.around.clock.now())
        control = given.generic.control
        goto = check_control(control, request.block)
        if goto is not None:
            undo.callback(goto.block.put_chain, goto, by_action=True)
        params = kind.build(given, None, self, rate=request.rate)
        action = kind.make(index, control, params, self.around)
        action.goto = goto
        action.flags = flags
        action.bindings = int(request.bind)
        action.by_filter = request.bind
        action.estimator = estimator
        return Made(action, True, lambda: self.tables[kind.name].insert(action))

    def _replacement(
        self, kind: AnyKind, given: Given, old: AnyAction, request: Request, undo: ExitStack
    ) -> Callable[[], None]:
        """What changes the action that exists already."""
        if not request.replace:
            if kind.exists is not None:
                raise NetlinkError(errno.EEXIST, kind.exists)
            raise refusal(errno.EEXIST, f"{kind.name} {old.index} exists")
        control = given.generic.control
        goto = check_control(control, request.block)
        if goto is not None:
            undo.callback(goto.block.put_chain, goto, by_action=True)
        params = kind.build(given, old, self, rate=request.rate)
        return lambda: old.change(control, params, goto)

    # hardware

    def _offload(self, action: AnyAction) -> None:
        """tcf_action_offload_add(): an action that no filter asked for goes to every driver that takes it.

        NetlinkError EINVAL where it is skip_sw and none does.
        """
        if not action.skip_hw and KINDS[action.kind].offloadable(action):
            action.offloaded = tuple(
                driver for driver in self._drivers() if not tell_action(driver, ActionCommand.REPLACE, action)
            )
        if action.skip_sw and not action.offloaded:
            raise refusal(errno.EINVAL, "skip_sw, but no device here offloads actions")

    def _offload_change(self, action: AnyAction) -> None:
        """What an action has become is told to the drivers that hold it; one that refuses keeps the old."""
        for driver in action.offloaded:
            tell_action(driver, ActionCommand.REPLACE, action)

    def _drivers(self) -> list[ActionDriver]:
        drivers: list[ActionDriver] = []
        for device in self.network.devices.values():
            driver = device.driver
            if isinstance(driver, ActionDriver):
                drivers.append(driver)
        return drivers

    # replies

    def ask_hardware(self, action: AnyAction) -> None:
        """tcf_action_update_hw_stats(): from now on what is told of the action has hardware's counters."""
        if KINDS[action.kind].offloadable(action):
            for driver in action.offloaded:
                tell_action(driver, ActionCommand.STATS, action)
            action.tells_hw_stats = True

    def dump(
        self, action: AnyAction, *, holders: int = 0, terse: bool = False, with_index: bool = False
    ) -> list[Attr]:
        """tcf_action_dump_1(): one action; `holders` are references of the request itself, not counted."""
        profile = self.network.profile
        stats = encode_stats(
            action.counters.bytes,
            action.counters.packets,
            drops=action.counters.drops,
            overlimits=action.counters.overlimits,
            rates=action.rates(),
            hardware=(action.told_by_hardware.bytes, action.told_by_hardware.packets),
        )
        attrs = [
            nla.string(TcaAct.KIND, action.kind),
            nla.nest(TcaAct.STATS, [each for each in stats if each.type <= profile.last_tca_stats]),
        ]
        if with_index:
            attrs.append(nla.u32(TcaAct.INDEX, action.index))
        if action.cookie is not None:
            attrs.append(nla.binary(TcaAct.COOKIE, action.cookie))
        if terse:
            return attrs
        if action.hw_stats != wire.HW_STATS_ANY:
            attrs.append(_bitfield32(TcaAct.HW_STATS, action.hw_stats, wire.HW_STATS_ANY))
        if action.tells_hw_stats:
            attrs.append(_bitfield32(TcaAct.USED_HW_STATS, action.used_hw_stats, wire.HW_STATS_ANY))
        if action.flags:
            attrs.append(_bitfield32(TcaAct.FLAGS, action.flags, action.flags))
        attrs.append(nla.u32(TcaAct.IN_HW_COUNT, len(action.offloaded)))
        attrs.append(nla.nest(TcaAct.OPTIONS, self.options(action, holders=holders)))
        return [each for each in attrs if each.type <= profile.last_tca_act]

    def options(self, action: AnyAction, *, holders: int = 0) -> list[Attr]:
        """tcf_action_dump_old(): what is inside TCA_ACT_OPTIONS."""
        kind = KINDS[action.kind]
        generic = GenericParms(
            action.index, action.control, action.references - holders, action.bindings
        ).encode()
        attrs = kind.dump(action, generic, self)
        attrs.insert(
            len(attrs) if kind.tm_at is None else kind.tm_at, nla.binary(kind.tm, self._times(action))
        )
        return attrs

    def _times(self, action: AnyAction) -> bytes:
        """tcf_tm_dump(): how long ago, in clock ticks."""
        now, times = self.around.clock.now(), action.times
        first = (now - times.first_use) // _TICK if times.first_use is not None else 0
        return wire.TM.pack((now - times.install) // _TICK, (now - times.last_use) // _TICK, 0, first)


def listed(tab: Attr, remark: Remark) -> list[Attr]:
    """The actions that a request names; more than 32 are not looked at."""
    parsed = parse_attrs(tab.payload, {}, wire.TCA_ACT_MAX_PRIO, offset=_inside(tab))
    remark(parsed.warning)
    return in_order(parsed.attrs)


def in_order(found: dict[int, Attr]) -> list[Attr]:
    """1, 2, … up to the first that is not there."""
    actions: list[Attr] = []
    for number in range(1, wire.TCA_ACT_MAX_PRIO + 1):
        if number not in found:
            break
        actions.append(found[number])
    return actions


def parse_action(action: Attr, remark: Remark) -> dict[int, Attr]:
    """The attributes of one action, by tcf_action_policy."""
    parsed = parse_attrs(action.payload, wire.ACTION, wire.TCA_ACT_MAX, offset=_inside(action))
    remark(parsed.warning)
    return parsed.attrs


def _inside(attr: Attr) -> int:
    return attr.offset + NLA_HDRLEN if attr.offset >= 0 else 0


def _check_flags(action: AnyAction) -> None:
    """The skips of an action and of its filter must fit; bpf filters pass none down."""
    if action.skip_sw or action.skip_hw:
        raise NetlinkError(errno.EINVAL, "Mismatch between action and filter offload flags")


def _settings(action: AnyAction, attrs: dict[int, Attr]) -> Callable[[], None]:
    """What tcf_action_init_1() sets of an action however it was found: cookie and hardware counters."""

    def settle() -> None:
        if TcaAct.COOKIE in attrs:
            action.cookie = attrs[TcaAct.COOKIE].payload
        hw_stats = attrs.get(TcaAct.HW_STATS)
        action.hw_stats = (
            wire.BITFIELD32.unpack(hw_stats.payload)[0] if hw_stats is not None else wire.HW_STATS_ANY
        )

    return settle


def _bitfield32(number: int, value: int, selector: int) -> Attr:
    return nla.binary(number, wire.BITFIELD32.pack(value, selector))


def _unknown_kind() -> NetlinkError:
    return NetlinkError(errno.ENOENT, "Failed to load TC action module")
