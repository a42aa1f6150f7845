"""Timers run when the kernel is told to, at the world's time."""

from __future__ import annotations

from bombus.isa import build as b
from bombus.isa.insn import encode
from bombus.isa.opcodes import BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_FD
from bombus.kernel.api import Attr
from bombus.kernel.user.helpers.timers import run_timers
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.run import run_packet
from bombus.kernel.user.world import set_world
from bombus.kernel.user.world.world import World
from bombus.spec.helpers import HELPER


def test_timer_runs_its_callback_when_due() -> None:
    kernel = UserKernel(verify="off")  # the map has no BTF to describe its timer
    set_world(kernel, World.fixed(now=1000))
    fd = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=32, max_entries=1))
    insns = b.program(
        b.st("u32", 10, -4, 0), b.ld_imm64(1, fd, BPF_PSEUDO_MAP_FD), b.mov(2, b.R10), b.add(2, -4), b.call(1),
        b.mov(7, b.R0), b.mov(1, b.R7), b.ld_imm64(2, fd, BPF_PSEUDO_MAP_FD), b.mov(3, 1),
        b.call(HELPER["timer_init"].id), b.mov(1, b.R7), b.ld_imm64(2, 9, BPF_PSEUDO_FUNC),
        b.call(HELPER["timer_set_callback"].id), b.mov(1, b.R7), b.mov(2, 500), b.mov(3, 0),
        b.call(HELPER["timer_start"].id), b.mov(0, b.R0), b.exit_(),
        b.st("u64", 3, 16, 77), b.mov(0, 0), b.exit_(),
    )  # fmt: skip
    at = next(i for i, insn in enumerate(insns) if insn.opcode == 0x18 and insn.src == BPF_PSEUDO_FUNC)
    insns[at] = insns[at]._replace(imm=len(insns) - 3 - at - 1)
    prog = kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=3, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0"))
    assert run_packet(kernel, prog, bytes(64)).verdict == 0

    def value() -> int:
        out = bytearray(32)
        kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=fd, key=bytes(4), value=out))
        return int.from_bytes(out[16:24], "little")

    assert run_timers(kernel, 1499) == 0
    assert value() == 0
    assert run_timers(kernel, 1500) == 1
    assert value() == 77
    assert run_timers(kernel, 9999) == 0
