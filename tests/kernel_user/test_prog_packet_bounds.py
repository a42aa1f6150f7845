"""A program without a verifier cannot read past its packet, on either engine, whatever helpers did to it."""

from __future__ import annotations

import pytest
from helper_cases import call

from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.kernel.handles import Program
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.run import run_packet

# kind, offset of data in the context, and helpers (arguments r2.. follow) that move the ends of the packet
KINDS = {"xdp": 0, "sched_cls": 76}


@pytest.fixture(params=["fast", "reference"])
def kernel(request: pytest.FixtureRequest) -> UserKernel:
    return UserKernel("6.12", engine=request.param, verify="off")  # what is out of bounds is to run


def reads(kernel: UserKernel, kind: str, offset: int, *, end: bool, before: tuple[Insn, ...] = ()) -> int:
    """Load a program that reads a byte `offset` from the packet's end (or start); its descriptor."""
    at = KINDS[kind] + (4 if end else 0)
    body = b.program(b.mov(6, b.R1), before, b.ldx("u32", 2, 6, at), b.ldx("u8", 0, 2, offset), b.mov(0, 1), b.exit_())
    return Program.load(kernel, kind, body).detach_fd()


@pytest.mark.parametrize("kind", KINDS)
def test_ends(kernel: UserKernel, kind: str) -> None:
    last, after = reads(kernel, kind, -1, end=True), reads(kernel, kind, 0, end=True)
    first, ahead = reads(kernel, kind, 0, end=False), reads(kernel, kind, -1, end=False)
    for size in (64, 100, 100, 20, 1500, 64):
        assert run_packet(kernel, last, bytes(size)).verdict == 1
        assert run_packet(kernel, first, bytes(size)).verdict == 1
        for wrong in (after, ahead):
            with pytest.raises(VmFault, match="the packet"):
                run_packet(kernel, wrong, bytes(size))


MOVES = {
    "xdp_adjust_tail": ("xdp", -10), "xdp_adjust_head": ("xdp", 8), "skb_change_tail": ("sched_cls", 200),
    "skb_change_head": ("sched_cls", 40), "skb_vlan_push": ("sched_cls", 0x81),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_moved(kernel: UserKernel, name: str) -> None:
    kind, value = MOVES[name]
    before = (b.ldx("u32", 7, 1, KINDS[kind]), b.mov(2, value), b.mov(3, 0), call(name))
    for end, right, wrong in ((True, -1, 0), (False, 0, -1)):
        assert run_packet(kernel, reads(kernel, kind, right, end=end, before=before), bytes(64)).verdict == 1
        with pytest.raises(VmFault, match="the packet"):
            run_packet(kernel, reads(kernel, kind, wrong, end=end, before=before), bytes(64))


def test_metadata(kernel: UserKernel) -> None:
    before = (b.mov(2, -8), call("xdp_adjust_meta"))
    assert run_packet(kernel, reads(kernel, "xdp", -8, end=False, before=before), bytes(64)).verdict == 1
    with pytest.raises(VmFault, match="the packet"):
        run_packet(kernel, reads(kernel, "xdp", -9, end=False, before=before), bytes(64))


def test_frame_pointer(kernel: UserKernel) -> None:
    """Linux takes a write to r10 that no path reaches; a reached one is a fault here."""
    dead = Program.load(kernel, "xdp", [b.mov(0, 2), b.ja(1), b.mov(10, 1), b.exit_()])
    assert run_packet(kernel, dead.fd, bytes(64)).verdict == 2
    live = Program.load(kernel, "xdp", [b.mov(0, 2), b.mov(10, 1), b.exit_()])
    with pytest.raises(VmFault, match="frame pointer"):
        run_packet(kernel, live.fd, bytes(64))
