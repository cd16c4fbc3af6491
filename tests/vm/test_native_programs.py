"""Linked programs as machine code: maps, callbacks, tail calls, errors of Python, code that is replaced."""

from __future__ import annotations

import gc
import ipaddress
import threading
import weakref
from collections.abc import Callable

import pytest

from clsbpf.bpf.asm import assemble
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import MapSpec, ProgramSpec
from clsbpf.errors import ProgramFault
from clsbpf.objfile import machine_btf
from clsbpf.profile import CURRENT, V4_13
from clsbpf.skb import Skb
from clsbpf.verifier.program import VerifiedProgram
from clsbpf.verifier.verify import verify
from clsbpf.vm import interp, native_program
from clsbpf.vm.environment import Environment
from clsbpf.vm.helpers.kernel_context import layout
from clsbpf.vm.link import LinkedProgram, link
from clsbpf.vm.maps.map import Map
from clsbpf.vm.native_program import NativeProgram, code_in_use, jit, native_of, program_ir
from clsbpf.vm.net import Net, NetDevice, Route
from running import bless

COUNTS = MapSpec("counts", MapType.ARRAY, 4, 8, 4)
FLOWS = MapSpec("flows", MapType.HASH, 4, 8, 64)
NEXT = MapSpec("next", MapType.PROG_ARRAY, 4, 4, 4)


def packet() -> Skb:
    return Skb.from_frame(bytes(60))


Judge = Callable[[ProgramSpec], VerifiedProgram | None]


def trusted(spec: ProgramSpec) -> VerifiedProgram:
    """What the verifier would want more for: types of functions, say."""
    return bless(spec.insns, ctx_accesses=())


def nobody(spec: ProgramSpec) -> None:
    """Not verified."""


def linked(text: str, *maps: Map, judge: Judge = verify) -> LinkedProgram:
    """A program; map n is `map[fd:n]` in it."""
    spec = ProgramSpec(
        "test", insns=assemble(text), license="GPL", maps={at: each.spec for at, each in enumerate(maps)}
    )
    return link(spec, {each.name: each for each in maps}, judge(spec))


COUNT = """
    *(u32 *)(r10 -4) = 1
    r1 = map[fd:0]
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto none
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
  none:
    r0 = 7
    exit
"""


def test_a_test_run_runs_as_often_as_it_says() -> None:
    counts = Map(COUNTS)
    result, _ = native_of(linked(COUNT, counts)).test_run(Environment(), packet(), 1000)
    assert (result, list(counts.values())) == (
        7,
        [bytes(8), (1000).to_bytes(8, "little"), bytes(8), bytes(8)],
    )


def test_the_text_has_nothing_of_this_process_in_it() -> None:
    """What is compiled once serves programs with other maps, in other processes."""
    first, second = Map(COUNTS), Map(COUNTS)
    assert program_ir(linked(COUNT, first)) == program_ir(linked(COUNT, second))
    native_of(linked(COUNT, first)).run(packet())
    native_of(linked(COUNT, second)).run(packet())
    assert first[bytes([1, 0, 0, 0])] == second[bytes([1, 0, 0, 0])] == (1).to_bytes(8, "little")


def test_division_by_zero_ends_the_function_where_the_kernel_is_old() -> None:
    """4.13: the result is 0, and of a function of a program only that function ends."""
    text = "r1 = *(u32 *)(r1 + 8)\ncall pc+2\nr0 += 3\nexit\nr0 = 5\nr0 /= r1\nr0 += 9\nexit"
    program = linked(text)
    results = {
        profile.name: (jit(program, profile).run(packet()), interp.run(program, packet(), profile=profile))
        for profile in (CURRENT, V4_13)
    }
    assert results == {"current": (12, 12), "4.13": (3, 3)}


# Callbacks --------------------------------------------------------------------------------------------

WALK = """
    r1 = map[fd:0]
    r2 = subprog[{at}]
    r3 = r10
    r3 += -8
    *(u64 *)(r10 -8) = 0
    r4 = 0
    call 164
    r6 = *(u64 *)(r10 -8)
    r0 <<= 16
    r0 |= r6
    exit
    {callback}
"""
ADD_UP = "r1 = *(u64 *)(r3 +0)\nr2 = *(u64 *)(r4 +0)\nr1 += r2\n*(u64 *)(r4 +0) = r1\nr0 = {stop}\nexit"
DELETE = "r6 = r4\nr1 = *(u64 *)(r6 +0)\nr1 += 1\n*(u64 *)(r6 +0) = r1\nr1 = map[fd:0]\ncall 3\nr0 = 0\nexit"


