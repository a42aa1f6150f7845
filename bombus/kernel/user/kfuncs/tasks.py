"""Tasks: references, look-ups and the iterator. Linux 6.12 kernel/bpf/helpers.c, kernel/bpf/task_iter.c."""

from __future__ import annotations

import errno

from bombus.bits import s32
from bombus.kernel.user.kfuncs import kfunc
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.world.objects import objects_of

_ALL_PROCESSES, _ALL_THREADS, _THREADS_OF = 0, 1, 2


@kfunc("bpf_task_acquire")
def acquire(env: ProgEnv, task: int) -> int:
    return task


@kfunc("bpf_task_release")
def release(env: ProgEnv, task: int) -> int:
    return 0


@kfunc("bpf_task_from_pid", "bpf_task_from_vpid")
def from_pid(env: ProgEnv, pid: int) -> int:
    objects = objects_of(env.kernel)
    return next((objects.task(task) for task in objects.tasks() if task.pid == s32(pid)), 0)


@kfunc("bpf_iter_task_new")
def new(env: ProgEnv, state: int, task: int, flags: int) -> int:
    """The state (24 bytes): the number of the next task, and how many there are; every task has one thread."""
    kind = flags & 0xFFFFFFFF
    objects = objects_of(env.kernel)
    count = len(objects.tasks())
    if kind > _THREADS_OF or (kind == _THREADS_OF and not task):
        env.memory.write(state, bytes(24))
        return -errno.EINVAL
    first = 0
    if kind == _THREADS_OF:
        known = objects.task_at(task)
        tasks = objects.tasks()
        first = tasks.index(known) if known in tasks and known is not None else count
        count = min(first + 1, count)
    env.memory.write(state, first.to_bytes(8, "little") + count.to_bytes(8, "little") + bytes(8))
    return 0


@kfunc("bpf_iter_task_next")
def following(env: ProgEnv, state: int) -> int:
    data = env.memory.read(state, 16)
    at, count = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
    objects = objects_of(env.kernel)
    tasks = objects.tasks()
    if at >= min(count, len(tasks)):
        return 0
    env.memory.store(state, 8, at + 1)
    return objects.task(tasks[at])


@kfunc("bpf_iter_task_destroy")
def destroy(env: ProgEnv, state: int) -> int:
    env.memory.write(state, bytes(24))
    return 0
