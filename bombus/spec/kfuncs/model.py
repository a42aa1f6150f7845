"""What a row about a kfunc says, and the sets that the kernel registers for program types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class Kfunc:
    """One kernel function that programs may call.

    prog_types: those that may call it in Linux 6.18 (fewer could before), () for all. until: the first kernel without
    it; None while it is there. flags: "acquire", "release", "ret_null", "sleepable", "trusted_args", "rcu",
    "rcu_protected", "destructive", "iter_new", "iter_next", "iter_destroy" (KF_* of include/linux/btf.h). The
    prototype is in the kernel's BTF.
    """

    name: str
    since: KernelVersion
    prog_types: tuple[str, ...]
    flags: frozenset[str]
    doc: str
    until: KernelVersion | None = None

    def __contains__(self, version: object) -> bool:
        """Whether kernels of a version have it."""
        return isinstance(version, KernelVersion) and self.since <= version and (
            self.until is None or version < self.until
        )  # fmt: skip


_LETTERS: Final = {
    "a": "acquire", "r": "release", "n": "ret_null", "s": "sleepable", "t": "trusted_args", "c": "rcu",
    "p": "rcu_protected", "d": "destructive",
}  # fmt: skip
_ITERATORS: Final = {"new": ("iter_new",), "next": ("iter_next", "ret_null"), "destroy": ("iter_destroy",)}


def _types(names: str) -> tuple[str, ...]:
    return tuple(f"BPF_PROG_TYPE_{name}" for name in names.split())


# Linux 6.12 bpf_prog_type_to_kfunc_hook: these types share what is registered for one of them.
_TRACING = "TRACING TRACEPOINT PERF_EVENT LSM"
_CGROUP = "CGROUP_SKB CGROUP_SOCK CGROUP_DEVICE CGROUP_SOCK_ADDR CGROUP_SOCKOPT CGROUP_SYSCTL SOCK_OPS"
_LWT = "LWT_IN LWT_OUT LWT_XMIT LWT_SEG6LOCAL"

SETS: Final[dict[str, tuple[str, ...]]] = {
    "all": (),
    "generic": _types(f"{_TRACING} {_CGROUP} SCHED_CLS XDP STRUCT_OPS SYSCALL"),
    "tracing": _types(_TRACING),
    "iterators": _types("TRACING"),
    "sched": _types(f"{_TRACING} STRUCT_OPS SYSCALL"),
    "struct_ops_syscall": _types("STRUCT_OPS SYSCALL"),
    "struct_ops": _types("STRUCT_OPS"),
    "syscall": _types("SYSCALL"),
    "kprobe": _types("KPROBE"),
    "lsm": _types("LSM"),
    "crypto": _types("SCHED_CLS SCHED_ACT XDP"),
    "conntrack": _types("SCHED_CLS XDP"),
    "skb": _types(f"{_TRACING} {_CGROUP} {_LWT} SCHED_CLS SCHED_ACT SK_SKB SOCKET_FILTER NETFILTER"),
    "tc": _types("SCHED_CLS SCHED_ACT"),
    "sched_cls": _types("SCHED_CLS"),
    "xdp": _types("XDP"),
    "cgroup": _types(_CGROUP),
    "tests": _types(f"{_TRACING} SCHED_CLS SYSCALL"),
}


def rows(name: str, version: str, text: str, *, until: str = "") -> tuple[Kfunc, ...]:
    """Rows of one set and kernel. A line is "name doc", or "name+flags doc" with the flags' letters."""
    found = []
    for line in text.strip().splitlines():
        word, _, doc = line.strip().partition(" ")
        function, _, letters = word.partition("+")
        flags = {_LETTERS[letter] for letter in letters}
        if function.startswith("bpf_iter_"):
            flags.update(_ITERATORS[function.rpartition("_")[2]])
        found.append(
            Kfunc(function, since(version), SETS[name], frozenset(flags), doc, since(until) if until else None)
        )
    return tuple(found)
