"""Attach types: where a program can be hooked. Source: include/uapi/linux/bpf.h and kernel/bpf/syscall.c
(attach_type_to_prog_type, bpf_prog_load_check_attach, link_create) of Linux 6.12; 57 from Linux 6.13."""

from __future__ import annotations

from typing import NamedTuple

from bombus.spec.version import KernelVersion, since


class AttachType(NamedTuple):
    """One value of enum bpf_attach_type.

    prog_types: program types that can use it. target: what target_fd or target_ifindex names: "cgroup",
    "map", "netns", "ifindex", "lirc", "perf", "btf", "probe", "hook", "" (nothing).
    link_type: the link that BPF_LINK_CREATE makes; "" when only BPF_PROG_ATTACH (or no command) does it.
    """

    name: str
    id: int
    since: KernelVersion
    prog_types: tuple[str, ...]
    target: str
    link_type: str
    doc: str

    @property
    def short(self) -> str:
        """libbpf's and bpftool's name: "cgroup_inet_ingress", "trace_fentry", ..."""
        return self.name.removeprefix("BPF_").lower()


def _row(
    name: str, number: int, version: str, progs: str, target: str, link: str, doc: str
) -> AttachType:
    prog_types = tuple("BPF_PROG_TYPE_" + p for p in progs.split())
    return AttachType(
        "BPF_" + name, number, since(version), prog_types, target, "BPF_LINK_TYPE_" + link if link else "",
        doc
    )


