"""Words about bytes and order mean the same in plain Python, in native code and in BPF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from readings import compiled, plain

from bombus import bpf
from bombus.bpf import Array, Ref, Struct, array, s64, u8, u16, u32, u64
from bombus.bpf.machine import machine
from bombus.compiler.build import build_source
from bombus.compiler.host import module_parts, module_text, native, native_module
from bombus.compiler.importing import import_source
from bombus.errors import DialectError, NotSupported, UsageError, VmFault
from bombus.kernel.api import Kernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.vm.memory import Region

counter = bpf.var(u64(5))


class Bucket(Struct):
    head: u64
    used: u32
    lock: u32


class Table(Struct):
    buckets: u64  # address of the first
    mask: u64


class Pair(Struct):
    left: Array[u8] = array(13)
    right: Array[u8] = array(13)


def make_lookup(key_size: int, value_size: int) -> Callable[[Table, u64, u64], u64]:
    """Elements: next (u64), hash (u64), key, value."""
    value_at = 16 + (key_size + 7) // 8 * 8

    def lookup(table: Table, key: u64, hashed: u64) -> u64:
        bucket = bpf.at(table.buckets + (hashed & table.mask) * bpf.sizeof(Bucket), Bucket)
        element = bpf.load_acquire(bpf.ref(bucket, "head", u64))
        while element != 0:
            if bpf.at(element + 8, u64).value == hashed and bpf.equal(element + 16, key, key_size):
                return element + value_at
            element = bpf.at(element, u64).value
        return u64(0)

    return lookup


def push(table: Table, element: u64, hashed: u64) -> u32:
    bucket = bpf.at(table.buckets + (hashed & table.mask) * bpf.sizeof(Bucket), Bucket)
    lock = bpf.ref(bucket, "lock", u32)
    while bpf.compare_exchange(lock, 0, 1) != 0:
        pass
    bpf.at(element, u64).value = bucket.head
    bpf.at(element + 8, u64).value = hashed
    bpf.store_release(bpf.ref(bucket, "head", u64), element)
    bpf.atomic(bucket).used += 1
    bpf.store_release(lock, 0)
    counter.value += 1
    return bpf.read_once(bpf.ref(bucket, "used", u32))


def total(first: u64, count: u64) -> u64:
    numbers = bpf.span(first, u32, count)
    found = u64(0)
    for i in range(u32(count)):
        found += u64(numbers[i])
    return found


def bytes_of(first: u64) -> u32:
    found = u32(0)
    for i in bpf.unroll(range(0, 8, 2)):
        found = found << 8 | u32(bpf.at(first + i, u8).value)
    return found


def six(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> u64:
    return a + b * 2 + c * 3 + d * 4 + e * 5 + f * 6


def moves(pair: Pair, n: u64, byte: u8) -> s64:
    bpf.fill(pair.left, byte, n)
    bpf.copy(bpf.address(pair.left) + 3, pair.left, n)
    return bpf.compare(pair.left, pair.right, 13) * 4 + s64(bpf.equal(pair.left, pair.right, 5))


def write(place: Ref[u64], value: u64) -> u64:
    bpf.write_once(place, value)
    return bpf.load_acquire(place) + 1


class Room:
    """Memory of the machine that is used in plain Python, at its real address."""

    def __init__(self, size: int) -> None:
        import ctypes

        self.bytes = memoryview(bytearray(size))
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))
        self.region = Region(self.start, size, self.bytes, "test memory", "map", True, keep=self.bytes)

    def __enter__(self) -> Room:
        machine().memory.add(self.region)
        return self

    def __exit__(self, *error: object) -> None:
        machine().memory.remove(self.region)


@pytest.mark.parametrize("key_size", [1, 4, 8, 16, 37])
def test_a_hash_table_over_raw_memory(key_size: int) -> None:
    lookup = make_lookup(key_size, 8)
    stride = 16 + (key_size + 7) // 8 * 8 + 8
    fast = native_module({"lookup": lookup, "push": push})
    ways: list[tuple[Any, Any]] = [(lookup, push), (fast["lookup"], fast["push"])]
    seen = []
    for find, add in ways:
        with Room(4096) as room:
            at = room.start
            table = Table(buckets=u64(at), mask=u64(3))
            counter.value = u64(0)
            used = []
            for number in range(12):
                element = at + 256 + number * stride
                offset = element - at + 16
                room.bytes[offset : offset + key_size] = bytes([number]).ljust(key_size, b"k")
                used.append(int(add(table, u64(element), u64(number * 7))))
            answers = []
            for number in range(14):
                key = at + 3000
                room.bytes[3000 : 3000 + key_size] = bytes([number]).ljust(key_size, b"k")
                answers.append(max(int(find(table, u64(key), u64(number * 7))) - at, -1))
            seen.append((used, answers, int(counter.value)))
    assert seen[0] == seen[1]
    assert seen[0][1][3] == 256 + 3 * stride + stride - 8
    assert seen[0][1][12:] == [-1, -1]
    assert seen[0][2] == 12


def test_spans_and_unrolled_loops() -> None:
    with Room(400) as room:
        room.bytes[:] = bytes(range(200)) * 2
        for count in (0, 1, 7, 100):
            assert native(total)(u64(room.start), u64(count)) == total(u64(room.start), u64(count))
        assert native(bytes_of)(u64(room.start)) == bytes_of(u64(room.start)) == 0x00020406
        with pytest.raises(VmFault):
            total(u64(room.start), u64(101))
        with pytest.raises(VmFault):
            bpf.at(u64(0), u32)


def test_bytes_are_filled_copied_compared() -> None:
    for n in range(11):
        for byte in (0, 1, 200):
            with Room(64) as room:
                one, two = Pair._at(room.bytes[:26], room.start), Pair._at(room.bytes[32:58], room.start + 32)
                for pair in (one, two):
                    pair._view[:] = bytes([1] * 20 + [9] * 6)
                assert moves(one, u64(n), u8(byte)) == native(moves)(two, u64(n), u8(byte))
                assert bytes(one) == bytes(two)


def test_more_than_five_parameters() -> None:
    assert native(six)(1, 2, 3, 4, 5, 6) == six(*map(u64, range(1, 7))) == 91


def test_orders() -> None:
    place = bpf.local(u64(4))
    assert native(write)(place, u64(9)) == 10
    assert place.value == 9


def test_text_for_other_modules() -> None:
    import llvmlite.binding as llvm

    parts = module_parts(
        {"lookup_4": make_lookup(4, 8), "lookup_16": make_lookup(16, 8), "push": push},
        linkage="linkonce_odr", attributes="alwaysinline", prefix="bombus.map.", globals_at={"counter": 0x1000},
    )  # fmt: skip
    assert parts.names == ("lookup_4", "lookup_16", "push")
    assert "define linkonce_odr i64 @lookup_4(ptr %p0, i64 %p1, i64 %p2) nounwind alwaysinline {" in parts.definitions
    assert "!dbg" not in str(parts)
    assert "inttoptr (i64 4096 to ptr)" in parts.definitions
    callers = f"""
    target datalayout = "{parts.layout}"
    target triple = "{parts.triple}"
    declare i64 @lookup_4(ptr, i64, i64)
    define i64 @use(ptr %t) {{
      %r = call i64 @lookup_4(ptr %t, i64 1, i64 2)
      ret i64 %r
    }}
    """
    from bombus.compiler.host import _machine, optimise

    whole = llvm.parse_assembly(callers)
    whole.link_in(llvm.parse_assembly(str(parts)))
    optimise(whole, _machine())
    text = str(whole)
    assert "call" not in text.partition("define i64 @use")[2].partition("\n}")[0]
    assert "@lookup_16" not in text  # nobody calls it


def test_loops_become_vectors() -> None:
    import llvmlite.binding as llvm

    from bombus.compiler.host import _machine, optimise

    module = llvm.parse_assembly(module_text([total]))
    optimise(module, _machine())
    assert " x i32>" in str(module) or " x i64>" in str(module)


def test_the_same_text_is_compiled_once() -> None:
    assert native(six).address == native(six).address


def test_refusals() -> None:
    with pytest.raises(UsageError, match="two functions are called lookup"):
        module_text([make_lookup(1, 1), make_lookup(2, 2)])
    with pytest.raises(UsageError, match="'common' is no linkage"):
        module_text([six], linkage="common")
    with pytest.raises(UsageError, match="no function is given"):
        module_text([])
    with pytest.raises(UsageError, match="table is a Table; functions are compiled"):
        module_text({"table": Table()})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="one function is given twice"):
        module_text({"a": six, "b": six})
    with pytest.raises(NotSupported, match="this signature in native code is not supported: pairs has tuple"):
        module_text([pairs])
    with pytest.raises(DialectError, match="u16 is shifted by 0 to 15 bits, not 16"):
        native(shifts)
    with pytest.raises(UsageError, match="copy from: 9 bytes of 8"):
        bpf.copy(bpf.local(u64(1)), bpf.local(u64(1)), 9)
    with pytest.raises(UsageError, match="a variable of plain Python has no address"):
        bpf.address(bpf.local(u64(1)))


def pairs(a: u32) -> tuple[u32, u32]:
    return a, a


def shifts(a: u16) -> u64:
    return u64(a << (1 << 4))


BPF = """
from __future__ import annotations
from bombus import bpf
from bombus.bpf import Array, Struct, array, map, s64, u8, u32, u64, xdp

