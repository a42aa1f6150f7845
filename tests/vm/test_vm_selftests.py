"""Kernel selftests that were test-run on Linux 6.12: the same return value on every engine.

Those that get by with memory, arithmetic, array maps and four simple helpers are run here; the others need a
kernel around them.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bombus.errors import VmFault
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, decode
from bombus.vm.engines import NAMES, engine
from bombus.vm.env import PlainEnv
from bombus.vm.memory import Region

ORACLE = Path(__file__).parents[2].parent / "shared" / "oracle"
LOADS, VERDICTS = ORACLE / "loads-6.12.jsonl.gz", ORACLE / "verdicts-6.12.jsonl.gz"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not LOADS.exists(), reason="no recorded loads in ../shared/oracle"),
]

SOCKET, TC, XDP, TRACING = 1, 3, 6, 26
HASH, ARRAY = 1, 2
BUDGET = {"reference": 100_000}  # the other engines run the few that loop for millions of rounds
PACKET = 64  # bytes of zeros that the programs were run on

# Results that are not the program's doing alone.
EXCEPTIONS = {
    "check_valid_spill_fill": "returns the address of the kernel's skb",
    "check_corrupted_spill_fill_lsb": "returns the address of the kernel's skb",
    "check_corrupted_spill_fill_msb": "returns the address of the kernel's skb",
    "unpriv_return_pointer": "returns the address of the kernel's skb",
    "resolve_typedef": "reads a struct of the kernel",
    "xdp_using_ifindex_from_netdev": "follows the xdp_buff to its net device",
}


class TestEnv(PlainEnv):
    """Zeroed memory of the program's maps, a context and a packet; helpers of the recorded programs."""

    __test__ = False

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__()
        self.maps = {entry["fd"]: entry for entry in row["maps"]}
        self.values: dict[int, Region] = {}
        self.prog_type = row["attr"]["prog_type"]
        self.data = self.memory.allocate(PACKET, name="packet", kind="packet", low=True)
        self.ctx = self.memory.allocate(256, name="ctx", kind="ctx")
        at = 0 if self.prog_type == XDP else 76
        struct.pack_into("<III", self.ctx.view, at, self.data.start, self.data.end, 0)
        meta = 8 if self.prog_type == XDP else 140
        struct.pack_into("<I", self.ctx.view, meta, self.data.start)
        if self.prog_type != XDP:
            struct.pack_into("<I", self.ctx.view, 0, PACKET - (14 if self.prog_type == SOCKET else 0))
        self.helpers = {1: self.lookup, 5: self.ktime, 7: self.random, 8: lambda *_: 0}

    def lookup(self, fd: int, key: int, *_: int) -> int:
        entry = self.maps[fd]
        index = self.memory.load(key, 4) if entry["key_size"] == 4 else 0
        if entry["type"] == HASH or index >= entry["max_entries"]:
            return 0
        return self.value(fd).start + index * self.value(fd).stride

    def ktime(self, *_: int) -> int:
        return 123_456_789

    def random(self, *_: int) -> int:
        return 0x89AB_CDEF

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        if offset < 0:  # from the MAC header on, or from the network header on
            offset += 0x20_0000 if offset < -0x10_0000 else 0x10_0000
        return 0 if 0 <= offset <= PACKET - 14 - size else None

    def value(self, fd: int) -> Region:
        if fd not in self.values:
            entry = self.maps[fd]
            size = entry["value_size"]
            stride = (size + 7) & ~7
            region = self.memory.allocate(
                stride * entry["max_entries"], name=entry["name"], kind="map_value", stride=stride, limit=size
            )
            if isinstance(entry["frozen"], str):
                region.view[:size] = base64.b64decode(entry["frozen"])[:size]
            self.values[fd] = region
        return self.values[fd]

    def relocate(self, insns: list[Insn]) -> list[Insn] | None:
        """Map references as addresses (values) and descriptors (maps); None for what this kernel has not."""
        out = list(insns)
        for index, insn in enumerate(insns):
            if insn.opcode != op.LD_IMM64 or insn.src in (0, op.BPF_PSEUDO_FUNC):
                continue
            entry = self.maps.get(insn.imm)
            if insn.src == op.BPF_PSEUDO_MAP_VALUE and entry and entry["type"] == ARRAY:
                address = self.value(insn.imm).start + insns[index + 1].imm
                low = address & 0xFFFF_FFFF
                out[index] = insn._replace(imm=low - ((low & 0x8000_0000) << 1))
                out[index + 1] = Insn(0, imm=address >> 32)
            elif insn.src != op.BPF_PSEUDO_MAP_FD or not entry or entry["type"] not in (HASH, ARRAY):
                return None
        return out


@cache
def rows() -> list[tuple[dict[str, Any], int]]:
    """Loads of programs that were run, and what they returned."""
    ran = {}
    with gzip.open(VERDICTS, "rt") as lines:
        for verdict in map(json.loads, lines):
            if verdict["verdict"] == "accept" and verdict.get("run") and verdict["run"]["rc"] == 0:
                ran[verdict["object"], verdict["program"], verdict["mode"]] = verdict["run"]["retval"] & 0xFFFF_FFFF
    with gzip.open(LOADS, "rt") as lines:
        loads = [json.loads(line) for line in lines]
    found = [(row, ran.get((row["obj"], row["prog"], row["mode"]))) for row in loads]
    return [(row, result) for row, result in found if result is not None]


def runnable() -> Iterator[tuple[str, TestEnv, list[Insn], int]]:
    for row, result in rows():
        if row["prog"] in EXCEPTIONS or row["attr"]["prog_type"] not in (SOCKET, TC, XDP):
            continue
        env = TestEnv(row)
        insns = decode(base64.b64decode(row["insns"]))
        calls = {insn.imm if insn.src == 0 else -1 for insn in insns if insn.opcode == op.CALL and insn.src != 1}
        relocated = env.relocate(insns)
        if relocated is not None and calls <= env.helpers.keys():
            yield f"{row['obj']}:{row['prog']} ({row['mode']})", env, relocated, result


@pytest.mark.parametrize("name", NAMES)
def test_return_values(name: str) -> None:
    wrong = []
    ran = 0
    for what, env, insns, expected in runnable():
        ran += 1
        try:
            program = engine(name, budget=BUDGET.get(name, 100_000_000)).compile(insns, env)
            result: object = program.run(env.ctx.start) & 0xFFFF_FFFF
        except VmFault as fault:
            if name == "reference" and fault.kind == "budget":
                continue
            result = fault
        if result != expected:
            wrong.append(f"{what}: {result}, on Linux {expected}")
    assert not wrong, "\n".join(wrong)
    assert ran >= 400
