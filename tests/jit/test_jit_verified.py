"""Verified programs run without the checks that the verifier made; what they compute stays the same."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))

import fuzz_jit

from bombus.capture.files import open_capture
from bombus.compiler.build import build_file
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.facts import MAP_VALUE, PACKET, STACK
from bombus.isa.insn import Insn, encode
from bombus.jit import perfmap
from bombus.jit.compile import COMPILER
from bombus.jit.engine import NativeProgram
from bombus.jit.lower import lower
from bombus.jit.target import host
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.run import run_packet
from bombus.kernel.user.world import world_of
from bombus.loader.load import load as load_object
from bombus.object.read import read_object

EXIT = b.exit_()
XDP = 6
PROGRAMS = int(os.environ.get("BOMBUS_VM_PROGRAMS", "40"))


def load(kernel: UserKernel, insns: list[Insn]) -> Prog:
    fd = kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=XDP, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0"))
    prog = kernel.object("test", fd, "prog")
    assert isinstance(prog, Prog)
    return prog


def text(prog: Prog) -> tuple[str, str]:
    """LLVM IR as written and as optimised."""
    compiled = prog.compiled
    assert isinstance(compiled, NativeProgram)
    written = lower(compiled._insns, host(), compiled._options).text
    return written, COMPILER.compile(written, host(), level=2, emit="ir").decode()


def test_random_programs() -> None:
    """With maps, helpers and callbacks, over maps in native memory and in Python."""
    judge = fuzz_jit.Judge()
    for level in (0, 2):
        found = list(judge.compare(range(level * PROGRAMS, (level + 1) * PROGRAMS), level))
        assert [difference for _, difference in found if difference] == []
        assert len(found) > PROGRAMS * 0.9


def test_loops_call_their_function_where_others_are_gone() -> None:
    """A function that no path reaches is none of the finished program's, and the later ones move up."""

    def looped(function: int, at: int) -> list[Insn]:
        return [b.mov(1, 3), *b.ld_imm64(2, function - at - 2, src=op.BPF_PSEUDO_FUNC), b.mov(3, 0), b.mov(4, 0),
                b.call(181)]  # fmt: skip

    dead, first, second = 19, 21, 23
    insns = [b.mov(0, 0), b.jmp("==", 0, 0, 1), Insn(op.CALL, 0, op.BPF_PSEUDO_CALL, 0, dead - 3),
             *looped(first, 3), b.mov(6, b.R0), *looped(second, 10), b.mul(6, 16), b.add(0, b.R6), EXIT,
             b.mov(0, 7), EXIT, b.mov(0, 0), EXIT, b.mov(0, 1), EXIT]  # fmt: skip
    machine = fuzz_jit.Machine("native", "strict", "python")
    loaded = machine.load(fuzz_jit.MapProgram("socket", [], insns, [0, dead, first, second], ("static",) * 4))
    results, *_ = machine.outcome(loaded, bytes(fuzz_jit.VALUE_SIZE), [bytes(64)], at_once=False)
    assert results == [3 * 16 + 1]


