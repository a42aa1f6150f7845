"""Programs on which the verifier and Linux 6.18 once differed, each made small, with what that kernel answered.

data/fuzz_found*.jsonl: the first row has the BTF that all share, every other row is a program (fuzz/verifier_found.py).
Those in fuzz_found_typed.jsonl use the kernel's types, which they name: here they get the ids of the recorded BTF of
another build of that kernel.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpus
import pytest

from bombus.btf.parse import Btf
from bombus.btf.types import Kind
from bombus.isa.insn import Insn
from bombus.spec.version import KernelVersion
from bombus.verifier import records
from bombus.verifier.main import verify
from bombus.verifier.program import ROOT, FuncInfo, MapInfo, Privileges, Program

_DATA = Path(__file__).parent / "data"


def _read(name: str) -> tuple[Btf, list[dict[str, Any]]]:
    first, *rows = (_DATA / name).read_text().splitlines()
    return Btf.parse(base64.b64decode(json.loads(first)["btf"])), [json.loads(line) for line in rows]


BTF, ROWS = _read("fuzz_found.jsonl")
TYPED_BTF, TYPED = _read("fuzz_found_typed.jsonl")
_TYPE_ID = re.compile(r"(call \w+#|btf_id |ld_imm64 )\d+")
_CAPS = {"root": ROOT, "bpf": Privileges(True, False, True)}
_PEAK = re.compile(r"peak_states \d+")  # of loops, it may differ by a few
_TIME = re.compile(r"verification time \d+ usec")
_MAP_ADDRESS = re.compile(r"\((18)\) r(\d+) = 0x[0-9a-f]+(?: +;)?")


def _map(row: dict[str, Any], number: int, btf: Btf) -> MapInfo:
    type_id = row.get("value_type", 0)
    inner = _map(row["inner"], number, btf) if "inner" in row else None
    return MapInfo(
        row["type"], row["key_size"], row["value_size"], row["max_entries"], row["name"], row["flags"], number + 1,
        inner, row.get("frozen", False), base64.b64decode(row["contents"]) if "contents" in row else None,
        btf if type_id else None, 1 if type_id else 0, type_id, records.parse(btf, type_id) if type_id else (),
        row.get("user_start", 0),
        0xFFFF_8000_0000_0000 + number * 0x10000, 0xFFFF_9000_0000_0000 + number * 0x10000,
    )  # fmt: skip


def _normal(log: str) -> str:
    log = _PEAK.sub("peak_states N", _TIME.sub("verification time usec", log))
    return _MAP_ADDRESS.sub(r"(\1) r\2 = PTR;", log).rstrip("\n")


def typed_program_of(row: dict[str, Any], vmlinux: Btf) -> Program:
    """The program with the ids that a kernel's BTF has for the names in it."""
    insns = [Insn(*insn) for insn in row["insns"]]
    target = 0
    for place, (kind, name) in row["names"].items():
        number = vmlinux.find(name, Kind[kind])
        assert number is not None, name
        if place == "target":
            target = number
        else:
            insns[int(place)] = insns[int(place)]._replace(imm=number)
    return replace(
        program_of(row, TYPED_BTF), insns=insns, attach_btf_id=target, vmlinux=vmlinux, data_symbols=False
    )


def program_of(row: dict[str, Any], btf: Btf = BTF) -> Program:
    return Program(
        [Insn(*insn) for insn in row["insns"]], row["prog_type"], KernelVersion(6, 18), row["attach_type"],
        row["license"], "", row["flags"], _CAPS[row["caps"]],
        {i: _map(m, i, btf) for i, m in enumerate(row["maps"])}, (),
        btf if row["functions"] else None, [FuncInfo(*pair) for pair in row["functions"]], (), log_level=6, cpus=2,
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


@pytest.mark.skipif(not corpus.ORACLE.exists(), reason="the recorded BTF of a kernel is not beside the repository")
@pytest.mark.parametrize("number", range(len(TYPED)))
def test_answer_with_the_kernels_types(number: int) -> None:
    row = TYPED[number]
    verdict = verify(typed_program_of(row, corpus.vmlinux("6.18")))
    asm = "\n".join(row["asm"])
    assert abs(verdict.errno) == row["errno"], asm
    assert verdict.processed == row["processed"], asm
    assert _TYPE_ID.sub(r"\1N", _normal(verdict.log)) == _TYPE_ID.sub(r"\1N", _normal(row["log"])), asm
