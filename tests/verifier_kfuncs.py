# ruff: noqa: E501 - one program a line
"""Programs that call kernel functions: (what it shows, taken?, program text); `{name}` is a call of it."""

from __future__ import annotations

import re

DYNPTR = "r6 = r1\nr2 = 0\nr3 = r10\nr3 += -16\n{bpf_dynptr_from_skb}\n"
SLICE = (
    DYNPTR
    + "r1 = r10\nr1 += -16\nr2 = 0\nr3 = r10\nr3 += -40\nr4 = 8\n{bpf_dynptr_slice}\nif r0 != 0 goto +2\nr0 = 0\nexit\n"
)
SLICE_RW = SLICE.replace("slice}", "slice_rdwr}")
ITER = "r6 = r1\nr1 = r10\nr1 += -8\nr2 = 0\nr3 = 10\n{bpf_iter_num_new}\n"
DESTROY = "r1 = r10\nr1 += -8\n{bpf_iter_num_destroy}\n"
NEXT = "r1 = r10\nr1 += -8\n{bpf_iter_num_next}\n"
TASK = "r1 = 1\n{bpf_task_from_pid}\nif r0 != 0 goto +2\nr0 = 0\nexit\nr6 = r0\n"
RELEASE = "r1 = r6\n{bpf_task_release}\n"
SAVE = "r1 = r10\nr1 += -8\n{bpf_local_irq_save}\n"
RESTORE = "r1 = r10\nr1 += -8\n{bpf_local_irq_restore}\n"
END = "r0 = 0\nexit\n"

KFUNC_CASES: list[tuple[str, bool, str]] = [
    ("a slice is read", True, SLICE + "r1 = *(u64 *)(r0 +0)\n" + END),
    ("a slice has a size", False, SLICE + "r1 = *(u64 *)(r0 +8)\n" + END),
    ("a slice may not be there", False, SLICE.replace("if r0 != 0 goto +2\nr0 = 0\nexit\n", "") + "r1 = *(u64 *)(r0 +0)\n" + END),
    ("a slice for reading is not written", False, SLICE + "*(u64 *)(r0 +0) = 1\n" + END),
    ("a slice for writing is", True, SLICE_RW + "*(u64 *)(r0 +0) = 1\n" + END),
    ("a slice without a buffer", True, SLICE.replace("r3 = r10\nr3 += -40", "r3 = 0") + END),
    ("a buffer that is too short", False, SLICE.replace("r4 = 8", "r4 = 48") + END),
    ("the size of a slice is constant", False, SLICE.replace("r4 = 8", "r4 = *(u8 *)(r6 +8)\nr4 &= 7") + END),
    ("a slice after the packet moved", False, SLICE + "r7 = r0\nr1 = r6\nr2 = 20\ncall 39\nr1 = *(u64 *)(r7 +0)\n" + END),
    ("a dynptr that was never made", False, "r1 = r10\nr1 += -16\n{bpf_dynptr_size}\n" + END),
    ("a dynptr across slots", False, DYNPTR.replace("-16", "-20") + END),
    ("a dynptr that does not fit", False, DYNPTR.replace("-16", "-8") + END),
    ("a dynptr is not read", False, DYNPTR + "r1 = *(u64 *)(r10 -16)\n" + END),
    ("a dynptr written over is none", False, DYNPTR + "*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -16\n{bpf_dynptr_size}\n" + END),
    ("an iterator", True, ITER + NEXT + DESTROY + END),
    ("a loop with an iterator", True, ITER + NEXT + "if r0 == 0 goto +1\ngoto -5\n" + DESTROY + END),
    ("an iterator is destroyed", False, ITER + END),
    ("… once", False, ITER + DESTROY + DESTROY + END),
    ("an iterator that was never made", False, NEXT + END),
    ("an iterator made twice", False, ITER + ITER.replace("r6 = r1\n", "") + DESTROY + END),
    ("what an iterator gives may be 0", False, ITER + NEXT + "r1 = *(u32 *)(r0 +0)\n" + DESTROY + END),
    ("what an iterator gives is read", True, ITER + NEXT + "if r0 == 0 goto +1\nr1 = *(u32 *)(r0 +0)\n" + DESTROY + END),
    ("… and not written", False, ITER + NEXT + "if r0 == 0 goto +1\n*(u32 *)(r0 +0) = 1\n" + DESTROY + END),
    ("an iterator's slot is not read", False, ITER + "r0 = *(u64 *)(r10 -8)\n" + DESTROY + END),
    ("a task is released", True, TASK + RELEASE + END),
    ("a task is not kept", False, TASK + END),
    ("a task is released once", False, TASK + RELEASE + RELEASE + END),
    ("a task is one's own to release", False, "call 158\nr6 = r0\n" + RELEASE + END),
    ("0 is not released", False, "r1 = 1\n{bpf_task_from_pid}\nr6 = r0\n" + RELEASE + END),
    ("a cgroup is no task", False, TASK.replace("task_from_pid", "cgroup_from_id") + RELEASE + END),
    ("the current task is acquired", True, "call 158\nr1 = r0\n{bpf_task_acquire}\nif r0 == 0 goto +3\nr6 = r0\n" + RELEASE + END),
    ("an RCU region", True, "{bpf_rcu_read_lock}\n{bpf_rcu_read_unlock}\n" + END),
    ("an RCU region ends", False, "{bpf_rcu_read_lock}\n" + END),
    ("an RCU region begins", False, "{bpf_rcu_read_unlock}\n" + END),
    ("preemption off twice", True, "{bpf_preempt_disable}\n{bpf_preempt_disable}\n{bpf_preempt_enable}\n{bpf_preempt_enable}\n" + END),
    ("preemption off for ever", False, "{bpf_preempt_disable}\n" + END),
    ("preemption never off", False, "{bpf_preempt_enable}\n" + END),
    ("interrupts off", True, SAVE + RESTORE + END),
    ("interrupts off for ever", False, SAVE + END),
    ("interrupts never off", False, RESTORE + END),
    ("interrupts in the wrong order", False, SAVE + SAVE.replace("-8", "-16") + RESTORE + RESTORE.replace("-8", "-16") + END),
    ("the packet as the kernel has it", True, "{bpf_cast_to_kern_ctx}\nr1 = *(u64 *)(r0 +16)\n" + END),
    ("… is not written", False, "{bpf_cast_to_kern_ctx}\n*(u64 *)(r0 +16) = 0\n" + END),
    ("… and has an end", False, "{bpf_cast_to_kern_ctx}\nr1 = *(u64 *)(r0 +8192)\n" + END),
    ("any memory, read without faults", True, "r2 = 0\n{bpf_rdonly_cast}\nr1 = *(u64 *)(r0 +16384)\n" + END),
    ("… but not written", False, "r2 = 0\n{bpf_rdonly_cast}\n*(u64 *)(r0 +0) = 1\n" + END),
    ("an exception", True, "r1 = 0\n{bpf_throw}\n" + END),
    ("an exception while something is owed", False, TASK + "r1 = 0\n{bpf_throw}\n" + RELEASE + END),
    ("a function that sleeps", False, "r1 = 1\nr2 = 0\n{bpf_lookup_user_key}\n" + END),
    ("a function that there is not", False, "{bpf_no_such_function}\n" + END),
]  # fmt: skip

_CALL = re.compile(r"\{(\w+)\}")


def with_calls(text: str) -> tuple[str, tuple[str, ...]]:
    """The program's text with `call kfunc#N`, and the names of the functions."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"call kfunc#{names.index(match[1])}"

    return _CALL.sub(number, text), tuple(names)
