"""Code memory: never writable and executable, shared by programs, given back; immediates that an attacker chose."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bombus.errors import UsageError, VmFault
from bombus.isa import build as b
from bombus.isa.facts import Facts
from bombus.isa.insn import Insn, encode
from bombus.jit import abi
from bombus.jit.engine import NativeEngine, NativeProgram
from bombus.jit.pages import CHUNK, PAGES, CodePages
from bombus.jit.sandbox import Sandbox
from bombus.jit.upcall import Upcall
from bombus.vm.env import PlainEnv
from bombus.vm.memory import Memory

EXIT = b.exit_()


def program(insns: list[Insn], harden: int = 0) -> NativeProgram:
    made = NativeEngine(harden=harden).compile(insns, PlainEnv())
    made.prepare()
    return made


def maps() -> list[tuple[int, int, str, str]]:
    """start, end, permissions, name of every mapping of this process."""
    out = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        start, end = (int(part, 16) for part in fields[0].split("-"))
        out.append((start, end, fields[1], fields[5] if len(fields) > 5 else ""))
    return out


PROBE = """
import json, sys
from bombus.isa import build as b
from bombus.isa.insn import encode
from bombus.jit.engine import NativeEngine
from bombus.jit.sandbox import Sandbox
from bombus.jit.upcall import Upcall
from bombus.vm.env import PlainEnv
seen = []
def maps():
    seen.append([line.split()[1] for line in open("/proc/self/maps") if {"w", "x"} <= set(line.split()[1])])
    return 5
env = PlainEnv()
env.helpers[1] = lambda *_: maps()
made = NativeEngine().compile([b.call(1), b.add(0, 2), b.exit_()], env)
assert made.run(0) == 7
box = Sandbox()
box.register(5, lambda *_: maps())
box.load(encode([b.ldx("u64", 0, 1, 0), b.call(5), b.exit_()]))
assert box.exec(bytes(8)) == 5
maps()
print(json.dumps(seen))
"""


def test_no_page_is_writable_and_executable() -> None:
    """In a process that compiles, runs, and is called back; ctypes callbacks would add such pages (libffi's)."""
    done = subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout) == [[], [], []]


def test_code_is_mapped_once() -> None:
    made = program([b.mov(0, 7), EXIT])
    assert made.run(0) == 7
    assert made.linked is not None
    address = made.linked.code.address
    (held,) = [row for row in maps() if row[0] <= address < row[1]]
    assert held[2] == "r-xs"
    # Nothing else of the file is mapped: the window that code was written through is gone.
    assert len([row for row in maps() if "bombus-code" in row[3] and "w" in row[2]]) == 0


