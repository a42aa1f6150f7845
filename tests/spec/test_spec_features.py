"""The flat table of features holds each row once, and says what it is."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from bombus.spec.features import FEATURES
from bombus.spec.version import since


def test_names_are_unique_within_a_kind() -> None:
    count = Counter((row.kind, row.name) for row in FEATURES)
    assert [key for key, n in count.items() if n > 1] == []


@pytest.mark.parametrize(
    ("kind", "name", "id_", "version"),
    [
        ("prog_type", "BPF_PROG_TYPE_XDP", 6, "4.8"),
        ("map_type", "BPF_MAP_TYPE_RINGBUF", 27, "5.8"),
        ("link_type", "BPF_LINK_TYPE_TCX", 11, "6.6"),
        ("command", "BPF_PROG_LOAD", 5, "3.18"),
        ("helper", "bpf_loop", 181, "5.17"),
        ("map_flag", "BPF_F_MMAPABLE", 1 << 10, "5.5"),
    ],
)
def test_known_rows(kind: str, name: str, id_: int, version: str) -> None:
    found = [(row.id, str(row.since)) for row in FEATURES if (row.kind, row.name) == (kind, name)]
    assert found == [(id_, version)]


@pytest.mark.parametrize("kind", ["prog_type", "attach_type", "map_type", "link_type", "command", "helper"])
def test_numbers_were_given_in_the_order_of_time(kind: str) -> None:
    """An enum grows at its end: a higher number is never older."""
    rows = sorted((row for row in FEATURES if row.kind == kind), key=lambda row: row.id or 0)
    assert [(a.name, b.name) for a, b in itertools.pairwise(rows) if b.since < a.since] == []


def test_what_is_gone_is_not_in_the_kernel() -> None:
    row = next(row for row in FEATURES if row.name == "cgroup_rstat_flush")
    assert row.in_kernel(since("6.1")) and not row.in_kernel(since("6.0")) and not row.in_kernel(since("6.16"))
