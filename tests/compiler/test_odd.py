"""Every statement and expression of Python as newcomers write it: what compiles means the same in all readings.

What does not compile is in test_negative.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from readings import Seen, compiled, plain

from bombus.bpf.core import GLOBALS
from bombus.compiler.build import build_module
from bombus.compiler.importing import import_source
from bombus.kernel.api import Kernel
from bombus.kernel.user.kernel import UserKernel

TOP = '''\
from __future__ import annotations

from enum import IntEnum

from bombus import bpf
from bombus.bpf import Array, Ref, Struct, array, be16, be32, helpers, map, s8, s16, s32, s64, u8, u16, u32, u64, xdp

LICENSE = bpf.license("GPL")
out = map.array(u32, u64, max_entries=16)
total = bpf.var(u64(0))


class Data(Struct):
    a: u8
    b: s8
    c: u16
    d: u32
    e: u64


class Row(Struct):
    v: Array[u32] = array(8)


class Color(IntEnum):
    RED = 1
    BLUE = 2


def put(index: u32, value: u64) -> None:
    slot = out.lookup(index)
    if slot is not None:
        slot.value = slot.value * 31 + value


'''
BODY = '''\
@xdp
def f(ctx: xdp.Context) -> xdp.Action:
    d = ctx.parse(Data)
    if d is None:
        return xdp.DROP
'''
END = "    return xdp.PASS\n"
_RANDOM = random.Random(5)
PACKETS = [*(_RANDOM.randbytes(20) for _ in range(4)), bytes(20), b"\xff" * 20, bytes(range(20))]


def cases() -> Iterator[tuple[str, str]]:
    text = (Path(__file__).parent / "data" / "odd.txt").read_text()
    for block in text.split("\n=== ")[1:]:
        head, _, source = block.partition("\n")
        name, kind = head.split()
        yield name, TOP + (BODY + source + END if kind == "body" else source)


CASES = dict(cases())


@pytest.fixture(scope="module")
def user_kernel() -> UserKernel:
    return UserKernel(version="6.12")


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("name", CASES)
def test_same(name: str, user_kernel: UserKernel, request: pytest.FixtureRequest) -> None:
    module = import_source(CASES[name], f"{name}.py")
    data = build_module(module)
    expected = plain(module, module.f, PACKETS)
    same(expected, compiled(module, module.f, PACKETS, user_kernel, data=data))
    linux: Kernel = request.getfixturevalue("linux_kernel")
    same(expected, compiled(module, module.f, PACKETS, linux, data=data))


def same(expected: Seen, seen: Seen) -> None:
    assert expected.verdicts
    assert (seen.verdicts, seen.packets, seen.maps) == (expected.verdicts, expected.packets, expected.maps)


@pytest.fixture(autouse=True)
def _forget_globals() -> Iterator[None]:
    before = set(GLOBALS)
    yield
    for key in set(GLOBALS) - before:
        del GLOBALS[key]


def test_enough_cases() -> None:
    assert len(CASES) >= 100


def test_programs_of_one_function_have_the_names_of_their_variables() -> None:
    source = TOP + '''
def make(n: int) -> bpf.Program:
    @xdp
    def g(ctx: xdp.Context) -> xdp.Action:
        return xdp.Action(n)
    return g


first, second = make(1), make(2)
'''
    from bombus.object.read import read_object

    module = import_source(source, "made.py")
    assert [program.name for program in read_object(build_module(module)).programs] == ["first", "second"]
