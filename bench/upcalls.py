"""What a call from native code into a Python function costs, beside a callback of ctypes.

    python bench/upcalls.py [--json] [--rounds N]

A sandboxed program calls a registered helper (five numbers in, one out) in a loop; the loop without the call is taken
off. ctypes' callback (two numbers in, one out) is the comparison that libc's qsort asks for. Both Python functions
return a constant. Nanoseconds a call, the median of interleaved rounds.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.jit.sandbox import Sandbox

CALLS = 100_000


def loop(body: list[Insn]) -> Sandbox:
    box = Sandbox()
    box.register(5, lambda r1, r2, r3, r4, r5: 1)
    round_ = [*body, b.sub(6, 1), Insn(op.BPF_JMP | op.BPF_JNE, 6, 0, -2 - len(body))]
    box.load(encode([b.mov(6, CALLS), *round_, b.mov(0, 0), b.exit_()]))
    box.compile()
    return box


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    calling, empty = loop([b.call(5)]), loop([])
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    qsort = ctypes.CDLL(None).qsort
    numbers = (ctypes.c_int * 4096)()
    count = 0

    def counting(_first: int, _second: int) -> int:
        nonlocal count
        count += 1
        return 0

    qsort(numbers, ctypes.c_size_t(len(numbers)), ctypes.c_size_t(4), kind(counting))
    constant = kind(lambda first, second: 0)
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append((seconds(calling.exec) - seconds(empty.exec)) / CALLS)
        spent = seconds(lambda: qsort(numbers, ctypes.c_size_t(len(numbers)), ctypes.c_size_t(4), constant))
        theirs.append(spent / count)
    here, there = (statistics.median(times) * 1e9 for times in (ours, theirs))
    if arguments.json:
        print(json.dumps({"bombus": round(here), "ctypes": round(there)}))
    else:
        print(f"a call of Python: {here:.0f} ns; by ctypes {there:.0f} ns ({here / there:.2f})")


if __name__ == "__main__":
    main()
