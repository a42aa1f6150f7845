"""Regions: finding, bounds, slots, explanations."""

from __future__ import annotations

import ctypes

import pytest

from bombus.errors import VmFault
from bombus.vm.memory import Memory, Region


def test_addresses_are_real() -> None:
    memory = Memory()
    region = memory.allocate(100, name="packet", kind="packet", low=True)
    assert region.end < 1 << 32
    region.view[5] = 77
    assert ctypes.c_uint8.from_address(region.start + 5).value == 77
    memory.store(region.start + 92, 8, 0x1122334455667788)
    assert memory.load(region.start + 92, 2) == 0x7788
    assert memory.read(region.start + 98, 2) == b"\x22\x11"


def regions() -> Memory:
    memory = Memory()
    memory.add(Region(0x1000, 16, memoryview(bytearray(16)), "a", "mem"))
    memory.add(Region(0x9000, 40, memoryview(bytearray(40)), "values", "map_value", stride=16, limit=10))
    memory.add(Region(0x5000, 8, memoryview(bytearray(8)), "ro", "mem", writable=False))
    return memory


# address, size, name of the region found
FINDS = [(0x1000, 16, "a"), (0x1000, 17, None), (0x100F, 1, "a"), (0x1010, 1, None), (0xFFF, 1, None),
         (0x5000, 8, "ro"), (0x4FFF, 8, None), (0x9000, 10, "values"), (0x9000, 11, None), (0x9010, 10, "values"),
         (0x900A, 1, None), (0x9020, 8, "values"), (0x9020, 9, None), (0, 1, None), (2**64 - 1, 8, None),
         (0x1000, 0, "a")]  # fmt: skip


@pytest.mark.parametrize(("address", "size", "name"), FINDS)
def test_find(address: int, size: int, name: str | None) -> None:
    region = regions().find(address, size)
    assert (region.name if region else None) == name


# address, size, words
EXPLANATIONS = [(0x1010, 4, "4 bytes at offset 16 of a, which has 16"), (0x8FFE, 4, "4 bytes, 2 bytes before values"),
                (0x901A, 8, "8 bytes at offset 10 of slot 1 of values, which has 10"),
                (0, 8, "8 bytes at 0x0, a NULL pointer"),
                (0x4FFF, 1, "1 bytes, 1 bytes before ro"), (1 << 60, 1, "1 bytes at 0x1000000000000000")]  # fmt: skip


@pytest.mark.parametrize(("address", "size", "words"), EXPLANATIONS)
def test_explanations(address: int, size: int, words: str) -> None:
    with pytest.raises(VmFault) as fault:
        regions().read(address, size)
    assert words in str(fault.value)
    assert (fault.value.kind, fault.value.address, fault.value.size) == ("load", address, size)


def test_writing() -> None:
    memory = regions()
    with pytest.raises(VmFault) as fault:
        memory.write(0x5000, b"x")
    assert fault.value.kind == "readonly"
    with pytest.raises(VmFault) as fault:
        memory.write(0x9008, b"xyz")
    assert fault.value.kind == "store"
    memory.write(0x9008, b"xy")
    assert memory.read(0x9008, 2) == b"xy"


def test_regions_end() -> None:
    memory = regions()
    region = memory.find(0x1000, 1)
    assert region is not None
    epoch = memory.epoch
    memory.remove(region)
    assert memory.find(0x1000, 1) is None
    assert memory.epoch > epoch
    with pytest.raises(ValueError):
        memory.remove(region)
