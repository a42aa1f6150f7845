"""All sockets of one user kernel, and the way of packets between them.

Facts: Linux 6.12 net/ipv4/udp.c (__udp4_lib_lookup), net/ipv4/tcp_ipv4.c (tcp_v4_rcv, tcp_v4_send_reset).
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from bombus.errors import KernelError
from bombus.kernel.user.devices import Delivery, network_of
from bombus.kernel.user.sockets import SOCK_DGRAM, SOCK_STREAM, UserSocket, cgroups_of
from bombus.kernel.user.socketsecurity import ask, ask_create
from bombus.kernel.user.steering import Refused, among, lookup
from bombus.kernel.user.tcp.segment import ACK, RST, Place, Segment, parse
from bombus.kernel.user.world import world_of
from bombus.spec.tcp import TcpState

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

    def _places(self, kind: int, address: bytes, port: int) -> list[UserSocket]:
        """Sockets at a place, none of them connected: those of the address itself, else those of any."""
        found = [
            item for item in self._all
            if item.type == kind and item.remote is None and item.local[1] == port
            and len(item.local[0]) == len(address) and (item.tcp is None or item.tcp.state == TcpState.LISTEN)
        ]  # fmt: skip
        return [item for item in found if item.local[0] == address] or [i for i in found if not any(i.local[0])]

    def _connected(self, kind: int, source: Place, target: Place) -> UserSocket | None:
        for item in self._all:
            same = item.type == kind and item.remote == source and item.local[1] == target[1]
            if same and (item.local[0] == target[0] or not any(item.local[0])):
                return item
        return None

    def find(
        self, kind: int, source: Place, target: Place, ifindex: int = 1, packet: tuple[bytes, int, int] | None = None
    ) -> UserSocket | None:
        """Who gets a packet (frame, where its header is, how long that is), programs asked. Refused as they say."""
        best = self._connected(kind, source, target)
        if best is not None:
            return best
        here = self._places(kind, *target)
        exact = bool(here) and any(here[0].local[0])
        if kind == SOCK_DGRAM and exact and packet is not None:
            here = [among(here[-1], *packet)]
        chosen, alone = lookup(self.kernel, 6 if kind == SOCK_STREAM else 17, source, target, ifindex)
        if chosen is not None:
            return chosen if alone or packet is None else among(chosen, *packet)
        if not here:
            return None
        return here[-1] if packet is None or (kind == SOCK_DGRAM and exact) else among(here[-1], *packet)

    def _segment(self, ifindex: int, frame: bytes, segment: Segment) -> None:
        """To the connection that a TCP segment belongs to, or who listens; to nobody: RST."""
        size = len(segment.header())
        packet = frame, len(frame) - len(segment.data) - size, size
        try:
            best = self.find(SOCK_STREAM, segment.source, segment.target, ifindex, packet)
        except Refused:
            best = None
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
                self._segment(ifindex, frame, segment)
            return
        if len(frame) < at + 8:
            return
        sport, dport, length = struct.unpack_from("!HHH", frame, at)
        frame = frame[: at + max(length, 8)]
        try:
            best = self.find(SOCK_DGRAM, (source, sport), (target, dport), ifindex, (frame, at, 8))
        except Refused:
            return
        if best is not None:
            best.take(frame, at + 8, (source, sport))


def sockets_of(kernel: UserKernel) -> Sockets:
    world = world_of(kernel)
    found: Sockets | None = world.sockets
    if found is None:
        found = world.sockets = Sockets(kernel)
    return found
