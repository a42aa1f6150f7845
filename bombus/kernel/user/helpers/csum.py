"""Checksum helpers. Linux 6.12 net/core/filter.c (bpf_csum_*, bpf_l3_csum_replace, ...), net/core/utils.c."""

from __future__ import annotations

import errno
from typing import Final

from bombus.kernel.user.commands import ENOTSUPP
from bombus.kernel.user.helpers import checksum as cs
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.hooks.skb import CHECKSUM_COMPLETE, CHECKSUM_NONE, CHECKSUM_UNNECESSARY, Skb
from bombus.kernel.user.progenv import ProgEnv

U32: Final = 0xFFFF_FFFF
_SIZE_MASK: Final = 0xF
_PSEUDO, _MANGLED_0, _ENFORCE, _IPV6 = 1 << 4, 1 << 5, 1 << 6, 1 << 7
_MAX_DIFF: Final = 512  # MAX_BPF_STACK: the kernel's scratch pad
_MAX_LEVEL: Final = 3


@helper("csum_diff")
def csum_diff(env: ProgEnv, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    old_size &= U32
    new_size &= U32
    before = env.memory.read(old, old_size) if old_size else b""
    after = env.memory.read(new, new_size) if new_size else b""
    seed &= U32
    if env.kernel.version >= (6, 13):
        return _any_sizes(before, after, seed)
    if (old_size | new_size) & 3 or old_size + new_size > _MAX_DIFF:
        return -errno.EINVAL
    return cs.partial(bytes(byte ^ 0xFF for byte in before) + after, seed)


def _any_sizes(before: bytes, after: bytes, seed: int) -> int:
    """Linux 6.13 and later take any sizes and fold the result to 16 bits, so that it is the same on every CPU."""
    if not before and not after:
        return seed
    if not before:
        total = cs.partial(after, seed)
    elif not after:
        total = ~cs.partial(before, ~seed & U32) & U32
    else:
        total = cs.sub32(cs.partial(after, seed), cs.partial(before))
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16) & 0xFFFF


@helper("csum_update")
def csum_update(env: ProgEnv, ctx: int, csum: int) -> int:
    skb: Skb = env.context(ctx)
    if skb.ip_summed != CHECKSUM_COMPLETE:
        return -ENOTSUPP
    skb.csum = cs.add32(skb.csum, csum & U32)
    return skb.csum


@helper("csum_level")
def csum_level(env: ProgEnv, ctx: int, level: int) -> int:
    skb: Skb = env.context(ctx)
    if level == 0:  # BPF_CSUM_LEVEL_QUERY
        return skb.csum_level if skb.ip_summed == CHECKSUM_UNNECESSARY else -errno.EACCES
    if level == 1:  # INC
        if skb.ip_summed == CHECKSUM_UNNECESSARY:
            skb.csum_level = min(skb.csum_level + 1, _MAX_LEVEL)
        elif skb.ip_summed == CHECKSUM_NONE:
            skb.ip_summed, skb.csum_level = CHECKSUM_UNNECESSARY, 0
    elif level == 2:  # DEC
        if skb.ip_summed == CHECKSUM_UNNECESSARY:
            if skb.csum_level == 0:
                skb.ip_summed = CHECKSUM_NONE
            else:
                skb.csum_level -= 1
    elif level == 3:  # RESET
        skb.reset_checksum_unnecessary()
    else:
        return -errno.EINVAL
    return 0


def _place(skb: Skb, offset: int) -> int:
    """Where in the buffer a 16-bit checksum lies, or a negative errno."""
    if offset > 0xFFFF or offset & 1 or offset + 2 > skb.length:
        return -errno.EFAULT
    return skb.data + offset


def _replace(sum16: int, size: int, old: int, new: int) -> int | None:
    """The checksum after a change of `size` bytes (0: `new` is a difference); None where size makes no sense."""
    if size == 0:
        return cs.replace_by_diff(sum16, new & U32)
    if size == 2:
        return cs.replace2(sum16, old & 0xFFFF, new & 0xFFFF)
    if size == 4:
        return cs.replace4(sum16, old & U32, new & U32)
    return None


@helper("l3_csum_replace")
def l3_csum_replace(env: ProgEnv, ctx: int, offset: int, old: int, new: int, flags: int) -> int:
    skb: Skb = env.context(ctx)
    if flags & ~_SIZE_MASK:
        return -errno.EINVAL
    at = _place(skb, offset & U32)
    if at < 0:
        return at
    if flags == 0 and old:
        return -errno.EINVAL
    view = skb.buffer.view
    changed = _replace(int.from_bytes(view[at : at + 2], "little"), flags, old, new)
    if changed is None:
        return -errno.EINVAL
    view[at : at + 2] = changed.to_bytes(2, "little")
    return 0


@helper("l4_csum_replace")
def l4_csum_replace(env: ProgEnv, ctx: int, offset: int, old: int, new: int, flags: int) -> int:
    skb: Skb = env.context(ctx)
    known = _PSEUDO | _MANGLED_0 | _ENFORCE | _SIZE_MASK | _IPV6
    if flags & ~known:
        return -errno.EINVAL
    at = _place(skb, offset & U32)
    if at < 0:
        return at
    view = skb.buffer.view
    sum16 = int.from_bytes(view[at : at + 2], "little")
    if flags & _MANGLED_0 and not flags & _ENFORCE and not sum16:
        return 0
    size = flags & _SIZE_MASK
    if size == 0 and old:
        return -errno.EINVAL
    changed = _transport(skb, sum16, size, old, new, flags)
    if changed is None:
        return -errno.EINVAL
    if flags & _MANGLED_0 and not changed:
        changed = 0xFFFF
    view[at : at + 2] = changed.to_bytes(2, "little")
    return 0


def _transport(skb: Skb, sum16: int, size: int, old: int, new: int, flags: int) -> int | None:
    """inet_proto_csum_replace*: the packet's own sum changes with a pseudo header (no CHECKSUM_PARTIAL here)."""
    pseudo = bool(flags & _PSEUDO)
    complete = skb.ip_summed == CHECKSUM_COMPLETE
    if size == 0:
        if complete and pseudo and not flags & _IPV6:
            skb.csum = ~cs.add32(new & U32, ~skb.csum & U32) & U32
        return cs.replace_by_diff(sum16, new & U32)
    if size not in (2, 4):
        return None
    mask = 0xFFFF if size == 2 else U32
    old, new = old & mask, new & mask
    changed = cs.replace4(sum16, old, new)  # a u16 goes the same way, as a u32
    if complete and pseudo:
        skb.csum = ~cs.add32(cs.sub32(~skb.csum & U32, old), new) & U32
    return changed
