"""Layouts of bpf_attr, of the info structs and of contexts against the BTF of each kernel: offsets, sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bombus.btf.types import Struct, Union
from bombus.spec.commands import COMMANDS, Command, Field
from bombus.spec.contexts import CONTEXTS, MEMBERS_SINCE, Context
from bombus.spec.infos import INFOS, InfoStruct
from bombus.spec.version import KernelVersion

if TYPE_CHECKING:
    from spec_kernels import KernelTypes, Place

NEWEST = KernelVersion(6, 18)


def _fields(row: Command | InfoStruct, at: KernelVersion) -> list[Field]:
    return [f for f in row.fields if (f.since or row.since) <= at]


def _parts(types: KernelTypes) -> list[tuple[str, dict[str, Place]]]:
    """The members of union bpf_attr: the name ("" when it has none) and what it holds."""
    found = []
    for member in types.struct("bpf_attr").members:
        inner = types.btf[member.type]
        assert isinstance(inner, Struct | Union)
        found.append((member.name, types.members(inner)))
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_members_of_bpf_attr(command: Command, kernel_types: KernelTypes) -> None:
    if command.since > kernel_types.version:
        assert command.name not in kernel_types.enum("bpf_cmd")
        return
    fields = _fields(command, kernel_types.version)
    names = {f.name for f in fields}
    _, place = max(
        (part for part in _parts(kernel_types) if part[0] == command.member),
        key=lambda part: len(names & set(part[1])),
    )
    wrong = {
        f.name: (f.offset, f.size, place.get(f.name))
        for f in fields
        if f.name not in place or (place[f.name].offset, place[f.name].size) != (f.offset, f.size)
    }
    # Commands that have no member of their own share one: what others know of it is theirs.
    others = {f.name for c in COMMANDS if not command.member and not c.member for f in c.fields}
    missing = set(place) - names - others - IN_STABLE
    if kernel_types.version > NEWEST:
        missing = set()
    assert (wrong, missing) == ({}, set())


@pytest.mark.parametrize("info", INFOS, ids=lambda i: i.name)
def test_members_of_info_structs(info: InfoStruct, kernel_types: KernelTypes) -> None:
    if info.since > kernel_types.version:
        assert kernel_types.btf.find(info.name) is None
        return
    fields = _fields(info, kernel_types.version)
    struct = kernel_types.struct(info.name)
    place = kernel_types.members(struct)
    wrong = {
        f.name: (f.offset, f.size, place.get(f.name))
        for f in fields
        if f.name not in place
        or (place[f.name].offset, place[f.name].bits or place[f.name].size)
        != (f.offset, 1 if f.name == "gpl_compatible" else f.size)
    }
    missing = set(place) - {f.name for f in fields}
    if kernel_types.version > NEWEST:
        missing = set()
    assert (wrong, missing) == ({}, set())
    if kernel_types.version == NEWEST:
        assert struct.size == info.size
    else:
        assert struct.size <= info.size or kernel_types.version > NEWEST


# 6.12's stable releases got these with a repair of 6.17.
IN_STABLE = {"cgroup_relative_fd", "cgroup_relative_id", "cgroup_expected_revision"}
CONTEXT_SINCE = {"bpf_nf_ctx": KernelVersion(6, 4)}
# Other names for the same bytes: members of unions beside the one that the row has.
OTHER_NAMES = {
    "bpf_sock_ops": {"reply", "replylong"},
    "bpf_sk_lookup": {"cookie"},
    "bpf_flow_keys": {"ipv4_src", "ipv4_dst"},
    "pt_regs": {"csx", "ssx", "fred_cs", "fred_ss"},
}
# How many arguments a raw tracepoint has is its own affair; the verifier allows MAX_BPF_FUNC_ARGS.
SIZES = {("bpf_raw_tracepoint_args", "args"): 96}


@pytest.mark.parametrize("context", [c for c in CONTEXTS if c.name != "u32"], ids=lambda c: c.name)
def test_members_of_contexts(context: Context, kernel_types: KernelTypes) -> None:
    if kernel_types.version < CONTEXT_SINCE.get(context.name, KernelVersion(0, 0)):
        assert kernel_types.btf.find(context.name) is None
        return
    struct = kernel_types.struct(context.name)
    place = kernel_types.members(struct, inner=False)
    rows = {
        m.name: (m.offset, m.size)
        for m in context.members
        if MEMBERS_SINCE.get((context.name, m.name), KernelVersion(0, 0)) <= kernel_types.version
    }
    kernel = {
        name: (p.offset, SIZES.get((context.name, name), p.size))
        for name, p in place.items()
        if name not in OTHER_NAMES.get(context.name, ())
    }
    if "csx" in place:  # 6.9 made cs and ss smaller, with the bits of FRED behind them
        rows |= {"cs": (136, 2), "ss": (160, 2)}
    if kernel_types.version > NEWEST:
        kernel = {name: where for name, where in kernel.items() if name in rows}
    assert rows == kernel
    if kernel_types.version == NEWEST:
        assert struct.size == (0 if context.name == "bpf_raw_tracepoint_args" else context.size)
