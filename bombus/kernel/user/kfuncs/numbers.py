"""The iterator over numbers. Its state is two s32: the current number, and the one to stop before.

Linux 6.12 kernel/bpf/bpf_iter.c: bpf_iter_num_new, bpf_iter_num_next, bpf_iter_num_destroy.
"""

from __future__ import annotations

import errno
import struct

from bombus.bits import s32
from bombus.kernel.user.kfuncs import kfunc
from bombus.kernel.user.progenv import ProgEnv

_STATE = struct.Struct("<ii")
_MOST = 8 << 20  # BPF_MAX_LOOPS


@kfunc("bpf_iter_num_new")
def new(env: ProgEnv, state: int, start: int, end: int) -> int:
    first, last = s32(start), s32(end)
    problem = errno.EINVAL if first > last else errno.E2BIG if last - first > _MOST else 0
    if problem:
        env.memory.write(state, bytes(8))
        return -problem
    # One less than the first may be less than the least s32, and wraps as in C.
    env.memory.write(state, _STATE.pack(s32(first - 1), last))
    return 0


@kfunc("bpf_iter_num_next")
def following(env: ProgEnv, state: int) -> int:
    current, end = _STATE.unpack(env.memory.read(state, 8))
    if s32(current + 1) >= end:
        env.memory.write(state, bytes(8))
        return 0
    env.memory.write(state, _STATE.pack(s32(current + 1), end))
    return state


@kfunc("bpf_iter_num_destroy")
def destroy(env: ProgEnv, state: int) -> int:
    env.memory.write(state, bytes(8))
    return 0
