"""Iterators over kernel objects that programs of BPF_TRACE_ITER run for: which members of their context are pointers.

Sources: `struct bpf_iter_reg` in kernel/bpf/{task,map,prog,link,cgroup}_iter.c, kernel/kallsyms.c, net/ of Linux 6.12;
those that came later were observed. What is not listed here is a plain trusted pointer or a number, as BTF has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class IterPointer:
    """One member. kind: "typed" (a pointer to `struct`), "buffer" (bytes), "buffer_rdonly". All may be null."""

    offset: int
    kind: str
    struct: str = ""
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Iterator:
    """`target`: programs attach to bpf_iter_<target>."""

    target: str
    since: KernelVersion
    pointers: tuple[IterPointer, ...]


def _typed(offset: int, struct: str, trusted: bool = False) -> IterPointer:
    return IterPointer(offset, "typed", struct, trusted)


ITERATORS: Final[tuple[Iterator, ...]] = (
    Iterator("bpf_map", since("5.8"), (_typed(8, "bpf_map", True),)),
    Iterator("task", since("5.8"), (_typed(8, "task_struct", True),)),
    Iterator("task_file", since("5.8"), (_typed(8, "task_struct"), _typed(24, "file"))),
    Iterator("netlink", since("5.8"), (_typed(8, "netlink_sock"),)),
    Iterator("ipv6_route", since("5.8"), (_typed(8, "fib6_info"),)),
    Iterator("tcp", since("5.9"), (_typed(8, "sock_common", True),)),
    Iterator("udp", since("5.9"), (_typed(8, "udp_sock", True),)),
    Iterator("bpf_map_elem", since("5.9"), (IterPointer(16, "buffer_rdonly"), IterPointer(24, "buffer"))),
    Iterator("bpf_sk_storage_map", since("5.9"), (_typed(16, "sock"), IterPointer(24, "buffer"))),
    Iterator("bpf_prog", since("5.9"), (_typed(8, "bpf_prog"),)),
    Iterator("sockmap", since("5.10"), (IterPointer(16, "buffer_rdonly"), _typed(24, "sock"))),
    Iterator("task_vma", since("5.12"), (_typed(8, "task_struct"), _typed(16, "vm_area_struct"))),
    Iterator("unix", since("5.15"), (_typed(8, "unix_sock"),)),
    Iterator("bpf_link", since("5.19"), (_typed(8, "bpf_link"),)),
    Iterator("ksym", since("6.0"), (_typed(8, "kallsym_iter"),)),
    Iterator("cgroup", since("6.1"), (_typed(8, "cgroup", True),)),
    Iterator("kmem_cache", since("6.13"), (_typed(8, "kmem_cache", True),)),
    Iterator("dmabuf", since("6.16"), (_typed(8, "dma_buf"),)),
)
ITERATOR: Final = {row.target: row for row in ITERATORS}
