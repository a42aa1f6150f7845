"""`bombus prog dump`: instructions of loaded programs and of objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import live, output
from bombus.cli.words import Words
from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.kernel.handles import Program
    from bombus.loader.load import Loaded
    from bombus.object.model import Object

_XLATED = ("file", "opcodes", "visual", "linum")
_JITED = ("file", "opcodes", "linum")


def flags(words: Words, known: tuple[str, ...]) -> tuple[str, set[str]]:
    """`file F`, or any of `opcodes`, `linum`, `visual`: the file and the words."""
    path, found = "", set()
    while words:
        word = words.accept(*known)
        if not word:
            words.refuse(*(f"{w} FILE" if w == "file" else w for w in known))
        elif word == "file":
            if not words:
                raise UsageError("file: which one?")
            path = words.take("FILE")
        else:
            found.add(word)
    if path and found:
        raise UsageError("file writes the instructions as they are; it does not go with other words")
    if "visual" in found and "opcodes" in found:
        raise UsageError("the graph of visual has no place for opcodes")
    return path, found


def is_live(words: Words) -> bool:
    """Whether the words name a loaded program rather than a file."""
    return len(words) > 1 and words.looking_at(*live.PROG_KEYS) and not Path(words.peek()).exists()


def _write(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)
    output.done()


def dump_live(words: Words, which: str) -> None:
    """`bpftool prog dump xlated|jited PROG ...`."""
    programs = live.items("prog", words)
    path, chosen = flags(words, _XLATED if which == "xlated" else _JITED)
    several = len(programs) > 1
    if several and (path or "visual" in chosen):
        raise UsageError("several programs match; choose one by its id")
    rows: list[Any] = []
    for number, item in enumerate(programs):
        with item, _program(item) as program:
            if path:
                _write(path, _code(program, which))
                return
            if output.as_json():
                insns = _rows(program, which, chosen)
                if several:
                    from bombus.cli.progshow import header_json

                    rows.append(header_json(item) | {"insns": insns})
                else:
                    rows = insns
                continue
            if several:
                from bombus.cli.progshow import header_text

                click.echo(header_text(item))
            output.lines(_lines(program, which, chosen))
            if several and number < len(programs) - 1:
                click.echo()
    if output.as_json():
        output.print_json(rows)


def _program(item: live.Item) -> Program:
    from bombus.kernel.handles import Program as Handle

    return Handle(item.kernel, os.dup(item.fd))


def _code(program: Program, which: str) -> bytes:
    data = program.xlated() if which == "xlated" else program.jited()
    if not data:
        raise UsageError(_nothing(which))
    return data


def _nothing(which: str) -> str:
    if which == "xlated":
        return "the kernel shows no instructions: is kernel.kptr_restrict set, or a capability missing?"
    return "the kernel shows no machine code: the program is not compiled, or kernel.kptr_restrict hides it"


def _rows(program: Program, which: str, chosen: set[str]) -> Any:
    if which == "jited":
        from bombus.cli import jited

        return jited.as_rows(program, chosen)
    if "visual" in chosen:
        return None  # as bpftool
    from bombus.cli.xlated import as_rows

    _code(program, which)
    return as_rows(program, chosen)


def _lines(program: Program, which: str, chosen: set[str]) -> Iterator[str]:
    if which == "jited":
        from bombus.cli import jited

        return jited.as_text(program, chosen)
    _code(program, which)
    if "visual" in chosen:
        from bombus.cli.graph import graph

        return graph(program)
    from bombus.cli.xlated import as_text

    return as_text(program, chosen)


def dump_object(
    words: Words, name: str | None, prog_type: str | None, kernel_name: str, btf: str | None, which: str = "xlated"
) -> None:
    """`prog dump xlated|jited OBJ`: load an object and print its programs."""
    from bombus.cli.source import open_program
    from bombus.kernel.handles import prog_type_of
    from bombus.kernels import open_kernel
    from bombus.loader.load import load

    obj = words.take("OBJ or PROG")
    path, chosen = flags(words, _XLATED if which == "xlated" else _JITED)
    raw_btf = None
    if btf:
        from bombus.cli.inspect import read_btf

        raw_btf = read_btf(btf).raw
    opened = open_program(obj)
    options: dict[str, Any] = {"prog_type": prog_type_of(prog_type).name if prog_type else "", "pin_root": ""}
    if raw_btf is not None:
        options["btf"] = raw_btf
    if name:
        options["programs"] = [name]
    kernel = open_kernel(kernel_name, btf=raw_btf, engine="native" if which == "jited" else "fast")
    with load(opened, kernel, **options) as loaded:
        if which == "jited":
            _compile(loaded)
        if len(loaded.programs) != 1 and (path or "visual" in chosen):
            word = "file" if path else "visual"
            raise UsageError(f"{word} takes one program: choose it with --prog: {', '.join(loaded.programs)}")
        if path:
            Path(path).write_bytes(_code(next(iter(loaded.programs.values())), which))
            return
        if output.as_json():
            found = {n: _rows(p, which, chosen) for n, p in loaded.programs.items()}
            output.print_json(found[name] if name else found)
            return
        for number, (each, program) in enumerate(loaded.programs.items()):
            if len(loaded.programs) > 1:
                click.echo(f"{chr(10) if number else ''}{each}: {program.type.short}")
            output.lines(_lines(program, which, chosen))


def _compile(loaded: Loaded) -> None:
    """A user kernel compiles with the first run."""
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

    kernel = loaded.kernel
    if isinstance(kernel, UserKernel):
        for program in loaded.programs.values():
            prog = kernel.object("BPF_PROG_LOAD", program.fd, "prog")
            assert isinstance(prog, Prog)
            prog.compiled.prepare()


def dump_asm(words: Words, name: str | None) -> None:
    """`prog dump asm OBJ`: functions as they were compiled."""
    from bombus.cli.asmdump import function_rows, function_text
    from bombus.cli.source import open_program

    obj = words.take("OBJ")
    path, chosen = flags(words, ("file", "opcodes", "linum"))
    if path:
        raise UsageError("asm prints text; redirect it")
    opened = open_program(obj)
    names = _functions(opened, name)
    if output.as_json():
        output.print_json([function_rows(opened, opened.functions[each], chosen) for each in names])
        return
    section = ""
    for each in names:
        function = opened.functions[each]
        if function.section != section:
            section = function.section
            click.echo(f"Disassembly of section {section}:")
            click.echo()
        output.lines(function_text(opened, function, chosen))
        click.echo()


def _functions(obj: Object, name: str | None) -> list[str]:
    from bombus.object.relocate import reachable
    from bombus.replay import choose_program

    if name is None:
        return sorted(obj.functions, key=lambda each: (obj.functions[each].section, obj.functions[each].start))
    return list(reachable(choose_program(obj, name), obj.functions))
