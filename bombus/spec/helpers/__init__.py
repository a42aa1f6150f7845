"""Every helper of the kernel, one row each, and which programs may call it.

HELPERS is in order of numbers; HELPER finds by name (without bpf_), HELPER_BY_ID by number.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
from bombus.spec.helpers.groups import (
    CHAINS,
    FORMER,
    GROUPS,
    LATER,
    NEEDS_BPF,
    NEEDS_PERFMON,
    NEVER,
    NOT_WITH,
    ONLY_WITH,
)
from bombus.spec.helpers.model import Helper, Prototype
from bombus.spec.helpers.variants import VARIANTS
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

__all__ = ["FAMILIES", "HELPER", "HELPERS", "HELPER_BY_ID", "Helper", "Prototype", "allowed", "prototype_for"]


@lru_cache(maxsize=8192)
def group_of(
    name: str, prog_type: int, attach_type: int = 0, version: KernelVersion | None = None, *, bpf: bool = True,
    perfmon: bool = True,
) -> str | None:
    """The group through which programs of a type (and expected attach type) get a helper; None: they do not.

    bpf, perfmon: whether the loader has CAP_BPF and CAP_PERFMON. version: None for the newest that is known.
    """
    row = PROG_TYPE_BY_ID.get(prog_type)
    helper = HELPER.get(name)
    if row is None or helper is None or (row.name, name) in NEVER:
        return None
    if version is not None and helper.since > version:
        return None
    attach = ATTACH_TYPE_BY_ID.get(attach_type)
    attach_name = attach.name if attach is not None else ""
    for group in CHAINS[row.name]:
        former = FORMER.get((group, name))
        if former is not None and version is not None and former[0] <= version < former[1]:
            return group
        if name not in GROUPS[group]:
            if group in NEEDS_BPF and not bpf:
                return None
            continue
        key = (group, name)
        later = LATER.get(key)
        if version is not None and later is not None and version < later:
            continue
        only = ONLY_WITH.get(key)
        if attach_name in NOT_WITH.get(key, ()):
            continue
        if only is not None and attach_name not in only:
            return None
        if (group in NEEDS_BPF and not bpf) or (group in NEEDS_PERFMON and not perfmon):
            return None
        if name == "trace_printk" and group == "lirc" and not perfmon:
            return None
        return group
    return None


def allowed(
    name: str, prog_type: int, attach_type: int = 0, version: KernelVersion | None = None, *, bpf: bool = True,
    perfmon: bool = True,
) -> bool:
    """Whether a program may call a helper (see `group_of`)."""
    return group_of(name, prog_type, attach_type, version, bpf=bpf, perfmon=perfmon) is not None


def prototype_for(row: Helper, prog_type: int, sleepable: bool = False, attach_type: int = 0) -> Prototype:
    """The prototype that a program of this type gets: some helpers have several."""
    found = VARIANTS.get(row.name)
    if found is None:
        return row.prototype
    if sleepable and "sleepable" in found:
        return found["sleepable"]
    group = group_of(row.name, prog_type, attach_type)
    return found.get(group or "", row.prototype)
