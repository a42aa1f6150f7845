"""Random dialect programs: plain Python against BPF on Linux (or on the user kernel), result for result.

    python fuzz/fuzz_dialect.py --count 50000 [--seed 1] [--kernel linux|user] [--mcpu v4] [--level 1] [--state FILE]

With --state the counts and the next seed are kept in FILE, and a later run goes on from there.
Prints what differs, with the seed that makes it again, and counts. Exit code 1 when anything differed, was not built,
or was refused for another reason than that it is too much for the verifier.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from dialect_generate import Generator

from bombus.bpf.core import GLOBALS
from bombus.bpf.machine import use
from bombus.bpf.program import Program
from bombus.btf.parse import Btf
from bombus.compiler.build import build_module
from bombus.compiler.importing import import_source
from bombus.errors import BombusError, KernelError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import RingBuffer
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.plain import PlainMachine

PACKETS = 4
CPUS = ("v1", "v2", "v3", "v4")
LEVELS = (1, 2, 3)
# What Linux says of programs whose ways are too many for it: no fault of theirs or ours
TOO_MUCH = ("jumps is too complex", "BPF program is too large")
Result = tuple[list[int], list[bytes], list[int], list[int], list[bytes]]
"""Verdicts, packets, what the map `out` holds, sums over the CPUs of `sums`, records of `events`."""


def packets(seed: int) -> list[bytes]:
    rng = random.Random(seed)
    found = [rng.randbytes(20) for _ in range(PACKETS - 1)]
    return [*found, bytes(rng.choice([0, 0xFF, 0x80, 1, 0x7F]) for _ in range(20))]


def told(maps: Callable[[str], Any]) -> tuple[list[int], list[int], list[bytes]]:
    with RingBuffer(maps("events")) as reader:
        records = [bytes(record) for record in reader.read()]
    totals = [sum(maps("sums")[key]) & (1 << 64) - 1 for key in range(4)]
    return [maps("out")[key] for key in range(16)], totals, records


def in_python(module: ModuleType, program: Program[Any, Any], given: list[bytes], machine: PlainMachine) -> Result:
    for row in GLOBALS.values():
        row.view._view[:] = row.initial
    verdicts: list[int] = []
    after: list[bytes] = []
    for packet in given:
        outcome = program.run(packet)
        verdicts.append(int(outcome.verdict) & 0xFFFF_FFFF)
        after.append(outcome.data)
    return verdicts, after, *told(lambda name: machine.map(module.__dict__[name]))


def in_bpf(loaded: Any, name: str, given: list[bytes]) -> Result:
    program = loaded.programs[name]
    verdicts: list[int] = []
    after: list[bytes] = []
    for packet in given:
        done = program.test_run(packet)
        verdicts.append(done.retval)
        after.append(done.data)
    return verdicts, after, *told(lambda name: loaded.maps[name])


def kernel_of(name: str) -> Kernel:
    if name == "linux":
        return LinuxKernel()
    from bombus.kernel.user.kernel import UserKernel

    return UserKernel(version="6.12")


@cache
def types_of(kernel: Kernel) -> Btf | None:
    """The kernel's BTF, read once."""
    return Btf.parse(kernel.vmlinux_btf()) if isinstance(kernel, LinuxKernel) else None


def one_module(seed: int, programs: int, kernel: Kernel, counts: dict[str, int], cpu: str, level: int) -> None:
    """Compare the programs of one seed."""
    text = Generator(seed, kfuncs=isinstance(kernel, LinuxKernel), cpu=cpu).module(programs)
    path = f"seed-{seed}.py"
    try:
        module = import_source(text, path)
        data = build_module(module, cpu=cpu, level=level)
    except BombusError as error:
        counts["not built"] += programs
        print(f"seed {seed}: {type(error).__name__} {str(error)[:600]}", flush=True)
        return
    obj = read_object(data, name="fuzz")
    given = packets(seed)
    for index in range(programs):
        name = f"p{index}"
        try:
            loaded = load(obj, kernel, programs=[name], btf=types_of(kernel))
        except KernelError as error:
            if any(word in error.log for word in TOO_MUCH):
                counts["too much for the verifier"] += 1
                continue
            counts["refused"] += 1
            last = [line for line in error.log.splitlines() if line][-2:]
            print(f"seed {seed} {name}: refused: {error.text[:80]} {last}", flush=True)
            continue
        with loaded:
            compiled = in_bpf(loaded, name, given)
        machine = PlainMachine()
        with use(machine):
            plain = in_python(module, module.__dict__[name], given, machine)
            counts["compared"] += 1
            if plain != compiled:
                counts["different"] += 1
                print(f"seed {seed} {name}: DIFFERENT\n  plain {plain}\n  bpf   {compiled}", flush=True)
    GLOBALS.clear()


def build_options(options: argparse.Namespace, seed: int) -> tuple[str, int]:
    """The cpu and the level for a seed: by turns where "all" is asked for."""
    cpu = CPUS[seed % len(CPUS)] if options.mcpu == "all" else options.mcpu
    level = LEVELS[seed // len(CPUS) % len(LEVELS)] if options.level == "all" else int(options.level)
    return cpu, level


def keep(path: Path, seed: int, counts: dict[str, int]) -> None:
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps({"seed": seed, "counts": counts}) + "\n")
    os.replace(partial, path)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=10, help="in one module")
    parser.add_argument("--kernel", choices=["linux", "user"], default="linux")
    parser.add_argument("--mcpu", choices=[*CPUS, "all"], default="v3")
    parser.add_argument("--level", choices=[*map(str, LEVELS), "all"], default="2")
    parser.add_argument("--state", type=Path, help="a file that keeps counts and the next seed")
    parser.add_argument("--show", action="store_true", help="print the module of --seed and end")
    options = parser.parse_args()
    if options.show:
        cpu, _level = build_options(options, options.seed)
        print(Generator(options.seed, kfuncs=options.kernel == "linux", cpu=cpu).module(options.programs))
        return 0
    kernel = kernel_of(options.kernel)
    counts = {"compared": 0, "different": 0, "refused": 0, "too much for the verifier": 0, "not built": 0}
    start = time.monotonic()
    seed = options.seed
    if options.state is not None and options.state.exists():
        kept = json.loads(options.state.read_text())
        seed, counts = kept["seed"], kept["counts"]
    first = seed
    while sum(counts[key] for key in counts if key != "different") < options.count:
        one_module(seed, options.programs, kernel, counts, *build_options(options, seed))
        seed += 1
        if options.state is not None:
            keep(options.state, seed, counts)
    took = time.monotonic() - start
    print(f"{counts}, {took:.0f} s, seeds {first} to {seed - 1}")
    return 1 if counts["different"] or counts["not built"] or counts["refused"] else 0


if __name__ == "__main__":
    sys.exit(main())
