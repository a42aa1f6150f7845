"""Compare the native engine with the reference interpreter on random programs that the verifier accepts.

    python fuzz/fuzz_jit.py [--count N] [--seed S] [--batch B] [--thorough N]

Each program is verified by a user kernel, which runs it natively without checks of what the verifier proved, over maps
in native memory, and is run by another on the reference interpreter with all checks, over maps in Python: each r0, the
maps and the packets are compared. Every other program runs over its packets in one native call. --batch programs are
compiled at a time, at level 0; every batch whose number --thorough divides at level 2. Prints a line per 10 batches and
any program that differs with its seed. Exit status 1 when one did.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jit_generate import FUNCTIONS, MapProgram, Shape, generate
from vm_generate import VALUE_SIZE

from bombus.btf.build import Builder
from bombus.btf.types import Func, FuncProto, Int, Param
from bombus.errors import BombusError, KernelError
from bombus.isa import opcodes as op
from bombus.isa.insn import encode
from bombus.jit.engine import NativeProgram
from bombus.jit.together import compile_together
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.ringbuf import RingBufMap
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.runbatch import run_packets
from bombus.spec.maptypes import MAP_TYPE

_TYPES = {"socket": 1, "tc": 3, "xdp": 6}
_ZERO_SEED = 64
_SEEDED = ("HASH", "LRU_HASH", "PERCPU_HASH", "LRU_PERCPU_HASH", "BLOOM_FILTER")


@dataclass(frozen=True, slots=True)
class Loaded:
    """fd of a program, and its maps': the array first."""

    fd: int
    maps: list[int]


@dataclass
class Machine:
    engine: str
    verify: Literal["strict", "off"]
    maps: str
    kernel: UserKernel = field(init=False)
    functions: int = field(init=False)
    """descriptor of BTF whose last types are functions"""
    first: int = field(init=False)
    """the first of them"""

    def __post_init__(self) -> None:
        self.kernel = UserKernel("6.18", engine=self.engine, verify=self.verify, maps=self.maps)
        builder = Builder()
        number = builder.add(Int("long", 8, 1))
        proto = builder.add(FuncProto(number, (Param("given", number),)))
        self.first = proto + 1
        for place in range(FUNCTIONS):
            builder.add(Func(f"f{place}", proto, 0))
        data = builder.to_bytes()
        self.functions = self.kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))

    def _map(self, shape: Shape) -> int:
        flags = shape.flags | (_ZERO_SEED if shape.type in _SEEDED else 0)
        inner = [self._map(shape.inner) for _ in range(3)] if shape.inner is not None else []
        fd = self.kernel.bpf(
            Attr("BPF_MAP_CREATE", map_type=MAP_TYPE[f"BPF_MAP_TYPE_{shape.type}"].id, key_size=shape.key,
                 value_size=shape.value, max_entries=shape.entries, map_flags=flags, inner_map_fd=(inner or [0])[0])
        )  # fmt: skip
        for slot, one in enumerate(inner[1:]):
            key, value = slot.to_bytes(4, "little"), one.to_bytes(4, "little")
            self.kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=key, value=value))
        self.close(inner)
        return fd

    def load(self, program: MapProgram) -> Loaded:
        """KernelError when the program is refused."""
        maps = [self._map(shape) for shape in (Shape("ARRAY", 4, VALUE_SIZE, 1), *program.shapes)]
        insns = list(program.insns)
        for index, insn in enumerate(insns):
            if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_MAP_VALUE:
                insns[index] = insn._replace(imm=maps[0])
            elif insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_MAP_FD:
                insns[index] = insn._replace(imm=maps[insn.imm + 1])
        starts = b"".join(struct.pack("<II", at, self.first + number) for number, at in enumerate(program.starts))
        try:
            fd = self.kernel.bpf(
                Attr("BPF_PROG_LOAD", prog_type=_TYPES[program.kind], insns=encode(insns), insn_cnt=len(insns),
                     license=b"GPL\0", prog_btf_fd=self.functions, func_info=starts, func_info_rec_size=8,
                     func_info_cnt=len(program.starts))
            )  # fmt: skip
        except KernelError:
            self.close(maps)
            raise
        return Loaded(fd, maps)

    def close(self, fds: Iterable[int]) -> None:
        for fd in fds:
            self.kernel.close(fd)

    def outcome(self, loaded: Loaded, value: bytes, packets: Sequence[bytes], *, at_once: bool) -> tuple[object, ...]:
        """Each r0 as u32, what is in the maps, the packets (unless they run at once). Closes the program."""
        kernel = self.kernel
        try:
            kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=loaded.maps[0], key=bytes(4), value=value))
            results, left = [], []
            if at_once and self.engine == "native":
                results = list(run_packets(kernel, loaded.fd, packets))
            else:
                for packet in packets:
                    out = bytearray(4096)
                    attr = Attr("BPF_PROG_TEST_RUN", prog_fd=loaded.fd, data_in=packet, data_size_in=len(packet),
                                data_out=out, data_size_out=len(out))  # fmt: skip
                    kernel.bpf(attr)
                    results.append(attr.get("retval"))
                    left.append(bytes(out[: attr.get("data_size_out")]))
            items: list[Any] = [kernel.object("BPF_MAP_LOOKUP_ELEM", fd, "map") for fd in loaded.maps]
            return results, [self.contents(item) for item in items], [] if at_once else left
        finally:
            self.close((loaded.fd, *loaded.maps))

    def contents(self, item: Any) -> list[object]:
        kind = item.type.short
        if kind.endswith("_of_maps"):
            slots = range(2) if kind.startswith("array") else (bytes(4), b"\1\0\0\0")
            return [self.contents(item.target(slot)) for slot in slots]
        if isinstance(item, RingBufMap):
            return [item.query(which) for which in (0, 2, 3)]
        if kind == "bloom_filter":
            return []
        out: list[object] = []
        if not item.key_size:
            while isinstance(found := item.take(b"", 0), bytes):
                out.append(found)
            return out
        key: bytes | int = item.next_key(None) if item.key_size else 0
        while isinstance(key, bytes):
            out.append((key, item.read(key, 0)))
            key = item.next_key(key)
        return out


