"""What a program sees of a packet that comes in at a device: the kernel's ingress hook, and ours.

A test run has no ingress: tags stay in the bytes there.  So this program is attached to one end of a veth
pair, frames are sent into the other, and what it wrote of each packet's metadata into its map is compared
with what it writes here, of the same frame as `receive` makes it.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsbpf.kernel.bpf import obj_pin
from clsbpf.kernel.loader import load
from clsbpf.kernel.maps import map_lookup, map_update
from clsbpf.skb import receive
from clsbpf.verifier.verify import verify
from clsbpf.vm.interp import run
from clsbpf.vm.link import link
from clsbpf.vm.maps.map import Map
from clsbpf.vm.native_program import native_of
from judges import inside, need_kernel, need_tool, network_namespace
from program_cases import u32
from program_story import LEVELS, object_spec
from program_traffic import HERE, TRAFFIC, random_frames, recorded_frames

IFINDEX = 10
FRAMES = [HERE + frame[6:] for frame in (*TRAFFIC.values(), *random_frames(80, seed=3), *recorded_frames(60))]
MULTICAST = [TRAFFIC["broadcast"], TRAFFIC["multicast"], TRAFFIC["arp request"]]
PATIENCE = 2.0
"""Seconds until a frame must have come through."""


@contextlib.contextmanager
def bpf_file_system(at: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "bpf", "bpf", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@contextlib.contextmanager
def attached(fd: int, tmp_path: Path) -> Iterator[socket.socket]:
    """A socket whose frames come in at a device with the program at its ingress."""
    tc, ip = need_tool("tc"), need_tool("ip")
    with network_namespace() as name, bpf_file_system(tmp_path) as pins, inside(name):
        subprocess.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)
        for command in (
            f"link add in index {IFINDEX} address {HERE.hex(':')} type veth peer name out",
            "link set in up",
            "link set out up",
        ):
            subprocess.run([ip, *command.split()], check=True)
        obj_pin(fd, str(pins / "program"))
        subprocess.run([tc, "qdisc", "add", "dev", "in", "clsact"], check=True)
        filter = f"filter add dev in ingress bpf da object-pinned {pins / 'program'}"
        subprocess.run([tc, *filter.split()], check=True)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("out", 0))
            yield sender


def seen_by_kernel(sender: socket.socket, fd: int, size: int, frame: bytes) -> bytes:
    """The map's value after the frame; zeros when nothing came, as with a frame that is dropped before."""
    map_update(fd, u32(0), bytes(size))
    sender.send(frame)
    deadline = time.monotonic() + (PATIENCE if receive(frame) is not None else 0.02)
    while not any(value := map_lookup(fd, u32(0), size)) and time.monotonic() < deadline:
        time.sleep(0.0005)
    return value


@pytest.mark.parametrize("level", LEVELS)
def test_metadata_at_ingress(level: str, tmp_path: Path) -> None:
    need_kernel()
    spec = object_spec(level, "metadata")
    size = spec.maps["last"].value_size
    map = Map(spec.maps["last"])
    verdict = verify(spec.programs["read"], btf=spec.btf)
    program = link(spec.programs["read"], {"last": map}, verdict)
    compiled = native_of(program)
    with load(spec, ["read"]) as loaded, attached(loaded.programs["read"], tmp_path) as sender:
        for frame in (*FRAMES, *MULTICAST):
            expected = seen_by_kernel(sender, loaded.maps["last"], size, frame)
            for execute in (lambda skb: run(program, skb), compiled.run):
                map.update(u32(0), bytes(size))
                skb = receive(frame)
                if skb is not None:
                    skb.ifindex = skb.ingress_ifindex = IFINDEX
                    skb.push(skb.mac_len)
                    execute(skb)
                assert map.lookup(u32(0)) == expected, frame.hex()
