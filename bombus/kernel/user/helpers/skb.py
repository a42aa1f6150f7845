"""Reading, writing and relabelling socket buffers. Linux 6.12 net/core/filter.c."""

from __future__ import annotations

import errno
from typing import Final

from bombus.kernel.user.helpers import checksum as cs
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.hooks.skb import (
    CHECKSUM_COMPLETE,
    ETH_P_802_2,
    ETH_P_802_3,
    ETH_P_8021AD,
    ETH_P_8021Q,
    PACKET_OTHERHOST,
    Skb,
)
from bombus.kernel.user.progenv import ProgEnv
from bombus.spec.version import since

U32: Final = 0xFFFF_FFFF
_INT_MAX: Final = 0x7FFF_FFFF
_RECOMPUTE, _INVALIDATE = 1, 2
_START_MAC, _START_NET = 0, 1
_CLOCKS: Final = since("6.10")  # skb_set_tstamp: before, a time with the monotonic clock, or neither


def _swap16(value: int) -> int:
    return (value & 0xFF) << 8 | value >> 8 & 0xFF


@helper("skb_load_bytes")
def skb_load_bytes(env: ProgEnv, ctx: int, offset: int, to: int, size: int) -> int:
    skb: Skb = env.context(ctx)
    offset &= U32
    size &= U32
    if offset > _INT_MAX or offset + size > skb.length:
        env.memory.write(to, bytes(size))
        return -errno.EFAULT
    at = skb.data + offset
    env.memory.write(to, skb.buffer.view[at : at + size])
    return 0


@helper("skb_load_bytes_relative")
def skb_load_bytes_relative(env: ProgEnv, ctx: int, offset: int, to: int, size: int, start: int) -> int:
    skb: Skb = env.context(ctx)
    offset &= U32
    size &= U32
    base = {_START_MAC: skb.mac, _START_NET: skb.network}.get(start & U32)
    if base is None or offset > 0xFFFF or base + offset + size > skb.end:
        env.memory.write(to, bytes(size))
        return -errno.EFAULT
    env.memory.write(to, skb.buffer.view[base + offset : base + offset + size])
    return 0


@helper("skb_store_bytes")
def skb_store_bytes(env: ProgEnv, ctx: int, offset: int, source: int, size: int, flags: int) -> int:
    skb: Skb = env.context(ctx)
    offset &= U32
    size &= U32
    if flags & ~(_RECOMPUTE | _INVALIDATE):
        return -errno.EINVAL
    if offset > _INT_MAX or offset + size > skb.length:
        return -errno.EFAULT
    at = skb.data + offset
    view = skb.buffer.view
    new = env.memory.read(source, size)
    if flags & _RECOMPUTE and skb.ip_summed == CHECKSUM_COMPLETE:
        # A block at an odd offset has its bytes swapped in the sum (csum_block_sub, csum_block_add).
        old_sum, new_sum = cs.partial(view[at : at + size]), cs.partial(new)
        if offset & 1:
            old_sum, new_sum = _rotate(old_sum), _rotate(new_sum)
        skb.csum = cs.add32(cs.sub32(skb.csum, old_sum), new_sum)
    view[at : at + size] = new
    if flags & _INVALIDATE:
        skb.hash = 0
        skb.sync()
    return 0


def _rotate(total: int) -> int:
    return (total >> 8 | total << 24) & U32


@helper("skb_pull_data")
def skb_pull_data(env: ProgEnv, ctx: int, size: int) -> int:
    skb: Skb = env.context(ctx)
    if size & U32 > skb.length:
        return -errno.ENOMEM
    skb.sync()
    return 0


@helper("skb_change_type")
def skb_change_type(env: ProgEnv, ctx: int, kind: int) -> int:
    skb: Skb = env.context(ctx)
    kind &= U32
    if skb.pkt_type > PACKET_OTHERHOST or kind > PACKET_OTHERHOST:
        return -errno.EINVAL
    skb.pkt_type = kind
    skb.sync()
    return 0


@helper("skb_change_head")
def skb_change_head(env: ProgEnv, ctx: int, room: int, flags: int) -> int:
    skb: Skb = env.context(ctx)
    if flags:
        return -errno.EINVAL
    result = skb.change_head(room & U32)
    skb.sync()
    return result


