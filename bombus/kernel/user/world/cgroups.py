"""Control groups: a tree of directories with programs. Linux 6.12 kernel/bpf/cgroup.c."""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bombus.bits import s32
from bombus.errors import KernelError
from bombus.kernel.user.chain import F_ALLOW_MULTI, F_ALLOW_OVERRIDE, F_PREORDER, Chain
from bombus.kernel.user.maps.storage import CgroupStorageMap, storages
from bombus.kernel.user.objects import KernelObject
from bombus.kernel.user.world import world_of

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

KIND = 0xFF  # of a key of `chains`: the attach type; above it what security hooks differ in
MOUNT_POINTS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")


class Cgroup(KernelObject):
    """One directory. `chains` by attach type's number, of security hooks with the hook's number above it; `modes`:
    their override and multi flags."""

    kind: ClassVar[str] = "cgroup"

    __slots__ = ("chains", "modes", "number", "parent", "path")

    def __init__(self, path: str, parent: Cgroup | None, number: int) -> None:
        super().__init__()
        self.path = path
        self.parent = parent
        self.number = number
        self.chains: dict[int, Chain] = {}
        self.modes: dict[int, int] = {}

    def chain(self, attach_type: int) -> Chain:
        return self.chains.setdefault(attach_type, Chain())

    def up(self) -> Iterator[Cgroup]:
        """This one and those above, up to the root."""
        at: Cgroup | None = self
        while at is not None:
            yield at
            at = at.parent

    def effective(self, attach_type: int) -> list[Attached]:
        """Programs that run for sockets of this cgroup, in order (compute_effective_progs)."""
        found: list[Attached] = []
        for group in self.up():
            chain = group.chains.get(attach_type)
            if chain is not None and (not found or group.modes.get(attach_type, 0) & F_ALLOW_MULTI):
                found += [Attached(entry.prog, group.number, attach_type & KIND) for entry in chain.entries]
        return found

    def provide_storage(self, prog: Prog, attach_type: int) -> None:
        """A program that is attached here has its storages from now on, until the cgroup goes or the map
        (bpf_cgroup_storages_alloc)."""
        for item in storages(prog):
            item.get_value(item.key_of(self.number, attach_type), create=True)

    def may_attach(self, attach_type: int) -> bool:
        """hierarchy_allows_attach: a cgroup above may forbid programs below, or allow to override its own."""
        for group in list(self.up())[1:]:
            mode = group.modes.get(attach_type, 0)
            if mode & F_ALLOW_MULTI:
                return True
            if len(group.chains.get(attach_type, ())):
                return bool(mode & F_ALLOW_OVERRIDE)
        return True


@dataclass(frozen=True, slots=True)
class Attached:
    """A program with where it is attached: the number of its cgroup, and the attach type's."""

    prog: Prog
    cgroup: int
    attach_type: int

    def run(self, ctx: int) -> int:
        """r0; bpf_get_local_storage gives what the cgroup has for this program."""
        world = world_of(self.prog.kernel)
        before, world.attached_to = world.attached_to, (self.cgroup, self.attach_type)
        try:
            return self.prog.compiled.run(ctx)
        finally:
            world.attached_to = before


def run_programs(kernel: UserKernel, programs: list[Attached], ctx: int) -> int:
    """bpf_prog_run_array_cg: all run; 0, or what one of them chose: an errno, negative, or any other number."""
    world = world_of(kernel)
    world.retval = 0
    for one in programs:
        if not one.run(ctx) & 1 and s32(world.retval) >= 0:
            world.retval = -errno.EPERM
    result, world.retval = s32(world.retval), 0
    return result


def check_flags(call: str, flags: int) -> None:
    if flags & F_ALLOW_OVERRIDE and flags & F_ALLOW_MULTI:
        raise KernelError(errno.EINVAL, call, "override and multi exclude each other")
    if flags & F_PREORDER:
        raise KernelError(errno.EINVAL, call, "preorder came with Linux 6.16; the user kernel does not have it")


class CgroupTree:
    """The cgroup2 hierarchy; paths begin at its root ("/web") or at where Linux mounts it."""

    __slots__ = ("_by_path", "_kernel", "_next")

    def __init__(self, kernel: UserKernel) -> None:
        self._kernel = kernel
        self._by_path = {"/": Cgroup("/", None, 1)}
        self._next = 2

    def _path(self, path: str) -> str:
        for mount in MOUNT_POINTS:
            if path == mount or path.startswith(mount + "/"):
                path = path[len(mount) :]
                break
        return posixpath.normpath("/" + path.strip("/"))

    @property
    def root(self) -> Cgroup:
        return self._by_path["/"]

    def mkdir(self, path: str) -> Cgroup:
        """KernelError(EEXIST, ENOENT) as mkdir(2)."""
        path = self._path(path)
        if path in self._by_path:
            raise KernelError(errno.EEXIST, "mkdir", path)
        parent = self._by_path.get(posixpath.dirname(path))
        if parent is None:
            raise KernelError(errno.ENOENT, "mkdir", f"{posixpath.dirname(path)} does not exist")
        made = self._by_path[path] = Cgroup(path, parent, self._next)
        self._next += 1
        return made

    def rmdir(self, path: str) -> None:
        """KernelError(ENOENT, EBUSY). Programs there are detached."""
        path = self._path(path)
        group = self.find(path)
        if path == "/" or any(other.parent is group for other in self._by_path.values()):
            raise KernelError(errno.EBUSY, "rmdir", path)
        del self._by_path[path]
        for item in self._kernel.ids["map"]:
            if isinstance(item, CgroupStorageMap):
                item.forget(group.number)
        for chain in group.chains.values():
            for entry in list(chain.entries):
                if entry.link is not None:
                    entry.link.detach()
                else:
                    chain.entries.remove(entry)
                    entry.prog.put()
        group.put()

    def numbered(self, number: int) -> Cgroup:
        """The cgroup with a number; the root when there is none."""
        return next((group for group in self._by_path.values() if group.number == number), self.root)

    def has(self, key: int) -> bool:
        """Whether a program is attached under a key of `Cgroup.chains` anywhere."""
        return any(len(group.chains.get(key, ())) for group in self._by_path.values())

    def find(self, path: str) -> Cgroup:
        group = self._by_path.get(self._path(path))
        if group is None:
            raise KernelError(errno.ENOENT, "open", f"there is no cgroup {path}")
        return group
