"""What BPF_OBJ_GET_INFO_BY_FD fills in. Source: include/uapi/linux/bpf.h and the BTF of Linux 6.1, 6.12,
6.18.

Members of nested structs carry their path as prefix (`perf_event_kprobe_addr`). In `bpf_link_info` the members from
byte 16 on are a union chosen by `type`.
"""

from __future__ import annotations

from bombus.spec.commands import Field
from bombus.spec.version import KernelVersion, since


class InfoStruct:
    """One uapi struct. size: bytes in Linux 6.18; an older kernel fills a prefix and says so in info_len."""

    __slots__ = ("by_name", "fields", "name", "since", "size")

    def __init__(self, name: str, size: int, since: KernelVersion, fields: tuple[Field, ...]) -> None:
        self.name = name
        self.size = size
        self.since = since
        self.fields = fields
        self.by_name = {f.name: f for f in fields}


def _f(kind: str, name: str, offset: int, version: str | None = None) -> Field:
    size = {"u32": 4, "s32": 4, "u64": 8, "ptr": 8, "name": 16, "tag": 8}[kind]
    # A pointer and its count are the caller's; the kernel writes through them and updates the counts.
    return Field(name, offset, size, "bytes" if kind == "tag" else kind, since(version) if version else None,
    True)


INFOS: tuple[InfoStruct, ...] = (
    InfoStruct(
        "bpf_map_info", 104, since("4.13"),
        (
            _f("u32", "type", 0), _f("u32", "id", 4), _f("u32", "key_size", 8), _f("u32", "value_size", 12),
            _f("u32", "max_entries", 16), _f("u32", "map_flags", 20), _f("name", "name", 24, "4.15"),
            _f("u32", "ifindex", 40, "4.16"), _f("u32", "btf_vmlinux_value_type_id", 44, "5.6"),
            _f("u64", "netns_dev", 48, "4.16"), _f("u64", "netns_ino", 56, "4.16"),
            _f("u32", "btf_id", 64, "4.18"), _f("u32", "btf_key_type_id", 68, "4.18"),
            _f("u32", "btf_value_type_id", 72, "4.18"), _f("u32", "btf_vmlinux_id", 76, "6.9"),
            _f("u64", "map_extra", 80, "5.16"), _f("ptr", "hash", 88, "6.18"),
            _f("u32", "hash_size", 96, "6.18"),
        ),
    ),
    InfoStruct(
        "bpf_prog_info", 232, since("4.13"),
        (
            _f("u32", "type", 0), _f("u32", "id", 4), _f("tag", "tag", 8), _f("u32", "jited_prog_len", 16),
            _f("u32", "xlated_prog_len", 20), _f("ptr", "jited_prog_insns", 24),
            _f("ptr", "xlated_prog_insns", 32), _f("u64", "load_time", 40, "4.15"),
            _f("u32", "created_by_uid", 48, "4.15"), _f("u32", "nr_map_ids", 52, "4.15"),
            _f("ptr", "map_ids", 56, "4.15"), _f("name", "name", 64, "4.15"), _f("u32", "ifindex", 80,
            "4.16"), _f("u32", "gpl_compatible", 84, "4.18"), _f("u64", "netns_dev", 88, "4.16"),
            _f("u64", "netns_ino", 96, "4.16"), _f("u32", "nr_jited_ksyms", 104, "4.18"),
            _f("u32", "nr_jited_func_lens", 108, "4.18"), _f("ptr", "jited_ksyms", 112, "4.18"),
            _f("ptr", "jited_func_lens", 120, "4.18"), _f("u32", "btf_id", 128, "5.0"),
            _f("u32", "func_info_rec_size", 132, "5.0"), _f("ptr", "func_info", 136, "5.0"),
            _f("u32", "nr_func_info", 144, "5.0"), _f("u32", "nr_line_info", 148, "5.0"),
            _f("ptr", "line_info", 152, "5.0"), _f("ptr", "jited_line_info", 160, "5.0"),
            _f("u32", "nr_jited_line_info", 168, "5.0"), _f("u32", "line_info_rec_size", 172, "5.0"),
            _f("u32", "jited_line_info_rec_size", 176, "5.0"), _f("u32", "nr_prog_tags", 180, "5.0"),
            _f("ptr", "prog_tags", 184, "5.0"), _f("u64", "run_time_ns", 192, "5.1"),
            _f("u64", "run_cnt", 200, "5.1"), _f("u64", "recursion_misses", 208, "5.12"),
            _f("u32", "verified_insns", 216, "5.16"), _f("u32", "attach_btf_obj_id", 220, "6.0"),
            _f("u32", "attach_btf_id", 224, "6.0"),
        ),
    ),
    InfoStruct(
        "bpf_btf_info", 32, since("4.18"),
        (
            _f("ptr", "btf", 0), _f("u32", "btf_size", 8), _f("u32", "id", 12), _f("ptr", "name", 16, "5.11"),
            _f("u32", "name_len", 24, "5.11"), _f("u32", "kernel_btf", 28, "5.11"),
        ),
    ),
    InfoStruct(
        "bpf_link_info", 64, since("5.8"),
        (
            _f("u32", "type", 0), _f("u32", "id", 4), _f("u32", "prog_id", 8),
            _f("ptr", "raw_tracepoint_tp_name", 16), _f("u32", "raw_tracepoint_tp_name_len", 24),
            _f("u64", "raw_tracepoint_cookie", 32, "6.17"), _f("u32", "tracing_attach_type", 16),
            _f("u32", "tracing_target_obj_id", 20, "5.13"), _f("u32", "tracing_target_btf_id", 24, "5.13"),
            _f("u64", "tracing_cookie", 32, "6.17"), _f("u64", "cgroup_cgroup_id", 16),
            _f("u32", "cgroup_attach_type", 24), _f("ptr", "iter_target_name", 16, "5.9"),
            _f("u32", "iter_target_name_len", 24, "5.9"), _f("u32", "iter_map_map_id", 28, "5.9"),
            _f("u64", "iter_cgroup_cgroup_id", 32, "6.1"), _f("u32", "iter_cgroup_order", 40, "6.1"),
            _f("u32", "iter_task_tid", 32, "6.1"), _f("u32", "iter_task_pid", 36, "6.1"),
            _f("u32", "netns_netns_ino", 16), _f("u32", "netns_attach_type", 20),
            _f("u32", "xdp_ifindex", 16, "5.9"), _f("u32", "struct_ops_map_id", 16, "6.4"),
            _f("u32", "netfilter_pf", 16, "6.4"), _f("u32", "netfilter_hooknum", 20, "6.4"),
            _f("s32", "netfilter_priority", 24, "6.4"), _f("u32", "netfilter_flags", 28, "6.4"),
            _f("ptr", "kprobe_multi_addrs", 16, "6.6"), _f("u32", "kprobe_multi_count", 24, "6.6"),
            _f("u32", "kprobe_multi_flags", 28, "6.6"), _f("u64", "kprobe_multi_missed", 32, "6.7"),
            _f("ptr", "kprobe_multi_cookies", 40, "6.9"), _f("ptr", "uprobe_multi_path", 16, "6.8"),
            _f("ptr", "uprobe_multi_offsets", 24, "6.8"), _f("ptr", "uprobe_multi_ref_ctr_offsets", 32,
            "6.8"), _f("ptr", "uprobe_multi_cookies", 40, "6.8"), _f("u32", "uprobe_multi_path_size", 48,
            "6.8"), _f("u32", "uprobe_multi_count", 52, "6.8"), _f("u32", "uprobe_multi_flags", 56, "6.8"),
            _f("u32", "uprobe_multi_pid", 60, "6.8"), _f("u32", "perf_event_type", 16, "6.6"),
            _f("ptr", "perf_event_uprobe_file_name", 24, "6.6"),
            _f("u32", "perf_event_uprobe_name_len", 32, "6.6"), _f("u32", "perf_event_uprobe_offset", 36,
            "6.6"), _f("u64", "perf_event_uprobe_cookie", 40, "6.9"),
            _f("u64", "perf_event_uprobe_ref_ctr_offset", 48, "6.16"),
            _f("ptr", "perf_event_kprobe_func_name", 24, "6.6"),
            _f("u32", "perf_event_kprobe_name_len", 32, "6.6"), _f("u32", "perf_event_kprobe_offset", 36,
            "6.6"), _f("u64", "perf_event_kprobe_addr", 40, "6.6"), _f("u64", "perf_event_kprobe_missed", 48,
            "6.7"), _f("u64", "perf_event_kprobe_cookie", 56, "6.9"),
            _f("ptr", "perf_event_tracepoint_tp_name", 24, "6.6"),
            _f("u32", "perf_event_tracepoint_name_len", 32, "6.6"),
            _f("u64", "perf_event_tracepoint_cookie", 40, "6.9"),
            _f("u64", "perf_event_event_config", 24, "6.6"), _f("u32", "perf_event_event_type", 32, "6.6"),
            _f("u64", "perf_event_event_cookie", 40, "6.9"), _f("u32", "tcx_ifindex", 16, "6.6"),
            _f("u32", "tcx_attach_type", 20, "6.6"), _f("u32", "netkit_ifindex", 16, "6.7"),
            _f("u32", "netkit_attach_type", 20, "6.7"), _f("u32", "sockmap_map_id", 16, "6.10"),
            _f("u32", "sockmap_attach_type", 20, "6.10"),
        ),
    ),
    InfoStruct(
        "bpf_token_info", 32, since("6.17"),
        (
            _f("u64", "allowed_cmds", 0), _f("u64", "allowed_maps", 8), _f("u64", "allowed_progs", 16),
            _f("u64", "allowed_attachs", 24),
        ),
    ),
)  # fmt: skip
INFO: dict[str, InfoStruct] = {i.name: i for i in INFOS}
