"""What an engine needs from the kernel around it, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from bombus.isa.insn import Insn
from bombus.vm.memory import Memory

HelperFn = Callable[[int, int, int, int, int], int]
"""A bound helper: r1..r5 as unsigned 64-bit ints in, r0 as any int out (the engine masks it to 64 bits)."""


class Compiled(Protocol):
    """A program ready to run on some engine."""

    def run(self, ctx: int) -> int:
        """Run from instruction 0 with r1 = ctx; returns r0 as u64. Raises VmFault."""

    def call(self, address: int, args: Sequence[int]) -> int:
        """Call the subprogram whose BPF_PSEUDO_FUNC address is `address` (for callbacks); returns r0."""


class Env(Protocol):
    """One program's surroundings. Bound when the program is loaded, so calls need no look-up."""

    memory: Memory

    def helper(self, number: int) -> HelperFn:
        """The body of a helper, bound to this program. Asked once per call site, when compiling."""

    def kfunc(self, btf_id: int, module_fd_index: int) -> HelperFn:
        """The body of a kfunc, bound to this program."""

    def tail_call(self, ctx: int, array: int, index: int) -> Compiled | None:
        """The program that bpf_tail_call jumps to, or None to fall through (empty slot, out of range)."""


class Engine(Protocol):
    name: str

    def compile(self, insns: Sequence[Insn], env: Env) -> Compiled:
        """Make insns runnable. ld_imm64 pseudo values are already addresses, except BPF_PSEUDO_FUNC,
        whose imm is the target's instruction offset and which the engine turns into a function address."""
