"""Instructions in the syntax of ubpf and the BPF conformance suites: `mov %r0, 1`, `stxdw [%r10-8], %r0`.

Registers may be written without `%`. Jump targets: `+3`, `-2`, a label, or `exit` for the first exit
instruction when no label has that name. Immediates that do not fit are errors (ubpf masks them).
"""

from __future__ import annotations

from collections.abc import Callable

from bombus.asm.code import Code, Ref, as_register, imm32, off16, register, small
from bombus.asm.csyntax import jump_target
from bombus.asm.expression import Scope, expression
from bombus.asm.tables import SIZE_LETTERS
from bombus.asm.tokens import Statement
from bombus.bits import s32
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.forms import FORMS
from bombus.isa.insn import Insn

_Parser = Callable[[Statement, Scope], Code]

_SWAPS: dict[str, Callable[[int, int], Insn]] = {"be": b.to_be, "le": b.to_le, "bswap": b.bswap, "swap": b.bswap}
_TYPES = {letter: f"u{bits}" for bits, letter in SIZE_LETTERS.items()}
_ATOMICS = {
    "add": op.BPF_ADD,
    "or": op.BPF_OR,
    "and": op.BPF_AND,
    "xor": op.BPF_XOR,
    "xchg": op.BPF_XCHG,
    "cmpxchg": op.BPF_CMPXCHG,
}


def _comma(s: Statement) -> None:
    s.expect(",")


def _reg(s: Statement) -> int:
    found, bits, token = register(s)
    if bits != 64:
        s.fail(f"registers are %r0 to %r10 here, not {token.text}", token)
    return found


def _is_register(s: Statement) -> bool:
    return s.is_op("%") or as_register(s.peek()) is not None


def _memory(s: Statement, scope: Scope) -> tuple[int, int]:
    """`[%r1+8]`: base and offset."""
    s.expect("[")
    base = _reg(s)
    off = off16(s, scope) if s.is_op("+") or s.is_op("-") else 0
    s.expect("]")
    return base, off


def _alu(opcode: int, off: int) -> _Parser:
    def parse_alu(s: Statement, scope: Scope) -> Code:
        dst = _reg(s)
        _comma(s)
        if _is_register(s):
            return Code([Insn(opcode | op.BPF_X, dst, _reg(s), off)])
        return Code([Insn(opcode, dst, 0, off, imm32(s, scope))])

    return parse_alu


def _neg(bits: int) -> _Parser:
    return lambda s, scope: Code([b.neg(_reg(s), bits=bits)])


def _swap(make: Callable[[int, int], Insn], bits: int) -> _Parser:
    return lambda s, scope: Code([make(_reg(s), bits)])


def _movsx(from_bits: int, bits: int) -> _Parser:
    def parse_movsx(s: Statement, scope: Scope) -> Code:
        dst = _reg(s)
        _comma(s)
        return Code([b.movsx(dst, _reg(s), from_bits, bits=bits)])

    return parse_movsx


def _jump(opcode: int) -> _Parser:
    def parse_jump(s: Statement, scope: Scope) -> Code:
        dst = _reg(s)
        _comma(s)
        code, src, imm = opcode, 0, 0
        if _is_register(s):
            code, src = opcode | op.BPF_X, _reg(s)
        else:
            imm = imm32(s, scope)
        _comma(s)
        off, ref = jump_target(s, scope, 16)
        return Code([Insn(code, dst, src, off, imm)], ref)

    return parse_jump


def _load(type_: str) -> _Parser:
    def parse_load(s: Statement, scope: Scope) -> Code:
        dst = _reg(s)
        _comma(s)
        return Code([b.ldx(type_, dst, *_memory(s, scope))])

    return parse_load


def _store_imm(type_: str) -> _Parser:
    def parse_store(s: Statement, scope: Scope) -> Code:
        base, off = _memory(s, scope)
        _comma(s)
        return Code([b.st(type_, base, off, imm32(s, scope))])

    return parse_store


def _store_reg(type_: str, make: Callable[[str, int, int, int], Insn]) -> _Parser:
    def parse_store(s: Statement, scope: Scope) -> Code:
        base, off = _memory(s, scope)
        _comma(s)
        return Code([make(type_, base, off, _reg(s))])

    return parse_store


def _load_acquire(type_: str) -> _Parser:
    def parse_acquire(s: Statement, scope: Scope) -> Code:
        dst = _reg(s)
        _comma(s)
        return Code([b.load_acquire(type_, dst, *_memory(s, scope))])

    return parse_acquire


def _ld_abs(type_: str) -> _Parser:
    return lambda s, scope: Code([b.ld_abs(type_, imm32(s, scope))])


def _ld_ind(type_: str) -> _Parser:
    def parse_ind(s: Statement, scope: Scope) -> Code:
        src = _reg(s)
        _comma(s)
        return Code([b.ld_ind(type_, src, imm32(s, scope))])

    return parse_ind


def _lddw(s: Statement, scope: Scope) -> Code:
    dst = _reg(s)
    _comma(s)
    token = s.peek()
    value = expression(s, scope)
    if value.minus:
        s.fail("the difference of two labels is not known here", token)
    if not -(1 << 63) <= value.constant < 1 << 64:
        s.fail(f"the immediate {value.constant} does not fit into 64 bits", token)
    kind = small(s, scope, 15, "the kind") if s.accept(",") else 0
    ref = Ref("imm64", value, token.column) if value.plus else None
    return Code(b.ld_imm64(dst, value.constant, kind), ref)


