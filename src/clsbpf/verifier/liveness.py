"""Which slots of the stack may still be read?  kernel/bpf/liveness.c.

What the walk reads and surely writes is noted by instruction, apart for each chain of calls that leads to
the function; what is live at an instruction follows from what comes after it:

    live before = (live before any that follows, but what is surely written here), and what is read here

"Surely" is what every visit wrote: the first visit says what, later ones only take away from it.  Of a
function it is also known which slots of its callers it reads, and surely writes: at its end that goes to
the call.  This is worked out when a path ends or a function returns.  The kernel goes through all
instructions again and again until nothing changes; only those are looked at here of which something that
they depend on has changed, in the same order, which comes to the same and has the same log.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from .components import postorder

if TYPE_CHECKING:
    from .cfg import Subprogram
    from .log import Log
    from .state import State

ALL = (1 << 64) - 1


class Masks:
    """struct per_frame_masks, for all instructions of a function: slots of one frame, as bits."""

    __slots__ = ("live", "read", "written", "written_on")

    def __init__(self, count: int) -> None:
        self.read = [0] * count
        self.written = [0] * count
        self.written_on = [0] * count
        """must_write_acc: written here or later, however the function goes on."""
        self.live = [0] * count


class Order:
    """A function's instructions as they are gone through; numbers count from its first."""

    __slots__ = ("at", "before", "following", "place", "start")

    def __init__(self, following: Sequence[Sequence[int]], start: int, end: int) -> None:
        self.start = start
        self.at = tuple(at - start for at in postorder(following, start))
        self.place = {at: place for place, at in enumerate(self.at)}
        self.following = [tuple(to - start for to in following[at]) for at in range(start, end)]
        self.before: list[list[int]] = [[] for _ in self.following]
        for at in self.at:
            for to in self.following[at]:
                self.before[to].append(at)


class Instance:
    """struct func_instance: a function in one chain of calls."""

    __slots__ = (
        "chain",
        "changed",
        "dropped",
        "frames",
        "masks",
        "order",
        "updated",
        "visited",
        "writes_nothing",
    )

    def __init__(self, chain: tuple[int, ...], order: Order) -> None:
        self.chain = chain
        """The call instructions that lead here, and where the function begins."""
        self.order = order
        self.frames = len(chain)
        self.masks: list[Masks | None] = [None] * self.frames
        self.visited: set[int] = set()
        """must_write_set."""
        self.writes_nothing: set[int] = set()
        """Instructions that surely write nothing, whatever a further visit says."""
        self.changed: set[tuple[int, int]] = set()
        """(frame, place in the order): what was noted there is new."""
        self.updated = False
        self.dropped = False

    def masks_of(self, frame: int) -> Masks:
        """alloc_frame_masks."""
        found = self.masks[frame]
        if found is None:
            found = self.masks[frame] = Masks(len(self.order.following))
        return found

    def live_before(self, at: int, frame: int) -> int:
        """is_live_before, for all slots."""
        masks = self.masks[frame]
        return masks.live[at - self.order.start] if masks is not None else 0

    def read(self, frame: int, at: int, slots: int) -> None:
        """mark_stack_read."""
        at -= self.order.start
        masks = self.masks_of(frame)
        known = masks.read[at]
        if slots & ~known:
            masks.read[at] = slots = slots | known
            self.changed.add((frame, self.order.place[at]))
            if slots & ~masks.live[at]:
                self.updated = True

    def wrote(self, at: int, slots: list[int]) -> None:
        """commit_stack_write_marks: what this visit wrote, by frame."""
        at -= self.order.start
        again = at in self.visited
        for frame in range(self.frames):
            now = slots[frame]
            masks = self.masks[frame]
            if masks is None:
                if not now or again:
                    continue
                masks = self.masks_of(frame)
            before = masks.written[at]
            if again:
                now &= before
            if now != before:
                masks.written[at] = now
                self.changed.add((frame, self.order.place[at]))
                self.updated = True
                if before & ~now:
                    self.dropped = True
        self.visited.add(at)
        if not any(masks is not None and masks.written[at] for masks in self.masks):
            self.writes_nothing.add(at + self.order.start)


