"""Generated classes read memory as `bombus.btf.data` does, which is compared with bpftool elsewhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from skeletons import ROOT

from bombus.btf.data import layout_of
from bombus.btf.layouts import StructLayout
from bombus.btf.types import Struct, Union
from bombus.elf.read import find_embedded
from bombus.errors import BombusError
from bombus.object.model import Object
from bombus.object.read import read_object
from bombus.skeleton import values
from bombus.skeleton.generate import skeleton

OWN = [ROOT / "examples/traffic.bpf.o", *sorted(ROOT.glob("tests/*/data/**/*.bpf.o"))]
OWN = [path for path in OWN if path.parent.name != "link"]  # inputs of the linker


def leaves(value: Any) -> Iterator[Any]:
    """Scalars in order; text up to its NUL."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, bytes):
        yield value.split(b"\0")[0].decode(errors="surrogateescape")
    else:
        yield int(value) if isinstance(value, (int, bool)) else value


def compare(obj: Object, data: bytes) -> int:
    names: dict[str, Any] = {"__name__": "checked_skel", "__file__": "checked_skel.py"}
    exec(compile(skeleton(obj, data, all_types=True), "checked_skel.py", "exec"), names)
    by_name: dict[str, list[type[values.Struct]]] = {}
    for value in names.values():
        if isinstance(value, type) and issubclass(value, values.Struct):
            by_name.setdefault(value.C_NAME, []).append(value)
    rng = random.Random(obj.name)
    done = 0
    assert obj.btf is not None
    for type_id, type_ in obj.btf.items():
        if not isinstance(type_, (Struct, Union)) or not type_.name or not type_.members:
            continue
        known = by_name.get(f"{'union' if isinstance(type_, Union) else 'struct'} {type_.name}", [])
        assert known, type_.name
        if len(known) > 1:
            continue  # two types of one name
        layout = layout_of(obj.btf, type_id)
        assert isinstance(layout, StructLayout)
        raw = rng.randbytes(layout.size)
        found = known[0].from_bytes(raw)
        decoded = layout.decode(raw, 0)
        for name, slot in layout.fields.items():
            if not slot.layout.size:
                del decoded[name]  # flexible arrays have no bytes
        mine, theirs = list(leaves(found.asdict())), list(leaves(decoded))
        assert [repr(x) for x in mine] == [repr(x) for x in theirs], type_.name
        again = known[0]()
        for member in found.members():
            setattr(again, member, getattr(found, member))
        assert [repr(x) for x in leaves(again.asdict())] == [repr(x) for x in mine], type_.name
        done += 1
    return done


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_own_objects(path: Path) -> None:
    data = path.read_bytes()
    obj = read_object(data, name=path.stem)
    if obj.byteorder != "little" or obj.btf is None:
        pytest.skip("big-endian, or without BTF")
    compare(obj, data)


def test_own_objects_have_structs() -> None:
    data = OWN[0].read_bytes()
    assert compare(read_object(data, name="traffic"), data) == 4


def test_objects_of_libbpf_tools(debian: Any) -> None:
    total = 0
    for file in debian("/usr/sbin/*snoop")[:14]:
        whole = file.read_bytes()
        for at, elf in find_embedded(whole):
            data = whole[at : at + elf.size]
            try:
                obj = read_object(data, name=file.name)
            except BombusError:
                continue
            total += compare(obj, data)
    assert total > 60
