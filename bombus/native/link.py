"""One object to a static executable or a shared library: sections placed, relocations done, program headers written.

Facts: System V gABI chapters 4 and 5; Power ELFv1 (function descriptors) and ELFv2 (TOC pointer, local entry points);
MIPS O32 (HI16 and LO16 pairs) and its table of addresses, which the run-time linker moves by itself; SPARC (the same
table).
Nothing is both writable and executable, the stack is not executable.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from bombus.bits import align_up, sign_extend
from bombus.elf.model import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_ABS,
    SHN_UNDEF,
    SHT_NOBITS,
    STB_LOCAL,
    Elf,
    Relocation,
    Section,
    Symbol,
)
from bombus.elf.read import read_elf
from bombus.errors import CodegenError, NotSupported
from bombus.native.dynamic import Export, Library, tables
from bombus.native.relocations import EM_MIPS, EM_PPC64, EM_RISCV, HINTS, RELATIVE, RULES, SPARCS, Rule

BASE: Final = 0x40_0000
PAGE: Final = 0x1_0000  # the largest page that a kernel of these architectures uses
ENTRY: Final = "_start"
_HEADERS: Final = 0x200  # bytes for the ELF header and the program headers
_ALIGN: Final = 16
_TOC: Final = ".TOC."
_TOC_BIAS: Final = 0x8000
_LEFT_OUT: Final = (".eh_frame", ".note", ".ARM.exidx", ".ARM.extab", ".ARM.attributes", ".MIPS", ".reginfo", ".llvm")
_PT_LOAD, _PT_GNU_STACK = 1, 0x6474_E551
_PF_X, _PF_W, _PF_R = 1, 2, 4
_PT_DYNAMIC: Final = 2
_ET_EXEC, _ET_DYN = 2, 3
_IN_PLACE: Final = (3, 40, EM_MIPS)  # machines whose relocations keep addends in place (REL)
_GOT: Final = "_GLOBAL_OFFSET_TABLE_"
_GP_DISP: Final = "_gp_disp"  # MIPS O32: from here to what $gp is
_GP: Final = 0x7FF0  # MIPS: $gp is as far into the table of addresses
_RESERVED: Final = {EM_MIPS: 2, 2: 1, 18: 1, 43: 1}  # first words of that table, which are the run-time linker's
_DESCRIPTORS: Final = ".opd"  # Power ELFv1: what function symbols mean
_PLTGOT: Final = 3
_MIPS_TAGS: Final = (0x7000_0001, 0x7000_0005, 0x7000_0006)  # DT_MIPS_RLD_VERSION, _FLAGS, _BASE_ADDRESS
_LOCAL_GOTNO, _SYMTABNO, _GOTSYM = 0x7000_000A, 0x7000_0011, 0x7000_0013
# EF_RISCV_FLOAT_ABI_DOUBLE: what Debian's and most other systems have. Our code passes no floats.
_FLAGS: Final = {(EM_RISCV, _ET_DYN): 4}


@dataclass(slots=True)
class _Segment:
    flags: int
    start: int  # address
    offset: int  # in the file; congruent to `start` by PAGE
    image: bytearray
    size: int = 0  # with what is not in the file


def link(data: bytes, extra: Mapping[str, bytes]) -> bytes:
    """A static executable of an object that defines `_start`. extra: machine code of functions that it calls.

    CodegenError for symbols that nobody defines, NotSupported for relocations without a rule.
    """
    elf = read_elf(data)
    if elf.machine not in RULES:
        raise NotSupported("linking", f"no rules for machine {elf.machine}")
    return _Linker(elf, extra).run()


def link_shared(data: bytes, name: str, extra: Mapping[str, bytes]) -> bytes:
    """A shared library of an object that needs nothing but `extra`; it exports the object's global functions and
    variables. CodegenError for undefined symbols, NotSupported for machines that are not in RELATIVE."""
    elf = read_elf(data)
    if elf.machine not in RELATIVE:
        raise NotSupported("shared libraries for this machine", "link the object: cc -shared")
    return _Linker(elf, extra, 0).run_shared(name)


class _Linker:
    def __init__(self, elf: Elf, extra: Mapping[str, bytes], base: int = BASE) -> None:
        self.base = base
        self.elf = elf
        self.extra = extra
        self.order: Literal["little", "big"] = "little" if elf.byteorder == "little" else "big"
        self.rules = RULES[elf.machine]
        self.hints = HINTS.get(elf.machine, frozenset())
        self.place: dict[int, int] = {}  # section -> address
        self.segment: dict[int, _Segment] = {}  # section -> where it is
        self.extras: dict[str, int] = {}
        self.toc = 0
        self.got: _Segment | None = None  # the table of addresses
        self.slots: dict[int, int] = {}  # address -> where it is in the table
        self.reached: dict[tuple[int, int], int] = {}  # RISC-V: (section, offset) of an auipc -> what it adds to it

    def run(self) -> bytes:
        segments = self._lay_out()
        for index in self.place:
            self._relocate_section(index)
        entry = next((s for s in self.elf.symbols if s.name == ENTRY and s.section in self.place), None)
        if entry is None:
            raise CodegenError(f"the object has no {ENTRY}")
        return self._file(segments, self.place[entry.section] + entry.value)

    def run_shared(self, name: str) -> bytes:
        segments = self._lay_out()
        self.got = got = _Segment(_PF_R | _PF_W, *self._behind(segments), bytearray())
        got.image += bytes(_RESERVED.get(self.elf.machine, 0) * self.elf.bits // 8)
        relative: list[tuple[int, int]] = []
        for index in self.place:
            relative += self._words_of_addresses(index)
            self._relocate_section(index)
        if self.elf.machine in SPARCS:  # whose run-time linkers add to what is there
            for place, _ in relative:
                self._clear(segments, place)
        if got.image:
            got.size = len(got.image)
            segments.append(got)
            if self.elf.machine != EM_MIPS:
                relative += [(got.start + at, address) for address, at in self.slots.items()]
        where, table = self._dynamic(segments, name, relative)
        return self._file([*segments, table], 0, _ET_DYN, where)

    def _behind(self, segments: list[_Segment]) -> tuple[int, int]:
        """The first address and offset for one more segment."""
        last = segments[-1]
        offset = align_up(last.offset + len(last.image), _ALIGN)
        return align_up(last.start + last.size, PAGE) + offset % PAGE, offset

    def _slot(self, address: int) -> int:
        """Where the table has an address, counted from the table's beginning."""
        if self.got is None:
            raise CodegenError("the code needs a table of addresses, which executables have not")
        if address not in self.slots:
            self.slots[address] = len(self.got.image)
            value = 0 if self.elf.machine in SPARCS else address
            self.got.image += value.to_bytes(self.elf.bits // 8, self.order)
        return self.slots[address]

    def _clear(self, segments: list[_Segment], place: int) -> None:
        size = self.elf.bits // 8
        for segment in segments:
            if segment.start <= place < segment.start + len(segment.image):
                segment.image[place - segment.start : place - segment.start + size] = bytes(size)

    @property
    def gp(self) -> int:
        """Where code has the table of addresses."""
        assert self.got is not None
        return self.got.start + (_GP if self.elf.machine == EM_MIPS else 0)

    def _words_of_addresses(self, index: int) -> list[tuple[int, int]]:
        """(place, address) of words that are addresses. CodegenError where they cannot become others."""
        found = []
        for entry in self.elf.relocations.get(index, ()):
            rule = self.rules.get(entry.type)
            if rule is not None and rule.value == "toc word":
                found.append((self.place[index] + entry.offset, self.toc))
            if rule is None or rule.value != "abs" or entry.type in self.hints:
                continue
            symbol = self.elf.symbols[entry.symbol]
            if rule.size * 8 != self.elf.bits or not self.segment[index].flags & _PF_W:
                raise CodegenError(f"the code holds the address of {symbol.name!r}; a library may lie anywhere")
            addend = entry.addend
            if addend is None:
                addend = self._there(index, entry, rule)
            found.append((self.place[index] + entry.offset, self._address(symbol) + addend))
        return found

    def _dynamic(
        self, segments: list[_Segment], name: str, relative: list[tuple[int, int]]
    ) -> tuple[tuple[int, int, int], _Segment]:
        """The tables of the run-time linker, in a segment of their own, and where its first one is."""
        exports = [
            Export(symbol.name, self._address(symbol), symbol.size, symbol.type, symbol.other & ~3)
            for symbol in self.elf.symbols
            if symbol.bind != STB_LOCAL and symbol.visibility == 0 and symbol.section in self.place and symbol.name
        ]
        elf = self.elf
        addends = elf.machine not in _IN_PLACE
        if elf.machine == EM_MIPS and elf.bits == 64 and relative:
            what = "variables that hold addresses in shared libraries for mips64"
            raise NotSupported(what, "no code needed it so far")
        library = Library(
            elf.machine, elf.bits, elf.byteorder, name, exports, relative, RELATIVE[elf.machine], addends,
            self._mips_tags(len(exports) + 1) if elf.machine == EM_MIPS else (),
        )  # fmt: skip
        start, offset = self._behind(segments)
        image, at, size = tables(library, start)
        return (offset + at, start + at, size), _Segment(_PF_R | _PF_W, start, offset, bytearray(image), len(image))

    def _mips_tags(self, symbols: int) -> tuple[tuple[int, int], ...]:
        """All of the table is local: the run-time linker adds where the library lies."""
        assert self.got is not None
        version, flags, base = _MIPS_TAGS
        count = len(self.got.image) * 8 // self.elf.bits
        return ((_PLTGOT, self.got.start), (version, 1), (flags, 2), (base, self.base), (_LOCAL_GOTNO, count),
                (_SYMTABNO, symbols), (_GOTSYM, symbols))  # fmt: skip

    # ------------------------------------------------------------------------------------------ places

    def _lay_out(self) -> list[_Segment]:
        kinds: dict[int, list[Section]] = {_PF_R | _PF_X: [], _PF_R: [], _PF_R | _PF_W: []}
        for section in self.elf.sections:
            if section.flags & SHF_ALLOC and not section.name.startswith(_LEFT_OUT):
                flags = _PF_R | (_PF_X if section.flags & SHF_EXECINSTR else 0)
                flags |= _PF_W if section.flags & SHF_WRITE else 0
                if flags & _PF_X and flags & _PF_W:
                    raise CodegenError(f"section {section.name} is writable code")
                kinds[flags].append(section)
        at, offset = self.base, _HEADERS
        segments = []
        for flags, sections in kinds.items():
            sections.sort(key=lambda one: one.type == SHT_NOBITS)
            offset = align_up(offset, max([_ALIGN, *(section.align for section in sections)]))
            segment = _Segment(flags, at + offset % PAGE, offset, bytearray())
            for section in sections:
                inside = self._append(segment, section.data, section.size, section.align)
                self.place[section.index] = segment.start + inside
                self.segment[section.index] = segment
            if flags & _PF_X:
                for name, code in self.extra.items():
                    self.extras[name] = segment.start + self._append(segment, code, len(code), _ALIGN)
            if segment.size:
                segments.append(segment)
                offset += len(segment.image)
                at = align_up(segment.start + segment.size, PAGE)
        if at >= 1 << 31:
            raise CodegenError(f"a program of {at - self.base} bytes is larger than its code can reach")
        toc = next((s for s in self.elf.sections if s.name in (".toc", ".got")), None)
        self.toc = (self.place[toc.index] if toc is not None and toc.index in self.place else self.base) + _TOC_BIAS
        return segments

    def _append(self, segment: _Segment, data: bytes, size: int, align: int) -> int:
        """Put bytes into a segment, or only room for them; where they are in it."""
        inside = align_up(segment.size, max(align, 1))
        if data:
            segment.image += bytes(inside - len(segment.image)) + data
        segment.size = inside + size
        return inside

    def _address(self, symbol: Symbol) -> int:
        if symbol.section == SHN_UNDEF:
            if symbol.name in self.extras:
                return self.extras[symbol.name]
            if symbol.name == _TOC:
                return self.toc
            if symbol.name == _GOT and self.elf.machine in SPARCS:
                return self.gp
            if symbol.name == _GOT:  # there is none: a place that distances are counted from
                return self.base
            raise CodegenError(f"the code needs {symbol.name!r}, which nothing defines")
        if symbol.section == SHN_ABS:
            return symbol.value
        if symbol.section not in self.place:
            raise CodegenError(f"the code needs {symbol.name!r}, which was left out")
        return self.place[symbol.section] + symbol.value

    # ------------------------------------------------------------------------------------------ relocations

    def _relocate_section(self, index: int) -> None:
        entries = [e for e in self.elf.relocations.get(index, ()) if e.type and e.type not in self.hints]
        again = []
        for number, entry in enumerate(entries):
            rule = self.rules.get(entry.type)
            if rule is None:
                raise NotSupported(f"relocation {entry.type} of machine {self.elf.machine}", "no code needed it so far")
            if rule.value == "again":
                again.append((entry, rule))
                continue
            self._relocate(index, entry, rule, entries, number)
        for entry, rule in again:
            symbol = self.elf.symbols[entry.symbol]
            value = self.reached.get((symbol.section, symbol.value))
            if value is None:
                raise CodegenError(f"{symbol.name!r} is no instruction that a relocation is at")
            self._put(index, entry, rule, value)

    def _relocate(self, index: int, entry: Relocation, rule: Rule, entries: list[Relocation], number: int) -> None:
        symbol = self.elf.symbols[entry.symbol]
        here = self.place[index] + entry.offset
        there = self._there(index, entry, rule)
        if rule.value in ("high", "low", "slot page"):
            addend = entry.addend
            if addend is None:
                addend = self._mips_addend(index, entry, rule, entries, number)
            if symbol.section == SHN_UNDEF and symbol.name == _GP_DISP:
                value = self.gp + addend - here + (4 if rule.value == "low" else 0)
            else:
                value = self._address(symbol) + addend
        elif rule.value == "toc word":
            value = self.toc
        elif rule.value == "call" and self._is_descriptor(symbol):
            value = self._entry_of(symbol, entry.addend or 0)
        elif rule.value == "direct":
            value = self._address(symbol) - here
        else:
            addend = entry.addend
            if addend is None:
                assert rule.get is not None
                addend = rule.get(there)
            value = self._address(symbol) + addend
        if rule.value in ("pc", "call"):
            value -= here
            if rule.value == "call":
                value += _local_entry(symbol)
            self.reached[index, entry.offset] = value
        elif rule.value == "page":
            value = (value & -4096) - (here & -4096)
        elif rule.value == "page+":
            value = (value + 0x800 & -4096) - (here & -4096)
        elif rule.value == "toc":
            value -= self.toc
        elif rule.value == "got":
            value -= self.base
        elif rule.value == "slot":
            value = self._start_of_table + self._slot(value)
        elif rule.value == "slot page":
            page = value if _is_whole(symbol, self.elf) else value + 0x8000 & ~0xFFFF
            value = self._start_of_table + self._slot(page)
        elif rule.value == "gp":
            value -= self.gp
        elif rule.value == "from gp":
            value = self.gp - value
        self._put(index, entry, rule, value)

    @property
    def _start_of_table(self) -> int:
        """The beginning of the table, from where code has it."""
        return -_GP if self.elf.machine == EM_MIPS else 0

    def _is_descriptor(self, symbol: Symbol) -> bool:
        return (
            self.elf.machine == EM_PPC64
            and symbol.section in self.place
            and self.elf.sections[symbol.section].name == _DESCRIPTORS
        )

    def _entry_of(self, symbol: Symbol, offset: int) -> int:
        """The address in a function descriptor: the code."""
        for entry in self.elf.relocations.get(symbol.section, ()):
            if entry.offset == symbol.value + offset:
                return self._address(self.elf.symbols[entry.symbol]) + (entry.addend or 0)
        raise CodegenError(f"{symbol.name!r} is no function")

    def _mips_addend(self, index: int, entry: Relocation, rule: Rule, entries: list[Relocation], number: int) -> int:
        """REL: the high half's addend has its low half at the next LO16 of the same symbol."""
        there = self._there(index, entry, rule)
        low = sign_extend(there, 16)
        if rule.value == "low":
            return low
        if rule.value == "slot page" and _is_whole(self.elf.symbols[entry.symbol], self.elf):
            return 0
        for other in entries[number + 1 :]:
            if other.symbol == entry.symbol and self.rules[other.type].value == "low":
                return ((there & 0xFFFF) << 16) + sign_extend(self._there(index, other, rule), 16)
        raise CodegenError("a HI16 relocation has no LO16")

    def _there(self, index: int, entry: Relocation, rule: Rule) -> int:
        segment, at = self._spot(index, entry, rule.size)
        return int.from_bytes(segment.image[at : at + rule.size], self.order)

    def _put(self, index: int, entry: Relocation, rule: Rule, value: int) -> None:
        if value & rule.align - 1:
            raise CodegenError(f"relocation {entry.type}: {value:#x} is not a multiple of {rule.align}")
        if rule.bits and not -(1 << rule.bits - 1) <= value < 1 << rule.bits:
            raise CodegenError(f"relocation {entry.type}: {value:#x} does not fit {rule.bits} bits")
        segment, at = self._spot(index, entry, rule.size)
        there = int.from_bytes(segment.image[at : at + rule.size], self.order)
        new = rule.put(there, value) & (1 << rule.size * 8) - 1
        segment.image[at : at + rule.size] = new.to_bytes(rule.size, self.order)

    def _spot(self, index: int, entry: Relocation, size: int) -> tuple[_Segment, int]:
        segment = self.segment[index]
        at = self.place[index] - segment.start + entry.offset
        if entry.offset + size > self.elf.sections[index].size or at + size > len(segment.image):
            raise CodegenError(f"a relocation at {entry.offset} lies behind its section")
        return segment, at

    # ------------------------------------------------------------------------------------------ file

    def _file(
        self, segments: list[_Segment], entry: int, kind_: int = _ET_EXEC, dynamic: tuple[int, int, int] | None = None
    ) -> bytes:
        wide = self.elf.bits == 64
        mark = "<" if self.order == "little" else ">"
        header_size, row_size = (64, 56) if wide else (52, 32)
        count = len(segments) + (2 if dynamic else 1)
        data = bytearray(header_size + count * row_size)
        rows = []
        for segment in segments:
            data += bytes(segment.offset - len(data)) + segment.image
            size = len(segment.image)
            rows.append((_PT_LOAD, segment.flags, segment.offset, segment.start, size, segment.size, PAGE))
        if dynamic:
            offset, address, size = dynamic
            rows.append((_PT_DYNAMIC, _PF_R | _PF_W, offset, address, size, size, 8))
        rows.append((_PT_GNU_STACK, _PF_R | _PF_W, 0, 0, 0, 0, 16))
        e_flags = self.elf.flags | _FLAGS.get((self.elf.machine, kind_), 0)
        ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if self.order == "little" else 2, 1])
        struct.pack_into(
            mark + ("16sHHIQQQIHHHHHH" if wide else "16sHHIIIIIHHHHHH"), data, 0, ident, kind_, self.elf.machine, 1,
            entry, header_size, 0, e_flags, header_size, row_size, count, 0, 0, 0,
        )  # fmt: skip
        for number, (kind, flags, offset, address, in_file, size, align) in enumerate(rows):
            at = header_size + number * row_size
            if wide:
                struct.pack_into(
                    mark + "IIQQQQQQ", data, at, kind, flags, offset, address, address, in_file, size, align
                )
            else:
                struct.pack_into(
                    mark + "IIIIIIII", data, at, kind, offset, address, address, in_file, size, flags, align
                )
        return bytes(data)


def _is_whole(symbol: Symbol, elf: Elf) -> bool:
    """MIPS O32: the table has the whole addresses of global symbols, pages of others."""
    return symbol.bind != STB_LOCAL and elf.bits == 32


def _local_entry(symbol: Symbol) -> int:
    """Power ELFv2: callers with the same TOC enter behind the instructions that load it (three bits of st_other)."""
    if symbol.section == SHN_UNDEF or (symbol.bind == STB_LOCAL and not symbol.name):
        return 0
    return (1 << (symbol.other >> 5)) >> 2 << 2
