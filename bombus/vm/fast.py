"""The fast engine: programs become Python source, one function per BPF function, compiled when first run.

It does what the reference interpreter does, faults included, with three differences that only broken programs
can see: the budget counts rounds of loops and calls instead of instructions; nothing can be traced; and a
program whose functions share most of their code runs on the reference interpreter.
"""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, NoReturn

from bombus.bits import U64
from bombus.errors import NotSupported, VmFault
from bombus.isa.insn import Insn
from bombus.isa.ints import INTS
from bombus.vm.binding import at, bind_calls, calls_back, function_base
from bombus.vm.body import ATOMIC, LOAD, Body
from bombus.vm.dispatch import Dispatch
from bombus.vm.env import Env
from bombus.vm.flow import Irreducible, analyse, order_blocks
from bombus.vm.memory import Memory, Region
from bombus.vm.reference import ReferenceProgram
from bombus.vm.run import DEFAULT_BUDGET, MAX_LOOPS, MAX_TAIL_CALLS, NO_FRAME, ZEROS, Run, own
from bombus.vm.structure import Structure

_serial = itertools.count()

# Functions that share code each get a copy of it; beyond this many instructions per instruction it is no
# program that a compiler wrote.
_MAX_COPIES = 4


class _TooMuch(Exception):
    """The program is left to the reference interpreter."""


class _Cache(list[Any]):
    """Region caches of one function, kept between runs: per cache (start, view, limits...).

    specs: per cache, the (size, write) of each limit; arrays: per cache, the last region of slots (region,
    limits of a slot), where the next miss looks first; epoch: `Memory.epoch` that the entries belong to.
    """

    __slots__ = ("arrays", "epoch", "specs")

    def __init__(self, specs: list[list[tuple[int, bool]]]) -> None:
        super().__init__()
        self.specs = specs
        self.arrays: list[tuple[Region, list[int]] | None] = []
        self.reset(0)

    def reset(self, epoch: int) -> None:
        self[:] = [(0, None, *[-1] * len(spec)) for spec in self.specs]
        self.arrays = [None] * len(self.specs)
        self.epoch = epoch


