"""Actions of every kind through the endpoint: asked for in tc's words, told again, changed, let go.

Which kernel sources say what is told: the `*_dump` of net/sched/act_*.c.
"""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest

from action_messages import ADD, ASK, ECHO, FLUSH, REPLACE, dump, gact, named, request
from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.act import TcaAct, TcaRoot
from clsbpf.netlink.attr import Attr
from clsbpf.netlink.message import Acknowledgement, Message, iter_messages, read_acknowledgement
from clsbpf.netlink.schema import Rtm, Tca, TcaBpf
from clsbpf.tc.actions.clock import CaptureClock
from clsbpf.tc.actions.surroundings import Surroundings
from clsbpf.tccmd.actions import parse_actions
from clsbpf.tccmd.request import Lookups
from clsbpf.tccmd.words import Words, split_words
from engine_state import state
from tc_action_lines import LISTS, SPECS
from tc_messages import ADD as ADD_FILTER
from tc_messages import ALL, DEL, INGRESS, bpf, program, qdisc

NEW = Rtm.NEWACTION
V0, V1 = 2, 3
NOT_MADE = ("skbedit index", "vlan index", "skbmod index", "simple index", "sample index")
SPECS_MADE = [
    spec
    for spec in SPECS
    if not spec.startswith((*NOT_MADE, "bpf index"))
    # A policer's average needs an estimator, a frame's number is below 4095.
    and "avrate" not in spec
    and "id 4095" not in spec
    and "/ goto chain" not in spec
]
ALONE = [spec for spec in SPECS_MADE if "goto" not in spec and "cookie" not in spec]
BOUND_ONLY = [spec for spec in SPECS if spec.startswith((*NOT_MADE, "bpf index"))]


def lab() -> Endpoint:
    clock = CaptureClock()
    network = Network(around=Surroundings(clock=clock))
    network.add_device("v0", V0)
    network.add_device("v1", V1)
    endpoint = Endpoint(network)
    assert ask(endpoint, qdisc(V0))[-1].errno == 0
    return endpoint


def ask(endpoint: Endpoint, message: Message) -> list[Any]:
    """The replies: acknowledgements as such, other messages as they are."""
    return [
        read_acknowledgement(each) if each.type in (nl.NLMSG_ERROR, nl.NLMSG_DONE) else each
        for datagram in endpoint.handle(message.encode())
        for each in iter_messages(datagram)
    ]


def nests(spec: str) -> list[Attr]:
    lookups = Lookups({"v0": V0, "v1": V1}.get)
    return parse_actions(Words(split_words(spec)), lookups)


def with_actions(spec: str, prio: int = 1, flags: int = ADD_FILTER) -> Message:
    return bpf(V0, options=program(nla.nest(TcaBpf.ACT, nests(spec))), prio=prio, flags=flags)


def options_of(told: list[Attr]) -> dict[int, dict[int, bytes]]:
    """Each action's options by number, without the times."""
    found = {}
    for nest in told:
        attrs = {attr.type: attr for attr in nest.attrs()}
        tm = {"csum": 2, "police": 6}.get(attrs[TcaAct.KIND].string, 1)
        inside = attrs[TcaAct.OPTIONS].attrs()
        found[nest.type] = {attr.type: attr.payload for attr in inside if attr.type != tm}
    return found


@pytest.mark.parametrize("spec", [*SPECS_MADE, *(spec for spec in LISTS if "simple" not in spec)])
def test_what_is_told_makes_the_same_again(spec: str) -> None:
    """An action's options as told, given to a second endpoint, are told again alike."""
    first, second = lab(), lab()
    told = ask(first, with_actions(spec, flags=ADD_FILTER | ECHO))
    assert told[-1].errno == 0, first.cause
    actions = _actions(told[0])
    again = [
        nla.nest(nest.type, [attr for attr in nest.attrs() if attr.type in (TcaAct.KIND, TcaAct.OPTIONS)])
        for nest in actions
    ]
    # Rate tables are not told, and a request needs one; geneve's options are told in one nest, and asked
    # for in one each.
    if ("police" in spec and "rate" in spec) or "," in spec:
        return
    options = program(nla.nest(TcaBpf.ACT, again))
    retold = ask(second, bpf(V0, options=options, flags=ADD_FILTER | ECHO))
    assert retold[-1].errno == 0, second.cause
    assert options_of(_actions(retold[0])) == options_of(actions)


def _actions(message: Message) -> list[Attr]:
    attrs = {attr.type: attr for attr in nla.iter_attrs(message.payload[20:])}
    inside = {attr.type: attr for attr in attrs[Tca.OPTIONS].attrs()}
    return inside[TcaBpf.ACT].attrs()


