"""Figures of verifications, as veristat names them, and the comparison of two runs.

Names of columns: Linux 6.12 tools/testing/selftests/bpf/veristat.c (stat_defs).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bombus.errors import UsageError
from bombus.verifier.program import Verdict

# veristat's name -> heading
COLUMNS: Final[dict[str, str]] = {
    "file_name": "File", "prog_name": "Program", "verdict": "Verdict", "duration": "Duration (us)",
    "total_insns": "Insns", "total_states": "States", "peak_states": "Peak states",
    "max_states_per_insn": "Max states per insn", "mark_read_max_len": "Max mark read length",
    "prog_size": "Program size", "stack_depth": "Stack depth",
}  # fmt: skip
SHOWN: Final = ("file_name", "prog_name", "verdict", "duration", "total_insns", "total_states", "peak_states",
                "prog_size", "stack_depth")  # fmt: skip
COMPARED: Final = ("verdict", "total_insns", "total_states")
TEXTS: Final = ("file_name", "prog_name", "verdict")
VERDICTS: Final = ("success", "failure", "unknown", "error")


@dataclass(frozen=True, slots=True)
class Row:
    """One program's figures. verdict: "success", "failure", "unknown" (the verifier cannot judge it), "error" (it did
    not come that far); duration in microseconds, prog_size in instructions, stack_depth in bytes over all functions."""

    file_name: str
    prog_name: str
    verdict: str
    duration: int = 0
    total_insns: int = 0
    total_states: int = 0
    peak_states: int = 0
    max_states_per_insn: int = 0
    mark_read_max_len: int = 0
    prog_size: int = 0
    stack_depth: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in COLUMNS}


def row_of(file: str, program: str, verdict: Verdict, size: int) -> Row:
    return Row(
        file, program, "success" if verdict.accepted else "failure", verdict.microseconds, verdict.processed,
        verdict.total_states, verdict.peak_states, verdict.max_states_per_insn, verdict.mark_read, size,
        sum(verdict.stack_depths),
    )  # fmt: skip


def to_csv(rows: Iterable[Row]) -> str:
    """With a line of names first, as `veristat -o csv` writes it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(row.as_dict().values())
    return out.getvalue()


def read(text: str, name: str = "input") -> list[Row]:
    """Rows of an earlier run: JSON of `bombus verify --json`, or CSV of it or of veristat. UsageError for others."""
    try:
        found = json.loads(text) if text.lstrip()[:1] in ("[", "{") else list(csv.DictReader(io.StringIO(text)))
        if isinstance(found, dict):
            found = [found]
        rows = [_row(one) for one in found]
    except (ValueError, TypeError, KeyError, AttributeError, csv.Error):
        raise UsageError(f"{name}: no figures of an earlier run (JSON or CSV of bombus verify or veristat)") from None
    if not rows:
        raise UsageError(f"{name}: no figures of an earlier run are in it")
    return rows


def _row(one: Mapping[str, Any]) -> Row:
    values = {n: int(float(one.get(n) or 0)) for n in COLUMNS if n not in TEXTS}
    return Row(str(one["file_name"]), str(one["prog_name"]), str(one["verdict"]), **values)


@dataclass(frozen=True, slots=True)
class Difference:
    """One program in two runs. None where a run has it not."""

    file_name: str
    prog_name: str
    old: Row | None
    new: Row | None

    def cells(self, column: str) -> tuple[str, str, str]:
        """A, B and DIFF of a column, in words."""
        old = getattr(self.old, column) if self.old is not None else None
        new = getattr(self.new, column) if self.new is not None else None
        a = "N/A" if old is None else str(old)
        b = "N/A" if new is None else str(new)
        if old is None or new is None:
            return a, b, "N/A"
        if column in TEXTS:
            return a, b, "MATCH" if old == new else "MISMATCH"
        change = new - old
        share = 100.0 * change / old if old else (100.0 if change else 0.0)
        return a, b, f"{change:+d} ({share:+.2f}%)"


def compare(old: Sequence[Row], new: Sequence[Row]) -> list[Difference]:
    """Programs of both runs, by file and name, in order."""
    first = {(row.file_name, row.prog_name): row for row in old}
    second = {(row.file_name, row.prog_name): row for row in new}
    return [Difference(*key, first.get(key), second.get(key)) for key in sorted(first.keys() | second.keys())]
