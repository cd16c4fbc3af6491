"""A daemon's socket: what it says to requests, to calls, to several clients, and to nonsense."""

from __future__ import annotations

import os
import random
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsbpf.daemon.address import check_socket, prepare_directory, socket_path
from clsbpf.daemon.client import NoDaemon, connect
from clsbpf.daemon.listener import listening
from clsbpf.daemon.server import WAITING_BYTES
from clsbpf.daemon.wire import Arg, Bpf, Own
from clsbpf.errors import ClsbpfError
from clsbpf.netlink.message import NLM_F_REQUEST, NLMSG_OVERRUN, Message, iter_messages
from clsbpf.netlink.schema import RTNLGRP_TC, Rtm
from clsbpf.netlink.tcmsg import TCMSG_LEN
from daemon_running import Running, running, until


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as daemon:
        yield daemon


def add(daemon: Running, where: str) -> None:
    from daemon_running import run_tc

    ran = run_tc(daemon.path, *f"filter add dev {where} bpf bytecode".split(), "1,6 0 0 1")
    assert ran.exit_code == 0, ran


def test_what_one_client_did_another_sees(daemon: Running) -> None:
    assert daemon.tc("qdisc add dev lab0 clsact") == ""
    add(daemon, "lab0 ingress pref 3")
    shown = daemon.tc("filter show dev lab0 ingress").splitlines()
    assert shown == [
        "filter protocol all pref 3 bpf chain 0 ",
        "filter protocol all pref 3 bpf chain 0 handle 0x1 not_in_hw bytecode '1,6 0 0 1'",
    ]


CODES = {
    "qdisc show dev nope": (1, 'Cannot find device "nope"\n'),
    "filter del dev lab0 ingress pref 3": (
        2,
        "Error: Parent Qdisc doesn't exists.\nWe have an error talking to the kernel\n",
    ),
    "nonsense": (255, 'Object "nonsense" is unknown, try "tc help".\n'),
    "-n other qdisc show": (
        255,
        'no network namespace "other": a daemon has one of its own (-n is for --kernel)\n',
    ),
}


@pytest.mark.parametrize(("line", "expected"), CODES.items(), ids=CODES)
def test_exit_codes(line: str, expected: tuple[int, str], daemon: Running) -> None:
    ran = daemon.run(line)
    assert (ran.exit_code, ran.stderr) == expected


def test_a_batch_stops_at_its_first_error_and_names_the_line(daemon: Running, tmp_path: Path) -> None:
    batch = tmp_path / "b.tc"
    batch.write_text("qdisc add dev lab0 clsact\nqdisc add dev nope clsact\nqdisc add dev lab1 clsact\n")
    ran = daemon.run(f"-b {batch}")
    assert (ran.exit_code, ran.stderr) == (1, f'Cannot find device "nope"\nCommand failed {batch}:2\n')
    assert daemon.tc("qdisc show dev lab1") == "qdisc noqueue 0: root refcnt 2 \n"
    ran = daemon.run(f"-force -b {batch}")
    assert ran.exit_code == 1
    assert "clsact" in daemon.tc("qdisc show dev lab1")


# what is private


def test_socket_and_directory_are_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "socket"
    with listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


def test_a_place_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ClsbpfError, match="others may write there"):
        prepare_directory(tmp_path / "socket")


def test_a_link_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("there")
    prepare_directory(tmp_path / "link" / "socket")
    if os.geteuid() == 0:
        os.lchown(tmp_path / "link", 12345, 12345)
        with pytest.raises(ClsbpfError, match="no directory for a socket"):
            prepare_directory(tmp_path / "link" / "socket")


def test_a_socket_of_anothers_or_open_to_others_is_refused(daemon: Running) -> None:
    daemon.path.chmod(0o666)
    with pytest.raises(ClsbpfError, match="mode is 0666"):
        daemon.connect()
    daemon.path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(daemon.path, 12345, 12345)
        with pytest.raises(ClsbpfError, match="belongs to user 12345"):
            check_socket(daemon.path)


def test_a_second_daemon_is_refused_and_a_dead_ones_socket_taken(daemon: Running, tmp_path: Path) -> None:
    with pytest.raises(ClsbpfError, match=f"a daemon has it already \\(process {os.getpid()}\\)"):
        listening(daemon.path).__enter__()
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left_behind:
        left_behind.bind(str(stale))
    with listening(stale):
        assert stale.is_socket()


def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ClsbpfError, match="something else than a socket"):
        listening(tmp_path / "file").__enter__()
    assert (tmp_path / "file").read_text() == "precious"


def test_without_a_daemon_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match=r"start one with `clsbpf daemon --dev NAME &`"):
        connect(tmp_path / "none", patience=0)


def test_where_the_socket_is() -> None:
    assert socket_path("a", {"CLSBPF_SOCKET": "b"}) == Path("a")
    assert socket_path(None, {"CLSBPF_SOCKET": "b", "XDG_RUNTIME_DIR": "/run/user/1"}) == Path("b")
    assert socket_path(None, {"XDG_RUNTIME_DIR": "/run/user/1"}) == Path("/run/user/1/clsbpf.sock")
    assert socket_path(None, {}) == Path(f"/tmp/clsbpf-{os.geteuid()}/clsbpf.sock")


# several at once


