"""Which element has to go when an LRU hash map is full?  kernel/bpf/bpf_lru_list.c, step by step.

The kernel does not keep its elements in the order of their use; that would need a lock at every lookup.
A lookup by a program only sets the element's `REF`.  Elements are in lists: *inactive* (candidates to
go, oldest last) and *active* (were looked up since they came in); *free*.  When free elements are needed,
active ones without REF move to inactive, inactive ones with REF to active, a few at a time ("scans"), and
then inactive ones without REF go.

In the common LRU each CPU has two lists of its own beside these: *free* elements that it took over in one
batch, and *pending* ones, inserted since then, which reach the common lists with the next batch.  So what
goes may be more than one element at a time, and not the oldest; a map of max_entries seldom holds as many.
The batch depends on the number of possible CPUs.  With BPF_F_NO_COMMON_LRU each CPU has the three lists
for itself, and its share of max_entries.

Programs see all of this as keys that are still there or are not, so it is as the kernel does it; lists
are circular, with a head that looks like an element.
"""

from __future__ import annotations

import enum
import errno

from ...bpf.maps import MapFlag, UpdateFlag
from ..subset import copy, fill, load_i64, load_u8, load_u16, native, store_i64, store_u8, store_u16
from .hash import (
    ElementAt,
    HashAt,
    copy_all_values,
    existence_refusal,
    find,
    hash_of,
    link,
    unlink,
    value_of,
)
from .header import MapAt, clear_specials, copy_value, cpu_value


class LruAt(enum.IntEnum):
    """Byte offsets in the lists of an LRU map (struct bpf_lru_list).  Each CPU's own come at `LOCALS`.

    With BPF_F_NO_COMMON_LRU each CPU has a whole structure instead, `SIZE` bytes apart, without `LOCALS`.
    """

    ACTIVE = 0
    """The heads of the lists: 32 bytes, the links where an element has them."""
    INACTIVE = 32
    FREE = 64
    ACTIVE_COUNT = 96
    INACTIVE_COUNT = 104
    ROTATION = 112
    """Where the next look at inactive elements begins: an element, or the head (next_inactive_rotation)."""
    FRESH = 120
    """The first element that was never used, …"""
    FRESH_COUNT = 128
    """… and how many there are: free, too, but not in a list yet."""
    TARGET_FREE = 136
    """How many elements a CPU takes at a time."""
    SCANS = 144
    """How many elements are looked at in one go."""
    SIZE = 160
    LOCALS = 160


class LocalAt(enum.IntEnum):
    """Byte offsets in a CPU's own lists (struct bpf_lru_locallist)."""

    FREE = 0
    PENDING = 32
    NEXT_STEAL = 64
    """The CPU to be robbed next."""
    SIZE = 80


class ListOf(enum.IntEnum):
    """enum bpf_lru_list_type: the list an element is in."""

    ACTIVE = 0
    INACTIVE = 1
    FREE = 2
    LOCAL_FREE = 3
    LOCAL_PENDING = 4


LOCAL_FREE_TARGET = 128
PERCPU_FREE_TARGET = 4


# Lists --------------------------------------------------------------------------------------------


@native(inline=True)
def list_remove(node: int) -> None:
    """list_del."""
    after = load_i64(node + ElementAt.LIST_NEXT)
    before = load_i64(node + ElementAt.LIST_PREV)
    store_i64(before + ElementAt.LIST_NEXT, after)
    store_i64(after + ElementAt.LIST_PREV, before)


@native(inline=True)
def list_add(node: int, head: int) -> None:
    """list_add: to the front."""
    first = load_i64(head + ElementAt.LIST_NEXT)
    store_i64(node + ElementAt.LIST_NEXT, first)
    store_i64(node + ElementAt.LIST_PREV, head)
    store_i64(first + ElementAt.LIST_PREV, node)
    store_i64(head + ElementAt.LIST_NEXT, node)


@native(inline=True)
def common_lru(map: int) -> int:
    """1 unless each CPU has its own lists."""
    return load_i64(map + MapAt.FLAGS) & MapFlag.NO_COMMON_LRU == 0


@native(inline=True)
def lists_of(map: int, cpu: int) -> int:
    """The address of the lists: the common ones, or this CPU's."""
    return load_i64(map + HashAt.LRU) + (0 if common_lru(map) else cpu * LruAt.SIZE)


@native(inline=True)
def local_of(map: int, cpu: int) -> int:
    """The address of a CPU's own lists beside the common ones."""
    return load_i64(map + HashAt.LRU) + LruAt.LOCALS + cpu * LocalAt.SIZE


