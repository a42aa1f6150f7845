"""Context structs: their members, and since when they have them. What programs may do with them: `spec.contexts`.

Source: include/uapi/linux/bpf.h, arch/x86/include/asm/ptrace.h, and the BTF of Linux 6.1, 6.12 and 6.18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a context struct. offset, size: bytes; count: of an array, else 1; size is of the whole."""

    name: str
    offset: int
    size: int
    count: int = 1

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Context:
    """One struct with its members in order."""

    name: str
    size: int
    members: tuple[Member, ...]

    def member(self, name: str) -> Member:
        return next(m for m in self.members if m.name == name)

    def at(self, offset: int) -> Member | None:
        """The member that holds byte `offset`; None for padding."""
        return next((m for m in self.members if m.offset <= offset < m.end), None)


def _struct(name: str, size: int, text: str) -> Context:
    """Members as "name size" or "name size*count" in order, each aligned to its element; "@offset" moves."""
    members: list[Member] = []
    offset = 0
    for line in text.split(","):
        word, _, width = line.strip().partition(" ")
        if word.startswith("@"):
            offset = int(word[1:])
            continue
        each, _, count = width.partition("*")
        step = int(each)
        offset = (offset + step - 1) // step * step
        members.append(Member(word, offset, step * int(count or 1), int(count or 1)))
        offset += step * int(count or 1)
    return Context(name, size, tuple(members))


SKB = _struct(
    "__sk_buff", 192,
    "len 4, pkt_type 4, mark 4, queue_mapping 4, protocol 4, vlan_present 4, vlan_tci 4, vlan_proto 4, priority 4,"
    "ingress_ifindex 4, ifindex 4, tc_index 4, cb 4*5, hash 4, tc_classid 4, data 4, data_end 4, napi_id 4, family 4,"
    "remote_ip4 4, local_ip4 4, remote_ip6 4*4, local_ip6 4*4, remote_port 4, local_port 4, data_meta 4, flow_keys 8,"
    "tstamp 8, wire_len 4, gso_segs 4, sk 8, gso_size 4, tstamp_type 1, @184, hwtstamp 8",
)
XDP = _struct(
    "xdp_md", 24, "data 4, data_end 4, data_meta 4, ingress_ifindex 4, rx_queue_index 4, egress_ifindex 4"
)
SOCK = _struct(
    "bpf_sock", 80,
    "bound_dev_if 4, family 4, type 4, protocol 4, mark 4, priority 4, src_ip4 4, src_ip6 4*4, src_port 4, dst_port 2,"
    "@52, dst_ip4 4, dst_ip6 4*4, state 4, rx_queue_mapping 4",
)
TCP_SOCK = _struct(
    "bpf_tcp_sock", 112,
    "snd_cwnd 4, srtt_us 4, rtt_min 4, snd_ssthresh 4, rcv_nxt 4, snd_nxt 4, snd_una 4, mss_cache 4, ecn_flags 4,"
    "rate_delivered 4, rate_interval_us 4, packets_out 4, retrans_out 4, total_retrans 4, segs_in 4, data_segs_in 4,"
    "segs_out 4, data_segs_out 4, lost_out 4, sacked_out 4, bytes_received 8, bytes_acked 8, dsack_dups 4,"
    "delivered 4, delivered_ce 4, icsk_retransmits 4",
)
XDP_SOCK = _struct("bpf_xdp_sock", 4, "queue_id 4")
SOCK_ADDR = _struct(
    "bpf_sock_addr", 72,
    "user_family 4, user_ip4 4, user_ip6 4*4, user_port 4, family 4, type 4, protocol 4, msg_src_ip4 4,"
    "msg_src_ip6 4*4, @64, sk 8",
)
SOCK_OPS = _struct(
    "bpf_sock_ops", 224,
    "op 4, args 4*4, family 4, remote_ip4 4, local_ip4 4, remote_ip6 4*4, local_ip6 4*4, remote_port 4, local_port 4,"
    "is_fullsock 4, snd_cwnd 4, srtt_us 4, bpf_sock_ops_cb_flags 4, state 4, rtt_min 4, snd_ssthresh 4, rcv_nxt 4,"
    "snd_nxt 4, snd_una 4, mss_cache 4, ecn_flags 4, rate_delivered 4, rate_interval_us 4, packets_out 4,"
    "retrans_out 4, total_retrans 4, segs_in 4, data_segs_in 4, segs_out 4, data_segs_out 4, lost_out 4, sacked_out 4,"
    "sk_txhash 4, bytes_received 8, bytes_acked 8, sk 8, skb_data 8, skb_data_end 8, skb_len 4, skb_tcp_flags 4,"
    "skb_hwtstamp 8",
)
SK_MSG = _struct(
    "sk_msg_md", 80,
    "data 8, data_end 8, family 4, remote_ip4 4, local_ip4 4, remote_ip6 4*4, local_ip6 4*4, remote_port 4,"
    "local_port 4, size 4, sk 8",
)
SK_REUSEPORT = _struct(
    "sk_reuseport_md", 56,
    "data 8, data_end 8, len 4, eth_protocol 4, ip_protocol 4, bind_inany 4, hash 4, @40, sk 8, migrating_sk 8",
)
SK_LOOKUP = _struct(
    "bpf_sk_lookup", 72,
    "sk 8, family 4, protocol 4, remote_ip4 4, remote_ip6 4*4, remote_port 2, @40, local_ip4 4, local_ip6 4*4,"
    "local_port 4, ingress_ifindex 4",
)
SYSCTL = _struct("bpf_sysctl", 8, "write 4, file_pos 4")
SOCKOPT = _struct(
    "bpf_sockopt", 40, "sk 8, optval 8, optval_end 8, level 4, optname 4, optlen 4, retval 4"
)
DEVICE = _struct("bpf_cgroup_dev_ctx", 12, "access_type 4, major 4, minor 4")
PT_REGS = _struct(
    "pt_regs", 168,
    "r15 8, r14 8, r13 8, r12 8, bp 8, bx 8, r11 8, r10 8, r9 8, r8 8, ax 8, cx 8, dx 8, si 8, di 8, orig_ax 8, ip 8,"
    "cs 8, flags 8, sp 8, ss 8",
)
PERF = Context(
    "bpf_perf_event_data", 184, (Member("regs", 0, 168), Member("sample_period", 168, 8), Member("addr", 176, 8))
)
RAW_TP = Context("bpf_raw_tracepoint_args", 96, (Member("args", 0, 96, 12),))
NETFILTER = _struct("bpf_nf_ctx", 16, "state 8, skb 8")
FLOW_KEYS = _struct(
    "bpf_flow_keys", 56,
    "nhoff 2, thoff 2, addr_proto 2, is_frag 1, is_first_frag 1, is_encap 1, ip_proto 1, n_proto 2, sport 2, dport 2,"
    "ipv6_src 4*4, ipv6_dst 4*4, flags 4, flow_label 4",
)
LIRC = Context("u32", 4, (Member("sample", 0, 4),))