class Judge:
    """refused: by the verifier."""

    def __init__(self) -> None:
        self.slow, self.native = Machine("reference", "off", "python"), Machine("native", "strict", "native")
        self.refused = 0

    def compare(self, seeds: Iterable[int], level: int = 0) -> Iterator[tuple[int, str]]:
        """The seed of each program that was accepted, and what differs; "" when nothing does."""
        cases = []
        for seed in seeds:
            rng = random.Random(seed)
            program = generate(rng, rng.choice((2, 3, 4, 8, 14)))
            packets = [rng.randbytes(rng.choice((64, 100))) for _ in range(2)]
            try:
                cases.append((seed, program, self.native.load(program), rng.randbytes(VALUE_SIZE), packets))
            except KernelError:
                self.refused += 1
        compiled = []
        for _, _, loaded, _, _ in cases:
            prog = self.native.kernel.object("BPF_PROG_TEST_RUN", loaded.fd, "prog")
            assert isinstance(prog, Prog) and isinstance(prog.compiled, NativeProgram)
            compiled.append(prog.compiled)
        compile_together(compiled, level=level)
        assert all(program.is_native for program in compiled)
        for seed, program, loaded, value, packets in cases:
            at_once = bool(seed & 1)
            try:
                got = self.native.outcome(loaded, value, packets, at_once=at_once)
            except BombusError as error:
                yield seed, f"{type(error).__name__}: {error}"
                continue
            expected = self.slow.outcome(self.slow.load(program), value, packets, at_once=at_once)
            yield seed, "" if got == expected else f"{got} instead of {expected}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--thorough", type=int, default=10)
    arguments = parser.parse_args()
    judge, different, done, start = Judge(), 0, 0, time.time()
    end = arguments.seed + arguments.count
    for round_, first in enumerate(range(arguments.seed, end, arguments.batch), 1):
        seeds, level = range(first, min(first + arguments.batch, end)), 0 if round_ % arguments.thorough else 2
        for seed, difference in judge.compare(seeds, level):
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
