"""Native code means what plain Python means."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bombus import bpf
from bombus.bpf import Array, Ref, Struct, array, be16, be32, map, s8, s16, s64, u8, u16, u32, u64
from bombus.bpf.ints import Scalar
from bombus.compiler.host import native
from bombus.errors import DialectError, NotSupported, UsageError

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples" / "bpf"))
table = map.array(u32, u64, max_entries=1)


class Block(Struct):
    data: Array[u8] = array(16)
    total: u64
    net: be16


def signed(a: s64, b: s64) -> s64:
    return a // b * 3 + a % b - (a >> 3)


def narrow(a: u8, b: s8, c: u16) -> s16:
    return s16(a) * s16(b) + s16(c >> 2) - s16(~a)


def compare(a: u32, b: u32) -> bool:
    return a < b <= 1000 or (a == b and not a)


def network(a: be32, b: u16) -> be32:
    return be32(u32(a) + u32(b)) ^ a


def work(block: Block, add: u64) -> u32:
    for byte in block.data:
        block.total += u64(byte) * add
    block.data[block.total & 15] = u8(add)
    block.net = be16(u16(block.total))
    bpf.atomic(block).total += 3
    return u32(bpf.fetch_add(bpf.ref(block, "total", u64), 1))


def maybe(count: Ref[u64] | None) -> u64:
    if count is None:
        return u64(7)
    count.value += 1
    return count.value


def make(size: int) -> Callable[[Block], u32]:
    def digest(block: Block) -> u32:
        value = u32(5381)
        for i in range(size):
            value = value * 33 ^ u32(block.data[i])
        return value

    return digest


def values(kind: type[Scalar]) -> st.SearchStrategy[Any]:
    edges = st.sampled_from([kind.MIN, kind.MAX, 0, 1])
    return st.one_of(edges, st.integers(kind.MIN, kind.MAX)).map(kind)


@pytest.mark.parametrize(
    ("function", "kinds"),
    [(signed, (s64, s64)), (narrow, (u8, s8, u16)), (compare, (u32, u32)), (network, (be32, u16))],
)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_same_as_plain(function: Callable[..., Any], kinds: tuple[type[Scalar], ...], data: st.DataObject) -> None:
    args = [data.draw(values(kind)) for kind in kinds]
    fast = compiled(function)
    result = fast(*args)
    assert type(result) is type(function(*args))
    assert result == function(*args)


_MADE: dict[Any, Any] = {}


def compiled(function: Callable[..., Any]) -> Any:
    if function not in _MADE:
        _MADE[function] = native(function)
    return _MADE[function]


@pytest.mark.parametrize(
    ("example", "name", "kinds"),
    [
        ("xdp_siphash", "siphash", (u64, u64)), ("xdp_balancer", "scramble", (u32,)),
        ("xdp_balancer", "adjusted", (be16, be32, be32)), ("xdp_primes", "gcd", (u32, u32)),
        ("xdp_primes", "sqrt", (u32,)), ("xdp_primes", "prime", (u32,)), ("xdp_sizes", "log2", (u32,)),
        ("xdp_control", "classify", (u32,)),
    ],
)  # fmt: skip
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_functions_of_the_examples(
    example: str, name: str, kinds: tuple[type[Scalar], ...], data: st.DataObject
) -> None:
    function = getattr(importlib.import_module(example), name)
    args = [data.draw(values(kind)) for kind in kinds]
    assert compiled(function)(*args) == function(*args)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(min_size=26, max_size=26), add=st.integers(0, (1 << 64) - 1))
def test_structs_are_shared_memory(data: bytes, add: int) -> None:
    one, two = Block(), Block()
    for block in (one, two):
        block._view[:26] = data
    assert compiled(work)(one, u64(add)) == work(two, u64(add))
    assert bytes(one) == bytes(two)


def test_constants_of_the_function_around() -> None:
    block = Block()
    block._view[:16] = bytes(range(16))
    for size in (0, 1, 7, 16):
        digest = make(size)
        assert native(digest)(block) == digest(block)


def test_none() -> None:
    count = bpf.local(u64(4))
    fast = native(maybe)
    assert fast(None) == 7
    assert fast(count) == 5
    assert count.value == 5


def test_refusals() -> None:
    fast = native(narrow)
    with pytest.raises(UsageError, match="narrow takes 3 arguments, not 1"):
        fast(u8(1))
    with pytest.raises(UsageError, match="narrow takes u8, not u16"):
        fast(u16(1), s8(1), u16(1))
    with pytest.raises(UsageError, match="work takes a Block, not int"):
        native(work)(5, 1)


def looks_up(key: u32) -> u64:
    slot = table.lookup(key)
    return u64(0) if slot is None else slot.value


def asks_time() -> u64:
    return bpf.helpers.ktime_get_ns()


def is_wrong(a: u32) -> u32:
    return a / 2  # type: ignore[operator, return-value]


def test_what_only_the_kernel_has() -> None:
    with pytest.raises(NotSupported, match="maps in native code"):
        native(looks_up)
    with pytest.raises(NotSupported, match="asks_time calls ktime_get_ns"):
        native(asks_time)
    with pytest.raises(DialectError, match="/ is not part of the language"):
        native(is_wrong)
