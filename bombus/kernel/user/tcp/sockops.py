"""What sockops programs are told of a connection. Linux 6.12 include/net/tcp.h (tcp_call_bpf), net/core/filter.c
(sock_ops_convert_ctx_access), net/ipv4/tcp_input.c (bpf_skops_established)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.cgroups import run_programs
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.ctxstructs import SOCK_OPS, TCP_SOCK
from bombus.spec.tcp import TcpState

if TYPE_CHECKING:
    from bombus.kernel.user.tcp.connection import Tcp
    from bombus.kernel.user.tcp.segment import Segment
    from bombus.vm.memory import Region

_NUMBER: Final = ATTACH_TYPE["BPF_CGROUP_SOCK_OPS"].id
_MEMBERS: Final = {member.name: member for member in SOCK_OPS.members}


class SockOps:
    """One call: `ctx` holds struct bpf_sock_ops. full: the socket is a connection or listens, no mere request."""

    kind = "sock_ops"

    def __init__(self, tcp: Tcp, op: int, args: tuple[int, ...], segment: Segment | None, full: bool) -> None:
        self.tcp, self.op, self.full, self.segment = tcp, op, full, segment
        self.socket = tcp.socket.region
        memory = tcp.socket.kernel.memory
        self.ctx = memory.allocate(SOCK_OPS.size, name="bpf_sock_ops", kind="ctx")
        self.header: Region | None = None
        if segment is not None:
            data = segment.header()
            self.header = memory.allocate(len(data), name="the TCP header", kind="packet")
            self.header.view[:] = data
        self._fill(args)

    def _fill(self, args: tuple[int, ...]) -> None:
        tcp, socket = self.tcp, self.tcp.socket
        local, remote = tcp.ends()
        port = int.from_bytes(remote[1].to_bytes(4, "big"), "little")  # in network order
        values = {
            "op": self.op, "family": socket.family, "remote_port": port, "local_port": local[1],
            "is_fullsock": int(self.full), "state": tcp.state if self.full else TcpState.NEW_SYN_RECV,
        }  # fmt: skip
        if self.full:
            values |= tcp.counters() | {"bpf_sock_ops_cb_flags": tcp.flags, "sk": self.socket.start}
        if self.segment is not None and self.header is not None:
            values |= {
                "skb_data": self.header.start, "skb_data_end": self.header.start + len(self.header.view),
                "skb_len": len(self.header.view) + len(self.segment.data), "skb_tcp_flags": self.segment.flags,
            }  # fmt: skip
        view = self.ctx.view
        for name, value in values.items():
            member = _MEMBERS.get(name)
            if member is not None:
                view[member.offset : member.offset + member.size] = (value & (1 << 8 * member.size) - 1).to_bytes(
                    member.size, "little")  # fmt: skip
        struct.pack_into(f"<{len(args)}I", view, _MEMBERS["args"].offset, *(arg & 0xFFFF_FFFF for arg in args))
        size = 4 if len(local[0]) == 4 else 6
        if size == 6:  # what such sockets have as addresses of IPv4, LOOPBACK4_IPV6
            for name, there in (("local", any(local[0])), ("remote", tcp.listener is not None)):
                at = _MEMBERS[f"{name}_ip4"].offset
                view[at : at + 4] = bytes((127, 0, 0, 6)) if there else bytes(4)
        for name, address in (("remote", remote[0]), ("local", local[0])):
            at = _MEMBERS[f"{name}_ip{size}"].offset
            view[at : at + len(address)] = address

    @property
    def reply(self) -> int:
        at = _MEMBERS["args"].offset
        return int.from_bytes(self.ctx.view[at : at + 4], "little", signed=True)

    def close(self) -> None:
        memory = self.tcp.socket.kernel.memory
        memory.remove(self.ctx)
        if self.header is not None:
            memory.remove(self.header)


def call(tcp: Tcp, op: int, *args: int, segment: Segment | None = None, full: bool = True) -> int:
    """Tell the cgroup's programs: what they reply, -1 without a program's leave."""
    socket = tcp.socket
    programs = socket.cgroup.effective(_NUMBER)
    if not programs:
        return 0
    made = SockOps(tcp, op, args, segment, full)
    contexts = world_of(socket.kernel).contexts
    contexts[made.ctx.start] = made
    socket.fill()
    try:
        refused = run_programs(socket.kernel, programs, made.ctx.start)
        return -1 if refused else made.reply
    finally:
        del contexts[made.ctx.start]
        made.close()


def tcp_sock(tcp: Tcp, into: Region) -> None:
    """Fill struct bpf_tcp_sock."""
    counters = tcp.counters()
    for member in TCP_SOCK.members:
        value = counters.get(member.name, 0) & (1 << 8 * member.size) - 1
        into.view[member.offset : member.offset + member.size] = value.to_bytes(member.size, "little")
