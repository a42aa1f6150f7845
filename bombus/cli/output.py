"""How commands speak: text for people, or JSON (-j compact, -p indented) with bpftool's field names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bombus.errors import BombusError

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

_mode = ""  # "", "json" or "pretty": one command runs per process call, see `main`


def _choose(mode: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def chosen(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        global _mode
        if value:
            _mode = mode

    return chosen


_COMMON: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True}


def json_options(function: F) -> F:
    """Adds -j/--json and -p/--pretty to a command."""
    function = click.option("-p", "--pretty", callback=_choose("pretty"), help="Print indented JSON.", **_COMMON)(
        function
    )
    return json_option(function)


def json_option(function: F) -> F:
    """Adds -j/--json alone, for commands whose -p means something else."""
    return click.option("-j", "--json", callback=_choose("json"), help="Print JSON.", **_COMMON)(function)


# bpftool's options that say how, by name -> (letter, help).
_LIVE = {
    "bpffs": ("f", "Show the paths in bpf file systems that pin an object."),
    "mapcompat": ("m", "Take legacy map definitions with fields that are not known."),
    "nomount": ("n", "Never mount a bpf file system to pin in."),
    "debug": ("d", "Show the verifier's log of what is loaded."),
    "legacy": ("l", "Take objects of before libbpf 1.0 (they always are taken)."),
}
_flags: set[str] = set()


def live_options(function: F) -> F:
    """Adds bpftool's common options, -j and -p among them, to a command."""

    def remember(_ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and param.name:
            _flags.add(param.name)

    for name, (letter, text) in reversed(_LIVE.items()):
        function = click.option(f"-{letter}", f"--{name}", name, is_flag=True, expose_value=False, is_eager=True,
                                callback=remember, help=text)(function)  # fmt: skip
    return json_options(function)


def flag(name: str) -> bool:
    """Whether one of `live_options` was given."""
    return name in _flags


def as_json() -> bool:
    return bool(_mode)


def reset() -> None:
    """Forget the mode (before another command line in the same process)."""
    global _mode, _sink
    _mode = ""
    _sink = None
    _flags.clear()


class Raw(str):
    """Text that stands in the output of `pretty` as it is, without quotes."""

    __slots__ = ()


_sink: list[object] | None = None  # where a batch wants the results


def sink(into: list[object] | None) -> None:
    """Collect what `print_json` would print; None: print again."""
    global _sink
    _sink = into


def print_json(value: object) -> None:
    if _sink is not None:
        _sink.append(value)
    elif _mode == "pretty":
        click.echo(pretty(value))
    else:
        click.echo(_compact(value))


def _compact(value: object) -> str:
    import json  # by those alone who print it: a millisecond of a short command

    return json.dumps(value, separators=(",", ":"), default=str)


def print_rows(rows: Iterable[object]) -> None:
    """An array, each element printed as it comes. An error on the way becomes the last element and the exit code 1."""
    if _sink is not None:
        _sink.append(list(rows))
        return
    write = sys.stdout.write
    write("[")
    count, failed = 0, False

    def put(row: object) -> None:
        text = pretty(row, 1) if _mode == "pretty" else _compact(row)
        write(("," if count else "") + text)

    try:
        for row in rows:
            put(row)
            count += 1
    except (BombusError, OSError) as error:
        put({"error": str(error)})
        count, failed = count + 1, True
    write(("\n]" if count and _mode == "pretty" else "]") + "\n")
    if failed:
        raise click.exceptions.Exit(1)


def done() -> None:
    """What a command without a result says: nothing, or null for JSON."""
    if as_json():
        print_json(None)


def pretty(value: object, depth: int = 0) -> str:
    """JSON as bpftool indents it: members on lines of their own, elements of arrays one after the other."""
    import json

    line = "\n" + "    " * depth
    if isinstance(value, dict):
        parts = [f'{line}    {json.dumps(str(key))}: {pretty(item, depth + 1)}' for key, item in value.items()]
        return "{" + ",".join(parts) + (line if parts else "") + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(pretty(item, depth + 1) for item in value) + (line if value else "") + "]"
    if isinstance(value, Raw):
        return str(value)
    return json.dumps(value, default=str)


def error(text: str) -> None:
    """Report an error: one line on stderr, or {"error": ...} on stdout as bpftool does."""
    if as_json():
        print_json({"error": text})
    else:
        click.echo(f"bombus: {text}", err=True)


def note(text: str) -> None:
    """Something worth knowing beside the result: one line on stderr, nothing with JSON."""
    if not as_json():
        click.echo(text, err=True)


def clean(text: str) -> str:
    """Text of others (names of processes, files, functions) without what a terminal would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\t" else _escaped(c) for c in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def lines(texts: Iterable[str]) -> None:
    """Print many lines fast."""
    write = sys.stdout.write
    for text in texts:
        write(text + "\n")


def console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 1000  # a file or a pipe has no edge to wrap at
    return Console(highlight=False, markup=False, emoji=False, width=width, soft_wrap=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print rows as a table; columns named in `right` are aligned to the right."""
    from bombus.cli.tables import render

    width = None
    if sys.stdout.isatty():
        import shutil

        width = shutil.get_terminal_size().columns
    cells = (["\n".join(map(clean, str(cell).split("\n"))) for cell in row] for row in rows)
    if title:
        click.echo(title)
    drawn = render(columns, cells, right=right, width=width, bold=width is not None and styled())
    lines(["", *drawn, ""])


def styled() -> bool:
    """Whether a terminal may get colours (no-color.org)."""
    return not os.environ.get("NO_COLOR")


def style(text: str, **how: Any) -> str:
    """Text for `click.echo`, which leaves the style out where there is no terminal. how: as of `click.style`."""
    return click.style(text, **how) if styled() else text
