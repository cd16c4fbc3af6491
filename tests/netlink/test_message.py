"""Messages, acknowledgements, struct tcmsg; differential/test_endpoint_twin asks the kernel for the same."""

from __future__ import annotations

import errno
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbpf.errors import ClsbpfError
from clsbpf.netlink import attr as nla
from clsbpf.netlink import message as nl
from clsbpf.netlink.message import ExtAck, Message
from clsbpf.netlink.tcmsg import TCM_IFINDEX_MAGIC_BLOCK, TcMsg, tc_message

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="bytes of a little-endian host")

REQUEST = Message(44, 0x605, seq=9, pid=0, payload=bytes(range(20)))

ACK = "24000000 0200 0001 09000000 691e0000 00000000 24000000 2c00 0506 09000000 00000000"
REFUSED = (
    "50000000 0200 0002 09000000 691e0000 eaffffff 24000000 2c00 0506 09000000 00000000"
    "000102030405060708090a0b0c0d0e0f10111213"
    "0f00 0100 4e6f7420746f646179 2100 00 0800 0200 24000000"
)
CAPPED = (
    "3c000000 0200 0003 09000000 691e0000 eaffffff 24000000 2c00 0506 09000000 00000000"
    "0f00 0100 4e6f7420746f646179 2100 00 0800 0200 24000000"
)
PLAIN = (
    "38000000 0200 0000 09000000 691e0000 eaffffff 24000000 2c00 0506 09000000 00000000"
    "000102030405060708090a0b0c0d0e0f10111213"
)
WHY = ExtAck("Not today!", offset=36)


@pytest.mark.parametrize(
    ("error", "extack", "options", "raw"),
    [
        (0, ExtAck(), {}, ACK),
        (errno.EINVAL, WHY, {}, REFUSED),
        (errno.EINVAL, WHY, {"cap_ack": True}, CAPPED),
        (errno.EINVAL, WHY, {"ext_ack": False}, PLAIN),
    ],
    ids=["success", "refused", "capped", "without extack"],
)
def test_acknowledgements_both_ways(error: int, extack: ExtAck, options: dict[str, bool], raw: str) -> None:
    data = bytes.fromhex(raw)
    message = nl.acknowledge(REQUEST, error, extack, portid=0x1E69, **options)
    assert message.encode() == data
    (read,) = nl.iter_messages(data)
    ack = nl.read_acknowledgement(read)
    assert ack.errno == error
    assert ack.extack == (extack if options.get("ext_ack", True) else ExtAck())
    assert ack.request is not None
    assert (ack.request.type, ack.request.seq, ack.request.length) == (44, 9, 36)
    refusal = ack.error()
    if error:
        assert refusal is not None
        assert (refusal.errno, refusal.extack) == (error, ack.extack.message)
    else:
        assert refusal is None


def test_beside_success_the_kernel_may_say_a_message_but_names_no_attribute() -> None:
    said = nl.read_acknowledgement(nl.acknowledge(REQUEST, 0, ExtAck("mind", offset=36)))
    assert (said.errno, said.extack) == (0, ExtAck("mind"))


def test_the_end_of_a_dump_both_ways() -> None:
    data = bytes.fromhex("14000000 0300 0200 09000000 691e0000 00000000")
    assert nl.done(REQUEST, portid=0x1E69).encode() == data
    (read,) = nl.iter_messages(data)
    assert nl.read_acknowledgement(read) == nl.Acknowledgement(0)


def test_every_member_of_an_extack_survives() -> None:
    extack = ExtAck("m", 44, (nla.u32(1, 4),), miss_type=3, miss_nest=36)
    assert nl.read_acknowledgement(nl.acknowledge(REQUEST, errno.EINVAL, extack)).extack == extack


TCMSGS = [
    (TcMsg(), "00" * 20),
    (
        TcMsg.of_filter(3, 0xFFFFFFF2, prio=1, protocol=3, handle=1),
        "00000000 03000000 01000000 f2ffffff 0003 0100",
    ),
    (TcMsg.of_block(22, prio=0xC000, protocol=0x0800), "00000000 ffffffff 00000000 16000000 0800 00c0"),
]


@pytest.mark.parametrize(("header", "raw"), TCMSGS)
def test_tcmsg_both_ways(header: TcMsg, raw: str) -> None:
    assert header.encode() == bytes.fromhex(raw)
    assert TcMsg.decode(bytes.fromhex(raw)) == header


def test_tcmsg_of_a_filter_names_prio_and_protocol() -> None:
    header = TcMsg.of_block(22, prio=0xC000, protocol=0x86DD)
    assert (header.prio, header.protocol) == (0xC000, 0x86DD)
    assert header.is_block
    assert header.block_index == 22
    assert header.ifindex == TCM_IFINDEX_MAGIC_BLOCK


def test_several_messages_in_a_datagram() -> None:
    messages = [
        tc_message(44, TcMsg(), [nla.string(1, "bpf"), nla.u8(2, 1)], flags=5, seq=1),
        Message(10, payload=b"\1"),
        Message(11),
    ]
    datagram = b"".join(message.encode() for message in messages)
    assert list(nl.iter_messages(datagram)) == messages


@pytest.mark.parametrize("cut", range(1, 37))
def test_a_message_that_is_not_whole_is_not_there(cut: int) -> None:
    whole = Message(10, payload=b"\1").encode() + REQUEST.encode()
    assert list(nl.iter_messages(whole[:-cut])) == [Message(10, payload=b"\1")]


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", b"\0" * 19])
def test_a_cut_acknowledgement_is_refused(payload: bytes) -> None:
    with pytest.raises(ClsbpfError):
        nl.read_acknowledgement(Message(nl.NLMSG_ERROR, payload=payload))


@given(st.binary(max_size=120))
def test_fuzz_any_datagram(data: bytes) -> None:
    """Whatever the bytes, reading ends, and an acknowledgement reads or raises ClsbpfError."""
    for message in nl.iter_messages(data):
        for type in (nl.NLMSG_ERROR, nl.NLMSG_DONE):
            claimed = Message(type, message.flags, 0, 0, message.payload)
            try:
                nl.read_acknowledgement(claimed)
            except ClsbpfError:
                assert len(message.payload) < 20 or message.flags & nl.NLM_F_ACK_TLVS
