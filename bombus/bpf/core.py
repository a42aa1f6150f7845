"""The words of the language that are not types: globals, atomics, printing, byte order, how functions are linked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import wraps
from typing import Any, Literal, TypeVar, overload
from typing import cast as typed

from bombus.bpf.ints import Int, Scalar, bswap, s64, u8, u16, u32, u64
from bombus.bpf.layout import size_of
from bombus.bpf.machine import call, kernel_function, machine
from bombus.bpf.struct import Array, Ref, Struct, View, encode, view_as
from bombus.errors import UsageError

I = TypeVar("I", bound=Scalar)
N = TypeVar("N", bound=Int)
S = TypeVar("S", bound=Struct)
V = TypeVar("V", bound=View)
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Global:
    """A variable of the program. `view` is what its name is bound to, `initial` its first contents."""

    view: View
    type: Any
    initial: bytes
    config: bool


GLOBALS: dict[int, Global] = {}  # by id of the view, which the row keeps alive


@dataclass(frozen=True, slots=True)
class License:
    text: str


def license(text: str) -> License:
    """The program's licence: `LICENSE = bpf.license("GPL")`. Some helpers are for GPL-compatible programs only."""
    if not text or not text.isascii():
        raise UsageError("a licence is a name such as 'GPL' or 'Dual BSD/GPL'")
    return License(text)


def _global(value: Any, config: bool) -> Any:
    kind = value if isinstance(value, type) else type(value)
    if not ((isinstance(kind, type) and issubclass(kind, (Scalar, Struct))) or kind is bool):
        raise UsageError(f"a global is an integer such as u64(0), a bool or a Struct, not {value!r}")
    initial = bytes(size_of(kind)) if isinstance(value, type) else encode(kind, value, "the global")
    view = view_as(kind, memoryview(bytearray(initial)), 0, not config)
    GLOBALS[id(view)] = Global(view, kind, initial, config)
    return view


@overload
def var(value: type[S]) -> S: ...
@overload
def var(value: S) -> S: ...
@overload
def var(value: type[I]) -> Ref[I]: ...
@overload
def var(value: I) -> Ref[I]: ...
@overload
def var(value: bool) -> Ref[bool]: ...
def var(value: Any) -> Any:
    """A global variable, in .data or .bss: `total = bpf.var(u64(0))`, then `total.value += 1`."""
    return _global(value, False)


@overload
def config(value: S) -> S: ...
@overload
def config(value: I) -> Ref[I]: ...
@overload
def config(value: bool) -> Ref[bool]: ...
def config(value: Any) -> Any:
    """A setting that user space may change before the program is loaded, in .rodata: `limit = bpf.config(u32(100))`."""
    return _global(value, True)


def configure(setting: Ref[I], value: I) -> None:
    """Change a setting for runs in plain Python."""
    row = GLOBALS.get(id(setting))
    if row is None or not row.config:
        raise UsageError("configure(...) changes what config(...) made")
    setting._view[:] = encode(row.type, value, "the setting")


def atomic(place: V) -> V:
    """`bpf.atomic(slot).value += 1` changes memory in one step that other CPUs do not see halves of.

    With +=, -=, |=, &= and ^= on u32, u64, s32 and s64.
    """
    return typed("V", _Atomic(place))


class _Atomic:
    """A place whose members (elements) change when the right side is known, whatever that does to them meanwhile."""

    __slots__ = ("_place",)

    def __init__(self, place: View) -> None:
        object.__setattr__(self, "_place", place)

    def __getattr__(self, name: str) -> _Change:
        place = object.__getattribute__(self, "_place")
        return _Change(lambda: getattr(place, name), lambda value: setattr(place, name, value))

    def __setattr__(self, name: str, value: Any) -> None:
        _no_assignment(value)

    def __getitem__(self, index: Any) -> _Change:
        place = object.__getattribute__(self, "_place")
        return _Change(lambda: place[index], lambda value: place.__setitem__(index, value))

    def __setitem__(self, index: Any, value: Any) -> None:
        _no_assignment(value)


def _no_assignment(value: Any) -> None:
    if not isinstance(value, _Change):
        raise UsageError("bpf.atomic(...) goes with +=, -=, |=, &= and ^=")