@pytest.mark.parametrize(
    ("spec", "callback", "met", "total"),
    [
        (FLOWS, ADD_UP.format(stop=0), 5, 0 + 1 + 2 + 3 + 4),
        (COUNTS, ADD_UP.format(stop=0), 4, 0 + 1 + 2 + 3),
        (COUNTS, ADD_UP.format(stop=1), 1, 0),
        (FLOWS, DELETE, 5, 5),
    ],
    ids=["a hash", "an array", "as far as it wants", "deleting what it meets"],
)
def test_a_walk_over_a_map(spec: MapSpec, callback: str, met: int, total: int) -> None:
    found = []
    for execute in (interp.run, lambda program, skb: native_of(program).run(skb)):
        walked = Map(spec)
        for number in range(min(5, spec.max_entries)):
            walked[number.to_bytes(4, "little")] = number.to_bytes(8, "little")
        text = WALK.format(at=10, callback=callback)
        found.append((execute(linked(text, walked, judge=trusted), packet()), dict(walked)))
    assert found[0] == found[1]
    assert found[0][0] == met << 16 | total


def test_may_goto_ends() -> None:
    text = "r6 = 0\nagain:\nmay_goto out\nr6 += 1\ngoto again\nout:\nr0 = r6\nexit"
    assert native_of(linked(text, judge=trusted)).run(packet()) == 8 * 1024 * 1024


# Tail calls -------------------------------------------------------------------------------------------

CALL_SLOT = "r2 = map[fd:0]\nr3 = {slot}\ncall 12\n"
AGAIN = f"""
    r6 = r1
    r7 = *(u32 *)(r1 + 48)
    r7 += 1
    *(u32 *)(r1 + 48) = r7
    {CALL_SLOT.format(slot=0)}
    r0 = r7
    exit
"""


def test_at_most_33_tail_calls() -> None:
    """The first run and 33 more; and again with the next packet."""
    slots = Map(NEXT)
    program = linked(AGAIN, slots)
    slots.put(bytes(4), program)
    native = native_of(program)
    assert [native.run(packet()) for _ in range(3)] == [34, 34, 34]


@pytest.mark.parametrize("slot", [1, 4, 2**31 - 1], ids=["empty", "beyond the end", "far beyond"])
def test_a_tail_call_to_nothing_goes_on(slot: int) -> None:
    assert native_of(linked(CALL_SLOT.format(slot=slot) + "r0 = 5\nexit", Map(NEXT))).run(packet()) == 5


@pytest.mark.parametrize("judge", [verify, nobody], ids=["compiled when it is called", "interpreted"])
def test_a_target_that_is_no_machine_code_yet(judge: Judge) -> None:
    """What was not verified runs in the checked interpreter, on the same packet."""
    slots = Map(NEXT)
    slots.put(bytes(4), linked("*(u32 *)(r1 + 8) = 9\nr0 = 3\nexit", judge=judge))
    skb = packet()
    assert native_of(linked(CALL_SLOT.format(slot=0) + "r0 = 5\nexit", slots)).run(skb) == 3
    assert skb.mark == 9


def test_a_tail_call_of_a_function_returns_to_its_caller() -> None:
    slots = Map(NEXT)
    slots.put(bytes(4), linked("r0 = 30\nexit"))
    text = "call pc+2\nr0 += 1\nexit\n" + CALL_SLOT.format(slot=0) + "r0 = 5\nexit"
    assert native_of(linked(text, slots, judge=trusted)).run(packet()) == 31


def test_a_slot_that_changes_is_seen_by_the_next_packet() -> None:
    slots = Map(NEXT)
    native = native_of(linked(CALL_SLOT.format(slot=0) + "r0 = 5\nexit", slots))
    results = []
    for number in (1, 2):
        slots.put(bytes(4), linked(f"r0 = {number}\nexit"))
        results += [native.run(packet()), native.run(packet())]
    slots.delete(bytes(4))
    assert [*results, native.run(packet())] == [1, 1, 2, 2, 5]


def test_code_that_is_replaced_stays_while_somebody_is_inside() -> None:
    program = native_of(linked("r0 = 1\nexit"))
    module = program._module
    with code_in_use():
        del program
        gc.collect()
        assert module in native_program._in_use.retired
    assert module not in native_program._in_use.retired


def test_programs_are_replaced_while_another_thread_runs_them() -> None:
    slots = Map(NEXT)
    slots.put(bytes(4), linked("r0 = 1\nexit"))
    caller = native_of(linked(CALL_SLOT.format(slot=0) + "r0 = 5\nexit", slots))
    results: set[int] = set()
    done = threading.Event()

    def classify() -> None:
        while not done.is_set():
            results.add(caller.test_run(Environment(), packet(), 1000)[0])

    thread = threading.Thread(target=classify)
    thread.start()
    for number in range(2, 12):
        slots.put(bytes(4), linked(f"r0 = {number}\nexit"))
        gc.collect()
    done.set()
    thread.join()
    assert results <= set(range(1, 12))
    assert results


