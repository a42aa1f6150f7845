"""The test objects of cilium/ebpf, in both byte orders: each opens, or is refused for a reason of its own."""

from __future__ import annotations

from typing import Any

import pytest

from bombus.errors import BombusError
from bombus.object.read import open_object

pytestmark = pytest.mark.debian
FOLDER = "/usr/share/gocode/src/github.com/cilium/ebpf"
# Those that libbpf (or, for legacy maps, cilium/ebpf) refuses too.
REFUSED = {
    "fwd_decl": "call of an unknown extern function .*'fwd'",
    "invalid_map": "map definition has unknown options .*'invalid_map'",
    "invalid_map_static": "static maps are not supported .*'hash_map'",
    "iproute2_map_compat": "map definition has unknown options .*'hash_map'",
    "loader": "unknown extern .*'MY_CONST'",
    "loader-clang-9": "unknown extern .*'MY_CONST'",
    "loader-clang-14": "unknown extern .*'MY_CONST'",
}


@pytest.mark.parametrize("order", ["el", "eb"])
def test_objects_of_cilium(debian: Any, order: str) -> None:
    files = [*debian(f"{FOLDER}/testdata/*-{order}.elf"), *debian(f"{FOLDER}/btf/testdata/*-{order}.elf")]
    assert len(files) >= 15
    refused = set()
    for path in files:
        name = path.name.removesuffix(f"-{order}.elf")
        if name in REFUSED:
            with pytest.raises(BombusError, match=REFUSED[name]):
                open_object(path)
            refused.add(name)
        else:
            assert open_object(path).byteorder == ("little" if order == "el" else "big"), path
    assert refused == set(REFUSED)


def test_initial_values_of_maps(debian: Any) -> None:
    for path in debian(f"{FOLDER}/testdata/btf_map_init-e[lb].elf"):
        values = {spec.name: spec.values for spec in open_object(path).maps}
        assert values["prog_array_init"] == ((1, "tail_1"),), path
        assert values["outer_map_init"] == ((1, "inner_map"),), path
