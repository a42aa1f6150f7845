"""Instructions in the syntax of clang, llvm-objdump, the verifier log and bpftool: `r1 = *(u32 *)(r2 + 4)`.

One grammar takes all of them: numbers decimal or hexadecimal, `goto +2`, `goto pc+2` and `goto label`,
`atomic_fetch_add` and `atomic64_fetch_add`, `call 1`, `call bpf_map_lookup_elem#1` and `call func`.
"""

from __future__ import annotations

from collections.abc import Callable

from bombus.asm.code import Code, Ref, as_register, imm32, number, off16, register, small
from bombus.asm.expression import Scope, Value, expression
from bombus.asm.kernel import helper_name
from bombus.asm.tables import ALU_OPERATORS, CONDITIONS
from bombus.asm.tokens import Statement, Token
from bombus.bits import s32
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn

_ALU = {
    "+=": (op.BPF_ADD, 0),
    "-=": (op.BPF_SUB, 0),
    "*=": (op.BPF_MUL, 0),
    "/=": (op.BPF_DIV, 0),
    "s/=": (op.BPF_DIV, 1),
    "%=": (op.BPF_MOD, 0),
    "s%=": (op.BPF_MOD, 1),
    "|=": (op.BPF_OR, 0),
    "&=": (op.BPF_AND, 0),
    "^=": (op.BPF_XOR, 0),
    "<<=": (op.BPF_LSH, 0),
    ">>=": (op.BPF_RSH, 0),
    "s>>=": (op.BPF_ARSH, 0),
}
assert _ALU.keys() | {"="} == set(ALU_OPERATORS.values())
_TYPES = ("u8", "u16", "u32", "u64", "s8", "s16", "s32")
_SWAPS: dict[str, Callable[[int, int], Insn]] = {"be": b.to_be, "le": b.to_le, "bswap": b.bswap}
_SIZE = {8: op.BPF_B, 16: op.BPF_H, 32: op.BPF_W, 64: op.BPF_DW}
_LOCKED = {"+=": op.BPF_ADD, "|=": op.BPF_OR, "&=": op.BPF_AND, "^=": op.BPF_XOR}
_FETCHED = {
    f"atomic{wide}_fetch_{name}": (code | op.BPF_FETCH, 64 if wide else 0)
    for name, code in (("add", op.BPF_ADD), ("or", op.BPF_OR), ("and", op.BPF_AND), ("xor", op.BPF_XOR))
    for wide in ("", "64")
}
# Name, width in bits; 0: told by the type in the text.
_EXCHANGES = {
    "xchg_64": (op.BPF_XCHG, 64),
    "xchg32_32": (op.BPF_XCHG, 32),
    "cmpxchg_64": (op.BPF_CMPXCHG, 64),
    "cmpxchg32_32": (op.BPF_CMPXCHG, 32),
    "atomic_xchg": (op.BPF_XCHG, 0),
    "atomic64_xchg": (op.BPF_XCHG, 64),
    "atomic_cmpxchg": (op.BPF_CMPXCHG, 0),
    "atomic64_cmpxchg": (op.BPF_CMPXCHG, 64),
}
_MAP_KINDS = {"id": op.BPF_PSEUDO_MAP_FD, "fd": op.BPF_PSEUDO_MAP_FD, "idx": op.BPF_PSEUDO_MAP_IDX}
_MAP_VALUE = {op.BPF_PSEUDO_MAP_FD: op.BPF_PSEUDO_MAP_VALUE, op.BPF_PSEUDO_MAP_IDX: op.BPF_PSEUDO_MAP_IDX_VALUE}
_JUMP_LIMITS = {16: (-0x8000, 0x7FFF), 32: (-0x8000_0000, 0x7FFF_FFFF)}


