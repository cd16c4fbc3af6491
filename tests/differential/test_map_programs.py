"""Map operations of programs against the kernel: run there by BPF_PROG_TEST_RUN, here twice.

Twice: the operations of vm/maps are functions of the subset, so they run as Python and as machine code.
Each has a map of its own; what an operation gives, and what is in the maps afterwards, is the same.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from clsbpf.bpf.insn import (
    Insn,
    alu64_imm,
    call,
    exit_,
    jmp_imm,
    ld_imm64,
    ldx,
    mov64_imm,
    mov64_reg,
    program,
)
from clsbpf.bpf.isa import Alu, Jmp, Pseudo, Size
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.kernel.bpf import prog_load, prog_test_run
from clsbpf.kernel.maps import possible_cpus
from clsbpf.vm.jit import NativeModule, compile_module
from clsbpf.vm.maps import operations, ringbuf
from clsbpf.vm.maps.map import Map
from clsbpf.vm.maps.readers import RingReader
from clsbpf.vm.subset import module_ir, record_of
from map_twins import KernelMap, random_keys, twins, walk

HEADER = 14
"""Bytes before the arguments in the packet: flags (8 bytes), key, value."""


@dataclass(frozen=True)
class Operation:
    """A helper: its number, the arguments after the map, and whether the value comes back."""

    helper: int
    function: Callable[..., int]
    arguments: str
    gives: bool = False


OPERATIONS = {
    "lookup": Operation(1, operations.map_lookup, "k", gives=True),
    "update": Operation(2, operations.map_update, "kvf"),
    "delete": Operation(3, operations.map_delete, "k"),
    "push": Operation(87, operations.map_push, "vf"),
    "pop": Operation(88, operations.map_pop, "v", gives=True),
    "peek": Operation(89, operations.map_peek, "v", gives=True),
    "output": Operation(130, ringbuf.ringbuf_output, "vsf"),
    "query": Operation(134, ringbuf.ringbuf_query, "f"),
}
"""k: the key's address, v: the value's, s: the value's size, f: flags."""


def operation_program(operation: Operation, fd: int, key_size: int, value_size: int) -> tuple[Insn, ...]:
    """A program that does one operation with what the packet says, and puts the value back there."""
    key = -((key_size + 7) & ~7)
    value = key - ((value_size + 7) & ~7)
    flags = value - 8
    at = HEADER
    parts: list[Insn | tuple[Insn, ...]] = [mov64_reg(6, 1)]
    for place, size in ((flags, 8), (key, key_size), (value, value_size)):
        if size:
            parts += [mov64_reg(1, 6), mov64_imm(2, at), *stack(3, place), mov64_imm(4, size), call(26)]
            at += size
    parts.append(ld_imm64(1, fd, Pseudo.MAP_FD))
    for register, argument in enumerate(operation.arguments, 2):
        match argument:
            case "k":
                parts += stack(register, key)
            case "v":
                parts += stack(register, value)
            case "s":
                parts.append(mov64_imm(register, value_size))
            case "f":
                parts.append(ldx(Size.DW, register, 10, flags))
    parts += [call(operation.helper), mov64_reg(7, 0)]
    if operation.helper == 1:  # the value's address: what is there, or nothing
        parts += [jmp_imm(Jmp.JEQ, 7, 0, 7), mov64_reg(3, 7), mov64_imm(7, 1)]
        parts += [
            mov64_reg(1, 6),
            mov64_imm(2, at - value_size),
            mov64_imm(4, value_size),
            mov64_imm(5, 0),
            call(9),
        ]
    elif operation.gives:
        parts += [mov64_reg(1, 6), mov64_imm(2, at - value_size), *stack(3, value), mov64_imm(4, value_size)]
        parts += [mov64_imm(5, 0), call(9)]
    return program(*parts, mov64_reg(0, 7), exit_())


def stack(register: int, offset: int) -> list[Insn]:
    """The address of a place on the stack."""
    return [mov64_reg(register, 10), alu64_imm(Alu.ADD, register, offset)]


class InKernel:
    """Operations by programs on a map of the kernel."""

    def __init__(self, map: KernelMap, spec: MapSpec) -> None:
        self.map = map
        self.spec = spec
        self.programs: dict[str, int] = {}

    def run(self, name: str, key: bytes, value: bytes, flags: int) -> tuple[int, bytes]:
        if name not in self.programs:
            insns = operation_program(OPERATIONS[name], self.map.fd, len(key), len(value))
            self.programs[name] = prog_load(insns)
        packet = bytes(HEADER) + (flags % (1 << 64)).to_bytes(8, "little") + key + value
        run = prog_test_run(self.programs[name], packet)
        return run.retval, run.packet[len(packet) - len(value) : len(packet)]

    def close(self) -> None:
        for fd in self.programs.values():
            os.close(fd)


@pytest.fixture(scope="module")
def machine_code() -> NativeModule:
    functions = [operation.function for operation in OPERATIONS.values()]
    names = [record_of(function).symbol for function in functions]
    return compile_module(module_ir(functions), names, optimize=1)


