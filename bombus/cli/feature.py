"""`bombus feature list`: the spec as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bombus.cli import output
from bombus.errors import UsageError
from bombus.spec.version import KernelVersion

if TYPE_CHECKING:
    from bombus.spec.features import Feature


@click.group()
def feature() -> None:
    """Every BPF feature with the kernel version that brought it."""


@feature.command("list")
@click.argument("words", nargs=-1)
@click.option("--kind", "kinds", multiple=True, metavar="KIND",
              help="Only this kind, such as helper, map_type or flag; may be given more than once.")
@click.option("--kernel", help="Only what this kernel version has, such as 5.15.")
@click.option("--since", "since_", help="Only what came after this version.")
@output.json_options
def list_(words: tuple[str, ...], kinds: tuple[str, ...], kernel: str | None, since_: str | None) -> None:
    """Print program types, attach types, map types, helpers, commands, kfuncs, instructions and more.

    WORDS filter by name: `bombus feature list ringbuf`. The kind flag stands for all kinds of flags.
    """
    from bombus.spec.features import FEATURES

    known = sorted({row.kind for row in FEATURES})
    wanted: set[str] = set()
    for kind in kinds:
        matches = [name for name in known if kind == name or (kind == "flag" and name.endswith("_flag"))]
        if not matches:
            raise UsageError(f"no kind {kind!r}; there are {', '.join(known)}, and flag for all flags")
        wanted.update(matches)
    at = KernelVersion.parse(kernel) if kernel is not None else None
    after = KernelVersion.parse(since_) if since_ is not None else None
    rows = [
        row
        for row in FEATURES
        if (not wanted or row.kind in wanted)
        and (at is None or row.in_kernel(at))
        and (after is None or row.since > after)
        and all(word.lower() in row.name.lower() for word in words)
    ]
    if output.as_json():
        output.print_json([_json(row) for row in rows])
        return
    if not rows:
        output.lines(["0 features"])
        return
    output.table(
        f"{len(rows)} features" if len(rows) > 1 else "1 feature",
        ["kind", "name", "id", "since", "what it is"],
        [(r.kind, r.name, "" if r.id is None else r.id, _age(r), r.doc) for r in rows],
        right=["id"],
    )


def _age(row: Feature) -> str:
    return str(row.since) if row.until is None else f"{row.since}, gone in {row.until}"


def _json(row: Feature) -> dict[str, object]:
    found: dict[str, object] = {"kind": row.kind, "name": row.name, "id": row.id, "since": str(row.since)}
    if row.until is not None:
        found["until"] = str(row.until)
    return found | {"doc": row.doc}
