"""Kernel structs for programs in plain Python, which has no BTF: each program sees them as its classes declare them.

One object of the kernel (a task) is known by an address. Every class that a program reads it as, a flavour of the same
struct too, has memory of its own that holds the members which it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.bpf.layout import size_of
from bombus.bpf.struct import Struct
from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.vm.memory import Memory, Region


class PlainStruct:
    """One object: members by name, "a.b" for those inside of members. Members that nobody set are 0."""

    __slots__ = ("_owner", "_region", "_seen", "_values", "struct")

    def __init__(self, owner: PlainStructs, struct: str) -> None:
        self._owner = owner
        self._region = owner.room(8, struct, self)
        self._seen: dict[type[Struct], Region] = {}
        self._values: dict[str, int | bytes] = {}
        self.struct = struct

    @property
    def address(self) -> int:
        return self._region.start

    def has(self, path: str) -> bool:
        return True

    def set(self, path: str, value: int | bytes) -> None:
        """Give a member a number, or its bytes."""
        if self._values.get(path) != value:
            self._values[path] = value
            for kind, region in self._seen.items():
                _write(kind, region.view, path, value)

    def view(self, kind: type[Struct]) -> Struct:
        """The object as a class declares it."""
        region = self._seen.get(kind)
        if region is None:
            region = self._seen[kind] = self._owner.room(max(size_of(kind), 1), self.struct, self)
            for path, value in self._values.items():
                _write(kind, region.view, path, value)
        return kind._at(region.view[: size_of(kind)], region.start, writable=False)

    def close(self) -> None:
        for region in (self._region, *self._seen.values()):
            self._owner.forget(region)


class PlainStructs:
    """All objects of a machine."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._by_address: dict[int, PlainStruct] = {}

    def make(self, struct: str) -> PlainStruct:
        return PlainStruct(self, struct)

    def room(self, size: int, struct: str, owner: PlainStruct) -> Region:
        region = self._memory.allocate(size, name=f"struct {struct}", kind="btf", writable=True)
        self._by_address[region.start] = owner
        return region

    def forget(self, region: Region) -> None:
        del self._by_address[region.start]
        self._memory.remove(region)

    def view(self, kind: type[Struct], address: int) -> Struct | None:
        """The object at an address as a class; None where none is."""
        found = self._by_address.get(address)
        return None if found is None else found.view(kind)

    def known(self, address: int) -> int:
        """The address by which helpers know an object, of any of its addresses; others as they are."""
        found = self._by_address.get(address)
        return address if found is None else found.address


def _write(kind: type[Struct], view: memoryview, path: str, value: int | bytes) -> None:
    """Set a member, unless the class does not name it."""
    at: Any = kind
    offset = 0
    for part in path.split("."):
        member = getattr(at, "LAYOUT", Struct.LAYOUT).members.get(part)
        if member is None or member.bits:
            return
        offset += member.offset
        at = member.type
    size = size_of(at)
    if isinstance(value, int):
        value = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    if len(value) > size:
        raise UsageError(f"{kind.__name__}.{path} has {size} bytes, the kernel's has {len(value)}")
    view[offset : offset + size] = value.ljust(size, b"\0")
