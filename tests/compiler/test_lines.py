"""Errors, faults and stack traces name the line of the Python program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bombus.cli.main import main
from bombus.compiler.build import build_source
from bombus.errors import LoadError, VmFault
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Program
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import read_object

HEAD = """\
from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, helpers, map, raw_tracepoint, s64, u32, u64, xdp

LICENSE = bpf.license("GPL")


class Row(Struct):
    cells: Array[u64] = array(8)


rows = map.array(u32, Row, max_entries=1)
jumps = map.prog_array(max_entries=1)


"""
UNBOUNDED = HEAD + """\
@xdp
def bad(ctx: xdp.Context) -> xdp.Action:
    row = rows.lookup(0)
    if row is None:
        return xdp.ABORTED
    row.cells[ctx.length] = u64(1)  # here
    return xdp.PASS


@xdp
def first(ctx: xdp.Context) -> xdp.Action:
    jumps.tail_call(ctx, 0)
    return xdp.DROP
"""
STACK = HEAD + """\
found = bpf.var(Row)
length = bpf.var(s64(0))


@bpf.noinline
def deep(ctx: Row) -> s64:
    return helpers.get_stack(ctx, found, 64, 0)  # here


@raw_tracepoint("sys_enter")
def trace(ctx: Row) -> int:
    length.value = deep(ctx)  # and here
    return 0
"""


def line_of(text: str, mark: str = "# here") -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.endswith(mark))


def loaded(text: str, kernel: Kernel, tmp_path: Path, name: str = "lines.py") -> Loaded:
    path = tmp_path / name
    path.write_text(text)
    return load(read_object(build_source(text, str(path)), name="lines"), kernel)


def test_verifier(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(LoadError) as caught:
        loaded(UNBOUNDED, kernel, tmp_path)
    log = caught.value.log.splitlines()
    comments = [line for line in log if line.startswith(";")]
    assert "row.cells[ctx.length] = u64(1)  # here" in comments[-1]
    assert f"lines.py:{line_of(UNBOUNDED)}" in comments[-1]


def test_verify_names_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "unbounded.py"
    path.write_text(UNBOUNDED)
    assert main(["verify", str(path), "--prog", "bad"]) == 1
    assert f"unbounded.py:{line_of(UNBOUNDED)}:" in capsys.readouterr().out.partition("  at ")[2].splitlines()[0]


@pytest.mark.parametrize("engine", ["reference", "fast", "native"])
def test_faults(engine: str, tmp_path: Path) -> None:
    kernel = UserKernel(verify="off", engine=engine)
    with loaded(UNBOUNDED, kernel, tmp_path) as programs:
        with pytest.raises(VmFault) as caught:
            programs.programs["bad"].test_run(bytes(60))
        assert f"lines.py:{line_of(UNBOUNDED)}:" in caught.value.place
        assert "row.cells[ctx.length] = u64(1)" in str(caught.value)
        programs.maps["jumps"][0] = programs.programs["bad"]
        with pytest.raises(VmFault) as caught:
            programs.programs["first"].test_run(bytes(60))
        # the native engine does not say which program it was, and then no line is better than a wrong one
        assert engine == "native" or f"lines.py:{line_of(UNBOUNDED)}:" in caught.value.place
        assert f"lines.py:{line_of(UNBOUNDED)}:" in caught.value.place or not caught.value.place


def test_run_names_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "unbounded.py"
    path.write_text(UNBOUNDED)
    (tmp_path / "packet").write_bytes(bytes(60))
    command = ["run", str(path), "--prog", "bad", "--verify", "off", "--engine", "reference", "--data-in",
               str(tmp_path / "packet")]  # fmt: skip
    assert main(command) == 1
    assert f"unbounded.py:{line_of(UNBOUNDED)}:" in capsys.readouterr().err


def test_stack_trace_of_linux(linux_kernel: Kernel, tmp_path: Path) -> None:
    """The frames of a stack that a program took of itself are lines of the source."""
    with loaded(STACK, linux_kernel, tmp_path) as programs:
        program = programs.programs["trace"]
        program.test_run(ctx=bytes(16))
        words = memoryview(programs.maps[".bss"].raw.lookup(bytes(4))).cast("Q").tolist()
        sources = [source for word in words if (source := program.source_at(word - 1)) is not None]
        assert [source.line for source in sources] == [line_of(STACK), line_of(STACK, "# and here")]
        assert sources[0].file.endswith("lines.py")
        assert "helpers.get_stack" in sources[0].text
        assert program.source_at(1) is None


def test_dump_of_bpftool(linux_kernel: Kernel, tmp_path: Path) -> None:
    with loaded(STACK, linux_kernel, tmp_path) as programs:
        program: Program = programs.programs["trace"]
        for kind in ("xlated", "jited"):
            try:
                done = subprocess.run(
                    ["bpftool", "prog", "dump", kind, "id", str(program.id), "linum"], capture_output=True, text=True,
                    check=True,
                )
            except (OSError, subprocess.CalledProcessError) as problem:
                if kind == "xlated":
                    pytest.skip(f"bpftool: {problem}")
                continue  # built without a disassembler
            assert f"lines.py line_num:{line_of(STACK)}" in done.stdout


def test_dump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "good.py"
    path.write_text(UNBOUNDED.replace("ctx.length", "ctx.length & 7"))
    for kind in ("xlated", "asm"):
        assert main(["prog", "dump", kind, str(path), "linum"]) == 0
        out = capsys.readouterr().out
        assert f"line_num:{line_of(UNBOUNDED)}" in out or f"good.py:{line_of(UNBOUNDED)}" in out
