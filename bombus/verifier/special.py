"""Sets of helpers that the verifier treats specially, by number.

The numbers come from the rows of `spec.helpers`; which helpers belong to a set is a fact about the verifier
(Linux 6.12 kernel/bpf/verifier.c: is_acquire_function, is_sync_callback_calling_function, ...).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bombus.spec.helpers import HELPER, HELPER_BY_ID
from bombus.spec.maptypes import MAP_TYPE
from bombus.spec.version import KernelVersion


def _ids(*names: str) -> frozenset[int]:
    return frozenset(HELPER[name].id for name in names)


SYNC_CALLBACKS: Final = _ids("for_each_map_elem", "find_vma", "loop", "user_ringbuf_drain")
ASYNC_CALLBACKS: Final = _ids("timer_set_callback")
ACQUIRING: Final = _ids("sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp", "ringbuf_reserve", "kptr_xchg")
POINTER_CASTS: Final = _ids(
    "tcp_sock", "sk_fullsock", "skc_to_tcp_sock", "skc_to_tcp6_sock", "skc_to_udp6_sock", "skc_to_mptcp_sock",
    "skc_to_tcp_timewait_sock", "skc_to_tcp_request_sock",
)
STORAGE_GETTERS: Final = _ids("sk_storage_get", "inode_storage_get", "task_storage_get", "cgrp_storage_get")
RING_OPERATIONS: Final = _ids(
    "ringbuf_output", "ringbuf_reserve", "ringbuf_query", "ringbuf_reserve_dynptr", "user_ringbuf_drain"
)
MAP_OPERATIONS: Final = _ids(
    "tail_call", "map_lookup_elem", "map_update_elem", "map_delete_elem", "map_push_elem", "map_pop_elem",
    "map_peek_elem", "for_each_map_elem", "redirect_map", "map_lookup_percpu_elem",
)
MAP_WRITERS: Final = _ids("map_delete_elem", "map_update_elem", "map_push_elem", "map_pop_elem")
BOUNDED_RESULTS: Final = _ids(
    "get_stack", "get_task_stack", "probe_read_str", "probe_read_kernel_str", "probe_read_user_str"
)
# net/core/filter.c: bpf_helper_changes_pkt_data
CHANGE_PACKET: Final = _ids(
    "clone_redirect", "l3_csum_replace", "l4_csum_replace", "lwt_push_encap", "lwt_seg6_action",
    "lwt_seg6_adjust_srh", "lwt_seg6_store_bytes", "msg_pop_data", "msg_pull_data", "msg_push_data",
    "skb_adjust_room", "skb_change_head", "skb_change_proto", "skb_change_tail", "skb_pull_data", "skb_store_bytes",
    "skb_vlan_pop", "skb_vlan_push", "store_hdr_opt", "tail_call", "xdp_adjust_head", "xdp_adjust_meta",
    "xdp_adjust_tail",
)

TAIL_CALL: Final = HELPER["tail_call"].id
LOOKUP: Final = HELPER["map_lookup_elem"].id
UPDATE: Final = HELPER["map_update_elem"].id
DELETE: Final = HELPER["map_delete_elem"].id
PEEK: Final = HELPER["map_peek_elem"].id
SPIN_LOCK: Final = HELPER["spin_lock"].id
SPIN_UNLOCK: Final = HELPER["spin_unlock"].id
LOOP: Final = HELPER["loop"].id
FOR_EACH: Final = HELPER["for_each_map_elem"].id
TIMER_SET_CALLBACK: Final = HELPER["timer_set_callback"].id
FIND_VMA: Final = HELPER["find_vma"].id
USER_RINGBUF_DRAIN: Final = HELPER["user_ringbuf_drain"].id
SNPRINTF: Final = HELPER["snprintf"].id
GET_LOCAL_STORAGE: Final = HELPER["get_local_storage"].id
DYNPTR_FROM_MEM: Final = HELPER["dynptr_from_mem"].id
DYNPTR_DATA: Final = HELPER["dynptr_data"].id
DYNPTR_WRITE: Final = HELPER["dynptr_write"].id
SK_RELEASE: Final = HELPER["sk_release"].id
KPTR_XCHG: Final = HELPER["kptr_xchg"].id
GET_SMP_PROCESSOR_ID: Final = HELPER["get_smp_processor_id"].id
GET_FUNC_IP: Final = HELPER["get_func_ip"].id

# The only map types that a helper works on (check_map_func_compatibility).
_HELPER_TAKES: Final = {
    "tail_call": ("PROG_ARRAY",),
    **dict.fromkeys(
        ("perf_event_read", "perf_event_output", "perf_event_read_value", "skb_output", "xdp_output"),
        ("PERF_EVENT_ARRAY",),
    ),
    **dict.fromkeys(
        ("ringbuf_output", "ringbuf_reserve", "ringbuf_query", "ringbuf_reserve_dynptr", "ringbuf_submit_dynptr",
         "ringbuf_discard_dynptr"),
        ("RINGBUF",),
    ),
    "user_ringbuf_drain": ("USER_RINGBUF",),
    "get_stackid": ("STACK_TRACE",),
    "current_task_under_cgroup": ("CGROUP_ARRAY",),
    "skb_under_cgroup": ("CGROUP_ARRAY",),
    "redirect_map": ("DEVMAP", "DEVMAP_HASH", "CPUMAP", "XSKMAP"),
    **dict.fromkeys(("sk_redirect_map", "msg_redirect_map", "sock_map_update"), ("SOCKMAP",)),
    **dict.fromkeys(("sk_redirect_hash", "msg_redirect_hash", "sock_hash_update"), ("SOCKHASH",)),
    "get_local_storage": ("CGROUP_STORAGE", "PERCPU_CGROUP_STORAGE"),
    "sk_select_reuseport": ("REUSEPORT_SOCKARRAY", "SOCKMAP", "SOCKHASH"),
    "map_pop_elem": ("QUEUE", "STACK"),
    "map_peek_elem": ("QUEUE", "STACK", "BLOOM_FILTER"),
    "map_push_elem": ("QUEUE", "STACK", "BLOOM_FILTER"),
    "map_lookup_percpu_elem": ("PERCPU_ARRAY", "PERCPU_HASH", "LRU_PERCPU_HASH"),
    **dict.fromkeys(("sk_storage_get", "sk_storage_delete"), ("SK_STORAGE",)),
    **dict.fromkeys(("inode_storage_get", "inode_storage_delete"), ("INODE_STORAGE",)),
    **dict.fromkeys(("task_storage_get", "task_storage_delete"), ("TASK_STORAGE",)),
    **dict.fromkeys(("cgrp_storage_get", "cgrp_storage_delete"), ("CGRP_STORAGE",)),
}


@lru_cache(maxsize=64)
def map_takes(map_type: str) -> frozenset[int] | None:
    """The helpers that a map of this type ("HASH", ...) may be given to; None: any."""
    row = MAP_TYPE[f"BPF_MAP_TYPE_{map_type}"]
    return _ids(*row.helpers) if row.helpers_only else None


def helper_takes() -> dict[int, tuple[str, ...]]:
    """By helper number, the only map types that it works on."""
    return {HELPER[name].id: types for name, types in _HELPER_TAKES.items()}


def name(number: int, version: KernelVersion | None = None) -> str:
    """How messages call a helper (func_id_name), of a version when it may be one that has it not."""
    row = HELPER_BY_ID.get(number)
    if row is not None and version is not None and row.since > version:
        row = None
    return f"bpf_{row.name}" if row is not None else "bpf_unspec" if number == 0 else "unknown"


XSK_MAP: Final = MAP_TYPE["BPF_MAP_TYPE_XSKMAP"].id
SOCK_MAPS: Final = (MAP_TYPE["BPF_MAP_TYPE_SOCKMAP"].id, MAP_TYPE["BPF_MAP_TYPE_SOCKHASH"].id)
