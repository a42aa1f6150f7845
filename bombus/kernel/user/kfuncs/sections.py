"""Sections that only Linux' verifier and scheduler take note of: nothing else runs while a program does."""

from __future__ import annotations

from bombus.kernel.user.kfuncs import kfunc
from bombus.kernel.user.progenv import ProgEnv


@kfunc("bpf_rcu_read_lock", "bpf_rcu_read_unlock", "bpf_preempt_disable", "bpf_preempt_enable")
def section(env: ProgEnv) -> int:
    return 0
