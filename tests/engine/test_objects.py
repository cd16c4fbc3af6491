"""Objects with the maps that they get: what is verified is what will run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from clsbpf.bpf.spec import PIN_BY_NAME, ObjectSpec
from clsbpf.engine.objects import LoadedObject, pin_path
from clsbpf.engine.pins import Pins
from clsbpf.engine.programs import ProgramTable
from clsbpf.errors import ObjectError, VerifierError
from clsbpf.objfile import read_object
from clsbpf.vm.maps.map import Map

OBJECTS = Path(__file__).parents[2] / "examples" / "programs" / "build" / "O2"


def pinned(spec: ObjectSpec) -> ObjectSpec:
    """The object with all maps pinned by name."""
    maps = {name: dataclasses.replace(each, pinning=PIN_BY_NAME) for name, each in spec.maps.items()}
    programs = {
        name: dataclasses.replace(
            each, maps={key: dataclasses.replace(m, pinning=PIN_BY_NAME) for key, m in each.maps.items()}
        )
        for name, each in spec.programs.items()
    }
    return dataclasses.replace(spec, maps=maps, programs=programs)


def test_a_shared_map_is_judged_as_it_is() -> None:
    """Another object made the map without types: there is no lock in its values, whatever ours says."""
    spec = pinned(read_object(OBJECTS / "locks.o"))
    (program,) = spec.programs.values()
    shared = Pins()
    assert LoadedObject(spec, ProgramTable(), shared).linked(program.name).verified is not None
    assert LoadedObject(spec, ProgramTable(), shared).linked(program.name).verified is not None
    untyped = Pins()
    for each in spec.maps.values():
        plain = dataclasses.replace(each, key_type=None, value_type=None)
        untyped.pin(pin_path(each, spec.name), Map(plain))
    with pytest.raises(VerifierError, match="lock"):
        LoadedObject(spec, ProgramTable(), untyped).linked(program.name)


def test_a_shared_map_must_hold_for_good_what_was_taken_for_granted() -> None:
    spec = pinned(read_object(OBJECTS / "globals.o"))
    frozen = next(each for each in spec.maps.values() if each.frozen)
    pins = Pins()
    pins.pin(pin_path(frozen, spec.name), Map(frozen))  # not frozen yet
    LoadedObject(spec, ProgramTable(), pins)
    others = Pins()
    others.pin(pin_path(frozen, spec.name), Map(dataclasses.replace(frozen, contents=(), frozen=False)))
    with pytest.raises(ObjectError, match="does not hold for good what the object wants"):
        LoadedObject(spec, ProgramTable(), others)
