"""Maps at the end of `bombus trace`: pictures of histograms, stacks, tables with the largest counters first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bombus.cli import output
from bombus.cli.maps import show_table
from bombus.errors import KernelError

if TYPE_CHECKING:
    from bombus.loader.load import Loaded


_ENOTSUPP = 524


def show_maps(loaded: Loaded, limit: int) -> None:
    """Print what is not empty."""
    from bombus.trace.report import all_histograms, globals_of, is_table, pairs
    from bombus.trace.stacks import stacks_of

    values = {name: value for name, value in globals_of(loaded).items() if value}
    if values:
        click.echo()
        rows = [(name, output.clean(_short(value))) for name, value in values.items()]
        output.table("variables", ["variable", "value"], rows)
    stacks = stacks_of(loaded)
    shown = {one.map for one in stacks}
    for name, item in loaded.maps.items():
        if not is_table(loaded, name) or name in shown:
            continue
        try:
            found = pairs(item)
        except KernelError as error:
            if error.errno != _ENOTSUPP:  # maps of sockets, cgroups and the like give nothing out
                click.echo(f"{name}: cannot be read: {error}")
            continue
        if found:
            show_table(loaded, name, limit, found)
    for histogram in all_histograms(loaded):
        click.echo()
        click.echo(f"{histogram.name}{': ' + output.clean(histogram.label) if histogram.label else ''}")
        output.lines("  " + line for line in histogram.draw())
    for one in stacks[:limit]:
        click.echo()
        click.echo(f"{one.map}: {output.clean(one.key)}{': ' if one.key else ''}{one.value}")
        output.lines(f"    {output.clean(str(frame))}" for frame in one.frames)
    if len(stacks) > limit:
        click.echo(f"{len(stacks) - limit} more stacks, --limit {len(stacks)} shows them")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + " ..."
