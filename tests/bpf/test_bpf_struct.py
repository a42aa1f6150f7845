"""Structs lie in memory as C lays them out (gcc is the witness), and views read and write it."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bombus.bpf import Array, Ref, Struct, Union, array, be32, bits, s8, s16, u8, u16, u32, u64, var, zeros
from bombus.bpf.ints import INTS
from bombus.bpf.layout import ArrayType, lay_out
from bombus.errors import UsageError

_C = {
    "u8": "unsigned char", "u16": "unsigned short", "u32": "unsigned int", "u64": "unsigned long", "s8": "signed char",
    "s16": "short", "s32": "int", "s64": "long",
}  # fmt: skip
Members = list[tuple[str, Any, int]]


def random_struct(rng: random.Random) -> tuple[Members, list[str], bool, bool]:
    """Members for `lay_out`, the same in C, whether it is a union, whether packed."""
    members: Members = []
    fields: list[str] = []
    packed = rng.random() < 0.2
    for index in range(rng.randrange(1, 9)):
        kind = rng.choice(INTS)
        c, name = _C[kind.__name__], f"m{index}"
        pick = rng.randrange(3)
        if pick == 0 and not packed:
            width = rng.randrange(1, kind.BITS + 1)
            members.append((name, kind, width))
            fields.append(f"{c} {name} : {width};")
        elif pick == 1:
            count = rng.randrange(1, 5)
            members.append((name, ArrayType(kind, count), 0))
            fields.append(f"{c} {name}[{count}];")
        else:
            members.append((name, kind, 0))
            fields.append(f"{c} {name};")
    return members, fields, rng.random() < 0.2, packed


def test_layout_is_that_of_c(tmp_path: Path) -> None:
    """gcc prints, for random structs, size, alignment, and which bits each member has."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    rng = random.Random(1)
    structs = [random_struct(rng) for _ in range(400)]
    code = ["#include <stdio.h>", "#include <string.h>", "static void show(void *p, int n) { unsigned char *b = p;",
            'for (int i = 0; i < n; i++) printf("%02x", b[i]); printf("\\n"); }']  # fmt: skip
    main = ["int main(void) {"]
    for index, (members, fields, union, packed) in enumerate(structs):
        kind = "union" if union else "struct"
        code.append(f"{kind} t{index} {{ {' '.join(fields)} }}{' __attribute__((packed))' * packed};")
        main.append(f'printf("%zu %zu\\n", sizeof({kind} t{index}), _Alignof({kind} t{index}));')
        for name, member, _width in members:
            place = f"v.{name}[0]" if isinstance(member, ArrayType) else f"v.{name}"
            main.append(f"{{ {kind} t{index} v; memset(&v, 0, sizeof v); {place} = -1; show(&v, sizeof v); }}")
    source = tmp_path / "a.c"
    source.write_text("\n".join([*code, *main, "return 0; }"]))
    subprocess.run([gcc, "-w", "-o", tmp_path / "a", source], check=True)
    lines = iter(subprocess.run([tmp_path / "a"], capture_output=True, text=True, check=True).stdout.splitlines())
    for members, fields, union, packed in structs:
        ours = lay_out(members, union=union, packed=packed)
        assert f"{ours.size} {ours.align}" == next(lines), fields
        for name, member, width in members:
            number = int.from_bytes(bytes.fromhex(next(lines)), "little")
            placed = ours.members[name]
            bits = member.element.BITS if isinstance(member, ArrayType) else width or member.BITS
            assert number == ((1 << bits) - 1) << (placed.offset * 8 + placed.bit), (fields, name)


class Inner(Struct):
    a: u8
    b: u32


class Outer(Struct):
    first: u16
    inner: Inner
    row: Array[u16] = array(3)
    grid: Array[Array[u8]] = array(2, 2)
    low: u8 = bits(3)
    high: s8 = bits(5)
    on: bool
    net: be32


class Either(Union):
    word: u32
    halves: Array[u16] = array(2)


class Tight(Struct, packed=True):
    a: u8
    b: u64


def test_sizes() -> None:
    assert (Outer.LAYOUT.size, Inner.LAYOUT.size, Either.LAYOUT.size, Tight.LAYOUT.size) == (28, 8, 4, 9)
    assert Tight.LAYOUT.members["b"].offset == 1


def test_members_are_memory() -> None:
    outer = Outer(first=u16(5), on=True, net=0x0A000001)
    outer.inner.b = u32(7)
    outer.row[2] = u16(9)
    outer.grid[1][0] = u8(3)
    outer.high = s8(-2)
    outer.low = u8(7)
    raw = bytes(outer)
    assert raw[0:2] == b"\x05\x00" and raw[8] == 7 and raw[16] == 9 and raw[20] == 3
    assert raw[22] == (0b11110 << 3 | 7) and raw[23] == 1 and raw[24:28] == b"\x0a\x00\x00\x01"
    assert outer.high == -2 and outer.low == 7 and outer.on and outer.net == 0x0A000001
    inner = outer.inner
    inner.a = u8(1)
    assert outer.inner.a == 1  # a view, not a copy
    assert list(outer.row) == [0, 0, 9]


def test_bit_fields_keep_their_low_bits() -> None:
    outer = Outer()
    outer.low = u8(9)
    assert outer.low == 1 and outer.high == 0
    outer.high = s8(17)
    assert outer.high == -15 and outer.low == 1


def test_unions_share() -> None:
    either = Either(word=0x00020001)
    assert list(either.halves) == [1, 2]
    either.halves[1] = u16(0)
    assert either.word == 1


def test_copy_and_assign() -> None:
    a = Inner(a=1, b=2)
    b = a.copy()
    b.a = u8(9)
    assert a.a == 1
    a.assign(b)
    assert a.a == 9 and a.b == 2


def test_globals_and_arrays() -> None:
    total: Ref[u64] = var(u64(3))
    total.value += 1
    assert total.value == 4
    state = var(Inner)
    state.b = u32(1)
    assert bytes(state)[4] == 1
    room = zeros(u32, 3)
    room[1] = u32(5)
    assert list(room) == [0, 5, 0]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: Outer(nothing=1), "Outer has no member 'nothing'"),
        (lambda: Outer(first=u32(1)), "Outer.first is u16, not u32; convert it"),
        (lambda: Outer(first=70000), "Outer.first is u16, not 70000"),
        (lambda: Outer().row[3], "index 3 of u16"),
        (lambda: Outer().row[-1], "index -1 of u16"),
        (lambda: setattr(Outer(), "on", 1), "Outer.on is a bool, not int"),
        (lambda: setattr(Outer(), "inner", Either()), "Outer.inner is Inner, not Either"),
        (lambda: Inner().assign(Either()), "Inner is assigned from another Inner, not Either"),  # type: ignore[arg-type]
    ],
)
def test_refusals(run: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run()


def test_sixteen_bit_element_types() -> None:
    room = zeros(s16, 2)
    room[0] = s16(-1)
    assert bytes(room) == b"\xff\xff\0\0"
