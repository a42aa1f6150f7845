"""Sockets of the user kernel, as far as programs at cgroups and sockets see them.

UDP datagrams travel as real packets over the loopback: cgroup egress, the device's hooks, cgroup ingress, the
receiver's filter. TCP sockets have addresses (bind, connect, getsockname, getpeername) and no packets. Facts: Linux
6.12 net/ipv4/af_inet.c (inet_bind_sk, inet_getname), net/ipv4/udp.c (udp_sendmsg, udp_recvmsg, udp_pre_connect),
kernel/bpf/cgroup.c (__cgroup_bpf_run_filter_sock_addr, _skb, _sk), net/core/filter.c (sk_filter_trim_cap).
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.user.devices import Delivery, network_of
from bombus.kernel.user.helpers.checksum import fold, partial
from bombus.kernel.user.hooks.skbrun import borrow, give_back, prepare
from bombus.kernel.user.objects import KernelObject
from bombus.kernel.user.options import Options, get_option, set_option
from bombus.kernel.user.socketsecurity import ask, ask_create, inet_address
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.cgroups import Cgroup, CgroupTree, run_programs
from bombus.spec.attachtypes import ATTACH_TYPE

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.vm.memory import Region

AF_INET, AF_INET6 = 2, 10
SOCK_STREAM, SOCK_DGRAM = 1, 2
_PROTOCOLS: Final = {SOCK_STREAM: 6, SOCK_DGRAM: 17}
_SOCK_SIZE: Final = 80  # struct bpf_sock
_ADDR_SIZE: Final = 72  # struct bpf_sock_addr
_EPHEMERAL: Final = 32768
Address = tuple[str, int]
_STATES: Final = {"closed": 7, "established": 1}


class SockAddr:
    """What a sock_addr program gets: `ctx` holds struct bpf_sock_addr."""

    kind = "sock_addr"

    def __init__(self, ctx: Region, socket: Region) -> None:
        self.ctx, self.socket = ctx, socket


def cgroups_of(kernel: UserKernel) -> CgroupTree:
    world = world_of(kernel)
    found: CgroupTree | None = world.cgroups
    if found is None:
        found = world.cgroups = CgroupTree(kernel)
    return found


class UserSocket(KernelObject):
    """An inet socket. Its methods are those of socket.socket that programs can see; errors are KernelErrors."""

    kind: ClassVar[str] = "socket"

    __slots__ = (
        "cgroup", "family", "fd", "filter", "kernel", "listening", "local", "options", "queue", "region", "remote",
        "type",
    )  # fmt: skip

    def __init__(self, kernel: UserKernel, family: int, type: int, cgroup: Cgroup) -> None:
        super().__init__()
        if family not in (AF_INET, AF_INET6) or type not in _PROTOCOLS:
            why = "the user kernel has inet TCP and UDP; unix_socket() makes others"
            raise NotSupported(f"sockets of family {family} and type {type}", why)
        self.kernel, self.family, self.type, self.cgroup = kernel, int(family), int(type), cgroup
        self.local: tuple[bytes, int] = (self._any, 0)
        self.remote: tuple[bytes, int] | None = None
        self.filter: Prog | None = None
        self.queue: deque[tuple[bytes, tuple[bytes, int]]] = deque()
        self.fd = -1
        self.listening = False
        self.options = Options()
        self.region = kernel.memory.allocate(_SOCK_SIZE, name="bpf_sock", kind="btf", writable=False)
        try:
            self._sock("INET_SOCK_CREATE")
        except KernelError:
            kernel.memory.remove(self.region)
            raise

    @property
    def _any(self) -> bytes:
        return bytes(4 if self.family == AF_INET else 16)

    @property
    def _digit(self) -> int:
        return 4 if self.family == AF_INET else 6

    def fileno(self) -> int:
        return self.fd

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            self.kernel.close(fd)

    def __enter__(self) -> UserSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def release(self) -> None:
        _table(self.kernel).discard(self)
        self._sock("INET_SOCK_RELEASE", quiet=True)
        if self.filter is not None:
            self.filter.put()
            self.filter = None
        self.kernel.memory.remove(self.region)

    # Addresses

    def _parse(self, address: Address) -> tuple[bytes, int]:
        try:
            packed = ipaddress.ip_address(address[0]).packed
        except ValueError as error:
            raise UsageError(str(error)) from None
        if len(packed) != len(self._any):
            raise KernelError(errno.EAFNOSUPPORT, "socket", f"{address[0]} is of another family")
        return packed, address[1]

    @staticmethod
    def _show(place: tuple[bytes, int]) -> Address:
        return str(ipaddress.ip_address(place[0])), place[1]

    def bind(self, address: Address) -> None:
        place = self._parse(address)
        if not ask(self, "bind", address=inet_address(place)):
            return
        place = self._addr(f"INET{self._digit}_BIND", place)
        if place[1] == 0:
            place = place[0], self._free_port(place[0])
        elif any(self._clashes(other, place) for other in _table(self.kernel)):
            raise KernelError(errno.EADDRINUSE, "bind", str(self._show(place)))
        before, self.local = self.local, place
        try:
            self._sock(f"INET{self._digit}_POST_BIND")
        except KernelError:
            self.local = before
            raise

    def _clashes(self, other: UserSocket, place: tuple[bytes, int]) -> bool:
        same = other is not self and other.type == self.type and other.local[1] == place[1]
        alike = other.local[0] == place[0] or not any(place[0]) or not any(other.local[0])
        return same and alike and len(other.local[0]) == len(place[0])

    def _free_port(self, address: bytes) -> int:
        port = _EPHEMERAL
        while any(self._clashes(other, (address, port)) for other in _table(self.kernel)):
            port += 1
        return port

    def listen(self, backlog: int = 128) -> None:
        if not ask(self, "listen", backlog):
            return
        if self.type != SOCK_STREAM:
            raise KernelError(errno.EOPNOTSUPP, "listen", "only TCP listens")
        self.listening = True
        if not self.local[1]:
            self.local = self.local[0], self._free_port(self.local[0])

    def connect(self, address: Address) -> None:
        place = self._parse(address)
        if not ask(self, "connect", address=inet_address(place)):
            return
        place = self._addr(f"INET{self._digit}_CONNECT", place)
        if self.type == SOCK_STREAM and not self._listener(place):
            raise KernelError(errno.ECONNREFUSED, "connect", str(self._show(place)))
        self._choose_local(place)
        self.remote = place

    def _listener(self, place: tuple[bytes, int]) -> bool:
        return any(
            other.listening and other.local[1] == place[1] and other.local[0] in (place[0], bytes(len(place[0])))
            for other in _table(self.kernel)
        )  # fmt: skip

    def _choose_local(self, remote: tuple[bytes, int]) -> None:
        address, port = self.local
        self.local = (address if any(address) else remote[0]), port or self._free_port(address)

    def getsockname(self) -> Address:
        ask(self, "getsockname")
        return self._show(self._addr(f"INET{self._digit}_GETSOCKNAME", self.local, bind=False))

    def getpeername(self) -> Address:
        ask(self, "getpeername")
        if self.remote is None:
            raise KernelError(errno.ENOTCONN, "getpeername")
        return self._show(self._addr(f"INET{self._digit}_GETPEERNAME", self.remote, bind=False))

    # Options

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """As socket.setsockopt. NotSupported for options that the user kernel does not know."""
        ask(self, "setsockopt", level, name)
        data = value if isinstance(value, bytes) else int(value).to_bytes(4, "little", signed=True)
        self._fill_sock()
        set_option(self.kernel, self.cgroup, self.region.start, self.options, level, name, data)

    def getsockopt(self, level: int, name: int, size: int = 0) -> int | bytes:
        """As socket.getsockopt: an int, or with a size bytes."""
        ask(self, "getsockopt", level, name)
        self._fill_sock()
        data = get_option(self.kernel, self.cgroup, self.region.start, self.options, level, name, size or 4)
        return data if size else int.from_bytes(data, "little", signed=True)

    # Datagrams

    def sendto(self, data: bytes, address: Address) -> int:
        """An unconnected send. EPERM when a program says so."""
        self._only_udp("sendto")
        source = self.local[0]
        place = self._parse(address)
        place, chosen = self._send_addr(place, source)
        if place[1] == 0:
            raise KernelError(errno.EINVAL, "sendto", "port 0")
        if not self.local[1]:
            self.local = self.local[0], self._free_port(self.local[0])
        source = chosen if any(chosen) else (source if any(source) else place[0])
        return self._transmit(data, (source, self.local[1]), place)

    def send(self, data: bytes) -> int:
        self._only_udp("send")
        if self.remote is None:
            raise KernelError(errno.EDESTADDRREQ, "send")
        return self._transmit(data, self.local, self.remote)

    def _only_udp(self, call: str) -> None:
        if self.type != SOCK_DGRAM:
            raise NotSupported(f"{call} on a TCP socket", "the user kernel has no TCP beyond addresses")

    def _send_addr(self, place: tuple[bytes, int], source: bytes) -> tuple[tuple[bytes, int], bytes]:
        number = ATTACH_TYPE[f"BPF_CGROUP_UDP{self._digit}_SENDMSG"].id
        if not self.cgroup.effective(number):
            return place, bytes(len(source))
        return self._run_addr(number, place, source, "sendmsg")

    def recvfrom(self, size: int = 65536) -> tuple[bytes, Address]:
        """The next datagram. EAGAIN when there is none: nobody else could send it meanwhile."""
        self._only_udp("recvfrom")
        if not self.queue:
            raise KernelError(errno.EAGAIN, "recvfrom", "no datagram is there")
        data, source = self.queue.popleft()
        return data[:size], self._show(self._addr(f"UDP{self._digit}_RECVMSG", source, bind=False))

    def _transmit(self, data: bytes, source: tuple[bytes, int], target: tuple[bytes, int]) -> int:
        frame = datagram(data, source, target)
        number = ATTACH_TYPE["BPF_CGROUP_INET_EGRESS"].id
        allowed, frame = self.skb_programs(frame, number)
        if not allowed:
            raise KernelError(errno.EPERM, "sendto", "a cgroup program forbids it")
        _table(self.kernel).send(frame)
        return len(data)

    def skb_programs(self, frame: bytes, number: int) -> tuple[bool, bytes]:
        """Run the cgroup's packet programs over a frame: (does it go on, the frame afterwards)."""
        programs = self.cgroup.effective(number)
        world, going = world_of(self.kernel), True
        for one in programs:
            skb = borrow(self.kernel, world)
            kept = skb.socket
            try:
                prepare(skb, one.prog, frame, world, 1, at_hook=True)
                self._fill_sock()
                skb.socket = self.region
                skb.sync()
                if not one.run(skb.ctx.start) & 1:
                    going = False
                frame = frame[:14] + skb.output()
            finally:
                skb.socket = kept
                give_back(world, skb)
        return going, frame

    def take(self, frame: bytes, payload_at: int, source: tuple[bytes, int]) -> None:
        """A datagram arrives: the cgroup's programs, then the socket's own filter, which may cut it short."""
        allowed, frame = self.skb_programs(frame, ATTACH_TYPE["BPF_CGROUP_INET_INGRESS"].id)
        if not allowed:
            return
        keep = len(frame) - payload_at
        if self.filter is not None:
            world = world_of(self.kernel)
            skb = borrow(self.kernel, world)
            try:
                prepare(skb, self.filter, frame, world, 1, at_hook=True)
                skb.data = skb.data + payload_at - 8 - 14  # UDP sockets see the datagram from its UDP header on
                skb.transport = skb.data
                skb.sync()
                verdict = self.filter.compiled.run(skb.ctx.start) & 0xFFFF_FFFF
            finally:
                give_back(world, skb)
            if not verdict:
                return
            keep = min(keep, max(verdict, 8) - 8)
        self.queue.append((frame[payload_at : payload_at + keep], source))

    # Programs at addresses and at the socket

    def _fill_sock(self, target: tuple[bytes, int] | None = None) -> None:
        view = self.region.view
        view[:] = bytes(_SOCK_SIZE)
        struct.pack_into("<III", view, 4, self.family, self.type, _PROTOCOLS[self.type])
        remote = target or self.remote or (self._any, 0)
        if self.family == AF_INET:
            view[24:28], view[52:56] = self.local[0], remote[0]
        else:
            view[28:44], view[56:72] = self.local[0], remote[0]
        struct.pack_into("<I", view, 44, self.local[1])
        view[48:50] = remote[1].to_bytes(2, "big")
        state = "established" if self.remote is not None else "closed"
        struct.pack_into("<I", view, 72, _STATES[state])

    def _sock(self, hook: str, *, quiet: bool = False) -> None:
        """Programs that see the socket alone: it is created, bound, released."""
        programs = self.cgroup.effective(ATTACH_TYPE[f"BPF_CGROUP_{hook}"].id)
        if not programs:
            return
        self._fill_sock()
        ctx = self.kernel.memory.allocate(_SOCK_SIZE, name="bpf_sock", kind="ctx")
        world = world_of(self.kernel)
        world.contexts[ctx.start] = SockAddr(ctx, self.region)
        try:
            ctx.view[:] = self.region.view
            result = min(run_programs(self.kernel, programs, ctx.start), 0)
        finally:
            del world.contexts[ctx.start]
            self.kernel.memory.remove(ctx)
        if result and not quiet:
            raise KernelError(-result, hook.lower(), "a cgroup program forbids it")

    def _addr(self, hook: str, place: tuple[bytes, int], *, bind: bool = True) -> tuple[bytes, int]:
        number = ATTACH_TYPE[f"BPF_CGROUP_{hook}"].id
        if not self.cgroup.effective(number):
            return place
        return self._run_addr(number, place, self._any, hook.lower())[0]

    def _run_addr(
        self, number: int, place: tuple[bytes, int], source: bytes, call: str
    ) -> tuple[tuple[bytes, int], bytes]:
        self._fill_sock()
        memory, world = self.kernel.memory, world_of(self.kernel)
        ctx = memory.allocate(_ADDR_SIZE, name="bpf_sock_addr", kind="ctx")
        world.contexts[ctx.start] = SockAddr(ctx, self.region)
        world.contexts[self.region.start] = self.region
        try:
            view = ctx.view
            struct.pack_into("<I", view, 0, self.family)
            at, source_at, size = (4, 40, 4) if self.family == AF_INET else (8, 44, 16)
            view[at : at + size] = place[0]
            view[24:26] = place[1].to_bytes(2, "big")
            struct.pack_into("<III", view, 28, self.family, self.type, _PROTOCOLS[self.type])
            view[source_at : source_at + size] = source
            struct.pack_into("<Q", view, 64, self.region.start)
            result = min(run_programs(self.kernel, self.cgroup.effective(number), ctx.start), 0)
            if result:
                raise KernelError(-result, call, "a cgroup program forbids it")
            found = bytes(view[at : at + size]), int.from_bytes(view[24:26], "big")
            return found, bytes(view[source_at : source_at + size])
        finally:
            del world.contexts[ctx.start]
            world.contexts.pop(self.region.start, None)
            memory.remove(ctx)


