"""`bombus prog dump xlated|asm OBJ`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bombus.cli import output
from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.object.model import Object

_WORDS = ("opcodes", "linum")


@click.group()
def prog() -> None:
    """Programs of an object."""


@prog.group()
def dump() -> None:
    """Print instructions."""


def _flags(words: tuple[str, ...]) -> tuple[str, set[str]]:
    """FILE-writing and the words of bpftool: `file F`, `opcodes`, `linum`."""
    path, flags = "", set()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "file":
            if not rest:
                raise UsageError("file: which one?")
            path = rest.pop(0)
        elif word in _WORDS:
            flags.add(word)
        else:
            raise UsageError(f"expected 'file FILE', {', '.join(map(repr, _WORDS))}, got {word!r}")
    if path and flags:
        raise UsageError("file writes the instructions as they are; it does not go with other words")
    return path, flags


@dump.command("xlated")
@click.argument("obj", metavar="OBJ", type=click.Path(exists=True, dir_okay=False))
@click.argument("words", nargs=-1, metavar="[file FILE | opcodes | linum]")
@click.option("--prog", "name", metavar="NAME", help="Only this program.")
@click.option("--type", "prog_type", metavar="TYPE", help="Program type for sections that do not say it, such as xdp.")
@click.option("--kernel", "kernel_name", default="user", show_default=True, metavar="KERNEL",
              help="Which kernel loads it: user, user:VERSION or linux (its own rewritten code; needs root).")
@click.option("--btf", metavar="FILE|vmlinux",
              help="The kernel's BTF for CO-RE relocations ('vmlinux': this machine's).")
@output.json_options
def xlated(
    obj: str, words: tuple[str, ...], name: str | None, prog_type: str | None, kernel_name: str, btf: str | None
) -> None:
    """Load an object and print its programs as the kernel keeps them, in the form of `bpftool prog dump xlated`."""
    from bombus.cli.source import open_program
    from bombus.cli.xlated import as_rows, as_text
    from bombus.kernel.handles import prog_type_of
    from bombus.kernels import open_kernel
    from bombus.loader.load import load

    path, flags = _flags(words)
    raw_btf = None
    if btf:
        from bombus.cli.inspect import read_btf

        raw_btf = read_btf(btf).raw
    opened = open_program(obj)
    options: dict[str, Any] = {
        "prog_type": prog_type_of(prog_type).name if prog_type else "", "pin_root": ""
    }
    if raw_btf is not None:
        options["btf"] = raw_btf
    if name:
        options["programs"] = [name]
    kernel = open_kernel(kernel_name, btf=raw_btf)
    with load(opened, kernel, **options) as loaded:
        if path:
            if len(loaded.programs) != 1:
                raise UsageError(f"file takes one program: choose it with --prog: {', '.join(loaded.programs)}")
            with open(path, "wb") as file:
                file.write(next(iter(loaded.programs.values())).xlated())
            return
        if output.as_json():
            found = {n: as_rows(p, flags) for n, p in loaded.programs.items()}
            output.print_json(found[name] if name else found)
            return
        for number, (each, program) in enumerate(loaded.programs.items()):
            if len(loaded.programs) > 1:
                click.echo(f"{chr(10) if number else ''}{each}: {program.type.short}")
            output.lines(as_text(program, flags))


@dump.command("asm")
@click.argument("obj", metavar="OBJ", type=click.Path(exists=True, dir_okay=False))
@click.argument("words", nargs=-1, metavar="[opcodes | linum]")
@click.option("--prog", "name", metavar="NAME", help="Only this program and what it calls.")
@output.json_options
def asm(obj: str, words: tuple[str, ...], name: str | None) -> None:
    """Print functions as they were compiled, in llvm-objdump's syntax, with their relocations. Nothing is loaded."""
    from bombus.cli.asmdump import function_rows, function_text
    from bombus.cli.source import open_program

    path, flags = _flags(words)
    if path:
        raise UsageError("asm prints text; redirect it")
    opened = open_program(obj)
    names = _functions(opened, name)
    if output.as_json():
        output.print_json([function_rows(opened, opened.functions[each], flags) for each in names])
        return
    section = ""
    for each in names:
        function = opened.functions[each]
        if function.section != section:
            section = function.section
            click.echo(f"Disassembly of section {section}:")
            click.echo()
        output.lines(function_text(opened, function, flags))
        click.echo()


def _functions(obj: Object, name: str | None) -> list[str]:
    from bombus.object.relocate import reachable
    from bombus.replay import choose_program

    if name is None:
        return sorted(obj.functions, key=lambda each: (obj.functions[each].section, obj.functions[each].start))
    return list(reachable(choose_program(obj, name), obj.functions))
