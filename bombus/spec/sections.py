"""Names of program sections: what SEC() says of a program.

Source: section_defs of libbpf 1.5 (tools/lib/bpf/libbpf.c of Linux 6.12), and uprobe.session of 1.6.
"""

from __future__ import annotations

from typing import NamedTuple

BPF_F_SLEEPABLE = 1 << 4
BPF_F_XDP_HAS_FRAGS = 1 << 5


class Section(NamedTuple):
    """One kind of section.

    name: a trailing "+" allows "name" and "name/anything", else the name must match whole. attach_type: what libbpf
    passes as expected_attach_type. attach: whether BPF_PROG_ATTACH takes such programs, so that libbpf finds the attach
    type by the name: "" (no), "required", or "optional" (and the type is left out on kernels that do not know it).
    attach_btf: the rest of the name is a kernel function or type; sleepable, frags: flags of the program.
    """

    name: str
    prog_type: str
    attach_type: str
    attach: str = ""
    attach_btf: bool = False
    sleepable: bool = False
    frags: bool = False
    usdt: bool = False

    @property
    def base(self) -> str:
        """The name without its plus: "kprobe"."""
        return self.name.removesuffix("+")

    @property
    def prog_flags(self) -> int:
        return (BPF_F_SLEEPABLE if self.sleepable else 0) | (BPF_F_XDP_HAS_FRAGS if self.frags else 0)


def _section(name: str, prog_type: str, attach_type: str = "", **facts: bool | str) -> Section:
    return Section(name, f"BPF_PROG_TYPE_{prog_type}", attach_type, **facts)  # type: ignore[arg-type]


