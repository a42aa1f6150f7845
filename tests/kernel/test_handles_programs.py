"""Programs, BTF and readers of events: the same expectations on the user kernel and on Linux."""

from __future__ import annotations

import errno
import importlib
import struct
from typing import Any

import pytest

from bombus.btf.build import Builder
from bombus.btf.types import Int
from bombus.errors import KernelError, LoadError, UsageError
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.isa.opcodes import BPF_PSEUDO_MAP_FD
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Btf, Map, PerfBuffer, Program, RingBuffer, UserRing, ids, prog_type_of

RETURN_2 = bytes.fromhex("b7000000020000009500000000000000")


def need_helpers(kernel: Kernel) -> None:
    if kernel.name == "user" and not hasattr(importlib.import_module("bombus.spec.helpers"), "HELPER_BY_ID"):
        pytest.skip("spec has no rows of helpers, which the user kernel needs")


def insn(op: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", op, dst | src << 4, off, imm)


def map_fd(register: int, item: Map) -> bytes:
    return insn(0x18, register, BPF_PSEUDO_MAP_FD, 0, item.fd) + insn(0)


def ringbuf_program(item: Map, number: int) -> bytes:
    """bpf_ringbuf_output(item, &(u64)number, 8, 0); return 2"""
    return (
        map_fd(1, item) + insn(0x7A, 10, 0, -8, number) + insn(0xBF, 2, 10) + insn(7, 2, 0, 0, -8)
        + insn(0xB7, 3, 0, 0, 8) + insn(0xB7, 4) + insn(0x85, 0, 0, 0, 130) + RETURN_2
    )  # fmt: skip


def perf_program(item: Map, number: int) -> bytes:
    """bpf_perf_event_output(ctx, item, BPF_F_CURRENT_CPU, &(u64)number, 8); return 2"""
    return (
        map_fd(2, item) + insn(0x7A, 10, 0, -8, number) + insn(0x18, 3, 0, 0, -1) + insn(0) + insn(0xBF, 4, 10)
        + insn(7, 4, 0, 0, -8) + insn(0xB7, 5, 0, 0, 8) + insn(0x85, 0, 0, 0, 25) + RETURN_2
    )  # fmt: skip


def test_load_and_run(kernel: Kernel) -> None:
    with Program.load(kernel, "xdp", RETURN_2, name="passes") as program:
        result = program.test_run(b"a" * 64, repeat=3)
        assert (result.retval, result.data, result.ctx) == (2, b"a" * 64, b"") and result.duration >= 0
        assert program.test_run(b"a" * 64, data_out=0).data == b""
        info = program.info()
        assert (info.name, info.type, info.xlated_prog_len) == ("passes", 6, 16) and program.map_ids() == []
        assert program.xlated() == RETURN_2 and program.instructions()[0].imm == 2
        assert program.id in set(ids(kernel, "prog")) and program.type.short == "xdp"
        with Program.from_id(kernel, program.id) as again:
            assert again.name == "passes" and again.test_run(b"b" * 14).retval == 2
        with pytest.raises(KernelError) as caught:
            program.test_run(b"short")
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(KernelError) as caught:
            program.test_run(b"a" * 64, data_out=10)
        assert caught.value.errno == errno.ENOSPC
    with pytest.raises(UsageError):
        program.test_run(b"a" * 64)


def test_load_insns(kernel: Kernel) -> None:
    program = Program.load(kernel, "socket_filter", [Insn(0xB7, 0, 0, 0, 7), b.exit_()])
    assert program.test_run(b"a" * 64).retval == 7


def test_program_uses_map(kernel: Kernel) -> None:
    item = Map.create(kernel, "array", 4, 8, 1)
    # r1 = &value of element 0; *(u64 *)r1 += 5
    code = insn(0x18, 1, 2, 0, item.fd) + insn(0) + insn(0xB7, 2, 0, 0, 5) + insn(0xDB, 1, 2) + RETURN_2
    program = Program.load(kernel, "xdp", code)
    for _ in range(3):
        program.test_run(b"a" * 64)
    assert item[0] == 15 and program.map_ids() == [item.id]


def test_refused_loads(kernel: Kernel) -> None:
    with pytest.raises(UsageError):
        Program.load(kernel, "xdp", b"short")
    with pytest.raises(UsageError):
        Program.load(kernel, "no such type", RETURN_2)
    with pytest.raises(UsageError):
        prog_type_of(9999)
    for code, flags, number in ((b"", 0, errno.E2BIG), (RETURN_2, 1 << 30, errno.EINVAL)):
        with pytest.raises(KernelError) as caught:
            Program.load(kernel, "xdp", code, flags=flags)
        assert caught.value.errno == number


@pytest.mark.linux
def test_verifier_log(linux_kernel: Kernel) -> None:
    with pytest.raises(LoadError) as caught:
        Program.load(linux_kernel, "xdp", insn(0x95))
    assert caught.value.errno == errno.EACCES and "R0 !read_ok" in caught.value.log
    assert "R0 !read_ok" in str(caught.value) and "EACCES" in str(caught.value)
    with pytest.raises(LoadError, match=r"BPF program is too large\. Processed 1000001 insn"):
        # r1 counts to 0x7fffffff
        counting = insn(0xB7, 1) + insn(0x07, 1, 0, 0, 1) + insn(0xA5, 1, 0, -2, 0x7FFF_FFFF) + RETURN_2
        Program.load(linux_kernel, "xdp", counting)
    program = Program.load(linux_kernel, "xdp", RETURN_2, log_level=2)
    assert "processed 2 insns" in program.log
    many = insn(0xB7, 0, 0, 0, 2) * 3000 + insn(0x95)
    program = Program.load(linux_kernel, "xdp", many, log_level=2, log_size=128)
    assert "processed 3001 insns" in program.log, "the log grows until it fits"


def test_btf(kernel: Kernel) -> None:
    builder = Builder()
    builder.add(Int("unsigned int", 4))
    data = builder.to_bytes()
    with Btf.load(kernel, data) as btf:
        assert btf.raw() == data and btf.name == "" and btf.id in set(ids(kernel, "btf"))
        with Btf.from_id(kernel, btf.id) as again:
            assert again.parsed().name(1) == "unsigned int"
    with pytest.raises(KernelError) as caught:
        Btf.load(kernel, data[:20])
    assert caught.value.errno == errno.EINVAL


def test_ring_buffer(kernel: Kernel) -> None:
    need_helpers(kernel)
    item = Map.create(kernel, "ringbuf", 0, 0, 4096)
    program = Program.load(kernel, "xdp", ringbuf_program(item, 77))
    event = (77).to_bytes(8, "little")
    with RingBuffer(item) as reader:
        assert not reader.wait(0) and reader.read() == [] and reader.poll(0.01) == []
        program.test_run(b"a" * 64)
        program.test_run(b"a" * 64)
        assert reader.pending == 32 and reader.wait(5)
        assert reader.read(1) == [event] and reader.poll(1) == [event]
        for _ in range(600):  # many times around the ring
            program.test_run(b"a" * 64)
            assert list(reader.events()) == [event]
        for _ in range(300):  # more than it holds: the program loses some
            program.test_run(b"a" * 64)
        assert len(reader.read()) == 255
    with pytest.raises(UsageError):
        reader.read()
    with pytest.raises(UsageError):
        RingBuffer(Map.create(kernel, "hash", 4, 4, 4))


def test_perf_buffer(kernel: Kernel) -> None:
    need_helpers(kernel)
    item = Map.create(kernel, "perf_event_array", 4, 4, kernel.possible_cpus)
    program = Program.load(kernel, "xdp", perf_program(item, 78))
    with PerfBuffer(item, pages=1) as reader:
        assert not reader.wait(0) and reader.read() == []
        program.test_run(b"a" * 64)
        assert reader.wait(5)
        ((cpu, data),) = reader.read_cpus()
        assert 0 <= cpu < kernel.possible_cpus and data[:8] == (78).to_bytes(8, "little") and len(data) == 12
        for _ in range(50):
            program.test_run(b"a" * 64, repeat=1)
            assert len(reader.read()) == 1
        program.test_run(b"a" * 64, repeat=0)
        assert len(reader.read()) == 1 and reader.lost == 0
    with pytest.raises(UsageError):
        PerfBuffer(item, pages=3)


def test_user_ring(kernel: Kernel) -> None:
    item = Map.create(kernel, "user_ringbuf", 0, 0, 4096)
    ring = UserRing(item)
    assert ring.room == 4096
    for i in range(256):
        ring.send(i.to_bytes(8, "little"))
    assert ring.room == 0 and not ring.wait_room(1, 0)
    for size, number in ((1, errno.ENOSPC), (5000, errno.E2BIG)):
        with pytest.raises(KernelError) as caught:
            ring.send(bytes(size))
        assert caught.value.errno == number


def test_perf_ring_of_the_user_kernel(user_kernel: Any) -> None:
    item = Map.create(user_kernel, "perf_event_array", 4, 4, user_kernel.possible_cpus)
    with PerfBuffer(item, pages=1) as reader:
        event = user_kernel.map_by_fd("test", item.fd).target(1)
        assert event.output(b"x", 0) == -errno.EOPNOTSUPP
        for size in range(1, 500):  # records end anywhere in the ring
            assert event.output(bytes([size & 0xFF]) * size, 1) == 0
            ((cpu, data),) = reader.read_cpus()
            assert cpu == 1 and data.rstrip(b"\0") == (bytes([size & 0xFF]) * size).rstrip(b"\0")
        while event.output(bytes(100), 1) == 0:
            pass
        assert event.output(bytes(100), 1) == -errno.ENOSPC
        assert len(reader.read()) == 36 and reader.lost == 2
        assert event.output(b"after", 1) == 0
        assert [data[:5] for data in reader.read()] == [b"after"] and reader.lost == 2
