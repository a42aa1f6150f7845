"""bombus verify: verdicts, explanations, tables, exit codes. Inputs are assembly and raw instructions of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bombus.asm import assemble
from bombus.cli import output
from bombus.cli.main import main
from bombus.isa.insn import encode
from bombus.object.read import open_object

GOOD = "r0 = 2\nexit\n"
BAD = "r2 = *(u32 *)(r1 + 0)  // data\nr0 = *(u8 *)(r2 + 12)\nexit\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    output.reset()
    Path("good.S").write_text(GOOD)
    Path("bad.S").write_text(BAD)
    Path("good.bin").write_bytes(encode(list(assemble(GOOD).insns)))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    output.reset()
    code = main(["verify", *words])
    output.reset()
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", ["good.S", "good.bin"])
def test_accepted(files: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, name, "--type", "xdp")
    assert (code, out.split(",")[0]) == (0, "good (xdp): accepted")


def test_refused_and_explained(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "bad.S", "--type", "xdp")
    assert code == 1
    assert "bad (xdp): REFUSED with EACCES" in out
    assert "  1: (71) r0 = *(u8 *)(r2 +12)\n  invalid access to packet, off=12 size=1, R2(id=0,off=12,r=0)" in out
    assert "at      bad.S:2  r0 = *(u8 *)(r2 + 12)" in out
    assert "bad.S:1  r2 = *(u32 *)(r1 + 0)" in out
    assert "1 bytes of the packet are accessed at offset 12 of R2" in out
    assert not any(line.endswith(" ") for line in out.splitlines() if line.startswith("  reason"))


def test_level_0_is_a_table(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "good.S", "bad.S", "--type", "xdp", "--log-level", "0")
    rows = [line.split() for line in out.splitlines() if ".S" in line]
    assert code == 1
    assert [row[:5] for row in rows] == [["good.S", "good", "success", "2", "0"], ["bad.S", "bad", "failure", "2", "0"]]
    assert "(71)" not in out


@pytest.mark.parametrize(("level", "shown"), [("1", "processed 2"), ("2", "0: (b7) r0 = 2"), ("4", "stack depth 0")])
def test_log_levels(files: Path, capsys: pytest.CaptureFixture[str], level: str, shown: str) -> None:
    code, out, _ = run(capsys, "good.S", "--type", "xdp", "--log-level", level)
    assert code == 0
    assert shown in out


def test_versions_write_their_own_logs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = [run(capsys, "good.S", "--type", "xdp", "--log-level", "2", "--kernel", version)[1]
            for version in ("6.1", "6.18")]  # fmt: skip
    assert "R0_w=2" in logs[0]
    assert "R0_w" not in logs[1]


def test_json_and_comparison(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "bad.S", "good.S", "--type", "xdp", "--json")
    rows = json.loads(out)
    assert code == 1
    assert [row["verdict"] for row in rows] == ["failure", "success"]
    assert rows[0]["errno"] == 13
    assert rows[0]["explanation"]["kind"] == "packet-bounds"
    assert rows[0]["explanation"]["register"]["name"] == "R2"
    Path("old.json").write_text(out)
    Path("bad.S").write_text("r1 = 0\nr0 = 1\nexit\n")
    code, out, _ = run(capsys, "bad.S", "--type", "xdp", "--compare", "old.json")
    lines = [line.split() for line in out.splitlines() if ".S" in line]
    assert code == 0
    assert lines[0][:5] == ["bad.S", "bad", "failure", "success", "MISMATCH"]
    assert lines[0][5:9] == ["2", "3", "+1", "(+50.00%)"]
    assert lines[1][:5] == ["good.S", "good", "success", "N/A", "N/A"]


def test_stats_and_csv(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "good.S", "--type", "xdp", "--stats")
    assert "Duration (us)" in out
    assert "Peak states" in out
    _, text, _ = run(capsys, "good.S", "--type", "xdp", "--csv")
    assert text.startswith("file_name,prog_name,verdict,duration,total_insns,total_states,peak_states,")
    Path("old.csv").write_text(text)
    code, out, _ = run(capsys, "good.S", "--type", "xdp", "--compare", "old.csv")
    assert code == 0
    assert "MATCH" in out


def test_what_cannot_be_judged(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bombus.isa.insn import Insn

    Path("kfunc.raw").write_bytes(encode([Insn(0x85, 0, 2, 0, 5), Insn(0xB7), Insn(0x95)]))
    code, out, _ = run(capsys, "kfunc.raw", "--type", "xdp", "--kernel", "6.12", "--btf", "none")
    assert code == 3
    assert "verification of calls of kernel functions is not supported: it needs the BTF of Linux 6.12" in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["good.S"], "give --type"),
        (["good.S", "--type", "nothing"], "no program type"),
        (["good.S", "--type", "xdp", "--kernel", "5.15"], "begin with Linux 6.1"),
        (["odd.bin", "--type", "xdp"], "not instructions of 8 bytes"),
        (["text.txt", "--type", "xdp"], "no ELF object"),
        (["good.S", "--type", "xdp", "--compare", "text.txt"], "no figures of an earlier run"),
    ],
)
def test_wrong_usage(files: Path, capsys: pytest.CaptureFixture[str], words: list[str], part: str) -> None:
    Path("odd.bin").write_bytes(b"\0" * 9)
    Path("text.txt").write_text("hello\n")
    code, _, err = run(capsys, *words)
    assert code == 2
    assert part in err


OBJECT = """        .map counts, array, 4, 8, 16
        .section xdp
        .globl first
