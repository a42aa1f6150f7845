"""Opening and relocating an object against the running kernel's BTF, in a fresh process, beside libbpf.

    python bench/load.py [FILE] [--runs N] [--json]

FILE is an object or a binary that has one inside; the default is the largest of Debian's libbpf-tools. Shown are
milliseconds, median of N: the whole process, the processor time it took (less than the first on a busy machine), and
within it the import, opening, and relocation of all programs.
`bpftool gen min_core_btf` is the peer: it opens the same object with libbpf and resolves the same relocations against
the same BTF (and writes a small file).
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bombus.elf.read import find_embedded

VMLINUX = Path("/sys/kernel/btf/vmlinux")
PREPARE = """
import sys, time
start = time.perf_counter()
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import prepare
from bombus.object.read import open_object
imported = time.perf_counter()
obj = open_object(sys.argv[1])
opened = time.perf_counter()
btf = open(sys.argv[2], "rb").read()
insns = prepare(obj, LinuxKernel(), btf=btf)
done = time.perf_counter()
print(imported - start, opened - imported, done - opened, sum(map(len, insns.values())))
"""


def largest() -> bytes | None:
    """The biggest object inside libbpf-tools' binaries."""
    found: list[bytes] = []
    for path in Path("/usr/sbin").iterdir():
        if not path.is_file():
            continue
        data = path.read_bytes()
        if b"libbpf" in data:
            found += [data[at : at + elf.size] for at, elf in find_embedded(data)]
    return max(found, key=len, default=None)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(command: list[str], runs: int) -> tuple[float, float, list[str]]:
    """Medians of the whole process and of its processor time in milliseconds, and what each run printed."""
    times, processor, outputs = [], [], []
    for _ in range(runs):
        used, start = _processor(), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append((time.perf_counter() - start) * 1000)
        processor.append((_processor() - used) * 1000)
        outputs.append(done.stdout)
    return statistics.median(times), statistics.median(processor), outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    data = args.file.read_bytes() if args.file else largest()
    if data is None or not VMLINUX.exists():
        print("skipped: no libbpf-tools, or the kernel shows no BTF")
        return
    if not data.startswith(b"\x7fELF") or (args.file and not args.file.name.endswith(".o")):
        data = max((data[at : at + elf.size] for at, elf in find_embedded(data)), key=len)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "object.bpf.o"
        path.write_bytes(data)
        whole, processor, outputs = measure([sys.executable, "-c", PREPARE, str(path), str(VMLINUX)], args.runs)
        parts = [[float(word) for word in text.split()] for text in outputs]
        rows = {
            "object bytes": len(data),
            "instructions": int(parts[0][3]),
            "whole process": whole,
            "processor time": processor,
            "import": statistics.median(p[0] for p in parts) * 1000,
            "open": statistics.median(p[1] for p in parts) * 1000,
            "relocate": statistics.median(p[2] for p in parts) * 1000,
        }
        if shutil.which("bpftool"):
            small = str(Path(directory) / "small.btf")
            command = ["bpftool", "gen", "min_core_btf", str(VMLINUX), small, str(path)]
            rows["bpftool gen min_core_btf"], _, _ = measure(command, args.runs)
    if args.json:
        print(json.dumps(rows))
        return
    for name, value in rows.items():
        print(f"{name:26} {value:10.1f}" + ("" if name in ("object bytes", "instructions") else " ms"))


if __name__ == "__main__":
    main()
