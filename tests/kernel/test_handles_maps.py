"""Maps as Python mappings: the same expectations on the user kernel and on Linux."""

from __future__ import annotations

import errno
import gc
import pickle
import random
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bombus.btf.build import Builder
from bombus.btf.data import TypedValue
from bombus.btf.layouts import IntLayout
from bombus.btf.types import Array, Int, Member, Struct
from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import Map, Program, ids, map_type_of, read_info
from bombus.spec.maptypes import BPF_EXIST, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST

RETURN_2 = bytes.fromhex("b7000000020000009500000000000000")
HASHES = ("hash", "lru_hash", "percpu_hash", "lru_percpu_hash")


def fails(number: int, call: Any, *args: Any, **named: Any) -> KernelError:
    with pytest.raises(KernelError) as caught:
        call(*args, **named)
    assert caught.value.errno == number, caught.value
    return caught.value


@pytest.mark.parametrize("kind", ["hash", "lru_hash"])
def test_dict_of_ints(kernel: Kernel, kind: str) -> None:
    with Map.create(kernel, kind, 4, 8, 100, name="numbers") as item:
        assert len(item) == 0 and list(item) == [] and dict(item) == {}
        item[7] = 70
        item[0xFFFF_FFFF] = -1
        assert item[7] == 70 and item[0xFFFF_FFFF] == 0xFFFF_FFFF_FFFF_FFFF
        assert 7 in item and 8 not in item and item.get(8) is None and item.get(8, 5) == 5
        assert sorted(item) == [7, 0xFFFF_FFFF] and len(item) == 2
        assert dict(item.items()) == dict(item) == {7: 70, 0xFFFF_FFFF: (1 << 64) - 1}
        with pytest.raises(KeyError):
            item[8]
        with pytest.raises(KeyError):
            del item[8]
        del item[7]
        assert 7 not in item
        assert item.pop(0xFFFF_FFFF) == (1 << 64) - 1 and item.pop(1, "none") == "none"
        item.update({1: 1, 2: 4})
        assert item.setdefault(1, 9) == 1 and item.setdefault(3, 9) == 9
        item.clear()
        assert len(item) == 0 and bool(item)
        assert item.name == "numbers" and item.type.short == kind


def test_flags_and_errnos(kernel: Kernel) -> None:
    item = Map.create(kernel, "hash", 4, 4, 2)
    fails(errno.ENOENT, item.store, 1, 1, flags=BPF_EXIST)
    item.store(1, 1, flags=BPF_NOEXIST)
    fails(errno.EEXIST, item.store, 1, 2, flags=BPF_NOEXIST)
    fails(errno.EINVAL, item.store, 1, 2, flags=64)
    assert item[1] == 1, "flags of one call must not stay for the next"
    item[1] = 3
    item[2] = 2
    fails(errno.E2BIG, item.store, 3, 3)
    assert fails(errno.ENOENT, item.lookup, 9).call == "BPF_MAP_LOOKUP_ELEM"
    assert item.lookup_and_delete(1) == 3
    with pytest.raises(KeyError):
        item.lookup_and_delete(1)


def test_bytes_and_sizes(kernel: Kernel) -> None:
    item = Map.create(kernel, "hash", 6, 3, 8)
    item[b"abcdef"] = b"xyz"
    assert item[b"abcdef"] == b"xyz" and list(item) == [b"abcdef"]
    for key, value in ((b"abc", b"xyz"), (b"abcdef", b"xy"), (5, b"xyz"), (b"abcdef", "xyz")):
        with pytest.raises(UsageError):
            item[key] = value
    small = Map.create(kernel, "hash", 2, 1, 8)
    for key, value in ((70000, 1), (1, 256), (1, -129)):
        with pytest.raises(UsageError):
            small[key] = value
    small[1] = -128
    assert small[1] == 128
    assert small.raw[b"\1\0"] == b"\x80"


