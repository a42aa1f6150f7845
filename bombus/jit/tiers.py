"""The tiered engine: programs start at once on the fast engine and go over to native code when that is ready.

Both engines do the same and keep nothing between runs, so a program changes over between two runs. Compiling happens in
a thread (which only waits for a child process). A program whose compiling fails stays where it is.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from weakref import ref

from bombus.errors import BombusError
from bombus.isa.insn import Insn
from bombus.jit.engine import NativeEngine, NativeProgram
from bombus.vm.env import Compiled, Env
from bombus.vm.fast import FastProgram
from bombus.vm.run import DEFAULT_BUDGET, Run

_jobs: queue.SimpleQueue[ref[TieredProgram]] = queue.SimpleQueue()
_thread: threading.Thread | None = None
_lock = threading.Lock()


def _work() -> None:
    while True:
        program = _jobs.get()()
        if program is not None:
            program.compile()
        del program


def _start() -> None:
    global _thread
    with _lock:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_work, name="bombus-jit", daemon=True)
            _thread.start()


class TieredProgram:
    """See `vm.env.Compiled`. native: the native form; `ready` says whether runs use it. error: why they never will."""

    def __init__(self, fast: FastProgram, native: NativeProgram) -> None:
        self.fast = fast
        self.native = native
        self.ready = False
        self.error: BombusError | None = None
        self._asked = False

    @property
    def base(self) -> int:
        return self.native.base

    def prepare(self) -> None:
        """Take native code that was compiled earlier; else start compiling it and be ready to run without."""
        if self._asked:
            return
        self._asked = True
        if self.native.from_cache():
            self.ready = True
            return
        self.fast.prepare()
        _start()
        _jobs.put(ref(self))

    def native_form(self) -> NativeProgram | None:
        """The native form if runs use it."""
        return self.native if self.ready else None

    def compile(self) -> None:
        """Compile now, in this thread."""
        try:
            self.native.prepare()
            self.ready = True
        except BombusError as error:
            self.error = error

    def _now(self) -> Compiled:
        if not self._asked:
            self.prepare()
        return self.native if self.ready else self.fast

    def run(self, ctx: int) -> int:
        return self._now().run(ctx)

    def enter(self, ctx: int, run: Run) -> int:
        return self._now().enter(ctx, run)

    def call(self, address: int, args: Sequence[int]) -> int:
        # A callback runs where its run does.
        if self.fast.is_running:
            return self.fast.call(address, args)
        if self.native.is_running:
            return self.native.call(address, args)
        return self._now().call(address, args)


class TieredEngine:
    """`vm.env.Engine`. budget: as the native engine counts; the fast engine counts rounds of loops and calls."""

    __slots__ = ("_budget", "_native", "name")

    def __init__(self, *, budget: int | None = DEFAULT_BUDGET) -> None:
        self.name = "tiered"
        self._budget = budget
        self._native = NativeEngine(budget=budget)

    def compile(self, insns: Sequence[Insn], env: Env, base: int | None = None) -> TieredProgram:
        native = self._native.compile(insns, env, base)
        return TieredProgram(FastProgram(insns, env, self._budget, base=native.base), native)
