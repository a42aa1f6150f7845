"""Rows of kfuncs against the functions in the BTF of each kernel, and the running kernel's verifier."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from spec_kernels import types_of
from spec_loads import RETURN_0, RETURN_1, Place, insn, load, typed, untyped

from bombus.btf.types import Kind
from bombus.kernel.api import Kernel
from bombus.spec.helpers import HELPER
from bombus.spec.kfuncs import KFUNC, KFUNCS, SETS
from bombus.spec.version import KernelVersion, since

if TYPE_CHECKING:
    from spec_kernels import KernelTypes

NEWEST = KernelVersion(6, 18)
# Functions of the kernel's own tests that carry the tag, but that no program can call.
NOT_CALLABLE = {"bpf_fentry_test1", "bpf_modify_return_test", "bpf_modify_return_test2"}
# What a kernel's configuration may leave out, or put into a module, whose BTF is apart.
BY_CONFIGURATION = (
    "bbr_", "dctcp_", "hid_bpf_", "scx_", "bpf_iter_scx_", "bpf_skb_set_", "bpf_skb_get_", "bpf_xdp_flow_lookup",
    "bpf_qdisc_", "bpf_kfree_skb", "bpf_get_fsverity_digest", "bpf_verify_pkcs7_signature", "crash_kexec",
    "bpf_session_", "bpf_ct_", "bpf_xdp_ct_", "bpf_skb_ct_", "bpf_crypto_", "bpf_xdp_get_xfrm_", "bpf_xdp_xfrm_",
    "bpf_iter_dmabuf_", "bpf_arena_", "bpf_sk_assign_tcp_reqsk", "bpf_iter_css", "bpf_get_task_exe_file",
    "bpf_put_file", "bpf_path_d_path", "bpf_get_dentry_xattr", "bpf_get_file_xattr",
)  # fmt: skip


def test_names_are_unique() -> None:
    assert len(KFUNC) == len(KFUNCS)


def test_rows_are_in_the_kernels_that_have_them(kernel_types: KernelTypes) -> None:
    at = kernel_types.version
    absent = {row.name for row in KFUNCS if at in row} - kernel_types.functions
    assert sorted(name for name in absent if not name.startswith(BY_CONFIGURATION)) == []


def test_rows_are_not_in_older_or_younger_kernels(kernel_types: KernelTypes) -> None:
    at = min(kernel_types.version, NEWEST)
    assert sorted({row.name for row in KFUNCS if at not in row} & kernel_types.functions) == []


def test_every_tagged_function_has_a_row(kernel_types: KernelTypes) -> None:
    if kernel_types.version > NEWEST:
        pytest.skip(f"rows go to {NEWEST}")
    assert sorted(kernel_types.kfuncs - set(KFUNC) - NOT_CALLABLE) == []
    if kernel_types.version == NEWEST:
        assert len(kernel_types.kfuncs) > 150


def _places() -> list[Place]:
    """One for each program type."""
    found: dict[str, Place] = {}
    types = types_of("running")
    for place in [*untyped(), *(typed(types.btf) if types is not None else ())]:
        # Typed tracepoints take what all tracing programs do; iterators a little more.
        if place.prog_type == "BPF_PROG_TYPE_TRACING" and place.attach_type != "BPF_TRACE_ITER":
            continue
        found.setdefault(place.prog_type, place)
    return list(found.values())


@pytest.mark.linux
@pytest.mark.parametrize("place", _places(), ids=lambda place: place.prog_type)
def test_program_types(place: Place, linux_kernel: Kernel) -> None:
    major, minor, _ = KernelVersion.parse(os.uname().release)
    if (major, minor) != NEWEST[:2]:
        pytest.skip(f"program types are those of {NEWEST}")
    types = types_of("running")
    if types is None:
        pytest.skip("the running kernel has no BTF")
    if all(load(linux_kernel, place, code)[0] for code in (RETURN_0, RETURN_1)):
        pytest.skip("this kernel takes no such programs")
    wrong = defaultdict(list)
    for name in sorted(types.kfuncs & set(KFUNC)):
        row = KFUNC[name]
        id_ = types.btf.find(name, Kind.FUNC)
        assert id_ is not None
        log = load(linux_kernel, place, insn(0x85, 0, 2, 0, id_) + RETURN_0)[1]
        assert log, name
        if "require device-bound program" in log:  # said before the program's type is looked at
            assert name.startswith("bpf_xdp_metadata_")
            continue
        allowed = "is not allowed" not in log
        if allowed != (not row.prog_types or place.prog_type in row.prog_types):
            wrong["allowed" if allowed else "refused"].append(name)
        if "must be sleepable to call sleepable kfunc" in log and "sleepable" not in row.flags:
            wrong["sleepable"].append(name)
    # The kernel's configuration decides whether these are registered at all.
    refused = [name for name in wrong["refused"] if not name.startswith(BY_CONFIGURATION)]
    assert (wrong["allowed"], refused, wrong["sleepable"]) == ([], [], [])


def test_answers_without_a_kernel() -> None:
    row = KFUNC["cgroup_rstat_updated"]
    assert since("6.1") in row and since("6.15") in row and since("6.16") not in row and since("6.0") not in row
    assert KFUNC["bpf_iter_num_next"].flags == {"iter_next", "ret_null"}
    assert not [row.name for row in KFUNCS if row.name.removeprefix("bpf_") in HELPER]


def test_sets_differ() -> None:
    """The documentation names sets by their program types."""
    assert len(set(SETS.values())) == len(SETS)
    assert {row.prog_types for row in KFUNCS} == set(SETS.values())
