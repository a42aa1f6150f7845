"""Raw and C dumps equal bpftool's, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from btf_inputs import RUNNING, VMLINUX, blobs, vmlinux, vmlinux_bytes

from bombus.btf import dump_c, dump_raw
from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.btf.types import (
    INT_BOOL,
    INT_SIGNED,
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Member,
    Param,
    Ptr,
    Restrict,
    SecVar,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from bombus.errors import BtfError

BPFTOOL = shutil.which("bpftool") or next((p for p in ("/usr/sbin/bpftool",) if os.path.exists(p)), None)
needs_bpftool = pytest.mark.skipif(BPFTOOL is None, reason="bpftool is not installed")


def bpftool(*arguments: str) -> str:
    assert BPFTOOL is not None
    done = subprocess.run([BPFTOOL, *arguments], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def raw_text(btf: Btf) -> str:
    return "".join(f"{piece}\n" for piece in dump_raw.dump(btf))


def compare(tmp_path: Path, data: bytes, base: bytes | None = None) -> None:
    path = tmp_path / "x.btf"
    path.write_bytes(data)
    options = []
    parsed_base = None
    if base is not None:
        (tmp_path / "base.btf").write_bytes(base)
        options = ["-B", str(tmp_path / "base.btf")]
        parsed_base = Btf.parse(base)
    btf = Btf.parse(data, parsed_base)
    assert raw_text(btf) == bpftool(*options, "btf", "dump", "file", str(path), "format", "raw")
    assert list(dump_raw.rows(btf)) == json.loads(bpftool(*options, "-j", "btf", "dump", "file", str(path)))["types"]
    assert "".join(dump_c.dump(btf)) == bpftool(*options, "btf", "dump", "file", str(path), "format", "c")


@needs_bpftool
@pytest.mark.oracle
@pytest.mark.parametrize("version", VMLINUX)
def test_vmlinux(version: str, tmp_path: Path) -> None:
    compare(tmp_path, vmlinux_bytes(version))


@needs_bpftool
@pytest.mark.oracle
def test_objects(tmp_path: Path) -> None:
    every = int(os.environ.get("BOMBUS_BTF_EVERY", "15"))
    for data in blobs("6.12")[::every] + blobs("6.18")[::every]:
        compare(tmp_path, data)


@needs_bpftool
def test_running_kernel(tmp_path: Path) -> None:
    if not RUNNING.exists():
        pytest.skip("this kernel shows no BTF")
    compare(tmp_path, RUNNING.read_bytes())


ODD: list[Type] = [
    Int("int", 4, INT_SIGNED),  # 1
    Int("long", 8, INT_SIGNED),  # 2
    Int("_Bool", 1, INT_BOOL),  # 3
    Ptr(4 + 1),  # 4
    Struct("self", 24, (Member("next", 4, 0), Member("b", 3, 64), Member("", 6, 128))),  # 5
    Union("", 8, (Member("x", 1, 0), Member("fn", 8, 0))),  # 6
    FuncProto(4, (Param("a", 1), Param("b", 13), Param("", 0))),  # 7
    Ptr(7),  # 8
    Array(1, 1, 3),  # 9
    Array(9, 1, 2),  # 10
    Const(1),  # 11
    Volatile(11),  # 12
    Ptr(12),  # 13
    Restrict(13),  # 14
    Typedef("fn_t", 7),  # 15
    Ptr(15),  # 16
    Array(16, 1, 4),  # 17
    Struct(
        "s",
        80,
        (
            Member("m", 10, 0),
            Member("r", 14, 192),
            Member("table", 17, 256),
            Member("tail", 3, 520),
        ),
    ),  # 18
    Struct("bits", 16, (Member("a", 1, 0, 3), Member("b", 1, 13, 5), Member("c", 2, 64, 40)), kind_flag=True),  # 19
    Struct("packed", 7, (Member("a", 3, 0), Member("b", 1, 8))),  # 20
    Struct("holes", 64, (Member("a", 3, 0), Member("b", 1, 96), Member("c", 3, 320))),  # 21
    Enum("e", 4, (Enumerator("A", -1), Enumerator("B", 5)), signed=True),  # 22
    Enum("", 4, (Enumerator("A", 0xFFFFFFFF),)),  # 23
    Enum64("wide", 8, (Enumerator("BIG", 1 << 40),)),  # 24
    Enum("fwd_enum", 4),  # 25
    Fwd("later"),  # 26
    Fwd("later_u", union=True),  # 27
    Struct("later", 4, (Member("x", 1, 0),)),  # 28
    Ptr(26),  # 29
    Typedef("t", 29),  # 30
    Typedef("t", 1),  # 31
    Struct("", 4, (Member("only", 1, 0),)),  # 32
    Typedef("anon_t", 32),  # 33
    Float("double", 8),  # 34
    Var("v", 34, 1),  # 35
    DataSec(".data", 8, (SecVar(35, 0, 8),)),  # 36
    Func("f", 7, 1),  # 37
    DeclTag("note", 5, 1),  # 38
    TypeTag("user", 1),  # 39
    Ptr(39),  # 40
    Typedef("tagged", 40),  # 41
    Struct("empty", 0),  # 42
    Typedef("__builtin_va_list", 1),  # 43
    Typedef("__gnuc_va_list", 0),  # 44
    Ptr(0),  # 45
    FuncProto(45, ()),  # 46
    Ptr(46),  # 47
    FuncProto(47, (Param("cb", 47),)),  # 48
    Ptr(48),  # 49
    Typedef("returns_fn", 49),  # 50
]


@needs_bpftool
def test_odd_types(tmp_path: Path) -> None:
    builder = Builder()
    builder.extend(ODD)
    compare(tmp_path, builder.to_bytes())


@needs_bpftool
def test_split(tmp_path: Path) -> None:
    base = Builder()
    base.extend(ODD)
    split = Builder(base.build())
    first = split.add(Struct("module", 24, (Member("s", 5, 0),)))
    split.add(Ptr(first))
    split.add(Typedef("module_t", first + 1))
    split.add(Fwd("later"))
    compare(tmp_path, split.to_bytes(), base.to_bytes())


@pytest.mark.oracle
def test_roots_bring_what_they_need() -> None:
    btf = vmlinux("6.12.117+deb12")
    root = btf.find("list_head", Kind.STRUCT)
    assert root is not None
    text = "".join(dump_c.dump(btf, [root]))
    body = text.removeprefix(dump_c.HEADER).removesuffix(dump_c.FOOTER)
    assert body == "struct list_head {\n\tstruct list_head *next;\n\tstruct list_head *prev;\n};\n\n"


NEST = [Struct("", 4, (Member("a", i, 0), Member("b", i, 0))) for i in range(1, 60)]


@pytest.mark.parametrize(
    "types",
    [
        [Struct("s", 4, (Member("a", 1, 0),))],
        [Typedef("a", 2), Typedef("b", 1)],
        [Int("int", 4)] + [FuncProto(i, (Param("a", i), Param("b", i))) for i in range(1, 60)],
        [Int("int", 4), *NEST, Typedef("t", 60)],
        [Int("int", 4)] + [Array(i, 1, 1) for i in range(1, 3000)] + [Typedef("t", 3000)],
        [Int("char", 1), Struct("gap", 0xFFFFFFFF, (Member("a", 1, 0), Member("b", 1, 0xFFFFFF)))],
    ],
)  # fmt: skip
def test_hostile_types_are_refused(types: list[Type]) -> None:
    builder = Builder()
    builder.extend(types)
    with pytest.raises(BtfError):
        for _ in dump_c.dump(builder.build()):
            pass
