"""Structural checks: a table of defects, programs of every form, and the running kernel's opinion."""

from __future__ import annotations

import ctypes
import platform
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bombus.errors import EncodingError
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.forms import BY_OPCODE, FORMS
from bombus.isa.insn import Insn, decode, encode
from bombus.isa.sample import sample
from bombus.isa.validate import check_fields, validate

EXIT = b.exit_()
WIDE = b.ld_imm64(1, 5)

# program, index of the culprit, field, words of the message
DEFECTS = [
    ([], None, "length", "at least one"),
    ([Insn(0xFF), EXIT], 0, "opcode", "0xff"),
    ([Insn(op.CALLX, 1), EXIT], 0, "opcode", "0x8d"),
    ([b.mov(11, 1), EXIT], 0, "dst", "register 11"),
    ([b.mov(1, b.Reg(12)), EXIT], 0, "src", "register 12"),
    ([b.mov(10, 1), EXIT], 0, "dst", "frame pointer"),
    ([b.ldx("u8", 10, 1), EXIT], 0, "dst", "frame pointer"),
    ([b.atomic(op.BPF_XCHG, "u64", 1, 0, 10), EXIT], 0, "src", "frame pointer"),
    ([b.mov(1, 1)._replace(src=2), EXIT], 0, "src", "reserved"),
    ([b.mov(1, b.R2)._replace(imm=2), EXIT], 0, "imm", "reserved"),
    ([b.movsx(1, 2, 24), EXIT], 0, "off", "not one of"),
    ([b.movsx(1, 2, 32, bits=32), EXIT], 0, "off", "not one of"),
    ([b.add(1, 1)._replace(off=1), EXIT], 0, "off", "reserved"),
    ([b.div(1, 0), EXIT], 0, "imm", "zero"),
    ([b.div(1, 2)._replace(off=2), EXIT], 0, "off", "not one of"),
    ([b.lsh(1, 64), EXIT], 0, "imm", "shift by 64"),
    ([b.lsh32(1, 32), EXIT], 0, "imm", "0 to 31"),
    ([b.arsh(1, -1), EXIT], 0, "imm", "shift by -1"),
    ([b.neg(1)._replace(imm=1), EXIT], 0, "imm", "reserved"),
    ([b.to_be(1, 24), EXIT], 0, "imm", "16, 32, 64"),
    ([b.addr_space_cast(1, 2, 0, 2), EXIT], 0, "imm", "0x2 is not one of"),
    ([b.ldx("u8", 1, 1)._replace(imm=1), EXIT], 0, "imm", "reserved"),
    ([b.stx("u8", 1, 0, 1)._replace(imm=1), EXIT], 0, "imm", "reserved"),
    ([b.st("u8", 1, 0, 1)._replace(src=1), EXIT], 0, "src", "reserved"),
    ([b.atomic(0x20, "u64", 1, 0, 2), EXIT], 0, "imm", "0x20"),
    ([b.atomic(op.BPF_ADD, "u8", 1, 0, 2), EXIT], 0, "imm", "not one of"),
    ([b.ld_abs("u8", 1)._replace(src=1), EXIT], 0, "src", "reserved"),
    ([b.ld_abs("u8", 1)._replace(dst=1), EXIT], 0, "dst", "reserved"),
    ([WIDE[0]], 0, "length", "second slot"),
    ([WIDE[0], EXIT], 1, "opcode", "second slot"),
    ([WIDE[0], Insn(0, 1), EXIT], 1, "dst", "second slot"),
    ([WIDE[0], Insn(0, 0, 0, 1), EXIT], 1, "off", "second slot"),
    ([*b.ld_imm64(1, 5 | 1 << 32, src=1), EXIT], 1, "imm", "map reference"),
    ([*b.ld_imm64(1, 5, src=7), EXIT], 0, "src", "0x7 is not one of"),
    ([WIDE[0]._replace(off=1), WIDE[1], EXIT], 0, "off", "reserved"),
    ([b.ja(1), EXIT], 0, "off", "jump to 2"),
    ([b.ja(-2), EXIT], 0, "off", "jump to -1"),
    ([b.gotol(5), EXIT], 0, "imm", "jump to 6"),
    ([b.ja(0)._replace(imm=1), EXIT], 0, "imm", "reserved"),
    ([b.ja(1), *WIDE, EXIT], 0, "off", "middle of ld_imm64 1"),
    ([b.may_goto(0), EXIT], 0, "off", "may_goto"),
    ([b.mov(0, 0)], 0, "opcode", "must end in"),
    ([b.call_local(1), EXIT], 0, "imm", "no instruction 2"),
    ([b.call_local(1), EXIT, b.ja(-2), EXIT], 2, "off", "out of its function (2 to 3)"),
    ([b.call_local(2), EXIT, *WIDE, EXIT], 0, "imm", "middle of ld_imm64 2"),
    ([b.call(1)._replace(off=1), EXIT], 0, "off", "reserved"),
    ([b.call(1)._replace(src=3), EXIT], 0, "src", "0x3 is not one of"),
    ([EXIT._replace(imm=1)], 0, "imm", "reserved"),
]


@pytest.mark.parametrize(("program", "index", "field", "words"), DEFECTS, ids=range(len(DEFECTS)))
def test_defects(program: list[Insn], index: int | None, field: str, words: str) -> None:
    with pytest.raises(EncodingError) as error:
        validate(program)
    assert (error.value.insn, error.value.field) == (index, field), str(error.value)
    assert words in str(error.value)


