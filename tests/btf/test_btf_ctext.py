"""Types written as C, laid out as a C compiler lays them out."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from bombus.btf.ctext import type_of
from bombus.btf.data import layout_of
from bombus.btf.layouts import StructLayout
from bombus.btf.records import record_of
from bombus.btf.types import Struct, Union
from bombus.errors import UsageError


def test_record() -> None:
    btf, type_id = type_of("{ u64 ts; pid_t pid; /* who */ char comm[16], path[2][4]; // what\n bool ok; void *at; }")
    record = record_of(layout_of(btf, type_id), bytes(range(8)) + b"\xff\xff\xff\xff" + b"sh".ljust(16, b"\0")
                       + b"a\0\0\0b\0\0\0" + b"\1" + bytes(3) + (7).to_bytes(8, "little"))  # fmt: skip
    assert (record.pid, record.comm, record.path, record.ok, record.at) == (-1, "sh", ["a", "b"], True, 7)


CASES = [
    "struct a { char c; int i; char d; }",
    "struct a { char c; long long l; short s; }",
    "struct a { unsigned char c; __u64 q; } __attribute__((packed))",
    "union a { char c[5]; int i; }",
    "struct a { int x; struct { short a, b; char c; } in; union { long l; double d; }; char z; }",
    "struct a { unsigned int f:3, g:5; unsigned long long h:40; int i:9; char c; }",
    "struct a { unsigned int f:31, g:2; char c; unsigned char x:7, y:2; }",
    "struct a { char *p; const volatile unsigned long v; float f; _Bool b; }",
    "struct a { short s[3]; struct b { char q; } t[3]; unsigned short int u; long int w; signed char k; }",
    "struct a { unsigned int f:3; int i; unsigned int g:7; } __attribute__((packed))",
]


@pytest.mark.parametrize("text", CASES)
def test_beside_gcc(text: str, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    btf, type_id = type_of(text)
    type_ = btf.type(type_id)
    assert isinstance(type_, (Struct, Union))
    layout = layout_of(btf, type_id)
    assert isinstance(layout, StructLayout)
    source = text.replace("__u64", "unsigned long long").replace("struct b {", "struct {")
    plain = [(slot.name, slot.offset) for slot in layout.slots if slot.name and not slot.bits]
    fields = [slot.name for slot in layout.slots if slot.bits]
    lines = [f'printf("%zu ", offsetof(T, {name}));' for name, _ in plain]
    # Bit-fields have no offsetof: set each to -1 and look at the bytes.
    for name in fields:
        lines.append(f'{{ T v; memset(&v, 0, sizeof v); v.{name} = -1; dump(&v, sizeof v); }}')
    program = f"""#include <stdio.h>
#include <stddef.h>
#include <string.h>
typedef {source} T;
static void dump(void *p, size_t n)
{{ for (size_t i = 0; i < n; i++) printf("%02x", ((unsigned char *)p)[i]); printf(" "); }}
int main(void) {{ printf("%zu ", sizeof(T)); {" ".join(lines)} return sizeof(dump) > 9; }}"""
    (tmp_path / "a.c").write_text(program)
    subprocess.run(["gcc", "-w", "-o", tmp_path / "a", tmp_path / "a.c"], check=True)
    out = subprocess.run([tmp_path / "a"], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) == layout.size
    assert [int(number) for number in out[1 : 1 + len(plain)]] == [offset for _, offset in plain]
    for name, raw in zip(fields, out[1 + len(plain) :], strict=True):
        record = record_of(layout, bytes.fromhex(raw))
        others = [record[one] for one in fields if one != name]
        slot = layout.fields[name]
        assert record[name] in (-1, (1 << slot.bits) - 1) and not any(others), (name, raw, record)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{ u64 }", "member's name"), ("{ nope x; }", "no type 'nope'"), ("{ u64 x; ", "'}' is missing"),
        ("{ u64 x }", "',' is missing"), ("{ u64 x[; }", "number is missing"), ("{ void x; }", "no type 'void'"),
        ("{ u32 x:33; }", "bit-field of 33"), ("{ u64 x; } y", "more after"), ("{ char x[99999999]; }", "too large"),
        ("{" * 3, "no type '{'"), ("{ long short x; }", "no type 'long short'"), ("{ double d:3; }", "bit-field"),
        ("struct a", "'{' is missing"), ("{ struct { int a; } x }", "',' is missing"),
    ],
)  # fmt: skip
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("{", r"\{").replace("}", r"\}")) as caught:
        type_of(text)
    assert str(caught.value).splitlines()[-1].strip() == "^"


def test_takes_anything() -> None:
    randomly = random.Random(4)
    words = [*"{};,*[]:()", "struct", "union", "3", "0x4", "u64", "int", "unsigned", "char", "x", "y", "packed",
             "__attribute__", "é", "/*"]  # fmt: skip
    for _ in range(3000):
        text = "{ " + " ".join(randomly.choice(words) for _ in range(randomly.randrange(20)))
        try:
            btf, type_id = type_of(text)
        except UsageError:
            continue
        layout_of(btf, type_id)
