"""Peak memory and CPU time of verifying the longest programs of the BPF selftests, each in a process of its own.

    bench/verifier_memory.py [--kernel 6.18] [--minimum INSNS] [--python PYTHON] [--json]

The programs are those of the recorded answers beside the repository of which the kernel processed at least `--minimum`
instructions (500,000). `--python` names another interpreter, such as that of an environment where bombus was built
ahead of time. "rss" is the process's peak resident memory, "start" what it was before verification.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _child() -> None:
    """Verify the pickled program of standard input, print its figures."""
    import bombus.verifier.main

    program = pickle.load(sys.stdin.buffer)
    start = _peak()
    began = time.process_time()
    verdict = bombus.verifier.main.verify(program)
    spent = time.process_time() - began
    print(json.dumps({
        "insns": verdict.processed, "states": verdict.total_states, "errno": verdict.errno, "start": start,
        "rss": _peak(), "seconds": round(spent, 2),
    }))  # fmt: skip


def _peak() -> int:
    """Of this process, in MiB. (ru_maxrss would be that of the parent, if that was more.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="6.18", choices=("6.1", "6.12", "6.18"))
    parser.add_argument("--minimum", type=int, default=500_000)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child()
        return
    sys.path.insert(0, str(ROOT / "tests" / "verifier"))
    import answers
    import corpus

    if not corpus.ORACLE.is_dir():
        print("there are no recorded answers beside the repository (BOMBUS_ORACLE names another place)")
        return
    found = []
    for row in answers.selftests(options.kernel, big=True):
        if row.insns < options.minimum:
            continue
        data = pickle.dumps(replace(row.program, log_level=0))
        command = [options.python, __file__, "--child"]
        said = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
        found.append({"program": row.name, **json.loads(said)})
        if not options.json:
            one = found[-1]
            print(
                f"{one['program']:55} {one['insns']:8} insns {one['states']:6} states "
                f"{one['start']:4} -> {one['rss']:4} MiB {one['seconds']:6.2f} s", flush=True,
            )  # fmt: skip
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