class StackLiveness:
    """struct bpf_liveness: the instances, and what the instruction under way has written."""

    def __init__(
        self,
        following: Sequence[Sequence[int]],
        subprograms: Sequence[Subprogram],
        log: Log,
        told: Collection[int],
        calls_back: Collection[int],
    ) -> None:
        self._following = following
        self._subprograms = subprograms
        self._orders: dict[int, Order] = {}
        self._instances: dict[tuple[int, ...], Instance] = {}
        self._log = log
        self._told = told
        """Instructions of which the log tells a change although nothing is read or written there."""
        self._calls_back = calls_back
        self._current: Instance | None = None
        self._written = [0] * 8
        self._wrote = False
        self._news = False
        """May an instance be `updated`?"""

    # While the walk goes on --------------------------------------------------------------------------

    def read(self, state: State, frame: int, at: int, slots: int) -> None:
        """bpf_mark_stack_read: these slots of a frame are read at `at`."""
        current = self._current
        if current is None:
            current = self._current = self._instance(self.chain(state))
        current.read(frame, at, slots)
        self._news = self._news or current.updated

    def write(self, frame: int, slots: int) -> None:
        """bpf_mark_stack_write: these are written whole by this instruction."""
        self._written[frame] |= slots
        self._wrote = True

    def begin(self, state: State) -> None:
        """bpf_reset_stack_write_marks, before an instruction that may write to the stack."""
        if self._current is None:
            self._current = self._instance(self.chain(state))
        if self._wrote:
            self._written = [0] * 8
            self._wrote = False

    def commit(self, at: int) -> None:
        """bpf_commit_stack_write_marks, after it; nothing, if it was a call or a return."""
        current = self._current
        if current is not None and (self._wrote or at not in current.writes_nothing):
            current.wrote(at, self._written)
            self._news = self._news or current.updated

    def elsewhere(self) -> None:
        """bpf_reset_live_stack_callchain: the walk is in another function now."""
        self._current = None

    # At the end of a path, and of a function ---------------------------------------------------------

    def update(self, state: State) -> None:
        """bpf_update_live_stack: what was noted counts from now on."""
        self._current = None
        if not self._news:
            return
        chain = self.chain(state)
        for frame in range(len(state.frames) - 1, -1, -1):
            start = self._start(state, frame)
            instance = self._instance((*chain[:frame], start))
            if instance.updated:
                self._settle(instance)
                instance.updated = instance.dropped = False
        self._news = any(instance.updated for instance in self._instances.values())

    def alive(self, state: State, at: int) -> list[int]:
        """bpf_stack_slot_alive, for all slots: by frame, those that may be read from `at` on."""
        chain = self.chain(state)
        depth = len(chain) - 1
        instances = [self._instance((*chain[:f], self._start(state, f))) for f in range(depth)]
        innermost = self._instance(chain)
        found = []
        for frame in range(depth + 1):
            slots = innermost.live_before(at, frame)
            for outer in range(frame, depth):
                call = chain[outer]
                slots |= instances[outer].live_before(call if call in self._calls_back else call + 1, frame)
            found.append(slots)
        return found

    def chain(self, state: State) -> tuple[int, ...]:
        """compute_callchain."""
        frames = state.frames
        return (*(frame.callsite for frame in frames[1:]), self._start(state, -1))

    def _start(self, state: State, frame: int) -> int:
        return self._subprograms[state.frames[frame].subprogram].start

    def _instance(self, chain: tuple[int, ...]) -> Instance:
        found = self._instances.get(chain)
        if found is None:
            start = chain[-1]
            order = self._orders.get(start)
            if order is None:
                order = self._orders[start] = Order(self._following, start, self._containing(start).end)
            found = self._instances[chain] = Instance(chain, order)
        return found

    def _containing(self, at: int) -> Subprogram:
        """bpf_find_containing_subprog."""
        return self._subprograms[bisect_right(self._subprograms, at, key=lambda sub: sub.start) - 1]

    def _settle(self, instance: Instance) -> None:
        """update_instance."""
        order = instance.order
        if instance.dropped:
            for frame, masks in enumerate(instance.masks):
                if masks is not None:
                    masks.written_on = [0] * len(order.following)
                    instance.changed.update((frame, place) for place in range(len(order.at)))
        now = sorted(instance.changed)
        instance.changed.clear()
        rounds = 0
        changed = True
        while changed:
            rounds += 1
            changed = False
            later: set[tuple[int, int]] = set()
            queued = set(now)
            while now:
                here = heapq.heappop(now)
                queued.discard(here)
                if not self._update(instance, *here):
                    continue
                changed = True
                frame, place = here
                for before in order.before[order.at[place]]:
                    other = frame, order.place[before]
                    if other <= here:
                        later.add(other)
                    elif other not in queued:
                        queued.add(other)
                        heapq.heappush(now, other)
            now = sorted(later)
        if self._log.verbose:
            self._log.say(f"{_chain_text(instance)} live stack update done in {rounds} iterations")
        if instance.frames > 1:
            self._tell_caller(instance)

    def _update(self, instance: Instance, frame: int, place: int) -> bool:
        """update_insn."""
        order = instance.order
        at = order.at[place]
        following = order.following[at]
        if not following:
            return False
        masks = instance.masks[frame]
        assert masks is not None
        after, written_on = 0, ALL
        for to in following:
            after |= masks.live[to]
            written_on &= masks.written_on[to]
        written_on |= masks.written[at]
        live = after & ~masks.written[at] | masks.read[at]
        if live == masks.live[at] and written_on == masks.written_on[at]:
            return False
        if self._log.verbose and (
            masks.read[at] or masks.written[at] or not at or at + order.start in self._told
        ):
            where = f"{_chain_text(instance)} frame {frame} insn {at + order.start} "
            self._say(where, "live", masks.live[at], live)
            self._say(where, "written", masks.written_on[at], written_on)
        masks.live[at] = live
        masks.written_on[at] = written_on
        return True

    def _tell_caller(self, instance: Instance) -> None:
        """propagate_to_outer_instance."""
        start = instance.order.start
        *calls, call = instance.chain[:-1]
        outer = self._instance((*calls, self._containing(call).start))
        written = [0] * 8
        for frame in range(instance.frames - 1):
            masks = instance.masks[frame]
            if masks is not None:
                written[frame] = masks.written_on[0]
                outer.read(frame, call, instance.live_before(start, frame))
        outer.wrote(call, written)

    def _say(self, where: str, what: str, old: int, new: int) -> None:
        """log_mask_change."""
        if old != new:
            more, less = new & ~old, old & ~new
            self._log.say(
                where
                + (f"+{what} {slots_text(more)} " if more else "")
                + (f"-{what} {slots_text(less)}" if less else "")
            )


def slots_text(slots: int) -> str:
    """bpf_fmt_stack_mask."""
    return ",".join(str(-8 * (number + 1)) for number in range(slots.bit_length()) if slots >> number & 1)


def _chain_text(instance: Instance) -> str:
    return "(" + ",".join(map(str, instance.chain)) + ")"
