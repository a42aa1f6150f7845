"""Kernel functions with rules of their own: security hooks, and functions that bpf_d_path may be called from.

Source: the BTF sets in kernel/bpf/bpf_lsm.c and kernel/trace/bpf_trace.c of Linux 6.12. Security hooks are named
without their prefix: the function behind "file_open" is bpf_lsm_file_open. Other kernels have other hooks, and sets
that differ a little: in 6.1 programs at inet_conn_established may sleep.
"""

from __future__ import annotations

from typing import Final

LSM_PREFIX: Final = "bpf_lsm_"


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Programs at these hooks may sleep.
SLEEPABLE_LSM_HOOKS: Final = _set("""
    bpf bpf_map bpf_map_create bpf_map_free bpf_prog bpf_prog_load bpf_token_capable bpf_token_cmd
    bpf_token_create bpf_token_free bprm_check_security bprm_committed_creds bprm_committing_creds
    bprm_creds_for_exec bprm_creds_from_file capget capset cred_prepare current_getsecid_subj file_ioctl
    file_lock file_open file_post_open file_receive inode_create inode_free_security inode_getattr
    inode_getxattr inode_mknod inode_need_killpriv inode_post_setxattr inode_readlink inode_rename inode_rmdir
    inode_setattr inode_setxattr inode_symlink inode_unlink kernel_module_request kernel_read_file
    kernfs_init_security mmap_file netlink_send path_chmod path_chown path_link path_mkdir path_notify
    path_rename path_rmdir path_symlink path_truncate path_unlink release_secctx sb_alloc_security
    sb_eat_lsm_opts sb_kern_mount sb_mount sb_remount sb_set_mnt_opts sb_show_options sb_statfs sb_umount
    settime socket_accept socket_bind socket_connect socket_create socket_getpeername socket_getpeersec_dgram
    socket_getsockname socket_getsockopt socket_listen socket_post_create socket_recvmsg socket_sendmsg
    socket_shutdown socket_socketpair syslog task_alloc task_getsecid_obj task_prctl task_setscheduler
    userns_create
""")
# No program may be attached to these.
DISABLED_LSM_HOOKS: Final = _set("""
    audit_rule_match getprocattr getselfattr inode_copy_up_xattr inode_getsecurity inode_listsecurity
    inode_need_killpriv ismaclabel key_getsecurity setprocattr vm_enough_memory xfrm_decode_session
""")
# Pointers that these pass are not trusted: what they point to is being made or freed.
UNTRUSTED_LSM_HOOKS: Final = _set("""
    bpf_map_free bpf_prog_free file_alloc_security file_free_security sk_alloc_security sk_free_security
    task_free
""")
# Hooks whose programs for cgroups may read and set socket options, with the socket locked, and not locked.
LOCKED_SOCKOPT_LSM_HOOKS: Final = _set("sock_graft inet_csk_clone inet_conn_established")
UNLOCKED_SOCKOPT_LSM_HOOKS: Final = _set("socket_post_create socket_socketpair")

# Functions from whose tracing programs bpf_d_path may be called.
D_PATH_FUNCTIONS: Final = _set("""
    security_file_permission security_inode_getattr security_file_open security_path_truncate vfs_truncate
    vfs_fallocate dentry_open vfs_getattr filp_close
""")
