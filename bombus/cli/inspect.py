"""`bombus inspect OBJ`: programs, maps, externs, CO-RE relocations, and the oldest kernel that can run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import output

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.object.bounds import Bound
    from bombus.object.inspect import CoreReport, ProgramReport, Report

VMLINUX = "/sys/kernel/btf/vmlinux"
_XZ = b"\xfd7zXZ"


@click.command("inspect")
@click.argument("obj", metavar="OBJ", type=click.Path(exists=True, dir_okay=False))
@click.option("--btf", "btf_path", metavar="FILE|vmlinux",
              help="BTF of a kernel (raw, or an ELF file with .BTF; 'vmlinux' is the running kernel's): look up CO-RE "
                   "relocations and attach targets in it.")
@click.option("--prog", "program", metavar="NAME", help="Only this program and its maps.")
@output.json_options
def inspect(obj: str, btf_path: str | None, program: str | None) -> None:
    """What is in an object, and the oldest kernel that can run each program and the whole of it.

    No kernel is asked and nothing is loaded. Bounds marked "only if" do not count: the code that needs them is not
    looked at by kernels that lack what the guard asks for.
    """
    from bombus.cli.source import open_program
    from bombus.object.inspect import inspect as make

    report = make(open_program(obj), read_btf(btf_path) if btf_path else None, program=program)
    if output.as_json():
        output.print_json(as_dict(report))
        return
    show(report, with_target=btf_path is not None)


def read_btf(path: str, base: Btf | None = None) -> Btf:
    """BTF from a file (`btf_bytes`); `base` is what split BTF builds on."""
    from bombus.btf.parse import Btf
    from bombus.errors import FormatError

    data = btf_bytes(path)
    try:
        return Btf.parse(data, base)
    except FormatError as error:
        raise error.in_file(path) from None


def btf_bytes(path: str) -> bytes:
    """Raw BTF: of the kernel ("vmlinux"), a file of just that, or an ELF file (.xz, too). FormatError; ObjectError when
    an ELF file has none."""
    from bombus.elf.read import read_elf
    from bombus.errors import ElfError, FormatError, ObjectError

    if path == "vmlinux":
        path = VMLINUX
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(_XZ):
        import lzma

        try:
            data = lzma.decompress(data)
        except lzma.LZMAError as error:
            raise ElfError(f"compressed by xz, and damaged: {error}", path=path) from None
    if not data.startswith(b"\x7fELF"):
        return data
    try:
        section = read_elf(data).section(".BTF")
    except FormatError as error:
        raise error.in_file(path) from None
    if section is None:
        raise ObjectError("no section .BTF", path=path)
    return bytes(section.data)


def as_dict(report: Report) -> dict[str, Any]:
    """For JSON: versions as text, guards as {kind, name}, empty guards left out."""
    found = _plain(report)
    assert isinstance(found, dict)
    return found


def _plain(value: Any) -> Any:
    from bombus.object.paths import Guard
    from bombus.spec.version import KernelVersion

    if isinstance(value, KernelVersion):
        return str(value)
    if isinstance(value, Guard):
        return {"kind": value.kind, "name": value.name}
    if dataclasses.is_dataclass(value):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def show(report: Report, *, with_target: bool) -> None:
    """Print a report for people."""
    order = "big-endian" if report.byteorder == "big" else "little-endian"
    click.echo(f"{report.name}: {order}, licence {report.license or '(none)'}")
    click.echo(f"Needs Linux {report.minimum}" + _because(report))
    click.echo()
    if report.programs:
        output.table(
            "Programs",
            ["name", "section", "type", "attach type", "insns", "needs", "because of"],
            [
                (p.name + ("" if p.autoload else " (not loaded by default)"), p.section, p.type, p.attach_type, p.insns,
                 p.minimum, _first(p.bounds, p.minimum))
                for p in report.programs
            ],
            right=["insns"],
        )  # fmt: skip
    if report.maps:
        output.table(
            "Maps",
            ["name", "type", "key", "value", "entries", "flags", "needs"],
            [
                (m.name, m.type + (f" of {m.inner}" if m.inner else "") + (f" ({m.section})" if m.section else ""),
                 _sized(m.key_size, m.key_type), _sized(m.value_size, m.value_type), m.max_entries,
                 ", ".join([f.removeprefix("BPF_F_") for f in m.flags] + (["pinned by name"] if m.pinning else [])),
                 m.minimum)
                for m in report.maps
            ],
            right=["entries"],
        )  # fmt: skip
    if report.externs:
        output.table(
            "Symbols from the kernel",
            ["name", "kind", "type", "weak"],
            [(e.name, e.kind, e.type, "yes" if e.weak else "") for e in report.externs],
        )
    if report.core:
        _show_core(report.core, with_target=with_target)
    for program in report.programs:
        _show_program(program)


def _show_program(program: ProgramReport) -> None:
    click.echo(f"{program.name}: needs Linux {program.minimum}")
    for what, names in (
        ("calls", program.subprograms),
        ("helpers", program.helpers),
        ("kfuncs", program.kfuncs),
        ("maps", program.maps),
    ):
        if names:
            click.echo(f"  {what}: {', '.join(names)}")
    newest = max((b.since for b in program.bounds if b.kind == "program type"), default=None)
    for bound in program.bounds:
        # What every kernel with this program type has, and guarded things that the rest needs anyway, say nothing.
        if bound.guard is None and newest is not None and bound.since <= newest and bound.kind != "program type":
            continue
        if bound.guard is not None and bound.since <= program.minimum:
            continue
        guard = f"  only if {bound.guard}" if bound.guard is not None else ""
        where = f"  ({bound.where})" if bound.where else ""
        click.echo(f"  {bound.since!s:>6}  {bound.kind}: {bound.what}{where}{guard}")
    for problem in program.problems:
        click.echo(f"  problem: {problem}")
    click.echo()


def _show_core(rows: Iterable[CoreReport], *, with_target: bool) -> None:
    columns = ["function", "insn", "kind", "what"]
    if with_target:
        columns.append("value there")
    cells: list[list[object]] = []
    for row in rows:
        cell: list[object] = [row.function, row.insn, row.kind, row.local]
        if with_target:
            found = row.error if row.value is None else f"{row.value}"
            if row.error and row.guarded is not None:
                found += f" (only if {row.guarded})"
            cell.append(found)
        cells.append(cell)
    output.table(f"{len(cells)} CO-RE relocations", columns, cells, right=["insn"])


def _sized(size: int, type_: str) -> str:
    return f"{size} {type_}".rstrip() if size else ""


def _first(bounds: Iterable[Bound], version: object) -> str:
    return next((f"{b.kind}: {b.what}" for b in bounds if b.since == version and b.guard is None), "")


def _because(report: Report) -> str:
    if not report.reasons:
        return ""
    whos: dict[str, list[str]] = {}
    for who, bound in report.reasons:
        whos.setdefault(f"{bound.kind} {bound.what}", []).append(who)
    texts = [
        f"{what} ({', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''})"
        for what, names in list(whos.items())[:4]
    ]
    return ": " + "; ".join(texts)
