"""What is a run's state?  Registers, frames, memory, and what the program has and must give back.

A run has one `Machine`.  Registers are unsigned 64-bit integers, None before they are written.  A call
between functions gets a frame with a stack of its own, zeroed; a tail call replaces the program in the
frame it is made from.  Pointers to functions are numbers that are no addresses.

A helper that may move the packet does move it here, so that every pointer into the old place is wrong:
what a verifier proves about such pointers (that they are taken again) is then seen to hold, or not.

What instructions do to all this is in interp.py.
"""

from __future__ import annotations

import ctypes
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..bpf.isa import FP, R0, R1, R5, R6, REGISTERS, STACK_BYTES
from ..errors import ProgramFault
from ..profile import KernelProfile
from .arithmetic import U64
from .control import MAX_LOOPS
from .environment import Environment
from .helpers.sockets import show_socket
from .link import LinkedProgram, value_region
from .maps.map import Map, map_at
from .maps.operations import map_lookup
from .memory import Memory, Region, load
from .native_skb import SK_BUFF_BYTES, NativeSkb, relocate

MAX_CALL_FRAMES = 8
STALE_PLACES = 64
"""Old places of the packet that are remembered."""
FUNCTION = 0x7C15B9F000000000
"""The address of a program's first instruction; a pointer to a function is that much more.  Not memory."""


class Returned(Exception):
    """The frame that a run or a callback began with has returned."""


@dataclass(slots=True)
class Frame:
    """One function's activation: its stack, and what its caller gets back when it returns."""

    stack: Region
    memory: ctypes.Array[ctypes.c_char]
    program: LinkedProgram
    """The caller's; a tail call may have replaced the callee's."""
    pc: int
    saved: list[int | None]
    """The caller's r6 to r10."""
    barrier: bool
    """Did Python call it (the run, or a helper its callback)?"""
    may_goto: int
    """How often may_goto will still go on."""


