"""How many instructions the dialect costs compared with C, and how long builds take.

    python bench/compiler.py [--clang clang-22]

Each program of bench/twins (C, clang -O2 -mcpu=v3) has a twin of the same name in examples/bpf.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bombus.compiler.build import build_file
from bombus.object.read import read_object

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "bpf"
LIMIT = 1.15


def instructions(data: bytes) -> int:
    """Of all functions of an object."""
    return sum(len(function.insns) for function in read_object(data).functions.values())


def twin(clang: str, source: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "twin.o"
        subprocess.run(
            [clang, "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-I/usr/include/x86_64-linux-gnu", "-c", str(source),
             "-o", str(out)], check=True,
        )  # fmt: skip
        return out.read_bytes()


def build_times(rounds: int = 7) -> None:
    """Whole processes, from start to object: the least of some rounds."""
    print(f"\n{'program':<20} {'lines':>6} {'s':>6}")
    for name in ("xdp_count", "xdp_token_bucket", "xdp_balancer", "xdp_dns"):
        path = EXAMPLES / f"{name}.py"
        times = []
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(rounds):
                start = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "bombus.cli.main", "build", str(path), "-o", f"{folder}/a.o"], check=True
                )
                times.append(time.perf_counter() - start)
        print(f"{name:<20} {len(path.read_text().splitlines()):>6} {min(times):>6.3f}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clang", default="clang-22")
    parser.add_argument("--write", action="store_true", help="keep the table in bench/compiler.txt")
    options = parser.parse_args()
    rows = [f"{'program':<20} {'C':>6} {'Python':>6} {'ratio':>6}"]
    print(rows[0])
    worst = 0.0
    for source in sorted((HERE / "twins").glob("*.c")):
        c = instructions(twin(options.clang, source))
        python = instructions(build_file(str(EXAMPLES / f"{source.stem}.py")))
        worst = max(worst, python / c)
        rows.append(f"{source.stem:<20} {c:>6} {python:>6} {python / c:>6.2f}{'  above' * (python / c > LIMIT)}")
        print(rows[-1])
    if options.write:
        head = f"Instructions of {options.clang} -O2 -mcpu=v3 and of bombus build, from bench/compiler.py --write.\n\n"
        (HERE / "compiler.txt").write_text(head + "\n".join(rows) + "\n")
    build_times()
    return 1 if worst > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
