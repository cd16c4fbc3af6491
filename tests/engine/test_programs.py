"""Programs from requests: decoded, checked, and run by either backend to the same result."""

from __future__ import annotations

import errno
import struct

import pytest

from clsbpf.bpf.bytecode import parse_bytecode
from clsbpf.bpf.classic import encode_ops
from clsbpf.engine.programs import Backend, ProgramTable, backend_by_name
from clsbpf.errors import BytecodeError, ClsbpfError, NetlinkError
from clsbpf.profile import CURRENT, V4_13, KernelProfile
from clsbpf.skb import Skb, receive

IPV4 = bytes.fromhex("0200000000020200000000010800") + bytes(46)
ARP = bytes.fromhex("0200000000020200000000010806") + bytes(46)
TAGGED = bytes.fromhex("02000000000202000000000181003fff0800") + bytes(46)

IS_IP = "4,40 0 0 12,21 0 1 2048,6 0 0 4294967295,6 0 0 0"
VLAN_TAG = "2,32 0 0 4294963244,22 0 0 0"
RANDOM = "2,32 0 0 4294963256,22 0 0 0"


def ops(text: str) -> bytes:
    return encode_ops(parse_bytecode(text))


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize(
    ("text", "frame", "result"),
    [(IS_IP, IPV4, 0xFFFFFFFF), (IS_IP, ARP, 0), ("1,6 0 0 7", ARP, 7), (IS_IP, IPV4[:13], 0)],
)
def test_a_program_runs(backend: Backend, text: str, frame: bytes, result: int) -> None:
    program = ProgramTable(backend=backend).from_ops(ops(text))
    skb = Skb.from_frame(frame)
    assert [program.run(skb), program.run(skb)] == [result, result]
    assert program.ops == ops(text)


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize(("profile", "tag"), [(CURRENT, 0x3FFF), (V4_13, 0x2FFF)])
def test_a_program_is_its_profiles(backend: Backend, profile: KernelProfile, tag: int) -> None:
    skb = receive(TAGGED)
    assert skb is not None
    skb.push(skb.mac_len)
    assert ProgramTable(backend=backend, profile=profile).from_ops(ops(VLAN_TAG)).run(skb) == tag


def test_random_numbers_are_the_tables_and_the_same_in_every_run() -> None:
    def drawn(backend: Backend) -> list[int]:
        table = ProgramTable(backend=backend)
        programs = [table.from_ops(ops(RANDOM)) for _ in range(2)]
        return [program.run(Skb.from_frame(IPV4)) for program in programs * 2]

    by_jit, by_interpreter = drawn(Backend.JIT), drawn(Backend.INTERPRETER)
    assert by_jit == by_interpreter
    assert len(set(by_jit)) == 4


@pytest.mark.parametrize(
    ("raw", "insn"),
    [
        (bytes(7), None),
        (b"", None),
        (bytes(8), 0),
        (ops("1,6 0 0 0") + struct.pack("<HBBI", 0xFFFF, 0, 0, 0), 1),
    ],
)
def test_what_the_checker_refuses_is_einval_and_names_the_instruction(raw: bytes, insn: int | None) -> None:
    with pytest.raises(BytecodeError) as refused:
        ProgramTable().from_ops(raw)
    assert (refused.value.errno, refused.value.insn) == (errno.EINVAL, insn)


def test_there_are_no_descriptors_yet() -> None:
    with pytest.raises(NetlinkError) as refused:
        ProgramTable().from_fd(3)
    assert (refused.value.errno, refused.value.extack) == (errno.EBADF, None)


def test_backends_by_name() -> None:
    assert [backend_by_name(name) for name in ("jit", "interpreter")] == list(Backend)
    with pytest.raises(ClsbpfError, match="no backend 'native'; there are: jit, interpreter"):
        backend_by_name("native")
