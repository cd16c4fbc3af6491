"""How does a capture go by, record for record, without Python?

A *walk* goes through the records in one window of a capture (a stretch of the file in memory), has
each frame classified and counted, and writes a row for it if rows are wanted.  It is native code: the
functions below are of the subset that `vm/subset.py` compiles, and the plan (engine/plan.py) supplies
`classify`, the block of filters, which is inlined here.  capture/ has the definition of each format;
what a walk does not know, damage included, it leaves to that (`Stop.PYTHON`).
"""

from __future__ import annotations

import ctypes
import os

from ..capture.pcapng import ENHANCED_PACKET, OBSOLETE_PACKET, SIMPLE_PACKET
from ..link import ETH_HLEN, ETH_P_8021AD, ETH_P_8021Q, VLAN_HLEN
from ..skb import UNTAG_MIN_LEN
from ..vm.subset import (
    copy,
    external,
    load_be16,
    load_i64,
    load_u16,
    load_u32,
    native,
    prefetch,
    shift_right,
    store_i64,
    store_u32,
    swap16,
    swap32,
    udiv,
    umod,
    wrap,
)
from .clock import begin_packet
from .walk_state import (
    CLASS_ENTRY,
    CLASS_LIMIT,
    CLASS_SLOTS,
    CLASSID_MASK,
    FILTER_ENTRY,
    FILTER_SHIFT,
    PORT_BYTES,
    READ_PAST_SHIFT,
    UNDECIDED,
    VERDICT_MASK,
    VERDICT_SHIFT,
    Port,
    State,
    Stop,
    TimeRule,
)

# Counting -----------------------------------------------------------------------------------------


@native
def count_class(state: int, classid: int, length: int) -> None:
    """Count a packet for a classid that is known only when the program has run: an open hash table."""
    table = load_i64(state + State.CLASSES)
    slot = wrap(classid * 0x9E3779B1) >> 16 & (CLASS_SLOTS - 1)
    while True:
        entry = table + slot * CLASS_ENTRY
        found = load_i64(entry)
        if found == classid:
            break
        if found == 0:
            store_i64(entry, classid)
            store_i64(state + State.CLASSES_USED, load_i64(state + State.CLASSES_USED) + 1)
            break
        slot = (slot + 1) & (CLASS_SLOTS - 1)
    store_i64(entry + 8, load_i64(entry + 8) + 1)
    store_i64(entry + 16, load_i64(entry + 16) + length)


@native(inline=True)
def account(filters: int, verdicts: int, outcome: int, length: int) -> None:
    """Add a packet to the counters of its filter and verdict."""
    entry = filters + (outcome >> FILTER_SHIFT) * FILTER_ENTRY
    store_i64(entry, load_i64(entry) + 1)
    store_i64(entry + 8, load_i64(entry + 8) + length)
    verdict = verdicts + (outcome >> VERDICT_SHIFT & VERDICT_MASK) * 8
    store_i64(verdict, load_i64(verdict) + 1)


@native
def write_row(state: int, outcome: int, time: int, length: int, address: int, captured: int) -> None:
    """Append the packet to the rows."""
    row = load_i64(state + State.ROW)
    store_i64(load_i64(state + State.ROW_TIME) + row * 8, time)
    store_u32(load_i64(state + State.ROW_LENGTH) + row * 4, length)
    store_i64(load_i64(state + State.ROW_OUTCOME) + row * 8, outcome)
    store_i64(load_i64(state + State.ROW_ADDRESS) + row * 8, address)
    store_u32(load_i64(state + State.ROW_CAPTURED) + row * 4, captured)
    store_i64(state + State.ROW, row + 1)


@native
def stop_before(state: int) -> int:
    """Is there no room for the next packet's row or class?  Then the reason, else 0."""
    capacity = load_i64(state + State.ROW_CAPACITY)
    if capacity != 0 and load_i64(state + State.ROW) >= capacity:
        return Stop.ROWS_FULL
    if load_i64(state + State.CLASSES_USED) >= CLASS_LIMIT:
        return Stop.CLASSES_FULL
    return 0


# Frames -------------------------------------------------------------------------------------------


@external
def classify(state: int, data: int, captured: int, length: int, vlan: int) -> int:
    """The block of filters: a frame (tag taken out where the hook says so) to its outcome.

    `vlan` is 0, or bit 32 with the tag's type in bits 31 … 16 and its tci in bits 15 … 0.
    """
    raise NotImplementedError("a plan supplies it")


