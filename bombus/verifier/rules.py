"""How verifiers differ between kernel versions: one row for each change of behaviour.

`Rules.of(version)` freezes the rows into plain attributes, so that the checks read a bool.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from bombus.errors import NotSupported
from bombus.spec.version import KernelVersion, since


class Change(NamedTuple):
    """From Linux `since` on, `name` is true."""

    name: str
    since: KernelVersion
    what: str


CHANGES: tuple[Change, ...] = (
    Change("static_liveness", since("6.18"), "registers' liveness is computed before verification, stack slots' per call"),
    Change("live_regs_log", since("6.16"), "level 2 logs begin with the registers live before each instruction"),
    Change("signed_multiply", since("6.14"), "products of signed ranges are tracked"),
    Change("refs_in_state", since("6.14"), "references, locks and disabled interrupts are one list of the whole state"),
    Change("fork_sign_masks", since("6.13"), "and/or with a constant forks on registers that are -1 or 0"),
    Change("precise_history", since("6.8"), "stack accesses are part of the history that precision follows"),
    Change("range_invariants", since("6.8"), "contradicting ranges are noticed after a condition"),
    Change("linked_offsets", since("6.11"), "scalars that differ by a constant stay linked"),
    Change("may_goto", since("6.9"), "the may_goto instruction"),
    Change("callbacks_converge", since("6.7"), "callbacks are verified until their states converge"),
    Change("source_in_log", since("6.9"), "logs name the source file and line"),
    Change("tail_of_packet", since("6.13"), "global functions that move packet data are known to do so"),
)

OLDEST = since("6.1")
# The newest version whose verifier was compared with a real kernel's; newer ones are taken to be like it.
NEWEST = since("6.18")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the verifier of one kernel version does. Each attribute is a row of CHANGES."""

    version: KernelVersion
    static_liveness: bool
    live_regs_log: bool
    signed_multiply: bool
    refs_in_state: bool
    fork_sign_masks: bool
    precise_history: bool
    range_invariants: bool
    linked_offsets: bool
    may_goto: bool
    callbacks_converge: bool
    source_in_log: bool
    tail_of_packet: bool

    @staticmethod
    @lru_cache(maxsize=16)
    def of(version: KernelVersion) -> Rules:
        """The rules of a version. NotSupported for one whose verifier bombus does not know."""
        if version < OLDEST:
            raise NotSupported(f"the verifier of Linux {version}", f"bombus knows those from {OLDEST} on")
        return Rules(version, **{change.name: version >= change.since for change in CHANGES})
