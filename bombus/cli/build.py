"""`bombus build`: source to a BPF object."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bombus.cli import output
from bombus.errors import AsmError, CompileError, DialectError, NotSupported, UsageError

if TYPE_CHECKING:
    from bombus.compiler.c.diagnostics import CDiagnostic
    from bombus.compiler.diagnostics import Diagnostic

# Options by parameter name that not every kind of source has; a build refuses those that would do nothing.
_ONLY = {
    "level": (".py", ".c"), "mcpu": (".py", ".c"), "emit": (".py", ".c"), "target": (".py", ".c", ".S"),
    "compiler": (".c",), "arch": (".c",),
    "defines": (".c",), "undefines": (".c",), "includes": (".c",), "flags": (".c",), "btf": (".c",),
    "timeout": (".c",), "syntax": (".S",), "strip": (".py", ".c"),
}  # fmt: skip
_SUFFIXES = {".py": "object", ".c": "object", ".S": "object", ".s": "object", ".asm": "object"}


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False))
@click.option("-o", "--output", "target_path", type=click.Path(dir_okay=False), help="Where the object goes; SOURCE "
              "with .o by default.")  # fmt: skip
@click.option("-O", "level", type=click.Choice(["0", "1", "2", "3", "s", "z"]), default="2", show_default=True,
              help="How much to optimise (Python: 1, 2, 3).")  # fmt: skip
@click.option("--target", type=click.Choice(["bpfel", "bpfeb"]), default="bpfel", show_default=True,
              help="Byte order of the kernel that will run it.")  # fmt: skip
@click.option("--mcpu", type=click.Choice(["v1", "v2", "v3", "v4"]), default="v3", show_default=True,
              help="Instructions that may be used.")  # fmt: skip
@click.option("--emit", type=click.Choice(["obj", "llvm", "asm", "exe", "so", "header"]), default="obj",
              show_default=True,
              help="obj: the object; llvm: LLVM IR (for Python before optimisation); asm (C): assembly. With --native "
              "all of the machine code, and exe: an executable, so: a library, header: C declarations.")  # fmt: skip
@click.option("--strip", is_flag=True, help="Leave DWARF out of the object, as llvm-strip -g does; BTF with its line "
              "information stays.")  # fmt: skip
@click.option("--native", default="", metavar="ARCH", help="Machine code for an architecture (x86_64, aarch64, arm, "
              "riscv64, s390x, ...) instead of BPF. SOURCE may be a BPF object then.")  # fmt: skip
@click.option("--prog", "names", multiple=True, metavar="NAME", help="--native: only these programs.")
@click.option("--compiler", default="", metavar="clang|gcc|zig|PATH", help="C: the compiler; the newest clang, "
              "zig's or gcc by default, or $CLANG.")  # fmt: skip
@click.option("--arch", default="", metavar="ARCH", help="C: whose registers probes see (x86, arm64, ...); this "
              "machine's by default.")  # fmt: skip
@click.option("-D", "defines", multiple=True, metavar="NAME[=VALUE]", help="C: define a macro.")
@click.option("-U", "undefines", multiple=True, metavar="NAME", help="C: undefine a macro.")
@click.option("-I", "includes", multiple=True, metavar="DIR", help="C: look for headers there first.")
@click.option("--cflag", "flags", multiple=True, metavar="FLAG", help="C: one more word for the compiler (-Wall, "
              "-include=...).")  # fmt: skip
@click.option("--btf", default="", metavar="FILE", help="C: make vmlinux.h from this BTF instead of the running "
              "kernel's.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=120.0, show_default=True,
              metavar="SECONDS", help="C: how long the compiler may take.")  # fmt: skip
@click.option("--syntax", type=click.Choice(["auto", "llvm", "kernel", "ubpf"]), default="auto", show_default=True,
              help="Assembly: which syntax it is in.")  # fmt: skip
@output.json_options
@click.pass_context
def build(
    ctx: click.Context, source: str, target_path: str | None, level: str, target: str, mcpu: str, emit: str,
    compiler: str, arch: str, defines: tuple[str, ...], undefines: tuple[str, ...], includes: tuple[str, ...],
    flags: tuple[str, ...], btf: str, timeout: float, syntax: str, strip: bool, native: str,
    names: tuple[str, ...],
) -> None:  # fmt: skip
    """Compile SOURCE to an object file: a program in typed Python (.py), in C (.c) or in assembly (.S, .s, .asm).

    Python: the file is imported, so what it computes at module level is run; its functions are compiled. All errors in
    it are shown at once, each with its place. C: clang, zig's clang or gcc for BPF does the work, with headers of
    bombus (bpf/bpf_helpers.h and its kin, vmlinux.h from BTF).
    """
    path = Path(source)
    suffix = _kind(path, bool(native))
    _refuse_idle(ctx, suffix)
    if strip and (native or emit != "obj"):
        raise UsageError(f"--strip is for BPF objects, not for {'--native' if native else '--emit ' + emit}")
    if native:
        _native(ctx, path, target_path)
        return
    if names or emit in ("exe", "so", "header"):
        raise UsageError(f"{'--prog' if names else '--emit ' + emit} is for --native")
    ending = {"llvm": ".ll", "asm": ".s"}.get(emit, ".o")
    goal = Path(target_path) if target_path else path.with_suffix(ending)
    if goal.resolve() == path.resolve():
        raise UsageError(f"{goal} is the source itself")
    gc.disable()  # short and busy: collecting costs more than it gives back
    try:
        data, said = _compile(ctx.params, suffix)
        if strip:
            from bombus.elf.strip import strip_debug

            data = strip_debug(data)
    finally:
        gc.enable()
    _write(goal, data)
    if output.as_json():
        row: dict[str, Any] = {"object": str(goal), "size": len(data)}
        if suffix == ".c":
            row["diagnostics"] = _rows(said)
        output.print_json(row)


def _compile(given: dict[str, Any], suffix: str) -> tuple[bytes, tuple[CDiagnostic, ...]]:
    """A source to BPF, as the options say."""
    source, target, level, mcpu = (given[name] for name in ("source", "target", "level", "mcpu"))
    if suffix == ".py":
        return _python(source, target, mcpu, level, given["emit"]), ()
    if suffix == ".S":
        return _assembly(source, target, given["syntax"]), ()
    from bombus.compiler.c.command import Options

    names = ("compiler", "arch", "emit", "defines", "undefines", "includes", "flags", "btf", "timeout")
    chosen = {name: given[name] for name in names}
    colour = not output.as_json() and sys.stderr.isatty()
    return _c(source, Options(level, target, mcpu, **chosen, colour=colour))


def _native(ctx: click.Context, path: Path, target_path: str | None) -> None:
    """A source or a BPF object to machine code."""
    from bombus.cli import native

    given = dict(ctx.params)
    emit = given["emit"]
    said: tuple[CDiagnostic, ...] = ()
    arch = native.arch_of(given["native"])
    order = "bpfeb" if arch.target.byteorder == "big" else "bpfel"
    if ctx.get_parameter_source("target") is ParameterSource.DEFAULT:
        given["target"] = order
    elif given["target"] != order:
        raise UsageError(f"{arch.name} is {arch.target.byteorder}-endian: --target {order}")
    goal = Path(target_path) if target_path else native.goal(path, arch, emit)
    if goal.resolve() == path.resolve():
        raise UsageError(f"{goal} is the source itself")
    if path.suffix == ".o":
        data = path.read_bytes()
    else:
        data, said = _compile(given | {"emit": "obj"}, _kind(path))
    made = native.compile_object(data, path, arch, emit, given["names"])
    _write(goal, made)
    if emit == "exe":
        goal.chmod(goal.stat().st_mode | 0o111)
    if output.as_json():
        row: dict[str, Any] = {"object": str(goal), "size": len(made), "arch": arch.name}
        if path.suffix == ".c":
            row["diagnostics"] = _rows(said)
        output.print_json(row)


def _kind(path: Path, native: bool = False) -> str:
    suffix = {".s": ".S", ".asm": ".S"}.get(path.suffix, path.suffix)
    if native and suffix == ".o":
        return suffix
    if suffix not in (".py", ".c", ".S"):
        raise NotSupported(
            f"building {path.suffix or 'this'} files", "programs in Python (.py), C (.c) and assembly (.S) are built"
        )
    return suffix


def _refuse_idle(ctx: click.Context, suffix: str) -> None:
    """Options that mean nothing for this kind of source are mistakes of the caller."""
    for param in ctx.command.params:
        name = param.name or ""
        if name == "emit" and ctx.params["native"]:
            continue
        given = ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)
        if given and suffix not in _ONLY.get(name, (suffix,)):
            raise UsageError(f"{param.opts[-1]} is not for {suffix} files; it is for {', '.join(_ONLY[name])}")


def _python(source: str, target: str, mcpu: str, level: str, emit: str) -> bytes:
    from bombus.compiler import build as compiler

    if level not in ("1", "2", "3"):
        raise UsageError(f"-O{level} is for C; Python programs have -O1, -O2 and -O3")
    if emit == "asm":
        raise UsageError("--emit asm is for C; `bombus prog dump asm` shows the code of any program")
    try:
        if emit == "llvm":
            from bombus.compiler.importing import import_file

            return compiler.module_text(import_file(source), target=target, cpu=mcpu).encode()
        return compiler.build_cached(source, target=target, cpu=mcpu, level=int(level))
    except DialectError as error:
        _show(error.diagnostics)
        raise click.exceptions.Exit(1) from None


def _c(source: str, options: Any) -> tuple[bytes, tuple[CDiagnostic, ...]]:
    from bombus.compiler.c.driver import build as compile_c

    try:
        built = compile_c(source, options, _notify if sys.stderr.isatty() and not output.as_json() else None)
    except CompileError as error:
        if output.as_json():
            output.print_json({"errors": _rows(error.diagnostics)})
        else:
            _say(error.text)
        raise click.exceptions.Exit(1) from None
    if not output.as_json():
        _say(built.text)
    return built.data, built.diagnostics


def _notify(text: str) -> None:
    click.echo(f"bombus: {text}", err=True)


def _assembly(source: str, target: str, syntax: str) -> bytes:
    from bombus.compiler.assembly import build_file

    try:
        return build_file(source, target=target, syntax=syntax)  # type: ignore[arg-type]
    except AsmError as error:
        if output.as_json():
            row = {"file": source, "line": error.line, "column": error.column, "severity": "error",
                   "message": error.message}  # fmt: skip
            output.print_json({"errors": [row]})
        else:
            click.echo(f"{source}:{error.line}:{error.column}: error: {error.message}", err=True)
            if error.text:
                click.echo(f"    {error.text}\n    {' ' * (error.column - 1)}^", err=True)
        raise click.exceptions.Exit(1) from None


def _say(text: str) -> None:
    """What the compiler said, as it is."""
    sys.stderr.write(text)
    sys.stderr.flush()


def _rows(diagnostics: tuple[CDiagnostic, ...]) -> list[dict[str, Any]]:
    return [
        {"file": d.file, "line": d.line, "column": d.column, "severity": d.severity, "message": d.message}
        for d in diagnostics
    ]


def _write(goal: Path, data: bytes) -> None:
    """Write the whole file or nothing; what is no plain file (a pipe, a device) is written to as it is."""
    if goal.exists() and not goal.is_file():
        goal.write_bytes(data)
        return
    goal = Path(os.path.realpath(goal))
    part = goal.with_name(f".{goal.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        if goal.exists():
            part.chmod(goal.stat().st_mode & 0o7777)
        part.replace(goal)
    finally:
        part.unlink(missing_ok=True)


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
