"""How is a plan written down, as one module that LLVM compiles?

The walkers (engine/walk.py) with what they and the programs call, the programs, and `classify`: filters that
are tried one after the other (`linear.py`, and `flat.py` where no jump is needed), or looked up
(`index_text.py`).  This, and all that only it needs, is imported when a plan is compiled: not where its
code was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..vm import subset
from ..vm.jit import compile_module, compile_object, keep_object, load_object
from ..vm.lower import lower
from ..vm.subset import Lowered, module_ir
from . import kinds, view
from .classify_text import classify_text, tree_text
from .flat import ORDINARY, flat_classify
from .linear import Callees
from .plan import Plan, Walk, Walker, outside, symbols_of
from .view import SkbText
from .walk import classify

if TYPE_CHECKING:
    from .index import Index
    from .index_text import IndexText
    from .linear import LookUp

LARGE_PROGRAM, LARGE_PLAN = 4000, 30_000
"""More instructions in one program, or in all, are optimized less."""


def level_for(sizes: Sequence[int]) -> int:
    """LLVM's level for programs of so many instructions each.

    Level 2 runs a tenth to a third faster than 1.  It takes a tenth to a half longer over many programs, but
    three to four times as long over a large one: 1.1 s more for 5,000 instructions, which run in 35 ns rather
    than 53, so that it would pay from 60 million packets on.
    """
    return 2 if sum(sizes) <= LARGE_PLAN and max(sizes, default=0) <= LARGE_PROGRAM else 1


def linear_walk(plan: Plan, walkers: Sequence[Walker], key: bytes | None = None) -> Walk:
    """The walk that tries filters one after the other; its machine code is kept under `key`."""
    extended = plan.extended
    whole = plan.records is not None or extended is not None or plan.tree is not None or plan.sees_captured
    flat = None if whole else flat_classify(plan.view, plan.filters)
    skb = SkbText(plan.view, whole=whole)
    if flat is not None:
        skb = SkbText(plan.view, ORDINARY, "noinline cold nounwind")
    indexes: list[IndexText] = []
    callees = Callees(
        plan.profile,
        records=plan.records,
        extended=extended,
        look_up=segments(plan, indexes) if whole and plan.may_look_up else None,
    )
    numbered = list(enumerate(plan.filters))
    own, inside = numbered[: plan.own], numbered[plan.own :]
    if plan.tree is None:
        parts = classify_text(skb, own, callees)
    else:
        parts = tree_text(skb, own, plan.tree, inside, callees)
    declares = {*view.DECLARES, *kinds.DECLARES}
    if plan.sees_captured:
        from .as_captured import show_captured

        parts.append(show_captured(plan.view))
    if flat is not None:
        parts.append(flat[0])
        declares |= flat[1]
    lowered = [lower(program, name, profile=plan.profile) for name, program in callees.programs.items()]
    sizes = [len(program.insns) for program in callees.programs.values()]
    if extended is not None:
        lowered += extended.lowered
        sizes += [len(linked.insns) for linked in extended.linked]
    for each in indexes:
        from .index_text import DECLARES

        parts.append(each.pointers_definition())
        lowered += each.lowered(plan.profile)
        declares |= {*DECLARES}
    looked_up = [symbol for each in indexes for symbol in (each.pointers, *each.shapes)]
    code = module_text(plan, walkers, lowered, parts, declares, whole=whole)
    image = compile_object(code, optimize=level_for(sizes))
    if key is not None:
        keep_object(key, image)
    module = load_object(image, [*symbols_of(walkers), *looked_up], outside(extended, whole=whole))
    for each in indexes:
        each.fill_pointers(module)
    return Walk(module, walkers, (extended, indexes), asks_python=callees.asks_python)


def segments(plan: Plan, made: list[IndexText]) -> LookUp:
    """What makes an index for a run of filters among others; those that it made are in `made`."""
    from .index import Tables, build_index
    from .index_text import IndexText

    def look_up(skb: SkbText, members: Sequence[int]) -> IndexText | None:
        index = build_index(plan.filters, plan.profile, members)
        if index is None:
            return None
        made.append(IndexText(skb, index, Tables(index, plan.filters, plan.records), f"index{len(made)}"))
        return made[-1]

    return look_up


def indexed_walk(plan: Plan, index: Index, walkers: Sequence[Walker]) -> Walk:
    """The walk that looks filters up, where all of them can be."""
    from .index import Tables
    from .index_text import DECLARES, IndexText

    text = IndexText(SkbText(plan.view), index, Tables(index, plan.filters))
    parts = [text.pointers_definition(), text.definition()]
    code = module_text(plan, walkers, text.lowered(plan.profile), parts, (*view.DECLARES, *DECLARES))
    symbols = [*symbols_of(walkers), text.pointers, *text.shapes]
    module = compile_module(code, symbols, symbols=outside())
    text.fill_pointers(module)
    return Walk(module, walkers, text.tables)


def module_text(
    plan: Plan,
    walkers: Sequence[Walker],
    programs: Iterable[Lowered],
    parts: Iterable[str],
    declares: Iterable[str],
    *,
    whole: bool = False,
) -> str:
    """A module: the walkers, what they and the programs call, the programs, and `parts` (`classify`).

    `whole`: with what `classify` calls for extended programs and actions.
    """
    programs = tuple(programs)
    called = {call: None for each in programs for call in each.calls}
    acts: list[Callable[..., object]] = []
    if whole:
        from .act_native import run_actions
        from .extended import keep_columns, outer_protocol, own_packet, send_redirected, went_wrong

        acts = [run_actions, own_packet, outer_protocol, keep_columns, send_redirected, went_wrong]
    if plan.tree is not None:
        from .queueing_text import FUNCTIONS

        acts += FUNCTIONS
    if plan.sees_captured:
        from .as_captured import functions_for

        acts += functions_for(plan.view)
    code = module_ir([*walkers, *plan.view.functions, *called, *acts], exported=False)
    code = code.replace(f"declare {subset.record_of(classify).prototype}\n", "")
    for symbol in symbols_of(walkers):
        code = code.replace(f'define internal i64 @"{symbol}"', f'define i64 @"{symbol}"')
    wanted = {line for each in programs for line in each.declares} | set(declares)
    text = [*sorted(wanted), code, *(each.definition for each in programs), *parts]
    return unique_declares("\n".join(text))


def unique_declares(text: str) -> str:
    """The module's text with each declaration once: LLVM takes no second."""
    seen: set[str] = set()
    lines = []
    for line in text.splitlines():
        if line.startswith(("declare ", "!")) or " = external " in line:
            if line in seen:
                continue
            seen.add(line)
        lines.append(line)
    return "\n".join(lines) + "\n"
