"""CO-RE relocations: values from target BTF, and instructions patched with them as libbpf 1.5 does.

Facts: Linux 6.12 tools/lib/bpf/relo_core.c and libbpf.c (bpf_core_find_cands, bpf_core_resolve_relo).
A relocation whose target does not exist is no error: its instruction becomes `call 195896080`, which the verifier
refuses only where it can be reached. What libbpf refuses raises RelocationError.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence, Sequence
from typing import NamedTuple

from bombus.bits import s16, s32, u64
from bombus.btf.corematch import Matcher, kinds_compatible
from bombus.btf.corespec import ENUM_KINDS, FIELD_KINDS, KIND_TEXT, Spec, parse_spec
from bombus.btf.ext import CoreKind, CoreRelo
from bombus.btf.parse import Btf, essential_name
from bombus.btf.types import INT_SIGNED, Enum, Enum64, Int, Ptr, Struct, Type, Union
from bombus.errors import BtfError, RelocationError
from bombus.isa.insn import Insn
from bombus.isa.opcodes import (
    BPF_ALU,
    BPF_ALU64,
    BPF_CALL,
    BPF_JMP,
    BPF_LD,
    BPF_LDX,
    BPF_ST,
    BPF_STX,
    BPF_X,
    SIZE_BYTES,
)

POISON_IMM = 195896080  # 0xbad2310, "bad relo"
POISON = Insn(BPF_JMP | BPF_CALL, 0, 0, 0, POISON_IMM)
_SIZE_CODE = {size: code for code, size in SIZE_BYTES.items()}


class Value(NamedTuple):
    """What one relocation comes to, before any instruction is looked at.

    `old` is what the compiler must have put into the instruction (checked when `validate`), `new` what belongs
    there; both unsigned 64-bit. `poison`: there is no target. `bad_resize`: a load or store of this field would
    need another size and may not get it. `target` is None when nothing matched.
    """

    kind: CoreKind
    local: Spec
    target: Spec | None
    old: int
    new: int
    poison: bool = False
    validate: bool = True
    bad_resize: bool = False
    old_size: int = 0
    new_size: int = 0


class Result(NamedTuple):
    """One relocation applied: which instruction (slot index), what was found, what it became."""

    insn_idx: int
    kind: CoreKind
    local_spec: str
    target_spec: str
    old: int
    new: int
    poisoned: bool
    reason: str
    value: Value


class _Side(NamedTuple):
    """A field relocation's value on one side; `type` only where a load or store could be resized."""

    value: int
    size: int = 0
    type: Type | None = None
    validate: bool = True


class Resolver:
    """Resolves relocations of one local BTF against targets: the kernel's BTF first, then its modules'.

    Modules are asked only for types that the kernel does not have. Candidates that did not fit one relocation are
    not tried for later ones of the same type, as in libbpf.
    """

    __slots__ = ("_candidates", "_matchers", "local", "targets")

    def __init__(self, local: Btf, targets: Sequence[Btf]) -> None:
        self.local = local
        self.targets = tuple(targets)
        self._candidates: dict[int, list[tuple[Matcher, int]]] = {}
        self._matchers = [Matcher(local, target) for target in self.targets]

    def candidates(self, type_id: int) -> list[tuple[Btf, int]]:
        """Target types that `type_id` could mean: same name but for the flavour, same kind."""
        return [(matcher.target, found) for matcher, found in self._find(type_id)]

    def _find(self, type_id: int) -> list[tuple[Matcher, int]]:
        found = self._candidates.get(type_id)
        if found is not None:
            return found
        name = essential_name(self.local.name(type_id))
        kind = self.local.kind(type_id)
        found = []
        for place, matcher in enumerate(self._matchers):
            target = matcher.target
            ids = target.flavours(name)
            if place == 0 and target.base is not None:
                ids = target.base.flavours(name) + ids
            found += [(matcher, i) for i in ids if kinds_compatible(target.kind(i), kind)]
            if place == 0 and found:
                break
        self._candidates[type_id] = found
        return found

    def resolve(self, relo: CoreRelo) -> Value:
        """The value of one relocation. RelocationError where libbpf gives up (bad or ambiguous)."""
        try:
            return self._resolve(relo)
        except BtfError as error:
            raise RelocationError(f"CO-RE relocation on type {relo.type_id}: {error.message}") from None

    def _resolve(self, relo: CoreRelo) -> Value:
        try:
            kind = CoreKind(relo.kind)
        except ValueError:
            raise RelocationError(f"unknown CO-RE relocation kind {relo.kind}") from None
        local = parse_spec(self.local, kind, relo.type_id, self.local.string(relo.access))
        if kind == CoreKind.TYPE_ID_LOCAL:
            return Value(kind, local, None, relo.type_id, relo.type_id, validate=False)
        if not self.local.name(relo.type_id):
            raise RelocationError(f"CO-RE relocation {KIND_TEXT[kind]} on anonymous type {relo.type_id}")
        chosen: Value | None = None
        kept: list[tuple[Matcher, int]] = []
        for matcher, type_id in self._find(relo.type_id):
            target = matcher.match(local, type_id)
            if target is None:
                continue
            value = calculate(local, target)
            if chosen is None:
                chosen = value
            else:
                _check_agreement(chosen, value)
            kept.append((matcher, type_id))
        if kept:
            self._candidates[relo.type_id] = kept
        return chosen if chosen is not None else calculate(local, None)


