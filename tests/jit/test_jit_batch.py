"""Many runs in one native call do what single runs do."""

from __future__ import annotations

import errno
import random
import struct
from array import array
from pathlib import Path

import pytest

from bombus.capture import open_capture
from bombus.compiler.assembly import build_file
from bombus.errors import CaptureError, KernelError, UsageError
from bombus.isa import build as b
from bombus.isa.insn import Insn, encode
from bombus.jit.batch import Batch
from bombus.jit.engine import NativeProgram
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.run import run_packet
from bombus.kernel.user.runbatch import run_contexts, run_packets
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.replay import replay
from bombus.replay.index import Index

XDP = 6
RAW_TRACEPOINT = 17

# Verdict: the packet's byte 14 (0 where it has none); and it counts itself in its byte 13.
PROGRAM = b.program(
    b.ldx("u32", 2, 1, 0), b.ldx("u32", 3, 1, 4), b.mov(0, 0), b.mov(4, b.R2), b.add(4, 15),
    b.jmp(">", 4, b.R3, 4), b.ldx("u8", 0, 2, 14), b.ldx("u8", 5, 2, 13), b.add(5, 1), b.stx("u8", 2, 13, 5), b.exit_(),
)  # fmt: skip


def loaded(kernel: UserKernel, insns: list[Insn], prog_type: int = XDP) -> int:
    return kernel.bpf(
        Attr("BPF_PROG_LOAD", prog_type=prog_type, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0")
    )


def packets(count: int, sizes: tuple[int, ...] = (14, 15, 60, 1500, 3520)) -> list[bytes]:
    rng = random.Random(5)
    out = []
    for _ in range(count):
        data = bytearray(rng.randbytes(rng.choice(sizes)))
        if len(data) > 14:
            data[14] = rng.choice((0, 1, 2, 3, 4, 4, 7, 8, 99))
        out.append(bytes(data))
    return out


@pytest.mark.parametrize("engine", ["fast", "native", "tiered"])
@pytest.mark.parametrize("threads", [1, 3])
def test_lists_of_packets(engine: str, threads: int) -> None:
    kernel = UserKernel("6.18", engine=engine)
    fd = loaded(kernel, PROGRAM)
    data = packets(3000)
    expected = array("I", (one[14] if len(one) > 14 else 0 for one in data))
    assert run_packets(kernel, fd, data, threads=threads) == expected
    assert list(run_packets(kernel, fd, [])) == []
    long = [*data[:3], bytes(5000)]  # needs a second page: one by one
    assert run_packets(kernel, fd, long) == array("I", (run_packet(kernel, fd, one).verdict for one in long))
    with pytest.raises(UsageError):
        run_packets(kernel, fd, data, threads=0)


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_contexts(engine: str) -> None:
    kernel = UserKernel("6.18", engine=engine)
    fd = loaded(kernel, [b.ldx("u64", 0, 1, 8), b.ldx("u64", 2, 1, 0), b.add(0, b.R2), b.exit_()], RAW_TRACEPOINT)
    contexts = array("Q", range(3000))
    assert list(run_contexts(kernel, fd, contexts, 24)) == [6 * n + 1 for n in range(1000)]
    with pytest.raises(UsageError, match="no whole number"):
        run_contexts(kernel, fd, contexts, 7)
    with pytest.raises(UsageError, match="reads 16 bytes"):
        run_contexts(kernel, fd, contexts, 8)
    with pytest.raises(UsageError, match="writable"):
        run_contexts(kernel, fd, memoryview(bytes(48)), 24)


def test_contexts_of_numpy() -> None:
    """A structured array is memory like any other."""
    numpy = pytest.importorskip("numpy")
    kernel = UserKernel("6.18", engine="native")
    fd = loaded(kernel, [b.ldx("u64", 0, 1, 8), b.ldx("u64", 2, 1, 0), b.add(0, b.R2), b.exit_()], RAW_TRACEPOINT)
    contexts = numpy.zeros(1000, dtype=[("first", "<u8"), ("second", "<u8")])
    contexts["first"], contexts["second"] = numpy.arange(1000), 5
    assert list(run_contexts(kernel, fd, contexts, contexts.itemsize)) == [number + 5 for number in range(1000)]


SOURCE = """
    .section xdp,"ax",@progbits
    .globl prog
    .type prog,@function
prog:
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r0 = 2
    r4 = r2
    r4 += 15
    if r4 > r3 goto out
    r0 = *(u8 *)(r2 + 14)
out:
    exit
    .size prog, .-prog
    .section license,"aw",@progbits
    .asciz "GPL"
"""


def pcap(path: Path, data: list[bytes], *, order: str = "<", cut: int = 0, tail: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for number, one in enumerate(data):
            wire = len(one) + (cut if number % 3 == 0 else 0)
            file.write(struct.pack(order + "IIII", 1, number, len(one), wire) + one)
        file.write(tail)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "prog.S"
    path.write_text(SOURCE)
    return path


def outcome(engine: str, source: Path, path: Path) -> tuple[object, ...]:
    with load(read_object(build_file(str(source))), UserKernel("6.18", engine=engine)) as done:
        found = replay(done, "prog", open_capture(path))
    return found.total, found.verdicts, found.skipped, found.cut, found.truncated, found.ran


@pytest.mark.parametrize("case", ["plain", "odd", "big endian", "cut off", "empty", "long record"])
def test_captures(case: str, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    match case:
        case "plain":
            pcap(path, packets(2000))
        case "odd":
            pcap(path, packets(2000, (0, 3, 13, 14, 15, 60, 3520, 3521, 9000)), cut=7)
        case "big endian":
            pcap(path, packets(50), order=">")
        case "cut off":
            pcap(path, packets(100), tail=struct.pack("<IIII", 1, 1, 100, 100) + bytes(99))
        case "empty":
            pcap(path, [], tail=b"short")
        case _:
            pcap(path, packets(3), tail=struct.pack("<IIII", 1, 1, 0xFFFF_FFF0, 100) + bytes(3000))
    assert outcome("native", source, path) == outcome("fast", source, path)


def test_captures_that_lie_too_high(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy in low memory takes their place, chunk by chunk."""
    path = pcap(tmp_path / "in.pcap", packets(2000, (0, 60, 1500, 9000)), cut=1)
    expected = outcome("fast", source, path)
    monkeypatch.setattr("bombus.capture.files._LOW", 0)
    for chunk in (4000, 100_000):
        monkeypatch.setattr("bombus.replay.batch._CHUNK", chunk)
        assert outcome("native", source, path) == expected


def test_a_batch_is_what_runs(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    whole = NativeProgram.batch

    def counting(self: NativeProgram, loop: str, batch: Batch) -> int:
        calls.append(loop)
        return whole(self, loop, batch)

    monkeypatch.setattr(NativeProgram, "batch", counting)
    outcome("native", source, pcap(tmp_path / "in.pcap", packets(200, (60,))))
    assert calls and set(calls) == {"xdp_tally"}


def test_several_chains(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets that hold captures of their own: what looks like the beginning of a record often is none."""
    rng = random.Random(9)
    real = packets(3000, (14, 60, 400, 1500))
    inner = b"".join(struct.pack("<IIII", 1, 2, 60, 60) + bytes(14) + b"\1" * 46 for _ in range(40))
    data = [one if rng.random() < 0.7 else one[:20] + bytes(rng.randrange(9)) + inner for one in real]
    path = pcap(tmp_path / "in.pcap", data, cut=3)
    expected = outcome("fast", source, path)
    found: list[int] = []
    whole = Index._starts

    def noting(self: Index, first: int, stop: int) -> list[int]:
        found.append(len(whole(self, first, stop)))
        return whole(self, first, stop)

    monkeypatch.setattr(Index, "_starts", noting)
    monkeypatch.setattr("bombus.replay.index._WORTH", 30_000)
    monkeypatch.setattr("bombus.replay.batch._WINDOW", 100_000)
    assert outcome("native", source, path) == expected
    assert 8 in found


def pcapng(path: Path, data: list[bytes], *, broken: bool = False, linktype: int = 1) -> Path:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack("<I", len(body) + 12)
        return struct.pack("<I", kind) + size + body + size

    with path.open("wb") as file:
        file.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(block(1, struct.pack("<HHI", 1, 0, 0)) + block(1, struct.pack("<HHI", linktype, 0, 0)))
        for number, one in enumerate(data):
            if number % 50 == 3:
                file.write(block(5, bytes(16)) + block(3, struct.pack("<I", len(one)) + one))
                continue
            wire = len(one) + number % 2
            option = struct.pack("<HHI", 2, 4, 1) + bytes(4) if number % 7 == 0 else b""
            packed = one + bytes(-len(one) % 4) + option
            file.write(block(6, struct.pack("<IIIII", number % 2, 0, number, len(one), wire) + packed))
        if broken:
            file.write(struct.pack("<II", 6, 64) + bytes(52) + struct.pack("<I", 60))
    return path


@pytest.mark.parametrize("linktype", [1, 101])
def test_pcapng(linktype: int, source: Path, tmp_path: Path) -> None:
    path = pcapng(tmp_path / "in.pcapng", packets(2000, (0, 14, 60, 1500, 9000)), linktype=linktype)
    assert outcome("native", source, path) == outcome("fast", source, path)
    path = pcapng(path, packets(10, (60,)), broken=True)
    for engine in ("native", "fast"):
        with pytest.raises(CaptureError, match="at its end"):
            outcome(engine, source, path)


# r0: what the context says, mixed with the packet where it has data pointers; cb[0] starts at 0 each time.
SKB = b.program(
    b.ldx("u32", 0, 1, 0), b.ldx("u32", 2, 1, 4), b.lsh(2, 16), b.add(0, b.R2), b.ldx("u32", 2, 1, 16), b.add(0, b.R2),
    b.ldx("u32", 2, 1, 40), b.lsh(2, 20), b.add(0, b.R2), b.ldx("u32", 2, 1, 48), b.add(2, 1), b.stx("u32", 1, 48, 2),
    b.lsh(2, 24), b.add(0, b.R2),
)  # fmt: skip
DATA = b.program(
    b.ldx("u32", 2, 1, 76), b.ldx("u32", 3, 1, 80), b.mov(4, b.R2), b.add(4, 6), b.jmp(">", 4, b.R3, 2),
    b.ldx("u16", 4, 2, 4), b.add(0, b.R4),
)  # fmt: skip


@pytest.mark.parametrize("prog_type", [1, 3, 8, 12])
def test_socket_buffers(prog_type: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Socket filter, tc, cgroup_skb, lwt_xmit: what the context says is what single runs say."""
    insns = [*SKB, *(DATA if prog_type in (3, 12) else []), *([b.and_(0, 1)] if prog_type == 8 else []), b.exit_()]
    rng = random.Random(3)
    heads = [bytes.fromhex("ffffffffffff"), bytes.fromhex("010203040506"), bytes.fromhex("020304050607"), bytes(6)]
    types = [b"\x08\0", b"\x86\xdd", b"\x01\x23", b"\x05\xff", b"\x06\0"]
    data = []
    for _ in range(2000):
        size = rng.choice((14, 15, 16, 33, 34, 53, 54, 100, 3712, 3713))
        rest = rng.choice((b"\xff\xff", b"\x45\0")) + rng.randbytes(size)
        data.append((rng.choice(heads) + bytes(6) + rng.choice(types) + rest)[:size])
    taken: list[bytes] = []
    expected: list[int] = []
    reference = UserKernel("6.18", engine="fast")
    fd = loaded(reference, insns, prog_type)
    for one in data:
        try:
            expected.append(run_packet(reference, fd, one).verdict)
            taken.append(one)
        except KernelError as error:
            assert error.errno == errno.EINVAL
    kernel = UserKernel("6.18", engine="native")
    fd = loaded(kernel, insns, prog_type)
    calls: list[str] = []
    whole = NativeProgram.batch
    monkeypatch.setattr(
        NativeProgram, "batch", lambda self, loop, *rest: calls.append(loop) or whole(self, loop, *rest)
    )
    assert list(run_packets(kernel, fd, taken)) == expected
    assert set(calls) == {"skb_records"} and len(taken) > 1000 and len(set(expected)) > 1
    with pytest.raises(KernelError):
        run_packets(kernel, fd, data)
