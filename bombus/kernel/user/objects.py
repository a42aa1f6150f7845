"""What descriptors, pins and programs refer to: counted objects with ids."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel

ID_MAX = 0x7FFF_FFFF  # ids are positive ints. Linux 6.12 kernel/bpf/syscall.c: bpf_map_alloc_id (INT_MAX)


class KernelObject:
    """A map, program, link, BTF, ...: lives while something refers to it.

    It is born with one reference, which belongs to its maker. `user_refs` counts only descriptors and pins, as
    bpf_map.usercnt does. Subclasses override `release` (the last reference went) and `release_user` (the last
    descriptor or pin went).
    """

    kind: ClassVar[str] = ""  # "map", "prog", "link", "btf", ...

    __slots__ = ("id", "refs", "user_refs")

    def __init__(self) -> None:
        self.id = 0
        self.refs = 1
        self.user_refs = 0

    def get(self) -> None:
        """One more reference (from a program, a link, an outer map)."""
        self.refs += 1

    def put(self) -> None:
        """One reference less; the last one ends the object."""
        self.refs -= 1
        if self.refs == 0:
            self.release()

    def get_user(self) -> None:
        """One more descriptor or pin."""
        self.refs += 1
        self.user_refs += 1

    def put_user(self) -> None:
        self.user_refs -= 1
        if self.user_refs == 0:
            self.release_user()
        self.put()

    def closed(self, file: File) -> None:
        """One of the object's descriptors is closing."""

    def release_user(self) -> None:
        """The last descriptor or pin is gone, programs may still refer to the object."""

    def release(self) -> None:
        """Nothing refers to the object any more."""


class Opened(KernelObject):
    """An object whose user holds one descriptor of it: `fd`, -1 when it is closed."""

    __slots__ = ("fd", "kernel")

    def __init__(self, kernel: UserKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.fd = -1

    def fileno(self) -> int:
        return self.fd

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            self.kernel.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Ids:
    """The ids of one kind of object: they grow and are not used again, as idr_alloc_cyclic does."""

    __slots__ = ("_by_id", "_next", "_order")

    def __init__(self) -> None:
        self._next = 1
        self._by_id: dict[int, KernelObject] = {}
        self._order: list[int] = []

    def add(self, item: KernelObject) -> int:
        item.id = self._next
        self._next += 1
        self._by_id[item.id] = item
        self._order.append(item.id)
        return item.id

    def remove(self, item: KernelObject) -> None:
        """Forget an object. Nothing happens when it was never added."""
        if self._by_id.pop(item.id, None) is not None:
            del self._order[bisect_right(self._order, item.id) - 1]

    def find(self, number: int) -> KernelObject | None:
        return self._by_id.get(number)

    def __iter__(self) -> Iterator[KernelObject]:
        return iter(list(self._by_id.values()))

    def after(self, number: int) -> int | None:
        """The smallest id above a number, None when there is none."""
        at = bisect_right(self._order, number)
        return self._order[at] if at < len(self._order) else None

    def __len__(self) -> int:
        return len(self._by_id)
