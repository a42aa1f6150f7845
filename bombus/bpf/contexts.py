"""Context structs as programs see them. Written by tools/gen-dialect from bombus.spec.contexts."""

from __future__ import annotations

from typing import ClassVar

from bombus.bpf.context import Context, PacketContext
from bombus.bpf.ints import be16, be32, s32, u8, u16, u32, u64
from bombus.bpf.struct import Array, Opaque, Pointer, array


class Skb(PacketContext, name="__sk_buff"):
    """struct __sk_buff."""

    _DATA: ClassVar[int] = 76
    _DATA_END: ClassVar[int] = 80
    _WIDTH: ClassVar[int] = 4
    len: u32
    pkt_type: u32
    mark: u32
    queue_mapping: u32
    protocol: u32
    vlan_present: u32
    vlan_tci: u32
    vlan_proto: u32
    priority: u32
    ingress_ifindex: u32
    ifindex: u32
    tc_index: u32
    cb: Array[u32] = array(5)
    hash: u32
    tc_classid: u32
    data: u32
    data_end: u32
    napi_id: u32
    family: u32
    remote_ip4: be32
    local_ip4: be32
    remote_ip6: Array[be32] = array(4)
    local_ip6: Array[be32] = array(4)
    remote_port: u32
    local_port: u32
    data_meta: u32
    flow_keys: Pointer[BpfFlowKeys]
    tstamp: u64
    wire_len: u32
    gso_segs: u32
    sk: Pointer[BpfSock]
    gso_size: u32
    tstamp_type: u8
    hwtstamp: u64


class XdpMd(PacketContext, name="xdp_md"):
    """struct xdp_md."""

    _DATA: ClassVar[int] = 0
    _DATA_END: ClassVar[int] = 4
    _WIDTH: ClassVar[int] = 4
    data: u32
    data_end: u32
    data_meta: u32
    ingress_ifindex: u32
    rx_queue_index: u32
    egress_ifindex: u32


class BpfSock(Context, name="bpf_sock"):
    """struct bpf_sock."""

    bound_dev_if: u32
    family: u32
    type: u32
    protocol: u32
    mark: u32
    priority: u32
    src_ip4: be32
    src_ip6: Array[be32] = array(4)
    src_port: u32
    dst_port: be16
    dst_ip4: be32
    dst_ip6: Array[be32] = array(4)
    state: u32
    rx_queue_mapping: s32


class BpfTcpSock(Context, name="bpf_tcp_sock"):
    """struct bpf_tcp_sock."""

    snd_cwnd: u32
    srtt_us: u32
    rtt_min: u32
    snd_ssthresh: u32
    rcv_nxt: u32
    snd_nxt: u32
    snd_una: u32
    mss_cache: u32
    ecn_flags: u32
    rate_delivered: u32
    rate_interval_us: u32
    packets_out: u32
    retrans_out: u32
    total_retrans: u32
    segs_in: u32
    data_segs_in: u32
    segs_out: u32
    data_segs_out: u32
    lost_out: u32
    sacked_out: u32
    bytes_received: u64
    bytes_acked: u64
    dsack_dups: u32
    delivered: u32
    delivered_ce: u32
    icsk_retransmits: u32


class BpfXdpSock(Context, name="bpf_xdp_sock"):
    """struct bpf_xdp_sock."""

    queue_id: u32


class BpfSockAddr(Context, name="bpf_sock_addr"):
    """struct bpf_sock_addr."""

    user_family: u32
    user_ip4: be32
    user_ip6: Array[be32] = array(4)
    user_port: u32
    family: u32
    type: u32
    protocol: u32
    msg_src_ip4: be32
    msg_src_ip6: Array[be32] = array(4)
    sk: Pointer[BpfSock]


class BpfSockOps(Context, name="bpf_sock_ops"):
    """struct bpf_sock_ops."""

    op: u32
    args: Array[u32] = array(4)
    family: u32
    remote_ip4: be32
    local_ip4: be32
    remote_ip6: Array[be32] = array(4)
    local_ip6: Array[be32] = array(4)
    remote_port: u32
    local_port: u32
    is_fullsock: u32
    snd_cwnd: u32
    srtt_us: u32
    bpf_sock_ops_cb_flags: u32
    state: u32
    rtt_min: u32
    snd_ssthresh: u32
    rcv_nxt: u32
    snd_nxt: u32
    snd_una: u32
    mss_cache: u32
    ecn_flags: u32
    rate_delivered: u32
    rate_interval_us: u32
    packets_out: u32
    retrans_out: u32
    total_retrans: u32
    segs_in: u32
    data_segs_in: u32
    segs_out: u32
    data_segs_out: u32
    lost_out: u32
    sacked_out: u32
    sk_txhash: u32
    bytes_received: u64
    bytes_acked: u64
    sk: Pointer[BpfSock]
    skb_data: u64
    skb_data_end: u64
    skb_len: u32
    skb_tcp_flags: u32
    skb_hwtstamp: u64


