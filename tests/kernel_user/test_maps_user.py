"""Maps of the user kernel: what a differential run cannot see (versions, addresses, program side, memory)."""

from __future__ import annotations

import errno
import struct

import pytest

from bombus.errors import KernelError, NeedsKernel, NotSupported, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.user.fds import FIRST_FD
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.arena import ArenaMap
from bombus.kernel.user.maps.base import CLASSES, Map, load_classes
from bombus.kernel.user.maps.hash import HashMap
from bombus.kernel.user.maps.ringbuf import BUSY_BIT, DISCARD_BIT, RingBufMap, UserRingBufMap
from bombus.kernel.user.maps.stacktrace import StackTraceMap
from bombus.spec.maptypes import MAP_TYPES


def create(kernel: UserKernel, kind: int, key: int, value: int, entries: int, **fields: int | str) -> tuple[int, Map]:
    fd = kernel.bpf(
        Attr("BPF_MAP_CREATE", map_type=kind, key_size=key, value_size=value, max_entries=entries, **fields)
    )
    return fd, kernel.map_by_fd("test", fd)


def k(number: int) -> bytes:
    return number.to_bytes(4, "little")


def refused(number: int, kernel: UserKernel, command: str, **fields: object) -> KernelError:
    with pytest.raises(KernelError) as caught:
        kernel.bpf(Attr(command, **fields))  # type: ignore[arg-type]
    assert caught.value.errno == number
    return caught.value


def test_every_map_type_has_a_class() -> None:
    load_classes()
    assert {m.id for m in MAP_TYPES} == set(CLASSES)


def test_descriptors_are_the_lowest_free_ones() -> None:
    kernel = UserKernel()
    fds = [create(kernel, 2, 4, 8, 1)[0] for _ in range(3)]
    assert fds == [FIRST_FD, FIRST_FD + 1, FIRST_FD + 2]
    kernel.close(fds[0])
    kernel.close(fds[1])
    assert create(kernel, 2, 4, 8, 1)[0] == FIRST_FD
    with pytest.raises(KernelError) as caught:
        kernel.close(FIRST_FD + 1)
    assert caught.value.errno == errno.EBADF


def test_ids_grow_and_memory_goes() -> None:
    kernel = UserKernel()
    fd, first = create(kernel, 2, 4, 8, 1)
    address = first.lookup(k(0))
    assert first.id == 1 and kernel.memory.find(address, 8) is not None
    kernel.close(fd)
    assert kernel.memory.find(address, 8) is None
    assert kernel.map_by_address(first.handle) is None
    fd, second = create(kernel, 2, 4, 8, 1)
    assert second.id == 2
    attr = Attr("BPF_MAP_GET_NEXT_ID", start_id=0)
    assert kernel.bpf(attr) == 0 and attr.get("next_id") == 2
    refused(errno.ENOENT, kernel, "BPF_MAP_GET_NEXT_ID", start_id=2)
    again = kernel.bpf(Attr("BPF_MAP_GET_FD_BY_ID", map_id=2))
    kernel.close(fd)
    assert kernel.map_by_fd("test", again) is second
    kernel.close(again)
    refused(errno.ENOENT, kernel, "BPF_MAP_GET_FD_BY_ID", map_id=2)


def test_older_versions_refuse_by_name() -> None:
    kernel = UserKernel("4.18")
    with pytest.raises(NeedsKernel, match=r"BPF_MAP_TYPE_RINGBUF needs Linux 5\.8; this kernel is 4\.18"):
        create(kernel, 27, 0, 0, 4096)
    with pytest.raises(NeedsKernel, match=r"BPF_MAP_FREEZE needs Linux 5\.2"):
        kernel.bpf(Attr("BPF_MAP_FREEZE", map_fd=1))
    with pytest.raises(NeedsKernel, match=r"BPF_F_MMAPABLE needs Linux 5\.5"):
        create(kernel, 2, 4, 8, 1, map_flags=1 << 10)
    with pytest.raises(NeedsKernel, match=r"flags of BPF_MAP_LOOKUP_ELEM needs Linux 5\.1"):
        kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=1, flags=4))
    fd, _ = create(kernel, 1, 4, 8, 1)
    info = bytearray(104)
    attr = Attr("BPF_OBJ_GET_INFO_BY_FD", bpf_fd=fd, info=info, info_len=80)
    kernel.bpf(attr)
    assert attr.get("info_len") == 80 and UserKernel("6.12").version > kernel.version
    refused(errno.EINVAL, kernel, "BPF_BTF_GET_NEXT_ID", start_id=0)


