"""Objects that programs allocate, and where they keep them: pointers, lists and trees in map values and globals.

    class Node(Struct):
        link: ListNode
        key: u64

    class Bin(Struct):
        lock: SpinLock
        head: ListHead[Node] = contains("link")
        last: Kptr[Node]

`bpf.new(Node)` gives a Node that the program owns until it drops it, puts it into a list or tree, or exchanges it for
what a pointer in a map value holds. Lists and trees are used under the lock beside them. Linux 6.3; pointers 6.4.

In plain Python the machine remembers what lies where.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from bombus.bpf.ints import s32, u32, u64
from bombus.bpf.machine import call, machine
from bombus.bpf.struct import Array, Struct, array
from bombus.errors import UsageError

S = TypeVar("S", bound=Struct)
_PLACES: dict[tuple[Any, Any, str], Any] = {}  # one class for all members that hold the same


class ListNode(Struct, name="bpf_list_node"):
    """What makes a struct an element of a list."""

    opaque: Array[u64] = array(3)


class TreeNode(Struct, name="bpf_rb_node"):
    """What makes a struct an element of a tree."""

    opaque: Array[u64] = array(4)


class RefCount(Struct, name="bpf_refcount"):
    """What lets a struct have several owners: `bpf.acquire(node)`."""

    opaque: Array[u32] = array(1)


_make: Any = type


class Contains:
    """Which member of its elements a list or tree uses."""

    __slots__ = ("member",)

    def __init__(self, member: str) -> None:
        self.member = member


def contains(member: str) -> Any:
    """`head: ListHead[Node] = contains("link")`: elements hang together by their member `link`."""
    return Contains(member)


class Place(Struct, Generic[S]):
    """A member that holds objects. TARGET: their class; NODE: the member of theirs that it uses, "" when none."""

    TARGET: ClassVar[Any] = None
    NODE: ClassVar[str] = ""
    _LINK: ClassVar[Any] = None  # the class of that member

    @classmethod
    def _of_member(cls, target: Any, default: Any, where: str) -> Any:
        """The class of one member: for an annotation and what stands behind its =."""
        if not isinstance(target, type) or not issubclass(target, Struct):
            raise UsageError(f"{where}: {cls.__name__}[...] takes a Struct class, not {target!r}")
        node = ""
        if cls._LINK is not None:
            if not isinstance(default, Contains):
                raise UsageError(f'{where}: say which member of {target.__name__} it uses: = contains("...")')
            node = default.member
            member = target.LAYOUT.members.get(node)
            if member is None or member.type is not cls._LINK:
                raise UsageError(f"{where}: {target.__name__} has no {cls._LINK.__name__} {node!r}")
        elif default is not None:
            raise UsageError(f"{where}: members have no default values; they start as None")
        known = _PLACES.get((cls, target, node))
        if known is None:
            members = {"TARGET": target, "NODE": node, "__module__": cls.__module__}
            known = _PLACES[cls, target, node] = _make(cls.__name__, (cls,), members, name=cls.C_NAME)
        return known

    def _held(self) -> list[Any]:
        """In plain Python: what lies here."""
        place = self._address or _place_of_global(self._view)
        if not place:
            raise UsageError(f"{type(self).__name__} holds objects in map values and globals only")
        found: list[Any] = machine().kept.setdefault(place, [])
        return found


def _place_of_global(view: memoryview) -> int:
    """Where a part of a global variable lies in this process; 0 for other memory."""
    import ctypes  # building a program needs neither

    from bombus.bpf.core import GLOBALS

    if not any(row.view._view.obj is view.obj for row in GLOBALS.values()):
        return 0
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


@cache
def _place(cls: Any, target: Any, node: str) -> Any:
    return type(cls.__name__, (cls,), {"TARGET": target, "NODE": node, "__module__": cls.__module__}, name=cls.C_NAME)


class Kptr(Place[S], name="kptr"):
    """A pointer in a map value to an object of the kernel or of the program, or None: `task: Kptr[task_struct]`."""

    opaque: u64

    def exchange(self, new: S | None) -> S | None:
        """Put an object in, which the program no longer owns then; returns what was there, which it owns now.
        (bpf_kptr_xchg)"""
        held = self._held()
        old = held.pop() if held else None
        if new is not None:
            held.append(new)
        return old

    def get(self) -> S | None:
        """What is there, to look at in a section of `bpf.rcu()`; the map value keeps it."""
        held = self._held()
        return held[-1] if held else None


class ListHead(Place[S], name="bpf_list_head"):
    """A list in a map value: `head: ListHead[Node] = contains("link")`."""

    _LINK: ClassVar[Any] = ListNode
    opaque: Array[u64] = array(2)

    def push_front(self, node: S) -> s32:
        """Put an element to the beginning; the list owns it then. (bpf_list_push_front_impl)"""
        self._held().insert(0, node)
        return s32(0)

    def push_back(self, node: S) -> s32:
        """Put an element to the end; the list owns it then. (bpf_list_push_back_impl)"""
        self._held().append(node)
        return s32(0)

    def pop_front(self) -> S | None:
        """Take the first element out, which the program owns then. (bpf_list_pop_front)"""
        held = self._held()
        return held.pop(0) if held else None

    def pop_back(self) -> S | None:
        """Take the last element out, which the program owns then. (bpf_list_pop_back)"""
        held = self._held()
        return held.pop() if held else None


class TreeRoot(Place[S], name="bpf_rb_root"):
    """A sorted tree in a map value: `root: TreeRoot[Node] = contains("link")`."""

    _LINK: ClassVar[Any] = TreeNode
    opaque: Array[u64] = array(2)

    def add(self, node: S, less: Callable[[S, S], bool]) -> s32:
        """Put an element where `less(node, other)` says; the tree owns it then. Equal ones come behind those that are
        there. (bpf_rbtree_add_impl)"""
        held = self._held()
        at = next((index for index, other in enumerate(held) if less(node, other)), len(held))
        held.insert(at, node)
        return s32(0)

    def first(self) -> S | None:
        """The least element, which the tree keeps: to look at while the lock is held, or to remove.
        (bpf_rbtree_first)"""
        held = self._held()
        return held[0] if held else None

    def remove(self, node: S) -> S | None:
        """Take an element out that `first` gave; the program owns it then. (bpf_rbtree_remove)"""
        held = self._held()
        for index, other in enumerate(held):
            if other is node:
                return held.pop(index)  # type: ignore[no-any-return]
        return None


def new(kind: type[S]) -> S | None:
    """An object of the program's own, zeroed, or None when there is no memory. (bpf_obj_new_impl, Linux 6.2)"""
    return kind()