class Pair(Struct):
    left: Array[u8] = array(13)
    right: Array[u8] = array(13)
    words: Array[u64] = array(4)
    more: Array[u64] = array(4)

state = bpf.var(Pair)
answers = map.array(u32, s64, max_entries=8)
place = bpf.var(u64(3))

@xdp
def f(ctx: xdp.Context) -> xdp.Action:
    pair = ctx.parse(Pair)
    if pair is None:
        return xdp.DROP
    answers.update(0, bpf.compare(pair.left, pair.right, 13))
    answers.update(1, bpf.compare(pair.words, pair.more, 32))
    answers.update(2, s64(bpf.equal(pair.left, pair.right, 3)))
    answers.update(3, s64(bpf.equal(pair.words, pair.more, 32)))
    copied = pair.copy()
    bpf.copy(state.left, copied.right, 9)
    bpf.copy(copied.right, pair.left, 13)
    bpf.fill(copied.words, u8(7), 20)
    answers.update(4, bpf.compare(copied, pair, bpf.sizeof(Pair)))
    answers.update(5, s64(bpf.equal(state, copied, 0)))
    bpf.write_once(place, bpf.read_once(place) + 1)
    found = u64(0)
    for i in bpf.unroll(range(3, -1, -1)):
        found = found * 3 + copied.words[i]
    answers.update(6, s64(found))
    return xdp.PASS
