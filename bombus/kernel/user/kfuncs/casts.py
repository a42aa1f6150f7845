"""Functions that change what the verifier takes a pointer for."""

from __future__ import annotations

from bombus.kernel.user.kfuncs import kfunc
from bombus.kernel.user.progenv import ProgEnv


@kfunc("bpf_rdonly_cast")
def rdonly_cast(env: ProgEnv, address: int, type_id: int) -> int:
    return address
