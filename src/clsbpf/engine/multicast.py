"""Who hears of changes: the multicast groups of a network's netlink sockets.

Whoever listens to a group is given every datagram that goes there, under the network's lock, so all
listeners see all changes in the order in which they happened.  A listener that is also the socket that
asked for the change sees it among the replies to its request, in their order (`answering`); where the
request wants its notification back (NLM_F_ECHO), the socket has it as a reply and not once more.

Mirrors netlink_broadcast() of net/netlink/af_netlink.c.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

Deliver = Callable[[bytes], None]
"""Takes a datagram.  It is called while the network is locked: it may only put it by, and never raises."""


@dataclass(slots=True, eq=False)
class _Listener:
    """A socket's membership: its address (`portid`, 0: it never asks anything itself) and groups."""

    portid: int
    groups: frozenset[int]
    deliver: Deliver


class Multicast:
    """The listeners of one network namespace.  Every method is called under the network's lock."""

    def __init__(self) -> None:
        self._listeners: tuple[_Listener, ...] = ()
        self._asking: tuple[int, list[bytes]] | None = None

    def subscribe(self, groups: Iterable[int], deliver: Deliver, portid: int = 0) -> Callable[[], None]:
        """NETLINK_ADD_MEMBERSHIP: from now on `deliver` is given what goes to the groups; ends it."""
        listener = _Listener(portid, frozenset(groups), deliver)
        self._listeners = (*self._listeners, listener)

        def cancel() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return cancel

    def has_listeners(self, group: int) -> bool:
        """rtnl_has_listeners(): is a notification worth making?"""
        return any(group in each.groups for each in self._listeners)

    def send(self, datagram: bytes, group: int, *, without: int = 0) -> None:
        """nlmsg_multicast(): to all who listen to the group but the socket `without` (0: to all)."""
        for each in self._listeners:
            if group not in each.groups or (without and each.portid == without):
                continue
            if self._asking is not None and each.portid and each.portid == self._asking[0]:
                self._asking[1].append(datagram)
            else:
                each.deliver(datagram)

    @contextlib.contextmanager
    def answering(self, portid: int, replies: list[bytes]) -> Iterator[None]:
        """While a request of the socket `portid` is answered, what it hears goes among its replies."""
        before, self._asking = self._asking, (portid, replies)
        try:
            yield
        finally:
            self._asking = before
