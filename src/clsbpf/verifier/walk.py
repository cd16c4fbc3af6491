"""Every path of a program, with what is known on it: do_check.

One state is walked at a time.  At a jump that may go either way the other way is put aside, with a copy
of the state, and taken up when this path has ended: at the program's exit, or where an earlier walk has
been with as much possible (`prune`).  So all paths are walked, or their equals.

An instruction's requirements, checks and effect are made once, before; a step of the walk is then: is
this path known (at prune points), do the requirements hold, what changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..bpf.isa import Class
from ..bpf.prototypes import prototype_of
from ..bpf.spec import ProgramSpec
from . import prune
from .arguments import Call
from .cfg import (
    CALL,
    EXIT,
    Flow,
    is_function_pointer,
    is_pseudo_call,
    iterator_asked,
)
from .checks import checker
from .functions import GlobalFunction
from .jumping import END_OF_PATH
from .kfunc_call import KfuncCall
from .liveness import StackLiveness
from .log import Log
from .loops import Visit, leave
from .precision import effects_of
from .program_types import program_types
from .prune import StoredStates
from .records import SpecialField
from .refusal import Refused
from .requirements import requirements_of
from .rules import Rules
from .state import Frame, State
from .transfer import step_of
from .values import ALLOC, BTF, MAP_KEY, MAP_PTR, MAP_VALUE, NON_OWNING, STACK, Reg

_GPL = frozenset(
    {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
)
"""license_is_gpl_compatible."""

_PRUNE, _JUMP, _STORES = 1, 2, 4
"""Of an instruction: are states compared there, may a path come from elsewhere, may it write to the stack?"""
MAY_GOTO_CODE = 0xE5
TAIL_CALL = 12


class Walk:
    """struct bpf_verifier_env."""

    def __init__(
        self,
        spec: ProgramSpec,
        flow: Flow,
        rules: Rules,
        *,
        cpus: int,
        verbose: bool,
        functions: Mapping[int, GlobalFunction],
        btf: Any = None,
    ) -> None:
        self.spec = spec
        self.insns = spec.insns
        self.flow = flow
        self.rules = rules
        self.cpus = cpus
        self.gpl_compatible = spec.license in _GPL
        self.log = Log(self, verbose=verbose)
        self.btf = btf
        self.records = program_types(btf).records if btf is not None else {}
        self.exception_callback: int | None = None
        """The subprogram that bpf_throw goes to, where there is one."""
        self.callbacks: set[int] = set()
        """Subprograms that others than the program call (is_cb)."""
        self.async_callbacks: set[int] = set()
        """Those of them that are called later, or never."""
        self.throws = frozenset(
            at for at, i in enumerate(spec.insns) if i.code == CALL and i.src == 2 and self._throws(i.imm)
        )
        self.functions = functions
        """The functions that are judged alone, by subprogram."""
        self.ids = 0
        self.count = self.count_before = 0
        self.jumps = self.jumps_before = 0
        self.pc = self.previous = 0
        """The instruction under way, and the one before."""
        self.noted_at = -1
        """The count at which something was noted in the history of the path."""
        self.pending: list[State] = []
        self.stored = StoredStates(len(spec.insns))
        self.visits: dict[tuple[int, ...], Visit] = {}
        self.not_inlined: set[int] = set()
        self.pointer_kinds: dict[int, int] = {}
        """By instruction that loads or stores: the kind of pointer it goes through."""
        self.probed: set[int] = set()
        """Instructions that load through what is the kernel's own (BPF_PROBE_MEM)."""
        self.pointer_flags: dict[int, int] = {}
        """The same of the flags of the first one."""
        self.seen: set[int] = set()
        self.stack_used: dict[int, int] = {}
        self.tail_calls: set[int] = set()
        self.calls: set[tuple[int, int]] = set()
        self.globals_called: set[int] = set()
        self._changes: dict[int, bool] = {}
        self.flow_allows_ld_abs = True
        insns = self.insns
        self.callback_calls = flow.callback_calls
        self.effects = effects_of(insns, self.callback_calls)
        self.touches = [touched for touched, _, _ in self.effects]
        self.may_gotos = frozenset(at for at, i in enumerate(insns) if i.code == MAY_GOTO_CODE)
        self.iterator_calls = frozenset(
            at for at, i in enumerate(insns) if iterator_asked(i, spec.kfuncs) is not None
        )
        self.forced_checkpoints = self.callback_calls | self.may_gotos | self.iterator_calls
        second = {at + 1 for at, i in enumerate(insns) if i.is_ld_imm64}
        self.liveness = StackLiveness(
            flow.following, flow.subprograms, self.log, flow.prune_points, flow.callback_calls
        )
        self._points = [
            (_PRUNE if at in flow.prune_points else 0)
            | (_JUMP if at in flow.jump_points else 0)
            | (_STORES if i.code & 7 in (Class.ST, Class.STX) or i.code == CALL else 0)
            for at, i in enumerate(insns)
        ]
        self.state = State()
        self.frame = Frame(0, 0, -1)
        self.regs = self.frame.regs
        self.steps = [
            (tuple(checker(self, need) for need in requirements_of(insns, at)), step_of(self, at))
            if at not in second
            else ((), lambda: END_OF_PATH)
            for at in range(len(insns))
        ]

    # The walk ----------------------------------------------------------------------------------------

    def function(self, subprogram: int, arguments: list[Reg]) -> None:
        """do_check_common: walk one function, from its first instruction, with these registers r1…"""
        state = State()
        frame = Frame(0, subprogram, -1)
        frame.regs[1 : 1 + len(arguments)] = arguments
        frame.regs[10] = Reg(STACK)
        state.frames.append(frame)
        state.insn = state.first_insn = self.flow.subprograms[subprogram].start
        self.stored.clear()
        self.visits.clear()
        self.liveness.elsewhere()
        self.pending = [state]
        while self.pending:
            self.state = self.pending.pop()
            self.frame = self.state.frames[-1]
            self.regs = self.frame.regs
            self.pc = self.state.origin
            self._path(self.state.insn, None if self.state is state else self.state.origin)
            self._ended()
            self.liveness.update(self.state)

    def _path(self, pc: int, origin: int | None) -> None:
        steps, points, limit = self.steps, self._points, self.rules.max_visited
        verbose, seen = self.log.verbose, self.seen
        if verbose:
            self.log.everything()
        state = self.state
        while True:
            previous = self.previous = self.pc
            self.pc = pc
            self.count = count = self.count + 1
            if count > limit:
                raise Refused(
                    "complexity",
                    f"BPF program is too large. Processed {count} insn",
                    errno=7,
                    limit=limit,
                )
            point = points[pc]
            if point:
                if point & _PRUNE and prune.visited(self, pc):
                    if verbose:
                        self.log.safe(pc, origin)
                    return
                if point & _JUMP:  # `note`
                    self.noted_at = count
                    state.history = state.history, pc, previous, 0, ()
                    state.noted += 1
                if point & _STORES:
                    self.liveness.begin(state)
            if verbose:
                if origin is not None:
                    self.log.arrived(origin, pc)
                    origin = None
                self.log.instruction(pc)
            seen.add(pc)
            checks, step = steps[pc]
            for check in checks:
                check()
            depth = len(state.frames) if verbose else 0
            after = step()
            if point & _STORES:
                self.liveness.commit(pc)
            pc = after
            if pc < 0:
                return
            if verbose:
                self.log.state()
                if len(state.frames) < depth:
                    if self.insns[self.pc].code == EXIT:
                        origin = self.pc
                    else:  # by a tail call
                        self.log.result()

    def _ended(self) -> None:
        """update_branch_counts: one path less to walk for all states before."""
        state = self.state.parent
        while state is not None:
            state.branches -= 1
            if state.branches:
                return
            leave(self, state)
            if state.branches:
                return
            prune.forget(self, state)
            state = state.parent

    def push(self, target: int) -> State:
        """push_stack: the state as it is, to be walked on from `target` later."""
        if len(self.pending) > self.rules.max_pending:
            raise Refused(
                "complexity",
                f"The sequence of {len(self.pending)} jumps is too complex.",
                errno=7,
                limit=self.rules.max_pending,
            )
        other = self.state.copy()
        other.insn = target
        other.origin = self.pc
        if other.parent is not None:
            other.parent.branches += 1
        self.pending.append(other)
        return other

    def _throws(self, number: int) -> bool:
        return 0 <= number < len(self.spec.kfuncs) and self.spec.kfuncs[number] == "bpf_throw"

    def catch(self, insn: int) -> None:
        """mark_subprog_exc_cb: the function that begins at this instruction is the exception callback."""
        if insn:
            subprogram = self.exception_callback = self.flow.subprogram_at[insn]
            self.callbacks.add(subprogram)
            self.async_callbacks.add(subprogram)
            self.globals_called.add(subprogram)

    def push_async(self, call: Call) -> None:
        """push_async_cb: a callback that runs some time later, alone."""
        assert call.function is not None
        assert call.map is not None
        other = State()
        self.async_callbacks.add(call.function)
        frame = Frame(0, call.function, self.pc)
        frame.callback = "timer_set_callback"
        frame.async_entries = self.frame.async_entries + 1
        frame.regs[10] = Reg(STACK)
        if call.map.key_size:
            frame.regs[2] = Reg(5, obj=call.map)
        frame.regs[1] = Reg(3, obj=call.map)
        frame.regs[3] = Reg(MAP_VALUE, obj=call.map)
        other.frames.append(frame)
        other.insn = other.first_insn = self.flow.subprograms[call.function].start
        other.origin = self.pc
        self.pending.append(other)
        self.log.everything()

    def push_kfunc_callback(self, call: KfuncCall) -> None:
        """push_callback_call, of a kernel function: at once, or some time later."""
        assert call.function is not None
        name = call.kfunc.name
        if self.is_global(call.function):
            raise Refused("callback", "callback function has to be static", errno=22)
        start = self.flow.subprograms[call.function].start
        self.callbacks.add(call.function)
        if name == "bpf_rbtree_add_impl":
            node = graph_node(call)
            other = self.push(start)
            other.callback_unroll_depth += 1
            other.frames[-1].callback_depth += 1
            frame = Frame(len(other.frames), call.function, self.pc)
            frame.regs[1], frame.regs[2] = node, node
        else:
            self.async_callbacks.add(call.function)
            other = State()
            other.origin = self.pc
            other.insn = other.first_insn = start
            self.pending.append(other)
            frame = Frame(0, call.function, self.pc)
            frame.async_entries = self.frame.async_entries + 1
            assert call.map is not None
            frame.regs[1] = Reg(MAP_PTR, obj=call.map)
            frame.regs[2] = Reg(MAP_KEY, obj=call.map) if call.map.key_size else Reg(0)
            frame.regs[3] = Reg(MAP_VALUE, obj=call.map)
        frame.callback = name
        frame.regs[10] = Reg(STACK, size=frame.number)
        other.frames.append(frame)
        self.log.everything()

    def struct_fields(self, id: int) -> tuple[SpecialField, ...]:
        """The special fields of a structure of the program's."""
        return self.records.get(id, ())

    def find_entry(self, state: State | None, at: int) -> State | None:
        """find_prev_entry: the stored state at a callback's call in which this round began."""
        while state is not None:
            if state.insn == at and state.same_calls(self.state):
                return state
            state = state.parent
        return None

    def use_stack(self, frame: int, depth: int) -> None:
        """update_stack_depth: the function of a frame needs so many bytes."""
        used = self.state.frames[frame]
        if depth > 8 * used.slots:  # grow_stack_state
            used.slots = (depth + 7) // 8
        subprogram = used.subprogram
        if depth > self.stack_used.get(subprogram, 0):
            self.stack_used[subprogram] = depth

    # Functions ---------------------------------------------------------------------------------------

    def is_global(self, subprogram: int) -> bool:
        """Is it judged alone?  So says BTF of a function that is not static."""
        return subprogram in self.functions

    def changes_packet(self, subprogram: int) -> bool:
        """changes_pkt_data: may a function, or what it calls, move the packet?"""
        found = self._changes.get(subprogram)
        if found is None:
            self._changes[subprogram] = False  # a function that calls itself is refused elsewhere
            sub = self.flow.subprograms[subprogram]
            found = any(self._insn_changes_packet(at) for at in range(sub.start, sub.end))
            self._changes[subprogram] = found
        return found

    def _insn_changes_packet(self, at: int) -> bool:
        insn = self.insns[at]
        if is_pseudo_call(insn) or is_function_pointer(insn):
            return self.changes_packet(self.flow.subprogram_at[at + insn.imm + 1])
        proto = prototype_of(insn.imm) if insn.code == CALL and not insn.src else None
        return proto is not None and (proto.changes_packet or insn.imm == TAIL_CALL)


def graph_node(call: KfuncCall) -> Reg:
    """set_rbtree_add_callback_state: a node that is in the tree."""
    assert call.graph is not None
    return Reg(BTF, obj=call.graph.target, off=call.graph.node, flags=ALLOC | NON_OWNING)
