"""Programs: which functions are some, how they are put together, and what spoils one but not the others."""

from __future__ import annotations

import pytest

import elf_writer as elf
from btf_writer import BtfWriter
from clsbpf.bpf import insn as e
from clsbpf.bpf.insn import Insn
from clsbpf.bpf.isa import Pseudo
from clsbpf.bpf.spec import PROGRAM_TYPES, ObjectSpec, ProgramSpec
from clsbpf.errors import ObjectError
from clsbpf.objfile import load_object
from clsbpf.objfile.btf import Btf, Kind
from clsbpf.objfile.sections import program_type
from compiled import compiled
from elf_writer import ElfWriter, program

RETURN = (e.mov64_imm(0, 2), e.exit_())
CALL = Insn(0x85, src=1, imm=-1)


def load(writer: ElfWriter, **options: object) -> ObjectSpec:
    return load_object(writer.build(), "p.o", **options)  # type: ignore[arg-type]


def functions(spec: ProgramSpec) -> list[tuple[str, int]]:
    return [(info.name, info.insn) for info in spec.func_info]


# What is a program --------------------------------------------------------------------------------


def test_functions_of_sections_are_programs_and_those_of_text_are_not() -> None:
    writer = ElfWriter()
    text = writer.code(".text", RETURN * 2)
    writer.symbol("helper", text, 0, 16)
    tc = writer.code("tc", RETURN * 3)
    for name, at, bind in (("one", 0, elf.GLOBAL), ("two", 16, elf.GLOBAL), ("inner", 32, elf.LOCAL)):
        writer.symbol(name, tc, at, 16, bind=bind)
    assert [(p.name, p.section, len(p.insns)) for p in load(writer).programs.values()] == [
        ("one", "tc", 2),
        ("two", "tc", 2),
    ]


@pytest.mark.parametrize(
    ("section", "symbols", "names"),
    [
        (".text", [("main", 0, elf.FUNC, elf.GLOBAL)], ["main"]),
        ("classifier", [("main", 0, elf.FUNC, elf.LOCAL)], ["main"]),
        ("classifier", [("main", 0, elf.NOTYPE, elf.GLOBAL)], ["main"]),
        ("classifier", [("LBB0_1", 8, elf.NOTYPE, elf.LOCAL)], ["classifier"]),
        ("classifier", [], ["classifier"]),
    ],
    ids=["only .text", "static", "without a type", "only a label", "without symbols"],
)
def test_programs_from_before_the_conventions(
    section: str, symbols: list[tuple[str, int, int, int]], names: list[str]
) -> None:
    writer = ElfWriter()
    code = writer.code(section, RETURN)
    for name, at, kind, bind in symbols:
        writer.symbol(name, code, at, type=kind, bind=bind)
    found = load(writer).programs
    assert list(found) == names
    assert found[names[0]].insns == RETURN


def test_programs_of_one_name_are_told_apart_by_their_sections() -> None:
    writer = ElfWriter()
    for section in ("tc", "action"):
        writer.symbol("main", writer.code(section, RETURN), bind=elf.LOCAL)
    assert list(load(writer).programs) == ["main", "action:main"]


@pytest.mark.parametrize(
    ("section", "type"),
    [
        ("classifier", "sched_cls"),
        ("classifier/ingress", "sched_cls"),
        ("tc", "sched_cls"),
        ("tcx/egress", "sched_cls"),
        ("netkit/primary", "sched_cls"),
        ("?tc", "sched_cls"),
        ("from-container", "sched_cls"),
        ("2/1", "sched_cls"),
        ("xdpfoo", "sched_cls"),
        ("action", "sched_act"),
        ("action/nat", "sched_act"),
        ("actionable", "sched_cls"),
        ("socket", "socket_filter"),
        ("socket1", "socket_filter"),
        ("xdp", "xdp"),
        ("xdp.frags", "xdp"),
        ("xdp_pass", "xdp"),
        ("kprobe/do_sys_open", "kprobe"),
        ("tp/net/netif_rx", "tracepoint"),
        ("raw_tp/skb", "raw_tracepoint"),
        ("fentry.s/foo", "tracing"),
        ("cgroup_skb/ingress", "cgroup_skb"),
        ("cgroup/connect4", "cgroup_sock_addr"),
        ("cgroup/sock_create", "cgroup_sock"),
        ("sk_lookup/x", "sk_lookup"),
        ("lwt_xmit", "lwt_xmit"),
    ],
)
def test_the_name_of_a_section_is_a_type(section: str, type: str) -> None:
    assert program_type(section) == type
    assert type in PROGRAM_TYPES


