"""Sockets. The only ones in the user kernel are the dummy sockets of test runs: every look-up finds nothing."""

from __future__ import annotations

import errno
from typing import Final

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv

U32: Final = 0xFFFF_FFFF
_OVERFLOW_UID: Final = 65534
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


@helper("sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp")
def sk_lookup(env: ProgEnv, ctx: int, tuple_: int, size: int, netns: int, flags: int) -> int:
    return 0


@helper("sk_release")
def sk_release(env: ProgEnv, sk: int) -> int:
    return 0


@helper("sk_fullsock")
def sk_fullsock(env: ProgEnv, sk: int) -> int:
    """A listening or closed socket is a full one; the test run's is (TCP_CLOSE)."""
    return sk if sk in env.contexts else 0


@helper("get_listener_sock", "skc_to_tcp_sock", "skc_to_tcp6_sock", "skc_to_udp6_sock",
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
    """Without a socket sk_lookup programs clear their choice; nothing else can be assigned."""
    return 0 if not sk and env.prog.type.short == "sk_lookup" and not flags & ~3 else -errno.EINVAL
