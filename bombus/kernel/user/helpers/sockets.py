"""Sockets of the user kernel (kernel.user.sockets), and the dummy sockets of test runs."""

from __future__ import annotations

import errno
from typing import Final

from bombus.bits import s32
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.steering import Choice, Lookup, Refused

U32: Final = 0xFFFF_FFFF
_OVERFLOW_UID: Final = 65534
_LISTEN: Final = 10
_S32_MIN: Final = -(1 << 31)


@helper("get_socket_cookie")
def get_socket_cookie(env: ProgEnv, ctx: int) -> int:
    """A number that stays with the packet's socket; 0 without one."""
    packet = env.contexts.get(ctx)
    if packet is None or getattr(packet, "socket", None) is None:
        return 0
    return env.world.cookies_of.setdefault(packet.socket.start, len(env.world.cookies_of) + 1)


@helper("get_socket_uid")
def get_socket_uid(env: ProgEnv, ctx: int) -> int:
    """A test run's socket is no full socket with a user: overflowuid... 0 is its owner (sock_init_data)."""
    env.context(ctx)
    return 0


@helper("get_netns_cookie")
def get_netns_cookie(env: ProgEnv, ctx: int) -> int:
    return 1  # the initial network namespace


@helper("sk_lookup_tcp")
def sk_lookup_tcp(env: ProgEnv, ctx: int, tuple_: int, size: int, netns: int, flags: int) -> int:
    """Who would get a segment, or 0: of a handshake who listens."""
    return _find(env, 1, tuple_, size, netns, flags, full=True)


@helper("skc_lookup_tcp")
def skc_lookup_tcp(env: ProgEnv, ctx: int, tuple_: int, size: int, netns: int, flags: int) -> int:
    return _find(env, 1, tuple_, size, netns, flags)


@helper("sk_lookup_udp")
def sk_lookup_udp(env: ProgEnv, ctx: int, tuple_: int, size: int, netns: int, flags: int) -> int:
    return _find(env, 2, tuple_, size, netns, flags)


def _find(env: ProgEnv, kind: int, tuple_: int, size: int, netns: int, flags: int, *, full: bool = False) -> int:
    """Linux 6.12 net/core/filter.c __bpf_skc_lookup. There is one namespace, which has no number."""
    size &= U32
    if size not in (12, 36) or flags or s32(netns) >= 0 or env.world.sockets is None:
        return 0
    data = env.memory.read(tuple_, size)
    long = (size - 4) // 2
    source = data[:long], int.from_bytes(data[-4:-2], "big")
    target = data[long : 2 * long], int.from_bytes(data[-2:], "big")
    try:
        found = env.world.sockets.find(kind, source, target)
    except Refused:
        return 0
    if found is None:
        return 0
    if full and found.tcp is not None and not found.tcp.full:
        found = found.tcp.listener.socket
    found.fill()
    address: int = found.region.start
    return address


@helper("sk_release")
def sk_release(env: ProgEnv, sk: int) -> int:
    return 0


@helper("sk_fullsock")
def sk_fullsock(env: ProgEnv, sk: int) -> int:
    """A listening or closed socket is a full one; the test run's is (TCP_CLOSE)."""
    return sk if sk in env.contexts else 0


@helper("get_listener_sock")
def get_listener_sock(env: ProgEnv, sk: int) -> int:
    """The socket itself when it listens."""
    return sk if getattr(env.contexts.get(sk), "state", 0) == _LISTEN else 0


@helper("skc_to_tcp_sock", "skc_to_tcp6_sock", "skc_to_udp6_sock",
        "skc_to_unix_sock", "skc_to_tcp_timewait_sock", "skc_to_tcp_request_sock", "skc_to_mptcp_sock",
        "sock_from_file")  # fmt: skip
def no_such_socket(env: ProgEnv, sk: int) -> int:
    return 0


@helper("sk_cgroup_id")
def sk_cgroup_id(env: ProgEnv, sk: int) -> int:
    return env.world.task.cgroup_id


@helper("sk_ancestor_cgroup_id")
def sk_ancestor_cgroup_id(env: ProgEnv, sk: int, level: int) -> int:
    return env.world.task.cgroup_id if level & U32 == 0 else 0


@helper("tcp_check_syncookie")
def tcp_check_syncookie(env: ProgEnv, sk: int, ip: int, ip_size: int, tcp: int, tcp_size: int) -> int:
    """No socket listens here: -EINVAL, as for one that is not listening."""
    return -errno.EINVAL


@helper("tcp_gen_syncookie")
def tcp_gen_syncookie(env: ProgEnv, sk: int, ip: int, ip_size: int, tcp: int, tcp_size: int) -> int:
    return -errno.EINVAL


@helper("sk_assign")
def sk_assign(env: ProgEnv, ctx: int, sk: int, flags: int) -> int:
    """In a test run sk_lookup programs clear their choice; nothing else can be assigned there."""
    call = env.contexts.get(ctx)
    if isinstance(call, Lookup):
        return call.assign(env.contexts.get(sk), flags)
    return 0 if not sk and env.prog.acts_as.short == "sk_lookup" and not flags & ~3 else -errno.EINVAL


@helper("sk_select_reuseport")
def sk_select_reuseport(env: ProgEnv, ctx: int, handle: int, key: int, flags: int) -> int:
    """Linux 6.12 net/core/filter.c sk_select_reuseport."""
    call = env.context(ctx)
    if not isinstance(call, Choice):
        return -errno.EINVAL
    item = env.map(handle)
    found = item.target(env.memory.read(key, item.key_size))  # type: ignore[attr-defined]
    return call.select(found, array=item.type.short == "reuseport_sockarray")
