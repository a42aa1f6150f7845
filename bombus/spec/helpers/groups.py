"""Which programs may call which helpers.

The kernel decides this by one function per program type that falls back to others. A group is what one such function
names itself; CHAINS says for each program type which groups are asked, in order.

Sources: the *_func_proto functions of Linux 6.12: kernel/bpf/helpers.c, kernel/bpf/cgroup.c, kernel/bpf/syscall.c,
kernel/bpf/bpf_lsm.c, kernel/trace/bpf_trace.c, net/core/filter.c, net/ipv4/bpf_tcp_ca.c, drivers/media/rc/bpf-lirc.c.
"""

from __future__ import annotations

from typing import Final

from bombus.spec.version import KernelVersion, since

_GROUPS: Final = {
    "base": """
        map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem
        map_lookup_percpu_elem get_prandom_u32 get_smp_processor_id get_numa_node_id tail_call ktime_get_ns
        ktime_get_boot_ns ktime_get_tai_ns ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard
        ringbuf_query strncmp strtol strtoul get_current_pid_tgid get_ns_current_pid_tgid get_current_uid_gid
    """,
    "base_bpf": """
        spin_lock spin_unlock jiffies64 per_cpu_ptr this_cpu_ptr timer_init timer_set_callback timer_start
        timer_cancel kptr_xchg for_each_map_elem loop user_ringbuf_drain ringbuf_reserve_dynptr
        ringbuf_submit_dynptr ringbuf_discard_dynptr dynptr_from_mem dynptr_read dynptr_write dynptr_data
        cgrp_storage_get cgrp_storage_delete get_current_cgroup_id get_current_ancestor_cgroup_id
        current_task_under_cgroup get_cgroup_classid task_storage_get task_storage_delete
    """,
    "base_perfmon": """
        trace_printk get_current_task get_current_task_btf probe_read_user probe_read_kernel
        probe_read_user_str probe_read_kernel_str snprintf_btf snprintf task_pt_regs trace_vprintk
        get_current_comm perf_event_read perf_event_read_value send_signal send_signal_thread get_task_stack
        copy_from_user copy_from_user_task get_branch_snapshot find_vma
    """,
    "sk_base_perfmon": """
        skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock skc_to_udp6_sock
        skc_to_unix_sock skc_to_mptcp_sock
    """,
    "sk_base": """
        ktime_get_coarse_ns
    """,
    "lirc": """
        rc_repeat rc_keydown rc_pointer_rel map_lookup_elem map_update_elem map_delete_elem map_push_elem
        map_pop_elem map_peek_elem ktime_get_ns ktime_get_boot_ns tail_call get_prandom_u32 trace_printk
    """,
    "lsm": """
        inode_storage_get inode_storage_delete sk_storage_get sk_storage_delete spin_lock spin_unlock
        bprm_opts_set ima_inode_hash ima_file_hash get_attach_cookie setsockopt getsockopt
    """,
    "cgroup_device": """
        perf_event_output
    """,
    "cgroup_sysctl": """
        sysctl_get_name sysctl_get_current_value sysctl_get_new_value sysctl_set_new_value
        ktime_get_coarse_ns perf_event_output
    """,
    "cgroup_sockopt": """
        get_netns_cookie sk_storage_get sk_storage_delete setsockopt getsockopt tcp_sock perf_event_output
    """,
    "cgroup_common": """
        get_local_storage get_retval set_retval
    """,
    "cgroup_current": """
        get_current_uid_gid get_cgroup_classid current_task_under_cgroup
    """,
    "syscall": """
        sys_bpf btf_find_by_name_kind sys_close kallsyms_lookup_name
    """,
    "tracing_base": """
        map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem
        map_lookup_percpu_elem ktime_get_ns ktime_get_boot_ns tail_call get_current_uid_gid
        get_smp_processor_id get_numa_node_id get_prandom_u32 probe_write_user probe_read probe_read_str
        cgrp_storage_get cgrp_storage_delete current_task_under_cgroup ringbuf_output ringbuf_reserve
        ringbuf_submit ringbuf_discard ringbuf_query jiffies64 per_cpu_ptr this_cpu_ptr task_storage_get
        task_storage_delete for_each_map_elem get_func_ip
    """,
    "kprobe": """
        perf_event_output get_stackid get_stack override_return get_func_ip get_attach_cookie
    """,
    "tracepoint": """
        perf_event_output get_stackid get_stack get_attach_cookie
    """,
    "perf_event": """
        perf_event_output get_stackid get_stack perf_prog_read_value read_branch_records get_attach_cookie
    """,
    "raw_tracepoint": """
        perf_event_output get_stackid get_stack get_attach_cookie
    """,
    "tracing": """
        skb_output xdp_output skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock
        skc_to_tcp_request_sock skc_to_udp6_sock skc_to_unix_sock skc_to_mptcp_sock sk_storage_get
        sk_storage_delete sock_from_file get_socket_cookie xdp_get_buff_len seq_printf seq_write
        seq_printf_btf d_path get_func_arg get_func_ret get_func_arg_cnt get_attach_cookie
    """,
    "cgroup_sock": """
        get_socket_cookie get_netns_cookie perf_event_output sk_storage_get ktime_get_coarse_ns
    """,
    "cgroup_sock_addr": """
        bind get_socket_cookie get_netns_cookie perf_event_output sk_lookup_tcp sk_lookup_udp sk_release
        skc_lookup_tcp sk_storage_get sk_storage_delete setsockopt getsockopt
    """,
    "socket_filter": """
        skb_load_bytes skb_load_bytes_relative get_socket_cookie get_netns_cookie get_socket_uid
        perf_event_output
    """,
    "cgroup_skb": """
        sk_fullsock sk_storage_get sk_storage_delete perf_event_output skb_cgroup_id skb_ancestor_cgroup_id
        sk_cgroup_id sk_ancestor_cgroup_id sk_lookup_tcp sk_lookup_udp sk_release skc_lookup_tcp tcp_sock
        get_listener_sock skb_ecn_set_ce
    """,
    "sched_cls": """
        skb_store_bytes skb_load_bytes skb_load_bytes_relative skb_pull_data csum_diff csum_update
        csum_level l3_csum_replace l4_csum_replace clone_redirect get_cgroup_classid skb_vlan_push
        skb_vlan_pop skb_change_proto skb_change_type skb_adjust_room skb_change_tail skb_change_head
        skb_get_tunnel_key skb_set_tunnel_key skb_get_tunnel_opt skb_set_tunnel_opt redirect redirect_neigh
        redirect_peer get_route_realm get_hash_recalc set_hash_invalid set_hash perf_event_output
        get_smp_processor_id skb_under_cgroup get_socket_cookie get_netns_cookie get_socket_uid fib_lookup check_mtu
        sk_fullsock sk_storage_get sk_storage_delete skb_get_xfrm_state skb_cgroup_classid skb_cgroup_id
        skb_ancestor_cgroup_id sk_lookup_tcp sk_lookup_udp sk_release tcp_sock get_listener_sock
        skc_lookup_tcp tcp_check_syncookie skb_ecn_set_ce tcp_gen_syncookie sk_assign skb_set_tstamp
        tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4
        tcp_raw_check_syncookie_ipv6
    """,
    "xdp": """
        perf_event_output get_smp_processor_id csum_diff xdp_adjust_head xdp_adjust_meta redirect
        redirect_map xdp_adjust_tail xdp_get_buff_len xdp_load_bytes xdp_store_bytes fib_lookup check_mtu
        sk_lookup_udp sk_lookup_tcp sk_release skc_lookup_tcp tcp_check_syncookie tcp_gen_syncookie
        tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4
        tcp_raw_check_syncookie_ipv6
    """,
    "sock_ops": """
        setsockopt getsockopt sock_ops_cb_flags_set sock_map_update sock_hash_update get_socket_cookie
        perf_event_output sk_storage_get sk_storage_delete get_netns_cookie load_hdr_opt store_hdr_opt
        reserve_hdr_opt tcp_sock
    """,
    "sk_msg": """
        msg_redirect_map msg_redirect_hash msg_apply_bytes msg_cork_bytes msg_pull_data msg_push_data
        msg_pop_data perf_event_output get_current_uid_gid sk_storage_get sk_storage_delete get_netns_cookie
        get_cgroup_classid
    """,
    "sk_skb": """
        skb_store_bytes skb_load_bytes skb_pull_data skb_change_tail skb_change_head skb_adjust_room
        get_socket_cookie get_socket_uid sk_redirect_map sk_redirect_hash perf_event_output sk_lookup_tcp
        sk_lookup_udp sk_release skc_lookup_tcp
    """,
    "flow_dissector": """
        skb_load_bytes
    """,
    "lwt_out": """
        skb_load_bytes skb_pull_data csum_diff get_cgroup_classid get_route_realm get_hash_recalc
        perf_event_output get_smp_processor_id skb_under_cgroup
    """,
    "lwt_in": """
        lwt_push_encap
    """,
    "lwt_xmit": """
        skb_get_tunnel_key skb_set_tunnel_key skb_get_tunnel_opt skb_set_tunnel_opt redirect clone_redirect
        skb_change_tail skb_change_head skb_store_bytes csum_update csum_level l3_csum_replace
        l4_csum_replace set_hash_invalid lwt_push_encap
    """,
    "lwt_seg6local": """
        lwt_seg6_store_bytes lwt_seg6_action lwt_seg6_adjust_srh
    """,
    "sk_reuseport": """
        sk_select_reuseport skb_load_bytes skb_load_bytes_relative get_socket_cookie ktime_get_coarse_ns
    """,
    "sk_lookup": """
        perf_event_output sk_assign sk_release
    """,
    "iter_sockets": """
        setsockopt getsockopt
    """,
    "sched_ext": """
        task_storage_get task_storage_delete
    """,
    "tcp_congestion": """
        tcp_send_ack sk_storage_get sk_storage_delete setsockopt getsockopt ktime_get_coarse_ns
    """,
}
GROUPS: Final[dict[str, frozenset[str]]] = {name: frozenset(names.split()) for name, names in _GROUPS.items()}

