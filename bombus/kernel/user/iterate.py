"""Iterator programs: their links, BPF_ITER_CREATE, and runs over what the user kernel has.

Linux 6.12 kernel/bpf/bpf_iter.c (bpf_iter_link_attach, bpf_seq_read, bpf_iter_run_prog), kernel/bpf/task_iter.c.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol

from bombus.errors import KernelError, NotSupported
from bombus.kernel.user.commands import command
from bombus.kernel.user.hooks.testrun import repeat
from bombus.kernel.user.iterobjects import ById, Elements, map_of
from bombus.kernel.user.objects import KernelObject
from bombus.kernel.user.seqfile import SeqFile
from bombus.kernel.user.userlink import UserLink
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.objects import objects_of
from bombus.spec.iterators import ITERATOR

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.world.world import Task

CALL: Final = "BPF_LINK_CREATE"
LINK_INFO: Final = 16  # sizeof(union bpf_iter_link_info)
_MAX_OBJECTS: Final = 1_000_000  # MAX_ITER_OBJECTS
_sessions = count(1)

Found = tuple[int, tuple[int, ...]]


class Source(Protocol):
    """Objects one after the other. stop: what the context has behind `meta` in the last run."""

    stop: tuple[int, ...]

    def __call__(self, position: int) -> Found | None:
        """Where the first object at or after a position is, and what the context has of it behind `meta`."""

    def close(self) -> None: ...


class Target(NamedTuple):
    """What programs iterate over. bind: members of bpf_link_info, and what the link keeps, from union
    bpf_iter_link_info; open: a source, from the same and what is kept."""

    bind: Callable[[UserKernel, bytes], tuple[dict[str, int], KernelObject | None]]
    open: Callable[[UserKernel, bytes, Any], Source]


def _nothing(kernel: UserKernel, info: bytes) -> tuple[dict[str, int], KernelObject | None]:
    return {}, None


def _task(kernel: UserKernel, info: bytes) -> tuple[dict[str, int], KernelObject | None]:
    """bpf_iter_attach_task: one of thread, process, descriptor of a process."""
    tid, pid, pid_fd = struct.unpack_from("<III", info)
    if bool(tid) + bool(pid) + bool(pid_fd) > 1:
        raise KernelError(errno.EINVAL, CALL, "tid, pid and pid_fd exclude each other")
    if pid_fd:
        raise NotSupported("iterators over the process of a pidfd", "the user kernel has no pidfds; give its pid")
    return {"iter_task_tid": tid, "iter_task_pid": pid}, None


class Tasks:
    """By rising pid (task_seq_get_next)."""

    stop: tuple[int, ...] = (0,)

    def __init__(self, kernel: UserKernel, info: bytes) -> None:
        self._tid, self._pid, _ = struct.unpack_from("<III", info)
        self._objects = objects_of(kernel)

    def _wanted(self, task: Task) -> bool:
        return (not self._tid or task.pid == self._tid) and (not self._pid or task.tgid == self._pid)

    def __call__(self, position: int) -> Found | None:
        later = [task for task in self._objects.tasks() if task.pid >= max(position, 1) and self._wanted(task)]
        if not later:
            return None
        task = min(later, key=lambda one: one.pid)
        return task.pid, (self._objects.task(task),)

    def close(self) -> None:
        """Tasks are the world's."""


TARGETS: Final = {
    "task": Target(_task, lambda kernel, info, kept: Tasks(kernel, info)),
    "bpf_map": Target(_nothing, lambda kernel, info, kept: ById(kernel, "map")),
    "bpf_prog": Target(_nothing, lambda kernel, info, kept: ById(kernel, "prog")),
    "bpf_link": Target(_nothing, lambda kernel, info, kept: ById(kernel, "link")),
    "bpf_map_elem": Target(map_of, lambda kernel, info, kept: Elements(kernel, kept)),
}


def target_of(name: str) -> Target:
    """NotSupported for what the user kernel has nothing of."""
    found = TARGETS.get(name)
    if found is None:
        raise NotSupported(f"iterators over {name}", f"the user kernel iterates over {', '.join(TARGETS)}")
    return found


