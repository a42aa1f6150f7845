"""Steps that run others more than once, or later: iterators over numbers, loops that may_goto ends, timers. Sections in
which nothing else runs, and memory taken for an object of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jit_aliases import KEY, AliasSteps
from jit_shapes import Shape
from jit_stack import SPARE

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.isa.sample import number

# Kernel functions, as programs name them here: `fuzz_jit` gives them their types.
KFUNCS: Final = ("bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy", "bpf_rcu_read_lock",
                 "bpf_rcu_read_unlock", "bpf_preempt_disable", "bpf_preempt_enable", "bpf_rdonly_cast")  # fmt: skip
ROOM: Final = 3  # the kernel's type of 64 bytes
TIMER_BYTES: Final = 16  # that a value with a timer begins with
_ITERATOR: Final = -80  # in the stack
_SECTIONS: Final = (("bpf_rcu_read_lock", "bpf_rcu_read_unlock"), ("bpf_preempt_disable", "bpf_preempt_enable"))
_LOOKUP, _INIT, _CALLBACK, _START, _CANCEL = 1, 169, 170, 171, 172
_ABSOLUTE: Final = 1


class FlowSteps(AliasSteps):
    """callbacks: (body's distance, what calls it: "loop", "timer" or the number of a map)."""

    callbacks: list[tuple[int, str]]

    def kfunc(self, name: str) -> list[Insn]:
        return [Insn(op.CALL, 0, op.BPF_PSEUDO_KFUNC_CALL, 0, KFUNCS.index(name)), *self.lost()]

    def plainly(self, count: int) -> list[Insn]:
        """Steps without branches, and whose numbers are no offsets: what goes round does so in one state."""
        steps: list[Callable[[int], list[Insn]]] = [self.arithmetic, self.memory, self.memory, self.atomic]
        return [insn for _ in range(count) for insn in self.rng.choice([*steps, self.ordered])(9)]

    def iterate(self, depth: int) -> list[Insn]:
        """For each of some numbers."""
        rng = self.rng
        if depth > 1 or self.busy:
            return self.arithmetic(depth)
        here = [b.mov(1, b.R10), b.add(1, _ITERATOR)]
        end = [b.mov(3, rng.choice((0, 1, 3, 5)))]
        if rng.random() < 0.4:
            end = [b.ldx("u8", 3, 8, rng.randrange(64)), b.and_(3, 7)]
        new = [*here, b.mov(2, rng.choice((0, 0, 1, -2))), *end, *self.kfunc("bpf_iter_num_new")]
        body = [b.ldx(rng.choice(("u32", "s32")), 0, 0, 0), *self.plainly(rng.randint(1, 4))]
        following = [*here, *self.kfunc("bpf_iter_num_next"), b.jmp("==", 0, 0, len(body) + 1)]
        back = b.ja(-len(following) - len(body) - 1)
        return [*new, *following, *body, back, *here, *self.kfunc("bpf_iter_num_destroy"), b.mov(0, number(rng, 32))]

    def until(self, depth: int) -> list[Insn]:
        """A loop that may_goto lets end, and that a number in memory ends: the verifier does not follow that."""
        rng = self.rng
        if depth > 1 or 9 in self.busy:
            return self.arithmetic(depth)
        start = [b.ldx("u8", 9, 8, rng.randrange(64)), b.and_(9, rng.choice((3, 7, 15)))]
        self.busy.add(9)
        body = [b.add(9, -1), *self.plainly(rng.randint(1, 4))]
        self.busy.discard(9)
        length = len(body) + 3
        ends = b.jmp(rng.choice(("==", "s<=")), 9, 0, len(body) + 1)
        return [*start, b.may_goto(length - 1), ends, *body, b.ja(-length)]

    def section(self, depth: int) -> list[Insn]:
        begin, end = self.rng.choice(_SECTIONS)
        return [*self.kfunc(begin), b.mov(0, 1), *self.plainly(self.rng.randint(1, 3)), *self.kfunc(end), b.mov(0, 2)]

    def cast(self, depth: int) -> list[Insn]:
        """The array's value, or the stack, as an object of the kernel's, whose loads are careful; and stores."""
        rng = self.rng
        start = rng.choice(([b.mov(1, b.R8)], [b.mov(1, b.R10), b.add(1, -64)]))
        body = []
        for _ in range(rng.randint(2, 6)):
            off = rng.choice((0, 0, 8, 56))
            load = [b.ldx("u64", 1, 0, off), b.mul(2, 3), b.add(2, b.R1)]
            body += rng.choice((load, load, [b.add(4, 1), b.stx("u64", 8, off, 4)], [b.stx("u64", 10, off - 64, 2)]))
        return [*start, b.mov(2, ROOM), *self.kfunc("bpf_rdonly_cast"), b.mov(2, 0), *body, b.mov(0, b.R2),
                b.mov(1, 1)]  # fmt: skip

    def timed(self, which: int, shape: Shape) -> list[Insn]:
        """Set up the timer of an element, which rings when the program's runs are over."""
        rng = self.rng
        rows = [distance for distance, caller in self.callbacks if caller == "timer"]
        if not rows:
            return self.plainly(1)
        first, second = b.ld_imm64(2, 0, src=op.BPF_PSEUDO_FUNC)
        again = b.ldx("u64", 1, 10, SPARE)
        init = [b.mov(1, b.R0), *self.map_of(which, 2), b.mov(3, rng.choice((0, 1, 7))), *self.called(_INIT)]
        callback = [again, first._replace(off=rng.choice(rows)), second, *self.called(_CALLBACK)]
        due = [again, b.mov(2, rng.choice((0, 1, 5, 1000))), b.mov(3, _ABSOLUTE), *self.called(_START)]
        cancel = [again, *self.called(_CANCEL)]
        parts = [init, callback, due]
        if rng.random() < 0.3:
            parts = [*parts, rng.choice((cancel, due, callback))]
        used = [again, *self.used(1, TIMER_BYTES, shape.value), b.mov(1, 1)]
        code = [b.stx("u64", 10, SPARE, 0), *(insn for part in parts for insn in part), *used]
        key = [b.st("u64", 10, KEY, rng.choice((0, 1, 2, 3))), b.mov(2, b.R10), b.add(2, KEY)]
        return [*key, *self.map_of(which), *self.called(_LOOKUP), b.jmp("==", 0, 0, len(code)), *code]
