"""Attaching to what BTF names: raw tracepoints, trampolines, security hooks, other programs, iterators.

Facts: Linux 6.12 kernel/bpf/syscall.c (bpf_raw_tp_link_attach, bpf_tracing_prog_attach), kernel/bpf/bpf_iter.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from bombus.btf.types import Func
from bombus.errors import UsageError
from bombus.kernel.handles.attach.targets import opened
from bombus.kernel.handles.btf import Btf
from bombus.kernel.handles.links import IterLink, Link
from bombus.spec.attachtypes import ATTACH_TYPE

if TYPE_CHECKING:
    from bombus.kernel.handles.attach.targets import Path
    from bombus.kernel.handles.maps import Map
    from bombus.kernel.handles.programs import Program

_ORDERS = {"self": 1, "pre": 2, "post": 3, "up": 4}  # enum bpf_cgroup_iter_order
_ITER_INFO = 16  # sizeof(union bpf_iter_link_info)


def attach_raw_tracepoint(program: Program, name: str, *, cookie: int = 0) -> Link:
    """A program to a tracepoint by its kernel name ("sched_switch"), with raw arguments (Linux 4.17)."""
    return Link.raw_tracepoint(program.kernel, program, name, cookie=cookie)


def attach_trace(program: Program, *, cookie: int = 0) -> Link:
    """A tp_btf, fentry, fexit, fmod_ret or LSM program to the target that it was loaded for."""
    kernel = program.kernel
    row = ATTACH_TYPE.get(program.origin.attach_type)
    # Cookies came with BPF_LINK_CREATE for tracing programs (Linux 5.19); the older command does the rest.
    if cookie and row is not None and row.name != "BPF_TRACE_RAW_TP":
        return Link.create(kernel, program, row.name, tracing_cookie=cookie)
    return Link.raw_tracepoint(kernel, program, cookie=cookie)


def attach_freplace(program: Program, target: Program | None = None, function: str = "") -> Link:
    """An extension program over a function of another program: the one that it was loaded for, or another like it."""
    kernel = program.kernel
    if target is None:
        if function:
            raise UsageError("a function goes with its program")
        return Link.raw_tracepoint(kernel, program)
    return Link.create(
        kernel, program, 0, target_fd=target.fd, tracing_target_btf_id=function_id(target, function)
    )


def function_id(target: Program, function: str) -> int:
    """The BTF id of a function of a loaded program. "": its main one. UsageError when there is none."""
    number = target.info()["btf_id"]
    if not number:
        raise UsageError(f"{target.name or 'the target'} was loaded without BTF")
    with Btf.from_id(target.kernel, number) as handle:
        btf = handle.parsed()
    records, size = target.func_info(), target.info()["func_info_rec_size"]
    ids: list[int] = [struct.unpack_from("<II", records, at)[1] for at in range(0, len(records), size or 8)]
    found: dict[str, int] = {}
    for one in ids:
        type_ = btf.type(one)
        if isinstance(type_, Func):
            found[type_.name] = one
    if not function:
        if ids:
            return ids[0]
        raise UsageError(f"{target.name or 'the target'} has no function info")
    if function not in found:
        raise UsageError(f"{target.name} has no function {function!r}; there are {', '.join(found) or 'none'}")
    return found[function]


def attach_iter(
    program: Program, *, map: Map | None = None, tid: int = 0, pid: int = 0, pidfd: int = 0,
    cgroup: Path | int | None = None, order: str = "self",
) -> IterLink:  # fmt: skip
    """An iterator program; `read`, `lines` and `records` of the link run it.

    map: for iterators over a map's elements (a sockmap's sockets). tid, pid, pidfd: only that thread, or that process
    (Linux 6.1). cgroup, order: where a cgroup iterator starts, and its way: "self", "pre", "post", "up" (Linux 6.1).
    """
    kernel = program.kernel
    if sum(map_ is not None for map_ in (map, cgroup)) + bool(tid or pid or pidfd) > 1:
        raise UsageError("an iterator goes over a map, tasks or cgroups: give one of them")
    fields: dict[str, Any] = {}
    if order not in _ORDERS:
        raise UsageError(f"order {order!r}: it is one of {', '.join(_ORDERS)}")
    if map is not None:
        fields = _info(struct.pack("<I", map.fd))
    elif tid or pid or pidfd:
        fields = _info(struct.pack("<III", tid, pid, pidfd))
    elif cgroup is not None:
        with opened(kernel, "cgroup", cgroup) as fd:
            fields = _info(struct.pack("<IIQ", _ORDERS[order], fd, 0))
            return IterLink.create(kernel, program, "BPF_TRACE_ITER", **fields)
    return IterLink.create(kernel, program, "BPF_TRACE_ITER", **fields)


def _info(data: bytes) -> dict[str, Any]:
    return {"iter_info": data.ljust(_ITER_INFO, b"\0"), "iter_info_len": _ITER_INFO}