class SkMsgMd(PacketContext, name="sk_msg_md"):
    """struct sk_msg_md."""

    _DATA: ClassVar[int] = 0
    _DATA_END: ClassVar[int] = 8
    _WIDTH: ClassVar[int] = 8
    data: u64
    data_end: u64
    family: u32
    remote_ip4: be32
    local_ip4: be32
    remote_ip6: Array[be32] = array(4)
    local_ip6: Array[be32] = array(4)
    remote_port: u32
    local_port: u32
    size: u32
    sk: Pointer[BpfSock]


class SkReuseportMd(PacketContext, name="sk_reuseport_md"):
    """struct sk_reuseport_md."""

    _DATA: ClassVar[int] = 0
    _DATA_END: ClassVar[int] = 8
    _WIDTH: ClassVar[int] = 8
    data: u64
    data_end: u64
    len: u32
    eth_protocol: u32
    ip_protocol: u32
    bind_inany: u32
    hash: u32
    sk: Pointer[BpfSock]
    migrating_sk: Pointer[BpfSock]


class BpfSkLookup(Context, name="bpf_sk_lookup"):
    """struct bpf_sk_lookup."""

    sk: Pointer[BpfSock]
    family: u32
    protocol: u32
    remote_ip4: be32
    remote_ip6: Array[be32] = array(4)
    remote_port: be16
    local_ip4: be32
    local_ip6: Array[be32] = array(4)
    local_port: u32
    ingress_ifindex: u32


class BpfSysctl(Context, name="bpf_sysctl"):
    """struct bpf_sysctl."""

    write: u32
    file_pos: u32


class BpfSockopt(PacketContext, name="bpf_sockopt"):
    """struct bpf_sockopt."""

    _DATA: ClassVar[int] = 8
    _DATA_END: ClassVar[int] = 16
    _WIDTH: ClassVar[int] = 8
    sk: Pointer[BpfSock]
    optval: u64
    optval_end: u64
    level: s32
    optname: s32
    optlen: s32
    retval: s32


class BpfCgroupDevCtx(Context, name="bpf_cgroup_dev_ctx"):
    """struct bpf_cgroup_dev_ctx."""

    access_type: u32
    major: u32
    minor: u32


class PtRegs(Context, name="pt_regs"):
    """struct pt_regs."""

    r15: u64
    r14: u64
    r13: u64
    r12: u64
    bp: u64
    bx: u64
    r11: u64
    r10: u64
    r9: u64
    r8: u64
    ax: u64
    cx: u64
    dx: u64
    si: u64
    di: u64
    orig_ax: u64
    ip: u64
    cs: u64
    flags: u64
    sp: u64
    ss: u64


class BpfPerfEventData(Context, name="bpf_perf_event_data"):
    """struct bpf_perf_event_data."""

    regs: PtRegs
    sample_period: u64
    addr: u64


class BpfRawTracepointArgs(Context, name="bpf_raw_tracepoint_args"):
    """struct bpf_raw_tracepoint_args."""

    args: Array[u64] = array(12)


class BpfNfCtx(Context, name="bpf_nf_ctx"):
    """struct bpf_nf_ctx."""

    state: Pointer[Opaque]
    skb: Pointer[Opaque]


class BpfFlowKeys(Context, name="bpf_flow_keys"):
    """struct bpf_flow_keys."""

    nhoff: u16
    thoff: u16
    addr_proto: u16
    is_frag: u8
    is_first_frag: u8
    is_encap: u8
    ip_proto: u8
    n_proto: u16
    sport: u16
    dport: u16
    ipv6_src: Array[u32] = array(4)
    ipv6_dst: Array[u32] = array(4)
    flags: u32
    flow_label: u32


class LircSample(Context, name="u32"):
    """struct u32."""

    sample: u32
