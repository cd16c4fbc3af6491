"""May the program sleep here?  in_sleepable, in_rcu_cs.

A tc program may not.  A callback that the kernel calls from a workqueue, or as work of a task, may, but
not while it holds what must be held for a short time only.  Where a program may sleep, what RCU protects
may go at any moment, unless the program says that it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .refusal import Refused
from .state import IRQ, IRQ_OF_LOCK

if TYPE_CHECKING:
    from .walk import Walk

_SLEEPING_CALLBACKS = frozenset(
    {
        "bpf_wq_set_callback_impl",
        "bpf_task_work_schedule_signal_impl",
        "bpf_task_work_schedule_resume_impl",
    }
)
"""is_async_cb_sleepable."""


def may_sleep(v: Walk) -> bool:
    """in_sleepable: does a callback run that may sleep?"""
    return v.state.frames[0].callback in _SLEEPING_CALLBACKS


def in_rcu(v: Walk) -> bool:
    """in_rcu_cs: does what RCU protects stay as long as the program looks at it?"""
    return not may_sleep(v) or bool(v.state.rcu) or v.state.locked


def check_no_region(v: Walk, message: str, errno: int) -> None:
    """What sleeps is called: not where sleeping is forbidden.  `message` has a `{}` for the region."""
    state = v.state
    region = ""
    if state.rcu:
        region = "rcu_read_lock region"
    elif state.preempt:
        region = "non-preemptible region"
    elif any(ref.kind in (IRQ, IRQ_OF_LOCK) for ref in state.refs):
        region = "IRQ-disabled region"
    if region:
        raise Refused("region", message.format(region), errno=errno)