class _Change:
    """One place: read and written by its operators."""

    __slots__ = ("_load", "_store")

    def __init__(self, load: Callable[[], Any], store: Callable[[Any], None]) -> None:
        self._load = load
        self._store = store

    def __iadd__(self, value: Any) -> _Change:
        self._store(self._load() + value)
        return self

    def __isub__(self, value: Any) -> _Change:
        self._store(self._load() - value)
        return self

    def __ior__(self, value: Any) -> _Change:
        self._store(self._load() | value)
        return self

    def __iand__(self, value: Any) -> _Change:
        self._store(self._load() & value)
        return self

    def __ixor__(self, value: Any) -> _Change:
        self._store(self._load() ^ value)
        return self


def _fetch(place: Ref[N], change: Callable[[N], N]) -> N:
    old = place.value
    place.value = change(old)
    return old


def fetch_add(place: Ref[N], value: N | int) -> N:
    """Add in one atomic step; returns what was there before."""
    return _fetch(place, lambda old: old + value)


def fetch_and(place: Ref[N], value: N | int) -> N:
    """As fetch_add, with &."""
    return _fetch(place, lambda old: old & value)


def fetch_or(place: Ref[N], value: N | int) -> N:
    """As fetch_add, with |."""
    return _fetch(place, lambda old: old | value)


def fetch_xor(place: Ref[N], value: N | int) -> N:
    """As fetch_add, with ^."""
    return _fetch(place, lambda old: old ^ value)


def exchange(place: Ref[N], value: N | int) -> N:
    """Store in one atomic step; returns what was there before."""
    return _fetch(place, lambda old: type(old)(value))


def compare_exchange(place: Ref[N], expected: N | int, value: N | int) -> N:
    """Store `value` if the place holds `expected`, in one atomic step; returns what was there before."""
    return _fetch(place, lambda old: type(old)(value) if old == expected else old)


def ref(owner: Struct, member: str, kind: type[N]) -> Ref[N]:
    """A reference to an integer member: `bpf.fetch_add(bpf.ref(stats, "packets", u64), 1)`."""
    place = owner.LAYOUT.members.get(member)
    if place is None or place.bits or place.type is not kind:
        raise UsageError(f"{type(owner).__name__} has no member {member} of type {kind.__name__}")
    view = owner._view[place.offset : place.offset + kind.SIZE]
    return Ref.to(kind, view, owner._address + place.offset if owner._address else 0, owner._writable)


def local(value: I) -> Ref[I]:
    """An integer on the stack that helpers and callbacks can write through: `count = bpf.local(u64(0))`."""
    return Ref.to(type(value), memoryview(bytearray(bytes(value))))


def sizeof(kind: type[Struct] | type[Scalar]) -> int:
    """Bytes of a type."""
    return size_of(kind)


def offsetof(kind: type[Struct], member: str) -> int:
    """Bytes from the start of a struct to a member."""
    if member not in kind.LAYOUT.members:
        raise UsageError(f"{kind.__name__} has no member {member}")
    return kind.LAYOUT.members[member].offset


def kernel_has(kind: type[Struct], member: str = "") -> bool:
    """Whether the kernel that loads the program has a struct, or a member of it (CO-RE). In plain Python: yes."""
    if not kind.CORE:
        raise UsageError(f"{kind.__name__} is no kernel struct; declare it with core=True")
    if member and member not in kind.LAYOUT.members:
        raise UsageError(f"{kind.__name__} has no member {member}")
    return True


def kernel_size(kind: type[Struct], member: str = "") -> u32:
    """Bytes of a struct, or of a member of it, in the kernel that loads the program (CO-RE). In plain Python: as
    declared."""
    kernel_has(kind, member)
    return u32(size_of(kind.LAYOUT.members[member].type) if member else size_of(kind))


def kernel_offset(kind: type[Struct], member: str) -> u32:
    """Bytes from the start of a struct to a member in the kernel that loads the program (CO-RE). In plain Python: as
    declared."""
    kernel_has(kind, member)
    return u32(kind.LAYOUT.members[member].offset)


def kernel_matches(kind: type[Struct]) -> bool:
    """Whether the kernel that loads the program has a struct with all these members, of these types (CO-RE). In plain
    Python: yes."""
    return kernel_has(kind)


