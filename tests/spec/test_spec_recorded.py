"""Helpers of recorded programs: what Linux 6.12 and 6.18 accepted must be allowed, what they refused must not be.

This asks about LSM, fentry and kprobe programs and about unprivileged users, which the running kernel may not take.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spec_kernels import types_of

from bombus.btf.parse import Btf
from bombus.btf.types import Struct
from bombus.spec.helpers import HELPER_BY_ID, allowed, not_in_probe
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.spec.version import since

# Refused because the kernel's configuration (CONFIG_BPF_KPROBE_OVERRIDE) or a capability is missing.
BY_CONFIGURATION = {"override_return", "probe_write_user"}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        for line in file:
            yield json.loads(line)


def _target(btf: Btf, attr: dict[str, Any]) -> str:
    id_ = attr.get("attach_btf_id", 0)
    if not 0 < id_ < len(btf) or attr.get("attach_btf_obj_fd") or attr.get("attach_prog_fd"):
        return ""
    type_ = btf[id_]
    if isinstance(type_, Struct):
        return f"{type_.name}.{type_.members[attr['expected_attach_type']].name}"
    return type_.name


def _calls(insns: bytes) -> set[int]:
    """Numbers of helpers. Calls that CO-RE poisoned have numbers that no helper has."""
    found = {
        int.from_bytes(insns[at + 4 : at + 8], "little", signed=True)
        for at in range(0, len(insns), 8)
        if insns[at] == 0x85 and insns[at + 1] >> 4 == 0
    }
    return found & set(HELPER_BY_ID)


@pytest.mark.parametrize("version", ["6.12", "6.18"])
def test_recorded_programs(version: str, oracle: Path) -> None:
    types = types_of(version)
    assert types is not None
    loads = {(r["obj"], r["prog"], r["mode"]): r for r in _rows(oracle / f"loads-{version}.jsonl.gz")}
    counts = {"accept": 0, "refuse": 0, "probe": 0}
    wrong = []
    for verdict in _rows(oracle / f"verdicts-{version}.jsonl.gz"):
        row = loads.get((verdict["object"], verdict["program"], verdict["mode"]))
        if row is None or PROG_TYPE_BY_ID[row["attr"]["prog_type"]].name == "BPF_PROG_TYPE_EXT":
            continue
        attr, error = row["attr"], verdict.get("error") or ""
        privileged = verdict["mode"] == "priv"
        target = _target(types.btf, attr)

        def ask(number: int, what: Any = allowed) -> bool:
            return bool(
                what(
                    HELPER_BY_ID[number].name, attr["prog_type"], attr["expected_attach_type"], since(version),  # noqa: B023
                    bpf=privileged, perfmon=privileged, target=target,  # noqa: B023
                )
            )  # fmt: skip

        calls = _calls(base64.b64decode(row["insns"]))
        if verdict["verdict"] == "accept":
            counts["accept"] += len(calls)
            bad = [HELPER_BY_ID[n].name for n in calls if not ask(n)]
        elif "cannot use helper" in error or "unknown func" in error:
            number = int(error.rsplit("#", 1)[1].split()[0])
            counts["refuse"] += 1
            bad = [HELPER_BY_ID[number].name] if ask(number) else []
            bad = [name for name in bad if name not in BY_CONFIGURATION]
        elif "not allowed in probe" in error:
            counts["probe"] += 1
            bad = [] if any(ask(n, not_in_probe) for n in calls) else ["none is refused as a probe"]
        else:
            continue
        if bad:
            wrong.append((verdict["program"], verdict["mode"], verdict["verdict"], target, bad))
    assert wrong == []
    assert counts["accept"] > 2000 and counts["refuse"] > 40
    assert counts["probe"] == (2 if version == "6.12" else 0)
