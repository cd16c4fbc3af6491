"""How do helpers that call functions of the program become IR?  bpf_loop and bpf_for_each_map_elem.

A pointer to a function is a number (machine.py's FUNCTION and its first instruction); `NAME.callback`
turns it into a call.  Where the number is known at the call, as it nearly always is, LLVM leaves the call
alone over.  vm/control.py says what the two helpers do.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from .control import MAX_LOOPS
from .lower_unit import Unit
from .machine import FUNCTION
from .maps.operations import map_lookup
from .maps.walk import release, snapshot
from .subset import Subset, record_of

WALK_CALLS = tuple(record_of(function) for function in (snapshot, release, map_lookup))
"""What `for_each` calls."""
_PARAMETERS = "i64 %a1, i64 %a2, i64 %a3, i64 %a4, i64 %a5"


def callback_definition(unit: Unit) -> str:
    """`NAME.callback`: call the function that a number stands for."""
    cases = "\n".join(f"i64 {FUNCTION + start}, label %f{start}" for start in sorted(unit.callbacks))
    lines = [
        f'define internal i64 @"{unit.name}.callback"(ptr %skb, i64 %function, {_PARAMETERS})'
        " alwaysinline nounwind {",
        f"switch i64 %function, label %none [ {cases} ]",
    ]
    for start in sorted(unit.callbacks):
        lines += [
            f"f{start}:",
            f'%r{start} = call i64 @"{unit.functions[start]}"(ptr %skb, {_PARAMETERS})',
            f"ret i64 %r{start}",
        ]
    return "\n".join([*lines, "none:", "unreachable", "}"])


def loop_definition(unit: Unit) -> str:
    """`NAME.loop`: bpf_loop."""
    return f"""define internal i64 @"{unit.name}.loop"(ptr %skb, i64 %wide, i64 %function, i64 %context, \
i64 %flags) alwaysinline nounwind {{
entry:
%low = trunc i64 %wide to i32
%count = zext i32 %low to i64
%flagged = icmp ne i64 %flags, 0
br i1 %flagged, label %invalid, label %sized
sized:
%large = icmp ugt i64 %count, {MAX_LOOPS}
br i1 %large, label %big, label %head
head:
%at = phi i64 [ 0, %sized ], [ %next, %body ]
%more = icmp ult i64 %at, %count
br i1 %more, label %body, label %done
body:
%next = add i64 %at, 1
%r = call i64 @"{unit.name}.callback"(ptr %skb, i64 %function, i64 %at, i64 %context, i64 0, i64 0, i64 0)
%stop = icmp ne i64 %r, 0
br i1 %stop, label %stopped, label %head
stopped:
ret i64 %next
done:
ret i64 %count
invalid:
ret i64 {-errno.EINVAL}
big:
ret i64 {-errno.E2BIG}
}}"""


def for_each_definition(unit: Unit) -> str:
    """`NAME.for_each`: bpf_for_each_map_elem, over the keys that were there when it began."""
    take, give, look_up = (record.symbol for record in WALK_CALLS)
    return f"""define internal i64 @"{unit.name}.for_each"(ptr %skb, i64 %map, i64 %function, i64 %context, \
i64 %flags) nounwind {{
entry:
%flagged = icmp ne i64 %flags, 0
br i1 %flagged, label %invalid, label %begin
begin:
%keys = call i64 @"{take}"(i64 %map)
%none = icmp eq i64 %keys, 0
br i1 %none, label %nothing, label %some
some:
%head.at = inttoptr i64 %keys to ptr
%count = load i64, ptr %head.at, align 8
%size.at = getelementptr i64, ptr %head.at, i64 1
%size = load i64, ptr %size.at, align 8
%first = add i64 %keys, 16
br label %head
head:
%at = phi i64 [ 0, %some ], [ %next, %step ]
%key = phi i64 [ %first, %some ], [ %following, %step ]
%done = phi i64 [ 0, %some ], [ %now, %step ]
%more = icmp ult i64 %at, %count
br i1 %more, label %body, label %end
body:
%value = call i64 @"{look_up}"(i64 %map, i64 %key)
%gone = icmp eq i64 %value, 0
br i1 %gone, label %step, label %found
found:
%counted = add i64 %done, 1
%r = call i64 @"{unit.name}.callback"(ptr %skb, i64 %function, i64 %map, i64 %key, i64 %value, i64 %context, \
i64 0)
%stop = icmp ne i64 %r, 0
br i1 %stop, label %end, label %step
step:
%now = phi i64 [ %done, %body ], [ %counted, %found ]
%next = add i64 %at, 1
%following = add i64 %key, %size
br label %head
end:
%all = phi i64 [ %done, %head ], [ %counted, %found ]
call void @"{give}"(i64 %keys)
ret i64 %all
nothing:
ret i64 0
invalid:
ret i64 {-errno.EINVAL}
}}"""


CALLBACKS: dict[str, tuple[Callable[[Unit], str], tuple[Subset, ...]]] = {
    "loop": (loop_definition, ()),
    "for_each": (for_each_definition, WALK_CALLS),
}
"""By the name that a call has: the definition, and the functions it calls."""
