"""bpf(2) commands and the layout of `union bpf_attr` for each.

One `Command` row per command. Source of the numbers: include/uapi/linux/bpf.h (enum bpf_cmd, union bpf_attr) and
the BTF of Linux 6.18. A field's `since` is given only where it is younger than its command.
"""

from __future__ import annotations

from typing import NamedTuple

from bombus.spec.version import KernelVersion, since


class Field(NamedTuple):
    """One member of a command's part of `union bpf_attr`, or of an info struct (`spec.infos`).

    offset, size: bytes. kind: "u32", "u64" (plain unsigned numbers), "s32", "fd" (u32/s32 file descriptor), "ptr"
    (u64 address of user memory), "name" (char[16]), "bytes" (u8 array). `out` marks what the kernel writes back.
    """

    name: str
    offset: int
    size: int
    kind: str = "u32"
    since: KernelVersion | None = None
    out: bool = False


class Command:
    """One value of enum bpf_cmd.

    member: the named member of `union bpf_attr` that holds the fields ("test", "link_create", ...), "" when they
    lie in an anonymous struct. Members of a nested named struct carry its name as prefix (`kprobe_multi_flags`).
    """

    __slots__ = ("by_name", "doc", "fields", "id", "member", "name", "since")

    def __init__(
        self, name: str, id: int, since: KernelVersion, fields: tuple[Field, ...], doc: str = "", member: str = ""
    ) -> None:
        self.name = name  # "BPF_MAP_CREATE"
        self.id = id
        self.since = since
        self.fields = fields
        self.doc = doc
        self.member = member
        self.by_name = {f.name: f for f in fields}

    @property
    def size(self) -> int:
        """Bytes of `union bpf_attr` that this command knows about."""
        return max((f.offset + f.size for f in self.fields), default=0)


def _u32(name: str, offset: int, version: str | None = None, *, out: bool = False) -> Field:
    return Field(name, offset, 4, "u32", since(version) if version else None, out)


def _s32(name: str, offset: int, version: str | None = None) -> Field:
    return Field(name, offset, 4, "s32", since(version) if version else None)


def _u64(name: str, offset: int, version: str | None = None, *, out: bool = False) -> Field:
    return Field(name, offset, 8, "u64", since(version) if version else None, out)


def _fd(name: str, offset: int, version: str | None = None) -> Field:
    return Field(name, offset, 4, "fd", since(version) if version else None)


def _ptr(name: str, offset: int, version: str | None = None) -> Field:
    return Field(name, offset, 8, "ptr", since(version) if version else None)


def _name(name: str, offset: int, version: str | None = None) -> Field:
    return Field(name, offset, 16, "name", since(version) if version else None)


_BATCH = (
    _ptr("in_batch", 0), _ptr("out_batch", 8), _ptr("keys", 16), _ptr("values", 24), _u32("count", 32,
         out=True),
    _fd("map_fd", 36), _u64("elem_flags", 40), _u64("flags", 48),
)  # fmt: skip
_NEXT_ID = (_u32("start_id", 0), _u32("next_id", 4, out=True))
_ATTACH = (
    _fd("target_fd", 0), _u32("target_ifindex", 0, "6.6"), _fd("attach_bpf_fd", 4), _u32("attach_type", 8),
    _u32("attach_flags", 12), _fd("replace_bpf_fd", 16, "5.6"), _fd("relative_fd", 20, "6.6"),
    _u32("relative_id", 20, "6.6"), _u64("expected_revision", 24, "6.6"),
)  # fmt: skip
_TEST_RUN = (
    _fd("prog_fd", 0), _u32("retval", 4, out=True), _u32("data_size_in", 8), _u32("data_size_out", 12,
        out=True),
    _ptr("data_in", 16), _ptr("data_out", 24), _u32("repeat", 32), _u32("duration", 36, out=True),
    _u32("ctx_size_in", 40, "5.2"), _u32("ctx_size_out", 44, "5.2", out=True), _ptr("ctx_in", 48, "5.2"),
    _ptr("ctx_out", 56, "5.2"), _u32("flags", 64, "5.10"), _u32("cpu", 68, "5.10"), _u32("batch_size", 72,
         "5.18"),
)  # fmt: skip

