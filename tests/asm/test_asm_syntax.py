"""What the assembler reads, case by case: operand spellings, labels, expressions, directives, symbols."""

from __future__ import annotations

import pytest

from bombus.asm import assemble
from bombus.asm.model import Relocation
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn

I = Insn

# text, instructions
ONE = [
    # clang
    ("r1 = 5", b.mov(1, 5)),
    ("  R1 = R2  ", b.mov(1, b.R2)),
    ("r1=r2", b.mov(1, b.R2)),
    ("w1 = -1", b.mov32(1, -1)),
    ("r1 = w2", b.mov32(1, b.R2)),
    ("r1 = 0xffffffff", b.mov(1, -1)),
    ("r1 = 'a'", b.mov(1, 97)),
    ("r1 = 0b101", b.mov(1, 5)),
    ("r1 = 017", b.mov(1, 15)),
    ("r2 = (1+2)*3 - 1", b.mov(2, 8)),
    ("r2 = 1 << 4 | 3", b.mov(2, 19)),
    ("r2 = -7 / 2", b.mov(2, -3)),
    ("r2 = ~0", b.mov(2, -1)),
    ("r1 += r2", b.add(1, b.R2)),
    ("r1 s/= 3", b.sdiv(1, 3)),
    ("w1 s%= w2", b.smod32(1, b.R2)),
    ("r1 s>>= 3", b.arsh(1, 3)),
    ("r1 = -r1", b.neg(1)),
    ("w1 = -w1", b.neg(1, bits=32)),
    ("r1 = (s8)r2", b.movsx(1, 2, 8)),
    ("w1 = (s16) w2", b.movsx(1, 2, 16, bits=32)),
    ("r1 = be16 r1", b.to_be(1, 16)),
    ("r1 = le32 r1", b.to_le(1, 32)),
    ("r1 = bswap64 r1", b.bswap(1, 64)),
    ("r1 = addr_space_cast(r2, 0, 1)", b.addr_space_cast(1, 2, 0, 1)),
    ("r1 = *(u32 *)(r2 + 4)", b.ldx("u32", 1, 2, 4)),
    ("w1 = *(u32 *)(r2 + 4)", b.ldx("u32", 1, 2, 4)),
    ("r1 = *(u8 *)(r2 - 4)", b.ldx("u8", 1, 2, -4)),
    ("r1 = *(u8*)(r2+4+4)", b.ldx("u8", 1, 2, 8)),
    ("r1 = *(u64 *)(r2)", b.ldx("u64", 1, 2)),
    ("r1 = *(s32 *)(r2 + 0x10)", b.ldx("s32", 1, 2, 16)),
    ("*(u16 *)(r10 - 8) = 300", b.st("u16", 10, -8, 300)),
    ("*(u16 *)(r10 - 8) = w3", b.stx("u16", 10, -8, 3)),
    ("*(u64 *)(r10 - 8) = r3", b.stx("u64", 10, -8, 3)),
    ("lock *(u32 *)(r1 + 4) += w2", b.atomic(op.BPF_ADD, "u32", 1, 4, 2)),
    ("lock *(u64 *)(r1 + 4) ^= r2", b.atomic(op.BPF_XOR, "u64", 1, 4, 2)),
    ("r2 = atomic_fetch_or((u64 *)(r1 + 4), r2)", b.atomic(op.BPF_OR | 1, "u64", 1, 4, 2)),
    ("w2 = atomic_fetch_or((u32 *)(r1 + 4), w2)", b.atomic(op.BPF_OR | 1, "u32", 1, 4, 2)),
    ("r2 = xchg_64(r1 + 8, r2)", b.atomic(op.BPF_XCHG, "u64", 1, 8, 2)),
    ("w2 = xchg32_32(r1 + 8, w2)", b.atomic(op.BPF_XCHG, "u32", 1, 8, 2)),
    ("r0 = cmpxchg_64(r1 + 8, r0, r2)", b.atomic(op.BPF_CMPXCHG, "u64", 1, 8, 2)),
    ("w0 = cmpxchg32_32(r1 + 8, w0, w2)", b.atomic(op.BPF_CMPXCHG, "u32", 1, 8, 2)),
    ("w1 = load_acquire((u8 *)(r2 + 1))", b.load_acquire("u8", 1, 2, 1)),
    ("store_release((u64 *)(r1 - 8), r2)", b.store_release("u64", 1, -8, 2)),
    ("r0 = *(u16 *)skb[12]", b.ld_abs("u16", 12)),
    ("r0 = *(u8 *)skb[r7]", b.ld_ind("u8", 7)),
    ("if r1 == 5 goto +3", b.jmp("==", 1, 5, 3)),
    ("if w1 s<= w2 goto -3", b.jmp("s<=", 1, b.R2, -3, bits=32)),
    ("if r1 & 0x7 goto +0x3 <LBB0_3>", b.jmp("&", 1, 7, 3)),
    ("goto 5", b.ja(5)),
    ("goto -0x5", b.ja(-5)),
    ("gotol +70000", b.gotol(70000)),
    ("may_goto +2", b.may_goto(2)),
    ("call 12", b.call(12)),
    ("call 1; ", b.call(1)),
    ("callx r3", I(op.CALLX, 3)),
    ("gotox r3", I(op.GOTOX, 3)),
    ("exit", b.exit_()),
    # kernel
    ("(bf) r6 = r1", b.mov(6, b.R1)),
    ("17: (bf) r6 = r1", b.mov(6, b.R1)),
    ("17: (61) r1 = *(u32 *)(r10 -8)       ; R1=0xdeadbeef", b.ldx("u32", 1, 10, -8)),
    ("(85) call bpf_map_lookup_elem#1", b.call(1)),
    ("call bpf_map_lookup_elem#1", b.call(1)),
    ("(85) call unknown#2000", b.call(2000)),
    ("(85) call bpf_rcu_read_lock#77", b.call_kfunc(77)),
    ("(85) call kernel-function#77", b.call_kfunc(77)),
    ("(85) call pc+7", b.call_local(7)),
    ("(85) call pc+7#bpf_prog_6deef7357e7b4530_f", b.call_local(7)),
    ("(55) if r0 != 0x0 goto pc+19", b.jmp("!=", 0, 0, 19)),
    ("(15) if r1 == 0xffffffff goto pc-2", b.jmp("==", 1, -1, -2)),
    ("(05) goto pc+3", b.ja(3)),
    ("(e5) may_goto pc+3", b.may_goto(3)),
    ("(db) r2 = atomic64_fetch_add((u64 *)(r1 +8), r2)", b.atomic(op.BPF_ADD | 1, "u64", 1, 8, 2)),
    ("(c3) r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)", b.atomic(op.BPF_CMPXCHG, "u32", 1, 0, 2)),
    ("(d3) r1 = load_acquire((u8 *)(r2 -4))", b.load_acquire("u8", 1, 2, -4)),
    ("(50) r0 = *(u8 *)skb[r7 + -3]", b.ld_ind("u8", 7, -3)),
    ("(c2) nospec", I(0xC2)),
    ("(bf) r1 = &(void __percpu *)(r2)", I(0xBF, 1, 2, -1)),
    # ubpf
    ("mov %r0, 1", b.mov(0, 1)),
    ("mov32 r0, -1", b.mov32(0, -1)),
    ("add %r1, %r2", b.add(1, b.R2)),
    ("sdiv32 %r1, %r2", b.sdiv32(1, b.R2)),
    ("smod %r1, 3", b.smod(1, 3)),
    ("neg %r1", b.neg(1)),
    ("neg32 %r1", b.neg(1, bits=32)),
    ("be16 %r1", b.to_be(1, 16)),
    ("le64 %r1", b.to_le(1, 64)),
    ("bswap32 %r1", b.bswap(1, 32)),
    ("swap32 %r1", b.bswap(1, 32)),
    ("movsx864 %r1, %r2", b.movsx(1, 2, 8)),
    ("movsx1632 %r1, %r2", b.movsx(1, 2, 16, bits=32)),
    ("stxdw [%r10-8], %r0", b.stx("u64", 10, -8, 0)),
    ("stxw [%fp+-4],%r0", b.stx("u32", 10, -4, 0)),
    ("stw [%r10+0x10], 0x11", b.st("u32", 10, 16, 17)),
    ("ldxb %r0, [%r1]", b.ldx("u8", 0, 1)),
    ("ldxsh %r0, [%r1+2]", b.ldx("s16", 0, 1, 2)),
    ("jne %r1, 5, +3", b.jmp("!=", 1, 5, 3)),
    ("jslt32 %r1, %r2, -3", b.jmp("s<", 1, b.R2, -3, bits=32)),
    ("ja +1", b.ja(1)),
    ("ja32 -1", b.gotol(-1)),
    ("lock add [%r1+0], %r2", b.atomic(op.BPF_ADD, "u64", 1, 0, 2)),
    ("lock fetch add32 [%r1+4], %r2", b.atomic(op.BPF_ADD | 1, "u32", 1, 4, 2)),
    ("lock fetch_xor [%r1], %r2", b.atomic(op.BPF_XOR | 1, "u64", 1, 0, 2)),
    ("lock cmpxchg [%r1], %r2", b.atomic(op.BPF_CMPXCHG, "u64", 1, 0, 2)),
    ("lock xchg32 [%r1], %r2", b.atomic(op.BPF_XCHG, "u32", 1, 0, 2)),
    ("call helper 3", b.call(3)),
    ("call local +1", b.call_local(1)),
    ("call runtime 9", b.call_kfunc(9)),
    ("call %r2", I(op.CALLX, 2)),
    ("ja %r2", I(op.GOTOX, 2)),
]

