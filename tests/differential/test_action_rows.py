"""Actions of all kinds, on filters and alone, shown by `tc monitor file` and by us alike."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from clsbpf.netlink import act as wire
from clsbpf.netlink import attr as nla
from clsbpf.netlink.act import TcaAct, TcaRoot, TcaTunnelKey, action_message
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf, TcaStats
from clsbpf.netlink.tcmsg import TcMsg, tc_message
from clsbpf.tccmd.actions import parse_actions
from clsbpf.tccmd.ids import CLSACT_INGRESS
from clsbpf.tccmd.request import Lookups
from clsbpf.tccmd.words import Words, split_words
from monitor_twins import shown_alike
from tc_action_lines import LISTS, SPECS
from tc_judge import TcJudge, tc_judge

TM = {"csum": 2, "police": 6}
"""The number of the times, where it is not 1."""
CREATED = (NLM_F_CREATE | NLM_F_EXCL, NLM_F_CREATE | NLM_F_REPLACE, 0)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcJudge]:
    with tc_judge(tmp_path_factory.mktemp("tc")) as judge:
        yield judge


def stats() -> Attr:
    basic = nla.binary(TcaStats.BASIC, struct.pack("=QI4x", 282, 3))
    queue = nla.binary(TcaStats.QUEUE, struct.pack("=IIIII", 0, 0, 1, 0, 2))
    return nla.nest(TcaAct.STATS, [basic, queue])


def told(spec: str, judge: TcJudge) -> list[Attr]:
    """The actions that a spec asks for, as the kernel would tell of them: with counters and times."""
    actions = parse_actions(Words(split_words(spec)), Lookups(judge.resolve))
    return [Attr(action.type, nla.encode_attrs(_told(action))) for action in actions]


def _told(action: Attr) -> list[Attr]:
    attrs = {attr.type: attr for attr in action.attrs()}
    kind = attrs[TcaAct.KIND].string
    times = nla.binary(TM.get(kind, 1), struct.pack("=QQQQ", 12345, 678, 0, 1200))
    options = nla.nest(TcaAct.OPTIONS, [*map(_unflagged, attrs.pop(TcaAct.OPTIONS).attrs()), times])
    return [attrs.pop(TcaAct.KIND), stats(), *attrs.values(), nla.u32(TcaAct.IN_HW_COUNT, 0), options]


def _unflagged(attr: Attr) -> Attr:
    """A nest as the kernel tells it, without NLA_F_NESTED; geneve's options all in one."""
    if attr.type == TcaTunnelKey.ENC_OPTS and not attr.nested and len(attr.attrs()) > 1:
        joined = [each for nest in attr.attrs() for each in nest.attrs()]
        return nla.nest(attr.type, [nla.nest(1, joined)])
    if not attr.nested:
        return attr
    return Attr(attr.type, nla.encode_attrs(_unflagged(each) for each in attr.attrs()))


def messages(judge: TcJudge) -> Iterator[Message]:
    specs = [spec for spec in [*SPECS, *LISTS] if "simple index" not in spec]
    specs = [spec for spec in specs if spec.split()[:2] not in (["sample", "index"], ["vlan", "index"])]
    for number, spec in enumerate(specs):
        actions = told(spec, judge)
        options = nla.nest(Tca.OPTIONS, [nla.nest(TcaBpf.ACT, actions)])
        header = TcMsg.of_filter(1, CLSACT_INGRESS, prio=7, protocol=3, handle=1)
        yield tc_message(Rtm.NEWTFILTER, header, [nla.string(Tca.KIND, "bpf"), options])
        tab = nla.nest(TcaRoot.TAB, actions)
        yield action_message(Rtm.NEWACTION, [tab], flags=CREATED[number % 3])
        yield action_message(Rtm.GETACTION, [nla.u32(TcaRoot.COUNT, len(actions)), tab])
        yield action_message(Rtm.DELACTION, [tab])
    for flags in (0, 1, 2, 3, 4, 6):
        bits = nla.binary(TcaAct.FLAGS, wire.BITFIELD32.pack(flags, 7))
        (action,) = told("action ok", judge)
        attrs = [*action.attrs(), bits]
        yield action_message(Rtm.NEWACTION, [nla.nest(TcaRoot.TAB, [nla.nest(1, attrs)])])
    police = parse_actions(Words(split_words("police rate 1mbit burst 10k")), Lookups(judge.resolve))
    nest = next(attr for attr in police[0].attrs() if attr.type == TcaAct.OPTIONS)
    options = nla.nest(Tca.OPTIONS, [nla.nest(TcaBpf.POLICE, nest.attrs())])
    header = TcMsg.of_filter(1, CLSACT_INGRESS, prio=7, protocol=3, handle=1)
    yield tc_message(Rtm.NEWTFILTER, header, [nla.string(Tca.KIND, "bpf"), options])


@pytest.mark.parametrize("options", [[], ["-s"], ["-s", "-d", "-r"], ["-o", "-s"], ["-br"]])
def test_every_kind_is_shown_as_tc_shows_it(judge: TcJudge, options: list[str]) -> None:
    shown_alike(judge, list(messages(judge)), options)