first:  r1 = counts ll
        *(u32 *)(r10 - 4) = 1
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        r0 = 2
        exit
        .section socket
        .globl second
second: r0 = *(u64 *)(r1 + 0)
        exit
        .section license
        .asciz "GPL"
"""


def test_assembly_with_sections_is_an_object(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    """Its maps are maps, and each section says its type."""
    Path("object.S").write_text(OBJECT)
    code, out, _ = run(capsys, "object.S", "--log-level", "0", "--json")
    assert code == 1
    rows = json.loads(out)
    found = [(row["prog_name"], row["prog_type"], row["verdict"]) for row in rows]
    assert found == [("first", "xdp", "success"), ("second", "socket_filter", "failure")]
    code, out, _ = run(capsys, "object.S", "--prog", "first")
    assert code == 0 and out.startswith("first (xdp, xdp): accepted")


def test_what_the_loader_asks_a_kernel_is_not_judged(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    """The loader tries small programs of its own before it loads the first one of an object."""
    path = Path(__file__).parents[2] / "examples" / "traffic.bpf.o"
    code, out, _ = run(capsys, str(path), "--log-level", "0", "--json")
    assert code == 0
    processed = {row["prog_name"]: row["total_insns"] for row in json.loads(out)}
    assert len(processed) == len(open_object(path).programs)
    assert min(processed.values()) > 100, processed


def test_errors_name_the_file(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    for name, text, expected in (
        ("plain.S", "r0 = 0\nrubbish\nexit\n", "plain.S:2:1: expected an instruction, found 'rubbish'"),
        ("parts.S", ".section xdp\nrubbish\n", "parts.S:2:1: expected an instruction, found 'rubbish'"),
        ("bytes.S", "r0 = \udcff\n", "bytes.S:1:"),
    ):
        Path(name).write_bytes(text.encode("utf-8", "surrogateescape"))
        code, _, err = run(capsys, name, "--type", "xdp")
        assert code == 1 and err.startswith(f"bombus: {expected}"), err
    code, _, err = run(capsys, "good.S")
    assert (code, err) == (2, "bombus: good.S: give --type, such as xdp; assembly without sections has none\n")
    code, _, err = run(capsys, "good.S", "--type", "xdp", "--prog", "other")
    assert (code, err) == (2, "bombus: no program 'other' in good.S; there is good\n")
    Path("broken.o").write_bytes(b"\x7fELF" + bytes(60))
    code, out, _ = run(capsys, "broken.o", "good.S", "--type", "xdp")
    assert code == 1
    assert "broken.o: BROKEN: " in out and "good (xdp): accepted" in out


@pytest.mark.parametrize(
    ("option", "name", "data", "part"),
    [
        ("--btf", "types", b"text", "types: bad BTF"),
        ("--btf", "types.o", b"\x7fELF", "types.o: bad ELF"),
        ("--module", "nf_nat.ko", b"\x7fELF", "nf_nat.ko: bad ELF"),
        ("--module", "nf_nat.ko.xz", b"\xfd7zXZ", "nf_nat.ko.xz: bad ELF file: compressed by xz, and damaged"),
    ],
)
def test_bad_types_name_their_file(
    capsys: pytest.CaptureFixture[str], files: Path, option: str, name: str, data: bytes, part: str
) -> None:
    Path(name).write_bytes(data)
    code, _, err = run(capsys, "good.S", option, name)
    assert code == 1 and part in err


def test_maps_that_user_space_sizes(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    sizes = "array, 4, 8, 0\n        .map stacks, stack_trace, 4, 0, 0"
    text = OBJECT.replace("array, 4, 8, 16", sizes)
    Path("sized.S").write_text(text)
    code, out, err = run(capsys, "sized.S", "--prog", "first")
    assert (code, err) == (0, "") and out.startswith("first (xdp, xdp): accepted")


def test_kernels_newer_than_those_known_are_named(bombus: Callable[..., Any]) -> None:
    path = Path(__file__).parents[2] / "examples" / "traffic.bpf.o"
    newer = bombus("verify", path, "--kernel", "9.9", "--json")
    assert newer.code == 0 and newer.json() and "Linux 9.9 is newer" in newer.err
    assert "newer" not in bombus("verify", path, "--kernel", "6.18.44").err


DATA = Path(__file__).resolve().parents[1] / "linux" / "data"
ATTACHERS, TARGETS = str(DATA / "attachers.bpf.o"), str(DATA / "targets.bpf.o")


@pytest.mark.parametrize(("name", "target", "verdict", "text"), [
    ("new_multiply", f"{TARGETS}:entry", "success", ""),
    ("new_multiply", TARGETS, "success", ""),
    ("few", f"{TARGETS}:entry", "failure", "few() has 1 args while weigh() has 2 args"),
    ("before_multiply", f"{TARGETS}:entry", "success", ""),
    ("new_weigh", f"new_weigh={TARGETS}:entry:multiply", "failure",
     "arg0 in new_weigh() is PTR while multiply() has INT"),
    ("new_paint", f"{TARGETS}:entry", "error", "'new_paint' replaces a function of another program"),
    ("new_paint", f"few={TARGETS}:entry", "error", "'new_paint' replaces a function of another program"),
])  # fmt: skip
def test_targets(capsys: pytest.CaptureFixture[str], name: str, target: str, verdict: str, text: str) -> None:
    code, out, _ = run(
        capsys, ATTACHERS, "--prog", name, "--target", target, "--kernel", "6.12", "--btf", "none", "--json"
    )
    (found,) = json.loads(out)
    assert found["verdict"] == verdict and text in found["reason"], found
    assert code == (0 if verdict == "success" else 1)


@pytest.mark.parametrize(("target", "text"), [
    ("nowhere.o", "is not of the form"),
    (f"{TARGETS}:nothing", "no program 'nothing' in"),
    (f"few={TARGETS}:entry:paint", "few attaches to 'paint', which is no function of a program of"),
])
def test_targets_that_are_not_there(capsys: pytest.CaptureFixture[str], target: str, text: str) -> None:
    code, _, err = run(capsys, ATTACHERS, "--prog", "few", "--target", target)
    assert code == 2 and text in err
