"""BPF_PROG_LOAD and BPF_PROG_TEST_RUN with good and bad attributes: the user kernel's errno is Linux'."""

from __future__ import annotations

from typing import Any

import pytest
from helper_cases import linux

from bombus.errors import KernelError, NeedsKernel
from bombus.isa import build as b
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.run import run_packet

RETURN_2 = b.program(b.mov(0, 2), b.exit_())
Fields = dict[str, Any]


def load_attr(program: list[Insn] = RETURN_2, **changes: Any) -> Attr:
    fields: Fields = {
        "prog_type": 6, "insns": encode(program), "insn_cnt": len(program), "license": b"GPL\0", "prog_name": "test",
    }  # fmt: skip
    return Attr("BPF_PROG_LOAD", **(fields | changes))


LOADS: dict[str, Fields] = {
    "good": {},
    "no instructions": {"insn_cnt": 0},
    "too many": {"insn_cnt": 1_000_001},
    "flags": {"prog_flags": 1 << 20},
    "known flag": {"prog_flags": 1 << 3},
    "frags": {"prog_flags": 1 << 5},
    "no such type": {"prog_type": 200},
    "type 0": {"prog_type": 0},
    "bad name": {"prog_name": "a b"},
    "name of dots": {"prog_name": "a.b_C9"},
    "bad insns": {"insns": 4096},
    "bad license": {"license": 4096},
    "cgroup_skb egress": {
        "prog_type": 8, "expected_attach_type": 1, "insns": encode(b.program(b.mov(0, 1), b.exit_())),
    },
    "cgroup_skb other": {"prog_type": 8, "expected_attach_type": 2},
    "sockopt without": {"prog_type": 25, "expected_attach_type": 0},
    "sk_lookup without": {"prog_type": 30, "expected_attach_type": 0},
    "syscall with": {"prog_type": 31, "expected_attach_type": 1},
    "xdp with anything": {"expected_attach_type": 37},
    "log without buffer": {"log_level": 1, "log_size": 100},
    "log level": {"log_level": 64},
    "attach_btf_id for xdp": {"attach_btf_id": 5},
    "func_info size": {"func_info_cnt": 1, "func_info_rec_size": 4, "prog_btf_fd": 1000},
    "func_info count": {"func_info_cnt": 5, "func_info_rec_size": 8, "prog_btf_fd": 1000},
}

PROGRAMS: dict[str, list[Insn]] = {
    "no exit": [b.mov(0, 1)],
    "jump out": b.program(b.ja(5), b.exit_()),
    "bad register": [Insn(0xB7, 12, 0, 0, 0), b.exit_()],
    "bad opcode": [Insn(0xFF), b.exit_()],
    "half ld_imm64": [Insn(0x18)],
    "unknown helper": b.program(b.call(9999), b.exit_()),
    "helper 0": b.program(b.call(0), b.exit_()),
    "bad map fd": b.program(b.ld_imm64(1, 0x3FFFFF0, 1), b.mov(0, 1), b.exit_()),
    "bad pseudo": b.program(b.ld_imm64(1, 0, 9), b.mov(0, 1), b.exit_()),
    "fd_idx without array": b.program(b.ld_imm64(1, 0, 5), b.mov(0, 1), b.exit_()),
}

RUNS: dict[str, Fields] = {
    "good": {},
    "flags": {"flags": 8},
    "cpu": {"cpu": 1},
    "batch": {"batch_size": 1},
    "live batch": {"flags": 2, "batch_size": 257},
    "short": {"data_size_in": 13},
    "empty": {"data_size_in": 0},
    "bad data": {"data_in": 4096},
    "bad out": {"data_out": 4096},
    "small out": {"data_size_out": 10},
    "no out size": {"data_size_out": 0},
    "ctx without size": {"ctx_in": bytes(24)},
    "size without ctx": {"ctx_size_in": 24},
    "short ctx": {"ctx_in": b"\0\0\0\0\x40\0\0\0", "ctx_size_in": 8},
    "long ctx": {"ctx_in": b"\0\0\0\0\x40\0\0\0".ljust(100, b"\0"), "ctx_size_in": 100},
    "long ctx, not zero": {"ctx_in": b"\0\0\0\0\x40\0\0\0".ljust(100, b"\1"), "ctx_size_in": 100},
    "no such device": {"ctx_in": b"\0\0\0\0\x40\0\0\0\0\0\0\0\xff\xff\0\0", "ctx_size_in": 16},
    "small ctx out": {"ctx_in": b"\0\0\0\0\x40\0\0\0", "ctx_size_in": 8, "ctx_out": bytearray(8), "ctx_size_out": 8},
    "repeat": {"repeat": 5},
}


