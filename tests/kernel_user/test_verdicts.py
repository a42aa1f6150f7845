"""Verdicts that are kept: found again for the same program, for nothing else, and believed only when whole."""

from __future__ import annotations

import dataclasses
import marshal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bombus import kept
from bombus.asm import assemble
from bombus.btf.build import Builder
from bombus.btf.types import Func, FuncProto, Int, Param, Struct
from bombus.errors import LoadError
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.kernel.handles import Map
from bombus.kernel.user import verdicts
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.prog import Prog
from bombus.verifier.program import MapInfo, Program

LOOKUP = """
    *(u32 *)(r10 - 4) = 0
    r2 = r10
    r2 += -4
    r1 = 0x70000000 ll
    call bpf_map_lookup_elem
    if r0 == 0 goto out
    r0 = *(u64 *)(r0 + 0)
out:
    r0 = 1
    exit
"""
Loads = list[Program]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOMBUS_CACHE", str(tmp_path))
    monkeypatch.setattr(verdicts, "_judged", 0)
    return tmp_path / "verdicts"


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """What the verifier is asked."""
    import bombus.verifier.main

    asked: Loads = []
    whole = bombus.verifier.main.verify

    def noting(program: Program, *args: Any) -> Any:
        asked.append(program)
        return whole(program, *args)

    monkeypatch.setattr(bombus.verifier.main, "verify", noting)
    return asked


def program(text: str, fds: dict[int, int] | None = None) -> list[Insn]:
    fds = fds or {}
    return [insn._replace(src=1, imm=fds[insn.imm]) if insn.opcode == 0x18 and insn.imm in fds else insn
            for insn in assemble(text).insns]  # fmt: skip


def load(kernel: UserKernel, insns: list[Insn], **fields: Any) -> Prog:
    given = {"prog_type": 6, "insns": encode(insns), "insn_cnt": len(insns), "license": b"GPL\0"} | fields
    prog = kernel.object("test", kernel.bpf(Attr("BPF_PROG_LOAD", **given)), "prog")
    assert isinstance(prog, Prog)
    return prog


def hash_map(kernel: UserKernel, **changes: Any) -> Map:
    fields: dict[str, Any] = {"kind": "hash", "key_size": 4, "value_size": 8, "max_entries": 10} | changes
    return Map.create(kernel, fields.pop("kind"), fields.pop("key_size"), fields.pop("value_size"),
                      fields.pop("max_entries"), **fields)  # fmt: skip


def test_the_second_load_asks_nobody(place: Path, judged: Loads) -> None:
    first_kernel, second_kernel = UserKernel(), UserKernel()
    spare = [hash_map(second_kernel) for _ in range(3)]  # so that descriptors and ids are others there
    found = []
    for kernel in (first_kernel, second_kernel):
        item = hash_map(kernel)
        prog = load(kernel, program(LOOKUP, {0x70000000: item.fd}))
        found.append((prog.verified_insns, prog.max_ctx_offset, prog.tag, prog.facts))
        assert prog.facts is not None and prog.facts.maps == {3: item.id, 5: item.id}
    assert len(judged) == 1 and len(list(place.iterdir())) == 1 and spare
    (insns, context, tag, facts), second = found
    assert (insns, context, tag) == second[:3] and insns > 5
    assert facts is not None and facts._replace(maps={}) == second[3]._replace(maps={}) and facts.access


VARIATIONS: dict[str, dict[str, Any]] = {
    "an instruction": {"text": LOOKUP.replace("r0 = 1", "r0 = 2")},
    "the type": {"prog_type": 3},
    "the attach type": {"expected_attach_type": 37},
    "the license": {"license": b"Dual MIT/GPL\0"},
    "the name": {"prog_name": "other"},
    "flags": {"prog_flags": 1 << 3},
    "the version": {"version": "6.18"},
    "CPUs": {"cpus": 3},
    "the map's type": {"map": {"kind": "lru_hash"}},
    "the value's size": {"map": {"value_size": 16}},
    "entries": {"map": {"max_entries": 11}},
    "the map's flags": {"map": {"flags": 1}},
    "the map's name": {"map": {"name": "other"}},
    "the kernel's types": {"btf": True},
}


@pytest.mark.parametrize("what", VARIATIONS)
def test_whatever_differs_is_judged(place: Path, judged: Loads, what: str) -> None:
    def once(text: str = LOOKUP, version: str = "6.12", cpus: int = 2, map: Any = None, btf: bool = False,
             **fields: Any) -> None:  # fmt: skip
        types = Builder()
        types.add(Int("int", 4, 1))
        kernel = UserKernel(version, cpus=cpus, btf=types.build().raw if btf else None)
        with hash_map(kernel, **(map or {})) as item:
            load(kernel, program(text, {0x70000000: item.fd}), **fields)

    once()
    once()
    assert len(judged) == 1
    once(**VARIATIONS[what])
    assert len(judged) == 2
    once(**VARIATIONS[what])
    once()
    assert len(judged) == 2


