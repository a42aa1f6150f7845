"""What the reader finds in objects: struct_ops, arenas, externs, hidden functions."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bombus.elf.model import Symbol as ElfSymbol
from bombus.errors import ElfError, ObjectError
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load, prepare
from bombus.object.externs import read_externs
from bombus.object.model import Extern
from bombus.object.read import open_object
from bombus.object.relocate import Symbol

DATA = Path(__file__).parent / "data"
OPS = DATA / "arena_ops.bpf.o"
FEATURES = DATA / "features.bpf.o"


def test_struct_ops_are_maps_with_programs_bound_to_members() -> None:
    obj = open_object(OPS)
    one, two = (spec for spec in obj.maps if spec.type == 26)
    assert one.data is not None
    assert (one.name, one.values, one.flags, one.data[16:20]) == ("one", ((0, "my_init"),), 0, b"one\0")
    assert (two.name, two.values, two.flags) == ("two", ((8, "my_ssthresh"),), 1 << 13)
    assert obj.btf is not None and obj.btf.name(one.value_type) == "tcp_congestion_ops"
    with pytest.raises(ObjectError, match=r"struct_ops need the kernel's BTF.*'one'"):
        load(obj, UserKernel())


def test_programs_beside_struct_ops_load_alone() -> None:
    obj = open_object(DATA / "inspect" / "ops.bpf.o")
    with pytest.raises(ObjectError, match=r"struct_ops need the kernel's BTF.*'my_ops'"):
        load(obj, UserKernel())
    with load(obj, UserKernel("6.12", verify="lenient"), programs=["timer"]) as loaded:
        assert list(loaded.maps) == ["timers", "tasks"]


def test_globals_in_an_arena(linux_kernel: Any) -> None:
    obj = open_object(OPS)
    obj = replace(obj, maps=tuple(spec for spec in obj.maps if spec.type == 33))
    assert obj.maps[0].data == struct.pack("<2i", 7, 0)
    with load(obj, linux_kernel, programs=["use"]) as loaded:
        assert loaded.programs["use"].test_run().retval == 0
        assert struct.unpack_from("<2i", loaded.arenas["arena"]) == (8, 8)


def test_externs() -> None:
    obj = open_object(FEATURES)
    found = {extern.name: extern for extern in obj.externs}
    # Strictest alignment first, then the smallest, then by name.
    assert [(e.name, e.offset, e.size) for e in obj.externs if e.kind == "kconfig"] == [
        ("CONFIG_HZ", 0, 8), ("CONFIG_NO_SUCH_OPTION", 8, 4), ("LINUX_KERNEL_VERSION", 12, 4),
        ("CONFIG_BPF_SYSCALL", 16, 1), ("CONFIG_DEFAULT_HOSTNAME", 17, 16),
    ]  # fmt: skip
    assert found["no_such_symbol"].weak and not found["bpf_prog_alloc"].weak
    assert not next(p for p in obj.programs if p.name == "not_by_default").autoload
    assert {"weak_add", "callback", "probe"} <= set(obj.functions)
    assert {spec.section for spec in obj.maps} >= {".data.custom", ".rodata.table", ".bss", ".kconfig"}


def test_kconfig_values_reach_the_map() -> None:
    config = {"CONFIG_HZ": "250", "CONFIG_BPF_SYSCALL": "y", "CONFIG_DEFAULT_HOSTNAME": '"bee"'}
    kernel = UserKernel("6.12", kconfig=config, kallsyms={"bpf_prog_alloc": 0xFFFF_FFFF_8100_0000}, verify="lenient")
    with load(open_object(FEATURES), kernel, programs=["config"]) as loaded:
        values = loaded.maps[".kconfig"][0]
        assert values["CONFIG_HZ"] == 250 and values["CONFIG_BPF_SYSCALL"] is True
        assert values["LINUX_KERNEL_VERSION"] == 6 << 16 | 12 << 8 and values["CONFIG_NO_SUCH_OPTION"] == 0
        assert loaded.maps[".kconfig"].raw[bytes(4)][17:21] == b"bee\0"
    with pytest.raises(ObjectError, match="does not say CONFIG_HZ"):
        load(open_object(FEATURES), UserKernel(), programs=["config"])


def test_a_weak_kernel_function_that_is_missing_poisons_its_call() -> None:
    obj = open_object(FEATURES)
    program = next(p for p in obj.programs if p.name == "not_by_default")
    from bombus.isa.insn import Insn
    from bombus.object.model import Reference

    call = replace(
        program.function, insns=(Insn(0x85, 0, 2, 0, -1), *program.function.insns),
        references=(Reference(0, "extern", "nothing"),), func_info=(), line_info=(),
    )  # fmt: skip
    obj = replace(
        obj, programs=(replace(program, function=call),), functions={program.name: call},
        externs=(Extern("nothing", "kfunc", 0, True),),
    )  # fmt: skip
    insns = prepare(obj, UserKernel(), symbols={"nothing": Symbol("missing")}, programs=[program.name])
    first = insns[program.name][0]
    assert (first.src, first.imm) == (0, 2002000000)


def test_a_name_in_btf_that_is_no_undefined_symbol() -> None:
    obj = open_object(FEATURES)
    assert obj.btf is not None
    undefined = {e.name: ElfSymbol(0, e.name, 0, 0, 1, 0, 0, 0) for e in obj.externs}
    assert len(read_externs(obj.btf, undefined)) == len(undefined)
    del undefined["CONFIG_HZ"]
    with pytest.raises(ObjectError, match=r"no undefined symbol .*'\.kconfig', symbol 'CONFIG_HZ'"):
        read_externs(obj.btf, undefined)
    assert read_externs(obj.btf, {}) == []


def test_errors_name_the_file(tmp_path: Path) -> None:
    text, other = tmp_path / "text.o", tmp_path / "other.o"
    text.write_text("no ELF file at all" * 10)
    with pytest.raises(ElfError) as caught:
        open_object(text)
    assert caught.value.path == str(text) and str(caught.value).startswith(f"{text}: ")
    data = bytearray(FEATURES.read_bytes())
    data[18:20] = struct.pack("<H", 62)  # e_machine: EM_X86_64
    other.write_bytes(data)
    with pytest.raises(ObjectError) as refused:
        open_object(other)
    assert refused.value.path == str(other) and str(refused.value).startswith(f"{other}: ")
