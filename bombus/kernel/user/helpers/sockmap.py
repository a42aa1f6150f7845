"""Sockmaps in the hands of programs. Linux 6.12 net/core/sock_map.c (bpf_sock_map_update, bpf_msg_redirect_map),
net/core/filter.c (bpf_msg_apply_bytes, bpf_msg_pull_data)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from bombus.bits import U32
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.tcp.sockops import SockOps
from bombus.spec.tcp import SockOp, TcpState

if TYPE_CHECKING:
    from bombus.kernel.user.sockmap import Message

_INGRESS: Final = 1
_DROP, _PASS = 0, 1
# bpf_sock_map_update is for these moments: listening, and being connected.
_MOMENTS: Final = (SockOp.ACTIVE_ESTABLISHED_CB, SockOp.PASSIVE_ESTABLISHED_CB, SockOp.TCP_LISTEN_CB)


@helper("sock_map_update", "sock_hash_update")
def sock_map_update(env: ProgEnv, ctx: int, handle: int, key: int, flags: int) -> int:
    """-EOPNOTSUPP of other sockets than those that listen or are being connected."""
    call = env.context(ctx)
    item = env.map(handle)
    if not isinstance(call, SockOps) or call.op not in _MOMENTS:
        return -errno.EOPNOTSUPP
    answer: int = item.enter(env.memory.read(key, item.key_size), call.tcp.socket, flags)  # type: ignore[attr-defined]
    return answer


@helper("msg_redirect_map", "msg_redirect_hash")
def msg_redirect(env: ProgEnv, ctx: int, handle: int, key: int, flags: int) -> int:
    """SK_PASS, and the message goes to the socket under a key; SK_DROP when it cannot."""
    call: Message = env.context(ctx)
    item = env.map(handle)
    data = (key & U32).to_bytes(4, "little") if item.type.short == "sockmap" else env.memory.read(key, item.key_size)
    if flags & ~_INGRESS:
        return _DROP
    found = item.target(data)  # type: ignore[attr-defined]
    if found is None or found.tcp is None or found.tcp.state == TcpState.LISTEN:
        return _DROP
    call.redirect, call.ingress = found, bool(flags & _INGRESS)
    return _PASS


@helper("msg_apply_bytes")
def msg_apply_bytes(env: ProgEnv, ctx: int, count: int) -> int:
    call: Message = env.context(ctx)
    call.apply = count & U32
    return 0


@helper("msg_pull_data")
def msg_pull_data(env: ProgEnv, ctx: int, start: int, end: int, flags: int) -> int:
    call: Message = env.context(ctx)
    start, end = start & U32, end & U32
    if flags or end <= start or start >= call.size or end > call.size:
        return -errno.EINVAL
    call.show(start, end)
    return 0
