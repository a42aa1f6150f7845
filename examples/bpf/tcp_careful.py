"""A TCP congestion control: Reno that never lets its window grow above a setting."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Method, Struct, StructOps, array, struct_ops, u8, u32, u64

LICENSE = bpf.license("GPL")
widest = bpf.config(u32(64))
started = bpf.var(u64(0))


class tcp_sock(Struct, core=True):
    snd_cwnd: u32
    snd_ssthresh: u32


class tcp_congestion_ops(StructOps):
    init: Method
    ssthresh: Method
    undo_cwnd: Method
    cong_avoid: Method
    name: Array[u8] = array(16)


@bpf.kfunc
def tcp_reno_cong_avoid(sk: tcp_sock, ack: u32, acked: u32) -> None: ...


@bpf.kfunc
def tcp_reno_ssthresh(sk: tcp_sock) -> u32:
    raise NotImplementedError


@bpf.kfunc
def tcp_reno_undo_cwnd(sk: tcp_sock) -> u32:
    raise NotImplementedError


@struct_ops
def careful_init(sk: tcp_sock) -> None:
    bpf.atomic(started).value += 1


@struct_ops
def careful_ssthresh(sk: tcp_sock) -> u32:
    return tcp_reno_ssthresh(sk)


@struct_ops
def careful_undo(sk: tcp_sock) -> u32:
    return tcp_reno_undo_cwnd(sk)


@struct_ops
def careful_avoid(sk: tcp_sock, ack: u32, acked: u32) -> None:
    tcp_reno_cong_avoid(sk, ack, acked)
    if sk.snd_cwnd > widest.value:
        sk.snd_cwnd = widest.value


careful = tcp_congestion_ops(
    init=careful_init,
    ssthresh=careful_ssthresh,
    undo_cwnd=careful_undo,
    cong_avoid=careful_avoid,
    name=b"bombus_careful",
)
