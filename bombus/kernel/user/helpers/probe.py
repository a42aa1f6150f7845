"""Reading memory that need not be there: -EFAULT and zeros. Linux 6.12 kernel/trace/bpf_trace.c.

Only the memory of BPF programs (stack, packets, map values) can be read; every other address faults.
"""

from __future__ import annotations

import errno
from typing import Final

from bombus.errors import VmFault
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv

U32: Final = 0xFFFF_FFFF


_KERNEL_HALF: Final = 0xFFFF_8000_0000_0000


def _fault(source: int) -> int:
    """What a kernel read of a bad address returns: addresses outside the kernel's half are not even tried.

    Linux 6.12 arch/x86/mm/maccess.c copy_from_kernel_nofault_allowed.
    """
    return -errno.EFAULT if source >= _KERNEL_HALF else -errno.ERANGE


def _read(env: ProgEnv, to: int, size: int, source: int, fault: int) -> int:
    size &= U32
    if not size:
        return 0
    try:
        data = env.memory.read(source, size)
    except VmFault:
        env.memory.write(to, bytes(size))
        return fault
    env.memory.write(to, data)
    return 0


@helper("probe_read_kernel")
def probe_read_kernel(env: ProgEnv, to: int, size: int, source: int) -> int:
    return _read(env, to, size, source, _fault(source))


@helper("probe_read", "probe_read_user", "copy_from_user")
def probe_read_user(env: ProgEnv, to: int, size: int, source: int) -> int:
    return _read(env, to, size, source, -errno.EFAULT)


def _read_str(env: ProgEnv, to: int, size: int, source: int, fault: int) -> int:
    """Returns the string's length with its zero byte; a string that is too long is cut."""
    size &= U32
    if not size:
        return 0
    out = bytearray()
    try:
        env.memory.read(source, 1)
        while len(out) < size - 1:
            byte = env.memory.read(source + len(out), 1)
            if byte == b"\0":
                break
            out += byte
    except VmFault:
        env.memory.write(to, bytes(size))
        return fault
    out += b"\0"
    env.memory.write(to, out)
    return len(out)


@helper("probe_read_kernel_str")
def probe_read_kernel_str(env: ProgEnv, to: int, size: int, source: int) -> int:
    return _read_str(env, to, size, source, _fault(source))


@helper("probe_read_str", "probe_read_user_str")
def probe_read_user_str(env: ProgEnv, to: int, size: int, source: int) -> int:
    return _read_str(env, to, size, source, -errno.EFAULT)


@helper("probe_write_user")
def probe_write_user(env: ProgEnv, to: int, source: int, size: int) -> int:
    """There is no user process to write to: the answer of a kernel thread."""
    return -errno.EPERM


@helper("copy_from_user_task")
def copy_from_user_task(env: ProgEnv, to: int, size: int, source: int, task: int, flags: int) -> int:
    if flags:
        return -errno.EINVAL
    size &= U32
    if size:
        env.memory.write(to, bytes(size))
    return -errno.EFAULT if size else 0
