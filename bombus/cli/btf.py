"""`bombus btf dump FILE [format raw|c]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bombus.cli import output
from bombus.cli.inspect import VMLINUX, read_btf
from bombus.errors import BtfError, UsageError

if TYPE_CHECKING:
    from bombus.btf.parse import Btf

_KERNEL = Path(VMLINUX).parent
_FORMATS = ("raw", "c")


@click.group()
def btf() -> None:
    """Types in BTF."""


@btf.command("dump")
@click.argument("words", nargs=-1, required=True, metavar="FILE [format raw|c] [root_id ID]...")
@click.option("-B", "--base-btf", "base", metavar="FILE", help="The BTF that a split one builds on.")
@output.json_options
def dump(words: tuple[str, ...], base: str | None) -> None:
    """Print the types of a BTF file, of an object's .BTF section, or of the running kernel ('vmlinux').

    Split BTF of kernel modules (in /sys/kernel/btf) finds the running kernel's as its base by itself. root_id, which
    may be given several times, limits C to those types and what they need.
    """
    path, form, roots = _arguments(words)
    found = _read(path, base)
    _check_roots(found, roots)
    if form == "c":
        if output.as_json():
            raise UsageError("format c is text; leave -j and -p away")
        from bombus.btf.dump_c import dump as dump_c

        _write(dump_c(found, roots or None))
        return
    if roots:
        raise UsageError("root_id is for format c")
    from bombus.btf import dump_raw

    if output.as_json():
        output.print_json({"types": list(dump_raw.rows(found))})
    else:
        output.lines(dump_raw.dump(found))


def _arguments(words: tuple[str, ...]) -> tuple[str, str, list[int]]:
    rest = list(words)
    if rest[0] == "file" and len(rest) > 1 and not Path("file").exists():  # bpftool's way to say it
        rest.pop(0)
    path, form, roots = rest.pop(0), "raw", []
    while rest:
        word = rest.pop(0)
        if word not in ("format", "root_id"):
            raise UsageError(f"expected 'format' or 'root_id', got {word!r}")
        if not rest:
            raise UsageError(f"{word}: a value is missing")
        value = rest.pop(0)
        if word == "root_id":
            try:
                roots.append(int(value, 0))
            except ValueError:
                raise UsageError(f"root_id {value!r} is no number") from None
        elif value not in _FORMATS:
            raise UsageError(f"unrecognized format {value!r}; there are {' and '.join(_FORMATS)}")
        else:
            form = value
    return path, form, roots


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
