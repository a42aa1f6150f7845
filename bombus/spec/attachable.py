"""Kernel functions and tracepoints with rules of their own for programs that are attached to them through BTF.

Sources: Linux 6.12 kernel/bpf/verifier.c (btf_non_sleepable_error_inject, btf_id_deny, noreturn_deny), kernel/bpf/btf.c
(raw_tp_null_args), kernel/bpf/bpf_lsm.c (bool_lsm_hooks), net/bpf/test_run.c, ALLOW_ERROR_INJECTION in its sources.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bombus.spec.version import KernelVersion, since


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Functions whose result may be replaced, beside system calls; which of them a kernel has depends on its configuration.
_ERROR_INJECTION: Final = _set("""
    __filemap_add_folio btrfs_check_leaf btrfs_check_node btrfs_cow_block btrfs_search_slot
    btrfs_should_cancel_balance io_ctl_init open_ctree page_pool_alloc_pages should_fail_alloc_page should_fail_bio
    should_failslab
""")
_SYSCALLS: Final = ("__x64_sys_", "__ia32_sys_", "__ia32_compat_sys_", "__arm64_sys_", "__s390x_sys_", "__riscv_sys_")
_NEVER_SLEEPS: Final = _set("__filemap_add_folio should_fail_alloc_page should_failslab")
# Functions of test runs whose result programs may replace; at the first they may sleep.
_TEST_SLEEPABLE: Final = "bpf_fentry_test1"
_FMOD_RET: Final = _set("""
    bpf_modify_return_test bpf_modify_return_test2 bpf_modify_return_test_tp bpf_fentry_test1 update_socket_protocol
    hid_bpf_device_event hid_bpf_rdesc_fixup
""")

# No tracing program may be attached to these, and no fexit or fmod_ret program to those that never return.
DENIED: Final = _set("""
    migrate_disable migrate_enable rcu_read_unlock_strict preempt_count_add preempt_count_sub __rcu_read_lock
    __rcu_read_unlock
""")
NEVER_RETURN: Final = _set("""
    __ia32_sys_exit __ia32_sys_exit_group __kunit_abort kunit_try_catch_throw __module_put_and_kthread_exit
    __x64_sys_exit __x64_sys_exit_group do_exit do_group_exit kthread_complete_and_exit kthread_exit make_task_dead
""")
# Security hooks that answer yes or no instead of an error.
BOOLEAN_LSM_HOOKS: Final = _set("xfrm_state_pol_flow_match audit_rule_known inode_xattr_skipcap")


def error_injectable(function: str) -> bool:
    """Whether the result of a kernel function may be replaced (ALLOW_ERROR_INJECTION) where that is configured."""
    return function in _ERROR_INJECTION or function.startswith(_SYSCALLS)


def sleepable(function: str, injection: bool) -> bool:
    """Whether fentry, fexit and fmod_ret programs at a function may sleep. injection: errors can be injected."""
    return function == _TEST_SLEEPABLE or (
        injection and error_injectable(function) and function not in _NEVER_SLEEPS
    )


def modifiable(function: str, injection: bool) -> bool:
    """Whether fmod_ret programs may be attached to a function. injection: errors can be injected."""
    return function in _FMOD_RET or function.startswith("security_") or (injection and error_injectable(function))


class TracepointArguments(NamedTuple):
    """Arguments, from 0, that may be null, and those that may be an error instead of a pointer."""

    nullable: tuple[int, ...] = ()
    errors: tuple[int, ...] = ()


_NULLABLE: Final = {
    (0,): """
        sched_process_wait afs_protocol_error cachefiles_lookup cachefiles_unlink cachefiles_rename cachefiles_prep_read
        cachefiles_mark_active cachefiles_mark_failed cachefiles_mark_inactive cachefiles_vfs_error
        cachefiles_io_error cachefiles_ondemand_open cachefiles_ondemand_copen cachefiles_ondemand_close
        cachefiles_ondemand_read cachefiles_ondemand_cread cachefiles_ondemand_fd_write
        cachefiles_ondemand_fd_release mm_collapse_huge_page_isolate mm_page_alloc mm_page_pcpu_drain
        mm_page_alloc_zone_locked rxrpc_recvdata xs_stream_read_data tmigr_update_events
    """,
    (1,): """
        sched_pi_setprio afs_make_fs_call afs_make_fs_calli afs_make_fs_call1 afs_make_fs_call2 afs_flock_ev
        ext4_mballoc_discard ext4_mballoc_free posix_lock_inode fcntl_setlk locks_remove_posix flock_lock_inode
        break_lease_noblock break_lease_block break_lease_unblock generic_delete_lease time_out_leases
        mm_khugepaged_scan_pmd mm_khugepaged_scan_file mm_khugepaged_collapse_file netfs_failure
        device_pm_callback_start rxrpc_resend xprt_reserve_cong xprt_release_cong xprt_get_cong xprt_put_cong
        writeback_dirty_folio folio_wait_writeback
    """,
    (2,): "sched_stick_numa sched_swap_numa fib_table_lookup tegra_dma_tx_status",
    (3,): "qdisc_dequeue kfree_skb",
    (4,): "host1x_cdma_push_gather",
    (0, 1): "tcp_send_reset",
}
_ERRORS: Final = {"cachefiles_lookup": (2,), "signal_generate": (1,), "signal_deliver": (1,), "mr_integ_alloc": (3,)}
_IN_612: Final[dict[str, TracepointArguments]] = {
    **{
        name: TracepointArguments(arguments, _ERRORS.get(name, ()))
        for arguments, names in _NULLABLE.items() for name in names.split()
    },
    **{name: TracepointArguments((), errors) for name, errors in _ERRORS.items() if name != "cachefiles_lookup"},
}  # fmt: skip
# What is different after 6.12 (observed on 6.18).
_LATER_NULLABLE: Final = {
    (0,): """
        xfs_inodegc_flush xfs_inodegc_push xfs_inodegc_start xfs_inodegc_stop xfs_inodegc_queue xfs_inodegc_throttle
        xfs_fs_sync_fs xfs_blockgc_start xfs_blockgc_stop xfs_blockgc_worker xfs_blockgc_flush_all
        xfs_defer_create_intent xfs_defer_cancel_list xfs_defer_pending_finish xfs_defer_pending_abort
        xfs_defer_relog_intent xfs_defer_isolate_paused xfs_defer_item_pause xfs_defer_item_unpause
        xfs_defer_add_item xfs_defer_cancel_item xfs_defer_finish_item
    """,
    (1,): "xfs_ioc_free_eofblocks xfs_blockgc_free_space hugetlbfs_alloc_inode",
    (2,): "xfs_btree_updkeys xfs_btree_overlapped_query_range tcp_sendmsg_locked",
    (4,): "xfs_map_blocks_found xfs_map_blocks_alloc",
    (): "sched_process_wait signal_generate signal_deliver",
}
_LATER: Final = {
    name: TracepointArguments(arguments) for arguments, names in _LATER_NULLABLE.items() for name in names.split()
}
_LATER_SINCE: Final = since("6.13")


def tracepoint_arguments(name: str, version: KernelVersion) -> TracepointArguments:
    """The rules for the arguments of a tracepoint."""
    if version >= _LATER_SINCE and name in _LATER:
        return _LATER[name]
    return _IN_612.get(name, TracepointArguments())
