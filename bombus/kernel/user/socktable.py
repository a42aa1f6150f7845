"""All sockets of one user kernel, and the way of packets between them.

Facts: Linux 6.12 net/ipv4/udp.c (__udp4_lib_lookup), net/ipv4/tcp_ipv4.c (tcp_v4_rcv, tcp_v4_send_reset).
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from bombus.errors import KernelError
from bombus.kernel.user.devices import Delivery, network_of
from bombus.kernel.user.sockets import SOCK_DGRAM, UserSocket, cgroups_of
from bombus.kernel.user.socketsecurity import ask, ask_create
from bombus.kernel.user.tcp.connection import LISTEN
from bombus.kernel.user.tcp.segment import ACK, RST, Segment, parse
from bombus.kernel.user.world import world_of

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel


class Sockets:
    """All sockets of one kernel; takes UDP datagrams that reach the stack."""

    def __init__(self, kernel: UserKernel) -> None:
        self.kernel = kernel
        self._all: list[UserSocket] = []
        self.last = Delivery()  # what became of the packet that was sent last
        self._way: deque[bytes] = deque()  # packets that were sent and did not arrive yet
        self._busy = False
        network_of(kernel).on_receive(self._take)

    def __iter__(self) -> Any:
        return iter(self._all)

    def make(self, family: int, type: int, cgroup: str) -> UserSocket:
        group = cgroups_of(self.kernel).find(cgroup)
        ask_create(self.kernel, int(family), int(type), group)
        made = UserSocket(self.kernel, family, type, group)
        self._all.append(made)
        try:
            ask(made, "post_create", int(family), int(type), 0, 0)
        except KernelError:
            made.put()
            raise
        made.fd = self.kernel.install(made, "socket")
        return made

    def discard(self, item: UserSocket) -> None:
        if item in self._all:
            self._all.remove(item)

    def add(self, item: UserSocket) -> None:
        self._all.append(item)

    def send(self, frame: bytes) -> None:
        """Packets arrive in the order in which they were sent; what they bring about comes after them."""
        self._way.append(frame)
        if self._busy:
            return
        self._busy = True
        try:
            while self._way:
                self.last = network_of(self.kernel).send("lo", self._way.popleft())
        finally:
            self._busy = False
            self._way.clear()

    def idle(self) -> None:
        """Time passes: TCP sends the acknowledgements that it held back."""
        for item in list(self._all):
            if item.tcp is not None:
                item.tcp.idle()

    def _segment(self, frame: bytes, segment: Segment) -> None:
        """To the connection that a TCP segment belongs to, or who listens; to nobody: RST."""
        best: UserSocket | None = None
        for item in self._all:
            if item.tcp is None or item.local[1] != segment.target[1] or len(item.local[0]) != len(segment.target[0]):
                continue
            if item.remote is not None:
                if item.remote == segment.source and item.local[0] == segment.target[0]:
                    best = item
                    break
            elif item.tcp.state == LISTEN and (
                item.local[0] == segment.target[0] or (not any(item.local[0]) and best is None)
            ):
                best = item
        if best is not None:
            listener = best.tcp.listener if best.tcp is not None and not best.tcp.full else None
            best.arrives(frame, listener.socket if listener is not None else best)
        elif not segment.flags & RST:
            answer = Segment(segment.target, segment.source, 0, segment.seq + segment.span & 0xFFFF_FFFF, RST | ACK, 0)
            if segment.flags & ACK:
                answer.seq, answer.ack, answer.flags = segment.ack, 0, RST
            self.send(answer.frame())

    def _take(self, ifindex: int, frame: bytes, mark: int) -> None:
        kind = frame[12:14]
        if kind == b"\x08\x00" and len(frame) >= 34 and frame[14] >> 4 == 4 and frame[23] == 17:
            at = 14 + (frame[14] & 15) * 4
            source, target = frame[26:30], frame[30:34]
        elif kind == b"\x86\xdd" and len(frame) >= 54 and frame[20] == 17:
            at, source, target = 54, frame[22:38], frame[38:54]
        else:
            segment = parse(frame)
            if segment is not None:
                self._segment(frame, segment)
            return
        if len(frame) < at + 8:
            return
        sport, dport, length = struct.unpack_from("!HHH", frame, at)
        frame = frame[: at + max(length, 8)]
        best: UserSocket | None = None
        for item in self._all:
            if item.type != SOCK_DGRAM or item.local[1] != dport or len(item.local[0]) != len(target):
                continue
            if item.remote is not None and item.remote != (source, sport):
                continue
            if item.local[0] == target or (not any(item.local[0]) and best is None):
                best = item
        if best is not None:
            best.take(frame, at + 8, (source, sport))


def sockets_of(kernel: UserKernel) -> Sockets:
    world = world_of(kernel)
    found: Sockets | None = world.sockets
    if found is None:
        found = world.sockets = Sockets(kernel)
    return found
