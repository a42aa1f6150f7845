"""Batches over arrays of maps with few filled slots: the same answers on both kernels, and no walk over the others."""

from __future__ import annotations

import pytest

from bombus.errors import KernelError
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import Map
from bombus.kernel.user.kernel import UserKernel

ROOM = 64


@pytest.fixture(params=["user", pytest.param("linux", marks=pytest.mark.linux)])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    if request.param == "linux":
        found: Kernel = request.getfixturevalue("linux_kernel")
        return found
    return UserKernel()


def batch(kernel: Kernel, fd: int, count: int, after: int | None) -> tuple[int, int, int, list[int]]:
    """errno, count, the position, and the keys of one call."""
    keys, values, position = bytearray(4 * ROOM), bytearray(4 * ROOM), bytearray(b"\xff" * 4)
    more = {} if after is None else {"in_batch": after.to_bytes(4, "little")}
    attr = Attr("BPF_MAP_LOOKUP_BATCH", map_fd=fd, keys=keys, values=values, count=count, out_batch=position, **more)
    errno = 0
    try:
        kernel.bpf(attr)
    except KernelError as error:
        errno = error.errno or 0
    found = attr.get("count")
    words = [int.from_bytes(keys[4 * at : 4 * at + 4], "little") for at in range(found)]
    return errno, found, int.from_bytes(position, "little"), words


@pytest.mark.parametrize(
    ("filled", "count", "after", "expected"),
    [
        ((3, 50, 98), 2, None, (0, 2, 50, [3, 50])),
        ((3, 50, 98), 8, None, (2, 3, 99, [3, 50, 98])),
        ((3, 50, 99), 3, None, (0, 3, 99, [3, 50, 99])),
        ((3, 4, 5), 8, 3, (2, 2, 99, [4, 5])),
        ((0, 1), 1, None, (0, 1, 0, [0])),
        ((0, 1), 4, 1000, (2, 2, 99, [0, 1])),
        ((), 4, None, (2, 0, 0xFFFF_FFFF, [])),
        ((7,), 4, 99, (2, 0, 0xFFFF_FFFF, [])),
    ],
)
def test_both_kernels(
    kernel: Kernel, filled: tuple[int, ...], count: int, after: int | None,
    expected: tuple[int, int, int, list[int]],
) -> None:  # fmt: skip
    with Map.create(kernel, "array", 4, 4, 1) as inner, Map.create(
        kernel, "array_of_maps", 4, 4, 100, inner=inner
    ) as outer:
        for slot in filled:
            outer[slot] = inner
        assert batch(kernel, outer.fd, count, after) == expected


def test_many_empty_slots() -> None:
    """A walk over each of them would take minutes."""
    kernel = UserKernel()
    entries = 1 << 28
    with Map.create(kernel, "array", 4, 4, 1) as inner, Map.create(
        kernel, "array_of_maps", 4, 4, entries, inner=inner
    ) as outer:
        outer[entries - 2] = inner
        assert batch(kernel, outer.fd, 8, None) == (2, 1, entries - 1, [entries - 2])
