"""What real Linux 6.1 and 6.12 answered: which helpers programs may call, and which parts of contexts they may use.

Recorded from Debian's 6.1.192 and 6.12.117 with 264,000 and 328,000 small programs: all program types with their attach
types, functions and security hooks as targets, with all capabilities, without CAP_PERFMON, and without any. These
tests need no kernel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from spec_loads import Place
from test_spec_access import _questions

from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.contexts import access
from bombus.spec.helpers import HELPERS, allowed, not_in_probe
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import since

DATA = Path(__file__).parent / "data"
VERSIONS = ("6.1", "6.12")
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


HELPER_TABLES: dict[str, Any] = {v: json.loads((DATA / f"helpers-{v}.json").read_text()) for v in VERSIONS}
ACCESS_TABLES: dict[str, Any] = {v: json.loads((DATA / f"access-{v}.json").read_text()) for v in VERSIONS}


def _places(tables: dict[str, Any], width: int) -> list[Any]:
    return [
        pytest.param(version, row, id="-".join([version, *(str(x) for x in row[:width] if x != "")]))
        for version, table in tables.items()
        for row in table["places"]
    ]


@pytest.mark.parametrize(("version", "row"), _places(HELPER_TABLES, 5))
def test_helpers(version: str, row: list[Any]) -> None:
    table = HELPER_TABLES[version]
    name, attach_name, target, sleepable, capabilities, index, probes = row
    prog_type = PROG_TYPE[f"BPF_PROG_TYPE_{name}"]
    attach = ATTACH_TYPE[f"BPF_{attach_name}"].id if attach_name else 0
    bpf, perfmon = capabilities != "none", capabilities == "all"
    assert sleepable in (0, 1)
    in_set, in_probes = _numbers(table["sets"][index]), _numbers(probes)
    wrong = []
    for helper in HELPERS:
        said = (helper.id in in_set, helper.id in in_probes)
        ask = (helper.name, prog_type.id, attach, since(version))
        ours = (
            allowed(*ask, bpf=bpf, perfmon=perfmon, target=target),
            not_in_probe(*ask, bpf=bpf, perfmon=perfmon, target=target),
        )
        if said != ours and not (helper.name in NOT_SAID and said == (False, False)):
            wrong.append((helper.name, said, ours))
    assert wrong == []


@pytest.mark.parametrize(("version", "row"), _places(ACCESS_TABLES, 3))
def test_accesses(version: str, row: list[Any]) -> None:
    table = ACCESS_TABLES[version]
    name, attach_name, privileged, index = row
    prog_type = PROG_TYPE[f"BPF_PROG_TYPE_{name}"]
    attach = ATTACH_TYPE[f"BPF_{attach_name}"].id if attach_name else 0
    kernel = {key: _offsets(text) for key, text in table["kinds"][index].items()}
    place = Place(prog_type.name, f"BPF_{attach_name}" if attach_name else "", attach)
    wrong = []
    asked = 0
    for offset, size, mode in _questions(place):
        if mode == "signed" and version == "6.1":
            continue  # no such instruction yet
        found = access(
            prog_type.id, offset, size, mode == "write", attach, signed=mode == "signed", version=since(version),
            privileged=bool(privileged),
        )  # fmt: skip
        asked += 1
        if (found is not None) != (offset in kernel.get(f"{mode} {size}", ())):
            wrong.append((mode, size, offset, found))
    assert wrong == [] and asked > 150


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tables_cover_what_they_should(version: str) -> None:
    helpers, accesses = HELPER_TABLES[version]["places"], ACCESS_TABLES[version]["places"]
    there = {name.removeprefix("BPF_PROG_TYPE_") for name, row in PROG_TYPE.items() if row.since <= since(version)}
    # EXT has the helpers of its target, LIRC_MODE2 was not built in.
    assert there - {row[0] for row in helpers} == {"EXT", "LIRC_MODE2"}
    assert {row[4] for row in helpers} == {"all", "no perfmon", "none"}
    assert {row[2] for row in accesses} == {0, 1}
    assert any(row[3] for row in helpers) and len(helpers) > 150 and len(accesses) > 60
