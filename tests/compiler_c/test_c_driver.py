"""C programs to objects: what the driver does around the compiler."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from bombus.compiler import c
from bombus.compiler.c import Options, diagnostics, toolchain
from bombus.compiler.c.command import words
from bombus.errors import CodegenError, CompileError, NotSupported, UsageError
from bombus.object.read import read_object

XDP = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64);
} counts SEC(".maps");
SEC("xdp") int prog(struct xdp_md *ctx)
{
    __u32 key = 1;
    __u64 *count = bpf_map_lookup_elem(&counts, &key);
    if (count)
        __sync_fetch_and_add(count, RESULT);
    return 2;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def xdp(tmp_path: Path) -> str:
    path = tmp_path / "prog.bpf.c"
    path.write_text(XDP)
    return str(path)


@pytest.mark.parametrize("name", ["clang", "zig", "gcc"])
@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_compilers(xdp: str, kernel_types: str, compiler, name: str, target: str) -> None:  # type: ignore[no-untyped-def]
    options = Options(compiler=compiler(name), target=target, btf=kernel_types, defines=["RESULT=3"])
    built = c.build(xdp, options)
    obj = read_object(built.data)
    assert [p.name for p in obj.programs] == ["prog"] and [m.name for m in obj.maps] == ["counts"]
    assert obj.byteorder == {"bpfel": "little", "bpfeb": "big"}[target]
    assert obj.btf is not None and obj.license == "GPL"
    assert built.files[0] == xdp
    assert any(path.endswith("bpf/bpf_helper_defs.h") for path in built.files)
    assert any(path.endswith("vmlinux.h") for path in built.files)


def test_options_reach_the_compiler(xdp: str, kernel_types: str, clang: str, tmp_path: Path) -> None:
    folder = tmp_path / "include"
    folder.mkdir()
    (folder / "number.h").write_text("#define RESULT 5\n")
    options = Options(btf=kernel_types, includes=[str(folder)], flags=["-include", "number.h"], emit="asm", cpu="v1")
    text = c.build(xdp, options).data.decode()
    assert "= 5" in text
    assert "w0 = 2" not in text  # v1 has no 32-bit registers
    assert "w0 = 2" in c.build(xdp, Options(btf=kernel_types, defines=["RESULT=5"], emit="asm")).data.decode()
    llvm = c.build(xdp, Options(btf=kernel_types, defines=["RESULT=5"], emit="llvm", level="1")).data.decode()
    assert "@prog(ptr" in llvm
    with pytest.raises(CompileError, match="RESULT"):
        c.build(xdp, Options(btf=kernel_types, defines=["RESULT=5"], undefines=["RESULT"]))


def test_what_is_wrong_is_said_as_the_compiler_says_it(xdp: str, kernel_types: str, clang: str) -> None:
    with pytest.raises(CompileError) as caught:
        c.build(xdp, Options(btf=kernel_types))
    error = caught.value
    first = error.diagnostics[0]
    assert (first.file, first.line, first.severity) == (xdp, 11, "error")
    assert "RESULT" in first.message
    assert f"{xdp}:11:{first.column}: error: {first.message}" in error.text
    assert "\x1b[" not in error.text
    with pytest.raises(CompileError) as caught:
        c.build(xdp, Options(btf=kernel_types, colour=True))
    assert "\x1b[" in caught.value.text
    assert caught.value.diagnostics == error.diagnostics


def test_warnings_come_with_the_object(xdp: str, kernel_types: str, clang: str) -> None:
    built = c.build(xdp, Options(btf=kernel_types, defines=["RESULT=1", "UNUSED"], flags=["-Wunused-macros"]))
    assert built.data[:4] == b"\x7fELF"
    built = c.build(xdp, Options(btf=kernel_types, defines=["RESULT=(int)0x123456789"], flags=["-Wall"]))
    assert [d.severity for d in built.diagnostics][:1] in ([], ["warning"])


@pytest.mark.parametrize("name", ["-c.c", "@file.c", "a b.c", "new\nline.c", "semi;colon'\".c", "käse.c", "a:1:2: x.c"])
def test_names_that_look_like_something_else(name: str, clang: str, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text('int prog(void *ctx) { return 0; }\n')
    (tmp_path / "-inc").mkdir()
    built = c.build(name, Options(includes=["-inc", "@inc"]))
    assert built.data[:4] == b"\x7fELF"
    assert built.files[0] == name


def test_refusals(xdp: str, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for bad in ({"level": "9"}, {"target": "x86"}, {"cpu": "v9"}, {"emit": "pdf"}, {"arch": "vax"}):
        with pytest.raises(UsageError, match=next(iter(bad.values()))):
            Options(**bad)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no program 'nothing-like-it'"):
        c.build(xdp, Options(compiler="nothing-like-it"))
    with pytest.raises(UsageError, match="neither clang nor gcc nor zig"):
        c.build(xdp, Options(compiler="true"))
    with pytest.raises(FileNotFoundError):
        c.build(str(tmp_path / "none.c"))
    with pytest.raises(UsageError, match="not by both"):
        words(toolchain.Toolchain("clang", ("clang",)), "x.c", "o", "d",
              Options(arch="arm64", defines=["__TARGET_ARCH_x86"]), [])  # fmt: skip
    with pytest.raises(NotSupported, match="LLVM IR from gcc"):
        words(toolchain.Toolchain("gcc", ("gcc",)), "x.c", "o", "d", Options(emit="llvm"), [])


def test_nothing_installed_says_what_to_install(xdp: str, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CLANG", raising=False)
    monkeypatch.setattr(toolchain, "_zig", lambda: None)
    monkeypatch.setattr(toolchain.Path, "glob", lambda self, pattern: [])
    with pytest.raises(NotSupported, match=r"apt install clang.*pip install bombus\[c\].*gcc-bpf"):
        c.build(xdp)


def _fake(tmp_path: Path, text: str, name: str = "clang") -> str:
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_newest_clang_first(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for name in ("clang", "clang-9", "clang-14", "clang-format-20", "clang++-21"):
        _fake(tmp_path, "exit 0", name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CLANG", raising=False)
    assert toolchain.find().command == (str(tmp_path / "clang-14"),)
    monkeypatch.setenv("CLANG", str(tmp_path / "clang-9"))
    assert toolchain.find().command == (str(tmp_path / "clang-9"),)
    monkeypatch.setenv("CLANG", "/nowhere/clang")
    with pytest.raises(UsageError, match=r"\$CLANG"):
        toolchain.find()


def test_a_compiler_that_hangs_is_ended_with_its_children(xdp: str, kernel_types: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hangs = _fake(tmp_path, f"(sleep 2; touch {mark}) & wait")
    start = time.monotonic()
    with pytest.raises(CodegenError, match=r"did not end within 0\.3 seconds"):
        c.build(xdp, Options(compiler=hangs, btf=kernel_types, timeout=0.3))
    assert time.monotonic() - start < 2
    time.sleep(2.1)
    assert not mark.exists()


def test_a_compiler_that_dies_is_no_error_of_the_program(xdp: str, kernel_types: str, tmp_path: Path) -> None:
    dies = _fake(tmp_path, "echo 'Assertion failed' >&2; kill -ABRT $$")
    with pytest.raises(CodegenError, match="was killed by SIGABRT") as caught:
        c.build(xdp, Options(compiler=dies, btf=kernel_types))
    assert "Assertion failed" in caught.value.log


def test_kernel_header_is_made_once_and_whole(
    xdp: str, kernel_types: str, clang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several builds at the same time find no half of a file and leave no parts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            c.build(xdp, Options(btf=kernel_types, defines=["RESULT=1"]))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    files = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert sorted(p.suffix for p in files) == [".h", ".h", ".h", ".pch"]
    files = [p for p in files if p.name == "vmlinux.h"]
    before = files[0].stat().st_mtime_ns
    c.build(xdp, Options(btf=kernel_types, defines=["RESULT=1"]))
    assert files[0].stat().st_mtime_ns == before


def test_precompiled_header_changes_nothing(
    xdp: str, kernel_types: str, clang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken from the second build on at the latest, and never for programs that could tell."""
    from bombus.compiler.c import precompiled

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = Options(btf=kernel_types, defines=["RESULT=1"])
    first = c.build(xdp, options)
    made = list((tmp_path / "cache").rglob("*.pch"))
    assert len(made) == 1
    second = c.build(xdp, options)
    assert list((tmp_path / "cache").rglob("*.pch")) == made
    with monkeypatch.context() as patch:
        patch.setattr(precompiled, "header", lambda *_args: None)
        plain = c.build(xdp, options)
    code = [[(p.name, p.function.insns) for p in read_object(built.data).programs] for built in (first, second, plain)]
    assert code[0] == code[1] == code[2]
    assert sorted(first.files) == sorted(plain.files)
    made[0].write_bytes(b"damaged")
    assert c.build(xdp, options).data[:4] == b"\x7fELF"
    before = tmp_path / "before.c"
    before.write_text("#define BPF_NO_PRESERVE_ACCESS_INDEX\n" + XDP)
    assert not precompiled.begins_with_it(str(before))
    before.write_text("// one\n/* two\n */\n\n" + XDP)
    assert precompiled.begins_with_it(str(before))


