"""Look-ups in maps of maps: what is found are handles of maps."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import u32, u64
from bombus.runtime.maps.control import shape_max_entries, shape_values
from bombus.runtime.maps.hash import lookup
from bombus.runtime.maps.table import Word4, Word8


def of_array(base: u64, key: u64) -> u64:
    index = bpf.at(key, Word4).value
    if index >= u32(shape_max_entries(base)):
        return u64(0)
    return bpf.at(base + shape_values(base) + u64(index) * 8, Word8).value


def of_hash(base: u64, key: u64) -> u64:
    place = lookup(base, key, u64(0))
    return bpf.at(place, Word8).value if place != 0 else u64(0)
