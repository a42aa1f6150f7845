"""`bombus feature`: what kernels have for BPF, by the spec (`list`) or by asking one (`probe`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bombus.cli import output
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words
from bombus.errors import UsageError
from bombus.spec.version import KernelVersion

if TYPE_CHECKING:
    from bombus.spec.features import Feature


@noun("feature", "What kernels have for BPF: by version, or by probing one.", default="probe", aliases={})
def feature() -> None:
    pass


@verb(
    feature, "probe", "[kernel | dev NAME] [full] [unprivileged] [macros [prefix PREFIX]]",
    click.option("--kernel", "kernel_name", default="linux", show_default=True, metavar="KERNEL",
                 help="Which kernel: linux, user or user:VERSION."),
    click.option("--refresh", is_flag=True, help="Ask again, also when the answers were kept."),
)  # fmt: skip
def probe(words: Words, kernel_name: str, refresh: bool) -> None:
    """Ask a kernel what it has: program types, map types, helpers, instructions. The answers are kept.

    full: also helpers whose use the kernel notes in its log. macros: as #define lines for C.
    """
    from bombus.cli import probing

    probing.probe(words, kernel_name, refresh)


@verb(feature, "list_builtins", "{prog_types | map_types | attach_types | link_types | helpers}")
def list_builtins(words: Words) -> None:
    """Names that bombus knows, without asking a kernel."""
    from bombus.cli import probing

    probing.builtins(words)


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