@pytest.mark.parametrize("by_number", [False, True])
def test_global_functions_give_the_callers_stack_to_helpers(by_number: bool) -> None:
    """To them it is memory like any other: bpf_probe_read_kernel writes there, or reads what a number leads to."""
    value = b.ld_imm64(3, 0, src=op.BPF_PSEUDO_MAP_VALUE)
    given = [*value, b.mov(2, 8), b.call(113), EXIT]
    if by_number:
        given = [b.neg(1), b.neg(1), b.mov(3, b.R1), *b.ld_imm64(1, 0, src=op.BPF_PSEUDO_MAP_VALUE), b.mov(2, 8),
                 b.call(113), EXIT]  # fmt: skip
    room = [b.st("u64", 10, at, 5) for at in range(-64, 0, 8)]
    main = [*room, b.mov(1, b.R10), b.add(1, -64), b.mov(2, 0)]
    end = [b.ldx("u64", 0, 10, -64), *b.ld_imm64(1, 0, src=op.BPF_PSEUDO_MAP_VALUE), b.ldx("u64", 1, 1, 0),
           b.mul(1, 100), b.add(0, b.R1), EXIT]  # fmt: skip
    insns = [*main, Insn(op.CALL, 0, op.BPF_PSEUDO_CALL, 0, len(end)), *end, *given]
    machine = fuzz_jit.Machine("native", "strict", "python")
    program = fuzz_jit.MapProgram("socket", [], insns, [0, len(insns) - len(given)], ("static", "nonnull"))
    value_ = (7).to_bytes(8, "little").ljust(fuzz_jit.VALUE_SIZE, b"\0")
    results, *_ = machine.outcome(machine.load(program), value_, [bytes(64)], at_once=False)
    assert results == [5 + 5 * 100 if by_number else 7 + 7 * 100]


@pytest.mark.parametrize("map_type", ["BPF_MAP_TYPE_ARRAY", "BPF_MAP_TYPE_PERCPU_ARRAY"])
def test_look_ups_of_arrays(map_type: str) -> None:
    """The key is the packet's first word; the value counts itself and is the verdict, 99 without one."""
    types = {"BPF_MAP_TYPE_ARRAY": 2, "BPF_MAP_TYPE_PERCPU_ARRAY": 6}
    found = []
    for engine in ("reference", "native"):
        kernel = UserKernel("6.18", engine=engine, cpus=3)
        fd = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=types[map_type], key_size=4, value_size=12, max_entries=5))
        prog = load(kernel, b.program(
            b.ldx("u32", 2, 1, 0), b.ldx("u32", 3, 1, 4), b.mov(0, 0), b.mov(4, b.R2), b.add(4, 4),
            b.jmp(">", 4, b.R3, 9), b.ldx("u32", 5, 2, 0), b.stx("u32", 10, -4, 5), b.mov(2, b.R10), b.add(2, -4),
            *b.ld_imm64(1, fd, src=op.BPF_PSEUDO_MAP_FD), b.call(1), b.jmp("!=", 0, 0, 2), b.mov(0, 99), EXIT,
            b.ldx("u64", 1, 0, 0), b.add(1, 1), b.stx("u64", 0, 0, 1), b.mov(0, b.R1), EXIT,
        ))  # fmt: skip
        verdicts = []
        for number in range(40):
            world_of(kernel).cpu = number % 3
            key = number % 7 if number != 39 else 0xFFFF_FFFF
            verdicts.append(run_packet(kernel, prog, key.to_bytes(4, "little") + bytes(60)).verdict)
        found.append(verdicts)
        if engine == "native":
            written, optimised = text(prog)
            assert "@bpf_helper_1" not in written  # arithmetic
            assert "nusw nuw i8, ptr @bpf_object" in written  # never null: loops over arrays are vectorised
            assert "alloca" not in optimised  # the key never was in memory
    assert found[0] == found[1] and 99 in found[0]


def test_the_verifier_says_what_is_touched() -> None:
    kernel = UserKernel("6.18", engine="native")
    prog = load(kernel, b.program(
        b.ldx("u32", 2, 1, 0), b.ldx("u32", 3, 1, 4), b.mov(0, 0), b.mov(4, b.R2), b.add(4, 8),
        b.jmp(">", 4, b.R3, 3), b.ldx("u8", 0, 2, 3), b.stx("u64", 10, -8, 0), b.ldx("u64", 0, 10, -8), EXIT,
    ))  # fmt: skip
    assert prog.facts is not None
    assert [prog.facts.access[at] for at in (6, 7, 8)] == [PACKET, STACK, STACK]
    assert 4 in prog.facts.pointer and 0 in prog.facts.depths
    written, optimised = text(prog)
    assert "@lookup" not in written and "alloca" not in optimised
    assert MAP_VALUE not in prog.facts.access.values()


