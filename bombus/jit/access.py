"""Loads, stores and atomics: straight through where a verifier says so, else after a look at the table of regions."""

from __future__ import annotations

from typing import Any, Final

from bombus.isa import facts
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.jit import abi
from bombus.jit.writer import Writer

# Metadata of the module: memory of each kind, for type-based alias analysis.
TAGS: Final = {
    facts.CTX: 11, facts.STACK: 12, facts.PACKET: 13, facts.MAP_VALUE: 14, facts.MAP_KEY: 15, facts.MEM: 16,
    facts.RECORD: 17,
}  # fmt: skip
# A dynptr leads to bytes of a packet, a map value or a record, a global function may get any: the kinds that MEM may be
# are below it.
TREE: Final = "\n".join(
    ['!10 = !{!"memory of BPF programs"}']
    + [f"!{tag} = !{{!{tag + 10}, !{tag + 10}, i64 0}}" for tag in TAGS.values()]
    + [
        f'!{tag + 10} = !{{!"kind {kind}", !{10 if kind == facts.MEM else TAGS[facts.MEM] + 10}, i64 0}}'
        for kind, tag in TAGS.items()
    ]
)


def _align(w: Writer, size: int) -> int:
    """Accesses to frames and contexts are aligned: the verifier sees to it."""
    kinds = w.facts.access.get(w.here, 0) if w.here in w.plain else 0
    return size if kinds and not kinds & ~(facts.STACK | facts.CTX) else 1


def _kind(w: Writer) -> str:
    """Memory of different kinds never overlaps, but for MEM."""
    if w.here not in w.plain:
        return ""
    number_ = TAGS.get(w.facts.access.get(w.here, 0))
    return "" if number_ is None else f", !tbaa !{number_}"


def load(w: Writer, base: int, address: str, size: int, *, acquire: bool) -> str:
    if w.here in w.facts.probes:
        return _probe(w, base, address, size)
    place = place_of(w, base, address, size, abi.LOAD)
    if acquire and _may_be_misaligned(w):
        value = w.ops.emit(f"load i{size * 8}, ptr {place}, align 1")
        w.line("fence acquire")
        return value
    if acquire:
        return w.ops.emit(f"load atomic i{size * 8}, ptr {place} acquire, align {size}")
    return w.ops.emit(f"load i{size * 8}, ptr {place}, align {_align(w, size)}{_kind(w)}")


def _probe(w: Writer, base: int, address: str, size: int) -> str:
    """A load that gives 0 where there is no memory."""
    lost, got, done = (w.ops.name() for _ in range(3))
    _check(w, base, address, size, abi.PROBE, lost)
    found = w.ops.emit(f"load i{size * 8}, ptr {w.ops.emit(f'inttoptr i64 {address} to ptr')}, align 1")
    w.line(f"br label {got}")
    w.label(got)
    w.line(f"br label {done}")
    w.label(lost)
    w.line(f"br label {done}")
    w.label(done)
    return w.ops.emit(f"phi i{size * 8} [ {found}, {got} ], [ 0, {lost} ]")


def store(w: Writer, base: int, address: str, size: int, value: str, *, release: bool) -> None:
    place = place_of(w, base, address, size, abi.STORE)
    if release and _may_be_misaligned(w):
        w.line("fence release")
        w.line(f"store i{size * 8} {value}, ptr {place}, align 1")
    elif release:
        w.line(f"store atomic i{size * 8} {value}, ptr {place} release, align {size}")
    else:
        w.line(f"store i{size * 8} {value}, ptr {place}, align {_align(w, size)}{_kind(w)}")


def place_of(w: Writer, base: int, address: str, size: int, kind: int) -> str:
    """The place of an access as a pointer, after whatever check it takes."""
    insn = w.insns[w.here]
    in_frame = base == op.BPF_REG_FP and -op.MAX_BPF_STACK <= insn.off <= -size
    if w.here in w.plain or in_frame:
        place = w.pointer(base)
        return w.ops.emit(f"getelementptr i8, ptr {place}, i64 {insn.off}") if insn.off else place
    _check(w, base, address, size, kind)
    return w.ops.emit(f"inttoptr i64 {address} to ptr")