def test_which_map_it_is(place: Path, judged: Loads) -> None:
    """Two maps alike, in both orders, and one in the place of both."""
    text = LOOKUP.replace("r0 = 1\n    exit", "r1 = 0x70000001 ll\n    r0 = 1\n    exit")
    for pair in ((0, 1), (1, 0), (0, 0), (1, 1)):
        kernel = UserKernel()
        maps = [hash_map(kernel) for _ in range(2)]
        prog = load(kernel, program(text, {0x70000000: maps[pair[0]].fd, 0x70000001: maps[pair[1]].fd}))
        assert prog.facts is not None and prog.facts.maps[5] == maps[pair[0]].id
    assert len(judged) == 3  # the last is the one before: a program with one map


def frozen(kernel: UserKernel, value: int) -> Map:
    item = hash_map(kernel, kind="array", max_entries=1, flags=1 << 7)  # BPF_F_RDONLY_PROG
    item.raw[bytes(4)] = value.to_bytes(8, "little")
    item.freeze()
    return item


def test_contents_that_never_change(place: Path, judged: Loads) -> None:
    """The verifier reads a frozen map: what lies behind a condition on it may be anything."""
    text = "r1 = 0x70000000 ll\nr1 = *(u64 *)(r1 + 0)\nr0 = 1\nif r1 == 7 goto out\nr0 = *(u64 *)(r10 + 8)\nout:\nexit"

    def once(value: int) -> Prog:
        kernel = UserKernel()
        with frozen(kernel, value) as item:
            return load(kernel, [one._replace(src=2) if one.src == 1 and one.opcode == 0x18 else one
                                 for one in program(text, {0x70000000: item.fd})])  # fmt: skip

    once(7)
    once(7)
    assert len(judged) == 1
    with pytest.raises(LoadError):
        once(8)
    once(7)
    assert len(judged) == 2


def typed(kernel: UserKernel, returns: str = "int") -> dict[str, Any]:
    """BTF with one function, and the record that names it."""
    types = Builder()
    number = types.add(Int("int", 4, 1))
    record = types.add(Struct(returns, 4, ()))
    proto = types.add(FuncProto(number, (Param("ctx", number),)))
    func = types.add(Func("main", proto, 1))
    raw = types.build().raw
    fd = kernel.bpf(Attr("BPF_BTF_LOAD", btf=raw, btf_size=len(raw)))
    assert record
    return {"prog_btf_fd": fd, "func_info": struct.pack("<II", 0, func), "func_info_rec_size": 8, "func_info_cnt": 1}


def test_types_of_the_program(place: Path, judged: Loads) -> None:
    for returns in ("int", "int", "other", "int"):
        kernel = UserKernel()
        load(kernel, program("r0 = 2\nexit"), **typed(kernel, returns))
    assert len(judged) == 2
    load(UserKernel(), program("r0 = 2\nexit"))
    assert len(judged) == 3


def test_all_that_the_verifier_is_given_counts() -> None:
    """A new member of Program or MapInfo must find its way into the key, and then into this list."""
    assert {field.name for field in dataclasses.fields(Program)} == {
        # in the key
        "insns", "prog_type", "version", "expected_attach_type", "license", "name", "flags", "maps", "fd_array", "btf",
        "func_info", "line_info", "attach_btf_id", "vmlinux", "cpus",
        # no other value where verdicts are kept
        "log_level", "log_size", "other_fds", "attach_prog", "modules", "attach_btf_fd", "target",
        # the user kernel leaves them as they are
        "privileges", "without", "data_symbols",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(MapInfo)} == {
        "type", "key_size", "value_size", "max_entries", "name", "flags", "inner", "frozen", "contents", "btf",
        "key_type_id", "value_type_id", "user_start",
        "fields",  # follow from the types and the version
        "id", "address", "pointer",  # differ from process to process
    }  # fmt: skip


REFUSED = ("r0 = *(u64 *)(r10 + 8)\nexit", "r2 = 0\ncall bpf_skb_change_proto\nexit", "r0 = r5\nexit")


@pytest.mark.parametrize("text", REFUSED)
def test_refusals_are_not_kept(place: Path, judged: Loads, text: str) -> None:
    for _ in range(2):
        with pytest.raises(LoadError) as refused:
            load(UserKernel(), program(text), log_level=1, log_size=1 << 16, log_buf=bytearray(1 << 16))
        assert refused.value.log
        with pytest.raises(LoadError):
            load(UserKernel(), program(text))
    assert len(judged) == 4 and not place.exists()


