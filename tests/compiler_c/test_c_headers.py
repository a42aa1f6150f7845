"""Our own C headers: what is made from spec is up to date, and says what libbpf's say."""

from __future__ import annotations

import re
from pathlib import Path

from bombus.compiler.headers import INCLUDE, pages
from bombus.spec.helpers import HELPERS
from bombus.spec.ptregs import PT_REGS, TARGET_OF_MACHINE, TARGETS

_ROW = re.compile(r"^(?:__bpf_fastcall )?static (.*?)\(\* ?const (bpf_\w+)\)\((.*?)\) = \(void \*\) ?(\d+);", re.M)


def _prototypes(text: str) -> dict[str, tuple[str, list[str], int]]:
    """Result, types of parameters without their names, number, by name."""
    found = {}
    for result, name, params, number in _ROW.findall(text):
        kinds = []
        for one in params.split(","):
            words = one.strip().replace("*", " * ").split()
            named = len(words) > 1 and words[-1] != "*" and words[-2] not in ("const", "struct", "unsigned")
            kinds.append(" ".join(words[:-1] if named else words))
        result = result.replace("__bpf_fastcall", "").strip()
        found[name] = (" ".join(result.replace("*", " *").split()), kinds, int(number))
    return found


def test_generated_headers_are_up_to_date() -> None:
    for name, text in pages().items():
        assert (INCLUDE / name).read_text() == text, f"{name}: run tools/gen-headers"


def test_every_helper_is_there_with_its_doc() -> None:
    text = (INCLUDE / "bpf" / "bpf_helper_defs.h").read_text()
    rows = _prototypes(text)
    assert set(rows) == {f"bpf_{row.name}" for row in HELPERS}
    assert all(rows[f"bpf_{row.name}"][2] == row.id for row in HELPERS)
    flat = re.sub(r"\n \* ", " ", text)
    assert all(f"bpf_{row.name}: {row.doc}" in flat for row in HELPERS)


def test_prototypes_are_those_of_libbpf(debian) -> None:  # type: ignore[no-untyped-def]
    """Results and parameters decide about extensions and conversions in the code."""
    path: Path = debian("/usr/include/bpf/bpf_helper_defs.h")[0]
    theirs = _prototypes(path.read_text().replace("(*bpf_", "(*const bpf_"))
    ours = _prototypes((INCLUDE / "bpf" / "bpf_helper_defs.h").read_text())
    assert len(theirs) > 200
    assert {name: ours[name] for name in theirs} == theirs


def test_rows_of_registers() -> None:
    assert set(TARGET_OF_MACHINE.values()) == set(TARGETS)
    for row in PT_REGS:
        assert len(row.args) >= 3 and len(row.syscall_args) >= 5
        assert (row.syscall_args[0] == "") == (row.syscall_original is not None)
    for target in TARGETS:  # the last way of a target has no condition
        assert not [row for row in PT_REGS if row.target == target][-1].condition
