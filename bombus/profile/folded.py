"""Folded stacks: one line for each, `command;outermost;...;innermost COUNT`, as flame graph tools read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bombus.errors import FormatError

_MOST = 1 << 20  # lines


class FoldedError(FormatError):
    what = "folded stacks"


def write_folded(paths: Iterable[tuple[tuple[str, ...], int]]) -> str:
    """Equal stacks become one line; lines are sorted."""
    total: dict[str, int] = {}
    for names, count in paths:
        line = ";".join(_clean(name) for name in names)
        total[line] = total.get(line, 0) + count
    return "".join(f"{line} {count}\n" for line, count in sorted(total.items()))


def _clean(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name.replace(";", ":")) or "[unknown]"


def read_folded(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """FoldedError for a line without a count."""
    at = 0
    for number, line in enumerate(text.splitlines(keepends=True)):
        body = line.strip()
        if body and not body.startswith("#"):
            names, space, count = body.rpartition(" ")
            if not space or not count.isascii() or not count.isdecimal() or len(count) > 18:
                raise FoldedError(f"line {number + 1}: no count at its end", offset=at)
            if number >= _MOST:
                raise FoldedError(f"more than {_MOST} lines", offset=at)
            yield tuple(name or "[unknown]" for name in names.split(";")), int(count)
        at += len(line)
