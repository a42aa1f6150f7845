"""Programs on which the verifier and Linux 6.18 once differed, each made small, with what that kernel answered.

data/fuzz_found.jsonl: the first row has the BTF that all share, every other row is a program (fuzz/verifier_found.py).
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bombus.btf.parse import Btf
from bombus.isa.insn import Insn
from bombus.spec.version import KernelVersion
from bombus.verifier import records
from bombus.verifier.main import verify
from bombus.verifier.program import ROOT, FuncInfo, MapInfo, Privileges, Program

_DATA = Path(__file__).parent / "data" / "fuzz_found.jsonl"
_LINES = _DATA.read_text().splitlines()
BTF = Btf.parse(base64.b64decode(json.loads(_LINES[0])["btf"]))
ROWS: list[dict[str, Any]] = [json.loads(line) for line in _LINES[1:]]
_CAPS = {"root": ROOT, "bpf": Privileges(True, False, True)}
_PEAK = re.compile(r"peak_states \d+")  # of loops, it may differ by a few
_TIME = re.compile(r"verification time \d+ usec")
_MAP_ADDRESS = re.compile(r"\((18)\) r(\d+) = 0x[0-9a-f]+(?: +;)?")


def _map(row: dict[str, Any], number: int) -> MapInfo:
    type_id = row.get("value_type", 0)
    inner = _map(row["inner"], number) if "inner" in row else None
    return MapInfo(
        row["type"], row["key_size"], row["value_size"], row["max_entries"], row["name"], row["flags"], number + 1,
        inner, row.get("frozen", False), base64.b64decode(row["contents"]) if "contents" in row else None,
        BTF if type_id else None, 1 if type_id else 0, type_id, records.parse(BTF, type_id) if type_id else (), 0,
        0xFFFF_8000_0000_0000 + number * 0x10000, 0xFFFF_9000_0000_0000 + number * 0x10000,
    )  # fmt: skip


def _normal(log: str) -> str:
    log = _PEAK.sub("peak_states N", _TIME.sub("verification time usec", log))
    return _MAP_ADDRESS.sub(r"(\1) r\2 = PTR;", log).rstrip("\n")


def program_of(row: dict[str, Any]) -> Program:
    return Program(
        [Insn(*insn) for insn in row["insns"]], row["prog_type"], KernelVersion(6, 18), row["attach_type"],
        row["license"], "", row["flags"], _CAPS[row["caps"]], {i: _map(m, i) for i, m in enumerate(row["maps"])}, (),
        BTF if row["functions"] else None, [FuncInfo(*pair) for pair in row["functions"]], (), log_level=6, cpus=2,
    )  # fmt: skip


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_answer_equals_the_kernels(number: int) -> None:
    row = ROWS[number]
    verdict = verify(program_of(row))
    asm = "\n".join(row["asm"])
    assert abs(verdict.errno) == row["errno"], asm
    assert verdict.processed == row["processed"], asm
    if row["log"]:
        assert _normal(verdict.log) == row["log"], asm
