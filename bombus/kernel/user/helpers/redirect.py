"""Redirects: what a program asked for is kept in `World.redirect`. Linux 6.12 net/core/filter.c, kernel/bpf/*map.c."""

from __future__ import annotations

import errno
from typing import Final

from bombus.bits import s32
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.hooks.skb import ETH_HLEN, Skb
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.routes import NOT_FWDED
from bombus.kernel.user.routes import fib_lookup as lookup
from bombus.kernel.user.world.world import Redirect

U32: Final = 0xFFFF_FFFF
_INGRESS: Final = 1
_XDP_ABORTED, _XDP_REDIRECT = 0, 4
_TC_ACT_SHOT, _TC_ACT_REDIRECT = 2, 7
_BROADCAST, _EXCLUDE_INGRESS = 1 << 3, 1 << 4
_ACTIONS: Final = 3  # the low bits of flags: what to return for a key without an entry


@helper("redirect")
def redirect(env: ProgEnv, ifindex: int, flags: int) -> int:
    ifindex &= U32
    if env.prog.acts_as.short == "xdp":
        if flags:
            return _XDP_ABORTED
        env.world.redirect = Redirect(ifindex, 0, None, "egress")
        return _XDP_REDIRECT
    if flags & ~_INGRESS:
        return _TC_ACT_SHOT
    env.world.redirect = Redirect(ifindex, flags, None, "ingress" if flags & _INGRESS else "egress")
    return _TC_ACT_REDIRECT


@helper("redirect_peer")
def redirect_peer(env: ProgEnv, ifindex: int, flags: int) -> int:
    if flags:
        return _TC_ACT_SHOT
    env.world.redirect = Redirect(ifindex & U32, 0, None, "peer")
    return _TC_ACT_REDIRECT


@helper("redirect_neigh")
def redirect_neigh(env: ProgEnv, ifindex: int, params: int, size: int, flags: int) -> int:
    size &= U32
    if flags or (size and size < 20):
        return _TC_ACT_SHOT
    env.world.redirect = Redirect(ifindex & U32, 0, env.memory.read(params, size) if size else None, "neigh")
    return _TC_ACT_REDIRECT


@helper("redirect_map")
def redirect_map(env: ProgEnv, handle: int, key: int, flags: int) -> int:
    """Linux 6.12 include/linux/filter.h __bpf_xdp_redirect_map."""
    item = env.map(handle)
    multicast = _BROADCAST | _EXCLUDE_INGRESS if item.type.short.startswith("devmap") else 0
    if flags & ~(_ACTIONS | multicast):
        return _XDP_ABORTED
    index = key & U32  # the key is a u64 of which the map sees the low half
    target = item.target(index)  # type: ignore[attr-defined]
    if target is None and not flags & _BROADCAST:
        return flags & _ACTIONS
    env.world.redirect = Redirect(index, flags, None if flags & _BROADCAST else target, "map", item)
    return _XDP_REDIRECT


@helper("clone_redirect")
def clone_redirect(env: ProgEnv, ctx: int, ifindex: int, flags: int) -> int:
    """The clone goes to `World.sent`; the user kernel's devices lead nowhere else."""
    skb: Skb = env.context(ctx)
    if flags & ~_INGRESS or skb.gso:
        return -errno.EINVAL
    if env.world.devices.get(ifindex & U32) is None:
        return -errno.EINVAL
    env.world.sent.append((ifindex & U32, bool(flags & _INGRESS), skb.output()))
    skb.sync()
    return 0


@helper("skb_set_tunnel_key")
def skb_set_tunnel_key(env: ProgEnv, ctx: int, key: int, size: int, flags: int) -> int:
    """Linux 6.12 net/core/filter.c bpf_skb_set_tunnel_key."""
    skb: Skb = env.context(ctx)
    size &= U32
    if flags & ~0x1F:
        return -errno.EINVAL
    data = env.memory.read(key, size)
    if size not in (8, 22, 24, 28, 44):  # up to remote_ipv4, tunnel_ttl, tunnel_ext, tunnel_label; all
        return -errno.EINVAL
    data = data.ljust(44, b"\0")
    if (not flags & 1 and any(data[24:28])) or any(data[22:24]):  # tunnel_label is IPv6's, tunnel_ext must be 0
        return -errno.EINVAL
    skb.tunnel = data
    return 0


@helper("skb_set_tunnel_opt")
def skb_set_tunnel_opt(env: ProgEnv, ctx: int, source: int, size: int) -> int:
    skb: Skb = env.context(ctx)
    size &= U32
    if skb.tunnel is None or size & 3:
        return -errno.EINVAL
    return -errno.ENOMEM if size > 255 else 0


@helper("fib_lookup")
def fib_lookup(env: ProgEnv, ctx: int, params: int, size: int, flags: int) -> int:
    """Over the routes that the world's network has (kernel.user.routes). Where it has none, or addresses of IPv6:
    BPF_FIB_LKUP_RET_NOT_FWDED for the families that the kernel knows."""
    size &= U32
    if size < 64 or flags & ~0x3F:
        return -errno.EINVAL
    data = env.memory.read(params, size)
    if data[0] not in (2, 10):
        return -errno.EAFNOSUPPORT
    if env.world.devices.get(int.from_bytes(data[8:12], "little")) is None:
        return -errno.ENODEV
    net = env.world.net
    if net is None or not (net.routes.routes or net.routes.neighbours):
        return NOT_FWDED
    packet = env.context(ctx)
    changed = bytearray(data)
    length = packet.end - packet.data - ETH_HLEN if packet.kind == "skb" else None
    answer = lookup(env.kernel, changed, flags, length)
    env.memory.write(params, changed)
    return answer


@helper("check_mtu")
def check_mtu(env: ProgEnv, ctx: int, ifindex: int, mtu: int, delta: int, flags: int) -> int:
    """Linux 6.12 net/core/filter.c bpf_skb_check_mtu, bpf_xdp_check_mtu; the loopback's MTU is 65536."""
    packet = env.context(ctx)
    skb = packet.kind == "skb"
    if flags & ~(1 if skb else 0):
        return -errno.EINVAL
    ifindex &= U32
    asked = env.memory.load(mtu, 4)
    if flags and (asked or delta & U32):
        return -errno.EINVAL
    if ifindex and ifindex not in env.world.devices:
        return -errno.ENODEV
    limit = env.world.devices[ifindex or 1].mtu
    length = packet.end - packet.data  # of an XDP frame, the linear part
    size = s32((asked + ETH_HLEN if asked else length) + delta)
    env.memory.store(mtu, 4, limit)
    return 1 if size > limit + ETH_HLEN and not (skb and packet.gso) else 0  # BPF_MTU_CHK_RET_FRAG_NEEDED