@native(inline=True)
def change_count(lists: int, which: int, by: int) -> None:
    """bpf_lru_list_count_inc, _dec: only active and inactive elements are counted."""
    if which <= ListOf.INACTIVE:
        at = lists + LruAt.ACTIVE_COUNT + which * 8
        store_i64(at, load_i64(at) + by)


@native(inline=True)
def leave_rotation(lists: int, node: int) -> None:
    """An element about to move is not where the next rotation begins."""
    if load_i64(lists + LruAt.ROTATION) == node:
        store_i64(lists + LruAt.ROTATION, load_i64(node + ElementAt.LIST_PREV))


@native
def node_move(lists: int, node: int, which: int) -> None:
    """__bpf_lru_node_move: to the front of the active, inactive or free list."""
    if load_u8(node + ElementAt.LIST) != which:
        change_count(lists, load_u8(node + ElementAt.LIST), -1)
        change_count(lists, which, 1)
        store_u8(node + ElementAt.LIST, which)
    store_u8(node + ElementAt.REF, 0)
    leave_rotation(lists, node)
    list_remove(node)
    list_add(node, lists + which * 32)


@native
def node_move_to_free(lists: int, node: int, free_list: int, which: int) -> None:
    """__bpf_lru_node_move_to_free: out of the map; the REF stays until it is taken."""
    leave_rotation(lists, node)
    change_count(lists, load_u8(node + ElementAt.LIST), -1)
    store_u8(node + ElementAt.LIST, which)
    list_remove(node)
    list_add(node, free_list)


# Rotating and shrinking ---------------------------------------------------------------------------


@native
def rotate_active(lists: int) -> None:
    """__bpf_lru_list_rotate_active: from the oldest on; unused ones become inactive."""
    head = lists + LruAt.ACTIVE
    first = load_i64(head + ElementAt.LIST_NEXT)
    node = load_i64(head + ElementAt.LIST_PREV)
    scanned = 0
    while node != head:
        before = load_i64(node + ElementAt.LIST_PREV)
        node_move(lists, node, ListOf.ACTIVE if load_u8(node + ElementAt.REF) else ListOf.INACTIVE)
        scanned += 1
        if scanned == load_i64(lists + LruAt.SCANS) or node == first:
            break
        node = before


@native
def rotate_inactive(lists: int) -> None:
    """__bpf_lru_list_rotate_inactive: from where it stopped the last time; used ones become active."""
    head = lists + LruAt.INACTIVE
    if load_i64(head + ElementAt.LIST_NEXT) == head:
        return
    last = load_i64(load_i64(lists + LruAt.ROTATION) + ElementAt.LIST_NEXT)
    if last == head:
        last = load_i64(last + ElementAt.LIST_NEXT)
    node = load_i64(lists + LruAt.ROTATION)
    following = node
    scanned = 0
    while scanned < load_i64(lists + LruAt.SCANS):
        if node == head:
            node = load_i64(node + ElementAt.LIST_PREV)
            continue
        following = load_i64(node + ElementAt.LIST_PREV)
        if load_u8(node + ElementAt.REF):
            node_move(lists, node, ListOf.ACTIVE)
        if node == last:
            break
        node = following
        scanned += 1
    store_i64(lists + LruAt.ROTATION, following)


@native
def lists_rotate(lists: int) -> None:
    """__bpf_lru_list_rotate."""
    if load_i64(lists + LruAt.INACTIVE_COUNT) < load_i64(lists + LruAt.ACTIVE_COUNT):
        rotate_active(lists)
    rotate_inactive(lists)


@native
def shrink_inactive(map: int, lists: int, count: int, free_list: int, which: int) -> int:
    """__bpf_lru_list_shrink_inactive: how many unused ones went, of the `count` wanted."""
    head = lists + LruAt.INACTIVE
    node = load_i64(head + ElementAt.LIST_PREV)
    scanned = 0
    gone = 0
    while node != head:
        before = load_i64(node + ElementAt.LIST_PREV)
        if load_u8(node + ElementAt.REF):
            node_move(lists, node, ListOf.ACTIVE)
        elif unlink(map, node):
            node_move_to_free(lists, node, free_list, which)
            gone += 1
            if gone == count:
                break
        scanned += 1
        if scanned == load_i64(lists + LruAt.SCANS):
            break
        node = before
    return gone


@native
def lists_shrink(map: int, lists: int, count: int, free_list: int, which: int) -> None:
    """__bpf_lru_list_shrink: elements nobody used since they were last looked at, else the oldest one."""
    if shrink_inactive(map, lists, count, free_list, which):
        return
    head = lists + LruAt.INACTIVE
    if load_i64(head + ElementAt.LIST_NEXT) == head:
        head = lists + LruAt.ACTIVE
    node = load_i64(head + ElementAt.LIST_PREV)
    while node != head:
        if unlink(map, node):
            node_move_to_free(lists, node, free_list, which)
            return
        node = load_i64(node + ElementAt.LIST_PREV)


