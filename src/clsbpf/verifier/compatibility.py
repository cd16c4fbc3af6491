"""Which maps does a helper take, and what else is true of single helpers?

check_map_func_compatibility, from the side of the maps and from that of the helpers, and the helpers that
acquire, cast or sleep.  (What their arguments are is in `bpf.prototypes`.)
"""

from __future__ import annotations

ACQUIRES = frozenset({84, 85, 99, 131})
"""is_acquire_function: what r0 is must be given back."""
CASTS = frozenset({95, 96, 136, 137, 138, 139, 140, 178, 196})
"""is_ptr_cast_function: r0 is the argument seen otherwise, and owes what it owes."""
SLEEPS = frozenset({148, 191})

_QUEUES = frozenset({22, 23, 30})
_PERF = frozenset({22, 25, 55, 111, 121})
_RINGBUF = frozenset({130, 131, 134, 198})
MAP_ACCEPTS: dict[int, frozenset[int]] = {
    3: frozenset({12}),
    4: _PERF,
    27: _RINGBUF,
    31: frozenset({209}),
    7: frozenset({27}),
    8: frozenset({33, 37}),
    19: frozenset({81}),
    21: frozenset({81}),
    14: frozenset({51, 1}),
    25: frozenset({51, 1}),
    16: frozenset({51}),
    17: frozenset({51, 1}),
    12: frozenset({1}),
    13: frozenset({1}),
    15: frozenset({52, 53, 3, 60, 82, 1, 2}),
    18: frozenset({72, 70, 3, 71, 82, 1, 2}),
    20: frozenset({82}),
    22: frozenset({87, 88, 89}),
    23: frozenset({87, 88, 89}),
    24: frozenset({107, 108, 194}),
    28: frozenset({145, 146, 194}),
    29: frozenset({156, 157, 194}),
    32: frozenset({210, 211, 194}),
    30: frozenset({87, 89}),
}
"""check_map_func_compatibility: by map type, the only helpers that take such a map."""
HELPER_ACCEPTS: dict[int, frozenset[int]] = {
    12: frozenset({3}),
    22: frozenset({4}),
    25: frozenset({4}),
    55: frozenset({4}),
    130: frozenset({27}),
    131: frozenset({27}),
    134: frozenset({27}),
    198: frozenset({27}),
    209: frozenset({31}),
    33: frozenset({8}),
    37: frozenset({8}),
    87: _QUEUES,
    89: _QUEUES,
    88: frozenset({22, 23}),
    107: frozenset({24}),
    108: frozenset({24}),
    156: frozenset({29}),
    157: frozenset({29}),
    195: frozenset({5, 6, 10}),
    210: frozenset({32}),
    211: frozenset({32}),
}
"""The same from the other side: by helper, the only map types that it takes."""
ITERABLE = frozenset({1, 2, 5, 6, 9, 10})
"""Map types that for_each_map_elem walks."""
