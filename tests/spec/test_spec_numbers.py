"""Names, numbers and ages of rows against the enums in the BTF of three recorded kernels and the running one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bombus.spec.features import FEATURES
from bombus.spec.helperflags import HELPER_FLAGS, HelperFlag
from bombus.spec.helpers import HELPER
from bombus.spec.maptypes import FLAGS, MAP_TYPES, Flag
from bombus.spec.version import KernelVersion

if TYPE_CHECKING:
    from spec_kernels import KernelTypes

ENUMS = {
    "prog_type": "bpf_prog_type", "attach_type": "bpf_attach_type", "map_type": "bpf_map_type",
    "link_type": "bpf_link_type", "command": "bpf_cmd", "helper": "bpf_func_id",
}  # fmt: skip
ALIASES = {"BPF_PROG_RUN", *(alias for row in MAP_TYPES for alias in row.aliases)}
ALL_FLAGS: list[Flag | HelperFlag] = [*FLAGS, *HELPER_FLAGS]
NEWEST = KernelVersion(6, 18)


def _kernel_name(kind: str, name: str) -> str:
    return name.replace("bpf_", "BPF_FUNC_", 1) if kind == "helper" else name


@pytest.mark.parametrize("kind", ENUMS)
def test_rows_of_a_version_are_the_enum(kind: str, kernel_types: KernelTypes) -> None:
    kernel = {
        name: value
        for name, value in kernel_types.enum(ENUMS[kind]).items()
        if "MAX" not in name and not name.lower().endswith("unspec") and name not in ALIASES
    }
    rows = {
        _kernel_name(kind, row.name): row.id
        for row in FEATURES
        if row.kind == kind and row.since <= kernel_types.version and not row.name.endswith("unspec")
    }
    missing = {name: value for name, value in kernel.items() if rows.get(name) != value}
    invented = {name: value for name, value in rows.items() if kernel.get(name) != value}
    if kernel_types.version > NEWEST:
        invented = {name: value for name, value in invented.items() if name in kernel}
    assert (missing, invented) == ({}, {})


# Bits that helpers of the kernel hand to each other.
INTERNAL = {"BPF_F_NEIGH", "BPF_F_PEER", "BPF_F_NEXTHOP"}
# Stable releases of older kernels got these as part of repairs.
IN_STABLE = {"BPF_F_IPV6", "BPF_FIB_LOOKUP_SRC", "BPF_FIB_LOOKUP_TBID", "BPF_FIB_LOOKUP_SKIP_NEIGH"}
MACRO = re.compile(r"^#define\s+(BPF_F_\w+)\s+\((\d+)U << (\d+)\)", re.MULTILINE)


def test_flags_have_the_numbers_of_the_enums(kernel_types: KernelTypes) -> None:
    constants = kernel_types.constants
    assert {f.name: (f.value, constants[f.name]) for f in ALL_FLAGS if constants.get(f.name, f.value) != f.value} == {}


def test_flags_are_as_old_as_the_kernels_that_have_them(kernel_types: KernelTypes) -> None:
    newer = {f.name for f in ALL_FLAGS if f.since > kernel_types.version}
    assert newer & set(kernel_types.constants) <= IN_STABLE
    map_flags = {f.name for f in FLAGS if f.where in ("map", "obj") and f.since <= kernel_types.version}
    helper_flags = {f.name for f in HELPER_FLAGS if f.since <= kernel_types.version}
    # BPF_F_CURRENT_NETNS was an enum of 64 bits when BTF had none.
    assert (map_flags | helper_flags) - set(kernel_types.constants) <= {"BPF_F_CURRENT_NETNS"}


def test_every_flag_of_the_enums_has_a_row(kernel_types: KernelTypes) -> None:
    rows = {f.name for f in ALL_FLAGS}
    named = {name for name in kernel_types.constants if name.startswith(("BPF_F_", "BPF_RB_", "BPF_FIB_LOOKUP_"))}
    kinds = {"BPF_RB_ROOT", "BPF_RB_NODE"}  # of fields in map values
    assert sorted(named - rows - INTERNAL - kinds) == []


def test_flags_that_are_macros_have_the_numbers_of_the_header(debian: Callable[[str], list[Path]]) -> None:
    text = debian("/usr/include/linux/bpf.h")[0].read_text()
    macros = {name: int(number) << int(shift) for name, number, shift in MACRO.findall(text)}
    assert len(macros) > 10
    rows = {f.name: f.value for f in FLAGS}
    assert {name: value for name, value in macros.items() if rows.get(name) != value} == {}


def test_helpers_of_flags_exist() -> None:
    assert [(f.name, h) for f in HELPER_FLAGS for h in f.helpers if h not in HELPER] == []
