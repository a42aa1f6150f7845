"""Which element an LRU map drops. Behaviour: Linux 6.12.117 kernel/bpf/bpf_lru_list.c.

Every CPU takes free nodes from a list of its own and keeps the elements it made in a pending list; only when its
free list is empty does it turn to the common lists: pending elements move to the active or the inactive list,
both are rotated a little, and the free list is refilled, from unused nodes if there are any, otherwise with
unreferenced elements from the inactive list's old end. With BPF_F_NO_COMMON_LRU each CPU has a share of the nodes
and active and inactive lists of its own, and no pending list.

Lists that only lose elements at any place and gain at the young end are dicts (old end first). The inactive list
has a cursor, so it is a ring.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from bombus.kernel.user.maps.slab import Slot
from bombus.kernel.user.maps.table import Element

FREE, LOCAL, PENDING, ACTIVE, INACTIVE = range(5)  # where a node is

_LOCAL_TARGET = 128
_LOCAL_SCANS = 128
_PER_CPU_TARGET = 4
_PER_CPU_SCANS = 4


class Node(Element):
    """An element that may be dropped. referenced: looked up or updated since it was last considered."""

    __slots__ = ("cpu", "older", "referenced", "where", "younger")

    def __init__(self, slot: Slot) -> None:
        super().__init__(b"", slot)
        self.where = FREE
        self.cpu = 0
        self.referenced = False
        self.older: Node = self
        self.younger: Node = self


class LruLists:
    """Free, active and inactive nodes. `unborn` nodes were never used and are made on demand."""

    __slots__ = ("active", "cursor", "drop", "free", "inactive", "inactive_count", "make", "scans", "unborn")

    def __init__(self, unborn: int, scans: int, make: Callable[[], Node], drop: Callable[[Node], None]) -> None:
        self.unborn = unborn
        self.scans = scans
        self.make = make
        self.drop = drop
        self.free: list[Node] = []
        self.active: dict[Node, None] = {}
        self.inactive = Node((0, memoryview(b"")))  # between newest and oldest: its `younger` is the oldest
        self.inactive_count = 0
        self.cursor = self.inactive  # where the next rotation of the inactive list starts

    def pop_unused(self) -> Node | None:
        if self.free:
            return self.free.pop()
        if self.unborn:
            self.unborn -= 1
            return self.make()
        return None

    def leave(self, node: Node) -> None:
        """Take a node out of the active or inactive list."""
        if node.where == ACTIVE:
            del self.active[node]
        elif node.where == INACTIVE:
            if node is self.cursor:
                self.cursor = node.younger
            node.older.younger = node.younger
            node.younger.older = node.older
            self.inactive_count -= 1

    def enter(self, node: Node, where: int) -> None:
        """Put a node that is in no list at the young end of one, its reference forgotten."""
        node.referenced = False
        node.where = where
        if where == ACTIVE:
            self.active[node] = None
        elif where == INACTIVE:
            head = self.inactive
            node.younger, node.older = head, head.older
            head.older.younger = node
            head.older = node
            self.inactive_count += 1
        else:
            self.free.append(node)

    def move(self, node: Node, where: int) -> None:
        self.leave(node)
        self.enter(node, where)

    def rotate(self) -> None:
        if self.inactive_count < len(self.active):
            for node in list(islice(self.active, self.scans)):
                self.move(node, ACTIVE if node.referenced else INACTIVE)
        self._rotate_inactive()

    def _rotate_inactive(self) -> None:
        head = self.inactive
        if head.younger is head:
            return
        last = self.cursor.older
        if last is head:
            last = head.older
        current = self.cursor
        following = head
        scanned = 0
        while scanned < self.scans:
            if current is head:
                current = head.younger
                continue
            following = current.younger
            if current.referenced:
                self.move(current, ACTIVE)
            if current is last:
                break
            current = following
            scanned += 1
        self.cursor = following

    def shrink(self, target: int) -> list[Node]:
        """Drop up to `target` unreferenced nodes from the old end; one node by force if there was none.

        The nodes are in no list afterwards.
        """
        found: list[Node] = []
        node = self.inactive.younger
        for _ in range(self.scans):
            if node is self.inactive:
                break
            following = node.younger
            if node.referenced:
                self.move(node, ACTIVE)
            else:
                self._drop(node, found)
                if len(found) == target:
                    break
            node = following
        if not found:
            node = self.inactive.younger
            if node is self.inactive and self.active:
                node = next(iter(self.active))
            if node is not self.inactive:
                self._drop(node, found)
        return found

    def _drop(self, node: Node, found: list[Node]) -> None:
        self.drop(node)
        self.leave(node)
        node.where = LOCAL
        found.append(node)


def local_target(entries: int, cpus: int) -> int:
    """How many free nodes a CPU takes from the common lists at a time."""
    return min(max(entries // cpus // 2, 1), _LOCAL_TARGET)


def shares(entries: int, cpus: int) -> list[int]:
    """How many nodes each CPU's own lists have."""
    share, rest = divmod(entries, cpus)
    counts = [share] * cpus
    counts[-1] += 0 if share else rest
    return counts


