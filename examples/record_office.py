#!/usr/bin/env python3
"""Record office.pcap: real programs talking across a small router, as tcpdump sees it there.

    desk ── eth0 ════ lab0 ── gate ── lab1 ════ eth0 ── server        (three network namespaces)
      │                ▲        dnsmasq, sshd                nginx, sshd
      └ tags 42, 7/100 │
                       └ tcpdump records here

From the desk: curl and wget over HTTP and TLS, IPv4 and IPv6; dig over UDP and TCP, for names that are
there and names that are not; ssh, scp; ping with packets that must be fragmented, traceroute, ports where
nobody listens.  ARP and neighbour discovery come by themselves.

VLANs need no vlan device: at both ends of the first cable a *tagger* moves frames between a tap device,
which the programs use, and the cable, where they carry a tag (42) or two (802.1ad 100 around 7).

Needs root, Linux and: ip, tcpdump, ethtool, nginx, curl, wget, dnsmasq, dig, sshd, ssh, scp, ping,
traceroute, openssl.  Usage: record_office.py FILE
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = [
    "ip",
    "tcpdump",
    "ethtool",
    "nginx",
    "curl",
    "wget",
    "dnsmasq",
    "dig",
    "sshd",
    "ssh",
    "ssh-keygen",
    "scp",
    "ping",
    "traceroute",
    "openssl",
]
DESK, GATE, SERVER = (f"office-{name}-{os.getpid()}" for name in ("desk", "gate", "server"))

TAGGED = {
    # tap device: the tags around its frames, outermost first; network
    "vlan42": ([(0x8100, 42)], "10.42.0"),
    "vlan7": ([(0x88A8, 100), (0x8100, 7)], "10.7.0"),
}

NGINX = """
worker_processes 1;
daemon off;
error_log {here}/nginx-error.log;
pid {here}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    server {{
        listen 80; listen [::]:80; listen 8080;
        listen 443 ssl; listen [::]:443 ssl;
        ssl_certificate {here}/office.crt; ssl_certificate_key {here}/office.key;
        root {here}/www;
        location /upload {{ return 204; client_max_body_size 1m; }}
    }}
}}
"""

DNSMASQ = """
no-resolv
no-hosts
keep-in-foreground
bind-interfaces
interface=lab0
user=root
pid-file={here}/dnsmasq.pid
local=/office.example/
address=/www.office.example/10.20.1.80
address=/www.office.example/fd00:20:1::80
host-record=gate.office.example,10.20.0.1,fd00:20::1
mx-host=office.example,mail.office.example,10
txt-record=office.example,"v=spf1 mx -all"
srv-host=_ldap._tcp.office.example,dir.office.example,389
ptr-record=80.1.20.10.in-addr.arpa,www.office.example
"""

SSHD = """
Port 22
HostKey {here}/host_key
AuthorizedKeysFile {here}/user_key.pub
PidFile {here}/sshd-{name}.pid
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""


