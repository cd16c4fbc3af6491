"""What a program may not do with helpers, maps and what they give; and what is said then."""

from __future__ import annotations

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.helpers import BY_NAME, HELPERS
from clsbpf.bpf.maps import MapFlag, MapType
from clsbpf.bpf.prototypes import KFUNC_PROTOTYPES, prototypes
from clsbpf.bpf.spec import LineInfo, MapSpec, ProgramSpec
from clsbpf.errors import BytecodeError, ProgramFault
from clsbpf.skb import Skb
from clsbpf.vm.helpers import BODIES, CONTROLLED, KFUNCS, REFUSED
from clsbpf.vm.interp import run
from clsbpf.vm.jit import compile_module
from clsbpf.vm.link import LinkedProgram, link, link_instructions
from clsbpf.vm.maps.map import Map
from clsbpf.vm.subset import module_ir, record_of

SPECS = {
    1: MapSpec("counters", MapType.HASH, 4, 8, 4),
    2: MapSpec("config", MapType.ARRAY, 4, 16, 1, MapFlag.RDONLY_PROG),
    3: MapSpec("records", MapType.RINGBUF, 0, 0, 4096),
    4: MapSpec("programs", MapType.PROG_ARRAY, 4, 4, 8),
    5: MapSpec("inbox", MapType.ARRAY, 4, 8, 2, MapFlag.WRONLY_PROG),
}
LOOK_UP = "*(u32 *)(r10 - 4) = 0\nr1 = map[fd:5]\nr2 = r10\nr2 += -4\ncall bpf_map_lookup_elem\n"
RESERVE = "r1 = map[fd:3]\nr2 = 16\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 != 0 goto +1\nexit\n"
DYNPTR = "r1 = map[fd:3]\nr2 = 16\nr3 = 0\nr4 = r10\nr4 += -16\ncall bpf_ringbuf_reserve_dynptr\n"


def linked(text: str) -> LinkedProgram:
    return link_instructions(assemble(text), {key: Map(spec) for key, spec in SPECS.items()})