def test_cpus() -> None:
    with pytest.raises(UsageError):
        UserKernel(cpus=0)
    kernel = UserKernel(cpus=3)
    fd, item = create(kernel, 6, 4, 5, 2)
    assert item.user_value_size == 24
    kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=k(1), value=bytes(range(24))))
    for cpu in range(3):
        address = item.lookup(k(1), cpu)
        assert kernel.memory.read(address, 5) == bytes(range(cpu * 8, cpu * 8 + 5))
        assert item.lookup_percpu(k(1), cpu) == address
        assert kernel.memory.find(address, 6) is None, "the padding is not the program's"
    assert item.lookup_percpu(k(1), 3) == 0


def test_hash_values_keep_their_address() -> None:
    kernel = UserKernel()
    _, item = create(kernel, 1, 4, 8, 1000, map_flags=1)
    assert isinstance(item, HashMap)
    addresses = {}
    for i in range(1000):
        assert item.update(k(i), struct.pack("<Q", i), 0) == 0
        addresses[i] = item.lookup(k(i))
    assert item.update(k(1000), bytes(8), 0) == -errno.E2BIG
    for i in range(1000):
        assert item.lookup(k(i)) == addresses[i]
        assert kernel.memory.load(addresses[i], 8) == i
    # An update of an existing key moves: who holds the old value goes on reading it.
    assert item.update(k(7), struct.pack("<Q", 77), 0) == 0
    assert item.lookup(k(7)) != addresses[7]
    assert kernel.memory.load(addresses[7], 8) == 7
    # A deleted element's memory stays readable.
    assert item.delete(k(8)) == 0
    assert kernel.memory.find(addresses[8], 8) is not None


def test_walk_survives_deletion() -> None:
    kernel = UserKernel()
    _, item = create(kernel, 1, 4, 8, 100)
    for i in range(100):
        item.update(k(i), bytes(8), 0)
    seen = []
    key = item.next_key(None)
    while isinstance(key, bytes):
        following = item.next_key(key)
        item.delete(key)
        seen.append(key)
        key = following
    assert sorted(seen) == sorted(k(i) for i in range(100))


def test_elements_are_a_snapshot() -> None:
    kernel = UserKernel()
    _, item = create(kernel, 1, 4, 8, 10)
    for i in range(5):
        item.update(k(i), bytes(8), 0)
    elements = item.elements()
    for key, address in elements:
        assert address == item.lookup(key)
        item.update(bytes(3) + key[:1], bytes(8), 0)
    assert len(elements) == 5


def test_lru_keeps_what_programs_look_up() -> None:
    kernel = UserKernel()
    _, item = create(kernel, 9, 4, 8, 64)
    for i in range(64):
        item.update(k(i), bytes(8), 0)
    for _ in range(50):
        for i in range(8):
            item.lookup(k(i))
        for i in range(8):
            item.update(k(1000 + _ * 8 + i), bytes(8), 0)
    kept = sum(bool(item.lookup(k(i))) for i in range(64))
    assert kept >= 8 and all(item.lookup(k(i)) for i in range(8))
    assert len(item.elements()) <= 64


