"""Iterators and call stacks of the user kernel; where it can be asked, Linux answers the same."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bombus.compiler.build import build_source
from bombus.errors import KernelError, NotSupported
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import IterLink
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.stacktrace import stack_hash
from bombus.kernel.user.world import set_world
from bombus.kernel.user.world.world import Task, World
from bombus.loader.load import Loaded, load
from bombus.object.read import read_object

pytest.importorskip("llvmlite", reason="the programs are written in Python")

BTF = Path("/sys/kernel/btf/vmlinux")
TOP = """
from __future__ import annotations
from bombus import bpf
from bombus.bpf import Array, Pointer, Struct, array, contexts, helpers, iterator, map, raw_tracepoint, s32, s64, u8
from bombus.bpf import u32, u64
LICENSE = bpf.license("GPL")
class seq_file(Struct, core=True):
    size: u64
    count: u64
class bpf_iter_meta(Struct, core=True):
    seq: Pointer[seq_file]
    seq_num: u64
class task_struct(Struct, core=True):
    pid: s32
    tgid: s32
class bpf_iter__task(Struct):
    meta: Pointer[bpf_iter_meta]
    task: Pointer[task_struct]
class Args(Struct):
    first: u64
seen = map.array(u32, s64, max_entries=8)
"""
WALK = (
    TOP
    + """
class Block(Struct):
    row: Array[u8] = array(4096)
blocks = map.array(u32, Block, max_entries=1)
rounds = bpf.config(u32(0))
retry = bpf.var(u32(0))
@iterator("task")
def walk(ctx: bpf_iter__task) -> int:
    meta = ctx.meta
    if meta is None:
        return 0
    seq = meta.seq
    block = blocks.lookup(0)
    if seq is None or block is None:
        return 0
    task = ctx.task
    if task is None:
        seen.update(7, 1)
        return 0
    for i in range(16):
        if i < rounds.value:
            seen.update(2, helpers.seq_write(seq, block, 4096))
    seen.update(0, s64(seq.size))
    seen.update(1, s64(seq.count))
    seen.update(3, s64(meta.seq_num))
    seen.update(4, s64(task.pid))
    if retry.value > 0:
        retry.value -= 1
        return 1
    return 0
"""
)


def _user() -> UserKernel:
    if not BTF.is_file():
        pytest.skip("no kernel types here")
    made = UserKernel("6.12", btf=BTF.read_bytes())
    world = World.fixed()
    world.task = Task(os.getpid(), os.getpid(), 0, 0, b"test")
    world.task.kernel_stack = (0xFFFF_8000_0000_1234, 0xFFFF_8000_0000_5678, 0xFFFF_8000_0000_9ABC)
    world.task.user_stack = (0x40_1000, 0x40_2000)
    world.tasks = [Task(1 << 22 | number, 1 << 22, 0, 0, b"other") for number in (2, 0, 1)]
    set_world(made, world)
    return made


@pytest.fixture(params=["user", pytest.param("linux", marks=pytest.mark.linux)])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    made: Kernel = request.getfixturevalue("linux_kernel") if request.param == "linux" else _user()
    return made


@contextmanager
def opened(source: str, kernel: Kernel, **data: Any) -> Iterator[Loaded]:
    with load(read_object(build_source(source, "iterators.py"), name="iterators"), kernel, data=data) as loaded:
        yield loaded


def attached(loaded: Loaded, **options: Any) -> IterLink:
    try:
        return next(iter(loaded.programs.values())).attach_iter(**options)
    except KernelError as error:
        if error.errno == errno.EPERM:
            pytest.skip(f"the kernel refuses here: {error}")
        raise


@pytest.mark.parametrize("rounds", [0, 1, 7])
def test_output_of_one_task(kernel: Kernel, rounds: int) -> None:
    with opened(WALK, kernel, rounds=rounds) as loaded, attached(loaded, tid=os.getpid()) as link:
        assert len(link.read()) == rounds * 4096
        seen = list(loaded.maps["seen"].values())
    assert seen == [8 * 4096, rounds * 4096, 0, 0, os.getpid(), 0, 0, 1]


def test_an_object_with_too_much_output(kernel: Kernel) -> None:
    """The buffer holds less than 8 pages: the eighth write fails, and so does the read."""
    with opened(WALK, kernel, rounds=8) as loaded, attached(loaded, tid=os.getpid()) as link:
        with pytest.raises(KernelError) as caught:
            link.read()
        assert caught.value.errno == errno.E2BIG
        seen = list(loaded.maps["seen"].values())
    assert seen[:3] == [8 * 4096, 8 * 4096, -errno.EOVERFLOW]
    assert seen[7] == 0  # the last run, without a task, does not come


def test_another_try(kernel: Kernel) -> None:
    with opened(WALK, kernel, rounds=1, retry=3) as loaded, attached(loaded, tid=os.getpid()) as link:
        assert len(link.read()) == 4096


def test_reads_in_pieces(kernel: Kernel) -> None:
    with opened(WALK, kernel, rounds=3) as loaded, attached(loaded, tid=os.getpid()) as link:
        fd = kernel.bpf(Attr("BPF_ITER_CREATE", link_fd=link.fd))
        sizes = []
        while chunk := kernel.read(fd, 5000):
            sizes.append(len(chunk))
        assert kernel.read(fd, 5000) == b""
        kernel.close(fd)
    assert sizes == [5000, 5000, 3 * 4096 - 10000]


PRINT = (
    TOP
    + """
