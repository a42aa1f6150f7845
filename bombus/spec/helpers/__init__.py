"""Every helper of the kernel, one row each, and which programs may call it.

HELPERS is in order of numbers; HELPER finds by name (without bpf_), HELPER_BY_ID by number.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
from bombus.spec.helpers.groups import (
    ATTACH_CHAINS,
    ATTACH_LATER,
    CHAINS,
    FORMER,
    GROUPS,
    IN_PROBE,
    LATER,
    NEEDS_BPF,
    NEEDS_PERFMON,
    NEEDS_PERFMON_TOO,
    NEVER,
    NOT_WITH,
    ONLY_WITH,
    TARGET_CHAINS,
    TARGET_NEVER,
)
from bombus.spec.helpers.model import Helper, Prototype
from bombus.spec.helpers.variants import FASTCALL_SINCE, VARIANTS
from bombus.spec.hooks import (
    D_PATH_FUNCTIONS,
    LOCKED_SOCKOPT_LSM_HOOKS,
    LSM_PREFIX,
    SLEEPABLE_LSM_HOOKS,
    UNLOCKED_SOCKOPT_LSM_HOOKS,
)
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.spec.version import KernelVersion

FAMILIES = (
    "cgroup", "control", "csum", "dynptr", "iter", "lirc", "lsm", "lwt", "map", "probe", "redirect", "ringbuf", "skb",
    "sock", "sockmap", "storage", "string", "syscall", "sysctl", "system", "task", "time", "timer", "trace", "xdp",
)  # fmt: skip

HELPERS: tuple[Helper, ...] = tuple(
    sorted(
        (row for family in FAMILIES for row in import_module(f"bombus.spec.helpers.{family}").ROWS),
        key=lambda row: row.id,
    )
)
HELPER: dict[str, Helper] = {row.name: row for row in HELPERS}
HELPER_BY_ID: dict[int, Helper] = {row.id: row for row in HELPERS}

__all__ = [
    "FAMILIES", "HELPER", "HELPERS", "HELPER_BY_ID", "Helper", "Prototype", "allowed", "fastcall_for",
    "group_of_target", "not_in_probe", "prototype_for",
]  # fmt: skip


def _chain(prog_type: str, attach: str, target: str) -> tuple[str, ...]:
    """The groups that are asked, in order."""
    found = TARGET_CHAINS.get((prog_type, target.partition(".")[0])) if target else None
    if found is None:
        found = ATTACH_CHAINS.get((prog_type, attach))
    return found if found is not None else CHAINS[prog_type]


_SOCKOPT_HOOKS = LOCKED_SOCKOPT_LSM_HOOKS | UNLOCKED_SOCKOPT_LSM_HOOKS


def _has(target: str, hooks: frozenset[str]) -> bool:
    return target.removeprefix(LSM_PREFIX) in hooks


def _passes(key: tuple[str, str], prog_type: str, attach: str, target: str) -> bool:
    """What the check of a helper's own says of a target that is known.

    Linux 6.12 net/core/bpf_sk_storage.c, kernel/trace/bpf_trace.c: bpf_d_path_allowed, kernel/bpf/bpf_lsm.c.
    """
    if not target or attach == "BPF_TRACE_ITER":
        return True
    if key in (("tracing", "sk_storage_get"), ("tracing", "sk_storage_delete")):
        return not target.startswith("bpf_sk_storage")
    if key in (("lsm", "ima_inode_hash"), ("lsm", "ima_file_hash")):
        return _has(target, SLEEPABLE_LSM_HOOKS)
    if key == ("tracing", "d_path"):
        return _has(target, SLEEPABLE_LSM_HOOKS) if prog_type == "BPF_PROG_TYPE_LSM" else target in D_PATH_FUNCTIONS
    return True


@lru_cache(maxsize=8192)
def _find(
    name: str, prog_type: int, attach_type: int, version: KernelVersion | None, bpf: bool, perfmon: bool,
    target: str,
) -> tuple[str | None, bool]:
    """The group that has the helper for these programs, and whether the helper's own check lets them call it."""
    row = PROG_TYPE_BY_ID.get(prog_type)
    helper = HELPER.get(name)
    if row is None or helper is None or (version is not None and helper.since > version):
        return None, False
    until = NEVER.get((row.name, name))
    if (until is not None and version is not None and version < until) or (target, name) in TARGET_NEVER:
        return None, False
    attach_row = ATTACH_TYPE_BY_ID.get(attach_type)
    attach = attach_row.name if attach_row is not None and row.name != "BPF_PROG_TYPE_STRUCT_OPS" else ""
    for group in _chain(row.name, attach, target):
        key = (group, name)
        former = FORMER.get(key)
        if former is not None and version is not None and former[0] <= version < former[1]:
            return group, True
        if name not in GROUPS[group]:
            if group in NEEDS_BPF and not bpf:
                return None, False
            continue
        later = LATER.get(key)
        if version is not None and later is not None and version < later:
            continue
        if attach in NOT_WITH.get(key, ()):
            continue
        only = ONLY_WITH.get(key)
        young = ATTACH_LATER.get((group, name, attach))
        if only is not None and attach not in only:
            return None, False
        if young is not None and version is not None and version < young:
            return None, False
        needs_perfmon = group in NEEDS_PERFMON or key in NEEDS_PERFMON_TOO
        if (group in NEEDS_BPF and not bpf) or (needs_perfmon and not perfmon):
            return None, False
        if group == "lsm" and name in ("setsockopt", "getsockopt") and target and not _has(target, _SOCKOPT_HOOKS):
            return None, False
        probe = IN_PROBE.get(key)
        return group, (probe is None or attach in probe) and _passes(key, row.name, attach, target)
    return None, False