@pytest.mark.parametrize("how", ["others may write", "read-only"])
def test_a_cache_that_cannot_be_trusted_or_written(
    how: str, xdp: str, kernel_types: str, clang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(base))
    if how == "read-only":
        base.write_text("a file where a folder should be")
    else:
        (base / "bombus").mkdir(parents=True)
        (base / "bombus").chmod(0o777)
    assert c.build(xdp, Options(btf=kernel_types, defines=["RESULT=1"])).data[:4] == b"\x7fELF"
    assert not list(base.rglob("vmlinux.h")) if how != "read-only" else base.is_file()


def test_own_kernel_header_is_taken(xdp: str, clang: str, tmp_path: Path) -> None:
    """Beside the source, or in a folder that is given."""
    types = (Path(__file__).parent / "conftest.py").read_text().split('TYPES = """\\\n')[1].split('"""')[0]
    own = tmp_path / "own"
    own.mkdir()
    (own / "vmlinux.h").write_text("#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n" + types + "#endif\n")
    built = c.build(xdp, Options(includes=[str(own)], btf="/nowhere", defines=["RESULT=1"]))
    assert str(own / "vmlinux.h") in built.files


def test_kernel_header_by_way_of_another(kernel_types: str, clang: str, tmp_path: Path) -> None:
    (tmp_path / "common.h").write_text('#define NAME "vmlinux.h"\n#include NAME\n')
    source = tmp_path / "prog.c"
    source.write_text('#include "common.h"\nint prog(struct xdp_md *ctx) { return ctx->data; }\n')
    assert c.build(str(source), Options(btf=kernel_types)).data[:4] == b"\x7fELF"


