"""bpf_loop. Linux 6.12 kernel/bpf/bpf_iter.c."""

from __future__ import annotations

import errno
from typing import Final

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv

MAX_LOOPS: Final = 8 * 1024 * 1024  # BPF_MAX_LOOPS


@helper("loop")
def loop(env: ProgEnv, count: int, function: int, argument: int, flags: int) -> int:
    """Calls function(index, argument) until it returns other than 0; returns the rounds made."""
    if flags:
        return -errno.EINVAL
    if count > MAX_LOOPS:
        # Linux replaces the call by instructions where flags are the constant 0 (inline_bpf_loop): these look at all of
        # r1, and set the lower half of r0 only.
        return -errno.E2BIG & 0xFFFF_FFFF
    call = env.prog.compiled.call
    for index in range(count):
        if call(function, (index, argument)):
            return index + 1
    return count
