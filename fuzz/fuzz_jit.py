"""Compare the native engine with the reference interpreter on random programs that the verifier accepts.

    python fuzz/fuzz_jit.py [--count N] [--seed S] [--batch B]

Each program is verified by a user kernel, which runs it natively without checks of what the verifier proved, and is run
by another on the reference interpreter with all checks: r0, the map value and the packet are compared. --batch programs
are compiled at a time. Prints a line per 10 batches and any program that differs with its seed. Exit status 1 when one
did.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from vm_generate import VALUE_SIZE, Program, generate

from bombus.errors import BombusError, KernelError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.jit.engine import NativeProgram
from bombus.jit.together import compile_together
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.prog import Prog

_TYPES = {"socket": 1, "tc": 3, "xdp": 6}
_ARRAY = 2


@dataclass
class Machine:
    """A user kernel with one array map that all programs share."""

    engine: str
    verify: Literal["strict", "off"]
    kernel: UserKernel = field(init=False)
    map: int = field(init=False)

    def __post_init__(self) -> None:
        self.kernel = UserKernel("6.18", engine=self.engine, verify=self.verify)
        self.map = self.kernel.bpf(
            Attr("BPF_MAP_CREATE", map_type=_ARRAY, key_size=4, value_size=VALUE_SIZE, max_entries=1)
        )

    def load(self, program: Program) -> int:
        """KernelError when the program is refused."""
        insns: list[Insn] = [
            insn._replace(imm=self.map)
            if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_MAP_VALUE else insn
            for insn in program.insns
        ]  # fmt: skip
        return self.kernel.bpf(
            Attr(
                "BPF_PROG_LOAD", prog_type=_TYPES[program.kind], insns=encode(insns), insn_cnt=len(insns),
                license=b"GPL\0",
            )
        )  # fmt: skip

    def outcome(self, fd: int, value: bytes, packet: bytes) -> tuple[int, bytes, bytes]:
        """r0 as u32, the map value, the packet. Closes the program."""
        kernel = self.kernel
        try:
            kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=self.map, key=bytes(4), value=value))
            out = bytearray(4096)
            attr = Attr("BPF_PROG_TEST_RUN", prog_fd=fd, data_in=packet, data_size_in=len(packet), data_out=out,
                        data_size_out=len(out))  # fmt: skip
            kernel.bpf(attr)
            found = bytearray(VALUE_SIZE)
            kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=self.map, key=bytes(4), value=found))
            return attr.get("retval"), bytes(found), bytes(out[: attr.get("data_size_out")])
        finally:
            kernel.close(fd)


class Judge:
    """refused: by the verifier."""

    def __init__(self) -> None:
        self.slow, self.native = Machine("reference", "off"), Machine("native", "strict")
        self.refused = 0

    def compare(self, seeds: Iterable[int]) -> Iterator[tuple[int, str]]:
        """The seed of each program that was accepted, and what differs; "" when nothing does."""
        cases = []
        for seed in seeds:
            rng = random.Random(seed)
            program = generate(rng, rng.choice((4, 4, 8, 20)))
            inputs = rng.randbytes(VALUE_SIZE), rng.randbytes(rng.choice((64, 100)))
            try:
                cases.append((seed, program, self.native.load(program), inputs))
            except KernelError:
                self.refused += 1
        compiled = []
        for _, _, fd, _ in cases:
            prog = self.native.kernel.object("BPF_PROG_TEST_RUN", fd, "prog")
            assert isinstance(prog, Prog) and isinstance(prog.compiled, NativeProgram)
            compiled.append(prog.compiled)
        compile_together(compiled)
        for seed, program, fd, inputs in cases:
            try:
                got = self.native.outcome(fd, *inputs)
            except BombusError as error:
                yield seed, f"{type(error).__name__}: {error}"
                continue
            expected = self.slow.outcome(self.slow.load(program), *inputs)
            yield seed, "" if got == expected else f"{got} instead of {expected}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=100)
    arguments = parser.parse_args()
    judge, different, done, start = Judge(), 0, 0, time.time()
    end = arguments.seed + arguments.count
    for round_, first in enumerate(range(arguments.seed, end, arguments.batch), 1):
        for seed, difference in judge.compare(range(first, min(first + arguments.batch, end))):
            done += 1
            if difference:
                different += 1
                print(f"seed {seed}: {difference}", flush=True)
        if not round_ % 10:
            print(f"{done} programs, {different} differ, {judge.refused} refused, {time.time() - start:.0f} s",
                  flush=True)  # fmt: skip
    print(f"{done} programs, {different} differ, {judge.refused} refused")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
