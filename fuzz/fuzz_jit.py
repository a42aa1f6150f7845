"""Compare the native engine with the reference interpreter on random programs that the verifier accepts.

    python fuzz/fuzz_jit.py [--count N] [--seed S] [--batch B] [--thorough N] [--jobs N]

Each program is verified by a user kernel, which runs it natively without checks of what the verifier proved, over maps
in native memory, and is run by another on the reference interpreter with all checks, over maps in Python: each r0, the
maps, the packets and the lines that it printed are compared. Every other program runs over its packets in one native
call. --batch programs are compiled at a time, at level 0; every batch whose number --thorough divides at level 2, and
of each batch the programs that reach the same bytes by many pointers. The seeds are shared out to --jobs processes.
Prints a line per batch and any program that differs with its seed. Exit status 1 when one did.

Most of the time is the verifier's: a bombus that was built with BOMBUS_COMPILE=1 is faster here, too.
"""

from __future__ import annotations

import argparse
import gc
import random
import signal
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from mmap import PAGESIZE
from multiprocessing import get_context
from typing import Any, Literal

from jit_flow import KFUNCS
from jit_generate import FUNCTIONS, MapProgram, generate
from jit_shapes import JUMPS, TEXTS, Shape
from jit_stack import KEPT, texts
from jit_types import Types, kernel_types, program_types
from vm_generate import VALUE_SIZE

from bombus.errors import BombusError, KernelError
from bombus.isa import opcodes as op
from bombus.isa.insn import encode
from bombus.jit.engine import NativeProgram
from bombus.jit.together import compile_together
from bombus.kernel.api import Attr
from bombus.kernel.user.helpers.timers import run_timers
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.ringbuf import RingBufMap
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.runbatch import run_packets
from bombus.kernel.user.world import world_of
from bombus.spec.maptypes import MAP_TYPE

_TYPES = {"socket": 1, "tc": 3, "xdp": 6}
_ZERO_SEED = 64
_RDONLY_PROG = 128
_CPUS = 3
_LATER, _RINGS = 1 << 60, 3  # when timers ring, and how often those that their callbacks set anew
_COLLECT = 200_000, 50, 50  # what lives here lives for the whole batch: looking for garbage took an eighth
_SECONDS = 120
_SEEDED = ("HASH", "LRU_HASH", "PERCPU_HASH", "LRU_PERCPU_HASH", "BLOOM_FILTER")


@dataclass(frozen=True, slots=True)
class Loaded:
    """fd of a program, its maps': the array first, and those of programs that it may jump to."""

    fd: int
    maps: list[int]
    others: list[int] = field(default_factory=list)


