"""Programs with typed pointers on the user kernel: tasks of its world, objects that a test makes, kernel functions.

The types are those of the running kernel, for a user kernel of its version.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bombus.compiler.build import build_file, build_source
from bombus.errors import BtfError, LoadError, NotSupported, ObjectError, UsageError
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.world import World, set_world
from bombus.kernel.user.world.world import Task
from bombus.loader.load import load
from bombus.object.read import read_object

pytest.importorskip("llvmlite", reason="the programs are written in Python")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "bpf"
BTF = Path("/sys/kernel/btf/vmlinux")
ENGINES = ("fast", "reference", "native", "tiered")
TOP = """
from __future__ import annotations
from bombus import bpf
from bombus.bpf import Array, Pointer, Struct, array, helpers, map, s32, syscall, tp_btf, u8, u32, u64
LICENSE = bpf.license("GPL")
class task_struct(Struct, core=True):
    pid: s32
    tgid: s32
    real_parent: Pointer[task_struct]
    comm: Array[u8] = array(16)
seen = map.array(u32, u64, max_entries=8)
"""


def _version() -> str:
    import platform

    return ".".join(platform.release().split(".")[:2])


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> UserKernel:
    if not BTF.is_file() or _version() not in ("6.12", "6.18"):
        pytest.skip("no kernel types here of a version that the verifier knows")
    made = UserKernel(_version(), btf=BTF.read_bytes(), engine=getattr(request, "param", "fast"))
    world = World.fixed()
    world.task.parent = Task(7, 7, 0, 0, b"shell")
    set_world(made, world)
    return made


Loaded = Callable[[str], Any]


@pytest.fixture
def loaded(kernel: UserKernel) -> Loaded:
    def one(source: str) -> Any:
        return load(read_object(build_source(TOP + source, "typed.py"), name="typed"), kernel)

    return one


@pytest.mark.parametrize("kernel", ENGINES, indirect=True)
def test_the_current_task_and_those_above_it(kernel: UserKernel) -> None:
    obj = load(read_object(build_file(str(EXAMPLES / "task_parents.py")), name="task_parents"), kernel)
    assert obj.programs["look"].test_run(ctx=bytes(16)).retval == 0
    family = obj.maps["families"][0]
    assert (family.own, family.parent, family.grandparent) == (1000, 7, 1)
    assert bytes(family.comm).rstrip(b"\0") == b"bombus"


SWITCH = """
class Switch(Struct):
    preempt: u64
    before: Pointer[task_struct]
    after: Pointer[task_struct]
@tp_btf("sched_switch")
def look(ctx: Switch) -> int:
    task = ctx.after
    if task is None:
        return 0
    seen.update(0, u64(task.tgid))
    parent = task.real_parent
    if parent is not None:
        seen.update(1, u64(parent.pid))
    return 0
"""


def test_arguments_of_a_tracepoint(kernel: UserKernel, loaded: Loaded) -> None:
    obj = loaded(SWITCH)
    parent = kernel.new_object("task_struct", pid=41)
    task = kernel.new_object("task_struct", pid=42, tgid=43, real_parent=parent.address, comm=b"made")
    obj.programs["look"].test_run(ctx=struct.pack("<QQQ", 0, 0, task.address))
    assert [obj.maps["seen"][i] for i in (0, 1)] == [43, 41]
    assert (task.get("comm"), task.get("tgid")) == (b"made".ljust(16, b"\0"), 43)
    for one in (task, parent):
        one.close()


@pytest.mark.parametrize("kernel", ENGINES, indirect=True)
def test_a_pointer_that_leads_nowhere_gives_0(loaded: Loaded) -> None:
    obj = loaded(SWITCH)
    obj.maps["seen"][0] = obj.maps["seen"][1] = 9
    obj.programs["look"].test_run(ctx=struct.pack("<QQQ", 0, 0, 0xFFFF_8880_0000_1000))
    assert [obj.maps["seen"][i] for i in (0, 1)] == [0, 9]


def test_kernel_functions(loaded: Loaded) -> None:
    obj = loaded("""
