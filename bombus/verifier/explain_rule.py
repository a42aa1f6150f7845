"""One row of the tables that explain messages.

A pattern is searched at the beginning of a message. {name} in a text is the pattern's group of that name; a group
called `reg` (reg1, reg2 ...) is the number of the register that the message is about, `arg0` that of an argument
counted from 0, `arg1` from 1. `register`: which register it is when the message names none: "dst" and "src" are those
of the failing instruction, "base" the pointer that it loads or stores through.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Rule(NamedTuple):
    key: str  # names the kind of mistake
    pattern: re.Pattern[str]
    meaning: str
    fix: str
    register: str = ""


def rule(key: str, pattern: str, meaning: str, fix: str, register: str = "") -> Rule:
    first, *more = pattern.split("(?P<reg>")
    for number, part in enumerate(more):  # alternatives name their register reg, reg1, reg2 ...
        first += f"(?P<reg{number or ''}>{part}"
    pattern = first
    return Rule(key, re.compile(pattern), meaning, fix, register)


R: Final = r"R(?P<reg>\d+)"
BUG: Final = "This is a defect of the verifier (or of bombus), not of the program."
REPORT: Final = "Report it with the program."
COMPILER: Final = "Compilers do not make such code: look at the tool or the assembly that did."
