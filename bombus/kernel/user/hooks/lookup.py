"""Test runs of sk_lookup programs. Source: Linux 6.12 net/bpf/test_run.c bpf_prog_test_run_sk_lookup."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from bombus.kernel.user.hooks import test_run
from bombus.kernel.user.hooks.testrun import context_in, context_out, finish, forbid, only, refuse, repeat

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

_SIZE: Final = 72  # struct bpf_sk_lookup
_FAMILY, _LOCAL_PORT, _AFTER = 8, 60, 64
_REMOTE_PORT: Final = 36
_IPV4: Final = ((16, 4), (40, 4))  # offset, size of remote_ip4, local_ip4
_IPV6: Final = ((20, 16), (44, 16))
_AF_INET, _AF_INET6 = 2, 10
_SK_DROP, _SK_PASS = 0, 1


@test_run("SK_LOOKUP")
def run_sk_lookup(kernel: UserKernel, prog: Prog, attr: Attr) -> int:
    only(attr, 0)
    forbid(attr, "data_in", "data_size_in", "data_out", "data_size_out")
    user = context_in(attr, _SIZE)
    if user is None:
        raise refuse(errno.EINVAL, "ctx_in is needed")
    if any(user[:8]) or any(user[_AFTER:]):
        raise refuse(errno.EINVAL, "ctx_in: sk and the members after local_port must be 0")
    if struct.unpack_from("<I", user, _LOCAL_PORT)[0] > 0xFFFF:
        raise refuse(errno.ERANGE, "ctx_in: local_port")
    family = struct.unpack_from("<I", user, _FAMILY)[0] & 0xFFFF
    if family not in (_AF_INET, _AF_INET6):
        raise refuse(errno.EAFNOSUPPORT, f"ctx_in: family {family}")
    ctx = kernel.memory.allocate(_SIZE, name="bpf_sk_lookup", kind="ctx")
    try:
        ctx.view[:] = user
        # Programs see a family, protocol and ports of 16 bits.
        for offset in (_FAMILY, _FAMILY + 4):
            struct.pack_into("<I", ctx.view, offset, struct.unpack_from("<I", user, offset)[0] & 0xFFFF)
        # The addresses of the other family read as zeros, as does the upper half of remote_port.
        for offset, size in _IPV6 if family == _AF_INET else _IPV4:
            ctx.view[offset : offset + size] = bytes(size)
        ctx.view[_REMOTE_PORT + 2 : _REMOTE_PORT + 4] = bytes(2)
        retval, duration = repeat(prog, ctx.start, attr.get("repeat"))
    finally:
        kernel.memory.remove(ctx)
    # No socket can be selected here; a run that drops answers SK_DROP, any other SK_PASS.
    retval = _SK_PASS if retval == _SK_PASS else _SK_DROP
    user[0:8] = bytes(8)
    finish(attr, b"", 0, retval, duration)
    context_out(attr, user)
    return 0
