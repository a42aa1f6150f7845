"""Programs of the field: they compile unchanged with our headers, and to the same code as with libbpf's."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bombus.compiler import c
from bombus.compiler.c import Options, toolchain
from bombus.compiler.headers import INCLUDE
from bombus.elf.read import read_elf
from bombus.elf.strip import strip_debug
from bombus.errors import CodegenError, CompileError, LoadError, RelocationError
from bombus.kernel.api import Kernel
from bombus.loader.load import load
from bombus.object.read import read_object

PROGRAMS = Path(__file__).parent / "programs"
LIBBPF = Path("/usr/include/bpf")
LINUX = Path("/tmp/linux-source-6.12")
NAMES = sorted(path.name for path in PROGRAMS.glob("*.bpf.c"))
# Their functions are of our own writing, so their code differs.
OWN = ("usdt.bpf.c",)
# What gcc 12 cannot: six arguments, some accesses, calls of functions in other sections as libbpf wants them.
GCC_12 = {
    "core.bpf.c": "needs clang or gcc 14", "newer.bpf.c": "needs clang or gcc 14",
    "probes.bpf.c": "too many function arguments", "typed.bpf.c": "internal compiler error",
    "usdt.bpf.c": "no function starts", "xdp.bpf.c": "no function starts",
}  # fmt: skip
# What libbpf 1.1 of Debian 12 has in another way, or not at all.
YOUNG = ("core.bpf.c", "newer.bpf.c", "probes.bpf.c", "typed.bpf.c")


@pytest.fixture(scope="module")
def vmlinux(clang: str) -> Path:
    """A folder with the running kernel's vmlinux.h."""
    from bombus.compiler.c import vmlinux

    if not Path(vmlinux.RUNNING).exists():
        pytest.skip("this kernel has no BTF")
    return vmlinux.folder()


@functools.cache
def _ours(name: str) -> c.Built:
    return c.build(str(PROGRAMS / name), Options(arch="x86"))


def _sections(data: bytes) -> dict[str, bytes]:
    elf = read_elf(data)
    kept = {s.name: bytes(s.data) for s in elf.sections if s.flags & 4 or s.name in (".maps", "license", ".rodata")}
    return kept | {s.name: b"" for s in elf.sections if s.name in (".BTF", ".BTF.ext")}


@pytest.fixture(scope="module", params=["installed", "of Linux 6.12"])
def libbpf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    """A folder with bpf/*.h of libbpf, and whether it is 1.5 or newer."""
    if request.param == "installed":
        if not (LIBBPF / "bpf_core_read.h").is_file():
            pytest.skip("no libbpf-dev")
        return LIBBPF.parent, "__uptr" in (LIBBPF / "bpf_helpers.h").read_text()
    tree = LINUX / "tools" / "lib" / "bpf"
    if not tree.is_dir():
        pytest.skip("Debian's linux-source-6.12 is not unpacked in /tmp/linux-source-6.12")
    room = tmp_path_factory.mktemp("libbpf")
    (room / "bpf").mkdir()
    for path in tree.glob("*bpf*.h"):
        (room / "bpf" / path.name).symlink_to(path)
    done = subprocess.run(
        ["python3", str(LINUX / "scripts" / "bpf_doc.py"), "--header", "--file",
         str(LINUX / "include" / "uapi" / "linux" / "bpf.h")], capture_output=True, check=True,
    )  # fmt: skip
    (room / "bpf" / "bpf_helper_defs.h").write_bytes(done.stdout)
    return room, True


def _with_libbpf(source: Path, folders: list[Path], room: Path) -> bytes:
    """The object of plain clang with libbpf's headers."""
    tool = toolchain.find("clang")
    line = [*tool.command, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-c", "-D__TARGET_ARCH_x86", "-w"]
    for folder in folders:
        line += ["-I", str(folder)]
    line += ["-idirafter", "/usr/include/x86_64-linux-gnu", str(source), "-o", str(room / "theirs.o")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (room / "theirs.o").read_bytes()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OWN])
def test_same_code_as_with_libbpf(name: str, libbpf: tuple[Path, bool], vmlinux: Path, tmp_path: Path) -> None:
    folder, is_new = libbpf
    if name in YOUNG and not is_new:
        pytest.skip("this libbpf is older than 1.5")
    source = PROGRAMS / name
    ours = _ours(name)
    assert not [path for path in ours.files if path.startswith(str(LIBBPF))]
    assert _sections(ours.data) == _sections(_with_libbpf(source, [vmlinux, folder], tmp_path))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", ["zig", "gcc"])
