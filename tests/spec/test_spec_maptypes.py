"""Rules of BPF_MAP_CREATE, asked of the running kernel: sizes, number of entries, flags and operations of each type."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from spec_loads import CAP_BPF, CAP_NET_ADMIN, with_capabilities

from bombus.btf.build import Builder
from bombus.btf.types import INT_SIGNED, Int
from bombus.errors import KernelError
from bombus.kernel.api import Attr, Kernel
from bombus.spec.maptypes import (
    BPF_F_NO_PREALLOC,
    BPF_F_RDONLY,
    BPF_F_STACK_BUILD_ID,
    BPF_F_WRONLY,
    MAP_TYPES,
    MapType,
    Size,
)
from bombus.spec.version import KernelVersion

pytestmark = pytest.mark.linux
ENOTSUPP, EOPNOTSUPP, EINVAL, E2BIG, EPERM = 524, 95, 22, 7, 1
OLDEST, NEWEST = KernelVersion(6, 12), KernelVersion(6, 18)
FLAG_BITS = [1 << bit for bit in range(19)]
SIZES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 20, 24, 63, 64, 255, 256, 257, 260, 261, 264, 511, 512, 513, 1016, 1024]
BIG = [4096, 32767, 32768, 32769, 65407, 65408, 1 << 20]
ENTRIES = [0, 1, 2, 3, 7, 8, 64, 1000, 4096, 4097, 6144, 8192, 65536]


def _version() -> KernelVersion:
    major, minor, _ = KernelVersion.parse(os.uname().release)
    return KernelVersion(major, minor)


def _need(row: MapType) -> None:
    if not OLDEST <= _version() <= NEWEST:
        pytest.skip(f"rows are exact from {OLDEST} to {NEWEST}")
    if row.short == "struct_ops":
        pytest.skip("its value is a struct of the kernel's: the loader's tests make such maps")


def _pick(rule: Size, *wishes: int) -> int:
    return next(number for number in (*wishes, 1, 4, 8, 0, 4096) if rule.allows(number))


class Maker:
    """Tries to create maps of one type; the first values are ones that the row allows."""

    def __init__(self, kernel: Kernel, row: MapType, stack: ExitStack) -> None:
        self.kernel = kernel
        self.row = row
        self.base: dict[str, int] = {
            "map_type": row.id, "key_size": _pick(row.key, 4, 8), "value_size": _pick(row.value, 4, 8),
            "max_entries": _pick(row.entries, 4, 4096), "map_flags": row.flags_needed,
        }  # fmt: skip
        if row.short in ("array_of_maps", "hash_of_maps"):
            inner = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=4, max_entries=1))
            stack.callback(kernel.close, inner)
            self.base["inner_map_fd"] = inner
        if row.needs_btf:
            builder = Builder()
            builder.add(Int("int", 4, INT_SIGNED))
            data = builder.to_bytes()
            fd = kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))
            stack.callback(kernel.close, fd)
            self.base |= {"btf_fd": fd, "btf_key_type_id": 1, "btf_value_type_id": 1}

    def __call__(self, **change: int) -> int:
        """The errno; 0 when the map was made."""
        try:
            fd = self.kernel.bpf(Attr("BPF_MAP_CREATE", **(self.base | change)))
        except KernelError as error:
            return error.errno or -1
        self.kernel.close(fd)
        return 0


@pytest.fixture(params=MAP_TYPES, ids=lambda row: row.short)
def make(request: pytest.FixtureRequest, linux_kernel: Kernel) -> Iterator[Maker]:
    _need(request.param)
    with ExitStack() as stack:
        maker = Maker(linux_kernel, request.param, stack)
        assert maker() == 0
        yield maker


def test_flags(make: Maker) -> None:
    row = make.row
    wrong = []
    for bit in FLAG_BITS:
        change = {"map_flags": row.flags_needed | bit}
        if bit == BPF_F_STACK_BUILD_ID and row.flags & bit:
            change["value_size"] = 32
        made = make(**change) == 0
        if made != bool((row.flags | row.flags_needed) & bit):
            wrong.append((hex(bit), make(**change)))
    assert wrong == []
    if row.flags_needed:
        assert make(map_flags=0) != 0
    if row.flags & BPF_F_RDONLY and row.flags & BPF_F_WRONLY:
        assert make(map_flags=row.flags_needed | BPF_F_RDONLY | BPF_F_WRONLY) != 0


def test_key_sizes(make: Maker) -> None:
    if make.row.needs_btf:
        pytest.skip("the key's type is in BTF")
    change = {"max_entries": 1} if make.row.entries.allows(1) else {}
    answers = {n: make(key_size=n, **change) for n in SIZES}
    assert [(n, errno) for n, errno in answers.items() if (errno == 0) != make.row.key.allows(n)] == []


def test_value_sizes(make: Maker) -> None:
    row = make.row
    if row.needs_btf:
        pytest.skip("the value's type is in BTF")
    change = {"max_entries": 1} if row.entries.allows(1) else {}
    wrong = []
    for number in [*SIZES, *BIG]:
        errno = make(value_size=number, **change)
        if (errno == 0) != row.value.allows(number):
            wrong.append((number, errno))
    assert wrong == []


def test_entries(make: Maker) -> None:
    answers = {n: make(max_entries=n) for n in ENTRIES}
    if make.row.short == "cpumap":  # no more than CPUs that the kernel was built for
        answers = {n: errno for n, errno in answers.items() if errno != E2BIG}
        assert 2 in answers
    assert [(n, errno) for n, errno in answers.items() if (errno == 0) != make.row.entries.allows(n)] == []


def test_bloom_filters_take_a_number_of_hash_functions(linux_kernel: Kernel) -> None:
    with ExitStack() as stack:
        row = next(row for row in MAP_TYPES if row.short == "bloom_filter")
        _need(row)
        make = Maker(linux_kernel, row, stack)
        assert [n for n in range(20) if make(map_extra=n) == 0] == list(range(16))


COMMANDS = {
    "lookup": "BPF_MAP_LOOKUP_ELEM", "update": "BPF_MAP_UPDATE_ELEM", "delete": "BPF_MAP_DELETE_ELEM",
    "next_key": "BPF_MAP_GET_NEXT_KEY", "lookup_and_delete": "BPF_MAP_LOOKUP_AND_DELETE_ELEM",
    "lookup_batch": "BPF_MAP_LOOKUP_BATCH", "lookup_and_delete_batch": "BPF_MAP_LOOKUP_AND_DELETE_BATCH",
    "update_batch": "BPF_MAP_UPDATE_BATCH", "delete_batch": "BPF_MAP_DELETE_BATCH",
}  # fmt: skip


@pytest.mark.parametrize("operation", [name for name in COMMANDS if name.endswith("_batch")])
def test_batches(make: Maker, operation: str) -> None:
    """A type without a batch operation says ENOTSUPP, whatever else is wrong."""
    fd = make.kernel.bpf(Attr("BPF_MAP_CREATE", **make.base))
    try:
        keys, values = bytearray(4096), bytearray(1 << 16)
        token_in, token_out = None, bytearray(1024)
        attr = Attr(
            COMMANDS[operation], map_fd=fd, keys=keys, values=values, count=1, out_batch=token_out, in_batch=token_in
        )
        try:
            make.kernel.bpf(attr)
            errno = 0
        except KernelError as error:
            errno = error.errno or -1
    finally:
        make.kernel.close(fd)
    assert (errno not in (ENOTSUPP, EOPNOTSUPP)) == (operation in make.row.operations_at(_version())), errno


@pytest.mark.parametrize("operation", ["lookup", "update", "delete", "next_key", "lookup_and_delete"])
def test_operations(make: Maker, operation: str) -> None:
    """A type without an operation says that it is not supported; one that has it finds fault with what it is given."""
    row = make.row
    fd = make.kernel.bpf(Attr("BPF_MAP_CREATE", **make.base))
    try:
        size = max(make.base["key_size"], 8)
        fields: dict[str, object] = {"map_fd": fd}
        if make.base["key_size"]:
            fields["key"] = bytearray(struct.pack("<I", 1) + bytes(size + 256))
        if operation == "next_key":
            fields["next_key"] = bytearray(1024)
        elif operation != "delete":
            fields["value"] = bytearray(1 << 16)
        try:
            make.kernel.bpf(Attr(COMMANDS[operation], **fields))  # type: ignore[arg-type]
            errno = 0
        except KernelError as error:
            errno = error.errno or -1
    finally:
        make.kernel.close(fd)
    refused = errno in (ENOTSUPP, EOPNOTSUPP)
    if operation in row.operations_at(_version()):
        assert not refused, errno
    else:
        # Some say EINVAL for what they do not have, as they do for keys and values that are wrong.
        assert refused or errno == EINVAL, errno


def test_capabilities(make: Maker) -> None:
    """CAP_BPF is enough, but for types that need CAP_NET_ADMIN."""
    needs_net = make.row.cap == "CAP_NET_ADMIN"
    assert with_capabilities({CAP_BPF}, make) == (EPERM if needs_net else 0)
    assert with_capabilities({CAP_BPF, CAP_NET_ADMIN}, make) == 0


def test_no_prealloc_is_what_lpm_tries_need(linux_kernel: Kernel) -> None:
    needing = {row.short for row in MAP_TYPES if row.flags_needed & BPF_F_NO_PREALLOC}
    assert needing == {"lpm_trie", "sk_storage", "inode_storage", "task_storage", "cgrp_storage"}
