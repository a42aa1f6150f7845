"""What <linux/bpf.h> has for programs beside what the other rooms of spec say: enumerations, structs, macros.

Source: include/uapi/linux/bpf.h of Linux 6.12 and the BTF of Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bombus.spec.tcp import SOCK_OPS_ALL_CB_FLAGS, SockOp, SockOpFlag, TcpState
from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class Enumeration:
    """One enum, "" without a name. suffix: of its values in C, since constants have the type of their literals."""

    name: str
    since: KernelVersion
    values: tuple[tuple[str, int], ...]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A struct or union. members: C declarations; size in bytes; align: when it is more than the members'."""

    kind: str
    name: str
    since: KernelVersion
    size: int
    members: tuple[str, ...]
    align: int = 0


@dataclass(frozen=True, slots=True)
class Macro:
    """`name` with its parameters, and what it stands for."""

    name: str
    text: str


def _enum(name: str, version: str, prefix: str, names: str, first: int = 0) -> Enumeration:
    """Names that count up; "name=value" goes on from there."""
    values: list[tuple[str, int]] = []
    number = first
    for word in names.split():
        label, _, value = word.partition("=")
        number = int(value, 0) if value else number
        values.append((prefix + label, number))
        number += 1
    return Enumeration(name, since(version), tuple(values))


def _bits(version: str, prefix: str, names: str, suffix: str = "ULL") -> Enumeration:
    """Flags without an enum's name: names from bit 0 on."""
    return Enumeration("", since(version), tuple((prefix + n, 1 << i) for i, n in enumerate(names.split())), suffix)


