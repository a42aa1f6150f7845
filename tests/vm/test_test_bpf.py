"""The eBPF programs of Linux' lib/test_bpf.c, recorded with their expected results, on every engine."""

from __future__ import annotations

import base64
import gzip
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bombus.isa.insn import decode
from bombus.vm.engines import NAMES, engine
from bombus.vm.env import PlainEnv

TABLE = Path(__file__).parents[2].parent / "shared" / "oracle" / "test_bpf.jsonl.gz"
SKB = 0x5000
BIG = 20_000  # instructions; by default one in eight of the 200 larger programs is run
COMPILED = 300  # and none of the larger ones on engines that compile with LLVM
FULL = bool(os.environ.get("BOMBUS_FULL"))

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not TABLE.exists(), reason="no recorded lib/test_bpf.c table in ../shared/oracle"),
]


@cache
def entries() -> list[dict[str, Any]]:
    with gzip.open(TABLE, "rt") as lines:
        return [row for line in lines if (row := json.loads(line))["type"] == "ebpf"]


class PacketEnv(PlainEnv):
    """The skb of one test: r1 is a number that only BPF_LD_ABS and BPF_LD_IND may look behind."""

    packet: bytes

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        assert skb == SKB
        data = self.packet[offset : offset + size] if offset >= 0 else b""
        return int.from_bytes(data, "big") if len(data) == size else None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", range(4))
def test_all_entries(name: str, part: int) -> None:
    if name == "tiered" and part and not FULL:
        pytest.skip("what it runs on, the fast and the native engine, have all of them")
    wrong = []
    ran = 0
    for row in entries()[part::4]:
        insns = decode(base64.b64decode(row["insns"]))
        if len(insns) > BIG and row["idx"] // 4 % 8 and not FULL:
            continue
        if len(insns) > COMPILED and name in ("native", "tiered") and not FULL:
            continue
        env = PacketEnv()
        program = engine(name).compile(insns, env)
        for size, expected in row["tests"]:
            env.packet = base64.b64decode(row["data"])[:size]
            ran += 1
            ctx = 0 if row["no_data"] else SKB
            if row["large_mem"]:  # r1 is a buffer
                ctx = env.memory.allocate(size, name="buffer", kind="mem").start
            result = program.run(ctx) & 0xFFFF_FFFF
            if result != expected & 0xFFFF_FFFF:
                wrong.append(f"{row['idx']} {row['descr']}: {result:#x}, should be {expected:#x}")
    assert not wrong, "\n".join(wrong)
    assert ran >= (120 if name in ("native", "tiered") and not FULL else 170)
