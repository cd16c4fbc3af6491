"""The index as native code: filters of which candidates are looked up, and those tried in order.

    entry ─▶ for each group: its fields, their hash, its table ─▶ a list of filters, or none
          ─▶ the lowest number at the heads of the lists ─▶ that filter's program ─▶ outcome
                    ▲                                             │ no match
                    └────── the heads that had it move on ────────┘

Where tables, lists and rows are is not written into the code: it reads a variable of pointers, which whoever
loads the module fills in (`fill_pointers`).

A block of nothing but such filters is `classify` as a whole.  In one that has others too (`linear.py`), runs
of them are segments of a chain.
"""

from __future__ import annotations

import ctypes

from ..bpf.isa import Alu
from ..bpf.values import Binary, Constant, Length, Load, Value
from ..profile import KernelProfile
from ..tc.act import TcAct
from ..vm.jit import NativeModule
from ..vm.lower import lower
from ..vm.native_skb import At
from ..vm.subset import Lowered
from .index import HASH_MULTIPLIER, NONE, ROW_DTYPE, Index, Packing, Tables
from .linear import DIRECT_VERDICTS, RUN_ACTIONS, Ends
from .view import SkbText
from .walk_state import READ_PAST_SHIFT, UNDECIDED, VERDICT_SHIFT

_ROWS, _LISTS, _TABLES = 0, 1, 2
_OPERATIONS = {
    Alu.ADD: "add", Alu.SUB: "sub", Alu.AND: "and", Alu.OR: "or", Alu.XOR: "xor", Alu.MUL: "mul",
    Alu.LSH: "shl", Alu.RSH: "lshr",
}  # fmt: skip
DECLARES = ("declare i32 @llvm.umin.i32(i32, i32)", "declare i32 @llvm.bswap.i32(i32)")