ENUMERATIONS: Final[tuple[Enumeration, ...]] = (
    _enum("", "3.18", "", "BPF_REG_0 BPF_REG_1 BPF_REG_2 BPF_REG_3 BPF_REG_4 BPF_REG_5 BPF_REG_6 BPF_REG_7 BPF_REG_8"
          " BPF_REG_9 BPF_REG_10 __MAX_BPF_REG"),
    _enum("bpf_cond_pseudo_jmp", "6.9", "BPF_", "MAY_GOTO"),
    _enum("bpf_addr_space_cast", "6.9", "BPF_", "ADDR_SPACE_CAST", 1),
    _enum("bpf_cgroup_iter_order", "6.1", "BPF_CGROUP_ITER_",
          "ORDER_UNSPEC SELF_ONLY DESCENDANTS_PRE DESCENDANTS_POST ANCESTORS_UP CHILDREN"),
    _enum("bpf_perf_event_type", "6.6", "BPF_PERF_EVENT_",
          "UNSPEC UPROBE URETPROBE KPROBE KRETPROBE TRACEPOINT EVENT"),
    _enum("bpf_stats_type", "5.8", "BPF_STATS_", "RUN_TIME"),
    _enum("bpf_stack_build_id_status", "4.17", "BPF_STACK_BUILD_ID_", "EMPTY VALID IP"),
    _enum("", "5.2", "BPF_ADJ_ROOM_ENCAP_L2_", "MASK=0xff SHIFT=56"),
    Enumeration("", since("5.8"), (("BPF_RINGBUF_BUSY_BIT", 1 << 31), ("BPF_RINGBUF_DISCARD_BIT", 1 << 30),
                                   ("BPF_RINGBUF_HDR_SZ", 8)), "U"),
    _enum("bpf_adj_room_mode", "4.13", "BPF_ADJ_ROOM_", "NET MAC"),
    _enum("bpf_hdr_start_off", "4.18", "BPF_HDR_START_", "MAC NET"),
    _enum("bpf_lwt_encap_mode", "4.18", "BPF_LWT_ENCAP_", "SEG6 SEG6_INLINE IP"),
    _enum("", "5.18", "BPF_SKB_", "TSTAMP_UNSPEC=0 TSTAMP_DELIVERY_MONO=1 CLOCK_REALTIME=0 CLOCK_MONOTONIC=1"
          " CLOCK_TAI=2"),
    _enum("bpf_ret_code", "4.10", "BPF_", "OK=0 DROP=2 REDIRECT=7 LWT_REROUTE=128 FLOW_DISSECTOR_CONTINUE=129"),
    _enum("tcx_action_base", "6.6", "TCX_", "NEXT=-1 PASS=0 DROP=2 REDIRECT=7"),
    _enum("xdp_action", "4.8", "XDP_", "ABORTED DROP PASS TX REDIRECT"),
    _enum("sk_action", "4.14", "SK_", "DROP PASS"),
    _enum("", "4.15", "BPF_SOCK_OPS_",
          " ".join(f"{flag.name}={flag.value}" for flag in SockOpFlag) + f" ALL_CB_FLAGS={SOCK_OPS_ALL_CB_FLAGS:d}"),
    _enum("", "4.13", "BPF_SOCK_OPS_", f"VOID {' '.join(SockOp.__members__)}"),
    _enum("", "4.16", "BPF_TCP_", f"{' '.join(TcpState.__members__)} MAX_STATES", 1),
    _enum("", "4.13", "", "TCP_BPF_IW TCP_BPF_SNDCWND_CLAMP TCP_BPF_DELACK_MAX TCP_BPF_RTO_MIN TCP_BPF_SYN"
          " TCP_BPF_SYN_IP TCP_BPF_SYN_MAC TCP_BPF_SOCK_OPS_CB_FLAGS SK_BPF_CB_FLAGS", 1001),
    _enum("", "5.10", "BPF_WRITE_HDR_TCP_", "CURRENT_MSS SYNACK_COOKIE", 1),
    _bits("4.15", "BPF_DEVCG_ACC_", "MKNOD READ WRITE"),
    _bits("4.15", "BPF_DEVCG_DEV_", "BLOCK CHAR"),
    _enum("", "4.18", "BPF_FIB_LKUP_RET_", "SUCCESS BLACKHOLE UNREACHABLE PROHIBIT NOT_FWDED FWD_DISABLED UNSUPP_LWT"
          " NO_NEIGH FRAG_NEEDED NO_SRC_ADDR"),
    _enum("bpf_check_mtu_ret", "5.12", "BPF_MTU_CHK_RET_", "SUCCESS FRAG_NEEDED SEGS_TOOBIG"),
    _enum("bpf_task_fd_type", "4.18", "BPF_FD_TYPE_",
          "RAW_TRACEPOINT TRACEPOINT KPROBE KRETPROBE UPROBE URETPROBE"),
    _bits("5.3", "BPF_FLOW_DISSECTOR_F_", "PARSE_1ST_FRAG STOP_AT_FLOW_LABEL STOP_AT_ENCAP", "U"),
    _bits("5.10", "BTF_F_", "COMPACT NONAME PTR_RAW ZERO"),
    _enum("bpf_core_relo_kind", "5.17", "BPF_CORE_", "FIELD_BYTE_OFFSET FIELD_BYTE_SIZE FIELD_EXISTS FIELD_SIGNED"
          " FIELD_LSHIFT_U64 FIELD_RSHIFT_U64 TYPE_ID_LOCAL TYPE_ID_TARGET TYPE_EXISTS TYPE_SIZE ENUMVAL_EXISTS"
          " ENUMVAL_VALUE TYPE_MATCHES"),
)  # fmt: skip


def _struct(version: str, name: str, size: int, text: str, align: int = 0, kind: str = "struct") -> Declaration:
    """Members separated by ";", also within inner unions and structs."""
    return Declaration(kind, name, since(version), size, tuple(_members(text)), align)


def _members(text: str) -> list[str]:
    found: list[str] = []
    depth = start = 0
    for at, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if sign == ";" and not depth:
            found.append(" ".join(text[start:at].split()))
            start = at + 1
    return found


