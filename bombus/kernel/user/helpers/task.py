"""Helpers about the CPU, random numbers and the current task. Linux 6.12 kernel/bpf/helpers.c."""

from __future__ import annotations

import errno

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.maps.storage import LocalStorageMap
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.world.objects import objects_of

_STORAGE_CREATE = 1  # BPF_LOCAL_STORAGE_GET_F_CREATE
_COMM = 16  # TASK_COMM_LEN


@helper("get_prandom_u32")
def get_prandom_u32(env: ProgEnv) -> int:
    return env.world.random.getrandbits(32)


@helper("get_smp_processor_id")
def get_smp_processor_id(env: ProgEnv) -> int:
    return env.world.cpu


@helper("get_numa_node_id")
def get_numa_node_id(env: ProgEnv) -> int:
    return 0


@helper("get_current_task", "get_current_task_btf")
def get_current_task(env: ProgEnv) -> int:
    return objects_of(env.kernel).task(env.world.task)


def _task_storage(env: ProgEnv, handle: int) -> LocalStorageMap:
    item = env.map(handle)
    assert isinstance(item, LocalStorageMap)  # the verifier looked
    return item


@helper("task_storage_get")
def task_storage_get(env: ProgEnv, handle: int, task: int, value: int, flags: int) -> int:
    # Linux 6.12 kernel/bpf/bpf_task_storage.c: bpf_task_storage_get
    owner = env.memory.find(task, 1)
    if owner is None or owner.start != task or flags & ~_STORAGE_CREATE:
        return 0
    item = _task_storage(env, handle)
    initial = env.memory.read(value, item.value_size) if value else None
    return item.get_value(owner, initial, create=bool(flags & _STORAGE_CREATE))


@helper("task_storage_delete")
def task_storage_delete(env: ProgEnv, handle: int, task: int) -> int:
    owner = env.memory.find(task, 1)
    return -errno.EINVAL if owner is None else _task_storage(env, handle).remove(owner)


@helper("get_current_pid_tgid")
def get_current_pid_tgid(env: ProgEnv) -> int:
    task = env.world.task
    return task.tgid << 32 | task.pid


@helper("get_current_uid_gid")
def get_current_uid_gid(env: ProgEnv) -> int:
    task = env.world.task
    return task.gid << 32 | task.uid


@helper("get_current_comm")
def get_current_comm(env: ProgEnv, buffer: int, size: int) -> int:
    # strscpy_pad: cut to size - 1, the rest zeros
    size &= 0xFFFF_FFFF
    name = env.world.task.comm[: min(size, _COMM) - 1]
    env.memory.write(buffer, name.ljust(size, b"\0"))
    return 0


@helper("get_current_cgroup_id")
def get_current_cgroup_id(env: ProgEnv) -> int:
    return env.world.task.cgroup_id


@helper("get_current_ancestor_cgroup_id")
def get_current_ancestor_cgroup_id(env: ProgEnv, level: int) -> int:
    # The task sits in the root cgroup, whose level is 0.
    return env.world.task.cgroup_id if level & 0xFFFF_FFFF == 0 else 0


@helper("get_cgroup_classid")
def get_cgroup_classid(env: ProgEnv, skb: int) -> int:
    env.context(skb)
    return 0


@helper("get_ns_current_pid_tgid")
def get_ns_current_pid_tgid(env: ProgEnv, device: int, inode: int, info: int, size: int) -> int:
    """No pid namespace is behind (device, inode) here: the answer for a wrong one."""
    if size & 0xFFFF_FFFF == 8:
        env.memory.write(info, bytes(8))
    return -errno.EINVAL


@helper("send_signal", "send_signal_thread")
def send_signal(env: ProgEnv, signal: int) -> int:
    """Signals are not sent: the task of a direct run is the caller itself. EPERM as for a task that may not get any."""
    return -errno.EPERM


@helper("get_retval")
def get_retval(env: ProgEnv) -> int:
    return env.world.retval


@helper("set_retval")
def set_retval(env: ProgEnv, value: int) -> int:
    env.world.retval = value & 0xFFFF_FFFF
    return 0
