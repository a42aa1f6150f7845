"""The kernel structs behind BTF-typed arguments and results of helpers.

Sources: arg_btf_id and ret_btf_id of the struct bpf_func_proto definitions of Linux 6.12. An argument of kind
ARG_PTR_TO_BTF_ID_SOCK_COMMON is a sock_common everywhere.
"""

from __future__ import annotations

from typing import Final

# By helper: the number of the argument, from 0, and its struct.
ARGUMENT_STRUCTS: Final[dict[str, dict[int, str]]] = {
    "seq_printf": {0: "seq_file"}, "seq_write": {0: "seq_file"}, "seq_printf_btf": {0: "seq_file"},
    "bprm_opts_set": {0: "linux_binprm"}, "ima_inode_hash": {0: "inode"}, "ima_file_hash": {0: "file"},
    "copy_from_user_task": {3: "task_struct"}, "tcp_send_ack": {0: "tcp_sock"}, "sock_from_file": {0: "file"},
    "sk_storage_get": {1: "sock_common"}, "sk_storage_delete": {1: "sock_common"},
    "inode_storage_get": {1: "inode"}, "inode_storage_delete": {1: "inode"},
    "task_storage_get": {1: "task_struct"}, "task_storage_delete": {1: "task_struct"},
    "cgrp_storage_get": {1: "cgroup"}, "cgrp_storage_delete": {1: "cgroup"},
    "task_pt_regs": {0: "task_struct"}, "find_vma": {0: "task_struct"}, "get_task_stack": {0: "task_struct"},
    "d_path": {0: "path"}, "skb_output": {0: "sk_buff"}, "xdp_output": {0: "xdp_buff"},
    "xdp_get_buff_len": {0: "xdp_buff"},
}  # fmt: skip
RESULT_STRUCTS: Final[dict[str, str]] = {
    "get_current_task_btf": "task_struct", "task_pt_regs": "pt_regs", "sock_from_file": "socket",
    "skc_to_tcp6_sock": "tcp6_sock", "skc_to_tcp_sock": "tcp_sock", "skc_to_tcp_timewait_sock": "tcp_timewait_sock",
    "skc_to_tcp_request_sock": "tcp_request_sock", "skc_to_udp6_sock": "udp6_sock", "skc_to_unix_sock": "unix_sock",
    "skc_to_mptcp_sock": "mptcp_sock",
}  # fmt: skip