@dataclass
class Machine:
    engine: str
    verify: Literal["strict", "off"]
    maps: str
    kernel: UserKernel = field(init=False)
    types: Types = field(init=False)
    btf: int = field(init=False)
    """descriptor of them"""
    kfuncs: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        kernel_types_, self.kfuncs = kernel_types()
        self.kernel = UserKernel("6.18", engine=self.engine, verify=self.verify, maps=self.maps, cpus=_CPUS,
                                 btf=kernel_types_)  # fmt: skip
        self.types = program_types(FUNCTIONS)
        data = self.types.data
        self.btf = self.kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))

    def _map(self, shape: Shape) -> int:
        if shape is TEXTS:
            return self._texts(shape)
        flags = shape.flags | (_ZERO_SEED if shape.type in _SEEDED else 0)
        inner = [self._map(shape.inner) for _ in range(3)] if shape.inner is not None else []
        begins = "lock" if shape.lock else "timer" if shape.timer else ""
        ids = self.types.values.get(begins, ())
        types = dict(zip(("btf_key_type_id", "btf_value_type_id"), ids, strict=bool(ids)))
        fd = self.kernel.bpf(
            Attr("BPF_MAP_CREATE", map_type=MAP_TYPE[f"BPF_MAP_TYPE_{shape.type}"].id, key_size=shape.key,
                 value_size=shape.value, max_entries=shape.entries, map_flags=flags, inner_map_fd=(inner or [0])[0],
                 btf_fd=self.btf if begins else 0, **types)
        )  # fmt: skip
        for slot, one in enumerate(inner[1:]):
            key, value = slot.to_bytes(4, "little"), one.to_bytes(4, "little")
            self.kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=key, value=value))
        self.close(inner)
        return fd

    def _texts(self, shape: Shape) -> int:
        """For programs, and since it is frozen for everybody, a constant."""
        fd = self._map(replace(shape, type="ARRAY", flags=_RDONLY_PROG))
        value = texts().ljust(shape.value, b"\0")
        self.kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=bytes(4), value=value))
        self.kernel.bpf(Attr("BPF_MAP_FREEZE", map_fd=fd))
        return fd

    def load(self, program: MapProgram) -> Loaded:
        """KernelError when it, or one that it may jump to, is refused."""
        maps = [self._map(shape) for shape in (Shape("ARRAY", 4, VALUE_SIZE, 1), *program.shapes)]
        loaded = []
        try:
            for one in (program, *program.others):
                loaded.append(self._program(one, maps))
        except KernelError:
            self.close((*loaded, *maps))
            raise
        for slot, fd in enumerate(loaded[1:]):
            key, value = slot.to_bytes(4, "little"), fd.to_bytes(4, "little")
            jumps = maps[program.shapes.index(JUMPS) + 1]
            self.kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=jumps, key=key, value=value))
        return Loaded(loaded[0], maps, loaded[1:])

    def _program(self, program: MapProgram, maps: list[int]) -> int:
        insns = list(program.insns)
        for index, insn in enumerate(insns):
            if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_MAP_VALUE:
                insns[index] = insn._replace(imm=maps[insn.imm])
            elif insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_MAP_FD:
                insns[index] = insn._replace(imm=maps[insn.imm + 1])
            elif insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_KFUNC_CALL:
                insns[index] = insn._replace(imm=self.kfuncs[KFUNCS[insn.imm]])
        rows = zip(program.starts, program.kinds, strict=True)
        starts = b"".join(
            struct.pack("<II", at, self.types.functions[kind] + number) for number, (at, kind) in enumerate(rows)
        )
        return self.kernel.bpf(
            Attr("BPF_PROG_LOAD", prog_type=_TYPES[program.kind], insns=encode(insns), insn_cnt=len(insns),
                 license=b"GPL\0", prog_btf_fd=self.btf, func_info=starts, func_info_rec_size=8,
                 func_info_cnt=len(program.starts))
        )  # fmt: skip

    def close(self, fds: Iterable[int]) -> None:
        for fd in fds:
            self.kernel.close(fd)

    def outcome(self, loaded: Loaded, value: bytes, packets: Sequence[bytes], *, at_once: bool) -> tuple[object, ...]:
        """Each r0 as u32, what is in the maps, the packets (unless they run at once), what was printed. Closes the
        program."""
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
            for _ in range(_RINGS):
                run_timers(kernel, _LATER)
            items: list[Any] = [kernel.object("BPF_MAP_LOOKUP_ELEM", fd, "map") for fd in loaded.maps]
            for item in items:
                if item.type.short == "prog_array":  # they and their maps hold each other
                    for slot in range(len(loaded.others)):
                        key = slot.to_bytes(4, "little")
                        kernel.bpf(Attr("BPF_MAP_DELETE_ELEM", map_fd=loaded.maps[items.index(item)], key=key))
            found = [self.contents(item) for item in items if item.type.short != "prog_array"]
            found[0] = [(key, data[:KEPT]) for key, data in found[0]]  # an address lies behind that
            return results, found, [] if at_once else left, kernel.printk()
        finally:
            world_of(kernel).timers.clear()
            self.close((loaded.fd, *loaded.others, *loaded.maps))

    def contents(self, item: Any) -> list[object]:
        kind = item.type.short
        if kind.endswith("_of_maps"):
            slots = range(2) if kind.startswith("array") else (bytes(4), b"\1\0\0\0")
            return [self.contents(item.target(slot)) for slot in slots]
        if isinstance(item, RingBufMap):
            records = bytes(item.mmap(item.max_entries, 2 * PAGESIZE, writable=False))
            return [item.query(which) for which in (0, 2, 3)] + [records]
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
    """seconds: what a program may take (0: for ever); only Python can be stopped so, in a process's first thread.
    refused: by the verifier."""

    def __init__(self, seconds: int = 0) -> None:
        self.slow, self.native = Machine("reference", "off", "python"), Machine("native", "strict", "native")
        self.native.kernel.on_verify = lambda program: None  # verdicts are not kept on disk then
        self.refused = 0
        self.seconds = seconds
        if seconds:
            signal.signal(signal.SIGALRM, _late)

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
        self.compile([case[2] for case in cases if not case[1].aliases], level)
        self.compile([case[2] for case in cases if case[1].aliases], 2)
        for seed, program, loaded, value, packets in cases:
            at_once = bool(seed & 1)
            for machine in (self.native, self.slow):
                world_of(machine.kernel).cpu = seed // 2 % _CPUS
            machine = self.native
            if self.seconds:
                signal.alarm(self.seconds)
            try:
                got = machine.outcome(loaded, value, packets, at_once=at_once)
                machine = self.slow
                expected = machine.outcome(machine.load(program), value, packets, at_once=at_once)
            except BombusError as error:
                machine.kernel.printk()
                yield seed, f"{machine.engine}: {type(error).__name__}: {error}"
            except TimeoutError:
                yield seed, f"{machine.engine}: does not end"
            else:
                yield seed, apart(got, expected)
            finally:
                if self.seconds:
                    signal.alarm(0)

    def compile(self, programs: Iterable[Loaded], level: int) -> None:
        compiled = []
        for loaded in programs:
            for fd in (loaded.fd, *loaded.others):
                prog = self.native.kernel.object("BPF_PROG_TEST_RUN", fd, "prog")
                assert isinstance(prog, Prog) and isinstance(prog.compiled, NativeProgram)
                compiled.append(prog.compiled)
        compile_together(compiled, level=level)
        assert all(program.is_native for program in compiled)


