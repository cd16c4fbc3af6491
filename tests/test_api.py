"""`clsbpf.Object`, `Program.from_instructions` and runs with objects, as a user has them."""

from __future__ import annotations

from pathlib import Path

import pytest

import clsbpf
from clsbpf.api import FilterText, filters_setup, split_object
from clsbpf.bpf import insn as e
from clsbpf.bpf.asm import assemble
from clsbpf.bpf.isa import Alu, Jmp, Pseudo, Size
from clsbpf.bpf.maps import MapType
from clsbpf.bpf.spec import MapSpec
from clsbpf.engine.delivery import Delivery
from clsbpf.engine.results import Results
from clsbpf.engine.run import run
from clsbpf.engine.written import written_columns
from clsbpf.vm.environment import TraceLine
from clsbpf.vm.link import link_instructions
from clsbpf.vm.maps.map import Map
from elf_writer import ElfWriter
from run_cases import pcap

OBJECTS = Path(__file__).parents[1] / "examples" / "programs" / "build" / "O2"
OFFICE = str(Path(__file__).parents[1] / "examples" / "office.pcap")
IP_FRAME = bytes.fromhex("020000000001 020000000002 0800") + bytes(50)
TAGGED_FRAME = bytes.fromhex("020000000001 020000000002 8100 000a 0800") + bytes(50)

MARKS = """
    w2 = *(u32 *)(r1 +0)
    *(u32 *)(r1 +8) = w2
    *(u32 *)(r1 +52) = w2
    w0 = 0
    exit
"""
"""mark and cb[1] become the length; the verdict is OK."""
FAULTS = """
    r2 = *(u32 *)(r1 +76)
    w0 = *(u8 *)(r2 +60)
    w0 = 0
    exit
"""
"""Reads byte 60 of the packet without looking how long it is."""


def program(text: str) -> clsbpf.Program:
    return clsbpf.Program.from_instructions(e.encode(assemble(text)), verify=False)


def test_a_program_writes_the_skb() -> None:
    ran = program(MARKS).test_run(IP_FRAME, {"mark": 3, "cb": [1, 2, 3, 4, 5]})
    assert (ran.retval, ran.packet) == (0, IP_FRAME)
    assert (ran.skb["mark"], ran.skb["cb"]) == (64, [1, 64, 3, 4, 5])


def test_a_fault_says_what_and_where() -> None:
    with pytest.raises(clsbpf.ProgramFault, match=r"instruction 1.*packet.*60.*24|24.*60") as caught:
        program(FAULTS).test_run(bytes(24))
    assert caught.value.insn == 1


def test_what_from_instructions_refuses() -> None:
    exits = e.encode(e.program(e.mov64_imm(0, 0), e.exit_()))
    for raw, options, message in (
        (exits[:-1], {"verify": False}, "15 bytes are not a whole number"),
        (b"", {"verify": False}, "at least one instruction"),
        (exits, {"verify": False, "type": "xdp"}, "no program of type 'xdp' runs here"),
        (e.encode(e.ld_imm64(1, 7, 1)) + exits, {"verify": False}, "no map 7; there are: none"),
    ):
        with pytest.raises(clsbpf.ClsbpfError, match=message):
            clsbpf.Program.from_instructions(raw, **options)  # type: ignore[arg-type]


def test_a_program_is_verified_at_once() -> None:
    with pytest.raises(clsbpf.VerifierError, match="packet") as caught:
        clsbpf.Program.from_instructions(e.encode(assemble(FAULTS)))
    assert (caught.value.insn, bool(caught.value.log)) == (1, True)
    assert clsbpf.Program.from_instructions(e.encode(assemble(MARKS))).test_run(IP_FRAME).skb["mark"] == 64


