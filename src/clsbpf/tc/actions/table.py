"""The actions of one kind, by index: struct tcf_idrinfo.

A request names an index, or with 0 asks for the lowest that is free.  While a request is under way the
indexes that it takes are *reserved*: another action of the same request cannot have them.  References
and bindings are counted here; an action whose last holder lets go leaves the table.

Mirrors tcf_idr_check_alloc(), tcf_idr_insert_many(), __tcf_action_put() and tcf_idr_delete_index() of
net/sched/act_api.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ..refusal import refusal
from .action import AnyAction

LAST_INDEX = 0xFFFFFFFF


class ActionTable:
    """struct tc_action_net of one kind.  Changes are made under the engine's lock."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._actions: dict[int, AnyAction] = {}
        self._reserved: set[int] = set()
        self._lowest = 1
        """Nothing below is free."""

    def __iter__(self) -> Iterator[AnyAction]:
        """The actions by ascending index, as they are when it begins."""
        return iter([self._actions[index] for index in sorted(self._actions)])

    def __len__(self) -> int:
        return len(self._actions)

    def find(self, index: int) -> AnyAction | None:
        """idr_find(): the action, not held."""
        return self._actions.get(index)

    def hold(self, index: int, *, bind: bool) -> AnyAction | int:
        """tcf_idr_check_alloc(): the action of an index, held by one more; else an index to make it with,
        reserved until `insert` or `cancel`.

        NetlinkError EAGAIN for an index that is reserved, ENOSPC when none is free.
        """
        if index in self._reserved:
            raise refusal(errno.EAGAIN, f"{self.kind} {index} is being made by the same request")
        found = self._actions.get(index)
        if found is not None:
            found.references += 1
            found.bindings += bind
            return found
        if not index:
            index = self._lowest
            while index in self._actions or index in self._reserved:
                index += 1
            if index > LAST_INDEX:
                raise refusal(errno.ENOSPC, f"no index is left for another {self.kind} action")
            self._lowest = index
        self._reserved.add(index)
        return index

    def cancel(self, index: int) -> None:
        """tcf_idr_cleanup(): nothing was made with a reserved index."""
        self._reserved.remove(index)
        self._lowest = min(self._lowest, index)

    def insert(self, action: AnyAction) -> None:
        """tcf_idr_insert_many(): an action is made with its reserved index."""
        self._reserved.remove(action.index)
        self._actions[action.index] = action

    def put(self, action: AnyAction, *, bind: bool) -> bool:
        """__tcf_action_put(): one holder (a filter, if `bind`) lets go; did the action end?"""
        assert self._actions.get(action.index) is action
        action.references -= 1
        action.bindings -= bind
        assert action.references >= action.bindings >= 0
        if action.references:
            return False
        del self._actions[action.index]
        self._lowest = min(self._lowest, action.index)
        action.release()
        return True

    def delete(self, action: AnyAction) -> bool:
        """tcf_idr_delete_index(): the reference that made the action goes; did the action end?

        NetlinkError EPERM while filters are bound to it.
        """
        if action.bindings:
            raise refusal(errno.EPERM, f"{self.kind} {action.index} is bound to {action.bindings} filters")
        return self.put(action, bind=False)
