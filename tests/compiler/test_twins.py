"""Programs of examples/bpf that know the kernel: the same in plain Python and on the user kernel, of the same tasks.

On Linux they are attached or test-run in test_attached.py, test_core.py and test_kernel_words.py. The last test says of
each example which test runs it in which reading.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from readings import contents, reset_globals

from bombus.bpf.contexts import BpfCgroupDevCtx, BpfSockOps, BpfSysctl
from bombus.bpf.machine import pointed, use
from bombus.compiler.build import build_module
from bombus.compiler.importing import import_file
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.storage import LocalStorageMap
from bombus.kernel.user.world import set_world, world_of
from bombus.kernel.user.world.objects import objects_of
from bombus.kernel.user.world.world import Task, World
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.plain import PlainMachine

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "bpf"


def world() -> World:
    made = World.fixed(now=5_000)
    made.task.parent = Task(7, 7, 0, 0, b"shell", start_time=3_000)
    made.task.start_time = 4_000
    made.tasks = [Task(pid, 20, 0, 0, b"threads") for pid in (22, 20, 21)]
    return made


@pytest.fixture
def machine() -> PlainMachine:
    made = PlainMachine()
    set_world(made.kernel, world())
    reset_globals()
    return made


@pytest.fixture
def kernel() -> UserKernel:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    made = UserKernel(version="6.12", btf=LinuxKernel().vmlinux_btf())
    set_world(made, world())
    return made


def built(name: str) -> tuple[ModuleType, Any]:
    module = import_file(str(EXAMPLES / f"{name}.py"))
    return module, read_object(build_module(module), name=name)


def test_task_parents(machine: PlainMachine, kernel: UserKernel) -> None:
    module, obj = built("task_parents")
    with use(machine):
        assert module.look.run(ctx=module.Args()).verdict == 0
    with load(obj, kernel) as loaded:
        assert loaded.programs["look"].test_run(ctx=bytes(16)).retval == 0
        assert contents(loaded.maps["families"]) == contents(machine.map(module.families))
    ((_key, family),) = machine.contents(module.families)
    assert (int(family.own), int(family.parent), int(family.grandparent)) == (1000, 7, 1)


def test_task_versions(machine: PlainMachine, kernel: UserKernel) -> None:
    """Plain Python has whatever the program declares; the kernel says what it has itself."""
    module, obj = built("task_versions")
    with use(machine):
        module.look.run(ctx=module.Args())
    with load(obj, kernel) as loaded:
        loaded.programs["look"].test_run(ctx=bytes(8))
        assert list(loaded.maps["started"].values()) == [4_000, 0, 1, 0]
    assert [value for _key, value in machine.contents(module.started)] == [4_000, 1, 1, 1]


def test_core_facts(machine: PlainMachine, kernel: UserKernel) -> None:
    """What is asked about the kernel differs; what is read is the same."""
    module, obj = built("core_facts")
    tasks = (world_of(machine.kernel).task, world_of(machine.kernel).tasks[0])
    with use(machine):
        task, other = (pointed(module.task_struct, objects_of(machine.kernel).task(one)) for one in tasks)
        assert module.look.run(ctx=(None, True, other, task)).verdict == 0
    there = [objects_of(kernel).task(one) for one in (world_of(kernel).task, world_of(kernel).tasks[0])]
    with load(obj, kernel) as loaded:
        assert loaded.programs["look"].test_run(ctx=struct.pack("<QQQ", 1, there[1], there[0])).retval == 0
        facts = list(loaded.maps["facts"].values())
    plain = [value for _key, value in machine.contents(module.facts)]
    assert facts[5:] == plain[5:]
    assert plain[5] == 4_000
    assert (facts[1], facts[3], facts[4], plain[1]) == (16, 27, 0, 16)


def test_task_storage(machine: PlainMachine, kernel: UserKernel) -> None:
    module, obj = built("task_storage")

    def tasks(of: UserKernel) -> list[int]:
        return [objects_of(of).task(one) for one in (world_of(of).task, world_of(of).tasks[0])]

    def kept(of: UserKernel) -> list[tuple[int, int]]:
        (item,) = (item for item in of.ids["map"] if isinstance(item, LocalStorageMap))
        return sorted(struct.unpack_from("<Qi", bytes(slot[1])) for slot in item.values.values())

    first, second = tasks(machine.kernel)
    with use(machine):
        for before, after in ((first, second), (second, first), (first, second)):
            data = struct.pack("<QQQ", 0, before, after)
            region = machine.memory.allocate(24, name="a context", kind="ctx")
            region.view[:] = data
            module.switched.run(ctx=pointed(module.Switch, region.start))
    first, second = tasks(kernel)
    with load(obj, kernel) as loaded:
        for before, after in ((first, second), (second, first), (first, second)):
            loaded.programs["switched"].test_run(ctx=struct.pack("<QQQ", 0, before, after))
        assert kept(kernel) == kept(machine.kernel) == [(1, 22), (2, 1000)]


def test_kfunc_task(machine: PlainMachine, kernel: UserKernel) -> None:
    module, obj = built("kfunc_task")
    with use(machine):
        assert module.find.run(bytes(60)).verdict == 2
    with load(obj, kernel) as loaded:
        assert loaded.programs["find"].test_run(bytes(60)).retval == 2
        assert contents(loaded.maps["tgids"]) == contents(machine.map(module.tgids))
    assert machine.contents(module.tgids)[0] == (0, 1000)


@pytest.mark.parametrize("limit", [0, 4, 100])
def test_kfunc_walk(machine: PlainMachine, kernel: UserKernel, limit: int) -> None:
    module, obj = built("kfunc_walk")
    question = module.Question(limit=limit)
    with use(machine):
        assert module.walk.run(ctx=question).verdict == 0
    with load(obj, kernel) as loaded:
        out = loaded.programs["walk"].test_run(ctx=limit.to_bytes(8, "little") + bytes(16))
        assert (out.retval, out.ctx) == (0, bytes(question))
    assert int(question.tasks) == min(limit, 6)


DEVICES = [(2, 1, 3, 2), (2, 1, 4, 2), (1, 1, 3, 2), (2, 5, 3, 4)]  # kind, major, minor, access


def test_device_guard(machine: PlainMachine) -> None:
    module, obj = built("device_guard")
    with use(machine):
        asked = [
            BpfCgroupDevCtx(access_type=access << 16 | kind, major=major, minor=minor)
            for kind, major, minor, access in DEVICES
        ]
        plain = [int(module.device.run(ctx=ctx).verdict) for ctx in asked]
    kernel = UserKernel(version="6.12")
    kernel.cgroups.mkdir("/g")
    answers = []
    with load(obj, kernel) as loaded, loaded.programs["device"].attach_cgroup("/g"):
        for kind, major, minor, access in DEVICES:
            try:
                kernel.check_device(" bc"[kind], major, minor, {2: "r", 4: "w"}[access], cgroup="/g")
                answers.append(1)
            except OSError:
                answers.append(0)
    assert answers == plain == [1, 0, 0, 0]


def test_sysctl_guard(machine: PlainMachine) -> None:
    module, obj = built("sysctl_guard")
    asked = [0, 1, 1, 0, 1]
    with use(machine):
        plain = [int(module.guard.run(ctx=BpfSysctl(write=write)).verdict) for write in asked]
    kernel = UserKernel(version="6.12")
    kernel.cgroups.mkdir("/g")
    answers = []
    with load(obj, kernel) as loaded, loaded.programs["guard"].attach_cgroup("/g"):
        setting = kernel.sysctl("net/ipv4/ip_forward", cgroup="/g")
        for write in asked:
            try:
                setting.write(b"1") if write else setting.read()
                answers.append(1)
            except OSError:
                answers.append(0)
        assert contents(loaded.maps["asked"]) == contents(machine.map(module.asked))
    assert answers == plain == [1, 0, 0, 1, 0]


def test_sockops_rtt(machine: PlainMachine) -> None:
    """A connection of the user kernel; plain Python gets the same calls."""
    module, obj = built("sockops_rtt")
    kernel = UserKernel(version="6.12")
    kernel.cgroups.mkdir("/g")
    with load(obj, kernel) as loaded, loaded.programs["watch"].attach_cgroup("/g"):
        with kernel.socket(AF_INET, SOCK_STREAM, cgroup="/g") as server:
            server.bind(("127.0.0.1", 8080))
            server.listen()
            with kernel.socket(AF_INET, SOCK_STREAM, cgroup="/g") as client:
                client.connect(("127.0.0.1", 8080))
                made, _ = server.accept()
                with made:
                    for text in (b"hello", b"again"):
                        assert client.send(text) == 5
                        assert made.recv(100) == text
        counts = [int(count) for count in loaded.maps["events"].values()]
        told = [op for op, count in enumerate(counts) for _ in range(count)]
    assert (counts[4], counts[5], counts[11]) == (1, 1, 1)  # established: one asked for it, one was asked, who listens
    assert counts[12] >= 2  # round trips, which the program asked to be told of
    region = machine.memory.allocate(224, name="a context", kind="ctx")
    world_of(machine.kernel).contexts[region.start] = SimpleNamespace(full=False)  # a request: no flags are set
    with use(machine):
        for op in told:
            region.view[:4] = op.to_bytes(4, "little")
            assert module.watch.run(ctx=pointed(BpfSockOps, region.start)).verdict == 1
    assert [int(value) for _key, value in machine.contents(module.events)] == counts


def test_kfunc_iterate_is_loaded_by_the_user_kernel(kernel: UserKernel) -> None:
    """It throws, which the user kernel does not have: the verifier of the user kernel says so."""
    from bombus.errors import NotSupported

    _module, obj = built("kfunc_iterate")
    with pytest.raises(NotSupported, match="bpf_throw"):
        load(obj, kernel)


# Readings that an example has not, and why.
WITHOUT = {
    "arena_list": ("user", "the user kernel has no arena functions"),
    "kfunc_iterate": ("user", "bpf_throw is not in the user kernel"),
    "kfunc_work": ("plain user", "work queues are not in the user kernel"),
    "syncookie_kernel": ("user", "the kernel's own SYN cookies"),
    "tcp_careful": ("user", "nothing to register a struct_ops with"),
}


def test_every_example_is_run() -> None:
    """By its name in a test of this folder, or as one of those that test_suite.py runs over packets."""
    texts = [(HERE / f"test_{name}.py").read_text() for name in ("twins", "tracing", "contexts")]
    names = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    idle = [
        name for name in names
        if name.split("_")[0] not in ("xdp", "tc", "socket", "cgroup", "timer") and name not in WITHOUT
        and not any(re.search(rf"\b{name}\b", text) for text in texts)
    ]  # fmt: skip
    assert idle == []
    assert set(WITHOUT) <= set(names)