def test_no_kernel_types_is_said(xdp: str, clang: str, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from bombus.compiler.c import vmlinux

    monkeypatch.setattr(vmlinux, "RUNNING", "/nowhere/btf")
    with pytest.raises(NotSupported, match="--btf FILE"):
        c.build(xdp, Options(defines=["RESULT=1"]))


def test_diagnostics_of_gcc_and_clang() -> None:
    text = (
        "In file included from a.c:1:\n\x1b[1mb.h:2:3: \x1b[0m\x1b[0;1;31mfatal error: \x1b[0m'x.h' file not found\n"
        "    2 | #include\n      | ^~\na.c:7: warning: line only\na.c:1:2: note: here\n"
        "clang: error: unknown argument: '-foo'\nfatal error: error in backend: bad\n1 error generated.\n"
        "a.c:3:4: sorry, unimplemented: such a thing\n"
    )
    rows = [(d.file, d.line, d.column, d.severity, d.message) for d in diagnostics.parse(text)]
    assert rows == [
        ("b.h", 2, 3, "fatal error", "'x.h' file not found"),
        ("a.c", 7, 0, "warning", "line only"),
        ("a.c", 1, 2, "note", "here"),
        ("", 0, 0, "error", "unknown argument: '-foo'"),
        ("", 0, 0, "fatal error", "error in backend: bad"),
        ("a.c", 3, 4, "error", "such a thing"),
    ]


@pytest.mark.parametrize(("arch", "register"), [("x86", 112), ("arm64", 0), ("s390", 32), ("riscv", 80)])
def test_arch_names_the_registers(arch: str, register: int, clang: str, tmp_path: Path) -> None:
    source = tmp_path / "probe.c"
    source.write_text(
        "typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef int __s32;\n"
        "typedef unsigned long long __u64; typedef long long __s64; typedef __u16 __be16; typedef __u32 __be32;\n"
        "typedef __u32 __wsum; typedef struct { unsigned long psw[2], gprs[16]; } user_pt_regs;\n"
        "#define __VMLINUX_H__\n"
        "struct pt_regs { unsigned long r[14], di, rest[6]; };\n"
        "struct user_pt_regs { unsigned long regs[31]; };\n"
        "struct user_regs_struct { unsigned long pc, ra, sp, gp, tp, t0, t1, t2, s0, s1, a0; };\n"
        "#include <bpf/bpf_tracing.h>\n"
        'SEC("kprobe/x") int BPF_KPROBE(probe, long first) { return first == 7; }\n'
    )
    text = c.build(str(source), Options(arch=arch, emit="asm")).data.decode()
    assert f"*(u64 *)(r1 + {register})" in text


def test_unknown_registers_are_an_error(clang: str, tmp_path: Path) -> None:
    source = tmp_path / "probe.c"
    source.write_text('#include "vmlinux.h"\n#include <bpf/bpf_tracing.h>\nlong f(struct pt_regs *c)'
                      "{ return PT_REGS_PARM5(c); }\n")  # fmt: skip
    (tmp_path / "vmlinux.h").write_text(
        "typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef int __s32;\n"
        "typedef unsigned long long __u64; typedef long long __s64; typedef __u16 __be16; typedef __u32 __be32;\n"
        "typedef __u32 __wsum;struct pt_regs { unsigned long uregs[18]; };\n"
    )
    with pytest.raises(CompileError, match="PT_REGS_PARM5: this architecture has no such register"):
        c.build(str(source), Options(arch="arm"))


def test_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    from bombus.compiler.c.vmlinux import write

    write(tmp_path / "a" / "b", b"one")
    write(tmp_path / "a" / "b", b"two")
    assert (tmp_path / "a" / "b").read_bytes() == b"two"
    assert os.listdir(tmp_path / "a") == ["b"]
