"""Do the types of BTF go together, as a kernel sees it?  btf_check_all_types.

A type refers to others, which are resolved first: a modifier to what it modifies, an array to the size of
its elements, a structure to the sizes of its members.  They are walked depth first with a stack of 32; a
type that comes back to itself is a loop, but through a pointer it may, so a walk that began at a pointer
stops at structures, and one that began at a structure or array stops at pointers (its *sinks*).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from .btf import MAX_DEPTH, Kind
from .btf_check import BtfRefused, Strings, Types

_MODIFIERS = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_STRUCTS = frozenset({Kind.STRUCT, Kind.UNION})
_RESOLVED_KINDS = (
    _MODIFIERS | _STRUCTS | {Kind.PTR, Kind.ARRAY, Kind.VAR, Kind.FUNC, Kind.DECL_TAG, Kind.DATASEC}
)
"""btf_type_needs_resolve."""
_SOURCES = frozenset({Kind.VAR, Kind.DECL_TAG, Kind.DATASEC})
"""btf_type_is_resolve_source_only: what nothing may refer to."""
_NO_SIZE = frozenset({Kind.VOID, Kind.FWD, Kind.FUNC, Kind.FUNC_PROTO, Kind.DECL_TAG})
_SIZED = frozenset({Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.DATASEC, Kind.FLOAT, Kind.ENUM64})
_BARE = frozenset({Kind.VOID, Kind.FWD, Kind.FUNC_PROTO})
"""What a modifier or pointer may refer to though it has no size."""
_TAGGED = frozenset({Kind.FUNC, Kind.STRUCT, Kind.UNION, Kind.VAR, Kind.TYPEDEF})
ANY, POINTER, AGGREGATE = range(3)
"""RESOLVE_TBD, RESOLVE_PTR, RESOLVE_STRUCT_OR_ARRAY."""
_NOT_SINKS = (_RESOLVED_KINDS, _MODIFIERS | {Kind.PTR}, _MODIFIERS | _STRUCTS | {Kind.ARRAY})
POINTER_BYTES = 8
MAX_U32 = 0xFFFFFFFF
_ID = "Invalid type_id"


class _Later(Exception):
    """Another type comes first: it was put on the stack."""


class Resolver:
    """struct btf_verifier_env, and what it found: `targets` and `sizes` of the types that are resolved."""

    def __init__(self, types: Types, strings: Strings) -> None:
        self.types = types
        self.strings = strings
        count = len(types.kinds)
        self.targets = [0] * count
        self.sizes = [0] * count
        self.visited = bytearray(count)
        self.done = bytearray(count)
        self.stack: list[int] = []
        self.next_part: list[int] = []
        self.mode = ANY

    # Kinds and sizes ---------------------------------------------------------------------------------

    def kind(self, id: int) -> int:
        """Its kind; -1 where there is no such type."""
        return self.types.kinds[id] if id < len(self.types.kinds) else -1

    def sized(self, id: int) -> tuple[int, int] | None:
        """btf_type_id_size: (type without modifiers, bytes); None where it has no size."""
        kind = self.kind(id)
        if kind < 0 or kind in _NO_SIZE:
            return None
        if kind in _MODIFIERS or kind == Kind.VAR:
            id = self.targets[id]
            kind = self.kind(id)
            if kind < 0 or kind in _NO_SIZE or kind in _MODIFIERS or kind == Kind.VAR:
                return None
        if kind in _SIZED:
            return id, self.types.words[id]
        return id, POINTER_BYTES if kind == Kind.PTR else self.sizes[id]

    def is_sink(self, id: int) -> bool:
        """env_type_is_resolve_sink: need the walk not go there?"""
        return self.kind(id) not in _NOT_SINKS[self.mode]

    # The walk ----------------------------------------------------------------------------------------

    def push(self, id: int) -> None:
        """env_stack_push."""
        if len(self.stack) == MAX_DEPTH:
            raise BtfRefused(f"Exceeded max resolving depth:{MAX_DEPTH}", errno.E2BIG, self.stack[0])
        if self.visited[id]:
            raise BtfRefused("Loop detected", errno.EEXIST, self.stack[0])
        self.visited[id] = 1
        self.stack.append(id)
        self.next_part.append(0)
        if self.mode == ANY:
            kind = self.kind(id)
            if kind == Kind.PTR:
                self.mode = POINTER
            elif kind in _STRUCTS or kind == Kind.ARRAY:
                self.mode = AGGREGATE

    def first(self, id: int) -> None:
        """The walk goes to a type that must be resolved before, if it must."""
        if not self.is_sink(id) and not self.done[id]:
            self.push(id)
            raise _Later

    def resolved(self, id: int, target: int, size: int) -> None:
        """env_stack_pop_resolved."""
        self.targets[id], self.sizes[id] = target, size & MAX_U32
        self.done[id] = 1
        self.stack.pop()
        self.next_part.pop()

    def resolve(self, id: int) -> None:
        """btf_resolve."""
        self.mode = ANY
        self.push(id)
        while self.stack:
            top = self.stack[-1]
            try:
                _RULES[Kind(self.kind(top))](self, top)
            except _Later:
                continue
            except BtfRefused as refused:
                if not refused.problem.id:
                    raise BtfRefused(refused.problem.reason, refused.problem.errno, top) from None
                raise
        if not self._is_valid(id):
            raise BtfRefused("Invalid resolve state", id=id)

    def _is_valid(self, id: int) -> bool:
        """btf_resolve_valid: what is left is something with a size, not another name of it."""
        kind = self.kind(id)
        if kind in _MODIFIERS or kind in (Kind.PTR, Kind.VAR):
            return self.kind(self.targets[id]) not in (*_MODIFIERS, Kind.VAR, Kind.DATASEC, -1)
        if kind == Kind.ARRAY:
            element, _, count = self.types.parts[id][0]
            found = self.sized(element)
            return found is not None and count * found[1] & MAX_U32 == self.sizes[id]
        if kind in (Kind.DECL_TAG, Kind.FUNC):
            return bool(self.targets[id])
        return True


def check_relations(types: Types, strings: Strings) -> None:
    """btf_check_all_types, btf_check_type_tags.  Raises BtfRefused."""
    r = Resolver(types, strings)
    for id in range(1, len(types.kinds)):
        kind = types.kinds[id]
        if kind in _RESOLVED_KINDS and not r.done[id]:
            r.resolve(id)
        elif kind == Kind.FUNC_PROTO:
            _check_proto(r, id)
    for id in range(1, len(types.kinds)):
        if types.kinds[id] in _MODIFIERS:
            _check_tags(types, id)


def _check_tags(types: Types, id: int) -> None:
    """btf_check_type_tags: tags come before the other modifiers."""
    tags, at = types.kinds[id] == Kind.TYPE_TAG, id
    for _ in range(MAX_DEPTH + 1):
        kind = types.kinds[at]
        if kind not in _MODIFIERS:
            return
        if kind == Kind.TYPE_TAG:
            if not tags:
                raise BtfRefused("Type tags don't precede modifiers", id=id)
        else:
            tags = False
        at = types.words[at]
    raise BtfRefused("Max chain length or cycle detected", errno.ELOOP, id)


def _check_proto(r: Resolver, id: int) -> None:
    """btf_func_proto_check: what goes in and what comes out has a size."""
    result, params = r.types.words[id], r.types.parts[id]
    if result:
        _check_value(r, result, "Invalid return type", id)
    if params and not params[-1][1]:  # so many more as there are
        if params[-1][0]:
            raise BtfRefused(f"Invalid arg#{len(params)}", id=id)
        params = params[:-1]
    for number, (name, type) in enumerate(params, 1):
        problem = f"Invalid arg#{number}"
        if r.kind(type) < 0 or r.kind(type) in _SOURCES:
            raise BtfRefused(problem, id=id)
        if name and not (r.strings.there(name) and r.strings.identifier(name)):
            raise BtfRefused(problem, id=id)
        _check_value(r, type, problem, id)


def _check_value(r: Resolver, type: int, problem: str, id: int) -> None:
    kind = r.kind(type)
    if kind < 0 or kind in _SOURCES:
        raise BtfRefused(problem, id=id)
    if kind in _RESOLVED_KINDS and not r.done[type]:
        r.resolve(type)
    if r.sized(type) is None:
        raise BtfRefused(problem, id=id)


# How each kind is resolved ---------------------------------------------------------------------------


def _referred(r: Resolver, id: int) -> int:
    to = r.types.words[id]
    if r.kind(to) < 0 or r.kind(to) in _SOURCES:
        raise BtfRefused(_ID)
    r.first(to)
    return to


def _through_modifiers(r: Resolver, to: int) -> None:
    """A modifier that was resolved from a structure may have stopped at a pointer: now it goes on."""
    if r.kind(to) in _MODIFIERS:
        found = r.targets[to]
        if r.kind(found) == Kind.PTR:
            r.first(found)


def _end_of_reference(r: Resolver, to: int) -> int:
    found = r.sized(to)
    if found is not None:
        return found[0]
    if r.done[to]:
        to = r.targets[to]
    if r.kind(to) not in _BARE:
        raise BtfRefused(_ID)
    return to


def _modifier(r: Resolver, id: int) -> None:
    to = _referred(r, id)
    r.resolved(id, _end_of_reference(r, to), 0)


def _pointer(r: Resolver, id: int) -> None:
    to = _referred(r, id)
    _through_modifiers(r, to)
    r.resolved(id, _end_of_reference(r, to), 0)


def _variable(r: Resolver, id: int) -> None:
    to = _referred(r, id)
    _through_modifiers(r, to)
    found = r.sized(to)
    if found is None:
        raise BtfRefused(_ID)
    r.resolved(id, *found)


def _array(r: Resolver, id: int) -> None:
    element, index, count = r.types.parts[id][0]
    sizes = []
    for type, what in ((index, "Invalid index"), (element, "Invalid elem")):
        kind = r.kind(type)
        if kind < 0 or kind in _NO_SIZE or kind in _SOURCES:
            raise BtfRefused(what)
        r.first(type)
        found = r.sized(type)
        if found is None or (type is index and what == "Invalid index" and not _regular(r, found[0])):
            raise BtfRefused(what)
        sizes.append(found)
    target, size = sizes[1]
    if r.kind(target) == Kind.INT and not _regular(r, target):
        raise BtfRefused("Invalid array of int")
    if count and size > MAX_U32 // count:
        raise BtfRefused("Array size overflows U32_MAX")
    r.resolved(id, target, size * count)


def _regular(r: Resolver, id: int) -> bool:
    """btf_type_int_is_regular: a whole integer of 1, 2, 4, 8 or 16 bytes."""
    if r.kind(id) != Kind.INT:
        return False
    data = r.types.parts[id][0][0]
    return data & 0xFF in (8, 16, 32, 64, 128) and not data >> 16 & 0xFF


def _structure(r: Resolver, id: int) -> None:
    members = r.types.parts[id]
    for number in range(max(r.next_part[-1] - 1, 0), len(members)):
        _, type, _ = members[number]
        kind = r.kind(type)
        if kind < 0 or kind in _NO_SIZE or kind in _SOURCES:
            raise BtfRefused("Invalid member")
        r.next_part[-1] = number + 1
        r.first(type)
        _check_member(r, id, members[number])
    r.resolved(id, 0, 0)


def _function(r: Resolver, id: int) -> None:
    proto = r.types.words[id]
    if r.kind(proto) != Kind.FUNC_PROTO:
        raise BtfRefused(_ID)
    for number, (name, type) in enumerate(r.types.parts[proto], 1):
        if type and not name:
            raise BtfRefused(f"Invalid arg#{number}")
    r.resolved(id, proto, 0)


def _section(r: Resolver, id: int) -> None:
    r.mode = ANY
    for number in range(max(r.next_part[-1] - 1, 0), len(r.types.parts[id])):
        variable, _, width = r.types.parts[id][number]
        if r.kind(variable) != Kind.VAR:
            raise BtfRefused("Not a VAR kind member")
        r.next_part[-1] = number + 1
        r.first(variable)
        found = r.sized(r.types.words[variable])
        if found is None:
            raise BtfRefused("Invalid type")
        if width < found[1]:
            raise BtfRefused("Invalid size")
    r.resolved(id, 0, 0)


def _tag(r: Resolver, id: int) -> None:
    to, (component,) = r.types.words[id], r.types.parts[id][0]
    if r.kind(to) not in _TAGGED:
        raise BtfRefused(_ID)
    r.first(to)
    if component != MAX_U32:
        if r.kind(to) in (Kind.VAR, Kind.TYPEDEF):
            raise BtfRefused("Invalid component_idx")
        parts = r.types.words[to] if r.kind(to) == Kind.FUNC else to
        if component >= r.types.vlens[parts]:
            raise BtfRefused("Invalid component_idx")
    r.resolved(id, to, 0)


_RULES: dict[Kind, Callable[[Resolver, int], None]] = {
    **dict.fromkeys(_MODIFIERS, _modifier),
    Kind.PTR: _pointer,
    Kind.VAR: _variable,
    Kind.ARRAY: _array,
    Kind.STRUCT: _structure,
    Kind.UNION: _structure,
    Kind.FUNC: _function,
    Kind.DATASEC: _section,
    Kind.DECL_TAG: _tag,
}


# Members ---------------------------------------------------------------------------------------------

_BEYOND = "Member exceeds struct_size"
_UNALIGNED = "Member is not byte aligned"


def _check_member(r: Resolver, owner: int, member: tuple[int, ...]) -> None:
    """check_member, check_kflag_member: does a member lie in the structure?"""
    _, type, offset = member
    width, whole = 0, r.types.words[owner]
    is_split = r.types.flags[owner]
    if is_split:
        width, offset = offset >> 24, offset & 0xFFFFFF
    if r.kind(type) in _MODIFIERS:
        found = r.sized(type)
        if found is None:
            raise BtfRefused("Invalid member")
        type = found[0]
    kind = r.kind(type)
    if kind == Kind.INT:
        _check_int_member(r, type, offset, width, whole, is_split)
        return
    at, size = offset // 8, 0
    if kind in (Kind.ENUM, Kind.ENUM64) and is_split:
        if not width and offset % 8:
            raise BtfRefused(_UNALIGNED)
        if width > 32:
            raise BtfRefused("Invalid member bitfield_size")
        if whole < (offset + (width or 32) + 7) // 8:
            raise BtfRefused(_BEYOND)
        return
    if width:
        raise BtfRefused("Invalid member bitfield_size")
    found = r.sized(type)
    if kind in (Kind.FUNC, Kind.DATASEC, Kind.VAR) or found is None:
        raise BtfRefused("Unsupported check_member")
    size = found[1]
    if kind == Kind.FLOAT:
        if offset % (min(POINTER_BYTES, size) * 8):
            raise BtfRefused("Member is not properly aligned")
    elif offset % 8:
        raise BtfRefused(_UNALIGNED)
    if whole - at < size:
        raise BtfRefused(_BEYOND)


def _check_int_member(r: Resolver, type: int, offset: int, width: int, whole: int, is_split: bool) -> None:
    """btf_int_check_member, btf_int_check_kflag_member."""
    data = r.types.parts[type][0][0]
    bits = data & 0xFF
    if is_split:
        if not _regular(r, type):
            raise BtfRefused("Invalid member base type")
        if not width and offset % 8:
            raise BtfRefused("Invalid member offset")
        if width > bits:
            raise BtfRefused("Invalid member bitfield_size")
        bits = width or bits
    else:
        offset += data >> 16 & 0xFF
        if offset > MAX_U32:
            raise BtfRefused("bits_offset exceeds U32_MAX")
    bits += offset % 8
    if bits > 128:
        raise BtfRefused("nr_copy_bits exceeds 128")
    if whole - offset // 8 < (bits + 7) // 8:
        raise BtfRefused(_BEYOND)