def test_maps_by_the_key_that_instructions_have() -> None:
    text = e.encode(
        e.program(
            e.st(Size.W, 10, -4, 0),
            e.mov64_reg(2, 10),
            e.alu64_imm(Alu.ADD, 2, -4),
            e.ld_imm64(1, 5, Pseudo.MAP_FD),
            e.call(1),
            e.jmp_imm(Jmp.JEQ, 0, 0, 2),
            e.ldx(Size.W, 0, 0, 0),
            e.exit_(),
            e.mov64_imm(0, 77),
            e.exit_(),
        )
    )
    counter = MapSpec("counter", MapType.ARRAY, 4, 4, 1)
    assert clsbpf.Program.from_instructions(text, {5: counter}).test_run(IP_FRAME).retval == 0
    shared = Map(counter)
    shared[bytes(4)] = b"\x09\0\0\0"
    assert clsbpf.Program.from_instructions(text, {5: shared}).test_run(IP_FRAME).retval == 9


def test_an_object_by_function_and_section() -> None:
    loaded = clsbpf.Object.load(OBJECTS / "vlan.o")
    assert set(loaded.programs) == {"vlan_push", "vlan_push_two", "vlan_pop", "vlan_translate"}
    assert loaded.programs["tc/pop"] is loaded.programs["vlan_pop"]
    pushed = loaded.programs["vlan_push"].test_run(IP_FRAME)
    assert pushed.skb["vlan_present"] == 1
    with pytest.raises(clsbpf.ObjectError, match="no program or section 'nosuch'; there are: vlan_push"):
        loaded.programs["nosuch"]


def test_programs_of_an_object_share_its_maps() -> None:
    loaded = clsbpf.Object.load(OBJECTS / "firewall.o")
    (only,) = loaded.programs.values()
    only.test_run(IP_FRAME)
    assert set(loaded.maps) >= {"rules4", "rules6", "verdicts"}
    assert only.tag is not None
    assert len(only.tag) == 16
    assert "call" in only.disassemble()


def test_global_variables_by_name() -> None:
    loaded = clsbpf.Object.load(OBJECTS / "globals.o")
    variables = loaded.variables
    assert (variables["tuned"], variables["limits"]) == (77, [60, 1514])
    variables["tuned"] = 5
    variables["countdown"] = 0
    assert (variables["tuned"], variables["countdown"]) == (5, 0)
    loaded.programs["tc"].test_run(IP_FRAME)
    assert variables["stats"]["packets"] == 1
    for name, value, message in (
        ("limits", [1, 2], "map '.rodata.limits' .* is frozen"),
        ("tuned", 1 << 32, "tuned"),
        ("nosuch", 1, "globals.o: no variable 'nosuch'; there are: sample_every"),
    ):
        with pytest.raises(clsbpf.ClsbpfError, match=message):
            variables[name] = value
    assert variables["tuned"] == 5


def run_filters(tmp_path: Path, *filters: FilterText, **options: object) -> Results:
    path = tmp_path / "two.pcap"
    path.write_bytes(pcap([(0, IP_FRAME, 64), (1_000_000, TAGGED_FRAME, 68), (2_000_000, b"\2" * 40, 40)]))
    setup = filters_setup(filters, profile="current", backend="native", **options)  # type: ignore[arg-type]
    return run([str(path)], setup, columns=True)


def test_objects_and_expressions_in_one_run(tmp_path: Path) -> None:
    """Expressions see the tag in the data, the object's program has it in the metadata."""
    results = run_filters(
        tmp_path, FilterText("expression", "vlan"), FilterText("object", f"{OBJECTS}/firewall.o:tc")
    )
    first, second = results.filters
    assert (first.flowid, first.packets, first.matches) == (0x10001, 1, "vlan")
    assert (second.flowid, second.matches) == (0x10002, f"{OBJECTS}/firewall.o:tc")
    assert results.packets == 3


