"""A compiled object to try: its programs, which share its maps, and its global variables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from ..bpf.spec import ObjectSpec, VariableSpec
from ..engine.objects import LoadedObject
from ..errors import ObjectError
from ..objfile import TypeRef, read_object
from ..vm.helpers import KFUNCS
from ..vm.maps.map import Map
from ..vm.maps.values import Codec, codec, raw_codec

if TYPE_CHECKING:
    pass

from .program import Program
from .tables import make_programs


class Object:
    """A compiled object (ELF): its programs and maps, and its global variables.

    Programs are found by function, or by section where that holds only one.  Each is verified when it is
    first used; without `verify` none is, and all run in the checked interpreter.  All of them share the
    object's maps, as the kernel's do.
    """

    def __init__(self, spec: ObjectSpec, *, profile: str = "current", verify: bool = True) -> None:
        self.spec = spec
        self._profile = profile
        self._loaded = LoadedObject(spec, make_programs("jit", profile), verify=verify)
        self.maps: Mapping[str, Map] = _Maps(spec.name, self._loaded.maps)
        """The maps by name; an unknown name is an ObjectError that lists them."""
        self.programs: Mapping[str, Program] = _Programs(self)
        """The programs by function or section; an unknown name is an ObjectError that lists them."""
        self.variables: MutableMapping[str, Any] = Variables(spec, self.maps)
        """Global variables by name, to read and (those that are not constant) to set."""

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        btf: str | os.PathLike[str] | None = None,
        profile: str = "current",
        verify: bool = True,
    ) -> Object:
        """The object in a file; `btf` is that of the kernel it shall fit, by default this machine's.

        ObjectError says what is wrong with it, and where.  What is wrong with a program its first use says:
        VerifierError.
        """
        return cls(read_object(path, btf=btf, kfuncs=KFUNCS), profile=profile, verify=verify)

    def _program(self, name: str) -> Program:
        spec = self.spec.program(name)
        return Program(
            spec.insns, lambda: self._loaded.program(spec.name), name=spec.name, profile=self._profile
        )


class _Programs(Mapping[str, Program]):
    """The programs of an object by function; sections are understood too."""

    def __init__(self, owner: Object) -> None:
        self._owner = owner
        self._made: dict[str, Program] = {}

    def __getitem__(self, name: str) -> Program:
        function = self._owner.spec.program(name).name
        if function not in self._made:
            self._made[function] = self._owner._program(function)
        return self._made[function]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._owner.spec.names_one(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The program, or `default` where the name is none's."""
        if name not in self:
            return default
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner.spec.programs)

    def __len__(self) -> int:
        return len(self._owner.spec.programs)


class _Maps(dict[str, Map]):
    """The maps of an object by name."""

    def __init__(self, object_name: str, maps: Mapping[str, Map]) -> None:
        super().__init__(maps)
        self._object_name = object_name

    def __missing__(self, name: str) -> Map:
        raise ObjectError(f"{self._object_name}: no map {name!r}; there are: {', '.join(self) or 'none'}")


class Variables(MutableMapping[str, Any]):
    """Global variables of an object by name: numbers, lists and dicts where it has types, else bytes."""

    def __init__(self, spec: ObjectSpec, maps: Mapping[str, Map]) -> None:
        self._spec = spec
        self._maps = maps

    def _find(self, name: str) -> tuple[VariableSpec, Codec]:
        variable = self._spec.variables.get(name)
        if variable is None:
            there = ", ".join(self._spec.variables) or "none"
            raise ObjectError(f"{self._spec.name}: no variable {name!r}; there are: {there}")
        if isinstance(variable.type, TypeRef):
            return variable, codec(variable.type)
        return variable, raw_codec(variable.size)

    def __getitem__(self, name: str) -> Any:
        variable, values = self._find(name)
        section = self._maps[variable.map].lookup(ONLY_KEY)
        return values.decode(section[variable.offset : variable.offset + variable.size])

    def __setitem__(self, name: str, value: Any) -> None:
        variable, values = self._find(name)
        section = bytearray(self._maps[variable.map].lookup(ONLY_KEY))
        section[variable.offset : variable.offset + variable.size] = values.encode(value, name)
        self._maps[variable.map].update(ONLY_KEY, bytes(section))

    def __delitem__(self, name: str) -> None:
        raise ObjectError(f"variable {name!r} cannot be deleted")

    def __contains__(self, name: object) -> bool:
        return name in self._spec.variables

    def get(self, name: str, default: Any = None) -> Any:
        """The variable's value, or `default` where there is none of that name."""
        if name not in self:
            return default
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._spec.variables)

    def __len__(self) -> int:
        return len(self._spec.variables)


ONLY_KEY = bytes(4)
"""A data section is an array of one value."""
