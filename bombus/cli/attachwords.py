"""Attach types as words: bpftool's names and the older ones that it still takes.

Source: Linux 6.1 tools/bpf/bpftool/common.c (bpf_attach_type_input_str), behaviour.
"""

from __future__ import annotations

from bombus.cli.words import is_prefix
from bombus.errors import UsageError
from bombus.spec.attachtypes import ATTACH_TYPES, AttachType

# short name -> the older one, which may be shortened.
_OLD = {
    "cgroup_inet_ingress": "ingress", "cgroup_inet_egress": "egress", "cgroup_inet_sock_create": "sock_create",
    "cgroup_inet_sock_release": "sock_release", "cgroup_sock_ops": "sock_ops", "cgroup_device": "device",
    "cgroup_inet4_bind": "bind4", "cgroup_inet6_bind": "bind6", "cgroup_inet4_connect": "connect4",
    "cgroup_inet6_connect": "connect6", "cgroup_inet4_post_bind": "post_bind4",
    "cgroup_inet6_post_bind": "post_bind6", "cgroup_inet4_getpeername": "getpeername4",
    "cgroup_inet6_getpeername": "getpeername6", "cgroup_inet4_getsockname": "getsockname4",
    "cgroup_inet6_getsockname": "getsockname6", "cgroup_udp4_sendmsg": "sendmsg4",
    "cgroup_udp6_sendmsg": "sendmsg6", "cgroup_sysctl": "sysctl", "cgroup_udp4_recvmsg": "recvmsg4",
    "cgroup_udp6_recvmsg": "recvmsg6", "cgroup_getsockopt": "getsockopt", "cgroup_setsockopt": "setsockopt",
    "trace_raw_tp": "raw_tp", "trace_fentry": "fentry", "trace_fexit": "fexit", "modify_return": "mod_ret",
    "sk_reuseport_select": "sk_skb_reuseport_select",
    "sk_reuseport_select_or_migrate": "sk_skb_reuseport_select_or_migrate",
}  # fmt: skip


def attach_type(word: str) -> AttachType:
    """The attach type of a word. UsageError when there is none."""
    for row in ATTACH_TYPES:
        if row.short == word:
            return row
    for row in ATTACH_TYPES:
        if is_prefix(word, _OLD.get(row.short, row.short)):
            return row
    raise UsageError(f"invalid attach type {word!r}")


def attach_type_name(number: int) -> str:
    """bpftool's name; "" for a number that is not known."""
    return next((row.short for row in ATTACH_TYPES if row.id == number), "")
