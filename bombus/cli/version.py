"""`bombus version`: as `bpftool version`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import click

from bombus.cli import output

LIKE = "7.1.0"  # the bpftool whose output the tests compare with; newer members are in docs/bpftool.md


@click.command("version")
@output.live_options
def version() -> None:
    """Versions of bombus and of the bpftool that it is like, and what optional parts are there."""
    import bombus

    features = {"capstone": find_spec("capstone") is not None, "llvmlite": find_spec("llvmlite") is not None,
                "libbpf_strict": True, "skeletons": True}  # fmt: skip
    if output.as_json():
        found: dict[str, Any] = {"version": bombus.__version__, "bpftool_version": LIKE, "features": features}
        output.print_json(found)
        return
    click.echo(f"bombus v{bombus.__version__}")
    click.echo(f"like bpftool v{LIKE}")
    click.echo("features: " + ", ".join(name for name, there in features.items() if there))
