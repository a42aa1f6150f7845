"""Cold processes of verbs beside bpftool's, and lists of many programs.

    python bench/verbs.py [--programs N] [--rounds N] [--json]

Shown are wall time and CPU time, medians of rounds in which the processes take turns, and the ratio to bpftool where it
has the same verb. Modules are compiled to .pyc before, and what outlives a process (the kernel's layout, verdicts,
objects of sources) is there: each command has run once. `bombus trace` is measured until its first event: it traces a
process of our own alone. Lists and traces need root and bpf(2).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bombus.errors import BombusError
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CALLS = EXAMPLES.parent / "tests" / "events" / "data" / "calls.bpf.o"  # an event for each getppid of one process
RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")
BOMBUS = [sys.executable, "-m", "bombus"]
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def timed(words: list[str]) -> tuple[float, float]:
    """Wall and CPU time of a process, milliseconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=ENV)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, used * 1000


def first_event(words: list[str]) -> tuple[float, float]:
    """The same of a tracing process, until it prints the first event."""
    busy = subprocess.Popen([sys.executable, "-c", "import os, time\nwhile True:\n os.getppid(); time.sleep(0.001)"])
    start = time.perf_counter()
    child = subprocess.Popen([*words, "--pid", str(busy.pid)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             env=ENV, text=True)  # fmt: skip
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("{"):
                break
        wall = time.perf_counter() - start
        used = sum(map(float, Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    finally:
        child.terminate()
        child.communicate()
        busy.kill()
        busy.wait()
    return wall * 1000, used * 1000 / os.sysconf("SC_CLK_TCK")


def measured(commands: dict[str, tuple[list[str], str]], rounds: int) -> dict[str, dict[str, Any]]:
    """commands: words by name, and the name of their peer."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, (words, _peer) in commands.items():
            run = first_event if " trace" in name else timed
            found = run(words)
            if number:
                times[name].append(found)
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    result: dict[str, dict[str, Any]] = {}
    for name, (wall, cpu) in medians.items():
        result[name] = {"wall ms": round(wall, 1), "cpu ms": round(cpu, 1)}
        peer = commands[name][1]
        if peer in medians:
            result[name]["of bpftool's wall"] = round(wall / medians[peer][0], 1)
    return result


def cold(folder: str, rounds: int) -> dict[str, dict[str, Any]]:
    traffic, packets = str(EXAMPLES / "traffic.bpf.o"), str(EXAMPLES / "traffic.pcap")
    count = str(EXAMPLES / "bpf" / "xdp_count.py")
    commands: dict[str, tuple[list[str], str]] = {
        "python": ([sys.executable, "-c", "pass"], ""),
        "bombus --help": ([*BOMBUS, "--help"], ""),
        "bombus verify": ([*BOMBUS, "verify", traffic], ""),
        "bombus run --pcap": ([*BOMBUS, "run", traffic, "--pcap", packets], ""),
        "bombus run --pcap, native": ([*BOMBUS, "run", traffic, "--pcap", packets, "--engine", "native"], ""),
        "bombus build (unchanged)": ([*BOMBUS, "build", count, "-o", f"{folder}/count.o"], ""),
    }
    if os.geteuid() == 0:
        peer = shutil.which("bpftool")
        for noun in ("prog", "map", "link", "btf", "net"):
            commands[f"bombus {noun}"] = [*BOMBUS, noun], f"bpftool {noun}"
            if peer:
                commands[f"bpftool {noun}"] = [peer, noun], ""
        commands["bombus trace, first event"] = [*BOMBUS, "trace", str(CALLS), "-j"], ""
    return measured(commands, rounds)


def lists(most: int, rounds: int) -> dict[str, dict[str, Any]]:
    peer = shutil.which("bpftool")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, most + 100), hard))
    result: dict[str, dict[str, Any]] = {}
    kernel = LinuxKernel()
    fds: list[int] = []
    for wanted in (most // 4, most // 2, most):
        while len(fds) < wanted:
            fds.append(kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=6, insns=RETURN_0, insn_cnt=2, license=b"GPL\0")))
        many = {f"bombus -j prog, {wanted} programs": ([*BOMBUS, "-j", "prog"], f"bpftool -j prog, {wanted} programs")}
        if peer:
            many[f"bpftool -j prog, {wanted} programs"] = [peer, "-j", "prog"], ""
        result |= measured(many, rounds)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--programs", type=int, default=4000, help="in the longest list; 0: no lists")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ENV["XDG_CACHE_HOME"] = f"{folder}/cache"
        ENV.pop("BOMBUS_CACHE", None)
        result = cold(folder, arguments.rounds)
    if arguments.programs and os.geteuid() == 0:
        try:
            result |= lists(arguments.programs, min(arguments.rounds, 3))
        except (BombusError, OSError) as error:
            print(f"lists: skipped: {error}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    for name, row in result.items():
        print(f"{name:36}", "  ".join(f"{value:>9} {unit}" for unit, value in row.items()))


if __name__ == "__main__":
    main()
