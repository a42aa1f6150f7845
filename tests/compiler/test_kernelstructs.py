"""Kernel structs as a Python module, made from BTF and used by a program."""

from __future__ import annotations

import gzip
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bombus.bpf.layout import PointerType
from bombus.btf.parse import Btf
from bombus.compiler.build import build_source
from bombus.compiler.kernelstructs import kernel_module
from bombus.errors import UsageError
from bombus.kernel.api import Kernel
from bombus.loader.load import load
from bombus.object.read import read_object

NAMES = ["task_struct", "sock", "sk_buff", "file"]
PROGRAM = """\
from __future__ import annotations

from made_kernel_structs import task_struct

from bombus import bpf
from bombus.bpf import Struct, helpers, map, raw_tracepoint, u32, u64

LICENSE = bpf.license("GPL")
out = map.array(u32, u64, max_entries=8)


class Args(Struct):
    first: u64


@raw_tracepoint("sched_switch")
def look(ctx: Args) -> int:
    task = helpers.get_current_task_btf(task_struct)
    out.update(0, u64(task.tgid))
    out.update(1, u64(task.__state))
    out.update(2, u64(task.se.on_rq))
    parent = task.real_parent
    if parent is not None:
        out.update(3, u64(parent.tgid))
    out.update(4, task.start_boottime)
    return 0
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("made_kernel_structs", None)


def test_module_of_a_recorded_kernel(oracle: Path, folder: Path) -> None:
    raw = gzip.decompress((oracle / "btf" / "vmlinux-6.12.117+deb12.btf.gz").read_bytes())
    text = kernel_module(Btf.parse(raw), NAMES, whence="of Linux 6.12")
    assert text.startswith('"""Kernel structs of Linux 6.12.')
    (folder / "made_kernel_structs.py").write_text(text)
    made = importlib.import_module("made_kernel_structs")
    task = made.task_struct.LAYOUT.members
    assert {"tgid", "pid", "comm", "__state", "real_parent", "se", "start_time"} <= set(task)
    assert isinstance(task["real_parent"].type, PointerType)
    assert task["real_parent"].type.target() is made.task_struct
    assert task["mm"].type.target().__name__ == "Opaque"
    # members of the anonymous unions of sock_common
    common = made.sock.LAYOUT.members["__sk_common"].type.LAYOUT.members
    assert common["skc_dport"].type.__name__ == "be16"
    assert common["skc_daddr"].type.__name__ == "be32"
    api = pytest.importorskip("mypy.api")
    out, err, code = api.run(["--strict", "--no-error-summary", str(folder / "made_kernel_structs.py")])
    assert (out, err, code) == ("", "", 0)


def test_program_on_linux(linux_kernel: Kernel, folder: Path) -> None:
    text = kernel_module(Btf.parse(linux_kernel.vmlinux_btf()), NAMES)
    (folder / "made_kernel_structs.py").write_text(text)
    with load(read_object(build_source(PROGRAM, "kernel.py")), linux_kernel) as loaded:
        assert loaded.programs["look"].test_run(ctx=bytes(8)).retval == 0
        values = [loaded.maps["out"][key] for key in range(5)]
    assert values[:4] == [os.getpid(), 0, 1, os.getppid()]
    assert values[4] > 0


def test_unknown_struct(oracle: Path) -> None:
    raw = gzip.decompress((oracle / "btf" / "vmlinux-6.12.117+deb12.btf.gz").read_bytes())
    with pytest.raises(UsageError, match="this kernel has no struct nothing_like_it"):
        kernel_module(Btf.parse(raw), ["nothing_like_it"])
