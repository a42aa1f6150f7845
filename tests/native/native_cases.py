"""The engine-neutral cases on an architecture: one executable with all programs, run by qemu's user-mode emulation
or wasmtime."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from native_machine import Machine

from bombus.isa import opcodes as op
from bombus.isa.insn import ByteOrder, Insn, decode
from bombus.native.arch import WASM32, Arch
from bombus.native.build import Answer, answers, build_unverified, records

CASES = Path(__file__).parents[1] / "cases" / "vm_isa.json"
TABLE = Path(__file__).parents[2].parent / "shared" / "oracle" / "test_bpf.jsonl.gz"
BIG = 600  # instructions; larger entries of the table only make LLVM slow
_TIMEOUT = 300
WASMTIME = "wasmtime"  # PyPI's: runs WebAssembly


@dataclass(frozen=True, slots=True)
class Case:
    """One run: what goes in, what has to come out. after: None where the memory says nothing."""

    name: str
    program: int
    before: bytes
    after: bytes | None
    r0: int


@cache
def isa_cases(order: ByteOrder, step: int) -> tuple[list[list[Insn]], list[Case]]:
    """Every instruction form on edge values, with Linux's answers; for big-endian machines those of `Machine`, which
    gives Linux's answers on little-endian ones."""
    programs: list[list[Insn]] = []
    found: list[Case] = []
    for row in json.loads(CASES.read_text())[::step]:
        insns = decode(bytes.fromhex(row["insns"]))
        for before, after, r0 in row["runs"]:
            start, end, value = bytes.fromhex(before), bytes.fromhex(after), int(r0, 16)
            if order == "big":
                machine = Machine("big", start)
                value = machine.run(insns) & 0xFFFF_FFFF
                end = bytes(machine.data)
            found.append(Case(row["name"], len(programs), start, end, value))
        programs.append(insns)
    return programs, found


@cache
def table_cases(step: int) -> tuple[list[list[Insn]], list[Case]]:
    """Entries of Linux's lib/test_bpf.c that need no packet, with the results written there."""
    programs: list[list[Insn]] = []
    found: list[Case] = []
    with gzip.open(TABLE, "rt") as lines:
        rows = [row for line in lines if (row := json.loads(line))["type"] == "ebpf"]
    for row in rows[::step]:
        insns = decode(base64.b64decode(row["insns"]))
        if len(insns) > BIG or any(_outside(insn) for insn in insns):
            continue
        for size, expected in row["tests"]:
            before = bytes(size) if row["large_mem"] else b""
            found.append(Case(row["descr"], len(programs), before, None, expected & 0xFFFF_FFFF))
        programs.append(insns)
    return programs, found


def _outside(insn: Insn) -> bool:
    """Does it need a packet or a helper?"""
    ld = insn.opcode & 7 == op.BPF_LD and insn.opcode != op.LD_IMM64
    return ld or (insn.opcode == op.CALL and insn.src != op.BPF_PSEUDO_CALL)


def emulator(arch: Arch) -> str | None:
    """What runs its executables here: a path of qemu's, or "wasmtime"."""
    if arch is WASM32:
        return WASMTIME if importlib.util.find_spec(WASMTIME) else None
    return shutil.which(f"qemu-{arch.qemu}") or shutil.which(f"qemu-{arch.qemu}-static")


def execute(
    arch: Arch, data: bytes, request: bytes, folder: Path, timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """Run an executable of `bombus build --native`."""
    program = emulator(arch)
    assert program is not None
    path = folder / "program"
    path.write_bytes(data)
    path.chmod(0o755)
    command = [sys.executable, "-c", _WASI, str(path)] if program == WASMTIME else [program, str(path)]
    return subprocess.run(command, input=request, capture_output=True, timeout=timeout, check=False)


# A host of WASI.
_WASI = """
import sys, wasmtime
store = wasmtime.Store(wasmtime.Engine())
config = wasmtime.WasiConfig()
config.stdin_file, config.stdout_file = "/dev/stdin", sys.argv[1] + ".out"
store.set_wasi(config)
linker = wasmtime.Linker(store.engine)
linker.define_wasi()
module = wasmtime.Module.from_file(store.engine, sys.argv[1])
code = 0
try:
    linker.instantiate(store, module).exports(store)["_start"](store)
except wasmtime.ExitTrap as error:
    code = error.code
with open(sys.argv[1] + ".out", "rb") as file:
    sys.stdout.buffer.write(file.read())
sys.exit(code)
"""


def answer(arch: Arch, programs: list[list[Insn]], cases: list[Case]) -> list[Answer]:
    """Build and run. RuntimeError when the emulator says anything."""
    request = records([(case.program, case.before) for case in cases])
    with tempfile.TemporaryDirectory() as folder:
        done = execute(arch, build_unverified(programs, arch), request, Path(folder), _TIMEOUT)
    if done.returncode or done.stderr:
        raise RuntimeError(f"exit code {done.returncode}, {done.stderr.decode(errors='replace')}")
    return answers(done.stdout)


def wrong(cases: list[Case], got: list[Answer]) -> list[str]:
    """What differs, in words."""
    out = [
        f"{case.name}: {case.before.hex()} gives {one.status} {one.r0:#x} {one.data.hex()}, not {case.r0:#x} "
        f"{case.after.hex() if case.after is not None else ''}"
        for case, one in zip(cases, got, strict=False)
        if one.status or one.r0 & 0xFFFF_FFFF != case.r0 or (case.after is not None and one.data != case.after)
    ]
    if len(got) != len(cases):
        out.append(f"{len(got)} answers to {len(cases)} records")
    return out