@iterator("task")
def walk(ctx: bpf_iter__task) -> int:
    meta = ctx.meta
    task = ctx.task
    if meta is None or task is None:
        return 0
    seq = meta.seq
    if seq is None:
        return 0
    values = bpf.zeros(u64, 2)
    values[0] = u64(task.pid)
    values[1] = meta.seq_num
    seen.update(0, helpers.seq_printf(seq, b"task %d\\t%5llu|%%\\n\\0", 18, values, 16))
    seen.update(1, helpers.seq_printf(seq, b"%d\\0", 3, None, 0))
    return 0
"""
)


def test_text(kernel: Kernel) -> None:
    with opened(PRINT, kernel) as loaded, attached(loaded, tid=os.getpid()) as link:
        assert link.read() == f"task {os.getpid()}\t    0|%\n".encode()
        assert list(loaded.maps["seen"].values())[:2] == [0, -errno.EINVAL]


def test_every_task_has_its_number() -> None:
    """By rising thread id, whatever the order of the world's tasks."""
    with opened(PRINT, _user()) as loaded, attached(loaded) as link:
        rows = [line.split() for line in link.lines()]
    pids = [1, os.getpid(), 1 << 22, 1 << 22 | 1, 1 << 22 | 2]
    assert rows == [["task", str(pid), f"{number}|%"] for number, pid in enumerate(pids)]


def test_tasks_of_one_process() -> None:
    with opened(PRINT, _user()) as loaded, attached(loaded, pid=1 << 22) as link:
        assert [line.split()[1] for line in link.lines()] == [str(1 << 22 | number) for number in range(3)]
        assert link.facts()["task_pid"] == 1 << 22


def test_what_links_refuse(kernel: Kernel) -> None:
    with opened(PRINT, kernel) as loaded:
        program = loaded.programs["walk"]
        for info, number in (
            (struct.pack("<III", 1, 1, 0), errno.EINVAL),
            (bytes(20) + b"\1", errno.E2BIG),
        ):
            with pytest.raises(KernelError) as caught:
                IterLink.create(kernel, program, "BPF_TRACE_ITER", iter_info=bytearray(info), iter_info_len=len(info))
            assert caught.value.errno in (number, errno.EPERM)
        with pytest.raises(KernelError) as caught:
            IterLink.create(kernel, program, "BPF_TRACE_ITER", flags=1)
        assert caught.value.errno in (errno.EINVAL, errno.EPERM)


def test_what_the_user_kernel_has_nothing_of() -> None:
    source = TOP + """
@iterator("tcp")
def walk(ctx: bpf_iter__task) -> int:
    return 0
"""
    with opened(source, _user()) as loaded, pytest.raises(NotSupported, match="iterators over tcp"):
        attached(loaded)


