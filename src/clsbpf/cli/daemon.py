"""`clsbpf daemon`: an engine that answers on a socket until it is told to end."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import click

from ..errors import ClsbpfError

LOOPBACK, LOOPBACK_IFINDEX = "lo", 1
"""Is there in every network namespace."""


@click.command()
@click.option("--dev", "devices", metavar="NAME", multiple=True, help="A device that there is; repeatable.")
@click.option(
    "--driver",
    "drivers",
    metavar="DEV=worker",
    multiple=True,
    help="A device that offloads filters (skip_sw) to a worker of its own; repeatable.",
)
@click.option("--socket", metavar="PATH", help="Where to answer; by default CLSBPF_SOCKET or the user's own.")
@click.option(
    "--state",
    metavar="DIR",
    help="Where what was done is kept for the next start; by default ~/.local/state/clsbpf; none: nowhere.",
)
@click.option(
    "--sync",
    "synced",
    is_flag=True,
    help="What is acknowledged survives a crash of the machine, too; by default all but the last 5 seconds.",
)
@click.option(
    "--profile",
    metavar="KERNEL",
    default="current",
    show_default=True,
    help="Whose behaviour: current, 4.13.",
)
def daemon(
    devices: tuple[str, ...],
    drivers: tuple[str, ...],
    socket: str | None,
    state: str | None,
    synced: bool,
    profile: str,
) -> None:
    """Run an engine that answers on a socket: rtnetlink and bpf(2)-like calls, for `clsbpf tc` and others.

    \b
    clsbpf daemon --dev lab0 --dev lab1 &
    clsbpf tc qdisc add dev lab0 clsact

    \b
    The device lo is there as well, as in every network namespace.
    What was done is there again at the next start.  It ends at SIGINT or SIGTERM.
    """
    from ..daemon.address import socket_path
    from ..daemon.listener import listening

    path = socket_path(socket)
    wanted = {**dict.fromkeys(devices), **dict(map(_driver, drivers))}
    with ExitStack() as stack:
        listener = stack.enter_context(listening(path))
        from ..daemon.host import Host
        from ..daemon.server import Server
        from ..engine.offload_worker import name_of
        from ..profile import profile_by_name

        host = Host(profile_by_name(profile))
        if state != "none":
            from ..daemon.state import default_directory, kept

            directory = Path(state) if state else default_directory(path)
            stack.enter_context(kept(host, directory, synced=synced))
        if host.network.device(LOOPBACK) is None and LOOPBACK_IFINDEX not in host.network.devices:
            host.add_device(LOOPBACK, LOOPBACK_IFINDEX, driver=wanted.pop(LOOPBACK, None))
        for name, driver in wanted.items():
            there = host.network.device(name)
            if there is None:
                host.add_device(name, driver=driver)
            elif driver is not None and name_of(there.driver) != driver:
                raise ClsbpfError(f"{name} is kept from before, without the driver {driver} (see --state)")
        server = Server(host, listener)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.getsignal(number))
                signal.signal(number, lambda number, frame: server.stop())
        click.echo(f"clsbpf daemon: answering on {path}", err=True)
        server.serve()


def _driver(text: str) -> tuple[str, str]:
    """DEV=DRIVER."""
    name, equals, driver = text.partition("=")
    if not name or not equals or not driver:
        raise click.BadParameter(f"{text!r}: what is wanted is DEV=worker", param_hint="--driver")
    return name, driver
