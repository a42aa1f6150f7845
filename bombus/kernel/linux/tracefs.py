"""The trace file system: where it is, its events, and probes made by writing to it.

Facts: Documentation/trace/kprobetrace.rst, uprobetracer.rst; Linux 6.12 tools/lib/bpf/libbpf.c
(perf_event_kprobe_open_legacy, determine_tracepoint_id).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from bombus.errors import KernelError, NotSupported
from bombus.kernel.linux.syscall import libc
from bombus.kernel.sites import NoWatch, Watch

ROOTS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
# include/uapi/linux/mount.h; the numbers of these calls are the same on every architecture
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
Watching = Callable[..., Watch]  # `Sites.watch`
_COUNTER = itertools.count()
_GROUP = "bombus"
_PID_NAMESPACE = "/proc/self/ns/pid"


def private_mount() -> int:
    """A descriptor of a tracefs mount that is in no directory tree: nothing on the machine changes.

    NotSupported without the right or before Linux 5.2.
    """
    calls = libc().syscall
    context = calls(_FSOPEN, b"tracefs", _FSOPEN_CLOEXEC)
    if context >= 0:
        try:
            if calls(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0) >= 0:
                mount: int = calls(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
                if mount >= 0:
                    return mount
        finally:
            os.close(context)
    why = os.strerror(ctypes.get_errno())
    raise NotSupported("tracefs", f"it is not mounted on /sys/kernel/tracing and cannot be: {why}")


def unwatched(kind: str, fds: Sequence[int] = (), **facts: object) -> Watch:
    return NoWatch()


@functools.cache
def _mount() -> int:
    return private_mount()


def root() -> Path:
    """A directory with tracefs' files: where it is mounted, or a mount of our own that nobody else sees."""
    for path in ROOTS:
        if (path / "events").is_dir():
            return path
    return Path(f"/proc/self/fd/{_mount()}")


def tracepoint_id(category: str, name: str) -> int:
    """The number of an event for perf_event_open. KernelError(ENOENT), NotSupported without tracefs."""
    try:
        return int((root() / "events" / category / name / "id").read_text())
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or errno.EIO
        hint = "the kernel has no such tracepoint" if number == errno.ENOENT else ""
        raise KernelError(number, "tracepoint", f"{category}/{name}", hint=hint) from None


def functions() -> list[str]:
    """Functions that ftrace can trace. NotSupported where the kernel has no function tracing."""
    try:
        lines = (root() / "available_filter_functions").read_text().splitlines()
    except OSError as error:
        raise NotSupported("listing traceable functions", f"available_filter_functions: {error.strerror}") from None
    return [line.split()[0] for line in lines if line and not line.startswith("__ftrace_invalid")]


def _append(file: Path, line: str) -> None:
    # Not open("a"), which seeks to the end: these files cannot seek.
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def _group() -> str:
    """The group of this process' probes: its pid, and the namespace in which that is its pid."""
    return f"{_GROUP}_{os.getpid()}_{os.stat(_PID_NAMESPACE).st_ino}"


def sweep(kind: str) -> None:
    """Remove what killed processes of this pid namespace left in `kind`_events. The kernel keeps probes in use."""
    file = root() / f"{kind}_events"
    suffix = str(os.stat(_PID_NAMESPACE).st_ino)
    for match in re.finditer(rf"^[pr]\d*:({_GROUP}_(\d+)_{suffix}/\w+) ", file.read_text(), re.MULTILINE):
        try:
            os.kill(int(match[2]), 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):
                _append(file, f"-:{match[1]}\n")
        except OSError:  # EPERM: it lives
            continue


def _reason(name: str) -> str:
    """What the kernel says of the command that was to make a probe (error_log, Linux 5.2); "" when nothing."""
    try:
        entries = (root() / "error_log").read_text().split("\n[")
    except OSError:
        return ""
    found = [re.search(r"error: (.*)", entry) for entry in entries if f"/{name} " in entry]
    return found[-1][1].strip() if found and found[-1] else ""


def make_probe(kind: str, place: str, *, ret: bool, watch: Watching) -> tuple[int, Callable[[], None]]:
    """A named probe ("kprobe" or "uprobe") in tracefs: (its event's number, what removes it).

    watch: has it removed when this process is killed; where nobody does, the next process that makes a probe.
    """
    group = _group()
    name = f"{kind}_{re.sub(r'[^a-zA-Z0-9_]', '_', place)[-40:]}_{next(_COUNTER)}"
    file = root() / f"{kind}_events"
    top = os.open(root(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        watched = watch("probe", (top,), file=f"{kind}_events", name=f"{group}/{name}")
    finally:
        os.close(top)
    try:
        sweep(kind)
        _append(file, f"{'r' if ret else 'p'}:{group}/{name} {place}\n")
    except OSError as error:
        watched.forget()
        raise KernelError(error.errno or errno.EIO, f"tracefs {kind}_events", place, hint=_reason(name)) from None

    def remove() -> None:
        try:
            _append(file, f"-:{group}/{name}\n")
        except OSError:
            return
        watched.forget()

    try:
        return tracepoint_id(group, name), remove
    except KernelError:
        remove()
        raise
