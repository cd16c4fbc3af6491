"""From which side of a device do filters see packets?  `View`, and the skb that it gives them.

`SkbText` writes, as LLVM IR, what the kernel has done with a packet by the time a filter runs: the
fields of the skb as `skb.receive` (or at egress `Skb.from_frame`) have them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

from ..link import VLAN_HLEN, LinkLayer
from ..skb import HEADROOM
from ..vm import subset
from ..vm.native_skb import NATIVE_SKB_BYTES, At, NativeSkb
from .frames import pkt_type_function, protocol_function
from .walk import classify
from .walk_state import State


@dataclass(frozen=True, slots=True)
class View:
    """One side of a device, and what the device says of itself."""

    link: LinkLayer
    at_ingress: bool
    ifindex: int = 1

    @property
    def untags(self) -> bool:
        """Is the outermost VLAN tag taken out of the data?"""
        return self.at_ingress and self.link.is_ethernet

    @property
    def functions(self) -> tuple[Callable[[int, int], int], Callable[[int, int], int]]:
        """The native functions that read the protocol and PACKET_* off a frame."""
        at_ingress = self.at_ingress
        return (
            protocol_function(self.link, at_ingress=at_ingress),
            pkt_type_function(self.link, at_ingress=at_ingress),
        )


class SkbText:
    """Lines of IR inside `classify` (engine/walk.py), and the skb that they make.

    `whole`: all of it, as extended programs and actions may want; else the part that classic programs see.
    `parameters` are another function's than `classify`'s.
    """

    def __init__(
        self,
        view: View,
        symbol: str = "",
        attributes: str = "alwaysinline nounwind",
        *,
        whole: bool = False,
        parameters: str = "",
    ) -> None:
        self.view = view
        self.symbol = symbol or subset.record_of(classify).symbol
        self.attributes = attributes
        self.whole = whole
        self.size = ctypes.sizeof(NativeSkb) if whole else NATIVE_SKB_BYTES
        self.parameters = parameters or PARAMETERS
        self.lines: list[str] = []
        self._stored = 0

    def emit(self, *lines: str) -> None:
        """Append lines."""
        self.lines += lines

    def definition(self) -> str:
        """`classify`, or what `symbol` calls it, as a whole."""
        head = f'define internal i64 @"{self.symbol}"({self.parameters}) {self.attributes} {{'
        return "\n".join([head, *self.lines, "}", ""])

    def place_skb(self, *, fixed: bool = False) -> None:
        """%skb, and %skb.int, its address: the walk's own memory, or where Python finds it (State.SKB)."""
        self.emit("%state.at = inttoptr i64 %state to ptr")
        if fixed:
            self.load_state("skb.int", State.SKB)
            self.emit("%skb = inttoptr i64 %skb.int to ptr")
        else:
            self.emit(f"%skb = alloca [{self.size} x i8], align 16", "%skb.int = ptrtoint ptr %skb to i64")

    def load_state(self, name: str, cell: State) -> None:
        """%name: a cell of the walk's state."""
        self.emit(
            f"%{name}.at = getelementptr i8, ptr %state.at, i64 {cell:d}",
            f"%{name} = load i64, ptr %{name}.at, align 8",
        )

    def store_state(self, cell: State, value: int) -> None:
        """A cell of the walk's state is this from here on."""
        self._stored += 1
        self.emit(
            f"%cell{self._stored} = getelementptr i8, ptr %state.at, i64 {cell:d}",
            f"store i64 {value}, ptr %cell{self._stored}, align 8",
        )

    def unless_faulted(self, otherwise: str) -> None:
        """Go on here unless something went wrong in Python with this packet; then at another label."""
        self._stored += 1
        here = f"fault{self._stored}"
        self.emit(
            f"%{here}.at = getelementptr i8, ptr %state.at, i64 {State.FAULTED:d}",
            f"%{here}.is = load i64, ptr %{here}.at, align 8",
            f"%{here}.no = icmp eq i64 %{here}.is, 0",
            f"br i1 %{here}.no, label %{here}.go, label %{otherwise}",
            f"{here}.go:",
        )

    def read_frame(self) -> None:
        """%protocol, and %outer: what a classifier's protocol is compared with (tc_skb_protocol)."""
        protocol, _ = self.view.functions
        self.emit(
            f'%protocol = call i64 @"{subset.record_of(protocol).symbol}"(i64 %data, i64 %captured)',
            "%tagged = lshr i64 %vlan, 32",
            "%vlan.type = lshr i64 %vlan, 16",
            "%vlan.proto = and i64 %vlan.type, 65535",
            "%tci = and i64 %vlan, 65535",
            "%has.tag = icmp ne i64 %tagged, 0",
            "%outer = select i1 %has.tag, i64 %vlan.proto, i64 %protocol",
        )

    def fill_skb(self) -> None:
        """Store the packet's fields into %skb; what is not stored is 0."""
        _, pkt_type = self.view.functions
        header = self.view.link.header_len
        self.emit(
            f"call void @llvm.memset.p0.i64(ptr %skb, i8 0, i64 {self.size}, i1 false)",
            f'%pkt_type = call i64 @"{subset.record_of(pkt_type).symbol}"(i64 %data, i64 %captured)',
            "%data.end = add i64 %data, %captured",
            f"%short = icmp ult i64 %captured, {header}",
            f"%net = select i1 %short, i64 %captured, i64 {header}",
        )
        wire = "%length"
        if self.view.at_ingress:
            self.emit(f"%wire = sub i64 %length, {header}")
            wire = "%wire"
        ifindex = str(self.view.ifindex)
        more: list[tuple[At, str]] = []
        if self.whole:
            more = [(At.MAC_LEN, str(header)), (At.AT_INGRESS, str(int(self.view.at_ingress)))]
        for at, value in (
            *more,
            (At.LEN, "%length"),
            (At.PKT_TYPE, "%pkt_type"),
            (At.VLAN_PRESENT, "%tagged"),
            (At.VLAN_TCI, "%tci"),
            (At.IFINDEX, ifindex),
            (At.INGRESS_IFINDEX, ifindex if self.view.at_ingress else "0"),
            (At.WIRE_LEN, wire),
            (At.NET_OFF, "%net"),
            (At.HATYPE, str(self.view.link.hatype)),
        ):
            self._store_u32(at, value)
        for at, value in ((At.PROTOCOL, "%protocol"), (At.VLAN_PROTO, "%vlan.proto")):
            self.emit(
                f"{value}.16 = trunc i64 {value} to i16",
                f"{value}.be = call i16 @llvm.bswap.i16(i16 {value}.16)",
                f"{value}.net = zext i16 {value}.be to i64",
            )
            self._store_u32(at, f"{value}.net")
        self.load_state("environment", State.ENVIRONMENT)
        if self.whole:
            # Where the tag was taken out there is so much more room.
            self.emit(
                f"%room = select i1 %has.tag, i64 {HEADROOM + VLAN_HLEN}, i64 {HEADROOM}",
                "%head = sub i64 %data, %room",
            )
            more = [(At.END_PTR, "%data.end")]
        for at, value in (
            *more,
            (At.DATA_PTR, "%data"),
            (At.DATA_END_PTR, "%data.end"),
            (At.DATA_META_PTR, "%data"),
            (At.HEAD_PTR, "%head" if self.whole else "%data"),
            (At.ENVIRONMENT, "%environment"),
        ):
            self.emit(
                f"%a{at:d} = getelementptr i8, ptr %skb, i64 {at:d}",
                f"store i64 {value}, ptr %a{at:d}, align 8",
            )

    def _store_u32(self, at: At, value: str) -> None:
        self.emit(
            f"%a{at:d} = getelementptr i8, ptr %skb, i64 {at:d}",
            f"%n{at:d} = trunc i64 {value} to i32",
            f"store i32 %n{at:d}, ptr %a{at:d}, align 4",
        )

    def return_outcome(self, read_past_shift: int) -> None:
        """Return %outcome, with the bit that says whether a program read past what was captured."""
        self.emit(
            f"%past.at = getelementptr i8, ptr %skb, i64 {At.READ_PAST:d}",
            "%past = load i32, ptr %past.at, align 4",
            "%past.wide = zext i32 %past to i64",
            f"%past.bit = shl i64 %past.wide, {read_past_shift}",
            "%result = or i64 %outcome, %past.bit",
            "ret i64 %result",
        )


PARAMETERS = "i64 %state, i64 %data, i64 %captured, i64 %length, i64 %vlan"
"""Those of `classify`."""
DECLARES = (
    "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
    "declare i16 @llvm.bswap.i16(i16)",
)
"""The intrinsics that `SkbText` uses."""
