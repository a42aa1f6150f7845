"""Machine code in other programs: objects for C, shared libraries, modules of WebAssembly."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from native_cases import emulator
from native_units import (
    FULL,
    emulated,
    expected,
    inside_unit,
    load_flags,
    map_packets,
    map_runs,
    maps_object,
    packets,
    read_elf_machine,
    sample_unit,
)

from bombus.elf.read import read_elf
from bombus.errors import BombusError, CodegenError, NotSupported
from bombus.native.arch import ARCHES, WASM32, arch_of
from bombus.native.build import answers, build, header, records
from bombus.native.programs import NativeUnit, unit_of
from bombus.native.wasm import module_of
from bombus.object.read import read_object

llvmlite = pytest.importorskip("llvmlite", reason="native code needs llvmlite")

MAIN = """
#include <stdio.h>
#include <string.h>
#include "sample.h"

int main(void)
{
	unsigned char packet[65536];
	uint32_t size;
	while (fread(&size, 4, 1, stdin) == 1) {
		struct bombus_xdp_md ctx = {0};
		if (size > sizeof(packet) || fread(packet, 1, size, stdin) != size)
			return 1;
		ctx.data = ctx.data_meta = (uint64_t)(uintptr_t)packet;
		ctx.data_end = ctx.data + size;
		uint64_t r0 = sample(&ctx);
		fwrite(&r0, 8, 1, stdout);
		fwrite(packet, 1, size, stdout);
	}
	return 0;
}
"""


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="the host is not x86-64 Linux")
def test_object_in_a_c_program(tmp_path: Path) -> None:
    unit = sample_unit("little")
    (tmp_path / "sample.o").write_bytes(build(unit, arch_of("amd64")))
    (tmp_path / "sample.h").write_text(header(unit, "sample.bpf.c"))
    (tmp_path / "main.c").write_text(MAIN)
    command = ["gcc", "-Wall", "-Werror", "-o", "main", "main.c", "sample.o"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    request = b"".join(struct.pack("<I", len(packet)) + packet for packet in packets())
    out = subprocess.run([tmp_path / "main"], input=request, capture_output=True, check=True, timeout=60).stdout
    assert out == b"".join(struct.pack("<Q", verdict) + data for verdict, data in expected())


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="the host is not x86-64 Linux")
def test_shared_library(tmp_path: Path) -> None:
    path = tmp_path / "libsample.so"
    path.write_bytes(build(sample_unit("little"), arch_of("amd64"), emit="so", soname="libsample.so"))
    library = ctypes.CDLL(str(path))
    library.sample.restype = ctypes.c_uint64
    for packet, row in zip(packets(), expected(), strict=True):
        data = ctypes.create_string_buffer(packet, len(packet))
        at = ctypes.addressof(data)
        context = (ctypes.c_uint64 * 6)(0, 0, 0, at, at + len(packet), at)
        assert (library.sample(context), data.raw) == row
    seen = next(name for name in (s.name for s in read_elf(build(sample_unit("little"), arch_of("amd64"))).symbols)
                if name.startswith("bpf_data_") and "bss" in name)  # fmt: skip
    assert ctypes.c_uint64.in_dll(library, seen).value == len(packets())
    for flags in load_flags(path.read_bytes()):
        assert flags & 3 != 3, "a segment is writable and executable"
    unit = inside_unit("little")
    (tmp_path / "libinside.so").write_bytes(build(unit, arch_of("amd64"), emit="so"))
    inside = ctypes.CDLL(str(tmp_path / "libinside.so")).inside
    inside.restype = ctypes.c_uint64
    data = ctypes.create_string_buffer(bytes(14) + bytes([1]) + bytes(20), 35)
    at = ctypes.addressof(data)
    context = (ctypes.c_uint64 * 6)(0, 0, 0, at, at + 35, at)
    assert [inside(context), inside(context)] == [33, 66]


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="the host is not x86-64 Linux")
def test_maps_of_a_library(tmp_path: Path) -> None:
    """The process that opened it fills, asks and walks over the maps that its programs work on."""
    unit = unit_of(read_object(maps_object("bpfel", ()), name="maps"))
    (tmp_path / "libmaps.so").write_bytes(build(unit, arch_of("amd64"), emit="so"))
    library = ctypes.CDLL(str(tmp_path / "libmaps.so"))
    for name in ("seen_lookup", "seen_next", "slots_next", "slots_lookup"):
        getattr(library, f"bpf_map_{name}").restype = ctypes.c_void_p
    # A packet with number 9, operation 0, for which its element is there already: the program counts in it.
    key = struct.pack("<QII", 9, 0, 0)
    assert library.bpf_map_seen_lookup(key) is None
    assert library.bpf_map_seen_update(key, struct.pack("<Q", 100), ctypes.c_uint64(1)) == 0
    assert library.bpf_map_seen_update(key, struct.pack("<Q", 100), ctypes.c_uint64(1)) == -errno.EEXIST
    data = ctypes.create_string_buffer(bytes(14) + bytes([0, 9]) + bytes(20), 36)
    at = ctypes.addressof(data)
    library.maps((ctypes.c_uint64 * 6)(0, 0, 0, at, at + 36, at))
    assert ctypes.string_at(library.bpf_map_seen_lookup(key), 8) == struct.pack("<Q", 109)
    assert library.bpf_map_seen_update(bytes(16), bytes(8), ctypes.c_uint64(0)) == 0
    walk = (ctypes.c_uint64 * 6)()
    seen = {}
    while value := library.bpf_map_seen_next(walk):
        seen[ctypes.string_at(walk[3], 16)] = ctypes.string_at(value, 8)
    assert seen == {key: struct.pack("<Q", 109), bytes(16): bytes(8)}
    assert [library.bpf_map_seen_delete(key), library.bpf_map_seen_delete(key)] == [0, -errno.ENOENT]
    walk = (ctypes.c_uint64 * 6)()
    indices = []
    while library.bpf_map_slots_next(walk):
        indices.append(int.from_bytes(ctypes.string_at(walk[3], 4), "little"))
    assert indices == list(range(8))
    number = ctypes.c_uint32()
    assert library.bpf_map_waiting_pop(ctypes.byref(number)) == 0
    assert number.value == 9
    assert library.bpf_map_waiting_pop(ctypes.byref(number)) == -errno.ENOENT
    assert library.bpf_map_pile_push(struct.pack("<Q", 5), ctypes.c_uint64(0)) == 0
    assert library.bpf_map_filter_peek(struct.pack("<I", 9)) == 0


LOADER = """
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	static unsigned char packet[65536];
	uint32_t size;
	void *library = dlopen(argv[1], RTLD_NOW);
	if (!library)
		return fprintf(stderr, "%s\\n", dlerror()), 1;
	uint64_t (*run)(void *) = (uint64_t (*)(void *))dlsym(library, argv[2]);
	while (fread(&size, 4, 1, stdin) == 1) {
		uint64_t ctx[6] = {0};
		if (size > sizeof(packet) || fread(packet, 1, size, stdin) != size)
			return 2;
		ctx[3] = ctx[5] = (uint64_t)(uintptr_t)packet;
		ctx[4] = ctx[3] + size;
		uint64_t r0 = run(ctx);
		fwrite(&r0, 8, 1, stdout);
		fwrite(packet, 1, size, stdout);
	}
	return 0;
}
"""


# Debian's compilers and C libraries: gcc-TRIPLE, libc6-dev-*-cross.
CROSS = {
    "i386": "i686-linux-gnu", "aarch64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf", "s390x": "s390x-linux-gnu",
    "riscv64": "riscv64-linux-gnu", "ppc64le": "powerpc64le-linux-gnu", "mips": "mips-linux-gnu",
    "mipsel": "mipsel-linux-gnu", "mips64": "mips64-linux-gnuabi64", "mips64el": "mips64el-linux-gnuabi64",
    "ppc": "powerpc-linux-gnu", "ppc64": "powerpc64-linux-gnu", "sparc64": "sparc64-linux-gnu",
    "sparc": "sparc64-linux-gnu",
}  # fmt: skip


# The second C library of SPARC (gcc-multilib-sparc64-linux-gnu).
OPTIONS = {"sparc": ("-m32", "-Wl,--dynamic-linker=/lib32/ld-linux.so.2", "-Wl,-rpath=/lib32")}


@pytest.mark.debian
@pytest.mark.parametrize("name", CROSS)
def test_shared_libraries_of_other_machines(name: str, tmp_path: Path) -> None:
    """Opened by the C library of the machine, under emulation."""
    arch = emulated(name)
    triple = CROSS[name]
    if shutil.which(f"{triple}-gcc") is None:
        pytest.skip(f"no {triple}-gcc")
    (tmp_path / "main.c").write_text(LOADER)
    compile_ = [f"{triple}-gcc", *OPTIONS.get(name, ()), "-o", "main", "main.c", "-ldl"]
    if subprocess.run(compile_, cwd=tmp_path, capture_output=True, timeout=60, check=False).returncode:
        pytest.skip(f"{triple}-gcc has no C library for {name}")
    program = emulator(arch)
    assert program is not None
    order = "<" if arch.target.byteorder == "little" else ">"
    big = arch.target.byteorder == "big"
    defines = ("NO_SUM",) if big else ()
    cases: list[tuple[NativeUnit, str, list[bytes], Sequence[int | tuple[int, bytes]]]] = [
        (sample_unit(arch.target.byteorder), "sample", packets(), expected()),
        (inside_unit(arch.target.byteorder), "inside", [bytes(14) + bytes([1]) + bytes(20)] * 2, [33, 66]),
    ]
    if FULL:
        maps = unit_of(read_object(maps_object("bpfeb" if big else "bpfel", defines), name="maps"))
        cases.append((maps, maps.programs[0].name, map_packets(), map_runs(defines)))
    for unit, names, requests, wanted in cases:
        (tmp_path / "lib.so").write_bytes(build(unit, arch, emit="so", soname="lib.so"))
        request = b"".join(struct.pack(order + "I", len(packet)) + packet for packet in requests)
        command = [program, "-L", f"/usr/{triple}", "main", "./lib.so", names]
        done = subprocess.run(command, cwd=tmp_path, input=request, capture_output=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        out = done.stdout
        for packet, row in zip(requests, wanted, strict=True):
            verdict, data = row if isinstance(row, tuple) else (row, None)
            assert struct.unpack(order + "Q", out[:8])[0] == verdict
            assert data is None or out[8 : 8 + len(packet)] == data
            out = out[8 + len(packet) :]
        assert not out


@pytest.mark.parametrize("name", ARCHES)
def test_shared_libraries_are_whole(name: str) -> None:
    arch = ARCHES[name]
    data = build(sample_unit(arch.target.byteorder), arch, emit="so", soname="lib.so")
    elf = read_elf(data)
    assert (elf.type, elf.machine, elf.bits) == (3, read_elf_machine(arch), arch.bits)
    for flags in load_flags(data):
        assert flags & 3 != 3, "a segment is writable and executable"


def wasm_runs(module: bytes, name: str, requests: Sequence[bytes]) -> list[tuple[int, bytes]]:
    wasmtime = pytest.importorskip("wasmtime", reason="nothing here runs WebAssembly")
    store = wasmtime.Store(wasmtime.Engine())
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, module), []).exports(store)
    memory, heap = exports["memory"], exports["__heap_base"].value(store)
    memory.grow(store, 2)
    found = []
    for packet in requests:
        place = heap + 64
        addresses = struct.pack("<QQQ", place, place + len(packet), place)
        memory.write(store, bytes(24) + addresses, heap)
        memory.write(store, packet, place)
        verdict = exports[name](store, heap)
        found.append((verdict, bytes(memory.read(store, place, place + len(packet)))))
    return found


def test_modules_of_webassembly() -> None:
    """Variables, tail calls, loops, maps and helpers inside; what is exported can be seen from outside."""
    assert wasm_runs(build(sample_unit("little"), WASM32, emit="so"), "sample", packets()) == expected()
    runs = wasm_runs(build(inside_unit("little"), WASM32, emit="so"), "inside", [bytes(14) + b"\1" + bytes(20)] * 2)
    assert [verdict for verdict, _ in runs] == [33, 66]
    defines = ("NO_TIME",)
    unit = unit_of(read_object(maps_object("bpfel", defines), name="maps"))
    assert wasm_runs(build(unit, WASM32, emit="so"), "maps", map_packets()) == map_runs(defines)


def test_node_runs_executables(tmp_path: Path) -> None:
    """Another host of WASI than wasmtime."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    (tmp_path / "program.wasm").write_bytes(build(sample_unit("little"), WASM32, emit="exe"))
    (tmp_path / "run.mjs").write_text("""
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";
const wasi = new WASI({ version: "preview1" });
const module = await WebAssembly.compile(readFileSync("program.wasm"));
const asked = WebAssembly.Module.imports(module).map((one) => one.module + "." + one.name).sort().join(" ");
const from = "wasi_snapshot_preview1.";
if (asked !== `${from}fd_read ${from}fd_write ${from}proc_exit`) throw asked;
process.exit(wasi.start(await WebAssembly.instantiate(module, { wasi_snapshot_preview1: wasi.wasiImport })));
""")
    request = records([(0, packet) for packet in packets()])
    command = [node, "--no-warnings", "run.mjs"]
    done = subprocess.run(command, cwd=tmp_path, input=request, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [(one.status, one.r0, one.data) for one in answers(done.stdout)] == [(0, *row) for row in expected()]


def test_what_webassembly_does_not_have() -> None:
    unit = unit_of(read_object(maps_object("bpfel", ()), name="maps"))
    with pytest.raises(NotSupported, match="bpf_ktime_get_ns"):
        build(unit, WASM32, emit="so")
    data = build(unit, WASM32)
    assert data.startswith(b"\0asm") and b"bpf_helper_5" in data
    with pytest.raises(CodegenError, match="bpf_helper"):
        module_of(data)


def test_damaged_objects_of_webassembly() -> None:
    data = build(sample_unit("little"), WASM32)
    assert module_of(data)
    for at in range(8, len(data), 3):
        for value in (0, 0x7F, 0xFF):
            damaged = bytearray(data)
            damaged[at] = value
            try:
                module_of(bytes(damaged))
            except BombusError:
                continue
    for length in range(0, len(data) - 1, 5):
        with contextlib.suppress(BombusError):
            module_of(data[:length])
