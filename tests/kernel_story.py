"""A program of examples/programs in the real kernel: BPF_PROG_TEST_RUN, and what is in the maps then."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clsbpf.bpf.context import BY_NAME, CONTEXT_BYTES
from clsbpf.bpf.maps import PERCPU_TYPES, MapType
from clsbpf.bpf.spec import MapSpec, ObjectSpec, ProgramRef
from clsbpf.errors import ClsbpfError
from clsbpf.kernel.bpf import prog_test_run
from clsbpf.kernel.loader import LoadedObject, load
from clsbpf.kernel.maps import (
    map_create,
    map_lookup,
    map_lookup_and_delete,
    map_next_key,
    map_update,
    possible_cpus,
)
from kernel_rings import PerfReader, ring_records
from program_cases import Case, u32
from program_story import CONTEXT, Elements, Step, Story, compared, contents_of


def context_bytes(fields: Mapping[str, Any]) -> bytes:
    """A struct __sk_buff with these fields."""
    context = bytearray(CONTEXT_BYTES)
    for name, value in fields.items():
        at = BY_NAME[name]
        raw = struct.pack("=5I", *value) if name == "cb" else value.to_bytes(at.size, "little")
        context[at.offset : at.offset + at.size] = raw
    return bytes(context)


def context_fields(context: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in CONTEXT:
        at = BY_NAME[name]
        raw = context[at.offset : at.offset + at.size]
        found[name] = list(struct.unpack("=5I", raw)) if name == "cb" else int.from_bytes(raw, "little")
    return found


@contextlib.contextmanager
def on_one_cpu() -> Iterator[None]:
    """Programs run on CPU 0, so that per-CPU values are its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def kernel_story(case: Case, spec: ObjectSpec, packets: Sequence[bytes]) -> Story:
    wanted = (case.program, *(name for slots in case.programs.values() for name in slots.values()))
    wanted += tuple(v.name for m in spec.maps.values() for _, v in m.contents if isinstance(v, ProgramRef))
    with contextlib.ExitStack() as stack, on_one_cpu():
        loaded = stack.enter_context(load(spec, dict.fromkeys(wanted), contents=contents_of(case, spec)))
        prepare_kernel(case, loaded)
        inner = put_inner_maps(case, spec, loaded, stack)
        readers = open_readers(spec, loaded, stack)
        steps = []
        context = context_bytes(case.fields)
        for packet in packets:
            ran = prog_test_run(loaded.programs[case.program], packet, context=context)
            steps.append(Step(ran.retval, ran.packet, context_fields(ran.context)))
        maps = {
            name: readers[name].samples() if name in readers else kernel_elements(each, loaded.maps[name])
            for name, each in spec.maps.items()
            if compared(case, each)
        }
        maps |= {name: kernel_elements(each, fd) for name, (each, fd) in inner.items()}
    return Story(steps, maps)


def prepare_kernel(case: Case, loaded: LoadedObject) -> None:
    """What a loader does not put into maps: programs, values without keys, devices."""
    for name, slots in case.programs.items():
        for slot, program in slots.items():
            map_update(loaded.maps[name], u32(slot), u32(loaded.programs[program]))
    for name, values in case.queues.items():
        for value in values:
            map_update(loaded.maps[name], None, value)
    for name, elements in case.devices.items():
        for key, value in elements.items():
            map_update(loaded.maps[name], key, value)


def put_inner_maps(
    case: Case, spec: ObjectSpec, loaded: LoadedObject, stack: contextlib.ExitStack
) -> dict[str, tuple[MapSpec, int]]:
    """The maps of the tenants, made: what they are and their descriptors."""
    made = {}
    for name, tenants in case.tenants.items():
        inner = spec.maps[name].inner
        assert inner is not None
        for tenant in tenants:
            fd = map_create(inner.type, inner.key_size, inner.value_size, inner.max_entries, inner.flags)
            stack.callback(os.close, fd)
            map_update(loaded.maps[name], u32(tenant), u32(fd))
            made[f"{name}[{tenant}]"] = inner, fd
    return made


def open_readers(
    spec: ObjectSpec, loaded: LoadedObject, stack: contextlib.ExitStack
) -> dict[str, PerfReader]:
    """A reader for each map of perf events."""
    readers = {}
    for name, each in spec.maps.items():
        if each.type == MapType.PERF_EVENT_ARRAY:
            readers[name] = PerfReader(loaded.maps[name])
            stack.callback(readers[name].close)
    return readers


def kernel_elements(spec: MapSpec, fd: int) -> Elements:
    """What is in a map of the kernel's."""
    if spec.type == MapType.RINGBUF:
        return ring_records(fd, spec.max_entries)
    if spec.type in (MapType.QUEUE, MapType.STACK):
        return list(kernel_queue(spec, fd))
    size = spec.value_size
    if spec.type in PERCPU_TYPES:
        size = (size + 7 & ~7) * possible_cpus()
    found = {}
    for key in kernel_keys(spec, fd):
        with contextlib.suppress(ClsbpfError):  # an empty slot
            found[key] = map_lookup(fd, key, size)
    return found


def kernel_queue(spec: MapSpec, fd: int) -> Iterator[bytes]:
    with contextlib.suppress(ClsbpfError):  # ENOENT: empty
        while True:
            yield map_lookup_and_delete(fd, None, spec.value_size)


def kernel_keys(spec: MapSpec, fd: int) -> Iterator[bytes]:
    key = None
    with contextlib.suppress(ClsbpfError):  # ENOENT: that was the last
        while True:
            key = map_next_key(fd, key, spec.key_size)
            yield key