def apart(got: object, expected: object, where: str = "") -> str:
    """The first place where two outcomes differ; "" when none does."""
    if isinstance(got, list | tuple) and isinstance(expected, list | tuple) and len(got) == len(expected):
        rows = zip(got, expected, strict=True)
        return next((text for at, row in enumerate(rows) if (text := apart(*row, f"{where}[{at}]"))), "")
    if got == expected:
        return ""
    if isinstance(got, bytes) and isinstance(expected, bytes):
        got, expected = got.hex(" ", 8), expected.hex(" ", 8)
    return f"{where}: {got} instead of {expected}"


def _late(_number: int, _frame: object) -> None:
    raise TimeoutError


def batch(first: int, end: int, level: int) -> tuple[int, list[tuple[int, str]]]:
    """How many programs of a batch were accepted, and those that differ."""
    global _judge
    if _judge is None:
        gc.set_threshold(*_COLLECT)
        _judge = Judge(_SECONDS)
    found = list(_judge.compare(range(first, end), level))
    return len(found), [row for row in found if row[1]]


_judge: Judge | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=300)
    parser.add_argument("--thorough", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    end = arguments.seed + arguments.count
    batches = [
        (first, min(first + arguments.batch, end), 0 if round_ % arguments.thorough else 2)
        for round_, first in enumerate(range(arguments.seed, end, arguments.batch), 1)
    ]
    done = tried = differ = 0
    start = time.time()
    with ExitStack() as stack:
        pool = ProcessPoolExecutor(arguments.jobs, get_context("spawn"))
        stack.callback(pool.shutdown, cancel_futures=True)  # also when LLVM refuses a batch
        jobs = {pool.submit(batch, *row): row for row in batches}
        left = list(batches)
        for job in as_completed(jobs):
            try:
                accepted, different = job.result()
            except BrokenProcessPool:  # batches begin in order
                running = ", ".join(f"{first} to {last - 1}" for first, last, _level in left[: arguments.jobs])
                print(f"a process crashed; it was one of these batches of seeds: {running}")
                return 1
            left.remove(jobs[job])
            done, tried, differ = done + accepted, tried + jobs[job][1] - jobs[job][0], differ + len(different)
            for seed, difference in different:
                print(f"seed {seed}: {difference}")
            rate = done / (time.time() - start)
            print(f"{done} programs, {differ} differ, {tried - done} refused, {rate:.0f}/s", flush=True)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
