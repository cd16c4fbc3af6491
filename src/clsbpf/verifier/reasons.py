"""What is wrong, and what to write instead: by kind of refusal, a sentence with the values, and a remedy.

A kind without a remedy is a mistake that has no usual form.  `refusal.Refused.facts` are the values.
"""

from __future__ import annotations

from collections.abc import Callable

from .refusal import Refused
from .values import Lost

Tell = Callable[[Refused], str]


def _bytes(count: int) -> str:
    return f"{count} byte" if count == 1 else f"{count} bytes"


def _as_is(r: Refused) -> str:
    return r.message


def _packet_bounds(r: Refused) -> str:
    f = r.facts
    known = "no byte is" if not f["known"] else f"only {_bytes(f['known'])} are"
    return f"accesses {_bytes(f['size'])} at packet offset {f['off']}, but {known} known to be there"


def _bounds(r: Refused) -> str:
    f = r.facts
    return f"accesses {_bytes(f['size'])} at offset {f['off']} of a {f['what']} of {_bytes(f['known'])}"


def _null_check(r: Refused) -> str:
    return f"uses r{r.register}, which may be 0 ({r.facts['of']})"


def _stack_bounds(r: Refused) -> str:
    f = r.facts
    return f"accesses {_bytes(f['size'])} at stack offset {f['off']}; a frame has the offsets -512 to -1"


def _context_field(r: Refused) -> str:
    f = r.facts
    verb = "writes" if f["write"] else "reads"
    return f"{verb} {_bytes(f['size'])} at offset {f['off']}: not an access that is allowed there"


def _argument_kind(r: Refused) -> str:
    f = r.facts
    return f"passes {f['of']} in r{r.register} to {f['helper']}, which takes {f['expected']}"


def _lost(r: Refused) -> str:
    lost: Lost = r.facts["lost"]
    return f"uses r{r.register}, which was {lost.what} until instruction {lost.insn} made it worthless"


def _context_remedy(r: Refused) -> str:
    if not r.facts["write"]:
        return "read the whole field of struct __sk_buff, with its own width"
    return (
        "of struct __sk_buff a classifier may write mark, queue_mapping, priority, tc_index, cb, tc_classid"
        " and tstamp, with their own widths (a socket filter only cb)"
    )


def _unwritten_remedy(r: Refused) -> str:
    if r.register == 0:
        return "return a value on every path, and declare functions that return nothing void"
    return "a call leaves nothing in r1 to r5: keep in r6 to r9, or on the stack, what is needed after it"


def _argument_remedy(r: Refused) -> str:
    of, expected = r.facts["of"], str(r.facts["expected"])
    if expected.startswith("fp"):
        return "pass the address of a variable, a map's value or (where the helper takes it) packet bytes"
    if expected == "ctx":
        return "pass the program's own context, unchanged"
    if expected == "map_ptr":
        return "pass the address of a map: &my_map"
    if expected == "scalar":
        return f"pass a number, not a pointer ({of})"
    return ""


_BOUNDS_CHECK = "compare a pointer past the last byte with data_end first: if (ptr + N > data_end) return …"

