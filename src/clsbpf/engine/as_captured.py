"""Programs that see frames as captured, among others that see them as the kernel has them.

`clsbpf run -e … --object …`: an expression is written for what tcpdump shows, with the VLAN tag in the bytes,
an object's program for the hook.  So such a program gets a packet of its own, made of what there is: the
bytes with the tag in its place again, and none of the metadata that others have left.

`AsCaptured` is that for one packet; a plan has `show_captured`, which makes the second skb.
"""

from __future__ import annotations

from collections.abc import Callable

from ..link import VLAN_HLEN, LinkLayer
from ..skb import Skb
from ..vm.native_skb import At
from ..vm.subset import copy, load_i64, load_u32, native, record_of, store_u8
from .programs import LoadedProgram
from .view import SkbText, View
from .walk_state import State

TAG_AT = 12
"""Where in an Ethernet frame a tag is."""


class AsCaptured:
    """A program that sees frames as captured; `run` gets a packet as the kernel has it."""

    def __init__(self, program: LoadedProgram, link: LinkLayer) -> None:
        self.program = program
        self._link = link

    def run(self, skb: Skb) -> int:
        """The program's answer for the frame with its VLAN tag in the data."""
        frame, length = skb.packet, skb.len
        if skb.vlan_present:
            tag = skb.vlan_proto.to_bytes(2, "big") + skb.vlan_tci.to_bytes(2, "big")
            frame, length = frame[:TAG_AT] + tag + frame[TAG_AT:], length + len(tag)
        captured = Skb.from_frame(frame, length=length, link=self._link)
        captured.ifindex = skb.ifindex
        retval = self.program.run(captured)
        skb.read_past |= captured.read_past
        return retval


@native
def retagged(state: int, skb: int) -> int:
    """The address of the frame with its tag in place: where it is, or a copy."""
    data = load_i64(skb + At.DATA_PTR)
    if load_u32(skb + At.VLAN_PRESENT) == 0:
        return data
    captured = load_i64(skb + At.DATA_END_PTR) - data
    before = captured if captured < TAG_AT else TAG_AT
    frame = load_i64(state + State.RETAGGED)
    copy(frame, data, before)
    tag = frame + before
    kind = load_u32(skb + At.VLAN_PROTO)  # in network order
    store_u8(tag, kind & 0xFF)
    store_u8(tag + 1, kind >> 8 & 0xFF)
    store_u8(tag + 2, load_u32(skb + At.VLAN_TCI) >> 8 & 0xFF)
    store_u8(tag + 3, load_u32(skb + At.VLAN_TCI) & 0xFF)
    copy(tag + VLAN_HLEN, data + before, captured - before)
    return frame


def functions_for(view: View) -> list[Callable[..., object]]:
    """What `show_captured` calls."""
    return [retagged, *as_sent(view).functions]


def as_sent(view: View) -> View:
    """The view that shows frames as they are."""
    return View(view.link, False, view.ifindex)


SHOW = "show_captured"
_PARAMETERS = "i64 %state, i64 %first, ptr %skb"


def show_captured(view: View) -> str:
    """The function that makes the second skb (`skb`) of the first."""
    text = SkbText(as_sent(view), SHOW, "nounwind", parameters=_PARAMETERS)
    text.emit("%state.at = inttoptr i64 %state to ptr", "%vlan = add i64 0, 0")
    text.emit("%first.at = inttoptr i64 %first to ptr")
    for name, at, kind in (
        ("begin", At.DATA_PTR, "i64"),
        ("end", At.DATA_END_PTR, "i64"),
        ("len", At.LEN, "i32"),
        ("tag", At.VLAN_PRESENT, "i32"),
    ):
        text.emit(f"%{name}.at = getelementptr i8, ptr %first.at, i64 {at:d}")
        text.emit(f"%{name} = load {kind}, ptr %{name}.at, align 4")
    text.emit(
        f'%data = call i64 @"{record_of(retagged).symbol}"(i64 %state, i64 %first)',
        "%is.tagged = icmp ne i32 %tag, 0",
        f"%more = select i1 %is.tagged, i64 {VLAN_HLEN}, i64 0",
        "%there = sub i64 %end, %begin",
        "%captured = add i64 %there, %more",
        "%len.wide = zext i32 %len to i64",
        "%length = add i64 %len.wide, %more",
    )
    text.read_frame()
    text.fill_skb()
    text.emit("ret i64 0")
    return text.definition()