def test_other_compilers(name: str, other: str, vmlinux: Path, compiler) -> None:  # type: ignore[no-untyped-def]
    """All compile, to the same programs and maps; gcc 12 has limits, which it or the headers tell."""
    theirs = Options(compiler=compiler(other), arch="x86")
    try:
        built = c.build(str(PROGRAMS / name), theirs)
        made = read_object(built.data)
    except (CompileError, CodegenError, RelocationError) as error:
        assert other == "gcc" and name in GCC_12 and GCC_12[name] in str(error), error
        return
    reference = read_object(_ours(name).data)
    assert {p.name for p in made.programs} == {p.name for p in reference.programs}
    assert {m.name for m in made.maps} >= {m.name for m in reference.maps if not m.section}


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_takes_them(name: str, vmlinux: Path, linux_kernel: Kernel) -> None:
    obj = read_object(_ours(name).data)
    refused = []
    for program in obj.programs:
        try:
            with load(obj, linux_kernel, programs=[program.name]):
                pass
        except LoadError as error:
            refused.append((program.section, error))
    # What the running kernel does not let anybody load is no fault of the object's: there is no log then.
    assert not [(section, error) for section, error in refused if error.log], refused


CONSTANT = """#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct inner { const int number; const char *const text; };
struct outer { struct inner *const inner; };

SEC("raw_tp/sys_enter") int first(struct outer *outer)
{
	return BPF_CORE_READ(outer, inner, number) + (BPF_CORE_READ(outer, inner, text) != 0);
}
"""
LOOPS = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp") int count(struct xdp_md *ctx)
{
	int i, sum = 0;

	bpf_for(i, 0, 10)
		sum += i;
	return sum;
}
"""


@pytest.mark.parametrize("edition", ["clang-16", "clang-19", "clang-22"])
def test_functions_that_are_only_referred_to_have_types(edition: str, vmlinux: Path, tmp_path: Path) -> None:
    """Loaders look kernel functions up by their BTF; bpf_iter_num_destroy is called by way of an attribute."""
    compiler = shutil.which(edition)
    if compiler is None:
        pytest.skip(f"no {edition}")
    source = tmp_path / "loops.bpf.c"
    source.write_text(LOOPS)
    made = read_object(c.build(str(source), Options(compiler=compiler)).data)
    assert {extern.name for extern in made.externs} == {f"bpf_iter_num_{verb}" for verb in ("new", "next", "destroy")}


ADDRESSES = """#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int first = 1, second = 2, third[4] = {3, 4, 5, 6}, fourth = 7;
static volatile int fifth = 8;

#define PROGRAM(name, place) \\
	SEC("xdp") int name(void *ctx) { int *at = place; asm volatile("" : "+r"(at)); return *at; }
