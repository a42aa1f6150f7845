"""`bombus prog profile`: events that are counted while a program runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from bombus.cli import live, output
from bombus.cli.stopping import stopping
from bombus.cli.words import Words, is_prefix
from bombus.errors import KernelError, UsageError
from bombus.spec.metrics import METRICS, Metric

if TYPE_CHECKING:
    from bombus.kernel.handles import Program
    from bombus.profile.counters import Counters, Reading

_STEP = 0.1  # seconds between looks at whether to stop


def profile(words: Words) -> None:
    """PROG [duration N] METRIC..."""
    from bombus.kernel.handles import Program
    from bombus.profile.counters import MOST

    with live.item("prog", words) as item:
        # bpftool takes "duration" only when a metric follows its number.
        duration = words.number("duration") if len(words) > 1 and words.accept("duration") else None
        chosen = _metrics(words)
        if len(chosen) > MOST:
            raise UsageError(f"{len(chosen)} metrics; at most {MOST} at a time")
        if not item.info["btf_id"]:
            raise UsageError(f"program {item.info['id']} has no BTF, so that nothing can attach to it")
        with Program.from_id(live.kernel(), item.info["id"]) as program, _counting(program, chosen) as counters:
            if counters.skipped:
                cpus = ", ".join(map(str, sorted(counters.skipped)))
                print(f"bombus: not counted on CPUs {cpus}, which are off", file=sys.stderr)
            with stopping() as stop:
                end = None if duration is None else time.monotonic() + duration
                while not stop.asked and (end is None or time.monotonic() < end):
                    time.sleep(_STEP if end is None else max(0.0, min(_STEP, end - time.monotonic())))
            runs, readings = counters.runs(), counters.readings()
    if output.as_json():
        output.print_json([as_json(runs, reading) for reading in readings])
    else:
        output.lines(as_text(runs, readings))


def _metrics(words: Words) -> list[Metric]:
    """The metrics that are named, in the order of the table, as bpftool has them."""
    wanted: set[str] = set()
    while words or not wanted:
        word = words.take("METRIC (" + ", ".join(row.name for row in METRICS) + ")")
        found = next((row for row in METRICS if is_prefix(word, row.name)), None)
        if found is None:
            raise UsageError(f"unknown metric {word!r}; there are {', '.join(row.name for row in METRICS)}")
        wanted.add(found.name)
    return [row for row in METRICS if row.name in wanted]


def _counting(program: Program, chosen: list[Metric]) -> Counters:
    from bombus.profile.counters import Counters

    try:
        return Counters(program, chosen)
    except KernelError as error:
        if error.call in ("BPF_PROG_LOAD", "BPF_RAW_TRACEPOINT_OPEN"):
            error.add_note("fentry and fexit programs (BPF trampolines), which read the counters")
        raise


def as_json(runs: int, reading: Reading) -> dict[str, object]:
    return {
        "metric": reading.metric.name, "run_cnt": runs, "value": reading.counter, "enabled": reading.enabled,
        "running": reading.running,
    }  # fmt: skip


def as_text(runs: int, readings: list[Reading]) -> list[str]:
    """bpftool's table: counts, ratios to each other, and how much of the time an event was really counted."""
    lines = ["", f"{runs:>18} {'run_cnt':<20}"]
    counted = {reading.metric.name: reading.counter for reading in readings}
    for metric, counter, enabled, running in readings:
        line = f"{counter:>18} {metric.name:<20}"
        base = counted.get(metric.per, 0)
        if base > 0:
            line += f"# {counter * metric.scale / base:>8.2f} {metric.ratio:<30}"
        else:
            line += " " * 41
        if enabled > running:
            line += f"({running * 100.0 / enabled:4.2f}%)"
        lines.append(line)
    return lines