def _lock(s: Statement, scope: Scope) -> Code:
    """`lock [fetch] add[32] [%r1+0], %r2`."""
    fetch = s.accept_name("fetch")
    token = s.next()
    name = token.text
    if name.startswith("fetch_"):
        fetch, name = True, name.removeprefix("fetch_")
    type_ = "u64"
    if name.endswith("32"):
        type_, name = "u32", name.removesuffix("32")
    if name not in _ATOMICS:
        s.fail(f"expected one of {' '.join(_ATOMICS)}", token)
    base, off = _memory(s, scope)
    _comma(s)
    return Code([b.atomic(_ATOMICS[name] | (op.BPF_FETCH if fetch else 0), type_, base, off, _reg(s))])


def _cast(s: Statement, scope: Scope) -> Code:
    dst = _reg(s)
    _comma(s)
    src = _reg(s)
    _comma(s)
    to = small(s, scope, 0xFFFF, "the address space")
    _comma(s)
    return Code([b.addr_space_cast(dst, src, to, small(s, scope, 0xFFFF, "the address space"))])


def _call(s: Statement, scope: Scope) -> Code:
    """`call 1`, `call helper 1`, `call local label`, `call runtime 5[, MODULE]`, `call %r1`."""
    if _is_register(s):
        return Code([Insn(op.CALLX, _reg(s))])
    if s.accept_name("local"):
        token = s.peek()
        distance, ref = jump_target(s, scope, 32)
        return Code([b.call_local(distance)], Ref("call", ref.target, token.column) if ref else None)
    if s.accept_name("runtime"):
        btf_id = imm32(s, scope, "the function number")
        return Code([b.call_kfunc(btf_id, off16(s, scope) if s.accept(",") else 0)])
    s.accept_name("helper")
    token = s.peek()
    value = expression(s, scope)
    if not value.is_number:
        return Code([b.call_local(-1)], Ref("call", value, token.column))
    if not -0x8000_0000 <= value.constant <= 0xFFFF_FFFF:
        s.fail(f"the function number {value.constant} does not fit into 32 bits", token)
    return Code([b.call(s32(value.constant))])


def _ja(s: Statement, scope: Scope) -> Code:
    if _is_register(s):
        return Code([Insn(op.GOTOX, _reg(s))])
    off, ref = jump_target(s, scope, 16)
    return Code([b.ja(off)], ref)


def _ja32(s: Statement, scope: Scope) -> Code:
    imm, ref = jump_target(s, scope, 32)
    return Code([b.gotol(imm)], ref)


def _may_goto(s: Statement, scope: Scope) -> Code:
    off, ref = jump_target(s, scope, 16)
    return Code([b.may_goto(off)], ref)


def _exit(s: Statement, scope: Scope) -> Code:
    return Code([b.exit_()])


def _mnemonics() -> dict[str, _Parser]:
    table: dict[str, _Parser] = {
        "lddw": _lddw,
        "lock": _lock,
        "call": _call,
        "ja": _ja,
        "ja32": _ja32,
        "may_goto": _may_goto,
        "exit": _exit,
        "addr_space_cast": _cast,
    }
    for form in FORMS:
        suffix = "32" if form.bits == 32 else ""
        cls = form.opcode & 7
        if cls in (op.BPF_ALU, op.BPF_ALU64):
            if form.name == "neg":
                table[f"neg{suffix}"] = _neg(form.bits)
            elif form.name == "movsx" and isinstance(form.off, tuple):
                for width in form.off:
                    table[f"movsx{width}{form.bits}"] = _movsx(width, form.bits)
            elif form.name not in ("le", "be", "bswap", "addr_space_cast"):
                off = form.off[0] if isinstance(form.off, tuple) else 0
                table[f"{form.name}{suffix}"] = _alu(form.opcode & ~op.BPF_X, off)
        elif cls in (op.BPF_JMP, op.BPF_JMP32) and form.off == "jump" and form.name != "ja":
            table[f"{form.name}{suffix}"] = _jump(form.opcode & ~op.BPF_X)
    for name, make in _SWAPS.items():
        for bits in (16, 32, 64):
            table[f"{name}{bits}"] = _swap(make, bits)
    for letter, type_ in _TYPES.items():
        table[f"ldx{letter}"] = _load(type_)
        table[f"st{letter}"] = _store_imm(type_)
        table[f"stx{letter}"] = _store_reg(type_, b.stx)
        table[f"load_acquire{letter}"] = _load_acquire(type_)
        table[f"store_release{letter}"] = _store_reg(type_, b.store_release)
        if letter != "dw":
            table[f"ldxs{letter}"] = _load(type_.replace("u", "s"))
            table[f"ldabs{letter}"] = _ld_abs(type_)
            table[f"ldind{letter}"] = _ld_ind(type_)
    return table


MNEMONICS = _mnemonics()


def parse(s: Statement, scope: Scope) -> Code:
    """One instruction from the statement, all of which must be used. AsmError."""
    token = s.next()
    parser = MNEMONICS.get(token.text) if token.kind == "name" else None
    if parser is None:
        s.fail(f"unknown instruction {token.text!r}", token)
    code = parser(s, scope)
    s.done()
    return code
