"""What a row about a kfunc says, and the sets that the kernel registers for program types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class Kfunc:
    """One kernel function that programs may call.

    prog_types: those that may call it in Linux 6.18, () for all (`callers`: in any version). until: the first kernel
    without it; None while it is there. flags: "acquire", "release", "ret_null", "sleepable", "trusted_args", "rcu",
    "rcu_protected", "destructive", "iter_new", "iter_next", "iter_destroy" (KF_* of include/linux/btf.h). The
    prototype is in the kernel's BTF.
    """

    name: str
    since: KernelVersion
    prog_types: tuple[str, ...]
    flags: frozenset[str]
    doc: str
    until: KernelVersion | None = None

    def callers(self, version: KernelVersion) -> tuple[str, ...]:
        """The program types that may call it in a version, () for all."""
        types = self.prog_types
        before = _BEFORE.get(self.name)
        if before is not None and version < before[0]:
            types = SETS[before[1]]
        return tuple(name for name in types if name not in _HOOKED or version >= _HOOKED[name])

    def __contains__(self, version: object) -> bool:
        """Whether kernels of a version have it."""
        return isinstance(version, KernelVersion) and self.since <= version and (
            self.until is None or version < self.until
        )  # fmt: skip


# Program types that could call only what all can until the kernel had a place for their sets.
_HOOKED: Final = {"BPF_PROG_TYPE_SOCK_OPS": since("6.15")}
# Functions that fewer programs could call: until which version, and the set that it was.
_BEFORE: Final = {
    name: (since("6.18"), "tracing") for name in ("bpf_lookup_user_key", "bpf_lookup_system_key", "bpf_key_put")
}
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
