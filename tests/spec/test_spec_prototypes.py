"""Rows of helpers and the verifier of the running kernel: licence, sleeping, and the first argument that it refuses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import pytest
from spec_kernels import types_of
from spec_loads import SLEEPABLE, Place, insn, load, typed, untyped

from bombus.errors import KernelError
from bombus.kernel.api import Attr, Kernel
from bombus.spec.helpers import HELPER, HELPERS, Helper, allowed, fastcall_for, prototype_for
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import KernelVersion, since

TAIL = insn(0xB7) + insn(0x95)
# What the verifier expects of a register that holds the number 0 (Linux 6.12 kernel/bpf/verifier.c:
# compatible_reg_types); kinds that are missing here take a number, or need more than its type.
EXPECTED = {
    "ARG_PTR_TO_CTX": "expected=ctx",
    "ARG_CONST_MAP_PTR": "expected=map_ptr",
    "ARG_PTR_TO_MAP_KEY": "expected=fp, pkt, pkt_meta, map_key, map_value",
    "ARG_PTR_TO_MEM": "expected=fp, pkt, pkt_meta, map_key, map_value",
    "ARG_PTR_TO_MAP_VALUE": "expected=fp, pkt, pkt_meta, map_key, map_value",
    "ARG_PTR_TO_SPIN_LOCK": "expected=map_value",
    "ARG_PTR_TO_TIMER": "expected=map_value",
    "ARG_PTR_TO_SOCKET": "expected=sock",
    "ARG_PTR_TO_BTF_ID_SOCK_COMMON": "expected=sock_common, sock, tcp_sock, xdp_sock, ptr_",
    "ARG_PTR_TO_SOCK_COMMON": "expected=sock_common, sock, tcp_sock, xdp_sock",
    "ARG_PTR_TO_RINGBUF_MEM": "expected=ringbuf_mem",
    "ARG_PTR_TO_DYNPTR": "expected=fp",
    "ARG_PTR_TO_PERCPU_BTF_ID": "expected=percpu_ptr_",
    "ARG_PTR_TO_FUNC": "expected=func",
    "ARG_PTR_TO_STACK": "expected=fp",
    "ARG_PTR_TO_CONST_STR": "expected=map_value",
}


def _version() -> KernelVersion:
    major, minor, _ = KernelVersion.parse(os.uname().release)
    return KernelVersion(major, minor)


def _places() -> list[Place]:
    types = types_of("running")
    return [*untyped(), *(typed(types.btf) if types is not None else ())]


def _homes(kernel: Kernel, row: Helper) -> Iterable[Place]:
    """Kinds of programs that may call the helper, one for each prototype, which this kernel takes."""
    seen = set()
    for place in _places():
        if not allowed(row.name, place.type_id, place.attach_id, _version(), target=place.target):
            continue
        prototype = prototype_for(row, place.type_id, place.flags == SLEEPABLE, place.attach_id)
        log = load(kernel, place, _call(row))[1]
        # The kernel's configuration may lack the type, or the helper.
        if (prototype, place.flags) in seen or "call bpf_" not in log or "cannot use helper" in log:
            continue
        seen.add((prototype, place.flags))
        yield place


def _call(row: Helper) -> bytes:
    # r6 keeps the context. All arguments are the number 0.
    zero = b"".join(insn(0xB7, number) for number in range(1, 6))
    return insn(0xBF, 6, 1) + zero + insn(0x85, imm=row.id) + TAIL


def _say(kernel: Kernel, place: Place, row: Helper, licence: bytes) -> str:
    log = bytearray(1 << 14)
    code = _call(row)
    attr = Attr(
        "BPF_PROG_LOAD", prog_type=place.type_id, insn_cnt=len(code) // 8, insns=code, license=licence, log_level=1,
        log_size=len(log), log_buf=log, expected_attach_type=place.attach, prog_flags=place.flags,
        attach_btf_id=place.btf_id,
    )  # fmt: skip
    with contextlib.suppress(KernelError):
        kernel.close(kernel.bpf(attr))
    return bytes(log).split(b"\0", 1)[0].decode(errors="replace")


@pytest.mark.linux
@pytest.mark.parametrize("row", HELPERS, ids=lambda row: row.name)
def test_licence_sleep_and_arguments(row: Helper, linux_kernel: Kernel) -> None:
    if not KernelVersion(6, 12) <= _version() <= KernelVersion(6, 18):
        pytest.skip("rows are exact from 6.12 to 6.18")
    homes = list(_homes(linux_kernel, row))
    if not homes:
        pytest.skip("no kind of program that this kernel takes may call it")
    for place in homes:
        prototype = prototype_for(row, place.type_id, place.flags == SLEEPABLE, place.attach_id)
        # Types that only GPL programs may have answer before the helper is looked at.
        if place.prog_type not in ("BPF_PROG_TYPE_STRUCT_OPS",) and "_iter_" not in place.target:
            log = _say(linux_kernel, place, row, b"Proprietary\0")
            if "call " in log:
                assert ("cannot call GPL-restricted function" in log) == prototype.gpl_only, (place, log)
        log = load(linux_kernel, place, _call(row))[1]
        may_not_sleep = "might sleep" in log or "sleepable helper" in log
        assert may_not_sleep == (prototype.might_sleep and place.flags != SLEEPABLE), (str(place), log)
        if not may_not_sleep:
            _check_arguments(str(place), prototype.args, log)


def _check_arguments(place: str, args: tuple[str, ...], log: str) -> None:
    """The first argument that cannot be 0 is the one that the verifier names, with what it expects there."""
    for number, text in enumerate(args, 1):
        kind, *modifiers = text.split("|")
        if kind in EXPECTED and "PTR_MAYBE_NULL" not in modifiers:
            assert f"R{number} type=scalar expected=" in log, (place, args, log)
            assert EXPECTED[kind] in log, (place, args, log)
            return
        if kind not in ("ARG_ANYTHING", "ARG_CONST_SIZE", "ARG_CONST_SIZE_OR_ZERO", "ARG_CONST_ALLOC_SIZE_OR_ZERO"):
            return


def test_kprobes_of_one_function_need_a_licence_that_many_do_not() -> None:
    kprobe = PROG_TYPE["BPF_PROG_TYPE_KPROBE"].id
    row = HELPER["get_func_ip"]
    assert prototype_for(row, kprobe, False, 0).gpl_only
    assert not prototype_for(row, kprobe, False, 42).gpl_only  # BPF_TRACE_KPROBE_MULTI


def test_only_kprobes_have_a_get_stack_that_sleeps() -> None:
    row = HELPER["get_stack"]
    sleeps = [name for name, t in PROG_TYPE.items() if prototype_for(row, t.id, True).might_sleep]
    assert sleeps == ["BPF_PROG_TYPE_KPROBE"]


def test_fast_calls_depend_on_the_group() -> None:
    row, xdp, filter_ = HELPER["get_smp_processor_id"], 6, 1
    assert fastcall_for(row, xdp, 0, since("6.12")) and not fastcall_for(row, filter_, 0, since("6.18"))
    assert fastcall_for(row, xdp, 0, since("6.18")) and not fastcall_for(HELPER["tail_call"], xdp)
