"""`bombus feature list`: the spec as a table."""

from __future__ import annotations

import click

from bombus.cli import output
from bombus.errors import UsageError
from bombus.spec.version import KernelVersion


@click.group()
def feature() -> None:
    """Every BPF feature with the kernel version that brought it."""


@feature.command("list")
@click.argument("words", nargs=-1)
@click.option("--kind", help="Only one kind, such as helper, map_type or instruction.")
@click.option("--kernel", help="Only what this kernel version has, such as 5.15.")
@click.option("--since", "since_", help="Only what came after this version.")
@output.json_options
def list_(words: tuple[str, ...], kind: str | None, kernel: str | None, since_: str | None) -> None:
    """Print program types, attach types, map types, helpers, commands, instructions and more.

    WORDS filter by name: `bombus feature list ringbuf`.
    """
    from bombus.spec.features import FEATURES

    kinds = sorted({row.kind for row in FEATURES})
    if kind is not None and kind not in kinds:
        raise UsageError(f"no kind {kind!r}; there are {', '.join(kinds)}")
    at_most = KernelVersion.parse(kernel) if kernel else None
    after = KernelVersion.parse(since_) if since_ else None
    rows = [
        row
        for row in FEATURES
        if (kind is None or row.kind == kind)
        and (at_most is None or row.since <= at_most)
        and (after is None or row.since > after)
        and all(word.lower() in row.name.lower() for word in words)
    ]
    if output.as_json():
        output.print_json(
            [{"kind": r.kind, "name": r.name, "id": r.id, "since": str(r.since), "doc": r.doc} for r in rows]
        )
        return
    output.table(
        f"{len(rows)} features",
        ["kind", "name", "id", "since", "what it is"],
        [(r.kind, r.name, "" if r.id is None else r.id, r.since, r.doc) for r in rows],
        right=["id"],
    )