FAULTS = [
    (
        "a size of 0",
        "r2 = 0\nr3 = r10\nr3 += -8\nr4 = 0\ncall 26",
        "bpf_skb_load_bytes: r4 is a size of 0 bytes",
    ),
    (
        "memory that is too small",
        "r2 = 0\nr3 = r10\nr3 += -8\nr4 = 9\ncall 26",
        "bpf_skb_load_bytes: writes 9 bytes through r3 at stack offset -8 from r10",
    ),
    ("a negative size", "r2 = 0\nr3 = r10\nr4 = -1\ncall 26", "r4 is a size of 0xffffffffffffffff"),
    (
        "the context as memory",
        "r3 = r1\nr2 = 0\nr4 = 4\ncall 26",
        "4 bytes through r3: the context is no memory",
    ),
    (
        "something else as the context",
        "r1 = r10\nr2 = 0\ncall 38",
        "bpf_skb_change_tail: r1 is not the context",
    ),
    ("an argument that was not written", "call 26", "r2 is read before it is written"),
    ("no map", "r1 = 5\nr2 = r10\nr2 += -4\ncall 1", "bpf_map_lookup_elem: r1 is not a map"),
    ("a map of another kind", "r1 = map[fd:1]\nr2 = 8\nr3 = 0\ncall 131", "r1 is map counters, a hash"),
    (
        "a key that is too small",
        "r1 = map[fd:1]\nr2 = r10\nr2 += -3\ncall 1",
        "reads 4 bytes through r2 at stack",
    ),
    ("the map itself", "r1 = map[fd:1]\nr0 = *(u64 *)(r1 + 0)", "in no region"),
    ("a value behind its end", LOOK_UP + "*(u64 *)(r0 + 8) = 1", "value of map inbox offset 8, the value of"),
    ("a map that programs may not read", LOOK_UP + "r0 = *(u8 *)(r0 + 0)", "it is write-only"),
    ("a map that programs may not write", "r1 = map[fd:2][0]+8\n*(u64 *)(r1 + 0) = 1", "it is read-only"),
    (
        "a packet pointer after the packet moved",
        "r6 = r1\nr7 = *(u32 *)(r1 + 76)\nr2 = 100\nr3 = 0\ncall 38\nr0 = *(u8 *)(r7 + 12)",
        "reads 1 byte through r7 at packet offset 12: this pointer into the packet was taken before"
        " bpf_skb_change_tail, which may move the packet",
    ),
    ("a record that was not given back", RESERVE + "r0 = 0\nexit", "has not given back a ring buffer record"),
    (
        "a record that was given back",
        RESERVE + "r6 = r0\nr1 = r0\nr2 = 0\ncall 132\n*(u64 *)(r6 + 0) = 1",
        "bpf_ringbuf_submit gave it back",
    ),
    (
        "a record given back twice",
        RESERVE + "r6 = r0\nr1 = r0\nr2 = 0\ncall 132\nr1 = r6\nr2 = 0\ncall 132",
        "not a reserved ring buffer record",
    ),
    (
        "a dynptr that was written",
        DYNPTR + "*(u64 *)(r10 - 16) = 7\nr1 = r10\nr1 += -16\nr2 = 0\ncall 199",
        "not a dynptr",
    ),
    ("a dynptr that is none", "r1 = r10\nr1 += -16\nr2 = 0\nr3 = 8\ncall 203", "r1 is not a dynptr"),
    (
        "a lock that is held",
        "r1 = r10\nr1 += -4\ncall 93\nr1 = r10\nr1 += -4\ncall 93",
        "while another lock is held",
    ),
    ("a lock that is not held", "r1 = r10\nr1 += -4\ncall 94", "of a lock that is not held"),
    ("a lock kept", "r1 = r10\nr1 += -4\ncall 93\nr0 = 0", "the program ends and holds a lock"),
    ("no string", "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall 182", "reads 1 byte through r3 at 0x0"),
]


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_what_a_call_may_not_be_given(text: str, message: str) -> None:
    with pytest.raises(ProgramFault) as caught:
        run(linked(text + "\nexit"), Skb.from_frame(bytes(64)))
    assert message in str(caught.value)


MISSING = [
    (
        "a helper that is not for tc",
        "call 4",
        "instruction 2: bpf_probe_read (helper 4) is not for tc programs",
    ),
    (
        "a helper that will not be",
        "call 149",
        "bpf_snprintf_btf (helper 149) is not there: there are no structures",
    ),
    ("a number that is none", "call 5000", "there is no helper 5000"),
]


@pytest.mark.parametrize(("text", "message"), [c[1:] for c in MISSING], ids=[c[0] for c in MISSING])
def test_what_is_not_there_is_named_before_anything_runs(text: str, message: str) -> None:
    skb = Skb.from_frame(bytes(64))
    with pytest.raises(ProgramFault) as caught:
        run(linked(f"*(u32 *)(r1 + 8) = 7\nr0 = 0\n{text}\nexit"), skb)
    assert message in str(caught.value)
    assert skb.mark == 0


def test_a_call_that_could_not_be_relocated_fails_only_when_it_is_reached() -> None:
    insns = assemble("r0 = 3\nif r0 == 3 goto +1\ncall 195896080\nexit")
    spec = ProgramSpec("p", insns=insns, poison={2: "no such field in this kernel"})
    assert run(link(spec, {}), Skb.from_frame(bytes(64))) == 3
    with pytest.raises(ProgramFault, match="no such field"):
        run(
            link(ProgramSpec("p", insns=insns[2:], poison={0: "no such field"}), {}),
            Skb.from_frame(bytes(64)),
        )


def test_a_fault_tells_the_source_line_and_the_register() -> None:
    lines = (LineInfo(0, "p.c", 10, 1, "int p(...)"), LineInfo(1, "p.c", 12, 3, "x = *p;"))
    spec = ProgramSpec(
        "p", insns=assemble("r2 = *(u32 *)(r1 + 76)\nr0 = *(u32 *)(r2 + 62)\nexit"), line_info=lines
    )
    with pytest.raises(ProgramFault) as caught:
        run(link(spec, {}), Skb.from_frame(bytes(64)))
    assert str(caught.value) == (
        "instruction 1 of p (p.c:12: x = *p;): reads 4 bytes through r2 at packet offset 62,"
        " the packet has 64"
    )
    assert (caught.value.insn, caught.value.source, caught.value.register) == (1, "p.c:12", 2)