def test_what_native_code_calls_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reports.append(report.exc_value))
    errors: dict[int, BaseException] = {}
    memory = Memory()
    buffer = ctypes.create_string_buffer(abi.RUN_BYTES)  # a `struct run`
    run = ctypes.addressof(buffer)
    status = ctypes.c_uint32.from_buffer(buffer, abi.RUN["status"][0])

    def text(*_: int) -> int:
        return "no number"  # type: ignore[return-value]

    def breaks(*_: int) -> int:
        raise ValueError("on purpose")

    call = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 6)
    five = (1, 2, 3, 4, (1 << 64) - 1)
    functions: tuple[tuple[Callable[..., int | None], int, type[Exception] | None], ...] = (
        (lambda *a: sum(a), 9, None), (lambda *_: -1, (1 << 64) - 1, None), (lambda *_: None, 0, None),
        (lambda *_: 1 << 65, 0, None), (lambda *_: True, 1, None), (text, 0, TypeError), (breaks, 0, ValueError),
    )  # fmt: skip
    for function, expected, error in functions:
        upcall = Upcall(function, "helper", errors, memory.epochs)
        assert call(upcall.address)(run, *five) == expected
        assert status.value == (abi.ERROR if error else abi.RETURNED)
        assert [(at, type(found)) for at, found in errors.items()] == ([(run, error)] if error else [])
        if error is ValueError:
            assert errors[run].__traceback__ is not None
        errors.clear()
        status.value = 0
    failed = []

    def elsewhere() -> None:
        mine = ctypes.create_string_buffer(abi.RUN_BYTES)
        address = ctypes.addressof(mine)
        call(upcall.address)(address, *five)
        failed.append(str(errors.pop(address)))

    threads = [threading.Thread(target=elsewhere) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == ["on purpose"] * 4
    seen = Upcall(lambda *a: a == (run, *five), "tracked", errors, memory.epochs)
    assert call(seen.address)(run, *five) == 1
    lost = Upcall(breaks, "find", errors)
    assert call(lost.address)(run, *five) & 0xFFFF_FFFF == abi.NOT_FOUND
    assert reports == []

    class Full(dict[int, BaseException]):
        def __setitem__(self, _run: int, error: BaseException) -> None:
            raise error

    status.value = 0
    unheard = Upcall(breaks, "helper", Full(), memory.epochs)
    assert call(unheard.address)(run, *five) == 0
    assert status.value == abi.ERROR
    assert [type(report) for report in reports] == [ValueError]


def test_the_limit_of_recursion_is_no_way_out() -> None:
    """Where nothing of Python can be called any more, runs end."""
    made = Sandbox()
    made.register(5, lambda *_: 7)
    made.load(encode([b.mov(6, 1), b.jmp("==", 2, 2, 1), b.st("u8", 1, 2, 9), b.call(5), b.add(0, b.R6), EXIT]))
    assert made.exec(b"ab") == 8
    with pytest.raises(VmFault):
        made.exec(b"abc"[:1])
    ends: set[object] = set()

    def down(depth: int, data: bytes) -> None:
        if depth:
            down(depth - 1, data)
            return
        try:
            ends.add(made.exec(data))
        except VmFault as fault:
            ends.add(fault.kind)
        except (RecursionError, ctypes.ArgumentError) as error:  # ctypes makes the one into the other
            ends.add(str(error).partition("recursion depth exceeded")[1])

    for data, good in ((b"ab", 8), (b"a", "store")):
        ends.clear()
        for depth in range(sys.getrecursionlimit()):
            try:
                down(depth, data)
            except RecursionError:  # in `down`
                break
        assert ends == {good, "recursion depth exceeded"}
        assert made._room is not None and ctypes.string_at(made._room.start, 3)[2] == 0  # behind its bytes
    assert made.exec(b"ab") == 8


def test_what_native_code_calls_leaks_nothing() -> None:
    """Arguments, results and errors are let go; more of them than the interpreter's small numbers."""
    made = Sandbox()
    big = 1 << 70
    kept: list[int] = []

    def result(*_: int) -> int:
        if kept:
            raise LookupError("no")
        return big

    made.register(5, result)
    made.load(encode([*(b.mov(r, 1000 + r) for r in range(1, 6)), b.call(5), b.call(5), EXIT]))
    made.exec()
    rounds = 3000
    for stop in (False, True):
        kept[:] = [1] * stop
        counts = []
        for _ in range(2):
            gc.collect()
            counts.append((sys.getrefcount(big), sys.getrefcount(result), sys.getallocatedblocks()))
            for _ in range(rounds):
                if stop:
                    with contextlib.suppress(LookupError):
                        made.exec()
                else:
                    made.exec()
        assert counts[0][:2] == counts[1][:2]
        assert abs(counts[0][2] - counts[1][2]) < rounds  # others in this process may make some


def test_a_helper_ends_memory() -> None:
    """What the run has met is forgotten when a helper takes memory away."""
    made = Sandbox()
    shared = made.share(8)
    made.register(5, lambda *_: made._env.memory.remove(shared))
    read = b.ldx("u64", 0, 6, 0)
    made.load(encode([b.ldx("u64", 6, 1, 0), read, b.call(5), read, EXIT]))
    with pytest.raises(VmFault) as fault:
        made.exec(shared.start.to_bytes(8, "little"))
    assert (fault.value.kind, fault.value.insn) == ("load", 3)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_helper_runs_its_own_program(engine: str) -> None:
    """Factorials: each run has memory of its own."""
    made = Sandbox(engine=engine)
    made.register(5, lambda n, *_: made.exec((n - 1).to_bytes(8, "little")) if n > 1 else 1)
    made.load(encode([b.mov(6, b.R1), b.ldx("u64", 1, 6, 0), b.call(5), b.ldx("u64", 1, 6, 0), b.mul(0, b.R1), EXIT]))
    assert made.exec((20).to_bytes(8, "little")) == 2432902008176640000  # deeper than one run's 8 frames


def test_pages_are_shared_and_given_back() -> None:
    pages = CodePages()
    held = [pages.allocate(200) for _ in range(5000)]
    assert len(pages.chunks) == 1 and len({code.address for code in held}) == 5000
    big = pages.allocate(CHUNK + 1)
    assert len(pages.chunks) == 2
    held[0].fill(bytes(200))
    assert held[0].bytes() == bytes(200)
    address = held[0].address
    del big, held
    gc.collect()
    pages.allocate(1)  # takes in what was given back
    assert len(pages.chunks) == 1
    assert ctypes.string_at(address + 100, 8) == b"\xcc" * 8  # what is free traps


def resident() -> int:
    """KiB of this process in memory."""
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line).split()[1])