@native(cold=True)
def untag(scratch: int, frame: int, captured: int) -> int:
    """skb_vlan_untag() into a scratch buffer; the tag, as `classify` takes it."""
    copy(scratch, frame, ETH_HLEN - 2)
    rest = ETH_HLEN - 2 + VLAN_HLEN
    copy(scratch + ETH_HLEN - 2, frame + rest, captured - rest)
    return 1 << 32 | load_be16(frame + ETH_HLEN - 2) << 16 | load_be16(frame + ETH_HLEN)


@native(inline=True)
def is_tagged(frame: int) -> int:
    """Does the frame begin with a tag that the kernel takes out?"""
    kind = load_u16(frame + ETH_HLEN - 2)
    return kind in (SWAPPED_8021Q, SWAPPED_8021AD)


SWAPPED_8021Q = swap16(ETH_P_8021Q)
SWAPPED_8021AD = swap16(ETH_P_8021AD)


@native(inline=True)
def decide(state: int, minimum: int, untags: int, frame: int, captured: int, length: int) -> int:
    """A frame as captured → its outcome.  Mirrors `skb.receive`, or where UNTAG is 0 `Skb.from_frame`."""
    if length < minimum:
        return UNDECIDED
    vlan = 0
    if untags != 0 and captured >= ETH_HLEN and is_tagged(frame):
        if length < UNTAG_MIN_LEN:
            return UNDECIDED
        if captured >= ETH_HLEN + VLAN_HLEN:
            scratch = load_i64(state + State.SCRATCH)
            vlan = untag(scratch, frame, captured)
            frame = scratch
            captured -= VLAN_HLEN
            length -= VLAN_HLEN
    return classify(state, frame, captured, length, vlan)


@native
def keep_packet(state: int, outcome: int, length: int, time: int, frame: int, captured: int) -> None:
    """Write the packet's row and count its class, where such are wanted."""
    if load_i64(state + State.ROW_CAPACITY):
        write_row(state, outcome, time, length, frame, captured)
    if load_i64(state + State.CLASSES) != 0 and outcome & CLASSID_MASK != 0:
        count_class(state, outcome & CLASSID_MASK, length)


@native(inline=True)
def keeps_packets(state: int) -> int:
    """Are rows or classes wanted, so that each packet has to be kept?  If not, a walk is a third faster."""
    return load_i64(state + State.ROW_CAPACITY) != 0 or load_i64(state + State.CLASSES) != 0


# pcap ---------------------------------------------------------------------------------------------

NS = 1_000_000_000


USUAL_RECORD_HEADER = 16
"""struct pcap_sf_pkthdr."""
CACHE_LINE = 64


@native
def walk_pcap(state: int) -> int:
    """Walk the records of a pcap window; returns a `Stop`.  Mirrors `capture.pcap.PcapReader.take`."""
    return walk_records(
        state,
        load_i64(state + State.SWAPPED),
        load_i64(state + State.RECORD_HEADER),
        load_i64(state + State.CAPTURED_AT),
        load_i64(state + State.LENGTH_AT),
        load_i64(state + State.SMALLER_IS_CAPTURED),
        keeps_packets(state),
        load_i64(state + State.WATCHES),
    )


@native(apart=True)
def count_pcap(state: int) -> int:
    """`walk_pcap` for the usual: records as this machine writes them, of which only counts are wanted."""
    return walk_records(state, 0, USUAL_RECORD_HEADER, 8, 12, 0, 0, 0)


@external
def read_at(descriptor: int, address: int, count: int, offset: int) -> int:
    """pread(2): bytes of a file into memory; how many, negative where that failed."""
    data = os.pread(descriptor, count, offset)
    ctypes.memmove(address, data, len(data))
    return len(data)


@native
def count_file(state: int) -> int:
    """`count_pcap` over the records of a file that begin in [OFFSET, LIMIT), as far as that goes.

    It leaves OFFSET where it got to: LIMIT, or a record for somebody else (an unusual one, one longer
    than the buffer, one that reaches over LIMIT or over the file's end).
    """
    descriptor = load_i64(state + State.FILE)
    buffer = load_i64(state + State.BUFFER)
    size = load_i64(state + State.BUFFER_BYTES)
    limit = load_i64(state + State.LIMIT)
    offset = load_i64(state + State.OFFSET)
    while offset < limit:
        count = read_at(descriptor, buffer, size, offset)
        if count <= 0:
            break
        shown = count if count < limit - offset else limit - offset
        store_i64(state + State.CURSOR, buffer)
        store_i64(state + State.END, buffer + shown)
        stop = count_pcap(state)
        taken = load_i64(state + State.CURSOR) - buffer
        offset += taken
        if stop != Stop.MORE or taken == 0:
            break
    store_i64(state + State.OFFSET, offset)
    return offset


