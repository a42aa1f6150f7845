"""`bombus trace OBJ`: attach everything, show events as they come and maps at the end."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import output
from bombus.cli.stopping import Stop, stopping
from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.cli.values import Cells
    from bombus.kernel.printk import PrintkRow
    from bombus.loader.events import EventType
    from bombus.loader.load import Loaded
    from bombus.trace import Event, Session

_RAW, _RAW_TEXT = 16, 72  # bytes of an untyped event that are shown
_SLICE = 0.1  # seconds between two looks at the clock, signals and prints


@click.command("trace")
@click.argument("obj", metavar="OBJ", type=click.Path(exists=True, dir_okay=False))
@click.option("--prog", "names", multiple=True, metavar="NAME", help="Only these programs (may be given again).")
@click.option("--kernel", "kernel_name", default="linux", show_default=True, metavar="KERNEL",
              help="linux (needs root), user or user:VERSION.")
@click.option("--duration", type=float, metavar="S", help="Stop after so many seconds.")
@click.option("--count", type=int, metavar="N", help="Stop after so many events.")
@click.option("--pid", "pids", multiple=True, type=int, metavar="PID",
              help="Trace only this process: sets the object's target_pid, targ_tgid, ...")
@click.option("--cgroup", metavar="DIR",
              help="Trace only tasks of this cgroup: sets target_cgroup, ..., or filter_cg and a cgroup array.")
@click.option("--set", "data", multiple=True, metavar="VAR=VALUE", help="Set a global variable before the load.")
@click.option("--type", "types", multiple=True, metavar="MAP=TYPE",
              help="The type of a buffer's events: a struct of the object's BTF, or C ('{ u64 ts; char comm[16]; }').")
@click.option("--pages", default=64, show_default=True, metavar="N", help="Pages of each CPU's perf ring.")
@click.option("--limit", default=20, show_default=True, metavar="N", help="Rows of each map to print at the end.")
@click.option("--no-maps", is_flag=True, help="Print no maps at the end.")
@output.json_options
def trace(
    obj: str, names: tuple[str, ...], kernel_name: str, duration: float | None, count: int | None,
    pids: tuple[int, ...], cgroup: str | None, data: tuple[str, ...], types: tuple[str, ...], pages: int, limit: int,
    no_maps: bool,
) -> None:  # fmt: skip
    """Load an object (or a program in Python or C), attach its programs, show what they tell until Ctrl-C.

    Events of ring and perf buffers and bpf_printk lines come as a table, or with -j as one JSON object a line. At the
    end histograms and other maps are printed, and everything is detached.
    """
    if duration is not None and duration < 0:
        raise UsageError(f"--duration {duration}: seconds from 0 on")
    if count is not None and count < 1:
        raise UsageError(f"--count {count}: one event is the least")
    from bombus.cli.settings import variables
    from bombus.cli.source import open_program
    from bombus.kernels import open_kernel
    from bombus.loader.load import load
    from bombus.trace import Session
    from bombus.trace.session import cgroup_settings, enter_cgroup, pid_settings

    opened = open_program(obj)
    kernel = open_kernel(kernel_name)
    chosen: dict[str, Any] = {**pid_settings(opened, pids), **variables(opened, data)}
    if cgroup is not None:
        chosen |= cgroup_settings(opened, cgroup)
    for name in names:
        if all(program.name != name for program in opened.programs):
            raise UsageError(f"no program {name!r} in {opened.name}; it has "
                             f"{', '.join(program.name for program in opened.programs) or 'none'}")  # fmt: skip
    wanted = list(names) or None
    with _until_pipe_breaks(), load(opened, kernel, programs=wanted, data=chosen, pin_root="") as loaded, \
            Session(loaded, _pairs(types), pages=pages) as session:  # fmt: skip
        if cgroup is not None:
            enter_cgroup(loaded, cgroup)
        links = loaded.attach()
        _say_attached(loaded, links)
        view: Json | Table = Json() if output.as_json() else Table(loaded)
        if _run_iterators(loaded, links) and not session.talks:
            return  # nothing else will come
        with stopping() as stop:
            enough = _stream(session, view, stop, duration, count)
        for link in links.values():
            link.close()
        if not enough:
            _rest(session, view)
        _finish(loaded, session, view.shown, limit, maps=not no_maps)


@contextlib.contextmanager
def _until_pipe_breaks() -> Iterator[None]:
    """The reader of our output has seen enough: that is an end like any other."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, type_name = text.partition("=")
        if not (name and equals and type_name):
            raise UsageError(f"--type {text}: give MAP=TYPE")
        found[name] = type_name
    return found


