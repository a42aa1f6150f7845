"""Helper prototypes as the verifier reads them: the rows of `spec.helpers`, taken apart once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from bombus.spec.helpers import HELPER_BY_ID, Helper, fastcall_for, group_of_target, prototype_for
from bombus.spec.version import KernelVersion, since
from bombus.verifier.env import Env

_DYNPTRS: Final = {
    "DYNPTR_TYPE_LOCAL": "local",
    "DYNPTR_TYPE_RINGBUF": "ringbuf",
    "DYNPTR_TYPE_SKB": "skb",
    "DYNPTR_TYPE_XDP": "xdp",
}


class UnknownHelper(Exception):
    """No helper has this number in that kernel."""


@dataclass(frozen=True, slots=True)
class ArgSpec:
    """One argument. size: bytes of memory of fixed size, 0 when another argument says it."""

    kind: str
    nullable: bool = False
    uninit: bool = False
    read_only: bool = False
    write: bool = False
    release: bool = False
    aligned: bool = False
    size: int = 0
    dynptr: str = ""


# Helpers whose plain memory argument is known as written since what helpers only read stays known.
_WRITERS: Final = frozenset(
    ("fib_lookup", "sysctl_get_name", "read_branch_records", "d_path", "snprintf_btf", "snprintf")
)
_WRITERS_SINCE: Final = since("6.14")
# Until then, raw tracepoints' bpf_get_stack claimed to only read its buffer.
_RAW_STACK_WRITTEN: Final = since("6.18")
# Late 6.12 knows that these may sleep; kernels after it were without that again (observed on 6.18).
_SLEPT_IN_612: Final = frozenset(("get_stack", "get_task_stack", "sys_bpf", "sys_close", "btf_find_by_name_kind"))
_SLEEP_NO_MORE: Final = since("6.13")
# The number of bpf_loop's rounds is checked to be one in late 6.12, not in 6.1 and 6.18.
_COUNT_CHECKED: Final = (since("6.2"), since("6.13"))
# Arguments that Linux 6.1 still described in another way (net/core/filter.c, kernel/bpf/bpf_*_storage.c), by position.
_EARLY: Final[dict[str, tuple[int, dict[str, str | bool]]]] = {
    **{
        name: (2, {"kind": "ARG_CONST_SIZE"})
        for name in (
            "sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp", "tcp_raw_gen_syncookie_ipv4",
            "tcp_raw_gen_syncookie_ipv6",
        )
    },
    **{name: (1, {"nullable": False}) for name in (
        "inode_storage_get", "inode_storage_delete", "task_storage_get", "task_storage_delete",
    )},
    "check_mtu": (2, {"uninit": True}),
    "get_socket_cookie": (0, {"nullable": False}),
}  # fmt: skip
_EARLY_UNTIL: Final = since("6.2")
_NONE: Final = ArgSpec("ARG_DONTCARE")


@dataclass(frozen=True, slots=True)
class Proto:
    id: int
    name: str
    args: tuple[ArgSpec, ArgSpec, ArgSpec, ArgSpec, ArgSpec]
    ret: str
    ret_nullable: bool
    ret_ringbuf: bool
    ret_read_only: bool
    ret_trusted: bool
    gpl_only: bool
    might_sleep: bool
    forbidden: bool  # the helper's own check refuses the program
    pkt_access: bool
    fastcall: bool


def prototype(env: Env, number: int) -> Proto | None:
    """The prototype of a helper for this program; None when programs of this type may not call it.

    Raises UnknownHelper for a number that the kernel does not have.
    """
    if number in env.prototypes:
        return env.prototypes[number]
    found = env.prototypes[number] = _find(env, number)
    return found


def _find(env: Env, number: int) -> Proto | None:
    program = env.program
    row = HELPER_BY_ID.get(number)
    if row is None or row.since > program.version:
        if number == 0:
            return None
        raise UnknownHelper
    group, passes = group_of_target(
        row.name, program.prog_type, program.expected_attach_type, program.version,
        bpf=env.bpf_capable, perfmon=env.leaks_allowed, target=env.target.helpers_for if env.target is not None else "",
    )
    if group is None:
        return None
    found = _build(row, program.prog_type, program.version, env.sleepable, program.expected_attach_type)
    return found if passes else replace(found, forbidden=True)


@lru_cache(maxsize=4096)
def _build(row: Helper, prog_type: int, version: KernelVersion, sleepable: bool, attach: int) -> Proto:
    proto = prototype_for(row, prog_type, sleepable, attach)
    args = [_argument(text, size) for text, size in zip(proto.args, proto.sizes, strict=True)]
    if row.name in _WRITERS and version >= _WRITERS_SINCE:
        args = [
            replace(arg, write=True) if arg.kind == "ARG_PTR_TO_MEM" and not arg.read_only else arg for arg in args
        ]
    if version < _EARLY_UNTIL and row.name in _EARLY:
        at, changes = _EARLY[row.name]
        args[at] = replace(args[at], **changes)  # type: ignore[arg-type]
    args += [_NONE] * (5 - len(args))
    if row.name == "loop" and not _COUNT_CHECKED[0] <= version < _COUNT_CHECKED[1]:
        args[0] = replace(args[0], kind="ARG_ANYTHING")
    if row.name == "get_stack" and args[1].read_only and version >= _RAW_STACK_WRITTEN:
        args[1] = replace(args[1], read_only=False, uninit=True, write=True)
    base, flags = _split(proto.ret)
    return Proto(
        row.id, row.name, (args[0], args[1], args[2], args[3], args[4]), base,
        "PTR_MAYBE_NULL" in flags, "MEM_RINGBUF" in flags, "MEM_RDONLY" in flags,
        "PTR_TRUSTED" in flags, proto.gpl_only,
        proto.might_sleep and not (version >= _SLEEP_NO_MORE and row.name in _SLEPT_IN_612), False, proto.pkt_access,
        fastcall_for(row, prog_type, attach, version),
    )


def _split(text: str) -> tuple[str, frozenset[str]]:
    base, *flags = (part.strip() for part in text.split("|"))
    return base, frozenset(flags)


def _argument(text: str, size: int) -> ArgSpec:
    base, flags = _split(text)
    return ArgSpec(
        base,
        "PTR_MAYBE_NULL" in flags,
        "MEM_UNINIT" in flags,
        "MEM_RDONLY" in flags,
        "MEM_WRITE" in flags,
        "OBJ_RELEASE" in flags,
        "MEM_ALIGNED" in flags,
        size,
        next((name for flag, name in _DYNPTRS.items() if flag in flags), ""),
    )
