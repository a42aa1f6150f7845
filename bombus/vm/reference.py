"""The reference interpreter: slow, checked, and safe on any instructions.

It carries out the effects of `isa.semantics` read with Python ints. Every access is looked up in the table of
live regions; every wrong step is a VmFault with the index of the instruction. What verified programs never do
is defined here all the same, and every engine does the same:

- registers hold 0 until they are written, in each frame; r1 to r5 of a callee are the caller's;
- calls leave r1 to r5 as they were (a verified program may not look), and frames start filled with zeros;
- writing r10, and encodings without a meaning, are VmFault("opcode") when they are reached;
- a jump out of the program, or running off its end, is VmFault("jump") at the jump.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bombus.bits import U32, U64, s32
from bombus.errors import EncodingError, VmFault
from bombus.isa import opcodes as op
from bombus.isa import semantics as sem
from bombus.isa.insn import Insn, imm64
from bombus.isa.ints import INTS
from bombus.vm.binding import TAIL_CALL, at, bind_calls, calls_back, function_base
from bombus.vm.env import Env
from bombus.vm.memory import Memory
from bombus.vm.run import DEFAULT_BUDGET, MAX_LOOPS, MAX_TAIL_CALLS, Run, own

Trace = Callable[[int, Sequence[int]], None]
"""Called before each instruction with its index and r0..r10, which it must not change."""

class _Frame:
    """What a caller needs to go on: where, its registers, and its rounds of may_goto left."""

    __slots__ = ("back", "loops", "saved", "unset")

    def __init__(self, back: int, regs: _Registers, loops: int) -> None:
        self.back = back
        self.saved = list(regs)
        self.unset = set(regs.unset)
        self.loops = loops


class ReferenceProgram:
    """One compiled program. See `vm.env.Compiled`.

    counts: how often each instruction ran, over all runs (None unless asked for). One run at a time: a
    program is not entered from several threads.
    """

    __slots__ = ("_active", "_bound", "_budget", "_callbacks", "_env", "_insns", "_strict", "_trace", "base", "counts")

    def __init__(
        self,
        insns: Sequence[Insn],
        env: Env,
        *,
        budget: int | None = DEFAULT_BUDGET,
        trace: Trace | None = None,
        count: bool = False,
        strict: bool = False,
        base: int | None = None,
    ) -> None:
        self._insns = list(insns)
        self._env = env
        self._budget = budget
        self._trace = trace
        self._strict = strict
        self.base = function_base() if base is None else base
        self._bound = bind_calls(self._insns, env)
        self._callbacks = calls_back(self._insns, env)
        self._active: list[Run] = []
        self.counts: list[int] | None = [0] * len(self._insns) if count else None

    def prepare(self) -> None:
        pass  # nothing is compiled

    def run(self, ctx: int) -> int:
        run = Run(self._env.memory, self._budget)
        try:
            return self.enter(ctx, run)
        finally:
            run.close()

    def enter(self, ctx: int, run: Run) -> int:
        return self._guarded(0, (ctx,), run)

    def call(self, address: int, args: Sequence[int]) -> int:
        entry, rest = divmod(address - self.base, 8)
        if rest or not 0 <= entry < len(self._insns):
            raise VmFault("call", f"{address:#x} is no function of this program")
        run = own(self._active)
        if run is not None:
            run.push(-1)
            try:
                return self._guarded(entry, args, run)
            finally:
                run.frame -= 1
        run = Run(self._env.memory, self._budget)
        try:
            return self._guarded(entry, args, run)
        finally:
            run.close()

    def _guarded(self, entry: int, args: Sequence[int], run: Run) -> int:
        frame = run.frame
        if self._callbacks:
            self._active.append(run)
        try:
            return self._interpret(entry, args, run)
        finally:
            run.frame = frame
            if self._callbacks:
                self._active.remove(run)

    def _interpret(self, pc: int, args: Sequence[int], run: Run) -> int:
        """Run until the frame that `run` is in now exits."""
        insns, env, memory = self._insns, self._env, self._env.memory
        trace, counts = self._trace, self.counts
        length = len(insns)
        regs = _Registers(self._strict)
        for number, value in enumerate(args[:5], 1):
            regs[number] = value & U64
        regs[10] = run.stack.bases[run.frame] + op.MAX_BPF_STACK
        regs.begin(len(args))
        frames: list[_Frame] = []
        loops = MAX_LOOPS
        probes = env.facts.probes if env.facts is not None else ()
        here = pc
        while True:
            if not 0 <= pc < length:
                raise VmFault("jump", f"goes to {pc}, outside the program's {length} instructions", insn=here)
            here = pc
            if run.budget is not None:
                run.budget -= 1
                if run.budget < 0:
                    raise VmFault("budget", "the program used up its instructions", insn=here)
            if trace:
                trace(here, regs)
            if counts is not None:
                counts[here] += 1
            insn = insns[here]
            pc = here + 1
            left: int | None = None  # what the frame returns, when it does
            try:
                second = insns[pc] if pc < length else None
                effect: Any = sem.effect(insn, INTS, regs.read, second)
                match effect:
                    case sem.Write(reg, value):
                        regs.write(reg, value)
                    case sem.Load(reg, address, size):
                        raw = memory.probe(address, size) if here in probes else memory.load(address, size)
                        regs.write(reg, effect.extend(INTS, raw))
                    case sem.Store(address, size, value):
                        memory.store(address, size, value)
                    case sem.Branch(condition, off):
                        if condition:
                            pc += off
                    case sem.Goto(off):
                        pc += off
                    case sem.Exit():
                        left = regs.read(0)
                    case sem.CallHelper(number) if number == TAIL_CALL:
                        left = self._tail_call(regs, run)
                    case sem.CallHelper() | sem.CallKfunc():
                        regs[0] = (self._bound[here](*regs[1:6]) or 0) & U64
                        regs.called()
                    case sem.CallLocal(off):
                        if not 0 <= pc + off < length:
                            raise VmFault("call", f"there is no instruction {pc + off} to call")
                        run.push(here)
                        frames.append(_Frame(pc, regs, loops))
                        regs[6:11] = [0, 0, 0, 0, run.stack.bases[run.frame] + op.MAX_BPF_STACK]
                        regs[0] = 0
                        regs.begin(None)
                        loops = MAX_LOOPS
                        pc += off
                    case sem.Atomic():
                        self._atomic(effect, memory, regs)
                    case sem.MayGoto(off):
                        if loops:
                            loops -= 1
                        else:
                            pc += off
                    case sem.LoadPacket(offset, size):
                        found = env.load_packet(regs.read(6), s32(offset), size)
                        if found is None:
                            left = 0
                        else:
                            regs[0] = found
                            regs.called()
                    case sem.LoadPseudo(reg, kind, imm):
                        assert second is not None
                        is_function = kind == op.BPF_PSEUDO_FUNC
                        regs.write(reg, (self.base + 8 * (pc + imm)) & U64 if is_function else imm64(insn, second))
                    case sem.AddressCast(reg, value, to, from_):
                        regs.write(reg, env.address_cast(value, to, from_) & U64)
                    case _:
                        raise VmFault("opcode", "calls through a register; no kernel does")
            except EncodingError as error:
                raise VmFault("opcode", str(error), insn=here) from None
            except VmFault as fault:
                raise at(fault, here) from None
            if insn.opcode == op.LD_IMM64:
                pc += 1
            if left is not None:
                if not frames:
                    return left
                frame = frames.pop()
                run.frame -= 1
                regs.restore(frame, left)
                pc, loops = frame.back, frame.loops

    def _tail_call(self, regs: _Registers, run: Run) -> int | None:
        """What the program called returns; None when there is none."""
        ctx, array, index = regs.read(1), regs.read(2), regs.read(3)
        if run.tail_calls >= MAX_TAIL_CALLS:
            target = None
        else:
            target = self._env.tail_call(ctx, array, index & U32)
        if target is None:
            regs.called()
            return None
        return run.tail_call(target, ctx, run.frame)

    @staticmethod
    def _atomic(effect: Any, memory: Memory, regs: _Registers) -> None:
        try:
            old = memory.load(effect.address, effect.size)
        except VmFault as fault:
            raise VmFault("atomic", fault.message, address=fault.address, size=fault.size) from None
        memory.store(effect.address, effect.size, effect.update(INTS, old))
        if effect.result is not None:
            regs.write(effect.result, effect.fetched(INTS, old))


class _Registers(list[int]):
    """r0 to r10. With `strict`, reading one that was not written in this frame is VmFault("register")."""

    __slots__ = ("_strict", "unset")

    def __init__(self, strict: bool) -> None:
        super().__init__([0] * 11)
        self._strict = strict
        self.unset: set[int] = set()

    def read(self, reg: int) -> int:
        if reg in self.unset:
            raise VmFault("register", f"r{reg} is read before it is written")
        return self[reg]

    def write(self, reg: int, value: int) -> None:
        if reg == op.BPF_REG_FP:
            raise VmFault("opcode", "writes r10, the frame pointer")
        self.unset.discard(reg)
        self[reg] = value

    def begin(self, arguments: int | None) -> None:
        """A frame begins with that many arguments (None: with what the caller has in r1 to r5)."""
        if not self._strict:
            return
        if arguments is None:
            self.unset |= {0, 6, 7, 8, 9}
        else:
            self.unset = {0, 6, 7, 8, 9, *range(1 + arguments, 6)}

    def called(self) -> None:
        """A helper has come back: r1 to r5 are lost, which only strict reading notices."""
        if self._strict:
            self.unset.discard(0)
            self.unset |= {1, 2, 3, 4, 5}

    def restore(self, frame: _Frame, result: int) -> None:
        """The callee has left, the caller goes on."""
        self[0:6] = [result, *frame.saved[1:6]]
        self[6:11] = frame.saved[6:11]
        self.unset = frame.unset
        self.called()


class ReferenceEngine:
    """`vm.env.Engine`.

    budget: instructions after which a run is VmFault("budget"), None for no limit; trace: called before each
    instruction; count: keep `ReferenceProgram.counts`; strict: reading unwritten registers is a fault.
    """

    __slots__ = ("_budget", "_count", "_strict", "_trace", "name")

    def __init__(
        self,
        *,
        budget: int | None = DEFAULT_BUDGET,
        trace: Trace | None = None,
        count: bool = False,
        strict: bool = False,
    ) -> None:
        self.name = "reference"
        self._budget = budget
        self._trace = trace
        self._count = count
        self._strict = strict

    def compile(self, insns: Sequence[Insn], env: Env, base: int | None = None) -> ReferenceProgram:
        return ReferenceProgram(
            insns, env, budget=self._budget, trace=self._trace, count=self._count, strict=self._strict, base=base
        )
