"""Text equal to the kernel's verifier log and to bpftool's xlated dump."""

from __future__ import annotations

import base64
import ctypes
import gzip
import json
import os
import platform
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bombus.asm import BPFTOOL, EXACT, NameHooks, assemble, disassemble, format_insn
from bombus.errors import EncodingError
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.forms import FORMS
from bombus.isa.insn import Insn, decode, encode
from bombus.isa.sample import sample
from bombus.isa.validate import validate
from bombus.spec.version import KernelVersion

ORACLE = Path(__file__).parents[2] / ".." / "shared" / "oracle"
FULL = bool(os.environ.get("BOMBUS_FULL"))
V6_12 = KernelVersion(6, 12)

# instruction, text in the log of the newest kernel
TEXTS = [
    (b.mov(6, b.R1), "(bf) r6 = r1"),
    (b.mov(1, 0), "(b7) r1 = 0"),
    (b.mov32(1, -1), "(b4) w1 = -1"),
    (b.add32(7, b.R8), "(0c) w7 += w8"),
    (b.neg(3), "(87) r3 = -r3"),
    (b.neg(3, bits=32), "(84) w3 = -w3"),
    (b.sdiv(1, b.R2), "(3f) r1 s/= r2"),
    (b.smod32(1, -7), "(94) w1 s%= -7"),
    (b.arsh(1, 63), "(c7) r1 s>>= 63"),
    (b.movsx(1, 2, 8), "(bf) r1 = (s8)r2"),
    (b.movsx(1, 2, 16, bits=32), "(bc) w1 = (s16)w2"),
    (b.to_be(1, 16), "(dc) r1 = be16 r1"),
    (b.to_le(1, 64), "(d4) r1 = le64 r1"),
    (b.bswap(1, 32), "(d7) r1 = bswap32 r1"),
    (b.addr_space_cast(1, 2, 0, 1), "(bf) r1 = addr_space_cast(r2, 0, 1)"),
    (Insn(0xBF, 1, 2, -1), "(bf) r1 = &(void __percpu *)(r2)"),
    (b.ldx("u32", 1, 10, -8), "(61) r1 = *(u32 *)(r10 -8)"),
    (b.ldx("s16", 1, 2, 0), "(89) r1 = *(s16 *)(r2 +0)"),
    (b.st("u64", 10, -16, -5), "(7a) *(u64 *)(r10 -16) = -5"),
    (b.stx("u8", 2, 4, 3), "(73) *(u8 *)(r2 +4) = r3"),
    (Insn(op.BPF_ST | 0xC0), "(c2) nospec"),
    (b.atomic(op.BPF_ADD, "u64", 1, 8, 2), "(db) lock *(u64 *)(r1 +8) += r2"),
    (b.atomic(op.BPF_AND | op.BPF_FETCH, "u32", 1, 8, 2), "(c3) r2 = atomic_fetch_and((u32 *)(r1 +8), r2)"),
    (b.atomic(op.BPF_XOR | op.BPF_FETCH, "u64", 1, 8, 2), "(db) r2 = atomic64_fetch_xor((u64 *)(r1 +8), r2)"),
    (b.atomic(op.BPF_XCHG, "u64", 1, 0, 2), "(db) r2 = atomic64_xchg((u64 *)(r1 +0), r2)"),
    (b.atomic(op.BPF_CMPXCHG, "u32", 1, 0, 2), "(c3) r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)"),
    (b.load_acquire("u8", 1, 2, -4), "(d3) r1 = load_acquire((u8 *)(r2 -4))"),
    (b.store_release("u64", 1, 4, 2), "(db) store_release((u64 *)(r1 +4), r2)"),
    (b.ld_abs("u16", 12), "(28) r0 = *(u16 *)skb[12]"),
    (b.ld_ind("u8", 7, -3), "(50) r0 = *(u8 *)skb[r7 + -3]"),
    (b.jmp("==", 1, -1, -2), "(15) if r1 == 0xffffffff goto pc-2"),
    (b.jmp("s<", 1, b.R2, 3, bits=32), "(ce) if w1 s< w2 goto pc+3"),
    (b.ja(3), "(05) goto pc+3"),
    (b.gotol(-70000), "(06) gotol pc-70000"),
    (b.may_goto(3), "(e5) may_goto pc+3"),
    (b.call(1), "(85) call bpf_map_lookup_elem#1"),
    (b.call(99999), "(85) call unknown#99999"),
    (b.call(-1), "(85) call unknown#-1"),
    (b.call_local(7), "(85) call pc+7"),
    (b.call_kfunc(77), "(85) call kernel-function#77"),
    (b.exit_(), "(95) exit"),
    (Insn(op.BPF_LD | op.BPF_MEM), "BUG_ld_60"),
    (Insn(op.BPF_LDX | op.BPF_IND), "BUG_ldx_41"),
    (Insn(op.BPF_ST | op.BPF_ABS), "BUG_st_22"),
    (Insn(op.BPF_STX | op.BPF_ABS), "BUG_23"),
    (Insn(op.BPF_STX | op.BPF_ATOMIC, imm=2), "BUG_c3"),
    (Insn(0xE7, 1, 0, 0, 2), "(e7) r1 (null) 2"),
    (Insn(0xF5, 1, 0, 1, 2), "(f5) if r1 (null) 0x2 goto pc+1"),
]