SECTIONS: tuple[Section, ...] = (
    _section("socket", "SOCKET_FILTER"),
    _section("sk_reuseport/migrate", "SK_REUSEPORT", "BPF_SK_REUSEPORT_SELECT_OR_MIGRATE", attach="required"),
    _section("sk_reuseport", "SK_REUSEPORT", "BPF_SK_REUSEPORT_SELECT", attach="required"),
    _section("kprobe+", "KPROBE"),
    _section("uprobe+", "KPROBE"),
    _section("uprobe.s+", "KPROBE", sleepable=True),
    _section("kretprobe+", "KPROBE"),
    _section("uretprobe+", "KPROBE"),
    _section("uretprobe.s+", "KPROBE", sleepable=True),
    _section("kprobe.multi+", "KPROBE", "BPF_TRACE_KPROBE_MULTI"),
    _section("kretprobe.multi+", "KPROBE", "BPF_TRACE_KPROBE_MULTI"),
    _section("kprobe.session+", "KPROBE", "BPF_TRACE_KPROBE_SESSION"),
    _section("uprobe.multi+", "KPROBE", "BPF_TRACE_UPROBE_MULTI"),
    _section("uretprobe.multi+", "KPROBE", "BPF_TRACE_UPROBE_MULTI"),
    _section("uprobe.multi.s+", "KPROBE", "BPF_TRACE_UPROBE_MULTI", sleepable=True),
    _section("uretprobe.multi.s+", "KPROBE", "BPF_TRACE_UPROBE_MULTI", sleepable=True),
    _section("uprobe.session+", "KPROBE", "BPF_TRACE_UPROBE_SESSION"),
    _section("uprobe.session.s+", "KPROBE", "BPF_TRACE_UPROBE_SESSION", sleepable=True),
    _section("ksyscall+", "KPROBE"),
    _section("kretsyscall+", "KPROBE"),
    _section("usdt+", "KPROBE", usdt=True),
    _section("usdt.s+", "KPROBE", sleepable=True, usdt=True),
    _section("tc/ingress", "SCHED_CLS", "BPF_TCX_INGRESS"),
    _section("tc/egress", "SCHED_CLS", "BPF_TCX_EGRESS"),
    _section("tcx/ingress", "SCHED_CLS", "BPF_TCX_INGRESS"),
    _section("tcx/egress", "SCHED_CLS", "BPF_TCX_EGRESS"),
    _section("tc", "SCHED_CLS"),
    _section("classifier", "SCHED_CLS"),
    _section("action", "SCHED_ACT"),
    _section("netkit/primary", "SCHED_CLS", "BPF_NETKIT_PRIMARY"),
    _section("netkit/peer", "SCHED_CLS", "BPF_NETKIT_PEER"),
    _section("tracepoint+", "TRACEPOINT"),
    _section("tp+", "TRACEPOINT"),
    _section("raw_tracepoint+", "RAW_TRACEPOINT"),
    _section("raw_tp+", "RAW_TRACEPOINT"),
    _section("raw_tracepoint.w+", "RAW_TRACEPOINT_WRITABLE"),
    _section("raw_tp.w+", "RAW_TRACEPOINT_WRITABLE"),
    _section("tp_btf+", "TRACING", "BPF_TRACE_RAW_TP", attach_btf=True),
    _section("fentry+", "TRACING", "BPF_TRACE_FENTRY", attach_btf=True),
    _section("fmod_ret+", "TRACING", "BPF_MODIFY_RETURN", attach_btf=True),
    _section("fexit+", "TRACING", "BPF_TRACE_FEXIT", attach_btf=True),
    _section("fentry.s+", "TRACING", "BPF_TRACE_FENTRY", attach_btf=True, sleepable=True),
    _section("fmod_ret.s+", "TRACING", "BPF_MODIFY_RETURN", attach_btf=True, sleepable=True),
    _section("fexit.s+", "TRACING", "BPF_TRACE_FEXIT", attach_btf=True, sleepable=True),
    _section("freplace+", "EXT", attach_btf=True),
    _section("lsm+", "LSM", "BPF_LSM_MAC", attach_btf=True),
    _section("lsm.s+", "LSM", "BPF_LSM_MAC", attach_btf=True, sleepable=True),
    _section("lsm_cgroup+", "LSM", "BPF_LSM_CGROUP", attach_btf=True),
    _section("iter+", "TRACING", "BPF_TRACE_ITER", attach_btf=True),
    _section("iter.s+", "TRACING", "BPF_TRACE_ITER", attach_btf=True, sleepable=True),
    _section("syscall", "SYSCALL", sleepable=True),
    _section("xdp.frags/devmap", "XDP", "BPF_XDP_DEVMAP", frags=True),
    _section("xdp/devmap", "XDP", "BPF_XDP_DEVMAP", attach="required"),
    _section("xdp.frags/cpumap", "XDP", "BPF_XDP_CPUMAP", frags=True),
    _section("xdp/cpumap", "XDP", "BPF_XDP_CPUMAP", attach="required"),
    _section("xdp.frags", "XDP", "BPF_XDP", frags=True),
    _section("xdp", "XDP", "BPF_XDP", attach="optional"),
    _section("perf_event", "PERF_EVENT"),
    _section("lwt_in", "LWT_IN"),
    _section("lwt_out", "LWT_OUT"),
    _section("lwt_xmit", "LWT_XMIT"),
    _section("lwt_seg6local", "LWT_SEG6LOCAL"),
    _section("sockops", "SOCK_OPS", "BPF_CGROUP_SOCK_OPS", attach="optional"),
    _section("sk_skb/stream_parser", "SK_SKB", "BPF_SK_SKB_STREAM_PARSER", attach="optional"),
    _section("sk_skb/stream_verdict", "SK_SKB", "BPF_SK_SKB_STREAM_VERDICT", attach="optional"),
    _section("sk_skb/verdict", "SK_SKB", "BPF_SK_SKB_VERDICT", attach="optional"),
    _section("sk_skb", "SK_SKB"),
    _section("sk_msg", "SK_MSG", "BPF_SK_MSG_VERDICT", attach="optional"),
    _section("lirc_mode2", "LIRC_MODE2", "BPF_LIRC_MODE2", attach="optional"),
    _section("flow_dissector", "FLOW_DISSECTOR", "BPF_FLOW_DISSECTOR", attach="optional"),
    _section("cgroup_skb/ingress", "CGROUP_SKB", "BPF_CGROUP_INET_INGRESS", attach="optional"),
    _section("cgroup_skb/egress", "CGROUP_SKB", "BPF_CGROUP_INET_EGRESS", attach="optional"),
    _section("cgroup/skb", "CGROUP_SKB"),
    _section("cgroup/sock_create", "CGROUP_SOCK", "BPF_CGROUP_INET_SOCK_CREATE", attach="required"),
    _section("cgroup/sock_release", "CGROUP_SOCK", "BPF_CGROUP_INET_SOCK_RELEASE", attach="required"),
    _section("cgroup/sock", "CGROUP_SOCK", "BPF_CGROUP_INET_SOCK_CREATE", attach="optional"),
    _section("cgroup/post_bind4", "CGROUP_SOCK", "BPF_CGROUP_INET4_POST_BIND", attach="required"),
    _section("cgroup/post_bind6", "CGROUP_SOCK", "BPF_CGROUP_INET6_POST_BIND", attach="required"),
    _section("cgroup/bind4", "CGROUP_SOCK_ADDR", "BPF_CGROUP_INET4_BIND", attach="required"),
    _section("cgroup/bind6", "CGROUP_SOCK_ADDR", "BPF_CGROUP_INET6_BIND", attach="required"),
    _section("cgroup/connect4", "CGROUP_SOCK_ADDR", "BPF_CGROUP_INET4_CONNECT", attach="required"),
    _section("cgroup/connect6", "CGROUP_SOCK_ADDR", "BPF_CGROUP_INET6_CONNECT", attach="required"),
    _section("cgroup/connect_unix", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UNIX_CONNECT", attach="required"),
    _section("cgroup/sendmsg4", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UDP4_SENDMSG", attach="required"),
    _section("cgroup/sendmsg6", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UDP6_SENDMSG", attach="required"),
    _section("cgroup/sendmsg_unix", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UNIX_SENDMSG", attach="required"),
    _section("cgroup/recvmsg4", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UDP4_RECVMSG", attach="required"),
    _section("cgroup/recvmsg6", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UDP6_RECVMSG", attach="required"),
    _section("cgroup/recvmsg_unix", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UNIX_RECVMSG", attach="required"),
    _section("cgroup/getpeername4", "CGROUP_SOCK_ADDR", "BPF_CGROUP_INET4_GETPEERNAME", attach="required"),
    _section("cgroup/getpeername6", "CGROUP_SOCK_ADDR", "BPF_CGROUP_INET6_GETPEERNAME", attach="required"),
    _section("cgroup/getpeername_unix", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UNIX_GETPEERNAME", attach="required"),
    _section("cgroup/getsockname4", "CGROUP_SOCK_ADDR", "BPF_CGROUP_INET4_GETSOCKNAME", attach="required"),
    _section("cgroup/getsockname6", "CGROUP_SOCK_ADDR", "BPF_CGROUP_INET6_GETSOCKNAME", attach="required"),
    _section("cgroup/getsockname_unix", "CGROUP_SOCK_ADDR", "BPF_CGROUP_UNIX_GETSOCKNAME", attach="required"),
    _section("cgroup/sysctl", "CGROUP_SYSCTL", "BPF_CGROUP_SYSCTL", attach="required"),
    _section("cgroup/getsockopt", "CGROUP_SOCKOPT", "BPF_CGROUP_GETSOCKOPT", attach="required"),
    _section("cgroup/setsockopt", "CGROUP_SOCKOPT", "BPF_CGROUP_SETSOCKOPT", attach="required"),
    _section("cgroup/dev", "CGROUP_DEVICE", "BPF_CGROUP_DEVICE", attach="optional"),
    _section("struct_ops+", "STRUCT_OPS"),
    _section("struct_ops.s+", "STRUCT_OPS", sleepable=True),
    _section("sk_lookup", "SK_LOOKUP", "BPF_SK_LOOKUP", attach="required"),
    _section("netfilter", "NETFILTER", "BPF_NETFILTER"),
)  # fmt: skip


class Match(NamedTuple):
    """What a section's name means: its kind, and what follows it ("sys_enter" of "tp/syscalls/sys_enter")."""

    section: Section
    rest: str


def resolve(name: str) -> Match | None:
    """The kind of section that a SEC() name belongs to; None for names that libbpf does not know.

    A leading "?" (not loaded by default) is the caller's business.
    """
    for section in SECTIONS:
        base = section.base
        if name == base:
            return Match(section, "")
        if section.name.endswith("+") and name.startswith(base + "/"):
            return Match(section, name[len(base) + 1 :])
    return None
