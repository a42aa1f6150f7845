"""The flat table of features holds each row once, and says what it is."""

from __future__ import annotations

from collections import Counter

import pytest

from bombus.spec.features import FEATURES


def test_names_are_unique_within_a_kind() -> None:
    count = Counter((row.kind, row.name) for row in FEATURES)
    assert [key for key, n in count.items() if n > 1] == []


@pytest.mark.parametrize(
    ("kind", "name", "id_", "since"),
    [
        ("prog_type", "BPF_PROG_TYPE_XDP", 6, "4.8"),
        ("map_type", "BPF_MAP_TYPE_RINGBUF", 27, "5.8"),
        ("link_type", "BPF_LINK_TYPE_TCX", 11, "6.6"),
        ("command", "BPF_PROG_LOAD", 5, "3.18"),
        ("helper", "bpf_loop", 181, "5.17"),
        ("map_flag", "BPF_F_MMAPABLE", 1 << 10, "5.5"),
    ],
)
def test_known_rows(kind: str, name: str, id_: int, since: str) -> None:
    found = [(row.id, str(row.since)) for row in FEATURES if (row.kind, row.name) == (kind, name)]
    assert found == [(id_, since)]
