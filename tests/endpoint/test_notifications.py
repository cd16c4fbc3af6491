"""Who hears of changes, in which order; dumps that are taken bit by bit.

That the bytes are the kernel's is judged by the twins (test_endpoint_twin, test_endpoint_storm).
"""

from __future__ import annotations

import random
import threading

import pytest

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.netlink.message import (
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    iter_messages,
    read_acknowledgement,
)
from clsbpf.netlink.schema import RTNLGRP_TC, Rtm
from tc_messages import ADD, ALL, DEL, ECHO, GET, GETF, REPLACE, RETURN_ALL, bpf, program, qdisc

LAB0 = 2
PORTID = 77
NEWTFILTER, DELTFILTER = int(Rtm.NEWTFILTER), int(Rtm.DELTFILTER)
NEWCHAIN, DELCHAIN = int(Rtm.NEWCHAIN), int(Rtm.DELCHAIN)


def lab() -> Endpoint:
    network = Network()
    network.add_device("lab0")
    endpoint = Endpoint(network)
    endpoint.handle(qdisc(LAB0).encode())
    return endpoint


def types(datagrams: list[bytes]) -> list[list[int]]:
    return [[message.type for message in iter_messages(datagram)] for datagram in datagrams]


def test_every_listener_hears_until_it_cancels() -> None:
    endpoint = lab()
    first: list[bytes] = []
    second: list[bytes] = []
    cancel = endpoint.subscribe([RTNLGRP_TC], first.append)
    endpoint.subscribe([RTNLGRP_TC], second.append)
    endpoint.subscribe([RTNLGRP_TC + 1], lambda datagram: pytest.fail("another group's"))
    endpoint.handle(bpf(LAB0).encode())
    assert types(first) == types(second) == [[NEWCHAIN], [NEWTFILTER]]
    cancel()
    cancel()  # once more is no mistake
    endpoint.handle(bpf(LAB0, **DEL).encode())
    assert (len(first), types(second)[2:]) == (2, [[DELTFILTER], [DELCHAIN]])


def test_all_endpoints_of_a_network_have_the_same_groups() -> None:
    endpoint = lab()
    heard: list[bytes] = []
    endpoint.subscribe([RTNLGRP_TC], heard.append)
    Endpoint(endpoint.network, ext_ack=False).handle(bpf(LAB0).encode())
    assert types(heard) == [[NEWCHAIN], [NEWTFILTER]]


@pytest.mark.parametrize("echo", [0, ECHO])
def test_who_asks_and_listens_hears_it_once_before_the_acknowledgement(echo: int) -> None:
    endpoint = lab()
    others: list[bytes] = []
    endpoint.subscribe([RTNLGRP_TC], lambda datagram: pytest.fail("not among the replies"), PORTID)
    endpoint.subscribe([RTNLGRP_TC], others.append)
    two = bpf(LAB0, flags=ADD | echo).encode() + bpf(LAB0, prio=2, flags=ADD | echo).encode()
    replies = endpoint.handle(two, PORTID)
    assert types(replies) == [[NEWCHAIN], [NEWTFILTER], [NLMSG_ERROR], [NEWTFILTER], [NLMSG_ERROR]]
    assert types(others) == [[NEWCHAIN], [NEWTFILTER], [NEWTFILTER]]
    assert replies[1] == others[1]


def test_who_asks_for_an_echo_hears_no_more_than_that() -> None:
    """Chains that come are for listeners only: no request asked for them."""
    assert types(lab().handle(bpf(LAB0, flags=ADD | ECHO).encode(), PORTID)) == [[NEWTFILTER], [NLMSG_ERROR]]


def test_the_header_is_the_requests_but_of_chains() -> None:
    endpoint = lab()
    heard: list[bytes] = []
    endpoint.subscribe([RTNLGRP_TC], heard.append)
    endpoint.handle(bpf(LAB0).encode(), PORTID)
    chain, made = (next(iter_messages(datagram)) for datagram in heard)
    assert (chain.seq, chain.pid, made.seq, made.pid, made.flags) == (0, 0, 9, PORTID, ADD)


def test_what_is_refused_or_asked_is_told_nobody() -> None:
    endpoint = lab()
    endpoint.handle(bpf(LAB0).encode())
    heard: list[bytes] = []
    endpoint.subscribe([RTNLGRP_TC], heard.append)
    for message in (
        bpf(LAB0, prio=1, handle=1),
        bpf(99),
        bpf(LAB0, **{**GETF, "handle": 1}),
        bpf(LAB0, **ALL),
    ):
        endpoint.handle(message.encode())
    assert heard == []


