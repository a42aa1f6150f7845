"""Objects that the compiler makes: what is in them, and what happens when LLVM fails."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bombus.bpf.core import linkage_of
from bombus.compiler.bindings import pages
from bombus.compiler.build import build_file, build_source, module_text
from bombus.compiler.codegen import Codegen
from bombus.compiler.importing import import_source
from bombus.errors import CodegenError, DialectError, UsageError
from bombus.object.read import read_object

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples" / "bpf"

PROGRAM = '''\
from __future__ import annotations

from bombus import bpf
from bombus.bpf import map, s32, u32, u64, xdp

LICENSE = bpf.license("Dual BSD/GPL")
counts = map.percpu_hash(u32, u64, max_entries=7, flags=1, pinned=True)
ring = map.ringbuf(max_entries=8192)
data = bpf.var(u64(5))
zero = bpf.var(u32(0))
setting = bpf.config(s32(-2))


@bpf.noinline
def static(a: u32, b: s32) -> u32:
    return a * 3 + u32(b)


@bpf.global_function
def public(a: u64) -> u64:
    return a + data.value


@xdp
def prog(ctx: xdp.Context) -> xdp.Action:
    counts.update(static(ctx.rx_queue_index, setting.value), public(u64(zero.value)))
    return xdp.PASS
'''


@pytest.fixture(scope="module")
def obj():  # type: ignore[no-untyped-def]
    return read_object(build_source(PROGRAM, "prog.py"), name="prog")


def test_programs_and_functions(obj) -> None:  # type: ignore[no-untyped-def]
    (program,) = obj.programs
    assert (program.name, program.section, program.prog_type) == ("prog", "xdp", "BPF_PROG_TYPE_XDP")
    assert {"prog", "static", "public"} <= set(obj.functions)
    assert obj.license == "Dual BSD/GPL"


def test_maps(obj) -> None:  # type: ignore[no-untyped-def]
    maps = {spec.name: spec for spec in obj.maps}
    counts = maps["counts"]
    assert (counts.type, counts.key_size, counts.value_size, counts.max_entries, counts.flags, counts.pinning) == (
        5, 4, 8, 7, 1, 1,
    )  # fmt: skip
    assert (maps["ring"].type, maps["ring"].max_entries) == (27, 8192)
    sections = {spec.section: spec.data for spec in obj.maps if spec.section}
    assert sections[".data"] == (5).to_bytes(8, "little")
    assert sections[".rodata"] == (-2).to_bytes(4, "little", signed=True)
    assert len(sections[".bss"]) == 4


def test_debug_info(obj) -> None:  # type: ignore[no-untyped-def]
    assert obj.btf is not None
    for name in ("static", "public", "prog", "xdp_md", "__u32", "counts"):
        assert obj.btf.find(name) is not None, name
    infos = [info for function in obj.functions.values() for info in function.line_info]
    lines = {info.line_number: obj.btf.string(info.line) for info in infos}
    assert set(lines) >= {16, 21, 26}
    assert lines[21].strip() in ("", "return a + data.value")  # the text itself where the file exists
    assert {obj.btf.string(info.file).rpartition("/")[2] for info in infos} == {"prog.py"}
    assert all(function.func_info for function in obj.functions.values())


def test_line_info_quotes_the_file() -> None:
    obj = read_object(build_file(str(EXAMPLES / "xdp_count.py")))
    assert obj.btf is not None
    infos = [info for function in obj.functions.values() for info in function.line_info]
    assert "slot.value += 1" in {obj.btf.string(info.line).strip() for info in infos}


def test_big_endian() -> None:
    data = build_source(PROGRAM, "prog.py", target="bpfeb")
    assert read_object(data).byteorder == "big"


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3", "v4"])
def test_every_cpu(cpu: str) -> None:
    assert read_object(build_source(PROGRAM, "prog.py", cpu=cpu)).programs


def test_cpu_changes_instructions() -> None:
    text = (EXAMPLES / "xdp_ewma.py").read_text()
    assert build_source(text, "a.py", cpu="v1") != build_source(text, "a.py", cpu="v3")


def test_wrong_target_and_cpu() -> None:
    module = import_source(PROGRAM, "prog.py")
    with pytest.raises(UsageError, match="no target: bpfel, bpfeb are"):
        module_text(module, target="x86")
    with pytest.raises(UsageError, match="no BPF cpu"):
        module_text(module, cpu="v9")


def test_same_program_gives_same_object() -> None:
    assert build_source(PROGRAM, "prog.py") == build_source(PROGRAM, "prog.py")


def test_core_programs_follow_each_other() -> None:
    """LLVM keeps what it must not after a module with CO-RE relocations."""
    for _ in range(3):
        obj = read_object(build_file(str(EXAMPLES / "task_parents.py")))
        assert len(obj.functions["look"].core) >= 5


def test_refused_module() -> None:
    codegen = Codegen()
    with pytest.raises(CodegenError, match="LLVM refuses the module") as caught:
        codegen.compile("this is no module")
    assert "expected top-level entity" in caught.value.log
    codegen.close()


def test_dying_llvm_does_not_take_us_along() -> None:
    """A module that LLVM cannot select instructions for ends the child; the next one is compiled by another child."""
    codegen = Codegen()
    deadly = 'define i32 @f() section "xdp" {\n  %a = alloca i8, i64 undef\n  fence seq_cst\n  ret i32 0\n}\n'
    bad = 'target triple = "bpfel"\ndefine fp128 @f(fp128 %x) {\n  %y = frem fp128 %x, %x\n  ret fp128 %y\n}\n'
    for text in (deadly, bad):
        with pytest.raises(CodegenError, match="LLVM") as caught:
            codegen.compile(text)
        assert caught.value.log
    good = codegen.compile(module_text(import_source(PROGRAM, "prog.py")))
    assert read_object(good).programs
    codegen.close()


def test_bindings_are_up_to_date() -> None:
    for name, text in pages().items():
        assert (ROOT / "bombus" / "bpf" / name).read_text() == text, f"{name}: run tools/gen-dialect"


def test_linkage_marks() -> None:
    module = import_source(PROGRAM, "prog.py")
    assert linkage_of(module.static) == "noinline"
    assert linkage_of(module.public) == "global"


def test_diagnostics_are_data() -> None:
    with pytest.raises(DialectError) as caught:
        build_source(PROGRAM.replace("a * 3", "a / 3"), "prog.py")
    (found,) = caught.value.diagnostics
    assert (found.path, found.line, found.column, found.end_column) == ("prog.py", 16, 12, 17)
    assert found.message == "/ is not part of the language"
    assert found.text == "    return a / 3 + u32(b)"


def test_elf_magic() -> None:
    assert io.BytesIO(build_source(PROGRAM, "prog.py")).read(4) == b"\x7fELF"
