"""Which of many prefixes matches longest?  kernel/bpf/lpm_trie.c: a binary trie, paths compressed.

A key is a prefix length in bits (u32, host order) and the data, most significant byte first.  A node
stands for a prefix and has up to two children, prefixes longer than its own that begin with it: the next
bit says which.  Where two prefixes part at a bit that is no entry's end, there is an *intermediate* node
without a value; it always has two children.  A lookup goes down as long as the node's prefix matches and
remembers the last node with a value.

    192.168.0.0/16                      the walk gives 0.0/24, 1.0/24, 0.0/23's
       0: (192.168.0.0/23)              children first: what is longer comes before
            0: 192.168.0.0/24           what it lies in (postorder)
            1: 192.168.1.0/24
"""

from __future__ import annotations

import enum
import errno

from ...bpf.maps import UpdateFlag
from ..subset import copy, leading_zeros, load_be32, load_i64, load_u8, load_u32, native, store_i64, store_u32
from .header import MapAt, clear_specials, copy_value


class TrieAt(enum.IntEnum):
    """Byte offsets in the header of a trie, after MapAt's, all i64."""

    ROOT = MapAt.PRIVATE
    """The address of a node, or 0."""
    COUNT = MapAt.PRIVATE + 8
    """Entries, without intermediate nodes."""
    FREE = MapAt.PRIVATE + 16
    """The node freed last, or 0."""
    FRESH = MapAt.PRIVATE + 24
    """The first node that was never used."""
    DATA_SIZE = MapAt.PRIVATE + 32
    """Bytes of a key's data."""


class NodeAt(enum.IntEnum):
    """Byte offsets in a node (struct lpm_trie_node)."""

    CHILD = 0
    """Two addresses, each a node's or 0; of a free node the first is the one freed before it."""
    PREFIX = 16
    """u32: bits."""
    INTERMEDIATE = 20
    """u32: 1 where there is no value."""
    DATA = 24


KEY_DATA = 4
"""Where a key's data begin, after the prefix length."""


@native(inline=True)
def bit_at(data: int, index: int) -> int:
    """extract_bit."""
    return load_u8(data + (index >> 3)) >> (7 - (index & 7)) & 1


@native(inline=True)
def child_at(node: int, data: int) -> int:
    """The address of the link to the child that `data` may lie in."""
    return node + NodeAt.CHILD + bit_at(data, load_u32(node + NodeAt.PREFIX)) * 8


@native(inline=True)
def match_length(map: int, node: int, key: int) -> int:
    """longest_prefix_match: how many bits of the node's prefix and the key's agree."""
    limit = load_u32(key)
    if load_u32(node + NodeAt.PREFIX) < limit:
        limit = load_u32(node + NodeAt.PREFIX)
    size = load_i64(map + TrieAt.DATA_SIZE)
    at = 0
    agree = 0
    while agree < limit:
        if at + 4 <= size:
            differ = load_be32(node + NodeAt.DATA + at) ^ load_be32(key + KEY_DATA + at)
            agree += leading_zeros(differ) - 32
            at += 4
        else:
            differ = load_u8(node + NodeAt.DATA + at) ^ load_u8(key + KEY_DATA + at)
            agree += leading_zeros(differ) - 56
            at += 1
        if differ:
            break
    return agree if agree < limit else limit


@native
def trie_lookup(map: int, key: int) -> int:
    """trie_lookup_elem: the address of the value of the longest prefix, or 0."""
    longest = load_i64(map + TrieAt.DATA_SIZE) * 8
    if load_u32(key) > longest:
        return 0
    found = 0
    node = load_i64(map + TrieAt.ROOT)
    while node:
        length = match_length(map, node, key)
        if length == longest:
            found = node
            break
        if length < load_u32(node + NodeAt.PREFIX):
            break
        if not load_u32(node + NodeAt.INTERMEDIATE):
            found = node
        node = load_i64(child_at(node, key + KEY_DATA))
    return found + load_i64(map + MapAt.VALUE_OFFSET) if found else 0


@native
def take_node(map: int, prefix: int, data: int) -> int:
    """A node without children."""
    node = load_i64(map + TrieAt.FREE)
    if node:
        store_i64(map + TrieAt.FREE, load_i64(node))
    else:
        node = load_i64(map + TrieAt.FRESH)
        store_i64(map + TrieAt.FRESH, node + load_i64(map + MapAt.ELEMENT_SIZE))
    store_i64(node + NodeAt.CHILD, 0)
    store_i64(node + NodeAt.CHILD + 8, 0)
    store_u32(node + NodeAt.PREFIX, prefix)
    store_u32(node + NodeAt.INTERMEDIATE, 0)
    copy(node + NodeAt.DATA, data, load_i64(map + TrieAt.DATA_SIZE))
    return node


@native
def give_node(map: int, node: int) -> None:
    """The node may be taken again."""
    store_i64(node, load_i64(map + TrieAt.FREE))
    store_i64(map + TrieAt.FREE, node)


@native
def slot_of(map: int, key: int) -> int:
    """Where the key is or would hang: the address of a link, that may be 0 or lead to another node."""
    at = map + TrieAt.ROOT
    while load_i64(at):
        node = load_i64(at)
        prefix = load_u32(node + NodeAt.PREFIX)
        if prefix != match_length(map, node, key) or prefix == load_u32(key):
            break
        at = child_at(node, key + KEY_DATA)
    return at


@native
def add_refusal(map: int, flags: int) -> int:
    """trie_check_add_elem: may there be one entry more?  0 or -errno."""
    if flags == UpdateFlag.EXIST:
        return -errno.ENOENT
    if load_i64(map + TrieAt.COUNT) >= load_i64(map + MapAt.MAX_ENTRIES):
        return -errno.ENOSPC
    return 0