@helper("skb_change_tail")
def skb_change_tail(env: ProgEnv, ctx: int, size: int, flags: int) -> int:
    skb: Skb = env.context(ctx)
    if flags:
        return -errno.EINVAL
    result = skb.change_tail(size & U32)
    skb.sync()
    return result


@helper("skb_vlan_push")
def skb_vlan_push(env: ProgEnv, ctx: int, protocol: int, tci: int) -> int:
    skb: Skb = env.context(ctx)
    number = _swap16(protocol & 0xFFFF)
    if number not in (ETH_P_8021Q, ETH_P_8021AD):
        number = ETH_P_8021Q
    # The program sits at the MAC header with tc, behind it elsewhere; skb_vlan_push wants the first.
    below = skb.data - skb.mac
    skb.data = skb.mac
    if skb.vlan is not None:
        _insert_tag(skb, *skb.vlan)
        skb.network -= 4  # to the tag
        below += 4 if below else 0
    skb.vlan = (number, tci & 0xFFFF)
    skb.data = skb.mac + below if below == 0 else skb.mac + 14
    skb.mac_len = skb.network - skb.mac
    skb.sync()
    return 0


def _insert_tag(skb: Skb, protocol: int, tci: int) -> None:
    """Put the accelerated tag into the packet (__vlan_insert_tag): headers move, skb->protocol is the tag's."""
    skb.push(4)
    view = skb.buffer.view
    at = skb.data
    view[at : at + 12] = bytes(view[at + 4 : at + 16])
    view[at + 12 : at + 16] = protocol.to_bytes(2, "big") + tci.to_bytes(2, "big")
    skb.mac -= 4
    skb.protocol = protocol
    if skb.ip_summed == CHECKSUM_COMPLETE:
        skb.csum = cs.add32(skb.csum, cs.partial(view[at + 12 : at + 16]))


@helper("skb_vlan_pop")
def skb_vlan_pop(env: ProgEnv, ctx: int) -> int:
    skb: Skb = env.context(ctx)
    if skb.vlan is not None:
        skb.vlan = None
    elif skb.protocol not in (ETH_P_8021Q, ETH_P_8021AD):
        return 0
    else:
        result = _remove_tag(skb)
        if result < 0:
            return result
    # A tag inside becomes the accelerated one; its protocol is the packet's, whatever stands in the bytes.
    if skb.protocol in (ETH_P_8021Q, ETH_P_8021AD):
        number = skb.protocol
        tci = int.from_bytes(skb.buffer.view[skb.mac + 14 : skb.mac + 16], "big")
        result = _remove_tag(skb)
        if result < 0:
            skb.sync()
            return result
        skb.vlan = (number, tci)
    skb.sync()
    return 0


def _remove_tag(skb: Skb) -> int:
    """Take the tag behind the MAC addresses out of the packet (__skb_vlan_pop)."""
    view = skb.buffer.view
    at = skb.mac
    if skb.end - at < 18:
        return -errno.ENOMEM
    at_mac = skb.data == skb.mac
    if skb.ip_summed == CHECKSUM_COMPLETE:
        # The tag's own four bytes, though the sum began behind the first two of them: such a packet ends in EBADMSG.
        skb.csum = -cs.add32(cs.partial(view[at + 12 : at + 16]), -skb.csum & U32) & U32
    inner = int.from_bytes(view[at + 16 : at + 18], "big")
    novell = bytes(view[at + 18 : at + 20]) == b"\xff\xff"
    view[at + 4 : at + 16] = bytes(view[at : at + 12])
    skb.mac += 4
    skb.data = skb.mac if at_mac else max(skb.data, skb.mac + 14)
    skb.network = max(skb.network, skb.mac + 14)
    if inner >= 1536:
        skb.protocol = inner
    else:
        skb.protocol = ETH_P_802_3 if novell else ETH_P_802_2
    return 0


@helper("get_hash_recalc")
def get_hash_recalc(env: ProgEnv, ctx: int) -> int:
    skb: Skb = env.context(ctx)
    if not skb.hash:
        # The kernel's flow hash is keyed by a random number: only "the same for one flow" can be promised.
        view = skb.buffer.view
        at = skb.network
        skb.hash = cs.partial(view[at + 12 : min(at + 24, skb.end)]) | 1
        skb.sync()
    return skb.hash


