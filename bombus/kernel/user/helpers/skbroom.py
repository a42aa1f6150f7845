"""Growing and shrinking packets at their headers. Linux 6.12 net/core/filter.c (bpf_skb_adjust_room, ...)."""

from __future__ import annotations

import errno
from typing import Final

from bombus.bits import s32
from bombus.kernel.user.commands import ENOTSUPP
from bombus.kernel.user.helpers import checksum as cs
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.hooks.skb import CHECKSUM_COMPLETE, ETH_P_IP, ETH_P_IPV6, SKB_MAX_ALLOC, Skb
from bombus.kernel.user.progenv import ProgEnv

U32: Final = 0xFFFF_FFFF
_FIXED_GSO: Final = 1
_ENCAP_IPV4, _ENCAP_IPV6 = 1 << 1, 1 << 2
_ENCAP_GRE, _ENCAP_UDP = 1 << 3, 1 << 4
_NO_CSUM_RESET, _ENCAP_ETH = 1 << 5, 1 << 6
_DECAP_IPV4, _DECAP_IPV6 = 1 << 7, 1 << 8
_ENCAP_L2_SHIFT: Final = 56
_ENCAP_L2: Final = 0xFF << _ENCAP_L2_SHIFT
_ENCAP_L3: Final = _ENCAP_IPV4 | _ENCAP_IPV6
_DECAP_L3: Final = _DECAP_IPV4 | _DECAP_IPV6
_KNOWN: Final = _FIXED_GSO | _ENCAP_L3 | _ENCAP_GRE | _ENCAP_UDP | _NO_CSUM_RESET | _ENCAP_ETH | _DECAP_L3 | _ENCAP_L2
_NET, _MAC = 0, 1
_HEADER: Final = {ETH_P_IP: 20, ETH_P_IPV6: 40}


@helper("skb_adjust_room")
def skb_adjust_room(env: ProgEnv, ctx: int, delta: int, mode: int, flags: int) -> int:
    skb: Skb = env.context(ctx)
    change = s32(delta)
    size = abs(change)
    if flags & ~_KNOWN:
        return -errno.EINVAL
    if size > 0xFFF:
        return -errno.EFAULT
    least = _HEADER.get(skb.protocol)
    mode &= U32
    if least is None or mode not in (_NET, _MAC):
        return -ENOTSUPP
    off = skb.network - skb.mac + (least if mode == _NET else 0)
    if flags & _DECAP_L3:
        if change >= 0 or flags & _DECAP_L3 == _DECAP_L3:
            return -errno.EINVAL
        least = 20 if flags & _DECAP_IPV4 else 40
    payload = skb.length - (skb.network - skb.data)
    if change < 0 and (size >= payload or payload - size < least):
        return -ENOTSUPP
    if change >= 0 and skb.length + size > SKB_MAX_ALLOC and not skb.gso:
        return -ENOTSUPP
    result = _shrink(skb, off, size, flags) if change < 0 else _grow(skb, off, size, flags)
    if not result and not flags & _NO_CSUM_RESET:
        skb.reset_checksum_unnecessary()
    skb.sync()
    return result


def _grow(skb: Skb, off: int, size: int, flags: int) -> int:
    encap = flags & _ENCAP_L3
    inner_mac = flags >> _ENCAP_L2_SHIFT
    mac_len = skb.network - skb.mac
    if encap:
        if encap == _ENCAP_L3 or (flags & _ENCAP_GRE and flags & _ENCAP_UDP):
            return -errno.EINVAL
        if flags & _ENCAP_ETH and inner_mac < 14:
            return -errno.EINVAL
        if skb.encapsulation:
            return -errno.EALREADY
        if inner_mac > size:
            return -errno.EINVAL
    skb.net_push(off, size)
    if encap:
        skb.encapsulation = True
        skb.network = skb.data + mac_len
        if flags & (_ENCAP_GRE | _ENCAP_UDP):
            skb.transport = skb.network + (40 if flags & _ENCAP_IPV6 else 20)
        skb.protocol = ETH_P_IPV6 if flags & _ENCAP_IPV6 else ETH_P_IP
    return 0


def _shrink(skb: Skb, off: int, size: int, flags: int) -> int:
    if flags & ~(_FIXED_GSO | _DECAP_L3 | _NO_CSUM_RESET):
        return -errno.EINVAL
    result = _pop(skb, off, size)
    if result:
        return result
    if flags & _DECAP_IPV6:
        skb.protocol = ETH_P_IPV6
    elif flags & _DECAP_IPV4:
        skb.protocol = ETH_P_IP
    return 0


def _pop(skb: Skb, off: int, size: int) -> int:
    gone = bytes(skb.buffer.view[skb.data + off : skb.data + off + size])
    result = skb.net_pop(off, size)
    if not result and skb.ip_summed == CHECKSUM_COMPLETE:
        skb.csum = cs.sub32(skb.csum, cs.partial(gone))
    return result


@helper("skb_change_proto")
def skb_change_proto(env: ProgEnv, ctx: int, protocol: int, flags: int) -> int:
    """IPv4 to IPv6 or back: 20 bytes more or less behind the MAC header."""
    skb: Skb = env.context(ctx)
    if flags:
        return -errno.EINVAL
    wanted = (protocol & 0xFF) << 8 | protocol >> 8 & 0xFF
    off = skb.network - skb.mac
    if (skb.protocol, wanted) == (ETH_P_IP, ETH_P_IPV6):
        skb.net_push(off, 20)
    elif (skb.protocol, wanted) == (ETH_P_IPV6, ETH_P_IP):
        result = _pop(skb, off, 20)
        if result:
            return result
    else:
        return -ENOTSUPP
    skb.protocol = wanted
    skb.hash = 0
    skb.sync()
    return 0
