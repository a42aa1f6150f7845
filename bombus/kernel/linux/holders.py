"""Which processes hold BPF objects: an iterator program over the open files of all tasks.

The program is written for this kernel: the offsets of the members that it reads come from the kernel's BTF. What
tells a file of one kind of object from others is its `f_op`; the first, short run learns that from a descriptor of
our own, so that no address of a kernel symbol is needed.
"""

from __future__ import annotations

import itertools
import os
import struct
import time
from typing import Any

from bombus.errors import BombusError, KernelError, NotSupported
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles.base import open_id
from bombus.kernel.handles.info import ids, read_info
from bombus.kernel.linux.cache import cached

KINDS = ("prog", "map", "link", "btf")
_TRACING, _TRACE_ITER, _ARRAY = 26, 28, 2  # BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, BPF_MAP_TYPE_ARRAY
_PERF_EVENT = 7  # BPF_LINK_TYPE_PERF_EVENT
_ENTRY = struct.Struct("=II16sQQ")  # id, process, name, cookie, whether there is a cookie
_LEARN = struct.Struct("=QII")  # f_op, our process, the descriptor to learn it from
_TASK_INFO = struct.Struct("=IIII")  # union bpf_iter_link_info: task.tid, task.pid, task.pid_fd, -
_CHUNK = 1 << 16


class Holders:
    """Processes that have an object open: (pid, name of the main thread), each once. cookie: of a perf event link."""

    __slots__ = ("cookie", "processes")

    def __init__(self) -> None:
        self.processes: list[tuple[int, str]] = []
        self.cookie: int | None = None


# Context: struct bpf_iter__task_file { meta; task; fd; file }, each in 8 bytes. Entry on the stack at -40.
_SOURCE = """
    r9 = 0 ll
    r6 = r1
    r7 = *(u64 *)(r6 + 24)
    r8 = *(u64 *)(r6 + 8)
    r2 = *(u32 *)(r6 + 16)
    if r7 == 0 goto out
    if r8 == 0 goto out
    r3 = *(u64 *)(r7 + {f_op})
    r4 = *(u64 *)(r9 + 0)
    if r4 == 0 goto learn
    if r3 != r4 goto out
    r1 = 0
    *(u64 *)(r10 - 40) = r1
    *(u64 *)(r10 - 32) = r1
    *(u64 *)(r10 - 24) = r1
    *(u64 *)(r10 - 16) = r1
    *(u64 *)(r10 - 8) = r1
    *(u64 *)(r10 - 48) = r1
    r1 = *(u32 *)(r8 + {tgid})
    *(u32 *)(r10 - 36) = r1
    r9 = *(u64 *)(r7 + {private_data})
    {cookie}
    r3 = r9
    {indirect}
    r3 += {id}
    r1 = r10
    r1 += -40
    r2 = 4
    call bpf_probe_read_kernel
    r3 = *(u64 *)(r8 + {group_leader})
    r3 += {comm}
    r1 = r10
    r1 += -32
    r2 = 16
    call bpf_probe_read_kernel_str
    r1 = *(u64 *)(r6 + 0)
    r1 = *(u64 *)(r1 + 0)
    r2 = r10
    r2 += -40
    r3 = 40
    call bpf_seq_write
    goto out
learn:
    r4 = *(u32 *)(r9 + 8)
    r5 = *(u32 *)(r8 + {tgid})
    if r4 != r5 goto out
    r4 = *(u32 *)(r9 + 12)
    if r2 != r4 goto out
    *(u64 *)(r9 + 0) = r3
out:
    r0 = 0
    exit
"""


def _read_pointer(offset: int) -> str:
    """r3 = *(r3 + offset), through memory that may not be there."""
    return f"""
    r3 += {offset}
    r1 = r10
    r1 += -48
    r2 = 8
    call bpf_probe_read_kernel
    r3 = *(u64 *)(r10 - 48)"""


def _read_cookie(at: dict[str, int]) -> str:
    """The cookie of a perf event link: link -> perf_file -> private_data -> bpf_cookie."""
    return f"""
    r3 = r9
    r3 += {at["bpf_link.type"]}
    r1 = r10
    r1 += -48
    r2 = 4
    call bpf_probe_read_kernel
    r1 = *(u32 *)(r10 - 48)
    if r1 != {_PERF_EVENT} goto no_cookie
    r3 = r9
    {_read_pointer(at["bpf_perf_link.perf_file"])}
    {_read_pointer(at["file.private_data"])}
    {_read_pointer(at["perf_event.bpf_cookie"])}
    *(u64 *)(r10 - 16) = r3
    r1 = 1
    *(u64 *)(r10 - 8) = r1
no_cookie:"""


def _source(kind: str, at: dict[str, int]) -> str:
    struct_name = {"prog": "bpf_prog_aux", "map": "bpf_map", "link": "bpf_link", "btf": "btf"}[kind]
    return _SOURCE.format(
        f_op=at["file.f_op"], private_data=at["file.private_data"], tgid=at["task_struct.tgid"],
        group_leader=at["task_struct.group_leader"], comm=at["task_struct.comm"], id=at[f"{struct_name}.id"],
        indirect=_read_pointer(at["bpf_prog.aux"]) if kind == "prog" else "",
        cookie=_read_cookie(at) if kind == "link" and "perf_event.bpf_cookie" in at else "",
    )  # fmt: skip


_NEEDED = (
    "file.f_op", "file.private_data", "task_struct.tgid", "task_struct.group_leader", "task_struct.comm",
    "bpf_prog.aux", "bpf_prog_aux.id", "bpf_map.id", "bpf_link.id", "btf.id",
)  # fmt: skip
_COOKIE = ("bpf_link.type", "bpf_perf_link.perf_file", "perf_event.bpf_cookie")


