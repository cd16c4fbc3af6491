"""How is code written once and run both by the interpreter and as machine code?

Capture walkers, helper bodies and map operations must be native in the plan and callable from the
interpreter.  They are plain Python functions in a small subset of the language, marked `@native`:

    @native
    def read_be16(address: int, end: int) -> int:
        if address + 2 > end:
            return -1
        return load_u8(address) << 8 | load_u8(address + 1)

Called as they are, they run as Python: that is their definition, and what tests step through.
`module_ir` lowers the same source to LLVM IR text, for `vm/jit.py` to compile or for the plan to
inline.  docs/design.md has the measurements against the alternatives (numba: start-up; builder
functions that emit IR: nobody can read them).

The subset.  Every value is a 64-bit signed integer; an address is one too.  There are assignments to
names, arithmetic, comparison, `in (…)`, `and`/`or`/`not`, conditional expressions, `if`, `while`, `for … in
range(…)`, `break`, `continue`, `return`, calls to other native functions and to primitives
(`vm/primitives.py`).  Any other name or dotted name must be an integer constant: it is baked in.
Native arithmetic wraps at 64 bits where Python's does not: code that may overflow says `wrap(…)`.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, overload

from .primitives import (
    PRIMITIVES,
    below,
    copy,
    fill,
    leading_zeros,
    load_be16,
    load_be32,
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    move,
    prefetch,
    s32,
    shift_right,
    store_i64,
    store_u8,
    store_u16,
    store_u32,
    swap16,
    swap32,
    u8,
    u16,
    u32,
    udiv,
    umod,
    wrap,
)

__all__ = [
    "Lowered",
    "Subset",
    "below",
    "copy",
    "external",
    "fill",
    "leading_zeros",
    "load_be16",
    "load_be32",
    "load_i32",
    "load_i64",
    "load_u8",
    "load_u16",
    "load_u32",
    "module_ir",
    "move",
    "native",
    "prefetch",
    "record_of",
    "s32",
    "shift_right",
    "store_i64",
    "store_u8",
    "store_u16",
    "store_u32",
    "swap16",
    "swap32",
    "u8",
    "u16",
    "u32",
    "udiv",
    "umod",
    "wrap",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")


# Functions ----------------------------------------------------------------------------------------


class Subset:
    """What `@native` and `@external` record of a function: its symbol, arity and whether it returns."""

    def __init__(self, function: Callable[..., object], *, attributes: str, external: bool) -> None:
        self.function = function
        self.symbol = f"{function.__module__.removeprefix('clsbpf.')}.{function.__name__}"
        self.attributes = attributes
        self.is_external = external
        signature = inspect.signature(function)
        self.parameters = tuple(signature.parameters)
        self.returns = signature.return_annotation not in ("None", None)

    @property
    def prototype(self) -> str:
        """`i64 @"symbol"(i64, …)`, as a `declare` has it."""
        result = "i64" if self.returns else "void"
        return f'{result} @"{self.symbol}"({", ".join("i64" for _ in self.parameters)})'

    @functools.cached_property
    def lowered(self) -> Lowered:
        """The function's IR and what it needs beside it."""
        return Lowering(self).run()

    @functools.cached_property
    def externals(self) -> frozenset[Subset]:
        """The external functions that it calls, or that what it calls does; itself, if it is one."""
        if self.is_external:
            return frozenset({self})
        return frozenset().union(*(called.externals for called in self.lowered.calls))


@dataclass(frozen=True, slots=True)
class Lowered:
    """One function as IR: its definition, the intrinsics it declares, the functions it calls."""

    definition: str
    declares: frozenset[str]
    calls: tuple[Subset, ...]


_RECORDS: dict[Callable[..., object], Subset] = {}


