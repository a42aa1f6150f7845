"""Programs for other machines, what runs them, and what they answer on the user kernel."""

from __future__ import annotations

import os
import random
import struct
from functools import cache
from pathlib import Path

import pytest
from native_cases import emulator

from bombus.capture import open_capture
from bombus.errors import NotSupported
from bombus.native.arch import Arch, arch_of
from bombus.native.programs import NativeUnit, unit_of
from bombus.object.read import read_object

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FULL = bool(os.environ.get("BOMBUS_FULL"))


def emulated(name: str) -> Arch:
    arch = arch_of(name)
    if emulator(arch) is None:
        pytest.skip(f"no qemu-{arch.qemu} (Debian's qemu-user)" if arch.qemu else "no wasmtime (PyPI's)")
    return arch


@cache
def sample_unit(order: str) -> NativeUnit:
    from bombus.compiler.c.command import Options
    from bombus.compiler.c.driver import build as compile_c

    target = "bpfeb" if order == "big" else "bpfel"
    try:
        built = compile_c(str(HERE / "sample.bpf.c"), Options(target=target))
    except NotSupported as error:
        pytest.skip(f"no C compiler for BPF: {error}")
    return unit_of(read_object(built.data, name="sample"))


@cache
def packets() -> list[bytes]:
    return [bytes(packet.data) for packet in open_capture(ROOT / "examples" / "traffic.pcap")][:40]


@cache
def expected() -> list[tuple[int, bytes]]:
    """The same on the user kernel's reference interpreter."""
    import bombus
    from bombus.compiler.c.driver import build as compile_c
    from bombus.loader.load import load

    kernel = bombus.open_kernel("user:6.18", engine="reference")
    with load(read_object(compile_c(str(HERE / "sample.bpf.c")).data, name="sample"), kernel) as loaded:
        runs = [loaded.programs["sample"].test_run(packet) for packet in packets()]
    return [(run.retval, run.data) for run in runs]


@cache
def inside_unit(order: str) -> NativeUnit:
    from bombus.compiler.c.command import Options
    from bombus.compiler.c.driver import build as compile_c

    options = Options(target="bpfeb" if order == "big" else "bpfel")
    try:
        return unit_of(read_object(compile_c(str(HERE / "inside.bpf.c"), options).data, name="inside"))
    except NotSupported as error:
        pytest.skip(f"no C compiler for BPF: {error}")


@cache
def map_packets() -> tuple[bytes, ...]:
    rng = random.Random(1)
    return tuple(
        bytes(14) + bytes([rng.randrange(16), rng.choice((rng.randrange(256), rng.randrange(9)))]) + bytes(20)
        for _ in range(400)
    )


@cache
def maps_object(target: str, defines: tuple[str, ...]) -> bytes:
    from bombus.compiler.c.command import Options
    from bombus.compiler.c.driver import build as compile_c

    try:
        return bytes(compile_c(str(HERE / "maps.bpf.c"), Options(target=target, defines=defines)).data)
    except NotSupported as error:
        pytest.skip(f"no C compiler for BPF: {error}")


@cache
def map_runs(defines: tuple[str, ...]) -> list[tuple[int, bytes]]:
    """On the user kernel's reference interpreter and Python's maps."""
    from bombus.kernel.user.kernel import UserKernel
    from bombus.loader.load import load

    kernel = UserKernel("6.18", engine="reference", maps="python", cpus=1)
    with load(read_object(maps_object("bpfel", defines), name="maps"), kernel) as loaded:
        return [(run.retval, run.data) for run in map(loaded.programs["maps"].test_run, map_packets())]


def read_elf_machine(arch: Arch) -> int:
    """Numbers of include/uapi/linux/elf-em.h."""
    return {
        "x86_64": 62, "i386": 3, "arm": 40, "aarch64": 183, "ppc": 20, "ppc64": 21, "ppc64le": 21, "sparc": 2,
        "sparc64": 43, "s390x": 22, "mips": 8, "mipsel": 8, "mips64": 8, "mips64el": 8, "riscv32": 243,
        "riscv64": 243, "loongarch64": 258,
    }[arch.name]  # fmt: skip


def load_flags(data: bytes) -> list[int]:
    """p_flags of all program headers."""
    wide, mark = data[4] == 2, "<" if data[5] == 1 else ">"
    (count,) = struct.unpack_from(mark + "H", data, 56 if wide else 44)
    base, size, at = (64, 56, 4) if wide else (52, 32, 24)
    return [struct.unpack_from(mark + "I", data, base + n * size + at)[0] for n in range(count)]
