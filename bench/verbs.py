"""CPU time of bpftool's verbs: cold processes beside `bombus --help` and bpftool, and lists of many programs.

    python bench/verbs.py [--programs N]

Needs root and bpf(2). The processes take turns; medians of all rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys

from bombus.errors import BombusError
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel

RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")
BOMBUS = [sys.executable, "-m", "bombus.cli.main"]


def cpu(words: list[str]) -> float:
    """Seconds of a child, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(title: str, commands: dict[str, list[str]], rounds: int, base: str) -> None:
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, words in commands.items():
            times[name].append(cpu(words))
    print(title)
    unit = statistics.median(times[base])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:28} {median * 1000:8.1f} ms  {median / unit:6.2f} of {base}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--programs", type=int, default=4000, help="how many there are in the longest list")
    count = parser.parse_args().programs
    if os.geteuid():
        print("bench/verbs.py needs root: skipped")
        return
    peer = shutil.which("bpftool")
    cold = {"bombus --help": [*BOMBUS, "--help"]}
    cold |= {f"bombus {noun}": [*BOMBUS, noun] for noun in ("prog", "map", "link", "btf", "net")}
    if peer:
        cold["bpftool prog"] = [peer, "prog"]
    report("cold processes, CPU time", cold, 5, "bombus --help")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 100), hard))
    try:
        kernel = LinuxKernel()
        fds: list[int] = []
        for wanted in (count // 4, count // 2, count):
            while len(fds) < wanted:
                fds.append(kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=6, insns=RETURN_0, insn_cnt=2, license=b"GPL\0")))
            many = {"bombus -j prog": [*BOMBUS, "-j", "prog"]}
            if peer:
                many["bpftool -j prog"] = [peer, "-j", "prog"]
            report(f"{wanted} programs", many, 3, "bombus -j prog")
    except (BombusError, OSError) as error:
        print(f"lists: skipped: {error}")


if __name__ == "__main__":
    main()
