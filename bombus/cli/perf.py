"""`bombus perf`: which perf events and raw tracepoints of which processes run BPF programs.

Source: Linux 6.1 tools/bpf/bpftool/perf.c, behaviour.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Any

from bombus.cli import live, output
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words
from bombus.errors import KernelError, NeedsKernel
from bombus.kernel.api import Attr

_ROOM = 4096
_MAYBE = ("anon_inode:[perf_event]", "anon_inode:bpf-raw-tracepoint", "anon_inode:bpf_link", "anon_inode:bpf-link")
# enum bpf_task_fd_type
_TYPES = ("raw_tracepoint", "tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe")


@noun("perf", "Programs on perf events and raw tracepoints of all processes.")
def perf() -> None:
    pass


@verb(perf, "show", "")
def show(words: Words) -> None:
    """List them (also: list)."""
    words.end()
    if output.as_json():
        output.print_rows(_rows())
    else:
        output.lines(map(_text, _rows()))


def _rows() -> Iterator[dict[str, Any]]:
    buffer = bytearray(_ROOM)
    # One of our own first: it says whether we may ask at all, also where no other can be seen.
    with open(os.devnull, "rb") as mine:
        yield from _queried([(os.getpid(), mine.fileno())], buffer)
    yield from _queried(_descriptors(), buffer)


def _queried(descriptors: Iterable[tuple[int, int]], buffer: bytearray) -> Iterator[dict[str, Any]]:
    for pid, fd in descriptors:
        attr = Attr("BPF_TASK_FD_QUERY", pid=pid, fd=fd, buf=buffer, buf_len=len(buffer))
        try:
            live.kernel().bpf(attr)
        except NeedsKernel:
            raise
        except KernelError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise
            continue  # another kind of descriptor, or gone
        yield _row(pid, fd, attr, buffer.split(b"\0", 1)[0].decode(errors="replace"))


def _descriptors() -> Iterator[tuple[int, int]]:
    """(process, descriptor) of all that may be what is looked for."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        folder = f"/proc/{name}/fd"
        try:
            for fd in os.listdir(folder):
                try:
                    target = os.readlink(f"{folder}/{fd}")
                except OSError:
                    continue
                if target.startswith(_MAYBE):
                    yield int(name), int(fd)
        except OSError:
            continue


def _row(pid: int, fd: int, attr: Attr, text: str) -> dict[str, Any]:
    number = attr.get("fd_type")
    found: dict[str, Any] = {"pid": pid, "fd": fd, "prog_id": attr.get("prog_id")}
    if number >= len(_TYPES):
        return found
    kind = found["fd_type"] = _TYPES[number]
    if "tracepoint" in kind:
        return found | {"tracepoint": text}
    if "uprobe" in kind or "uretprobe" in kind:
        return found | {"filename": text, "offset": attr.get("probe_offset")}
    if text:
        return found | {"func": text, "offset": attr.get("probe_offset")}
    return found | {"addr": attr.get("probe_addr")}


def _text(row: dict[str, Any]) -> str:
    text = f"pid {row['pid']}  fd {row['fd']}: prog_id {row['prog_id']}  "
    if "fd_type" not in row:
        return text
    text += f"{row['fd_type']}  "
    if "tracepoint" in row:
        return text + str(row["tracepoint"])
    return text + "  ".join(f"{name} {row[name]}" for name in ("filename", "func", "offset", "addr") if name in row)
