"""`bombus build` of C and assembly, `bombus gen vmlinux`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bombus.btf.build import Builder
from bombus.btf.types import (
    INT_SIGNED,
    Const,
    DeclTag,
    Enum,
    Enumerator,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Typedef,
)
from bombus.compiler.c import toolchain
from bombus.elf.read import read_elf
from bombus.errors import BombusError
from bombus.object.read import open_object

PROGRAM = '#include <stddef.h>\nint prog(void *ctx) { int unused; return NUMBER; }\n'
ASSEMBLY = ".section xdp\ncount: r0 = 2\nexit\n.section license\n.asciz \"GPL\"\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    try:
        toolchain.find("clang")
    except BombusError as error:
        pytest.skip(str(error))
    path = tmp_path / "prog.bpf.c"
    path.write_text(PROGRAM)
    return path


def test_c_object_and_warnings(bombus: Callable[..., Any], source: Path) -> None:
    done = bombus("build", source, "-D", "NUMBER=3", "--cflag", "-Wunused-variable", "--mcpu", "v2", "-O", "s")
    assert (done.code, done.out) == (0, "")
    assert "warning: unused variable 'unused'" in done.err and "^" in done.err
    assert open_object(source.with_suffix(".o")).byteorder == "little"
    done = bombus("build", "-j", source, "-DNUMBER=3", "--cflag=-Wunused-variable", "--target", "bpfeb")
    row = done.json()
    assert row["object"] == str(source.with_suffix(".o")) and done.err == ""
    (warning,) = row["diagnostics"]
    assert warning == {"file": str(source), "line": 2, "column": 27, "severity": "warning",
                       "message": "unused variable 'unused' [-Wunused-variable]"}  # fmt: skip


def test_c_errors(bombus: Callable[..., Any], source: Path) -> None:
    done = bombus("build", source)
    assert (done.code, done.out) == (1, "")
    assert f"{source}:2:42: error: use of undeclared identifier 'NUMBER'" in done.err
    assert not source.with_suffix(".o").exists()
    done = bombus("build", "-j", source)
    assert done.code == 1
    (row,) = [row for row in done.json()["errors"] if row["severity"] == "error"]
    assert (row["file"], row["line"], row["column"]) == (str(source), 2, 42)


def test_c_text(bombus: Callable[..., Any], source: Path) -> None:
    assert bombus("build", source, "-DNUMBER=3", "--emit", "asm").code == 0
    assert "= 3" in source.with_suffix(".s").read_text()
    assert bombus("build", source, "-DNUMBER=3", "--emit", "llvm").code == 0
    assert "ret i32 3" in source.with_suffix(".ll").read_text()


def test_an_old_object_stays_when_a_build_fails(bombus: Callable[..., Any], source: Path) -> None:
    goal = source.with_suffix(".o")
    goal.write_bytes(b"old")
    assert bombus("build", source).code == 1
    assert goal.read_bytes() == b"old"
    assert sorted(p.name for p in source.parent.iterdir() if p.is_file()) == ["prog.bpf.c", "prog.bpf.o"]


@pytest.mark.parametrize(
    ("name", "option", "text"),
    [
        ("x.S", ["-O", "2"], "-O is not for .S files"),
        ("x.S", ["-D", "A"], "-D is not for .S files"),
        ("x.S", ["--emit", "asm"], "--emit is not for .S files"),
        ("x.py", ["-I", "."], "-I is not for .py files"),
        ("x.py", ["--compiler", "clang"], "--compiler is not for .py files"),
        ("x.py", ["-O", "s"], "-Os is for C"),
        ("x.py", ["--emit", "asm"], "--emit asm is for C"),
        ("x.c", ["--syntax", "ubpf"], "--syntax is not for .c files"),
        ("x.c", ["--arch", "vax"], "'vax' is no architecture"),
        ("x.c", ["--arch", "arm", "-D", "__TARGET_ARCH_x86"], "not by both"),
        ("x.c", ["--compiler", "no-such-thing"], "no program 'no-such-thing'"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    bombus: Callable[..., Any], tmp_path: Path, name: str, option: list[str], text: str
) -> None:
    path = tmp_path / name
    path.write_text("")
    done = bombus("build", path, *option)
    assert done.code == 2
    assert text in done.err


def test_assembly(bombus: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("prog.S", "other.s", "third.asm"):
        path = tmp_path / name
        path.write_text(ASSEMBLY)
        assert bombus("build", path).code == 0
        assert [p.name for p in open_object(path.with_suffix(".o")).programs] == ["count"]
    assert bombus("build", tmp_path / "prog.S", "--syntax", "ubpf").code == 1
    assert bombus("inspect", tmp_path / "prog.S").code == 0
    assert "w0 = 0x2" in bombus("prog", "dump", "asm", tmp_path / "prog.S").out.replace("r0 = 0x2", "w0 = 0x2")


def test_assembly_errors(bombus: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "prog.S"
    path.write_text(ASSEMBLY.replace("r0 = 2", "r0 = r77"))
    done = bombus("build", path)
    assert done.code == 1
    assert done.err.startswith(f"{path}:2:") and "error:" in done.err and "^" in done.err
    (row,) = bombus("build", "-j", path).json()["errors"]
    assert (row["file"], row["line"], row["severity"]) == (str(path), 2, "error")


@pytest.fixture
def types(tmp_path: Path) -> Path:
    """A small kernel's BTF: task -> mm -> task, an enum, a typedef, a kfunc."""
    builder = Builder()
    number = builder.add(Int("int", 4, INT_SIGNED))
    task = number + 1
    pointer = number + 2
    assert builder.add(Struct("task", 16, (Member("pid", number, 0), Member("mm", number + 4, 64)))) == task
    assert builder.add(Ptr(task)) == pointer
    mm = builder.add(Struct("mm", 8, (Member("owner", pointer, 0),)))
    builder.add(Ptr(mm))
    builder.add(Typedef("pid_t", number))
    builder.add(Enum("level", 4, (Enumerator("LOW", 1), Enumerator("HIGH", 2))))
    proto = builder.add(FuncProto(number, (Param("p", pointer), Param("c", builder.add(Const(number))))))
    function = builder.add(Func("bpf_task_of", proto, 0))
    builder.add(DeclTag("bpf_kfunc", function, -1))
    path = tmp_path / "kernel.btf"
    path.write_bytes(builder.to_bytes())
    return path


