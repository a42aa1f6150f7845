"""Where programs run when they run as plain Python: memory, maps and helpers.

The machine that is built in (bombus.plain) has the maps and helper bodies of the user kernel. It is made when first
needed; `use` puts another one in its place.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bombus.bits import U64
from bombus.bpf.ints import Scalar
from bombus.bpf.layout import size_of
from bombus.bpf.struct import Struct, View, view_as
from bombus.errors import UsageError, VmFault

if TYPE_CHECKING:
    from bombus.vm.memory import Memory, Region

DEFAULT = "bombus.plain"  # by name: it stands above this room
R = TypeVar("R")
S = TypeVar("S", bound=Struct)
_ITERATOR = 64  # bytes of the largest iterator's state, and more


class Machine(Protocol):
    memory: Memory
    kept: dict[int, Any]  # objects of the program by the address of what holds them in a map value
    cpus: int

    def handle(self, item: Any) -> int:
        """What a register holds for a map."""

    def call(self, number: int, args: list[int]) -> int:
        """Call a helper with register values; returns r0 as u64."""

    def kernel_struct(self, kind: type[Struct], address: int) -> Struct | None:
        """The kernel's object at an address as a class declares it; None where there is none."""

    def call_kernel(self, name: str, args: list[int]) -> int:
        """Call a function of the kernel with register values; returns r0 as u64. NotSupported for one that is not
        there."""

    def function(self, body: Callable[..., Any]) -> int:
        """The address by which helpers call back a Python function."""

    def run(self, program: Any, data: bytes | None, ctx: Any) -> Any:
        """Run a program on a packet or on a context (see `Program.run`)."""

    def iterate(self, program: Any) -> bytes:
        """Run an iterator program (see `Program.iterate`)."""

    def tail_call(self, ctx: Any, array: Any, index: int) -> None:
        """Leave for the program in a slot of a program array; returns when the slot is empty."""


_current: list[Machine] = []


def machine() -> Machine:
    """The machine in use."""
    if not _current:
        _current.append(import_module(DEFAULT).PlainMachine())
    return _current[-1]


@contextmanager
def use(other: Machine) -> Iterator[Machine]:
    """Run programs on another machine inside a `with`."""
    _current.append(other)
    try:
        yield other
    finally:
        _current.pop()


class _Held:
    """Buffers that are memory of the machine for the length of one call."""

    __slots__ = ("memory", "regions")

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.regions: list[Region] = []

    def address(self, view: memoryview, writable: bool) -> int:
        import ctypes  # building a program needs neither

        from bombus.vm.memory import Region

        if not len(view):
            return 0
        if view.readonly:
            view = memoryview(bytearray(view))
            writable = False
        start = ctypes.addressof(ctypes.c_char.from_buffer(view))
        region = Region(start, len(view), view, "a local variable", "stack", writable, keep=view)
        if self.memory.find(start, len(view)) is None:
            self.memory.add(region)
            self.regions.append(region)
        return start

    def close(self) -> None:
        for region in self.regions:
            self.memory.remove(region)


def kernel_function(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Call a function of the kernel by its declaration. NotSupported where the machine has no such function."""
    here = machine()
    held = _Held(here.memory)
    try:
        raw = here.call_kernel(function.__name__, [_register(here, held, value) for value in args])
    finally:
        held.close()
    kind = typing.get_type_hints(function).get("return", type(None))
    inside = [item for item in typing.get_args(kind) if item is not type(None)]
    kind = inside[0] if inside else kind
    if kind is type(None):
        return None
    return kind(raw != 0) if kind is bool else kind._make(raw) if issubclass(kind, Scalar) else pointed(kind, raw)


def walk(name: str, kind: type[S], *args: Any) -> Iterator[S]:
    """Objects of an iterator of the kernel (bpf_iter_<name>_new and so on), as a class declares them."""
    here = machine()
    state = here.memory.allocate(_ITERATOR, name=f"bpf_iter_{name}", kind="stack")
    held = _Held(here.memory)
    try:
        start = [state.start, *(_register(here, held, value) for value in args)]
        if not here.call_kernel(f"bpf_iter_{name}_new", start):
            while address := here.call_kernel(f"bpf_iter_{name}_next", [state.start]):
                yield pointed(kind, address)
        here.call_kernel(f"bpf_iter_{name}_destroy", [state.start])
    finally:
        held.close()
        here.memory.remove(state)


def call(result: type[R] | None, number: int, *args: Any) -> R:
    """Call a helper with dialect values. `result` is the type of what it returns, None for nothing."""
    here = machine()
    held = _Held(here.memory)
    try:
        raw = here.call(number, [_register(here, held, value) for value in args])
    finally:
        held.close()
    return None if result is None else result(raw)  # type: ignore[return-value, call-arg]


def _register(here: Machine, held: _Held, value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, (int, Scalar)):
        if isinstance(value, Scalar) and value.NETWORK:
            return int.from_bytes(bytes(value), "little")
        return int(value) & U64
    if isinstance(value, View):
        return value._address or held.address(value._view, value._writable)
    if isinstance(value, (bytes, bytearray)):
        return held.address(memoryview(value), False)
    if hasattr(value, "MAP_TYPE"):
        return here.handle(value)
    if callable(value):
        return here.function(value)
    raise UsageError(f"a helper takes no {type(value).__name__}")


def pointed(kind: Any, address: int) -> Any:
    """A view of the value of a type at an address of the machine; None for address 0. VmFault outside memory."""
    if not address:
        return None
    here = machine()
    if isinstance(kind, type) and issubclass(kind, Struct) and kind.CORE:
        found = here.kernel_struct(kind, address)
        if found is not None:
            return found
    memory = here.memory
    size = size_of(kind)
    region = memory.find(address, size)
    if region is None:
        raise VmFault("load", memory.explain(address, size), address=address, size=size)
    at = address - region.start
    return view_as(kind, region.view[at : at + size], address, region.writable)


def own(kind: Any, value: Any) -> Any:
    """`value` as a type that helpers can point to: what a map operation is given as key or value."""
    if isinstance(value, Struct) or value is None:
        return value
    from bombus.bpf.struct import encode

    return bytearray(encode(kind, value, f"a {getattr(kind, '__name__', kind)}"))
