"""How does a map read and write in Python?  Like a mapping, of values where their types are known.

    counts[6]                        {'packets': 12, 'bytes': 1800}
    counts[17] = {'packets': 1}      the other fields are 0
    del counts[6]; len(counts); 6 in counts; dict(counts)

With BTF types keys and values are as `values.py` has them, without they are bytes.  A per-CPU map gives and
takes a list, one value for each possible CPU.  Maps of programs and maps hold those objects.  A queue or
stack has `push`, `pop` and `peek`; a Bloom filter `push`, and `in`.

What a mapping calls missing is a KeyError; everything else that is refused is a MapError with its errno.
The bytes behind it are the commands' (map.py); what they refuse, this refuses.
"""

from __future__ import annotations

import errno
import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from ...bpf.maps import PERCPU_TYPES, MapType
from ...bpf.spec import MapSpec, TypeInfo
from ...errors import MapError
from ...objfile.btf import TypeRef
from .values import INDEX_CODEC, Codec, codec, raw_codec

_MISSING = object()


class Face(ABC):
    """The mapping that a map is; `Map` has the commands it is made of."""

    spec: MapSpec
    cpus: int

    @abstractmethod
    def lookup(self, key: bytes | None, flags: int = 0) -> bytes: ...
    @abstractmethod
    def update(self, key: bytes | None, value: bytes, flags: int = 0) -> None: ...
    @abstractmethod
    def delete(self, key: bytes) -> None: ...
    @abstractmethod
    def lookup_and_delete(self, key: bytes | None = None, flags: int = 0) -> bytes: ...
    @abstractmethod
    def contains(self, value: bytes) -> bool: ...
    @abstractmethod
    def walk(self) -> Iterator[bytes]: ...
    @abstractmethod
    def waiting(self) -> Iterator[bytes]: ...
    @abstractmethod
    def put(self, key: bytes, held: object, flags: int = 0) -> None: ...
    @abstractmethod
    def held_at(self, key: bytes) -> object | None: ...
    @property
    @abstractmethod
    def slotted(self) -> bool: ...

    @functools.cached_property
    def key_codec(self) -> Codec:
        """How keys are read and written.  The index of an array (a data section) may have no type."""
        if self.spec.key_type is None and self.spec.value_type is not None and self.spec.key_size == 4:
            return INDEX_CODEC
        return _codec_of(self.spec.key_type, self.spec.key_size)

    @functools.cached_property
    def value_codec(self) -> Codec:
        """How values are, of one CPU each."""
        if self.spec.type == MapType.RINGBUF:
            return Codec(0, bytes, raw_codec(0).encode)  # a record is of any size
        return _codec_of(self.spec.value_type, self.spec.value_size)

    # keys and values

    def _key_bytes(self, key: Any) -> bytes:
        return self.key_codec.encode(key, f"map {self.spec.name!r}: the key")

    def _decode(self, value: bytes) -> Any:
        if self.spec.type not in PERCPU_TYPES:
            return self.value_codec.decode(value)
        size, stride = self.spec.value_size, len(value) // self.cpus
        return [self.value_codec.decode(value[at : at + size]) for at in range(0, len(value), stride)]

    def _encode(self, value: Any) -> bytes:
        name = f"map {self.spec.name!r}: the value"
        if self.spec.type not in PERCPU_TYPES:
            return self.value_codec.encode(value, name)
        if not isinstance(value, list | tuple):
            raise MapError(errno.EINVAL, f"{name} is {value!r}, must be a list of {self.cpus}, one a CPU")
        if len(value) != self.cpus:
            raise MapError(
                errno.EINVAL, f"{name} is a list of {len(value)}, must be of {self.cpus}, one a CPU"
            )
        stride = (self.spec.value_size + 7) & ~7
        encoded = [self.value_codec.encode(one, f"{name} of CPU {cpu}") for cpu, one in enumerate(value)]
        return b"".join(one.ljust(stride, b"\0") for one in encoded)

    def __getitem__(self, key: Any) -> Any:
        raw = self._key_bytes(key)
        if self.slotted:
            held = self.held_at(raw)
            if held is None:
                raise KeyError(key)
            return held
        try:
            return self._decode(self.lookup(raw))
        except MapError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def __setitem__(self, key: Any, value: Any) -> None:
        raw = self._key_bytes(key)
        if self.slotted:
            self.put(raw, value)
        else:
            self.update(raw, self._encode(value))

    def __delitem__(self, key: Any) -> None:
        try:
            self.delete(self._key_bytes(key))
        except MapError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def __contains__(self, key: Any) -> bool:
        if self.spec.type == MapType.BLOOM_FILTER:
            return self.contains(self._encode(key))
        return self.get(key, _MISSING) is not _MISSING

    def __iter__(self) -> Iterator[Any]:
        """The keys; of an array every index, of an array of programs or maps those that are set."""
        for raw in self.walk():
            if not self.slotted or self.held_at(raw) is not None:
                yield self.key_codec.decode(raw)

    def __len__(self) -> int:
        return sum(1 for _ in (self if self.spec.key_size else self.waiting()))

    def __bool__(self) -> bool:
        """A map is something, also when nothing is in it."""
        return True

    def get(self, key: Any, default: Any = None) -> Any:
        """The value, or `default` where the key is not there."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> Iterator[Any]:
        """The keys, in the order of the walk."""
        return iter(self)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Keys and values; one that goes meanwhile is left out.

        Of a queue, stack or ring buffer: what waits in it, by its place from 0 on.
        """
        if not self.spec.key_size:
            yield from ((place, self._decode(value)) for place, value in enumerate(self.waiting()))
            return
        for key in self:
            value = self.get(key, _MISSING)
            if value is not _MISSING:
                yield key, value

    def values(self) -> Iterator[Any]:
        """The values."""
        return (value for _, value in self.items())

    # maps without keys

    def push(self, value: Any, flags: int = 0) -> None:
        """Put a value into a queue, stack or Bloom filter."""
        self.update(None, self._encode(value), flags)

    def pop(self) -> Any:
        """Take the oldest value out of a queue, the newest out of a stack; MapError (ENOENT) if empty."""
        return self._decode(self.lookup_and_delete(None))

    def peek(self) -> Any:
        """The value that `pop` would give."""
        return self._decode(self.lookup(None))


def _codec_of(type: TypeInfo | None, size: int) -> Codec:
    """The codec of a key or value: bytes, where the type is not known or is of another size."""
    if isinstance(type, TypeRef) and type.size == size:
        return codec(type)
    return raw_codec(size)