# What these groups hold needs a capability of the loader.
NEEDS_BPF: Final = frozenset(("base_bpf",))
NEEDS_PERFMON_TOO: Final = frozenset((("lirc", "trace_printk"), ("syscall", "sys_bpf")))
NEEDS_PERFMON: Final = frozenset(("base_perfmon", "sk_base_perfmon"))

_BASE = ("base", "base_bpf", "base_perfmon")
_SK = ("sk_base", "sk_base_perfmon", *_BASE)
_TRACING = ("tracing_base", *_BASE)
_RAW = ("raw_tracepoint", *_TRACING)
_CGROUP = ("cgroup_common", "cgroup_current")
_LWT = ("lwt_out", *_SK)

CHAINS: Final[dict[str, tuple[str, ...]]] = {
    "BPF_PROG_TYPE_SOCKET_FILTER": ("socket_filter", *_SK),
    "BPF_PROG_TYPE_KPROBE": ("kprobe", *_TRACING),
    "BPF_PROG_TYPE_SCHED_CLS": ("sched_cls", *_SK),
    "BPF_PROG_TYPE_SCHED_ACT": ("sched_cls", *_SK),
    "BPF_PROG_TYPE_TRACEPOINT": ("tracepoint", *_TRACING),
    "BPF_PROG_TYPE_XDP": ("xdp", *_SK),
    "BPF_PROG_TYPE_PERF_EVENT": ("perf_event", *_TRACING),
    "BPF_PROG_TYPE_CGROUP_SKB": ("cgroup_common", "cgroup_skb", "socket_filter", *_SK),
    "BPF_PROG_TYPE_CGROUP_SOCK": (*_CGROUP, "cgroup_sock", *_BASE),
    "BPF_PROG_TYPE_LWT_IN": ("lwt_in", *_LWT),
    "BPF_PROG_TYPE_LWT_OUT": _LWT,
    "BPF_PROG_TYPE_LWT_XMIT": ("lwt_xmit", *_LWT),
    "BPF_PROG_TYPE_SOCK_OPS": ("cgroup_common", "sock_ops", *_SK),
    "BPF_PROG_TYPE_SK_SKB": ("sk_skb", *_SK),
    "BPF_PROG_TYPE_CGROUP_DEVICE": (*_CGROUP, "cgroup_device", *_BASE),
    "BPF_PROG_TYPE_SK_MSG": ("sk_msg", *_SK),
    "BPF_PROG_TYPE_RAW_TRACEPOINT": _RAW,
    "BPF_PROG_TYPE_CGROUP_SOCK_ADDR": (*_CGROUP, "cgroup_sock_addr", *_SK),
    "BPF_PROG_TYPE_LWT_SEG6LOCAL": ("lwt_seg6local", *_LWT),
    "BPF_PROG_TYPE_LIRC_MODE2": ("lirc",),
    "BPF_PROG_TYPE_SK_REUSEPORT": ("sk_reuseport", *_BASE),
    "BPF_PROG_TYPE_FLOW_DISSECTOR": ("flow_dissector", *_SK),
    "BPF_PROG_TYPE_CGROUP_SYSCTL": (*_CGROUP, "cgroup_sysctl", *_BASE),
    "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE": _RAW,
    "BPF_PROG_TYPE_CGROUP_SOCKOPT": (*_CGROUP, "cgroup_sockopt", *_BASE),
    "BPF_PROG_TYPE_TRACING": ("tracing", *_RAW),
    "BPF_PROG_TYPE_STRUCT_OPS": ("tcp_congestion", *_BASE),
    "BPF_PROG_TYPE_EXT": (),
    "BPF_PROG_TYPE_LSM": ("lsm", "tracing", *_RAW),
    "BPF_PROG_TYPE_SK_LOOKUP": ("sk_lookup", *_SK),
    "BPF_PROG_TYPE_SYSCALL": ("syscall", "tracing", *_RAW),
    "BPF_PROG_TYPE_NETFILTER": _BASE,
}