COMMANDS: tuple[Command, ...] = (
    Command(
        "BPF_MAP_CREATE", 0, since("3.18"),
        (_u32("map_type", 0), _u32("key_size", 4), _u32("value_size", 8), _u32("max_entries", 12),
         _u32("map_flags", 16, "4.6"), _fd("inner_map_fd", 20, "4.12"), _u32("numa_node", 24, "4.14"),
         _name("map_name", 28, "4.15"), _u32("map_ifindex", 44, "4.16"), _fd("btf_fd", 48, "4.18"),
         _u32("btf_key_type_id", 52, "4.18"), _u32("btf_value_type_id", 56, "4.18"),
         _u32("btf_vmlinux_value_type_id", 60, "5.6"), _u64("map_extra", 64, "5.16"),
         _fd("value_type_btf_obj_fd", 72, "6.9"), _fd("map_token_fd", 76, "6.9"),
         _ptr("excl_prog_hash", 80, "6.18"), _u32("excl_prog_hash_size", 88, "6.18")),
        "Make a map and return a file descriptor for it.",
    ),
    Command(
        "BPF_MAP_LOOKUP_ELEM", 1, since("3.18"),
        (_fd("map_fd", 0), _ptr("key", 8), _ptr("value", 16), _u64("flags", 24, "5.1")),
        "Read the value of one key.",
    ),
    Command(
        "BPF_MAP_UPDATE_ELEM", 2, since("3.18"),
        (_fd("map_fd", 0), _ptr("key", 8), _ptr("value", 16), _u64("flags", 24)),
        "Store the value of one key.",
    ),
    Command(
        "BPF_MAP_DELETE_ELEM", 3, since("3.18"), (_fd("map_fd", 0), _ptr("key", 8)),
        "Remove one key and its value.",
    ),
    Command(
        "BPF_MAP_GET_NEXT_KEY", 4, since("3.18"), (_fd("map_fd", 0), _ptr("key", 8), _ptr("next_key", 16)),
        "Read the key that follows a given one; the first key when none is given (since 4.12) or it is gone.",
    ),
    Command(
        "BPF_PROG_LOAD", 5, since("3.18"),
        (_u32("prog_type", 0), _u32("insn_cnt", 4), _ptr("insns", 8), _ptr("license", 16), _u32("log_level",
         24),
         _u32("log_size", 28), _ptr("log_buf", 32), _u32("kern_version", 40, "4.1"), _u32("prog_flags", 44,
              "4.12"),
         _name("prog_name", 48, "4.15"), _u32("prog_ifindex", 64, "4.15"), _u32("expected_attach_type", 68,
               "4.17"),
         _fd("prog_btf_fd", 72, "5.0"), _u32("func_info_rec_size", 76, "5.0"), _ptr("func_info", 80, "5.0"),
         _u32("func_info_cnt", 88, "5.0"), _u32("line_info_rec_size", 92, "5.0"), _ptr("line_info", 96,
              "5.0"),
         _u32("line_info_cnt", 104, "5.0"), _u32("attach_btf_id", 108, "5.5"), _fd("attach_prog_fd", 112,
              "5.5"),
         _fd("attach_btf_obj_fd", 112, "5.11"), _u32("core_relo_cnt", 116, "5.17"), _ptr("fd_array", 120,
             "5.14"),
         _ptr("core_relos", 128, "5.17"), _u32("core_relo_rec_size", 136, "5.17"),
         _u32("log_true_size", 140, "6.4", out=True), _fd("prog_token_fd", 144, "6.9"),
         _u32("fd_array_cnt", 148, "6.14"), _ptr("signature", 152, "6.18"), _u32("signature_size", 160,
              "6.18"),
         _s32("keyring_id", 164, "6.18")),
        "Verify a program and return a file descriptor for it.",
    ),
    Command(
        "BPF_OBJ_PIN", 6, since("4.4"),
        (_ptr("pathname", 0), _fd("bpf_fd", 8), _u32("file_flags", 12, "4.15"), _fd("path_fd", 16, "6.5")),
        "Give a program, map or link a path in the bpf file system, so that it outlives its descriptors.",
    ),
    Command(
        "BPF_OBJ_GET", 7, since("4.4"),
        (_ptr("pathname", 0), _fd("bpf_fd", 8), _u32("file_flags", 12, "4.15"), _fd("path_fd", 16, "6.5")),
        "Open what a path in the bpf file system pins.",
    ),
    Command("BPF_PROG_ATTACH", 8, since("4.10"), _ATTACH,
            "Attach a program to a cgroup, a map or a device hook."),
    Command("BPF_PROG_DETACH", 9, since("4.10"), _ATTACH, "Undo BPF_PROG_ATTACH."),
    Command(
        "BPF_PROG_TEST_RUN", 10, since("4.12"), _TEST_RUN,
        "Run a program on given data, some times over, and report its result and mean time.", "test",
    ),
    Command(
        "BPF_PROG_GET_NEXT_ID", 11, since("4.13"), _NEXT_ID, "The smallest program id above a given one.",
    ),
    Command("BPF_MAP_GET_NEXT_ID", 12, since("4.13"), _NEXT_ID, "The smallest map id above a given one."),
    Command("BPF_PROG_GET_FD_BY_ID", 13, since("4.13"), (_u32("prog_id", 0),), "Open a program by its id."),
    Command(
        "BPF_MAP_GET_FD_BY_ID", 14, since("4.13"), (_u32("map_id", 0), _u32("open_flags", 8, "4.15")),
        "Open a map by its id.",
    ),
    Command(
        "BPF_OBJ_GET_INFO_BY_FD", 15, since("4.13"),
        (_fd("bpf_fd", 0), Field("info_len", 4, 4, "u32", None, True), _ptr("info", 8)),
        "Describe a program, map, BTF, link or token; the structs are in spec.infos.", "info",
    ),
    Command(
        "BPF_PROG_QUERY", 16, since("4.15"),
        (_fd("target_fd", 0), _u32("target_ifindex", 0, "6.6"), _u32("attach_type", 4), _u32("query_flags",
         8),
         _u32("attach_flags", 12, out=True), _ptr("prog_ids", 16), _u32("prog_cnt", 24, out=True),
         _u32("count", 24, "6.6", out=True), _ptr("prog_attach_flags", 32, "6.0"), _ptr("link_ids", 40,
              "6.6"),
         _ptr("link_attach_flags", 48, "6.6"), _u64("revision", 56, "6.6", out=True)),
        "List the programs that are attached to a target.", "query",
    ),
    Command(
        "BPF_RAW_TRACEPOINT_OPEN", 17, since("4.17"),
        (_ptr("name", 0), _fd("prog_fd", 8), _u64("cookie", 16, "6.10")),
        "Attach a program to a raw tracepoint, or a tracing program to its BTF target.", "raw_tracepoint",
    ),
    Command(
        "BPF_BTF_LOAD", 18, since("4.18"),
        (_ptr("btf", 0), _ptr("btf_log_buf", 8), _u32("btf_size", 16), _u32("btf_log_size", 20),
         _u32("btf_log_level", 24), _u32("btf_log_true_size", 28, "6.4", out=True), _u32("btf_flags", 32,
              "6.9"),
         _fd("btf_token_fd", 36, "6.9")),
        "Check type information and return a file descriptor for it.",
    ),
    Command(
        "BPF_BTF_GET_FD_BY_ID", 19, since("4.18"),
        (_u32("btf_id", 0), _u32("open_flags", 8, "6.15"), _fd("fd_by_id_token_fd", 12, "6.15")),
        "Open type information by its id.",
    ),
    Command(
        "BPF_TASK_FD_QUERY", 20, since("4.18"),
        (_u32("pid", 0), _u32("fd", 4), _u32("flags", 8), _u32("buf_len", 12, out=True), _ptr("buf", 16),
         _u32("prog_id", 24, out=True), _u32("fd_type", 28, out=True), _u64("probe_offset", 32, out=True),
         _u64("probe_addr", 40, out=True)),
        "Tell what the perf event or raw tracepoint descriptor of a task is attached to.", "task_fd_query",
    ),
    Command(
        "BPF_MAP_LOOKUP_AND_DELETE_ELEM", 21, since("4.20"),
        (_fd("map_fd", 0), _ptr("key", 8), _ptr("value", 16), _u64("flags", 24, "5.14")),
        "Read one value and remove it in the same step.",
    ),
    Command(
        "BPF_MAP_FREEZE", 22, since("5.2"), (_fd("map_fd", 0),),
        "Forbid user space to change a map from now on.",
    ),
    Command("BPF_BTF_GET_NEXT_ID", 23, since("5.4"), _NEXT_ID, "The smallest BTF id above a given one."),
    Command("BPF_MAP_LOOKUP_BATCH", 24, since("5.6"), _BATCH, "Read many keys and values at once.", "batch"),
    Command(
        "BPF_MAP_LOOKUP_AND_DELETE_BATCH", 25, since("5.6"), _BATCH,
        "Read many keys and values and remove them.", "batch",
    ),
    Command("BPF_MAP_UPDATE_BATCH", 26, since("5.6"), _BATCH, "Store many values at once.", "batch"),
    Command("BPF_MAP_DELETE_BATCH", 27, since("5.6"), _BATCH, "Remove many keys at once.", "batch"),
    Command(
        "BPF_LINK_CREATE", 28, since("5.7"),
        (_fd("prog_fd", 0), _fd("map_fd", 0, "6.4"), _fd("target_fd", 4), _u32("target_ifindex", 4, "5.9"),
         _u32("attach_type", 8), _u32("flags", 12), _u32("target_btf_id", 16, "5.10"), _ptr("iter_info", 16,
              "5.9"),
         _u32("iter_info_len", 24, "5.9"), _u64("perf_event_bpf_cookie", 16, "5.15"),
         _u32("kprobe_multi_flags", 16, "5.18"), _u32("kprobe_multi_cnt", 20, "5.18"),
         _ptr("kprobe_multi_syms", 24, "5.18"), _ptr("kprobe_multi_addrs", 32, "5.18"),
         _ptr("kprobe_multi_cookies", 40, "5.18"), _u32("tracing_target_btf_id", 16, "5.19"),
         _u64("tracing_cookie", 24, "5.19"), _u32("netfilter_pf", 16, "6.4"), _u32("netfilter_hooknum", 20,
              "6.4"),
         _s32("netfilter_priority", 24, "6.4"), _u32("netfilter_flags", 28, "6.4"),
         _fd("tcx_relative_fd", 16, "6.6"), _u32("tcx_relative_id", 16, "6.6"),
         _u64("tcx_expected_revision", 24, "6.6"), _ptr("uprobe_multi_path", 16, "6.6"),
         _ptr("uprobe_multi_offsets", 24, "6.6"), _ptr("uprobe_multi_ref_ctr_offsets", 32, "6.6"),
         _ptr("uprobe_multi_cookies", 40, "6.6"), _u32("uprobe_multi_cnt", 48, "6.6"),
         _u32("uprobe_multi_flags", 52, "6.6"), _u32("uprobe_multi_pid", 56, "6.6"),
         _fd("netkit_relative_fd", 16, "6.7"), _u32("netkit_relative_id", 16, "6.7"),
         _u64("netkit_expected_revision", 24, "6.7"), _fd("cgroup_relative_fd", 16, "6.17"),
         _u32("cgroup_relative_id", 16, "6.17"), _u64("cgroup_expected_revision", 24, "6.17")),
        "Attach a program and return a link, which detaches it when the last reference goes.", "link_create",
    ),
    Command(
        "BPF_LINK_UPDATE", 29, since("5.7"),
        (_fd("link_fd", 0), _fd("new_prog_fd", 4), _fd("new_map_fd", 4, "6.4"), _u32("flags", 8),
         _fd("old_prog_fd", 12), _fd("old_map_fd", 12, "6.4")),
        "Exchange the program (or struct_ops map) behind a link.", "link_update",
    ),
    Command("BPF_LINK_GET_FD_BY_ID", 30, since("5.8"), (_u32("link_id", 0),), "Open a link by its id."),
    Command("BPF_LINK_GET_NEXT_ID", 31, since("5.8"), _NEXT_ID, "The smallest link id above a given one."),
    Command(
        "BPF_ENABLE_STATS", 32, since("5.8"), (_u32("type", 0),),
        "Count run time and runs of programs while the returned descriptor is open.", "enable_stats",
    ),
    Command(
        "BPF_ITER_CREATE", 33, since("5.8"), (_fd("link_fd", 0), _u32("flags", 4)),
        "Return a descriptor from which an iterator program's output is read.", "iter_create",
    ),
    Command(
        "BPF_LINK_DETACH", 34, since("5.9"), (_fd("link_fd", 0),),
        "Detach a link now; the link itself stays.", "link_detach",
    ),
    Command(
        "BPF_PROG_BIND_MAP", 35, since("5.10"), (_fd("prog_fd", 0), _fd("map_fd", 4), _u32("flags", 8)),
        "Keep a map alive as long as a program.", "prog_bind_map",
    ),
    Command(
        "BPF_TOKEN_CREATE", 36, since("6.9"), (_u32("flags", 0), _fd("bpffs_fd", 4)),
        "Make a token that delegates some of bpf(2) to a user namespace.", "token_create",
    ),
    Command(
        "BPF_PROG_STREAM_READ_BY_FD", 37, since("6.17"),
        (_ptr("stream_buf", 0), _u32("stream_buf_len", 8), _u32("stream_id", 12), _fd("prog_fd", 16)),
        "Read what a program wrote to its stdout or stderr stream.", "prog_stream_read",
    ),
)  # fmt: skip
COMMAND: dict[str, Command] = {c.name: c for c in COMMANDS}
COMMAND["BPF_PROG_RUN"] = COMMAND["BPF_PROG_TEST_RUN"]
COMMAND_BY_ID: dict[int, Command] = {c.id: c for c in COMMANDS}