def _run_iterators(loaded: Loaded, links: dict[str, Any]) -> bool:
    """Print what iterator programs write, once. Whether there are no other programs."""
    names = [name for name in links if loaded.program_spec(name).section.startswith("iter")]
    for name in names:
        data = links[name].read_iterator()
        kind = _row_type(loaded, data)
        if kind is not None:
            from bombus.trace.values import jsonable

            size = kind.layout.size
            rows: list[Any] = [jsonable(kind.layout, data[at : at + size]) for at in range(0, len(data), size)]
        else:
            rows = data.decode(errors="replace").splitlines()
        for row in rows:
            if output.as_json():
                what = {"iterator": name, "row" if kind is None else "event": row}
                sys.stdout.write(json.dumps(what, separators=(",", ":")) + "\n")
            else:
                text = output.clean(row) if isinstance(row, str) else "  ".join(f"{k}={v}" for k, v in row.items())
                sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return len(names) == len(links)


def _row_type(loaded: Loaded, data: bytes) -> EventType | None:
    """The struct that an iterator writes with bpf_seq_write, as the object declares it; None for text."""
    if not data or all(byte >= 0x20 or byte in b"\t\n\r" for byte in data):
        return None
    from bombus.loader.events import declared_types

    fit = [kind for kind in declared_types(loaded) if kind.layout.size and not len(data) % kind.layout.size]
    return fit[0] if len(fit) == 1 else None


def _say_attached(loaded: Loaded, links: dict[str, Any]) -> None:
    rest = [name for name in loaded.programs if name not in links]
    if not links:
        sections = ", ".join(f"{name} ({loaded.program_spec(name).section})" for name in rest) or "no program"
        raise UsageError(f"nothing can be attached by its section alone: {sections}")
    if output.as_json():
        return
    click.echo(f"Attached {', '.join(links)}. Ctrl-C ends." if sys.stdin.isatty() else f"Attached {', '.join(links)}.",
               err=True)  # fmt: skip
    for name in rest:
        click.echo(f"Not attached: {name}: its section {loaded.program_spec(name).section!r} does not say where to.",
                   err=True)  # fmt: skip


def _stream(
    session: Session, view: Json | Table, stop: Stop, duration: float | None, count: int | None
) -> bool:  # fmt: skip
    """True when `count` events came."""
    end = None if duration is None else time.monotonic() + duration
    seen = 0
    while not stop.asked:
        events = session.events()
        prints = session.printed()
        if count is not None and seen + len(events) > count:
            events = events[: count - seen]
        seen += len(events)
        view.show(events, prints)
        left = None if end is None else end - time.monotonic()
        if count is not None and seen >= count:
            return True
        if left is not None and left <= 0:
            return False
        if not events and not prints:
            session.wait(_SLICE if left is None else min(_SLICE, left))
    return False


def _rest(session: Session, view: Json | Table) -> None:
    """What came between the last look and the detaching."""
    while events := session.events():
        view.show(events, [])
    view.show([], session.printed())


class Json:
    """One JSON object a line."""

    def __init__(self) -> None:
        self.shown = 0  # events and printed lines

    def show(self, events: list[Event], prints: list[PrintkRow]) -> None:
        from bombus.trace.values import jsonable

        self.shown += len(events) + len(prints)
        out = sys.stdout
        for event in events:
            row: dict[str, Any] = {"map": event.map, "time": round(event.time, 6)}
            if event.type is None:
                row["data"] = event.data.hex()
            else:
                row["event"] = jsonable(event.type.layout, event.data)
            out.write(json.dumps(row, separators=(",", ":")) + "\n")
        for line in prints:
            row = {"printk": line.text, "task": line.task, "pid": line.pid, "cpu": line.cpu, "time": line.time}
            if line.lost:
                row["lost"] = line.lost
            out.write(json.dumps(row, separators=(",", ":")) + "\n")
        if events or prints:
            out.flush()