# Chains that depend on the expected attach type.
ATTACH_CHAINS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("BPF_PROG_TYPE_LSM", "BPF_LSM_CGROUP"): ("cgroup_common", "lsm", "tracing", *_RAW),
}
# Chains that depend on what the program is for: a struct of operations, or what an iterator walks over.
# Linux 6.12 net/ipv4/tcp_ipv4.c bpf_iter_tcp_get_func_proto, net/unix/af_unix.c, kernel/sched/ext.c,
# drivers/hid/bpf/hid_bpf_struct_ops.c; net/bpf/bpf_dummy_struct_ops.c names no helpers at all.
TARGET_CHAINS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("BPF_PROG_TYPE_STRUCT_OPS", "bpf_dummy_ops"): (),
    ("BPF_PROG_TYPE_STRUCT_OPS", "hid_bpf_ops"): _BASE,
    ("BPF_PROG_TYPE_STRUCT_OPS", "Qdisc_ops"): _BASE,
    ("BPF_PROG_TYPE_STRUCT_OPS", "sched_ext_ops"): ("sched_ext", *_BASE),
    ("BPF_PROG_TYPE_TRACING", "bpf_iter_tcp"): ("tracing", *_RAW, "iter_sockets"),
    ("BPF_PROG_TYPE_TRACING", "bpf_iter_unix"): ("tracing", *_RAW, "iter_sockets"),
}
# Members of such a struct whose programs do not get a helper that the others do.
TARGET_NEVER: Final = frozenset(
    (("tcp_congestion_ops.release", "setsockopt"), ("tcp_congestion_ops.release", "getsockopt"))
)

