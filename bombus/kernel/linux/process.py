"""What this process may do: capabilities, namespaces, limits. Read from /proc, /sys and cgroups when a call failed."""

from __future__ import annotations

import os
import resource

from bombus.spec.version import KernelVersion

MEMCG_SINCE = KernelVersion(5, 11)  # before, BPF memory counted against RLIMIT_MEMLOCK
# include/uapi/linux/capability.h
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_ALL_IDS = ["0", "0", "4294967295"]  # of the first user namespace: every id is itself
_SECCOMP_FILTER = "2"  # include/uapi/linux/seccomp.h: SECCOMP_MODE_FILTER
_NO_LIMIT = 1 << 60  # memory.limit_in_bytes without a limit is a large number
# Controllers in /proc/self/cgroup ("" is version 2), where they are mounted, and the file with the limit.
_MEMORY_LIMITS = (
    ("", "/sys/fs/cgroup", "memory.max"), ("", "/sys/fs/cgroup/unified", "memory.max"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
)  # fmt: skip


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _status(name: str) -> str:
    lines = (line.split(":", 1) for line in _text("/proc/thread-self/status").splitlines())
    return next((pair[1].strip() for pair in lines if pair[0] == name), "")


def missing_capabilities(names: tuple[str, ...]) -> list[str]:
    """The capabilities among `names` that are not in this thread's effective set."""
    try:
        mask = int(_status("CapEff"), 16)
    except ValueError:
        return []
    return [name for name in names if not mask >> CAPABILITIES[name] & 1]


def in_user_namespace() -> bool:
    """Whether this process is in another user namespace than the first, where its capabilities do not count."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != _ALL_IDS
    except OSError:  # a kernel without user namespaces
        return False


def filtered() -> bool:
    """Whether a seccomp filter is installed."""
    return _status("Seccomp") == _SECCOMP_FILTER


def lockdown() -> str:
    """The kernel's lockdown mode: "none", "integrity", "confidentiality"; "" when it does not say."""
    return _text("/sys/kernel/security/lockdown").partition("[")[2].partition("]")[0]


def memlock() -> int | None:
    """Bytes that RLIMIT_MEMLOCK allows; None without a limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def lift_memlock() -> bool:
    """Raise RLIMIT_MEMLOCK as far as we may. True when that changed something."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    for limit in ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (hard, hard)):
        if (soft, hard) == limit:
            continue
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, limit)
        except (OSError, ValueError):
            continue
        return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != soft
    return False


def descriptors() -> int:
    """How many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def memory_limit() -> tuple[str, int] | None:
    """The memory cgroup of this process, or one above, with the least limit, and that in bytes; None without one."""
    found: tuple[str, int] | None = None
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for kind, root, name in _MEMORY_LIMITS:
            above = path
            while controllers == kind and above not in ("", "/"):
                text = _text(f"{root}{above}/{name}").strip()
                if text.isdecimal() and int(text) < (found[1] if found is not None else _NO_LIMIT):
                    found = above, int(text)
                above = os.path.dirname(above)
    return found
