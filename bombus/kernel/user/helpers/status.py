"""The state of every helper in the user kernel, as docs/helpers.md shows it (tools/gen-helper-docs writes it)."""

from __future__ import annotations

from typing import Final

from bombus.kernel.user.helpers.registry import bound

# tests/kernel_user/test_helper_{linux,scenes}.py, test_prog_retvals.py and others run these on Linux too, or against
# its records.
COMPARED: Final = frozenset({
    "csum_diff", "l3_csum_replace", "l4_csum_replace", "csum_level", "csum_update", "skb_store_bytes",
    "skb_load_bytes", "skb_load_bytes_relative", "skb_adjust_room", "skb_change_tail", "skb_change_head",
    "skb_change_proto", "skb_change_type", "skb_pull_data", "skb_vlan_push", "skb_vlan_pop", "get_route_realm",
    "get_cgroup_classid", "skb_cgroup_classid", "skb_ecn_set_ce", "set_hash", "set_hash_invalid", "redirect",
    "redirect_peer", "skb_get_tunnel_key", "strtol", "strtoul", "xdp_adjust_head", "xdp_adjust_tail",
    "xdp_adjust_meta", "xdp_load_bytes", "xdp_store_bytes", "xdp_get_buff_len", "map_lookup_elem",
    "map_update_elem", "map_delete_elem", "map_push_elem", "map_pop_elem", "map_peek_elem", "ringbuf_output",
    "ringbuf_query", "ringbuf_reserve", "ringbuf_submit", "ringbuf_discard", "perf_event_output", "loop",
    "probe_read_kernel", "probe_read_kernel_str", "trace_printk", "trace_vprintk",
    # tests/kernel_user/test_helper_scenes.py
    "snprintf", "strncmp", "dynptr_from_mem", "dynptr_read", "dynptr_write", "dynptr_data", "ringbuf_reserve_dynptr",
    "ringbuf_submit_dynptr", "ringbuf_discard_dynptr", "user_ringbuf_drain", "for_each_map_elem", "tail_call",
    "spin_lock", "spin_unlock", "timer_init", "timer_set_callback", "timer_start", "timer_cancel",
    "check_mtu", "redirect_map", "skb_set_tunnel_key", "skb_set_tunnel_opt", "skb_get_tunnel_opt", "probe_read",
    "probe_read_str", "skb_get_xfrm_state", "get_socket_uid", "skb_set_tstamp", "map_lookup_percpu_elem",
    # tests/kernel_user/test_iter_tasks.py
    "get_stackid", "get_stack", "seq_write", "seq_printf",
    # tests/linux/test_parity_sysctl.py
    "sysctl_get_name", "sysctl_get_current_value", "sysctl_get_new_value", "sysctl_set_new_value", "set_retval",
    "get_retval",
    # tests/linux/test_parity_tcp.py
    "sock_ops_cb_flags_set", "setsockopt", "getsockopt", "load_hdr_opt", "tcp_sock",
    # tests/linux/test_parity_messages.py
    "sock_map_update", "sock_hash_update", "msg_redirect_map", "msg_redirect_hash", "msg_apply_bytes", "msg_pull_data",
    # tests/linux/test_parity_neighbours.py
    "fib_lookup", "redirect_neigh",
    # tests/linux/test_parity_steering.py
    "sk_lookup_tcp", "sk_lookup_udp", "sk_release", "sk_assign", "sk_select_reuseport",
    # tests/linux/test_trampolines.py
    "get_func_arg", "get_func_arg_cnt", "get_func_ret", "get_attach_cookie",
})  # fmt: skip

