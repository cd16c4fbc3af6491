"""How do loads and stores become IR?  The packet, the context, everything else, atomics.

What an access goes through decides how it is written: the verifier says it of each instruction.

- the context: a field of the NativeSkb; `data` and its like are addresses there, and some fields are
  narrower than struct __sk_buff has them.
- a structure of the kernel ("ptr_"): its address may lead nowhere, in the kernel the load is then 0; here
  Python looks whether there is something (`load_behind`).
- all else is memory that is there: a plain load or store.

Loads from the packet (LD_ABS, LD_IND).  `ld [k]` is one comparison of the captured length with k + size,
then an unaligned load and a byte swap.  A load past that end goes to one block that the whole function
shares and that returns 0.  Negative offsets, which count from a header, are looked up by a cold function.
"""

from __future__ import annotations

from ..bpf.insn import Insn
from ..bpf.isa import FP, R0, SIZE_BYTES, STACK_BYTES, Atomic, Mode, Pseudo, Size, mode_of, size_of
from ..verifier.program import KERNEL_STRUCTURE
from .environment import EnvironmentAt
from .helpers.memory import load_behind
from .lower_arithmetic import ArithmeticText
from .machine import FUNCTION
from .native_skb import NARROWED, NO_QUEUE_MAPPING, POINTERS, At, Narrowing
from .native_symbols import declaration
from .packet import NOT_CAPTURED, locate
from .subset import record_of

_ATOMIC: dict[int, str] = {Atomic.ADD: "add", Atomic.OR: "or", Atomic.AND: "and", Atomic.XOR: "xor"}

_NO_ATOMICS = frozenset({"ctx", "pkt", "pkt_meta", KERNEL_STRUCTURE})
"""Where a load-acquire is a load: what is there may not be memory, or not aligned."""