def test_perf_knows_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMBUS_PERF_MAP", "1")
    prog = load(UserKernel("6.18", engine="native"), [b.mov(0, 2), EXIT])
    run_packet(prog.kernel, prog, bytes(60))
    compiled = prog.compiled
    assert isinstance(compiled, NativeProgram) and compiled.linked is not None
    try:
        lines = perfmap.path().read_text().splitlines()
    finally:
        perfmap.path().unlink()
    assert lines[-1].split()[0] == f"{compiled.linked.symbols['bpf_main']:x}"
    assert lines[-1].endswith(f" bpf_prog_{prog.tag.hex()}")


def test_packet_loops_are_vectorised() -> None:
    kernel = UserKernel("6.18", engine="native")
    prog = load(kernel, b.program(
        b.ldx("u32", 2, 1, 0), b.ldx("u32", 3, 1, 4), b.mov(0, 0), b.mov(4, b.R2), b.add(4, 512),
        b.jmp(">", 4, b.R3, 7), b.mov(5, 0), b.mov(6, b.R2), b.add(6, b.R5), b.ldx("u16", 7, 6, 0), b.add(0, b.R7),
        b.add(5, 2), b.jmp("<", 5, 512, -6), EXIT,
    ))  # fmt: skip
    _written, optimised = text(prog)
    assert " x i16>" in optimised
    data = bytes(range(256)) * 3
    expected = sum(int.from_bytes(data[at : at + 2], "little") for at in range(0, 512, 2))
    assert run_packet(kernel, prog, data).verdict == expected


@pytest.mark.parametrize("packet", [bytes(14), bytes(range(40)), bytes(range(200, 240)), b"\xff" * 64])
def test_loops_are_loops(packet: bytes) -> None:
    """bpf_loop with a callback that works on its caller's stack."""
    obj = read_object(build_file(str(Path(__file__).parents[2] / "examples" / "bpf" / "xdp_loop.py")))
    found = []
    for engine in ("fast", "native"):
        kernel = UserKernel("6.18", engine=engine)
        with load_object(obj, kernel) as loaded:
            (program,) = loaded.programs.values()
            prog = kernel.object("test", program.fd, "prog")
            assert isinstance(prog, Prog)
            found.append((run_packet(kernel, prog, packet), dict(loaded.maps["sums"].items())))
            if engine == "native":
                written, _optimised = text(prog)
                assert "@bpf_helper_181" not in written
    assert found[0] == found[1]


def test_tail_calls_jump() -> None:
    """The second call goes through the table; a slot that changes is seen at once; 33 calls are the most."""
    outcomes = []
    for engine in ("reference", "native", "tiered"):
        kernel = UserKernel("6.18", engine=engine)
        array = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=3, key_size=4, value_size=4, max_entries=3))
        counter = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=8, max_entries=1))

        def jumping(index: int, result: int, array: int = array, counter: int = counter) -> list[Insn]:
            return b.program(
                b.mov(6, b.R1), *b.ld_imm64(1, counter, src=op.BPF_PSEUDO_MAP_VALUE), b.mov(2, 1),
                b.atomic(op.BPF_ADD, "u64", 1, 0, 2), b.mov(1, b.R6), *b.ld_imm64(2, array, src=op.BPF_PSEUDO_MAP_FD),
                b.mov(3, index), b.call(12), b.mov(0, result), EXIT,
            )  # fmt: skip

        def store(slot: int, prog: Prog, kernel: UserKernel = kernel, array: int = array) -> None:
            fd = kernel.install(prog, "test")
            prog.get()
            value = fd.to_bytes(4, "little")
            kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=array, key=slot.to_bytes(4, "little"), value=value))

        main, again, last = (load(kernel, jumping(i, r)) for i, r in ((1, 10), (1, 20), (7, 30)))

        def run(kernel: UserKernel = kernel, main: Prog = main, counter: int = counter) -> tuple[int, int]:
            value = bytearray(8)
            verdict = run_packet(kernel, main, bytes(60)).verdict
            kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=counter, key=bytes(4), value=value))
            return verdict, int.from_bytes(value, "little")

        found = [run()]
        store(1, again)
        found += [run(), run()]
        store(1, last)
        found += [run(), run()]
        kernel.bpf(Attr("BPF_MAP_DELETE_ELEM", map_fd=array, key=(1).to_bytes(4, "little")))
        outcomes.append([*found, run()])
    assert outcomes[0] == [(10, 1), (20, 35), (20, 69), (30, 71), (30, 73), (10, 74)]
    assert outcomes[1:] == outcomes[:1] * 2


