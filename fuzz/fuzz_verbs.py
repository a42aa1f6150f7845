"""Random words for bpftool's verbs on the running kernel: any words end in an exit code, never in a traceback.

    python fuzz/fuzz_verbs.py [--seed N] [--seconds S]

Needs root and bpf(2). Works on a map, a queue and a program of its own; nothing is attached, mounted or pinned.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import time

from bombus.cli import output
from bombus.cli.main import main as bombus
from bombus.kernel.handles import Map, Program
from bombus.kernel.linux.kernel import LinuxKernel

RETURN_2 = bytes.fromhex("b7000000020000009500000000000000")
VERBS = (
    "prog show", "prog dump xlated", "prog dump jited", "prog run", "prog profile", "prog load /nowhere", "map show",
    "map dump", "map update", "map lookup", "map getnext", "map delete", "map push", "map pop", "map peek",
    "map freeze",
    "map create", "link show", "link detach", "btf show", "btf dump", "cgroup show", "cgroup attach /nowhere",
    "cgroup tree /nowhere", "net attach", "perf", "struct_ops show", "struct_ops dump", "feature list_builtins",
    "iter pin /nowhere", "version",
)  # fmt: skip
WORDS = (
    "id", "name", "pinned", "tag", "key", "value", "hex", "any", "exist", "noexist", "type", "hash", "entries", "flags",
    "inner_map", "dev", "nodev", "opcodes", "linum", "visual", "data_in", "ctx_in", "map", "prog", "format", "raw", "c",
    "effective", "multi", "override", "/nowhere", "-1", "0", "1", "2", "0x", "0xff", "255", "256", "9" * 20, "",
    "\u00e9",
    "zz", "fuzz_hash", "fuzz_queue", "fuzz_prog", "--", "-x", "--frob", "xdp", "root_id", "idx", "pinmaps",
    "autoattach",
    "/dev/null", "1e5", "+3", " 4", "0x7fffffff", "\n",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    kernel = LinuxKernel()
    with (
        Map.create(kernel, "hash", 4, 4, 4, name="fuzz_hash") as table,
        Map.create(kernel, "queue", 0, 4, 4, name="fuzz_queue") as queue,
        Program.load(kernel, "xdp", RETURN_2, name="fuzz_prog") as program,
    ):
        ids = [str(item.id) for item in (table, queue, program)]
        end, runs = time.monotonic() + options.seconds, 0
        while time.monotonic() < end:
            words = rng.choice(VERBS).split()
            if rng.random() < 0.6:
                words += ["id", rng.choice(ids)]
            words += [rng.choice((*WORDS, *ids)) for _ in range(rng.randrange(7))]
            args = ["-n", *(["-j"] if rng.random() < 0.5 else []), *words]  # -n: nothing is mounted
            output.reset()
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = bombus(args)
            assert code in (0, 1, 2), (code, args)
            assert "Traceback" not in err.getvalue(), (args, err.getvalue())
            runs += 1
    print(f"{runs} command lines, seed {options.seed}")


if __name__ == "__main__":
    main()
