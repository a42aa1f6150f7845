"""Structs, unions, arrays and references: typed views of bytes.

A struct is a class with annotated members; an instance is a view of memory, so a name is a pointer and assigning a
member writes memory:

    class Flow(Struct):
        source: be32
        ports: Array[be16] = array(2)
        flags: u8 = bits(4)

`Flow(source=be32(1))` has bytes of its own, zero where nothing is given. Views of map values and packets come from
look-ups and `parse`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from inspect import get_annotations
from types import FrameType, FunctionType
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from bombus.bpf.ints import Scalar, u8
from bombus.bpf.layout import ArrayType, Layout, Member, PointerType, is_member_type, lay_out, name_of, size_of
from bombus.errors import UsageError

E = TypeVar("E")


class _Length:
    __slots__ = ("counts",)

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.counts = counts


class _Bits:
    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        self.width = width


def array(*counts: int) -> Any:
    """How many elements an array member has: `name: Array[u8] = array(16)`; more numbers for arrays of arrays."""
    if not counts or any(type(count) is not int or count < 0 for count in counts):
        raise UsageError("array(...) takes the number of elements, an int")
    return _Length(counts)


def bits(width: int) -> Any:
    """How many bits a bit-field has: `version: u8 = bits(4)`."""
    return _Bits(width)


class View:
    """Bytes with a meaning. `_view` are they; `_address` is where programs see them, 0 for bytes that no memory of a
    machine holds."""

    __slots__ = ("__weakref__", "_address", "_view", "_writable")
    _view: memoryview
    _address: int
    _writable: bool

    @classmethod
    def _at(cls, view: memoryview, address: int = 0, writable: bool = True) -> Self:
        made = object.__new__(cls)
        _set(made, "_view", view)
        _set(made, "_address", address)
        _set(made, "_writable", writable)
        return made

    def __bytes__(self) -> bytes:
        return bytes(self._view)


_set = object.__setattr__


def _load(kind: Any, owner: View, offset: int) -> Any:
    view = owner._view
    if kind is bool:
        return view[offset] != 0
    size = size_of(kind)
    part = view[offset : offset + size]
    if isinstance(kind, PointerType):
        from bombus.bpf.machine import pointed  # it stands above this module

        return pointed(kind.target(), int.from_bytes(part, "little"))
    address = owner._address + offset if owner._address else 0
    if isinstance(kind, ArrayType):
        made: Array[Any] = Array._at(part, address, owner._writable)
        _set(made, "_kind", kind)
        return made
    if issubclass(kind, Scalar):
        return kind.from_bytes(part)
    return kind._at(part, address, owner._writable)


def _store(kind: Any, owner: View, offset: int, value: Any, what: str) -> None:
    if not owner._writable:
        raise UsageError(f"{what} is read-only")
    owner._view[offset : offset + size_of(kind)] = encode(kind, value, what)


def encode(kind: Any, value: Any, what: str) -> bytes:
    """The bytes of a value of a type. UsageError when it is of another type or does not fit."""
    if kind is bool:
        if type(value) is not bool:
            raise UsageError(f"{what} is a bool, not {type(value).__name__}")
        return bytes([value])
    if isinstance(kind, type) and issubclass(kind, Scalar):
        if (type(value) is int or isinstance(value, (IntEnum, IntFlag))) and kind.MIN <= value <= kind.MAX:
            value = kind(value)
        if type(value) is not kind:
            shown = value if type(value) is int else type(value).__name__
            raise UsageError(f"{what} is {kind.__name__}, not {shown}; convert it: {kind.__name__}(...)")
        return bytes(value)
    if isinstance(kind, ArrayType):
        if type(value) is bytes and len(value) <= size_of(kind) and size_of(kind.element) == 1:
            return value.ljust(size_of(kind), b"\0")
        if isinstance(value, Array) and value._kind == kind:
            return bytes(value)
    elif isinstance(kind, PointerType):
        target = kind.target()
        if not target.ARENA:
            raise UsageError(f"{what} is a pointer of the kernel and cannot be assigned")
        if value is None or isinstance(value, target):
            return (value._address if value is not None else 0).to_bytes(8, "little")
    elif isinstance(value, kind):
        return bytes(value)
    raise UsageError(f"{what} is {name_of(kind)}, not {type(value).__name__}")


class _MemberAccess:
    """Descriptor of one member."""

    __slots__ = ("member", "owner")

    def __init__(self, owner: str, member: Member) -> None:
        self.owner = owner
        self.member = member

    def __get__(self, instance: Struct | None, owner: type[Struct] | None = None) -> Any:
        if instance is None:
            return self
        member = self.member
        if member.bits:
            unit = member.type.from_bytes(instance._view[member.offset : member.offset + member.type.SIZE])
            number = (int(unit) & ((1 << member.type.BITS) - 1)) >> member.bit & ((1 << member.bits) - 1)
            if member.type.SIGNED and number >> (member.bits - 1):
                number -= 1 << member.bits
            return member.type(number)
        return _load(member.type, instance, member.offset)

    def __set__(self, instance: Struct, value: Any) -> None:
        member = self.member
        what = f"{self.owner}.{member.name}"
        if not member.bits:
            _store(member.type, instance, member.offset, value, what)
            return
        kind = member.type
        number = int.from_bytes(encode(kind, value, what), "little") & ((1 << member.bits) - 1)
        old = int.from_bytes(instance._view[member.offset : member.offset + kind.SIZE], "little")
        mask = ((1 << member.bits) - 1) << member.bit
        new = kind._make(old & ~mask | number << member.bit)
        _store(kind, instance, member.offset, new, what)


class Struct(View):
    """Base of all structs.

    Class arguments: packed (no padding), align (at least so many bytes), name (what BTF calls it; the class's name
    otherwise), core (a kernel struct: members are found by name when the program is loaded), arena (a struct that lies
    in an arena and nowhere else; pointers to it can be assigned).
    """

    __slots__ = ()
    LAYOUT: ClassVar[Layout] = Layout(0, 1, {})
    C_NAME: ClassVar[str] = ""
    CORE: ClassVar[bool] = False
    ARENA: ClassVar[bool] = False
    _UNION: ClassVar[bool] = False

    def __init_subclass__(
        cls, packed: bool = False, align: int = 0, name: str = "", core: bool = False, arena: bool = False,
        **more: Any,
    ) -> None:  # fmt: skip
        super().__init_subclass__(**more)
        cls.ARENA = arena
        cls.C_NAME = name or cls.__name__
        cls.CORE = core
        annotations = get_annotations(cls)
        if not cls.__module__.startswith("bombus."):
            _refuse(cls, annotations)
            for value in vars(cls).values():
                if isinstance(value, FunctionType):
                    value.__bpf_struct__ = cls  # type: ignore[attr-defined]  # the type of its `self`
        if cls.__dict__.get("_UNION") or all(_is_class_variable(text) for text in annotations.values()):
            return
        annotations = {_as_written(cls.__name__, member): text for member, text in annotations.items()}
        frame = sys._getframe(1)
        scope = {**frame.f_globals, **frame.f_locals, cls.__name__: cls}
        members = [_member(cls, text, scope, member, frame) for member, text in annotations.items()]
        base: Any = cls.__mro__[1]
        if base.LAYOUT.members:
            raise UsageError(f"{cls.__name__}: a struct does not inherit members; put {base.__name__} inside")
        cls.LAYOUT = lay_out([m for m in members if m], union=cls._UNION, packed=packed, align=align)
        for member in cls.LAYOUT.members.values():
            setattr(cls, member.name, _MemberAccess(cls.__name__, member))

    def __init__(self, **members: Any) -> None:
        if self.ARENA:
            raise UsageError(f"{type(self).__name__} lies in an arena: heap.alloc({type(self).__name__})")
        view = memoryview(bytearray(self.LAYOUT.size))
        _set(self, "_view", view)
        _set(self, "_address", 0)
        _set(self, "_writable", True)
        for name, value in members.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.LAYOUT.members:
            raise UsageError(f"{type(self).__name__} has no member {name!r}")
        _set(self, name, value)

    def copy(self) -> Self:
        """A struct of its own with the same contents."""
        made = type(self)()
        made._view[:] = self._view
        return made

    def assign(self, other: Self) -> None:
        """Overwrite this struct with another one."""
        if type(other) is not type(self):
            name = type(self).__name__
            raise UsageError(f"{name} is assigned from another {name}, not {type(other).__name__}")
        if not self._writable:
            raise UsageError(f"{type(self).__name__} is read-only")
        self._view[:] = bytes(other._view)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, View) and self._address != 0 and self._address == other._address
        )

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.LAYOUT.members)
        return f"{type(self).__name__}({inside})"


class Union(Struct):
    """Base of unions: all members start at byte 0."""

    __slots__ = ()
    _UNION: ClassVar[bool] = True


def _as_written(owner: str, member: str) -> str:
    """Python calls a member `__state` of a class `_task__state`; programs and the kernel do not."""
    prefix = f"_{owner.lstrip('_')}__"
    return member.removeprefix(prefix[:-2]) if member.startswith(prefix) else member


# Names that structs have themselves, and methods whose meaning is the same in every reading of a program
_TAKEN = frozenset({"LAYOUT", "C_NAME", "CORE", "ARENA", "_UNION", "_view", "_address", "_writable", "_at"})
_FIXED = frozenset({
    "__init__", "__new__", "__eq__", "__ne__", "__bool__", "__len__", "__bytes__", "__getattr__",
    "__getattribute__", "__setattr__", "copy", "assign",
})  # fmt: skip


def _refuse(cls: type[Struct], annotations: dict[str, Any]) -> None:
    """Report what stands in a program's struct class and would mean nothing, or something else in BPF."""
    name = cls.__name__
    for member in annotations:
        if member in _TAKEN:
            raise UsageError(f"{name}.{member}: structs use this name themselves")
    for member, value in vars(cls).items():
        if member in _FIXED | _TAKEN and member not in annotations and callable(value):
            raise UsageError(f"{name}.{member}: a struct does not change it; write a function that takes the struct")
        if member in annotations and isinstance(value, FunctionType):
            raise UsageError(f"{name}.{member} is a member and a method; give one of them another name")
        if member in annotations or member.startswith("__"):
            continue
        if isinstance(value, (Scalar, _Length, _Bits)) or (isinstance(value, type) and is_member_type(value)):
            shown = value.__name__ if isinstance(value, type) else type(value).__name__.strip("_")
            kind = shown if isinstance(value, (type, Scalar)) else "..."
            what = f"{name}.{member}"
            raise UsageError(f"{what}: a member is annotated, {member}: {kind}; a constant is {member}: ClassVar")