def group_of(
    name: str, prog_type: int, attach_type: int = 0, version: KernelVersion | None = None, *, bpf: bool = True,
    perfmon: bool = True, target: str = "",
) -> str | None:
    """The group through which programs of a type (and expected attach type) get a helper; None: they do not.

    bpf, perfmon: whether the loader has CAP_BPF and CAP_PERFMON. version: None for the newest that is known.
    target: what the program is for, where helpers depend on it: "bpf_iter_tcp", "vfs_getattr", "bpf_lsm_file_open"
    (the function whose id is attach_btf_id), "tcp_congestion_ops.release" (struct and member of a struct_ops program).
    Without it, iterators get what all of them get, struct_ops programs what those of tcp_congestion_ops get, and
    tracing and LSM programs what some function or hook allows.
    """
    return _find(name, prog_type, attach_type, version, bpf, perfmon, target)[0]


def group_of_target(
    name: str, prog_type: int, attach_type: int = 0, version: KernelVersion | None = None, *, bpf: bool = True,
    perfmon: bool = True, target: str = "",
) -> tuple[str | None, bool]:
    """The group, and whether the helper's own check lets the program call it (parameters: see `group_of`)."""
    return _find(name, prog_type, attach_type, version, bpf, perfmon, target)


def allowed(
    name: str, prog_type: int, attach_type: int = 0, version: KernelVersion | None = None, *, bpf: bool = True,
    perfmon: bool = True, target: str = "",
) -> bool:
    """Whether a program may call a helper (parameters: see `group_of`)."""
    return _find(name, prog_type, attach_type, version, bpf, perfmon, target)[1]


def not_in_probe(
    name: str, prog_type: int, attach_type: int = 0, version: KernelVersion | None = None, *, bpf: bool = True,
    perfmon: bool = True, target: str = "",
) -> bool:
    """Whether programs get the helper's prototype, yet its own check refuses them.

    The verifier then says "helper call is not allowed in probe" instead of "program of this type cannot use helper".
    """
    group, passes = _find(name, prog_type, attach_type, version, bpf, perfmon, target)
    return group is not None and not passes


def prototype_for(row: Helper, prog_type: int, sleepable: bool = False, attach_type: int = 0) -> Prototype:
    """The prototype that a program of this type gets: some helpers have several."""
    found = VARIANTS.get(row.name)
    if found is None:
        return row.prototype
    group = group_of(row.name, prog_type, attach_type) or ""
    attach = ATTACH_TYPE_BY_ID.get(attach_type)
    keys = [f"{group}/{attach.name}"] if attach is not None else []
    keys += [f"{group}/sleepable", "sleepable"] if sleepable else []
    return next((found[key] for key in (*keys, group) if key in found), row.prototype)


def fastcall_for(row: Helper, prog_type: int, attach_type: int = 0, version: KernelVersion | None = None) -> bool:
    """Whether a call leaves registers alone that it does not need, for such a program (6.12 on)."""
    young = FASTCALL_SINCE.get((group_of(row.name, prog_type, attach_type, version) or "", row.name))
    return row.fastcall and not (young is not None and version is not None and version < young)
