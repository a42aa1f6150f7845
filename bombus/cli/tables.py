"""Plain tables: columns of text under a rule, folded where a terminal is too narrow.

No library for terminals is loaded for this: one costs more than most commands that print a table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

_GAP = "   "
_EDGE = " "
_CUT = 40  # a longer word is cut where a terminal is too narrow


def render(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = (), width: int | None = None,
    bold: bool = False,
) -> list[str]:  # fmt: skip
    """Lines of a table, without blanks at their ends. right: columns whose cells stand at the right edge. width: cells
    of the terminal, None for a file or a pipe, which has no edge to fold at. bold: the heads, for a terminal."""
    cells = [[_lines(text) for text in row] for row in (columns, *rows)]
    if not columns:
        return []
    widths = [max(measure(line) for row in cells for line in row[at]) for at in range(len(columns))]
    if width is not None:
        least = [max(_word(line) for row in cells for line in row[at]) for at in range(len(columns))]
        widths = _narrowed(widths, least, width - 2 * len(_EDGE) - len(_GAP) * (len(columns) - 1))
        cells = [[[part for line in cell for part in fold(line, widths[at])] for at, cell in enumerate(row)]
                 for row in cells]  # fmt: skip
    aligned = [name in right for name in columns]
    out: list[str] = []
    for number, row in enumerate(cells):
        for level in range(max(len(cell) for cell in row)):
            parts = [_padded(cell[level] if level < len(cell) else "", widths[at], aligned[at])
                     for at, cell in enumerate(row)]  # fmt: skip
            line = (_EDGE + _GAP.join(parts)).rstrip()
            out.append(f"\x1b[1m{line}\x1b[0m" if bold and not number else line)
        if not number:
            out.append(_EDGE + "─" * (sum(widths) + len(_GAP) * (len(widths) - 1)))
    return out


def _lines(text: str) -> list[str]:
    return text.expandtabs().split("\n")


def measure(text: str) -> int:
    """Cells that a text takes on a terminal: two for wide letters, none for marks on the letter before."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        2 if unicodedata.east_asian_width(letter) in "WF" else 0 if unicodedata.category(letter) in ("Mn", "Me") else 1
        for letter in text
    )


def _padded(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - measure(text))
    return blanks + text if right else text + blanks


def _word(line: str) -> int:
    """Cells of the longest word: an address or a name that is cut can be neither read nor copied."""
    return min(max(measure(word) for word in line.split(" ")), _CUT)


def _narrowed(widths: list[int], least: list[int], room: int) -> list[int]:
    """The widest columns give way until all fit, but none below its longest word: the terminal wraps what is left."""
    cap = max(widths)
    while cap > 1 and sum(map(max, least, (min(one, cap) for one in widths))) > room:
        cap -= 1
    narrow = [max(low, min(one, cap)) for one, low in zip(widths, least, strict=True)]
    rest = room - sum(narrow)
    for at, one in enumerate(widths):
        if rest > 0 and one > narrow[at]:
            narrow[at] += 1
            rest -= 1
    return narrow


def fold(text: str, width: int) -> list[str]:
    """A line cut at blanks where it can be, in words where they are longer than a line."""
    if measure(text) <= width:
        return [text]
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if measure(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while measure(line) > width:
            end = 1
            while end < len(line) and measure(line[: end + 1]) <= width:
                end += 1
            if end == len(line):
                break
            lines.append(line[:end])
            line = line[end:]
    return [*lines, line]