def _check(w: Writer, base: int, address: str, size: int, kind: int, lost: str = "") -> None:
    """lost: where to go when there is no such memory, instead of leaving the program."""
    w.module.out.needs.add(abi.FIND)
    w.caches.add(base)
    emit, ops = w.ops.emit, w.ops
    length = f"%c{base}{'l' if kind in (abi.LOAD, abi.PROBE) else 'w'}"
    start = emit(f"load i64, ptr %c{base}s, align 8")
    size_ = emit(f"load i64, ptr {length}, align 8")
    offset = emit(f"sub i64 {address}, {start}")
    inside = emit(f"icmp ult i64 {offset}, {size_}")
    left = emit(f"sub i64 {size_}, {offset}")
    fits = emit(f"icmp uge i64 {left}, {size}")
    both = emit(f"and i1 {inside}, {fits}")
    good, miss, there = ops.name(), ops.name(), ops.name()
    out = lost or ops.name()
    w.line(f"br i1 {both}, label {good}, label {miss}, !prof !0")
    w.label(miss)
    entry = emit(f"call ptr @lookup(ptr %run, i64 {address}, i64 {size}, i32 {kind}, i32 {w.here})")
    none = emit(f"icmp eq ptr {entry}, null")
    w.line(f"br i1 {none}, label {out}, label {there}")
    if not lost:
        w.label(out)
        w.line("ret i64 0")
    w.label(there)
    for at, part in ((0, "s"), (8, "l"), (16, "w")):
        place = emit(f"getelementptr i8, ptr {entry}, i64 {at}")
        value = emit(f"load i64, ptr {place}, align 8")
        w.line(f"store i64 {value}, ptr %c{base}{part}, align 8")
    w.line(f"br label {good}")
    w.label(good)


def _may_be_misaligned(w: Writer) -> bool:
    """Of atomics verifiers ask for alignment."""
    return w.options.checked


def atomic(w: Writer, effect: Any, insn: Insn) -> None:
    place = place_of(w, insn.dst, effect.address, effect.size, abi.ATOMIC)
    if _may_be_misaligned(w):
        old = _any_atomic(w, effect, place)
    else:
        old = _aligned_atomic(w, effect, place)
    if effect.result is not None:
        w.write(effect.result, effect.fetched(w.ops, old))


def _any_atomic(w: Writer, effect: Any, place: str) -> str:
    """Off its alignment the update is no single step: machines trap, or stop the others across cache lines."""
    ops, emit, bits = w.ops, w.ops.emit, effect.size * 8
    below = emit(f"and i64 {emit(f'ptrtoint ptr {place} to i64')}, {effect.size - 1}")
    is_aligned = emit(f"icmp eq i64 {below}, 0")
    aligned, off, done = (ops.name() for _ in range(3))
    w.line(f"br i1 {is_aligned}, label {aligned}, label {off}")
    w.label(aligned)
    one = _aligned_atomic(w, effect, place)
    w.line(f"br label {done}")
    w.label(off)
    other = emit(f"load i{bits}, ptr {place}, align 1")
    w.line(f"store i{bits} {effect.update(ops, other)}, ptr {place}, align 1")
    w.line(f"br label {done}")
    w.label(done)
    return emit(f"phi i{bits} [ {one}, {aligned} ], [ {other}, {off} ]")


def _aligned_atomic(w: Writer, effect: Any, place: str) -> str:
    """The old value. Linux' order: none without a result, else sequentially consistent."""
    bits, size, emit = effect.size * 8, effect.size, w.ops.emit
    if effect.operation == "cmpxchg":
        values = f"i{bits} {effect.expected}, i{bits} {effect.operand}"
        pair = emit(f"cmpxchg ptr {place}, {values} seq_cst seq_cst, align {size}")
        return emit(f"extractvalue {{ i{bits}, i1 }} {pair}, 0")
    order = "monotonic" if effect.result is None else "seq_cst"
    return emit(f"atomicrmw {effect.operation} ptr {place}, i{bits} {effect.operand} {order}, align {size}")
