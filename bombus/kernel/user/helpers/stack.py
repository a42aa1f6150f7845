"""Helpers about call stacks: those that the world's tasks have. Linux 6.12 kernel/bpf/stackmap.c.

Addresses of a stack map's values are as they are; none is known to lie in a file with a build id.
"""

from __future__ import annotations

import errno
from typing import Final

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.maps.stacktrace import (
    FAST_STACK_CMP,
    REUSE_STACKID,
    StackTraceMap,
    build_id_records,
)
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.world.objects import objects_of
from bombus.kernel.user.world.world import Task
from bombus.spec.maptypes import BUILD_ID_RECORD_SIZE, PERF_MAX_STACK_DEPTH

_SKIP: Final = 0xFF  # BPF_F_SKIP_FIELD_MASK
_USER: Final = 1 << 8  # BPF_F_USER_STACK
_USER_BUILD_ID: Final = 1 << 11  # BPF_F_USER_BUILD_ID


def _frames(task: Task, flags: int, room: int) -> tuple[int, ...]:
    """Addresses, innermost first, as far as `room` entries and those to skip reach (stack_map_calculate_max_depth)."""
    stack = task.user_stack if flags & _USER else task.kernel_stack
    return stack[: min(room + (flags & _SKIP), PERF_MAX_STACK_DEPTH)]


@helper("get_stackid")
def get_stackid(env: ProgEnv, ctx: int, handle: int, flags: int) -> int:
    item = env.map(handle)
    assert isinstance(item, StackTraceMap)  # the verifier looked
    if flags & ~(_SKIP | _USER | FAST_STACK_CMP | REUSE_STACKID):
        return -errno.EINVAL
    frames = _frames(env.world.task, flags, item.value_size // item.record_size)
    skip = flags & _SKIP
    return item.store(frames[skip:], flags) if len(frames) > skip else -errno.EFAULT


@helper("get_stack")
def get_stack(env: ProgEnv, ctx: int, buffer: int, size: int, flags: int) -> int:
    return _get_stack(env, env.world.task, buffer, size & 0xFFFF_FFFF, flags)


@helper("get_task_stack")
def get_task_stack(env: ProgEnv, task: int, buffer: int, size: int, flags: int) -> int:
    size &= 0xFFFF_FFFF
    found = objects_of(env.kernel).task_at(task)
    if found is None:
        return _failed(env, buffer, size, errno.EFAULT)
    return _get_stack(env, found, buffer, size, flags, named=True)


def _get_stack(env: ProgEnv, task: Task, buffer: int, size: int, flags: int, *, named: bool = False) -> int:
    user, build_id = flags & _USER, flags & _USER_BUILD_ID
    record = BUILD_ID_RECORD_SIZE if build_id else 8
    if flags & ~(_SKIP | _USER | _USER_BUILD_ID) or (build_id and not user) or size % record:
        return _failed(env, buffer, size, errno.EINVAL)
    if named and user and not task.user_stack:
        return _failed(env, buffer, size, errno.EFAULT)
    if named and user and task is not env.world.task:
        return _failed(env, buffer, size, errno.EOPNOTSUPP)
    frames = _frames(task, flags, size // record)
    skip = flags & _SKIP
    if len(frames) < skip:
        return _failed(env, buffer, size, errno.EFAULT)
    kept = frames[skip:]
    data = build_id_records(kept) if build_id else b"".join(frame.to_bytes(8, "little") for frame in kept)
    if size:
        env.memory.write(buffer, data.ljust(size, b"\0"))
    return len(data)


def _failed(env: ProgEnv, buffer: int, size: int, number: int) -> int:
    if size:
        env.memory.write(buffer, bytes(size))
    return -number
