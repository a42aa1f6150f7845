"""What generators ask the kernel's BTF: kernel functions, members of structs, what programs attach to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bombus.btf.parse import Btf
from bombus.btf.types import Array, Enum, Enum64, Func, FuncProto, Int, Kind, Param, Ptr, Struct, Union
from bombus.errors import BtfError
from bombus.spec.kfuncs import KFUNC
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.verifier.kfuncs import tags_of

_DEEP = 3
_MOST_MEMBERS = 600


@dataclass(frozen=True, slots=True)
class Place:
    """Something inside a struct. kind: "scalar", "pointer" (to struct `target`), "bytes" (a pointer to what is none),
    "struct" (`target`), "array"; offset, size: bytes."""

    offset: int
    size: int
    kind: str
    target: int = 0


@dataclass(frozen=True, slots=True)
class Function:
    """A kernel function that programs may call. flags, prog_types: of `spec.kfuncs`, if it has a row."""

    name: str
    type_id: int
    params: tuple[Param, ...]
    result: int
    flags: frozenset[str]
    prog_types: tuple[str, ...]
    known: bool

    def allowed(self, prog_type: int) -> bool:
        return self.known and (not self.prog_types or PROG_TYPE_BY_ID[prog_type].name in self.prog_types)


class KernelTypes:
    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self._members: dict[int, tuple[Place, ...]] = {}

    def struct(self, name: str) -> int:
        """0 when there is none of the name."""
        return self.btf.find(name, Kind.STRUCT) or 0

    def name(self, type_id: int) -> str:
        return self.btf.type(type_id).name

    @cached_property
    def functions(self) -> dict[str, Function]:
        """The kernel functions that programs may call, by name."""
        found = {}
        for number, tags in sorted(tags_of(self.btf).items()):
            func = self.btf.type(number)
            if "bpf_kfunc" in tags and isinstance(func, Func):
                found[func.name] = self._function(number, func)
        for name in KFUNC:  # kernels before 6.10 have no tags
            number = self.btf.find(name, Kind.FUNC) or 0
            if number and name not in found:
                func = self.btf.type(number)
                assert isinstance(func, Func)
                found[name] = self._function(number, func)
        return found

    def _function(self, number: int, func: Func) -> Function:
        proto = self.btf.type(func.type)
        assert isinstance(proto, FuncProto)
        row = KFUNC.get(func.name)
        flags, types = (row.flags, row.prog_types) if row is not None else (frozenset[str](), ())
        return Function(func.name, number, proto.params, proto.type, flags, types, row is not None)

    @cached_property
    def tracepoints(self) -> list[tuple[int, tuple[Param, ...]]]:
        """(type id, the arguments that programs see) of each."""
        found = []
        for number in self.btf.ids():
            if self.btf.kind(number) == Kind.TYPEDEF and self.btf.type(number).name.startswith("btf_trace_"):
                try:
                    pointer = self.btf.resolved(number)
                    proto = self.btf.resolved(pointer.type) if isinstance(pointer, Ptr) else None
                except BtfError:
                    continue
                if isinstance(proto, FuncProto):
                    found.append((number, proto.params[1:]))
        return found

    def tracepoint(self, name: str) -> tuple[int, tuple[Param, ...]] | None:
        number = self.btf.find(f"btf_trace_{name}", Kind.TYPEDEF)
        return next((one for one in self.tracepoints if one[0] == number), None)

    @cached_property
    def called(self) -> list[tuple[int, tuple[Param, ...]]]:
        """(type id, arguments) of all functions."""
        found = []
        for number in self.btf.ids():
            if self.btf.kind(number) == Kind.FUNC:
                func = self.btf.type(number)
                proto = self.btf.type(func.type) if isinstance(func, Func) else None
                if isinstance(proto, FuncProto):
                    found.append((number, proto.params))
        return found

    def arguments(self, type_id: int) -> tuple[Param, ...]:
        """Of a function."""
        func = self.btf.type(type_id)
        proto = self.btf.type(func.type) if isinstance(func, Func) else None
        return proto.params if isinstance(proto, FuncProto) else ()

    @cached_property
    def variables(self) -> list[int]:
        return [number for number in self.btf.ids() if self.btf.kind(number) == Kind.VAR]

    def pointed(self, type_id: int) -> int:
        """The struct that a pointer type points to; 0 for other types."""
        try:
            pointer = self.btf.resolved(type_id)
            if isinstance(pointer, Ptr):
                target = self.btf.resolve(pointer.type)
                if isinstance(self.btf.type(target), (Struct, Union)):
                    return target
        except BtfError:
            pass
        return 0

    def members(self, struct_id: int) -> tuple[Place, ...]:
        """What lies in a struct, nested ones included."""
        kept = self._members.get(struct_id)
        if kept is None:
            found: list[Place] = []
            self._add(struct_id, 0, found, 0)
            kept = self._members[struct_id] = tuple(found)
        return kept

    def _add(self, struct_id: int, base: int, found: list[Place], depth: int) -> None:
        struct = self.btf.type(struct_id)
        if not isinstance(struct, (Struct, Union)) or depth > _DEEP:
            return
        for member in struct.members:
            if len(found) >= _MOST_MEMBERS:
                return
            offset = base + member.offset // 8
            try:
                target = self.btf.resolve(member.type)
                type_ = self.btf.type(target)
                size = self.btf.size_of(target)
            except BtfError:
                continue
            if isinstance(type_, (Struct, Union)):
                found.append(Place(offset, min(size, 8), "struct", target))
                self._add(target, offset, found, depth + 1)
            elif isinstance(type_, Array):
                found.append(Place(offset, size, "array"))
                element = self.pointed(type_.type)
                if element and size:
                    found.append(Place(offset, 8, "pointer", element))
            elif isinstance(type_, Ptr):
                pointed = self.pointed(target)
                found.append(Place(offset, 8, "pointer" if pointed else "bytes", pointed))
            elif isinstance(type_, (Int, Enum, Enum64)):
                found.append(Place(offset, size, "scalar"))
