"""UNIX sockets of the user kernel, as far as programs at cgroups see them: names, connections, datagrams, streams.

A name in the file system is a name only: it is free again when its socket is closed. Facts: Linux 6.12
net/unix/af_unix.c (unix_bind, unix_dgram_connect, unix_stream_connect, unix_getname, unix_dgram_sendmsg,
unix_copy_addr), kernel/bpf/cgroup.c (__cgroup_bpf_run_filter_sock_addr).
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final

from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.user.objects import Opened
from bombus.kernel.user.socketsecurity import ask, ask_create
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.cgroups import run_programs
from bombus.kernel.user.world.objects import KernelStruct, objects_of
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.tcp import TcpState

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.world.cgroups import Cgroup
    from bombus.vm.memory import Region

AF_UNIX: Final = 1
SOCK_STREAM, SOCK_DGRAM = 1, 2
_PATH: Final = 2  # where the name begins in struct sockaddr_un
_PATH_MAX: Final = 108
_STORAGE: Final = 128  # sizeof(struct sockaddr_storage)
_SOCK_SIZE: Final = 80  # struct bpf_sock
_ADDR_SIZE: Final = 72  # struct bpf_sock_addr
_NO_NAME: Final = b""
_FAMILY: Final = AF_UNIX.to_bytes(2, "little")
Name = str | bytes


class UnixAddr:
    """What a program at an address gets: struct bpf_sock_addr, and the kernel's own context behind it."""

    kind = "sock_addr"

    def __init__(self, kernel: UserKernel, socket: Region, state: int, type: int, path: bytes) -> None:
        self.kernel, self.socket = kernel, socket
        memory = kernel.memory
        self.ctx = memory.allocate(_ADDR_SIZE, name="bpf_sock_addr", kind="ctx")
        self.address = memory.allocate(_STORAGE, name="the address", kind="btf")
        self.size = 0
        self.own: KernelStruct | None = None
        view = socket.view
        view[:] = bytes(_SOCK_SIZE)
        struct.pack_into("<II", view, 4, AF_UNIX, type)
        struct.pack_into("<I", view, 72, state)
        struct.pack_into("<I", self.ctx.view, 0, AF_UNIX if path else 0)
        struct.pack_into("<III", self.ctx.view, 28, AF_UNIX, type, 0)
        struct.pack_into("<Q", self.ctx.view, 64, socket.start)
        if path:  # of a sender without a name Linux shows what lay on its stack
            self.address.view[:_PATH] = AF_UNIX.to_bytes(2, "little")
            self.set_path(path)

    @property
    def path(self) -> bytes:
        return bytes(self.address.view[_PATH : self.size])

    def set_path(self, path: bytes) -> None:
        self.address.view[_PATH : _PATH + len(path)] = path
        self.size = _PATH + len(path)
        if self.own is not None:
            self.own.set("uaddrlen", self.size)

    def kernel_context(self) -> int:
        """The address of the struct bpf_sock_addr_kern."""
        if self.own is None:
            self.own = objects_of(self.kernel).new("bpf_sock_addr_kern")
            self.own.set("uaddr", self.address.start)
            self.own.set("uaddrlen", self.size)
            world_of(self.kernel).contexts[self.own.address] = self
        return self.own.address

    def close(self) -> None:
        contexts, memory = world_of(self.kernel).contexts, self.kernel.memory
        if self.own is not None:
            del contexts[self.own.address]
            self.own.close()
        memory.remove(self.ctx)
        memory.remove(self.address)