STRUCTS: Final[tuple[Declaration, ...]] = (
    _struct("3.18", "bpf_insn", 8, "__u8 code; __u8 dst_reg : 4; __u8 src_reg : 4; __s16 off; __s32 imm;"),
    _struct("4.11", "bpf_lpm_trie_key", 4, "__u32 prefixlen; __u8 data[0];"),
    _struct("6.9", "bpf_lpm_trie_key_hdr", 4, "__u32 prefixlen;"),
    _struct("6.9", "bpf_lpm_trie_key_u8", 4,
            "union { struct bpf_lpm_trie_key_hdr hdr; __u32 prefixlen; }; __u8 data[];"),
    _struct("4.19", "bpf_cgroup_storage_key", 16, "__u64 cgroup_inode_id; __u32 attach_type;"),
    _struct("5.9", "bpf_iter_link_info", 16,
            "struct { __u32 map_fd; } map; struct { enum bpf_cgroup_iter_order order; __u32 cgroup_fd; __u64 cgroup_id;"
            " } cgroup; struct { __u32 tid; __u32 pid; __u32 pid_fd; } task;", kind="union"),
    _struct("4.17", "bpf_stack_build_id", 32,
            "__s32 status; unsigned char build_id[BPF_BUILD_ID_SIZE]; union { __u64 offset; __u64 ip; };"),
    _struct("4.3", "bpf_tunnel_key", 44,
            "__u32 tunnel_id; union { __u32 remote_ipv4; __u32 remote_ipv6[4]; }; __u8 tunnel_tos; __u8 tunnel_ttl;"
            " union { __u16 tunnel_ext; __be16 tunnel_flags; }; __u32 tunnel_label; union { __u32 local_ipv4;"
            " __u32 local_ipv6[4]; };"),
    _struct("4.18", "bpf_xfrm_state", 28,
            "__u32 reqid; __u32 spi; __u16 family; __u16 ext; union { __u32 remote_ipv4; __u32 remote_ipv6[4]; };"),
    _struct("4.20", "bpf_sock_tuple", 36,
            "union { struct { __be32 saddr; __be32 daddr; __be16 sport; __be16 dport; } ipv4; struct { __be32 saddr[4];"
            " __be32 daddr[4]; __be16 sport; __be16 dport; } ipv6; };"),
    _struct("5.8", "bpf_devmap_val", 8, "__u32 ifindex; union { int fd; __u32 id; } bpf_prog;"),
    _struct("5.9", "bpf_cpumap_val", 8, "__u32 qsize; union { int fd; __u32 id; } bpf_prog;"),
    _struct("4.15", "bpf_perf_event_value", 24, "__u64 counter; __u64 enabled; __u64 running;"),
    _struct("4.17", "bpf_raw_tracepoint_args", 0, "__u64 args[0];"),
    _struct("4.18", "bpf_fib_lookup", 64,
            "__u8 family; __u8 l4_protocol; __be16 sport; __be16 dport; union { __u16 tot_len; __u16 mtu_result; }"
            " __attribute__((packed, aligned(2))); __u32 ifindex;"
            " union { __u8 tos; __be32 flowinfo; __u32 rt_metric; };"
            " union { __be32 ipv4_src; __u32 ipv6_src[4]; }; union { __be32 ipv4_dst; __u32 ipv6_dst[4]; };"
            " union { struct { __be16 h_vlan_proto; __be16 h_vlan_TCI; }; __u32 tbid; };"
            " union { struct { __u32 mark; }; struct { __u8 smac[6]; __u8 dmac[6]; }; };"),
    _struct("5.10", "bpf_redir_neigh", 20, "__u32 nh_family; union { __be32 ipv4_nh; __u32 ipv6_nh[4]; };"),
    _struct("5.0", "bpf_func_info", 8, "__u32 insn_off; __u32 type_id;"),
    _struct("5.0", "bpf_line_info", 16, "__u32 insn_off; __u32 file_name_off; __u32 line_off; __u32 line_col;"),
    _struct("5.1", "bpf_spin_lock", 4, "__u32 val;"),
    _struct("5.15", "bpf_timer", 16, "__u64 __opaque[2];", 8),
    _struct("6.10", "bpf_wq", 16, "__u64 __opaque[2];", 8),
    _struct("6.18", "bpf_task_work", 8, "__u64 __opaque;", 8),
    _struct("5.19", "bpf_dynptr", 16, "__u64 __opaque[2];", 8),
    _struct("6.2", "bpf_list_head", 16, "__u64 __opaque[2];", 8),
    _struct("6.2", "bpf_list_node", 24, "__u64 __opaque[3];", 8),
    _struct("6.3", "bpf_rb_root", 16, "__u64 __opaque[2];", 8),
    _struct("6.3", "bpf_rb_node", 32, "__u64 __opaque[4];", 8),
    _struct("6.4", "bpf_refcount", 4, "__u32 __opaque[1];", 4),
    _struct("5.7", "bpf_pidns_info", 8, "__u32 pid; __u32 tgid;"),
    _struct("5.10", "btf_ptr", 16, "void *ptr; __u32 type_id; __u32 flags;"),
    _struct("5.17", "bpf_core_relo", 16,
            "__u32 insn_off; __u32 type_id; __u32 access_str_off; enum bpf_core_relo_kind kind;"),
    _struct("6.4", "bpf_iter_num", 8, "__u64 __opaque[1];", 8),
)  # fmt: skip

