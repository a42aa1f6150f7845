"""What each instruction does, defined once.

`effect(insn, ops, read)` says what one instruction does as an `Effect`: a register write, a load, a store, a
branch, a call ... Values are computed through `Ops`, an algebra of bit vectors. Python ints (`isa.ints`),
generated Python source, LLVM IR and SMT terms are readings of it: each brings its own `Ops` and carries out
the effects in its own way. No reading decides what an instruction means.

Everything that hosts disagree about is spelled out here: division by zero, overflow of signed division, shift
amounts, zero extension of 32-bit results, sign extension of immediates, byte order. So an `Ops` may leave
`udiv(a, 0)` or `shl(a, 64)` undefined (LLVM does): it is never asked for them.

Sources: RFC 9669; Linux 6.12 kernel/bpf/core.c ___bpf_prog_run, net/core/filter.c bpf_gen_ld_abs,
Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from bombus.errors import EncodingError
from bombus.isa import opcodes as op
from bombus.isa.insn import ByteOrder, Insn, imm64

V = TypeVar("V")  # a bit vector; its width is always said beside it
B = TypeVar("B")  # a truth value


class Ops(Protocol[V, B]):
    """Bit-vector arithmetic of one reading. `bits` is the width of the operands: 8, 16, 32 or 64.

    add, sub, mul, neg and shl wrap. Preconditions, which this module keeps: divisors are not 0; sdiv and
    srem are not asked for (most negative) / -1; shift amounts are below `bits`; from_bits < to_bits in zext
    and sext, from_bits > to_bits in trunc.
    """

    def const(self, value: int, bits: int) -> V:
        """The bit vector of `value`, which is in [0, 2**bits)."""

    def add(self, a: V, b: V, bits: int) -> V: ...
    def sub(self, a: V, b: V, bits: int) -> V: ...
    def mul(self, a: V, b: V, bits: int) -> V: ...
    def udiv(self, a: V, b: V, bits: int) -> V: ...
    def urem(self, a: V, b: V, bits: int) -> V: ...
    def sdiv(self, a: V, b: V, bits: int) -> V:
        """Signed quotient, rounded towards zero."""

    def srem(self, a: V, b: V, bits: int) -> V:
        """Remainder of `sdiv`: it has the sign of `a`."""

    def and_(self, a: V, b: V, bits: int) -> V: ...
    def or_(self, a: V, b: V, bits: int) -> V: ...
    def xor(self, a: V, b: V, bits: int) -> V: ...
    def shl(self, a: V, n: V, bits: int) -> V: ...
    def lshr(self, a: V, n: V, bits: int) -> V: ...
    def ashr(self, a: V, n: V, bits: int) -> V: ...
    def neg(self, a: V, bits: int) -> V: ...
    def bswap(self, a: V, bits: int) -> V: ...
    def zext(self, a: V, from_bits: int, to_bits: int) -> V: ...
    def sext(self, a: V, from_bits: int, to_bits: int) -> V: ...
    def trunc(self, a: V, from_bits: int, to_bits: int) -> V: ...
    def compare(self, relation: str, a: V, b: V, bits: int) -> B:
        """relation: "eq", "ne", "ugt", "uge", "ult", "ule", "sgt", "sge", "slt", "sle"."""

    def select(self, condition: B, a: V, b: V, bits: int) -> V:
        """a if condition else b. Both are already computed; a reading may pick without branching."""


# ---------------------------------------------------------------------------------------------- effects
# `off` of a jump counts slots from the next instruction: the target is index + 1 + off.


class Write(NamedTuple, Generic[V]):
    """Register `reg` becomes the 64-bit `value`."""

    reg: int
    value: V


class Load(NamedTuple, Generic[V]):
    """`reg` becomes `extend` of the `size` bytes at `address`. `acquire`: later accesses stay after it."""

    reg: int
    address: V
    size: int
    signed: bool = False
    acquire: bool = False

    def extend(self, ops: Ops[V, Any], raw: V) -> V:
        """The 64-bit register value for `raw`, the loaded `size` * 8 bits in target byte order."""
        bits = self.size * 8
        if bits == 64:
            return raw
        return ops.sext(raw, bits, 64) if self.signed else ops.zext(raw, bits, 64)


class Store(NamedTuple, Generic[V]):
    """The `size` bytes at `address` become `value` (size * 8 bits). `release`: after earlier accesses."""

    address: V
    size: int
    value: V
    release: bool = False


class Atomic(NamedTuple, Generic[V]):
    """Read, modify, write `size` (4 or 8) bytes at `address` as one step.

    operation: "add", "or", "and", "xor", "xchg", "cmpxchg". `operand` and `expected` have size * 8 bits;
    `expected` is there for cmpxchg only. `result` is the register that gets the old value zero extended
    (None: nobody does). Without `result` there is no ordering; with it the order is sequentially consistent.
    """

    operation: str
    address: V
    size: int
    operand: V
    expected: V | None
    result: int | None

    def update(self, ops: Ops[V, Any], old: V) -> V:
        """What memory holds afterwards. For cmpxchg that is `old` itself when it was not as expected."""
        bits = self.size * 8
        if self.operation == "cmpxchg":
            assert self.expected is not None
            return ops.select(ops.compare("eq", old, self.expected, bits), self.operand, old, bits)
        if self.operation == "xchg":
            return self.operand
        value: V = _ATOMIC_UPDATE[self.operation](ops, old, self.operand, bits)
        return value

    def fetched(self, ops: Ops[V, Any], old: V) -> V:
        """The 64-bit value of register `result`."""
        return old if self.size == 8 else ops.zext(old, 32, 64)


class Branch(NamedTuple, Generic[B]):
    """Continue at `off` when `condition` holds, else at the next instruction."""

    condition: B
    off: int


class Goto(NamedTuple):
    off: int


class MayGoto(NamedTuple):
    """Continue at `off` when the frame's loop budget (the kernel's: 8 Mi) is used up, else go on."""

    off: int


class CallHelper(NamedTuple):
    """r0 = helper(r1..r5); r1 to r5 are lost. Number 12, tail_call, may not come back."""

    number: int


class CallLocal(NamedTuple):
    """Call the subprogram at `off` in a new frame: own r10, r6 to r9 kept for the caller, r1 to r5 lost."""

    off: int


class CallKfunc(NamedTuple):
    """r0 = function `btf_id` of vmlinux (fd_index 0) or of the module whose BTF is fd_array[fd_index]."""

    btf_id: int
    fd_index: int


class CallRegister(NamedTuple, Generic[V]):
    """Call the function whose address is `target` (callx; compilers emit it, no kernel accepts it yet)."""

    target: V


class Exit(NamedTuple):
    """Return r0 from this frame."""


class LoadPacket(NamedTuple, Generic[V]):
    """r0 = `size` bytes of the packet of the skb in r6, in network byte order, zero extended.

    `offset` is a signed 32-bit value; below 0 it names the kernel's SKF_LL_OFF/SKF_NET_OFF windows. Where the
    packet does not hold the bytes, the frame exits with r0 = 0. r1 to r5 are lost.
    """

    offset: V
    size: int


class LoadPseudo(NamedTuple):
    """`reg` becomes what the two immediates of an ld_imm64 stand for; kind is BPF_PSEUDO_MAP_FD, ..."""

    reg: int
    kind: int
    imm: int
    next_imm: int


class AddressCast(NamedTuple, Generic[V]):
    """`reg` becomes `value`, an address of space `from_`, as an address of space `to`.

    Linux knows spaces 0 (kernel) and 1 (arena): 1 -> 0 keeps the low 32 bits for a later arena access,
    0 -> 1 makes the user-space address of an arena page (0 stays 0).
    """

    reg: int
    value: V
    to: int
    from_: int


Effect: TypeAlias = (
    Write[V] | Load[V] | Store[V] | Atomic[V] | Branch[B] | Goto | MayGoto | CallHelper | CallLocal
    | CallKfunc | CallRegister[V] | Exit | LoadPacket[V] | LoadPseudo | AddressCast[V]
)  # fmt: skip


def slots(insn: Insn) -> int:
    """How many 8-byte slots the instruction takes: 2 for ld_imm64, else 1."""
    return 2 if insn.opcode == op.LD_IMM64 else 1


def effect(
    insn: Insn,
    ops: Ops[V, B],
    read: Callable[[int], V],
    second: Insn | None = None,
    byteorder: ByteOrder = "little",
) -> Effect[V, B]:
    """What `insn` does.

    `read(n)` gives the 64-bit value of register n; `second` is the slot after an ld_imm64. Raises
    EncodingError for an encoding that has no meaning. Reserved fields that do not change the meaning are the
    business of `isa.validate`.
    """
    if insn.dst > op.BPF_REG_10 or insn.src > op.BPF_REG_10:
        field = "dst" if insn.dst > op.BPF_REG_10 else "src"
        raise EncodingError(f"register {getattr(insn, field)} does not exist", field=field)
    cls = insn.opcode & 0x07
    if cls == op.BPF_ALU64 or cls == op.BPF_ALU:
        return _alu(insn, ops, read, byteorder)
    if cls == op.BPF_LDX:
        return _ldx(insn, ops, read)
    if cls == op.BPF_STX or cls == op.BPF_ST:
        return _store(insn, ops, read)
    if cls == op.BPF_LD:
        return _ld(insn, ops, read, second)
    return _jump(insn, ops, read)


def _unknown(insn: Insn) -> EncodingError:
    return EncodingError(f"{insn.opcode:#04x} is no instruction", field="opcode")


# ---------------------------------------------------------------------------------------------- arithmetic

# Generic in V and B, which a table's type cannot say.
_Binary = Callable[[Any, Any, Any, int], Any]

_ATOMIC_UPDATE: dict[str, _Binary] = {
    "add": lambda ops, a, b, bits: ops.add(a, b, bits),
    "or": lambda ops, a, b, bits: ops.or_(a, b, bits),
    "and": lambda ops, a, b, bits: ops.and_(a, b, bits),
    "xor": lambda ops, a, b, bits: ops.xor(a, b, bits),
}

_PLAIN: dict[int, _Binary] = {
    op.BPF_ADD: lambda ops, a, b, bits: ops.add(a, b, bits),
    op.BPF_SUB: lambda ops, a, b, bits: ops.sub(a, b, bits),
    op.BPF_MUL: lambda ops, a, b, bits: ops.mul(a, b, bits),
    op.BPF_OR: lambda ops, a, b, bits: ops.or_(a, b, bits),
    op.BPF_AND: lambda ops, a, b, bits: ops.and_(a, b, bits),
    op.BPF_XOR: lambda ops, a, b, bits: ops.xor(a, b, bits),
}

_SHIFTS: dict[int, _Binary] = {
    op.BPF_LSH: lambda ops, a, n, bits: ops.shl(a, n, bits),
    op.BPF_RSH: lambda ops, a, n, bits: ops.lshr(a, n, bits),
    op.BPF_ARSH: lambda ops, a, n, bits: ops.ashr(a, n, bits),
}


def _alu(insn: Insn, ops: Ops[V, B], read: Callable[[int], V], byteorder: ByteOrder) -> Effect[V, B]:
    operation = insn.opcode & 0xF0
    bits = 64 if insn.opcode & 0x07 == op.BPF_ALU64 else 32
    if operation == op.BPF_MOV:
        return _mov(insn, ops, read, bits)
    if operation == op.BPF_END:
        return Write(insn.dst, _end(insn, ops, read(insn.dst), byteorder))
    left = _low(ops, read(insn.dst), bits)
    if operation == op.BPF_NEG:
        if insn.opcode & op.BPF_X:
            raise _unknown(insn)
        return Write(insn.dst, _widen(ops, ops.neg(left, bits), bits))
    immediate = None if insn.opcode & op.BPF_X else insn.imm & ((1 << bits) - 1)
    if operation in _SHIFTS:
        # The amount counts modulo the width. The kernel refuses larger immediates at load time.
        if immediate is None:
            amount = ops.and_(_low(ops, read(insn.src), bits), ops.const(bits - 1, bits), bits)
        else:
            amount = ops.const(immediate & (bits - 1), bits)
        return Write(insn.dst, _widen(ops, _SHIFTS[operation](ops, left, amount, bits), bits))
    right = _low(ops, read(insn.src), bits) if immediate is None else ops.const(immediate, bits)
    result: V
    if operation in _PLAIN:
        result = _PLAIN[operation](ops, left, right, bits)
    elif operation == op.BPF_DIV or operation == op.BPF_MOD:
        if insn.off not in (0, 1):
            raise EncodingError(f"{insn.off}; division is unsigned (0) or signed (1)", field="off")
        divide = _signed_division if insn.off else _unsigned_division
        result = divide(ops, left, right, bits, operation == op.BPF_MOD, immediate)
    else:
        raise _unknown(insn)
    return Write(insn.dst, _widen(ops, result, bits))


def _low(ops: Ops[V, B], value: V, bits: int) -> V:
    return value if bits == 64 else ops.trunc(value, 64, bits)


def _widen(ops: Ops[V, B], value: V, bits: int) -> V:
    """Results of 32-bit operations clear the upper half of their register."""
    return value if bits == 64 else ops.zext(value, bits, 64)


def _unsigned_division(ops: Ops[V, B], a: V, b: V, bits: int, modulo: bool, known: int | None) -> V:
    """a / 0 is 0, a % 0 is a. `known` is the divisor when it is an immediate."""
    divide = ops.urem if modulo else ops.udiv
    zero = ops.const(0, bits)
    if known is not None:
        return divide(a, b, bits) if known else (a if modulo else zero)
    is_zero = ops.compare("eq", b, zero, bits)
    quotient = divide(a, ops.select(is_zero, ops.const(1, bits), b, bits), bits)
    return ops.select(is_zero, a if modulo else zero, quotient, bits)


def _signed_division(ops: Ops[V, B], a: V, b: V, bits: int, modulo: bool, known: int | None) -> V:
    """As unsigned for 0; a / -1 is -a and wraps, so the most negative number stays itself; a % -1 is 0."""
    zero, minus_one = ops.const(0, bits), (1 << bits) - 1
    divide = ops.srem if modulo else ops.sdiv
    if known is not None:
        if known == 0:
            return a if modulo else zero
        if known == minus_one:
            return zero if modulo else ops.neg(a, bits)
        return divide(a, b, bits)
    one = ops.const(1, bits)
    is_zero = ops.compare("eq", b, zero, bits)
    is_minus_one = ops.compare("eq", b, ops.const(minus_one, bits), bits)
    safe = ops.select(is_zero, one, ops.select(is_minus_one, one, b, bits), bits)
    quotient = divide(a, safe, bits)
    if modulo:
        return ops.select(is_zero, a, quotient, bits)
    return ops.select(is_zero, zero, ops.select(is_minus_one, ops.neg(a, bits), quotient, bits), bits)


def _mov(insn: Insn, ops: Ops[V, B], read: Callable[[int], V], bits: int) -> Effect[V, B]:
    if not insn.opcode & op.BPF_X:
        return Write(insn.dst, ops.const(insn.imm & ((1 << bits) - 1), 64))
    if insn.off == op.BPF_ADDR_SPACE_CAST and bits == 64:
        return AddressCast(insn.dst, read(insn.src), insn.imm >> 16 & 0xFFFF, insn.imm & 0xFFFF)
    value = read(insn.src)
    if insn.off == 0:
        return Write(insn.dst, _widen(ops, _low(ops, value, bits), bits))
    if insn.off not in (8, 16, 32) or insn.off >= bits:
        raise EncodingError(f"{insn.off} is no width that a {bits}-bit move sign extends", field="off")
    extended = ops.sext(ops.trunc(value, 64, insn.off), insn.off, bits)
    return Write(insn.dst, _widen(ops, extended, bits))


def _end(insn: Insn, ops: Ops[V, B], value: V, byteorder: ByteOrder) -> V:
    """ALU: to little or big endian order: a swap where the target has the other. ALU64: always a swap."""
    width = insn.imm
    if width not in (16, 32, 64):
        raise EncodingError(f"{width} is no width of a byte swap; use 16, 32 or 64", field="imm")
    to_big = bool(insn.opcode & op.BPF_TO_BE)
    if insn.opcode & 0x07 == op.BPF_ALU64:
        if to_big:
            raise _unknown(insn)
        swap = True
    else:
        swap = to_big != (byteorder == "big")
    low = _low(ops, value, width)
    if swap:
        low = ops.bswap(low, width)
    return _widen(ops, low, width)


# ---------------------------------------------------------------------------------------------- memory


def _address(ops: Ops[V, B], base: V, off: int) -> V:
    return ops.add(base, ops.const(off & 0xFFFF_FFFF_FFFF_FFFF, 64), 64) if off else base


def _ldx(insn: Insn, ops: Ops[V, B], read: Callable[[int], V]) -> Effect[V, B]:
    mode = insn.opcode & 0xE0
    size = op.SIZE_BYTES[insn.opcode & 0x18]
    signed = mode == op.BPF_MEMSX
    if mode not in (op.BPF_MEM, op.BPF_MEMSX) or (signed and size == 8):
        raise _unknown(insn)
    return Load(insn.dst, _address(ops, read(insn.src), insn.off), size, signed)


def _store(insn: Insn, ops: Ops[V, B], read: Callable[[int], V]) -> Effect[V, B]:
    mode = insn.opcode & 0xE0
    size = op.SIZE_BYTES[insn.opcode & 0x18]
    is_register = insn.opcode & 0x07 == op.BPF_STX
    if mode == op.BPF_ATOMIC and is_register:
        return _atomic(insn, ops, read, size)
    if mode != op.BPF_MEM:
        raise _unknown(insn)
    if is_register:
        value = _low(ops, read(insn.src), size * 8)
    else:
        value = ops.const(insn.imm & ((1 << size * 8) - 1), size * 8)
    return Store(_address(ops, read(insn.dst), insn.off), size, value)


_ATOMIC_NAMES = {op.BPF_ADD: "add", op.BPF_OR: "or", op.BPF_AND: "and", op.BPF_XOR: "xor"}


def _atomic(insn: Insn, ops: Ops[V, B], read: Callable[[int], V], size: int) -> Effect[V, B]:
    bits = size * 8
    if insn.imm == op.BPF_LOAD_ACQ:
        return Load(insn.dst, _address(ops, read(insn.src), insn.off), size, acquire=True)
    if insn.imm == op.BPF_STORE_REL:
        address = _address(ops, read(insn.dst), insn.off)
        return Store(address, size, _low(ops, read(insn.src), bits), release=True)
    if size < 4:
        raise EncodingError(f"no atomic operation {insn.imm:#x} on {size} bytes", field="opcode")
    address = _address(ops, read(insn.dst), insn.off)
    operand = _low(ops, read(insn.src), bits)
    if insn.imm == op.BPF_XCHG:
        return Atomic("xchg", address, size, operand, None, insn.src)
    if insn.imm == op.BPF_CMPXCHG:
        return Atomic("cmpxchg", address, size, operand, _low(ops, read(op.BPF_REG_0), bits), op.BPF_REG_0)
    name = _ATOMIC_NAMES.get(insn.imm & ~op.BPF_FETCH)
    if name is None:
        raise EncodingError(f"{insn.imm:#x} is no atomic operation", field="imm")
    return Atomic(name, address, size, operand, None, insn.src if insn.imm & op.BPF_FETCH else None)


def _ld(insn: Insn, ops: Ops[V, B], read: Callable[[int], V], second: Insn | None) -> Effect[V, B]:
    if insn.opcode == op.LD_IMM64:
        if second is None:
            raise EncodingError("the second slot of ld_imm64 is missing", field="length")
        if insn.src:
            return LoadPseudo(insn.dst, insn.src, insn.imm, second.imm)
        return Write(insn.dst, ops.const(imm64(insn, second), 64))
    mode = insn.opcode & 0xE0
    size = op.SIZE_BYTES[insn.opcode & 0x18]
    offset = ops.const(insn.imm & 0xFFFF_FFFF, 32)
    if size == 8 or mode not in (op.BPF_ABS, op.BPF_IND):
        raise _unknown(insn)
    if mode == op.BPF_IND:
        offset = ops.add(ops.trunc(read(insn.src), 64, 32), offset, 32)
    return LoadPacket(offset, size)


# ---------------------------------------------------------------------------------------------- jumps

_RELATIONS = {
    op.BPF_JEQ: "eq",
    op.BPF_JNE: "ne",
    op.BPF_JGT: "ugt",
    op.BPF_JGE: "uge",
    op.BPF_JLT: "ult",
    op.BPF_JLE: "ule",
    op.BPF_JSGT: "sgt",
    op.BPF_JSGE: "sge",
    op.BPF_JSLT: "slt",
    op.BPF_JSLE: "sle",
}


def _jump(insn: Insn, ops: Ops[V, B], read: Callable[[int], V]) -> Effect[V, B]:
    opcode = insn.opcode
    if opcode == op.JA:
        return Goto(insn.off)
    if opcode == op.GOTOL:
        return Goto(insn.imm)
    if opcode == op.EXIT:
        return Exit()
    if opcode == op.CALL:
        return _call(insn)
    if opcode == op.CALLX:
        return CallRegister(read(insn.dst))
    if opcode == op.MAY_GOTO:
        if insn.src != op.BPF_MAY_GOTO:
            raise EncodingError(f"{insn.src} is no kind of conditional pseudo jump", field="src")
        return MayGoto(insn.off)
    operation = opcode & 0xF0
    bits = 64 if opcode & 0x07 == op.BPF_JMP else 32
    if operation != op.BPF_JSET and operation not in _RELATIONS:
        raise _unknown(insn)
    left = _low(ops, read(insn.dst), bits)
    if opcode & op.BPF_X:
        right = _low(ops, read(insn.src), bits)
    else:
        right = ops.const(insn.imm & ((1 << bits) - 1), bits)
    if operation == op.BPF_JSET:
        condition = ops.compare("ne", ops.and_(left, right, bits), ops.const(0, bits), bits)
    else:
        condition = ops.compare(_RELATIONS[operation], left, right, bits)
    return Branch(condition, insn.off)


def _call(insn: Insn) -> CallHelper | CallLocal | CallKfunc:
    if insn.src == 0:
        return CallHelper(insn.imm)
    if insn.src == op.BPF_PSEUDO_CALL:
        return CallLocal(insn.imm)
    if insn.src == op.BPF_PSEUDO_KFUNC_CALL:
        return CallKfunc(insn.imm, insn.off)
    raise EncodingError(f"{insn.src} is no kind of call", field="src")