_NO_RETVAL = frozenset(
    f"BPF_CGROUP_{name}"
    for name in (
        "INET_INGRESS", "INET_EGRESS", "SOCK_OPS", "UDP4_RECVMSG", "UDP6_RECVMSG", "UNIX_RECVMSG",
        "INET4_GETPEERNAME", "INET6_GETPEERNAME", "UNIX_GETPEERNAME", "INET4_GETSOCKNAME", "INET6_GETSOCKNAME",
        "UNIX_GETSOCKNAME",
    )
)
_SOCKOPTS = frozenset(
    f"BPF_CGROUP_{name}"
    for name in (
        "INET4_BIND", "INET6_BIND", "INET4_CONNECT", "INET6_CONNECT", "UNIX_CONNECT", "UDP4_RECVMSG", "UDP6_RECVMSG",
        "UNIX_RECVMSG", "UDP4_SENDMSG", "UDP6_SENDMSG", "UNIX_SENDMSG", "INET4_GETPEERNAME", "INET6_GETPEERNAME",
        "UNIX_GETPEERNAME", "INET4_GETSOCKNAME", "INET6_GETSOCKNAME", "UNIX_GETSOCKNAME",
    )
)
_ITER = frozenset(("BPF_TRACE_ITER",))
_FUNCTIONS = frozenset(("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT"))
_RAW_TP = frozenset(("BPF_TRACE_RAW_TP",))
_TRAMPOLINE = frozenset(("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT", "BPF_MODIFY_RETURN", "BPF_LSM_MAC"))