class _Local:
    """One CPU's free and pending nodes."""

    __slots__ = ("free", "pending", "steal")

    def __init__(self, cpu: int) -> None:
        self.free: list[Node] = []
        self.pending: dict[Node, None] = {}
        self.steal = cpu


class CommonLru:
    """Lists shared by all CPUs. `drop` removes a node from the map."""

    __slots__ = ("_drop", "_lists", "_local", "_target")

    def __init__(self, entries: int, cpus: int, make: Callable[[], Node], drop: Callable[[Node], None]) -> None:
        self._lists = LruLists(entries, _LOCAL_SCANS, make, drop)
        self._local = [_Local(cpu) for cpu in range(cpus)]
        self._target = local_target(entries, cpus)
        self._drop = drop

    def pop(self, cpu: int) -> Node | None:
        """A node for a new element, which is pending on that CPU from now on."""
        local = self._local[cpu]
        if not local.free:
            self._refill(local)
        node = local.free.pop() if local.free else self._steal(local)
        if node is not None:
            node.cpu = cpu
            node.where = PENDING
            node.referenced = False
            local.pending[node] = None
        return node

    def _refill(self, local: _Local) -> None:
        lists = self._lists
        for node in local.pending:
            lists.enter(node, ACTIVE if node.referenced else INACTIVE)
        local.pending.clear()
        lists.rotate()
        while len(local.free) < self._target:
            unused = lists.pop_unused()
            if unused is None:
                break
            unused.where = LOCAL
            local.free.append(unused)
        if len(local.free) < self._target:
            local.free += lists.shrink(self._target - len(local.free))

    def _steal(self, local: _Local) -> Node | None:
        first = local.steal
        node = None
        while True:
            victim = self._local[local.steal]
            node = victim.free.pop() if victim.free else self._pop_pending(victim)
            local.steal = (local.steal + 1) % len(self._local)
            if node is not None or local.steal == first:
                return node

    def _pop_pending(self, local: _Local) -> Node | None:
        node = next((n for n in local.pending if not n.referenced), None) or next(iter(local.pending), None)
        if node is not None:
            del local.pending[node]
            self._drop(node)
        return node

    def push(self, node: Node) -> None:
        """Give a node back whose element was removed."""
        if node.where == PENDING:
            local = self._local[node.cpu]
            del local.pending[node]
            node.where = LOCAL
            node.referenced = False
            local.free.append(node)
        else:
            self._lists.move(node, FREE)


class PerCpuLru:
    """Lists of its own for every CPU (BPF_F_NO_COMMON_LRU)."""

    __slots__ = ("_lists",)

    def __init__(self, entries: int, cpus: int, make: Callable[[], Node], drop: Callable[[Node], None]) -> None:
        self._lists = [LruLists(count, _PER_CPU_SCANS, make, drop) for count in shares(entries, cpus)]

    def pop(self, cpu: int) -> Node | None:
        lists = self._lists[cpu]
        lists.rotate()
        node = lists.pop_unused()
        if node is None:
            for dropped in lists.shrink(_PER_CPU_TARGET):
                lists.enter(dropped, FREE)
            node = lists.pop_unused()
        if node is not None:
            node.cpu = cpu
            lists.enter(node, INACTIVE)
        return node

    def push(self, node: Node) -> None:
        self._lists[node.cpu].move(node, FREE)
