# ruff: noqa: E501 - one program a line
"""Programs with objects of their own and with pointers that maps keep: (what it shows, taken?, program text).

`{name}` is a call of a kernel function, `<type>` the id of one of `TYPES`.  Each program begins with the
map's value in r7 (`VALUE`), an object in r6 (`NEW`), and ends at `out`.  A callback follows `less:`.
"""

from __future__ import annotations

import struct

from btf_writer import BtfWriter
from clsbpf.objfile.btf import Btf, Kind

LOCK, LIST, OTHERS, TREE, TASK, LOOSE, PLAIN, PERCPU, COUNTED, SIZE = 0, 8, 24, 40, 56, 64, 72, 80, 88, 96
"""Where in the map's value what is.  LIST holds `item`s, OTHERS and TREE `node`s."""


def types() -> tuple[Btf, dict[str, int]]:
    """The object's types, and the ids of those that programs name."""
    w = BtfWriter()
    number, long = w.int(), w.int("long", 8)
    special = {
        name: w.struct(name, size, ("words", w.array(number, size // 4), 0))
        for name, size in (("bpf_spin_lock", 4), ("bpf_list_head", 16), ("bpf_list_node", 24), ("bpf_rb_root", 16),
                           ("bpf_rb_node", 32), ("bpf_refcount", 4))
    }  # fmt: skip
    plain = w.struct("our_plain", 16, ("a", number, 0), ("b", long, 64))
    holder = w.struct(
        "our_holder", 16, ("a", long, 0), ("p", w.ptr(w.modifier(Kind.TYPE_TAG, plain, "kptr")), 64)
    )
    item = w.struct("our_item", 32, ("v", long, 0), ("l", special["bpf_list_node"], 64))
    node = w.struct(
        *(
            "our_node",
            72,
            ("v", long, 0),
            ("l", special["bpf_list_node"], 64),
            ("r", special["bpf_rb_node"], 256),
        ),
        ("ref", special["bpf_refcount"], 512),
    )
    task = w.struct("task_struct", 8, ("a", long, 0))

    def kept(target: int, tag: str) -> int:
        return w.ptr(w.modifier(Kind.TYPE_TAG, target, tag))

    value = w.struct(
        *("value", SIZE, ("lock", special["bpf_spin_lock"], 8 * LOCK), ("x", number, 32)),
        ("list", special["bpf_list_head"], 8 * LIST),
        ("others", special["bpf_list_head"], 8 * OTHERS),
        ("tree", special["bpf_rb_root"], 8 * TREE),
        ("task", kept(task, "kptr"), 8 * TASK),
        ("loose", kept(task, "kptr_untrusted"), 8 * LOOSE),
        ("plain", kept(plain, "kptr"), 8 * PLAIN),
        ("percpu", kept(plain, "percpu_kptr"), 8 * PERCPU),
        ("counted", kept(node, "kptr"), 8 * COUNTED),
    )
    for member, holds in ((2, "our_item:l"), (3, "our_node:l"), (4, "our_node:r")):
        w.add(Kind.DECL_TAG, f"contains:{holds}", size=value, rest=struct.pack("<i", member))
    main = w.func("main", w.proto(number, ("skb", w.ptr(0))))
    less = w.func("less", w.proto(number, ("a", w.ptr(special["bpf_rb_node"])), ("b", w.ptr(0))), linkage=0)
    ids = {"plain": plain, "holder": holder, "item": item, "node": node, "value": value, "int": number}
    return w.btf(), {**ids, "main": main, "less": less}


VALUE = "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[fd:1]\ncall 1\nif r0 == 0 goto out\nr7 = r0\n"
END = "out:\nr0 = 0\nexit\n"
TAKE, GIVE = "r1 = r7\ncall 93\n", "r1 = r7\ncall 94\n"
NEW_TASK = "r1 = 1\n{bpf_task_from_pid}\nif r0 == 0 goto out\nr6 = r0\n"
PUT_TASK = "if r0 == 0 goto out\nr1 = r0\n{bpf_task_release}\n"
NODE_LESS = "less:\nr0 = 0\nexit\n"


def new(name: str) -> str:
    return f"r1 = <{name}>\nr2 = 0\n{{bpf_obj_new_impl}}\nif r0 == 0 goto out\nr6 = r0\n"


def drop(register: str = "r6", off: int = 0) -> str:
    move = f"r1 += {-off}\n" if off else ""
    return f"r1 = {register}\n{move}r2 = 0\n{{bpf_obj_drop_impl}}\n"


def exchange(off: int, register: str) -> str:
    return f"r1 = r7\nr1 += {off}\nr2 = {register}\ncall 194\n"


def push(at: int, off: int = 8, register: str = "r6") -> str:
    return (
        f"r1 = r7\nr1 += {at}\nr2 = {register}\nr2 += {off}\nr3 = 0\nr4 = 0\n{{bpf_list_push_front_impl}}\n"
    )


ADD = (
    f"r1 = r7\nr1 += {TREE}\nr2 = r6\nr2 += 32\nr3 = subprog[less]\nr4 = 0\nr5 = 0\n{{bpf_rbtree_add_impl}}\n"
)
ACQUIRE = "r1 = r6\nr2 = 0\n{bpf_refcount_acquire_impl}\n"
FIRST = f"r1 = r7\nr1 += {TREE}\n{{bpf_rbtree_first}}\n"
REMOVE = f"r1 = r7\nr1 += {TREE}\nr2 = r0\n{{bpf_rbtree_remove}}\n"
POP = f"r1 = r7\nr1 += {LIST}\n{{bpf_list_pop_front}}\n"

OBJECT_CASES: list[tuple[str, bool, str]] = [
    ("an object is dropped", True, new("plain") + drop() + END),
    ("an object is not kept", False, new("plain") + END),
    ("an object is dropped once", False, new("plain") + drop() + drop() + END),
    ("an object is used before it is dropped", False, new("plain") + drop() + "r0 = *(u64 *)(r6 +0)\n" + END),
    ("what was dropped is a number", True, new("plain") + drop() + "r6 += 1\n" + END),
    ("an object may not be there", False, new("plain").replace("if r0 == 0 goto out\n", "") + drop() + END),
    ("an object is dropped from its beginning", False, new("plain") + drop(off=-8) + END),
    ("an object is written", True, new("plain") + "*(u64 *)(r6 +8) = 1\n" + drop() + END),
    ("… within its size", False, new("plain") + "*(u64 *)(r6 +16) = 1\n" + drop() + END),
    ("a number is no structure", False, new("int") + drop() + END),
    ("a special member is not written", False, new("item") + "*(u64 *)(r6 +8) = 1\n" + drop() + END),
    ("a kept pointer in an object is not loaded", False, new("holder") + "r0 = *(u64 *)(r6 +8)\n" + drop() + END),
    ("… but exchanged", True, new("holder") + "r1 = r6\nr1 += 8\nr2 = 0\ncall 194\nr7 = r0\n" + drop() + "if r7 == 0 goto out\n" + drop("r7") + END),
    ("a task is exchanged", True, NEW_TASK + VALUE.replace("goto out", "goto no") + exchange(TASK, "r6") + PUT_TASK + END + "no:\nr1 = r6\n{bpf_task_release}\nr0 = 0\nexit\n"),
    ("what comes out is owed", False, VALUE + exchange(TASK, "0") + END),
    ("what goes in is not 0 without a check", False, VALUE + NEW_TASK.replace("if r0 == 0 goto out\n", "") + exchange(TASK, "r6") + PUT_TASK + END),
    ("a task does not go where an object goes", False, VALUE + NEW_TASK + exchange(PLAIN, "r6") + PUT_TASK + END),
    ("nothing is exchanged where nothing is owned", False, VALUE + NEW_TASK + exchange(LOOSE, "r6") + PUT_TASK + END),
    ("a number is no place for a pointer", False, VALUE + exchange(LIST, "0") + END),
    ("a kept task is looked at", True, VALUE + f"r1 = *(u64 *)(r7 +{TASK})\nif r1 == 0 goto out\nr0 = *(u32 *)(r1 +0)\n" + END),
    ("… and may not be there", False, VALUE + f"r1 = *(u64 *)(r7 +{TASK})\nr0 = *(u32 *)(r1 +0)\n" + END),
    ("… and is not one's own", False, VALUE + f"r1 = *(u64 *)(r7 +{TASK})\nif r1 == 0 goto out\n{{bpf_task_release}}\n" + END),
    ("a kept pointer is not written over", False, VALUE + f"*(u64 *)(r7 +{TASK}) = 0\n" + END),
    ("… but for an untrusted one", True, VALUE + f"*(u64 *)(r7 +{LOOSE}) = 0\n" + END),
    ("… with a task", True, VALUE + f"call 158\n*(u64 *)(r7 +{LOOSE}) = r0\n" + END),
    ("… not with a number", False, VALUE + f"r1 = 1\n*(u64 *)(r7 +{LOOSE}) = r1\n" + END),
    ("a kept pointer is loaded whole", False, VALUE + f"r0 = *(u32 *)(r7 +{TASK})\n" + END),
    ("an object is put away", True, new("plain") + VALUE.replace("goto out", "goto no") + exchange(PLAIN, "r6") + "if r0 == 0 goto out\n" + drop("r0") + END + "no:\n" + drop() + "r0 = 0\nexit\n"),
    ("a kept object of each processor", True, VALUE + f"r1 = *(u64 *)(r7 +{PERCPU})\nif r1 == 0 goto out\ncall 154\n*(u32 *)(r0 +0) = 1\n" + END),
    ("… is nowhere by itself", False, VALUE + f"r1 = *(u64 *)(r7 +{PERCPU})\nif r1 == 0 goto out\nr0 = *(u32 *)(r1 +0)\n" + END),
    ("an object goes into a list", True, VALUE + new("item") + TAKE + push(LIST) + GIVE + END),
    ("… under its lock", False, VALUE + new("item") + push(LIST) + END),
    ("… that holds such", False, VALUE + new("item") + TAKE + push(OTHERS) + GIVE + END),
    ("… at its node", False, VALUE + new("item") + TAKE + push(LIST, off=0) + GIVE + END),
    ("… once", False, VALUE + new("item") + TAKE + push(LIST) + push(LIST) + GIVE + END),
    ("… and is looked at under the lock", True, VALUE + new("item") + TAKE + push(LIST) + "*(u64 *)(r6 +0) = 1\n" + GIVE + END),
    ("… not afterwards", False, VALUE + new("item") + TAKE + push(LIST) + GIVE + "r0 = *(u64 *)(r6 +0)\n" + END),
    ("an object is taken out", True, VALUE + TAKE + POP + "r6 = r0\n" + GIVE + "if r6 == 0 goto out\n" + drop(off=8) + END),
    ("… and is owed", False, VALUE + TAKE + POP + GIVE + END),
    ("… and dropped whole", False, VALUE + TAKE + POP + "r6 = r0\n" + GIVE + "if r6 == 0 goto out\n" + drop() + END),
    ("a list's head is not read", False, VALUE + f"r0 = *(u64 *)(r7 +{LIST})\n" + END),
    ("an object goes into a tree", True, VALUE + new("node") + TAKE + ADD + GIVE + END + NODE_LESS),
    ("… compared with 0 or 1", False, VALUE + new("node") + TAKE + ADD + GIVE + END + NODE_LESS.replace("r0 = 0", "r0 = 2")),
    ("… under its lock", False, VALUE + new("node") + ADD + END + NODE_LESS),
    ("the first of a tree is taken out", True, VALUE + TAKE + FIRST + "if r0 == 0 goto no\n" + REMOVE + "r6 = r0\n" + GIVE + "if r6 == 0 goto out\n" + drop(off=32) + "goto out\nno:\n" + GIVE + END),
    ("… if it is there", False, VALUE + TAKE + FIRST + REMOVE + "r6 = r0\n" + GIVE + "if r6 == 0 goto out\n" + drop(off=32) + END),
    ("a counted object has two owners", True, VALUE + new("node") + ACQUIRE + "r8 = r0\n" + TAKE + ADD + push(OTHERS, register="r8") + GIVE + END + NODE_LESS),
    ("… each of which drops it", False, new("node") + ACQUIRE + drop() + END),
    ("what is in a tree may be gone when it is acquired", False, VALUE + new("node") + TAKE + ADD + ACQUIRE + "r8 = r0\n" + GIVE + drop("r8") + END + NODE_LESS),
    ("… and is checked", True, VALUE + new("node") + TAKE + ADD + ACQUIRE + "r8 = r0\n" + GIVE + "if r8 == 0 goto out\n" + drop("r8") + END + NODE_LESS),
    ("what is not counted is not acquired", False, new("plain") + ACQUIRE + drop() + END),
    ("a kept counted object is acquired", True, VALUE + f"r6 = *(u64 *)(r7 +{COUNTED})\nif r6 == 0 goto out\n" + ACQUIRE + "if r0 == 0 goto out\n" + drop("r0") + END),
    ("nothing is made under a lock", False, VALUE + TAKE + new("plain") + drop() + GIVE + END),
    ("an exception while an object is owed", False, new("plain") + "r1 = 0\n{bpf_throw}\n" + drop() + END),
]  # fmt: skip