# instruction, kernel, what that kernel's log says of it
OLD_TEXTS = [
    (b.sdiv(1, 3), "6.1", "(37) r1 /= 3"),
    (b.movsx(1, 2, 8), "6.1", "(bf) r1 = r2"),
    (b.ldx("s8", 1, 2), "6.5", "BUG_ldx_91"),
    (b.bswap(1, 16), "6.1", "BUG_alu64_d7"),
    (b.gotol(3), "6.1", "(06) if w0 jmp 0x3 goto pc+0"),
    (b.may_goto(3), "6.8", "(e5) if r0 (null) 0x0 goto pc+3"),
    (b.addr_space_cast(1, 2, 0, 1), "6.8", "(bf) r1 = r2"),
    (b.load_acquire("u64", 1, 2), "6.12", "BUG_db"),
    (Insn(op.GOTOX, 1), "6.18", "(0d) if r1 jmp r0 goto pc+0"),
    (Insn(op.GOTOX, 1), "6.19", "(0d) gotox r1"),
    (b.call(211), "5.15", "(85) call unknown#211"),
    (b.call(211), "6.6", "(85) call bpf_cgrp_storage_delete#211"),
]


@pytest.mark.parametrize(("insn", "text"), TEXTS, ids=[t[1] for t in TEXTS])
def test_text(insn: Insn, text: str) -> None:
    assert format_insn([insn], 0) == text


@pytest.mark.parametrize(("insn", "version", "text"), OLD_TEXTS, ids=[f"{t[1]} {t[2]}" for t in OLD_TEXTS])
def test_text_of_older_kernels(insn: Insn, version: str, text: str) -> None:
    assert format_insn([insn], 0, kernel=KernelVersion.parse(version)) == text


def test_wide_loads_and_names() -> None:
    program = b.program(b.ld_imm64(1, 3, 1), b.ld_imm64(2, 8 << 32 | 3, 2), b.ld_imm64(3, 0x1234), b.ld_imm64(4, 4, 4))
    assert [line.text for line in disassemble(program, "kernel", BPFTOOL)] == [
        "(18) r1 = map[id:3]",
        "(18) r2 = map[id:3][0]+8",
        "(18) r3 = 0x1234",
        "(18) r4 = subprog[+4]",
    ]
    assert [line.text for line in disassemble(program, "kernel", leak=False)] == [
        "(18) r1 = 0x0",
        "(18) r2 = 0x0",
        "(18) r3 = 0x1234",
        "(18) r4 = 0x4",
    ]
    names = NameHooks(
        kfunc=lambda btf_id, off: f"bpf_kfunc_{btf_id}_{off}",
        subprog=lambda index, insn: "+7#bpf_prog_1234_f",
        helper=lambda imm: "named" if imm == 5000 else None,
    )
    calls = [b.call_kfunc(5, 2), b.call_local(1), b.call(5000), b.call(1)]
    assert [line.text for line in disassemble(calls, "kernel", names)] == [
        "(85) call bpf_kfunc_5_2#5",
        "(85) call pc+7#bpf_prog_1234_f",
        "(85) call named#5000",
        "(85) call bpf_map_lookup_elem#1",
    ]


