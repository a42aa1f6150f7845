"""Sysctls that the user kernel has: how they are written as text, and what they hold when it starts.

Sources: Linux 6.12 net/ipv4/sysctl_net_ipv4.c, net/ipv4/devinet.c, net/core/sysctl_net_core.c, kernel/utsname_sysctl.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

U8: Final = 255
INT: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Sysctl:
    """`name` below /proc/sys. kind: "int" (one or more), "u8", "text" (of at most `high` bytes with the 0 at its end).

    default: numbers separated by tabs, or the text.
    """

    name: str
    kind: str
    default: str
    low: int
    high: int


def _ints(name: str, default: str, low: int = -INT - 1, high: int = INT) -> Sysctl:
    return Sysctl(name, "int", default, low, high)


def _u8(name: str, default: int, low: int = 0, high: int = U8) -> Sysctl:
    return Sysctl(name, "u8", str(default), low, high)


SYSCTLS: Final[tuple[Sysctl, ...]] = (
    Sysctl("kernel/domainname", "text", "(none)", 0, 65),
    Sysctl("kernel/hostname", "text", "bombus", 0, 65),
    _ints("net/core/somaxconn", "4096", 0),
    _u8("net/ipv4/icmp_echo_ignore_all", 0, 0, 1),
    _u8("net/ipv4/icmp_echo_ignore_broadcasts", 1, 0, 1),
    _u8("net/ipv4/ip_default_ttl", 64, 1),
    _ints("net/ipv4/ip_forward", "0"),
    _u8("net/ipv4/ip_nonlocal_bind", 0),
    _u8("net/ipv4/tcp_keepalive_probes", 9),
    _u8("net/ipv4/tcp_syncookies", 1),
    _u8("net/ipv4/tcp_syn_retries", 6, 1, 127),
    _ints("net/ipv4/tcp_rmem", "4096\t131072\t6291456", 1),
    _ints("net/ipv4/tcp_wmem", "4096\t16384\t4194304", 1),
)
SYSCTL: Final = {row.name: row for row in SYSCTLS}
