"""`bombus prog run PROG`: BPF_PROG_TEST_RUN of a loaded program, as `bpftool prog run`.

Source: Linux 6.1 tools/bpf/bpftool/prog.c (do_run, hex_print), behaviour.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from bombus.cli import live, output
from bombus.cli.words import Words
from bombus.errors import UsageError
from bombus.kernel.handles import Program

_ROOM = 32 << 10  # bytes for results, as bpftool
_MAX = 64 << 20  # no kernel takes or gives as much
_FILES = ("data_in", "data_out", "ctx_in", "ctx_out")
_SIZES = ("data_size_out", "ctx_size_out")


def run(words: Words) -> None:
    """PROG data_in F [data_out F [data_size_out L]] [ctx_in F [ctx_out F [ctx_size_out M]]] [repeat N]."""
    with live.item("prog", words) as item, Program(item.kernel, os.dup(item.fd)) as program:
        if not words:
            words.refuse("data_in", "ctx_in", "repeat")
        files: dict[str, str] = {}
        sizes: dict[str, int] = {}
        repeat = 1
        while words:
            word = words.accept_clear(*_FILES, *_SIZES, "repeat")
            if not word:
                words.refuse(*_FILES, *_SIZES, "repeat")
            elif word in _FILES:
                files[word] = words.take(f"{word}: a file")
            elif word == "repeat":
                repeat = words.number("repeat number")
            else:
                sizes[word] = words.number("output size")
                if sizes[word] > _MAX:
                    raise UsageError(f"{word} {sizes[word]}: no result is as large; at most {_MAX}")
        if files.get("data_in") == files.get("ctx_in") == "-":
            raise UsageError("cannot use standard input for both data_in and ctx_in")
        result = program.test_run(
            _read(files.get("data_in")), _read(files.get("ctx_in")), repeat=repeat,
            data_out=sizes.get("data_size_out") or _ROOM, ctx_out=sizes.get("ctx_size_out") or _ROOM,
        )  # fmt: skip
        found: dict[str, Any] = {}
        for name, data in (("data_out", result.data), ("ctx_out", result.ctx)):
            path = files.get(name)
            if path is None or not files.get(name.replace("out", "in")):
                continue
            if path != "-":
                Path(path).write_bytes(data)
            elif output.as_json():
                found[name] = list(data)
            else:
                output.lines(_dump(data))
        if output.as_json():
            output.print_json(found | {"retval": result.retval, "duration": result.duration})
            return
        average = " (average)" if repeat > 1 else ""
        click.echo(f"Return value: {result.retval}, duration{average}: {result.duration}ns")


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    if path == "-":
        data = sys.stdin.buffer.read(_MAX + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(_MAX + 1)
    if len(data) > _MAX:
        raise UsageError(f"{path}: more than {_MAX >> 20} MiB; no test run takes that")
    return data


def _dump(data: bytes) -> Iterator[str]:
    """Sixteen bytes a line: offset, pairs of bytes, text."""
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        pairs = "".join(part[i : i + 1].hex() + (" " if i % 2 else "") for i in range(len(part)))
        pairs += "".join("  " + (" " if i % 2 else "") for i in range(len(part), 16))
        text = "".join(chr(byte) if 0x20 <= byte <= 0x7E else "." for byte in part)
        yield f"{at:07x}\t{pairs}| {text[:8]}{' ' if len(text) >= 8 else ''}{text[8:]}"