# (group, helper): the attach types with which the group has it.
ONLY_WITH: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("cgroup_sock_addr", "bind"): frozenset(("BPF_CGROUP_INET4_CONNECT", "BPF_CGROUP_INET6_CONNECT")),
    ("cgroup_sock_addr", "setsockopt"): _SOCKOPTS,
    ("cgroup_sock_addr", "getsockopt"): _SOCKOPTS,
    ("cgroup_sockopt", "setsockopt"): frozenset(("BPF_CGROUP_SETSOCKOPT",)),
    ("cgroup_sockopt", "getsockopt"): frozenset(("BPF_CGROUP_SETSOCKOPT",)),
    ("tracing", "seq_printf"): _ITER,
    ("tracing", "seq_write"): _ITER,
    ("tracing", "seq_printf_btf"): _ITER,
    ("tracing", "get_func_arg"): _TRAMPOLINE,
    ("tracing", "get_func_ret"): _TRAMPOLINE,
    ("tracing", "get_func_arg_cnt"): _TRAMPOLINE,
    ("tracing", "get_attach_cookie"): _TRAMPOLINE | _RAW_TP,
    ("lsm", "get_attach_cookie"): _TRAMPOLINE,
    ("lsm", "setsockopt"): frozenset(("BPF_LSM_CGROUP",)),
    ("lsm", "getsockopt"): frozenset(("BPF_LSM_CGROUP",)),
}
# (group, helper): the attach types with which it does not, and no later group is asked.
NOT_WITH: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("cgroup_common", "get_retval"): _NO_RETVAL,
    ("cgroup_common", "set_retval"): _NO_RETVAL,
}
# (group, helper): the attach types with which the helper's own check lets it pass; the verifier has a text of its own
# for what it refuses. Targets of one attach type may differ too: helpers._passes.
IN_PROBE: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("tracing", "sk_storage_get"): _ITER | _RAW_TP | _FUNCTIONS,
    ("tracing", "sk_storage_delete"): _ITER | _RAW_TP | _FUNCTIONS,
    ("tracing", "d_path"): _ITER | _TRAMPOLINE | {"BPF_LSM_CGROUP"},
}
# (program type, helper): refused although a group that is asked has it, until a version.
NEVER: Final[dict[tuple[str, str], KernelVersion]] = {
    # 6.12 refuses it, 6.18 was seen to allow it.
    ("BPF_PROG_TYPE_LWT_SEG6LOCAL", "skb_pull_data"): since("6.18"),
}

