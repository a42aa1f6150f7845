"""Program types. Which helpers a type may call is in `spec.helpers.allowed`,
its ctx struct in `spec.contexts`.

Sources: include/uapi/linux/bpf.h, include/linux/bpf_types.h, kernel/bpf/syscall.c (bpf_prog_load,
bpf_prog_load_check_attach, is_net_admin_prog_type, is_perfmon_prog_type), kernel/bpf/verifier.c (check_return_code,
can_be_sleepable, may_access_direct_pkt_data) of Linux 6.12.
"""

from __future__ import annotations

from typing import NamedTuple

from bombus.spec.version import KernelVersion, since


class ReturnRange(NamedTuple):
    """Values that r0 may have at exit. attach_types: where the rule holds; () is the type's general rule."""

    min: int
    max: int
    attach_types: tuple[str, ...] = ()


class ProgType(NamedTuple):
    """One value of enum bpf_prog_type.

    ctx: the struct that r1 points to ("" when it depends on the BTF target). kernel_ctx: the kernel's own struct
    behind it. returns: rules for r0; none means any value. attach_types: values of expected_attach_type that mean
    something; attach_checked: BPF_PROG_LOAD refuses others. btf_id: "never", "optional" or "required" use of
    attach_btf_id. test_run: since when BPF_PROG_TEST_RUN works (None: never). sleepable: attach types with which
    BPF_F_SLEEPABLE is allowed; "*" means whatever the attach type. packet: "",
    "read" or "write" access to packet
    bytes through data/data_end pointers. caps: what an unprivileged user misses beside CAP_BPF. unprivileged: loads
    without any capability when kernel.unprivileged_bpf_disabled is 0. default_attach: what 0 stands for.
    """

    name: str
    id: int
    since: KernelVersion
    ctx: str
    kernel_ctx: str
    doc: str
    returns: tuple[ReturnRange, ...] = ()
    attach_types: tuple[str, ...] = ()
    attach_checked: bool = False
    btf_id: str = "never"
    test_run: KernelVersion | None = None
    sleepable: tuple[str, ...] = ()
    packet: str = ""
    caps: tuple[str, ...] = ()
    unprivileged: bool = False
    default_attach: str = ""

    @property
    def short(self) -> str:
        """bpftool's name: "xdp", "sched_cls", ..."""
        return self.name.removeprefix("BPF_PROG_TYPE_").lower()

    def return_range(self, attach_type: str) -> ReturnRange | None:
        """The rule for r0 when loaded with `attach_type`; None: any value (or decided by the BTF target)."""
        general: ReturnRange | None = None
        for rule in self.returns:
            if attach_type in rule.attach_types:
                return rule
            if not rule.attach_types:
                general = rule
        return general


_01 = (ReturnRange(0, 1),)
_NET = ("CAP_NET_ADMIN",)
_PERF = ("CAP_PERFMON",)

