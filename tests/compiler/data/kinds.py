"""A program of each kind that loads here, with its typed context."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, be32, contexts, helpers, map, s32, tc, u8, u16, u32, u64, xdp

LICENSE = bpf.license("GPL")
res = map.array(u32, u64, max_entries=8)


class H(Struct):
    a: u8
    b: u8
    c: u16
    d: u32
    e: u64


@tc
def a(ctx: tc.Context) -> tc.Action:
    sk = ctx.sk
    if sk is None:
        return tc.OK
    full = helpers.sk_fullsock(sk)
    if full is None:
        return tc.OK
    res.update(0, u64(full.src_port) + u64(full.family) + u64(full.dst_ip4))
    t = helpers.tcp_sock(sk)
    if t is not None:
        res.update(1, u64(t.snd_cwnd))
    return tc.OK


@bpf.sk_lookup
def b(ctx: contexts.BpfSkLookup) -> int:
    if ctx.sk is not None:
        return 0
    return 1


@bpf.flow_dissector
def c(ctx: contexts.Skb) -> int:
    keys = ctx.flow_keys
    if keys is None:
        return 2
    keys.ip_proto = u8(6)
    keys.nhoff += 4
    h = ctx.parse(H)
    if h is None:
        return 2
    return 0


@bpf.cgroup.getsockopt
def d(ctx: contexts.BpfSockopt) -> int:
    v = ctx.parse(H)
    if v is None:
        return 1
    v.a = u8(5)
    ctx.optlen = s32(4)
    if ctx.sk is not None:
        res.update(0, u64(ctx.length))
    return 1


class nf_hook_state(Struct, core=True):
    hook: u8
    pf: u8


@bpf.netfilter
def e(ctx: contexts.BpfNfCtx) -> int:
    st = ctx.state
    if st is None:
        return 1
    s = bpf.cast(st, nf_hook_state)
    res.update(0, u64(s.pf))
    return 1


@bpf.sk_msg
def f(ctx: contexts.SkMsgMd) -> int:
    h = ctx.parse(H)
    if h is None:
        return 1
    return 1


@bpf.cgroup.connect4
def g(ctx: contexts.BpfSockAddr) -> int:
    sk = ctx.sk
    if sk is None:
        return 1
    res.update(0, u64(sk.family))
    ctx.user_ip4 = be32(0x7f000001)
    return 1


@bpf.sock_ops
def h(ctx: contexts.BpfSockOps) -> int:
    sk = ctx.sk
    if sk is not None:
        t = helpers.tcp_sock(sk)
        if t is not None:
            res.update(0, u64(t.snd_cwnd))
    return 1


@bpf.sk_skb_verdict
def i(ctx: contexts.Skb) -> int:
    return 1


@bpf.sk_reuseport
def j(ctx: contexts.SkReuseportMd) -> int:
    if ctx.sk is None:
        return 0
    return 1


@bpf.cgroup.sysctl
def k(ctx: contexts.BpfSysctl) -> int:
    return 1


@bpf.cgroup.device
def ll(ctx: contexts.BpfCgroupDevCtx) -> int:
    return 1


@bpf.lwt_xmit
def m(ctx: contexts.Skb) -> int:
    return 0


@bpf.lirc_mode2
def n(ctx: contexts.LircSample) -> int:
    return 0


@bpf.perf_event
def o(ctx: contexts.BpfPerfEventData) -> int:
    res.update(0, ctx.regs.ip)
    return 0


@bpf.cgroup.sock_create
def q(ctx: contexts.BpfSock) -> int:
    res.update(0, u64(ctx.family))
    return 1


@bpf.xdp_frags
def r(ctx: xdp.Context) -> xdp.Action:
    return xdp.PASS


@bpf.tcx_ingress
def s(ctx: tc.Context) -> tc.Action:
    return tc.OK


@bpf.netkit_peer
def t(ctx: tc.Context) -> tc.Action:
    return tc.OK


@bpf.tc_action
def u(ctx: tc.Context) -> tc.Action:
    return tc.OK


@bpf.lwt_in
def v(ctx: contexts.Skb) -> int:
    return 0


@bpf.lwt_seg6local
def w(ctx: contexts.Skb) -> int:
    return 0


@bpf.cgroup.egress
def x(ctx: contexts.Skb) -> int:
    return 1


@bpf.cgroup.setsockopt
def y(ctx: contexts.BpfSockopt) -> int:
    ctx.optlen = s32(4)
    return 1


@bpf.socket_filter
def z(ctx: contexts.Skb) -> int:
    return 1


@bpf.sk_skb_parser
def aa(ctx: contexts.Skb) -> int:
    return 1
