"""The twenty kinds of BTF types as frozen values. Each carries its kind: types of different kinds are never equal.

Facts: Linux 6.12 Documentation/bpf/btf.rst and include/uapi/linux/btf.h. Type references are plain type ids
(0 is void), names are str ("" for anonymous), sizes count bytes, offsets of members count bits from the start
of the enclosing struct, offsets inside a data section count bytes.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple

MAGIC = 0xEB9F
VERSION = 1
HEADER_SIZE = 24
MAX_VLEN = 0xFFFF


class Kind(IntEnum):
    """BTF_KIND_*; the lower-case name is what bpftool's C callers see, `label` what its raw dump prints."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


INT_SIGNED = 1
INT_CHAR = 2
INT_BOOL = 4

# btf_func_linkage and the linkage of variables share their numbers.
STATIC = 0
GLOBAL = 1
EXTERN = 2


class Void(NamedTuple):
    """Type id 0."""

    name: str = ""
    kind: Kind = Kind.VOID


@dataclass(frozen=True, slots=True)
class Int:
    """`encoding` is INT_SIGNED | INT_CHAR | INT_BOOL; `bits` at bit `offset` of `size` bytes hold the value."""

    kind: ClassVar[Kind] = Kind.INT
    name: str
    size: int
    encoding: int = 0
    offset: int = 0
    bits: int = -1

    def __post_init__(self) -> None:
        if self.bits < 0:
            object.__setattr__(self, "bits", self.size * 8)

    @property
    def signed(self) -> bool:
        return bool(self.encoding & INT_SIGNED)

    @property
    def char(self) -> bool:
        return bool(self.encoding & INT_CHAR)

    @property
    def boolean(self) -> bool:
        return bool(self.encoding & INT_BOOL)


class Ptr(NamedTuple):
    """A pointer to `type`."""

    type: int
    name: str = ""
    kind: Kind = Kind.PTR


class Array(NamedTuple):
    """`nelems` elements of `type`."""

    type: int
    index_type: int
    nelems: int
    name: str = ""
    kind: Kind = Kind.ARRAY


class Member(NamedTuple):
    """`offset` in bits; `bits` is 0 for a plain member, else the width of a bit-field."""

    name: str
    type: int
    offset: int
    bits: int = 0


class Struct(NamedTuple):
    """`kind_flag` says that member offsets are stored as width << 24 | offset; needed only to write it back."""

    name: str
    size: int
    members: tuple[Member, ...] = ()
    kind_flag: bool = False
    kind: Kind = Kind.STRUCT


class Union(NamedTuple):
    """As Struct; every member has its own offset, mostly 0."""

    name: str
    size: int
    members: tuple[Member, ...] = ()
    kind_flag: bool = False
    kind: Kind = Kind.UNION


class Enumerator(NamedTuple):
    name: str
    value: int


class Enum(NamedTuple):
    """Values are signed or unsigned as `signed` says. An enum without values may be a forward declaration."""

    name: str
    size: int
    values: tuple[Enumerator, ...] = ()
    signed: bool = False
    kind: Kind = Kind.ENUM


class Enum64(NamedTuple):
    """An enum whose values may need 64 bits."""

    name: str
    size: int
    values: tuple[Enumerator, ...] = ()
    signed: bool = False
    kind: Kind = Kind.ENUM64


class Fwd(NamedTuple):
    """A struct (or `union`) that is declared and not defined."""

    name: str
    union: bool = False
    kind: Kind = Kind.FWD


class Typedef(NamedTuple):
    """A name for `type`."""

    name: str
    type: int
    kind: Kind = Kind.TYPEDEF


class Volatile(NamedTuple):
    """`type`, volatile."""

    type: int
    name: str = ""
    kind: Kind = Kind.VOLATILE


class Const(NamedTuple):
    """`type`, const."""

    type: int
    name: str = ""
    kind: Kind = Kind.CONST


class Restrict(NamedTuple):
    """`type`, restrict."""

    type: int
    name: str = ""
    kind: Kind = Kind.RESTRICT


class Func(NamedTuple):
    """A function: `type` is its FuncProto."""

    name: str
    type: int
    linkage: int = STATIC
    kind: Kind = Kind.FUNC


class Param(NamedTuple):
    """A trailing parameter without name and type means `...`."""

    name: str
    type: int


class FuncProto(NamedTuple):
    """What a function takes, and the `type` that it returns."""

    type: int
    params: tuple[Param, ...] = ()
    name: str = ""
    kind: Kind = Kind.FUNC_PROTO


class Var(NamedTuple):
    """A global variable."""

    name: str
    type: int
    linkage: int = STATIC
    kind: Kind = Kind.VAR


class SecVar(NamedTuple):
    type: int
    offset: int
    size: int


class DataSec(NamedTuple):
    """An ELF section and the variables in it."""

    name: str
    size: int
    vars: tuple[SecVar, ...] = ()
    kind: Kind = Kind.DATASEC


class Float(NamedTuple):
    """A floating-point number of `size` bytes."""

    name: str
    size: int
    kind: Kind = Kind.FLOAT


class DeclTag(NamedTuple):
    """`component` is a member or parameter index, -1 for the declaration itself."""

    name: str
    type: int
    component: int = -1
    kind_flag: bool = False
    kind: Kind = Kind.DECL_TAG


class TypeTag(NamedTuple):
    """With `kind_flag` the name is a whole __attribute__ (Linux 6.15)."""

    name: str
    type: int
    kind_flag: bool = False
    kind: Kind = Kind.TYPE_TAG


Composite = Struct | Union
AnyEnum = Enum | Enum64
Modifier = Volatile | Const | Restrict | TypeTag
Type = (
    Void | Int | Ptr | Array | Struct | Union | Enum | Fwd | Typedef | Volatile | Const | Restrict | Func | FuncProto
    | Var | DataSec | Float | DeclTag | TypeTag | Enum64
)  # fmt: skip

MODIFIERS = frozenset((Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))
MODIFIERS_AND_TYPEDEFS = MODIFIERS | {Kind.TYPEDEF}
COMPOSITES = frozenset((Kind.STRUCT, Kind.UNION))
ENUMS = frozenset((Kind.ENUM, Kind.ENUM64))

# Words after the three common ones: (fixed, per element of vlen), indexed by kind.
EXTRA_WORDS: tuple[tuple[int, int], ...] = (
    (0, 0), (1, 0), (0, 0), (3, 0), (0, 3), (0, 3), (0, 2), (0, 0), (0, 0), (0, 0),
    (0, 0), (0, 0), (0, 0), (0, 2), (1, 0), (0, 3), (0, 0), (1, 0), (0, 0), (0, 3),
)  # fmt: skip