@overload
def native(function: Callable[_P, _R]) -> Callable[_P, _R]: ...
@overload
def native(
    *, inline: bool = ..., cold: bool = ..., apart: bool = ...
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
def native(function: Any = None, *, inline: bool = False, cold: bool = False, apart: bool = False) -> Any:
    """Mark a function of the subset; it stays an ordinary Python function.

    `inline`: always inlined.  `cold`: never inlined, a slow path.  `apart`: never inlined, though not slow.
    """
    if function is None:
        return functools.partial(native, inline=inline, cold=cold, apart=apart)
    where = "alwaysinline " if inline else "noinline cold " if cold else "noinline " if apart else ""
    attributes = f"{where}nounwind"
    _RECORDS[function] = Subset(function, attributes=attributes, external=False)
    return function


def external(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Mark a function whose IR comes from elsewhere (a program, a block)."""
    _RECORDS[function] = Subset(function, attributes="", external=True)
    return function


def record_of(function: Callable[..., object]) -> Subset:
    """What was recorded of a function that is marked `@native` or `@external`."""
    return _RECORDS[function]


def module_ir(functions: Iterable[Callable[..., object] | Subset], *, exported: bool = True) -> str:
    """IR text of the functions and all they call.

    The functions named are visible to the linker if `exported`, what they call is internal.  External
    functions are declared, not defined: the caller's module text must not declare them again.
    """
    roots = [each if isinstance(each, Subset) else record_of(each) for each in functions]
    needed: dict[Subset, None] = {}
    pending = list(reversed(roots))
    while pending:
        subset = pending.pop()
        if subset not in needed:
            needed[subset] = None
            if not subset.is_external:
                pending.extend(reversed(subset.lowered.calls))
    declares: set[str] = set()
    parts = []
    for subset in needed:
        if subset.is_external:
            declares.add(f"declare {subset.prototype}")
            continue
        declares |= subset.lowered.declares
        linkage = "" if exported and subset in roots else "internal "
        parts.append(subset.lowered.definition.replace("define ", f"define {linkage}", 1))
    return "\n".join([*sorted(declares), *parts]) + "\n"


# Lowering -----------------------------------------------------------------------------------------

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "ashr",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "slt",
    ast.LtE: "sle",
    ast.Gt: "sgt",
    ast.GtE: "sge",
}


@functools.cache
def definition_of(function: Callable[..., object]) -> ast.FunctionDef:
    """The syntax tree of a function."""
    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(definition, ast.FunctionDef)
    return definition


class Lowering:
    """One function's way from syntax tree to IR text.  Locals are stack slots; LLVM makes them registers."""

    def __init__(self, subset: Subset) -> None:
        self.subset = subset
        self.globals = subset.function.__globals__
        self.lines: list[str] = []
        self.slots: dict[str, str] = {}
        self.declares: set[str] = set()
        self.calls: dict[Subset, None] = {}
        self.count = 0
        self.loops: list[tuple[str, str]] = []

    def run(self) -> Lowered:
        definition = definition_of(self.subset.function)
        parameters = ", ".join(f"i64 %a.{name}" for name in self.subset.parameters)
        for name in self.subset.parameters:
            self.emit(f"store i64 %a.{name}, ptr {self.slot(name)}")
        self.block(definition.body)
        if self.open:
            self.emit("ret void" if not self.subset.returns else "unreachable")
        result = "i64" if self.subset.returns else "void"
        allocas = [f"  {slot} = alloca i64" for slot in self.slots.values()]
        text = [
            f'define {result} @"{self.subset.symbol}"({parameters}) {self.subset.attributes} {{',
            "entry:",
        ]
        text += [*allocas, *self.lines, "}"]
        return Lowered("\n".join(text), frozenset(self.declares), tuple(self.calls))

    # text

    def emit(self, line: str) -> None:
        if self.open:
            self.lines.append("  " + line)

    @property
    def open(self) -> bool:
        """Is the current basic block still without its terminator?"""
        return not self.lines or not self.lines[-1].startswith(("  br ", "  ret ", "  unreachable"))

    def label(self, name: str) -> None:
        self.emit(f"br label %{name}")
        self.lines.append(f"{name}:")

    def fresh(self, kind: str = "%t") -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def slot(self, name: str) -> str:
        return self.slots.setdefault(name, f"%v.{name}")

    def wrong(self, node: ast.AST, what: str) -> SyntaxError:
        return SyntaxError(f"{self.subset.symbol}, line {getattr(node, 'lineno', '?')}: {what}")

    # statements

    def block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                result = self.value(value)
                self.emit(f"store i64 {result}, ptr {self.slot(name)}")
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                result = self.value(value)
                self.emit(f"store i64 {result}, ptr {self.slot(name)}")
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                load = ast.copy_location(ast.Name(id=target.id, ctx=ast.Load()), target)
                result = self.value(ast.copy_location(ast.BinOp(load, op, value), node))
                self.emit(f"store i64 {result}, ptr {self.slot(name)}")
            case ast.Return(value=None):
                self.emit("ret void")
            case ast.Return(value=ast.expr() as value):
                self.emit(f"ret i64 {self.value(value)}")
            case ast.If(test=test, body=body, orelse=orelse):
                then, otherwise, end = (self.fresh(kind) for kind in ("then", "else", "end"))
                self.condition(test, then, otherwise)
                self.lines.append(f"{then}:")
                self.block(body)
                self.emit(f"br label %{end}")
                self.lines.append(f"{otherwise}:")
                self.block(orelse)
                self.label(end)
            case ast.While(test=test, body=body, orelse=[]):
                head, inside, end = (self.fresh(kind) for kind in ("while", "do", "done"))
                self.label(head)
                self.condition(test, inside, end)
                self.lines.append(f"{inside}:")
                self.loops.append((head, end))
                self.block(body)
                self.loops.pop()
                self.emit(f"br label %{head}")
                self.lines.append(f"{end}:")
            case ast.For(
                target=ast.Name(id=name),
                iter=ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[]),
                body=body,
                orelse=[],
            ) if 1 <= len(bounds) <= 2:
                self.counted_loop(name, bounds, body)
            case ast.Break():
                self.emit(f"br label %{self.loops[-1][1]}")
            case ast.Continue():
                self.emit(f"br label %{self.loops[-1][0]}")
            case _:
                raise self.wrong(node, f"{ast.unparse(node)!r} is not in the subset")

    def counted_loop(self, name: str, bounds: list[ast.expr], body: list[ast.stmt]) -> None:
        """`for name in range(first, last)`; the body may change `name` without effect on the count."""
        start = self.value(bounds[0]) if len(bounds) == 2 else "0"
        stop = self.value(bounds[-1])
        counter = self.slot(self.fresh("for."))
        head, inside, step, end = (self.fresh(kind) for kind in ("for", "do", "step", "done"))
        self.emit(f"store i64 {start}, ptr {counter}")
        self.label(head)
        now, more = self.fresh(), self.fresh()
        self.emit(f"{now} = load i64, ptr {counter}")
        self.emit(f"{more} = icmp slt i64 {now}, {stop}")
        self.emit(f"br i1 {more}, label %{inside}, label %{end}")
        self.lines.append(f"{inside}:")
        self.emit(f"store i64 {now}, ptr {self.slot(name)}")
        self.loops.append((step, end))
        self.block(body)
        self.loops.pop()
        self.label(step)
        following = self.fresh()
        self.emit(f"{following} = add i64 {now}, 1")
        self.emit(f"store i64 {following}, ptr {counter}")
        self.emit(f"br label %{head}")
        self.lines.append(f"{end}:")

    # expressions

    def condition(self, node: ast.expr, then: str, otherwise: str) -> None:
        """Branch on the truth of an expression."""
        match node:
            case ast.BoolOp(op=op, values=values):
                for value in values[:-1]:
                    following = self.fresh("next")
                    if isinstance(op, ast.And):
                        self.condition(value, following, otherwise)
                    else:
                        self.condition(value, then, following)
                    self.lines.append(f"{following}:")
                self.condition(values[-1], then, otherwise)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.condition(operand, otherwise, then)
            case _:
                self.emit(f"br i1 {self.truth(node)}, label %{then}, label %{otherwise}")

    def truth(self, node: ast.expr) -> str:
        """An i1: is the expression non-zero?"""
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        value = self.value(node)
        result = self.fresh()
        self.emit(f"{result} = icmp ne i64 {value}, 0")
        return result

    def comparison(self, node: ast.Compare) -> str:
        """`a < b`, a chain of such, `a in (b, c)` or `a not in (b, c)`."""
        left = self.value(node.left)
        result = ""
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                part = self.membership(left, comparator, negated=isinstance(op, ast.NotIn))
            else:
                right = self.value(comparator)
                part, left = self.compare(left, op, right, node), right
            result = self.combine("and", result, part)
        return result

    def membership(self, value: str, choices: ast.expr, *, negated: bool) -> str:
        if not isinstance(choices, ast.Tuple):
            raise self.wrong(choices, "only `in (…)` with the choices written out is in the subset")
        result = ""
        for choice in choices.elts:
            result = self.combine("or", result, self.compare(value, ast.Eq(), self.value(choice), choice))
        return self.combine("xor", result, "true") if negated else result

    def combine(self, operation: str, left: str, right: str) -> str:
        """An i1 of two, the first of which may be missing."""
        if not left:
            return right
        result = self.fresh()
        self.emit(f"{result} = {operation} i1 {left}, {right}")
        return result

    def compare(self, left: str, op: ast.cmpop, right: str, node: ast.AST) -> str:
        if type(op) not in _COMPARE:
            raise self.wrong(node, f"comparison {type(op).__name__} is not in the subset")
        result = self.fresh()
        self.emit(f"{result} = icmp {_COMPARE[type(op)]} i64 {left}, {right}")
        return result

    def value(self, node: ast.expr) -> str:
        """An i64: a literal or a register with the expression's value."""
        match node:
            case ast.Constant(value=int(constant)):
                return str(wrap(int(constant)))
            case ast.Name(id=name) if name in self.slots:
                result = self.fresh()
                self.emit(f"{result} = load i64, ptr {self.slots[name]}")
                return result
            case ast.Name() | ast.Attribute():
                return str(wrap(self.constant(node)))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.binary("sub", "0", self.value(operand))
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return self.binary("xor", self.value(operand), "-1")
            case ast.BinOp(left=left, op=ast.FloorDiv() | ast.Mod() as op, right=right):
                return self.divide(isinstance(op, ast.Mod), self.value(left), self.value(right))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return self.binary(_BINARY[type(op)], self.value(left), self.value(right))
            case ast.Compare():
                result = self.fresh()
                self.emit(f"{result} = zext i1 {self.truth(node)} to i64")
                return result
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return self.choose(node, ast.Constant(1), ast.Constant(0))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.choose(test, body, orelse)
            case ast.Call():
                result = self.call(node)
                if not result:
                    raise self.wrong(node, f"{ast.unparse(node)!r} has no value")
                return result
            case _:
                raise self.wrong(node, f"{ast.unparse(node)!r} is not in the subset")

    def binary(self, operation: str, left: str, right: str) -> str:
        result = self.fresh()
        self.emit(f"{result} = {operation} i64 {left}, {right}")
        return result

    def divide(self, remainder: bool, left: str, right: str) -> str:
        """Python's `//` and `%`, which round down; dividing by 0 (or -2**63 by -1) is the caller's bug."""
        quotient, rest = self.binary("sdiv", left, right), self.binary("srem", left, right)
        inexact, differ, adjust, amount = (self.fresh() for _ in range(4))
        self.emit(f"{inexact} = icmp ne i64 {rest}, 0")
        signs = self.binary("xor", rest, right)
        self.emit(f"{differ} = icmp slt i64 {signs}, 0")
        self.emit(f"{adjust} = and i1 {inexact}, {differ}")
        if remainder:
            self.emit(f"{amount} = select i1 {adjust}, i64 {right}, i64 0")
            return self.binary("add", rest, amount)
        self.emit(f"{amount} = sext i1 {adjust} to i64")
        return self.binary("add", quotient, amount)

    def choose(self, test: ast.expr, body: ast.expr, orelse: ast.expr) -> str:
        slot = self.slot(self.fresh("if."))
        then, otherwise, end = (self.fresh(kind) for kind in ("then", "else", "end"))
        self.condition(test, then, otherwise)
        for label, branch in ((then, body), (otherwise, orelse)):
            self.lines.append(f"{label}:")
            self.emit(f"store i64 {self.value(branch)}, ptr {slot}")
            self.emit(f"br label %{end}")
        self.lines.append(f"{end}:")
        result = self.fresh()
        self.emit(f"{result} = load i64, ptr {slot}")
        return result

    def call(self, node: ast.Call) -> str:
        """The register of a call's result, or "" when it has none."""
        function = self.constant_object(node.func)
        arguments = [self.value(argument) for argument in node.args]
        if node.keywords:
            raise self.wrong(node, "keyword arguments are not in the subset")
        primitive = PRIMITIVES.get(function) if callable(function) else None
        if primitive is not None:
            if len(arguments) != primitive.arity:
                raise self.wrong(node, f"{ast.unparse(node.func)} takes {primitive.arity} arguments")
            result, temporary = self.fresh(), self.fresh("%x")
            for line in primitive.lines:
                self.emit(line.format(*arguments, r=result, t=temporary))
            if primitive.declare:
                self.declares.add(primitive.declare)
            return result if "{r}" in primitive.lines[-1] else ""
        record = _RECORDS.get(function) if callable(function) else None
        if record is not None:
            record = self.callee(record, node)
        if record is None:
            raise self.wrong(node, f"{ast.unparse(node.func)} is neither native nor a primitive")
        if len(arguments) != len(record.parameters):
            raise self.wrong(node, f"{record.symbol} takes {len(record.parameters)} arguments")
        self.calls[record] = None
        text = ", ".join(f"i64 {argument}" for argument in arguments)
        if not record.returns:
            self.emit(f'call void @"{record.symbol}"({text})')
            return ""
        result = self.fresh()
        self.emit(f'{result} = call i64 @"{record.symbol}"({text})')
        return result

    def callee(self, record: Subset, node: ast.Call) -> Subset:
        """What is called where the text calls a native function."""
        return record

    def constant_object(self, node: ast.expr) -> object:
        match node:
            case ast.Name(id=name) if name in self.globals:
                return self.globals[name]
            case ast.Attribute(value=value, attr=attribute):
                return getattr(self.constant_object(value), attribute)
            case _:
                raise self.wrong(
                    node, f"{ast.unparse(node)!r} is neither a local nor a constant of the module"
                )

    def constant(self, node: ast.expr) -> int:
        value = self.constant_object(node)
        if not isinstance(value, int):
            raise self.wrong(node, f"{ast.unparse(node)!r} is not an integer constant")
        return int(value)
