"""Functions of kernel modules: their BTF is split over vmlinux', and programs name it through fd_array."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bombus.btf.build import Builder
from bombus.btf.types import Func, FuncProto, Int, Param, Ptr, Struct
from bombus.errors import LoadError, NotSupported
from bombus.isa.insn import Insn
from bombus.kernel.handles import Btf as BtfHandle
from bombus.kernel.handles import Program as Handle
from bombus.kernel.handles import ids
from bombus.kernel.user.kernel import UserKernel
from bombus.spec.version import KernelVersion
from bombus.verifier.btf_walk import same_types
from bombus.verifier.main import verify
from bombus.verifier.program import Program, Verdict

VMLINUX = Builder()
_INT, _CONN, _SKB = VMLINUX.extend([Int("int", 4, 1, 0, 32), Struct("nf_conn", 8), Struct("sk_buff", 8)])
BASE = VMLINUX.build()
_TC = 3


def _module() -> tuple[Builder, int]:
    """A module with bpf_ct_release, and that function's id."""
    builder = Builder(BASE)
    proto = FuncProto(0, (Param("nfct", builder.add(Ptr(_CONN))),))
    return builder, builder.add(Func("bpf_ct_release", builder.add(proto)))


def _release(place: int, number: int) -> list[Insn]:
    return [Insn(0xB7, 1), Insn(0x85, 0, 2, place, number), Insn(0xB7, 0), Insn(0x95)]


def _verdict(place: int = 1, **fields: object) -> Verdict:
    module, number = _module()
    program = Program(
        _release(place, number), _TC, KernelVersion(6, 12), vmlinux=BASE, fd_array=(0, 7), modules={7: module.build()}
    )
    return verify(replace(program, **fields))  # type: ignore[arg-type]


def test_a_function_of_a_module_is_checked() -> None:
    verdict = _verdict()
    assert (verdict.errno, verdict.message) == (13, "Possibly NULL pointer passed to trusted arg0")
    assert "call bpf_ct_release#" in verdict.log


def test_places_in_fd_array() -> None:
    verdict = _verdict(place=-1)
    assert verdict.errno == 22
    assert "negative offset disallowed for kernel module function call\nfailed to find BTF" in verdict.log
    verdict = _verdict(fd_array=())
    assert verdict.errno == 71
    assert "kfunc offset > 0 without fd_array is invalid" in verdict.log
    for missing in ({"modules": {}}, {"fd_array": (0,)}, {"fd_array": (0, 8)}):
        with pytest.raises(NotSupported, match="kernel modules' functions"):
            _verdict(**missing)


def test_types_of_vmlinux_are_the_same_in_modules() -> None:
    one, two = Builder(BASE), Builder(BASE)
    own = one.add(Struct("own", 4))
    assert two.add(Struct("other", 4)) == own
    first, second, program = one.build(), two.build(), VMLINUX.build()
    assert same_types(first, _CONN, second, _CONN) and same_types(BASE, _CONN, first, _CONN)
    assert not same_types(first, _CONN, first, _SKB)
    assert not same_types(first, own, second, own)
    assert same_types(first, own, first, own)
    assert not same_types(program, _CONN, first, _CONN)  # the program's own BTF, which no module builds on


def test_the_user_kernel_has_its_modules_btf() -> None:
    module, number = _module()
    kernel = UserKernel("6.12", btf=VMLINUX.to_bytes(), modules={"nf_conntrack": module.to_bytes()})
    with BtfHandle.from_id(kernel, next(iter(ids(kernel, "btf")))) as handle:
        assert handle.name == "nf_conntrack"
        array = b"".join(fd.to_bytes(4, "little") for fd in (0, handle.fd))
        with pytest.raises(LoadError) as caught:
            Handle.load(kernel, "sched_cls", _release(1, number), fd_array=array)
    assert caught.value.errno == 13
    assert "call bpf_ct_release#" in caught.value.log
