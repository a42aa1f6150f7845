"""`bombus btf`: types in files, in objects and in the running kernel, with bpftool's verbs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import output
from bombus.cli.inspect import VMLINUX, read_btf
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words
from bombus.errors import BtfError, UsageError

if TYPE_CHECKING:
    from bombus.btf.parse import Btf

_KERNEL = Path(VMLINUX).parent
_FORMATS = ("raw", "c")
_SOURCES = ("id", "prog", "map", "file")
_PARTS = ("key", "value", "kv", "all")

_KERNEL_OPTION = click.option("--kernel", "kernel_name", default="linux", show_default=True, metavar="KERNEL",
                              help="Which kernel's: linux, user or user:VERSION (a fresh one).")  # fmt: skip
_BASE = click.option("-B", "--base-btf", "base", metavar="FILE", help="The BTF that a split one builds on.")


@noun("btf", "BTF: list what the kernel has, dump types.")
def btf() -> None:
    pass


@verb(btf, "show", "[id BTF_ID]", _KERNEL_OPTION)
def show(words: Words, kernel_name: str) -> None:
    """List BTF objects of the kernel with the programs and maps that use them (also: list)."""
    from bombus.cli import btfshow, live

    with live.on(kernel_name):
        btfshow.show(words)


@verb(btf, "dump", "{FILE | file FILE | id N | prog PROG | map MAP [key|value|kv|all]} [format raw|c] [root_id ID]...",
      _BASE, _KERNEL_OPTION)  # fmt: skip
def dump(words: Words, base: str | None, kernel_name: str) -> None:
    """Print the types of a BTF file, of an object's .BTF section, of the running kernel ('vmlinux'), or of BTF that
    the kernel holds.

    Split BTF of kernel modules (in /sys/kernel/btf) finds the running kernel's as its base by itself. root_id, which
    may be given several times, limits C to those types and what they need.
    """
    from bombus.cli import live

    with live.on(kernel_name):
        _dump(words, base, kernel_name)


def _dump(words: Words, base: str | None, kernel_name: str) -> None:
    source, which = _source(words)
    if (source, which) == ("file", "vmlinux") and kernel_name != "linux":
        from bombus.cli import live

        live.kernel().vmlinux_btf()  # says that it has none
    form, roots = _arguments(words)
    found, part = _open(source, which, words, base)
    _check_roots(found, roots)
    if form == "c":
        if output.as_json():
            raise UsageError("format c is text; leave -j and -p away")
        from bombus.btf.dump_c import dump as dump_c

        chosen = [*roots, *(part or ())]
        _write(dump_c(found, chosen or None))
        return
    if roots:
        raise UsageError("root_id is for format c")
    from bombus.btf import dump_raw

    if output.as_json():
        rows = dump_raw.rows(found) if part is None else (dump_raw.row(n, found.type(n)) for n in part)
        output.print_json({"types": list(rows)})
    elif part is not None:
        output.lines(dump_raw.text(found, type_id) for type_id in part)
    else:
        output.lines(dump_raw.dump(found))


def _source(words: Words) -> tuple[str, Any]:
    """Where the types are: ("file", path), or ("id", number), or ("prog" or "map", what the handle names)."""
    if not words:
        raise UsageError("FILE, or file, id, prog or map, is missing")
    if len(words) > 1 and words.looking_at(*_SOURCES) and not Path(words.peek()).exists():
        kind = words.expect("map", "prog", "id", "file")
        if kind == "file":
            return kind, words.take("FILE")
        from bombus.cli import live

        if kind == "id":
            return kind, words.number("ID")
        item = live.item(kind, words)
        part = words.accept(*_PARTS) or "kv" if kind == "map" else "all"
        return kind, (item, part)
    return "file", words.take("FILE")


def _arguments(words: Words) -> tuple[str, list[int]]:
    form, roots = "raw", []
    while words:
        word = words.expect("format", "root_id")
        if not words:
            raise UsageError(f"{word}: a value is missing")
        if word == "root_id":
            value = words.take("ID")
            try:
                roots.append(int(value, 0))
            except ValueError:
                raise UsageError(f"root_id {value!r} is no number") from None
            continue
        form = words.take("FORMAT")
        if form not in _FORMATS:
            raise UsageError(f"unrecognized format {form!r}; there are {' and '.join(_FORMATS)}")
    return form, roots


def _open(kind: str, which: Any, words: Words, base: str | None) -> tuple[Btf, list[int] | None]:
    """The types, and which of them (None: all)."""
    if kind == "file":
        return _read(which, base), None
    number, part = which, None
    if kind != "id":
        item, words_part = which
        with item:
            number = item.info["btf_id"]
            if not number:
                raise UsageError(f"{kind} {item.info['id']} has no BTF")
            if words_part != "all":
                names = {"key": ("key",), "value": ("value",), "kv": ("key", "value")}[words_part]
                part = [item.info[f"btf_{name}_type_id"] for name in names]
    return _by_id(number, base), part


def _by_id(number: int, base: str | None) -> Btf:
    from bombus.cli import live

    if base is None:
        return live.btf_by_id(number)
    from bombus.btf.parse import Btf as Parsed
    from bombus.kernel.handles.btf import Btf as BtfHandle

    with BtfHandle.from_id(live.kernel(), number) as handle:
        return Parsed.parse(handle.raw(), read_btf(base))


def _read(path: str, base: str | None) -> Btf:
    if base is not None:
        return read_btf(path, read_btf(base))
    place = Path(path)
    if place.parent == _KERNEL and place.name != "vmlinux":
        return read_btf(path, read_btf(VMLINUX))
    return read_btf(path)


def _check_roots(btf: Btf, roots: list[int]) -> None:
    for root in roots:
        if not 0 < root < len(btf):
            raise BtfError(f"there is no type {root}; the last is {len(btf) - 1}")


def _write(pieces: Iterator[str]) -> None:
    import sys

    write = sys.stdout.write
    for piece in pieces:
        write(piece)
