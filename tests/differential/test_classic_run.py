"""Classic programs against the kernel: what a socket filter lets through is what our run returns.

A filter's result is the number of bytes that stay of the packet, so a receiver sees
min(result, length), and nothing for 0.  Programs here end in a random byte of A, plus one: 257 bytes of
packet tell every outcome apart.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from classic_programs import likely_valid
from clsbpf.bpf import classic as c
from clsbpf.bpf.check import check
from clsbpf.bpf.classic import SKF_AD_OFF, Ancillary, SockFilter, encode_ops
from clsbpf.bpf.isa import Alu, Class, Size
from clsbpf.errors import BytecodeError
from clsbpf.skb import Skb, receive
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.vm.interp import run
from frames import frame
from judges import inside, network_namespace
from running import NativePrograms, outcome

SO_ATTACH_FILTER = 26
ETH_P_ALL = 3
PACKET_BYTES = 300
COMPILED = 60
"""Programs that also run as machine code: compiling takes most of the time."""

NOT_REPEATABLE = {SKF_AD_OFF + Ancillary.RANDOM, SKF_AD_OFF + Ancillary.CPU}


def attach(sock: socket.socket, program: Sequence[SockFilter]) -> None:
    ops = ctypes.create_string_buffer(encode_ops(program))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(ops))
    )


def received(sock: socket.socket) -> int:
    """The length of the packet that waits, or 0."""
    try:
        return len(sock.recv(65536, socket.MSG_DONTWAIT))
    except BlockingIOError:
        return 0


def one_byte_of_a(program: Sequence[SockFilter], random: Random) -> list[SockFilter]:
    """The program, but it returns one more than a random byte of what it would have returned."""
    shift = 8 * random.randrange(4)
    ending = [c.alu_k(Alu.RSH, shift), c.alu_k(Alu.AND, 0xFF), c.alu_k(Alu.ADD, 1), c.ret_a()]
    result: list[SockFilter] = []
    for at, insn in enumerate(program):
        if insn.code == Class.RET:
            insn = c.ret_k((insn.k >> shift & 0xFF) + 1)
        elif insn == c.ret_a():
            insn = c.ja(len(program) - at - 1)
        result.append(insn)
    return [*result, *ending]


def random_programs(random: Random, count: int) -> Iterator[list[SockFilter]]:
    """Programs that the checker takes and that do the same each time."""
    while count:
        program = one_byte_of_a(likely_valid(random), random)
        if any(insn.k in NOT_REPEATABLE for insn in program):
            continue
        try:
            check(program)
        except BytecodeError:
            continue
        yield program
        count -= 1


def verified(program: Sequence[SockFilter]) -> VerifiedProgram:
    return VerifiedProgram.from_classic(check(program))


def seen(result: int, length: int) -> int:
    """What a receiver sees of a packet of `length` bytes when the filter returns `result`."""
    return min(result, length)


def as_unix_socket_has_it(packet: bytes) -> Skb:
    """A datagram between local sockets: no device, no protocol, no headers."""
    skb = Skb.from_frame(packet)
    skb.protocol = 0
    skb.ifindex = 0
    return skb


def without_header_offsets(program: Sequence[SockFilter]) -> bool:
    """Local datagrams have no headers to count from, and the kernel leaves the offsets as they were."""
    return all(insn.k < c.SKF_LL_OFF or insn.k >= SKF_AD_OFF for insn in program if insn.code & 7 < 2)


def test_random_programs_on_random_bytes() -> None:
    """For any valid program and any packet, our result is the kernel's."""
    random = Random(1)
    programs = [p for p in random_programs(random, 1500) if without_header_offsets(p)]
    compiled = NativePrograms([verified(program) for program in programs[:COMPILED]])
    nonzero = 0
    with network_namespace() as name, inside(name):
        sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with sender, receiver:
            for at, program in enumerate(programs):
                attach(receiver, program)
                insns = verified(program).insns
                for _ in range(2):
                    packet = random.randbytes(random.choice((PACKET_BYTES, random.randrange(1, 80))))
                    sender.send(packet)
                    theirs = received(receiver)
                    skb = as_unix_socket_has_it(packet)
                    assert seen(run(insns, skb), len(packet)) == theirs, program
                    nonzero += theirs > 0
                    if at < COMPILED:
                        native = outcome(lambda s, e: compiled.run(at, s, e), skb)  # noqa: B023
                        assert seen(native.result, len(packet)) == theirs, program
    assert nonzero > len(programs), "most packets pass, or nothing was compared"


