"""What is `classify` of a plan, as a whole?  The skb, the block's filters, and what is due behind them.

    begin ── filters of the block (linear.py) ──┬───────────────────────────────────── finish
                                                └ root qdisc (queueing_text.py): its blocks ┘

Where packets go on into a root qdisc, each block is a function of its own, which `classify` calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..tc.chain import Block
from .kinds import Kinds, kinds_of
from .linear import BLOCK_PARAMETERS, BlockText, Callees, Numbered, met
from .passages import Tree
from .queueing_text import QueueText
from .view import SkbText
from .walk_state import READ_PAST_SHIFT, UNDECIDED, State

KEEP_COLUMNS = "engine.extended.keep_columns"
SEND_REDIRECTED = "engine.extended.send_redirected"
WENT_WRONG = "engine.extended.went_wrong"
"""Functions of a module that only plans with actions or extended programs need."""


def classify_text(text: SkbText, filters: Sequence[Numbered], callees: Callees) -> list[str]:
    """`classify` for a block's filters in order: its definition."""
    begin(text, callees, kinds := kinds_for(text, filters, callees))
    BlockText(text, filters, callees, kinds).lines()
    finish(text, callees)
    return [text.definition()]


def tree_text(
    text: SkbText, filters: Sequence[Numbered], tree: Tree, inside: Sequence[Numbered], callees: Callees
) -> list[str]:
    """`classify` for a block's filters, and a root qdisc behind it with the filters `inside`: definitions."""
    parts: list[str] = []
    functions: dict[Block, str] = {}
    below = itertools.groupby(inside, lambda each: each[1].classifier.chain.block)
    for block, members in [(None, filters), *((block, list(members)) for block, members in below)]:
        name = f"block{len(parts)}"
        each = SkbText(text.view, name, "nounwind", whole=True, parameters=BLOCK_PARAMETERS)
        each.emit("%state.at = inttoptr i64 %state to ptr")
        BlockText(each, members, callees, None, answers=callees.records is not None).lines()
        each.emit("ret i64 %outcome")
        parts.append(each.definition())
        if block is not None:
            functions[block] = name
    begin(text, callees, None)
    queue = QueueText(text, tree, functions, acts=callees.records is not None, faults=callees.asks_python)
    queue.allocate()
    first = queue.call("block0")
    if callees.extended is not None and callees.extended.redirect:
        text.emit(f'call void @"{SEND_REDIRECTED}"(i64 %state, i64 %skb.int, i64 {first})')
    outcome = queue.lines(first)
    text.emit(f"%outcome = or i64 {outcome}, 0")
    finish(text, callees, sent=True)
    return [*queue.tables(), *parts, text.definition()]


def kinds_for(text: SkbText, filters: Sequence[Numbered], callees: Callees) -> Kinds | None:
    """What filters a packet need not meet; told of a frame before any program may change it."""
    if callees.extended is not None or callees.changes_headers:
        return None
    if any(planned.sees_captured for _, planned in filters):
        return None
    return kinds_of(met(filters), text.view.link, callees.profile)


def begin(text: SkbText, callees: Callees, kinds: Kinds | None) -> None:
    """The skb, as it comes to the first filter."""
    text.place_skb(fixed=callees.asks_python)
    text.read_frame()
    if kinds is not None:
        text.emit(*kinds.lines())
    text.fill_skb()
    if callees.changes_headers:
        text.store_state(State.OWNED, 0)


def finish(text: SkbText, callees: Callees, *, sent: bool = False) -> None:
    """What is due when %outcome is known; `sent`: where the packet was redirected to, it has gone."""
    if callees.extended is not None:
        if callees.extended.redirect and not sent:
            text.emit(f'call void @"{SEND_REDIRECTED}"(i64 %state, i64 %skb.int, i64 %outcome)')
        text.emit(f'call void @"{KEEP_COLUMNS}"(i64 %state, i64 %skb.int)')
    if callees.asks_python:
        text.emit(
            f'%wrong = call i64 @"{WENT_WRONG}"(i64 %state)',
            "%is.wrong = icmp ne i64 %wrong, 0",
            "br i1 %is.wrong, label %wrong.end, label %sound.end",
            "wrong.end:",
            f"ret i64 {UNDECIDED}",
            "sound.end:",
        )
    text.return_outcome(READ_PAST_SHIFT)
