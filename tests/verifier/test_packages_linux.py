"""Other people's objects and our own, of several compilers, against the running kernel: verdict, errno and whole logs.

The objects are those of Debian's libxdp1, xdp-tools, xdp-tests and libbpf-tools, the C programs of bench/twins and
examples built by every clang here (and gcc-bpf), those of tests and the programs of examples/bpf built by `bombus
build`. Programs of
which the kernel processes more than LONGEST instructions are left out; BOMBUS_WHOLE_CORPUS=1 takes all programs, and
every compiler with every level and CPU version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from linux_loads import Answers, last, load_each, normal, package_objects

from bombus.compiler.build import build_file
from bombus.compiler.c import Options, build
from bombus.errors import CodegenError, CompileError, KernelError, NotSupported, ObjectError
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.object.model import Object
from bombus.object.read import open_object, read_object
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import since
from bombus.verifier.main import verify

ROOT = Path(__file__).resolve().parents[2]
WHOLE = bool(os.environ.get("BOMBUS_WHOLE_CORPUS"))
LONGEST = 10_000_000 if WHOLE else 500
TRAMPOLINED = tuple(PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("TRACING", "EXT", "LSM"))
SOURCES = (*sorted((ROOT / "bench" / "twins").glob("*.c")), *sorted((ROOT / "examples").glob("*.bpf.c")))
COMPILERS = ("clang-16", "clang-19", "clang-22", "bpf-gcc")
LEVELS = ("-O2", "-Os", "-O1")
CPUS = ("v1", "v2", "v3", "v4")
# C programs of the tests, that need vmlinux.h and other headers of bombus.
TESTED = tuple(file for file in sorted((ROOT / "tests").rglob("*.c")) if "SEC(" in file.read_text())

pytestmark = [pytest.mark.linux, pytest.mark.debian]


@pytest.fixture(scope="module")
def answers() -> Answers:
    kernel = LinuxKernel()
    if not since("6.18") <= kernel.version < since("6.19"):
        pytest.skip(f"the verifier's texts are those of Linux 6.18, this is {kernel.version}")
    found = Answers(kernel)
    try:
        kernel.close(kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=4, max_entries=1)))
    except KernelError as error:
        pytest.skip(f"bpf(2) is refused: {error}")
    return found


def _differences(answers: Answers, objects: Iterator[Object]) -> tuple[int, list[str]]:
    """How many programs were compared, and what differs."""
    answers.answers.clear()
    for obj in objects:
        answers.name = obj.name
        load_each(obj, answers)
    compared = 0
    wrong = []
    for answer in answers.answers:
        if answer.processed > LONGEST or (answer.errno == 1 and answer.program.prog_type in TRAMPOLINED):
            continue  # EPERM is no verdict of a verifier's: this kernel has no trampolines for such programs
        try:
            for level, log in ((4 if answer.long else 6, answer.log), (1, answer.brief)):
                ours = verify(replace(answer.program, log_level=level))
                where = f"{answer.name} {answer.program.name} level {level}"
                if abs(ours.errno) != answer.errno:
                    wrong.append(f"{where}: {answer.errno} {last(answer.log)} ## {ours.errno} {last(ours.log)}")
                elif normal(ours.log) != normal(log):
                    pairs = zip(normal(log).splitlines(), normal(ours.log).splitlines(), strict=False)
                    wrong.append(f"{where}: {next(((a, b) for a, b in pairs if a != b), 'length')}")
        except NotSupported:
            continue
        compared += 1
    return compared, wrong


def test_packages(answers: Answers) -> None:
    compared, wrong = _differences(answers, package_objects())
    if not compared:
        pytest.skip("libxdp1, xdp-tools, xdp-tests and libbpf-tools are not installed")
    assert not wrong, "\n".join(wrong[:10])


def _built(folder: Path) -> Iterator[Object]:
    """Each source by a few of the ways to build it, by all of them when the whole corpus is wanted."""
    compilers = [name for name in COMPILERS if shutil.which(name)]
    # gcc calls functions, which nobody has, for atomics that the first cpus lack.
    without = (("clang-16", "v4"), ("bpf-gcc", "v1"), ("bpf-gcc", "v2"))
    ways = [way for way in product(compilers, LEVELS, CPUS) if way[::2] not in without]
    for number, source in enumerate(SOURCES):
        for compiler, level, cpu in ways if WHOLE else ways[number % len(ways) :: 11][:2]:
            out = folder / f"{source.stem}.{compiler}{level}{cpu}.o"
            clang = ["-g", "-target", "bpf", f"-mcpu={cpu}"]
            target = ["-gbtf", f"-mcpu={cpu}", "-I/usr/include"] if compiler == "bpf-gcc" else clang
            command = [
                compiler, level, *target, f"-I{ROOT / 'bench' / 'twins'}", "-I/usr/include/x86_64-linux-gnu",
                "-c", str(source), "-o", str(out),
            ]  # fmt: skip
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode == 0:
                yield open_object(out)
            else:
                # gcc lacks some of what clang has; clang 19 refuses atomics that fetch for the first cpus.
                assert compiler == "bpf-gcc" or (cpu in ("v1", "v2") and "XADD" in made.stderr), made.stderr


def test_compilers(answers: Answers, tmp_path: Path) -> None:
    compared, wrong = _differences(answers, _built(tmp_path))
    if not compared:
        pytest.skip("no compiler for BPF is installed")
    assert not wrong, "\n".join(wrong[:10])


def _driven() -> Iterator[Object]:
    """Each C program of the tests by one way, by all of them when the whole corpus is wanted."""
    ways = list(product([name for name in COMPILERS if shutil.which(name)], "2s13", CPUS))
    for number, source in enumerate(TESTED):
        for compiler, level, cpu in ways if WHOLE else ways[7 * number % len(ways) :][:1]:
            try:
                built = build(str(source), Options(level=level, cpu=cpu, compiler=compiler))
                yield read_object(built.data, name=f"{source.stem}.{compiler}-O{level}{cpu}")
            except (CompileError, CodegenError, ObjectError):
                continue  # older compilers know fewer CPUs and builtins, and some of these files are parts of programs


def test_programs_of_the_tests(answers: Answers) -> None:
    if not any(map(shutil.which, COMPILERS)):
        pytest.skip("no compiler for BPF is installed")
    compared, wrong = _differences(answers, _driven())
    assert compared >= len(TESTED), "hardly anything was built"
    assert not wrong, "\n".join(wrong[:10])


def _python() -> Iterator[Object]:
    for source in sorted((ROOT / "examples" / "bpf").glob("*.py"))[:: 1 if WHOLE else 3]:
        try:
            yield read_object(build_file(str(source)), name=source.stem)
        except NotSupported:
            continue


def test_python_programs(answers: Answers) -> None:
    pytest.importorskip("llvmlite", reason="building Python programs needs llvmlite")
    compared, wrong = _differences(answers, _python())
    assert compared and not wrong, "\n".join(wrong[:10])