class IterRun(KernelObject):
    """One open iterator, as a descriptor of BPF_ITER_CREATE has it. run: the program on a context's address."""

    kind: ClassVar[str] = "iter"

    __slots__ = ("_close", "_ctx", "_done", "_kept", "_kernel", "_meta", "_position", "_run", "_seq", "_seq_num",
                 "_session", "_source")  # fmt: skip

    def __init__(
        self, kernel: UserKernel, target: Target, info: bytes, run: Callable[[int], int],
        close: Callable[[], None] | None = None, kept: KernelObject | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        objects = objects_of(kernel)
        self._kernel = kernel
        self._run = run
        self._close = close
        self._kept = kept
        if kept is not None:
            kept.get()
        self._source = target.open(kernel, info, kept)
        self._seq = SeqFile(objects.new("seq_file"))
        self._meta = objects.new("bpf_iter_meta")
        self._meta.set("seq", self._seq.address)
        self._ctx = kernel.memory.allocate(8 * (1 + len(self._source.stop)), name="the context", kind="ctx")
        self._session = next(_sessions)
        self._position = 0
        self._seq_num = 0
        self._done = False
        world_of(kernel).contexts[self._seq.address] = self._seq

    def release(self) -> None:
        del world_of(self._kernel).contexts[self._seq.address]
        self._kernel.memory.remove(self._ctx)
        self._meta.close()
        self._seq.close()
        self._source.close()
        if self._kept is not None:
            self._kept.put()
        if self._close is not None:
            self._close()

    def read(self, size: int) -> bytes:
        """The next bytes; b"" at the end. KernelError(E2BIG) for an object whose output is more than the buffer,
        KernelError(EAGAIN) where the program asks for another try."""
        seq = self._seq
        if seq.count:
            return seq.take(size)
        found = self._source(self._position)
        seen = 0
        while found is not None:
            self._position = found[0]
            before = seq.count
            retval = self._show(found[1])
            if retval or seq.overflowed:
                seq.rewind(before)
                if not before:
                    raise self._refused(retval)
                return seq.take(size)
            seen += 1
            found = self._source(self._position + 1)
            self._seq_num += found is not None
            self._position = found[0] if found is not None else self._position + 1
            if found is not None and (seq.count >= size or seen >= _MAX_OBJECTS):
                if not seq.count:
                    raise KernelError(errno.EAGAIN, "read", f"{seen} objects without output")
                return seq.take(size)
        if not self._done:
            self._stop()
        return seq.take(size)

    def _stop(self) -> None:
        """The last run, with nothing in the context."""
        before = self._seq.count
        self._show(self._source.stop)
        if not self._seq.overflowed:
            self._done = True
            return
        self._seq.rewind(before)
        if not before:
            raise self._refused(0)

    def _show(self, words: tuple[int, ...]) -> int:
        self._meta.set("session_id", self._session)
        self._meta.set("seq_num", self._seq_num)
        self._ctx.view[:] = struct.pack(f"<{1 + len(words)}Q", self._meta.address, *words)
        return self._run(self._ctx.start)

    def _refused(self, retval: int) -> KernelError:
        if retval:
            return KernelError(errno.EAGAIN, "read", "the program asks for another try")
        return KernelError(errno.E2BIG, "read", "the program writes more for one object than the buffer holds")


class IterLink(UserLink):
    """What BPF_ITER_CREATE opens."""

    __slots__ = ("info", "kept", "target")

    def __init__(self, kernel: UserKernel, prog: Prog, target: str, info: bytes) -> None:
        facts, self.kept = target_of(target).bind(kernel, info)
        super().__init__(kernel, "iter", prog, facts, name=("iter_target_name", target))
        self.target = target
        self.info = info
        if self.kept is not None:
            self.kept.get()

    def release(self) -> None:
        super().release()
        if self.kept is not None:
            self.kept.put()


def create_link(kernel: UserKernel, attr: Attr, prog: Prog) -> UserLink:
    if attr.get("target_fd") or attr.get("flags"):
        raise KernelError(errno.EINVAL, CALL, "iterators have no target_fd and no flags: iter_info says it")
    address, size = attr.get("iter_info"), attr.get("iter_info_len")
    if bool(address) != bool(size):
        raise KernelError(errno.EINVAL, CALL, "iter_info and iter_info_len do not fit together")
    data = attr.read(address, size) if size else b""
    if any(data[LINK_INFO:]):
        raise KernelError(errno.E2BIG, CALL, f"bytes of iter_info after {LINK_INFO} are not zero")
    name = kernel.function_name(prog.attach_btf_id).removeprefix("bpf_iter_")
    if name not in ITERATOR:
        raise KernelError(errno.ENOENT, CALL, "the program is for no iterator that there is")
    link = IterLink(kernel, prog, name, data[:LINK_INFO].ljust(LINK_INFO, b"\0"))

    def change(new: Prog) -> None:
        if new.attach_btf_id != link.prog.attach_btf_id:
            raise KernelError(errno.EINVAL, "BPF_LINK_UPDATE", "the new program is for another iterator")

    link.change = change
    return link


@command("BPF_ITER_CREATE")
def iter_create(kernel: UserKernel, attr: Attr) -> int:
    call = "BPF_ITER_CREATE"
    if attr.get("flags"):
        raise KernelError(errno.EINVAL, call, f"flags {attr.get('flags'):#x}")
    link = kernel.object(call, attr.get("link_fd"), "link")
    if not isinstance(link, IterLink):
        raise KernelError(errno.EINVAL, call, f"a {link.row.short} link is no iterator")  # type: ignore[attr-defined]
    prog = link.prog
    prog.get()
    made = IterRun(kernel, target_of(link.target), link.info, lambda ctx: repeat(prog, ctx, 1)[0], prog.put,
                   link.kept)  # fmt: skip
    return kernel.install(made, call, writable=False)
