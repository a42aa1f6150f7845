"""XDP frame helpers. Linux 6.12 net/core/filter.c bpf_xdp_*; the work is in hooks.xdp.XdpBuff."""

from __future__ import annotations

from typing import Final

from bombus.bits import s32
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.hooks.xdp import XdpBuff
from bombus.kernel.user.progenv import ProgEnv

U32: Final = 0xFFFF_FFFF


@helper("xdp_adjust_head")
def xdp_adjust_head(env: ProgEnv, ctx: int, delta: int) -> int:
    buff: XdpBuff = env.context(ctx)
    return buff.adjust_head(s32(delta))


@helper("xdp_adjust_tail")
def xdp_adjust_tail(env: ProgEnv, ctx: int, delta: int) -> int:
    buff: XdpBuff = env.context(ctx)
    return buff.adjust_tail(s32(delta))


@helper("xdp_adjust_meta")
def xdp_adjust_meta(env: ProgEnv, ctx: int, delta: int) -> int:
    buff: XdpBuff = env.context(ctx)
    return buff.adjust_meta(s32(delta))


@helper("xdp_get_buff_len")
def xdp_get_buff_len(env: ProgEnv, ctx: int) -> int:
    buff: XdpBuff = env.context(ctx)
    return buff.length


@helper("xdp_load_bytes")
def xdp_load_bytes(env: ProgEnv, ctx: int, offset: int, to: int, size: int) -> int:
    buff: XdpBuff = env.context(ctx)
    offset &= U32
    size &= U32
    problem = buff.reach(offset, size)
    if not problem:
        env.memory.write(to, buff.read(offset, size))
    return problem


@helper("xdp_store_bytes")
def xdp_store_bytes(env: ProgEnv, ctx: int, offset: int, source: int, size: int) -> int:
    buff: XdpBuff = env.context(ctx)
    offset &= U32
    size &= U32
    problem = buff.reach(offset, size)
    if not problem:
        buff.write(offset, env.memory.read(source, size))
    return problem
