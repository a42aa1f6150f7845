"""Helpers on maps. What a map answers is the map's (kernel.user.maps); here keys and values are fetched."""

from __future__ import annotations

import errno

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.maps.storage import TEST_RUN, CgroupStorageMap
from bombus.kernel.user.progenv import ProgEnv

_BLOOM = "bloom_filter"


@helper("map_lookup_elem")
def map_lookup_elem(env: ProgEnv, handle: int, key: int) -> int:
    item = env.map(handle)
    return item.lookup(env.memory.read(key, item.key_size), env.world.cpu)


@helper("map_update_elem")
def map_update_elem(env: ProgEnv, handle: int, key: int, value: int, flags: int) -> int:
    item = env.map(handle)
    memory = env.memory
    return item.update(memory.read(key, item.key_size), memory.read(value, item.value_size), flags, env.world.cpu)


@helper("map_delete_elem")
def map_delete_elem(env: ProgEnv, handle: int, key: int) -> int:
    item = env.map(handle)
    return item.delete(env.memory.read(key, item.key_size))


@helper("map_lookup_percpu_elem")
def map_lookup_percpu_elem(env: ProgEnv, handle: int, key: int, cpu: int) -> int:
    item = env.map(handle)
    cpu &= 0xFFFF_FFFF
    if cpu >= env.kernel.possible_cpus:
        return 0
    return item.lookup_percpu(env.memory.read(key, item.key_size), cpu)


@helper("map_push_elem")
def map_push_elem(env: ProgEnv, handle: int, value: int, flags: int) -> int:
    item = env.map(handle)
    return item.push(env.memory.read(value, item.value_size), flags)


@helper("map_pop_elem")
def map_pop_elem(env: ProgEnv, handle: int, value: int) -> int:
    return _store(env, value, env.map(handle).value_size, env.map(handle).pop())


@helper("map_peek_elem")
def map_peek_elem(env: ProgEnv, handle: int, value: int) -> int:
    item = env.map(handle)
    if item.type.short == _BLOOM:
        found: int = item.contains(env.memory.read(value, item.value_size))  # type: ignore[attr-defined]
        return found
    return _store(env, value, item.value_size, item.peek())


def _store(env: ProgEnv, address: int, size: int, result: bytes | int) -> int:
    # An empty queue leaves zeros in the caller's buffer (queue_stack_maps.c).
    if isinstance(result, int):
        if result == -errno.ENOENT:
            env.memory.write(address, bytes(size))
        return result
    env.memory.write(address, result)
    return 0


@helper("for_each_map_elem")
def for_each_map_elem(env: ProgEnv, handle: int, function: int, argument: int, flags: int) -> int:
    """The callback gets (map, address of the key, address of the value, argument); 1 stops."""
    if flags:
        return -errno.EINVAL
    item = env.map(handle)
    key = env.memory.allocate(max(item.key_size, 1), name="the key", kind="mem", writable=False)
    count = 0
    try:
        for name, address in item.each(env.world.cpu):
            if not isinstance(name, int):
                key.view[: len(name)] = name
            count += 1
            if env.call(function, handle, name if isinstance(name, int) else key.start, address, argument):
                break
    finally:
        env.memory.remove(key)
    return count


@helper("kptr_xchg")
def kptr_xchg(env: ProgEnv, slot: int, pointer: int) -> int:
    old = env.memory.load(slot, 8)
    env.memory.store(slot, 8, pointer)
    return old


@helper("spin_lock", "spin_unlock")
def spin_lock(env: ProgEnv, lock: int) -> int:
    """One CPU runs at a time, so a lock is always free; the word must be there all the same."""
    env.memory.load(lock, 4)
    return 0


@helper("get_local_storage")
def get_local_storage(env: ProgEnv, handle: int, flags: int) -> int:
    """The value of the cgroup that the program is attached to; a test run has one of its own."""
    item = env.map(handle)
    assert isinstance(item, CgroupStorageMap)  # the verifier looked
    place = env.world.attached_to
    return item.get_value(item.key_of(*place) if place is not None else TEST_RUN, create=True)


@helper("per_cpu_ptr")
def per_cpu_ptr(env: ProgEnv, pointer: int, cpu: int) -> int:
    return 0 if cpu & 0xFFFF_FFFF >= env.kernel.possible_cpus else pointer


@helper("this_cpu_ptr")
def this_cpu_ptr(env: ProgEnv, pointer: int) -> int:
    return pointer


@helper("current_task_under_cgroup")
def current_task_under_cgroup(env: ProgEnv, handle: int, index: int) -> int:
    item = env.map(handle)
    index &= 0xFFFF_FFFF
    if index >= item.max_entries:
        return -errno.E2BIG
    target = item.target(index)  # type: ignore[attr-defined]
    return -errno.EAGAIN if target is None else 0