def parse(s: Statement, scope: Scope) -> Code:
    """One instruction from the statement, all of which must be used. AsmError."""
    hint = int(s.next().text, 16) if s.peek().kind == "opcode" else None
    token = s.peek()
    if hint == op.LD_IMM64:
        code = _wide_of_log(s, scope)
    elif token.kind == "op" and token.text == "*":
        code = _store(s, scope)
    elif token.kind == "name" and token.text in _STATEMENTS:
        s.next()
        code = _STATEMENTS[token.text](s, scope)
    elif as_register(token) is not None:
        code = _assignment(s, scope)
    else:
        s.fail(f"expected an instruction, found {s.shown()}")
    s.done()
    if hint is not None and code.insns[0].opcode != hint:
        s.fail(f"the text says opcode {hint:#04x}, the instruction has {code.insns[0].opcode:#04x}", token)
    return code


def _same_width(s: Statement, bits: int, token: Token, other: int) -> None:
    if bits != other:
        s.fail(f"{token.text} has the wrong width; the other register has {other} bits", token)


def _assignment(s: Statement, scope: Scope) -> Code:
    """Everything that begins with a register."""
    dst, bits, token = register(s)
    cls = op.BPF_ALU64 if bits == 64 else op.BPF_ALU
    operator = s.next()
    if operator.kind == "op" and operator.text in _ALU:
        operation, off = _ALU[operator.text]
        if as_register(s.peek()) is not None:
            src, src_bits, src_token = register(s)
            _same_width(s, src_bits, src_token, bits)
            return Code([Insn(cls | operation | op.BPF_X, dst, src, off)])
        return Code([Insn(cls | operation | op.BPF_K, dst, 0, off, imm32(s, scope))])
    if operator.text != "=" or operator.kind != "op":
        s.fail(f"expected an assignment after {token.text}", operator)
    return _value(s, scope, dst, bits, token)


def _value(s: Statement, scope: Scope, dst: int, bits: int, dst_token: Token) -> Code:
    """What follows `rN = `."""
    cls = op.BPF_ALU64 if bits == 64 else op.BPF_ALU
    token = s.peek()
    if as_register(token) is not None:
        src, src_bits, src_token = register(s)
        if (bits, src_bits) == (64, 32):  # clang -S writes zero extension so (its own assembler refuses it)
            return Code([Insn(op.BPF_ALU | op.BPF_MOV | op.BPF_X, dst, src)])
        _same_width(s, src_bits, src_token, bits)
        return Code([Insn(cls | op.BPF_MOV | op.BPF_X, dst, src)])
    if token.kind == "op":
        if token.text == "-" and as_register(s.peek(1)) is not None:
            s.next()
            src, src_bits, src_token = register(s)
            if (src, src_bits) != (dst, bits):
                s.fail(f"negation works in place only: {dst_token.text} = -{dst_token.text}", src_token)
            return Code([Insn(cls | op.BPF_NEG, dst)])
        if token.text == "*":
            return _load(s, scope, dst, bits, dst_token)
        if token.text == "(" and s.peek(1).text in ("s8", "s16", "s32"):
            return _sign_extend(s, dst, bits)
        if token.text == "&" and s.is_op("(", 1):
            return _percpu(s, dst)
    if token.kind == "name":
        special = _special_value(s, scope, dst, bits, token)
        if special is not None:
            return special
    return _immediate(s, scope, dst, bits)


def _immediate(s: Statement, scope: Scope, dst: int, bits: int) -> Code:
    """A number, `NUMBER ll` or `SYMBOL ll`."""
    token = s.peek()
    value = expression(s, scope)
    if s.accept_name("ll"):
        if bits != 64:
            s.fail("a 64-bit immediate needs an r register", token)
        return _wide(s, dst, value, token)
    if not value.is_number:
        name = value.plus or value.minus
        s.fail(f"{name!r} is no number; write `r{dst} = {name} ll` for its address", token)
    if not -0x8000_0000 <= value.constant <= 0xFFFF_FFFF:
        hint = f"; write `r{dst} = {value.constant} ll`" if bits == 64 else ""
        s.fail(f"the immediate {value.constant} does not fit into 32 bits{hint}", token)
    cls = op.BPF_ALU64 if bits == 64 else op.BPF_ALU
    return Code([Insn(cls | op.BPF_MOV | op.BPF_K, dst, 0, 0, s32(value.constant))])


