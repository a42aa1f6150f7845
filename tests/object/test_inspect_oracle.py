"""Bounds against recorded answers: what Linux 6.1 accepted must not be said to need a later kernel."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bombus.btf.parse import Btf
from bombus.isa import opcodes as op
from bombus.isa.insn import decode
from bombus.object.bounds import Bound, Code, code_bounds, map_bounds, minimum, program_bounds
from bombus.object.model import MapSpec
from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.spec.sections import BPF_F_SLEEPABLE
from bombus.spec.version import since

# Programs of these types load whatever the attach type: that is asked for only when they are attached.
UNCHECKED = ("BPF_PROG_TYPE_KPROBE", "BPF_PROG_TYPE_SCHED_CLS")
# The recorded 6.1 (Debian's) accepts gotol, which came with Linux 6.6: a backport, we suppose.
BACKPORTED = {"selftests/verifier_gotol.bpf.o"}
DATA = (".rodata", ".bss", ".data", ".kconfig")


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        for line in file:
            yield json.loads(line)


def bounds_of(row: dict[str, Any], btfs: dict[str, Btf]) -> tuple[list[Bound], list[str]]:
    """Bounds of one recorded BPF_PROG_LOAD."""
    attr = row["attr"]
    insns = decode(base64.b64decode(row["insns"]))
    starts = {0}
    blobs = {b["fd"]: b["sha1"] for b in row["btfs"]}
    specs = {}
    btf_of = {}
    for m in row["maps"]:
        section = next((s for s in DATA if s in m["name"]), "")
        specs[m["fd"]] = MapSpec(
            m["name"], m["type"], m["key_size"], m["value_size"], m["max_entries"], m["flags"],
            map_extra=m["map_extra"], value_type=m["btf_value"], section=section,
        )  # fmt: skip
        btf_of[m["name"]] = btfs.get(blobs.get(m["btf_fd"], ""))
    maps = {}
    kfuncs = {}
    for at, insn in enumerate(insns):
        local = insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL
        if local or (insn.is_ld_imm64 and insn.src == op.BPF_PSEUDO_FUNC):
            starts.add(at + insn.imm + 1)
        elif insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_KFUNC_CALL:
            kfuncs[at] = (str(insn.imm), False)
        elif insn.is_ld_imm64 and insn.src in (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE) and insn.imm in specs:
            maps[at] = specs[insn.imm]
    functions = tuple((f"f{start}", start) for start in sorted(starts))
    kind = PROG_TYPE_BY_ID[attr["prog_type"]]
    attach = ATTACH_TYPE_BY_ID.get(attr["expected_attach_type"])
    name = attach.name if attach is not None and kind.name in attach.prog_types else ""
    found = program_bounds(kind.name, "" if kind.name in UNCHECKED else name, attr["prog_flags"])
    code = Code(insns, functions, maps, {}, kfuncs, {})
    more, problems = code_bounds(code, kind.name, name, sleepable=bool(attr["prog_flags"] & BPF_F_SLEEPABLE))
    found += more
    for spec in {m.name: m for m in maps.values()}.values():
        found += map_bounds(spec, btf_of[spec.name], sleepable=bool(attr["prog_flags"] & BPF_F_SLEEPABLE))
    return found, problems


def test_accepted_by_6_1(oracle: Path) -> None:
    accepted = {
        (v["object"], v["program"])
        for v in rows(oracle / "verdicts-6.1.jsonl.gz")
        if v["verdict"] == "accept" and v["mode"] == "priv"
    }
    btfs = {r["sha1"]: Btf.parse(base64.b64decode(r["data"])) for r in rows(oracle / "btfs-6.12.jsonl.gz")}
    limit = since("6.1")
    wrong = []
    seen = 0
    for row in rows(oracle / "loads-6.12.jsonl.gz"):
        if (row["obj"], row["prog"]) not in accepted or row["mode"] != "priv" or row["obj"] in BACKPORTED:
            continue
        seen += 1
        found, problems = bounds_of(row, btfs)
        if minimum(found) > limit:
            late = [f"{b.since} {b.kind} {b.what}" for b in found if b.since > limit]
            wrong.append(f"{row['obj']} {row['prog']}: {late}")
        # Calls of no helper are what libbpf leaves in code that the verifier never sees.
        wrong += [f"{row['obj']} {row['prog']}: {p}" for p in problems if "no helper has the number" not in p]
    assert seen > 1000
    assert not wrong, "\n".join(wrong)