CONTEXTS: tuple[Context, ...] = (
    SKB, XDP, SOCK, TCP_SOCK, XDP_SOCK, SOCK_ADDR, SOCK_OPS, SK_MSG, SK_REUSEPORT, SK_LOOKUP, SYSCTL,
    SOCKOPT, DEVICE, PT_REGS, PERF, RAW_TP, NETFILTER,
    FLOW_KEYS, LIRC,
)  # fmt: skip
CONTEXT: dict[str, Context] = {context.name: context for context in CONTEXTS}

# Members younger than their struct (by uapi history).
MEMBERS_SINCE: Final[dict[tuple[str, str], KernelVersion]] = {
    ("__sk_buff", "tstamp"): since("5.0"),
    ("__sk_buff", "wire_len"): since("5.0"),
    ("__sk_buff", "gso_segs"): since("5.1"),
    ("__sk_buff", "sk"): since("5.1"),
    ("__sk_buff", "gso_size"): since("5.7"),
    ("__sk_buff", "tstamp_type"): since("5.18"),
    ("__sk_buff", "hwtstamp"): since("5.16"),
    ("__sk_buff", "data_meta"): since("4.15"),
    ("xdp_md", "egress_ifindex"): since("5.8"),
    ("bpf_sock", "rx_queue_mapping"): since("5.8"),
    ("bpf_sock_ops", "skb_hwtstamp"): since("6.2"),
    ("bpf_sk_lookup", "ingress_ifindex"): since("5.17"),
}
