"""Selftests' programs with a recorded test run: the user kernel loads the very same instructions and returns the same.

Programs that need what the user kernel does not have (kernel functions, BTF targets, ...) are counted by reason.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bombus.errors import BombusError, KernelError, NotSupported, VmFault
from bombus.isa.insn import decode, encode
from bombus.isa.opcodes import LD_IMM64
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel

ORACLE = Path(__file__).parents[2].parent / "shared" / "oracle"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not ORACLE.exists(), reason="no recorded loads in ../shared/oracle"),
]

# They return an address, or a part of one, which differs from run to run.
# state_equality_check_*: one of an uninitialised stack. ptr_read_ops_*: reads struct bpf_map through a map pointer.
ADDRESSES = {"state_equality_check_way_1", "state_equality_check_way_2", "ptr_read_ops_field_accepted",
             "check_valid_spill_fill", "check_corrupted_spill_fill_lsb", "check_corrupted_spill_fill_msb",
             "unpriv_return_pointer"}  # fmt: skip
LEAST = 700  # programs that return what Linux 6.12 returned; goes up with what the user kernel learns


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(ORACLE / name, "rt") as lines:
        return [json.loads(line) for line in lines]


def recorded() -> list[tuple[dict[str, Any], int]]:
    """(load, retval) of every program that Linux 6.12 ran."""
    runs = {
        (row["object"], row["program"], row["mode"]): row["run"]["retval"]
        for row in rows("verdicts-6.12.jsonl.gz")
        if row.get("run") and row["run"]["rc"] == 0
    }
    found = {}
    for load in rows("loads-6.12.jsonl.gz"):
        key = (load["obj"], load["prog"], load["mode"])
        if key in runs:
            found[key] = (load, runs[key])
    return list(found.values())


class Unneeded(Exception):
    """The record does not hold enough to repeat the run."""


def make_maps(kernel: UserKernel, load: dict[str, Any]) -> dict[int, int]:
    """Recorded descriptors to ours. Only maps that the instructions name."""
    known = {item["fd"]: item for item in load["maps"]}
    # libbpf reserves descriptors for an object's maps, from 8 on, in their order; probes come before.
    real = [item for item in load["maps"] if not item["name"].startswith("libbpf_")]
    if not any(item["inner_map_fd"] for item in real):
        known |= {8 + number: item for number, item in enumerate(real) if 8 + number not in known}
    made: dict[int, int] = {}
    insns = decode(base64.b64decode(load["insns"]))
    named = {insn.imm for insn in insns if insn.opcode == LD_IMM64 and insn.src in (1, 2)}

    def make(fd: int) -> int:
        if fd not in known:
            raise Unneeded(f"map {fd} is not recorded")
        item = known[fd]
        if item["type"] == 3:
            raise Unneeded("the programs in a prog array are not recorded")
        if ".data" in item["name"]:
            raise Unneeded("initial contents are not recorded")
        attr = Attr(
            "BPF_MAP_CREATE", map_type=item["type"], key_size=item["key_size"], value_size=item["value_size"],
            max_entries=item["max_entries"], map_flags=item["flags"], map_extra=item["map_extra"],
        )  # fmt: skip
        if item["inner_map_fd"]:
            attr.set("inner_map_fd", made.get(item["inner_map_fd"]) or make(item["inner_map_fd"]))
        made[fd] = kernel.bpf(attr)
        return made[fd]

    for fd in sorted(named):
        if fd not in made:
            make(fd)
    return made


def run(load: dict[str, Any]) -> int:
    kernel = UserKernel("6.12")
    maps = make_maps(kernel, load)
    insns = decode(base64.b64decode(load["insns"]))
    insns = [i._replace(imm=maps[i.imm]) if i.opcode == LD_IMM64 and i.src in (1, 2) else i for i in insns]
    attr = load["attr"]
    fd = kernel.bpf(
        Attr(
            "BPF_PROG_LOAD", prog_type=attr["prog_type"], expected_attach_type=attr["expected_attach_type"],
            prog_flags=attr["prog_flags"], attach_btf_id=attr["attach_btf_id"], insns=encode(insns),
            insn_cnt=len(insns), license=attr["license"].encode() + b"\0",
        )
    )  # fmt: skip
    test = Attr("BPF_PROG_TEST_RUN", prog_fd=fd)
    if attr["prog_type"] not in (17, 20, 31):
        data = bytes(64)
        test = Attr("BPF_PROG_TEST_RUN", prog_fd=fd, data_in=data, data_size_in=64, data_out=bytearray(64),
                    data_size_out=64, repeat=1)  # fmt: skip
    kernel.bpf(test)
    return test.get("retval")


def results() -> tuple[int, int, list[str], Counter[str]]:
    """(programs, equal, differences, reasons for those that did not run)."""
    same = 0
    wrong: list[str] = []
    reasons: Counter[str] = Counter()
    cases = recorded()
    for load, expected in cases:
        if load["prog"] in ADDRESSES:
            reasons["returns an address"] += 1
            continue
        try:
            got = run(load)
        except (NotSupported, Unneeded) as error:
            reasons[getattr(error, "feature", "") or str(error)] += 1
        except VmFault as error:
            wrong.append(f"{load['obj']} {load['prog']}: {error}")
        except KernelError as error:
            reasons[f"{error.call} {error.message or error.errno}"[:100]] += 1
        except BombusError as error:
            reasons[type(error).__name__] += 1
        else:
            if got == expected & 0xFFFF_FFFF:
                same += 1
            else:
                wrong.append(f"{load['obj']} {load['prog']}: {got}, Linux {expected}")
    return len(cases), same, wrong, reasons


def test_recorded_runs() -> None:
    count, same, wrong, reasons = results()
    print(f"{same} of {count} equal; not run: {reasons}")
    assert not wrong, "\n".join(wrong)
    assert same >= LEAST
