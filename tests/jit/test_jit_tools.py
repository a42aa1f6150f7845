"""What debuggers, profilers and `prog dump jited` see of native code."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
import sys
from copy import copy
from pathlib import Path

import pytest

from bombus.elf.lines import line_table
from bombus.elf.read import read_elf
from bombus.errors import ElfError
from bombus.isa import build as b
from bombus.jit import gdb
from bombus.jit.compile import COMPILER
from bombus.jit.engine import NativeProgram
from bombus.jit.lower import lower
from bombus.jit.model import Options
from bombus.jit.target import host
from bombus.kernel.handles.progsource import source_at
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.prog import Prog
from bombus.loader.load import load
from bombus.object.read import read_object

ROOT = Path(__file__).parents[2]
TRAFFIC = ROOT / "examples" / "traffic.bpf.o"


def test_a_program_shows_its_code() -> None:
    kernel = UserKernel("6.12", engine="native")
    with load(read_object(TRAFFIC.read_bytes()), kernel) as loaded:
        program = loaded.programs["traffic"]
        assert program.jited() == b"" and program.jited_ksyms() == []  # nothing ran yet
        prog = kernel.object("test", program.fd, "prog")
        assert isinstance(prog, Prog)
        prog.compiled.prepare()
        addresses, sizes, code = program.jited_ksyms(), program.jited_lengths(), program.jited()
        assert len(addresses) == len(sizes) and sum(sizes) == len(code)
        assert code == b"".join(ctypes.string_at(at, size) for at, size in zip(addresses, sizes, strict=True))
        starts = program.jited_line_info()
        placed = [at for at in starts if at]
        assert len(placed) > len(starts) // 2
        assert all(any(at <= one < at + size for at, size in zip(addresses, sizes, strict=True)) for one in placed)
        found = [source_at(program, at) for at in placed]
        assert {"traffic.bpf.c"} == {one.file.rpartition("/")[2] for one in found if one}
        assert any(one is not None and "seen++" in one.text for one in found)


def test_dump_of_an_object() -> None:
    pytest.importorskip("capstone")
    run = [sys.executable, "-c", "from bombus.cli.main import run; run()"]
    done = subprocess.run([*run, "prog", "dump", "jited", str(TRAFFIC), "linum"], check=True, capture_output=True,
                          text=True)  # fmt: skip
    assert "seen++;" in done.stdout and "line_num:" in done.stdout and "retq" in done.stdout
    assert "\nbpf_prog_" in done.stdout and done.stdout.startswith("int traffic(struct xdp_md * ctx):")
    rows = json.loads(subprocess.run([*run, "-j", "prog", "dump", "jited", str(TRAFFIC)], check=True,
                                     capture_output=True, text=True).stdout)  # fmt: skip
    assert rows["traffic"][0]["name"].startswith("bpf_prog_")
    assert {"pc", "operation", "operands"} <= set(rows["traffic"][0]["insns"][0])


def test_line_tables() -> None:
    insns = [b.ldx("u64", 2, 1, 0), b.stx("u64", 1, 8, 2), b.ldx("u64", 3, 1, 16), b.stx("u64", 1, 24, 3), b.mov(0, 1),
             b.exit_()]  # fmt: skip
    text = lower(insns, host(), Options(budget=False, lines=True)).text
    elf = read_elf(COMPILER.compile(text, host(), level=0))
    rows = line_table(elf)
    main = next(symbol for symbol in elf.symbols if symbol.name == "bpf_main")
    first: dict[int, int] = {}
    for offset, line in rows:
        if main.value <= offset < main.value + main.size:
            first.setdefault(line, offset)
    assert first[1] < first[2] < first[3] < first[4]
    section = elf.section(".debug_line")
    assert section is not None
    for size in range(section.size - 1):
        with pytest.raises(ElfError):
            cut = copy(section)
            cut.data = section.data[:size]
            line_table(elf._replace(sections=tuple(cut if one is section else one for one in elf.sections)))


def test_the_library_for_debuggers() -> None:
    elf = read_elf(gdb.library())
    assert elf.type == 3 and elf.section(".dynsym") is not None


PROGRAM = """
import os
from bombus.isa import build as b
from bombus.jit.engine import NativeEngine
from bombus.vm.env import PlainEnv
class Named(PlainEnv):
    def __init__(self, label):
        super().__init__()
        self._label = label
    @property
    def label(self):
        return self._label
    def helper(self, number):
        return lambda *args: os.getppid() and 7

calls = b.program(b.mov(6, 1), b.call_local(2), b.add(0, b.R6), b.exit_(), b.call(5), b.add(0, 2), b.exit_())
first = NativeEngine().compile(calls, Named("bpf_prog_0123456789abcdef_first"))
print("first", first.run(0))
second = NativeEngine().compile(calls, Named("bpf_prog_0123456789abcdef_second"))
print("second", second.run(0), first.run(0))
"""


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb")
def test_gdb_stops_and_unwinds() -> None:
    """Breakpoints are written into pages of code, whose programs see what is placed there later; frames are known."""
    first, second = (f"bpf_prog_0123456789abcdef_{name}" for name in ("first", "second"))
    script = ["set breakpoint pending on", "set debuginfod enabled off", "set width 0",
              "set environment BOMBUS_GDB 1", f"break {first}", f"break {second}", "run", "backtrace", "break getppid",
              "continue", "backtrace", "delete 3", "continue", "backtrace 1", "info breakpoints", "continue",
              "continue"]  # fmt: skip
    command = ["gdb", "-q", "-nx", "-batch"]
    for line in script:
        command += ["-ex", line]
    done = subprocess.run([*command, "--args", sys.executable, "-c", PROGRAM], capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    if "ptrace" in done.stderr:
        pytest.skip("no process may be traced here")
    said = done.stdout + done.stderr
    assert f"in {first} ()" in said and f"in {second} ()" in said, said
    # Frames of each backtrace, innermost first: at the beginning of a program, and in a helper of Python's. Both go on
    # to the interpreter's main function.
    frame = re.compile(r"(?m)^#\d+ +(?:0x[0-9a-f]+ in )?([^ ]+) \(")
    traces = [frame.findall(part) for part in re.split(r"(?m)^(?=#0 )", said)]
    begin = next(trace for trace in traces if trace[:1] == [first] and len(trace) > 9)
    helper = next(trace for trace in traces if "bombus_upcall[helper]" in trace)
    assert "Py_BytesMain" in begin, said
    at = helper.index("bombus_upcall[helper]")
    assert helper[at + 1].startswith(first) and first in helper[at + 1 : at + 3], said
    assert "Py_BytesMain" in helper[at:], said
    assert "first 10" in said and "second 10 10" in said, said


def test_programs_leave_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMBUS_GDB", "1")
    from bombus.jit.engine import NativeEngine
    from bombus.vm.env import PlainEnv

    def listed() -> int:
        count, entry = 0, gdb._descriptor().first
        while entry:
            count, entry = count + 1, entry.contents.next
        return count

    before = listed()
    made: list[NativeProgram] = [NativeEngine().compile([b.mov(0, n), b.exit_()], PlainEnv()) for n in range(5)]
    for one in made:
        one.prepare()
    assert listed() == before + 5
    del made[2], made[0], one
    assert listed() == before + 3
    made.clear()
    assert listed() == before
