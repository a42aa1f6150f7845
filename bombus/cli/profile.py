"""`bombus profile`: where a process or command spends its time."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import output
from bombus.cli.stopping import Stop, stopping
from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.profile import Profile, Sampler

_SLICE = 0.05
_FORMATS = (".svg", ".folded", ".txt", ".pb.gz", ".pprof", ".json")


@click.command("profile", context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, metavar="[COMMAND]...", type=click.UNPROCESSED)
@click.option("-F", "--freq", "frequency", default=99, show_default=True, metavar="HZ",
              help="Samples a second of each running thread.")
@click.option("-c", "--period", default=0, metavar="N", help="One sample in N events instead of a frequency.")
@click.option("-e", "--event", metavar="EVENT",
              help="cycles, cpu-clock, page-faults, ...; without it cycles, or cpu-clock where there is no PMU.")
@click.option("-p", "--pid", type=int, metavar="PID", help="Sample this process.")
@click.option("-a", "--all-cpus", "everything", is_flag=True, help="Sample all processes, on every CPU.")
@click.option("--filter", "expression", metavar="EXPR",
              help="Which samples count, as perf record --filter: 'cpu == 0 || uid != 0, ip > 0x8000'.")
@click.option("--duration", type=float, metavar="S", help="Stop after so many seconds (and end the command).")
@click.option("-o", "--output", "out", metavar="FILE",
              help="Write a flame graph (.svg), folded stacks (.folded), pprof (.pb.gz) or JSON (.json).")
@click.option("--entries", default=16384, show_default=True, metavar="N", help="Different stacks to have room for.")
@click.option("--limit", default=20, show_default=True, metavar="N", help="Functions to print.")
@output.json_option
def profile(
    command: tuple[str, ...], frequency: int, period: int, event: str | None, pid: int | None, everything: bool,
    expression: str | None, duration: float | None, out: str | None, entries: int, limit: int,
) -> None:  # fmt: skip
    """Sample the stacks of a process (-p), of a command or of everything (-a) until it ends, Ctrl-C or --duration.

    A BPF program counts stacks in the kernel; functions get names from symbol tables, debug files, /proc/kallsyms and
    what JITs tell (/tmp/perf-PID.map; Python with -X perf).
    """
    if (pid is not None) + bool(command) + everything != 1:
        raise UsageError("give a process with -p, a command (after --), or -a for everything")
    if duration is not None and duration <= 0:
        raise UsageError(f"--duration {duration}: seconds above 0")
    if out is not None and not out.endswith(_FORMATS):
        raise UsageError(f"-o {out}: the name ends in {', '.join(_FORMATS)}")
    from bombus.kernels import open_kernel
    from bombus.profile import Filter, Sampler

    filter_ = Filter.parse(expression) if expression else None
    if out is not None:
        Path(out).touch()  # better now than after the work
    with Sampler(
        open_kernel("linux"), pid=pid, command=command, everything=everything, frequency=frequency,
        period=period, event=event, filter=filter_, entries=entries,
    ) as sampler:  # fmt: skip
        with stopping() as stop:
            sampler.start()
            _sample(sampler, stop, duration)
        sampler.stop()
        found = sampler.result()
    what = " ".join(command) if command else ("all CPUs" if everything else f"process {pid}")
    if out is not None:
        _write(found, out, what)
    if output.as_json():
        output.print_json(as_json(found, limit))
    else:
        _show(found, what, out, limit)


def _sample(sampler: Sampler, stop: Stop, duration: float | None) -> None:
    end = None if duration is None else time.monotonic() + duration
    while not stop.asked and sampler.running():
        sampler.look()
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return
        time.sleep(_SLICE if left is None else min(_SLICE, left))


def _write(found: Profile, path: str, what: str) -> None:
    if path.endswith((".pb.gz", ".pprof")):
        from bombus.profile.pprof import write_pprof

        Path(path).write_bytes(write_pprof(found))
        return
    if path.endswith(".svg"):
        from bombus.profile.flame import write_flame

        text = write_flame(found.paths(), title=what, note=_summary(found))
    elif path.endswith(".json"):
        import json

        text = json.dumps(as_json(found, None, stacks=True), indent="\t") + "\n"
    else:
        from bombus.profile.folded import write_folded

        text = write_folded(found.paths())
    Path(path).write_text(text, encoding="utf-8", errors="replace")


def as_json(found: Profile, limit: int | None, *, stacks: bool = False) -> dict[str, Any]:
    """For scripts; stacks: also every stack, innermost function first."""
    rows = found.functions()
    made: dict[str, Any] = {
        "event": found.event, "frequency": found.frequency, "period": found.period, "start": round(found.start, 6),
        "seconds": round(found.seconds, 3), "samples": found.samples, "lost": found.lost,
        "incomplete": found.collisions, "filtered": found.filtered,
        "functions": [{"name": name, "module": module, "self": own, "total": total}
                      for name, module, own, total in (rows if limit is None else rows[:limit])],
    }  # fmt: skip
    if stacks:
        made["stacks"] = [
            {"pid": one.pid, "tid": one.tid, "comm": one.comm, "count": one.count,
             "frames": [{"name": f.name, "module": f.module, "offset": f.offset, "address": f.address}
                        for f in one.frames]}
            for one in found.stacks
        ]  # fmt: skip
    return made


def _summary(found: Profile) -> str:
    rate = f"at {found.frequency} Hz" if found.frequency else f"one in {found.period}"
    text = f"{found.samples} samples of {found.event} {rate} in {found.seconds:.2f} s"
    if found.filtered:
        text += f", {found.filtered} more refused by the filter"
    if found.lost:
        text += f", {found.lost} lost (--entries)"
    if found.collisions:
        text += f", {found.collisions} with a part of their stack only (--entries)"
    return text


def _show(found: Profile, what: str, out: str | None, limit: int) -> None:
    click.echo(f"{what}: {_summary(found)}")
    total = found.samples
    if total:
        rows = found.functions()
        cells = [
            (f"{100 * own / total:.1f}%", own, f"{100 * whole / total:.1f}%", output.clean(name),
             output.clean(module.rpartition("/")[2]))
            for name, module, own, whole in rows[:limit]
        ]
        output.table("", ["self", "samples", "total", "function", "module"], cells, right=["self", "samples", "total"])
        if len(rows) > limit:
            click.echo(f"{len(rows) - limit} more functions, --limit {len(rows)} shows them")
    if out is not None:
        print(f"Written to {out}", file=sys.stderr)
