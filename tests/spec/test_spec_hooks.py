"""Security hooks: the functions are in the BTF of the kernel that the sets are from, and decide about helpers."""

from __future__ import annotations

import pytest
from spec_kernels import types_of

from bombus.spec.helpers import allowed, not_in_probe
from bombus.spec.hooks import (
    D_PATH_FUNCTIONS,
    DISABLED_LSM_HOOKS,
    LOCKED_SOCKOPT_LSM_HOOKS,
    LSM_PREFIX,
    SLEEPABLE_LSM_HOOKS,
    UNLOCKED_SOCKOPT_LSM_HOOKS,
    UNTRUSTED_LSM_HOOKS,
)
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import since

V = since("6.12")


@pytest.mark.oracle
def test_hooks_are_functions_of_the_kernel() -> None:
    types = types_of("6.12")
    if types is None:
        pytest.skip("../shared/oracle is not there")
    hooks = (
        SLEEPABLE_LSM_HOOKS | DISABLED_LSM_HOOKS | UNTRUSTED_LSM_HOOKS | LOCKED_SOCKOPT_LSM_HOOKS
        | UNLOCKED_SOCKOPT_LSM_HOOKS
    )  # fmt: skip
    absent = {hook for hook in hooks if LSM_PREFIX + hook not in types.functions}
    # Named in the kernel's set, but no hook is left that has the name.
    assert absent <= {"current_getsecid_subj"}
    assert not D_PATH_FUNCTIONS - types.functions
    assert len(SLEEPABLE_LSM_HOOKS) > 80 and not DISABLED_LSM_HOOKS & UNTRUSTED_LSM_HOOKS


@pytest.mark.parametrize(
    ("prog_type", "attach", "target", "helper", "answer"),
    [
        ("TRACING", 24, "vfs_getattr", "d_path", "yes"),
        ("TRACING", 24, "do_unlinkat", "d_path", "probe"),
        ("TRACING", 24, "", "d_path", "yes"),
        ("TRACING", 23, "btf_trace_sched_switch", "d_path", "probe"),
        ("TRACING", 28, "bpf_iter_task_file", "d_path", "yes"),
        ("TRACING", 24, "bpf_sk_storage_free", "sk_storage_get", "probe"),
        ("TRACING", 25, "tcp_connect", "sk_storage_get", "yes"),
        ("TRACING", 26, "tcp_connect", "sk_storage_get", "probe"),
        ("LSM", 27, "bpf_lsm_file_open", "d_path", "yes"),
        ("LSM", 27, "bpf_lsm_inode_permission", "d_path", "probe"),
        ("LSM", 27, "bpf_lsm_inode_permission", "ima_inode_hash", "probe"),
        ("LSM", 43, "bpf_lsm_sock_graft", "setsockopt", "yes"),
        ("LSM", 43, "bpf_lsm_socket_bind", "setsockopt", "no"),
        ("LSM", 27, "bpf_lsm_sock_graft", "setsockopt", "no"),
        ("LSM", 43, "bpf_lsm_socket_bind", "set_retval", "yes"),
        ("LSM", 27, "bpf_lsm_socket_bind", "set_retval", "no"),
        ("SYSCALL", 0, "", "sk_storage_get", "probe"),
    ],
)
def test_targets_decide(prog_type: str, attach: int, target: str, helper: str, answer: str) -> None:
    number = PROG_TYPE[f"BPF_PROG_TYPE_{prog_type}"].id
    yes = allowed(helper, number, attach, V, target=target)
    probe = not_in_probe(helper, number, attach, V, target=target)
    assert (yes, probe) == (answer == "yes", answer == "probe")