REASONS: dict[str, tuple[Tell, str | Tell]] = {
    "packet-bounds": (_packet_bounds, f"{_BOUNDS_CHECK}; check and access must use the same pointer"),
    "bounds": (_bounds, "keep the index below the size: if (i < N), or mask it: i & (N - 1)"),
    "negative-index": (
        lambda r: f"r{r.register} may be negative (at least {r.facts['smin']}) where it is used as an offset",
        "make it unsigned, or check it: if (i >= 0 && i < N)",
    ),
    "unbounded": (
        lambda r: f"r{r.register} may be as large as {r.facts['umax']} where it is used as an offset",
        "bound it before: if (i < N), or i & (N - 1) with N a power of two",
    ),
    "unbounded-math": (
        lambda r: f"adds a number without lower bound to a pointer ({r.facts['of']})",
        "bound the number first, unsigned: if (n > MAX) return …",
    ),
    "negative-size": (
        lambda r: f"the size in r{r.register} may be negative (at least {r.facts['smin']})",
        "make it unsigned, or bound it on both sides: if (n < 0 || n > MAX) return …",
    ),
    "zero-size": (
        lambda r: (
            f"the size in r{r.register} may be 0, which the function does not take"
            if r.register
            else r.message
        ),
        "check it: if (n == 0) return …",
    ),
    "unbounded-size": (
        lambda r: f"the size in r{r.register} may be as large as {r.facts['umax']}",
        "bound it before the call: if (n > MAX) return …, or n &= MAX",
    ),
    "null-check": (_null_check, "check it first: if (!p) return …"),
    "unwritten": (
        lambda r: f"reads r{r.register}, which was not written on this path",
        _unwritten_remedy,
    ),
    "lost-pointer": (
        _lost,
        "a call that may move the packet leaves none of the pointers into it: load data and data_end anew"
        " after it, and compare again; what was released, or is no longer locked, must not be used",
    ),
    "stack-bounds": (_stack_bounds, "make local variables smaller, or keep them in a per-CPU array"),
    "stack-depth": (
        lambda r: (
            f"the stacks of the functions that call each other have {r.facts['depth']} bytes; 512 are allowed"
        ),
        "keep large local variables in a per-CPU array, or call less deeply",
    ),
    "stack-slot": (_as_is, ""),
    "alignment": (
        lambda r: (
            f"accesses {_bytes(r.facts['size'])} at {r.facts.get('where', 'stack ')}offset {r.facts['off']},"
            " not a multiple of that"
        ),
        "align the variable, or copy it with __builtin_memcpy",
    ),
    "context-field": (_context_field, _context_remedy),
    "argument-kind": (_argument_kind, _argument_remedy),
    "packet-argument": (
        lambda r: f"passes a pointer into the packet in r{r.register} to a function that does not take one",
        "copy the bytes to the stack first",
    ),
    "not-a-pointer": (
        lambda r: (
            f"accesses memory through r{r.register}, which holds no pointer ({r.facts['of']})"
            if "of" in r.facts
            else r.message
        ),
        "pointers are lost by arithmetic in 32 bits, and by going through memory other than the stack",
    ),
    "no-access": (lambda r: f"accesses memory through r{r.register} ({r.facts['of']}), which has none", ""),
    "helper": (
        lambda r: f"calls {r.facts['helper']}, which programs of this type may not call here",
        "",
    ),
    "licence": (
        lambda r: f"calls {r.facts['helper']}, which is for GPL-compatible programs",
        'declare the licence: char _license[] SEC("license") = "GPL";',
    ),
    "leak": (
        lambda r: f"ends although what was acquired at instruction {r.facts['acquired']} is not released",
        "release it on every path: bpf_sk_release, bpf_ringbuf_submit or bpf_ringbuf_discard",
    ),
    "release": (
        lambda r: f"releases r{r.register}, which was not acquired" if r.register else r.message,
        "pass what the acquiring function returned, once, after checking it for 0",
    ),
    "infinite-loop": (
        lambda r: "a loop comes back with nothing changed that its end depends on",
        "count in a variable that bounds the loop: for (i = 0; i < N; i++)",
    ),
    "complexity": (
        lambda r: f"too many paths: more than {r.facts['limit']} steps",
        "make the loop shorter, call a function for its body (bpf_loop), or mask and bound numbers earlier",
    ),
    "unreachable": (lambda r: f"no path leads to instruction {r.insn}", "remove it"),
    "read-only": (
        lambda r: f"writes into {r.facts.get('map', 'memory')}, which is read-only for programs",
        "",
    ),
    "write-only": (
        lambda r: f"reads from {r.facts.get('map', 'memory')}, which is write-only for programs",
        "",
    ),
    "modified-pointer": (
        lambda r: (
            f"r{r.register} must be as it was given here, but {r.facts['off']} or a variable was added to it"
        ),
        "use the pointer itself, and the offset in the access",
    ),
    "pointer-math": (lambda r: f"{r.message}: such arithmetic on a pointer is not allowed", ""),
    "division": (lambda r: "divides by the constant 0", ""),
    "lock": (_as_is, "between bpf_spin_lock and bpf_spin_unlock only read and write; unlock on every path"),
    "two-kinds": (
        lambda r: f"the same instruction goes through different kinds of pointers in r{r.register}",
        "",
    ),
    "format": (lambda r: f"the format of bpf_snprintf will not do: {r.facts['why']}", ""),
    "frame-pointer": (
        lambda r: "writes r10, the frame pointer, which is read-only",
        "copy it first: r2 = r10",
    ),
    "map-kind": (lambda r: f"{r.facts['helper']} does not work on the map {r.facts['map']}", ""),
}
"""By `Refused.kind`; the others are told in the kernel's words."""

REMEDIES: dict[str, str] = {
    "atomic-target": "count on the stack or in a map value; atomics do not go into packets or the context",
    "atomic-alignment": (
        "align the variable to its size; an atomic operation must not load over its own pointer"
    ),
    "callback": "a callback is a static function of the program, with type information (-g)",
    "constant": "the number must be known when the program is loaded: a constant, not a variable",
    "control-flow": "jump within the function, and end it with exit or a jump back",
    "dynptr": (
        "a dynptr is a variable of struct bpf_dynptr of its own: made once, used by calls only, given "
        "back once"
    ),
    "encoding": "the instruction's bytes are wrong: compile again, or assemble what is meant",
    "exception-callback": "an exception callback is int f(u64 cookie)",
    "frames": "at most eight functions may be under way: call less deeply, or inline small ones",
    "function-argument": (
        "pass what the prototype says (a global function is judged alone), or make the function static"
    ),
    "function-type": (
        "a global function takes numbers, the context and pointers to memory of a known size, and "
        "returns a number; or make it static"
    ),
    "irq": "flags are a variable of their own; restore what was saved last, once, on every path",
    "iterator": "an iterator is made by _new, asked by _next and ended by _destroy on every path",
    "ld-abs": "keep the program's context in r6, unchanged, or read the packet with bpf_skb_load_bytes",
    "missing-feature": "compile for the older kernel (-mcpu=v1 … v4), or ask for a newer one",
    "pointer-offset": "bound the number first: a pointer stays within 2^29 of where it was",
    "recursion": "a function must not come to itself again: write a bounded loop",
    "region": "leave the region on every path before the program ends or calls what is not allowed there",
    "return": "return a number: a callback 0 to go on and 1 to stop, a function no address of its stack",
    "shift": "shift by less than the width of the type",
    "special-field": "such a member is only passed to its helpers, whole and at its own place",
    "tail-call": "keep less than 256 bytes of stack under a tail call, and none in callbacks",
    "timer": "init a timer with the map that its value is in",
    "too-long": "split it with tail calls",
    "trap": "initialise the variable: the compiler found that it is used without",
    "trust": "use the pointer inside bpf_rcu_read_lock, or acquire what it points to",
    "type-access": "read whole members of the structure, through CO-RE where kernels differ",
}
"""What to write instead, of kinds that are told in the kernel's words."""
