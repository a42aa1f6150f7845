"""Socket options and devices, as programs at cgroups see them.

Facts: Linux 6.12 kernel/bpf/cgroup.c (__cgroup_bpf_run_filter_setsockopt, __cgroup_bpf_run_filter_getsockopt,
__cgroup_bpf_check_dev_permission), net/core/sock.c (sk_setsockopt), net/ipv4/ip_sockglue.c (ip_setsockopt).
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from bombus.bits import s32
from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.user.world import world_of
from bombus.spec.attachtypes import ATTACH_TYPE

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.world.cgroups import Attached, Cgroup

_CTX_SIZE: Final = 40  # struct bpf_sockopt
_PAGE: Final = 4096  # what programs see of a value at most
_LEAST: Final = 16  # bytes that setsockopt programs have at least, to name another TCP congestion control
SOL_IP, SOL_SOCKET, SOL_TCP, SOL_UDP, SOL_IPV6 = 0, 1, 6, 17, 41
_LEVELS: Final = frozenset({SOL_IP, SOL_SOCKET, SOL_TCP, SOL_UDP, SOL_IPV6})


class Option(NamedTuple):
    """An option that is a number. flag: any number but 0 is 1."""

    low: int = -(1 << 31)
    high: int = (1 << 31) - 1
    flag: bool = False
    default: int = 0


# include/uapi/asm-generic/socket.h, include/uapi/linux/in.h
OPTIONS: Final[dict[tuple[int, int], Option]] = {
    (SOL_SOCKET, 2): Option(flag=True),  # SO_REUSEADDR
    (SOL_SOCKET, 6): Option(flag=True),  # SO_BROADCAST
    (SOL_SOCKET, 9): Option(flag=True),  # SO_KEEPALIVE
    (SOL_SOCKET, 12): Option(),  # SO_PRIORITY
    (SOL_SOCKET, 15): Option(flag=True),  # SO_REUSEPORT
    (SOL_SOCKET, 36): Option(),  # SO_MARK
    (SOL_IP, 2): Option(1, 255, default=64),  # IP_TTL
    (SOL_TCP, 1): Option(flag=True),  # TCP_NODELAY
    (SOL_TCP, 4): Option(1, 32767, default=7200),  # TCP_KEEPIDLE
    (SOL_TCP, 5): Option(1, 32767, default=75),  # TCP_KEEPINTVL
    (SOL_TCP, 6): Option(1, 127, default=9),  # TCP_KEEPCNT
    (SOL_TCP, 7): Option(1, 127, default=6),  # TCP_SYNCNT
    (SOL_TCP, 18): Option(0, default=0),  # TCP_USER_TIMEOUT
}
# Device types and accesses. include/uapi/linux/bpf.h: BPF_DEVCG_*
_DEVICES: Final = {"b": 1, "c": 2}
_ACCESS: Final = {"m": 1, "r": 2, "w": 4}


class Options:
    """The values of one socket's options."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], int] = {}

    def set(self, level: int, name: int, data: bytes) -> None:
        row = _row(level, name, errno.ENOPROTOOPT)
        if len(data) < 4:
            raise KernelError(errno.EINVAL, "setsockopt", "the option is an int")
        number = int.from_bytes(data[:4], "little", signed=True)
        if not row.low <= number <= row.high:
            raise KernelError(errno.EINVAL, "setsockopt", str(number))
        self.values[level, name] = int(number != 0) if row.flag else number

    def get(self, level: int, name: int, room: int) -> bytes:
        """At most `room` bytes; of IP's options one byte when there is no room for an int."""
        row = _row(level, name, errno.EOPNOTSUPP)
        number = self.values.get((level, name), row.default)
        data = number.to_bytes(4, "little", signed=True)[:room]
        return data[:1] if level == SOL_IP and 0 < room < 4 and 0 <= number <= 255 else data


def _row(level: int, name: int, unknown: int) -> Option:
    """unknown: the errno for a level that there is not."""
    row = OPTIONS.get((level, name))
    if row is None and level in _LEVELS:
        raise NotSupported(f"socket option {name} of level {level}", "the user kernel's sockets have only a few")
    if row is None:
        raise KernelError(unknown, "socket option", f"level {level}")
    return row


