"""Lines of a trace_pipe as rows. Linux 6.12 kernel/trace/trace_output.c: trace_print_context, print_lost_events."""

from __future__ import annotations

import re
from typing import NamedTuple

# "     python3-1234    (  1234) [000] d..31   123.456789: bpf_trace_printk: text"; the tgid only with record-tgid
_LINE = re.compile(
    r"^\s*(?P<task>.*?)-(?P<pid>\d+)\s+(?:\(\s*(?P<tgid>[-\d]+)\)\s+)?\[(?P<cpu>\d+)\]\s+(?:(?P<flags>\S+)\s+)?"
    r"(?P<time>\d+\.\d+): (?P<event>[^:]+): (?P<text>.*)$"
)
_LOST = re.compile(r"^CPU:(?P<cpu>\d+) \[LOST (?P<count>\d+) EVENTS\]$")


class PrintkRow(NamedTuple):
    """One line that a program printed. pid: of the thread that ran it. time: seconds since boot. flags: as tracefs
    writes them ("d..31": interrupts, need-resched, preemption). lost: lines lost before this one on its CPU."""

    task: str
    pid: int
    cpu: int
    time: float
    text: str
    flags: str = ""
    lost: int = 0


class RowParser:
    """Lines of a trace_pipe to rows. Text with newlines goes on in lines without a prefix: it is put together again."""

    def __init__(self) -> None:
        self._lost: dict[int, int] = {}
        self.lost = 0

    def rows(self, lines: list[str]) -> list[PrintkRow]:
        """Rows of these lines; a line that continues nothing is a row with its text alone."""
        found: list[PrintkRow] = []
        for line in lines:
            match = _LINE.match(line)
            if match is not None:
                cpu = int(match["cpu"])
                found.append(PrintkRow(
                    match["task"], int(match["pid"]), cpu, float(match["time"]), match["text"], match["flags"] or "",
                    self._lost.pop(cpu, 0),
                ))  # fmt: skip
                continue
            lost = _LOST.match(line)
            if lost is not None:
                count = int(lost["count"])
                self.lost += count
                self._lost[int(lost["cpu"])] = self._lost.get(int(lost["cpu"]), 0) + count
            elif found:
                last = found[-1]
                found[-1] = PrintkRow(
                    last.task, last.pid, last.cpu, last.time, f"{last.text}\n{line}", last.flags, last.lost
                )
            elif line:
                found.append(PrintkRow("", 0, 0, 0.0, line))
        return found
