"""Every instruction form on edge values: what Linux said (tests/cases/vm_isa.json), on every engine."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bombus.isa.forms import FORMS
from bombus.isa.insn import decode
from bombus.isa.validate import validate
from bombus.vm.engines import NAMES, engine
from bombus.vm.env import PlainEnv

CASES = Path(__file__).parents[1] / "cases" / "vm_isa.json"

# Forms that need more than one memory area and so have tests of their own.
ELSEWHERE = {"ja", "ld_imm64", "addr_space_cast", "ld_abs", "ld_ind", "call", "call_local", "call_kfunc", "may_goto"}


@cache
def cases() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(CASES.read_text())
    return loaded


@pytest.mark.parametrize("name", NAMES)
def test_cases(name: str) -> None:
    wrong = []
    for case in cases():
        env = PlainEnv()
        memory = env.memory.allocate(32, name="memory", kind="mem")
        program = engine(name).compile(decode(bytes.fromhex(case["insns"])), env)
        for before, after, r0 in case["runs"]:
            memory.view[:] = bytes.fromhex(before)
            result = program.run(memory.start) & 0xFFFF_FFFF
            if (bytes(memory.view).hex(), f"{result:08x}") != (after, r0):
                wrong.append(f"{case['name']}: {before} -> {bytes(memory.view).hex()} {result:08x}, not {after} {r0}")
    assert not wrong, "\n".join(wrong)


def test_every_form_has_cases() -> None:
    covered = {form for case in cases() for form in validate(decode(bytes.fromhex(case["insns"])))}
    missing = [form for form in FORMS if form not in covered and form.name not in ELSEWHERE]
    assert not missing
