"""A few fuzzed programs of each topic against the running kernel: verdict and errno are the same.

BOMBUS_FUZZ_COUNT sets how many (of each topic), BOMBUS_FUZZ_SEED where they begin.
Long runs: fuzz/fuzz_verifier_linux.py.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bombus.errors import KernelError
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.spec.version import since
from bombus.verifier.program import ROOT

_FUZZ = Path(__file__).resolve().parents[2] / "fuzz"
COUNT = int(os.environ.get("BOMBUS_FUZZ_COUNT", "120"))
EVERY = int(os.environ.get("BOMBUS_SWEEP_EVERY", "7"))  # of the many calls of functions, each so-manieth
SEED = int(os.environ.get("BOMBUS_FUZZ_SEED", "31000000"))
TOPICS = ("scalar", "memory", "packet", "context", "calls", "calls_any", "helper", "raw", "mutate", "kernel",
          "kfunc", "wild",
          "mutate_typed")
_SAME = frozenset(("same", "log", "processed", "message", "not supported", "configuration", "too long"))

pytestmark = pytest.mark.linux


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Any]:
    kernel = LinuxKernel()
    if not since("6.18") <= kernel.version < since("6.19"):
        pytest.skip(f"the fuzzer knows the answers of Linux 6.18, this is {kernel.version}")
    sys.path.insert(0, str(_FUZZ))
    try:
        yield importlib.import_module("fuzz_verifier_linux")
    finally:
        sys.path.remove(str(_FUZZ))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.fixture(scope="module")
def world(fuzzer: Any) -> Iterator[Any]:
    try:
        made = fuzzer.make_world(LinuxKernel())
    except KernelError as error:
        pytest.skip(f"bpf(2) is refused: {error}")
    yield made
    for fd in (*made.infos, *made.btfs.values()):
        os.close(fd)


@pytest.mark.parametrize("topic", TOPICS)
def test_verdict_and_errno_equal_the_kernels(topic: str, fuzzer: Any, world: Any) -> None:
    generator = fuzzer.generators(world, (topic,)).get(topic)
    if generator is None:
        pytest.skip("the recorded programs are not beside the repository")
    judge = fuzzer.Judge(world, ROOT, 1000)
    different = []
    compared = 0
    for seed in range(SEED, SEED + COUNT):
        kind, _theirs, _ours, note = judge.compare(generator(random.Random(seed)))
        compared += kind in ("same", "log", "processed", "message")
        if kind not in _SAME:
            different.append(f"seed {seed}: {kind}: {note}")
    assert not different
    assert compared > COUNT // 2


@pytest.mark.parametrize("what", ["contexts", "calls"])
def test_tables_equal_the_kernels(what: str, fuzzer: Any, world: Any) -> None:
    """What every argument of every tracepoint, iterator and struct_ops member is; who may call which function."""
    if world.vmlinux is None:
        pytest.skip("the kernel's BTF is not readable")
    sweeps = importlib.import_module("verifier_sweeps")
    types = importlib.import_module("verifier_kernel_types").KernelTypes(world.vmlinux)
    judge = fuzzer.Judge(world, ROOT, 1000)
    different = []
    compared = 0
    cases = sweeps.contexts(types) if what == "contexts" else sweeps.calls(world, types)
    for number, (name, case) in enumerate(cases):
        if what == "calls" and (number + SEED) % EVERY:
            continue
        kind, _theirs, _ours, note = judge.compare(case)
        compared += kind == "same"
        if kind not in ("same", "not supported", "configuration"):
            different.append(f"{name}: {kind}: {note}")
    assert not different
    assert compared > 500