def _check_agreement(first: Value, other: Value) -> None:
    assert first.target is not None and other.target is not None
    if first.target.bit_offset != other.target.bit_offset:
        raise RelocationError(
            f"CO-RE field offset is ambiguous: {other.target} and {first.target} disagree "
            f"({other.target.bit_offset} != {first.target.bit_offset} bits)"
        )
    if (first.poison, first.new) != (other.poison, other.new):
        raise RelocationError(
            f"CO-RE relocation is ambiguous: {other.target} gives {other.new}, {first.target} {first.new}"
        )


def calculate(local: Spec, target: Spec | None) -> Value:
    """Old and new value from the two specs; `target` None when no candidate matched."""
    kind = local.kind
    if kind in FIELD_KINDS:
        return _field_value(local, target)
    if kind in ENUM_KINDS:
        if kind == CoreKind.ENUMVAL_EXISTS:
            return Value(kind, local, target, 1, int(target is not None))
        old = _enumerator(local)
        return Value(kind, local, target, old, _enumerator(target) if target else 0, poison=target is None)
    old, new = _type_value(local), _type_value(target) if target else 0
    return Value(kind, local, target, old, new, validate=kind != CoreKind.TYPE_ID_TARGET)


def _enumerator(spec: Spec) -> int:
    enum = spec.btf.type(spec.steps[0].type)
    assert isinstance(enum, (Enum, Enum64))
    value = enum.values[spec.steps[0].place].value
    # A 32-bit enumerator is a signed number in its record, whatever the enum says.
    return u64(s32(value) if isinstance(enum, Enum) else value)


def _type_value(spec: Spec) -> int:
    if spec.kind == CoreKind.TYPE_ID_TARGET:
        return spec.root
    if spec.kind == CoreKind.TYPE_SIZE:
        return spec.btf.size_of(spec.root)
    return 1


def _field_value(local: Spec, target: Spec | None) -> Value:
    kind = local.kind
    old = _field_side(local)
    if kind == CoreKind.FIELD_EXISTS:
        return Value(kind, local, target, 1, int(target is not None))
    if target is None:
        return Value(kind, local, None, old.value, 0, poison=True, validate=old.validate, old_size=old.size)
    new = _field_side(target)
    bad = old.size != new.size and not _may_resize(old.type, new.type)
    return Value(
        kind, local, target, old.value, new.value, False, old.validate, bad, old.size, new.size
    )  # fmt: skip


def _may_resize(old: Type | None, new: Type | None) -> bool:
    if isinstance(old, Ptr) and isinstance(new, Ptr):
        return True
    ints = isinstance(old, Int) and isinstance(new, Int)
    return ints and old.encoding != INT_SIGNED and new.encoding != INT_SIGNED  # type: ignore[union-attr]


