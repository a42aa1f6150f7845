"""What the numbers mean that packet programs return.

Sources: Linux 6.12 include/uapi/linux/bpf.h (enum xdp_action, enum tcx_action_base, enum bpf_ret_code),
include/uapi/linux/pkt_cls.h (TC_ACT_*), kernel/bpf/cgroup.c (__cgroup_bpf_run_filter_skb), net/core/dev.c.
"""

from __future__ import annotations

from typing import NamedTuple


class Verdict(NamedTuple):
    """name: the kernel's constant, or words where it has none. goes_on: whether the packet lives on in some way."""

    name: str
    value: int
    goes_on: bool


def _rows(*rows: tuple[str, int, bool]) -> dict[int, Verdict]:
    return {value: Verdict(name, value, goes_on) for name, value, goes_on in rows}


_XDP = _rows(
    ("XDP_ABORTED", 0, False), ("XDP_DROP", 1, False), ("XDP_PASS", 2, True), ("XDP_TX", 3, True),
    ("XDP_REDIRECT", 4, True),
)  # fmt: skip
_TC = _rows(
    ("TC_ACT_UNSPEC", -1, True), ("TC_ACT_OK", 0, True), ("TC_ACT_RECLASSIFY", 1, True), ("TC_ACT_SHOT", 2, False),
    ("TC_ACT_PIPE", 3, True), ("TC_ACT_STOLEN", 4, False), ("TC_ACT_QUEUED", 5, False), ("TC_ACT_REPEAT", 6, True),
    ("TC_ACT_REDIRECT", 7, True), ("TC_ACT_TRAP", 8, False),
)  # fmt: skip
_LWT = _rows(
    ("BPF_OK", 0, True), ("BPF_DROP", 2, False), ("BPF_REDIRECT", 7, True), ("BPF_LWT_REROUTE", 128, True)
)
# The third and fourth are for egress: the sender is told of congestion.
_CGROUP_SKB = _rows(
    ("drop", 0, False), ("pass", 1, True), ("drop, congestion", 2, False), ("pass, congestion", 3, True)
)

VERDICTS: dict[str, dict[int, Verdict]] = {
    "BPF_PROG_TYPE_XDP": _XDP,
    "BPF_PROG_TYPE_SCHED_CLS": _TC,
    "BPF_PROG_TYPE_SCHED_ACT": _TC,
    "BPF_PROG_TYPE_LWT_IN": _LWT,
    "BPF_PROG_TYPE_LWT_OUT": _LWT,
    "BPF_PROG_TYPE_LWT_XMIT": _LWT,
    "BPF_PROG_TYPE_CGROUP_SKB": _CGROUP_SKB,
}
SOCKET_FILTER = "BPF_PROG_TYPE_SOCKET_FILTER"
_DROP = Verdict("drop", 0, False)
_ALL = Verdict("keep all", -1, True)
_PART = Verdict("keep the beginning", 1, True)

PACKET_TYPES = (*VERDICTS, SOCKET_FILTER)


def verdict_of(prog_type: str, retval: int, length: int) -> Verdict:
    """What a return value (u32) means for a packet of `length` bytes.

    A socket filter's is the number of bytes to keep. KeyError for types that judge no packets.
    """
    if prog_type == SOCKET_FILTER:
        return _DROP if not retval else _ALL if retval >= length else _PART
    signed = retval - (1 << 32) if retval >= 1 << 31 else retval
    known = VERDICTS[prog_type].get(signed)
    return known or Verdict(f"{signed} (no known verdict)", signed, False)
