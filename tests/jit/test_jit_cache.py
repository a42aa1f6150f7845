"""Compiled objects on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bombus.errors import CodegenError
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.facts import OTHER, Facts
from bombus.isa.insn import Insn
from bombus.jit import cache
from bombus.jit.compile import Compiler
from bombus.jit.engine import NativeEngine
from bombus.jit.model import Options
from bombus.jit.target import host
from bombus.jit.tiers import TieredEngine
from bombus.vm.env import PlainEnv

INSNS = [b.mov(0, b.R1), b.add(0, 42), b.exit_()]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOMBUS_CACHE", str(tmp_path))
    return tmp_path / "native"


def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> bytes:
        raise CodegenError("nothing is to be compiled here")

    monkeypatch.setattr(Compiler, "compile", refuse)


def run(insns: list[Insn], ctx: int = 1) -> int:
    return NativeEngine().compile(insns, PlainEnv()).run(ctx)


def test_the_second_time_nothing_is_compiled(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(INSNS) == 43
    assert len(list(place.iterdir())) == 1
    assert place.stat().st_mode & 0o777 == 0o700
    no_compiler(monkeypatch)
    assert run(INSNS, 5) == 47
    with pytest.raises(CodegenError):
        run([b.mov(0, 1), b.exit_()])


def test_addresses_do_not_count(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map value lies elsewhere in every process: the object gets its address when it is placed."""

    def program(address: int, other: int) -> list[Insn]:
        kind = op.BPF_PSEUDO_MAP_VALUE
        return [*b.ld_imm64(0, address, src=kind), *b.ld_imm64(1, other, src=kind), b.sub(0, b.R1), b.exit_()]

    assert run(program(0x7000_0000_1000, 0x10)) == 0x7000_0000_0FF0
    no_compiler(monkeypatch)
    assert run(program(0x6000_0000_2000, 0x20)) == 0x6000_0000_1FE0
    with pytest.raises(CodegenError):  # the same address twice is another program
        run(program(0x6000_0000_2000, 0x6000_0000_2000))


def test_loads_with_and_without_care_are_two_programs() -> None:
    """The same instructions, attached to functions whose arguments are trusted and not."""
    loads = [b.ldx("u64", 0, 1, 0), b.exit_()]
    keys = [
        cache.key_of(loads, host(), Options(checked=False, facts=Facts(access={0: OTHER}, probes=probes)), 2)
        for probes in (frozenset[int](), frozenset({0}))
    ]
    assert keys[0] != keys[1]


def test_a_broken_file_is_compiled_anew(place: Path) -> None:
    run(INSNS)
    (file,) = place.iterdir()
    whole = file.read_bytes()
    for broken in (b"", whole[:100], whole[:-1], whole[:200] + b"\x90" + whole[201:], b"x" * 5000):
        file.write_bytes(broken)
        assert run(INSNS) == 43
        assert file.read_bytes() == whole


def test_others_may_not_write_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(INSNS)
    place.chmod(0o777)
    no_compiler(monkeypatch)
    with pytest.raises(CodegenError):
        run(INSNS)


def test_off(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMBUS_CACHE", "off")
    assert run(INSNS) == 43
    assert not place.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BOMBUS_CACHE", str(tmp_path / "file"))
    assert run(INSNS) == 43


def test_the_oldest_go(place: Path) -> None:
    for number in range(6):
        run([b.mov(0, number), b.exit_()])
    files = sorted(place.iterdir())
    for age, file in enumerate(files):
        os.utime(file, (time.time() - age, time.time() - age))
    cache.trim(place, limit=sum(file.stat().st_size for file in files[:3]))
    assert sorted(place.iterdir()) == files[:3]


def _write_and_read() -> None:
    for number in range(6):
        assert run([b.mov(0, number), b.exit_()]) == number
        assert run([b.mov(0, number), b.exit_()]) == number


def test_many_writers(place: Path, hammer: Callable[[Callable[[], None]], None]) -> None:
    hammer(_write_and_read)
    assert len(list(place.iterdir())) == 6


def test_tiers_change_over(place: Path) -> None:
    program = TieredEngine().compile(INSNS, PlainEnv())
    assert program.run(1) == 43  # at once
    for _ in range(1000):
        if program.ready:
            break
        time.sleep(0.01)
    assert program.ready and program.run(2) == 44
    again = TieredEngine().compile(INSNS, PlainEnv())
    again.prepare()
    assert again.ready and again.run(3) == 45


def test_a_tier_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    no_compiler(monkeypatch)
    program = TieredEngine().compile(INSNS, PlainEnv())
    assert program.run(1) == 43
    for _ in range(1000):
        if program.error is not None:
            break
        time.sleep(0.01)
    assert "nothing is to be compiled" in str(program.error)
    assert program.run(1) == 43 and not program.ready
