"""A program of examples/programs in the interpreter, set up as the kernel's is in kernel_story.py."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import struct
from collections.abc import Callable, Iterator, Sequence

from clsbpf.api import make_skb, make_socket
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import MapRef, MapSpec, ObjectSpec, ProgramRef, ProgramSpec
from clsbpf.engine.programs import Backend
from clsbpf.errors import MapError
from clsbpf.kernel.maps import possible_cpus
from clsbpf.skb import Skb
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.verifier.verify import verify
from clsbpf.vm.environment import Environment
from clsbpf.vm.interp import run
from clsbpf.vm.link import LinkedProgram, link
from clsbpf.vm.maps.map import Map
from clsbpf.vm.maps.perf import SAMPLE_HEAD, PerfBuffer, PerfBufferAt
from clsbpf.vm.maps.ringbuf import HEAD, consume, next_record
from clsbpf.vm.native_program import native_of
from program_cases import Case, u32
from program_labs import LABS
from program_story import CONTEXT, Elements, Step, Story, compared, contents_of

PERF_BYTES = 1 << 17


class Ours:
    """The object's maps and programs, in this process."""

    def __init__(self, case: Case, spec: ObjectSpec, *, verified: bool = False) -> None:
        self.spec = spec
        self.verified = verified
        self.maps = {name: self.make(each) for name, each in spec.maps.items()}
        self.linked: dict[str, LinkedProgram] = {}
        self.inner: dict[str, Map] = {}
        contents = contents_of(case, spec)
        for name, map in self.maps.items():
            for key, value in map.spec.contents:
                if isinstance(value, ProgramRef):
                    map.put(key, self.program(value.name))
                elif isinstance(value, MapRef):
                    map.put(key, self.maps[value.name])
            for key, element in {**contents.get(name, {}), **case.devices.get(name, {})}.items():
                map.update(key, element)
            if spec.maps[name].frozen:
                map.freeze()
        for name, slots in case.programs.items():
            for slot, program in slots.items():
                self.maps[name].put(u32(slot), self.program(program))
        for name, values in case.queues.items():
            for element in values:
                self.maps[name].update(None, element)
        for name, tenants in case.tenants.items():
            inner = spec.maps[name].inner
            assert inner is not None
            for tenant in tenants:
                held = self.inner[f"{name}[{tenant}]"] = Map(inner)
                self.maps[name].put(u32(tenant), held)
        self.readers = {
            name: PerfBuffer(PERF_BYTES)
            for name, map in self.maps.items()
            if map.spec.type == MapType.PERF_EVENT_ARRAY
        }
        for name, reader in self.readers.items():
            self.maps[name].put(u32(0), reader)

    @staticmethod
    def make(spec: MapSpec) -> Map:
        return Map(dataclasses.replace(spec, frozen=False), cpus=possible_cpus())

    def program(self, name: str) -> LinkedProgram:
        if name not in self.linked:
            program = self.spec.program(name)
            verdict = verdict_of(program, self.spec.btf) if self.verified else None
            self.linked[name] = link(program, self.maps, verdict)
        return self.linked[name]


def our_story(
    case: Case, spec: ObjectSpec, packets: Sequence[bytes], backend: Backend = Backend.INTERPRETER
) -> Story:
    ours = Ours(case, spec, verified=backend is Backend.JIT)
    program = ours.program(case.program)
    run = runner(program, backend)
    environment = Environment(seed=1, ktime_ns=10**12, net=LABS[case.lab].net())
    environment.native.tai_offset_ns = 37 * 10**9
    steps = []
    for packet in packets:
        skb = make_skb(packet, case.fields)
        environment.socket = make_socket(packet)
        retval = run(skb, environment)
        fields = {name: list(skb.cb) if name == "cb" else getattr(skb, name) for name in CONTEXT}
        steps.append(Step(retval, skb.packet, fields))
    maps = {name: our_elements(ours, name) for name, each in spec.maps.items() if compared(case, each)}
    maps |= {name: pairs(map) for name, map in ours.inner.items()}
    return Story(steps, maps)


_VERDICTS: dict[int, tuple[ProgramSpec, VerifiedProgram]] = {}


def verdict_of(program: ProgramSpec, btf: object) -> VerifiedProgram:
    """What the verifier makes of a program, asked once."""
    found = _VERDICTS.get(id(program))
    if found is None:
        found = _VERDICTS[id(program)] = program, verify(program, btf=btf)
    return found[1]


def runner(program: LinkedProgram, backend: Backend) -> Callable[[Skb, Environment], int]:
    """What runs it."""
    if backend is Backend.INTERPRETER:
        return lambda skb, environment: run(program, skb, environment=environment)
    return native_of(program).run


def our_elements(ours: Ours, name: str) -> Elements:
    """What is in a map of ours, as the kernel's is read."""
    map = ours.maps[name]
    if name in ours.readers:
        return [sample + bytes(-(len(sample) + 4) % 8) for sample in samples(ours.readers[name])]
    if map.spec.type == MapType.RINGBUF:
        return list(records(map))
    if map.spec.type in (MapType.QUEUE, MapType.STACK):
        return list(taken_out(map))
    return pairs(map)


def pairs(map: Map) -> Elements:
    found = {}
    for key in list(map.walk()):
        with contextlib.suppress(MapError):  # an empty slot
            found[key] = map.lookup(key)
    return found


def samples(buffer: PerfBuffer) -> Iterator[bytes]:
    at = 0
    while at < buffer[PerfBufferAt.HEAD]:
        start = buffer[PerfBufferAt.MEMORY] + at
        size, whole = struct.unpack("=II", ctypes.string_at(start, 8))
        yield ctypes.string_at(start + SAMPLE_HEAD, size)
        at += whole


def records(map: Map) -> Iterator[bytes]:
    while head := next_record(map.address):
        length = int.from_bytes(ctypes.string_at(head, 4), "little")
        yield ctypes.string_at(head + HEAD, length)
        consume(map.address, head)


def taken_out(map: Map) -> Iterator[bytes]:
    with contextlib.suppress(MapError):  # ENOENT: empty
        while True:
            yield map.lookup_and_delete()
