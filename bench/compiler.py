"""How many instructions the dialect costs compared with C, and how long builds take.

    python bench/compiler.py [--clang clang-22]      # the newest clang that is there, unless said

Each program of bench/twins (C, clang -O2 -mcpu=v3) has a twin of the same name in examples/bpf.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bombus.compiler.build import build_file
from bombus.compiler.c import toolchain
from bombus.errors import BombusError
from bombus.object.read import read_object

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "bpf"
LIMIT = 1.15


def instructions(data: bytes) -> int:
    """Of all functions of an object."""
    return sum(len(function.insns) for function in read_object(data).functions.values())


def twin(clang: Sequence[str], source: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "twin.o"
        subprocess.run(
            [*clang, "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-I/usr/include/x86_64-linux-gnu", "-c", str(source),
             "-o", str(out)], check=True,
        )  # fmt: skip
        return out.read_bytes()


def build_times(rounds: int = 9) -> list[str]:
    """Whole processes, from start to object: wall and CPU seconds (the child with LLVM included), with Python's
    bytecode in place; "again" is the same from the cache. The first row is Python itself."""
    rows = [f"{'program':<18} {'lines':>5}  {'wall min':>8} {'median':>7} {'max':>7}  {'CPU min':>7} {'median':>7}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        environment["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"
        kept, off = environment | {"BOMBUS_CACHE": f"{folder}/cache"}, environment | {"BOMBUS_CACHE": "off"}
        rows.append(_row("python -c pass", "", [sys.executable, "-c", "pass"], environment, rounds))
        for name in ("xdp_count", "xdp_order", "xdp_dns"):
            path = EXAMPLES / f"{name}.py"
            command = [sys.executable, "-m", "bombus.cli.main", "build", str(path), "-o", f"{folder}/a.o"]
            lines = str(len(path.read_text().splitlines()))
            rows.append(_row(name, lines, command, off, rounds))
            rows.append(_row("  again", lines, command, kept, rounds))
    return rows


def _row(name: str, lines: str, command: list[str], environment: dict[str, str], rounds: int) -> str:
    walls, costs = [], []
    for _ in range(rounds + 1):
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, check=True, env=environment)
        after = os.times()
        walls.append(time.perf_counter() - start)
        costs.append(after.children_user + after.children_system - before.children_user - before.children_system)
    walls, costs = sorted(walls[1:]), sorted(costs[1:])  # the first fills caches
    middle = rounds // 2
    return (f"{name:<18} {lines:>5}  {walls[0]:>8.3f} {walls[middle]:>7.3f} {walls[-1]:>7.3f}  {costs[0]:>7.3f} "
            f"{costs[middle]:>7.3f}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clang", default="", help="the newest by default")
    parser.add_argument("--write", action="store_true", help="keep the table in bench/compiler.txt")
    options = parser.parse_args()
    try:
        clang = toolchain.find(options.clang or "clang").command
    except BombusError as error:
        print(error)
        return 2
    rows = [f"{'program':<20} {'C':>6} {'Python':>6} {'ratio':>6}"]
    print(rows[0])
    ratios: list[float] = []
    for source in sorted((HERE / "twins").glob("*.c")):
        c = instructions(twin(clang, source))
        python = instructions(build_file(str(EXAMPLES / f"{source.stem}.py")))
        ratios.append(python / c)
        rows.append(f"{source.stem:<20} {c:>6} {python:>6} {python / c:>6.2f}{'  above' * (python / c > LIMIT)}")
        print(rows[-1])
    rows.append(f"{len(ratios)} programs: mean {statistics.mean(ratios):.3f}, largest {max(ratios):.3f}")
    print(rows[-1])
    times = build_times()
    times.append(f"(load average of the machine meanwhile: {os.getloadavg()[0]:.1f})")
    print("", *times, sep="\n")
    if options.write:
        head = f"Instructions of {os.path.basename(clang[0])} -O2 -mcpu=v3 and of bombus build, from bench/compiler.py "
        head += "--write.\n\n"
        (HERE / "compiler.txt").write_text(head + "\n".join([*rows, "", *times]) + "\n")
    return 1 if max(ratios) > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
