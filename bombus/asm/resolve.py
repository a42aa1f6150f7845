"""Second step of assembling: what waited for labels becomes numbers or relocations, as clang makes them."""

from __future__ import annotations

from bombus.asm.builder import Builder, CodeFixup, DataFixup, Label, SectionBuilder, SymbolBuilder, Where
from bombus.asm.expression import Value
from bombus.asm.kernel import helper_number
from bombus.asm.model import (
    COMMON,
    R_BPF_64_32,
    R_BPF_64_64,
    R_BPF_64_ABS32,
    R_BPF_64_ABS64,
    R_BPF_64_NODYLD32,
    SLOT,
    Relocation,
    Section,
    Symbol,
)
from bombus.isa import build as b
from bombus.isa.insn import Insn, decode, encode


class Resolver:
    """Second step: everything that waited for a label becomes a number or a relocation."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def run(self) -> None:
        for section in self.builder.sections.values():
            for code in section.code:
                self._code(section, code)
            for word in section.words:
                self._word(section, word)

    def _slot(self, section: SectionBuilder, offset: int) -> Insn:
        return decode(section.data[offset : offset + SLOT], self.builder.byteorder)[0]

    def _patch(self, section: SectionBuilder, offset: int, insns: list[Insn]) -> None:
        data = encode(insns, self.builder.byteorder)
        section.data[offset : offset + len(data)] = data

    def _code(self, section: SectionBuilder, fixup: CodeFixup) -> None:
        kind = fixup.ref.kind
        if kind == "imm64":
            self._imm64(section, fixup)
        elif kind == "call":
            self._call(section, fixup)
        else:
            self._jump(section, fixup, kind)

    def _jump(self, section: SectionBuilder, fixup: CodeFixup, kind: str) -> None:
        name, addend = fixup.ref.target.plus, fixup.ref.target.constant
        label = self.builder.labels.get(name)
        if label is None and name == "exit" and section.exits:
            label = Label(section, section.exits[0], 0)
        if label is None:
            fixup.where.fail(f"label {shown(name)} is not defined")
        if label.section is not section:
            fixup.where.fail(f"label {shown(name)} is in section {label.section.name}, a jump stays in its own")
        distance = self._distance(fixup, label, addend)
        limit = 1 << (15 if kind == "jump" else 31)
        if not -limit <= distance < limit:
            longer = "; use gotol" if kind == "jump" else ""
            fixup.where.fail(f"label {shown(name)} is {distance} instructions away, too far for this jump{longer}")
        insn = self._slot(section, fixup.offset)
        changed = insn._replace(off=distance) if kind == "jump" else insn._replace(imm=distance)
        self._patch(section, fixup.offset, [changed])

    def _distance(self, fixup: CodeFixup, label: Label, addend: int) -> int:
        """Slots from the instruction after this one to the label."""
        slots, rest = divmod(label.offset + addend - fixup.offset, SLOT)
        if rest:
            fixup.where.fail(f"{shown(fixup.ref.target.plus)} is not at a multiple of {SLOT} bytes from here")
        return slots - 1

    def _call(self, section: SectionBuilder, fixup: CodeFixup) -> None:
        name, addend = fixup.ref.target.plus, fixup.ref.target.constant
        if addend:
            fixup.where.fail("a call takes the name of a function, nothing added")
        label = self.builder.labels.get(name)
        symbol = self.builder.symbols.get(name)
        is_local = symbol is None or symbol.binding == "local"
        if label is None:
            helper = helper_number(name)
            if helper is not None and (symbol is None or not symbol.declared):
                self._patch(section, fixup.offset, [b.call(helper)])
                return
            if name.startswith((".L", "\x01")):
                fixup.where.fail(f"label {shown(name)} is not defined")
            self.builder.symbol(name)
            section.relocations.append(Relocation(fixup.offset, R_BPF_64_32, name))
        elif not is_local:
            section.relocations.append(Relocation(fixup.offset, R_BPF_64_32, name))
        elif label.section is section:
            self._patch(section, fixup.offset, [b.call_local(self._distance(fixup, label, 0))])
        else:
            self._patch(section, fixup.offset, [b.call_local(label.offset // SLOT - 1)])
            section.relocations.append(Relocation(fixup.offset, R_BPF_64_32, label.section.name))

    def _target(self, name: str, where: Where) -> tuple[str, int]:
        """The symbol that a relocation names, and what to add: local labels go by their section."""
        label = self.builder.labels.get(name)
        if label is None and name in self.builder.sections and name not in self.builder.symbols:
            return name, 0  # the start of that section
        symbol = self.builder.symbol(name) if "\x01" not in name else SymbolBuilder(name)
        if label is not None and symbol.binding == "local":
            return label.section.name, label.offset
        if label is None and name.startswith(".L"):
            where.fail(f"label {shown(name)} is not defined")
        return name, 0

    def _imm64(self, section: SectionBuilder, fixup: CodeFixup) -> None:
        name, base = self._target(fixup.ref.target.plus, fixup.where)
        value = fixup.ref.target.constant + base
        insn = self._slot(section, fixup.offset)
        self._patch(section, fixup.offset, b.ld_imm64(insn.dst, value, insn.src))
        section.relocations.append(Relocation(fixup.offset, R_BPF_64_64, name))

    def _word(self, section: SectionBuilder, fixup: DataFixup) -> None:
        constant = self.number(fixup.value)
        if constant is None:
            if fixup.value.minus:
                fixup.where.fail("the difference of these labels is not known: they are in different sections")
            name, base = self._target(fixup.value.plus, fixup.where)
            constant = fixup.value.constant + base
            section.relocations.append(Relocation(fixup.offset, self._data_type(fixup), name))
        data = self.builder.word(constant, fixup.size, fixup.where)
        section.data[fixup.offset : fixup.offset + fixup.size] = data

    def _data_type(self, fixup: DataFixup) -> int:
        if fixup.size == 8:
            return R_BPF_64_ABS64
        if fixup.size == 4:
            # LLVM's choice (observed with 19 and 22): writable data, and code by a temporary label, as in .BTF.ext.
            label = self.builder.labels.get(fixup.value.plus)
            flags = label.section.flags if label is not None else ""
            if "w" in flags or ("x" in flags and fixup.value.plus.startswith(".L")):
                return R_BPF_64_NODYLD32
            return R_BPF_64_ABS32
        raise fixup.where.error(f"no relocation puts an address into {fixup.size} bytes")

    def number(self, value: Value) -> int | None:
        """The value if it is known without a linker: numbers, and differences inside one section."""
        if value.is_number:
            return value.constant
        plus, minus = self.builder.labels.get(value.plus), self.builder.labels.get(value.minus)
        if plus is None or minus is None or plus.section is not minus.section:
            return None
        return value.constant + plus.offset - minus.offset

    def freeze_sections(self) -> tuple[Section, ...]:
        return tuple(
            Section(
                s.name,
                s.flags,
                s.type,
                s.align,
                bytes(s.data),
                s.entry_size,
                tuple(sorted(s.relocations, key=lambda r: r.offset)),
                s.lines,
            )
            for s in self.builder.sections.values()
        )

    def freeze_symbols(self) -> tuple[Symbol, ...]:
        out = []
        for symbol in self.builder.symbols.values():
            if symbol.name.startswith(".L") or "\x01" in symbol.name:
                continue
            label = self.builder.labels.get(symbol.name)
            section, value, size = "", 0, 0
            if label is not None:
                section, value = label.section.name, label.offset
            elif symbol.common is not None:
                section, (size, value) = COMMON, symbol.common
            elif symbol.binding == "local" and not symbol.declared and not self._is_used(symbol.name):
                continue
            if symbol.size is not None and symbol.size_where is not None:
                known = self.number(symbol.size)
                if known is None or known < 0:
                    symbol.size_where.fail(f"the size of {symbol.name!r} is not known")
                size = known
            # Whoever names a symbol that is not here means somebody else's.
            binding = "global" if not section and symbol.binding == "local" else symbol.binding
            out.append(Symbol(symbol.name, section, value, size, binding, symbol.type, symbol.visibility))
        return tuple(out)

    def _is_used(self, name: str) -> bool:
        return any(r.symbol == name for s in self.builder.sections.values() for r in s.relocations)


def shown(name: str) -> str:
    """A label's name for messages; numeric ones are kept under a made-up name."""
    return repr(name.removeprefix(".L").split("\x01")[0] or ".") if "\x01" in name else repr(name)
