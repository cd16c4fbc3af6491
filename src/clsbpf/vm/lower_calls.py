"""How do calls become IR?  Functions of the program, helpers, kernel functions, tail calls.

A function of the program is an LLVM function with a stack of its own: LLVM keeps r6 to r9 for the caller,
as the calling convention of BPF wants it.  Helpers are their bodies (vm/helpers), compiled into the same
module.  Those that are about the run itself (vm/control.py says what they do) are written out here; those
that call a function of the program back are in lower_callbacks.py.
"""

from __future__ import annotations

from collections.abc import Callable

from ..bpf import helpers as number
from ..bpf.insn import Insn
from ..bpf.isa import PSEUDO_CALL, PSEUDO_KFUNC_CALL, R0, R1, R2, R3, R4, R5
from .helpers import BODIES, KFUNCS, HelperBody
from .link import call_refusal
from .lower_memory import MemoryText
from .native_calls import calls_python
from .subset import record_of
from .tail_calls import NO_TARGET, NOT_NATIVE, run_target, tail_target


class CallText(MemoryText):
    """Calls."""

    def call(self, index: int, insn: Insn) -> None:
        if insn.src == PSEUDO_CALL:
            symbol = self.unit.functions[index + 1 + insn.imm]
            arguments = ", ".join(f"i64 {self.wide(register)}" for register in range(R1, R5 + 1))
            self.set_wide(R0, self.assign(f'call i64 @"{symbol}"(ptr %skb, {arguments})'))
            return
        kfuncs = self.unit.program.spec.kfuncs if self.unit.program.spec is not None else ()
        refusal = call_refusal(insn, kfuncs)
        if refusal is not None:
            raise self.wrong(index, refusal)
        if insn.src == PSEUDO_KFUNC_CALL:
            self.call_body(KFUNCS[kfuncs[insn.imm]])
        elif insn.imm in _CONTROL:
            _CONTROL[insn.imm](self)
        else:
            self.call_body(BODIES[insn.imm])

    def call_body(self, body: HelperBody) -> None:
        first = "%skb.int" if body.takes_skb else self.environment()
        record = record_of(body.function)
        if self.unit.symbols is not None:
            record = self.unit.symbols.for_maps(
                record, [None, *(self.value(register).known for register in body.registers)]
            )
        if calls_python(record):
            self.show_stack(first if not body.takes_skb else self.environment())
        arguments = [f"i64 {first}", *(f"i64 {self.wide(register)}" for register in body.registers)]
        self.set_wide(R0, self.assign(f"call i64 {self.symbol(record)}({', '.join(arguments)})"))

    def tail_call(self) -> None:
        """The program in the slot takes this one's place, or nothing happens.

        From the entry it is a jump: the frame goes.  From another function the target returns to the caller.
        """
        environment = self.environment()
        map, index = self.wide(R2), self.wide(R3)
        record = record_of(tail_target)
        if self.unit.symbols is not None:
            record = self.unit.symbols.for_maps(record, [None, self.value(R2).known, None])
        target = self.assign(f"call i64 {self.symbol(record)}(i64 {environment}, i64 {map}, i64 {index})")
        found, known, unknown, following = (self.fresh_label(kind) for kind in ("tc", "tc", "tc", "n"))
        none = self.assign(f"icmp eq i64 {target}, {NO_TARGET}")
        self.emit(f"br i1 {none}, label %{following}, label %{found}")
        self.start(found)
        missing = self.assign(f"icmp eq i64 {target}, {NOT_NATIVE}")
        self.emit(f"br i1 {missing}, label %{unknown}, label %{known}")
        self.start(unknown)
        ran = self.assign(
            f"call i64 {self.symbol(record_of(run_target))}"
            f"(i64 {environment}, i64 %skb.int, i64 {map}, i64 {index})"
        )
        self.emit(f"ret i64 {ran}")
        self.start(known)
        entry = self.assign(f"inttoptr i64 {target} to ptr")
        how = "musttail call" if self.is_entry else "call"
        self.emit(f"ret i64 {self.assign(f'{how} i64 {entry}(ptr %skb)')}")
        self.start(following)

    def spin_lock(self) -> None:
        """One thread uses a map: the lock is taken by saying so."""
        self.emit(f"store i32 1, ptr {self.address(R1, 0)}, align 4")

    def spin_unlock(self) -> None:
        self.emit(f"store i32 0, ptr {self.address(R1, 0)}, align 4")

    def loop(self) -> None:
        self.call_back("loop", R4)

    def for_each_map_elem(self) -> None:
        self.call_back("for_each", R4)

    def call_back(self, what: str, last: int) -> None:
        """A helper that calls functions of the program: lower_callbacks.py has it, once a program."""
        self.callbacks[what] = None
        arguments = ", ".join(f"i64 {self.wide(register)}" for register in range(R1, last + 1))
        self.set_wide(R0, self.assign(f'call i64 @"{self.unit.name}.{what}"(ptr %skb, {arguments})'))


_CONTROL: dict[int, Callable[[CallText], None]] = {
    number.BY_NAME[name].number: getattr(CallText, name)
    for name in ("tail_call", "loop", "for_each_map_elem", "spin_lock", "spin_unlock")
}
"""Helpers that are about the run itself (vm/control.py)."""