def test_extra_columns_are_what_programs_may_write(tmp_path: Path) -> None:
    policy = clsbpf.Object.load(OBJECTS / "globals.o").programs["tc"]
    columns = written_columns([[each for each in policy.instructions if isinstance(each, e.Insn)]])
    table = run_filters(tmp_path, FilterText("object", f"{OBJECTS}/globals.o:tc")).to_arrow()
    assert tuple(table.column_names[8:]) == columns
    assert columns
    assert written_columns([assemble(MARKS)]) == ("mark", "cb1")
    assert written_columns([assemble("r6 = r1\nr2 = 5\n*(u64 *)(r6 +152) = r2\nexit")]) == ("tstamp",)
    assert written_columns([assemble("r2 = 5\n*(u32 *)(r10 -8) = r2\nexit")]) == ()


def test_a_fault_stops_the_run_or_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "short.pcap"
    path.write_bytes(pcap([(0, bytes(64), 64), (0, bytes(24), 24), (0, bytes(64), 64)]))
    engine = clsbpf.Engine()
    engine.add_device("lab0")
    engine.tc("qdisc add dev lab0 clsact")
    fd = engine._programs.open(program(FAULTS)._loaded)
    engine._pins.pin("/sys/fs/bpf/faults", engine._programs.file(fd))
    engine.tc("filter add dev lab0 ingress bpf da pinned /sys/fs/bpf/faults")
    with pytest.raises(clsbpf.ProgramFault, match=r"short\.pcap: packet 1: instruction 1"):
        engine.run(path)
    results = engine.run(path, keep_going=True)
    assert (results.packets, results.faulted, results.undecided) == (3, 1, 1)


def test_what_programs_print_comes_with_the_packet(tmp_path: Path) -> None:
    lines: list[TraceLine] = []
    run_filters(tmp_path, FilterText("object", f"{OBJECTS}/trace.o:tc/trace"), on_trace=lines.append)
    assert lines
    assert {line.packet for line in lines} <= {0, 1, 2}
    assert all(line.program and line.text for line in lines)


