"""Maps with native memory: the same as the Python bodies, from programs of every engine and from user space."""

from __future__ import annotations

import errno
import gc
import random
import struct
import weakref
from collections.abc import Iterator

import pytest

from bombus.errors import KernelError, UsageError
from bombus.isa import build as b
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.kernel.handles import Map as Handle
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.base import Map
from bombus.kernel.user.maps.native import NativeTable
from bombus.kernel.user.run import run_packet
from bombus.runtime.maps.control import Control
from bombus.runtime.maps.shape import CONTROL, CONTROL_BYTES
from bombus.runtime.maps.table import Element
from bombus.spec.maptypes import MAP_TYPE

KINDS = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash")
SHAPES = ((4, 8, 16), (1, 1, 5), (7, 3, 9), (8, 16, 31), (13, 33, 8), (40, 24, 20))  # key and value bytes, entries
SECTIONS = 48  # where the value lies in a packet of the test program
ENGINES = (("native", "native"), ("reference", "native"), ("fast", "python"))


def create(kernel: UserKernel, kind: str, key: int, value: int, entries: int, **fields: int) -> tuple[int, Map]:
    number = MAP_TYPE[f"BPF_MAP_TYPE_{kind.upper()}"].id
    fd = kernel.bpf(
        Attr("BPF_MAP_CREATE", map_type=number, key_size=key, value_size=value, max_entries=entries, **fields)
    )
    return fd, kernel.map_by_fd("test", fd)


def operator(fd: int) -> list[Insn]:
    """Does to a map what the packet says: u32 operation (0 look up, 1 update, 2 delete), u32 flags, key, value."""
    return b.program(
        b.ldx("u32", 6, 1, 0), b.ldx("u32", 2, 1, 4), b.mov(3, b.R6), b.add(3, 112), b.mov(0, 0),
        b.jmp(">", 3, b.R2, 19),
        b.ldx("u32", 7, 6, 0), b.ldx("u32", 4, 6, 4), b.mov(2, b.R6), b.add(2, 8), b.mov(3, b.R6), b.add(3, SECTIONS),
        b.ld_imm64(1, fd, 1),
        b.jmp("==", 7, 1, 7), b.jmp("==", 7, 2, 8),
        b.call(1), b.jmp("!=", 0, 0, 2), b.mov(0, 999), b.exit_(),
        b.ldx("u8", 0, 0, 0), b.exit_(),
        b.call(2), b.exit_(),
        b.call(3), b.exit_(),
    )  # fmt: skip


def contents(item: Map) -> list[tuple[bytes, bytes | int]]:
    found = []
    key = item.next_key(None)
    while isinstance(key, bytes):
        found.append((key, item.read(key, 0)))
        key = item.next_key(key)
    return found


