"""`bombus gen`: files made of other files; those that bpftool makes too with its argument order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bombus.cli import output


@click.group()
def gen() -> None:
    """Link objects, make vmlinux.h, minimal BTF for CO-RE, typed loaders of objects, typed kernel structs."""


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
    from bombus.errors import UsageError
    from bombus.object.read import read_object
    from bombus.skeleton.generate import skeleton as make

    if words:
        if len(words) != 2 or words[0] != "name" or name:
            raise UsageError(f"expected 'name NAME' after the object, got {' '.join(words)!r}")
        name = words[1]
    if name is not None and not name.isidentifier():
        raise UsageError(f"{name!r} is no name for a class")
    data = program_bytes(source)
    obj = read_object(data, name=Path(source).stem)
    if lang == "c":
        from bombus.skeleton.header import header, identifier

        for option, word in (("path", "--object"), ("types", "--type"), ("all_types", "--all-types")):
            if options.get(option):
                raise UsageError(f"{word} is for Python")
        text = header(obj, data, name=name or identifier(Path(source).stem))
    else:
        text = make(obj, data, name=name or "", **options)
    if target:
        Path(target).write_text(text)
    else:
        click.echo(text, nl=False)
    if output.as_json() and target:
        output.print_json({"header" if lang == "c" else "module": target})


@gen.command("vmlinux")
@click.option("--btf", "source", metavar="FILE|vmlinux", default="vmlinux", show_default=True,
              help="BTF of a kernel: raw, or an ELF file; 'vmlinux' is the running kernel's.")  # fmt: skip
@click.option("--names", metavar="A,B,...", default="", help="Only these structs, unions, enums, enumerators, typedefs "
              "and functions, and what they need.")  # fmt: skip
@click.option("--lang", type=click.Choice(["c", "python"]), default="c", show_default=True,
              help="c: vmlinux.h; python: a module of typed structs for programs in Python.")  # fmt: skip
@click.option("-o", "--output", "target", type=click.Path(dir_okay=False), help="The file; by default it is printed.")
@output.json_options
def vmlinux(source: str, names: str, lang: str, target: str | None) -> None:
    """A kernel's types as vmlinux.h, or as a module of typed Python classes."""
    import gc

    from bombus.cli.inspect import read_btf
    from bombus.errors import UsageError

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if names and not wanted:
        raise UsageError("--names is empty")
    if output.as_json() and target is None:
        raise UsageError("the text goes to a file with -j and -p: add -o FILE")
    btf = read_btf(source)
    gc.disable()  # millions of small objects, of which none is garbage
    try:
        if lang == "c":
            from bombus.compiler.kernelheader import header_text

            text = header_text(btf, wanted)
        else:
            from bombus.compiler.kernelstructs import kernel_module, struct_names

            text = kernel_module(btf, wanted or struct_names(btf))
    finally:
        gc.enable()
    if target is None:
        click.echo(text, nl=False)
        return
    Path(target).write_text(text)
    if output.as_json():
        output.print_json({"file": target, "size": Path(target).stat().st_size})


@gen.command("headers")
@click.argument("target", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--btf", metavar="FILE|vmlinux", default="", help="Write vmlinux.h too, from this BTF.")
@output.json_options
def headers(target: str, btf: str) -> None:
    """Write the C headers that `bombus build` brings, for editors and for other builds (-I DIR)."""
    from bombus.cli.inspect import read_btf
    from bombus.compiler.headers import INCLUDE

    texts = {str(path.relative_to(INCLUDE)): path.read_text() for path in sorted(INCLUDE.rglob("*.h"))}
    if btf:
        from bombus.compiler.kernelheader import header_text

        texts["vmlinux.h"] = header_text(read_btf(btf))
    for name, text in texts.items():
        path = Path(target) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if output.as_json():
        output.print_json({"dir": target, "files": list(texts)})
