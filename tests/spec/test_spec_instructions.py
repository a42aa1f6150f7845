"""Every form of the instruction table has an age, and every age belongs to a form."""

from __future__ import annotations

from bombus.isa.forms import FORMS
from bombus.spec.instructions import INSTRUCTION, INSTRUCTIONS, of


def test_rows_and_forms_agree() -> None:
    used = {(row.name, row.bits) for row in (of(form.name, form.bits) for form in FORMS)}
    assert used == set(INSTRUCTION)
    assert len(INSTRUCTION) == len(INSTRUCTIONS)


def test_width_decides_where_it_must() -> None:
    assert [str(of("jlt", 64).since), str(of("jlt", 32).since), str(of("add", 32).since)] == ["4.14", "5.1", "3.18"]
