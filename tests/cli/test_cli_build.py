"""`bombus build`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bombus.object.read import open_object

PROGRAM = """\
from __future__ import annotations

from bombus import bpf
from bombus.bpf import u32, xdp


@xdp
def prog(ctx: xdp.Context) -> xdp.Action:
    if ctx.length > u32(100):
        return xdp.DROP
    return xdp.PASS
"""
WRONG = PROGRAM.replace("u32(100)", "1.5").replace("xdp.PASS", "nothing")


def test_object_lies_beside_its_source(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "prog.py"
    source.write_text(PROGRAM)
    done = bombus("build", source)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert [spec.name for spec in open_object(tmp_path / "prog.o").programs] == ["prog"]


def test_output_and_json(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source, goal = tmp_path / "prog.py", tmp_path / "other.o"
    source.write_text(PROGRAM)
    done = bombus("build", "-j", source, "-o", goal, "--target", "bpfeb", "--mcpu", "v4", "-O", "1")
    assert done.json() == {"object": str(goal), "size": goal.stat().st_size}
    assert open_object(goal).byteorder == "big"


def test_llvm_text(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "prog.py"
    source.write_text(PROGRAM)
    assert bombus("build", source, "--emit", "llvm").code == 0
    assert "define dso_local i32 @prog(ptr %p0)" in (tmp_path / "prog.ll").read_text()


def test_errors_are_all_shown(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "prog.py"
    source.write_text(WRONG)
    done = bombus("build", source)
    assert (done.code, done.out) == (1, "")
    lines = done.err.splitlines()
    assert lines[0] == f"{source}:9:21: error: BPF has no floating point"
    assert lines[2] == "                        ^^^"
    assert f"{source}:11:12: error: there is no name 'nothing'" in lines
    assert lines[-1] == "2 errors"
    assert not (tmp_path / "prog.o").exists()


def test_errors_as_json(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "prog.py"
    source.write_text(WRONG)
    done = bombus("build", "-j", source)
    assert done.code == 1
    first, second = done.json()["errors"]
    assert (first["line"], first["column"], first["end_column"]) == (9, 21, 24)
    assert first["help"] == "calculate with integers"
    assert second["message"] == "there is no name 'nothing'"


def test_other_sources_are_refused(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "prog.xyz"
    source.write_text("int x;")
    done = bombus("build", source)
    assert done.code == 1
    assert "building .xyz files is not supported" in done.err


def test_source_is_never_overwritten(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "prog.py"
    source.write_text(PROGRAM)
    done = bombus("build", source, "-o", source)
    assert done.code == 2
    assert source.read_text() == PROGRAM


def test_too_much_stack_names_the_line(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "prog.py"
    source.write_text(
        PROGRAM.replace("import u32, xdp", "import Array, Struct, array, map, u32, u64, xdp").replace(
            "@xdp\n", "class Big(Struct):\n    room: Array[u64] = array(40)\n\n\n"
            "bigs = map.hash(Big, u32, max_entries=1)\n\n\n@xdp\n",
        ).replace("    return xdp.PASS", "    a, b = Big(), Big()\n    bigs.update(a, 1)\n    bigs.update(b, 1)\n"
                  "    return xdp.PASS")
    )  # fmt: skip
    done = bombus("build", source)
    assert done.code == 1
    assert "need more than the 512 bytes of the stack" in done.err
    assert "prog.py:18:12" in done.err


def test_commands_take_python_programs(bombus: Callable[..., Any], capture: Path) -> None:
    """They are built on the way."""
    program = Path(__file__).parents[2] / "examples" / "bpf" / "xdp_count.py"
    found = bombus("run", program, "--pcap", capture, "--json").json()
    assert found["capture"]["packets"] == 99 and found["verdicts"][0]["verdict"] == "XDP_PASS"
    assert bombus("inspect", program).code == 0


def test_native_code(bombus: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "prog.py"
    source.write_text(PROGRAM)
    row = bombus("build", source, "--native", "s390x", "-j").json()
    assert row["object"] == str(tmp_path / "prog-s390x.o") and row["arch"] == "s390x"
    data = (tmp_path / "prog-s390x.o").read_bytes()
    assert data[:6] == b"\x7fELF\2\2" and data[18:20] == (22).to_bytes(2, "big")
    assert bombus("build", source, "--native", "arm64", "--emit", "header").code == 0
    assert "(void *ctx);" in (tmp_path / "prog.h").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--native", "vax"), "'vax' is no architecture"),
        (("--native", "mips", "--target", "bpfel"), "mips is big-endian: --target bpfeb"),
        (("--emit", "exe"), "--emit exe is for --native"),
        (("--prog", "x"), "--prog is for --native"),
        (("--native", "arm", "--prog", "nobody"), "there is no program nobody"),
    ],
)
def test_native_code_that_cannot_be(
    bombus: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    source = tmp_path / "prog.py"
    source.write_text(PROGRAM)
    done = bombus("build", source, *words)
    assert done.code == 2 and message in done.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["prog.py"]
