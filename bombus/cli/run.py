"""`bombus run OBJ`: a program over a capture, or over given data and context as `bpftool prog run` does it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import output
from bombus.cli.settings import variables
from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel
    from bombus.kernel.handles import Program, TestRun
    from bombus.loader.load import Loaded
    from bombus.object.model import ProgramSpec
    from bombus.replay import Outcome

_IN_SIZE = 16 << 20  # bytes, more than BPF_PROG_TEST_RUN takes
_OUT_SIZE = 32 << 10  # bytes of room for results, as bpftool's default


@click.command("run")
@click.argument("obj", metavar="OBJ", type=click.Path(exists=True, dir_okay=False))
@click.option("--prog", "name", metavar="NAME", help="Which program, when the object has several.")
@click.option("--type", "prog_type", metavar="TYPE", help="Program type for sections that do not say it, such as xdp.")
@click.option("--pcap", "capture", metavar="IN", type=click.Path(exists=True, dir_okay=False),
              help="Run over every packet of a pcap or pcapng file (may be gzip-compressed).")
@click.option("--write", "write", metavar="OUT", type=click.Path(dir_okay=False),
              help="Write the packets that live on, as the program left them (.pcap or .pcapng, .gz compresses).")
@click.option("--repeat", default=1, show_default=True, metavar="N", help="Run each packet, or the data, N times.")
@click.option("--kernel", "kernel_name", default="user", show_default=True, metavar="KERNEL",
              help="user, user:VERSION (such as user:5.15) or linux (the running kernel; needs root).")
@click.option("--engine", type=click.Choice(["fast", "reference", "native", "tiered"]), default="fast",
              show_default=True, help="Engine of the user kernel: native compiles with LLVM, tiered does so while the "
              "fast one runs; reference checks and explains every access.")
@click.option("--verify", "verification", type=click.Choice(["strict", "lenient", "off"]), default="strict",
              show_default=True, help="How the user kernel verifies: lenient runs what its verifier cannot judge.")
@click.option("--btf", metavar="FILE|vmlinux",
              help="The kernel's BTF for CO-RE relocations ('vmlinux': this machine's).")
@click.option("--set", "data", multiple=True, metavar="VAR=VALUE", help="Set a global variable before the load.")
@click.option("--event", "event_types", multiple=True, metavar="MAP=TYPE",
              help="Show the events of a ring or perf buffer as this struct of the object's BTF.")
@click.option("--limit", default=20, show_default=True, metavar="N", help="Rows to print of each table at most.")
@click.option("--data-in", metavar="FILE", help="One packet to run on ('-' reads standard input).")
@click.option("--data-out", metavar="FILE", help="Where to write the packet afterwards ('-': print it).")
@click.option("--data-size-out", type=int, metavar="L", help="Bytes of room for it (32768).")
@click.option("--ctx-in", metavar="FILE", help="The context to run on ('-' reads standard input).")
@click.option("--ctx-out", metavar="FILE", help="Where to write the context afterwards ('-': print it).")
@click.option("--ctx-size-out", type=int, metavar="M", help="Bytes of room for it (32768).")
@output.json_options
def run(
    obj: str, name: str | None, prog_type: str | None, capture: str | None, write: str | None, repeat: int,
    kernel_name: str, engine: str, verification: str, btf: str | None,
    data: tuple[str, ...], event_types: tuple[str, ...], limit: int,
    data_in: str | None, data_out: str | None, data_size_out: int | None, ctx_in: str | None, ctx_out: str | None,
    ctx_size_out: int | None,
) -> None:  # fmt: skip
    """Run a program of an object file.

    With --pcap: over all packets of a capture; prints what became of them, maps, prints and events. Without: once
    (or --repeat times) over --data-in and --ctx-in, as `bpftool prog run` does.
    """
    single = {"--data-in": data_in, "--data-out": data_out, "--data-size-out": data_size_out, "--ctx-in": ctx_in,
              "--ctx-out": ctx_out, "--ctx-size-out": ctx_size_out}  # fmt: skip
    if capture:
        for option, value in single.items():
            if value is not None:
                raise UsageError(f"{option} does not go with --pcap")
    elif write:
        raise UsageError("--write needs --pcap")
    if repeat < 1:
        raise UsageError(f"--repeat {repeat}: once is the least")
    if data_in == "-" and ctx_in == "-":
        raise UsageError("--data-in and --ctx-in cannot both be standard input")
    from bombus.cli.source import open_program
    from bombus.kernels import open_kernel
    from bombus.loader.load import load
    from bombus.replay import choose_program, needed_programs
    from bombus.spec.verdicts import PACKET_TYPES

    opened = open_program(obj)
    raw_btf = _read_btf(btf) if btf else None
    kernel = open_kernel(kernel_name, engine=engine, btf=raw_btf, verify=verification)
    given = _type_name(prog_type)
    spec = choose_program(opened, name, PACKET_TYPES if capture else (), given)
    options: dict[str, Any] = {
        "programs": needed_programs(opened, spec), "prog_type": given, "data": variables(opened, data),
        "pin_root": "",  # a run begins with fresh maps and leaves nothing behind
    }  # fmt: skip
    if raw_btf is not None:
        options["btf"] = raw_btf
    with load(opened, kernel, **options) as loaded:
        program = loaded.programs[spec.name]
        if capture:
            outcome = _replay(loaded, spec.name, capture, write, repeat, limit)
            _report_capture(loaded, spec, program, kernel, outcome, capture, write, event_types, limit, repeat)
            if outcome.total.packets and not outcome.ran:
                raise UsageError("no packet of the capture could be run")
            return
        files = (data_in, data_out, data_size_out, ctx_in, ctx_out, ctx_size_out)
        _single(loaded, program, files, repeat, event_types, limit)


def _read_btf(path: str) -> bytes:
    from bombus.cli.inspect import read_btf

    return read_btf(path).raw


def _type_name(text: str | None) -> str:
    if not text:
        return ""
    from bombus.kernel.handles import prog_type_of

    return prog_type_of(text).name


def _replay(
    loaded: Loaded, name: str, path: str, write: str | None, repeat: int, limit: int
) -> Outcome:
    from bombus.capture import create_capture, open_capture
    from bombus.replay import replay

    capture = open_capture(path, once=True)
    keep = None if output.as_json() else limit
    with contextlib.ExitStack() as stack:
        out = None
        if write:
            if os.path.exists(write) and os.path.samefile(write, path):
                raise UsageError("--write would overwrite the capture that is read")
            out = stack.enter_context(create_capture(write, linktype=1, nanoseconds=capture.nanoseconds))
        progress = stack.enter_context(_progress(os.path.basename(path)))
        return replay(loaded, name, capture, repeat=repeat, write=out, keep=keep, progress=progress)


@contextlib.contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error, when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


def _report_capture(
    loaded: Loaded, spec: ProgramSpec, program: Program, kernel: Kernel, outcome: Outcome, path: str,
    write: str | None, event_types: tuple[str, ...], limit: int, repeat: int,
) -> None:  # fmt: skip
    label = kernel.name if kernel.name == "linux" else f"user kernel {kernel.version}"
    if output.as_json():
        output.print_json(_capture_json(loaded, spec, kernel, outcome, path, write, event_types, repeat))
        return
    total = outcome.total
    click.echo(f"{spec.name} ({program.type.short}, section {spec.section}) on {label}: "
               f"{total.packets} packets, {total.bytes} bytes from {os.path.basename(path)}")  # fmt: skip
    rows: list[tuple[object, ...]] = [
        (verdict.name, tally.packets, tally.bytes, f"{100 * tally.packets / total.packets:.1f}%")
        for verdict, tally in outcome.by_verdict()
    ]
    rows += [
        (f"not run: {reason}", tally.packets, tally.bytes, f"{100 * tally.packets / total.packets:.1f}%")
        for reason, tally in outcome.skipped.items()
    ]
    if rows:
        output.table("", ["verdict", "packets", "bytes", "share"], rows, right=["packets", "bytes", "share"])
    if outcome.ran:
        times = sorted(outcome.times)
        spread = ""
        if times:
            most = times[(len(times) * 99 - 1) // 100]
            median = (times[(len(times) - 1) // 2] + times[len(times) // 2]) / 2
            spread = f", median {_time(median)}, 99% within {_time(most)}"
        click.echo(f"Time per packet: {_time(outcome.mean_ns)} on average{spread}"
                   + (f" (each packet {repeat} times)" if repeat > 1 else ""))  # fmt: skip
    if outcome.cut:
        click.echo(f"{outcome.cut} packets are in the capture only in part (snap length); the program saw that part.")
    if outcome.truncated:
        click.echo(f"The capture is cut off: {outcome.truncated}")
    if write:
        click.echo(f"{outcome.written} packets written to {write}")
    click.echo()
    _show_rest(loaded, outcome, event_types, limit)


def _time(ns: float) -> str:
    return f"{ns:.0f} ns" if ns < 10_000 else f"{ns / 1000:.1f} us" if ns < 10_000_000 else f"{ns / 1e6:.1f} ms"


def _show_rest(loaded: Loaded, outcome: Outcome, event_types: tuple[str, ...], limit: int) -> None:
    """Maps, events and prints."""
    if loaded.maps:
        from bombus.cli.maps import show_all

        show_all(loaded, limit=limit)
    types = _event_types(loaded, event_types, outcome)
    for name, count in outcome.event_counts.items():
        events = [event for event in outcome.events if event.map == name]
        layout, btf, type_id, why = types.get(name, (None, None, 0, ""))
        note = f"{count} events" + (f", the last {len(events)}" if len(events) < count else "")
        note += f" as {why}" if why else ""
        if outcome.lost.get(name):
            note += f", {outcome.lost[name]} lost"
        from bombus.cli.maps import events_table

        events_table(name, events, layout, btf, type_id, note)
    if outcome.printk_count:
        shown = len(outcome.printk)
        click.echo(f"bpf_printk: {outcome.printk_count} lines"
                   + (f", the last {shown}" if shown < outcome.printk_count else ""))  # fmt: skip
        for line in outcome.printk:
            click.echo(f"  {line}")


def _event_types(
    loaded: Loaded, texts: tuple[str, ...], outcome: Outcome
) -> dict[str, tuple[Any, Any, int, str]]:
    """map -> (layout, BTF, type in it, words). Chosen by --event, else what `loader.events` finds."""
    if not texts and not outcome.event_counts:
        return {}
    from bombus.loader.events import event_type

    chosen: dict[str, str] = {}
    for text in texts:
        name, equals, type_name = text.partition("=")
        if not equals or name not in loaded.maps:
            raise UsageError(f"--event {text}: give MAP=TYPE with a map of {loaded.obj.name}")
        chosen[name] = type_name
    found: dict[str, tuple[Any, Any, int, str]] = {}
    for name in dict.fromkeys((*chosen, *outcome.event_counts)):
        sizes = {len(event.data) for event in outcome.events if event.map == name}
        kind = event_type(loaded, name, chosen.get(name), size=sizes.pop() if len(sizes) == 1 else None)
        if kind is not None:
            words = kind.name if name in chosen else f"{kind.name}, {kind.why}"
            found[name] = (kind.layout, kind.btf, kind.type_id, words)
    return found


def _capture_json(
    loaded: Loaded, spec: ProgramSpec, kernel: Kernel, outcome: Outcome, path: str, write: str | None,
    event_types: tuple[str, ...], repeat: int,
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {
        "program": {"name": spec.name, "section": spec.section, "type": spec.prog_type},
        "kernel": {"name": kernel.name, "version": str(kernel.version)},
        "capture": {"file": path, "packets": outcome.total.packets, "bytes": outcome.total.bytes,
                    "cut_packets": outcome.cut, "truncated": outcome.truncated},
        "verdicts": [
            {"verdict": v.name, "value": v.value, "packets": t.packets, "bytes": t.bytes}
            for v, t in outcome.by_verdict()
        ],
        "not_run": [{"reason": r, "packets": t.packets, "bytes": t.bytes} for r, t in outcome.skipped.items()],
        "repeat": repeat,
        "duration": round(outcome.mean_ns, 1),
    }  # fmt: skip
    if write:
        found["written"] = {"file": write, "packets": outcome.written}
    return found | _rest_json(loaded, outcome, event_types)


def _rest_json(loaded: Loaded, outcome: Outcome, event_types: tuple[str, ...]) -> dict[str, Any]:
    from bombus.btf.data import formatted
    from bombus.cli.maps import as_rows

    types = _event_types(loaded, event_types, outcome)
    events = []
    for event in outcome.events:
        layout = types.get(event.map, (None, None, 0, ""))[0]
        row: dict[str, Any] = {"map": event.map, "packet": event.packet, "data": _hex(event.data)}
        if layout is not None and len(event.data) >= layout.size:
            row["formatted"] = formatted(layout, event.data)
        events.append(row)
    return {
        "maps": [as_rows(item, loaded.specs[name]) for name, item in loaded.maps.items()],
        "events": events,
        "lost_events": outcome.lost,
        "printk": list(outcome.printk),
    }


def _hex(data: bytes) -> list[str]:
    return [f"0x{byte:02x}" for byte in data]


Files = tuple["str | None", "str | None", "int | None", "str | None", "str | None", "int | None"]


def _single(
    loaded: Loaded, program: Program, files: Files, repeat: int, event_types: tuple[str, ...], limit: int,
) -> None:  # fmt: skip
    from bombus.replay.session import Observer, Outcome

    data_in, data_out, data_size_out, ctx_in, ctx_out, ctx_size_out = files
    outcome = Outcome()
    observer = Observer(loaded, outcome, None if output.as_json() else limit)
    try:
        result = program.test_run(
            _input(data_in), _input(ctx_in), repeat=repeat,
            data_out=_OUT_SIZE if data_size_out is None else data_size_out,
            ctx_out=_OUT_SIZE if ctx_size_out is None else ctx_size_out,
        )  # fmt: skip
        observer.after(0)
    finally:
        observer.close()
    data = _written(result.data, data_out)  # nothing to print unless asked for, as with bpftool
    ctx = _written(result.ctx, ctx_out)
    if output.as_json():
        found: dict[str, Any] = {}
        if data:
            found["data_out"] = list(data)
        if ctx:
            found["ctx_out"] = list(ctx)
        found |= {"retval": result.retval, "duration": result.duration}
        output.print_json(found | _rest_json(loaded, outcome, event_types))
        return
    _show_single(result, data, ctx, repeat)
    _show_rest(loaded, outcome, event_types, limit)


def _input(path: str | None) -> bytes | None:
    if path is None:
        return None
    if path == "-":
        data = sys.stdin.buffer.read(_IN_SIZE + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(_IN_SIZE + 1)
    if len(data) > _IN_SIZE:
        raise UsageError(f"{path}: more than {_IN_SIZE >> 20} MiB; no test run takes that")
    return data


def _written(data: bytes, path: str | None) -> bytes:
    """Write a result to its file; returned is what is to be printed."""
    if path == "-":
        return data
    if path is not None:
        with open(path, "wb") as file:
            file.write(data)
    return b""


def _show_single(result: TestRun, data: bytes, ctx: bytes, repeat: int) -> None:
    for title, content in (("Program's packet afterwards", data), ("Context afterwards", ctx)):
        if content:
            click.echo(f"{title} ({len(content)} bytes):")
            output.lines(hex_dump(content))
    average = " (average)" if repeat > 1 else ""
    click.echo(f"Return value: {result.retval}, duration{average}: {result.duration}ns")
    click.echo()


def hex_dump(data: bytes) -> Iterator[str]:
    """Sixteen bytes a line, with offset and text."""
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{at:07x} {part.hex(' '):<47}  {text}"
