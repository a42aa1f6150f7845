"""Lists of programs at a hook, in order. Linux 6.12 kernel/bpf/mprog.c."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bombus.errors import KernelError

if TYPE_CHECKING:
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.userlink import UserLink

F_ALLOW_OVERRIDE, F_ALLOW_MULTI, F_REPLACE, F_BEFORE, F_AFTER, F_ID, F_PREORDER, F_LINK = (
    1, 2, 4, 8, 16, 32, 64, 1 << 13
)  # fmt: skip
MAX_PROGS = 64


@dataclass(slots=True)
class Entry:
    """A program at a hook, by a link or (link None) by BPF_PROG_ATTACH."""

    prog: Prog
    link: UserLink | None = None


class Chain:
    """Programs of one hook in the order in which they run. forgets: an empty list starts at revision 1 again (tcx)."""

    __slots__ = ("entries", "forgets", "revision")

    def __init__(self, *, forgets: bool = False) -> None:
        self.entries: list[Entry] = []
        self.revision = 1
        self.forgets = forgets

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, prog: Prog | None, link: UserLink | None) -> int:
        """The place of a link, or of a program that no link holds. -1 when it is not there."""
        for at, entry in enumerate(self.entries):
            if (link is not None and entry.link is link) or (link is None and entry.prog is prog and not entry.link):
                return at
        return -1

    def insert(
        self, call: str, entry: Entry, flags: int, relative: Prog | UserLink | None, revision: int,
        replace: Prog | None = None, *, unique: bool = True,
    ) -> Entry | None:  # fmt: skip
        """Attach. Returns the entry that it replaced. KernelError as bpf_mprog_attach.

        unique: a program is there once at most (cgroups take it again by another link).
        """
        if revision and revision != self.revision:
            raise KernelError(errno.ESTALE, call, f"the list is at revision {self.revision}, not {revision}")
        if unique and any(e.prog is entry.prog for e in self.entries):
            raise KernelError(errno.EEXIST, call, "the program is attached there already")
        if flags & F_REPLACE:
            at = self.find(replace, None)
            if at < 0:
                raise KernelError(errno.ENOENT, call, "the program to replace is not attached there")
            old, self.entries[at] = self.entries[at], entry
            self.revision += 1
            return old
        at = len(self.entries)
        if flags & (F_BEFORE | F_AFTER):
            if flags & F_BEFORE and flags & F_AFTER:
                raise KernelError(errno.EINVAL, call, "before and after")
            if relative is None:
                at = 0 if flags & F_BEFORE else at
            else:
                at = self._place(call, relative) + (0 if flags & F_BEFORE else 1)
        elif relative is not None:
            raise KernelError(errno.EINVAL, call, "a relative program goes with BPF_F_BEFORE or BPF_F_AFTER")
        if len(self.entries) >= MAX_PROGS:
            raise KernelError(errno.ERANGE, call, f"there are {MAX_PROGS} programs already")
        self.entries.insert(at, entry)
        self.revision += 1
        return None

    def _place(self, call: str, relative: Prog | UserLink) -> int:
        for at, entry in enumerate(self.entries):
            if entry.link is relative or (entry.prog is relative and relative.kind == "prog"):
                return at
        raise KernelError(errno.ENOENT, call, "the relative program is not attached there")

    def remove(self, call: str, prog: Prog | None, link: UserLink | None) -> Entry:
        at = self.find(prog, link)
        if at < 0:
            if self.forgets and any(entry.prog is prog for entry in self.entries):
                raise KernelError(errno.EBUSY, call, "a link holds the program there")
            raise KernelError(errno.ENOENT, call, "the program is not attached there")
        found = self.entries.pop(at)
        self.revision = 1 if self.forgets and not self.entries else self.revision + 1
        return found
