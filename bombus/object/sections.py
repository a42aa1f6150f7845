"""Section names of programs, as libbpf 1.5 reads them.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (section_defs, sec_def_matches), Documentation/bpf/libbpf/program_types.rst.
"""

from __future__ import annotations

from typing import NamedTuple

SLEEPABLE = 1 << 4
XDP_FRAGS = 1 << 5


class SectionRow(NamedTuple):
    """`extra`: "/something" may follow the name. btf: the target is a BTF id of the kernel."""

    name: str
    prog_type: str
    attach_type: str = ""
    extra: bool = False
    flags: int = 0
    btf: bool = False


def _rows() -> tuple[SectionRow, ...]:
    rows = [
        SectionRow(name, kind, attach)
        for name, kind, attach in (
            line.split() if len(line.split()) == 3 else (*line.split(), "")
            for line in _PLAIN.strip().splitlines()
        )
    ]
    rows += [
        SectionRow(name, kind, attach if attach != "-" else "", True, SLEEPABLE if sleeps else 0, btf == "btf")
        for line in _EXTRA.strip().splitlines()
        for names, kind, attach, btf in (line.split(),)
        for name in names.split(",")
        for sleeps in (name.split(".")[-1] == "s",)
    ]
    rows.append(SectionRow("syscall", "SYSCALL", "", False, SLEEPABLE))
    rows += [
        SectionRow("xdp.frags/devmap", "XDP", "XDP_DEVMAP", False, XDP_FRAGS),
        SectionRow("xdp.frags/cpumap", "XDP", "XDP_CPUMAP", False, XDP_FRAGS),
        SectionRow("xdp.frags", "XDP", "XDP", False, XDP_FRAGS),
    ]
    return tuple(rows)