# Python -----------------------------------------------------------------------------------------------

CLONE = "r2 = 7\nr3 = 0\ncall 13\nr0 = 9\nexit"


class Broken(Net):
    """A network whose devices cannot be asked for."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def device(self, ifindex: int) -> NetDevice | None:
        raise self.error


@pytest.mark.parametrize(
    "error", [ProgramFault("no", 0), RuntimeError("a bug"), KeyboardInterrupt()], ids=repr
)
def test_an_error_of_python_is_raised_after_the_run(error: BaseException) -> None:
    """A body in Python cannot unwind machine code; what it raised is not lost, and not raised twice."""
    native = native_of(linked(CLONE))
    with pytest.raises(type(error)):
        native.run(packet(), Environment(net=Broken(error)))
    assert native.run(packet(), Environment()) == 9


def test_a_string_on_the_stack_is_printed() -> None:
    """Python reads what machine code points to: the packet, the stack, values of maps, and nothing else."""
    text = """
        *(u64 *)(r10 -8) = 0x7325        ; "%s"
        *(u64 *)(r10 -16) = 0x646362     ; "bcd"
        r1 = r10
        r1 += -8
        r2 = 8
        r3 = r10
        r3 += -16
        call 6
        exit
    """
    program = linked(text)
    environment = Environment()
    assert native_of(program).run(packet(), environment) == 3
    assert [line.text for line in environment.trace] == ["bcd"]


def test_a_number_that_is_no_address_is_not_read() -> None:
    text = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 4096\ncall 113\nexit"
    results = {execute(linked(text)) for execute in (_interpreted, _compiled)}
    assert results == {2**32 - 34}, "-ERANGE: below the kernel's half"


def _interpreted(program: LinkedProgram) -> int:
    return interp.run(program, packet())


def _compiled(program: LinkedProgram) -> int:
    return native_of(program).run(packet())


def test_machine_code_goes_with_its_program() -> None:
    slots = Map(NEXT)
    program = linked(AGAIN, slots)
    slots.put(bytes(4), program)
    native: weakref.ref[NativeProgram] = weakref.ref(native_of(program))
    del program, slots
    gc.collect()
    assert native() is None


ROUTE = """
    r6 = r1
    r7 = r10
    r7 += -64
{zeros}
    *(u8 *)(r7 +0) = 2
    *(u32 *)(r7 +8) = 3
    *(u32 *)(r7 +32) = 0x0201000a
    r1 = r6
    r2 = r7
    r3 = 64
    r4 = 4
    call bpf_fib_lookup
    r1 = *(u32 *)(r7 +8)
    r0 <<= 8
    r0 |= r1
    exit
""".format(zeros="\n".join(f"    *(u64 *)(r10 -{at}) = 0" for at in range(8, 72, 8)))


@pytest.mark.parametrize("routes", [True, False], ids=["a route", "no routes at all"])
def test_what_python_answered_is_asked_once_and_counted_each_time(routes: bool) -> None:
    """A route is looked up in Python; the same question in the same run has the same answer."""
    devices = {3: NetDevice(3, "in"), 4: NetDevice(4, "out")}
    found = Route(ipaddress.ip_network("10.0.0.0/8"), 4)
    program = linked(ROUTE)
    results = []
    for repeat in (1, 5):
        environment = Environment(net=Net(devices, [found] if routes else []))
        result, _ = native_of(program).test_run(environment, packet(), repeat)
        results.append(result)
        assert environment.asked == ({} if routes else {"routes (bpf_fib_lookup)": repeat})
    assert results == [interp.run(program, packet(), environment=environment)] * 2
    assert results[0] == (4 if routes else 4 << 8 | 3)


def test_a_structure_of_the_kernel_that_is_not_there_reads_as_0() -> None:
    """BPF_PROBE_MEM: a pointer out of the kernel may lead nowhere; a load through it is 0, and no fault."""
    types = machine_btf()
    if types is None:
        pytest.skip("this machine's kernel does not tell its types (no BTF)")
    _, members = layout(types, "task_struct")
    parent, pid = (next(bits // 8 for name, bits, _ in members if name == each) for each in ("parent", "pid"))
    text = f"call 158\nr1 = *(u64 *)(r0 +{parent})\nr0 = *(u32 *)(r1 +{pid})\nexit"
    program = linked(text)
    assert _interpreted(program) == _compiled(program) == 0