def netlink_attributes(random: Random, room: int, depth: int = 0) -> bytes:
    """Attributes of a few types, nested ones among them, the last perhaps of a wrong length."""
    result = b""
    while len(result) < room and random.random() < 0.85:
        nested = depth < 2 and random.random() < 0.4
        payload = netlink_attributes(random, room // 2, depth + 1) if nested else bytes(random.randrange(9))
        length = 4 + len(payload)
        if random.random() < 0.1:
            length = random.choice((0, 3, length + 1, length + 40, 0xFFFF))
        kind = random.randrange(1, 5) | random.choice((0, 0, 0x8000, 0x4000))
        result += struct.pack("=HH", length, kind) + payload + bytes(-len(payload) % 4)
    return result


def test_netlink_attributes() -> None:
    """For any attributes, offset and type, what is found is what the kernel finds."""
    random = Random(4)
    found: Counter[int] = Counter()
    with network_namespace() as name, inside(name):
        sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with sender, receiver:
            for _ in range(1500):
                what = random.choice((Ancillary.NLATTR, Ancillary.NLATTR_NEST))
                offset = random.choice((0, 0, 4, 8, random.randrange(120), 0xFFFFFFFF))
                program = [c.ld_imm(offset), c.ldx_imm(random.randrange(1, 6)), c.ld_ad(what)]
                program += [c.alu_k(Alu.ADD, 1), c.ret_a()]
                packet = netlink_attributes(random, 100) + bytes(random.randrange(1, 4))
                attach(receiver, program)
                sender.send(packet)
                theirs = received(receiver)
                ours = run(verified(program).insns, as_unix_socket_has_it(packet))
                assert seen(ours, len(packet)) == theirs, (program, packet.hex())
                found[theirs] += 1
    assert len(found) > 10, "attributes are found at many offsets"


FAR_ADDRESS = bytes((2, 0, 0, 0, 0, 7))
DESTINATIONS = (FAR_ADDRESS, b"\xff" * 6, bytes((1, 0, 0x5E, 0, 0, 1)))
MARK = 0x01020304


class Wire:
    """A veth pair in the namespace entered: raw frames in at one end, filtered out at the other.

    A filter on a SOCK_RAW socket sees a packet from its link-layer header on, on SOCK_DGRAM from its
    network header on.
    """

    def __init__(self, kind: socket.SocketKind) -> None:
        self.kind = kind
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        for line in (
            "link add near type veth peer name far",
            "link set far address " + ":".join(f"{byte:02x}" for byte in FAR_ADDRESS),
            "link set near up",
            "link set far up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        self.ifindex = socket.if_nametoindex("far")
        self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sender.bind(("near", 0))
        self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        # The socket opened last sees a packet first; when the first has it, the other has done with it.
        self.everything = self.far_end()
        self.everything.settimeout(5)
        self.filtered = self.far_end()
        self.queue_mapping = 0
        self.queue_mapping = (
            self.run([c.ld_ad(Ancillary.QUEUE), c.alu_k(Alu.ADD, 1), c.ret_a()], bytes(60)) - 1
        )

    def far_end(self) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, self.kind, socket.htons(ETH_P_ALL))
        sock.bind(("far", ETH_P_ALL))
        return sock

    def close(self) -> None:
        for sock in (self.sender, self.everything, self.filtered):
            sock.close()

    def run(self, program: Sequence[SockFilter], sent: bytes) -> int:
        """The kernel's result for a frame, as a receiver sees it."""
        attach(self.filtered, program)
        self.sender.send(sent)
        self.everything.recv(65536)
        return received(self.filtered)

    def skb(self, sent: bytes) -> Skb | None:
        """The frame as the far end's packet sockets have it; None when it is dropped before them."""
        skb = receive(sent)
        if skb is not None:
            if self.kind == socket.SOCK_RAW:
                skb.push(skb.mac_len)
            skb.ifindex = self.ifindex
            skb.mark = MARK
            skb.queue_mapping = self.queue_mapping
        return skb


@contextlib.contextmanager
def a_wire(kind: socket.SocketKind = socket.SOCK_RAW) -> Iterator[Wire]:
    with network_namespace() as name, inside(name):
        wire = Wire(kind)
        try:
            yield wire
        finally:
            wire.close()


def test_random_programs_on_frames() -> None:
    """For any valid program and any frame that arrives at a device, our result is the kernel's."""
    random = Random(2)
    programs = list(random_programs(random, 1500))
    compiled = NativePrograms([verified(program) for program in programs[:COMPILED]])
    nonzero = 0
    with a_wire() as wire:
        for at, program in enumerate(programs):
            sent = frame(random, random.choice(DESTINATIONS)).ljust(PACKET_BYTES, b"\x5a")
            skb = wire.skb(sent)
            assert skb is not None
            theirs = wire.run(program, sent)
            assert seen(run(verified(program).insns, skb), skb.len) == theirs, (program, sent.hex())
            nonzero += theirs > 0
            if at < COMPILED:
                native = outcome(lambda s, e: compiled.run(at, s, e), skb)  # noqa: B023
                assert seen(native.result, skb.len) == theirs, program
    assert nonzero > len(programs) // 2, "most packets pass, or nothing was compared"


def test_random_programs_that_see_a_packet_from_its_network_header() -> None:
    """The same where `data` is after the link-layer header: SKF_LL_OFF then reads before it."""
    random = Random(6)
    programs = list(random_programs(random, 400))
    compiled = NativePrograms([verified(program) for program in programs[:COMPILED]])
    before_data = [c.ld_abs(Size.H, c.SKF_LL_OFF + 12), c.alu_k(Alu.RSH, 8), c.alu_k(Alu.ADD, 1), c.ret_a()]
    with a_wire(socket.SOCK_DGRAM) as wire:
        ipv4 = FAR_ADDRESS + bytes(6) + b"\x08\x00" + bytes(PACKET_BYTES)
        assert wire.run(before_data, ipv4) == 9
        skb = wire.skb(ipv4)
        assert skb is not None
        assert run(verified(before_data).insns, skb) == 9
        for at, program in enumerate(programs):
            sent = frame(random, FAR_ADDRESS).ljust(PACKET_BYTES, b"\x5a")
            skb = wire.skb(sent)
            assert skb is not None
            theirs = wire.run(program, sent)
            assert seen(run(verified(program).insns, skb), skb.len) == theirs, (program, sent.hex())
            if at < COMPILED:
                native = outcome(lambda s, e: compiled.run(at, s, e), skb)  # noqa: B023
                assert seen(native.result, skb.len) == theirs, program


PAYLOAD_OFFSET = [c.ld_ad(Ancillary.PAY_OFFSET), c.alu_k(Alu.ADD, 1), c.ret_a()]


def test_the_payload_offset_of_frames() -> None:
    """For any frame, whole, cut or damaged, the payload offset is the kernel's."""
    random = Random(3)
    program = verified(PAYLOAD_OFFSET)
    compiled = NativePrograms([program])
    offsets: Counter[int] = Counter()
    with a_wire() as wire:
        for _ in range(2000):
            sent = frame(random, FAR_ADDRESS)
            skb = wire.skb(sent)
            if skb is None:
                continue
            theirs = wire.run(PAYLOAD_OFFSET, sent)
            interpreted = outcome(lambda s, e: run(program.insns, s, environment=e), skb)
            assert seen(interpreted.result, skb.len) == theirs, sent.hex()
            assert outcome(lambda s, e: compiled.run(0, s, e), skb) == interpreted
            offsets[theirs] += 1
    assert len(offsets) > 50, "the frames no longer differ"
    assert offsets[1] < sum(offsets.values()) // 2, "most frames can be dissected"


LOOPBACK_HATYPE = 772
VARYING = {SKF_AD_OFF + what for what in (Ancillary.RXHASH, Ancillary.QUEUE)}
"""Set by the sending socket, and not told to a receiver."""
LINEAR_ONLY = {SKF_AD_OFF + what for what in (Ancillary.NLATTR, Ancillary.NLATTR_NEST)}
"""The kernel looks into linear packets only, and sent data is not."""


def talk() -> None:
    """Real traffic over the loopback device: TCP and UDP, IPv4 and IPv6, fragments, a refused port."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as server:
            server.bind((host, 0))
            server.listen()
            with socket.create_connection(server.getsockname()[:2], timeout=5) as client:
                served, _ = server.accept()
                with served:
                    for size in (1, 100, 700):
                        client.sendall(bytes(range(256)) * 3 + bytes(size))
                        served.sendall(served.recv(4096)[:size])
                        client.recv(4096)
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.bind((host, 0))
            for size in (0, 1, 60, 1400, 33000, 65000):
                udp.sendto(bytes(size), udp.getsockname())
            with contextlib.suppress(OSError):
                udp.sendto(b"nobody is there", (host, 9))


def test_random_programs_on_real_traffic() -> None:
    """For any valid program and what sockets really send, our result is the kernel's."""
    random = Random(5)
    unknowable = VARYING | LINEAR_ONLY
    programs = [
        program
        for program in random_programs(random, 60)
        if not any(insn.k in unknowable for insn in program)
    ]
    with network_namespace() as name, inside(name):
        Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("0")
        subprocess.run(["ip", "link", "set", "lo", "mtu", "1500"], check=True)
        with contextlib.ExitStack() as sockets:

            def listener(program: Sequence[SockFilter]) -> socket.socket:
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
                sockets.enter_context(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
                attach(sock, program)
                sock.bind(("lo", ETH_P_ALL))
                return sock

            filtered = [listener(program) for program in programs]
            everything = listener([c.ret_k(0x40000)])
            talk()
            packets = list(arrived(everything))
            lengths = [[len(frame) for frame, _ in arrived(sock)] for sock in filtered]
    assert len(packets) > 100
    for program, theirs in zip(programs, lengths, strict=True):
        insns = verified(program).insns
        ours = []
        for sent, (_, protocol, pkt_type, *_) in packets:
            skb = Skb.from_frame(sent)
            skb.protocol, skb.pkt_type, skb.hatype = protocol, pkt_type, LOOPBACK_HATYPE
            ours.append(seen(run(insns, skb), len(sent)))
        assert [length for length in ours if length] == theirs, program


def arrived(sock: socket.socket) -> Iterator[tuple[bytes, tuple[str, int, int, int, bytes]]]:
    """The packets that wait, each with its address (device, protocol, packet type, …)."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield sock.recvfrom(1 << 17, socket.MSG_DONTWAIT)
