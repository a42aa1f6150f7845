"""Names of addresses: tables, text files, ELF files beside nm, separate debug files, demangling beside c++filt."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bombus.errors import ElfError
from bombus.symbols import Frame, Symbols
from bombus.symbols import demangle as demangling
from bombus.symbols.demangle import demangle
from bombus.symbols.elffile import ElfFile, open_elf, open_functions
from bombus.symbols.model import Table
from bombus.symbols.texts import Mapping, kallsyms, maps, perf_map

SOURCE = """
#include <stdio.h>
__attribute__((noinline)) static int inner_static(int x) { return x * 7 + 1; }
__attribute__((noinline)) int outer_function(int x) { return inner_static(x) + 2; }
int main(int argc, char **argv) { printf("%d", outer_function(argc)); return 0; }
"""


def test_table() -> None:
    table = Table([(100, 10, "a"), (100, 0, "alias"), (120, 0, "b"), (200, 50, "big"), (210, 4, "small")])
    for address, want in (
        (99, None), (100, ("a", 0)), (109, ("a", 9)), (110, None), (120, ("b", 0)), (199, ("b", 79)),
        (212, ("small", 2)), (214, ("big", 14)), (249, ("big", 49)), (250, None),
    ):  # fmt: skip
        assert table.find(address) == want, address
    assert Table(()).find(1) is None and len(table) == 4


def test_frames_as_text() -> None:
    assert str(Frame("f", "/usr/lib/libc.so.6", 16)) == "f+0x10 [libc.so.6]"
    assert str(Frame("f", "[kernel]")) == "f [kernel]" and str(Frame("[unknown]")) == "[unknown]"
    assert Frame("f").known and not Frame("[unknown]").known


def test_kallsyms_text() -> None:
    data = b"ffffffff81000000 T _stext\nffffffff81000010 d data\n0000000000000000 t hidden\nzz T bad\n" \
           b"ffffffffc0000000 t mod_fn\t[ext4]\nffffffff81000020 W weak\n"  # fmt: skip
    assert list(kallsyms(data)) == [
        (0xFFFFFFFF81000000, "_stext", ""), (0xFFFFFFFFC0000000, "mod_fn", "ext4"), (0xFFFFFFFF81000020, "weak", ""),
    ]  # fmt: skip


def test_perf_map_text() -> None:
    data = b"7f00 20 py::f:/x/y.py\n0x7f40 0x8 LazyCompile:~g file.js:1\nbad\n7f50 zz x\n7f60 10\n"
    assert list(perf_map(data)) == [(0x7F00, 0x20, "py::f:/x/y.py"), (0x7F40, 8, "LazyCompile:~g file.js:1")]


def test_maps_text() -> None:
    data = (
        b"7f0000000000-7f0000001000 r-xp 00002000 08:01 42                         /lib/a\\040b.so (deleted)\n"
        b"7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]\n"
        b"7ffd00003000-7ffd00002000 r-xp 00000000 00:00 0\nnonsense\n"
        b"00400000-00401000 rw-p 00000000 00:00 0 \n"
    )
    assert list(maps(data)) == [
        Mapping(0x7F0000000000, 0x7F0000001000, True, 0x2000, 42, "/lib/a b.so (deleted)"),
        Mapping(0x7FFD00000000, 0x7FFD00001000, True, 0, 0, "[vdso]"),
        Mapping(0x400000, 0x401000, False, 0, 0, ""),
    ]


def test_texts_take_anything() -> None:
    randomly = random.Random(3)
    base = b"ffffffff81000000 T _stext\n7f00 20 name\n7f0000000000-7f0000001000 r-xp 00002000 08:01 42 /x\n"
    for _ in range(500):
        data = bytearray(base * 2)
        for _ in range(randomly.randrange(20)):
            data[randomly.randrange(len(data))] = randomly.randrange(256)
        for parse in (kallsyms, perf_map, maps):
            list(parse(bytes(data)))  # type: ignore[operator]


# ELF files


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("elf")
    (folder / "a.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O1", "-Wl,--build-id", "-o", folder / "a", folder / "a.c"], check=True)
    return folder / "a"


def names_by_nm(path: Path) -> dict[str, int]:
    out = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
    return {parts[2]: int(parts[0], 16) for line in out.splitlines() if len(parts := line.split()) == 3}


def test_functions_beside_nm(binary: Path) -> None:
    file = open_elf(str(binary))
    wanted = names_by_nm(binary)
    found = {name: address for address, _, name in file.functions()}
    for name in ("inner_static", "outer_function", "main", "_start"):
        assert found[name] == wanted[name]
    functions = open_functions(str(binary))
    # A position-independent executable's text lies at the same place in the file.
    place = next(
        wanted["outer_function"] - address + offset
        for kind, offset, address, size in file.segments
        if kind == 1 and address <= wanted["outer_function"] < address + size
    )
    assert functions.find(place) == ("outer_function", 0) and functions.find(place + 1) == ("outer_function", 1)
    assert len(file.build_id()) == 40 and functions.find(1 << 40) is None


@pytest.mark.parametrize("way", ["build-id", "debuglink"])
def test_separate_debug_files(binary: Path, tmp_path: Path, way: str) -> None:
    if shutil.which("objcopy") is None:
        pytest.skip("no objcopy")
    stripped, debug = tmp_path / "a", tmp_path / "a.debug"
    subprocess.run(["objcopy", "--only-keep-debug", binary, debug], check=True)
    link = ["--add-gnu-debuglink", debug] if way == "debuglink" else []
    subprocess.run(["objcopy", "--strip-all", *link, binary, stripped], check=True, cwd=tmp_path)
    wanted = names_by_nm(binary)["inner_static"]
    root = tmp_path / "root"
    if way == "build-id":
        build_id = open_elf(str(stripped)).build_id()
        place = root / ".build-id" / build_id[:2]
        place.mkdir(parents=True)
        debug.rename(place / f"{build_id[2:]}.debug")
    functions = open_functions(str(stripped), debug_root=str(root))
    found = functions.find(wanted)
    assert found == ("inner_static", 0)
    if way == "debuglink":  # another file's debug information is not taken
        debug.write_bytes(debug.read_bytes() + b"x")
        assert open_functions(str(stripped), debug_root=str(root)).find(wanted) is None


def test_damaged_elf_files(binary: Path) -> None:
    data = binary.read_bytes()
    randomly = random.Random(5)
    for _ in range(300):
        bad = bytearray(data[: randomly.choice((len(data), randomly.randrange(len(data))))])
        for _ in range(randomly.randrange(8)):
            if bad:
                bad[randomly.randrange(min(len(bad), 4096))] = randomly.randrange(256)
        try:
            file = ElfFile(bytes(bad))
        except ElfError:
            continue
        file.build_id()
        file.section(".gnu_debuglink")
        for count, _ in enumerate(file.functions()):
            if count > 10000:
                break


# Processes


def test_own_process() -> None:
    symbols = Symbols()
    libc = ctypes.CDLL(None)
    address = ctypes.cast(libc.getppid, ctypes.c_void_p).value
    assert address is not None
    frame = symbols.user(os.getpid(), address + 1)
    assert "getppid" in frame.name and frame.offset == 1 and "libc" in frame.module
    assert symbols.user(os.getpid(), 8).name == "[unknown]"
    assert symbols.user(0x7FFF_FFF0, address).name == "[unknown]", "a process that is gone"


def test_told_mappings(binary: Path) -> None:
    symbols = Symbols(proc="/nonexistent")
    place = names_by_nm(binary)["outer_function"]
    symbols.add_mapping(5, Mapping(0x1000000, 0x1100000, True, 0, 1, str(binary)))
    assert symbols.user(5, 0x1000000 + place).name == "outer_function"
    symbols.fork(5, 6)
    symbols.exec(5)
    assert symbols.user(5, 0x1000000 + place).name == "[unknown]"
    assert symbols.user(6, 0x1000000 + place).name == "outer_function"
    symbols.add_mapping(6, Mapping(0x1000000, 0x1000000 + (place & ~0xFFF), True, 0, 2, "/nonexistent/lib.so"))
    assert symbols.user(6, 0x1000000 + place).name == "outer_function", "what the new one does not cover stays"
    hidden = symbols.user(6, 0x1000010)
    assert (hidden.name, hidden.module, hidden.offset) == ("[unknown]", "/nonexistent/lib.so", 0x10)


def test_perf_map_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "perf-77.map").write_text("7f00 20 py::work:/x.py\n")
    symbols = Symbols(proc=str(tmp_path / "none"), tmp=str(tmp_path))
    assert str(symbols.user(77, 0x7F08)) == "py::work:/x.py+0x8 [jit]"


def test_python_perf_trampoline(tmp_path: Path) -> None:
    """Python tells the names of its functions itself (3.12 and newer)."""
    if sys.version_info < (3, 12):
        pytest.skip("Python 3.12 brought -X perf")
    code = "import sys\ndef worker_function(): pass\nworker_function()\nprint('x', flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-X", "perf", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        path = Path(f"/tmp/perf-{child.pid}.map")
        start = next(row[0] for row in perf_map(path.read_bytes()) if "worker_function" in row[2])
        assert "worker_function" in Symbols().user(child.pid, start + 1).name
        child.communicate(b"")
    path.unlink()


def test_kernel_symbols(tmp_path: Path) -> None:
    file = tmp_path / "kallsyms"
    file.write_text("ffffffff81000000 T first\nffffffff81000100 t second\nffffffffc0000000 t third [ext4]\n")
    symbols = Symbols(kallsyms=str(file))
    assert str(symbols.kernel(0xFFFFFFFF81000110)) == "second+0x10 [kernel]"
    assert str(symbols.kernel(0xFFFFFFFFC0000001)) == "third+0x1 [ext4]"
    assert symbols.kernel(0xFFFF).name == "[unknown]"
    assert Symbols(kallsyms=str(tmp_path / "none")).kernel(0xFFFFFFFF81000000).name == "[unknown]"


# Names

NAMES = [
    ("main", "main"),
    ("_ZN3foo3barEv", "foo::bar()"),
    ("_Z3addii", "add(int, int)"),
    ("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)"),
    ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"),
    ("_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
     "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop"),
    ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
    ("_RNvNtCs1234_7mycrate3bar3baz", "mycrate::bar::baz"),
    ("_RNCNvCs1234_7mycrate4main0B3_", "mycrate::main::{closure#0}"),
    ("_RINvCs1234_7mycrate3addmEB2_", "mycrate::add<u32>"),
    ("_RINvNtC3std3mem8align_ofjE", "std::mem::align_of<usize>"),
    ("_RNvXCs1234_7mycrateNtB2_3FooNtB2_3Bar3run", "<mycrate::Foo as mycrate::Bar>::run"),
    ("_RINvCs1234_7mycrate1fRShTlcEPdAhj4_E", "mycrate::f<&[u8], (i32, char), *const f64, [u8; 4]>"),
    ("_RIC0Kj_E", "<0>"),
    ("_ZN", "_ZN"), ("_R", "_R"), ("_RNv", "_RNv"), ("_Z", "_Z"), ("_RB_", "_RB_"), ("_ZN9", "_ZN9"),
    ("foo.part.0", "foo.part.0"),
    ("memcpy@@GLIBC_2.14", "memcpy@@GLIBC_2.14"),
]  # fmt: skip


@pytest.mark.parametrize(("mangled", "want"), NAMES)
def test_names(mangled: str, want: str) -> None:
    if mangled.startswith("_Z") and want.endswith(")") and demangling._cxa() is None:
        pytest.skip("no C++ library")
    assert demangle(mangled) == want


def test_clones_and_versions() -> None:
    if demangling._cxa() is None:
        pytest.skip("no C++ library")
    assert demangle("_ZN3foo3barEv.part.0") == "foo::bar() [.part.0]"
    assert demangle("_ZN3foo3barEv@V1") == "foo::bar()@V1"


def test_names_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demangling, "_cxa", lambda: None)
    demangle.cache_clear()
    assert demangle("_ZN3foo3barEv") == "foo::bar" and demangle("_Z3addii") == "add"
    assert demangle("_ZN12_GLOBAL__N_13fooEv") == "(anonymous namespace)::foo"
    assert demangle("_ZNSt6vectorIiSaIiEE9push_backEOi") == "_ZNSt6vectorIiSaIiEE9push_backEOi"
    demangle.cache_clear()


def test_names_take_anything() -> None:
    randomly = random.Random(11)
    letters = "_RNvCsIKBEXYMTSAPDFUh0123456789abz$LT.:"
    for _ in range(3000):
        name = randomly.choice(("_R", "_RNv", "_ZN", "_Z", "_RIB", "")) + "".join(
            randomly.choice(letters) for _ in range(randomly.randrange(40))
        )
        assert isinstance(demangle(name), str)
    deep = "_RNv" + "Nt" * 500 + "C3foo" + "1a" * 501
    assert demangle(deep) == deep
    bomb = "_RINvC1a1b" + "TB8_" * 40 + "E" * 41
    assert len(demangle(bomb)) < 1 << 15


def test_rust_names_of_a_compiler(tmp_path: Path) -> None:
    """What rustc makes with both manglings."""
    rustc = shutil.which("rustc")
    if rustc is None:
        pytest.skip("no rustc")
    (tmp_path / "lib.rs").write_text(
        "pub mod inner { pub struct S<T>(pub T);"
        " impl<T: Copy> S<T> { #[inline(never)] pub fn get(&self) -> T { self.0 } } }"
        "\n#[inline(never)] pub fn caller() -> u32 { inner::S(5u32).get() }"
    )
    for mangling in ("v0", "legacy"):
        done = subprocess.run(
            [rustc, "--crate-type", "lib", "--emit", "obj", "-C", f"symbol-mangling-version={mangling}",
             *(["-Z", "unstable-options"] if mangling == "legacy" else []), "-o", "out.o", "lib.rs"],
            cwd=tmp_path, capture_output=True,
        )  # fmt: skip
        if done.returncode:
            continue
        names = {demangle(name) for _, _, name in open_elf(str(tmp_path / "out.o")).functions()}
        assert any("caller" in name and "_R" not in name and "_Z" not in name for name in names), names