def test_tail_calls_end_after_33() -> None:
    programs = Map(SPECS[4])
    text = "r6 = r1\nr2 = *(u32 *)(r1 + 8)\nr2 += 1\n*(u32 *)(r1 + 8) = r2\nr2 = map[fd:4]\nr3 = 0\ncall 12\n"
    program = link_instructions(assemble(text + "r0 = *(u32 *)(r6 + 8)\nexit"), {4: programs})
    programs.put(bytes(4), program)
    assert run(program, Skb.from_frame(bytes(64))) == 34


def test_a_tail_call_in_a_function_returns_to_its_caller() -> None:
    programs = Map(SPECS[4])
    programs.put(bytes(4), link_instructions(assemble("r0 = 7\nexit"), {}))
    text = "r6 = 5\ncall pc+3\nr0 += r6\nexit\nr0 = 0\nr2 = map[fd:4]\nr3 = 0\ncall 12\nr0 = 1\nexit"
    assert run(link_instructions(assemble(text), {4: programs}), Skb.from_frame(bytes(64))) == 12


def test_linking_names_the_map_that_is_missing() -> None:
    with pytest.raises(BytecodeError, match="instruction 0: no map 9; there are: 1"):
        link_instructions(assemble("r1 = map[fd:9]\nexit"), {1: Map(SPECS[1])})
    spec = ProgramSpec("p", insns=assemble("r1 = map[fd:9]\nexit"), maps={9: SPECS[1]})
    with pytest.raises(BytecodeError, match="program p: no map 'counters'; there are: none"):
        link(spec, {})


@pytest.mark.parametrize("offset", [16, -1])
def test_linking_refuses_an_address_outside_of_the_value(offset: int) -> None:
    text = f"r1 = map[fd:2][0]+{offset & 0xFFFFFFFF}\nexit"
    with pytest.raises(BytecodeError, match="whose value has 16 bytes"):
        link_instructions(assemble(text), {2: Map(SPECS[2])})


USUAL = (
    *(
        1,
        2,
        3,
        5,
        6,
        7,
        9,
        10,
        11,
        12,
        13,
        14,
        18,
        20,
        21,
        23,
        25,
        26,
        28,
        31,
        32,
        33,
        34,
        38,
        39,
        41,
        43,
        46,
    ),
    *(50, 69, 85, 86, 93, 94, 95, 99, 113, 124, 125, 130, 131, 132, 133, 152, 155, 177, 181),
)


def test_every_helper_of_tc_is_there_or_says_why_not() -> None:
    there = BODIES.keys() | CONTROLLED
    assert there.issuperset(USUAL)
    assert {
        helper.name for helper in HELPERS if helper.sched_cls and helper.number not in there
    } == REFUSED.keys()
    assert not any("4.13" in BY_NAME[name].sched_cls for name in REFUSED)


def test_bodies_take_what_their_prototypes_say() -> None:
    found = prototypes()
    for helper in HELPERS:
        if helper.number in BODIES:
            assert len(BODIES[helper.number].registers) == len(found[helper.name].arguments), helper.name
    assert KFUNCS.keys() == KFUNC_PROTOTYPES.keys()
    for name, body in KFUNCS.items():
        assert len(body.registers) <= len(KFUNC_PROTOTYPES[name].arguments), name


def test_native_bodies_compile() -> None:
    """Those in the subset, and all they call."""
    bodies = {body.function for body in (*BODIES.values(), *KFUNCS.values())}
    native = {function for function in bodies if not record_of(function).is_external}
    assert len(native) > 100
    lines = [
        f"{line.replace('declare', 'define')} {{ ret i64 0 }}"
        if line.startswith('declare i64 @"vm.')
        else line
        for line in module_ir(native).splitlines()
    ]
    compile_module("\n".join(lines), [], optimize=0)
