"""BTF as a C header, as `bpftool btf dump format c` prints it.

Facts: Linux 6.12 tools/lib/bpf/btf_dump.c and tools/bpf/bpftool/btf.c. Definitions come in the order in which C
needs them; what is only pointed at gets a forward declaration. Names used twice get ___2, ___3, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum as PyEnum

from bombus.bits import align_up
from bombus.btf.declare import Declarer
from bombus.btf.parse import Btf
from bombus.btf.types import (
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from bombus.errors import BtfError

HEADER = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

"""
FOOTER = """\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""

# Types that GCC knows on Arm without defining them.
ALIASES = {
    "__Poly8_t": "unsigned char",
    "__Poly16_t": "unsigned short",
    "__Poly64_t": "unsigned long long",
    "__Poly128_t": "unsigned __int128",
}

# Real kernels stay below 100 levels and 20 steps a type; hostile input may not.
MAX_DEPTH = 200
STEPS_PER_TYPE = 200
STEPS = 200_000


class _State(PyEnum):
    NEW = 0
    BUSY = 1
    DONE = 2


class CDumper:
    """Prints types of one BTF; a type is printed once, whichever call needs it first."""

    __slots__ = (
        "_aligns",
        "_declarer",
        "_depth",
        "_emitted",
        "_forwarded",
        "_identifiers",
        "_names",
        "_ordered",
        "_out",
        "_queue",
        "_referenced",
        "_steps",
        "_tags",
        "btf",
    )

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self._declarer = Declarer(btf, self.named)
        self._ordered = {0: _State.DONE}
        self._emitted = {0: _State.DONE}
        self._forwarded: set[int] = set()
        self._referenced = _referenced(btf)
        self._names: dict[int, str] = {}
        self._tags: dict[str, int] = {}
        self._identifiers: dict[str, int] = {}
        self._queue: list[int] = []
        self._out: list[str] = []
        self._aligns: dict[int, int] = {}
        self._depth = 0
        self._steps = STEPS + STEPS_PER_TYPE * len(btf)

    def dump(self, type_id: int) -> str:
        """What has to be declared for a type, and the type itself; "" when all was printed before.

        Raises BtfError for types that C cannot express (a struct that contains itself, say).
        """
        self._queue = []
        self._out = []
        self._order(type_id, False)
        for queued in self._queue:
            self._emit(queued, 0)
        return "".join(self._out)

    def _spend(self) -> None:
        self._steps -= 1
        if self._steps < 0 or self._depth > MAX_DEPTH:
            raise BtfError("types are too deeply or too often nested to be printed as C")

    # Which definitions must come first

    def _order(self, type_id: int, through_pointer: bool) -> bool:
        """Queue what must be defined before a user of `type_id`; True when the user needs it defined."""
        state = self._ordered.get(type_id)
        if state is _State.DONE:
            return True
        type_ = self.btf.type(type_id)
        if state is _State.BUSY:
            if isinstance(type_, (Struct, Union)) and through_pointer and type_.name:
                return False
            raise BtfError(f"type {type_id} ({type_.kind.name} {type_.name}) contains itself")
        self._spend()
        self._depth += 1
        needed = self._order_new(type_id, type_, through_pointer)
        self._depth -= 1
        return needed

    def _order_new(self, type_id: int, type_: Type, through_pointer: bool) -> bool:
        match type_:
            case Ptr():
                needed = self._order(type_.type, True)
                self._ordered[type_id] = _State.DONE
                return needed
            case Array():
                return self._order(type_.type, False)
            case Struct() | Union():
                if through_pointer and type_.name:
                    return False
                self._ordered[type_id] = _State.BUSY
                for member in type_.members:
                    self._order(member.type, False)
                if type_.name:
                    self._queue.append(type_id)
                self._ordered[type_id] = _State.DONE
                return True
            case Enum() | Enum64() | Fwd():
                # An anonymous enum that a member uses is printed inside that member.
                if type_.name or type_id not in self._referenced:
                    self._queue.append(type_id)
                self._ordered[type_id] = _State.DONE
                return True
            case Typedef():
                if not self._order(type_.type, through_pointer) and through_pointer:
                    return False
                self._queue.append(type_id)
                self._ordered[type_id] = _State.DONE
                return True
            case Volatile() | Const() | Restrict() | TypeTag():
                return self._order(type_.type, through_pointer)
            case FuncProto():
                needed = self._order(type_.type, through_pointer)
                for param in type_.params:
                    needed |= self._order(param.type, through_pointer)
                return needed
        self._ordered[type_id] = _State.DONE
        return False

    # Printing

    def _emit(self, type_id: int, container: int) -> None:
        """Print a type (`container` 0) or what a member of struct `container` needs of it."""
        state = self._emitted.get(type_id, _State.NEW)
        if state is _State.DONE:
            return
        self._spend()
        type_ = self.btf.type(type_id)
        if state is _State.BUSY:
            self._emit_within(type_id, type_, container)
            return
        self._depth += 1
        match type_:
            case Int():
                if type_.name in ALIASES:
                    self._line(f"typedef {ALIASES[type_.name]} {type_.name}")
                self._emitted[type_id] = _State.DONE
            case Enum() | Enum64():
                if not container:
                    self._line(self._enum(type_id, type_, 0))
                self._emitted[type_id] = _State.DONE
            case Ptr() | Volatile() | Const() | Restrict() | TypeTag() | Array():
                self._emit(type_.type, container)
            case Fwd():
                self._line(self._forward(type_id, type_))
                self._emitted[type_id] = _State.DONE
            case Typedef():
                self._emitted[type_id] = _State.BUSY
                self._emit(type_.type, type_id)
                if type_id not in self._forwarded:
                    self._typedef(type_id, type_)
                self._emitted[type_id] = _State.DONE
            case Struct() | Union():
                self._emit_composite(type_id, type_, container)
            case FuncProto():
                self._emit(type_.type, container)
                for param in type_.params:
                    self._emit(param.type, container)
        self._depth -= 1

    def _emit_within(self, type_id: int, type_: Type, container: int) -> None:
        """A type is needed while it is being printed: forward declare it."""
        if type_id in self._forwarded:
            return
        match type_:
            case Struct() | Union():
                if type_id == container or not type_.name:
                    return
                self._line(self._forward(type_id, type_))
                self._forwarded.add(type_id)
            case Typedef():
                self._typedef(type_id, type_)
                self._forwarded.add(type_id)

    def _emit_composite(self, type_id: int, type_: Struct | Union, container: int) -> None:
        self._emitted[type_id] = _State.BUSY
        if not container or not type_.name:
            inside = type_id if type_.name else container
            for member in type_.members:
                self._emit(member.type, inside)
        elif type_id not in self._forwarded and type_id != container:
            self._line(self._forward(type_id, type_))
            self._forwarded.add(type_id)
        if container:
            self._emitted[type_id] = _State.NEW
        else:
            self._line(self._composite(type_id, type_, 0))
            self._emitted[type_id] = _State.DONE

    def _line(self, text: str) -> None:
        self._out.append(text + ";\n\n")

    def named(self, type_id: int, type_: Type, level: int) -> str:
        """How a declaration spells a type: by name, or whole when it has none."""
        match type_:
            case Struct() | Union():
                return self._forward(type_id, type_) if type_.name else self._composite(type_id, type_, level)
            case Enum() | Enum64():
                return f"enum {self._tag(type_id)}" if type_.name else self._enum(type_id, type_, level)
            case Fwd():
                return self._forward(type_id, type_)
            case Typedef():
                return self._name(type_id, self._identifiers)
        raise BtfError(f"type {type_id} ({type_.kind.name}) cannot be part of a declaration")

    def _forward(self, type_id: int, type_: Struct | Union | Fwd) -> str:
        union = type_.union if isinstance(type_, Fwd) else type_.kind == Kind.UNION
        return f"{'union' if union else 'struct'} {self._tag(type_id)}"

    def _typedef(self, type_id: int, type_: Typedef) -> None:
        if type_.name == "__builtin_va_list":
            return
        name = self._name(type_id, self._identifiers)
        if not type_.type and name == "__gnuc_va_list":
            self._line("typedef __builtin_va_list __gnuc_va_list")  # old GCC says void
        else:
            self._line("typedef " + self._declarer.declare(type_.type, name))

    def _enum(self, type_id: int, type_: Enum | Enum64, level: int) -> str:
        head = f"enum {self._tag(type_id)}".rstrip()
        if not type_.values:
            return head
        suffix = "" if isinstance(type_, Enum) else "LL" if type_.signed else "ULL"
        indent = "\t" * (level + 1)
        lines = [f"{indent}{self._unique(name, self._identifiers)} = {value}{suffix}," for name, value in type_.values]
        self._steps -= len(lines)
        return "\n".join([head + " {", *lines, "\t" * level + "}"])

    def _composite(self, type_id: int, type_: Struct | Union, level: int) -> str:
        self._spend()
        self._depth += 1
        is_struct = isinstance(type_, Struct)
        packed = is_struct and self._packed(type_)
        head = f"{'struct' if is_struct else 'union'} {self._tag(type_id)}".rstrip() + " {"
        align = self._align(type_id)
        indent = "\t" * (level + 1)
        lines: list[str] = []
        end = 0
        after_bits = False
        for member in type_.members:
            self._spend()
            member_align = 1 if packed else self._align(member.type)
            lines += self._padding(end, member.offset, member_align, bool(after_bits and member.bits))
            text = self._declarer.declare(member.type, member.name, level + 1)
            lines.append(f"{text}: {member.bits};" if member.bits else f"{text};")
            after_bits = bool(member.bits)
            end = member.offset + (member.bits or self._size(member.type) * 8)
        if is_struct:
            lines += self._padding(end, type_.size * 8, align, False)
        self._depth -= 1
        body = "".join(f"\n{indent}{line}" for line in lines)
        tail = "\n" + "\t" * level + "}" if type_.members or type_.size else "}"
        return head + body + tail + (" __attribute__((packed))" if packed else "")

    def _packed(self, type_: Struct | Union) -> bool:
        largest = 1
        for member in type_.members:
            align = self._align(member.type)
            if not member.bits and align and member.offset % (8 * align):
                return True
            largest = max(largest, align)
        return type_.size % largest != 0

    def _align(self, type_id: int) -> int:
        try:
            return self.btf.align_of(type_id, self._aligns)
        except BtfError:
            return 0  # a member of a forward-declared type: its place is as good as unknown

    def _size(self, type_id: int) -> int:
        try:
            return self.btf.size_of(type_id)
        except BtfError:
            return 0

    def _padding(self, end: int, start: int, align: int, in_bits: bool) -> list[str]:
        """Nameless bit-fields that fill the gap from bit `end` to bit `start` as the compiler would not."""
        if end >= start:
            return []
        pads = ((self.btf.pointer_size * 8, "long"), (32, "int"), (16, "short"), (8, "char"))
        bits, name = next((pad for pad in pads if align_up(end, pad[0]) <= start), pads[-1])
        boundary = align_up(end, bits)
        lines: list[str] = []
        if end < boundary <= start:
            natural = align_up(end, align * 8) if align else end
            if (
                in_bits
                or (boundary == start and natural != boundary)
                or (boundary != start and start - boundary <= boundary - end)
            ):
                lines.append(f"{name}: {boundary - end if in_bits else 0};")
            end = boundary
        whole, rest = divmod(start - end, bits)
        if whole > 4096:
            raise BtfError(f"a gap of {start - end} bits in a struct")
        lines += [f"{name}: {bits};"] * whole
        if rest:
            name = next(pad for width, pad in reversed(pads) if width >= rest)
            lines.append(f"{name}: {rest};")
        return lines

    # Names

    def _tag(self, type_id: int) -> str:
        return self._name(type_id, self._tags)

    def _name(self, type_id: int, taken: dict[str, int]) -> str:
        known = self._names.get(type_id)
        if known is None:
            name = self.btf.name(type_id)
            kind = self.btf.kind(type_id)
            # A forward declaration shares its name with the definition.
            forward = kind == Kind.FWD or (kind == Kind.ENUM and not self.btf.vlen(type_id))
            known = self._unique(name, taken) if name and not forward else name
            self._names[type_id] = known
        return known

    def _unique(self, name: str, taken: dict[str, int]) -> str:
        count = taken[name] = taken.get(name, 0) + 1
        return f"{name}___{count}" if count > 1 else name


def _referenced(btf: Btf) -> set[int]:
    """Ids that some type refers to."""
    found: set[int] = set()
    for type_id in range(1, len(btf)):
        match btf.type(type_id):
            case Array() as array:
                found.update((array.type, array.index_type))
            case Struct() | Union() as composite:
                found.update([member.type for member in composite.members])
            case FuncProto() as proto:
                # The return type does not count, as in libbpf.
                found.update([param.type for param in proto.params])
            case DataSec() as section:
                found.update([var.type for var in section.vars])
            case (
                Ptr() | Typedef() | Volatile() | Const() | Restrict() | TypeTag() | Func() | Var() | DeclTag()
            ) as link:
                found.add(link.type)
    return found


def dump(btf: Btf, roots: Iterable[int] | None = None) -> Iterator[str]:
    """The whole header in pieces: all types (base included), or `roots` and what they need."""
    dumper = CDumper(btf)
    yield HEADER
    for type_id in roots if roots is not None else range(1, len(btf)):
        piece = dumper.dump(type_id)
        if piece:
            yield piece
    yield FOOTER