def rows(name: str) -> Iterator[dict[str, Any]]:
    path = ORACLE / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip("the oracle folder is absent")
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


_LOG_LINE = re.compile(r"^(\d+): (\([0-9a-f]{2}\) .*?|BUG_\S+)(?: *;.*)?$")
_KFUNC = re.compile(r"\(85\) call (\S+?)#(-?\d+)$")


def same(theirs: str, ours: str, insn: Insn) -> bool:
    """Equal but for what the log shows and the instructions that were handed in do not hold."""
    if insn.opcode == op.LD_IMM64 and insn.src:  # the kernel shows addresses
        return re.fullmatch(rf"\(18\) r{insn.dst} = 0x[0-9a-f]+", theirs) is not None
    if insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_KFUNC_CALL:  # named by the kernel's BTF
        a, c = _KFUNC.match(theirs), _KFUNC.match(ours)
        return a is not None and c is not None and a[2] == c[2] and c[1] == "kernel-function"
    return theirs == ours


@pytest.mark.oracle
@pytest.mark.parametrize("version", ["6.12", "6.18"])
def test_recorded_logs(version: str) -> None:
    """Every instruction line of level 2 logs; a part of them unless BOMBUS_FULL is set."""
    every = 1 if FULL else 37
    logs = {}
    for number, row in enumerate(rows(f"logs-{version}")):
        if number % every == 0 and row["log2"]:
            logs[row["object"], row["program"], row["mode"]] = row["log2"]
    compared, kinds = 0, set()
    wrong = []
    for row in rows(f"loads-{version}"):
        log = logs.pop((row["obj"], row["prog"], row["mode"]), None)
        if log is None:
            continue
        insns = decode(base64.b64decode(row["insns"]))
        expected = {line.index: line for line in disassemble(insns, "kernel", kernel=KernelVersion.parse(version))}
        for text in log.splitlines():
            match = _LOG_LINE.match(text)
            if match is None or int(match[1]) not in expected:
                continue
            line = expected[int(match[1])]
            if not same(match[2].rstrip(), line.text, line.insn):
                wrong.append((row["prog"], text, line.text))
            compared += 1
            kinds.add(line.insn.opcode)
    assert not wrong, wrong[:10]
    assert compared > (300_000 if FULL else 3_000) and len(kinds) > (90 if FULL else 60)


@pytest.mark.oracle
def test_recorded_instructions_come_back_from_their_text() -> None:
    every = 1 if FULL else 13
    compared = 0
    for number, row in enumerate(rows("loads-6.18")):
        if number % every:
            continue
        insns = decode(base64.b64decode(row["insns"]))
        try:
            validate(insns)
        except EncodingError:
            continue  # the selftests load bad encodings too, which have no text of their own
        text = "\n".join(f"{line.index}: {line.text}" for line in disassemble(insns, "kernel", EXACT))
        again = assemble(text, "kernel").insns
        assert list(again) == insns
        compared += len(insns)
    assert compared > 3_000


# The running kernel and bpftool

_SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 321)


def load(insns: list[Insn]) -> int:
    """BPF_PROG_LOAD of a socket filter; the fd, or -errno."""
    code = ctypes.create_string_buffer(encode(insns))
    license_ = ctypes.create_string_buffer(b"GPL")
    attr = (ctypes.c_uint64 * 16)()
    attr[0] = len(insns) << 32 | 1
    attr[1], attr[2] = ctypes.addressof(code), ctypes.addressof(license_)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(_SYS_BPF, 5, ctypes.byref(attr), ctypes.sizeof(attr)))
    return fd if fd >= 0 else -ctypes.get_errno()


def info(fd: int) -> tuple[int, list[Insn]]:
    """Program id and translated instructions, by BPF_OBJ_GET_INFO_BY_FD."""
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(1 << 16)
    record = (ctypes.c_uint32 * 64)()
    record[5] = len(room)  # xlated_prog_len
    ctypes.cast(ctypes.byref(record, 32), ctypes.POINTER(ctypes.c_uint64))[0] = ctypes.addressof(room)
    attr = (ctypes.c_uint64 * 2)(ctypes.sizeof(record) << 32 | fd, ctypes.addressof(record))
    assert libc.syscall(_SYS_BPF, 15, ctypes.byref(attr), ctypes.sizeof(attr)) == 0
    return int(record[1]), decode(room.raw[: record[5]])