def test_offsets_of_all_paths_are_known() -> None:
    """What LLVM may assume of an offset holds on every path to the addition."""
    found = []
    for engine in ("reference", "native"):
        kernel = UserKernel("6.18", engine=engine)
        prog = load(kernel, b.program(
            b.ldx("u32", 2, 1, 0), b.ldx("u32", 3, 1, 4), b.mov(4, b.R2), b.add(4, 1), b.mov(0, 0),
            b.jmp(">", 4, b.R3, 10), b.ldx("u8", 6, 2, 0), b.mov(5, 40), b.jmp("==", 6, 9, 2),
            b.mov(5, b.R6), b.and_(5, 7), b.add(2, b.R5), b.mov(4, b.R2), b.add(4, 2), b.jmp(">", 4, b.R3, 1),
            b.ldx("u8", 0, 2, 1), EXIT,
        ))  # fmt: skip
        assert prog.facts is not None
        assert prog.facts.steps == {11: (0, 40)}
        if engine == "native":
            written, _optimised = text(prog)
            assert "@llvm.assume(i1 %" in written
        found.append([run_packet(kernel, prog, bytes([first, *range(1, 60)])).verdict for first in range(16)])
    assert found[0] == found[1] == [1 + (40 if first == 9 else first & 7) for first in range(16)]


def test_printed_addresses_of_the_stack() -> None:
    """What follows a helper's "..." has no type in its prototype, and may lie on the stack all the same."""
    root = Path(__file__).parents[2] / "examples"
    obj = read_object((root / "traffic.bpf.o").read_bytes())
    packets = [bytes(one.data) for one in open_capture(str(root / "traffic.pcap"))]
    for engine in ("fast", "native", "tiered"):
        kernel = UserKernel("6.18", engine=engine)
        with load_object(obj, kernel) as loaded:
            prog = kernel.object("test", loaded.programs["traffic"].fd, "prog")
            assert isinstance(prog, Prog)
            for packet in packets:
                run_packet(kernel, prog, packet)
        assert kernel.printk() == ["blocked port 23 from 192.0.2.10"] * 2, engine


def test_addresses_of_the_stack_kept_in_memory() -> None:
    """A helper gets such an address as a mere number: out of a map."""
    found = []
    for engine in ("fast", "native"):
        kernel = UserKernel("6.18", engine=engine)
        array = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=16, max_entries=1))
        insns = [
            b.st("u64", 10, -8, 0x1234), b.st("u32", 10, -16, 0), b.mov(2, b.FP), b.add(2, -16),
            *b.ld_imm64(1, array, src=op.BPF_PSEUDO_MAP_FD), b.call(1), b.jmp("==", 0, 0, 10), b.mov(6, b.R0),
            b.mov(1, b.FP), b.add(1, -8), b.stx("u64", 6, 0, 1), b.ldx("u64", 3, 6, 0), b.mov(1, b.R6), b.add(1, 8),
            b.mov(2, 8), b.call(113), b.ldx("u64", 0, 6, 8), EXIT,
        ]  # fmt: skip
        found.append(run_packet(kernel, load(kernel, insns), bytes(64)))
    assert [one.verdict for one in found] == [0x1234] * 2