def test_array(kernel: Kernel) -> None:
    item = Map.create(kernel, "array", 4, 4, 5)
    assert len(item) == 5 and list(item) == [0, 1, 2, 3, 4] and list(item.values()) == [0] * 5
    item[3] = 33
    assert dict(item.items()) == {0: 0, 1: 0, 2: 0, 3: 33, 4: 0}
    with pytest.raises(KeyError):
        item[5]
    fails(errno.E2BIG, item.store, 5, 1)
    fails(errno.EINVAL, item.raw.delete, bytes(4))
    fails(errno.EEXIST, item.store, 0, 1, flags=BPF_NOEXIST)


@pytest.mark.parametrize("kind", ["percpu_hash", "percpu_array", "lru_percpu_hash"])
@pytest.mark.parametrize("size", [1, 4, 8, 12])
def test_per_cpu_values(kernel: Kernel, kind: str, size: int) -> None:
    item = Map.create(kernel, kind, 4, size, 64)
    cpus = kernel.possible_cpus
    given: list[Any] = [(bytes([cpu + 1]) * size if size == 12 else cpu + 1) for cpu in range(cpus)]
    item[3] = given
    assert item[3] == given
    assert item.raw.slot % 8 == 0 and len(item.raw[(3).to_bytes(4, "little")]) == item.raw.slot * cpus
    for wrong in (given[0] if size != 12 else 5, given + given[:1], b"short"):
        with pytest.raises(UsageError):
            item[3] = wrong
    assert dict(item.items())[3] == given
    assert item.update_batch({1: given, 3: given}) == 2
    assert item[1] == given


def test_iteration_survives_changes(kernel: Kernel) -> None:
    item = Map.create(kernel, "hash", 4, 4, 4000, flags=BPF_F_NO_PREALLOC)
    item.update_batch({i: i for i in range(2000)})
    seen = []
    for key in item:  # the current key goes: the kernel starts again from the first
        seen.append(key)
        del item[key]
    assert sorted(seen) == list(range(2000)) and len(item) == 0
    item.update_batch({i: i for i in range(500)})
    seen = []
    for key in item:  # keys come while we look
        seen.append(key)
        if len(seen) < 1000:
            item[10000 + len(seen)] = 0
    assert len(seen) == len(set(seen)) and set(range(500)) <= set(seen) and len(seen) <= 10000


