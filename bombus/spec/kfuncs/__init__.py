"""Kernel functions that programs may call by name (kfuncs): since when, from which programs, and what they do.

Unlike helpers, kfuncs have no numbers and no promise of stability; a kernel's BTF says what it has. The rows are what
Linux 6.1 to 6.18 have, apart from functions of test modules. Sources: names, flags and program types up to 6.12 from
the BTF_KFUNCS lists of Linux 6.12; names of 6.18 from tags in its BTF, program types as its verifier answered.
The tables do not record when a kfunc came: `since` before 6.12, and between 6.12 and 6.18, is from what is known of
the kernel's history, checked only against the names that the BTF of 6.1, 6.12 and 6.18 have.
"""

from __future__ import annotations

from typing import Final

from bombus.spec.kfuncs import core, net, sched
from bombus.spec.kfuncs.model import SETS, Kfunc

KFUNCS: Final[tuple[Kfunc, ...]] = tuple(
    sorted((*core.ROWS, *net.ROWS, *sched.ROWS), key=lambda row: (row.since, row.name))
)
KFUNC: Final[dict[str, Kfunc]] = {row.name: row for row in KFUNCS}

__all__ = ["KFUNC", "KFUNCS", "SETS", "Kfunc"]
