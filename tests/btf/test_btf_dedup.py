"""Deduplication, against small graphs with known answers, whole kernels, and bpftool's linker."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from btf_inputs import debian_objects, sections, vmlinux

from bombus.btf import dump_c
from bombus.btf.build import Builder
from bombus.btf.dedup import dedup
from bombus.btf.parse import Btf
from bombus.btf.refs import with_references
from bombus.btf.types import (
    INT_SIGNED,
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Member,
    Param,
    Ptr,
    SecVar,
    Struct,
    Type,
    Typedef,
    Union,
    Var,
)
from bombus.errors import BtfError

BPFTOOL = shutil.which("bpftool") or next((p for p in ("/usr/sbin/bpftool",) if os.path.exists(p)), None)
INT = Int("int", 4, INT_SIGNED)


def run(types: list[Type], base: Btf | None = None) -> tuple[list[Type], list[int]]:
    builder = Builder(base)
    builder.extend(types)
    done = dedup(builder)
    done.builder.build().validate()
    return done.builder.types, done.ids


def test_derived_types_and_strings() -> None:
    types, ids = run(
        [INT, Ptr(1), Const(1), INT, Ptr(4), Const(4), Array(4, 4, 2), Array(1, 1, 2), Typedef("t", 5), Typedef("t", 2)]
    )
    assert types == [INT, Ptr(1), Const(1), Array(1, 1, 2), Typedef("t", 2)]
    assert ids == [0, 1, 2, 3, 1, 2, 3, 4, 4, 5, 5]


def test_functions_and_tags_but_not_variables() -> None:
    proto: list[Type] = [FuncProto(1, (Param("a", 1),)), Func("f", 2, 1), DeclTag("tag", 3, 0)]
    again = [with_references(t, lambda i: i + 4 if i > 1 else 1) for t in proto]
    types, _ = run([INT, *proto, INT, *again, Var("v", 1), Var("v", 5), DataSec(".bss", 4, (SecVar(9, 0, 4),))])
    assert types == [INT, *proto, Var("v", 1), Var("v", 1), DataSec(".bss", 4, (SecVar(5, 0, 4),))]


def list_head(first: int) -> list[Type]:
    return [Struct("list", 16, (Member("next", first + 1, 0), Member("prev", first + 1, 64))), Ptr(first)]


def test_cycles_through_pointers() -> None:
    types, ids = run([*list_head(1), *list_head(3)])
    assert types == list_head(1) and ids == [0, 1, 2, 1, 2]


def test_same_name_other_contents_stay_apart() -> None:
    a: list[Type] = [INT, Struct("s", 8, (Member("x", 3, 0),)), Ptr(1)]
    b: list[Type] = [Int("char", 1), Struct("s", 8, (Member("x", 6, 0),)), Ptr(4)]
    types, _ = run([*a, *b])
    assert len(types) == 6
    assert len(run([Struct("s", 4), Struct("s", 8)])[0]) == 2
    assert len(run([Struct("s", 4), Union("s", 4)])[0]) == 2


def test_forward_declarations_are_resolved() -> None:
    # Each half knows one of the structs.
    one: list[Type] = [Struct("a", 8, (Member("b", 2, 0),)), Ptr(3), Fwd("b")]
    two: list[Type] = [Struct("b", 8, (Member("a", 5, 0),)), Ptr(6), Fwd("a")]
    types, ids = run([*one, *two])
    assert types == [
        Struct("a", 8, (Member("b", 2, 0),)),
        Ptr(3),
        Struct("b", 8, (Member("a", 4, 0),)),
        Ptr(1),
    ]
    assert ids[3] == 3 and ids[6] == 1
    # In a graph that is compared anyway, and only for its own kind.
    types, _ = run([Fwd("x"), Ptr(1), Struct("x", 4), Fwd("x", union=True)])
    assert types == [Ptr(2), Struct("x", 4), Fwd("x", union=True)]
    # Two definitions: which one is meant is unknown.
    types, _ = run([Fwd("x"), Struct("x", 4), Struct("x", 8)])
    assert len(types) == 3


def test_forward_inside_equal_structs() -> None:
    one: list[Type] = [Struct("s", 8, (Member("p", 2, 0),)), Ptr(3), Fwd("t")]
    two: list[Type] = [Struct("s", 8, (Member("p", 5, 0),)), Ptr(6), Struct("t", 4, (Member("i", 7, 0),)), INT]
    types, _ = run([*one, *two])
    assert types == [Struct("s", 8, (Member("p", 2, 0),)), Ptr(3), Struct("t", 4, (Member("i", 4, 0),)), INT]


def test_enums() -> None:
    full = Enum("e", 4, (Enumerator("A", 1),))
    types, ids = run([Enum("e", 4), full, Enum("e", 4), full, Enum("", 4)])
    assert types == [full, Enum("", 4)]
    assert ids == [0, 1, 1, 1, 1, 2]
    types, _ = run([full, Enum("e", 4, (Enumerator("A", 2),))])
    assert len(types) == 2
    types, _ = run([Enum("e", 4), Enum64("e", 8, (Enumerator("A", 1 << 40),))])
    assert types == [Enum64("e", 8, (Enumerator("A", 1 << 40),))]


def test_split_uses_the_base() -> None:
    base = Builder()
    base.extend([INT, *list_head(2), Fwd("later")])
    kernel = base.build()
    types, ids = run([INT, *list_head(6), Ptr(5), Struct("later", 4)], kernel)
    assert types == [Ptr(1), Struct("later", 4)]
    assert ids == [0, 1, 2, 3, 4, 1, 2, 3, 5, 6]
    # A base type must not come to point into the module.
    grown = Builder()
    grown.extend([Struct("s", 8, (Member("p", 2, 0),)), Ptr(3), Fwd("t")])
    types, _ = run([Struct("s", 8, (Member("p", 5, 0),)), Ptr(6), Struct("t", 4)], grown.build())
    assert len(types) == 3


@pytest.mark.parametrize(
    "types",
    [
        [Ptr(1)],
        [Typedef("a", 2), Typedef("b", 1)],
        [Ptr(9)],
        [INT, *(Ptr(i + 1) for i in range(1, 2000)), Ptr(1)],
    ],
)
def test_hostile_references(types: list[Type]) -> None:
    builder = Builder()
    builder.extend(types)
    with pytest.raises(BtfError):
        dedup(builder)


@pytest.mark.oracle
def test_kernel_twice_is_the_kernel_once() -> None:
    btf = vmlinux("6.1.0-56")
    once = dedup(btf)
    assert len(once.builder) <= len(btf)
    builder = Builder.from_btf(once.builder.build())
    shift = len(builder) - 1
    builder.extend([with_references(t, lambda i: i + shift if i else 0) for t in list(builder.types)])
    twice = dedup(builder)
    variables = [i for i, t in once.builder.items() if isinstance(t, (Var, DataSec))]
    assert variables, "they alone are kept twice"
    assert twice.builder.types[:shift] == once.builder.types
    assert len(twice.builder.types) == shift + len(variables)


def concatenated(images: list[Btf]) -> Builder:
    """Types of several objects one after the other, as a linker lays them out; sections and externs left out."""
    out = Builder()
    for btf in images:
        skipped = {i for i, t in btf.items() if isinstance(t, DataSec)}
        ids: dict[int, int] = {0: 0}
        for type_id in btf.ids():
            if type_id not in skipped:
                ids[type_id] = len(out) + len(ids) - 1
        for type_id, type_ in btf.items():
            if type_id not in skipped:
                out.add(with_references(type_, lambda i, ids=ids: ids[i]))  # type: ignore[misc]
    return out


COUNTED = set(Kind) - {Kind.VAR, Kind.DATASEC, Kind.FUNC, Kind.DECL_TAG}


@pytest.mark.debian
@pytest.mark.skipif(BPFTOOL is None, reason="bpftool is not installed")
def test_as_bpftool_gen_object(tmp_path: Path) -> None:
    assert BPFTOOL is not None
    names = sorted(debian_objects())
    compared = 0
    for first, second in zip(names, names[1:] + names[:1], strict=True):
        paths = []
        for number, name in enumerate((first, second)):
            paths.append(tmp_path / f"{number}.o")
            paths[-1].write_bytes(debian_objects()[name])
        out = tmp_path / "out.o"
        done = subprocess.run([BPFTOOL, "gen", "object", out, *paths], capture_output=True, timeout=60, check=False)
        if done.returncode:
            continue  # the two define the same symbols
        theirs = Btf.parse(sections(out.read_bytes())[".BTF"])
        parts = [Btf.parse(sections(debian_objects()[name])[".BTF"]) for name in (first, second)]
        mine = dedup(concatenated(parts), resolve_forwards=False).builder.build()
        assert Counter(t.kind for t in mine if t.kind in COUNTED) == Counter(
            t.kind for t in theirs if t.kind in COUNTED
        ), (first, second)
        assert "".join(dump_c.dump(mine)) == "".join(dump_c.dump(theirs)), (first, second)
        compared += 1
    assert compared >= 5
