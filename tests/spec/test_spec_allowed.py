"""Which programs may call which helpers, as the running kernel's verifier says it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from spec_kernels import types_of
from spec_loads import CAP_BPF, CAP_NET_ADMIN, RETURN_0, Place, insn, load, typed, untyped, with_capabilities

from bombus.kernel.api import Kernel
from bombus.spec.helpers import HELPER, HELPERS, allowed, not_in_probe
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import KernelVersion, since

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.linux
REFUSED = ("unknown func", "cannot use helper", "invalid func")
IN_PROBE = "helper call is not allowed in probe"
# What the kernel's configuration or a lockdown takes away.
BY_CONFIGURATION = {
    "override_return", "probe_write_user", "probe_read", "probe_read_str", "probe_read_kernel", "probe_read_kernel_str",
    "lwt_seg6_store_bytes", "lwt_seg6_adjust_srh", "lwt_seg6_action", "get_route_realm", "skb_get_xfrm_state",
    "rc_repeat", "rc_keydown", "rc_pointer_rel", "ima_inode_hash", "ima_file_hash",
}  # fmt: skip
OLDEST, NEWEST = KernelVersion(6, 12), KernelVersion(6, 18)


def _running() -> KernelVersion:
    major, minor, _ = KernelVersion.parse(os.uname().release)
    return KernelVersion(major, minor)


def _places() -> Iterable[Place]:
    found = list(untyped())
    types = types_of("running")
    return found + (list(typed(types.btf)) if types is not None else [])


def _said(kernel: Kernel, place: Place, number: int) -> tuple[bool, bool] | None:
    """What `allowed` and `not_in_probe` should say; None: the verifier was never asked."""
    code, log = load(kernel, place, insn(0x85, imm=number) + RETURN_0)
    if code and "call " not in log:
        return None
    refused = any(text in log for text in REFUSED)
    return not refused and IN_PROBE not in log, IN_PROBE in log


def _differences(kernel: Kernel, place: Place, *, perfmon: bool = True) -> list[str]:
    version = _running()
    found = []
    for row in HELPERS:
        said = _said(kernel, place, row.id)
        if said is None:
            code, log = load(kernel, place, RETURN_0)
            pytest.skip(f"this kernel takes no such programs: errno {code} {log[:80]!r}")
        ask = (row.name, place.type_id, place.attach_id, version)
        ours = (
            allowed(*ask, perfmon=perfmon, target=place.target),
            not_in_probe(*ask, perfmon=perfmon, target=place.target),
        )
        if said != ours and not (row.name in BY_CONFIGURATION and not said[0]):
            found.append(f"{row.name}: kernel {said}, spec {ours}")
    return found


@pytest.mark.parametrize("place", _places(), ids=str)
def test_helpers_of_programs(place: Place, linux_kernel: Kernel) -> None:
    if not OLDEST <= _running() <= NEWEST:
        pytest.skip(f"rows are exact from {OLDEST} to {NEWEST}")
    assert _differences(linux_kernel, place) == []


@pytest.mark.parametrize("place", [p for p in untyped() if "CAP_PERFMON" not in PROG_TYPE[p.prog_type].caps], ids=str)
def test_helpers_without_perfmon(place: Place, linux_kernel: Kernel) -> None:
    if not OLDEST <= _running() <= NEWEST:
        pytest.skip(f"rows are exact from {OLDEST} to {NEWEST}")

    def ask() -> list[str]:
        return _differences(linux_kernel, place, perfmon=False)

    assert with_capabilities({CAP_BPF, CAP_NET_ADMIN}, ask) == []


def test_numbers_beyond_the_last_are_refused(linux_kernel: Kernel) -> None:
    place = next(p for p in untyped() if p.prog_type == "BPF_PROG_TYPE_SOCKET_FILTER")
    newest = max(row.id for row in HELPERS if row.since <= _running())
    code, log = load(linux_kernel, place, insn(0x85, imm=newest) + RETURN_0)
    assert "invalid func" not in log
    if _running() <= NEWEST:
        code, log = load(linux_kernel, place, insn(0x85, imm=newest + 1) + RETURN_0)
        assert code == 22 and "invalid func" in log


def test_answers_without_a_kernel() -> None:
    tc, tracing, lsm = (PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("SCHED_CLS", "TRACING", "LSM"))
    assert not allowed("get_current_comm", tc, 0, since("6.12"))
    assert allowed("get_current_comm", tc, 0, since("6.16"))
    assert allowed("setsockopt", tracing, 28, since("6.12"), target="bpf_iter_tcp")
    assert not allowed("setsockopt", tracing, 28, since("6.12"), target="bpf_iter_udp")
    assert allowed("get_local_storage", lsm, 43, since("6.12")) and not allowed("get_local_storage", lsm, 27)
    assert HELPER["get_attach_cookie"].since == since("5.15")
    assert not allowed("get_attach_cookie", tracing, 23, since("6.9")) and allowed("get_attach_cookie", tracing, 23)
