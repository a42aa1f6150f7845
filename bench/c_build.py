"""Build time of a 50-line C program against plain clang with the same headers: process start to object.

CPU time and wall time of `bombus build`, with and without the precompiled vmlinux.h, of clang alone, and of Python that
only starts; interleaved, medians.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bombus.compiler.c import toolchain, vmlinux
from bombus.compiler.c.command import Options, words
from bombus.errors import BombusError

ROUNDS = 9
PROGRAM = Path(__file__).parent.parent / "tests" / "compiler_c" / "programs" / "exec.bpf.c"


def measure(run: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    run()
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    try:
        tool = toolchain.find("clang")
        types = vmlinux.folder()
    except BombusError as error:
        print(f"skipped: {error}")
        return
    with tempfile.TemporaryDirectory() as room:
        goal = os.path.join(room, "x.o")
        bombus = [sys.executable, "-m", "bombus.cli.main"]
        plain = words(tool, str(PROGRAM), goal, os.path.join(room, "rules"), Options(), [types])
        lines = {
            "clang alone": plain,
            "bombus build": [*bombus, "build", str(PROGRAM), "-o", goal],
            "bombus build, header not precompiled": [*bombus, "build", str(PROGRAM), "-o", goal, "--cflag=-w"],
            "bombus --version": [*bombus, "--version"],
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in lines}
        for _ in range(ROUNDS):
            for name, line in lines.items():
                taken[name].append(
                    measure(lambda line=line: subprocess.run(line, check=True, stdout=subprocess.DEVNULL))  # type: ignore[misc]
                )
    base = statistics.median(cpu for _wall, cpu in taken["clang alone"])
    print(f"{PROGRAM.name}, {len(PROGRAM.read_text().splitlines())} lines, {tool.name}")
    for name, rows in taken.items():
        wall, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:38} wall {wall:6.3f} s  cpu {cpu:6.3f} s  {cpu / base:5.2f} of clang's cpu")


if __name__ == "__main__":
    main()