def test_a_question_mark_means_only_when_asked() -> None:
    writer = program(*RETURN, section="?tc")
    assert not load(writer).programs["main"].autoload


# How one is put together --------------------------------------------------------------------------


def test_subprograms_follow_where_they_are_first_called() -> None:
    """Depth first, each once, as libbpf lays them out: so the tag is the kernel's."""
    programs = load_object(compiled("parts.c", "-O2", "-g"), "parts.o").programs
    assert functions(programs["on_ingress"]) == [
        ("on_ingress", 0),
        ("each", 65),
        ("thrice", 74),
        ("twice", 78),
    ]
    assert functions(programs["stage_two"]) == [("stage_two", 0), ("twice", 14)]
    main = programs["on_ingress"].insns
    callback = next(at for at, insn in enumerate(main) if insn.is_ld_imm64 and insn.src == Pseudo.FUNC)
    assert callback + 1 + main[callback].imm == 65
    (call,) = (at for at, insn in enumerate(main[:65]) if insn.code == 0x85 and insn.src == 1)
    assert call + 1 + main[call].imm == 74


def test_calls_with_a_symbol_with_a_section_and_without_either() -> None:
    writer = ElfWriter()
    text = writer.code(".text", RETURN * 2)
    writer.symbol("first", text, 0, 16, bind=elf.LOCAL)
    second = writer.symbol("second", text, 16, 16)
    whole = writer.symbol("", text, type=elf.SECTION, bind=elf.LOCAL)
    body = (CALL, Insn(0x85, src=1, imm=1), Insn(0x85, src=1, imm=2), e.exit_(), *RETURN)
    tc = writer.code("tc", body)
    writer.symbol("main", tc, 0, 32)
    writer.symbol("near", tc, 40, 8, bind=elf.LOCAL)
    writer.relocate(tc, 0, second, 10)
    writer.relocate(tc, 8, whole, 10)  # 1: the second function
    main = load(writer).programs["main"]
    assert functions(main) == [("main", 0), ("second", 5), ("near", 7)]
    assert [insn.imm for insn in main.insns[:3]] == [4, 3, 4]


def test_a_jump_within_its_own_function_is_left_alone() -> None:
    loop = (Insn(0x85, src=1, imm=0), e.exit_(), e.exit_())
    main = load(program(*loop)).programs["main"]
    assert main.insns == loop
    assert main.problem is None


def test_a_map_whose_place_gcc_left_in_the_instruction_too() -> None:
    """Its symbol counts, as with libbpf; three maps, so that the sum would be one as well."""
    writer = ElfWriter()
    tc = writer.code("tc", (*e.ld_imm64(1, 20), *RETURN))
    writer.symbol("main", tc)
    maps = writer.section("maps", bytes(60), flags=elf.ALLOC | elf.WRITE)
    symbols = [
        writer.symbol(name, maps, at, 20, type=elf.OBJECT) for name, at in (("a", 0), ("b", 20), ("c", 40))
    ]
    writer.relocate(tc, 0, symbols[1])
    assert [spec.name for spec in load(writer).programs["main"].maps.values()] == ["b"]