class Machine:
    """One run: registers, frames, memory, and where it is."""

    def __init__(
        self,
        program: LinkedProgram,
        native: NativeSkb,
        environment: Environment,
        profile: KernelProfile,
        step_limit: int,
    ) -> None:
        self.profile = profile
        self.environment = environment
        self.native = native
        self.context = ctypes.addressof(native)
        self.ticks = iter(range(step_limit))
        self.step_limit = step_limit
        self.registers: list[int | None] = [None] * REGISTERS
        self.program = program
        self.insns = program.insns
        self.pc = 0
        self.frames: list[Frame] = []
        self.tail_calls = 0
        self.lock: int | None = None
        self.held: dict[int, str] = {}
        """Addresses that the program must give back before it ends, and what is there."""
        self.holds: Counter[int] = Counter()
        """How often each: a socket is at one address, however often it was looked up."""
        self.dynptrs: dict[int, bytes] = {}
        """What dynptrs hold, by their address."""
        self.records: dict[int, int] = {}
        """Ring buffer records behind dynptrs, by the dynptr's address."""
        self.helper = ""
        self.stacks: list[tuple[Region, ctypes.Array[ctypes.c_char]]] = []
        """The stack of each depth after the first, used again for the next function there."""
        self.stale: deque[tuple[int, object]] = deque()
        """Where the packet was before helpers moved it, and what keeps that place."""
        memory = ctypes.create_string_buffer(STACK_BYTES)
        stack = Region("stack", ctypes.addressof(memory), STACK_BYTES, from_end=True)
        self.memory = Memory(stack, self.packet_region())
        environment.attach(self.memory)
        self.frames.append(Frame(stack, memory, program, 0, [None] * 5, True, MAX_LOOPS))
        self.registers[FP] = stack.end
        if environment.socket is not None:
            native.sk = show_socket(environment.address, environment.socket)
        self.enter(program)
        self.pc = 0

    def execute(self) -> None:
        """Run until the frame that is now on top returns."""
        raise NotImplementedError

    def fault(self, reason: str, register: int | None = None) -> ProgramFault:
        where = f"instruction {self.pc}"
        if self.program.name:
            where += f" of {self.program.name}"
        line = self.program.line_at(self.pc)
        source = None
        if line is not None:
            source = f"{line.file}:{line.line}"
            where += f" ({source}: {line.text})" if line.text else f" ({source})"
        return ProgramFault(f"{where}: {reason}", self.pc, source=source, register=register)

    # frames

    def enter(self, program: LinkedProgram) -> None:
        """Begin a program in the current frame, with the context in r1: the run's first, or a tail call."""
        self.program, self.insns, self.pc = program, program.insns, -1
        self.registers[R0:FP] = [None] * FP
        self.registers[R1] = self.context
        for region in program.regions:
            self.memory.add(region)

    def push(self, target: int, *, barrier: bool) -> None:
        """Begin a function in a frame of its own; r1 to r5 are its arguments."""
        if len(self.frames) == MAX_CALL_FRAMES:
            raise self.fault(f"the {MAX_CALL_FRAMES} functions that may be under way are")
        depth = len(self.frames) - 1
        if depth == len(self.stacks):
            made = ctypes.create_string_buffer(STACK_BYTES)
            self.stacks.append((Region("stack", ctypes.addressof(made), STACK_BYTES, from_end=True), made))
        stack, buffer = self.stacks[depth]
        ctypes.memset(stack.base, 0, STACK_BYTES)
        saved = self.registers[R6 : FP + 1]
        self.frames.append(Frame(stack, buffer, self.program, self.pc, saved, barrier, MAX_LOOPS))
        caller = self.memory.frame
        self.memory.add(Region("caller's stack", caller.base, caller.size, from_end=True))
        self.memory.remove(stack.base)
        self.memory.frame = stack
        self.registers[R0] = None
        self.registers[R6:FP] = [None] * (FP - R6)
        self.registers[FP] = stack.end
        self.pc = target

    def leave(self) -> None:
        """Return to the caller, r0 as it is."""
        frame = self.frames[-1]
        if len(self.frames) > 1:
            self.frames.pop()
            self.memory.frame = self.frames[-1].stack
            self.memory.remove(self.memory.frame.base)
            self.memory.add(
                Region("stack", frame.stack.base, STACK_BYTES, gone="the function that had it has returned")
            )
            self.program, self.insns, self.pc = frame.program, frame.program.insns, frame.pc
            self.registers[R6 : FP + 1] = frame.saved
            self.forget_arguments()
        if frame.barrier:
            raise Returned

    def is_function(self, address: int) -> bool:
        return 0 <= address - FUNCTION < len(self.insns)

    def call_back(self, function: int, arguments: Sequence[int]) -> int:
        """Call a function of the program from a helper: its r0."""
        before = self.registers[R0 : R5 + 1]
        self.registers[R1 : R5 + 1] = [each & U64 for each in arguments] + [None] * (5 - len(arguments))
        self.push((function & U64) - FUNCTION, barrier=True)
        self.execute()
        result = self.read(R0)
        self.registers[R0 : R5 + 1] = before
        return result

    # registers

    def read(self, register: int) -> int:
        if register >= REGISTERS:
            raise self.fault(f"there is no r{register}", register)
        value = self.registers[register]
        if value is None:
            raise self.fault(f"r{register} is read before it is written", register)
        return value

    def write(self, register: int, value: int) -> None:
        if register >= FP:
            raise self.fault("r10 is read-only" if register == FP else f"there is no r{register}", register)
        self.registers[register] = value & U64

    def forget_arguments(self) -> None:
        """A call, and LD_ABS, leave r1 to r5 unreadable."""
        self.registers[R1 : R5 + 1] = [None] * 5

    # what is taken and given back

    def take(self, address: int, region: Region) -> None:
        """The program has something that it must give back."""
        self.memory.add(region)
        self.hold(address, f"a {region.name}")

    def hold(self, address: int, what: str) -> None:
        """What is at an address is to be given back, once more."""
        self.held[address] = what
        self.holds[address] += 1

    def give_back(self, address: int, helper: str) -> None:
        """It has done so, and may not touch it any more."""
        if address not in self.held:
            raise self.fault(f"{helper}: there is nothing to give back at {address:#x}")
        self.holds[address] -= 1
        if self.holds[address]:
            return
        del self.held[address]
        region = self.memory.remove(address)
        if region is not None:
            gone = f"{helper} gave it back"
            self.memory.add(Region(region.name, region.base, region.size, gone=gone))

    def take_dynptr(self, dynptr: int) -> None:
        """A ring buffer record behind a dynptr."""
        record, size = load(dynptr, 8), load(dynptr + 8, 4) & 0xFFFFFF
        self.take(record, Region("ring buffer record", record, size))
        self.records[dynptr] = record

    def give_back_dynptr(self, dynptr: int, helper: str) -> None:
        """The record of a dynptr, if it has one."""
        record = self.records.pop(dynptr, None)
        if record is not None:
            self.give_back(record, helper)

    # maps and regions

    def map(self, address: int) -> Map:
        """The map that an argument is, which was checked."""
        found = map_at(address & U64)
        if found is None:
            raise self.fault(f"{address & U64:#x} is not a map")
        return found

    def lookup(self, map: int, key: int) -> int:
        """A value for the program, which may touch it from now on."""
        value = map_lookup(map, key)
        if value:
            self.learn_value(map, value)
        return value

    def learn_value(self, map: int, value: int) -> None:
        """Let the program touch a value that it looked up."""
        found = self.map(map)
        if map_at(value) is None and self.memory.at(value) is None:
            self.memory.add(value_region(found, value))

    def text(self, address: int, room: int) -> bytes | None:
        """The string at an address, without its end; None where there is no end in `room` bytes."""
        found = ctypes.string_at(address, room)
        end = found.find(0)
        return None if end < 0 else found[:end]

    def packet_region(self) -> Region:
        native = self.native
        return Region("packet", native.data_ptr, native.data_end_ptr - native.data_ptr)

    def move_packet(self, helper: str) -> None:
        """bpf_helper_changes_pkt_data(): pointers into the packet are worthless from now on."""
        old = self.memory.packet
        self.stale.append((old.base, relocate(self.native, 0, 0)))
        self.memory.packet = self.packet_region()
        if len(self.stale) > STALE_PLACES:
            self.memory.remove(self.stale.popleft()[0])
        if old.size:
            gone = f"this pointer into the packet was taken before {helper}, which may move the packet"
            self.memory.add(Region("packet", old.base, old.size, gone=gone))

    def in_context(self, address: int) -> bool:
        return self.context <= address < self.context + SK_BUFF_BYTES
