"""`bombus prog profile`: what a kernel would need for it, and why there is no result."""

from __future__ import annotations

from pathlib import Path

from bombus.cli import live
from bombus.cli.words import Words
from bombus.errors import NotSupported, UsageError

METRICS = ("cycles", "instructions", "l1d_loads", "llc_misses", "itlb_misses", "dtlb_misses")
_PMU = Path("/sys/bus/event_source/devices")


def profile(words: Words) -> None:
    """PROG [duration N] METRIC..."""
    with live.item("prog", words) as item:
        if words.accept("duration"):
            words.number("duration")
        chosen = []
        while words:
            metric = words.take("METRIC")
            if metric not in METRICS:
                raise UsageError(f"unknown metric {metric!r}; there are {', '.join(METRICS)}")
            chosen.append(metric)
        if not chosen:
            raise UsageError(f"METRIC is missing; there are {', '.join(METRICS)}")
        if not item.info["btf_id"]:
            raise UsageError(f"program {item.info['id']} has no BTF, so that nothing can attach to it")
    raise NotSupported("counting hardware events of a program", "; ".join(_missing()))


def _missing() -> list[str]:
    """What stands in the way on this machine."""
    found = []
    if not any((_PMU / name).exists() for name in ("cpu", "cpu_core", "armv8_pmuv3_0")):
        found.append("this machine shows no hardware counters (no PMU, as in most virtual machines)")
    if not _has_fentry():
        found.append("this kernel has no fentry programs (BPF trampolines), which would read the counters")
    return found or ["bombus has no reader for the counters yet; `perf stat -b ID` counts them"]


def _has_fentry() -> bool:
    """Whether the kernel can attach programs to functions: it lists the ones that it can trace."""
    return live.kernel().kconfig().get("CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS") == "y"
