"""Maps of maps from native programs: what they hold is found and worked on without Python."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.kernel.user.helpers import registry
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.run import run_packet
from bombus.kernel.user.runbatch import run_packets
from bombus.spec.maptypes import MAP_TYPE

pytest.importorskip("llvmlite", reason="native code is LLVM's")

EXIT = b.exit_()
XDP = 6
LOOKUP, UPDATE, DELETE = 1, 2, 3
ZERO_SEED = 64
INNER = ("HASH", "LRU_HASH", "PERCPU_HASH", "ARRAY", "PERCPU_ARRAY")
SLOTS = 3


def program(outer: int) -> list[Insn]:
    """Bytes of a packet: which map, key, operation, value. The verdict is what the operation said."""
    key = [b.mov(2, b.R10), b.add(2, -8)]
    inner = [b.mov(1, b.R7), *key]
    update = [*inner, b.mov(3, b.R10), b.add(3, -16), b.mov(4, 0), b.call(UPDATE), EXIT]
    delete = [*inner, b.call(DELETE), EXIT]
    look = [*inner, b.call(LOOKUP), b.jmp("!=", 0, 0, 2), b.mov(0, 77), EXIT, b.ldx("u64", 1, 0, 0), b.add(1, 1),
            b.stx("u64", 0, 0, 1), b.mov(0, b.R1), EXIT]  # fmt: skip
    return [
        b.ldx("u32", 6, 1, 0), b.ldx("u32", 3, 1, 4), b.mov(2, b.R6), b.add(2, 4), b.jmp("<=", 2, b.R3, 2),
        b.mov(0, 98), EXIT,
        b.ldx("u8", 2, 6, 0), b.stx("u64", 10, -8, 2), b.ldx("u8", 2, 6, 3), b.stx("u64", 10, -16, 2),
        b.ldx("u8", 8, 6, 2), b.ldx("u8", 9, 6, 1),
        *b.ld_imm64(1, outer, src=op.BPF_PSEUDO_MAP_FD), *key, b.call(LOOKUP), b.jmp("!=", 0, 0, 2), b.mov(0, 99), EXIT,
        b.mov(7, b.R0), b.stx("u64", 10, -8, 9),
        b.jmp("==", 8, 1, 1 + len(look) + len(delete)), b.jmp("==", 8, 2, len(look)),
        *look, *delete, *update,
    ]  # fmt: skip


class Machine:
    def __init__(self, engine: str, outer: str, inner: str) -> None:
        self.kernel = UserKernel("6.18", engine=engine, maps="native" if engine == "native" else "python")
        self.kind = inner
        template = self.inner()
        self.outer = self.kernel.bpf(
            Attr("BPF_MAP_CREATE", map_type=MAP_TYPE[f"BPF_MAP_TYPE_{outer}_OF_MAPS"].id, key_size=4, value_size=4,
                 max_entries=SLOTS, inner_map_fd=template)
        )  # fmt: skip
        self.set(0, self.inner())
        insns = program(self.outer)
        self.fd = self.kernel.bpf(
            Attr("BPF_PROG_LOAD", prog_type=XDP, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0")
        )  # fmt: skip
        prog: Any = self.kernel.object("test", self.fd, "prog")
        prog.compiled.prepare()

    def inner(self) -> int:
        flags = ZERO_SEED if "HASH" in self.kind else 0
        return self.kernel.bpf(
            Attr("BPF_MAP_CREATE", map_type=MAP_TYPE[f"BPF_MAP_TYPE_{self.kind}"].id, key_size=4, value_size=8,
                 max_entries=5, map_flags=flags)
        )  # fmt: skip

    def set(self, slot: int, fd: int) -> None:
        """The outer map holds it alone."""
        key, value = slot.to_bytes(4, "little"), fd.to_bytes(4, "little")
        self.kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=self.outer, key=key, value=value))
        self.kernel.close(fd)

    def unset(self, slot: int) -> None:
        self.kernel.bpf(Attr("BPF_MAP_DELETE_ELEM", map_fd=self.outer, key=slot.to_bytes(4, "little")))

    def run(self, packets: list[bytes]) -> list[int]:
        return [run_packet(self.kernel, self.fd, packet).verdict for packet in packets]


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", ["ARRAY", "HASH"])
def test_maps_of_maps(outer: str, inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Machine("reference", outer, inner)

    def asked(*_: object) -> int:
        raise AssertionError("Python was asked")

    registry.load_bodies()
    for name in ("map_lookup_elem", "map_update_elem", "map_delete_elem"):
        monkeypatch.setitem(registry.BODIES, name, asked)
    fast = Machine("native", outer, inner)
    rng = random.Random(4)
    seen = set()
    for round_ in range(8):
        packets = [bytes([rng.randrange(SLOTS + 1), rng.randrange(7), rng.randrange(3), rng.randrange(256)]).ljust(60)
                   for _ in range(40)]  # fmt: skip
        expected = slow.run(packets)
        assert fast.run(packets) == expected
        seen |= set(expected)
        for machine in (slow, fast):
            if round_ == 3:
                machine.unset(0)
            else:
                machine.set(round_ % SLOTS, machine.inner())
    assert {77, 99, 0} <= seen and len(seen) > 10


def test_inner_maps_that_are_python_s() -> None:
    """What has no native memory is asked in Python, in the same program."""
    kernel = UserKernel("6.18", engine="native")
    made = Machine("native", "ARRAY", "HASH")
    item: Any = made.kernel.object("BPF_MAP_LOOKUP_ELEM", made.outer, "map")
    inner = item.target(0)
    assert made.kernel.inner_maps is not None
    made.kernel.inner_maps._words[inner.id] = 0
    assert made.run([bytes([0, 1, 1, 5]).ljust(60), bytes([0, 1, 0, 0]).ljust(60)]) == [0, 6]
    assert kernel.inner_maps is None


def test_maps_go_while_programs_run() -> None:
    """One thread runs packets, another replaces the maps that they work on."""
    made = Machine("native", "HASH", "HASH")
    packets = [bytes([0, number % 7, number % 3, number % 256]).ljust(60) for number in range(2000)]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(30):
                run_packets(made.kernel, made.fd, packets)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        made.set(0, made.inner())
    thread.join()
    assert not failures