def test_good_program_gives_its_forms() -> None:
    program = b.program(
        b.ld_imm64(1, 2, src=op.BPF_PSEUDO_MAP_VALUE), b.call_local(3), b.jmp("==", 0, 0, 1), b.may_goto(-2),
        EXIT, b.ldx("s8", 0, 1), EXIT,
    )  # fmt: skip
    names = [form.name if form else None for form in validate(program)]
    assert names == ["ld_imm64", None, "call_local", "jeq", "may_goto", "exit", "ldsx", "exit"]


# RFC 9669 appendix A without 0x00 (the second slot of ld_imm64).
RFC_9669 = """04-07 0c 0f 14-18 1c-20 24-28 2c-30 34-37 3c-40 44-48 4c-50 54-57 5c-5f 61-67 69-6f 71-77 79-7f 81 84 85
 87 89 91 94 95 97 9c 9f a4-a7 ac-af b4-b7 bc-bf c3-c7 cc-cf d4-d7 db-de"""
LATER = {0xCB, 0xD3, 0xE5}  # ordered loads and stores of 16 and 8 bits, may_goto


def test_opcodes_are_those_of_the_standard() -> None:
    standard = set()
    for part in RFC_9669.split():
        first, _, last = part.partition("-")
        standard |= set(range(int(first, 16), int(last or first, 16) + 1))
    assert set(BY_OPCODE) == standard | LATER


@given(st.randoms(use_true_random=False), st.sampled_from(FORMS))
def test_samples_are_valid(rng: random.Random, form: object) -> None:
    for insn in sample(rng, form)[:1]:  # type: ignore[arg-type]
        assert check_fields(insn) is form


@given(st.binary(max_size=80).map(lambda data: data[: len(data) & ~7]))
def test_any_bytes_are_judged(data: bytes) -> None:
    try:
        forms = validate(decode(data))
    except EncodingError as error:
        assert error.field
    else:
        assert len(forms) * 8 == len(data)


SYS_BPF = 321 if platform.machine() == "x86_64" else 280

STRUCTURAL = re.compile(
    r"reserved fields|unknown opcode|(invalid|unrecognized) bpf_ld_imm64|R\d+ is invalid|frame pointer is read"
    r"|div by zero|invalid shift|jump out of range|jump into the middle|invalid atomic|invalid (BPF_)?ATOMIC"
    r"|uses invalid atomic|last insn is not|invalid may_goto|invalid BPF_LD|only convert between address"
    r"|invalid BPF_ALU|invalid destination",
    re.IGNORECASE,
)


def kernel_verdict(program: list[Insn]) -> tuple[int, str]:
    """errno and log of BPF_PROG_LOAD as a socket filter. Skips the test where bpf(2) is refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    insns = ctypes.create_string_buffer(encode(program))
    license_, log = ctypes.create_string_buffer(b"GPL"), ctypes.create_string_buffer(65536)
    attr = bytearray(128)
    for offset, size, value in (
        (0, 4, 1), (4, 4, len(program)), (8, 8, ctypes.addressof(insns)), (16, 8, ctypes.addressof(license_)),
        (24, 4, 1), (28, 4, len(log)), (32, 8, ctypes.addressof(log)),
    ):  # fmt: skip
        attr[offset : offset + size] = value.to_bytes(size, "little")
    fd = libc.syscall(SYS_BPF, 5, (ctypes.c_char * len(attr)).from_buffer(attr), len(attr))
    if fd >= 0:
        libc.close(fd)
        return 0, ""
    return ctypes.get_errno(), log.value.decode()


@pytest.mark.linux
def test_same_structural_verdicts_as_the_running_kernel() -> None:
    if kernel_verdict([b.mov(0, 0), EXIT])[0]:
        pytest.skip("bpf(2) is refused here")
    rng = random.Random(4)
    refused_by_both = 0
    for _ in range(6000):
        first, *rest = sample(rng, target=lambda bits: rng.randint(-3, 6), registers=9)
        field = rng.choice(["opcode", "dst", "src", "off", "imm", "imm", "second", ""])
        if field == "second" and rest:
            name = rng.choice(["opcode", "dst", "src", "off"])
            rest = [rest[0]._replace(**{name: rng.randrange(3)})]
        elif field and field != "second":
            limit = {"opcode": 256, "dst": 16, "src": 16}.get(field, 80)
            value = rng.randrange(limit) if limit > 80 or limit == 16 else rng.randint(-2, limit)
            first = first._replace(**{field: value})
        if first.opcode == op.CALL and first.src == op.BPF_PSEUDO_KFUNC_CALL:
            continue  # the kernel looks kfuncs up before it looks at fields
        if first.opcode == op.LD_IMM64 and first.src:
            continue  # the same for maps and BTF
        # r6 holds the ctx for ld_abs, the others a scalar
        program = [b.mov(6, b.R1), *(b.mov(n, 1) for n in (0, 1, 2, 3, 4, 5, 7, 8, 9)), first, *rest]
        program += [b.mov(0, 0), b.mov(0, 0), EXIT]
        errno, log = kernel_verdict(program)
        complaint = STRUCTURAL.search(log)
        try:
            validate(program)
        except EncodingError as error:
            assert errno, f"the kernel takes {first}: {error}"
            refused_by_both += 1
        else:
            assert not complaint, f"{first} {rest}: {log}"
    assert refused_by_both > 1000