@native(inline=True)
def walk_records(
    state: int,
    swapped: int,
    header: int,
    captured_at: int,
    length_at: int,
    either: int,
    keeps: int,
    watched: int,
) -> int:
    """The walk over records; what its callers give as constants, LLVM takes out of the loop."""
    cursor = load_i64(state + State.CURSOR)
    end = load_i64(state + State.END)
    ahead = load_i64(state + State.AHEAD)
    asked = cursor if ahead else end + header
    max_captured = load_i64(state + State.MAX_CAPTURED)
    snap_limit = load_i64(state + State.SNAP_LIMIT)
    fraction_ns = load_i64(state + State.FRACTION_NS)
    filters = load_i64(state + State.FILTERS)
    verdicts = load_i64(state + State.VERDICTS)
    minimum = load_i64(state + State.MINIMUM)
    untags = load_i64(state + State.UNTAG)
    packets = 0
    total = 0
    truncated = 0
    stop: int = Stop.MORE
    while cursor + header <= end:
        while asked < cursor + ahead:
            prefetch(asked)
            asked += CACHE_LINE
        captured = load_u32(cursor + captured_at)
        length = load_u32(cursor + length_at)
        seconds = load_u32(cursor)
        fraction = load_u32(cursor + 4)
        if swapped:
            captured = swap32(captured)
            length = swap32(length)
            seconds = swap32(seconds)
            fraction = swap32(fraction)
        if either and captured > length:
            other = captured
            captured = length
            length = other
        if captured > max_captured:
            stop = Stop.PYTHON
            break
        frame = cursor + header
        following = frame + captured
        if following > end:
            break
        if keeps:
            stop = stop_before(state)
            if stop:
                break
        if watched:
            begin_packet(state, seconds * NS + fraction * fraction_ns)
        captured = captured if captured < snap_limit else snap_limit
        length = length if length > captured else captured
        outcome = decide(state, minimum, untags, frame, captured, length)
        if watched and load_i64(state + State.FAULTED):
            stop = Stop.FAULT
            break
        account(filters, verdicts, outcome, length)
        if keeps:
            keep_packet(state, outcome, length, seconds * NS + fraction * fraction_ns, frame, captured)
        truncated += outcome >> READ_PAST_SHIFT & 1
        packets += 1
        total += length
        cursor = following
    store_i64(state + State.CURSOR, cursor)
    store_i64(state + State.PACKETS, load_i64(state + State.PACKETS) + packets)
    store_i64(state + State.BYTES, load_i64(state + State.BYTES) + total)
    store_i64(state + State.TRUNCATED, load_i64(state + State.TRUNCATED) + truncated)
    return stop


# pcapng -------------------------------------------------------------------------------------------

LAST_SECOND = 9_223_372_036
LAST_FRACTION = 854_775_807
FIRST_SECOND = -9_223_372_037
FIRST_FRACTION = 145_224_192


@native
def fraction_ns(port: int, fraction: int) -> int:
    """Nanoseconds of a fraction of a second in ticks, rounded down (`Interface.time_ns`)."""
    rule = load_i64(port + Port.RULE)
    factor = load_i64(port + Port.FACTOR)
    if rule == TimeRule.MULTIPLY:
        return fraction * factor
    if rule == TimeRule.DIVIDE:
        return udiv(fraction, factor)
    if factor <= 32:
        return shift_right(fraction * NS, factor)
    low = shift_right((fraction & 0xFFFFFFFF) * NS, 32)
    return shift_right(shift_right(fraction, 32) * NS + low, factor - 32)


@native
def time_of(port: int, ticks: int) -> int:
    """A time stamp (64 bits, unsigned) as nanoseconds, held within 64 signed bits (`clamp_time`)."""
    per_second = load_i64(port + Port.TICKS)
    seconds = udiv(ticks, per_second)
    fraction = fraction_ns(port, umod(ticks, per_second))
    offset = load_i64(port + Port.OFFSET_SECONDS)
    total = wrap(seconds + offset)
    if (total < 0 and (offset >= 0 or seconds < 0)) or (offset >= 0 and seconds < 0):
        return 0x7FFFFFFFFFFFFFFF  # seconds are unsigned: the sum is 2**63 or more
    seconds = total
    if seconds > LAST_SECOND or (seconds == LAST_SECOND and fraction > LAST_FRACTION):
        return 0x7FFFFFFFFFFFFFFF
    if seconds < FIRST_SECOND or (seconds == FIRST_SECOND and fraction < FIRST_FRACTION):
        return -0x8000000000000000
    if seconds < 0:
        return (seconds + 1) * NS + (fraction - NS)
    return seconds * NS + fraction