def test_what_a_load_refuses_besides_is_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper without a body: the verifier accepts the call, the user kernel does not."""
    monkeypatch.setattr("bombus.kernel.user.helpers.registry.bound", lambda _number: False)
    for _ in range(2):
        with pytest.raises(LoadError, match="not in the user kernel"):
            load(UserKernel(), program("call bpf_ktime_get_ns\nr0 = 0\nexit"))
    assert not place.exists()


def test_a_log_comes_from_the_verifier(place: Path, judged: Loads) -> None:
    load(UserKernel(), program("r0 = 2\nexit"))
    buffer = bytearray(1 << 16)
    load(UserKernel(), program("r0 = 2\nexit"), log_level=2, log_size=len(buffer), log_buf=buffer)
    assert len(judged) == 2 and b"processed 2 insns" in buffer


@pytest.mark.parametrize("options", [{"verify": "off"}, {"version": "5.15"}])
def test_without_a_verifier_of_its_own(place: Path, options: dict[str, Any]) -> None:
    load(UserKernel(**options), program("r0 = 2\nexit"))
    assert not place.exists()


Spoil = Callable[[bytes], bytes]
SPOILED: dict[str, Spoil] = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[:-1],
    "a bit": lambda whole: whole[:-3] + bytes([whole[-3] ^ 4]) + whole[-2:],
    "another file": lambda whole: b"x" * 5000,
}


@pytest.mark.parametrize("how", SPOILED)
def test_damage_is_judged_anew(place: Path, judged: Loads, how: str) -> None:
    load(UserKernel(), program("r0 = 2\nexit"))
    (file,) = place.iterdir()
    whole = file.read_bytes()
    file.write_bytes(SPOILED[how](whole))
    prog = load(UserKernel(), program("r0 = 2\nexit"))
    assert len(judged) == 2 and prog.verified_insns == 2 and file.read_bytes() == whole


@pytest.mark.parametrize("payload", [b"", b"junk", marshal.dumps(5), marshal.dumps((1, 2, 3)),
                                     marshal.dumps((1, 0, {"maps": {5: 9}})), marshal.dumps((1, 0, {"x": {}}))])
def test_whole_files_that_are_no_verdicts(place: Path, judged: Loads, payload: bytes) -> None:
    load(UserKernel(), program("r0 = 2\nexit"))
    (file,) = place.iterdir()
    kept.write("verdicts", file.name, verdicts._MAGIC, payload)
    assert load(UserKernel(), program("r0 = 2\nexit")).verified_insns == 2
    assert len(judged) == 2


def test_other_sources_judge_anew(place: Path, judged: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    load(UserKernel(), program("r0 = 2\nexit"))
    monkeypatch.setattr(kept, "stamp", lambda *rooms: b"other")
    load(UserKernel(), program("r0 = 2\nexit"))
    assert len(judged) == 2


def test_rooms_that_judge_are_in_the_stamp() -> None:
    """Whatever the verifier imports is part of what a verdict depends on."""
    import subprocess
    import sys

    code = "import sys, bombus.verifier.main, bombus.kernel.user.prog; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    rooms = {name.removeprefix("bombus.").rpartition(".")[0].replace(".", "/") for name in names if "bombus." in name}
    beside = {"", "bombus", "kernel", "kernel/user/world", "vm", "elf", "asm"}  # no say in what is accepted
    assert rooms <= {*verdicts._SOURCES, *beside}, rooms - {*verdicts._SOURCES, *beside}


def test_a_million_small_programs_are_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "_FIRST", 2)
    monkeypatch.setattr(verdicts, "_WORTH", 1 << 60)
    for number in range(4):
        load(UserKernel(), program(f"r0 = {number}\nexit"))
    assert len(list(place.iterdir())) == 2
    monkeypatch.setattr(verdicts, "_WORTH", 0)
    load(UserKernel(), program("r0 = 4\nexit"))
    assert len(list(place.iterdir())) == 3


def _judge() -> None:
    for number in range(12):
        prog = load(UserKernel(), program(f"r0 = {number % 4}\nexit"))
        assert prog.verified_insns == 2 and prog.facts is not None


def test_many_writers(place: Path, hammer: Callable[[Callable[[], None]], None]) -> None:
    hammer(_judge)
    assert len(list(place.iterdir())) == 4


def test_commands_are_bound_where_the_table_says() -> None:
    from bombus.kernel.user import commands
    from bombus.spec.commands import COMMAND_BY_ID

    commands.load_bodies()
    bound = {COMMAND_BY_ID[number].name: body.__module__ for number, body in commands.BODIES.items()}
    table = {name: f"bombus.kernel.user.{module}" for module, names in commands.MODULES.items() for name in names}
    assert bound == table


def test_map_types_are_bound_where_the_table_says() -> None:
    from bombus.kernel.user.maps import base
    from bombus.spec.maptypes import MAP_TYPE_BY_ID

    base.load_classes()
    bound = {MAP_TYPE_BY_ID[number].short: cls.__module__ for number, cls in base.CLASSES.items()}
    assert bound == {
        short: f"bombus.kernel.user.maps.{module}" for module, types in base.MODULES.items() for short in types.split()
    }
