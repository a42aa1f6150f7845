"""Bloom filter. Linux 6.12 kernel/bpf/bloom_filter.c.

The hash functions are our own, so which foreign values the filter takes for members differs from the kernel's;
its size, and so how often that happens, is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from bombus.kernel.user.maps.base import E2BIG, EINVAL, ENOENT, EOPNOTSUPP, Map, MapAttr, access_ok, map_type
from bombus.runtime.maps.shape import PlainShape
from bombus.spec.maptypes import (
    BPF_F_ACCESS_MASK,
    BPF_F_NUMA_NODE,
    BPF_F_ZERO_SEED,
    KMALLOC_MAX_SIZE,
    U32_MAX,
)

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.native import Keyless
    from bombus.vm.env import MapCode

_FLAGS = BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | BPF_F_ACCESS_MASK
_DEFAULT_HASHES = 5


@map_type("BPF_MAP_TYPE_BLOOM_FILTER")
class BloomFilterMap(Map):
    btf_rule = "keyless"
    late_check = True

    __slots__ = ("_bits", "_hashes", "_mask", "_seed", "native")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._hashes = attr.map_extra or _DEFAULT_HASHES
        self._mask = _bit_count(attr.max_entries, self._hashes) - 1
        self._seed = bytes(16) if attr.map_flags & BPF_F_ZERO_SEED else os.urandom(16)
        region = kernel.allocate((self._mask + 1) // 8, name="map bloom_filter")
        kernel.memory.remove(region)  # no program can touch the bits; only the lazily committed pages are wanted
        self._bits = region.view
        self.native: Keyless | None = None

    @classmethod
    def check_early(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return E2BIG if attr.value_size > KMALLOC_MAX_SIZE else 0

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        flags = attr.map_flags
        if (
            attr.key_size or not attr.value_size or not attr.max_entries or flags & ~_FLAGS or not access_ok(flags)
            or attr.map_extra & ~0xF
        ):  # fmt: skip
            return EINVAL
        return 0

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.native import keyless_of

        self.native = keyless_of(self, attr, "bloom", self.native_shape())
        return self

    def native_shape(self) -> PlainShape:
        bits = self._mask + 1
        return PlainShape(self.value_size, self.max_entries, bits // 8, mask=self._mask, target=self._hashes)

    def fast(self) -> Mapping[str, Callable[..., Any]]:
        return {} if self.native is None else self.native.calls

    def code(self) -> MapCode | None:
        return None if self.native is None else self.native.code()

    def _positions(self, value: bytes) -> list[int]:
        digest = blake2b(value, digest_size=64, salt=self._seed).digest()
        return [int.from_bytes(digest[i * 4 : i * 4 + 4], "little") & self._mask for i in range(self._hashes)]

    def push(self, value: bytes, flags: int) -> int:
        if flags:
            return EINVAL
        if self.native is not None:
            return int(self.native.calls["push"](value, flags))
        for at in self._positions(value):
            self._bits[at >> 3] |= 1 << (at & 7)
        return 0

    def contains(self, value: bytes) -> int:
        """0 when the value may have been pushed, -ENOENT when it surely was not."""
        if self.native is not None:
            return int(self.native.calls["contains"](value))
        found = all(self._bits[at >> 3] >> (at & 7) & 1 for at in self._positions(value))
        return 0 if found else ENOENT

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        return self.push(value, flags)

    def pop(self) -> bytes | int:
        return EOPNOTSUPP

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        return EINVAL

    def delete(self, key: bytes) -> int:
        return EOPNOTSUPP

    def next_key(self, key: bytes | None) -> bytes | int:
        return EOPNOTSUPP


def _bit_count(entries: int, hashes: int) -> int:
    """n * k * 7 / 5 (about 1 / ln 2), rounded up to a power of two, between 64 and 2**32."""
    bits = entries * hashes
    if bits <= U32_MAX:
        bits = bits // 5 * 7
        if bits <= 1 << 31:
            return 64 if bits <= 64 else 1 << (bits - 1).bit_length()
    return 1 << 32
