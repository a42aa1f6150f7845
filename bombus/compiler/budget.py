"""Markers of `bpf.can_loop()` in the text of a module; `maygoto` finds them again in the object."""

from __future__ import annotations

from typing import Final

# Until numbers are found that are nowhere else in the text: the first pair of instructions, and the second one
PLACE: Final = "%BUDGET%"
IDLE: Final = "%IDLE%"
FIRST: Final = 0x6D617967


def marked(text: str) -> tuple[str, int]:
    """The text of a module with its markers, and the first one's number; 0 when there are none."""
    if PLACE not in text:
        return text, 0
    number = FIRST
    while str(number) in text or str(number + 1) in text:
        number += 1
    return text.replace(PLACE, str(number)).replace(IDLE, str(number + 1)), number
