"""Longest prefix match. Behaviour: Linux 6.12 kernel/bpf/lpm_trie.c.

The kernel keeps a trie; here a dict finds (prefix length, prefix bits) and a sorted list gives the trie's
post-order walk: prefixes by their last address, longer ones first where that is the same.
"""

from __future__ import annotations

import errno
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from bombus.bits import align_up
from bombus.kernel.user.maps.base import (
    EEXIST,
    EINVAL,
    ENOENT,
    Map,
    MapAttr,
    access_ok,
    map_type,
)
from bombus.kernel.user.maps.slab import Slab, Slot
from bombus.spec.maptypes import (
    BPF_EXIST,
    BPF_F_ACCESS_MASK,
    BPF_F_NO_PREALLOC,
    BPF_F_NUMA_NODE,
    BPF_NOEXIST,
    KMALLOC_MAX_SIZE,
)

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

_DATA_MAX = 256  # bytes of prefix
_NODE_SIZE = 40  # sizeof(struct lpm_trie_node)
_VALUE_MAX = KMALLOC_MAX_SIZE - _DATA_MAX - _NODE_SIZE
_FLAGS = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK
ENOSPC = -errno.ENOSPC

Prefix = tuple[int, int]
"""Length in bits, and the bits as a number of that length."""


@map_type("BPF_MAP_TYPE_LPM_TRIE")
class LpmTrieMap(Map):
    """Keys are a u32 prefix length and then the prefix, most significant bit first."""

    btf_rule = "struct"
    late_check = True

    __slots__ = ("_bits", "_entries", "_lengths", "_longest_first", "_order", "_slab")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._bits = (self.key_size - 4) * 8
        stride = align_up(self.value_size, 8)
        self._slab = Slab(kernel, "map lpm_trie", stride, self.max_entries + 1, stride, self.value_size)
        self._entries: dict[Prefix, tuple[bytes, Slot]] = {}
        self._order: list[tuple[int, int]] = []  # (last address, -length)
        self._lengths: dict[int, int] = {}  # how many prefixes have a length
        self._longest_first: list[int] = []

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        flags = attr.map_flags
        if (
            not attr.max_entries or not flags & BPF_F_NO_PREALLOC or flags & ~_FLAGS or not access_ok(flags)
            or not 5 <= attr.key_size <= 4 + _DATA_MAX or not 1 <= attr.value_size <= _VALUE_MAX
        ):  # fmt: skip
            return EINVAL
        return 0

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.native import lpm_of

        return lpm_of(self, attr)

    def _parse(self, key: bytes) -> Prefix | None:
        """None when the length is more than the key has bits."""
        length = int.from_bytes(key[:4], "little")
        if length > self._bits:
            return None
        return length, int.from_bytes(key[4:], "big") >> (self._bits - length)

    def _rank(self, prefix: Prefix) -> tuple[int, int]:
        length, bits = prefix
        return ((bits + 1) << (self._bits - length)) - 1, -length

    def _match(self, key: bytes) -> tuple[bytes, Slot] | None:
        parsed = self._parse(key)
        if parsed is None:
            return None
        length, bits = parsed
        for candidate in self._longest_first:
            if candidate <= length:
                found = self._entries.get((candidate, bits >> (length - candidate)))
                if found is not None:
                    return found
        return None

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        found = self._match(key)
        return 0 if found is None else found[1][0]

    def read(self, key: bytes, flags: int) -> bytes | int:
        found = self._match(key)
        return ENOENT if found is None else self.copy_out(found[1][1][: self.value_size])

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        if flags > BPF_EXIST:
            return EINVAL
        prefix = self._parse(key)
        if prefix is None:
            return EINVAL
        old = self._entries.get(prefix)
        if old is not None and flags == BPF_NOEXIST:
            return EEXIST
        if old is None:
            if flags == BPF_EXIST:
                return ENOENT
            if len(self._entries) >= self.max_entries:
                return ENOSPC
            insort(self._order, self._rank(prefix))
            known = self._lengths.get(prefix[0], 0)
            self._lengths[prefix[0]] = known + 1
            if not known:
                self._longest_first = sorted(self._lengths, reverse=True)
        slot = self._slab.take()
        slot[1][: self.value_size] = value
        self._entries[prefix] = (key, slot)
        if old is not None:
            self._slab.give(old[1])
        return 0

    def delete(self, key: bytes) -> int:
        prefix = self._parse(key)
        if prefix is None:
            return EINVAL
        old = self._entries.pop(prefix, None)
        if old is None:
            return ENOENT
        del self._order[bisect_left(self._order, self._rank(prefix))]
        left = self._lengths[prefix[0]] - 1
        if left:
            self._lengths[prefix[0]] = left
        else:
            del self._lengths[prefix[0]]
            self._longest_first.remove(prefix[0])
        self._slab.give(old[1])
        return 0

    def next_key(self, key: bytes | None) -> bytes | int:
        if not self._order:
            return ENOENT
        at = 0
        prefix = self._parse(key) if key is not None else None
        if prefix is not None and prefix in self._entries:
            at = bisect_left(self._order, self._rank(prefix)) + 1
            if at == len(self._order):
                return ENOENT
        last, negative = self._order[at]
        length = -negative
        return self._entries[length, last >> (self._bits - length)][0]

    def free(self) -> None:
        self._slab.free()