def run(namespace: str, command: str, *, may_fail: bool = False) -> None:
    """Run a program in a namespace; what it says is shown only when it fails unexpectedly."""
    done = subprocess.run(
        f"ip netns exec {namespace} {command}",
        shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode and not may_fail:
        raise SystemExit(f"{command}\n{done.stdout}\nfailed with {done.returncode}")


@contextlib.contextmanager
def running(namespace: str, *command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs in a namespace for the time of the body."""
    with log.open("ab") as output:
        program = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield program
    finally:
        program.terminate()
        program.wait(10)


# The tagger -----------------------------------------------------------------------------------------


def tagger(cable: str) -> None:
    """Move frames between the tap devices and the cable, with their tags on the cable; for ever.

    The kernel takes the outermost tag of a frame that comes in out of its data; PACKET_AUXDATA has it.
    """
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((cable, 3))
    packet_auxdata, solicited = 8, 263
    wire.setsockopt(solicited, packet_auxdata, 1)
    taps = {name: open_tap(name) for name in TAGGED}
    owner = {tuple(tags): name for name, (tags, _) in TAGGED.items()}
    while True:
        ready, _, _ = select.select([wire, *taps.values()], [], [])
        for name, tap in taps.items():
            if tap in ready:
                frame = os.read(tap, 65536)
                tags = b"".join(struct.pack("!HH", kind, number) for kind, number in TAGGED[name][0])
                wire.send(frame[:12] + tags + frame[12:])
        if wire in ready:
            frame, auxiliary, _, sender = wire.recvmsg(65536, 256)
            if sender[2] == socket.PACKET_OUTGOING:
                continue
            tags_seen = []
            for _level, kind, data in auxiliary:
                status, *_, tci, protocol = struct.unpack("IIIHHHH", data[:20])
                if kind == packet_auxdata and status & 0x10:
                    tags_seen.append((protocol, tci & 0xFFF))
            at = 12
            while struct.unpack_from("!H", frame, at)[0] in (0x8100, 0x88A8):
                kind, tci = struct.unpack_from("!HH", frame, at)
                tags_seen.append((kind, tci & 0xFFF))
                at += 4
            if tuple(tags_seen) in owner:
                os.write(taps[owner[tuple(tags_seen)]], frame[:12] + frame[at:])


def open_tap(name: str) -> int:
    """A tap device of this name, without the packet information header."""
    tun_set_iff, iff_tap, iff_no_pi = 0x400454CA, 0x0002, 0x1000
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, tun_set_iff, struct.pack("16sH", name.encode(), iff_tap | iff_no_pi))
    return tap


# The network ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def network() -> Iterator[None]:
    """The three namespaces, cabled and addressed; no offloads, so that frames are as on a real cable."""
    try:
        for namespace in (DESK, GATE, SERVER):
            subprocess.run(["ip", "netns", "add", namespace], check=True)
            run(namespace, "ip link set lo up")
        for end, (inner, outer) in ((DESK, ("lab0", "eth0")), (SERVER, ("lab1", "eth0"))):
            run(GATE, f"ip link add {inner} type veth peer name {outer} netns {end}")
            for namespace, device in ((GATE, inner), (end, outer)):
                run(namespace, f"ethtool -K {device} tso off gso off gro off tx off rx off")
                run(namespace, f"sysctl -qw net.ipv6.conf.{device}.accept_dad=0")
        run(GATE, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        addresses = (
            (DESK, "eth0", "02:00:00:00:00:10", "10.20.0.10/24", "fd00:20::10/64"),
            (GATE, "lab0", "02:00:00:00:00:01", "10.20.0.1/24", "fd00:20::1/64"),
            (GATE, "lab1", "02:00:00:00:01:01", "10.20.1.1/24", "fd00:20:1::1/64"),
            (SERVER, "eth0", "02:00:00:00:01:80", "10.20.1.80/24", "fd00:20:1::80/64"),
        )
        for namespace, device, mac, *networks in addresses:
            run(namespace, f"ip link set {device} address {mac} up")
            for address in networks:
                run(namespace, f"ip addr add {address} dev {device} {'nodad' if ':' in address else ''}")
        for namespace, number in ((DESK, 0), (SERVER, 1)):
            run(namespace, f"ip route add default via 10.20.{number}.1")
            run(namespace, f"ip -6 route add default via fd00:20:{'1:' if number else ''}:1")
        yield
    finally:
        for namespace in (DESK, GATE, SERVER):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


@contextlib.contextmanager
def taggers(here: Path) -> Iterator[None]:
    """A tagger at each end of the first cable, with addresses on its tap devices."""
    command = (sys.executable, __file__, "--tagger")
    with (
        running(DESK, *command, "eth0", log=here / "tagger.log"),
        running(GATE, *command, "lab0", log=here / "tagger.log"),
    ):
        time.sleep(0.5)
        for name, (_, prefix) in TAGGED.items():
            for namespace, host in ((DESK, 10), (GATE, 1)):
                run(namespace, f"ip addr add {prefix}.{host}/24 dev {name}")
                run(namespace, f"ip link set {name} mtu 1492 up")
        yield


@contextlib.contextmanager
def services(here: Path) -> Iterator[None]:
    """What the desk talks to."""
    www = here / "www"
    www.mkdir()
    www.chmod(0o755)
    here.chmod(0o755)
    text = Path("/usr/share/common-licenses/GPL-2")
    words = text.read_bytes() if text.exists() else b"All work and no play.\n" * 800
    for name, size in (
        ("index.html", 600),
        ("page.html", 5_000),
        ("report.html", 14_000),
        ("manual.html", 60_000),
    ):
        (www / name).write_bytes((words * 4)[:size])
    (here / "nginx.conf").write_text(NGINX.format(here=here))
    (here / "dnsmasq.conf").write_text(DNSMASQ.format(here=here))
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 "
        f"-subj /CN=www.office.example -addext subjectAltName=DNS:www.office.example "
        f"-keyout {here}/office.key -out {here}/office.crt && "
        f"ssh-keygen -q -t ed25519 -N '' -f {here}/host_key && "
        f"ssh-keygen -q -t ed25519 -N '' -f {here}/user_key",
        shell=True, check=True, capture_output=True,
    )  # fmt: skip
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("gate", "server"):
        (here / f"sshd-{name}.conf").write_text(SSHD.format(here=here, name=name))
    sshd = shutil.which("sshd")
    assert sshd is not None
    with (
        running(SERVER, "nginx", "-c", f"{here}/nginx.conf", log=here / "nginx.log"),
        running(GATE, "dnsmasq", "-C", f"{here}/dnsmasq.conf", log=here / "dnsmasq.log"),
        running(SERVER, sshd, "-D", "-e", "-f", f"{here}/sshd-server.conf", log=here / "sshd.log"),
        running(GATE, sshd, "-D", "-e", "-f", f"{here}/sshd-gate.conf", log=here / "sshd.log"),
    ):
        time.sleep(1)
        yield


# The traffic ----------------------------------------------------------------------------------------


def talk(here: Path) -> None:
    """An hour at the office, in half a minute."""
    web4 = "--resolve www.office.example:80:10.20.1.80 --resolve www.office.example:443:10.20.1.80"
    web6 = "--resolve www.office.example:80:[fd00:20:1::80] --resolve www.office.example:443:[fd00:20:1::80]"
    curl = f"curl -sS -o /dev/null --max-time 10 --cacert {here}/office.crt"
    ssh = f"-i {here}/user_key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

    for kind in ("A", "AAAA", "MX", "TXT", "SRV"):
        for name in (
            "www.office.example",
            "gate.office.example",
            "office.example",
            "_ldap._tcp.office.example",
        ):
            run(DESK, f"dig @10.20.0.1 +tries=1 +timeout=2 {kind} {name}")
    for number in range(25):
        run(DESK, f"dig @fd00:20::1 +tries=1 +timeout=2 AAAA host{number}.office.example")
        run(DESK, f"dig @10.20.0.1 +noedns +tries=1 +timeout=2 A host{number}.office.example")
    run(DESK, "dig @10.20.0.1 +tcp MX office.example")
    run(DESK, "dig @10.20.0.1 -x 10.20.1.80")
    run(DESK, "dig @10.20.0.1 -p 5353 +tries=2 +timeout=1 A www.office.example", may_fail=True)

    for page in ("", "page.html", "report.html", "missing.html") * 5:
        run(DESK, f"{curl} {web4} http://www.office.example/{page}")
        run(DESK, f"{curl} {web6} http://www.office.example/{page}")
    for page in ("", "page.html", "report.html") * 4:
        run(DESK, f"{curl} {web4} https://www.office.example/{page}")
        run(DESK, f"{curl} {web6} https://www.office.example/{page}")
    run(DESK, f"{curl} {web4} http://www.office.example/manual.html http://www.office.example/page.html")
    run(DESK, f"{curl} {web6} https://www.office.example/manual.html")
    run(DESK, f"{curl} --data-binary @{here}/www/manual.html http://10.20.1.80/upload")
    run(DESK, f"{curl} --tls-max 1.2 {web4} https://www.office.example/page.html")
    run(DESK, "wget -q -O /dev/null http://10.20.1.80:8080/report.html")
    run(DESK, "curl -sS --max-time 2 http://10.20.1.80:81/", may_fail=True)
    run(DESK, "curl -sS --max-time 2 'http://[fd00:20::1]:81/'", may_fail=True)

    for host in ("10.20.0.1", "10.20.1.80", "fd00:20:1::80"):
        run(DESK, f"ssh {ssh} root@{host} 'uname -a; ls -l /usr/share/common-licenses'")
    run(DESK, f"scp -q {ssh} {here}/www/manual.html root@10.20.1.80:/dev/null")
    run(DESK, f"ssh {ssh} root@10.20.1.80 'for i in 1 2 3 4 5 6 7 8; do date; sleep 0.1; done'")

    for host in ("10.20.0.1", "10.20.1.80", "fd00:20::1", "fd00:20:1::80"):
        run(DESK, f"ping -q -c 12 -i 0.05 {host}")
        run(DESK, f"ping -q -c 5 -i 0.05 -s 4000 {host}")
    run(DESK, "ping -q -c 3 -i 0.05 -Q 0xb8 10.20.1.80")
    run(DESK, "ping -q -c 2 -i 0.2 -W 1 10.20.0.77", may_fail=True)
    run(DESK, "ping -q -c 3 -i 0.2 -b 10.20.0.255", may_fail=True)
    run(DESK, "ping -q -c 3 -i 0.2 ff02::1%eth0")
    run(DESK, "traceroute -n -q 2 10.20.1.80")
    run(DESK, "traceroute -6 -n -q 2 fd00:20:1::80")
    run(DESK, "traceroute -n -q 1 -m 2 -I 10.20.1.80")

    for _, prefix in TAGGED.values():
        run(DESK, f"ping -q -c 15 -i 0.05 {prefix}.1")
        run(DESK, f"ping -q -c 3 -i 0.05 -s 3000 {prefix}.1")
        run(DESK, f"ssh {ssh} root@{prefix}.1 'ls -l /etc | head -40'")
        run(DESK, f"scp -q {ssh} {here}/www/report.html root@{prefix}.1:/dev/null")


def record(target: Path) -> None:
    """Record the whole into `target`."""
    with tempfile.TemporaryDirectory(prefix="office-") as directory, network():
        here = Path(directory)
        part = here / "office.pcap"
        with services(here), taggers(here):
            dump = ("tcpdump", "-i", "lab0", "-w", str(part), "-s", "262144", "-B", "16384", "-Z", "root")
            with running(GATE, *dump, log=here / "tcpdump.log"):
                time.sleep(1)
                talk(here)
                time.sleep(1)
        print((here / "tcpdump.log").read_text(), end="")
        shutil.move(part, target)


def main() -> None:
    """Record, or (for itself, within a namespace) be a tagger."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("file", type=Path, nargs="?", help="the capture to write")
    arguments.add_argument("--tagger", metavar="DEV", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.tagger:
        tagger(options.tagger)
    if options.file is None:
        arguments.error("which file to write?")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    if os.geteuid():
        raise SystemExit("needs root, to make network namespaces")
    record(options.file)


if __name__ == "__main__":
    main()
