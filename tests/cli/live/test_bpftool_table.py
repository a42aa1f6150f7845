"""docs/bpftool.md lists every verb of bpftool and of ours, and says the truth about which there are."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import click
import pytest
from beside import BPFTOOL

from bombus.cli.main import VERBS
from bombus.cli.nouns import Noun

DOCS = Path(__file__).parents[3] / "docs"
NOUNS = ("prog", "map", "link", "cgroup", "perf", "net", "btf", "struct_ops", "iter", "feature", "gen")
OURS_ALONE = {"prog dump asm", "feature list"}


def table() -> dict[str, str]:
    rows = re.findall(r"^\| `([^`]+)` \| (\w[\w ]*?) \|", (DOCS / "bpftool.md").read_text(), re.M)
    assert len(rows) == len(dict(rows)) and len(rows) > 40
    return dict(rows)


def ours() -> set[str]:
    found = set()
    for noun in NOUNS:
        module, attribute, _help = VERBS[noun]
        group = getattr(importlib.import_module(module), attribute)
        for name, command in group.commands.items():
            if isinstance(command, Noun):
                found |= {f"{noun} {name} {inner}" for inner in command.commands}
            else:
                found.add(f"{noun} {name}")
        for alias, target in getattr(group, "aliases", {}).items():
            if alias not in ("list", "test_run"):
                assert target in group.commands
                found.add(f"{noun} {alias}")
    return found | {"btf dump"}


def test_our_verbs_are_in_the_table() -> None:
    rows = table()
    assert set(rows.values()) <= {"equal", "differs", "not there"}
    extra = {verb for verb in ours() if verb not in rows and not verb.startswith("gen ")}
    assert extra == OURS_ALONE
    missing = {verb for verb, state in rows.items() if state != "not there"} - ours()
    assert not missing


@pytest.mark.debian
@pytest.mark.skipif(BPFTOOL is None, reason="bpftool is not installed")
def test_bpftools_verbs_are_in_the_table() -> None:
    rows = table()
    for noun in NOUNS:
        text = subprocess.run(["bpftool", noun, "help"], capture_output=True, text=True, check=False).stderr
        found = set()
        for words in re.findall(rf"bpftool {noun} (\{{[^}}]*\}}|\S+ (?:xlated|jited)|\S+)", text):
            found |= {word.strip() for word in words.strip("{}").split("|")}
        assert found - {"help"}, text
        for verb in found - {"help", "list"}:
            assert f"{noun} {verb}" in rows, (noun, verb)


def test_each_noun_has_a_page() -> None:
    for noun in NOUNS:
        assert re.match(rf"# `?bombus {noun}\b", (DOCS / f"{noun}.md").read_text()), noun
    readme = (DOCS.parent / "README.md").read_text()
    assert all(f"docs/{noun}.md" in readme for noun in (*NOUNS, "bpftool", "batch"))


def test_usage_names_what_the_pages_name() -> None:
    """The usage line of each verb of ours is one line that begins as click shows it."""
    for noun in NOUNS:
        module, attribute, _help = VERBS[noun]
        group = getattr(importlib.import_module(module), attribute)
        assert isinstance(group, click.Group) and group.help
        assert all(command.help or command.name == "help" for command in group.commands.values())
