"""Test runs of flow dissectors: a packet in, `struct bpf_flow_keys` out.

Source: Linux 6.12 net/bpf/test_run.c bpf_prog_test_run_flow_dissector, net/core/flow_dissector.c bpf_flow_dissect.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from bombus.kernel.user.hooks import test_run
from bombus.kernel.user.hooks.skb import ETH_HLEN, Skb
from bombus.kernel.user.hooks.testrun import context_in, context_out, finish, only, refuse, repeat
from bombus.kernel.user.world import world_of

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

_KEYS: Final = 56  # struct bpf_flow_keys
_FLAGS_AT: Final = 48
_FLOW_KEYS: Final = 144  # offset of flow_keys in __sk_buff
_NHOFF, _THOFF, _N_PROTO = 0, 2, 10
_MAX_DATA: Final = 4096


@test_run("FLOW_DISSECTOR")
def run_flow_dissector(kernel: UserKernel, prog: Prog, attr: Attr) -> int:
    only(attr, 0)
    size = attr.get("data_size_in")
    if not ETH_HLEN <= size <= _MAX_DATA:
        raise refuse(errno.EINVAL, f"data_in of {size} bytes; {ETH_HLEN} to {_MAX_DATA} are taken")
    data = attr.read(attr.get("data_in"), size)
    user = context_in(attr, _KEYS)
    flags = 0
    if user is not None:
        if any(user[:_FLAGS_AT]) or any(user[_FLAGS_AT + 4 :]):
            raise refuse(errno.EINVAL, "ctx_in: only flags may be set")
        flags = struct.unpack_from("<I", user, _FLAGS_AT)[0]
    world = world_of(kernel)
    skb = Skb(kernel.memory)
    keys = kernel.memory.allocate(_KEYS, name="bpf_flow_keys", kind="mem")
    world.contexts[skb.ctx.start] = skb
    try:
        skb.reset(data, direct=True)
        skb.sync()
        struct.pack_into("<Q", skb.ctx.view, _FLOW_KEYS, keys.start)
        retval = duration = 0
        for _ in range(attr.get("repeat") or 1):
            keys.view[:] = bytes(_KEYS)
            struct.pack_into("<HH", keys.view, _NHOFF, ETH_HLEN, ETH_HLEN)
            keys.view[_N_PROTO : _N_PROTO + 2] = data[12:14]
            struct.pack_into("<I", keys.view, _FLAGS_AT, flags)
            retval, duration = repeat(prog, skb.ctx.start, 1)
            nhoff, thoff = struct.unpack_from("<HH", keys.view, _NHOFF)
            nhoff = min(max(nhoff, ETH_HLEN), size)
            struct.pack_into("<HH", keys.view, _NHOFF, nhoff, min(max(thoff, nhoff), size))
        out = bytes(keys.view)
    finally:
        del world.contexts[skb.ctx.start]
        skb.close()
        kernel.memory.remove(keys)
    finish(attr, out, _KEYS, retval, duration)
    context_out(attr, user)
    return 0