class Table:
    """Lines with columns: a heading whenever the source changes, columns that grow with what they hold."""

    def __init__(self, loaded: Loaded) -> None:
        from bombus.loader.events import is_buffer

        self.shown = 0
        self._cells: dict[tuple[str, int], Cells | None] = {}
        self._widths: dict[tuple[str, int], list[int]] = {}
        self._last: tuple[str, int] | None = None
        self._told: set[str] = set()  # buffers whose events have no type
        self._several = sum(is_buffer(item) for item in loaded.maps.values()) > 1

    def show(self, events: list[Event], prints: list[PrintkRow]) -> None:
        self.shown += len(events) + len(prints)
        for event in events:
            type_id = event.type.type_id if event.type is not None else 0
            key = (event.map, type_id)
            if key not in self._cells:
                from bombus.cli.values import Cells

                kind = event.type
                self._cells[key] = Cells("data", kind.layout, kind.btf, kind.type_id) if kind is not None else None
            cells = self._cells[key]
            row = cells.row(event.data) if cells is not None else _raw(event.data)
            titles = cells.titles if cells is not None else [f"{event.map} ({len(event.data)} bytes)", "text"]
            if cells is None and event.data and event.map not in self._told:
                self._told.add(event.map)
                click.echo(f"{event.map}: the object does not say what its events are: --type {event.map}=STRUCT does",
                           err=True)  # fmt: skip
            self._row(key, ["time", *titles], [_clock(event.time), *row])
        for line in prints:
            task = output.clean(line.task)
            where = f"{task}-{line.pid} [{line.cpu}] {line.time:.6f}" if task else "bpf_printk"
            text = "\n".join(map(output.clean, line.text.split("\n")))
            text += f"  [{line.lost} lines lost before]" if line.lost else ""
            sys.stdout.write(f"{where}: {text}\n")
        if events or prints:
            sys.stdout.flush()

    def _row(self, key: tuple[str, int], titles: list[str], row: list[str]) -> None:
        widths = self._widths.setdefault(key, [len(title) for title in titles])
        write = sys.stdout.write
        row = [output.clean(cell) for cell in row]
        for i, cell in enumerate(row[:-1]):
            widths[i] = max(widths[i], min(len(cell), 48))
        if self._last != key:
            if self._last is not None:
                write("\n")
            if self._several:
                write(f"{key[0]}\n")
            write(_line(titles, widths).upper() + "\n")
            self._last = key
        write(_line(row, widths) + "\n")


def _line(cells: list[str], widths: list[int]) -> str:
    parts = [f"{cell:<{width}}" for cell, width in zip(cells[:-1], widths, strict=False)]
    return "  ".join([*parts, cells[-1]]).rstrip()


def _raw(data: bytes) -> list[str]:
    """The beginning of an event without a type, as hexadecimal and as text."""
    if not data:
        return ["(empty)", ""]
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data.rstrip(b"\0")[:_RAW_TEXT])
    return [data[:_RAW].hex(" ") + (" ..." if len(data) > _RAW else ""), text]


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when)) + f".{int(when % 1 * 1000):03d}"


def _finish(loaded: Loaded, session: Session, shown: int, limit: int, *, maps: bool) -> None:
    lost = session.lost()
    if output.as_json():
        from bombus.trace.report import as_json

        summary: dict[str, Any] = {"shown": shown, "events": session.counts, "printk_lines": session.prints,
                                   "lost": lost}  # fmt: skip
        if maps:
            summary |= as_json(loaded)
        sys.stdout.write(json.dumps(summary, separators=(",", ":"), default=str) + "\n")
        sys.stdout.flush()
        return
    if session.talks:
        click.echo(f"{shown} events" if shown != 1 else "1 event", err=True)
    for name, number in lost.items():
        click.echo(f"{number} events lost ({name})", err=True)
    if maps:
        from bombus.cli.tracemaps import show_maps

        show_maps(loaded, limit)
