"""The kept index of a kernel's BTF: the same answers with it, and nothing bad from a bad one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bombus.btf.index import unpack
from bombus.btf.parse import Btf, index_of
from bombus.btf.types import Kind
from bombus.errors import BtfError
from bombus.loader import btfcache
from bombus.object.read import open_object

DATA = Path(__file__).parent.parent


def blob() -> bytes:
    btf = open_object(DATA / "linux" / "data" / "iters.bpf.o").btf
    assert btf is not None
    return btf.raw


def test_the_same_answers_with_an_index() -> None:
    raw = blob()
    plain = Btf.parse(raw)
    fast = Btf.parse(raw, index=unpack(memoryview(index_of(plain)), len(raw)))
    assert len(plain) == len(fast) and list(plain.items()) == list(fast.items())
    for name in {name for name, _ in plain.names()} | {"nothing", "tcp_congestion_ops", ""}:
        assert plain.find_all(name) == fast.find_all(name), name
        assert plain.flavours(name) == fast.flavours(name), name
    assert plain.flavours("tcp_congestion_ops") and plain.find("int", Kind.INT) == fast.find("int", Kind.INT)
    assert fast.pointer_size == plain.pointer_size


@pytest.mark.linux
def test_the_running_kernels(linux_kernel: Any) -> None:
    raw = linux_kernel.vmlinux_btf()
    plain = Btf.parse(raw)
    fast = Btf.parse(raw, index=unpack(memoryview(index_of(plain)), len(raw)))
    names = [name for name, _ in plain.names()]
    for name in names[:: len(names) // 300]:
        assert plain.find_all(name) == fast.find_all(name), name
    for name in ("task_struct", "sock", "tcp_congestion_ops"):
        assert plain.flavours(name) == fast.flavours(name), name


def test_damaged_indexes_are_refused() -> None:
    raw = blob()
    data = index_of(Btf.parse(raw))
    for bad in (b"", data[:31], data[:-4], data + b"\0\0\0\0", bytes(32), data[:40] + b"\xff" + data[41:]):
        with pytest.raises(BtfError):
            unpack(memoryview(bad), len(raw))
    with pytest.raises(BtfError):
        unpack(memoryview(data), len(raw) + 1)


def test_only_files_of_our_own_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = blob()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("BOMBUS_CACHE", "off")
    btfcache._parse(raw, "boot")
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("BOMBUS_CACHE")
    btfcache._parse(raw, "boot")
    (file,) = (tmp_path / "bombus").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert btfcache._read(file, len(raw)) is not None
    assert btfcache._read(file, len(raw) + 8) is None
    file.chmod(0o666)
    assert btfcache._read(file, len(raw)) is None
    file.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert btfcache._read(link, len(raw)) is None
    file.write_bytes(b"not an index")
    assert btfcache._parse(raw, "boot").find_all("int") == Btf.parse(raw).find_all("int")
    assert btfcache._read(file, len(raw)) is not None, "a bad one is made anew"
    os.chmod(tmp_path / "bombus", 0o500)
    btfcache._parse(raw, "another boot")