class KernelEnum(IntEnum):
    """Base of enums of the kernel: `class bpf_map_type(KernelEnum): BPF_MAP_TYPE_RINGBUF = 27`. As numbers they are
    what is written; `enum_value` asks the kernel."""


def enum_has(value: KernelEnum) -> bool:
    """Whether an enum of the kernel that loads the program has this value (CO-RE). In plain Python: yes."""
    if not isinstance(value, KernelEnum):
        raise UsageError(f"{value!r} is no value of a KernelEnum")
    return True


def enum_value(value: KernelEnum) -> u64:
    """The number of an enum's value in the kernel that loads the program (CO-RE). In plain Python: as declared."""
    enum_has(value)
    return u64(int(value))


def cast(place: View, kind: type[S]) -> S:
    """The same memory as another struct: what follows a header, or the kernel's tcp_sock of a sock. In plain Python
    UsageError when it is too small."""
    size = size_of(kind)
    if not kind.CORE and size > len(place._view):
        raise UsageError(f"{kind.__name__} has {size} bytes, there are {len(place._view)}")
    if kind.CORE and place._address:
        found = machine().kernel_struct(kind, place._address)
        if found is not None:
            return typed("S", found)
    return kind._at(place._view[:size], place._address, place._writable)


def context_address(ctx: Struct) -> u64:
    """Where the context lies: for the language's own reads of registers whose place is known at run time."""
    return u64(ctx._address)


def htons(value: u16) -> u16:
    """Between host and network byte order."""
    return bswap(value)


def htonl(value: u32) -> u32:
    """Between host and network byte order."""
    return bswap(value)


ntohs = htons
ntohl = htonl


def printk(text: str) -> None:
    """Write a line to the kernel's trace pipe: `bpf.printk(f"port {port} flags {flags:#x}")`."""
    raw = text.encode().replace(b"%", b"%%") + b"\0"
    call(s64, 6, raw, len(raw))


def noinline(function: F) -> F:
    """A function that stays a function of its own (static: verified with its callers)."""
    return _mark(function, "noinline")


def inline(function: F) -> F:
    """A function that is always put into its callers."""
    return _mark(function, "inline")


def global_function(function: F) -> F:
    """A function that the verifier checks on its own, from its types."""
    return _mark(function, "global")


def python_only(function: F) -> F:
    """A function that Python alone calls, at import or in user space, though its types are those of programs: it is
    not checked as BPF, and programs cannot call it."""
    function.__bpf_python_only__ = True  # type: ignore[attr-defined]
    return function


def is_python_only(function: Any) -> bool:
    return bool(getattr(function, "__bpf_python_only__", False))


def snprintf(into: Array[u8], text: str) -> s64:
    """Write a text into an array, cut to fit, with a zero byte at its end: `bpf.snprintf(event.text, f"port {port}")`.

    Returns how many bytes the whole text and the zero byte need. (bpf_snprintf)
    """
    raw = text.encode()
    size = len(into)
    if size:
        into._view[: min(len(raw) + 1, size)] = raw[: size - 1] + b"\0"
    return s64(len(raw) + 1)


def kfunc(function: F) -> F:
    """A function of the kernel, by its name and types: the body is `...`.

        @bpf.kfunc
        def bpf_task_from_pid(pid: s32) -> task_struct | None: ...

    (`raise NotImplementedError` where type checkers want a body.) The loader finds it in the kernel's BTF. Plain Python
    calls what the user kernel has of it, or raises NotSupported.
    """

    @wraps(function)
    def called(*args: Any) -> Any:
        return kernel_function(function, args)

    called.__bpf_kfunc__ = True  # type: ignore[attr-defined]
    return typed(F, called)


def is_kfunc(function: Any) -> bool:
    return bool(getattr(function, "__bpf_kfunc__", False))


def _mark(function: F, how: Literal["noinline", "inline", "global"]) -> F:
    function.__bpf_linkage__ = how  # type: ignore[attr-defined]
    return function


def struct_of(function: Any) -> Any:
    """The struct class that a function is a method of, None for others."""
    return getattr(function, "__bpf_struct__", None)


def linkage_of(function: Any) -> str:
    """ "noinline", "inline", "global" or "" (the compiler decides)."""
    return str(getattr(function, "__bpf_linkage__", ""))