def _wide(s: Statement, dst: int, value: Value, token: Token, src: int = 0) -> Code:
    if value.minus:
        s.fail("the difference of two labels is not known here", token)
    if not -(1 << 63) <= value.constant < 1 << 64:
        s.fail(f"the immediate {value.constant} does not fit into 64 bits", token)
    ref = Ref("imm64", value, token.column) if value.plus else None
    return Code(b.ld_imm64(dst, value.constant, src), ref)


def _wide_of_log(s: Statement, scope: Scope) -> Code:
    """`r1 = 0x5`, `r1 = map[id:3]` after the opcode (18), where a log writes no `ll`."""
    dst, bits, token = register(s)
    if bits != 64:
        s.fail("a 64-bit immediate needs an r register", token)
    s.expect("=")
    token = s.peek()
    if token.kind == "name":
        special = _special_value(s, scope, dst, 64, token)
        if special is not None:
            return special
    value = expression(s, scope)
    s.accept_name("ll")
    return _wide(s, dst, value, token)


def _special_value(s: Statement, scope: Scope, dst: int, bits: int, token: Token) -> Code | None:
    """Values that begin with a keyword; None when `token` is an ordinary name."""
    name = token.text
    if name in _FETCHED or name in _EXCHANGES:
        return _exchange(s, scope, dst, bits, token)
    if name == "load_acquire":
        s.next()
        s.expect("(")
        size, src, off = _typed_place(s, scope)
        s.expect(")")
        return Code([b.load_acquire(f"u{size}", dst, src, off)])
    if name == "addr_space_cast":
        return _cast(s, scope, dst)
    if name in ("map", "subprog") and s.is_op("[", 1):
        return _map(s, scope, dst) if name == "map" else _subprog(s, scope, dst)
    if name == "pseudo" and s.is_op("(", 1):
        s.at += 2
        kind = small(s, scope, 15, "the kind")
        s.expect(",")
        value = number(s, scope, -(1 << 63), (1 << 64) - 1, "the immediate")
        s.expect(")")
        return Code(b.ld_imm64(dst, value, kind))
    letters = name.rstrip("0123456789")
    if letters in _SWAPS and as_register(s.peek(1)) is not None:
        width = name[len(letters) :]
        if width not in ("16", "32", "64"):
            s.fail(f"{letters} takes 16, 32 or 64 bits", token)
        s.next()
        src, src_bits, src_token = register(s)
        # The kernel's log and llvm-objdump write r registers whatever the width.
        if src != dst or src_bits != 64 or bits != 64:
            s.fail(f"byte swaps work in place only: r{dst} = {name} r{dst}", src_token)
        return Code([_SWAPS[letters](dst, int(width))])
    return None


def _map(s: Statement, scope: Scope, dst: int) -> Code:
    """`map[id:3]`, `map[id:3][0]+8`, `map[idx:3]`, `map[idx:3]+8`."""
    s.at += 2
    token = s.next()
    if token.text not in _MAP_KINDS:
        s.fail("expected id, fd or idx", token)
    s.expect(":")
    low = small(s, scope, 0xFFFF_FFFF, "the map's number")
    s.expect("]")
    src, high = _MAP_KINDS[token.text], 0
    if s.accept("["):
        small(s, scope, 0, "the index")
        s.expect("]")
    if s.accept("+"):
        src = _MAP_VALUE[src]
        high = small(s, scope, 0xFFFF_FFFF, "the offset in the map")
    return Code(b.ld_imm64(dst, high << 32 | low, src))


def _subprog(s: Statement, scope: Scope, dst: int) -> Code:
    s.at += 2
    distance = number(s, scope, *_JUMP_LIMITS[32], "the distance")
    s.expect("]")
    return Code(b.ld_imm64(dst, distance & 0xFFFF_FFFF, op.BPF_PSEUDO_FUNC))


