"""Will the kernel take this program?  bpf_check, from the specification to a verdict.

    ProgramSpec → control flow (`cfg`) → every path (`walk`) → stack depth → VerifiedProgram

A program that is refused is a VerifierError with the log and, in `report`, the reason in words.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ..bpf.forms import FORMS
from ..bpf.insn import Insn
from ..bpf.isa import Class, Mode, Size
from ..bpf.spec import RUNNABLE_TYPES, ProgramSpec
from ..errors import VerifierError
from ..profile import CURRENT, KernelProfile
from .cfg import CALL, Flow, Subprogram, analyse, find_subprograms, jump_target
from .exceptions import exception_callback
from .explain import explain
from .func_info import check_func_info, without_types
from .functions import global_functions
from .program import KERNEL_STRUCTURE, VerifiedProgram, Work
from .program_types import program_types
from .refusal import Refused
from .releases import GLOBAL_FUNCTIONS, LOOPS, MIXED_CALLS
from .rules import Rules, rules_of
from .stack_depth import stack_depth
from .transfer import check_wide
from .types import kernel_processors
from .values import CTX, KIND_NAMES, Reg
from .walk import TAIL_CALL, Walk

_OPCODES = frozenset({form.code for form in FORMS} | {Class.LD | Mode.IMM | Size.DW, 0})

MOST_PROCESSORS = 128
"""Where nobody says how many there could be."""


def verify(
    spec: ProgramSpec,
    *,
    profile: KernelProfile = CURRENT,
    btf: Any = None,
    cpus: int | None = None,
    verbose: bool = False,
) -> VerifiedProgram:
    """The program as it may run, or VerifierError with the kernel's reason.

    `btf` is the object's (`ObjectSpec.btf`): it says which functions are global.  `profile` judges by an
    older release's limits and features; `cpus` is how many processors the kernel could have (what
    get_smp_processor_id may return), by default as many as this machine's; `verbose` keeps the whole log,
    also of an accepted program (`VerifiedProgram.log`).
    """
    if spec.problem is not None:
        raise VerifierError(f"{spec.name}: {spec.problem}")
    if spec.type not in RUNNABLE_TYPES:
        raise VerifierError(
            f"{spec.name}: programs of type {spec.type} are not judged here; {', '.join(RUNNABLE_TYPES)} are"
        )
    if spec.classic is not None:
        from ..bpf.check import check

        return VerifiedProgram.from_classic(check(spec.classic), profile)
    rules = rules_of(profile, spec.type)
    begin = time.perf_counter()
    walk: Walk | None = None
    subprograms: tuple[Subprogram, ...] = ()
    given, refused_types = spec, program_types(btf).problem if btf is not None else ""
    if refused_types:
        spec, btf = without_types(spec), None
    try:
        _check_length(spec, rules)
        thrown_to = exception_callback(spec, btf)
        subprograms = find_subprograms(spec.insns, thrown_to)
        _check_abnormal_return(spec, subprograms, rules)
        check_func_info(spec, btf, subprograms)
        _check_text(spec, rules)
        flow = analyse(spec.insns, subprograms, spec.kfuncs, thrown_to)
        _check_release(spec, flow, rules)
        alone = rules.release >= GLOBAL_FUNCTIONS
        functions = global_functions(spec, btf, flow.subprogram_at) if alone else {}
        processors = cpus or kernel_processors() or MOST_PROCESSORS
        walk = Walk(spec, flow, rules, cpus=processors, verbose=verbose, functions=functions, btf=btf)
        walk.catch(thrown_to)
        if verbose:
            walk.log.begin()
        walk.function(0, [Reg(CTX)])
        _check_globals(walk)
        depth = stack_depth(walk)
    except Refused as refused:
        log = _log_of_refusal(spec, walk, subprograms, refused, verbose)
        raise _error(spec, walk, refused, log, refused_types) from None
    seconds = time.perf_counter() - begin
    work = Work(walk.count, walk.stored.total, walk.stored.peak, depth, seconds)
    walk.log.say(_summary(walk))
    return VerifiedProgram.verified(
        given,
        ctx_accesses=(at for at, kind in walk.pointer_kinds.items() if kind == CTX),
        pointer_kinds={
            at: KERNEL_STRUCTURE if at in walk.probed else KIND_NAMES[kind]
            for at, kind in walk.pointer_kinds.items()
        },
        seen=frozenset(walk.seen),
        stacks={each.start: walk.stack_used.get(at, 0) for at, each in enumerate(flow.subprograms)},
        work=work,
        log=walk.log.text if verbose else "",
    )


def _summary(walk: Walk | None) -> str:
    """print_verification_stats."""
    insns, most, total, peak = 0, 0, 0, 0
    if walk is not None:
        insns, most, total, peak = walk.count, walk.stored.most_here, walk.stored.total, walk.stored.peak
    return (
        f"processed {insns} insns (limit 1000000) max_states_per_insn {most} total_states {total}"
        f" peak_states {peak} mark_read 0"
    )


def _error(
    spec: ProgramSpec, walk: Walk | None, refused: Refused, log: str, refused_types: str
) -> VerifierError:
    at = refused.insn if refused.insn is not None else walk.pc if walk is not None else None
    report = explain(spec, walk, refused, at)
    if refused_types:
        reason = f"{report.reason} (without the object's types, of which a kernel says: {refused_types})"
        report = replace(report, reason=reason)
    message = f"{spec.name}: {report.reason}" if spec.name else report.reason
    error = VerifierError(message, insn=at, log=log, report=report)
    error.errno = refused.errno
    return error


def _log_of_refusal(
    spec: ProgramSpec,
    walk: Walk | None,
    subprograms: tuple[Subprogram, ...],
    refused: Refused,
    verbose: bool,
) -> str:
    """All of it; without -v the instruction and the reason."""
    said = [text for text in (refused.message, refused.after) if text]
    if walk is None:
        functions = [f"func#{number} @{sub.start}" for number, sub in enumerate(subprograms)]
        lines = [*functions, *said, _summary(None)] if verbose else said
        return "".join(f"{line}\n" for line in lines)
    if not verbose and refused.insn in (None, walk.pc):
        walk.log.instruction(walk.pc)
    for text in said:
        walk.log.say(text)
    if verbose:
        walk.log.say(_summary(walk))
    return walk.log.text


def _check_length(spec: ProgramSpec, rules: Rules) -> None:
    """bpf_prog_load."""
    if len(spec.insns) > rules.max_insns:
        raise Refused(
            "too-long",
            f"the program has {len(spec.insns)} instructions; at most {rules.max_insns} are allowed",
            errno=7,
        )


def _check_text(spec: ProgramSpec, rules: Rules) -> None:
    """resolve_pseudo_ldimm64: are there such instructions, and the maps that they name?"""
    second = False
    maps: set[int] = set()
    for at, insn in enumerate(spec.insns):
        if second:
            second = False
            continue
        if insn.code & 7 == Class.LDX and (insn.imm or insn.code & 0xE0 not in (Mode.MEM, Mode.MEMSX)):
            raise Refused("encoding", "BPF_LDX uses reserved fields", insn=at, errno=22)
        if insn.is_ld_imm64:
            second = True
            check_wide(spec, at, maps)
        elif insn.code not in _OPCODES or not insn.code:
            raise Refused("encoding", f"unknown opcode {insn.code:02x}", insn=at, errno=22)
        feature = rules.missing_feature(insn, spec.maps)
        if feature is not None:
            raise Refused(
                "missing-feature", f"instruction {at} needs {feature}", insn=at, errno=22, feature=feature
            )


def _check_release(spec: ProgramSpec, flow: Flow, rules: Rules) -> None:
    """Loops, where the release has none: check_cfg's back-edge."""
    if rules.release >= LOOPS:
        return
    for at, insn in enumerate(spec.insns):
        target = jump_target(insn, at) if insn.code else None
        if target is not None and target <= at:
            raise Refused(
                "missing-feature", f"back-edge from insn {at} to {target}", insn=at, errno=22, feature="loops"
            )