def test_references_to_maps_and_data() -> None:
    writer = ElfWriter()
    tc = writer.code("tc", (*e.ld_imm64(1, 0), *e.ld_imm64(2, 4), *e.ld_imm64(3, 0), *RETURN))
    writer.symbol("main", tc)
    maps = writer.section("maps", bytes(40), flags=elf.ALLOC | elf.WRITE)
    writer.symbol("a", maps, 0, 20, type=elf.OBJECT)
    b = writer.symbol("b", maps, 20, 20, type=elf.OBJECT)
    data = writer.section(".data", bytes(16), flags=elf.ALLOC | elf.WRITE)
    whole = writer.symbol("", data, type=elf.SECTION, bind=elf.LOCAL)
    eight = writer.symbol("eight", data, 8, 8, type=elf.OBJECT)
    for at, symbol in ((0, b), (16, whole), (32, eight)):
        writer.relocate(tc, at, symbol)
    main = load(writer).programs["main"]
    assert {number: spec.name for number, spec in main.maps.items()} == {0: "b", 1: ".data"}
    assert [(main.insns[at].src, main.insns[at].imm, main.insns[at + 1].imm) for at in (0, 2, 4)] == [
        (Pseudo.MAP_FD, 0, 0),
        (Pseudo.MAP_VALUE, 1, 4),
        (Pseudo.MAP_VALUE, 1, 8),
    ]


def test_lines_are_those_of_the_instructions() -> None:
    stage = load_object(compiled("parts.c", "-O2", "-g"), "parts.o").programs["stage_two"]
    assert [info.insn for info in stage.line_info] == sorted({info.insn for info in stage.line_info})
    begin = stage.line_at(14)
    assert begin is not None
    assert begin.file.endswith("parts.c")
    line = stage.line_at(15)
    assert line is not None
    assert line.text == "return x * 2 + (int)bpf_get_prandom_u32();"
    assert line.column > 0


# What spoils a program, and only that -------------------------------------------------------------


def spoiled(
    *insns: Insn, symbol: tuple[str, int, int] | None, type: int = 1, extra: int = 0
) -> tuple[ProgramSpec, ProgramSpec]:
    """(a program whose first instruction refers to that symbol, another one beside it)."""
    writer = ElfWriter()
    tc = writer.code("tc", (*insns, *RETURN))
    writer.symbol("main", tc)
    writer.symbol("other", writer.code("action", RETURN))
    writer.section(".data", bytes(16), flags=elf.ALLOC | elf.WRITE)
    writer.section("maps", bytes(20), flags=elf.ALLOC | elf.WRITE)
    writer.symbol("a", 4, 0, 20, type=elf.OBJECT)
    if symbol is not None:
        name, section, value = symbol
        writer.relocate(tc, 0, writer.symbol(name, section, value, type=elf.NOTYPE), type)
    found = load(writer).programs
    return found["main"], found["other"]


LOAD = e.ld_imm64(1, 0)
PROBLEMS = [
    (
        (CALL,),
        ("nowhere", 0, 0),
        "'nowhere', which is neither in the object nor declared __kconfig or __ksym",
    ),
    (LOAD, ("nowhere", 0, 0), "uses 'nowhere', which is neither in the object nor declared"),
    (LOAD, ("shared", elf.COMMON, 8), "uses 'shared', a common symbol: compile with -fno-common"),
    (LOAD, ("fixed", 0xFFF1, 8), "uses 'fixed', an absolute symbol"),
    (LOAD, ("far", 3, 99), "uses byte 99 of section '.data', which has 16"),
    (e.ld_imm64(1, 4), ("again", 4, 0), "uses 'again' at byte 4 of section 'maps': no map"),
    ((CALL,), ("a", 4, 0), "calls 'a', which is no function"),
    ((CALL,), ("middle", 2, 8), "refers to instruction 1 of section 'action'; no function begins there"),
    ((e.mov64_imm(1, 0),), ("a", 4, 0), "a relocation for 'a' where no instruction takes an address"),
    ((Insn(0x85, src=1, imm=77),), None, "calls instruction 78 of its section; no function begins there"),
    (e.ld_imm64(1, 5, Pseudo.MAP_FD), None, "refers to number 5, which only a loader can know"),
]


