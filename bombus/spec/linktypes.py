"""Link types (enum bpf_link_type). `since` is the kernel that numbers the type; source: include/uapi/linux/bpf.h."""

from __future__ import annotations

from typing import NamedTuple

from bombus.spec.version import KernelVersion, since


class LinkType(NamedTuple):
    """One value of enum bpf_link_type. update: BPF_LINK_UPDATE works. detach: BPF_LINK_DETACH works."""

    name: str
    id: int
    since: KernelVersion
    doc: str
    update: bool = False
    detach: bool = False

    @property
    def short(self) -> str:
        """bpftool's name: "raw_tracepoint", "tcx", ..."""
        return self.name.removeprefix("BPF_LINK_TYPE_").lower()


LINK_TYPES: tuple[LinkType, ...] = (
    LinkType("BPF_LINK_TYPE_RAW_TRACEPOINT", 1, since("5.8"), "Program on a raw tracepoint."),
    LinkType("BPF_LINK_TYPE_TRACING", 2, since("5.8"), "fentry, fexit, fmod_ret, LSM or extension program."),
    LinkType("BPF_LINK_TYPE_CGROUP", 3, since("5.8"), "Program on a cgroup hook.", update=True, detach=True),
    LinkType("BPF_LINK_TYPE_ITER", 4, since("5.8"), "Iterator over kernel objects.", update=True),
    LinkType("BPF_LINK_TYPE_NETNS", 5, since("5.8"),
             "Program of a network namespace.", update=True, detach=True),
    LinkType("BPF_LINK_TYPE_XDP", 6, since("5.9"), "XDP program on a device.", update=True, detach=True),
    LinkType("BPF_LINK_TYPE_PERF_EVENT", 7, since("5.15"),
             "Program on a perf event, kprobe, uprobe or tracepoint."),
    LinkType("BPF_LINK_TYPE_KPROBE_MULTI", 8, since("5.18"), "Program on many kernel functions."),
    LinkType("BPF_LINK_TYPE_STRUCT_OPS", 9, since("5.19"),
             "Registered struct_ops map.", update=True, detach=True),
    LinkType("BPF_LINK_TYPE_NETFILTER", 10, since("6.4"), "Program on a netfilter hook.", detach=True),
    LinkType("BPF_LINK_TYPE_TCX", 11, since("6.6"),
             "Program on a device's tc hook.", update=True, detach=True),
    LinkType("BPF_LINK_TYPE_UPROBE_MULTI", 12, since("6.6"), "Program on many places of a binary."),
    LinkType("BPF_LINK_TYPE_NETKIT", 13, since("6.7"),
             "Program on a netkit device.", update=True, detach=True),
    LinkType("BPF_LINK_TYPE_SOCKMAP", 14, since("6.10"), "Program on a sockmap.", update=True, detach=True),
)
LINK_TYPE: dict[str, LinkType] = {t.name: t for t in LINK_TYPES}
LINK_TYPE_BY_ID: dict[int, LinkType] = {t.id: t for t in LINK_TYPES}
