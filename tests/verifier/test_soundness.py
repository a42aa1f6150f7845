"""In every accepted program that runs, the registers and the stack lie inside a verified state of each instruction.

BOMBUS_SOUNDNESS scales the number of generated programs (default 1).
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpus
import pytest
from soundness import Counts, Recorded, TooMuch, Watch

from bombus.errors import KernelError, NotSupported, VmFault
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.run import run_packet
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import KernelVersion
from bombus.verifier import tnum
from bombus.verifier.bounds import const
from bombus.verifier.main import verify
from bombus.verifier.program import MapInfo, Program
from bombus.verifier.regs import UNKNOWN, scalar
from bombus.verifier.state import uniform

SCALE = int(os.environ.get("BOMBUS_SOUNDNESS", "1"))
V618 = KernelVersion(6, 18)
_SKB = {PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("SOCKET_FILTER", "SCHED_CLS", "SCHED_ACT", "CGROUP_SKB")}
_XDP = PROG_TYPE["BPF_PROG_TYPE_XDP"].id
# Offsets of data and data_end in the context (include/uapi/linux/bpf.h).
_FIELDS = {_XDP: (0, 4), **dict.fromkeys(_SKB, (76, 80))}
BUDGET = 3_000
_PACKETS = (
    bytes(range(64)),
    bytes.fromhex("ffffffffffff0200000000010800450000280000000040060000c0a80001c0a80002") + bytes(60),
    bytes.fromhex("ffffffffffff02000000000186dd6000000000283a40") + bytes(range(120)),
)  # fmt: skip


def has_sign_extending_load(program: Program) -> bool:
    """Linux up to 6.18 keeps a spilled scalar linked to what a sign-extending load makes of it, which is not equal.

    bombus says what the kernel says (see test_what_the_kernel_believes_wrongly), so such programs leave their states.
    """
    return any(insn.opcode & 0xE7 == op.BPF_LDX | op.BPF_MEMSX for insn in program.insns)


def _make_map(kernel: UserKernel, info: MapInfo, known: dict[int, int]) -> int:
    """A map like the recorded one; inner maps are made first. KernelError where it cannot be."""
    if id(info) in known:
        return known[id(info)]
    inner = _make_map(kernel, info.inner, known) if info.inner is not None else 0
    fd = kernel.bpf(
        Attr("BPF_MAP_CREATE", map_type=info.type, key_size=info.key_size, value_size=info.value_size,
             max_entries=info.max_entries, map_flags=info.flags, inner_map_fd=inner)
    )  # fmt: skip
    if info.contents is not None:
        value = info.contents.ljust(info.value_size, b"\0")
        with suppress(KernelError):
            kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=bytes(4), value=bytearray(value), flags=0))
    known[id(info)] = fd
    return fd


def _with_maps(kernel: UserKernel, program: Program) -> list[Insn]:
    """The instructions with the descriptors of maps made in `kernel`."""
    known: dict[int, int] = {}
    insns = list(program.insns)
    for i, insn in enumerate(insns):
        if insn.opcode != op.LD_IMM64 or insn.src not in (1, 2, 5, 6):
            continue
        fd = insn.imm if insn.src in (1, 2) else program.fd_array[insn.imm]
        new = _make_map(kernel, program.maps[fd], known)
        insns[i] = insn._replace(imm=new, src=1 if insn.src in (1, 5) else 2)
    return insns


def run(program: Program, recorded: Recorded, counts: Counts, packets: tuple[bytes, ...] = _PACKETS) -> bool:
    """Run an accepted program on the reference engine under watch. False when the user kernel cannot run it."""
    kernel = UserKernel(program.version, engine="reference")
    try:
        insns = _with_maps(kernel, program)
        fd = kernel.bpf(
            Attr("BPF_PROG_LOAD", prog_type=program.prog_type, insns=encode(insns), insn_cnt=len(insns),
                 license=b"GPL\0", expected_attach_type=program.expected_attach_type)
        )  # fmt: skip
    except (KernelError, NotSupported):
        return False
    prog: Any = kernel.object("test", fd, "prog")
    watch = Watch(recorded, kernel, _FIELDS.get(program.prog_type), counts, program.name)
    prog.compiled._trace = watch
    prog.compiled._budget = BUDGET
    counts.programs += 1
    for packet in packets:
        watch.begin()
        with suppress(VmFault):  # out of budget, or a helper that needs more of a world
            run_packet(kernel, prog, packet)
            counts.runs += 1
    return True


def _check(counts: Counts) -> None:
    print(
        f"{counts.programs} programs, {counts.runs} runs, {counts.steps} instructions, {counts.registers} registers, "
        f"{counts.slots} spilled slots, {counts.unplaced} pointers not placed"
    )
    assert not counts.wrong, f"{len(counts.wrong)} outside: " + "\n".join(counts.wrong[:5])


def _recorded_programs() -> Iterator[Program]:
    features = {(row["object"], row["program"]): row for row in corpus.rows("features-6.12")}
    verdicts = {(row["object"], row["program"], row["mode"]): row for row in corpus.rows("verdicts-6.18")}
    blobs = corpus.blobs("6.18")
    for row in corpus.rows("loads-6.18"):
        key = row["obj"], row["prog"], row["mode"]
        verdict = verdicts.get(key)
        if row["mode"] != "priv" or not features.get(key[:2], {}).get("self_contained") or verdict is None:
            continue
        if verdict["verdict"] == "accept" and verdict["insns"] < 3000 and row["attr"]["prog_type"] in _FIELDS:
            yield corpus.program_of(row, "6.18", 0, blobs)


@pytest.mark.oracle
@pytest.mark.skipif(not corpus.ORACLE.exists(), reason="the oracle folder is not here")
def test_recorded_programs() -> None:
    counts = Counts()
    for program in _recorded_programs():
        try:
            recorded = Recorded(program)
        except (NotSupported, TooMuch):
            continue
        if recorded.verdict.accepted:
            run(program, recorded, counts)
    _check(counts)
    assert counts.programs > 400 and counts.runs > 1000


def test_generated_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "fuzz"))
    import verifier_gen_scalar

    counts = Counts()
    for seed in range(1500 * SCALE):
        case = verifier_gen_scalar.generate(random.Random(seed))
        program = Program(case.insns, case.prog_type, V618, case.attach_type, log_level=0, name=f"seed {seed}")
        if has_sign_extending_load(program):
            continue
        try:
            recorded = Recorded(program)
        except TooMuch:
            continue
        if recorded.verdict.accepted:
            run(program, recorded, counts, _PACKETS[:1])
    _check(counts)
    assert counts.programs > 500 * SCALE
    sys.modules.pop("verifier_gen_scalar", None)


@pytest.mark.skipif(not (tnum.__file__ or "").endswith(".py"), reason="compiled functions cannot be replaced")
def test_a_wrong_transfer_function_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has teeth: with a sum that forgets its carries, runs leave their verified states."""
    insns = [
        Insn(0x85, imm=7), Insn(0x57, 0, imm=1), Insn(0xBF, 6, 0), Insn(0x85, imm=7), Insn(0x57, 0, imm=1),
        Insn(0x0F, 0, 6), Insn(0x95),
    ]  # fmt: skip
    program = Program(insns, 1, V618, log_level=0)
    counts = Counts()
    for _ in range(8):
        run(program, Recorded(program), counts)
    _check(counts)
    monkeypatch.setattr(tnum, "add", lambda a, b: (a[0] | b[0], 1))
    for _ in range(8):
        run(program, Recorded(program), counts)
    assert counts.wrong


