"""`bombus gen object`, `bombus gen min_core_btf`: files made of other files, with bpftool's argument order."""

from __future__ import annotations

from pathlib import Path

import click

from bombus.cli import output


@click.group()
def gen() -> None:
    """Link objects, make minimal BTF for CO-RE."""


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