PROG_TYPES: tuple[ProgType, ...] = (
    ProgType(
        "BPF_PROG_TYPE_SOCKET_FILTER", 1, since("3.19"), "__sk_buff", "sk_buff",
        "Decides how much of a packet a socket sees: r0 is the number of bytes to keep, 0 drops it.",
        test_run=since("4.12"), unprivileged=True,
    ),
    ProgType(
        "BPF_PROG_TYPE_KPROBE", 2, since("4.1"), "pt_regs", "pt_regs",
        "Runs at a kernel function or a place in a user binary; the context is the CPU's registers.",
        returns=(ReturnRange(0, 1, ("BPF_TRACE_KPROBE_SESSION", "BPF_TRACE_UPROBE_SESSION")),),
        attach_types=("BPF_PERF_EVENT", "BPF_TRACE_KPROBE_MULTI", "BPF_TRACE_UPROBE_MULTI",
                      "BPF_TRACE_KPROBE_SESSION", "BPF_TRACE_UPROBE_SESSION"),
        sleepable=("*",), caps=_PERF,
    ),
    ProgType(
        "BPF_PROG_TYPE_SCHED_CLS", 3, since("4.1"), "__sk_buff", "sk_buff",
        "Traffic control classifier: sees and changes packets on ingress or egress of a device.",
        attach_types=("BPF_TCX_INGRESS", "BPF_TCX_EGRESS", "BPF_NETKIT_PRIMARY", "BPF_NETKIT_PEER"),
        test_run=since("4.12"), packet="write", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_SCHED_ACT", 4, since("4.1"), "__sk_buff", "sk_buff",
        "Traffic control action: decides what happens to a classified packet.",
        test_run=since("4.12"), packet="write", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_TRACEPOINT", 5, since("4.7"), "u64", "u64",
        "Runs at a tracepoint; the context is its record, as the event's format file lays it out.",
        attach_types=("BPF_PERF_EVENT",), caps=_PERF,
    ),
    ProgType(
        "BPF_PROG_TYPE_XDP", 6, since("4.8"), "xdp_md", "xdp_buff",
        "Runs on a frame in the driver, before the kernel allocates a socket buffer.",
        attach_types=("BPF_XDP", "BPF_XDP_DEVMAP", "BPF_XDP_CPUMAP"),
        test_run=since("4.12"), packet="write", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_PERF_EVENT", 7, since("4.9"), "bpf_perf_event_data", "bpf_perf_event_data_kern",
        "Runs when a perf counter overflows.", attach_types=("BPF_PERF_EVENT",), caps=_PERF,
    ),
    ProgType(
        "BPF_PROG_TYPE_CGROUP_SKB", 8, since("4.10"), "__sk_buff", "sk_buff",
        "Lets packets of a cgroup's sockets through (1) or drops them (0).",
        returns=(ReturnRange(0, 3, ("BPF_CGROUP_INET_EGRESS",)), *_01),
        attach_types=("BPF_CGROUP_INET_INGRESS", "BPF_CGROUP_INET_EGRESS"), attach_checked=True,
        test_run=since("4.12"), packet="read", unprivileged=True,
    ),
    ProgType(
        "BPF_PROG_TYPE_CGROUP_SOCK", 9, since("4.10"), "bpf_sock", "sock",
        "Allows (1) or refuses (0) socket creation and binding in a cgroup.", returns=_01,
        attach_types=("BPF_CGROUP_INET_SOCK_CREATE", "BPF_CGROUP_INET_SOCK_RELEASE",
        "BPF_CGROUP_INET4_POST_BIND",
                      "BPF_CGROUP_INET6_POST_BIND"),
        attach_checked=True, caps=_NET, default_attach="BPF_CGROUP_INET_SOCK_CREATE",
    ),
    ProgType(
        "BPF_PROG_TYPE_LWT_IN", 10, since("4.10"), "__sk_buff", "sk_buff",
        "Lightweight tunnel: packets that arrive on a route.", test_run=since("4.12"), packet="read",
        caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_LWT_OUT", 11, since("4.10"), "__sk_buff", "sk_buff",
        "Lightweight tunnel: local packets that leave on a route.",
        test_run=since("4.12"), packet="read", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_LWT_XMIT", 12, since("4.10"), "__sk_buff", "sk_buff",
        "Lightweight tunnel: packets about to be sent on a route; may change them.",
        test_run=since("4.12"), packet="write", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_SOCK_OPS", 13, since("4.13"), "bpf_sock_ops", "bpf_sock_ops_kern",
        "Runs on events of a TCP connection and may tune it.", returns=_01,
        attach_types=("BPF_CGROUP_SOCK_OPS",), caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_SK_SKB", 14, since("4.14"), "__sk_buff", "sk_buff",
        "Parses or routes data that arrives on a sockmap socket.",
        attach_types=("BPF_SK_SKB_STREAM_PARSER", "BPF_SK_SKB_STREAM_VERDICT", "BPF_SK_SKB_VERDICT"),
        packet="write", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_CGROUP_DEVICE", 15, since("4.15"), "bpf_cgroup_dev_ctx", "bpf_cgroup_dev_ctx",
        "Allows (1) or refuses (0) access to a device node.", returns=_01,
        attach_types=("BPF_CGROUP_DEVICE",), caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_SK_MSG", 16, since("4.17"), "sk_msg_md", "sk_msg",
        "Decides about data that a sockmap socket sends.", attach_types=("BPF_SK_MSG_VERDICT",),
        packet="write", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_RAW_TRACEPOINT", 17, since("4.17"), "bpf_raw_tracepoint_args", "u64",
        "Runs at a tracepoint with its raw arguments as u64.", test_run=since("5.10"), caps=_PERF,
    ),
    ProgType(
        "BPF_PROG_TYPE_CGROUP_SOCK_ADDR", 18, since("4.17"), "bpf_sock_addr", "bpf_sock_addr_kern",
        "Allows, refuses or rewrites the address of a socket call in a cgroup.",
        returns=(
            ReturnRange(1, 1, (
                "BPF_CGROUP_UDP4_RECVMSG", "BPF_CGROUP_UDP6_RECVMSG", "BPF_CGROUP_UNIX_RECVMSG",
                "BPF_CGROUP_INET4_GETPEERNAME", "BPF_CGROUP_INET6_GETPEERNAME", "BPF_CGROUP_UNIX_GETPEERNAME",
                "BPF_CGROUP_INET4_GETSOCKNAME", "BPF_CGROUP_INET6_GETSOCKNAME",
                "BPF_CGROUP_UNIX_GETSOCKNAME")),
            ReturnRange(0, 3, ("BPF_CGROUP_INET4_BIND", "BPF_CGROUP_INET6_BIND")),
            *_01,
        ),
        attach_types=(
            "BPF_CGROUP_INET4_BIND", "BPF_CGROUP_INET6_BIND", "BPF_CGROUP_INET4_CONNECT",
            "BPF_CGROUP_INET6_CONNECT", "BPF_CGROUP_UNIX_CONNECT", "BPF_CGROUP_INET4_GETPEERNAME",
            "BPF_CGROUP_INET6_GETPEERNAME", "BPF_CGROUP_UNIX_GETPEERNAME", "BPF_CGROUP_INET4_GETSOCKNAME",
            "BPF_CGROUP_INET6_GETSOCKNAME", "BPF_CGROUP_UNIX_GETSOCKNAME", "BPF_CGROUP_UDP4_SENDMSG",
            "BPF_CGROUP_UDP6_SENDMSG", "BPF_CGROUP_UNIX_SENDMSG", "BPF_CGROUP_UDP4_RECVMSG",
            "BPF_CGROUP_UDP6_RECVMSG", "BPF_CGROUP_UNIX_RECVMSG"),
        attach_checked=True, caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_LWT_SEG6LOCAL", 19, since("4.18"), "__sk_buff", "sk_buff",
        "Lightweight tunnel: an IPv6 segment routing endpoint.",
        packet="read", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_LIRC_MODE2", 20, since("4.18"), "u32", "u32",
        "Decodes pulses and spaces of an infrared receiver.", attach_types=("BPF_LIRC_MODE2",),
    ),
    ProgType(
        "BPF_PROG_TYPE_SK_REUSEPORT", 21, since("4.19"), "sk_reuseport_md", "sk_reuseport_kern",
        "Chooses the socket of a reuseport group that gets a packet.",
        attach_types=("BPF_SK_REUSEPORT_SELECT", "BPF_SK_REUSEPORT_SELECT_OR_MIGRATE"), attach_checked=True,
        packet="read", default_attach="BPF_SK_REUSEPORT_SELECT",
    ),
    ProgType(
        "BPF_PROG_TYPE_FLOW_DISSECTOR", 22, since("4.20"), "__sk_buff", "bpf_flow_dissector",
        "Parses packet headers into flow keys.", attach_types=("BPF_FLOW_DISSECTOR",),
        test_run=since("5.1"), packet="read", caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_CGROUP_SYSCTL", 23, since("5.2"), "bpf_sysctl", "bpf_sysctl_kern",
        "Allows, refuses or replaces access to a sysctl.", returns=_01,
        attach_types=("BPF_CGROUP_SYSCTL",), caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", 24, since("5.2"), "bpf_raw_tracepoint_args", "u64",
        "As a raw tracepoint, and may write the record that the tracepoint offers for it.", caps=_PERF,
    ),
    ProgType(
        "BPF_PROG_TYPE_CGROUP_SOCKOPT", 25, since("5.3"), "bpf_sockopt", "bpf_sockopt_kern",
        "Sees and changes socket options as they are set or read in a cgroup.", returns=_01,
        attach_types=("BPF_CGROUP_SETSOCKOPT", "BPF_CGROUP_GETSOCKOPT"), attach_checked=True, caps=_NET,
    ),
    ProgType(
        "BPF_PROG_TYPE_TRACING", 26, since("5.5"), "", "",
        "Runs at a kernel function, tracepoint or iterator found through BTF; arguments are typed.",
        returns=(
            ReturnRange(0, 0, ("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT")),
            ReturnRange(0, 1, ("BPF_TRACE_ITER",)),
        ),
        attach_types=("BPF_TRACE_RAW_TP", "BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT", "BPF_MODIFY_RETURN",
                      "BPF_TRACE_ITER"),
        btf_id="required", test_run=since("5.7"),
        sleepable=("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT", "BPF_MODIFY_RETURN", "BPF_TRACE_ITER"), caps=_PERF,
    ),
    ProgType(
        "BPF_PROG_TYPE_STRUCT_OPS", 27, since("5.6"), "", "",
        "Implements one function of a kernel struct of function pointers.", attach_types=("BPF_STRUCT_OPS",),
        btf_id="required", test_run=since("5.17"), sleepable=("*",), caps=_PERF,
    ),
    ProgType(
        "BPF_PROG_TYPE_EXT", 28, since("5.6"), "", "",
        "Replaces a global function of another program.", btf_id="required", caps=(*_NET, *_PERF),
    ),
    ProgType(
        "BPF_PROG_TYPE_LSM", 29, since("5.7"), "", "",
        "Allows or refuses at a security hook.",
        attach_types=("BPF_LSM_MAC", "BPF_LSM_CGROUP"), returns=(ReturnRange(0, 1, ("BPF_LSM_CGROUP",)),),
        btf_id="required", sleepable=("BPF_LSM_MAC",), caps=_PERF,
    ),
    ProgType(
        "BPF_PROG_TYPE_SK_LOOKUP", 30, since("5.9"), "bpf_sk_lookup", "bpf_sk_lookup_kern",
        "Chooses the listening or unconnected socket for an incoming packet.", returns=_01,
        attach_types=("BPF_SK_LOOKUP",), attach_checked=True, test_run=since("5.13"),
    ),
    ProgType(
        "BPF_PROG_TYPE_SYSCALL", 31, since("5.14"), "", "",
        "Runs only through BPF_PROG_TEST_RUN and may make bpf(2) calls; the context is the caller's bytes.",
        test_run=since("5.14"), sleepable=("*",),
    ),
    ProgType(
        "BPF_PROG_TYPE_NETFILTER", 32, since("6.4"), "bpf_nf_ctx", "bpf_nf_ctx",
        "Accepts (1) or drops (0) packets at a netfilter hook.", returns=_01,
        attach_types=("BPF_NETFILTER",), attach_checked=True, test_run=since("6.4"), caps=_NET,
    ),
)  # fmt: skip
PROG_TYPE: dict[str, ProgType] = {p.name: p for p in PROG_TYPES}
PROG_TYPE_BY_ID: dict[int, ProgType] = {p.id: p for p in PROG_TYPES}

MAX_INSNS_UNPRIVILEGED = 4096  # BPF_MAXINSNS: longest program of users without CAP_BPF (of everybody before 5.2)
MAX_INSNS = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS since 5.2
MAX_INSNS_SINCE = since("5.2")
MAX_CALL_FRAMES = 8
MAX_STACK = 512
MAX_TAIL_CALLS = 33
