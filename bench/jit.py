"""The native engine beside the kernel's JIT and C, on micro programs; what compiling costs at each tier.

    python bench/jit.py [--json] [--rounds N] [--only WORD] [--fast] [--compile]

Every program of bench/jit_programs.c is built for BPF and runs on: `linux` (BPF_PROG_TEST_RUN with repeat, its own
duration), `native` (ours at level 2), `quick` (level 0), with --fast `fast` (generated Python); and, by the same clang
with -O2 -march=native, as C of this machine. Nanoseconds of one run net of the empty program, medians of interleaved
rounds after warm runs, and ratios to the kernel's JIT (geometric means at the end). A net value that is lost in the
noise of the empty program is said so and counts in no mean; a ratio with a ~ is a difference no larger than the half of
the rounds in the middle differ by. Needs clang; the column `linux` needs root. There is none for ubpf and rbpf: neither
PyPI nor Debian has them.

--compile instead: milliseconds of CPU time from instructions to runnable code by size and tier, the best of N.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bombus.errors import BombusError
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.jit.batch import Batch
from bombus.jit.compile import COMPILER
from bombus.jit.engine import NativeEngine, NativeProgram
from bombus.kernel.user.hooks.xdp import HEADROOM
from bombus.kernel.user.hooks.xdprun import borrow
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.world import world_of
from bombus.loader.load import Loaded, load
from bombus.object.read import read_object
from bombus.vm.engines import engine
from bombus.vm.env import PlainEnv

SOURCE = Path(__file__).with_name("jit_programs.c")
NAMES = ("empty", "alu", "checksum", "checksum_checked", "copy", "parse", "scan", "siphash", "jhash", "calls",
         "hash_lookup", "hash_update", "array_lookup", "lpm_lookup", "lru_update", "tail_jump")  # fmt: skip
MAPS = NAMES[10:]  # no C of this machine


def packet() -> bytes:
    """1,200 bytes: twenty 60-byte TCP packets in a row."""
    rng = random.Random(7)
    out = bytearray()
    for _ in range(20):
        one = bytearray(rng.randbytes(60))
        one[12:15] = b"\x08\x00\x45"
        one[20:22], one[23] = b"\0\0", 6
        out += one
    return bytes(out)


def clang() -> str:
    for name in ("clang-22", "clang-21", "clang-20", "clang-19", "clang"):
        found = shutil.which(name)
        if found:
            return found
    sys.exit("bench/jit.py needs clang")


def build(folder: Path) -> tuple[bytes, ctypes.CDLL]:
    obj, lib = folder / "programs.o", folder / "programs.so"
    subprocess.run([clang(), "-target", "bpf", "-O2", "-g", "-mcpu=v3", "-c", str(SOURCE), "-o", str(obj)], check=True)
    subprocess.run(
        [clang(), "-O2", "-march=native", "-DNATIVE", "-shared", "-fPIC", str(SOURCE), "-o", str(lib)], check=True
    )
    return obj.read_bytes(), ctypes.CDLL(str(lib))


def fill(loaded: Loaded) -> None:
    for i in range(64):
        loaded.maps["hash"][i] = i
    for i in range(256):
        loaded.maps["lpm"][{"length": 8, "address": i}] = i


Runner = Callable[[int], float]
"""Runs a program that often; nanoseconds of one run."""


def on_linux(loaded: Loaded, name: str) -> Runner:
    program = loaded.programs[name]

    def run(count: int) -> float:
        return float(program.test_run(packet(), repeat=count).duration)

    return run


def on_user(loaded: Loaded, name: str) -> Runner:
    kernel = loaded.kernel
    assert isinstance(kernel, UserKernel)
    prog = kernel.object("bench", loaded.programs[name].fd, "prog")
    assert isinstance(prog, Prog)
    buff = borrow(kernel, world_of(kernel))
    buff.fill(packet(), HEADROOM, len(packet()), 0)
    ctx, compiled = buff.ctx.start, prog.compiled
    compiled.prepare()

    def run(count: int) -> float:
        if isinstance(compiled, NativeProgram):
            batch = Batch(ctx=ctx, count=count)
            start = time.thread_time_ns()
            compiled.batch("repeat", batch)
            return (time.thread_time_ns() - start) / count
        start = time.thread_time_ns()
        for _ in range(count):
            compiled.run(ctx)
        return (time.thread_time_ns() - start) / count

    return run


def on_machine(lib: ctypes.CDLL, name: str) -> Runner:
    data = ctypes.create_string_buffer(packet(), len(packet()))
    start = ctypes.addressof(data)
    md = (ctypes.c_uint64 * 2)(start, start + len(data))
    lib.repeat.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
    function = ctypes.cast(getattr(lib, name), ctypes.c_void_p)

    def run(count: int) -> float:
        before = time.thread_time_ns()
        lib.repeat(function, ctypes.addressof(md), count)
        return (time.thread_time_ns() - before) / count + 0 * len(data)

    return run


def user(data: bytes, engine_name: str, level: int = 2) -> Loaded:
    kernel = UserKernel("6.12", engine=engine_name)
    before = NativeEngine.__init__.__kwdefaults__["level"]
    NativeEngine.__init__.__kwdefaults__["level"] = level
    try:
        loaded = load(read_object(data), kernel)
    finally:
        NativeEngine.__init__.__kwdefaults__["level"] = before
    fill(loaded)
    return loaded


LEAST: float = 5e6  # nanoseconds that a measurement takes at least, unless a run is very short


def calibrate(run: Runner) -> int:
    """How many runs are worth measuring. The first runs compile what is not compiled yet: they do not count."""
    for _ in range(3):
        run(1)
    count = 1
    while count < 1 << 22 and run(count) * count < LEAST:
        count *= 4
    return count


def run_programs(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows: nanoseconds of a run net of the empty program's; None where that is lost in the noise."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data, lib = build(Path(folder))
        places: dict[str, Callable[[str], Runner | None]] = {}
        if os.geteuid() == 0:
            from bombus.kernel.linux.kernel import LinuxKernel

            try:
                linux = load(read_object(data), LinuxKernel())
                fill(linux)
                places["linux"] = lambda name: on_linux(linux, name)
            except BombusError as error:
                print(f"no column linux: {error}", file=sys.stderr)
        native, quick = user(data, "native"), user(data, "native", 0)
        places["native"] = lambda name: on_user(native, name)
        places["quick"] = lambda name: on_user(quick, name)
        if arguments.fast:
            fast = user(data, "fast")
            places["fast"] = lambda name: on_user(fast, name)
        places["c"] = lambda name: None if name in MAPS else on_machine(lib, name)
        empty: dict[str, list[float]] = {}
        for name in NAMES:
            if arguments.only not in name and name != "empty":
                continue
            runs: dict[str, tuple[Runner, int, list[float]]] = {}
            for place, make in places.items():
                runner = make(name)
                if runner is not None:
                    runs[place] = runner, calibrate(runner), []
            for _ in range(arguments.rounds):
                for place, (runner, count, times) in runs.items():
                    if place != "fast" or not times:
                        times.append(runner(count))
            row: dict[str, Any] = {"program": name}
            for place, (_runner, _count, times) in runs.items():
                if name == "empty":
                    empty[place] = times
                    row[place] = statistics.median(times)
                else:
                    row[place] = net(times, empty[place])
                    row["spread"] = row.get("spread", {}) | {place: middle(times)}
            rows.append(row)
    return rows


def net(times: list[float], empty: list[float]) -> float | None:
    """The difference of the medians; None when it is no larger than what the empty program's runs differ by."""
    found = statistics.median(times) - statistics.median(empty)
    return found if found > max(empty) - min(empty) and found > 0 else None


