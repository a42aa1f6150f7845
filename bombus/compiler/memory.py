"""Memory: members, elements, kernel structs, stack variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bombus.bpf.ints import Scalar
from bombus.bpf.layout import ArrayType, PointerType, align_of, size_of
from bombus.compiler import tree
from bombus.compiler.relocations import Relocations
from bombus.compiler.types import IntT, RefT, Type
from bombus.compiler.writer import type_text

_WORDS_AT_ONCE = 64  # LLVM copies up to 128 words without a loop


class Memory(Relocations):
    """Expressions that read, write and make memory."""

    def address(self, spot: tree.Spot) -> tuple[str, int]:
        """What follows `ptr` in loads and stores of a place, and its alignment."""
        found, alignment = self.place(spot)
        return (f"addrspace(1) {self.far(found)}" if in_arena(spot.base.type) else found), alignment

    def far(self, address: str) -> str:
        """An address in an arena as LLVM has to know it: verifiers refuse one instruction for arenas and other memory.

        References to arenas are held as user space sees them; LLVM's BPF target converts where it loads and stores.
        """
        number = self.emit(f"ptrtoint ptr {address} to i64")
        number = self.emit(f'call i64 asm "", "=r,0"(i64 {number})')
        return self.emit(f"inttoptr i64 {number} to ptr addrspace(1)")

    def reachable(self, address: str, kind: Type) -> str:
        """An address as copies take it."""
        if not in_arena(kind):
            return address
        return self.emit(f"addrspacecast ptr addrspace(1) {self.far(address)} to ptr")

    def place(self, spot: tree.Spot) -> tuple[str, int]:
        """Address and alignment of a place."""
        base = self.value(spot.base)
        kind = spot.base.type
        assert isinstance(kind, RefT)
        alignment = align_of(spot.kind)
        if spot.member is not None and kind.target.CORE:
            return self.relocated(base, kind.target, spot.member), alignment
        if spot.member is not None:
            if kind.target.LAYOUT.packed:
                alignment = 1
            if kind.space in ("ctx", "sock"):  # verifiers want the offset in the access
                self.module.declare("ptr @llvm.preserve.static.offset(ptr)")
                base = self.emit(f"call ptr @llvm.preserve.static.offset(ptr {base})")
            if spot.member.offset:
                base = self.emit(f"getelementptr inbounds i8, ptr {base}, i64 {spot.member.offset}")
        elif spot.index is not None:
            size = size_of(spot.kind)
            if isinstance(spot.index, tree.Const):
                if spot.index.value:
                    base = self.emit(f"getelementptr inbounds i8, ptr {base}, i64 {spot.index.value * size}")
            else:
                index = self.value(spot.index)
                bits = type_text(spot.index.type)
                if bits != "i64":
                    signed = isinstance(spot.index.type, IntT) and spot.index.type.signed
                    index = self.emit(f"{'sext' if signed else 'zext'} {bits} {index} to i64")
                if not self.module.native and kind.space in ("stack", "mem") and _root_alignment(spot.base) > size:
                    # LLVM adds offsets below the alignment by `or`, which verifiers refuse on pointers: hide what it
                    # knows of the pointer (not of the index, which may become a constant).
                    base = self.emit(f'call ptr asm "", "=r,0"(ptr {base})')
                base = self.emit(f"getelementptr inbounds [{size} x i8], ptr {base}, i64 {index}")
        return base, alignment

    def of_recast(self, e: tree.Recast) -> str:
        return self.value(e.value)

    def pair_recast(self, e: tree.Recast) -> tuple[str, str]:
        return self.pair(e.value)

    def pair_around(self, e: tree.Around) -> tuple[str, str]:
        address, null = self.pair(e.value)
        return self.emit(f"getelementptr i8, ptr {address}, i64 {-e.offset}") if e.offset else address, null

    def probe(self, address: str, kind: Any) -> str:
        """A copy on the stack of memory that only probe_read_kernel (helper 113) may read."""
        size = size_of(kind)
        copy = self.room(kind)
        self.do(f"call i64 inttoptr (i64 113 to ptr)(ptr {copy}, i32 {size}, ptr {address})")
        return copy

    def of_load(self, e: tree.Load) -> str:
        place = e.place
        assert isinstance(place.base.type, RefT)
        if place.member is not None and place.member.bits and place.base.type.target.CORE:
            base = self.value(place.base)
            self.at(e.at)
            return self.bit_field(base, place.base.type.target, place.member, place.base.type.space)
        address, alignment = self.address(place)
        self.at(e.at)
        assert isinstance(place.base.type, RefT)
        if place.base.type.space == "kernel":
            address = self.probe(address, place.kind)
        volatile = "volatile " if place.volatile else ""
        if place.kind is bool:
            byte = self.emit(f"load {volatile}i8, ptr {address}, align 1")
            return self.emit(f"icmp ne i8 {byte}, 0")
        if isinstance(place.kind, PointerType):
            return self.emit(f"load ptr, ptr {address}, align 8")
        bits = place.kind.BITS
        value = self.emit(f"load {volatile}i{bits}, ptr {address}, align {alignment}")
        member = place.member
        if member is None or not member.bits:
            return value
        if member.type.SIGNED:
            value = self.emit(f"shl i{bits} {value}, {bits - member.bits - member.bit}")
            return self.emit(f"ashr i{bits} {value}, {bits - member.bits}")
        if member.bit:
            value = self.emit(f"lshr i{bits} {value}, {member.bit}")
        return self.emit(f"and i{bits} {value}, {(1 << member.bits) - 1}")

    def of_inside(self, e: tree.Inside) -> str:
        return self.place(e.place)[0]

    def of_globalref(self, e: tree.GlobalRef) -> str:
        known = self.module.addresses.get(e.name)
        return f"@{self.module.prefix}{e.name}" if known is None else f"inttoptr (i64 {known} to ptr)"

    def of_at(self, e: tree.At) -> str:
        address = self.value(e.address)
        return self.emit(f"inttoptr i64 {address} to ptr")

    def of_addressof(self, e: tree.AddressOf) -> str:
        return self.emit(f"ptrtoint ptr {self.value(e.value)} to i64")

    def of_bytes(self, e: tree.Bytes) -> str:
        return self.module.string(e.data)

    def store(self, place: tree.Spot, value: tree.Expr) -> None:
        kind = place.kind
        if isinstance(kind, PointerType):
            text = self.reference(value)
            address, _alignment = self.address(place)
            self.do(f"store ptr {text}, ptr {address}, align 8")
            return
        text = self.reachable(self.value(value), value.type)
        if isinstance(value.type, RefT):
            address, alignment = self.place(place)
            address = self.reachable(address, place.base.type)
        else:
            address, alignment = self.address(place)
        if isinstance(value.type, RefT) and value.type.space == "kernel":
            self.do(f"call i64 inttoptr (i64 113 to ptr)(ptr {address}, i32 {size_of(kind)}, ptr {text})")
        elif isinstance(kind, ArrayType) or (isinstance(kind, type) and hasattr(kind, "LAYOUT")):
            self.copy(address, text, size_of(kind), alignment, apart=_apart(place.base.type, value.type))
        elif kind is bool:
            self.do(f"store i8 {self.emit(f'zext i1 {text} to i8')}, ptr {address}, align 1")
        else:
            self.store_int(kind, address, alignment, text, place.member)

    def store_int(self, kind: type[Scalar], address: str, alignment: int, text: str, member: Any) -> None:
        bits = f"i{kind.BITS}"
        if member is not None and member.bits:
            mask = ((1 << member.bits) - 1) << member.bit
            old = self.emit(f"load {bits}, ptr {address}, align {alignment}")
            kept = self.emit(f"and {bits} {old}, {~mask & ((1 << kind.BITS) - 1)}")
            moved = self.emit(f"shl {bits} {text}, {member.bit}")
            text = self.emit(f"or {bits} {kept}, {self.emit(f'and {bits} {moved}, {mask}')}")
        self.do(f"store {bits} {text}, ptr {address}, align {alignment}")

    def copy(self, target: str, source: str, size: int, alignment: int, *, apart: bool = False) -> None:
        """apart: the places do not overlap, or are one. A copy that keeps all in registers until it stores (memmove)
        needs stack room for what does not fit."""
        word = min(alignment, 8)
        if not self.module.native and size // word > _WORDS_AT_ONCE:
            self.copy_by_words(target, source, size, word)
            return
        name = "memcpy" if apart else "memmove"
        self.module.declare(f"void @llvm.{name}.p0.p0.i64(ptr, ptr, i64, i1)")
        self.do(
            f"call void @llvm.{name}.p0.p0.i64(ptr align {alignment} {target}, ptr align {alignment} {source}, "
            f"i64 {size}, i1 false)"
        )

    def copy_by_words(self, target: str, source: str, size: int, word: int) -> None:
        """A loop: there is no memcpy to call."""
        with self.by_words(size // word, word) as at:
            value = self.emit(f"load i{word * 8}, ptr {self.offset(source, at)}, align {word}")
            self.do(f"store i{word * 8} {value}, ptr {self.offset(target, at)}, align {word}")
        for at in map(str, range(size - size % word, size)):
            value = self.emit(f"load i8, ptr {self.offset(source, at)}, align 1")
            self.do(f"store i8 {value}, ptr {self.offset(target, at)}, align 1")

    def fill(self, target: str, byte: str, size: int, alignment: int) -> None:
        """`size` bytes of one value (an i8)."""
        word = min(alignment, 8)
        if self.module.native or size // word <= _WORDS_AT_ONCE:
            self.module.declare("void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
            self.do(f"call void @llvm.memset.p0.i64(ptr align {alignment} {target}, i8 {byte}, i64 {size}, i1 false)")
            return
        wide = self.emit(f"zext i8 {byte} to i64")
        wide = self.emit(f"mul i64 {wide}, {0x0101010101010101}")
        if word < 8:
            wide = self.emit(f"trunc i64 {wide} to i{word * 8}")
        with self.by_words(size // word, word) as at:
            self.do(f"store i{word * 8} {wide}, ptr {self.offset(target, at)}, align {word}")
        for at in map(str, range(size - size % word, size)):
            self.do(f"store i8 {byte}, ptr {self.offset(target, at)}, align 1")

    def offset(self, base: str, at: str) -> str:
        return self.emit(f"getelementptr i8, ptr {base}, i64 {at}")

    @contextmanager
    def by_words(self, count: int, word: int) -> Iterator[str]:
        """A loop over byte offsets of words; the body is what is written inside of the `with`."""
        head, end = self.label(), self.label()
        before = self.block
        self.begin(head)
        at, following = self.fresh(), self.fresh()
        self.lines.append(f"  {at} = phi i64 [ 0, %{before} ], [ {following}, %{head} ]")
        # LLVM must make no call of memcpy or memset of this loop
        yield self.emit(f'call i64 asm sideeffect "", "=r,0"(i64 {at})')
        self.lines.append(f"  {following} = add i64 {at}, {word}{self.dbg}")
        self.branch_on(self.emit(f"icmp ult i64 {following}, {count * word}"), head, end)
        self.begin(end)

    def room(self, kind: Any) -> str:
        """Zeroed bytes on the stack."""
        size = max(size_of(kind), 1)
        # No more than natural: with a larger one LLVM adds small offsets by `or`, which verifiers refuse on pointers.
        alignment = align_of(kind)
        place = self.alloca(f"[{size} x i8]", alignment)
        self.fill(place, "0", size, alignment)
        return place

    def of_new(self, e: tree.New) -> str:
        assert isinstance(e.type, RefT)
        values = [(member, self.value(value)) for member, value in e.members]
        place = self.room(e.type.target)
        packed = getattr(getattr(e.type.target, "LAYOUT", None), "packed", False)
        for member, text in values:
            address = place
            if member.offset:
                address = self.emit(f"getelementptr inbounds i8, ptr {place}, i64 {member.offset}")
            alignment = 1 if packed else align_of(member.type)
            if member.type is bool:
                self.do(f"store i8 {self.emit(f'zext i1 {text} to i8')}, ptr {address}, align 1")
            elif isinstance(member.type, ArrayType) or hasattr(member.type, "LAYOUT"):
                self.copy(address, text, size_of(member.type), alignment, apart=True)
            else:
                self.store_int(member.type, address, alignment, text, member)
        return place

    def of_clone(self, e: tree.Clone) -> str:
        assert isinstance(e.type, RefT)
        source = self.reachable(self.value(e.source), e.source.type)
        place = self.room(e.type.target)
        kind = e.type.target
        self.copy(place, source, size_of(kind), 1 if kind.LAYOUT.packed else align_of(kind), apart=True)
        return place

    def of_copyto(self, e: tree.CopyTo) -> str:
        assert isinstance(e.target.type, RefT)
        kind = e.target.type.target
        target, source = (self.reachable(self.value(part), part.type) for part in (e.target, e.source))
        apart = _apart(e.target.type, e.source.type)
        self.copy(target, source, size_of(kind), 1 if kind.LAYOUT.packed else align_of(kind), apart=apart)
        return ""

    def of_slot(self, e: tree.Slot) -> str:
        assert isinstance(e.type, RefT)
        value = self.value(e.value)
        kind = e.type.target
        # A whole word: what else LLVM put into it, a counter for example, verifiers would forget at each call.
        place = self.alloca("i64", 8)
        if kind is bool:
            self.do(f"store i8 {self.emit(f'zext i1 {value} to i8')}, ptr {place}, align 1")
        else:
            self.do(f"store i{kind.BITS} {value}, ptr {place}, align {kind.SIZE}")
        return place


def in_arena(kind: Type) -> bool:
    return isinstance(kind, RefT) and kind.space == "arena"


_OWN = frozenset({"stack", "map", "global", "packet", "ringbuf"})


def _apart(one: Any, other: Any) -> bool:
    """Do references surely point to different memory?"""
    return one.space != other.space and one.space in _OWN and other.space in _OWN


def _root_alignment(base: tree.Expr) -> int:
    """The alignment of the variable that a place lies in."""
    while isinstance(base, tree.Inside):
        base = base.place.base
    assert isinstance(base.type, RefT)
    return align_of(base.type.target)
