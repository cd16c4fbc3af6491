"""The index as native code: `classify` that looks candidates up, and tries those in order.

    entry ─▶ for each group: its fields, their hash, its table ─▶ a list of filters, or none
          ─▶ the lowest number at the heads of the lists ─▶ that filter's program ─▶ outcome
                    ▲                                             │ no match
                    └────── the heads that had it move on ────────┘

Where tables, lists and rows are is not written into the code: it reads `@index.pointers`, which whoever
loads the module fills in.
"""

from __future__ import annotations

from ..bpf.isa import Alu
from ..bpf.values import Binary, Constant, Length, Load, Value
from ..tc.act import TcAct
from .index import HASH_MULTIPLIER, NONE, ROW_DTYPE, Index, Packing, Tables
from .linear import DIRECT_VERDICTS
from .view import SkbText
from .walk_state import READ_PAST_SHIFT, UNDECIDED, VERDICT_SHIFT

POINTERS = "index.pointers"
SHAPE = "index.shape"
_ROWS, _LISTS, _TABLES = 0, 1, 2
_OPERATIONS = {
    Alu.ADD: "add", Alu.SUB: "sub", Alu.AND: "and", Alu.OR: "or", Alu.XOR: "xor", Alu.MUL: "mul",
    Alu.LSH: "shl", Alu.RSH: "lshr",
}  # fmt: skip
DECLARES = ("declare i32 @llvm.umin.i32(i32, i32)", "declare i32 @llvm.bswap.i32(i32)")


def pointers_definition(index: Index) -> str:
    """The variable that has the addresses of rows, lists and tables."""
    return f'@"{POINTERS}" = global [{_TABLES + len(index.groups)} x i64] zeroinitializer'