"""
PACKETS = [bytes(99), bytes(range(99)), bytes(range(13)) * 2 + b"\1" * 37 + b"\2" * 33, b"\xff" * 13 + b"\0" * 90]


def test_the_same_in_bpf(kernel: Kernel) -> None:
    from readings import compiled, plain

    from bombus.compiler.importing import import_source

    module = import_source(BPF, "<bytes>")
    expected = plain(module, module.f, PACKETS)
    seen = compiled(module, module.f, PACKETS, kernel)
    assert seen.verdicts == expected.verdicts == [2, 2, 2, 2]
    assert seen.maps == expected.maps


ORDERED = """
from __future__ import annotations
from bombus import bpf
from bombus.bpf import u64, xdp

place = bpf.var(u64(3))

@xdp
def f(ctx: xdp.Context) -> xdp.Action:
    bpf.store_release(place, bpf.load_acquire(place) + 1)
    return xdp.PASS
"""


def test_order_needs_v4(linux_kernel: Kernel) -> None:
    with pytest.raises(DialectError, match="load_acquire is an instruction of cpu v4"):
        build_source(ORDERED, "ordered.py")
    with load(read_object(build_source(ORDERED, "ordered.py", cpu="v4")), linux_kernel) as loaded:
        loaded.programs["f"].test_run(bytes(64))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("place.value = bpf.fetch_add(place, 1)", "fetch_add, which gives the old value, is an instruction of cpu v3"),
        ("place.value = bpf.exchange(place, 1)", "exchange, which gives the old value, is an instruction of cpu v3"),
        ("bpf.atomic(small).value |= 1", "an atomic |= of 32 bits is an instruction of cpu v3"),
    ],
)
def test_old_cpus_have_fewer_atomics(line: str, message: str) -> None:
    text = ORDERED.replace("bpf.store_release(place, bpf.load_acquire(place) + 1)", line).replace(
        "place = ", "small = bpf.var(u32(1))\nplace = "
    )
    text = text.replace("import u64", "import u32, u64")
    with pytest.raises(DialectError) as caught:
        build_source(text, "order.py", cpu="v2")
    assert message in str(caught.value) and "help: build with --mcpu v3" in str(caught.value)
    build_source(text, "order.py", cpu="v3")
    build_source(text.replace(line, "bpf.atomic(place).value |= 1\n    bpf.atomic(small).value += 1"), cpu="v1")


LATE = """
from __future__ import annotations
from bombus import bpf
from bombus.bpf import Array, Struct, array, map, u32, u64, xdp

class Row(Struct):
    cells: Array[u64] = array(2)

total = bpf.var(u64(1))
rows = map.array(u32, Row, max_entries=1)

@bpf.noinline
def change(by: u64) -> u64:
    total.value += by * 100
    return by

@xdp
def f(ctx: xdp.Context) -> xdp.Action:
    bpf.atomic(total).value += change(u64(7))
    bpf.atomic(total).value ^= change(u64(2))
    row = rows.lookup(0)
    if row is not None:
        bpf.atomic(row.cells)[1] -= total.value
    return xdp.Action(u32(total.value))
"""


def test_an_atomic_change_reads_when_the_right_side_is_known(kernel: Kernel) -> None:
    module = import_source(LATE, "late.py")
    expected = plain(module, module.f, PACKETS[:1])
    assert expected.verdicts == [(1 + 700 + 7 + 200) ^ 2]
    seen = compiled(module, module.f, PACKETS[:1], kernel)
    assert (seen.verdicts, seen.maps) == (expected.verdicts, expected.maps)


def test_an_atomic_place_is_only_changed() -> None:
    with pytest.raises(UsageError, match="goes with"):
        bpf.atomic(bpf.local(u64(1))).value = u64(2)