@native
def trie_update(map: int, key: int, value: int, flags: int) -> int:
    """trie_update_elem: 0 or -errno."""
    if flags not in (UpdateFlag.ANY, UpdateFlag.NOEXIST, UpdateFlag.EXIST):
        return -errno.EINVAL
    if load_u32(key) > load_i64(map + TrieAt.DATA_SIZE) * 8:
        return -errno.EINVAL
    slot = slot_of(map, key)
    node = load_i64(slot)
    length = match_length(map, node, key) if node else 0
    same = node != 0 and load_u32(node + NodeAt.PREFIX) == length
    replaced = same and not load_u32(node + NodeAt.INTERMEDIATE)
    if replaced:
        if flags == UpdateFlag.NOEXIST:
            return -errno.EEXIST
    else:
        refusal = add_refusal(map, flags)
        if refusal:
            return refusal
        store_i64(map + TrieAt.COUNT, load_i64(map + TrieAt.COUNT) + 1)
    new = take_node(map, load_u32(key), key + KEY_DATA)
    clear_specials(map, new + load_i64(map + MapAt.VALUE_OFFSET))
    copy_value(map, new + load_i64(map + MapAt.VALUE_OFFSET), value, load_i64(map + MapAt.VALUE_SIZE))
    if same:
        copy(new + NodeAt.CHILD, node + NodeAt.CHILD, 16)
        give_node(map, node)
    elif node and length == load_u32(key):
        store_i64(new + NodeAt.CHILD + bit_at(node + NodeAt.DATA, length) * 8, node)
    elif node:
        between = take_node(map, length, node + NodeAt.DATA)
        store_u32(between + NodeAt.INTERMEDIATE, 1)
        side = bit_at(key + KEY_DATA, length)
        store_i64(between + NodeAt.CHILD + side * 8, new)
        store_i64(between + NodeAt.CHILD + (1 - side) * 8, node)
        new = between
    store_i64(slot, new)
    return 0


@native
def trie_delete(map: int, key: int) -> int:
    """trie_delete_elem: 0 or -errno.  An intermediate node that loses a child goes, too."""
    if load_u32(key) > load_i64(map + TrieAt.DATA_SIZE) * 8:
        return -errno.EINVAL
    slot = map + TrieAt.ROOT
    parent_slot = 0
    node = load_i64(slot)
    while node:
        prefix = load_u32(node + NodeAt.PREFIX)
        if match_length(map, node, key) != prefix:
            return -errno.ENOENT
        if prefix == load_u32(key):
            break
        parent_slot = slot
        slot = child_at(node, key + KEY_DATA)
        node = load_i64(slot)
    if not node or load_u32(node + NodeAt.INTERMEDIATE):
        return -errno.ENOENT
    store_i64(map + TrieAt.COUNT, load_i64(map + TrieAt.COUNT) - 1)
    zero = load_i64(node + NodeAt.CHILD)
    one = load_i64(node + NodeAt.CHILD + 8)
    if zero and one:
        store_u32(node + NodeAt.INTERMEDIATE, 1)
        return 0
    parent = load_i64(parent_slot) if parent_slot else 0
    if parent and not zero and not one and load_u32(parent + NodeAt.INTERMEDIATE):
        left = load_i64(parent + NodeAt.CHILD)
        store_i64(parent_slot, load_i64(parent + NodeAt.CHILD + 8) if left == node else left)
        give_node(map, parent)
    else:
        store_i64(slot, zero if zero else one)
    give_node(map, node)
    return 0


@native
def first_in_postorder(node: int) -> int:
    """The first entry of the walk below and with `node`."""
    entry = 0
    while node:
        left = load_i64(node + NodeAt.CHILD)
        if not load_u32(node + NodeAt.INTERMEDIATE):
            entry = node
            if not left:
                left = load_i64(node + NodeAt.CHILD + 8)
        node = left
    return entry


@native
def after_in_postorder(map: int, key: int) -> int:
    """The entry after `key`; 0 after the last; the first one where the key is not there.

    What follows a node: its right sibling's first, else its parent, if that is an entry.  Going down, the
    lowest such place is remembered.
    """
    root = load_i64(map + TrieAt.ROOT)
    if load_u32(key) > load_i64(map + TrieAt.DATA_SIZE) * 8:
        return first_in_postorder(root)
    node = root
    following = 0
    while node:
        prefix = load_u32(node + NodeAt.PREFIX)
        if match_length(map, node, key) != prefix:
            return first_in_postorder(root)
        if prefix == load_u32(key):
            break
        right = load_i64(node + NodeAt.CHILD + 8)
        if right and not bit_at(key + KEY_DATA, prefix):
            following = first_in_postorder(right)
        elif not load_u32(node + NodeAt.INTERMEDIATE):
            following = node
        node = load_i64(child_at(node, key + KEY_DATA))
    if not node or load_u32(node + NodeAt.INTERMEDIATE):
        return first_in_postorder(root)
    return following


@native
def trie_next_key(map: int, key: int, next_key: int) -> int:
    """trie_get_next_key: 0 or -ENOENT; `key` is 0 for the first one."""
    node = after_in_postorder(map, key) if key else first_in_postorder(load_i64(map + TrieAt.ROOT))
    if not node:
        return -errno.ENOENT
    store_u32(next_key, load_u32(node + NodeAt.PREFIX))
    copy(next_key + KEY_DATA, node + NodeAt.DATA, load_i64(map + TrieAt.DATA_SIZE))
    return 0
