"""Every row has one sentence of our own, and docs/features.md is what the rows say."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from bombus.spec.features import FEATURES, Feature

ROOT = Path(__file__).resolve().parents[2]
SHINGLE = 8


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9_]+", text.lower())


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}


def test_docs_are_one_sentence() -> None:
    wrong = [
        (row.kind, row.name, row.doc)
        for row in FEATURES
        if not row.doc.endswith(".") or re.search(r"[.!?]\s", row.doc) or "  " in row.doc or "\n" in row.doc
    ]
    assert wrong == []


def test_helpers_and_kfuncs_begin_with_a_capital_and_say_different_things() -> None:
    rows = [row for row in FEATURES if row.kind in ("helper", "prog_type", "map_type", "command", "kfunc")]
    assert [row.name for row in rows if not row.doc[0].isupper()] == []
    by_doc: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        by_doc.setdefault((row.kind, row.doc), []).append(row.name)
    # Kfuncs that were renamed are in twice.
    twice = [names for (kind, _), names in by_doc.items() if len(names) > 1 and kind != "kfunc"]
    assert twice == []


def test_no_sentence_is_the_kernels(debian: Callable[[str], list[Path]]) -> None:
    text = debian("/usr/include/linux/bpf.h")[0].read_text()
    comments = re.sub(r"\n\s*\*", " ", " ".join(re.findall(r"/\*.*?\*/", text, re.DOTALL)))
    theirs = _shingles(comments)
    assert len(theirs) > 10_000
    assert [(row.kind, row.name) for row in FEATURES if _shingles(row.doc) & theirs] == []


def _page() -> str:
    module = runpy.run_path(str(ROOT / "tools" / "gen-feature-docs"))
    return str(module["page"]())


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "features.md").read_text() == _page(), "run tools/gen-feature-docs"


@pytest.mark.parametrize("row", [row for row in FEATURES if row.id is not None], ids=lambda row: row.name)
def test_the_page_names_every_numbered_feature(row: Feature, page: str) -> None:
    assert f"`{row.name}`" in page


@pytest.fixture(scope="module")
def page() -> str:
    return _page()