@pytest.mark.parametrize("spec", ALONE)
def test_alone_on_filters_and_gone(spec: str) -> None:
    """References and bindings: one by itself, one for each filter; the last lets go."""
    endpoint = lab()
    spec = spec.split(" index ")[0] + " index 77"
    kind = spec.split()[0]
    tab = nla.nest(TcaRoot.TAB, nests(spec))
    new = Message(NEW, ADD, 5, 0, bytes(4) + nla.encode_attrs([tab]))
    assert ask(endpoint, new)[-1].errno == 0, endpoint.cause
    table = endpoint.network.actions.tables[kind]
    (action,) = table
    assert ask(endpoint, new)[-1].errno == errno.EEXIST
    assert ask(endpoint, with_actions(spec))[-1].errno == 0
    assert ask(endpoint, with_actions(spec, prio=2))[-1].errno == 0
    assert (action.references, action.bindings) == (3, 2)
    change = Message(NEW, REPLACE, 5, 0, bytes(4) + nla.encode_attrs([tab]))
    assert ask(endpoint, change)[-1].errno == 0
    assert (action.references, action.bindings) == (3, 2)
    delete = request(Rtm.DELACTION, named(kind, 77), flags=ASK)
    assert ask(endpoint, delete)[-1].errno == errno.EPERM
    assert len(ask(endpoint, dump(kind))) == 2
    for prio in (1, 2):
        assert ask(endpoint, bpf(V0, **DEL, prio=prio, handle=1))[-1].errno == 0
    assert (action.references, action.bindings) == (1, 0)
    assert ask(endpoint, delete)[-1].errno == 0
    assert len(table) == 0


@pytest.mark.parametrize("spec", BOUND_ONLY)
def test_an_index_alone_binds_and_does_not_make(spec: str) -> None:
    endpoint = lab()
    before = state(endpoint.network)
    assert ask(endpoint, with_actions(spec))[-1].errno == errno.EINVAL
    assert state(endpoint.network) == before


KINDS_OPTIONS = [spec for spec in SPECS_MADE if "rate 100gbit" not in spec]


def held(endpoint: Endpoint) -> Any:
    """Every action, who holds it and what it does."""
    tables = endpoint.network.actions.tables.values()
    return [(each, each.references, each.params, each.control) for table in tables for each in table]


@pytest.mark.parametrize("seed", range(4))
def test_malformed_options_change_nothing(seed: int) -> None:
    """Whatever bytes an action's options are, the answer is an errno or yes, and an errno leaves no trace."""
    chosen = random.Random(seed)
    endpoint = lab()
    tables = endpoint.network.actions.tables
    for _ in range(400):
        actions = nests(chosen.choice(KINDS_OPTIONS))
        payload = bytearray(nla.encode_attrs(actions))
        for _ in range(chosen.randint(1, 6)):
            payload[chosen.randrange(len(payload))] = chosen.choice([0, 1, 2, 4, 8, 0x7F, 255])
        cut = payload[: chosen.randint(0, len(payload))] if chosen.random() < 0.2 else payload
        before = state(endpoint.network), held(endpoint)
        options = program(nla.binary(TcaBpf.ACT, bytes(cut)))
        messages = [
            bpf(V0, options=options),
            Message(NEW, REPLACE, 5, 0, bytes(4) + nla.encode_attrs([nla.binary(TcaRoot.TAB, bytes(cut))])),
        ]
        answer = ask(endpoint, chosen.choice(messages))[-1]
        assert isinstance(answer, Acknowledgement)
        if answer.errno:
            assert (state(endpoint.network), held(endpoint)) == before
        else:
            for kind in tables:
                ask(endpoint, dump(kind))
                ask(endpoint, request(Rtm.DELACTION, named(kind), flags=FLUSH))
            ask(endpoint, bpf(V0, **ALL))
            ask(endpoint, bpf(V0, **{**DEL, "prio": 0, "protocol": 0, "parent": INGRESS}))


def test_one_refusal_leaves_the_others_as_they_were() -> None:
    """Where the kernel keeps what came before the mistake, nothing has changed here (docs/limits)."""
    endpoint = lab()
    assert ask(endpoint, request(NEW, gact(2, index=1), gact(0, index=2)))[-1].errno == 0
    worse = request(NEW, gact(0, index=1), gact(99, index=2), flags=REPLACE)
    assert ask(endpoint, worse)[-1].errno == errno.EINVAL
    assert [action.control for action in endpoint.network.actions.tables["gact"]] == [2, 0]


def test_goto_chain_holds_its_chain() -> None:
    endpoint = lab()
    assert ask(endpoint, with_actions("goto chain 7"))[-1].errno == 0
    qdisc_ = endpoint.network.devices[V0].ingress
    assert qdisc_ is not None
    assert qdisc_.ingress.chains[7].held_by_actions_only
    assert ask(endpoint, bpf(V0, **DEL, prio=1, handle=1))[-1].errno == 0
    assert 7 not in qdisc_.ingress.chains


def test_an_own_policer_is_told_as_such() -> None:
    endpoint = lab()
    (nest,) = nests("police rate 1mbit burst 10k")
    inside = next(attr for attr in nest.attrs() if attr.type == TcaAct.OPTIONS)
    options = program(nla.nest(TcaBpf.POLICE, inside.attrs()))
    told = ask(endpoint, bpf(V0, options=options, flags=ADD_FILTER | ECHO))[0]
    attrs = {attr.type: attr for attr in nla.iter_attrs(told.payload[20:])}
    inner = {attr.type: attr for attr in attrs[Tca.OPTIONS].attrs()}
    assert TcaBpf.ACT not in inner
    assert {attr.type for attr in inner[TcaBpf.POLICE].attrs()} == {1, 6}
    assert Tca.STATS in attrs