@pytest.mark.parametrize(("insns", "symbol", "message"), PROBLEMS, ids=range(len(PROBLEMS)))
def test_what_spoils_a_program(
    insns: tuple[Insn, ...], symbol: tuple[str, int, int] | None, message: str
) -> None:
    main, other = spoiled(*insns, symbol=symbol)
    assert main.problem is not None
    assert main.problem.startswith("p.o: function 'main', instruction 0: ")
    assert message in main.problem
    assert other.problem is None


def test_a_section_that_is_no_whole_number_of_instructions() -> None:
    writer = ElfWriter()
    writer.symbol("main", writer.section("tc", bytes(12), flags=elf.ALLOC | elf.EXEC))
    with pytest.raises(ObjectError, match="section 'tc': 12 bytes are not a whole number of 8-byte instr"):
        load(writer)


# Externs ------------------------------------------------------------------------------------------


def with_extern(section: str, kind: str, *, weak: bool = False, call: bool = False) -> ElfWriter:
    """A program that uses the extern CONFIG_X: a variable of an integer type, or a function."""
    types = BtfWriter()
    number = (
        types.int("int") if kind != "tristate" else types.enum("libbpf_tristate", {"N": 0, "Y": 1, "M": 2})
    )
    if kind == "function":
        id = types.func("CONFIG_X", types.proto(number), 2)
    elif kind == "untyped":
        id = types.var("CONFIG_X", types.modifier(Kind.CONST, 0), 2)
    elif kind == "text":
        id = types.var("CONFIG_X", types.array(types.int("char", 1), 4), 2)
    else:
        id = types.var("CONFIG_X", number, 2)
    types.datasec(section, (id, 0, 4))
    writer = ElfWriter()
    tc = writer.code("tc", ((CALL,) if call else LOAD) + RETURN)
    writer.symbol("main", tc)
    extern = writer.symbol("CONFIG_X", 0, type=elf.NOTYPE, bind=elf.WEAK if weak else elf.GLOBAL)
    writer.relocate(tc, 0, extern, 10 if call else 1)
    writer.section(".BTF", types.raw(), flags=0)
    return writer


SETTINGS = [
    ("number", "7", b"\7\0\0\0"),
    ("number", "0x10", b"\x10\0\0\0"),
    ("number", "-1", b"\xff\xff\xff\xff"),
    ("tristate", "m", b"\2\0\0\0"),
    ("text", "abcdef", b"abc\0"),
    ("text", "a", b"a\0\0\0"),
]


@pytest.mark.parametrize(("kind", "text", "raw"), SETTINGS)
def test_settings_of_the_kernel(kind: str, text: str, raw: bytes) -> None:
    read = load(with_extern(".kconfig", kind), kconfig={"CONFIG_X": text})
    settings = read.maps[".kconfig"]
    assert settings.contents == ((bytes(4), raw),)
    assert settings.frozen
    assert read.settings == ("CONFIG_X",)
    insns = read.programs["main"].insns
    assert (insns[0].src, insns[1].imm) == (Pseudo.MAP_VALUE, 0)


@pytest.mark.parametrize(("kind", "text"), [("number", "y"), ("number", "much"), ("number", str(1 << 40))])
def test_a_setting_that_does_not_fit(kind: str, text: str) -> None:
    with pytest.raises(ObjectError, match=f"the kernel's setting CONFIG_X is '{text}', "):
        load(with_extern(".kconfig", kind), kconfig={"CONFIG_X": text})


