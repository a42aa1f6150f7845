"""Attachments without a bpf_link: what netlink, setsockopt, BPF_PROG_ATTACH and old kernels make.

They have the methods of `Link`. Nothing in the kernel undoes them when their process dies; here they are undone by
`close`, at the end of a `with`, when the object is collected, when the interpreter exits, and by another process when
this one is killed (kernel/linux/guard.py).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bombus.errors import NotSupported, UsageError

if TYPE_CHECKING:
    from bombus.kernel.handles.programs import Program
    from bombus.kernel.sites import Watch


class Attachment:
    """One attachment. type: what made it ("xdp netlink", "clsact", ...). undo: what takes it away again.

    change: exchanges the program (new, expected), and returns the id that is there then where that is another one;
    without one `update` is not supported.
    facts: where it is, for `info`. watch: what undoes it should this process be killed.
    """

    kind = "attachment"

    def __init__(
        self, type: str, undo: Callable[[], None], *, facts: Mapping[str, Any],
        change: Callable[[Program, Program | None], int | None] | None = None, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        self.type = type
        self._facts = dict(facts)
        self._change = change
        self._watch = watch
        if watch is not None:
            undo = _then(undo, watch)
        self._finalizer = weakref.finalize(self, _quietly, undo, os.getpid())
        self._undo = undo

    @property
    def closed(self) -> bool:
        return not self._finalizer.alive

    def close(self) -> None:
        """Detach, once. KernelError when the kernel refuses it."""
        if self._finalizer.detach() is not None:
            self._undo()

    def detach(self) -> None:
        self.close()

    def keep(self) -> None:
        """Leave the program attached for good: nothing undoes it any more."""
        if self._finalizer.alive and self._watch is not None:
            self._watch.forget()
        self._finalizer.detach()

    def update(self, program: Program, *, old: Program | None = None) -> None:
        """Exchange the program. old: refuse unless this one is attached now (where the hook can tell)."""
        if self.closed:
            raise UsageError("this attachment is gone")
        if self._change is None:
            raise NotSupported(f"exchanging the program of a {self.type} attachment")
        number = self._change(program, old)
        if "prog_id" in self._facts:
            self._facts["prog_id"] = program.id if number is None else number

    def pin(self, path: str | os.PathLike[str]) -> None:
        raise NotSupported(f"pinning a {self.type} attachment", "only links can be pinned; `keep` leaves it attached")

    def info(self) -> Mapping[str, Any]:
        return dict(self._facts)

    @property
    def prog_id(self) -> int:
        return int(self._facts.get("prog_id", 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "detached" if self.closed else ", ".join(f"{k}={v}" for k, v in self._facts.items())
        return f"<Attachment {self.type} {state}>"


class Group:
    """Several links that belong together, as one: a USDT with many places, a whole object."""

    kind = "group"

    def __init__(self, links: list[Any], type: str = "group") -> None:
        self.links = links
        self.type = type

    def close(self) -> None:
        """Detach all, the last one first. The first error is raised when all were tried."""
        failed: Exception | None = None
        while self.links:
            try:
                self.links.pop().close()
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise failed

    detach = close

    @property
    def closed(self) -> bool:
        return not self.links

    def update(self, program: Program, *, old: Program | None = None) -> None:
        for link in self.links:
            link.update(program, old=old)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Pin each link, as path-0, path-1, ... when there are several."""
        if len(self.links) == 1:
            self.links[0].pin(path)
            return
        for number, link in enumerate(self.links):
            link.pin(f"{os.fspath(path)}-{number}")

    def info(self) -> Mapping[str, Any]:
        return {"type": self.type, "links": [link.info() for link in self.links]}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.links)


def _then(undo: Callable[[], None], watch: Watch) -> Callable[[], None]:
    def both() -> None:
        undo()
        watch.forget()

    return both


def _quietly(undo: Callable[[], None], owner: int) -> None:
    """What the garbage collector calls: errors have no one to go to, and a forked child must not undo."""
    if os.getpid() == owner:
        try:
            undo()
        except Exception:
            return
