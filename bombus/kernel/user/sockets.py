"""Sockets of the user kernel, as far as programs at cgroups and sockets see them.

UDP datagrams and TCP segments (see kernel.user.tcp) travel as real packets over the loopback: cgroup egress, the
device's hooks, cgroup ingress, the receiver's filter. Facts: Linux
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
from bombus.kernel.user import sockmap
from bombus.kernel.user.helpers.checksum import fold, partial
from bombus.kernel.user.hooks.skbrun import borrow, give_back, prepare
from bombus.kernel.user.objects import Opened
from bombus.kernel.user.options import Options, get_option, set_option
from bombus.kernel.user.socketsecurity import ask, inet_address
from bombus.kernel.user.sockmap import Verdict
from bombus.kernel.user.steering import Group
from bombus.kernel.user.tcp.connection import Tcp
from bombus.kernel.user.tcp.segment import Segment, parse
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.cgroups import Cgroup, CgroupTree, run_programs
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.ctxstructs import SKB, TCP_SOCK
from bombus.spec.tcp import TcpState

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.socktable import Sockets
    from bombus.vm.memory import Region

AF_INET, AF_INET6 = 2, 10
SOCK_STREAM, SOCK_DGRAM = 1, 2
_PROTOCOLS: Final = {SOCK_STREAM: 6, SOCK_DGRAM: 17}
_SOCK_SIZE: Final = 80  # struct bpf_sock
_ADDR_SIZE: Final = 72  # struct bpf_sock_addr
_REUSEPORT: Final = (1, 15)  # SOL_SOCKET, SO_REUSEPORT
_EPHEMERAL: Final = 32768
Address = tuple[str, int]
_STATES: Final = {"closed": 7, "established": 1}


class SockAddr:
    """What a sock_addr program gets: `ctx` holds struct bpf_sock_addr."""

    kind = "sock_addr"

    def __init__(self, ctx: Region, owner: UserSocket) -> None:
        self.ctx, self.socket, self.owner = ctx, owner.region, owner


def cgroups_of(kernel: UserKernel) -> CgroupTree:
    world = world_of(kernel)
    found: CgroupTree | None = world.cgroups
    if found is None:
        found = world.cgroups = CgroupTree(kernel)
    return found


class UserSocket(Opened):
    """An inet socket. Its methods are those of socket.socket that programs can see; errors are KernelErrors."""

    kind: ClassVar[str] = "socket"

    __slots__ = (
        "_tcp_region", "bound", "cgroup", "family", "filter", "group", "local", "maps", "options",
        "queue", "region", "remote", "said", "tcp", "type", "verdict",
    )  # fmt: skip

    def __init__(
        self, kernel: UserKernel, family: int, type: int, cgroup: Cgroup, listener: UserSocket | None = None
    ) -> None:
        """listener: the socket that was asked for this connection; nobody asks for leave then."""
        super().__init__(kernel)
        if family not in (AF_INET, AF_INET6) or type not in _PROTOCOLS:
            why = "the user kernel has inet TCP and UDP; unix_socket() makes others"
            raise NotSupported(f"sockets of family {family} and type {type}", why)
        self.family, self.type, self.cgroup = int(family), int(type), cgroup
        self.local: tuple[bytes, int] = (self._any, 0)
        self.remote: tuple[bytes, int] | None = None
        self.group: Group | None = None
        self.maps: list[Any] = []  # those that it is in
        self.verdict: Prog | None = None  # of one of them
        self.said = Verdict()
        self.bound = False  # to a port of the caller's choice
        self.filter: Prog | None = None
        self.queue: deque[tuple[bytes, tuple[bytes, int]]] = deque()
        self.options = Options()
        self.tcp: Tcp | None = None
        if type == SOCK_STREAM:
            self.tcp = Tcp(self, listener.tcp if listener is not None else None)
        self._tcp_region: Region | None = None
        self.region: Region = kernel.memory.allocate(_SOCK_SIZE, name="bpf_sock", kind="btf", writable=False)
        world_of(kernel).contexts[self.region.start] = self
        if listener is not None:
            self.options.values.update(listener.options.values)
            return
        try:
            self._sock("INET_SOCK_CREATE")
        except KernelError:
            del world_of(kernel).contexts[self.region.start]
            kernel.memory.remove(self.region)
            raise

    @property
    def _any(self) -> bytes:
        return bytes(4 if self.family == AF_INET else 16)

    @property
    def _digit(self) -> int:
        return 4 if self.family == AF_INET else 6

    def release(self) -> None:
        self._sock("INET_SOCK_RELEASE", quiet=True)
        for one in self.maps[:]:
            one.drop(self)
        if self.tcp is not None:
            self.tcp.close()  # it forgets the socket when the connection is through
        else:
            self.forget()

    def forget(self) -> None:
        """Nothing comes here any more. Once."""
        table = _table(self.kernel)
        if self not in table:
            return
        table.discard(self)
        if self.group is not None:
            if self in self.group.sockets:
                self.group.remove(self)
            else:
                self.group.set(None)
        del world_of(self.kernel).contexts[self.region.start]
        if self.filter is not None:
            self.filter.put()
            self.filter = None
        self.kernel.memory.remove(self.region)
        if self._tcp_region is not None:
            self.kernel.memory.remove(self._tcp_region)

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
        chosen = place[1]
        if not chosen:
            place = place[0], self._free_port(place[0])
        elif any(self._clashes(other, place) for other in _table(self.kernel)):
            raise KernelError(errno.EADDRINUSE, "bind", str(self._show(place)))
        self.bound = bool(chosen)
        before, self.local = self.local, place
        try:
            self._sock(f"INET{self._digit}_POST_BIND")
        except KernelError:
            self.local = before
            raise
        if self.tcp is None:
            self._join()

    def _clashes(self, other: UserSocket, place: tuple[bytes, int]) -> bool:
        same = other is not self and other.type == self.type and other.local[1] == place[1]
        if self._shares and other._shares:
            return False
        alike = other.local[0] == place[0] or not any(place[0]) or not any(other.local[0])
        return same and alike and len(other.local[0]) == len(place[0])

    @property
    def _shares(self) -> bool:
        """SO_REUSEPORT"""
        return bool(self.options.values.get(_REUSEPORT))

    @property
    def state(self) -> int:
        """As enum of include/net/tcp_states.h."""
        if self.tcp is not None:
            return self.tcp.state
        return _STATES["established" if self.remote is not None else "closed"]

    @property
    def may_be_mapped(self) -> bool:
        """Whether sockmaps take it now."""
        return bool(self.local[1]) if self.tcp is None else self.state in (TcpState.ESTABLISHED, TcpState.LISTEN)

    def choose_verdict(self) -> None:
        """The program that a map had when the socket came: kept until it is in no map (struct sk_psock)."""
        if self.verdict is None and self.maps and self.maps[-1].verdict is not None:
            self.verdict = self.maps[-1].verdict
            self.verdict.get()
        elif self.verdict is not None and not self.maps:
            self.verdict.put()
            self.verdict, self.said = None, Verdict()

    def own_group(self) -> Group | None:
        """The reuseport group, made for a socket that will join one."""
        hashed = self.local[1] if self.tcp is None else self.tcp.state == TcpState.LISTEN
        if self.group is None and self._shares and not hashed:
            self.group = Group()
        return self.group

    def _join(self) -> None:
        """The socket can be found from now on: by whom it shares its place with, too."""
        if not self._shares:
            return
        for other in _table(self.kernel):
            same = other is not self and other.type == self.type and other.local == self.local
            if same and other.group is not None and other in other.group.sockets:
                if self.group is not None:
                    self.group.set(None)
                self.group = other.group
                break
        if self.group is None:
            self.group = Group()
        self.group.sockets.append(self)

    def _free_port(self, address: bytes) -> int:
        port = _EPHEMERAL
        while any(self._clashes(other, (address, port)) for other in _table(self.kernel)):
            port += 1
        return port

    def listen(self, backlog: int = 128) -> None:
        if not ask(self, "listen", backlog):
            return
        if self.tcp is None:
            raise KernelError(errno.EOPNOTSUPP, "listen", "only TCP listens")
        if self.remote is not None:
            raise KernelError(errno.EINVAL, "listen", "the socket is connected")
        if not self.local[1]:
            self.local = self.local[0], self._free_port(self.local[0])
        if self.tcp.state != TcpState.LISTEN:
            self._join()
        self.tcp.listen(backlog)

    def connect(self, address: Address) -> None:
        place = self._parse(address)
        if not ask(self, "connect", address=inet_address(place)):
            return
        if self.tcp is not None and self.remote is not None:
            raise KernelError(errno.EISCONN, "connect")
        place = self._addr(f"INET{self._digit}_CONNECT", place)
        before = self.local
        self._choose_local(place)
        self.remote = place
        if self.tcp is not None:
            try:
                self.tcp.connect()
            except KernelError:
                self.local, self.remote = before, None
                raise

    def accept(self) -> tuple[UserSocket, Address]:
        """A connection, with where it comes from. EAGAIN when none waits: nobody could make one meanwhile."""
        if self.tcp is None or self.tcp.backlog < 0:
            number = errno.EINVAL if self.tcp is not None else errno.EOPNOTSUPP
            raise KernelError(number, "accept", "the socket does not listen")
        if not self.tcp.waiting:
            raise KernelError(errno.EAGAIN, "accept", "no connection waits")
        made = self.tcp.waiting.popleft().socket
        made.fd = self.kernel.install(made, "accept")
        assert made.remote is not None
        return made, made._show(made.remote)

    def shutdown(self) -> None:
        """Send no more, as shutdown(SHUT_WR)."""
        if self.tcp is None or self.remote is None:
            raise KernelError(errno.ENOTCONN, "shutdown")
        self.tcp.finish()

    def child(self, local: tuple[bytes, int], remote: tuple[bytes, int]) -> UserSocket:
        """The socket of a connection that somebody asks for."""
        made = UserSocket(self.kernel, self.family, self.type, self.cgroup, self)
        made.local, made.remote = local, remote
        _table(self.kernel).add(made)
        return made

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
        if self.tcp is not None:
            raise KernelError(errno.EISCONN, "sendto") if self.remote else KernelError(errno.EPIPE, "sendto")
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
        if self.tcp is not None:
            return self.tcp.send(bytes(data)) if self.verdict is None else sockmap.send(self, data)
        if self.remote is None:
            raise KernelError(errno.EDESTADDRREQ, "send")
        return self._transmit(data, self.local, self.remote)

    def _send_addr(self, place: tuple[bytes, int], source: bytes) -> tuple[tuple[bytes, int], bytes]:
        number = ATTACH_TYPE[f"BPF_CGROUP_UDP{self._digit}_SENDMSG"].id
        if not self.cgroup.effective(number):
            return place, bytes(len(source))
        return self._run_addr(number, place, source, "sendmsg")

    def recvfrom(self, size: int = 65536) -> tuple[bytes, Address]:
        """The next datagram, or what came of a connection. EAGAIN when there is none: nobody else could send it
        meanwhile."""
        if self.tcp is not None:
            return self.tcp.recv(size), ("", 0)
        if not self.queue:
            raise KernelError(errno.EAGAIN, "recvfrom", "no datagram is there")
        data, source = self.queue.popleft()
        return data[:size], self._show(self._addr(f"UDP{self._digit}_RECVMSG", source, bind=False))

    def recv(self, size: int = 65536) -> bytes:
        return self.recvfrom(size)[0]

    def transmit(self, segment: Segment) -> None:
        """Send a segment; it is lost when a program forbids it."""
        allowed, frame = self.skb_programs(segment.frame(), ATTACH_TYPE["BPF_CGROUP_INET_EGRESS"].id)
        if allowed:
            _table(self.kernel).send(frame)

    def answer(self, segment: Segment) -> None:
        """Send what no program of a cgroup sees: there is no socket any more."""
        _table(self.kernel).send(segment.frame())

    def arrives(self, frame: bytes, by: UserSocket) -> None:
        """A TCP segment arrives; by: whose programs see it."""
        allowed = True
        if self.tcp is None or not self.tcp.rest:
            allowed, frame = by.skb_programs(frame, ATTACH_TYPE["BPF_CGROUP_INET_INGRESS"].id)
        segment = parse(frame)
        if allowed and segment is not None and self.tcp is not None and by.kept(frame, segment):
            self.tcp.input(segment)

    def kept(self, frame: bytes, segment: Segment) -> bool:
        """Whether the socket's own filter takes a TCP segment. NotSupported when it cuts it short."""
        if self.filter is None:
            return True
        size = len(segment.data)
        at = len(frame) - size - len(segment.header())
        verdict = self.filtered(self.filter, frame, at)
        if 0 < verdict < len(frame) - at and verdict < len(frame) - at:
            raise NotSupported("a socket filter that cuts TCP segments short", "it keeps them or drops them")
        return bool(verdict)

    def filtered(self, prog: Prog, frame: bytes, at: int) -> int:
        """What a filter says that sees the packet from its transport header on."""
        world = world_of(self.kernel)
        skb = borrow(self.kernel, world)
        try:
            prepare(skb, prog, frame, world, 1, at_hook=True)
            skb.data = skb.data + at - 14
            skb.transport = skb.data
            skb.sync()
            return prog.compiled.run(skb.ctx.start) & 0xFFFF_FFFF
        finally:
            give_back(world, skb)

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
                self._name_ends(skb.ctx)
                if not one.run(skb.ctx.start) & 1:
                    going = False
                frame = frame[:14] + skb.output()
            finally:
                skb.socket = kept
                give_back(world, skb)
        return going, frame

    def _name_ends(self, ctx: Region) -> None:
        """What struct __sk_buff tells of the packet's socket."""
        view, remote = ctx.view, self.remote or (self._any, 0)
        closed = self.tcp is not None and self.tcp.state == TcpState.CLOSE and not self.bound
        port = 0 if closed else self.local[1]  # inet_put_port
        version = "ip4" if self.family == AF_INET else "ip6"
        for name, data in (
            ("family", self.family.to_bytes(4, "little")), (f"remote_{version}", remote[0]),
            (f"local_{version}", self.local[0]), ("remote_port", bytes(2) + remote[1].to_bytes(2, "big")),
            ("local_port", port.to_bytes(4, "little")),
        ):  # fmt: skip
            at = SKB.member(name).offset
            view[at : at + len(data)] = data

    def take(self, frame: bytes, payload_at: int, source: tuple[bytes, int]) -> None:
        """A datagram arrives: the cgroup's programs, then the socket's own filter, which may cut it short."""
        allowed, frame = self.skb_programs(frame, ATTACH_TYPE["BPF_CGROUP_INET_INGRESS"].id)
        if not allowed:
            return
        keep = len(frame) - payload_at
        if self.filter is not None:
            verdict = self.filtered(self.filter, frame, payload_at - 8)
            if not verdict:
                return
            keep = min(keep, max(verdict, 8) - 8)
        self.queue.append((frame[payload_at : payload_at + keep], source))

    # Programs at addresses and at the socket

    def fill(self) -> None:
        """Let struct bpf_sock say what the socket is now."""
        self._fill_sock()

    def tcp_region(self) -> Region:
        """Where struct bpf_tcp_sock goes."""
        if self._tcp_region is None:
            memory = self.kernel.memory
            self._tcp_region = memory.allocate(TCP_SOCK.size, name="bpf_tcp_sock", kind="btf", writable=False)
        return self._tcp_region

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
        struct.pack_into("<I", view, 72, self.state)

    def _sock(self, hook: str, *, quiet: bool = False) -> None:
        """Programs that see the socket alone: it is created, bound, released."""
        programs = self.cgroup.effective(ATTACH_TYPE[f"BPF_CGROUP_{hook}"].id)
        if not programs:
            return
        self._fill_sock()
        ctx = self.kernel.memory.allocate(_SOCK_SIZE, name="bpf_sock", kind="ctx")
        world = world_of(self.kernel)
        world.contexts[ctx.start] = SockAddr(ctx, self)
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
        world.contexts[ctx.start] = SockAddr(ctx, self)
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


def _table(kernel: UserKernel) -> Sockets:
    from bombus.kernel.user.socktable import sockets_of

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