class UnixSocket(Opened):
    """Its methods are those of socket.socket; errors are KernelErrors. Names are text, or bytes that begin with 0."""

    kind: ClassVar[str] = "socket"
    family: ClassVar[int] = AF_UNIX

    __slots__ = (
        "cgroup", "name", "peer", "queue", "region", "room", "shut", "state", "type", "waiting",
    )  # fmt: skip

    def __init__(self, kernel: UserKernel, type: int, cgroup: Cgroup) -> None:
        super().__init__(kernel)
        if type not in (SOCK_STREAM, SOCK_DGRAM):
            raise NotSupported(f"UNIX sockets of type {type}", "the user kernel has streams and datagrams")
        self.type, self.cgroup = int(type), cgroup
        self.name = _NO_NAME  # as struct sockaddr_un has it, with the 0 behind a name of the file system
        self.peer: UnixSocket | None = None
        self.queue: deque[tuple[bytes, bytes]] = deque()  # (data, the sender's name)
        self.waiting: deque[UnixSocket] = deque()  # connections that nobody accepted yet
        self.room = -1  # how many may wait; -1: nobody listens
        self.shut = False
        self.state = TcpState.CLOSE
        self.region = kernel.memory.allocate(_SOCK_SIZE, name="bpf_sock", kind="btf", writable=False)

    def release(self) -> None:
        names = names_of(self.kernel)
        if names.get(self._key(self.name)) is self:
            del names[self._key(self.name)]
        for one in self.waiting:
            one.put()
        if self.peer is not None and self.type == SOCK_STREAM:
            self.peer.shut, self.peer.state = True, TcpState.CLOSE  # it goes on to know who that was
        self.shut = True
        self.kernel.memory.remove(self.region)

    # Names

    def bind(self, name: Name) -> None:
        path = _path(name)
        if not ask(self, "bind", address=_FAMILY + _full(path)):
            return
        key, names = self._key(path), names_of(self.kernel)
        if self.name and (path[0] == 0 or key not in names):
            raise KernelError(errno.EINVAL, "bind", "the socket has a name")
        if key in names:
            raise KernelError(errno.EADDRINUSE, "bind", repr(name))
        self.name = _full(path)
        names[key] = self

    def getsockname(self) -> Name:
        ask(self, "getsockname")
        return self._told("GETSOCKNAME", self.name)

    def getpeername(self) -> Name:
        ask(self, "getpeername")
        if self.peer is None:
            raise KernelError(errno.ENOTCONN, "getpeername")
        return self._told("GETPEERNAME", self.peer.name)

    def _told(self, hook: str, path: bytes) -> Name:
        """A socket without a name has none that programs could change."""
        return _show(self._programs(hook, path) if path else path)

    # Connections

    def listen(self, backlog: int = 128) -> None:
        if not ask(self, "listen", backlog):
            return
        if self.type != SOCK_STREAM:
            raise KernelError(errno.EOPNOTSUPP, "listen", "only streams listen")
        if not self.name or self.state == TcpState.ESTABLISHED:
            raise KernelError(errno.EINVAL, "listen", "the socket has no name, or is connected")
        self.room, self.state = max(backlog, 0), TcpState.LISTEN

    def connect(self, name: Name) -> None:
        path = _full(_path(name))
        if not ask(self, "connect", address=_FAMILY + path):
            return
        path = self._programs("CONNECT", path)
        other = self._find(path, "connect")
        if self.type == SOCK_DGRAM:
            self._may_send(other, "connect")
            self.peer, self.state, other.state = other, TcpState.ESTABLISHED, TcpState.ESTABLISHED
            return
        if other.room < 0:
            raise KernelError(errno.ECONNREFUSED, "connect", "nobody listens there")
        if len(other.waiting) > other.room:
            raise KernelError(errno.EAGAIN, "connect", "too many connections wait")
        if self.state != TcpState.CLOSE:
            raise KernelError(errno.EISCONN if self.state == TcpState.ESTABLISHED else errno.EINVAL, "connect")
        made = UnixSocket(self.kernel, SOCK_STREAM, self.cgroup)  # of the cgroup of who connects
        made.name, made.peer, made.state = other.name, self, TcpState.ESTABLISHED
        self.peer, self.state = made, TcpState.ESTABLISHED
        other.waiting.append(made)

    def accept(self) -> tuple[UnixSocket, Name]:
        """EAGAIN when no connection waits: nobody else could make one meanwhile."""
        if self.room < 0:
            raise KernelError(errno.EINVAL, "accept", "the socket does not listen")
        if not self.waiting:
            raise KernelError(errno.EAGAIN, "accept", "no connection waits")
        made = self.waiting.popleft()
        made.fd = self.kernel.install(made, "accept")
        peer = made.peer
        return made, made._told("GETPEERNAME", peer.name) if peer is not None else ""

    def _key(self, path: bytes) -> tuple[int, bytes]:
        """Where a name is looked up: abstract ones by the kind of socket, too."""
        return (self.type, path) if path[:1] == b"\0" else (0, _text(path))

    def _find(self, path: bytes, call: str) -> UnixSocket:
        found = names_of(self.kernel).get(self._key(path))
        if found is None:
            raise KernelError(errno.ECONNREFUSED if path[:1] == b"\0" else errno.ENOENT, call, repr(path))
        if found.type != self.type:
            raise KernelError(errno.EPROTOTYPE, call, repr(path))
        return found

    def _may_send(self, other: UnixSocket, call: str) -> None:
        if other.peer is not None and other.peer is not self:
            raise KernelError(errno.EPERM, call, "the socket there is connected to another one")

    # Data

    def sendto(self, data: bytes, name: Name) -> int:
        if self.type == SOCK_STREAM:
            raise KernelError(errno.EISCONN if self.peer is not None else errno.EOPNOTSUPP, "sendto")
        other = self._find(self._programs("SENDMSG", _full(_path(name))), "sendto")
        self._may_send(other, "sendto")
        other.queue.append((bytes(data), self.name))
        return len(data)

    def send(self, data: bytes) -> int:
        other = self.peer
        if other is None:
            raise KernelError(errno.ENOTCONN, "send")
        if other.shut:
            closed = errno.EPIPE if self.type == SOCK_STREAM else errno.ECONNREFUSED
            raise KernelError(closed, "send", "the other socket is closed")
        other.queue.append((bytes(data), self.name))
        return len(data)

    def recvfrom(self, size: int = 65536) -> tuple[bytes, Name]:
        """EAGAIN when there is nothing. Of a stream at most one piece that was sent; b"" behind its end."""
        if self.type == SOCK_STREAM and self.peer is None:
            raise KernelError(errno.EINVAL, "recvfrom", "the socket is not connected")
        if not self.queue:
            if self.shut:
                return b"", ""
            raise KernelError(errno.EAGAIN, "recvfrom", "there is no data")
        data, sender = self.queue.popleft()
        name = self._programs("RECVMSG", sender)
        if self.type == SOCK_STREAM and len(data) > size:
            self.queue.appendleft((data[size:], sender))
        return data[:size], _show(name)

    def _programs(self, hook: str, path: bytes) -> bytes:
        """The name after the cgroup's programs have seen it. KernelError as they say."""
        programs = self.cgroup.effective(ATTACH_TYPE[f"BPF_CGROUP_UNIX_{hook}"].id)
        if not programs:
            return path
        call = UnixAddr(self.kernel, self.region, self.state, self.type, path)
        contexts = world_of(self.kernel).contexts
        contexts[call.ctx.start] = call
        contexts[self.region.start] = self.region
        try:
            result = run_programs(self.kernel, programs, call.ctx.start)
            if result < 0:
                raise KernelError(-result, hook.lower(), "a cgroup program forbids it")
            return call.path
        finally:
            del contexts[call.ctx.start]
            del contexts[self.region.start]
            call.close()


