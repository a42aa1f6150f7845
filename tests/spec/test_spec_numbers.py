"""Numbers and ages of rows against the enums in the BTF of three kernels."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bombus.btf.parse import Btf
from bombus.spec.features import FEATURES
from bombus.spec.version import KernelVersion

FILES = {"6.1": "vmlinux-6.1.0-56.btf.gz", "6.12": "vmlinux-6.12.117+deb12.btf.gz", "6.18": "vmlinux-6.18.btf.gz"}
ENUMS = {
    "prog_type": "bpf_prog_type", "attach_type": "bpf_attach_type", "map_type": "bpf_map_type",
    "link_type": "bpf_link_type", "command": "bpf_cmd", "helper": "bpf_func_id",
}  # fmt: skip


@pytest.mark.parametrize("version", FILES)
@pytest.mark.parametrize("kind", ENUMS)
def test_rows_of_a_version_are_the_enum(kind: str, version: str, oracle: Path) -> None:
    btf = Btf.parse(gzip.decompress((oracle / "btf" / FILES[version]).read_bytes()))
    id_ = btf.find(ENUMS[kind])
    assert id_ is not None
    at = KernelVersion.parse(version)

    kernel = {e.value for e in btf[id_].values if "MAX" not in e.name and not e.name.upper().endswith("UNSPEC")}  # type: ignore[union-attr]
    rows = {row.id: row.name for row in FEATURES if row.kind == kind and row.id is not None and row.since <= at}
    rows = {number: name for number, name in rows.items() if not name.endswith("UNSPEC")}
    assert (sorted(kernel - set(rows)), sorted(set(rows) - kernel)) == ([], [])
