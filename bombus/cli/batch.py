"""`bombus batch file FILE`: many commands in one process, as `bpftool batch`.

Source: Linux 6.1 tools/bpf/bpftool/main.c (do_batch, make_args), behaviour.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TextIO

import click

from bombus.cli import output
from bombus.cli.words import Words
from bombus.errors import BombusError, UsageError

_LONGEST = 1 << 16  # characters of one command
_BLANKS = " \t\r\n"


@click.command("batch", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="file FILE")
@output.live_options
def batch(words: tuple[str, ...]) -> None:
    """Run the commands of a file, one a line ('-' reads standard input); the first that fails ends the work.

    '#' begins a comment, '\\' at the end of a line goes on in the next, quotes hold blanks together.
    """
    cursor = Words(words)
    cursor.expect("file")
    path = cursor.take("FILE")
    cursor.end()
    if path == "-":
        _run(sys.stdin)
        return
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        _run(file)


def _run(file: TextIO) -> None:
    if not output.as_json():
        count = 0
        for number, words in _commands(file):
            _command(number, words)
            sys.stdout.flush()
            count += 1
        click.echo(f"processed {count} commands")
        return
    rows: list[dict[str, object]] = []
    try:
        for number, words in _commands(file):
            into: list[object] = []
            row: dict[str, object] = {"command": words}
            rows.append(row)
            output.sink(into)
            try:
                _command(number, words)
            except (BombusError, click.ClickException, OSError) as error:
                text = error.format_message() if isinstance(error, click.ClickException) else str(error)
                row["output"] = {"error": text}
                raise click.exceptions.Exit(1) from None
            except click.exceptions.Exit:
                row["output"] = into[0] if into else None
                raise
            row["output"] = into[0] if len(into) == 1 else into or None
    finally:
        output.sink(None)
        output.print_json(rows)


def _command(number: int, words: list[str]) -> None:
    from bombus.cli.main import cli

    if "batch".startswith(words[0]):
        raise UsageError(f"command {number}: a batch inside a batch")
    code = cli.main(words, prog_name="bombus", standalone_mode=False)
    if isinstance(code, int) and code:
        raise click.exceptions.Exit(code)


def _commands(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """(number, words) of each command."""
    number = 0
    lines = iter(file)
    for line in lines:
        text = line.partition("#")[0] if "#" in line else line
        while text.endswith("\\\n"):
            following = next(lines, None)
            if following is None:
                raise UsageError(f"missing continuation line on command {number}")
            text = text[:-2] + (following.partition("#")[0] if "#" in following else following)
        if len(text) > _LONGEST:
            raise UsageError(f"command {number} is too long")
        words = _split(text, number)
        if words:
            yield number, words
            number += 1


def _split(text: str, number: int) -> list[str]:
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in _BLANKS:
            at += 1
            continue
        if text[at] in "'\"":
            end = text.find(text[at], at + 1)
            if end < 0:
                raise UsageError(f"unterminated quoted string in command {number}")
            words.append(text[at + 1 : end])
            at = end + 1
            continue
        end = next((i for i in range(at, len(text)) if text[i] in _BLANKS), len(text))
        words.append(text[at:end])
        at = end
    return words
