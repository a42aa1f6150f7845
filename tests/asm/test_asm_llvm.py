"""Text equal to llvm-objdump's, bytes, relocations and symbols equal to clang's."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bombus.asm import NameHooks, assemble, disassemble
from bombus.asm.model import Assembled
from bombus.isa.forms import FORMS, form_of
from bombus.isa.insn import Insn, decode, encode
from bombus.isa.sample import sample

pytestmark = pytest.mark.debian

RELOCATIONS = {
    1: "R_BPF_64_64",
    2: "R_BPF_64_ABS64",
    3: "R_BPF_64_ABS32",
    4: "R_BPF_64_NODYLD32",
    10: "R_BPF_64_32",
}
# What llvm-objdump loses: the immediate of a packet load, the upper half of ld_pseudo.
LOSSY = {"ld_ind", "ld_imm64"}
# What an old version takes for something else, beside what it shows as <unknown>.
MISREAD = {
    14: {"sdiv", "smod", "movsx", "addr_space_cast", "load_acquire", "store_release", "atomic_fetch_add"},
    19: {"load_acquire", "store_release", "atomic_fetch_add"},
    22: set(),
}
OBJECTS = sorted(
    path for folder in ("/usr/lib/x86_64-linux-gnu/bpf", "/usr/libexec/xdp-tools") for path in Path(folder).glob("*.o")
)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path) -> str:
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def object_of(data: bytes, tmp_path: Path) -> Path:
    """An ELF object whose .text is `data`, beginning with the global function f."""
    source, out = tmp_path / "data.s", tmp_path / "data.o"
    rows = (data[i : i + 8] for i in range(0, len(data), 8))
    source.write_text(".text\n.globl f\nf:\n" + "".join(f".byte {', '.join(map(str, row))}\n" for row in rows))
    run(tool("clang-19"), "-target", "bpfel", "-c", source, "-o", out)
    return out


def objdump(version: int, path: Path, *options: str) -> str:
    return run(tool(f"llvm-objdump-{version}"), "-d", "--no-show-raw-insn", *options, path)


def near(rng: random.Random) -> object:
    return lambda bits: rng.choice((0, 1, 3, 20))


@pytest.mark.parametrize(("version", "options"), [(14, []), (19, []), (22, [])])
def test_objdump_text_of_the_whole_isa(version: int, options: list[str], tmp_path: Path) -> None:
    rng = random.Random(version)
    insns = [insn for form in FORMS * 20 for insn in sample(rng, form, near(rng))]  # type: ignore[arg-type]
    path = object_of(encode(insns + [Insn(0x95)] * 30), tmp_path)
    out = objdump(version, path, *options)
    expected = {int(m[1]): m[2] for m in re.finditer(r"^ *(\d+):\t(.*)$", out, re.M)}
    names = NameHooks(label=lambda slot: f"f+{slot * 8:#x}" if slot else "f")
    compared = 0
    for line in disassemble(insns, "llvm", names, llvm=version):
        form = form_of(line.insn)
        theirs = expected[line.index]
        if theirs == "<unknown>" and version < 22:
            continue  # newer than that LLVM
        if form.name in MISREAD[version] or (form.name in LOSSY and (line.insn.imm or line.insn.src)):
            continue
        assert line.text == theirs
        compared += 1
    assert compared > {14: 2200, 19: 2700, 22: 3000}[version]


def test_19_and_22_know_every_form_but_ordered_atomics(tmp_path: Path) -> None:
    """The skip of <unknown> above hides nothing: with -mcpu=v4 LLVM 19 knows all that 22 writes."""
    rng = random.Random(3)
    insns = [i for f in FORMS if f.name not in MISREAD[19] | LOSSY for i in sample(rng, f, near(rng))]  # type: ignore[arg-type]
    path = object_of(encode(insns + [Insn(0x95)] * 30), tmp_path)
    for version, options in ((19, ["--mcpu=v4"]), (22, [])):
        out = objdump(version, path, *options)
        expected = [m[1] for m in re.finditer(r"^ *\d+:\t(.*)$", out, re.M)]
        names = NameHooks(label=lambda slot: f"f+{slot * 8:#x}" if slot else "f")
        assert [line.text for line in disassemble(insns, "llvm", names, llvm=22)] == expected[: len(insns)]


@pytest.mark.parametrize("path", OBJECTS or [Path("none")], ids=lambda p: p.name)
@pytest.mark.parametrize("version", [14, 19, 22])
def test_objdump_text_of_real_objects(path: Path, version: int, tmp_path: Path) -> None:
    if not path.exists():
        pytest.skip("libxdp1 and xdp-tests are not installed")
    out = objdump(version, path)
    compared = 0
    for name, body in re.findall(r"^Disassembly of section (\S+):\n(.*?)(?=^Disassembly|\Z)", out, re.M | re.S):
        data_file = tmp_path / "section.bin"
        run(tool("llvm-objcopy-19"), f"--dump-section={name}={data_file}", path, "/dev/null")
        labels = {int(m[1], 16): m[2] for m in re.finditer(r"^([0-9a-f]{16}) <(.+)>:$", body, re.M)}
        expected = {int(m[1]): m[2] for m in re.finditer(r"^ *(\d+):\t(.*)$", body, re.M)}

        def label(slot: int, labels: dict[int, str] = labels) -> str | None:
            at = max((offset for offset in labels if offset <= slot * 8), default=None)
            if at is None:
                return None
            return labels[at] + (f"+{slot * 8 - at:#x}" if slot * 8 > at else "")

        for line in disassemble(decode(data_file.read_bytes()), "llvm", NameHooks(label=label), llvm=version):
            assert expected.pop(line.index) == line.text
            compared += 1
        assert not expected
    assert compared > 1


@pytest.mark.parametrize("version", [19, 22])
def test_bytes_of_the_whole_isa(version: int, tmp_path: Path) -> None:
    rng = random.Random(version)
    lines = []
    for form in FORMS * 20:
        if form.name in ("call_local", "call_kfunc"):
            continue
        if version == 19 and form.name in ("load_acquire", "store_release"):
            continue
        insns = sample(rng, form, near(rng))  # type: ignore[arg-type]
        if form.name == "ld_ind":
            insns[0] = insns[0]._replace(imm=0)
        if form.name == "ld_imm64" and insns[0].src:
            insns[1] = Insn(0)
        lines += [line.text for line in disassemble(insns, "llvm", llvm=rng.choice((14, 19, 22)))]
    source, out, raw = tmp_path / "isa.s", tmp_path / "isa.o", tmp_path / "isa.bin"
    source.write_text("\n".join(lines) + "\n")
    run(tool(f"clang-{version}"), "-target", "bpfel", "-mcpu=v4", "-c", source, "-o", out)
    run(tool("llvm-objcopy-19"), "-O", "binary", "-j", ".text", out, raw)
    theirs, ours = decode(raw.read_bytes()), list(assemble(source.read_text(), "llvm").insns)
    assert len(theirs) == len(ours)
    wrong = [(a, b) for a, b in zip(theirs, ours, strict=True) if a != b]
    assert not wrong


C_SOURCE = """
struct {int type, key_size, value_size, max_entries;} table __attribute__((section("maps"))) = {1, 4, 8, 16};
static void *(*lookup)(void *map, const void *key) = (void *)1;
int outer(void *);
static int counter, start = 5;
const char greeting[] = "hello\\t\\"world\\"\\001";
extern const int setting __attribute__((section(".kconfig"), weak));
static __attribute__((noinline)) int inner(int *x) { counter += x[1]; return *(unsigned *)x / 3 % 7 + counter; }
__attribute__((noinline, weak)) int other(int *x) { return inner(x) + start++; }
void *table_of_functions[] = {inner, other, &counter};
__attribute__((section("xdp"))) int prog(int *c) {
  int key = inner(c);
  long *value = lookup(&table, &key);
  if (value) __sync_fetch_and_add(value, 5);
  for (int i = 0; i < c[2]; i++) outer(c);
  switch (c[1]) { case 1: return 5; case 2: return counter; case 3: return outer(c); case 9: return other(c); }
  return outer((void *)greeting) + setting;
}
__attribute__((section("tc/second"), visibility("hidden"))) int second(int *c) { return inner(c) + prog(c); }
char _license[] __attribute__((section("license"))) = "GPL";
"""


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3", "v4"])
@pytest.mark.parametrize("version", [14, 16, 19, 22])
def test_compiler_output(version: int, cpu: str, tmp_path: Path) -> None:
    """clang -S | assemble, against clang -c: contents, relocations and symbols of every section."""
    if cpu == "v4" and version < 19:
        pytest.skip(f"LLVM {version} has no -mcpu=v4")
    source, asm, out = tmp_path / "a.c", tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(C_SOURCE)
    clang = tool(f"clang-{version}")
    run(clang, "-target", "bpfel", f"-mcpu={cpu}", "-O2", "-g", "-S", source, "-o", asm)
    run(clang, "-target", "bpfel", f"-mcpu={cpu}", "-c", asm, "-o", out)
    ours = assemble(asm.read_text(), "llvm")
    compare_sections(ours, out, tmp_path)
    compare_symbols(ours, out)


def compare_sections(ours: Assembled, path: Path, tmp_path: Path) -> None:
    listing = run(tool("llvm-readelf-19"), "-SrW", path)
    rows = re.findall(
        r"^ *\[ *\d+\] (\S+) +(PROGBITS|NOBITS) +\S+ \S+ (\S+) (\S\S) +([A-Z]*) +\d+ +\d+ +(\d+)$", listing, re.M
    )
    made = {"xdp", "tc/second", ".text", "maps", "license", ".BTF", ".BTF.ext", ".rodata", ".data", ".bss"}
    assert made <= {row[0] for row in rows}
    for name, kind, size, entry, flags, align in rows:
        if name.startswith((".debug_line", ".debug_frame")):
            continue  # made from .loc and .cfi, which bombus reads over
        section = ours.section(name)
        assert sorted(section.flags.upper()) == sorted(flags), name
        assert section.align == int(align) and section.entry_size == int(entry, 16) and section.type == kind.lower()
        assert len(section.data) == int(size, 16)
        if kind == "PROGBITS":
            dump = tmp_path / "dump"
            run(tool("llvm-objcopy-19"), f"--dump-section={name}={dump}", path, "/dev/null")
            assert section.data == dump.read_bytes(), name
        part = re.search(
            rf"^Relocation section '\.rel{re.escape(name)}'.*?(?=^Relocation section|\Z)", listing, re.M | re.S
        )
        theirs = re.findall(r"^([0-9a-f]{16}) +[0-9a-f]{16} (R_\S+) +[0-9a-f]{16} (\S+)", part[0], re.M) if part else []
        found = [(f"{r.offset:016x}", RELOCATIONS[r.type], r.symbol) for r in section.relocations]
        assert found == sorted(theirs), name


def compare_symbols(ours: Assembled, path: Path) -> None:
    listing = run(tool("llvm-readelf-19"), "-sW", path)
    theirs = {
        name: (int(value, 16), int(size), kind.lower(), binding.lower(), visibility.lower(), index == "UND")
        for value, size, kind, binding, visibility, index, name in re.findall(
            r"^ +\d+: ([0-9a-f]+) +(\d+) (\S+) +(\S+) +(\S+) +(\S+) (\S+)$", listing, re.M
        )
        if kind not in ("SECTION", "FILE")
    }
    found = {s.name: (s.value, s.size, s.type, s.binding, s.visibility, not s.section) for s in ours.symbols}
    assert found == theirs


def test_gcc_output(tmp_path: Path) -> None:
    """gcc writes ubpf's syntax; contents equal to what it makes with gas."""
    gcc = tool("bpf-gcc")
    source, asm, out = tmp_path / "a.c", tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(C_SOURCE.replace("__sync_fetch_and_add(value, 5)", "*value += 5"))
    run(gcc, "-O2", "-g", "-S", source, "-o", asm)
    run(gcc, "-O2", "-g", "-c", source, "-o", out)
    ours = assemble(asm.read_text())
    for name in ("xdp", "tc/second", ".text", "maps", "license", ".rodata", ".data", ".debug_info", ".debug_str"):
        dump = tmp_path / "dump"
        run(tool("llvm-objcopy-19"), f"--dump-section={name}={dump}", out, "/dev/null")
        mine, theirs = ours.section(name), dump.read_bytes()
        # gas fills sections up to their alignment.
        assert len(theirs) == -(-len(mine.data) // mine.align) * mine.align, name
        if not mine.relocations and name != ".debug_info":
            assert theirs[: len(mine.data)] == mine.data, name
        if mine.is_code:
            # gas leaves other marks than clang where the linker has to fill in an address.
            open_ = {r.offset // 8 + slot for r in mine.relocations for slot in (0, 1)}
            wrong = [
                i for i, pair in enumerate(zip(decode(theirs), ours.slots(name), strict=True)) if pair[0] != pair[1]
            ]
            assert set(wrong) <= open_, name