def middle(times: list[float]) -> float:
    """By how much the half of the times in the middle differ."""
    ordered = sorted(times)
    cut = len(ordered) // 4
    return ordered[-1 - cut] - ordered[cut]


def sized(size: int) -> list[Insn]:
    """A branchy program of that many instructions."""
    rng = random.Random(size)
    out: list[Insn] = [b.mov(0, 0), b.mov(2, b.R1)]
    while len(out) < size - 4:
        out += [
            b.add(0, rng.randrange(1 << 20)),
            b.jmp(">", 2, rng.randrange(1 << 20), 2),
            b.mul(0, 31),
            b.xor(2, b.R0),
        ]
    return [*out, b.exit_()]


def cpu_time() -> float:
    """Seconds of CPU time of this process and of the child that runs LLVM."""
    child = COMPILER.pid
    # Linux 6.12 include/linux/posix-timers.h: the CPU clock of a process is named after its number.
    return time.process_time() + (time.clock_gettime(~child << 3 | 2) if child else 0)


def run_compiles(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    os.environ["BOMBUS_CACHE"] = tempfile.mkdtemp()
    NativeEngine().compile(sized(10), PlainEnv()).prepare()  # LLVM is loaded
    rows = []
    for size in (100, 300, 1000, 4000):
        row: dict[str, Any] = {"instructions": size}
        for label, make in (
            ("fast", lambda: engine("fast")), ("level 0", lambda: NativeEngine(level=0)),
            ("level 1", lambda: NativeEngine(level=1)), ("level 2", lambda: NativeEngine(level=2)),
            ("from disk", lambda: NativeEngine(level=2)),
        ):  # fmt: skip
            times = []
            for number in range(1 if label == "from disk" else 0, arguments.rounds):
                insns = sized(size)
                # Each is compiled once, and "from disk" takes what "level 2" left.
                which = "level 2" if label == "from disk" else label
                insns[0] = b.mov(0, number + 1000 * ord(which[-1]))
                program: Any = make().compile(insns, PlainEnv())
                start = cpu_time()
                program.prepare()
                times.append((cpu_time() - start) * 1e3)
            row[label] = round(min(times), 2)
        rows.append(row)
    shutil.rmtree(os.environ["BOMBUS_CACHE"])
    return rows


def cell(value: float | None) -> str:
    return "in noise" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--fast", action="store_true", help="the generated-Python engine too (slow)")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    rows = run_compiles(arguments) if arguments.compile else run_programs(arguments)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    names = [name for name in rows[0] if name != "spread"]
    print("".join(f"{name:>18}" if number else f"{name:<18}" for number, name in enumerate(names)))
    ratios: dict[str, list[float]] = {}
    for row in rows:
        cells = f"{row[names[0]]:<18}"
        for name in names[1:]:
            value = row.get(name)
            text = f"{value:.2f}" if arguments.compile else "-" if name not in row else cell(value)
            base = row.get("linux")
            if not arguments.compile and base and value and name != "linux" and row["program"] != "empty":
                same = abs(value - base) <= max(row["spread"][name], row["spread"]["linux"])
                text += f" ({value / base:.2f}{'~' * same})"
                kind = f"{name}, maps" if row["program"] in MAPS else name
                ratios.setdefault(kind, []).append(value / base)
            cells += f"{text:>18}"
        print(cells)
    for name, found in ratios.items():
        mean = math.exp(statistics.mean(map(math.log, found)))
        print(f"{name}: geometric mean of {len(found)} ratios to linux {mean:.2f}")


if __name__ == "__main__":
    main()
