"""Iterators over maps, programs, links and elements: what the user kernel shows of an object is what Linux shows."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "linux"))

from sandbox import ITERS, map_walks_problem

from bombus.errors import KernelError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Map
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import open_object

BTF = Path("/sys/kernel/btf/vmlinux")


@pytest.fixture(params=["user", pytest.param("linux", marks=pytest.mark.linux)])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    if request.param == "linux":
        found: Kernel = request.getfixturevalue("linux_kernel")
        return found
    if not BTF.is_file():
        pytest.skip("no kernel types here")
    return UserKernel("6.12", btf=BTF.read_bytes())


def rows(link: Any) -> dict[int, tuple[int, ...]]:
    found = list(link.records("<6I"))
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    return {row[0]: row[1:] for row in found}


def test_maps_programs_and_links(kernel: Kernel) -> None:
    names = ["maps", "programs", "links"]
    with load(open_object(ITERS), kernel, programs=names) as item:
        with (
            item.programs["maps"].attach() as one,
            item.programs["programs"].attach() as two,
            item.programs["links"].attach() as three,
        ):
            numbers = item.maps["numbers"]
            assert rows(one)[numbers.id] == (1, 4, 8, 16, 0)
            found = rows(two)
            for name in names:
                assert found[item.programs[name].id] == (26, 28, 0, 0, 0), name  # TRACING, BPF_TRACE_ITER
            found = rows(three)
            for name, link in zip(names, (one, two, three), strict=True):
                assert found[link.id] == (4, 26, item.programs[name].id, 0, 0)  # BPF_LINK_TYPE_ITER
        assert item.bss.ends == 3


@pytest.fixture
def walking(kernel: Kernel) -> Kernel:
    """A kernel that walks over elements of maps."""
    if not isinstance(kernel, UserKernel) and (why := map_walks_problem()):
        pytest.skip(why)
    return kernel


def test_elements_of_maps(walking: Kernel) -> None:
    kernel = walking
    with load(open_object(ITERS), kernel, programs=["elements"]) as item:
        numbers = item.maps["numbers"]
        with item.programs["elements"].attach(map=numbers) as link:
            assert list(link.records("<IQ")) == []
            numbers[1], numbers[2] = 100, 200
            assert sorted(link.records("<IQ")) == [(1, 100), (2, 200)]
            del numbers[1]
            assert list(link.records("<IQ")) == [(2, 200)]
            assert link.info().iter_map_map_id == numbers.id
        with Map.create(kernel, "array", 4, 8, 3) as array:
            array.raw[struct.pack("<I", 1)] = struct.pack("<Q", 7)
            with item.programs["elements"].attach(map=array) as link:
                assert list(link.records("<IQ")) == [(0, 0), (1, 7), (2, 0)]
        with Map.create(kernel, "queue", 0, 8, 3) as queue, pytest.raises(KernelError) as caught:
            item.programs["elements"].attach(map=queue)
        assert caught.value.errno == 22
        with pytest.raises(KernelError) as caught:
            item.programs["elements"].attach()
        assert caught.value.errno == 9


def test_a_map_lives_as_long_as_its_iterator(walking: Kernel) -> None:
    kernel = walking
    with load(open_object(ITERS), kernel, programs=["elements"]) as item:
        made = Map.create(kernel, "hash", 4, 8, 3)
        made.raw[struct.pack("<I", 1)] = struct.pack("<Q", 7)
        with item.programs["elements"].attach(map=made) as link:
            made.close()
            assert list(link.records("<IQ")) == [(1, 7)]
