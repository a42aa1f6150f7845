"""Machine code for other machines: conformance under qemu's user-mode emulation, objects for C, executables."""

from __future__ import annotations

import random
import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_cases import CASES, TABLE, answer, execute, isa_cases, table_cases, wrong
from native_machine import Machine
from native_units import (
    FULL,
    HERE,
    ROOT,
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

from bombus.asm import assemble
from bombus.elf.model import SHN_UNDEF
from bombus.elf.read import read_elf
from bombus.errors import BombusError, CodegenError, NotSupported, UsageError
from bombus.jit import abi
from bombus.native import start
from bombus.native.arch import ARCHES, arch_of
from bombus.native.build import Answer, answers, build, build_unverified, header, records
from bombus.native.link import link
from bombus.native.programs import unit_of
from bombus.object.read import read_object
from bombus.runtime import routines, serve

llvmlite = pytest.importorskip("llvmlite", reason="native code needs llvmlite")

# Little and big endian, 32 and 64 bits, with and without 64-bit division and atomics, REL and RELA, TOC and not.
USUAL = ("aarch64", "arm", "mips", "ppc64", "riscv32", "s390x", "sparc", "wasm32")
CHOSEN = (*ARCHES, "wasm32") if FULL else USUAL


# ------------------------------------------------------------------------------------------------ conformance


@pytest.mark.debian
@pytest.mark.parametrize("name", CHOSEN)
def test_instructions(name: str) -> None:
    arch = emulated(name)
    programs, cases = isa_cases(arch.target.byteorder, 1 if FULL else 9)
    assert not wrong(cases, answer(arch, programs, cases))


@pytest.mark.oracle
@pytest.mark.debian
@pytest.mark.skipif(not TABLE.exists(), reason="no recorded lib/test_bpf.c table in ../shared/oracle")
@pytest.mark.parametrize("name", CHOSEN if FULL else ("mips", "riscv32", "wasm32"))
def test_table(name: str) -> None:
    arch = emulated(name)
    programs, cases = table_cases(1 if FULL else 9)
    assert not wrong(cases, answer(arch, programs, cases))


def test_machine_answers_as_linux_on_little_endian() -> None:
    programs, cases = isa_cases("little", 1)
    for case in cases:
        machine = Machine("little", case.before)
        assert (machine.run(programs[case.program]) & 0xFFFF_FFFF, bytes(machine.data)) == (case.r0, case.after)
    assert len(cases) > 2000, CASES


# ------------------------------------------------------------------------------------------------ verified programs


@pytest.mark.debian
@pytest.mark.parametrize("name", CHOSEN if FULL else ("arm", "s390x", "loongarch64", "wasm32"))
def test_programs(name: str, tmp_path: Path) -> None:
    arch = emulated(name)
    unit = sample_unit(arch.target.byteorder)
    done = execute(arch, build(unit, arch, emit="exe"), records([(0, packet) for packet in packets()]), tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    got = answers(done.stdout)
    assert [(one.status, one.r0, one.data) for one in got] == [(0, *row) for row in expected()]
    assert len({row[0] for row in expected()}) >= 2


@pytest.mark.debian
@pytest.mark.parametrize("name", CHOSEN if FULL else ("aarch64", "arm", "s390x", "wasm32"))
def test_arrays_tail_calls_and_loops_are_inside(name: str, tmp_path: Path) -> None:
    """Values of arrays stay from one record to the next, as in the kernel from one packet to the next."""
    import bombus
    from bombus.compiler.c.command import Options
    from bombus.compiler.c.driver import build as compile_c
    from bombus.loader.load import load

    arch = emulated(name)
    unit = inside_unit(arch.target.byteorder)
    requests = [bytes(12) + b"\x08\0" + bytes([number % 40]) + bytes(20) for number in range(100)]
    built = compile_c(str(HERE / "inside.bpf.c"), Options())
    with load(read_object(built.data, name="inside"), bombus.open_kernel("user:6.18", engine="reference")) as loaded:
        runs = [loaded.programs["inside"].test_run(packet) for packet in requests]
    which = [program.name for program in unit.programs].index("inside")
    request = records([(which, packet) for packet in requests])
    done = execute(arch, build(unit, arch, emit="exe"), request, tmp_path)
    got = [(one.status, one.r0, one.data) for one in answers(done.stdout)]
    assert got == [(0, run.retval, run.data) for run in runs]
    assert {33, 66, 3, 1, 2} <= {run.retval for run in runs}
    assert unit.tables == {"jumps": ("", "other", "", "last")} and set(unit.inside) == {"counts"}


@pytest.mark.debian
@pytest.mark.parametrize("name", CHOSEN if FULL else ("arm", "ppc", "s390x", "riscv64", "wasm32"))
def test_maps_and_helpers_are_inside(name: str, tmp_path: Path) -> None:
    arch = emulated(name)
    big = arch.target.byteorder == "big"
    defines = ("NO_SUM",) if big else ()
    unit = unit_of(read_object(maps_object("bpfeb" if big else "bpfel", defines), name="maps"))
    request = records([(0, packet) for packet in map_packets()])
    done = execute(arch, build(unit, arch, emit="exe"), request, tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [(one.status, one.r0, one.data) for one in answers(done.stdout)] == [(0, *run) for run in map_runs(defines)]
    assert len({verdict for verdict, _ in map_runs(defines)}) > 300
    if name != "wasm32":  # where modules have no clock
        assert build(unit, arch, emit="so", soname="maps.so")


@cache
def packets_object(target: str) -> bytes:
    from bombus.compiler.c.command import Options
    from bombus.compiler.c.driver import build as compile_c

    try:
        return bytes(compile_c(str(HERE / "packets.bpf.c"), Options(target=target)).data)
    except NotSupported as error:
        pytest.skip(f"no C compiler for BPF: {error}")


@cache
def tc_packets() -> tuple[bytes, ...]:
    rng = random.Random(2)
    return tuple(bytes([2] * 12) + b"\x88\xb5" + rng.randbytes(rng.randrange(8, 60)) for _ in range(200))


@pytest.mark.debian
@pytest.mark.parametrize("name", CHOSEN if FULL else ("x86_64", "arm", "aarch64", "s390x", "riscv64", "wasm32"))
def test_programs_on_socket_buffers(name: str, tmp_path: Path) -> None:
    """Old packet loads, helpers of packets, dynptrs, walks over maps. On little-endian machines as the user kernel; on
    others, where numbers in maps have other bytes, all of them alike."""
    from bombus.kernel.user.kernel import UserKernel
    from bombus.loader.load import load

    arch = emulated(name)
    little = arch.target.byteorder == "little"
    data = packets_object("bpfel" if little else "bpfeb")
    unit = unit_of(read_object(data, name="packets"))
    which, dice = ([program.name for program in unit.programs].index(wanted) for wanted in ("packets", "dice"))
    request = records([*((which, packet) for packet in tc_packets()), *[(dice, bytes(20))] * 4])
    done = execute(arch, build(unit, arch, emit="exe"), request, tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    got = answers(done.stdout)
    assert all(one.status == 0 for one in got)
    assert len({one.r0 for one in got[-4:]}) == 4
    found = [one.r0 & 0xFFFF_FFFF for one in got[:-4]]
    if little:
        kernel = UserKernel("6.18", engine="reference", maps="python", cpus=1)
        with load(read_object(data, name="packets"), kernel) as loaded:
            runs = [loaded.programs["packets"].test_run(packet).retval for packet in tc_packets()]
    else:
        runs = big_runs()
    assert found == runs
    assert len(set(found)) > 150
    if name != "wasm32":  # where modules have no random numbers
        assert build(unit, arch, emit="so", soname="packets.so")


@cache
def big_runs() -> list[int]:
    """What s390x says, which all others have to say, too."""
    import tempfile

    unit = unit_of(read_object(packets_object("bpfeb"), name="packets"))
    request = records([(0, packet) for packet in tc_packets()])
    with tempfile.TemporaryDirectory() as folder:
        done = execute(arch_of("ppc64"), build(unit, arch_of("ppc64"), emit="exe"), request, Path(folder))
    return [one.r0 & 0xFFFF_FFFF for one in answers(done.stdout)]


@pytest.mark.parametrize("name", ARCHES)
def test_executables_are_whole(name: str) -> None:
    """On 32-bit machines the compiler's routines come along."""
    arch = ARCHES[name]
    code = "w0 = 0\nr2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr2 /= r3\nlock *(u64 *)(r1 + 0) += r2\nr0 = r2\nexit"
    data = build_unverified([list(assemble(code).insns)], arch)
    elf = read_elf(data)
    assert elf.machine == read_elf_machine(arch)
    assert elf.type == 2
    for flags in load_flags(data):
        assert flags & 3 != 3, "a segment is writable and executable"


def test_big_endian_objects_are_for_big_endian_machines() -> None:
    with pytest.raises(UsageError, match="--target bpfeb"):
        build(sample_unit("little"), ARCHES["s390x"])


# ------------------------------------------------------------------------------------------------ executables


@cache
def small(name: str) -> bytes:
    """Program 0 stores behind its data, 1 loops, 2 returns the first byte."""
    beyond = list(assemble("*(u8 *)(r1 + 4) = 1\nr0 = 0\nexit").insns)
    forever = list(assemble("r0 = 0\nr0 += 1\ngoto -2").insns)
    first = list(assemble("r0 = *(u8 *)(r1 + 0)\nexit").insns)
    return build_unverified([beyond, forever, first], arch_of(name), budget=100_000)


@pytest.mark.debian
@pytest.mark.parametrize("name", ["riscv64", "wasm32"])
def test_unverified_programs_stay_inside(name: str, tmp_path: Path) -> None:
    arch = emulated(name)
    done = execute(arch, small(name), records([(0, b"abcd"), (1, b""), (2, b"abcd"), (0, b"abcde")]), tmp_path)
    got = answers(done.stdout)
    assert [one.status for one in got] == [abi.ERROR, abi.BUDGET, abi.RETURNED, abi.RETURNED]
    assert got[0].data == b"abcd"
    assert got[0].insn == 0
    assert got[2].r0 == ord("a")
    assert got[3].data == b"abcd\1"


@pytest.mark.debian
@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"", serve.ENDED),
        (b"\0\0\0", serve.CUT_OFF),
        (records([(2, b"abcd")])[:-1], serve.CUT_OFF),
        (records([(3, b"")]), serve.NO_PROGRAM),
        (records([(0xFFFF_FFFF, b"")]), serve.NO_PROGRAM),
        (struct.pack(">II", 2, start.ROOM + 1), serve.TOO_LARGE),
        (struct.pack(">II", 2, 0xFFFF_FFFF), serve.TOO_LARGE),
    ],
)
@pytest.mark.parametrize("name", ["riscv64", "wasm32"])
def test_bad_records(name: str, request_bytes: bytes, code: int, tmp_path: Path) -> None:
    done = execute(emulated(name), small(name), request_bytes, tmp_path)
    assert (done.returncode, done.stdout) == (code, b"")


def test_answers_cut_off() -> None:
    whole = struct.pack(">IIQI", 0, 0, 7, 2) + b"ab"
    assert answers(whole) == [Answer(0, 0, 7, b"ab")]
    for length in range(1, len(whole)):
        with pytest.raises(UsageError, match="cut off"):
            answers(whole[:length])


def test_what_executables_do_not_have() -> None:
    unit = unit_of(read_object((ROOT / "examples" / "traffic.bpf.o").read_bytes()))
    with pytest.raises(NotSupported, match="bpf_trace_printk, bpf_ringbuf_output"):
        build(unit, ARCHES["arm"], emit="exe")
    with pytest.raises(NotSupported, match="bpf_helper_5"):
        build_unverified([list(assemble("call 5\nexit").insns)], ARCHES["arm"])
    with pytest.raises(UsageError, match="no program nobody"):
        unit_of(read_object((ROOT / "examples" / "traffic.bpf.o").read_bytes()), ("nobody",))
    with pytest.raises(UsageError, match="no architecture"):
        arch_of("vax")


def test_objects_leave_helpers_and_maps_to_others() -> None:
    unit = unit_of(read_object((ROOT / "examples" / "traffic.bpf.o").read_bytes()))
    symbols = read_elf(build(unit, ARCHES["i386"])).symbols
    missing = {s.name for s in symbols if s.section == SHN_UNDEF and s.name} - {"_GLOBAL_OFFSET_TABLE_"}
    assert missing == {
        "bpf_helper_1", "bpf_helper_2", "bpf_helper_6", "bpf_helper_130", "bpf_map_events", "bpf_map_flows",
        "bpf_map_protocols",
    }  # fmt: skip
    text = header(unit, "traffic")
    assert all(name in text for name in missing)


# ------------------------------------------------------------------------------------------------ the linker


@cache
def object_of(name: str) -> bytes:
    from bombus.jit.compile import Compiler

    compiler = Compiler()
    try:
        text = "define void @_start() {\n  call void @outside()\n  ret void\n}\ndeclare void @outside()\n"
        return compiler.compile(text, ARCHES[name].static, level=1)
    finally:
        compiler.close()


def test_symbols_that_nobody_defines() -> None:
    data = object_of("aarch64")
    with pytest.raises(CodegenError, match="'outside', which nothing defines"):
        link(data, {})
    assert link(data, {"outside": bytes(4)})


@pytest.mark.parametrize("name", ["aarch64", "mips64el", "ppc64"])
def test_damaged_objects(name: str) -> None:
    data = object_of(name)
    for at in range(0, len(data), 7):
        for value in (0, 0xFF):
            damaged = bytearray(data)
            damaged[at] = value
            try:
                link(bytes(damaged), {"outside": bytes(4)})
            except BombusError:
                continue
    for length in range(0, len(data), 11):
        with pytest.raises(BombusError):
            link(data[:length], {"outside": bytes(4)})


# ------------------------------------------------------------------------------------------------ the runtime

_U64 = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 300), st.integers(2**63 - 2, 2**63 + 2))


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@cache
def native_routines() -> dict[str, object]:
    from bombus.compiler.host import native_module

    names = ("udivdi3", "umoddi3", "divdi3", "moddi3", "ashldi3", "lshrdi3", "ashrdi3", "muldi3", "udivsi3",
             "divsi3")  # fmt: skip
    return dict(native_module({name: getattr(routines, name) for name in names}))


