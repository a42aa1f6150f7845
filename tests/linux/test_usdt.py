"""USDT: notes, arguments, semaphores and cookies, in position-independent and fixed binaries."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from bombus.bpf import s32, u8, u64
from bombus.elf.image import Image, find_file, function_offset
from bombus.elf.usdt import Argument, arguments_of, packed_spec, points
from bombus.errors import ElfError, NotSupported, UsageError
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object, read_object

HERE = Path(__file__).parent / "data"
OBJECT = HERE / "usdt.bpf.o"


class Victim:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.out: IO[bytes] = self.process.stdout  # type: ignore[assignment]
        assert self.out.readline() == b"ready\n"

    def work(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        assert self.out.readline() == b"done\n"


@pytest.fixture(params=["pie", "no-pie"])
def victim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Victim]:
    path = tmp_path / "victim"
    try:
        subprocess.run(["gcc", "-O1", f"-{request.param}", HERE / "victim.c", "-o", path], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"gcc: {error}")
    item = Victim(path)
    yield item
    item.process.stdin.close()  # type: ignore[union-attr]
    item.process.wait()


def test_arguments(linux_kernel: LinuxKernel, victim: Victim) -> None:
    with load(open_object(OBJECT), linux_kernel) as loaded:
        program, bss = loaded.programs["probe"], loaded.bss
        pid = victim.process.pid
        with program.attach(victim.path, "victim", "plain", pid=pid, cookie=77) as group:
            assert len(group) == 2
            victim.work()
            assert bss.count == 2 and bss.cookie == 77
            assert bss.args == 1 and list(bss.seen)[:4] == [-3, 7, -99, 0x18]
        victim.work()
        assert bss.count == 2
        for _ in range(3):  # places in the map of arguments are given back
            with program.attach_usdt(victim.path, "victim", "guarded", pid=pid):
                victim.work()
        assert bss.count == 5 and list(bss.seen)[:2] == [33, -5] and bss.args == 2
        victim.work()
        assert bss.count == 5, "the semaphore is down again"
        # The program's <bpf/usdt.bpf.h> is older than operands with an index register.
        with pytest.raises(NotSupported, match="index register"):
            program.attach(victim.path, "victim", "indexed")
        with pytest.raises(UsageError, match="no USDT victim:nothing"):
            program.attach(victim.path, "victim", "nothing")


def test_functions_of_the_same_file(victim: Victim) -> None:
    with Image(victim.path) as image:
        found = {f.name: f.offset for f in image.functions()}
        assert {point.name for point in points(image)} == {"plain", "guarded", "indexed"}
        assert len(points(image, "victim", "plain")) == 2
        assert all(point.semaphore for point in points(image, name="guarded"))
    assert function_offset(victim.path, "work") == found["work"]
    with pytest.raises(UsageError, match="no function"):
        function_offset(victim.path, "printf")


X86, ARM, RISCV = 62, 183, 243


@pytest.mark.parametrize(
    ("text", "machine", "expected"),
    [
        ("8@%rdi -4@%eax 1@%cl 2@%r10w", X86,
         [Argument(1, 8, False, 0, 112), Argument(1, 4, True, 0, 80), Argument(1, 1, False, 0, 88),
          Argument(1, 2, False, 0, 56)]),
        ("-4@$-5 8@-16(%rbp) 4@(%rsp)", X86,
         [Argument(0, 4, True, -5), Argument(2, 8, False, -16, 32), Argument(2, 4, False, 0, 152)]),
        ("8@8(%rax,%rbx,4)", X86, [Argument(3, 8, False, 8, 80, 40, 2)]),
        ("8@x3 -4@[sp, 20] 4@[x1] -4@-7", ARM,
         [Argument(1, 8, False, 0, 24), Argument(2, 4, True, 20, 248), Argument(2, 4, False, 0, 8),
          Argument(0, 4, True, -7)]),
        ("-8@-88(s0) 8@a0", RISCV, [Argument(2, 8, True, -88, 64), Argument(1, 8, False, 0, 80)]),
        ("", X86, []),
    ],
)  # fmt: skip
def test_argument_texts(text: str, machine: int, expected: list[Argument]) -> None:
    assert arguments_of(text, machine) == expected
    assert len(packed_spec(expected, 1)) == 208


@pytest.mark.parametrize("text", ["8@symbol(%rip)", "4@%xmm0", "8@", "3@%rax", "8@$x", "x" * 50, "8@%rax " * 13])
def test_arguments_that_cannot_be_read(text: str) -> None:
    with pytest.raises(NotSupported):
        arguments_of(text, X86)
    with pytest.raises(NotSupported, match="machine 3"):
        arguments_of("4@%eax", 3)


def test_files_are_found_as_libbpf_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libown.so").write_bytes(b"")
    (tmp_path / "tool").write_bytes(b"")
    os.chmod(tmp_path / "tool", 0o755)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_file("libown.so") == str(tmp_path / "libown.so") and find_file("tool") == str(tmp_path / "tool")
    assert find_file("./libown.so") == "./libown.so"
    with pytest.raises(UsageError, match="no file"):
        find_file("libnone.so.6")


def test_damaged_files(tmp_path: Path, victim: Victim) -> None:
    whole = victim.path.read_bytes()
    half = whole[: len(whole) // 2]
    for number, data in enumerate((b"", b"\x7fELF", whole[:40], whole[:60], b"MZ" + bytes(100), half)):
        path = tmp_path / f"damaged{number}"
        path.write_bytes(data)
        with pytest.raises((ElfError, UsageError)):
            function_offset(path, "work")
    # Any single byte may be wrong.
    path = tmp_path / "changed"
    for at in [*range(16, 64), *range(len(whole) - 2000, len(whole), 37)]:
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 0xFF,)) + whole[at + 1 :])
        try:
            with Image(path) as image:
                list(image.functions())
                points(image)
        except ElfError:
            continue


TYPED = '''
from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, map, s32, s64, u8, u32, u64

LICENSE = bpf.license("GPL")


class Seen(Struct):
    number: s64
    seven: u64
    first: s64
    byte: u64


seen = map.array(u32, Seen, max_entries=4)
count = bpf.var(u32(0))


@bpf.usdt("victim:plain")
def plain(number: s32, seven: u64, first: s32, byte: u8) -> int:
    seen.update(count.value, Seen(number=s64(number), seven=seven, first=s64(first), byte=u64(byte)))
    count.value += 1
    return 0
'''


def test_arguments_that_a_program_in_python_names(linux_kernel: LinuxKernel, victim: Victim) -> None:
    """The second place of the probe has one argument: the others are 0."""
    pytest.importorskip("llvmlite")
    from bombus.compiler.build import build_source

    with load(read_object(build_source(TYPED, "typed.py")), linux_kernel) as loaded:
        with loaded.programs["plain"].attach(victim.path, "victim", "plain", pid=victim.process.pid):
            victim.work()
        rows = [loaded.maps["seen"][index] for index in range(2)]
    assert [(int(row.number), int(row.seven), int(row.first), int(row.byte)) for row in rows] == [
        (-1000, 7, -99, 0x18), (-3, 0, 0, 0),
    ]  # fmt: skip


def test_plain_python_gets_the_arguments() -> None:
    pytest.importorskip("llvmlite")
    from bombus.bpf.machine import use
    from bombus.compiler.importing import import_source
    from bombus.plain import PlainMachine

    module, machine = import_source(TYPED, "typed.py"), PlainMachine()
    with use(machine):
        module.plain.run(ctx=(s32(-5), u64(7), s32(1), u8(2)))
    row = machine.map(module.seen)[0]
    assert bytes(row)[:16] == (-5).to_bytes(8, "little", signed=True) + (7).to_bytes(8, "little")
