"""Context structs: what r1 points to, and which accesses the verifier allows.

A program sees a struct of the uapi headers, not the kernel's own. Each program type allows loads and stores of some
members, of some sizes, and a load of some members yields a pointer. `access` answers for one load or store.

Sources: include/uapi/linux/bpf.h; the *_is_valid_access functions of Linux 6.12: net/core/filter.c,
kernel/trace/bpf_trace.c, kernel/bpf/cgroup.c, kernel/bpf/syscall.c, drivers/media/rc/bpf-lirc.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
from bombus.spec.ctxstructs import (
    CONTEXT,
    CONTEXTS,
    DEVICE,
    MEMBERS_SINCE,
    NETFILTER,
    PERF,
    PT_REGS,
    RAW_TP,
    SK_LOOKUP,
    SK_MSG,
    SK_REUSEPORT,
    SKB,
    SOCK,
    SOCK_ADDR,
    SOCK_OPS,
    SOCKOPT,
    SYSCTL,
    TCP_SOCK,
    XDP,
    Context,
    Member,
)
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.spec.version import KernelVersion, since

__all__ = [
    "CONTEXT", "CONTEXTS", "MEMBERS_SINCE", "RULES", "Context", "FieldAccess", "Member", "Question", "access",
    "socket_field",
]  # fmt: skip


class FieldAccess(NamedTuple):
    """An access that is allowed. pointer: the kind of register that a load yields ("" for a number), field_size:
    bytes of the whole field when a part of it is read, else 0."""

    pointer: str = ""
    field_size: int = 0


class Question(NamedTuple):
    """One load or store of `size` bytes at `offset`."""

    offset: int
    size: int
    write: bool
    attach: str
    signed: bool
    version: KernelVersion | None
    privileged: bool


_PLAIN: Final = FieldAccess()
_PACKET: Final = FieldAccess("PTR_TO_PACKET")
_PACKET_END: Final = FieldAccess("PTR_TO_PACKET_END")
_PACKET_META: Final = FieldAccess("PTR_TO_PACKET_META")
_SOCKET: Final = FieldAccess("PTR_TO_SOCKET")
_SOCKET_OR_NULL: Final = FieldAccess("PTR_TO_SOCKET_OR_NULL")
_COMMON_OR_NULL: Final = FieldAccess("PTR_TO_SOCK_COMMON_OR_NULL")
_MAX_RECORD: Final = 8192  # PERF_MAX_TRACE_SIZE, include/linux/trace_events.h
_MAX_RECORD_ONCE: Final = (since("5.16"), 2048)


def _names(*names: str) -> frozenset[str]:
    return frozenset(names)


def _narrow(size: int, whole: int) -> FieldAccess | None:
    """A load of a part of a field (bpf_ctx_narrow_access_ok)."""
    return FieldAccess("", whole) if size <= whole and size & (size - 1) == 0 else None


def _inside(context: Context, q: Question) -> bool:
    return 0 <= q.offset < context.size and q.offset % q.size == 0


def _name(context: Context, q: Question) -> str:
    member = context.at(q.offset)
    return member.name if member is not None else ""


# __sk_buff: each type takes away from what all may do.

_IPS: Final = _names("remote_ip4", "local_ip4", "remote_ip6", "local_ip6")
_FAMILY: Final = _names("family", "remote_ip4", "local_ip4", "remote_ip6", "local_ip6", "remote_port", "local_port")
_DATA: Final = _names("data", "data_end", "data_meta")


def _skb(q: Question, pointer: str = "") -> FieldAccess | None:
    """Linux 6.12 net/core/filter.c: bpf_skb_is_valid_access."""
    if not _inside(SKB, q):
        return None
    name = _name(SKB, q)
    if name == "cb":
        return _PLAIN if q.offset + q.size <= SKB.member("cb").end else None
    if name in _DATA:
        return FieldAccess(pointer) if q.size == 4 and not q.signed else None
    if name in _IPS:
        return _PLAIN if q.size == 4 else None
    if name in ("flow_keys", "tstamp_type", ""):
        return None
    if name == "hwtstamp":
        return _PLAIN if q.size == 8 and not q.write else None
    if name == "tstamp":
        return _PLAIN if q.size == 8 else None
    if name == "sk":
        return _COMMON_OR_NULL if q.size == 8 and not q.write else None
    if q.write:
        return _PLAIN if q.size == 4 else None
    return _narrow(q.size, 4)


_POINTERS: Final = {"data": "PTR_TO_PACKET", "data_end": "PTR_TO_PACKET_END", "data_meta": "PTR_TO_PACKET_META"}


def _skb_rules(
    hidden: frozenset[str], writable: frozenset[str], *, tstamp_type: bool = False, caps: frozenset[str] = frozenset()
) -> Callable[[Question], FieldAccess | None]:
    """Access rules of a type over __sk_buff. `caps`: what needs CAP_BPF."""

    def rule(q: Question) -> FieldAccess | None:
        name = _name(SKB, q)
        if name in hidden or (q.write and name not in writable) or (name in caps and not q.privileged):
            return None
        if name == "tstamp_type" and tstamp_type:
            return _PLAIN if q.size == 1 and not q.write else None
        return _skb(q, _POINTERS.get(name, ""))

    return rule


_socket_filter = _skb_rules(
    _names("tc_classid", "data", "data_meta", "data_end", "tstamp", "wire_len", "hwtstamp") | _FAMILY, _names("cb")
)
_cgroup_skb_all = _skb_rules(
    _names("tc_classid", "data_meta", "wire_len"), _names("mark", "priority", "cb", "tstamp"),
    caps=_names("data", "data_end"),
)
_lwt = _skb_rules(
    _names("tc_classid", "data_meta", "tstamp", "wire_len", "hwtstamp") | _FAMILY, _names("mark", "priority", "cb")
)
_tc = _skb_rules(
    _FAMILY, _names("mark", "tc_index", "priority", "tc_classid", "cb", "tstamp", "queue_mapping"), tstamp_type=True
)
_sk_skb = _skb_rules(
    _names("tc_classid", "data_meta", "tstamp", "wire_len", "hwtstamp", "mark"), _names("tc_index", "priority")
)


def _cgroup_skb(q: Question) -> FieldAccess | None:
    if q.write and _name(SKB, q) == "tstamp" and not q.privileged:
        return None
    return _cgroup_skb_all(q)


def _flow_dissector(q: Question) -> FieldAccess | None:
    if q.write or not _inside(SKB, q):
        return None
    name = _name(SKB, q)
    if name in ("data", "data_end"):
        return FieldAccess(_POINTERS[name]) if q.size == 4 and not q.signed else None
    return FieldAccess("PTR_TO_FLOW_KEYS") if name == "flow_keys" and q.size == 8 else None


def _xdp(q: Question) -> FieldAccess | None:
    if q.write or not _inside(XDP, q) or q.size != 4:
        return None
    name = _name(XDP, q)
    if name == "egress_ifindex" and q.attach != "BPF_XDP_DEVMAP":
        return None
    if name in _DATA:
        return None if q.signed else FieldAccess(_POINTERS[name])
    return _PLAIN


# Sockets.


def _sock(q: Question) -> FieldAccess | None:
    """Linux 6.12 net/core/filter.c: bpf_sock_is_valid_access."""
    if not _inside(SOCK, q):
        return None
    member = SOCK.at(q.offset)
    if member is None:
        return None
    at_start = q.offset == member.offset
    if member.name in ("src_ip4", "src_ip6", "dst_ip4", "dst_ip6") or (
        at_start and member.name in ("state", "family", "type", "protocol", "src_port", "rx_queue_mapping")
    ):
        return _narrow(q.size, 4)
    if member.name == "dst_port":
        return _narrow(q.size, 4 if q.size == 4 else 2)
    return _PLAIN if q.size == 4 else None


def _sock_common(q: Question) -> FieldAccess | None:
    return None if _name(SOCK, q) in ("type", "protocol", "mark", "priority") else _sock(q)


def _tcp_sock(q: Question) -> FieldAccess | None:
    if not 0 <= q.offset < TCP_SOCK.size or q.offset % q.size:
        return None
    wide = any(q.offset == TCP_SOCK.member(name).offset for name in ("bytes_received", "bytes_acked"))
    return _PLAIN if q.size == (8 if wide else 4) else None


def _xdp_sock(q: Question) -> FieldAccess | None:
    return _PLAIN if q.offset == 0 and q.size == 4 else None


def _cgroup_sock(q: Question) -> FieldAccess | None:
    found = _sock(q)
    if found is None:
        return None
    attach = q.attach.removeprefix("BPF_CGROUP_")
    member = SOCK.at(q.offset)
    name = member.name if member is not None else ""
    if name in ("bound_dev_if", "mark", "priority") and member is not None and q.offset == member.offset:
        return found if attach in ("INET_SOCK_CREATE", "INET_SOCK_RELEASE", "") else None
    if (
        (name == "src_ip4" and attach != "INET4_POST_BIND")
        or (name == "src_ip6" and attach != "INET6_POST_BIND")
        or (name == "src_port" and attach not in ("INET4_POST_BIND", "INET6_POST_BIND"))
        or q.write
    ):
        return None
    return found


_ADDR4: Final = frozenset(
    f"BPF_CGROUP_{name}"
    for name in (
        "INET4_BIND", "INET4_CONNECT", "INET4_GETPEERNAME", "INET4_GETSOCKNAME", "UDP4_SENDMSG", "UDP4_RECVMSG",
    )
)
_ADDR6: Final = frozenset(name.replace("4_", "6_") for name in _ADDR4)
_ADDR_ATTACH: Final = {
    "user_ip4": _ADDR4,
    "user_ip6": _ADDR6,
    "msg_src_ip4": _names("BPF_CGROUP_UDP4_SENDMSG"),
    "msg_src_ip6": _names("BPF_CGROUP_UDP6_SENDMSG"),
}


def _sock_addr(q: Question) -> FieldAccess | None:
    if not _inside(SOCK_ADDR, q):
        return None
    member = SOCK_ADDR.at(q.offset)
    if member is None:
        return None
    name = member.name
    if name in _ADDR_ATTACH and q.attach not in _ADDR_ATTACH[name]:
        return None
    if name in _ADDR_ATTACH or name == "user_port":
        if q.size == 8 and q.offset % 8 == 0 and q.offset + 8 <= member.end and name in ("user_ip6", "msg_src_ip6"):
            return _PLAIN
        if q.write:
            return _PLAIN if q.size == 4 else None
        return _narrow(q.size, 4)
    if q.write:
        return None
    if name == "sk":
        return _SOCKET if q.size == 8 else None
    return _PLAIN if q.size == 4 else None


def _sock_ops(q: Question) -> FieldAccess | None:
    if not _inside(SOCK_OPS, q):
        return None
    member = SOCK_OPS.at(q.offset)
    name = member.name if member is not None else ""
    if q.write:
        at_start = member is not None and member.offset == q.offset
        writable = name == "sk_txhash" or (name == "args" and at_start)
        return _PLAIN if writable and q.size == 4 else None
    if name in ("bytes_received", "bytes_acked", "skb_hwtstamp"):
        return _PLAIN if q.size == 8 else None
    pointer = {"sk": _SOCKET_OR_NULL, "skb_data": _PACKET, "skb_data_end": _PACKET_END}.get(name)
    if pointer is not None:
        return pointer if q.size == 8 else None
    if name == "skb_tcp_flags" and member is not None and q.offset == member.offset:
        return _narrow(q.size, 4)
    return _PLAIN if q.size == 4 else None


def _sk_msg(q: Question) -> FieldAccess | None:
    if q.write or q.offset < 0 or q.offset % q.size:
        return None
    name = _name(SK_MSG, q)
    pointer = {"data": _PACKET, "data_end": _PACKET_END, "sk": _SOCKET}.get(name)
    if pointer is not None:
        return pointer if q.size == 8 else None
    return _PLAIN if name and q.size == 4 else None


def _sk_reuseport(q: Question) -> FieldAccess | None:
    if q.write or not _inside(SK_REUSEPORT, q):
        return None
    member = SK_REUSEPORT.at(q.offset)
    if member is None:
        return None
    name = member.name
    at_start = q.offset == member.offset
    pointer = {"data": _PACKET, "data_end": _PACKET_END, "sk": _SOCKET, "migrating_sk": _COMMON_OR_NULL}.get(name)
    if pointer is not None:
        return pointer if at_start and q.size == 8 else None
    if name == "hash":
        return _PLAIN if at_start and q.size == 4 else None
    if name == "eth_protocol" and q.size < 2:
        return None
    return _narrow(q.size, 4)


def _sk_lookup(q: Question) -> FieldAccess | None:
    if q.write or not _inside(SK_LOOKUP, q):
        return None
    member = SK_LOOKUP.at(q.offset)
    if member is None:  # remote_port was once 4 bytes: what is behind it may still be read
        return _narrow(q.size, 2) if q.offset < SK_LOOKUP.member("local_ip4").offset else None
    if member.name == "sk":
        return _SOCKET_OR_NULL if q.size == 8 else None
    if member.name == "remote_port":
        return _PLAIN if q.size == 4 else _narrow(q.size, 2)
    return _narrow(q.size, 4)


# Control groups.


def _device(q: Question) -> FieldAccess | None:
    if q.write or q.offset < 0 or q.offset + q.size > DEVICE.size or q.offset % q.size:
        return None
    if _name(DEVICE, q) == "access_type":
        return _narrow(q.size, 4)
    return _PLAIN if q.size == 4 else None


def _sysctl(q: Question) -> FieldAccess | None:
    if q.offset < 0 or q.offset + q.size > SYSCTL.size or q.offset % q.size:
        return None
    if not q.write:
        return _narrow(q.size, 4)
    return _PLAIN if _name(SYSCTL, q) == "file_pos" and q.size == 4 else None


def _sockopt(q: Question) -> FieldAccess | None:
    if not _inside(SOCKOPT, q):
        return None
    member = SOCKOPT.at(q.offset)
    if member is None:
        return None
    name = member.name
    getting = q.attach == "BPF_CGROUP_GETSOCKOPT"
    if q.write:
        if q.offset != member.offset or q.size != 4:
            return None
        allowed = {"retval": getting, "optlen": True}.get(name, False)
        if name in ("optname", "level"):
            allowed = q.attach == "BPF_CGROUP_SETSOCKOPT"
        return _PLAIN if allowed else None
    pointer = {"sk": _SOCKET, "optval": _PACKET, "optval_end": _PACKET_END}.get(name)
    if pointer is not None:
        return pointer if q.size == 8 else None
    if q.size != 4 or (name == "retval" and not getting):
        return None
    return _PLAIN


# Tracing.


def _pt_regs(q: Question) -> FieldAccess | None:
    if q.write or not _inside(PT_REGS, q) or q.offset + q.size > PT_REGS.size:
        return None
    return _PLAIN


def _tracepoint(q: Question) -> FieldAccess | None:
    young, small = _MAX_RECORD_ONCE
    limit = small if q.version is not None and q.version < young else _MAX_RECORD
    # The kernel compares with an unsigned 8, so that negative offsets pass (tp_prog_is_valid_access; seen on 6.18).
    inside = q.offset < 0 or 8 <= q.offset < limit
    return _PLAIN if not q.write and inside and q.offset % q.size == 0 else None


def _perf_event(q: Question) -> FieldAccess | None:
    if q.write or not _inside(PERF, q):
        return None
    if _name(PERF, q) in ("sample_period", "addr"):
        return _narrow(q.size, 8)
    return _PLAIN if q.size == 8 else None


def _raw_tp(q: Question) -> FieldAccess | None:
    return _PLAIN if not q.write and 0 <= q.offset < RAW_TP.size and q.offset % q.size == 0 else None


def _raw_tp_writable(q: Question) -> FieldAccess | None:
    if q.offset == 0:
        return FieldAccess("PTR_TO_TP_BUFFER") if q.size == 8 and not q.write else None
    return _raw_tp(q)


def _lirc(q: Question) -> FieldAccess | None:
    return _PLAIN if not q.write and q.offset == 0 and q.size == 4 else None


def _netfilter(q: Question) -> FieldAccess | None:
    if q.write or not _inside(NETFILTER, q) or q.size != 8:
        return None
    return FieldAccess("PTR_TO_BTF_ID")


def _syscall(q: Question) -> FieldAccess | None:
    return _PLAIN if 0 <= q.offset < 0xFFFF and q.offset % q.size == 0 else None


RULES: Final[dict[str, Callable[[Question], FieldAccess | None]]] = {
    "BPF_PROG_TYPE_SOCKET_FILTER": _socket_filter,
    "BPF_PROG_TYPE_KPROBE": _pt_regs,
    "BPF_PROG_TYPE_SCHED_CLS": _tc,
    "BPF_PROG_TYPE_SCHED_ACT": _tc,
    "BPF_PROG_TYPE_TRACEPOINT": _tracepoint,
    "BPF_PROG_TYPE_XDP": _xdp,
    "BPF_PROG_TYPE_PERF_EVENT": _perf_event,
    "BPF_PROG_TYPE_CGROUP_SKB": _cgroup_skb,
    "BPF_PROG_TYPE_CGROUP_SOCK": _cgroup_sock,
    "BPF_PROG_TYPE_LWT_IN": _lwt,
    "BPF_PROG_TYPE_LWT_OUT": _lwt,
    "BPF_PROG_TYPE_LWT_XMIT": _lwt,
    "BPF_PROG_TYPE_LWT_SEG6LOCAL": _lwt,
    "BPF_PROG_TYPE_SOCK_OPS": _sock_ops,
    "BPF_PROG_TYPE_SK_SKB": _sk_skb,
    "BPF_PROG_TYPE_CGROUP_DEVICE": _device,
    "BPF_PROG_TYPE_SK_MSG": _sk_msg,
    "BPF_PROG_TYPE_RAW_TRACEPOINT": _raw_tp,
    "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE": _raw_tp_writable,
    "BPF_PROG_TYPE_CGROUP_SOCK_ADDR": _sock_addr,
    "BPF_PROG_TYPE_LIRC_MODE2": _lirc,
    "BPF_PROG_TYPE_SK_REUSEPORT": _sk_reuseport,
    "BPF_PROG_TYPE_FLOW_DISSECTOR": _flow_dissector,
    "BPF_PROG_TYPE_CGROUP_SYSCTL": _sysctl,
    "BPF_PROG_TYPE_CGROUP_SOCKOPT": _sockopt,
    "BPF_PROG_TYPE_SK_LOOKUP": _sk_lookup,
    "BPF_PROG_TYPE_SYSCALL": _syscall,
    "BPF_PROG_TYPE_NETFILTER": _netfilter,
}
_SOCKETS: Final = {"bpf_sock": _sock, "sock_common": _sock_common, "bpf_tcp_sock": _tcp_sock, "bpf_xdp_sock": _xdp_sock}


def access(
    prog_type: int, offset: int, size: int, write: bool, attach_type: int = 0, *, signed: bool = False,
    version: KernelVersion | None = None, privileged: bool = True,
) -> FieldAccess | None:
    """Whether programs of a type may load or store `size` bytes at `offset` of their context; None: they may not.

    signed: a sign-extending load. privileged: the loader has CAP_BPF. Types whose context depends on kernel BTF
    (tracing, LSM, struct_ops, ext) have no rules here: KeyError.
    """
    row = PROG_TYPE_BY_ID[prog_type]
    attach = ATTACH_TYPE_BY_ID.get(attach_type)
    question = Question(offset, size, write, attach.name if attach is not None else "", signed, version, privileged)
    context = CONTEXT.get(row.ctx)
    if version is not None and context is not None:
        member = context.at(offset)
        young = MEMBERS_SINCE.get((context.name, member.name)) if member is not None else None
        if young is not None and version < young:
            return None
    return RULES[row.name](question)


def socket_field(struct: str, offset: int, size: int) -> bool:
    """Whether a load from a socket struct ("bpf_sock", "sock_common", "bpf_tcp_sock", "bpf_xdp_sock") is allowed."""
    return _SOCKETS[struct](Question(offset, size, False, "", False, None, True)) is not None