@settings(deadline=None)
@given(_U64, _U64.filter(bool), st.integers(0, 63))
def test_routines(a: int, b: int, n: int) -> None:
    from bombus.bpf import s32, s64, u32, u64

    made: dict[str, object] = native_routines()
    x, y = signed(a), signed(b)
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)

    def call(name: str, *args: object) -> int:
        return int(made[name](*args)) % 2**64  # type: ignore[operator]

    assert call("udivdi3", u64(a), u64(b)) == a // b
    assert call("umoddi3", u64(a), u64(b)) == a % b
    if abs(quotient) < 2**63:
        assert call("divdi3", s64(x), s64(y)) == quotient % 2**64
    assert call("moddi3", s64(x), s64(y)) == (x - quotient * y) % 2**64
    low, by = a % 2**32, b % 2**32 or 1
    assert call("udivsi3", u32(low), u32(by)) == low // by
    v, w = s32(low), s32(by)
    small = abs(int(v)) // abs(int(w)) * (1 if (v < 0) == (w < 0) else -1)
    assert call("divsi3", v, w) == small % 2**64 or small == 2**31
    assert call("muldi3", u64(a), u64(b)) == a * b % 2**64
    assert call("ashldi3", u64(a), u32(n)) == (a << n) % 2**64
    assert call("lshrdi3", u64(a), u32(n)) == a >> n
    assert call("ashrdi3", u64(a), u32(n)) == (x >> n) % 2**64


def test_run_is_laid_out_as_the_abi_says() -> None:
    fields = serve.Run.LAYOUT.members
    for name, (offset, _size) in abi.RUN.items():
        if name == "epoch":  # for callees in Python, which there are none of
            continue
        where = fields["first" if name == "regions" else name]
        assert where.offset == offset, name


def test_usual_architectures_are_of_all_kinds() -> None:
    assert {arch_of(name).target.byteorder for name in USUAL} == {"little", "big"}
    assert {arch_of(name).bits for name in USUAL} == {32, 64}