def test_gen_vmlinux(bombus: Callable[..., Any], types: Path, tmp_path: Path) -> None:
    whole = bombus("gen", "vmlinux", "--btf", types).out
    for text in ("struct task {", "struct mm {", "enum level {", "typedef int pid_t;",
                 "extern int bpf_task_of(struct task *p, const int c) __weak __ksym;", "preserve_access_index"):
        assert text in whole
    some = bombus("gen", "vmlinux", "--btf", types, "--names", "mm").out
    assert "struct mm {" in some and "struct task;" in some and "struct task {" not in some and "pid_t" not in some
    some = bombus("gen", "vmlinux", "--btf", types, "--names", "HIGH, pid_t").out
    assert "enum level {" in some and "typedef int pid_t;" in some and "struct" not in some.split("#endif", 3)[3]
    some = bombus("gen", "vmlinux", "--btf", types, "--names", "bpf_task_of").out
    assert "extern int bpf_task_of(" in some and "struct task;" in some
    goal = tmp_path / "vmlinux.h"
    row = bombus("gen", "vmlinux", "-j", "--btf", types, "-o", goal).json()
    assert row == {"file": str(goal), "size": len(whole)} and goal.read_text() == whole


def test_gen_vmlinux_compiles(bombus: Callable[..., Any], types: Path, tmp_path: Path, source: Path) -> None:
    for names in ("", "mm", "task,level", "bpf_task_of"):
        goal = tmp_path / "vmlinux.h"
        more = ["--names", names] if names else []
        assert bombus("gen", "vmlinux", "--btf", types, "-o", goal, *more).code == 0
        source.write_text('#include "vmlinux.h"\nint prog(void *ctx) { return 0; }\n')
        done = bombus("build", source, "--cflag", "-Werror")
        assert done.code == 0, done.err