def _is_class_variable(annotation: Any) -> bool:
    text = annotation if isinstance(annotation, str) else str(annotation)
    return text.startswith(("ClassVar", "typing.ClassVar"))


def _own_locals(frame: FrameType) -> dict[str, Any]:
    """Names of the function that a class stands in; those of a module are looked up later, as some come later."""
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)


def _member(
    cls: type[Struct], text: Any, scope: dict[str, Any], name: str, frame: FrameType
) -> tuple[str, Any, int] | None:
    if _is_class_variable(text):
        return None
    where = f"{cls.__name__}.{name}"
    default = cls.__dict__.get(name, cls.__dict__.get(f"_{cls.__name__.lstrip('_')}{name}"))
    pointed = re.fullmatch(r"(?:\w+\.)*Pointer\[(.*)\]", text) if isinstance(text, str) and "Pointer[" in text else None
    if pointed is not None:  # its target may be defined later
        return name, PointerType(frame.f_globals, {cls.__name__: cls, **_own_locals(frame)}, pointed[1]), 0
    if getattr(text, "__origin__", None) is Pointer:
        return name, PointerType({"target": text.__args__[0]}, {}, "target"), 0
    try:
        kind = text
        if isinstance(text, str):
            kind = scope[text] if text in scope else eval(text, scope)  # compiling takes 20 us
    except NameError as error:
        raise UsageError(f"{where}: {error}") from None
    if hasattr(getattr(kind, "__origin__", None), "_of_member"):  # lists and pointers: objects.Place
        (target,) = kind.__args__
        return name, kind.__origin__._of_member(target, default, where), 0
    depth = 0
    while getattr(kind, "__origin__", None) is Array:
        (kind,) = kind.__args__
        depth += 1
    counts: tuple[int, ...] = default.counts if isinstance(default, _Length) else ()
    if depth != len(counts):
        raise UsageError(
            f"{where}: say how many elements it has: {name}: Array[...] = array(N)" if depth
            else f"{where}: array(...) belongs to a member of type Array[...]"
        )  # fmt: skip
    if not is_member_type(kind):
        raise UsageError(
            f"{where}: {text} is no type of members; use u8 to u64, s8 to s64, be16 to be64, bool, Array[...], "
            "a Struct or Pointer[...]"
        )
    for count in reversed(counts):
        kind = ArrayType(kind, count)
    width = default.width if isinstance(default, _Bits) else 0
    if default is not None and not isinstance(default, (_Length, _Bits)):
        raise UsageError(f"{where}: members have no default values; they start as zero")
    if isinstance(default, _Bits) and (type(width) is not int or width <= 0):
        raise UsageError(f"{where}: bits(...) takes the width, an int above 0")
    return name, kind, width