def _field_side(spec: Spec) -> _Side:
    btf, kind = spec.btf, spec.kind
    if kind == CoreKind.FIELD_EXISTS:
        return _Side(1)
    step = spec.steps[-1]
    if not step.name:
        size = btf.size_of(step.type)
        if kind == CoreKind.FIELD_BYTE_OFFSET:
            return _Side(spec.bit_offset // 8, size, btf.type(step.type))
        if kind == CoreKind.FIELD_BYTE_SIZE:
            return _Side(size)
        raise RelocationError(f"CO-RE relocation {KIND_TEXT[kind]} cannot be applied to array access: {spec}")
    holder = btf.type(step.type)
    assert isinstance(holder, (Struct, Union))
    member = holder.members[step.place]
    type_id = btf.resolve(member.type)
    type_ = btf.type(type_id)
    offset, bits = spec.bit_offset, member.bits
    size = btf.size_of(type_id)
    byte = offset // 8
    if bits:
        if not size:
            raise RelocationError(f"CO-RE: bit-field of a type without size: {spec}")
        byte = offset // 8 // size * size
        # The smallest aligned load that holds the whole bit-field.
        while offset + bits - byte * 8 > size * 8:
            if size >= 8:
                raise RelocationError(f"CO-RE: bit-field cannot be read with one 64-bit load: {spec}")
            size *= 2
            byte = offset // 8 // size * size
    width = bits or size * 8
    # Compilers may choose another load for a bit-field than we do.
    plain = not bits
    match kind:
        case CoreKind.FIELD_BYTE_OFFSET:
            return _Side(byte, size, type_) if plain else _Side(byte, validate=False)
        case CoreKind.FIELD_BYTE_SIZE:
            return _Side(size, validate=plain)
        case CoreKind.FIELD_SIGNED:
            signed = isinstance(type_, (Int, Enum, Enum64)) and type_.signed
            return _Side(int(signed))
        case CoreKind.FIELD_LSHIFT_U64:
            if btf.byteorder == "little":
                return _Side(u64(64 - (offset + width - byte * 8)), validate=plain)
            return _Side(u64((8 - size) * 8 + (offset - byte * 8)), validate=plain)
        case _:
            return _Side(u64(64 - width))


def patch(insns: MutableSequence[Insn], index: int, value: Value) -> bool:
    """Put a value into the instruction at slot `index`; True when it was poisoned instead.

    Raises RelocationError for an instruction that does not hold what the compiler should have put there, that
    cannot hold the new value, or that no relocation of this kind fits.
    """
    if not 0 <= index < len(insns):
        raise RelocationError(f"CO-RE relocation points at instruction {index} of {len(insns)}")
    insn = insns[index]
    match insn.opcode & 7:
        case klass if klass in (BPF_ALU, BPF_ALU64) and not insn.opcode & BPF_X:
            if value.poison:
                insns[index] = POISON
                return True
            _check(index, "ALU/ALU64", u64(insn.imm), value)
            insns[index] = insn._replace(imm=s32(value.new))
            return False
        case klass if klass in (BPF_LDX, BPF_ST, BPF_STX):
            return _patch_memory(insns, index, insn, value)
        case klass if klass == BPF_LD:
            return _patch_imm64(insns, index, insn, value)
    raise RelocationError(
        f"CO-RE relocation at instruction {index}, which takes none: code {insn.opcode:#x} src {insn.src} "
        f"dst {insn.dst} off {insn.off} imm {insn.imm}"
    )


def _check(index: int, what: str, got: int, value: Value) -> None:
    if value.validate and got != value.old:
        raise RelocationError(
            f"CO-RE: unexpected instruction {index} ({what}) value: got {got}, expected {value.old} -> {value.new}"
        )


def _patch_memory(insns: MutableSequence[Insn], index: int, insn: Insn, value: Value) -> bool:
    if value.poison:
        insns[index] = POISON
        return True
    _check(index, "LDX/ST/STX", u64(insn.off), value)
    if value.new > 0x7FFF:
        raise RelocationError(f"CO-RE: instruction {index} (LDX/ST/STX) value too big: {value.new}")
    if value.bad_resize:
        insns[index] = POISON
        return True
    opcode = insn.opcode
    if value.new_size != value.old_size:
        if SIZE_BYTES[opcode & 0x18] != value.old_size:
            raise RelocationError(
                f"CO-RE: instruction {index} (LDX/ST/STX) has memory size {SIZE_BYTES[opcode & 0x18]}, "
                f"expected {value.old_size}"
            )
        code = _SIZE_CODE.get(value.new_size)
        if code is None:
            raise RelocationError(f"CO-RE: instruction {index} (LDX/ST/STX): no access of {value.new_size} bytes")
        opcode = opcode & ~0x18 | code
    insns[index] = insn._replace(opcode=opcode, off=s16(value.new))
    return False


def _patch_imm64(insns: MutableSequence[Insn], index: int, insn: Insn, value: Value) -> bool:
    second = insns[index + 1] if index + 1 < len(insns) else None
    if second is None or not insn.is_ld_imm64 or insn.src or insn.off or second[:4] != (0, 0, 0, 0):
        raise RelocationError(f"CO-RE: instruction {index} (LDIMM64) has an unexpected form")
    if value.poison:
        insns[index] = insns[index + 1] = POISON
        return True
    _check(index, "LDIMM64", insn.imm & 0xFFFFFFFF | (second.imm & 0xFFFFFFFF) << 32, value)
    insns[index] = insn._replace(imm=s32(value.new))
    insns[index + 1] = second._replace(imm=s32(value.new >> 32))
    return False


def relocate(
    relos: Iterable[CoreRelo],
    insns: MutableSequence[Insn],
    local: Btf,
    targets: Sequence[Btf] = (),
    *,
    first_insn: int = 0,
    resolver: Resolver | None = None,
) -> list[Result]:
    """Apply relocations to `insns` in place; slot 0 of it is slot `first_insn` of the section.

    `targets`: the kernel's BTF first, then split BTF of modules; a `resolver` kept between calls (for one object)
    replaces them and shares its caches. Relocations outside `insns` are left out. Raises RelocationError.
    """
    resolver = resolver or Resolver(local, targets)
    results: list[Result] = []
    for number, relo in enumerate(relos):
        if relo.insn_off % 8:
            raise RelocationError(f"CO-RE relocation #{number}: offset {relo.insn_off} is inside an instruction")
        index = relo.insn_off // 8 - first_insn
        if not 0 <= index < len(insns):
            continue
        try:
            value = resolver.resolve(relo)
            poisoned = patch(insns, index, value)
        except RelocationError as error:
            raise RelocationError(f"relocation #{number} at instruction {index}: {error.message}") from None
        reason = ""
        if poisoned:
            reason = "field has another size and is not an unsigned integer or a pointer" if value.bad_resize else (
                "no matching target"
            )  # fmt: skip
        results.append(
            Result(
                index,
                value.kind,
                str(value.local),
                str(value.target) if value.target else "",
                value.old,
                value.new,
                poisoned,
                reason,
                value,
            )
        )
    return results


__all__ = ["POISON", "Resolver", "Result", "Value", "calculate", "patch", "relocate"]