def test_pins_hold_a_map() -> None:
    kernel = UserKernel()
    fd, item = create(kernel, 2, 4, 8, 1)
    kernel.bpf(Attr("BPF_OBJ_PIN", pathname=b"/sys/fs/bpf/m\0", bpf_fd=fd))
    refused(errno.EEXIST, kernel, "BPF_OBJ_PIN", pathname=b"/sys/fs/bpf/m\0", bpf_fd=fd)
    refused(errno.ENOENT, kernel, "BPF_OBJ_PIN", pathname=b"/sys/fs/bpf/no/m\0", bpf_fd=fd)
    refused(errno.EPERM, kernel, "BPF_OBJ_PIN", pathname=b"/elsewhere/m\0", bpf_fd=fd)
    refused(errno.EPERM, kernel, "BPF_OBJ_PIN", pathname=b"/sys/fs/bpf/a.b\0", bpf_fd=fd)
    kernel.close(fd)
    again = kernel.bpf(Attr("BPF_OBJ_GET", pathname=b"/sys/fs/bpf//./m\0", file_flags=1 << 3))
    assert kernel.map_by_fd("test", again) is item
    refused(errno.EPERM, kernel, "BPF_MAP_UPDATE_ELEM", map_fd=again, key=k(0), value=bytes(8))
    kernel.bpffs.unlink("/sys/fs/bpf/m")
    kernel.close(again)
    assert item.refs == 0
    refused(errno.ENOENT, kernel, "BPF_OBJ_GET", pathname=b"/sys/fs/bpf/m\0")
    kernel.bpffs.mkdir("/sys/fs/bpf/a/b", parents=True)
    with pytest.raises(KernelError):
        kernel.bpffs.rmdir("/sys/fs/bpf/a")


def test_inner_maps() -> None:
    kernel = UserKernel()
    inner_fd, inner = create(kernel, 2, 4, 8, 2)
    fd, outer = create(kernel, 12, 4, 4, 2, inner_map_fd=inner_fd)
    assert outer.lookup(k(0)) == 0
    kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=k(0), value=k(inner_fd)))
    assert kernel.map_by_address(outer.lookup(k(0))) is inner
    value = bytearray(4)
    kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=fd, key=k(0), value=value))
    assert int.from_bytes(value, "little") == inner.id
    kernel.close(inner_fd)
    assert inner.refs == 1
    kernel.close(fd)
    assert inner.refs == 0 and not kernel.memory.find(inner.handle, 1)


def test_ring_buffer_memory() -> None:
    kernel = UserKernel()
    fd, ring = create(kernel, 27, 0, 0, 4096)
    assert isinstance(ring, RingBufMap)
    consumer = kernel.mmap(fd, 4096, 0)
    producer = kernel.mmap(fd, 4096 + 2 * 4096, 4096, writable=False)
    with pytest.raises(KernelError) as caught:
        kernel.mmap(fd, 8192, 0)
    assert caught.value.errno == errno.EPERM
    assert kernel.wait([fd], 0) == []
    got = []
    for i in range(1000):  # many times round, records across the end
        size = 1 + i * 37 % 300
        data = bytes((i + j) % 256 for j in range(size))
        assert ring.output(data) == 0
        assert kernel.wait([fd], 0) == [fd]
        position = struct.unpack_from("<Q", consumer)[0]
        assert struct.unpack_from("<Q", producer)[0] > position
        length = struct.unpack_from("<I", producer, 4096 + (position & 4095))[0]
        at = 4096 + (position & 4095) + 8
        got.append(bytes(producer[at : at + length]) == data)
        struct.pack_into("<Q", consumer, 0, position + (length + 8 + 7 & ~7))
    assert all(got) and ring.query(0) == 0 and ring.query(1) == 4096
    with pytest.raises(TypeError):
        producer[0] = 1


def test_ring_buffer_reservations() -> None:
    kernel = UserKernel()
    _, ring = create(kernel, 27, 0, 0, 4096)
    assert isinstance(ring, RingBufMap)
    a, b = ring.reserve(16), ring.reserve(8)
    assert b - a == 24
    kernel.memory.write(a, b"x" * 16)
    header = kernel.memory.load(a - 8, 4)
    assert header == 16 | BUSY_BIT
    assert ring.discard(b) == 0 and kernel.memory.load(b - 8, 4) == 8 | DISCARD_BIT
    assert ring.submit(a) == 0 and kernel.memory.load(a - 8, 4) == 16
    assert ring.reserve(4096 - 8) == 0
    assert ring.reserve(8, 1) == 0
    assert ring.output(b"", 4) == -errno.EINVAL
    while ring.output(bytes(100)) == 0:
        pass
    assert ring.output(bytes(100)) == -errno.EAGAIN
    assert ring.query(0) <= 4095


