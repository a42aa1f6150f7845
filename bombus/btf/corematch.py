"""CO-RE matching: does a local spec or type fit a type of the target?

Facts: Linux 6.12 tools/lib/bpf/relo_core.c (libbpf 1.5). Three relations, from loose to strict: fields are
compatible (FIELD_*), types are compatible (TYPE_EXISTS, TYPE_SIZE, TYPE_ID_TARGET), types match (TYPE_MATCHES).
"""

from __future__ import annotations

from bombus.btf.corespec import ENUM_KINDS, MAX_SPEC, TYPE_KINDS, Accessor, Spec, is_flexible
from bombus.btf.ext import CoreKind
from bombus.btf.parse import Btf, essential_name
from bombus.btf.types import (
    ENUMS,
    INT_SIGNED,
    Array,
    Enum,
    Enum64,
    Float,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ptr,
    Struct,
    Union,
    Void,
)
from bombus.errors import RelocationError

MAX_LEVEL = 32
# Real types need some thousand steps; the budget bounds what hostile ones can cost.
MAX_STEPS = 2_000_000


def kinds_compatible(a: Kind, b: Kind) -> bool:
    """Equal kinds, or both of the enum kinds."""
    return a == b or (a in ENUMS and b in ENUMS)


class Matcher:
    """Compares types of one local BTF with types of one target BTF."""

    __slots__ = ("local", "steps", "target")

    def __init__(self, local: Btf, target: Btf) -> None:
        self.local = local
        self.target = target
        self.steps = 0

    def match(self, spec: Spec, target_id: int) -> Spec | None:
        """The same access against target type `target_id`, or None when it does not fit.

        Raises RelocationError for nesting beyond the limits and BtfError for broken types.
        """
        self.steps = 0
        result = Spec(self.target, spec.kind, target_id)
        if spec.kind in TYPE_KINDS:
            if spec.kind == CoreKind.TYPE_MATCHES:
                fits = self.types_match(spec.root, target_id)
            else:
                fits = self.types_compatible(spec.root, target_id)
            return result if fits else None
        if spec.kind in ENUM_KINDS:
            return self._match_enumerator(spec, result)
        return self._match_field(spec, result)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise RelocationError(f"CO-RE: comparing types took more than {MAX_STEPS} steps")

    def _match_enumerator(self, spec: Spec, result: Spec) -> Spec | None:
        type_id = self.target.resolve(result.root)
        enum = self.target.type(type_id)
        if not isinstance(enum, (Enum, Enum64)):
            return None
        wanted = essential_name(spec.steps[0].name)
        for index, (name, _) in enumerate(enum.values):
            if essential_name(name) == wanted:
                result.steps.append(Accessor(type_id, index, name))
                result.raw.append(index)
                return result
        return None

    def _match_field(self, spec: Spec, result: Spec) -> Spec | None:
        target = self.target
        type_id = result.root
        for place, step in enumerate(spec.steps):
            type_id = target.resolve(type_id)
            if step.name:
                found = self._find_member(step, type_id, result, len(result.raw))
                if found is None:
                    return None
                type_id = found
                continue
            if place:
                array = target.type(type_id)
                if not isinstance(array, Array):
                    return None
                if step.place >= array.nelems and not is_flexible(target, result.steps[-1], array):
                    return None
                type_id = target.resolve(array.type)
            if len(result.raw) == MAX_SPEC:
                raise RelocationError("CO-RE: target type is nested too deep")
            result.steps.append(Accessor(type_id, step.place, ""))
            result.raw.append(step.place)
            result.bit_offset += step.place * target.size_of(type_id) * 8
        return result

    def _find_member(self, step: Accessor, type_id: int, result: Spec, depth: int) -> int | None:
        """Extend `result` by the named member, also inside anonymous members; the id of the member's type."""
        type_id = self.target.resolve(type_id)
        type_ = self.target.type(type_id)
        if not isinstance(type_, (Struct, Union)):
            return None
        if type_.members and depth >= MAX_SPEC:
            raise RelocationError("CO-RE: target type is nested too deep")
        for index, member in enumerate(type_.members):
            self._step()
            if not member.name:
                result.raw.append(index)
                result.bit_offset += member.offset
                found = self._find_member(step, member.type, result, depth + 1)
                if found is not None:
                    return found
                result.raw.pop()
                result.bit_offset -= member.offset
            elif member.name == step.name:
                local = self.local.type(step.type)
                assert isinstance(local, (Struct, Union))
                if not self.fields_compatible(local.members[step.place].type, member.type):
                    return None
                result.raw.append(index)
                result.bit_offset += member.offset
                result.steps.append(Accessor(type_id, index, member.name))
                return member.type
        return None

    def fields_compatible(self, local_id: int, target_id: int) -> bool:
        """Whether a field of one type may be read through a field of the other."""
        for _ in range(MAX_LEVEL):
            local, target = self.local.resolved(local_id), self.target.resolved(target_id)
            if isinstance(local, (Struct, Union)) and isinstance(target, (Struct, Union)):
                return True
            if not kinds_compatible(local.kind, target.kind):
                return False
            match local:
                case Ptr() | Float():
                    return True
                case Fwd() | Enum() | Enum64():
                    a, b = essential_name(local.name), essential_name(target.name)
                    return not a or not b or a == b
                case Int():
                    return isinstance(target, Int) and not local.offset and not target.offset
                case Array():
                    assert isinstance(target, Array)
                    local_id, target_id = local.type, target.type
                case _:
                    return False
        raise RelocationError(f"CO-RE: arrays are nested more than {MAX_LEVEL} deep")

    def types_compatible(self, local_id: int, target_id: int) -> bool:
        """Whether a target type may stand for a local one. Names were compared by the caller."""
        if not kinds_compatible(self.local.kind(local_id), self.target.kind(target_id)):
            return False
        return self._compatible(local_id, target_id, MAX_LEVEL)

    def _compatible(self, local_id: int, target_id: int, level: int) -> bool:
        for _ in range(MAX_LEVEL):
            self._step()
            local, target = self.local.resolved(local_id), self.target.resolved(target_id)
            if not kinds_compatible(local.kind, target.kind):
                return False
            match local:
                case Void() | Struct() | Union() | Enum() | Enum64() | Fwd():
                    return True
                case Int():
                    return isinstance(target, Int) and not local.offset and not target.offset
                case Ptr() | Array():
                    assert isinstance(target, (Ptr, Array))
                    local_id, target_id = local.type, target.type
                case FuncProto():
                    assert isinstance(target, FuncProto)
                    if len(local.params) != len(target.params):
                        return False
                    for mine, theirs in zip(local.params, target.params, strict=True):
                        if level <= 0:
                            raise RelocationError("CO-RE: prototypes are nested too deep")
                        if not self._compatible(mine.type, theirs.type, level - 1):
                            return False
                    local_id, target_id = local.type, target.type
                case _:
                    return False
        raise RelocationError(f"CO-RE: types are nested more than {MAX_LEVEL} deep")

    def types_match(self, local_id: int, target_id: int) -> bool:
        """Whether a target type has everything that the local one says, with the same layout of simple parts."""
        return self._match(local_id, target_id, False, MAX_LEVEL)

    def _match(self, local_id: int, target_id: int, behind_ptr: bool, level: int) -> bool:
        if level <= 0:
            raise RelocationError(f"CO-RE: types are nested more than {MAX_LEVEL} deep")
        for _ in range(MAX_LEVEL):
            self._step()
            local, target = self.local.resolved(local_id), self.target.resolved(target_id)
            if essential_name(local.name) != essential_name(target.name):
                return False
            match local:
                case Void():
                    return isinstance(target, Void)
                case Fwd():
                    if isinstance(target, Fwd):
                        return local.union == target.union
                    return behind_ptr and isinstance(target, Union if local.union else Struct)
                case Enum() | Enum64():
                    return isinstance(target, (Enum, Enum64)) and self._enums_match(local, target)
                case Struct() | Union():
                    same = local.kind == target.kind
                    if not behind_ptr:
                        return same and self._members_match(local, target, level)
                    return same or (isinstance(target, Fwd) and target.union == isinstance(local, Union))
                case Int():
                    return (
                        isinstance(target, Int)
                        and local.size == target.size
                        and not (local.encoding ^ target.encoding) & INT_SIGNED
                    )
                case Ptr():
                    if not isinstance(target, Ptr):
                        return False
                    behind_ptr = True
                    local_id, target_id = local.type, target.type
                case Array():
                    if not isinstance(target, Array) or local.nelems != target.nelems:
                        return False
                    local_id, target_id = local.type, target.type
                case FuncProto():
                    if not isinstance(target, FuncProto) or len(local.params) != len(target.params):
                        return False
                    for mine, theirs in zip(local.params, target.params, strict=True):
                        if not self._match(mine.type, theirs.type, behind_ptr, level - 1):
                            return False
                    local_id, target_id = local.type, target.type
                case _:
                    return False
        raise RelocationError(f"CO-RE: types are nested more than {MAX_LEVEL} deep")

    def _enums_match(self, local: Enum | Enum64, target: Enum | Enum64) -> bool:
        if local.size != target.size or len(local.values) > len(target.values):
            return False
        names = {essential_name(name) for name, _ in target.values}
        return all(essential_name(name) in names for name, _ in local.values)

    def _members_match(self, local: Struct | Union, target: object, level: int) -> bool:
        assert isinstance(target, (Struct, Union))
        if len(local.members) > len(target.members):
            return False
        by_name: dict[str, list[int]] = {}
        for member in target.members:
            by_name.setdefault(essential_name(member.name), []).append(member.type)
        return all(
            any(
                self._match(member.type, candidate, False, level - 1)
                for candidate in by_name.get(essential_name(member.name), ())
            )
            for member in local.members
        )