@helper("set_hash_invalid")
def set_hash_invalid(env: ProgEnv, ctx: int) -> int:
    skb: Skb = env.context(ctx)
    skb.hash = 0
    skb.sync()
    return 0


@helper("set_hash")
def set_hash(env: ProgEnv, ctx: int, value: int) -> int:
    skb: Skb = env.context(ctx)
    skb.hash = value & U32
    skb.sync()
    return 0


@helper("get_route_realm")
def get_route_realm(env: ProgEnv, ctx: int) -> int:
    env.context(ctx)
    return 0  # a test run's packet has no route


@helper("skb_ecn_set_ce")
def skb_ecn_set_ce(env: ProgEnv, ctx: int) -> int:
    skb: Skb = env.context(ctx)
    view = skb.buffer.view
    at = skb.network
    if skb.protocol == 0x0800 and skb.end - at >= 20:
        ecn = view[at + 1] & 3
        if ecn == 0:
            return 0
        if ecn != 3:
            old = int.from_bytes(view[at + 10 : at + 12], "little")
            before = int.from_bytes(view[at : at + 2], "little")
            view[at + 1] |= 3
            after = int.from_bytes(view[at : at + 2], "little")
            view[at + 10 : at + 12] = cs.replace2(old, before, after).to_bytes(2, "little")
        return 1
    if skb.protocol == 0x86DD and skb.end - at >= 40:
        ecn = view[at + 1] >> 4 & 3
        if ecn == 0:
            return 0
        view[at + 1] |= 0x30
        return 1
    return 0


@helper("skb_set_tstamp")
def skb_set_tstamp(env: ProgEnv, ctx: int, tstamp: int, kind: int) -> int:
    skb: Skb = env.context(ctx)
    kind &= U32
    if skb.protocol not in (0x0800, 0x86DD):
        return -errno.EOPNOTSUPP
    if kind > 2 or (kind and not tstamp):
        return -errno.EINVAL
    if kind != 1 and (tstamp if kind == 0 else True) and env.kernel.version < _CLOCKS:
        return -errno.EINVAL
    skb.ctx.view[152:160] = tstamp.to_bytes(8, "little")
    skb.ctx.view[180] = kind
    return 0


@helper("skb_get_tunnel_key")
def skb_get_tunnel_key(env: ProgEnv, ctx: int, key: int, size: int, flags: int) -> int:
    """A test run's packet came through no tunnel: -EINVAL and zeros, as in the kernel."""
    env.context(ctx)
    env.memory.write(key, bytes(size & U32))
    return -errno.EINVAL


@helper("skb_get_tunnel_opt")
def skb_get_tunnel_opt(env: ProgEnv, ctx: int, to: int, size: int) -> int:
    env.context(ctx)
    env.memory.write(to, bytes(size & U32))
    return -errno.ENOENT


@helper("skb_get_xfrm_state")
def skb_get_xfrm_state(env: ProgEnv, ctx: int, index: int, to: int, size: int, flags: int) -> int:
    env.context(ctx)
    env.memory.write(to, bytes(size & U32))
    return -errno.EINVAL


@helper("skb_under_cgroup")
def skb_under_cgroup(env: ProgEnv, ctx: int, handle: int, index: int) -> int:
    env.context(ctx)
    item = env.map(handle)
    if index & U32 >= item.max_entries:
        return -errno.E2BIG
    return -errno.EAGAIN if item.target(index & U32) is None else 0  # type: ignore[attr-defined]


@helper("skb_cgroup_id")
def skb_cgroup_id(env: ProgEnv, ctx: int) -> int:
    env.context(ctx)
    return 0


@helper("skb_ancestor_cgroup_id")
def skb_ancestor_cgroup_id(env: ProgEnv, ctx: int, level: int) -> int:
    env.context(ctx)
    return 0


@helper("skb_cgroup_classid")
def skb_cgroup_classid(env: ProgEnv, ctx: int) -> int:
    env.context(ctx)
    return 0