class IndexText:
    """Lines that look filters up, in one function; `name` tells several of them apart."""

    def __init__(self, text: SkbText, index: Index, tables: Tables, name: str = "index") -> None:
        self.text = text
        self.index = index
        self.tables = tables
        self.name = name
        self.heads = [f"%{name}.head{number}" for number in range(len(index.groups) + 1)]
        self.data, self.captured, self.length, self.outer = "%data", "%captured", "%length", "%outer"
        self._count = 0

    # the module

    @property
    def pointers(self) -> str:
        """The symbol of the variable that has the addresses of rows, lists and tables."""
        return f"{self.name}.pointers"

    @property
    def shapes(self) -> list[str]:
        """The symbols of the shapes' functions."""
        return [f"{self.name}.shape{number}" for number in range(len(self.index.templates))]

    def pointers_definition(self) -> str:
        """That variable."""
        return f'@"{self.pointers}" = global [{_TABLES + len(self.index.groups)} x i64] zeroinitializer'

    def lowered(self, profile: KernelProfile) -> list[Lowered]:
        """The shapes' functions."""
        found = []
        for name, template in zip(self.shapes, self.index.templates, strict=True):
            each = lower(template.verified, name, profile=profile, parameters=template.parameters)
            exported = each.definition.replace("define internal", "define", 1)
            found.append(Lowered(exported, each.declares, each.calls))
        return found

    def fill_pointers(self, module: NativeModule) -> None:
        """Tell the module, which is loaded, where its tables are, and them where its functions are."""
        self.tables.set_functions(self.index, [module.address(name) for name in self.shapes])
        pointers = self.tables.pointers()
        block = (ctypes.c_uint64 * len(pointers))(*pointers)
        ctypes.memmove(module.address(self.pointers), block, ctypes.sizeof(block))

    # the function

    def definition(self) -> str:
        """`classify`, of nothing but these filters, none of which has actions."""
        emit = self.text.emit
        self.text.place_skb()
        self.allocate()
        self.text.read_frame()
        self._look_up_all()
        emit("nothing:", f"ret i64 {UNDECIDED}", f"{self.name}.try:")
        self.text.fill_skb()
        ends = self._try_candidates("none")
        emit("none:", "br label %end", "end:")
        ends.decided.append((str(UNDECIDED), "none"))
        sources = ", ".join(f"[ {value}, %{label} ]" for value, label in ends.decided)
        emit(f"%outcome = phi i64 {sources}")
        self.text.return_outcome(READ_PAST_SHIFT)
        return self.text.definition()

    def allocate(self) -> None:
        """Room for the heads of lists, once a call."""
        self.text.emit(*(f"{head} = alloca ptr" for head in self.heads))

    def segment(self, following: str, *, afresh: str | None, nothing: str) -> Ends:
        """The same inside of a chain: what no filter here decides goes on at `following`.

        `afresh`: what the packet is now is read from the skb, and its protocol is that.  `nothing` is a
        label of the caller's own.
        """
        emit = self.text.emit
        if afresh is not None:
            self._read_skb()
            self.outer = afresh
        self._look_up_all(nothing)
        emit(f"{nothing}:", f"br label %{following}", f"{self.name}.try:")
        return self._try_candidates(following)

    def _read_skb(self) -> None:
        self.data = f"%{self.name}.data"
        self.captured, self.length = f"%{self.name}.captured", f"%{self.name}.length"
        self.text.emit(
            f"%{self.name}.data.at = getelementptr i8, ptr %skb, i64 {At.DATA_PTR:d}",
            f"{self.data} = load i64, ptr %{self.name}.data.at, align 8",
            f"%{self.name}.end.at = getelementptr i8, ptr %skb, i64 {At.DATA_END_PTR:d}",
            f"%{self.name}.end = load i64, ptr %{self.name}.end.at, align 8",
            f"{self.captured} = sub i64 %{self.name}.end, {self.data}",
            f"%{self.name}.length.at = getelementptr i8, ptr %skb, i64 {At.LEN:d}",
            f"%{self.name}.length.32 = load i32, ptr %{self.name}.length.at, align 4",
            f"{self.length} = zext i32 %{self.name}.length.32 to i64",
        )

    def _look_up_all(self, nothing: str = "nothing") -> None:
        """The heads of all lists; to `nothing` where they are empty, else to `try`."""
        emit, name = self.text.emit, self.name
        self._pointer("rows", _ROWS)
        self._pointer("lists", _LISTS)
        cut = self._assign(f"icmp ult i64 {self.captured}, {self.length}")
        near = "true"
        if self.index.reach is not None:
            near = self._assign(f"icmp ult i64 {self.captured}, {self.index.reach}")
        blind = self._assign(f"and i1 {cut}, {near}")
        emit(f"br i1 {blind}, label %{name}.everything, label %{name}.g0", f"{name}.everything:")
        for head in self.heads[1:]:
            emit(f"store ptr %{name}.lists, ptr {head}")
        everything = self._assign(f"getelementptr i32, ptr %{name}.lists, i64 {self.tables.all}")
        emit(f"store ptr {everything}, ptr {self.heads[0]}", f"br label %{name}.try")
        for number in range(len(self.index.groups)):
            self._look_up(number)
        emit(f"{name}.g{len(self.index.groups)}:")
        always = self._assign(f"getelementptr i32, ptr %{name}.lists, i64 {self.tables.always}")
        emit(f"store ptr {always}, ptr {self.heads[0]}")
        lowest, _ = self._lowest()
        idle = self._assign(f"icmp eq i32 {lowest}, {NONE}")
        emit(f"br i1 {idle}, label %{nothing}, label %{name}.try")

    def _fresh(self) -> str:
        self._count += 1
        return f"%{self.name}.x{self._count}"

    def _assign(self, expression: str) -> str:
        name = self._fresh()
        self.text.emit(f"{name} = {expression}")
        return name

    def _pointer(self, what: str, index: int) -> None:
        """%name.what: one of the pointers."""
        at = self._assign(f'getelementptr i64, ptr @"{self.pointers}", i64 {index}')
        self.text.emit(f"%{self.name}.{what} = load ptr, ptr {at}, align 8")

    # groups

    def _look_up(self, number: int) -> None:
        """Group `number`: the head of the list that the packet's fields lead to, or of the empty list."""
        emit = self.text.emit
        table = self.tables.tables[number]
        here, following = f"{self.name}.g{number}", f"{self.name}.g{number + 1}"
        emit(f"{here}:")
        words = self._packed(number, table.packing)
        self._pointer(f"table{number}", _TABLES + number)
        place = self._hash(words)
        emit(f"br label %{here}.start", f"{here}.start:", f"br label %{here}.probe", f"{here}.probe:")
        emit(f"%{here}.slot = phi i64 [ {place}, %{here}.start ], [ %{here}.next, %{here}.other ]")
        slot = self._assign(f"and i64 %{here}.slot, {table.slots - 1}")
        first = self._assign(f"mul i64 {slot}, {len(words) + 1}")
        entry = self._assign(f"getelementptr i64, ptr %{self.name}.table{number}, i64 {first}")
        list_at = self._assign(f"getelementptr i64, ptr {entry}, i64 {len(words)}")
        found = self._assign(f"load i64, ptr {list_at}, align 8")
        free = self._assign(f"icmp eq i64 {found}, {NONE}")
        emit(f"br i1 {free}, label %{here}.miss, label %{here}.compare", f"{here}.compare:")
        same = "true"
        for column, word in enumerate(words):
            at = self._assign(f"getelementptr i64, ptr {entry}, i64 {column}")
            there = self._assign(f"load i64, ptr {at}, align 8")
            equal = self._assign(f"icmp eq i64 {there}, {word}")
            same = self._assign(f"and i1 {same}, {equal}")
        emit(f"br i1 {same}, label %{here}.hit, label %{here}.other", f"{here}.other:")
        emit(f"%{here}.next = add i64 {slot}, 1", f"br label %{here}.probe", f"{here}.hit:")
        head = self._assign(f"getelementptr i32, ptr %{self.name}.lists, i64 {found}")
        emit(f"store ptr {head}, ptr {self.heads[number + 1]}", f"br label %{following}")
        emit(f"{here}.miss:", f"store ptr %{self.name}.lists, ptr {self.heads[number + 1]}")
        emit(f"br label %{following}")

    def _packed(self, number: int, packing: Packing) -> list[str]:
        """i64s: the packet's fields for a group, as `index.pack_keys` packs them."""
        words = ["0"] * packing.words
        miss = f"{self.name}.g{number}.miss"
        for field, (word, shift) in zip(self.index.groups[number].fields, packing.places, strict=True):
            wide = self._assign(f"zext i32 {self._value(field, miss)} to i64")
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
                return self._assign(f"trunc i64 {self.length} to i32")
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
        there = self._assign(f"icmp ule i64 {end}, {self.captured}")
        inside = f"{self._fresh()[1:]}.in"
        emit(f"br i1 {there}, label %{inside}, label %{miss}", f"{inside}:")
        address = self._assign(f"add i64 {self.data}, {offset}")
        pointer = self._assign(f"inttoptr i64 {address} to ptr")
        bits = size * 8
        loaded = self._assign(f"load i{bits}, ptr {pointer}, align 1")
        if size > 1:
            loaded = self._assign(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {loaded})")
        return loaded if size == 4 else self._assign(f"zext i{bits} {loaded} to i32")

    # candidates

    def _lowest(self) -> tuple[str, list[tuple[str, str]]]:
        """The lowest number at the heads; the heads and the numbers there."""
        seen = []
        lowest = ""
        for head in self.heads:
            pointer = self._assign(f"load ptr, ptr {head}")
            number = self._assign(f"load i32, ptr {pointer}, align 4")
            seen.append((pointer, number))
            if lowest:
                number = self._assign(f"call i32 @llvm.umin.i32(i32 {lowest}, i32 {number})")
            lowest = number
        return lowest, seen

    def _try_candidates(self, following: str) -> Ends:
        """The candidates in order, until one decides: `Classifier.classify` over rows."""
        emit, n = self.text.emit, self.name
        emit(f"br label %{n}.next", f"{n}.next:")
        candidate, seen = self._lowest()
        over = self._assign(f"icmp eq i32 {candidate}, {NONE}")
        emit(f"br i1 {over}, label %{n}.done, label %{n}.take", f"{n}.take:")
        for head, (pointer, number) in zip(self.heads, seen, strict=True):
            taken = self._assign(f"icmp eq i32 {number}, {candidate}")
            further = self._assign(f"getelementptr i32, ptr {pointer}, i64 1")
            then = self._assign(f"select i1 {taken}, ptr {further}, ptr {pointer}")
            emit(f"store ptr {then}, ptr {head}")
        wide = self._assign(f"zext i32 {candidate} to i64")
        at = self._assign(f"mul i64 {wide}, {ROW_DTYPE.itemsize}")
        row = self._assign(f"getelementptr i8, ptr %{n}.rows, i64 {at}")
        protocol = self._row(row, "protocol", "i32")
        any_protocol = self._assign(f"icmp eq i32 {protocol}, 0")
        outer = self._assign(f"trunc i64 {self.outer} to i32")
        same = self._assign(f"icmp eq i32 {protocol}, {outer}")
        wanted = self._assign(f"or i1 {any_protocol}, {same}")
        emit(f"br i1 {wanted}, label %{n}.run, label %{n}.next", f"{n}.run:")
        function = self._row(row, "function", "ptr")
        constants = self._row(row, "constants", "ptr")
        outcome = self._row(row, "outcome", "i64")
        own = self._assign(f"zext i32 {self._row(row, 'classid', 'i32')} to i64")
        is_direct = self._assign(f"icmp ne i32 {self._row(row, 'direct', 'i32')}, 0")
        value = self._assign(f"call i32 {function}(ptr %skb, ptr {constants})")
        wide = self._assign(f"zext i32 {value} to i64")
        emit(f"br i1 {is_direct}, label %{n}.direct, label %{n}.matched", f"{n}.direct:")
        known = self._assign(f"icmp ult i32 {value}, 16")
        emit(f"br i1 {known}, label %{n}.verdict, label %{n}.next", f"{n}.verdict:")
        bit = self._assign(f"lshr i32 {DIRECT_VERDICTS}, {value}")
        is_verdict = self._assign(f"trunc i32 {bit} to i1")
        up = self._assign(f"add i64 {wide}, 1")
        shifted = self._assign(f"shl i64 {up}, {VERDICT_SHIFT}")
        with_class = self._assign(f"or i64 {shifted}, {own}")
        direct = self._assign(f"or i64 {with_class}, {outcome}")
        emit(f"br i1 {is_verdict}, label %{n}.decided, label %{n}.next", f"{n}.decided:", "br label %end")
        emit(f"{n}.matched:")
        all_ones = self._assign(f"icmp eq i32 {value}, -1")
        classid = self._assign(f"select i1 {all_ones}, i64 {own}, i64 {wide}")
        matched = self._assign(f"or i64 {classid}, {outcome}")
        no_match = self._assign(f"icmp eq i32 {value}, 0")
        emit(f"br i1 {no_match}, label %{n}.next, label %{n}.match", f"{n}.match:")
        acted = []
        if self.tables.has_actions:
            list_at = self._assign(f"zext i32 {self._row(row, 'list', 'i32')} to i64")
            length = self._assign(f"zext i32 {self._row(row, 'length', 'i32')} to i64")
            plain = self._assign(f"icmp eq i64 {length}, 0")
            emit(f"br i1 {plain}, label %{n}.accept, label %{n}.act", f"{n}.act:")
            answer = self._assign(
                f'call i64 @"{RUN_ACTIONS}"(i64 %state, i64 {list_at}, i64 {length}, i64 %skb.int)'
            )
            negative = self._assign(f"icmp slt i64 {answer}, 0")
            emit(f"br i1 {negative}, label %{n}.next, label %{n}.acted", f"{n}.acted:", "br label %settle")
            acted.append((answer, matched, f"{n}.acted"))
        else:
            emit(f"br label %{n}.accept")
        emit(f"{n}.accept:")
        accepted = self._assign(f"or i64 {matched}, {TcAct.OK + 1 << VERDICT_SHIFT}")
        emit("br label %end", f"{n}.done:", f"br label %{following}")
        return Ends([(direct, f"{n}.decided"), (accepted, f"{n}.accept")], acted)

    def _row(self, row: str, name: str, kind: str) -> str:
        """A field of the candidate's row."""
        fields = ROW_DTYPE.fields
        assert fields is not None
        at = self._assign(f"getelementptr i8, ptr {row}, i64 {fields[name][1]}")
        return self._assign(f"load {kind}, ptr {at}, align 4")
