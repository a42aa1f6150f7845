"""Whatever happens in the child that runs LLVM, the caller gets an error that says it, and goes on."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bombus.compiler import codegen
from bombus.compiler.build import build_source
from bombus.compiler.codegen import Codegen
from bombus.errors import CodegenError

HEAD = 'target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"\ntarget triple = "bpfel"\n'
GOOD = HEAD + 'define i32 @f() section "xdp" {\n  ret i32 2\n}\n'
READ = "import os, signal, sys, time\nfor line in sys.stdin.buffer:\n    sys.stdin.buffer.read(int(line.split()[0]))\n"
# What a child does after it has read a request, and what the error says then.
CHILDREN = {
    "abort": (READ + "    print('Assertion `x` failed.', file=sys.stderr, flush=True)\n    os.abort()", "SIGABRT",
              "Assertion `x` failed."),
    "segmentation fault": (READ + "    os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", ""),
    "killed": (READ + "    os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL .*out of memory", ""),
    "hang": (READ + "    print('thinking', file=sys.stderr, flush=True)\n    time.sleep(1000)", "within 1 seconds",
             "thinking"),
    "endless loop that says much": (READ + "    while True: sys.stderr.write('x' * 1000)", "within 1 seconds", "xxx"),
    "exit": (READ + "    sys.exit(3)", "exit code 3", ""),
    "half an answer": (READ + "    os.write(1, b'ok 100\\nabc')\n    os._exit(0)", "exit code 0", ""),
    "nonsense": (READ + "    os.write(1, b'what?\\n')\n    os._exit(0)", "exit code 0", ""),
    "no LLVM": ("raise ImportError('libllvmlite.so')", "exit code 1", "libllvmlite.so"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHILDREN)
def test_children_that_fail(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, message, log = CHILDREN[case]
    worker = tmp_path / "worker.py"
    worker.write_text(code)
    made = Codegen(timeout=1)
    with monkeypatch.context() as patch:
        patch.setattr(codegen, "_WORKER", worker)
        with pytest.raises(CodegenError, match=message) as caught:
            made.compile(GOOD)
    assert log in caught.value.log
    assert len(caught.value.log) <= 4000
    made.timeout = 60
    assert made.compile(GOOD)[:4] == b"\x7fELF"  # with a new child
    made.close()


def test_assertions_of_llvm_itself() -> None:
    """A module that LLVM gives up on: report_fatal_error aborts the process."""
    made = Codegen()
    bad = HEAD + "declare void @g(...)\ndefine void @f() {\n  call void (...) @g()\n  ret void\n}\n"
    bad += 'define i32 @h() {\n  %x = call i32 asm sideeffect "no such instruction", "=r"()\n  ret i32 %x\n}\n'
    with pytest.raises(CodegenError) as caught:
        made.compile(bad)
    assert caught.value.log
    assert made.compile(GOOD)[:4] == b"\x7fELF"
    made.close()


def test_a_module_that_is_refused() -> None:
    made = Codegen()
    with pytest.raises(CodegenError, match="refuses") as caught:
        made.compile("define i32 @f( {")
    assert "expected" in caught.value.log
    assert made.compile(GOOD)[:4] == b"\x7fELF"  # by the same child
    made.close()


def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM itself with too little memory."""
    worker = tmp_path / "worker.py"
    text = codegen._WORKER.read_text()
    limit = (
        "    import resource\n    used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 26), used + (1 << 26)))\n"
    )
    worker.write_text(text.replace("    while header :=", limit + "    while header :=", 1))
    big = HEAD + "".join(
        f"define i64 @f{n}(i64 %x) {{\n" + "".join(
            f"  %v{i} = mul i64 {'%x' if not i else f'%v{i - 1}'}, {i + 3}\n" for i in range(4000)
        ) + "  ret i64 %v3999\n}\n" for n in range(60)
    )  # fmt: skip
    made = Codegen(timeout=60)
    with monkeypatch.context() as patch:
        patch.setattr(codegen, "_WORKER", worker)
        with pytest.raises(CodegenError):
            made.compile(big)
    assert made.compile(GOOD)[:4] == b"\x7fELF"
    made.close()


def test_the_users_build_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """\
from bombus.bpf import xdp

@xdp
def f(ctx: xdp.Context) -> xdp.Action:
    return xdp.PASS
"""
    worker = tmp_path / "worker.py"
    worker.write_text(CHILDREN["abort"][0])
    codegen.CODEGEN.close()
    with monkeypatch.context() as patch:
        patch.setattr(codegen, "_WORKER", worker)
        with pytest.raises(CodegenError, match="LLVM was ended by SIGABRT"):
            build_source(text, "f.py")
    assert build_source(text, "f.py")[:4] == b"\x7fELF"


def test_threads() -> None:
    made, found = Codegen(), []

    def one() -> None:
        found.append(made.compile(GOOD))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    made.close()


def test_nothing_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        made = Codegen()
        made.compile(GOOD)
        made.close()
    assert len(os.listdir("/proc/self/fd")) == before
