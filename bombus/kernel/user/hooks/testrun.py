"""Parts that the test runs of several program types share. Source: Linux 6.12 net/bpf/test_run.c."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Final

from bombus.bits import U64
from bombus.errors import KernelError, VmFault
from bombus.kernel.user.commands import put
from bombus.kernel.user.maps.storage import drop_test_run
from bombus.kernel.user.progfault import located

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.prog import Prog

CALL: Final = "BPF_PROG_TEST_RUN"
F_ON_CPU: Final = 1
F_XDP_LIVE: Final = 2
F_CSUM_COMPLETE: Final = 4
U32: Final = 0xFFFF_FFFF


def refuse(number: int, message: str) -> KernelError:
    return KernelError(number, CALL, message)


def only(attr: Attr, flags: int, *, batch: bool = False, cpu: bool = False) -> None:
    """Refuse flags other than these, and cpu and batch_size unless they are allowed (cpu: as XDP, which ignores it)."""
    if attr.get("flags") & ~flags:
        raise refuse(errno.EINVAL, f"flags {attr.get('flags') & ~flags:#x} mean nothing for this program type")
    if attr.get("cpu") and not cpu:
        raise refuse(errno.EINVAL, "cpu must be 0 for this program type")
    if attr.get("batch_size") and not batch:
        raise refuse(errno.EINVAL, "batch_size goes with live frames only")


def forbid(attr: Attr, *names: str) -> None:
    for name in names:
        if attr.get(name):
            raise refuse(errno.EINVAL, f"{name} must be 0 for this program type")


def context_in(attr: Attr, size: int) -> bytearray | None:
    """The caller's context, padded with zeros to `size`; None when neither ctx_in nor ctx_out is given.

    Bytes beyond `size` must be zero (E2BIG). Linux: bpf_ctx_init.
    """
    if not attr.get("ctx_in") and not attr.get("ctx_out"):
        return None
    given = attr.get("ctx_size_in")
    out = bytearray(size)
    if attr.get("ctx_in"):
        if given > 4096:
            raise refuse(errno.E2BIG, f"ctx_in of {given} bytes")
        data = attr.read(attr.get("ctx_in"), given)
        if any(data[size:]):
            raise refuse(errno.E2BIG, f"ctx_in has set bytes after the {size} of the context")
        out[: min(given, size)] = data[:size]
    return out


def context_out(attr: Attr, data: bytes | bytearray | None) -> None:
    """Linux: bpf_ctx_finish. KernelError(ENOSPC) after a part was written."""
    if data is None or not attr.get("ctx_out"):
        return
    room = attr.get("ctx_size_out")
    attr.write(attr.get("ctx_out"), bytes(data[:room]))
    put(attr, "ctx_size_out", len(data))
    if room < len(data):
        raise refuse(errno.ENOSPC, f"ctx_out has room for {room} of {len(data)} bytes")


def finish(attr: Attr, data: bytes, size: int, retval: int, duration: int, frags: int = 0) -> None:
    """Write results back. KernelError(ENOSPC) after that, when data_out was too small. Linux: bpf_test_finish.

    data: what goes to data_out; size: what data_size_out becomes; frags: how many bytes lie in fragments.
    """
    room = attr.get("data_size_out")
    short = bool(room) and size > room
    if attr.get("data_out"):
        count = room if short else size
        if count < frags:
            raise refuse(errno.ENOSPC, f"data_out has room for {room} of {size} bytes")
        attr.write(attr.get("data_out"), data[:count])
    put(attr, "data_size_out", size)
    put(attr, "retval", retval & U32)
    put(attr, "duration", min(duration, U32))
    if short:
        raise refuse(errno.ENOSPC, f"data_out has room for {room} of {size} bytes")


def repeat(prog: Prog, ctx: int, count: int) -> tuple[int, int]:
    """Run `count` times (0: once) on one context. Returns (the last r0 as u32, nanoseconds of one run)."""
    result, spent = whole(prog, ctx, count)
    return result & U32, spent


def whole(prog: Prog, ctx: int, count: int = 1) -> tuple[int, int]:
    """As `repeat`, with all 64 bits of r0."""
    run = prog.compiled.run
    count = count or 1
    start = time.perf_counter_ns()
    result = 0
    try:
        for _ in range(count):
            result = run(ctx)
    except VmFault as fault:
        raise located(prog, fault) from None
    finally:
        drop_test_run(prog)
    spent = time.perf_counter_ns() - start
    if prog.kernel.stats_users:
        prog.run_count += count
        prog.run_time += spent
    return result & U64, spent // count
