"""Names of program sections: the recorded answers of libbpf 1.5 to more than a thousand names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.sections import SECTIONS, Section, resolve

TABLE = Path(__file__).parent / "data" / "sections-libbpf-1.5.tsv"
# Linux 6.12 tools/lib/bpf/libbpf.c: enum sec_def_flags
EXP_ATTACH_OPT, ATTACHABLE, ATTACH_BTF, SLEEPABLE, XDP_FRAGS, USDT = 1, 2, 4, 8, 16, 32
# Younger than libbpf 1.5.
YOUNGER = {"uprobe.session+", "uprobe.session.s+"}


def _answers() -> list[list[str]]:
    lines = TABLE.read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def _flags(section: Section) -> int:
    return (
        {"": 0, "required": ATTACHABLE, "optional": ATTACHABLE | EXP_ATTACH_OPT}[section.attach]
        | (ATTACH_BTF if section.attach_btf else 0) | (SLEEPABLE if section.sleepable else 0)
        | (XDP_FRAGS if section.frags else 0) | (USDT if section.usdt else 0)
    )  # fmt: skip


def _ours(name: str) -> list[str]:
    match = resolve(name)
    if match is None:
        return [name, "-"]
    section = match.section
    attach = ATTACH_TYPE[section.attach_type].id if section.attach_type else 0
    return [
        name, str(PROG_TYPE[section.prog_type].id), str(attach), str(_flags(section)),
        str(attach if section.attach else -1),
    ]  # fmt: skip


def test_names_mean_what_they_mean_to_libbpf() -> None:
    answers = _answers()
    assert len(answers) > 1000 and sum(row[1] != "-" for row in answers) > 200
    assert [(row, _ours(row[0])) for row in answers if row != _ours(row[0])] == []


def test_every_kind_of_section_is_in_the_table() -> None:
    asked = {row[0] for row in _answers() if row[1] != "-"}
    assert {section.name for section in SECTIONS if section.base not in asked} == YOUNGER


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("kprobe/do_unlinkat", "do_unlinkat"),
        ("tp/syscalls/sys_enter", "syscalls/sys_enter"),
        ("uprobe.session/bin:f", "bin:f"),
        ("uprobe.session.s", ""),
        ("kprobe/", ""),
        ("xdp", ""),
    ],
)
def test_rest_of_the_name(name: str, rest: str) -> None:
    match = resolve(name)
    assert match is not None and match.rest == rest
