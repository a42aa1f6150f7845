"""Times of BTF work on a kernel's BTF, beside bpftool where it has the same job.

    python bench/btf.py [FILE]        (default: the running kernel's)

Every job runs in a fresh process, three times; the best is shown, in milliseconds. "cold" includes starting Python
and importing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

DEFAULT = "/sys/kernel/btf/vmlinux"

PREPARE = """
import sys, time
started = time.perf_counter()
from bombus.btf.parse import Btf
data = open(sys.argv[1], 'rb').read()
"""
JOBS: dict[str, str] = {
    "import, parse, find one struct": "Btf.parse(data).find('task_struct')",
    "parse": "started = time.perf_counter(); Btf.parse(data)",
    "find after parse": "b = Btf.parse(data); started = time.perf_counter(); b.find('task_struct')",
    "50 finds after the first": (
        "b = Btf.parse(data); n = [x for _, x in zip(range(50), b.names())]; b.find('list_head'); "
        "started = time.perf_counter(); [b.flavours(x) for x, _ in n]"
    ),
    "validate all": "b = Btf.parse(data); started = time.perf_counter(); b.validate()",
    "raw dump": (
        "from bombus.btf import dump_raw\nb = Btf.parse(data); started = time.perf_counter(); "
        "n = sum(len(x) for x in dump_raw.dump(b))"
    ),
    "C dump": (
        "from bombus.btf import dump_c\nb = Btf.parse(data); started = time.perf_counter(); "
        "n = sum(len(x) for x in dump_c.dump(b))"
    ),
    "dedup": "from bombus.btf.dedup import dedup\nb = Btf.parse(data); started = time.perf_counter(); dedup(b)",
    "write": (
        "from bombus.btf.build import Builder\nb = Builder.from_btf(Btf.parse(data)); started = time.perf_counter(); "
        "b.to_bytes()"
    ),
}
BPFTOOL = {
    "raw dump": ["btf", "dump", "file", "FILE", "format", "raw"],
    "C dump": ["btf", "dump", "file", "FILE", "format", "c"],
}


def run(job: str, path: str) -> float:
    code = f"{PREPARE}\n{JOBS[job]}\nprint((time.perf_counter() - started) * 1000)"
    times = [
        float(subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    return min(times)


def run_bpftool(job: str, path: str) -> float | None:
    tool = shutil.which("bpftool") or shutil.which("/usr/sbin/bpftool")
    if tool is None or job not in BPFTOOL:
        return None
    command = [tool, *(path if word == "FILE" else word for word in BPFTOOL[job])]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append((time.perf_counter() - started) * 1000)
    return min(times)


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    print(f"{'job':32} {'bombus ms':>10} {'bpftool ms':>11}")
    for job in JOBS:
        theirs = run_bpftool(job, path)
        print(f"{job:32} {run(job, path):10.1f} {'' if theirs is None else f'{theirs:11.1f}'}")


if __name__ == "__main__":
    main()