def test_splitting_file_and_program(tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.write_bytes(b"")
    assert split_object("prog.o") == ("prog.o", None)
    assert split_object("prog.o:tc/in") == ("prog.o", "tc/in")
    assert split_object(str(odd)) == (str(odd), None)
    assert split_object(f"{odd}:x") == (str(odd), "x")


def test_profiles_and_backends_have_names() -> None:
    with pytest.raises(clsbpf.ClsbpfError, match=r"no kernel profile '2\.6'; there are: current, 4\.13"):
        clsbpf.Engine(profile="2.6")
    with pytest.raises(clsbpf.ClsbpfError, match="no backend 'gpu'; there are: native, jit, interpreter"):
        clsbpf.Engine(backend="gpu")


def test_devices_and_hooks_have_names() -> None:
    engine = clsbpf.Engine()
    for device in ("lab0", "lab1"):
        engine.add_device(device)
    with pytest.raises(
        clsbpf.RunError, match=r"at which device do the packets arrive\? There are: lab0, lab1"
    ):
        engine.run(OFFICE)
    with pytest.raises(clsbpf.RunError, match="no device 'lab2'; there are: lab0, lab1"):
        engine.run(OFFICE, dev="lab2")
    with pytest.raises(clsbpf.RunError, match="has no ingress filters: it has no clsact or ingress qdisc"):
        engine.run(OFFICE, dev="lab0")
    engine.tc("qdisc add dev lab0 ingress")
    with pytest.raises(clsbpf.RunError, match="has no egress filters: its ingress qdisc has none"):
        engine.run(OFFICE, dev="lab0", hook="egress")


REDIRECTS = """
    r6 = r1
    w2 = 7
    w3 = 0
    call clone_redirect
    r1 = 9
    r2 = 1
    call redirect
    exit
"""
"""A copy goes out of ifindex 7, the packet itself comes in at ifindex 9."""


def test_packets_sent_to_other_devices(tmp_path: Path) -> None:
    path = tmp_path / "tagged.pcap"
    path.write_bytes(pcap([(5_000, TAGGED_FRAME, 100)]))
    engine = clsbpf.Engine()
    for name, ifindex in (("lab0", 2), ("tap0", 7), ("lab1", 9)):
        engine.add_device(name, ifindex)
    engine.tc("qdisc add dev lab0 clsact")
    loaded = engine._programs.load(link_instructions(assemble(REDIRECTS), {}))
    engine._pins.pin("/sys/fs/bpf/redirects", loaded)
    engine.tc("filter add dev lab0 ingress bpf da pinned /sys/fs/bpf/redirects")
    sent: list[Delivery] = []
    results = engine.run(path, dev="lab0", on_delivery=sent.append)
    assert results.verdicts["redirect"] == 1
    assert [(each.device, each.ingress, each.time, each.packet) for each in sent] == [
        ("tap0", False, 5_000, 0),
        ("lab1", True, 5_000, 0),
    ]
    assert {(each.data, each.length) for each in sent} == {(TAGGED_FRAME, 100)}


ACTIONS = """
qdisc add dev lab0 clsact
qdisc add dev tap0 clsact
filter add dev lab0 ingress pref 1 protocol ip bpf bytecode '1,6 0 0 4294967295' flowid 1:1 \
    action mirred egress mirror dev tap0 pipe action gact goto chain 5
filter add dev lab0 ingress chain 5 pref 1 bpf bytecode '2,128 0 0 0,22 0 0 0' action drop
filter add dev lab0 ingress pref 2 bpf bytecode '1,6 0 0 4294967295' action pass
filter add dev tap0 egress pref 1 bpf da bytecode '4,128 0 0 0,37 0 1 60,6 0 0 0,6 0 0 2'
"""
"""IPv4: a copy to tap0 (which drops what has no more than 60 bytes), then dropped in chain 5."""


def test_a_policy_with_actions(tmp_path: Path) -> None:
    path, policy = tmp_path / "some.pcap", tmp_path / "policy.tc"
    path.write_bytes(pcap([(0, IP_FRAME, 64), (1_000, IP_FRAME[:50], 50), (2_000, b"\2" * 40, 40)]))
    policy.write_text(ACTIONS.replace("\\\n", ""))
    engine = clsbpf.Engine()
    engine.tc_batch(policy, create_devices=True)
    sent: list[Delivery] = []
    results = engine.run(path, dev="lab0", on_delivery=sent.append, columns=True)
    assert (results.verdicts["shot"], results.verdicts["ok"]) == (2, 1)
    assert [(each.chain, each.pref, each.packets) for each in results.filters] == [
        (0, 1, 0),
        (0, 2, 1),
        (5, 1, 2),
    ]
    assert [(each.packet, each.device, each.length) for each in sent] == [(0, "tap0", 64)]
    assert results.to_arrow()["chain"].to_pylist() == [5, 5, 0]
    shown = engine.tc("-s filter show dev lab0 ingress pref 1")
    assert shown is not None
    (mirred, gact) = shown[1]["options"]["actions"]
    assert (mirred["kind"], mirred["stats"]["packets"]) == ("mirred", 2)
    assert gact["control_action"] == {"type": "goto", "chain": 5}


def test_what_the_world_lacks_is_said(tmp_path: Path) -> None:
    """A program that looks a socket up finds none, and the results say that it looked."""
    results = run_filters(tmp_path, FilterText("object", f"{OBJECTS}/mirror.o"))
    assert results.warnings == ()
    lookup = """
        r6 = r1
        r2 = 0
        *(u64 *)(r10 -16) = r2
        *(u64 *)(r10 -8) = r2
        r2 = r10
        r2 += -16
        r3 = 12
        r4 = -1
        r5 = 0
        call sk_lookup_udp
        r0 = 0
        exit
    """
    engine = clsbpf.Engine()
    engine.add_device("lab0")
    engine.tc("qdisc add dev lab0 clsact")
    engine._pins.pin("/sys/fs/bpf/looks", engine._programs.load(link_instructions(assemble(lookup), {})))
    engine.tc("filter add dev lab0 ingress bpf da pinned /sys/fs/bpf/looks")
    path = tmp_path / "two.pcap"
    path.write_bytes(pcap([(0, IP_FRAME, 64)] * 2))
    for _ in range(2):
        asked, slow = engine.run(path).warnings
        assert asked.startswith("programs asked 2 times for ")
        assert "not verified" in slow


@pytest.fixture
def two(tmp_path: Path) -> str:
    """An object with a program that is fine, and one that the verifier refuses."""
    writer = ElfWriter()
    fine = writer.code("fine", assemble("r0 = 7\nexit"))
    writer.symbol("fine", fine, 0, 16)
    bad = writer.code("bad", assemble(FAULTS))
    writer.symbol("bad", bad, 0, 32)
    writer.license("GPL")
    path = tmp_path / "two.o"
    path.write_bytes(writer.build())
    return str(path)


REFUSAL = [
    "bad: refused",
    "  Reason: accesses 1 byte at packet offset 60, but no byte is known to be there",
    "  At: [1: r0 = *(u8 *)(r2 +60)]",
    "  Path:",
    "    last changed: [0: r2 = *(u32 *)(r1 +76)]",
]


def test_a_program_of_an_object_is_verified_when_it_is_used(two: str) -> None:
    loaded = clsbpf.Object.load(two)
    assert loaded.programs["fine"].test_run(IP_FRAME).retval == 7
    bad = loaded.programs["bad"]
    assert bad.disassemble()
    with pytest.raises(clsbpf.VerifierError) as caught:
        bad.test_run(IP_FRAME)
    assert str(caught.value).splitlines()[: len(REFUSAL)] == REFUSAL
    assert caught.value.report.suggestion in str(caught.value)
    assert caught.value.insn == 1
    assert clsbpf.Object.load(two, verify=False).programs["bad"].test_run(IP_FRAME).retval == 0


def test_a_tail_call_leads_only_to_what_is_verified() -> None:
    loaded = clsbpf.Object.load(OBJECTS / "legacy_tails.o")
    jumps = loaded.maps["jumps"]
    targets = [jumps.held_at(key) for key in jumps.walk()]
    assert [each is not None and each.verified for each in targets] == [None, None, None, False]  # type: ignore[attr-defined]
    loaded.programs["legacy_tails"].test_run(IP_FRAME)
    targets = [jumps.held_at(key) for key in jumps.walk()]
    assert [each is not None and bool(each.verified) for each in targets] == [True] * 3 + [False]  # type: ignore[attr-defined]


def test_tc_refuses_what_the_verifier_refuses(two: str) -> None:
    for verify in (True, False):
        engine = clsbpf.Engine(verify=verify)
        engine.add_device("lab0")
        engine.tc("qdisc add dev lab0 clsact")
        engine.tc(f"filter add dev lab0 ingress bpf da object-file {two} section fine")
        line = f"filter add dev lab0 ingress bpf da object-file {two} section bad"
        if not verify:
            engine.tc(line)
            continue
        with pytest.raises(clsbpf.TcError) as caught:
            engine.tc(line)
        message = str(caught.value).splitlines()
        assert (message[: len(REFUSAL)], message[-1]) == (REFUSAL, "Unable to load program")
        assert caught.value.exit_code == 1
        rows = engine.tc("filter show dev lab0 ingress")
        assert rows is not None
        assert len([row for row in rows if "options" in row]) == 1
    with pytest.raises(clsbpf.VerifierError, match="bad: refused"):
        filters_setup([FilterText("object", f"{two}:bad")], profile="current", backend="native")
    with pytest.raises(clsbpf.VerifierError, match="needs 32-bit jumps"):
        filters_setup([FilterText("object", f"{OBJECTS}/firewall.o:tc")], profile="4.13", backend="native")