class MemoryText(ArithmeticText):
    """Instructions that load and store."""

    # 64-bit immediates

    def load_immediate_or_packet(self, index: int, insn: Insn) -> None:
        size = SIZE_BYTES[Size(size_of(insn.code))]
        match mode_of(insn.code):
            case Mode.IMM if insn.is_ld_imm64:
                self.load_immediate(index, insn)
            case Mode.ABS if insn.imm >= 0:
                self.load_absolute(insn.imm, size)
            case Mode.ABS:
                data, captured = self.packet()
                at = self.locate(captured, str(insn.imm), size)
                self.set_low(R0, self.load_big_endian(data, at, size))
            case Mode.IND:
                self.load_indirect(insn, size)
            case _:
                raise self.wrong(index, f"unknown opcode {insn.code:#04x}")

    def load_immediate(self, index: int, insn: Insn) -> None:
        """A number, a map, a place in a map's value, or a function."""
        high = self.unit.insns[index + 1].imm
        if insn.src == 0:
            self.set_wide(insn.dst, str(high << 32 | insn.imm_u32))
            return
        if insn.src == Pseudo.FUNC:
            self.set_wide(insn.dst, str(FUNCTION + index + 1 + insn.imm))
            return
        linked, symbols = self.unit.linked, self.unit.symbols
        map = linked.references.get(index) if linked is not None else None
        if map is None or symbols is None:
            raise self.wrong(index, "a reference to a map that the program was not linked with")
        whole = insn.src in (Pseudo.MAP_FD, Pseudo.MAP_IDX)
        symbol = symbols.map(map) if whole else symbols.values(map)
        self.declares.add(declaration(symbol))
        address = f'@"{symbol}"'
        if not whole and high:
            address = self.assign(f"getelementptr i8, ptr {address}, i64 {high}")
        self.set_wide(insn.dst, self.assign(f"ptrtoint ptr {address} to i64"))
        if whole:
            self.registers[insn.dst].known = map

    # the packet

    def packet(self) -> tuple[str, str]:
        """Where the packet is, and how many bytes of it are there.

        A classic program does not move it: it looks once.
        """
        if self.unit.program.classic is not None:
            self.uses_packet = True
            return "%data", "%captured"
        data = self.assign(f"load ptr, ptr {self.context_address(At.DATA_PTR)}, align 8")
        end = self.assign(f"load i64, ptr {self.context_address(At.DATA_END_PTR)}, align 8")
        start = self.assign(f"ptrtoint ptr {data} to i64")
        return data, self.assign(f"sub nuw nsw i64 {end}, {start}")

    def load_absolute(self, offset: int, size: int) -> None:
        data, captured = self.packet()
        short = self.assign(f"icmp ult i64 {captured}, {offset + size}")
        self.past.append((self.current, offset + size))
        inside = self.fresh_label("in")
        self.emit(f"br i1 {short}, label %past, label %{inside}")
        self.start(inside)
        self.set_low(R0, self.load_big_endian(data, str(offset), size))

    def load_indirect(self, insn: Insn, size: int) -> None:
        data, captured = self.packet()
        offset = self.low(insn.src)
        if insn.imm:
            offset = self.assign(f"add i32 {offset}, {insn.imm}")
        wide = self.zero_extend(offset)
        last = self.assign(f"sub i64 {captured}, {size}")
        fits = self.assign(f"icmp sle i64 {wide}, {last}")  # an offset below 0 is huge here
        inside, outside, joined = (self.fresh_label(kind) for kind in ("in", "out", "ld"))
        self.emit(f"br i1 {fits}, label %{inside}, label %{outside}")
        self.start(outside)
        at = self.locate(captured, self.assign(f"sext i32 {offset} to i64"), size)
        slow = self.load_big_endian(data, at, size)
        slow_end = self.current
        self.emit(f"br label %{joined}")
        self.start(inside)
        fast = self.load_big_endian(data, wide, size)
        self.emit(f"br label %{joined}")
        self.start(joined)
        self.set_low(R0, self.assign(f"phi i32 [ {fast}, %{inside} ], [ {slow}, %{slow_end} ]"))

    def load_big_endian(self, data: str, offset: str, size: int) -> str:
        """An i32: `size` bytes at `offset` of the packet, which are there."""
        bits = size * 8
        address = self.assign(f"getelementptr i8, ptr {data}, i64 {offset}")
        loaded = self.assign(f"load i{bits}, ptr {address}, align 1")
        if size > 1:
            loaded = self.byte_swap(bits, loaded)
        return loaded if size == 4 else self.assign(f"zext i{bits} {loaded} to i32")

    def locate(self, captured: str, offset: str, size: int) -> str:
        """An i64: where `locate` finds the bytes; the function returns 0 when they are not there."""
        self.uses_locate = True
        fields = [
            self.skb_field(at, bits)
            for at, bits in ((At.LEN, "u32"), (At.NET_OFF, "s32"), (At.MAC_OFF, "s32"))
        ]
        arguments = ", ".join(f"i64 {each}" for each in (captured, *fields, offset, str(size)))
        at = self.assign(f"call i64 {self.symbol(record_of(locate))}({arguments})")
        missing = self.assign(f"icmp sle i64 {at}, {NOT_CAPTURED}")
        lost, following = self.fresh_label("lost"), self.fresh_label("ld")
        self.emit(f"br i1 {missing}, label %{lost}, label %{following}")
        self.start(lost)
        uncaptured = self.assign(f"icmp eq i64 {at}, {NOT_CAPTURED}")
        self.emit(f"br i1 {uncaptured}, label %uncaptured, label %zero")
        self.start(following)
        return at

    def skb_field(self, at: At, kind: str) -> str:
        """An i64: a 32-bit field of the NativeSkb."""
        address = self.context_address(at)
        loaded = self.assign(f"load i32, ptr {address}, align 4")
        return self.assign(f"{'zext' if kind == 'u32' else 'sext'} i32 {loaded} to i64")

    def address(self, register: int, offset: int) -> str:
        """A pointer: register + offset."""
        if register == FP:
            self.uses_stack = True
            return self.assign(f"getelementptr i8, ptr %stack, i64 {STACK_BYTES + offset}")
        base = self.assign(f"inttoptr i64 {self.wide(register)} to ptr")
        return self.assign(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base

    # memory

    def load(self, index: int, insn: Insn) -> None:
        size = SIZE_BYTES[Size(size_of(insn.code))]
        bits = size * 8
        signed = mode_of(insn.code) == Mode.MEMSX
        if index in self.unit.program.ctx_accesses:
            pointer = POINTERS.get(insn.off)
            if pointer is not None:
                address = self.context_address(pointer)
                self.set_wide(insn.dst, self.assign(f"load i64, ptr {address}, align 8"))
                return
            address = self.context_address(insn.off)
        elif self.unit.program.pointer_kinds.get(index) == KERNEL_STRUCTURE:
            self.set_wide(insn.dst, self.load_behind(insn, size, signed))
            return
        else:
            address = self.address(insn.src, insn.off)
        loaded = self.assign(f"load i{bits}, ptr {address}, align 1")
        if size == 8:
            self.set_wide(insn.dst, loaded)
        elif signed:
            self.set_wide(insn.dst, self.assign(f"sext i{bits} {loaded} to i64"))
        elif size == 4:
            self.set_low(insn.dst, loaded)
        else:
            self.set_low(insn.dst, self.assign(f"zext i{bits} {loaded} to i32"))

    def load_behind(self, insn: Insn, size: int, signed: bool) -> str:
        """An i64: what is in a structure of the kernel (BPF_PROBE_MEM)."""
        address = self.wide(insn.src)
        if insn.off:
            address = self.assign(f"add i64 {address}, {insn.off}")
        self.show_stack(self.environment())
        arguments = f"i64 {self.environment()}, i64 {address}, i64 {size}"
        value = self.assign(f"call i64 {self.symbol(record_of(load_behind))}({arguments})")
        if not signed:
            return value
        narrow = self.assign(f"trunc i64 {value} to i{size * 8}")
        return self.assign(f"sext i{size * 8} {narrow} to i64")

    def show_stack(self, environment: str) -> None:
        """Somebody may read what is on the stack by its address: say where this frame begins."""
        self.uses_stack = True
        at = self.assign(f"add i64 {environment}, {EnvironmentAt.STACK_LOW:d}")
        pointer = self.assign(f"inttoptr i64 {at} to ptr")
        self.emit(f"store ptr %stack, ptr {pointer}, align 8")

    def store(self, index: int, insn: Insn, wide: str | None, low: str | None) -> None:
        """ST (the constant is given) or STX (None: the source register)."""
        size = SIZE_BYTES[Size(size_of(insn.code))]
        bits = size * 8
        if size == 8:
            value = wide if wide is not None else self.wide(insn.src)
        else:
            value = low if low is not None else self.low(insn.src)
            if size < 4:
                value = self.assign(f"trunc i32 {value} to i{bits}")
        if index not in self.unit.program.ctx_accesses:
            address = self.address(insn.dst, insn.off)
        else:
            address = self.context_address(insn.off)
            narrowing = NARROWED.get(insn.off)
            if narrowing is not None and size == 4:
                value = self.narrowed(narrowing, value, address)
        self.emit(f"store i{bits} {value}, ptr {address}, align 1")

    def narrowed(self, narrowing: Narrowing, value: str, address: str) -> str:
        """What a context field of 16 bits becomes when 32 are stored."""
        if narrowing is Narrowing.LOW_16:
            return self.assign(f"and i32 {value}, 65535")
        old = self.assign(f"load i32, ptr {address}, align 1")
        fits = self.assign(f"icmp ult i32 {value}, {NO_QUEUE_MAPPING}")
        return self.assign(f"select i1 {fits}, i32 {value}, i32 {old}")

    def atomic(self, index: int, insn: Insn) -> None:
        size = SIZE_BYTES[Size(size_of(insn.code))]
        bits = size * 8
        if insn.imm == Atomic.LOAD_ACQ:
            if self.unit.program.pointer_kinds.get(index) in _NO_ATOMICS:
                self.load(index, insn)
                return
            address = self.address(insn.src, insn.off)
            loaded = self.assign(f"load atomic i{bits}, ptr {address} acquire, align {size}")
            self.set_from(insn.dst, bits, loaded)
            return
        address = self.address(insn.dst, insn.off)
        if insn.imm == Atomic.STORE_REL:
            value = self.wide(insn.src) if bits == 64 else self.low(insn.src)
            if bits < 32:
                value = self.assign(f"trunc i32 {value} to i{bits}")
            self.emit(f"store atomic i{bits} {value}, ptr {address} release, align {size}")
            return
        if size < 4:
            raise self.wrong(index, f"atomic operation on {size} bytes")
        read = self.wide if bits == 64 else self.low
        source = read(insn.src)
        if insn.imm == Atomic.CMPXCHG:
            pair = self.assign(f"cmpxchg ptr {address}, i{bits} {read(R0)}, i{bits} {source} seq_cst seq_cst")
            self.set_from(R0, bits, self.assign(f"extractvalue {{ i{bits}, i1 }} {pair}, 0"))
        elif insn.imm == Atomic.XCHG:
            self.set_from(
                insn.src, bits, self.assign(f"atomicrmw xchg ptr {address}, i{bits} {source} seq_cst")
            )
        else:
            operation = _ATOMIC.get(insn.imm & ~Atomic.FETCH)
            if operation is None:
                raise self.wrong(index, f"unknown atomic operation {insn.imm:#x}")
            fetch = insn.imm & Atomic.FETCH
            order = "seq_cst" if fetch else "monotonic"
            old = self.assign(f"atomicrmw {operation} ptr {address}, i{bits} {source} {order}")
            if fetch:
                self.set_from(insn.src, bits, old)

    def set_from(self, register: int, bits: int, value: str) -> None:
        """The register becomes the zero extension of a value of `bits` bits."""
        if bits == 64:
            self.set_wide(register, value)
        elif bits == 32:
            self.set_low(register, value)
        else:
            self.set_low(register, self.assign(f"zext i{bits} {value} to i32"))
