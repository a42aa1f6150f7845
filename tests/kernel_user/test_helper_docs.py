"""docs/helpers.md says what is so, and every name in its tables is a helper with a body."""

from __future__ import annotations

from pathlib import Path

from bombus.kernel.user.helpers.registry import ENGINE_HELPERS, bound, unbound
from bombus.kernel.user.helpers.status import COMPARED, NOT_COMPARABLE, page
from bombus.spec.helpers import HELPER, HELPERS

DOCS = Path(__file__).parents[2] / "docs" / "helpers.md"


def test_page_is_up_to_date() -> None:
    assert DOCS.read_text() == page(), "run tools/gen-helper-docs"


def test_names_are_bound() -> None:
    for name in (*COMPARED, *NOT_COMPARABLE, *ENGINE_HELPERS):
        assert bound(HELPER[name].id), name
    assert not COMPARED & set(NOT_COMPARABLE)


def test_unbound_rows_are_listed() -> None:
    missing = {row.name for row in unbound()}
    assert len(missing) + sum(bound(row.id) for row in HELPERS) == len(HELPERS)
    for name in missing:
        assert f"| `bpf_{name}` | {HELPER[name].since} | not yet |" in DOCS.read_text()