def test_listeners_see_the_changes_of_many_clients_in_the_order_in_which_they_happened() -> None:
    """Whoever replays what was told has in the end what there is."""
    endpoint = lab()
    heard: list[bytes] = []
    endpoint.subscribe([RTNLGRP_TC], heard.append)

    def client(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(150):
            prio, handle = chosen.randint(1, 3), chosen.randint(1, 3)
            replace = bpf(LAB0, prio=prio, handle=handle, flags=REPLACE)
            delete = bpf(LAB0, **{**DEL, "prio": prio, "handle": handle, "flags": 5})
            endpoint.handle(chosen.choice([replace, delete]).encode(), seed)

    clients = [threading.Thread(target=client, args=(seed,)) for seed in (1, 2, 3)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    replayed: set[bytes] = set()
    for datagram in heard:
        for message in iter_messages(datagram):
            place = message.payload[8:12] + message.payload[16:20]
            if message.type == NEWTFILTER:
                replayed.add(place)
            elif message.type == DELTFILTER:
                replayed.remove(place)
    dumped = {
        m.payload[8:12] + m.payload[16:20]
        for datagram in endpoint.handle(bpf(LAB0, **ALL).encode())
        for m in iter_messages(datagram)
        if m.type == NEWTFILTER and m.payload[8:12] != bytes(4)
    }
    assert replayed == dumped


# -- dumps


def long_lab() -> Endpoint:
    """Some 300 KB of filters."""
    endpoint = lab()
    for _ in range(100):
        endpoint.handle(bpf(LAB0, options=program(ops=RETURN_ALL * 370)).encode())
    return endpoint


def shown(datagrams: list[bytes]) -> list[int]:
    """The handles in a dump."""
    return [
        int.from_bytes(m.payload[8:12], "little")
        for datagram in datagrams
        for m in iter_messages(datagram)
        if m.type == NEWTFILTER and m.payload[8:12] != bytes(4)
    ]


def flags(datagram: bytes) -> set[int]:
    return {message.flags for message in iter_messages(datagram)}


def test_a_dump_that_is_left_alone() -> None:
    endpoint = long_lab()
    taken = list(endpoint.replies(bpf(LAB0, **ALL).encode()))
    assert len(taken) > 5
    assert shown(taken) == [*range(100, 0, -1)]
    assert set.union(*map(flags, taken)) == {NLM_F_MULTI}
    assert types(taken)[-1] == [NLMSG_DONE]


def test_a_change_in_between_marks_the_rest() -> None:
    endpoint = long_lab()
    dump = endpoint.replies(bpf(LAB0, **ALL).encode())
    before = [next(dump), next(dump)]
    endpoint.handle(bpf(LAB0, **{**DEL, "handle": 1}).encode())
    after = list(dump)
    assert set.union(*map(flags, before)) == {NLM_F_MULTI}
    assert set.union(*map(flags, after)) == {NLM_F_MULTI | NLM_F_DUMP_INTR}
    assert shown([*before, *after])[:99] == [*range(100, 1, -1)]


def test_a_question_in_between_does_not() -> None:
    endpoint = long_lab()
    dump = endpoint.replies(bpf(LAB0, **ALL).encode())
    first = next(dump)
    endpoint.handle(bpf(LAB0, **{**GETF, "handle": 1}).encode())
    assert set.union(*map(flags, [first, *dump])) == {NLM_F_MULTI}


def test_requests_are_done_at_once_whoever_takes_the_replies() -> None:
    endpoint = long_lab()
    endpoint.replies(bpf(LAB0, **{**DEL, "handle": 1}).encode())
    assert len(shown(endpoint.handle(bpf(LAB0, **ALL).encode()))) == 99


def test_what_goes_away_under_a_dump_ends_it_well() -> None:
    endpoint = long_lab()
    dump = endpoint.replies(bpf(LAB0, **ALL).encode())
    next(dump)
    endpoint.handle(qdisc(LAB0, type=Rtm.DELQDISC, kind=None, flags=5, handle=0).encode())
    *_, last = dump
    assert types([last]) == [[NLMSG_DONE]]
    assert flags(last) == {NLM_F_MULTI | NLM_F_DUMP_INTR}


def test_a_socket_has_one_dump_at_a_time() -> None:
    """What comes after a dump in one datagram is done before the rest of the dump is made."""
    endpoint = long_lab()
    whole = bpf(LAB0, **ALL).encode()
    get = bpf(LAB0, **{**GETF, "handle": 1, "flags": GET}).encode()
    replies = endpoint.handle(whole + whole + get)
    refused, got = (next(iter_messages(datagram)) for datagram in replies[1:3])
    assert read_acknowledgement(refused).errno == 16  # EBUSY
    assert (got.type, got.flags) == (NEWTFILTER, GET)
    assert shown(replies[:1] + replies[3:]) == [*range(100, 0, -1)]


def test_an_empty_dump_is_over_at_once() -> None:
    none = bpf(LAB0, **{**ALL, "parent": 0x10000}).encode()
    assert types(lab().handle(none + none)) == [[NLMSG_DONE], [NLMSG_DONE]]


def test_messages_know_their_request() -> None:
    message = Message(Rtm.GETTFILTER, 0x301, 1234, 0, bpf(LAB0, **ALL).payload)
    replies = lab().handle(message.encode(), PORTID)
    assert {(m.seq, m.pid) for datagram in replies for m in iter_messages(datagram)} == {(1234, PORTID)}