class _Sockopt:
    """One call's struct bpf_sockopt and the value that it points to."""

    def __init__(
        self, kernel: UserKernel, sock: int, level: int, name: int, data: bytes, size: int, room: int
    ) -> None:
        self.kernel = kernel
        self.room = min(room, _PAGE)
        self.value = kernel.memory.allocate(max(self.room, 1), name="optval", kind="ctx")
        self.ctx = kernel.memory.allocate(_CTX_SIZE, name="bpf_sockopt", kind="ctx")
        data = data[: self.room]
        self.value.view[: len(data)] = data
        at = self.value.start
        struct.pack_into("<QQQiii", self.ctx.view, 0, sock, at, at + self.room, level, name, size)
        world_of(kernel).contexts[self.ctx.start] = self

    kind = "sockopt"

    def field(self, offset: int) -> int:
        return int.from_bytes(self.ctx.view[offset : offset + 4], "little", signed=True)

    def run(self, programs: list[Attached], retval: int) -> int:
        """bpf_prog_run_array_cg: all run; what the call answers then (a program that returns 0 makes EPERM of it)."""
        view = self.ctx.view
        for one in programs:
            struct.pack_into("<i", view, 36, retval)
            allowed = one.run(self.ctx.start) & 1
            retval = self.field(36)
            if not allowed and retval >= 0:
                retval = -errno.EPERM
        return s32(retval)

    def give_back(self) -> None:
        del world_of(self.kernel).contexts[self.ctx.start]
        self.kernel.memory.remove(self.ctx)
        self.kernel.memory.remove(self.value)


def set_option(
    kernel: UserKernel, cgroup: Cgroup, sock: int, options: Options, level: int, name: int, data: bytes
) -> None:
    """setsockopt(2). sock: address of the socket's struct bpf_sock. KernelError as the kernel or programs say."""
    programs = cgroup.effective(ATTACH_TYPE["BPF_CGROUP_SETSOCKOPT"].id)
    if programs:
        call = _Sockopt(kernel, sock, level, name, data, len(data), max(len(data), _LEAST))
        try:
            result = call.run(programs, 0)
            if result < 0:
                raise KernelError(-result, "setsockopt", "a cgroup program forbids it")
            size = call.field(32)
            if size == -1:
                return  # the program has done it
            if not -1 <= size <= call.room:
                if len(data) > _PAGE and size >= 0:
                    size = 0
                else:
                    raise KernelError(errno.EFAULT, "setsockopt", f"a program left optlen {size}")
            level, name = call.field(24), call.field(28)
            if size:
                data = bytes(call.value.view[:size])
        finally:
            call.give_back()
    options.set(level, name, data)


def get_option(
    kernel: UserKernel, cgroup: Cgroup, sock: int, options: Options, level: int, name: int, room: int
) -> bytes:
    """getsockopt(2) into `room` bytes. KernelError as the kernel or programs say."""
    data, refused = bytes(room), 0
    try:
        data = options.get(level, name, room)
    except KernelError as error:
        refused = error.errno or errno.EINVAL
    programs = cgroup.effective(ATTACH_TYPE["BPF_CGROUP_GETSOCKOPT"].id)
    if not programs:
        if refused:
            raise KernelError(refused, "getsockopt")
        return data
    call = _Sockopt(kernel, sock, level, name, b"" if refused else data, len(data), room)
    try:
        result = call.run(programs, -refused)
        if result < 0:
            raise KernelError(-result, "getsockopt")
        size = call.field(32)
        if not 0 <= size <= call.room:
            if room > _PAGE and size >= 0:
                return data
            raise KernelError(errno.EFAULT, "getsockopt", f"a program left optlen {size}")
        return bytes(call.value.view[:size])[:room] if size else data
    finally:
        call.give_back()


def check_device(kernel: UserKernel, cgroup: Cgroup, kind: str, major: int, minor: int, access: str) -> None:
    """A process of a cgroup opens or makes a device. KernelError(EPERM) when a program forbids it."""
    if kind not in _DEVICES or not access or not set(access) <= set(_ACCESS):
        raise UsageError(f"device {kind!r} access {access!r}: a kind of b, c and accesses of r, w, m")
    programs = cgroup.effective(ATTACH_TYPE["BPF_CGROUP_DEVICE"].id)
    if not programs:
        return
    ctx = kernel.memory.allocate(12, name="bpf_cgroup_dev_ctx", kind="ctx")
    try:
        wanted = sum(_ACCESS[letter] for letter in set(access))
        struct.pack_into("<III", ctx.view, 0, wanted << 16 | _DEVICES[kind], major, minor)
        allowed = [one.run(ctx.start) & 1 for one in programs]
    finally:
        kernel.memory.remove(ctx)
    if not all(allowed):
        raise KernelError(errno.EPERM, "open", "a cgroup program forbids it")
