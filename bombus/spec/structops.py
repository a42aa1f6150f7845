"""Kernel structs of function pointers that programs may implement: what they may write, and what is not supported.

Sources: Linux 6.12 net/ipv4/bpf_tcp_ca.c, net/bpf/bpf_dummy_struct_ops.c. Which structs a kernel has, its BTF says:
those for which there is a struct bpf_struct_ops_<name>.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class StructOps:
    """One struct. unsupported: members that no program may implement; sleepable: those whose programs may sleep.

    writable: struct, and its fields (dotted paths) that programs may write; no field: all of it. promoted: (struct,
    struct) that a pointer argument to the first really is. nullable: (member, argument) that may be null. stub: what
    the kernel's function of a member is called.
    """

    name: str
    unsupported: frozenset[str] = frozenset()
    sleepable: frozenset[str] | None = frozenset()
    writable: tuple[str, tuple[str, ...]] = ("", ())
    promoted: tuple[str, str] = ("", "")
    nullable: tuple[tuple[str, int], ...] = ()


STRUCT_OPS: Final[dict[str, StructOps]] = {
    row.name: row
    for row in (
        StructOps(
            "tcp_congestion_ops", frozenset(("get_info",)), None,
            (
                "tcp_sock",
                (
                    "inet_conn.icsk_inet.sk.sk_pacing_rate", "inet_conn.icsk_inet.sk.sk_pacing_status",
                    "inet_conn.icsk_ca_priv", "inet_conn.icsk_ack.pending", "snd_cwnd", "snd_cwnd_cnt",
                    "snd_cwnd_stamp", "snd_ssthresh", "ecn_flags", "app_limited",
                ),
            ),
            ("sock", "tcp_sock"),
        ),
        StructOps(
            "bpf_dummy_ops", sleepable=frozenset(("test_sleepable",)), writable=("bpf_dummy_ops_state", ()),
            nullable=(("test_1", 0),),
        ),
    )
}  # fmt: skip
# Fields that may be written from their beginning to their end, at any offset.
ANYWHERE: Final = frozenset(("inet_conn.icsk_ca_priv",))
