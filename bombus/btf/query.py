"""Questions about types that need more than one record: sizes, alignment, members by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from bombus.btf.types import (
    Array,
    Const,
    DataSec,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Int,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from bombus.errors import BtfError

# libbpf's MAX_RESOLVE_DEPTH is 32; deeper chains do not come from compilers.
MAX_DEPTH = 64
MAX_SIZE = 0xFFFF_FFFF

# Linux 6.12 tools/lib/bpf/btf.c: determine_ptr_size
LONG_NAMES = frozenset(
    (
        "long", "long int", "int long", "unsigned long", "long unsigned", "unsigned long int", "unsigned int long",
        "long unsigned int", "long int unsigned", "int unsigned long", "int long unsigned",
    )
)  # fmt: skip


class Field(NamedTuple):
    """A member found by name, also inside anonymous members. `offset` in bits from the outer struct's start."""

    name: str
    type: int
    offset: int
    bits: int
    path: tuple[int, ...]


class Queries(ABC):
    """What `Btf` answers about its types. Every method raises BtfError for ids that lead nowhere or in circles."""

    __slots__ = ()

    @abstractmethod
    def type(self, type_id: int) -> Type: ...

    @property
    @abstractmethod
    def pointer_size(self) -> int: ...

    @abstractmethod
    def __len__(self) -> int: ...

    def resolve(self, type_id: int) -> int:
        """The id behind typedefs, const, volatile, restrict and type tags."""
        for _ in range(MAX_DEPTH):
            type_ = self.type(type_id)
            if not isinstance(type_, (Typedef, Const, Volatile, Restrict, TypeTag)):
                return type_id
            type_id = type_.type
        raise BtfError(f"type {type_id} is wrapped more than {MAX_DEPTH} times")

    def resolved(self, type_id: int) -> Type:
        """The type behind typedefs and modifiers."""
        return self.type(self.resolve(type_id))

    def strip_modifiers(self, type_id: int) -> int:
        """The id behind const, volatile, restrict and type tags; typedefs stay."""
        for _ in range(MAX_DEPTH):
            type_ = self.type(type_id)
            if not isinstance(type_, (Const, Volatile, Restrict, TypeTag)):
                return type_id
            type_id = type_.type
        raise BtfError(f"type {type_id} is wrapped more than {MAX_DEPTH} times")

    def size_of(self, type_id: int) -> int:
        """Bytes that a value takes. BtfError for void, functions and forward declarations."""
        factor = 1
        start = type_id
        for _ in range(MAX_DEPTH):
            type_ = self.type(type_id)
            match type_:
                case Int() | Struct() | Union() | Enum() | Enum64() | Float() | DataSec():
                    size = type_.size
                case Ptr():
                    size = self.pointer_size
                case Typedef() | Const() | Volatile() | Restrict() | TypeTag() | Var():
                    type_id = type_.type
                    continue
                case Array():
                    factor *= type_.nelems
                    type_id = type_.type
                    continue
                case _:
                    raise BtfError(f"type {start} ({type_.kind.name} {type_.name}) has no size")
            if size * factor > MAX_SIZE:
                raise BtfError(f"type {start} is larger than 4 GiB")
            return size * factor
        raise BtfError(f"type {start} is nested more than {MAX_DEPTH} deep")

    def align_of(self, type_id: int, known: dict[int, int] | None = None) -> int:
        """Natural alignment in bytes as C would give it; 1 for a struct that must be packed.

        `known` keeps answers between calls.

        Fact: Linux 6.12 tools/lib/bpf/btf.c: btf__align_of
        """
        return self._align_of(type_id, {} if known is None else known, 0)

    def _align_of(self, type_id: int, known: dict[int, int], depth: int) -> int:
        if depth > MAX_DEPTH:
            raise BtfError(f"type {type_id} is nested more than {MAX_DEPTH} deep")
        found = known.get(type_id)
        if found is not None:
            return found
        type_ = self.type(type_id)
        match type_:
            case Int() | Enum() | Enum64() | Float():
                result = max(min(self.pointer_size, type_.size), 1)
            case Ptr():
                result = self.pointer_size
            case Typedef() | Const() | Volatile() | Restrict() | TypeTag() | Array() | Var():
                result = self._align_of(type_.type, known, depth + 1)
            case Struct() | Union():
                result = 1
                packed = False
                for member in type_.members:
                    align = self._align_of(member.type, known, depth + 1)
                    result = max(result, align)
                    if not member.bits and member.offset % (8 * align):
                        packed = True
                        break
                if packed or type_.size % result:
                    result = 1
            case _:
                raise BtfError(f"type {type_id} ({type_.kind.name} {type_.name}) has no alignment")
        known[type_id] = result
        return result

    def member(self, type_id: int, name: str) -> Field | None:
        """A member of a struct or union by name, looking into anonymous members; None when there is none."""
        return self._member(self.resolve(type_id), name, 0, (), set(), 0)

    def _member(
        self, type_id: int, name: str, offset: int, path: tuple[int, ...], seen: set[int], depth: int
    ) -> Field | None:
        type_ = self.type(type_id)
        if not isinstance(type_, (Struct, Union)) or type_id in seen:
            return None
        if depth > MAX_DEPTH:
            raise BtfError(f"type {type_id} is nested more than {MAX_DEPTH} deep")
        seen.add(type_id)
        for index, member in enumerate(type_.members):
            if member.name == name:
                return Field(name, member.type, offset + member.offset, member.bits, (*path, index))
            if not member.name:
                inner = self.resolve(member.type)
                found = self._member(inner, name, offset + member.offset, (*path, index), seen, depth + 1)
                if found is not None:
                    return found
        return None

    def field(self, type_id: int, path: str) -> Field:
        """A field by dotted path with optional indices, "sk.__sk_common.skc_dport" or "a[2].b". BtfError if absent."""
        offset = 0
        indices: tuple[int, ...] = ()
        bits = 0
        for part in path.split("."):
            name, *subscripts = part.split("[")
            found = self.member(type_id, name)
            if found is None:
                raise BtfError(f"type {type_id} ({self.type(type_id).name}) has no member {name!r}")
            type_id, bits = found.type, found.bits
            offset += found.offset
            indices += found.path
            for subscript in subscripts:
                array = self.resolved(type_id)
                number = subscript.removesuffix("]")
                if not isinstance(array, Array) or not number.isdecimal():
                    raise BtfError(f"{path!r}: [{subscript} does not index an array")
                type_id = array.type
                offset += int(number) * self.size_of(type_id) * 8
                indices += (int(number),)
        return Field(path, type_id, offset, bits, indices)

    def check_cycles(self) -> None:
        """BtfError when a type contains itself by value or through modifiers, which no C type can."""
        done = bytearray(len(self))
        for start in range(1, len(self)):
            if done[start]:
                continue
            stack = [(start, iter(_contained(self.type(start))))]
            done[start] = 1
            while stack:
                type_id, rest = stack[-1]
                inner = next(rest, None)
                if inner is None:
                    done[type_id] = 2
                    stack.pop()
                elif done[inner] == 1:
                    raise BtfError(f"type {inner} contains itself")
                elif not done[inner]:
                    done[inner] = 1
                    stack.append((inner, iter(_contained(self.type(inner)))))


def _contained(type_: Type) -> tuple[int, ...]:
    match type_:
        case Struct() | Union():
            return tuple(member.type for member in type_.members)
        case DataSec():
            return tuple(var.type for var in type_.vars)
        case FuncProto():
            # A prototype may name itself only through a pointer.
            return (type_.type, *(param.type for param in type_.params))
        case Array() | Typedef() | Var() | Func() | Const() | Volatile() | Restrict() | TypeTag():
            return (type_.type,)
    return ()