@pytest.mark.parametrize("count", [0, 1, 5, 5000])
def test_batches(kernel: Kernel, count: int) -> None:
    item = Map.create(kernel, "hash", 4, 8, 6000)
    rows = {i * 7: i for i in range(count)}
    assert item.update_batch(rows) == count
    assert dict(item.lookup_batch()) == rows
    assert item.update_batch(list(rows.items()), flags=0) == count
    gone = list(rows)[: count // 2]
    assert item.delete_batch(gone) == len(gone)
    left = {k: v for k, v in rows.items() if k not in set(gone)}
    assert dict(item.lookup_and_delete_batch()) == left
    assert len(item) == 0
    error = fails(errno.ENOENT, item.delete_batch, [1])
    assert getattr(error, "count", 0) == 0


@pytest.mark.parametrize("sizes", [(1, 8), (2, 4), (4, 1), (8, 2), (4, 12), (3, 8)])
@pytest.mark.parametrize("signed", [None, False, True])
def test_batches_are_many_single_operations(kernel: Kernel, sizes: tuple[int, int], signed: bool | None) -> None:
    """Plain numbers go as they lie in memory; the results are those of one element at a time."""
    if signed is not None and not {*sizes} <= {1, 2, 4, 8}:
        pytest.skip("no such integers in C")
    types = None
    if signed is not None:
        types = IntLayout("k", sizes[0], "little", signed=signed), IntLayout("v", sizes[1], "little", signed=signed)
    one, many = (Map.create(kernel, "hash", *sizes, 300, types=types) for _ in range(2))
    rng = random.Random(1)
    low = 1 if signed else 0

    def number(size: int) -> Any:
        if size not in (1, 2, 4, 8):
            return rng.randbytes(size)
        top = 1 << 8 * size - low
        return rng.choice([0, 1, top - 1, rng.randrange(top), -rng.randrange(1, top) if signed else True])

    rows = {number(sizes[0]): number(sizes[1]) for _ in range(200)}
    for key, value in rows.items():
        one[key] = value
    assert many.update_batch(rows) == len(rows)
    expected = dict(sorted(one.raw.items()))
    assert dict(sorted(many.raw.items())) == expected
    found = dict(many.lookup_batch())
    assert found == {many.key_value(key): many.value(value) for key, value in expected.items()}
    assert [type(value) for value in found.values()] == [type(one[key]) for key in found]
    mixed = [(many.key_bytes(key) if number_ % 2 else key, value) for number_, (key, value) in enumerate(rows.items())]
    assert many.update_batch(iter(mixed)) == len(mixed) and dict(sorted(many.raw.items())) == expected
    key, value = next(iter(rows.items()))
    for wrong in ({key: 1 << 8 * sizes[1]}, {1 << 8 * sizes[0]: value}, {key: 1.5}, {key: "x"}):
        with pytest.raises(UsageError):
            many.update_batch(wrong)
        assert dict(sorted(many.raw.items())) == expected
    fails(errno.EEXIST, many.update_batch, {key: value}, flags=BPF_NOEXIST)
    assert many.update_batch({key: value}, flags=BPF_EXIST) == 1
    assert many.raw.has_batch("BPF_MAP_UPDATE_BATCH")  # that there is no batch with such a flag says nothing of others
    assert many.delete_batch(found) == len(found) and not list(many.lookup_batch())


def test_batches_out_of_a_map(kernel: Kernel) -> None:
    """Another map is read once, as it is then."""
    one, other = Map.create(kernel, "hash", 4, 4, 100), Map.create(kernel, "hash", 4, 4, 100)
    one.update_batch({i: 3 * i for i in range(50)})
    assert other.update_batch(one) == 50 and dict(other.items()) == dict(one.items())


def test_batch_in_one_bucket(kernel: Kernel) -> None:
    # Batches walk by hash buckets: a full one may need more room than was asked for.
    item = Map.create(kernel, "hash", 4, 4, 4)
    item.update_batch({1: 1, 2: 2, 3: 3, 4: 4})
    item.raw.max_entries = 1
    assert dict(item.lookup_batch()) == {1: 1, 2: 2, 3: 3, 4: 4}


def test_without_batches(kernel: Kernel) -> None:
    class Old:
        """A kernel from before 5.6: no batches."""

        def __getattr__(self, name: str) -> Any:
            return getattr(kernel, name)

        def bpf(self, attr: Attr) -> int:
            if attr.command.name.endswith("_BATCH"):
                raise KernelError(errno.EINVAL, attr.command.name)
            return kernel.bpf(attr)

    item = Map.create(Old(), "hash", 4, 4, 100)  # type: ignore[arg-type]
    rows = {i: i + 1 for i in range(50)}
    assert item.update_batch(rows) == 50 and dict(item.lookup_batch()) == rows
    assert item.delete_batch(range(10)) == 10
    assert dict(item.lookup_and_delete_batch()) == {i: i + 1 for i in range(10, 50)}


def test_lpm_trie(kernel: Kernel) -> None:
    item = Map.create(kernel, "lpm_trie", 8, 4, 16, flags=BPF_F_NO_PREALLOC)
    key = (24).to_bytes(4, "little") + bytes([10, 0, 1, 0])
    item[key] = 5
    assert item[(32).to_bytes(4, "little") + bytes([10, 0, 1, 77])] == 5
    assert list(item.raw) == [key] and dict(item.raw.items()) == {key: (5).to_bytes(4, "little")}
    with pytest.raises(KeyError):
        item[(32).to_bytes(4, "little") + bytes([10, 0, 2, 77])]
    del item[key]
    assert len(item) == 0


@pytest.mark.parametrize(("kind", "order"), [("queue", [1, 2, 3]), ("stack", [3, 2, 1])])
def test_queue_and_stack(kernel: Kernel, kind: str, order: list[int]) -> None:
    item = Map.create(kernel, kind, 0, 8, 3)
    for value in (1, 2, 3):
        item.push(value)
    fails(errno.E2BIG, item.push, 4)
    assert item.peek() == order[0]
    assert [item.pop_value() for _ in range(3)] == order
    for empty in (item.pop_value, item.peek):
        with pytest.raises(IndexError):
            empty()
    with pytest.raises(UsageError):
        list(item)
    with pytest.raises(UsageError):
        Map.create(kernel, "hash", 4, 4, 4).push(1)


def test_bloom_filter(kernel: Kernel) -> None:
    item = Map.create(kernel, "bloom_filter", 0, 8, 100, map_extra=3)
    item.push(5)
    assert item.contains_value(5)
    assert sum(item.contains_value(i) for i in range(1000, 2000)) < 500


@pytest.mark.parametrize("kind", ["array_of_maps", "hash_of_maps"])
def test_maps_of_maps(kernel: Kernel, kind: str) -> None:
    inner = Map.create(kernel, "hash", 4, 4, 10, name="inner")
    outer = Map.create(kernel, kind, 4, 4, 4, inner=inner)
    outer[1] = inner
    inner[5] = 55
    with outer[1] as found:
        assert isinstance(found, Map) and found.id == inner.id and found[5] == 55
    with pytest.raises(KeyError):
        outer[2]
    fails(errno.EINVAL, outer.store, 2, Map.create(kernel, "hash", 4, 8, 10))
    del outer[1]
    assert 1 not in outer
    fails(errno.EBADF, Map.create, kernel, kind, 4, 4, 4, inner=-1)


def test_program_array(kernel: Kernel) -> None:
    item = Map.create(kernel, "prog_array", 4, 4, 4)
    program = Program.load(kernel, "xdp", RETURN_2)
    item[0] = program
    with item[0] as found:
        assert isinstance(found, Program) and found.id == program.id
    with pytest.raises(KeyError):
        item[1]
    with pytest.raises(UsageError):
        Map.create(kernel, "hash", 4, 8, 4)[1] = Map.create(kernel, "hash", 4, 4, 4)
    del item[0]


def types() -> tuple[Any, int, int]:
    builder = Builder()
    u32 = builder.add(Int("unsigned int", 4))
    char = builder.add(Int("char", 1, 1))
    name = builder.add(Array(char, u32, 4))
    pair = builder.add(Struct("pair", 12, (Member("a", u32, 0), Member("b", u32, 32), Member("name", name, 64))))
    return builder.build(), u32, pair


def test_typed_values(kernel: Kernel) -> None:
    btf, u32, pair = types()
    item = Map.create(kernel, "hash", 4, 12, 10).with_types(btf, u32, pair)
    item[1] = {"a": 5, "b": 6, "name": "abc"}
    value = item[1]
    assert isinstance(value, TypedValue) and (value.a, value.b) == (5, 6)
    assert bytes(value)[8:] == b"abc\0"
    item[2] = value
    assert bytes(item[2]) == bytes(value)
    with pytest.raises(UsageError):
        item[3] = {"nothing": 1}
    with pytest.raises(UsageError):
        item.with_types(btf, pair, u32)
    each = Map.create(kernel, "percpu_array", 4, 12, 2).with_types(btf, 0, pair)
    each[1] = [{"a": cpu} for cpu in range(kernel.possible_cpus)]
    assert [v.a for v in each[1]] == list(range(kernel.possible_cpus))
    view = each.numpy()
    assert view.shape == (2, kernel.possible_cpus) and list(view[1]["a"]) == list(range(kernel.possible_cpus))


def test_numpy(kernel: Kernel) -> None:
    live = Map.create(kernel, "array", 4, 4, 1000, flags=BPF_F_MMAPABLE)
    view = live.numpy()
    view[:] = range(1000)
    assert live[999] == 999
    live[5] = 12345
    assert view[5] == 12345 and view.sum() == sum(range(1000)) - 5 + 12345
    live.close()
    assert view[5] == 12345, "a mapping outlives the descriptor"
    copy = Map.create(kernel, "array", 4, 8, 10)
    copy[3] = 9
    array = copy.numpy()
    assert list(array) == [0, 0, 0, 9, 0, 0, 0, 0, 0, 0]
    array[0] = 1
    assert copy[0] == 0
    with pytest.raises(NotSupported):
        Map.create(kernel, "hash", 4, 4, 1).numpy()


def test_freeze(kernel: Kernel) -> None:
    item = Map.create(kernel, "array", 4, 4, 4, flags=BPF_F_MMAPABLE)
    item[0] = 1
    item.freeze()
    fails(errno.EPERM, item.store, 0, 2)
    assert item[0] == 1
    fails(errno.EPERM, item.freeze)
    fails(errno.EPERM, item.mmap)
    assert item.numpy(writable=False)[0] == 1


def test_info_and_ids(kernel: Kernel) -> None:
    item = Map.create(kernel, "hash", 4, 8, 77, name="described", flags=BPF_F_NO_PREALLOC)
    info = item.info()
    assert (info.key_size, info["value_size"], info.max_entries, info.name) == (4, 8, 77, "described")
    assert info.map_flags == BPF_F_NO_PREALLOC and set(info) >= {"type", "id", "btf_id"} and len(info) > 10
    with pytest.raises(AttributeError):
        info.nothing  # noqa: B018
    assert item.id in set(ids(kernel, "map"))
    with Map.from_id(kernel, item.id) as again:
        again[1] = 1
        assert item[1] == 1 and again.id == item.id and again is not item
    fails(errno.ENOENT, Map.from_id, kernel, 0x7FFF_FFFE)
    with pytest.raises(UsageError):
        list(ids(kernel, "sheep"))
    fails(errno.EBADFD, read_info, kernel, 0x7FFF_FFF0, "bpf_map_info")


def test_closed_handles(kernel: Kernel) -> None:
    item = Map.create(kernel, "hash", 4, 4, 4)
    item[1] = 1
    item.close()
    item.close()
    assert item.closed and "closed" in repr(item)
    for call in (lambda: item[1], lambda: item.__setitem__(1, 1), item.info, lambda: len(item), lambda: item.fd,
                 item.freeze, lambda: item.pin("/nowhere"), lambda: list(item.items()),
                 lambda: item.update_batch({1: 1})):  # fmt: skip
        with pytest.raises(UsageError):
            call()
    with pytest.raises(UsageError):
        pickle.dumps(item)


def test_unknown_names(kernel: Kernel) -> None:
    for wrong in ("hashh", 9999, "BPF_MAP_TYPE_NOPE"):
        with pytest.raises(UsageError):
            map_type_of(wrong)
    with pytest.raises(UsageError):
        Map.create(kernel, "hash", 4, 4, 4, no_such_field=1)
    with pytest.raises(UsageError):
        Map.create(kernel, "hash", -(1 << 40), 4, 4)
    fails(errno.EINVAL, Map.create, kernel, "hash", 0, 4, 4)
    fails(errno.EINVAL, Map.create, kernel, "array", 8, 4, 4)
    with pytest.raises(KernelError):
        Map.create(kernel, "hash", 4, 0xFFFF_FFFF, 4)


def test_threads_share_a_map(kernel: Kernel) -> None:
    item = Map.create(kernel, "hash", 4, 8, 4000)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(300):
                item[number * 1000 + i] = i
                assert item[number * 1000 + i] == i
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(item) == 1200


def test_collected_handles_close(kernel: Kernel) -> None:
    item = Map.create(kernel, "hash", 4, 4, 4)
    number = item.id
    item.raw[bytes(4)] = bytes(4)
    del item
    gc.collect()
    # Linux frees ids a moment later.
    for _ in range(2000):
        if number not in set(ids(kernel, "map")):
            return
        threading.Event().wait(0.005)
    raise AssertionError("the map is still there")


KEYS = st.integers(0, 15)
VALUES = st.integers(0, (1 << 32) - 1)


def check_model(kernel: Kernel, kind: str, entries: int) -> None:
    class Model(RuleBasedStateMachine):
        """A hash map against a dict with a limit."""

        @initialize()
        def start(self) -> None:
            self.item = Map.create(kernel, kind, 4, 4, entries)
            self.model: dict[int, int] = {}

        @rule(key=KEYS, value=VALUES)
        def put(self, key: int, value: int) -> None:
            if len(self.model) >= entries and key not in self.model:
                fails(errno.E2BIG, self.item.store, key, value)
            else:
                self.item[key] = value
                self.model[key] = value

        @rule(key=KEYS)
        def drop(self, key: int) -> None:
            assert self.item.pop(key, None) == self.model.pop(key, None)

        @rule(keys=st.sets(KEYS, max_size=6), value=VALUES)
        def put_many(self, keys: set[int], value: int) -> None:
            if len(self.model.keys() | keys) <= entries:
                rows = {key: value ^ key for key in keys}
                assert self.item.update_batch(rows) == len(rows)
                self.model.update(rows)

        @rule()
        def drain(self) -> None:
            assert dict(self.item.lookup_and_delete_batch()) == self.model
            self.model.clear()

        @rule(key=KEYS, value=VALUES, flags=st.sampled_from([BPF_NOEXIST, BPF_EXIST]))
        def put_flags(self, key: int, value: int, flags: int) -> None:
            there = key in self.model
            if there == (flags == BPF_NOEXIST):
                with pytest.raises(KernelError):
                    self.item.store(key, value, flags=flags)
            elif there or len(self.model) < entries:
                self.item.store(key, value, flags=flags)
                self.model[key] = value

        @invariant()
        def same(self) -> None:
            if hasattr(self, "item"):
                assert dict(self.item) == self.model == dict(self.item.items())
                assert len(self.item) == len(self.model)

        def teardown(self) -> None:
            if hasattr(self, "item"):
                self.item.close()

    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=8, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("kind", ["hash", "percpu_hash_single"])
def test_hash_is_a_dict(kernel: Kernel, kind: str) -> None:
    check_model(kernel, "hash", 10 if kind == "hash" else 16)


@given(pairs=st.dictionaries(st.binary(min_size=5, max_size=5), st.binary(min_size=3, max_size=3), max_size=30))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_come_back(kernel: Kernel, pairs: dict[bytes, bytes]) -> None:
    with Map.create(kernel, "hash", 5, 3, 30) as item:
        item.update(pairs)
        assert dict(item.items()) == pairs == dict(item)


@pytest.mark.parametrize("kind", ["hash", "array", "lru_hash", "percpu_hash", "percpu_array"])
def test_arrays_of_numpy(kernel: Kernel, kind: str) -> None:
    np = pytest.importorskip("numpy")
    with Map.create(kernel, kind, 4, 8, 5000 if "lru" in kind else 500) as item:
        keys = np.arange(500, dtype="u4")
        shape = (500, kernel.possible_cpus) if item.type.per_cpu else (500,)
        values = np.arange(np.prod(shape), dtype="u8").reshape(shape) * 3
        assert item.update_arrays(keys[:200], values[:200]) == 200
        keys.flags.writeable = False
        assert item.update_arrays(keys, values) == 500
        found, rows = item.arrays()
        order = np.argsort(found)
        assert (found[order] == keys).all() and (rows[order] == values).all()
        assert rows.shape == shape
        with pytest.raises(UsageError, match="500 keys and 3 values"):
            item.update_arrays(keys, values[:3])
        with pytest.raises(UsageError, match="takes 4 bytes for each"):
            item.update_arrays(keys.astype("u8"), values)
        if "array" in kind:
            return
        with pytest.raises(KernelError) as caught:
            item.update_arrays(np.array([1], "u4"), values[:1], flags=1)
        assert caught.value.errno == errno.EEXIST  # batches have no such flags: one by one
        assert item.delete_arrays(keys[::2]) == 250
        with pytest.raises(KernelError) as caught:
            item.delete_arrays(keys[:2])
        assert caught.value.errno == errno.ENOENT
        assert sorted(item.arrays(delete=True)[0].tolist()) == list(range(1, 500, 2))
        assert len(item) == 0 and len(item.arrays()[0]) == 0