class Here:
    """Operations on a map here, as Python or as machine code."""

    def __init__(self, map: Map, machine_code: NativeModule | None) -> None:
        self.map = map
        self.machine_code = machine_code

    def function(self, operation: Operation) -> Callable[..., int]:
        if self.machine_code is None:
            return operation.function
        count = len(operation.arguments) + 1
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * count)
        found: Callable[..., int] = kind(self.machine_code.address(record_of(operation.function).symbol))
        return found

    def run(self, name: str, key: bytes, value: bytes, flags: int) -> tuple[int, bytes]:
        operation = OPERATIONS[name]
        key_buffer, value_buffer = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
        given = {
            "k": ctypes.addressof(key_buffer),
            "v": ctypes.addressof(value_buffer),
            "s": len(value),
            "f": (flags ^ 1 << 63) - (1 << 63),
        }
        result = self.function(operation)(self.map.address, *[given[each] for each in operation.arguments])
        after = value_buffer.raw[: len(value)]
        if name == "lookup" and result:
            return 1, ctypes.string_at(result, len(value))
        return result & 0xFFFFFFFF, after


ZERO = MapFlag.ZERO_SEED
MAPS = [
    (MapSpec("hash", MapType.HASH, 4, 8, 20, ZERO), "lookup update delete"),
    (MapSpec("hash, odd", MapType.HASH, 7, 5, 20, ZERO | MapFlag.NO_PREALLOC), "lookup update delete"),
    (MapSpec("percpu_hash", MapType.PERCPU_HASH, 16, 8, 20, ZERO), "lookup update delete"),
    (MapSpec("lru_hash", MapType.LRU_HASH, 4, 8, 20, ZERO), "lookup update delete"),
    (MapSpec("lru_hash, small", MapType.LRU_HASH, 4, 8, 3, ZERO), "lookup update delete"),
    (MapSpec("lru_hash, large", MapType.LRU_HASH, 4, 8, 400, ZERO), "lookup lookup update delete"),
    (
        MapSpec("lru_hash, no common", MapType.LRU_HASH, 4, 8, 20, ZERO | MapFlag.NO_COMMON_LRU),
        "lookup lookup update delete",
    ),
    (MapSpec("lru_percpu_hash", MapType.LRU_PERCPU_HASH, 4, 8, 20, ZERO), "lookup lookup update delete"),
    (MapSpec("array", MapType.ARRAY, 4, 6, 9), "lookup update delete"),
    (MapSpec("percpu_array", MapType.PERCPU_ARRAY, 4, 8, 9), "lookup update delete"),
    (MapSpec("lpm_trie", MapType.LPM_TRIE, 8, 8, 20, MapFlag.NO_PREALLOC), "lookup update delete"),
    (MapSpec("queue", MapType.QUEUE, 0, 12, 5), "push push pop peek"),
    (MapSpec("stack", MapType.STACK, 0, 4, 5), "push push pop peek"),
    (MapSpec("bloom", MapType.BLOOM_FILTER, 0, 8, 5, ZERO), "push peek"),
]


@pytest.mark.parametrize(
    ("spec", "names"), MAPS, ids=lambda part: part.name if isinstance(part, MapSpec) else ""
)
def test_random_operations_have_the_kernels_results(
    spec: MapSpec, names: str, machine_code: NativeModule
) -> None:
    """For any operations of programs, each result and value is the kernel's, and so is what is left."""
    random = Random(spec.name)
    keys = random_keys(random, spec)
    values = [random.randbytes(spec.value_size) for _ in range(20)]
    with twins(spec) as pair:
        other = Map(spec, cpus=possible_cpus())
        there = InKernel(pair.theirs, spec)
        here = [Here(pair.ours, None), Here(other, machine_code)]
        for _ in range(300 + 2 * len(keys)):
            name = random.choice(names.split())
            key, value = random.choice(keys), random.choice(values)
            flags = random.choice([0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 1 << 63])
            expected = there.run(name, key, value, flags)
            found = [each.run(name, key, value, flags) for each in here]
            assert found == [expected, expected], (name, key, value, flags)
        there.close()
        if spec.key_size:
            assert walk(pair) == list(other.walk())
            for key in other.walk():
                assert other.lookup(key) == pair.ours.lookup(key)


@pytest.mark.parametrize("size", [1, 8, 100, 500])
def test_a_ring_buffer_fills_as_the_kernels(size: int, machine_code: NativeModule) -> None:
    """Records of any one size: as many fit, and the positions and errno are the same until it is full."""
    spec = MapSpec("ring", MapType.RINGBUF, 0, 0, 4096)
    random = Random(size)
    with twins(spec) as pair:
        other = Map(spec)
        there = InKernel(pair.theirs, spec)
        here = [Here(pair.ours, None), Here(other, machine_code)]
        sent = []
        results = set()
        for _ in range(4096 // size + 2):
            value = random.randbytes(size)
            flags = random.choice([0, 0, 0, 1, 2, 3, 4])
            expected = there.run("output", b"", value, flags)
            assert [each.run("output", b"", value, flags) for each in here] == [expected, expected]
            results.add(expected[0])
            if expected[0] == 0:
                sent.append(value)
            what = random.randrange(6)
            assert [each.run("query", b"", b"", what) for each in here] == [
                there.run("query", b"", b"", what)
            ] * 2
        there.close()
        assert (1 << 32) - errno.EAGAIN in results
        for each in here:
            assert list(RingReader(each.map)) == sent
            assert RingReader(each.map).available == 0
