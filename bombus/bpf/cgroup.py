"""Programs of cgroups: `@cgroup.connect4`, `@cgroup.ingress`. They see what the processes of a cgroup do.

The verdict is 0 (refuse) or 1 (allow), unless said otherwise.
"""

from __future__ import annotations

from typing import TypeVar

from bombus.bpf.contexts import BpfCgroupDevCtx, BpfSock, BpfSockAddr, BpfSockopt, BpfSysctl, Skb
from bombus.bpf.program import Program

R = TypeVar("R")


class ingress(Program[Skb, R]):
    """Packets that come in."""

    SECTION = "cgroup_skb/ingress"


class egress(Program[Skb, R]):
    """Packets that go out; 2 and 3 also tell of congestion."""

    SECTION = "cgroup_skb/egress"


class skb(Program[Skb, R]):
    """Packets, attached as the attach type says."""

    SECTION = "cgroup/skb"


class sock_create(Program[BpfSock, R]):
    """A socket is made."""

    SECTION = "cgroup/sock_create"


class sock_release(Program[BpfSock, R]):
    """A socket is released."""

    SECTION = "cgroup/sock_release"


class post_bind4(Program[BpfSock, R]):
    """An IPv4 socket was bound."""

    SECTION = "cgroup/post_bind4"


class post_bind6(Program[BpfSock, R]):
    """An IPv6 socket was bound."""

    SECTION = "cgroup/post_bind6"


class bind4(Program[BpfSockAddr, R]):
    """bind(2) of IPv4; the address may be changed."""

    SECTION = "cgroup/bind4"


class bind6(Program[BpfSockAddr, R]):
    """bind(2) of IPv6; the address may be changed."""

    SECTION = "cgroup/bind6"


class connect4(Program[BpfSockAddr, R]):
    """connect(2) of IPv4; the address may be changed."""

    SECTION = "cgroup/connect4"


class connect6(Program[BpfSockAddr, R]):
    """connect(2) of IPv6; the address may be changed."""

    SECTION = "cgroup/connect6"


class connect_unix(Program[BpfSockAddr, R]):
    """connect(2) of Unix sockets; the address may be changed."""

    SECTION = "cgroup/connect_unix"


class sendmsg4(Program[BpfSockAddr, R]):
    """sendmsg(2) of IPv4; the address may be changed."""

    SECTION = "cgroup/sendmsg4"


class sendmsg6(Program[BpfSockAddr, R]):
    """sendmsg(2) of IPv6; the address may be changed."""

    SECTION = "cgroup/sendmsg6"


class sendmsg_unix(Program[BpfSockAddr, R]):
    """sendmsg(2) of Unix sockets; the address may be changed."""

    SECTION = "cgroup/sendmsg_unix"


class recvmsg4(Program[BpfSockAddr, R]):
    """recvmsg(2) of IPv4; the address may be changed."""

    SECTION = "cgroup/recvmsg4"


class recvmsg6(Program[BpfSockAddr, R]):
    """recvmsg(2) of IPv6; the address may be changed."""

    SECTION = "cgroup/recvmsg6"


class recvmsg_unix(Program[BpfSockAddr, R]):
    """recvmsg(2) of Unix sockets; the address may be changed."""

    SECTION = "cgroup/recvmsg_unix"


class getpeername4(Program[BpfSockAddr, R]):
    """getpeername(2) of IPv4; the address may be changed."""

    SECTION = "cgroup/getpeername4"


class getpeername6(Program[BpfSockAddr, R]):
    """getpeername(2) of IPv6; the address may be changed."""

    SECTION = "cgroup/getpeername6"


class getpeername_unix(Program[BpfSockAddr, R]):
    """getpeername(2) of Unix sockets; the address may be changed."""

    SECTION = "cgroup/getpeername_unix"


class getsockname4(Program[BpfSockAddr, R]):
    """getsockname(2) of IPv4; the address may be changed."""

    SECTION = "cgroup/getsockname4"


class getsockname6(Program[BpfSockAddr, R]):
    """getsockname(2) of IPv6; the address may be changed."""

    SECTION = "cgroup/getsockname6"


class getsockname_unix(Program[BpfSockAddr, R]):
    """getsockname(2) of Unix sockets; the address may be changed."""

    SECTION = "cgroup/getsockname_unix"


class sysctl(Program[BpfSysctl, R]):
    """A sysctl is read or written."""

    SECTION = "cgroup/sysctl"


class getsockopt(Program[BpfSockopt, R]):
    """After getsockopt(2); the value may be changed."""

    SECTION = "cgroup/getsockopt"


class setsockopt(Program[BpfSockopt, R]):
    """Before setsockopt(2); the value may be changed."""

    SECTION = "cgroup/setsockopt"


class device(Program[BpfCgroupDevCtx, R]):
    """A device file is used or made."""

    SECTION = "cgroup/dev"
