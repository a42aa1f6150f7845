"""How commands speak: text for people, or JSON (-j compact, -p indented) with bpftool's field names."""

from __future__ import annotations

import json as _json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

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


def json_options(function: F) -> F:
    """Adds -j/--json and -p/--pretty to a command."""
    common: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True}
    function = click.option("-p", "--pretty", callback=_choose("pretty"), help="Print indented JSON.", **common)(
        function
    )
    return click.option("-j", "--json", callback=_choose("json"), help="Print JSON.", **common)(function)


def as_json() -> bool:
    return bool(_mode)


def reset() -> None:
    """Forget the mode (before another command line in the same process)."""
    global _mode
    _mode = ""


def print_json(value: object) -> None:
    indent = "\t" if _mode == "pretty" else None
    separators = (",", ": ") if indent else (",", ":")
    click.echo(_json.dumps(value, indent=indent, separators=separators, default=str))


def error(text: str) -> None:
    """Report an error: one line on stderr, or {"error": ...} on stdout as bpftool does."""
    if as_json():
        print_json({"error": text})
    else:
        click.echo(f"bombus: {text}", err=True)


def lines(texts: Iterable[str]) -> None:
    """Print many lines fast."""
    write = sys.stdout.write
    for text in texts:
        write(text + "\n")


def console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 1000  # a file or a pipe has no edge to wrap at
    return Console(highlight=False, width=width, soft_wrap=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print rows as a table; columns named in `right` are aligned to the right."""
    from rich import box
    from rich.table import Table

    out = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        out.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        out.add_row(*(str(cell) for cell in row))
    if title:
        click.echo(title)
    console().print(out)
