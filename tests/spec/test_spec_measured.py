"""What a real Linux 6.12 answered: which helpers programs may call, and which parts of their contexts they may use.

Recorded from Debian's 6.12.117 with 328,000 small programs: all program types with their attach types, functions and
security hooks as targets, with all capabilities, without CAP_PERFMON, and without any. These tests need no kernel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from spec_loads import SLEEPABLE, Place
from test_spec_access import _questions

from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.contexts import access
from bombus.spec.helpers import HELPERS, allowed, not_in_probe
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import since

DATA = Path(__file__).parent / "data"
V = since("6.12")
# override_return: this kernel is built without it. probe_write_user: needs CAP_SYS_ADMIN too, which these lacked.
NOT_SAID = {"override_return", "probe_write_user"}


def _numbers(text: str) -> set[int]:
    """ "1-3 7" -> {1, 2, 3, 7}."""
    found: set[int] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _offsets(text: str) -> set[int]:
    """ "0:8:4 20" -> {0, 4, 8, 20}."""
    found: set[int] = set()
    for part in text.split():
        if ":" in part:
            first, last, step = map(int, part.split(":"))
            found.update(range(first, last + 1, step))
        else:
            found.add(int(part))
    return found


HELPER_TABLE: dict[str, Any] = json.loads((DATA / "helpers-6.12.json").read_text())
ACCESS_TABLE: dict[str, Any] = json.loads((DATA / "access-6.12.json").read_text())


@pytest.mark.parametrize("row", HELPER_TABLE["places"], ids=lambda row: "-".join(str(x) for x in row[:5] if x))
def test_helpers(row: list[Any]) -> None:
    name, attach_name, target, sleepable, capabilities, index, probes = row
    prog_type = PROG_TYPE[f"BPF_PROG_TYPE_{name}"]
    attach = ATTACH_TYPE[f"BPF_{attach_name}"].id if attach_name else 0
    bpf, perfmon = capabilities != "none", capabilities == "all"
    assert sleepable in (0, 1)
    wrong = []
    for helper in HELPERS:
        said = (helper.id in _numbers(HELPER_TABLE["sets"][index]), helper.id in _numbers(probes))
        ask = (helper.name, prog_type.id, attach, V)
        ours = (
            allowed(*ask, bpf=bpf, perfmon=perfmon, target=target),
            not_in_probe(*ask, bpf=bpf, perfmon=perfmon, target=target),
        )
        if said != ours and not (helper.name in NOT_SAID and said == (False, False)):
            wrong.append((helper.name, said, ours))
    assert wrong == []


@pytest.mark.parametrize("row", ACCESS_TABLE["places"], ids=lambda row: "-".join(str(x) for x in row[:3] if x != ""))
def test_accesses(row: list[Any]) -> None:
    name, attach_name, privileged, index = row
    prog_type = PROG_TYPE[f"BPF_PROG_TYPE_{name}"]
    attach = ATTACH_TYPE[f"BPF_{attach_name}"].id if attach_name else 0
    kernel = {key: _offsets(text) for key, text in ACCESS_TABLE["kinds"][index].items()}
    place = Place(prog_type.name, f"BPF_{attach_name}" if attach_name else "", attach)
    wrong = []
    asked = 0
    for offset, size, mode in _questions(place):
        found = access(
            prog_type.id, offset, size, mode == "write", attach, signed=mode == "signed", version=V,
            privileged=bool(privileged),
        )  # fmt: skip
        asked += 1
        if (found is not None) != (offset in kernel.get(f"{mode} {size}", ())):
            wrong.append((mode, size, offset, found))
    assert wrong == [] and asked > 200


def test_the_tables_cover_what_they_should() -> None:
    types = {row[0] for row in HELPER_TABLE["places"]}
    missing = {name.removeprefix("BPF_PROG_TYPE_") for name in PROG_TYPE} - types
    assert missing == {"EXT", "LIRC_MODE2"}  # EXT has the helpers of its target, LIRC_MODE2 was not built in
    assert {row[4] for row in HELPER_TABLE["places"]} == {"all", "no perfmon", "none"}
    assert {row[2] for row in ACCESS_TABLE["places"]} == {0, 1}
    assert SLEEPABLE == 1 << 4 and any(row[3] for row in HELPER_TABLE["places"])
