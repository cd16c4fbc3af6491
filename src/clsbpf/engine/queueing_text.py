"""A packet's way through a root qdisc as LLVM IR: htb_classify(), prio_classify() and what they lead to.

`tc/qdiscs/` is the definition (`queueing.transmit`); `passages.py` says what is counted where the way ends.
Here each qdisc is a few labels of `classify`, behind clsact's filters; each block of filters is a function
(linear.py):

    clsact's block ─ taken ───────────────────────────────────────────────▶ queue.end
        │ goes on
        ▼
    q0 (htb) ─ priority ─┬▶ block ─ answer ─┬▶ inner class: its block ─▶ …       ▲
                         │                  ├▶ leaf: its queue's labels, q1 ─────┤ sent, lost
                         │                  └▶ dropped, taken ───────────────────┤
                         └────────────────────▶ default class, or past them ─────┘

The outcome is that of the filter that decided last; those that decided before count the packet, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..tc import ids
from ..tc.act import TcAct
from ..tc.chain import Block
from ..tc.qdiscs.codel import Codel
from ..tc.qdiscs.fifo import BFIFO, Fifo, Noop
from ..tc.qdiscs.flows import FlowQueue
from ..tc.qdiscs.htb import Htb, HtbClass
from ..tc.qdiscs.prio import PRIO_MAX, Prio
from ..tc.qdiscs.qdisc import SizeTable
from ..tc.qdiscs.tbf import Tbf
from ..vm.environment import EnvironmentAt
from ..vm.native_skb import At
from ..vm.subset import load_i64, load_u32, native, record_of, store_i64, store_u32
from .passages import Node, Tree
from .view import SkbText
from .walk_state import (
    CLASSID_MASK,
    END_BYTES,
    FILTER_ENTRY,
    FILTER_SHIFT,
    VERDICT_MASK,
    VERDICT_SHIFT,
    State,
)

SENT, LOST = 0, END_BYTES // 2
NO_ANSWER = 1 << 62
"""`%said` where no action answered."""
STOLEN = (TcAct.STOLEN, TcAct.QUEUED, TcAct.TRAP)
TAKEN = (*STOLEN, TcAct.SHOT, TcAct.REDIRECT)
"""What does not go on from clsact (sch_handle_egress)."""


@native
def count_end(state: int, at: int, skb: int) -> None:
    """The packet's way ends here."""
    end = load_i64(state + State.PASSAGES) + at
    store_i64(end, load_i64(end) + 1)
    store_i64(end + 8, load_i64(end + 8) + load_u32(skb + At.WIRE_LEN))


@native
def count_decided(state: int, outcome: int, length: int) -> None:
    """Another filter decides again: count the packet for the one that decided before, if there is one."""
    number = outcome >> FILTER_SHIFT
    if number:
        entry = load_i64(state + State.FILTERS) + number * FILTER_ENTRY
        store_i64(entry, load_i64(entry) + 1)
        store_i64(entry + 8, load_i64(entry + 8) + length)


@native
def forget_redirect(state: int) -> None:
    """A filter of a qdisc cannot send a packet elsewhere: nobody carries it out."""
    environment = load_i64(state + State.ENVIRONMENT)
    store_i64(environment + EnvironmentAt.REDIRECT_IFINDEX, 0)
    store_i64(environment + EnvironmentAt.REDIRECT_FLAGS, 0)