def _cast(s: Statement, scope: Scope, dst: int) -> Code:
    s.next()
    s.expect("(")
    src, _, _ = register(s)
    s.expect(",")
    to = small(s, scope, 0xFFFF, "the address space")
    s.expect(",")
    from_ = small(s, scope, 0xFFFF, "the address space")
    s.expect(")")
    return Code([b.addr_space_cast(dst, src, to, from_)])


def _sign_extend(s: Statement, dst: int, bits: int) -> Code:
    s.next()
    type_ = s.next()
    s.expect(")")
    src, src_bits, src_token = register(s)
    _same_width(s, src_bits, src_token, bits)
    width = int(type_.text[1:])
    if width >= bits:
        s.fail(f"{type_.text} is no narrower than the {bits}-bit register", type_)
    return Code([b.movsx(dst, src, width, bits=bits)])


def _percpu(s: Statement, dst: int) -> Code:
    """`&(void __percpu *)(r1)`: the kernel's own mov that resolves per-CPU addresses."""
    s.at += 2
    for word in ("void", "__percpu"):
        if not s.accept_name(word):
            s.fail(f"expected {word!r}, found {s.shown()}")
    for mark in ("*", ")", "("):
        s.expect(mark)
    src, _, _ = register(s)
    s.expect(")")
    return Code([Insn(op.BPF_ALU64 | op.BPF_MOV | op.BPF_X, dst, src, -1)])


def _type(s: Statement) -> tuple[int, bool]:
    """`(u32 *)`: bits and signedness."""
    s.expect("(")
    token = s.next()
    if token.text not in _TYPES:
        s.fail(f"expected a type ({', '.join(_TYPES)})", token)
    s.expect("*")
    s.expect(")")
    return int(token.text[1:]), token.text[0] == "s"


def _place(s: Statement, scope: Scope) -> tuple[int, int]:
    """`r1 + 8`, `r1 +8`, `r1`: base register and offset."""
    token = s.peek()
    base, bits, _ = register(s)
    if bits != 64:
        s.fail("an address needs an r register", token)
    off = off16(s, scope) if s.is_op("+") or s.is_op("-") else 0
    return base, off


def _typed_place(s: Statement, scope: Scope) -> tuple[int, int, int]:
    """`(u32 *)(r1 + 8)`: bits, base, offset. Unsigned types only."""
    token = s.peek(1)
    size, signed = _type(s)
    if signed:
        s.fail("expected an unsigned type", token)
    s.expect("(")
    base, off = _place(s, scope)
    s.expect(")")
    return size, base, off


def _load(s: Statement, scope: Scope, dst: int, bits: int, dst_token: Token) -> Code:
    s.next()
    type_token = s.peek(1)
    size, signed = _type(s)
    if s.accept_name("skb"):
        return _packet_load(s, scope, size, signed, dst, dst_token, type_token)
    s.expect("(")
    base, off = _place(s, scope)
    s.expect(")")
    if bits == 32 and (size == 64 or signed):
        s.fail(f"a load of {type_token.text} needs an r register", dst_token)
    return Code([b.ldx(f"{'s' if signed else 'u'}{size}", dst, base, off)])


def _packet_load(
    s: Statement, scope: Scope, size: int, signed: bool, dst: int, dst_token: Token, type_token: Token
) -> Code:
    if dst != 0:
        s.fail("packet loads write r0 only", dst_token)
    if signed or size == 64:
        s.fail("packet loads take u8, u16 or u32", type_token)
    s.expect("[")
    if as_register(s.peek()) is None:
        code = b.ld_abs(f"u{size}", imm32(s, scope, "the packet offset"))
    else:
        src, _, _ = register(s)
        # "r1 + -8" in logs: the sign belongs to the number.
        imm = imm32(s, scope, "the packet offset") if s.is_op("+") or s.is_op("-") else 0
        code = b.ld_ind(f"u{size}", src, imm)
    s.expect("]")
    return Code([code])