# Taking and giving --------------------------------------------------------------------------------


@native
def take_free(map: int, lists: int) -> int:
    """An element out of the free list, or one never used; 0 where there is none."""
    head = lists + LruAt.FREE
    node = load_i64(head + ElementAt.LIST_NEXT)
    if node != head:
        list_remove(node)
        return node
    if load_i64(lists + LruAt.FRESH_COUNT) == 0:
        return 0
    node = load_i64(lists + LruAt.FRESH)
    store_i64(lists + LruAt.FRESH, node + load_i64(map + MapAt.ELEMENT_SIZE))
    store_i64(lists + LruAt.FRESH_COUNT, load_i64(lists + LruAt.FRESH_COUNT) - 1)
    return node


@native
def flush_pending(lists: int, local: int) -> None:
    """__local_list_flush: what a CPU inserted joins the common lists, the oldest first."""
    head = local + LocalAt.PENDING
    node = load_i64(head + ElementAt.LIST_PREV)
    while node != head:
        before = load_i64(node + ElementAt.LIST_PREV)
        which = ListOf.ACTIVE if load_u8(node + ElementAt.REF) else ListOf.INACTIVE
        change_count(lists, which, 1)
        store_u8(node + ElementAt.LIST, which)
        store_u8(node + ElementAt.REF, 0)
        list_remove(node)
        list_add(node, lists + which * 32)
        node = before


@native
def free_to_local(map: int, lists: int, local: int) -> None:
    """bpf_lru_list_pop_free_to_local: a batch of free elements for a CPU."""
    flush_pending(lists, local)
    lists_rotate(lists)
    target = load_i64(lists + LruAt.TARGET_FREE)
    count = 0
    while count < target:
        node = take_free(map, lists)
        if not node:
            break
        store_u8(node + ElementAt.LIST, ListOf.LOCAL_FREE)
        list_add(node, local + LocalAt.FREE)
        count += 1
    if count < target:
        lists_shrink(map, lists, target - count, local + LocalAt.FREE, ListOf.LOCAL_FREE)


@native
def pop_local_free(local: int) -> int:
    """__local_list_pop_free: an element or 0."""
    head = local + LocalAt.FREE
    node = load_i64(head + ElementAt.LIST_NEXT)
    if node == head:
        return 0
    list_remove(node)
    return node


@native
def pop_local_pending(map: int, local: int) -> int:
    """__local_list_pop_pending: the oldest one unused, else the oldest; 0 where there is none."""
    head = local + LocalAt.PENDING
    for force in range(2):
        node = load_i64(head + ElementAt.LIST_PREV)
        while node != head:
            if (force or not load_u8(node + ElementAt.REF)) and unlink(map, node):
                list_remove(node)
                return node
            node = load_i64(node + ElementAt.LIST_PREV)
    return 0


@native
def steal(map: int, own: int) -> int:
    """The last resort of bpf_common_lru_pop_free: another CPU's element; 0 where none has any."""
    cpu = load_i64(own + LocalAt.NEXT_STEAL)
    cpus = load_i64(map + MapAt.CPUS)
    node = 0
    for _ in range(cpus):
        victim = local_of(map, cpu)
        node = pop_local_free(victim)
        if not node:
            node = pop_local_pending(map, victim)
        cpu = cpu + 1 if cpu + 1 < cpus else 0
        if node:
            break
    store_i64(own + LocalAt.NEXT_STEAL, cpu)
    return node


@native
def common_take(map: int, cpu: int) -> int:
    """bpf_common_lru_pop_free: an element for this CPU's pending list, or 0."""
    local = local_of(map, cpu)
    node = pop_local_free(local)
    if not node:
        free_to_local(map, lists_of(map, cpu), local)
        node = pop_local_free(local)
    if not node:
        node = steal(map, local)
    if node:
        store_u16(node + ElementAt.CPU, cpu)
        store_u8(node + ElementAt.LIST, ListOf.LOCAL_PENDING)
        store_u8(node + ElementAt.REF, 0)
        list_add(node, local + LocalAt.PENDING)
    return node


@native
def percpu_take(map: int, cpu: int) -> int:
    """bpf_percpu_lru_pop_free: an element of this CPU's share, or 0."""
    lists = lists_of(map, cpu)
    lists_rotate(lists)
    node = take_free(map, lists)
    if not node:
        lists_shrink(map, lists, PERCPU_FREE_TARGET, lists + LruAt.FREE, ListOf.FREE)
        node = take_free(map, lists)
    if node:
        store_u16(node + ElementAt.CPU, cpu)
        store_u8(node + ElementAt.LIST, ListOf.INACTIVE)
        store_u8(node + ElementAt.REF, 0)
        change_count(lists, ListOf.INACTIVE, 1)
        list_add(node, lists + LruAt.INACTIVE)
    return node