STACK_NUMBERS = {
    "spilled and read at an offset of the run": [
        b.stx("u64", 10, -24, 3), b.ldx("u8", 4, 7, 8), b.and_(4, 8), b.add(4, b.R10), b.ldx("u64", 3, 4, -24),
    ],
    "spilled and partly overwritten": [b.stx("u64", 10, -24, 3), b.st("u8", 10, -17, 0), b.ldx("u64", 3, 10, -24)],
    "bytes swapped twice": [b.bswap(3, 64), b.bswap(3, 64)],
    "negated twice": [b.neg(3), b.neg(3)],
    "halves": [
        b.mov32(4, b.R3), b.neg(3), b.neg(3), b.rsh(3, 32), b.lsh(3, 32), b.or_(3, b.R4),
    ],
    "low half alone": [b.mov32(4, b.R3), b.ldx("u64", 3, 7, 8), b.add(3, b.R4)],
    "sign extended": [b.movsx(4, 3, 32), b.ldx("u64", 3, 7, 8), b.add(3, b.R4)],
    "difference": [b.mov(4, b.R7), b.neg(4), b.neg(4), b.sub(3, b.R7), b.add(3, b.R4)],
    "low difference": [b.ldx("u64", 4, 7, 8), b.alu(op.BPF_SUB, 3, 8, bits=32), b.add(3, 8), b.add(3, b.R4)],
    "exchanged": [b.atomic(op.BPF_XCHG, "u64", 7, 8, 3), b.ldx("u64", 3, 7, 8)],
    "compared and exchanged": [
        b.ldx("u64", 0, 7, 8), b.atomic(op.BPF_CMPXCHG, "u64", 7, 8, 3), b.ldx("u64", 3, 7, 8),
    ],
    "added": [b.atomic(op.BPF_ADD, "u64", 7, 8, 3), b.ldx("u64", 3, 7, 8)],
}  # fmt: skip


@pytest.mark.parametrize("way", STACK_NUMBERS)
def test_numbers_made_of_addresses_of_the_stack(way: str) -> None:
    """Root makes them in many ways, and bpf_probe_read_kernel follows them. The map's second word: what to add."""
    found = []
    for engine in ("reference", "native"):
        kernel = UserKernel("6.18", engine=engine)
        array = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=16, max_entries=1))
        insns = [
            *b.ld_imm64(7, array, src=op.BPF_PSEUDO_MAP_VALUE), b.st("u64", 10, -8, 0x1234), b.mov(3, b.R10),
            b.add(3, -8), *STACK_NUMBERS[way], b.mov(1, b.R7), b.mov(2, 8), b.call(113), b.ldx("u64", 0, 7, 0), EXIT,
        ]  # fmt: skip
        prog = load(kernel, insns)
        high = 0
        if "low" in way or "sign" in way:  # the upper half is a secret of the run's
            run_packet(kernel, load(kernel, [b.mov(1, b.R10), *b.ld_imm64(7, array, src=op.BPF_PSEUDO_MAP_VALUE),
                                             b.stx("u64", 7, 8, 1), b.mov(0, 0), EXIT]), bytes(64))  # fmt: skip
            value = bytearray(16)
            kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=array, key=bytes(4), value=value))
            address = int.from_bytes(value[8:], "little")
            low = address - 8 & 0xFFFF_FFFF
            high = address - 8 - (low - (1 << 32) if "sign" in way and low >> 31 else low) & (1 << 64) - 1
        value = bytes(8) + high.to_bytes(8, "little")
        kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=array, key=bytes(4), value=value))
        found.append(run_packet(kernel, prog, bytes(64)).verdict)
        if engine == "native":
            assert prog.facts is not None and prog.facts.stack_numbers
    assert found == [0x1234] * 2


