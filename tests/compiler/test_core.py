"""Kernel structs by name: relocated by the loader, and right on the running kernel."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest

from bombus.bpf.machine import use
from bombus.compiler.build import build_module, build_source
from bombus.compiler.importing import import_file
from bombus.errors import DialectError, NotSupported
from bombus.kernel.api import Kernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.plain import PlainMachine

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "bpf"
FIELD_OFFSET, FIELD_EXISTS, TYPE_EXISTS = 0, 2, 8  # enum bpf_core_relo_kind


def example(name: str) -> ModuleType:
    return import_file(str(EXAMPLES / f"{name}.py"))


def test_relocations() -> None:
    obj = read_object(build_module(example("task_versions")))
    assert obj.btf is not None
    found = {
        (obj.btf.name(relo.type_id), obj.btf.string(relo.access), int(relo.kind))
        for function in obj.functions.values()
        for relo in function.core
    }
    assert ("task_struct", "0:1", FIELD_OFFSET) in found
    assert ("task_struct", "0:1", FIELD_EXISTS) in found
    assert ("task_struct___old", "0:0", FIELD_EXISTS) in found
    assert ("no_such_struct", "0", TYPE_EXISTS) in found


def test_task_on_linux(linux_kernel: Kernel) -> None:
    module = example("task_parents")
    with load(read_object(build_module(module)), linux_kernel) as loaded:
        assert loaded.programs["look"].test_run(ctx=bytes(16)).retval == 0
        data = loaded.maps["families"].raw.lookup(bytes(4))
    family = module.Family._at(memoryview(data))
    assert (family.own, family.parent) == (os.getpid(), os.getppid())
    comm = Path("/proc/self/comm").read_bytes().strip()
    assert bytes(family.comm).rstrip(b"\0") == comm


def test_existence_on_linux(linux_kernel: Kernel) -> None:
    with load(read_object(build_module(example("task_versions"))), linux_kernel) as loaded:
        assert loaded.programs["look"].test_run(ctx=bytes(8)).retval == 0
        values = [loaded.maps["started"][key] for key in range(4)]
    assert values[0] > 0
    assert values[1:] == [0, 1, 0]


PROBES = """\
from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Pointer, Struct, array, helpers, map, raw_tracepoint, s32, u8, u32, u64

LICENSE = bpf.license("GPL")


class task_struct(Struct, core=True):
    tgid: s32
    comm: Array[u8] = array(16)


class Args(Struct):
    task: Pointer[task_struct]


class Seen(Struct):
    tgid: s32
    comm: Array[u8] = array(16)


seen = map.array(u32, Seen, max_entries=1)


@raw_tracepoint("sched_switch")
def look(ctx: Args) -> int:
    slot = seen.lookup(0)
    task = ctx.task
    if slot is None or task is None:
        return 1
    slot.tgid = task.tgid
    slot.comm = task.comm
    return 0
"""


def test_plain_kernel_pointers_are_probed(linux_kernel: Kernel) -> None:
    """An argument of a raw tracepoint is a number to the verifier: its memory is read by probe_read_kernel. At address
    8 there is none, which reads as zero."""
    with load(read_object(build_source(PROBES, "probes.py")), linux_kernel) as loaded:
        slot = loaded.maps["seen"].raw
        slot.update(bytes(4), bytes([9] * 20))
        assert loaded.programs["look"].test_run(ctx=(8).to_bytes(8, "little")).retval == 0
        assert slot.lookup(bytes(4)) == bytes(20)
        assert loaded.programs["look"].test_run(ctx=bytes(8)).retval == 1


def test_licence_is_asked_for() -> None:
    with pytest.raises(DialectError, match="is for GPL-compatible programs"):
        build_source(PROBES.replace('bpf.license("GPL")', '"GPL"'), "probes.py")


def test_kernel_functions_on_linux(linux_kernel: Kernel) -> None:
    with load(read_object(build_module(example("kfunc_task"))), linux_kernel) as loaded:
        assert loaded.programs["find"].test_run(bytes(20)).retval == 2
        assert loaded.maps["tgids"][0] == os.getpid()


def test_kernel_functions_of_the_user_kernel_are_there_in_plain_python() -> None:
    module, machine = example("kfunc_task"), PlainMachine()
    with use(machine):
        assert module.find.run(bytes(60)).verdict == 2
    assert machine.contents(module.tgids)[0] == (0, os.getpid())


def test_other_kernel_functions_are_not_there_in_plain_python() -> None:
    module = example("kfunc_work")
    with use(PlainMachine()), pytest.raises(NotSupported, match="kernel function bpf_wq_init is not supported"):
        module.start.run(bytes(60))


def test_kernel_functions_have_no_body() -> None:
    text = (EXAMPLES / "kfunc_task.py").read_text().replace("-> None: ...", "-> None:\n    pass")
    with pytest.raises(DialectError, match="bpf_task_release is in the kernel and has no body"):
        build_source(text, "kfunc.py")