class Pointer(Generic[E]):
    """The type of a pointer member of a kernel struct: `real_parent: Pointer[task_struct]`. Reading the member gives
    the struct, or None."""

    def __get__(self, instance: Any, owner: Any = None) -> E | None:
        raise UsageError("Pointer[...] is the type of a member")

    def __set__(self, instance: Any, value: E | None) -> None:
        raise UsageError("Pointer[...] is the type of a member")


class Array(View, Generic[E]):
    """Elements in a row. Reading an element of struct or array type gives a view of it."""

    __slots__ = ("_kind",)
    _kind: ArrayType

    def __len__(self) -> int:
        return self._kind.count

    def _offset(self, index: Any) -> int:
        number = int(index)
        if not 0 <= number < self._kind.count:
            raise UsageError(f"index {number} of {self._kind}")
        return number * size_of(self._kind.element)

    def __getitem__(self, index: Any) -> E:
        return cast(E, _load(self._kind.element, self, self._offset(index)))

    def __setitem__(self, index: Any, value: E | int) -> None:
        _store(self._kind.element, self, self._offset(index), value, f"an element of {self._kind}")

    def __iter__(self) -> Iterator[E]:
        return (self[index] for index in range(self._kind.count))

    def __repr__(self) -> str:
        return f"{self._kind}{list(self)!r}"


