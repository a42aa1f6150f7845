"""The loader asks kernels what they can do: one whose version says otherwise is served by what it answers."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bombus.btf.parse import Btf
from bombus.btf.types import Kind
from bombus.errors import KernelError, LoadError, NeedsKernel
from bombus.isa.insn import decode
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import Map, Program
from bombus.kernel.handles.features import PROBES, Features, features
from bombus.kernel.user.kernel import UserKernel
from bombus.loader import sanitize
from bombus.loader.load import load
from bombus.object.read import open_object
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.btfkinds import KIND_SINCE

ROOT = Path(__file__).parent.parent.parent
PARITY = ROOT / "tests" / "linux" / "data" / "parity.bpf.o"
TRAFFIC = ROOT / "examples" / "traffic.bpf.o"
FEATURES = ROOT / "tests" / "object" / "data" / "features.bpf.o"
CALL, MAP_VALUE = 0x85, 2
MMAPABLE = 1 << 10
ALL = [*PROBES, *(f"btf_{kind.lower()}" for kind in KIND_SINCE)]


def refusing(kernel: Kernel, what: Callable[[Attr], int]) -> Any:
    """A kernel like the given one, which answers an errno where `what` says one. `calls` are those that it took."""

    class Fake(type(kernel)):  # type: ignore[misc]
        def __init__(self) -> None:
            self.__dict__.update(kernel.__dict__)
            self.taken: list[Attr] = []

        def bpf(self, attr: Attr) -> int:
            number = what(attr)
            if number:
                raise (LoadError if attr.command.name == "BPF_PROG_LOAD" else KernelError)(number, attr.command.name)
            result: int = super().bpf(attr)
            self.taken.append(attr)
            return result

    return Fake()


def is_(attr: Attr, command: str) -> bool:
    return attr.command.name == f"BPF_{command}"


def insns(attr: Attr) -> list[Any]:
    data = attr.read(attr.get("insns"), attr.get("insn_cnt") * 8)
    return list(decode(data))


def has_kind(kind: str) -> Callable[[Attr], int]:
    def what(attr: Attr) -> int:
        if not is_(attr, "BTF_LOAD"):
            return 0
        types = Btf.parse(attr.read(attr.get("btf"), attr.get("btf_size")))
        if kind == "FUNC_GLOBAL":
            there = any(t.kind is Kind.FUNC and t.linkage for t in types)  # type: ignore[union-attr]
        elif kind == "ENUM_SIGN":
            there = any(t.kind is Kind.ENUM and t.signed for t in types)  # type: ignore[union-attr]
        else:
            there = any(t.kind.name == kind for t in types)
        return errno.EINVAL if there else 0

    return what


def called(helpers: set[int]) -> Callable[[Attr], int]:
    def what(attr: Attr) -> int:
        found = is_(attr, "PROG_LOAD") and any(i.opcode == CALL and not i.src and i.imm in helpers for i in insns(attr))
        return errno.EINVAL if found else 0

    return what


def named(command: str, field: str, number: int = errno.E2BIG) -> Callable[[Attr], int]:
    return lambda attr: number if is_(attr, command) and attr.get(field) else 0


def direct_values(attr: Attr) -> int:
    there = is_(attr, "PROG_LOAD") and any(i.opcode == 0x18 and i.src == MAP_VALUE for i in insns(attr))
    return errno.EINVAL if there else 0


REFUSALS: dict[str, Callable[[Attr], int]] = {
    "prog_name": named("PROG_LOAD", "prog_name"),
    "map_name": named("MAP_CREATE", "map_name", errno.EINVAL),
    "global_data": direct_values,
    "array_mmap": lambda attr: errno.EINVAL if is_(attr, "MAP_CREATE") and attr.get("map_flags") & MMAPABLE else 0,
    "exp_attach_type": named("PROG_LOAD", "expected_attach_type"),
    "probe_read_kernel": called({112, 113, 114, 115}),
    "bpf_cookie": called({174}),
    "perf_link": lambda attr: errno.EINVAL if is_(attr, "LINK_CREATE") else 0,
    **{f"btf_{kind.lower()}": has_kind(kind) for kind in KIND_SINCE},
}


def test_every_feature_has_a_refusal() -> None:
    assert list(REFUSALS) == ALL


@pytest.mark.linux
@pytest.mark.parametrize("name", ALL)
def test_what_a_kernel_refuses_it_does_not_have(linux_kernel: Kernel, name: str) -> None:
    assert features(linux_kernel).has(name), "the running kernel is a new one"
    assert not features(refusing(linux_kernel, REFUSALS[name])).has(name)


def test_answers_are_asked_for_once(kernel: Kernel) -> None:
    fake = refusing(kernel, lambda attr: 0)
    asked = [features(fake).has("array_mmap") for _ in range(3)]
    assert asked == [True] * 3 and len(fake.taken) == 1
    assert isinstance(features(fake), Features) and features(fake) is features(fake)


@pytest.mark.parametrize(("version", "lacks"), [
    ("4.14", set(ALL)), ("4.18", set(ALL) - {"prog_name", "map_name", "exp_attach_type", "btf_int"}),
    ("5.4", {"array_mmap", "probe_read_kernel", "bpf_cookie", "btf_func_global", "btf_float", "btf_decl_tag",
             "btf_type_tag", "btf_enum64", "btf_enum_sign"}),
    ("5.15", {"btf_decl_tag", "btf_type_tag", "btf_enum64", "btf_enum_sign"}), ("6.1", set()),
])  # fmt: skip
def test_user_kernels_have_what_their_version_has(version: str, lacks: set[str]) -> None:
    kernel = UserKernel(version)
    never = {"perf_link"}  # the user kernel has no perf events to link to
    assert {name for name in ALL if not features(kernel).has(name)} == lacks | never


def test_names_are_left_out(kernel: Kernel) -> None:
    fake = refusing(kernel, lambda attr: REFUSALS["prog_name"](attr) or REFUSALS["map_name"](attr))
    code = bytes.fromhex("b7000000020000009500000000000000")
    with Program.load(fake, "xdp", code, name="named"), Map.create(fake, "hash", 4, 4, 4, name="named"):
        pass
    assert any(is_(attr, "PROG_LOAD") for attr in fake.taken) and any(is_(attr, "MAP_CREATE") for attr in fake.taken)
    with load(open_object(TRAFFIC), fake) as loaded:
        assert loaded.programs


def test_a_refusal_for_another_reason_stays(kernel: Kernel) -> None:
    """The name is not blamed when the kernel takes names."""
    fake = refusing(kernel, lambda attr: errno.EINVAL if is_(attr, "PROG_LOAD") and attr.get("insn_cnt") == 3 else 0)
    code = bytes.fromhex("b700000002000000b7000000020000009500000000000000")
    with pytest.raises(LoadError) as caught:
        Program.load(fake, "xdp", code, name="named")
    assert caught.value.errno == errno.EINVAL


def test_data_without_shared_memory(kernel: Kernel) -> None:
    fake = refusing(kernel, REFUSALS["array_mmap"])
    with load(open_object(TRAFFIC), fake) as loaded:
        assert not any(spec.flags & MMAPABLE for spec in loaded.specs.values() if spec.section)
        assert loaded.maps[".bss"][0].seen == 0


def test_data_at_all(kernel: Kernel) -> None:
    with pytest.raises(NeedsKernel, match=r"global data .*needs Linux 5\.2"):
        load(open_object(TRAFFIC), refusing(kernel, direct_values))


def test_optional_attach_types(kernel: Kernel) -> None:
    xdp = ATTACH_TYPE["BPF_XDP"].id
    for what, expected in ((lambda attr: 0, xdp), (REFUSALS["exp_attach_type"], 0)):
        fake = refusing(kernel, what)
        with load(open_object(PARITY), fake, programs=["xdp_parity"]):
            loads = [attr for attr in fake.taken if is_(attr, "PROG_LOAD") and attr.get("prog_type") == 6]
            assert [attr.get("expected_attach_type") for attr in loads] == [expected]


@pytest.mark.parametrize("kind", KIND_SINCE)
def test_btf_without_a_kind(kernel: Kernel, kind: str) -> None:
    """What is refused is rewritten; what is left is taken. Without INT nothing is: then there is no BTF at all."""
    btf = open_object(FEATURES).btf
    assert btf is not None
    fake = refusing(kernel, has_kind(kind))
    lacks = sanitize.lacking(btf, fake)
    assert kind in lacks or all(t.kind.name != kind for t in btf)
    rest = sanitize.without(btf, lacks - {"INT"})
    if kind != "INT":
        assert has_kind(kind)(Attr("BPF_BTF_LOAD", btf=rest.raw, btf_size=len(rest.raw))) == 0
    with load(open_object(TRAFFIC), fake) as loaded:
        assert loaded.programs
        taken = [attr for attr in fake.taken if is_(attr, "BTF_LOAD") and attr.get("btf_size") > 500]  # no probe
        assert bool(taken) == (kind != "INT")
