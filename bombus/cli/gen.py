"""`bombus gen object`, `min_core_btf`, `skeleton`, `subskeleton`: files made of other files, with bpftool's argument
order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bombus.cli import output


@click.group()
def gen() -> None:
    """Link objects, make minimal BTF for CO-RE, typed loaders of objects."""


@gen.command("object")
@click.argument("target", metavar="OUTPUT", type=click.Path(dir_okay=False))
@click.argument("sources", metavar="INPUT...", nargs=-1, required=True, type=click.Path(dir_okay=False))
@output.json_options
def object_(target: str, sources: tuple[str, ...]) -> None:
    """Link BPF objects to one."""
    from bombus.object.link import link

    linked = link([(source, Path(source).read_bytes()) for source in sources])
    Path(target).write_bytes(linked)
    if output.as_json():
        output.print_json(None)


@gen.command("min_core_btf")
@click.argument("source", metavar="INPUT", type=click.Path(dir_okay=False))
@click.argument("target", metavar="OUTPUT", type=click.Path(dir_okay=False))
@click.argument("objects", metavar="OBJECT...", nargs=-1, required=True, type=click.Path(dir_okay=False))
@output.json_options
def min_core_btf(source: str, target: str, objects: tuple[str, ...]) -> None:
    """Keep of a kernel's BTF what the CO-RE relocations of some objects need."""
    from bombus.btf.ext import BtfExt
    from bombus.btf.minimize import minimize
    from bombus.btf.parse import Btf
    from bombus.elf.read import MAGIC, read_elf
    from bombus.errors import ObjectError

    def section(path: str, data: bytes, name: str) -> bytes:
        found = read_elf(data, path).section(name)
        if found is None or not found.data:
            raise ObjectError("no such section", section=name, path=path)
        return found.data

    raw = Path(source).read_bytes()
    kernel = Btf.parse(section(source, raw, ".BTF") if raw[:4] == MAGIC else raw)
    needs = []
    for path in objects:
        data = Path(path).read_bytes()
        needs.append((Btf.parse(section(path, data, ".BTF")), BtfExt.parse(section(path, data, ".BTF.ext"))))
    Path(target).write_bytes(minimize(kernel, needs).to_bytes())
    if output.as_json():
        output.print_json(None)


@gen.command("skeleton")
@click.argument("source", metavar="OBJECT|SOURCE", type=click.Path(exists=True, dir_okay=False))
@click.argument("words", metavar="[name NAME]", nargs=-1)
@click.option("--name", metavar="NAME", help="Name of the class (or C struct); from the file's name by default.")
@click.option("--lang", type=click.Choice(["python", "c"]), default="python", show_default=True,
              help="python: a module; c: a header for libbpf.")  # fmt: skip
@click.option("-o", "--output", "target", metavar="FILE", type=click.Path(dir_okay=False),
              help="Where it goes; standard output by default.")  # fmt: skip
@click.option("--object", "path", metavar="PATH",
              help="Do not embed the object: the module reads it from this path (relative: to the module).")
@click.option("--type", "types", metavar="NAME", multiple=True,
              help="Also this struct, union or enum of the object, of events for example.")
@click.option("--all-types", is_flag=True, help="Also every struct, union and enum that the object names.")
@output.json_options
def skeleton(
    source: str, words: tuple[str, ...], name: str | None, lang: str, target: str | None, path: str | None,
    types: tuple[str, ...], all_types: bool,
) -> None:  # fmt: skip
    """A typed loader of an object: maps, programs, links and variables as attributes."""
    _skeleton(source, words, name, lang, target, path=path or "", types=types, all_types=all_types)


@gen.command("subskeleton")
@click.argument("source", metavar="OBJECT|SOURCE", type=click.Path(exists=True, dir_okay=False))
@click.argument("words", metavar="[name NAME]", nargs=-1)
@click.option("--name", metavar="NAME", help="Name of the class; from the file's name by default.")
@click.option("-o", "--output", "target", metavar="FILE", type=click.Path(dir_okay=False),
              help="Where it goes; standard output by default.")  # fmt: skip
@output.json_options
def subskeleton(source: str, words: tuple[str, ...], name: str | None, target: str | None) -> None:
    """As skeleton, without the object: typed access to what something else has loaded (`CLASS.over(loaded)`)."""
    _skeleton(source, words, name, "python", target, embed=False)


def _skeleton(
    source: str, words: tuple[str, ...], name: str | None, lang: str, target: str | None, **options: Any
) -> None:
    from bombus.cli.source import program_bytes
    from bombus.errors import NotSupported, UsageError
    from bombus.object.read import read_object
    from bombus.skeleton.generate import skeleton as make

    if words:
        if len(words) != 2 or words[0] != "name" or name:
            raise UsageError(f"expected 'name NAME' after the object, got {' '.join(words)!r}")
        name = words[1]
    if name is not None and not name.isidentifier():
        raise UsageError(f"{name!r} is no name for a class")
    if lang == "c":
        raise NotSupported("gen skeleton --lang c", "bpftool gen skeleton makes headers for libbpf")
    data = program_bytes(source)
    text = make(read_object(data, name=Path(source).stem), data, name=name or "", **options)
    if target:
        Path(target).write_text(text)
    else:
        click.echo(text, nl=False)
    if output.as_json() and target:
        output.print_json({"module": target})