WIDE = [
    ("r1 = 5 ll", b.ld_imm64(1, 5)),
    ("r1 = -1 ll", b.ld_imm64(1, -1)),
    ("r1 = 0xffffffffffffffff ll", b.ld_imm64(1, -1)),
    ("r1 = 2 + 3 ll", b.ld_imm64(1, 5)),
    ("ld_pseudo r1, 1, 7", b.ld_imm64(1, 7, 1)),
    ("(18) r1 = 0x5", b.ld_imm64(1, 5)),
    ("(18) r1 = 0xffff8882692b6800", b.ld_imm64(1, 0xFFFF8882692B6800)),
    ("(18) r1 = map[id:3]", b.ld_imm64(1, 3, 1)),
    ("r1 = map[fd:3]", b.ld_imm64(1, 3, 1)),
    ("(18) r2 = map[id:3][0]+8", b.ld_imm64(2, 8 << 32 | 3, 2)),
    ("r2 = map[idx:3]", b.ld_imm64(2, 3, 5)),
    ("r2 = map[idx:3]+8", b.ld_imm64(2, 8 << 32 | 3, 6)),
    ("(18) r2 = subprog[+4]", b.ld_imm64(2, 4, 4)),
    ("lddw %r1, 0x1122334455667788", b.ld_imm64(1, 0x1122334455667788)),
    ("lddw %r1, 7, 1", b.ld_imm64(1, 7, 1)),
]