def test_user_ring_buffer() -> None:
    kernel = UserKernel()
    fd, ring = create(kernel, 31, 0, 0, 4096)
    assert isinstance(ring, UserRingBufMap)
    producer = kernel.mmap(fd, 3 * 4096, 4096)
    with pytest.raises(KernelError):
        kernel.mmap(fd, 4096, 0)
    position = 0
    for data, flag in ((b"one", 0), (b"gone", DISCARD_BIT), (b"two", 0), (b"busy", BUSY_BIT)):
        struct.pack_into("<I", producer, 4096 + position, len(data) | flag)
        producer[4096 + position + 8 : 4096 + position + 8 + len(data)] = data
        position += len(data) + 8 + 7 & ~7
    struct.pack_into("<Q", producer, 0, position)
    seen = []

    def callback(address: int, size: int) -> int:
        seen.append(kernel.memory.read(address, size))
        return 0

    assert ring.drain(callback) == 2
    assert seen == [b"one", b"two"]
    assert ring.drain(callback, 8) == -errno.EINVAL
    struct.pack_into("<Q", producer, 0, 3)
    assert ring.drain(callback) == -errno.EINVAL


def test_mmapable_array_shares_memory() -> None:
    kernel = UserKernel()
    fd, item = create(kernel, 2, 4, 8, 10, map_flags=1 << 10)
    view = kernel.mmap(fd, 4096)
    view[8:16] = b"12345678"
    assert kernel.memory.read(item.lookup(k(1)), 8) == b"12345678"
    kernel.bpf(Attr("BPF_MAP_FREEZE", map_fd=fd))
    with pytest.raises(KernelError) as caught:
        kernel.mmap(fd, 4096)
    assert caught.value.errno == errno.EPERM
    assert bytes(kernel.mmap(fd, 4096, writable=False)[8:16]) == b"12345678"
    with pytest.raises(KernelError):
        kernel.mmap(fd, 8192, writable=False)
    assert item.value_address(0) == -524


LOCK_BTF_STRINGS = b"\0int\0bpf_spin_lock\0val\0v\0lock\0n\0"


def lock_btf() -> bytes:
    """int; struct bpf_spin_lock { int val; }; struct v { struct bpf_spin_lock lock; int n; }"""
    at = {name: LOCK_BTF_STRINGS.index(b"\0" + name + b"\0") + 1 for name in (b"int", b"bpf_spin_lock", b"val", b"v",
                                                                              b"lock", b"n")}  # fmt: skip
    types = struct.pack("<IIII", at[b"int"], 1 << 24, 4, 1 << 24 | 32)
    types += struct.pack("<IIIIII", at[b"bpf_spin_lock"], 4 << 24 | 1, 4, at[b"val"], 1, 0)
    types += struct.pack("<III", at[b"v"], 4 << 24 | 2, 8)
    types += struct.pack("<IIIIII", at[b"lock"], 2, 0, at[b"n"], 1, 32)
    strings = LOCK_BTF_STRINGS
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def test_spin_lock_is_found_and_never_copied() -> None:
    kernel = UserKernel(maps="python")  # native code, as Linux, would wait for who holds the lock
    data = lock_btf()
    btf_fd = kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))
    types = {"btf_fd": btf_fd, "btf_key_type_id": 1, "btf_value_type_id": 3}
    fd, item = create(kernel, 1, 4, 8, 4, **types)
    assert [(f.kind, f.offset, f.size) for f in item.fields] == [("bpf_spin_lock", 0, 4)]
    kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=k(1), value=b"\xff" * 8, flags=4))
    value = bytearray(8)
    kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=fd, key=k(1), value=value, flags=4))
    assert value == b"\0\0\0\0\xff\xff\xff\xff"
    address = item.lookup(k(1))
    kernel.memory.write(address, k(9))
    kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=k(1), value=b"\xee" * 8, flags=4))
    assert item.lookup(k(1)) == address, "an update under the lock is in place"
    assert kernel.memory.read(address, 8) == k(9) + b"\xee" * 4
    refused(524, kernel, "BPF_MAP_FREEZE", map_fd=fd)
    with pytest.raises(KernelError) as caught:  # LRU maps cannot hold locks
        create(kernel, 9, 4, 8, 4, **types)
    assert caught.value.errno == errno.EOPNOTSUPP
    plain, _ = create(kernel, 1, 4, 8, 4)
    refused(errno.EINVAL, kernel, "BPF_MAP_LOOKUP_ELEM", map_fd=plain, key=k(1), value=bytearray(8), flags=4)


