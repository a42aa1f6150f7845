"""Words that steer: exceptions, loops by the kernel's iterators, sections in which the kernel holds something.

They are kernel functions in BPF. In plain Python `throw` ends the program's run, `iterate` is the range itself, and the
sections do nothing, as nothing else runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import NoReturn, TypeVar

from bombus.bpf.ints import u32, u64
from bombus.bpf.machine import walk
from bombus.bpf.struct import Struct

S = TypeVar("S", bound=Struct)


class Thrown(Exception):
    """The program was left by `throw`; `value` is its verdict."""

    def __init__(self, value: int) -> None:
        super().__init__(f"bpf.throw({value})")
        self.value = value


def throw(value: u64 | int = 0) -> NoReturn:
    """End the program from wherever it is; it returns `value`. (bpf_throw, Linux 6.7)"""
    raise Thrown(int(value))


def iterate(numbers: range) -> range:
    """`for i in bpf.iterate(range(n))`: a loop that the verifier looks at once, however many rounds it has, of numbers
    within s32 in steps of 1, 8388608 at most. (bpf_iter_num_new, Linux 6.4)"""
    return numbers


_budgets: list[tuple[FrameType, int]] = []  # running functions with the rounds that they have left, the inner ones last


def can_loop() -> bool:
    """Whether the function's budget has one more round: `while bpf.can_loop():`, `while bpf.can_loop() and i < n:`. A
    loop that asks needs no other end for the verifier. (may_goto, Linux 6.9)

    The budget is that of one call of the function, whatever loops it has: 8388608 rounds, or since Linux 6.15 a quarter
    of a second.
    """
    from bombus.vm.run import MAX_LOOPS  # building a program needs no machine

    here = sys._getframe(1)
    if not _budgets or _budgets[-1][0] is not here:
        around = set()
        frame: FrameType | None = here
        while frame is not None:
            around.add(frame)
            frame = frame.f_back
        while _budgets and _budgets[-1][0] not in around:
            _budgets.pop()  # has returned
        if not _budgets or _budgets[-1][0] is not here:
            _budgets.append((here, MAX_LOOPS))
    rounds = _budgets[-1][1]
    _budgets[-1] = here, max(rounds - 1, 0)
    return rounds > 0


def forget_budgets() -> None:
    """No program runs any more."""
    _budgets.clear()


class Section:
    """What a `with` begins and ends."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def rcu() -> Section:
    """`with bpf.rcu():` what RCU protects stays where it is. (bpf_rcu_read_lock, Linux 6.2)"""
    return Section()


def preempt_off() -> Section:
    """`with bpf.preempt_off():` no other task runs on this CPU. (bpf_preempt_disable, Linux 6.10)"""
    return Section()


class iterators:
    """Loops over objects of the kernel: `for task in bpf.iterators.task(task_struct, None, 0):`.

    `kind` is the struct class that the items are seen as. In plain Python there are those that the user kernel has;
    others are NotSupported.
    """

    @staticmethod
    def task(kind: type[S], task: Struct | None, flags: u32 | int) -> Iterator[S]:
        """Tasks (flags 0: all processes, 1: all threads, 2: threads of `task`). (Linux 6.7)"""
        return walk("task", kind, task, flags)

    @staticmethod
    def task_vma(kind: type[S], task: Struct, address: u64 | int) -> Iterator[S]:
        """Memory areas of a task from an address on. (Linux 6.7)"""
        return walk("task_vma", kind, task, address)

    @staticmethod
    def css(kind: type[S], start: Struct, flags: u32 | int) -> Iterator[S]:
        """Cgroups below one (cgroup_subsys_state; flags 1: downwards first, 2: upwards first, 3: ancestors).
        (Linux 6.7)"""
        return walk("css", kind, start, flags)

    @staticmethod
    def css_task(kind: type[S], css: Struct, flags: u32 | int) -> Iterator[S]:
        """Tasks of a cgroup. (Linux 6.7)"""
        return walk("css_task", kind, css, flags)

    @staticmethod
    def kmem_cache(kind: type[S]) -> Iterator[S]:
        """Slab caches. (Linux 6.13)"""
        return walk("kmem_cache", kind)

    @staticmethod
    def dmabuf(kind: type[S]) -> Iterator[S]:
        """DMA buffers. (Linux 6.16)"""
        return walk("dmabuf", kind)


