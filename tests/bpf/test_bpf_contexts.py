"""Context classes lie in memory as the rows of spec say."""

from __future__ import annotations

import keyword

import pytest

from bombus.bpf import contexts
from bombus.bpf.layout import size_of
from bombus.compiler.bindings import class_name
from bombus.spec.contexts import CONTEXTS, Context


@pytest.mark.parametrize("row", CONTEXTS, ids=lambda row: row.name)
def test_members_lie_where_spec_says(row: Context) -> None:
    kind = getattr(contexts, class_name(row.name))
    assert row.name == kind.C_NAME
    assert row.size == kind.LAYOUT.size
    for member in row.members:
        ours = kind.LAYOUT.members[member.name + "_" * keyword.iskeyword(member.name)]
        assert (ours.offset, size_of(ours.type)) == (member.offset, member.size), member.name
    named = {name.rstrip("_") for name in kind.LAYOUT.members if not name.startswith("_gap")}
    assert named == {member.name.rstrip("_") for member in row.members}


def test_packet_contexts_know_their_ends() -> None:
    for name in ("XdpMd", "Skb", "SkMsgMd", "SkReuseportMd"):
        kind = getattr(contexts, name)
        members = kind.LAYOUT.members
        assert (members["data"].offset, members["data_end"].offset) == (kind._DATA, kind._DATA_END)
        assert size_of(members["data"].type) == kind._WIDTH
