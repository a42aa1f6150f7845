"""Sysctls in the hands of a cgroup's program. Linux 6.12 kernel/bpf/cgroup.c (bpf_sysctl_get_name,
copy_sysctl_value, bpf_sysctl_set_new_value)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv

if TYPE_CHECKING:
    from bombus.kernel.user.sysctls import SysctlCall

_BASE_NAME: Final = 1  # BPF_F_SYSCTL_BASE_NAME
_MOST: Final = 4095


@helper("sysctl_get_name")
def get_name(env: ProgEnv, ctx: int, buffer: int, size: int, flags: int) -> int:
    """The length of the name without the 0 at its end; -E2BIG when it was cut."""
    call: SysctlCall = env.context(ctx)
    if not buffer:
        return -errno.EINVAL
    name = call.name.encode()
    if flags & _BASE_NAME:
        name = name.rpartition(b"/")[2]
    if not size:
        return -errno.E2BIG
    env.memory.write(buffer, name[: size - 1] + b"\0")
    return len(name) if len(name) < size else -errno.E2BIG


@helper("sysctl_get_current_value")
def get_current_value(env: ProgEnv, ctx: int, buffer: int, size: int) -> int:
    call: SysctlCall = env.context(ctx)
    return _copy(env, buffer, size, call.current)


@helper("sysctl_get_new_value")
def get_new_value(env: ProgEnv, ctx: int, buffer: int, size: int) -> int:
    """-EINVAL of a read, and when nothing is written."""
    call: SysctlCall = env.context(ctx)
    if not call.write:
        if buffer and size:
            env.memory.write(buffer, bytes(size))
        return -errno.EINVAL
    return _copy(env, buffer, size, call.new or b"")


def _copy(env: ProgEnv, buffer: int, size: int, value: bytes) -> int:
    """As much as fits, zeros behind it; the last byte is 0 when the value does not fit with one."""
    if not buffer:
        return -errno.EINVAL
    if not size:
        return -errno.E2BIG
    if not value:
        env.memory.write(buffer, bytes(size))
        return -errno.EINVAL
    if size > len(value):
        env.memory.write(buffer, value.ljust(size, b"\0"))
        return len(value)
    env.memory.write(buffer, value[: size - 1] + b"\0")
    return -errno.E2BIG


@helper("sysctl_set_new_value")
def set_new_value(env: ProgEnv, ctx: int, buffer: int, size: int) -> int:
    call: SysctlCall = env.context(ctx)
    if not call.write or not call.new or not buffer or not size:
        return -errno.EINVAL
    if size > _MOST:
        return -errno.E2BIG
    call.new, call.updated = env.memory.read(buffer, size), True
    return 0
