"""Facts about program types that a kernel can be asked: test runs, values of r0, sleeping, packets, attach types."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

import pytest
from spec_kernels import types_of
from spec_loads import (
    CAP_BPF,
    CAPABILITIES,
    RETURN_0,
    RETURN_1,
    SLEEPABLE,
    Place,
    insn,
    load,
    typed,
    untyped,
    with_capabilities,
)

from bombus.errors import KernelError
from bombus.kernel.api import Attr, Kernel
from bombus.spec.attachtypes import ATTACH_TYPE, ATTACH_TYPES
from bombus.spec.maptypes import MAP_TYPES
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPES
from bombus.spec.version import KernelVersion

OLDEST, NEWEST = KernelVersion(6, 12), KernelVersion(6, 18)
ENOTSUPP = 524
PACKET = bytes(12) + b"\x08\x00" + bytes(50)


def _version() -> KernelVersion:
    major, minor, _ = KernelVersion.parse(os.uname().release)
    return KernelVersion(major, minor)


def _places() -> Iterable[Place]:
    types = types_of("running")
    return [*untyped(), *(typed(types.btf) if types is not None else ())]


def _need(kernel: Kernel, place: Place) -> None:
    if not OLDEST <= _version() <= NEWEST:
        pytest.skip(f"rows are exact from {OLDEST} to {NEWEST}")
    answers = [load(kernel, place, code) for code in (RETURN_0, RETURN_1)]
    if not any(code == 0 for code, _ in answers):
        pytest.skip(f"this kernel takes no such programs: {answers[0][0]} {answers[0][1][:80]!r}")


@pytest.mark.linux
@pytest.mark.parametrize("place", _places(), ids=str)
def test_test_runs(place: Place, linux_kernel: Kernel) -> None:
    """A type without test runs says ENOTSUPP, whatever it is given."""
    _need(linux_kernel, place)
    code = RETURN_0 if load(linux_kernel, place, RETURN_0)[0] == 0 else RETURN_1
    fd = linux_kernel.bpf(
        Attr(
            "BPF_PROG_LOAD", prog_type=place.type_id, insn_cnt=len(code) // 8, insns=code, license=b"GPL\0",
            expected_attach_type=place.attach, prog_flags=place.flags, attach_btf_id=place.btf_id,
        )
    )  # fmt: skip
    try:
        linux_kernel.bpf(Attr("BPF_PROG_TEST_RUN", prog_fd=fd, data_in=PACKET, data_size_in=len(PACKET)))
        answer = 0
    except KernelError as error:
        answer = error.errno or -1
    finally:
        linux_kernel.close(fd)
    row = PROG_TYPE[place.prog_type]
    runs = row.test_run is not None and row.test_run <= _version()
    if place.target.startswith("tcp_congestion_ops") or place.attach_type == "BPF_TRACE_ITER":
        # Of struct_ops only bpf_dummy_ops runs, and iterators are no functions that a test run could call.
        assert answer != 0
        return
    assert (answer != ENOTSUPP) == runs, answer


@pytest.mark.linux
@pytest.mark.parametrize("place", list(untyped()), ids=str)
def test_values_of_r0(place: Place, linux_kernel: Kernel) -> None:
    _need(linux_kernel, place)
    rule = PROG_TYPE[place.prog_type].return_range(place.attach_type)
    allowed = [
        value for value in range(-3, 8) if load(linux_kernel, place, insn(0xB7, imm=value) + insn(0x95))[0] == 0
    ]
    assert allowed == [v for v in range(-3, 8) if rule is None or rule.min <= v <= rule.max]


@pytest.mark.linux
@pytest.mark.parametrize("row", PROG_TYPES, ids=lambda row: row.short)
def test_sleepable(row: object, linux_kernel: Kernel) -> None:
    """BPF_F_SLEEPABLE is refused, or compulsory, as the row says."""
    name = row.name  # type: ignore[attr-defined]
    for place in _places():
        if place.prog_type != name or (place.flags == SLEEPABLE and name != "BPF_PROG_TYPE_SYSCALL"):
            continue
        if place.target.startswith("bpf_dummy_ops"):
            continue  # its members decide
        answers = {}
        for flags in (0, SLEEPABLE):
            asked = Place(place.prog_type, place.attach_type, place.attach, place.btf_id, flags, place.target)
            codes = [load(linux_kernel, asked, code) for code in (RETURN_0, RETURN_1)]
            answers[flags] = min(codes, key=lambda found: found[0])
        if answers[0][0] and answers[SLEEPABLE][0]:
            continue
        sleepable = PROG_TYPE[name].sleepable
        may = "*" in sleepable or place.attach_type in sleepable
        assert (answers[SLEEPABLE][0] == 0) == may, (str(place), answers)
        assert (answers[0][0] == 0) == (name != "BPF_PROG_TYPE_SYSCALL"), (str(place), answers)


@pytest.mark.linux
@pytest.mark.parametrize("row", [p for p in PROG_TYPES if p.btf_id != "required"], ids=lambda row: row.short)
def test_expected_attach_types(row: object, linux_kernel: Kernel) -> None:
    """Where BPF_PROG_LOAD checks the expected attach type, it takes those of the row and no others."""
    name = row.name  # type: ignore[attr-defined]
    kind = PROG_TYPE[name]
    flags = SLEEPABLE if name == "BPF_PROG_TYPE_SYSCALL" else 0
    if not OLDEST <= _version() <= NEWEST:
        pytest.skip(f"rows are exact from {OLDEST} to {NEWEST}")
    taken = []
    for attach in (*ATTACH_TYPES, None):
        number = attach.id if attach is not None else max(a.id for a in ATTACH_TYPES) + 1
        place = Place(name, attach.name if attach is not None else "", number, flags=flags)
        if any(load(linux_kernel, place, code)[0] == 0 for code in (RETURN_0, RETURN_1)):
            taken.append(attach.name if attach is not None else "more")
    if not taken:
        pytest.skip("this kernel takes no such programs")
    if kind.attach_checked:
        expected = set(kind.attach_types)
        if kind.default_attach:
            expected.add("BPF_CGROUP_INET_INGRESS")  # 0, which stands for the default
        assert set(taken) == expected
    else:
        assert set(taken) >= set(kind.attach_types)


# A load of the packet through data and data_end, and a store; offsets of data, data_end and how wide they are.
_DATA = {"__sk_buff": (76, 80, 0x61), "xdp_md": (0, 4, 0x61), "sk_msg_md": (0, 8, 0x79),
         "sk_reuseport_md": (0, 8, 0x79)}


@pytest.mark.linux
@pytest.mark.parametrize("place", [p for p in untyped() if PROG_TYPE[p.prog_type].ctx in _DATA], ids=str)
def test_packets(place: Place, linux_kernel: Kernel) -> None:
    _need(linux_kernel, place)
    row = PROG_TYPE[place.prog_type]
    data, end, code = _DATA[row.ctx]
    start = insn(code, 2, 1, data) + insn(code, 3, 1, end) + insn(0xBF, 4, 2) + insn(0x07, 4, imm=8)
    start += insn(0x2D, 4, 3, 1)  # if r4 > r3 goto +1
    result = RETURN_1 if load(linux_kernel, place, RETURN_0)[0] else RETURN_0
    read = load(linux_kernel, place, start + insn(0x79, 0, 2) + result)[0] == 0
    write = load(linux_kernel, place, start + insn(0x7A, 2, imm=0) + result)[0] == 0
    assert (read, write) == (row.packet in ("read", "write"), row.packet == "write")


@pytest.mark.linux
@pytest.mark.parametrize("place", _places(), ids=str)
def test_capabilities(place: Place, linux_kernel: Kernel) -> None:
    """CAP_BPF and those of the row are enough, and none of them can be missing."""
    _need(linux_kernel, place)
    code = RETURN_0 if load(linux_kernel, place, RETURN_0)[0] == 0 else RETURN_1
    needed = {CAP_BPF, *(CAPABILITIES[name] for name in PROG_TYPE[place.prog_type].caps)}

    def ask() -> int:
        return load(linux_kernel, place, code)[0]

    assert with_capabilities(needed, ask) == 0
    # Without CAP_BPF, kernel.unprivileged_bpf_disabled decides.
    without = {number: with_capabilities(needed - {number}, ask) for number in needed - {CAP_BPF}}
    assert set(without.values()) <= {errno.EPERM}
    everything = set(CAPABILITIES.values())
    assert with_capabilities(everything, ask) == 0


def test_attach_types_and_program_types_agree() -> None:
    """Both tables say which go together; each pair is in both."""
    from_programs = {(row.name, attach) for row in PROG_TYPES for attach in row.attach_types}
    from_attach_types = {(prog, row.name) for row in ATTACH_TYPES for prog in row.prog_types}
    assert from_programs == from_attach_types
    assert all(ATTACH_TYPE[attach].since >= PROG_TYPE[prog].since or prog for prog, attach in from_programs)


def test_map_types_name_known_helpers() -> None:
    from bombus.spec.helpers import HELPER

    assert [(row.name, name) for row in MAP_TYPES for name in row.helpers if name not in HELPER] == []