def _programs(kernel: Kernel) -> dict[str, Any]:
    """The iterator's BTF id and its code for each kind, as hexadecimal text. Empty for a kernel without it."""
    from bombus.asm import assemble
    from bombus.btf.parse import Btf
    from bombus.btf.types import Kind
    from bombus.isa.insn import encode

    btf = Btf.parse(kernel.vmlinux_btf())
    target = btf.find("bpf_iter_task_file", Kind.FUNC)
    if target is None:
        return {}
    at: dict[str, int] = {}
    for name in (*_NEEDED, *_COOKIE):
        struct_name, member = name.split(".")
        type_id = btf.find(struct_name, Kind.STRUCT)
        found = btf.member(type_id, member) if type_id is not None else None
        if found is not None:
            at[name] = found.offset // 8
        elif name in _NEEDED:
            return {}
    if not all(name in at for name in _COOKIE):
        at.pop("perf_event.bpf_cookie", None)
    code = {kind: encode(assemble(_source(kind, at)).insns).hex() for kind in KINDS}
    return {"target": target, **code}


def holders(kernel: Kernel, kind: str, own: set[tuple[str, int]] | None = None) -> dict[int, Holders]:
    """Holders by the id of the object. kind: "prog", "map", "link" or "btf".

    Empty where the kernel has no iterators (before 5.8), no BTF, or does not let us use them. own: gets (kind, id) of
    what was made for the search; it may be seen for some time after.
    """
    own = set() if own is None else own
    try:
        fact = cached("holders", lambda: _programs(kernel))
        if not fact:
            return {}
        try:
            return _run(kernel, kind, fact, own)
        except (KernelError, LookupError, TypeError, ValueError, struct.error):
            # What was kept may be of another kernel after all, or no longer what was written.
            fact = cached("holders", lambda: _programs(kernel), refresh=True)
            return _run(kernel, kind, fact, own) if fact else {}
    except (BombusError, OSError):
        return {}


def _run(kernel: Kernel, kind: str, fact: dict[str, Any], own: set[tuple[str, int]]) -> dict[int, Holders]:
    fds: list[int] = []

    def keep(fd: int) -> int:
        fds.append(fd)
        return fd

    try:
        map_fd = keep(kernel.bpf(Attr("BPF_MAP_CREATE", map_type=_ARRAY, key_size=4, value_size=_LEARN.size,
                                      max_entries=1)))  # fmt: skip
        code = bytearray.fromhex(fact[kind])
        code[1] |= 2 << 4  # BPF_PSEUDO_MAP_VALUE: the address of the map's value
        struct.pack_into("=i", code, 4, map_fd)
        prog_fd = keep(kernel.bpf(Attr(
            "BPF_PROG_LOAD", prog_type=_TRACING, expected_attach_type=_TRACE_ITER, insns=code, insn_cnt=len(code) // 8,
            license=b"GPL\0", attach_btf_id=fact["target"], prog_name="bombus_holders",
        )))  # fmt: skip
        link_fd = keep(_link(kernel, prog_fd, os.getpid()))
        everyone = keep(_link(kernel, prog_fd, 0))
        known = {"prog": prog_fd, "map": map_fd, "link": link_fd}
        for name, fd in (*known.items(), ("link", everyone)):
            own.add((name, read_info(kernel, fd, f"bpf_{name}_info")["id"]))
        # Of types, any will do; we hold it only to look at it.
        looked_at = 0 if kind in known else next(iter(ids(kernel, "btf")))
        sample = keep(open_id(kernel, "btf", looked_at)) if looked_at else known[kind]
        value = bytearray(_LEARN.pack(0, os.getpid(), sample))
        kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=map_fd, key=bytes(4), value=value))
        _read(kernel, link_fd)
        data = _read(kernel, everyone)
    finally:
        for fd in fds:
            kernel.close(fd)
    found: dict[int, Holders] = {}
    for number, pid, name, cookie, has_cookie in _ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]):
        if (kind, number) in own:
            continue
        if number == looked_at and pid == os.getpid():
            looked_at = 0
            continue
        entry = found.setdefault(number, Holders())
        comm = name.split(b"\0", 1)[0].decode(errors="replace")
        if all(pid != other for other, _ in entry.processes):
            entry.processes.append((pid, comm))
        if has_cookie:
            entry.cookie = cookie
    return found


def _link(kernel: Kernel, prog_fd: int, pid: int) -> int:
    """An iterator over the files of one process, or of all (0). Before Linux 6.1 over all in any case."""
    if pid:
        info = bytearray(_TASK_INFO.pack(0, pid, 0, 0))
        try:
            return kernel.bpf(Attr("BPF_LINK_CREATE", prog_fd=prog_fd, attach_type=_TRACE_ITER, iter_info=info,
                                   iter_info_len=len(info)))  # fmt: skip
        except KernelError:
            pass
    return kernel.bpf(Attr("BPF_LINK_CREATE", prog_fd=prog_fd, attach_type=_TRACE_ITER))


def _read(kernel: Kernel, link_fd: int) -> bytes:
    fd = kernel.bpf(Attr("BPF_ITER_CREATE", link_fd=link_fd))
    parts: list[bytes] = []
    try:
        for round_ in itertools.count():
            try:
                part = os.read(fd, _CHUNK)
            except BlockingIOError:  # the kernel wants a pause
                if round_ > 10_000:
                    raise NotSupported("iterating over tasks", "the kernel always says EAGAIN") from None
                time.sleep(0.001)
                continue
            if not part:
                return b"".join(parts)
            parts.append(part)
    finally:
        kernel.close(fd)
    return b""