# Implemented, but the answer is the machine's or cannot be provoked in a test run.
NOT_COMPARABLE: Final = {
    "ktime_get_ns": "reads a clock",
    "ktime_get_boot_ns": "reads a clock",
    "ktime_get_coarse_ns": "reads a clock",
    "ktime_get_tai_ns": "reads a clock",
    "jiffies64": "reads a clock",
    "get_prandom_u32": "random",
    "get_smp_processor_id": "the user kernel runs on one CPU at a time",
    "get_numa_node_id": "the machine's answer",
    "get_current_pid_tgid": "the process's answer",
    "get_current_uid_gid": "the process's answer",
    "get_current_comm": "the process's answer",
    "get_current_cgroup_id": "the process's answer",
    "get_current_ancestor_cgroup_id": "the process's answer",
    "get_current_task": "the world's task",
    "get_current_task_btf": "the world's task",
    "get_task_stack": "the stack that the world's task has",
    "get_hash_recalc": "a sum over the addresses; Linux hashes flows with a random key",
    "clone_redirect": "the user kernel's devices lead nowhere",
    "get_socket_cookie": "any number will do",
    "send_signal": "always refused here",
    "send_signal_thread": "always refused here",
    "sk_fullsock": "the socket of the direct run, or 0",
    "tcp_check_syncookie": "always -EINVAL: no sockets listen here",
    "tcp_gen_syncookie": "always -EINVAL: no sockets listen here",
    "skc_to_tcp6_sock": "always 0: no such sockets here",
    "skc_to_tcp_sock": "always 0: no such sockets here",
    "skc_to_tcp_timewait_sock": "always 0: no such sockets here",
    "skc_to_tcp_request_sock": "always 0: no such sockets here",
    "skc_to_udp6_sock": "always 0: no such sockets here",
    "skc_to_unix_sock": "always 0: no such sockets here",
    "skc_to_mptcp_sock": "always 0: no such sockets here",
    "sock_from_file": "always 0: programs hold no files here",
    "skb_output": "always -EINVAL: no kernel objects here",
    "xdp_output": "always -EINVAL: no kernel objects here",
    "skb_cgroup_id": "always 0: packets of direct runs have no cgroup",
    "skb_ancestor_cgroup_id": "always 0: packets of direct runs have no cgroup",
    "sk_cgroup_id": "the cgroup of the world's task",
    "sk_ancestor_cgroup_id": "the cgroup of the world's task at level 0",
    "get_ns_current_pid_tgid": "always -EINVAL: no pid namespaces here",
    "probe_write_user": "always refused here",
    "get_netns_cookie": "any number will do",
}

_HEAD: Final = """# Helpers of the user kernel

Written by `tools/gen-helper-docs`; do not edit.

- **compared**: has a body, and the tests run it on the user kernel and on Linux, or against Linux' recorded results.
- **implemented**: has a body, tested on the user kernel alone or not yet compared with Linux.
- **not comparable**: has a body whose answer cannot equal the machine's, for the reason given.
- **not yet**: a program that calls it is refused when it is loaded, naming the helper.

"""


def state(number: int, name: str) -> str:
    """compared, implemented, not comparable (why), or not yet."""
    if not bound(number):
        return "not yet"
    if name in NOT_COMPARABLE:
        return f"not comparable: {NOT_COMPARABLE[name]}"
    return "compared" if name in COMPARED else "implemented"


def page() -> str:
    """The text of docs/helpers.md."""
    from bombus.spec.helpers import HELPERS

    states = {row.id: state(row.id, row.name) for row in HELPERS}
    counts: dict[str, int] = {}
    for text in states.values():
        key = text.partition(":")[0]
        counts[key] = counts.get(key, 0) + 1
    summary = ", ".join(f"{counts.get(k, 0)} {k}" for k in ("compared", "implemented", "not comparable", "not yet"))
    lines = [_HEAD + f"{len(states)} helpers: {summary}.\n", "| id | helper | since | state |", "|---|---|---|---|"]
    lines += [f"| {row.id} | `bpf_{row.name}` | {row.since} | {states[row.id]} |" for row in HELPERS]
    return "\n".join(lines) + "\n"
