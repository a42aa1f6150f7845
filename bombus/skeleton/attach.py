"""Attach a program where its section says, or where the caller says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from bombus.errors import NotSupported, UsageError
from bombus.kernel.handles import Link

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel
    from bombus.kernel.handles import Program
    from bombus.object.model import ProgramSpec

_BTF = ("BPF_TRACE_RAW_TP", "BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT", "BPF_MODIFY_RETURN", "BPF_LSM_MAC")
_RAW = ("BPF_PROG_TYPE_RAW_TRACEPOINT", "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE")
_DEVICE = ("BPF_PROG_TYPE_XDP", "BPF_PROG_TYPE_SCHED_CLS")


def attaches_by_itself(spec: ProgramSpec) -> bool:
    """Whether the section says all that is needed."""
    if spec.attach_type in _BTF or spec.attach_type == "BPF_TRACE_ITER" or spec.prog_type in _RAW:
        return bool(spec.target)
    return spec.prog_type in ("BPF_PROG_TYPE_TRACEPOINT", "BPF_PROG_TYPE_KPROBE") and bool(spec.target)


def attach(
    kernel: Kernel, program: Program, spec: ProgramSpec, *, ifindex: int | None = None,
    cgroup: str | os.PathLike[str] | int | None = None, netns: str | os.PathLike[str] | int | None = None,
    cookie: int = 0, flags: int = 0,
) -> Link:  # fmt: skip
    """Make the link. UsageError for a place that the program does not take, NotSupported, KernelError.

    ifindex: a network interface (xdp, tcx); cgroup, netns: a path or a descriptor.
    """
    if spec.prog_type in _DEVICE:
        if ifindex is None:
            raise UsageError(f"{spec.name} attaches to a network interface: give ifindex")
        kind = spec.attach_type or ("BPF_XDP" if spec.prog_type == _DEVICE[0] else "BPF_TCX_INGRESS")
        return Link.create(kernel, program, kind, ifindex=ifindex, flags=flags)
    if ifindex is not None:
        raise UsageError(f"{spec.name} attaches to no network interface")
    if spec.attach_type.startswith("BPF_CGROUP") or spec.prog_type.startswith("BPF_PROG_TYPE_CGROUP"):
        return _on_file(kernel, program, spec, cgroup, "cgroup", flags)
    if spec.attach_type in ("BPF_SK_LOOKUP", "BPF_FLOW_DISSECTOR"):
        return _on_file(kernel, program, spec, netns, "netns", flags)
    if cgroup is not None or netns is not None:
        raise UsageError(f"{spec.name} attaches to {spec.target or spec.section}, not to a cgroup or a namespace")
    if spec.attach_type == "BPF_TRACE_ITER":
        return Link.create(kernel, program, "BPF_TRACE_ITER", target_fd=0)
    if spec.attach_type in _BTF:
        return Link.raw_tracepoint(kernel, program, cookie=cookie)
    if spec.prog_type in _RAW:
        return Link.raw_tracepoint(kernel, program, spec.target, cookie=cookie)
    raise NotSupported(f"attaching programs of section {spec.section!r}")


def _on_file(
    kernel: Kernel, program: Program, spec: ProgramSpec, place: str | os.PathLike[str] | int | None, what: str,
    flags: int,
) -> Link:  # fmt: skip
    if place is None:
        raise UsageError(f"{spec.name} attaches to a {what}: give {what}, a path or a descriptor")
    fields: dict[str, Any] = {"flags": flags}
    if isinstance(place, int):
        return Link.create(kernel, program, spec.attach_type, target_fd=place, **fields)
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Link.create(kernel, program, spec.attach_type, target_fd=fd, **fields)
    finally:
        os.close(fd)