# C types of members of context structs (`spec.ctxstructs`) that are no plain __u8, __u16, __u32, __u64 by their size.
_SOCK: Final = "__bpf_md_ptr(struct bpf_sock *, sk)"
_DATA: Final = {"data": "__bpf_md_ptr(void *, data)", "data_end": "__bpf_md_ptr(void *, data_end)"}
CONTEXT_MEMBERS: Final[dict[str, dict[str, str]]] = {
    "__sk_buff": {"flow_keys": "__bpf_md_ptr(struct bpf_flow_keys *, flow_keys)", "sk": _SOCK},
    "bpf_sock": {"dst_port": "__be16 dst_port", "rx_queue_mapping": "__s32 rx_queue_mapping"},
    "bpf_sock_addr": {"sk": _SOCK},
    "bpf_sock_ops": {
        "args": "union { __u32 args[4]; __u32 reply; __u32 replylong[4]; }", "sk": _SOCK,
        "skb_data": "__bpf_md_ptr(void *, skb_data)", "skb_data_end": "__bpf_md_ptr(void *, skb_data_end)",
    },
    "sk_msg_md": {**_DATA, "sk": _SOCK},
    "sk_reuseport_md": {**_DATA, "sk": _SOCK, "migrating_sk": "__bpf_md_ptr(struct bpf_sock *, migrating_sk)"},
    "bpf_sk_lookup": {
        "sk": "union { __bpf_md_ptr(struct bpf_sock *, sk); __u64 cookie; }", "remote_port": "__be16 remote_port",
    },
    "bpf_sockopt": {
        "sk": _SOCK, "optval": "__bpf_md_ptr(void *, optval)", "optval_end": "__bpf_md_ptr(void *, optval_end)",
        "level": "__s32 level", "optname": "__s32 optname", "optlen": "__s32 optlen", "retval": "__s32 retval",
    },
    "bpf_flow_keys": {
        "n_proto": "__be16 n_proto", "sport": "__be16 sport", "dport": "__be16 dport",
        "flow_label": "__be32 flow_label",
        "ipv6_src": "union { struct { __be32 ipv4_src; __be32 ipv4_dst; }; struct { __u32 ipv6_src[4];"
                    " __u32 ipv6_dst[4]; }; }",
        "ipv6_dst": "",
    },
}  # fmt: skip