def session(seed: str, kind: str, shape: tuple[int, int, int], steps: int) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Random operations: which, flags, key, value."""
    rng = random.Random(seed)
    key_size, value_size, entries = shape
    keys = [rng.randbytes(key_size) for _ in range(entries * 2)]
    for _ in range(steps):
        yield rng.choice((0, 1, 1, 2)), rng.choice((0, 0, 0, 1, 2, 3)), rng.choice(keys), rng.randbytes(value_size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_programs_of_every_engine(kind: str, shape: tuple[int, int, int]) -> None:
    results = []
    for engine, maps in ENGINES:
        kernel = UserKernel("6.18", engine=engine, maps=maps)
        fd, item = create(kernel, kind, *shape)
        assert isinstance(item, NativeTable) == (maps == "native")
        program = kernel.bpf(
            Attr("BPF_PROG_LOAD", prog_type=6, insns=encode(operator(fd)), insn_cnt=len(operator(fd)), license=b"GPL\0")
        )
        seen = []
        for what, flags, key, value in session(f"{kind} {shape}", kind, shape, 150):
            packet = struct.pack("<II", what, flags) + key.ljust(SECTIONS - 8, b"\0") + value
            seen.append(run_packet(kernel, program, packet.ljust(112, b"\0")).verdict)
            if len(seen) % 40 == 0:
                seen.extend(contents(item))  # type: ignore[arg-type]
        results.append((seen, contents(item)))
    assert results[0] == results[2]
    assert results[1] == results[2]
    assert len({one for one in results[0][0] if isinstance(one, int)}) > 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_user_space(kind: str, shape: tuple[int, int, int]) -> None:
    """Commands on single elements, walks and batches."""
    rng = random.Random(f"{kind} {shape}")
    kernels = [UserKernel("6.18", maps=maps, cpus=3) for maps in ("native", "python")]
    pair = [create(kernel, kind, *shape) for kernel in kernels]
    size, wide = shape[0], pair[0][1].user_value_size
    assert isinstance(pair[0][1], NativeTable) and not isinstance(pair[1][1], NativeTable)
    keys = [rng.randbytes(size) for _ in range(shape[2] * 2)]
    for _ in range(300):
        what = rng.choice(("update", "update", "lookup", "delete", "take", "next", "program", "batch", "walk", "drain"))
        flags, count, cpu = rng.choice((0, 0, 1, 2)), rng.randrange(1, 9), rng.randrange(3)
        some = [rng.choice(keys) for _ in range(count)]
        values = rng.randbytes(count * wide)
        outcomes = []
        for kernel, (fd, item) in zip(kernels, pair, strict=True):
            key, value = some[0], values[:wide]
            room, names, place = bytearray(count * wide), bytearray(count * size), bytearray(4)
            if what == "update":
                attr = Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=key, value=value, flags=flags)
            elif what == "lookup":
                attr = Attr("BPF_MAP_LOOKUP_ELEM", map_fd=fd, key=key, value=room)
            elif what == "delete":
                attr = Attr("BPF_MAP_DELETE_ELEM", map_fd=fd, key=key)
            elif what == "take":
                attr = Attr("BPF_MAP_LOOKUP_AND_DELETE_ELEM", map_fd=fd, key=key, value=room)
            elif what == "next":
                attr = Attr("BPF_MAP_GET_NEXT_KEY", map_fd=fd, key=key, next_key=names)
            elif what == "batch":
                attr = Attr("BPF_MAP_UPDATE_BATCH", map_fd=fd, keys=b"".join(some), values=values, count=count)
            elif what == "walk" or what == "drain":
                command = "BPF_MAP_LOOKUP_BATCH" if what == "walk" else "BPF_MAP_LOOKUP_AND_DELETE_BATCH"
                attr = Attr(command, map_fd=fd, keys=names, values=room, count=count, out_batch=place)
            else:
                assert item.update(key, value[: shape[1]], flags, cpu) in (0, -2, -7, -17)
                address = item.lookup(key, cpu)
                outcomes.append(kernel.memory.read(address, shape[1]) if address else b"")
                assert len(item.elements(cpu)) == len(contents(item))
                continue
            try:
                kernel.bpf(attr)
                error = 0
            except KernelError as refused:
                error = refused.errno
            done = attr.get("count") if "BATCH" in attr.command.name else 0
            outcomes.append((error, done, bytes(room), bytes(names), bytes(place)))
        assert outcomes[0] == outcomes[1], what
        assert contents(pair[0][1]) == contents(pair[1][1]), what


def test_control_struct() -> None:
    offsets = {name: (member.offset, member.type.SIZE) for name, member in Control.LAYOUT.members.items()}
    assert offsets == CONTROL
    assert sum(CONTROL[list(CONTROL)[-1]]) <= CONTROL_BYTES
    assert Element.LAYOUT.size == 24


def test_modes() -> None:
    with pytest.raises(UsageError, match="maps='quick'"):
        UserKernel(maps="quick")
    kernel = UserKernel(engine="native", maps="python")
    assert not isinstance(create(kernel, "hash", 4, 4, 4)[1], NativeTable)
    native = UserKernel(engine="native")
    assert isinstance(create(native, "hash", 4, 4, 4)[1], NativeTable)
    huge = create(native, "hash", 4, 1 << 19, 1 << 27)[1]  # more than there are addresses: made as it is needed
    assert not isinstance(huge, NativeTable) and huge.update(bytes(4), bytes(1 << 19), 0) == 0


@pytest.mark.parametrize("kind", ["hash", "array"])
def test_functions_end_with_the_descriptor(kind: str) -> None:
    kernel = UserKernel(maps="native")
    item = Handle.create(kernel, kind, 4, 8, 4)
    with Handle.from_id(kernel, item.id) as other:
        item[1] = 5
        lookup, get = item.raw.lookup, item.raw.calls.get
        assert get(1) == item[1] == other[1] == 5
        assert get(1, 2) is get("1") is get(1 << 40) is get(-1) is NotImplemented
        with pytest.raises(UsageError, match="does not fit"):
            item[1 << 40]
        with pytest.raises(UsageError, match="this map's keys have 4"):
            item.raw.lookup(b"12345")
        kernel.close(item.fd)
        for _ in range(2):
            with pytest.raises(KernelError, match="not a descriptor"):
                lookup(struct.pack("<I", 1))
            with pytest.raises(KernelError, match="not a descriptor"):
                item[1] = 6
        assert get(1) == 5  # the function itself, and the memory that it reads, are still there
        other.freeze()
        with pytest.raises(KernelError) as caught:
            other[1] = 6
        assert caught.value.errno == errno.EPERM and other[1] == 5


def test_functions_go_with_their_map() -> None:
    kernel = UserKernel(maps="native")
    item = Handle.create(kernel, "hash", 4, 8, 4)
    memory = weakref.ref(kernel.map_by_fd("test", item.fd).native.memory)  # type: ignore[attr-defined]
    item.close()
    del item
    gc.collect()
    assert memory() is None