def test_what_the_kernel_believes_wrongly() -> None:
    """r0 = (s32)fp-8 keeps the id of fp-8; comparing it then gives it the unsigned range of r8 (log of Linux 6.18)."""
    insns = [
        Insn(0x85, imm=7), Insn(0x47, 0, imm=-(1 << 31)), Insn(0xBC, 8, 0), Insn(0x7B, 10, 8, -8),
        Insn(0x81, 0, 10, -8), Insn(0x5E, 0, 8, 1), Insn(0xB7, 0, imm=0), Insn(0x95),
    ]  # fmt: skip
    program = Program(insns, 1, V618, log_level=2)
    assert "5: (5e) if w0 != w8 goto pc+1         ; R0=scalar(id=1,smin=umin=umin32=0x80000000" in verify(program).log
    assert has_sign_extending_load(program)
    counts = Counts()
    for _ in range(8):
        run(program, Recorded(program), counts)
    assert counts.wrong


def test_membership() -> None:
    insns = [Insn(0xB7, 0, imm=0), Insn(0x95)]
    program = Program(insns, 1, V618, log_level=0)
    watch = Watch(Recorded(program), UserKernel("6.18"), None, Counts())
    assert watch.inside(scalar(const(5)), 5) and not watch.inside(scalar(const(5)), 6)
    assert watch.inside(UNKNOWN, 1 << 63)
    zeros = uniform(3)
    assert watch.slot_inside(zeros, bytes(8)) and not watch.slot_inside(zeros, bytes(7) + b"\1")
    spilled = replace_slot(5)
    assert watch.slot_inside(spilled, (5).to_bytes(8, "little")) and not watch.slot_inside(spilled, bytes(8))


def replace_slot(number: int) -> Any:
    return uniform(1, scalar(const(number)))


def test_recording_does_not_change_the_verdict() -> None:
    insns = [Insn(0x85, imm=7), Insn(0x15, 0, 0, 1, 0), Insn(0xB7, 0, imm=1), Insn(0x95)]
    program = Program(insns, 1, V618, log_level=2)
    recorded = Recorded(program)
    assert recorded.verdict == replace(verify(program), microseconds=recorded.verdict.microseconds)
    assert sorted(recorded.states) == [0, 1, 2, 3] and len(recorded.states[3]) == 2
