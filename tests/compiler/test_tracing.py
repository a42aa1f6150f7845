"""Tracing twins without a kernel's events: the same records and kernel structs in plain Python and on the user kernel.

On Linux they are attached, in test_attached.py.
"""

from __future__ import annotations

import os
import struct
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from readings import contents, reset_globals

from bombus.bpf.layout import size_of
from bombus.bpf.machine import pointed, use
from bombus.btf.parse import Btf
from bombus.btf.types import Kind
from bombus.compiler.build import build_module
from bombus.compiler.importing import import_file
from bombus.errors import UsageError
from bombus.kernel.handles import RingBuffer
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.hooks.testrun import repeat
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.world import set_world
from bombus.kernel.user.world.world import Task, World
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.plain import PlainMachine

EXAMPLES = Path(__file__).parents[2] / "examples" / "bpf"
FILE = b"/some/where\0"


class Scene:
    """Memory in which things of the kernel lie: as the program declares them, or as the kernel's BTF has them."""

    def __init__(self, memory: Any, btf: Btf | None) -> None:
        self.memory = memory
        self.btf = btf
        self.regions: list[Any] = []

    def put(self, data: bytes, kind: str = "kernel") -> int:
        region = self.memory.allocate(max(len(data), 1), name="the scene", kind=kind)
        region.view[: len(data)] = data
        self.regions.append(region)
        return int(region.start)

    def struct(self, kind: Any, **members: int) -> int:
        """A struct of the kernel with some members set; its address."""
        if self.btf is None:
            data = bytearray(size_of(kind))
            places = {name: (member.offset, size_of(member.type)) for name, member in kind.LAYOUT.members.items()}
        else:
            type_id = self.btf.find_all(kind.C_NAME, Kind.STRUCT)[0]
            data = bytearray(self.btf.size_of(type_id))
            found = {name: self.btf.member(type_id, name) for name in kind.LAYOUT.members}
            places = {name: (field.offset // 8, self.btf.size_of(field.type)) for name, field in found.items() if field}
        for name, value in members.items():
            offset, size = places[name]
            data[offset : offset + size] = value.to_bytes(size, "little", signed=value < 0)
        return self.put(bytes(data))

    def close(self) -> None:
        for region in self.regions:
            self.memory.remove(region)


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


Event = tuple[str, Callable[[Any, Scene], bytes]]  # a program, and the bytes of its context


def _opened(module: Any, scene: Scene) -> bytes:
    return words(0, 257, 0, scene.put(FILE, "user"), 0o100, 0)


def _exec(module: Any, scene: Scene) -> bytes:
    parent = scene.struct(module.task_struct, tgid=77)
    task = scene.struct(module.task_struct, tgid=99, real_parent=parent)
    program = scene.struct(module.linux_binprm, filename=scene.put(FILE.ljust(256, b"\0")))
    return words(task, 5, program)


def _wakeup(pid: int) -> Callable[[Any, Scene], bytes]:
    return lambda module, scene: words(scene.struct(module.task_struct, pid=pid, tgid=pid))


def _switch(pid: int) -> Callable[[Any, Scene], bytes]:
    def made(module: Any, scene: Scene) -> bytes:
        other = scene.struct(module.task_struct, pid=1, tgid=1)
        return words(0, other, scene.struct(module.task_struct, pid=pid, tgid=pid))

    return made


def _state(old: int, new: int) -> Callable[[Any, Scene], bytes]:
    return lambda module, scene: bytes(module.Change(
        sock=0x1234, old=old, new=new, source_port=1000, destination_port=80, protocol=6
    ))  # fmt: skip


CASES: dict[str, list[Event]] = {
    "opensnoop": [("openat", _opened), ("openat", _opened)],
    "execsnoop": [("exec", _exec)],
    "runqlat": [("wakeup", _wakeup(5)), ("wakeup", _wakeup(6)), ("switch", _switch(5)), ("switch", _switch(9))],
    "exitsnoop": [("exit", lambda module, scene: bytes(8))],
    "profile": [("sample", lambda module, scene: bytes(184))] * 3,
    "tcpconnlat": [("state", _state(7, 2)), ("state", _state(2, 1)), ("state", _state(7, 2))],
}
Seen = tuple[list[int], list[bytes], dict[bytes, Any]]


def world() -> World:
    """What the tasks of both kernels are: the current one ends with code 7."""
    made = World.fixed(now=5_000)
    made.task.parent = Task(7, 7, 0, 0, b"shell")
    made.task.exit_code, made.task.start_time = 7 << 8, 2_000
    made.task.kernel_stack = (0xFFFF_8000_0000_1234, 0xFFFF_8000_0000_5678)
    made.task.user_stack = (0x40_1000, 0x40_2000)
    made.tasks = [Task(pid, 20, 0, 0, b"threads") for pid in (22, 20, 21)]
    return made


def told(module: Any, handle: Callable[[str], Any]) -> tuple[list[bytes], dict[bytes, Any]]:
    """Events, and the keys of other maps. Times are left out; so is how often, where it depends on them."""
    events: list[bytes] = []
    if hasattr(module, "events"):
        with RingBuffer(handle("events")) as reader:
            events = [bytes(event) for event in reader.read()]
    if hasattr(module, "begun"):
        events = [event[8:] for event in events]
    if hasattr(module, "counts"):
        return events, {**contents(handle("counts")), **contents(handle("stacks"))}
    maps = [name for name in ("started", "begun") if hasattr(module, name)]
    keys: dict[bytes, Any] = {key: 0 for name in maps for key in contents(handle(name))}
    if hasattr(module, "histogram"):
        rows = contents(handle("histogram")).values()
        keys[b"waited"] = sum(int.from_bytes(value, "little") for value in rows)
    return events, keys


def in_python(module: Any, cases: list[Event]) -> Seen:
    machine = PlainMachine()
    set_world(machine.kernel, world())
    reset_globals()
    verdicts: list[int] = []
    scene = Scene(machine.memory, None)
    with use(machine):
        for name, build in cases:
            program = vars(module)[name]
            kind = typing.get_type_hints(program.function)["ctx"]
            data = build(module, scene)
            ctx = pointed(kind, scene.put(data.ljust(size_of(kind), b"\0"), "ctx"))
            verdicts.append(int(program.run(ctx=ctx).verdict))
        seen = told(module, lambda name: machine.map(vars(module)[name]))
    scene.close()
    return verdicts, *seen


@contextmanager
def scene_of(kernel: UserKernel, btf: bytes) -> Iterator[Scene]:
    scene = Scene(kernel.memory, Btf.parse(btf))
    yield scene
    scene.close()


def in_user_kernel(module: Any, cases: list[Event], btf: bytes) -> Seen:
    kernel = UserKernel(version="6.12", btf=btf)
    set_world(kernel, world())
    with load(read_object(build_module(module)), kernel) as loaded, scene_of(kernel, btf) as scene:
        verdicts: list[int] = []
        for name, build in cases:
            prog: Any = kernel.object("a test", loaded.programs[name].fd, "prog")
            start = scene.put(build(module, scene).ljust(184, b"\0"), "ctx")
            verdicts.append(repeat(prog, start, 1)[0])
        return verdicts, *told(module, lambda name: loaded.maps[name])


@pytest.fixture
def btf() -> bytes:
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("this kernel has no BTF")
    return LinuxKernel().vmlinux_btf()


@pytest.mark.parametrize("name", CASES)
def test_same_in_plain_python_and_on_the_user_kernel(name: str, btf: bytes) -> None:
    module = import_file(str(EXAMPLES / f"{name}.py"))
    plain = in_python(module, CASES[name])
    assert plain[1] or any(plain[2])
    assert in_user_kernel(module, CASES[name], btf) == plain


def test_how_a_process_ended() -> None:
    module = import_file(str(EXAMPLES / "exitsnoop.py"))
    verdicts, (event,), _maps = in_python(module, CASES["exitsnoop"])
    assert (verdicts, event) == ([0], bytes(module.Event(pid=1000, parent=7, code=7, age=3000, comm=b"bombus")))


def test_stacks_of_samples() -> None:
    module = import_file(str(EXAMPLES / "profile.py"))
    _verdicts, _events, maps = in_python(module, CASES["profile"])
    ((key, count),) = ((key, value) for key, value in maps.items() if len(key) == size_of(module.Key))
    stacks = {value[:16] for key, value in maps.items() if len(key) == 4}
    assert (int.from_bytes(count, "little"), key[24:30]) == (3, b"bombus")
    assert stacks == {words(*world().task.kernel_stack), words(*world().task.user_stack)}


def test_tasks_of_an_iterator(btf: bytes) -> None:
    """A line for every thread by rising number, the same in plain Python and on the user kernel."""
    module = import_file(str(EXAMPLES / "iter_task.py"))
    machine, kernel = PlainMachine(), UserKernel(version="6.12", btf=btf)
    for one in (machine.kernel, kernel):
        set_world(one, world())
    with use(machine):
        plain = module.tasks.iterate()
    obj = read_object(build_module(module))
    with load(obj, kernel) as loaded, loaded.programs["tasks"].attach_iter() as link:
        assert link.read() == plain
    with load(obj, kernel) as loaded, loaded.programs["tasks"].attach_iter(pid=20) as link:
        assert list(link.records("<ii")) == [(20, 20), (21, 20), (22, 20)]
    assert list(struct.iter_unpack("<ii", plain)) == [(1, 1), (7, 7), (20, 20), (21, 20), (22, 20), (1000, 1000)]


def test_only_iterators_iterate() -> None:
    module = import_file(str(EXAMPLES / "exitsnoop.py"))
    with use(PlainMachine()), pytest.raises(UsageError, match="exit is no iterator program"):
        module.exit.iterate()
