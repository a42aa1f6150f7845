"""Kernel configuration options that decide what BPF can do, in the order in which bpftool reports them.

Source: Linux 6.1 tools/bpf/bpftool/feature.c (probe_kernel_image_config).
"""

from __future__ import annotations

OPTIONS: tuple[str, ...] = tuple(
    f"CONFIG_{name}"
    for name in (
        "BPF", "BPF_SYSCALL", "HAVE_EBPF_JIT", "BPF_JIT", "BPF_JIT_ALWAYS_ON", "DEBUG_INFO_BTF",
        "DEBUG_INFO_BTF_MODULES", "CGROUPS", "CGROUP_BPF", "CGROUP_NET_CLASSID", "SOCK_CGROUP_DATA", "BPF_EVENTS",
        "KPROBE_EVENTS", "UPROBE_EVENTS", "TRACING", "FTRACE_SYSCALLS", "FUNCTION_ERROR_INJECTION",
        "BPF_KPROBE_OVERRIDE", "NET", "XDP_SOCKETS", "LWTUNNEL_BPF", "NET_ACT_BPF", "NET_CLS_BPF", "NET_CLS_ACT",
        "NET_SCH_INGRESS", "XFRM", "IP_ROUTE_CLASSID", "IPV6_SEG6_BPF", "BPF_LIRC_MODE2", "BPF_STREAM_PARSER",
        "NETFILTER_XT_MATCH_BPF", "BPFILTER", "BPFILTER_UMH", "TEST_BPF", "HZ",
    )
)  # fmt: skip
# What `bpftool feature probe macros` prints of them: values that C programs can use.
MACROS = ("CONFIG_HZ",)