class FastProgram:
    """One compiled program. See `vm.env.Compiled`. One run at a time, as for the reference."""

    __slots__ = (
        "_active", "_budget", "_callbacks", "_code_lines", "_env", "_fallback", "_functions", "_insns",
        "_main", "_namespace", "_probes", "base",
    )  # fmt: skip

    def __init__(self, insns: Sequence[Insn], env: Env, budget: int | None, *, base: int | None = None) -> None:
        self._insns = list(insns)
        self._env = env
        self._budget = budget
        self.base = function_base() if base is None else base
        self._active: list[Run] = []
        self._probes = env.facts.probes if env.facts is not None else frozenset()
        self._callbacks = calls_back(self._insns, env)
        self._fallback: ReferenceProgram | None = None
        self._functions: dict[int, Callable[..., int]] = {}
        self._main: Callable[..., int] | None = None
        self._code_lines: dict[str, list[int]] = {}  # name of a code file -> instruction of each line
        self._namespace = self._names(env)
        for index, helper in bind_calls(self._insns, env).items():
            self._namespace[f"call{index}"] = helper

    # ------------------------------------------------------------------------------------------ running

    def run(self, ctx: int) -> int:
        run = Run(self._env.memory, self._budget)
        try:
            return self.enter(ctx, run)
        finally:
            run.close()

    @property
    def is_running(self) -> bool:
        """Is a run of this program going on in this thread that callbacks may come back to?"""
        return own(self._active) is not None

    def prepare(self) -> None:
        """Compile now what the first run would compile."""
        if self._main is None:
            self._main = self._function(0)

    def enter(self, ctx: int, run: Run) -> int:
        main = self._main
        if main is None:
            main = self._main = self._function(0)
        if self._fallback is not None:
            return self._fallback.enter(ctx, run)
        return self._guarded(main, (ctx & U64, 0, 0, 0, 0), run)

    def call(self, address: int, args: Sequence[int]) -> int:
        entry, rest = divmod(address - self.base, 8)
        if rest or not 0 <= entry < len(self._insns):
            raise VmFault("call", f"{address:#x} is no function of this program")
        function = self._function(entry)
        if self._fallback is not None:
            return self._fallback.call(address, args)
        registers = [*(value & U64 for value in args[:5]), 0, 0, 0, 0, 0][:5]
        run = own(self._active)
        if run is not None:
            frame = run.frame
            run.push(-1)
            try:
                return self._guarded(function, registers, run)
            finally:
                run.frame = frame
        run = Run(self._env.memory, self._budget)
        try:
            return self._guarded(function, registers, run)
        finally:
            run.close()

    def _guarded(self, function: Callable[..., int], registers: Sequence[int], run: Run) -> int:
        if self._callbacks:
            self._active.append(run)
        try:
            return function(*registers, run.frame, run)
        except VmFault as fault:
            if fault.insn >= 0:
                raise
            raise at(fault, self._instruction(fault)) from None
        except StopIteration as stop:
            raise VmFault("budget", _NO_BUDGET, insn=self._instruction(stop)) from None
        finally:
            if self._callbacks:
                self._active.remove(run)

    def _instruction(self, error: BaseException) -> int:
        """The instruction whose code raised the error: the innermost line of ours on the way."""
        found = -1
        trace = error.__traceback__
        while trace is not None:
            lines = self._code_lines.get(trace.tb_frame.f_code.co_filename)
            if lines is not None:
                found = lines[trace.tb_lineno - 1]
            trace = trace.tb_next
        return found

    # ------------------------------------------------------------------------------------------ compiling

    def source(self, entry: int = 0) -> str:
        """The Python text of one function, for people."""
        return self._write(entry)[0]

    def _function(self, entry: int) -> Callable[..., int]:
        """The function that starts at an instruction, with all that it calls. Sets the fallback when there is none."""
        if entry in self._functions or self._fallback is not None:
            return self._functions.get(entry, _nothing)
        todo = [entry]
        total = 0
        try:
            while todo:
                start = todo.pop()
                if start in self._functions:
                    continue
                if not self._insns:
                    raise _TooMuch
                text, lines, calls, specs = self._write(start)
                total += len(lines)
                if total > _MAX_COPIES * 20 * len(self._insns) + 10_000:
                    raise _TooMuch
                name = f"<bpf {next(_serial)}:{start}>"
                code: CodeType = compile(text, name, "exec", dont_inherit=True, optimize=2)
                self._code_lines[name] = lines
                self._namespace[f"C{start}"] = _Cache(specs)
                exec(code, self._namespace)
                self._functions[start] = self._namespace[f"f{start}"]
                todo += calls
        except (_TooMuch, SyntaxError, RecursionError, MemoryError):
            self._fallback = ReferenceProgram(self._insns, self._env, budget=self._budget, base=self.base)
            return _nothing
        return self._functions[entry]

    def _write(self, entry: int) -> tuple[str, list[int], list[int], list[list[tuple[int, bool]]]]:
        """Text of a function, instruction of each line, entries of the functions it calls, its caches."""
        order = order_blocks(self._insns, entry)
        try:
            body = Body(self._insns, f"C{entry}", self.base, self._callbacks, self._probes)
            analyse(order)
            Structure(body, order).write(1)
        except Irreducible:
            body = Body(self._insns, f"C{entry}", self.base, self._callbacks, self._probes)
            Dispatch(body, order).write(1)
        head = [f"def f{entry}(r1, r2, r3, r4, r5, d, run):", " stack = run.stack; fp = stack.bases[d] + 512"]
        for view, name in (("q", "bytes8"), ("w", "bytes4"), ("h", "bytes2"), ("b", "bytes1")):
            if view in body.used:
                head.append(f" {view} = stack.{name}[d]")
        zeros = [f"r{n}" for n in (0, 6, 7, 8, 9) if n in body.registers]
        if zeros:
            head.append(f" {' = '.join(zeros)} = 0")
        head.append(" ticks = run.ticks")
        if body.calls:
            head.append(" frames = stack.bytes1; top = run.top")
        if body.loops:
            head.append(f" loops = {MAX_LOOPS}")
        limits = [name for limit in body.limits for name in limit.values()]
        if limits:
            head.append(" ep = mem.epoch")
            head.append(f" if C{entry}.epoch != ep: C{entry}.reset(ep)")
            head += [f" {body.cache_variables(k)} = C{entry}[{k}]" for k in range(len(body.limits))]
            reset = f"if mem.epoch != ep: ep = mem.epoch; {' = '.join(limits)} = -1"
            for line in body.resets:
                line[1] = reset
        out = head
        insns = [entry] * len(head)
        for indent, text, insn in body.lines:
            if text is None:
                continue
            if not isinstance(text, str):
                text = body.miss_text(*text)
            out.append(f"{' ' * indent}{text}")
            insns.append(insn)
        specs = [list(limit) for limit in body.limits]
        return "\n".join(out) + "\n", insns, body.calls, specs

    def _names(self, env: Env) -> dict[str, Any]:
        memory = env.memory

        def tail_call(run: Run, frame: int, ctx: int, array: int, index: int) -> int | None:
            if run.tail_calls >= MAX_TAIL_CALLS:
                return None
            target = env.tail_call(ctx, array, index)
            return None if target is None else run.tail_call(target, ctx, frame)

        names: dict[str, Any] = {
            "VmFault": VmFault, "ZEROS": ZEROS, "mem": memory, "miss": _misser(memory), "probe": memory.probe,
            "tail_call": tail_call, "load_packet": env.load_packet, "address_cast": env.address_cast,
            "swap": int.from_bytes, "sdiv": INTS.sdiv, "srem": INTS.srem, "no_frame": _no_frame,
            "no_budget": _no_budget,
        }  # fmt: skip
        for size, code in ((2, "<H"), (4, "<I"), (8, "<Q")):
            packed = struct.Struct(code)
            names[f"get{size}"], names[f"put{size}"] = packed.unpack_from, packed.pack_into
        return names