ATTACH_TYPES: tuple[AttachType, ...] = (
    _row("CGROUP_INET_INGRESS", 0, "4.10", "CGROUP_SKB", "cgroup", "CGROUP",
         "Packets that sockets of a cgroup receive."),
    _row("CGROUP_INET_EGRESS", 1, "4.10", "CGROUP_SKB", "cgroup", "CGROUP",
         "Packets that sockets of a cgroup send."),
    _row("CGROUP_INET_SOCK_CREATE", 2, "4.10", "CGROUP_SOCK", "cgroup", "CGROUP",
         "An inet socket is created."),
    _row("CGROUP_SOCK_OPS", 3, "4.13", "SOCK_OPS", "cgroup", "CGROUP", "TCP connection events."),
    _row("SK_SKB_STREAM_PARSER", 4, "4.14", "SK_SKB", "map", "SOCKMAP",
         "Find message ends in a sockmap stream."),
    _row("SK_SKB_STREAM_VERDICT", 5, "4.14", "SK_SKB", "map", "SOCKMAP",
         "Decide where a sockmap message goes."),
    _row("CGROUP_DEVICE", 6, "4.15", "CGROUP_DEVICE", "cgroup", "CGROUP", "A device node is opened or made."),
    _row("SK_MSG_VERDICT", 7, "4.17", "SK_MSG", "map", "SOCKMAP", "Data that a sockmap socket sends."),
    _row("CGROUP_INET4_BIND", 8, "4.17", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP", "bind(2), IPv4."),
    _row("CGROUP_INET6_BIND", 9, "4.17", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP", "bind(2), IPv6."),
    _row("CGROUP_INET4_CONNECT", 10, "4.17", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP", "connect(2), IPv4."),
    _row("CGROUP_INET6_CONNECT", 11, "4.17", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP", "connect(2), IPv6."),
    _row("CGROUP_INET4_POST_BIND", 12, "4.17", "CGROUP_SOCK", "cgroup", "CGROUP", "After an IPv4 bind(2)."),
    _row("CGROUP_INET6_POST_BIND", 13, "4.17", "CGROUP_SOCK", "cgroup", "CGROUP", "After an IPv6 bind(2)."),
    _row("CGROUP_UDP4_SENDMSG", 14, "4.18", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "Unconnected UDP send, IPv4."),
    _row("CGROUP_UDP6_SENDMSG", 15, "4.18", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "Unconnected UDP send, IPv6."),
    _row("LIRC_MODE2", 16, "4.18", "LIRC_MODE2", "lirc", "", "Pulses and spaces of an infrared receiver."),
    _row("FLOW_DISSECTOR", 17, "4.20", "FLOW_DISSECTOR", "netns", "NETNS",
         "Parse packet headers into flow keys."),
    _row("CGROUP_SYSCTL", 18, "5.2", "CGROUP_SYSCTL", "cgroup", "CGROUP", "A sysctl is read or written."),
    _row("CGROUP_UDP4_RECVMSG", 19, "5.2", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "Unconnected UDP receive, IPv4."),
    _row("CGROUP_UDP6_RECVMSG", 20, "5.2", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "Unconnected UDP receive, IPv6."),
    _row("CGROUP_GETSOCKOPT", 21, "5.3", "CGROUP_SOCKOPT", "cgroup", "CGROUP", "getsockopt(2)."),
    _row("CGROUP_SETSOCKOPT", 22, "5.3", "CGROUP_SOCKOPT", "cgroup", "CGROUP", "setsockopt(2)."),
    _row("TRACE_RAW_TP", 23, "5.5", "TRACING", "btf", "RAW_TRACEPOINT",
         "A tracepoint, with typed arguments."),
    _row("TRACE_FENTRY", 24, "5.5", "TRACING", "btf", "TRACING",
         "Entry of a kernel function or BPF program."),
    _row("TRACE_FEXIT", 25, "5.5", "TRACING", "btf", "TRACING",
         "Return of a kernel function or BPF program."),
    _row("MODIFY_RETURN", 26, "5.7", "TRACING", "btf", "TRACING",
         "Before a function; may replace its result."),
    _row("LSM_MAC", 27, "5.7", "LSM", "btf", "TRACING", "A security hook, system-wide."),
    _row("TRACE_ITER", 28, "5.8", "TRACING", "btf", "ITER", "Walk over kernel objects."),
    _row("CGROUP_INET4_GETPEERNAME", 29, "5.8", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "getpeername(2), IPv4."),
    _row("CGROUP_INET6_GETPEERNAME", 30, "5.8", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "getpeername(2), IPv6."),
    _row("CGROUP_INET4_GETSOCKNAME", 31, "5.8", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "getsockname(2), IPv4."),
    _row("CGROUP_INET6_GETSOCKNAME", 32, "5.8", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "getsockname(2), IPv6."),
    _row("XDP_DEVMAP", 33, "5.8", "XDP", "map", "", "A frame leaves through a devmap entry."),
    _row("CGROUP_INET_SOCK_RELEASE", 34, "5.9", "CGROUP_SOCK", "cgroup", "CGROUP",
         "An inet socket is closed."),
    _row("XDP_CPUMAP", 35, "5.9", "XDP", "map", "", "A frame arrives at a cpumap entry."),
    _row("SK_LOOKUP", 36, "5.9", "SK_LOOKUP", "netns", "NETNS", "Choose the socket for an incoming packet."),
    _row("XDP", 37, "5.9", "XDP", "ifindex", "XDP", "A frame arrives at a device."),
    _row("SK_SKB_VERDICT", 38, "5.13", "SK_SKB", "map", "SOCKMAP",
         "As the stream verdict, without a parser."),
    _row("SK_REUSEPORT_SELECT", 39, "5.14", "SK_REUSEPORT", "", "", "Choose a socket of a reuseport group."),
    _row("SK_REUSEPORT_SELECT_OR_MIGRATE", 40, "5.14", "SK_REUSEPORT", "", "",
         "As select, and choose where requests go when a listener closes."),
    _row("PERF_EVENT", 41, "5.15", "PERF_EVENT TRACEPOINT KPROBE", "perf", "PERF_EVENT",
         "A perf event fires."),
    _row("TRACE_KPROBE_MULTI", 42, "5.18", "KPROBE", "probe", "KPROBE_MULTI",
         "Many kernel functions at once."),
    _row("LSM_CGROUP", 43, "6.0", "LSM", "cgroup", "CGROUP", "A security hook, for one cgroup."),
    _row("STRUCT_OPS", 44, "6.4", "STRUCT_OPS", "map", "STRUCT_OPS", "A struct_ops map is registered."),
    _row("NETFILTER", 45, "6.4", "NETFILTER", "hook", "NETFILTER", "A netfilter hook."),
    _row("TCX_INGRESS", 46, "6.6", "SCHED_CLS", "ifindex", "TCX", "Packets that a device receives."),
    _row("TCX_EGRESS", 47, "6.6", "SCHED_CLS", "ifindex", "TCX", "Packets that a device sends."),
    _row("TRACE_UPROBE_MULTI", 48, "6.6", "KPROBE", "probe", "UPROBE_MULTI",
         "Many places of a binary at once."),
    _row("CGROUP_UNIX_CONNECT", 49, "6.7", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "connect(2), unix socket."),
    _row("CGROUP_UNIX_SENDMSG", 50, "6.7", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "sendmsg(2), unix socket."),
    _row("CGROUP_UNIX_RECVMSG", 51, "6.7", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "recvmsg(2), unix socket."),
    _row("CGROUP_UNIX_GETPEERNAME", 52, "6.7", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "getpeername(2), unix socket."),
    _row("CGROUP_UNIX_GETSOCKNAME", 53, "6.7", "CGROUP_SOCK_ADDR", "cgroup", "CGROUP",
         "getsockname(2), unix socket."),
    _row("NETKIT_PRIMARY", 54, "6.7", "SCHED_CLS", "ifindex", "NETKIT",
         "Packets of a netkit device, its own side."),
    _row("NETKIT_PEER", 55, "6.7", "SCHED_CLS", "ifindex", "NETKIT",
         "Packets of a netkit device, the peer's side."),
    _row("TRACE_KPROBE_SESSION", 56, "6.10", "KPROBE", "probe", "KPROBE_MULTI",
         "Entry and return of many kernel functions in one program."),
    _row("TRACE_UPROBE_SESSION", 57, "6.13", "KPROBE", "probe", "UPROBE_MULTI",
         "Entry and return of many user functions in one program."),
)  # fmt: skip
ATTACH_TYPE: dict[str, AttachType] = {a.name: a for a in ATTACH_TYPES}
ATTACH_TYPE_BY_ID: dict[int, AttachType] = {a.id: a for a in ATTACH_TYPES}