def test_programs_come_and_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Loading and dropping many programs (10,000 with BOMBUS_FULL=1), of different size, needs no more memory than a
    few; those with helpers have a way into Python each."""
    monkeypatch.setenv("BOMBUS_CACHE", str(tmp_path))
    from bombus.jit import engine, state

    env = PlainEnv()
    env.helpers[1] = lambda *_: 3
    count = 10_000 if os.environ.get("BOMBUS_FULL") else 800
    sizes, memory = [], []
    gc.collect()
    for number in range(count):
        insns = [b.mov(0, 1), *[b.add(0, 1)] * (number % 4), *([b.call(1)] if number % 2 else []), EXIT]
        made = NativeEngine().compile(insns, env)
        made.prepare()
        assert made.run(0) == (3 if number % 2 else 1 + number % 4)
        del made
        if number % 200 == 199:
            gc.collect()
            sizes.append((len(PAGES.chunks), len(engine._programs), len(state.STATES)))
            memory.append(resident())
    assert len(set(sizes)) == 1, sizes
    assert max(memory) - memory[0] < 4096, memory


NUMBERS = (0x1BADB002, 0x0F0B_CC90, -0x3C3C_3C3D)
WIDE = 0x90CC_90CC_EB05_0F05


def chosen() -> list[Insn]:
    """Immediates of every kind that ends up in code; r1: 8 bytes of memory."""
    first, second, third = NUMBERS
    return [
        b.ldx("u64", 2, 1, 0), b.mov(0, b.R2), b.add(0, first), b.xor(0, second), b.mul(0, third),
        *b.ld_imm64(3, WIDE), b.add(0, b.R3), b.jmp("==", 2, first, 1), b.jmp("!=", 2, second, 1, bits=32),
        b.mov(0, first),
        b.st("u32", 1, 0, second), b.and32(0, third), b.ldx("u32", 4, 1, 0), b.add(0, b.R4), EXIT,
    ]  # fmt: skip


class Judged(PlainEnv):
    """A verifier accepted the program."""

    facts = Facts()


def run_chosen(harden: int, verified: bool = False) -> tuple[bytes, list[int]]:
    """Code, and results."""
    env = Judged() if verified else PlainEnv()
    memory = env.memory.allocate(8, name="memory", kind="mem")
    made = NativeEngine(harden=harden, checked=True).compile(chosen(), env)
    found = []
    for value in (0, NUMBERS[0], NUMBERS[1], 1 << 63):
        memory.view[:] = struct.pack("<Q", value)
        found.append(made.run(memory.start))
    assert made.linked is not None
    return made.linked.code.bytes(), found


@pytest.mark.parametrize(("harden", "verified"), [(0, False), (0, True), (1, False), (1, True), (2, False), (2, True)])
def test_chosen_immediates_are_not_in_the_code(harden: int, verified: bool) -> None:
    """harden 1 trusts who the verifier trusts."""
    needles = [struct.pack("<i", number) for number in NUMBERS] + [struct.pack("<Q", WIDE)]
    code, found = run_chosen(harden, verified)
    assert found == run_chosen(0)[1]
    if harden == 2 or (harden == 1 and not verified):
        for needle in needles:
            assert needle not in code and needle[:3] not in code
        assert run_chosen(harden, verified)[0] != code  # a new secret each time
    else:
        assert any(needle in code for needle in needles)


def test_harden_is_0_1_or_2() -> None:
    with pytest.raises(UsageError):
        NativeEngine(harden=3)


def test_the_sandbox_blinds() -> None:
    made = Sandbox(harden=2)
    made.load(bytes.fromhex("b7000000123456789500000000000000"))
    assert made.exec() == 0x78563412
    program_ = made._program
    assert isinstance(program_, NativeProgram) and program_.linked is not None
    assert bytes.fromhex("12345678") not in program_.linked.code.bytes()