def drop(object: Struct) -> None:
    """Give an object up. (bpf_obj_drop_impl)"""


def acquire(object: S) -> S | None:
    """A second owner of an object with a `RefCount`. (bpf_refcount_acquire_impl, Linux 6.4)"""
    return object


class Percpu(Generic[S]):
    """An object with contents of its own on each CPU."""

    def __init__(self, kind: type[S]) -> None:
        self._kind = kind
        self._values: dict[int, S] = {}

    def _on(self, cpu: int) -> S:
        return self._values.setdefault(cpu, self._kind())


class PercpuKptr(Place[S], name="percpu_kptr"):
    """A pointer in a map value to an object that each CPU has its own of, or None."""

    opaque: u64

    def exchange(self, new: Percpu[S] | None) -> Percpu[S] | None:
        """As `Kptr.exchange`, for what `bpf.percpu_new` gave."""
        held = self._held()
        old = held.pop() if held else None
        if new is not None:
            held.append(new)
        return old

    def get(self) -> Percpu[S] | None:
        """What is there; `bpf.this_cpu(...)` is the part of this CPU."""
        held = self._held()
        return held[-1] if held else None


def percpu_new(kind: type[S]) -> Percpu[S] | None:
    """An object that each CPU has its own of, or None when there is no memory. (bpf_percpu_obj_new_impl, Linux 6.6)"""
    return Percpu(kind)


def percpu_drop(object: Percpu[Any]) -> None:
    """Give it up. (bpf_percpu_obj_drop_impl)"""


def this_cpu(object: Percpu[S]) -> S:
    """The part of this CPU of what `PercpuKptr.get` gave. (bpf_this_cpu_ptr)"""
    return object._on(int(call(u32, 8)))


def per_cpu(object: Percpu[S], cpu: u32 | int) -> S | None:
    """The part of a CPU of what `PercpuKptr.get` gave; None when there is no such CPU. (bpf_per_cpu_ptr)"""
    return object._on(int(cpu)) if int(cpu) < machine().cpus else None
