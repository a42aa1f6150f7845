"""Assembly sources to objects."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bombus.compiler import c
from bombus.compiler.assembly import build_source
from bombus.compiler.c import Options, toolchain
from bombus.elf.read import read_elf
from bombus.errors import AsmError, UsageError
from bombus.kernel.api import Kernel
from bombus.loader.load import load
from bombus.object.read import read_object

HAND = """\
        .section xdp
{globals}
count:  r0 = 2
        if r1 == 0 goto 1f
        call help
        call more
1:      exit
second: r0 = 1
        exit
        .text
help:   r0 = 1
        exit
more:   r0 = 1
        exit
        .section license
        .asciz "GPL"
"""


@pytest.mark.parametrize(
    ("directives", "names"),
    [("", "count help more"), (".globl count", "count help more"), (".globl count, second", "count help more second")],
)
def test_labels_become_functions(directives: str, names: str) -> None:
    elf = read_elf(build_source(HAND.format(globals=directives)))
    functions = {s.name: (s.value, s.size) for s in elf.symbols if s.type == 2}
    assert sorted(functions) == names.split()
    assert functions["count"] == (0, 40 if "second" in names else 56)
    assert functions["help"] == (0, 16)


def test_functions_among_programs_are_refused() -> None:
    with pytest.raises(AsmError, match=r"'help' is called, but it is no function.*\.text") as caught:
        build_source(HAND.format(globals="").replace("        .text\n", ""))
    assert caught.value.line == 5


def test_code_without_any_label() -> None:
    obj = read_object(build_source('.section socket\nmov %r0, 3\nexit\n.section license\n.asciz "GPL"\n'))
    assert [(p.name, p.section) for p in obj.programs] == [("prog", "socket")]


def test_byte_order() -> None:
    assert read_object(build_source(HAND.format(globals=""), target="bpfeb")).byteorder == "big"
    with pytest.raises(UsageError, match="'x86' is no target"):
        build_source("exit", target="x86")


def test_it_loads_and_runs(kernel: Kernel) -> None:
    with load(read_object(build_source(HAND.format(globals=".globl count, second"))), kernel) as loaded:
        assert loaded.programs["count"].test_run(bytes(64)).retval == 1


@pytest.mark.parametrize("text", ["", "# nothing\n", ".globl x\n"])
def test_nothing_is_refused(text: str) -> None:
    with pytest.raises(AsmError, match="neither code nor data"):
        build_source(text)


def test_unknown_section_type() -> None:
    with pytest.raises(AsmError, match="unknown type 'strange'"):
        build_source('.section x,"a",@strange\n.byte 1\n')


PROGRAM = """\
typedef unsigned int __u32; typedef unsigned long long __u64; typedef unsigned char __u8; typedef int __s32;
typedef unsigned short __u16; typedef long long __s64; typedef __u16 __be16; typedef __u32 __be32, __wsum;
#include <bpf/bpf_helpers.h>
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } m SEC(".maps");
const volatile int limit = 3; int seen; static __u64 more[4] = {1, 2};
static __noinline int twice(int x) { return x * 2 + limit; }
SEC("xdp") int prog(void *ctx)
{
    __u32 key = 1; __u64 *v = bpf_map_lookup_elem(&m, &key);
    if (v) __sync_fetch_and_add(v, seen);
    bpf_printk("x %d", key);
    more[key & 3]++;
    return twice(key);
}
SEC("tc") int second(void *ctx) { return more[2] + twice(4); }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_what_clang_writes_makes_what_clang_makes(target: str, clang: str, tmp_path: Path) -> None:
    """Sections that a loader reads, with relocations and symbols, of clang -S through us and of clang -c."""
    source = tmp_path / "prog.c"
    source.write_text(PROGRAM)
    text = c.build(str(source), Options(emit="asm", target=target)).data.decode()
    ours = read_elf(build_source(text, target=target))
    path = tmp_path / "prog.s"
    path.write_text(text)
    tool = toolchain.find(clang)
    subprocess.run([*tool.command, "-target", target, "-c", str(path), "-o", str(tmp_path / "ref.o")], check=True)
    theirs = read_elf((tmp_path / "ref.o").read_bytes())

    def seen(elf):  # type: ignore[no-untyped-def]
        sections = {
            s.name: (s.type, s.flags, bytes(s.data), s.size) for s in elf.sections
            if s.name and not s.name.startswith((".debug", ".rel", ".str", ".sym", ".llvm", ".text"))
        }  # fmt: skip
        names = [s.name for s in elf.sections]
        symbols = {(s.name, s.value, s.size, s.bind, s.type, names[s.section]) for s in elf.symbols
                   if s.name and s.type in (1, 2)}  # fmt: skip
        return sections, symbols

    assert seen(ours) == seen(theirs)
    assert {p.name for p in read_object(build_source(text, target=target)).programs} == {"prog", "second"}


def test_clang_output_loads_and_runs(kernel: Kernel, clang: str, tmp_path: Path) -> None:
    source = tmp_path / "prog.c"
    source.write_text(PROGRAM)
    text = c.build(str(source), Options(emit="asm")).data.decode()
    with load(read_object(build_source(text)), kernel) as loaded:
        assert loaded.programs["prog"].test_run(bytes(64)).retval == 5


MAPS = """\
        .map counts, array, 4, 8, 16
        .map events, BPF_MAP_TYPE_RINGBUF, 0, 0, 4096
        .map flows, hash, 4, 8, 128, 1
        .section xdp
count:  *(u32 *)(r10 - 4) = 1
        r2 = r10
        r2 += -4
        r1 = counts ll
        call bpf_map_lookup_elem
        if r0 == 0 goto 1f
        r1 = 5
        *(u64 *)(r0 + 0) = r1
1:      r0 = 2
        exit
        .section license
        .asciz "GPL"
"""


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_maps(target: str) -> None:
    obj = read_object(build_source(MAPS, target=target))
    rows = {m.name: (m.type, m.key_size, m.value_size, m.max_entries, m.flags) for m in obj.maps}
    assert rows == {"counts": (2, 4, 8, 16, 0), "events": (27, 0, 0, 4096, 0), "flows": (1, 4, 8, 128, 1)}


def test_programs_with_maps_run(kernel: Kernel) -> None:
    with load(read_object(build_source(MAPS)), kernel) as loaded:
        assert loaded.programs["count"].test_run(bytes(64)).retval == 2
        assert int.from_bytes(bytes(loaded.maps["counts"].raw.lookup((1).to_bytes(4, "little"))), "little") == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".map m, arrays, 4, 8, 1", "'arrays' is no type of map"),
        (".map m, array, 4, 8", "expected ','"),
        (".map m, array, -4, 8, 1", "the key's size -4 is out of range"),
        (".map m, array, 4, 8, 1\n.map m, array, 4, 8, 1", "'m' is already defined in line 1"),
        ('.map m, array, 4, 8, 1\n.section .BTF,"",@progbits\n.byte 1', "section .BTF of its own"),
    ],
)
def test_maps_that_are_wrong(text: str, message: str) -> None:
    with pytest.raises(AsmError, match=message):
        build_source(text + "\n")
