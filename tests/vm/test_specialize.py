"""Map operations compiled for one map do to it what the operation, called as Python, does to its twin."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from random import Random

import pytest

from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.vm.jit import NativeModule, compile_module
from clsbpf.vm.maps import operations
from clsbpf.vm.maps.map import Map
from clsbpf.vm.native_symbols import Symbols
from clsbpf.vm.subset import Subset, module_ir, record_of
from native_twins import contents

KEYED: tuple[Callable[..., int], ...] = (
    operations.map_lookup,
    operations.map_update,
    operations.map_delete,
)
KEYLESS: tuple[Callable[..., int], ...] = (operations.map_push, operations.map_pop, operations.map_peek)

SPECS = [
    MapSpec("array", MapType.ARRAY, 4, 12, 7),
    MapSpec("percpu_array", MapType.PERCPU_ARRAY, 4, 12, 7),
    *(MapSpec(f"hash_{size}", MapType.HASH, size, 20, 16) for size in (1, 3, 4, 8, 12, 13, 40)),
    MapSpec("percpu_hash", MapType.PERCPU_HASH, 8, 4, 16),
    MapSpec("lru", MapType.LRU_HASH, 4, 8, 16),
    MapSpec("percpu_lru", MapType.LRU_PERCPU_HASH, 6, 8, 16),
    MapSpec("trie", MapType.LPM_TRIE, 8, 8, 32, MapFlag.NO_PREALLOC),
    MapSpec("long_trie", MapType.LPM_TRIE, 11, 8, 32, MapFlag.NO_PREALLOC),
    MapSpec("queue", MapType.QUEUE, 0, 12, 4),
    MapSpec("stack", MapType.STACK, 0, 12, 4),
    MapSpec("bloom", MapType.BLOOM_FILTER, 0, 8, 16),
]


class Compiled:
    """The operations, compiled for a map."""

    def __init__(self, map: Map, functions: tuple[Callable[..., int], ...]) -> None:
        symbols = Symbols()
        copies: list[Subset] = []
        for function in functions:
            record = record_of(function)
            copies.append(symbols.for_maps(record, [map, *[None] * (len(record.parameters) - 1)]))
        symbols.add_external(copies)
        names = [copy.symbol for copy in copies]
        self.module: NativeModule = compile_module(module_ir(copies), names, symbols=symbols.addresses)
        self.functions = {
            function: ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(copy.parameters))(
                self.module.address(copy.symbol)
            )
            for function, copy in zip(functions, copies, strict=True)
        }


def a_key(random: Random, spec: MapSpec) -> bytes:
    """One of few, so that they meet again; of a trie some prefix."""
    if spec.type == MapType.LPM_TRIE:
        bits = 8 * (spec.key_size - 4)
        data = bytes(random.choice((0, 1, 128)) for _ in range(spec.key_size - 4))
        return random.choice((0, 8, 9, 24, bits)).to_bytes(4, "little") + data
    return random.randrange(20).to_bytes(max(spec.key_size, 1), "little")[: spec.key_size]


def seen(function: Callable[..., int], map: Map, result: int, value: ctypes.Array[ctypes.c_char]) -> object:
    """What an operation gave: of a lookup the value, not where it is."""
    if function is operations.map_lookup:
        return ctypes.string_at(result, map.spec.value_size) if result else None
    return result, value.raw


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_compiled_operation_does_what_the_operation_does(spec: MapSpec) -> None:
    random = Random(spec.name)
    functions = KEYED if spec.key_size else KEYLESS
    ours, twin = Map(spec, cpus=2, seed=5), Map(spec, cpus=2, seed=5)
    compiled = Compiled(ours, functions)
    found = 0
    for number in range(400):
        ours.cpu = twin.cpu = random.randrange(2)
        function = random.choice(functions)
        key = ctypes.create_string_buffer(a_key(random, spec), max(spec.key_size, 1))
        written = number.to_bytes(4, "little").ljust(spec.value_size, b"\x07")
        outcomes = []
        flags = random.choice((0, 0, 0, 1, 2, 3))
        for map, call in ((ours, compiled.functions[function]), (twin, function)):
            value = ctypes.create_string_buffer(written, spec.value_size)
            arguments = [map.address, *([ctypes.addressof(key)] if spec.key_size else [])]
            if function is not operations.map_lookup and function is not operations.map_delete:
                arguments.append(ctypes.addressof(value))
            if function in (operations.map_update, operations.map_push):
                arguments.append(flags)
            outcomes.append(seen(function, map, call(*arguments), value))
        assert outcomes[0] == outcomes[1], (number, function.__name__)
        found += outcomes[0] is not None
    assert contents(ours) == contents(twin)
    assert found > 50
