"""Objects into the real kernel: what is there afterwards, and that nothing is left when it fails."""

from __future__ import annotations

import dataclasses
import os

import pytest

from clsbpf.bpf.insn import exit_, program
from clsbpf.bpf.spec import ObjectSpec, ProgramSpec
from clsbpf.errors import ClsbpfError, ObjectError, VerifierError
from clsbpf.kernel.bpf import prog_test_run
from clsbpf.kernel.loader import kernel_function, kernel_name, load
from clsbpf.kernel.maps import map_lookup, map_update
from clsbpf.objfile import Btf
from clsbpf.objfile.btf_kernel import kernel_types
from clsbpf.objfile.load import load_object
from compiled import compiled
from judges import need_kernel
from program_cases import u32
from program_story import object_spec
from program_traffic import TRAFFIC


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_only_the_programs_that_are_named_are_loaded() -> None:
    need_kernel()
    before = descriptors()
    with load(object_spec("O2", "vlan"), ["vlan_pop"]) as loaded:
        assert list(loaded.programs) == ["vlan_pop"]
        assert list(loaded.maps) == ["translations"]
    assert descriptors() == before


def test_contents_are_there_before_a_section_is_closed_to_writing() -> None:
    need_kernel()
    spec = object_spec("O2", "sampler")
    value = u32(9)
    with load(spec, contents={".rodata": {u32(0): value}}) as loaded:
        assert map_lookup(loaded.maps[".rodata"], u32(0), spec.maps[".rodata"].value_size) == value
        with pytest.raises(ClsbpfError, match="not permitted"):
            map_update(loaded.maps[".rodata"], u32(0), value)


def test_a_jump_table_holds_the_programs_that_its_definition_names() -> None:
    need_kernel()
    with load(object_spec("O2", "dispatch")) as loaded:
        assert prog_test_run(loaded.programs["dispatch"], TRAFFIC["udp"]).retval == 0


def test_without_the_programs_it_names_a_jump_table_has_empty_slots() -> None:
    need_kernel()
    with load(object_spec("O2", "dispatch"), ["dispatch"]) as loaded:
        assert prog_test_run(loaded.programs["dispatch"], TRAFFIC["udp"]).retval == 3


def test_a_refused_program_comes_with_the_verifiers_log_and_leaves_nothing() -> None:
    need_kernel()
    before = descriptors()
    spec = object_spec("O2", "firewall")
    broken = ProgramSpec("broken", insns=program(exit_()), license="GPL")
    with pytest.raises(VerifierError) as refused:
        load(dataclasses.replace(spec, programs={**spec.programs, "broken": broken}))
    assert "R0 !read_ok" in refused.value.log
    assert descriptors() == before


def test_a_refused_map_is_named() -> None:
    need_kernel()
    before = descriptors()
    spec = object_spec("O2", "firewall")
    wrong = dataclasses.replace(spec.maps["rules4"], flags=0)  # a trie without NO_PREALLOC
    with pytest.raises(ClsbpfError) as refused:
        load(dataclasses.replace(spec, maps={**spec.maps, "rules4": wrong}))
    assert refused.value.__notes__ == ["map 'rules4': lpm_trie"]
    assert descriptors() == before


def test_a_program_with_a_problem_is_not_tried() -> None:
    need_kernel()
    spec = object_spec("O2", "atomics")
    hurt = dataclasses.replace(spec.programs["atomics"], problem="uses what is not there")
    with pytest.raises(ObjectError, match="program 'atomics': uses what is not there"):
        load(ObjectSpec("x", {"atomics": hurt}, spec.maps))


@pytest.mark.parametrize("source", ["dynptrs", "kconfig", "globals"])
def test_types_for_the_kernel_are_as_many_and_as_long(source: str) -> None:
    btf = object_spec("O2", source).btf
    made = kernel_types(btf)
    assert made != btf.raw
    assert len(made) == len(btf.raw)
    assert len(Btf(made)) == len(btf)


def test_a_symbol_without_a_type_is_a_number_to_the_kernel() -> None:
    need_kernel()
    spec = load_object(compiled("typeless.c", "-O2", "-g"), "typeless.o")
    with load(spec) as loaded:
        assert prog_test_run(loaded.programs["absent"], TRAFFIC["udp"]).retval == 0


def test_a_map_whose_types_the_kernel_does_not_take_is_made_without_them() -> None:
    """libbpf's second attempt: here a hash that says how large its keys are, and of what type its values."""
    need_kernel()
    spec = load_object(compiled("typeless.c", "-O2", "-g"), "typeless.o")
    assert spec.maps["sizes"].key_type is None
    assert spec.maps["sizes"].value_type is not None
    with load(spec, []) as loaded:
        map_update(loaded.maps["sizes"], bytes(4), bytes(8))


def test_a_kernel_function_that_is_not_there_is_named() -> None:
    need_kernel()
    with pytest.raises(ObjectError, match="no function 'clsbpf_no_such_function'"):
        kernel_function("clsbpf_no_such_function")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("firewall", "firewall"),
        (".rodata.str1.1", ".rodata.str1.1"),
        ("tc/egress:main", "tc_egress_main"),
        ("a_name_longer_than_fifteen", "a_name_longer_t"),
    ],
)
def test_names_are_made_to_fit(name: str, shown: str) -> None:
    assert kernel_name(name) == shown