_PLAIN = """
socket SOCKET_FILTER
sk_reuseport/migrate SK_REUSEPORT SK_REUSEPORT_SELECT_OR_MIGRATE
sk_reuseport SK_REUSEPORT SK_REUSEPORT_SELECT
tc/ingress SCHED_CLS TCX_INGRESS
tc/egress SCHED_CLS TCX_EGRESS
tcx/ingress SCHED_CLS TCX_INGRESS
tcx/egress SCHED_CLS TCX_EGRESS
tc SCHED_CLS
classifier SCHED_CLS
action SCHED_ACT
netkit/primary SCHED_CLS NETKIT_PRIMARY
netkit/peer SCHED_CLS NETKIT_PEER
xdp/devmap XDP XDP_DEVMAP
xdp/cpumap XDP XDP_CPUMAP
xdp XDP XDP
perf_event PERF_EVENT
lwt_in LWT_IN
lwt_out LWT_OUT
lwt_xmit LWT_XMIT
lwt_seg6local LWT_SEG6LOCAL
sockops SOCK_OPS CGROUP_SOCK_OPS
sk_skb/stream_parser SK_SKB SK_SKB_STREAM_PARSER
sk_skb/stream_verdict SK_SKB SK_SKB_STREAM_VERDICT
sk_skb/verdict SK_SKB SK_SKB_VERDICT
sk_skb SK_SKB
sk_msg SK_MSG SK_MSG_VERDICT
lirc_mode2 LIRC_MODE2 LIRC_MODE2
flow_dissector FLOW_DISSECTOR FLOW_DISSECTOR
cgroup_skb/ingress CGROUP_SKB CGROUP_INET_INGRESS
cgroup_skb/egress CGROUP_SKB CGROUP_INET_EGRESS
cgroup/skb CGROUP_SKB
cgroup/sock_create CGROUP_SOCK CGROUP_INET_SOCK_CREATE
cgroup/sock_release CGROUP_SOCK CGROUP_INET_SOCK_RELEASE
cgroup/sock CGROUP_SOCK CGROUP_INET_SOCK_CREATE
cgroup/post_bind4 CGROUP_SOCK CGROUP_INET4_POST_BIND
cgroup/post_bind6 CGROUP_SOCK CGROUP_INET6_POST_BIND
cgroup/bind4 CGROUP_SOCK_ADDR CGROUP_INET4_BIND
cgroup/bind6 CGROUP_SOCK_ADDR CGROUP_INET6_BIND
cgroup/connect4 CGROUP_SOCK_ADDR CGROUP_INET4_CONNECT
cgroup/connect6 CGROUP_SOCK_ADDR CGROUP_INET6_CONNECT
cgroup/connect_unix CGROUP_SOCK_ADDR CGROUP_UNIX_CONNECT
cgroup/sendmsg4 CGROUP_SOCK_ADDR CGROUP_UDP4_SENDMSG
cgroup/sendmsg6 CGROUP_SOCK_ADDR CGROUP_UDP6_SENDMSG
cgroup/sendmsg_unix CGROUP_SOCK_ADDR CGROUP_UNIX_SENDMSG
cgroup/recvmsg4 CGROUP_SOCK_ADDR CGROUP_UDP4_RECVMSG
cgroup/recvmsg6 CGROUP_SOCK_ADDR CGROUP_UDP6_RECVMSG
cgroup/recvmsg_unix CGROUP_SOCK_ADDR CGROUP_UNIX_RECVMSG
cgroup/getpeername4 CGROUP_SOCK_ADDR CGROUP_INET4_GETPEERNAME
cgroup/getpeername6 CGROUP_SOCK_ADDR CGROUP_INET6_GETPEERNAME
cgroup/getpeername_unix CGROUP_SOCK_ADDR CGROUP_UNIX_GETPEERNAME
cgroup/getsockname4 CGROUP_SOCK_ADDR CGROUP_INET4_GETSOCKNAME
cgroup/getsockname6 CGROUP_SOCK_ADDR CGROUP_INET6_GETSOCKNAME
cgroup/getsockname_unix CGROUP_SOCK_ADDR CGROUP_UNIX_GETSOCKNAME
cgroup/sysctl CGROUP_SYSCTL CGROUP_SYSCTL
cgroup/getsockopt CGROUP_SOCKOPT CGROUP_GETSOCKOPT
cgroup/setsockopt CGROUP_SOCKOPT CGROUP_SETSOCKOPT
cgroup/dev CGROUP_DEVICE CGROUP_DEVICE
sk_lookup SK_LOOKUP SK_LOOKUP
netfilter NETFILTER NETFILTER
"""

_EXTRA = """
kprobe,uprobe,uprobe.s,kretprobe,uretprobe,uretprobe.s,ksyscall,kretsyscall,usdt,usdt.s KPROBE - no
kprobe.multi,kretprobe.multi KPROBE TRACE_KPROBE_MULTI no
kprobe.session KPROBE TRACE_KPROBE_SESSION no
uprobe.multi,uretprobe.multi,uprobe.multi.s,uretprobe.multi.s KPROBE TRACE_UPROBE_MULTI no
uprobe.session,uprobe.session.s KPROBE TRACE_UPROBE_SESSION no
tracepoint,tp TRACEPOINT - no
raw_tracepoint,raw_tp RAW_TRACEPOINT - no
raw_tracepoint.w,raw_tp.w RAW_TRACEPOINT_WRITABLE - no
tp_btf TRACING TRACE_RAW_TP btf
fentry,fentry.s TRACING TRACE_FENTRY btf
fmod_ret,fmod_ret.s TRACING MODIFY_RETURN btf
fexit,fexit.s TRACING TRACE_FEXIT btf
freplace EXT - btf
lsm,lsm.s LSM LSM_MAC btf
lsm_cgroup LSM LSM_CGROUP btf
iter,iter.s TRACING TRACE_ITER btf
struct_ops,struct_ops.s STRUCT_OPS - no
"""

SECTIONS = _rows()


def resolve(name: str) -> SectionRow | None:
    """The row for a section name without its leading "?"; None when libbpf knows none."""
    for row in SECTIONS:
        if name == row.name or (row.extra and name.startswith(row.name + "/")):
            return row
    return None
