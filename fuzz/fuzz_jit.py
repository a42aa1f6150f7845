"""Compare the native engine with the reference interpreter on random programs that the verifier accepts.

    python fuzz/fuzz_jit.py [--count N] [--seed S]

Each program is loaded into two user kernels, which verify it, and test-run there: r0, the map value, the packet are
compared. On one kernel it runs natively, without checks of what the verifier proved. Prints a line per 1,000 programs
and any program that differs with its seed. Exit status 1 when one did.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass, field

from vm_generate import VALUE_SIZE, Program, generate

from bombus.errors import BombusError, KernelError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel

_TYPES = {"socket": 1, "tc": 3, "xdp": 6}
_ARRAY = 2


@dataclass
class Machine:
    """A user kernel with one array map that all programs share."""

    engine: str
    kernel: UserKernel = field(init=False)
    map: int = field(init=False)

    def __post_init__(self) -> None:
        self.kernel = UserKernel("6.18", engine=self.engine)
        self.map = self.kernel.bpf(
            Attr("BPF_MAP_CREATE", map_type=_ARRAY, key_size=4, value_size=VALUE_SIZE, max_entries=1)
        )

    def outcome(self, program: Program, value: bytes, packet: bytes) -> tuple[int, bytes, bytes]:
        """r0 as u32, the map value, the packet. KernelError when the program is refused."""
        kernel = self.kernel
        insns: list[Insn] = [
            insn._replace(imm=self.map)
            if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_MAP_VALUE else insn
            for insn in program.insns
        ]  # fmt: skip
        fd = kernel.bpf(
            Attr(
                "BPF_PROG_LOAD", prog_type=_TYPES[program.kind], insns=encode(insns), insn_cnt=len(insns),
                license=b"GPL\0",
            )
        )  # fmt: skip
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
    def __init__(self) -> None:
        self.slow, self.native = Machine("reference"), Machine("native")
        self.refused = 0

    def compare(self, seed: int) -> str:
        """What differs; "" when nothing does."""
        rng = random.Random(seed)
        program = generate(rng, rng.choice((4, 8, 20)))
        value, packet = rng.randbytes(VALUE_SIZE), rng.randbytes(rng.choice((64, 100)))
        try:
            expected = self.slow.outcome(program, value, packet)
        except KernelError:
            self.refused += 1
            return ""
        try:
            got = self.native.outcome(program, value, packet)
        except BombusError as error:
            return f"{type(error).__name__}: {error}"
        return "" if got == expected else f"{got} instead of {expected}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    judge, different, start = Judge(), 0, time.time()
    for number, seed in enumerate(range(arguments.seed, arguments.seed + arguments.count), 1):
        difference = judge.compare(seed)
        if difference:
            different += 1
            print(f"seed {seed}: {difference}", flush=True)
        if not number % 1000:
            print(f"{number} programs, {different} differ, {judge.refused} refused, {time.time() - start:.0f} s",
                  flush=True)  # fmt: skip
    print(f"{arguments.count} programs, {different} differ, {judge.refused} refused")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