@pytest.mark.parametrize(("text", "insn"), ONE, ids=[t for t, _ in ONE])
def test_one_instruction(text: str, insn: Insn) -> None:
    assert assemble(text).insns == (insn,)


@pytest.mark.parametrize(("text", "insns"), WIDE, ids=[t for t, _ in WIDE])
def test_wide_instruction(text: str, insns: list[Insn]) -> None:
    assert list(assemble(text).insns) == insns


# text, style, instructions
PROGRAMS = [
    ("# c\nr0 = 1 # c\nr1 = 2 // c\n/* a\n b */ r2 = 3 /* c */\n; c\nexit", "auto",
     [b.mov(0, 1), b.mov(1, 2), b.mov(2, 3), b.exit_()]),
    ("r0 = 1; r1 = 2; exit", "auto", [b.mov(0, 1), b.mov(1, 2), b.exit_()]),
    ("r0 = 1 ; r1 = 2", "kernel", [b.mov(0, 1)]),
    ("0: r0 = 1\n1: exit", "kernel", [b.mov(0, 1), b.exit_()]),
    ("top: r0 += 1\n if r0 < 5 goto top\n goto out\n r0 = 0\nout: exit", "auto",
     [b.add(0, 1), b.jmp("<", 0, 5, -2), b.ja(1), b.mov(0, 0), b.exit_()]),
    ("1: r0 += 1\ngoto 1f\ngoto 1b\n1: exit", "auto", [b.add(0, 1), b.ja(1), b.ja(-3), b.exit_()]),
    ("goto out\n r1 = 5 ll\nout: exit", "auto", [b.ja(2), *b.ld_imm64(1, 5), b.exit_()]),
    ("gotol out\nmay_goto out\nout: exit", "auto", [b.gotol(1), b.may_goto(0), b.exit_()]),
    ("call f\nexit\nf: r0 = 1\nexit", "auto", [b.call_local(1), b.exit_(), b.mov(0, 1), b.exit_()]),
    (".globl f\ncall f\nexit\nf: r0 = 1\nexit", "auto", [b.call_local(1), b.exit_(), b.mov(0, 1), b.exit_()]),
    ("call bpf_map_lookup_elem\nexit", "auto", [b.call(1), b.exit_()]),
    ("N = 3\n.set M, N * 2\nr0 = M\n.equ M, 9\nr0 = M + N", "auto", [b.mov(0, 6), b.mov(0, 12)]),
    ("jeq %r1, 5, exit\nmov %r0, 1\nexit\nexit", "ubpf", [b.jmp("==", 1, 5, 1), b.mov(0, 1), b.exit_(), b.exit_()]),
    ("mov %r0, 1\nr0 += 2\n2: (95) exit", "auto", [b.mov(0, 1), b.add(0, 2), b.exit_()]),
    (".byte 0xb7, 0, 0, 0\n.long 7\n.quad 0x95", "auto", [b.mov(0, 7), b.exit_()]),
    ("r0 = 0\n.p2align 4\nexit", "auto", [b.mov(0, 0), b.ja(0), b.exit_()]),
    ("0000000000000000 <f>:\n       0:\tr0 = 0x1\n       1:\tgoto -0x2 <f>\n", "auto", [b.mov(0, 1), b.ja(-2)]),
    ('"odd name": goto "odd name"', "auto", [b.ja(-1)]),
    ("a:b: goto a\ngoto b", "auto", [b.ja(-1), b.ja(-2)]),
    ("", "auto", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "style", "insns"), PROGRAMS, ids=[repr(t[:40]) for t, _, _ in PROGRAMS])