def _path(name: Name) -> bytes:
    """UsageError for what is no name."""
    path = name.encode() if isinstance(name, str) else bytes(name)
    if not path or len(path) > _PATH_MAX or (path[0] and (b"\0" in path or len(path) == _PATH_MAX)):
        raise UsageError(f"{name!r}: a name has 1 to {_PATH_MAX - 1} bytes")
    return path


def _full(path: bytes) -> bytes:
    return path if path[:1] == b"\0" else path + b"\0"


def _text(path: bytes) -> bytes:
    """Names of the file system end at their first 0."""
    return path.partition(b"\0")[0]


def _show(path: bytes) -> Name:
    return path if path[:1] == b"\0" else _text(path).decode(errors="surrogateescape")


def names_of(kernel: UserKernel) -> dict[tuple[int, bytes], UnixSocket]:
    """The sockets of a kernel that have a name."""
    found: dict[tuple[int, bytes], UnixSocket] = world_of(kernel).unix_names
    return found


def make(kernel: UserKernel, type: int, cgroup: Cgroup) -> UnixSocket:
    ask_create(kernel, AF_UNIX, int(type), cgroup)
    made = UnixSocket(kernel, type, cgroup)
    try:
        ask(made, "post_create", AF_UNIX, int(type), 0, 0)
    except KernelError:
        made.put()
        raise
    made.fd = kernel.install(made, "socket")
    return made