MACROS: Final[tuple[Macro, ...]] = (
    Macro("BPF_JMP32", "0x06"), Macro("BPF_ALU64", "0x07"), Macro("BPF_DW", "0x18"), Macro("BPF_MEMSX", "0x80"),
    Macro("BPF_ATOMIC", "0xc0"), Macro("BPF_XADD", "0xc0"), Macro("BPF_MOV", "0xb0"), Macro("BPF_ARSH", "0xc0"),
    Macro("BPF_END", "0xd0"), Macro("BPF_TO_LE", "0x00"), Macro("BPF_TO_BE", "0x08"),
    Macro("BPF_FROM_LE", "BPF_TO_LE"), Macro("BPF_FROM_BE", "BPF_TO_BE"), Macro("BPF_JNE", "0x50"),
    Macro("BPF_JLT", "0xa0"), Macro("BPF_JLE", "0xb0"), Macro("BPF_JSGT", "0x60"), Macro("BPF_JSGE", "0x70"),
    Macro("BPF_JSLT", "0xc0"), Macro("BPF_JSLE", "0xd0"), Macro("BPF_JCOND", "0xe0"), Macro("BPF_CALL", "0x80"),
    Macro("BPF_EXIT", "0x90"), Macro("BPF_FETCH", "0x01"), Macro("BPF_XCHG", "(0xe0 | BPF_FETCH)"),
    Macro("BPF_CMPXCHG", "(0xf0 | BPF_FETCH)"), Macro("BPF_LOAD_ACQ", "0x100"), Macro("BPF_STORE_REL", "0x110"),
    Macro("MAX_BPF_REG", "__MAX_BPF_REG"), Macro("MAX_BPF_ATTACH_TYPE", "__MAX_BPF_ATTACH_TYPE"),
    Macro("MAX_BPF_LINK_TYPE", "__MAX_BPF_LINK_TYPE"),
    Macro("BPF_PSEUDO_MAP_FD", "1"), Macro("BPF_PSEUDO_MAP_IDX", "5"), Macro("BPF_PSEUDO_MAP_VALUE", "2"),
    Macro("BPF_PSEUDO_MAP_IDX_VALUE", "6"), Macro("BPF_PSEUDO_BTF_ID", "3"), Macro("BPF_PSEUDO_FUNC", "4"),
    Macro("BPF_PSEUDO_CALL", "1"), Macro("BPF_PSEUDO_KFUNC_CALL", "2"),
    Macro("BPF_BUILD_ID_SIZE", "20"), Macro("BPF_OBJ_NAME_LEN", "16U"), Macro("BPF_TAG_SIZE", "8"),
    Macro("XDP_PACKET_HEADROOM", "256"),
    Macro("BPF_F_ADJ_ROOM_ENCAP_L2(len)",
          "(((__u64)len & BPF_ADJ_ROOM_ENCAP_L2_MASK) << BPF_ADJ_ROOM_ENCAP_L2_SHIFT)"),
    Macro("BPF_F_REDIRECT_FLAGS", "(BPF_F_INGRESS | BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS)"),
    Macro("BPF_LINE_INFO_LINE_NUM(line_col)", "((line_col) >> 10)"),
    Macro("BPF_LINE_INFO_LINE_COL(line_col)", "((line_col) & 0x3ff)"),
    Macro("__bpf_md_ptr(type, name)", "union { type name; __u64 : 64; } __attribute__((aligned(8)))"),
)  # fmt: skip

# Structs within structs, whose names `spec.commands` and `spec.infos` have as prefixes of their members.
Inner = Mapping[str, "Inner"]
_NONE: Final[Inner] = {}
ATTR_INNER: Final[Inner] = dict.fromkeys(
    ("perf_event", "kprobe_multi", "tracing", "netfilter", "tcx", "uprobe_multi", "netkit", "cgroup"), _NONE
)
LINK_INFO_INNER: Final[Inner] = {
    **dict.fromkeys(
        ("raw_tracepoint", "tracing", "cgroup", "netns", "xdp", "struct_ops", "netfilter", "kprobe_multi",
         "uprobe_multi", "tcx", "netkit", "sockmap"), _NONE
    ),
    "iter": dict.fromkeys(("map", "cgroup", "task"), _NONE),
    "perf_event": dict.fromkeys(("uprobe", "kprobe", "tracepoint", "event"), _NONE),
}  # fmt: skip
# Members of one bit.
ONE_BIT: Final = frozenset({"gpl_compatible"})
# File descriptors that are __s32; the others are __u32.
SIGNED_FDS: Final = frozenset({
    "value_type_btf_obj_fd", "map_token_fd", "prog_token_fd", "btf_token_fd", "path_fd", "fd_by_id_token_fd",
})  # fmt: skip