def test_program(text: str, style: str, insns: list[Insn]) -> None:
    assert list(assemble(text, style).insns) == insns  # type: ignore[arg-type]


# Programs in the manner of the conformance suites (our own): text, r0 of the instructions is not run here,
# only that two ways to write the same are the same.
PAIRS = [
    ("mov32 %r0, 0\nmov32 %r1, 2\nadd32 %r0, 1\nadd32 %r0, %r1\nexit", "w0 = 0\nw1 = 2\nw0 += 1\nw0 += w1\nexit"),
    ("mov %r1, %r10\nadd %r1, -8\nstdw [%r1], 7\nlock fetch add [%r1+0], %r0\nldxdw %r0, [%r1]\nexit",
     "r1 = r10\nr1 += -8\n*(u64 *)(r1 + 0) = 7\n"
     "r0 = atomic_fetch_add((u64 *)(r1 + 0), r0)\nr0 = *(u64 *)(r1 + 0)\nexit"),
    ("lddw %r1, 0x123456789abcdef0\nlsh %r1, 4\narsh32 %r1, 2\njsgt32 %r1, 7, L\nbe64 %r1\nL:\nexit",
     "r1 = 0x123456789abcdef0 ll\nr1 <<= 4\nw1 s>>= 2\nif w1 s> 7 goto L\nr1 = be64 r1\nL: exit"),
    ("mov %r6, %r1\nldabsh 12\nldindb %r7, 3\nmay_goto +1\nja32 +0\nexit",
     "r6 = r1\nr0 = *(u16 *)skb[12]\nr0 = *(u8 *)skb[r7 + 3]\nmay_goto +1\ngotol +0\nexit"),
    ("call local f\nexit\nf:\nload_acquirew %r0, [%r1+4]\nstore_releaseb [%r1], %r0\nexit",
     "call f\nexit\nf: w0 = load_acquire((u32 *)(r1 + 4))\nstore_release((u8 *)(r1 + 0), w0)\nexit"),
]  # fmt: skip


@pytest.mark.parametrize(("ubpf", "clang"), PAIRS)
def test_two_syntaxes_one_program(ubpf: str, clang: str) -> None:
    assert assemble(ubpf, "ubpf").insns == assemble(clang, "llvm").insns


