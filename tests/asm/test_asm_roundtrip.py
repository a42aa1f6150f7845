"""assemble(disassemble(x)) == x in each style, over random instructions of every form."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bombus.asm import EXACT, NameHooks, assemble, disassemble
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.forms import FORMS
from bombus.isa.insn import Insn, decode
from bombus.isa.sample import sample

STYLES = [("llvm", 14), ("llvm", 19), ("llvm", 22), ("kernel", 19), ("ubpf", 19)]


def text_of(insns: list[Insn], style: str, llvm: int) -> str:
    return "\n".join(line.text for line in disassemble(insns, style, EXACT, llvm=llvm))  # type: ignore[arg-type]


@pytest.mark.parametrize(("style", "llvm"), STYLES)
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_form(style: str, llvm: int, seed: int) -> None:
    rng = random.Random(seed)
    insns = [insn for form in rng.sample(FORMS, 12) for insn in sample(rng, form)]
    text = text_of(insns, style, llvm)
    assert list(assemble(text, style).insns) == insns  # type: ignore[arg-type]
    assert list(assemble(text).insns) == insns


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.opcode:02x}-{f.name}")
def test_form_by_form(form: object) -> None:
    rng = random.Random(7)
    for _ in range(5):
        insns = sample(rng, form)  # type: ignore[arg-type]
        for style, llvm in STYLES:
            text = text_of(insns, style, llvm)
            assert list(assemble(text).insns) == insns, (style, text)


@given(data=st.binary(max_size=200))
def test_any_bytes_disassemble(data: bytes) -> None:
    insns = decode(data[: len(data) & ~7])
    for style, llvm in STYLES:
        lines = disassemble(insns, style, llvm=llvm)  # type: ignore[arg-type]
        assert sum(line.slots for line in lines) == len(insns)
        assert all(line.text and "\n" not in line.text for line in lines)


def test_ubpf_labels_round_trip() -> None:
    program = b.program(
        b.mov(0, 0), b.jmp("==", 1, 0, 2), b.add(0, 1), b.ja(-3), b.call_local(1), b.exit_(), b.mov(0, 2), b.exit_()
    )
    names = {4: "out", 1: "top", 6: "sub"}
    lines = disassemble(program, "ubpf", NameHooks(label=names.get))
    text = "\n".join((f"{names[line.index]}: " if line.index in names else "") + line.text for line in lines)
    assert "jeq %r1, 0x0, out" in text and "call local sub" in text
    assert list(assemble(text, "ubpf").insns) == program


def test_big_endian_bytes() -> None:
    text = "r1 = 5\nr2 = 0x1122334455667788 ll\nif r1 > 3 goto +1\n.quad 0x0102030405060708\n"
    little, big = assemble(text), assemble(text, byteorder="big")
    assert little.insns[:4] == big.insns[:4]
    assert big.section(".text").data.hex().startswith("b710000000000005")
    assert big.section(".text").data.endswith(bytes(range(1, 9)))


def test_indirect_calls_and_jumps() -> None:
    insns = [Insn(op.CALLX, 3), Insn(op.GOTOX, 4)]
    assert text_of(insns, "llvm", 22) == "callx r3\ngotox r4"
    assert text_of(insns, "ubpf", 19) == "call %r3\nja %r4"
    for style in ("llvm", "ubpf"):
        assert list(assemble(text_of(insns, style, 22)).insns) == insns


def test_an_instruction_without_meaning_keeps_its_bytes_in_ubpf_style() -> None:
    insns = [Insn(0xFF, 3, 4, -5, 6), b.exit_(), Insn(op.LD_IMM64, 1)]
    text = "\n".join(line.text for line in disassemble(insns, "ubpf"))
    assert list(assemble(text).insns) == insns
