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
from bombus.spec.maptypes import BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED, MAP_TYPE

KINDS = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "lpm_trie")
SHAPES = ((4, 8, 16), (1, 1, 5), (7, 3, 9), (8, 16, 31), (13, 33, 8), (40, 24, 20))  # key and value bytes, entries
SECTIONS = 48  # where the value lies in a packet of the test program
ENGINES = (("native", "native"), ("reference", "native"), ("fast", "python"))


def create(kernel: UserKernel, kind: str, key: int, value: int, entries: int, **fields: int) -> tuple[int, Map]:
    number = MAP_TYPE[f"BPF_MAP_TYPE_{kind.upper()}"].id
    if kind == "lpm_trie":
        fields["map_flags"] = BPF_F_NO_PREALLOC
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


def shape_of(kind: str, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return (shape[0] + 4, *shape[1:]) if kind == "lpm_trie" and shape[0] < 8 else shape


def contents(item: Map) -> list[tuple[bytes, bytes | int]]:
    found = []
    key = item.next_key(None)
    while isinstance(key, bytes):
        found.append((key, item.read(key, 0)))
        key = item.next_key(key)
    return found


def random_keys(rng: random.Random, kind: str, size: int, count: int) -> list[bytes]:
    if kind != "lpm_trie":
        return [rng.randbytes(size) for _ in range(count)]
    bits = (size - 4) * 8
    out = []
    for _ in range(count):
        length = rng.choice((0, 1, 7, 8, 9, bits - 1, bits, bits, rng.randrange(bits), bits + 1))
        data = bytes(rng.choice((0, 0xFF, 0x80)) for _ in range(size - 4))
        out.append(length.to_bytes(4, "little") + data)
    return out


def session(seed: str, kind: str, shape: tuple[int, int, int], steps: int) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Random operations: which, flags, key, value."""
    rng = random.Random(seed)
    key_size, value_size, entries = shape
    keys = random_keys(rng, kind, key_size, entries * 2)
    for _ in range(steps):
        yield rng.choice((0, 1, 1, 2)), rng.choice((0, 0, 0, 1, 2, 3)), rng.choice(keys), rng.randbytes(value_size)


@pytest.mark.parametrize("shape", SHAPES[1::2])
@pytest.mark.parametrize("kind", KINDS)
def test_programs_of_every_engine(kind: str, shape: tuple[int, int, int]) -> None:
    results = []
    shape = shape_of(kind, shape)
    for engine, maps in ENGINES:
        kernel = UserKernel("6.18", engine=engine, maps=maps)
        fd, item = create(kernel, kind, *shape)
        assert bool(item.fast()) == (maps == "native")
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
    shape = shape_of(kind, shape)
    rng = random.Random(f"{kind} {shape}")
    kernels = [UserKernel("6.18", maps=maps, cpus=3) for maps in ("native", "python")]
    pair = [create(kernel, kind, *shape) for kernel in kernels]
    size, wide = shape[0], pair[0][1].user_value_size
    assert pair[0][1].fast() and not pair[1][1].fast()
    keys = random_keys(rng, kind, size, shape[2] * 2)
    for _ in range(300):
        what = rng.choice(("update", "update", "lookup", "delete", "take", "next", "program", "batch", "walk", "drain"))
        flags, count, cpu = rng.choice((0, 0, 1, 2)), rng.randrange(1, 9), rng.randrange(3)
        some = [rng.choice(keys) for _ in range(count)]
        values = rng.randbytes(count * wide)
        outcomes = []
        for kernel, (fd, item) in zip(kernels, pair, strict=True):
            key, value = some[0], values[:wide]
            room, names, place = bytearray(count * wide), bytearray(count * size), bytearray(max(4, size))
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
                outcomes.append(item.update(key, value[: shape[1]], flags, cpu))
                address = item.lookup(key, cpu)
                outcomes.append(kernel.memory.read(address, shape[1]) if address else b"")
                assert kind == "lpm_trie" or len(item.elements(cpu)) == len(contents(item))
                continue
            try:
                kernel.bpf(attr)
                error = 0
            except KernelError as refused:
                error = refused.errno
            done = attr.get("count") if "BATCH" in attr.command.name else 0
            outcomes.append((error, done, bytes(room), bytes(names), bytes(place)))
        half = len(outcomes) // 2
        assert outcomes[:half] == outcomes[half:], what
        assert contents(pair[0][1]) == contents(pair[1][1]), what


def walked(kernel: UserKernel, kind: str, seed: int) -> list[object]:
    """A walk whose every step changes the map at random, and what is left."""
    rng = random.Random(seed)
    entries = rng.choice((4, 8, 12))
    _, item = create(kernel, kind, 1, 8, entries)
    keys = [bytes([n]) for n in range(2 * entries)]
    for key in rng.sample(keys, entries):
        item.update(key, bytes(8), 0, 0)
    seen: list[object] = []
    for step, (name, _address) in enumerate(item.each(0)):
        assert step < entries, "the walk does not end"
        seen.append(bytes(kernel.memory.read(name, 1)) if isinstance(name, int) else name)
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            key = rng.choice(keys)
            seen.append(item.delete(key) if rng.random() < 0.3 else item.update(key, bytes(8), 0, 0))
            if rng.random() < 0.3:
                item.lookup(key)
    return [*seen, contents(item)]


@pytest.mark.parametrize("kind", KINDS[:4])
def test_walks_while_the_map_changes(kind: str) -> None:
    """LRU maps drop elements and use them again, for keys that are elsewhere in the order, during a walk, too."""
    python, native = UserKernel(maps="python"), UserKernel(maps="native")
    lengths = set()
    for seed in range(400):
        expected = walked(python, kind, seed)
        assert walked(native, kind, seed) == expected, seed
        lengths.add(len(expected))
    assert len(lengths) > 10


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


@pytest.mark.parametrize("kind", ["queue", "stack", "bloom_filter"])
@pytest.mark.parametrize("size", [1, 8, 13, 40])
def test_keyless(kind: str, size: int) -> None:
    """Programs of every engine and user space, in turn."""
    rng = random.Random(f"{kind} {size}")
    values = [rng.randbytes(size) for _ in range(30)]
    steps = [(rng.choice((0, 0, 1, 2)), rng.choice((0, 0, 0, 2, 1)), rng.choice(values)) for _ in range(120)]
    results = []
    for engine, maps in ENGINES:
        kernel = UserKernel("6.18", engine=engine, maps=maps)
        entries, seed = (200, BPF_F_ZERO_SEED) if kind == "bloom_filter" else (7, 0)
        fd, item = create(kernel, kind, 0, size, entries, map_flags=seed)
        assert bool(item.fast()) == (maps == "native")
        pops = 89 if kind == "bloom_filter" else 88
        programs = [keyless_program(kernel, fd, helper) for helper in (87, pops, 89)]
        seen: list[object] = []
        for number, (what, flags, value) in enumerate(steps):
            packet = struct.pack("<II", 0, flags) + bytes(SECTIONS - 8) + value
            seen.append(run_packet(kernel, programs[what], packet.ljust(112, b"\0")).verdict)
            if number % 3 == 0 and kind == "bloom_filter":
                seen.append(item.contains(value))  # type: ignore[attr-defined]
            elif number % 3 == 0:
                seen += [item.read(b"", 0), item.write(b"", value, flags, None), item.take(b"", 0)]
        results.append(seen)
    if kind == "bloom_filter":  # another hash: what was pushed is found, little else
        assert results[0] == results[1]
        assert len([1 for one, two in zip(results[0], results[2], strict=True) if one != two]) < 5
    else:
        assert results[0] == results[1] == results[2]


def keyless_program(kernel: UserKernel, fd: int, helper: int) -> int:
    """Pushes, pops or peeks a value; the verdict is the result, and the value's first byte."""
    end = [b.ldx("u8", 1, 10, -64), b.lsh(0, 8), b.or_(0, b.R1), b.exit_()]
    insns = b.program(
        b.ldx("u32", 6, 1, 0), b.ldx("u32", 2, 1, 4), b.mov(3, b.R6), b.add(3, 112), b.jmp("<=", 3, b.R2, 2),
        b.mov(0, 0), b.exit_(),
        [insn for at in range(0, 40, 8) for insn in (b.ldx("u64", 4, 6, SECTIONS + at), b.stx("u64", 10, at - 64, 4))],
        b.ldx("u32", 3, 6, 4), b.mov(2, b.R10), b.add(2, -64), b.ld_imm64(1, fd, 1), b.call(helper), end,
    )  # fmt: skip
    return kernel.bpf(
        Attr("BPF_PROG_LOAD", prog_type=6, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0")
    )


@pytest.mark.parametrize("engine", ["native", "fast"])
@pytest.mark.parametrize("kind", ["array", "hash"])
def test_maps_in_maps_are_not_their_template(engine: str, kind: str) -> None:
    """The program names the map that later inner maps must be like: look-ups in those are not look-ups in it."""
    kernel = UserKernel("6.18", engine=engine)
    template, other = Handle.create(kernel, kind, 4, 8, 1), Handle.create(kernel, kind, 4, 8, 1)
    outer = Handle.create(kernel, f"{kind}_of_maps", 4, 4, 1, inner=template)
    template[0], other[0], outer[0] = 3, 7, other
    key = b.program(b.mov(2, b.R10), b.add(2, -4))
    insns = b.program(
        b.st("u32", 10, -4, 0),
        b.ld_imm64(1, outer.fd, 1), key, b.call(1), b.jmp("!=", 0, 0, 2), b.mov(0, 0), b.exit_(),
        b.mov(1, b.R0), key, b.call(1), b.jmp("!=", 0, 0, 2), b.mov(0, 0), b.exit_(), b.ldx("u64", 6, 0, 0),
        b.ld_imm64(1, template.fd, 1), key, b.call(1), b.jmp("!=", 0, 0, 2), b.mov(0, 0), b.exit_(),
        b.ldx("u64", 0, 0, 0), b.mul(6, 10), b.add(0, b.R6), b.exit_(),
    )  # fmt: skip
    program = kernel.bpf(
        Attr("BPF_PROG_LOAD", prog_type=6, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0")
    )
    assert run_packet(kernel, program, bytes(64)).verdict == 73