def errno_of(kernel: Kernel, attr: Attr) -> int:
    try:
        result = kernel.bpf(attr)
    except KernelError as error:
        return error.errno or -1
    if attr.command.name == "BPF_PROG_LOAD":
        kernel.close(result)
    return 0


def real() -> Kernel:
    kernel = linux()
    if kernel is None:
        pytest.skip("bpf(2) is refused here")
    return kernel


@pytest.mark.linux
@pytest.mark.parametrize("name", LOADS)
def test_load_errno(name: str) -> None:
    kernel = real()
    expected = errno_of(kernel, load_attr(**LOADS[name]))
    assert errno_of(UserKernel(kernel.version), load_attr(**LOADS[name])) == expected


@pytest.mark.linux
@pytest.mark.parametrize("name", PROGRAMS)
def test_bad_program_errno(name: str) -> None:
    kernel = real()
    expected = errno_of(kernel, load_attr(PROGRAMS[name]))
    assert expected
    assert errno_of(UserKernel(kernel.version), load_attr(PROGRAMS[name])) == expected


@pytest.mark.linux
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("kind", [1, 3, 6])
def test_run_errno(name: str, kind: int) -> None:
    results = []
    for kernel in (real(), UserKernel(real().version)):
        fd = kernel.bpf(load_attr(prog_type=kind))
        out = bytearray(100)
        fields: Fields = {"prog_fd": fd, "data_in": bytes(64), "data_size_in": 64}
        fields |= {"data_out": out, "data_size_out": 100}
        attr = Attr("BPF_PROG_TEST_RUN", **(fields | RUNS[name]))
        results.append((errno_of(kernel, attr), attr.get("retval"), attr.get("data_size_out"), bytes(out)))
        kernel.close(fd)
    assert results[0] == results[1]


def test_helper_newer_than_the_kernel_is_named() -> None:
    program = b.program(b.mov(1, 1), b.call(181), b.exit_())  # bpf_loop
    with pytest.raises(NeedsKernel) as caught:
        UserKernel("5.10").bpf(load_attr(program))
    assert "bpf_loop" in str(caught.value) and "5.17" in str(caught.value)


def test_packets_one_after_the_other() -> None:
    kernel = UserKernel(verify="off")  # the packet is not compared with its end
    body = b.program(b.ldx("u32", 2, 1, 0), b.ldx("u8", 0, 2, 0), b.st("u8", 2, 1, 7), b.exit_())
    fd = kernel.bpf(load_attr(body))
    for first in range(10):
        packet = bytes((first,)) + bytes(range(59))
        run = run_packet(kernel, fd, packet)
        assert (run.verdict, run.data) == (first, bytes((first, 7)) + packet[2:])


def test_references_are_given_back() -> None:
    kernel = UserKernel()
    map_fd = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=8, max_entries=1))
    fd = kernel.bpf(load_attr(b.program(b.ld_imm64(1, map_fd, 1), b.mov(0, 1), b.exit_())))
    kernel.close(map_fd)
    assert len(kernel.ids["map"]) == 1
    kernel.close(fd)
    assert len(kernel.ids["map"]) == len(kernel.ids["prog"]) == 0


@pytest.mark.parametrize("prog_type", [1, 3, 6])
def test_programs_that_go_leave_no_packets_behind(prog_type: int) -> None:
    kernel = UserKernel()
    left = []
    for _ in range(3):
        fd = kernel.bpf(load_attr(prog_type=prog_type))
        assert run_packet(kernel, fd, bytes(60)).verdict == 2
        kernel.close(fd)
        left.append(len(kernel.memory._regions))
    assert left == left[:1] * 3
