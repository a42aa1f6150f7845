"""Memory as bytes: copies, comparisons, addresses, and loads and stores with an order.

Addresses (`at`, `span`, `address`) are for native code, where the dialect is the language of map bodies; the rest is
for programs too. In plain Python an address is one of the machine's memory, and every access is checked.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar, overload

from bombus.bpf.ints import Int, Scalar, s64, u8, u64
from bombus.bpf.layout import ArrayType, size_of
from bombus.bpf.machine import machine, pointed
from bombus.bpf.struct import Array, Ref, Struct, View
from bombus.errors import UsageError, VmFault

S = TypeVar("S", bound=Struct)
I = TypeVar("I", bound=Scalar)
N = TypeVar("N", bound=Int)
Bytes: TypeAlias = "View | u64"
"""Where bytes lie: a struct, an array, a reference; in native code also an address."""


@overload
def at(address: u64, kind: type[S]) -> S: ...
@overload
def at(address: u64, kind: type[I]) -> Ref[I]: ...
def at(address: u64, kind: Any) -> Any:
    """What lies at an address, as a struct or a reference to an integer. In native code, which checks nothing; in plain
    Python VmFault when no memory of the machine is there."""
    found = pointed(kind, int(address))
    if found is None:
        raise VmFault("load", "address 0 is no memory", address=0, size=size_of(kind))
    return found


def span(address: u64, kind: type[I], count: u64 | int) -> Array[I]:
    """`count` integers in a row from an address on. In native code, where `count` is not looked at; in plain Python
    VmFault when they do not lie in one piece of memory."""
    found = pointed(ArrayType(kind, int(count)), int(address))
    if found is None:
        raise VmFault("load", "address 0 is no memory", address=0, size=size_of(kind) * int(count))
    return found  # type: ignore[no-any-return]


def address(place: View) -> u64:
    """The address of a struct, an array or what a reference refers to, in native code. In plain Python UsageError for
    variables, which have none."""
    if not place._address:
        raise UsageError("a variable of plain Python has no address")
    return u64(place._address)


def _bytes(place: Bytes, size: int, what: str, write: bool = False) -> memoryview:
    """`size` bytes at a place."""
    if isinstance(place, View):
        view, writable = place._view, place._writable
        if size > len(view):
            raise UsageError(f"{what}: {size} bytes of {len(view)}")
    else:
        start = int(place)
        region = machine().memory.find(start, size) if size else None
        if region is None:
            if not size:
                return memoryview(bytearray())
            raise VmFault("store" if write else "load", machine().memory.explain(start, size), address=start, size=size)
        view, writable = region.view[start - region.start :], region.writable
    if write and not writable:
        raise UsageError(f"{what}: this memory is read-only")
    return view[:size]


def copy(target: Bytes, source: Bytes, size: u64 | int) -> None:
    """Copy bytes; the places may overlap. In BPF `size` is a constant."""
    number = int(size)
    data = bytes(_bytes(source, number, "copy from"))
    _bytes(target, number, "copy to", True)[:] = data


def fill(target: Bytes, byte: u8, size: u64 | int) -> None:
    """Give `size` bytes one value. In BPF `size` is a constant."""
    number = int(size)
    _bytes(target, number, "fill", True)[:] = bytes([int(byte)]) * number


def equal(left: Bytes, right: Bytes, size: u64 | int) -> bool:
    """Are these bytes the same? In BPF `size` is a constant."""
    number = int(size)
    return bytes(_bytes(left, number, "equal")) == bytes(_bytes(right, number, "equal"))


def compare(left: Bytes, right: Bytes, size: u64 | int) -> s64:
    """-1, 0 or 1 as the bytes of `left` come before those of `right`, are the same, or come after. In BPF `size` is a
    constant."""
    number = int(size)
    a, b = bytes(_bytes(left, number, "compare")), bytes(_bytes(right, number, "compare"))
    return s64((a > b) - (a < b))


def load_acquire(place: Ref[N]) -> N:
    """Load so that no later access is done before. In BPF one instruction of cpu v4 (Linux 6.15)."""
    return place.value


def store_release(place: Ref[N], value: N | int) -> None:
    """Store so that all earlier accesses are done before. In BPF one instruction of cpu v4 (Linux 6.15)."""
    place.value = value  # type: ignore[assignment]


def read_once(place: Ref[N]) -> N:
    """Load once, where the code stands: no value that was loaded before is used again (READ_ONCE)."""
    return place.value


def write_once(place: Ref[N], value: N | int) -> None:
    """Store once, where the code stands (WRITE_ONCE)."""
    place.value = value  # type: ignore[assignment]


def unroll(numbers: range) -> range:
    """`for i in bpf.unroll(range(4))`: the body once for each number, which is a constant in it."""
    return numbers
