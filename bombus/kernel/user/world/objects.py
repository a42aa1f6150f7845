"""Kernel objects that programs see through typed pointers: memory laid out by the kernel's BTF.

A pretended kernel has none of its own. Here are made: the tasks of the world, as far as its `Task` knows them, and
what a caller wants (`UserKernel.new_object`). Members that nobody set are 0, which a null pointer is, too; loads
through typed pointers that lead nowhere give 0, as Linux' loads with exception tables do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from bombus.btf.query import Field
from bombus.btf.types import Array, Kind
from bombus.errors import NotSupported, UsageError
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.world import Task

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.vm.memory import Region

_INIT = Task(1, 1, 0, 0, b"init")
_SWAPPER = Task(0, 0, 0, 0, b"swapper/0")


class KernelStruct(Protocol):
    """One object of a kernel struct: `address` is what programs get."""

    @property
    def address(self) -> int: ...

    def has(self, path: str) -> bool:
        """Has the kernel such a member?"""

    def set(self, path: str, value: int | bytes) -> None:
        """Give a member a number, or its bytes."""

    def close(self) -> None: ...


Maker = Callable[[str], KernelStruct]
"""Makes an object of the struct with a name."""


class TypedObject:
    """One object of a kernel struct. `address` is what programs get. Live until `close`."""

    __slots__ = ("_kernel", "_region", "struct", "type_id")

    def __init__(self, kernel: UserKernel, struct: str) -> None:
        types = kernel.types()
        if types is None:
            raise NotSupported(f"objects of struct {struct}", "the user kernel has no types: UserKernel(btf=...)")
        found = types.find(struct, Kind.STRUCT)
        if found is None:
            raise UsageError(f"this kernel's BTF has no struct {struct}")
        self._kernel = kernel
        self.struct = struct
        self.type_id = found
        self._region: Region = kernel.memory.allocate(
            types.size_of(found), name=f"struct {struct}", kind="btf", writable=True
        )

    @property
    def address(self) -> int:
        return self._region.start

    def has(self, path: str) -> bool:
        types = self._kernel.types()
        assert types is not None
        return types.member(self.type_id, path) is not None

    def _place(self, path: str) -> tuple[Field, int, int]:
        types = self._kernel.types()
        assert types is not None
        field = types.field(self.type_id, path)
        return field, field.offset // 8, types.size_of(field.type)

    def set(self, path: str, value: int | bytes) -> None:
        """Give a member ("pid", "cred.uid.val") a number, or its bytes (padded with zeros). BtfError, UsageError."""
        field, at, size = self._place(path)
        if field.bits:
            self._set_bits(path, field, value)
            return
        if isinstance(value, int):
            if not -(1 << 8 * size - 1) <= value < 1 << 8 * size:
                raise UsageError(f"{value} does not fit the {size} bytes of {path!r}")
            value = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        if len(value) > size:
            raise UsageError(f"{len(value)} bytes do not fit the {size} of {path!r}")
        self._region.view[at : at + size] = value.ljust(size, b"\0")

    def _set_bits(self, path: str, field: Field, value: int | bytes) -> None:
        if not isinstance(value, int) or not 0 <= value < 1 << field.bits:
            raise UsageError(f"{value!r} does not fit the {field.bits} bits of {path!r}")
        first, last = field.offset // 8, (field.offset + field.bits + 7) // 8
        shift = field.offset - 8 * first
        whole = int.from_bytes(self._region.view[first:last], "little")
        whole = whole & ~(((1 << field.bits) - 1) << shift) | value << shift
        self._region.view[first:last] = whole.to_bytes(last - first, "little")

    def get(self, path: str) -> int | bytes:
        """A member: the bytes of an array, else an unsigned number."""
        field, at, size = self._place(path)
        if field.bits:
            whole = int.from_bytes(self._region.view, "little")
            return whole >> field.offset & (1 << field.bits) - 1
        data = bytes(self._region.view[at : at + size])
        types = self._kernel.types()
        assert types is not None
        return data if isinstance(types.resolved(field.type), Array) else int.from_bytes(data, "little")

    def close(self) -> None:
        self._kernel.memory.remove(self._region)


class Objects:
    """The objects of one kernel: its tasks, each made when it is first asked for, and what `new` makes."""

    __slots__ = ("_by_address", "_kernel", "_make", "_tasks")

    def __init__(self, kernel: UserKernel, make: Maker | None = None) -> None:
        self._kernel = kernel
        self._make = make or (lambda struct: TypedObject(kernel, struct))
        self._tasks: dict[int, tuple[Task, KernelStruct]] = {}  # by id() of the task, which is kept
        self._by_address: dict[int, Task] = {}

    def new(self, struct: str) -> KernelStruct:
        """A kernel struct, all zero."""
        return self._make(struct)

    def task(self, task: Task) -> int:
        """The address of a task's struct, with what the world knows of it now."""
        kept = self._tasks.get(id(task))
        if kept is None:
            kept = self._tasks[id(task)] = (task, self._make("task_struct"))
            self._by_address[kept[1].address] = task
        made = kept[1]
        for path, value in (
            ("pid", task.pid), ("tgid", task.tgid), ("comm", task.comm[:15]), ("exit_code", task.exit_code),
            ("start_time", task.start_time), ("start_boottime", task.start_time),
        ):  # fmt: skip
            if made.has(path):
                made.set(path, value)
        parent = made.address if task is _SWAPPER else self.task(task.parent or _parent(task))
        for path in ("real_parent", "parent"):
            made.set(path, parent)
        made.set("group_leader", made.address if task.pid == task.tgid else self._leader(task) or made.address)
        return made.address

    def _leader(self, task: Task) -> int:
        found = next((other for other in self.tasks() if other.pid == task.tgid), None)
        return 0 if found is None else self.task(found)

    def task_at(self, address: int) -> Task | None:
        """The task whose struct lies at an address."""
        return self._by_address.get(address)

    def tasks(self) -> list[Task]:
        """All tasks that there are: the current one and those above it, the oldest first, then the world's others."""
        found: list[Task] = []
        world = world_of(self._kernel)
        task = world.task
        while task is not _SWAPPER:
            found.append(task)
            task = task.parent or _parent(task)
        return [*found[::-1], *world.tasks]


def _parent(task: Task) -> Task:
    return _SWAPPER if task.pid == _INIT.pid else _INIT


_OBJECTS: WeakKeyDictionary[UserKernel, Objects] = WeakKeyDictionary()


def objects_of(kernel: UserKernel) -> Objects:
    """Those of a kernel; laid out by its BTF unless `set_maker` said otherwise."""
    found = _OBJECTS.get(kernel)
    if found is None:
        found = _OBJECTS[kernel] = Objects(kernel)
    return found


def set_maker(kernel: UserKernel, make: Maker) -> None:
    """Have another maker of kernel structs for a kernel. Before programs run."""
    _OBJECTS[kernel] = Objects(kernel, make)