class IndexText:
    """`classify` by lookup."""

    def __init__(self, text: SkbText, index: Index, tables: Tables) -> None:
        self.text = text
        self.index = index
        self.tables = tables
        self.heads = [f"%head{number}" for number in range(len(index.groups) + 1)]
        self._count = 0

    def definition(self) -> str:
        """The function."""
        emit = self.text.emit
        self.text.place_skb()
        emit(*(f"{head} = alloca ptr" for head in self.heads))
        self.text.read_frame()
        self._pointer("%rows", _ROWS)
        self._pointer("%lists", _LISTS)
        emit("%cut = icmp ult i64 %captured, %length")
        if self.index.reach is not None:
            emit(f"%near = icmp ult i64 %captured, {self.index.reach}", "%blind = and i1 %cut, %near")
        else:
            emit("%blind = and i1 %cut, true")
        emit("br i1 %blind, label %everything, label %g0", "everything:")
        for head in self.heads[1:]:
            emit(f"store ptr %lists, ptr {head}")
        emit(f"%all = getelementptr i32, ptr %lists, i64 {self.tables.all}")
        emit(f"store ptr %all, ptr {self.heads[0]}", "br label %try")
        for number in range(len(self.index.groups)):
            self._look_up(number)
        emit(f"g{len(self.index.groups)}:")
        emit(f"%always = getelementptr i32, ptr %lists, i64 {self.tables.always}")
        emit(f"store ptr %always, ptr {self.heads[0]}")
        self._lowest("first")
        emit(f"%idle = icmp eq i32 %first, {NONE}", "br i1 %idle, label %nothing, label %try")
        emit("nothing:", f"ret i64 {UNDECIDED}")
        self._try_candidates()
        return self.text.definition()

    def _fresh(self) -> str:
        self._count += 1
        return f"%x{self._count}"

    def _assign(self, expression: str) -> str:
        name = self._fresh()
        self.text.emit(f"{name} = {expression}")
        return name

    def _pointer(self, name: str, index: int) -> None:
        """A pointer out of `@index.pointers`."""
        at = self._assign(f'getelementptr i64, ptr @"{POINTERS}", i64 {index}')
        self.text.emit(f"{name} = load ptr, ptr {at}, align 8")

    # groups

    def _look_up(self, number: int) -> None:
        """Group `number`: the head of the list that the packet's fields lead to, or of the empty list."""
        emit = self.text.emit
        table = self.tables.tables[number]
        emit(f"g{number}:")
        words = self._packed(number, table.packing)
        self._pointer(f"%table{number}", _TABLES + number)
        place = self._hash(words)
        emit(f"br label %g{number}.start", f"g{number}.start:", f"br label %g{number}.probe")
        emit(f"g{number}.probe:")
        emit(f"%slot{number} = phi i64 [ {place}, %g{number}.start ], [ %next{number}, %g{number}.other ]")
        emit(f"%slot{number}.in = and i64 %slot{number}, {table.slots - 1}")
        first = self._assign(f"mul i64 %slot{number}.in, {len(words) + 1}")
        entry = self._assign(f"getelementptr i64, ptr %table{number}, i64 {first}")
        list_at = self._assign(f"getelementptr i64, ptr {entry}, i64 {len(words)}")
        found = self._assign(f"load i64, ptr {list_at}, align 8")
        free = self._assign(f"icmp eq i64 {found}, {NONE}")
        emit(f"br i1 {free}, label %g{number}.miss, label %g{number}.compare", f"g{number}.compare:")
        same = "true"
        for column, word in enumerate(words):
            at = self._assign(f"getelementptr i64, ptr {entry}, i64 {column}")
            there = self._assign(f"load i64, ptr {at}, align 8")
            equal = self._assign(f"icmp eq i64 {there}, {word}")
            same = self._assign(f"and i1 {same}, {equal}")
        emit(f"br i1 {same}, label %g{number}.hit, label %g{number}.other", f"g{number}.other:")
        emit(f"%next{number} = add i64 %slot{number}.in, 1", f"br label %g{number}.probe")
        emit(f"g{number}.hit:")
        head = self._assign(f"getelementptr i32, ptr %lists, i64 {found}")
        emit(f"store ptr {head}, ptr {self.heads[number + 1]}", f"br label %g{number + 1}")
        emit(f"g{number}.miss:", f"store ptr %lists, ptr {self.heads[number + 1]}")
        emit(f"br label %g{number + 1}")

    def _packed(self, number: int, packing: Packing) -> list[str]:
        """i64s: the packet's fields for a group, as `index.pack_keys` packs them."""
        words = ["0"] * packing.words
        for field, (word, shift) in zip(self.index.groups[number].fields, packing.places, strict=True):
            wide = self._assign(f"zext i32 {self._value(field, f'g{number}.miss')} to i64")
            moved = self._assign(f"shl i64 {wide}, {shift}")
            words[word] = self._assign(f"or i64 {words[word]}, {moved}")
        return words

    def _hash(self, words: list[str]) -> str:
        """An i64: `index.hash_keys`."""
        result = "0"
        for word in words:
            mixed = self._assign(f"xor i64 {result}, {word}")
            product = self._assign(f"mul i64 {mixed}, {HASH_MULTIPLIER - (1 << 64)}")
            high = self._assign(f"lshr i64 {product}, 32")
            result = self._assign(f"xor i64 {product}, {high}")
        return result

    def _value(self, value: Value, miss: str) -> str:
        """An i32: a field of the packet; to `miss` where its bytes are not there."""
        match value:
            case Constant(number):
                return str(number)
            case Length():
                return self._assign("trunc i64 %length to i32")
            case Load(offset, size, None):
                return self._load(str(offset), size, miss)
            case Load(offset, size, index):
                assert index is not None
                wide = self._assign(f"zext i32 {self._value(index, miss)} to i64")
                return self._load(self._assign(f"add i64 {wide}, {offset}"), size, miss)
            case Binary(op, left, right):
                a, b = self._value(left, miss), self._value(right, miss)
                if op in (Alu.LSH, Alu.RSH):
                    b = self._assign(f"and i32 {b}, 31")
                return self._assign(f"{_OPERATIONS[op]} i32 {a}, {b}")
            case _:
                raise AssertionError(value)

    def _load(self, offset: str, size: int, miss: str) -> str:
        emit = self.text.emit
        end = self._assign(f"add i64 {offset}, {size}")
        there = self._assign(f"icmp ule i64 {end}, %captured")
        inside = f"in{self._fresh()[1:]}"
        emit(f"br i1 {there}, label %{inside}, label %{miss}", f"{inside}:")
        address = self._assign(f"add i64 %data, {offset}")
        pointer = self._assign(f"inttoptr i64 {address} to ptr")
        bits = size * 8
        loaded = self._assign(f"load i{bits}, ptr {pointer}, align 1")
        if size > 1:
            loaded = self._assign(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {loaded})")
        return loaded if size == 4 else self._assign(f"zext i{bits} {loaded} to i32")

    # candidates

    def _lowest(self, name: str) -> list[tuple[str, str]]:
        """%name: the lowest number at the heads; the heads and the numbers there."""
        seen = []
        lowest = ""
        for head in self.heads:
            pointer = self._assign(f"load ptr, ptr {head}")
            number = self._assign(f"load i32, ptr {pointer}, align 4")
            seen.append((pointer, number))
            if lowest:
                number = self._assign(f"call i32 @llvm.umin.i32(i32 {lowest}, i32 {number})")
            lowest = number
        self.text.emit(f"%{name} = add i32 {lowest}, 0")
        return seen

    def _try_candidates(self) -> None:
        """The candidates in order, until one decides: `Classifier.classify` over rows."""
        emit = self.text.emit
        emit("try:")
        self.text.fill_skb()
        emit("br label %next", "next:")
        seen = self._lowest("candidate")
        emit(f"%over = icmp eq i32 %candidate, {NONE}", "br i1 %over, label %none, label %take", "take:")
        for head, (pointer, number) in zip(self.heads, seen, strict=True):
            taken = self._assign(f"icmp eq i32 {number}, %candidate")
            further = self._assign(f"getelementptr i32, ptr {pointer}, i64 1")
            emit(f"{head}.then = select i1 {taken}, ptr {further}, ptr {pointer}")
            emit(f"store ptr {head}.then, ptr {head}")
        emit("%candidate.wide = zext i32 %candidate to i64")
        emit(f"%row.at = mul i64 %candidate.wide, {ROW_DTYPE.itemsize}")
        emit("%row = getelementptr i8, ptr %rows, i64 %row.at")
        self._row("protocol", "i32")
        emit(
            "%any.protocol = icmp eq i32 %row.protocol, 0",
            "%outer.32 = trunc i64 %outer to i32",
            "%same.protocol = icmp eq i32 %row.protocol, %outer.32",
            "%wanted = or i1 %any.protocol, %same.protocol",
            "br i1 %wanted, label %run, label %next",
            "run:",
        )
        self._row("function", "ptr")
        self._row("constants", "ptr")
        self._row("outcome", "i64")
        self._row("classid", "i32")
        self._row("direct", "i32")
        emit(
            "%r = call i32 %row.function(ptr %skb, ptr %row.constants)",
            "%w = zext i32 %r to i64",
            "%own = zext i32 %row.classid to i64",
            "%is.direct = icmp ne i32 %row.direct, 0",
            "br i1 %is.direct, label %direct, label %matched",
            "direct:",
            "%known = icmp ult i32 %r, 16",
            "br i1 %known, label %verdict, label %next",
            "verdict:",
            f"%bit = lshr i32 {DIRECT_VERDICTS}, %r",
            "%ok = trunc i32 %bit to i1",
            "%up = add i64 %w, 1",
            f"%shifted = shl i64 %up, {VERDICT_SHIFT}",
            "%direct.class = or i64 %shifted, %own",
            "%direct.outcome = or i64 %direct.class, %row.outcome",
            "br i1 %ok, label %end, label %next",
            "matched:",
            "%all.ones = icmp eq i32 %r, -1",
            "%class = select i1 %all.ones, i64 %own, i64 %w",
            f"%accepted = or i64 %class, {TcAct.OK + 1 << VERDICT_SHIFT}",
            "%match.outcome = or i64 %accepted, %row.outcome",
            "%no.match = icmp eq i32 %r, 0",
            "br i1 %no.match, label %next, label %end",
            "none:",
            "br label %end",
            "end:",
            "%outcome = phi i64 [ %direct.outcome, %verdict ], [ %match.outcome, %matched ], "
            f"[ {UNDECIDED}, %none ]",
        )
        self.text.return_outcome(READ_PAST_SHIFT)

    def _row(self, name: str, kind: str) -> None:
        """%row.name: a field of the candidate's row."""
        fields = ROW_DTYPE.fields
        assert fields is not None
        at = self._assign(f"getelementptr i8, ptr %row, i64 {fields[name][1]}")
        self.text.emit(f"%row.{name} = load {kind}, ptr {at}, align 4")