@native
def lru_take(map: int, key: int) -> int:
    """prealloc_lru_pop: an element with the key in it, not in a bucket yet; others may have had to go."""
    cpu = load_i64(map + MapAt.CPU)
    node = common_take(map, cpu) if common_lru(map) else percpu_take(map, cpu)
    if node:
        copy(node + ElementAt.KEY, key, load_i64(map + MapAt.KEY_SIZE))
    return node


@native
def lru_give(map: int, node: int) -> None:
    """htab_lru_push_free: an element that left its bucket, or never was in one, is free."""
    cpu = load_u16(node + ElementAt.CPU)
    if load_u8(node + ElementAt.LIST) == ListOf.LOCAL_PENDING:
        store_u8(node + ElementAt.LIST, ListOf.LOCAL_FREE)
        store_u8(node + ElementAt.REF, 0)
        list_remove(node)
        list_add(node, local_of(map, cpu) + LocalAt.FREE)
    else:
        node_move(lists_of(map, cpu), node, ListOf.FREE)


# Operations ---------------------------------------------------------------------------------------


@native(inline=True)
def lru_lookup(map: int, key: int) -> int:
    """htab_lru_map_lookup_elem, by a program: the address of the value, or 0; the element was used."""
    element = find(map, key, hash_of(map, key))
    if not element:
        return 0
    store_u8(element + ElementAt.REF, 1)
    return value_of(map, element)


@native(inline=True)
def lru_lookup_percpu(map: int, key: int) -> int:
    """htab_lru_percpu_map_lookup_elem: the address of this CPU's value, or 0."""
    value = lru_lookup(map, key)
    return cpu_value(map, value) if value else 0


@native
def lru_update(map: int, key: int, value: int, flags: int) -> int:
    """htab_lru_map_update_elem: 0 or -errno.  An element is taken first, which may be the key's own."""
    if flags not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST):
        return -errno.EINVAL
    new = lru_take(map, key)
    if not new:
        return -errno.ENOMEM
    clear_specials(map, value_of(map, new))
    copy_value(map, value_of(map, new), value, load_i64(map + MapAt.VALUE_SIZE))
    hash = hash_of(map, key)
    old = find(map, key, hash)
    refusal = existence_refusal(old, flags)
    if refusal:
        lru_give(map, new)
        return refusal
    link(map, new, hash)
    if old:
        store_u8(new + ElementAt.REF, 1)
        unlink(map, old)
        lru_give(map, old)
    return 0


@native
def lru_percpu_element(map: int, key: int, flags: int) -> int:
    """The element of `key` to be written in place, a new one (its values 0) if need be, or -errno."""
    if flags not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST):
        return -errno.EINVAL
    new = 0
    if flags != UpdateFlag.EXIST:
        new = lru_take(map, key)
        if not new:
            return -errno.ENOMEM
    hash = hash_of(map, key)
    old = find(map, key, hash)
    refusal = existence_refusal(old, flags)
    if not refusal and not old:
        offset = load_i64(map + MapAt.VALUE_OFFSET)
        fill(new + offset, 0, load_i64(map + MapAt.ELEMENT_SIZE) - offset)
        link(map, new, hash)
        return new
    if old and not refusal:
        store_u8(old + ElementAt.REF, 1)
    if new:
        lru_give(map, new)
    return refusal if refusal else old


@native
def lru_update_percpu(map: int, key: int, value: int, flags: int) -> int:
    """htab_lru_percpu_map_update_elem: this CPU's value; those of the others are 0 in a new element."""
    element = lru_percpu_element(map, key, flags)
    if element < 0:
        return element
    copy_value(map, cpu_value(map, value_of(map, element)), value, load_i64(map + MapAt.VALUE_SIZE))
    return 0


@native
def lru_update_all(map: int, key: int, values: int, flags: int) -> int:
    """bpf_percpu_hash_update, from user space: the values of all CPUs."""
    element = lru_percpu_element(map, key, flags)
    if element < 0:
        return element
    copy_all_values(map, value_of(map, element), values)
    return 0


@native
def lru_delete(map: int, key: int) -> int:
    """htab_lru_map_delete_elem: 0 or -ENOENT."""
    element = find(map, key, hash_of(map, key))
    if not element:
        return -errno.ENOENT
    unlink(map, element)
    lru_give(map, element)
    return 0