_NO_BUDGET = "the program used up its rounds of loops and calls"
_KINDS = ("load", "store", "atomic")


def _nothing(*_: object) -> int:
    raise AssertionError("the reference interpreter runs this program")


def _no_frame() -> NoReturn:
    raise VmFault("stack", NO_FRAME)


def _no_budget() -> NoReturn:
    raise VmFault("budget", _NO_BUDGET)


def _misser(memory: Memory) -> Callable[[_Cache, int, int, int, int], tuple[Any, ...]]:
    def miss(cache: _Cache, number: int, address: int, size: int, kind: int) -> tuple[Any, ...]:
        """Find the region of an access and remember it. Raises what the reference interpreter would."""
        array = cache.arrays[number]
        if array is not None:
            region, limits = array
            offset = address - region.start
            within = offset % region.stride
            inside = 0 <= offset <= region.size - size and within + size <= region.limit
            if inside and (kind == LOAD or region.writable):
                slot = offset - within
                entry = (address - within, region.view[slot : slot + region.limit], *limits)
                cache[number] = entry
                return entry
        found = memory.find(address, size)
        if found is None:
            raise VmFault(_KINDS[kind], memory.explain(address, size), address=address, size=size)
        if kind != LOAD and not found.writable:
            raise VmFault("readonly", f"{found.name} is read-only", address=address, size=size)
        start, length, view = found.start, found.size, found.view
        if found.stride:
            slot = (address - start) // found.stride * found.stride
            start, length = start + slot, found.limit
            view = view[slot : slot + length]
        writable = found.writable
        limits = [length - n if writable or not write else -1 for n, write in cache.specs[number]]
        if found.stride:
            cache.arrays[number] = found, limits
        entry = (start, view, *limits)
        cache[number] = entry
        return entry

    return miss


class FastEngine:
    """`vm.env.Engine`. budget: rounds of loops and calls after which a run is VmFault("budget"); None: no limit.

    Raises NotSupported on big-endian machines: frames are read in host byte order.
    """

    __slots__ = ("_budget", "name")

    def __init__(self, *, budget: int | None = DEFAULT_BUDGET) -> None:
        if sys.byteorder != "little":
            raise NotSupported("the fast engine on a big-endian machine", "use the reference engine")
        self.name = "fast"
        self._budget = budget

    def compile(self, insns: Sequence[Insn], env: Env, base: int | None = None) -> FastProgram:
        return FastProgram(insns, env, self._budget, base=base)


assert len(_KINDS) - 1 == ATOMIC
