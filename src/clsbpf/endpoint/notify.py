"""Telling what a request changed: to those who listen, and back to the asker who wants an echo.

A notification is made only where somebody wants it.  It carries the sequence number and the address of
the request that caused it.

Mirrors rtnl_notify_needed() and rtnetlink_send() of net/core/rtnetlink.c, nlmsg_notify() of
net/netlink/af_netlink.c.
"""

from __future__ import annotations

from ..engine.devices import Network
from ..netlink.schema import RTNLGRP_TC
from .request import Datagram, Request


def notify_needed(network: Network, request: Request, group: int = RTNLGRP_TC) -> bool:
    """rtnl_notify_needed(): does the asker want an echo, or does anybody listen?"""
    return request.echo or network.multicast.has_listeners(group)


def notify(network: Network, request: Request, messages: Datagram, group: int = RTNLGRP_TC) -> None:
    """rtnetlink_send(): one datagram to all listeners; an asker who wants an echo has it as a reply."""
    datagram = b"".join(message.encode() for message in messages)
    network.multicast.send(datagram, group, without=request.portid if request.echo else 0)
    if request.echo:
        request.replies.append(datagram)