def test_externs_that_cannot_be_had() -> None:
    strong = load(with_extern(".kconfig", "number")).programs["main"]
    assert "asks for the kernel's setting CONFIG_X, which has no value here" in str(strong.problem)
    variable = load(with_extern(".ksyms", "number")).programs["main"]
    assert "uses the kernel's variable 'CONFIG_X': no kernel is known here" in str(variable.problem)


def kernel_with(kind: str) -> tuple[Btf, int]:
    """A kernel's types with one CONFIG_X, and its id."""
    w = BtfWriter()
    number = w.int()
    if kind == "function":
        id = w.func("CONFIG_X", w.proto(number, ("a", number)))
    else:
        id = w.var("CONFIG_X", number if kind == "number" else w.ptr(number))
    return w.btf(), id


def test_variables_of_the_kernel() -> None:
    types, id = kernel_with("number")
    (insn, *_) = load(with_extern(".ksyms", "number"), kernel_btf=types).programs["main"].insns
    assert (insn.src, insn.imm) == (Pseudo.BTF_ID, id)
    other = load(with_extern(".ksyms", "number"), kernel_btf=kernel_with("pointer")[0]).programs["main"]
    assert "declares the kernel's variable 'CONFIG_X' with another type" in str(other.problem)
    none = load(with_extern(".ksyms", "number"), kernel_btf=kernel_with("function")[0]).programs["main"]
    assert "uses the kernel's variable 'CONFIG_X': this kernel has none" in str(none.problem)


def test_addresses_in_the_kernel() -> None:
    address = 0xFFFFFFFF81000010
    untyped = load(with_extern(".ksyms", "untyped"), symbols=lambda: {"CONFIG_X": address}).programs["main"]
    assert untyped.insns[:2] == e.ld_imm64(1, address)
    missing = load(with_extern(".ksyms", "untyped"), symbols=dict).programs["main"]
    assert "uses the kernel's variable 'CONFIG_X': this kernel has none" in str(missing.problem)
    weak = load(with_extern(".ksyms", "untyped", weak=True), symbols=dict).programs["main"]
    assert weak.insns[:2] == e.ld_imm64(1, 0)


def test_kernel_functions_have_the_kernels_parameters() -> None:
    other = load(with_extern(".ksyms", "function", call=True), kernel_btf=kernel_with("function")[0])
    assert "the kernel function 'CONFIG_X' with other parameters" in str(other.programs["main"].problem)


def test_hidden_functions_are_static() -> None:
    read = load_object(compiled("hidden.c", "-O2", "-g"), "hidden.o")
    linkages = {each.name: read.btf[each.type_id].linkage for each in read.programs["main_program"].func_info}
    assert linkages == {"main_program": 1, "hidden": 0, "shown": 1}


def test_weak_externs_are_0() -> None:
    setting = load(with_extern(".kconfig", "number", weak=True))
    assert setting.maps[".kconfig"].contents == ((bytes(4), bytes(4)),)
    variable = load(with_extern(".ksyms", "number", weak=True))
    assert variable.programs["main"].insns[:2] == e.ld_imm64(1, 0)
    assert variable.missing == ("CONFIG_X",)


def test_kernel_functions() -> None:
    called = load(with_extern(".ksyms", "function", call=True)).programs["main"]
    assert (called.insns[0].src, called.insns[0].imm, called.kfuncs) == (2, 0, ("CONFIG_X",))
    weak = load(with_extern(".ksyms", "function", weak=True, call=True)).programs["main"]
    assert weak.poison == {0: "calls the kernel function 'CONFIG_X', which is weak and not there"}
    assert weak.problem is None
    there = load(with_extern(".ksyms", "function", weak=True, call=True), kfuncs={"CONFIG_X"}).programs[
        "main"
    ]
    assert there.kfuncs == ("CONFIG_X",)
    for kfuncs, value in (({"CONFIG_X"}, 1), (set(), 0)):
        asked = load(with_extern(".ksyms", "function", weak=True), kfuncs=kfuncs).programs["main"]
        assert asked.insns[:2] == e.ld_imm64(1, value)
