"""Opening, relocating and loading an object on the running kernel, in a fresh process, beside libbpf.

    python bench/load.py [FILE] [--runs N] [--json]

FILE is an object or a binary that has one inside; the default is the largest of Debian's libbpf-tools. Shown are
milliseconds, median of N: the whole process, the processor time it took (less than the first on a busy machine), and
within it the import, opening, and relocation of all programs.
`bpftool gen min_core_btf` is the peer: it opens the same object with libbpf and resolves the same relocations against
the same BTF (and writes a small file).

With root, a middle-sized object is then opened and loaded into the kernel, beside the whole process of `bpftool prog
loadall`, interleaved. "warm load" is that alone, in a process that has loaded an object before (what a daemon or a
notebook pays); "load" is a whole fresh process with the interpreter ("python", which no load can be faster than) and
all imports (alone: "imports"); "first of a boot" is one that has no kept index of the kernel's BTF and makes it.
Modules are compiled to .pyc before; ratios to bpftool come last, of wall and of processor time.
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


LOAD = """
import sys, time
start, used = time.perf_counter(), time.process_time()
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object
print(time.perf_counter() - start, time.process_time() - used)
load(open_object(sys.argv[1]), LinuxKernel(), pin_root="").close()
"""

WARM = """
import sys, time
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object
def once():
    load(open_object(sys.argv[1]), LinuxKernel(), pin_root="").close()
once()
start, used = time.perf_counter(), time.process_time()
once()
print(time.perf_counter() - start, time.process_time() - used)
"""


def load_rows(runs: int) -> dict[str, float]:
    """Whole processes and their processor time: ours and bpftool's loading the same object, interleaved."""
    path = Path("/usr/sbin/opensnoop")
    if os.geteuid() or not path.exists() or shutil.which("bpftool") is None:
        return {}
    data = path.read_bytes()
    at, elf = next(iter(find_embedded(data)))
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "opensnoop.bpf.o"
        file.write_bytes(data[at : at + elf.size])
        place = Path(directory) / "bpf"
        place.mkdir()
        if subprocess.run(["mount", "-t", "bpf", "bombus-bench", place], check=False, capture_output=True).returncode:
            return {}
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "warm load": [sys.executable, "-c", WARM, str(file)],
            "imports": [],  # of "load"
            "load": [sys.executable, "-c", LOAD, str(file)],
            "load, first of a boot": [sys.executable, "-c", LOAD, str(file)],
            "bpftool prog loadall": ["bpftool", "prog", "loadall", str(file), str(place / "all")],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        used: dict[str, list[float]] = {name: [] for name in commands}

        def keep(name: str, took: tuple[float, float]) -> None:
            times[name].append(took[0] * 1000)
            used[name].append(took[1] * 1000)

        def printed(text: str) -> tuple[float, float]:
            wall, processor = text.split()
            return float(wall), float(processor)

        plain = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(commands["load"], env=plain, check=True, capture_output=True)  # writes .pyc files and the index
        try:
            for _ in range(runs):
                for name, command in commands.items():
                    if not command:
                        continue
                    env = dict(plain)
                    if "first" in name:
                        env["XDG_CACHE_HOME"] = str(Path(directory) / f"none{len(times[name])}")
                    before, start = _processor(), time.perf_counter()
                    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
                    took = time.perf_counter() - start, _processor() - before
                    keep(name, printed(done.stdout) if name == "warm load" else took)
                    if name == "load":
                        keep("imports", printed(done.stdout))
                    for pin in place.glob("all/*"):
                        pin.unlink()
                    if (place / "all").is_dir():
                        (place / "all").rmdir()
        finally:
            subprocess.run(["umount", place], check=False)
        rows: dict[str, float] = {}
        for name in commands:
            rows[name] = statistics.median(times[name])
            rows[f"{name}, processor"] = statistics.median(used[name])
        return rows


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
    rows |= load_rows(args.runs)
    if args.json:
        print(json.dumps(rows))
        return
    for name, value in rows.items():
        print(f"{name:32} {value:10.1f}" + ("" if name in ("object bytes", "instructions") else " ms"))
    if "load" in rows:
        for name in ("warm load", "load"):
            for kind in ("", ", processor"):
                peer = rows[f"bpftool prog loadall{kind}"]
                print(f"{f'{name} / bpftool{kind}':32} {rows[name + kind] / peer:10.2f}")


if __name__ == "__main__":
    main()
