"""Helpers of programs at functions and tracepoints. Linux 6.12 kernel/trace/bpf_trace.c: bpf_get_func_arg."""

from __future__ import annotations

import errno
from typing import Final

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv
from bombus.spec.attachtypes import ATTACH_TYPE

_FENTRY: Final = ATTACH_TYPE["BPF_TRACE_FENTRY"].id


def _word(env: ProgEnv, address: int) -> int:
    return int.from_bytes(env.memory.read(address, 8), "little")


@helper("get_attach_cookie")
def get_attach_cookie(env: ProgEnv, ctx: int) -> int:
    return env.world.cookie


@helper("get_func_arg_cnt")
def get_func_arg_cnt(env: ProgEnv, ctx: int) -> int:
    return _word(env, ctx - 8)  # before the arguments: see kernel.user.trampoline.called


@helper("get_func_arg")
def get_func_arg(env: ProgEnv, ctx: int, n: int, value: int) -> int:
    number = n & 0xFFFF_FFFF
    if number >= _word(env, ctx - 8):
        return -errno.EINVAL
    env.memory.write(value, env.memory.read(ctx + 8 * number, 8))
    return 0


@helper("get_func_ret")
def get_func_ret(env: ProgEnv, ctx: int, value: int) -> int:
    if env.prog.expected_attach_type == _FENTRY:
        return -errno.EOPNOTSUPP
    env.memory.write(value, env.memory.read(ctx + 8 * _word(env, ctx - 8), 8))
    return 0
