"""Addresses of UNIX sockets. Linux 6.12 net/core/filter.c bpf_sock_addr_set_sun_path."""

from __future__ import annotations

import errno

from bombus.bits import U32
from bombus.kernel.user.kfuncs import kfunc
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.unixsocket import UnixAddr

_PATH_MAX = 108


@kfunc("bpf_sock_addr_set_sun_path")
def set_sun_path(env: ProgEnv, context: int, path: int, size: int) -> int:
    """-EINVAL for a socket of another family, and for no name."""
    call = env.context(context)
    size &= U32
    if not isinstance(call, UnixAddr) or not 0 < size <= _PATH_MAX:
        return -errno.EINVAL
    call.set_path(env.memory.read(path, size))
    return 0
