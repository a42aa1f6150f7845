"""Attaching where this machine's kernel refuses: the same tests in a guest with Debian's 6.12 kernel."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from guest import boot, problem

HERE = Path(__file__).parent
LINUX = HERE.parent / "linux"
VERSION = "6.12"
SECONDS = 1200  # it needs 300 where nothing else runs
pytestmark = pytest.mark.timeout(SECONDS + 120)
TESTS = ["test_lsm_cgroups", "test_attach_kinds", "test_legacy_probes", "test_trampolines", "test_dispatcher",
         "test_program_targets::test_programs_at_programs", "sections", "counting"]  # fmt: skip
FILES = [LINUX / "sandbox.py", LINUX / "data", LINUX / "test_attach_kinds.py", LINUX / "test_legacy_probes.py",
         LINUX / "test_trampolines.py", LINUX / "test_dispatcher.py", LINUX / "test_lsm_cgroups.py",
         LINUX / "test_program_targets.py", LINUX / "test_parity.py", LINUX / "test_sections.py", HERE / "sections.py",
         HERE / "counting.py"]  # fmt: skip
if os.environ.get("BOMBUS_GUEST_PARITY"):  # twice as long
    TESTS.append("test_parity")
# What a guest's kernel has, where the test is of kernels without it; and what the guest's Python has not.
MAY_SKIP: tuple[str, ...] = (
    "test_a_kernel_without_such_probes", "test_what_the_user_kernel_does_by_itself['native']",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if why := problem(VERSION):
        pytest.skip(why)
    if importlib.util.find_spec("llvmlite") is None:
        return boot(VERSION, TESTS, FILES, seconds=SECONDS)
    more = helper_programs(tmp_path_factory.mktemp("helpers"))
    return boot(VERSION, [*TESTS, "load_helpers", "typed_arguments"], [*FILES, *more], seconds=SECONDS)


def helper_programs(folder: Path) -> list[Path]:
    """What tests/guest/load_helpers.py loads: calls of helpers for programs that need trampolines (fentry, LSM)."""
    sys.path.insert(0, str(HERE.parent / "compiler"))
    try:
        from helper_programs import TOP
        from test_helpers import program
    finally:
        sys.path.pop(0)
    from bombus.compiler.build import build_file, build_source
    from bombus.spec.helpers import HELPER

    names = ["inode_storage_get", "inode_storage_delete", "ima_inode_hash", "ima_file_hash", "bprm_opts_set",
             "get_func_arg", "get_func_ret", "get_func_arg_cnt", "xdp_output", "probe_write_user"]  # fmt: skip
    text = TOP + "\n".join(program(HELPER[name]) for name in names)
    (folder / "typed.o").write_bytes(build_file(str(HERE / "typed_arguments_bpf.py")))
    (folder / "helpers.o").write_bytes(build_source(text, "helpers.py"))
    (folder / "helpers.json").write_text(json.dumps({name: f"call_{HELPER[name].id}" for name in names}))
    return [
        HERE / "load_helpers.py", folder / "helpers.o", folder / "helpers.json", HERE / "typed_arguments.py",
        folder / "typed.o",
    ]  # fmt: skip


def test_every_kind_attaches_in_the_guest(rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [row for row in rows if "outcome" in row]
    skipped = [f"{row['test']}: {row['detail']}" for row in outcomes if row["outcome"] == "skipped"]
    failed = [f"{row['test']}: {row['detail']}" for row in outcomes if row["outcome"] == "failed"]
    with capsys.disabled():
        passed = sum(row["outcome"] == "passed" for row in outcomes)
        print(f"\nguest {VERSION}: {passed} passed, {len(skipped)} skipped", *skipped, sep="\n  ")
    assert not failed, "\n".join(failed)
    assert not [line for line in skipped if not line.startswith(MAY_SKIP)]
    assert len(outcomes) >= 25