# (group, helper): what a group got later than the helper itself came.
LATER: Final[dict[tuple[str, str], KernelVersion]] = {
    ("base", "get_current_pid_tgid"): since("6.10"),
    ("base", "get_ns_current_pid_tgid"): since("6.10"),
    ("base", "get_current_uid_gid"): since("6.16"),
    **{("base_bpf", name): since("6.16") for name in (
        "current_task_under_cgroup", "get_cgroup_classid", "task_storage_get", "task_storage_delete")},
    **{("base_perfmon", name): since("6.16") for name in (
        "get_current_comm", "perf_event_read", "perf_event_read_value", "send_signal", "send_signal_thread",
        "get_task_stack", "copy_from_user", "copy_from_user_task", "get_branch_snapshot", "find_vma")},
    ("socket_filter", "get_netns_cookie"): since("6.15"),
    ("cgroup_current", "current_task_under_cgroup"): since("6.12"),
    ("sched_cls", "get_netns_cookie"): since("6.15"),
    **{("iter_sockets", name): since("5.15") for name in ("setsockopt", "getsockopt")},
    ("base_bpf", "get_current_cgroup_id"): since("6.2"),
    ("base_bpf", "get_current_ancestor_cgroup_id"): since("6.2"),
    **{("base_perfmon", name): since("5.8") for name in (
        "get_current_task", "probe_read_user", "probe_read_kernel", "probe_read_user_str", "probe_read_kernel_str")},
    ("tracing", "sk_storage_get"): since("5.11"),
    ("tracing", "sk_storage_delete"): since("5.11"),
    ("tracing", "get_socket_cookie"): since("5.12"),
    ("tracing", "get_attach_cookie"): since("5.19"),
    ("lsm", "get_attach_cookie"): since("5.19"),
    ("raw_tracepoint", "get_attach_cookie"): since("6.10"),
    **{("cgroup_sock_addr", name): since("5.8") for name in ("setsockopt", "getsockopt")},
    **{("cgroup_sockopt", name): since("5.15") for name in ("setsockopt", "getsockopt")},
    **{("lsm", name): since("6.0") for name in ("setsockopt", "getsockopt")},
}

_TRACING_UNTIL_6_16 = """
    trace_printk get_current_comm perf_event_read get_current_task perf_event_read_value send_signal
    probe_read_user probe_read_kernel probe_read_user_str probe_read_kernel_str send_signal_thread
    get_task_stack snprintf_btf get_current_task_btf snprintf task_pt_regs get_branch_snapshot trace_vprintk
    find_vma copy_from_user_task
"""
# (group, helper): from when and before when a group itself had a helper that moved on to a group behind it.
FORMER: Final[dict[tuple[str, str], tuple[KernelVersion, KernelVersion]]] = {
    **{("tracing_base", name): (since("3.18"), since("6.16")) for name in _TRACING_UNTIL_6_16.split()},
    ("tracing_base", "copy_from_user"): (since("5.10"), since("6.16")),
    ("tracing_base", "get_current_pid_tgid"): (since("4.2"), since("6.10")),
    ("tracing_base", "get_ns_current_pid_tgid"): (since("5.7"), since("6.10")),
    ("tracing_base", "get_current_cgroup_id"): (since("4.18"), since("6.2")),
    ("tracing_base", "get_current_ancestor_cgroup_id"): (since("5.14"), since("6.2")),
    ("cgroup_current", "get_current_comm"): (since("6.1"), since("6.16")),
    ("cgroup_current", "get_current_pid_tgid"): (since("6.1"), since("6.10")),
    ("cgroup_current", "get_current_cgroup_id"): (since("4.18"), since("6.2")),
    ("cgroup_current", "get_current_ancestor_cgroup_id"): (since("5.7"), since("6.2")),
    ("sk_msg", "get_current_pid_tgid"): (since("5.8"), since("6.10")),
    ("sk_msg", "get_current_cgroup_id"): (since("5.8"), since("6.2")),
    ("sk_msg", "get_current_ancestor_cgroup_id"): (since("5.8"), since("6.2")),
}

# (group, helper, attach type): what came later with one attach type than with others.
ATTACH_LATER: Final[dict[tuple[str, str, str], KernelVersion]] = {
    ("tracing", "get_attach_cookie", "BPF_TRACE_RAW_TP"): since("6.10"),
    # Not in 6.12, seen in 6.18.
    **{
        ("cgroup_sock_addr", name, f"BPF_CGROUP_UNIX_{call}"): since("6.18")
        for name in ("setsockopt", "getsockopt")
        for call in ("GETPEERNAME", "GETSOCKNAME")
    },
}