def test_a_link_tells_its_target(kernel: Kernel) -> None:
    with opened(PRINT, kernel) as loaded, attached(loaded) as link:
        assert (link.type, link.facts()["target_name_len"]) == ("iter", 5)


STACKS = (
    TOP
    + """
stacks = map.stack_trace(max_entries=64)
users = map.stack_trace(max_entries=64)
skipped = map.stack_trace(max_entries=64)
class Frames(Struct):
    row: Array[u64] = array(4)
@raw_tracepoint("sched_switch")
def look(ctx: Args) -> int:
    seen.update(0, stacks.stack_id(ctx, 0))
    seen.update(1, users.stack_id(ctx, 1 << 8))
    seen.update(2, skipped.stack_id(ctx, 1))
    seen.update(3, stacks.stack_id(ctx, 1 << 12))
    seen.update(4, stacks.stack_id(ctx, 255))
    frames = Frames()
    seen.update(5, helpers.get_stack(ctx, frames, 32, 1 << 8))
    seen.update(6, s64(frames.row[0]))
    seen.update(7, helpers.get_stack(ctx, frames, 31, 0))
    return 0
"""
)


def test_stacks(kernel: Kernel) -> None:
    with opened(STACKS, kernel) as loaded:
        assert loaded.programs["look"].test_run(ctx=bytes(8)).retval == 0
        seen = list(loaded.maps["seen"].values())
        # A map for each: two stacks whose hashes meet in one map would be EEXIST.
        found = [
            (key, loaded.maps[name].raw.lookup(key.to_bytes(4, "little")).rstrip(b"\0"))
            for name, key in zip(("stacks", "users", "skipped"), seen[:3], strict=True)
        ]
    assert seen[3:5] == [-errno.EINVAL, -errno.EFAULT]
    assert seen[7] == -errno.EINVAL
    for key, data in found:
        data += bytes(-len(data) % 8)
        assert data
        assert stack_hash(struct.unpack(f"<{len(data) // 4}I", data)) & 63 == key  # the id is the hash, on both kernels
    user = found[1][1]
    assert seen[5] == min(32, len(user) + -len(user) % 8)
    assert seen[6] == int.from_bytes(user[:8], "little")


def test_a_task_without_stacks() -> None:
    kernel = _user()
    world = World.fixed()
    set_world(kernel, world)
    with opened(STACKS, kernel) as loaded:
        loaded.programs["look"].test_run(ctx=bytes(8))
        seen = list(loaded.maps["seen"].values())
    fault = -errno.EFAULT
    assert seen == [fault, fault, fault, -errno.EINVAL, fault, 0, 0, -errno.EINVAL]


TASK_STACK = (
    TOP
    + """
class Frames(Struct):
    row: Array[u64] = array(4)
@iterator("task")
def walk(ctx: bpf_iter__task) -> int:
    task = ctx.task
    if task is None:
        return 0
    frames = Frames()
    seen.update(0, helpers.get_task_stack(task, frames, 32, 0))
    seen.update(1, helpers.get_task_stack(task, frames, 32, 1))
    seen.update(2, s64(frames.row[0]))
    seen.update(3, helpers.get_task_stack(task, frames, 32, 1 << 8))
    return 0
"""
)


def test_stacks_of_tasks() -> None:
    kernel = _user()
    world = World.fixed()
    world.tasks = [Task(1 << 20, 1 << 20, 0, 0, b"other")]
    world.tasks[0].kernel_stack = (11, 22, 33)
    world.tasks[0].user_stack = (44,)
    set_world(kernel, world)
    with opened(TASK_STACK, kernel) as loaded:
        with attached(loaded, tid=1 << 20) as link:
            link.read()
        assert list(loaded.maps["seen"].values())[:4] == [24, 16, 22, -errno.EOPNOTSUPP]
        with attached(loaded, tid=1000) as link:
            link.read()
        assert list(loaded.maps["seen"].values())[:4] == [0, -errno.EFAULT, 0, -errno.EFAULT]