def _check_abnormal_return(spec: ProgramSpec, subprograms: tuple[Subprogram, ...], rules: Rules) -> None:
    """check_abnormal_return: what ends the whole program from within a function needs its type."""
    if len(subprograms) == 1 or (spec.has_function_types and rules.release >= MIXED_CALLS):
        return
    for index, sub in enumerate(subprograms):
        for insn in spec.insns[sub.start : sub.end]:
            what = _ends_all(insn)
            if what is not None and rules.release < MIXED_CALLS:
                names = {"LD_ABS": "BPF_LD_[ABS|IND] instructions", "tail_call": "tail_calls"}
                problem = f"mixing of {names[what]} and bpf-to-bpf calls is not supported"
                raise Refused("missing-feature", problem, insn=sub.start, errno=22, feature=names[what])
            if what is not None and index:
                kind = "ld-abs" if what == "LD_ABS" else "tail-call"
                problem = f"{what} is not allowed in subprogs without BTF"
                raise Refused(kind, problem, insn=sub.start, errno=22)


def _ends_all(insn: Insn) -> str | None:
    """What may end the whole program from where it is."""
    if insn.code & 7 == Class.LD and insn.code & 0xE0 in (Mode.ABS, Mode.IND):
        return "LD_ABS"
    return "tail_call" if insn.code == CALL and insn.src == 0 and insn.imm == TAIL_CALL else None


def _check_globals(walk: Walk) -> None:
    """do_check_subprogs: the global functions that are called, each alone."""
    checked: set[int] = set()
    while walk.globals_called - checked:
        subprogram = min(walk.globals_called - checked)
        checked.add(subprogram)
        function = walk.functions[subprogram]
        walk.log.say(f"Validating {function.name}() func#{subprogram}...")
        walk.pc = walk.flow.subprograms[subprogram].start
        parameters = function.parameters(walk)
        if subprogram == walk.exception_callback and [a.kind for a in function.arguments] != ["number"]:
            raise Refused(
                "exception-callback", "exception cb only supports single integer argument", errno=22
            )
        walk.function(subprogram, parameters)
        walk.log.say(f"Func#{subprogram} ('{function.name}') is safe for any args that match its prototype")
