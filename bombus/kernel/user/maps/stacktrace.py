"""Call stacks under an id made of their hash. Linux 6.12 kernel/bpf/stackmap.c."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bombus.bits import U32
from bombus.kernel.user.maps.base import E2BIG, EEXIST, EINVAL, ENOENT, NOTSUPP, Map, MapAttr, map_type
from bombus.spec.maptypes import (
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_STACK_BUILD_ID,
    BPF_F_WRONLY,
    BUILD_ID_RECORD_SIZE,
    PERF_MAX_STACK_DEPTH,
)
from bombus.spec.version import since

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

FAST_STACK_CMP = 1 << 9  # BPF_F_FAST_STACK_CMP: compare hashes only
REUSE_STACKID = 1 << 10  # BPF_F_REUSE_STACKID: replace another stack with the same id
_FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_STACK_BUILD_ID
_TAKE_SINCE = since("6.18")  # BPF_MAP_LOOKUP_AND_DELETE_ELEM of a stack
_BUILD_ID_IP = 2  # BPF_STACK_BUILD_ID_IP: no build id found, the address stands alone
_HASH_START = 0xDEADBEEF  # JHASH_INITVAL
_MIX, _FINAL = (4, 6, 8, 16, 19, 4), (14, 11, 25, 16, 4, 14, 24)


def build_id_records(frames: Sequence[int]) -> bytes:
    """`struct bpf_stack_build_id` of each address, none of which lies in a file with a build id."""
    return b"".join(_BUILD_ID_IP.to_bytes(4, "little") + bytes(20) + f.to_bytes(8, "little") for f in frames)


def stack_hash(words: Sequence[int]) -> int:
    """The hash of u32 words whose low bits are a stack's id: Jenkins' lookup3 (Linux include/linux/jhash.h jhash2)."""

    def turn(value: int, by: int) -> int:
        return (value << by | value >> (32 - by)) & U32

    a = b = c = (_HASH_START + 4 * len(words)) & U32
    at = 0
    while len(words) - at > 3:
        a, b, c = (a + words[at]) & U32, (b + words[at + 1]) & U32, (c + words[at + 2]) & U32
        for by in _MIX:  # each round the three change places
            a = ((a - c) & U32) ^ turn(c, by)
            c = (c + b) & U32
            a, b, c = b, c, a
        at += 3
    rest = [*words[at:], 0, 0, 0][:3]
    if len(words) == at:
        return c
    a, b, c = (a + rest[0]) & U32, (b + rest[1]) & U32, (c + rest[2]) & U32
    for by in _FINAL:
        c = ((c ^ b) - turn(b, by)) & U32
        a, b, c = b, c, a
    return b


@map_type("BPF_MAP_TYPE_STACK_TRACE")
class StackTraceMap(Map):
    btf_rule = "never"
    late_check = True

    __slots__ = ("_buckets", "_stacks")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._buckets = 1 << (attr.max_entries - 1).bit_length()
        self._stacks: dict[int, tuple[int, bytes]] = {}

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        size = attr.value_size
        if attr.map_flags & ~_FLAGS or not attr.max_entries or attr.key_size != 4 or size < 8 or size % 8:
            return EINVAL
        if attr.map_flags & BPF_F_STACK_BUILD_ID:
            if size % BUILD_ID_RECORD_SIZE or size // BUILD_ID_RECORD_SIZE > PERF_MAX_STACK_DEPTH:
                return EINVAL
        elif size // 8 > PERF_MAX_STACK_DEPTH:
            return EINVAL
        return E2BIG if attr.max_entries > 1 << 31 else 0

    @property
    def record_size(self) -> int:
        """Bytes of one frame in a value."""
        return BUILD_ID_RECORD_SIZE if self.map_flags & BPF_F_STACK_BUILD_ID else 8

    def store(self, frames: Sequence[int], flags: int = 0) -> int:
        """Keep a stack (addresses, innermost first, already without skipped ones): its id or -EEXIST."""
        frames = frames[: self.value_size // self.record_size]
        data = addresses = struct.pack(f"<{len(frames)}Q", *frames)
        digest = stack_hash(struct.unpack(f"<{2 * len(frames)}I", addresses))
        number = digest & (self._buckets - 1)
        if self.map_flags & BPF_F_STACK_BUILD_ID:
            data = build_id_records(frames)
        old = self._stacks.get(number)
        if old is not None:
            if old[0] == digest and (flags & FAST_STACK_CMP or old[1] == data):
                return number
            if not flags & REUSE_STACKID:
                return EEXIST
        if len(self._stacks) >= self.max_entries:  # also for one that is replaced: it is given back afterwards
            return -errno.ENOMEM
        self._stacks[number] = (digest, data)
        return number

    def read(self, key: bytes, flags: int) -> bytes | int:
        found = self._stacks.get(int.from_bytes(key, "little"))
        return ENOENT if found is None else found[1].ljust(self.value_size, b"\0")

    def take(self, key: bytes, flags: int) -> bytes | int:
        if self.kernel.version < _TAKE_SINCE:
            return NOTSUPP
        value = self.read(key, flags)
        self._stacks.pop(int.from_bytes(key, "little"), None)
        return value

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        return EINVAL

    def delete(self, key: bytes) -> int:
        number = int.from_bytes(key, "little")
        if number >= self._buckets:
            return -7  # E2BIG
        return 0 if self._stacks.pop(number, None) is not None else ENOENT

    def next_key(self, key: bytes | None) -> bytes | int:
        start = 0
        if key is not None:
            number = int.from_bytes(key, "little")
            start = 0 if number >= self._buckets or number not in self._stacks else number + 1
        following = min((n for n in self._stacks if n >= start), default=None)
        return ENOENT if following is None else following.to_bytes(4, "little")
