"""Terms and values of sample filters, as `perf record --filter` names them, and where BPF programs find them.

Facts: Linux 6.12 tools/perf/Documentation/perf-record.txt (--filter), include/uapi/linux/perf_event.h
(enum perf_event_sample_format, union perf_mem_data_src, PERF_MEM_*), include/linux/perf_event.h
(struct perf_sample_data). Differences from perf's own filters, whose constants mean the same number for every term:
`mem_lvl == na` is PERF_MEM_LVLNUM_NA, `mem_snoop == fwd` and `peer` are their bits above the five of mem_snoop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Term:
    """source: "helper" (a BPF helper gives it) or "data" (a member of struct perf_sample_data). path: name of the
    helper or member. shift, bits: the part of it that counts (bits 0: all). sample: the bit of
    perf_event_attr.sample_type that makes the kernel fill it (0: always there)."""

    name: str
    source: str
    path: str
    shift: int = 0
    bits: int = 0
    sample: int = 0
    values: Mapping[str, int] = field(default_factory=dict)


IP, TIME, ADDR, ID, CPU = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 7
PERIOD, WEIGHT, DATA_SRC, TRANSACTION = 1 << 8, 1 << 14, 1 << 15, 1 << 17
PHYS_ADDR, DATA_PAGE_SIZE, CODE_PAGE_SIZE, WEIGHT_STRUCT = 1 << 19, 1 << 22, 1 << 23, 1 << 24

_OP = {"na": 1, "load": 2, "store": 4, "pfetch": 8, "exec": 16}
_LVL = {
    "l1": 1, "l2": 2, "l3": 3, "l4": 4, "cxl": 9, "io": 10, "any_cache": 11, "lfb": 12, "ram": 13, "pmem": 14, "na": 15,
}  # fmt: skip
_SNOOP = {"na": 1, "none": 2, "hit": 4, "miss": 8, "hitm": 16, "fwd": 1 << 5, "peer": 2 << 5}
_LOCK = {"na": 1, "locked": 2}
_TLB = {
    "na": 1, "l1_hit": 8 | 2, "l1_miss": 8 | 4, "l2_hit": 16 | 2, "l2_miss": 16 | 4, "any_hit": 2, "any_miss": 4,
    "walk": 32, "os": 64, "fault": 64,
}  # fmt: skip
_BLK = {"na": 1, "by_data": 2, "by_addr": 4}
_HOPS = {"hops0": 1, "hops1": 2, "hops2": 3, "hops3": 4}


def _memory(name: str, shift: int, bits: int, values: Mapping[str, int]) -> Term:
    return Term(name, "data", "data_src.val", shift, bits, DATA_SRC, values)


TERMS: Final[tuple[Term, ...]] = (
    Term("pid", "helper", "get_current_pid_tgid", 32, 32),
    Term("tid", "helper", "get_current_pid_tgid", 0, 32),
    Term("cpu", "helper", "get_smp_processor_id", 0, 32),
    Term("uid", "helper", "get_current_uid_gid", 0, 32),
    Term("gid", "helper", "get_current_uid_gid", 32, 32),
    Term("cgroup", "helper", "get_current_cgroup_id"),
    Term("period", "data", "period", sample=PERIOD),
    Term("addr", "data", "addr", sample=ADDR),
    Term("ip", "data", "ip", sample=IP),
    Term("id", "data", "id", sample=ID),
    Term("time", "data", "time", sample=TIME),
    Term("txn", "data", "txn", sample=TRANSACTION),
    Term("weight", "data", "weight.full", sample=WEIGHT),
    Term("weight1", "data", "weight.full", 0, 32, WEIGHT_STRUCT),
    Term("weight2", "data", "weight.full", 32, 16, WEIGHT_STRUCT),
    Term("weight3", "data", "weight.full", 48, 16, WEIGHT_STRUCT),
    Term("ins_lat", "data", "weight.full", 32, 16, WEIGHT_STRUCT),
    Term("p_stage_cyc", "data", "weight.full", 48, 16, WEIGHT_STRUCT),
    Term("retire_lat", "data", "weight.full", 48, 16, WEIGHT_STRUCT),
    Term("phys_addr", "data", "phys_addr", sample=PHYS_ADDR),
    Term("code_pgsz", "data", "code_page_size", sample=CODE_PAGE_SIZE),
    Term("data_pgsz", "data", "data_page_size", sample=DATA_PAGE_SIZE),
    _memory("mem_op", 0, 5, _OP),
    _memory("mem_lvl", 33, 4, _LVL),
    _memory("mem_lvlnum", 33, 4, _LVL),
    _memory("mem_snoop", 19, 5, _SNOOP),  # and mem_snoopx above it: bits 38 and 39
    _memory("mem_remote", 37, 1, {"remote": 1}),
    _memory("mem_lock", 24, 2, _LOCK),
    _memory("mem_dtlb", 26, 7, _TLB),
    _memory("mem_blk", 40, 3, _BLK),
    _memory("mem_hops", 43, 3, _HOPS),
)
TERM: Final[dict[str, Term]] = {term.name: term for term in TERMS}
SNOOPX_SHIFT, SNOOPX_BITS, SNOOP_BITS = 38, 2, 5
