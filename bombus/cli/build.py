"""`bombus build`: source to a BPF object."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bombus.cli import output
from bombus.errors import DialectError, NotSupported, UsageError

if TYPE_CHECKING:
    from bombus.compiler.diagnostics import Diagnostic


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False))
@click.option("-o", "--output", "target_path", type=click.Path(dir_okay=False), help="Where the object goes; SOURCE "
              "with .o by default.")  # fmt: skip
@click.option("-O", "level", type=click.IntRange(1, 3), default=2, show_default=True, help="How much to optimise.")
@click.option("--target", type=click.Choice(["bpfel", "bpfeb"]), default="bpfel", show_default=True,
              help="Byte order of the kernel that will run it.")  # fmt: skip
@click.option("--mcpu", type=click.Choice(["v1", "v2", "v3", "v4"]), default="v3", show_default=True,
              help="Instructions that may be used.")  # fmt: skip
@click.option("--emit", type=click.Choice(["obj", "llvm"]), default="obj", show_default=True,
              help="obj: the object; llvm: the LLVM IR before optimisation.")  # fmt: skip
@output.json_options
def build(source: str, target_path: str | None, level: int, target: str, mcpu: str, emit: str) -> None:
    """Compile SOURCE, a program in typed Python, to an object file.

    The file is imported, so what it computes at module level is run; its functions are compiled. All errors in it are
    shown at once, each with its place.
    """
    path = Path(source)
    if path.suffix != ".py":
        raise NotSupported(f"building {path.suffix or 'this'} files", "only Python programs (.py) are built")
    goal = Path(target_path) if target_path else path.with_suffix(".ll" if emit == "llvm" else ".o")
    if goal.resolve() == path.resolve():
        raise UsageError(f"{goal} is the source itself")
    gc.disable()  # short and busy: collecting costs more than it gives back
    from bombus.compiler import build as compiler

    try:
        if emit == "llvm":
            from bombus.compiler.program import import_file

            data = compiler.module_text(import_file(source), target=target, cpu=mcpu).encode()
        else:
            data = compiler.build_file(source, target=target, cpu=mcpu, level=level)
    except DialectError as error:
        _show(error.diagnostics)
        raise click.exceptions.Exit(1) from None
    finally:
        gc.enable()
    goal.write_bytes(data)
    if output.as_json():
        output.print_json({"object": str(goal), "size": len(data)})


def _show(diagnostics: tuple[Diagnostic, ...]) -> None:
    if output.as_json():
        rows = [
            {
                "file": d.path, "line": d.line, "column": d.column, "end_column": d.end_column, "message": d.message,
                "help": d.hint,
            }
            for d in diagnostics
        ]  # fmt: skip
        output.print_json({"errors": rows})
        return
    for diagnostic in diagnostics:
        click.echo(str(diagnostic), err=True)
    count = len(diagnostics)
    click.echo(f"{count} error{'s' * (count > 1)}", err=True)