def _store(s: Statement, scope: Scope) -> Code:
    s.next()
    size, base, off = _typed_place(s, scope)
    s.expect("=")
    if as_register(s.peek()) is not None:
        src, bits, token = register(s)
        if bits == 32 and size == 64:
            s.fail("a store of u64 needs an r register", token)
        return Code([b.stx(f"u{size}", base, off, src)])
    return Code([b.st(f"u{size}", base, off, imm32(s, scope))])


def _lock(s: Statement, scope: Scope) -> Code:
    s.expect("*")
    size, base, off = _typed_place(s, scope)
    operator = s.next()
    if operator.text not in _LOCKED:
        s.fail(f"expected one of {' '.join(_LOCKED)}", operator)
    src, bits, token = register(s)
    if bits == 32 and size == 64:
        s.fail("an atomic on u64 needs an r register", token)
    return Code([Insn(op.BPF_STX | op.BPF_ATOMIC | _SIZE[size], base, src, off, _LOCKED[operator.text])])


def _exchange(s: Statement, scope: Scope, dst: int, bits: int, token: Token) -> Code:
    """Fetching atomics: the register written is also the last operand (r0 for cmpxchg)."""
    s.next()
    imm, size = _FETCHED.get(token.text) or _EXCHANGES[token.text]
    s.expect("(")
    if s.is_op("("):
        typed, base, off = _typed_place(s, scope)
        if size and typed != size:
            s.fail(f"{token.text} works on u{size}", token)
        size = typed
    elif size and token.text.startswith(("xchg", "cmpxchg")):
        base, off = _place(s, scope)
    else:
        s.fail(f"expected a type, found {s.shown()}")
    s.expect(",")
    if imm == op.BPF_CMPXCHG:
        zero, _, zero_token = register(s)
        if zero != 0 or dst != 0:
            s.fail("compare and exchange works with r0: r0 = ..cmpxchg..(.., r0, rN)", zero_token)
        s.expect(",")
    src, src_bits, src_token = register(s)
    if imm != op.BPF_CMPXCHG and src != dst:
        s.fail(f"{token.text} returns into its operand r{src}", src_token)
    _same_width(s, src_bits, src_token, bits)
    if bits == 32 and size == 64:
        s.fail("an atomic on u64 needs an r register", src_token)
    s.expect(")")
    return Code([Insn(op.BPF_STX | op.BPF_ATOMIC | _SIZE[size], base, src, off, imm)])


def _store_release(s: Statement, scope: Scope) -> Code:
    s.expect("(")
    size, base, off = _typed_place(s, scope)
    s.expect(",")
    src, _, _ = register(s)
    s.expect(")")
    return Code([b.store_release(f"u{size}", base, off, src)])


def jump_target(s: Statement, scope: Scope, bits: int) -> tuple[int, Ref | None]:
    """`+3`, `pc+3`, `label`, `1f`; a distance, or 0 and what to wait for. `<...>` after it is skipped."""
    token = s.peek()
    low, high = _JUMP_LIMITS[bits]
    if token.text == "pc" and (s.is_op("+", 1) or s.is_op("-", 1)):
        s.next()
    value = expression(s, scope)
    if s.accept("<"):
        while s.peek().kind != "end" and not s.accept(">"):
            s.next()
    if value.is_number:
        if not low <= value.constant <= high:
            s.fail(f"the distance {value.constant} is out of range, {low} to {high}", token)
        return value.constant, None
    if value.minus:
        s.fail("expected a label or a distance", token)
    return 0, Ref("jump" if bits == 16 else "jump32", value, token.column)


def _goto(s: Statement, scope: Scope) -> Code:
    off, ref = jump_target(s, scope, 16)
    return Code([b.ja(off)], ref)


def _gotol(s: Statement, scope: Scope) -> Code:
    imm, ref = jump_target(s, scope, 32)
    return Code([b.gotol(imm)], ref)


def _may_goto(s: Statement, scope: Scope) -> Code:
    off, ref = jump_target(s, scope, 16)
    return Code([b.may_goto(off)], ref)


