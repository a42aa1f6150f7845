"""Lookups with a key that is known: in an array, inside it, they never give null (from Linux 6.14 on).

Linux 6.14 kernel/bpf/verifier.c: get_constant_map_key, as seen from its selftests and logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bombus.bits import s64
from bombus.spec.maptypes import MAP_TYPE
from bombus.verifier.env import Env
from bombus.verifier.precision import Backtrack, mark_precise_set
from bombus.verifier.regs import PTR_TO_STACK, SCALAR_VALUE
from bombus.verifier.state import SPILL, ZEROED

if TYPE_CHECKING:
    from bombus.verifier.helper_args import Meta

_ARRAYS: Final = (MAP_TYPE["BPF_MAP_TYPE_ARRAY"].id, MAP_TYPE["BPF_MAP_TYPE_PERCPU_ARRAY"].id)


def note_key(env: Env, regno: int, meta: Meta) -> None:
    """Remember the constant key that an argument points to, when there is one."""
    map_ = meta.map
    if map_ is None or map_.type not in _ARRAYS:
        return
    reg = env.regs[regno]
    if reg.type != PTR_TO_STACK or reg.bounds.bits[1]:
        return
    frame = env.frame_of(reg)
    off = reg.off + s64(reg.bounds.bits[0])
    place = -off - 1
    at = place // 8
    if not 0 <= at < len(frame.stack):
        return
    slot = frame.stack[at]
    size = map_.key_size
    shift = place % 8
    if shift + 1 < size:
        return
    kinds = slot.kinds[shift + 1 - size : shift + 1]
    if kinds.count(ZEROED) == size:
        meta.key = 0
        return
    if slot.kinds[7] != SPILL or slot.reg.type != SCALAR_VALUE or slot.reg.bounds.bits[1]:
        return
    spilled = 0
    while spilled <= shift and slot.kinds[shift - spilled] == SPILL:
        spilled += 1
    if spilled != size:
        return
    bt = Backtrack(len(env.state.frames) - 1)
    bt.slots[frame.number] |= 1 << at
    mark_precise_set(env, bt, env.state, env.insn_idx)
    meta.key = slot.reg.bounds.bits[0]