def test_gen_vmlinux_python(bombus: Callable[..., Any], types: Path, tmp_path: Path) -> None:
    goal = tmp_path / "kernel.py"
    assert bombus("gen", "vmlinux", "--btf", types, "--lang", "python", "-o", goal).code == 0
    text = goal.read_text()
    assert "class task(Struct, core=True):" in text and "mm: Pointer[" in text
    compile(text, str(goal), "exec")
    some = bombus("gen", "vmlinux", "--btf", types, "--lang", "python", "--names", "task").out
    assert "class task(" in some and "class mm(" not in some


def test_gen_headers(bombus: Callable[..., Any], types: Path, tmp_path: Path, source: Path) -> None:
    """They serve plain clang as they serve us."""
    folder = tmp_path / "include"
    row = bombus("gen", "headers", "-j", folder, "--btf", types).json()
    assert {"bpf/bpf_helpers.h", "bpf/bpf_helper_defs.h", "linux/bpf.h", "vmlinux.h"} <= set(row["files"])
    assert all((folder / name).is_file() for name in row["files"])
    source.write_text('#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("xdp") int f(struct xdp_md *x)'
                      "{ return bpf_ktime_get_ns(); }\n")  # fmt: skip
    tool = toolchain.find("clang")
    line = [*tool.command, "-target", "bpf", "-O2", "-c", "-I", str(folder), "-idirafter",
            "/usr/include/x86_64-linux-gnu", str(source), "-o", str(tmp_path / "x.o")]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gen_vmlinux_refusals(bombus: Callable[..., Any], types: Path, tmp_path: Path) -> None:
    done = bombus("gen", "vmlinux", "--btf", types, "--names", "nothing")
    assert done.code == 2 and "no type, enumerator or function nothing" in done.err
    assert bombus("gen", "vmlinux", "--btf", types, "--names", " , ").code == 2
    assert bombus("gen", "vmlinux", "-j", "--btf", types).code == 2
    assert bombus("gen", "vmlinux", "--btf", tmp_path / "none").code == 1
    (tmp_path / "bad").write_bytes(b"\x9f\xebhello")
    assert bombus("gen", "vmlinux", "--btf", tmp_path / "bad").code == 1


@pytest.mark.debian
def test_gen_vmlinux_is_what_bpftool_prints(bombus: Callable[..., Any], linux_kernel: Any) -> None:
    """A part of the running kernel's, since the whole takes seconds: types in bpftool's words and order."""
    import shutil

    if shutil.which("bpftool") is None:
        pytest.skip("no bpftool")
    line = ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]
    theirs = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    known = set(theirs.split("\n\n"))
    ours = bombus("gen", "vmlinux", "--names", "task_struct,sk_buff,bpf_map,bpf_task_acquire").out
    pieces = [piece for piece in ours.split("\n\n") if "{" in piece and "#" not in piece]
    assert len(pieces) > 50
    assert [piece for piece in pieces if piece not in known] == []


def test_without_dwarf(bombus: Callable[..., Any], source: Path, tmp_path: Path) -> None:
    """Python and C alike; what has none, or is no object, is not quietly let through."""
    twin = tmp_path / "twin.py"
    head = "from bombus.bpf import xdp\n\n\n@xdp\n"
    twin.write_text(head + "def twin(ctx: xdp.Context) -> xdp.Action:\n    return xdp.PASS\n")
    for path, more in ((source, ["-DNUMBER=3", "--cflag=-w"]), (twin, [])):
        goal = path.with_suffix(".o")
        assert bombus("build", path, *more).code == 0
        whole = open_object(goal)
        assert any(s.name.startswith(".debug_") for s in read_elf(goal.read_bytes()).sections)
        assert bombus("build", path, "--strip", *more).code == 0
        assert not any(".debug_" in s.name for s in read_elf(goal.read_bytes()).sections)
        bare = open_object(goal)
        assert bare.programs == whole.programs and bare.btf and whole.btf and bare.btf.raw == whole.btf.raw
    done = bombus("build", source, "--strip", "--emit", "asm")
    assert (done.code, done.err) == (2, "bombus: --strip is for BPF objects, not for --emit asm\n")
    assert "not for --native" in bombus("build", source, "--strip", "--native", "x86_64").err
    text = tmp_path / "prog.S"
    text.write_text(ASSEMBLY)
    assert "--strip is not for .S files; it is for .py, .c" in bombus("build", text, "--strip").err
