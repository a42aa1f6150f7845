"""Every mistake has a text of its own, a place, and the line with a caret under the culprit."""

from __future__ import annotations

import pytest

from bombus.asm import assemble, disassemble, format_insn
from bombus.asm.model import Assembled
from bombus.errors import AsmError, UsageError
from bombus.isa import build as b

# text, line, column, message
MISTAKES = [
    ("r11 = 5", 1, 1, "there is no register r11; they are r0 to r10"),
    ("w1 = r2", 1, 6, "r2 has the wrong width; the other register has 32 bits"),
    ("r1 = (s8)w2", 1, 10, "w2 has the wrong width; the other register has 64 bits"),
    ("w1 += r2", 1, 7, "r2 has the wrong width; the other register has 32 bits"),
    ("if r1 > w2 goto +0", 1, 9, "w2 has the wrong width; the other register has 64 bits"),
    ("r0 = 0\n  r1 = 4294967296", 2, 8,
     "the immediate 4294967296 does not fit into 32 bits; write `r1 = 4294967296 ll`"),
    ("w1 = 4294967296", 1, 6, "the immediate 4294967296 does not fit into 32 bits"),
    ("r1 += 4294967296", 1, 7, "the immediate 4294967296 is out of range, -2147483648 to 4294967295"),
    ("r1 += -2147483649", 1, 7, "the immediate -2147483649 is out of range, -2147483648 to 4294967295"),
    ("r1 = 18446744073709551616 ll", 1, 6, "the immediate 18446744073709551616 does not fit into 64 bits"),
    ("w1 = 5 ll", 1, 6, "a 64-bit immediate needs an r register"),
    ("r1 = *(u8 *)(r2 + 32768)", 1, 17, "the offset 32768 is out of range, -32768 to 32767"),
    ("*(u8 *)(r2 - 32769) = 1", 1, 12, "the offset -32769 is out of range, -32768 to 32767"),
    ("goto +32768", 1, 6, "the distance 32768 is out of range, -32768 to 32767"),
    ("gotol +2147483648", 1, 7, "the distance 2147483648 is out of range, -2147483648 to 2147483647"),
    ("call 4294967296", 1, 6, "the function number 4294967296 does not fit into 32 bits"),
    ("r1 = x", 1, 6, "'x' is no number; write `r1 = x ll` for its address"),
    ("r1 += x", 1, 7, "the immediate must be a number, not the label 'x'"),
    ("r1 = 5 5", 1, 8, "unexpected '5' after the statement"),
    ("r1 = ", 1, 5, "expected a number or a name, found the end of the statement"),
    ("r1 =+ ;", 1, 6, "expected a number or a name, found the end of the statement"),
    ("r1", 1, 3, "expected an assignment after r1"),
    ("r1 *** 5", 1, 4, "expected an assignment after r1"),
    ("foo r1, r2", 1, 1, "expected an instruction, found 'foo'"),
    ("lock *(u64 *)(r1 + 0) -= r2", 1, 23, "expected one of += |= &= ^="),
    ("lock *(u64 *)(r1 + 0) += w2", 1, 26, "an atomic on u64 needs an r register"),
    ("r1 = *(u31 *)(r2 + 0)", 1, 8, "expected a type (u8, u16, u32, u64, s8, s16, s32)"),
    ("w1 = *(u64 *)(r2 + 0)", 1, 1, "a load of u64 needs an r register"),
    ("w1 = *(s8 *)(r2 + 0)", 1, 1, "a load of s8 needs an r register"),
    ("*(s8 *)(r2 + 0) = 1", 1, 3, "expected an unsigned type"),
    ("*(u64 *)(r2 + 0) = w1", 1, 20, "a store of u64 needs an r register"),
    ("r1 = *(u8 *)(w2 + 0)", 1, 14, "an address needs an r register"),
    ("r1 = *(u8 *)(5)", 1, 14, "expected a register, found '5'"),
    ("r1 = *(u8 *(r2)", 1, 12, "expected ')', found '('"),
    ("r1 = be8 r1", 1, 6, "be takes 16, 32 or 64 bits"),
    ("r2 = be16 r1", 1, 11, "byte swaps work in place only: r2 = be16 r2"),
    ("r1 = -r2", 1, 7, "negation works in place only: r1 = -r1"),
    ("w1 = (s32)w2", 1, 7, "s32 is no narrower than the 32-bit register"),
    ("r1 = *(u8 *)skb[4]", 1, 1, "packet loads write r0 only"),
    ("r0 = *(u64 *)skb[4]", 1, 8, "packet loads take u8, u16 or u32"),
    ("r1 = xchg_64(r2 + 8, r3)", 1, 22, "xchg_64 returns into its operand r3"),
    ("r1 = cmpxchg_64(r2 + 8, r1, r3)", 1, 25, "compare and exchange works with r0: r0 = ..cmpxchg..(.., r0, rN)"),
    ("r2 = atomic64_fetch_add((u32 *)(r1 +0), r2)", 1, 6, "atomic64_fetch_add works on u64"),
    ("r2 = atomic_fetch_add(r1 + 0, r2)", 1, 23, "expected a type, found 'r1'"),
    ("if r1 ~ 5 goto +1", 1, 7, "expected one of == > >= & != s> s>= < <= s< s<="),
    ("if r1 > 5 jump +1", 1, 11, "expected 'goto', found 'jump'"),
    ("callx 3", 1, 7, "expected a register, found '3'"),
    ("callx w3", 1, 7, "callx needs an r register"),
    ("(b7) r6 = r1", 1, 6, "the text says opcode 0xb7, the instruction has 0xbf"),
    ("(18) w1 = 5", 1, 6, "a 64-bit immediate needs an r register"),
    ("r1 = map[name:3]", 1, 10, "expected id, fd or idx"),
    ("goto nowhere", 1, 6, "label 'nowhere' is not defined"),
    ("r0 = 0\ngoto 1b", 2, 6, "label '1' is not defined"),
    ("goto 1f\n", 1, 6, "label '1' is not defined"),
    ("r1 = .Lnone ll", 1, 6, "label '.Lnone' is not defined"),
    ("a: exit\nb: exit\n  a: exit", 3, 3, "label 'a' is already defined in line 1"),
    ("N = 1\nN: exit", 2, 1, "'N' is already a number"),
    ("N: exit\nN = 1", 2, 1, "'N' is already a label"),
    ('a: exit\n.section x,"ax"\ngoto a', 3, 6, "label 'a' is in section .text, a jump stays in its own"),
    ("goto a\n.byte 1\na: exit", 1, 6, "'a' is not at a multiple of 8 bytes from here"),
    ("goto a\n.fill 40000, 8, 0x95\na: exit", 1, 6,
     "label 'a' is 40000 instructions away, too far for this jump; use gotol"),
    ("call f + 8\nf: exit", 1, 6, "a call takes the name of a function, nothing added"),
    ("r1 = a - c ll\na: c: exit", 1, 6, "the difference of two labels is not known here"),
    ("r1 = 5 +* 3", 1, 9, "expected a number or a name, found '*'"),
    ("r1 = 08", 1, 6, "'08' is no octal number"),
    ("r1 = 0x", 1, 6, "'0x' is no number"),
    ("r1 = 5x", 1, 6, "'5x' is no number"),
    ("r1 = 1 / 0", 1, 8, "division by zero"),
    ("r1 = 1 << 64", 1, 8, "shift by 64"),
    ("r1 = a * 2", 1, 8, "'*' needs numbers, not labels"),
    ("r1 = a + c", 1, 8, "two labels cannot be added"),
    ("r1 = ~a", 1, 6, "'~' needs a number, not a label"),
    ("r1 = " + "(" * 200 + "1", 1, 67, "the expression is nested too deeply"),
    ("r1 = " + "9" * 50, 1, 6, "the number is too large"),
    ("r1 = 1\n/* no end", 2, 1, "this comment has no end"),
    ("r1 = `5", 1, 6, "'`' is no character"),
    ("5 6: exit", 1, 1, "expected an instruction, found '5'"),
    ("+: exit", 1, 1, "'+' is no name for a label"),
    # ubpf
    ("mov %r11, 1", 1, 6, "there is no register r11; they are r0 to r10"),
    ("mov %r0, 0x100000000", 1, 10, "the immediate 4294967296 is out of range, -2147483648 to 4294967295"),
    ("mov %r0", 1, 8, "expected ',', found the end of the statement"),
    ("mov %w0, 1", 1, 6, "registers are %r0 to %r10 here, not w0"),
    ("ldxb %r0, [%r1+32768]", 1, 15, "the offset 32768 is out of range, -32768 to 32767"),
    ("ldxb %r0, %r1", 1, 11, "expected '[', found '%'"),
    ("jeq %r1, 5, exit", 1, 13, "label 'exit' is not defined"),
    ("lock mul [%r1], %r2", 1, 6, "expected one of add or and xor xchg cmpxchg"),
    ("lddw %r1, 0x10000000000000000", 1, 11, "the immediate 18446744073709551616 does not fit into 64 bits"),
    ("exit %r1", 1, 6, "unexpected '%' after the statement"),
    # directives
    ("exit\n.byte 1", 2, 1, "section .text has 9 bytes, which is no whole number of 8-byte instructions"),
    (".macro f", 1, 1, "unknown directive '.macro'"),
    (".byte 256", 1, 7, "256 does not fit into 1 bytes"),
    (".byte -129", 1, 7, "-129 does not fit into 1 bytes"),
    (".long", 1, 0, ""),
    (".byte a\na: exit", 1, 7, "no relocation puts an address into 1 bytes"),
    (".long a - c\na: exit\n.data\nc: .byte 1", 1, 7,
     "the difference of these labels is not known: they are in different sections"),
    (".zero 1 << 40", 1, 14, "the program is larger than 32 MiB"),
    (".fill 1 << 62, 8", 1, 17, "the program is larger than 32 MiB"),
    (".zero -1", 1, 7, "the size -1 is out of range, 0 to 9223372036854775807"),
    (".p2align 40", 1, 10, "the alignment 40 is out of range, 0 to 16"),
    (".balign 3", 1, 9, "the alignment 3 is no power of two"),
    (".ascii 5", 1, 8, "expected a string in quotes"),
    ('.ascii "\\q"', 1, 8, "unknown escape \\q"),
    ('.ascii "\\xz"', 1, 8, "\\x without hexadecimal digits"),
    ('.ascii "no end', 1, 8, "'\"' is no character"),
    (".type f,@thing", 1, 10, "symbol type 'thing' is not known; use @function, @object or @notype"),
    ('.section x,"aG",@progbits,y', 1, 12, "section flag 'G' is not supported"),
    (".section x,ax", 1, 12, "expected the section's flags in quotes"),
    (".section", 1, 9, "expected the section's name"),
    ('.section x,"ax"\nexit\n.section x,"aw"', 3, 10, "section x has the flags 'ax' already"),
    (".popsection", 1, 12, ".popsection without .pushsection"),
    (".globl 5", 1, 8, "expected a name"),
    (".uleb128 -1", 1, 10, "-1 is negative"),
    (".uleb128 a", 1, 10, "the value must be known here"),
    (".size f, a - c\nf: exit", 1, 10, "the size of 'f' is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "message"), MISTAKES, ids=[repr(m[0][:40]) for m in MISTAKES])
def test_mistake(text: str, line: int, column: int, message: str) -> None:
    if not message:
        assert isinstance(assemble(text), Assembled)
        return
    with pytest.raises(AsmError) as caught:
        assemble(text)
    error = caught.value
    assert (error.message, error.line, error.column) == (message, line, column)


def test_the_whole_text_of_an_error() -> None:
    with pytest.raises(AsmError) as caught:
        assemble("r0 = 0\n  r1 += 0x100000000 # too large\nexit\n")
    assert str(caught.value) == (
        "line 2, column 9: the immediate 4294967296 is out of range, -2147483648 to 4294967295\n"
        "    r1 += 0x100000000 # too large\n"
        "          ^"
    )


def test_styles_refuse_the_other_syntax() -> None:
    with pytest.raises(AsmError, match="expected an instruction, found 'mov'"):
        assemble("mov %r0, 1", "llvm")
    with pytest.raises(AsmError, match="unknown instruction 'r0'"):
        assemble("r0 = 1", "ubpf")


@pytest.mark.parametrize(
    "call",
    [
        lambda: assemble("exit", "intel"),  # type: ignore[arg-type]
        lambda: assemble("exit", byteorder="middle"),  # type: ignore[arg-type]
        lambda: disassemble([b.exit_()], "intel"),  # type: ignore[arg-type]
        lambda: format_insn([b.exit_()], 0, "intel"),  # type: ignore[arg-type]
        lambda: assemble("exit").section("nowhere"),
    ],
)
def test_usage(call: object) -> None:
    with pytest.raises(UsageError):
        call()  # type: ignore[operator]


HOSTILE = {
    "parentheses": "(" * 50_000,
    "signs": "r1 = " + "-" * 50_000 + "1",
    "labels": "a:" * 20_000,
    "numeric labels": "1:" * 20_000 + "goto 1b",
    "words": ".byte " + "1," * 50_000,
    "comments": "/*" * 50_000,
    "sums": "r1 = 1" + "+1" * 50_000,
}


@pytest.mark.timeout(60)  # these take milliseconds; quadratic behaviour would take many minutes
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_bounded_time(name: str) -> None:
    try:
        assemble(HOSTILE[name])
    except AsmError as error:
        assert error.line == 1
