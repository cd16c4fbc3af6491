"""The native skb: where its fields are, and that filling and taking back lose nothing."""

from __future__ import annotations

import ctypes

import pytest

from clsbpf.bpf.context import BY_NAME, CONTEXT_BYTES, FIELDS
from clsbpf.skb import Skb, receive
from clsbpf.vm.environment import Environment, EnvironmentAt, NativeEnvironment
from clsbpf.vm.native_skb import NATIVE_SKB_BYTES, POINTERS, SK_BUFF_BYTES, At, NativeSkb, fill, take_back

FRAME = bytes(range(40))


def filled(skb: Skb) -> NativeSkb:
    native = NativeSkb()
    fill(skb, native, Environment().address)
    return native


def test_the_image_of_sk_buff_is_the_models() -> None:
    assert SK_BUFF_BYTES == CONTEXT_BYTES
    assert {f.name: f.offset for f in FIELDS} == {
        name: getattr(NativeSkb, name).offset for name, *_ in NativeSkb._fields_ if name in BY_NAME
    }


def test_the_offsets_have_their_fields() -> None:
    assert ctypes.sizeof(NativeSkb) >= NATIVE_SKB_BYTES == At.END_PTR
    assert {at.name.lower(): at.value for at in At} == {
        at.name.lower(): getattr(NativeSkb, at.name.lower()).offset for at in At
    }
    assert {at.name.lower(): at.value for at in EnvironmentAt} == {
        name: getattr(NativeEnvironment, name).offset for name, _ in NativeEnvironment._fields_
    }


def test_pointer_fields_are_the_models() -> None:
    reads_as_address = {f.offset for f in FIELDS if f.pointer and f.readable and f.size == 4}
    assert set(POINTERS) == reads_as_address


def test_the_packet_is_where_the_addresses_say() -> None:
    native = filled(Skb.from_frame(FRAME, length=100))
    captured = native.data_end_ptr - native.data_ptr
    assert ctypes.string_at(native.data_ptr, captured) == FRAME
    assert (native.len, captured, native.net_off, native.mac_off) == (100, 40, 14, 0)
    assert native.data_ptr - native.head_ptr == 256


def test_at_ingress_before_the_push() -> None:
    skb = receive(FRAME)
    assert skb is not None
    native = filled(skb)
    assert (native.len, native.net_off, native.mac_off) == (26, 0, -14)


def test_a_header_that_was_not_captured_leaves_nothing_to_read() -> None:
    skb = receive(FRAME[:10], length=40)
    assert skb is not None
    native = filled(skb)
    assert native.data_end_ptr == native.data_ptr
    assert native.len == 26


def test_protocols_are_in_network_order() -> None:
    skb = Skb.from_frame(bytes(12) + b"\x08\x00" + bytes(20))
    skb.vlan_proto = 0x88A8
    native = filled(skb)
    assert bytes(native)[16:18] == b"\x08\x00"
    assert bytes(native)[28:30] == b"\x88\xa8"


WRITABLE = ["mark", "queue_mapping", "priority", "tc_index", "tc_classid", "tstamp"]


@pytest.mark.parametrize("name", WRITABLE)
def test_what_a_program_may_write_comes_back(name: str) -> None:
    skb = Skb.from_frame(FRAME)
    native = filled(skb)
    setattr(native, name, 0x1234)
    take_back(native, skb)
    assert getattr(skb, name) == 0x1234


def test_the_writable_fields_are_the_models() -> None:
    assert sorted([*WRITABLE, "cb"]) == sorted(f.name for f in FIELDS if f.writable)


def test_cb_and_read_past_come_back() -> None:
    skb = Skb.from_frame(FRAME)
    native = filled(skb)
    native.cb[:] = [1, 2, 3, 4, 5]
    native.read_past = 1
    take_back(native, skb)
    assert skb.cb == [1, 2, 3, 4, 5]
    assert skb.read_past


def test_the_buffer_stays_in_place_until_taken_back() -> None:
    skb = Skb.from_frame(FRAME)
    native = filled(skb)
    with pytest.raises(BufferError):
        skb.buffer.append(0)
    take_back(native, skb)
    skb.buffer.append(0)