@bpf.kfunc
def bpf_task_from_pid(pid: s32) -> task_struct | None: ...
@bpf.kfunc
def bpf_task_release(task: task_struct) -> None: ...
class Question(Struct):
    pid: u64
    tgid: u64
@syscall
def find(ctx: Question) -> int:
    task = bpf_task_from_pid(s32(u32(ctx.pid)))
    if task is None:
        return 1
    ctx.tgid = u64(task.tgid)
    bpf_task_release(task)
    return 0
""")
    found = [obj.programs["find"].test_run(ctx=struct.pack("<QQ", pid, 99)) for pid in (1000, 7, 1, 5)]
    assert [(one.retval, struct.unpack("<QQ", one.ctx)[1]) for one in found] == [(0, 1000), (0, 7), (0, 1), (1, 99)]


def test_iterators(loaded: Loaded) -> None:
    obj = loaded("""
class Question(Struct):
    tasks: u64
    sum: u64
@syscall
def walk(ctx: Question) -> int:
    tasks = u64(0)
    total = u64(0)
    with bpf.rcu():
        for task in bpf.iterators.task(task_struct, None, 0):
            tasks += 1
            total += u64(task.pid)
    ctx.tasks = tasks
    ctx.sum = total
    return 0
""")
    out = obj.programs["walk"].test_run(ctx=bytes(16))
    assert struct.unpack("<QQ", out.ctx) == (3, 1000 + 7 + 1)


def test_storage_of_a_task(kernel: UserKernel) -> None:
    obj = load(read_object(build_file(str(EXAMPLES / "task_storage.py")), name="task_storage"), kernel)
    first, second = kernel.new_object("task_struct", pid=1), kernel.new_object("task_struct", pid=2)
    program = obj.programs["switched"]
    for before, after in ((first, second), (second, first), (first, second)):
        program.test_run(ctx=struct.pack("<QQQ", 0, before.address, after.address))
    values = sorted(struct.unpack_from("<Qi", bytes(view)) for view in _storage(kernel))
    assert values == [(1, 2), (2, 1)]


def _storage(kernel: UserKernel) -> list[memoryview]:
    from bombus.kernel.user.maps.storage import LocalStorageMap

    maps = [item for item in kernel.ids["map"] if isinstance(item, LocalStorageMap)]
    return [slot[1] for slot in maps[0].values.values()]


def test_a_typed_program_that_is_wrong_is_refused(loaded: Loaded) -> None:
    with pytest.raises(LoadError, match="invalid bpf_context access off=40 size=8"):
        loaded("""
class Far(Struct):
    room: Array[u64] = array(6)
@tp_btf("sched_switch")
def look(ctx: Far) -> int:
    if ctx.room[5] != 0:
        return 1
    return 0
""")


def test_objects_say_what_is_wrong(kernel: UserKernel) -> None:
    task = kernel.new_object("task_struct")
    with pytest.raises(UsageError, match="does not fit the 4 bytes of 'pid'"):
        task.set("pid", 1 << 40)
    with pytest.raises(UsageError, match="17 bytes do not fit the 16"):
        task.set("comm", b"x" * 17)
    with pytest.raises(BtfError, match="no member 'nothing'"):
        task.set("nothing", 1)
    task.set("in_execve", 1)
    assert task.get("in_execve") == 1 and task.get("in_iowait") == 0
    with pytest.raises(UsageError, match="2 does not fit the 1 bits of 'in_execve'"):
        task.set("in_execve", 2)
    with pytest.raises(UsageError, match="no struct no_such_struct"):
        kernel.new_object("no_such_struct")
    task.close()


def test_what_is_not_there_is_named(loaded: Loaded) -> None:
    with pytest.raises(NotSupported, match="calls bpf_throw"):
        loaded("""
class One(Struct):
    a: u64
@syscall
def p(ctx: One) -> int:
    bpf.throw(3)
    return 0
""")
    with pytest.raises(ObjectError, match="attaches by kernel BTF, and there is none"):
        load(read_object(build_source(TOP + SWITCH, "typed.py"), name="typed"), UserKernel("6.18"))
