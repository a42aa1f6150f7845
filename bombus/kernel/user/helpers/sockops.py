"""Connections in the hands of sockops programs. Linux 6.12 net/core/filter.c (bpf_sock_ops_cb_flags_set,
bpf_sock_ops_setsockopt, bpf_sock_ops_getsockopt, bpf_sock_ops_load_hdr_opt), net/core/sock_map.c
(bpf_sock_map_update)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from bombus.bits import U32, s32
from bombus.errors import KernelError, NotSupported
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.tcp import sockops
from bombus.spec.tcp import SOCK_OPS_ALL_CB_FLAGS, SockOpFlag

if TYPE_CHECKING:
    from bombus.kernel.user.sockets import UserSocket
    from bombus.kernel.user.tcp.connection import Tcp

_HEADERS: Final = (
    SockOpFlag.PARSE_ALL_HDR_OPT_CB_FLAG | SockOpFlag.PARSE_UNKNOWN_HDR_OPT_CB_FLAG | SockOpFlag.WRITE_HDR_OPT_CB_FLAG
)
_SOL_IP, _IP_TOS = 0, 1
_SOL_TCP: Final = 6
_IW, _CLAMP, _CB_FLAGS = 1001, 1002, 1008  # TCP_BPF_IW, TCP_BPF_SNDCWND_CLAMP, TCP_BPF_SOCK_OPS_CB_FLAGS


@helper("sock_ops_cb_flags_set")
def cb_flags_set(env: ProgEnv, ctx: int, flags: int) -> int:
    """Flags that there are not, or -EINVAL of a request."""
    call = env.context(ctx)
    if not call.full:
        return -errno.EINVAL
    call.tcp.flags = _known(flags & SOCK_OPS_ALL_CB_FLAGS)
    return s32(flags & ~SOCK_OPS_ALL_CB_FLAGS & U32)


def _known(flags: int) -> int:
    """NotSupported for the callbacks that write and parse options of headers."""
    if flags & _HEADERS:
        raise NotSupported(f"flags {flags:#x} of sockops callbacks", "the user kernel calls none for header options")
    return flags


@helper("setsockopt")
def setsockopt(env: ProgEnv, ctx: int, level: int, name: int, value: int, size: int) -> int:
    """-EINVAL for options that there are not."""
    item = _socket(env, ctx)
    if item is None:
        return -errno.EINVAL
    level, name, data = level & U32, name & U32, env.memory.read(value, size & U32)
    if level == _SOL_TCP and item.tcp is not None:
        number = s32(int.from_bytes(data, "little")) if len(data) == 4 else None
        if name in (_IW, _CLAMP, _CB_FLAGS):
            return -errno.EINVAL if number is None else _own(item.tcp, name, number)
    elif level == _SOL_TCP or (level == _SOL_IP and name != _IP_TOS):
        return -errno.EINVAL
    try:
        item.options.set(level, name, data)
    except KernelError as error:
        return -(errno.EINVAL if error.errno == errno.ENOPROTOOPT else error.errno or errno.EINVAL)
    return 0


def _own(tcp: Tcp, name: int, number: int) -> int:
    """Options that programs alone have."""
    if name == _CB_FLAGS:
        if number & ~SOCK_OPS_ALL_CB_FLAGS:
            return -errno.EINVAL
        tcp.flags = _known(number)
    elif number <= 0 or (name == _IW and tcp.data_segs_out):
        return -errno.EINVAL
    elif name == _IW:
        tcp.cwnd = number
    else:
        tcp.ssthresh = number
    return 0


@helper("getsockopt")
def getsockopt(env: ProgEnv, ctx: int, level: int, name: int, value: int, size: int) -> int:
    """-EINVAL, with zeros, for options that there are not."""
    item = _socket(env, ctx)
    level, name, size = level & U32, name & U32, size & U32
    if item is not None and level == _SOL_TCP and item.tcp is not None and name == _CB_FLAGS and size == 4:
        env.memory.write(value, item.tcp.flags.to_bytes(4, "little"))
        return 0
    try:
        wrong = level == _SOL_IP and name != _IP_TOS
        if item is None or wrong or (level == _SOL_TCP and (item.tcp is None or 1000 < name < _CB_FLAGS)):
            raise KernelError(errno.EINVAL, "getsockopt")
        data = item.options.get(level, name, size)
    except KernelError as error:
        env.memory.write(value, bytes(size))
        return -(errno.EINVAL if error.errno == errno.EOPNOTSUPP else error.errno or errno.EINVAL)
    env.memory.write(value, data.ljust(size, b"\0"))
    return 0


def _socket(env: ProgEnv, address: int) -> UserSocket | None:
    """The socket that is meant by a context or a pointer to a socket; None of a request, and of a UNIX socket."""
    found = env.context(address)
    if isinstance(found, sockops.SockOps):
        return found.tcp.socket if found.full else None
    item: UserSocket | None = getattr(found, "owner", found)
    return item if hasattr(item, "options") else None


@helper("load_hdr_opt")
def load_hdr_opt(env: ProgEnv, ctx: int, result: int, size: int, flags: int) -> int:
    """The length of the option that begins as the bytes at `result` say: kind, and for kind 253 and 254 the magic."""
    call = env.context(ctx)
    size &= U32
    if flags & ~1:
        return -errno.EINVAL
    if size < 2 or size > 255:
        return -errno.EINVAL
    search = env.memory.read(result, size)
    kind, length = search[0], search[1]
    if kind in (0, 1) or (length < 2 and kind in (253, 254)):
        return -errno.EINVAL
    magic = b""
    if kind in (253, 254):
        if length not in (4, 6):
            return -errno.EINVAL
        magic = search[2:length]
    elif length:
        return -errno.EINVAL
    if flags:
        return -errno.ENOENT  # the SYN, which nobody saved
    if call.header is None:
        return -errno.EPERM
    options = bytes(call.header.view[20:])
    while options and options[0]:
        if options[0] == 1:
            options = options[1:]
            continue
        room = options[1] if len(options) > 1 else 0
        if not 2 <= room <= len(options):
            return -errno.EFAULT
        if options[0] == kind and options[2 : 2 + len(magic)] == magic:
            env.memory.write(result, options[: min(room, size)])
            return room if room <= size else -errno.ENOSPC
        options = options[room:]
    return -errno.ENOMSG


@helper("tcp_sock")
def tcp_sock(env: ProgEnv, sk: int) -> int:
    """struct bpf_tcp_sock of a TCP socket; 0 of any other."""
    item: UserSocket | None = env.contexts.get(sk)
    if item is None or getattr(item, "tcp", None) is None or item.tcp is None or not item.tcp.full:
        return 0
    region = item.tcp_region()
    sockops.tcp_sock(item.tcp, region)
    return region.start
