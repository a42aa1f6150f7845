"""Functions that change what the verifier takes a pointer for."""

from __future__ import annotations

from bombus.kernel.user.kfuncs import kfunc
from bombus.kernel.user.progenv import ProgEnv
from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID


def castable(attach_type: int) -> bool:
    """Whether contexts of programs at an attach type know the kernel's own struct behind them."""
    row = ATTACH_TYPE_BY_ID.get(attach_type)
    return row is not None and "_UNIX_" in row.name


@kfunc("bpf_rdonly_cast")
def rdonly_cast(env: ProgEnv, address: int, type_id: int) -> int:
    return address


@kfunc("bpf_cast_to_kern_ctx")
def cast_to_kern_ctx(env: ProgEnv, ctx: int) -> int:
    """The user kernel's programs run on what user space sees of a context; the kernel's struct is made when asked."""
    found: int = env.context(ctx).kernel_context()
    return found
