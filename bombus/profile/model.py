"""What a profile holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bombus.symbols import Frame


@dataclass(frozen=True, slots=True)
class Stack:
    """Samples of one thread at one place. frames: innermost first; `kernel` of them are the kernel's."""

    pid: int
    tid: int
    comm: str
    frames: tuple[Frame, ...]
    kernel: int
    count: int


@dataclass(slots=True)
class Profile:
    """Stacks with their counts.

    event, frequency (a second; 0 when `period` counts events): what was sampled. start: seconds since the epoch,
    seconds: how long. lost: samples whose stack found no room. collisions: samples whose stack is known only in part.
    filtered: samples that the filter refused.
    """

    stacks: list[Stack] = field(default_factory=list)
    event: str = ""
    frequency: int = 0
    period: int = 0
    start: float = 0.0
    seconds: float = 0.0
    lost: int = 0
    collisions: int = 0
    filtered: int = 0

    @property
    def samples(self) -> int:
        """Samples with a stack."""
        return sum(stack.count for stack in self.stacks)

    def functions(self) -> list[tuple[str, str, int, int]]:
        """(name, module, samples in it, samples in it or what it calls) of every function, the busiest first."""
        own: dict[tuple[str, str], int] = {}
        total: dict[tuple[str, str], int] = {}
        for stack in self.stacks:
            names = [label(frame) for frame in stack.frames] or [("[no stack]", "")]
            own[names[0]] = own.get(names[0], 0) + stack.count
            for name in set(names):
                total[name] = total.get(name, 0) + stack.count
        rows = [(name, module, own.get((name, module), 0), count) for (name, module), count in total.items()]
        return sorted(rows, key=lambda row: (-row[2], -row[3], row[0]))

    def paths(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """(command and functions from the outermost on, samples): what folded stacks and flame graphs are made of.

        As stackcollapse-perf.pl marks them, the kernel's end in _[k], those of JITs in _[j].
        """
        for stack in self.stacks:
            names = [stack.comm or str(stack.pid)]
            for index in range(len(stack.frames) - 1, -1, -1):
                frame = stack.frames[index]
                mark = "_[k]" if index < stack.kernel else "_[j]" if frame.module == "[jit]" else ""
                names.append(text(frame) + mark)
            yield tuple(names), stack.count


def text(frame: Frame) -> str:
    """A frame's name; [module] for a function without one."""
    if frame.known:
        return frame.name
    module = frame.module.rpartition("/")[2].strip("[]")
    return f"[{module}]" if module else "[unknown]"


def label(frame: Frame) -> tuple[str, str]:
    return text(frame), frame.module
