"""Helpers and packet loads that are native code: they answer as Python's, and Python is not asked."""

from __future__ import annotations

import random

import pytest

from bombus.errors import NotSupported
from bombus.isa import build as b
from bombus.isa.insn import Insn, encode
from bombus.jit.engine import NativeProgram
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.run import run_packet
from bombus.kernel.user.runbatch import run_contexts, run_packets
from bombus.kernel.user.world import World, set_world, world_of

pytest.importorskip("llvmlite", reason="native code is LLVM's")

EXIT = b.exit_()
SOCKET, TC = 1, 3
PACKETS = [bytes(range(at, at + size)) for at, size in ((0, 60), (7, 64), (100, 100), (9, 15), (3, 14))]


def load(kernel: UserKernel, insns: list[Insn], kind: int) -> tuple[int, NativeProgram | None]:
    fd = kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=kind, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0"))
    prog = kernel.object("test", fd, "prog")
    assert isinstance(prog, Prog)
    prog.compiled.prepare()
    return fd, prog.compiled if isinstance(prog.compiled, NativeProgram) else None


def both(insns: list[Insn], kind: int, version: str = "6.18") -> list[list[int]]:
    """Verdicts for PACKETS: interpreted, native one by one, native at once."""
    slow = UserKernel(version, engine="reference", maps="python")
    fast = UserKernel(version, engine="native")
    fd, _ = load(slow, insns, kind)
    native, program = load(fast, insns, kind)
    assert program is not None and program.is_native and not program.calls_python
    return [
        [run_packet(slow, fd, packet).verdict for packet in PACKETS],
        [run_packet(fast, native, packet).verdict for packet in PACKETS],
        list(run_packets(fast, native, PACKETS, threads=2)),
    ]


@pytest.mark.parametrize("kind", [SOCKET, TC])
@pytest.mark.parametrize("size", ["u8", "u16", "u32"])
@pytest.mark.parametrize(
    "offset", [0, 5, 12, 48, 57, 63, -0x100000, -0x100000 + 20, -0x200000, -0x200000 + 12, -0x200001]
)
def test_loads_from_packets(kind: int, size: str, offset: int) -> None:
    """BPF_LD_ABS and BPF_LD_IND; a packet that is too short ends the program with 0."""
    absolute = [b.mov(6, b.R1), b.ld_abs(size, offset), EXIT]
    index = [b.mov(6, b.R1), b.mov(7, 3), b.ld_ind(size, 7, offset - 3), EXIT]
    for insns in (absolute, index):
        slow, one, many = both(insns, kind)
        assert slow == one == many
    assert any(slow) or offset in (-0x200001, 63)


@pytest.mark.parametrize("version", ["6.12", "6.18"])
def test_checksums_of_differences(version: str) -> None:
    rng = random.Random(5)
    for _ in range(12):
        sizes = [rng.choice((0, 4, 8, 20, 64)) if version == "6.12" else rng.randrange(65) for _ in range(2)]
        code = [b.st("u64", 10, -8 * at, rng.choice((-1, 0, rng.getrandbits(31)))) for at in range(1, 9)]
        for at, size in zip((1, 3), sizes, strict=True):
            code += [b.mov(at, b.R10), b.add(at, -64)] if size else [b.mov(at, 0)]
            code.append(b.mov(at + 1, size))
        slow, one, many = both([*code, *b.ld_imm64(5, rng.getrandbits(33)), b.call(28), EXIT], TC, version)
        assert slow == one == many


@pytest.mark.parametrize("helper", [26, 68])
@pytest.mark.parametrize(("offset", "size"), [(0, 8), (20, 4), (56, 8), (60, 1), (0x10000, 1), (-1, 4)])
def test_bytes_of_packets(helper: int, offset: int, size: int) -> None:
    for header in (0, 1) if helper == 68 else (0,):
        slow, one, many = both([
            b.st("u64", 10, -8, -1), b.mov(2, offset), b.mov(3, b.R10), b.add(3, -8), b.mov(4, size),
            b.mov(5, header), b.call(helper), b.ldx("u64", 1, 10, -8), b.mul(0, 7), b.add(0, b.R1), EXIT,
        ], TC)  # fmt: skip
        assert slow == one == many


CLOCK, NUMBER = 5, 7


@pytest.mark.parametrize("helper", [CLOCK, 125, 160, 208])
def test_clocks(helper: int) -> None:
    """The machine's, and one that a test holds still."""
    kernel = UserKernel("6.18", engine="native")
    twice = [b.call(helper), b.mov(6, b.R0), b.call(helper), b.sub(0, b.R6), EXIT]
    fd, program = load(kernel, twice, TC)
    assert program is not None and not program.calls_python
    assert 0 <= run_packet(kernel, fd, bytes(60)).verdict < 1_000_000_000
    clock = world_of(kernel).clock
    clock.fixed, clock.step = 5, 70
    assert run_packet(kernel, fd, bytes(60)).verdict == 70 and clock.fixed == 145
    assert program.calls_python
    assert list(run_packets(kernel, fd, [bytes(60)] * 2)) == [70, 70]


def test_random_numbers() -> None:
    kernel = UserKernel("6.18", engine="native")
    fd, program = load(kernel, [b.call(NUMBER), EXIT], TC)
    assert program is not None and not program.calls_python
    seen = set(run_packets(kernel, fd, [bytes(60)] * 100))
    assert len(seen) > 95 and max(seen) > 1 << 31
    still = UserKernel("6.18", engine="native")
    set_world(still, World.fixed(seed=3))
    fd, _ = load(still, [b.call(NUMBER), EXIT], TC)
    assert run_packet(still, fd, bytes(60)).verdict == random.Random(3).getrandbits(32)


def test_contexts_have_no_packet() -> None:
    kernel = UserKernel("6.18", engine="native")
    loads = [b.mov(6, b.R1), b.ld_abs("u8", 0), EXIT]
    bytes_ = [b.st("u64", 10, -8, 0), b.mov(2, 0), b.mov(3, b.R10), b.add(3, -8), b.mov(4, 8), b.call(26), EXIT]
    for insns in (loads, bytes_):
        fd, _ = load(kernel, insns, SOCKET)
        with pytest.raises(NotSupported, match="reads its packet"):
            run_contexts(kernel, fd, bytearray(192), 192)
