"""What an object declares `extern`: settings of the kernel, and the kernel's own functions and variables.

An extern's BTF lies in one of two sections.  Variables of `.kconfig` become an array map of one value,
filled with what the kernel is said to be configured as.  Those of `.ksyms` are kernel functions, which
are called by name, and kernel variables: one with a type by its id in the kernel's BTF, one without
(`extern const void x __ksym`) by its address, as the kernel tells it.  A weak extern that is not there
has the address 0, or as a setting the value 0; one that is not weak is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..bpf.maps import MapFlag, MapType
from ..bpf.spec import MapSpec
from ..errors import ObjectError
from .btf import Array, Btf, Datasec, Enum, Func, Int, Kind, Linkage, Var
from .core_types import Budget, Comparison
from .data_maps import KEY
from .elf import SHN_UNDEF, Elf, Symbol

KCONFIG, KSYMS = ".kconfig", ".ksyms"

DEFAULT_KCONFIG: Mapping[str, str] = MappingProxyType(
    {
        "LINUX_KERNEL_VERSION": f"{6 << 16 | 18 << 8}",
        "LINUX_HAS_BPF_COOKIE": "1",
        "LINUX_HAS_SYSCALL_WRAPPER": "1",
        "CONFIG_64BIT": "y",
        "CONFIG_BPF": "y",
        "CONFIG_BPF_EVENTS": "y",
        "CONFIG_BPF_JIT": "y",
        "CONFIG_BPF_SYSCALL": "y",
        "CONFIG_CGROUPS": "y",
        "CONFIG_CGROUP_BPF": "y",
        "CONFIG_DEBUG_INFO_BTF": "y",
        "CONFIG_HZ": "1000",
        "CONFIG_INET": "y",
        "CONFIG_IPV6": "y",
        "CONFIG_NET": "y",
        "CONFIG_NETFILTER": "y",
        "CONFIG_NET_ACT_BPF": "m",
        "CONFIG_NET_CLS_ACT": "y",
        "CONFIG_NET_CLS_BPF": "m",
        "CONFIG_NET_INGRESS": "y",
        "CONFIG_NET_EGRESS": "y",
        "CONFIG_NET_SCH_INGRESS": "m",
        "CONFIG_NF_CONNTRACK": "m",
        "CONFIG_SMP": "y",
        "CONFIG_XFRM": "y",
    }
)
"""The settings that a program finds where it is not told others: a kernel of the profile `current`."""

_TRISTATE = "libbpf_tristate"
_LETTERS = {"n": 0, "y": 1, "m": 2}


@dataclass(frozen=True, slots=True)
class Extern:
    """What an extern came to.

    `offset`: where in the map `.kconfig` it is.  `kfunc`: the name of a kernel function.  `variable`: the id
    of a kernel variable in the kernel's BTF.  `address`: where in the kernel it is.  None of these: its
    address is 0, or, with a `problem`, who uses it cannot be used.
    """

    name: str
    offset: int | None = None
    kfunc: str | None = None
    variable: int | None = None
    address: int | None = None
    is_weak: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Externs:
    """All externs by name, and the map of the settings."""

    by_name: Mapping[str, Extern] = field(default_factory=dict)
    kconfig: MapSpec | None = None


@dataclass(frozen=True, slots=True)
class KernelNames:
    """What a kernel has for programs to name.

    `types` is to be asked for its BTF, `symbols` for the addresses of its symbols by name; None where there
    is no kernel.  `functions`: the kernel functions that there are; those not among them are as good as
    missing where they are weak.  None: of what is weak nothing is there, all else may be.
    """

    types: Callable[[], Btf | None] = lambda: None
    symbols: Callable[[], Mapping[str, int] | None] = lambda: None
    functions: Container[str] | None = None


@dataclass(frozen=True, slots=True)
class _Setting:
    symbol: Symbol
    type: int
    size: int
    align: int


def resolve_externs(elf: Elf, btf: Btf | None, kconfig: Mapping[str, str], kernel: KernelNames) -> Externs:
    """bpf_object__collect_externs(), bpf_object__resolve_externs()."""
    undefined = [s for s in elf.symbols if s.section == SHN_UNDEF and s.name and s.is_global]
    if not undefined:
        return Externs()
    declared = _declared(btf) if btf else {}
    found: dict[str, Extern] = {}
    settings: list[_Setting] = []
    for symbol in undefined:
        section, id = declared.get(symbol.name, ("", 0))
        if section == KCONFIG and btf is not None:
            target = getattr(btf[id], "target", 0)
            settings.append(_Setting(symbol, target, btf.size_of(target), btf.align_of(target)))
        elif section == KSYMS and btf is not None and isinstance(btf[id], Func):
            found[symbol.name] = _kernel_function(symbol, btf, id, kernel)
        elif section == KSYMS and btf is not None:
            found[symbol.name] = _kernel_variable(symbol, btf, getattr(btf[id], "target", 0), kernel)
        elif symbol.is_weak:
            found[symbol.name] = Extern(symbol.name, is_weak=True)
        else:
            problem = f"uses {symbol.name!r}, which is neither in the object nor declared __kconfig or __ksym"
            found[symbol.name] = Extern(symbol.name, problem=problem)
    spec = _kconfig_map(settings, btf, kconfig, found, elf.name) if settings and btf else None
    return Externs(found, spec)


def _declared(btf: Btf) -> Mapping[str, tuple[str, int]]:
    """The externs of the two sections: (section, id) by name."""
    found: dict[str, tuple[str, int]] = {}
    for section in (KCONFIG, KSYMS):
        for id in btf.named(section):
            datasec = btf[id]
            if isinstance(datasec, Datasec):
                for each in datasec.variables:
                    found.setdefault(btf.name(each.type), (section, each.type))
    for id in range(1, len(btf)):
        # a kernel function that nobody put into a section
        if btf.kind(id) is Kind.FUNC and getattr(btf[id], "linkage", None) == Linkage.EXTERN:
            found.setdefault(btf.name(id), (KSYMS, id))
    return found


def _kernel_function(symbol: Symbol, btf: Btf, id: int, kernel: KernelNames) -> Extern:
    """bpf_object__resolve_ksym_func_btf_id()."""
    # libbpf's way to have several definitions of one kernel function: what follows `___` is left out
    name = symbol.name.split("___")[0] or symbol.name
    functions = kernel.functions
    if symbol.is_weak and (functions is None or name not in functions):
        return Extern(symbol.name, is_weak=True)
    types = kernel.types()
    found = types.find(name, Kind.FUNC) if types is not None else None
    if types is not None and found is not None:
        mine, theirs = btf[id], types[found]
        assert isinstance(mine, Func)
        assert isinstance(theirs, Func)
        if not Comparison(btf, types, Budget()).types_compatible(mine.proto, theirs.proto):
            if symbol.is_weak:
                return Extern(symbol.name, is_weak=True)
            problem = f"declares the kernel function {name!r} with other parameters than the kernel does"
            return Extern(symbol.name, problem=problem)
    return Extern(symbol.name, kfunc=name, is_weak=symbol.is_weak)


def _kernel_variable(symbol: Symbol, btf: Btf, type: int, kernel: KernelNames) -> Extern:
    """bpf_object__resolve_ksym_var_btf_id(); of one without a type bpf_object__read_kallsyms_file()."""
    name, weak = symbol.name, symbol.is_weak
    type = btf.resolve(type).id
    if not type:  # void: only the address is wanted
        addresses = kernel.symbols()
        if addresses is not None and name in addresses:
            return Extern(name, address=addresses[name], is_weak=weak)
        known = addresses is not None
    else:
        types = kernel.types()
        found = types.find(name, Kind.VAR) if types is not None else None
        if types is not None and found is not None:
            variable = types[found]
            assert isinstance(variable, Var)
            target = types.resolve(variable.target).id
            if Comparison(btf, types, Budget()).types_compatible(type, target):
                return Extern(name, variable=found, is_weak=weak)
            return Extern(name, problem=f"declares the kernel's variable {name!r} with another type")
        known = types is not None
    if weak:
        return Extern(name, is_weak=True)
    where = "this kernel has none" if known else "no kernel is known here"
    return Extern(name, problem=f"uses the kernel's variable {name!r}: {where}")


def _kconfig_map(
    settings: list[_Setting], btf: Btf, kconfig: Mapping[str, str], found: dict[str, Extern], where: str
) -> MapSpec:
    """The settings laid out as libbpf does: large alignment first, then by size, then by name."""
    settings.sort(key=lambda each: (-each.align, each.size, each.symbol.name))
    value = bytearray()
    for each in settings:
        name = each.symbol.name
        value += bytes(-len(value) % max(each.align, 1))
        found[name] = Extern(name, offset=len(value), is_weak=each.symbol.is_weak)
        if len(value) + each.size > 1 << 20:
            raise ObjectError(f"{where}: the settings of the kernel that it asks for take more than 1 MiB")
        text = kconfig.get(name, DEFAULT_KCONFIG.get(name))
        if text is None:
            if not each.symbol.is_weak:
                problem = f"asks for the kernel's setting {name}, which has no value here"
                found[name] = Extern(name, problem=problem)
            value += bytes(each.size)
        else:
            value += _encode(btf, each, text, f"{where}: the kernel's setting {name}")
    return MapSpec(
        *(KCONFIG, MapType.ARRAY, len(KEY), max(len(value), 1), 1),
        flags=MapFlag.MMAPABLE | MapFlag.RDONLY_PROG,
        contents=((KEY, bytes(value)),),
        frozen=True,
    )


def _encode(btf: Btf, setting: _Setting, text: str, where: str) -> bytes:
    """set_kcfg_value_tri(), set_kcfg_value_num(), set_kcfg_value_str()."""
    match type := btf.resolve(setting.type):
        case Array():
            raw = text.encode("utf-8", "surrogateescape")[: max(setting.size - 1, 0)]
            return raw.ljust(setting.size, b"\0")
        case Int() if text in _LETTERS:
            if type.size == 1 and not type.is_bool:
                return text.encode()  # the letter itself
            if not type.is_bool or text == "m":
                raise ObjectError(f"{where} is {text!r}, which does not fit its type {type.name!r}")
            return _LETTERS[text].to_bytes(type.size, "little")
        case Enum(name=name) if name == _TRISTATE and text in _LETTERS:
            return _LETTERS[text].to_bytes(type.size, "little")
        case Int():
            return _encode_number(type, text, where)
        case _:
            raise ObjectError(f"{where} is {text!r}, which does not fit its type {type.name!r}")


def _encode_number(type: Int, text: str, where: str) -> bytes:
    try:
        number = int(text, 0)
        return number.to_bytes(type.size, "little", signed=number < 0)
    except (ValueError, OverflowError):
        raise ObjectError(f"{where} is {text!r}, no number of {type.size} bytes") from None


def unset(externs: Externs) -> Iterator[str]:
    """The weak externs that are not there."""
    return (
        each.name
        for each in externs.by_name.values()
        if each.is_weak and all(x is None for x in (each.offset, each.kfunc, each.variable, each.address))
    )