def new_map() -> int:
    attr = (ctypes.c_uint32 * 12)(2, 4, 16, 4)
    return int(ctypes.CDLL(None, use_errno=True).syscall(_SYS_BPF, 0, ctypes.byref(attr), ctypes.sizeof(attr)))


def accepted_program(rng: random.Random, map_fd: int) -> list[Insn]:
    """A program that the kernel takes, of random ALU, stack memory, jumps, map references and calls."""
    body = [insn for n in range(10) for insn in (b.mov(n, rng.randrange(1, 100)),) if n != 10]
    for offset in range(8, 72, 8):
        body.append(b.st("u64", 10, -offset, rng.randrange(100)))
    for _ in range(30):
        form = rng.choice(FORMS)
        if form.name in ("call_local", "call_kfunc", "ja", "gotol", "may_goto", "exit", "ld_abs", "ld_ind"):
            continue
        insns = sample(rng, form, lambda bits: 0)
        first = insns[0]
        if form.name == "addr_space_cast":
            continue
        if form.name == "call":
            insns = [b.call(rng.choice((5, 7, 8))), *(b.mov(n, n) for n in range(1, 6))]
        elif form.name == "ld_imm64":
            kind = rng.choice((0, 1, 2))
            value = rng.getrandbits(64) if kind == 0 else map_fd | (rng.randrange(32) << 32 if kind == 2 else 0)
            insns = [*b.ld_imm64(first.dst, value, kind), b.mov(first.dst, 3)]
        elif form.opcode & 7 in (op.BPF_LDX, op.BPF_ST, op.BPF_STX):
            base = "src" if form.opcode & 7 == op.BPF_LDX or form.name == "load_acquire" else "dst"
            changed = {base: 10, "off": -8 * rng.randrange(1, 8)}
            other = "dst" if base == "src" else "src"
            if getattr(first, other) == 10:
                changed[other] = 3
            insns = [first._replace(**changed)]
        elif 10 in (first.dst, first.src):
            continue
        body += insns
    body += [b.mov(0, 0), b.jmp(">", 0, 5, 1), b.exit_(), b.exit_()]
    return body


@pytest.mark.linux
@pytest.mark.debian
def test_bpftool_dump_of_loaded_programs() -> None:
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin")
    if bpftool is None:
        pytest.skip("bpftool is not installed")
    if (probe := load([b.mov(0, 0), b.exit_()])) < 0:
        pytest.skip(f"bpf(2) refuses a program: {os.strerror(-probe)}")
    os.close(probe)
    # bpftool has the printer of the kernel that it was made for: 7.1 is Linux 6.1.
    told = re.search(
        r"bpftool v(\d+)\.(\d+)", subprocess.run([bpftool, "version"], capture_output=True, text=True).stdout
    )
    assert told is not None
    version = KernelVersion(int(told[1]) - 1, int(told[2]))
    rng = random.Random(5)
    map_fd = new_map()
    assert map_fd >= 0
    compared, kinds = 0, set()
    for _ in range(60):
        fd = load(accepted_program(rng, map_fd))
        if fd < 0:
            continue
        try:
            number, insns = info(fd)
            dump = subprocess.run(
                [bpftool, "prog", "dump", "xlated", "id", str(number)], capture_output=True, text=True
            )
        finally:
            os.close(fd)
        theirs = dict(re.findall(r"^ *(\d+): (.*)$", dump.stdout, re.M))
        # bpftool names helpers by /proc/kallsyms.
        calls = {index: m[1] for index, text in theirs.items() if (m := re.search(r"call (\S+)#", text))}
        names = {insns[int(index)].imm: name for index, name in calls.items()}
        for line in disassemble(insns, "kernel", replace(BPFTOOL, helper=names.get), kernel=version):
            assert theirs.pop(str(line.index)) == line.text
            compared += 1
            kinds.add(line.insn.opcode)
        assert not theirs
    os.close(map_fd)
    assert compared > 500 and len(kinds) > 50
