"""`bombus feature list`: tables, JSON, filters and what is wrong with them."""

from __future__ import annotations

import json

import pytest

from bombus.cli import output
from bombus.cli.main import main
from bombus.spec.features import FEATURES
from bombus.spec.version import since


@pytest.fixture
def bombus(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """`bombus(*words)`: exit code, stdout and stderr of `bombus feature list`."""

    def call(*words: str) -> tuple[int, str, str]:
        output.reset()
        code = main(["feature", "list", *words])
        output.reset()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_table_has_a_line_for_each(bombus) -> None:  # type: ignore[no-untyped-def]
    code, out, err = bombus("--kind", "link_type")
    rows = [row for row in FEATURES if row.kind == "link_type"]
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"{len(rows)} features"
    assert all(any(row.name in line and str(row.since) in line for line in out.splitlines()) for row in rows)


@pytest.mark.parametrize("option", ["-j", "-p"])
def test_json_is_the_rows(bombus, option: str) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = bombus(option)
    assert code == 0
    assert (out.count("\n") > 1) == (option == "-p")
    found = json.loads(out)
    assert [(row["kind"], row["name"], row["id"]) for row in found] == [(r.kind, r.name, r.id) for r in FEATURES]
    assert all(row["doc"] and row["since"] for row in found)


@pytest.mark.parametrize("kind", sorted({row.kind for row in FEATURES}))
def test_each_kind_alone(bombus, kind: str) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = bombus("--kind", kind, "-j")
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == [row.name for row in FEATURES if row.kind == kind]


def test_kinds_add_up_and_flag_means_all_flags(bombus) -> None:  # type: ignore[no-untyped-def]
    both = json.loads(bombus("--kind", "command", "--kind", "link_type", "-j")[1])
    assert {row["kind"] for row in both} == {"command", "link_type"}
    flags = json.loads(bombus("--kind", "flag", "-j")[1])
    assert {row["kind"] for row in flags} == {row.kind for row in FEATURES if row.kind.endswith("_flag")}


def test_words_and_versions(bombus) -> None:  # type: ignore[no-untyped-def]
    rows = json.loads(bombus("ringbuf", "--kernel", "5.15", "-j")[1])
    assert {row["name"] for row in rows} == {
        row.name for row in FEATURES if "ringbuf" in row.name.lower() and row.since <= since("5.15")
    }
    later = json.loads(bombus("--since", "6.12", "-j")[1])
    assert later and all(since(row["since"]) > since("6.12") for row in later)


def test_what_is_gone_is_in_older_kernels_only(bombus) -> None:  # type: ignore[no-untyped-def]
    old = json.loads(bombus("cgroup_rstat", "--kernel", "6.12", "-j")[1])
    assert [(row["name"], row["since"], row["until"]) for row in old] == [
        ("cgroup_rstat_flush", "6.1", "6.16"), ("cgroup_rstat_updated", "6.1", "6.16"),
    ]  # fmt: skip
    assert json.loads(bombus("cgroup_rstat", "--kernel", "6.18", "-j")[1]) == []
    assert "6.1, gone in 6.16" in bombus("cgroup_rstat_flush")[1]


def test_nothing_found(bombus) -> None:  # type: ignore[no-untyped-def]
    assert bombus("no such thing") == (0, "0 features\n", "")
    assert json.loads(bombus("no such thing", "-j")[1]) == []


@pytest.mark.parametrize(
    ("words", "text"),
    [(("--kind", "xx"), "no kind 'xx'"), (("--kernel", "abc"), "'abc' is not a kernel version"),
     (("--since", ""), "'' is not a kernel version")],
)  # fmt: skip
def test_wrong_usage(bombus, words: tuple[str, ...], text: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = bombus(*words)
    assert code == 2 and out == "" and text in err
    code, out, err = bombus(*words, "-j")
    assert code == 2 and err == "" and text in json.loads(out)["error"]