PROGRAM(one, &first)
PROGRAM(two, &second)
PROGRAM(six, &third[3])
PROGRAM(seven, &fourth)
PROGRAM(eight, (int *)&fifth)
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
@pytest.mark.parametrize("name", ["clang", "zig", "gcc"])
def test_addresses_of_variables(name: str, target: str, compiler, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Every compiler's objects name the right variable: binutils 2.40 adds the place of a global one twice."""
    source = tmp_path / "addresses.bpf.c"
    source.write_text(ADDRESSES)
    data = c.build(str(source), Options(compiler=compiler(name), target=target)).data
    places = {symbol.name: symbol.value for symbol in read_elf(data).symbols}
    inside = 12 if name == "gcc" else 0  # clang adds it with an instruction of its own
    expected = {"one": places["first"], "two": places["second"], "six": places["third"] + inside,
                "seven": places["fourth"], "eight": places["fifth"]}  # fmt: skip
    assert len(set(expected.values())) == 5
    found = {p.name: [r.offset for r in p.function.references if r.kind == "data"] for p in read_object(data).programs}
    assert found == {program: [place] for program, place in expected.items()}


@pytest.mark.parametrize("edition", ["clang-16", "clang-19", "clang-22"])
def test_const_members_are_read_without_warnings(edition: str, tmp_path: Path) -> None:
    compiler = shutil.which(edition)
    if compiler is None:
        pytest.skip(f"no {edition}")
    source = tmp_path / "constant.bpf.c"
    source.write_text(CONSTANT)
    built = c.build(str(source), Options(compiler=compiler, flags=["-Wall", "-Wextra"]))
    assert built.diagnostics == ()


@pytest.mark.parametrize("name", ["core.bpf.c", "probes.bpf.c"])
def test_stripped_as_llvm_does_it(name: str, vmlinux: Path, tmp_path: Path) -> None:
    llvm = next(filter(None, map(shutil.which, ("llvm-strip", "llvm-strip-22", "llvm-strip-19"))), None)
    if llvm is None:
        pytest.skip("no llvm-strip")
    whole, theirs = tmp_path / "whole.o", tmp_path / "theirs.o"
    whole.write_bytes(_ours(name).data)
    subprocess.run([llvm, "-g", whole, "-o", theirs], check=True)
    mine = strip_debug(whole.read_bytes())
    assert len(mine) < 1.05 * theirs.stat().st_size < whole.stat().st_size

    def parts(data: bytes) -> tuple[dict[str, object], set[object]]:
        elf = read_elf(data)
        names = {s.index: s.name for s in elf.sections}
        refs = {
            names[i]: [(r.offset, s.name or names[s.section], r.type) for r in rows for s in [elf.symbols[r.symbol]]]
            for i, rows in elf.relocations.items()
        }
        tables = (".symtab", ".strtab", ".llvm_addrsig", "")
        sections = [s for s in elf.sections if s.name not in tables and not s.name.startswith(".rel")]
        symbols = {(s.name, s.value, s.size, s.bind, s.type, names.get(s.section)) for s in elf.symbols if s.type != 4}
        return {s.name: (s.type, s.flags, s.align, s.size, s.data, refs.get(s.name)) for s in sections}, symbols

    assert parts(mine) == parts(theirs.read_bytes())
    obj = read_object(mine)
    assert obj.programs == read_object(whole.read_bytes()).programs


KERNEL_TREE = [
    ("tools/perf/util/bpf_skel/*.bpf.c", ["tools/perf/util/bpf_skel", "tools/perf/util", "tools/include"], 10, 6),
    ("tools/bpf/runqslower/*.bpf.c", [], 1, 1),
    ("samples/bpf/*.bpf.c", ["samples/bpf", "tools/testing/selftests/bpf"], 10, 6),
    ("tools/testing/selftests/bpf/progs/*.c",
     ["tools/testing/selftests/bpf", "tools/testing/selftests/bpf/progs", "tools/include/uapi"], 600, 80),
]  # fmt: skip
# Made by the kernel's build, or of kernels of another time than the running one.
EXPECTED = ("syscall_nrs.h", "conflicting types for", "no member named", "typedef redefinition", "needs clang")


@pytest.mark.parametrize(("pattern", "folders", "least", "step"), KERNEL_TREE, ids=[row[0] for row in KERNEL_TREE])
def test_programs_of_the_kernel_tree(
    pattern: str, folders: list[str], least: int, step: int, vmlinux: Path
) -> None:
    """A few of each, all with BOMBUS_TEST_C_CORPUS=1: whatever does not compile is for reasons that are known."""
    files = sorted(LINUX.glob(pattern))
    if not files:
        pytest.skip(f"no {LINUX}/{pattern}: Debian's linux-source-6.12 is not unpacked there")
    chosen = files if os.environ.get("BOMBUS_TEST_C_CORPUS") else files[::step]
    options = Options(includes=[str(LINUX / folder) for folder in folders])
    bad = {}
    for path in chosen:
        try:
            c.build(str(path), options)
        except CompileError as error:
            first = next(d.message for d in error.diagnostics if "error" in d.severity)
            if not any(text in str(error) for text in EXPECTED):
                bad[path.name] = first
    assert not bad
    assert len(files) >= least


def test_every_macro_of_the_libbpf_tools_is_there(debian) -> None:  # type: ignore[no-untyped-def]
    """Debian's libbpf-tools are compiled, but their line information has the lines that use our headers' macros."""
    import re

    from bombus.btf.ext import BtfExt
    from bombus.btf.parse import Btf

    lines: set[str] = set()
    for path in debian("/usr/sbin/*"):
        data = path.read_bytes() if path.is_file() else b""
        at = -1
        while (at := data.find(b"\x7fELF\x02\x01\x01", at + 1)) >= 0:
            if data[at + 18 : at + 20] == b"\xf7\0":
                elf = read_elf(data[at:])
                types, ext = elf.section(".BTF"), elf.section(".BTF.ext")
                if types is None or ext is None:
                    continue
                btf = Btf.parse(bytes(types.data))
                for section in BtfExt.parse(bytes(ext.data)).line_info:
                    lines |= {btf.string(r.line) for r in section.records if "bpf" in btf.string(r.file)}
    if len(lines) < 500:
        pytest.skip("libbpf-tools is not installed")
    words = re.compile(r"\b(BPF_[A-Z0-9_]+|bpf_\w+|PT_REGS_\w+|KERNEL_VERSION)\s*\(")
    used = {word for line in lines for word in words.findall(line)}
    text = "".join(path.read_text() for path in (INCLUDE / "bpf").glob("*.h"))
    known = set(re.findall(r"\b\w+\b", text))
    own = {"bpf_map_lookup_or_try_init"}  # of the tools themselves
    assert used - known - own == set()
    assert len(used) > 30
