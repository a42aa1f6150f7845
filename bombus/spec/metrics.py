"""What can be counted while a program runs.

Facts: include/uapi/linux/perf_event.h (perf_type_id, perf_hw_id, perf_sw_ids, perf_hw_cache_id); names and ratios of
the hardware's are those of bpftool (Linux 6.12 tools/bpf/bpftool/prog.c: metrics).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Metric(NamedTuple):
    """type, config: of perf_event_attr. kernel: only what happens in the kernel counts.

    per: the metric that this is a ratio to when both are counted, times `scale`, called `ratio`.
    """

    name: str
    type: int
    config: int
    kernel: bool
    per: str = ""
    scale: float = 1.0
    ratio: str = ""
    hardware: bool = True


_HARDWARE, _SOFTWARE, _CACHE = 0, 1, 3
_READ, _MISS = 0, 1 << 16
_L1D, _LL, _DTLB, _ITLB = 0, 2, 3, 4

METRICS: Final = (
    Metric("cycles", _HARDWARE, 0, True),
    Metric("instructions", _HARDWARE, 1, True, "cycles", 1.0, "insns per cycle"),
    Metric("l1d_loads", _CACHE, _L1D | _READ, True),
    Metric("llc_misses", _CACHE, _LL | _READ | _MISS, True, "instructions", 1e6, "LLC misses per million insns"),
    Metric("itlb_misses", _CACHE, _ITLB | _READ | _MISS, True, "instructions", 1e6, "itlb misses per million insns"),
    Metric("dtlb_misses", _CACHE, _DTLB | _READ | _MISS, True, "instructions", 1e6, "dtlb misses per million insns"),
    # Software events: also where there is no hardware to count.
    Metric("cpu_clock", _SOFTWARE, 0, False, hardware=False),
    Metric("page_faults", _SOFTWARE, 2, False, hardware=False),
)
METRIC: Final = {row.name: row for row in METRICS}
