"""How is IR text made to run?  LLVM, through llvmlite: parse, optimize, emit an object, link it here.

Compiling goes through an object file because an object can be kept and linked again in half a
millisecond, where optimizing costs half a millisecond an instruction.  Objects are kept in memory, and on
disk for the next process (`clsbpf.store`: they are code, so the store is private to the user).  All that an
object depends on is in its key: the IR text, which says everything that this package had to say (its
version, too), LLVM and llvmlite, the processor, the level of optimization.  So IR text has no address of
this process in it: those are external symbols.

A `NativeModule` owns its machine code: function addresses taken from it are good while it lives.
Calls made through ctypes release the GIL.  Compiling holds one lock: LLVM's contexts are not to be
shared between threads.  LLVM is set up when it is first needed, not when this module is imported.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import llvmlite
import llvmlite.binding as llvm

from ..store import default_store

_lock = threading.Lock()
_serial = itertools.count()
NO_SYMBOLS: Mapping[str, int] = MappingProxyType({})
KIND = "objects"
"""The store (`clsbpf.store`) that has them."""
LIMIT = 128 << 20
"""Bytes of objects that are kept there."""
WORTH_KEEPING = 0.01
"""Seconds: what was compiled faster is not kept; reading it would save little."""


def _target_machine() -> llvm.TargetMachine:
    """The machine this runs on, with all that its processor can do."""
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )


@dataclass(frozen=True, slots=True)
class _Compiler:
    """LLVM, set up: a target machine to emit objects with, a linker to load them."""

    machine: llvm.TargetMachine
    linker: llvm.LLJIT


@functools.cache
def _compiler() -> _Compiler:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return _Compiler(_target_machine(), llvm.create_lljit_compiler(_target_machine()))


class NativeModule:
    """Machine code, and what keeps it loaded."""

    def __init__(self, tracker: llvm.ResourceTracker) -> None:
        self._tracker = tracker

    def address(self, name: str) -> int:
        """The address of an exported function."""
        return int(self._tracker[name])


@functools.cache
def _host() -> str:
    """What machine code depends on besides its IR: LLVM, the processor and what it can do."""
    features = llvm.get_host_cpu_features().flatten()
    version = ".".join(map(str, llvm.llvm_version_info))
    parts = [llvmlite.__version__, version, llvm.get_default_triple(), llvm.get_host_cpu_name(), features]
    return "\n".join(parts)


def object_key(ir_text: str, optimize: int) -> bytes:
    """The key of an object in the store."""
    return hashlib.sha256(f"{_host()}\n{optimize}\n{ir_text}".encode()).digest()


@functools.lru_cache(maxsize=32)
def compile_object(ir_text: str, *, optimize: int = 2) -> bytes:
    """An object file for this machine, new or kept; `optimize` is LLVM's level, 0 to 3.

    The last ones are kept in memory, too: whoever runs a policy again does not compile it again (and
    llvmlite 0.50 loses some memory with every optimization).
    """
    store = default_store(KIND, limit=LIMIT)
    key = object_key(ir_text, optimize)
    kept = store.get(key)
    if kept is not None:
        return kept
    started = time.perf_counter()
    image = optimized_object(ir_text, optimize)
    if time.perf_counter() - started >= WORTH_KEEPING:
        store.put(key, image)
    return image


def find_object(key: bytes) -> bytes | None:
    """The object that was kept under a key of the caller's, which says all that went into it."""
    return default_store(KIND, limit=LIMIT).get(object_key(key.hex(), 0))


def keep_object(key: bytes, image: bytes) -> None:
    """Keep an object under such a key."""
    default_store(KIND, limit=LIMIT).put(object_key(key.hex(), 0), image)


def optimized_object(ir_text: str, optimize: int) -> bytes:
    """Compile.  IR text is made by this package: RuntimeError, when it is malformed, is a mistake of ours."""
    with _lock:
        compiler = _compiler()
        module = llvm.parse_assembly(ir_text)
        module.verify()
        if optimize:
            tuning = llvm.create_pipeline_tuning_options(speed_level=optimize)
            passes = llvm.create_pass_builder(compiler.machine, tuning)
            passes.getModulePassManager().run(module, passes)
        return bytes(compiler.machine.emit_object(module))


def load_object(
    image: bytes, exported: Iterable[str], symbols: Mapping[str, int] = NO_SYMBOLS
) -> NativeModule:
    """Link an object file into this process; the functions named can then be asked for.

    `symbols` are the addresses of what it declares external: an address that is part of this process (a
    map, an environment) must not be in the object, which another process may load.
    """
    with _lock:
        builder = llvm.JITLibraryBuilder().add_current_process().add_object_img(image)
        for name, address in symbols.items():
            builder.import_symbol(name, address)
        for name in exported:
            builder.export_symbol(name)
        return NativeModule(builder.link(_compiler().linker, f"clsbpf.{next(_serial)}"))


def compile_module(
    ir_text: str, exported: Iterable[str], *, optimize: int = 2, symbols: Mapping[str, int] = NO_SYMBOLS
) -> NativeModule:
    """Compile IR text and load it; `exported` names the functions whose addresses will be wanted."""
    return load_object(compile_object(ir_text, optimize=optimize), exported, symbols)