_BY_CONDITION = {text: getattr(op, f"BPF_{name.upper()}") for name, text in CONDITIONS.items()}


def _if(s: Statement, scope: Scope) -> Code:
    dst, bits, _ = register(s)
    operator = s.next()
    if operator.text not in _BY_CONDITION:
        s.fail(f"expected one of {' '.join(_BY_CONDITION)}", operator)
    opcode = _BY_CONDITION[operator.text] | (op.BPF_JMP if bits == 64 else op.BPF_JMP32)
    src = imm = 0
    if as_register(s.peek()) is not None:
        src, src_bits, src_token = register(s)
        _same_width(s, src_bits, src_token, bits)
        opcode |= op.BPF_X
    else:
        imm = imm32(s, scope)
    if not s.accept_name("goto"):
        s.fail(f"expected 'goto', found {s.shown()}")
    off, ref = jump_target(s, scope, 16)
    return Code([Insn(opcode, dst, src, off, imm)], ref)


def _call(s: Statement, scope: Scope) -> Code:
    token = s.peek()
    if token.text == "pc" and (s.is_op("+", 1) or s.is_op("-", 1)):
        s.next()
        distance = number(s, scope, *_JUMP_LIMITS[32], "the distance")
        _skip_name(s)
        return Code([b.call_local(distance)])
    if any(later.text == "#" for later in s.tokens[s.at :]):
        return _named_call(s, scope)
    value = expression(s, scope)
    if value.is_number:
        if not -0x8000_0000 <= value.constant <= 0xFFFF_FFFF:
            s.fail(f"the function number {value.constant} does not fit into 32 bits", token)
        return Code([b.call(s32(value.constant))])
    if value.minus:
        s.fail("expected a function or a number", token)
    return Code([b.call_local(-1)], Ref("call", value, token.column))


def _skip_name(s: Statement) -> None:
    """bpftool's `#bpf_prog_...` after a call distance."""
    if s.accept("#"):
        while s.peek().kind != "end":
            s.next()


def _named_call(s: Statement, scope: Scope) -> Code:
    """`call NAME#NUMBER` of logs: a helper when it has that name, a kernel function otherwise."""
    name, module = "", 0
    while not s.is_op(":") and not s.is_op("#"):
        name += s.next().text
    if s.accept(":"):
        module = off16(s, scope)
    s.expect("#")
    value = imm32(s, scope, "the function number")
    if name == "unknown" or name == helper_name(value):
        return Code([b.call(value)])
    return Code([b.call_kfunc(value, module)])


def _callx(s: Statement, scope: Scope) -> Code:
    dst, bits, token = register(s)
    if bits != 64:
        s.fail("callx needs an r register", token)
    return Code([Insn(op.CALLX, dst)])


def _gotox(s: Statement, scope: Scope) -> Code:
    dst, bits, token = register(s)
    if bits != 64:
        s.fail("gotox needs an r register", token)
    return Code([Insn(op.GOTOX, dst)])


def _exit(s: Statement, scope: Scope) -> Code:
    return Code([b.exit_()])


def _nospec(s: Statement, scope: Scope) -> Code:
    return Code([Insn(op.BPF_ST | 0xC0)])


def _ld_pseudo(s: Statement, scope: Scope) -> Code:
    """LLVM's `ld_pseudo r1, KIND, VALUE`."""
    dst, _, _ = register(s)
    s.expect(",")
    kind = small(s, scope, 15, "the kind")
    s.expect(",")
    token = s.peek()
    return _wide(s, dst, expression(s, scope), token, kind)


_STATEMENTS: dict[str, Callable[[Statement, Scope], Code]] = {
    "lock": _lock,
    "if": _if,
    "goto": _goto,
    "gotol": _gotol,
    "may_goto": _may_goto,
    "call": _call,
    "callx": _callx,
    "gotox": _gotox,
    "exit": _exit,
    "nospec": _nospec,
    "store_release": _store_release,
    "ld_pseudo": _ld_pseudo,
}