def test_btf_load_and_info() -> None:
    kernel = UserKernel()
    data = lock_btf()
    fd = kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))
    out, info = bytearray(len(data)), bytearray(32)
    struct.pack_into("<Q", info, 0, Attr("BPF_BTF_LOAD", btf=out).get("btf"))
    struct.pack_into("<I", info, 8, len(out))
    kernel.bpf(Attr("BPF_OBJ_GET_INFO_BY_FD", bpf_fd=fd, info=info, info_len=32))
    assert out == data and struct.unpack_from("<II", info, 8) == (len(data), 1)
    error = refused(errno.EINVAL, kernel, "BPF_BTF_LOAD", btf=data[:-3], btf_size=len(data) - 3)
    assert "bad BTF" in error.log
    refused(errno.E2BIG, kernel, "BPF_BTF_LOAD", btf=data, btf_size=1 << 25)
    refused(errno.EFAULT, kernel, "BPF_BTF_LOAD", btf=8, btf_size=100)


def test_arena_pages() -> None:
    kernel = UserKernel()
    fd, arena = create(kernel, 33, 0, 0, 16, map_flags=1 << 10)
    assert isinstance(arena, ArenaMap)
    a = arena.alloc_pages(4)
    b = arena.alloc_pages(1)
    assert b - a == 4 * 4096 and arena.alloc_pages(12) == 0
    kernel.mmap(fd, 16 * 4096)[0:3] = b"abc"
    assert kernel.memory.read(a, 3) == b"abc"
    arena.free_pages(a, 2)
    assert kernel.memory.read(a, 3) == bytes(3)
    assert arena.alloc_pages(2) == a and arena.alloc_pages(1, b) == 0


def test_stack_ids() -> None:
    kernel = UserKernel("6.12")
    fd, stacks = create(kernel, 7, 4, 32, 8)
    assert isinstance(stacks, StackTraceMap)
    number = stacks.store([1, 2, 3])
    assert stacks.store([1, 2, 3]) == number
    value = bytearray(32)
    kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=fd, key=k(number), value=value))
    assert struct.unpack("<4Q", value) == (1, 2, 3, 0)
    refused(524, kernel, "BPF_MAP_LOOKUP_AND_DELETE_ELEM", map_fd=fd, key=k(number), value=value)


def test_struct_ops_is_named() -> None:
    with pytest.raises(NotSupported, match="STRUCT_OPS"):
        create(UserKernel(), 26, 4, 8, 1, btf_vmlinux_value_type_id=5)


def test_stats_switch() -> None:
    kernel = UserKernel()
    fd = kernel.bpf(Attr("BPF_ENABLE_STATS", type=0))
    assert kernel.stats_users == 1
    kernel.close(fd)
    assert kernel.stats_users == 0
    refused(errno.EINVAL, kernel, "BPF_ENABLE_STATS", type=1)


def test_batches_split_anywhere() -> None:
    kernel = UserKernel()
    fd, _ = create(kernel, 1, 4, 4, 100)
    keys = b"".join(k(i) for i in range(100))
    attr = Attr("BPF_MAP_UPDATE_BATCH", map_fd=fd, keys=keys, values=keys, count=100)
    assert kernel.bpf(attr) == 0 and attr.get("count") == 100
    seen: list[bytes] = []
    position: bytearray | None = None
    while True:
        out, batch, values = bytearray(28), bytearray(4), bytearray(28)
        attr = Attr("BPF_MAP_LOOKUP_AND_DELETE_BATCH", map_fd=fd, keys=out, values=values, out_batch=batch, count=7,
                    in_batch=position)  # fmt: skip
        done = False
        try:
            kernel.bpf(attr)
        except KernelError as error:
            assert error.errno == errno.ENOENT
            done = True
        assert out[: attr.get("count") * 4] == values[: attr.get("count") * 4]
        seen += [bytes(out[i * 4 : i * 4 + 4]) for i in range(attr.get("count"))]
        if done:
            break
        position = batch
    assert sorted(seen) == sorted(k(i) for i in range(100))