def zeros(element: type[E], count: int) -> Array[E]:
    """An array on the stack, all zero."""
    kind = ArrayType(element, count)
    made: Array[E] = Array._at(memoryview(bytearray(size_of(kind))))
    _set(made, "_kind", kind)
    return made


class Ref(View, Generic[E]):
    """A pointer to one integer (a map's value, a global): `slot.value += 1`."""

    __slots__ = ("_kind",)
    _kind: Any

    @classmethod
    def to(cls, kind: Any, view: memoryview, address: int = 0, writable: bool = True) -> Ref[Any]:
        made = cls._at(view, address, writable)
        _set(made, "_kind", kind)
        return made

    @property
    def value(self) -> E:
        return cast(E, _load(self._kind, self, 0))

    @value.setter
    def value(self, value: E) -> None:
        _store(self._kind, self, 0, value, f"a {name_of(self._kind)}")

    def __repr__(self) -> str:
        return f"Ref({self.value!r})"


def view_as(kind: Any, view: memoryview, address: int, writable: bool = True) -> Any:
    """A reference to a value of a type: a Struct, an Array, or a Ref for integers."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return kind._at(view, address, writable)
    if isinstance(kind, ArrayType):
        made: Array[Any] = Array._at(view, address, writable)
        _set(made, "_kind", kind)
        return made
    return Ref.to(kind, view, address, writable)


class Opaque(Struct, core=True):
    """What a pointer points to when nobody says what it is: only its address is of use."""

    first_byte: u8
