"""Objects that programs allocate: pointers, lists and trees in map values, in plain Python and on Linux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from readings import compiled, plain
from test_odd import PACKETS, TOP

from bombus.btf.types import DeclTag, TypeTag
from bombus.compiler.build import build_module, build_source
from bombus.compiler.importing import import_source
from bombus.errors import LoadError
from bombus.kernel.api import Kernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.spec.version import KernelVersion

HEAD = TOP.replace("import Array, Ref,", "import Array, Ref, SpinLock,")


def cases() -> dict[str, str]:
    text = (Path(__file__).parent / "data" / "objects.txt").read_text()
    blocks = [block.partition("\n") for block in text.split("\n=== ")[1:]]
    return {head.split()[0]: HEAD + source for head, _, source in blocks}


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_same_on_linux(name: str, linux_kernel: Kernel) -> None:
    if linux_kernel.version < KernelVersion(6, 6):
        pytest.skip("percpu objects need Linux 6.6")
    module = import_source(CASES[name], f"{name}.py")
    expected = plain(module, module.f, PACKETS)
    seen = compiled(module, module.f, PACKETS, linux_kernel)
    assert expected.verdicts == [2] * len(PACKETS)
    assert any(any(value) for value in expected.maps["out"].values())
    # values with objects in them are not shown to user space
    assert (seen.verdicts, seen.maps["out"]) == (expected.verdicts, expected.maps["out"])


def test_tags_of_members() -> None:
    btf = read_object(build_source(CASES["list"], "list.py")).btf
    assert btf is not None
    assert "contains:Node:link" in [tag.name for tag in btf if isinstance(tag, DeclTag)]
    for name, tag in (("kptr_local", "kptr"), ("percpu_kptr", "percpu_kptr")):
        btf = read_object(build_source(CASES[name], f"{name}.py")).btf
        assert btf is not None
        assert tag in [kind.name for kind in btf if isinstance(kind, TypeTag)]


TASK = HEAD + '''
class task_struct(Struct, core=True):
    tgid: s32


class Question(Struct):
    pid: s32
    seen: s32


class Keep(Struct):
    task: bpf.Kptr[task_struct]


keeps = map.array(u32, Keep, max_entries=1)


@bpf.kfunc
def bpf_task_from_pid(pid: s32) -> task_struct | None: ...


@bpf.kfunc
def bpf_task_release(task: task_struct) -> None: ...


@bpf.syscall
def ask(ctx: Question) -> s32:
    keep = keeps.lookup(0)
    if keep is None:
        return 1
    task = bpf_task_from_pid(ctx.pid)
    if task is None:
        return 2
    old = keep.task.exchange(task)
    if old is not None:
        bpf_task_release(old)
    with bpf.rcu():
        now = keep.task.get()
        if now is not None:
            ctx.seen = now.tgid
    return 0
'''


def test_a_pointer_to_a_task(linux_kernel: Kernel) -> None:
    with load(read_object(build_source(TASK, "task.py")), linux_kernel) as loaded:
        for pid in (os.getpid(), os.getpid()):  # the second finds the first one's task
            done = loaded.programs["ask"].test_run(ctx=pid.to_bytes(4, "little") + bytes(4))
            assert done.retval == 0
            assert done.ctx is not None and int.from_bytes(done.ctx[4:8], "little") == pid
        done = loaded.programs["ask"].test_run(ctx=(1 << 30).to_bytes(4, "little") + bytes(4))
        assert done.retval == 2


LEAK = HEAD + '''
class Node(Struct):
    key: u64


@xdp
def f(ctx: xdp.Context) -> xdp.Action:
    node = bpf.new(Node)
    if node is None:
        return xdp.ABORTED
    return xdp.PASS
'''


def test_the_verifier_knows_what_is_owned(linux_kernel: Kernel) -> None:
    with pytest.raises(LoadError, match="Unreleased reference"):
        load(read_object(build_source(LEAK, "leak.py")), linux_kernel)


CGROUP = HEAD + '''
class Seen(Struct):
    packets: u64
    bytes: u64


mine = map.cgroup_local_storage(Seen)
each = map.percpu_cgroup_local_storage(u64)


@bpf.cgroup.egress
def f(ctx: bpf.contexts.Skb) -> int:
    seen = mine.get()
    seen.packets += 1
    seen.bytes += u64(ctx.len)
    each.get().value += 2
    put(u32(0), seen.packets)
    put(u32(1), seen.bytes + each.get().value)
    return 1
'''


def test_local_storage_of_cgroups(linux_kernel: Kernel) -> None:
    """A test run has storage of its own, whatever there was before."""
    module = import_source(CGROUP, "local.py")
    packets = [b"\x45" + bytes(60), b"\x45" + bytes(90)]
    expected = plain(module, module.f, packets)
    assert expected.maps["out"][bytes(4)] == (1 * 31 + 1).to_bytes(8, "little")
    data = build_module(module)
    for kernel in (linux_kernel, UserKernel(version="6.12")):
        assert compiled(module, module.f, packets, kernel, data=data).maps == expected.maps


def test_storage_goes_with_its_cgroup() -> None:
    kernel = UserKernel(version="6.12")
    for name in ("/a", "/b"):
        kernel.cgroups.mkdir(name)
    with load(read_object(build_source(CGROUP, "local.py")), kernel) as loaded:
        for name in ("/a", "/b"):
            loaded.programs["f"].attach_cgroup(name).close()
        keys = [kernel.cgroups.find(name).number.to_bytes(8, "little") for name in ("/a", "/b")]
        assert list(loaded.maps["mine"].raw) == keys
        kernel.cgroups.rmdir("/a")
        assert list(loaded.maps["mine"].raw) == list(loaded.maps["each"].raw) == keys[1:]
