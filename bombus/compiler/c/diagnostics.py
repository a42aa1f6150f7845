"""What a C compiler said, as data. clang and gcc write the same lines: FILE:LINE:COLUMN: SEVERITY: MESSAGE."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLACED = re.compile(
    r"(?P<file>[^\n]+?):(?P<line>\d+):(?:(?P<column>\d+):)? "
    r"(?P<severity>fatal error|error|warning|note|remark|sorry, unimplemented): (?P<message>.*)"
)
_PLAIN = re.compile(r"(?:[^\s:]+: )?(?P<severity>fatal error|error|warning): (?P<message>.*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[mK]")


@dataclass(frozen=True, slots=True)
class CDiagnostic:
    """One message. line and column count from 1, 0 where the compiler names none; file is "" then too.

    severity: "fatal error", "error", "warning", "note", "remark".
    """

    file: str
    line: int
    column: int
    severity: str
    message: str


def parse(text: str) -> tuple[CDiagnostic, ...]:
    """The messages of a compiler's output; source lines, carets and "included from" are left out."""
    found = []
    for line in _COLOUR.sub("", text).splitlines():
        placed = _PLACED.match(line)
        if placed is not None:
            severity = placed["severity"].replace("sorry, unimplemented", "error")
            found.append(CDiagnostic(placed["file"], int(placed["line"]), int(placed["column"] or 0), severity,
                                     placed["message"]))  # fmt: skip
            continue
        plain = _PLAIN.match(line)
        if plain is not None:
            found.append(CDiagnostic("", 0, 0, plain["severity"], plain["message"]))
    return tuple(found)