def datagram(data: bytes, source: tuple[bytes, int], target: tuple[bytes, int]) -> bytes:
    """A UDP datagram in a frame of the loopback, with checksums."""
    length = 8 + len(data)
    pseudo = source[0] + target[0] + struct.pack("!HH", 17, length)
    head = struct.pack("!HHHH", source[1], target[1], length, 0)
    check = fold(partial(pseudo + head + data)) or 0xFFFF
    udp = head[:6] + check.to_bytes(2, "little") + data
    if len(source[0]) == 4:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, 17, 0) + source[0] + target[0]
        ip = ip[:10] + fold(partial(ip)).to_bytes(2, "little") + ip[12:]
        return bytes(12) + b"\x08\x00" + ip + udp
    ip = struct.pack("!IHBB", 0x6 << 28, length, 17, 64) + source[0] + target[0]
    return bytes(12) + b"\x86\xdd" + ip + udp


class Sockets:
    """All sockets of one kernel; takes UDP datagrams that reach the stack."""

    def __init__(self, kernel: UserKernel) -> None:
        self.kernel = kernel
        self._all: list[UserSocket] = []
        self.last = Delivery()  # what became of the datagram that was sent last
        network_of(kernel).on_receive(self._take)

    def __iter__(self) -> Any:
        return iter(self._all)

    def make(self, family: int, type: int, cgroup: str) -> UserSocket:
        group = cgroups_of(self.kernel).find(cgroup)
        ask_create(self.kernel, int(family), int(type), group)
        made = UserSocket(self.kernel, family, type, group)
        try:
            ask(made, "post_create", int(family), int(type), 0, 0)
        except KernelError:
            made.put()
            raise
        self._all.append(made)
        made.fd = self.kernel.install(made, "socket")
        return made

    def discard(self, item: UserSocket) -> None:
        if item in self._all:
            self._all.remove(item)

    def send(self, frame: bytes) -> None:
        self.last = network_of(self.kernel).send("lo", frame)

    def _take(self, ifindex: int, frame: bytes, mark: int) -> None:
        kind = frame[12:14]
        if kind == b"\x08\x00" and len(frame) >= 34 and frame[14] >> 4 == 4 and frame[23] == 17:
            at = 14 + (frame[14] & 15) * 4
            source, target = frame[26:30], frame[30:34]
        elif kind == b"\x86\xdd" and len(frame) >= 54 and frame[20] == 17:
            at, source, target = 54, frame[22:38], frame[38:54]
        else:
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


def _table(kernel: UserKernel) -> Sockets:
    return sockets_of(kernel)


def attach_filter(kernel: UserKernel, fd: int, prog: Prog | None) -> None:
    """SO_ATTACH_BPF, or SO_DETACH_FILTER without a program. Linux 6.12 net/core/filter.c sk_attach_bpf."""
    call = "SO_ATTACH_BPF" if prog is not None else "SO_DETACH_FILTER"
    item = kernel.file(call, fd).obj
    if not isinstance(item, UserSocket):
        raise KernelError(errno.ENOTSOCK, call, f"descriptor {fd} is a {item.kind}")
    if prog is None and item.filter is None:
        raise KernelError(errno.ENOENT, call, "no filter is attached")
    if prog is not None:
        if prog.type.short != "socket_filter":
            raise KernelError(errno.EINVAL, call, f"a {prog.type.short} program is no socket filter")
        prog.get()
    old, item.filter = item.filter, prog
    if old is not None:
        old.put()
