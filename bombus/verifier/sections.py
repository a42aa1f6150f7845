"""Sections that a program must leave before it ends: locks, RCU read sections, sections without preemption.

Linux 6.12 kernel/bpf/verifier.c: do_check; as Linux 6.14 and later answer (check_resource_leak, observed).
"""

from __future__ import annotations

from bombus.verifier import irqreg, refs
from bombus.verifier.env import EINVAL, Env


def check_missing(env: Env) -> None:
    """The outermost function ends, as kernels before 6.14 see it (the lock was looked at)."""
    state = env.state
    if state.rcu_locked:
        env.fail(EINVAL, "bpf_rcu_read_unlock is missing")
    count = state.preempt_disabled
    if count:
        env.fail(EINVAL, f"{count} bpf_preempt_enable{' is' if count == 1 else '(s) are'} missing")


def check_thrown(env: Env) -> None:
    """An exception ends the program, whatever function runs."""
    if env.rules.refs_in_state:
        check_ended(env, "bpf_throw", always=True)
    else:
        _check_regions(env, "bpf_throw")
        refs.check_leaks(env, always=True)


def check_ended(env: Env, what: str, *, always: bool = False) -> None:
    """As kernels from 6.14 on see it. always: whatever function runs, nothing may be held."""
    if env.state.lock is not None:
        env.fail(EINVAL, f"{what} cannot be used inside bpf_spin_lock-ed region")
    refs.check_leaks(env, f"{what} would lead to reference leak", always=always)
    if irqreg.disabled(env):
        env.fail(EINVAL, f"{what} cannot be used inside bpf_local_irq_save-ed region")
    _check_regions(env, what)


def _check_regions(env: Env, what: str) -> None:
    state = env.state
    for held, region in (
        (state.lock is not None, "bpf_spin_lock"), (state.rcu_locked, "bpf_rcu_read_lock"),
        (bool(state.preempt_disabled), "bpf_preempt_disable"),
    ):
        if held:
            env.fail(EINVAL, f"{what} cannot be used inside {region}-ed region")