@pytest.mark.parametrize("first", [0, 0x20])
def test_stack_or_memory_that_is_accessed_with_care(first: int) -> None:
    """One load, of the frame or of flow keys, as the packet says."""
    packet = bytes([first]) + bytes(11) + b"\x08\x00\x45" + bytes(63)
    found = []
    for engine in ("reference", "native"):
        kernel = UserKernel("6.18", engine=engine)
        insns = b.program(
            b.ldx("u32", 2, 1, 76), b.ldx("u32", 4, 1, 80), b.ldx("u64", 7, 1, 144), b.mov(5, b.R2), b.add(5, 1),
            b.jmp(">", 5, b.R4, 9), b.ldx("u8", 2, 2, 0), b.st("u32", 10, -8, 41), b.mov(3, b.R10), b.add(3, -8),
            b.jmp("&", 2, 0x20, 1), b.mov(3, b.R7), b.ldx("u32", 0, 3, 0), b.add(0, 1), b.stx("u32", 7, 44, 0),
            b.mov(0, 0), EXIT,
        )  # fmt: skip
        fd = kernel.bpf(
            Attr("BPF_PROG_LOAD", prog_type=22, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0")
        )
        keys = bytearray(56)
        kernel.bpf(Attr("BPF_PROG_TEST_RUN", prog_fd=fd, data_in=packet, data_size_in=len(packet), data_out=keys,
                        data_size_out=len(keys)))  # fmt: skip
        found.append(struct.unpack_from("<I", keys, 44)[0])
    assert found[0] == found[1] == (42 if first else 0x000E_000E + 1)


def test_dynptrs_lead_to_memory_of_other_kinds() -> None:
    """A map's value is loaded through a dynptr before and after it is stored to directly."""
    found = []
    for engine in ("reference", "native"):
        kernel = UserKernel("6.18", engine=engine)
        array = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=16, max_entries=1))
        prog = load(kernel, b.program(
            *b.ld_imm64(8, array, src=op.BPF_PSEUDO_MAP_VALUE), b.mov(1, b.R8), b.mov(2, 16), b.mov(3, 0),
            b.mov(4, b.R10), b.add(4, -16), b.call(197), b.mov(1, b.R10), b.add(1, -16), b.mov(2, 0), b.mov(3, 8),
            b.call(203), b.jmp("!=", 0, 0, 2), b.mov(0, 99), EXIT, b.ldx("u64", 1, 0, 0), b.st("u64", 8, 0, 5),
            b.ldx("u64", 0, 0, 0), b.add(0, b.R1), EXIT,
        ))  # fmt: skip
        found.append(run_packet(kernel, prog, bytes(64)).verdict)
    assert found == [5, 5]


def test_records_are_memory_of_their_own() -> None:
    """What is stored into a record changes no packet: its length is loaded once."""
    kernel = UserKernel("6.18", engine="native")
    ring = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=27, max_entries=4096))
    prog = load(kernel, b.program(
        b.ldx("u32", 7, 1, 0), b.ldx("u32", 3, 1, 4), b.mov(4, b.R7), b.add(4, 8), b.mov(0, 0), b.jmp("<=", 4, b.R3, 1),
        EXIT, *b.ld_imm64(1, ring, src=op.BPF_PSEUDO_MAP_FD), b.mov(2, 8), b.mov(3, 0), b.call(131),
        b.jmp("!=", 0, 0, 1), EXIT, b.ldx("u32", 6, 7, 0), b.stx("u32", 0, 0, 6), b.ldx("u32", 8, 7, 0),
        b.add(6, b.R8), b.mov(1, b.R0), b.mov(2, 0), b.call(132), b.mov(0, b.R6), EXIT,
    ))  # fmt: skip
    assert prog.facts is not None
    _written, optimised = text(prog)
    main = optimised[optimised.index("@bpf_main") :]
    assert main[: main.index("\n}")].count("align 1, !tbaa") == 2  # a load of the packet, a store into the record
    assert run_packet(kernel, prog, b"\7\0\0\0" + bytes(60)).verdict == 14
