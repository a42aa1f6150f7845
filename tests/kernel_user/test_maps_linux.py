"""The same random operations on Linux and on the user kernel; the long form is fuzz/fuzz_maps_linux.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))

import fuzz_maps_linux

from bombus.errors import KernelError, NotSupported
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.maps import mapcode
from bombus.spec.maptypes import MAP_TYPES

OPS = int(os.environ.get("BOMBUS_MAP_OPS", "1500"))

NATIVE_KINDS = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "array", "percpu_array", "lpm_trie", "queue",
                "stack", "bloom_filter")  # fmt: skip

pytestmark = pytest.mark.linux


@pytest.fixture(scope="module")
def linux() -> Iterator[LinuxKernel]:
    affinity = os.sched_getaffinity(0)
    kernel = LinuxKernel()
    try:
        fd = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=9, key_size=4, value_size=4, max_entries=1))
    except (KernelError, NotSupported) as error:
        pytest.skip(f"bpf(2) is refused: {error}")
    kernel.close(fd)
    if kernel.version < (6, 12):
        pytest.skip(f"compared with Linux 6.12 and later, this is {kernel.version}")
    yield kernel
    os.sched_setaffinity(0, affinity)


@pytest.mark.parametrize("kind", [m.short for m in MAP_TYPES])
def test_same_as_linux(linux: LinuxKernel, kind: str) -> None:
    # Maps of maps wait for a grace period of the kernel after each change.
    ops = OPS // 5 if "of_maps" in kind else OPS
    pair = fuzz_maps_linux.fuzz(kind, ops, seed=5, maps="python")
    assert pair.ops >= ops
    assert len(pair.errors) >= 2


@pytest.mark.parametrize("kind", NATIVE_KINDS)
def test_native_bodies(linux: LinuxKernel, kind: str) -> None:
    if problem := mapcode.problem():
        pytest.skip(problem)
    assert fuzz_maps_linux.fuzz(kind, OPS, seed=6, maps="native").ops >= OPS
