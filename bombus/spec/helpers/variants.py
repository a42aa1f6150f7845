"""Helpers that take other arguments in some programs: by helper, then by the group that the program gets it from.

"sleepable" stands for sleepable programs of any type, "kprobe/sleepable" for those that get it from the group kprobe,
"kprobe/BPF_TRACE_KPROBE_MULTI" for an attach type. Sources: net/core/filter.c, net/core/bpf_sk_storage.c,
kernel/trace/bpf_trace.c, kernel/bpf/stackmap.c of Linux 6.12.
"""

from __future__ import annotations

from typing import Final

from bombus.spec.helpers.model import Prototype
from bombus.spec.version import KernelVersion, since

_COOKIE = Prototype(("ARG_PTR_TO_BTF_ID_SOCK_COMMON|PTR_MAYBE_NULL",), (0,), "RET_INTEGER")
_SET = Prototype(
    ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), (0,) * 5,
    "RET_INTEGER",
)
_GET = Prototype(
    ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"),
    (0,) * 5, "RET_INTEGER",
)
_LOOKUP = ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING", "ARG_ANYTHING")
_FUNC_IP = Prototype(("ARG_PTR_TO_CTX",), (0,), "RET_INTEGER")
_CLASSID = Prototype((), (), "RET_INTEGER")
_STACK = ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING")

VARIANTS: Final[dict[str, dict[str, Prototype]]] = {
    "get_cgroup_classid": {"cgroup_current": _CLASSID, "sk_msg": _CLASSID, "base_bpf": _CLASSID},
    "get_stackid": {
        "perf_event": Prototype(("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_ANYTHING"), (0,) * 3, "RET_INTEGER"),
    },
    "get_socket_cookie": {"tracing": _COOKIE, "sk_reuseport": _COOKIE},
    "setsockopt": {"cgroup_sock_addr": _SET, "sock_ops": _SET},
    "getsockopt": {"cgroup_sock_addr": _GET, "sock_ops": _GET},
    "get_stack": {
        "kprobe/sleepable": Prototype(_STACK, (0,) * 4, "RET_INTEGER", gpl_only=True, might_sleep=True),
        "raw_tracepoint": Prototype(
            ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), (0,) * 4,
            "RET_INTEGER", gpl_only=True,
        ),
    },
    "sk_lookup_tcp": {"cgroup_sock_addr": Prototype(_LOOKUP, (0,) * 5, "RET_PTR_TO_SOCKET|PTR_MAYBE_NULL")},
    "sk_lookup_udp": {"cgroup_sock_addr": Prototype(_LOOKUP, (0,) * 5, "RET_PTR_TO_SOCKET|PTR_MAYBE_NULL")},
    "skc_lookup_tcp": {"cgroup_sock_addr": Prototype(_LOOKUP, (0,) * 5, "RET_PTR_TO_SOCK_COMMON|PTR_MAYBE_NULL")},
    "sk_storage_get": {
        "tracing": Prototype(
            ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL", "ARG_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
             "ARG_ANYTHING"),
            (0,) * 4, "RET_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
        ),
        "cgroup_sock": Prototype(
            ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_CTX", "ARG_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL", "ARG_ANYTHING"), (0,) * 4,
            "RET_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
        ),
    },
    "sk_storage_delete": {
        "tracing": Prototype(("ARG_CONST_MAP_PTR", "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL"), (0, 0), "RET_INTEGER"),
    },
    "sk_assign": {
        "sk_lookup": Prototype(
            ("ARG_PTR_TO_CTX", "ARG_PTR_TO_SOCKET|PTR_MAYBE_NULL", "ARG_ANYTHING"), (0,) * 3, "RET_INTEGER"
        ),
    },
    "get_task_stack": {
        "sleepable": Prototype(
            ("ARG_PTR_TO_BTF_ID", *_STACK[1:]), (0,) * 4, "RET_INTEGER", might_sleep=True
        ),
    },
    "get_func_ip": {
        f"kprobe/BPF_TRACE_{kind}": _FUNC_IP
        for kind in ("KPROBE_MULTI", "KPROBE_SESSION", "UPROBE_MULTI", "UPROBE_SESSION")
    },
    "xdp_get_buff_len": {"tracing": Prototype(("ARG_PTR_TO_BTF_ID",), (0,), "RET_INTEGER")},
}

# (group, helper): where calls did not count as fast ones before a version, although others of that helper did.
# Linux 6.18 still kept the spills around these calls (observed), so the version is the first that may differ.
FASTCALL_SINCE: Final[dict[tuple[str, str], KernelVersion]] = {("base", "get_smp_processor_id"): since("6.19")}