@native(inline=True)
def read_u32(address: int, swapped: int) -> int:
    """A 32-bit number in the section's byte order."""
    value = load_u32(address)
    return swap32(value) if swapped else value


PACKET_AT = 28
"""Where an enhanced packet block has its packet; the obsolete block has it there, too."""
SIMPLE_PACKET_AT = 12


@native
def walk_pcapng(state: int) -> int:
    """Walk the blocks of a pcapng window; returns a `Stop`.  Mirrors `capture.pcapng.PcapngReader.take`.

    Whatever is not a sound packet block of a known interface is left to Python.
    """
    cursor = load_i64(state + State.CURSOR)
    end = load_i64(state + State.END)
    swapped = load_i64(state + State.SWAPPED)
    block_limit = load_i64(state + State.BLOCK_LIMIT)
    ports = load_i64(state + State.PORTS)
    port_count = load_i64(state + State.PORT_COUNT)
    link_type = load_i64(state + State.LINK_TYPE)
    filters = load_i64(state + State.FILTERS)
    verdicts = load_i64(state + State.VERDICTS)
    minimum = load_i64(state + State.MINIMUM)
    untags = load_i64(state + State.UNTAG)
    keeps = keeps_packets(state)
    watched = load_i64(state + State.WATCHES)
    packets = 0
    total = 0
    truncated = 0
    stop: int = Stop.MORE
    while cursor + 12 <= end:
        kind = read_u32(cursor, swapped)
        size = read_u32(cursor + 4, swapped)
        stop = Stop.PYTHON
        if kind not in (ENHANCED_PACKET, SIMPLE_PACKET, OBSOLETE_PACKET):
            break
        start = SIMPLE_PACKET_AT if kind == SIMPLE_PACKET else PACKET_AT
        if size & 3 or size < start + 4 or size > block_limit:
            break
        following = cursor + size
        if following > end:
            stop = Stop.MORE
            break
        if read_u32(following - 4, swapped) != size:
            break
        number = 0
        if kind == ENHANCED_PACKET:
            number = read_u32(cursor + 8, swapped)
        elif kind == OBSOLETE_PACKET:
            number = load_u16(cursor + 8)
            number = swap16(number) if swapped else number
        if number >= port_count:
            break
        port = ports + number * PORT_BYTES
        snap_limit = load_i64(port + Port.SNAP_LIMIT)
        time = 0
        if kind == SIMPLE_PACKET:
            length = read_u32(cursor + 8, swapped)
            captured = length if length < snap_limit else snap_limit
        else:
            captured = read_u32(cursor + 20, swapped)
            length = read_u32(cursor + 24, swapped)
        if captured > load_i64(port + Port.MAX_CAPTURED) or captured > size - start - 4:
            break
        if load_i64(port + Port.LINK_TYPE) != link_type:
            store_i64(state + State.NEXT_LINK_TYPE, load_i64(port + Port.LINK_TYPE))
            stop = Stop.LINK_CHANGE
            break
        stop = Stop.MORE
        if keeps:
            stop = stop_before(state)
            if stop:
                break
        if (keeps or watched) and kind != SIMPLE_PACKET:
            high = read_u32(cursor + 12, swapped)
            time = time_of(port, wrap(high << 32) | read_u32(cursor + 16, swapped))
        if watched:
            begin_packet(state, time)
        captured = captured if captured < snap_limit else snap_limit
        length = length if length > captured else captured
        outcome = decide(state, minimum, untags, cursor + start, captured, length)
        if watched and load_i64(state + State.FAULTED):
            stop = Stop.FAULT
            break
        account(filters, verdicts, outcome, length)
        if keeps:
            keep_packet(state, outcome, length, time, cursor + start, captured)
        truncated += outcome >> READ_PAST_SHIFT & 1
        packets += 1
        total += length
        cursor = following
    store_i64(state + State.CURSOR, cursor)
    store_i64(state + State.PACKETS, load_i64(state + State.PACKETS) + packets)
    store_i64(state + State.BYTES, load_i64(state + State.BYTES) + total)
    store_i64(state + State.TRUNCATED, load_i64(state + State.TRUNCATED) + truncated)
    return stop