def test_clients_at_once_see_a_consistent_state(daemon: Running, tmp_path: Path) -> None:
    """Whatever others do meanwhile: a dump that does not say it was interrupted is of one moment."""
    daemon.tc("qdisc add dev lab0 clsact")
    batch = tmp_path / "batch"
    adds = [f"filter add dev lab0 {hook} pref 1 bpf bytecode '1,6 0 0 1'\n" for hook in ("ingress", "egress")]
    batch.write_text(
        "".join([*adds, "filter del dev lab0 ingress\n", "filter del dev lab0 egress\n"] * 50_000)
    )
    words = [sys.executable, "-m", "clsbpf", "tc", "--socket", str(daemon.path), "-b", str(batch)]
    began = daemon.host.network.changes
    seen: set[int] = set()
    with subprocess.Popen(words) as changer:
        try:
            until(lambda: daemon.host.network.changes > began, patience=60)
            for _ in range(100):
                ran = daemon.run("filter show dev lab0 ingress")
                if "interrupted" not in ran.stderr:
                    seen.add(ran.stdout.count("handle"))
                assert seen <= {0, 1}
            assert changer.poll() is None
        finally:
            changer.kill()


def test_a_monitor_hears_every_change_in_order(daemon: Running) -> None:
    with daemon.connect() as listener:
        listener.listen(RTNLGRP_TC)
        daemon.tc("qdisc add dev lab0 clsact")
        for pref in (5, 6):
            add(daemon, f"lab0 ingress pref {pref}")
        daemon.tc("filter del dev lab0 ingress pref 5")
        wanted = [Rtm.NEWQDISC, Rtm.NEWCHAIN, Rtm.NEWTFILTER, Rtm.NEWTFILTER, Rtm.DELTFILTER]
        heard = [next(iter_messages(listener.receive())).type for _ in wanted]
    assert heard == wanted


def test_who_does_not_read_loses_notifications_and_is_told(daemon: Running) -> None:
    daemon.tc("qdisc add dev lab0 clsact")
    with daemon.connect() as listener, daemon.connect() as changer:
        listener.listen(RTNLGRP_TC)
        sent = daemon.host.network.multicast
        with daemon.host.network.lock:
            for _ in range(WAITING_BYTES // 30_000 + 100):
                sent.send(Message(Rtm.NEWQDISC, payload=bytes(30_000)).encode(), RTNLGRP_TC)
        assert changer.portid != listener.portid
        types = {Rtm.NEWQDISC}
        while NLMSG_OVERRUN not in types:
            types = {message.type for message in iter_messages(listener.receive())}
        # and goes on hearing
        add(daemon, "lab0 ingress pref 1")
        assert next(iter_messages(listener.receive())).type == Rtm.NEWCHAIN


def test_who_asks_and_does_not_read_stops_nobody(daemon: Running) -> None:
    daemon.tc("qdisc add dev lab0 clsact")
    for pref in range(1, 60):
        add(daemon, f"lab0 ingress pref {pref}")
    dump = Message(
        Rtm.GETTFILTER, NLM_F_REQUEST | 0x300, 1, 0, struct.pack("=BxHiIII", 0, 0, 2, 0, 0xFFFFFFF2, 0)
    )
    with daemon.connect() as rude:
        rude.socket.setblocking(False)
        fill(rude.socket, dump.encode())
        assert "pref 59" in daemon.tc("filter show dev lab0 ingress")


def fill(connection: socket.socket, datagram: bytes) -> None:
    """Send until nothing more goes in."""
    while True:
        try:
            connection.send(datagram)
        except BlockingIOError:
            return


def test_more_connections_than_there_may_be(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when there is no room is sent away, and there is room again when others have gone."""
    monkeypatch.setattr("clsbpf.daemon.server.MAX_CONNECTIONS", 3)
    there = [daemon.connect() for _ in range(3)]
    with pytest.raises(ClsbpfError, match="the daemon has ended"):
        daemon.connect()
    for each in there:
        each.close()
    until(lambda: not daemon.host.portids)
    daemon.tc("qdisc show")


# nonsense


def garbage(rng: random.Random) -> bytes:
    types = [0, 1, 3, 16, 18, 36, 38, 40, 44, 46, 48, 50, 100, 102, Own.SOCKET, Own.BPF, rng.randrange(65536)]
    payload = rng.randbytes(rng.choice([0, 1, 4, 16, TCMSG_LEN, 40, 200]))
    if rng.random() < 0.3:
        payload = struct.pack("=I", rng.choice([*Bpf, 99])) + payload
    flags = rng.choice([1, 5, 0x301, 0x605, rng.randrange(65536)])
    message = Message(rng.choice(types), flags, rng.randrange(9), 0, payload).encode()
    cut = rng.choice([len(message), len(message), rng.randrange(len(message) + 1)])
    return message[:cut] * rng.choice([1, 1, 2])


@pytest.mark.parametrize("seed", range(3))
def test_the_daemon_outlives_nonsense(seed: int, daemon: Running) -> None:
    """Any bytes, from clients that come and go: nothing is changed, and the next one is answered."""
    rng = random.Random(seed)
    daemon.tc("qdisc add dev lab0 clsact")
    before = daemon.tc("qdisc show"), daemon.tc("filter show dev lab0 ingress")
    for _ in range(8):
        with daemon.connect() as connection:
            connection.socket.setblocking(False)
            for _ in range(60):
                try:
                    connection.socket.send(garbage(rng) or b"\0")
                except BlockingIOError:
                    break
    after = daemon.tc("qdisc show"), daemon.tc("filter show dev lab0 ingress")
    assert after == before


def test_connections_end_with_all_that_they_had(daemon: Running) -> None:
    with daemon.connect() as connection:
        fd = connection.map_create(2, 4, 8, 1, name="gone")
        assert connection.info(fd).text(Arg.NAME) == "gone"
    until(lambda: not daemon.host.maps)
    assert daemon.host.portids == set()