def test_sections_symbols_relocations() -> None:
    result = assemble(
        """
        .text
        .globl  entry
        .type   entry,@function
entry:                                  # @entry
        r1 = table ll
        r2 = text+2 ll
        call helper_of_mine
        call inner
        call hidden_one
        exit
        .size   entry, .-entry
inner:  r0 = 1
        exit
        .section xdp/two,"ax",@progbits
        .weak   hidden_one
        .hidden hidden_one
hidden_one:
        call inner
        exit
        .section .rodata.str1.1,"aMS",@progbits,1
text:   .asciz "h\\tello\\101\\x42"
        .data
table:  .quad   entry, text
        .long   .Lend - table
        .zero   4, 0xff
.Lend:
        .comm   shared,8,4
        """
    )
    text = result.section(".text")
    assert text.is_code and text.align == 8
    assert [(r.offset, r.type, r.symbol) for r in text.relocations] == [
        (0, 1, ".data"),
        (16, 1, ".rodata.str1.1"),
        (32, 10, "helper_of_mine"),
        (48, 10, "hidden_one"),
    ]
    assert result.insns[2:4] == tuple(b.ld_imm64(2, 2))
    assert result.insns[5] == b.call_local(2)  # inner
    assert result.relocations == text.relocations
    assert result.labels == {"entry": 0, "inner": 8}
    assert result.lines[0] == 6 and result.lines[1] == 0 and result.lines[8] == 13
    other = result.section("xdp/two")
    assert other.flags == "ax" and other.relocations == (Relocation(0, 10, ".text"),)
    assert result.slots("xdp/two")[0] == b.call_local(7)  # inner by its section: slot 8 - 1
    strings = result.section(".rodata.str1.1")
    assert strings.data == b"h\tello\x41\x42\0" and strings.entry_size == 1
    data = result.section(".data")
    assert data.data == bytes(16) + (24).to_bytes(4, "little") + b"\xff" * 4
    assert [(r.offset, r.type, r.symbol) for r in data.relocations] == [(0, 2, "entry"), (8, 2, ".rodata.str1.1")]
    symbols = {s.name: s for s in result.symbols}
    assert symbols["entry"].size == 64 and symbols["entry"].type == "func" and symbols["entry"].binding == "global"
    assert symbols["hidden_one"].binding == "weak" and symbols["hidden_one"].visibility == "hidden"
    assert symbols["hidden_one"].section == "xdp/two"
    assert symbols["helper_of_mine"].section == "" and symbols["helper_of_mine"].binding == "global"
    assert (symbols["shared"].section, symbols["shared"].size, symbols["shared"].value) == ("*COM*", 8, 4)
    assert ".Lend" not in symbols


def test_the_main_section_is_the_first_with_instructions() -> None:
    result = assemble('.data\n.long 5\n.section xdp,"ax"\np: r0 = 2\nexit\n.section tc,"ax"\nexit')
    assert result.main == "xdp" and result.insns == (b.mov(0, 2), b.exit_()) and result.labels == {"p": 0}


def test_local_common_symbols_live_in_bss() -> None:
    result = assemble(".local a\n.comm a,4,4\n.local b\n.comm b,8,8\n")
    bss = result.section(".bss")
    assert (bss.type, bss.align, len(bss.data)) == ("nobits", 8, 16)
    assert {s.name: (s.section, s.value, s.size) for s in result.symbols} == {"a": (".bss", 0, 4), "b": (".bss", 8, 8)}


def test_declared_names_are_no_helpers() -> None:
    result = assemble(".globl bpf_map_lookup_elem\ncall bpf_map_lookup_elem\nexit")
    assert result.insns[0] == b.call_local(-1)
    assert result.relocations == (Relocation(0, 10, "bpf_map_lookup_elem"),)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (".byte 1, -1, 255", "01ffff"),
        (".short 0x1234", "3412"),
        (".2byte -2", "feff"),
        (".int 1\n.4byte 2", "0100000002000000"),
        (".8byte 1", "0100000000000000"),
        ('.ascii "a", "b"\n.string "c"', "61626300"),
        (".fill 2, 3, 0x010203", "030201030201"),
        (".skip 3", "000000"),
        (".byte 1\n.balign 4\n.byte 2", "0100000002"),
        (".byte 1\n.p2align 2, 0xaa\n.byte 2", "01aaaaaa02"),
        (".byte 1\n.p2align 3, , 2\n.byte 2", "0102"),
        (".uleb128 624485, 0, 127, 128", "e58e26007f8001"),
        (".sleb128 -123456, -1, 63, 64", "c0bb787f3fc000"),
        ("a: .short 5\nb: .byte b - a, . - b\n", "05000201"),
        (".pushsection .text\nexit\n.popsection\n.byte 7", "07"),
        (".text\n.previous\n.byte 7", "07"),
        ('.file 1 "a.c"\n.loc 1 2 3 prologue_end\n.cfi_startproc\n.ident "x"\n.addrsig\n.byte 9', "09"),
    ],
)
def test_data(text: str, data: str) -> None:
    assert assemble(f".data\n{text}").section(".data").data.hex() == data