@native
def resize(skb: int, table: int, count: int, overhead: int, align: int, cell_log: int, size_log: int) -> None:
    """`SizeTable.size`: what the packet counts for from here on."""
    size = load_u32(skb + At.LEN) + overhead
    if count:
        slot = size + align
        if slot < 0:
            slot = 0
        slot = slot >> cell_log
        last = load_i64(table + (count - 1) * 8)
        sized = load_i64(table + slot * 8) if slot < count else 0
        if slot >= count:
            sized = last * (slot // count) + load_i64(table + (slot - slot // count * count) * 8)
        size = sized << size_log
    store_u32(skb + At.WIRE_LEN, size if size > 1 else 1)


FUNCTIONS = (count_end, count_decided, forget_redirect, resize)
_COUNT_END, _COUNT_DECIDED, _FORGET_REDIRECT, _RESIZE = (record_of(each).symbol for each in FUNCTIONS)


class QueueText:
    """The labels of a tree of qdiscs in `classify`; `functions` are its blocks', by name."""

    def __init__(
        self, text: SkbText, tree: Tree, functions: Mapping[Block, str], *, acts: bool, faults: bool
    ) -> None:
        self.text = text
        self.tree = tree
        self.functions = functions
        self.acts = acts
        self.faults = faults
        self._count = 0

    def allocate(self) -> None:
        """Room for what is known of the packet on its way."""
        cells = ("passed", "class", *(["said"] if self.acts else []))
        self.text.emit(*(f"%queue.{cell} = alloca i64" for cell in cells))
        for node in self._of(Htb):
            self.text.emit(f"%{node.name}.tries = alloca i64", f"%{node.name}.chosen = alloca i64")

    def _of(self, kind: type) -> Iterable[Node]:
        return [node for node in self.tree.nodes if isinstance(node.qdisc, kind)]

    def tables(self) -> list[str]:
        """The module's size tables."""
        stab = self.tree.root.qdisc.stab
        if stab is None or not stab.data:
            return []
        numbers = ", ".join(f"i64 {each}" for each in stab.data)
        return [f"@queue.sizes = internal constant [{len(stab.data)} x i64] [ {numbers} ]"]

    def lines(self, outcome: str) -> str:
        """What becomes of a packet of which clsact's block says this; the outcome then."""
        emit = self.text.emit
        emit(f"store i64 {outcome}, ptr %queue.passed", "store i64 0, ptr %queue.class")
        emit(f"%queue.own = and i64 {outcome}, {CLASSID_MASK}")
        if self.faults:
            self.text.unless_faulted("queue.end")
        answer = self._answer(outcome)
        let_through = {int(TcAct.OK): "queue.let", int(TcAct.RECLASSIFY): "queue.let"}
        self._switch(answer, dict.fromkeys(TAKEN, "queue.gone") | let_through, "queue.in")
        emit("queue.gone:", "store i64 %queue.own, ptr %queue.class", "br label %queue.end", "queue.let:")
        minor = self._assign("and i64 %queue.own, 65535")
        self._store(At.TC_INDEX, minor)
        emit("br label %queue.in", "queue.in:")
        root = self.tree.root
        if root.qdisc.stab is not None:
            self._resize(root.qdisc.stab)
        emit(f"br label %{root.name}")
        for node in self.tree.nodes:
            _TEXTS[type(node.qdisc)](self, node) if type(node.qdisc) in _TEXTS else self._queue(node)
        emit("queue.end:", f'call void @"{_FORGET_REDIRECT}"(i64 %state)')
        passed = self._assign("load i64, ptr %queue.passed")
        kept = self._assign(f"and i64 {passed}, {~CLASSID_MASK}")
        class_ = self._assign("load i64, ptr %queue.class")
        return self._assign(f"or i64 {kept}, {class_}")

    # lines

    def _assign(self, expression: str) -> str:
        self._count += 1
        name = f"%queue.x{self._count}"
        self.text.emit(f"{name} = {expression}")
        return name

    def _label(self) -> str:
        self._count += 1
        return f"queue.l{self._count}"

    def _load(self, at: At) -> str:
        place = self._assign(f"getelementptr i8, ptr %skb, i64 {at:d}")
        return self._assign(f"load i32, ptr {place}, align 4")

    def _store(self, at: At, value: str) -> None:
        place = self._assign(f"getelementptr i8, ptr %skb, i64 {at:d}")
        narrow = self._assign(f"trunc i64 {value} to i32")
        self.text.emit(f"store i32 {narrow}, ptr {place}, align 4")

    def _switch(self, value: str, cases: Mapping[int, str], otherwise: str, kind: str = "i64") -> None:
        """To the label of the value's case."""
        targets = " ".join(f"{kind} {case:d}, label %{label}" for case, label in cases.items())
        self.text.emit(f"switch {kind} {value}, label %{otherwise} [ {targets} ]")

    def _resize(self, stab: SizeTable) -> None:
        table = self._assign("ptrtoint ptr @queue.sizes to i64") if stab.data else "0"
        numbers = (len(stab.data), stab.overhead, stab.cell_align, stab.cell_log, stab.size_log)
        given = ", ".join(f"i64 {number}" for number in numbers)
        self.text.emit(f'call void @"{_RESIZE}"(i64 %skb.int, i64 {table}, {given})')

    # blocks

    def call(self, function: str) -> str:
        """The outcome of a block's filters."""
        if self.acts:
            self.text.emit(f"store i64 {NO_ANSWER}, ptr %queue.said")
        said = "%queue.said" if self.acts else "null"
        return self._assign(
            f'call i64 @"{function}"(i64 %state, ptr %skb, i64 %skb.int, i64 %data,'
            f" i64 %captured, i64 %length, i64 %outer, ptr {said})"
        )

    def _answer(self, outcome: str) -> str:
        """The answer of a block, TC_ACT_* or another number that an action gives."""
        shifted = self._assign(f"lshr i64 {outcome}, {VERDICT_SHIFT}")
        low = self._assign(f"and i64 {shifted}, {VERDICT_MASK}")
        answer = self._assign(f"sub i64 {low}, 1")
        if not self.acts:
            return answer
        said = self._assign("load i64, ptr %queue.said")
        silent = self._assign(f"icmp eq i64 {said}, {NO_ANSWER}")
        return self._assign(f"select i1 {silent}, i64 {answer}, i64 {said}")

    def _ask(self, node: Node, block: Block, default: str) -> str:
        """Ask a block, and go on where it chose a class (its classid); to `default` if nobody decides."""
        emit = self.text.emit
        if block not in self.functions:
            emit(f"br label %{default}")
            chosen = self._label()
            emit(f"{chosen}:")
            return "0"
        outcome = self.call(self.functions[block])
        if self.faults:
            self.text.unless_faulted("queue.end")
        number = self._assign(f"lshr i64 {outcome}, {FILTER_SHIFT}")
        none = self._assign(f"icmp eq i64 {number}, 0")
        decided, chosen = self._label(), self._label()
        emit(f"br i1 {none}, label %{default}, label %{decided}", f"{decided}:")
        before = self._assign("load i64, ptr %queue.passed")
        emit(
            f'call void @"{_COUNT_DECIDED}"(i64 %state, i64 {before}, i64 %length)',
            f"store i64 {outcome}, ptr %queue.passed",
        )
        answer = self._answer(outcome)
        taken = dict.fromkeys(map(int, STOLEN), "queue.end") | {int(TcAct.SHOT): f"{node.name}.lost"}
        self._switch(answer, taken, chosen)
        emit(f"{chosen}:")
        return self._assign(f"and i64 {outcome}, {CLASSID_MASK}")

    # qdiscs

    def _end(self, node: Node, way: int) -> None:
        at = node.number * END_BYTES + way
        self.text.emit(
            f'call void @"{_COUNT_END}"(i64 %state, i64 {at}, i64 %skb.int)', "br label %queue.end"
        )

    def _queue(self, node: Node) -> None:
        """`Queue.enqueue`, `Fifo.enqueue`, `Codel.enqueue`, `FlowQueue.enqueue` by the hash."""
        emit, name, qdisc = self.text.emit, node.name, node.qdisc
        emit(f"{name}:")
        if isinstance(qdisc, Fifo):
            size = self._load(At.WIRE_LEN) if qdisc.kind == BFIFO else "1"
            full = self._assign(f"icmp ult i32 {qdisc.limit}, {size}")
            emit(f"br i1 {full}, label %{name}.lost, label %{name}.sent")
        elif isinstance(qdisc, Codel | FlowQueue):
            emit(f"br label %{name}.{'sent' if qdisc.limit else 'lost'}")
        else:
            emit(f"br label %{name}.sent")
        emit(f"{name}.lost:")
        self._end(node, LOST)
        emit(f"{name}.sent:")
        self._end(node, SENT)

    def _to_class(self, node: Node, class_: Any, classid: int) -> None:
        """Into a leaf class's queue; of the first qdisc that chooses, it is the packet's class."""
        if node.is_first:
            self.text.emit(f"store i64 {classid}, ptr %queue.class")
        self.text.emit(f"br label %{self.tree.below[node, class_].name}")

    def _htb(self, node: Node) -> None:
        """`Htb.enqueue`, `Htb.classify`."""
        emit, name, htb = self.text.emit, node.name, node.qdisc
        assert isinstance(htb, Htb)
        classes = list(htb.walk())
        into = {each.classid: f"{name}.{'b' if each.level else 'c'}{each.classid}" for each in classes}
        emit(f"{name}:", f"store i64 {len(classes) + 1}, ptr %{name}.tries")
        # A class with the qdisc's own classid is never found by it: that is the way past the classes.
        chosen = {htb.handle: f"{name}.direct"} | {id: into[id] for id in into if id != htb.handle}
        self._switch(self._load(At.PRIORITY), signed(chosen), f"{name}.b", "i32")
        inner: list[HtbClass] = [class_ for class_ in classes if class_.level]
        for label, block in [
            (f"{name}.b", htb.own_block),
            *((into[class_.classid], class_.block) for class_ in inner),
        ]:
            emit(f"{label}:")
            tries = self._assign(f"load i64, ptr %{name}.tries")
            less = self._assign(f"sub i64 {tries}, 1")
            emit(f"store i64 {less}, ptr %{name}.tries")
            over, ask = self._assign(f"icmp slt i64 {less}, 0"), self._label()
            emit(f"br i1 {over}, label %{name}.default, label %{ask}", f"{ask}:")
            classid = self._ask(node, block, f"{name}.default")
            emit(f"store i64 {classid}, ptr %{name}.chosen", f"br label %{name}.chose")
        emit(f"{name}.chose:")  # one switch for all blocks: classes may be many, and so may blocks
        self._switch(self._assign(f"load i64, ptr %{name}.chosen"), chosen, f"{name}.default")
        default = htb.find(ids.make(htb.handle, htb.defcls))
        to = f"{name}.direct" if default is None or default.level else into[default.classid]
        emit(f"{name}.default:", f"br label %{to}")
        for class_ in classes:
            if not class_.level:
                emit(f"{into[class_.classid]}:")
                self._to_class(node, class_, class_.classid)
        emit(f"{name}.direct:", f"br label %{name}.{'sent' if htb.direct_qlen else 'lost'}", f"{name}.sent:")
        self._end(node, SENT)
        emit(f"{name}.lost:")
        self._end(node, LOST)

    def _prio(self, node: Node) -> None:
        """`Prio.enqueue`, `Prio.classify`."""
        emit, name, prio = self.text.emit, node.name, node.qdisc
        assert isinstance(prio, Prio)
        emit(f"{name}:")
        priority = self._load(At.PRIORITY)
        major = self._assign(f"and i32 {priority}, {-65536}")
        own = self._assign(f"icmp eq i32 {major}, {signed_32(prio.handle)}")
        emit(f"br i1 {own}, label %{name}.own, label %{name}.b", f"{name}.b:")
        classid = self._ask(node, prio.own_block, f"{name}.default")
        given = self._label()
        emit(f"br label %{given}", f"{name}.own:")
        wide = self._assign(f"zext i32 {priority} to i64")
        emit(f"br label %{name}.named", f"{given}:", f"br label %{name}.named", f"{name}.named:")
        named = self._assign(f"phi i64 [ {wide}, %{name}.own ], [ {classid}, %{given} ]")
        minor = self._assign(f"and i64 {named}, 65535")
        bands = {number: f"{name}.c{number}" for number in range(1, prio.bands + 1)}
        self._switch(minor, bands, f"{name}.c{prio.priomap[0] + 1}")
        # A priority with another qdisc's major is 0 here.
        emit(f"{name}.default:")
        foreign = self._assign(f"icmp ne i32 {major}, 0")
        low = self._assign(f"and i32 {priority}, {PRIO_MAX}")
        place = self._assign(f"select i1 {foreign}, i32 0, i32 {low}")
        mapped = {number: f"{name}.c{band + 1}" for number, band in enumerate(prio.priomap)}
        self._switch(place, mapped, f"{name}.c{prio.priomap[0] + 1}", "i32")
        for band in prio.walk():
            emit(f"{name}.c{band.number}:")
            self._to_class(node, band, ids.make(prio.handle, band.number))
        emit(f"{name}.lost:")
        self._end(node, LOST)

    def _tbf(self, node: Node) -> None:
        """`Tbf.enqueue`."""
        emit, name, tbf = self.text.emit, node.name, node.qdisc
        assert isinstance(tbf, Tbf)
        emit(f"{name}:")
        size = self._load(At.WIRE_LEN)
        long = self._assign(f"icmp ugt i32 {size}, {min(tbf.params.max_size, 0xFFFFFFFF)}")
        (class_,) = tbf.walk()
        emit(
            f"br i1 {long}, label %{name}.lost, label %{self.tree.below[node, class_].name}", f"{name}.lost:"
        )
        self._end(node, LOST)

    def _noop(self, node: Node) -> None:
        """`Noop.enqueue`."""
        self.text.emit(f"{node.name}:")
        self._end(node, LOST)


_TEXTS = {Htb: QueueText._htb, Prio: QueueText._prio, Tbf: QueueText._tbf, Noop: QueueText._noop}


def signed(cases: Mapping[int, str]) -> dict[int, str]:
    """The cases of a switch over i32."""
    return {signed_32(value): label for value, label in cases.items()}


def signed_32(value: int) -> int:
    """A number of 32 bits as LLVM writes an i32."""
    return value - (1 << 32) if value >> 31 else value
